//! Between the API object and what the registry keeps of it: the artifact's elements, its properties and its tags.
//!
//! Owns both directions. Leaves to others: the XML itself ([`super::artifact`]), operations and scopes (they are read
//! from AM_API_URL_MAPPING and the definition), and the rows of the registry (`claviger-store`).
//! Follows portal-gateway-3x.md 2.2 (column "stored as"), 5.3.
//!
//! Fields without an element of their own in the product's artifact are kept as JSON in the group `claviger`, which other
//! readers pass over.

use super::api_object::{
    AccessControl, ApiObject, ApiType, BusinessInformation, CorsConfiguration, EndpointSecurity, EndpointSecurityType,
    Implementation, MaxTps, SubscriptionAvailability, Visibility, read_key_managers,
};
use super::artifact::{Artifact, ArtifactError};
use super::context::ApiContext;
use super::lifecycle::State;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Media type of an API's artifact.
pub const MEDIA_TYPE: &str = "application/vnd.wso2-api+xml";
/// Name of the lifecycle aspect.
pub const LIFECYCLE: &str = "APILifeCycle";
/// Property of an artifact that says its state: `Published`.
pub const LIFECYCLE_STATE: &str = "registry.lifecycle.APILifeCycle.state";
const META_PREFIX: &str = "api_meta.";
const OWN_GROUP: &str = "claviger";
const OWN_FIELDS: &str = "fields";
/// Elements that hold `none` when nothing is chosen.
const NONE: &str = "none";

/// Everything the registry keeps of an API beside its definition.
#[derive(Clone)]
pub struct StoredApi {
    /// The artifact.
    pub artifact: Artifact,
    /// Properties of the artifact's resource.
    pub properties: BTreeMap<String, String>,
    /// Tags of the artifact's resource.
    pub tags: Vec<String>,
}

impl StoredApi {
    /// Is the API meant for any gateway? `none` means for no one; an empty value means for all (2.2).
    pub fn is_on_a_gateway(&self) -> bool {
        self.artifact.overview("environments") != Some(NONE)
    }

    /// Written by a portal that leaves the choice of environments open.
    fn is_on_every_gateway(&self) -> bool {
        self.artifact.overview("environments").is_none()
    }
}

/// Registry collection of a version: `/_system/governance/apimgt/applicationdata/provider/ann/Weather/1.0.0`.
pub fn collection(provider: &str, name: &str, version: &str) -> String {
    let provider = registry_provider(provider);
    format!("/_system/governance/apimgt/applicationdata/provider/{provider}/{name}/{version}")
}

/// The provider as it stands in paths and artifacts: `@` is written `-AT-`.
pub fn registry_provider(provider: &str) -> String {
    provider.replace('@', "-AT-")
}

/// The provider with a real `@`.
pub fn real_provider(stored: &str) -> String {
    stored.replace("-AT-", "@")
}

/// Writes an API over what was stored of it before, so that elements we do not know stay as they are.
pub fn encode(api: &ApiObject, context: &ApiContext, before: Option<&StoredApi>) -> StoredApi {
    let mut stored = match before {
        Some(before) => before.clone(),
        None => StoredApi { artifact: Artifact::default(), properties: BTreeMap::new(), tags: Vec::new() },
    };
    encode_identity(api, context, &mut stored.artifact);
    encode_access(api, &mut stored.artifact);
    encode_endpoints(api, &mut stored.artifact);
    if before.is_some_and(StoredApi::is_on_every_gateway) && api.gateway_environments.is_empty() {
        // The object shows such an API without environments; sending it back must not take it off its gateways.
        stored.artifact.set("overview", "environments", "");
    }
    encode_groups(api, &mut stored.artifact);
    encode_properties(api, &mut stored.properties);
    stored.tags = dedup(&api.tags);
    stored
}

