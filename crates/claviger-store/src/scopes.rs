//! IDN_OAUTH2_SCOPE and its role bindings (contract database.md 3.9).

use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::{self, StoreError};
use crate::sql::queries;
use claviger_proto::ids::TenantId;
use std::collections::{HashMap, HashSet};

queries! {
    LIST_BINDINGS = "SELECT S.[scope_binding:NAME, B.SCOPE_BINDING|SCOPE_KEY, S.ROLES] FROM IDN_OAUTH2_SCOPE S \
                     [scope_binding:LEFT JOIN IDN_OAUTH2_SCOPE_BINDING B ON B.SCOPE_ID = S.SCOPE_ID ]\
                     [scope_type:AND B.BINDING_TYPE = 'DEFAULT' ]\
                     WHERE S.[scope_binding:NAME|SCOPE_KEY] = ? AND S.TENANT_ID = ? ORDER BY S.SCOPE_ID";
    FIND_SCOPE = "SELECT SCOPE_ID, [scope_binding:NAME, DISPLAY_NAME|SCOPE_KEY, NAME], DESCRIPTION FROM IDN_OAUTH2_SCOPE \
                  WHERE [scope_binding:NAME|SCOPE_KEY] = ? AND TENANT_ID = ? [scope_type:AND SCOPE_TYPE = 'OAUTH2' ]ORDER BY SCOPE_ID";
    INSERT_SCOPE = "INSERT INTO IDN_OAUTH2_SCOPE ([scope_binding:NAME, DISPLAY_NAME|SCOPE_KEY, NAME], DESCRIPTION, TENANT_ID\
                    [scope_type:, SCOPE_TYPE]) VALUES (?, ?, ?, ?[scope_type:, 'OAUTH2'])",
        Postgres = "INSERT INTO IDN_OAUTH2_SCOPE ([scope_binding:NAME, DISPLAY_NAME|SCOPE_KEY, NAME], DESCRIPTION, TENANT_ID\
                    [scope_type:, SCOPE_TYPE]) VALUES (?, ?, ?, ?[scope_type:, 'OAUTH2']) RETURNING SCOPE_ID";
    UPDATE_SCOPE = "UPDATE IDN_OAUTH2_SCOPE SET [scope_binding:DISPLAY_NAME|NAME] = ?, DESCRIPTION = ? WHERE SCOPE_ID = ?";
    UPDATE_ROLES = "UPDATE IDN_OAUTH2_SCOPE SET [scope_binding:DESCRIPTION = DESCRIPTION|ROLES = ?] WHERE SCOPE_ID = ?";
    DELETE_SCOPE = "DELETE FROM IDN_OAUTH2_SCOPE WHERE SCOPE_ID = ?";
    DELETE_BINDINGS = "DELETE FROM IDN_OAUTH2_SCOPE_BINDING WHERE SCOPE_ID = ?[scope_type: AND BINDING_TYPE = 'DEFAULT']";
    INSERT_BINDING = "INSERT INTO IDN_OAUTH2_SCOPE_BINDING (SCOPE_ID, SCOPE_BINDING[scope_type:, BINDING_TYPE]) VALUES (?, ?[scope_type:, 'DEFAULT'])";
    LOCK_SCOPES = "UPDATE IDP SET NAME = NAME WHERE TENANT_ID = ? AND NAME = 'LOCAL'";
    LIST_SCOPES = "SELECT SCOPE_ID, [scope_binding:NAME, DISPLAY_NAME|SCOPE_KEY, NAME], DESCRIPTION, \
                   [scope_type:SCOPE_TYPE|'OAUTH2'], [scope_binding:DESCRIPTION|ROLES] FROM IDN_OAUTH2_SCOPE \
                   WHERE TENANT_ID = ? ORDER BY SCOPE_ID LIMIT ?";
    LIST_ALL_BINDINGS = "SELECT B.SCOPE_ID, B.SCOPE_BINDING FROM IDN_OAUTH2_SCOPE S \
                         JOIN IDN_OAUTH2_SCOPE_BINDING B ON B.SCOPE_ID = S.SCOPE_ID \
                         WHERE S.TENANT_ID = ? [scope_type:AND B.BINDING_TYPE = 'DEFAULT' ]ORDER BY B.SCOPE_ID";
    FIND_SHARED = "SELECT UUID, NAME FROM AM_SHARED_SCOPE WHERE NAME = ? AND TENANT_ID = ?";
}

