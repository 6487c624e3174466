//! Who a user is: password check, roles, permissions (contract users-ldap.md 3), with verified logins kept for a while.

mod seeker;

use crate::cache::ReadThrough;
use claviger_proto::entropy::{Entropy, key_text};
use claviger_proto::event::Event;
use claviger_proto::hash::sha256;
use claviger_proto::ids::TenantId;
use claviger_proto::password::{PasswordForm, StoredPassword};
use claviger_proto::permission::Permissions;
use claviger_proto::secret::Secret;
use claviger_proto::time::Clock;
use claviger_proto::user::{NameRule, PRIMARY, Username};
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::{claims, tenants, users as rows};
use seeker::{Seeker, Sought};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Verified logins that are remembered.
const LOGINS_MAX: usize = 10_000;
/// Users whose roles are remembered.
const USERS_MAX: usize = 10_000;
/// 64 of 63 characters: more than the digest holds.
const PEPPER_LENGTH: usize = 64;
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
    pub roles: Vec<String>,
    /// What the roles allow.
    pub permissions: Permissions,
    /// When another spelling means this user too.
    pub name_rule: NameRule,
}

impl Principal {
    /// Holds the user one of these roles? Role names compare without case (rest-3x.md 1.6.7).
    pub fn has_one_of<'a>(&self, roles: impl IntoIterator<Item = &'a str>) -> bool {
        roles.into_iter().any(|wanted| self.roles.iter().any(|role| role.eq_ignore_ascii_case(wanted)))
    }
}

/// Tells a user's row with one password from the same row with another, and from a later user's of that name.
type Mark = [u8; 32];

struct Known {
    principal: Arc<Principal>,
    mark: Mark,
}

/// The users of all tenants.
pub struct Users {
    store: Store,
    clock: Arc<dyn Clock>,
    form: PasswordForm,
    rule: NameRule,
    named: Seeker,
    spelled: Seeker,
    /// By the table's spelling: whatever a user types, one entry says who he is.
    known: ReadThrough<Username, Known>,
    /// The table's spelling of names that were typed in another.
    spellings: ReadThrough<Username, Username>,
    /// Name and password, digested, that were right, with the mark they were right for. Who the user is is asked each time.
    logins: ReadThrough<[u8; 32], Mark>,
    /// Makes the keys of `logins` useless outside this process.
    pepper: Secret,
    /// Compared with for unknown names, so that they take as long as known ones.
    nobody: StoredPassword,
}

