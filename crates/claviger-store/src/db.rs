//! Connections, rows and transactions on three engines behind one type each.
//!
//! `Store::reader` gives a connection for reading; `Store::write` runs a closure in a transaction, repeats it when the
//! engine asks for that, and tells the listeners about its events after the commit and before it returns. A write runs in
//! a task of its own, so a caller that goes away in the middle leaves no half transaction behind.

mod secondary;

use crate::capability::{self, Capabilities, Layout};
use crate::clients;
use crate::conn::{self, Conn};
use crate::error::{StoreError, WriteError};
use crate::forms::Forms;
use crate::location::Location;
use crate::session;
use crate::session_zone::{self, Gaps};
use crate::sql::{Engine, Face, Family};
use crate::start_lock::StartLock;
use crate::tokens;
use crate::value::Clock;
use crate::writer::Writer;
use chrono::NaiveDateTime;
use claviger_proto::event::Event;
use claviger_proto::time::{Timestamp, Zone};
use futures_util::future::BoxFuture;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, RwLock};
use std::time::Duration;
use tokio::time::Instant;

/// Longest time one attempt of a write may take. Followers of the event log rely on it (claviger-proto `follow`).
pub const WRITE_MS_MAX: u64 = 30_000;
/// How often a write is tried while the engine asks to repeat it. Between two members of a Galera cluster that write the same
/// row without a pause every second attempt is lost.
const ATTEMPTS_MAX: u32 = 30;
/// Longest pause before the next attempt.
const REPEAT_PAUSE_MS_MAX: u64 = 64;
/// Each statement sees what is committed when it begins, as on PostgreSQL: what is read behind a lock is no older than the
/// lock, whatever was read before. WSO2's registry asks for the same (database.md 1.7).
pub(crate) const BEGIN_MYSQL: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN";
/// PostgreSQL answers the COMMIT of a transaction with a failed statement as if it were well and rolls back; any statement
/// before it says what is the matter.
pub(crate) const COMMIT_POSTGRES: &str = "SELECT 1; COMMIT";

/// Bounds of the connection pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Most connections (`pool_options.maxActive`).
    pub connections_max: u32,
    /// Longest wait for a connection (`pool_options.maxWait`), after which the request is answered 503.
    pub acquire_ms_max: u64,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { connections_max: 50, acquire_ms_max: 5_000 }
    }
}

/// Where a family of tables is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its database.
    pub location: Location,
    /// Bounds of the pool. Of families that share a database the first one's count.
    pub limits: PoolLimits,
}

/// Where the four families of tables are (database.md 1.1). Equal databases share one pool.
#[derive(Clone, Debug)]
pub struct Places {
    /// IDN_*, SP_*, and our own tables.
    pub identity: Place,
    /// AM_*.
    pub api: Place,
    /// UM_*.
    pub user: Place,
    /// REG_*.
    pub registry: Place,
    /// In which zones their wall clocks are.
    pub zones: Zones,
}

impl Places {
    /// All in one database.
    pub fn one(location: Location, limits: PoolLimits) -> Self {
        let place = Place { location, limits };
        Self {
            identity: place.clone(),
            api: place.clone(),
            user: place.clone(),
            registry: place,
            zones: Zones::default(),
        }
    }
}

/// The zones of the wall clocks in the tables (database.md 1.4).
#[derive(Clone, Copy, Debug)]
pub struct Zones {
    /// Of tokens and codes.
    pub token: Zone,
    /// Of everything else.
    pub local: Zone,
}

impl Default for Zones {
    fn default() -> Self {
        Self { token: Zone::UTC, local: Zone::UTC }
    }
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An embedded database beside others.
    #[error("an embedded database holds all tables or none; the {} tables are to be elsewhere than the others", family.name())]
    Embedded {
        /// Whose database.
        family: Family,
    },
    /// It does not answer, or not as it should.
    #[error("the database of the {} tables does not do what it is asked", family.name())]
    Store {
        /// The first family that lives there.
        family: Family,
        /// Why.
        source: StoreError,
    },
}

impl OpenError {
    /// The first family of the database that cannot be opened.
    pub fn family(&self) -> Family {
        match self {
            Self::Embedded { family } | Self::Store { family, .. } => *family,
        }
    }
}

/// Most databases: one for each family.
pub(crate) const DATABASES_MAX: usize = Family::ALL.len();

/// The open databases, the identity family's first.
pub(crate) struct Databases {
    pub(crate) all: Vec<Database>,
    index_of: [usize; DATABASES_MAX],
    capabilities: AtomicU32,
    /// Are there tokens without a hash, from 2.1?
    has_unhashed: AtomicBool,
    can_skip_held: AtomicBool,
    forms: OnceLock<Forms>,
    zones: Zones,
}

