//! Users, roles and permissions of the JDBC user store: UM_USER, UM_ROLE, UM_HYBRID_ROLE, UM_PERMISSION
//! (contract database.md 5). Every row and every join carries the tenant.

use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Engine, Sql, queries};
use crate::value::{Arg, Row};
use claviger_proto::ids::TenantId;
use claviger_proto::password::StoredPassword;
use claviger_proto::time::Timestamp;
use claviger_proto::user::{NameRule, PRIMARY, Username};
use std::collections::{BTreeMap, HashSet};

/// Names that one statement looks for.
pub const NAMES_MAX: usize = 50;

/// As many users as [`NAMES_MAX`], by a condition on their names.
macro_rules! select_users {
    ($before:literal, $place:literal) => {
        concat!(
            "SELECT UM_ID, UM_USER_NAME, UM_USER_PASSWORD, UM_SALT_VALUE, UM_REQUIRE_CHANGE, UM_CHANGED_TIME FROM UM_USER WHERE ",
            $before, " IN (", select_users!(@ten $place), ", ", select_users!(@ten $place), ", ", select_users!(@ten $place), ", ",
            select_users!(@ten $place), ", ", select_users!(@ten $place), ") AND UM_TENANT_ID = ?"
        )
    };
    (@ten $place:literal) => {
        concat!(
            $place, ", ", $place, ", ", $place, ", ", $place, ", ", $place, ", ", $place, ", ", $place, ", ", $place, ", ", $place, ", ",
            $place
        )
    };
}

