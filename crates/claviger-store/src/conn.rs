//! A connection as the store's functions see it: one for all families of tables, whichever databases they live in.
//!
//! Each database's link is taken from its pool at the first statement that needs it and, in a transaction, begun then. At the
//! end the identity family's database is committed last: it has the events. Two databases cannot be committed at one instant;
//! what an interrupted end leaves behind are rows of another family without their event, which caches outlive by 30 s and
//! gateways until their next snapshot, and never an event without its change. A write that has got so far is repeated only when
//! the rest were users and roles; else its requester hears that the database is not available and looks.

use crate::capability::Capabilities;
use crate::db::{BEGIN_MYSQL, COMMIT_POSTGRES, DATABASES_MAX, Database, Databases, Pool};
use crate::error::StoreError;
use crate::forms::Forms;
use crate::sql::{Engine, Face, Family, Rendered, Sql};
use crate::value::{Arg, Row, mysql_arguments, postgres_arguments, sqlite_arguments};
use claviger_proto::event::Event;
use claviger_proto::time::{Timestamp, Zone};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::Sqlite;
use sqlx::{AssertSqlSafe, MySql, Postgres, SqlSafeStr};
use std::sync::Arc;
use std::time::Duration;

/// Longest time of a statement outside a transaction. A connection whose server does not answer is closed then. (A Galera cluster
/// that has lost a member stands still for up to 15 s.)
pub const READ_MS_MAX: u64 = 20_000;
/// The first of the tries that the wait for a connection is made of. In each the pool pauses ever longer between two refused
/// connects; begun anew it does not, so that a database that is back is soon found.
const FIRST_TRY_MS_MAX: u64 = 2_000;
/// Longest wait for the sign of life of a connection that goes back to the pool.
const GIVE_BACK_MS_MAX: u64 = 5_000;

/// One database's connection.
pub(crate) enum Link {
    Sqlite(PoolConnection<Sqlite>),
    MySql(PoolConnection<MySql>),
    Postgres(PoolConnection<Postgres>),
}

struct Open {
    link: Link,
    /// In a transaction.
    is_begun: bool,
    /// A statement was begun and its end was not seen.
    is_busy: bool,
}

/// A connection, in a transaction or not.
pub struct Conn {
    databases: Arc<Databases>,
    capabilities: Capabilities,
    links: [Option<Open>; DATABASES_MAX],
    /// The families that statements named.
    touched: [bool; DATABASES_MAX],
    is_in_transaction: bool,
    pub(crate) emitted: Vec<Event>,
}

