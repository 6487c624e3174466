//! Claims and the attributes of users that they stand for (contract database.md 5.6; users-ldap.md 3.6).

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use claviger_proto::ids::TenantId;
use claviger_proto::user::PRIMARY;
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
    /// The user store's attribute, else the default one, else that of the primary store.
    pub attribute: Option<String>,
}

/// Claims of a dialect that a tenant has stored, with the attributes that they have in the user store of a domain.
pub async fn list(conn: &mut Conn, tenant: TenantId, domain: &str, dialect: &str) -> Result<Vec<Claim>, StoreError> {
    // Of each claim the store's attribute, the default one, the primary store's.
    let mut claims: BTreeMap<String, (String, [Option<String>; 3])> = BTreeMap::new();
    for row in conn.rows(&LIST_MAPPINGS, &[dialect.into(), tenant.into()]).await? {
        if row.text(0)? != dialect {
            continue;
        }
        let (uri, local) = (row.text(1)?, row.text(2)?);
        let of = row.opt_text(3)?.unwrap_or_default();
        let (_, [own, default, primary]) = claims.entry(uri).or_insert((local, [None, None, None]));
        // One row for each user store of the claim.
        *default = row.opt_text(5)?;
        if of.eq_ignore_ascii_case(domain) {
            *own = row.opt_text(4)?;
        } else if of.eq_ignore_ascii_case(PRIMARY) {
            *primary = row.opt_text(4)?;
        }
    }
    let claim = |(uri, (local, attributes)): (String, (String, [Option<String>; 3]))| {
        let attribute = attributes.into_iter().flatten().next();
        Claim { uri, local, attribute }
    };
    Ok(claims.into_iter().map(claim).collect())
}

/// Attributes of a user, by number, of the store behind the connection.
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
