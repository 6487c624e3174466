//! AM_API and its satellites: AM_API_URL_MAPPING, AM_API_RESOURCE_SCOPE_MAPPING, AM_API_LC_EVENT, AM_API_DEFAULT_VERSION
//! (contract portal-gateway-3x.md 5.1, 5.2).
//!
//! AM_API of 3.2 has neither id nor status as the REST knows them: those are in the registry artifact (fact 1), which is
//! [`crate::registry`]'s. Url mappings are deleted and inserted again on every update (fact 8).

use crate::conn::Conn;
use crate::error::{StoreError, check_widths};
use crate::sql::queries;
use crate::value::Row;
use claviger_proto::ids::{ApiId, TenantId};
use claviger_proto::time::Timestamp;

queries! {
    FIND_API = "SELECT API_ID, API_PROVIDER, API_NAME, API_VERSION, CONTEXT, CONTEXT_TEMPLATE, API_TIER, API_TYPE, CREATED_BY, CREATED_TIME, \
                UPDATED_BY, UPDATED_TIME FROM AM_API WHERE API_PROVIDER = ? AND API_NAME = ? AND API_VERSION = ?";
    FIND_API_BY_ID = "SELECT API_ID, API_PROVIDER, API_NAME, API_VERSION, CONTEXT, CONTEXT_TEMPLATE, API_TIER, API_TYPE, CREATED_BY, CREATED_TIME, \
                UPDATED_BY, UPDATED_TIME FROM AM_API WHERE API_ID = ?";
    LIST_BY_CONTEXT = "SELECT API_ID, API_PROVIDER, API_NAME, API_VERSION, CONTEXT, CONTEXT_TEMPLATE, API_TIER, API_TYPE, CREATED_BY, CREATED_TIME, \
                UPDATED_BY, UPDATED_TIME FROM AM_API WHERE CONTEXT = ? ORDER BY API_ID";
    LIST_APIS = "SELECT API_ID, API_PROVIDER, API_NAME, API_VERSION, CONTEXT, CONTEXT_TEMPLATE, API_TIER, API_TYPE, CREATED_BY, CREATED_TIME, \
                UPDATED_BY, UPDATED_TIME FROM AM_API ORDER BY API_ID";
    LIST_NEIGHBOURS = "SELECT API_ID, API_PROVIDER, API_NAME, API_VERSION, CONTEXT, CONTEXT_TEMPLATE, API_TIER, API_TYPE, CREATED_BY, CREATED_TIME, \
                UPDATED_BY, UPDATED_TIME FROM AM_API WHERE LOWER(API_NAME) = LOWER(?) OR CONTEXT_TEMPLATE = ?";
    INSERT_API = "INSERT INTO AM_API (API_PROVIDER, API_NAME, API_VERSION, CONTEXT, CONTEXT_TEMPLATE, API_TIER, API_TYPE, CREATED_BY, CREATED_TIME, \
                  UPDATED_TIME) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        Postgres = "INSERT INTO AM_API (API_PROVIDER, API_NAME, API_VERSION, CONTEXT, CONTEXT_TEMPLATE, API_TIER, API_TYPE, CREATED_BY, CREATED_TIME, \
                  UPDATED_TIME) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING API_ID";
    UPDATE_API = "UPDATE AM_API SET API_TIER = ?, UPDATED_BY = ?, UPDATED_TIME = ?, CREATED_TIME = CREATED_TIME WHERE API_ID = ?";
    DELETE_API = "DELETE FROM AM_API WHERE API_ID = ?";
    DELETE_SUBSCRIPTIONS = "DELETE FROM AM_SUBSCRIPTION WHERE API_ID = ?";
    DELETE_COMMENTS = "DELETE FROM AM_API_COMMENTS WHERE API_ID = ?";
    DELETE_RATINGS = "DELETE FROM AM_API_RATINGS WHERE API_ID = ?";
    DELETE_STORES = "DELETE FROM AM_EXTERNAL_STORES WHERE API_ID = ?";
    DELETE_STATES = "DELETE FROM AM_API_LC_EVENT WHERE API_ID = ?";
    LIST_MAPPINGS = "SELECT U.URL_MAPPING_ID, U.HTTP_METHOD, U.URL_PATTERN, U.AUTH_SCHEME, U.THROTTLING_TIER, S.SCOPE_NAME FROM AM_API_URL_MAPPING U \
                     LEFT JOIN AM_API_RESOURCE_SCOPE_MAPPING S ON S.URL_MAPPING_ID = U.URL_MAPPING_ID \
                     WHERE U.API_ID = ? ORDER BY U.URL_MAPPING_ID, S.SCOPE_NAME";
    INSERT_MAPPING = "INSERT INTO AM_API_URL_MAPPING (API_ID, HTTP_METHOD, AUTH_SCHEME, URL_PATTERN, THROTTLING_TIER) VALUES (?, ?, ?, ?, ?)",
        Postgres = "INSERT INTO AM_API_URL_MAPPING (API_ID, HTTP_METHOD, AUTH_SCHEME, URL_PATTERN, THROTTLING_TIER) VALUES (?, ?, ?, ?, ?) \
                    RETURNING URL_MAPPING_ID";
    INSERT_SCOPE_MAPPING = "INSERT INTO AM_API_RESOURCE_SCOPE_MAPPING (SCOPE_NAME, URL_MAPPING_ID, TENANT_ID) VALUES (?, ?, ?)";
    DELETE_SCOPE_MAPPINGS = "DELETE FROM AM_API_RESOURCE_SCOPE_MAPPING WHERE URL_MAPPING_ID IN \
                             (SELECT URL_MAPPING_ID FROM AM_API_URL_MAPPING WHERE API_ID = ?)";
    DELETE_PRODUCT_MAPPINGS = "DELETE FROM AM_API_PRODUCT_MAPPING WHERE URL_MAPPING_ID IN \
                               (SELECT URL_MAPPING_ID FROM AM_API_URL_MAPPING WHERE API_ID = ?)";
    LIST_PRODUCT_MAPPINGS = "SELECT P.API_ID, U.HTTP_METHOD, U.URL_PATTERN FROM AM_API_PRODUCT_MAPPING P \
                             JOIN AM_API_URL_MAPPING U ON U.URL_MAPPING_ID = P.URL_MAPPING_ID WHERE U.API_ID = ?";
    INSERT_PRODUCT_MAPPING = "INSERT INTO AM_API_PRODUCT_MAPPING (API_ID, URL_MAPPING_ID) VALUES (?, ?)";
    DELETE_MAPPINGS = "DELETE FROM AM_API_URL_MAPPING WHERE API_ID = ?";
    LIST_SCOPE_USERS = "SELECT DISTINCT A.API_ID, A.API_NAME, A.API_PROVIDER FROM AM_API_RESOURCE_SCOPE_MAPPING S \
                        JOIN AM_API_URL_MAPPING U ON U.URL_MAPPING_ID = S.URL_MAPPING_ID JOIN AM_API A ON A.API_ID = U.API_ID \
                        WHERE S.SCOPE_NAME = ? AND S.TENANT_ID = ?";
    INSERT_STATE = "INSERT INTO AM_API_LC_EVENT (API_ID, PREVIOUS_STATE, NEW_STATE, USER_ID, TENANT_ID, EVENT_DATE) VALUES (?, ?, ?, ?, ?, ?)";
    LIST_STATES = "SELECT PREVIOUS_STATE, NEW_STATE, USER_ID, EVENT_DATE FROM AM_API_LC_EVENT WHERE API_ID = ? ORDER BY EVENT_ID";
    FIND_DEFAULT = "SELECT DEFAULT_API_VERSION, PUBLISHED_DEFAULT_API_VERSION FROM AM_API_DEFAULT_VERSION WHERE API_NAME = ? AND API_PROVIDER = ?";
    INSERT_DEFAULT = "INSERT INTO AM_API_DEFAULT_VERSION (API_NAME, API_PROVIDER, DEFAULT_API_VERSION, PUBLISHED_DEFAULT_API_VERSION) VALUES (?, ?, ?, ?)";
    DELETE_DEFAULT = "DELETE FROM AM_API_DEFAULT_VERSION WHERE API_NAME = ? AND API_PROVIDER = ?";
}

