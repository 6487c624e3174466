//! Developer-portal REST v1: keys of applications (portal-gateway-3x.md 3.4; database.md 2.5; rest-3x.md 4.2).
//!
//! A client is registered at the key manager and mapped to its application in one transaction. It goes before its mapping
//! does: a mapping without a client can be cleaned up again, a client without a mapping nobody would see. Every operation
//! asks for the application's owner.

use super::applications::{MANAGE, find_own};
use super::body::parse_body;
use super::error::{Finding, PortalError, Resource};
use super::key_manager::{ClientInfo, ClientOrder, TokenInfo, parse_scopes};
use super::reply::json;
use super::state::{Actor, Portal, RESIDENT};
use crate::http::extract::{Path, Whole};
use crate::http::routes::Routes;
use crate::oauth::dcr;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use claviger_proto::entropy::uuid;
use claviger_proto::event::Event;
use claviger_proto::ids::{ApplicationUuid, ConsumerKey};
use claviger_proto::secret::Secret;
use claviger_store::applications::{self as rows, Application, KeyMapping, Registration};
use claviger_store::conn::Conn;
use claviger_store::policies;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json as object};
use std::sync::Arc;

/// The routes of this file.
pub fn routes(routes: Routes) -> Routes {
    const BY_TYPE: &str = "/api/am/store/v1/applications/{id}/keys/{key}";
    const BY_ID: &str = "/api/am/store/v1/applications/{id}/oauth-keys/{key}";
    routes
        .add(Method::POST, "/api/am/store/v1/applications/{id}/generate-keys", MANAGE, generate)
        .add(Method::GET, "/api/am/store/v1/applications/{id}/keys", MANAGE, list_keys)
        .add(Method::GET, "/api/am/store/v1/applications/{id}/oauth-keys", MANAGE, list_keys)
        .add(Method::GET, BY_TYPE, MANAGE, read)
        .add(Method::PUT, BY_TYPE, MANAGE, update)
        .add(Method::GET, BY_ID, MANAGE, read)
        .add(Method::PUT, BY_ID, MANAGE, update)
        .add(Method::POST, "/api/am/store/v1/applications/{id}/keys/{key}/regenerate-secret", MANAGE, regenerate_secret)
        .add(
            Method::POST,
            "/api/am/store/v1/applications/{id}/oauth-keys/{key}/regenerate-secret",
            MANAGE,
            regenerate_secret,
        )
        .add(Method::POST, "/api/am/store/v1/applications/{id}/keys/{key}/clean-up", MANAGE, clean_up)
        .add(Method::POST, "/api/am/store/v1/applications/{id}/oauth-keys/{key}/clean-up", MANAGE, clean_up)
        .add(Method::POST, "/api/am/store/v1/applications/{id}/keys/{key}/generate-token", MANAGE, issue)
        .add(Method::POST, "/api/am/store/v1/applications/{id}/oauth-keys/{key}/generate-token", MANAGE, issue)
}

