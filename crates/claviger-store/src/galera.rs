//! What is different when a MariaDB server is a member of a Galera cluster. A write is checked against those of the other
//! members at its COMMIT (which may fail as a deadlock does), but locks, `GET_LOCK` among them, are the member's own, and what
//! the others have committed is applied a little later.
//!
//! So connections are told to wait for it, and what must happen once in the cluster is decided by a row: who inserts it holds
//! it, and shows with a counter that it lives.

use crate::error::StoreError;
use sqlx::Connection as _;
use sqlx::mysql::{MySqlConnection, MySqlQueryResult};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// Between two signs of life of a holder.
const BEAT_MS: u64 = 1_000;
/// A holder that gave no sign for so long is dead. A cluster that loses a member stands still for some seconds.
const DEAD_MS: u64 = 20_000;
/// Between two looks at somebody else's row.
const LOOK_MS: u64 = 100;

const IS_MEMBER: &str = "SHOW VARIABLES LIKE 'wsrep_on'";
/// Reads, and transactions at their beginning, wait until this member has applied what was committed anywhere before.
const READ_LATEST: &str = "SET SESSION wsrep_sync_wait = 1";
const HAS_TABLE: &str =
    "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'CLV_LOCK'";
const CREATE: &str = "CREATE TABLE IF NOT EXISTS CLV_LOCK (NAME VARCHAR(20) NOT NULL PRIMARY KEY, HOLDER VARCHAR(36) NOT NULL, \
                      BEAT BIGINT NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";
const FIND_HOLDER: &str = "SELECT UUID()";
const INSERT: &str = "INSERT IGNORE INTO CLV_LOCK (NAME, HOLDER, BEAT) VALUES (?, ?, 0)";
const FIND: &str = "SELECT HOLDER, BEAT FROM CLV_LOCK WHERE NAME = ?";
const TAKE_OVER: &str = "UPDATE CLV_LOCK SET HOLDER = ?, BEAT = 0 WHERE NAME = ? AND HOLDER = ? AND BEAT = ?";
const BEAT: &str = "UPDATE CLV_LOCK SET BEAT = BEAT + 1 WHERE NAME = ? AND HOLDER = ?";
const DELETE: &str = "DELETE FROM CLV_LOCK WHERE NAME = ? AND HOLDER = ?";

/// Is the server a member of a cluster? MySQL's servers do not know the variable.
pub(crate) async fn is_member(link: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::query_as::<_, (String, String)>(IS_MEMBER).fetch_optional(link).await?;
    Ok(row.is_some_and(|(_, value)| value == "ON"))
}

/// Makes a new connection to a member see what the others have committed: a client that got a token from one process shows it
/// to the next at once. Costs a query per connection, and on a member a message to the group per read.
pub(crate) async fn read_latest(link: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    if is_member(link).await? {
        sqlx::raw_sql(READ_LATEST).execute(link).await?;
    }
    Ok(())
}

/// Makes the table of locks when it is not there; false when we may not.
pub(crate) async fn ensure_locks(link: &mut MySqlConnection) -> Result<bool, StoreError> {
    if sqlx::query_scalar::<_, i64>(HAS_TABLE).fetch_one(&mut *link).await? > 0 {
        return Ok(true);
    }
    match sqlx::raw_sql(CREATE).execute(link).await.map_err(StoreError::from) {
        Ok(_) => Ok(true),
        Err(error @ StoreError::Database(_)) => {
            tracing::warn!(%error, "CLV_LOCK cannot be made: do not start nodes at several members at once");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A row of CLV_LOCK with our name in it, kept alive by a task that ends with this value.
pub struct Lease {
    // Dropped, it ends the task too.
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Lease {
    /// Takes the row of this name, or waits for its holder; the caller bounds the time. The connection is the lease's.
    pub(crate) async fn take(mut link: MySqlConnection, name: &'static str) -> Result<Self, StoreError> {
        let holder = sqlx::query_scalar::<_, String>(FIND_HOLDER).fetch_one(&mut link).await?;
        let mut seen: Option<((String, i64), Instant)> = None;
        loop {
            let mine = sqlx::query(INSERT).bind(name).bind(&holder).execute(&mut link).await;
            if has_happened(mine)? {
                break;
            }
            let other = sqlx::query_as::<_, (String, i64)>(FIND).bind(name).fetch_optional(&mut link).await?;
            match (other, &seen) {
                (Some(other), Some((before, since))) if other == *before => {
                    if since.elapsed() >= Duration::from_millis(DEAD_MS) {
                        let taken = sqlx::query(TAKE_OVER).bind(&holder).bind(name).bind(&other.0).bind(other.1);
                        if has_happened(taken.execute(&mut link).await)? {
                            break;
                        }
                    }
                }
                (other, _) => seen = other.map(|other| (other, Instant::now())),
            }
            sleep(Duration::from_millis(LOOK_MS)).await;
        }
        let (end, ended) = oneshot::channel();
        Ok(Self { end, task: tokio::spawn(keep(link, name, holder, ended)) })
    }

    /// Gives the row back.
    pub(crate) async fn release(self) {
        drop(self.end);
        // A server that is gone takes nothing back; the row is taken over in its time.
        drop(tokio::time::timeout(Duration::from_millis(BEAT_MS * 5), self.task).await);
    }
}

async fn keep(mut link: MySqlConnection, name: &'static str, holder: String, mut ended: oneshot::Receiver<()>) {
    let mut beats = interval(Duration::from_millis(BEAT_MS));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut ended => break,
            _ = beats.tick() => {
                let beat = sqlx::query(BEAT).bind(name).bind(&holder).execute(&mut link).await;
                match beat {
                    Ok(done) if done.rows_affected() == 0 => {
                        tracing::error!(lock = name, "this node stood still for too long: another one has begun beside it");
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, lock = name, "no sign of life could be given; another node may begin");
                    }
                }
            }
        }
    }
    let given_back = sqlx::query(DELETE).bind(name).bind(&holder).execute(&mut link).await;
    if let Err(error) = given_back {
        tracing::warn!(%error, lock = name, "the lock could not be given back; the next node waits {DEAD_MS} ms");
    }
    drop(link.close().await);
}

/// Did the statement touch its row? One that lost against another member's did not.
fn has_happened(result: Result<MySqlQueryResult, sqlx::Error>) -> Result<bool, StoreError> {
    match result.map_err(StoreError::from) {
        Ok(done) => Ok(done.rows_affected() == 1),
        Err(StoreError::Repeat(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
