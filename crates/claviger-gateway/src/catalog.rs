//! The gateway's copy of the control plane's data.
//!
//! Owns: what requests read (routes, clients, issuers, revocations), each readable without a lock, and how changes get in.
//! Leaves to `follow`: when to change what; to `route` and `authenticate`: what it means for a request.
//!
//! Revocations only ever add, and are consulted on every request: no order of arrival can bring a revoked token back. Their
//! number is that of the revoked tokens still alive; dropping one to keep a bound would let it pass, so there is none.

use crate::api::{Api, Application, Client, TenantNumber};
use crate::config::GatewayConfig;
use crate::model::{ApiDeployment, ApplicationEntry, Issuer, Snapshot};
use arc_swap::ArcSwap;
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ApiId, ApplicationId, ConsumerKey, SUPER_TENANT_DOMAIN};
use claviger_proto::jose::VerifyingKeys;
use claviger_proto::time::Timestamp;
use claviger_proto::user::Username;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How much longer than a token its revocation is kept, beside the skew that its end is granted: clocks of two machines.
const REVOCATION_MARGIN_MS: i64 = 60_000;

/// APIs by context.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    versioned: HashMap<String, Arc<Api>>,
    default: HashMap<String, Arc<Api>>,
    /// Slashes in the context with most of them: deeper prefixes need not be looked up.
    depth_max: usize,
}

/// One accepted issuer with its keys.
pub(crate) struct AcceptedIssuer {
    pub(crate) key_manager: String,
    /// Whose signature is enough.
    pub(crate) keys: VerifyingKeys,
    /// Who has one of these speaks for the tenant's clients and nobody else's.
    pub(crate) tenant_keys: VerifyingKeys,
    pub(crate) consumer_key_claim: String,
    pub(crate) scopes_claim: String,
}

/// Accepted issuers by tenant and `iss`.
#[derive(Default)]
pub(crate) struct Issuers {
    /// Changes with every replacement; a verdict reached with older keys is not used.
    pub(crate) generation: u64,
    by_tenant: HashMap<String, HashMap<String, AcceptedIssuer>>,
}

/// Everything a request needs to know of the control plane.
pub(crate) struct Catalog {
    routes: ArcSwap<Routes>,
    issuers: ArcSwap<Issuers>,
    /// See [`Catalog::key_changes`].
    key_changes: AtomicU64,
    clients: papaya::HashMap<ConsumerKey, Arc<[Client]>>,
    revoked_tokens: papaya::HashMap<TokenHash, Timestamp>,
    revoked_clients: papaya::HashMap<ConsumerKey, Timestamp>,
    /// By `[DOMAIN/]user@tenant`.
    revoked_users: papaya::HashMap<String, Timestamp>,
    /// What the writers alone need. Requests never take this lock.
    writing: Mutex<Writing>,
}

#[derive(Default)]
struct Writing {
    apis: BTreeMap<ApiId, Arc<Api>>,
    applications: HashMap<ApplicationId, Arc<Application>>,
    tenants: HashMap<String, TenantNumber>,
    issuers: Vec<Issuer>,
    generation: u64,
}

