//! How throttling policies are shown (portal-gateway-3x.md 2.6, 3.7).

use super::api_object::UNLIMITED;
use super::error::{PortalError, Resource};
use super::state::Portal;
use claviger_proto::ids::TenantId;
use claviger_store::conn::Conn;
use claviger_store::policies::{self, Level, Policy};
use serde_json::{Map, Value, json};

/// `api`, `subscription` (or as the document misspells it), `application`.
pub fn level(word: &str) -> Option<Level> {
    match word {
        "api" => Some(Level::Api),
        "subscription" | "subcription" => Some(Level::Subscription),
        "application" => Some(Level::Application),
        _ => None,
    }
}

/// The policies of a level; `Unlimited` only when it is offered, `Unauthenticated` never to subscribers.
pub async fn list(
    portal: &Portal,
    conn: &mut Conn,
    tenant: TenantId,
    level: Level,
) -> Result<Vec<Policy>, PortalError> {
    let mut policies = policies::list(conn, tenant, level).await?;
    policies.retain(|it| it.name != UNLIMITED || portal.portal.is_unlimited_offered);
    policies.retain(|it| level != Level::Subscription || it.name != "Unauthenticated");
    Ok(policies)
}

/// One policy by name.
pub async fn find(
    portal: &Portal,
    conn: &mut Conn,
    tenant: TenantId,
    (level, name): (Level, &str),
) -> Result<Policy, PortalError> {
    let mut found = list(portal, conn, tenant, level).await?;
    found.retain(|policy| policy.name == name);
    found.pop().ok_or_else(|| PortalError::NotFound { resource: Resource::Policy, id: name.to_owned() })
}

/// As the publisher sees it.
pub fn for_publisher(policy: &Policy, level: Level) -> Value {
    let is_unlimited = policy.name == UNLIMITED;
    json!({
        "name": policy.name, "description": policy.description, "policyLevel": word(level),
        "displayName": policy.display_name.as_deref().unwrap_or(&policy.name), "attributes": attributes(policy),
        "requestCount": policy.quota, "unitTime": if is_unlimited { 0 } else { policy.unit_time },
        "timeUnit": (!is_unlimited).then_some(&policy.time_unit), "tierPlan": plan(policy),
        "stopOnQuotaReach": stops(policy, level), "monetizationProperties": {},
    })
}

/// As the developer portal sees it.
pub fn for_devportal(policy: &Policy, level: Level) -> Value {
    json!({
        "name": policy.name, "description": policy.description, "policyLevel": word(level).to_lowercase(),
        "attributes": attributes(policy), "requestCount": policy.quota,
        "unitTime": if policy.name == UNLIMITED { 0 } else { policy.unit_time }, "tierPlan": plan(policy),
        "stopOnQuotaReach": stops(policy, level),
        "monetizationAttributes": {"billingType": null, "billingCycle": null, "fixedPrice": null,
                                   "pricePerRequest": null, "currencyType": null},
        "throttlingPolicyPermissions": null,
    })
}

/// The internal tier object of `subscription-policies`.
pub fn tier(policy: &Policy) -> Value {
    json!({
        "name": policy.name, "displayName": policy.display_name.as_deref().unwrap_or(&policy.name),
        "description": policy.description, "tierAttributes": attributes(policy), "requestsPerMin": policy.quota,
        "requestCount": policy.quota, "unitTime": policy.unit_time, "timeUnit": policy.time_unit,
        "tierPlan": plan(policy), "stopOnQuotaReached": policy.is_stopping_on_quota, "tierPermission": null,
        "monetizationAttributes": {},
    })
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Application => "APPLICATION",
        Level::Subscription => "SUBSCRIPTION",
        Level::Api => "API",
    }
}

fn plan(policy: &Policy) -> &str {
    policy.billing_plan.as_deref().filter(|_| policy.name != UNLIMITED).unwrap_or("FREE")
}

fn stops(policy: &Policy, level: Level) -> bool {
    level != Level::Subscription || policy.is_stopping_on_quota
}

/// Custom attributes are a JSON array of name and value.
fn attributes(policy: &Policy) -> Map<String, Value> {
    let list: Vec<Value> =
        policy.attributes.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    list.iter().filter_map(|it| Some((it.get("name")?.as_str()?.to_owned(), it.get("value")?.clone()))).collect()
}
