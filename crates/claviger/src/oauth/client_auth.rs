//! Which client is calling (RFC 6749 section 2.3; contract rest-3x.md 1.2).

use crate::oauth::reply::TokenError;
use crate::oauth::{KnownClient, OAuth};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use claviger_proto::encode::from_base64;
use claviger_proto::form::Form;
use claviger_proto::ids::ConsumerKey;
use claviger_proto::secret::Secret;
use std::sync::Arc;

/// Longest client id that is looked up: the column's width.
const CLIENT_ID_LENGTH_MAX: usize = 255;

/// Name and password of a Basic header. The password may hold colons; nothing is URL-decoded, as IS 5.10 does not.
pub fn basic_credentials(headers: &HeaderMap) -> Option<(String, Secret)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let text = String::from_utf8(from_base64(encoded.trim())?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), Secret::new(password)))
}

/// Authenticates the client of a token or revocation request, by header or by body but not by both.
pub async fn authenticate(oauth: &OAuth, headers: &HeaderMap, form: &Form) -> Result<Arc<KnownClient>, TokenError> {
    let header = match headers.get(AUTHORIZATION) {
        Some(_) => Some(basic_credentials(headers).ok_or(TokenError::ClientAuthentication)?),
        None => None,
    };
    let body = form.get("client_id").zip(form.get("client_secret"));
    let (id, secret) = match (header, body, form.get("client_id")) {
        (Some(_), Some(_), _) => return Err(TokenError::TwoCredentials),
        (Some((id, _)), None, Some(named)) if id != named => return Err(TokenError::TwoCredentials),
        (Some((id, secret)), None, _) => (id, Some(secret)),
        (None, Some((id, secret)), _) => (id.to_owned(), Some(Secret::new(secret))),
        (None, None, Some(id)) => (id.to_owned(), None),
        (None, None, None) => return Err(TokenError::ClientAuthentication),
    };
    if id.len() > CLIENT_ID_LENGTH_MAX {
        return Err(TokenError::UnknownClient(String::new()));
    }
    let known = oauth.find_client(&ConsumerKey(id.clone())).await?;
    let known = known.ok_or(TokenError::UnknownClient(id))?;
    let client = &known.client;
    let is_authentic = match &secret {
        Some(secret) => client.secret.is_equal(secret.expose()),
        None => client.settings.is_public,
    };
    if !client.is_active {
        return Err(TokenError::InactiveClient);
    }
    if !is_authentic {
        tracing::info!(target: "audit", client_id = %client.key, outcome = "refused", "client authentication");
        return Err(TokenError::ClientAuthentication);
    }
    Ok(known)
}