fn encode_identity(api: &ApiObject, context: &ApiContext, artifact: &mut Artifact) {
    let mut set = |name: &str, value: &str| artifact.set("overview", name, value);
    set("provider", &registry_provider(api.provider.as_deref().unwrap_or_default()));
    set("name", &api.name);
    set("version", &api.version);
    set("context", &context.full);
    set("contextTemplate", &context.artifact_template);
    set("versionType", "context");
    set("type", api.kind.word());
    set("status", api.status().upper());
    set("isDefaultVersion", flag(api.is_default_version));
    set("description", api.description.as_deref().unwrap_or_default());
    let business = &api.business_information;
    set("technicalOwner", business.technical_owner.as_deref().unwrap_or_default());
    set("technicalOwnerEmail", business.technical_owner_email.as_deref().unwrap_or_default());
    set("businessOwner", business.business_owner.as_deref().unwrap_or_default());
    set("businessOwnerEmail", business.business_owner_email.as_deref().unwrap_or_default());
    set("testKey", api.test_key.as_deref().unwrap_or_default());
    set("wsdl", api.wsdl_url.as_deref().unwrap_or_default());
    set("enableStore", flag(api.enable_store));
    if artifact.overview("isLatest").is_none() {
        artifact.set("overview", "isLatest", "true");
    }
}

fn encode_access(api: &ApiObject, artifact: &mut Artifact) {
    let mut set = |name: &str, value: &str| artifact.set("overview", name, value);
    set("transports", &api.transport.join(","));
    set("tier", &api.policies.join("||"));
    set("apiSecurity", &api.security_scheme.join(","));
    set("authorizationHeader", api.authorization_header.as_deref().unwrap_or_default());
    set("keyManagers", &json!(api.key_managers).to_string());
    set("visibility", &api.visibility.word().to_lowercase());
    set("visibleRoles", &api.visible_roles.join(","));
    set("visibleTenants", &api.visible_tenants.join(","));
    set("subscriptionAvailability", &api.subscription_availability.word().to_lowercase());
    set("tenants", &api.subscription_available_tenants.join(","));
    let environments = api.gateway_environments.join(",");
    set("environments", if environments.is_empty() { NONE } else { &environments });
    let cors = serde_json::to_string(&api.cors_configuration).unwrap_or_default();
    set("corsConfiguration", &cors);
    set("enableSchemaValidation", flag(api.enable_schema_validation));
    set("responseCaching", if api.response_caching_enabled { "Enabled" } else { "Disabled" });
    set("cacheTimeout", &api.cache_timeout.to_string());
    let tps = api.max_tps.unwrap_or_default();
    set("productionTps", &number(tps.production));
    set("sandboxTps", &number(tps.sandbox));
}

fn encode_endpoints(api: &ApiObject, artifact: &mut Artifact) {
    let mut set = |name: &str, value: &str| artifact.set("overview", name, value);
    set("implementation", api.endpoint_implementation_type.word());
    let config = api.endpoint_config.as_ref().map(|config| Value::Object(config.0.clone()).to_string());
    set("endpointConfig", config.as_deref().unwrap_or_default());
    let security = api.endpoint_security.as_ref();
    set("endpointSecured", flag(security.is_some()));
    set("endpointAuthDigest", flag(security.is_some_and(|it| it.kind == EndpointSecurityType::Digest)));
    set("endpointUsername", security.map_or("", |it| &it.username));
    set("endpointPpassword", security.map_or("", |it| &it.password));
    for (element, kind) in [("inSequence", "in"), ("outSequence", "out"), ("faultSequence", "fault")] {
        let policy = api.mediation_policies.iter().find(|policy| policy.kind.eq_ignore_ascii_case(kind));
        set(element, policy.map_or("", |policy| &policy.name));
    }
}

