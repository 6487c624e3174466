//! Subscriptions and scopes of a call (contract database.md 4.2 and 4.3).

use super::OldServer;
use crate::Release;
use crate::manifest::Verdict;
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};

/// What the subscription check finds for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSubscription {
    /// TIER_ID.
    pub tier: String,
    /// AM_SUBSCRIBER.USER_ID.
    pub subscriber: String,
    /// Application name.
    pub application: String,
    /// KEY_TYPE.
    pub key_type: String,
    /// SUB_STATUS.
    pub status: String,
}

impl OldServer<'_> {
    /// The subscription of a client to an API. The tier's policy is inner-joined, as with advanced throttling.
    pub async fn subscription(&self, client: &str, context: &str, version: &str) -> Result<Option<FoundSubscription>> {
        let policies = match self.release() {
            Release::V2_1 | Release::V2_6 => "u.TENANT_ID".to_owned(),
            _ => {
                let domain = context.strip_prefix("/t/").and_then(|rest| rest.split('/').next());
                let domain = domain.unwrap_or("carbon.super");
                self.tenant_id(domain).await?.with_context(|| format!("no tenant {domain}"))?.to_string()
            }
        };
        let manager = match self.release() {
            Release::V3_2 => " AND k.KEY_MANAGER = 'Resident Key Manager'",
            _ => "",
        };
        let sql = format!(
            "SELECT s.TIER_ID, u.USER_ID, a.NAME, k.KEY_TYPE, s.SUB_STATUS FROM AM_APPLICATION_KEY_MAPPING k \
             JOIN AM_APPLICATION a ON a.APPLICATION_ID = k.APPLICATION_ID \
             JOIN AM_SUBSCRIBER u ON u.SUBSCRIBER_ID = a.SUBSCRIBER_ID \
             JOIN AM_SUBSCRIPTION s ON s.APPLICATION_ID = a.APPLICATION_ID JOIN AM_API i ON i.API_ID = s.API_ID \
             JOIN AM_POLICY_SUBSCRIPTION p ON p.NAME = s.TIER_ID AND p.TENANT_ID = {policies} \
             WHERE k.CONSUMER_KEY = ? AND i.CONTEXT = ? AND i.API_VERSION = ?{manager}"
        );
        let row = self.row(self.am(), &sql, &[client.into(), context.into(), version.into()]).await?;
        let read = |row: crate::db::Row| {
            Ok(FoundSubscription {
                tier: row.text(0)?,
                subscriber: row.text(1)?,
                application: row.text(2)?,
                key_type: row.text(3)?,
                status: row.text(4)?,
            })
        };
        row.map(read).transpose()
    }

    /// May a client call an API?
    pub async fn check_subscription(&self, client: &str, context: &str, version: &str) -> Result<Verdict> {
        let Some(found) = self.subscription(client, context, version).await? else { return Ok(Verdict::Forbidden) };
        Ok(match found.status.as_str() {
            "BLOCKED" => Verdict::Blocked,
            "ON_HOLD" | "REJECTED" => Verdict::Inactive,
            "PROD_ONLY_BLOCKED" if found.key_type != "SANDBOX" => Verdict::Blocked,
            _ => Verdict::Allowed,
        })
    }

    /// Scopes that open a resource, each with its roles.
    pub async fn scopes_of_resource(&self, resource: &[String; 4]) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let [context, version, pattern, verb] = resource;
        let path = format!("{context}/{version}{pattern}:{verb}");
        let by_path = |columns: &str, join: &str| {
            format!(
                "SELECT {columns} FROM IDN_OAUTH2_RESOURCE_SCOPE r JOIN IDN_OAUTH2_SCOPE s ON s.SCOPE_ID = r.SCOPE_ID {join} \
                 WHERE r.RESOURCE_PATH = ?"
            )
        };
        let bindings = "LEFT JOIN IDN_OAUTH2_SCOPE_BINDING b ON b.SCOPE_ID = s.SCOPE_ID";
        let sql = match self.release() {
            Release::V2_1 => by_path("s.SCOPE_KEY, s.ROLES", ""),
            Release::V2_6 | Release::V3_0 => by_path("s.NAME, b.SCOPE_BINDING", bindings),
            Release::V3_1 => by_path("s.NAME, b.SCOPE_BINDING", &format!("{bindings} AND b.BINDING_TYPE = 'DEFAULT'")),
            Release::V3_2 => return self.scopes_by_row(resource).await,
        };
        let mut scopes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in self.idn().rows(&sql, &[path.into()]).await? {
            let roles = row.get(1).unwrap_or_default().split(',').map(str::trim).filter(|role| !role.is_empty());
            scopes.entry(row.text(0)?).or_default().extend(roles.map(str::to_owned));
        }
        Ok(scopes)
    }

    /// In 3.2 the names are the API Manager's, the roles its key manager's.
    async fn scopes_by_row(&self, resource: &[String; 4]) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let find = "SELECT m.SCOPE_NAME, m.TENANT_ID FROM AM_API i JOIN AM_API_URL_MAPPING u ON u.API_ID = i.API_ID \
                    JOIN AM_API_RESOURCE_SCOPE_MAPPING m ON m.URL_MAPPING_ID = u.URL_MAPPING_ID \
                    WHERE i.CONTEXT = ? AND i.API_VERSION = ? AND u.URL_PATTERN = ? AND u.HTTP_METHOD = ?";
        let arguments = resource.each_ref().map(Into::into);
        let mut scopes = BTreeMap::new();
        for row in self.am().rows(find, &arguments).await? {
            let name = row.text(0)?;
            let roles = self.scope(&name, row.int(1)?).await?.map(|(_, roles)| roles);
            scopes.insert(name, roles.unwrap_or_default());
        }
        Ok(scopes)
    }

    /// The display name and roles of a scope, by its name and tenant.
    pub async fn scope(&self, name: &str, tenant_id: i64) -> Result<Option<(String, BTreeSet<String>)>> {
        let sql = match self.release() {
            Release::V2_1 => "SELECT SCOPE_ID, NAME, ROLES FROM IDN_OAUTH2_SCOPE WHERE SCOPE_KEY = ? AND TENANT_ID = ?",
            _ => {
                "SELECT SCOPE_ID, DISPLAY_NAME, NULL FROM IDN_OAUTH2_SCOPE WHERE NAME = ? AND TENANT_ID = ? ORDER BY SCOPE_ID"
            }
        };
        let Some(row) = self.row(self.idn(), sql, &[name.into(), tenant_id.into()]).await? else { return Ok(None) };
        let listed = row.get(2).unwrap_or_default().split(',').map(str::trim).filter(|role| !role.is_empty());
        let mut roles: BTreeSet<String> = listed.map(str::to_owned).collect();
        if self.release() >= Release::V2_6 {
            let default = if self.release() >= Release::V3_1 { " AND BINDING_TYPE = 'DEFAULT'" } else { "" };
            let find = format!("SELECT SCOPE_BINDING FROM IDN_OAUTH2_SCOPE_BINDING WHERE SCOPE_ID = ?{default}");
            for row in self.idn().rows(&find, &[row.int(0)?.into()]).await? {
                roles.insert(row.text(0)?);
            }
        }
        Ok(Some((row.text(1)?, roles)))
    }
}
