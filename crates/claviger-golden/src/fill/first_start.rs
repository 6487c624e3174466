//! Rows of the creation scripts and of the first start (contract schema/seed-rows.md 1 to 6).

use super::row::row;
use super::{DAY, Fill, SUPER, TENANT};
use crate::Release;
use crate::manifest::Tenant;
use crate::options::Layout;
use anyhow::Result;

const ALERTS_2_1: &[(&str, &str)] = &[
    ("abnormalResponseTime", "publisher"),
    ("abnormalBackendTime", "publisher"),
    ("abnormalRequestsPerMin", "subscriber"),
    ("RequestPatternChanged", "subscriber"),
    ("UnusualIPAccessAlert", "subscriber"),
    ("AbnormalRefreshAlert", "subscriber"),
    ("FrequentTierHittingAlert", "subscriber"),
    ("AbnormalTierUsage", "publisher"),
    ("healthAvailabilityPerMin", "publisher"),
];
const ALERTS: &[(&str, &str)] = &[
    ("AbnormalResponseTime", "publisher"),
    ("AbnormalBackendTime", "publisher"),
    ("AbnormalRequestsPerMin", "subscriber"),
    ("AbnormalRequestPattern", "subscriber"),
    ("UnusualIPAccess", "subscriber"),
    ("FrequentTierLimitHitting", "subscriber"),
    ("ApiHealthMonitor", "publisher"),
];

const UNLIMITED: i64 = 2_147_483_647;
const APPLICATION_POLICIES: &[(&str, i64)] =
    &[("50PerMin", 50), ("20PerMin", 20), ("10PerMin", 10), ("Unlimited", UNLIMITED)];
const SUBSCRIPTION_POLICIES: &[(&str, i64)] =
    &[("Gold", 5000), ("Silver", 2000), ("Bronze", 1000), ("Unauthenticated", 500), ("Unlimited", UNLIMITED)];
const API_POLICIES: &[(&str, i64)] =
    &[("50KPerMin", 50_000), ("20KPerMin", 20_000), ("10KPerMin", 10_000), ("Unlimited", UNLIMITED)];

/// A subscription policy that only the real tenant has.
pub(super) const TENANT_POLICY: (&str, i64) = ("TenantGold", 7000);

