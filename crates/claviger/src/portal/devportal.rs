//! Developer-portal REST v1: APIs, policies, settings, key managers (portal-gateway-3x.md 3.1, 3.2, 3.7).
//!
//! Owns: what of an API a subscriber sees. Applications, keys and subscriptions have files of their own.

use super::api_object::{ApiObject, Visibility};
use super::apis::{self, ListedApi, LoadedApi};
use super::error::{PortalError, Resource};
use super::lifecycle::State as Lifecycle;
use super::page::{Page, Paging};
use super::params::Params;
use super::publisher::{ListParams, link_query};
use super::reply::json;
use super::search::Query;
use super::state::{Actor, MaybeActor, Portal};
use super::{applications, openapi, policy_views};
use crate::http::access::Rule;
use crate::http::extract::Path;
use crate::http::routes::Routes;
use axum::extract::State;
use axum::response::Response;
use claviger_proto::ids::{SUPER_TENANT_DOMAIN, TenantId};
use claviger_store::conn::Conn;
use claviger_store::policies::Level;
use claviger_store::{policies, tenants};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json as object};
use std::collections::HashMap;

/// The routes of this file.
pub fn routes(routes: Routes) -> Routes {
    const ANY: Rule = Rule::Portal(&[]);
    routes
        .add(Method::GET, "/api/am/store/v1/apis", Rule::PortalOrAnonymous, list)
        .add(Method::GET, "/api/am/store/v1/apis/{id}", Rule::PortalOrAnonymous, read)
        .add(Method::GET, "/api/am/store/v1/apis/{id}/swagger", Rule::PortalOrAnonymous, read_definition)
        .add(Method::GET, "/api/am/store/v1/apis/{id}/subscription-policies", ANY, api_policies)
        .add(Method::GET, "/api/am/store/v1/throttling-policies/{level}", ANY, list_policies)
        .add(Method::GET, "/api/am/store/v1/throttling-policies/{level}/{name}", ANY, read_policy)
        .add(
            Method::GET,
            "/api/am/store/v1/key-managers",
            Rule::Portal(&["apim:subscribe", "apim:app_manage"]),
            key_managers,
        )
        .add(Method::GET, "/api/am/store/v1/tags", Rule::PortalOrAnonymous, tags)
        .add(Method::GET, "/api/am/store/v1/settings", Rule::PortalOrAnonymous, settings)
}

/// The tenant whose portal is looked at: header `X-WSO2-Tenant`, else the caller's, else the super tenant.
async fn viewed_tenant(
    conn: &mut Conn,
    actor: Option<&Actor>,
    headers: &HeaderMap,
) -> Result<(TenantId, String), PortalError> {
    let header = headers.get("x-wso2-tenant").and_then(|value| value.to_str().ok()).map(str::trim);
    match (header.filter(|domain| !domain.is_empty()), actor) {
        (Some(domain), _) => {
            let domain = domain.to_ascii_lowercase();
            let found = tenants::find_by_domain(conn, &domain).await?;
            let id = found.ok_or_else(|| PortalError::UnknownTenant(domain.clone()))?;
            Ok((id, domain))
        }
        (None, Some(actor)) => Ok((actor.tenant, actor.tenant_domain().to_owned())),
        (None, None) => Ok((TenantId::SUPER, SUPER_TENANT_DOMAIN.to_owned())),
    }
}

/// Does this user, or the anonymous one, see the API (3.2)? `tenant` is where the API lives.
pub fn is_visible(portal: &Portal, actor: Option<&Actor>, tenant: TenantId, api: &ApiObject) -> bool {
    let is_offered = match api.status() {
        Lifecycle::Published | Lifecycle::Prototyped => true,
        Lifecycle::Deprecated => portal.portal.is_deprecated_shown,
        Lifecycle::Created | Lifecycle::Blocked | Lifecycle::Retired => false,
    };
    let own = actor.filter(|actor| actor.tenant == tenant);
    let may_see = match api.visibility {
        Visibility::Public => true,
        Visibility::Private => own.is_some(),
        Visibility::Restricted => {
            own.is_some_and(|it| portal.is_admin(it) || api.visible_roles.iter().any(|role| it.has_role(role)))
        }
    };
    is_offered && api.enable_store && may_see
}

