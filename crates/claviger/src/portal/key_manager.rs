//! The resident key manager as the portal uses it: the same registration and token functions that the wires call.

use super::error::PortalError;
use crate::app::App;
use crate::oauth::client_end;
use crate::oauth::dcr::{self, Prepared, Registration, RegistrationError};
use crate::oauth::reply::TokenError;
use crate::oauth::{KnownClient, revoke, token};
use crate::portal_scopes::is_portal_scope;
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::oauth::{TokenType, TokenTypeWord};
use claviger_proto::scope::Scopes;
use claviger_proto::secret::Secret;
use claviger_proto::user::Username;
use claviger_store::client_details::Details;
use claviger_store::clients::{self, ClientSettings, Lifetimes};
use std::sync::Arc;

/// A client as the portal shows it.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// Client id.
    pub key: ConsumerKey,
    /// Client secret; `None` when the database holds its hash only.
    pub secret: Option<Secret>,
    /// Name.
    pub name: String,
    /// Owner, tenant-aware.
    pub owner: String,
    /// Its grants.
    pub grants: Vec<String>,
    /// Callback URL.
    pub callback: String,
    /// `JWT` or `DEFAULT`.
    pub token_type: String,
    /// Users of other tenants may use it.
    pub is_saas: bool,
}

/// A client to register.
#[derive(Clone, Debug)]
pub struct ClientOrder {
    /// Owner; its tenant is the client's.
    pub owner: Username,
    /// Unique name.
    pub name: String,
    /// Grants.
    pub grants: Vec<String>,
    /// Callback URL or empty.
    pub callback: String,
    /// `JWT` or `DEFAULT`.
    pub token_type: String,
    /// Users of other tenants may use it.
    pub is_saas: bool,
    /// Life of application tokens in seconds; `None`: the server's.
    pub application_token_s: Option<i64>,
}

/// A token that the portal asked for on behalf of an application.
#[derive(Clone, Debug)]
pub struct TokenInfo {
    /// The token.
    pub access_token: Secret,
    /// Granted scopes.
    pub scopes: Vec<String>,
    /// Seconds left.
    pub expires_in_s: i64,
}

/// The key manager of this server.
#[derive(Clone, Copy)]
pub struct KeyManager<'a>(&'a App);

impl<'a> KeyManager<'a> {
    /// Over the program's state.
    pub fn new(app: &'a App) -> Self {
        Self(app)
    }

    /// A client by its exact id.
    pub async fn find(self, key: &ConsumerKey) -> Result<Option<ClientInfo>, PortalError> {
        match self.0.oauth.find_client(key).await? {
            Some(known) => self.describe(&known).await.map(Some),
            None => Ok(None),
        }
    }

    /// A client by its exact name in a tenant.
    pub async fn find_by_name(self, tenant: TenantId, name: &str) -> Result<Option<ClientInfo>, PortalError> {
        let mut conn = self.0.store.reader().await?;
        let key = clients::find_key_by_name(&mut conn, tenant, name).await?;
        drop(conn);
        match key.flatten() {
            Some(key) => self.find(&key).await,
            None => Ok(None),
        }
    }

    /// Registers a client.
    pub async fn register(self, order: ClientOrder) -> Result<ClientInfo, PortalError> {
        let known = dcr::register(&self.0.oauth, self.registration(order)).await?;
        self.describe(&known).await
    }

    /// A client that is to be written together with rows of the portal ([`dcr::insert`]).
    pub fn prepare(self, order: ClientOrder) -> Result<Prepared, PortalError> {
        Ok(dcr::prepare(&self.0.oauth, self.registration(order))?)
    }

    fn registration(self, order: ClientOrder) -> Registration {
        let lifetimes = dcr::default_lifetimes(&self.0.oauth);
        let settings = ClientSettings {
            name: order.name,
            callback: order.callback,
            grants: order.grants,
            token_type: TokenTypeWord::parse(&order.token_type).unwrap_or_default().kind().into(),
            is_pkce_mandatory: false,
            may_pkce_be_plain: false,
            is_public: false,
            is_refresh_renewed: None,
            lifetimes: Lifetimes {
                application_s: order.application_token_s.unwrap_or(lifetimes.application_s),
                ..lifetimes
            },
        };
        Registration { owner: order.owner, preset: None, settings, details: Details::default(), is_saas: order.is_saas }
    }

