//! What gateways and traffic managers are told of throttling beside the policies' own limits: AM_BLOCK_CONDITIONS,
//! AM_POLICY_GLOBAL, AM_CONDITION_GROUP and the four tables of conditions, AM_CERTIFICATE_METADATA's names (contract
//! database.md 4.4; rest-3x.md 5.4; soap-thrift-2x.md 9.1). For reading.

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Sql, queries};
use crate::value::Row;
use claviger_proto::ids::TenantId;
use std::collections::HashMap;

queries! {
    LIST_BLOCKS = "SELECT B.CONDITION_ID, B.TYPE, B.VALUE, B.ENABLED, B.DOMAIN FROM AM_BLOCK_CONDITIONS B ORDER BY B.CONDITION_ID";
    LIST_KEY_TEMPLATES = "SELECT DISTINCT KEY_TEMPLATE, TENANT_ID FROM AM_POLICY_GLOBAL ORDER BY KEY_TEMPLATE, TENANT_ID";
    LIST_GLOBAL = "SELECT POLICY_ID, NAME, KEY_TEMPLATE, SIDDHI_QUERY FROM AM_POLICY_GLOBAL WHERE TENANT_ID = ? ORDER BY POLICY_ID";
    LIST_CONDITION_GROUPS = "SELECT G.CONDITION_GROUP_ID, G.POLICY_ID, G.QUOTA_TYPE, G.QUOTA, G.QUOTA_UNIT, G.UNIT_TIME, G.TIME_UNIT \
                             FROM AM_CONDITION_GROUP G JOIN AM_API_THROTTLE_POLICY P ON P.POLICY_ID = G.POLICY_ID \
                             WHERE P.TENANT_ID = ? ORDER BY G.CONDITION_GROUP_ID";
    LIST_IP_CONDITIONS = "SELECT C.CONDITION_GROUP_ID, C.WITHIN_IP_RANGE, C.SPECIFIC_IP, C.STARTING_IP, C.ENDING_IP FROM AM_IP_CONDITION C \
                          JOIN AM_CONDITION_GROUP G ON G.CONDITION_GROUP_ID = C.CONDITION_GROUP_ID \
                          JOIN AM_API_THROTTLE_POLICY P ON P.POLICY_ID = G.POLICY_ID WHERE P.TENANT_ID = ? ORDER BY C.AM_IP_CONDITION_ID";
    LIST_HEADER_CONDITIONS = "SELECT C.CONDITION_GROUP_ID, C.IS_HEADER_FIELD_MAPPING, C.HEADER_FIELD_NAME, C.HEADER_FIELD_VALUE \
                              FROM AM_HEADER_FIELD_CONDITION C JOIN AM_CONDITION_GROUP G ON G.CONDITION_GROUP_ID = C.CONDITION_GROUP_ID \
                              JOIN AM_API_THROTTLE_POLICY P ON P.POLICY_ID = G.POLICY_ID WHERE P.TENANT_ID = ? ORDER BY C.HEADER_FIELD_ID";
    LIST_QUERY_CONDITIONS = "SELECT C.CONDITION_GROUP_ID, C.IS_PARAM_MAPPING, C.PARAMETER_NAME, C.PARAMETER_VALUE \
                             FROM AM_QUERY_PARAMETER_CONDITION C JOIN AM_CONDITION_GROUP G ON G.CONDITION_GROUP_ID = C.CONDITION_GROUP_ID \
                             JOIN AM_API_THROTTLE_POLICY P ON P.POLICY_ID = G.POLICY_ID WHERE P.TENANT_ID = ? ORDER BY C.QUERY_PARAMETER_ID";
    LIST_CLAIM_CONDITIONS = "SELECT C.CONDITION_GROUP_ID, C.IS_CLAIM_MAPPING, C.CLAIM_URI, C.CLAIM_ATTRIB FROM AM_JWT_CLAIM_CONDITION C \
                             JOIN AM_CONDITION_GROUP G ON G.CONDITION_GROUP_ID = C.CONDITION_GROUP_ID \
                             JOIN AM_API_THROTTLE_POLICY P ON P.POLICY_ID = G.POLICY_ID WHERE P.TENANT_ID = ? ORDER BY C.JWT_CLAIM_ID";
    LIST_CERTIFICATES = "SELECT ALIAS, END_POINT FROM AM_CERTIFICATE_METADATA WHERE TENANT_ID = ? ORDER BY ALIAS";
}

/// A condition under which calls are refused, that is switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockCondition {
    /// CONDITION_ID.
    pub id: i64,
    /// TYPE: `API`, `APPLICATION`, `USER`, `IP`, `IPRANGE`, `SUBSCRIPTION`, `CUSTOM`.
    pub kind: String,
    /// VALUE: a text, or JSON for `IP` and `IPRANGE` (before 3.1 a plain address).
    pub value: String,
    /// DOMAIN: the tenant's.
    pub tenant_domain: String,
}

/// A custom rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalPolicy {
    /// POLICY_ID.
    pub id: i64,
    /// NAME.
    pub name: String,
    /// KEY_TEMPLATE.
    pub key_template: String,
    /// SIDDHI_QUERY.
    pub query: Option<Vec<u8>>,
}

