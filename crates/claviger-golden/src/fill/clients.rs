//! OAuth clients with their service providers (contract database.md 2).

use super::row::row;
use super::{DAY, Fill, SUPER};
use crate::Release;
use crate::manifest::Client;
use anyhow::Result;

const ALL_GRANTS: &[&str] = &[
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    "iwa:ntlm",
    "password",
    "client_credentials",
    "refresh_token",
    "authorization_code",
];
const CODE_GRANTS: &[&str] = &["authorization_code", "refresh_token"];
const PLAIN_GRANTS: &[&str] = &["password", "client_credentials", "refresh_token"];

/// A client before it is written: name, owner, grants, callback, application and key type.
type Plan = (&'static str, &'static str, &'static [&'static str], &'static str, Option<(&'static str, &'static str)>);

const SUPER_CLIENTS: &[Plan] = &[
    ("app", "alice", ALL_GRANTS, "https://app.example/callback", Some(("WeatherApp", "PRODUCTION"))),
    ("sandbox", "alice", PLAIN_GRANTS, "https://app.example/callback", Some(("WeatherApp", "SANDBOX"))),
    ("pkce", "alice", CODE_GRANTS, PKCE_CALLBACK, Some(("MobileApp", "PRODUCTION"))),
    ("jwt", "alice", PLAIN_GRANTS, "https://jwt.example/callback", Some(("JwtApp", "PRODUCTION"))),
    ("old", "alice", PLAIN_GRANTS, "", Some(("OldApp", "PRODUCTION"))),
    ("revoked", "alice", ALL_GRANTS, "https://revoked.example/callback", None),
    ("portal", "admin", CODE_GRANTS, "https://localhost:9443/devportal/services/auth/callback/login", None),
];
const TENANT_CLIENTS: &[Plan] =
    &[("tenant", "bob", ALL_GRANTS, "https://pets.example/callback", Some(("PetApp", "PRODUCTION")))];
const PKCE_CALLBACK: &str = r"regexp=(https://m\.example/callback|https://m2\.example/callback)";

