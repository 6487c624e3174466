//! Users, roles and permissions (contract database.md 5, users-ldap.md 3).

use super::row::row;
use super::{DAY, Fill, HOUR, SECONDARY, SUPER, TENANT};
use crate::Release;
use crate::manifest::User;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;

const LOGIN: &str = "/permission/admin/login";
const SUBSCRIBE: &str = "/permission/admin/manage/api/subscribe";
const CREATE: &str = "/permission/admin/manage/api/create";
const USERS: &str = "/permission/admin/manage/identity/usermgt";
const USERS_LIST: &str = "/permission/admin/manage/identity/usermgt/list";
const USERS_DELETE: &str = "/permission/admin/manage/identity/usermgt/delete";

/// Role, permission, is it allowed.
const GRANTS: &[(&str, &str, bool)] = &[
    ("Internal/subscriber", LOGIN, true),
    ("Internal/subscriber", SUBSCRIBE, true),
    ("Internal/creator", LOGIN, true),
    ("Internal/creator", CREATE, true),
    // One role's word about a subtree, taken back deeper down.
    ("staff", USERS, true),
    ("staff", USERS_DELETE, false),
];

/// A user before it is written: name, its roles, what they give and what not.
type Plan = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const SUPER_USERS: &[Plan] = &[
    ("admin", &["admin"], &[LOGIN, SUBSCRIBE, USERS_DELETE], &[]),
    ("alice", &["Internal/subscriber"], &[LOGIN, SUBSCRIBE], &[CREATE, USERS]),
    ("carol", &["staff", "Internal/creator"], &[CREATE, USERS_LIST], &[USERS_DELETE, SUBSCRIBE]),
    ("zoë", &["Internal/subscriber"], &[SUBSCRIBE], &[CREATE]),
    ("forgetful", &["Internal/subscriber"], &[], &[]),
    ("O'Neil", &[], &[], &[LOGIN]),
    ("lou", &["Internal/subscriber"], &[], &[]),
    ("lia", &["Internal/subscriber"], &[SUBSCRIBE], &[]),
    ("tim", &["Internal/subscriber"], &[], &[]),
    ("dan", &["Internal/subscriber"], &[], &[]),
];
const TENANT_USERS: &[Plan] =
    &[("admin", &["admin"], &[LOGIN, USERS], &[]), ("bob", &["Internal/subscriber"], &[LOGIN], &[CREATE])];
const SECONDARY_USERS: &[Plan] = &[("dave", &["Internal/subscriber"], &[SUBSCRIBE], &[CREATE])];

/// User, what is said of the account, and after how many milliseconds a lock ends; zero for one that somebody must end.
const ACCOUNTS: &[(&str, &str, Option<i64>)] = &[
    ("lou", "accountLocked", Some(0)),
    ("lia", "accountLocked", Some(-HOUR)),
    ("tim", "accountLocked", Some(DAY)),
    ("dan", "accountDisabled", None),
    // Unlocked again.
    ("alice", "accountLocked", None),
];

/// Numbers of rows that others refer to, per tenant.
#[derive(Default)]
struct Numbers {
    domains: BTreeMap<String, i64>,
    primary_roles: BTreeMap<String, i64>,
    hybrid_roles: BTreeMap<String, i64>,
    permissions: BTreeMap<String, i64>,
}

