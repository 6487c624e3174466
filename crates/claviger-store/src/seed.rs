//! The first rows of a database we create, and of each tenant (contract schema/seed-rows.md).

use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use crate::{schema, users};
use claviger_proto::entropy::{Entropy, uuid};
use claviger_proto::ids::TenantId;

queries! {
    INSERT_BASE = "INSERT INTO IDN_BASE_TABLE (PRODUCT_NAME) VALUES ('WSO2 Identity Server')";
    INSERT_PURPOSE = "INSERT INTO CM_PURPOSE (NAME, DESCRIPTION, PURPOSE_GROUP, GROUP_TYPE, TENANT_ID) VALUES ('DEFAULT', ?, 'DEFAULT', 'SP', -1234)";
    INSERT_PURPOSE_CATEGORY = "INSERT INTO CM_PURPOSE_CATEGORY (NAME, DESCRIPTION, TENANT_ID) VALUES ('DEFAULT', ?, -1234)";
    INSERT_ALERT_TYPE = "INSERT INTO AM_ALERT_TYPES (ALERT_TYPE_NAME, STAKE_HOLDER) VALUES (?, ?)";
    FIND_ALERT_TYPE = "SELECT ALERT_TYPE_ID FROM AM_ALERT_TYPES LIMIT 1";
    INSERT_IDP = "INSERT INTO IDP (TENANT_ID, NAME, HOME_REALM_ID, IS_PRIMARY, IS_ENABLED, INBOUND_PROV_ENABLED, IS_FEDERATION_HUB, \
                  IS_LOCAL_CLAIM_DIALECT, CERTIFICATE[idp_uuid:, UUID]) VALUES (?, 'LOCAL', ?, '1', '1', '0', '0', '0', ?[idp_uuid:, ?])";
    FIND_IDP = "SELECT ID FROM IDP WHERE TENANT_ID = ? AND NAME = 'LOCAL'";
    INSERT_APPLICATION_POLICY = "INSERT INTO AM_POLICY_APPLICATION (NAME, DISPLAY_NAME, TENANT_ID, DESCRIPTION, QUOTA_TYPE, QUOTA, UNIT_TIME, \
                                 TIME_UNIT, IS_DEPLOYED, UUID) VALUES (?, ?, ?, ?, 'requestCount', ?, 1, 'min', ?, ?)";
    INSERT_SUBSCRIPTION_POLICY = "INSERT INTO AM_POLICY_SUBSCRIPTION (NAME, DISPLAY_NAME, TENANT_ID, DESCRIPTION, QUOTA_TYPE, QUOTA, UNIT_TIME, \
                                  TIME_UNIT, IS_DEPLOYED, UUID, STOP_ON_QUOTA_REACH, BILLING_PLAN) \
                                  VALUES (?, ?, ?, ?, 'requestCount', ?, 1, 'min', ?, ?, ?, 'FREE')";
    INSERT_API_POLICY = "INSERT INTO AM_API_THROTTLE_POLICY (NAME, DISPLAY_NAME, TENANT_ID, DESCRIPTION, DEFAULT_QUOTA_TYPE, DEFAULT_QUOTA, \
                         DEFAULT_UNIT_TIME, DEFAULT_TIME_UNIT, APPLICABLE_LEVEL, IS_DEPLOYED, UUID) \
                         VALUES (?, ?, ?, ?, 'requestCount', ?, 1, 'min', 'apiLevel', ?, ?)";
    FIND_UNLIMITED = "SELECT POLICY_ID FROM AM_POLICY_APPLICATION WHERE NAME = 'Unlimited' AND TENANT_ID = ?";
    INSERT_KEY_MANAGER = "INSERT INTO AM_KEY_MANAGER (UUID, NAME, DISPLAY_NAME, DESCRIPTION, TYPE, CONFIGURATION, ENABLED, TENANT_DOMAIN) \
                          VALUES (?, 'Resident Key Manager', 'Resident Key Manager', 'This is Resident Key Manager', 'default', ?, ?, ?)";
    FIND_KEY_MANAGER = "SELECT UUID FROM AM_KEY_MANAGER WHERE NAME = 'Resident Key Manager' AND TENANT_DOMAIN = ?";
}

