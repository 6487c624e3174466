//! Developer-portal REST v1: applications and their subscriber (portal-gateway-3x.md 3.3, 1.2 row "subscriber").
//!
//! There is no approval workflow: applications are approved at once. Sharing between groups is not offered, so only the
//! owner sees an application.

use super::body::parse_body;
use super::error::{Finding, PortalError, Resource};
use super::keys;
use super::page::{Page, Paging};
use super::params::Params;
use super::policy_views;
use super::reply::{created, json};
use super::state::{Actor, Portal};
use crate::http::access::Rule;
use crate::http::extract::{Path, Whole};
use crate::http::routes::Routes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use claviger_proto::entropy::uuid;
use claviger_proto::event::Event;
use claviger_proto::ids::ApplicationUuid;
use claviger_store::applications::{self as rows, Application, NewApplication};
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::policies::Level;
use claviger_store::{subscriptions, users};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json as object};
use std::collections::BTreeMap;

/// The application that every subscriber begins with.
const DEFAULT: &str = "DefaultApplication";
/// Most applications of one subscriber.
const APPLICATIONS_MAX: i64 = 1_000;
/// Most attributes of one application.
const ATTRIBUTES_MAX: usize = 100;

/// Who may manage applications.
pub const MANAGE: Rule = Rule::Portal(&["apim:subscribe", "apim:app_manage"]);

/// The routes of this file.
pub fn routes(routes: Routes) -> Routes {
    const WIDE: Rule = Rule::Portal(&["apim:subscribe", "apim:app_manage", "apim:app_import_export"]);
    routes
        .add(Method::GET, "/api/am/store/v1/applications", WIDE, list)
        .add(Method::POST, "/api/am/store/v1/applications", MANAGE, create)
        .add(Method::GET, "/api/am/store/v1/applications/{id}", MANAGE, read)
        .add(Method::PUT, "/api/am/store/v1/applications/{id}", MANAGE, update)
        .add(Method::DELETE, "/api/am/store/v1/applications/{id}", WIDE, delete)
}

/// An application's body. Server-made fields are taken and passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ApplicationBody {
    application_id: Option<String>,
    name: String,
    throttling_policy: String,
    description: Option<String>,
    token_type: Option<String>,
    status: Option<String>,
    groups: Vec<String>,
    subscription_count: Option<i64>,
    keys: Vec<Value>,
    attributes: BTreeMap<String, String>,
    subscription_scopes: Vec<Value>,
    owner: Option<String>,
    hash_enabled: Option<bool>,
}

/// The rows of the actor among the subscribers, the one that new applications belong to first.
async fn find_subscribers(conn: &mut Conn, actor: &Actor) -> Result<Vec<i64>, StoreError> {
    rows::find_subscribers(conn, actor.tenant, &actor.username, actor.name_rule).await
}

/// The subscriber's number. The first call of a user makes the subscriber and his first application.
pub async fn ensure_subscriber(portal: &Portal, actor: &Actor) -> Result<i64, PortalError> {
    {
        let mut conn = portal.store.reader().await?;
        if let Some(id) = find_subscribers(&mut conn, actor).await?.first() {
            return Ok(*id);
        }
    }
    let now = portal.clock.now();
    let uuid = uuid(&*portal.rng);
    let who = actor.clone();
    let written = portal.store.write::<i64, PortalError, _>(move |conn| {
        let (actor, uuid) = (who.clone(), ApplicationUuid(uuid.clone()));
        Box::pin(async move {
            if let Some(id) = find_subscribers(conn, &actor).await?.first() {
                return Ok(*id);
            }
            let id = rows::insert_subscriber(conn, actor.tenant, &actor.name(), now).await?;
            let new = NewApplication {
                uuid,
                name: DEFAULT.to_owned(),
                subscriber_id: id,
                owner: actor.name(),
                policy: super::api_object::UNLIMITED.to_owned(),
                description: None,
                token_type: "JWT".to_owned(),
            };
            let application_id = rows::insert(conn, &new, now).await?;
            conn.emit(Event::ApplicationChanged { application_id }, now).await?;
            Ok(id)
        })
    });
    match written.await {
        // Another call of the same user came first.
        Err(PortalError::Store(StoreError::Conflict(_))) => {
            let mut conn = portal.store.reader().await?;
            let found = find_subscribers(&mut conn, actor).await?;
            let taken = || PortalError::BadRequest("A subscriber whose name differs in case only exists".into());
            found.first().copied().ok_or_else(taken)
        }
        other => other,
    }
}

