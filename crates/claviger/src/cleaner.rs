//! Keeps the tables near the size of what still matters: one node of several removes what is over, in small writes, and never
//! takes more than a share of the database's time.
//!
//! Owns: when, how fast, and which node. What may go is the store's rule (`claviger_store::cleaning`). This is the only place
//! that removes rows because of their age.
//!
//! **Pace.** After each statement the cleaner waits in proportion to what it took: at a share of a quarter, three times as
//! long. What a statement takes includes the wait for a connection and for the server, so the busier the database is, the
//! longer the pauses become. One that took far longer than the work in it can explain is answered by a longer pause still.

mod once;

pub use once::clean_database;

use crate::app::App;
use crate::config::database::DatabaseUrl;
use crate::config::{self, Config};
use crate::http::reply::Chain;
use crate::http::serve::stopped;
use crate::notifications;
use crate::oauth::OAuthSettings;
use crate::ops::Metrics;
use claviger_proto::entropy::uuid;
use claviger_proto::time::{Clock, Timestamp};
use claviger_store::cleaning::{self, Candidate, Rules, Table};
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::leases::{Held, Lease};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The name of the lease under which one node cleans.
const LEASE: &str = "cleaning";
/// How far our clock and the database server's may be apart.
const CLOCKS_APART_MS_MAX: i64 = 60_000;
/// What a killed node would have cleaned waits for so long; a holder writes a sign of life six times in it.
const SILENCE_MS_MAX: u64 = 300_000;
/// A statement on a hundred rows takes some milliseconds; one that takes longer than this stands in a queue.
const SLOW_MS: u64 = 250;
/// The pause after such a one is so much longer.
const SLOW_FACTOR: u32 = 4;
/// Longest wait, at the end of the process, for the lease to be given back.
const GIVE_BACK_MS_MAX: u64 = 2_000;
/// After so many failed rounds in a row another node is to try.
const FAILED_ROUNDS_MAX: u32 = 3;
/// The longer pause is at most this, unless the share alone asks for more.
const PAUSE_MS_MAX: u64 = 300_000;
/// The offline procedure's two hours (database.md 3.8).
const ACTIVE_ENDED_MS: i64 = 2 * 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// How long a notification is kept: one that was given up, for somebody to look at it, and one whose listener is gone.
const NOTIFICATION_DAYS: u32 = 30;
/// How much later tokens and codes go on a MySQL server for which nobody named `db.token_time_zone`: Connector/J 5 stored local
/// time (database.md 1.4), and no zone is further from UTC.
const UNKNOWN_ZONE_MS: i64 = 14 * 3_600_000;

/// What an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "switches that know nothing of each other")]
pub struct Cleanup {
    /// Clean at all. `claviger db clean` does whatever this says.
    pub is_enabled: bool,
    /// From the end of one walk through all tables to the next.
    pub interval_ms: u64,
    /// Longest round. A walk that is not through by then is taken up again after as long a pause.
    pub budget_ms: u64,
    /// A node that has the work and gave no sign of life for so long is dead, and the next one takes over.
    pub silence_ms_max: u64,
    /// Share of the time in which the cleaner has a statement under way, in percent, 1 to 100.
    pub share_percent: u32,
    /// Clean only while our clock agrees with the database server's. False for who makes up the time.
    pub is_clock_compared: bool,
    /// Clean IDN_OAUTH2_ACCESS_TOKEN.
    pub are_tokens_cleaned: bool,
    /// Copy tokens to IDN_OAUTH2_ACCESS_TOKEN_AUDIT as they go.
    pub is_audit_kept: bool,
    /// How long audit rows are kept; `None`: for ever.
    pub audit_retention_days: Option<u32>,
}

/// What an empty configuration sets.
impl Default for Cleanup {
    fn default() -> Self {
        Self {
            is_enabled: true,
            interval_ms: 300_000,
            budget_ms: 60_000,
            silence_ms_max: SILENCE_MS_MAX,
            share_percent: 25,
            is_clock_compared: true,
            are_tokens_cleaned: true,
            is_audit_kept: true,
            audit_retention_days: None,
        }
    }
}