queries! {
    FIND_NAMED = select_users!("UM_USER_NAME", "?");
    FIND_SPELLED = select_users!("LOWER(UM_USER_NAME)", "LOWER(?)");
    FIND_COLLATION = "SELECT 'BINARY' FROM UM_USER LIMIT 1",
        MySql = "SELECT COLLATION(UM_USER_NAME) FROM UM_USER LIMIT 1";
    FIND_USER = "SELECT UM_ID, UM_USER_NAME, UM_USER_PASSWORD, UM_SALT_VALUE, UM_REQUIRE_CHANGE, UM_CHANGED_TIME FROM UM_USER \
                 WHERE UM_USER_NAME = ? AND UM_TENANT_ID = ?";
    FIND_USER_ANY_CASE = "SELECT UM_ID, UM_USER_NAME, UM_USER_PASSWORD, UM_SALT_VALUE, UM_REQUIRE_CHANGE, UM_CHANGED_TIME FROM UM_USER \
                          WHERE LOWER(UM_USER_NAME) = LOWER(?) AND UM_TENANT_ID = ?";
    FIND_USER_BY_UUID = "SELECT UM_USER_NAME FROM UM_USER WHERE [user_id:UM_USER_ID|UM_USER_NAME] = ? AND UM_TENANT_ID = ?";
    INSERT_USER = "INSERT INTO UM_USER ([user_id:UM_USER_ID, ]UM_USER_NAME, UM_USER_PASSWORD, UM_SALT_VALUE, UM_REQUIRE_CHANGE, UM_CHANGED_TIME, \
                   UM_TENANT_ID) VALUES ([user_id:?, ]?, ?, ?, ?, ?, ?)",
        Postgres = "INSERT INTO UM_USER ([user_id:UM_USER_ID, ]UM_USER_NAME, UM_USER_PASSWORD, UM_SALT_VALUE, UM_REQUIRE_CHANGE, UM_CHANGED_TIME, \
                    UM_TENANT_ID) VALUES ([user_id:?, ]?, ?, ?, ?, ?, ?) RETURNING UM_ID";
    INSERT_ATTRIBUTE = "INSERT INTO UM_USER_ATTRIBUTE (UM_ATTR_NAME, UM_ATTR_VALUE, UM_PROFILE_ID, UM_USER_ID, UM_TENANT_ID) \
                        VALUES (?, ?, 'default', ?, ?)";
    FIND_ROLE = "SELECT UM_ID FROM UM_ROLE WHERE UM_ROLE_NAME = ? AND UM_TENANT_ID = ?";
    INSERT_ROLE = "INSERT INTO UM_ROLE (UM_ROLE_NAME, UM_TENANT_ID, UM_SHARED_ROLE) VALUES (?, ?, ?)",
        Postgres = "INSERT INTO UM_ROLE (UM_ROLE_NAME, UM_TENANT_ID, UM_SHARED_ROLE) VALUES (?, ?, ?) RETURNING UM_ID";
    INSERT_USER_ROLE = "INSERT INTO UM_USER_ROLE (UM_ROLE_ID, UM_USER_ID, UM_TENANT_ID) VALUES (?, ?, ?)";
    FIND_HYBRID_ROLE = "SELECT UM_ID FROM UM_HYBRID_ROLE WHERE UM_ROLE_NAME = ? AND UM_TENANT_ID = ?";
    INSERT_HYBRID_ROLE = "INSERT INTO UM_HYBRID_ROLE (UM_ROLE_NAME, UM_TENANT_ID) VALUES (?, ?)",
        Postgres = "INSERT INTO UM_HYBRID_ROLE (UM_ROLE_NAME, UM_TENANT_ID) VALUES (?, ?) RETURNING UM_ID";
    FIND_DOMAIN = "SELECT UM_DOMAIN_ID FROM UM_DOMAIN WHERE UM_DOMAIN_NAME = ? AND UM_TENANT_ID = ?";
    INSERT_DOMAIN = "INSERT INTO UM_DOMAIN (UM_DOMAIN_NAME, UM_TENANT_ID) VALUES (?, ?)",
        Postgres = "INSERT INTO UM_DOMAIN (UM_DOMAIN_NAME, UM_TENANT_ID) VALUES (?, ?) RETURNING UM_DOMAIN_ID";
    FIND_HYBRID_USER_ROLE = "SELECT UM_ID FROM UM_HYBRID_USER_ROLE WHERE UM_USER_NAME = ? AND UM_ROLE_ID = ? AND UM_TENANT_ID = ? \
                             AND UM_DOMAIN_ID = ?";
    INSERT_HYBRID_USER_ROLE = "INSERT INTO UM_HYBRID_USER_ROLE (UM_USER_NAME, UM_ROLE_ID, UM_TENANT_ID, UM_DOMAIN_ID) VALUES (?, ?, ?, ?)";
    DELETE_HYBRID_USER_ROLE = "DELETE FROM UM_HYBRID_USER_ROLE WHERE UM_USER_NAME = ? AND UM_ROLE_ID = ? AND UM_TENANT_ID = ? \
                               AND UM_DOMAIN_ID = ?";
    RENAME_HYBRID_ROLE = "UPDATE UM_HYBRID_ROLE SET UM_ROLE_NAME = ? WHERE UM_ROLE_NAME = ? AND UM_TENANT_ID = ?";
    DELETE_HYBRID_ROLE = "DELETE FROM UM_HYBRID_ROLE WHERE UM_ROLE_NAME = ? AND UM_TENANT_ID = ?";
    LIST_STORE_ROLES = "SELECT R.UM_ROLE_NAME FROM UM_USER_ROLE UR \
                        JOIN UM_ROLE R ON R.UM_ID = UR.UM_ROLE_ID AND R.UM_TENANT_ID = UR.UM_TENANT_ID \
                        WHERE UR.UM_USER_ID = ? AND UR.UM_TENANT_ID = ?";
    LIST_HYBRID_ROLES = "SELECT R.UM_ROLE_NAME, UR.UM_USER_NAME FROM UM_HYBRID_USER_ROLE UR \
                         JOIN UM_HYBRID_ROLE R ON R.UM_ID = UR.UM_ROLE_ID AND R.UM_TENANT_ID = UR.UM_TENANT_ID \
                         JOIN UM_DOMAIN D ON D.UM_DOMAIN_ID = UR.UM_DOMAIN_ID AND D.UM_TENANT_ID = UR.UM_TENANT_ID \
                         WHERE UR.UM_USER_NAME = ? AND UR.UM_TENANT_ID = ? AND D.UM_DOMAIN_NAME = ?";
    LIST_HYBRID_ROLES_ANY_CASE = "SELECT R.UM_ROLE_NAME, UR.UM_USER_NAME FROM UM_HYBRID_USER_ROLE UR \
                         JOIN UM_HYBRID_ROLE R ON R.UM_ID = UR.UM_ROLE_ID AND R.UM_TENANT_ID = UR.UM_TENANT_ID \
                         JOIN UM_DOMAIN D ON D.UM_DOMAIN_ID = UR.UM_DOMAIN_ID AND D.UM_TENANT_ID = UR.UM_TENANT_ID \
                         WHERE LOWER(UR.UM_USER_NAME) = LOWER(?) AND UR.UM_TENANT_ID = ? AND D.UM_DOMAIN_NAME = ?";
    FIND_PERMISSION = "SELECT UM_ID FROM UM_PERMISSION WHERE UM_RESOURCE_ID = ? AND UM_ACTION = ? AND UM_TENANT_ID = ?";
    INSERT_PERMISSION = "INSERT INTO UM_PERMISSION (UM_RESOURCE_ID, UM_ACTION, UM_TENANT_ID, UM_MODULE_ID) VALUES (?, ?, ?, 0)",
        Postgres = "INSERT INTO UM_PERMISSION (UM_RESOURCE_ID, UM_ACTION, UM_TENANT_ID, UM_MODULE_ID) VALUES (?, ?, ?, 0) RETURNING UM_ID";
    INSERT_ROLE_PERMISSION = "INSERT INTO UM_ROLE_PERMISSION (UM_PERMISSION_ID, UM_ROLE_NAME, UM_IS_ALLOWED, UM_TENANT_ID, UM_DOMAIN_ID) \
                              VALUES (?, ?, 1, ?, ?)";
    FIND_ROLE_PERMISSION = "SELECT UM_ID FROM UM_ROLE_PERMISSION WHERE UM_PERMISSION_ID = ? AND UM_ROLE_NAME = ? AND UM_TENANT_ID = ? \
                            AND UM_DOMAIN_ID = ?";
    LIST_ROLE_PERMISSIONS = "SELECT D.UM_DOMAIN_NAME, RP.UM_ROLE_NAME, P.UM_RESOURCE_ID, RP.UM_IS_ALLOWED FROM UM_ROLE_PERMISSION RP \
                             JOIN UM_PERMISSION P ON P.UM_ID = RP.UM_PERMISSION_ID AND P.UM_TENANT_ID = RP.UM_TENANT_ID \
                             JOIN UM_DOMAIN D ON D.UM_DOMAIN_ID = RP.UM_DOMAIN_ID AND D.UM_TENANT_ID = RP.UM_TENANT_ID \
                             WHERE RP.UM_TENANT_ID = ? AND P.UM_ACTION = ?";
}