/// [`ensure_subscriber`] for a caller of any operation of the developer portal, when he may subscribe at all.
pub async fn welcome(portal: &Portal, actor: Option<&Actor>) -> Result<(), PortalError> {
    match actor {
        Some(actor) if portal.is_admin(actor) || actor.has_role("Internal/subscriber") => {
            ensure_subscriber(portal, actor).await.map(|_| ())
        }
        _ => Ok(()),
    }
}

/// The actor's own application. A stranger's is forbidden, another tenant's does not exist.
pub async fn find_own(conn: &mut Conn, actor: &Actor, id: &str) -> Result<Application, PortalError> {
    let missing = || PortalError::NotFound { resource: Resource::Application, id: id.to_owned() };
    let application = rows::find(conn, &id.into()).await?.ok_or_else(missing)?;
    if application.tenant != actor.tenant {
        return Err(missing());
    }
    if !users::is_meant(conn, actor.tenant, &application.owner, &actor.username, actor.name_rule).await? {
        return Err(PortalError::Forbidden { resource: Resource::Application, id: id.to_owned() });
    }
    Ok(application)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListParams {
    query: Option<String>,
    sort_by: Option<String>,
    sort_order: Option<String>,
    limit: Option<i64>,
    offset: Option<i64>,
}

async fn list(
    State(portal): State<Portal>,
    actor: Actor,
    Params(params): Params<ListParams>,
) -> Result<Response, PortalError> {
    ensure_subscriber(&portal, &actor).await?;
    let mut conn = portal.store.reader().await?;
    let mut found = Vec::new();
    for subscriber in find_subscribers(&mut conn, &actor).await? {
        found.extend(rows::list(&mut conn, subscriber, APPLICATIONS_MAX).await?);
    }
    let query = params.query.as_deref().unwrap_or_default().to_lowercase();
    found.retain(|application| application.name.to_lowercase().contains(&query));
    match params.sort_by.as_deref() {
        None | Some("" | "name") => found.sort_by_key(|application| application.name.to_lowercase()),
        Some("owner") => found.sort_by(|a, b| a.owner.cmp(&b.owner)),
        Some("throttlingTier" | "throttlingPolicy") => found.sort_by(|a, b| a.policy.cmp(&b.policy)),
        Some(_) => return Err(PortalError::BadRequest("sortBy must be name, owner or throttlingTier".to_owned())),
    }
    match params.sort_order.as_deref() {
        None | Some("" | "asc" | "ASC") => {}
        Some("desc" | "DESC") => found.reverse(),
        Some(_) => return Err(PortalError::BadRequest("sortOrder must be asc or desc".to_owned())),
    }
    let paging = Paging { limit: params.limit, offset: params.offset };
    let mut page = Page::of(&found, paging, ("/applications", ""), Application::clone);
    let mut list = Vec::with_capacity(page.list.len());
    for application in std::mem::take(&mut page.list) {
        list.push(list_item(&mut conn, &application).await?);
    }
    Ok(json(StatusCode::OK, &Page { count: page.count, list, pagination: page.pagination }))
}

async fn list_item(conn: &mut Conn, application: &Application) -> Result<Value, PortalError> {
    let count = subscriptions::list_of_application(conn, application.id).await?.len();
    let attributes = rows::attributes(conn, application.id).await?;
    Ok(object!({
        "applicationId": application.uuid, "name": application.name, "throttlingPolicy": application.policy,
        "description": application.description, "status": application.status, "groups": [],
        "subscriptionCount": count, "attributes": attributes, "owner": application.owner,
    }))
}

/// An application as far as one connection tells it.
type Found = (Value, Vec<rows::KeyMapping>);

async fn collect(conn: &mut Conn, application: &Application) -> Result<Found, PortalError> {
    let mut body = list_item(conn, application).await?;
    let token_type = if application.token_type == "OAUTH" { "OAUTH" } else { "JWT" };
    body["tokenType"] = object!(token_type);
    body["subscriptionScopes"] = object!([]);
    body["hashEnabled"] = object!(false);
    Ok((body, rows::list_keys(conn, application.id).await?))
}

/// Adds what the key manager knows. It asks on connections of its own, so the caller holds none: a pool whose every holder
/// waits for a second one stands still.
async fn show(portal: &Portal, (mut body, mappings): Found) -> Result<Value, PortalError> {
    body["keys"] = object!(keys::list(portal, mappings).await?);
    Ok(body)
}

/// The application that a body describes, checked.
async fn check(portal: &Portal, actor: &Actor, body: &mut ApplicationBody) -> Result<(), PortalError> {
    body.name.truncate(body.name.trim_end().len());
    body.name.drain(..body.name.len() - body.name.trim_start().len());
    let mut findings = Vec::new();
    for (field, value) in [("name", &body.name), ("throttlingPolicy", &body.throttling_policy)] {
        if value.is_empty() {
            findings.push(Finding::field(field, "must not be null"));
        }
    }
    if body.name.chars().count() > 100 {
        findings.push(Finding::field("name", "size must be between 1 and 100"));
    }
    if body.description.as_ref().is_some_and(|text| text.chars().count() > 512) {
        findings.push(Finding::field("description", "size must be between 0 and 512"));
    }
    if body.attributes.len() > ATTRIBUTES_MAX {
        findings.push(Finding::field("attributes", &format!("at most {ATTRIBUTES_MAX} entries")));
    }
    if !findings.is_empty() {
        return Err(PortalError::Invalid(findings));
    }
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, ' ' | '.' | '_' | '-');
    if !body.name.chars().all(is_allowed) {
        return Err(PortalError::BadRequest("Application name holds characters that are not allowed".to_owned()));
    }
    let mut conn = portal.store.reader().await?;
    let policies = policy_views::list(portal, &mut conn, actor.tenant, Level::Application).await?;
    if !policies.iter().any(|policy| policy.name == body.throttling_policy) {
        let text = format!("Specified application tier {} is invalid", body.throttling_policy);
        return Err(PortalError::BadRequest(text));
    }
    Ok(())
}

