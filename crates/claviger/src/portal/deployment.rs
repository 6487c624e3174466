//! From an API to what a gateway serves: a pure mapping of the API object and its resource rows to `ApiDeployment`.
//!
//! Follows portal-gateway-3x.md 2.3 (endpoint configuration), 5.2, 6.12. Endpoint kinds that the gateway cannot serve are
//! refused when the API is published ([`check_deployable`]), with a text that says which; an API published elsewhere is
//! mapped as far as it goes, and an endpoint that cannot be served is left out.

use super::api_object::{ApiObject, ApiType, AuthType, EndpointConfig, EndpointSecurityType, Implementation};
use super::context::ApiContext;
use super::error::PortalError;
use super::lifecycle::State;
use claviger_gateway::model::{ApiDeployment, ApiStatus, Cors, Endpoint, Resource};
use claviger_proto::encode::base64;
use claviger_proto::ids::{ApiId, ApiUuid};
use serde_json::{Map, Value};

/// What identifies the API, beside its object.
#[derive(Clone, Debug)]
pub struct Identity<'a> {
    /// AM_API.API_ID.
    pub id: ApiId,
    /// Registry UUID.
    pub uuid: &'a ApiUuid,
    /// Tenant of the provider.
    pub tenant_domain: &'a str,
    /// Context forms.
    pub context: &'a ApiContext,
    /// Is this the published default version (AM_API_DEFAULT_VERSION)?
    pub is_published_default: bool,
}

/// The deployment; `None` when the API's state is on no gateway. Resources are the API's operations, in their order.
pub fn deployment(api: &ApiObject, identity: &Identity<'_>) -> Option<ApiDeployment> {
    let status = match api.status() {
        State::Created | State::Retired => return None,
        State::Published => ApiStatus::Published,
        State::Prototyped => ApiStatus::Prototyped,
        State::Deprecated => ApiStatus::Deprecated,
        State::Blocked => ApiStatus::Blocked,
    };
    let cors = &api.cors_configuration;
    Some(ApiDeployment {
        id: identity.id,
        uuid: identity.uuid.clone(),
        name: api.name.clone(),
        version: api.version.clone(),
        provider: api.provider.clone().unwrap_or_default(),
        tenant_domain: identity.tenant_domain.to_owned(),
        context: identity.context.full.clone(),
        default_context: identity.is_published_default.then(|| identity.context.default_context()),
        status,
        transports: api.transport.clone(),
        authorization_header: api.authorization_header.clone().unwrap_or_else(|| "Authorization".to_owned()),
        security: application_schemes(api),
        key_managers: api.key_managers.clone(),
        resources: resources(api),
        production: endpoint(api, "production").ok().flatten(),
        sandbox: endpoint(api, "sandbox").ok().flatten(),
        cors: cors.cors_configuration_enabled.then(|| Cors {
            origins: cors.access_control_allow_origins.clone(),
            methods: cors.access_control_allow_methods.clone(),
            headers: cors.access_control_allow_headers.clone(),
            is_credentials_allowed: cors.access_control_allow_credentials,
            expose_headers: Vec::new(),
        }),
    })
}

/// Can the gateway serve what this API asks for? Asked when an API is published.
pub fn check_deployable(api: &ApiObject) -> Result<(), PortalError> {
    let refused = |why: &str| Err(PortalError::BadRequest(format!("The API cannot be published: {why}")));
    match api.kind {
        ApiType::Http | ApiType::Soap => {}
        ApiType::Ws | ApiType::GraphQl | ApiType::SoapToRest => {
            return refused(&format!("the gateway does not serve APIs of type {}", api.kind.word()));
        }
    }
    if api.endpoint_implementation_type == Implementation::Inline {
        return refused("the gateway does not serve inline implementations");
    }
    let production = endpoint(api, "production")?;
    let sandbox = endpoint(api, "sandbox")?;
    if production.is_none() && sandbox.is_none() {
        return refused("endpointConfig has neither a production nor a sandbox endpoint");
    }
    Ok(())
}

fn application_schemes(api: &ApiObject) -> Vec<String> {
    let known = ["oauth2", "basic_auth", "api_key", "mutualssl", "mutualssl_mandatory"];
    api.security_scheme.iter().filter(|scheme| known.contains(&scheme.as_str())).cloned().collect()
}

