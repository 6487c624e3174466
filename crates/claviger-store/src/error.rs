//! What can go wrong below a store function, without HTTP in it.

use sqlx::Error as Driver;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection in time, the connection broke, or the server is shutting down or read-only. Try again later.
    #[error("the database is not available")]
    Unavailable(#[source] Option<Driver>),
    /// Deadlock, serialization or certification failure: the whole closure may be tried again at once.
    #[error("the database asks to repeat the transaction")]
    Repeat(#[source] Driver),
    /// A unique key is taken.
    #[error("a row with this key exists")]
    Conflict(#[source] Driver),
    /// A value is wider than its column (database.md 1.6).
    #[error("{0} is longer than its column")]
    TooLong(&'static str),
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
        matches!(self, Self::Unavailable(_) | Self::Repeat(_) | Self::Timeout)
    }

    /// For a row that was looked for and not found before the insert: another writer made it at the same moment, and the
    /// next attempt finds it.
    pub(crate) fn or_repeat(self) -> Self {
        match self {
            Self::Conflict(driver) => Self::Repeat(driver),
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
                let number = database
                    .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
                    .map(sqlx::mysql::MySqlDatabaseError::number);
                match (number, database.code().as_deref()) {
                    // MySQL: lock wait timeout, deadlock, node not ready (Galera). SQLite 5: busy.
                    (Some(1205 | 1213), _) | (None, Some("40001" | "40P01" | "5" | "517")) => Self::Repeat(error),
                    // MySQL: too many connections, shutdown, read-only, not ready; PostgreSQL class 57P and 53.
                    (Some(1040 | 1053 | 1290 | 1836 | 1047), _)
                    | (None, Some("57P01" | "57P02" | "57P03" | "53300" | "25006" | "13")) => {
                        Self::Unavailable(Some(error))
                    }
                    (Some(1406), _) | (None, Some("22001")) => Self::TooLong("a value"),
                    _ => Self::Database(error),
                }
            }
            _ => Self::Database(error),
        }
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
