//! The control plane's side of the gateways: what they are fed, in this process ([`LocalControlPlane`]) and over the network
//! (`/internal/claviger/v1`, read by `claviger_gateway::remote`). Both answer from the same functions.
//!
//! The deployment API is our own (portal-gateway-3x.md 5.4, 6.12): API-M's data API carries no endpoints.

use crate::app::App;
use crate::http::access::{ADMINISTER, Rule};
use crate::http::extract::Path;
use crate::http::reply;
use crate::http::routes::Routes;
use crate::oauth::form_request::FormRequest;
use crate::oauth::introspect;
use crate::portal::deployed;
use crate::portal::error::PortalError;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use claviger_gateway::control::{ControlError, ControlPlane, EventPage};
use claviger_gateway::model::{
    ApiDeployment, ApplicationEntry, ApplicationKey, Issuer, KeyType, RevokedClient, RevokedToken, RevokedUser,
    Snapshot, SubscriptionEntry, SubscriptionStatus, TokenVerdict,
};
use claviger_proto::follow::{EventsRequest, GAPS_ASKED_MAX};
use claviger_proto::ids::{ApiId, ApplicationId, ConsumerKey, EventId, TenantId};
use claviger_store::apis::ApiRow;
use claviger_store::applications::{Application, KeyMapping};
use claviger_store::capability::Capability;
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::subscriptions::Subscription;
use claviger_store::{apis as api_rows, applications, clients, key_stores, revocations, subscriptions, tenants};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// The control plane of a gateway in the same process.
pub struct LocalControlPlane {
    app: Arc<App>,
}

impl LocalControlPlane {
    /// The control plane over this process' state.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

impl ControlPlane for LocalControlPlane {
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, ControlError>> {
        Box::pin(async { read_snapshot(&self.app).await.map_err(|error| unavailable(&error)) })
    }

    fn api(&self, id: ApiId) -> BoxFuture<'_, Result<Option<ApiDeployment>, ControlError>> {
        Box::pin(async move { read_api(&self.app, id).await.map_err(|error| unavailable(&error)) })
    }

    fn application(&self, id: ApplicationId) -> BoxFuture<'_, Result<Option<ApplicationEntry>, ControlError>> {
        Box::pin(async move { read_application(&self.app, id).await.map_err(|error| unavailable(&error)) })
    }

    fn issuers(&self) -> BoxFuture<'_, Result<Vec<Issuer>, ControlError>> {
        Box::pin(async { read_issuers(&self.app).await.map_err(|error| unavailable(&error)) })
    }

    fn events(&self, request: EventsRequest, wait_ms: u64) -> BoxFuture<'_, Result<EventPage, ControlError>> {
        Box::pin(async move { self.app.events.page(&self.app.store, &request, wait_ms).await })
    }

    fn check_token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenVerdict, ControlError>> {
        Box::pin(async move { introspect::verdict(&self.app, token).await.map_err(|error| unavailable(&error)) })
    }
}

fn unavailable(error: &StoreError) -> ControlError {
    ControlError::Unavailable(reply::Chain(error).to_string())
}

async fn read_snapshot(app: &App) -> Result<Snapshot, StoreError> {
    // Read before anything else: whatever commits from here on is announced after this number.
    let as_of = app.events.low_watermark();
    let mut conn = app.store.reader().await?;
    let mut deployments = Vec::new();
    for row in api_rows::list(&mut conn).await? {
        deployments.extend(deploy(&mut conn, &row).await?);
    }
    let mut keys: HashMap<ApplicationId, Vec<KeyMapping>> = HashMap::new();
    for (id, key) in applications::list_all_keys(&mut conn).await? {
        keys.entry(id).or_default().push(key);
    }
    let mut subscribed: HashMap<ApplicationId, Vec<Subscription>> = HashMap::new();
    for subscription in subscriptions::list_all(&mut conn).await? {
        subscribed.entry(subscription.application_id).or_default().push(subscription);
    }
    let all = applications::list_all(&mut conn).await?;
    let domains: HashMap<TenantId, String> = tenants::list(&mut conn).await?.into_iter().collect();
    let of_tenants = clients::list_tenants(&mut conn).await?;
    let entries = all.into_iter().map(|application| {
        let keys = keys.remove(&application.id).unwrap_or_default();
        let subscriptions = subscribed.remove(&application.id).unwrap_or_default();
        entry(application, keys, subscriptions, |client| domains.get(of_tenants.get(client)?).cloned())
    });
    let applications = entries.collect();
    let ended_before = app.oauth.settings.ended_before(app.clock.now());
    let revoked_tokens = revocations::list_tokens(&mut conn, ended_before).await?;
    let revoked_clients = revocations::list_clients(&mut conn, ended_before).await?;
    let revoked_users = revocations::list_users(&mut conn, ended_before).await?;
    drop(conn);
    Ok(Snapshot {
        as_of,
        apis: deployments,
        applications,
        issuers: read_issuers(app).await?,
        revoked_tokens: revoked_tokens
            .into_iter()
            .map(|(token, expires_at)| RevokedToken { token, expires_at })
            .collect(),
        revoked_clients: revoked_clients
            .into_iter()
            .map(|(consumer_key, before)| RevokedClient { consumer_key, before })
            .collect(),
        revoked_users: revoked_users.into_iter().map(|(subject, before)| RevokedUser { subject, before }).collect(),
    })
}