fn encode_groups(api: &ApiObject, artifact: &mut Artifact) {
    let list =
        |name: &str, values: &[String]| dedup(values).into_iter().map(|value| (name.to_owned(), value)).collect();
    artifact.set_group("labels", list("labelName", &api.labels));
    artifact.set_group("apiCategories", list("categoryName", &api.categories));
    let mut templates = Vec::new();
    for (index, operation) in api.operations.iter().enumerate() {
        templates.push((format!("urlPattern{index}"), operation.target.clone()));
        templates.push((format!("httpVerb{index}"), operation.verb.clone()));
        templates.push((format!("authType{index}"), operation.auth_type.word().to_owned()));
    }
    artifact.set_group("URITemplate", templates);
    let own = json!({
        "wsdlInfo": api.wsdl_info,
        "destinationStatsEnabled": api.destination_stats_enabled,
        "deploymentEnvironments": api.deployment_environments,
        "monetization": api.monetization,
        "threatProtectionPolicies": api.threat_protection_policies,
        "mediationPolicies": api.mediation_policies,
    });
    artifact.set(OWN_GROUP, OWN_FIELDS, own.to_string());
}

fn encode_properties(api: &ApiObject, properties: &mut BTreeMap<String, String>) {
    let mut set = |name: &str, value: &str| drop(properties.insert(name.to_owned(), value.to_owned()));
    let state = api.status();
    set("STATUS", state.upper());
    set("registry.LC.name", LIFECYCLE);
    set(LIFECYCLE_STATE, state.title());
    let is_restricted = api.access_control == AccessControl::Restricted;
    let roles = if is_restricted { api.access_control_roles.join(",") } else { "null".to_owned() };
    set("publisher_access_control", if is_restricted { "restricted" } else { "all" });
    set("publisher_roles", &roles.to_lowercase());
    set("display_publisher_roles", &roles);
    let visible = if api.visibility == Visibility::Public { "null".to_owned() } else { api.visible_roles.join(",") };
    set("store_view_roles", &visible.to_lowercase());
    properties.retain(|name, _| !name.starts_with(META_PREFIX));
    for (key, value) in &api.additional_properties {
        properties.insert(format!("{META_PREFIX}{key}"), value.clone());
    }
}

/// Sets the lifecycle state of a stored API; nothing else changes.
pub fn set_state(stored: &mut StoredApi, state: State) {
    stored.artifact.set("overview", "status", state.upper());
    stored.properties.insert("STATUS".to_owned(), state.upper().to_owned());
    stored.properties.insert(LIFECYCLE_STATE.to_owned(), state.title().to_owned());
}

/// Reads the API back. Operations hold target, verb and auth type only; scopes are not in the artifact.
pub fn decode(stored: &StoredApi) -> (ApiObject, ApiContext) {
    let artifact = &stored.artifact;
    let text = |name: &str| artifact.overview(name).map(str::to_owned);
    let version = text("version").unwrap_or_default();
    let template = text("contextTemplate").or_else(|| text("context")).unwrap_or_default();
    let context = ApiContext::from_artifact_template(&template, &version);
    let mut api = ApiObject {
        name: text("name").unwrap_or_default(),
        context: context.row_template.clone(),
        provider: text("provider").map(|provider| real_provider(&provider)),
        life_cycle_status: Some(
            text("status").and_then(|it| State::parse(&it)).unwrap_or(State::Created).upper().into(),
        ),
        description: text("description"),
        kind: ApiType::from_stored(&text("type").unwrap_or_default()),
        test_key: text("testKey"),
        wsdl_url: text("wsdl"),
        has_thumbnail: text("thumbnail").is_some(),
        is_default_version: is_set(artifact, "isDefaultVersion", false),
        enable_store: is_set(artifact, "enableStore", true),
        enable_schema_validation: is_set(artifact, "enableSchemaValidation", false),
        response_caching_enabled: text("responseCaching").is_some_and(|it| it.eq_ignore_ascii_case("enabled")),
        cache_timeout: text("cacheTimeout").and_then(|it| it.parse().ok()).unwrap_or(300),
        business_information: BusinessInformation {
            business_owner: text("businessOwner"),
            business_owner_email: text("businessOwnerEmail"),
            technical_owner: text("technicalOwner"),
            technical_owner_email: text("technicalOwnerEmail"),
        },
        version,
        ..ApiObject::default()
    };
    decode_access(artifact, &mut api);
    decode_endpoints(artifact, &mut api);
    decode_groups(artifact, &mut api);
    decode_properties(&stored.properties, &mut api);
    api.tags.clone_from(&stored.tags);
    (api, context)
}