/// "Unlimited" in the policy tables.
pub const UNLIMITED: i64 = 2_147_483_647;

const APPLICATION_POLICIES: &[(&str, i64)] =
    &[("50PerMin", 50), ("20PerMin", 20), ("10PerMin", 10), ("Unlimited", UNLIMITED)];
const SUBSCRIPTION_POLICIES: &[(&str, i64)] =
    &[("Gold", 5000), ("Silver", 2000), ("Bronze", 1000), ("Unauthenticated", 500), ("Unlimited", UNLIMITED)];
const API_POLICIES: &[(&str, i64)] =
    &[("50KPerMin", 50_000), ("20KPerMin", 20_000), ("10KPerMin", 10_000), ("Unlimited", UNLIMITED)];
const ALERT_TYPES: &[(&str, &str)] = &[
    ("AbnormalResponseTime", "publisher"),
    ("AbnormalBackendTime", "publisher"),
    ("AbnormalRequestsPerMin", "subscriber"),
    ("AbnormalRequestPattern", "subscriber"),
    ("UnusualIPAccess", "subscriber"),
    ("FrequentTierLimitHitting", "subscriber"),
    ("ApiHealthMonitor", "publisher"),
];
/// Roles that API-M makes on tenant load, with the permission that gives each its meaning (portal-gateway-3x.md 1.4).
const PORTAL_ROLES: &[(&str, &[&str])] = &[
    ("creator", &["/permission/admin/login", "/permission/admin/manage/api/create"]),
    ("publisher", &["/permission/admin/login", "/permission/admin/manage/api/publish"]),
    ("subscriber", &["/permission/admin/login", "/permission/admin/manage/api/subscribe"]),
    ("devops", &["/permission/admin/login"]),
];

/// Rows that the creation scripts of the old server insert. With them the database counts as set up.
pub async fn database(conn: &mut Conn) -> Result<(), StoreError> {
    conn.execute(&INSERT_BASE, &[]).await?;
    conn.execute(&INSERT_PURPOSE, &["For core functionalities of the product".into()]).await?;
    conn.execute(&INSERT_PURPOSE_CATEGORY, &["For core functionalities of the product".into()]).await?;
    // They may stand in a database that was committed by itself.
    let are_alerts_there = conn.row(&FIND_ALERT_TYPE, &[]).await?.is_some();
    for (name, stake_holder) in ALERT_TYPES.iter().filter(|_| !are_alerts_there) {
        conn.execute(&INSERT_ALERT_TYPE, &[(*name).into(), (*stake_holder).into()]).await?;
    }
    schema::finish(conn).await
}

/// A tenant's identity.
#[derive(Clone, Debug)]
pub struct TenantSeed {
    /// Its id.
    pub id: TenantId,
    /// Its domain.
    pub domain: String,
    /// Name of the administrator role (`admin`).
    pub admin_role: String,
    /// Host name for the resident identity provider.
    pub host: String,
}

/// Completes the rows of tables that were there: where scripts made them and no server was ever started, all that a first start
/// writes; else only what an old server cannot do without.
pub async fn found(conn: &mut Conn, seed: &TenantSeed, rng: &dyn Entropy) -> Result<(), StoreError> {
    if users::has_domain(conn, seed.id, "PRIMARY").await? {
        return resident_idp(conn, seed.id, &seed.host, rng).await.map(|_| ());
    }
    tenant(conn, seed, rng).await
}

