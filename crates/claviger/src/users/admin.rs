//! What an administrator does to a user from outside the server (`claviger user`): a lock, another password, other roles,
//! deletion, and with it the end of what the user holds (users-ldap.md 4; security.md 2.2.2).
//!
//! Owns: which acts are refused, the rows that change, their order. Leaves to others: the end itself (`oauth::user_end`), words and
//! exit codes (`cli::user`). An act may be killed anywhere and done again: it goes on where it must.

use super::{Principal, Users};
use crate::oauth::client_end::TokenEnd;
use crate::oauth::user_end::{Ended, UserEnd};
use claviger_proto::account::{AccountFact, Facts, unlocked};
use claviger_proto::entropy::{Entropy, key_text};
use claviger_proto::ids::{SUPER_TENANT_DOMAIN, TenantId};
use claviger_proto::password::{PasswordForm, StoredPassword};
use claviger_proto::secret::Secret;
use claviger_proto::time::Clock;
use claviger_proto::user::{NameRule, PRIMARY, Username};
use claviger_store::account_locks;
use claviger_store::conn::Conn;
use claviger_store::db::Store;
use claviger_store::error::{StoreError, WriteError};
use claviger_store::leases;
use claviger_store::tokens::of_user::Holder;
use claviger_store::user_admin::{self, RoleRow};
use claviger_store::users as rows;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Length of the password that nobody knows, of a user who is being deleted.
const NOBODYS_PASSWORD_LENGTH: usize = 64;
/// Other administrators who are looked at. Who has more of them, all locked, is told that he is the last.
const HOLDERS_MAX: i64 = 100;
/// The turn of those who take an administrator away.
const ADMINISTRATORS: &str = "administrators";
/// The role that every user has.
const EVERYONE: &str = "everyone";

/// What is done to a user.
#[derive(Clone, Debug)]
pub enum Act {
    /// Keeps the user out until somebody unlocks him.
    Lock,
    /// Ends a lock, also one after wrong passwords, of which nothing is left.
    Unlock,
    /// Keeps him out until somebody enables him, whatever his roles.
    Disable,
    /// The opposite.
    Enable,
    /// Removes the user.
    Delete,
    /// Gives him another password.
    Password(Secret),
    /// Gives him roles and takes others, as the wires name them: `admin`, `Internal/creator`.
    Roles {
        /// He has them afterwards.
        add: Vec<String>,
        /// He has them no more.
        remove: Vec<String>,
    },
}

impl Act {
    /// Its word on the command line and in the audit log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Delete => "delete",
            Self::Password(_) => "password",
            Self::Roles { .. } => "roles",
        }
    }

    /// Does it end what the user holds? Who only gets more keeps what he has (users-ldap.md 4.4). A role counts as taken whether or
    /// not he has it: the act may have been killed before its end.
    fn ends_tokens(&self) -> bool {
        match self {
            Self::Lock | Self::Disable | Self::Delete | Self::Password(_) => true,
            Self::Unlock | Self::Enable => false,
            Self::Roles { remove, .. } => !remove.is_empty(),
        }
    }

    /// What it says of the account.
    fn facts(&self) -> Facts {
        let facts: &[(AccountFact, &str)] = match self {
            // An end from an earlier lock is not this one's.
            Self::Lock => &[(AccountFact::Locked, "true"), (AccountFact::UnlockTime, "0")],
            Self::Unlock => return unlocked(),
            Self::Disable => &[(AccountFact::Disabled, "true")],
            Self::Enable => &[(AccountFact::Disabled, "false")],
            Self::Delete | Self::Password(_) | Self::Roles { .. } => &[],
        };
        facts.iter().map(|(fact, value)| (*fact, (*value).to_owned())).collect()
    }
}

/// Why an act is not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody has this name.
    #[error("there is no user {0}")]
    UnknownUser(String),
    /// His rows are in a database that is only read.
    #[error("{0} is a user of a secondary user store, which is only read here: change it there")]
    SecondaryStore(String),
    /// Who runs the server would be shut out of it.
    #[error("{0} is the administrator of the configuration (super_admin.username)")]
    SuperAdministrator(String),
    /// Nobody could administer the tenant any more.
    #[error("{0} is the last user with the role {1} who may log in")]
    LastAdministrator(String, String),
    /// Nobody has a role of this name.
    #[error("there is no role {0}")]
    UnknownRole(String),
    /// Every user has it.
    #[error("every user has the role {0}")]
    EveryonesRole(String),
    /// Anybody would know it.
    #[error("the password is empty")]
    EmptyPassword,
    /// The database.
    #[error("the database failed")]
    Store(#[from] StoreError),
}

