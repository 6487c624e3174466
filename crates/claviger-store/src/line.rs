//! The line on which the nodes of a PostgreSQL database tell each other that there are new events: LISTEN on a
//! connection of its own beside the pool, NOTIFY on any connection of the pool.
//!
//! A call is made after the commit of an event, in a transaction of its own that writes nothing. PostgreSQL lets transactions
//! with a NOTIFY commit one at a time, each with its write to the disk inside: in the transaction of the change it would end
//! that many requests share one write. A call may be lost, with its caller or with a listener's connection. So it is a reason
//! to read the log and never the only one.
//!
//! Who calls hears itself, from another session. That is how a node knows that its line works: a pooler in transaction mode
//! accepts LISTEN, and what one session sends it lets no other hear. A node that hears nothing calls all the same.

use crate::db::{Pool, Store};
use crate::error::StoreError;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgListener, PgPool, PgPoolOptions};
use std::time::Duration;

/// One for all schemas of a database: a call too many does no harm.
const CHANNEL: &str = "claviger_event";
/// Ends the payload of a call that tells of nothing.
const TEST: &str = "?";
/// Longest wait for the line's connection.
const CONNECT_MS_MAX: u64 = 5_000;
/// Longest wait for the connection's end.
const CLOSE_MS_MAX: u64 = 1_000;

/// A connection that listens.
pub struct Line {
    listener: PgListener,
    // Of one connection, for the listener needs a pool.
    pool: PgPool,
    name: String,
}

/// What came over the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Another node has written events.
    News,
    /// Our own call, or test.
    Own,
}

impl Store {
    /// Opens the line of the events' database; `None` where the engine has none. The name is the node's own: letters, digits
    /// and `-`.
    pub async fn open_line(&self, name: &str) -> Result<Option<Line>, StoreError> {
        let Pool::Postgres(pool) = self.pool_of_events() else { return Ok(None) };
        let options = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let options = options.acquire_timeout(Duration::from_millis(CONNECT_MS_MAX));
        let pool = options.connect_lazy_with((*pool.connect_options()).clone());
        let name = plain(name);
        let opening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            // Who waits is to hear that calls may have been lost, and to look at the log after the next line is there.
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        let listener = bounded(CONNECT_MS_MAX, opening).await?;
        Ok(Some(Line { listener, pool, name }))
    }

    /// Tells the other nodes that there are new events, over a connection of the pool. Does nothing where the engine has no line.
    pub async fn call_nodes(&self, name: &str) -> Result<(), StoreError> {
        self.notify(plain(name)).await
    }

    /// A call that only its caller hears.
    pub async fn test_line(&self, name: &str) -> Result<(), StoreError> {
        self.notify(plain(name) + TEST).await
    }

    // Not prepared: a pooler may not keep prepared statements.
    async fn notify(&self, payload: String) -> Result<(), StoreError> {
        let Pool::Postgres(pool) = self.pool_of_events() else { return Ok(()) };
        let statement = format!("NOTIFY {CHANNEL}, '{payload}'");
        let sending = async {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(pool).await?;
            Ok(())
        };
        bounded(CONNECT_MS_MAX, sending).await
    }
}

/// What may stand between quotes.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect()
}

impl Line {
    /// Waits for the next call. May be dropped at any time and begun anew. An error means that the line is gone, and that calls
    /// may have been lost.
    pub async fn hear(&mut self) -> Result<Heard, StoreError> {
        loop {
            let Some(heard) = self.listener.try_recv().await? else { return Err(StoreError::Unavailable(None)) };
            let caller = heard.payload();
            if caller.trim_end_matches(TEST) == self.name {
                return Ok(Heard::Own);
            }
            if !caller.ends_with(TEST) {
                return Ok(Heard::News);
            }
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        let Self { listener, pool, .. } = self;
        drop(listener);
        // A server that is gone does not say goodbye.
        drop(tokio::time::timeout(Duration::from_millis(CLOSE_MS_MAX), pool.close()).await);
    }
}

async fn bounded<T>(bound_ms: u64, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let done = tokio::time::timeout(Duration::from_millis(bound_ms), work).await;
    done.unwrap_or(Err(StoreError::Timeout))
}
