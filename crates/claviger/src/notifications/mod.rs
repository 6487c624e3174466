//! Telling API Manager of dead tokens (contract rest-3x.md 5.1, 5.2): the listeners of `[[event_listener]]`.
//!
//! `outbox` writes an event down in the transaction of its change; `sender` posts what is written down, at one node at a time,
//! and removes what was taken. So an event is told at least once, whatever ends in between, and no request waits for it.
//! `event` makes the bodies, `queue` keeps the order, `pace` the pauses, `endpoint` posts, `view` shows what is the matter.
//!
//! Events about users (`subject_entity_revocation_event`) are not made: nothing in the product changes a user's lock, password or
//! roles yet.

mod endpoint;
mod event;
pub mod outbox;
mod pace;
mod queue;
mod sender;
mod view;

pub use view::routes;

use crate::app::App;
use crate::config::Config;
use crate::http::reply::Chain;
use crate::http::serve::stopped;
use crate::ops::Metrics;
use claviger_proto::entropy::uuid;
use claviger_proto::event::Event;
use claviger_proto::time::Timestamp;
use claviger_store::leases::Lease;
use claviger_store::sql::Engine;
use endpoint::Endpoint;
use futures_util::future::join_all;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use rustls_pki_types::CertificateDer;
use sender::Sender;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The name of the lease under which one node sends.
const LEASE: &str = "notifications";
/// A node that has the work and gave no sign of life for so long is dead; it gives six in that time.
const SILENCE: Duration = Duration::from_secs(8);
/// Between two looks whether the work is free.
const ELECTION: Duration = Duration::from_secs(1);
/// Longest wait, at the end of the process, for the lease to be given back.
const GIVE_BACK: Duration = Duration::from_secs(2);
/// How long after a token's own end API Manager is still told that it is dead: clocks may be apart, and so may the receiver's
/// idea of the end.
const NEEDED_MS: i64 = 86_400_000;