impl WriteError for AdminError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// What configuration says about users and administrators.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Form of passwords in the primary store.
    pub password_form: PasswordForm,
    /// Which spellings name one user there.
    pub name_rule: NameRule,
    /// `super_admin.username`.
    pub super_admin: Username,
    /// `super_admin.admin_role`.
    pub admin_role: String,
}

/// Changes users.
pub struct UserAdmin {
    store: Store,
    users: Arc<Users>,
    token_end: TokenEnd,
    settings: AdminSettings,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Entropy>,
}

impl UserAdmin {
    /// On a store with its users.
    pub(crate) fn new(
        store: Store,
        users: Arc<Users>,
        token_end: TokenEnd,
        settings: AdminSettings,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Entropy>,
    ) -> Self {
        Self { store, users, token_end, settings, clock, rng }
    }

    /// Ends the connections to secondary stores.
    pub async fn close(&self) {
        self.users.close().await;
    }

    /// Does it, to the end. The audit log has a line of it, also when it was refused.
    pub async fn perform(&self, username: &Username, act: &Act) -> Result<Ended, AdminError> {
        let (name, word) = (username.with_tenant(), act.name());
        let done = self.run(username, act).await;
        match &done {
            Ok(Ended { codes, tokens }) => {
                tracing::info!(target: "audit", user = name, act = word, outcome = "done", codes, tokens, "user administration");
            }
            Err(AdminError::Store(_)) => {
                tracing::info!(target: "audit", user = name, act = word, outcome = "unfinished", "user administration");
            }
            Err(error) => {
                tracing::info!(target: "audit", user = name, act = word, outcome = "refused", reason = %error, "user administration");
            }
        }
        done
    }

    async fn run(&self, username: &Username, act: &Act) -> Result<Ended, AdminError> {
        let unknown = || AdminError::UnknownUser(username.with_tenant());
        let user = self.users.find_even_barred(username).await?.ok_or_else(unknown)?;
        self.check(&user, act)?;
        let end = UserEnd::of(&self.users, (self.store.clone(), self.token_end.clone()), &user).await?;
        let change = Change {
            username: user.username.clone(),
            holder: end.holder().clone(),
            admin_role: self.settings.admin_role.clone(),
            are_attributes_too: self.users.are_accounts_in_attributes(),
            step: match act {
                Act::Lock | Act::Unlock | Act::Disable | Act::Enable => {
                    Step::Account { facts: act.facts(), is_shut_out: act.ends_tokens() }
                }
                Act::Delete => Step::ShutOut(self.stored(&Secret::new(key_text(&*self.rng, NOBODYS_PASSWORD_LENGTH)))),
                Act::Password(password) => Step::Password(self.stored(password)),
                Act::Roles { add, remove } => Step::Roles { add: add.clone(), remove: remove.clone() },
            },
        };
        if !act.ends_tokens() {
            self.write(&change, &end, Telling::Change).await?;
            return Ok(Ended::default());
        }
        self.write(&change, &end, Telling::End).await?;
        let ended = end.run(&Semaphore::new(1)).await?;
        if let Act::Delete = act {
            // What the identity tables say of him first: the user's row is what another try finds him by.
            self.write(&Change { step: Step::RemoveData, ..change.clone() }, &end, Telling::Nothing).await?;
            self.write(&Change { step: Step::Remove, ..change }, &end, Telling::Change).await?;
        }
        Ok(ended)
    }

