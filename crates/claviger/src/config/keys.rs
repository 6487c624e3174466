//! The known keys of deployment.toml, one row per key: path, type, default, meaning.
//!
//! This table is the schema and the documentation (`claviger config keys`, docs/configuration.md). It follows
//! configuration.md 2.1-2.7 for WSO2's keys; rows that say "Ours" are Claviger's own. Reading values is `check`'s work.

use super::schema::Kind::{DatabaseUrl, Duration, Flag, HttpUrl, Integer, OneOf, Properties, Secret, Text, Texts};
use super::schema::Unit::{Days, Millis, Minutes, Seconds};
use super::schema::{Key, Kind, key};

const JVM: &str = "it configures the Java runtime";
const DRIVER: &str = "the database driver is built in";
const POOL: &str = "the connection pool manages this itself";
const ADMIN_SERVICES: &str = "gateways fetch what they serve themselves";
const CONSOLE: &str = "the developer portal's console is not offered";
const WEBSOCKET: &str = "the gateway serves no WebSocket APIs";
const REGISTRY: &str = "the few registry resources in use have fixed places and are cached";
const ONE_NODE: &str = "nodes find each other through the database";

const fn seconds(min: i64) -> Kind {
    Duration { unit: Seconds, min, may_be_never: false }
}

const fn millis(min: i64) -> Kind {
    Duration { unit: Millis, min, may_be_never: false }
}

const LIFETIME: Kind = Duration { unit: Seconds, min: 1, may_be_never: true };
const PORT: Kind = Integer { min: 1, max: 65_535 };
const COUNT: Kind = Integer { min: 1, max: 1_000_000 };
const ANY_NUMBER: Kind = Integer { min: i64::MIN, max: i64::MAX };

const MAX_ACTIVE: Key =
    key("<database>.pool_options.max_active", Integer { min: 1, max: 10_000 }, "50", "Most connections open at once.");
const MAX_WAIT: Key = key(
    "<database>.pool_options.max_wait",
    Duration { unit: Millis, min: 1, may_be_never: false },
    "60000",
    "Longest wait for a free connection.",
);
const MIN_IDLE: Key =
    key("<database>.pool_options.min_idle", Integer { min: 0, max: 10_000 }, "0", "Connections kept open when idle.");
const TEST_ON_BORROW: Key =
    key("<database>.pool_options.test_on_borrow", Flag, "true", "Ping a connection before it is used.");
const ALLOWED_SCOPES: Key = key(
    "apim.oauth_config.allowed_scopes",
    Texts,
    "^device_.*,openid",
    "Scopes (regular expressions for the whole name) that are granted without a role check. Those of the portals, `internal_` ones \
     and `SYSTEM` are checked whatever it says.",
);
const STORE_FILE: Key = key(
    "<keystore>.file_name",
    Text,
    "",
    "File of the store; PEM: the certificate chain, and the private key unless `key_file_name` is set. A relative name is looked \
     for in the data directory. Unset: that of `keystore.primary`, else `wso2carbon.jks`. When no section is given and that file is \
     not there, keys are made at the first start.",
);
const TRUST_FILE: Key = key(
    "truststore.file_name",
    Text,
    "",
    "File with the certificates trusted for outgoing TLS. A relative name is looked for in the data directory. Unset: \
     `client-truststore.jks`; when the section is not given and that file is not there, the system's list.",
);
const STORE_TYPE: Kind = OneOf(&["PEM", "JKS", "PKCS12"]);

