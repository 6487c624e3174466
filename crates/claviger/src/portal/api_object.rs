//! The publisher's API object: field names, defaults, and the normalisation that a write applies.
//!
//! Follows portal-gateway-3x.md 2.2. Rules that need facts from outside are in [`super::api_rules`]; how the fields are
//! stored is in [`super::artifact_map`].

use super::lifecycle::State;
use crate::http::json;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// An API as the publisher REST reads and writes it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are the table of portal-gateway-3x.md 2.2")]
#[expect(clippy::struct_excessive_bools, reason = "the wire has these flags")]
pub struct ApiObject {
    pub id: Option<String>,
    pub name: String,
    pub description: Option<String>,
    pub context: String,
    pub version: String,
    pub provider: Option<String>,
    pub life_cycle_status: Option<String>,
    pub wsdl_info: Option<Value>,
    pub wsdl_url: Option<String>,
    pub test_key: Option<String>,
    pub response_caching_enabled: bool,
    pub cache_timeout: i64,
    pub destination_stats_enabled: Option<Value>,
    pub has_thumbnail: bool,
    pub is_default_version: bool,
    pub enable_schema_validation: bool,
    pub enable_store: bool,
    #[serde(rename = "type")]
    pub kind: ApiType,
    pub transport: Vec<String>,
    pub tags: Vec<String>,
    pub policies: Vec<String>,
    pub api_throttling_policy: Option<String>,
    pub authorization_header: Option<String>,
    pub security_scheme: Vec<String>,
    #[serde(deserialize_with = "json::optional_member")]
    pub max_tps: Option<MaxTps>,
    pub visibility: Visibility,
    pub visible_roles: Vec<String>,
    pub visible_tenants: Vec<String>,
    #[serde(deserialize_with = "json::optional_member")]
    pub endpoint_security: Option<EndpointSecurity>,
    pub gateway_environments: Vec<String>,
    pub deployment_environments: Vec<Value>,
    pub labels: Vec<String>,
    #[serde(deserialize_with = "json::list_member")]
    pub mediation_policies: Vec<MediationPolicy>,
    pub subscription_availability: SubscriptionAvailability,
    pub subscription_available_tenants: Vec<String>,
    pub additional_properties: BTreeMap<String, String>,
    pub monetization: Option<Value>,
    pub access_control: AccessControl,
    pub access_control_roles: Vec<String>,
    #[serde(deserialize_with = "json::member")]
    pub business_information: BusinessInformation,
    #[serde(deserialize_with = "json::member")]
    pub cors_configuration: CorsConfiguration,
    pub workflow_status: Option<String>,
    pub created_time: Option<String>,
    pub last_updated_time: Option<String>,
    pub endpoint_config: Option<EndpointConfig>,
    pub endpoint_implementation_type: Implementation,
    #[serde(deserialize_with = "json::list_member")]
    pub scopes: Vec<ApiScope>,
    #[serde(deserialize_with = "json::list_member")]
    pub operations: Vec<Operation>,
    pub threat_protection_policies: Option<Value>,
    pub categories: Vec<String>,
    #[serde(deserialize_with = "key_managers")]
    pub key_managers: Vec<String>,
}

/// Declares an enumeration whose words are the same on the wire and in AM_API or the artifact (there in lower case).
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $first:ident = $first_word:literal $(, $other:ident = $word:literal)* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the words are those of portal-gateway-3x.md 2.2")]
        pub enum $name {
            #[default]
            #[serde(rename = $first_word)]
            $first,
            $(#[serde(rename = $word)] $other),*
        }
        impl $name {
            /// The word on the wire.
            pub fn word(self) -> &'static str {
                match self { Self::$first => $first_word, $(Self::$other => $word),* }
            }
            /// The word in any case; the default for anything else.
            pub fn from_stored(text: &str) -> Self {
                [Self::$first $(, Self::$other)*]
                    .into_iter()
                    .find(|word| word.word().eq_ignore_ascii_case(text))
                    .unwrap_or_default()
            }
        }
    };
}

words!(/** Kind of API. */ ApiType { Http = "HTTP", Ws = "WS", SoapToRest = "SOAPTOREST", Soap = "SOAP", GraphQl = "GRAPHQL" });
words!(/** Who sees the API in the developer portal. */ Visibility { Public = "PUBLIC", Private = "PRIVATE", Restricted = "RESTRICTED" });
words!(/** Who sees the API in the publisher. */ AccessControl { None = "NONE", Restricted = "RESTRICTED" });
words!(/** Whose applications may subscribe. */ SubscriptionAvailability {
    Current = "CURRENT_TENANT", All = "ALL_TENANTS", Specific = "SPECIFIC_TENANTS"
});
words!(/** Backend, or an answer made by the gateway. */ Implementation { Endpoint = "ENDPOINT", Inline = "INLINE" });
words!(/** How the gateway authenticates at the backend. */ EndpointSecurityType { Basic = "BASIC", Digest = "DIGEST" });

