//! OAuth clients with their service providers (contract database.md 2).

use super::OldServer;
use crate::Release;
use anyhow::Result;
use std::collections::BTreeMap;

/// A client as an old server reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundClient {
    /// ID.
    pub id: i64,
    /// CONSUMER_SECRET as stored.
    pub secret_column: String,
    /// APP_NAME of the client and of its service provider.
    pub app_name: String,
    /// Owner.
    pub owner: String,
    /// Owner's user store.
    pub store: String,
    /// TENANT_ID.
    pub tenant_id: i64,
    /// CALLBACK_URL; NULL is empty.
    pub callback: String,
    /// GRANT_TYPES.
    pub grants: Vec<String>,
    /// PKCE_MANDATORY.
    pub is_pkce_mandatory: bool,
    /// APP_STATE is ACTIVE.
    pub is_active: bool,
    /// Lifetimes in seconds of user, application, refresh and id tokens (from 2.6 on).
    pub lifetimes_s: Option<[i64; 4]>,
    /// IDN_OIDC_PROPERTY (from 2.6 on).
    pub properties: BTreeMap<String, Option<String>>,
    /// Application, key type, CREATE_MODE of the API Manager's mapping.
    pub application: Option<(String, String, String)>,
}

impl OldServer<'_> {
    /// A client by its id, with its service provider: without that link it does not exist.
    pub async fn client(&self, key: &str) -> Result<Option<FoundClient>> {
        let has_lifetimes = self.release() >= Release::V2_6;
        let lifetimes = if has_lifetimes {
            ", c.USER_ACCESS_TOKEN_EXPIRE_TIME, c.APP_ACCESS_TOKEN_EXPIRE_TIME, c.REFRESH_TOKEN_EXPIRE_TIME, c.ID_TOKEN_EXPIRE_TIME"
        } else {
            ""
        };
        let sql = format!(
            "SELECT c.CONSUMER_KEY, c.ID, c.CONSUMER_SECRET, c.APP_NAME, c.USERNAME, c.USER_DOMAIN, c.TENANT_ID, c.CALLBACK_URL, \
             c.GRANT_TYPES, c.PKCE_MANDATORY, c.APP_STATE{lifetimes} FROM IDN_OAUTH_CONSUMER_APPS c \
             JOIN SP_INBOUND_AUTH b ON b.INBOUND_AUTH_KEY = c.CONSUMER_KEY AND b.INBOUND_AUTH_TYPE = 'oauth2' \
             AND b.TENANT_ID = c.TENANT_ID \
             JOIN SP_APP s ON s.ID = b.APP_ID AND s.APP_NAME = c.APP_NAME AND s.TENANT_ID = c.TENANT_ID \
             WHERE c.CONSUMER_KEY = ? AND c.OAUTH_VERSION <> ''"
        );
        let Some(row) = self.row(self.idn(), &sql, &[key.into()]).await? else { return Ok(None) };
        if row.text(0)? != key {
            return Ok(None);
        }
        let lifetimes_s =
            if has_lifetimes { Some([row.int(11)?, row.int(12)?, row.int(13)?, row.int(14)?]) } else { None };
        let mut properties = BTreeMap::new();
        if self.release() >= Release::V2_6 {
            let find =
                "SELECT PROPERTY_KEY, PROPERTY_VALUE FROM IDN_OIDC_PROPERTY WHERE CONSUMER_KEY = ? AND TENANT_ID = ?";
            for row in self.idn().rows(find, &[key.into(), row.int(6)?.into()]).await? {
                properties.insert(row.text(0)?, row.get(1).map(str::to_owned));
            }
        }
        Ok(Some(FoundClient {
            id: row.int(1)?,
            secret_column: row.text(2)?,
            app_name: row.text(3)?,
            owner: row.text(4)?,
            store: row.text(5)?,
            tenant_id: row.int(6)?,
            callback: row.get(7).unwrap_or_default().to_owned(),
            grants: row.text(8)?.split(' ').map(str::to_owned).collect(),
            is_pkce_mandatory: row.text(9)? != "0",
            is_active: row.text(10)? == "ACTIVE",
            lifetimes_s,
            properties,
            application: self.application_of(key).await?,
        }))
    }

    /// May somebody who presents that secret act as the client?
    pub async fn check_client(&self, key: &str, secret: &str) -> Result<bool> {
        let client = self.client(key).await?;
        Ok(client.is_some_and(|it| it.is_active && self.options.form.is_stored(secret, &it.secret_column)))
    }

    async fn application_of(&self, key: &str) -> Result<Option<(String, String, String)>> {
        let manager = match self.release() {
            Release::V3_2 => " AND k.KEY_MANAGER = 'Resident Key Manager'",
            _ => "",
        };
        let sql = format!(
            "SELECT a.NAME, k.KEY_TYPE, k.CREATE_MODE FROM AM_APPLICATION_KEY_MAPPING k \
             JOIN AM_APPLICATION a ON a.APPLICATION_ID = k.APPLICATION_ID \
             WHERE k.CONSUMER_KEY = ? AND k.STATE = 'COMPLETED'{manager}"
        );
        let row = self.row(self.am(), &sql, &[key.into()]).await?;
        row.map(|row| Ok((row.text(0)?, row.text(1)?, row.text(2)?))).transpose()
    }
}