/// The action of every console and API permission.
const EXECUTE: &str = "ui.execute";

/// A user as stored.
#[derive(Clone, Debug)]
pub struct User {
    /// UM_ID.
    pub id: i64,
    /// Exact spelling in the table.
    pub name: String,
    /// Digest and salt.
    pub password: StoredPassword,
    /// When the password was set, if it is for one time only (UM_REQUIRE_CHANGE). Long ago where the row does not say when:
    /// such a password is over.
    pub one_time_since: Option<Timestamp>,
}

/// A user of the primary store. One of exactly that name comes first; failing that, where the rule says so, the only one whose
/// name differs in case alone: of two nobody can say which is meant. What else the collation takes for equal is a miss
/// (database.md 1.5, 5.3).
pub async fn find(conn: &mut Conn, tenant: TenantId, name: &str, rule: NameRule) -> Result<Option<User>, StoreError> {
    let exact = list(conn, &FIND_USER, tenant, name, NameRule::Exact).await?.into_iter().next();
    if exact.is_some() || rule == NameRule::Exact {
        return Ok(exact);
    }
    let sql = any_case(conn).await?;
    let mut users = list(conn, sql, tenant, name, rule).await?;
    Ok(if users.len() == 1 { users.pop() } else { None })
}

/// The name of the user with this UUID, `[DOMAIN/]`-less: users of other stores have no row here. None before 3.1.
pub async fn find_name_by_uuid(conn: &mut Conn, tenant: TenantId, uuid: &str) -> Result<Option<String>, StoreError> {
    // A UUID has no other letters, and some databases could not say them.
    if !uuid.is_ascii() || !conn.capabilities().has(Capability::UserId) {
        return Ok(None);
    }
    let row = conn.row(&FIND_USER_BY_UUID, &[uuid.into(), tenant.into()]).await?;
    row.map(|row| row.text(0)).transpose()
}