fn resources(api: &ApiObject) -> Vec<Resource> {
    let policy_of_api = api.api_throttling_policy.as_deref();
    api.operations
        .iter()
        .map(|operation| Resource {
            verb: operation.verb.clone(),
            pattern: operation.target.clone(),
            is_secured: operation.auth_type != AuthType::None,
            scopes: operation.scopes.clone(),
            throttling_policy: policy_of_api
                .or(operation.throttling_policy.as_deref())
                .unwrap_or(super::api_object::UNLIMITED)
                .to_owned(),
        })
        .collect()
}

/// The endpoint of one side; `None` when there is none (2.3: a missing side is legal).
fn endpoint(api: &ApiObject, side: &str) -> Result<Option<Endpoint>, PortalError> {
    let Some(EndpointConfig(config)) = &api.endpoint_config else { return Ok(None) };
    let refused = |why: String| Err(PortalError::BadRequest(format!("The API cannot be published: {why}")));
    let kind = config.get("endpoint_type").and_then(Value::as_str).unwrap_or("http");
    if !matches!(kind, "http" | "address" | "load_balance" | "failover") {
        return refused(format!("the gateway does not serve endpoints of type {kind}"));
    }
    // Of several endpoints the first one is served.
    let entry = match config.get(&format!("{side}_endpoints")) {
        Some(Value::Array(list)) => list.first(),
        other => other,
    };
    let Some(entry) = entry.filter(|entry| !entry.is_null()) else { return Ok(None) };
    let Some(url) = entry.get("url").and_then(Value::as_str) else { return Ok(None) };
    let is_http = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !is_http {
        return refused(format!("{side}_endpoints.url is not an http or https URL"));
    }
    let settings = entry.get("config").and_then(Value::as_object);
    Ok(Some(Endpoint {
        url: url.trim_end_matches('/').to_owned(),
        authorization: authorization(api, config, side)?,
        timeout_ms: settings.and_then(action_duration),
    }))
}

/// `actionDuration` in milliseconds, unless `neverTimeout`. Numbers may be texts.
fn action_duration(settings: &Map<String, Value>) -> Option<u64> {
    if settings.get("actionSelect").and_then(Value::as_str) == Some("neverTimeout") {
        return None;
    }
    let value = settings.get("actionDuration")?;
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|millis| *millis > 0)
}

/// The `Authorization` value for the backend: `endpoint_security` of the side, else the older `endpointSecurity`.
fn authorization(api: &ApiObject, config: &Map<String, Value>, side: &str) -> Result<Option<String>, PortalError> {
    let refused = |kind: &str| {
        let text = format!("The API cannot be published: the gateway does not speak {kind} to backends");
        Err(PortalError::BadRequest(text))
    };
    let basic =
        |user: &str, password: &str| Ok(Some(format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))));
    if let Some(security) = config.get("endpoint_security").and_then(|it| it.get(side)).filter(|it| is_enabled(it)) {
        let text = |key: &str| security.get(key).and_then(Value::as_str).unwrap_or_default();
        let kind = text("type");
        return if kind.eq_ignore_ascii_case("BASIC") {
            basic(text("username"), text("password"))
        } else if kind.eq_ignore_ascii_case("NONE") || kind.is_empty() {
            Ok(None)
        } else {
            refused(kind)
        };
    }
    match &api.endpoint_security {
        None => Ok(None),
        Some(security) => match security.kind {
            EndpointSecurityType::Basic => basic(&security.username, &security.password),
            EndpointSecurityType::Digest => refused("DIGEST"),
        },
    }
}

