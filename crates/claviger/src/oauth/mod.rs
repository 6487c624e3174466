//! The OAuth 2.0 server: one pipeline for every grant (contract rest-3x.md 1; RFC 6749, 7009, 7662, 8414).
//!
//! `token` reads the request, `client_auth` finds out which client it is, one file per grant decides whom a token is for,
//! `issue` makes or re-uses it, `id_token` says who its user is, `reply` writes the answer. Rules that need no state live in `claviger_proto`.

pub mod authorize;
pub mod client_auth;
pub mod client_end;
pub mod dcr;
pub mod discovery;
pub mod form_request;
pub mod grant;
mod id_token;
pub mod introspect;
pub mod issue;
pub mod keys;
mod namesakes;
mod past_revocation;
mod present;
pub mod reply;
pub mod revoke;
pub mod scope_api;
pub mod scope_policy;
pub mod tenant_keys;
mod together;
pub mod token;
pub mod user_end;
pub mod userinfo;

use crate::cache::ReadThrough;
use crate::config::pattern::Pattern;
use crate::http::access::Rule;
use crate::http::routes::Routes;
use crate::notifications::outbox::Outbox;
use axum::http::Method;
use claviger_proto::entropy::Entropy;
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ConsumerKey, ConsumerKeyId, TenantId};
use claviger_proto::secret::Secret;
use claviger_proto::time::{Clock, Timestamp};
use claviger_proto::user::{NameRule, Username};
use claviger_store::client_details;
use claviger_store::clients::{self, Client};
use claviger_store::conn::READ_MS_MAX;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::forms::ClientSecret;
use claviger_store::revocations;
use claviger_store::tokens;
use claviger_store::tokens::{Token, TokenKey};
use quick_cache::sync::Cache;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore};

/// Clients, tokens and token keys that are remembered.
const CLIENTS_MAX: usize = 20_000;
const TOKENS_MAX: usize = 200_000;
/// Tenants whose identity provider is remembered.
const TENANTS_MAX: usize = 10_000;
/// Users of whom it is remembered whether their tokens were revoked.
const USERS_MAX: usize = 20_000;
/// How far the clocks of the key manager and of a gateway may be apart.
const CLOCKS_APART_MS_MAX: i64 = 60_000;
/// What a commit and the reading of its event may take beside the wait for the next look.
const COMMIT_MS: i64 = 1_000;
/// Locks that let identical token requests in one process go one after the other; two keys may share one.
const KEY_LOCKS: usize = 1024;
/// Longest wait for such a lock. It spares the database requests that are the same; keys that share it are not to wait for each
/// other's clients, and without it all is as between two nodes.
const KEY_LOCK_MS_MAX: u64 = 1_000;
/// Writes of one client's tokens that may be under way, each with a connection: most wait for each other in the database.
const CLIENT_WRITES_MAX: usize = 4;
/// Clients share places when there are more of them.
const CLIENT_PLACES: usize = 1024;

/// What configuration says to the OAuth server.
#[derive(Clone, Debug)]
pub struct OAuthSettings {
    /// `https://host:port`: every advertised URL begins with it.
    pub base_url: String,
    /// `iss` of tokens and of discovery.
    pub issuer: String,
    /// Realm of Basic challenges.
    pub host: String,
    /// Life of authorization codes in seconds.
    pub code_s: i64,
    /// Life of end-user tokens in seconds; negative: never ends.
    pub user_access_s: i64,
    /// Life of application tokens in seconds; negative: never ends.
    pub application_access_s: i64,
    /// Life of refresh tokens in seconds; negative: never ends.
    pub refresh_s: i64,
    /// Life of ID tokens in seconds.
    pub id_s: i64,
    /// A refresh gives a new refresh token, unless the application says otherwise.
    pub is_refresh_renewed: bool,
    /// Never hand out the active opaque token again.
    pub is_access_renewed_per_request: bool,
    /// Keep a row for each JWT.
    pub is_jwt_persisted: bool,
    /// Which spellings name one user.
    pub name_rule: NameRule,
    /// Longest time between two looks of another node at the log of events.
    pub news_ms_max: i64,
    /// Tolerance for clocks, added to what is left of a token.
    pub skew_ms: i64,
    /// Patterns of scopes that anybody may have (`apim.oauth_config.allowed_scopes`).
    pub allowed_scopes: Vec<Pattern>,
    /// Ids of the listeners that are told of dead tokens.
    pub listeners: Vec<String>,
}