/// [`find`] by [`NameRule::Exact`] for some names at once (at most [`NAMES_MAX`]), an answer for each. One among several that
/// the column's character set cannot say, and one user's row that cannot be read, fail all: alone the one is a miss, and the
/// others are found.
pub async fn find_named(conn: &mut Conn, tenant: TenantId, names: &[&str]) -> Result<Vec<Option<User>>, StoreError> {
    let users = list_some(conn, [&FIND_USER, &FIND_NAMED], tenant, names).await?;
    Ok(names.iter().map(|name| users.iter().find(|user| user.name == *name).cloned()).collect())
}

/// For some names at once (at most [`NAMES_MAX`]), the only user whose name differs from that in case alone, or not at all.
/// Where the collation tells case apart this reads the table from end to end. Fails as [`find_named`] does.
pub async fn find_spelled(conn: &mut Conn, tenant: TenantId, names: &[&str]) -> Result<Vec<Option<User>>, StoreError> {
    let is_served = is_case_ignored(conn, &FIND_COLLATION).await?;
    let sql = if is_served { [&FIND_USER, &FIND_NAMED] } else { [&FIND_USER_ANY_CASE, &FIND_SPELLED] };
    let users = list_some(conn, sql, tenant, names).await?;
    let only = |name: &&str| {
        let mut same = users.iter().filter(|user| NameRule::AnyCase.is_same(&user.name, name));
        same.next().filter(|_| same.next().is_none()).cloned()
    };
    Ok(names.iter().map(only).collect())
}

async fn list_some(
    conn: &mut Conn,
    [for_one, for_many]: [&'static Sql; 2],
    tenant: TenantId,
    names: &[&str],
) -> Result<Vec<User>, StoreError> {
    debug_assert!(names.len() <= NAMES_MAX, "a statement looks for {NAMES_MAX} names");
    if let [name] = names {
        // As a rule; a database plans for one name what it would not for fifty.
        let rows = conn.rows(for_one, &[(*name).into(), tenant.into()]).await?;
        return rows.iter().map(decode).collect();
    }
    let mut args: Vec<Arg<'_>> = names.iter().map(|name| Arg::from(*name)).collect();
    // No name equals NULL.
    args.resize(NAMES_MAX, Arg::Text(None));
    args.push(tenant.into());
    conn.rows_of_any(for_many, &args).await?.iter().map(decode).collect()
}

/// Does equality of a column's names ignore case (database.md 1.5)? Then an index on the names serves every spelling. The statement
/// asks for the column's collation.
pub(crate) async fn is_case_ignored(conn: &mut Conn, collation: &'static Sql) -> Result<bool, StoreError> {
    if conn.engine() != Engine::MySql {
        return Ok(false);
    }
    let collation = conn.row(collation, &[]).await?.map(|row| row.text(0)).transpose()?;
    Ok(collation.is_some_and(|name| name.to_ascii_lowercase().ends_with("_ci")))
}

/// The statement that finds a user by every spelling of a name.
async fn any_case(conn: &mut Conn) -> Result<&'static Sql, StoreError> {
    Ok(if is_case_ignored(conn, &FIND_COLLATION).await? { &FIND_USER } else { &FIND_USER_ANY_CASE })
}