/// A row of AM_API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiRow {
    /// API_ID.
    pub id: ApiId,
    /// API_PROVIDER, with a real `@`.
    pub provider: String,
    /// API_NAME.
    pub name: String,
    /// API_VERSION.
    pub version: String,
    /// CONTEXT, with the version.
    pub context: String,
    /// CONTEXT_TEMPLATE.
    pub context_template: String,
    /// API_TIER.
    pub tier: Option<String>,
    /// API_TYPE.
    pub kind: String,
    /// CREATED_TIME.
    pub created: Option<Timestamp>,
    /// UPDATED_TIME.
    pub updated: Option<Timestamp>,
}

/// An API to insert.
#[derive(Clone, Debug)]
pub struct NewApi {
    /// API_PROVIDER, with a real `@`.
    pub provider: String,
    /// API_NAME.
    pub name: String,
    /// API_VERSION.
    pub version: String,
    /// CONTEXT, with the version.
    pub context: String,
    /// CONTEXT_TEMPLATE.
    pub context_template: String,
    /// API_TIER.
    pub tier: Option<String>,
    /// API_TYPE.
    pub kind: String,
    /// CREATED_BY.
    pub user: String,
}

/// A row of AM_API_URL_MAPPING with its scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlMapping {
    /// URL_MAPPING_ID; passed over on insert.
    pub id: i64,
    /// HTTP_METHOD.
    pub verb: String,
    /// URL_PATTERN.
    pub pattern: String,
    /// AUTH_SCHEME, in either spelling.
    pub auth_scheme: String,
    /// THROTTLING_TIER.
    pub policy: String,
    /// Names of scopes.
    pub scopes: Vec<String>,
}

