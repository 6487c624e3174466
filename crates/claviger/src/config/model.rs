//! `Config`: the typed values of deployment.toml. One struct per section; the words are in `keys`.

use super::database::{DatabaseUrl, SQLITE_FILE};
use super::pattern::Pattern;
use super::profile::Profile;
use claviger_proto::account::LockRule;
use claviger_proto::password::PasswordForm;
use claviger_proto::secret::Secret;
use claviger_proto::time::Zone;
use claviger_proto::user::NameRule;
use http::HeaderName;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use url::Url;

/// Everything configurable.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[super_admin]`.
    pub super_admin: SuperAdmin,
    /// `[user_store]`: how the primary user store keeps passwords.
    pub password_form: PasswordForm,
    /// `[user_store]`: which spellings name one user.
    pub name_rule: NameRule,
    /// `[identity_mgt.account_locking]`; `None`: wrong passwords lock nobody.
    pub lock_rule: Option<LockRule>,
    /// `[event.default_listener.governance_identity_store]`: attributes of users say what is known of their accounts.
    pub are_accounts_in_attributes: bool,
    /// `[database.*]`, `[[datasource]]`: which database holds what.
    pub databases: Databases,
    /// `[keystore.*]`, `[truststore]`.
    pub keystore: Keystores,
    /// `[oauth]`.
    pub oauth: OAuth,
    /// `[apim.key_manager]`.
    pub key_manager: KeyManager,
    /// `[apim.oauth_config]`.
    pub apim_oauth: ApimOAuth,
    /// `[[apim.gateway.environment]]`; never empty.
    pub environments: Vec<Environment>,
    /// `[apim.cors]`.
    pub cors: Cors,
    /// `[gateway]`.
    pub gateway: Gateway,
    /// `[events]`.
    pub events: Events,
    /// `[oauth.token_cleanup]`, `[cleanup]`.
    pub cleanup: Cleanup,
    /// `[[event_listener]]`: who is told of dead tokens.
    pub listeners: Vec<Listener>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[[resource.access_control]]`, in file order.
    pub access_rules: Vec<AccessRule>,
    /// `[tenant_context.rewrite]`: beginnings of paths, more than the built-in ones, that are served below `/t/{tenant}`.
    pub tenant_paths: Vec<String>,
}

impl Config {
    /// The built-in defaults, with the embedded database in `data_dir`.
    #[expect(clippy::missing_panics_doc, reason = "the defaults are constants and a test loads them")]
    pub fn default_for(data_dir: &Path) -> Self {
        let loaded = super::load("", "(defaults)", &|_| None);
        loaded.expect("an empty file is valid: a test loads it").config.in_data_dir(data_dir)
    }

    /// The same with all relative files made relative to `data_dir`, and without the stores that nobody configured and
    /// that are not there.
    #[must_use]
    pub fn in_data_dir(mut self, data_dir: &Path) -> Self {
        for database in self.databases.all_mut() {
            database.url = std::mem::take(&mut database.url).in_data_dir(data_dir);
        }
        self.server.home = data_dir.join(&self.server.home);
        let stores = &mut self.keystore;
        for role in [&mut stores.primary, &mut stores.internal, &mut stores.tls] {
            *role = role.take().and_then(|mut store| {
                store.file = data_dir.join(&store.file);
                store.key_file = store.key_file.map(|file| data_dir.join(file));
                (store.is_configured || store.file.exists()).then_some(store)
            });
        }
        stores.trust = stores.trust.take().and_then(|mut store| {
            store.file = data_dir.join(&store.file);
            (store.is_configured || store.file.exists()).then_some(store)
        });
        self
    }

    /// A base port with the offset.
    pub fn port(&self, base: u16) -> u16 {
        base.saturating_add(self.server.offset)
    }
}

/// `[server]`.
#[derive(Clone, Debug)]
pub struct Server {
    /// Public host name.
    pub hostname: String,
    /// This node's address.
    pub node_ip: String,
    /// Prefix of endpoint URLs, without a trailing slash.
    pub base_path: String,
    /// Added to every port.
    pub offset: u16,
    /// Roles of `server.server_role`; the command line wins.
    pub profile: Profile,
    /// Address to listen on.
    pub bind_address: IpAddr,
    /// Who may use the plain management port.
    pub plain_http: PlainHttp,
    /// Longest shutdown, seconds.
    pub shutdown_deadline_s: u64,
    /// Home of the old server, whose files beside its configuration are read; relative to the data directory. Empty: that.
    pub home: PathBuf,
}

/// Who may use the plain management port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// Loopback clients.
    Loopback,
    /// Everyone.
    All,
    /// Nobody: it is not opened.
    Off,
}

/// `[super_admin]`.
#[derive(Clone, Debug)]
pub struct SuperAdmin {
    /// Name.
    pub username: String,
    /// Password; `None`: make one up.
    pub password: Option<Secret>,
    /// Administrators' role.
    pub admin_role: String,
    /// Whether the first start creates the account.
    pub is_account_created: bool,
}

/// Which database holds which family of tables (database.md 1.1). Families in the same database have the same `url` and
/// `pool`, those of the first of them in the order below.
#[derive(Clone, Debug)]
pub struct Databases {
    /// IDN_*, SP_*, IDP_*, CM_* and our own CLV_*.
    pub identity: Database,
    /// AM_*.
    pub api: Database,
    /// UM_*.
    pub user: Database,
    /// REG_*.
    pub registry: Database,
    /// Zone of the wall clocks in the token tables (database.md 1.4).
    pub token_time_zone: Zone,
    /// Somebody named it; otherwise an old driver may have written another.
    pub is_token_time_zone_set: bool,
    /// Zone of the other wall clocks in the WSO2 tables.
    pub local_time_zone: Zone,
}

impl Databases {
    /// The four, with the name of their tables' family.
    pub fn all(&self) -> [(&'static str, &Database); 4] {
        [("identity", &self.identity), ("API-M", &self.api), ("user", &self.user), ("registry", &self.registry)]
    }

    fn all_mut(&mut self) -> [&mut Database; 4] {
        [&mut self.identity, &mut self.api, &mut self.user, &mut self.registry]
    }
}

/// One database.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its section, for messages: `database.apim_db`, `datasource WSO2UM_DB`, `embedded database`.
    pub name: String,
    /// Where.
    pub url: DatabaseUrl,
    /// The H2 database that the section names, for which the embedded one stands in: its file without endings.
    pub h2_file: Option<PathBuf>,
    /// Pool.
    pub pool: Pool,
}

/// `[database.*.pool_options]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Most connections.
    pub connections_max: u32,
    /// Connections kept when idle.
    pub connections_idle_min: u32,
    /// Longest wait for one.
    pub acquire_timeout_ms: u64,
    /// Ping before use.
    pub is_tested_on_borrow: bool,
}