/// Has a user of the primary store this name, or one that the rule does not tell from it?
pub async fn is_taken(conn: &mut Conn, tenant: TenantId, name: &str, rule: NameRule) -> Result<bool, StoreError> {
    let sql = if rule == NameRule::AnyCase { any_case(conn).await? } else { &FIND_USER };
    Ok(!list(conn, sql, tenant, name, rule).await?.is_empty())
}

/// Do two spellings name one user of a store? In the primary one as [`is_same_user`] says. Users of other stores are elsewhere, and
/// so is what tells them apart: there only equal names are one.
pub(crate) async fn is_one(
    conn: &mut Conn,
    (tenant, domain): (TenantId, &str),
    names: (&str, &str),
    rule: NameRule,
) -> Result<bool, StoreError> {
    if domain.eq_ignore_ascii_case(PRIMARY) {
        return is_same_user(conn, tenant, names, rule).await;
    }
    Ok(names.0 == names.1)
}

/// Do two spellings name one user of the store behind the connection? Not when each is the exact name of another; yes when neither
/// names any.
async fn is_same_user(
    conn: &mut Conn,
    tenant: TenantId,
    (one, other): (&str, &str),
    rule: NameRule,
) -> Result<bool, StoreError> {
    if one == other || !rule.is_same(one, other) {
        return Ok(one == other);
    }
    let one = find(conn, tenant, one, rule).await?.map(|user| user.id);
    let other = find(conn, tenant, other, rule).await?.map(|user| user.id);
    Ok(one == other)
}

/// Does a name that stands in a row of the API tables - `ann`, `ann@abc.com`, as somebody typed it - mean this user? The
/// user's name is spelled as in the table of users.
pub async fn is_meant(
    conn: &mut Conn,
    tenant: TenantId,
    stored: &str,
    user: &Username,
    rule: NameRule,
) -> Result<bool, StoreError> {
    if stored == user.to_string() {
        return Ok(true);
    }
    match Username::parse(stored) {
        Ok(named) if named.domain == PRIMARY && user.domain == PRIMARY && named.tenant == user.tenant => {
            is_same_user(conn, tenant, (&named.name, &user.name), rule).await
        }
        _ => Ok(false),
    }
}

async fn list(
    conn: &mut Conn,
    sql: &'static Sql,
    tenant: TenantId,
    name: &str,
    rule: NameRule,
) -> Result<Vec<User>, StoreError> {
    let mut users = Vec::new();
    for row in conn.rows(sql, &[name.into(), tenant.into()]).await? {
        let user = decode(&row)?;
        if rule.is_same(&user.name, name) {
            users.push(user);
        }
    }
    Ok(users)
}

fn decode(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: row.int(0)?,
        name: row.text(1)?,
        password: StoredPassword { digest: row.text(2)?, salt: row.opt_text(3)?.unwrap_or_default() },
        one_time_since: if row.bool(4)? { Some(row.opt_time(5)?.unwrap_or(Timestamp::from_secs(0))) } else { None },
    })
}

/// A user to insert.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Random UUID: UM_USER_ID and the attribute `scimId`.
    pub uuid: String,
    /// Name without domain and tenant.
    pub name: String,
    /// Digest and salt.
    pub password: StoredPassword,
    /// Tenant.
    pub tenant: TenantId,
}