/// One API for a subscriber; invisible ones do not exist.
pub async fn find_visible(
    portal: &Portal,
    conn: &mut Conn,
    actor: Option<&Actor>,
    (tenant, id): (TenantId, &str),
) -> Result<LoadedApi, PortalError> {
    let found = apis::find(conn, tenant, id).await?;
    found.filter(|api| is_visible(portal, actor, tenant, &api.object)).ok_or_else(|| PortalError::no_api(id))
}

async fn visible_apis(
    portal: &Portal,
    conn: &mut Conn,
    actor: Option<&Actor>,
    tenant: TenantId,
) -> Result<Vec<ListedApi>, PortalError> {
    let mut found = apis::list(conn, tenant).await?;
    found.retain(|api| is_visible(portal, actor, tenant, &api.object));
    if !portal.portal.are_versions_shown {
        let mut newest: HashMap<(String, String), claviger_proto::ids::ApiId> = HashMap::new();
        for api in &found {
            let newest = newest.entry((api.row.provider.clone(), api.row.name.clone())).or_insert(api.row.id);
            *newest = (*newest).max(api.row.id);
        }
        found.retain(|api| newest.get(&(api.row.provider.clone(), api.row.name.clone())) == Some(&api.row.id));
    }
    Ok(found)
}

async fn list(
    State(portal): State<Portal>,
    MaybeActor(actor): MaybeActor,
    headers: HeaderMap,
    Params(params): Params<ListParams>,
) -> Result<Response, PortalError> {
    let query = Query::parse(params.query())?;
    applications::welcome(&portal, actor.as_ref()).await?;
    let mut conn = portal.store.reader().await?;
    let (tenant, _) = viewed_tenant(&mut conn, actor.as_ref(), &headers).await?;
    let mut found = visible_apis(&portal, &mut conn, actor.as_ref(), tenant).await?;
    found.retain(|api| query.matches(&api.object));
    let rest = link_query(params.query());
    Ok(json(StatusCode::OK, &Page::of(&found, params.paging(), ("/apis", &rest), list_item)))
}

fn list_item(api: &ListedApi) -> Value {
    let it = &api.object;
    object!({
        "id": api.uuid, "name": it.name, "description": it.description, "context": api.context.row_template,
        "version": it.version, "type": it.kind, "provider": it.provider, "lifeCycleStatus": it.life_cycle_status,
        "thumbnailUri": it.has_thumbnail.then(|| format!("/apis/{}/thumbnail", api.uuid)), "avgRating": "0.0",
        "throttlingPolicies": it.policies, "advertiseInfo": not_advertised(), "monetizationLabel": "FREE",
        "businessInformation": it.business_information,
        "isSubscriptionAvailable": it.status() == Lifecycle::Published && it.needs_policies(),
    })
}

fn not_advertised() -> Value {
    object!({"advertised": false, "originalStoreUrl": null, "apiOwner": null})
}

async fn read(
    State(portal): State<Portal>,
    MaybeActor(actor): MaybeActor,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let (tenant, _) = viewed_tenant(&mut conn, actor.as_ref(), &headers).await?;
    let api = find_visible(&portal, &mut conn, actor.as_ref(), (tenant, &id)).await?;
    let policies = policy_views::list(&portal, &mut conn, tenant, Level::Subscription).await?;
    let tiers: Vec<Value> = policies
        .iter()
        .filter(|policy| api.object.policies.contains(&policy.name))
        .map(|policy| {
            let plan = policy.billing_plan.as_deref().unwrap_or("FREE");
            object!({"tierName": policy.name, "tierPlan": plan, "monetizationAttributes": null})
        })
        .collect();
    Ok(json(StatusCode::OK, &show(&portal, &api, &tiers)))
}

fn show(portal: &Portal, api: &LoadedApi, tiers: &[Value]) -> Value {
    let it = &api.object;
    let operations: Vec<Value> =
        it.operations.iter().map(|op| object!({"id": op.id, "target": op.target, "verb": op.verb})).collect();
    let scopes: Vec<Value> = it
        .scopes
        .iter()
        .map(|entry| &entry.scope)
        .map(|scope| {
            object!({"key": scope.name, "name": scope.display_name, "roles": scope.bindings,
                     "description": scope.description})
        })
        .collect();
    let environments: Vec<&String> = environments_of(portal, it).map(|environment| &environment.name).collect();
    object!({
        "id": api.uuid, "name": it.name, "description": it.description, "context": api.context.full,
        "version": it.version, "provider": it.provider, "apiDefinition": definition(portal, api).to_string(),
        "wsdlUri": null, "lifeCycleStatus": it.life_cycle_status, "isDefaultVersion": it.is_default_version,
        "type": it.kind, "transport": it.transport, "operations": operations,
        "authorizationHeader": it.authorization_header, "securityScheme": it.security_scheme, "tags": it.tags,
        "tiers": tiers, "hasThumbnail": it.has_thumbnail, "additionalProperties": it.additional_properties,
        "monetization": null, "ingressURLs": [], "endpointURLs": endpoint_urls(portal, api),
        "businessInformation": it.business_information, "labels": [], "environmentList": environments,
        "scopes": scopes, "avgRating": "0.0", "advertiseInfo": not_advertised(),
        "isSubscriptionAvailable": it.status() == Lifecycle::Published && it.needs_policies(),
        "categories": it.categories, "keyManagers": it.key_managers,
    })
}

