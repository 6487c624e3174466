//! The follower: keeps the catalog in step with the control plane (design decision D2).
//!
//! Owns: the snapshot at the start and after a gap that cannot be closed, the place in the event log, and what must still be
//! fetched. Leaves to `catalog`: the data; to `claviger_proto::follow`: the bookkeeping of numbers.
//!
//! Revocations are applied the moment their page arrives, whatever is being fetched meanwhile. An event that names a changed
//! object puts it on a list, and it stays there until it was fetched: an object that cannot be fetched now holds up no
//! revocation and is never forgotten. The issuers are on it once a minute in any case. The list is a set, so it is bounded by [`PENDING_MAX`]; beyond it a snapshot is cheaper.

use crate::catalog::{Catalog, Fetched};
use crate::control::{ControlError, EventPage};
use crate::gateway::Gateway;
use crate::listen::until_shutdown;
use claviger_proto::event::Event;
use claviger_proto::follow::{Cursor, EventsRequest, GAPS_ASKED_MAX};
use claviger_proto::ids::{ApiId, ApplicationId};
use claviger_proto::time::Timestamp;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Objects that may wait to be fetched again; with more of them a snapshot is taken.
const PENDING_MAX: usize = 10_000;
/// Objects fetched at once.
const FETCHES_MAX: usize = 8;
/// First and longest pause after a failure.
const PAUSE_MS_MIN: u64 = 100;
const PAUSE_MS_MAX: u64 = 1_000;
/// Pause after an empty page that came before its time.
const EMPTY_PAUSE_MS: u64 = 10;
/// Longest wait for a page while more gaps are open than fit into one question: the others' turn comes.
const TURN_MS: u64 = 50;
/// How much longer than it may hold a page back the control plane may take for one.
const ANSWER_TIMEOUT_MS: u64 = 15_000;
/// Wait for a snapshot, which can be large.
const SNAPSHOT_TIMEOUT_MS: u64 = 120_000;
/// Between two clean-ups of revocations that are past their end.
const EXPIRY_INTERVAL_MS: i64 = 60_000;
/// Between two looks at the issuers that no event asked for: one whose event was lost is not trusted for ever.
const ISSUERS_INTERVAL_MS: i64 = 60_000;
const NEVER_MS: i64 = i64::MIN;

/// How far the follower is. Observed by whoever must know that a change has arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Snapshots taken.
    pub snapshots: u64,
    /// Pages of events applied.
    pub pages: u64,
    /// Highest event number seen.
    pub after: i64,
    /// Changed objects still to be fetched.
    pub pending: usize,
    /// Number of the last look for a caller that was not known.
    pub looks: u64,
}

/// The follower's state as others see it.
#[derive(Debug)]
pub(crate) struct Following {
    progress: watch::Sender<Progress>,
    look_again: Notify,
    looking: Mutex<Looking>,
    /// Held from the question about the issuers until the answer is in the catalog.
    issuers_turn: tokio::sync::Mutex<()>,
    last_page_ms: AtomicI64,
    lag_events: AtomicI64,
}

/// Looks that unknown clients asked for.
#[derive(Debug, Default)]
struct Looking {
    last: Option<Timestamp>,
    asked: u64,
}

impl Following {
    pub(crate) fn new() -> Self {
        Self {
            progress: watch::Sender::new(Progress::default()),
            look_again: Notify::new(),
            looking: Mutex::default(),
            issuers_turn: tokio::sync::Mutex::new(()),
            last_page_ms: AtomicI64::new(NEVER_MS),
            lag_events: AtomicI64::new(0),
        }
    }

    /// Events that the control plane had and we had not, at the last page.
    pub(crate) fn lag_events(&self) -> i64 {
        self.lag_events.load(Ordering::Relaxed)
    }

    /// Time since the last page or snapshot; `None` before the first.
    pub(crate) fn page_age_ms(&self, now: Timestamp) -> Option<i64> {
        let at = self.last_page_ms.load(Ordering::Relaxed);
        (at != NEVER_MS).then(|| now.millis_since(Timestamp::from_millis(at)))
    }

    fn note_contact(&self, now: Timestamp, change: impl FnOnce(&mut Progress)) {
        self.last_page_ms.store(now.as_millis(), Ordering::Relaxed);
        self.progress.send_modify(change);
    }
}

/// An object to be fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Refetch {
    Issuers,
    Api(ApiId),
    Application(ApplicationId),
}

