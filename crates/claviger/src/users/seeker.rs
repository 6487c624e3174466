//! Looks user names up together: one statement at a time asks for all the names that came while the one before it ran.
//!
//! Anybody may send a name that nobody has, and the tables of 3.2 have no index on names; PostgreSQL and SQLite have none on
//! `LOWER(name)` in any release. So a look-up may read the table from end to end, and a flood of them must not become a flood
//! of such readings (contract database.md 5.1, 5.3).

use super::source::Source;
use claviger_proto::ids::TenantId;
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::users::{self, NAMES_MAX, User};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Names that may wait; who comes later is told to come again.
pub(super) const WAITING_MAX: usize = 1_000;

/// What counts as the same name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sought {
    /// Exactly that.
    Named,
    /// One that differs in case alone, when it is the only one.
    Spelled,
}

/// The look-ups of one kind.
#[derive(Clone)]
pub(super) struct Seeker {
    source: Source,
    sought: Sought,
    waiting: Arc<Mutex<Vec<Asked>>>,
    /// Held by the task that asks the database for all.
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct Asked {
    tenant: TenantId,
    name: String,
    answer: oneshot::Sender<Result<Option<User>, StoreError>>,
}

type Answer = oneshot::Receiver<Result<Option<User>, StoreError>>;

impl Seeker {
    pub(super) fn new(source: Source, sought: Sought) -> Self {
        Self { source, sought, waiting: Arc::default(), turn: Arc::default() }
    }

    /// A user of the store. [`StoreError::Unavailable`] also when too many names wait already.
    pub(super) async fn find(&self, tenant: TenantId, name: &str) -> Result<Option<User>, StoreError> {
        let mut answer = self.ask(tenant, name)?;
        loop {
            tokio::select! {
                biased;
                // Without an answer: the task is gone, and the process with it.
                found = &mut answer => return found.unwrap_or(Err(StoreError::Unavailable(None))),
                turn = self.turn.clone().lock_owned() => {
                    let seeker = self.clone();
                    // A task of its own: whoever hangs up ends neither the others' look-up nor, while the database reads the
                    // table, the turn.
                    tokio::spawn(async move {
                        seeker.answer_some().await;
                        drop(turn);
                    });
                }
            }
        }
    }

    fn ask(&self, tenant: TenantId, name: &str) -> Result<Answer, StoreError> {
        let (answer, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            waiting.retain(|asked| !asked.answer.is_closed());
        }
        if waiting.len() >= WAITING_MAX {
            return Err(StoreError::Unavailable(None));
        }
        waiting.push(Asked { tenant, name: name.to_owned(), answer });
        Ok(receiver)
    }

    /// Asks the database for the oldest name and others of its tenant, in one statement unless that fails.
    pub(super) async fn answer_some(&self) {
        let mut parts = vec![self.take_some()];
        while let Some(mut part) = parts.pop() {
            part.retain(|asked| !asked.answer.is_closed());
            match self.look_up(&part).await {
                Ok(found) => {
                    for (asked, user) in part.into_iter().zip(found) {
                        // Who does not wait any more does not want it.
                        drop(asked.answer.send(Ok(user)));
                    }
                }
                Err(error) if error.is_temporary() => {
                    // Without a database the others need not find that out one by one.
                    let mut error = Some(error);
                    for asked in part.into_iter().chain(parts.drain(..).flatten()) {
                        drop(asked.answer.send(Err(error.take().unwrap_or(StoreError::Unavailable(None)))));
                    }
                }
                // One name that the database does not take, or one user's row, is nobody else's fault: halves find it.
                Err(_) if part.len() > 1 => {
                    let other = part.split_off(part.len() / 2);
                    parts.extend([other, part]);
                }
                Err(error) => {
                    if let Some(asked) = part.pop() {
                        drop(asked.answer.send(Err(error)));
                    }
                }
            }
        }
    }

    async fn look_up(&self, some: &[Asked]) -> Result<Vec<Option<User>>, StoreError> {
        let Some(first) = some.first() else { return Ok(Vec::new()) };
        let names: Vec<&str> = some.iter().map(|asked| asked.name.as_str()).collect();
        let mut conn = self.source.reader().await?;
        self.source.note(self.sought.find(&mut conn, first.tenant, &names).await)
    }

    /// Names that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Nobody else asks the database meanwhile.
    #[cfg(test)]
    pub(super) async fn hold_turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.turn.clone().lock_owned().await
    }

    /// Is the database being asked?
    #[cfg(test)]
    pub(super) fn is_asking(&self) -> bool {
        self.turn.try_lock().is_err()
    }

    fn take_some(&self) -> Vec<Asked> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|asked| !asked.answer.is_closed());
        let Some(tenant) = waiting.first().map(|asked| asked.tenant) else { return Vec::new() };
        let all = std::mem::take(&mut *waiting);
        let mut some = Vec::new();
        for asked in all {
            if asked.tenant == tenant && some.len() < NAMES_MAX {
                some.push(asked);
            } else {
                waiting.push(asked);
            }
        }
        some
    }
}

impl Sought {
    async fn find(self, conn: &mut Conn, tenant: TenantId, names: &[&str]) -> Result<Vec<Option<User>>, StoreError> {
        match self {
            Self::Named => users::find_named(conn, tenant, names).await,
            Self::Spelled => users::find_spelled(conn, tenant, names).await,
        }
    }
}
