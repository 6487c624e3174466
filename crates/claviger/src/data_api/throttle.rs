//! What a gateway refuses without asking anybody: `/revokedjwt`, `/block`, `/keyTemplates`, `/throttle`, and the lists that are
//! empty here (rest-3x.md 5.4; soap-thrift-2x.md 9.1, Appendix D). Bare arrays, objects and texts.
//!
//! `/throttle/data/v1` answers the same to gateways of 2.x to 3.1, in the forms of their release: the shape of addresses follows
//! from the tables.

use super::{OldRequest, Params, Request, refuse};
use crate::http::reply;
use axum::http::StatusCode;
use axum::response::Response;
use claviger_proto::ids::TenantId;
use claviger_store::capability::Capability;
use claviger_store::error::StoreError;
use claviger_store::revocations;
use claviger_store::throttling::{self, BlockCondition};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(Serialize)]
struct RevokedView {
    jwt_signature: String,
    /// Epoch milliseconds.
    expiry_time: i64,
}

/// `GET /internal/data/v1/revokedjwt`.
pub(super) async fn revoked(request: Request) -> Response {
    let found = find_revoked(&request).await;
    request.answer(found).await
}

/// `GET /throttle/data/v1/revokedjwt`, since 3.0.
pub(super) async fn old_revoked(OldRequest(request): OldRequest) -> Response {
    if request.app.store.capabilities().has(Capability::RevokedJwt) {
        revoked(request).await
    } else {
        refuse(StatusCode::NOT_FOUND, "Before 3.0 there is no list of revoked tokens")
    }
}

async fn find_revoked(request: &Request) -> Result<Vec<RevokedView>, StoreError> {
    let mut conn = request.app.store.reader().await?;
    let ended_before = request.app.oauth.settings.ended_before(request.app.clock.now());
    let mut listed = revocations::list_jwts(&mut conn, ended_before).await?;
    listed.retain(|row| request.concerns(|tenant, _| row.tenant_id == tenant));
    let view =
        |row: revocations::ListedJwt| RevokedView { jwt_signature: row.name, expiry_time: row.expires_at.as_millis() };
    Ok(listed.into_iter().map(view).collect())
}

/// Conditions by their kind. The arrays are all there when they are empty: a gateway's loader breaks on a missing one.
#[derive(Serialize)]
struct BlocksView {
    api: Vec<String>,
    application: Vec<String>,
    ip: Vec<AddressView>,
    user: Vec<String>,
    custom: Vec<String>,
    /// Since 3.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AddressView {
    /// Up to 3.0: `carbon.super:10.1.2.3`.
    Text(String),
    /// Since 3.1.
    Object(AddressObject),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AddressObject {
    id: i64,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starting_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_ip: Option<String>,
    invert: bool,
    tenant_domain: String,
}

impl AddressObject {
    /// The value is JSON; before 3.1 it was the address itself.
    fn new(block: BlockCondition) -> Self {
        let value = serde_json::from_str::<Value>(&block.value).unwrap_or(Value::Null);
        let member = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let (starting_ip, ending_ip) = (member("startingIp"), member("endingIp"));
        let is_invert = |value: &Value| value.as_bool().unwrap_or(value.as_str() == Some("true"));
        let fixed_ip = match &value {
            Value::Object(_) => member("fixedIp"),
            Value::String(address) => Some(address.clone()),
            _ => Some(block.value),
        };
        Self {
            id: block.id,
            kind: if starting_ip.is_some() { "IPRANGE" } else { "IP" },
            fixed_ip,
            starting_ip,
            ending_ip,
            invert: value.get("invert").is_some_and(is_invert),
            tenant_domain: block.tenant_domain,
        }
    }
}

/// How a release shows conditions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    UpTo3_0,
    Of3_1,
    Of3_2,
}

/// `GET /internal/data/v1/block`.
pub(super) async fn blocks(request: Request) -> Response {
    let found = find_blocks(&request, Shape::Of3_2).await;
    request.answer(found).await
}

/// `GET /throttle/data/v1/block`.
pub(super) async fn old_blocks(OldRequest(request): OldRequest) -> Response {
    let has_objects = request.app.store.capabilities().has(Capability::ApiCategory);
    let shape = if has_objects { Shape::Of3_1 } else { Shape::UpTo3_0 };
    let found = find_blocks(&request, shape).await;
    request.answer(found).await
}

