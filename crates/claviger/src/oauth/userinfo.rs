//! `GET|POST /oauth2/userinfo` (OpenID Connect Core section 5.3; contract rest-3x.md 1.12): what a user lets an application know of
//! him, by a token with the scope `openid`.
//!
//! The claims are those of the scopes in OpenID Connect Core section 5.4, from the user's attributes. `updated_at` and the two
//! `_verified` claims are left out: nothing here knows them in the type that they have.

use crate::app::App;
use crate::http::reply;
use crate::oauth::form_request::FormRequest;
use crate::oauth::grant::subject_of_row;
use crate::oauth::id_token::OPENID;
use crate::user_info;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use claviger_proto::scope::Scopes;
use claviger_store::error::StoreError;
use claviger_store::tokens::UserType;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Scopes and their claims.
const CLAIMS: &[(&str, &[&str])] = &[
    (
        "profile",
        &[
            "name",
            "family_name",
            "given_name",
            "middle_name",
            "nickname",
            "preferred_username",
            "profile",
            "picture",
            "website",
            "gender",
            "birthdate",
            "zoneinfo",
            "locale",
        ],
    ),
    ("email", &["email"]),
    ("phone", &["phone_number"]),
];
/// What the claim `address` is made of, and the claims of the dialect that hold it (OpenID Connect Core section 5.1.1).
const ADDRESS: &[(&str, &str)] = &[
    ("formatted", "address"),
    ("street_address", "street_address"),
    ("locality", "locality"),
    ("region", "region"),
    ("postal_code", "postal_code"),
    ("country", "country"),
];

/// The scopes that open claims.
pub(super) fn scopes() -> impl Iterator<Item = &'static str> {
    CLAIMS.iter().map(|(scope, _)| *scope).chain(["address"])
}

/// The claims that a user may have, besides `sub`.
pub(super) fn claims() -> impl Iterator<Item = &'static str> {
    CLAIMS.iter().flat_map(|(_, names)| names.iter().copied()).chain(["address"])
}

/// Why nothing is told.
#[derive(Debug, thiserror::Error)]
enum UserInfoError {
    #[error("no token")]
    Missing,
    #[error("the token is not active")]
    Inactive,
    #[error("the token does not have the scope openid")]
    NotOpenId,
    #[error("the token speaks for no user")]
    NoUser,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Handler of the endpoint.
pub async fn userinfo(State(app): State<Arc<App>>, method: Method, request: FormRequest) -> Response {
    match tell(&app, &method, &request).await {
        Ok(claims) => reply::json_no_store(StatusCode::OK, &claims),
        Err(error) => refuse(&error),
    }
}

async fn tell(app: &App, method: &Method, request: &FormRequest) -> Result<Map<String, Value>, UserInfoError> {
    let token = token_of(method, request).ok_or(UserInfoError::Missing)?;
    let token = app.introspect(&token).await?.ok_or(UserInfoError::Inactive)?;
    if !token.scopes.contains(OPENID) {
        return Err(UserInfoError::NotOpenId);
    }
    // A JWT without a row does not say whom it speaks for; an application's must not tell of its owner.
    if token.user_type != Some(UserType::ApplicationUser) {
        return Err(UserInfoError::NoUser);
    }
    let user = app.users.find(&token.username).await?.ok_or(UserInfoError::NoUser)?;
    let known = user_info::openid_claims(app, &user.username).await?.ok_or(UserInfoError::NoUser)?;
    // The same as in ID tokens (OpenID Connect Core section 5.3.2), also where an old server chose it.
    let subject = subject_of_row(&token.subject, &user.username);
    Ok(select(subject, known, &token.scopes))
}

/// The token of the header, or of a posted form. One in an address would stand in logs.
fn token_of(method: &Method, request: &FormRequest) -> Option<String> {
    if request.headers.contains_key(AUTHORIZATION) {
        return bearer(&request.headers);
    }
    let form = request.form().ok().filter(|_| method == Method::POST)?;
    form.get("access_token").map(str::to_owned)
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim().to_owned()).filter(|token| scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty())
}

/// The claims that the scopes open.
fn select(subject: String, mut known: BTreeMap<String, String>, scopes: &Scopes) -> Map<String, Value> {
    let mut claims = Map::new();
    claims.insert("sub".to_owned(), subject.into());
    for (_, names) in CLAIMS.iter().filter(|(scope, _)| scopes.contains(scope)) {
        for name in *names {
            claims.extend(known.remove(*name).map(|value| ((*name).to_owned(), value.into())));
        }
    }
    let mut member =
        |(name, claim): &(&str, &str)| known.remove(*claim).map(|value| ((*name).to_owned(), value.into()));
    let address: Map<String, Value> = ADDRESS.iter().filter_map(&mut member).collect();
    if scopes.contains("address") && !address.is_empty() {
        claims.insert("address".to_owned(), Value::Object(address));
    }
    claims
}

fn refuse(error: &UserInfoError) -> Response {
    #[derive(Serialize)]
    struct ErrorBody<'a> {
        error_description: &'a str,
        error: &'a str,
    }
    let (status, code, text) = match error {
        UserInfoError::Missing => (StatusCode::BAD_REQUEST, "invalid_request", "Bearer token missing"),
        UserInfoError::Inactive => (StatusCode::UNAUTHORIZED, "invalid_token", "Access token validation failed"),
        UserInfoError::NotOpenId => {
            (StatusCode::FORBIDDEN, "insufficient_scope", "Access token does not have the openid scope")
        }
        UserInfoError::NoUser => {
            let text = "Access token is not valid. No authorized user found. Invalid grant";
            (StatusCode::UNAUTHORIZED, "invalid_token", text)
        }
        UserInfoError::Store(error) => return reply::store_failure(error),
    };
    let mut response = reply::json_no_store(status, &ErrorBody { error_description: text, error: code });
    if let Ok(challenge) = HeaderValue::from_str(&format!(r#"Bearer error="{code}""#)) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
