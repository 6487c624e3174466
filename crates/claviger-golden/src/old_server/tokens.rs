//! Tokens (contract database.md 3.4 and 3.6).

use super::OldServer;
use crate::Release;
use crate::db::{Row, Value};
use crate::digest::scope_hash;
use anyhow::Result;
use std::collections::BTreeSet;

/// A token row as an old server reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundToken {
    /// TOKEN_ID.
    pub id: String,
    /// Client id.
    pub client: String,
    /// ACCESS_TOKEN as stored.
    pub access_column: String,
    /// REFRESH_TOKEN as stored.
    pub refresh_column: Option<String>,
    /// AUTHZ_USER.
    pub user: String,
    /// USER_DOMAIN.
    pub store: String,
    /// TENANT_ID.
    pub tenant_id: i64,
    /// USER_TYPE.
    pub user_type: String,
    /// GRANT_TYPE.
    pub grant: String,
    /// SUBJECT_IDENTIFIER.
    pub subject: String,
    /// IDN_OAUTH2_ACCESS_TOKEN_SCOPE.
    pub scopes: BTreeSet<String>,
    /// TOKEN_STATE.
    pub state: String,
    /// TIME_CREATED, milliseconds since 1970.
    pub issued_ms: i64,
    /// When it ends; `None` is never.
    pub expires_ms: Option<i64>,
    /// REFRESH_TOKEN_TIME_CREATED.
    pub refresh_issued_ms: i64,
    /// When the refresh token ends; `None` is never.
    pub refresh_expires_ms: Option<i64>,
}

/// What the refresh grant makes of a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRefresh {
    /// The newest row that carries it.
    pub token: FoundToken,
    /// It is good.
    pub is_good: bool,
}

/// Columns of [`FoundToken`] but the scopes, in order.
const COLUMNS: &str = "t.TOKEN_ID, c.CONSUMER_KEY, t.ACCESS_TOKEN, t.REFRESH_TOKEN, t.AUTHZ_USER, t.USER_DOMAIN, t.TENANT_ID, \
    t.USER_TYPE, t.GRANT_TYPE, t.SUBJECT_IDENTIFIER, t.TOKEN_STATE, t.TIME_CREATED, t.VALIDITY_PERIOD, \
    t.REFRESH_TOKEN_TIME_CREATED, t.REFRESH_TOKEN_VALIDITY_PERIOD";
const FROM: &str = "FROM IDN_OAUTH2_ACCESS_TOKEN t JOIN IDN_OAUTH_CONSUMER_APPS c ON c.ID = t.CONSUMER_KEY_ID";
/// Lives at least as long count as without end (database.md 3.8).
const ENDLESS: i64 = 99_999_999_999_990;
/// A token with no more than that to live is over (database.md 3.4).
const LEAST_LIFE_MS: i64 = 1000;
/// Rows of a client, user and scope set among which the refresh grant looks for a living one.
const LATEST_MAX: usize = 10;

impl FoundToken {
    /// The access token is good at that moment.
    pub fn is_active(&self, now_ms: i64) -> bool {
        self.state == "ACTIVE" && is_ahead(self.expires_ms, now_ms)
    }
}

