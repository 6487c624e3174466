//! Wrong passwords: counted for each user, whichever door they came by, until they lock his account, and forgotten at a right one
//! (contract users-ldap.md 3.8; security.md 4.4).
//!
//! Owns: what happens when, and what a login waits for. Leaves to others: the rule (`account`), the rows (`account_locks`), the end of
//! what the user holds (`oauth::user_end`). A name that several stores know counts in each whose user had another password, as in the
//! old server, also when a later store admits him.
//!
//! A wrong password is counted behind its answer: a name that nobody has writes nothing, and the time of an answer is not to tell
//! which names there are. So that nobody gains by being quick, a right password waits for the counts that are under way, and while as
//! many are as lock the account, no password of this user is looked at. A count that could not be written stands for a while.

use super::{Principal, Users};
use crate::oauth::client_end::TokenEnd;
use crate::oauth::user_end::{Ended, UserEnd};
use claviger_proto::account::{Facts, Failures, LockRule, PASSES_LOCKS};
use claviger_proto::time::Timestamp;
use claviger_proto::user::{NameRule, PRIMARY, Username};
use claviger_store::account_locks::{self, Held};
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::{user_admin, users as rows};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Counts that may be under way. The answer to one more waits: better slow than not counted.
const COUNTS_MAX: usize = 1_000;
/// Counts that are written at a time, and locked users whose tokens end at a time: the others' connections are not theirs.
const WRITES_MAX: usize = 8;
/// How long a count that could not be written stands at this node: as long as what is known of a user.
const UNWRITTEN_MS: u64 = 30_000;
/// Longest wait of a right password for its user's counts.
const SETTLE_MS_MAX: u64 = 5_000;

/// The users whose wrong passwords are not in their rows, or not yet, and how many.
type Pending = Arc<Mutex<HashMap<Username, watch::Sender<Unwritten>>>>;

/// Wrong passwords of one user that are not in his rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unwritten {
    under_way: u32,
    failed: u32,
}

/// Counts wrong passwords by a rule.
pub(super) struct FailedLogins {
    rule: LockRule,
    token_end: TokenEnd,
    pending: Pending,
    places: Arc<Semaphore>,
    writers: Semaphore,
    enders: Semaphore,
    tasks: Mutex<JoinSet<()>>,
}

/// One wrong password that is not in the rows.
struct Count {
    pending: Pending,
    username: Username,
    has_failed: bool,
}

impl Count {
    /// It could not be written.
    fn fail(&mut self) {
        self.has_failed = true;
        self.change(|unwritten| {
            unwritten.under_way = unwritten.under_way.saturating_sub(1);
            unwritten.failed += 1;
        });
    }

    fn change(&self, change: impl FnOnce(&mut Unwritten)) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(unwritten) = pending.get(&self.username) else { return };
        unwritten.send_modify(change);
        let is_over = *unwritten.borrow() == Unwritten::default();
        if is_over {
            pending.remove(&self.username);
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let has_failed = self.has_failed;
        self.change(|unwritten| {
            let count = if has_failed { &mut unwritten.failed } else { &mut unwritten.under_way };
            *count = count.saturating_sub(1);
        });
    }
}

/// How a wrong password was counted.
enum Counted {
    /// It was not: nobody has the name any more, locks do not concern him, or he is kept out already.
    Not,
    /// One more.
    More,
    /// It is the one that locks his account, and was not written: what he holds has to end with it.
    WouldLock,
    /// It has locked his account, until then.
    Locked(Timestamp),
}

impl FailedLogins {
    pub(super) fn new(rule: LockRule, token_end: TokenEnd) -> Self {
        Self {
            rule,
            token_end,
            pending: Pending::default(),
            places: Arc::new(Semaphore::new(COUNTS_MAX)),
            writers: Semaphore::new(WRITES_MAX),
            enders: Semaphore::new(WRITES_MAX),
            tasks: Mutex::default(),
        }
    }

    fn unwritten(&self, username: &Username) -> Unwritten {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.get(username).map(|unwritten| *unwritten.borrow()).unwrap_or_default()
    }

    /// Are there as many as lock an account?
    fn has_all(&self, username: &Username) -> bool {
        let Unwritten { under_way, failed } = self.unwritten(username);
        under_way + failed >= self.rule.attempts_max
    }

    fn begin(&self, username: &Username) -> Count {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let unwritten = pending.entry(username.clone()).or_insert_with(|| watch::Sender::new(Unwritten::default()));
        unwritten.send_modify(|unwritten| unwritten.under_way += 1);
        Count { pending: self.pending.clone(), username: username.clone(), has_failed: false }
    }

