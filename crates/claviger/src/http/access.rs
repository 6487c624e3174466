//! Who may call a route. The rule stands beside the handler in the list of routes; a route without a rule cannot be written.
//!
//! What the operator's own rules ask for comes on top of it, never in its place ([`super::rules`]).
//!
//! Refusals have the form of the wire they are on: container style for the identity endpoints (rest-3x.md 0.2), the fixed
//! JSON body for the portal APIs (portal-gateway-3x.md 1.2).

use crate::app::App;
use crate::http::reply;
use crate::http::rules::Demand;
use crate::http::tenant::{self, UrlTenant};
use crate::oauth::client_auth::basic_credentials;
use crate::oauth::scope_policy::scope_for;
use crate::portal_scopes;
use crate::users::Principal;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use claviger_proto::secret::Secret;
use claviger_proto::user::LoginName;
use claviger_store::error::StoreError;
use claviger_store::tokens::UserType;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Anybody, for the reason given.
    Public(&'static str),
    /// The handler authenticates an OAuth client.
    OAuthClient,
    /// A user of the request's tenant (the super tenant where the request names none) who holds this permission: by Basic
    /// credentials, or by a token of his with the scope that stands for it (rest-3x.md 6.2), if one does.
    Permission(&'static str),
    /// A portal user with one of these scopes: bearer token, or Basic with a role of the scope. An empty list takes any user.
    Portal(&'static [&'static str]),
    /// Any user by Basic credentials; refused in the portal's form.
    BasicUser,
    /// A user by Basic credentials who may [`ADMINISTER`] his own tenant, which is what he may ask about; refused in the
    /// portal's form. (A [`Rule::Permission`] to administer is one of the super tenant.)
    TenantAdministrator,
    /// As [`Rule::Portal`] when credentials are sent, anonymous otherwise.
    PortalOrAnonymous,
    /// A loopback peer, or a super-tenant user who holds this permission.
    LoopbackOrPermission(&'static str),
}

impl Rule {
    /// Is the route served below `/t/{tenant}`? What only the server's administrator may do has no tenants, and the portal knows
    /// them by other means.
    fn has_tenants(self) -> bool {
        match self {
            Self::Public(_) | Self::OAuthClient => true,
            Self::Permission(permission) => permission != ADMINISTER,
            Self::Portal(_)
            | Self::BasicUser
            | Self::TenantAdministrator
            | Self::PortalOrAnonymous
            | Self::LoopbackOrPermission(_) => false,
        }
    }

    /// Are refusals in the form of the portal?
    const fn is_portal(self) -> bool {
        matches!(self, Self::Portal(_) | Self::PortalOrAnonymous | Self::BasicUser | Self::TenantAdministrator)
    }
}

/// The permission that the administrator's own surfaces ask for.
pub const ADMINISTER: &str = "/permission/admin/manage/apim_admin";

/// By what a caller is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// His name and password.
    Password,
    /// A token that was issued to him.
    UserToken,
    /// A token that a client was issued for itself; the principal is the client's owner.
    ClientToken,
}

/// The authenticated user of a request. Handlers of guarded routes take it as an argument.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user.
    pub principal: Arc<Principal>,
    /// Scopes the call passed with: those of the token, or those whose roles the Basic user holds.
    pub scopes: Vec<String>,
    /// By what he is known.
    pub credential: Credential,
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

/// Lets a request through to its handler when the rule holds, and what the operator asks for beside it.
pub async fn enforce(State((app, rule)): State<(Arc<App>, Rule)>, mut request: Request, next: Next) -> Response {
    if !rule.has_tenants() && request.extensions().get::<UrlTenant>().is_some() {
        return reply::no_route();
    }
    match check(&app, rule, request.headers(), request.extensions()).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(rule.is_portal()),
    }
}

/// What nobody may probe: a path there that is no route answers like one to who shows no credentials (rest-3x.md 6.1).
const CLOSED: [&str; 4] = ["/keymanager-operations", "/api", "/internal", "/oauth2/introspect"];

