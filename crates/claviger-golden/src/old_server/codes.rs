//! Authorization codes (contract database.md 3.7).

use super::OldServer;
use crate::Release;
use crate::digest::challenge;
use anyhow::Result;
use std::collections::BTreeSet;

/// A code row as an old server reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCode {
    /// STATE.
    pub state: String,
    /// CALLBACK_URL.
    pub callback: String,
    /// From SCOPE, or from the rows that replaced it in 3.1.
    pub scopes: BTreeSet<String>,
    /// AUTHZ_USER.
    pub user: String,
    /// TENANT_ID.
    pub tenant_id: i64,
    /// When it ends, milliseconds since 1970.
    pub expires_ms: i64,
    /// TOKEN_ID.
    pub token_id: Option<String>,
    /// PKCE_CODE_CHALLENGE with its method.
    pub challenge: Option<(String, String)>,
}

impl FoundCode {
    /// The code can be exchanged at that moment by somebody with that verifier.
    pub fn is_redeemable(&self, now_ms: i64, verifier: Option<&str>) -> bool {
        let is_proven = match (&self.challenge, verifier) {
            (None, _) => true,
            (Some((expected, method)), Some(verifier)) if method == "S256" => *expected == challenge(verifier),
            (Some((expected, _)), Some(verifier)) => expected == verifier,
            (Some(_), None) => false,
        };
        self.state == "ACTIVE" && self.expires_ms > now_ms && is_proven
    }
}

impl OldServer<'_> {
    /// The row of a code that a client presents, whatever its state.
    pub async fn code(&self, client: &str, code: &str) -> Result<Option<FoundCode>> {
        let (condition, value) = self.by_value("a.AUTHORIZATION_CODE", code);
        let provider = match self.release() {
            Release::V2_1 | Release::V2_6 => "",
            _ => "JOIN IDP i ON i.ID = a.IDP_ID AND i.TENANT_ID = a.TENANT_ID",
        };
        let sql = format!(
            "SELECT a.CODE_ID, a.AUTHORIZATION_CODE, a.STATE, a.CALLBACK_URL, a.SCOPE, a.AUTHZ_USER, a.TENANT_ID, \
             a.TIME_CREATED, a.VALIDITY_PERIOD, a.TOKEN_ID, a.PKCE_CODE_CHALLENGE, a.PKCE_CODE_CHALLENGE_METHOD \
             FROM IDN_OAUTH2_AUTHORIZATION_CODE a JOIN IDN_OAUTH_CONSUMER_APPS c ON c.ID = a.CONSUMER_KEY_ID {provider} \
             WHERE c.CONSUMER_KEY = ? AND {condition}"
        );
        let Some(row) = self.row(self.idn(), &sql, &[client.into(), value]).await? else { return Ok(None) };
        if !self.options.form.is_stored(code, &row.text(1)?) {
            return Ok(None);
        }
        let mut scopes: BTreeSet<String> = row.text(4)?.split_whitespace().map(str::to_owned).collect();
        if scopes.is_empty() && self.release() >= Release::V3_1 {
            let find = "SELECT SCOPE FROM IDN_OAUTH2_AUTHZ_CODE_SCOPE WHERE CODE_ID = ?";
            for row in self.idn().rows(find, &[row.text(0)?.into()]).await? {
                scopes.insert(row.text(0)?);
            }
        }
        Ok(Some(FoundCode {
            state: row.text(2)?,
            callback: row.text(3)?,
            scopes,
            user: row.text(5)?,
            tenant_id: row.int(6)?,
            expires_ms: self.instant_ms(&row.text(7)?)? + row.int(8)?,
            token_id: row.get(9).map(str::to_owned),
            challenge: match (row.get(10), row.get(11)) {
                (Some(challenge), method) => Some((challenge.to_owned(), method.unwrap_or("plain").to_owned())),
                (None, _) => None,
            },
        }))
    }
}
