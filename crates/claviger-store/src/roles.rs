//! The names of a tenant's roles, for checks of what a publisher writes (contract users-ldap.md 3, database.md 5).

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use claviger_proto::ids::TenantId;
use std::collections::BTreeSet;

queries! {
    LIST_STORE_ROLES = "SELECT UM_ROLE_NAME FROM UM_ROLE WHERE UM_TENANT_ID = ?";
    LIST_HYBRID_ROLES = "SELECT UM_ROLE_NAME FROM UM_HYBRID_ROLE WHERE UM_TENANT_ID = ?";
}

/// Every role of a tenant as the wires name it: `admin`, `Internal/creator`, `Application/x`.
pub async fn list(conn: &mut Conn, tenant: TenantId) -> Result<BTreeSet<String>, StoreError> {
    let mut roles = BTreeSet::new();
    for row in conn.rows(&LIST_STORE_ROLES, &[tenant.into()]).await? {
        roles.insert(row.text(0)?);
    }
    for row in conn.rows(&LIST_HYBRID_ROLES, &[tenant.into()]).await? {
        let name = row.text(0)?;
        roles.insert(if name.contains('/') { name } else { format!("Internal/{name}") });
    }
    Ok(roles)
}
