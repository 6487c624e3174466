//! What can go wrong below a store function, without HTTP in it.

use crate::value::Arg;
use sqlx::Error as Driver;
use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::sqlite::SqliteError;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection in time, the connection broke, or the server is shutting down or read-only. Try again later.
    #[error("the database is not available")]
    Unavailable(#[source] Option<Driver>),
    /// None of the places for a requester's writes became free in the time that one waits for a connection. Try again later.
    #[error("the requester's other writes did not end in time")]
    NoPlace,
    /// Deadlock, serialization or certification failure, or (without a driver's word) a row that somebody changed after the
    /// closure had read it: the whole closure may be tried again at once.
    #[error("the transaction must be repeated")]
    Repeat(#[source] Option<Driver>),
    /// A unique key is taken.
    #[error("a row with this key exists")]
    Conflict(#[source] Driver),
    /// A value is wider than its column (database.md 1.6).
    #[error("{0} is longer than its column")]
    TooLong(&'static str),
    /// A text that was to be written has a character that the database, or the column's character set, cannot hold
    /// (database.md 1.5).
    #[error("a text has a character that the database cannot hold")]
    Unwritable(#[source] Option<Driver>),
    /// A row holds what the contract does not allow.
    #[error("unexpected content in the database: {0}")]
    Corrupt(String),
    /// The write did not end within its bound and was given up.
    #[error("the write took longer than its bound")]
    Timeout,
    /// The closure panicked; its transaction was rolled back.
    #[error("the write panicked and was rolled back")]
    Panicked,
    /// Anything else: a bug or a broken schema.
    #[error("database error")]
    Database(#[source] Driver),
}

impl StoreError {
    /// Would trying again later help? Facades answer 503 with Retry-After then.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::NoPlace | Self::Repeat(_) | Self::Timeout)
    }

    /// Was a write's time for a connection, or for itself, used up?
    pub fn is_wait_over(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unavailable(Some(Driver::PoolTimedOut)))
    }

    /// May the account not do this?
    pub(crate) fn is_denied(&self) -> bool {
        // Command denied to the user (for a table, for the database); insufficient privilege.
        self.is_numbered(&[1142, 1044], &["42501"])
    }

    /// Is the table or index that was to be made there? Only MySQL is asked: the others undo an interrupted start.
    pub(crate) fn is_there_already(&self) -> bool {
        self.is_numbered(&[1050, 1061], &["42P07"])
    }

    /// Tells what a statement's texts are to blame for: a character that the column's character set, or the database's, has
    /// not. Texts in plain ASCII never are, and such an error is then one of the schema.
    pub(crate) fn of_texts(self, args: &[Arg<'_>]) -> Self {
        // Illegal mix of collations (of two, three, many: MariaDB), incorrect string value, no conversion of a string, of a
        // parameter (MySQL 8); not in the repertoire, not translatable.
        let is_of_text = self.is_numbered(&[1267, 1270, 1271, 1366, 3854, 3988], &["22021", "22P05"]);
        match self {
            Self::Database(driver) if is_of_text && !args.iter().all(Arg::is_ascii) => Self::Unwritable(Some(driver)),
            other => other,
        }
    }

    fn is_numbered(&self, mysql: &[u16], postgres: &[&str]) -> bool {
        let Self::Database(Driver::Database(error)) = self else { return false };
        match error.try_downcast_ref::<MySqlDatabaseError>() {
            Some(error) => mysql.contains(&error.number()),
            None => error.code().is_some_and(|code| postgres.contains(&code.as_ref())),
        }
    }

    /// For a row that was looked for and not found before the insert: another writer made it at the same moment, and the
    /// next attempt finds it.
    pub(crate) fn or_repeat(self) -> Self {
        match self {
            Self::Conflict(driver) => Self::Repeat(Some(driver)),
            other => other,
        }
    }
}

impl From<Driver> for StoreError {
    fn from(error: Driver) -> Self {
        match &error {
            Driver::PoolTimedOut | Driver::PoolClosed | Driver::Io(_) | Driver::Tls(_) | Driver::WorkerCrashed => {
                Self::Unavailable(Some(error))
            }
            Driver::ColumnDecode { .. } | Driver::Decode(_) => Self::Corrupt(error.to_string()),
            Driver::Database(database) => {
                if database.is_unique_violation() {
                    return Self::Conflict(error);
                }
                match class_of(database.as_ref()) {
                    Class::Repeat => Self::Repeat(Some(error)),
                    Class::Unavailable => Self::Unavailable(Some(error)),
                    Class::TooLong => Self::TooLong("a value"),
                    Class::Other => Self::Database(error),
                }
            }
            _ => Self::Database(error),
        }
    }
}

enum Class {
    Repeat,
    Unavailable,
    TooLong,
    Other,
}

fn class_of(error: &dyn DatabaseError) -> Class {
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return class_on_mysql(error.number());
    }
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<SqliteError>().is_some() {
        return code.parse().map_or(Class::Other, class_on_sqlite);
    }
    class_on_postgres(&code)
}

fn class_on_mysql(number: u16) -> Class {
    match number {
        // Lock wait timeout, deadlock (also Galera's certification), "record has changed since last read" (MariaDB 11),
        // "plugin instructed the server to rollback" (group replication).
        1205 | 1213 | 1020 | 3101 => Class::Repeat,
        // Too many connections (of the server, of the user), host blocked, shutdown, connection or query killed or out of
        // time, network trouble, read-only, node not ready (Galera), disk or table full, idle session ended by the server.
        1040
        | 1203
        | 1226
        | 1129
        | 1053
        | 1077
        | 1079
        | 1317
        | 1927
        | 1969
        | 3024
        | 1158..=1161
        | 1290
        | 1836
        | 1047
        | 1021
        | 1114
        | 4031 => Class::Unavailable,
        1406 => Class::TooLong,
        _ => Class::Other,
    }
}

fn class_on_postgres(code: &str) -> Class {
    match code {
        // Serialization failure, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => Class::Repeat,
        "22001" => Class::TooLong,
        // Query cancelled, shutdown and termination, idle in transaction, read-only.
        "57014" | "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25006" => Class::Unavailable,
        // Connection trouble, no resources (disk, memory, connections), I/O trouble.
        code if code.starts_with("08") || code.starts_with("53") || code.starts_with("58") => Class::Unavailable,
        _ => Class::Other,
    }
}

/// The low byte of an extended code is its family.
fn class_on_sqlite(code: i32) -> Class {
    match code & 0xff {
        // Busy, locked.
        5 | 6 => Class::Repeat,
        // No memory, read-only, I/O error, full, cannot open, locking protocol.
        7 | 8 | 10 | 13 | 14 | 15 => Class::Unavailable,
        _ => Class::Other,
    }
}

/// Fails for the first of (what, value, width) that is wider than its column. SQLite checks no widths, and MySQL truncates
/// outside its strict mode (database.md 1.6).
pub(crate) fn check_widths(values: &[(&'static str, &str, usize)]) -> Result<(), StoreError> {
    match values.iter().find(|(_, value, width)| value.chars().count() > *width) {
        Some((what, ..)) => Err(StoreError::TooLong(what)),
        None => Ok(()),
    }
}

/// An error that a write closure may return: its own cases and a [`StoreError`].
pub trait WriteError: From<StoreError> + Send + 'static {
    /// The store error inside, when it is one: the write is repeated for [`StoreError::Repeat`].
    fn store_error(&self) -> Option<&StoreError>;
}

impl WriteError for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_trouble_is_told_from_bugs() {
        for number in [1040, 1053, 1927, 1317, 1290, 1160] {
            assert!(matches!(class_on_mysql(number), Class::Unavailable), "{number}");
        }
        assert!(matches!(class_on_mysql(1213), Class::Repeat));
        assert!(matches!(class_on_mysql(1146), Class::Other), "a missing table is no passing trouble");
        for code in ["08006", "57P01", "53100", "53300", "58030"] {
            assert!(matches!(class_on_postgres(code), Class::Unavailable), "{code}");
        }
        assert!(matches!(class_on_postgres("42P01"), Class::Other));
        // SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_SHMSIZE; SQLITE_BUSY_SNAPSHOT.
        for code in [13, 778, 4874] {
            assert!(matches!(class_on_sqlite(code), Class::Unavailable), "{code}");
        }
        assert!(matches!(class_on_sqlite(517), Class::Repeat));
        assert!(matches!(class_on_sqlite(1), Class::Other));
    }

    #[test]
    fn widths_are_counted_in_characters() {
        assert!(check_widths(&[("a", "äöü", 3)]).is_ok());
        assert!(matches!(check_widths(&[("a", "abc", 3), ("b", "abcd", 3)]), Err(StoreError::TooLong("b"))));
    }
}
