//! Tells the other nodes of a PostgreSQL database that this one wrote events, and hears of theirs (`claviger_store::line`).
//!
//! What is heard only makes the follower look at the log at once. While nothing can be heard it looks as often as on a database
//! that tells nothing ([`super::pace`]), and right after the line is back, so no event is lost with a call.

use super::EventLog;
use crate::app::App;
use crate::http::reply::Chain;
use crate::http::serve::stopped;
use claviger_proto::entropy::uuid;
use claviger_store::error::StoreError;
use claviger_store::line::{Heard, Line};
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

/// Carries calls until shutdown; ends at once where the engine has no line.
pub async fn run(app: Arc<App>, mut shutdown: watch::Receiver<bool>) {
    let name = uuid(&*app.rng);
    let (mut pause_ms, mut is_told) = (REOPEN_MS, true);
    loop {
        let opened = tokio::select! {
            () = stopped(&mut shutdown) => return,
            opened = app.store.open_line(&name) => opened,
        };
        let trouble = match opened {
            Ok(None) => return,
            Ok(Some(mut line)) => {
                let carried = carry(&app.events, &mut line, &mut shutdown).await;
                let has_worked = app.events.set_told(false);
                // The look at the log comes first: it has waited for calls that may be lost.
                app.events.look();
                line.close().await;
                if has_worked {
                    (pause_ms, is_told) = (REOPEN_MS, true);
                }
                match carried {
                    Ok(()) => return,
                    Err(trouble) => trouble,
                }
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
        tokio::select! {
            () = stopped(&mut shutdown) => return,
            () = tokio::time::sleep(Duration::from_millis(pause_ms)) => {}
        }
        pause_ms = (pause_ms * 2).min(REOPEN_MS_MAX);
    }
}

/// Until shutdown, or until the line does not work.
async fn carry(events: &EventLog, line: &mut Line, shutdown: &mut watch::Receiver<bool>) -> Result<(), Trouble> {
    let after = |ms: u64| Instant::now() + Duration::from_millis(ms);
    // Calls of ours that we have not heard, and when we have to.
    let (mut unheard, mut echo_by) = (1_u32, after(ECHO_MS_MAX));
    let (mut next_call, mut test_at) = (Instant::now(), after(SILENCE_MS_MAX));
    line.test().await?;
    loop {
        let look_at = if unheard > 0 { echo_by } else { test_at };
        tokio::select! {
            () = stopped(shutdown) => return Ok(()),
            () = events.written(next_call) => {
                line.call().await?;
                (unheard, next_call) = (unheard + 1, after(CALL_GAP_MS));
                echo_by = if unheard == 1 { after(ECHO_MS_MAX) } else { echo_by };
            }
            heard = line.hear() => {
                test_at = after(SILENCE_MS_MAX);
                match heard? {
                    Heard::News => events.look(),
                    Heard::Own => {
                        (unheard, echo_by) = (unheard.saturating_sub(1), after(ECHO_MS_MAX));
                        if !events.set_told(true) {
                            tracing::info!("PostgreSQL tells this node of other nodes' events");
                            // What was written before we listened.
                            events.look();
                        }
                    }
                }
            }
            () = sleep_until(look_at) => {
                if unheard > 0 {
                    return Err(Trouble::Deaf);
                }
                line.test().await?;
                (unheard, echo_by) = (1, after(ECHO_MS_MAX));
            }
        }
    }
}
