//! What every portal operation works on, and who calls it.
//!
//! Owns: the portal's settings, the actor. Leaves to others: how the actor was authenticated (`http::access`), what the key
//! manager does ([`super::key_manager`]).

use super::key_manager::KeyManager;
use crate::app::App;
use crate::http::access::Caller;
use axum::extract::{FromRef, FromRequestParts};
use axum::response::Response;
use claviger_proto::ids::TenantId;
use claviger_proto::permission::Roles;
use claviger_proto::user::{NameRule, Username};
use http::request::Parts;
use std::ops::Deref;
use std::sync::Arc;

/// Name of the key manager that is this server.
pub const RESIDENT: &str = "Resident Key Manager";

/// The portal: the program's state, under the name that the portal's functions take.
#[derive(Clone)]
pub struct Portal(Arc<App>);

impl FromRef<Arc<App>> for Portal {
    fn from_ref(app: &Arc<App>) -> Self {
        Self(app.clone())
    }
}

impl Deref for Portal {
    type Target = App;

    fn deref(&self) -> &App {
        &self.0
    }
}

impl Portal {
    /// The resident key manager.
    pub fn key_manager(&self) -> KeyManager<'_> {
        KeyManager::new(&self.0)
    }

    /// Is the actor an administrator of his tenant?
    pub fn is_admin(&self, actor: &Actor) -> bool {
        actor.has_role(&self.portal.admin_role)
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

/// Who calls. Put into the request by the layer that authenticated it.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The user.
    pub username: Username,
    /// The user's tenant.
    pub tenant: TenantId,
    /// Roles as the wires name them.
    pub roles: Arc<Roles>,
    /// Scopes the call passed with.
    pub scopes: Vec<String>,
    /// When another spelling of the name means this user too.
    pub name_rule: NameRule,
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
        self.roles.has(role)
    }

    /// Did the call pass with this scope (`apim:...`)?
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own == scope)
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
            name_rule: principal.name_rule,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        Caller::from_request_parts(parts, state).await.map(|caller| Actor::from(&caller))
    }
}

/// The actor of an operation that also takes anonymous calls.
#[derive(Clone, Debug)]
pub struct MaybeActor(pub Option<Actor>);

impl<S: Send + Sync> FromRequestParts<S> for MaybeActor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<Caller>().map(Actor::from)))
    }
}
