//! Subscribers, applications, their keys and subscriptions (contract database.md 2.5 and 4).

use super::apis::Api;
use super::first_start::TENANT_POLICY;
use super::row::row;
use super::{DAY, Fill, SUPER, TENANT};
use crate::Release;
use crate::manifest::{Client, Subscription, Verdict};
use anyhow::{Context as _, Result};

/// Application, API, tier, SUB_STATUS. Without a status there is no row.
const SUBSCRIPTIONS: &[(&str, &str, &str, Option<&str>)] = &[
    ("WeatherApp", "weather", "Gold", Some("UNBLOCKED")),
    ("WeatherApp", "news", "Silver", Some("BLOCKED")),
    ("WeatherApp", "maps", "Bronze", Some("PROD_ONLY_BLOCKED")),
    ("WeatherApp", "quotes", "Vanished", Some("UNBLOCKED")),
    ("WeatherApp", "pets", TENANT_POLICY.0, Some("UNBLOCKED")),
    ("MobileApp", "weather", "Unlimited", Some("ON_HOLD")),
    ("MobileApp", "news", "Unlimited", None),
    ("JwtApp", "weather", "Gold", Some("UNBLOCKED")),
    ("JwtApp", "quotes", "Gold", Some("REJECTED")),
    ("OldApp", "weather", "Gold", Some("TIER_UPDATE_PENDING")),
    ("PetApp", "pets", TENANT_POLICY.0, Some("UNBLOCKED")),
];

