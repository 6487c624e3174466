//! Developer-portal REST v1: subscriptions (portal-gateway-3x.md 3.6). There is no approval workflow: a subscription is
//! `UNBLOCKED` at once, within the transaction that makes it.

use super::api_object::{ApiObject, SubscriptionAvailability};
use super::applications::find_own;
use super::body::{parse_body, parse_list};
use super::error::{Finding, PortalError, Resource};
use super::lifecycle::State as Lifecycle;
use super::page::{Page, Paging};
use super::params::Params;
use super::reply::{created, json};
use super::state::{Actor, Portal};
use super::{apis, devportal};
use crate::http::access::Rule;
use crate::http::extract::{Path, Whole};
use crate::http::routes::Routes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use claviger_proto::entropy::uuid;
use claviger_proto::event::Event;
use claviger_proto::ids::{ApplicationUuid, SubscriptionUuid};
use claviger_store::apis as api_rows;
use claviger_store::applications as application_rows;
use claviger_store::conn::Conn;
use claviger_store::subscriptions::{self as rows, NewSubscription, Subscription};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json as object};

/// Most subscriptions of one `multiple` call.
const MULTIPLE_MAX: usize = 100;

/// The routes of this file.
pub fn routes(routes: Routes) -> Routes {
    const MANAGE: Rule = Rule::Portal(&["apim:subscribe", "apim:sub_manage"]);
    routes
        .add(Method::GET, "/api/am/store/v1/subscriptions", MANAGE, list)
        .add(Method::POST, "/api/am/store/v1/subscriptions", MANAGE, create)
        .add(Method::POST, "/api/am/store/v1/subscriptions/multiple", MANAGE, create_many)
        .add(Method::GET, "/api/am/store/v1/subscriptions/{id}", MANAGE, read)
        .add(Method::PUT, "/api/am/store/v1/subscriptions/{id}", MANAGE, update)
        .add(Method::DELETE, "/api/am/store/v1/subscriptions/{id}", MANAGE, delete)
}

/// A subscription's body. Server-made fields are taken and passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SubscriptionBody {
    subscription_id: Option<String>,
    application_id: String,
    api_id: Option<String>,
    api_info: Option<Value>,
    application_info: Option<Value>,
    throttling_policy: String,
    requested_throttling_policy: Option<String>,
    status: Option<String>,
    redirection_params: Option<Value>,
}

impl SubscriptionBody {
    fn check(&self) -> Result<&str, PortalError> {
        let mut findings = Vec::new();
        for (field, value) in [("applicationId", &self.application_id), ("throttlingPolicy", &self.throttling_policy)] {
            if value.is_empty() {
                findings.push(Finding::field(field, "must not be null"));
            }
        }
        if !findings.is_empty() {
            return Err(PortalError::Invalid(findings));
        }
        self.api_id.as_deref().ok_or_else(|| PortalError::BadRequest("apiId is required".to_owned()))
    }
}

async fn create(State(portal): State<Portal>, actor: Actor, Whole(body): Whole) -> Result<Response, PortalError> {
    let body: SubscriptionBody = parse_body(&body)?;
    let shown = subscribe(&portal, &actor, body).await?;
    let id = shown["subscriptionId"].as_str().unwrap_or_default().to_owned();
    Ok(created(&format!("/subscriptions/{id}"), &shown))
}

/// In order; the first failure ends it, earlier ones stay.
async fn create_many(State(portal): State<Portal>, actor: Actor, Whole(body): Whole) -> Result<Response, PortalError> {
    let bodies: Vec<SubscriptionBody> = parse_list(&body)?;
    if bodies.len() > MULTIPLE_MAX {
        return Err(PortalError::BadRequest(format!("At most {MULTIPLE_MAX} subscriptions at once")));
    }
    let mut shown = Vec::with_capacity(bodies.len());
    for body in bodies {
        shown.push(subscribe(&portal, &actor, body).await?);
    }
    Ok(json(StatusCode::OK, &shown))
}