/// Key files. `None` (after `Config::in_data_dir`): neither configured nor there, so they are made in the data directory,
/// or for `trust` the built-in list counts.
#[derive(Clone, Debug)]
pub struct Keystores {
    /// Signing.
    pub primary: Option<KeystoreSettings>,
    /// Encryption of stored secrets; as `primary` where its section says nothing.
    pub internal: Option<KeystoreSettings>,
    /// Server certificate; as `primary` where its section says nothing.
    pub tls: Option<KeystoreSettings>,
    /// Certificates trusted for outgoing TLS.
    pub trust: Option<TruststoreSettings>,
}

/// One key store.
#[derive(Clone, Debug)]
pub struct KeystoreSettings {
    /// The section that names the file, for messages: `keystore.primary` also where another role takes that over.
    pub section: &'static str,
    /// The file. PEM: the chain, and the key unless `key_file` is set.
    pub file: PathBuf,
    /// What is in it.
    pub format: StoreFormat,
    /// PEM only: the key.
    pub key_file: Option<PathBuf>,
    /// Password of the store; means nothing for PEM, as the two below.
    pub password: Secret,
    /// Entry of the key.
    pub alias: String,
    /// Password of the key.
    pub key_password: Secret,
    /// Whether a section speaks of it. Otherwise these are WSO2's shipped values, which count if the file is there.
    pub is_configured: bool,
}