impl From<&config::model::Cleanup> for Cleanup {
    fn from(settings: &config::model::Cleanup) -> Self {
        Self {
            is_enabled: settings.is_enabled,
            interval_ms: settings.interval_s.saturating_mul(1000),
            budget_ms: settings.time_budget_ms,
            silence_ms_max: SILENCE_MS_MAX,
            share_percent: settings.share_percent,
            is_clock_compared: true,
            are_tokens_cleaned: settings.are_tokens_cleaned,
            is_audit_kept: settings.is_audit_kept,
            audit_retention_days: settings.audit_retention_days,
        }
    }
}

impl Cleanup {
    /// What may go at an instant.
    pub fn rules(&self, config: &Config, oauth: &OAuthSettings, now: Timestamp) -> Rules {
        let ended_before = oauth.ended_before(now);
        let databases = &config.databases;
        let is_zone_known =
            databases.is_token_time_zone_set || !matches!(databases.identity.url, DatabaseUrl::MySql(_));
        let later_ms = if is_zone_known { 0 } else { UNKNOWN_ZONE_MS };
        let days_ago = |days: u32| now.plus_millis(-i64::from(days) * DAY_MS);
        Rules {
            now,
            ended_before,
            tokens_ended_before: ended_before.plus_millis(-later_ms),
            active_ended_before: ended_before.min(now.plus_millis(-ACTIVE_ENDED_MS)).plus_millis(-later_ms),
            is_life_awaited: oauth.is_access_renewed_per_request,
            is_audit_kept: self.is_audit_kept,
            audit_before: self.audit_retention_days.map(days_ago),
            events_before: days_ago(config.events.retention_days),
            notifications_before: days_ago(NOTIFICATION_DAYS),
            notifications_ended_before: notifications::needed_since(now),
        }
    }

    /// The tables of a database that are cleaned.
    pub fn tables(&self, store: &Store) -> Vec<Table> {
        let is_cleaned = |table: &Table| *table != Table::AccessTokens || self.are_tokens_cleaned;
        cleaning::tables(store.capabilities()).filter(is_cleaned).collect()
    }

    /// How far our clock and the database server's are apart, in milliseconds, when that is more than they may be: what goes would
    /// be decided by a wrong time.
    async fn clocks_apart_ms(&self, store: &Store, clock: &dyn Clock) -> Result<Option<i64>, StoreError> {
        if !self.is_clock_compared {
            return Ok(None);
        }
        let mut conn = store.reader().await?;
        let before = clock.now();
        let Some(theirs) = cleaning::server_time(&mut conn).await? else { return Ok(None) };
        let apart_ms = before.millis_since(theirs).max(theirs.millis_since(clock.now()));
        Ok((apart_ms > CLOCKS_APART_MS_MAX).then_some(apart_ms))
    }

    fn pause_after(&self, taken: Duration) -> Duration {
        let share = self.share_percent.clamp(1, 100);
        let pause = taken * (100 - share) / share;
        let is_slow = taken > Duration::from_millis(SLOW_MS);
        if is_slow { pause.max((pause * SLOW_FACTOR).min(Duration::from_millis(PAUSE_MS_MAX))) } else { pause }
    }
}

