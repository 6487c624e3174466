//! What every portal operation works on, and who calls it.
//!
//! Owns: the portal's settings, the seam to the key manager, the actor. Leaves to others: how the actor was authenticated
//! (`http`), what a key manager does.

use super::error::PortalError;
use crate::http::access::Caller;
use axum::extract::FromRequestParts;
use axum::response::Response;
use claviger_proto::entropy::Entropy;
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::secret::Secret;
use claviger_proto::time::Clock;
use claviger_proto::user::Username;
use claviger_store::db::Store;
use futures_util::future::BoxFuture;
use http::StatusCode;
use http::request::Parts;
use std::ops::Deref;
use std::sync::Arc;

/// Name of the key manager that is this server.
pub const RESIDENT: &str = "Resident Key Manager";

/// The portal. Cheap to clone.
#[derive(Clone)]
pub struct Portal(Arc<PortalState>);

/// The state behind [`Portal`].
pub struct PortalState {
    /// The database.
    pub store: Store,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Entropy>,
    /// Settings.
    pub settings: PortalSettings,
    /// The resident key manager.
    pub key_manager: Arc<dyn KeyManager>,
}

impl Portal {
    /// A portal over its state.
    pub fn new(state: PortalState) -> Self {
        Self(Arc::new(state))
    }
}

impl Deref for Portal {
    type Target = PortalState;

    fn deref(&self) -> &PortalState {
        &self.0
    }
}

/// What configuration says to the portal.
#[derive(Clone, Debug)]
pub struct PortalSettings {
    /// Gateway environments, as the portals show them.
    pub environments: Vec<Environment>,
    /// The administrator's role.
    pub admin_role: String,
    /// Deprecated APIs are shown in the developer portal.
    pub is_deprecated_shown: bool,
    /// Several versions of an API are shown in the developer portal.
    pub are_versions_shown: bool,
    /// The `Unlimited` policy is offered.
    pub is_unlimited_offered: bool,
    /// Token, revocation and user-info endpoint of the resident key manager.
    pub token_endpoint: String,
    /// Revocation endpoint.
    pub revoke_endpoint: String,
    /// User-info endpoint.
    pub userinfo_endpoint: String,
    /// Grants that applications may choose.
    pub grant_types: Vec<String>,
}

/// A gateway environment.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `Production and Sandbox`.
    pub name: String,
    /// `hybrid`, `production`, `sandbox`.
    pub kind: String,
    /// `http://host:8280`.
    pub http_url: String,
    /// `https://host:8243`.
    pub https_url: String,
}

/// A client as the portal shows it.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// Client id.
    pub key: ConsumerKey,
    /// Client secret.
    pub secret: Secret,
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

/// The key manager as the portal needs it. A refusal is [`PortalError::KeyManager`] or [`PortalError::BadRequest`].
pub trait KeyManager: Send + Sync + 'static {
    /// A client by its exact id.
    fn find<'a>(&'a self, key: &'a ConsumerKey) -> BoxFuture<'a, Result<Option<ClientInfo>, PortalError>>;
    /// A client by its exact name in a tenant.
    fn find_by_name<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ClientInfo>, PortalError>>;
    /// Registers a client.
    fn register(&self, order: ClientOrder) -> BoxFuture<'_, Result<ClientInfo, PortalError>>;
    /// Changes grants and callback.
    fn update<'a>(
        &'a self,
        key: &'a ConsumerKey,
        grants: Vec<String>,
        callback: String,
    ) -> BoxFuture<'a, Result<ClientInfo, PortalError>>;
    /// Gives a client a new secret; its tokens die.
    fn renew_secret<'a>(&'a self, key: &'a ConsumerKey) -> BoxFuture<'a, Result<ClientInfo, PortalError>>;
    /// Deletes a client with its tokens; one that is gone already is fine.
    fn remove<'a>(&'a self, key: &'a ConsumerKey) -> BoxFuture<'a, Result<(), PortalError>>;
    /// Issues a client_credentials token.
    fn issue<'a>(&'a self, key: &'a ConsumerKey, scopes: &'a [String])
    -> BoxFuture<'a, Result<TokenInfo, PortalError>>;
    /// Revokes a token of this client.
    fn revoke<'a>(&'a self, key: &'a ConsumerKey, token: &'a Secret) -> BoxFuture<'a, Result<(), PortalError>>;
}

/// Who calls. Put into the request by the layer that authenticated it.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The user.
    pub username: Username,
    /// The user's tenant.
    pub tenant: TenantId,
    /// Roles as the wires name them.
    pub roles: Vec<String>,
    /// Scopes the call passed with.
    pub scopes: Vec<String>,
}

impl Actor {
    /// `ann`, `ann@abc.com`: the form of providers, subscribers and owners.
    pub fn name(&self) -> String {
        self.username.to_string()
    }

    /// Domain of the tenant.
    pub fn tenant_domain(&self) -> &str {
        &self.username.tenant
    }

    /// Holds the user this role? Without regard to case.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own.eq_ignore_ascii_case(role))
    }

    /// Did the call pass with this scope (`apim:...`)?
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own.eq_ignore_ascii_case(scope))
    }
}

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Self {
        let principal = &caller.principal;
        Self {
            username: principal.username.clone(),
            tenant: principal.tenant,
            roles: principal.roles.clone(),
            scopes: caller.scopes.clone(),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        // A guarded route always has its actor; without one the rule is missing and nobody gets in.
        let refused = || super::reply::json(StatusCode::UNAUTHORIZED, &super::reply::ErrorBody::unauthenticated());
        parts.extensions.get::<Actor>().cloned().ok_or_else(refused)
    }
}

/// The actor of an operation that also takes anonymous calls.
#[derive(Clone, Debug)]
pub struct MaybeActor(pub Option<Actor>);

impl<S: Send + Sync> FromRequestParts<S> for MaybeActor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<Actor>().cloned()))
    }
}

impl PortalState {
    /// Is the actor an administrator of his tenant?
    pub fn is_admin(&self, actor: &Actor) -> bool {
        actor.has_role(&self.settings.admin_role)
    }
}