fn is_enabled(security: &Value) -> bool {
    match security.get("enabled") {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::parse_body;
    use super::*;

    fn api(config: &str, more: &str) -> ApiObject {
        let text = format!(
            r#"{{"name":"Weather","context":"/weather","version":"1.0.0","lifeCycleStatus":"PUBLISHED",
            "securityScheme":["oauth2","oauth_basic_auth_api_key_mandatory"],"endpointConfig":{config},
            "operations":[{{"target":"/a","verb":"GET","scopes":["s"]}},{{"target":"/b","verb":"GET","authType":"None"}}]{more}}}"#
        );
        parse_body(text.as_bytes()).unwrap()
    }

    const PLAIN: &str = r#"{"endpoint_type":"http","production_endpoints":{"url":"http://b1:9000/w/",
        "config":{"actionSelect":"fault","actionDuration":"3000"}}}"#;

    fn deploy(api: &ApiObject, is_published_default: bool) -> Option<ApiDeployment> {
        let context = ApiContext::new("/weather", "1.0.0", "carbon.super").unwrap();
        let uuid = ApiUuid::from("u-1");
        let id = ApiId(7);
        let identity =
            Identity { id, uuid: &uuid, tenant_domain: "carbon.super", context: &context, is_published_default };
        deployment(api, &identity)
    }

    #[test]
    fn a_published_api() {
        let deployed = deploy(&api(PLAIN, ""), true).unwrap();
        assert_eq!(deployed.context, "/weather/1.0.0");
        assert_eq!(deployed.default_context.as_deref(), Some("/weather"));
        assert_eq!(deployed.security, ["oauth2"]);
        let production = deployed.production.unwrap();
        assert_eq!((production.url.as_str(), production.timeout_ms), ("http://b1:9000/w", Some(3000)));
        assert_eq!(deployed.sandbox, None);
        assert!(deployed.resources[0].is_secured && !deployed.resources[1].is_secured);
        assert_eq!(deployed.resources[0].scopes, ["s"]);
        assert_eq!(deploy(&api(PLAIN, ""), false).unwrap().default_context, None);
    }

    #[test]
    fn an_api_policy_wins_over_the_resources() {
        let deployed = deploy(&api(PLAIN, r#","apiThrottlingPolicy":"10KPerMin""#), false).unwrap();
        assert_eq!(deployed.resources[0].throttling_policy, "10KPerMin");
    }

    #[test]
    fn created_and_retired_are_not_deployed() {
        let mut api = api(PLAIN, "");
        api.life_cycle_status = Some("RETIRED".into());
        assert!(deploy(&api, true).is_none());
        api.life_cycle_status = None;
        assert!(deploy(&api, true).is_none());
        api.life_cycle_status = Some("BLOCKED".into());
        assert_eq!(deploy(&api, true).unwrap().status, ApiStatus::Blocked);
    }

    #[test]
    fn backend_credentials() {
        let old = api(PLAIN, r#","endpointSecurity":{"type":"BASIC","username":"u","password":"p"}"#);
        let authorization = |api: &ApiObject| deploy(api, false).unwrap().production.unwrap().authorization;
        assert_eq!(authorization(&old).as_deref(), Some("Basic dTpw"));
        let new = r#"{"endpoint_type":"http","production_endpoints":{"url":"http://b"},
            "endpoint_security":{"production":{"enabled":true,"type":"BASIC","username":"x","password":"y"}}}"#;
        assert_eq!(authorization(&api(new, "")).as_deref(), Some("Basic eDp5"));
        assert_eq!(authorization(&api(&new.replace("true", "false"), "")), None);
        assert!(check_deployable(&api(&new.replace("BASIC", "OAUTH"), "")).is_err());
    }

    #[test]
    fn what_can_be_published() {
        assert!(check_deployable(&api(PLAIN, "")).is_ok());
        let balanced =
            r#"{"endpoint_type":"load_balance","production_endpoints":[{"url":"http://b1"},{"url":"http://b2"}]}"#;
        let deployed = deploy(&api(balanced, ""), false).unwrap();
        assert_eq!(deployed.production.unwrap().url, "http://b1");
        let check = |config: &str| assert!(check_deployable(&api(config, "")).is_err(), "{config}");
        check(r#"{"endpoint_type":"awslambda","access_method":"x"}"#);
        check(r#"{"endpoint_type":"default","production_endpoints":{"url":"default"}}"#);
        check(r#"{"endpoint_type":"http"}"#);
        check(r#"{"endpoint_type":"http","production_endpoints":{"url":"file:///etc"}}"#);
        assert!(check_deployable(&api(PLAIN, r#","type":"GRAPHQL""#)).is_err());
    }
}