impl OAuthSettings {
    /// Tokens whose end is before this are accepted nowhere: neither where the skew lets them live on, nor on a gateway whose
    /// clock is behind. Up to there a revocation is written, kept and told.
    pub fn ended_before(&self, now: Timestamp) -> Timestamp {
        now.plus_millis(self.skew_ms.saturating_add(CLOCKS_APART_MS_MAX).saturating_neg())
    }

    /// JWTs that name an earlier instant are dead when their client's are revoked now. They name whole seconds: everything up
    /// to the end of this one is dead. One without a row is issued without a look at the database, until the news is there.
    pub fn revoked_before(&self, now: Timestamp) -> Timestamp {
        let news_ms = if self.is_jwt_persisted { 0 } else { self.news_ms() };
        Timestamp::from_secs(now.plus_millis(news_ms).as_secs() + 1)
    }

    /// The same for a user's. Other nodes know him by what they remember: whom they authorize before this instant may have been let
    /// in with a password, a role or a state that he has no more.
    pub fn user_revoked_before(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_secs(now.plus_millis(self.news_ms()).as_secs() + 1)
    }

    /// By when every node has heard of a change, in milliseconds.
    fn news_ms(&self) -> i64 {
        self.news_ms_max.saturating_add(COMMIT_MS)
    }
}

/// A client with what the gateway must also know of it.
#[derive(Debug)]
pub struct KnownClient {
    /// The registration.
    pub client: Client,
    /// Self-contained tokens issued before this instant are dead.
    pub revoked_before: Option<Timestamp>,
    /// Scopes assigned to it, once somebody has asked.
    assigned: OnceLock<Vec<String>>,
}

impl KnownClient {
    /// The same with the secret that its requester is to be told: the database may hold only its hash.
    pub(crate) fn with_secret(&self, secret: &Secret) -> Arc<Self> {
        let client = Client { secret: ClientSecret::Text(secret.clone()), ..self.client.clone() };
        Arc::new(Self { client, revoked_before: self.revoked_before, assigned: self.assigned.clone() })
    }
}

/// The OAuth server's state. Everything in it can be rebuilt from the database.
pub struct OAuth {
    /// The database.
    pub store: Store,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Entropy>,
    /// Signing keys.
    pub keys: keys::Keys,
    /// Settings.
    pub settings: Arc<OAuthSettings>,
    clients: ReadThrough<ConsumerKey, KnownClient>,
    /// Tokens by the digest of their identifier: introspection and re-use both end here, and a revocation kills the entry.
    tokens: ReadThrough<TokenHash, Token>,
    /// Which token was last active for a key. Only a hint: the token itself is found in `tokens` or read again.
    active: Cache<TokenKey, TokenHash>,
    key_locks: Vec<Mutex<()>>,
    client_places: Vec<Arc<Semaphore>>,
    /// Nobody can choose what shares a lock or a place with others'.
    hasher: RandomState,
    /// IDP.ID of a tenant's resident identity provider, where token rows name it.
    idps: ReadThrough<TenantId, Option<i64>>,
    /// By `[DOMAIN/]user@tenant`.
    revoked_users: ReadThrough<String, Option<Timestamp>>,
    together: together::Together,
    /// Where API Manager's news is written down.
    pub(crate) outbox: Outbox,
}