async fn create(State(portal): State<Portal>, actor: Actor, Whole(body): Whole) -> Result<Response, PortalError> {
    let mut body: ApplicationBody = parse_body(&body)?;
    check(&portal, &actor, &mut body).await?;
    let subscriber_id = ensure_subscriber(&portal, &actor).await?;
    let now = portal.clock.now();
    let new = NewApplication {
        uuid: ApplicationUuid(uuid(&*portal.rng)),
        name: body.name.clone(),
        subscriber_id,
        owner: actor.name(),
        policy: body.throttling_policy.clone(),
        description: body.description.clone(),
        token_type: "JWT".to_owned(),
    };
    let tenant = actor.tenant;
    let written = portal.store.write(move |conn| {
        let (new, attributes) = (new.clone(), body.attributes.clone());
        Box::pin(async move {
            check_name_free(conn, (subscriber_id, &new.name), None).await?;
            let id = match rows::insert(conn, &new, now).await {
                Err(StoreError::Conflict(_)) => return Err(PortalError::ApplicationExists(new.name)),
                other => other?,
            };
            rows::set_attributes(conn, id, tenant, &attributes).await?;
            conn.emit(Event::ApplicationChanged { application_id: id }, now).await?;
            let application = rows::find_by_id(conn, id).await?;
            let application = application.ok_or_else(|| PortalError::Damaged("the application just written".into()))?;
            Ok((application.uuid.clone(), collect(conn, &application).await?))
        })
    });
    let (uuid, found) = written.await?;
    Ok(created(&format!("/applications/{uuid}"), &show(&portal, found).await?))
}

