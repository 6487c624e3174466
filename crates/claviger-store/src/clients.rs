//! OAuth clients: IDN_OAUTH_CONSUMER_APPS with its service provider (SP_APP, SP_INBOUND_AUTH) and IDN_OIDC_PROPERTY rows
//! (contract database.md 2.1-2.3). The rows of one registration are written in the contract's order.

use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::{self, StoreError};
use crate::forms::{ClientSecret, Forms};
use crate::sql::{Engine, queries, repeated};
use crate::tokens;
use crate::users;
use crate::value::Row;
use claviger_proto::ids::{ConsumerKey, ConsumerKeyId, TenantId};
use claviger_proto::oauth::TokenTypeWord;
use claviger_proto::secret::Secret;
use std::collections::HashMap;

/// Clients, each with its properties, a row per property. The join is `LEFT JOIN IDN_OIDC_PROPERTY P ON ..` for any engine.
macro_rules! select_clients {
    ($of_clients:expr) => {
        select_clients!(
            "LEFT JOIN IDN_OIDC_PROPERTY P ON P.CONSUMER_KEY = C.CONSUMER_KEY AND P.TENANT_ID = C.TENANT_ID",
            $of_clients
        )
    };
    ($join:literal, $of_clients:expr) => {
        concat!(
            "SELECT C.ID, C.CONSUMER_KEY, C.CONSUMER_SECRET, C.USERNAME, C.USER_DOMAIN, C.TENANT_ID, C.APP_NAME, C.CALLBACK_URL, \
             C.GRANT_TYPES, C.PKCE_MANDATORY, C.PKCE_SUPPORT_PLAIN, C.APP_STATE, \
             [app_expiry:C.USER_ACCESS_TOKEN_EXPIRE_TIME, C.APP_ACCESS_TOKEN_EXPIRE_TIME, C.REFRESH_TOKEN_EXPIRE_TIME, \
             C.ID_TOKEN_EXPIRE_TIME|0, 0, 0, 0], [oidc_property:P.PROPERTY_KEY, P.PROPERTY_VALUE|NULL, NULL] \
             FROM IDN_OAUTH_CONSUMER_APPS C [oidc_property:",
            $join,
            "] WHERE ",
            $of_clients,
            " AND C.OAUTH_VERSION = 'OAuth-2.0' ORDER BY C.ID"
        )
    };
}