/// The answer to a request that no route serves: 404, or 405 where the path has other methods.
pub async fn unserved(app: Arc<App>, request: Request, status: StatusCode) -> Response {
    let path = request.uri().path();
    let is_below = |start: &str| path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if CLOSED.into_iter().any(is_below)
        && request.method() != Method::OPTIONS
        && let Err(refusal) = authenticate(&app, request.headers()).await
    {
        let is_portal = is_below("/api/am");
        return refusal.into_response(is_portal);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED { reply::no_method() } else { reply::no_route() }
}

enum Refusal {
    /// No or wrong credentials; the name that was given.
    Unauthenticated(String),
    /// Authenticated, but without the permission.
    Forbidden(String),
    Store(StoreError),
}

impl Refusal {
    fn into_response(self, is_portal: bool) -> Response {
        match self {
            Self::Unauthenticated(_) | Self::Forbidden(_) if is_portal => reply::portal_unauthenticated(),
            Self::Unauthenticated(name) => reply::container_refusal(StatusCode::UNAUTHORIZED, &name),
            Self::Forbidden(name) => reply::container_refusal(StatusCode::FORBIDDEN, &name),
            Self::Store(error) => reply::store_failure(&error),
        }
    }
}

/// Who the caller is, where anybody asks.
async fn check(app: &App, rule: Rule, headers: &HeaderMap, extensions: &Extensions) -> Result<Option<Caller>, Refusal> {
    let parts = (headers, extensions.get::<UrlTenant>());
    let caller = match rule {
        Rule::Public(_) | Rule::OAuthClient => None,
        Rule::Permission(permission) => Some(check_permission(app, parts, permission).await?),
        Rule::LoopbackOrPermission(permission) => {
            let peer = extensions.get::<Peer>();
            if peer.is_some_and(|peer| peer.address.ip().to_canonical().is_loopback()) {
                None
            } else {
                Some(check_permission(app, parts, permission).await?)
            }
        }
        Rule::Portal(scopes) => Some(check_portal(app, headers, scopes).await?),
        Rule::BasicUser => Some(check_basic(app, headers).await?),
        Rule::TenantAdministrator => {
            let caller = check_basic(app, headers).await?;
            if !caller.principal.permissions.may(ADMINISTER) {
                return Err(forbidden(&caller));
            }
            Some(caller)
        }
        Rule::PortalOrAnonymous => {
            if headers.contains_key(AUTHORIZATION) {
                Some(check_portal(app, headers, &[]).await?)
            } else {
                None
            }
        }
    };
    let Some(demand) = extensions.get::<Demand>() else { return Ok(caller) };
    let caller = if let Some(caller) = caller {
        caller
    } else {
        let caller = authenticate(app, headers).await?;
        if demand.is_cross_tenant() { caller } else { in_tenant(app, caller, parts).await? }
    };
    if demand.is_met(&caller) { Ok(Some(caller)) } else { Err(forbidden(&caller)) }
}

fn forbidden(caller: &Caller) -> Refusal {
    Refusal::Forbidden(caller.principal.username.to_string())
}

async fn check_permission(
    app: &App,
    parts: (&HeaderMap, Option<&UrlTenant>),
    permission: &str,
) -> Result<Caller, Refusal> {
    let caller = authenticate(app, parts.0).await?;
    let caller = in_tenant(app, caller, parts).await?;
    let is_lent = match caller.credential {
        Credential::Password => true,
        // What the user lent to whom he had the token issued for; he must hold it still.
        Credential::UserToken => {
            scope_for(permission).is_some_and(|scope| caller.scopes.iter().any(|own| own == scope))
        }
        Credential::ClientToken => false,
    };
    if is_lent && caller.principal.permissions.may(permission) { Ok(caller) } else { Err(forbidden(&caller)) }
}

/// The caller as whom he acts in the tenant of the request.
async fn in_tenant(
    app: &App,
    caller: Caller,
    (headers, url): (&HeaderMap, Option<&UrlTenant>),
) -> Result<Caller, Refusal> {
    let name = caller.principal.username.to_string();
    let is_by_token = caller.credential != Credential::Password;
    let acting = tenant::acting(app, caller.principal, is_by_token, headers, url).await.map_err(Refusal::Store)?;
    let principal = acting.ok_or(Refusal::Unauthenticated(name))?;
    Ok(Caller { principal, ..caller })
}

/// The user of a bearer token, or one by Basic credentials.
async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(token) = header.strip_prefix("Bearer ") else { return check_basic(app, headers).await };
    let refused = || Refusal::Unauthenticated(String::new());
    let token = app.introspect(token.trim()).await.map_err(Refusal::Store)?.ok_or_else(refused)?;
    let principal = app.users.find(&token.username).await.map_err(Refusal::Store)?.ok_or_else(refused)?;
    let credential = match token.user_type {
        Some(UserType::ApplicationUser) => Credential::UserToken,
        // One that does not say whose it is counts as the lesser.
        Some(UserType::Application) | None => Credential::ClientToken,
    };
    Ok(Caller { principal, scopes: token.scopes.iter().map(str::to_owned).collect(), credential })
}

async fn check_basic(app: &App, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let Some((name, password)) = basic_credentials(headers) else {
        return Err(Refusal::Unauthenticated(String::new()));
    };
    let Ok(login) = LoginName::parse(&name) else { return Err(Refusal::Unauthenticated(String::new())) };
    let found = app.users.authenticate(&login, &Secret::new(password.expose())).await.map_err(Refusal::Store)?;
    let Some(principal) = found else {
        tracing::info!(target: "audit", user = login.username.with_tenant(), outcome = "refused", "basic authentication");
        return Err(Refusal::Unauthenticated(login.username.to_string()));
    };
    Ok(Caller { principal, scopes: Vec::new(), credential: Credential::Password })
}

async fn check_portal(app: &App, headers: &HeaderMap, scopes: &'static [&'static str]) -> Result<Caller, Refusal> {
    let mut caller = authenticate(app, headers).await?;
    if caller.credential == Credential::Password {
        let admin_role = &app.portal.admin_role;
        let granted = scopes.iter().filter(|scope| portal_scopes::is_granted(scope, &caller.principal, admin_role));
        caller.scopes = granted.map(|scope| (*scope).to_owned()).collect();
    }
    let is_allowed = match scopes {
        [] => true,
        wanted => wanted.iter().any(|scope| caller.scopes.iter().any(|own| own == scope)),
    };
    if is_allowed { Ok(caller) } else { Err(forbidden(&caller)) }
}
