//! APIs, their resources and scopes in each release's own shape (contract database.md 3.9 and 4).

use super::row::row;
use super::{DAY, Fill, SUPER, TENANT};
use crate::Release;
use crate::manifest::Scope;
use anyhow::{Context as _, Result};

/// An API that was written.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) name: &'static str,
    pub(super) id: i64,
    pub(super) tenant_id: i64,
    pub(super) context: String,
    pub(super) version: &'static str,
}

const SUPER_APIS: &[(&str, &str)] = &[("weather", "1.0.0"), ("news", "1.0.0"), ("maps", "1.0.0"), ("quotes", "2.0.0")];
const TENANT_APIS: &[(&str, &str)] = &[("pets", "1.0.0")];
/// Verb and pattern of each API's resources.
const RESOURCES: &[(&str, &str)] = &[("GET", "/items/{id}"), ("POST", "/items"), ("DELETE", "/items/{id}")];

/// Scope, API, display name, roles, verb and pattern of the resources that ask for it.
type Plan =
    (&'static str, &'static str, &'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

const SCOPES: &[Plan] = &[
    ("weather_read", "weather", "Read the weather", &["Internal/subscriber", "staff"], &[("GET", "/items/{id}")]),
    ("weather_admin", "weather", "Change the weather", &["admin"], &[("POST", "/items")]),
    ("open_scope", "weather", "For everybody", &[], &[]),
    ("pets_read", "pets", "See pets", &["Internal/subscriber"], &[("GET", "/items/{id}")]),
];

impl Fill<'_> {
    pub(super) async fn apis(&mut self) -> Result<Vec<Api>> {
        let mut apis = Vec::new();
        let tenant = self.real_tenant()?;
        let planned = SUPER_APIS.iter().map(|api| (SUPER, api)).chain(TENANT_APIS.iter().map(|api| (tenant, api)));
        for (tenant_id, (name, version)) in planned {
            apis.push(self.api(name, version, tenant_id).await?);
        }
        for plan in SCOPES {
            let api = apis.iter().find(|api| api.name == plan.1).context("a scope without an API")?;
            self.scope(plan, api).await?;
        }
        if self.release() >= Release::V3_1 {
            self.permission_scope().await?;
        }
        Ok(apis)
    }

    async fn api(&mut self, name: &'static str, version: &'static str, tenant_id: i64) -> Result<Api> {
        let (provider, root) = match tenant_id {
            SUPER => ("admin".to_owned(), String::new()),
            _ => (format!("admin-AT-{TENANT}"), format!("/t/{TENANT}")),
        };
        let context = format!("{root}/{name}/{version}");
        let time = self.local_time(self.now - 200 * DAY);
        let api = row("AM_API")
            .set("API_PROVIDER", &provider)
            .set("API_NAME", name)
            .set("API_VERSION", version)
            .set("CONTEXT", &context)
            .set("CONTEXT_TEMPLATE", format!("{root}/{name}/{{version}}"))
            .set("API_TIER", "Unlimited")
            .set("CREATED_BY", &provider)
            .set("CREATED_TIME", time.clone())
            .set("UPDATED_TIME", time)
            .optional("API_TYPE", "HTTP");
        let id = self.am.insert_numbered(api, "API_ID").await?;
        for (verb, pattern) in RESOURCES {
            let resource = row("AM_API_URL_MAPPING")
                .set("API_ID", id)
                .set("HTTP_METHOD", *verb)
                .set("AUTH_SCHEME", "Any")
                .set("URL_PATTERN", *pattern)
                .set("THROTTLING_TIER", "Unlimited");
            self.am.insert(resource).await?;
        }
        if name == "weather" {
            let default = row("AM_API_DEFAULT_VERSION")
                .set("API_NAME", name)
                .set("API_PROVIDER", &provider)
                .set("DEFAULT_API_VERSION", version)
                .set("PUBLISHED_DEFAULT_API_VERSION", version);
            self.am.insert(default).await?;
        }
        Ok(Api { name, id, tenant_id, context, version })
    }

    async fn scope(&mut self, plan: &Plan, api: &Api) -> Result<()> {
        let (name, _, display_name, roles, resources) = *plan;
        let id = if self.release() == Release::V2_1 {
            let scope = row("IDN_OAUTH2_SCOPE").set("SCOPE_KEY", name).set("NAME", display_name);
            let scope = scope.set("ROLES", (!roles.is_empty()).then(|| roles.join(",")));
            self.idn.insert_numbered(scope.set("TENANT_ID", api.tenant_id), "SCOPE_ID").await?
        } else {
            let scope = row("IDN_OAUTH2_SCOPE").set("NAME", name).set("DISPLAY_NAME", display_name);
            let scope = scope.set("TENANT_ID", api.tenant_id).optional("SCOPE_TYPE", "OAUTH2");
            let id = self.idn.insert_numbered(scope, "SCOPE_ID").await?;
            for role in roles {
                let binding = row("IDN_OAUTH2_SCOPE_BINDING").set("SCOPE_ID", id).set("SCOPE_BINDING", *role);
                self.idn.insert(binding.optional("BINDING_TYPE", "DEFAULT")).await?;
            }
            id
        };
        if self.release() < Release::V3_2 {
            self.am.insert(row("AM_API_SCOPES").set("API_ID", api.id).set("SCOPE_ID", id)).await?;
        }
        for (verb, pattern) in resources {
            self.resource_scope(name, id, api, verb, pattern).await?;
        }
        let resource = |(verb, pattern): &(&str, &str)| {
            [api.context.clone(), api.version.to_owned(), (*pattern).to_owned(), (*verb).to_owned()]
        };
        self.manifest.scopes.push(Scope {
            name: name.to_owned(),
            display_name: display_name.to_owned(),
            tenant_id: api.tenant_id,
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            resources: resources.iter().map(resource).collect(),
        });
        Ok(())
    }

    async fn resource_scope(&self, scope: &str, id: i64, api: &Api, verb: &str, pattern: &str) -> Result<()> {
        if self.release() == Release::V3_2 {
            let find = "SELECT URL_MAPPING_ID FROM AM_API_URL_MAPPING WHERE API_ID = ? AND HTTP_METHOD = ? AND URL_PATTERN = ?";
            let rows = self.am.db.rows(find, &[api.id.into(), verb.into(), pattern.into()]).await?;
            let mapping = rows.first().context("the resource")?.int(0)?;
            let mapping = row("AM_API_RESOURCE_SCOPE_MAPPING").set("SCOPE_NAME", scope).set("URL_MAPPING_ID", mapping);
            return self.am.insert(mapping.set("TENANT_ID", api.tenant_id)).await;
        }
        let path = format!("{}/{}{pattern}:{verb}", api.context, api.version);
        let resource = row("IDN_OAUTH2_RESOURCE_SCOPE").set("RESOURCE_PATH", path).set("SCOPE_ID", id);
        self.idn.insert(resource.set("TENANT_ID", api.tenant_id)).await
    }

    /// A scope of the identity server's own, bound to a permission and not to a role.
    async fn permission_scope(&self) -> Result<()> {
        let scope = row("IDN_OAUTH2_SCOPE").set("NAME", "internal_user_mgt_list").set("DISPLAY_NAME", "List users");
        let scope = scope.set("TENANT_ID", SUPER).set("SCOPE_TYPE", "OAUTH2");
        let id = self.idn.insert_numbered(scope, "SCOPE_ID").await?;
        let binding = row("IDN_OAUTH2_SCOPE_BINDING")
            .set("SCOPE_ID", id)
            .set("SCOPE_BINDING", "/permission/admin/manage/identity/usermgt/list")
            .set("BINDING_TYPE", "PERMISSION");
        self.idn.insert(binding).await
    }
}
