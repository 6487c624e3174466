//! Tells one listener what waits for it: reads rows from the lowest number on, posts many lanes at once, removes what was taken.
//! A crash between the answer and the removal tells an event twice, under the same `eventId`.
//!
//! Everything that takes time is a future in one set; the loop only decides what begins next.

use super::endpoint::Outcome;
use super::pace::{Pace, Post, pause};
use super::queue::{Queue, Waiting};
use super::{Channel, needed_since};
use crate::app::App;
use crate::http::reply::Chain;
use crate::http::serve::stopped;
use bytes::Bytes;
use claviger_proto::time::Timestamp;
use claviger_store::error::StoreError;
use claviger_store::notifications::{self, Notification};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Rows read by one statement.
const PAGE_ROWS: usize = 500;
/// Rows in memory at most; with fewer than half of them it reads on.
const ROWS_MAX: usize = 20_000;
/// Between two looks for what another node wrote, of which this one was not told.
const LOOK: Duration = Duration::from_secs(1);
/// Between two counts of what waits.
const COUNT: Duration = Duration::from_secs(5);
/// After a failed statement.
const RETRY: Duration = Duration::from_millis(500);
/// A body that was refused so often is given up.
const REFUSALS_MAX: u32 = 6;
/// So is one at which the receiver failed so often while it took others.
const FAILURES_MAX: u32 = 8;
/// Longest wait, at the end, for what is under way.
const END: Duration = Duration::from_secs(3);

/// What came to its end.
enum Done {
    Posted { event: Waiting, post: Post, outcome: Outcome },
    Read { result: Result<Vec<Notification>, StoreError>, after: i64 },
    Removed { ids: Vec<i64>, result: Result<(), StoreError> },
    Buried { event: Waiting, reason: String, result: Result<(), StoreError> },
    Counted(Result<Backlog, StoreError>),
}

/// What a listener has not taken.
struct Backlog {
    waiting: u64,
    dead: u64,
    oldest: Option<Timestamp>,
}

/// The sender of one listener.
#[expect(clippy::struct_excessive_bools, reason = "what is under way, independently of each other")]
pub(super) struct Sender {
    app: Arc<App>,
    channel: Arc<Channel>,
    queue: Queue,
    pace: Pace,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    posts: usize,
    /// Events that the endpoint took.
    deliveries: u64,
    /// Taken, or needed by nobody; their rows are to go.
    over: Vec<i64>,
    is_removing: bool,
    remove_not_before: Instant,
    /// Rows that went while others were read: what is read may still have them.
    gone: Vec<i64>,
    is_reading: bool,
    /// There may be rows that were not read.
    is_more: bool,
    next_look: Instant,
    is_counting: bool,
    next_count: Instant,
    /// It ends: nothing new is begun.
    ending: Option<Instant>,
}

impl Sender {
    pub(super) fn new(app: Arc<App>, channel: Arc<Channel>) -> Self {
        let now = Instant::now();
        Self {
            app,
            channel,
            queue: Queue::default(),
            pace: Pace::default(),
            work: FuturesUnordered::new(),
            posts: 0,
            deliveries: 0,
            over: Vec::new(),
            is_removing: false,
            remove_not_before: now,
            gone: Vec::new(),
            is_reading: false,
            is_more: true,
            next_look: now,
            is_counting: false,
            next_count: now,
            ending: None,
        }
    }

    /// Sends until the end of the process, or until another node does. What is under way then is waited for, for a while.
    pub(super) async fn run(mut self, is_elected: impl Fn() -> bool, mut shutdown: watch::Receiver<bool>) {
        let mut wake = self.app.notifications.wake.subscribe();
        self.channel.set_sending(true);
        loop {
            if self.ending.is_none() && (!is_elected() || *shutdown.borrow()) {
                self.ending = Some(Instant::now() + END);
            }
            let next = self.begin(Instant::now());
            if self.ending.is_some_and(|end| self.work.is_empty() || end <= Instant::now()) {
                break;
            }
            tokio::select! {
                Some(done) = self.work.next(), if !self.work.is_empty() => self.finish(done),
                changed = wake.changed(), if self.ending.is_none() => {
                    if changed.is_ok() {
                        self.is_more = true;
                    }
                }
                () = stopped(&mut shutdown), if self.ending.is_none() => {}
                () = sleep_until(next) => {}
            }
        }
        self.channel.set_sending(false);
    }