async fn subscribe(portal: &Portal, actor: &Actor, body: SubscriptionBody) -> Result<Value, PortalError> {
    let api = body.check()?.to_owned();
    let now = portal.clock.now();
    let new_uuid = SubscriptionUuid(uuid(&*portal.rng));
    let (state, actor) = (portal.clone(), actor.clone());
    let written = portal.store.write(move |conn| {
        let (state, actor, body) = (state.clone(), actor.clone(), body.clone());
        let (api, new_uuid) = (api.clone(), new_uuid.clone());
        Box::pin(async move {
            // No unique key says "once": the application's row is the lock.
            application_rows::lock(conn, &ApplicationUuid(body.application_id.clone())).await?;
            let application = find_own(conn, &actor, &body.application_id).await?;
            if application.status != "APPROVED" {
                return Err(PortalError::ApplicationNotApproved);
            }
            let api = devportal::find_visible(&state, conn, Some(&actor), (actor.tenant, &api)).await?;
            check_offer(&api.object, &body.throttling_policy, actor.tenant_domain())?;
            let present = rows::list_of_application(conn, application.id).await?;
            if present.iter().any(|it| it.api_id == api.row.id) {
                return Err(PortalError::SubscriptionExists);
            }
            let new = NewSubscription {
                uuid: new_uuid.clone(),
                api_id: api.row.id,
                application_id: application.id,
                policy: body.throttling_policy.clone(),
                status: "UNBLOCKED".to_owned(),
                user: actor.name(),
            };
            rows::insert(conn, &new, now).await?;
            conn.emit(Event::ApplicationChanged { application_id: application.id }, now).await?;
            let subscription = find(conn, &actor, &new_uuid.0).await?;
            show(conn, &subscription).await
        })
    });
    written.await
}

/// May somebody of this tenant subscribe to the API with this policy?
fn check_offer(api: &ApiObject, policy: &str, tenant_domain: &str) -> Result<(), PortalError> {
    if api.status() != Lifecycle::Published {
        return Err(PortalError::no_api(api.id.clone().unwrap_or_default()));
    }
    let refused = |why: &str| Err(PortalError::ForbiddenBecause(why.to_owned()));
    if !api.needs_policies() {
        return refused("Subscription is not allowed for this API");
    }
    let own_domain = apis::domain_of(api.provider.as_deref().unwrap_or_default());
    let is_available = match api.subscription_availability {
        SubscriptionAvailability::Current => own_domain == tenant_domain,
        SubscriptionAvailability::All => true,
        SubscriptionAvailability::Specific => {
            own_domain == tenant_domain || api.subscription_available_tenants.iter().any(|it| it == tenant_domain)
        }
    };
    if !is_available {
        return refused("Subscription is not allowed for tenants other than the API's");
    }
    if !api.policies.iter().any(|offered| offered == policy) {
        return refused("Tier is not allowed for the API");
    }
    Ok(())
}

/// A subscription of the actor's own application.
async fn find(conn: &mut Conn, actor: &Actor, id: &str) -> Result<Subscription, PortalError> {
    let missing = || PortalError::NotFound { resource: Resource::Subscription, id: id.to_owned() };
    let found = rows::find(conn, &SubscriptionUuid(id.to_owned())).await?.ok_or_else(missing)?;
    match find_own(conn, actor, found.application_uuid.as_str()).await {
        Ok(_) => Ok(found),
        Err(PortalError::Forbidden { .. }) => {
            Err(PortalError::Forbidden { resource: Resource::Subscription, id: id.to_owned() })
        }
        Err(PortalError::NotFound { .. }) => Err(missing()),
        Err(error) => Err(error),
    }
}

/// [`find`] as it stands once nobody else changes the subscriptions of its application.
async fn lock_and_find(conn: &mut Conn, actor: &Actor, id: &str) -> Result<Subscription, PortalError> {
    let found = find(conn, actor, id).await?;
    application_rows::lock(conn, &found.application_uuid).await?;
    find(conn, actor, id).await
}