/// A row of AM_API_LC_EVENT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// PREVIOUS_STATE; NULL at creation.
    pub before: Option<String>,
    /// NEW_STATE.
    pub after: String,
    /// USER_ID.
    pub user: String,
    /// EVENT_DATE.
    pub time: Timestamp,
}

/// A row of AM_API_DEFAULT_VERSION.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultVersion {
    /// DEFAULT_API_VERSION.
    pub version: Option<String>,
    /// PUBLISHED_DEFAULT_API_VERSION.
    pub published: Option<String>,
}

/// An API by provider, name and version, exactly.
pub async fn find(conn: &mut Conn, provider: &str, name: &str, version: &str) -> Result<Option<ApiRow>, StoreError> {
    for row in conn.rows(&FIND_API, &[provider.into(), name.into(), version.into()]).await? {
        let api = decode(&row)?;
        if api.provider == provider && api.name == name && api.version == version {
            return Ok(Some(api));
        }
    }
    Ok(None)
}

/// An API by its number.
pub async fn find_by_id(conn: &mut Conn, id: ApiId) -> Result<Option<ApiRow>, StoreError> {
    conn.row(&FIND_API_BY_ID, &[id.into()]).await?.map(|row| decode(&row)).transpose()
}

/// The APIs that have exactly this context, which contains the version.
pub async fn list_by_context(conn: &mut Conn, context: &str) -> Result<Vec<ApiRow>, StoreError> {
    let found = conn.rows(&LIST_BY_CONTEXT, &[context.into()]).await?;
    let mut found = found.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    found.retain(|api| api.context == context);
    Ok(found)
}

/// Every API of every tenant.
pub async fn list(conn: &mut Conn) -> Result<Vec<ApiRow>, StoreError> {
    conn.rows(&LIST_APIS, &[]).await?.iter().map(decode).collect()
}

/// APIs of the same name in any letter case, of any tenant, and APIs with the same context template.
pub async fn list_neighbours(conn: &mut Conn, name: &str, template: &str) -> Result<Vec<ApiRow>, StoreError> {
    conn.rows_of_any(&LIST_NEIGHBOURS, &[name.into(), template.into()]).await?.iter().map(decode).collect()
}

