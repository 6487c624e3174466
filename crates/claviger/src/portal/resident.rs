//! The resident key manager as the portal sees it: an adapter over the OAuth server of this process.
//!
//! Tokens are issued and revoked through the endpoints' own pipelines, so the portal cannot get one that the application
//! itself could not. Scopes of the portal APIs are never asked for on behalf of an application.

use super::error::PortalError;
use super::state::{ClientInfo, ClientOrder, KeyManager, TokenInfo};
use crate::app::App;
use crate::oauth::dcr::{self, Registration, RegistrationError};
use crate::oauth::{KnownClient, revoke, token};
use crate::portal_scopes::is_portal_scope;
use axum::body::{Body, Bytes};
use axum::extract::State;
use claviger_proto::encode::base64;
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::oauth::TokenType;
use claviger_proto::secret::Secret;
use claviger_proto::user::Username;
use claviger_store::clients::{self, ClientSettings};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use std::sync::Arc;

/// Largest answer of the token pipeline, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The OAuth server of this process.
pub struct Resident {
    app: Arc<App>,
}

impl Resident {
    /// An adapter over the program's state.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    async fn known(&self, key: &ConsumerKey) -> Result<Option<Arc<KnownClient>>, PortalError> {
        Ok(self.app.oauth.find_client(key).await?)
    }

    async fn expect(&self, key: &ConsumerKey) -> Result<Arc<KnownClient>, PortalError> {
        let missing = || PortalError::KeyManager("The client is not known to the key manager".to_owned());
        self.known(key).await?.ok_or_else(missing)
    }

    async fn info(&self, known: &KnownClient) -> Result<ClientInfo, PortalError> {
        let client = &known.client;
        let tenant = self.app.tenant_domain(client.tenant).await?.unwrap_or_default();
        let owner = Username { domain: client.owner_domain.clone(), name: client.owner.clone(), tenant };
        Ok(ClientInfo {
            key: client.key.clone(),
            secret: client.secret.clone(),
            name: client.settings.name.clone(),
            owner: owner.to_string(),
            grants: client.settings.grants.clone(),
            callback: client.settings.callback.clone(),
            token_type: if client.settings.token_type == TokenType::Jwt { "JWT" } else { "DEFAULT" }.to_owned(),
            is_saas: false,
        })
    }

    /// Calls one of the OAuth endpoints as the client.
    async fn post(
        &self,
        known: &KnownClient,
        form: &[(&str, &str)],
        call: Endpoint,
    ) -> Result<(bool, Bytes), PortalError> {
        let client = &known.client;
        let credentials = base64(format!("{}:{}", client.key, client.secret.expose()).as_bytes());
        let broken = |_| PortalError::KeyManager("The client's credentials cannot be sent".to_owned());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Basic {credentials}")).map_err(broken)?);
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let response = match call {
            Endpoint::Token => token::token(State(self.app.clone()), headers, Bytes::from(body)).await,
            Endpoint::Revoke => revoke::revoke(State(self.app.clone()), headers, Bytes::from(body)).await,
        };
        let is_success = response.status().is_success();
        let body: Body = response.into_body();
        let answer = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let answer = answer.map_err(|error| PortalError::Damaged(error.to_string()))?;
        Ok((is_success, answer.to_bytes()))
    }
}

enum Endpoint {
    Token,
    Revoke,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    scope: String,
    expires_in: i64,
}

impl KeyManager for Resident {
    fn find<'a>(&'a self, key: &'a ConsumerKey) -> BoxFuture<'a, Result<Option<ClientInfo>, PortalError>> {
        Box::pin(async move {
            match self.known(key).await? {
                Some(known) => Ok(Some(self.info(&known).await?)),
                None => Ok(None),
            }
        })
    }

    fn find_by_name<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ClientInfo>, PortalError>> {
        Box::pin(async move {
            let found = {
                let mut conn = self.app.store.reader().await?;
                clients::find_key_by_name(&mut conn, tenant, name).await?
            };
            match found {
                Some(Some(key)) => self.find(&key).await,
                Some(None) => {
                    Err(PortalError::KeyManager(format!("The name {name} is taken by another service provider")))
                }
                None => Ok(None),
            }
        })
    }