pub(crate) struct Database {
    pub(crate) pool: Pool,
    /// Longest wait for a connection.
    pub(crate) wait: Duration,
    /// Wall-clock times that its sessions do not have.
    gaps: Gaps,
}

impl Databases {
    pub(crate) fn index_of(&self, family: Family) -> usize {
        self.index_of[family as usize]
    }

    pub(crate) fn engine_of(&self, family: Family) -> Engine {
        match self.all[self.index_of(family)].pool {
            Pool::Sqlite(_) => Engine::Sqlite,
            Pool::MySql(_) => Engine::MySql,
            Pool::Postgres(_) => Engine::Postgres,
        }
    }

    pub(crate) fn forms(&self) -> &Forms {
        static PLAIN: LazyLock<Forms> = LazyLock::new(Forms::default);
        self.forms.get().unwrap_or(&PLAIN)
    }

    /// The clock of a family's statements. An embedded database is nobody else's: its clock is UTC, wherever it stands.
    pub(crate) fn clock_of(&self, family: Family, face: Face) -> Clock<'_> {
        let zone = match (self.engine_of(family), face) {
            (Engine::Sqlite, _) => Zone::UTC,
            (_, Face::Token) => self.zones.token,
            (_, Face::Local) => self.zones.local,
        };
        Clock { zone, gaps: &self.all[self.index_of(family)].gaps }
    }

    pub(crate) fn has_unhashed(&self) -> bool {
        self.has_unhashed.load(Ordering::Relaxed)
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities::from_bits(self.capabilities.load(Ordering::Relaxed))
    }
}

#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
    Postgres(PgPool),
}

/// Told about a write's events after its commit and before the write returns.
pub type CommitListener = Arc<dyn Fn(&[Event]) + Send + Sync>;

/// The databases. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    databases: Arc<Databases>,
    writer: Option<Writer>,
    listeners: Listeners,
}

#[derive(Clone, Default)]
pub(crate) struct Listeners(Arc<RwLock<Vec<CommitListener>>>);

impl Listeners {
    pub(crate) fn tell(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let listeners = self.0.read().expect("no listener list is left half-written").clone();
        for listener in &listeners {
            // The change is committed: a listener's trouble must neither undo the answer nor end the writer.
            if std::panic::catch_unwind(AssertUnwindSafe(|| listener(events))).is_err() {
                tracing::error!(events = events.len(), "a listener of commits panicked");
            }
        }
    }
}

impl Store {
    /// Connects. Nothing is created or altered but an absent SQLite file.
    pub async fn open(places: Places) -> Result<Self, OpenError> {
        let listeners = Listeners::default();
        let Places { identity, api, user, registry, zones } = places;
        let mut index_of = [0; DATABASES_MAX];
        let mut places: Vec<Place> = Vec::new();
        let mut all = Vec::new();
        let mut writing = None;
        for (family, place) in Family::ALL.into_iter().zip([identity, api, user, registry]) {
            let found = places.iter().position(|other| other.location.is_same_database(&place.location));
            if found.is_none() {
                let is_embedded = |place: &Place| matches!(place.location, Location::Sqlite(_));
                // The writer of an embedded database puts many writes into one transaction; no other could follow it.
                if !places.is_empty() && (is_embedded(&place) || places.iter().any(is_embedded)) {
                    return Err(OpenError::Embedded { family });
                }
                let failed = |source| OpenError::Store { family, source };
                let (pool, writer) = connect(&place).await.map_err(failed)?;
                writing = writing.or(writer);
                // A wrong password or name is to be told now.
                drop(conn::acquire(&pool, Duration::from_millis(place.limits.acquire_ms_max)).await.map_err(failed)?);
                let gaps = session_zone::measure(&pool).await.map_err(failed)?;
                let wait = Duration::from_millis(place.limits.acquire_ms_max);
                all.push(Database { pool, wait, gaps });
                places.push(place);
            }
            index_of[family as usize] = found.unwrap_or(places.len() - 1);
        }
        let capabilities = AtomicU32::new(Capabilities::ALL.bits());
        let databases = Arc::new(Databases {
            all,
            index_of,
            capabilities,
            has_unhashed: AtomicBool::new(false),
            can_skip_held: AtomicBool::new(false),
            forms: OnceLock::new(),
            zones,
        });
        let writer = writing.map(|pool| Writer::start(pool, databases.clone(), listeners.clone()));
        Ok(Self { databases, writer, listeners })
    }

    /// The engine of clients and tokens.
    pub fn engine(&self) -> Engine {
        self.engine_of(Family::Identity)
    }