/// Inserts a user with the two attributes that the unique-id store writes (database.md 5.1). The fresh 3.2 table does not
/// keep names unique, so the caller asks [`is_taken`] first in the same transaction.
pub async fn insert(conn: &mut Conn, user: &NewUser, now: Timestamp) -> Result<i64, StoreError> {
    if user.name.len() > 100 {
        // AUTHZ_USER of the token table is 100 wide: a longer name could never get a token.
        return Err(StoreError::TooLong("the user name"));
    }
    let password = &user.password;
    let args = [
        (&user.uuid).into(),
        (&user.name).into(),
        (&password.digest).into(),
        (&password.salt).into(),
        false.into(),
        now.into(),
        user.tenant.into(),
    ];
    let id = conn.insert(&INSERT_USER, &args).await?;
    if !conn.capabilities().has(Capability::UserId) {
        return Ok(id);
    }
    for (attribute, value) in [("scimId", &user.uuid), ("uid", &user.name)] {
        conn.execute(&INSERT_ATTRIBUTE, &[attribute.into(), value.into(), id.into(), user.tenant.into()]).await?;
    }
    Ok(id)
}

/// Names of a primary-store user's roles as the wires show them: `admin`, `Internal/creator`, `Application/x`, and the
/// implied `Internal/everyone`. Hybrid roles hang on the name: a row in another spelling counts when that spelling names this
/// user (database.md 5.3, 5.4).
pub async fn list_roles(
    conn: &mut Conn,
    tenant: TenantId,
    user: &User,
    rule: NameRule,
) -> Result<Vec<String>, StoreError> {
    let mut roles = list_store_roles(conn, tenant, user).await?;
    let hybrid = list_hybrid_roles(conn, (tenant, PRIMARY), &user.name, rule).await?;
    roles.extend(name_hybrid_roles(conn, tenant, user, (hybrid, rule)).await?);
    Ok(roles)
}

/// Names of a user's roles in the store behind the connection, without its domain.
pub async fn list_store_roles(conn: &mut Conn, tenant: TenantId, user: &User) -> Result<Vec<String>, StoreError> {
    let rows = conn.rows(&LIST_STORE_ROLES, &[user.id.into(), tenant.into()]).await?;
    rows.iter().map(|row| row.text(0)).collect()
}