fn decode_access(artifact: &Artifact, api: &mut ApiObject) {
    let text = |name: &str| artifact.overview(name).unwrap_or_default();
    api.transport = list(text("transports"), ",");
    api.policies = list(text("tier"), "||");
    api.security_scheme = list(text("apiSecurity"), ",");
    if api.security_scheme.is_empty() {
        api.security_scheme = vec!["oauth2".to_owned()];
    }
    api.authorization_header = artifact.overview("authorizationHeader").map(str::to_owned);
    let key_managers = serde_json::from_str(text("keyManagers")).unwrap_or(Value::Null);
    api.key_managers = read_key_managers(&key_managers);
    api.visibility = Visibility::from_stored(text("visibility"));
    api.visible_roles = list(text("visibleRoles"), ",");
    api.visible_tenants = list(text("visibleTenants"), ",");
    api.subscription_availability = SubscriptionAvailability::from_stored(text("subscriptionAvailability"));
    api.subscription_available_tenants = list(text("tenants"), ",");
    let environments = list(text("environments"), ",");
    api.gateway_environments = environments.into_iter().filter(|name| name != NONE).collect();
    // Fields that a newer product adds must not hide the ones we know.
    api.cors_configuration = serde_json::from_str(text("corsConfiguration"))
        .ok()
        .map_or_else(CorsConfiguration::default, |value: Value| read_cors(&value));
    let number = |name: &str| text(name).parse().ok();
    let tps = MaxTps { production: number("productionTps"), sandbox: number("sandboxTps") };
    api.max_tps = (tps != MaxTps::default()).then_some(tps);
}

fn read_cors(value: &Value) -> CorsConfiguration {
    let words = |key: &str| -> Vec<String> {
        let list = value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let is_set = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(false);
    CorsConfiguration {
        cors_configuration_enabled: is_set("corsConfigurationEnabled"),
        access_control_allow_origins: words("accessControlAllowOrigins"),
        access_control_allow_credentials: is_set("accessControlAllowCredentials"),
        access_control_allow_headers: words("accessControlAllowHeaders"),
        access_control_allow_methods: words("accessControlAllowMethods"),
    }
}

fn decode_endpoints(artifact: &Artifact, api: &mut ApiObject) {
    let text = |name: &str| artifact.overview(name).unwrap_or_default();
    api.endpoint_implementation_type = Implementation::from_stored(text("implementation"));
    let config: Option<Map<String, Value>> = serde_json::from_str(text("endpointConfig")).ok();
    api.endpoint_config = config.map(super::api_object::EndpointConfig);
    if is_set(artifact, "endpointSecured", false) {
        let is_digest = is_set(artifact, "endpointAuthDigest", false);
        api.endpoint_security = Some(EndpointSecurity {
            kind: if is_digest { EndpointSecurityType::Digest } else { EndpointSecurityType::Basic },
            username: text("endpointUsername").to_owned(),
            password: text("endpointPpassword").to_owned(),
        });
    }
}

fn decode_groups(artifact: &Artifact, api: &mut ApiObject) {
    api.labels = artifact.all("labels", "labelName").map(str::to_owned).collect();
    api.categories = artifact.all("apiCategories", "categoryName").map(str::to_owned).collect();
    for index in 0.. {
        let element = |name: &str| artifact.get("URITemplate", &format!("{name}{index}"));
        let (Some(target), Some(verb)) = (element("urlPattern"), element("httpVerb")) else { break };
        api.operations.push(super::api_object::Operation {
            target: target.to_owned(),
            verb: verb.to_owned(),
            auth_type: super::api_object::AuthType::parse(element("authType").unwrap_or_default()),
            ..Default::default()
        });
    }
    let own: Value =
        artifact.get(OWN_GROUP, OWN_FIELDS).and_then(|it| serde_json::from_str(it).ok()).unwrap_or_default();
    let field = |name: &str| own.get(name).filter(|value| !value.is_null()).cloned();
    api.wsdl_info = field("wsdlInfo");
    api.destination_stats_enabled = field("destinationStatsEnabled");
    api.deployment_environments =
        field("deploymentEnvironments").and_then(|it| serde_json::from_value(it).ok()).unwrap_or_default();
    api.monetization = field("monetization");
    api.threat_protection_policies = field("threatProtectionPolicies");
    api.mediation_policies =
        field("mediationPolicies").and_then(|it| serde_json::from_value(it).ok()).unwrap_or_default();
}

fn decode_properties(properties: &BTreeMap<String, String>, api: &mut ApiObject) {
    let is_restricted = properties.get("publisher_access_control").is_some_and(|it| it == "restricted");
    if is_restricted {
        api.access_control = AccessControl::Restricted;
        let roles = properties.get("display_publisher_roles").or_else(|| properties.get("publisher_roles"));
        api.access_control_roles = list(roles.map(String::as_str).unwrap_or_default(), ",");
    }
    api.additional_properties = properties
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(META_PREFIX)?.to_owned(), value.clone())))
        .collect();
}

