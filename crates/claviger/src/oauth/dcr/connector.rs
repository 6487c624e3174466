//! `/keymanager-operations`: client registration as API-M's key manager client calls it, and the revocation of one-time tokens
//! (contract rest-3x.md 2.1-2.4, 2.7, 4.3).

use super::fields::Fields;
use super::{
    RegistrationError, change_fields, change_owner, find, may_manage, parameter, register_fields, resolve_owner,
};
use crate::app::App;
use crate::http::access::Caller;
use crate::http::extract::{Path, Unreadable, Whole};
use crate::http::routes::Routes;
use crate::http::{json, reply};
use crate::oauth::client_end;
use crate::oauth::reply::TokenError;
use crate::oauth::{KnownClient, revoke};
use axum::extract::{RawQuery, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use claviger_proto::ids::ConsumerKey;
use claviger_proto::secret::Secret;
use claviger_proto::user::Username;
use claviger_store::client_details;
use claviger_store::clients::Client;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `code` and `message` of most refusals.
const METADATA: &str = "invalid_client_metadata";

/// The routes of this file. The four below a client's id have a rule of their own: the old server's list of rules forgot them
/// (rest-3x.md 6.1).
pub fn routes(routes: Routes) -> Routes {
    use super::super::{CREATE, DELETE, UPDATE, VIEW};
    const CLIENT: &str = "/keymanager-operations/dcr/register/{client_id}";
    const SECRETS: &str = "/keymanager-operations/dcr/register/{client_id}/secrets";
    const SECRET: &str = "/keymanager-operations/dcr/register/{client_id}/secrets/{secret_id}";
    routes
        .add(Method::POST, "/keymanager-operations/dcr/register", CREATE, create)
        .add(Method::GET, CLIENT, VIEW, read)
        .add(Method::PUT, CLIENT, UPDATE, update)
        .add(Method::DELETE, CLIENT, DELETE, delete)
        .add(Method::POST, "/keymanager-operations/dcr/register/{client_id}/change-owner", UPDATE, give_away)
        .add(
            Method::POST,
            "/keymanager-operations/dcr/register/{client_id}/regenerate-consumer-secret",
            UPDATE,
            regenerate_secret,
        )
        .add(Method::POST, "/keymanager-operations/dcr/register/{client_id}/generate-secret", UPDATE, one_secret_only)
        .add(Method::GET, SECRETS, VIEW, one_secret_only)
        .add(Method::GET, SECRET, VIEW, one_secret_only)
        .add(Method::DELETE, SECRET, DELETE, one_secret_only)
        .add(Method::POST, "/keymanager-operations/revoke-one-time-token", UPDATE, revoke_one_time_token)
}

async fn create(State(app): State<Arc<App>>, caller: Caller, body: Result<Whole, Unreadable>) -> Response {
    let result = async {
        let fields = Fields::parse(&body?.0)?;
        let owner = resolve_owner(&app, &caller, fields.ext_application_owner.as_deref()).await?;
        register_fields(&app, &fields, owner).await
    };
    answer(&app, StatusCode::CREATED, result.await).await
}

async fn read(
    State(app): State<Arc<App>>,
    caller: Caller,
    id: Result<Path<String>, Unreadable>,
    RawQuery(query): RawQuery,
) -> Response {
    // A switch of newer clients that know how they wrote the id (rest-3x.md 4.3).
    let may_decode = parameter(query.as_deref(), "decodeKey").is_none_or(|value| value != "false");
    let result = async { find(&app.oauth, &caller, &id?.0, may_decode).await };
    answer(&app, StatusCode::OK, result.await).await
}

async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    id: Result<Path<String>, Unreadable>,
    body: Result<Whole, Unreadable>,
) -> Response {
    let result = async {
        let known = find(&app.oauth, &caller, &id?.0, true).await?;
        change_fields(&app.oauth, &known, Fields::parse(&body?.0)?).await
    };
    answer(&app, StatusCode::OK, result.await).await
}

async fn delete(State(app): State<Arc<App>>, caller: Caller, id: Result<Path<String>, Unreadable>) -> Response {
    let result = async {
        let known = find(&app.oauth, &caller, &id?.0, true).await?;
        client_end::remove(&app.oauth, &known).await
    };
    match result.await {
        Ok(()) => reply::empty(StatusCode::NO_CONTENT),
        Err(error) => refuse(&error),
    }
}

