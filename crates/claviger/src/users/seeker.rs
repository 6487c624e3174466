//! Looks user names up together: one statement at a time asks for all the names that came while the one before it ran.
//!
//! Anybody may send a name that nobody has, and the tables of 3.2 have no index on names; PostgreSQL and SQLite have none on
//! `LOWER(name)` in any release. So a look-up may read the table from end to end, and a flood of them must not become a flood
//! of such readings (contract database.md 5.1, 5.3).

use claviger_proto::ids::TenantId;
use claviger_store::conn::Conn;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::users::{self, NAMES_MAX, User};
use std::sync::{Mutex, PoisonError};
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
pub(super) struct Seeker {
    store: Store,
    sought: Sought,
    waiting: Mutex<Vec<Asked>>,
    /// Held by whoever asks the database for all.
    turn: tokio::sync::Mutex<()>,
}

struct Asked {
    tenant: TenantId,
    name: String,
    answer: oneshot::Sender<Result<Option<User>, StoreError>>,
}

type Answer = oneshot::Receiver<Result<Option<User>, StoreError>>;

impl Seeker {
    pub(super) fn new(store: Store, sought: Sought) -> Self {
        Self { store, sought, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// A user of the primary store. [`StoreError::Unavailable`] also when too many names wait already.
    pub(super) async fn find(&self, tenant: TenantId, name: &str) -> Result<Option<User>, StoreError> {
        let mut answer = self.ask(tenant, name)?;
        loop {
            tokio::select! {
                biased;
                found = &mut answer => match found {
                    Ok(found) => return found,
                    // Whoever asked for us gave up, or its error was its own.
                    Err(_) => answer = self.ask(tenant, name)?,
                },
                _turn = self.turn.lock() => self.answer_some().await?,
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

    /// Asks the database once, for the oldest name and others of its tenant.
    pub(super) async fn answer_some(&self) -> Result<(), StoreError> {
        let some = self.take_some();
        let Some(first) = some.first() else { return Ok(()) };
        let names: Vec<&str> = some.iter().map(|asked| asked.name.as_str()).collect();
        let found = match self.store.reader().await {
            Ok(mut conn) => self.sought.find(&mut conn, first.tenant, &names).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => {
                for (asked, user) in some.into_iter().zip(found) {
                    // Who does not wait any more does not want it.
                    drop(asked.answer.send(Ok(user)));
                }
                Ok(())
            }
            Err(error) => {
                // Without a database the others need not find that out one by one. Any other error they see for themselves.
                for asked in some.into_iter().filter(|_| error.is_temporary()) {
                    drop(asked.answer.send(Err(StoreError::Unavailable(None))));
                }
                Err(error)
            }
        }
    }

    /// Names that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Nobody else asks the database meanwhile.
    #[cfg(test)]
    pub(super) async fn hold_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
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
