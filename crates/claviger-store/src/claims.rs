//! Claims and the attributes of users that they stand for (contract database.md 5.6; users-ldap.md 3.6).

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use claviger_proto::ids::TenantId;
use std::collections::BTreeMap;

queries! {
    LIST_MAPPINGS = "SELECT D.DIALECT_URI, C.CLAIM_URI, L.CLAIM_URI, A.USER_STORE_DOMAIN_NAME, A.ATTRIBUTE_NAME, P.PROPERTY_VALUE \
                     FROM IDN_CLAIM_DIALECT D JOIN IDN_CLAIM C ON C.DIALECT_ID = D.ID \
                     LEFT JOIN IDN_CLAIM_MAPPING M ON M.EXT_CLAIM_ID = C.ID \
                     JOIN IDN_CLAIM L ON L.ID = COALESCE(M.MAPPED_LOCAL_CLAIM_ID, C.ID) \
                     LEFT JOIN IDN_CLAIM_MAPPED_ATTRIBUTE A ON A.LOCAL_CLAIM_ID = L.ID \
                     LEFT JOIN IDN_CLAIM_PROPERTY P ON P.LOCAL_CLAIM_ID = L.ID AND P.PROPERTY_NAME = 'DefaultAttribute' \
                     WHERE D.DIALECT_URI = ? AND D.TENANT_ID = ? ORDER BY C.ID LIMIT 5000";
    LIST_ATTRIBUTES = "SELECT UM_ATTR_NAME, UM_ATTR_VALUE FROM UM_USER_ATTRIBUTE \
                       WHERE UM_USER_ID = ? AND UM_TENANT_ID = ? AND UM_PROFILE_ID = 'default' ORDER BY UM_ID LIMIT 5000";
}

/// A claim of a dialect with what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its URI in the dialect.
    pub uri: String,
    /// URI of the local claim that it stands for; the same in the local dialect.
    pub local: String,
    /// Attribute of the primary user store, else the default one.
    pub attribute: Option<String>,
}

/// Claims of a dialect that a tenant has stored, with the attributes that they have in the primary user store.
pub async fn list(conn: &mut Conn, tenant: TenantId, dialect: &str) -> Result<Vec<Claim>, StoreError> {
    let mut claims: BTreeMap<String, Claim> = BTreeMap::new();
    for row in conn.rows(&LIST_MAPPINGS, &[dialect.into(), tenant.into()]).await? {
        if row.text(0)? != dialect {
            continue;
        }
        let (uri, local) = (row.text(1)?, row.text(2)?);
        let is_primary = row.opt_text(3)?.is_some_and(|domain| domain.eq_ignore_ascii_case("PRIMARY"));
        let own = row.opt_text(4)?.filter(|_| is_primary);
        let default = row.opt_text(5)?;
        let claim = claims.entry(uri.clone()).or_insert(Claim { uri, local, attribute: default });
        // One row for each user store of the claim.
        claim.attribute = own.or_else(|| claim.attribute.take());
    }
    Ok(claims.into_values().collect())
}

/// Attributes of a user of the primary store, by number.
pub async fn list_attributes(
    conn: &mut Conn,
    tenant: TenantId,
    user: i64,
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut attributes = BTreeMap::new();
    for row in conn.rows(&LIST_ATTRIBUTES, &[user.into(), tenant.into()]).await? {
        if let Some(value) = row.opt_text(1)? {
            attributes.entry(row.text(0)?).or_insert(value);
        }
    }
    Ok(attributes)
}
