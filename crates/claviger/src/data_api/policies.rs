//! The throttling policies of the four levels, and the scopes (rest-3x.md 5.4).

use super::{Listing, Params, Request};
use axum::response::Response;
use claviger_proto::ids::TenantId;
use claviger_store::error::StoreError;
use claviger_store::policies::{self, Level, Policy};
use claviger_store::scopes::{self, Kind, Scope};
use claviger_store::throttling::{self, Condition, ConditionGroup, GlobalPolicy, Subject};
use serde::{Deserialize, Serialize};

/// Most scopes of a tenant that are told.
const SCOPES_MAX: i64 = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyParams {
    policy_name: Option<String>,
}

impl PolicyParams {
    fn is_meant(&self, name: &str) -> bool {
        self.policy_name.as_ref().is_none_or(|wanted| wanted.is_empty() || wanted == name)
    }
}

/// The members that every policy has.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyView {
    id: i64,
    tenant_id: i64,
    tenant_domain: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_limit: Option<LimitView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LimitView {
    quota_type: String,
    #[serde(flatten)]
    amount: Amount,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Amount {
    #[serde(rename_all = "camelCase")]
    RequestCount { time_unit: String, unit_time: i64, request_count: i64 },
    #[serde(rename_all = "camelCase")]
    Bandwidth { time_unit: String, unit_time: i64, data_amount: i64, data_unit: String },
    #[serde(rename_all = "camelCase")]
    EventCount { time_unit: String, unit_time: i64, event_count: i64 },
}

/// A limit as policies and condition groups have it in their columns.
struct Limit<'a> {
    quota_type: &'a str,
    quota: i64,
    quota_unit: Option<&'a str>,
    unit_time: i64,
    time_unit: &'a str,
}

impl Limit<'_> {
    fn view(&self) -> LimitView {
        let (time_unit, unit_time) = (self.time_unit.to_owned(), self.unit_time);
        let amount = match self.quota_type {
            "bandwidthVolume" => {
                let data_unit = self.quota_unit.unwrap_or("KB").to_owned();
                Amount::Bandwidth { time_unit, unit_time, data_amount: self.quota, data_unit }
            }
            "eventCount" => Amount::EventCount { time_unit, unit_time, event_count: self.quota },
            _ => Amount::RequestCount { time_unit, unit_time, request_count: self.quota },
        };
        LimitView { quota_type: self.quota_type.to_owned(), amount }
    }
}

impl PolicyView {
    fn new(policy: &Policy, (tenant, domain): &(TenantId, String)) -> Self {
        let limit = Limit {
            quota_type: &policy.quota_type,
            quota: policy.quota,
            quota_unit: policy.quota_unit.as_deref(),
            unit_time: policy.unit_time,
            time_unit: &policy.time_unit,
        };
        Self {
            id: policy.id,
            tenant_id: tenant.0,
            tenant_domain: domain.clone(),
            name: policy.name.clone(),
            quota_type: Some(policy.quota_type.clone()),
            default_limit: Some(limit.view()),
        }
    }
}

