//! The throttling policies and key managers of a tenant, for reading: AM_POLICY_APPLICATION, AM_POLICY_SUBSCRIPTION,
//! AM_API_THROTTLE_POLICY, AM_KEY_MANAGER (contract database.md 4.4, 6.6; portal-gateway-3x.md 2.6).

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use crate::value::Row;
use claviger_proto::ids::TenantId;
use std::collections::HashMap;

queries! {
    LIST_APPLICATION = "SELECT NAME, DISPLAY_NAME, DESCRIPTION, QUOTA_TYPE, QUOTA, QUOTA_UNIT, UNIT_TIME, TIME_UNIT, UUID, POLICY_ID, CUSTOM_ATTRIBUTES \
                        FROM AM_POLICY_APPLICATION WHERE TENANT_ID = ? ORDER BY POLICY_ID";
    LIST_SUBSCRIPTION = "SELECT NAME, DISPLAY_NAME, DESCRIPTION, QUOTA_TYPE, QUOTA, QUOTA_UNIT, UNIT_TIME, TIME_UNIT, UUID, POLICY_ID, \
                         CUSTOM_ATTRIBUTES, BILLING_PLAN, STOP_ON_QUOTA_REACH, RATE_LIMIT_COUNT, RATE_LIMIT_TIME_UNIT, MAX_COMPLEXITY, MAX_DEPTH FROM AM_POLICY_SUBSCRIPTION WHERE TENANT_ID = ? ORDER BY POLICY_ID";
    LIST_API = "SELECT NAME, DISPLAY_NAME, DESCRIPTION, DEFAULT_QUOTA_TYPE, DEFAULT_QUOTA, DEFAULT_QUOTA_UNIT, DEFAULT_UNIT_TIME, \
                DEFAULT_TIME_UNIT, UUID, POLICY_ID, APPLICABLE_LEVEL FROM AM_API_THROTTLE_POLICY WHERE TENANT_ID = ? ORDER BY POLICY_ID";
    LIST_KEY_MANAGERS = "SELECT UUID, NAME, DISPLAY_NAME, DESCRIPTION, TYPE, CONFIGURATION, ENABLED FROM AM_KEY_MANAGER WHERE TENANT_DOMAIN = ? \
                         ORDER BY NAME";
    LIST_KEY_MANAGER_NAMES = "SELECT UUID, NAME FROM AM_KEY_MANAGER";
}

/// The three kinds of policies that the portals show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// AM_POLICY_APPLICATION.
    Application,
    /// AM_POLICY_SUBSCRIPTION.
    Subscription,
    /// AM_API_THROTTLE_POLICY.
    Api,
}

/// A policy's default limit and texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// POLICY_ID.
    pub id: i64,
    /// NAME.
    pub name: String,
    /// DISPLAY_NAME.
    pub display_name: Option<String>,
    /// DESCRIPTION.
    pub description: Option<String>,
    /// `requestCount` or `bandwidthVolume`.
    pub quota_type: String,
    /// The limit: calls or data.
    pub quota: i64,
    /// Unit of data.
    pub quota_unit: Option<String>,
    /// Length of the window in units.
    pub unit_time: i64,
    /// `min`, `hour`, ...
    pub time_unit: String,
    /// UUID.
    pub uuid: Option<String>,
    /// Custom attributes, JSON.
    pub attributes: Option<Vec<u8>>,
    /// `FREE` or `COMMERCIAL`; of subscription policies.
    pub billing_plan: Option<String>,
    /// Refuse calls past the quota; of subscription policies.
    pub is_stopping_on_quota: bool,
    /// Spike arrest and the bounds of GraphQL queries; of subscription policies.
    pub bounds: SubscriptionBounds,
    /// `apiLevel` or `userLevel`; of API policies.
    pub applicable_level: Option<String>,
}

/// What only subscription policies bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionBounds {
    /// RATE_LIMIT_COUNT: calls in a unit of time, beside the quota.
    pub rate_count: Option<i64>,
    /// RATE_LIMIT_TIME_UNIT: `sec` or `min`.
    pub rate_time_unit: Option<String>,
    /// MAX_COMPLEXITY of a GraphQL query; 0: none.
    pub complexity_max: i64,
    /// MAX_DEPTH of a GraphQL query; 0: none.
    pub depth_max: i64,
}

/// A key manager of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyManager {
    /// UUID.
    pub uuid: String,
    /// NAME.
    pub name: String,
    /// DISPLAY_NAME.
    pub display_name: Option<String>,
    /// DESCRIPTION.
    pub description: Option<String>,
    /// TYPE.
    pub kind: Option<String>,
    /// CONFIGURATION, JSON.
    pub configuration: Option<Vec<u8>>,
    /// ENABLED.
    pub is_enabled: bool,
}

/// The policies of a tenant on one level.
pub async fn list(conn: &mut Conn, tenant: TenantId, level: Level) -> Result<Vec<Policy>, StoreError> {
    let statement = match level {
        Level::Application => &LIST_APPLICATION,
        Level::Subscription => &LIST_SUBSCRIPTION,
        Level::Api => &LIST_API,
    };
    let rows = conn.rows(statement, &[tenant.into()]).await?;
    rows.iter().map(|row| decode(row, level)).collect()
}

fn decode(row: &Row, level: Level) -> Result<Policy, StoreError> {
    let is_subscription = level == Level::Subscription;
    let bounds = if is_subscription {
        SubscriptionBounds {
            rate_count: row.opt_int(13)?,
            rate_time_unit: row.opt_text(14)?,
            complexity_max: row.opt_int(15)?.unwrap_or(0),
            depth_max: row.opt_int(16)?.unwrap_or(0),
        }
    } else {
        SubscriptionBounds::default()
    };
    Ok(Policy {
        id: row.int(9)?,
        name: row.text(0)?,
        display_name: row.opt_text(1)?,
        description: row.opt_text(2)?,
        quota_type: row.text(3)?,
        quota: row.int(4)?,
        quota_unit: row.opt_text(5)?,
        unit_time: row.int(6)?,
        time_unit: row.text(7)?,
        uuid: row.opt_text(8)?,
        attributes: if level == Level::Api { None } else { row.opt_bytes(10)? },
        billing_plan: if is_subscription { row.opt_text(11)? } else { None },
        is_stopping_on_quota: is_subscription && row.bool(12)?,
        bounds,
        applicable_level: if level == Level::Api { row.opt_text(10)? } else { None },
    })
}

/// The key managers of a tenant.
pub async fn list_key_managers(conn: &mut Conn, tenant_domain: &str) -> Result<Vec<KeyManager>, StoreError> {
    let rows = conn.rows(&LIST_KEY_MANAGERS, &[tenant_domain.into()]).await?;
    let decode = |row: &Row| {
        Ok(KeyManager {
            uuid: row.text(0)?,
            name: row.opt_text(1)?.unwrap_or_default(),
            display_name: row.opt_text(2)?,
            description: row.opt_text(3)?,
            kind: row.opt_text(4)?,
            configuration: row.opt_bytes(5)?,
            is_enabled: row.bool(6)?,
        })
    };
    rows.iter().map(decode).collect()
}

/// The names of all key managers by their UUIDs: key mappings name a key manager by either (database.md 2.5).
pub async fn list_key_manager_names(conn: &mut Conn) -> Result<HashMap<String, String>, StoreError> {
    let rows = conn.rows(&LIST_KEY_MANAGER_NAMES, &[]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.opt_text(1)?.unwrap_or_default()))).collect()
}