/// (role, spelling of the user's name) as the rows have them of the hybrid roles that may be those of a user of a store. They stand
/// in our own tables, whichever database has the user (database.md 5.4).
pub async fn list_hybrid_roles(
    conn: &mut Conn,
    (tenant, domain): (TenantId, &str),
    user: &str,
    rule: NameRule,
) -> Result<Vec<(String, String)>, StoreError> {
    let sql = if rule == NameRule::AnyCase { &LIST_HYBRID_ROLES_ANY_CASE } else { &LIST_HYBRID_ROLES };
    let rows = conn.rows(sql, &[user.into(), tenant.into(), domain.into()]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
}

/// Those of [`list_hybrid_roles`] whose rows mean the user, as the wires name them, and the implied one. The connection is to the
/// user's store.
pub async fn name_hybrid_roles(
    conn: &mut Conn,
    tenant: TenantId,
    user: &User,
    (hybrid, rule): (Vec<(String, String)>, NameRule),
) -> Result<Vec<String>, StoreError> {
    let mut roles = vec!["Internal/everyone".to_owned()];
    // An owner of applications has a role for each, and may have tens of thousands.
    let mut named_already: HashSet<String> = roles.iter().cloned().collect();
    let mut spellings = BTreeMap::from([(user.name.clone(), true)]);
    for (stored, spelling) in hybrid {
        let is_own = match spellings.get(&spelling) {
            Some(is_own) => *is_own,
            None => is_same_user(conn, tenant, (&spelling, &user.name), rule).await?,
        };
        spellings.insert(spelling, is_own);
        let named = if stored.contains('/') { stored } else { format!("Internal/{stored}") };
        if is_own && named_already.insert(named.clone()) {
            roles.push(named);
        }
    }
    Ok(roles)
}

/// (role, path, allowed) for every role of a tenant, roles named as in [`list_roles`]; those of secondary stores as
/// `DOMAIN/role`.
pub async fn list_permissions(conn: &mut Conn, tenant: TenantId) -> Result<Vec<(String, String, bool)>, StoreError> {
    let rows = conn.rows(&LIST_ROLE_PERMISSIONS, &[tenant.into(), EXECUTE.into()]).await?;
    rows.iter()
        .map(|row| {
            let role = row.text(1)?;
            let role = match row.text(0)?.as_str() {
                "INTERNAL" => format!("Internal/{role}"),
                "APPLICATION" if !role.contains('/') => format!("Application/{role}"),
                PRIMARY | "APPLICATION" | "WORKFLOW" => role,
                // A role of that name in the primary store is another one.
                domain => format!("{}/{role}", domain.to_uppercase()),
            };
            Ok((role, row.text(2)?, row.int(3)? != 0))
        })
        .collect()
}

/// Is there such a primary-store role?
pub(crate) async fn has_role(conn: &mut Conn, tenant: TenantId, role: &str) -> Result<bool, StoreError> {
    Ok(conn.row(&FIND_ROLE, &[role.into(), tenant.into()]).await?.is_some())
}

/// Is there such a hybrid role, named as in [`ensure_hybrid_role`]?
pub(crate) async fn has_hybrid_role(conn: &mut Conn, tenant: TenantId, role: &str) -> Result<bool, StoreError> {
    Ok(conn.row(&FIND_HYBRID_ROLE, &[role.into(), tenant.into()]).await?.is_some())
}

/// Is there a row of this user-store domain?
pub(crate) async fn has_domain(conn: &mut Conn, tenant: TenantId, domain: &str) -> Result<bool, StoreError> {
    Ok(conn.row(&FIND_DOMAIN, &[domain.into(), tenant.into()]).await?.is_some())
}

/// The id of a user-store domain's row, inserted when absent.
pub async fn ensure_domain(conn: &mut Conn, tenant: TenantId, domain: &str) -> Result<i64, StoreError> {
    match conn.row(&FIND_DOMAIN, &[domain.into(), tenant.into()]).await? {
        Some(row) => row.int(0),
        None => conn.insert(&INSERT_DOMAIN, &[domain.into(), tenant.into()]).await.map_err(StoreError::or_repeat),
    }
}

/// The id of a primary-store role, inserted when absent.
pub async fn ensure_role(conn: &mut Conn, tenant: TenantId, role: &str) -> Result<i64, StoreError> {
    match conn.row(&FIND_ROLE, &[role.into(), tenant.into()]).await? {
        Some(row) => row.int(0),
        None => {
            conn.insert(&INSERT_ROLE, &[role.into(), tenant.into(), false.into()]).await.map_err(StoreError::or_repeat)
        }
    }
}

/// The id of a hybrid role (`creator` for `Internal/creator`; `Application/x` with its prefix), inserted when absent.
pub async fn ensure_hybrid_role(conn: &mut Conn, tenant: TenantId, role: &str) -> Result<i64, StoreError> {
    match conn.row(&FIND_HYBRID_ROLE, &[role.into(), tenant.into()]).await? {
        Some(row) => row.int(0),
        None => conn.insert(&INSERT_HYBRID_ROLE, &[role.into(), tenant.into()]).await.map_err(StoreError::or_repeat),
    }
}

/// Gives a primary-store user a primary-store role.
pub async fn add_role(conn: &mut Conn, tenant: TenantId, user_id: i64, role: &str) -> Result<(), StoreError> {
    let role_id = ensure_role(conn, tenant, role).await?;
    conn.execute(&INSERT_USER_ROLE, &[role_id.into(), user_id.into(), tenant.into()]).await?;
    Ok(())
}

/// Gives a primary-store user a hybrid role, named as in [`ensure_hybrid_role`].
pub async fn add_hybrid_role(conn: &mut Conn, tenant: TenantId, user: &str, role: &str) -> Result<(), StoreError> {
    add_hybrid_role_in(conn, tenant, (PRIMARY, user), role).await
}

/// Gives a user of a store (its domain, his name) a hybrid role, named as in [`ensure_hybrid_role`].
pub async fn add_hybrid_role_in(
    conn: &mut Conn,
    tenant: TenantId,
    (domain, user): (&str, &str),
    role: &str,
) -> Result<(), StoreError> {
    let role_id = ensure_hybrid_role(conn, tenant, role).await?;
    let domain_id = ensure_domain(conn, tenant, &domain.to_uppercase()).await?;
    let args = [user.into(), role_id.into(), tenant.into(), domain_id.into()];
    if conn.row(&FIND_HYBRID_USER_ROLE, &args).await?.is_none() {
        conn.execute(&INSERT_HYBRID_USER_ROLE, &args).await?;
    }
    Ok(())
}

/// Takes a hybrid role, named as in [`ensure_hybrid_role`], from a user of a store (its domain, his name).
pub async fn remove_hybrid_role(
    conn: &mut Conn,
    tenant: TenantId,
    (domain, user): (&str, &str),
    role: &str,
) -> Result<(), StoreError> {
    let role = conn.row(&FIND_HYBRID_ROLE, &[role.into(), tenant.into()]).await?;
    let domain = conn.row(&FIND_DOMAIN, &[(&domain.to_uppercase()).into(), tenant.into()]).await?;
    if let (Some(role), Some(domain)) = (role, domain) {
        let args = [user.into(), role.int(0)?.into(), tenant.into(), domain.int(0)?.into()];
        conn.execute(&DELETE_HYBRID_USER_ROLE, &args).await?;
    }
    Ok(())
}

/// Gives a hybrid role another name; its members stay. A role that has that name already goes with its memberships, unless the
/// first is gone: then this was done before, in a database that was committed by itself.
pub async fn rename_hybrid_role(conn: &mut Conn, tenant: TenantId, from: &str, to: &str) -> Result<(), StoreError> {
    if conn.row(&FIND_HYBRID_ROLE, &[from.into(), tenant.into()]).await?.is_none() {
        return Ok(());
    }
    delete_hybrid_role(conn, tenant, to).await?;
    conn.execute(&RENAME_HYBRID_ROLE, &[to.into(), from.into(), tenant.into()]).await?;
    Ok(())
}

/// Removes a hybrid role with its memberships.
pub async fn delete_hybrid_role(conn: &mut Conn, tenant: TenantId, role: &str) -> Result<(), StoreError> {
    conn.execute(&DELETE_HYBRID_ROLE, &[role.into(), tenant.into()]).await?;
    Ok(())
}

/// Allows `ui.execute` on a path to a role of a domain (`PRIMARY` or `INTERNAL`).
pub async fn grant(conn: &mut Conn, tenant: TenantId, domain: &str, role: &str, path: &str) -> Result<(), StoreError> {
    let found = conn.row(&FIND_PERMISSION, &[path.into(), EXECUTE.into(), tenant.into()]).await?;
    let permission = if let Some(row) = found {
        row.int(0)?
    } else {
        let inserted = conn.insert(&INSERT_PERMISSION, &[path.into(), EXECUTE.into(), tenant.into()]).await;
        inserted.map_err(StoreError::or_repeat)?
    };
    let domain_id = ensure_domain(conn, tenant, domain).await?;
    let args = [permission.into(), role.into(), tenant.into(), domain_id.into()];
    if conn.row(&FIND_ROLE_PERMISSION, &args).await?.is_none() {
        conn.execute(&INSERT_ROLE_PERMISSION, &args).await?;
    }
    Ok(())
}