/// Inserts an API. A taken (provider, name, version) is [`StoreError::Conflict`].
pub async fn insert(conn: &mut Conn, api: &NewApi, now: Timestamp) -> Result<ApiId, StoreError> {
    check_widths(&[
        ("the context", &api.context, 256),
        ("the context", &api.context_template, 256),
        ("the provider", &api.provider, 256),
        ("the name", &api.name, 256),
        ("the version", &api.version, 30),
        ("the policy's name", api.tier.as_deref().unwrap_or_default(), 256),
        ("the type", &api.kind, 10),
        ("the user name", &api.user, 100),
    ])?;
    let args = [
        (&api.provider).into(),
        (&api.name).into(),
        (&api.version).into(),
        (&api.context).into(),
        (&api.context_template).into(),
        (&api.tier).into(),
        (&api.kind).into(),
        (&api.user).into(),
        now.into(),
        now.into(),
    ];
    Ok(ApiId(conn.insert(&INSERT_API, &args).await?))
}

/// Notes a change: the API-level policy, who and when.
pub async fn update(
    conn: &mut Conn,
    id: ApiId,
    tier: Option<&str>,
    user: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    check_widths(&[("the policy's name", tier.unwrap_or_default(), 256), ("the user name", user, 100)])?;
    conn.execute(&UPDATE_API, &[tier.into(), user.into(), now.into(), id.into()]).await?;
    Ok(())
}

/// Deletes an API with everything in the AM_ tables that hangs on it. Its default-version row is the caller's.
pub async fn delete(conn: &mut Conn, id: ApiId) -> Result<(), StoreError> {
    delete_url_mappings(conn, id).await?;
    let statements =
        [&DELETE_SUBSCRIPTIONS, &DELETE_COMMENTS, &DELETE_RATINGS, &DELETE_STORES, &DELETE_STATES, &DELETE_API];
    for statement in statements {
        conn.execute(statement, &[id.into()]).await?;
    }
    Ok(())
}

/// The API's resources in definition order.
pub async fn list_url_mappings(conn: &mut Conn, id: ApiId) -> Result<Vec<UrlMapping>, StoreError> {
    let mut mappings: Vec<UrlMapping> = Vec::new();
    for row in conn.rows(&LIST_MAPPINGS, &[id.into()]).await? {
        let mapping_id = row.int(0)?;
        let scope = row.opt_text(5)?;
        match mappings.last_mut() {
            Some(last) if last.id == mapping_id => last.scopes.extend(scope),
            _ => mappings.push(UrlMapping {
                id: mapping_id,
                verb: row.opt_text(1)?.unwrap_or_default(),
                pattern: row.opt_text(2)?.unwrap_or_default(),
                auth_scheme: row.opt_text(3)?.unwrap_or_default(),
                policy: row.opt_text(4)?.unwrap_or_default(),
                scopes: scope.into_iter().collect(),
            }),
        }
    }
    Ok(mappings)
}

/// Resources of the API that API products use: (product's API_ID, verb, pattern).
pub async fn list_product_uses(conn: &mut Conn, id: ApiId) -> Result<Vec<(i64, String, String)>, StoreError> {
    let rows = conn.rows(&LIST_PRODUCT_MAPPINGS, &[id.into()]).await?;
    let text = |row: &Row, column| Ok::<_, StoreError>(row.opt_text(column)?.unwrap_or_default());
    rows.iter().map(|row| Ok((row.int(0)?, text(row, 1)?, text(row, 2)?))).collect()
}

/// Replaces the API's resources. Products that used a resource are linked to its new row.
pub async fn replace_url_mappings(
    conn: &mut Conn,
    id: ApiId,
    tenant: TenantId,
    mappings: &[UrlMapping],
) -> Result<(), StoreError> {
    let products = list_product_uses(conn, id).await?;
    delete_url_mappings(conn, id).await?;
    for mapping in mappings {
        check_widths(&[
            ("the verb", &mapping.verb, 20),
            ("the authentication scheme", &mapping.auth_scheme, 50),
            ("the path", &mapping.pattern, 512),
            ("the policy's name", &mapping.policy, 512),
        ])?;
        let args = [
            id.into(),
            (&mapping.verb).into(),
            (&mapping.auth_scheme).into(),
            (&mapping.pattern).into(),
            (&mapping.policy).into(),
        ];
        let mapping_id = conn.insert(&INSERT_MAPPING, &args).await?;
        for scope in &mapping.scopes {
            check_widths(&[("the scope's name", scope, 256)])?;
            conn.execute(&INSERT_SCOPE_MAPPING, &[scope.into(), mapping_id.into(), tenant.into()]).await?;
        }
        for (product, verb, pattern) in &products {
            if *verb == mapping.verb && *pattern == mapping.pattern {
                conn.execute(&INSERT_PRODUCT_MAPPING, &[(*product).into(), mapping_id.into()]).await?;
            }
        }
    }
    Ok(())
}