/// Roles bound to a scope: `None` when the scope is unknown, an empty list when it has no roles.
pub async fn find_roles(conn: &mut Conn, tenant: TenantId, scope: &str) -> Result<Option<Vec<String>>, StoreError> {
    let has_bindings = conn.capabilities().has(Capability::ScopeBinding);
    let mut roles = None;
    for row in conn.rows(&LIST_BINDINGS, &[scope.into(), tenant.into()]).await? {
        if row.text(0)? == scope {
            let stored = row.opt_text(1)?;
            let roles: &mut Vec<String> = roles.get_or_insert_with(Vec::new);
            if has_bindings {
                roles.extend(stored);
            } else {
                roles.extend(split_roles(stored.as_deref()));
            }
        }
    }
    Ok(roles)
}

/// The roles in one column (2.1).
fn split_roles(list: Option<&str>) -> impl Iterator<Item = String> {
    let names = list.into_iter().flat_map(|list| list.split(',')).map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned)
}

/// A scope with its texts and the roles bound to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// NAME.
    pub name: String,
    /// DISPLAY_NAME.
    pub display_name: String,
    /// DESCRIPTION.
    pub description: Option<String>,
    /// Roles.
    pub roles: Vec<String>,
}

/// A scope by its exact name; of several rows the oldest counts.
pub async fn find(conn: &mut Conn, tenant: TenantId, name: &str) -> Result<Option<Scope>, StoreError> {
    let Some((_, mut scope)) = find_row(conn, tenant, name).await? else { return Ok(None) };
    scope.roles = find_roles(conn, tenant, name).await?.unwrap_or_default();
    Ok(Some(scope))
}

/// Which of a tenant's scopes are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Those that APIs and operators registered.
    OAuth,
    /// These and the ones of OpenID Connect.
    WithOpenId,
}

/// Some thousand scopes of a tenant at most, oldest first; of several rows of one name the oldest.
pub async fn list(conn: &mut Conn, tenant: TenantId, kind: Kind, limit: i64) -> Result<Vec<Scope>, StoreError> {
    let mut roles: HashMap<i64, Vec<String>> = HashMap::new();
    let has_bindings = conn.capabilities().has(Capability::ScopeBinding);
    if has_bindings {
        for row in conn.rows(&LIST_ALL_BINDINGS, &[tenant.into()]).await? {
            roles.entry(row.int(0)?).or_default().push(row.text(1)?);
        }
    }
    let mut scopes = Vec::new();
    let mut names = HashSet::new();
    for row in conn.rows(&LIST_SCOPES, &[tenant.into(), limit.into()]).await? {
        let name = row.text(1)?;
        let is_meant = kind == Kind::WithOpenId || row.opt_text(4)?.as_deref() == Some("OAUTH2");
        if !is_meant || !names.insert(name.clone()) {
            continue;
        }
        scopes.push(Scope {
            name,
            display_name: row.opt_text(2)?.unwrap_or_default(),
            description: row.opt_text(3)?,
            roles: if has_bindings {
                roles.remove(&row.int(0)?).unwrap_or_default()
            } else {
                split_roles(row.opt_text(5)?.as_deref()).collect()
            },
        });
    }
    Ok(scopes)
}

/// Is there a scope of exactly this name, of whatever kind?
pub async fn is_registered(conn: &mut Conn, tenant: TenantId, name: &str, kind: Kind) -> Result<bool, StoreError> {
    match kind {
        Kind::OAuth => Ok(find_row(conn, tenant, name).await?.is_some()),
        Kind::WithOpenId => Ok(find_roles(conn, tenant, name).await?.is_some()),
    }
}