/// Events about tokens that ended before this need not be told any more.
pub(crate) fn needed_since(now: Timestamp) -> Timestamp {
    now.plus_millis(-NEEDED_MS)
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByListener {
    listener: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByOutcome {
    listener: String,
    outcome: &'static str,
}

/// Figures of the listeners.
#[derive(Clone, Default)]
struct Counters {
    posts: Family<ByOutcome, Counter>,
    waiting: Family<ByListener, Gauge>,
    dead: Family<ByListener, Gauge>,
    lag_seconds: Family<ByListener, Gauge>,
}

impl Counters {
    fn register(metrics: &Metrics) -> Self {
        let counters = Self::default();
        let mut registry = metrics.registry();
        registry.register(
            "claviger_notifications",
            "Events for API Manager by what became of them: delivered; failed and refused tries; dead ones that were given up; \
             expired ones that nobody needed any more",
            counters.posts.clone(),
        );
        registry.register(
            "claviger_notifications_waiting",
            "Events that were not taken yet, at the node that sends; 0 at the others",
            counters.waiting.clone(),
        );
        registry.register(
            "claviger_notifications_dead_letters",
            "Events that were given up and are kept, at the node that sends; 0 at the others",
            counters.dead.clone(),
        );
        registry.register(
            "claviger_notifications_lag_seconds",
            "Age of the oldest event that waits, at the node that sends; 0 at the others",
            counters.lag_seconds.clone(),
        );
        counters
    }
}

/// One listener at work.
struct Channel {
    id: String,
    /// Where its events go, for people.
    shown_endpoint: String,
    endpoint: Endpoint,
    counters: Counters,
    /// This node sends.
    is_sending: AtomicBool,
    /// Why nothing is taken, and after how many tries; as this node sees it.
    away: Mutex<Option<(String, u32)>>,
}

impl Channel {
    fn count_outcome(&self, outcome: &'static str) {
        self.counters.posts.get_or_create(&ByOutcome { listener: self.id.clone(), outcome }).inc();
    }

    fn show_backlog(&self, waiting: u64, dead: u64, lag_s: i64) {
        let label = ByListener { listener: self.id.clone() };
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.counters.waiting.get_or_create(&label).set(gauge(waiting));
        self.counters.dead.get_or_create(&label).set(gauge(dead));
        self.counters.lag_seconds.get_or_create(&label).set(lag_s);
    }

    /// Do the figures say that something waits?
    fn is_backlog_shown(&self) -> bool {
        self.counters.waiting.get_or_create(&ByListener { listener: self.id.clone() }).get() > 0
    }

    fn set_sending(&self, is_sending: bool) {
        self.is_sending.store(is_sending, Ordering::Relaxed);
        if !is_sending {
            self.show_backlog(0, 0, 0);
            self.set_away(None);
        }
    }

    fn set_away(&self, away: Option<(&str, u32)>) {
        let mut state = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        *state = away.map(|(reason, tries)| (reason.to_owned(), tries));
    }
}

/// The listeners of this process.
pub struct Notifications {
    channels: Vec<Arc<Channel>>,
    wake: watch::Sender<u64>,
}

impl Notifications {
    /// The listeners of a configuration. The authorities are asked for only when there are any.
    pub fn new(
        config: &Config,
        trusted: impl FnOnce() -> anyhow::Result<Vec<CertificateDer<'static>>>,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let mut channels = Vec::new();
        if !config.listeners.is_empty() {
            let (trusted, counters) = (trusted()?, Counters::register(metrics));
            for listener in &config.listeners {
                let channel = Channel {
                    id: listener.id.clone(),
                    shown_endpoint: listener.endpoint.to_string(),
                    endpoint: Endpoint::new(listener, trusted.clone())?,
                    counters: counters.clone(),
                    is_sending: AtomicBool::new(false),
                    away: Mutex::new(None),
                };
                channel.show_backlog(0, 0, 0);
                channels.push(Arc::new(channel));
            }
        }
        Ok(Self { channels, wake: watch::Sender::new(0) })
    }

    /// Takes notice of a committed event, of this node or another: there may be something to tell.
    pub fn apply(&self, event: &Event) {
        if !self.channels.is_empty() && matches!(event, Event::TokenRevoked { .. } | Event::ClientRevoked { .. }) {
            self.wake();
        }
    }

    fn wake(&self) {
        self.wake.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Tells the listeners until shutdown, whenever this node is the one that does.
pub async fn run(app: Arc<App>, mut shutdown: watch::Receiver<bool>) {
    if app.notifications.channels.is_empty() {
        return;
    }
    if app.store.engine() == Engine::Sqlite {
        // Nobody else can open it.
        return send(&app, || true, &shutdown).await;
    }
    let mut lease = Lease::new(LEASE, uuid(&*app.rng), SILENCE);
    while !*shutdown.borrow() {
        match lease.take(&app.store).await {
            Ok(Some(held)) => {
                send(&app, || held.is_held(), &shutdown).await;
                if !matches!(tokio::time::timeout(GIVE_BACK, held.release()).await, Ok(Ok(()))) {
                    tracing::debug!("the lease of the notifications ends by itself");
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "nobody can be found who tells API Manager of dead tokens");
            }
        }
        tokio::select! {
            () = stopped(&mut shutdown) => {}
            () = tokio::time::sleep(ELECTION) => {}
        }
    }
}

async fn send(app: &Arc<App>, is_elected: impl Fn() -> bool + Copy, shutdown: &watch::Receiver<bool>) {
    let senders = app.notifications.channels.iter().map(|channel| {
        let sender = Sender::new(app.clone(), channel.clone());
        sender.run(is_elected, shutdown.clone())
    });
    join_all(senders).await;
}

/// What an event is about, as logs and answers name it: a token by the first digits of its hash.
fn shown_lane(lane: &str) -> &str {
    match lane.get(..8) {
        Some(first) if lane.len() == 64 => first,
        _ => lane,
    }
}