    /// What can be told before anything is written.
    fn check(&self, user: &Principal, act: &Act) -> Result<(), AdminError> {
        let name = || user.username.with_tenant();
        let is_primary = user.username.domain == PRIMARY;
        match act {
            Act::Delete | Act::Password(_) if !is_primary => return Err(AdminError::SecondaryStore(name())),
            Act::Delete | Act::Lock | Act::Disable if self.is_super_administrator(user) => {
                return Err(AdminError::SuperAdministrator(name()));
            }
            Act::Password(password) if password.expose().is_empty() => return Err(AdminError::EmptyPassword),
            Act::Roles { add, remove } => {
                for role in add.iter().chain(remove) {
                    let hybrid = user_admin::hybrid_name(role);
                    if hybrid.is_none() && !is_primary {
                        return Err(AdminError::SecondaryStore(name()));
                    }
                    if hybrid.is_some_and(|role| role.eq_ignore_ascii_case(EVERYONE)) {
                        return Err(AdminError::EveryonesRole(role.clone()));
                    }
                }
            }
            Act::Delete | Act::Password(_) | Act::Lock | Act::Unlock | Act::Disable | Act::Enable => {}
        }
        Ok(())
    }

    fn is_super_administrator(&self, user: &Principal) -> bool {
        let (own, configured) = (&user.username, &self.settings.super_admin);
        own.domain == PRIMARY
            && own.tenant == SUPER_TENANT_DOMAIN
            && self.settings.name_rule.is_same(&own.name, &configured.name)
    }

    fn stored(&self, password: &Secret) -> StoredPassword {
        StoredPassword::in_form(password, self.settings.password_form, &*self.rng)
    }

    async fn write(&self, change: &Change, end: &Arc<UserEnd>, telling: Telling) -> Result<(), AdminError> {
        let shared = Arc::new((change.clone(), end.clone(), self.clock.clone()));
        let write = self.store.write::<_, AdminError, _>(move |conn| {
            let shared = shared.clone();
            Box::pin(async move {
                let (change, end, clock) = &*shared;
                let uuid = change.apply(conn, &**clock).await?;
                match telling {
                    Telling::End => end.begin(conn, uuid.as_deref()).await?,
                    Telling::Change => end.tell(conn).await?,
                    Telling::Nothing => {}
                }
                Ok(())
            })
        });
        write.await
    }
}

/// What a write tells others.
#[derive(Clone, Copy)]
enum Telling {
    /// That all the user holds is dead.
    End,
    /// That he is another.
    Change,
    /// What it removes nobody remembers.
    Nothing,
}

/// One write on a user's rows.
#[derive(Clone)]
struct Change {
    username: Username,
    holder: Holder,
    admin_role: String,
    /// Do users' attributes say what is said of an account?
    are_attributes_too: bool,
    step: Step,
}

#[derive(Clone)]
enum Step {
    /// Says something of the account (users-ldap.md 3.6), in every place in which an old server of these tables may look: rows, and the
    /// attributes of a user whose store is ours.
    Account {
        facts: Facts,
        is_shut_out: bool,
    },
    Password(StoredPassword),
    Roles {
        add: Vec<String>,
        remove: Vec<String>,
    },
    /// The first of a deletion: nobody logs in as him any more.
    ShutOut(StoredPassword),
    RemoveData,
    Remove,
}

impl Change {
    /// Writes, and returns the user's UUID where he has one.
    async fn apply(&self, conn: &mut Conn, clock: &dyn Clock) -> Result<Option<String>, AdminError> {
        let tenant = self.holder.tenant;
        let user = self.find_row(conn).await?;
        match (&self.step, &user) {
            (Step::Password(password), Some(user)) => {
                user_admin::update_password(conn, tenant, user, password, clock.now()).await?;
            }
            (Step::Account { facts, is_shut_out }, user) => {
                if let Some(user) = user.as_ref().filter(|_| *is_shut_out) {
                    self.check_last_administrator(conn, user).await?;
                }
                let Holder { domain, name, rule, .. } = &self.holder;
                let attributes_of = user.as_ref().filter(|_| self.are_attributes_too);
                let held = account_locks::hold(conn, tenant, (domain, name), *rule, attributes_of).await?;
                held.write(conn, facts).await?;
            }
            (Step::ShutOut(password), Some(user)) => {
                self.check_last_administrator(conn, user).await?;
                user_admin::update_password(conn, tenant, user, password, clock.now()).await?;
                // Or the next command would count on him, who goes.
                if let Some(RoleRow::Store(role)) = user_admin::find_role(conn, tenant, &self.admin_role).await? {
                    user_admin::remove_role(conn, tenant, user, role).await?;
                }
            }
            (Step::Roles { add, remove }, _) => self.change_roles(conn, user.as_ref(), add, remove).await?,
            (Step::RemoveData, _) => user_admin::delete_data(conn, &self.holder).await?,
            (Step::Remove, Some(user)) => user_admin::delete(conn, &self.holder, user).await?,
            (Step::Remove, None) => {}
            (Step::Password(_) | Step::ShutOut(_), None) => {
                return Err(AdminError::SecondaryStore(self.username.with_tenant()));
            }
        }
        match &user {
            Some(user) => Ok(user_admin::find_uuid(conn, tenant, user).await?),
            None => Ok(None),
        }
    }

