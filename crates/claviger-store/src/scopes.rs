//! IDN_OAUTH2_SCOPE and its role bindings (contract database.md 3.9).

use crate::db::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use claviger_proto::ids::TenantId;

queries! {
    LIST_BINDINGS = "SELECT S.NAME, B.SCOPE_BINDING FROM IDN_OAUTH2_SCOPE S \
                     LEFT JOIN IDN_OAUTH2_SCOPE_BINDING B ON B.SCOPE_ID = S.SCOPE_ID AND B.BINDING_TYPE = 'DEFAULT' \
                     WHERE S.NAME = ? AND S.TENANT_ID = ?";
}

/// Roles bound to a scope: `None` when the scope is unknown, an empty list when it has no roles.
pub async fn find_roles(conn: &mut Conn, tenant: TenantId, scope: &str) -> Result<Option<Vec<String>>, StoreError> {
    let mut roles = None;
    for row in conn.rows(&LIST_BINDINGS, &[scope.into(), tenant.into()]).await? {
        if row.text(0)? == scope {
            roles.get_or_insert_with(Vec::new).extend(row.opt_text(1)?);
        }
    }
    Ok(roles)
}