    /// Waits until no count of a user is under way.
    async fn settle(&self, username: &Username) {
        let unwritten = {
            let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.get(username).map(watch::Sender::subscribe)
        };
        if let Some(mut unwritten) = unwritten {
            // An error: they are over, and nobody counts any more.
            let over = unwritten.wait_for(|unwritten| unwritten.under_way == 0);
            drop(timeout(Duration::from_millis(SETTLE_MS_MAX), over).await);
        }
    }

    /// Waits until all is counted, and what locked users held has ended.
    pub(super) async fn finish(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}

impl Users {
    /// Are there as many wrong passwords of a user, not in his rows, as lock his account? Who is not known is made known first: he
    /// may pass locks.
    pub(super) async fn is_over_counted(&self, username: &Username) -> Result<bool, StoreError> {
        let Some(failed) = &self.failed_logins else { return Ok(false) };
        if !failed.has_all(username) {
            return Ok(false);
        }
        let known = self.find_exactly(username).await?;
        Ok(failed.has_all(username) && !known.is_some_and(|known| known.principal.passes_locks()))
    }

    /// May who is remembered not be admitted by that alone: is there something to be reset, or to be waited for?
    pub(super) fn is_unsettled(&self, principal: &Principal) -> bool {
        let Some(failed) = &self.failed_logins else { return false };
        self.is_reset(principal)
            || (!principal.passes_locks() && failed.unwritten(&principal.username) != Unwritten::default())
    }

    fn is_reset(&self, principal: &Principal) -> bool {
        principal.account.failures.is_reset(principal.passes_locks(), self.clock.now())
    }

