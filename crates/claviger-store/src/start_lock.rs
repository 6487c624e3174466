//! One node at a time makes tables and first rows: several may start together on an empty database.
//!
//! A lock of the server's, on a connection of its own beside the pool: it ends with the connection, however the node ends.
//! The members of a Galera cluster do not know of each other's locks; there a lease decides. SQLite needs none, because a data
//! directory has one server.

use crate::db::Store;
use crate::error::StoreError;
use crate::galera;
use crate::leases::{self, Held, Lease};
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

/// The lease on a Galera cluster.
const LEASE: &str = "start";
/// A holder that gave no sign for so long is dead. A cluster that loses a member stands still for some seconds.
const DEAD_MS: u64 = 20_000;
/// Between two looks at somebody else's lease.
const LOOK_MS: u64 = 100;
/// Longest wait for the lease to be given back.
const GIVE_BACK_MS_MAX: u64 = 5_000;
const FIND_HOLDER: &str = "SELECT UUID()";

/// Held while a node prepares the database.
pub enum StartLock {
    /// Nothing to wait for.
    Sqlite,
    /// `GET_LOCK`.
    MySql(Box<MySqlConnection>),
    /// A lease, which all members of the cluster see.
    Galera(Held),
    /// `pg_advisory_lock`.
    Postgres(Box<PgConnection>),
}

impl StartLock {
    pub(crate) async fn on_mysql(store: &Store, options: &MySqlConnectOptions) -> Result<Self, StoreError> {
        let mut link = Box::new(options.connect().await?);
        if galera::is_member(&mut link).await? && leases::ensure_table(store).await? {
            let holder = sqlx::query_scalar::<_, String>(FIND_HOLDER).fetch_one(&mut *link).await?;
            return Ok(Self::Galera(bounded(wait_for_lease(store, holder)).await?));
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

    /// Lets the next node go on. Dropping the lock does too, later.
    pub async fn release(self) {
        let closed = match self {
            Self::Sqlite => Ok(()),
            Self::MySql(link) => link.close().await,
            Self::Galera(held) => {
                let released = tokio::time::timeout(Duration::from_millis(GIVE_BACK_MS_MAX), held.release()).await;
                if !matches!(released, Ok(Ok(()))) {
                    tracing::warn!("the start lock could not be given back; the next node waits {DEAD_MS} ms");
                }
                Ok(())
            }
            Self::Postgres(link) => link.close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "the start lock's connection ended early");
        }
    }
}

async fn wait_for_lease(store: &Store, holder: String) -> Result<Held, StoreError> {
    let mut lease = Lease::new(LEASE, holder, Duration::from_millis(DEAD_MS));
    loop {
        if let Some(held) = lease.take(store).await? {
            return Ok(held);
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
}

async fn bounded<T, E: Into<StoreError>>(answer: impl Future<Output = Result<T, E>>) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(Duration::from_millis(WAIT_MS_MAX), answer).await;
    answer.map_err(|_| StoreError::Timeout)?.map_err(Into::into)
}