    /// Begins what can begin; when to look again at the latest.
    fn begin(&mut self, now: Instant) -> Instant {
        if !self.is_removing && !self.over.is_empty() && self.remove_not_before <= now {
            self.remove();
        }
        if let Some(end) = self.ending {
            return end;
        }
        let pause_ends = self.queue.wake(now);
        self.begin_posts(now);
        if !self.is_reading && (self.is_more && self.queue.len() < ROWS_MAX / 2 || self.next_look <= now) {
            self.next_look = now + LOOK;
            if self.queue.len() + PAGE_ROWS <= ROWS_MAX {
                self.read(0);
            }
        }
        if !self.is_counting && self.next_count <= now {
            self.count();
        }
        // None of these is past: what was due has begun.
        let next_try = self.pace.next_try().filter(|_| self.queue.is_ready());
        let next_removal = (!self.is_removing && !self.over.is_empty()).then_some(self.remove_not_before);
        let next_look = (!self.is_reading).then_some(self.next_look);
        [pause_ends, next_try, next_removal, next_look].into_iter().flatten().min().unwrap_or(now + LOOK)
    }

    fn begin_posts(&mut self, now: Instant) {
        let needed_since = needed_since(self.app.clock.now());
        while self.queue.is_ready() {
            let Some(post) = self.pace.begin(self.posts, now) else { return };
            // While there is but one try at a time, the oldest and the newest are tried in turn: what the receiver fails at may be
            // many events, and one that it takes shows that it is not away.
            let Some(event) = self.queue.next(self.pace.tries() % 2 == 1) else { return };
            if event.row.expires_at < needed_since {
                self.pace.not_begun(post);
                self.channel.count_outcome("expired");
                self.over.push(event.row.id);
                self.queue.done(&event.row.lane);
                continue;
            }
            self.posts += 1;
            let channel = self.channel.clone();
            self.work.push(Box::pin(async move {
                let outcome = channel.endpoint.post(Bytes::copy_from_slice(event.row.body.as_bytes())).await;
                Done::Posted { event, post, outcome }
            }));
        }
    }

    fn read(&mut self, after: i64) {
        (self.is_reading, self.is_more) = (true, false);
        let (store, channel) = (self.app.store.clone(), self.channel.clone());
        self.work.push(Box::pin(async move {
            let result = async { notifications::list(&mut store.reader().await?, &channel.id, after, PAGE_ROWS).await };
            Done::Read { result: result.await, after }
        }));
    }

    fn remove(&mut self) {
        self.is_removing = true;
        let (store, ids) = (self.app.store.clone(), std::mem::take(&mut self.over));
        self.work.push(Box::pin(async move {
            let gone = Arc::new(ids);
            let shared = gone.clone();
            let write = store.write::<_, StoreError, _>(move |conn| {
                let ids = shared.clone();
                Box::pin(async move { notifications::delete(conn, &ids).await })
            });
            let result = write.await.map(drop);
            Done::Removed { ids: gone.to_vec(), result }
        }));
    }

    fn bury(&mut self, event: Waiting, reason: String) {
        let (store, now) = (self.app.store.clone(), self.app.clock.now());
        self.work.push(Box::pin(async move {
            let (id, text) = (event.row.id, Arc::new(reason.clone()));
            let write = store.write::<_, StoreError, _>(move |conn| {
                let text = text.clone();
                Box::pin(async move { notifications::bury(conn, id, &text, now).await })
            });
            let result = write.await;
            Done::Buried { event, reason, result }
        }));
    }

    fn count(&mut self) {
        self.is_counting = true;
        let (store, channel) = (self.app.store.clone(), self.channel.clone());
        self.work.push(Box::pin(async move {
            let result = async {
                let mut conn = store.reader().await?;
                let [waiting, dead] = notifications::count(&mut conn, &channel.id).await?;
                let oldest = notifications::find_oldest(&mut conn, &channel.id).await?;
                Ok(Backlog { waiting, dead, oldest })
            };
            Done::Counted(result.await)
        }));
    }