impl OAuth {
    /// A server over a store.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Entropy>,
        keys: keys::Keys,
        settings: OAuthSettings,
    ) -> Self {
        Self {
            together: together::Together::new(store.clone(), settings.name_rule),
            outbox: Outbox::new(settings.listeners.clone(), settings.is_jwt_persisted, rng.clone()),
            idps: ReadThrough::new(TENANTS_MAX),
            revoked_users: ReadThrough::new(USERS_MAX),
            store,
            clock,
            rng,
            keys,
            settings: Arc::new(settings),
            clients: ReadThrough::new(CLIENTS_MAX),
            tokens: ReadThrough::new(TOKENS_MAX),
            active: Cache::new(TOKENS_MAX),
            key_locks: (0..KEY_LOCKS).map(|_| Mutex::new(())).collect(),
            client_places: (0..CLIENT_PLACES).map(|_| Arc::new(Semaphore::new(CLIENT_WRITES_MAX))).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Takes notice of a committed event, of this node or another. Idempotent.
    pub fn apply(&self, event: &Event) {
        match event {
            Event::TokenRevoked { token, .. } | Event::TokenRetired { token } => self.tokens.forget(token),
            Event::ClientChanged { consumer_key } => self.clients.forget(consumer_key),
            Event::ClientRevoked { consumer_key, .. } => {
                self.clients.forget(consumer_key);
                self.tokens.forget_all();
            }
            Event::UserChanged { .. } => self.tokens.forget_all(),
            Event::UserRevoked { subject, .. } => self.revoked_users.forget(subject),
            Event::ApiChanged { .. }
            | Event::ApplicationChanged { .. }
            | Event::PoliciesChanged { .. }
            | Event::Unknown => {}
            Event::KeysChanged => self.keys.tenants.look_again(),
        }
    }

    /// Forgets every cached value.
    pub fn forget_everything(&self) {
        self.clients.forget_all();
        self.tokens.forget_all();
        self.revoked_users.forget_all();
        self.keys.tenants.look_again();
    }

    /// A client by its exact id.
    pub async fn find_client(&self, key: &ConsumerKey) -> Result<Option<Arc<KnownClient>>, StoreError> {
        let load = async || {
            let mut conn = self.store.reader().await?;
            let Some(client) = clients::find(&mut conn, key).await? else { return Ok(None) };
            let revoked_before = revocations::find_client(&mut conn, key).await?;
            Ok(Some(KnownClient { client, revoked_before, assigned: OnceLock::new() }))
        };
        self.clients.find_or_load(key, load).await
    }

    /// The scopes assigned to an application (`application_scopes`); none for most. As old as what is known of the client.
    pub async fn assigned_scopes<'a>(&self, known: &'a KnownClient) -> Result<&'a [String], StoreError> {
        if let Some(assigned) = known.assigned.get() {
            return Ok(assigned);
        }
        // Side by side: of those who line up for a database that is away, the last would wait as many times as there are others.
        let assigned = client_details::find_scopes(&mut self.store.reader().await?, &known.client).await?;
        Ok(known.assigned.get_or_init(|| assigned))
    }

    /// A token by its opaque text or `jti`, whatever its state, as it is since its last change.
    pub async fn find_token(&self, hash: &TokenHash, identifier: &str) -> Result<Option<Arc<Token>>, StoreError> {
        let load = async || {
            let mut conn = self.store.reader().await?;
            tokens::find_by_access(&mut conn, identifier).await
        };
        self.tokens.find_or_load(hash, load).await
    }

    /// The instant before which a user's tokens are dead, and whatever he was given before it may not be used for new ones: an
    /// administrator changed him, or a key manager said so.
    pub(crate) async fn find_user_revocation(&self, user: &Username) -> Result<Option<Timestamp>, StoreError> {
        let subject = user.with_tenant();
        let load = async || revocations::find_user(&mut self.store.reader().await?, &subject).await.map(Some);
        Ok(self.revoked_users.find_or_load(&subject, load).await?.and_then(|before| *before))
    }

    /// What is remembered of a user's revocation is over.
    fn forget_user(&self, user: &Username) {
        self.revoked_users.forget(&user.with_tenant());
    }

    /// A tenant's resident identity provider as token rows name it.
    async fn find_idp(&self, tenant: TenantId) -> Result<Option<i64>, StoreError> {
        let load = async || {
            if let Some(idp) = tokens::seek_local_idp(&mut self.store.reader().await?, tenant).await? {
                return Ok(Some(Some(idp)));
            }
            // A row that is missing is made, and remembered after the commit.
            let write = self.store.write(move |conn| Box::pin(tokens::local_idp(conn, tenant)));
            write.await.map(Some)
        };
        Ok(self.idps.find_or_load(&tenant, load).await?.and_then(|idp| *idp))
    }

    async fn lock(&self, key: &TokenKey) -> Option<MutexGuard<'_, ()>> {
        let lock = self.key_locks[self.index(key, KEY_LOCKS)].lock();
        tokio::time::timeout(Duration::from_millis(KEY_LOCK_MS_MAX), lock).await.ok()
    }

    /// A place for a write of a client's tokens: one client with many requests does not take every connection. It is waited for
    /// half as long as a connection, for which one waits afterwards, and no longer than a statement: a client that somebody holds
    /// is not to fill the server.
    async fn client_place(&self, client: ConsumerKeyId) -> Result<OwnedSemaphorePermit, StoreError> {
        let place = self.client_places[self.index(client, CLIENT_PLACES)].clone().acquire_owned();
        let place =
            tokio::time::timeout((self.store.wait_max() / 2).min(Duration::from_millis(READ_MS_MAX)), place).await;
        place.ok().and_then(Result::ok).ok_or(StoreError::NoPlace)
    }

    fn index(&self, key: impl Hash, places: usize) -> usize {
        usize::try_from(self.hasher.hash_one(key) % places as u64).unwrap_or(0)
    }
}

