//! `/api/identity/oauth2/dcr/v1.1`: client registration as the identity server's own API has it (contract rest-3x.md 3.1; RFC
//! 7591 for the errors). A client belongs to who registers it.

use super::fields::Fields;
use super::{RegistrationError, change_fields, find, parameter, register_fields, resolve_owner};
use crate::app::App;
use crate::http::access::Caller;
use crate::http::extract::{Path, Unreadable, Whole};
use crate::http::reply;
use crate::http::routes::Routes;
use crate::oauth::{KnownClient, client_end};
use axum::extract::{RawQuery, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use claviger_proto::secret::Secret;
use claviger_store::clients;
use serde::Serialize;
use std::sync::Arc;

/// `error` of most refusals.
const METADATA: &str = "invalid_client_metadata";

/// The routes of this file.
pub fn routes(routes: Routes) -> Routes {
    use super::super::{CREATE, DELETE, UPDATE, VIEW};
    const CLIENTS: &str = "/api/identity/oauth2/dcr/v1.1/register";
    const CLIENT: &str = "/api/identity/oauth2/dcr/v1.1/register/{client_id}";
    routes
        .add(Method::POST, CLIENTS, CREATE, create)
        .add(Method::GET, CLIENTS, VIEW, read_by_name)
        .add(Method::GET, CLIENT, VIEW, read)
        .add(Method::PUT, CLIENT, UPDATE, update)
        .add(Method::DELETE, CLIENT, DELETE, delete)
}

async fn create(State(app): State<Arc<App>>, caller: Caller, body: Result<Whole, Unreadable>) -> Response {
    let result = async {
        let owner = resolve_owner(&app, &caller, None).await?;
        register_fields(&app, &Fields::parse(&body?.0)?, owner).await
    };
    answer(StatusCode::CREATED, result.await)
}

async fn read_by_name(State(app): State<Arc<App>>, caller: Caller, RawQuery(query): RawQuery) -> Response {
    let result = async {
        let name = parameter(query.as_deref(), "client_name").filter(|name| !name.trim().is_empty());
        let name = name.ok_or_else(|| RegistrationError::Metadata("Invalid client_name".to_owned()))?;
        let mut conn = app.store.reader().await?;
        let key = clients::find_key_by_name(&mut conn, caller.principal.tenant, &name).await?;
        drop(conn);
        let key = key.flatten().ok_or(RegistrationError::NotFound)?;
        find(&app.oauth, &caller, key.as_str(), false).await
    };
    answer(StatusCode::OK, result.await)
}

async fn read(State(app): State<Arc<App>>, caller: Caller, id: Result<Path<String>, Unreadable>) -> Response {
    let result = async { find(&app.oauth, &caller, &id?.0, false).await };
    answer(StatusCode::OK, result.await)
}

async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    id: Result<Path<String>, Unreadable>,
    body: Result<Whole, Unreadable>,
) -> Response {
    let result = async {
        let known = find(&app.oauth, &caller, &id?.0, false).await?;
        change_fields(&app.oauth, &known, Fields::parse(&body?.0)?).await
    };
    answer(StatusCode::OK, result.await)
}

async fn delete(State(app): State<Arc<App>>, caller: Caller, id: Result<Path<String>, Unreadable>) -> Response {
    let result = async {
        let known = find(&app.oauth, &caller, &id?.0, false).await?;
        client_end::remove(&app.oauth, &known).await
    };
    match result.await {
        Ok(()) => reply::empty(StatusCode::NO_CONTENT),
        Err(error) => refuse(&error),
    }
}

fn answer(status: StatusCode, result: Result<Arc<KnownClient>, RegistrationError>) -> Response {
    #[derive(Serialize)]
    struct ApplicationBody<'a> {
        client_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        client_secret: Option<&'a str>,
        client_secret_expires_at: Option<i64>,
        redirect_uris: [&'a str; 1],
        client_name: &'a str,
        grant_types: &'a [String],
    }
    let known = match result {
        Ok(known) => known,
        Err(error) => return refuse(&error),
    };
    let (client, settings) = (&known.client, &known.client.settings);
    let body = ApplicationBody {
        client_id: client.key.as_str(),
        client_secret: client.secret.text().map(Secret::expose),
        client_secret_expires_at: None,
        redirect_uris: [&settings.callback],
        client_name: &settings.name,
        grant_types: &settings.grants,
    };
    reply::json_no_store(status, &body)
}

fn refuse(error: &RegistrationError) -> Response {
    #[derive(Serialize)]
    struct Fault<'a> {
        error: &'a str,
        error_description: &'a str,
    }
    let refusal_with = |status: StatusCode, error: &str, text: &str| {
        reply::json_no_store(status, &Fault { error, error_description: text })
    };
    let refusal = |error: &str, text: &str| refusal_with(StatusCode::BAD_REQUEST, error, text);
    let bad = |text: &str| refusal(METADATA, text);
    match error {
        RegistrationError::Malformed(text) => bad(&format!("The body is not valid JSON of a registration: {text}")),
        RegistrationError::Metadata(text) => bad(text),
        RegistrationError::RedirectUri(uri) => refusal("invalid_redirect_uri", &format!("Invalid redirect URI: {uri}")),
        RegistrationError::NameTaken(name) => {
            bad(&format!("Application with the name {name} already exist in the system"))
        }
        RegistrationError::IdTaken(key) => bad(&format!("Client id {key} already exist in the system")),
        RegistrationError::UnknownOwner => bad("The owner is not a user of this tenant"),
        RegistrationError::NotFound => reply::empty(StatusCode::UNAUTHORIZED),
        RegistrationError::Unreadable(error) => refusal_with(error.status(), METADATA, &error.to_string()),
        RegistrationError::Store(error) => reply::store_failure(error),
    }
}
