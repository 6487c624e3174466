//! What a publisher may store: pure checks of an API object against facts that the caller has looked up.
//!
//! Follows portal-gateway-3x.md 2.4 (the order of the checks), 2.5 (needs), 2.3 (endpoint rules). The server's mutual TLS
//! is off in this product, so asking for it is refused (check 2).

use super::api_object::{AccessControl, ApiObject, ApiType, EndpointConfig, Implementation, Visibility};
use super::artifact::is_xml_character;
use super::context::ApiContext;
use super::error::{Finding, PortalError};
use super::lifecycle::State;
use serde_json::Value;
use std::collections::BTreeSet;

/// AM_API.CONTEXT, tenant prefix included. What a client may send is shorter ([`super::context::CONTEXT_LENGTH_MAX`]).
const CONTEXT_WIDTH: usize = 256;
/// Most operations of one API.
pub const OPERATIONS_MAX: usize = 2000;
/// Most scopes of one API.
pub const SCOPES_MAX: usize = 200;
/// Most scopes on an API's operations, and most roles on its scopes, all counted.
pub const SCOPE_LINKS_MAX: usize = 4000;
/// Most entries of any other list of an API.
pub const LIST_ENTRIES_MAX: usize = 1000;
/// Longest description, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 32 * 1024;
const NAME_FORBIDDEN: &str = "~!@#;%^*()+={}|<>\"',[]&/$\\";
const SEARCH_PREFIXES: &[&str] =
    &["provider", "version", "context", "status", "description", "subcontext", "doc", "lcstate", "name", "tags"];
const VERBS: &[&str] = &["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"];
const GRAPHQL_VERBS: &[&str] = &["QUERY", "MUTATION", "SUBSCRIPTION"];

/// What the checks need to know of the world.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Roles of the tenant.
    pub roles: &'a BTreeSet<String>,
    /// Roles of the caller.
    pub caller_roles: &'a BTreeSet<String>,
    /// Is the caller an administrator, and so free of the role-ownership check?
    pub is_admin: bool,
    /// Subscription policies of the tenant.
    pub subscription_policies: &'a BTreeSet<String>,
    /// Advanced policies of the tenant.
    pub api_policies: &'a BTreeSet<String>,
    /// Enabled key managers of the tenant.
    pub key_managers: &'a BTreeSet<String>,
    /// Gateway environments.
    pub environments: &'a BTreeSet<String>,
}

/// An API that has the same name (in any letter case) or the same context template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// AM_API.API_NAME.
    pub name: String,
    /// AM_API.API_VERSION.
    pub version: String,
    /// AM_API.CONTEXT_TEMPLATE.
    pub row_template: String,
}