/// A connection that is dropped inside a transaction (a panic, a time-out) is closed, so the server rolls back. So is one that
/// is dropped inside a statement, whose end may never come. Every other goes back to the pool, which asks it for a sign of life
/// first and would wait for ever when the server is gone without a word.
impl Drop for Open {
    fn drop(&mut self) {
        let is_closed = self.is_begun || self.is_busy;
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

/// Runs the same expression on whichever driver the statement's database has.
macro_rules! on_link {
    ($conn:expr, $family:expr, $sql:expr, $args:expr, $link:ident, $query:ident, $zone:ident => $body:expr) => {{
        let databases = $conn.databases();
        let clock = databases.clock_of($family, $sql.face());
        let $zone = clock.zone;
        let (link, rendered) = $conn.link_for($family, $sql).await?;
        let args = rendered.kept($args);
        let text = rendered.text.as_str();
        match link {
            Link::Sqlite($link) => {
                let $query = sqlx::query_with(text, sqlite_arguments(args)?);
                $body
            }
            Link::MySql($link) => {
                let $query = sqlx::query_with(text, mysql_arguments(args, clock)?);
                $body
            }
            Link::Postgres($link) => {
                let $query = sqlx::query_with(text, postgres_arguments(args, clock)?);
                $body
            }
        }
    }};
}

impl Conn {
    pub(crate) fn new(databases: Arc<Databases>, is_in_transaction: bool) -> Self {
        let capabilities = databases.capabilities();
        let links = [const { None }; DATABASES_MAX];
        Self { databases, capabilities, links, touched: [false; DATABASES_MAX], is_in_transaction, emitted: Vec::new() }
    }

    /// The connection of the embedded database's writer, which begins and ends by itself.
    pub(crate) fn of_writer(databases: Arc<Databases>, link: PoolConnection<Sqlite>) -> Self {
        let mut conn = Self::new(databases, true);
        conn.links[0] = Some(Open { link: Link::Sqlite(link), is_begun: true, is_busy: false });
        conn
    }

    /// The engine of clients and tokens.
    pub fn engine(&self) -> Engine {
        self.engine_of(Family::Identity)
    }

    /// The engine that a family of tables lives on.
    pub fn engine_of(&self, family: Family) -> Engine {
        self.databases.engine_of(family)
    }

    /// What the databases can hold.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// How texts stand in their columns.
    pub(crate) fn forms(&self) -> &Forms {
        self.databases.forms()
    }

    /// The latest instant, not after this one, that a token's time column can say: two hours of a year have no wall clock of
    /// their own (database.md 1.4).
    pub(crate) fn token_time(&self, time: Timestamp) -> Timestamp {
        self.databases.clock_of(Family::Identity, Face::Token).representable(time)
    }

    /// The zone of token and code times.
    pub(crate) fn token_zone(&self) -> Zone {
        self.databases.clock_of(Family::Identity, Face::Token).zone
    }

    /// May there be tokens without a hash?
    pub(crate) fn has_unhashed(&self) -> bool {
        self.databases.has_unhashed()
    }

    pub(crate) fn databases(&self) -> Arc<Databases> {
        self.databases.clone()
    }

    pub(crate) fn database_of(&self, family: Family) -> usize {
        self.databases.index_of(family)
    }

    pub(crate) async fn link_for(
        &mut self,
        family: Family,
        sql: &'static Sql,
    ) -> Result<(&mut Link, &'static Rendered), StoreError> {
        let rendered = sql.rendered(self.engine_of(family), self.capabilities);
        Ok((self.link(family).await?, rendered))
    }

    pub(crate) async fn link(&mut self, family: Family) -> Result<&mut Link, StoreError> {
        Ok(&mut self.open(family).await?.link)
    }

    async fn open(&mut self, family: Family) -> Result<&mut Open, StoreError> {
        let index = self.databases.index_of(family);
        self.touched[family as usize] = true;
        if self.links[index].is_none() {
            // Boxed: waiting for a connection takes 5 KB of state, and the future of every request would be as large.
            let open = Box::pin(open(&self.databases.all[index], self.is_in_transaction)).await?;
            self.links[index] = Some(open);
        }
        Ok(self.links[index].as_mut().expect("it was opened above"))
    }

    async fn set_busy(&mut self, family: Family, is_busy: bool) -> Result<(), StoreError> {
        self.open(family).await?.is_busy = is_busy;
        Ok(())
    }

    /// Commits what was done on every database, the identity family's last.
    pub(crate) async fn commit(&mut self) -> Result<(), StoreError> {
        let elsewhere = |family: Family| self.databases.index_of(family) != 0 && self.touched[family as usize];
        let may_be_repeated = !elsewhere(Family::Api) && !elsewhere(Family::Registry);
        let mut has_committed = false;
        for open in self.links.iter_mut().flatten().rev() {
            let statement = match &open.link {
                Link::Postgres(_) => COMMIT_POSTGRES,
                Link::Sqlite(_) | Link::MySql(_) => "COMMIT",
            };
            match command(open, statement).await {
                // Users and roles look for what they find; of the others a second attempt would stumble over the first.
                Err(StoreError::Repeat(driver)) if has_committed && !may_be_repeated => {
                    return Err(StoreError::Unavailable(driver));
                }
                done => done?,
            }
            open.is_begun = false;
            has_committed = true;
        }
        self.is_in_transaction = false;
        Ok(())
    }

    /// Undoes what was done on every database.
    pub(crate) async fn rollback(&mut self) -> Result<(), StoreError> {
        for open in self.links.iter_mut().flatten() {
            command(open, "ROLLBACK").await?;
            open.is_begun = false;
        }
        self.is_in_transaction = false;
        Ok(())
    }

    /// A statement without parameters and rows, not prepared, on the identity family's database: transaction control, DDL.
    pub(crate) async fn command(&mut self, text: &'static str) -> Result<(), StoreError> {
        self.command_in(Family::Identity, text).await
    }

    pub(crate) async fn command_in(&mut self, family: Family, text: &'static str) -> Result<(), StoreError> {
        let bound = Bound::of(self.is_in_transaction);
        let open = self.open(family).await?;
        bound.hold(command(open, text)).await
    }

    /// A script of our own, made of constant texts.
    pub(crate) async fn script_in(&mut self, family: Family, text: String) -> Result<(), StoreError> {
        command(self.open(family).await?, AssertSqlSafe(text)).await
    }

    /// Makes a table or an index that may be there already.
    pub(crate) async fn command_unless_there(&mut self, family: Family, text: &'static str) -> Result<(), StoreError> {
        match self.command_in(family, text).await {
            Err(error) if error.is_there_already() => Ok(()),
            done => done,
        }
    }

    /// All rows of a query. None has a text that its column cannot hold: who looks for such a text finds nothing. (On
    /// PostgreSQL a text that its server refuses has ended the transaction; inside one it is [`StoreError::Unwritable`].)
    ///
    /// For a query all of whose conditions must hold; for others see `rows_of_any`.
    pub async fn rows(&mut self, sql: &'static Sql, args: &[Arg<'_>]) -> Result<Vec<Row>, StoreError> {
        self.rows_in(sql.family(), sql, args).await
    }

    /// [`Self::rows`] of a query that looks for several texts at once (`IN`, `OR`): one that no column can hold says nothing
    /// about the others, and fails it with [`StoreError::Unwritable`].
    pub(crate) async fn rows_of_any(&mut self, sql: &'static Sql, args: &[Arg<'_>]) -> Result<Vec<Row>, StoreError> {
        self.query(sql.family(), sql, args, Plan::Kept).await
    }