queries! {
    FIND_BY_KEY = select_clients!("C.CONSUMER_KEY = ?");
    LIST_TENANTS = "SELECT CONSUMER_KEY, TENANT_ID FROM IDN_OAUTH_CONSUMER_APPS WHERE TENANT_ID <> ? AND OAUTH_VERSION = 'OAuth-2.0'";
    LIST_BY_ID = select_clients!(concat!("C.ID IN (", repeated!(16, "?"), ")")),
        // Client by client: it would rather read a table of some thousand properties from end to end.
        Postgres = select_clients!(
            "LEFT JOIN LATERAL (SELECT PROPERTY_KEY, PROPERTY_VALUE FROM IDN_OIDC_PROPERTY \
             WHERE CONSUMER_KEY = C.CONSUMER_KEY AND TENANT_ID = C.TENANT_ID OFFSET 0) P ON TRUE",
            concat!("C.ID IN (", repeated!(16, "?"), ")"));
    INSERT_CLIENT = "INSERT INTO IDN_OAUTH_CONSUMER_APPS (CONSUMER_KEY, CONSUMER_SECRET, USERNAME, TENANT_ID, USER_DOMAIN, APP_NAME, \
                     OAUTH_VERSION, CALLBACK_URL, GRANT_TYPES, PKCE_MANDATORY, PKCE_SUPPORT_PLAIN, APP_STATE\
                     [app_expiry:, USER_ACCESS_TOKEN_EXPIRE_TIME, APP_ACCESS_TOKEN_EXPIRE_TIME, REFRESH_TOKEN_EXPIRE_TIME, \
                     ID_TOKEN_EXPIRE_TIME]) \
                     VALUES (?, ?, ?, ?, ?, ?, 'OAuth-2.0', ?, ?, ?, ?, 'ACTIVE'[app_expiry:, ?, ?, ?, ?])",
        Postgres = "INSERT INTO IDN_OAUTH_CONSUMER_APPS (CONSUMER_KEY, CONSUMER_SECRET, USERNAME, TENANT_ID, USER_DOMAIN, APP_NAME, \
                     OAUTH_VERSION, CALLBACK_URL, GRANT_TYPES, PKCE_MANDATORY, PKCE_SUPPORT_PLAIN, APP_STATE\
                     [app_expiry:, USER_ACCESS_TOKEN_EXPIRE_TIME, APP_ACCESS_TOKEN_EXPIRE_TIME, REFRESH_TOKEN_EXPIRE_TIME, \
                     ID_TOKEN_EXPIRE_TIME]) \
                     VALUES (?, ?, ?, ?, ?, ?, 'OAuth-2.0', ?, ?, ?, ?, 'ACTIVE'[app_expiry:, ?, ?, ?, ?]) RETURNING ID";
    LOCK_CLIENT = "SELECT ID FROM IDN_OAUTH_CONSUMER_APPS WHERE ID = ?",
        MySql = "SELECT ID FROM IDN_OAUTH_CONSUMER_APPS WHERE ID = ? FOR UPDATE",
        Postgres = "SELECT pg_advisory_xact_lock(1129072195, CAST(? AS INTEGER))";
    SHARE_CLIENT = "SELECT ID FROM IDN_OAUTH_CONSUMER_APPS WHERE ID = ?",
        MySql = "SELECT ID FROM IDN_OAUTH_CONSUMER_APPS WHERE ID = ? LOCK IN SHARE MODE",
        Postgres = "SELECT pg_advisory_xact_lock_shared(1129072195, CAST(? AS INTEGER))";
    LOCK_FREE_CLIENTS = concat!("SELECT ID FROM IDN_OAUTH_CONSUMER_APPS WHERE ID IN (", repeated!(16, "?"), ")"),
        MySql = concat!("SELECT ID FROM IDN_OAUTH_CONSUMER_APPS WHERE ID IN (", repeated!(16, "?"), ") FOR UPDATE SKIP LOCKED"),
        Postgres = concat!("SELECT K FROM (SELECT K, pg_try_advisory_xact_lock(1129072195, K) AS IS_HELD FROM (VALUES ",
                           repeated!(16, "(CAST(? AS INTEGER))"), ") V(K)) H WHERE IS_HELD");
    UPDATE_CLIENT = "UPDATE IDN_OAUTH_CONSUMER_APPS SET APP_NAME = ?, CALLBACK_URL = ?, GRANT_TYPES = ?, PKCE_MANDATORY = ?, \
                     PKCE_SUPPORT_PLAIN = ?\
                     [app_expiry:, USER_ACCESS_TOKEN_EXPIRE_TIME = ?, APP_ACCESS_TOKEN_EXPIRE_TIME = ?, \
                     REFRESH_TOKEN_EXPIRE_TIME = ?, ID_TOKEN_EXPIRE_TIME = ?] WHERE ID = ?";
    UPDATE_SECRET = "UPDATE IDN_OAUTH_CONSUMER_APPS SET CONSUMER_SECRET = ?, APP_STATE = 'ACTIVE' WHERE ID = ?";
    BLOCK_CLIENT = "UPDATE IDN_OAUTH_CONSUMER_APPS SET APP_STATE = 'REVOKED' WHERE ID = ?";
    DELETE_CLIENT = "DELETE FROM IDN_OAUTH_CONSUMER_APPS WHERE ID = ?";
    DELETE_PROPERTIES = "DELETE FROM IDN_OIDC_PROPERTY WHERE CONSUMER_KEY = ? AND TENANT_ID = ? AND PROPERTY_KEY = ?";
    INSERT_PROPERTY = "INSERT INTO IDN_OIDC_PROPERTY (TENANT_ID, CONSUMER_KEY, PROPERTY_KEY, PROPERTY_VALUE) VALUES (?, ?, ?, ?)";
    INSERT_PROVIDER = "INSERT INTO SP_APP (TENANT_ID, APP_NAME, USER_STORE, USERNAME, DESCRIPTION, AUTH_TYPE, IS_USE_TENANT_DOMAIN_SUBJECT, \
                       IS_USE_USER_DOMAIN_SUBJECT, ENABLE_AUTHORIZATION, IS_SAAS_APP[provider_uuid:, UUID]) \
                       VALUES (?, ?, ?, ?, ?, 'default', '0', '0', '0', ?[provider_uuid:, ?])",
        Postgres = "INSERT INTO SP_APP (TENANT_ID, APP_NAME, USER_STORE, USERNAME, DESCRIPTION, AUTH_TYPE, IS_USE_TENANT_DOMAIN_SUBJECT, \
                       IS_USE_USER_DOMAIN_SUBJECT, ENABLE_AUTHORIZATION, IS_SAAS_APP[provider_uuid:, UUID]) \
                       VALUES (?, ?, ?, ?, ?, 'default', '0', '0', '0', ?[provider_uuid:, ?]) \
                       RETURNING ID";
    FIND_PROVIDER = "SELECT A.ID, I.INBOUND_AUTH_KEY, A.IS_SAAS_APP, A.APP_NAME FROM SP_APP A JOIN SP_INBOUND_AUTH I ON I.APP_ID = A.ID \
                     WHERE A.APP_NAME = ? AND A.TENANT_ID = ? AND I.INBOUND_AUTH_KEY = ? AND I.INBOUND_AUTH_TYPE = 'oauth2'";
    FIND_RENAMED_PROVIDER = "SELECT A.ID, I.INBOUND_AUTH_KEY, A.IS_SAAS_APP, A.APP_NAME FROM SP_INBOUND_AUTH I JOIN SP_APP A ON A.ID = I.APP_ID \
                             WHERE I.INBOUND_AUTH_KEY = ? AND I.INBOUND_AUTH_TYPE = 'oauth2' AND I.TENANT_ID = ?";
    FIND_PROVIDER_BY_NAME = "SELECT A.ID, A.APP_NAME, I.INBOUND_AUTH_KEY FROM SP_APP A \
                             LEFT JOIN SP_INBOUND_AUTH I ON I.APP_ID = A.ID AND I.INBOUND_AUTH_TYPE = 'oauth2' \
                             WHERE A.APP_NAME = ? AND A.TENANT_ID = ?";
    RENAME_PROVIDER = "UPDATE SP_APP SET APP_NAME = ? WHERE ID = ?";
    DELETE_PROVIDER = "DELETE FROM SP_APP WHERE ID = ?";
    INSERT_INBOUND = "INSERT INTO SP_INBOUND_AUTH (TENANT_ID, INBOUND_AUTH_KEY, INBOUND_AUTH_TYPE, INBOUND_CONFIG_TYPE, APP_ID) \
                      VALUES (?, ?, 'oauth2', 'standardAPP', ?)";
}