/// Bean validation: required fields, lengths and bounds. First of all checks: the others may compare each with each.
pub fn check_fields(api: &ApiObject) -> Result<(), PortalError> {
    let mut findings = Vec::new();
    for (field, value, length_max) in
        [("name", &api.name, 50), ("context", &api.context, CONTEXT_WIDTH), ("version", &api.version, 30)]
    {
        if value.is_empty() {
            findings.push(Finding::field(field, "must not be null"));
        } else if value.chars().count() > length_max {
            findings.push(Finding::field(field, &format!("size must be between 1 and {length_max}")));
        }
    }
    if api.provider.as_deref().is_some_and(|provider| provider.chars().count() > 50) {
        findings.push(Finding::field("provider", "size must be between 0 and 50"));
    }
    if api.description.as_ref().is_some_and(|text| text.len() > DESCRIPTION_BYTES_MAX) {
        findings.push(Finding::field("description", &format!("at most {DESCRIPTION_BYTES_MAX} bytes")));
    }
    for (field, entries, entries_max) in list_lengths(api) {
        if entries > entries_max {
            findings.push(Finding::field(field, &format!("at most {entries_max} entries")));
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(PortalError::Invalid(findings)) }
}

/// Every list of the object: its name, its length, its bound.
fn list_lengths(api: &ApiObject) -> Vec<(&'static str, usize, usize)> {
    let cors = &api.cors_configuration;
    let others = [
        ("transport", api.transport.len()),
        ("tags", api.tags.len()),
        ("policies", api.policies.len()),
        ("securityScheme", api.security_scheme.len()),
        ("visibleRoles", api.visible_roles.len()),
        ("visibleTenants", api.visible_tenants.len()),
        ("gatewayEnvironments", api.gateway_environments.len()),
        ("deploymentEnvironments", api.deployment_environments.len()),
        ("labels", api.labels.len()),
        ("mediationPolicies", api.mediation_policies.len()),
        ("subscriptionAvailableTenants", api.subscription_available_tenants.len()),
        ("additionalProperties", api.additional_properties.len()),
        ("accessControlRoles", api.access_control_roles.len()),
        ("accessControlAllowOrigins", cors.access_control_allow_origins.len()),
        ("accessControlAllowHeaders", cors.access_control_allow_headers.len()),
        ("accessControlAllowMethods", cors.access_control_allow_methods.len()),
        ("categories", api.categories.len()),
        ("keyManagers", api.key_managers.len()),
    ];
    let on_operations = api.operations.iter().map(|operation| operation.scopes.len()).sum();
    let on_scopes = api.scopes.iter().map(|entry| entry.scope.bindings.len()).sum();
    let mut lengths = vec![
        ("operations", api.operations.len(), OPERATIONS_MAX),
        ("operations.scopes", on_operations, SCOPE_LINKS_MAX),
        ("scopes", api.scopes.len(), SCOPES_MAX),
        ("scopes.bindings", on_scopes, SCOPE_LINKS_MAX),
    ];
    lengths.extend(others.map(|(field, entries)| (field, entries, LIST_ENTRIES_MAX)));
    lengths
}

/// The checks that POST and PUT share, in the order of the contract.
pub fn check(api: &ApiObject, facts: &Facts<'_>) -> Result<(), PortalError> {
    check_fields(api)?;
    if api.kind == ApiType::Ws {
        check_urls(api.endpoint_config.as_ref(), &["ws", "wss"])?;
    }
    if api.security_scheme.iter().any(|scheme| scheme.starts_with("mutualssl")) {
        return bad("Mutual TLS is not enabled in the server");
    }
    check_access_roles(api, facts)?;
    check_additional_properties(api)?;
    check_visibility(api, facts)?;
    check_policies(api, facts)?;
    for name in api.key_managers.iter().filter(|name| *name != "all") {
        if !facts.key_managers.contains(name) {
            return Err(PortalError::UnknownKeyManager(name.clone()));
        }
    }
    check_characters(api)?;
    check_schemes(api)?;
    check_gateway(api, facts)?;
    if api.kind != ApiType::Ws {
        check_urls(api.endpoint_config.as_ref(), &["http", "https"])?;
    }
    check_operations(api, facts)?;
    check_scopes(api, facts)
}

/// Is the name, version and context free? `neighbours` does not hold the API itself.
pub fn check_unique(api: &ApiObject, context: &ApiContext, neighbours: &[Neighbour]) -> Result<(), PortalError> {
    let differs = |other: &&Neighbour| other.name != api.name && other.name.eq_ignore_ascii_case(&api.name);
    if let Some(other) = neighbours.iter().find(differs) {
        return Err(PortalError::NameDiffersInCase(other.name.clone()));
    }
    let (name, version) = (api.name.clone(), api.version.clone());
    if let Some(same) = neighbours.iter().find(|other| other.name == api.name && other.version == api.version) {
        return Err(if same.row_template == context.row_template {
            PortalError::ApiExists { name, version }
        } else {
            PortalError::ApiExistsWithOtherContext { name, version }
        });
    }
    let is_taken = neighbours.iter().any(|other| other.name != api.name && other.row_template == context.row_template);
    if is_taken {
        return Err(PortalError::ContextTaken(context.row_template.clone()));
    }
    Ok(())
}

/// What an update needs beyond [`check`] (2.5).
pub fn check_update(api: &ApiObject) -> Result<(), PortalError> {
    let is_live = !matches!(api.status(), State::Created | State::Prototyped);
    if is_live && api.needs_policies() && api.policies.is_empty() {
        return bad("A business plan must be selected for the API");
    }
    if api.kind != ApiType::Ws && api.operations.is_empty() {
        return Err(PortalError::NoResources);
    }
    Ok(())
}

/// What `Publish` needs (2.7).
pub fn check_publish(api: &ApiObject) -> Result<(), PortalError> {
    let has_endpoint = api.endpoint_config.as_ref().is_some_and(|config| !config.0.is_empty());
    if api.endpoint_implementation_type == Implementation::Endpoint && !has_endpoint {
        return bad("Failed to publish service to API store. No endpoint selected");
    }
    if api.needs_policies() && api.policies.is_empty() {
        return bad("Failed to publish service to API store. No Tiers selected");
    }
    Ok(())
}

fn bad<T>(text: impl Into<String>) -> Result<T, PortalError> {
    Err(PortalError::BadRequest(text.into()))
}

fn check_access_roles(api: &ApiObject, facts: &Facts<'_>) -> Result<(), PortalError> {
    if api.access_control == AccessControl::None {
        return Ok(());
    }
    if api.access_control_roles.is_empty() {
        return bad("Access control roles cannot be empty when visibility is restricted");
    }
    if let Some(role) = api.access_control_roles.iter().find(|role| !facts.roles.contains(*role)) {
        return Err(PortalError::UnknownRole(role.clone()));
    }
    if !facts.is_admin && !api.access_control_roles.iter().any(|role| facts.caller_roles.contains(role)) {
        return bad("This user does not have at least one role specified in API access control.");
    }
    Ok(())
}

fn check_additional_properties(api: &ApiObject) -> Result<(), PortalError> {
    for (key, value) in &api.additional_properties {
        if key.is_empty() || key.contains(char::is_whitespace) {
            return bad(format!(
                "Property names should not contain space character. Property '{key}' contains space in it."
            ));
        }
        if SEARCH_PREFIXES.iter().any(|word| word.eq_ignore_ascii_case(key)) {
            return bad(format!("Property '{key}' conflicts with the reserved keywords."));
        }
        if key.chars().count() > 80 || value.chars().count() > 900 {
            return bad(format!("Property '{key}' is too long: 80 characters for a name, 900 for a value"));
        }
    }
    Ok(())
}

fn check_visibility(api: &ApiObject, facts: &Facts<'_>) -> Result<(), PortalError> {
    if api.visibility == Visibility::Restricted && api.visible_roles.is_empty() {
        return bad("Valid roles should be added under 'visibleRoles' to restrict the visibility");
    }
    match api.visible_roles.iter().find(|role| !facts.roles.contains(*role)) {
        Some(role) => Err(PortalError::UnknownRole(role.clone())),
        None => Ok(()),
    }
}

fn check_policies(api: &ApiObject, facts: &Facts<'_>) -> Result<(), PortalError> {
    let unknown: Vec<String> =
        api.policies.iter().filter(|policy| !facts.subscription_policies.contains(*policy)).cloned().collect();
    if !unknown.is_empty() {
        return Err(PortalError::UnknownPolicies(unknown));
    }
    match &api.api_throttling_policy {
        Some(policy) if !facts.api_policies.contains(policy) => {
            bad(format!("Specified API throttling policy {policy} is invalid"))
        }
        _ => Ok(()),
    }
}

fn check_characters(api: &ApiObject) -> Result<(), PortalError> {
    for (field, value) in [("name", &api.name), ("version", &api.version)] {
        let is_forbidden = |c: char| NAME_FORBIDDEN.contains(c) || c.is_control() || !is_xml_character(c);
        // `.` and `..` would step out of the artifact's registry collection.
        if value.contains(is_forbidden) || value.trim() != *value || matches!(value.as_str(), "." | "..") {
            return bad(format!("The API {field} holds characters that are not allowed"));
        }
    }
    Ok(())
}

fn check_schemes(api: &ApiObject) -> Result<(), PortalError> {
    let known = ["oauth2", "basic_auth", "api_key", super::api_object::APPLICATION_SECURITY_MANDATORY];
    match api.security_scheme.iter().find(|scheme| !known.contains(&scheme.as_str())) {
        Some(scheme) => bad(format!("Unknown security scheme '{scheme}'")),
        None => Ok(()),
    }
}

/// What a gateway listens for and where it stands.
fn check_gateway(api: &ApiObject, facts: &Facts<'_>) -> Result<(), PortalError> {
    let header = api.authorization_header.as_deref().unwrap_or_default();
    if !header.is_empty() && http::HeaderName::from_bytes(header.as_bytes()).is_err() {
        return bad(format!("'{header}' is not a name of a header"));
    }
    // WebSocket APIs come with the default transports too.
    let transports: &[&str] =
        if api.kind == ApiType::Ws { &["ws", "wss", "http", "https"] } else { &["http", "https"] };
    if let Some(unknown) = api.transport.iter().find(|it| !transports.contains(&it.as_str())) {
        return bad(format!("Unknown transport '{unknown}'"));
    }
    match api.gateway_environments.iter().find(|name| !facts.environments.contains(*name)) {
        Some(name) => bad(format!("Gateway environment '{name}' does not exist")),
        None => Ok(()),
    }
}

/// Every URL of the endpoint configuration has one of the schemes.
fn check_urls(config: Option<&EndpointConfig>, schemes: &[&str]) -> Result<(), PortalError> {
    let Some(EndpointConfig(config)) = config else { return Ok(()) };
    if matches!(config.get("endpoint_type").and_then(Value::as_str), Some("default" | "awslambda")) {
        return Ok(());
    }
    let keys = ["production_endpoints", "sandbox_endpoints", "production_failovers", "sandbox_failovers"];
    for key in keys {
        let entries = match config.get(key) {
            None => continue,
            Some(Value::Array(list)) => list.as_slice(),
            Some(single) => std::slice::from_ref(single),
        };
        for entry in entries {
            let Some(text) = entry.get("url").and_then(Value::as_str) else {
                return bad(format!("endpointConfig.{key} has no url"));
            };
            let is_right = url::Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()) && url.has_host());
            if !is_right {
                return bad(format!("Invalid/Malformed endpoint URL(s) detected in endpointConfig.{key}"));
            }
        }
    }
    Ok(())
}