/// Limits of calls per second towards the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of portal-gateway-3x.md 2.2")]
pub struct MaxTps {
    pub production: Option<i64>,
    pub sandbox: Option<i64>,
}

/// Credentials for the backend. `Debug` leaves the password out.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of portal-gateway-3x.md 2.2")]
pub struct EndpointSecurity {
    #[serde(rename = "type")]
    pub kind: EndpointSecurityType,
    pub username: String,
    pub password: String,
}

impl fmt::Debug for EndpointSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointSecurity").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A mediation sequence; kept and returned, without effect on our gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of portal-gateway-3x.md 2.2")]
pub struct MediationPolicy {
    pub id: Option<String>,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub shared: bool,
}

/// Whom to ask about the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of portal-gateway-3x.md 2.2")]
pub struct BusinessInformation {
    pub business_owner: Option<String>,
    pub business_owner_email: Option<String>,
    pub technical_owner: Option<String>,
    pub technical_owner_email: Option<String>,
}

/// CORS values of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of portal-gateway-3x.md 2.2")]
pub struct CorsConfiguration {
    pub cors_configuration_enabled: bool,
    pub access_control_allow_origins: Vec<String>,
    pub access_control_allow_credentials: bool,
    pub access_control_allow_headers: Vec<String>,
    pub access_control_allow_methods: Vec<String>,
}

impl Default for CorsConfiguration {
    /// The product's defaults (6.4).
    fn default() -> Self {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        Self {
            cors_configuration_enabled: false,
            access_control_allow_origins: words(&["*"]),
            access_control_allow_credentials: false,
            access_control_allow_headers: words(&[
                "authorization",
                "Access-Control-Allow-Origin",
                "Content-Type",
                "SOAPAction",
                "apikey",
                "testKey",
            ]),
            access_control_allow_methods: words(&["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]),
        }
    }
}

/// A scope of the API, local or shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of portal-gateway-3x.md 2.2")]
pub struct ApiScope {
    #[serde(deserialize_with = "json::member")]
    pub scope: Scope,
    pub shared: bool,
}

/// A scope with the roles that may have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of portal-gateway-3x.md 2.2 and 2.6")]
pub struct Scope {
    pub id: Option<String>,
    pub name: String,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub bindings: Vec<String>,
    pub usage_count: Option<i64>,
}

/// One verb on one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of portal-gateway-3x.md 2.2")]
pub struct Operation {
    pub id: Option<String>,
    pub target: String,
    pub verb: String,
    pub auth_type: AuthType,
    pub throttling_policy: Option<String>,
    pub scopes: Vec<String>,
    pub used_product_ids: Vec<String>,
    pub amzn_resource_name: Option<String>,
    pub amzn_resource_timeout: Option<i64>,
}

impl Default for Operation {
    fn default() -> Self {
        Self {
            id: None,
            target: String::new(),
            verb: String::new(),
            auth_type: AuthType::Any,
            throttling_policy: Some(UNLIMITED.to_owned()),
            scopes: Vec::new(),
            used_product_ids: Vec::new(),
            amzn_resource_name: None,
            amzn_resource_timeout: None,
        }
    }
}

/// The policy of an operation that names none.
pub const UNLIMITED: &str = "Unlimited";

/// Which tokens an operation takes. Any unknown text reads as the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthType {
    /// A token of either kind.
    #[default]
    Any,
    /// A token of a user.
    User,
    /// A token of an application.
    Application,
    /// No token.
    None,
}

impl AuthType {
    /// On the wire, in `x-auth-type`, and in AM_API_URL_MAPPING after a PUT.
    pub fn word(self) -> &'static str {
        match self {
            Self::Any => "Application & Application User",
            Self::User => "Application User",
            Self::Application => "Application",
            Self::None => "None",
        }
    }

    /// In AM_API_URL_MAPPING after a POST.
    pub fn word_of_post(self) -> &'static str {
        match self {
            Self::Any => "Any",
            Self::User => "Application_User",
            Self::Application => "Application",
            Self::None => "None",
        }
    }

    /// From any of the spellings.
    pub fn parse(text: &str) -> Self {
        match text {
            "Application User" | "Application_User" => Self::User,
            "Application" => Self::Application,
            "None" => Self::None,
            _ => Self::Any,
        }
    }
}

impl Serialize for AuthType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for AuthType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&String::deserialize(deserializer)?))
    }
}