/// A group of conditions of an API policy, with its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionGroup {
    /// CONDITION_GROUP_ID.
    pub id: i64,
    /// POLICY_ID.
    pub policy_id: i64,
    /// `requestCount` or `bandwidthVolume`.
    pub quota_type: String,
    /// Calls or data.
    pub quota: i64,
    /// Unit of data.
    pub quota_unit: Option<String>,
    /// Length of the window in units.
    pub unit_time: i64,
    /// `min`, `hour`, ...
    pub time_unit: String,
    /// All must hold.
    pub conditions: Vec<Condition>,
}

/// What a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One address.
    Ip(String),
    /// Addresses between two, inclusive.
    IpRange(String, String),
    /// A header and its value.
    Header(String, String),
    /// A parameter of the query and its value.
    Query(String, String),
    /// A claim of the token and its value.
    Claim(String, String),
}

/// Makes the subject of a name and its value.
type Named = fn(String, String) -> Subject;

/// A condition of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What is looked at.
    pub subject: Subject,
    /// It holds when it does not fit.
    pub is_inverted: bool,
}

/// The conditions that are switched on, of every tenant. ENABLED is a word that releases spell differently.
pub async fn list_blocks(conn: &mut Conn) -> Result<Vec<BlockCondition>, StoreError> {
    let mut blocks = Vec::new();
    for row in conn.rows(&LIST_BLOCKS, &[]).await? {
        if row.opt_text(3)?.is_some_and(|word| word.trim().eq_ignore_ascii_case("true")) {
            blocks.push(BlockCondition {
                id: row.int(0)?,
                kind: row.opt_text(1)?.unwrap_or_default(),
                value: row.opt_text(2)?.unwrap_or_default(),
                tenant_domain: row.opt_text(4)?.unwrap_or_default(),
            });
        }
    }
    Ok(blocks)
}

/// The key templates of custom rules, each with its tenant.
pub async fn list_key_templates(conn: &mut Conn) -> Result<Vec<(String, TenantId)>, StoreError> {
    let rows = conn.rows(&LIST_KEY_TEMPLATES, &[]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, TenantId(row.int(1)?)))).collect()
}

/// The custom rules of a tenant.
pub async fn list_global(conn: &mut Conn, tenant: TenantId) -> Result<Vec<GlobalPolicy>, StoreError> {
    let rows = conn.rows(&LIST_GLOBAL, &[tenant.into()]).await?;
    let decode = |row: &Row| {
        Ok(GlobalPolicy { id: row.int(0)?, name: row.text(1)?, key_template: row.text(2)?, query: row.opt_bytes(3)? })
    };
    rows.iter().map(decode).collect()
}

/// The groups of conditions of a tenant's API policies, by the policy's number.
pub async fn list_condition_groups(
    conn: &mut Conn,
    tenant: TenantId,
) -> Result<HashMap<i64, Vec<ConditionGroup>>, StoreError> {
    let mut conditions: HashMap<i64, Vec<Condition>> = HashMap::new();
    let text = |row: &Row, column| Ok::<_, StoreError>(row.opt_text(column)?.unwrap_or_default());
    for row in conn.rows(&LIST_IP_CONDITIONS, &[tenant.into()]).await? {
        let subject = match row.opt_text(2)?.filter(|address| !address.is_empty()) {
            Some(address) => Subject::Ip(address),
            None => Subject::IpRange(text(&row, 3)?, text(&row, 4)?),
        };
        conditions.entry(row.int(0)?).or_default().push(Condition { subject, is_inverted: row.bool(1)? });
    }
    let named: [(&'static Sql, Named); 3] = [
        (&LIST_HEADER_CONDITIONS, Subject::Header),
        (&LIST_CLAIM_CONDITIONS, Subject::Claim),
        (&LIST_QUERY_CONDITIONS, Subject::Query),
    ];
    for (statement, subject) in named {
        for row in conn.rows(statement, &[tenant.into()]).await? {
            let condition = Condition { subject: subject(text(&row, 2)?, text(&row, 3)?), is_inverted: row.bool(1)? };
            conditions.entry(row.int(0)?).or_default().push(condition);
        }
    }
    let mut groups: HashMap<i64, Vec<ConditionGroup>> = HashMap::new();
    for row in conn.rows(&LIST_CONDITION_GROUPS, &[tenant.into()]).await? {
        let id = row.int(0)?;
        let group = ConditionGroup {
            id,
            policy_id: row.int(1)?,
            quota_type: text(&row, 2)?,
            quota: row.int(3)?,
            quota_unit: row.opt_text(4)?,
            unit_time: row.int(5)?,
            time_unit: row.text(6)?,
            conditions: conditions.remove(&id).unwrap_or_default(),
        };
        groups.entry(group.policy_id).or_default().push(group);
    }
    Ok(groups)
}

/// Backends whose certificates were uploaded, each as (alias, endpoint). The certificates themselves are in the old server's
/// key store.
pub async fn list_certificates(conn: &mut Conn, tenant: TenantId) -> Result<Vec<(String, String)>, StoreError> {
    let rows = conn.rows(&LIST_CERTIFICATES, &[tenant.into()]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
}