async fn find_blocks(request: &Request, shape: Shape) -> Result<BlocksView, StoreError> {
    let mut conn = request.app.store.reader().await?;
    let mut view = BlocksView {
        api: Vec::new(),
        application: Vec::new(),
        ip: Vec::new(),
        user: Vec::new(),
        custom: Vec::new(),
        subscription: None,
    };
    let mut subscriptions = Vec::new();
    for block in throttling::list_blocks(&mut conn).await? {
        if !request.concerns(|_, domain| block.tenant_domain.eq_ignore_ascii_case(domain)) {
            continue;
        }
        match block.kind.to_ascii_uppercase().as_str() {
            "API" => view.api.push(block.value),
            "APPLICATION" => view.application.push(block.value),
            "USER" => view.user.push(block.value),
            "CUSTOM" => view.custom.push(block.value),
            "SUBSCRIPTION" => subscriptions.push(block.value),
            "IP" | "IPRANGE" => view.ip.push(match shape {
                Shape::UpTo3_0 => AddressView::Text(format!("{}:{}", block.tenant_domain, block.value)),
                Shape::Of3_1 | Shape::Of3_2 => AddressView::Object(AddressObject::new(block)),
            }),
            _ => tracing::warn!(
                condition = block.id,
                kind = block.kind,
                "a deny condition of an unknown kind is told to no gateway"
            ),
        }
    }
    view.subscription = (shape == Shape::Of3_2).then_some(subscriptions);
    Ok(view)
}

/// `GET /internal/data/v1/keyTemplates`.
pub(super) async fn key_templates(request: Request) -> Response {
    let found = find_key_templates(&request).await;
    request.answer(found).await
}

/// `GET /throttle/data/v1/keyTemplates`.
pub(super) async fn old_key_templates(OldRequest(request): OldRequest) -> Response {
    key_templates(request).await
}

/// A tenant's gateways are told the super tenant's too: its custom rules are everybody's.
async fn find_key_templates(request: &Request) -> Result<BTreeSet<String>, StoreError> {
    let mut conn = request.app.store.reader().await?;
    let found = throttling::list_key_templates(&mut conn).await?;
    let is_meant = |of_row: TenantId| request.concerns(|tenant, _| of_row == tenant || of_row == TenantId::SUPER);
    Ok(found.into_iter().filter(|(_, tenant)| is_meant(*tenant)).map(|(template, _)| template).collect())
}

#[derive(Deserialize)]
pub(super) struct DecisionParams {
    #[serde(default)]
    query: String,
}

/// `GET /throttle`: the keys that are throttled at the moment. Decisions are not kept in a table here, and gateways are told them
/// as they are made; none of any release asks for them.
pub(super) async fn decisions(_: Request) -> Response {
    reply::json(StatusCode::OK, &json!([]))
}

/// The same as one text.
pub(super) async fn decisions_as_text(_: Request) -> Response {
    reply::json(StatusCode::OK, &"")
}

/// `GET /isThrottled`: of one key.
pub(super) async fn decision(_: Request, Params(params): Params<DecisionParams>) -> Response {
    let none = json!({ "throttle_key": params.query, "last_updated_time": 0, "throttle_state": "false" });
    reply::json(StatusCode::OK, &none)
}

pub(super) async fn old_decisions(OldRequest(request): OldRequest) -> Response {
    decisions(request).await
}

pub(super) async fn old_decisions_as_text(OldRequest(request): OldRequest) -> Response {
    decisions_as_text(request).await
}

pub(super) async fn old_decision(OldRequest(request): OldRequest, params: Params<DecisionParams>) -> Response {
    decision(request, params).await
}

/// `GET /webhooks-subscriptions`: there are no webhooks on the tables of 3.2.
pub(super) async fn webhooks(_: Request) -> Response {
    reply::json(StatusCode::OK, &json!({ "count": 0, "list": [] }))
}

/// `GET /endpoint-certificates`: none where none was ever uploaded. Those that an old server took are in its key store, and a
/// gateway that was told of none would trust no such backend.
pub(super) async fn certificates(request: Request) -> Response {
    match has_certificates(&request).await {
        Ok(false) => reply::json(StatusCode::OK, &json!({ "count": 0, "list": [] })),
        Ok(true) => refuse(
            StatusCode::NOT_FOUND,
            "The certificates of backends are in the key store of the server that took them",
        ),
        Err(error) => reply::store_failure(&error),
    }
}

async fn has_certificates(request: &Request) -> Result<bool, StoreError> {
    let mut conn = request.app.store.reader().await?;
    for (tenant, _) in request.listed_tenants(&mut conn).await? {
        if !throttling::list_certificates(&mut conn, tenant).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