    /// Changes grants and callback.
    pub async fn update(
        self,
        key: &ConsumerKey,
        grants: Vec<String>,
        callback: String,
    ) -> Result<ClientInfo, PortalError> {
        let edit =
            move |settings| Ok(ClientSettings { grants: grants.clone(), callback: callback.clone(), ..settings });
        let known = dcr::change(&self.0.oauth, &self.get(key).await?, edit, Details::default()).await?;
        self.describe(&known).await
    }

    /// Gives a client a new secret; its tokens die.
    pub async fn renew_secret(self, key: &ConsumerKey) -> Result<ClientInfo, PortalError> {
        let known = client_end::renew_secret(&self.0.oauth, &self.get(key).await?).await?;
        self.describe(&known).await
    }

    /// Deletes a client with its tokens; one that is gone already is fine.
    pub async fn remove(self, key: &ConsumerKey) -> Result<(), PortalError> {
        match self.0.oauth.find_client(key).await? {
            Some(known) => Ok(client_end::remove(&self.0.oauth, &known).await?),
            None => Ok(()),
        }
    }

    /// Issues a client_credentials token. Scopes of the portal APIs are left out: a caller with few scopes must not get
    /// more through an application of his.
    pub async fn issue(self, key: &ConsumerKey, scopes: &[String]) -> Result<TokenInfo, PortalError> {
        let mut scopes = parse_scopes(scopes)?;
        scopes.retain(|scope| !is_portal_scope(scope));
        let reply = token::issue_to_client(self.0, self.get(key).await?, &scopes).await?;
        Ok(TokenInfo {
            access_token: Secret::new(reply.access_token),
            scopes: reply.scope.unwrap_or_default().split(' ').map(str::to_owned).collect(),
            expires_in_s: reply.expires_in,
        })
    }

    /// Revokes a token of this client.
    pub async fn revoke(self, key: &ConsumerKey, token: &Secret) -> Result<(), PortalError> {
        let known = self.get(key).await?;
        revoke::revoke_of_client(self.0, &known.client, token.expose(), false).await?;
        Ok(())
    }

    async fn get(self, key: &ConsumerKey) -> Result<Arc<KnownClient>, PortalError> {
        let known = self.0.oauth.find_client(key).await?;
        known.ok_or_else(|| PortalError::KeyManager("the client no longer exists".to_owned()))
    }

    async fn describe(self, known: &KnownClient) -> Result<ClientInfo, PortalError> {
        let client = &known.client;
        let mut conn = self.0.store.reader().await?;
        let is_saas = clients::is_saas(&mut conn, client).await?;
        drop(conn);
        let tenant = self.0.oauth.tenant_domain(client.tenant).await?.unwrap_or_default();
        let owner = Username { domain: client.owner_domain.clone(), name: client.owner.clone(), tenant };
        Ok(ClientInfo {
            key: client.key.clone(),
            secret: client.secret.text().cloned(),
            name: client.settings.name.clone(),
            owner: owner.to_string(),
            grants: client.settings.grants.clone(),
            callback: client.settings.callback.clone(),
            token_type: if client.settings.token_type.kind() == TokenType::Jwt { "JWT" } else { "DEFAULT" }.to_owned(),
            is_saas,
        })
    }
}

/// Scopes as a body lists them; empty ones count for nothing.
pub fn parse_scopes(scopes: &[String]) -> Result<Scopes, PortalError> {
    let named: Vec<&str> = scopes.iter().map(String::as_str).filter(|scope| !scope.is_empty()).collect();
    Scopes::parse(&named.join(" ")).map_err(|error| PortalError::BadRequest(error.to_string()))
}

impl From<RegistrationError> for PortalError {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Store(error) => Self::Store(error),
            RegistrationError::NameTaken(name) => Self::ClientNameTaken(name),
            RegistrationError::IdTaken(key) => Self::KeyManager(format!("Client id {key} already exist in the system")),
            RegistrationError::RedirectUri(uri) => Self::KeyManager(format!("Invalid redirect URI: {uri}")),
            RegistrationError::Malformed(text) | RegistrationError::Metadata(text) => Self::KeyManager(text),
            RegistrationError::Unreadable(error) => Self::KeyManager(error.to_string()),
            RegistrationError::UnknownOwner => Self::KeyManager("the owner is not a user".to_owned()),
            RegistrationError::NotFound => Self::KeyManager("the client no longer exists".to_owned()),
        }
    }
}

impl From<TokenError> for PortalError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Store(error) => Self::Store(error),
            other => Self::KeyManager(other.to_string()),
        }
    }
}
