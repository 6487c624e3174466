//! What an administrator does to a user of the primary store: a new password, other roles, deletion (contract database.md 5;
//! users-ldap.md 3.1, 4). Whose tokens end with it, the program says.
//!
//! Users may stand in a database of their own: what is said of them in the identity tables (IDN_IDENTITY_USER_DATA) is removed by a
//! write of its own.

use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use crate::tokens::of_user::{Holder, is_of};
use crate::users::{self, User};
use claviger_proto::ids::TenantId;
use claviger_proto::password::StoredPassword;
use claviger_proto::time::Timestamp;
use claviger_proto::user::{NameRule, PRIMARY};

queries! {
    FIND_UUID = "SELECT [user_id:UM_USER_ID|NULL] FROM UM_USER WHERE UM_ID = ? AND UM_TENANT_ID = ?";
    UPDATE_PASSWORD = "UPDATE UM_USER SET UM_USER_PASSWORD = ?, UM_SALT_VALUE = ?, UM_REQUIRE_CHANGE = ?, UM_CHANGED_TIME = ? \
                       WHERE UM_ID = ? AND UM_TENANT_ID = ?";
    FIND_ROLE = "SELECT UM_ID, UM_ROLE_NAME FROM UM_ROLE WHERE UM_ROLE_NAME = ? AND UM_TENANT_ID = ?";
    FIND_HYBRID_ROLE = "SELECT UM_ID, UM_ROLE_NAME FROM UM_HYBRID_ROLE WHERE UM_ROLE_NAME = ? AND UM_TENANT_ID = ?";
    LIST_OTHER_HOLDERS = "SELECT U.UM_USER_NAME FROM UM_USER_ROLE R \
                          JOIN UM_USER U ON U.UM_ID = R.UM_USER_ID AND U.UM_TENANT_ID = R.UM_TENANT_ID \
                          WHERE R.UM_ROLE_ID = ? AND R.UM_TENANT_ID = ? AND R.UM_USER_ID <> ? ORDER BY U.UM_ID LIMIT ?";
    FIND_USER_ROLE = "SELECT UM_ID FROM UM_USER_ROLE WHERE UM_USER_ID = ? AND UM_ROLE_ID = ? AND UM_TENANT_ID = ?";
    INSERT_USER_ROLE = "INSERT INTO UM_USER_ROLE (UM_USER_ID, UM_ROLE_ID, UM_TENANT_ID) VALUES (?, ?, ?)";
    DELETE_USER_ROLE = "DELETE FROM UM_USER_ROLE WHERE UM_USER_ID = ? AND UM_ROLE_ID = ? AND UM_TENANT_ID = ?";
    DELETE_USER_ROLES = "DELETE FROM UM_USER_ROLE WHERE UM_USER_ID = ? AND UM_TENANT_ID = ?";
    DELETE_ATTRIBUTES = "DELETE FROM UM_USER_ATTRIBUTE WHERE UM_USER_ID = ? AND UM_TENANT_ID = ?";
    DELETE_USER = "DELETE FROM UM_USER WHERE UM_ID = ? AND UM_TENANT_ID = ?";
    LIST_DATA_NAMES = "SELECT DISTINCT USER_NAME FROM IDN_IDENTITY_USER_DATA WHERE TENANT_ID = ? AND USER_NAME IN (?, ?, ?, ?)";
    DELETE_DATA = "DELETE FROM IDN_IDENTITY_USER_DATA WHERE TENANT_ID = ? AND USER_NAME = ?";
}

/// A role that users of the primary store can be given or lose, by its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleRow {
    /// UM_ROLE.UM_ID: a role of the primary store.
    Store(i64),
    /// A hybrid role, `Internal/...`.
    Hybrid,
}

/// The prefix of hybrid roles on the wires.
const INTERNAL: &str = "Internal/";

/// Name of a hybrid role in its table, `creator` of `Internal/creator`; `None`: it is a store's role.
pub fn hybrid_name(role: &str) -> Option<&str> {
    role.get(..INTERNAL.len())
        .filter(|prefix| prefix.eq_ignore_ascii_case(INTERNAL))
        .map(|prefix| &role[prefix.len()..])
}

/// UM_USER_ID of a user; `None` where the tables have no such column (before 3.1).
pub async fn find_uuid(conn: &mut Conn, tenant: TenantId, user: &User) -> Result<Option<String>, StoreError> {
    if !conn.capabilities().has(Capability::UserId) {
        return Ok(None);
    }
    let row = conn.row(&FIND_UUID, &[user.id.into(), tenant.into()]).await?;
    Ok(row.map(|row| row.opt_text(0)).transpose()?.flatten())
}