/// Rows that the old server writes when a tenant is first used. Rows that are there stay as they are.
pub async fn tenant(conn: &mut Conn, seed: &TenantSeed, rng: &dyn Entropy) -> Result<(), StoreError> {
    let id = seed.id;
    for domain in ["PRIMARY", "INTERNAL", "APPLICATION", "WORKFLOW"] {
        users::ensure_domain(conn, id, domain).await?;
    }
    users::ensure_hybrid_role(conn, id, "everyone").await?;
    // A role that is there keeps the permissions that somebody gave it, or took away.
    if !users::has_role(conn, id, &seed.admin_role).await? {
        users::ensure_role(conn, id, &seed.admin_role).await?;
        let root = if id == TenantId::SUPER { "/permission" } else { "/permission/admin" };
        users::grant(conn, id, "PRIMARY", &seed.admin_role, root).await?;
    }
    for (role, permissions) in PORTAL_ROLES {
        if !users::has_hybrid_role(conn, id, role).await? {
            users::ensure_hybrid_role(conn, id, role).await?;
            for permission in *permissions {
                users::grant(conn, id, "INTERNAL", role, permission).await?;
            }
        }
    }
    resident_idp(conn, id, &seed.host, rng).await?;
    if conn.capabilities().has(Capability::Api) {
        policies(conn, id, rng).await?;
    }
    if !conn.capabilities().has(Capability::KeyManager) {
        return Ok(());
    }
    if conn.row(&FIND_KEY_MANAGER, &[(&seed.domain).into()]).await?.is_none() {
        let configuration: &[u8] = br#"{"token_format_string":"[]"}"#;
        let id = uuid(rng);
        let args = [(&id).into(), configuration.into(), true.into(), (&seed.domain).into()];
        conn.execute(&INSERT_KEY_MANAGER, &args).await?;
    }
    Ok(())
}

/// The resident identity provider of a tenant; true when it was made now. From 3.0 on an old server does not see tokens
/// without it (database.md 3.3).
pub async fn resident_idp(
    conn: &mut Conn,
    tenant: TenantId,
    host: &str,
    rng: &dyn Entropy,
) -> Result<bool, StoreError> {
    if conn.row(&FIND_IDP, &[tenant.into()]).await?.is_some() {
        return Ok(false);
    }
    let certificates: &[u8] = b"[]";
    let inserted =
        conn.execute(&INSERT_IDP, &[tenant.into(), host.into(), certificates.into(), (&uuid(rng)).into()]).await;
    inserted.map_err(StoreError::or_repeat)?;
    Ok(true)
}

/// Default throttling policies. The presence of `Unlimited` stops the seeding for a tenant.
async fn policies(conn: &mut Conn, tenant: TenantId, rng: &dyn Entropy) -> Result<(), StoreError> {
    if conn.row(&FIND_UNLIMITED, &[tenant.into()]).await?.is_some() {
        return Ok(());
    }
    let describe = |quota: i64| match quota {
        UNLIMITED => "Allows unlimited requests".to_owned(),
        quota => format!("Allows {quota} requests per minute"),
    };
    for (policies, insert) in [(APPLICATION_POLICIES, &INSERT_APPLICATION_POLICY), (API_POLICIES, &INSERT_API_POLICY)] {
        for (name, quota) in policies {
            let (text, id) = (describe(*quota), uuid(rng));
            let args = [
                (*name).into(),
                (*name).into(),
                tenant.into(),
                (&text).into(),
                (*quota).into(),
                true.into(),
                (&id).into(),
            ];
            conn.execute(insert, &args).await?;
        }
    }
    for (name, quota) in SUBSCRIPTION_POLICIES {
        let (text, id) = (describe(*quota), uuid(rng));
        let args = [
            (*name).into(),
            (*name).into(),
            tenant.into(),
            (&text).into(),
            (*quota).into(),
            true.into(),
            (&id).into(),
            true.into(),
        ];
        conn.execute(&INSERT_SUBSCRIPTION_POLICY, &args).await?;
    }
    Ok(())
}