/// The backend description of 2.3, kept as the JSON it is. `Debug` shows nothing of it: it may hold passwords.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndpointConfig(pub Map<String, Value>);

impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointConfig(..)")
    }
}

/// Shows what names the API and nothing that could be a secret.
impl fmt::Debug for ApiObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiObject")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("context", &self.context)
            .field("status", &self.life_cycle_status)
            .finish_non_exhaustive()
    }
}

impl Default for ApiObject {
    fn default() -> Self {
        Self {
            id: None,
            name: String::new(),
            description: None,
            context: String::new(),
            version: String::new(),
            provider: None,
            life_cycle_status: None,
            wsdl_info: None,
            wsdl_url: None,
            test_key: None,
            response_caching_enabled: false,
            cache_timeout: 300,
            destination_stats_enabled: None,
            has_thumbnail: false,
            is_default_version: false,
            enable_schema_validation: false,
            enable_store: true,
            kind: ApiType::Http,
            transport: vec!["http".to_owned(), "https".to_owned()],
            tags: Vec::new(),
            policies: Vec::new(),
            api_throttling_policy: None,
            authorization_header: Some("Authorization".to_owned()),
            security_scheme: Vec::new(),
            max_tps: None,
            visibility: Visibility::Public,
            visible_roles: Vec::new(),
            visible_tenants: Vec::new(),
            endpoint_security: None,
            gateway_environments: Vec::new(),
            deployment_environments: Vec::new(),
            labels: Vec::new(),
            mediation_policies: Vec::new(),
            subscription_availability: SubscriptionAvailability::Current,
            subscription_available_tenants: Vec::new(),
            additional_properties: BTreeMap::new(),
            monetization: None,
            access_control: AccessControl::None,
            access_control_roles: Vec::new(),
            business_information: BusinessInformation::default(),
            cors_configuration: CorsConfiguration::default(),
            workflow_status: None,
            created_time: None,
            last_updated_time: None,
            endpoint_config: None,
            endpoint_implementation_type: Implementation::Endpoint,
            scopes: Vec::new(),
            operations: Vec::new(),
            threat_protection_policies: None,
            categories: Vec::new(),
            key_managers: vec!["all".to_owned()],
        }
    }
}

/// Anything but an array of names counts as the default.
fn key_managers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(read_key_managers(&Value::deserialize(deserializer)?))
}

/// Names of key managers from a JSON value; `["all"]` for anything but an array.
pub fn read_key_managers(value: &Value) -> Vec<String> {
    let names = value.as_array().map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    names.unwrap_or_else(|| vec!["all".to_owned()])
}

/// Scheme word: calls need application security.
pub const APPLICATION_SECURITY_MANDATORY: &str = "oauth_basic_auth_api_key_mandatory";

impl ApiObject {
    /// The lifecycle state; `Created` when none is set.
    pub fn status(&self) -> State {
        self.life_cycle_status.as_deref().and_then(State::parse).unwrap_or(State::Created)
    }

    /// Does a call need a subscription, so that the API needs policies (2.5)?
    pub fn needs_policies(&self) -> bool {
        self.security_scheme.iter().any(|scheme| scheme == "oauth2" || scheme == "api_key")
    }

    /// Applies what a write changes silently: schemes, verbs, default operations.
    pub fn normalise(&mut self) {
        normalise_schemes(&mut self.security_scheme);
        for operation in &mut self.operations {
            operation.verb.make_ascii_uppercase();
        }
        if self.operations.is_empty() {
            let verbs: &[&str] = match self.kind {
                ApiType::Http | ApiType::SoapToRest => &["GET", "PUT", "POST", "DELETE", "PATCH"],
                ApiType::Soap => &["POST"],
                ApiType::Ws | ApiType::GraphQl => &[],
            };
            self.operations = verbs
                .iter()
                .map(|verb| Operation { target: "/*".into(), verb: (*verb).into(), ..Operation::default() })
                .collect();
        }
    }
}