/// The permissions of application management, which registration, scopes and introspection ask for (rest-3x.md 6.1).
const VIEW: Rule = Rule::Permission("/permission/admin/manage/identity/applicationmgt/view");
const CREATE: Rule = Rule::Permission("/permission/admin/manage/identity/applicationmgt/create");
const UPDATE: Rule = Rule::Permission("/permission/admin/manage/identity/applicationmgt/update");
const DELETE: Rule = Rule::Permission("/permission/admin/manage/identity/applicationmgt/delete");

/// The routes of the OAuth server.
pub fn routes(routes: Routes) -> Routes {
    const PUBLISHED: Rule = Rule::Public("keys and metadata are published (RFC 8414)");
    const BEARER: Rule = Rule::Public("the handler asks for an access token with the scope openid");
    routes
        .add(Method::POST, "/oauth2/token", Rule::OAuthClient, token::token)
        .add(Method::POST, "/oauth2/revoke", Rule::OAuthClient, revoke::revoke)
        .add(Method::POST, "/oauth2/introspect", VIEW, introspect::introspect)
        .add(Method::GET, "/oauth2/jwks", PUBLISHED, discovery::jwks)
        .add(Method::GET, "/oauth2/{name}/.well-known/openid-configuration", PUBLISHED, discovery::metadata)
        .add(
            Method::GET,
            "/.well-known/oauth-authorization-server/oauth2/token",
            PUBLISHED,
            discovery::authorization_server,
        )
        .add(Method::GET, "/oauth2/userinfo", BEARER, userinfo::userinfo)
        .add(Method::POST, "/oauth2/userinfo", BEARER, userinfo::userinfo)
        .with(authorize::routes)
        .with(dcr::connector::routes)
        .with(dcr::native::routes)
        .with(scope_api::routes)
}