/// Does the key belong to the resident key manager?
pub fn is_resident(key: &KeyMapping) -> bool {
    key.key_manager == RESIDENT
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct KeyRequest {
    key_type: String,
    key_manager: Option<String>,
    grant_types_to_be_supported: Vec<String>,
    callback_url: Option<String>,
    scopes: Vec<String>,
    validity_time: Option<Value>,
    client_id: Option<String>,
    client_secret: Option<String>,
    additional_properties: Map<String, Value>,
}

async fn generate(
    State(portal): State<Portal>,
    actor: Actor,
    Path(id): Path<String>,
    Whole(body): Whole,
) -> Result<Response, PortalError> {
    let request: KeyRequest = parse_body(&body)?;
    check_request(&request)?;
    parse_scopes(&request.scopes)?;
    let application = check_free(&portal, &actor, &id, &request).await?;
    let validity_s = validity(request.validity_time.as_ref())?;
    let order = ClientOrder {
        owner: actor.username.clone(),
        name: client_name(&actor, &application.name, &request.key_type),
        grants: request.grant_types_to_be_supported.clone(),
        callback: request.callback_url.clone().unwrap_or_default(),
        token_type: if application.token_type == "OAUTH" { "DEFAULT" } else { "JWT" }.to_owned(),
        is_saas: false,
        application_token_s: validity_s,
    };
    let by_uuid = ClientOrder { name: format!("{}_{}", order.name, application.uuid), ..order.clone() };
    let uuid = &application.uuid;
    let (mapping, secret) = match register_and_map(&portal, &actor, &request, (uuid, order)).await {
        // Left by an application that had this name before, or made of other parts: a name is not the application's own.
        Err(PortalError::ClientNameTaken(_)) => register_and_map(&portal, &actor, &request, (uuid, by_uuid)).await,
        other => other,
    }?;
    let mut client =
        find_client(&portal, &mapping).await?.ok_or(PortalError::Damaged("a new client is missing".to_owned()))?;
    // Now or never: the database may hold its hash only.
    client.secret = Some(secret);
    let mut shown = show(&mapping, Some(&client));
    if client.grants.iter().any(|grant| grant == "client_credentials") {
        let token = portal.key_manager().issue(&client.key, &request.scopes).await?;
        shown["token"] = show_token(&token);
    }
    Ok(json(StatusCode::OK, &shown))
}

fn check_request(request: &KeyRequest) -> Result<(), PortalError> {
    if request.key_type.is_empty() {
        return Err(PortalError::Invalid(vec![Finding::field("keyType", "must not be null")]));
    }
    if !matches!(request.key_type.as_str(), "PRODUCTION" | "SANDBOX") {
        return Err(PortalError::DisallowedValue);
    }
    if request.grant_types_to_be_supported.is_empty() {
        return Err(PortalError::Invalid(vec![Finding::field("grantTypesToBeSupported", "must not be null")]));
    }
    if request.client_id.is_some() || request.client_secret.is_some() {
        return Err(PortalError::BadRequest("clientId and clientSecret cannot be chosen".to_owned()));
    }
    Ok(())
}

/// Seconds as a text or a number; `-1` is no end, absent is the server's.
fn validity(value: Option<&Value>) -> Result<Option<i64>, PortalError> {
    let text = match value {
        None => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(other) => other.to_string(),
    };
    match text.parse::<i64>() {
        Ok(seconds) if seconds > 0 || seconds == -1 => Ok(Some(seconds)),
        _ => Err(PortalError::BadRequest("validityTime must be a number of seconds, or -1".to_owned())),
    }
}

/// `{owner}_{application}_{KEYTYPE}` with the owner's separators replaced (rest-3x.md 4.2).
fn client_name(actor: &Actor, application: &str, key_type: &str) -> String {
    let owner = actor.username.with_domain().replace('@', "-AT-").replace('/', "_");
    format!("{owner}_{application}_{key_type}")
}

/// Owner, key manager, and no mapping of this type there.
async fn check_free(
    portal: &Portal,
    actor: &Actor,
    id: &str,
    request: &KeyRequest,
) -> Result<Application, PortalError> {
    let mut conn = portal.store.reader().await?;
    let application = find_own(&mut conn, actor, id).await?;
    if application.status != "APPROVED" {
        return Err(PortalError::ApplicationNotApproved);
    }
    let name = request.key_manager.as_deref().unwrap_or(RESIDENT);
    let managers = policies::list_key_managers(&mut conn, actor.tenant_domain()).await?;
    let is_known = managers.iter().any(|manager| manager.name == name && manager.is_enabled);
    if !is_known {
        return Err(PortalError::UnknownKeyManager(name.to_owned()));
    }
    if name != RESIDENT {
        return Err(PortalError::KeyManagerCannotCreate(name.to_owned()));
    }
    let keys = rows::list_keys(&mut conn, application.id).await?;
    if keys.iter().any(|key| key.key_type == request.key_type && key.key_manager == name) {
        return Err(PortalError::KeyMappingExists);
    }
    Ok(application)
}

/// Registers the client and maps it to the application, in one transaction: a client without its mapping would block its
/// name for ever, a mapping without its client would be a dead key.
async fn register_and_map(
    portal: &Portal,
    actor: &Actor,
    request: &KeyRequest,
    (application, order): (&ApplicationUuid, ClientOrder),
) -> Result<(KeyMapping, Secret), PortalError> {
    let (name, callback, grants) = (order.name.clone(), order.callback.clone(), order.grants.join(" "));
    let client = portal.key_manager().prepare(order)?;
    let info = object!({
        "clientId": client.key, "clientName": name, "callBackURL": callback,
        "jsonString": object!({"grant_types": grants}).to_string(),
    });
    let mapping = Arc::new(KeyMapping {
        uuid: Some(uuid(&*portal.rng)),
        consumer_key: Some(client.key.clone()),
        key_type: request.key_type.clone(),
        state: "COMPLETED".to_owned(),
        create_mode: "CREATED".to_owned(),
        key_manager: RESIDENT.to_owned(),
        info: Some(info.to_string().into_bytes()),
    });
    let registration = Registration {
        workflow: uuid(&*portal.rng),
        scopes: request.scopes.join(",").chars().take(1500).collect(),
        // INPUTS is 1000 wide; what does not fit is left out rather than cut into broken JSON.
        inputs: Some(object!({"callbackUrl": callback}).to_string())
            .filter(|text| text.chars().count() <= 1000)
            .unwrap_or_else(|| "{}".to_owned()),
        validity_s: validity(request.validity_time.as_ref())?.unwrap_or(3600),
    };
    let now = portal.clock.now();
    let (owner, application) = (actor.clone(), application.clone());
    let result = ((*mapping).clone(), client.secret.clone());
    let written = portal.store.write(move |conn| {
        let (actor, id) = (owner.clone(), application.clone());
        let (mapping, registration, client) = (mapping.clone(), registration.clone(), client.clone());
        Box::pin(async move {
            rows::lock(conn, &id).await?;
            let application = find_own(conn, &actor, id.as_str()).await?;
            if !rows::insert_key(conn, application.id, &mapping).await? {
                return Err(PortalError::KeyMappingExists);
            }
            dcr::insert(conn, &client, now).await?;
            let target = (mapping.key_type.as_str(), mapping.key_manager.as_str());
            rows::insert_registration(conn, &application, target, &registration).await?;
            conn.emit(Event::ApplicationChanged { application_id: application.id }, now).await?;
            Ok(())
        })
    });
    written.await?;
    Ok(result)
}

/// The keys of an application as the portal shows them. The key manager answers on connections of its own: hold none.
pub async fn list(portal: &Portal, mappings: Vec<KeyMapping>) -> Result<Vec<Value>, PortalError> {
    let mut shown = Vec::with_capacity(mappings.len());
    for mapping in mappings {
        let client = find_client(portal, &mapping).await?;
        shown.push(show(&mapping, client.as_ref()));
    }
    Ok(shown)
}

async fn find_client(portal: &Portal, mapping: &KeyMapping) -> Result<Option<ClientInfo>, PortalError> {
    match &mapping.consumer_key {
        Some(key) if is_resident(mapping) => portal.key_manager().find(key).await,
        _ => Ok(None),
    }
}

fn show(mapping: &KeyMapping, client: Option<&ClientInfo>) -> Value {
    object!({
        "keyMappingId": mapping.uuid, "keyManager": mapping.key_manager, "consumerKey": mapping.consumer_key,
        "consumerSecret": client.and_then(|it| it.secret.as_ref()).map(Secret::expose),
        "supportedGrantTypes": client.map(|it| it.grants.clone()).unwrap_or_default(),
        "callbackUrl": client.map(|it| it.callback.as_str()), "keyState": mapping.state, "keyType": mapping.key_type,
        "groupId": null, "token": {"accessToken": "", "tokenScopes": ["N/A"], "validityTime": 0},
        "additionalProperties": {},
    })
}

fn show_token(token: &TokenInfo) -> Value {
    object!({"accessToken": token.access_token.expose(), "tokenScopes": token.scopes,
             "validityTime": token.expires_in_s})
}

async fn list_keys(
    State(portal): State<Portal>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let application = find_own(&mut conn, &actor, &id).await?;
    let mappings = rows::list_keys(&mut conn, application.id).await?;
    drop(conn);
    let list = list(&portal, mappings).await?;
    Ok(json(StatusCode::OK, &object!({"count": list.len(), "list": list})))
}

/// A key by its mapping's UUID, or by its type (then the resident key manager's).
async fn find_key(conn: &mut Conn, application: &Application, key: &str) -> Result<KeyMapping, PortalError> {
    let is_wanted = |it: &KeyMapping| match key {
        "PRODUCTION" | "SANDBOX" => it.key_type == key && is_resident(it),
        uuid => it.uuid.as_deref() == Some(uuid),
    };
    let keys = rows::list_keys(conn, application.id).await?;
    let missing = || PortalError::NotFound { resource: Resource::ApplicationKeys, id: key.to_owned() };
    keys.into_iter().find(is_wanted).ok_or_else(missing)
}

/// The application, the key and its client, for the owner.
async fn find_all(
    portal: &Portal,
    actor: &Actor,
    (id, key): &(String, String),
) -> Result<(Application, KeyMapping, ConsumerKey), PortalError> {
    let mut conn = portal.store.reader().await?;
    let application = find_own(&mut conn, actor, id).await?;
    let mapping = find_key(&mut conn, &application, key).await?;
    let missing = || PortalError::NotFound { resource: Resource::ApplicationKeys, id: key.clone() };
    let consumer_key = mapping.consumer_key.clone().filter(|_| is_resident(&mapping)).ok_or_else(missing)?;
    Ok((application, mapping, consumer_key))
}

async fn read(
    State(portal): State<Portal>,
    actor: Actor,
    Path((id, key)): Path<(String, String)>,
) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let application = find_own(&mut conn, &actor, &id).await?;
    let mapping = find_key(&mut conn, &application, &key).await?;
    drop(conn);
    let client = find_client(&portal, &mapping).await?;
    Ok(json(StatusCode::OK, &show(&mapping, client.as_ref())))
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct KeyBody {
    key_mapping_id: Option<String>,
    key_manager: Option<String>,
    consumer_key: Option<String>,
    consumer_secret: Option<String>,
    supported_grant_types: Vec<String>,
    callback_url: Option<String>,
    key_state: Option<String>,
    key_type: Option<String>,
    group_id: Option<String>,
    token: Option<Value>,
    additional_properties: Option<Value>,
}

async fn update(
    State(portal): State<Portal>,
    actor: Actor,
    Path(place): Path<(String, String)>,
    Whole(body): Whole,
) -> Result<Response, PortalError> {
    let body: KeyBody = parse_body(&body)?;
    let (_, mapping, key) = find_all(&portal, &actor, &place).await?;
    let current = portal.key_manager().find(&key).await?;
    let grants = if body.supported_grant_types.is_empty() {
        current.as_ref().map(|it| it.grants.clone()).unwrap_or_default()
    } else {
        body.supported_grant_types
    };
    let before = current.map(|it| it.callback).unwrap_or_default();
    let callback = body.callback_url.unwrap_or_else(|| before.clone());
    if callback != before {
        dcr::check_callback(&callback)?;
    }
    let client = portal.key_manager().update(&key, grants, callback).await?;
    Ok(json(StatusCode::OK, &show(&mapping, Some(&client))))
}

async fn regenerate_secret(
    State(portal): State<Portal>,
    actor: Actor,
    Path(place): Path<(String, String)>,
) -> Result<Response, PortalError> {
    let (_, _, key) = find_all(&portal, &actor, &place).await?;
    let client = portal.key_manager().renew_secret(&key).await?;
    let body = object!({"consumerKey": client.key, "consumerSecret": client.secret.as_ref().map(Secret::expose)});
    Ok(json(StatusCode::OK, &body))
}

/// Removes the client of a key that was made here; one that was mapped is not the portal's to remove.
pub async fn remove_client(portal: &Portal, key: &KeyMapping) -> Result<(), PortalError> {
    match &key.consumer_key {
        Some(consumer_key) if key.create_mode != "MAPPED" && is_resident(key) => {
            portal.key_manager().remove(consumer_key).await
        }
        _ => Ok(()),
    }
}

/// Forgets a key with its client. (In the product the client stays: alive, unseen, and in the way of the next key.)
async fn clean_up(
    State(portal): State<Portal>,
    actor: Actor,
    Path((id, key)): Path<(String, String)>,
) -> Result<Response, PortalError> {
    let now = portal.clock.now();
    let present = {
        let mut conn = portal.store.reader().await?;
        let application = find_own(&mut conn, &actor, &id).await?;
        find_key(&mut conn, &application, &key).await?
    };
    remove_client(&portal, &present).await?;
    let written = portal.store.write(move |conn| {
        let (actor, id, key, present) = (actor.clone(), ApplicationUuid(id.clone()), key.clone(), present.clone());
        Box::pin(async move {
            rows::lock(conn, &id).await?;
            let application = find_own(conn, &actor, id.as_str()).await?;
            let mapping = find_key(conn, &application, &key).await?;
            if mapping != present {
                return Err(PortalError::BadRequest("The key was replaced at the same time".to_owned()));
            }
            rows::delete_key(conn, application.id, &mapping).await?;
            conn.emit(Event::ApplicationChanged { application_id: application.id }, now).await?;
            Ok::<_, PortalError>(())
        })
    });
    written.await?;
    Ok(StatusCode::OK.into_response())
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct TokenRequest {
    consumer_secret: Option<String>,
    validity_period: Option<i64>,
    scopes: Vec<String>,
    revoke_token: Option<String>,
    additional_properties: Option<Value>,
}

async fn issue(
    State(portal): State<Portal>,
    actor: Actor,
    Path(place): Path<(String, String)>,
    Whole(body): Whole,
) -> Result<Response, PortalError> {
    let request: TokenRequest = parse_body(&body)?;
    let (_, _, key) = find_all(&portal, &actor, &place).await?;
    if let Some(token) = request.revoke_token.filter(|token| !token.is_empty()) {
        portal.key_manager().revoke(&key, &Secret::new(token)).await?;
    }
    let token = portal.key_manager().issue(&key, &request.scopes).await?;
    Ok(json(StatusCode::OK, &show_token(&token)))
}
