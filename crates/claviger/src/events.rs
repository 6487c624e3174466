//! This node's place in the event log: it takes notice of what other nodes committed, and lets gateways read on.
//!
//! The database is the log; a wake-up after each commit of this process makes following immediate here. What other nodes wrote
//! is found by looking: when the database says so ([`courier`]), and at intervals ([`pace`]). Numbers that commit late are asked
//! for again (claviger-proto `follow`).

pub mod courier;
pub mod pace;

use crate::app::App;
use crate::http::serve::stopped;
use claviger_gateway::control::{ControlError, EventPage};
use claviger_proto::follow::{Cursor, EventsRequest, GAP_PATIENCE_MS, TooManyGaps};
use claviger_proto::ids::EventId;
use claviger_proto::time::Timestamp;
use claviger_store::conn::Conn;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::events;
use claviger_store::sql::Engine;
use pace::{Intervals, Look, Pace};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// At start, events this far back are read again: one of a lower number may commit late, and the clocks of the writers differ.
/// Reading twice does no harm.
const LOOK_BACK_MS: i64 = GAP_PATIENCE_MS + 60_000;
/// Longest pause after a failed read; the first is the poll interval, and each further one twice as long.
const RETRY_MS_MAX: u64 = 500;
/// Looks that ask for every gap after somebody asked for one: what the call was about may be committed a moment later.
const FULL_LOOKS: u8 = 2;
/// Gaps that such a look asks for at most.
const FULL_GAPS_MAX: usize = 5_000;
/// Longest time a page may be waited for.
pub const WAIT_MS_MAX: u64 = 30_000;

/// Wakes those who wait for events: the follower, who takes notice of them, gateways, who want a page, and the courier.
pub struct EventLog {
    wake: watch::Sender<u64>,
    closing: watch::Sender<bool>,
    /// Everything up to here was surely seen.
    low_watermark: AtomicI64,
    /// This process wrote events that other nodes have not been told of.
    written: Notify,
    /// The follower is to look now.
    look: Notify,
    /// The database tells us of other nodes' events.
    is_told: AtomicBool,
    begun: Instant,
}

impl Default for EventLog {
    fn default() -> Self {
        Self {
            wake: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            low_watermark: AtomicI64::new(0),
            written: Notify::new(),
            look: Notify::new(),
            is_told: AtomicBool::new(false),
            begun: Instant::now(),
        }
    }
}

impl EventLog {
    /// This process has committed events.
    pub fn note_written(&self) {
        self.wake();
        self.look();
        self.written.notify_one();
    }

    /// Waits for events that the others are to be told of, and for an instant.
    async fn written(&self, not_before: Instant) {
        // Even a sleep of nothing takes until the timer's next tick.
        if Instant::now() < not_before {
            sleep_until(not_before).await;
        }
        self.written.notified().await;
    }

    /// There are new events, and this node has taken notice of them.
    fn wake(&self) {
        self.wake.send_modify(|count| *count += 1);
    }

    /// There may be events that this node has not taken notice of.
    fn look(&self) {
        self.look.notify_one();
    }

    /// Does the database tell us of other nodes' events?
    pub fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Acquire)
    }

    /// Notes whether it does; returns what was noted before.
    fn set_told(&self, is_told: bool) -> bool {
        self.is_told.swap(is_told, Ordering::AcqRel)
    }

    /// The process ends: nobody is kept waiting any more.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// The last event whose effect a snapshot that is read from now on surely contains.
    pub fn low_watermark(&self) -> EventId {
        EventId(self.low_watermark.load(Ordering::Acquire))
    }

    /// Time that does not jump, for the cursor alone: an open gap must not age with the clock of the wall.
    fn steady_now(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// A page for a gateway; waits for the first event up to `wait_ms`.
    pub async fn page(&self, store: &Store, request: &EventsRequest, wait_ms: u64) -> Result<EventPage, ControlError> {
        let (mut wake, mut closing) = (self.wake.subscribe(), self.closing.subscribe());
        let deadline = Instant::now() + Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
        loop {
            wake.mark_unchanged();
            let page = read_page(store, request).await?;
            if !page.events.is_empty() {
                return Ok(page);
            }
            tokio::select! {
                changed = wake.changed() => if changed.is_err() { return Ok(page) },
                () = stopped(&mut closing) => return Ok(page),
                () = sleep_until(deadline) => return Ok(page),
            }
        }
    }
}

async fn read_page(store: &Store, request: &EventsRequest) -> Result<EventPage, ControlError> {
    let unavailable = |error: StoreError| ControlError::Unavailable(error.to_string());
    let mut conn = store.reader().await.map_err(unavailable)?;
    let (first, last) = events::bounds(&mut conn).await.map_err(unavailable)?;
    let is_cut_off = request.after.0.saturating_add(1) < first.0 && first.0 > 1;
    let is_ahead = request.after > last;
    if is_cut_off || is_ahead {
        return Err(ControlError::SnapshotNeeded);
    }
    let events = events::list(&mut conn, request).await.map_err(unavailable)?;
    Ok(EventPage { events, last })
}