    /// [`Self::rows_of_any`] of a statement whose plan must know its arguments. PostgreSQL soon makes a plan for any arguments
    /// of a statement that it is given again and again, and takes the narrowest index for it. This costs a trip to the server.
    pub(crate) async fn rows_planned_anew(
        &mut self,
        sql: &'static Sql,
        args: &[Arg<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        self.query(sql.family(), sql, args, Plan::Anew).await
    }

    /// All rows of a query on the catalogue of a family's database.
    pub(crate) async fn rows_in(
        &mut self,
        family: Family,
        sql: &'static Sql,
        args: &[Arg<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        match self.query(family, sql, args, Plan::Kept).await {
            Err(StoreError::Unwritable(driver)) => self.nothing(family, driver).map(|()| Vec::new()),
            rows => rows,
        }
    }

    /// What a look-up that a text stood in the way of has found: nothing, unless its transaction is at an end.
    fn nothing(&self, family: Family, driver: Option<sqlx::Error>) -> Result<(), StoreError> {
        let is_ended = driver.is_some() && self.is_in_transaction && self.engine_of(family) == Engine::Postgres;
        if is_ended { Err(StoreError::Unwritable(driver)) } else { Ok(()) }
    }

    async fn query(
        &mut self,
        family: Family,
        sql: &'static Sql,
        args: &[Arg<'_>],
        plan: Plan,
    ) -> Result<Vec<Row>, StoreError> {
        check_texts(args)?;
        let is_kept = plan == Plan::Kept || self.engine_of(family) != Engine::Postgres;
        let bound = Bound::of(self.is_in_transaction);
        self.set_busy(family, true).await?;
        let rows = bound.hold(async {
            Ok(on_link!(self, family, sql, args, link, query, zone => {
                query.persistent(is_kept).fetch_all(&mut **link).await?.into_iter().map(|row| Row::new(row, zone)).collect()
            }))
        });
        let rows = rows.await;
        self.set_busy(family, matches!(rows, Err(StoreError::Timeout))).await?;
        rows.map_err(|error| error.of_texts(args))
    }

    /// The first row of a query; what [`Self::rows`] says of texts holds here too.
    pub async fn row(&mut self, sql: &'static Sql, args: &[Arg<'_>]) -> Result<Option<Row>, StoreError> {
        match self.first_row(sql, args).await {
            Err(StoreError::Unwritable(driver)) => self.nothing(sql.family(), driver).map(|()| None),
            row => row,
        }
    }

    async fn first_row(&mut self, sql: &'static Sql, args: &[Arg<'_>]) -> Result<Option<Row>, StoreError> {
        check_texts(args)?;
        let (bound, family) = (Bound::of(self.is_in_transaction), sql.family());
        self.set_busy(family, true).await?;
        let row = bound.hold(async {
            Ok(on_link!(self, family, sql, args, link, query, zone => {
                query.fetch_optional(&mut **link).await?.map(|row| Row::new(row, zone))
            }))
        });
        let row = row.await;
        self.set_busy(family, matches!(row, Err(StoreError::Timeout))).await?;
        row.map_err(|error| error.of_texts(args))
    }

    /// Runs a statement and returns the number of rows it touched. [`StoreError::Unwritable`] for a text that cannot be held.
    pub async fn execute(&mut self, sql: &'static Sql, args: &[Arg<'_>]) -> Result<u64, StoreError> {
        self.change(sql, args, Plan::Kept).await
    }

