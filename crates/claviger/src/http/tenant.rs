//! Which tenant a request is for: `/t/{tenant}` before the paths of the key manager, and the header by which API-M's
//! administrator acts in another tenant (contract rest-3x.md 0.2, 0.3, 6.3).
//!
//! A path with the prefix goes through the same router without it, under the same rules; nothing else is served there.

use crate::app::App;
use crate::http::access::{ADMINISTER, Peer};
use crate::http::reply;
use crate::http::rules::Demand;
use crate::users::Principal;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use claviger_proto::account::AccountState;
use claviger_proto::ids::{SUPER_TENANT_DOMAIN, TenantId};
use claviger_proto::permission::{Permissions, Roles};
use claviger_proto::user::{NameRule, Username};
use claviger_store::error::StoreError;
use claviger_store::tenants;
use serde::Serialize;
use std::sync::Arc;
use tower_service::Service as _;

/// Where a tenant's paths begin.
pub const ROUTE: &str = "/t/{tenant}/{*rest}";
/// What may stand behind `/t/{tenant}`, beside what `[tenant_context.rewrite]` adds; everything else knows its tenant by other
/// means.
pub const PREFIXES: &[&str] =
    &["/oauth2/", "/keymanager-operations/", "/api/identity/oauth2/dcr/v1.1/", "/api/identity/oauth2/v1.0/"];
/// Names the tenant that a request is for.
const HEADER: &str = "x-wso2-tenant";
/// What the administrator of a tenant holds there.
const TENANT_ROOT: &str = "/permission/admin";

/// The tenant that a path names.
#[derive(Clone, Debug)]
pub struct UrlTenant(pub String);

/// Passes a request for `/t/{tenant}/...` on without the prefix.
pub async fn forward(app: Arc<App>, mut router: Router, request: Request) -> Response {
    let path = request.uri().path();
    let found = path.strip_prefix("/t/").and_then(|rest| rest.split_once('/'));
    let Some((tenant, rest)) = found.map(|(tenant, rest)| (tenant.to_ascii_lowercase(), format!("/{rest}"))) else {
        return reply::no_route();
    };
    if !is_served(&app, &rest) {
        return reply::no_route();
    }
    match find(&app, &tenant).await {
        Ok(Some(_)) => {}
        Ok(None) => return unknown(&tenant),
        Err(error) => return reply::store_failure(&error),
    }
    let uri = match request.uri().query() {
        Some(query) => format!("{rest}?{query}").parse::<Uri>(),
        None => rest.parse::<Uri>(),
    };
    let Ok(uri) = uri else { return reply::no_route() };
    // A request of its own: what the router noted about the long path does not concern the short one.
    let (parts, body) = request.into_parts();
    let mut inner = Request::new(body);
    (*inner.method_mut(), *inner.version_mut()) = (parts.method, parts.version);
    (*inner.uri_mut(), *inner.headers_mut()) = (uri, parts.headers);
    if let Some(peer) = parts.extensions.get::<Peer>() {
        inner.extensions_mut().insert(*peer);
    }
    if let Some(demand) = parts.extensions.get::<Demand>() {
        inner.extensions_mut().insert(demand.clone());
    }
    inner.extensions_mut().insert(UrlTenant(tenant));
    match router.call(inner).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Is the path, given without its tenant, one that tenants have? Some routes of the operator's list are nobody's but the server's
/// for all that (`Rule`).
fn is_served(app: &App, path: &str) -> bool {
    let own = app.config.tenant_paths.iter().map(String::as_str);
    PREFIXES.iter().copied().chain(own).any(|start| path.starts_with(start) || start.strip_suffix('/') == Some(path))
}

/// 404 for a tenant that is unknown or not active.
fn unknown(tenant: &str) -> Response {
    #[derive(Serialize)]
    struct Fault<'a> {
        code: u16,
        message: &'a str,
        description: &'a str,
    }
    let text = format!("invalid tenant domain : {tenant}");
    reply::json(StatusCode::NOT_FOUND, &Fault { code: 404, message: &text, description: &text })
}

async fn find(app: &App, domain: &str) -> Result<Option<TenantId>, StoreError> {
    if domain == SUPER_TENANT_DOMAIN {
        return Ok(Some(TenantId::SUPER));
    }
    let mut conn = app.store.reader().await?;
    tenants::find_by_domain(&mut conn, domain).await
}

/// The tenant that a header names, if it names one.
fn named(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(HEADER)?.to_str().unwrap_or("?").trim();
    (!value.is_empty()).then(|| value.to_ascii_lowercase())
}

/// As whom an authenticated user acts: as himself, or, if he is the configured administrator and the header names another
/// tenant, as that tenant's administrator; a token (`is_by_token`) is its user's only. `None`: nobody may do what the header says,
/// or the path names another tenant than the user's. A path without a tenant is the super tenant's, unless the header has switched.
pub async fn acting(
    app: &App,
    principal: Arc<Principal>,
    is_by_token: bool,
    headers: &HeaderMap,
    url: Option<&UrlTenant>,
) -> Result<Option<Arc<Principal>>, StoreError> {
    let own = principal.username.tenant.clone();
    let (principal, is_switched) = match named(headers) {
        Some(wanted) if wanted != own => {
            if is_by_token {
                return Ok(None);
            }
            let admin = Username::parse(&app.config.super_admin.username).ok();
            let is_named = principal.tenant == TenantId::SUPER && admin.as_ref() == Some(&principal.username);
            // The name alone does not do: he may have been demoted.
            if !is_named || !principal.permissions.may(ADMINISTER) {
                return Ok(None);
            }
            let Some(tenant) = find(app, &wanted).await? else { return Ok(None) };
            (Arc::new(administrator(app, &principal.username, tenant, wanted)), true)
        }
        _ => (principal, false),
    };
    let of_request = match url {
        Some(UrlTenant(tenant)) => tenant.as_str(),
        None if is_switched => &principal.username.tenant,
        None => SUPER_TENANT_DOMAIN,
    };
    Ok((principal.username.tenant == of_request).then_some(principal))
}

/// The administrator of a tenant, by the name of the one who acts for him.
fn administrator(app: &App, by: &Username, tenant: TenantId, domain: String) -> Principal {
    let role = app.portal.admin_role.clone();
    Principal {
        username: Username { tenant: domain, ..by.clone() },
        tenant,
        permissions: Permissions::new([(role.clone(), TENANT_ROOT.to_owned(), true)]),
        roles: Arc::new(Roles::new(vec![role])),
        // Nobody of the tenant is called so: no row in another spelling is his.
        name_rule: NameRule::Exact,
        account: AccountState::default(),
    }
}