async fn regenerate_secret(
    State(app): State<Arc<App>>,
    caller: Caller,
    id: Result<Path<String>, Unreadable>,
) -> Response {
    let result = async {
        let known = find(&app.oauth, &caller, &id?.0, true).await?;
        client_end::renew_secret(&app.oauth, &known).await
    };
    match result.await {
        // What the database was to be asked for the answer could cost the caller the secret that is written by now.
        Ok(known) => show(StatusCode::OK, &known, None),
        Err(error) => refuse(&error),
    }
}

/// A change of owner. API-M 4.2+ names him in the query; 3.2 and 4.0 have no place for him there and send a JSON body.
async fn give_away(
    State(app): State<Arc<App>>,
    caller: Caller,
    id: Result<Path<String>, Unreadable>,
    RawQuery(query): RawQuery,
    body: Result<Whole, Unreadable>,
) -> Response {
    let result = async {
        let known = find(&app.oauth, &caller, &id?.0, true).await?;
        let named = match parameter(query.as_deref(), "applicationOwner") {
            Some(named) => Some(named),
            None => owner_of_body(&body?.0),
        };
        let named = named.filter(|named| !named.trim().is_empty());
        let missing = || RegistrationError::Metadata("applicationOwner is required".to_owned());
        let owner = resolve_owner(&app, &caller, Some(&named.ok_or_else(missing)?)).await?;
        tracing::info!(
            target: "audit", client_id = %known.client.key, owner = owner.with_tenant(), by = caller.principal.username.with_tenant(), "client given away"
        );
        change_owner(&app.oauth, &known, owner).await
    };
    answer(&app, StatusCode::OK, result.await).await
}

/// The owner in a body: JSON, or the form that a client library may make of the same parameter.
fn owner_of_body(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct OwnerBody {
        application_owner: String,
    }
    if let Ok(body) = json::object::<OwnerBody>(body) {
        return Some(body.application_owner);
    }
    parameter(std::str::from_utf8(body).ok(), "applicationOwner")
}