fn environments_of<'a>(portal: &'a Portal, api: &'a ApiObject) -> impl Iterator<Item = &'a super::state::Environment> {
    portal.portal.environments.iter().filter(|environment| api.gateway_environments.contains(&environment.name))
}

fn endpoint_urls(portal: &Portal, api: &LoadedApi) -> Vec<Value> {
    let urls = |environment: &super::state::Environment, context: &str| {
        let url = |scheme: &str, base: &str| {
            let is_enabled = api.object.transport.iter().any(|transport| transport == scheme);
            is_enabled.then(|| format!("{}{context}", base.trim_end_matches('/')))
        };
        object!({"http": url("http", &environment.http_url), "https": url("https", &environment.https_url),
                 "ws": null, "wss": null})
    };
    environments_of(portal, &api.object)
        .map(|environment| {
            let default = api.object.is_default_version.then(|| urls(environment, &api.context.default_context()));
            let none = || object!({"http": null, "https": null, "ws": null, "wss": null});
            object!({"environmentName": environment.name, "environmentType": environment.kind,
                     "URLs": urls(environment, &api.context.full), "defaultVersionURLs": default.unwrap_or_else(none)})
        })
        .collect()
}

/// The definition with the gateway's URLs in place of the backend's.
fn definition(portal: &Portal, api: &LoadedApi) -> Value {
    let mut servers = Vec::new();
    for environment in environments_of(portal, &api.object) {
        for (scheme, base) in [("https", &environment.https_url), ("http", &environment.http_url)] {
            if api.object.transport.iter().any(|transport| transport == scheme) {
                servers.push(format!("{}{}", base.trim_end_matches('/'), api.context.full));
            }
        }
    }
    let gateway = portal.portal.environments.first().map(|it| it.https_url.trim_end_matches('/')).unwrap_or_default();
    openapi::devportal_view(&api.definition, &servers, &format!("{gateway}/authorize"))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the words of the wire")]
struct DefinitionParams {
    environment_name: Option<String>,
    label_name: Option<String>,
    cluster_name: Option<String>,
}

async fn read_definition(
    State(portal): State<Portal>,
    MaybeActor(actor): MaybeActor,
    headers: HeaderMap,
    Path(id): Path<String>,
    Params(params): Params<DefinitionParams>,
) -> Result<Response, PortalError> {
    let places = [&params.environment_name, &params.label_name, &params.cluster_name];
    if places.iter().filter(|place| place.as_deref().is_some_and(|name| !name.is_empty())).count() > 1 {
        return Err(PortalError::BadRequest(
            "Only one of environmentName, labelName and clusterName may be given".into(),
        ));
    }
    let mut conn = portal.store.reader().await?;
    let (tenant, _) = viewed_tenant(&mut conn, actor.as_ref(), &headers).await?;
    let api = find_visible(&portal, &mut conn, actor.as_ref(), (tenant, &id)).await?;
    Ok(json(StatusCode::OK, &definition(&portal, &api)))
}

async fn api_policies(
    State(portal): State<Portal>,
    actor: Actor,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let (tenant, _) = viewed_tenant(&mut conn, Some(&actor), &headers).await?;
    let api = find_visible(&portal, &mut conn, Some(&actor), (tenant, &id)).await?;
    let all = policy_views::list(&portal, &mut conn, tenant, Level::Subscription).await?;
    let own: Vec<Value> =
        all.iter().filter(|policy| api.object.policies.contains(&policy.name)).map(policy_views::tier).collect();
    Ok(json(StatusCode::OK, &own))
}

fn store_level(word: &str) -> Result<Level, PortalError> {
    policy_views::level(word)
        .filter(|level| *level != Level::Api)
        .ok_or_else(|| PortalError::NotFound { resource: Resource::Policy, id: word.to_owned() })
}

async fn list_policies(
    State(portal): State<Portal>,
    actor: Actor,
    headers: HeaderMap,
    Path(word): Path<String>,
    Params(paging): Params<Paging>,
) -> Result<Response, PortalError> {
    let level = store_level(&word)?;
    let mut conn = portal.store.reader().await?;
    let (tenant, _) = viewed_tenant(&mut conn, Some(&actor), &headers).await?;
    let all = policy_views::list(&portal, &mut conn, tenant, level).await?;
    let path = format!("/throttling-policies/{word}");
    let page = Page::of(&all, paging, (&path, ""), |policy| policy_views::for_devportal(policy, level));
    Ok(json(StatusCode::OK, &page))
}

async fn read_policy(
    State(portal): State<Portal>,
    actor: Actor,
    headers: HeaderMap,
    Path((word, name)): Path<(String, String)>,
) -> Result<Response, PortalError> {
    let level = store_level(&word)?;
    let mut conn = portal.store.reader().await?;
    let (tenant, _) = viewed_tenant(&mut conn, Some(&actor), &headers).await?;
    let policy = policy_views::find(&portal, &mut conn, tenant, (level, &name)).await?;
    Ok(json(StatusCode::OK, &policy_views::for_devportal(&policy, level)))
}

async fn key_managers(State(portal): State<Portal>, actor: Actor) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let settings = &portal.portal;
    let list: Vec<Value> = policies::list_key_managers(&mut conn, actor.tenant_domain())
        .await?
        .iter()
        .filter(|it| it.is_enabled)
        .map(|it| {
            object!({
                "id": it.uuid, "name": it.name, "type": it.kind, "displayName": it.display_name,
                "description": it.description, "enabled": it.is_enabled, "availableGrantTypes": settings.grant_types,
                "tokenEndpoint": settings.token_endpoint, "revokeEndpoint": settings.revoke_endpoint,
                "userInfoEndpoint": settings.userinfo_endpoint, "enableTokenGeneration": true,
                "enableTokenEncryption": false, "enableTokenHashing": false, "enableOAuthAppCreation": true,
                "enableMapOAuthConsumerApps": false, "applicationConfiguration": [], "additionalProperties": {},
            })
        })
        .collect();
    Ok(json(StatusCode::OK, &object!({"count": list.len(), "list": list})))
}

