//! UM_TENANT and the rows every tenant needs before its first token: UM_DOMAIN names and the resident identity provider
//! (contract schema/seed-rows.md 2-4).

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use claviger_proto::ids::{SUPER_TENANT_DOMAIN, TenantId};
use claviger_proto::time::Timestamp;

queries! {
    FIND_BY_DOMAIN = "SELECT UM_ID FROM UM_TENANT WHERE UM_DOMAIN_NAME = ? AND UM_ACTIVE = ?";
    FIND_BY_ID = "SELECT UM_DOMAIN_NAME FROM UM_TENANT WHERE UM_ID = ?";
    INSERT_TENANT = "INSERT INTO UM_TENANT (UM_DOMAIN_NAME, UM_EMAIL, UM_ACTIVE, UM_CREATED_DATE) VALUES (?, ?, ?, ?)",
        Postgres = "INSERT INTO UM_TENANT (UM_DOMAIN_NAME, UM_EMAIL, UM_ACTIVE, UM_CREATED_DATE) VALUES (?, ?, ?, ?) RETURNING UM_ID";
    LIST = "SELECT UM_ID, UM_DOMAIN_NAME FROM UM_TENANT WHERE UM_ACTIVE = ? ORDER BY UM_ID";
}

/// Id of an active tenant.
pub async fn find_by_domain(conn: &mut Conn, domain: &str) -> Result<Option<TenantId>, StoreError> {
    if domain == SUPER_TENANT_DOMAIN {
        return Ok(Some(TenantId::SUPER));
    }
    let row = conn.row(&FIND_BY_DOMAIN, &[domain.into(), true.into()]).await?;
    row.map(|row| Ok(TenantId(row.int(0)?))).transpose()
}

/// Domain of a tenant.
pub async fn find_domain(conn: &mut Conn, id: TenantId) -> Result<Option<String>, StoreError> {
    if id == TenantId::SUPER {
        return Ok(Some(SUPER_TENANT_DOMAIN.to_owned()));
    }
    let row = conn.row(&FIND_BY_ID, &[id.into()]).await?;
    row.map(|row| row.text(0)).transpose()
}

/// Every active tenant with its domain, the super tenant first.
pub async fn list(conn: &mut Conn) -> Result<Vec<(TenantId, String)>, StoreError> {
    let mut tenants = vec![(TenantId::SUPER, SUPER_TENANT_DOMAIN.to_owned())];
    for row in conn.rows(&LIST, &[true.into()]).await? {
        tenants.push((TenantId(row.int(0)?), row.text(1)?));
    }
    Ok(tenants)
}

/// Inserts an active tenant. Its first rows are [`crate::seed::tenant`]'s.
pub async fn insert(conn: &mut Conn, domain: &str, email: &str, now: Timestamp) -> Result<TenantId, StoreError> {
    let args = [domain.into(), email.into(), true.into(), now.into()];
    Ok(TenantId(conn.insert(&INSERT_TENANT, &args).await?))
}