impl Fill<'_> {
    pub(super) async fn clients(&mut self) -> Result<()> {
        for tenant in self.manifest.tenants.iter().map(|tenant| tenant.id).collect::<Vec<_>>() {
            for plan in if tenant == SUPER { SUPER_CLIENTS } else { TENANT_CLIENTS } {
                let is_there = match plan.0 {
                    "jwt" => self.release() >= Release::V2_6,
                    "portal" => self.release() >= Release::V3_0,
                    _ => true,
                };
                if is_there {
                    self.client(tenant, plan).await?;
                }
            }
        }
        self.key_without_application().await
    }

    /// A row without OAUTH_VERSION is no client (database.md 2.2).
    async fn key_without_application(&mut self) -> Result<()> {
        let (key, secret) = (self.chance.client_text(), self.chance.client_text());
        let app = row("IDN_OAUTH_CONSUMER_APPS")
            .set("CONSUMER_KEY", &key)
            .set("CONSUMER_SECRET", self.stored(&secret))
            .set("USERNAME", "alice")
            .set("TENANT_ID", SUPER)
            .set("USER_DOMAIN", "PRIMARY")
            .set("GRANT_TYPES", PLAIN_GRANTS.join(" "));
        self.idn.insert(app).await?;
        self.manifest.no_clients.push((key, secret));
        Ok(())
    }

    async fn client(&mut self, tenant_id: i64, plan: &Plan) -> Result<()> {
        let (name, owner, grants, callback, application) = *plan;
        let app_name = match application {
            Some((application, key_type)) => format!("{owner}_{application}_{key_type}"),
            None => format!("{owner}_{name}"),
        };
        let client = Client {
            name,
            key: self.chance.client_text(),
            secret: self.chance.client_text(),
            app_name,
            owner: owner.to_owned(),
            tenant_id,
            grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
            callback: callback.to_owned(),
            is_pkce_mandatory: name == "pkce",
            is_jwt: name == "jwt",
            is_active: name != "revoked",
            lifetimes_s: if name == "old" { [0; 4] } else { [3600, 3600, 86_400, 3600] },
            application: application.map(|(application, key_type)| (application.to_owned(), key_type.to_owned())),
        };
        self.service_provider(&client).await?;
        self.consumer_app(&client).await?;
        self.application_role(&client.app_name, owner, tenant_id).await?;
        self.manifest.clients.push(client);
        Ok(())
    }

    async fn service_provider(&mut self, client: &Client) -> Result<()> {
        let mut provider = row("SP_APP")
            .set("TENANT_ID", client.tenant_id)
            .set("APP_NAME", &client.app_name)
            .set("USER_STORE", "PRIMARY")
            .set("USERNAME", &client.owner)
            .set("DESCRIPTION", format!("Service Provider for application {}", client.app_name))
            .set("AUTH_TYPE", "default")
            .optional("UUID", self.chance.uuid());
        for flag in ["IS_USE_TENANT_DOMAIN_SUBJECT", "IS_USE_USER_DOMAIN_SUBJECT", "ENABLE_AUTHORIZATION"] {
            provider = provider.set(flag, "0");
        }
        let id = self.idn.insert_numbered(provider, "ID").await?;
        // The key manager of 2.x leaves the secret there in clear text; nothing reads it.
        let has_secret = self.release() <= Release::V2_6;
        let inbound = row("SP_INBOUND_AUTH")
            .set("TENANT_ID", client.tenant_id)
            .set("INBOUND_AUTH_KEY", &client.key)
            .set("INBOUND_AUTH_TYPE", "oauth2")
            .set("INBOUND_CONFIG_TYPE", "standardAPP")
            .set("PROP_NAME", has_secret.then_some("oauthConsumerSecret"))
            .set("PROP_VALUE", has_secret.then_some(client.secret.as_str()))
            .set("APP_ID", id);
        self.idn.insert(inbound).await
    }

    async fn consumer_app(&mut self, client: &Client) -> Result<()> {
        let [user, application, refresh, id_token] = client.lifetimes_s;
        // The migration to 3.2 turns NULL into an empty text (database.md 2.2).
        let (has_callback, may_lack_callback) = (!client.callback.is_empty(), self.release() < Release::V3_2);
        let app = row("IDN_OAUTH_CONSUMER_APPS")
            .set("CONSUMER_KEY", &client.key)
            .set("CONSUMER_SECRET", self.stored(&client.secret))
            .set("USERNAME", &client.owner)
            .set("TENANT_ID", client.tenant_id)
            .set("USER_DOMAIN", "PRIMARY")
            .set("APP_NAME", &client.app_name)
            .set("OAUTH_VERSION", "OAuth-2.0")
            .set("CALLBACK_URL", (has_callback || !may_lack_callback).then_some(client.callback.as_str()))
            .set("GRANT_TYPES", client.grants.join(" "))
            .set("PKCE_MANDATORY", if client.is_pkce_mandatory { "1" } else { "0" })
            .set("PKCE_SUPPORT_PLAIN", "0")
            .set("APP_STATE", if client.is_active { "ACTIVE" } else { "REVOKED" })
            .optional("USER_ACCESS_TOKEN_EXPIRE_TIME", user)
            .optional("APP_ACCESS_TOKEN_EXPIRE_TIME", application)
            .optional("REFRESH_TOKEN_EXPIRE_TIME", refresh)
            .optional("ID_TOKEN_EXPIRE_TIME", id_token);
        self.idn.insert(app).await?;
        if self.release() >= Release::V2_6 && client.name != "old" {
            self.oidc_properties(client).await?;
        }
        if client.name == "portal" {
            let app = row("AM_SYSTEM_APPS")
                .set("NAME", "Developer-Portal")
                .set("CONSUMER_KEY", &client.key)
                .set("CONSUMER_SECRET", &client.secret)
                .set("CREATED_TIME", self.local_time(self.now - 200 * DAY))
                .optional("TENANT_DOMAIN", "carbon.super");
            self.am.insert(app).await?;
        }
        Ok(())
    }

    /// What a registration since 2.6 writes; a client of before has none of it (database.md 2.3).
    async fn oidc_properties(&self, client: &Client) -> Result<()> {
        let mut properties = vec![
            ("requestObjectSigned", Some("false")),
            ("idTokenEncrypted", Some("false")),
            ("idTokenEncryptionAlgorithm", Some("null")),
            ("idTokenEncryptionMethod", Some("null")),
            ("backChannelLogoutURL", None),
            ("bypassClientCredentials", Some("false")),
            ("tokenType", Some(if client.is_jwt { "JWT" } else { "Default" })),
        ];
        if self.release() >= Release::V3_0 {
            properties.extend([("frontchannelLogoutURL", None), ("renewRefreshToken", None)]);
        }
        if self.release() >= Release::V3_1 {
            properties.push(("tokenBindingType", None));
        }
        for (key, value) in properties {
            let property = row("IDN_OIDC_PROPERTY")
                .set("TENANT_ID", client.tenant_id)
                .set("CONSUMER_KEY", &client.key)
                .set("PROPERTY_KEY", key)
                .set("PROPERTY_VALUE", value);
            self.idn.insert(property).await?;
        }
        Ok(())
    }
}