/// `GET /application-policies`.
pub(super) async fn list_application(request: Request, Params(params): Params<PolicyParams>) -> Response {
    let found = find(&request, &params, Level::Application, |policy, tenant| PolicyView::new(&policy, tenant)).await;
    request.answer(found.map(Listing::from)).await
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionPolicyView {
    #[serde(flatten)]
    policy: PolicyView,
    #[serde(rename = "graphQLMaxComplexity")]
    complexity_max: i64,
    #[serde(rename = "graphQLMaxDepth")]
    depth_max: i64,
    rate_limit_count: i64,
    rate_limit_time_unit: Option<String>,
    stop_on_quota_reach: bool,
}

/// `GET /subscription-policies`.
pub(super) async fn list_subscription(request: Request, Params(params): Params<PolicyParams>) -> Response {
    let view = |policy: Policy, tenant: &(TenantId, String)| SubscriptionPolicyView {
        policy: PolicyView::new(&policy, tenant),
        complexity_max: policy.bounds.complexity_max,
        depth_max: policy.bounds.depth_max,
        rate_limit_count: policy.bounds.rate_count.unwrap_or(0),
        rate_limit_time_unit: policy.bounds.rate_time_unit,
        stop_on_quota_reach: policy.is_stopping_on_quota,
    };
    let found = find(&request, &params, Level::Subscription, view).await;
    request.answer(found.map(Listing::from)).await
}

async fn find<T>(
    request: &Request,
    params: &PolicyParams,
    level: Level,
    view: impl Fn(Policy, &(TenantId, String)) -> T,
) -> Result<Vec<T>, StoreError> {
    let mut conn = request.app.store.reader().await?;
    let mut views = Vec::new();
    for tenant in request.listed_tenants(&mut conn).await? {
        let found = policies::list(&mut conn, tenant.0, level).await?;
        let meant = found.into_iter().filter(|policy| params.is_meant(&policy.name));
        views.extend(meant.map(|policy| view(policy, &tenant)));
    }
    Ok(views)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiPolicyView {
    #[serde(flatten)]
    policy: PolicyView,
    applicable_level: Option<String>,
    condition_groups: Vec<GroupView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupView {
    policy_id: i64,
    condition_group_id: i64,
    quota_type: String,
    condition: Vec<ConditionView>,
    default_limit: LimitView,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConditionView {
    condition_type: &'static str,
    name: String,
    value: String,
    is_inverted: bool,
}

impl From<ConditionGroup> for GroupView {
    fn from(group: ConditionGroup) -> Self {
        let limit = Limit {
            quota_type: &group.quota_type,
            quota: group.quota,
            quota_unit: group.quota_unit.as_deref(),
            unit_time: group.unit_time,
            time_unit: &group.time_unit,
        };
        Self {
            policy_id: group.policy_id,
            condition_group_id: group.id,
            default_limit: limit.view(),
            quota_type: group.quota_type,
            condition: group.conditions.into_iter().map(ConditionView::from).collect(),
        }
    }
}

/// The names of the kinds are those of the product's own objects, as the traffic manager compares them.
impl From<Condition> for ConditionView {
    fn from(condition: Condition) -> Self {
        const ONE_ADDRESS: &str = "IPSpecific";
        let (condition_type, name, value) = match condition.subject {
            Subject::Ip(address) => (ONE_ADDRESS, ONE_ADDRESS.to_owned(), address),
            Subject::IpRange(first, last) => ("IPRange", first, last),
            Subject::Header(name, value) => ("Header", name, value),
            Subject::Query(name, value) => ("QueryParameterType", name, value),
            Subject::Claim(name, value) => ("JWTClaims", name, value),
        };
        Self { condition_type, name, value, is_inverted: condition.is_inverted }
    }
}

/// `GET /api-policies`.
pub(super) async fn list_api(request: Request, Params(params): Params<PolicyParams>) -> Response {
    let found = find_api(&request, &params).await;
    request.answer(found.map(Listing::from)).await
}

async fn find_api(request: &Request, params: &PolicyParams) -> Result<Vec<ApiPolicyView>, StoreError> {
    let mut conn = request.app.store.reader().await?;
    let mut views = Vec::new();
    for tenant in request.listed_tenants(&mut conn).await? {
        let mut groups = throttling::list_condition_groups(&mut conn, tenant.0).await?;
        for policy in policies::list(&mut conn, tenant.0, Level::Api).await? {
            if params.is_meant(&policy.name) {
                let of_policy = groups.remove(&policy.id).unwrap_or_default();
                views.push(ApiPolicyView {
                    policy: PolicyView::new(&policy, &tenant),
                    applicable_level: policy.applicable_level,
                    condition_groups: of_policy.into_iter().map(GroupView::from).collect(),
                });
            }
        }
    }
    Ok(views)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GlobalPolicyView {
    #[serde(flatten)]
    policy: PolicyView,
    siddhi_query: String,
    key_template: String,
}

/// `GET /global-policies`.
pub(super) async fn list_global(request: Request, Params(params): Params<PolicyParams>) -> Response {
    let found = find_global(&request, &params).await;
    request.answer(found.map(Listing::from)).await
}

async fn find_global(request: &Request, params: &PolicyParams) -> Result<Vec<GlobalPolicyView>, StoreError> {
    let mut conn = request.app.store.reader().await?;
    let mut views = Vec::new();
    for (tenant, domain) in request.listed_tenants(&mut conn).await? {
        let found = throttling::list_global(&mut conn, tenant).await?;
        let view = |rule: GlobalPolicy| GlobalPolicyView {
            policy: PolicyView {
                id: rule.id,
                tenant_id: tenant.0,
                tenant_domain: domain.clone(),
                name: rule.name,
                quota_type: None,
                default_limit: None,
            },
            siddhi_query: rule.query.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default(),
            key_template: rule.key_template,
        };
        views.extend(found.into_iter().filter(|rule| params.is_meant(&rule.name)).map(view));
    }
    Ok(views)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScopeParams {
    scope_key: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeView {
    name: String,
    display_name: String,
    description: Option<String>,
    roles: Vec<String>,
}

impl From<Scope> for ScopeView {
    fn from(scope: Scope) -> Self {
        Self { name: scope.name, display_name: scope.display_name, description: scope.description, roles: scope.roles }
    }
}

/// `GET /scopes`: those of the key manager that is this server.
pub(super) async fn list_scopes(request: Request, Params(params): Params<ScopeParams>) -> Response {
    let found = find_scopes(&request, &params).await;
    request.answer(found.map(Listing::from)).await
}

async fn find_scopes(request: &Request, params: &ScopeParams) -> Result<Vec<ScopeView>, StoreError> {
    let mut conn = request.app.store.reader().await?;
    let mut views = Vec::new();
    for (tenant, _) in request.listed_tenants(&mut conn).await? {
        if let Some(key) = params.scope_key.as_deref().filter(|key| !key.is_empty()) {
            views.extend(scopes::find(&mut conn, tenant, key).await?.map(ScopeView::from));
        } else {
            let found = scopes::list(&mut conn, tenant, Kind::OAuth, SCOPES_MAX).await?;
            views.extend(found.into_iter().map(ScopeView::from));
        }
    }
    Ok(views)
}