const TOKEN_TYPE: &str = "tokenType";
const BYPASS: &str = "bypassClientCredentials";
const RENEW_REFRESH: &str = "renewRefreshToken";
const AUDIENCE: &str = "audience";

/// An OAuth client as the token endpoint needs it.
#[derive(Clone, Debug)]
pub struct Client {
    /// IDN_OAUTH_CONSUMER_APPS.ID.
    pub id: ConsumerKeyId,
    /// Client id.
    pub key: ConsumerKey,
    /// Client secret.
    pub secret: ClientSecret,
    /// Owner, without domain and tenant.
    pub owner: String,
    /// Owner's user-store domain.
    pub owner_domain: String,
    /// The application's tenant.
    pub tenant: TenantId,
    /// What registration set.
    pub settings: ClientSettings,
    /// `ACTIVE`; anything else blocks the client.
    pub is_active: bool,
    /// More audiences of its ID tokens (database.md 2.3): an old server's console writes them.
    pub audiences: Vec<String>,
}

/// What a registration sets and an update changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// Name of the OAuth application and of the service provider.
    pub name: String,
    /// One URL, `regexp=(..)` for several, or empty.
    pub callback: String,
    /// Allowed grants.
    pub grants: Vec<String>,
    /// Opaque or JWT, in the word that asked for it.
    pub token_type: TokenTypeWord,
    /// PKCE is required.
    pub is_pkce_mandatory: bool,
    /// `plain` is allowed.
    pub may_pkce_be_plain: bool,
    /// A public client: no secret needed.
    pub is_public: bool,
    /// The application's own choice on refresh rotation; `None`: the server's.
    pub is_refresh_renewed: Option<bool>,
    /// Lifetimes.
    pub lifetimes: Lifetimes,
}