fn check_operations(api: &ApiObject, facts: &Facts<'_>) -> Result<(), PortalError> {
    let verbs = if api.kind == ApiType::GraphQl { GRAPHQL_VERBS } else { VERBS };
    let mut seen = BTreeSet::new();
    for operation in &api.operations {
        let (target, verb) = (operation.target.as_str(), operation.verb.as_str());
        if !verbs.contains(&verb) {
            return bad(format!("The verb '{verb}' is not allowed"));
        }
        let is_path = api.kind == ApiType::GraphQl || target.starts_with('/');
        if !is_path || target.is_empty() || target.len() > 512 || target.contains(char::is_control) {
            return bad(format!("The target '{target}' is not a path"));
        }
        if !seen.insert((target, verb)) {
            return bad(format!("The operation {verb} {target} is given twice"));
        }
        let policy = operation.throttling_policy.as_deref().unwrap_or(super::api_object::UNLIMITED);
        if !facts.api_policies.contains(policy) {
            return bad(format!("Specified throttling policy {policy} of {verb} {target} is invalid"));
        }
        if let Some(scope) = operation.scopes.iter().find(|name| !api.scopes.iter().any(|s| s.scope.name == **name)) {
            return bad(format!("The scope {scope} of {verb} {target} is not among the scopes of the API"));
        }
    }
    Ok(())
}

