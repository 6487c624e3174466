//! Connections, rows and transactions on three engines behind one type each.
//!
//! `Store::reader` gives a connection for reading; `Store::write` runs a closure in a transaction, repeats it when the
//! engine asks for that, and tells the listeners about its events after the commit and before it returns. A write runs in
//! a task of its own, so a caller that goes away in the middle leaves no half transaction behind.

use crate::error::{StoreError, WriteError};
use crate::location::Location;
use crate::sql::{Engine, Sql};
use crate::start_lock::StartLock;
use crate::writer::Writer;
use chrono::{DateTime, NaiveDateTime};
use claviger_proto::event::Event;
use claviger_proto::ids::{
    ApiId, ApiUuid, ApplicationId, ApplicationUuid, ConsumerKey, ConsumerKeyId, EventId, SubscriptionUuid, TenantId,
    TokenId,
};
use claviger_proto::time::Timestamp;
use futures_util::future::BoxFuture;
use sqlx::mysql::{MySqlArguments, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgPool, PgPoolOptions, PgRow};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Arguments as _, MySql, Postgres, Row as _, Sqlite};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Longest time one attempt of a write may take. Followers of the event log rely on it (claviger-proto `follow`).
pub const WRITE_MS_MAX: u64 = 30_000;
/// How often a write is tried while the engine asks to repeat it. Between two members of a Galera cluster that write the same
/// row without a pause every second attempt is lost.
const ATTEMPTS_MAX: u32 = 30;
/// Longest pause before the next attempt.
const REPEAT_PAUSE_MS_MAX: u64 = 64;
/// Longest time of a statement outside a transaction. A connection whose server does not answer is closed then. (A Galera cluster
/// that has lost a member stands still for up to 15 s.)
pub const READ_MS_MAX: u64 = 20_000;
/// Longest wait for the sign of life of a connection that goes back to the pool.
const GIVE_BACK_MS_MAX: u64 = 5_000;
/// One try to get a connection of those that the wait for it is made of. The pool pauses between two refused connects for a
/// fifth of it at the most, so that a database that is back is soon found.
const ACQUIRE_TRY_MS_MAX: u64 = 2_000;
/// Each statement sees what is committed when it begins, as on PostgreSQL: what is read behind a lock is no older than the
/// lock, whatever was read before. WSO2's registry asks for the same (database.md 1.7).
const BEGIN_MYSQL: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN";
/// PostgreSQL answers the COMMIT of a transaction with a failed statement as if it were well and rolls back; any statement
/// before it says what is the matter.
const COMMIT_POSTGRES: &str = "SELECT 1; COMMIT";

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

#[derive(Clone)]
enum Pool {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
    Postgres(PgPool),
}

