//! How a token is written (contract database.md 3.1).

use super::row::row;
use super::{Fill, HOUR, MINUTE, SUPER};
use crate::Release;
use crate::digest::{hash_text, scope_hash};
use crate::manifest::{State, Token};
use anyhow::Result;

/// Lives at least as long count as without end (database.md 3.8).
const ENDLESS: i64 = 99_999_999_999_990;

impl Fill<'_> {
    /// A token of the password grant, ten minutes old, that lives an hour and may be refreshed for a day.
    pub(super) fn token(&mut self, name: &'static str, client: &str, user: &str, scopes: &[&str]) -> Result<Token> {
        let issued = self.now - 10 * MINUTE;
        Ok(Token {
            name,
            id: self.chance.uuid(),
            client: self.key_of(client)?,
            access: self.chance.uuid(),
            refresh: Some(self.chance.uuid()),
            is_jwt: false,
            user: user.to_owned(),
            store: "PRIMARY".to_owned(),
            tenant_id: SUPER,
            user_type: "APPLICATION_USER",
            grant: "password",
            subject: String::new(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            state: State::Active,
            issued_ms: issued,
            expires_ms: Some(issued + HOUR),
            refresh_issued_ms: issued,
            refresh_expires_ms: Some(issued + 24 * HOUR),
            has_hashes: self.release() >= Release::V2_6,
            has_idp: self.release() >= Release::V3_0,
            is_active: false,
            is_refreshable: false,
            is_found_by_old_server: true,
        })
    }

    /// Writes a token and says what must be answered.
    pub(super) async fn issue(&mut self, token: Token) -> Result<()> {
        self.issue_for(token, [None, None]).await
    }

    /// Likewise, with other words for an endless life of the access and refresh token than a negative one.
    pub(super) async fn issue_for(&mut self, mut token: Token, endless: [Option<i64>; 2]) -> Result<()> {
        let tenant = self.tenant(token.tenant_id)?;
        let (domain, idp_id) = (tenant.domain.clone(), tenant.idp_id);
        let store = if token.store == "PRIMARY" { String::new() } else { format!("{}/", token.store) };
        token.subject = format!("{store}{}@{domain}", token.user);
        let is_ahead = |end: Option<i64>| end.is_none_or(|end| end > self.now + super::SECOND);
        token.is_active = token.state == State::Active && is_ahead(token.expires_ms);
        token.is_refreshable |= token.refresh.is_some()
            && matches!(token.state, State::Active | State::Expired)
            && is_ahead(token.refresh_expires_ms);
        let life = |issued: i64, end: Option<i64>, endless: Option<i64>| match end {
            Some(end) => end - issued,
            None => endless.unwrap_or(-super::SECOND),
        };
        let idp = match (token.has_idp, self.release()) {
            (true, _) => Some(idp_id),
            // A fresh 3.0 has a nullable column; a migrated one and all later have -1 (database.md 7.3).
            (false, Release::V3_0) if !self.options.is_migrated => None,
            (false, _) => Some(-1),
        };
        let state_id = if token.state == State::Active { "NONE".to_owned() } else { self.chance.uuid() };
        let hash = |value: Option<&String>| value.filter(|_| token.has_hashes).map(|value| hash_text(value));
        let new = row("IDN_OAUTH2_ACCESS_TOKEN")
            .set("TOKEN_ID", &token.id)
            .set("ACCESS_TOKEN", self.stored(&token.access))
            .set("REFRESH_TOKEN", token.refresh.as_ref().map(|refresh| self.stored(refresh)))
            .set("CONSUMER_KEY_ID", self.consumer_id(&token.client).await?)
            .set("AUTHZ_USER", &token.user)
            .set("TENANT_ID", token.tenant_id)
            .set("USER_DOMAIN", &token.store)
            .set("USER_TYPE", token.user_type)
            .set("GRANT_TYPE", token.grant)
            .set("TIME_CREATED", self.token_time(token.issued_ms))
            .set("REFRESH_TOKEN_TIME_CREATED", self.token_time(token.refresh_issued_ms))
            .set("VALIDITY_PERIOD", life(token.issued_ms, token.expires_ms, endless[0]))
            .set("REFRESH_TOKEN_VALIDITY_PERIOD", life(token.refresh_issued_ms, token.refresh_expires_ms, endless[1]))
            .set("TOKEN_SCOPE_HASH", scope_hash(&token.scopes))
            .set("TOKEN_STATE", token.state.text())
            .set("TOKEN_STATE_ID", state_id)
            .set("SUBJECT_IDENTIFIER", &token.subject)
            .optional("ACCESS_TOKEN_HASH", hash(Some(&token.access)))
            .optional("REFRESH_TOKEN_HASH", hash(token.refresh.as_ref()))
            .optional("IDP_ID", idp)
            .optional("TOKEN_BINDING_REF", "NONE");
        self.idn.insert(new).await?;
        for scope in &token.scopes {
            let scope = row("IDN_OAUTH2_ACCESS_TOKEN_SCOPE").set("TOKEN_ID", &token.id).set("TOKEN_SCOPE", scope);
            self.idn.insert(scope.set("TENANT_ID", token.tenant_id)).await?;
        }
        self.manifest.tokens.push(token);
        Ok(())
    }

    /// ID of a client's row.
    pub(super) async fn consumer_id(&self, key: &str) -> Result<i64> {
        let find = "SELECT ID FROM IDN_OAUTH_CONSUMER_APPS WHERE CONSUMER_KEY = ?";
        let rows = self.idn.db.rows(find, &[key.into()]).await?;
        anyhow::ensure!(rows.len() == 1, "{} clients {key}", rows.len());
        rows[0].int(0)
    }

    /// The longest life that still counts as an end.
    pub(super) fn endless() -> [Option<i64>; 2] {
        [Some(ENDLESS); 2]
    }
}