fn check_scopes(api: &ApiObject, facts: &Facts<'_>) -> Result<(), PortalError> {
    let mut seen = BTreeSet::new();
    for scope in api.scopes.iter().map(|entry| &entry.scope) {
        // RFC 6749 3.3: a scope-token has no blank, no quote, no backslash. The token table keeps 60 characters.
        let is_token = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if scope.name.is_empty() || scope.name.len() > 60 || !scope.name.bytes().all(is_token) {
            return bad(format!("The scope name '{}' is not valid", scope.name));
        }
        if !seen.insert(scope.name.as_str()) {
            return bad(format!("The scope {} is given twice", scope.name));
        }
        let is_too_long =
            |text: &Option<String>, length_max| text.as_deref().is_some_and(|t| t.chars().count() > length_max);
        if is_too_long(&scope.display_name, 255) || is_too_long(&scope.description, 512) {
            return bad(format!("The texts of scope {} are too long", scope.name));
        }
        if let Some(role) = scope.bindings.iter().find(|role| !facts.roles.contains(*role)) {
            return Err(PortalError::UnknownRole(role.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::api_object::Operation;
    use super::super::reply::reply;
    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn weather() -> ApiObject {
        let mut api = ApiObject {
            name: "Weather".into(),
            context: "/weather".into(),
            version: "1.0.0".into(),
            policies: vec!["Gold".into()],
            ..ApiObject::default()
        };
        api.normalise();
        api
    }

    #[track_caller]
    fn check_with(change: impl FnOnce(&mut ApiObject), status: u16) {
        let mut api = weather();
        change(&mut api);
        let (roles, caller) = (set(&["admin", "Internal/creator"]), set(&["Internal/creator"]));
        let facts = Facts {
            roles: &roles,
            caller_roles: &caller,
            is_admin: false,
            subscription_policies: &set(&["Gold", "Unlimited"]),
            api_policies: &set(&["Unlimited", "10KPerMin"]),
            key_managers: &set(&["Resident Key Manager"]),
            environments: &set(&["Default"]),
        };
        let got = match check(&api, &facts) {
            Ok(()) => 200,
            Err(error) => reply(&error, "").0.as_u16(),
        };
        assert_eq!(got, status);
    }

    fn config(json: &str) -> EndpointConfig {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn accepted() {
        check_with(|_| {}, 200);
        check_with(|api| api.key_managers = vec!["Resident Key Manager".into()], 200);
        check_with(|api| api.api_throttling_policy = Some("10KPerMin".into()), 200);
        let fine = r#"{"endpoint_type":"http","production_endpoints":{"url":"https://b.example/w"}}"#;
        check_with(|api| api.endpoint_config = Some(config(fine)), 200);
    }

    #[test]
    fn refused() {
        check_with(|api| api.name = String::new(), 400);
        check_with(|api| api.name = "a/b".into(), 400);
        check_with(|api| api.version = "..".into(), 400);
        check_with(|api| api.version = "1\u{ffff}".into(), 400);
        check_with(|api| api.version = "1".repeat(31), 400);
        check_with(|api| api.policies = vec!["Iron".into()], 400);
        check_with(|api| api.api_throttling_policy = Some("x".into()), 400);
        check_with(|api| api.key_managers = vec!["x".into()], 400);
        check_with(|api| api.security_scheme.push("mutualssl".into()), 400);
        check_with(|api| api.visibility = Visibility::Restricted, 400);
        check_with(|api| api.visible_roles = vec!["nobody".into()], 400);
        check_with(|api| api.access_control = AccessControl::Restricted, 400);
        check_with(|api| drop(api.additional_properties.insert("a b".into(), String::new())), 400);
        check_with(|api| drop(api.additional_properties.insert("status".into(), String::new())), 400);
        let first = |api: &mut ApiObject, change: fn(&mut Operation)| change(&mut api.operations[0]);
        check_with(|api| first(api, |o| o.verb = "STEAL".into()), 400);
        check_with(|api| first(api, |o| o.target = "x".into()), 400);
        check_with(|api| first(api, |o| o.scopes = vec!["x".into()]), 400);
        check_with(|api| first(api, |o| o.verb = "PUT".into()), 400);
        let file = r#"{"endpoint_type":"http","production_endpoints":{"url":"file:///etc/passwd"}}"#;
        check_with(|api| api.endpoint_config = Some(config(file)), 400);
    }

    #[test]
    fn access_roles_must_be_the_callers_own() {
        let restrict = |role: &'static str| {
            move |api: &mut ApiObject| {
                api.access_control = AccessControl::Restricted;
                api.access_control_roles = vec![role.into()];
            }
        };
        check_with(restrict("Internal/creator"), 200);
        check_with(restrict("admin"), 400);
    }

    #[test]
    fn uniqueness() {
        let context = ApiContext::new("/weather", "1.0.0", "carbon.super").unwrap();
        let status = |name: &str, version: &str, row_template: &str| {
            let other = Neighbour { name: name.into(), version: version.into(), row_template: row_template.into() };
            check_unique(&weather(), &context, &[other]).map_or_else(|error| reply(&error, "").0.as_u16(), |()| 200)
        };
        assert_eq!(status("Weather", "1.0.0", "/weather"), 409);
        assert_eq!(status("Weather", "1.0.0", "/wx"), 400);
        assert_eq!(status("weather", "2.0.0", "/wx"), 400);
        assert_eq!(status("Other", "1.0.0", "/weather"), 400);
        assert_eq!(status("Weather", "2.0.0", "/weather"), 200);
    }

    #[test]
    fn publishing_needs_an_endpoint_and_a_policy() {
        let mut api = weather();
        assert!(check_publish(&api).is_err());
        api.endpoint_config = Some(config(r#"{"endpoint_type":"http"}"#));
        assert!(check_publish(&api).is_ok());
        api.policies.clear();
        assert!(check_publish(&api).is_err());
        api.life_cycle_status = Some("PUBLISHED".into());
        assert!(check_update(&api).is_err());
    }
}
