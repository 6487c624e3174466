//! One node at a time makes tables and first rows: several may start together on an empty database.
//!
//! A lock of the server's, on a connection of its own beside the pool: it ends with the connection, however the node ends.
//! SQLite needs none, because a data directory has one server.

use crate::error::StoreError;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use std::time::Duration;

/// Longest wait for the other node: making all tables takes a slow server some seconds.
const WAIT_MS_MAX: u64 = 120_000;
/// The name is the server's, so it names the database too; 64 characters are allowed.
const LOCK_MYSQL: &str = "SELECT GET_LOCK(CONCAT('claviger_', MD5(DATABASE())), 120)";
/// The number is this database's.
const LOCK_POSTGRES: &str = "SELECT pg_advisory_lock(7161912011)";

/// Held while a node prepares the database.
pub enum StartLock {
    /// Nothing to wait for.
    Sqlite,
    /// `GET_LOCK`.
    MySql(Box<MySqlConnection>),
    /// `pg_advisory_lock`.
    Postgres(Box<PgConnection>),
}

impl StartLock {
    pub(crate) async fn on_mysql(options: &MySqlConnectOptions) -> Result<Self, StoreError> {
        let mut link = Box::new(options.connect().await?);
        let answer = sqlx::query_scalar::<_, Option<i64>>(LOCK_MYSQL).fetch_one(&mut *link);
        match bounded(answer).await? {
            Some(1) => Ok(Self::MySql(link)),
            _ => Err(StoreError::Timeout),
        }
    }

    pub(crate) async fn on_postgres(options: &PgConnectOptions) -> Result<Self, StoreError> {
        let mut link = Box::new(options.connect().await?);
        bounded(sqlx::raw_sql(LOCK_POSTGRES).execute(&mut *link)).await?;
        Ok(Self::Postgres(link))
    }

    /// Lets the next node go on. Dropping the lock does too, a little later.
    pub async fn release(self) {
        let closed = match self {
            Self::Sqlite => Ok(()),
            Self::MySql(link) => link.close().await,
            Self::Postgres(link) => link.close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "the start lock's connection ended early");
        }
    }
}

async fn bounded<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(Duration::from_millis(WAIT_MS_MAX), answer).await;
    Ok(answer.map_err(|_| StoreError::Timeout)??)
}