async fn read_api(app: &App, id: ApiId) -> Result<Option<ApiDeployment>, StoreError> {
    let mut conn = app.store.reader().await?;
    match api_rows::find_by_id(&mut conn, id).await? {
        Some(row) => deploy(&mut conn, &row).await,
        None => Ok(None),
    }
}

/// The deployment of a row. An artifact that cannot be read is logged and left out: one broken API must not keep the others
/// from the gateways.
async fn deploy(conn: &mut Conn, row: &ApiRow) -> Result<Option<ApiDeployment>, StoreError> {
    match deployed::of_row(conn, row).await {
        Ok(found) => Ok(found),
        Err(PortalError::Store(error)) => Err(error),
        Err(error) => {
            tracing::warn!(api_id = row.id.0, %error, "an API cannot be read and is on no gateway");
            Ok(None)
        }
    }
}

async fn read_application(app: &App, id: ApplicationId) -> Result<Option<ApplicationEntry>, StoreError> {
    let mut conn = app.store.reader().await?;
    let Some(application) = applications::find_by_id(&mut conn, id).await? else { return Ok(None) };
    let keys = applications::list_keys(&mut conn, id).await?;
    let subscriptions = subscriptions::list_of_application(&mut conn, id).await?;
    let mut of_tenants = HashMap::new();
    for client in keys.iter().filter_map(|key| key.consumer_key.as_ref()) {
        let found = clients::find(&mut conn, client).await?.filter(|found| found.tenant != TenantId::SUPER);
        if let Some(found) = found
            && let Some(domain) = tenants::find_domain(&mut conn, found.tenant).await?
        {
            of_tenants.insert(client.clone(), domain);
        }
    }
    Ok(Some(entry(application, keys, subscriptions, |client| of_tenants.get(client).cloned())))
}

/// An application as gateways have it; `tenant_of` says whose a client is that is not the super tenant's.
fn entry(
    application: Application,
    keys: Vec<KeyMapping>,
    subscriptions: Vec<Subscription>,
    tenant_of: impl Fn(&ConsumerKey) -> Option<String>,
) -> ApplicationEntry {
    let keys = keys.into_iter().filter_map(|key| {
        let key_type = match key.key_type.as_str() {
            "PRODUCTION" => KeyType::Production,
            "SANDBOX" => KeyType::Sandbox,
            _ => return None,
        };
        let consumer_key = key.consumer_key?;
        let tenant_domain = tenant_of(&consumer_key);
        Some(ApplicationKey { consumer_key, key_type, key_manager: key.key_manager, tenant_domain })
    });
    let subscriptions = subscriptions.into_iter().map(|subscription| SubscriptionEntry {
        api_id: subscription.api_id,
        status: status(&subscription.status),
        policy: subscription.policy,
    });
    ApplicationEntry {
        id: application.id,
        uuid: application.uuid,
        name: application.name,
        owner: application.owner,
        policy: application.policy,
        keys: keys.collect(),
        subscriptions: subscriptions.collect(),
    }
}

/// SUB_STATUS (database.md 4.2); a word nobody knows is allowed there, ours waits for somebody to look.
fn status(word: &str) -> SubscriptionStatus {
    match word {
        "UNBLOCKED" => SubscriptionStatus::Unblocked,
        "TIER_UPDATE_PENDING" => SubscriptionStatus::TierUpdatePending,
        "BLOCKED" => SubscriptionStatus::Blocked,
        "PROD_ONLY_BLOCKED" => SubscriptionStatus::ProdOnlyBlocked,
        "REJECTED" => SubscriptionStatus::Rejected,
        _ => SubscriptionStatus::OnHold,
    }
}