    /// [`Self::execute`] of a statement whose plan must know its arguments and the present size of its table, as
    /// [`Self::rows_planned_anew`].
    pub(crate) async fn execute_planned_anew(
        &mut self,
        sql: &'static Sql,
        args: &[Arg<'_>],
    ) -> Result<u64, StoreError> {
        self.change(sql, args, Plan::Anew).await
    }

    async fn change(&mut self, sql: &'static Sql, args: &[Arg<'_>], plan: Plan) -> Result<u64, StoreError> {
        check_texts(args)?;
        let is_kept = plan == Plan::Kept || self.engine_of(sql.family()) != Engine::Postgres;
        let changed = async {
            Ok(on_link!(self, sql.family(), sql, args, link, query, _zone => {
                query.persistent(is_kept).execute(&mut **link).await?.rows_affected()
            }))
        };
        changed.await.map_err(|error: StoreError| error.of_texts(args))
    }

    /// Inserts one row and returns its generated number. The PostgreSQL text ends with `RETURNING column`.
    /// [`StoreError::Unwritable`] for a text that cannot be held.
    pub async fn insert(&mut self, sql: &'static Sql, args: &[Arg<'_>]) -> Result<i64, StoreError> {
        check_texts(args)?;
        self.insert_checked(sql, args).await.map_err(|error| error.of_texts(args))
    }

    async fn insert_checked(&mut self, sql: &'static Sql, args: &[Arg<'_>]) -> Result<i64, StoreError> {
        let databases = self.databases();
        let clock = databases.clock_of(sql.family(), sql.face());
        let (link, rendered) = self.link_for(sql.family(), sql).await?;
        let (text, args) = (rendered.text.as_str(), rendered.kept(args));
        match link {
            Link::Sqlite(link) => {
                let done = sqlx::query_with(text, sqlite_arguments(args)?).execute(&mut **link).await?;
                Ok(done.last_insert_rowid())
            }
            Link::MySql(link) => {
                let done = sqlx::query_with(text, mysql_arguments(args, clock)?).execute(&mut **link).await?;
                i64::try_from(done.last_insert_id())
                    .map_err(|_| StoreError::Corrupt("a generated id is out of range".into()))
            }
            Link::Postgres(link) => {
                let row = sqlx::query_with(text, postgres_arguments(args, clock)?).fetch_one(&mut **link).await?;
                Row::new(row, clock.zone).int(0)
            }
        }
    }

    /// Lets the engine parse a statement, without running it.
    pub async fn prepare(&mut self, sql: &'static Sql) -> Result<(), StoreError> {
        use sqlx::Executor as _;
        let (link, rendered) = self.link_for(sql.family(), sql).await?;
        let text = rendered.text.as_str().into_sql_str();
        match link {
            Link::Sqlite(link) => link.prepare(text).await.map(|_| ())?,
            Link::MySql(link) => link.prepare(text).await.map(|_| ())?,
            Link::Postgres(link) => link.prepare(text).await.map(|_| ())?,
        }
        Ok(())
    }
}