    /// The engine that a family of tables lives on.
    pub fn engine_of(&self, family: Family) -> Engine {
        self.databases.engine_of(family)
    }

    /// What the databases can hold; those of the newest release until [`Store::detect`] has looked.
    pub fn capabilities(&self) -> Capabilities {
        self.databases.capabilities()
    }

    /// Looks at what the databases can hold. Statements are chosen by it from then on.
    pub async fn detect(&self) -> Result<Capabilities, StoreError> {
        let layout = capability::layout(&mut self.reader().await?).await?;
        self.use_layout(&layout).await
    }

    /// As [`Store::detect`], of columns that were listed already.
    pub(crate) async fn use_layout(&self, layout: &Layout) -> Result<Capabilities, StoreError> {
        let found = capability::found(layout, |family| self.databases.index_of(family));
        self.databases.capabilities.store(found.bits(), Ordering::Relaxed);
        let has_unhashed = tokens::are_any_unhashed(&mut self.reader().await?).await?;
        self.databases.has_unhashed.store(has_unhashed, Ordering::Relaxed);
        let can_skip_held = clients::can_skip_held(&mut self.reader().await?).await?;
        self.databases.can_skip_held.store(can_skip_held, Ordering::Relaxed);
        Ok(found)
    }

    /// Can a write take of some clients those that nobody holds (`clients::hold_free`)? False until [`Store::detect`] has looked.
    pub fn can_skip_held(&self) -> bool {
        self.databases.can_skip_held.load(Ordering::Relaxed)
    }

    /// Says how texts stand in their columns: plain until then. Once, before the first use.
    pub fn use_forms(&self, forms: Forms) {
        let is_first = self.databases.forms.set(forms).is_ok();
        assert!(is_first, "the forms of a store do not change");
    }

    /// Can the text of a token be had back from its row?
    pub fn keeps_token_texts(&self) -> bool {
        self.databases.forms().keeps_texts()
    }

    /// One family for each database, the identity family's first.
    pub(crate) fn families_of_databases(&self) -> Vec<Family> {
        let of = |index: &usize| Family::ALL.into_iter().find(|family| self.databases.index_of(*family) == *index);
        (0..self.databases.all.len()).filter_map(|index| of(&index)).collect()
    }

    /// The families that live in the same database.
    pub(crate) fn families_beside(&self, family: Family) -> impl Iterator<Item = Family> {
        let index = self.databases.index_of(family);
        Family::ALL.into_iter().filter(move |other| self.databases.index_of(*other) == index)
    }

    /// The next wall-clock times that the sessions of a family's database do not have: the first, and the one behind the last.
    pub(crate) fn next_gap(&self, family: Family, now: Timestamp) -> Option<(NaiveDateTime, NaiveDateTime)> {
        let wall = Zone::UTC.to_wall(now)?;
        self.databases.clock_of(family, Face::Local).gaps.next(wall)
    }

    /// Adds a listener for the events of this process' commits.
    pub fn on_commit(&self, listener: CommitListener) {
        self.listeners.0.write().expect("no listener list is left half-written").push(listener);
    }

    /// Waits until no other node prepares this database.
    pub async fn lock_start(&self) -> Result<StartLock, StoreError> {
        match &self.databases.all[0].pool {
            Pool::Sqlite(_) => Ok(StartLock::Sqlite),
            Pool::MySql(pool) => StartLock::on_mysql(self, &pool.connect_options()).await,
            Pool::Postgres(pool) => StartLock::on_postgres(&pool.connect_options()).await,
        }
    }

    /// Longest wait for a connection to the database of clients and tokens (`pool_options.maxWait`).
    pub fn wait_max(&self) -> Duration {
        self.databases.all[0].wait
    }

    /// The pool of the database that has the log of events.
    pub(crate) fn pool_of_events(&self) -> &Pool {
        &self.databases.all[0].pool
    }

    /// A connection for reading outside a transaction. Its databases' links are taken when they are needed.
    #[expect(clippy::unused_async, reason = "callers wait here again when a link is taken at once")]
    pub async fn reader(&self) -> Result<Conn, StoreError> {
        Ok(Conn::new(self.databases.clone(), false))
    }