impl Fill<'_> {
    pub(super) async fn users(&mut self) -> Result<()> {
        for tenant in self.manifest.tenants.iter().map(|tenant| tenant.id).collect::<Vec<_>>() {
            let mut numbers = self.roles(tenant).await?;
            for plan in if tenant == SUPER { SUPER_USERS } else { TENANT_USERS } {
                self.user(tenant, plan, &mut numbers).await?;
            }
            if tenant == SUPER {
                for plan in SECONDARY_USERS {
                    let user = planned(tenant, SECONDARY, plan);
                    self.memberships(&user, None, &numbers).await?;
                    self.manifest.users.push(user);
                }
            }
            self.system_user(tenant).await?;
        }
        Ok(())
    }

    async fn roles(&mut self, tenant: i64) -> Result<Numbers> {
        let mut numbers = Numbers::default();
        let secondary = (tenant == SUPER).then_some(SECONDARY);
        for name in ["PRIMARY", "INTERNAL", "APPLICATION", "WORKFLOW"].into_iter().chain(secondary) {
            let domain = row("UM_DOMAIN").set("UM_DOMAIN_NAME", name).set("UM_TENANT_ID", tenant);
            let id = self.um.insert_numbered(domain, "UM_DOMAIN_ID").await?;
            numbers.domains.insert(name.to_owned(), id);
        }
        for name in ["admin", "staff"] {
            let role =
                row("UM_ROLE").set("UM_ROLE_NAME", name).set("UM_TENANT_ID", tenant).set("UM_SHARED_ROLE", false);
            numbers.primary_roles.insert(name.to_owned(), self.um.insert_numbered(role, "UM_ID").await?);
        }
        for name in ["everyone", "subscriber", "creator", "publisher"] {
            let role = row("UM_HYBRID_ROLE").set("UM_ROLE_NAME", name).set("UM_TENANT_ID", tenant);
            numbers.hybrid_roles.insert(name.to_owned(), self.um.insert_numbered(role, "UM_ID").await?);
        }
        let root = if tenant == SUPER { "/permission" } else { "/permission/admin" };
        for (role, permission, is_allowed) in [("admin", root, true)].iter().chain(GRANTS) {
            let (domain, name) = match role.strip_prefix("Internal/") {
                Some(name) => ("INTERNAL", name),
                None => ("PRIMARY", *role),
            };
            let id = if let Some(id) = numbers.permissions.get(*permission) {
                *id
            } else {
                let new = row("UM_PERMISSION").set("UM_RESOURCE_ID", *permission).set("UM_ACTION", "ui.execute");
                let id = self.um.insert_numbered(new.set("UM_TENANT_ID", tenant), "UM_ID").await?;
                numbers.permissions.insert((*permission).to_owned(), id);
                id
            };
            let grant = row("UM_ROLE_PERMISSION")
                .set("UM_PERMISSION_ID", id)
                .set("UM_ROLE_NAME", name)
                .set("UM_IS_ALLOWED", i64::from(*is_allowed))
                .set("UM_TENANT_ID", tenant)
                .set("UM_DOMAIN_ID", numbers.domains[domain]);
            self.um.insert(grant).await?;
        }
        Ok(numbers)
    }

    async fn user(&mut self, tenant: i64, plan: &Plan, numbers: &mut Numbers) -> Result<()> {
        let mut user = planned(tenant, "PRIMARY", plan);
        let password = format!("{}-ä'\\", self.chance.password());
        let salt = if self.options.password_form.is_salted { self.chance.salt() } else { String::new() };
        let uuid = self.chance.uuid();
        // What the old user store class of 5.7 leaves on a migrated table (database.md 5.1).
        let is_without_uuid = self.options.is_migrated && user.name == "O'Neil";
        let has_uuid = self.um.has("UM_USER", "UM_USER_ID");
        user.uuid = has_uuid.then(|| if is_without_uuid { "NONE".to_owned() } else { uuid.clone() });
        let new = row("UM_USER")
            .set("UM_USER_NAME", &user.name)
            .set("UM_USER_PASSWORD", self.options.password_form.column(&password, &salt))
            .set("UM_SALT_VALUE", salt)
            .set("UM_REQUIRE_CHANGE", user.is_login_over)
            .set("UM_CHANGED_TIME", self.local_time(self.now - if user.is_login_over { 25 * HOUR } else { 100 * DAY }))
            .set("UM_TENANT_ID", tenant)
            .optional("UM_USER_ID", user.uuid.clone());
        let id = self.um.insert_numbered(new, "UM_ID").await?;
        user.password = Some(password);
        let host = if tenant == SUPER { "users.example" } else { TENANT };
        user.attributes = vec![
            ("uid".to_owned(), user.name.clone()),
            ("scimId".to_owned(), uuid),
            ("givenName".to_owned(), format!("{} the user", user.name)),
            ("mail".to_owned(), format!("{}@{host}", user.name)),
        ];
        for (name, value) in &user.attributes {
            let attribute = row("UM_USER_ATTRIBUTE")
                .set("UM_ATTR_NAME", name)
                .set("UM_ATTR_VALUE", value)
                .set("UM_PROFILE_ID", "default")
                .set("UM_USER_ID", id)
                .set("UM_TENANT_ID", tenant);
            self.um.insert(attribute).await?;
        }
        if self.release() >= Release::V3_1 && !is_without_uuid {
            let mapper = row("UM_UUID_DOMAIN_MAPPER")
                .set("UM_USER_ID", user.uuid.as_deref())
                .set("UM_DOMAIN_ID", numbers.domains["PRIMARY"])
                .set("UM_TENANT_ID", tenant);
            self.um.insert(mapper).await?;
        }
        if user.name == "zoë" && self.release() <= Release::V2_6 {
            self.double_membership(&user).await?;
        } else {
            self.memberships(&user, Some(id), numbers).await?;
        }
        self.account(&mut user, id).await?;
        self.manifest.users.push(user);
        Ok(())
    }

    /// What the identity management says of the account (users-ldap.md 3.6): rows of the identity database, with 5.3 attributes of
    /// the user.
    async fn account(&mut self, user: &mut User, id: i64) -> Result<()> {
        let facts = ACCOUNTS.iter().filter(|(name, ..)| *name == user.name && user.tenant_id == SUPER);
        for &(name, fact, lock_ms) in facts {
            let mut values = vec![(fact, (name != "alice").to_string())];
            if let Some(millis) = lock_ms {
                let end = if millis == 0 { 0 } else { self.now + millis };
                values.push(("unlockTime", end.to_string()));
            }
            user.is_barred = name != "alice" && lock_ms.is_none_or(|millis| millis >= 0);
            for (fact, value) in values {
                let new = if self.release() == Release::V2_1 {
                    let attribute = if fact == "accountLocked" { "accountLock" } else { fact };
                    user.attributes.push((attribute.to_owned(), value.clone()));
                    row("UM_USER_ATTRIBUTE")
                        .set("UM_ATTR_NAME", attribute)
                        .set("UM_ATTR_VALUE", value)
                        .set("UM_PROFILE_ID", "default")
                        .set("UM_USER_ID", id)
                        .set("UM_TENANT_ID", user.tenant_id)
                } else {
                    row("IDN_IDENTITY_USER_DATA")
                        .set("TENANT_ID", user.tenant_id)
                        .set("USER_NAME", &user.name)
                        .set("DATA_KEY", format!("http://wso2.org/claims/identity/{fact}"))
                        .set("DATA_VALUE", value)
                };
                let place = if self.release() == Release::V2_1 { &self.um } else { &self.idn };
                place.insert(new).await?;
            }
        }
        Ok(())
    }

    /// A member by a second row of role and domain, as they may be up to 2.6 without a unique key (database.md 5.4).
    async fn double_membership(&self, user: &User) -> Result<()> {
        let domain = row("UM_DOMAIN").set("UM_DOMAIN_NAME", &user.store).set("UM_TENANT_ID", user.tenant_id);
        let domain = self.um.insert_numbered(domain, "UM_DOMAIN_ID").await?;
        for role in user.roles.iter().filter_map(|role| role.strip_prefix("Internal/")) {
            let role = row("UM_HYBRID_ROLE").set("UM_ROLE_NAME", role).set("UM_TENANT_ID", user.tenant_id);
            let role = self.um.insert_numbered(role, "UM_ID").await?;
            self.hybrid_member(&user.name, role, domain, user.tenant_id).await?;
        }
        Ok(())
    }

    async fn memberships(&self, user: &User, id: Option<i64>, numbers: &Numbers) -> Result<()> {
        for role in &user.roles {
            if let Some(name) = role.strip_prefix("Internal/") {
                let domain = numbers.domains[&user.store];
                self.hybrid_member(&user.name, numbers.hybrid_roles[name], domain, user.tenant_id).await?;
            } else {
                let member = row("UM_USER_ROLE")
                    .set("UM_ROLE_ID", numbers.primary_roles[role])
                    .set("UM_USER_ID", id.context("a role of the primary store for a user of another")?)
                    .set("UM_TENANT_ID", user.tenant_id);
                self.um.insert(member).await?;
            }
        }
        Ok(())
    }

    async fn hybrid_member(&self, user: &str, role: i64, domain: i64, tenant: i64) -> Result<()> {
        let member = row("UM_HYBRID_USER_ROLE")
            .set("UM_USER_NAME", user)
            .set("UM_ROLE_ID", role)
            .set("UM_TENANT_ID", tenant)
            .set("UM_DOMAIN_ID", domain);
        self.um.insert(member).await
    }

    /// The role that comes with a service provider, for its owner (database.md 2.1, step 6).
    pub(super) async fn application_role(&mut self, app_name: &str, owner: &str, tenant: i64) -> Result<()> {
        let name = format!("Application/{app_name}");
        let role = row("UM_HYBRID_ROLE").set("UM_ROLE_NAME", &name).set("UM_TENANT_ID", tenant);
        let role = self.um.insert_numbered(role, "UM_ID").await?;
        let find = "SELECT UM_DOMAIN_ID FROM UM_DOMAIN WHERE UM_DOMAIN_NAME = 'PRIMARY' AND UM_TENANT_ID = ?";
        let rows = self.um.db.rows(find, &[tenant.into()]).await?;
        let domain = rows.first().context("the domain PRIMARY")?.int(0)?;
        self.hybrid_member(owner, role, domain, tenant).await?;
        let is_owner = |user: &&mut User| user.name == owner && user.tenant_id == tenant && user.store == "PRIMARY";
        self.manifest.users.iter_mut().find(is_owner).with_context(|| format!("no user {owner}"))?.roles.push(name);
        Ok(())
    }

    /// The registry's own user (schema/seed-rows.md 2).
    async fn system_user(&mut self, tenant: i64) -> Result<()> {
        let (password, salt) = (self.chance.password(), self.chance.salt());
        let name = "wso2.anonymous.user";
        let user = row("UM_SYSTEM_USER")
            .set("UM_USER_NAME", name)
            .set("UM_USER_PASSWORD", crate::digest::PasswordForm::DEFAULT.column(&password, &salt))
            .set("UM_SALT_VALUE", salt)
            .set("UM_REQUIRE_CHANGE", false)
            .set("UM_CHANGED_TIME", self.local_time(self.now - 300 * DAY))
            .set("UM_TENANT_ID", tenant);
        self.um.insert(user).await?;
        let role = row("UM_SYSTEM_ROLE").set("UM_ROLE_NAME", "wso2.anonymous.role").set("UM_TENANT_ID", tenant);
        let role = self.um.insert_numbered(role, "UM_ID").await?;
        let member = row("UM_SYSTEM_USER_ROLE").set("UM_USER_NAME", name).set("UM_ROLE_ID", role);
        self.um.insert(member.set("UM_TENANT_ID", tenant)).await
    }
}

fn planned(tenant_id: i64, store: &str, plan: &Plan) -> User {
    let owned = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect();
    let (name, roles, may, may_not) = *plan;
    User {
        name: name.to_owned(),
        store: store.to_owned(),
        tenant_id,
        password: None,
        is_login_over: name == "forgetful",
        is_barred: false,
        uuid: None,
        roles: owned(roles),
        may: owned(may),
        may_not: owned(may_not),
        attributes: Vec::new(),
    }
}