    fn finish(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Posted { event, post, outcome } => {
                self.posts -= 1;
                self.posted(event, post, outcome, now);
            }
            Done::Read { result: Ok(rows), after } => {
                self.is_reading = false;
                let last = rows.last().map_or(after, |row| row.id);
                let is_full = rows.len() >= PAGE_ROWS;
                let news = self.queue.take(rows);
                self.queue.forget(&std::mem::take(&mut self.gone));
                if is_full && news == 0 && self.queue.len() + PAGE_ROWS <= ROWS_MAX && self.ending.is_none() {
                    // All of these are in our hands: what else there is stands behind them.
                    self.read(last);
                } else {
                    self.is_more |= is_full;
                }
            }
            Done::Read { result: Err(error), .. } => {
                self.is_reading = false;
                self.queue.forget(&std::mem::take(&mut self.gone));
                self.next_look = now + RETRY;
                self.trouble("what waits could not be read", &error);
            }
            Done::Removed { ids, result } => {
                self.is_removing = false;
                match result {
                    Ok(()) => {
                        self.forget(ids);
                        // The last of a crowd: the figures are not to say for long that it waits.
                        if self.queue.len() == self.gone.len() && self.channel.is_backlog_shown() {
                            self.next_count = now;
                        }
                    }
                    Err(error) => {
                        self.over.extend(ids);
                        self.remove_not_before = now + RETRY;
                        self.trouble("what was told could not be removed, and is told again after a restart", &error);
                    }
                }
            }
            Done::Buried { event, reason, result } => match result {
                Ok(()) => {
                    let (id, lane) = (event.row.id, event.row.lane);
                    let lane_shown = super::shown_lane(&lane);
                    tracing::error!(listener = %self.channel.id, about = lane_shown, reason, "an event was given up: API Manager does not know of this");
                    self.channel.count_outcome("dead");
                    self.queue.done(&lane);
                    self.forget(vec![id]);
                    self.next_count = now;
                }
                Err(error) => {
                    self.trouble("an event could not be given up", &error);
                    self.queue.pause(event, now + RETRY);
                }
            },
            Done::Counted(result) => {
                (self.is_counting, self.next_count) = (false, now + COUNT);
                match result {
                    Ok(Backlog { waiting, dead, oldest }) => {
                        let age_ms = oldest.map_or(0, |oldest| self.app.clock.now().millis_since(oldest).max(0));
                        self.channel.show_backlog(waiting, dead, age_ms / 1000);
                    }
                    Err(error) => self.trouble("what waits could not be counted", &error),
                }
            }
        }
    }

    /// These rows are gone.
    fn forget(&mut self, ids: Vec<i64>) {
        if self.is_reading {
            self.gone.extend(ids);
        } else {
            self.queue.forget(&ids);
        }
    }

    fn posted(&mut self, mut event: Waiting, post: Post, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Delivered => {
                self.deliveries += 1;
                self.channel.count_outcome("delivered");
                self.answered();
                self.over.push(event.row.id);
                self.queue.done(&event.row.lane);
            }
            Outcome::Refused(reason) => {
                self.channel.count_outcome("refused");
                self.answered();
                event.refusals += 1;
                if event.refusals >= REFUSALS_MAX {
                    return self.bury(event, format!("{reason} to {REFUSALS_MAX} tries"));
                }
                let until = now + pause(event.refusals, &*self.app.rng);
                self.queue.pause(event, until);
            }
            Outcome::Failed(reason) => {
                // Others were taken since it failed before: it is this one.
                if event.deliveries_seen.is_some_and(|seen| seen < self.deliveries) {
                    event.failures += 1;
                }
                event.deliveries_seen = Some(self.deliveries);
                self.away(&reason, post, now);
                if event.failures >= FAILURES_MAX {
                    return self.bury(event, format!("{reason} to {FAILURES_MAX} tries, while others were taken"));
                }
                self.queue.again(event);
            }
            Outcome::Away(reason) => {
                self.away(&reason, post, now);
                self.queue.again(event);
            }
        }
    }

    fn answered(&mut self) {
        if self.pace.answered() {
            tracing::info!(listener = %self.channel.id, "the notification endpoint takes events again");
            self.channel.set_away(None);
        }
    }

    fn away(&mut self, reason: &str, post: Post, now: Instant) {
        self.channel.count_outcome("failed");
        if self.pace.failed(post, now, &*self.app.rng) {
            tracing::warn!(listener = %self.channel.id, reason, "the notification endpoint takes no events; they wait");
        }
        self.channel.set_away(Some((reason, self.pace.tries())));
    }

    fn trouble(&self, what: &str, error: &StoreError) {
        tracing::warn!(listener = %self.channel.id, error = %Chain(error), "notifications: {what}");
    }
}
