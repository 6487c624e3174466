//! `/keymanagers`: how a gateway checks tokens (rest-3x.md 5.4; portal-gateway-3x.md 4.4).
//!
//! The rows of AM_KEY_MANAGER, and this server as the tenant's resident one. What the resident's row says of issuer, keys and
//! endpoints is what the old server had; ours count. Flags must be booleans: a gateway takes them as such and fails on texts. There
//! is no password in the answer: gateways ask the resident key manager with their own. Secrets of other key managers stay as they
//! are stored, encrypted.

use super::Request;
use crate::app::App;
use crate::oauth::grant::GRANTS;
use crate::oauth::introspect::RESIDENT_KEY_MANAGER;
use crate::portal::context::tenant_prefix;
use axum::response::Response;
use claviger_store::error::StoreError;
use claviger_store::policies::{self, KeyManager};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Type of a key manager that API Manager needs no connector for.
const DEFAULT_TYPE: &str = "default";
/// Tokens are used as they are issued. The other kinds (`EXCHANGED`, `BOTH`) came with 4.1; 3.2 has no column for it.
const DIRECT: &str = "DIRECT";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyManagerView {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    enabled: bool,
    tenant_domain: String,
    token_type: &'static str,
    configuration: Map<String, Value>,
}

/// `GET /keymanagers`, a bare array.
pub(super) async fn list(request: Request) -> Response {
    let found = find(&request).await;
    request.answer(found).await
}

async fn find(request: &Request) -> Result<Vec<KeyManagerView>, StoreError> {
    let mut conn = request.app.store.reader().await?;
    let mut views = Vec::new();
    for (_, domain) in request.listed_tenants(&mut conn).await? {
        let rows = policies::list_key_managers(&mut conn, &domain).await?;
        let (resident, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.name == RESIDENT_KEY_MANAGER);
        views.extend(others.into_iter().map(|row| view(row, &domain)));
        let row = resident.into_iter().next();
        let is_enabled = row.as_ref().is_none_or(|row| row.is_enabled);
        let stored = row.and_then(|row| row.configuration);
        let configuration = resident_configuration(&request.app, &domain, stored.as_deref());
        views.push(KeyManagerView {
            name: RESIDENT_KEY_MANAGER.to_owned(),
            kind: DEFAULT_TYPE.to_owned(),
            enabled: is_enabled,
            tenant_domain: domain,
            token_type: DIRECT,
            configuration,
        });
    }
    Ok(views)
}

fn view(row: KeyManager, domain: &str) -> KeyManagerView {
    KeyManagerView {
        configuration: stored_configuration(row.configuration.as_deref(), &row.name),
        name: row.name,
        kind: row.kind.unwrap_or_else(|| DEFAULT_TYPE.to_owned()),
        enabled: row.is_enabled,
        tenant_domain: domain.to_owned(),
        token_type: DIRECT,
    }
}

fn stored_configuration(bytes: Option<&[u8]>, name: &str) -> Map<String, Value> {
    match bytes.map(serde_json::from_slice) {
        Some(Ok(Value::Object(configuration))) => configuration,
        None => Map::new(),
        Some(_) => {
            tracing::warn!(key_manager = name, "the configuration of a key manager is not a JSON object");
            Map::new()
        }
    }
}

fn resident_configuration(app: &App, tenant: &str, stored: Option<&[u8]>) -> Map<String, Value> {
    let settings = &app.oauth.settings;
    let keys = json!(format!("{}{}/oauth2/jwks", settings.base_url, tenant_prefix(tenant)));
    let at = |path: &str| json!(format!("{}{path}", settings.base_url));
    let grants: Vec<&str> = GRANTS.iter().map(|grant| grant.name()).collect();
    let mut configuration = Map::new();
    // What may be said otherwise by the row.
    for (name, value) in [
        ("consumer_key_claim", json!("azp")),
        ("scopes_claim", json!("scope")),
        ("claim_mappings", json!([])),
        ("grant_types", json!(grants)),
        ("self_validate_jwt", json!(true)),
        ("validation_enable", json!(true)),
        ("enable_token_generation", json!(true)),
        ("enable_oauth_app_creation", json!(true)),
        ("enable_map_oauth_consumer_apps", json!(false)),
        ("enable_token_hash", json!(false)),
        ("enable_token_encryption", json!(false)),
    ] {
        configuration.insert(name.to_owned(), value);
    }
    configuration.extend(stored_configuration(stored, RESIDENT_KEY_MANAGER));
    // What this server knows better.
    for (name, value) in [
        ("issuer", json!(settings.issuer)),
        ("certificate_type", json!("JWKS")),
        ("certificate_value", keys.clone()),
        ("jwks_endpoint", keys),
        ("well_known_endpoint", at("/oauth2/token/.well-known/openid-configuration")),
        ("token_endpoint", at("/oauth2/token")),
        ("revoke_endpoint", at("/oauth2/revoke")),
        ("introspection_endpoint", at("/oauth2/introspect")),
        ("client_registration_endpoint", at("/keymanager-operations/dcr/register")),
        ("scope_endpoint", at("/api/identity/oauth2/v1.0/scopes")),
        ("ServerURL", at("/services/")),
        ("TokenURL", at("/oauth2/token")),
        ("RevokeURL", at("/oauth2/revoke")),
    ] {
        configuration.insert(name.to_owned(), value);
    }
    for name in ["Username", "Password"] {
        configuration.remove(name);
    }
    configuration
}
