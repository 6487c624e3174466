//! What gateways of API Manager load, and what key managers tell us: `/internal/data/v1` of 3.2 and 4.x, and `/throttle/data/v1`
//! of 2.x to 3.1 (contract rest-3x.md 5.2 to 5.4; soap-thrift-2x.md 9.1, Appendix D).
//!
//! One answer has the members of 3.2 and of 4.x together. Each list is a few statements whatever its length. Owns the mapping and
//! the error object; the rows are the store's, revocations are told to our own gateways by the event log as any other. What our
//! own gateways are fed is `gateway_feed`'s.

mod apis;
mod applications;
mod asked;
mod gzip;
mod key_managers;
mod notification;
mod notify;
mod policies;
mod throttle;

use crate::app::App;
use crate::http::access::{ADMINISTER, Caller, Rule};
use crate::http::reply;
use crate::http::routes::Routes;
use asked::{Asked, NotAsked};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use claviger_proto::ids::{SUPER_TENANT_DOMAIN, TenantId};
use claviger_store::capability::Capability;
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::tenants;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The routes of both paths.
pub fn routes(routes: Routes) -> Routes {
    const GATEWAY: Rule = Rule::TenantAdministrator;
    // Who says what is revoked speaks for every tenant.
    const KEY_MANAGER: Rule = Rule::Permission(ADMINISTER);
    routes
        .add(Method::GET, "/internal/data/v1/apis", GATEWAY, apis::list)
        .add(Method::GET, "/internal/data/v1/applications", GATEWAY, applications::list)
        .add(Method::GET, "/internal/data/v1/subscriptions", GATEWAY, applications::list_subscriptions)
        .add(Method::GET, "/internal/data/v1/application-key-mappings", GATEWAY, applications::list_keys)
        .add(Method::GET, "/internal/data/v1/subscription-policies", GATEWAY, policies::list_subscription)
        .add(Method::GET, "/internal/data/v1/application-policies", GATEWAY, policies::list_application)
        .add(Method::GET, "/internal/data/v1/api-policies", GATEWAY, policies::list_api)
        .add(Method::GET, "/internal/data/v1/global-policies", GATEWAY, policies::list_global)
        .add(Method::GET, "/internal/data/v1/scopes", GATEWAY, policies::list_scopes)
        .add(Method::GET, "/internal/data/v1/keymanagers", GATEWAY, key_managers::list)
        .add(Method::GET, "/internal/data/v1/revokedjwt", GATEWAY, throttle::revoked)
        .add(Method::GET, "/internal/data/v1/block", GATEWAY, throttle::blocks)
        .add(Method::GET, "/internal/data/v1/keyTemplates", GATEWAY, throttle::key_templates)
        .add(Method::GET, "/internal/data/v1/throttle", GATEWAY, throttle::decisions)
        .add(Method::GET, "/internal/data/v1/throttleAsString", GATEWAY, throttle::decisions_as_text)
        .add(Method::GET, "/internal/data/v1/isThrottled", GATEWAY, throttle::decision)
        .add(Method::GET, "/internal/data/v1/webhooks-subscriptions", GATEWAY, throttle::webhooks)
        .add(Method::GET, "/internal/data/v1/endpoint-certificates", GATEWAY, throttle::certificates)
        .add(Method::GET, "/internal/data/v1/synapse-artifacts", GATEWAY, no_artifacts)
        .add(Method::GET, "/internal/data/v1/gateway-synapse-artifacts", GATEWAY, no_artifacts)
        .add(Method::GET, "/internal/data/v1/synapse-attributes", GATEWAY, no_artifacts)
        .add(Method::GET, "/internal/data/v1/runtime-artifacts", GATEWAY, no_artifacts)
        .add(Method::GET, "/internal/data/v1/runtime-metadata", GATEWAY, no_artifacts)
        .add(Method::POST, "/internal/data/v1/retrieve-api-artifacts", GATEWAY, no_artifacts)
        .add(Method::POST, "/internal/data/v1/notify", KEY_MANAGER, notify::notify)
        .add(Method::GET, "/throttle/data/v1/block", GATEWAY, throttle::old_blocks)
        .add(Method::GET, "/throttle/data/v1/keyTemplates", GATEWAY, throttle::old_key_templates)
        .add(Method::GET, "/throttle/data/v1/throttle", GATEWAY, throttle::old_decisions)
        .add(Method::GET, "/throttle/data/v1/throttleAsString", GATEWAY, throttle::old_decisions_as_text)
        .add(Method::GET, "/throttle/data/v1/isThrottled", GATEWAY, throttle::old_decision)
        .add(Method::GET, "/throttle/data/v1/revokedjwt", GATEWAY, throttle::old_revoked)
}

/// What a request is about: the state, on tables that have what is asked for, and whose objects.
struct Request {
    app: Arc<App>,
    asked: Asked,
    headers: HeaderMap,
}

/// [`Request`] on tables of any release: for the paths of 2.x to 3.1.
struct OldRequest(Request);

