//! Who a user is: password check, roles, permissions (contract users-ldap.md 3), with verified logins kept for a while.

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
}

impl Principal {
    /// Holds the user one of these roles? Role names compare without case (rest-3x.md 1.6.7).
    pub fn has_one_of<'a>(&self, roles: impl IntoIterator<Item = &'a str>) -> bool {
        roles.into_iter().any(|wanted| self.roles.iter().any(|role| role.eq_ignore_ascii_case(wanted)))
    }
}

/// The users of all tenants.
pub struct Users {
    store: Store,
    clock: Arc<dyn Clock>,
    form: PasswordForm,
    rule: NameRule,
    principals: ReadThrough<Username, Principal>,
    /// Name and password, digested, that were right. Who the user is is asked each time.
    logins: ReadThrough<[u8; 32], ()>,
    /// Makes the keys of `logins` useless outside this process.
    pepper: Secret,
    /// Compared with for unknown names, so that they take as long as known ones.
    nobody: StoredPassword,
}

impl Users {
    /// The users in a store whose passwords have that form and whose names follow that rule.
    pub fn new(store: Store, (form, rule): (PasswordForm, NameRule), clock: Arc<dyn Clock>, rng: &dyn Entropy) -> Self {
        Self {
            store,
            clock,
            form,
            rule,
            principals: ReadThrough::new(USERS_MAX),
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
            | Event::Unknown => {}
        }
    }

    /// Forgets every login and role.
    pub fn forget_everything(&self) {
        self.logins.forget_all();
        self.principals.forget_all();
    }

    /// Checks a password. `None`: unknown user, unknown tenant or wrong password, which look and last alike.
    pub async fn authenticate(
        &self,
        username: &Username,
        password: &Secret,
    ) -> Result<Option<Arc<Principal>>, StoreError> {
        let key = self.login_key(username, password);
        if self.logins.find(&key).is_none() {
            let generation = self.logins.generation(&key);
            let stored = self.find_stored(username).await?;
            let is_match = stored.as_ref().map_or(&self.nobody, |user| &user.password).is_match(password, self.form);
            let Some(user) = stored.filter(|_| is_match) else { return Ok(None) };
            match user.one_time_since {
                None => self.logins.insert(key, generation, Arc::new(())),
                Some(since) if self.clock.now().millis_since(since) > ONE_TIME_MS => {
                    tracing::info!(target: "audit", user = %username, outcome = "refused", "one-time password is over");
                    return Ok(None);
                }
                // Asked again each time: it ends.
                Some(_) => {}
            }
        }
        self.find(username).await
    }

    /// A user with roles and permissions; `None` when there is no such user or tenant.
    pub async fn find(&self, username: &Username) -> Result<Option<Arc<Principal>>, StoreError> {
        self.principals.find_or_load(username, || self.load(username)).await
    }

    /// Attributes of a user by name; `None` when there is no such user or tenant.
    pub async fn attributes(&self, username: &Username) -> Result<Option<BTreeMap<String, String>>, StoreError> {
        let Some(user) = self.find_stored(username).await? else { return Ok(None) };
        let mut conn = self.store.reader().await?;
        let Some(tenant) = tenants::find_by_domain(&mut conn, &username.tenant).await? else { return Ok(None) };
        claims::list_attributes(&mut conn, tenant, user.id).await.map(Some)
    }

    async fn load(&self, username: &Username) -> Result<Option<Principal>, StoreError> {
        if username.domain != PRIMARY {
            return Ok(None);
        }
        let mut conn = self.store.reader().await?;
        let Some(tenant) = tenants::find_by_domain(&mut conn, &username.tenant).await? else { return Ok(None) };
        let Some(user) = rows::find(&mut conn, tenant, &username.name, self.rule).await? else {
            return Ok(None);
        };
        let roles = rows::list_roles(&mut conn, tenant, &user, self.rule).await?;
        let statements = rows::list_permissions(&mut conn, tenant).await?;
        let own = statements.into_iter().filter(|(role, ..)| roles.contains(role));
        let username = Username { name: user.name, ..username.clone() };
        Ok(Some(Principal { username, tenant, permissions: Permissions::new(own), roles }))
    }

    async fn find_stored(&self, username: &Username) -> Result<Option<rows::User>, StoreError> {
        let mut conn = self.store.reader().await?;
        let tenant = tenants::find_by_domain(&mut conn, &username.tenant).await?;
        match tenant {
            Some(tenant) if username.domain == PRIMARY => {
                rows::find(&mut conn, tenant, &username.name, self.rule).await
            }
            _ => Ok(None),
        }
    }

    fn login_key(&self, username: &Username, password: &Secret) -> [u8; 32] {
        let parts = [&username.with_tenant(), password.expose(), self.pepper.expose()];
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

    #[tokio::test]
    async fn a_remembered_login_says_nothing_about_roles() {
        let directory = std::env::temp_dir().join(uuid(&SystemEntropy::default()));
        std::fs::create_dir_all(&directory).unwrap();
        let password = Secret::new("admin-password");
        let mut config = Config::default_for(&directory);
        config.super_admin.password = Some(password.clone());
        let data_dir = DataDir::open(&directory).unwrap();
        let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
        let started = startup::start(config, &data_dir, Arc::new(Metrics::default()), clock, rng).await.unwrap();
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
        app.users.principals.forget_all();
        assert!(has_role().await);
        assert!(app.users.authenticate(&admin, &Secret::new("wrong")).await.unwrap().is_none());
        app.store.close().await;
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
