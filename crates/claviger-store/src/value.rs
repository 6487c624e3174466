//! Parameters and rows: what statements take and give, the same for every driver.

use crate::error::StoreError;
use chrono::{DateTime, NaiveDateTime};
use claviger_proto::ids::{
    ApiId, ApiUuid, ApplicationId, ApplicationUuid, ConsumerKey, ConsumerKeyId, EventId, SubscriptionUuid, TenantId,
    TokenId,
};
use claviger_proto::time::Timestamp;
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, Row as _};

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

pub(crate) fn sqlite_arguments<'a>(args: impl Iterator<Item = &'a Arg<'a>>) -> Result<SqliteArguments, StoreError> {
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

pub(crate) fn mysql_arguments<'a>(args: impl Iterator<Item = &'a Arg<'a>>) -> Result<MySqlArguments, StoreError> {
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

pub(crate) fn postgres_arguments<'a>(args: impl Iterator<Item = &'a Arg<'a>>) -> Result<PgArguments, StoreError> {
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
