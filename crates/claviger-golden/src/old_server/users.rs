//! Users, roles and permissions (contract database.md 5, users-ldap.md 3.3).

use super::OldServer;
use crate::Release;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// A one-time password is good for a day (database.md 5.1).
const ONE_TIME_MS: i64 = 24 * 3600 * 1000;
const EVERYONE: &str = "Internal/everyone";

impl OldServer<'_> {
    /// May the user of the primary store log in with that password?
    pub async fn check_password(&self, name: &str, tenant_id: i64, password: &str, now_ms: i64) -> Result<bool> {
        let find = "SELECT UM_USER_NAME, UM_USER_PASSWORD, UM_SALT_VALUE, UM_REQUIRE_CHANGE, UM_CHANGED_TIME \
                    FROM UM_USER WHERE UM_USER_NAME = ? AND UM_TENANT_ID = ?";
        for row in self.um().rows(find, &[name.into(), tenant_id.into()]).await? {
            let is_right =
                self.options.password_form.column(password, row.get(2).unwrap_or_default()) == row.text(1)?;
            let changed = self.options.local_clock.instant_ms(&row.text(4)?);
            let is_over = row.bool(3)? && changed.is_none_or(|changed| now_ms - changed > ONE_TIME_MS);
            if row.text(0)? == name && is_right && !is_over {
                return Ok(!self.is_barred(name, tenant_id, now_ms).await?);
            }
        }
        Ok(false)
    }

    /// Is the account of a user of the primary store locked or disabled (users-ldap.md 3.8)? 5.3 asks the user's attributes.
    async fn is_barred(&self, name: &str, tenant_id: i64, now_ms: i64) -> Result<bool> {
        let facts = if self.options.release == Release::V2_1 {
            self.attributes(name, tenant_id).await?
        } else {
            let find = "SELECT DATA_KEY, DATA_VALUE FROM IDN_IDENTITY_USER_DATA WHERE TENANT_ID = ? AND USER_NAME = ?";
            let rows = self.idn().rows(find, &[tenant_id.into(), name.into()]).await?;
            rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<_>>()?
        };
        let fact = |names: [&str; 2]| {
            names.iter().find_map(|name| {
                facts.get(*name).or_else(|| facts.get(&format!("http://wso2.org/claims/identity/{name}")))
            })
        };
        let is_true = |names| fact(names).is_some_and(|value| value == "true");
        let end = fact(["unlockTime"; 2]).map_or(Ok(0), |value| value.parse::<i64>())?;
        let is_locked = is_true(["accountLocked", "accountLock"]) && (end == 0 || now_ms < end);
        Ok(is_locked || is_true(["accountDisabled"; 2]))
    }

    /// A user's UM_USER_ID (from 3.1 on), by name.
    pub async fn user_uuid(&self, name: &str, tenant_id: i64) -> Result<Option<String>> {
        let find = "SELECT UM_USER_ID FROM UM_USER WHERE UM_USER_NAME = ? AND UM_TENANT_ID = ?";
        let row = self.row(self.um(), find, &[name.into(), tenant_id.into()]).await?;
        row.map(|row| Ok(row.text(0)?.trim_end().to_owned())).transpose()
    }

    /// A user's attributes of the default profile.
    pub async fn attributes(&self, name: &str, tenant_id: i64) -> Result<BTreeMap<String, String>> {
        let find = "SELECT a.UM_ATTR_NAME, a.UM_ATTR_VALUE FROM UM_USER_ATTRIBUTE a \
                    JOIN UM_USER u ON u.UM_ID = a.UM_USER_ID AND u.UM_TENANT_ID = a.UM_TENANT_ID \
                    WHERE u.UM_USER_NAME = ? AND u.UM_TENANT_ID = ? AND a.UM_PROFILE_ID = 'default'";
        let rows = self.um().rows(find, &[name.into(), tenant_id.into()]).await?;
        rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
    }

    /// A user's roles, `Internal/everyone` among them.
    pub async fn roles(&self, name: &str, store: &str, tenant_id: i64) -> Result<BTreeSet<String>> {
        let hybrid = "SELECT r.UM_ROLE_NAME FROM UM_HYBRID_USER_ROLE ur \
                      JOIN UM_HYBRID_ROLE r ON r.UM_ID = ur.UM_ROLE_ID AND r.UM_TENANT_ID = ur.UM_TENANT_ID \
                      JOIN UM_DOMAIN d ON d.UM_DOMAIN_ID = ur.UM_DOMAIN_ID AND d.UM_TENANT_ID = ur.UM_TENANT_ID \
                      WHERE ur.UM_USER_NAME = ? AND ur.UM_TENANT_ID = ? AND d.UM_DOMAIN_NAME = ?";
        let primary = "SELECT r.UM_ROLE_NAME FROM UM_USER_ROLE ur \
                       JOIN UM_ROLE r ON r.UM_ID = ur.UM_ROLE_ID AND r.UM_TENANT_ID = ur.UM_TENANT_ID \
                       JOIN UM_USER u ON u.UM_ID = ur.UM_USER_ID AND u.UM_TENANT_ID = ur.UM_TENANT_ID \
                       WHERE u.UM_USER_NAME = ? AND u.UM_TENANT_ID = ?";
        let mut roles = BTreeSet::from([EVERYONE.to_owned()]);
        for row in self.um().rows(hybrid, &[name.into(), tenant_id.into(), store.into()]).await? {
            let role = row.text(0)?;
            roles.insert(if role.contains('/') { role } else { format!("Internal/{role}") });
        }
        if store == "PRIMARY" {
            for row in self.um().rows(primary, &[name.into(), tenant_id.into()]).await? {
                roles.insert(row.text(0)?);
            }
        }
        Ok(roles)
    }

    /// Does one of the user's roles give the permission? Per role the deepest word on the path decides, and of two words on
    /// one node the denial.
    pub async fn is_permitted(&self, name: &str, store: &str, tenant_id: i64, permission: &str) -> Result<bool> {
        let find = "SELECT p.UM_RESOURCE_ID, rp.UM_IS_ALLOWED FROM UM_ROLE_PERMISSION rp \
                    JOIN UM_PERMISSION p ON p.UM_ID = rp.UM_PERMISSION_ID AND p.UM_TENANT_ID = rp.UM_TENANT_ID \
                    JOIN UM_DOMAIN d ON d.UM_DOMAIN_ID = rp.UM_DOMAIN_ID AND d.UM_TENANT_ID = rp.UM_TENANT_ID \
                    WHERE rp.UM_ROLE_NAME = ? AND d.UM_DOMAIN_NAME = ? AND rp.UM_TENANT_ID = ? AND p.UM_ACTION = 'ui.execute'";
        for role in self.roles(name, store, tenant_id).await? {
            let (domain, short) = role.split_once('/').unwrap_or(("PRIMARY", &role));
            let domain = domain.to_uppercase();
            let mut deepest: Option<(usize, bool)> = None;
            for row in self.um().rows(find, &[short.into(), domain.into(), tenant_id.into()]).await? {
                let (resource, is_allowed) = (row.text(0)?.to_lowercase(), row.bool(1)?);
                if permission != resource && !permission.starts_with(&format!("{resource}/")) {
                    continue;
                }
                deepest = Some(match deepest {
                    Some((depth, word)) if depth > resource.len() => (depth, word),
                    Some((depth, word)) if depth == resource.len() => (depth, word && is_allowed),
                    _ => (resource.len(), is_allowed),
                });
            }
            if deepest.is_some_and(|(_, is_allowed)| is_allowed) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
