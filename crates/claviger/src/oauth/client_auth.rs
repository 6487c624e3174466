//! Which client is calling (RFC 6749 section 2.3; contract rest-3x.md 1.2).
//!
//! Section 2.3.1 has id and secret form-encoded in a Basic header; IS 5.10 reads them as they stand, and so do many clients
//! write them. Both readings are tried: strict libraries encode even the `_` of a generated id.

use crate::oauth::reply::TokenError;
use crate::oauth::{KnownClient, OAuth};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use claviger_proto::encode::from_base64;
use claviger_proto::form::{self, Form};
use claviger_proto::ids::ConsumerKey;
use claviger_proto::secret::Secret;
use claviger_store::clients::Client;
use std::sync::Arc;

/// Longest client id that is looked up: the column's width.
const CLIENT_ID_LENGTH_MAX: usize = 255;

/// Name and password of a Basic header as they stand (RFC 7617). The password may hold colons.
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

/// A client that is who it says.
pub struct Authenticated {
    /// The client.
    pub client: Arc<KnownClient>,
    /// It showed its secret; a public client may do without.
    pub is_by_secret: bool,
}

/// Authenticates the client of a token or revocation request, by header or by body but not by both.
pub async fn authenticate(oauth: &OAuth, headers: &HeaderMap, form: &Form) -> Result<Authenticated, TokenError> {
    let header = match headers.get(AUTHORIZATION) {
        Some(_) => Some(basic_credentials(headers).ok_or(TokenError::ClientAuthentication)?),
        None => None,
    };
    let body = form.get("client_id").zip(form.get("client_secret"));
    let (ids, secrets) = match (header, body, form.get("client_id")) {
        (Some(_), Some(_), _) => return Err(TokenError::TwoCredentials),
        (Some((id, secret)), None, named) => {
            let ids = readings(&id);
            if named.is_some_and(|named| !ids.iter().any(|id| id == named)) {
                return Err(TokenError::TwoCredentials);
            }
            (ids, readings(secret.expose()).into_iter().map(Secret::new).collect())
        }
        (None, Some((id, secret)), _) => (vec![id.to_owned()], vec![Secret::new(secret)]),
        (None, None, Some(id)) => (vec![id.to_owned()], Vec::new()),
        (None, None, None) => return Err(TokenError::ClientAuthentication),
    };
    let known = find(oauth, ids).await?;
    let client = &known.client;
    let is_authentic = match secrets.as_slice() {
        [] => client.settings.is_public,
        secrets => secrets.iter().any(|secret| client.secret.is_equal(secret.expose())),
    };
    if !is_authentic {
        tracing::info!(target: "audit", client_id = %client.key, outcome = "refused", "client authentication");
        return Err(TokenError::ClientAuthentication);
    }
    if !client.is_active {
        return Err(TokenError::InactiveClient);
    }
    Ok(Authenticated { client: known, is_by_secret: !secrets.is_empty() })
}

/// Is a client still the one that authenticated? Asked where its token is made: it may have a new secret by then, which ends
/// what the old one was good for, or be gone.
pub fn check_unchanged(authenticated: &Client, present: Option<&Client>) -> Result<(), TokenError> {
    let is_same = |present: &&Client| present.id == authenticated.id && present.secret.is_same(&authenticated.secret);
    let owner = |client: &Client| (client.owner.clone(), client.owner_domain.clone());
    let present = present.filter(is_same).ok_or(TokenError::ClientAuthentication)?;
    if !present.is_active {
        return Err(TokenError::InactiveClient);
    }
    // Its own tokens speak for the owner.
    let kind = |client: &Client| client.settings.token_type.kind();
    if kind(present) != kind(authenticated) || owner(present) != owner(authenticated) {
        return Err(TokenError::ClientChanged);
    }
    Ok(())
}

/// What a part of a Basic header may mean: form-encoded or as it stands. One reading when they agree.
fn readings(part: &str) -> Vec<String> {
    let decoded = form::decode(part.as_bytes()).ok().filter(|decoded| decoded != part);
    decoded.into_iter().chain([part.to_owned()]).collect()
}

/// The client of the first id that is known. The decoded reading comes first: ids hardly ever hold `%` or `+`.
async fn find(oauth: &OAuth, ids: Vec<String>) -> Result<Arc<KnownClient>, TokenError> {
    let mut unknown = String::new();
    for id in ids {
        if id.len() <= CLIENT_ID_LENGTH_MAX {
            unknown.clone_from(&id);
            if let Some(known) = oauth.find_client(&ConsumerKey(id)).await? {
                return Ok(known);
            }
        }
    }
    Err(TokenError::UnknownClient(unknown))
}

#[cfg(test)]
mod tests {
    use super::readings;

    #[test]
    fn a_basic_part_is_read_form_encoded_and_as_it_stands() {
        let check = |part: &str, expected: &[&str]| assert_eq!(readings(part), expected, "{part}");
        check("abc_DEF", &["abc_DEF"]);
        check("abc%5FDEF", &["abc_DEF", "abc%5FDEF"]);
        check("a+b%20c", &["a b c", "a+b%20c"]);
        check("100%", &["100%"]);
        check("%00", &["%00"]);
        check("", &[""]);
    }
}