/// Refuses what is never sent: on PostgreSQL the error would end the transaction.
fn check_texts(args: &[Arg<'_>]) -> Result<(), StoreError> {
    if args.iter().any(Arg::has_nul) { Err(StoreError::Unwritable(None)) } else { Ok(()) }
}

/// May a statement keep its plan?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plan {
    Kept,
    Anew,
}

/// How long something may take: a write has a bound of its own, a statement outside of one has this.
#[derive(Clone, Copy)]
struct Bound(Duration);

impl Bound {
    fn of(is_in_transaction: bool) -> Self {
        Self(if is_in_transaction { Duration::MAX } else { Duration::from_millis(READ_MS_MAX) })
    }

    /// Ends a read that takes too long; its connection is not to be used again.
    async fn hold<T>(self, read: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        tokio::time::timeout(self.0, read).await.unwrap_or(Err(StoreError::Timeout))
    }
}

async fn open(database: &Database, is_in_transaction: bool) -> Result<Open, StoreError> {
    let link = acquire(&database.pool, database.wait).await?;
    let begin = if matches!(link, Link::MySql(_)) { BEGIN_MYSQL } else { "BEGIN" };
    let mut open = Open { link, is_begun: is_in_transaction, is_busy: false };
    if is_in_transaction {
        command(&mut open, begin).await?;
    }
    Ok(open)
}

/// A connection of a pool, tried for as long as one may wait.
pub(crate) async fn acquire(pool: &Pool, wait: Duration) -> Result<Link, StoreError> {
    let tries = async {
        let mut one_try = Duration::from_millis(FIRST_TRY_MS_MAX);
        loop {
            let acquired = async {
                match pool {
                    Pool::Sqlite(pool) => pool.acquire().await.map(Link::Sqlite),
                    Pool::MySql(pool) => pool.acquire().await.map(Link::MySql),
                    Pool::Postgres(pool) => pool.acquire().await.map(Link::Postgres),
                }
            };
            match tokio::time::timeout(one_try, acquired).await {
                Ok(acquired) => return acquired,
                // A server may need long for a connection.
                Err(_) => one_try *= 2,
            }
        }
    };
    Ok(tokio::time::timeout(wait, tries).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
}

async fn command(open: &mut Open, text: impl SqlSafeStr) -> Result<(), StoreError> {
    let query = sqlx::raw_sql(text);
    open.is_busy = true;
    let done = match &mut open.link {
        Link::Sqlite(link) => query.execute(&mut **link).await.map(|_| ()),
        Link::MySql(link) => query.execute(&mut **link).await.map(|_| ()),
        Link::Postgres(link) => query.execute(&mut **link).await.map(|_| ()),
    };
    open.is_busy = false;
    Ok(done?)
}