    fn register(&self, order: ClientOrder) -> BoxFuture<'_, Result<ClientInfo, PortalError>> {
        Box::pin(async move {
            let mut lifetimes = dcr::default_lifetimes(&self.app.oauth);
            lifetimes.application_s = order.application_token_s.unwrap_or(lifetimes.application_s);
            let settings = ClientSettings {
                name: order.name,
                callback: order.callback,
                grants: order.grants,
                token_type: if order.token_type == "JWT" { TokenType::Jwt } else { TokenType::Opaque },
                is_pkce_mandatory: false,
                may_pkce_be_plain: false,
                is_public: false,
                is_refresh_renewed: None,
                lifetimes,
            };
            let registration = Registration { owner: order.owner, preset: None, settings, is_saas: order.is_saas };
            let known = dcr::register(&self.app.oauth, registration).await.map_err(refused)?;
            let mut info = self.info(&known).await?;
            info.is_saas = order.is_saas;
            Ok(info)
        })
    }

    fn update<'a>(
        &'a self,
        key: &'a ConsumerKey,
        grants: Vec<String>,
        callback: String,
    ) -> BoxFuture<'a, Result<ClientInfo, PortalError>> {
        Box::pin(async move {
            let known = self.expect(key).await?;
            let settings = ClientSettings { grants, callback, ..known.client.settings.clone() };
            let known = dcr::change(&self.app.oauth, &known, settings).await.map_err(refused)?;
            self.info(&known).await
        })
    }

    fn renew_secret<'a>(&'a self, key: &'a ConsumerKey) -> BoxFuture<'a, Result<ClientInfo, PortalError>> {
        Box::pin(async move {
            let known = self.expect(key).await?;
            let known = dcr::renew_secret(&self.app.oauth, &known).await.map_err(refused)?;
            self.info(&known).await
        })
    }

    fn remove<'a>(&'a self, key: &'a ConsumerKey) -> BoxFuture<'a, Result<(), PortalError>> {
        Box::pin(async move {
            match self.known(key).await? {
                Some(known) => dcr::remove(&self.app.oauth, &known).await.map_err(refused),
                None => Ok(()),
            }
        })
    }

    fn issue<'a>(
        &'a self,
        key: &'a ConsumerKey,
        scopes: &'a [String],
    ) -> BoxFuture<'a, Result<TokenInfo, PortalError>> {
        Box::pin(async move {
            let known = self.expect(key).await?;
            let wanted: Vec<&str> = scopes.iter().map(String::as_str).filter(|scope| !is_portal_scope(scope)).collect();
            let scope = wanted.join(" ");
            let form = [("grant_type", "client_credentials"), ("scope", scope.as_str())];
            let (is_success, answer) = self.post(&known, &form, Endpoint::Token).await?;
            if !is_success {
                return Err(PortalError::KeyManager("The key manager did not issue a token".to_owned()));
            }
            let answer: TokenAnswer =
                serde_json::from_slice(&answer).map_err(|error| PortalError::Damaged(error.to_string()))?;
            let scopes = answer.scope.split_whitespace().map(str::to_owned).collect();
            Ok(TokenInfo { access_token: Secret::new(answer.access_token), scopes, expires_in_s: answer.expires_in })
        })
    }

    fn revoke<'a>(&'a self, key: &'a ConsumerKey, token: &'a Secret) -> BoxFuture<'a, Result<(), PortalError>> {
        Box::pin(async move {
            let known = self.expect(key).await?;
            let form = [("token", token.expose())];
            match self.post(&known, &form, Endpoint::Revoke).await? {
                (true, _) => Ok(()),
                (false, _) => Err(PortalError::KeyManager("The token to revoke was refused".to_owned())),
            }
        })
    }
}

fn refused(error: RegistrationError) -> PortalError {
    match error {
        RegistrationError::Store(error) => PortalError::Store(error),
        RegistrationError::Malformed(text) | RegistrationError::Metadata(text) => PortalError::KeyManager(text),
        RegistrationError::RedirectUri(uri) => PortalError::KeyManager(format!("Invalid redirect URI: {uri}")),
        RegistrationError::NameTaken(name) => {
            PortalError::KeyManager(format!("A client with the name {name} exists in the key manager"))
        }
        RegistrationError::IdTaken(key) => PortalError::KeyManager(format!("The client id {key} exists")),
        RegistrationError::UnknownOwner => PortalError::KeyManager("The owner is not a user".to_owned()),
        RegistrationError::NotFound => PortalError::KeyManager("The client is not known to the key manager".to_owned()),
    }
}