/// Rows by table.
pub type Totals = BTreeMap<Table, u64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByTable {
    table: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

/// Counters of the cleaner.
#[derive(Clone, Default)]
struct Counters {
    rounds: Family<ByOutcome, Counter>,
    removed: Family<ByTable, Counter>,
    last_round: Gauge,
    lag_seconds: Gauge,
}

impl Counters {
    fn register(metrics: &Metrics) -> Self {
        let counters = Self::default();
        let mut registry = metrics.registry();
        let (rounds, removed) = (counters.rounds.clone(), counters.removed.clone());
        registry.register(
            "claviger_cleanup_rounds",
            "Rounds of cleaning, and tries of a node that another one spares them",
            rounds,
        );
        registry.register("claviger_cleanup_removed_rows", "Rows removed because they were over, by table", removed);
        registry.register(
            "claviger_cleanup_last_round_timestamp_seconds",
            "When this node's last round of cleaning ended; 0 when it had none",
            counters.last_round.clone(),
        );
        registry.register(
            "claviger_cleanup_lag_seconds",
            "Age of the last walk through all tables that this node brought to its end, as of its last round",
            counters.lag_seconds.clone(),
        );
        counters
    }
}

/// Where a walk through the tables stands.
struct Walk {
    begun: Timestamp,
    tables: Vec<Table>,
    /// Index into `tables`.
    table: usize,
    /// Place in that table.
    after: String,
    /// A table could not be cleaned to its end.
    has_failed: bool,
}

/// Why a page is left before its end.
enum Break {
    Outcome(Outcome),
    Failed(StoreError),
}

impl From<StoreError> for Break {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The walk is through.
    Complete,
    /// Its time is over; the walk goes on next time.
    Budget,
    /// Another node has the lease.
    NotElected,
    /// Our clock or the database server's is wrong.
    ClocksApart,
    /// The process ends.
    Stopped,
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Budget => "budget",
            Self::NotElected => "not_elected",
            Self::ClocksApart => "clocks_apart",
            Self::Stopped => "stopped",
        }
    }
}

/// Cleans until shutdown, whenever this node is the elected one.
pub async fn run(app: Arc<App>, settings: Cleanup, shutdown: watch::Receiver<bool>) {
    if !settings.is_enabled {
        tracing::info!("the tables are not cleaned by this node");
        return;
    }
    let lease = Lease::new(LEASE, uuid(&*app.rng), Duration::from_millis(settings.silence_ms_max));
    let (counters, walked) = (Counters::register(&app.metrics), app.clock.now());
    let mut cleaner = Cleaner { app, settings, shutdown, counters, lease, held: None, walk: None, walked };
    let mut failed_rounds = 0;
    loop {
        let result = cleaner.round().await;
        let outcome = result.as_ref().map_or("failed", |outcome| outcome.word());
        cleaner.counters.rounds.get_or_create(&ByOutcome { outcome }).inc();
        let pause_ms = cleaner.pause_ms(&result);
        match result {
            Ok(Outcome::Stopped) => break,
            Ok(_) => failed_rounds = 0,
            Err(error) => {
                failed_rounds += 1;
                tracing::warn!(error = %Chain(&error), "not all tables could be cleaned; the next round goes on");
            }
        }
        if failed_rounds >= FAILED_ROUNDS_MAX {
            // The pause is long enough for the others to take it.
            cleaner.give_back().await;
            failed_rounds = 0;
        }
        // Who has the lease keeps it meanwhile: one node cleans in its rhythm, not each in its own.
        if cleaner.wait(Duration::from_millis(pause_ms)).await.is_none() {
            break;
        }
    }
    cleaner.give_back().await;
}

struct Cleaner {
    app: Arc<App>,
    settings: Cleanup,
    shutdown: watch::Receiver<bool>,
    counters: Counters,
    lease: Lease,
    held: Option<Held>,
    walk: Option<Walk>,
    /// When the last walk that came to its end had begun.
    walked: Timestamp,
}

