//! Who a user is: password check, roles, permissions (contract users-ldap.md 3), with verified logins kept for a while. `store` is
//! one user store, `source` where its users are, `seeker` looks names up there; `failed_logins` counts wrong passwords.

pub mod admin;
mod failed_logins;
mod seeker;
mod source;
mod store;
#[cfg(test)]
mod tests;

pub use source::StoreSettings;

use crate::cache::ReadThrough;
use crate::oauth::client_end::TokenEnd;
use claviger_proto::account::{AccountState, Failures, LockRule, PASSES_LOCKS};
use claviger_proto::entropy::{Entropy, key_text};
use claviger_proto::event::Event;
use claviger_proto::hash::sha256;
use claviger_proto::ids::TenantId;
use claviger_proto::password::PasswordForm;
use claviger_proto::permission::{Permissions, Roles};
use claviger_proto::secret::Secret;
use claviger_proto::time::{Clock, Timestamp};
use claviger_proto::user::{LoginName, NameRule, PRIMARY, Username};
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::{account_locks, tenants, users as rows};
use failed_logins::FailedLogins;
use futures_util::FutureExt as _;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use store::UserStore;
use tokio::time::{Instant, sleep_until};

/// Verified logins that are remembered.
const LOGINS_MAX: usize = 10_000;
/// Users whose roles are remembered.
const USERS_MAX: usize = 10_000;
/// 64 of 63 characters: more than the digest holds.
const PEPPER_LENGTH: usize = 64;
/// A refused login is answered so many milliseconds after it began, or a multiple of it.
const REFUSAL_MS: u64 = 100;
/// A one-time password is good for a day (database.md 5.1).
const ONE_TIME_MS: i64 = 24 * 3600 * 1000;

/// A user whose roles are known.
#[derive(Debug)]
pub struct Principal {
    /// Full name, as the user table spells it whatever the caller wrote.
    pub username: Username,
    /// The tenant's id.
    pub tenant: TenantId,
    /// Roles as the wires name them: `admin`, `Internal/creator`.
    pub roles: Arc<Roles>,
    /// What the roles allow.
    pub permissions: Permissions,
    /// When another spelling means this user too.
    pub name_rule: NameRule,
    /// What keeps him out although his password is right.
    pub account: AccountState,
}

impl Principal {
    /// Holds the user one of these roles? Role names compare without case (rest-3x.md 1.6.7).
    pub fn has_one_of<'a>(&self, roles: impl IntoIterator<Item = &'a str>) -> bool {
        roles.into_iter().any(|wanted| self.roles.has(wanted))
    }

    /// May nobody log in as this user, or go on from an earlier login (security.md 2.2.2)?
    pub fn is_barred(&self, now: Timestamp) -> bool {
        self.account.is_barred(now)
    }
}

/// Tells a user's row with one password from the same row with another, and from a later user's of that name.
type Mark = [u8; 32];

/// How a password check ended.
enum Login {
    /// Unknown name or wrong password.
    Wrong,
    /// The password is right, and the account is locked or disabled.
    Barred,
    Admitted(Arc<Principal>),
}

struct Known {
    principal: Arc<Principal>,
    mark: Mark,
}

/// The users of all tenants.
pub struct Users {
    store: Store,
    clock: Arc<dyn Clock>,
    /// The primary one first, then the others in the order in which a name without a domain is tried.
    stores: Vec<UserStore>,
    /// By the table's spelling: whatever a user types, one entry says who he is.
    known: ReadThrough<Username, Known>,
    /// The table's spelling of names that were typed in another.
    spellings: ReadThrough<Username, Username>,
    /// Name and password, digested, that were right, with the mark they were right for. Who the user is is asked each time.
    logins: ReadThrough<[u8; 32], Mark>,
    /// Makes the keys of `logins` useless outside this process.
    pepper: Secret,
    /// `None`: wrong passwords are not counted.
    failed_logins: Option<FailedLogins>,
    /// Does the configuration say that attributes tell of accounts?
    are_accounts_in_attributes: bool,
}

