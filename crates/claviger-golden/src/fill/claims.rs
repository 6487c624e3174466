//! A few claims with their mappings, and the scopes of OpenID Connect (contract database.md 3.9 and 5.6).

use super::Fill;
use super::row::row;
use crate::Release;
use anyhow::Result;

/// Local claim, attribute, claim of OpenID Connect, scope that gives it.
const CLAIMS: &[(&str, &str, &str, &str)] = &[
    ("http://wso2.org/claims/username", "uid", "sub", "openid"),
    ("http://wso2.org/claims/givenname", "givenName", "given_name", "profile"),
    ("http://wso2.org/claims/emailaddress", "mail", "email", "email"),
];

impl Fill<'_> {
    pub(super) async fn claims(&mut self) -> Result<()> {
        for tenant in self.manifest.tenants.iter().map(|tenant| tenant.id).collect::<Vec<_>>() {
            let mut dialects = Vec::new();
            for uri in ["http://wso2.org/claims", "http://wso2.org/oidc/claim"] {
                let dialect = row("IDN_CLAIM_DIALECT").set("DIALECT_URI", uri).set("TENANT_ID", tenant);
                dialects.push(self.idn.insert_numbered(dialect, "ID").await?);
            }
            for (local, attribute, external, scope) in CLAIMS {
                let claim = |dialect: usize, uri: &str| {
                    row("IDN_CLAIM").set("DIALECT_ID", dialects[dialect]).set("CLAIM_URI", uri).set("TENANT_ID", tenant)
                };
                let local_id = self.idn.insert_numbered(claim(0, local), "ID").await?;
                let mapped = row("IDN_CLAIM_MAPPED_ATTRIBUTE")
                    .set("LOCAL_CLAIM_ID", local_id)
                    .set("USER_STORE_DOMAIN_NAME", "PRIMARY")
                    .set("ATTRIBUTE_NAME", *attribute)
                    .set("TENANT_ID", tenant);
                self.idn.insert(mapped).await?;
                let external_id = self.idn.insert_numbered(claim(1, external), "ID").await?;
                let mapping = row("IDN_CLAIM_MAPPING").set("EXT_CLAIM_ID", external_id);
                self.idn.insert(mapping.set("MAPPED_LOCAL_CLAIM_ID", local_id).set("TENANT_ID", tenant)).await?;
                self.oidc_scope(scope, external_id, tenant).await?;
            }
        }
        Ok(())
    }

    async fn oidc_scope(&mut self, name: &str, claim: i64, tenant: i64) -> Result<()> {
        let scope = match self.release() {
            Release::V2_1 => return Ok(()),
            Release::V2_6 | Release::V3_0 => {
                let scope = row("IDN_OIDC_SCOPE").set("NAME", name).set("TENANT_ID", tenant);
                self.idn.insert_numbered(scope, "ID").await?
            }
            Release::V3_1 | Release::V3_2 => {
                let scope =
                    row("IDN_OAUTH2_SCOPE").set("NAME", name).set("DISPLAY_NAME", name).set("TENANT_ID", tenant);
                self.idn.insert_numbered(scope.set("SCOPE_TYPE", "OIDC"), "SCOPE_ID").await?
            }
        };
        let mapping = row("IDN_OIDC_SCOPE_CLAIM_MAPPING").set("SCOPE_ID", scope).set("EXTERNAL_CLAIM_ID", claim);
        self.idn.insert(mapping).await
    }
}
