//! Publisher REST v1: subscriptions of the publisher's APIs, policies, settings (portal-gateway-3x.md 2.1, 2.6).

use super::apis;
use super::error::{PortalError, Resource};
use super::page::{Page, Paging};
use super::params::Params;
use super::policy_views;
use super::reply::json;
use super::search::Query;
use super::state::{Actor, Portal};
use crate::http::access::Rule;
use crate::http::extract::Path;
use crate::http::routes::Routes;
use axum::extract::State;
use axum::response::Response;
use claviger_proto::event::Event;
use claviger_proto::ids::SubscriptionUuid;
use claviger_store::apis as rows;
use claviger_store::conn::Conn;
use claviger_store::policies::Level;
use claviger_store::subscriptions::{self, Subscription};
use claviger_store::{applications, policies};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json as object};

/// The routes of this file.
pub fn routes(routes: Routes) -> Routes {
    const VIEW: Rule = Rule::Portal(&["apim:api_view"]);
    const BLOCK: Rule = Rule::Portal(&["apim:subscription_block"]);
    routes
        .add(Method::GET, "/api/am/publisher/v1/apis/{id}/subscription-policies", VIEW, api_policies)
        .add(
            Method::GET,
            "/api/am/publisher/v1/subscriptions",
            Rule::Portal(&["apim:subscription_view"]),
            list_subscriptions,
        )
        .add(Method::POST, "/api/am/publisher/v1/subscriptions/block-subscription", BLOCK, block)
        .add(Method::POST, "/api/am/publisher/v1/subscriptions/unblock-subscription", BLOCK, unblock)
        .add(Method::GET, "/api/am/publisher/v1/throttling-policies/{level}", VIEW, list_policies)
        .add(Method::GET, "/api/am/publisher/v1/throttling-policies/{level}/{name}", VIEW, read_policy)
        .add(
            Method::GET,
            "/api/am/publisher/v1/key-managers",
            Rule::Portal(&["apim:api_create", "apim:api_view"]),
            key_managers,
        )
        .add(Method::GET, "/api/am/publisher/v1/settings", Rule::PortalOrAnonymous, settings)
}

async fn api_policies(
    State(portal): State<Portal>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let api = apis::find_for_publisher(&portal, &mut conn, &actor, &id).await?;
    let all = policy_views::list(&portal, &mut conn, actor.tenant, Level::Subscription).await?;
    let own: Vec<Value> =
        all.iter().filter(|policy| api.object.policies.contains(&policy.name)).map(policy_views::tier).collect();
    Ok(json(StatusCode::OK, &own))
}

async fn list_policies(
    State(portal): State<Portal>,
    actor: Actor,
    Path(word): Path<String>,
    Params(paging): Params<Paging>,
) -> Result<Response, PortalError> {
    let level = publisher_level(&word)?;
    let mut conn = portal.store.reader().await?;
    let all = policy_views::list(&portal, &mut conn, actor.tenant, level).await?;
    let path = format!("/throttling-policies/{word}");
    let page = Page::of(&all, paging, (&path, ""), |policy| policy_views::for_publisher(policy, level));
    Ok(json(StatusCode::OK, &page))
}

async fn read_policy(
    State(portal): State<Portal>,
    actor: Actor,
    Path((word, name)): Path<(String, String)>,
) -> Result<Response, PortalError> {
    let level = publisher_level(&word)?;
    let mut conn = portal.store.reader().await?;
    let policy = policy_views::find(&portal, &mut conn, actor.tenant, (level, &name)).await?;
    Ok(json(StatusCode::OK, &policy_views::for_publisher(&policy, level)))
}

fn publisher_level(word: &str) -> Result<Level, PortalError> {
    policy_views::level(word)
        .filter(|level| *level != Level::Application)
        .ok_or_else(|| PortalError::NotFound { resource: Resource::Policy, id: word.to_owned() })
}

#[derive(Debug, Deserialize)]
struct SubscriptionParams {
    #[serde(rename = "apiId")]
    api_id: Option<String>,
    limit: Option<i64>,
    offset: Option<i64>,
}

async fn list_subscriptions(
    State(portal): State<Portal>,
    actor: Actor,
    Params(params): Params<SubscriptionParams>,
) -> Result<Response, PortalError> {
    let mut found = Vec::new();
    if let Some(id) = &params.api_id {
        let mut conn = portal.store.reader().await?;
        let api = apis::find_for_publisher(&portal, &mut conn, &actor, id).await?;
        found = subscriptions::list_of_api(&mut conn, api.row.id).await?;
    } else {
        let all = apis::list_for_publisher(&portal, &actor, &Query::default()).await?;
        let mut conn = portal.store.reader().await?;
        for api in all.iter().filter(|api| api.row.provider == actor.name()) {
            found.extend(subscriptions::list_of_api(&mut conn, api.row.id).await?);
        }
    }
    let paging = Paging { limit: params.limit, offset: params.offset };
    let rest = params.api_id.as_ref().map(|id| format!("apiId={id}")).unwrap_or_default();
    let mut page = Page::of(&found, paging, ("/subscriptions", &rest), Subscription::clone);
    let mut conn = portal.store.reader().await?;
    let mut list = Vec::with_capacity(page.list.len());
    for subscription in std::mem::take(&mut page.list) {
        list.push(show(&mut conn, &subscription).await?);
    }
    Ok(json(StatusCode::OK, &Page { count: page.count, list, pagination: page.pagination }))
}