async fn tags(
    State(portal): State<Portal>,
    MaybeActor(actor): MaybeActor,
    headers: HeaderMap,
    Params(paging): Params<Paging>,
) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let (tenant, _) = viewed_tenant(&mut conn, actor.as_ref(), &headers).await?;
    let mut counts: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for api in visible_apis(&portal, &mut conn, actor.as_ref(), tenant).await? {
        for tag in api.object.tags {
            *counts.entry(tag).or_default() += 1;
        }
    }
    let counts: Vec<(String, usize)> = counts.into_iter().collect();
    let page = Page::of(&counts, paging, ("/tags", ""), |(value, count)| object!({"value": value, "count": count}));
    Ok(json(StatusCode::OK, &page))
}

async fn settings(State(portal): State<Portal>, MaybeActor(actor): MaybeActor) -> Result<Response, PortalError> {
    let settings = &portal.portal;
    let mut body = object!({
        "scopes": ["apim:subscribe", "apim:app_manage", "apim:sub_manage", "apim:api_key", "apim:store_settings"],
        "applicationSharingEnabled": false, "mapExistingAuthApps": false, "monetizationEnabled": false,
        "recommendationEnabled": false, "IsUnlimitedTierPaid": false, "identityProvider": {"external": false},
        "IsAnonymousModeEnabled": true, "IsPasswordChangeEnabled": false, "userStorePasswordPattern": null,
        "passwordPolicyPattern": null, "passwordPolicyMinLength": -1, "passwordPolicyMaxLength": -1,
    });
    if actor.is_some() {
        body["grantTypes"] = object!(settings.grant_types);
        let endpoints: Vec<String> =
            settings.environments.iter().map(|it| format!("{},{}", it.http_url, it.https_url)).collect();
        body["apiGatewayEndpoint"] = object!(endpoints.join(","));
    }
    Ok(json(StatusCode::OK, &body))
}