/// One object as the control plane has it now; `None` when it is gone.
pub(crate) enum Fetched {
    Api(ApiId, Option<Box<ApiDeployment>>),
    Application(ApplicationId, Option<Box<ApplicationEntry>>),
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Self {
            routes: ArcSwap::default(),
            issuers: ArcSwap::default(),
            key_changes: AtomicU64::new(0),
            clients: papaya::HashMap::new(),
            revoked_tokens: papaya::HashMap::new(),
            revoked_clients: papaya::HashMap::new(),
            revoked_users: papaya::HashMap::new(),
            writing: Mutex::default(),
        }
    }

    /// The API for a decoded path, and the length of the context that matched.
    pub(crate) fn find_api(&self, path: &str) -> Option<(Arc<Api>, usize)> {
        let routes = self.routes.load();
        [&routes.versioned, &routes.default].into_iter().find_map(|apis| find_longest(apis, path, routes.depth_max))
    }

    /// The issuers as they are now.
    pub(crate) fn issuers(&self) -> arc_swap::Guard<Arc<Issuers>> {
        self.issuers.load()
    }

    /// Changes with every word of a changed key: that one was changed, and that the issuers have others.
    pub(crate) fn key_changes(&self) -> u64 {
        self.key_changes.load(Ordering::Acquire)
    }

    /// A key was changed, here or at the control plane alone.
    pub(crate) fn note_key_change(&self) {
        self.key_changes.fetch_add(1, Ordering::AcqRel);
    }

    /// The client with this id at this key manager.
    pub(crate) fn find_client(&self, consumer_key: &ConsumerKey, key_manager: &str) -> Option<Client> {
        let clients = self.clients.pin();
        clients.get(consumer_key)?.iter().find(|client| *client.key_manager == *key_manager).cloned()
    }

    /// Is it surely a client of this tenant?
    pub(crate) fn is_client_of(&self, consumer_key: &ConsumerKey, key_manager: &str, tenant_domain: &str) -> bool {
        let clients = self.clients.pin();
        let Some(clients) = clients.get(consumer_key) else { return false };
        let keys = clients.iter().flat_map(|client| &client.application.keys);
        let mut own = keys.filter(|key| key.consumer_key == *consumer_key && key.key_manager == key_manager).peekable();
        own.peek().is_some() && own.all(|key| key.tenant_domain.as_deref() == Some(tenant_domain))
    }

    /// The applications of a client that has a tenant. What became of it shows in them.
    pub(crate) fn applications_of_tenant_client(&self, consumer_key: &ConsumerKey) -> Vec<ApplicationId> {
        let clients = self.clients.pin();
        let clients = clients.get(consumer_key).into_iter().flat_map(|clients| clients.iter());
        let of_tenant = clients.filter(|client| {
            let mut keys = client.application.keys.iter();
            keys.any(|key| key.consumer_key == *consumer_key && key.tenant_domain.is_some())
        });
        of_tenant.map(|client| client.application.id).collect()
    }

    /// Was this token revoked?
    pub(crate) fn is_token_revoked(&self, token: &TokenHash) -> bool {
        self.revoked_tokens.pin().contains_key(token)
    }

    /// Were a client's self-contained tokens revoked that it was issued at this instant?
    pub(crate) fn is_client_revoked(&self, consumer_key: &ConsumerKey, issued_at: Timestamp) -> bool {
        self.revoked_clients.pin().get(consumer_key).is_some_and(|before| issued_at < *before)
    }

    /// Were the tokens revoked that the user whom a token names was given at this instant?
    pub(crate) fn is_user_revoked(&self, name: &str, issued_at: Timestamp) -> bool {
        // As a rule there are none, and nothing is parsed.
        if self.revoked_users.is_empty() {
            return false;
        }
        let Ok(user) = Username::parse(name) else { return false };
        self.revoked_users.pin().get(&user.with_tenant()).is_some_and(|before| issued_at < *before)
    }

    /// Revoked tokens that are remembered.
    pub(crate) fn revoked_count(&self) -> usize {
        self.revoked_tokens.len()
    }

    /// Applies an event that carries all it needs. Returns false for the others.
    pub(crate) fn apply_revocation(&self, event: &Event) -> bool {
        match event {
            Event::TokenRevoked { token, expires_at } => {
                self.revoke_token(*token, *expires_at);
                true
            }
            Event::ClientRevoked { consumer_key, before } => {
                self.revoke_client(consumer_key, *before);
                true
            }
            Event::UserRevoked { subject, before } => {
                self.revoke_user(subject, *before);
                true
            }
            Event::ApiChanged { .. }
            | Event::ApplicationChanged { .. }
            | Event::ClientChanged { .. }
            | Event::PoliciesChanged { .. }
            | Event::KeysChanged
            | Event::TokenRetired { .. }
            | Event::Unknown
            | Event::UserChanged { .. } => false,
        }
    }

    fn revoke_token(&self, token: TokenHash, expires_at: Timestamp) {
        let later = |known: &Timestamp| (*known).max(expires_at);
        self.revoked_tokens.pin().update_or_insert(token, later, expires_at);
    }

    fn revoke_client(&self, consumer_key: &ConsumerKey, before: Timestamp) {
        let later = |known: &Timestamp| (*known).max(before);
        self.revoked_clients.pin().update_or_insert(consumer_key.clone(), later, before);
    }

    fn revoke_user(&self, subject: &str, before: Timestamp) {
        let later = |known: &Timestamp| (*known).max(before);
        self.revoked_users.pin().update_or_insert(subject.to_owned(), later, before);
    }

    /// Forgets the revocations of tokens that are past their end in any case.
    pub(crate) fn expire_revocations(&self, now: Timestamp, config: &GatewayConfig) {
        let kept_ms = config.clock_skew_ms.saturating_add(REVOCATION_MARGIN_MS);
        self.revoked_tokens.pin().retain(|_, expires_at| expires_at.plus_millis(kept_ms) > now);
    }

    /// Replaces everything by a snapshot. Revocations are only added.
    pub(crate) fn replace(&self, snapshot: Snapshot, config: &GatewayConfig) {
        for revoked in &snapshot.revoked_tokens {
            self.revoke_token(revoked.token, revoked.expires_at);
        }
        for revoked in &snapshot.revoked_clients {
            self.revoke_client(&revoked.consumer_key, revoked.before);
        }
        for revoked in &snapshot.revoked_users {
            self.revoke_user(&revoked.subject, revoked.before);
        }
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.store_issuers(&mut writing, snapshot.issuers);
        let gone: HashSet<ApplicationId> = writing.applications.keys().copied().collect();
        let present: HashSet<ApplicationId> = snapshot.applications.iter().map(|entry| entry.id).collect();
        for id in gone.difference(&present) {
            self.set_application(&mut writing, *id, None);
        }
        for entry in snapshot.applications {
            self.set_application(&mut writing, entry.id, Some(Application::new(entry)));
        }
        writing.apis.clear();
        for deployment in snapshot.apis {
            writing.set_api(deployment.id, Some(deployment), config);
        }
        self.routes.store(Arc::new(Routes::new(&writing.apis)));
    }

    /// Takes in objects that were fetched again. The routes are built once for all of them.
    pub(crate) fn update(&self, fetched: Vec<Fetched>, config: &GatewayConfig) {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_routing_changed = false;
        for object in fetched {
            match object {
                Fetched::Api(id, deployment) => {
                    writing.set_api(id, deployment.map(|boxed| *boxed), config);
                    is_routing_changed = true;
                }
                Fetched::Application(id, entry) => {
                    self.set_application(&mut writing, id, entry.map(|entry| Application::new(*entry)));
                }
            }
        }
        if is_routing_changed {
            self.routes.store(Arc::new(Routes::new(&writing.apis)));
        }
    }

    /// Replaces the issuers.
    pub(crate) fn set_issuers(&self, issuers: Vec<Issuer>) {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.store_issuers(&mut writing, issuers);
    }

    fn store_issuers(&self, writing: &mut Writing, issuers: Vec<Issuer>) {
        if writing.issuers == issuers {
            // Parsing keys is dear and a new generation costs every cached JWT a check.
            return;
        }
        writing.generation += 1;
        self.issuers.store(Arc::new(Issuers::new(&issuers, writing.generation)));
        self.note_key_change();
        writing.issuers = issuers;
    }

    fn set_application(&self, writing: &mut Writing, id: ApplicationId, application: Option<Application>) {
        let application = application.map(Arc::new);
        let before = match &application {
            Some(application) => writing.applications.insert(id, Arc::clone(application)),
            None => writing.applications.remove(&id),
        };
        let keys_of = |application: &Option<Arc<Application>>| -> Vec<ConsumerKey> {
            application.iter().flat_map(|application| &application.keys).map(|key| key.consumer_key.clone()).collect()
        };
        let touched: HashSet<ConsumerKey> = keys_of(&before).into_iter().chain(keys_of(&application)).collect();
        let clients = self.clients.pin();
        for consumer_key in touched {
            let present = clients.get(&consumer_key);
            let others = present.iter().flat_map(|present| present.iter()).filter(|client| client.application.id != id);
            let own = application.iter().flat_map(|application| {
                let keys = application.keys.iter().filter(|key| key.consumer_key == consumer_key);
                keys.map(|key| Client {
                    application: Arc::clone(application),
                    key_type: key.key_type,
                    key_manager: key.key_manager.as_str().into(),
                })
            });
            // An application's own and newest mapping comes first.
            let list: Arc<[Client]> = own.chain(others.cloned()).collect();
            if list.is_empty() {
                clients.remove(&consumer_key);
            } else {
                clients.insert(consumer_key, list);
            }
        }
    }
}

