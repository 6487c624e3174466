//! Authorization codes (contract database.md 3.7).

use super::row::row;
use super::{Fill, HOUR, MINUTE, SUPER};
use crate::Release;
use crate::digest::{challenge, hash_text};
use crate::manifest::{Code, State};
use anyhow::{Context as _, Result};

/// Name, client, state, age.
const CODES: &[(&str, &str, State, i64)] = &[
    ("unused", "app", State::Active, MINUTE),
    ("pkce", "pkce", State::Active, MINUTE),
    ("used", "app", State::Inactive, 10 * MINUTE),
    ("over", "app", State::Active, HOUR),
    ("expired", "app", State::Expired, HOUR),
    ("revoked", "app", State::Revoked, MINUTE),
];
const LIFE: i64 = 5 * MINUTE;

impl Fill<'_> {
    pub(super) async fn codes(&mut self) -> Result<()> {
        for (name, client, state, age) in CODES {
            let used = self.manifest.token("from_code").context("the token of the used code")?.id.clone();
            let is_pkce = *client == "pkce";
            let expires_ms = self.now - age + LIFE;
            let code = Code {
                name,
                value: self.chance.uuid(),
                client: self.key_of(client)?,
                callback: format!("https://{}.example/callback", if is_pkce { "m2" } else { "app" }),
                scopes: vec!["openid".to_owned(), "weather_read".to_owned()],
                user: "alice".to_owned(),
                tenant_id: SUPER,
                verifier: is_pkce.then(|| self.chance.verifier()),
                state: *state,
                expires_ms,
                token_id: (*state == State::Inactive).then_some(used),
                is_redeemable: *state == State::Active && expires_ms > self.now,
            };
            self.code(&code, self.now - age).await?;
            self.manifest.codes.push(code);
        }
        Ok(())
    }

    async fn code(&mut self, code: &Code, issued_ms: i64) -> Result<()> {
        let id = self.chance.uuid();
        let has_rows = self.release() >= Release::V3_1;
        let new = row("IDN_OAUTH2_AUTHORIZATION_CODE")
            .set("CODE_ID", &id)
            .set("AUTHORIZATION_CODE", self.stored(&code.value))
            .set("CONSUMER_KEY_ID", self.consumer_id(&code.client).await?)
            .set("CALLBACK_URL", &code.callback)
            .set("SCOPE", if has_rows { String::new() } else { code.scopes.join(" ") })
            .set("AUTHZ_USER", &code.user)
            .set("TENANT_ID", code.tenant_id)
            .set("USER_DOMAIN", "PRIMARY")
            .set("TIME_CREATED", self.token_time(issued_ms))
            .set("VALIDITY_PERIOD", LIFE)
            .set("STATE", code.state.text())
            .set("TOKEN_ID", code.token_id.as_deref())
            .set("SUBJECT_IDENTIFIER", format!("{}@carbon.super", code.user))
            .set("PKCE_CODE_CHALLENGE", code.verifier.as_deref().map(challenge))
            .set("PKCE_CODE_CHALLENGE_METHOD", code.verifier.as_ref().map(|_| "S256"))
            .optional("AUTHORIZATION_CODE_HASH", hash_text(&code.value))
            .optional("IDP_ID", self.tenant(code.tenant_id)?.idp_id);
        self.idn.insert(new).await?;
        for scope in code.scopes.iter().filter(|_| has_rows) {
            let scope = row("IDN_OAUTH2_AUTHZ_CODE_SCOPE").set("CODE_ID", &id).set("SCOPE", scope);
            self.idn.insert(scope.set("TENANT_ID", code.tenant_id)).await?;
        }
        Ok(())
    }
}