impl Fill<'_> {
    pub(super) async fn first_start(&mut self) -> Result<()> {
        let am = self.am;
        let base = || row("IDN_BASE_TABLE").set("PRODUCT_NAME", "WSO2 Identity Server");
        am.insert(base()).await?;
        if self.options.layout == Layout::Apart {
            self.idn.insert(base()).await?;
        }
        let alerts = if self.release() == Release::V2_1 { ALERTS_2_1 } else { ALERTS };
        for (name, holder) in alerts {
            am.insert(row("AM_ALERT_TYPES").set("ALERT_TYPE_NAME", *name).set("STAKE_HOLDER", *holder)).await?;
        }
        if self.release() >= Release::V2_6 {
            let text = "For core functionalities of the product";
            let purpose = row("CM_PURPOSE").set("NAME", "DEFAULT").set("DESCRIPTION", text).set("TENANT_ID", SUPER);
            am.insert(purpose.set("PURPOSE_GROUP", "DEFAULT").set("GROUP_TYPE", "SP")).await?;
            let category = row("CM_PURPOSE_CATEGORY").set("NAME", "DEFAULT").set("DESCRIPTION", text);
            am.insert(category.set("TENANT_ID", SUPER)).await?;
        }
        self.add_tenant(SUPER, "carbon.super").await?;
        let tenant = row("UM_TENANT")
            .set("UM_DOMAIN_NAME", TENANT)
            .set("UM_EMAIL", format!("admin@{TENANT}"))
            .set("UM_ACTIVE", true)
            .set("UM_CREATED_DATE", self.local_time(self.now - 300 * DAY))
            .set("UM_USER_CONFIG", crate::db::Value::Bytes(b"<UserManager><Realm/></UserManager>".to_vec()));
        let id = self.um.insert_numbered(tenant, "UM_ID").await?;
        self.add_tenant(id, TENANT).await
    }

    async fn add_tenant(&mut self, id: i64, domain: &str) -> Result<()> {
        let provider = row("IDP")
            .set("TENANT_ID", id)
            .set("NAME", "LOCAL")
            .set("HOME_REALM_ID", "localhost")
            .set("IS_PRIMARY", "1")
            .set("IS_ENABLED", "1")
            .set("INBOUND_PROV_ENABLED", "0")
            .set("IS_FEDERATION_HUB", "0")
            .set("IS_LOCAL_CLAIM_DIALECT", "0")
            .set("CERTIFICATE", crate::db::Value::Bytes(b"[]".to_vec()))
            .optional("UUID", self.chance.uuid());
        let idp_id = self.idn.insert_numbered(provider, "ID").await?;
        let local = row("SP_APP")
            .set("TENANT_ID", id)
            .set("APP_NAME", "wso2carbon-local-sp")
            .set("USER_STORE", "PRIMARY")
            .set("USERNAME", "wso2.system.user")
            .set("AUTH_TYPE", "default")
            .optional("UUID", self.chance.uuid());
        self.idn.insert(local).await?;
        if self.release() == Release::V3_2 {
            let manager = row("AM_KEY_MANAGER")
                .set("UUID", self.chance.uuid())
                .set("NAME", "Resident Key Manager")
                .set("DISPLAY_NAME", "Resident Key Manager")
                .set("DESCRIPTION", "This is Resident Key Manager")
                .set("TYPE", "default")
                .set("CONFIGURATION", crate::db::Value::Bytes(br#"{"token_format_string":"[]"}"#.to_vec()))
                .set("ENABLED", true)
                .set("TENANT_DOMAIN", domain);
            self.am.insert(manager).await?;
        }
        self.manifest.tenants.push(Tenant { id, domain: domain.to_owned(), idp_id, key: None });
        self.policies(id).await
    }

    async fn policies(&mut self, tenant: i64) -> Result<()> {
        for (name, quota) in APPLICATION_POLICIES {
            let policy = row("AM_POLICY_APPLICATION").set("QUOTA_TYPE", "requestCount").set("QUOTA", *quota);
            let policy = policy.set("UNIT_TIME", 1).set("TIME_UNIT", "min");
            self.policy(policy, name, tenant).await?;
        }
        let own = (tenant != SUPER).then_some(TENANT_POLICY);
        for (name, quota) in SUBSCRIPTION_POLICIES.iter().copied().chain(own) {
            let policy = row("AM_POLICY_SUBSCRIPTION").set("QUOTA_TYPE", "requestCount").set("QUOTA", quota);
            let policy = policy.set("UNIT_TIME", 1).set("TIME_UNIT", "min").set("STOP_ON_QUOTA_REACH", true);
            self.policy(policy.set("BILLING_PLAN", "FREE"), name, tenant).await?;
        }
        for (name, quota) in API_POLICIES {
            let policy = row("AM_API_THROTTLE_POLICY").set("DEFAULT_QUOTA_TYPE", "requestCount");
            let policy =
                policy.set("DEFAULT_QUOTA", *quota).set("DEFAULT_UNIT_TIME", 1).set("DEFAULT_TIME_UNIT", "min");
            self.policy(policy.set("APPLICABLE_LEVEL", "apiLevel"), name, tenant).await?;
        }
        Ok(())
    }

    async fn policy(&mut self, policy: super::row::NewRow, name: &str, tenant: i64) -> Result<()> {
        let policy = policy.set("NAME", name).set("DISPLAY_NAME", name).set("TENANT_ID", tenant);
        let policy = policy.set("DESCRIPTION", format!("The tier {name}")).set("IS_DEPLOYED", true);
        self.am.insert(policy.set("UUID", self.chance.uuid())).await
    }
}