impl OldServer<'_> {
    /// The row of an access token (of a JWT: of its jti), whatever its state.
    pub async fn token(&self, access: &str) -> Result<Option<FoundToken>> {
        let (condition, value) = self.by_value("t.ACCESS_TOKEN", access);
        let sql = format!("SELECT {COLUMNS} {FROM} {} WHERE {condition}", self.provider());
        let found = self.tokens(&sql, &[value]).await?.into_iter().next();
        // MySQL compares without regard to case.
        Ok(found.filter(|token| self.options.form.is_stored(access, &token.access_column)))
    }

    /// What becomes of a refresh token that a client presents.
    pub async fn refresh(&self, client: &str, refresh: &str, now_ms: i64) -> Result<Option<FoundRefresh>> {
        let (condition, value) = self.by_value("t.REFRESH_TOKEN", refresh);
        let sql = format!(
            "SELECT {COLUMNS} {FROM} {} WHERE c.CONSUMER_KEY = ? AND {condition} ORDER BY t.TIME_CREATED DESC",
            self.provider()
        );
        let Some(token) = self.tokens(&sql, &[client.into(), value]).await?.into_iter().next() else { return Ok(None) };
        let latest = self.latest_tokens(&token).await?;
        let carries = |other: &FoundToken| {
            let is_it = |column: &String| self.options.form.is_stored(refresh, column);
            other.refresh_column.as_ref().is_some_and(is_it) && matches!(other.state.as_str(), "ACTIVE" | "EXPIRED")
        };
        let may_be_used = match self.release() {
            Release::V2_1 => latest.first().is_some_and(carries),
            _ if token.state == "ACTIVE" => true,
            _ => token.state == "EXPIRED" && latest.iter().take(LATEST_MAX).any(carries),
        };
        let is_good = may_be_used && is_ahead(token.refresh_expires_ms, now_ms);
        Ok(Some(FoundRefresh { token, is_good }))
    }

    /// The ACTIVE row that a new request of the same client, user and scopes meets: the newest.
    pub async fn latest_active(&self, like: &FoundToken) -> Result<Option<FoundToken>> {
        Ok(self.latest_tokens(like).await?.into_iter().find(|token| token.state == "ACTIVE"))
    }

    /// ACTIVE rows of a client, the newest first: what is revoked with it.
    pub async fn active_of_client(&self, client: &str) -> Result<Vec<FoundToken>> {
        let sql = format!(
            "SELECT {COLUMNS} {FROM} WHERE c.CONSUMER_KEY = ? AND t.TOKEN_STATE = 'ACTIVE' ORDER BY t.TIME_CREATED DESC"
        );
        self.tokens(&sql, &[client.into()]).await
    }

    /// ACTIVE rows of a user, the newest first: what is revoked with it.
    pub async fn active_of_user(&self, user: &str, store: &str, tenant_id: i64) -> Result<Vec<FoundToken>> {
        let sql = format!(
            "SELECT {COLUMNS} {FROM} WHERE t.AUTHZ_USER = ? AND t.TENANT_ID = ? AND t.USER_DOMAIN = ? \
             AND t.TOKEN_STATE = 'ACTIVE' ORDER BY t.TIME_CREATED DESC"
        );
        self.tokens(&sql, &[user.into(), tenant_id.into(), store.into()]).await
    }

    /// SIGNATURE of the JWTs that gateways must refuse and that have not ended (from 3.0 on): in 3.2 the jti, before it the
    /// third part of the JWT.
    pub async fn revoked_jwts(&self, now_ms: i64) -> Result<BTreeSet<String>> {
        let find = "SELECT SIGNATURE FROM AM_REVOKED_JWT WHERE EXPIRY_TIMESTAMP > ?";
        self.am().rows(find, &[now_ms.into()]).await?.iter().map(|row| row.text(0)).collect()
    }

    /// Rows of the same client, user and scopes, the newest first.
    async fn latest_tokens(&self, like: &FoundToken) -> Result<Vec<FoundToken>> {
        let scopes: Vec<String> = like.scopes.iter().cloned().collect();
        let mut sql = format!(
            "SELECT {COLUMNS} {FROM} WHERE c.CONSUMER_KEY = ? AND t.AUTHZ_USER = ? AND t.TENANT_ID = ? AND t.USER_DOMAIN = ? \
             AND t.TOKEN_SCOPE_HASH = ?"
        );
        if self.release() >= Release::V3_0 {
            sql.push_str(
                " AND t.IDP_ID = (SELECT i.ID FROM IDP i WHERE i.NAME = 'LOCAL' AND i.TENANT_ID = t.TENANT_ID)",
            );
        }
        if self.release() >= Release::V3_1 {
            sql.push_str(" AND t.TOKEN_BINDING_REF = 'NONE'");
        }
        sql.push_str(" ORDER BY t.TIME_CREATED DESC");
        let hash = scope_hash(&scopes);
        let arguments =
            [(&like.client).into(), (&like.user).into(), like.tenant_id.into(), (&like.store).into(), hash.into()];
        self.tokens(&sql, &arguments).await
    }

    /// A row without its identity provider is not seen from 3.0 on.
    fn provider(&self) -> &'static str {
        if self.release() >= Release::V3_0 { "JOIN IDP i ON i.ID = t.IDP_ID" } else { "" }
    }

    async fn tokens(&self, sql: &str, arguments: &[Value]) -> Result<Vec<FoundToken>> {
        let mut tokens = Vec::new();
        for row in self.idn().rows(sql, arguments).await? {
            let mut token = self.read(&row)?;
            let scopes = "SELECT TOKEN_SCOPE FROM IDN_OAUTH2_ACCESS_TOKEN_SCOPE WHERE TOKEN_ID = ?";
            for row in self.idn().rows(scopes, &[(&token.id).into()]).await? {
                token.scopes.insert(row.text(0)?);
            }
            tokens.push(token);
        }
        Ok(tokens)
    }

    fn read(&self, row: &Row) -> Result<FoundToken> {
        let end = |issued: i64, period: i64| (0..ENDLESS).contains(&period).then(|| issued + period);
        // Neither time may be NULL, even without a refresh token: the readers do not ask.
        let [issued_ms, refresh_issued_ms] = [self.instant_ms(&row.text(11)?)?, self.instant_ms(&row.text(13)?)?];
        Ok(FoundToken {
            id: row.text(0)?,
            client: row.text(1)?,
            access_column: row.text(2)?,
            refresh_column: row.get(3).map(str::to_owned),
            user: row.text(4)?,
            store: row.text(5)?,
            tenant_id: row.int(6)?,
            user_type: row.text(7)?,
            grant: row.text(8)?,
            subject: row.text(9)?,
            scopes: BTreeSet::new(),
            state: row.text(10)?,
            issued_ms,
            expires_ms: end(issued_ms, row.int(12)?),
            refresh_issued_ms,
            refresh_expires_ms: end(refresh_issued_ms, row.int(14)?),
        })
    }
}

fn is_ahead(end: Option<i64>, now_ms: i64) -> bool {
    end.is_none_or(|end| end - now_ms > LEAST_LIFE_MS)
}