impl Users {
    /// The users in a store whose passwords have that form and whose names follow that rule, and those of secondary stores.
    pub fn new(
        store: Store,
        primary: (PasswordForm, NameRule),
        secondary: &[StoreSettings],
        clock: Arc<dyn Clock>,
        rng: &dyn Entropy,
    ) -> Self {
        let others = secondary.iter().map(|settings| UserStore::secondary(settings, rng));
        Self {
            stores: [UserStore::primary(store.clone(), primary, rng)].into_iter().chain(others).collect(),
            store,
            clock,
            known: ReadThrough::new(USERS_MAX),
            spellings: ReadThrough::new(USERS_MAX),
            logins: ReadThrough::new(LOGINS_MAX),
            pepper: Secret::new(key_text(rng, PEPPER_LENGTH)),
            failed_logins: None,
            are_accounts_in_attributes: false,
        }
    }

    /// Locks accounts after wrong passwords, when there is a rule for it.
    #[must_use]
    pub(crate) fn with_lock_rule(mut self, rule: Option<LockRule>, token_end: &TokenEnd) -> Self {
        self.failed_logins = rule.map(|rule| FailedLogins::new(rule, token_end.clone()));
        self
    }

    /// Takes it that the old server may keep what it knows of accounts in attributes, whatever its tables are.
    #[must_use]
    pub(crate) fn with_accounts_in_attributes(mut self, is_so: bool) -> Self {
        self.are_accounts_in_attributes = is_so;
        self
    }

    /// May attributes tell of accounts?
    fn are_accounts_in_attributes(&self) -> bool {
        self.are_accounts_in_attributes || account_locks::may_be_attributes(self.store.capabilities())
    }

    /// Begins to open the secondary stores, and waits for none.
    pub fn open_stores(&self) {
        self.stores.iter().for_each(UserStore::open);
    }

    /// Ends the connections to secondary stores.
    pub async fn close(&self) {
        for store in &self.stores {
            store.close().await;
        }
    }

    /// Takes notice of a committed event.
    pub fn apply(&self, event: &Event) {
        match event {
            Event::UserChanged { .. } => self.forget_everything(),
            Event::ApiChanged { .. }
            | Event::ApplicationChanged { .. }
            | Event::ClientChanged { .. }
            | Event::ClientRevoked { .. }
            | Event::KeysChanged
            | Event::PoliciesChanged { .. }
            | Event::TokenRetired { .. }
            | Event::TokenRevoked { .. }
            | Event::UserRevoked { .. }
            | Event::Unknown => {}
        }
    }

    /// Forgets every login and role.
    pub fn forget_everything(&self) {
        self.logins.forget_all();
        self.spellings.forget_all();
        self.known.forget_all();
    }

    /// Checks a password. `None`: unknown user, unknown tenant, wrong password or a locked or disabled account, which look alike, and
    /// last alike by steps of `REFUSAL_MS`: some of them take a look-up more, and nobody is to tell which (security.md 4.4).
    pub async fn authenticate(
        self: &Arc<Self>,
        login: &LoginName,
        password: &Secret,
    ) -> Result<Option<Arc<Principal>>, StoreError> {
        let begun = Instant::now();
        let done = self.authenticate_in_stores(login, password).await;
        if let Ok(None) = done {
            let steps = begun.elapsed().as_millis() / u128::from(REFUSAL_MS) + 1;
            let wait_ms = u64::try_from(steps).unwrap_or(u64::MAX).saturating_mul(REFUSAL_MS);
            sleep_until(begun + Duration::from_millis(wait_ms)).await;
        }
        done
    }