/// An artifact from its XML, with properties and tags beside it.
pub fn from_rows(
    xml: &str,
    properties: BTreeMap<String, String>,
    tags: Vec<String>,
) -> Result<StoredApi, ArtifactError> {
    Ok(StoredApi { artifact: Artifact::decode(xml)?, properties, tags })
}

fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn is_set(artifact: &Artifact, name: &str, default: bool) -> bool {
    artifact.overview(name).map_or(default, |text| text.eq_ignore_ascii_case("true"))
}

fn number(value: Option<i64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn list(text: &str, separator: &str) -> Vec<String> {
    text.split(separator).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn dedup(values: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for value in values {
        if !kept.contains(value) {
            kept.push(value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::body::parse_body;
    use super::*;

    const FULL: &str = r#"{"name":"Weather","context":"/t/abc.com/weather","version":"1.0.0","provider":"ann@abc.com",
        "description":"a & b","lifeCycleStatus":"PUBLISHED","type":"HTTP","transport":["https"],"tags":["sun","rain"],
        "policies":["Gold","Silver"],"authorizationHeader":"X-Auth","securityScheme":["oauth2"],"keyManagers":["all"],
        "visibility":"RESTRICTED","visibleRoles":["a","b"],"accessControl":"RESTRICTED","accessControlRoles":["Dev"],
        "subscriptionAvailability":"SPECIFIC_TENANTS","subscriptionAvailableTenants":["x.com"],"cacheTimeout":7,
        "gatewayEnvironments":["Production and Sandbox"],"labels":["l1"],"categories":["c1"],"responseCachingEnabled":true,
        "endpointConfig":{"endpoint_type":"http","production_endpoints":{"url":"http://b?a=1&b=2"}},
        "endpointSecurity":{"type":"DIGEST","username":"u","password":"p"},"maxTps":{"production":5,"sandbox":null},
        "isDefaultVersion":true,"enableSchemaValidation":true,"enableStore":false,"testKey":"k",
        "additionalProperties":{"team":"blue"},"businessInformation":{"businessOwner":"B","technicalOwnerEmail":"t@x"},
        "corsConfiguration":{"corsConfigurationEnabled":true,"accessControlAllowOrigins":["https://x"]},
        "mediationPolicies":[{"name":"log","type":"in","shared":true}],"monetization":{"enabled":false},
        "operations":[{"target":"/a","verb":"GET","authType":"None"},{"target":"/b","verb":"POST"}]}"#;

    fn full() -> (ApiObject, ApiContext) {
        let api: ApiObject = parse_body(FULL.as_bytes()).unwrap();
        let context = ApiContext::new(&api.context, &api.version, "abc.com").unwrap();
        (api, context)
    }

    #[test]
    fn every_field_comes_back() {
        let (api, context) = full();
        let stored = encode(&api, &context, None);
        let again = from_rows(&stored.artifact.encode(), stored.properties.clone(), stored.tags.clone()).unwrap();
        let (read, read_context) = decode(&again);
        assert_eq!(read_context, context);
        assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&api).unwrap());
    }

    #[test]
    fn elements_and_properties_of_the_contract() {
        let (api, context) = full();
        let stored = encode(&api, &context, None);
        let overview = |name: &str| stored.artifact.overview(name).unwrap_or_default().to_owned();
        assert_eq!(overview("provider"), "ann-AT-abc.com");
        assert_eq!(overview("context"), "/t/abc.com/weather/1.0.0");
        assert_eq!(overview("contextTemplate"), "/t/abc.com/weather/{version}");
        assert_eq!(overview("tier"), "Gold||Silver");
        assert_eq!(overview("status"), "PUBLISHED");
        assert_eq!(overview("visibility"), "restricted");
        assert_eq!(overview("endpointPpassword"), "p");
        assert_eq!(stored.properties["publisher_roles"], "dev");
        assert_eq!(stored.properties["display_publisher_roles"], "Dev");
        assert_eq!(stored.properties["api_meta.team"], "blue");
        assert_eq!(stored.properties["registry.lifecycle.APILifeCycle.state"], "Published");
        assert_eq!(
            collection("ann@abc.com", "W", "1"),
            "/_system/governance/apimgt/applicationdata/provider/ann-AT-abc.com/W/1"
        );
    }

    #[test]
    fn what_another_portal_wrote_is_kept() {
        let (mut api, context) = full();
        let mut before = encode(&api, &context, None);
        before.artifact.set("overview", "redirectURL", "http://elsewhere");
        before.properties.insert("foreign".to_owned(), "1".to_owned());
        api.additional_properties.clear();
        let after = encode(&api, &context, Some(&before));
        assert_eq!(after.artifact.overview("redirectURL"), Some("http://elsewhere"));
        assert_eq!(after.properties["foreign"], "1");
        assert!(!after.properties.contains_key("api_meta.team"));
    }

    #[test]
    fn no_environment_is_written_none() {
        let (mut api, context) = full();
        api.gateway_environments.clear();
        let stored = encode(&api, &context, None);
        assert_eq!(stored.artifact.overview("environments"), Some("none"));
        assert!(decode(&stored).0.gateway_environments.is_empty());
    }

    #[test]
    fn an_open_choice_of_environments_stays_open() {
        let (mut api, context) = full();
        let mut stored = encode(&api, &context, None);
        assert!(stored.is_on_a_gateway());
        stored.artifact.set("overview", "environments", "");
        api.gateway_environments.clear();
        let after = encode(&api, &context, Some(&stored));
        assert!(after.is_on_a_gateway());
        assert!(!encode(&api, &context, None).is_on_a_gateway());
    }

    #[test]
    fn a_state_change_touches_three_places() {
        let (api, context) = full();
        let mut stored = encode(&api, &context, None);
        set_state(&mut stored, State::Retired);
        assert_eq!(decode(&stored).0.status(), State::Retired);
        assert_eq!(stored.properties["STATUS"], "RETIRED");
        assert_eq!(stored.properties[LIFECYCLE_STATE], "Retired");
    }
}
