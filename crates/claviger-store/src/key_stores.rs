//! Key stores of tenants, as the registry has them (contract database.md 6.3, configuration.md 4.3): one resource for each
//! tenant, made with it by the old server. They are read and never written; what is in them is the program's to find out.

use crate::conn::Conn;
use crate::error::StoreError;
use crate::registry;
use crate::sql::queries;
use crate::value::Row;
use claviger_proto::ids::TenantId;
use claviger_proto::time::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// The collection that they are in.
pub const COLLECTION: &str = "/_system/governance/repository/security/key-stores";

queries! {
    FIND_MARK = "SELECT P.REG_TENANT_ID, P.REG_PATH_VALUE, R.REG_NAME, R.REG_VERSION, R.REG_CONTENT_ID, R.REG_LAST_UPDATED_TIME \
                 FROM REG_PATH P JOIN REG_RESOURCE R ON R.REG_PATH_ID = P.REG_PATH_ID AND R.REG_TENANT_ID = P.REG_TENANT_ID \
                 WHERE P.REG_PATH_VALUE = ? AND P.REG_TENANT_ID = ? AND R.REG_NAME = ? AND R.REG_CONTENT_ID IS NOT NULL \
                 ORDER BY R.REG_VERSION DESC";
    LIST_MARKS = "SELECT P.REG_TENANT_ID, P.REG_PATH_VALUE, R.REG_NAME, R.REG_VERSION, R.REG_CONTENT_ID, R.REG_LAST_UPDATED_TIME \
                  FROM REG_PATH P JOIN REG_RESOURCE R ON R.REG_PATH_ID = P.REG_PATH_ID AND R.REG_TENANT_ID = P.REG_TENANT_ID \
                  WHERE P.REG_PATH_VALUE = ? AND R.REG_NAME IS NOT NULL AND R.REG_CONTENT_ID IS NOT NULL ORDER BY R.REG_VERSION DESC";
}

/// Tells one state of a key store from another: every change makes the rows anew (database.md 6.2). The number alone might come
/// again where an engine counts from the largest that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    version: i64,
    content_id: i64,
    updated: Timestamp,
}

/// A key store as it is stored.
pub struct StoredKeyStore {
    /// Its state.
    pub mark: Mark,
    /// The file.
    pub bytes: Vec<u8>,
    /// Its properties: type, alias and the encrypted passwords.
    pub properties: BTreeMap<String, String>,
}

/// Name of a tenant's key store in the collection.
pub fn name_of(domain: &str) -> String {
    format!("{}.jks", domain.replace('.', "-"))
}

/// The present state of a tenant's key store; `None` when it has none.
pub async fn find_mark(conn: &mut Conn, tenant: TenantId, domain: &str) -> Result<Option<Mark>, StoreError> {
    let name = name_of(domain);
    let rows = conn.rows(&FIND_MARK, &[COLLECTION.into(), tenant.into(), (&name).into()]).await?;
    for row in &rows {
        // The collation may find another spelling.
        if row.text(1)? == COLLECTION && row.text(2)? == name {
            return mark(row).map(Some);
        }
    }
    Ok(None)
}

/// A tenant's key store; `None` when it has none.
pub async fn find(conn: &mut Conn, tenant: TenantId, domain: &str) -> Result<Option<StoredKeyStore>, StoreError> {
    let Some(resource) = registry::find(conn, tenant, COLLECTION, &name_of(domain)).await? else { return Ok(None) };
    let properties = registry::properties(conn, tenant, &resource).await?;
    let mark = Mark { version: resource.version, content_id: resource.content_id, updated: resource.updated };
    Ok(Some(StoredKeyStore { mark, bytes: resource.content, properties }))
}

/// The states of all tenants' key stores, by tenant and name: a tenant's collection may hold others beside its own.
pub async fn list_marks(conn: &mut Conn) -> Result<HashMap<(TenantId, String), Mark>, StoreError> {
    let mut marks = HashMap::new();
    for row in conn.rows(&LIST_MARKS, &[COLLECTION.into()]).await? {
        if row.text(1)? == COLLECTION {
            // The newest comes first.
            marks.entry((TenantId(row.int(0)?), row.text(2)?)).or_insert(mark(&row)?);
        }
    }
    Ok(marks)
}

fn mark(row: &Row) -> Result<Mark, StoreError> {
    Ok(Mark { version: row.int(3)?, content_id: row.int(4)?, updated: row.time(5)? })
}