    /// The row as it is now; none of a user of another store.
    async fn find_row(&self, conn: &mut Conn) -> Result<Option<rows::User>, AdminError> {
        if self.holder.domain != PRIMARY {
            return Ok(None);
        }
        let found = rows::find(conn, self.holder.tenant, &self.holder.name, NameRule::Exact).await?;
        match found {
            // A deletion that is repeated may find that it was done: the users' database is committed by itself.
            None if matches!(self.step, Step::RemoveData | Step::Remove) => Ok(None),
            None => Err(AdminError::UnknownUser(self.username.with_tenant())),
            user => Ok(user),
        }
    }

    async fn change_roles(
        &self,
        conn: &mut Conn,
        user: Option<&rows::User>,
        add: &[String],
        remove: &[String],
    ) -> Result<(), AdminError> {
        let (tenant, name) = (self.holder.tenant, &self.holder.name);
        for (role, is_added) in add.iter().map(|role| (role, true)).chain(remove.iter().map(|role| (role, false))) {
            let found = user_admin::find_role(conn, tenant, role).await?;
            match (found.ok_or_else(|| AdminError::UnknownRole(role.clone()))?, user, is_added) {
                (RoleRow::Hybrid, _, true) => {
                    let role = user_admin::hybrid_name(role).unwrap_or(role);
                    rows::add_hybrid_role_in(conn, tenant, (&self.holder.domain, name), role).await?;
                }
                (RoleRow::Hybrid, _, false) => {
                    let role = user_admin::hybrid_name(role).unwrap_or(role);
                    user_admin::remove_hybrid_roles(conn, &self.holder, Some(role)).await?;
                }
                (RoleRow::Store(id), Some(user), true) => user_admin::add_role(conn, tenant, user, id).await?,
                (RoleRow::Store(id), Some(user), false) => {
                    if *role == self.admin_role {
                        self.check_last(conn, user, id).await?;
                    }
                    user_admin::remove_role(conn, tenant, user, id).await?;
                }
                (RoleRow::Store(_), None, _) => return Err(AdminError::SecondaryStore(self.username.with_tenant())),
            }
        }
        Ok(())
    }

    async fn check_last_administrator(&self, conn: &mut Conn, user: &rows::User) -> Result<(), AdminError> {
        match user_admin::find_role(conn, self.holder.tenant, &self.admin_role).await? {
            Some(RoleRow::Store(role)) => self.check_last(conn, user, role).await,
            Some(RoleRow::Hybrid) | None => Ok(()),
        }
    }

    /// The role of administrators is not taken from the last who has it and may log in, sooner or later.
    async fn check_last(&self, conn: &mut Conn, user: &rows::User, role: i64) -> Result<(), AdminError> {
        let tenant: TenantId = self.holder.tenant;
        if !user_admin::has_role(conn, tenant, user, role).await? {
            return Ok(());
        }
        // Two commands, each of which takes it from one of two, would both see the other.
        leases::take_turn(conn, ADMINISTRATORS).await?;
        let places = (self.holder.rule, self.are_attributes_too);
        for other in user_admin::list_other_holders(conn, tenant, (user, role), HOLDERS_MAX).await? {
            let account = account_locks::find_of_primary(conn, tenant, &other, places).await?;
            if !account.is_barred_for_good() {
                return Ok(());
            }
        }
        Err(AdminError::LastAdministrator(self.username.with_tenant(), self.admin_role.clone()))
    }
}