async fn show(conn: &mut Conn, subscription: &Subscription) -> Result<Value, PortalError> {
    let row = api_rows::find_by_id(conn, subscription.api_id).await?;
    let api = match &row {
        Some(row) => apis::find_by_row(conn, row).await?,
        None => None,
    };
    let application = application_rows::find_by_id(conn, subscription.application_id).await?;
    let api_info = api.as_ref().map(|it| {
        object!({"id": it.uuid, "name": it.object.name, "description": it.object.description,
                 "context": it.context.full, "version": it.object.version, "type": it.object.kind,
                 "provider": it.object.provider, "lifeCycleStatus": it.object.life_cycle_status,
                 "thumbnailUri": null, "avgRating": null, "throttlingPolicies": it.object.policies})
    });
    let application_info = application.map(|it| {
        object!({"applicationId": it.uuid, "name": it.name, "throttlingPolicy": it.policy,
                 "description": it.description, "status": it.status, "groups": [], "owner": it.owner})
    });
    Ok(object!({
        "subscriptionId": subscription.uuid, "applicationId": subscription.application_uuid,
        "apiId": api.map(|it| it.uuid), "apiInfo": api_info, "applicationInfo": application_info,
        "throttlingPolicy": subscription.policy,
        "requestedThrottlingPolicy": subscription.pending_policy.as_ref().unwrap_or(&subscription.policy),
        "status": subscription.status, "redirectionParams": null,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListParams {
    api_id: Option<String>,
    application_id: Option<String>,
    limit: Option<i64>,
    offset: Option<i64>,
}

async fn list(
    State(portal): State<Portal>,
    actor: Actor,
    Params(params): Params<ListParams>,
) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let mut found = Vec::new();
    let rest = if let Some(id) = params.application_id.as_deref().filter(|id| !id.is_empty()) {
        let application = find_own(&mut conn, &actor, id).await?;
        found = rows::list_of_application(&mut conn, application.id).await?;
        format!("applicationId={id}")
    } else if let Some(id) = params.api_id.as_deref().filter(|id| !id.is_empty()) {
        let api = apis::find(&mut conn, actor.tenant, id).await?.ok_or_else(|| PortalError::no_api(id))?;
        for subscription in rows::list_of_api(&mut conn, api.row.id).await? {
            if find_own(&mut conn, &actor, subscription.application_uuid.as_str()).await.is_ok() {
                found.push(subscription);
            }
        }
        format!("apiId={id}")
    } else {
        return Err(PortalError::BadRequest("Either applicationId or apiId should be available".to_owned()));
    };
    let paging = Paging { limit: params.limit, offset: params.offset };
    let mut page = Page::of(&found, paging, ("/subscriptions", &rest), Subscription::clone);
    let mut list = Vec::with_capacity(page.list.len());
    for subscription in std::mem::take(&mut page.list) {
        list.push(show(&mut conn, &subscription).await?);
    }
    Ok(json(StatusCode::OK, &Page { count: page.count, list, pagination: page.pagination }))
}

async fn read(State(portal): State<Portal>, actor: Actor, Path(id): Path<String>) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let subscription = find(&mut conn, &actor, &id).await?;
    Ok(json(StatusCode::OK, &show(&mut conn, &subscription).await?))
}

async fn update(
    State(portal): State<Portal>,
    actor: Actor,
    Path(id): Path<String>,
    Whole(body): Whole,
) -> Result<Response, PortalError> {
    let body: SubscriptionBody = parse_body(&body)?;
    body.check()?;
    if matches!(body.status.as_deref(), Some("BLOCKED" | "ON_HOLD" | "REJECTED")) {
        return Err(PortalError::BadRequest("A subscription in this status cannot be updated".to_owned()));
    }
    let wanted = body.requested_throttling_policy.clone().filter(|name| !name.is_empty());
    let wanted = wanted.unwrap_or_else(|| body.throttling_policy.clone());
    let now = portal.clock.now();
    let state = portal.clone();
    let written = portal.store.write(move |conn| {
        let (state, actor, id, wanted) = (state.clone(), actor.clone(), id.clone(), wanted.clone());
        Box::pin(async move {
            let found = lock_and_find(conn, &actor, &id).await?;
            if !matches!(found.status.as_str(), "UNBLOCKED" | "TIER_UPDATE_PENDING") {
                return Err(PortalError::BadRequest("A subscription in this status cannot be updated".to_owned()));
            }
            let row = api_rows::find_by_id(conn, found.api_id).await?.ok_or_else(|| PortalError::no_api(""))?;
            let api = apis::find_by_row(conn, &row).await?.ok_or_else(|| PortalError::no_api(""))?;
            let is_visible = devportal::is_visible(&state, Some(&actor), actor.tenant, &api.object);
            if !is_visible {
                return Err(PortalError::no_api(api.uuid.0));
            }
            check_offer(&api.object, &wanted, actor.tenant_domain())?;
            rows::set_policy(conn, &found.uuid, (&wanted, "UNBLOCKED"), &actor.name(), now).await?;
            conn.emit(Event::ApplicationChanged { application_id: found.application_id }, now).await?;
            let after = find(conn, &actor, &id).await?;
            show(conn, &after).await
        })
    });
    Ok(json(StatusCode::OK, &written.await?))
}

/// A blocked subscription stays: subscribing again would lift the block.
async fn delete(State(portal): State<Portal>, actor: Actor, Path(id): Path<String>) -> Result<Response, PortalError> {
    let now = portal.clock.now();
    let written = portal.store.write(move |conn| {
        let (actor, id) = (actor.clone(), id.clone());
        Box::pin(async move {
            let found = lock_and_find(conn, &actor, &id).await?;
            if matches!(found.status.as_str(), "BLOCKED" | "PROD_ONLY_BLOCKED") {
                let text = "A blocked subscription cannot be deleted";
                return Err(PortalError::ForbiddenBecause(text.to_owned()));
            }
            rows::delete(conn, &found.uuid).await?;
            conn.emit(Event::ApplicationChanged { application_id: found.application_id }, now).await?;
            Ok::<_, PortalError>(())
        })
    });
    written.await?;
    Ok(StatusCode::OK.into_response())
}