/// Holds the registration of a tenant's scopes until the end of the transaction: most tables have no key that keeps their names
/// unique. Comes before anything is read.
pub async fn lock(conn: &mut Conn, tenant: TenantId) -> Result<(), StoreError> {
    conn.execute(&LOCK_SCOPES, &[tenant.into()]).await.map(|_| ())
}

async fn find_row(conn: &mut Conn, tenant: TenantId, name: &str) -> Result<Option<(i64, Scope)>, StoreError> {
    for row in conn.rows(&FIND_SCOPE, &[name.into(), tenant.into()]).await? {
        if row.text(1)? == name {
            let scope = Scope {
                name: row.text(1)?,
                display_name: row.opt_text(2)?.unwrap_or_default(),
                description: row.opt_text(3)?,
                roles: Vec::new(),
            };
            return Ok(Some((row.int(0)?, scope)));
        }
    }
    Ok(None)
}

/// Inserts a scope, or gives one that is there these texts and roles.
pub async fn put(conn: &mut Conn, tenant: TenantId, scope: &Scope) -> Result<(), StoreError> {
    let (display_name, description) = (&scope.display_name, &scope.description);
    let name_max = if conn.capabilities().has(Capability::ScopeBinding) { 255 } else { 100 };
    error::check_widths(&[
        ("the scope's name", &scope.name, name_max),
        ("the display name", display_name, 255),
        ("the description", description.as_deref().unwrap_or_default(), 512),
    ])?;
    for role in &scope.roles {
        error::check_widths(&[("a role's name", role, 255)])?;
    }
    let id = if let Some((id, _)) = find_row(conn, tenant, &scope.name).await? {
        conn.execute(&UPDATE_SCOPE, &[display_name.into(), description.into(), id.into()]).await?;
        id
    } else {
        let args = [(&scope.name).into(), display_name.into(), description.into(), tenant.into()];
        conn.insert(&INSERT_SCOPE, &args).await?
    };
    if !conn.capabilities().has(Capability::ScopeBinding) {
        let roles = scope.roles.join(",");
        error::check_widths(&[("the list of roles", &roles, 500)])?;
        conn.execute(&UPDATE_ROLES, &[(&roles).into(), id.into()]).await?;
        return Ok(());
    }
    conn.execute(&DELETE_BINDINGS, &[id.into()]).await?;
    for (index, role) in scope.roles.iter().enumerate() {
        // A migrated table keeps (scope, role) unique, on MySQL without regard to case.
        let is_repeated = scope.roles[..index].iter().any(|other| other.eq_ignore_ascii_case(role));
        if !is_repeated {
            conn.execute(&INSERT_BINDING, &[id.into(), role.into()]).await?;
        }
    }
    Ok(())
}

/// Deletes a scope with its bindings.
pub async fn delete(conn: &mut Conn, tenant: TenantId, name: &str) -> Result<(), StoreError> {
    if let Some((id, _)) = find_row(conn, tenant, name).await? {
        if conn.capabilities().has(Capability::ScopeBinding) {
            conn.execute(&DELETE_BINDINGS, &[id.into()]).await?;
        }
        conn.execute(&DELETE_SCOPE, &[id.into()]).await?;
    }
    Ok(())
}

/// Is the scope shared between APIs (AM_SHARED_SCOPE)? Before 3.2 none is.
pub async fn is_shared(conn: &mut Conn, tenant: TenantId, name: &str) -> Result<bool, StoreError> {
    if !conn.capabilities().has(Capability::KeyManager) {
        return Ok(false);
    }
    let rows = conn.rows(&FIND_SHARED, &[name.into(), tenant.into()]).await?;
    let names = rows.iter().map(|row| row.opt_text(1)).collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().flatten().any(|found| found == name))
}
