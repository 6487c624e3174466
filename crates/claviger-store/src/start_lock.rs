//! One node at a time makes tables and first rows: several may start together on an empty database.
//!
//! A lock of the server's, on a connection of its own beside the pool: it ends with the connection, however the node ends.
//! The members of a Galera cluster do not know of each other's locks; there a row decides (`galera`). SQLite needs
//! none, because a data directory has one server.

use crate::error::StoreError;
use crate::galera::{self, Lease};
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

/// Name of the row.
const ROW: &str = "START";

/// Held while a node prepares the database.
pub enum StartLock {
    /// Nothing to wait for.
    Sqlite,
    /// `GET_LOCK`.
    MySql(Box<MySqlConnection>),
    /// A row that all members of the cluster see.
    Galera(Lease),
    /// `pg_advisory_lock`.
    Postgres(Box<PgConnection>),
}

impl StartLock {
    pub(crate) async fn on_mysql(options: &MySqlConnectOptions) -> Result<Self, StoreError> {
        let mut link = Box::new(options.connect().await?);
        if galera::is_member(&mut link).await? && galera::ensure_locks(&mut link).await? {
            return Ok(Self::Galera(bounded(Lease::take(*link, ROW)).await?));
        }
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
            Self::Galera(lease) => {
                lease.release().await;
                Ok(())
            }
            Self::Postgres(link) => link.close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "the start lock's connection ended early");
        }
    }
}

async fn bounded<T, E: Into<StoreError>>(answer: impl Future<Output = Result<T, E>>) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(Duration::from_millis(WAIT_MS_MAX), answer).await;
    answer.map_err(|_| StoreError::Timeout)?.map_err(Into::into)
}