async fn show(conn: &mut Conn, subscription: &Subscription) -> Result<Value, PortalError> {
    let application = applications::find_by_id(conn, subscription.application_id).await?;
    let count = subscriptions::list_of_application(conn, subscription.application_id).await?.len();
    let info = application.map(|it| {
        object!({"applicationId": it.uuid, "name": it.name, "subscriber": it.owner, "description": it.description,
                 "subscriptionCount": count})
    });
    Ok(object!({"subscriptionId": subscription.uuid, "applicationInfo": info,
                "throttlingPolicy": subscription.policy, "subscriptionStatus": subscription.status}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockParams {
    subscription_id: Option<String>,
    block_state: Option<String>,
}

async fn block(
    State(portal): State<Portal>,
    actor: Actor,
    Params(params): Params<BlockParams>,
) -> Result<Response, PortalError> {
    let status = match params.block_state.as_deref() {
        Some("BLOCKED") => "BLOCKED",
        Some("PROD_ONLY_BLOCKED") => "PROD_ONLY_BLOCKED",
        _ => return Err(PortalError::BadRequest("blockState must be BLOCKED or PROD_ONLY_BLOCKED".to_owned())),
    };
    set_status(&portal, &actor, params.subscription_id, status).await
}

async fn unblock(
    State(portal): State<Portal>,
    actor: Actor,
    Params(params): Params<BlockParams>,
) -> Result<Response, PortalError> {
    set_status(&portal, &actor, params.subscription_id, "UNBLOCKED").await
}

async fn set_status(
    portal: &Portal,
    actor: &Actor,
    id: Option<String>,
    status: &'static str,
) -> Result<Response, PortalError> {
    let id = id.ok_or_else(|| PortalError::BadRequest("subscriptionId is required".to_owned()))?;
    let now = portal.clock.now();
    let (state, actor) = (portal.clone(), actor.clone());
    let written = portal.store.write(move |conn| {
        let (state, actor, id) = (state.clone(), actor.clone(), SubscriptionUuid(id.clone()));
        Box::pin(async move {
            let missing = || PortalError::NotFound { resource: Resource::Subscription, id: id.0.clone() };
            let found = subscriptions::find(conn, &id).await?.ok_or_else(missing)?;
            // The subscription must be to an API that this publisher sees, in his own tenant.
            let row = rows::find_by_id(conn, found.api_id).await?.ok_or_else(missing)?;
            let api = apis::find_by_row(conn, &row).await?.ok_or_else(missing)?;
            let is_own_tenant = apis::tenant_of(conn, &row.provider).await? == actor.tenant;
            if !is_own_tenant || !apis::is_visible_to_publisher(&state, &actor, &api.object) {
                return Err(missing());
            }
            // Or a change of the plan that is under way would lift the block.
            claviger_store::applications::lock(conn, &found.application_uuid).await?;
            subscriptions::set_status(conn, &id, status, &actor.name(), now).await?;
            conn.emit(Event::ApplicationChanged { application_id: found.application_id }, now).await?;
            let after = subscriptions::find(conn, &id).await?.ok_or_else(missing)?;
            show(conn, &after).await
        })
    });
    Ok(json(StatusCode::OK, &written.await?))
}

async fn key_managers(State(portal): State<Portal>, actor: Actor) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let list: Vec<Value> = policies::list_key_managers(&mut conn, actor.tenant_domain())
        .await?
        .iter()
        .map(|it| {
            object!({"id": it.uuid, "name": it.name, "displayName": it.display_name, "type": it.kind,
                     "description": it.description, "enabled": it.is_enabled})
        })
        .collect();
    Ok(json(StatusCode::OK, &object!({"count": list.len(), "list": list})))
}

async fn settings(State(portal): State<Portal>, actor: super::state::MaybeActor) -> Result<Response, PortalError> {
    let environments: Vec<Value> = portal
        .portal
        .environments
        .iter()
        .map(|it| {
            object!({"name": it.name, "type": it.kind, "serverUrl": it.https_url, "showInApiConsole": true,
                     "endpoints": {"http": it.http_url, "https": it.https_url, "ws": null, "wss": null}})
        })
        .collect();
    if actor.0.is_none() {
        return Ok(json(StatusCode::OK, &object!({"scopes": SCOPES})));
    }
    let body = object!({
        "tokenUrl": portal.portal.token_endpoint, "environment": environments, "scopes": SCOPES,
        "monetizationAttributes": [], "securityAuditProperties": {}, "externalStoresEnabled": false,
        "docVisibilityEnabled": false, "deployments": [],
    });
    Ok(json(StatusCode::OK, &body))
}

/// Scopes that the publisher's operations name.
const SCOPES: &[&str] = &[
    "apim:api_view",
    "apim:api_create",
    "apim:api_delete",
    "apim:api_publish",
    "apim:subscription_view",
    "apim:subscription_block",
    "apim:tier_view",
    "apim:publisher_settings",
];