async fn delete_url_mappings(conn: &mut Conn, id: ApiId) -> Result<(), StoreError> {
    for statement in [&DELETE_SCOPE_MAPPINGS, &DELETE_PRODUCT_MAPPINGS, &DELETE_MAPPINGS] {
        conn.execute(statement, &[id.into()]).await?;
    }
    Ok(())
}

/// APIs with a resource that needs this scope: (id, name, provider).
pub async fn list_scope_users(
    conn: &mut Conn,
    tenant: TenantId,
    scope: &str,
) -> Result<Vec<(ApiId, String, String)>, StoreError> {
    let rows = conn.rows(&LIST_SCOPE_USERS, &[scope.into(), tenant.into()]).await?;
    rows.iter().map(|row| Ok((ApiId(row.int(0)?), row.text(1)?, row.text(2)?))).collect()
}

/// Notes a lifecycle change.
pub async fn insert_state(
    conn: &mut Conn,
    id: ApiId,
    tenant: TenantId,
    change: &StateChange,
) -> Result<(), StoreError> {
    // USER_ID is 50 wide.
    let user: String = change.user.chars().take(50).collect();
    let args =
        [id.into(), (&change.before).into(), (&change.after).into(), (&user).into(), tenant.into(), change.time.into()];
    conn.execute(&INSERT_STATE, &args).await?;
    Ok(())
}

/// The lifecycle's history, oldest first.
pub async fn list_states(conn: &mut Conn, id: ApiId) -> Result<Vec<StateChange>, StoreError> {
    let rows = conn.rows(&LIST_STATES, &[id.into()]).await?;
    let decode = |row: &Row| {
        Ok(StateChange { before: row.opt_text(0)?, after: row.text(1)?, user: row.text(2)?, time: row.time(3)? })
    };
    rows.iter().map(decode).collect()
}

/// The default version of (name, provider).
pub async fn find_default(conn: &mut Conn, name: &str, provider: &str) -> Result<DefaultVersion, StoreError> {
    match conn.row(&FIND_DEFAULT, &[name.into(), provider.into()]).await? {
        Some(row) => Ok(DefaultVersion { version: row.opt_text(0)?, published: row.opt_text(1)? }),
        None => Ok(DefaultVersion::default()),
    }
}

/// Replaces the default version of (name, provider); nothing at all removes the row.
pub async fn set_default(conn: &mut Conn, name: &str, provider: &str, to: &DefaultVersion) -> Result<(), StoreError> {
    conn.execute(&DELETE_DEFAULT, &[name.into(), provider.into()]).await?;
    if to.version.is_some() {
        let args = [name.into(), provider.into(), (&to.version).into(), (&to.published).into()];
        conn.execute(&INSERT_DEFAULT, &args).await?;
    }
    Ok(())
}

fn decode(row: &Row) -> Result<ApiRow, StoreError> {
    Ok(ApiRow {
        id: ApiId(row.int(0)?),
        provider: row.opt_text(1)?.unwrap_or_default(),
        name: row.opt_text(2)?.unwrap_or_default(),
        version: row.opt_text(3)?.unwrap_or_default(),
        context: row.opt_text(4)?.unwrap_or_default(),
        context_template: row.opt_text(5)?.unwrap_or_default(),
        tier: row.opt_text(6)?,
        kind: row.opt_text(7)?.unwrap_or_else(|| "HTTP".to_owned()),
        created: row.opt_time(9)?,
        updated: row.opt_time(11)?,
    })
}