impl Writing {
    fn set_api(&mut self, id: ApiId, deployment: Option<ApiDeployment>, config: &GatewayConfig) {
        let Some(deployment) = deployment else {
            self.apis.remove(&id);
            return;
        };
        let next = TenantNumber(u32::try_from(self.tenants.len()).unwrap_or(u32::MAX));
        let tenant = *self.tenants.entry(deployment.tenant_domain.clone()).or_insert(next);
        self.apis.insert(id, Arc::new(Api::new(deployment, tenant, config)));
    }
}

impl Routes {
    /// Of two APIs with one context the older (smaller id) is served.
    fn new(apis: &BTreeMap<ApiId, Arc<Api>>) -> Self {
        let mut routes = Self::default();
        for api in apis.values() {
            routes.versioned.entry(api.context.clone()).or_insert_with(|| Arc::clone(api));
            if let Some(context) = &api.default_context {
                routes.default.entry(context.clone()).or_insert_with(|| Arc::clone(api));
            }
        }
        let contexts = routes.versioned.keys().chain(routes.default.keys());
        routes.depth_max = contexts.map(|context| context.matches('/').count()).max().unwrap_or(0);
        routes
    }
}

/// Looks up the prefixes of a path that end at a slash or at its end, longest first.
fn find_longest(apis: &HashMap<String, Arc<Api>>, path: &str, depth_max: usize) -> Option<(Arc<Api>, usize)> {
    if apis.is_empty() {
        return None;
    }
    let ends = path.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'/').map(|(index, _)| index);
    // Cut to the deepest context there is, so that a path of thousands of slashes costs no more than another.
    let mut end = ends.chain([path.len()]).take(depth_max).last();
    while let Some(length) = end {
        if let Some(api) = apis.get(&path[..length]) {
            return Some((Arc::clone(api), length));
        }
        end = path[..length].rfind('/').filter(|slash| *slash > 0);
    }
    None
}