    /// A name without a domain may be a user's of any store: the password decides, in the order of the stores, as in the old
    /// server. While a store does not answer, nobody can say that the password is wrong: the error is the same whether another
    /// store knows the name or not, so that it tells no stranger who is there (security.md 4.4).
    async fn authenticate_in_stores(
        self: &Arc<Self>,
        login: &LoginName,
        password: &Secret,
    ) -> Result<Option<Arc<Principal>>, StoreError> {
        let username = &login.username;
        match self.authenticate_in_store(username, password).await? {
            Login::Admitted(principal) => return Ok(Some(principal)),
            // His namesake of another store is not tried, as the old server does not.
            Login::Barred => return Ok(None),
            Login::Wrong if login.has_domain || self.stores.len() == 1 => return Ok(None),
            Login::Wrong => {}
        }
        let Some(tenant) = self.find_tenant(username).await? else { return Ok(None) };
        let mut trouble = None;
        for store in &self.stores {
            if store.tenant != Some(tenant) {
                continue;
            }
            let username = Username { domain: store.domain.clone(), ..username.clone() };
            match self.authenticate_in_store(&username, password).await {
                Ok(Login::Wrong) => {}
                Ok(Login::Barred) => return Ok(None),
                Ok(Login::Admitted(principal)) => return Ok(Some(principal)),
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        let Some(error) = trouble else { return Ok(None) };
        // Nobody else says who it was: the caller has an error and no refusal.
        tracing::info!(target: "audit", user = username.with_tenant(), outcome = "unavailable", "a password that the stores that answer do not take");
        Err(error)
    }

    /// As [`Self::authenticate_in_stores`], of a user of the store that the name says.
    async fn authenticate_in_store(
        self: &Arc<Self>,
        username: &Username,
        password: &Secret,
    ) -> Result<Login, StoreError> {
        let key = self.login_key(username, password);
        // Who is barred goes the long way, as long as a wrong password's.
        if let Some(mark) = self.logins.find(&key)
            && let Some(known) = self.find_known(username).await?
            && known.mark == *mark
            && !known.principal.is_barred(self.clock.now())
            && !self.is_unsettled(&known.principal)
        {
            return Ok(Login::Admitted(known.principal.clone()));
        }
        let generation = self.logins.generation(&key);
        let named = self.find_store(username).await?;
        let stored = match named {
            Some((tenant, store)) => Self::find_row_in(store, tenant, username).await?,
            None => None,
        };
        self.forget_stale(username, stored.as_ref());
        // A domain that nobody has costs as much as a wrong password.
        let store = named.map_or(&self.stores[0], |(_, store)| store);
        let own = stored.as_ref().map(|user| Username { name: user.name.clone(), ..username.clone() });
        // Nothing waits between its answer and the count: who asks many times at once is not told more often than one by one.
        let is_over_counted = match &own {
            Some(own) => Box::pin(self.is_over_counted(own)).await?,
            None => false,
        };
        let is_match = store.is_match(stored.as_ref().filter(|_| !is_over_counted), password);
        let (Some(user), Some(own)) = (stored, own) else { return Ok(Login::Wrong) };
        if !is_match {
            if !is_over_counted {
                Box::pin(self.note_wrong_password(own)).await;
            }
            return Ok(Login::Wrong);
        }
        if let Some(since) = user.one_time_since
            && self.clock.now().millis_since(since) > ONE_TIME_MS
        {
            tracing::info!(target: "audit", user = username.with_tenant(), outcome = "refused", "one-time password is over");
            return Ok(Login::Wrong);
        }
        let mark = self.mark(&user);
        Box::pin(self.settle(&own)).await;
        // Another mark: the password was changed while this was going on.
        let known = self.find_exactly(&own).await?.filter(|known| known.mark == mark);
        let Some(known) = known else { return Ok(Login::Wrong) };
        let Some(principal) = self.admit(known.principal.clone()) else { return Ok(Login::Barred) };
        if !Box::pin(self.reset_failures(&principal)).await {
            return Ok(Login::Barred);
        }
        // A one-time password is asked for again each time: it ends.
        if user.one_time_since.is_none() {
            self.logins.insert(key, generation, Arc::new(mark));
        }
        Ok(Login::Admitted(principal))
    }

    /// Who has proved who he is, unless his account is locked or disabled.
    fn admit(&self, principal: Arc<Principal>) -> Option<Arc<Principal>> {
        if !principal.is_barred(self.clock.now()) {
            return Some(principal);
        }
        let user = principal.username.with_tenant();
        tracing::info!(target: "audit", user, outcome = "refused", "the account is locked or disabled");
        None
    }

    /// A user with roles and permissions who goes on from an earlier login; `None` when there is no such user or tenant, and when his
    /// account is locked or disabled.
    pub async fn find(&self, username: &Username) -> Result<Option<Arc<Principal>>, StoreError> {
        Ok(self.find_even_barred(username).await?.and_then(|principal| self.admit(principal)))
    }

    /// As [`Self::find`], whatever his account's state: for whom is spoken of, and does not act.
    pub async fn find_even_barred(&self, username: &Username) -> Result<Option<Arc<Principal>>, StoreError> {
        Ok(self.find_known(username).await?.map(|known| known.principal.clone()))
    }

    /// Attributes of a user by name; `None` when there is no such user or tenant.
    pub async fn attributes(&self, username: &Username) -> Result<Option<BTreeMap<String, String>>, StoreError> {
        let Some((tenant, store)) = self.find_store(username).await? else { return Ok(None) };
        let Some(user) = Self::find_row_in(store, tenant, username).await? else { return Ok(None) };
        store.list_attributes(tenant, &user).await.map(Some)
    }

    async fn find_known(&self, username: &Username) -> Result<Option<Arc<Known>>, StoreError> {
        if let Some(known) = self.known.find(username) {
            return Ok(Some(known));
        }
        if let Some(stored) = self.spellings.find(username) {
            return self.find_exactly(&stored).await;
        }
        let generation = self.spellings.generation(username);
        let known = self.find_exactly(username).await?;
        if known.is_some() {
            return Ok(known);
        }
        let Some((tenant, store)) = self.find_store(username).await? else { return Ok(None) };
        let Some(user) = Box::pin(store.find_spelled(tenant, &username.name)).await? else { return Ok(None) };
        let stored = Arc::new(Username { name: user.name, ..username.clone() });
        self.spellings.insert(username.clone(), generation, stored.clone());
        self.find_exactly(&stored).await
    }

    /// The user of exactly that name.
    async fn find_exactly(&self, username: &Username) -> Result<Option<Arc<Known>>, StoreError> {
        // Who waits for a turn may wait for another user's, and no other store is to keep a primary user waiting.
        if username.domain != PRIMARY {
            return self.known.find_or_load(username, || self.load(username).boxed()).await;
        }
        // An administrator who registered thousands of applications has a role for each.
        // Boxed, and its type with it: that of every route's future holds this one several times.
        self.known.find_or_load_once(username, || self.load(username).boxed()).await
    }

    async fn load(&self, username: &Username) -> Result<Option<Known>, StoreError> {
        let Some((tenant, store)) = self.find_store(username).await? else { return Ok(None) };
        // Boxed, as below: the future of every request would be as large.
        let Some(user) = Box::pin(store.find_named(tenant, &username.name)).await? else { return Ok(None) };
        let roles = Box::pin(store.list_roles(&self.store, tenant, &user)).await?;
        let mut conn = self.store.reader().await?;
        let statements = rows::list_permissions(&mut conn, tenant).await?;
        let own: HashSet<&str> = roles.iter().map(String::as_str).collect();
        let permissions = Permissions::new(statements.into_iter().filter(|(role, ..)| own.contains(role.as_str())));
        drop(conn);
        let roles = Arc::new(Roles::new(roles));
        let mut account = Box::pin(self.load_account(store, tenant, &user)).await?;
        if roles.has(PASSES_LOCKS) {
            account.locked_until = None;
        }
        let mark = self.mark(&user);
        let username = Username { name: user.name, ..username.clone() };
        let principal = Principal { username, tenant, permissions, roles, name_rule: store.rule, account };
        Ok(Some(Known { principal: Arc::new(principal), mark }))
    }

    /// Is a user's account locked or disabled (users-ldap.md 3.6)? Whatever says so counts.
    async fn load_account(
        &self,
        store: &UserStore,
        tenant: TenantId,
        user: &rows::User,
    ) -> Result<AccountState, StoreError> {
        let mut conn = self.store.reader().await?;
        let named = (store.domain.as_str(), user.name.as_str());
        let (account, _) = account_locks::find(&mut conn, tenant, named, store.rule).await?;
        drop(conn);
        if !self.are_accounts_in_attributes() {
            return Ok(account);
        }
        let mut attributes = store.find_account_in_attributes(tenant, user).await?;
        if store.domain != PRIMARY {
            // What nobody here can write counts nothing, or each login would have to reset it.
            attributes.failures = Failures::default();
        }
        Ok(account.or(attributes))
    }

    /// The row of a user of a store as its table is now, also by another spelling of the name where the rule allows one.
    async fn find_row_in(
        store: &UserStore,
        tenant: TenantId,
        username: &Username,
    ) -> Result<Option<rows::User>, StoreError> {
        let user = Box::pin(store.find_named(tenant, &username.name)).await?;
        if user.is_some() {
            return Ok(user);
        }
        Box::pin(store.find_spelled(tenant, &username.name)).await
    }

    /// The store that a name says, with the tenant's id; `None` when there is no such store or tenant. Whoever waits for a store
    /// holds no connection.
    async fn find_store(&self, username: &Username) -> Result<Option<(TenantId, &UserStore)>, StoreError> {
        if !self.stores.iter().any(|store| store.domain == username.domain) {
            return Ok(None);
        }
        let Some(tenant) = self.find_tenant(username).await? else { return Ok(None) };
        let is_meant =
            |store: &&UserStore| store.domain == username.domain && store.tenant.is_none_or(|own| own == tenant);
        Ok(self.stores.iter().find(is_meant).map(|store| (tenant, store)))
    }

    async fn find_tenant(&self, username: &Username) -> Result<Option<TenantId>, StoreError> {
        tenants::find_by_domain(&mut self.store.reader().await?, &username.tenant).await
    }

    /// A row that was just read tells whether what is remembered of its user is over: an old server on the same tables tells
    /// nobody. Then all his logins are, in whatever spelling.
    fn forget_stale(&self, username: &Username, row: Option<&rows::User>) {
        let typed = self.spellings.find(username).map_or_else(|| username.clone(), |stored| (*stored).clone());
        let stored = row.map(|user| Username { name: user.name.clone(), ..username.clone() });
        for name in [Some(typed), stored].into_iter().flatten() {
            let is_present =
                |known: &Known| row.is_some_and(|user| user.name == name.name && self.mark(user) == known.mark);
            if self.known.find(&name).is_some_and(|known| !is_present(&known)) {
                self.spellings.forget(username);
                self.known.forget(&name);
            }
        }
    }

    fn login_key(&self, username: &Username, password: &Secret) -> [u8; 32] {
        self.digest(&username.with_tenant(), password.expose())
    }

    fn mark(&self, user: &rows::User) -> Mark {
        // A digest may be the password itself (`PLAIN_TEXT`).
        self.digest(&format!("{}/{}", user.id, user.password.salt), &user.password.digest)
    }

    fn digest(&self, name: &str, secret: &str) -> [u8; 32] {
        let parts = [name, secret, self.pepper.expose()];
        // As large as it will be: a text that grows leaves copies behind, which nobody wipes.
        let mut text = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
        for part in parts {
            text.push_str(part);
            text.push('\0');
        }
        sha256(Secret::new(text).expose().as_bytes())
    }
}
