//! IDN_OAUTH2_SCOPE and its role bindings (contract database.md 3.9).

use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::{self, StoreError};
use crate::sql::queries;
use claviger_proto::ids::TenantId;

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
                let names = stored.iter().flat_map(|list| list.split(',')).map(str::trim);
                roles.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
            }
        }
    }
    Ok(roles)
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