impl Cleaner {
    /// The end of some work, or `None` when the process ends before it. A write that is under way then ends by itself.
    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = stopped(&mut self.shutdown) => None,
            value = work => Some(value),
        }
    }

    /// Waits; `None` when the process ends.
    async fn wait(&mut self, pause: Duration) -> Option<()> {
        self.unless_stopped(tokio::time::sleep(pause)).await
    }

    /// The wait after a round.
    fn pause_ms(&self, result: &Result<Outcome, StoreError>) -> u64 {
        match result {
            Ok(Outcome::Complete | Outcome::ClocksApart | Outcome::Stopped) | Err(_) => self.settings.interval_ms,
            Ok(Outcome::Budget) => self.settings.budget_ms.min(self.settings.interval_ms),
            // Soon after the holder's end its work is to go on.
            Ok(Outcome::NotElected) => self.settings.interval_ms.min(self.settings.silence_ms_max / 2),
        }
    }

    /// One round. Its totals are logged and counted however it ends.
    async fn round(&mut self) -> Result<Outcome, StoreError> {
        if let Some(apart_ms) = self.settings.clocks_apart_ms(&self.app.store, &*self.app.clock).await? {
            tracing::error!(apart_ms, "nothing is cleaned: this host's clock and the database server's are apart");
            // Another node's may be right.
            self.give_back().await;
            return Ok(Outcome::ClocksApart);
        }
        if !self.is_elected().await? {
            self.walk = None;
            self.walked = self.app.clock.now();
            self.counters.lag_seconds.set(0);
            return Ok(Outcome::NotElected);
        }
        let (begun, mut totals) = (Instant::now(), Totals::new());
        let result = self.walk(begun, &mut totals).await;
        let now = self.app.clock.now();
        for (table, rows) in &totals {
            self.counters.removed.get_or_create(&ByTable { table: table.name() }).inc_by(*rows);
        }
        self.counters.last_round.set(now.as_secs());
        self.counters.lag_seconds.set(now.millis_since(self.walked).max(0) / 1000);
        let (took_ms, is_complete) = (begun.elapsed().as_millis(), matches!(result, Ok(Outcome::Complete)));
        if totals.is_empty() {
            tracing::debug!(took_ms, is_complete, "nothing to clean");
        } else {
            tracing::info!(rows = %listed(&totals), took_ms, is_complete, "tables cleaned");
        }
        result
    }

    /// Goes on with the walk. An error is returned when every other table has had its turn.
    async fn walk(&mut self, begun: Instant, totals: &mut Totals) -> Result<Outcome, StoreError> {
        let mut walk = self.walk.take().unwrap_or_else(|| Walk {
            begun: self.app.clock.now(),
            tables: self.settings.tables(&self.app.store),
            table: 0,
            after: String::new(),
            has_failed: false,
        });
        let (budget, mut failed) = (Duration::from_millis(self.settings.budget_ms), None);
        while let Some(&table) = walk.tables.get(walk.table) {
            if begun.elapsed() >= budget {
                self.walk = Some(walk);
                return failed.map_or(Ok(Outcome::Budget), Err);
            }
            match self.page(table, &walk.after, totals).await {
                Ok(Some(next)) => walk.after = next,
                Ok(None) => (walk.table, walk.after) = (walk.table + 1, String::new()),
                Err(Break::Outcome(outcome)) => return Ok(outcome),
                Err(Break::Failed(error)) => {
                    // What is the matter with one table must not keep the others from being cleaned.
                    (walk.table, walk.after, walk.has_failed) = (walk.table + 1, String::new(), true);
                    if let Some(earlier) = failed.replace(error) {
                        tracing::warn!(error = %Chain(&earlier), "a table could not be cleaned");
                    }
                    // What is the matter with the database does.
                    if !matches!(self.lease.hold(&self.app.store).await, Ok(true)) {
                        self.walk = Some(walk);
                        return failed.map_or(Ok(Outcome::NotElected), Err);
                    }
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if !walk.has_failed {
            self.walked = walk.begun;
        }
        Ok(Outcome::Complete)
    }

    /// Cleans one page: where the next begins.
    async fn page(&mut self, table: Table, after: &str, totals: &mut Totals) -> Result<Option<String>, Break> {
        let rules = self.settings.rules(&self.app.config, &self.app.oauth.settings, self.app.clock.now());
        let store = self.app.store.clone();
        let page = self.statement(find(&store, table, after, &rules)).await?;
        for some in page.candidates.chunks(cleaning::WRITE_ROWS) {
            let removed = self.statement(remove(&store, table, some, rules)).await?;
            if removed > 0 {
                *totals.entry(table).or_default() += removed;
            }
        }
        Ok(page.next)
    }

    /// A statement under the lease, and the pause after it.
    async fn statement<T>(&mut self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, Break> {
        if !self.held.as_ref().is_some_and(Held::is_held) {
            return Err(Break::Outcome(Outcome::NotElected));
        }
        let begun = Instant::now();
        let stopped = Break::Outcome(Outcome::Stopped);
        let Some(value) = self.unless_stopped(work).await else { return Err(stopped) };
        let (value, pause) = (value?, self.settings.pause_after(begun.elapsed()));
        self.wait(pause).await.ok_or(stopped)?;
        Ok(value)
    }

    /// Has this node the lease, or can it take it?
    async fn is_elected(&mut self) -> Result<bool, StoreError> {
        if !self.held.as_ref().is_some_and(Held::is_held) {
            self.held = self.lease.take(&self.app.store).await?;
        }
        Ok(self.held.is_some())
    }

    async fn give_back(&mut self) {
        let Some(held) = self.held.take() else { return };
        let bounded = tokio::time::timeout(Duration::from_millis(GIVE_BACK_MS_MAX), held.release()).await;
        if !matches!(bounded, Ok(Ok(()))) {
            tracing::debug!("the lease of the cleaner ends by itself");
        }
    }
}

async fn find(store: &Store, table: Table, after: &str, rules: &Rules) -> Result<cleaning::Page, StoreError> {
    cleaning::find(&mut store.reader().await?, table, after, rules).await
}

async fn remove(store: &Store, table: Table, candidates: &[Candidate], rules: Rules) -> Result<u64, StoreError> {
    let candidates = candidates.to_vec();
    let write = store.write(move |conn| {
        let candidates = candidates.clone();
        Box::pin(async move { cleaning::remove(conn, table, &candidates, &rules).await })
    });
    write.await
}

fn listed(totals: &Totals) -> String {
    let mut text = String::new();
    for (table, rows) in totals {
        let separator = if text.is_empty() { "" } else { ", " };
        write!(text, "{separator}{} {rows}", table.name()).expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::startup;

    #[test]
    fn pauses_leave_the_database_the_rest_of_its_time() {
        let at = |share_percent, taken_ms| {
            let settings = Cleanup { share_percent, ..Cleanup::default() };
            settings.pause_after(Duration::from_millis(taken_ms)).as_millis()
        };
        assert_eq!(at(25, 10), 30);
        assert_eq!(at(50, 10), 10);
        assert_eq!(at(100, 10), 0);
        assert_eq!(at(0, 1), 99, "no share is taken for the smallest");
        assert_eq!(at(25, SLOW_MS), 750);
        assert_eq!(at(25, SLOW_MS + 10), 780 * u128::from(SLOW_FACTOR));
        assert_eq!(at(25, 60_000), u128::from(PAUSE_MS_MAX));
        assert_eq!(at(1, 10_000), 990_000, "the share holds however slow a statement is");
    }

    #[test]
    fn tokens_whose_zone_nobody_named_are_kept_longer() {
        let now = Timestamp::from_secs(1_700_000_000);
        let later_ms = |url: &str, keys: &str| {
            let text = format!("[database.apim_db]\nurl='{url}'\nusername='u'\n[db]\n{keys}");
            let config = config::load(&text, "f", &|_| None).unwrap().config;
            let rules = Cleanup::default().rules(&config, &startup::oauth_settings(&config), now);
            let active = now.plus_millis(-ACTIVE_ENDED_MS).millis_since(rules.active_ended_before);
            [rules.ended_before.millis_since(rules.tokens_ended_before), active]
        };
        assert_eq!(later_ms("jdbc:mysql://db/am", ""), [UNKNOWN_ZONE_MS; 2]);
        assert_eq!(later_ms("jdbc:mysql://db/am", "token_time_zone='UTC'"), [0; 2]);
        assert_eq!(later_ms("jdbc:postgresql://db/am", ""), [0; 2]);
    }

    #[test]
    fn the_log_names_each_table_once() {
        let totals = Totals::from([(Table::AccessTokens, 5), (Table::Events, 1)]);
        assert_eq!(listed(&totals), "IDN_OAUTH2_ACCESS_TOKEN 5, CLV_EVENT 1");
    }
}