/// Finds this node's place in the log. Done before the ports open, so that the first snapshot has a number.
pub async fn find_place(app: &App) -> Result<Cursor, StoreError> {
    let mut conn = app.store.reader().await?;
    let mut cursor = Cursor::new(place(app, &mut conn).await?);
    drop(conn);
    step(app, &mut cursor, false).await?;
    Ok(cursor)
}

/// Where to begin: behind everything that can still come, and not before the log's own beginning. What was cleaned up is not
/// missing: as gaps those numbers would hold the low watermark below it, and a gateway that reads on from there is sent for
/// another snapshot, again and again.
async fn place(app: &App, conn: &mut Conn) -> Result<EventId, StoreError> {
    let (first, _) = events::bounds(conn).await?;
    let old = events::find_last_before(conn, app.clock.now().plus_millis(-LOOK_BACK_MS)).await?;
    Ok(old.unwrap_or(EventId((first.0 - 1).max(0))))
}

/// Follows the log until shutdown.
pub async fn follow(app: Arc<App>, mut cursor: Cursor, intervals: Intervals, mut shutdown: watch::Receiver<bool>) {
    let mut pace = Pace::new(intervals);
    let (retry_ms, mut full_looks) = (intervals.poll_ms.clamp(1, RETRY_MS_MAX), 0_u8);
    let mut next_retry_ms = retry_ms;
    // An embedded database has no other node.
    let is_alone = app.store.engine() == Engine::Sqlite;
    loop {
        let begun = Instant::now();
        let pause = match step(&app, &mut cursor, full_looks > 0).await {
            Ok(look) => {
                (next_retry_ms, full_looks) = (retry_ms, full_looks.saturating_sub(1));
                pace.after(look, is_alone || app.events.is_told())
            }
            Err(error) => {
                tracing::warn!(error = %crate::http::reply::Chain(&error), "the event log could not be read");
                let retry = Duration::from_millis(next_retry_ms);
                next_retry_ms = (next_retry_ms * 2).min(RETRY_MS_MAX);
                retry
            }
        };
        tokio::select! {
            () = stopped(&mut shutdown) => return,
            () = app.events.look.notified() => {
                full_looks = FULL_LOOKS;
                sleep_until(begun + Pace::GAP).await;
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Takes notice of what was committed since the last look: one statement while there is nothing. A full look asks for old gaps
/// too that were asked for a moment ago.
async fn step(app: &App, cursor: &mut Cursor, is_full_look: bool) -> Result<Look, StoreError> {
    let mut conn = app.store.reader().await?;
    let mut look = Look::default();
    loop {
        let mut is_news = false;
        let now = app.events.steady_now();
        let request = if is_full_look && cursor.gaps() <= FULL_GAPS_MAX {
            cursor.request(FULL_GAPS_MAX)
        } else {
            cursor.request_due(now)
        };
        let page = events::list(&mut conn, &request).await?;
        app.metrics.event_reads.inc();
        let (mut is_full, mut is_lost) =
            (page.len() >= usize::try_from(events::PAGE_EVENTS_MAX).unwrap_or(usize::MAX), false);
        for event in &page {
            match cursor.observe(event.id, now) {
                Ok(true) => {
                    app.apply(std::slice::from_ref(&event.event));
                    is_news = true;
                }
                Ok(false) => {}
                Err(_) => is_lost = true,
            }
        }
        let mut last = cursor.after();
        if is_full || is_lost {
            last = events::bounds(&mut conn).await?.1;
        }
        if is_lost {
            // So many numbers are missing that no bookkeeping helps: forget every cached value and start anew. Where that is
            // where we are, the numbers have made a jump, and the way on is behind it.
            let place = place(app, &mut conn).await?;
            let place = if place > cursor.after() { place } else { last };
            tracing::warn!(after = %cursor.after(), %place, "{TooManyGaps}; the log is followed from event {place} on");
            app.forget_everything();
            *cursor = Cursor::new(place);
            is_news = true;
            is_full = false;
        }
        cursor.answered(&request, now);
        app.metrics.event_lag.set((last.0 - cursor.after().0).max(0));
        app.events.low_watermark.store(cursor.low_watermark().0, Ordering::Release);
        // Gateways that wait for a page of this node hear of other nodes' events too, also when the next page fails.
        if is_news {
            look.is_news = true;
            app.events.wake();
        }
        if !is_full {
            break;
        }
    }
    look.has_gaps = cursor.gaps() > 0;
    Ok(look)
}
