//! The program's portal over a temporary database, with users for every role.

use crate::app::App;
use crate::config::Config;
use crate::files::DataDir;
use crate::http::routes::Routes;
use crate::ops::Metrics;
use crate::{portal, startup};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use claviger_proto::encode::base64;
use claviger_proto::entropy::{Entropy, uuid};
use claviger_proto::event::Event;
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::password::StoredPassword;
use claviger_proto::secret::Secret;
use claviger_proto::time::{Clock, Timestamp};
use claviger_store::clients;
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::seed::{self, TenantSeed};
use claviger_store::tenants;
use claviger_store::users::{self, NewUser};
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tower_service::Service as _;

const PASSWORD: &str = "test-password";

pub(super) struct Harness {
    pub(super) clock: Arc<ManualClock>,
    pub(super) portal: Arc<App>,
    events: Arc<Mutex<Vec<Event>>>,
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

const START: Timestamp = Timestamp::from_secs(1_767_607_872);

/// A clock that stands still until it is moved.
#[derive(Default)]
pub(super) struct ManualClock {
    seconds: AtomicI64,
}

impl ManualClock {
    pub(super) fn advance_s(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        START.plus_millis(1000 * self.seconds.load(Ordering::Relaxed))
    }
}

impl Harness {
    /// A portal with the tenants `carbon.super` and `abc.com`, each with a user for every role.
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with another configuration.
    pub(super) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = temporary_directory();
        let mut config = Config::default_for(directory.path());
        config.super_admin.password = Some(Secret::new(PASSWORD));
        let environment = &mut config.environments[0];
        "Production and Sandbox".clone_into(&mut environment.name);
        environment.http_endpoints = vec!["http://gw:8280".into()];
        environment.https_endpoints = vec!["https://gw:8243".into()];
        change(&mut config);
        let data_dir = DataDir::open(directory.path()).unwrap();
        let (clock, rng) = (Arc::new(ManualClock::default()), Arc::new(Random));
        let metrics = Arc::new(Metrics::default());
        let started = startup::start(config, &data_dir, metrics, clock.clone(), rng).await.unwrap();
        let app = started.app;
        app.store.write::<(), StoreError, _>(|conn| Box::pin(seed_users(conn))).await.unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = events.clone();
        app.store.on_commit(Arc::new(move |new| heard.lock().unwrap().extend_from_slice(new)));
        let (router, _) = Routes::new(app.clone()).with(portal::routes).finish();
        Self { portal: app, clock, events, router, _directory: directory }
    }

    /// Client id of the client with this name.
    pub(super) async fn client_named(&self, name: &str) -> Option<ConsumerKey> {
        let mut conn = self.portal.store.reader().await.unwrap();
        clients::find_key_by_name(&mut conn, TenantId::SUPER, name).await.unwrap().flatten()
    }

    /// Calls as `user`; an empty name is anonymous.
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
        let credentials = format!("Basic {}", base64(format!("{user}:{PASSWORD}").as_bytes()));
        let request = if user.is_empty() { request } else { request.header("authorization", credentials) };
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

/// Users by the role `Internal/..` that they hold, or `admin`.
const USERS: &[(&str, &str)] = &[
    ("creator", "creator"),
    ("creator2", "creator"),
    ("publisher", "publisher"),
    ("subscriber", "subscriber"),
    ("subscriber2", "subscriber"),
];

async fn seed_users(conn: &mut Conn) -> Result<(), StoreError> {
    let abc = tenants::insert(conn, "abc.com", "x@abc.com", START).await?;
    let seed = TenantSeed { id: abc, domain: "abc.com".into(), admin_role: "admin".into(), host: "localhost".into() };
    seed::tenant(conn, &seed, &Random).await?;
    let admin = insert_user(conn, abc, "admin").await?;
    users::add_role(conn, abc, admin, "admin").await?;
    for tenant in [TenantId::SUPER, abc] {
        for (name, role) in USERS {
            insert_user(conn, tenant, name).await?;
            users::add_hybrid_role(conn, tenant, name, role).await?;
        }
    }
    Ok(())
}

async fn insert_user(conn: &mut Conn, tenant: TenantId, name: &str) -> Result<i64, StoreError> {
    let password = StoredPassword::new(&Secret::new(PASSWORD), &Random);
    let user = NewUser { uuid: uuid(&Random), name: name.to_owned(), password, tenant };
    users::insert(conn, &user, START).await
}