/// Lifetimes in seconds; 0 means "use the server-wide setting" (database.md 2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// Tokens for end users.
    pub user_s: i64,
    /// Tokens for the application itself.
    pub application_s: i64,
    /// Refresh tokens.
    pub refresh_s: i64,
    /// ID tokens.
    pub id_s: i64,
}

/// A client to insert.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// Client id.
    pub key: ConsumerKey,
    /// Client secret.
    pub secret: Secret,
    /// Owner without domain and tenant.
    pub owner: String,
    /// Owner's user-store domain.
    pub owner_domain: String,
    /// Tenant.
    pub tenant: TenantId,
    /// The rest.
    pub settings: ClientSettings,
    /// Users of other tenants may use it.
    pub is_saas: bool,
    /// SP_APP.UUID.
    pub provider_uuid: String,
}

/// How a writer holds a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Beside others who only insert tokens.
    Shared,
    /// Alone: to retire tokens or to change the client. Nobody goes from shared to alone: two would wait for each other.
    Alone,
}

/// Holds a client until the end of the transaction and returns it as it is by then; `None` when it is gone.
///
/// Must come first in every transaction that inserts or retires a token, so that what is read next is what the others have
/// committed, and nobody issues for a client that has changed under him.
///
/// The embedded database has one writer: nothing is locked there. PostgreSQL lets a new sharer of a row pass one who waits to
/// have it alone, who would wait for ever beside a busy client; its advisory locks (ours under "CLVC") are given in order.
pub async fn hold(conn: &mut Conn, client: &Client, hold: Hold) -> Result<Option<Client>, StoreError> {
    let lock = match hold {
        Hold::Shared => &SHARE_CLIENT,
        Hold::Alone => &LOCK_CLIENT,
    };
    if conn.engine() != Engine::Sqlite {
        conn.row(lock, &[client.id.into()]).await?;
    }
    // A statement of its own: the locking one may have begun before what it waited for.
    Ok(find(conn, &client.key).await?.filter(|present| present.id == client.id))
}

/// Holds alone those of some clients, at most [`tokens::TOGETHER_MAX`], that can be held without a wait, and returns them as they
/// are by then. A client that somebody else holds or waits for is left out, and so is one that is gone. What [`hold`] asks of
/// its transaction holds here too. Not every server can do it: see [`crate::db::Store::can_skip_held`].
pub async fn hold_free(conn: &mut Conn, clients: &[&Client]) -> Result<Vec<Client>, StoreError> {
    assert!(clients.len() <= tokens::TOGETHER_MAX, "the statements have no places for more");
    if clients.is_empty() {
        return Ok(Vec::new());
    }
    let mut args = Vec::with_capacity(tokens::TOGETHER_MAX);
    tokens::fill(&mut args, tokens::TOGETHER_MAX, clients.iter().map(|client| client.id.into()));
    let held: Vec<i64> = if conn.engine() == Engine::Sqlite {
        clients.iter().map(|client| client.id.0).collect()
    } else {
        conn.rows(&LOCK_FREE_CLIENTS, &args).await?.iter().map(|row| row.int(0)).collect::<Result<_, _>>()?
    };
    // A statement of its own, as in `hold`.
    let rows = conn.rows(&LIST_BY_ID, &args).await?;
    let present = decode(conn.forms(), &rows)?;
    Ok(present.into_iter().filter(|client| held.contains(&client.id.0)).collect())
}