impl Refetch {
    fn of(event: &Event, catalog: &Catalog) -> Vec<Self> {
        match event {
            Event::ApiChanged { api_id } => vec![Self::Api(*api_id)],
            Event::ApplicationChanged { application_id } => vec![Self::Application(*application_id)],
            Event::KeysChanged => vec![Self::Issuers],
            // A client's name may be another tenant's after its end.
            Event::ClientChanged { consumer_key } => {
                catalog.applications_of_tenant_client(consumer_key).into_iter().map(Self::Application).collect()
            }
            // Revocations carry all they need; the rest does not concern a gateway yet (policies: a later piece).
            Event::TokenRevoked { .. }
            | Event::ClientRevoked { .. }
            | Event::UserRevoked { .. }
            | Event::PoliciesChanged { .. }
            | Event::TokenRetired { .. }
            | Event::Unknown
            | Event::UserChanged { .. } => Vec::new(),
        }
    }
}

/// The follower's own state between two snapshots.
struct Place {
    cursor: Cursor,
    /// The age of a gap counts from here on: a step of the clock is no reason to forget one.
    begun: Instant,
    pending: BTreeSet<Refetch>,
    /// Objects of the batch that is being fetched. One that changes meanwhile is pending again, for the next batch: answers
    /// never overtake each other.
    under_way: usize,
    /// Not before this are pending objects that failed tried again.
    retry_at: Instant,
    pause: Pause,
    expired_at: Timestamp,
    /// When the issuers were last put on the list, by [`Self::now`].
    issuers_at: Timestamp,
}

impl Place {
    /// Time that does not jump, for the cursor alone.
    fn now(&self) -> Timestamp {
        steady(self.begun)
    }

    /// Objects of which the catalog may not have the present state.
    fn unfetched(&self) -> usize {
        self.pending.len() + self.under_way
    }

    /// The next batch to fetch, if it is time for it.
    fn take_due(&mut self) -> Option<BTreeSet<Refetch>> {
        if self.pending.is_empty() || Instant::now() < self.retry_at {
            return None;
        }
        self.under_way = self.pending.len();
        Some(std::mem::take(&mut self.pending))
    }
}

/// A question for events under way.
struct Poll<'g> {
    answer: BoxFuture<'g, Polled>,
    /// The look that it is for.
    look: Option<u64>,
}

/// What became of it.
struct Polled {
    page: Result<EventPage, ControlError>,
    /// The question, and when it was put.
    request: EventsRequest,
    asked_at: Timestamp,
    /// Did the answer come before the control plane had to give one?
    is_early: bool,
}

/// Time since an instant, as the cursor counts it.
fn steady(begun: Instant) -> Timestamp {
    Timestamp::from_millis(i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX))
}

/// An object that was asked for, and what came back.
type Answer = (Refetch, Result<Option<Fetched>, ControlError>);

/// A pause that doubles with each failure in a row.
struct Pause(u64);

impl Pause {
    fn new() -> Self {
        Self(PAUSE_MS_MIN)
    }

    fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(self.0);
        self.0 = (self.0 * 2).min(PAUSE_MS_MAX);
        pause
    }
}

impl Gateway {
    /// Keeps the catalog in step until `shutdown` becomes true or its sender is gone.
    pub async fn run_follower(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        tokio::select! {
            () = self.follow() => {}
            () = until_shutdown(&mut shutdown) => {}
        }
    }

