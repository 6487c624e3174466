//! The one writer of the embedded database: commits everything that is waiting as one transaction, so that concurrent
//! writes share an fsync, and answers each after the commit (performance.md rule 5).
//!
//! Each write runs in a savepoint of its own: one that fails takes nothing else with it.

use crate::conn::Conn;
use crate::db::{Databases, Listeners, WRITE_MS_MAX};
use crate::error::{StoreError, WriteError};
use claviger_proto::event::Event;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::sqlite::SqlitePool;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Most writes in one commit.
const BATCH_MAX: usize = 128;
/// Writes that may wait; beyond it a caller waits for its place.
const QUEUE_MAX: usize = 4096;

/// Hands writes to the writer's task.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
    ended: watch::Receiver<bool>,
}

/// What is queued; `None` ends the writer after what was queued before it.
type Message = Option<Box<dyn Job>>;

/// A write with its result type erased.
trait Job: Send {
    /// Runs the closure; true when it wants to be committed.
    fn run<'a>(&'a mut self, conn: &'a mut Conn) -> BoxFuture<'a, bool>;
    /// Takes the events that the closure emitted.
    fn keep_events(&mut self, events: Vec<Event>);
    /// Answers the caller, after the commit or the failure of the batch.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>, listeners: &Listeners);
}

struct Write<T, E, F> {
    work: F,
    result: Option<Result<T, E>>,
    events: Vec<Event>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Job for Write<T, E, F>
where
    F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, E>> + Send + Sync,
    T: Send,
    E: WriteError,
{
    fn run<'a>(&'a mut self, conn: &'a mut Conn) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let bound = Duration::from_millis(WRITE_MS_MAX);
            // The call itself stands inside too: a closure may panic before it has made its future.
            let work = async { (self.work)(conn).await };
            let work = AssertUnwindSafe(tokio::time::timeout(bound, work)).catch_unwind().await;
            let result = match work {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(StoreError::Timeout.into()),
                Err(_) => Err(StoreError::Panicked.into()),
            };
            let is_wanted = result.is_ok();
            self.result = Some(result);
            is_wanted
        })
    }

    fn keep_events(&mut self, events: Vec<Event>) {
        self.events = events;
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>, listeners: &Listeners) {
        let result = match (self.result, committed) {
            (Some(Ok(value)), Ok(())) => {
                listeners.tell(&self.events);
                Ok(value)
            }
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(_)) | None, Err(error)) => Err(error.into()),
            (None, Ok(())) => Err(StoreError::Unavailable(None).into()),
        };
        // A caller that went away does not want the answer; the write stands.
        drop(self.reply.send(result));
    }
}

impl Writer {
    pub(crate) fn start(pool: SqlitePool, databases: Arc<Databases>, listeners: Listeners) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (end, ended) = watch::channel(false);
        tokio::spawn(async move {
            write_batches(&pool, &databases, waiting, &listeners).await;
            pool.close().await;
            end.send_replace(true);
        });
        Self { queue, ended }
    }

    pub(crate) async fn submit<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, E>> + Send + Sync + 'static,
        T: Send + 'static,
        E: WriteError,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write { work, result: None, events: Vec::new(), reply });
        if self.queue.send(Some(job)).await.is_err() {
            return Err(StoreError::Unavailable(None).into());
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable(None).into()))
    }

    /// Takes no more writes, commits those that wait, and closes the connection.
    pub(crate) async fn close(&self) {
        drop(self.queue.send(None).await);
        drop(self.ended.clone().wait_for(|ended| *ended).await);
    }
}

async fn write_batches(
    pool: &SqlitePool,
    databases: &Arc<Databases>,
    mut waiting: mpsc::Receiver<Message>,
    listeners: &Listeners,
) {
    let mut messages = Vec::with_capacity(BATCH_MAX);
    let mut is_ending = false;
    while !is_ending && waiting.recv_many(&mut messages, BATCH_MAX).await > 0 {
        is_ending = messages.iter().any(Option::is_none);
        let mut batch: Vec<Box<dyn Job>> = messages.drain(..).flatten().collect();
        let committed = commit_batch(pool, databases, &mut batch).await;
        if let Err(error) = &committed {
            tracing::error!(%error, writes = batch.len(), "a batch of writes could not be committed");
        }
        for job in batch {
            job.answer(committed.as_ref().copied().map_err(|_| StoreError::Unavailable(None)), listeners);
        }
    }
}

async fn commit_batch(
    pool: &SqlitePool,
    databases: &Arc<Databases>,
    batch: &mut [Box<dyn Job>],
) -> Result<(), StoreError> {
    let mut conn = Conn::of_writer(databases.clone(), pool.acquire().await?);
    conn.command("BEGIN IMMEDIATE").await?;
    for job in batch.iter_mut() {
        conn.command("SAVEPOINT JOB").await?;
        if job.run(&mut conn).await {
            job.keep_events(std::mem::take(&mut conn.emitted));
        } else {
            conn.emitted.clear();
            conn.command("ROLLBACK TO JOB").await?;
        }
        conn.command("RELEASE JOB").await?;
    }
    conn.commit().await
}
