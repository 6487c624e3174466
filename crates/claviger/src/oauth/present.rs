//! What goes out of a token: its text or a JWT, and an ID token beside it (contract rest-3x.md 1.6.3).

use crate::oauth::issue::{Issued, Order};
use crate::oauth::keys::KeySet;
use crate::oauth::{OAuth, id_token};
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_store::tokens::Token;
use serde::Serialize;

/// `expires_in` of a token that never ends.
const ENDLESS_S: i64 = i64::MAX / 1000;
/// Largest `exp` of a JWT: beyond the exact range of a double (RFC 7493 section 2.2) verifiers such as HAProxy refuse it.
pub(super) const EXP_S_MAX: i64 = (1 << 53) - 1;

/// The claims of a JWT access token in the order of IS 5.10, with the `aut` of later ones (rest-3x.md 1.6.3).
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    /// What API-M 4.x tells application tokens by; 3.2 passes over it.
    aut: &'static str,
    aud: &'a str,
    nbf: i64,
    azp: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    iss: &'a str,
    exp: i64,
    iat: i64,
    jti: &'a str,
}

/// What goes out: a JWT or the token's own text, and an ID token where the order has one. `signer` is there for either.
pub(super) fn present(oauth: &OAuth, token: &Token, order: &Order, is_jwt: bool, signer: Option<&KeySet>) -> Issued {
    // Only a token whose text is known is handed out (`decide`).
    let identifier = token.identifier.as_ref().map_or("", Secret::expose);
    let scope = token.key.scopes.to_string();
    let end = token.expires_at();
    let access_token = if let Some(signer) = signer.filter(|_| is_jwt) {
        let claims = Claims {
            sub: &token.subject,
            aut: token.key.user_type.as_word(),
            aud: token.consumer_key.as_str(),
            nbf: token.created.as_secs(),
            azp: token.consumer_key.as_str(),
            scope: &scope,
            iss: &oauth.settings.issuer,
            exp: end.as_secs().min(EXP_S_MAX),
            iat: token.created.as_secs(),
            jti: identifier,
        };
        signer.signing.sign(&serde_json::to_string(&claims).expect("texts and numbers always serialise"))
    } else {
        identifier.to_owned()
    };
    Issued {
        id_token: signer
            .filter(|_| order.is_identified)
            .map(|signer| id_token::make(oauth, &signer.signing, order, token, &access_token)),
        access_token,
        refresh_token: token.refresh.as_ref().filter(|_| order.may_refresh).map(|refresh| refresh.expose().to_owned()),
        scope,
        expires_in_s: if end == Timestamp::NEVER {
            ENDLESS_S
        } else {
            (end.millis_since(oauth.clock.now()).max(0) + 500) / 1000
        },
    }
}
