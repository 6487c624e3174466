//! The registry's collections and each tenant's configuration (contract database.md 6).

use super::row::row;
use super::{DAY, Fill, SUPER, TENANT};
use crate::Release;
use crate::manifest::TenantKey;
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
    "/_system/governance/repository",
    "/_system/governance/repository/security",
    KEY_STORES,
];
/// Key stores of tenants.
const KEY_STORES: &str = "/_system/governance/repository/security/key-stores";
/// Where it lies.
pub(crate) const CONFIGURATION: (&str, &str) = ("/_system/config/apimgt/applicationdata", "tenant-conf.json");

/// The key store of the tenant, and its password.
const KEY_STORE: &[u8] = include_bytes!("fixtures/example-com.jks");
const KEY_STORE_PASSWORD: &str = "tenant-store-secret";
/// Its key, as other tools took it out.
const KEY: TenantKey = TenantKey {
    certificate: include_bytes!("fixtures/example-com.cer"),
    public: include_bytes!("fixtures/example-com.pub"),
};

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
            let parent_of = |wanted: &str| paths.iter().find(|(path, _)| *path == wanted).map(|(_, parent)| *parent);
            if let Some(parent) = parent_of(CONFIGURATION.0) {
                self.resource(tenant, parent, Some((CONFIGURATION.1, "tenant-config")), Some(content)).await?;
            }
            if let (Some(parent), true) = (parent_of(KEY_STORES), tenant != SUPER) {
                self.key_store(tenant, parent).await?;
            }
        }
        Ok(())
    }

    /// The key store that is made with a tenant (configuration.md 4.3), where the installation's key is known: it encrypts the
    /// passwords, whatever form tokens have.
    async fn key_store(&mut self, tenant: i64, collection: i64) -> Result<()> {
        let Some(cipher) = self.options.cipher.clone() else { return Ok(()) };
        let bytes = crate::db::Value::Bytes(KEY_STORE.to_vec());
        let content = row("REG_CONTENT").set("REG_CONTENT_DATA", bytes).set("REG_TENANT_ID", tenant);
        let content = self.reg.insert_numbered(content, "REG_CONTENT_ID").await?;
        let name = format!("{}.jks", TENANT.replace('.', "-"));
        let version =
            self.resource(tenant, collection, Some((&name, "application/octet-stream")), Some(content)).await?;
        let password = cipher.encrypt(self.release(), KEY_STORE_PASSWORD);
        let key_password = cipher.encrypt(self.release(), KEY_STORE_PASSWORD);
        let properties = [
            ("password", password.as_str()),
            ("privatekeyPass", &key_password),
            ("privatekeyAlias", TENANT),
            ("type", "JKS"),
        ];
        for (property, value) in properties {
            let text =
                row("REG_PROPERTY").set("REG_NAME", property).set("REG_VALUE", value).set("REG_TENANT_ID", tenant);
            let id = self.reg.insert_numbered(text, "REG_ID").await?;
            let link = row("REG_RESOURCE_PROPERTY").set("REG_PROPERTY_ID", id).set("REG_TENANT_ID", tenant);
            // `versioningProperties` of registry.xml (database.md 6.2).
            let link = if self.release() <= Release::V2_6 {
                link.set("REG_VERSION", version)
            } else {
                link.set("REG_PATH_ID", collection).set("REG_RESOURCE_NAME", name.as_str())
            };
            self.reg.insert(link).await?;
        }
        for known in self.manifest.tenants.iter_mut().filter(|known| known.id == tenant) {
            known.key = Some(KEY);
        }
        Ok(())
    }

    /// A resource, with its name and media type, or a collection. Gives its REG_VERSION.
    async fn resource(
        &mut self,
        tenant: i64,
        path: i64,
        named: Option<(&str, &str)>,
        content: Option<i64>,
    ) -> Result<i64> {
        let time = self.local_time(self.now - 300 * DAY);
        let resource = row("REG_RESOURCE")
            .set("REG_PATH_ID", path)
            .set("REG_NAME", named.map(|(name, _)| name))
            .set("REG_MEDIA_TYPE", named.map(|(_, media_type)| media_type))
            .set("REG_CREATOR", "wso2.system.user")
            .set("REG_CREATED_TIME", time.clone())
            .set("REG_LAST_UPDATOR", "wso2.system.user")
            .set("REG_LAST_UPDATED_TIME", time)
            .set("REG_CONTENT_ID", content)
            .set("REG_TENANT_ID", tenant)
            .set("REG_UUID", self.chance.uuid());
        self.reg.insert_numbered(resource, "REG_VERSION").await
    }
}