fn normalise_schemes(schemes: &mut Vec<String>) {
    let has = |schemes: &[String], wanted: &str| schemes.iter().any(|scheme| scheme == wanted);
    let has_application = ["oauth2", "basic_auth", "api_key"].iter().any(|scheme| has(schemes, scheme));
    let has_mutual = has(schemes, "mutualssl") || has(schemes, "mutualssl_mandatory");
    if !has_application && !has_mutual {
        schemes.push("oauth2".to_owned());
    }
    if has_mutual && !has_application {
        if !has(schemes, "mutualssl_mandatory") {
            schemes.push("mutualssl_mandatory".to_owned());
        }
        return;
    }
    let has_mandatory = has(schemes, "mutualssl_mandatory") || has(schemes, APPLICATION_SECURITY_MANDATORY);
    if (!has_mutual || !has_mandatory) && !has(schemes, APPLICATION_SECURITY_MANDATORY) {
        schemes.push(APPLICATION_SECURITY_MANDATORY.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::parse_body;
    use super::super::error::PortalError;
    use super::*;

    const EXAMPLE: &str = r#"{"name":"Weather","context":"/weather","version":"1.0.0","policies":["Gold"],
        "transport":["https"],"securityScheme":["oauth2","api_key"],"gatewayEnvironments":["Production and Sandbox"],
        "endpointConfig":{"endpoint_type":"http","production_endpoints":{"url":"http://b1:9000/w"}},
        "endpointSecurity":{"type":"BASIC","username":"u","password":"hunter2"},
        "operations":[{"target":"/city/{id}","verb":"get","authType":"Application & Application User",
        "throttlingPolicy":"Unlimited","scopes":["wx_read"]}],
        "scopes":[{"scope":{"name":"wx_read","displayName":"read","bindings":["Internal/subscriber"]},"shared":false}]}"#;

    #[test]
    fn example_of_the_contract_with_its_defaults() {
        let mut api: ApiObject = parse_body(EXAMPLE.as_bytes()).unwrap();
        api.normalise();
        assert_eq!(api.cache_timeout, 300);
        assert_eq!(api.key_managers, ["all"]);
        assert!(api.enable_store && !api.is_default_version);
        assert_eq!(api.operations[0].verb, "GET");
        assert_eq!(api.security_scheme, ["oauth2", "api_key", APPLICATION_SECURITY_MANDATORY]);
        let json = serde_json::to_value(&api).unwrap();
        assert_eq!(json["visibility"], "PUBLIC");
        assert_eq!(json["type"], "HTTP");
        assert_eq!(json["operations"][0]["authType"], "Application & Application User");
        assert!(json["apiThrottlingPolicy"].is_null());
        let again: ApiObject = parse_body(json.to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), json, "what is returned can be sent back");
    }

    #[test]
    fn unknown_fields_are_refused_on_every_level() {
        let check = |text: &str, name: &str| {
            let error = parse_body::<ApiObject>(text.as_bytes()).unwrap_err();
            assert!(matches!(&error, PortalError::UnknownField(field) if field == name), "{error}");
        };
        check(r#"{"name":"a","colour":"x"}"#, "colour");
        check(r#"{"operations":[{"path":"/"}]}"#, "path");
        check(r#"{"scopes":[{"scope":{"key":"x"}}]}"#, "key");
        let error = parse_body::<ApiObject>(br#"{"visibility":"SECRET"}"#).unwrap_err();
        assert!(matches!(error, PortalError::DisallowedValue));
    }

    #[test]
    fn key_managers_that_are_no_array_become_all() {
        let api: ApiObject = parse_body(br#"{"keyManagers":{"a":1}}"#).unwrap();
        assert_eq!(api.key_managers, ["all"]);
        let api: ApiObject = parse_body(br#"{"keyManagers":["Keycloak"]}"#).unwrap();
        assert_eq!(api.key_managers, ["Keycloak"]);
    }

    #[test]
    fn debug_shows_no_password() {
        let api: ApiObject = parse_body(EXAMPLE.as_bytes()).unwrap();
        let text = format!("{api:?} {:?} {:?}", api.endpoint_security, api.endpoint_config);
        assert!(!text.contains("hunter2") && !text.contains("9000"), "{text}");
    }

    #[test]
    fn schemes() {
        let check = |given: &[&str], expected: &[&str]| {
            let mut schemes = given.iter().map(|word| (*word).to_owned()).collect();
            normalise_schemes(&mut schemes);
            assert_eq!(schemes, expected);
        };
        check(&[], &["oauth2", APPLICATION_SECURITY_MANDATORY]);
        check(&["oauth2"], &["oauth2", APPLICATION_SECURITY_MANDATORY]);
        check(&["mutualssl"], &["mutualssl", "mutualssl_mandatory"]);
        check(&["mutualssl", "oauth2"], &["mutualssl", "oauth2", APPLICATION_SECURITY_MANDATORY]);
        check(&["mutualssl", "mutualssl_mandatory", "oauth2"], &["mutualssl", "mutualssl_mandatory", "oauth2"]);
    }

    #[test]
    fn no_operations_means_all_verbs_on_everything() {
        let mut api = ApiObject::default();
        api.normalise();
        assert_eq!(api.operations.len(), 5);
        assert!(api.operations.iter().all(|operation| operation.target == "/*"));
        let mut api = ApiObject { kind: ApiType::Ws, ..ApiObject::default() };
        api.normalise();
        assert!(api.operations.is_empty());
    }
}