    /// How far the follower is, and every change of it.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.following.progress.subscribe()
    }

    /// Was a snapshot loaded, and has the control plane been heard of within the bound?
    pub fn is_ready(&self) -> bool {
        self.following.page_age_ms(self.clock.now()).is_some_and(|age_ms| age_ms <= self.config.ready_age_ms_max)
    }

    /// Asks the follower to look for events at once and waits until it has, at most `unknown_client_wait_ms`. Within
    /// `unknown_client_interval_ms` of the last look nobody waits: what it found is as new as it gets.
    pub(crate) async fn look_again(&self, now: Timestamp) {
        let asked = {
            let mut looking = self.following.looking.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = looking.last.is_none_or(|at| now.millis_since(at) >= self.config.unknown_client_interval_ms);
            if is_due {
                looking.last = Some(now);
                looking.asked += 1;
                self.following.look_again.notify_one();
            }
            looking.asked
        };
        let mut progress = self.progress();
        let wait = Duration::from_millis(self.config.unknown_client_wait_ms);
        // A look that is over is not waited for; no answer in time means the same as nothing new.
        drop(tokio::time::timeout(wait, progress.wait_for(|progress| progress.looks >= asked)).await);
    }

    async fn follow(&self) {
        let mut pause = Pause::new();
        loop {
            let mut place = self.take_snapshot().await;
            let is_fruitful = self.follow_from(&mut place).await;
            if is_fruitful {
                pause = Pause::new();
            } else {
                tokio::time::sleep(pause.next()).await;
            }
        }
    }

    /// Tries until it has one.
    async fn take_snapshot(&self) -> Place {
        let mut pause = Pause::new();
        let timeout = Duration::from_millis(SNAPSHOT_TIMEOUT_MS);
        loop {
            let in_turn = self.following.issuers_turn.lock().await;
            match within(timeout, self.control.snapshot()).await {
                Ok(snapshot) => {
                    let (as_of, apis, applications) =
                        (snapshot.as_of, snapshot.apis.len(), snapshot.applications.len());
                    self.catalog.replace(snapshot, &self.config);
                    let now = self.clock.now();
                    self.following.note_contact(now, |progress| {
                        progress.snapshots += 1;
                        progress.after = as_of.0;
                        progress.pending = 0;
                    });
                    tracing::info!(%as_of, apis, applications, "Snapshot as of event {as_of}: {apis} APIs");
                    return Place {
                        cursor: Cursor::new(as_of),
                        begun: Instant::now(),
                        pending: BTreeSet::new(),
                        under_way: 0,
                        retry_at: Instant::now(),
                        pause: Pause::new(),
                        expired_at: now,
                        issuers_at: Timestamp::from_millis(0),
                    };
                }
                Err(error) => {
                    drop(in_turn);
                    tracing::warn!(%error, "No snapshot from the control plane: {error}");
                    tokio::time::sleep(pause.next()).await;
                }
            }
        }
    }

    /// Follows until a snapshot is needed. True when at least one page came. The question for events and the fetching of
    /// changed objects run side by side: objects that come slowly, or not at all, hold up no revocation.
    async fn follow_from(&self, place: &mut Place) -> bool {
        let mut pause = Pause::new();
        let mut is_fruitful = false;
        let mut poll = self.poll(place, None, Duration::ZERO);
        let mut fetching: Option<BoxFuture<'_, Vec<Answer>>> = None;
        // The look whose page is here while its objects are not.
        let mut looked = None;
        loop {
            if fetching.is_none() {
                fetching = place.take_due().map(|due| self.fetch_all(due).boxed());
            }
            if fetching.is_none()
                && let Some(look) = looked.take()
            {
                self.following.progress.send_modify(|progress| progress.looks = progress.looks.max(look));
            }
            tokio::select! {
                polled = &mut poll.answer => match polled.page {
                    Ok(page) => {
                        if !self.take_page(place, &page) {
                            return is_fruitful;
                        }
                        place.cursor.answered(&polled.request, polled.asked_at);
                        self.note_page(place, &page);
                        looked = poll.look.or(looked);
                        is_fruitful = true;
                        pause = Pause::new();
                        // A control plane that does not hold empty pages back is not asked in a tight loop.
                        let is_idle = page.events.is_empty() && polled.is_early;
                        let rest = if is_idle { Duration::from_millis(EMPTY_PAUSE_MS) } else { Duration::ZERO };
                        poll = self.poll(place, None, rest);
                    }
                    Err(ControlError::SnapshotNeeded) => return is_fruitful,
                    Err(
                        error @ (ControlError::Unavailable(_)
                        | ControlError::Refused
                        | ControlError::Unsupported
                        | ControlError::Malformed(_)),
                    ) => {
                        tracing::warn!(%error, "No events from the control plane: {error}");
                        poll = self.poll(place, poll.look, pause.next());
                    }
                },
                answers = answers_of(&mut fetching) => {
                    fetching = None;
                    self.take_answers(place, answers);
                }
                () = tokio::time::sleep_until(place.retry_at), if fetching.is_none() && !place.pending.is_empty() => {}
                () = self.following.look_again.notified(), if poll.look.is_none() => {
                    let asked = self.following.looking.lock().unwrap_or_else(PoisonError::into_inner).asked;
                    poll = self.poll(place, Some(asked), Duration::ZERO);
                }
            }
        }
    }

    /// Asks for the next page after a rest. For a look the answer is wanted at once.
    fn poll(&self, place: &Place, look: Option<u64>, rest: Duration) -> Poll<'_> {
        let request = place.cursor.request(GAPS_ASKED_MAX);
        let wait_ms = match look {
            Some(_) => 0,
            None if request.gaps.len() < place.cursor.gaps() => self.config.events_wait_ms.min(TURN_MS),
            None => self.config.events_wait_ms,
        };
        let timeout = Duration::from_millis(wait_ms.saturating_add(ANSWER_TIMEOUT_MS));
        let place_begun = place.begun;
        let answer = async move {
            // Even a sleep of nothing takes until the timer's next tick.
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
            let (begun, asked_at) = (Instant::now(), steady(place_begun));
            let page = within(timeout, self.control.events(request.clone(), wait_ms)).await;
            Polled { page, request, asked_at, is_early: begun.elapsed() < Duration::from_millis(wait_ms) }
        };
        Poll { answer: answer.boxed(), look }
    }

    /// Applies a page. False when a snapshot is needed.
    fn take_page(&self, place: &mut Place, page: &EventPage) -> bool {
        // All of them first, also those seen before: they only add.
        for numbered in &page.events {
            self.catalog.apply_revocation(&numbered.event);
            if numbered.event == Event::KeysChanged {
                self.catalog.note_key_change();
            }
        }
        let seen_at = place.now();
        for numbered in &page.events {
            match place.cursor.observe(numbered.id, seen_at) {
                Ok(true) => {
                    for refetch in Refetch::of(&numbered.event, &self.catalog) {
                        // News is worth a try at once.
                        place.retry_at = Instant::now();
                        place.pending.insert(refetch);
                    }
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "A snapshot is needed: {error}");
                    return false;
                }
            }
        }
        if seen_at.millis_since(place.issuers_at) >= ISSUERS_INTERVAL_MS {
            place.issuers_at = seen_at;
            place.pending.insert(Refetch::Issuers);
        }
        let now = self.clock.now();
        if now.millis_since(place.expired_at) >= EXPIRY_INTERVAL_MS {
            place.expired_at = now;
            self.catalog.expire_revocations(now, &self.config);
        }
        place.unfetched() <= PENDING_MAX
    }

    /// Fetches some objects, a few at once.
    async fn fetch_all(&self, due: BTreeSet<Refetch>) -> Vec<Answer> {
        let calls = due.into_iter().map(|refetch| async move { (refetch, self.fetch(refetch).await) });
        futures_util::stream::iter(calls).buffer_unordered(FETCHES_MAX).collect().await
    }

    /// Takes in what was fetched. What failed goes back on the list.
    fn take_answers(&self, place: &mut Place, answers: Vec<Answer>) {
        place.under_way = 0;
        let has_news = !place.pending.is_empty();
        let mut fetched = Vec::with_capacity(answers.len());
        let mut has_failed = false;
        for (refetch, answer) in answers {
            match answer {
                Ok(object) => fetched.extend(object),
                Err(error) => {
                    tracing::warn!(?refetch, %error, "A changed object could not be fetched: {error}");
                    place.pending.insert(refetch);
                    has_failed = true;
                }
            }
        }
        self.catalog.update(fetched, &self.config);
        if !has_failed {
            place.pause = Pause::new();
        } else if !has_news {
            place.retry_at = Instant::now() + place.pause.next();
        }
        self.following.progress.send_modify(|progress| progress.pending = place.unfetched());
    }

    /// The object as it is now; `None` when it is in the catalog already.
    async fn fetch(&self, refetch: Refetch) -> Result<Option<Fetched>, ControlError> {
        let timeout = Duration::from_millis(ANSWER_TIMEOUT_MS);
        match refetch {
            Refetch::Issuers => within(timeout, self.refresh_issuers()).await.map(|()| None),
            Refetch::Api(id) => {
                let api = within(timeout, self.control.api(id)).await?;
                Ok(Some(Fetched::Api(id, api.map(Box::new))))
            }
            Refetch::Application(id) => {
                let application = within(timeout, self.control.application(id)).await?;
                Ok(Some(Fetched::Application(id, application.map(Box::new))))
            }
        }
    }

    /// Fetches the issuers and takes them in. The follower and calls with an unknown key both do; one after the other, so
    /// that an answer which was overtaken cannot bring back a key that was withdrawn.
    pub(crate) async fn refresh_issuers(&self) -> Result<(), ControlError> {
        let _in_turn = self.following.issuers_turn.lock().await;
        self.catalog.set_issuers(self.control.issuers().await?);
        Ok(())
    }

    fn note_page(&self, place: &Place, page: &EventPage) {
        let after = place.cursor.after().0;
        self.following.lag_events.store(page.last.0.saturating_sub(after).max(0), Ordering::Relaxed);
        self.following.note_contact(self.clock.now(), |progress| {
            progress.pages += 1;
            progress.after = after;
            progress.pending = place.unfetched();
        });
    }
}

/// The answers of a batch, if one is under way.
async fn answers_of(fetching: &mut Option<BoxFuture<'_, Vec<Answer>>>) -> Vec<Answer> {
    match fetching {
        Some(batch) => batch.await,
        None => std::future::pending().await,
    }
}

async fn within<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, ControlError>>,
) -> Result<T, ControlError> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(ControlError::Unavailable(format!("no answer in {} ms", timeout.as_millis()))),
    }
}
