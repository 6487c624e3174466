//! A connection to a database under test, engine-independent: statements are text with literals, every value comes back as
//! the text the server sends. Not for programs: it is slow, and shares nothing with the program's own access on purpose.

use crate::Engine;
use anyhow::{Context as _, Result, ensure};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row as _};
use std::fmt::Write as _;
use std::str::FromStr as _;

/// Connections of one database.
const CONNECTIONS_MAX: u32 = 2;

/// A database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db(Pool);

#[derive(Clone, Debug)]
enum Pool {
    MySql(MySqlPool),
    Postgres(PgPool),
}

/// A value of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// TRUE or FALSE where the column is a BOOLEAN, else 1 or 0.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A text, or a time as text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A row, each value as the server's text; `None` is NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(Vec<Option<String>>);

impl Db {
    /// Opens a database by its URL (`mysql://` or `postgres://`). The session keeps the server's time zone and SQL mode, as
    /// an old server's does (database.md 1.4). `has_old_timestamps` gives MySQL's TIMESTAMP columns the meaning they have
    /// on a server with `explicit_defaults_for_timestamp=OFF`.
    pub async fn open(engine: Engine, url: &str, has_old_timestamps: bool) -> Result<Self> {
        let opened = match engine {
            Engine::MySql => {
                let options = MySqlConnectOptions::from_str(url)?;
                let options = options.timezone(None).pipes_as_concat(false).no_engine_substitution(false);
                let pool = MySqlPoolOptions::new().max_connections(CONNECTIONS_MAX).after_connect(move |conn, _| {
                    Box::pin(async move {
                        if has_old_timestamps {
                            sqlx::raw_sql("SET SESSION explicit_defaults_for_timestamp = OFF").execute(conn).await?;
                        }
                        Ok(())
                    })
                });
                pool.connect_with(options).await.map(Pool::MySql)
            }
            Engine::Postgres => {
                let options = PgConnectOptions::from_str(url)?;
                let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX);
                pool.connect_with(options).await.map(Pool::Postgres)
            }
        };
        Ok(Self(opened?))
    }

    /// Its engine.
    pub fn engine(&self) -> Engine {
        match self.0 {
            Pool::MySql(_) => Engine::MySql,
            Pool::Postgres(_) => Engine::Postgres,
        }
    }

    /// Closes its connections.
    pub async fn close(&self) {
        match &self.0 {
            Pool::MySql(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }

    /// Runs statements (several are separated by `;`); says how many rows they changed.
    pub async fn run(&self, sql: &str) -> Result<u64> {
        let statement = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let changed = match &self.0 {
            Pool::MySql(pool) => statement.execute(pool).await.map(|done| done.rows_affected()),
            Pool::Postgres(pool) => statement.execute(pool).await.map(|done| done.rows_affected()),
        };
        changed.with_context(|| start_of(sql))
    }

    /// The rows of a query; each `?` of the text stands for the next argument.
    pub async fn rows(&self, sql: &str, arguments: &[Value]) -> Result<Vec<Row>> {
        let sql = fill_in(sql, arguments, self.engine())?;
        let statement = sqlx::raw_sql(AssertSqlSafe(sql.clone()));
        let rows = match &self.0 {
            Pool::MySql(pool) => statement.fetch_all(pool).await.and_then(|rows| rows.iter().map(mysql_row).collect()),
            Pool::Postgres(pool) => statement.fetch_all(pool).await.and_then(|rows| rows.iter().map(pg_row).collect()),
        };
        rows.with_context(|| start_of(&sql))
    }

    /// Inserts a row and gives the number that the engine gave it in `id`.
    pub async fn insert(&self, sql: &str, id: Option<&str>) -> Result<i64> {
        let context = || start_of(sql);
        match (&self.0, id) {
            (Pool::MySql(pool), _) => {
                let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await.with_context(context)?;
                Ok(i64::try_from(done.last_insert_id())?)
            }
            (Pool::Postgres(_), None) => self.run(sql).await.map(|_| 0),
            (Pool::Postgres(_), Some(id)) => {
                let rows = self.rows(&format!("{sql} RETURNING {id}"), &[]).await?;
                rows.first().context("RETURNING gives a row")?.int(0)
            }
        }
    }
}

impl Row {
    /// The value, if it is not NULL.
    pub fn get(&self, index: usize) -> Option<&str> {
        self.0.get(index)?.as_deref()
    }

    /// The value as text; NULL is an error.
    pub fn text(&self, index: usize) -> Result<String> {
        Ok(self.get(index).with_context(|| format!("column {index} is NULL"))?.to_owned())
    }

    /// The value as a number; NULL is an error.
    pub fn int(&self, index: usize) -> Result<i64> {
        Ok(self.text(index)?.parse()?)
    }

    /// The value as yes or no; NULL is an error.
    pub fn bool(&self, index: usize) -> Result<bool> {
        Ok(matches!(self.text(index)?.as_str(), "1" | "t" | "true" | "TRUE"))
    }

    /// The bytes of a binary column that holds UTF-8.
    pub fn bytes(&self, index: usize) -> Result<Vec<u8>> {
        let text = self.text(index)?;
        // PostgreSQL's text form of a BYTEA; none of our contents begins so.
        let Some(digits) = text.strip_prefix("\\x") else { return Ok(text.into_bytes()) };
        ensure!(digits.len() % 2 == 0, "half a byte");
        let byte = |place| u8::from_str_radix(digits.get(place..place + 2).unwrap_or_default(), 16);
        Ok((0..digits.len()).step_by(2).map(byte).collect::<Result<_, _>>()?)
    }
}

impl Value {
    /// The value as SQL text. `kind` is the column's type where it is known.
    pub fn literal(&self, engine: Engine, kind: &str) -> String {
        match (self, engine) {
            (Self::Null, _) => "NULL".to_owned(),
            (Self::Bool(value), Engine::Postgres) if kind.starts_with("BOOL") => value.to_string().to_uppercase(),
            (Self::Bool(value), _) => u8::from(*value).to_string(),
            (Self::Int(value), _) => value.to_string(),
            (Self::Text(value), Engine::MySql) => format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''")),
            (Self::Text(value), Engine::Postgres) => format!("'{}'", value.replace('\'', "''")),
            (Self::Bytes(value), Engine::MySql) => format!("X'{}'", hex(value)),
            (Self::Bytes(value), Engine::Postgres) => format!("'\\x{}'", hex(value)),
        }
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text does not fail");
        text
    })
}

fn fill_in(sql: &str, arguments: &[Value], engine: Engine) -> Result<String> {
    let mut pieces = sql.split('?');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    let mut arguments = arguments.iter();
    for piece in pieces {
        let argument = arguments.next().with_context(|| format!("too few arguments: {sql}"))?;
        text.push_str(&argument.literal(engine, ""));
        text.push_str(piece);
    }
    ensure!(arguments.next().is_none(), "too many arguments: {sql}");
    Ok(text)
}

fn start_of(sql: &str) -> String {
    sql.chars().take(300).collect()
}

fn mysql_row(row: &sqlx::mysql::MySqlRow) -> Result<Row, sqlx::Error> {
    let value = |index| row.try_get_unchecked::<Option<Vec<u8>>, _>(index);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Row((0..row.len()).map(|index| Ok(value(index)?.map(text))).collect::<Result<_, sqlx::Error>>()?))
}

fn pg_row(row: &sqlx::postgres::PgRow) -> Result<Row, sqlx::Error> {
    let value = |index| row.try_get_unchecked::<Option<String>, _>(index);
    Ok(Row((0..row.len()).map(value).collect::<Result<_, sqlx::Error>>()?))
}
