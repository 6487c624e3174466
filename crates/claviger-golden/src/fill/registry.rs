//! The registry's collections and each tenant's configuration (contract database.md 6).

use super::row::row;
use super::{DAY, Fill};
use anyhow::Result;

/// Collections, each after its parent.
const COLLECTIONS: &[&str] = &[
    "/",
    "/_system",
    "/_system/config",
    "/_system/governance",
    "/_system/local",
    "/_system/config/apimgt",
    "/_system/config/apimgt/applicationdata",
];
/// Where it lies.
pub(crate) const CONFIGURATION: (&str, &str) = ("/_system/config/apimgt/applicationdata", "tenant-conf.json");

/// The configuration that every tenant has here: REST scopes and their roles.
pub(crate) const TENANT_CONF: &str = r#"{"EnableMonetization":false,"RESTAPIScopes":{"Scope":[{"Name":"apim:api_create","Roles":"admin,Internal/creator"},{"Name":"apim:subscribe","Roles":"admin,Internal/subscriber"}]}}"#;

impl Fill<'_> {
    pub(super) async fn registry(&mut self) -> Result<()> {
        for tenant in self.manifest.tenants.iter().map(|tenant| tenant.id).collect::<Vec<_>>() {
            let mut paths: Vec<(&str, i64)> = Vec::new();
            for path in COLLECTIONS {
                let parent = path.rsplit_once('/').map(|(parent, _)| if parent.is_empty() { "/" } else { parent });
                let parent = paths.iter().find(|(known, _)| Some(*known) == parent && path != known).map(|(_, id)| *id);
                let collection = row("REG_PATH").set("REG_PATH_VALUE", *path).set("REG_PATH_PARENT_ID", parent);
                let id = self.reg.insert_numbered(collection.set("REG_TENANT_ID", tenant), "REG_PATH_ID").await?;
                self.resource(tenant, id, None, None).await?;
                paths.push((path, id));
            }
            let bytes = crate::db::Value::Bytes(TENANT_CONF.as_bytes().to_vec());
            let content = row("REG_CONTENT").set("REG_CONTENT_DATA", bytes).set("REG_TENANT_ID", tenant);
            let content = self.reg.insert_numbered(content, "REG_CONTENT_ID").await?;
            if let Some((_, parent)) = paths.iter().find(|(path, _)| *path == CONFIGURATION.0) {
                self.resource(tenant, *parent, Some(CONFIGURATION.1), Some(content)).await?;
            }
        }
        Ok(())
    }

    async fn resource(&mut self, tenant: i64, path: i64, name: Option<&str>, content: Option<i64>) -> Result<()> {
        let time = self.local_time(self.now - 300 * DAY);
        let resource = row("REG_RESOURCE")
            .set("REG_PATH_ID", path)
            .set("REG_NAME", name)
            .set("REG_MEDIA_TYPE", name.map(|_| "tenant-config"))
            .set("REG_CREATOR", "wso2.system.user")
            .set("REG_CREATED_TIME", time.clone())
            .set("REG_LAST_UPDATOR", "wso2.system.user")
            .set("REG_LAST_UPDATED_TIME", time)
            .set("REG_CONTENT_ID", content)
            .set("REG_TENANT_ID", tenant)
            .set("REG_UUID", self.chance.uuid());
        self.reg.insert(resource).await
    }
}