impl Fill<'_> {
    pub(super) async fn applications(&mut self, apis: &[Api]) -> Result<()> {
        let clients: Vec<Client> =
            self.manifest.clients.iter().filter(|it| it.application.is_some()).cloned().collect();
        let mut subscribers: Vec<(String, i64)> = Vec::new();
        let mut applications: Vec<(String, i64)> = Vec::new();
        for client in &clients {
            let (name, key_type) = client.application.as_ref().context("filtered above")?;
            let subscriber = subscriber(client);
            let known = subscribers.iter().find(|(known, _)| *known == subscriber).map(|(_, id)| *id);
            let subscriber_id = if let Some(id) = known {
                id
            } else {
                let id = self.subscriber(&subscriber, client.tenant_id).await?;
                subscribers.push((subscriber.clone(), id));
                id
            };
            let known = applications.iter().find(|(known, _)| known == name).map(|(_, id)| *id);
            let id = if let Some(id) = known {
                id
            } else {
                let id = self.application(client, name, subscriber_id, &subscriber).await?;
                applications.push((name.clone(), id));
                self.subscriptions(name, id, &subscriber, apis).await?;
                id
            };
            self.key(client, id, key_type, subscriber_id).await?;
            self.expect(client, name, key_type, apis)?;
        }
        Ok(())
    }

    async fn subscriber(&self, name: &str, tenant: i64) -> Result<i64> {
        let time = self.local_time(self.now - 150 * DAY);
        let subscriber = row("AM_SUBSCRIBER")
            .set("USER_ID", name)
            .set("TENANT_ID", tenant)
            .set("EMAIL_ADDRESS", "")
            .set("DATE_SUBSCRIBED", time.clone())
            .set("CREATED_BY", name)
            .set("CREATED_TIME", time.clone())
            .set("UPDATED_TIME", time);
        self.am.insert_numbered(subscriber, "SUBSCRIBER_ID").await
    }

    async fn application(&mut self, client: &Client, name: &str, subscriber: i64, owner: &str) -> Result<i64> {
        let time = self.local_time(self.now - 150 * DAY);
        // The word stands for "none" (database.md 4.4).
        let token_type = match client.name {
            "jwt" => "JWT",
            "old" => "null",
            _ => "OAUTH",
        };
        let application = row("AM_APPLICATION")
            .set("NAME", name)
            .set("SUBSCRIBER_ID", subscriber)
            .set("APPLICATION_TIER", "Unlimited")
            .set("CALLBACK_URL", &client.callback)
            .set("DESCRIPTION", "")
            .set("APPLICATION_STATUS", "APPROVED")
            .set("GROUP_ID", "")
            .set("CREATED_BY", owner)
            .set("CREATED_TIME", time.clone())
            .set("UPDATED_TIME", time)
            .set("UUID", self.chance.uuid())
            .optional("TOKEN_TYPE", token_type);
        self.am.insert_numbered(application, "APPLICATION_ID").await
    }

    async fn subscriptions(&mut self, name: &str, id: i64, owner: &str, apis: &[Api]) -> Result<()> {
        for (application, api, tier, status) in SUBSCRIPTIONS {
            let (Some(status), true) = (status, *application == name) else { continue };
            let api = apis.iter().find(|known| known.name == *api).context("a subscription without an API")?;
            let time = self.local_time(self.now - 140 * DAY);
            let subscription = row("AM_SUBSCRIPTION")
                .set("TIER_ID", *tier)
                .set("API_ID", api.id)
                .set("APPLICATION_ID", id)
                .set("SUB_STATUS", *status)
                .set("SUBS_CREATE_STATE", "SUBSCRIBE")
                .set("CREATED_BY", owner)
                .set("CREATED_TIME", time.clone())
                .set("UPDATED_TIME", time)
                .set("UUID", self.chance.uuid())
                .optional("TIER_ID_PENDING", *tier);
            self.am.insert(subscription).await?;
        }
        Ok(())
    }

    async fn key(&mut self, client: &Client, application: i64, key_type: &str, subscriber: i64) -> Result<()> {
        let info = serde_json::json!({
            "clientId": client.key, "clientName": client.app_name, "callBackURL": client.callback,
            "grant_types": client.grants.join(" "),
        });
        let mapping = row("AM_APPLICATION_KEY_MAPPING")
            .set("APPLICATION_ID", application)
            .set("CONSUMER_KEY", &client.key)
            .set("KEY_TYPE", key_type)
            .set("STATE", "COMPLETED")
            .set("CREATE_MODE", if client.name == "old" { "MAPPED" } else { "CREATED" })
            .optional("UUID", self.chance.uuid())
            .optional("KEY_MANAGER", "Resident Key Manager")
            .optional("APP_INFO", crate::db::Value::Bytes(info.to_string().into_bytes()));
        self.am.insert(mapping).await?;
        let domain = row("AM_APP_KEY_DOMAIN_MAPPING").set("CONSUMER_KEY", &client.key).set("AUTHZ_DOMAIN", "ALL");
        self.am.insert(domain).await?;
        let registration = row("AM_APPLICATION_REGISTRATION")
            .set("SUBSCRIBER_ID", subscriber)
            .set("WF_REF", self.chance.uuid())
            .set("APP_ID", application)
            .set("TOKEN_TYPE", key_type)
            .set("TOKEN_SCOPE", "default")
            .set("INPUTS", format!(r#"{{"username":"{}","key_type":"{key_type}"}}"#, client.owner))
            .set("ALLOWED_DOMAINS", "ALL")
            .set("VALIDITY_PERIOD", 3600)
            .optional("KEY_MANAGER", "Resident Key Manager");
        self.am.insert(registration).await
    }

    /// What the subscription check must say to the calls of a client.
    fn expect(&mut self, client: &Client, name: &str, key_type: &str, apis: &[Api]) -> Result<()> {
        for (_, api, tier, status) in SUBSCRIPTIONS.iter().filter(|(application, ..)| *application == name) {
            let api = apis.iter().find(|known| known.name == *api).context("a subscription without an API")?;
            // The tier's policy is looked up in the API's tenant from 3.0 on, before in the subscriber's.
            let policies = if self.release() >= Release::V3_0 { api.tenant_id } else { client.tenant_id };
            let has_policy = *tier != "Vanished" && (*tier != TENANT_POLICY.0 || policies != SUPER);
            let verdict = match *status {
                None => Verdict::Forbidden,
                Some(_) if !has_policy => Verdict::Forbidden,
                Some("BLOCKED") => Verdict::Blocked,
                Some("PROD_ONLY_BLOCKED") if key_type != "SANDBOX" => Verdict::Blocked,
                Some("ON_HOLD" | "REJECTED") => Verdict::Inactive,
                Some(_) => Verdict::Allowed,
            };
            self.manifest.subscriptions.push(Subscription {
                client: client.key.clone(),
                key_type: key_type.to_owned(),
                application: name.to_owned(),
                subscriber: subscriber(client),
                subscriber_tenant_id: client.tenant_id,
                api_tenant_id: api.tenant_id,
                context: api.context.clone(),
                version: api.version.to_owned(),
                tier: (*tier).to_owned(),
                verdict,
            });
        }
        Ok(())
    }
}

/// AM_SUBSCRIBER.USER_ID of a client's owner.
fn subscriber(client: &Client) -> String {
    if client.tenant_id == SUPER { client.owner.clone() } else { format!("{}@{TENANT}", client.owner) }
}