/// Does the server understand the statement of [`hold_free`]? MariaDB does since 10.6, MySQL since 8.0.
pub(crate) async fn can_skip_held(conn: &mut Conn) -> Result<bool, StoreError> {
    match conn.prepare(&LOCK_FREE_CLIENTS).await {
        Ok(()) => Ok(true),
        Err(StoreError::Database(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A client by its exact id.
pub async fn find(conn: &mut Conn, key: &ConsumerKey) -> Result<Option<Client>, StoreError> {
    let rows = conn.rows(&FIND_BY_KEY, &[key.into()]).await?;
    Ok(decode(conn.forms(), &rows)?.into_iter().rfind(|client| client.key == *key))
}

/// A client by its row.
pub async fn find_by_id(conn: &mut Conn, id: ConsumerKeyId) -> Result<Option<Client>, StoreError> {
    let mut args = Vec::with_capacity(tokens::TOGETHER_MAX);
    tokens::fill(&mut args, tokens::TOGETHER_MAX, [id.into()].into_iter());
    let rows = conn.rows(&LIST_BY_ID, &args).await?;
    Ok(decode(conn.forms(), &rows)?.pop())
}

/// The tenants of all clients that are not the super tenant's.
pub async fn list_tenants(conn: &mut Conn) -> Result<HashMap<ConsumerKey, TenantId>, StoreError> {
    let rows = conn.rows(&LIST_TENANTS, &[TenantId::SUPER.into()]).await?;
    rows.iter().map(|row| Ok((ConsumerKey(row.text(0)?), TenantId(row.int(1)?)))).collect()
}

/// Gathers the properties of each client; rows of one client stand together.
fn decode(forms: &Forms, rows: &[Row]) -> Result<Vec<Client>, StoreError> {
    let mut clients: Vec<Client> = Vec::new();
    for row in rows {
        let id = row.int(0)?;
        if clients.last().is_none_or(|client| client.id.0 != id) {
            clients.push(decode_one(forms, row)?);
        }
        if let (Some(client), Some(property)) = (clients.last_mut(), row.opt_text(16)?) {
            let value = row.opt_text(17)?.unwrap_or_default();
            match property.as_str() {
                TOKEN_TYPE => client.settings.token_type = TokenTypeWord::stored(value),
                BYPASS => client.settings.is_public = value == "true",
                RENEW_REFRESH => client.settings.is_refresh_renewed = value.parse().ok(),
                AUDIENCE if !value.is_empty() => client.audiences.push(value),
                _ => {}
            }
        }
    }
    Ok(clients)
}

fn decode_one(forms: &Forms, row: &Row) -> Result<Client, StoreError> {
    let flag = |column| Ok::<_, StoreError>(row.opt_text(column)?.is_some_and(|flag| flag != "0"));
    Ok(Client {
        id: ConsumerKeyId(row.int(0)?),
        key: ConsumerKey(row.text(1)?),
        secret: forms.secret(&row.opt_text(2)?.unwrap_or_default()),
        owner: row.opt_text(3)?.unwrap_or_default(),
        owner_domain: row.opt_text(4)?.filter(|domain| !domain.is_empty()).unwrap_or_else(|| "PRIMARY".to_owned()),
        tenant: TenantId(row.int(5)?),
        settings: ClientSettings {
            name: row.opt_text(6)?.unwrap_or_default(),
            callback: row.opt_text(7)?.unwrap_or_default(),
            grants: row.opt_text(8)?.unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            token_type: TokenTypeWord::default(),
            is_pkce_mandatory: flag(9)?,
            may_pkce_be_plain: flag(10)?,
            is_public: false,
            is_refresh_renewed: None,
            lifetimes: Lifetimes {
                user_s: row.opt_int(12)?.unwrap_or(0),
                application_s: row.opt_int(13)?.unwrap_or(0),
                refresh_s: row.opt_int(14)?.unwrap_or(0),
                id_s: row.opt_int(15)?.unwrap_or(0),
            },
        },
        is_active: row.opt_text(11)?.as_deref() == Some("ACTIVE"),
        audiences: Vec::new(),
    })
}

/// Client id of the service provider with exactly this name; `Some(None)` when the name is taken by one without a client or,
/// on MySQL, by one that differs in case.
pub async fn find_key_by_name(
    conn: &mut Conn,
    tenant: TenantId,
    name: &str,
) -> Result<Option<Option<ConsumerKey>>, StoreError> {
    let mut found = None;
    for row in conn.rows(&FIND_PROVIDER_BY_NAME, &[name.into(), tenant.into()]).await? {
        // Another spelling takes the name too (the key is the collation's), but its client is somebody else's.
        let key = if row.text(1)? == name { row.opt_text(2)?.map(ConsumerKey) } else { None };
        found = found.flatten().or(key).map(Some).or(Some(None));
    }
    Ok(found)
}

/// Inserts a client with its service provider and the owner's `Application/<name>` role. A taken name or id is
/// [`StoreError::Conflict`].
pub async fn insert(conn: &mut Conn, client: &NewClient) -> Result<ConsumerKeyId, StoreError> {
    let settings = &client.settings;
    check_widths(conn, settings)?;
    let secret = conn.forms().secret_column(&client.secret)?;
    error::check_widths(&[
        ("the client id", client.key.as_str(), 255),
        ("the client secret", &secret, if conn.capabilities().has(Capability::TokenHash) { 2048 } else { 512 }),
        ("the owner's name", &client.owner, 255),
        ("the owner's domain", &client.owner_domain, 50),
    ])?;
    let description = format!("Service Provider for application {}", settings.name);
    let args = [
        client.tenant.into(),
        (&settings.name).into(),
        (&client.owner_domain).into(),
        (&client.owner).into(),
        (&description).into(),
        char_flag(client.is_saas).into(),
        (&client.provider_uuid).into(),
    ];
    let provider = conn.insert(&INSERT_PROVIDER, &args).await?;
    let grants = settings.grants.join(" ");
    let lifetimes = settings.lifetimes;
    let args = [
        (&client.key).into(),
        (&secret).into(),
        (&client.owner).into(),
        client.tenant.into(),
        (&client.owner_domain).into(),
        (&settings.name).into(),
        (&settings.callback).into(),
        (&grants).into(),
        char_flag(settings.is_pkce_mandatory).into(),
        char_flag(settings.may_pkce_be_plain).into(),
        lifetimes.user_s.into(),
        lifetimes.application_s.into(),
        lifetimes.refresh_s.into(),
        lifetimes.id_s.into(),
    ];
    let id = conn.insert(&INSERT_CLIENT, &args).await?;
    write_properties(conn, client.tenant, &client.key, settings).await?;
    conn.execute(&INSERT_INBOUND, &[client.tenant.into(), (&client.key).into(), provider.into()]).await?;
    let owner = (client.owner_domain.as_str(), client.owner.as_str());
    users::add_hybrid_role_in(conn, client.tenant, owner, &role_of(&settings.name)).await?;
    Ok(ConsumerKeyId(id))
}

/// Changes what registration set. A new name renames the service provider and the owner's role too.
pub async fn update(conn: &mut Conn, client: &Client, settings: &ClientSettings) -> Result<(), StoreError> {
    check_widths(conn, settings)?;
    let grants = settings.grants.join(" ");
    let lifetimes = settings.lifetimes;
    let args = [
        (&settings.name).into(),
        (&settings.callback).into(),
        (&grants).into(),
        char_flag(settings.is_pkce_mandatory).into(),
        char_flag(settings.may_pkce_be_plain).into(),
        lifetimes.user_s.into(),
        lifetimes.application_s.into(),
        lifetimes.refresh_s.into(),
        lifetimes.id_s.into(),
        client.id.into(),
    ];
    conn.execute(&UPDATE_CLIENT, &args).await?;
    if settings.name != client.settings.name
        && let Some(provider) = find_provider(conn, client).await?
    {
        conn.execute(&RENAME_PROVIDER, &[(&settings.name).into(), provider.id.into()]).await?;
        let (from, to) = (role_of(&provider.name), role_of(&settings.name));
        if from != to {
            // No service provider has the new name: a role of that name is a leftover.
            users::rename_hybrid_role(conn, client.tenant, &from, &to).await?;
        }
    }
    write_properties(conn, client.tenant, &client.key, settings).await
}

/// Stores a new secret and makes the client active. Its tokens are the caller's to revoke.
pub async fn update_secret(conn: &mut Conn, client: &Client, secret: &Secret) -> Result<(), StoreError> {
    let column = conn.forms().secret_column(secret)?;
    conn.execute(&UPDATE_SECRET, &[(&column).into(), client.id.into()]).await?;
    Ok(())
}

/// Blocks a client: APP_STATE becomes `REVOKED` (rest-3x.md 1.6.6).
pub async fn block(conn: &mut Conn, client: &Client) -> Result<(), StoreError> {
    conn.execute(&BLOCK_CLIENT, &[client.id.into()]).await.map(|_| ())
}

/// Deletes a client, its service provider with the owner's role and, by cascade, its tokens. Emitting their revocation is the caller's duty.
pub async fn delete(conn: &mut Conn, client: &Client) -> Result<(), StoreError> {
    if let Some(provider) = find_provider(conn, client).await? {
        conn.execute(&DELETE_PROVIDER, &[provider.id.into()]).await?;
        users::delete_hybrid_role(conn, client.tenant, &role_of(&provider.name)).await?;
    }
    conn.execute(&DELETE_CLIENT, &[client.id.into()]).await?;
    Ok(())
}

/// May users of other tenants use it (SP_APP.IS_SAAS_APP)?
pub async fn is_saas(conn: &mut Conn, client: &Client) -> Result<bool, StoreError> {
    Ok(find_provider(conn, client).await?.is_some_and(|provider| provider.is_saas))
}

pub(crate) struct Provider {
    pub(crate) id: i64,
    pub(crate) name: String,
    is_saas: bool,
}

/// The role of an application's owner (database.md 2.1 row 6).
pub(crate) fn role_of(application: &str) -> String {
    format!("Application/{application}")
}

/// The service provider of a client. It has the client's name as a rule, and names have an index, keys have none.
pub(crate) async fn find_provider(conn: &mut Conn, client: &Client) -> Result<Option<Provider>, StoreError> {
    let (name, tenant, key) = ((&client.settings.name).into(), client.tenant.into(), (&client.key).into());
    let mut rows = conn.rows(&FIND_PROVIDER, &[name, tenant, key]).await?;
    if rows.is_empty() {
        rows = conn.rows(&FIND_RENAMED_PROVIDER, &[key, tenant]).await?;
    }
    for row in &rows {
        if row.opt_text(1)?.as_deref() == Some(client.key.as_str()) {
            let is_saas = row.opt_text(2)?.as_deref() == Some("1");
            return Ok(Some(Provider { id: row.int(0)?, name: row.opt_text(3)?.unwrap_or_default(), is_saas }));
        }
    }
    Ok(None)
}

async fn write_properties(
    conn: &mut Conn,
    tenant: TenantId,
    key: &ConsumerKey,
    settings: &ClientSettings,
) -> Result<(), StoreError> {
    if !conn.capabilities().has(Capability::OidcProperty) {
        // 2.1 knows neither token types nor public clients: what it would not find is not written elsewhere.
        return Ok(());
    }
    let renew = settings.is_refresh_renewed.map(|is_renewed| is_renewed.to_string());
    let properties = [
        (TOKEN_TYPE, Some(settings.token_type.as_str())),
        (BYPASS, Some(if settings.is_public { "true" } else { "false" })),
        (RENEW_REFRESH, renew.as_deref()),
    ];
    for property in properties {
        write_property(conn, tenant, key, property).await?;
    }
    Ok(())
}

/// Sets one property of a client, where databases have properties.
pub(crate) async fn write_property(
    conn: &mut Conn,
    tenant: TenantId,
    key: &ConsumerKey,
    (name, value): (&str, Option<&str>),
) -> Result<(), StoreError> {
    conn.execute(&DELETE_PROPERTIES, &[key.into(), tenant.into(), name.into()]).await?;
    conn.execute(&INSERT_PROPERTY, &[tenant.into(), key.into(), name.into(), value.into()]).await.map(|_| ())
}

/// SQLite checks no widths and MySQL may truncate: check before writing (database.md 1.6).
fn check_widths(conn: &Conn, settings: &ClientSettings) -> Result<(), StoreError> {
    let callback_max = if conn.capabilities().has(Capability::IdpId) { 2048 } else { 1024 };
    let limits = [
        ("the application name", settings.name.chars().count(), 255),
        ("the callback URL", settings.callback.chars().count(), callback_max),
        ("the list of grants", settings.grants.join(" ").chars().count(), 1024),
    ];
    match limits.iter().find(|(_, length, limit)| length > limit) {
        Some((what, ..)) => Err(StoreError::TooLong(what)),
        None => Ok(()),
    }
}

fn char_flag(flag: bool) -> &'static str {
    if flag { "1" } else { "0" }
}
