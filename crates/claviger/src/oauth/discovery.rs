//! Keys and metadata (RFC 7517, RFC 8414; contract rest-3x.md 1.11, 1.13). Says what is there, not what IS 5.10 would have.
//!
//! One key signs the tokens of all tenants and one issuer is named in them. Below `/t/{tenant}` the document names the tenant's
//! own addresses where the old server does: of registration and of the keys.

use crate::app::App;
use crate::http::extract::Path;
use crate::http::reply;
use crate::http::tenant::UrlTenant;
use crate::oauth::grant::GRANTS;
use crate::oauth::{id_token, userinfo};
use crate::portal::context::tenant_prefix;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use claviger_proto::ids::SUPER_TENANT_DOMAIN;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: String,
    revocation_endpoint: String,
    introspection_endpoint: String,
    registration_endpoint: String,
    jwks_uri: String,
    scopes_supported: Vec<&'static str>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: Vec<&'static str>,
    code_challenge_methods_supported: [&'static str; 2],
    authorization_response_iss_parameter_supported: bool,
    request_parameter_supported: bool,
    request_uri_parameter_supported: bool,
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: [&'static str; 1],
    claims_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: [&'static str; 2],
    revocation_endpoint_auth_methods_supported: [&'static str; 2],
    introspection_endpoint_auth_methods_supported: [&'static str; 1],
}

/// `GET /oauth2/jwks`.
pub async fn jwks(State(app): State<Arc<App>>) -> Response {
    reply::json(StatusCode::OK, &app.oauth.keys.published)
}

/// `GET /oauth2/{token|oidcdiscovery}/.well-known/openid-configuration`.
pub async fn metadata(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    tenant: Option<Extension<UrlTenant>>,
) -> Response {
    if !matches!(name.as_str(), "token" | "oidcdiscovery") {
        let text = "Invalid path to the discovery document. The path is not resolvable";
        return (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "text/plain")], text).into_response();
    }
    document(&app, tenant.as_ref().map_or(SUPER_TENANT_DOMAIN, |Extension(UrlTenant(domain))| domain))
}

/// `GET /.well-known/oauth-authorization-server/oauth2/token`: our issuer's place by RFC 8414 section 3.1 (oauth-oidc.md 2.14).
pub async fn authorization_server(State(app): State<Arc<App>>) -> Response {
    document(&app, SUPER_TENANT_DOMAIN)
}

fn document(app: &App, tenant: &str) -> Response {
    let settings = &app.oauth.settings;
    let at = |path: &str| format!("{}{path}", settings.base_url);
    let of_tenant = |path: &str| format!("{}{}{path}", settings.base_url, tenant_prefix(tenant));
    let metadata = Metadata {
        issuer: settings.issuer.clone(),
        authorization_endpoint: at("/oauth2/authorize"),
        token_endpoint: at("/oauth2/token"),
        userinfo_endpoint: at("/oauth2/userinfo"),
        revocation_endpoint: at("/oauth2/revoke"),
        introspection_endpoint: at("/oauth2/introspect"),
        registration_endpoint: of_tenant("/keymanager-operations/dcr/register"),
        jwks_uri: of_tenant("/oauth2/jwks"),
        scopes_supported: [id_token::OPENID].into_iter().chain(userinfo::scopes()).chain(["default"]).collect(),
        response_types_supported: ["code"],
        response_modes_supported: ["query"],
        grant_types_supported: GRANTS.iter().map(|grant| grant.name()).collect(),
        // `plain` for the applications that allow it.
        code_challenge_methods_supported: ["S256", "plain"],
        authorization_response_iss_parameter_supported: true,
        request_parameter_supported: false,
        request_uri_parameter_supported: false,
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: ["RS256"],
        claims_supported: id_token::CLAIMS.into_iter().chain(userinfo::claims()).collect(),
        token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
        revocation_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
        introspection_endpoint_auth_methods_supported: ["client_secret_basic"],
    };
    reply::json(StatusCode::OK, &metadata)
}