    /// Do the databases answer?
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut conn = self.reader().await?;
        for family in self.families_of_databases() {
            conn.command_in(family, "SELECT 1").await?;
        }
        Ok(())
    }

    /// Runs a closure in a transaction and commits it. The closure may run several times; it must have no effect but through
    /// its connection. The caller may go away: the write ends by itself, one way or the other.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, E>> + Send + Sync + 'static,
        T: Send + 'static,
        E: WriteError,
    {
        self.write_in_attempts(ATTEMPTS_MAX, work).await
    }

    /// [`Store::write`] that is not repeated: [`StoreError::Repeat`] is the caller's to see.
    pub async fn write_once<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, E>> + Send + Sync + 'static,
        T: Send + 'static,
        E: WriteError,
    {
        self.write_in_attempts(1, work).await
    }

    async fn write_in_attempts<T, E, F>(&self, attempts_max: u32, work: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, E>> + Send + Sync + 'static,
        T: Send + 'static,
        E: WriteError,
    {
        if let Some(writer) = &self.writer {
            return writer.submit(work).await;
        }
        let store = self.clone();
        let task = tokio::spawn(async move { store.attempt(attempts_max, work).await });
        task.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    async fn attempt<T, E, F>(&self, attempts_max: u32, work: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, E>> + Send + Sync,
        E: WriteError,
    {
        let bound = Duration::from_millis(WRITE_MS_MAX);
        let begun = Instant::now();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let left = bound.saturating_sub(begun.elapsed());
            let result = tokio::time::timeout(left, self.attempt_once(&work, begun + bound)).await;
            let result = result.unwrap_or_else(|_| Err(StoreError::Timeout.into()));
            match result {
                Ok((value, events)) => {
                    self.listeners.tell(&events);
                    return Ok(value);
                }
                // Waits for locks are long: all attempts together last no longer than one may.
                Err(error)
                    if attempt < attempts_max
                        && begun.elapsed() < bound
                        && matches!(error.store_error(), Some(StoreError::Repeat(_))) =>
                {
                    let pause_ms = (1 << attempt.min(10)).min(REPEAT_PAUSE_MS_MAX);
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt_once<T, E, F>(&self, work: &F, deadline: Instant) -> Result<(T, Vec<Event>), E>
    where
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, E>> + Send + Sync,
        E: WriteError,
    {
        let mut conn = Conn::new(self.databases.clone(), true);
        let result = match work(&mut conn).await {
            // Of a process that stood still: nobody waits for it any more, nor for its events.
            Ok(_) if Instant::now() >= deadline => Err(StoreError::Timeout.into()),
            Ok(value) => conn.commit().await.map(|()| value).map_err(E::from),
            Err(error) => Err(error),
        };
        match result {
            Ok(value) => Ok((value, std::mem::take(&mut conn.emitted))),
            Err(error) => {
                // When the connection is gone, so is the transaction; why the write failed matters more.
                if let Err(second) = conn.rollback().await {
                    tracing::debug!(error = %second, "a failed write's connection is closed");
                }
                Err(error)
            }
        }
    }

    /// Ends open connections after their present statement.
    pub async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
        for database in &self.databases.all {
            match &database.pool {
                Pool::Sqlite(pool) => pool.close().await,
                Pool::MySql(pool) => pool.close().await,
                Pool::Postgres(pool) => pool.close().await,
            }
        }
    }
}

/// Opens a pool of an embedded database, which only reads.
fn read_embedded(options: SqliteConnectOptions, limits: PoolLimits) -> Pool {
    let wait = Duration::from_millis(limits.acquire_ms_max);
    let readers = SqlitePoolOptions::new().max_connections(limits.connections_max.min(8)).acquire_timeout(wait);
    Pool::Sqlite(readers.max_lifetime(None).connect_lazy_with(options.read_only(true).create_if_missing(false)))
}

/// Opens a pool; for an embedded database also its writer's.
async fn connect(place: &Place) -> Result<(Pool, Option<SqlitePool>), StoreError> {
    let limits = place.limits;
    let wait = Duration::from_millis(limits.acquire_ms_max);
    Ok(match &place.location {
        Location::Sqlite(path) => {
            let options = SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(true)
                .foreign_keys(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_secs(5));
            let writer =
                SqlitePoolOptions::new().max_connections(1).acquire_timeout(wait).idle_timeout(None).max_lifetime(None);
            let writer = writer.connect_with(options.clone()).await?;
            (read_embedded(options, limits), Some(writer))
        }
        Location::MySql(server) => {
            let pool = MySqlPoolOptions::new().max_connections(limits.connections_max).acquire_timeout(wait);
            let pool = pool.after_connect(|link, _| Box::pin(session::tell_mysql(link)));
            (Pool::MySql(pool.connect_lazy_with(server.mysql_options())), None)
        }
        Location::Postgres(server) => {
            let pool = PgPoolOptions::new().max_connections(limits.connections_max).acquire_timeout(wait);
            let pool = pool.after_connect(|link, _| Box::pin(session::tell_postgres(link)));
            (Pool::Postgres(pool.connect_lazy_with(server.postgres_options())), None)
        }
    })
}
