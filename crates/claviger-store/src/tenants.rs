//! UM_TENANT and the rows every tenant needs before its first token: UM_DOMAIN names and the resident identity provider
//! (contract schema/seed-rows.md 2-4).

use crate::conn::Conn;
use crate::error::StoreError;
use crate::seed;
use crate::sql::queries;
use claviger_proto::entropy::Entropy;
use claviger_proto::hash::sha256;
use claviger_proto::ids::{SUPER_TENANT_DOMAIN, TenantId};
use claviger_proto::time::Timestamp;

queries! {
    FIND_BY_DOMAIN = "SELECT UM_ID FROM UM_TENANT WHERE UM_DOMAIN_NAME = ? AND UM_ACTIVE = ?";
    FIND_BY_ID = "SELECT UM_DOMAIN_NAME FROM UM_TENANT WHERE UM_ID = ?";
    INSERT_TENANT = "INSERT INTO UM_TENANT (UM_DOMAIN_NAME, UM_EMAIL, UM_ACTIVE, UM_CREATED_DATE) VALUES (?, ?, ?, ?)",
        Postgres = "INSERT INTO UM_TENANT (UM_DOMAIN_NAME, UM_EMAIL, UM_ACTIVE, UM_CREATED_DATE) VALUES (?, ?, ?, ?) RETURNING UM_ID";
    FIND_LOCAL_IDP = "SELECT ID, HOME_REALM_ID FROM IDP WHERE TENANT_ID = ? AND NAME = 'LOCAL'";
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

/// IDP.ID of a tenant's resident identity provider, which is made when it is missing, like the super tenant's. An old server
/// makes it with the tenant, and inserts no token without it nor sees one (database.md 3.3).
///
/// Of several nodes one makes it and the others repeat their write, which finds it then. A row that was made goes again with
/// its transaction: nobody may remember its number before that is committed.
pub async fn ensure_local_idp(conn: &mut Conn, tenant: TenantId) -> Result<i64, StoreError> {
    if let Some(row) = conn.row(&FIND_LOCAL_IDP, &[tenant.into()]).await? {
        return row.int(0);
    }
    let missing = |tenant| StoreError::Corrupt(format!("tenant {tenant} has no IDP row named LOCAL"));
    let own = conn.row(&FIND_LOCAL_IDP, &[TenantId::SUPER.into()]).await?;
    let host = own.ok_or_else(|| missing(TenantId::SUPER))?.opt_text(1)?.unwrap_or_default();
    // Every node and every attempt makes the same row.
    let named = Named(sha256(format!("LOCAL\0{tenant}\0{host}").as_bytes()));
    seed::resident_idp(conn, tenant, &host, &named).await?;
    let row = conn.row(&FIND_LOCAL_IDP, &[tenant.into()]).await?;
    row.ok_or_else(|| missing(tenant))?.int(0)
}

/// The bytes of a name's digest, for an id that is no secret.
struct Named([u8; 32]);

impl Entropy for Named {
    fn fill(&self, buffer: &mut [u8]) {
        for (byte, digit) in buffer.iter_mut().zip(self.0.iter().cycle()) {
            *byte = *digit;
        }
    }
}
