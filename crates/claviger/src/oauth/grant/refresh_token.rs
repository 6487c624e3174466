//! `refresh_token` (RFC 6749 section 6; contract rest-3x.md 1.3, 1.6.5). The row it replaces is retired by `oauth::issue` in
//! the transaction that inserts the new one, so of many parallel uses one succeeds.

use super::{Authorized, Grant, Login, Rules, TokenContext, subject_of_row};
use crate::oauth::id_token::OPENID;
use crate::oauth::reply::TokenError;
use claviger_proto::scope::Scopes;
use claviger_proto::user::Username;
use claviger_store::codes;
use claviger_store::error::StoreError;
use claviger_store::tenants;
use claviger_store::tokens::{self, Token, TokenState, UserType};
use futures_util::future::BoxFuture;

pub(super) struct RefreshToken;

impl Grant for RefreshToken {
    fn name(&self) -> &'static str {
        "refresh_token"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["refresh_token", "scope"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["refresh_token"]
    }

    fn rules(&self) -> Rules {
        Rules { may_refresh: true, may_identify: true, needs_secret: false, user_type: UserType::ApplicationUser }
    }

    fn authorize<'a>(&'a self, cx: TokenContext<'a>) -> BoxFuture<'a, Result<Authorized, TokenError>> {
        Box::pin(async move {
            let refresh = cx.form.get("refresh_token").unwrap_or_default();
            let mut conn = cx.app.store.reader().await?;
            let stored = tokens::find_by_refresh(&mut conn, cx.client.client.id, refresh).await?;
            let stored = stored.ok_or(TokenError::InvalidGrant("Persisted access token data not found".into()))?;
            let scopes = check(&stored, cx.scopes, cx.app.clock.now().as_millis(), cx.app.oauth.settings.skew_ms)?;
            let tenant = tenants::find_domain(&mut conn, stored.key.tenant).await?;
            // Of a token that comes from a code; the nonce was that exchange's only (OpenID Connect Core section 12.2).
            let client = &cx.client.client;
            let may_come_of_code = client.settings.grants.iter().any(|grant| grant == "authorization_code");
            let login = if may_come_of_code && scopes.contains(OPENID) {
                codes::find_auth_time(&mut conn, client.id, &stored.id).await?
            } else {
                None
            };
            drop(conn);
            let tenant = tenant.ok_or_else(|| StoreError::Corrupt("token of an unknown tenant".into()))?;
            let username = Username { domain: stored.key.user_domain.clone(), name: stored.key.user.clone(), tenant };
            // Who was deleted, locked or disabled cannot go on (security.md 2.2.2).
            let user = cx.app.users.find(&username).await?;
            let gone = || TokenError::InvalidGrant("The user of the refresh token may not log in any more".into());
            let username = user.ok_or_else(gone)?.username.clone();
            // It ends with what its user was; the write that says so in its row may be under way.
            if cx.app.oauth.find_user_revocation(&username).await?.is_some_and(|before| stored.created < before) {
                return Err(TokenError::InvalidGrant("Invalid refresh token state".into()));
            }
            let tenant = stored.key.tenant;
            let subject = subject_of_row(&stored.subject, &username);
            Ok(Authorized {
                username,
                tenant,
                subject,
                scopes,
                replaces: Some(stored),
                code: None,
                login: login.map(|at| Login { at: Some(at), nonce: None }),
            })
        })
    }
}

/// May this row be refreshed now, and with which scopes?
fn check(stored: &Token, requested: &Scopes, now_ms: i64, skew_ms: i64) -> Result<Scopes, TokenError> {
    match stored.state {
        TokenState::Active | TokenState::Expired => {}
        TokenState::Inactive | TokenState::Revoked => {
            return Err(TokenError::InvalidGrant("Invalid refresh token state".into()));
        }
    }
    if stored.refresh_expires_at().as_millis().saturating_add(skew_ms) <= now_ms {
        return Err(TokenError::InvalidGrant("Refresh token is expired.".into()));
    }
    if requested.is_empty() {
        return Ok(stored.key.scopes.clone());
    }
    if requested.is_subset(&stored.key.scopes) { Ok(requested.clone()) } else { Err(TokenError::InvalidScope) }
}