/// A client has one secret here; the old server answers so too unless it is told otherwise (rest-3x.md 2.4).
async fn one_secret_only(_caller: Caller) -> Response {
    let text = "Multiple client secret support is disabled by server configuration.";
    refusal("60100", "The requested operation is not supported", text)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OneTimeToken {
    token: Option<String>,
    consumer_key: Option<String>,
}

async fn revoke_one_time_token(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Result<Whole, Unreadable>,
) -> Response {
    let body = match body {
        Ok(Whole(body)) => json::object::<OneTimeToken>(&body).unwrap_or_default(),
        Err(error) => return refuse(&error.into()),
    };
    let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let refuse = |what: &str| {
        let text = format!("Could not revoke the token because the {what} is empty");
        refusal("Bad Request", "Bad request", &text)
    };
    let Some(token) = given(body.token) else { return refuse("token id") };
    let Some(key) = given(body.consumer_key) else { return refuse("consumer key") };
    let result = async {
        let known = app.oauth.find_client(&ConsumerKey(key)).await?;
        // Somebody else's client or token, or no token at all: there is nothing to revoke, and nothing to tell.
        let is_his = |client: &Client| client.tenant == caller.principal.tenant && may_manage(&caller, client);
        if let Some(known) = known.filter(|known| is_his(&known.client)) {
            match revoke::revoke_of_client(&app, &known.client, &token, false).await {
                Ok(_) | Err(TokenError::OtherClientsToken) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    match result.await {
        Ok(()) => {
            let end: String = token.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
            let message = format!("Successfully revoked token ...{end}");
            reply::json_private(
                StatusCode::OK,
                &Fault { code: "OK", message: &message, description: None, error_description: None },
            )
        }
        Err(TokenError::Store(error)) => reply::store_failure(&error),
        Err(error @ (TokenError::Unwritable | TokenError::TooLong(_))) => {
            refusal("Bad Request", "Bad request", &error.to_string())
        }
        Err(error) => reply::internal(&error),
    }
}

/// A client as this wire shows it (rest-3x.md 2.2).
#[derive(Serialize)]
struct ApplicationBody<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    client_secret_expires_at: Option<i64>,
    redirect_uris: [&'a str; 1],
    client_name: &'a str,
    grant_types: &'a [String],
    ext_application_owner: &'a str,
    ext_application_token_lifetime: i64,
    ext_user_token_lifetime: i64,
    ext_refresh_token_lifetime: i64,
    ext_id_token_lifetime: i64,
    #[serde(rename = "pkceMandatory")]
    pkce_mandatory: bool,
    #[serde(rename = "pkceSupportPlain")]
    pkce_support_plain: bool,
    #[serde(rename = "bypassClientCredentials")]
    bypass_client_credentials: bool,
    token_type_extension: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_scopes: Option<&'a [String]>,
}

async fn answer(app: &App, status: StatusCode, result: Result<Arc<KnownClient>, RegistrationError>) -> Response {
    let known = match result {
        Ok(known) => known,
        Err(error) => return refuse(&error),
    };
    let read = async {
        let mut conn = app.store.reader().await?;
        client_details::find_scopes(&mut conn, &known.client).await
    };
    match read.await {
        Ok(scopes) => show(status, &known, Some(&scopes)),
        Err(error) => reply::store_failure(&error),
    }
}

fn show(status: StatusCode, known: &KnownClient, scopes: Option<&[String]>) -> Response {
    let client = &known.client;
    // Tenant-aware, as API-M names its users: without the tenant.
    let owner = Username { domain: client.owner_domain.clone(), name: client.owner.clone(), tenant: String::new() }
        .with_domain();
    let (settings, lifetimes) = (&client.settings, client.settings.lifetimes);
    let body = ApplicationBody {
        client_id: client.key.as_str(),
        client_secret: client.secret.text().map(Secret::expose),
        client_secret_expires_at: None,
        redirect_uris: [&settings.callback],
        client_name: &settings.name,
        grant_types: &settings.grants,
        ext_application_owner: &owner,
        ext_application_token_lifetime: lifetimes.application_s,
        ext_user_token_lifetime: lifetimes.user_s,
        ext_refresh_token_lifetime: lifetimes.refresh_s,
        ext_id_token_lifetime: lifetimes.id_s,
        pkce_mandatory: settings.is_pkce_mandatory,
        pkce_support_plain: settings.may_pkce_be_plain,
        bypass_client_credentials: settings.is_public,
        token_type_extension: settings.token_type.as_str(),
        application_scopes: scopes,
    };
    reply::json_private(status, &body)
}

/// The error object of rest-3x.md 2.3, with `error_description` for API-M 4.2+, which reads only that key (4.5).
#[derive(Serialize)]
struct Fault<'a> {
    code: &'a str,
    message: &'a str,
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<&'a str>,
}

fn refusal(code: &str, message: &str, text: &str) -> Response {
    refusal_with(StatusCode::BAD_REQUEST, code, message, text)
}

fn refusal_with(status: StatusCode, code: &str, message: &str, text: &str) -> Response {
    let body = Fault { code, message, description: Some(text), error_description: Some(text) };
    reply::json_private(status, &body)
}

fn refuse(error: &RegistrationError) -> Response {
    let bad = |text: &str| refusal(METADATA, METADATA, text);
    match error {
        RegistrationError::Malformed(text) => bad(&format!("The body is not valid JSON of a registration: {text}")),
        RegistrationError::Metadata(text) => bad(text),
        RegistrationError::RedirectUri(uri) => {
            let code = "invalid_redirect_uri";
            refusal(code, code, &format!("Invalid redirect URI: {uri}"))
        }
        RegistrationError::NameTaken(name) => {
            bad(&format!("Application with the name {name} already exist in the system"))
        }
        RegistrationError::IdTaken(key) => bad(&format!("Client id {key} already exist in the system")),
        // Upstream answers 500 with an empty body here; the caller deserves to know (no client depends on a 500).
        RegistrationError::UnknownOwner => bad("ext_application_owner is not a user of this tenant"),
        RegistrationError::NotFound => reply::empty(StatusCode::UNAUTHORIZED),
        RegistrationError::Unreadable(error) => refusal_with(error.status(), METADATA, METADATA, &error.to_string()),
        RegistrationError::Store(error) => reply::store_failure(error),
    }
}
