//! Who may call a route. The rule stands beside the handler in the list of routes; a route without a rule cannot be written.
//!
//! Refusals have the form of the wire they are on: container style for the identity endpoints (rest-3x.md 0.2), the fixed
//! JSON body for the portal APIs (portal-gateway-3x.md 1.2).

use crate::app::App;
use crate::http::reply;
use crate::http::tenant::{self, UrlTenant};
use crate::oauth::client_auth::basic_credentials;
use crate::portal_scopes;
use crate::users::Principal;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use claviger_proto::secret::Secret;
use claviger_proto::user::Username;
use claviger_store::error::StoreError;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Anybody, for the reason given.
    Public(&'static str),
    /// The handler authenticates an OAuth client.
    OAuthClient,
    /// A user of the request's tenant (the super tenant where the request names none) who holds this permission, by Basic
    /// credentials.
    Permission(&'static str),
    /// A portal user with one of these scopes: bearer token, or Basic with a role of the scope. An empty list takes any user.
    Portal(&'static [&'static str]),
    /// Any user by Basic credentials; refused in the portal's form.
    BasicUser,
    /// As [`Rule::Portal`] when credentials are sent, anonymous otherwise.
    PortalOrAnonymous,
    /// A loopback peer, or a super-tenant user who holds this permission.
    LoopbackOrPermission(&'static str),
}

/// The permission that the administrator's own surfaces ask for.
pub const ADMINISTER: &str = "/permission/admin/manage/apim_admin";

/// The authenticated user of a request. Handlers of guarded routes take it as an argument.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user.
    pub principal: Arc<Principal>,
    /// Scopes the call passed with: those of the token, or those whose roles the Basic user holds.
    pub scopes: Vec<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        // A guarded route always has its caller; without one the rule is missing and nobody gets in.
        parts.extensions.get::<Caller>().cloned().ok_or_else(|| StatusCode::UNAUTHORIZED.into_response())
    }
}

/// The connection's other end.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Address of the peer.
    pub address: SocketAddr,
    /// Did it come over TLS?
    pub is_tls: bool,
}

/// Lets a request through to its handler when the rule holds.
pub async fn enforce(State((app, rule)): State<(Arc<App>, Rule)>, mut request: Request, next: Next) -> Response {
    let outcome = match rule {
        Rule::Public(_) | Rule::OAuthClient => Ok(None),
        Rule::Permission(permission) => check_permission(&app, parts_of(&request), permission).await.map(Some),
        Rule::LoopbackOrPermission(permission) => {
            let peer = request.extensions().get::<Peer>();
            if peer.is_some_and(|peer| peer.address.ip().to_canonical().is_loopback()) {
                Ok(None)
            } else {
                check_permission(&app, parts_of(&request), permission).await.map(Some)
            }
        }
        Rule::Portal(scopes) => check_portal(&app, request.headers(), scopes).await.map(Some),
        Rule::BasicUser => {
            let principal = check_basic(&app, request.headers()).await;
            principal.map(|principal| Some(Caller { principal, scopes: Vec::new() }))
        }
        Rule::PortalOrAnonymous => {
            if request.headers().contains_key(AUTHORIZATION) {
                check_portal(&app, request.headers(), &[]).await.map(Some)
            } else {
                Ok(None)
            }
        }
    };
    match outcome {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(rule),
    }
}

enum Refusal {
    /// No or wrong credentials; the name that was given.
    Unauthenticated(String),
    /// Authenticated, but without the permission.
    Forbidden(String),
    Store(StoreError),
}

impl Refusal {
    fn into_response(self, rule: Rule) -> Response {
        let is_portal = matches!(rule, Rule::Portal(_) | Rule::PortalOrAnonymous | Rule::BasicUser);
        match self {
            Self::Unauthenticated(_) | Self::Forbidden(_) if is_portal => reply::portal_unauthenticated(),
            Self::Unauthenticated(name) => reply::container_refusal(StatusCode::UNAUTHORIZED, &name),
            Self::Forbidden(name) => reply::container_refusal(StatusCode::FORBIDDEN, &name),
            Self::Store(error) => reply::store_failure(&error),
        }
    }
}

fn parts_of(request: &Request) -> (&HeaderMap, Option<&UrlTenant>) {
    (request.headers(), request.extensions().get())
}

async fn check_permission(
    app: &App,
    (headers, url): (&HeaderMap, Option<&UrlTenant>),
    permission: &str,
) -> Result<Caller, Refusal> {
    let principal = check_basic(app, headers).await?;
    let name = principal.username.to_string();
    let acting = tenant::acting(app, principal, headers, url).await.map_err(Refusal::Store)?;
    let principal = acting.ok_or_else(|| Refusal::Unauthenticated(name.clone()))?;
    if !principal.permissions.may(permission) {
        return Err(Refusal::Forbidden(name));
    }
    Ok(Caller { principal, scopes: Vec::new() })
}

async fn check_basic(app: &App, headers: &HeaderMap) -> Result<Arc<Principal>, Refusal> {
    let Some((name, password)) = basic_credentials(headers) else {
        return Err(Refusal::Unauthenticated(String::new()));
    };
    let Ok(username) = Username::parse(&name) else { return Err(Refusal::Unauthenticated(String::new())) };
    let found = app.users.authenticate(&username, &Secret::new(password.expose())).await.map_err(Refusal::Store)?;
    if found.is_none() {
        tracing::info!(target: "audit", user = %username, outcome = "refused", "basic authentication");
    }
    found.ok_or_else(|| Refusal::Unauthenticated(username.to_string()))
}

async fn check_portal(app: &App, headers: &HeaderMap, scopes: &'static [&'static str]) -> Result<Caller, Refusal> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let refused = || Refusal::Unauthenticated(String::new());
    let caller = if let Some(token) = header.strip_prefix("Bearer ") {
        let token = app.introspect(token.trim()).await.map_err(Refusal::Store)?.ok_or_else(refused)?;
        let principal = app.users.find(&token.username).await.map_err(Refusal::Store)?.ok_or_else(refused)?;
        Caller { principal, scopes: token.scopes.iter().map(str::to_owned).collect() }
    } else {
        let principal = check_basic(app, headers).await?;
        let admin_role = &app.portal.admin_role;
        let granted = scopes.iter().filter(|scope| portal_scopes::is_granted(scope, &principal, admin_role));
        Caller { scopes: granted.map(|scope| (*scope).to_owned()).collect(), principal }
    };
    let is_allowed = match scopes {
        [] => true,
        wanted => wanted.iter().any(|scope| caller.scopes.iter().any(|own| own == scope)),
    };
    if is_allowed { Ok(caller) } else { Err(Refusal::Forbidden(String::new())) }
}