impl Users {
    /// The users in a store whose passwords have that form and whose names follow that rule.
    pub fn new(store: Store, (form, rule): (PasswordForm, NameRule), clock: Arc<dyn Clock>, rng: &dyn Entropy) -> Self {
        Self {
            named: Seeker::new(store.clone(), Sought::Named),
            spelled: Seeker::new(store.clone(), Sought::Spelled),
            store,
            clock,
            form,
            rule,
            known: ReadThrough::new(USERS_MAX),
            spellings: ReadThrough::new(USERS_MAX),
            logins: ReadThrough::new(LOGINS_MAX),
            pepper: Secret::new(key_text(rng, PEPPER_LENGTH)),
            nobody: StoredPassword::in_form(&Secret::new("nobody"), form, rng),
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

    /// Checks a password. `None`: unknown user, unknown tenant or wrong password, which look and last alike.
    pub async fn authenticate(
        &self,
        username: &Username,
        password: &Secret,
    ) -> Result<Option<Arc<Principal>>, StoreError> {
        let key = self.login_key(username, password);
        if let Some(mark) = self.logins.find(&key)
            && let Some(known) = self.find_known(username).await?
            && known.mark == *mark
        {
            return Ok(Some(known.principal.clone()));
        }
        let generation = self.logins.generation(&key);
        let stored = self.find_row(username).await?;
        self.forget_stale(username, stored.as_ref());
        let is_match = stored.as_ref().map_or(&self.nobody, |user| &user.password).is_match(password, self.form);
        let Some(user) = stored.filter(|_| is_match) else { return Ok(None) };
        if let Some(since) = user.one_time_since
            && self.clock.now().millis_since(since) > ONE_TIME_MS
        {
            tracing::info!(target: "audit", user = %username, outcome = "refused", "one-time password is over");
            return Ok(None);
        }
        let mark = self.mark(&user);
        let stored = Username { name: user.name, ..username.clone() };
        // Another mark: the password was changed while this was going on.
        let known = self.find_exactly(&stored).await?.filter(|known| known.mark == mark);
        let Some(known) = known else { return Ok(None) };
        // A one-time password is asked for again each time: it ends.
        if user.one_time_since.is_none() {
            self.logins.insert(key, generation, Arc::new(mark));
        }
        Ok(Some(known.principal.clone()))
    }

    /// A user with roles and permissions; `None` when there is no such user or tenant.
    pub async fn find(&self, username: &Username) -> Result<Option<Arc<Principal>>, StoreError> {
        Ok(self.find_known(username).await?.map(|known| known.principal.clone()))
    }

    /// Attributes of a user by name; `None` when there is no such user or tenant.
    pub async fn attributes(&self, username: &Username) -> Result<Option<BTreeMap<String, String>>, StoreError> {
        let Some(user) = self.find_row(username).await? else { return Ok(None) };
        let mut conn = self.store.reader().await?;
        let Some(tenant) = tenants::find_by_domain(&mut conn, &username.tenant).await? else { return Ok(None) };
        claims::list_attributes(&mut conn, tenant, user.id).await.map(Some)
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
        if known.is_some() || self.rule == NameRule::Exact {
            return Ok(known);
        }
        let Some(user) = Box::pin(self.seek(&self.spelled, username)).await? else { return Ok(None) };
        let stored = Arc::new(Username { name: user.name, ..username.clone() });
        self.spellings.insert(username.clone(), generation, stored.clone());
        self.find_exactly(&stored).await
    }

    /// The user of exactly that name.
    async fn find_exactly(&self, username: &Username) -> Result<Option<Arc<Known>>, StoreError> {
        // An administrator who registered thousands of applications has a role for each.
        self.known.find_or_load_once(username, || self.load(username)).await
    }

    async fn load(&self, username: &Username) -> Result<Option<Known>, StoreError> {
        let Some(user) = Box::pin(self.seek(&self.named, username)).await? else { return Ok(None) };
        let mut conn = self.store.reader().await?;
        let Some(tenant) = tenants::find_by_domain(&mut conn, &username.tenant).await? else { return Ok(None) };
        let roles = rows::list_roles(&mut conn, tenant, &user, self.rule).await?;
        let statements = rows::list_permissions(&mut conn, tenant).await?;
        let own = statements.into_iter().filter(|(role, ..)| roles.contains(role));
        let permissions = Permissions::new(own);
        let mark = self.mark(&user);
        let username = Username { name: user.name, ..username.clone() };
        let principal = Principal { username, tenant, permissions, roles, name_rule: self.rule };
        Ok(Some(Known { principal: Arc::new(principal), mark }))
    }

    /// The row of a user, as the table is now.
    async fn find_row(&self, username: &Username) -> Result<Option<rows::User>, StoreError> {
        let user = Box::pin(self.seek(&self.named, username)).await?;
        if user.is_some() || self.rule == NameRule::Exact {
            return Ok(user);
        }
        Box::pin(self.seek(&self.spelled, username)).await
    }

    /// Boxed by its callers: the future of every request would be as large.
    async fn seek(&self, seeker: &Seeker, username: &Username) -> Result<Option<rows::User>, StoreError> {
        if username.domain != PRIMARY {
            return Ok(None);
        }
        let mut conn = self.store.reader().await?;
        let tenant = tenants::find_by_domain(&mut conn, &username.tenant).await?;
        // Whoever waits for others holds no connection.
        drop(conn);
        match tenant {
            Some(tenant) => seeker.find(tenant, &username.name).await,
            None => Ok(None),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{SystemClock, SystemEntropy};
    use crate::config::Config;
    use crate::files::DataDir;
    use crate::ops::Metrics;
    use crate::startup;
    use claviger_proto::entropy::uuid;
    use claviger_store::sql::Sql;

    /// Connections that read an embedded database at a time.
    const READERS: usize = 8;

    /// A started program on a database of its own.
    async fn started(password: &Secret) -> (startup::Started, std::path::PathBuf) {
        let directory = std::env::temp_dir().join(uuid(&SystemEntropy::default()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut config = Config::default_for(&directory);
        config.super_admin.password = Some(password.clone());
        let data_dir = DataDir::open(&directory).unwrap();
        let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
        let started = startup::start(config, &data_dir, Arc::new(Metrics::default()), clock, rng).await.unwrap();
        (started, directory)
    }

    #[tokio::test]
    async fn a_flood_of_unknown_names_is_a_few_statements() {
        let (started, directory) = started(&Secret::new("admin-password")).await;
        let seeker = Arc::new(Seeker::new(started.app.store.clone(), Sought::Spelled));
        let turn = seeker.hold_turn().await;
        let names = (0..120).map(|number| if number == 70 { "ADMIN".to_owned() } else { format!("nobody-{number}") });
        let asked: Vec<_> = names
            .map(|name| {
                let seeker = seeker.clone();
                tokio::spawn(async move { seeker.find(TenantId::SUPER, &name).await.unwrap().map(|user| user.name) })
            })
            .collect();
        let given_up = {
            let seeker = seeker.clone();
            tokio::spawn(async move { seeker.find(TenantId::SUPER, "given-up").await })
        };
        while seeker.waiting() < 121 {
            tokio::task::yield_now().await;
        }
        given_up.abort();
        drop(given_up.await);
        // Three statements of fifty names at most answer them all.
        for _ in 0..3 {
            seeker.answer_some().await;
        }
        let mut found = Vec::new();
        for task in asked {
            found.extend(task.await.unwrap());
        }
        assert_eq!(found, ["admin"]);
        drop(turn);
        assert_eq!(seeker.find(TenantId::SUPER, "Admin").await.unwrap().unwrap().name, "admin");
        started.app.store.close().await;
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[tokio::test]
    async fn no_more_names_wait_than_there_are_places() {
        let (started, directory) = started(&Secret::new("admin-password")).await;
        let seeker = Arc::new(Seeker::new(started.app.store.clone(), Sought::Named));
        let turn = seeker.hold_turn().await;
        let ask = |name: String| {
            let seeker = seeker.clone();
            tokio::spawn(async move { seeker.find(TenantId::SUPER, &name).await.map(|user| user.is_some()) })
        };
        let mut asked: Vec<_> = (0..seeker::WAITING_MAX).map(|number| ask(format!("nobody-{number}"))).collect();
        while seeker.waiting() < seeker::WAITING_MAX {
            tokio::task::yield_now().await;
        }
        let refused = ask("admin".to_owned()).await.unwrap();
        assert!(matches!(refused, Err(StoreError::Unavailable(None))), "{refused:?}");
        // The place of one who gave up is free again.
        let given_up = asked.pop().unwrap();
        given_up.abort();
        drop(given_up.await);
        let last = ask("admin".to_owned());
        drop(turn);
        assert!(last.await.unwrap().unwrap());
        for task in asked {
            assert!(!task.await.unwrap().unwrap());
        }
        started.app.store.close().await;
        std::fs::remove_dir_all(&directory).unwrap();
    }

    /// No text in a column of texts: the row does not decode.
    static SPOIL: Sql = Sql::new("UPDATE UM_USER SET UM_USER_PASSWORD = X'FF' WHERE UM_USER_NAME = ?", &[]);

    #[tokio::test]
    async fn a_row_that_cannot_be_read_fails_its_own_name_alone() {
        let (started, directory) = started(&Secret::new("admin-password")).await;
        let write = started.app.store.write::<_, StoreError, _>(|conn| {
            Box::pin(async move {
                let password = StoredPassword { digest: "digest".to_owned(), salt: "salt".to_owned() };
                for name in ["ann", "bad"] {
                    let (uuid, name) = (uuid(&SystemEntropy::default()), name.to_owned());
                    let user = rows::NewUser { uuid, name, password: password.clone(), tenant: TenantId::SUPER };
                    rows::insert(conn, &user, SystemClock.now()).await?;
                }
                conn.execute(&SPOIL, &["bad".into()]).await.map(|_| ())
            })
        });
        write.await.unwrap();
        for sought in [Sought::Named, Sought::Spelled] {
            let seeker = Arc::new(Seeker::new(started.app.store.clone(), sought));
            let turn = seeker.hold_turn().await;
            // Whoever gets the turn first asks for all: be it the bad name or another.
            let names = ["bad", "ann", "nobody", "bad", "admin"];
            let asked = names.map(|name| {
                let seeker = seeker.clone();
                tokio::spawn(async move { (name, seeker.find(TenantId::SUPER, name).await) })
            });
            while seeker.waiting() < names.len() {
                tokio::task::yield_now().await;
            }
            drop(turn);
            for task in asked {
                let (name, found) = task.await.unwrap();
                match found {
                    Err(StoreError::Corrupt(_)) => assert_eq!(name, "bad"),
                    found => assert_eq!(found.unwrap().is_some(), ["ann", "admin"].contains(&name), "{name}"),
                }
            }
        }
        started.app.store.close().await;
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[tokio::test]
    async fn who_hangs_up_ends_neither_the_statement_nor_the_turn() {
        let (started, directory) = started(&Secret::new("admin-password")).await;
        // The statement waits for a connection as it would for a slow database.
        let mut busy = Vec::new();
        for _ in 0..READERS {
            let mut conn = started.app.store.reader().await.unwrap();
            rows::find_named(&mut conn, TenantId::SUPER, &["admin"]).await.unwrap();
            busy.push(conn);
        }
        let seeker = Seeker::new(started.app.store.clone(), Sought::Named);
        let ask = |name: &'static str| {
            let seeker = seeker.clone();
            tokio::spawn(async move { seeker.find(TenantId::SUPER, name).await })
        };
        let given_up = ask("nobody");
        while !seeker.is_asking() || seeker.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        assert!(seeker.is_asking(), "another statement would begin beside the one that goes on");
        let next = ask("admin");
        while seeker.waiting() < 1 {
            tokio::task::yield_now().await;
        }
        drop(busy);
        assert_eq!(next.await.unwrap().unwrap().unwrap().name, "admin");
        started.app.store.close().await;
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[tokio::test]
    async fn a_remembered_login_says_nothing_about_roles() {
        let password = Secret::new("admin-password");
        let (started, directory) = started(&password).await;
        let (app, admin) = (&started.app, Username::parse("admin").unwrap());
        let has_role = async || {
            let principal = app.users.authenticate(&admin, &password).await.unwrap().unwrap();
            principal.has_one_of(["Internal/late"])
        };
        assert!(!has_role().await);
        // An old node on the same database writes no event; the roles' own age ends them.
        let write = app.store.write::<_, StoreError, _>(|conn| {
            Box::pin(async move { rows::add_hybrid_role(conn, TenantId::SUPER, "admin", "late").await })
        });
        write.await.unwrap();
        app.users.known.forget_all();
        assert!(has_role().await);
        assert!(app.users.authenticate(&admin, &Secret::new("wrong")).await.unwrap().is_none());
        app.store.close().await;
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