/// A subscriber's application names are unique without regard to case, as the usual collations have it.
async fn check_name_free(
    conn: &mut Conn,
    (subscriber_id, name): (i64, &str),
    but: Option<&ApplicationUuid>,
) -> Result<(), PortalError> {
    let all = rows::list(conn, subscriber_id, APPLICATIONS_MAX).await?;
    let is_taken = |it: &Application| it.name.eq_ignore_ascii_case(name) && Some(&it.uuid) != but;
    if all.iter().any(is_taken) {
        return Err(PortalError::ApplicationExists(name.to_owned()));
    }
    if but.is_none() && i64::try_from(all.len()).unwrap_or(i64::MAX) >= APPLICATIONS_MAX {
        return Err(PortalError::BadRequest(format!("A subscriber may have at most {APPLICATIONS_MAX} applications")));
    }
    Ok(())
}

async fn read(State(portal): State<Portal>, actor: Actor, Path(id): Path<String>) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let application = find_own(&mut conn, &actor, &id).await?;
    let found = collect(&mut conn, &application).await?;
    drop(conn);
    Ok(json(StatusCode::OK, &show(&portal, found).await?))
}

async fn update(
    State(portal): State<Portal>,
    actor: Actor,
    Path(id): Path<String>,
    Whole(body): Whole,
) -> Result<Response, PortalError> {
    let mut body: ApplicationBody = parse_body(&body)?;
    check(&portal, &actor, &mut body).await?;
    let now = portal.clock.now();
    let written = portal.store.write(move |conn| {
        let (actor, id, body) = (actor.clone(), ApplicationUuid(id.clone()), body.clone());
        Box::pin(async move {
            rows::lock(conn, &id).await?;
            let mut application = find_own(conn, &actor, id.as_str()).await?;
            check_name_free(conn, (application.subscriber_id, &body.name), Some(&id)).await?;
            application.name = body.name;
            application.policy = body.throttling_policy;
            application.description = body.description;
            if application.token_type != "OAUTH" {
                "JWT".clone_into(&mut application.token_type);
            }
            rows::update(conn, &application, &actor.name(), now).await?;
            rows::set_attributes(conn, application.id, actor.tenant, &body.attributes).await?;
            conn.emit(Event::ApplicationChanged { application_id: application.id }, now).await?;
            collect(conn, &application).await
        })
    });
    let found = written.await?;
    Ok(json(StatusCode::OK, &show(&portal, found).await?))
}

/// The clients go first: when that fails the application is still there to be deleted again.
async fn delete(State(portal): State<Portal>, actor: Actor, Path(id): Path<String>) -> Result<Response, PortalError> {
    let now = portal.clock.now();
    let present = {
        let mut conn = portal.store.reader().await?;
        let application = find_own(&mut conn, &actor, &id).await?;
        rows::list_keys(&mut conn, application.id).await?
    };
    for key in &present {
        keys::remove_client(&portal, key).await?;
    }
    let written = portal.store.write(move |conn| {
        let (actor, id) = (actor.clone(), ApplicationUuid(id.clone()));
        Box::pin(async move {
            rows::lock(conn, &id).await?;
            let application = find_own(conn, &actor, id.as_str()).await?;
            let keys = rows::list_keys(conn, application.id).await?;
            rows::delete(conn, application.id).await?;
            conn.emit(Event::ApplicationChanged { application_id: application.id }, now).await?;
            Ok::<_, PortalError>(keys)
        })
    });
    // Keys that were made in between.
    for key in written.await?.iter().filter(|key| !present.contains(key)) {
        keys::remove_client(&portal, key).await?;
    }
    Ok(StatusCode::OK.into_response())
}