    /// Takes notice of a wrong password of a user who is there.
    pub(super) async fn note_wrong_password(self: &Arc<Self>, username: Username) {
        let Some(failed) = &self.failed_logins else { return };
        let now = self.clock.now();
        if self.known.find(&username).is_some_and(|known| !known.principal.is_counted(now)) {
            return;
        }
        let mut count = failed.begin(&username);
        let place = failed.places.clone().acquire_owned().await;
        let users = self.clone();
        let mut tasks = failed.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            match users.count(&username, now).await {
                Ok(None) => drop((count, place)),
                Ok(Some(end)) => {
                    drop((count, place));
                    users.end_of_locked(&end, &username).await;
                }
                Err(error) => {
                    tracing::warn!(user = username.with_tenant(), %error, "a wrong password could not be counted");
                    count.fail();
                    drop(place);
                    // Nobody waits for this, neither a login nor the end of the server. Of one user there are as many as lock his
                    // account, and then none of his passwords is looked at.
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(UNWRITTEN_MS)).await;
                        drop(count);
                    });
                }
            }
        });
    }

    /// Counts a wrong password of that moment; the end of what the user holds, when it has locked his account.
    async fn count(&self, username: &Username, now: Timestamp) -> Result<Option<Arc<UserEnd>>, StoreError> {
        let Some(failed) = &self.failed_logins else { return Ok(None) };
        let _writer = failed.writers.acquire().await;
        let Some(known) = self.find_exactly(username).await? else { return Ok(None) };
        let user = &known.principal;
        if !user.is_counted(now) {
            return Ok(None);
        }
        let account = Arc::new(self.account_of(user.clone()));
        let mut end = None;
        let done = loop {
            match self.write_count(failed.rule, account.clone(), end.clone(), now).await {
                Ok(Counted::WouldLock) => {
                    end = Some(UserEnd::of(self, (self.store.clone(), failed.token_end.clone()), user).await?);
                }
                done => break done,
            }
        };
        // Whatever came of it: what could not be written may have been, and what was not to be is not as it was known.
        self.known.forget(username);
        let Counted::Locked(until) = done? else { return Ok(None) };
        let (user, attempts) = (username.with_tenant(), failed.rule.attempts_max);
        let until_ms = (until != Timestamp::NEVER).then(|| until.as_millis());
        tracing::info!(target: "audit", user, act = "lock", outcome = "done", attempts, until_ms, "wrong passwords have locked the account");
        Ok(end)
    }

    /// One write of a count; `end`: what ends with it, if it is the one that locks.
    async fn write_count(
        &self,
        rule: LockRule,
        account: Arc<Account>,
        end: Option<Arc<UserEnd>>,
        now: Timestamp,
    ) -> Result<Counted, StoreError> {
        let shared = Arc::new((account, end));
        let write = self.store.write::<_, StoreError, _>(move |conn| {
            let shared = shared.clone();
            Box::pin(async move {
                let (account, end) = &*shared;
                let Some((row, held)) = account.hold(conn).await? else { return Ok(Counted::Not) };
                if account.is_barred(&held, now) {
                    return Ok(Counted::Not);
                }
                let (facts, locked_until) = rule.fail(held.state.failures, now);
                let Some(until) = locked_until else {
                    held.write(conn, &facts).await?;
                    return Ok(Counted::More);
                };
                let Some(end) = end else { return Ok(Counted::WouldLock) };
                held.write(conn, &facts).await?;
                let uuid = match &row {
                    Some(row) => user_admin::find_uuid(conn, account.user.tenant, row).await?,
                    None => None,
                };
                end.begin(conn, uuid.as_deref()).await?;
                Ok(Counted::Locked(until))
            })
        });
        write.await
    }

    /// Waits for the counts of a user whose password was right.
    pub(super) async fn settle(&self, username: &Username) {
        let passes_locks = || self.known.find(username).is_some_and(|known| known.principal.passes_locks());
        if let Some(failed) = &self.failed_logins
            && failed.unwritten(username).under_way > 0
            && !passes_locks()
        {
            failed.settle(username).await;
        }
    }

    /// Forgets the wrong passwords of a user whose password was right; false when his account was locked meanwhile. A database that
    /// refuses the write keeps nobody out.
    pub(super) async fn reset_failures(&self, user: &Arc<Principal>) -> bool {
        let Some(failed) = &self.failed_logins else { return true };
        if !self.is_reset(user) {
            return true;
        }
        let (rule, clock) = (failed.rule, self.clock.clone());
        let account = Arc::new(self.account_of(user.clone()));
        let write = self.store.write::<_, StoreError, _>(move |conn| {
            let (account, clock) = (account.clone(), clock.clone());
            Box::pin(async move {
                let Some((_, held)) = account.hold(conn).await? else { return Ok(false) };
                let now = clock.now();
                if account.is_barred(&held, now) {
                    return Ok(false);
                }
                let before: Failures = held.state.failures;
                if before.is_reset(account.user.passes_locks(), now) {
                    let facts: Facts = rule.succeed(before);
                    held.write(conn, &facts).await?;
                }
                Ok(true)
            })
        });
        let done = write.await;
        self.known.forget(&user.username);
        done.unwrap_or_else(|error| {
            let user = user.username.with_tenant();
            tracing::warn!(user, %error, "the wrong passwords before a right one could not be forgotten");
            true
        })
    }

    /// Ends what a user holds whose account was locked.
    async fn end_of_locked(&self, end: &Arc<UserEnd>, username: &Username) {
        let Some(failed) = &self.failed_logins else { return };
        let user = username.with_tenant();
        match end.run(&failed.enders).await {
            Ok(Ended { codes, tokens }) => {
                tracing::info!(target: "audit", user, act = "lock", outcome = "ended", codes, tokens, "what a locked user held has ended");
            }
            Err(error) => {
                tracing::warn!(user, %error, "what a locked user held has not all ended: `claviger user lock` ends it");
            }
        }
    }

    fn account_of(&self, user: Arc<Principal>) -> Account {
        Account { user, are_attributes_too: self.are_accounts_in_attributes() }
    }

    /// Waits until every wrong password is counted, and what locked users held has ended.
    pub async fn finish(&self) {
        if let Some(failed) = &self.failed_logins {
            failed.finish().await;
        }
    }
}

/// Whose account a write is about.
struct Account {
    user: Arc<Principal>,
    are_attributes_too: bool,
}

impl Account {
    /// Holds what is said of him, with his row in the primary store; `None` when he is not there any more.
    async fn hold(&self, conn: &mut Conn) -> Result<Option<(Option<rows::User>, Held)>, StoreError> {
        let Principal { username, tenant, name_rule, .. } = &*self.user;
        let mut row = None;
        if username.domain == PRIMARY {
            row = rows::find(conn, *tenant, &username.name, NameRule::Exact).await?;
            if row.is_none() {
                return Ok(None);
            }
        }
        let attributes_of = row.as_ref().filter(|_| self.are_attributes_too);
        let named = (username.domain.as_str(), username.name.as_str());
        let held = account_locks::hold(conn, *tenant, named, *name_rule, attributes_of).await?;
        Ok(Some((row, held)))
    }

    fn is_barred(&self, held: &Held, now: Timestamp) -> bool {
        let mut state = held.state;
        if self.user.passes_locks() {
            state.locked_until = None;
        }
        state.is_barred(now)
    }
}

impl Principal {
    fn passes_locks(&self) -> bool {
        self.roles.has(PASSES_LOCKS)
    }

    /// Does a wrong password of his count? Not of who passes locks, or strangers would end what he holds; nor of who is kept out
    /// already, as the old server looks at no password of his.
    fn is_counted(&self, now: Timestamp) -> bool {
        !self.passes_locks() && !self.is_barred(now)
    }
}
