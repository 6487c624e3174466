//! Where users are: in our own database, or in one that a file of the old installation names (contract users-ldap.md 3.4).
//!
//! A secondary store's database is opened when it is there, at the start or later: that it is not keeps nobody else waiting.

use claviger_proto::ids::TenantId;
use claviger_proto::password::PasswordForm;
use claviger_proto::user::NameRule;
use claviger_store::conn::Conn;
use claviger_store::db::{Place, Store, Zones};
use claviger_store::error::StoreError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Time after a failure in which a store is not asked again: a database that is gone answers nobody for as long as one waits for it.
const REST_MS: u64 = 1_000;

/// A secondary user store.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its domain, upper case.
    pub domain: String,
    /// Its database.
    pub place: Place,
    /// The zones of its wall clocks.
    pub zones: Zones,
    /// How it keeps passwords.
    pub form: PasswordForm,
    /// Which spellings name one user.
    pub name_rule: NameRule,
    /// Has it roles of its own?
    pub are_groups_read: bool,
}

/// Gives connections to the database of a user store.
#[derive(Clone)]
pub(super) enum Source {
    Ours(Store),
    Elsewhere(Arc<Elsewhere>),
}

impl Source {
    /// A connection for reading. [`StoreError::Unavailable`] at once while a secondary store rests; that there is none to be
    /// had from its database is taken notice of.
    pub(super) async fn reader(&self) -> Result<Conn, StoreError> {
        match self {
            Self::Ours(store) => store.reader().await,
            Self::Elsewhere(elsewhere) => {
                elsewhere.check_rest()?;
                elsewhere.store().await?.reader().await.inspect_err(|error| elsewhere.note(Some(error)))
            }
        }
    }

    /// Takes notice of how a question ended that the database was asked. What it was not asked says nothing about it.
    pub(super) fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Self::Elsewhere(elsewhere) = self {
            elsewhere.note(result.as_ref().err());
        }
        result
    }
}

/// The database of a secondary store.
pub(super) struct Elsewhere {
    domain: String,
    place: Place,
    zones: Zones,
    opened: OnceLock<Store>,
    /// Held by who opens it.
    turn: tokio::sync::Mutex<()>,
    /// Times that it could not be opened.
    failures: AtomicU64,
    rests_until: Mutex<Option<Instant>>,
    /// Was it told that it is down?
    is_down: AtomicBool,
}

impl Elsewhere {
    pub(super) fn new(settings: &StoreSettings) -> Self {
        Self {
            domain: settings.domain.clone(),
            place: settings.place.clone(),
            zones: settings.zones,
            opened: OnceLock::new(),
            turn: tokio::sync::Mutex::default(),
            failures: AtomicU64::new(0),
            rests_until: Mutex::default(),
            is_down: AtomicBool::new(false),
        }
    }

    /// The open database. Of those who come while it is opened all hear how that ends.
    pub(super) async fn store(&self) -> Result<Store, StoreError> {
        let before = self.failures.load(Ordering::Acquire);
        if let Some(store) = self.opened.get() {
            return Ok(store.clone());
        }
        let wait = Duration::from_millis(self.place.limits.acquire_ms_max);
        let turn = tokio::time::timeout(wait, self.turn.lock()).await;
        let _turn = turn.map_err(|_| StoreError::Unavailable(None))?;
        if let Some(store) = self.opened.get() {
            return Ok(store.clone());
        }
        if self.failures.load(Ordering::Acquire) != before {
            return Err(StoreError::Unavailable(None));
        }
        match Store::open_users(&self.place, self.zones).await {
            Ok(store) => {
                tracing::info!(domain = self.domain, "the user store is ready");
                Ok(self.opened.get_or_init(|| store).clone())
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Release);
                self.note(Some(&error));
                // Whatever is the matter with it, nobody can be told by it who he is.
                Err(StoreError::Unavailable(None))
            }
        }
    }

    pub(super) async fn close(&self) {
        if let Some(store) = self.opened.get() {
            store.close().await;
        }
    }

    fn check_rest(&self) -> Result<(), StoreError> {
        let until = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| Instant::now() < until) { Err(StoreError::Unavailable(None)) } else { Ok(()) }
    }

    /// Says once that it is down, and once that it is back.
    fn note(&self, error: Option<&StoreError>) {
        let Some(error) = error else {
            if self.is_down.swap(false, Ordering::Relaxed) {
                tracing::info!(domain = self.domain, "the user store answers again");
            }
            return;
        };
        if !error.is_temporary() && self.opened.get().is_some() {
            return;
        }
        // While it rests nobody has asked it.
        if self.check_rest().is_ok() {
            let until = Instant::now() + Duration::from_millis(REST_MS);
            *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        }
        if !self.is_down.swap(true, Ordering::Relaxed) {
            let error: &dyn std::error::Error = error;
            tracing::warn!(domain = self.domain, error, "the user store does not answer: its users are refused");
        }
    }
}
