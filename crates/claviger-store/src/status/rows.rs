//! What the rows say.

use super::Finding;
use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Engine, Family, queries};
use claviger_proto::time::{Timestamp, Zone};

queries! {
    FIND_USER = "SELECT UM_ID FROM UM_USER LIMIT 1";
    COUNT_USERS_WITHOUT_ID = "SELECT COUNT(*) FROM UM_USER WHERE [user_id:UM_USER_ID = 'NONE'|1 = 0]";
    FIND_NEWEST_TOKEN = "SELECT MAX(TIME_CREATED) FROM IDN_OAUTH2_ACCESS_TOKEN";
    COUNT_WITHOUT_PROVIDER = "SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN WHERE TOKEN_STATE = 'ACTIVE' \
                              AND [idp_id:(IDP_ID IS NULL OR IDP_ID = -1)|1 = 0]";
    COUNT_WITHOUT_HASH = "SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN WHERE TOKEN_STATE = 'ACTIVE' \
                          AND [token_hash:ACCESS_TOKEN_HASH IS NULL|1 = 0]";
    COUNT_DUPLICATES = "SELECT COUNT(*) FROM (SELECT CONSUMER_KEY_ID FROM IDN_OAUTH2_ACCESS_TOKEN WHERE TOKEN_STATE = 'ACTIVE' \
                        GROUP BY CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, USER_DOMAIN, USER_TYPE, \
                        TOKEN_SCOPE_HASH[token_binding:, TOKEN_BINDING_REF] HAVING COUNT(*) > 1) D";
    COUNT_ZERO_TIMES = "SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN WHERE 1 = 0",
        MySql = "SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN WHERE CAST(TIME_CREATED AS CHAR) LIKE '0000%' \
                 OR CAST(REFRESH_TOKEN_TIME_CREATED AS CHAR) LIKE '0000%'";
    LIST_TENANTS_WITHOUT_PROVIDER = "SELECT DISTINCT C.TENANT_ID FROM IDN_OAUTH_CONSUMER_APPS C WHERE C.TENANT_ID IS NOT NULL \
                                     AND NOT EXISTS (SELECT 1 FROM IDP I WHERE I.TENANT_ID = C.TENANT_ID AND I.NAME = 'LOCAL') \
                                     ORDER BY C.TENANT_ID";
}

/// Is there a user in the UM_USER of a family's database?
pub(super) async fn has_users(conn: &mut Conn, family: Family) -> Result<bool, StoreError> {
    Ok(!conn.rows_in(family, &FIND_USER, &[]).await?.is_empty())
}

pub(super) async fn users_without_id(conn: &mut Conn) -> Result<i64, StoreError> {
    conn.row(&COUNT_USERS_WITHOUT_ID, &[]).await?.map_or(Ok(0), |row| row.int(0))
}

/// When the newest token was issued, and what its wall clock says if it is taken for UTC.
pub(super) async fn newest_token(conn: &mut Conn) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
    let Some(newest) = conn.row(&FIND_NEWEST_TOKEN, &[]).await?.map_or(Ok(None), |row| row.opt_time(0))? else {
        return Ok(None);
    };
    let wall = conn.token_zone().to_wall(newest).and_then(|wall| Zone::UTC.to_utc(wall).latest());
    Ok(wall.map(|wall| (newest, wall)))
}

/// Everything that takes reading tables from end to end.
pub(super) async fn findings(conn: &mut Conn) -> Result<Vec<Finding>, StoreError> {
    let mut found = Vec::new();
    let keys = count(conn, &COUNT_DUPLICATES).await?;
    found.extend((keys > 0).then_some(Finding::DuplicateTokens { keys }));
    if conn.engine_of(Family::Identity) == Engine::MySql {
        let rows = count(conn, &COUNT_ZERO_TIMES).await?;
        found.extend((rows > 0).then_some(Finding::ZeroTimes { rows }));
    }
    if conn.capabilities().has(Capability::TokenHash) {
        let tokens = count(conn, &COUNT_WITHOUT_HASH).await?;
        found.extend((tokens > 0).then_some(Finding::TokensWithoutHash { tokens }));
    }
    if conn.capabilities().has(Capability::IdpId) {
        let tokens = count(conn, &COUNT_WITHOUT_PROVIDER).await?;
        found.extend((tokens > 0).then_some(Finding::TokensWithoutProvider { tokens }));
        let rows = conn.rows(&LIST_TENANTS_WITHOUT_PROVIDER, &[]).await?;
        let tenants = rows.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
        found.extend((!tenants.is_empty()).then_some(Finding::TenantsWithoutProvider { tenants }));
    }
    Ok(found)
}

async fn count(conn: &mut Conn, sql: &'static crate::sql::Sql) -> Result<i64, StoreError> {
    conn.row(sql, &[]).await?.map_or(Ok(0), |row| row.int(0))
}