/// This installation's key manager, accepted by the APIs of every tenant with the keys that count there. A token of another
/// tenant's key is not unknown for that: the gateway asks.
async fn read_issuers(app: &App) -> Result<Vec<Issuer>, StoreError> {
    let mut conn = app.store.reader().await?;
    let tenants = tenants::list(&mut conn).await?;
    let marks = key_stores::list_marks(&mut conn).await?;
    drop(conn);
    let mut issuers = Vec::with_capacity(tenants.len());
    for (id, tenant_domain) in tenants {
        issuers.push(Issuer {
            key_manager: introspect::RESIDENT_KEY_MANAGER.to_owned(),
            jwks: app.oauth.common_keys(),
            tenant_jwks: Some(app.oauth.own_keys(id, &tenant_domain, &marks).await?),
            tenant_domain,
            issuer: app.oauth.settings.issuer.clone(),
            consumer_key_claim: "azp".to_owned(),
            scopes_claim: "scope".to_owned(),
        });
    }
    Ok(issuers)
}

/// The routes for gateways in other processes.
pub fn routes(routes: Routes) -> Routes {
    const GATEWAY: Rule = Rule::Permission(ADMINISTER);
    routes
        .add(Method::GET, "/internal/claviger/v1/snapshot", GATEWAY, snapshot)
        .add(Method::GET, "/internal/claviger/v1/apis/{id}", GATEWAY, api)
        .add(Method::GET, "/internal/claviger/v1/applications/{id}", GATEWAY, application)
        .add(Method::GET, "/internal/claviger/v1/issuers", GATEWAY, issuers)
        .add(Method::GET, "/internal/claviger/v1/events", GATEWAY, events)
        .add(Method::POST, "/internal/claviger/v1/check-token", GATEWAY, check_token)
}

/// The state, for gateways. As the roles that work on APIs they need tables of 3.2: there are no statements for older ones.
struct Feed(Arc<App>);

impl FromRequestParts<Arc<App>> for Feed {
    type Rejection = Response;

    async fn from_request_parts(_: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let capabilities = app.store.capabilities();
        if capabilities.has(Capability::KeyManager) {
            return Ok(Self(app.clone()));
        }
        let release = capabilities.release().unwrap_or("an older release");
        let text = format!("Gateways need the tables of API-M 3.2, the database has those of {release}");
        Err(reply::portal_error(StatusCode::NOT_IMPLEMENTED, 501, "Not Implemented", &text))
    }
}

async fn check_token(Feed(app): Feed, request: FormRequest) -> Response {
    introspect::check_token(State(app), request).await
}

async fn snapshot(Feed(app): Feed) -> Response {
    answer(read_snapshot(&app).await.map(Some))
}

async fn api(Feed(app): Feed, Path(id): Path<i64>) -> Response {
    answer(read_api(&app, ApiId(id)).await)
}

async fn application(Feed(app): Feed, Path(id): Path<i64>) -> Response {
    answer(read_application(&app, ApplicationId(id)).await)
}

async fn issuers(Feed(app): Feed) -> Response {
    answer(read_issuers(&app).await.map(Some))
}

#[derive(Deserialize)]
struct EventsQuery {
    after: i64,
    #[serde(default)]
    gaps: String,
    #[serde(default)]
    wait_ms: u64,
}

async fn events(Feed(app): Feed, Query(query): Query<EventsQuery>) -> Response {
    let numbers = query.gaps.split(',').filter(|gap| !gap.is_empty()).take(GAPS_ASKED_MAX + 1);
    let gaps: Option<Vec<EventId>> = numbers.map(|gap| gap.parse().ok().map(EventId)).collect();
    let Some(gaps) = gaps.filter(|gaps| gaps.len() <= GAPS_ASKED_MAX) else {
        return reply::portal_error(StatusCode::BAD_REQUEST, 400, "Bad Request", "gaps is not a list of event numbers");
    };
    let request = EventsRequest { after: EventId(query.after), gaps };
    // An empty page must be back before the time limit of requests makes it a failure.
    let wait_ms = query.wait_ms.min(app.limits.request_timeout_s.saturating_mul(1000) / 2);
    match app.events.page(&app.store, &request, wait_ms).await {
        Ok(page) => reply::json(StatusCode::OK, &page),
        Err(ControlError::SnapshotNeeded) => {
            reply::portal_error(StatusCode::GONE, 410, "Gone", "The event log no longer reaches back that far")
        }
        Err(error) => reply::unavailable(&error),
    }
}

fn answer<T: Serialize>(result: Result<Option<T>, StoreError>) -> Response {
    match result {
        Ok(Some(value)) => reply::json(StatusCode::OK, &value),
        Ok(None) => reply::portal_error(StatusCode::NOT_FOUND, 404, "Not Found", "There is no such object"),
        Err(error) => reply::store_failure(&error),
    }
}