impl Request {
    async fn new(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let asked = match asked::asked(app, &caller.principal, &parts.headers).await {
            Ok(asked) => asked,
            Err(NotAsked::Refused) => return Err(reply::portal_unauthenticated()),
            Err(NotAsked::Unknown(domain)) => {
                return Err(refuse(StatusCode::NOT_FOUND, &format!("invalid tenant domain : {domain}")));
            }
            Err(NotAsked::Store(error)) => return Err(reply::store_failure(&error)),
        };
        Ok(Self { app: app.clone(), asked, headers: parts.headers.clone() })
    }

    /// The tenants whose lists are meant.
    async fn listed_tenants(&self, conn: &mut Conn) -> Result<Vec<(TenantId, String)>, StoreError> {
        match &self.asked {
            Asked::Unnamed => Ok(vec![(TenantId::SUPER, SUPER_TENANT_DOMAIN.to_owned())]),
            Asked::One(id, domain) => Ok(vec![(*id, domain.clone())]),
            Asked::Every => tenants::list(conn).await,
        }
    }

    /// The tenants among which an object is looked for that is named by its number or key.
    async fn searched_tenants(&self, conn: &mut Conn) -> Result<Vec<(TenantId, String)>, StoreError> {
        match &self.asked {
            Asked::Unnamed => tenants::list(conn).await,
            _ => self.listed_tenants(conn).await,
        }
    }

    /// Concerns a row of this tenant a request about what is of all tenants at once: conditions, templates, revocations?
    fn concerns(&self, is_tenant: impl FnOnce(TenantId, &str) -> bool) -> bool {
        match &self.asked {
            Asked::Unnamed | Asked::Every => true,
            Asked::One(id, domain) => is_tenant(*id, domain),
        }
    }

    /// The answer to a question that went well or not.
    async fn answer<T: Serialize + Send + 'static>(&self, found: Result<T, StoreError>) -> Response {
        match found {
            Ok(found) => gzip::answer(&self.headers, found).await,
            Err(error) => reply::store_failure(&error),
        }
    }
}

impl FromRequestParts<Arc<App>> for Request {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let request = Self::new(parts, app).await?;
        match refusal_by_release(app) {
            None => Ok(request),
            Some(refusal) => Err(refusal),
        }
    }
}

impl FromRequestParts<Arc<App>> for OldRequest {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let request = Self::new_with_api_tables(parts, app).await?;
        Ok(Self(request))
    }
}

impl OldRequest {
    async fn new_with_api_tables(parts: &mut Parts, app: &Arc<App>) -> Result<Request, Response> {
        let request = Request::new(parts, app).await?;
        if !app.store.capabilities().has(Capability::Api) {
            return Err(refuse(StatusCode::NOT_IMPLEMENTED, "The database has no tables of API Manager"));
        }
        Ok(request)
    }
}

/// 501 on older tables: the statements are of 3.2, as those of the portal and gateway roles.
fn refusal_by_release(app: &App) -> Option<Response> {
    let capabilities = app.store.capabilities();
    if capabilities.has(Capability::KeyManager) {
        return None;
    }
    let release = capabilities.release().unwrap_or("an older release");
    let text = format!("/internal/data/v1 needs the tables of API-M 3.2, the database has those of {release}");
    Some(refuse(StatusCode::NOT_IMPLEMENTED, &text))
}

/// The parameters of a query; what it has beside them is passed over.
struct Params<T>(T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for Params<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        // No name and no key has this character, and PostgreSQL refuses it.
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(refuse(StatusCode::BAD_REQUEST, "A parameter has a character that no text has"));
        }
        let read = Query::<T>::from_request_parts(parts, app).await;
        read.map(|Query(params)| Self(params)).map_err(|error| refuse(StatusCode::BAD_REQUEST, &error.to_string()))
    }
}

/// A list with its length.
#[derive(Serialize)]
struct Listing<T> {
    count: usize,
    list: Vec<T>,
}

impl<T> From<Vec<T>> for Listing<T> {
    fn from(list: Vec<T>) -> Self {
        Self { count: list.len(), list }
    }
}

/// The error object of this wire: `code`, `message`, `fields` (rest-3x.md 5.4).
fn refuse(status: StatusCode, text: &str) -> Response {
    #[derive(Serialize)]
    struct Fault<'a> {
        code: u16,
        message: &'a str,
        description: &'a str,
        fields: &'a str,
    }
    let name = status.canonical_reason().unwrap_or("Error");
    reply::json(status, &Fault { code: status.as_u16(), message: name, description: text, fields: "" })
}

/// Deployment artifacts: an empty list would take every API off the gateway that believes it.
async fn no_artifacts(_: Request) -> Response {
    let text = "There are no deployment artifacts here: Synapse configurations are made by API Manager's own publisher, \
                and the gateways of this server are fed by /internal/claviger/v1";
    refuse(StatusCode::NOT_FOUND, text)
}
