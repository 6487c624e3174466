//! A portal in a temporary database with a caller named by headers.

use crate::portal::error::PortalError;
use crate::portal::reply::{ErrorBody, json};
use crate::portal::routes::{Access, RouteSink, routes};
use crate::portal::state::{
    Actor, ClientInfo, ClientOrder, Environment, KeyManager, Portal, PortalSettings, PortalState, TokenInfo,
};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use claviger_proto::entropy::{Entropy, uuid};
use claviger_proto::event::Event;
use claviger_proto::ids::{ConsumerKey, SUPER_TENANT_DOMAIN, TenantId};
use claviger_proto::secret::Secret;
use claviger_proto::time::{Clock, Timestamp};
use claviger_proto::user::Username;
use claviger_store::db::{PoolLimits, Store};
use claviger_store::error::StoreError;
use claviger_store::location::Location;
use claviger_store::seed::{self, TenantSeed};
use claviger_store::{schema, tenants};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tower_service::Service as _;

pub(super) struct Harness {
    pub(super) portal: Portal,
    pub(super) clients: Arc<PaperKeyManager>,
    pub(super) events: Arc<Mutex<Vec<Event>>>,
    router: Router,
    _directory: Directory,
}

/// A directory that goes with its owner.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

pub(super) fn temporary_directory() -> Directory {
    let name = format!("claviger_portal_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let directory = Directory(std::env::temp_dir().join(name));
    std::fs::create_dir_all(&directory.0).unwrap();
    directory
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

struct Random;

static NUMBER: AtomicU64 = AtomicU64::new(0);

impl Entropy for Random {
    fn fill(&self, buffer: &mut [u8]) {
        use std::hash::{BuildHasher as _, RandomState};
        for chunk in buffer.chunks_mut(8) {
            let word = RandomState::new().hash_one(NUMBER.fetch_add(1, Ordering::Relaxed)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_767_607_872)
    }
}

impl Harness {
    /// A portal with the tenants `carbon.super` and `abc.com`.
    pub(super) async fn new() -> Self {
        let directory = temporary_directory();
        let limits = PoolLimits { connections_max: 4, acquire_ms_max: 20_000 };
        let store = Store::open(Location::Sqlite(directory.0.join("portal.sqlite")), limits).await.unwrap();
        schema::prepare(&store).await.unwrap();
        store.write::<(), StoreError, _>(|conn| Box::pin(seed_tenants(conn))).await.unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = events.clone();
        store.on_commit(Arc::new(move |new| heard.lock().unwrap().extend_from_slice(new)));
        let clients = Arc::new(PaperKeyManager::default());
        let portal = Portal::new(PortalState {
            store,
            clock: Arc::new(FixedClock),
            rng: Arc::new(Random),
            settings: settings(),
            key_manager: clients.clone(),
        });
        let router = routes(Sink(Router::new())).0.with_state(portal.clone());
        Self { portal, clients, events, router, _directory: directory }
    }

    /// Calls as `user`; an empty name is anonymous. Roles follow the name's first letter: see [`roles_of`].
    pub(super) async fn call(&self, user: &str, method: Method, path: &str, body: &str) -> Answer {
        self.send(user, method, path, ("application/json", body)).await
    }

    /// Sends a form with text parts.
    pub(super) async fn form(&self, user: &str, method: Method, path: &str, parts: &[(&str, &str)]) -> Answer {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (name, value) in parts {
            let head = "--b\r\nContent-Disposition: form-data; name=";
            write!(text, "{head}\"{name}\"\r\n\r\n{value}\r\n").unwrap();
        }
        text.push_str("--b--\r\n");
        self.send(user, method, path, ("multipart/form-data; boundary=b", &text)).await
    }

    async fn send(&self, user: &str, method: Method, path: &str, (kind, body): (&str, &str)) -> Answer {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        // `user scope scope` narrows the call to these scopes.
        let request = if user.is_empty() { request } else { request.header("x-test-user", user) };
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(super) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap())
    }
}

async fn seed_tenants(conn: &mut claviger_store::db::Conn) -> Result<(), StoreError> {
    seed::database(conn).await?;
    let abc = tenants::insert(conn, "abc.com", "x@abc.com", FixedClock.now()).await?;
    for (id, domain) in [(TenantId::SUPER, SUPER_TENANT_DOMAIN), (abc, "abc.com")] {
        let seed = TenantSeed { id, domain: domain.into(), admin_role: "admin".into(), host: "localhost".into() };
        seed::tenant(conn, &seed, &Random).await?;
    }
    Ok(())
}

fn settings() -> PortalSettings {
    PortalSettings {
        environments: vec![Environment {
            name: "Production and Sandbox".into(),
            kind: "hybrid".into(),
            http_url: "http://gw:8280".into(),
            https_url: "https://gw:8243".into(),
        }],
        admin_role: "admin".into(),
        is_deprecated_shown: false,
        are_versions_shown: true,
        is_unlimited_offered: true,
        token_endpoint: "https://gw:8243/token".into(),
        revoke_endpoint: "https://gw:8243/revoke".into(),
        userinfo_endpoint: "https://gw:8243/userinfo".into(),
        grant_types: vec!["client_credentials".into()],
    }
}

struct Sink(Router<Portal>);

impl RouteSink for Sink {
    fn operation<H, T>(self, method: Method, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Portal> + Sync,
        T: 'static,
    {
        let check = move |request: Request, next: Next| enforce(access, request, next);
        let route = on(MethodFilter::try_from(method).unwrap(), handler).layer(from_fn(check));
        Self(self.0.route(path, route))
    }
}

/// The roles of a test user: `admin`, `creator..`, `publisher..`, `subscriber..`; others have none.
fn roles_of(name: &str) -> Vec<String> {
    let role = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    match role {
        "admin" => vec!["admin".into(), "Internal/everyone".into()],
        "creator" | "publisher" | "subscriber" => vec![format!("Internal/{role}"), "Internal/everyone".into()],
        _ => vec!["Internal/everyone".into()],
    }
}

const SCOPES: &[(&str, &[&str])] = &[
    ("creator", &["apim:api_view", "apim:api_create", "apim:api_delete", "apim:subscription_view"]),
    ("publisher", &["apim:api_view", "apim:api_publish", "apim:subscription_view", "apim:subscription_block"]),
    ("subscriber", &["apim:subscribe", "apim:app_manage", "apim:sub_manage"]),
];

async fn enforce(access: Access, mut request: Request, next: Next) -> Response {
    let header = request.headers().get("x-test-user").map(|value| value.to_str().unwrap().to_owned());
    let refused = || json(StatusCode::UNAUTHORIZED, &ErrorBody::unauthenticated());
    let Some(header) = header else {
        return if access == Access::Anonymous { next.run(request).await } else { refused() };
    };
    let username = Username::parse(&header).unwrap();
    let roles = roles_of(&username.name);
    let has_role = |group: &str| roles.iter().any(|role| role == "admin" || *role == format!("Internal/{group}"));
    let granted = SCOPES.iter().filter(|(group, _)| has_role(group)).flat_map(|(_, scopes)| *scopes);
    let scopes: Vec<String> = granted.map(|scope| (*scope).to_owned()).collect();
    let is_allowed = match access {
        Access::Scopes([]) | Access::Anonymous | Access::BasicUser => true,
        Access::Scopes(wanted) => wanted.iter().any(|scope| scopes.iter().any(|own| own == scope)),
    };
    if !is_allowed {
        return refused();
    }
    // The first tenant of a fresh database has the number 1.
    let tenant = if username.tenant == SUPER_TENANT_DOMAIN { TenantId::SUPER } else { TenantId(1) };
    request.extensions_mut().insert(Actor { username, tenant, roles, scopes });
    next.run(request).await
}

/// Keeps clients in memory.
#[derive(Default)]
pub(super) struct PaperKeyManager {
    pub(super) clients: Mutex<Vec<ClientInfo>>,
    pub(super) revoked: Mutex<Vec<String>>,
}

impl PaperKeyManager {
    fn change(&self, key: &ConsumerKey, change: impl FnOnce(&mut ClientInfo)) -> Result<ClientInfo, PortalError> {
        let mut clients = self.clients.lock().unwrap();
        let client = clients.iter_mut().find(|client| client.key == *key);
        let client = client.ok_or_else(|| PortalError::KeyManager("no such client".into()))?;
        change(client);
        Ok(client.clone())
    }
}

impl KeyManager for PaperKeyManager {
    fn find<'a>(&'a self, key: &'a ConsumerKey) -> BoxFuture<'a, Result<Option<ClientInfo>, PortalError>> {
        let found = self.clients.lock().unwrap().iter().find(|client| client.key == *key).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn find_by_name<'a>(
        &'a self,
        _tenant: TenantId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ClientInfo>, PortalError>> {
        let found = self.clients.lock().unwrap().iter().find(|client| client.name == name).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn register(&self, order: ClientOrder) -> BoxFuture<'_, Result<ClientInfo, PortalError>> {
        let client = ClientInfo {
            key: ConsumerKey(uuid(&Random)),
            secret: Secret::new(uuid(&Random)),
            name: order.name,
            owner: order.owner.to_string(),
            grants: order.grants,
            callback: order.callback,
            token_type: order.token_type,
            is_saas: order.is_saas,
        };
        self.clients.lock().unwrap().push(client.clone());
        Box::pin(async move { Ok(client) })
    }

    fn update<'a>(
        &'a self,
        key: &'a ConsumerKey,
        grants: Vec<String>,
        callback: String,
    ) -> BoxFuture<'a, Result<ClientInfo, PortalError>> {
        let changed = self.change(key, |client| (client.grants, client.callback) = (grants, callback));
        Box::pin(async move { changed })
    }

    fn renew_secret<'a>(&'a self, key: &'a ConsumerKey) -> BoxFuture<'a, Result<ClientInfo, PortalError>> {
        let changed = self.change(key, |client| client.secret = Secret::new(uuid(&Random)));
        Box::pin(async move { changed })
    }

    fn remove<'a>(&'a self, key: &'a ConsumerKey) -> BoxFuture<'a, Result<(), PortalError>> {
        self.clients.lock().unwrap().retain(|client| client.key != *key);
        Box::pin(async { Ok(()) })
    }

    fn issue<'a>(
        &'a self,
        key: &'a ConsumerKey,
        scopes: &'a [String],
    ) -> BoxFuture<'a, Result<TokenInfo, PortalError>> {
        let access_token = Secret::new(format!("token-of-{key}"));
        Box::pin(async move { Ok(TokenInfo { access_token, scopes: scopes.to_vec(), expires_in_s: 3600 }) })
    }

    fn revoke<'a>(&'a self, _key: &'a ConsumerKey, token: &'a Secret) -> BoxFuture<'a, Result<(), PortalError>> {
        self.revoked.lock().unwrap().push(token.expose().to_owned());
        Box::pin(async { Ok(()) })
    }
}