/// Told about a write's events after its commit and before the write returns.
pub type CommitListener = Arc<dyn Fn(&[Event]) + Send + Sync>;

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    /// Longest wait for a connection.
    wait: Duration,
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
    pub async fn open(location: Location, limits: PoolLimits) -> Result<Self, StoreError> {
        let listeners = Listeners::default();
        let wait = Duration::from_millis(limits.acquire_ms_max);
        let one_try = wait.min(Duration::from_millis(ACQUIRE_TRY_MS_MAX));
        let pool = match location {
            Location::Sqlite(path) => {
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(true)
                    .foreign_keys(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(Duration::from_secs(5));
                let writer = SqlitePoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(wait)
                    .idle_timeout(None)
                    .max_lifetime(None);
                let writer = writer.connect_with(options.clone()).await?;
                let writer = Writer::start(writer, listeners.clone());
                let readers =
                    SqlitePoolOptions::new().max_connections(limits.connections_max.min(8)).acquire_timeout(wait);
                let readers =
                    readers.max_lifetime(None).connect_lazy_with(options.read_only(true).create_if_missing(false));
                return Ok(Self { pool: Pool::Sqlite(readers), wait, writer: Some(writer), listeners });
            }
            Location::MySql(server) => {
                let pool = MySqlPoolOptions::new().max_connections(limits.connections_max).acquire_timeout(one_try);
                let pool = pool.after_connect(|link, _| Box::pin(crate::galera::read_latest(link)));
                Pool::MySql(pool.connect_lazy_with(server.mysql_options()))
            }
            Location::Postgres(server) => {
                let pool = PgPoolOptions::new().max_connections(limits.connections_max).acquire_timeout(one_try);
                Pool::Postgres(pool.connect_lazy_with(server.postgres_options()))
            }
        };
        let store = Self { pool, wait, writer: None, listeners };
        // A wrong password or name is to be told now.
        store.reader().await?;
        Ok(store)
    }

    /// The engine in use.
    pub fn engine(&self) -> Engine {
        match self.pool {
            Pool::Sqlite(_) => Engine::Sqlite,
            Pool::MySql(_) => Engine::MySql,
            Pool::Postgres(_) => Engine::Postgres,
        }
    }

    /// Adds a listener for the events of this process' commits.
    pub fn on_commit(&self, listener: CommitListener) {
        self.listeners.0.write().expect("no listener list is left half-written").push(listener);
    }

    /// Waits until no other node prepares this database.
    pub async fn lock_start(&self) -> Result<StartLock, StoreError> {
        match &self.pool {
            Pool::Sqlite(_) => Ok(StartLock::Sqlite),
            Pool::MySql(pool) => StartLock::on_mysql(&pool.connect_options()).await,
            Pool::Postgres(pool) => StartLock::on_postgres(&pool.connect_options()).await,
        }
    }

    /// A connection for reading outside a transaction.
    pub async fn reader(&self) -> Result<Conn, StoreError> {
        // Boxed: waiting for a connection takes 5 KB of state, and the future of every request would be as large.
        let link = Box::pin(tokio::time::timeout(self.wait, async {
            loop {
                match self.acquire().await {
                    Err(sqlx::Error::PoolTimedOut) => {}
                    acquired => return acquired,
                }
            }
        }));
        Ok(Conn::new(link.await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?))
    }

    /// One try.
    async fn acquire(&self) -> Result<Link, sqlx::Error> {
        Ok(match &self.pool {
            Pool::Sqlite(pool) => Link::Sqlite(pool.acquire().await?),
            Pool::MySql(pool) => Link::MySql(pool.acquire().await?),
            Pool::Postgres(pool) => Link::Postgres(pool.acquire().await?),
        })
    }

    /// Does the database answer?
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut conn = self.reader().await?;
        bounded(true, conn.command("SELECT 1")).await
    }

    /// Runs a closure in a transaction and commits it. The closure may run several times; it must have no effect but through
    /// its connection. The caller may go away: the write ends by itself, one way or the other.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, E>> + Send + Sync + 'static,
        T: Send + 'static,
        E: WriteError,
    {
        if let Some(writer) = &self.writer {
            return writer.submit(work).await;
        }
        let store = self.clone();
        let task = tokio::spawn(async move { store.write_with_repeats(work).await });
        task.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    async fn write_with_repeats<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, E>> + Send + Sync,
        E: WriteError,
    {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let bound = Duration::from_millis(WRITE_MS_MAX);
            let result = tokio::time::timeout(bound, self.write_once(&work)).await;
            let result = result.unwrap_or_else(|_| Err(StoreError::Timeout.into()));
            match result {
                Ok((value, events)) => {
                    self.listeners.tell(&events);
                    return Ok(value);
                }
                Err(error) if attempt < ATTEMPTS_MAX && matches!(error.store_error(), Some(StoreError::Repeat(_))) => {
                    let pause_ms = (1 << attempt.min(10)).min(REPEAT_PAUSE_MS_MAX);
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn write_once<T, E, F>(&self, work: &F) -> Result<(T, Vec<Event>), E>
    where
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, E>> + Send + Sync,
        E: WriteError,
    {
        let mut conn = self.reader().await?;
        let (begin, commit) = match conn.engine() {
            Engine::MySql => (BEGIN_MYSQL, "COMMIT"),
            Engine::Postgres => ("BEGIN", COMMIT_POSTGRES),
            Engine::Sqlite => ("BEGIN", "COMMIT"),
        };
        conn.begin(begin).await?;
        let result = match work(&mut conn).await {
            Ok(value) => conn.end(commit).await.map(|()| value).map_err(E::from),
            Err(error) => Err(error),
        };
        match result {
            Ok(value) => Ok((value, std::mem::take(&mut conn.emitted))),
            Err(error) => {
                // When the connection is gone, so is the transaction; why the write failed matters more.
                if let Err(second) = conn.end("ROLLBACK").await {
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
        match &self.pool {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::MySql(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}

pub(crate) enum Link {
    Sqlite(PoolConnection<Sqlite>),
    MySql(PoolConnection<MySql>),
    Postgres(PoolConnection<Postgres>),
}

/// A connection, in a transaction or not.
pub struct Conn {
    pub(crate) link: Link,
    is_in_transaction: bool,
    /// A statement was begun and its end was not seen.
    is_busy: bool,
    pub(crate) emitted: Vec<Event>,
}

/// A connection that is dropped inside a transaction (a panic, a time-out) is closed, so the server rolls back. So is one that
/// is dropped inside a statement, whose end may never come. Every other goes back to the pool, which asks it for a sign of life
/// first and would wait for ever when the server is gone without a word.
impl Drop for Conn {
    fn drop(&mut self) {
        let is_closed = self.is_in_transaction || self.is_busy;
        match &mut self.link {
            Link::Sqlite(link) if is_closed => link.close_on_drop(),
            Link::MySql(link) if is_closed => link.close_on_drop(),
            Link::Postgres(link) if is_closed => link.close_on_drop(),
            Link::Sqlite(_) => {}
            Link::MySql(link) => give_back(link.return_to_pool()),
            Link::Postgres(link) => give_back(link.return_to_pool()),
        }
    }
}

fn give_back(back: impl Future<Output = ()> + Send + 'static) {
    // When time is over the connection goes with its future, and its place in the pool is free.
    tokio::spawn(tokio::time::timeout(Duration::from_millis(GIVE_BACK_MS_MAX), back));
}

/// Runs the same expression on whichever driver the connection has.
macro_rules! on_link {
    ($conn:expr, $sql:expr, $args:expr, $link:ident, $query:ident => $body:expr) => {{
        let text = $sql.on($conn.engine());
        match &mut $conn.link {
            Link::Sqlite($link) => {
                let $query = sqlx::query_with(text, sqlite_arguments($args)?);
                $body
            }
            Link::MySql($link) => {
                let $query = sqlx::query_with(text, mysql_arguments($args)?);
                $body
            }
            Link::Postgres($link) => {
                let $query = sqlx::query_with(text, postgres_arguments($args)?);
                $body
            }
        }
    }};
}

impl Conn {
    fn new(link: Link) -> Self {
        Self { link, is_in_transaction: false, is_busy: false, emitted: Vec::new() }
    }

    pub(crate) fn from_sqlite(link: PoolConnection<Sqlite>) -> Self {
        Self::new(Link::Sqlite(link))
    }

    /// The engine in use.
    pub fn engine(&self) -> Engine {
        match self.link {
            Link::Sqlite(_) => Engine::Sqlite,
            Link::MySql(_) => Engine::MySql,
            Link::Postgres(_) => Engine::Postgres,
        }
    }

    pub(crate) async fn begin(&mut self, statement: &'static str) -> Result<(), StoreError> {
        self.is_in_transaction = true;
        self.command(statement).await
    }

    pub(crate) async fn end(&mut self, statement: &'static str) -> Result<(), StoreError> {
        self.command(statement).await?;
        self.is_in_transaction = false;
        Ok(())
    }

    /// A statement without parameters and rows, not prepared: transaction control and DDL.
    pub(crate) async fn command(&mut self, text: &'static str) -> Result<(), StoreError> {
        let query = sqlx::raw_sql(text);
        self.is_busy = true;
        let done = match &mut self.link {
            Link::Sqlite(link) => query.execute(&mut **link).await.map(|_| ()),
            Link::MySql(link) => query.execute(&mut **link).await.map(|_| ()),
            Link::Postgres(link) => query.execute(&mut **link).await.map(|_| ()),
        };
        self.is_busy = false;
        Ok(done?)
    }

    /// All rows of a query.
    pub async fn rows(&mut self, sql: &'static Sql, args: &[Arg<'_>]) -> Result<Vec<Row>, StoreError> {
        self.is_busy = true;
        let rows = bounded(!self.is_in_transaction, async {
            Ok(on_link!(self, sql, args, link, query => {
                query.fetch_all(&mut **link).await?.into_iter().map(Row::from).collect()
            }))
        })
        .await;
        self.is_busy = matches!(rows, Err(StoreError::Timeout));
        rows
    }

    /// The first row of a query.
    pub async fn row(&mut self, sql: &'static Sql, args: &[Arg<'_>]) -> Result<Option<Row>, StoreError> {
        self.is_busy = true;
        let row = bounded(!self.is_in_transaction, async {
            Ok(on_link!(self, sql, args, link, query => query.fetch_optional(&mut **link).await?.map(Row::from)))
        })
        .await;
        self.is_busy = matches!(row, Err(StoreError::Timeout));
        row
    }

    /// Runs a statement and returns the number of rows it touched.
    pub async fn execute(&mut self, sql: &'static Sql, args: &[Arg<'_>]) -> Result<u64, StoreError> {
        Ok(on_link!(self, sql, args, link, query => query.execute(&mut **link).await?.rows_affected()))
    }

    /// Inserts one row and returns its generated number. The PostgreSQL text ends with `RETURNING column`.
    pub async fn insert(&mut self, sql: &'static Sql, args: &[Arg<'_>]) -> Result<i64, StoreError> {
        let text = sql.on(self.engine());
        match &mut self.link {
            Link::Sqlite(link) => {
                let done = sqlx::query_with(text, sqlite_arguments(args)?).execute(&mut **link).await?;
                Ok(done.last_insert_rowid())
            }
            Link::MySql(link) => {
                let done = sqlx::query_with(text, mysql_arguments(args)?).execute(&mut **link).await?;
                i64::try_from(done.last_insert_id())
                    .map_err(|_| StoreError::Corrupt("a generated id is out of range".into()))
            }
            Link::Postgres(link) => {
                let row = sqlx::query_with(text, postgres_arguments(args)?).fetch_one(&mut **link).await?;
                Row::from(row).int(0)
            }
        }
    }

    /// Lets the engine parse a statement, without running it.
    pub async fn prepare(&mut self, sql: &'static Sql) -> Result<(), StoreError> {
        use sqlx::{Executor as _, SqlSafeStr as _};
        let text = sql.on(self.engine()).into_sql_str();
        match &mut self.link {
            Link::Sqlite(link) => link.prepare(text).await.map(|_| ())?,
            Link::MySql(link) => link.prepare(text).await.map(|_| ())?,
            Link::Postgres(link) => link.prepare(text).await.map(|_| ())?,
        }
        Ok(())
    }
}

/// Ends a read that takes too long; its connection is not to be used again. A write has a bound of its own.
async fn bounded<T>(is_bounded: bool, read: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let bound = if is_bounded { Duration::from_millis(READ_MS_MAX) } else { Duration::MAX };
    tokio::time::timeout(bound, read).await.unwrap_or(Err(StoreError::Timeout))
}

/// A parameter of a statement.
#[derive(Clone, Copy, Debug)]
pub enum Arg<'a> {
    /// A number of any integer column.
    Int(Option<i64>),
    /// A text.
    Text(Option<&'a str>),
    /// A BOOLEAN column of PostgreSQL, TINYINT(1) or INTEGER of the others.
    Bool(bool),
    /// BLOB or BYTEA.
    Bytes(Option<&'a [u8]>),
    /// TIMESTAMP: UTC wall clock (database.md 1.4), whole seconds on MySQL.
    Time(Option<Timestamp>),
}

/// Conversions into a parameter.
macro_rules! arg_from {
    ($($type:ty, $value:ident => $arg:expr;)*) => { $(
        impl<'a> From<$type> for Arg<'a> {
            fn from($value: $type) -> Self { $arg }
        }
    )* };
}

arg_from! {
    i64, value => Arg::Int(Some(value));
    Option<i64>, value => Arg::Int(value);
    &'a str, value => Arg::Text(Some(value));
    Option<&'a str>, value => Arg::Text(value);
    &'a String, value => Arg::Text(Some(value));
    &'a Option<String>, value => Arg::Text(value.as_deref());
    bool, value => Arg::Bool(value);
    &'a [u8], value => Arg::Bytes(Some(value));
    Timestamp, value => Arg::Time(Some(value));
    ApiId, value => Arg::Int(Some(value.0));
    ApplicationId, value => Arg::Int(Some(value.0));
    ConsumerKeyId, value => Arg::Int(Some(value.0));
    EventId, value => Arg::Int(Some(value.0));
    TenantId, value => Arg::Int(Some(value.0));
    &'a ApiUuid, value => Arg::Text(Some(&value.0));
    &'a ApplicationUuid, value => Arg::Text(Some(&value.0));
    &'a ConsumerKey, value => Arg::Text(Some(&value.0));
    &'a SubscriptionUuid, value => Arg::Text(Some(&value.0));
    &'a TokenId, value => Arg::Text(Some(&value.0));
}

fn encode_error(error: sqlx::error::BoxDynError) -> StoreError {
    StoreError::Database(sqlx::Error::Encode(error))
}

fn wall_clock(time: Timestamp) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_millis(time.as_millis()).map(|time| time.naive_utc())
}

const SQLITE_TIME: &str = "%Y-%m-%d %H:%M:%S%.3f";

pub(crate) fn sqlite_arguments(args: &[Arg<'_>]) -> Result<SqliteArguments, StoreError> {
    let mut out = SqliteArguments::default();
    for arg in args {
        let added = match arg {
            Arg::Int(value) => out.add(*value),
            Arg::Text(value) => out.add(value.map(str::to_owned)),
            Arg::Bool(value) => out.add(i64::from(*value)),
            Arg::Bytes(value) => out.add(value.map(<[u8]>::to_vec)),
            Arg::Time(value) => out.add(value.and_then(wall_clock).map(|time| time.format(SQLITE_TIME).to_string())),
        };
        added.map_err(encode_error)?;
    }
    Ok(out)
}

pub(crate) fn mysql_arguments(args: &[Arg<'_>]) -> Result<MySqlArguments, StoreError> {
    let mut out = MySqlArguments::default();
    for arg in args {
        let added = match arg {
            Arg::Int(value) => out.add(*value),
            Arg::Text(value) => out.add(*value),
            Arg::Bool(value) => out.add(i64::from(*value)),
            Arg::Bytes(value) => out.add(*value),
            Arg::Time(value) => out.add(value.map(Timestamp::truncated_to_secs).and_then(wall_clock)),
        };
        added.map_err(encode_error)?;
    }
    Ok(out)
}

pub(crate) fn postgres_arguments(args: &[Arg<'_>]) -> Result<PgArguments, StoreError> {
    let mut out = PgArguments::default();
    for arg in args {
        let added = match arg {
            Arg::Int(value) => out.add(*value),
            Arg::Text(value) => out.add(*value),
            Arg::Bool(value) => out.add(*value),
            Arg::Bytes(value) => out.add(*value),
            Arg::Time(value) => out.add(value.and_then(wall_clock)),
        };
        added.map_err(encode_error)?;
    }
    Ok(out)
}

/// A row. Columns are read by their position in the SELECT list.
pub struct Row(RowOf);

enum RowOf {
    Sqlite(SqliteRow),
    MySql(MySqlRow),
    Postgres(PgRow),
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self(RowOf::Sqlite(row))
    }
}

impl From<MySqlRow> for Row {
    fn from(row: MySqlRow) -> Self {
        Self(RowOf::MySql(row))
    }
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self(RowOf::Postgres(row))
    }
}

/// Reads a column of whichever driver the row has. Unchecked: the declared types differ between engines and releases
/// (INTEGER, SMALLINT, TINYINT), the decoders below take them all.
macro_rules! get {
    ($row:expr, $column:expr, $type:ty) => {
        match &$row.0 {
            RowOf::Sqlite(row) => row.try_get_unchecked::<$type, _>($column)?,
            RowOf::MySql(row) => row.try_get_unchecked::<$type, _>($column)?,
            RowOf::Postgres(row) => row.try_get_unchecked::<$type, _>($column)?,
        }
    };
}

impl Row {
    /// A number.
    pub fn int(&self, column: usize) -> Result<i64, StoreError> {
        present(self.opt_int(column)?, column)
    }

    /// A number or NULL.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        Ok(get!(self, column, Option<i64>))
    }

    /// A text.
    pub fn text(&self, column: usize) -> Result<String, StoreError> {
        present(self.opt_text(column)?, column)
    }

    /// A text or NULL.
    pub fn opt_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        Ok(get!(self, column, Option<String>))
    }

    /// A boolean; NULL is false.
    pub fn bool(&self, column: usize) -> Result<bool, StoreError> {
        match &self.0 {
            RowOf::Postgres(row) => Ok(row.try_get_unchecked::<Option<bool>, _>(column)?.unwrap_or(false)),
            RowOf::Sqlite(_) | RowOf::MySql(_) => Ok(self.opt_int(column)?.unwrap_or(0) != 0),
        }
    }

    /// Bytes.
    pub fn bytes(&self, column: usize) -> Result<Vec<u8>, StoreError> {
        present(self.opt_bytes(column)?, column)
    }

    /// Bytes or NULL.
    pub fn opt_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(get!(self, column, Option<Vec<u8>>))
    }

    /// An instant.
    pub fn time(&self, column: usize) -> Result<Timestamp, StoreError> {
        present(self.opt_time(column)?, column)
    }

    /// An instant or NULL. The column's wall clock is read as UTC.
    pub fn opt_time(&self, column: usize) -> Result<Option<Timestamp>, StoreError> {
        let time = match &self.0 {
            RowOf::MySql(row) => row.try_get_unchecked::<Option<NaiveDateTime>, _>(column)?,
            RowOf::Postgres(row) => row.try_get_unchecked::<Option<NaiveDateTime>, _>(column)?,
            RowOf::Sqlite(row) => match row.try_get_unchecked::<Option<String>, _>(column)? {
                Some(text) => {
                    let time = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f");
                    Some(time.map_err(|_| StoreError::Corrupt(format!("{text:?} is not a time")))?)
                }
                None => None,
            },
        };
        Ok(time.map(|time| Timestamp::from_millis(time.and_utc().timestamp_millis())))
    }
}

fn present<T>(value: Option<T>, column: usize) -> Result<T, StoreError> {
    value.ok_or_else(|| StoreError::Corrupt(format!("column {column} is NULL")))
}