/// `[truststore]`.
#[derive(Clone, Debug)]
pub struct TruststoreSettings {
    /// The file.
    pub file: PathBuf,
    /// What is in it.
    pub format: StoreFormat,
    /// Password of the store; means nothing for PEM.
    pub password: Secret,
    /// As for key stores.
    pub is_configured: bool,
}

/// Format of a key or trust store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFormat {
    /// Java's own.
    Jks,
    /// RFC 7292.
    Pkcs12,
    /// RFC 7468.
    Pem,
}

/// How long a token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Seconds.
    Seconds(i64),
    /// Without end.
    Never,
}

/// `[oauth]`.
#[derive(Clone, Debug)]
pub struct OAuth {
    /// Forgiven clock difference.
    pub timestamp_skew_s: i64,
    /// Authorization codes.
    pub code_validity_s: i64,
    /// Application access tokens.
    pub app_access_token_validity: Lifetime,
    /// User access tokens.
    pub user_access_token_validity: Lifetime,
    /// Refresh tokens.
    pub refresh_token_validity: Lifetime,
    /// ID tokens.
    pub id_token_validity_s: i64,
    /// Who issues tokens, when it is not the token endpoint.
    pub issuer: Option<String>,
    /// Whether the refresh grant issues a new refresh token.
    pub is_refresh_token_renewed: bool,
    /// Whether every request gets a new access token.
    pub is_access_token_renewed_per_request: bool,
    /// Form of access tokens.
    pub access_token_type: AccessTokenType,
    /// Whether self-contained tokens are also stored.
    pub is_jwt_persisted: bool,
    /// How tokens and secrets stand in the database.
    pub stored: StoredForms,
}

/// How tokens and secrets stand in the WSO2 tables (database.md 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredForms {
    /// Form of tokens and codes.
    pub tokens: TokenPersistence,
    /// Whether client secrets are hashed; only beside hashed tokens. They are encrypted when tokens are.
    pub is_client_secret_hashed: bool,
}

/// Form of tokens and codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPersistence {
    /// As they are.
    Plain,
    /// As the JSON text of database.md 3.2.
    Hashed {
        /// With which digest.
        algorithm: HashAlgorithm,
    },
    /// As cipher text for the internal key store.
    Encrypted,
}

/// Digest of stored tokens and secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA-1.
    Sha1,
}

impl HashAlgorithm {
    /// Java's name, which stands in the stored text.
    pub const fn name(self) -> &'static str {
        match self {
            HashAlgorithm::Sha256 => "SHA-256",
            HashAlgorithm::Sha384 => "SHA-384",
            HashAlgorithm::Sha512 => "SHA-512",
            HashAlgorithm::Sha1 => "SHA-1",
        }
    }
}

/// Form of access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessTokenType {
    /// As each application says.
    PerApplication,
    /// Random text.
    Opaque,
    /// JWT.
    SelfContained,
}

/// `[apim.key_manager]`.
#[derive(Clone, Debug)]
pub struct KeyManager {
    /// Where it is.
    pub service_url: String,
    /// User.
    pub username: String,
    /// Password; `None`: that of the administrator.
    pub password: Option<Secret>,
}

/// `[apim.oauth_config]`.
#[derive(Clone, Debug)]
pub struct ApimOAuth {
    /// Whether the token reaches the backend.
    pub is_outbound_auth_header_enabled: bool,
    /// Patterns of scopes granted without a role check; `oauth.allowed_scopes` among them.
    pub allowed_scopes: Vec<Pattern>,
}

