//! Parameters and rows: what statements take and give, the same for every driver.

use crate::error::StoreError;
use crate::session_zone::Gaps;
use chrono::{NaiveDateTime, TimeDelta};
use claviger_proto::ids::{
    ApiId, ApiUuid, ApplicationId, ApplicationUuid, ConsumerKey, ConsumerKeyId, EventId, SubscriptionUuid, TenantId,
    TokenId,
};
use claviger_proto::time::{Instants, Timestamp, Zone};
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

impl Arg<'_> {
    /// Can no database fail to hold the text? Everything that is no text can be held.
    pub(crate) fn is_ascii(&self) -> bool {
        !matches!(self, Self::Text(Some(text)) if !text.is_ascii())
    }

    /// Is it a text with U+0000? PostgreSQL has none, and the others keep none from clients either, so that a text is wrong
    /// on all engines or on none.
    pub(crate) fn has_nul(&self) -> bool {
        matches!(self, Self::Text(Some(text)) if text.contains('\0'))
    }
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

/// How a database's time columns are read and written.
#[derive(Clone, Copy)]
pub(crate) struct Clock<'a> {
    pub(crate) zone: Zone,
    /// What the database's sessions cannot say.
    pub(crate) gaps: &'a Gaps,
}

impl Clock<'_> {
    /// The latest instant, not after this one, that the column can say so that it is read back as the same. Where clocks are
    /// turned back, an hour's wall clock stands for two instants and is read as the second: the first moves before it. Where a
    /// MySQL session puts its clock forward, it refuses an hour, whatever zone the text is meant in.
    pub(crate) fn representable(self, time: Timestamp) -> Timestamp {
        let mut time = time;
        // Each step leaves one of the two behind; a zone and a session have no more than that near one instant.
        for _ in 0..4 {
            let Some(wall) = self.zone.to_wall(time) else { break };
            let back_ms = match self.zone.to_utc(wall) {
                Instants::Two { earliest, latest } if time < latest => latest.millis_since(earliest),
                _ => self.gaps.width_ms_at(wall),
            };
            if back_ms == 0 {
                break;
            }
            time = time.plus_millis(-back_ms);
        }
        time
    }

    fn to_wall(self, time: Timestamp) -> Option<NaiveDateTime> {
        self.zone.to_wall(self.representable(time))
    }
}

/// A wall clock that was never shown is read as if the clock had not been put forward yet.
fn to_instant(zone: Zone, wall: NaiveDateTime) -> Timestamp {
    match zone.to_utc(wall) {
        Instants::One(time) | Instants::Two { latest: time, .. } => time,
        Instants::None => {
            let hour_before = wall - TimeDelta::hours(1);
            let before = zone.to_utc(hour_before).latest();
            before.map_or(Timestamp::NEVER, |time| time.plus_millis(3_600_000))
        }
    }
}

fn encode_error(error: sqlx::error::BoxDynError) -> StoreError {
    StoreError::Database(sqlx::Error::Encode(error))
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
            Arg::Time(value) => {
                out.add(value.and_then(|time| Zone::UTC.to_wall(time)).map(|time| time.format(SQLITE_TIME).to_string()))
            }
        };
        added.map_err(encode_error)?;
    }
    Ok(out)
}

pub(crate) fn mysql_arguments<'a>(
    args: impl Iterator<Item = &'a Arg<'a>>,
    clock: Clock<'_>,
) -> Result<MySqlArguments, StoreError> {
    let mut out = MySqlArguments::default();
    for arg in args {
        let added = match arg {
            Arg::Int(value) => out.add(*value),
            Arg::Text(value) => out.add(*value),
            Arg::Bool(value) => out.add(i64::from(*value)),
            Arg::Bytes(value) => out.add(*value),
            Arg::Time(value) => out.add(value.map(Timestamp::truncated_to_secs).and_then(|time| clock.to_wall(time))),
        };
        added.map_err(encode_error)?;
    }
    Ok(out)
}

pub(crate) fn postgres_arguments<'a>(
    args: impl Iterator<Item = &'a Arg<'a>>,
    clock: Clock<'_>,
) -> Result<PgArguments, StoreError> {
    let mut out = PgArguments::default();
    for arg in args {
        let added = match arg {
            Arg::Int(value) => out.add(*value),
            Arg::Text(value) => out.add(*value),
            Arg::Bool(value) => out.add(*value),
            Arg::Bytes(value) => out.add(*value),
            Arg::Time(value) => out.add(value.and_then(|time| clock.to_wall(time))),
        };
        added.map_err(encode_error)?;
    }
    Ok(out)
}

/// A row. Columns are read by their position in the SELECT list.
pub struct Row {
    of: RowOf,
    zone: Zone,
}

pub(crate) enum RowOf {
    Sqlite(SqliteRow),
    MySql(MySqlRow),
    Postgres(PgRow),
}

impl From<SqliteRow> for RowOf {
    fn from(row: SqliteRow) -> Self {
        Self::Sqlite(row)
    }
}

impl From<MySqlRow> for RowOf {
    fn from(row: MySqlRow) -> Self {
        Self::MySql(row)
    }
}

impl From<PgRow> for RowOf {
    fn from(row: PgRow) -> Self {
        Self::Postgres(row)
    }
}

/// Reads a column of whichever driver the row has. Unchecked: the declared types differ between engines and releases
/// (INTEGER, SMALLINT, TINYINT), the decoders below take them all.
macro_rules! get {
    ($row:expr, $column:expr, $type:ty) => {
        match &$row.of {
            RowOf::Sqlite(row) => row.try_get_unchecked::<$type, _>($column)?,
            RowOf::MySql(row) => row.try_get_unchecked::<$type, _>($column)?,
            RowOf::Postgres(row) => row.try_get_unchecked::<$type, _>($column)?,
        }
    };
}

impl Row {
    pub(crate) fn new(row: impl Into<RowOf>, zone: Zone) -> Self {
        Self { of: row.into(), zone }
    }

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
        match &self.of {
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

    /// An instant or NULL, in the zone of the statement. What clocks showed twice is the second time.
    pub fn opt_time(&self, column: usize) -> Result<Option<Timestamp>, StoreError> {
        let time = match &self.of {
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
        Ok(time.map(|wall| to_instant(self.zone, wall)))
    }
}

fn present<T>(value: Option<T>, column: usize) -> Result<T, StoreError> {
    value.ok_or_else(|| StoreError::Corrupt(format!("column {column} is NULL")))
}
