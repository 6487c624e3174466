//! Tells the other nodes of a PostgreSQL database that this one wrote events, and hears of theirs (`claviger_store::line`).
//!
//! What is heard only makes the follower look at the log at once. While nothing can be heard it looks as often as on a database
//! that tells nothing ([`super::pace`]), and right after the line is back, so no event is lost with a call.

use crate::app::App;
use crate::http::reply::Chain;
use crate::http::serve::stopped;
use claviger_proto::entropy::uuid;
use claviger_store::error::StoreError;
use claviger_store::line::{Heard, Line};
use claviger_store::sql::Engine;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Least time between two calls: what is committed meanwhile shares the next one.
const CALL_GAP_MS: u64 = 5;
/// A call that was not heard by its own caller after this time is not heard by others either.
const ECHO_MS_MAX: u64 = 2_000;
/// When nothing was heard for so long, a test call is made: a connection may die unseen.
const SILENCE_MS_MAX: u64 = 10_000;
/// Pause before the line is opened again, doubled up to the longest while it does not work.
const REOPEN_MS: u64 = 250;
const REOPEN_MS_MAX: u64 = 30_000;

/// A line that worked for less is one that comes and goes.
const STEADY_MS: u64 = 60_000;
/// Longest wait for the last call of a process that ends.
const LAST_CALL_MS_MAX: u64 = 1_000;

/// Why a line is of no use any more.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// Calls are made and none is heard.
    #[error("no call came through in {ECHO_MS_MAX} ms; a pooler between us and the server may not let them through")]
    Deaf,
    /// The connection is gone.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Calls and hears until shutdown, then calls once more; ends at once where the engine has no line. A node that hears nothing
/// calls all the same: others may hear it.
pub async fn run(app: Arc<App>, mut shutdown: watch::Receiver<bool>) {
    if app.store.engine() != Engine::Postgres {
        return;
    }
    let (name, called) = (uuid(&*app.rng), watch::Sender::new(()));
    tokio::select! {
        () = stopped(&mut shutdown) => {}
        () = async { tokio::join!(call(&app, &name, &called), listen(&app, &name, &called)); } => {}
    }
    app.events.set_told(false);
    let last = app.store.call_nodes(&name);
    if !matches!(tokio::time::timeout(Duration::from_millis(LAST_CALL_MS_MAX), last).await, Ok(Ok(()))) {
        tracing::debug!("the last call to the other nodes was not made");
    }
}

/// Tells the others of what this node wrote, over connections of the pool; one call at a time.
async fn call(app: &App, name: &str, called: &watch::Sender<()>) {
    let mut next_call = Instant::now();
    loop {
        app.events.written(next_call).await;
        // Before the call, which may be heard before its end.
        called.send_replace(());
        if let Err(error) = app.store.call_nodes(name).await {
            tracing::debug!(error = %Chain(&error), "a call to the other nodes failed; they find the events when they look");
        }
        next_call = after(CALL_GAP_MS);
    }
}

fn after(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

/// Keeps the line open.
async fn listen(app: &App, name: &str, called: &watch::Sender<()>) {
    let (mut pause_ms, mut is_told) = (REOPEN_MS, true);
    loop {
        let trouble = match app.store.open_line(name).await {
            Ok(None) => return,
            Ok(Some(mut line)) => {
                let mut works_since = None;
                let carried = hear(app, name, &mut line, called.subscribe(), &mut works_since).await;
                app.events.set_told(false);
                // The look at the log comes first: it has waited for calls that may be lost.
                app.events.look();
                line.close().await;
                // A line that comes and goes is no news each time.
                if works_since.is_some_and(|since: Instant| since.elapsed() >= Duration::from_millis(STEADY_MS)) {
                    (pause_ms, is_told) = (REOPEN_MS, true);
                }
                let Err(trouble) = carried;
                trouble
            }
            Err(error) => error.into(),
        };
        if is_told {
            tracing::warn!(
                error = %Chain(&trouble),
                "PostgreSQL tells this node nothing of other nodes' events; it polls for them until it does"
            );
        }
        is_told = false;
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(REOPEN_MS_MAX);
    }
}

/// Hears until the line does not work. `works_since`: when the first call came through.
async fn hear(
    app: &App,
    name: &str,
    line: &mut Line,
    mut called: watch::Receiver<()>,
    works_since: &mut Option<Instant>,
) -> Result<Infallible, Trouble> {
    let events = &app.events;
    // A call of ours that we have not heard, and when we have to; else when to test.
    let (mut is_unheard, mut act_at) = (true, after(ECHO_MS_MAX));
    app.store.test_line(name).await?;
    loop {
        tokio::select! {
            // In this order: who calls says so first.
            biased;
            Ok(()) = called.changed() => {
                if !is_unheard {
                    (is_unheard, act_at) = (true, after(ECHO_MS_MAX));
                }
            }
            heard = line.hear() => match heard? {
                Heard::News => {
                    events.look();
                    if !is_unheard {
                        act_at = after(SILENCE_MS_MAX);
                    }
                }
                Heard::Own => {
                    (is_unheard, act_at) = (false, after(SILENCE_MS_MAX));
                    works_since.get_or_insert_with(Instant::now);
                    if !events.set_told(true) {
                        tracing::info!("PostgreSQL tells this node of other nodes' events");
                        // What was written before we listened.
                        events.look();
                    }
                }
            },
            () = sleep_until(act_at) => {
                if is_unheard {
                    return Err(Trouble::Deaf);
                }
                (is_unheard, act_at) = (true, after(ECHO_MS_MAX));
                app.store.test_line(name).await?;
            }
        }
    }
}
