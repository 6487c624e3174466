//! Who a user is: password check, roles, permissions (contract users-ldap.md 3), with verified logins kept for a while.

use crate::cache::ReadThrough;
use claviger_proto::entropy::Entropy;
use claviger_proto::event::Event;
use claviger_proto::hash::sha256;
use claviger_proto::ids::TenantId;
use claviger_proto::password::StoredPassword;
use claviger_proto::permission::Permissions;
use claviger_proto::secret::Secret;
use claviger_proto::time::{Clock, Timestamp};
use claviger_proto::user::{PRIMARY, Username};
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::{tenants, users as rows};
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Verified logins that are remembered.
const LOGINS_MAX: usize = 10_000;
/// Users whose roles are remembered.
const USERS_MAX: usize = 10_000;
/// How long a verified login is remembered. A changed password ends it at once.
const LOGIN_MS_MAX: i64 = 30_000;

/// A user whose roles are known.
#[derive(Debug)]
pub struct Principal {
    /// Full name.
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
    principals: ReadThrough<Username, Principal>,
    logins: Cache<[u8; 32], Login>,
    /// Bumped by every change of a user; a login of an older generation is forgotten.
    generation: AtomicU64,
    /// Makes the keys of `logins` useless outside this process.
    pepper: [u8; 32],
    /// Compared with for unknown names, so that they take as long as known ones.
    nobody: StoredPassword,
}

#[derive(Clone)]
struct Login {
    generation: u64,
    until: Timestamp,
    principal: Arc<Principal>,
}

impl Users {
    /// The users in a store.
    pub fn new(store: Store, clock: Arc<dyn Clock>, rng: &dyn Entropy) -> Self {
        let mut pepper = [0; 32];
        rng.fill(&mut pepper);
        Self {
            store,
            clock,
            principals: ReadThrough::new(USERS_MAX),
            logins: Cache::new(LOGINS_MAX),
            generation: AtomicU64::new(0),
            pepper,
            nobody: StoredPassword::new(&Secret::new("nobody"), rng),
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
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.principals.forget_all();
    }

    /// Checks a password. `None`: unknown user, unknown tenant or wrong password, which look and last alike.
    pub async fn authenticate(
        &self,
        username: &Username,
        password: &Secret,
    ) -> Result<Option<Arc<Principal>>, StoreError> {
        let key = self.login_key(username, password);
        let (now, generation) = (self.clock.now(), self.generation.load(Ordering::Acquire));
        if let Some(login) = self.logins.get(&key)
            && login.generation == generation
            && login.until > now
        {
            return Ok(Some(login.principal));
        }
        let stored = self.find_password(username).await?;
        let is_match = stored.as_ref().unwrap_or(&self.nobody).is_match(password);
        if stored.is_none() || !is_match {
            return Ok(None);
        }
        let Some(principal) = self.find(username).await? else { return Ok(None) };
        let login = Login { generation, until: now.plus_millis(LOGIN_MS_MAX), principal: principal.clone() };
        self.logins.insert(key, login);
        Ok(Some(principal))
    }

    /// A user with roles and permissions; `None` when there is no such user or tenant.
    pub async fn find(&self, username: &Username) -> Result<Option<Arc<Principal>>, StoreError> {
        self.principals.find_or_load(username, || self.load(username)).await
    }

    async fn load(&self, username: &Username) -> Result<Option<Principal>, StoreError> {
        if username.domain != PRIMARY {
            return Ok(None);
        }
        let mut conn = self.store.reader().await?;
        let Some(tenant) = tenants::find_by_domain(&mut conn, &username.tenant).await? else { return Ok(None) };
        let Some(user) = rows::find(&mut conn, tenant, &username.name).await? else { return Ok(None) };
        let roles = rows::list_roles(&mut conn, tenant, &user).await?;
        let statements = rows::list_permissions(&mut conn, tenant).await?;
        let own = statements.into_iter().filter(|(role, ..)| roles.contains(role));
        Ok(Some(Principal { username: username.clone(), tenant, permissions: Permissions::new(own), roles }))
    }

    async fn find_password(&self, username: &Username) -> Result<Option<StoredPassword>, StoreError> {
        let mut conn = self.store.reader().await?;
        let tenant = tenants::find_by_domain(&mut conn, &username.tenant).await?;
        match tenant {
            Some(tenant) if username.domain == PRIMARY => {
                Ok(rows::find(&mut conn, tenant, &username.name).await?.map(|user| user.password))
            }
            _ => Ok(None),
        }
    }

    fn login_key(&self, username: &Username, password: &Secret) -> [u8; 32] {
        let mut text =
            Secret::new(format!("{}\0{}", username.with_tenant(), password.expose())).expose().as_bytes().to_vec();
        text.extend_from_slice(&self.pepper);
        let key = sha256(&text);
        text.fill(0);
        key
    }
}
