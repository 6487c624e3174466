//! `/internal/claviger/v1/notifications`: what waits for whom, what was given up and why, and how to try that again. Tokens are
//! named as in logs.

use super::{Channel, shown_lane};
use crate::app::App;
use crate::http::access::{ADMINISTER, Rule};
use crate::http::reply;
use crate::http::routes::Routes;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use claviger_proto::time::Timestamp;
use claviger_store::error::StoreError;
use claviger_store::notifications;
use serde::Serialize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// Dead letters that an answer lists of each listener, the latest first.
const LISTED_MAX: usize = 100;
/// Statements of one call that lets dead letters wait again.
const STATEMENTS_MAX: usize = 32;

/// The routes.
pub fn routes(routes: Routes) -> Routes {
    const OPERATOR: Rule = Rule::Permission(ADMINISTER);
    routes.add(Method::GET, "/internal/claviger/v1/notifications", OPERATOR, show).add(
        Method::POST,
        "/internal/claviger/v1/notifications/retry",
        OPERATOR,
        retry,
    )
}

#[derive(Serialize)]
struct ListenerView {
    id: String,
    endpoint: String,
    waiting: u64,
    oldest_waits_ms: i64,
    dead: u64,
    /// Does this node send? Then the next two are what it saw.
    is_sent_from_here: bool,
    away_because: Option<String>,
    tries: u32,
    /// The latest of them.
    dead_letters: Vec<LetterView>,
}

#[derive(Serialize)]
struct LetterView {
    event_id: String,
    /// The token, by the first digits of its hash, or the client.
    about: String,
    consumer_key: String,
    created_at_ms: i64,
    died_at_ms: i64,
    reason: String,
    can_be_retried: bool,
}

async fn show(State(app): State<Arc<App>>) -> Response {
    let mut listeners = Vec::new();
    for channel in &app.notifications.channels {
        match view(&app, channel).await {
            Ok(view) => listeners.push(view),
            Err(error) => return reply::store_failure(&error),
        }
    }
    reply::json_no_store(StatusCode::OK, &serde_json::json!({ "listeners": listeners }))
}

async fn view(app: &App, channel: &Channel) -> Result<ListenerView, StoreError> {
    let mut conn = app.store.reader().await?;
    let [waiting, dead] = notifications::count(&mut conn, &channel.id).await?;
    let oldest = notifications::find_oldest(&mut conn, &channel.id).await?;
    let letters = notifications::list_dead(&mut conn, &channel.id, LISTED_MAX).await?;
    drop(conn);
    let away = channel.away.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (away_because, tries) = away.unzip();
    let letter = |letter: notifications::DeadLetter| LetterView {
        about: shown_lane(&letter.lane).to_owned(),
        event_id: letter.event_id,
        consumer_key: letter.consumer_key,
        created_at_ms: letter.created.as_millis(),
        died_at_ms: letter.died_at.as_millis(),
        reason: letter.reason,
        can_be_retried: letter.has_body,
    };
    let waits_ms = |oldest: Timestamp| app.clock.now().millis_since(oldest).max(0);
    Ok(ListenerView {
        id: channel.id.clone(),
        endpoint: channel.shown_endpoint.clone(),
        waiting,
        oldest_waits_ms: oldest.map_or(0, waits_ms),
        dead,
        is_sent_from_here: channel.is_sending.load(Ordering::Relaxed),
        away_because,
        tries: tries.unwrap_or(0),
        dead_letters: letters.into_iter().map(letter).collect(),
    })
}

/// Lets dead letters wait again, the oldest first; some thousand at once.
async fn retry(State(app): State<Arc<App>>) -> Response {
    let mut retried = 0;
    for channel in &app.notifications.channels {
        for _ in 0..STATEMENTS_MAX {
            let shared = channel.clone();
            let write = app.store.write::<_, StoreError, _>(move |conn| {
                let channel = shared.clone();
                Box::pin(async move { notifications::revive(conn, &channel.id).await })
            });
            match write.await {
                Ok(0) => break,
                Ok(count) => retried += count,
                Err(error) => return reply::store_failure(&error),
            }
        }
    }
    tracing::info!(target: "audit", retried, "dead letters are told again");
    app.notifications.wake();
    reply::json_no_store(StatusCode::OK, &serde_json::json!({ "retried": retried }))
}