/// One `[[apim.gateway.environment]]`.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Unique name.
    pub name: String,
    /// `hybrid`, `production` or `sandbox`.
    pub kind: String,
    /// Plain base URLs; the file may list several with commas.
    pub http_endpoints: Vec<String>,
    /// TLS base URLs.
    pub https_endpoints: Vec<String>,
}

/// `[apim.cors]`.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Whether CORS requests are answered.
    pub is_enabled: bool,
    /// Origins.
    pub allow_origins: Vec<String>,
    /// Methods.
    pub allow_methods: Vec<String>,
    /// Request headers.
    pub allow_headers: Vec<String>,
    /// Credentials.
    pub is_credentials_allowed: bool,
}

/// `[gateway]`.
#[derive(Clone, Copy, Debug)]
pub struct Gateway {
    /// Order in which resources are matched.
    pub resource_matching: ResourceMatching,
    /// 502 to 504 for backend failures instead of 500.
    pub is_backend_fault_a_gateway_status: bool,
    /// Longest wait for a backend's first byte.
    pub endpoint_timeout_ms: u64,
    /// Requests served at once.
    pub in_flight_requests_max: usize,
}

/// Order in which a gateway matches resources (portal-gateway-3x.md 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceMatching {
    /// A template wins over a bare `/*`.
    Specific,
    /// As WSO2's gateway.
    Upstream,
}

/// `[events]`.
#[derive(Clone, Copy, Debug)]
pub struct Events {
    /// How long events are kept.
    pub retention_days: u32,
    /// Longest time between two looks at the log.
    pub poll_interval_ms: u64,
    /// The same where the database tells of other nodes' events.
    pub slow_poll_interval_ms: u64,
}

/// `[oauth.token_cleanup]` and `[cleanup]`: removal of rows that nobody needs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// Whether the built-in cleaner runs.
    pub is_enabled: bool,
    /// Whether it cleans tokens.
    pub are_tokens_cleaned: bool,
    /// Whether removed access tokens go to the audit table.
    pub is_audit_kept: bool,
    /// How long rows stay in the audit table; `None`: for ever.
    pub audit_retention_days: Option<u32>,
    /// Rest between two runs.
    pub interval_s: u64,
    /// Share of the time in which it has a statement under way, in percent.
    pub share_percent: u32,
    /// Longest run.
    pub time_budget_ms: u64,
}

/// An `[[event_listener]]` that is told of dead tokens (rest-3x.md 5.1).
#[derive(Clone, Debug)]
pub struct Listener {
    /// Unique name.
    pub id: String,
    /// Where events are posted.
    pub endpoint: Url,
    /// Basic credentials: the name.
    pub username: String,
    /// Basic credentials: the password.
    pub password: Secret,
    /// Further headers of each request.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Must the endpoint's certificate name its host?
    pub is_host_verified: bool,
}

/// One `[[resource.access_control]]` (rest-3x.md 6.1). It adds to what a path's own rule asks for and takes nothing away.
#[derive(Clone, Debug)]
pub struct AccessRule {
    /// Where it stands in the file, from 1.
    pub line: Option<usize>,
    /// Which paths, `/t/{tenant}` included.
    pub context: Pattern,
    /// Whether anything is asked for at all.
    pub is_secure: bool,
    /// `all`, or a text with the methods in it.
    pub methods: String,
    /// What the user must hold, every one; none: any user will do.
    pub permissions: Vec<String>,
    /// What a bearer token must have, every one; then it stands for the permissions.
    pub scopes: Vec<String>,
    /// Whether the user may be of another tenant than the path's, where the path itself asks for no user.
    pub is_cross_tenant: bool,
}

/// `[limits]`: the management ports.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Open connections per port.
    pub connections_max: usize,
    /// Longest request.
    pub request_timeout_s: u64,
}

impl Default for DatabaseUrl {
    /// The embedded database in the data directory.
    fn default() -> Self {
        DatabaseUrl::Sqlite { path: SQLITE_FILE.into() }
    }
}