/// Stores a new password, which is not for one time only.
pub async fn update_password(
    conn: &mut Conn,
    tenant: TenantId,
    user: &User,
    password: &StoredPassword,
    now: Timestamp,
) -> Result<(), StoreError> {
    let args =
        [(&password.digest).into(), (&password.salt).into(), false.into(), now.into(), user.id.into(), tenant.into()];
    conn.execute(&UPDATE_PASSWORD, &args).await.map(drop)
}

/// A role as the wires name it; `None` when there is none of exactly that name.
pub async fn find_role(conn: &mut Conn, tenant: TenantId, role: &str) -> Result<Option<RoleRow>, StoreError> {
    let (sql, name, is_hybrid) = match hybrid_name(role) {
        Some(name) => (&FIND_HYBRID_ROLE, name, true),
        None => (&FIND_ROLE, role, false),
    };
    for row in conn.rows(sql, &[name.into(), tenant.into()]).await? {
        // The collation may find another spelling too (database.md 1.5).
        if row.text(1)? == name {
            return Ok(Some(if is_hybrid { RoleRow::Hybrid } else { RoleRow::Store(row.int(0)?) }));
        }
    }
    Ok(None)
}

/// Has a user a role of the primary store?
pub async fn has_role(conn: &mut Conn, tenant: TenantId, user: &User, role: i64) -> Result<bool, StoreError> {
    Ok(conn.row(&FIND_USER_ROLE, &[user.id.into(), role.into(), tenant.into()]).await?.is_some())
}

/// Others who have a role of the primary store, so many at most.
pub async fn list_other_holders(
    conn: &mut Conn,
    tenant: TenantId,
    (user, role): (&User, i64),
    holders_max: i64,
) -> Result<Vec<User>, StoreError> {
    let args = [role.into(), tenant.into(), user.id.into(), holders_max.into()];
    let mut holders = Vec::new();
    for row in conn.rows(&LIST_OTHER_HOLDERS, &args).await? {
        holders.extend(users::find(conn, tenant, &row.text(0)?, NameRule::Exact).await?);
    }
    Ok(holders)
}

/// Gives a user a role of the primary store; nothing where he has it.
pub async fn add_role(conn: &mut Conn, tenant: TenantId, user: &User, role: i64) -> Result<(), StoreError> {
    let args = [user.id.into(), role.into(), tenant.into()];
    if !has_role(conn, tenant, user, role).await? {
        conn.execute(&INSERT_USER_ROLE, &args).await.map_err(StoreError::or_repeat)?;
    }
    Ok(())
}

/// Takes a role of the primary store from a user.
pub async fn remove_role(conn: &mut Conn, tenant: TenantId, user: &User, role: i64) -> Result<(), StoreError> {
    conn.execute(&DELETE_USER_ROLE, &[user.id.into(), role.into(), tenant.into()]).await.map(drop)
}

/// Takes a hybrid role, named as in [`users::ensure_hybrid_role`], or all of them, from a user of any store, under whatever spelling
/// of his name the rows stand.
pub async fn remove_hybrid_roles(conn: &mut Conn, holder: &Holder, role: Option<&str>) -> Result<(), StoreError> {
    let of_store = (holder.tenant, holder.domain.as_str());
    for (stored, spelling) in users::list_hybrid_roles(conn, of_store, &holder.name, holder.rule).await? {
        if role.is_none_or(|role| role == stored) && is_of(conn, holder, &spelling).await? {
            users::remove_hybrid_role(conn, holder.tenant, (&holder.domain, &spelling), &stored).await?;
        }
    }
    Ok(())
}

/// Removes what the identity tables keep of a user: locks, failed logins, answers to questions.
pub async fn delete_data(conn: &mut Conn, holder: &Holder) -> Result<(), StoreError> {
    let prefix = if holder.domain == PRIMARY { String::new() } else { format!("{}/", holder.domain) };
    let names = holder.names().map(|name| format!("{prefix}{name}"));
    let [first, second, third, fourth] = &names;
    let args = [holder.tenant.into(), first.into(), second.into(), third.into(), fourth.into()];
    for row in conn.rows_of_any(&LIST_DATA_NAMES, &args).await? {
        let stored = row.text(0)?;
        let name = stored.strip_prefix(&prefix).unwrap_or(&stored);
        if is_of(conn, holder, name).await? {
            conn.execute(&DELETE_DATA, &[holder.tenant.into(), (&stored).into()]).await?;
        }
    }
    Ok(())
}

/// Removes a user of the primary store with his attributes and roles.
pub async fn delete(conn: &mut Conn, holder: &Holder, user: &User) -> Result<(), StoreError> {
    remove_hybrid_roles(conn, holder, None).await?;
    for sql in [&DELETE_USER_ROLES, &DELETE_ATTRIBUTES, &DELETE_USER] {
        conn.execute(sql, &[user.id.into(), holder.tenant.into()]).await?;
    }
    Ok(())
}
