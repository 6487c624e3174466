//! `/health/live`, `/health/ready`, `/metrics` of the management port.

use crate::app::App;
use crate::http::access::{ADMINISTER, Peer, Rule};
use crate::http::reply;
use crate::http::routes::Routes;
use crate::ops::Metrics;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use claviger_gateway::Gateway;
use serde_json::json;
use std::sync::Arc;

/// The routes.
pub fn routes(routes: Routes) -> Routes {
    const OPEN: Rule = Rule::Public("load balancers ask without credentials; the answer names no secret");
    routes.add(Method::GET, "/health/live", OPEN, live).add(Method::GET, "/health/ready", OPEN, ready).add(
        Method::GET,
        "/metrics",
        Rule::LoopbackOrPermission(ADMINISTER),
        metrics,
    )
}

async fn live() -> Response {
    reply::json(StatusCode::OK, &json!({ "status": "live" }))
}

/// Ready when the database answers.
async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.store.ping().await {
        Ok(()) => reply::json(StatusCode::OK, &json!({ "status": "ready" })),
        Err(error) => {
            tracing::warn!(error = %reply::Chain(&error), "not ready: the database does not answer");
            reply::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "the database does not answer" }))
        }
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.metrics.reply()
}

/// The management routes of a process without a database: a gateway apart. It is ready when its gateway is; its metrics are
/// for the same host only.
pub fn without_database(shared: Arc<Metrics>, gateway: Option<Arc<Gateway>>) -> Router {
    let is_ready = move || {
        let (status, text) = if gateway.as_ref().is_some_and(|gateway| gateway.is_ready()) {
            (StatusCode::OK, "ready")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the control plane was not heard of")
        };
        std::future::ready(reply::json(status, &json!({ "status": text })))
    };
    let metrics = move |Extension(peer): Extension<Peer>| {
        let shared = shared.clone();
        async move {
            if peer.address.ip().to_canonical().is_loopback() {
                shared.reply()
            } else {
                reply::empty(StatusCode::FORBIDDEN)
            }
        }
    };
    Router::new().route("/health/live", get(live)).route("/health/ready", get(is_ready)).route("/metrics", get(metrics))
}