impl Issuers {
    fn new(issuers: &[Issuer], generation: u64) -> Self {
        let mut by_tenant: HashMap<String, HashMap<String, AcceptedIssuer>> = HashMap::new();
        for issuer in issuers {
            // Of keys that may be a tenant's none is known: the control plane knows whose they are.
            let are_common = issuer.tenant_jwks.is_some() || issuer.tenant_domain == SUPER_TENANT_DOMAIN;
            let accepted = AcceptedIssuer {
                key_manager: issuer.key_manager.clone(),
                keys: if are_common { VerifyingKeys::new(&issuer.jwks) } else { VerifyingKeys::default() },
                tenant_keys: issuer.tenant_jwks.as_ref().map(VerifyingKeys::new).unwrap_or_default(),
                consumer_key_claim: issuer.consumer_key_claim.clone(),
                scopes_claim: issuer.scopes_claim.clone(),
            };
            by_tenant.entry(issuer.tenant_domain.clone()).or_default().insert(issuer.issuer.clone(), accepted);
        }
        Self { generation, by_tenant }
    }

    /// The issuer whose tokens the APIs of a tenant accept.
    pub(crate) fn find(&self, tenant_domain: &str, issuer: &str) -> Option<&AcceptedIssuer> {
        self.by_tenant.get(tenant_domain)?.get(issuer)
    }
}