/// All known keys, in the order of the reference.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("server.hostname", Text, "localhost", "Name under which clients reach this server: issuer, endpoint URLs, certificate."),
    key("server.node_ip", Text, "127.0.0.1", "Address of this node, for `${carbon.local.ip}`."),
    key("server.base_path", HttpUrl, "https://$ref{server.hostname}:${carbon.management.port}", "Prefix of all endpoint URLs."),
    key("server.offset", Integer { min: 0, max: 50_000 }, "0", "Added to every port; `--port-offset` wins."),
    key("server.server_role", OneOf(&["default", "api-key-manager", "key-manager", "gateway-worker", "gateway", "api-publisher", "api-devportal", "api-store", "portal", "traffic-manager", "control-plane"]), "default", "Roles of this node; `--profile` wins. `default` is all."),
    key("server.bind_address", Text, "0.0.0.0", "Ours. Address to listen on."),
    key("server.plain_http", OneOf(&["loopback", "all", "off"]), "loopback", "Ours. Who may use the plain management port 9763. The gateway's 8280 follows each API's transports instead."),
    key("server.shutdown_deadline_s", seconds(1), "30", "Ours. Longest wait for running requests at shutdown."),
    key("server.home", Text, "", "Ours. Home of the old server, in whose `repository` the files of secondary user stores are; relative to the data directory. Unset: the home whose `repository/conf` holds this file, else the data directory."),
    key("server.mode", OneOf(&["single", "ha"]), "single", "Clustering mode.").without_effect(ONE_NODE),
    key("server.default_cache_timeout", Duration { unit: Seconds, min: 0, may_be_never: true }, "", "Cache lifetime.").without_effect("caches are invalidated by events"),
    key("server.force_local_cache", Flag, "", "Local caches.").without_effect("caches are always local"),
    key("server.discard_empty_caches", Flag, "", "Cache housekeeping.").without_effect("caches are always local"),
    key("server.enableMTOM", OneOf(&["true", "false", "optional"]), "", "SOAP attachments.").without_effect("SOAP attachments are not used"),
    key("server.enableSwA", Flag, "", "SOAP attachments.").without_effect("SOAP attachments are not used"),
    key("server.hide_menu_items", Texts, "", "Menu of the Java console.").without_effect("there is no Java console"),

    key("super_admin.username", Text, "admin", "Name of the first administrator."),
    key("super_admin.password", Secret, "", "Password of the first administrator, used at the first start only. Unset: one is made up and written to `initial-admin-password`."),
    key("super_admin.admin_role", Text, "admin", "Role with every permission."),
    key("super_admin.create_admin_account", Flag, "true", "Whether the first start creates the administrator."),
    key("super_admin.allow_default_password", Flag, "false", "Ours. Accept the password `admin` on other than loopback addresses."),
    key("user_store.type", OneOf(&["database", "database_unique_id"]), "database_unique_id", "Kind of the primary user store.").without_effect("users are kept in the configured database"),
    key("user_store.properties.PasswordDigest", OneOf(&["SHA-256", "SHA-384", "SHA-512", "SHA-1", "MD5", "PLAIN_TEXT"]), "SHA-256", "Digest of the passwords in the user tables. It must be the one they were written with."),
    key("user_store.properties.StoreSaltedPassword", Flag, "true", "Whether a salt goes into the digest."),
    key("user_store.properties.CaseInsensitiveUsername", Flag, "true", "Whether `Bob` is the user `bob` when nobody is called exactly that."),
    key("identity_mgt.account_locking.enable_account_locking", Flag, "false", "Whether wrong passwords lock an account, as in the old server's account lock handler. What locked an account before counts in any case."),
    key("identity_mgt.account_locking.allowed_failed_attempts", COUNT, "5", "The wrong password that locks."),
    key("identity_mgt.account_locking.auto_unlock_after", Duration { unit: Minutes, min: 0, may_be_never: false }, "5m", "Length of the first lock, whole minutes; 0: until somebody unlocks the account."),
    key("identity_mgt.account_locking.auto_unlock_time_increment_ratio", ANY_NUMBER, "2", "How many times longer each further lock is, until a right password; 0 and less: 1."),
    key("event.default_listener.governance_identity_store.data_store", Text, "", "Java class that says where the old server keeps locks and counts of wrong passwords: with `...UserStoreBasedIdentityDataStore` attributes of the users count as rows of IDN_IDENTITY_USER_DATA do, and both are written. In the tables of IS 5.3 that is always so."),
    key("realm_manager.data_source", Text, "SHARED_DB", "Data source of the user tables (UM_*). When there is no SHARED_DB, the identity tables' database."),
    key("identity.data_source", Text, "", "Data source of the identity and OAuth tables (IDN_*, SP_*, IDP_*, CM_*). Unset: `[database.identity_db]`, else `[database.apim_db]`."),
    key("apim.datasource.name", Text, "", "Data source of the API-M tables (AM_*). Unset: `[database.apim_db]`, else the identity tables' database."),
    key("governance_data.data_source", Text, "SHARED_DB", "Data source of the registry tables (REG_*). When there is no SHARED_DB, the user tables' database."),
    key("governance_data.path", Text, "", "Place in the registry.").without_effect(REGISTRY),
    key("governance_data.cache_id", Secret, "", "Name of a cache; may hold a database URL.").without_effect(REGISTRY),
    key("governance_data.enable_cache", Flag, "", "Registry cache.").without_effect(REGISTRY),
    key("config_data.data_source", Text, "", "Data source of the configuration registry; a warning when it is another database than that of `governance_data`."),
    key("config_data.path", Text, "", "Place in the registry.").without_effect(REGISTRY),
    key("config_data.cache_id", Secret, "", "Name of a cache; may hold a database URL.").without_effect(REGISTRY),
    key("config_data.enable_cache", Flag, "", "Registry cache.").without_effect(REGISTRY),
    key("authentication.consent.data_source", Text, "", "Data source of consents.").without_effect("consents are kept with the identity tables"),
    key("session.data_source", Text, "", "Data source of sessions.").without_effect("sessions are kept with the identity tables"),

    key("datasource[].id", Text, "", "Name of the data source; must be unique. A section's name (`WSO2AM_DB`, `WSO2UM_DB`, `WSO2REG_DB`, ...) plays that section's part when the section is absent."),
    key("<database>.type", Text, "", "Engine: `mysql` or `mariadb`, `postgre` (or `postgresql`), `sqlite`. `h2` means the embedded SQLite; others are refused."),
    key("<database>.url", DatabaseUrl, "", "JDBC or native URL; wins over hostname, port and name."),
    key("<database>.hostname", Text, "localhost", "Host of the database server."),
    key("<database>.port", PORT, "", "Port of the database server. Unset: 3306 or 5432."),
    key("<database>.name", Text, "", "Name of the database; for sqlite the file, relative to the data directory."),
    key("<database>.username", Text, "", "Database user."),
    key("<database>.password", Secret, "", "Password of the database user."),
    key("<database>.driver", Text, "", "Java driver class. The driver is built in; only `com.mysql.jdbc.Driver` is taken as a sign of how times are stored (`db.token_time_zone`)."),
    key("<database>.validationQuery", Text, "", "Ping statement.").without_effect(DRIVER),
    key("<database>.validation_query", Text, "", "Ping statement.").without_effect(DRIVER),
    key("<database>.jmx_enable", Flag, "", "Pool figures over JMX.").without_effect(JVM),
    key("<database>.default_auto_commit", Flag, "", "JDBC auto-commit.").without_effect(POOL),
    MAX_ACTIVE,
    MAX_ACTIVE.also("<database>.pool_options.maxActive", "max_active"),
    MAX_WAIT,
    MAX_WAIT.also("<database>.pool_options.maxWait", "max_wait"),
    MIN_IDLE,
    MIN_IDLE.also("<database>.pool_options.minIdle", "min_idle"),
    TEST_ON_BORROW,
    TEST_ON_BORROW.also("<database>.pool_options.testOnBorrow", "test_on_borrow"),
    key("<database>.pool_options.maxIdle", ANY_NUMBER, "", "Idle connections kept.").without_effect(POOL),
    key("<database>.pool_options.initialSize", ANY_NUMBER, "", "Connections opened at start.").without_effect(POOL),
    key("<database>.pool_options.validationInterval", ANY_NUMBER, "", "Least time between pings.").without_effect(POOL),
    key("<database>.pool_options.validation_interval", ANY_NUMBER, "", "Least time between pings.").without_effect(POOL),
    key("<database>.pool_options.defaultAutoCommit", Flag, "", "JDBC auto-commit.").without_effect(POOL),
    key("<database>.pool_options.default_auto_commit", Flag, "", "JDBC auto-commit.").without_effect(POOL),
    key("<database>.pool_options.commitOnReturn", Flag, "", "Commit when a connection is given back.").without_effect(POOL),
    key("<database>.pool_options.testWhileIdle", Flag, "", "Ping idle connections.").without_effect(POOL),
    key("<database>.pool_options.removeAbandoned", Flag, "", "Take back lost connections.").without_effect(POOL),
    key("<database>.pool_options.timeBetweenEvictionRunsMillis", ANY_NUMBER, "", "Rhythm of the pool's housekeeping.").without_effect(POOL),
    key("<database>.pool_options.minEvictableIdleTimeMillis", ANY_NUMBER, "", "Age at which an idle connection is closed.").without_effect(POOL),
    key("<database>.pool_options.jdbcInterceptors", Text, "", "Java classes around statements.").without_effect(POOL),
    key("<database>.pool_options.max_idle", ANY_NUMBER, "", "Idle connections kept.").without_effect(POOL),
    key("<database>.pool_options.initial_size", ANY_NUMBER, "", "Connections opened at start.").without_effect(POOL),
    key("<database>.pool_options.commit_on_return", Flag, "", "Commit when a connection is given back.").without_effect(POOL),
    key("<database>.pool_options.rollbackOnReturn", Flag, "", "Roll back when a connection is given back.").without_effect(POOL),
    key("<database>.pool_options.rollback_on_return", Flag, "", "Roll back when a connection is given back.").without_effect(POOL),
    key("<database>.pool_options.test_while_idle", Flag, "", "Ping idle connections.").without_effect(POOL),
    key("<database>.pool_options.testOnReturn", Flag, "", "Ping a connection after use.").without_effect(POOL),
    key("<database>.pool_options.test_on_return", Flag, "", "Ping a connection after use.").without_effect(POOL),
    key("<database>.pool_options.remove_abandoned", Flag, "", "Take back lost connections.").without_effect(POOL),
    key("<database>.pool_options.removeAbandonedTimeout", ANY_NUMBER, "", "Age of a lost connection.").without_effect(POOL),
    key("<database>.pool_options.remove_abandoned_timeout", ANY_NUMBER, "", "Age of a lost connection.").without_effect(POOL),
    key("<database>.pool_options.logAbandoned", Flag, "", "Log lost connections.").without_effect(POOL),
    key("<database>.pool_options.log_abandoned", Flag, "", "Log lost connections.").without_effect(POOL),
    key("<database>.pool_options.maxAge", ANY_NUMBER, "", "Age at which a connection is replaced.").without_effect(POOL),
    key("<database>.pool_options.max_age", ANY_NUMBER, "", "Age at which a connection is replaced.").without_effect(POOL),
    key("<database>.pool_options.time_between_eviction_runs_millis", ANY_NUMBER, "", "Rhythm of the pool's housekeeping.").without_effect(POOL),
    key("<database>.pool_options.min_evictable_idle_time_millis", ANY_NUMBER, "", "Age at which an idle connection is closed.").without_effect(POOL),
    key("<database>.pool_options.jdbc_interceptors", Text, "", "Java classes around statements.").without_effect(POOL),
    key("<database>.pool_options.validationQuery", Text, "", "Ping statement.").without_effect(DRIVER),
    key("<database>.pool_options.validation_query", Text, "", "Ping statement.").without_effect(DRIVER),
    key("<database>.pool_options.jmxEnabled", Flag, "", "Pool figures over JMX.").without_effect(JVM),
    key("<database>.pool_options.jmx_enabled", Flag, "", "Pool figures over JMX.").without_effect(JVM),

    key("db.token_time_zone", Text, "UTC", "Ours. Zone in which the token tables' times are stored: an IANA name or an offset such as `+02:00`. An old server with Connector/J 5 on MySQL wrote its own local time; every other one wrote UTC. Not set, tokens on MySQL are cleaned 14 hours later."),
    key("db.local_time_zone", Text, "", "Ours. Zone of all other times in the WSO2 tables: that of the old server's host. Unset: the zone of this host."),

    STORE_FILE,
    STORE_FILE.also("<keystore>.name", "file_name"),
    key("<keystore>.type", STORE_TYPE, "", "Format. Unset: by the file's extension (.jks, .p12, .pfx, .pem, .crt, .cer), else that of `keystore.primary`, else JKS."),
    key("<keystore>.password", Secret, "", "Password of the store. Unset: that of `keystore.primary`, else `wso2carbon`."),
    key("<keystore>.alias", Text, "", "Entry of the key. Unset: as for `password`."),
    key("<keystore>.key_password", Secret, "", "Password of the key. Unset: as for `password`."),
    key("<keystore>.key_file_name", Text, "", "Ours, for PEM. File with the private key."),
    TRUST_FILE,
    TRUST_FILE.also("truststore.name", "file_name"),
    key("truststore.type", STORE_TYPE, "", "Format. Unset: by the file's extension, else JKS."),
    key("truststore.password", Secret, "", "Password of the store. Unset: `wso2carbon`."),

    key("oauth.timestamp_skew", seconds(0), "0", "Clock difference that is forgiven when a token's times are checked."),
    key("oauth.token_validation.authorization_code_validity", seconds(1), "5m", "Life of an authorization code."),
    key("oauth.token_validation.app_access_token_validity", LIFETIME, "3600", "Life of an application's access token; negative: never ends."),
    key("oauth.token_validation.user_access_token_validity", LIFETIME, "3600", "Life of a user's access token; negative: never ends."),
    key("oauth.token_validation.refresh_token_validity", LIFETIME, "1d", "Life of a refresh token; negative: never ends."),
    key("oauth.oidc.token_validation.id_token_validity", seconds(1), "3600", "Life of an ID token."),
    key("oauth.oidc.id_token.issuer", Text, "", "`iss` of ID tokens and JWTs, and the issuer of discovery. Unset: the token endpoint's URL. JWTs that name another are no longer accepted."),
    key("oauth.oidc.id_token.signature_algorithm", OneOf(&["SHA256withRSA"]), "SHA256withRSA", "Signature of ID tokens and JWTs.").without_effect("RS256 is the one there is"),
    key("oauth.oidc.user_info.response_type", OneOf(&["json"]), "json", "Form of userinfo's answer.").without_effect("it is JSON"),
    key("oauth.oidc.user_info.jwt_signature_algorithm", Text, "", "Signature of userinfo's answer.").without_effect("it is JSON, and not signed"),
    key("oauth.token_renewal.renew_refresh_token", Flag, "true", "Whether the refresh grant issues a new refresh token."),
    key("oauth.token_renewal.renew_access_token_per_request", Flag, "false", "Whether every request gets a new access token instead of the active one."),
    key("oauth.token_generation.access_token_type", OneOf(&["per_application", "opaque", "self_contained"]), "", "Form of access tokens. `self_contained` is a JWT; `per_application` (the default, ours as a name) follows each application."),
    key("oauth.extensions.token_generator", Text, "", "Java class of the token issuer; OauthTokenIssuerImpl, JWTTokenIssuer and APIMTokenIssuer are recognised as opaque, self_contained and per_application."),
    key("oauth.token_storage_method", OneOf(&["plaintext", "encrypted", "hashed"]), "", "Form of tokens and codes in the database. It must be the one they were written with; the five keys below may say the same in other words."),
    key("oauth.hash_tokens_and_secrets", Flag, "", "Whether client secrets are stored hashed, and tokens with them. Unset beside hashed tokens: secrets are plain."),
    key("oauth.hash_token_algorithm", OneOf(&["SHA-256", "SHA-384", "SHA-512", "SHA-1"]), "SHA-256", "Digest of hashed tokens and secrets."),
    key("oauth.extensions.token_persistence_processor", Text, "", "The same as a Java class: PlainTextPersistenceProcessor, HashingPersistenceProcessor or EncryptionDecryptionPersistenceProcessor, with or without its package."),
    key("oauth.extensions.client_secret_persistence_processor", Text, "", "Form of client secrets as a Java class; it may differ from that of tokens only as plain beside hashed. Unset: that of tokens, but hashed only with `oauth.hash_tokens_and_secrets` or `apim.oauth_config.enable_token_hashing`."),
    key("oauth.token_cleanup.enable", Flag, "true", "Whether the built-in cleaner removes expired and revoked tokens; other tables are cleaned whatever it says."),
    key("oauth.token_cleanup.retain_access_tokens_for_auditing", Flag, "true", "Whether removed access tokens go to IDN_OAUTH2_ACCESS_TOKEN_AUDIT."),
    key("cleanup.audit_retention_days", Duration { unit: Days, min: 1, may_be_never: true }, "-1", "Ours. How long rows stay in the audit table; negative: for ever."),
    key("cleanup.enable", Flag, "true", "Ours. Whether the built-in cleaner runs; one node of several does."),
    key("cleanup.interval_s", Duration { unit: Seconds, min: 1, may_be_never: false }, "300", "Ours. Rest between two runs of the cleaner."),
    key("cleanup.share_percent", Integer { min: 1, max: 100 }, "25", "Ours. Share of the time in which the cleaner has a statement under way; it pauses in proportion."),
    key("cleanup.time_budget_ms", millis(10), "60000", "Ours. Longest run of the cleaner; the next one goes on."),
    key("oauth.allowed_scopes", Texts, "", "More scopes (regular expressions) that are granted without a role check, beside `apim.oauth_config.allowed_scopes`."),
    key("oauth.token_persistence.persist_jwt_access_tokens", Flag, "true", "Ours. Whether self-contained tokens are also stored."),
    key("service_provider.sp_name_regex", Text, r"^[\sa-zA-Z0-9._-]*$", "Names a service provider may have.").without_effect("names are checked by the default expression"),

    key("apim.key_manager.service_url", HttpUrl, "https://localhost:${mgt.transport.https.port}${carbon.context}services/", "Where the gateway and portal roles find the key manager."),
    key("apim.key_manager.username", Text, "${admin.username}", "User for calls to the key manager."),
    key("apim.key_manager.password", Secret, "", "Password for calls to the key manager. Unset: that of the administrator."),
    key("apim.key_manager.type", OneOf(&["default", "WSO2-IS"]), "default", "Kind of the key manager.").without_effect("a gateway talks to either kind in the same way"),
    key("apim.oauth_config.revoke_endpoint", HttpUrl, "https://localhost:${mgt.transport.https.port}/oauth2/revoke", "Revocation endpoint that is advertised to portals.").without_effect("the endpoint of `server.base_path` is shown"),
    key("apim.oauth_config.enable_outbound_auth_header", Flag, "false", "Whether the gateway passes the token on to the backend."),
    key("apim.oauth_config.enable_token_encryption", Flag, "false", "API-M's word for `oauth.token_storage_method = \"encrypted\"`."),
    key("apim.oauth_config.enable_token_hashing", Flag, "false", "API-M's word for `oauth.token_storage_method = \"hashed\"` with `oauth.hash_tokens_and_secrets = true`."),
    key("apim.oauth_config.auth_header", Text, "Authorization", "Header that carries the token.").without_effect("each API names its own header"),
    key("apim.oauth_config.default_app_scope", Text, "am_application_scope", "Scope of an application token when none is asked for.").without_effect("a token without a scope has the scope `default`"),
    ALLOWED_SCOPES,
    ALLOWED_SCOPES.also("apim.oauth_config.white_listed_scopes", "allowed_scopes"),
    key("apim.gateway.environment[].name", Text, "", "Name; must be unique."),
    key("apim.gateway.environment[].type", OneOf(&["hybrid", "production", "sandbox"]), "hybrid", "Keys it serves."),
    key("apim.gateway.environment[].display_in_api_console", Flag, "true", "Whether the developer portal's console offers it.").without_effect(CONSOLE),
    key("apim.gateway.environment[].description", Text, "", "For people.").without_effect("no answer shows it"),
    key("apim.gateway.environment[].show_as_token_endpoint_url", Flag, "true", "Whether its token URL is shown.").without_effect(CONSOLE),
    key("apim.gateway.environment[].service_url", HttpUrl, "https://localhost:${mgt.transport.https.port}${carbon.context}services/", "Admin services of the gateway.").without_effect(ADMIN_SERVICES),
    key("apim.gateway.environment[].username", Text, "${admin.username}", "User for the admin services.").without_effect(ADMIN_SERVICES),
    key("apim.gateway.environment[].password", Secret, "", "Password for the admin services. Unset: that of the administrator.").without_effect(ADMIN_SERVICES),
    key("apim.gateway.environment[].http_endpoint", Text, "http://localhost:${http.nio.port}", "Plain base URL of its APIs."),
    key("apim.gateway.environment[].https_endpoint", Text, "https://localhost:${https.nio.port}", "TLS base URL of its APIs."),
    key("apim.gateway.environment[].ws_endpoint", Text, "ws://localhost:9099", "Plain WebSocket base URL.").without_effect(WEBSOCKET),
    key("apim.gateway.environment[].wss_endpoint", Text, "wss://localhost:8099", "TLS WebSocket base URL.").without_effect(WEBSOCKET),
    key("apim.cors.enable", Flag, "true", "Whether the gateway answers CORS requests."),
    key("apim.cors.allow_origins", Texts, "*", "Allowed origins."),
    key("apim.cors.allow_methods", Texts, "GET,PUT,POST,DELETE,PATCH,OPTIONS", "Allowed methods."),
    key("apim.cors.allow_headers", Texts, "authorization,Access-Control-Allow-Origin,Content-Type,SOAPAction,apikey", "Allowed request headers."),
    key("apim.cors.allow_credentials", Flag, "false", "Whether cookies and the like are allowed."),

    key("resource.access_control[].context", Text, "", "Paths that the rule is for: a regular expression for the whole path, `/t/{tenant}` included. The first rule that matches path and method counts. Rules add to what each path asks for by itself and never take away from it."),
    key("resource.access_control[].secure", Flag, "true", "Whether the rule asks for a user. `false` opens nothing that is protected without it."),
    key("resource.access_control[].http_method", Text, "all", "`all`, or a text that holds the methods, such as `GET, HEAD`. `GET` covers `HEAD` too unless a rule names that."),
    key("resource.access_control[].permissions", Texts, "none", "Permissions that the user must hold, every one; `none`: any user."),
    key("resource.access_control[].scopes", Texts, "", "Scopes that a bearer token must have, every one; they stand for the permissions then."),
    key("resource.access_control[].cross_tenant", Flag, "false", "Whether users of other tenants get in, where the path itself asks for no user."),
    key("resource.access_control[].allowed_auth_handlers", Texts, "all", "Java classes that may find out the user.").without_effect("the old server's template passed over it, and Basic and bearer are the ways there are"),
    key("resource.access_control[].cross_access_allowed_tenants", Texts, "", "Tenants whose users get in too.").without_effect("a user acts in his own tenant only"),
    key("resource_access_control.default_access_allow", Flag, "false", "Whether paths without a rule are open.").without_effect("every path has a rule of its own, and what has none is refused"),
    key("resource_access_control.disable_scope_validation", Flag, "false", "Whether scopes of bearer tokens are passed over.").without_effect("they are always checked"),
    key("resource_access_control.introspect.secured", Flag, "true", "Whether introspection asks for a user.").without_effect("it always does"),
    key("resource_access_control.introspect.permissions", Texts, "", "Permissions that introspection asks for besides its own: a rule behind those of `[[resource.access_control]]`."),

    key("tenant_context.rewrite.webapps", Texts, "", "Beginnings of paths that are served below `/t/{tenant}` too; those of the key manager always are, and the server's and the portals' own never."),
    key("tenant_context.rewrite.custom_webapps", Texts, "", "More of them."),
    key("tenant_context.rewrite.servlets", Texts, "", "Patterns of servlets.").without_effect("there are no servlets"),

    key("gateway.resource_matching", OneOf(&["specific", "upstream"]), "specific", "Ours. `specific`: a template wins over a bare `/*`; `upstream`: the order of WSO2's gateway."),
    key("gateway.backend_fault_as_gateway_status", Flag, "false", "Ours. Answer 502, 503 or 504 when the backend fails, instead of WSO2's 500."),
    key("gateway.endpoint_timeout_ms", millis(1), "120000", "Ours. Longest wait for the first byte of a backend's answer."),
    key("gateway.in_flight_requests_max", COUNT, "10000", "Ours. Requests served at once; more are answered 503."),
    key("events.retention_days", Duration { unit: Days, min: 1, may_be_never: false }, "7", "Ours. How long events are kept for nodes that were away."),
    key("events.poll_interval_ms", millis(10), "30", "Ours. Longest time between two looks for other nodes' events on MariaDB and MySQL, and on PostgreSQL while its notifications do not come through."),
    key("events.slow_poll_interval_ms", millis(10), "1000", "Ours. The same where PostgreSQL notifies of them: so late is what a lost notification would have told."),
    key("event_listener[].id", Text, "", "Name of the listener; must be unique. Unset: `token_revocation`."),
    key("event_listener[].type", Text, "", "Java base class.").without_effect("a listener is known by its `name` or `id`"),
    key("event_listener[].name", Text, "", "Java class. `org.wso2.is.notification.ApimOauthEventInterceptor` (or the id `token_revocation`) is the sender that tells API Manager of dead tokens (docs/notifications.md); others are reported and left out."),
    key("event_listener[].order", ANY_NUMBER, "", "Order of the listeners.").without_effect("each listener is told of every event by itself"),
    key("event_listener[].enable", Flag, "true", "Whether the listener is used."),
    key("event_listener[].properties", Properties, "", "`notification_endpoint` (https, or http on this host), `username` and `password` must be there; `'header.NAME'` is a header of every request; ours: `hostname_verifier = \"AllowAll\"` takes a certificate for another host name."),
    key("limits.body_bytes_max", Integer { min: 1_024, max: 1_073_741_824 }, "10485760", "Ours. Largest request body on the management ports."),
    key("limits.connections_max", COUNT, "10000", "Ours. Connections open at once on each port."),
    key("limits.request_timeout_s", seconds(1), "60", "Ours. Longest time for one request on the management ports."),
];
