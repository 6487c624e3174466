//! Tokens in every state that an old server leaves behind (contract database.md 3.4).

use super::row::row;
use super::{DAY, Fill, HOUR, MINUTE, SECONDARY, SUPER};
use crate::manifest::{State, Token};
use crate::options::Form;
use crate::{Engine, Release};
use anyhow::{Context as _, Result};

impl Fill<'_> {
    pub(super) async fn tokens(&mut self) -> Result<()> {
        self.ordinary_tokens().await?;
        self.replaced_tokens().await?;
        self.ended_tokens().await?;
        self.tokens_of_others().await?;
        self.tokens_of_releases().await
    }

    async fn ordinary_tokens(&mut self) -> Result<()> {
        let token = self.token("app_live", "app", "alice", &["am_application_scope", "default"])?;
        self.issue(for_application(token)).await?;
        let token = self.token("user_live", "app", "carol", &["default"])?;
        self.issue(token).await?;
        let token = self.token("user_scoped", "app", "carol", &["weather_read", "openid"])?;
        self.issue(token).await?;
        let token = self.token("without_scopes", "sandbox", "carol", &[])?;
        self.issue(token).await?;
        let mut token = self.token("from_code", "app", "alice", &["openid"])?;
        token.grant = "authorization_code";
        self.issue(token).await?;
        let mut token = self.token("without_refresh", "sandbox", "alice", &["default"])?;
        token.refresh = None;
        self.issue(for_application(token)).await
    }

    async fn replaced_tokens(&mut self) -> Result<()> {
        // The access part is over, the refresh part is not.
        let token = self.token("refreshable", "app", "alice", &["weather_read"])?;
        self.issue(aged(token, 2 * HOUR)).await?;
        // Found over and replaced: the refresh token went on with its own times.
        let mut token = self.token("replaced", "sandbox", "carol", &["default"])?;
        token.state = State::Expired;
        let replaced = aged(token, 2 * HOUR);
        let mut token = self.token("replacement", "sandbox", "carol", &["default"])?;
        token.refresh.clone_from(&replaced.refresh);
        (token.refresh_issued_ms, token.refresh_expires_ms) = (replaced.refresh_issued_ms, replaced.refresh_expires_ms);
        self.issue(replaced).await?;
        self.issue(token).await?;
        let mut token = self.token("expired_refreshable", "sandbox", "alice", &["weather_read"])?;
        token.state = State::Expired;
        self.issue(aged(token, 2 * HOUR)).await?;
        let mut token = self.token("refreshed", "app", "zoë", &["default"])?;
        token.state = State::Inactive;
        self.issue(aged(token, 20 * MINUTE)).await?;
        let mut token = self.token("after_refresh", "app", "zoë", &["default"])?;
        token.grant = "refresh_token";
        self.issue(token).await
    }

    async fn ended_tokens(&mut self) -> Result<()> {
        let mut token = self.token("revoked", "app", "carol", &["weather_admin"])?;
        token.state = State::Revoked;
        self.issue(token).await?;
        let mut token = self.token("of_revoked_client", "revoked", "carol", &["default"])?;
        token.state = State::Revoked;
        self.issue(token).await?;
        // Nobody touches a row for being over.
        let token = self.token("over", "app", "carol", &["weather_read"])?;
        self.issue(aged(token, 3 * DAY)).await?;
        let token = self.token("never_ending", "old", "carol", &["default"])?;
        self.issue(endless(token)).await?;
        let token = self.token("endless_in_effect", "old", "alice", &["default"])?;
        self.issue_for(endless(token), Self::endless()).await
    }

    async fn tokens_of_others(&mut self) -> Result<()> {
        let mut token = self.token("secondary_user", "app", "dave", &["default"])?;
        SECONDARY.clone_into(&mut token.store);
        self.issue(token).await?;
        let mut token = self.token("tenant_user", "tenant", "bob", &["default", "pets_read"])?;
        token.tenant_id = self.real_tenant()?;
        self.issue(token).await?;
        let mut token = self.token("tenant_app", "tenant", "bob", &["am_application_scope", "default"])?;
        token.tenant_id = self.real_tenant()?;
        self.issue(for_application(token)).await
    }

    /// What not every release has.
    async fn tokens_of_releases(&mut self) -> Result<()> {
        if self.release() >= Release::V2_6 {
            for (name, user) in [("jwt_user", "carol"), ("jwt_app", "alice")] {
                let mut token = self.token(name, "jwt", user, &["default"])?;
                token.is_jwt = true;
                self.issue(if name == "jwt_app" { for_application(token) } else { token }).await?;
            }
        }
        if self.release() >= Release::V2_6 {
            let mut token = self.token("jwt_revoked", "jwt", "zoë", &["default"])?;
            (token.is_jwt, token.state) = (true, State::Revoked);
            let (jti, end) = (token.access.clone(), token.expires_ms);
            self.issue(token).await?;
            if self.release() >= Release::V3_0 {
                self.revoked_jwt(&jti, end).await?;
            }
        }
        if self.release() >= Release::V3_0 {
            let mut token = self.token("without_idp", "old", "zoë", &["default"])?;
            (token.has_idp, token.is_found_by_old_server) = (false, false);
            self.issue(token).await?;
        }
        // Written by 2.1, which had no hash columns.
        if self.release() >= Release::V2_6 && self.options.is_migrated && matches!(self.options.form, Form::Plain) {
            let mut token = self.token("without_hashes", "old", "carol", &["weather_read"])?;
            (token.has_hashes, token.is_found_by_old_server) = (false, false);
            self.issue(token).await?;
        }
        // A unique key that never fires (database.md 3.5).
        if self.release() <= Release::V2_6 && self.engine == Engine::Postgres {
            let token = self.token("twin_older", "sandbox", "zoë", &["default"])?;
            self.issue(aged(token, 20 * MINUTE)).await?;
            // The older of two is not the newest row, which alone counts in 2.1.
            let is_newest_asked = self.release() == Release::V2_1;
            self.manifest.tokens.last_mut().context("it was just written")?.is_refreshable = !is_newest_asked;
            let token = self.token("twin_newer", "sandbox", "zoë", &["default"])?;
            self.issue(token).await?;
        }
        Ok(())
    }

    /// What the API Manager keeps of a revoked JWT: the jti in 3.2, before the signature, of which nothing else is left.
    async fn revoked_jwt(&mut self, jti: &str, end: Option<i64>) -> Result<()> {
        let is_jti = self.release() == Release::V3_2;
        let revoked = row("AM_REVOKED_JWT")
            .set("UUID", self.chance.uuid())
            .set("SIGNATURE", if is_jti { jti.to_owned() } else { self.chance.verifier() })
            .set("EXPIRY_TIMESTAMP", end.context("the JWT ends")?)
            .set("TENANT_ID", SUPER)
            .set("TOKEN_TYPE", if is_jti { "JWT" } else { "DEFAULT" });
        self.am.insert(revoked).await
    }
}

fn for_application(mut token: Token) -> Token {
    (token.user_type, token.grant) = ("APPLICATION", "client_credentials");
    token
}

/// The token as if it had been issued that much before the server was stopped.
fn aged(mut token: Token, age: i64) -> Token {
    let back = age - 10 * MINUTE;
    token.issued_ms -= back;
    token.refresh_issued_ms -= back;
    token.expires_ms = token.expires_ms.map(|end| end - back);
    token.refresh_expires_ms = token.refresh_expires_ms.map(|end| end - back);
    token
}

fn endless(mut token: Token) -> Token {
    (token.expires_ms, token.refresh_expires_ms) = (None, None);
    aged(token, 400 * DAY)
}
