//! Writing an API definition: a new one from the operations, an existing one brought in line with the API object, and the
//! two views of it (publisher, developer portal).
//!
//! Follows portal-gateway-3x.md 2.8 (stored form, extensions, merge rule) and 3.2 (developer portal). Reading and checking
//! is [`super::openapi_read`]'s.

use super::api_object::{ApiObject, ApiScope, Operation, UNLIMITED};
use super::context::ApiContext;
use super::openapi_read::{DEFAULT_SCHEME, Definition, Family, METHODS, is_oauth};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The placeholder that stored documents carry.
const AUTHORIZATION_URL: &str = "https://test.com";

/// A new document in its stored form.
pub fn create(api: &ApiObject) -> Definition {
    let info = json!({"title": api.name, "version": api.version, "description": api.description});
    let mut document = Map::new();
    document.insert("openapi".to_owned(), json!("3.0.1"));
    document.insert("info".to_owned(), drop_null_description(info));
    document.insert("paths".to_owned(), json!({}));
    document.insert("components".to_owned(), json!({}));
    let mut definition = Definition { document, family: Family::V3 };
    merge(&mut definition, api);
    definition
}

/// Brings a document in line with the API: operations that the API lacks go, those that the document lacks come, the
/// extensions and the security of all are written anew. Everything else stays.
pub fn merge(definition: &mut Definition, api: &ApiObject) {
    let wanted: BTreeSet<(&str, String)> =
        api.operations.iter().map(|it| (it.target.as_str(), it.verb.to_ascii_lowercase())).collect();
    let family = definition.family;
    let paths = object_entry(&mut definition.document, "paths");
    for (path, item) in paths.iter_mut().filter(|(path, _)| !path.starts_with("x-")) {
        if let Some(item) = item.as_object_mut() {
            item.retain(|key, _| !METHODS.contains(&key.as_str()) || wanted.contains(&(path.as_str(), key.clone())));
        }
    }
    paths.retain(|path, item| path.starts_with("x-") || METHODS.iter().any(|method| item.get(*method).is_some()));
    for operation in &api.operations {
        let item = object_entry(paths, &operation.target);
        let method = operation.verb.to_ascii_lowercase();
        if !item.get(&method).is_some_and(Value::is_object) {
            item.insert(method.clone(), new_operation(operation, family));
        }
        let entry = object_entry(item, &method);
        entry.remove("x-scope");
        entry.insert("security".to_owned(), json!([{DEFAULT_SCHEME: operation.scopes}]));
        entry.insert("x-auth-type".to_owned(), json!(operation.auth_type.word()));
        let policy = operation.throttling_policy.as_deref().unwrap_or(UNLIMITED);
        entry.insert("x-throttling-tier".to_owned(), json!(policy));
    }
    definition.document.remove("x-wso2-security");
    definition.document.remove("security");
    write_scheme(definition, &api.scopes);
}

/// A version number goes into `info` when an API is copied.
pub fn set_version(definition: &mut Definition, version: &str) {
    object_entry(&mut definition.document, "info").insert("version".to_owned(), json!(version));
}

/// Writes `default` and removes every other OAuth2 scheme: a scope that stands in two places cannot be given up.
fn write_scheme(definition: &mut Definition, scopes: &[ApiScope]) {
    let described: Map<String, Value> = scopes
        .iter()
        .map(|it| (it.scope.name.clone(), json!(it.scope.description.as_deref().unwrap_or_default())))
        .collect();
    let bindings: Map<String, Value> =
        scopes.iter().map(|it| (it.scope.name.clone(), json!(it.scope.bindings.join(",")))).collect();
    let flow = json!({"authorizationUrl": AUTHORIZATION_URL, "scopes": described, "x-scopes-bindings": bindings});
    let (schemes, scheme) = match definition.family {
        Family::V2 => {
            let mut scheme = flow;
            scheme["type"] = json!("oauth2");
            scheme["flow"] = json!("implicit");
            (object_entry(&mut definition.document, "securityDefinitions"), scheme)
        }
        Family::V3 => {
            let components = object_entry(&mut definition.document, "components");
            let scheme = json!({"type": "oauth2", "flows": {"implicit": flow}});
            (object_entry(components, "securitySchemes"), scheme)
        }
    };
    schemes.retain(|_, scheme| !is_oauth(scheme));
    schemes.insert(DEFAULT_SCHEME.to_owned(), scheme);
}

fn new_operation(operation: &Operation, family: Family) -> Value {
    let parameters: Vec<Value> = path_parameters(&operation.target)
        .map(|name| match family {
            Family::V2 => json!({"name": name, "in": "path", "required": true, "type": "string"}),
            Family::V3 => json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}),
        })
        .collect();
    let mut entry = json!({"responses": {"200": {"description": "OK"}}});
    if !parameters.is_empty() {
        entry["parameters"] = Value::Array(parameters);
    }
    if matches!(operation.verb.as_str(), "POST" | "PUT" | "PATCH") && family == Family::V3 {
        entry["requestBody"] =
            json!({"content": {"application/json": {"schema": {"type": "object"}}}, "required": false});
    }
    entry
}

/// `/a/{id}/b/{key}` has `id` and `key`.
fn path_parameters(target: &str) -> impl Iterator<Item = &str> {
    target.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

/// What the publisher's `GET /apis/{id}/swagger` adds to the stored document.
pub fn publisher_view(definition: &Definition, api: &ApiObject, context: &ApiContext) -> Value {
    let mut definition = definition.clone();
    set_authorization_url(&mut definition, "");
    let document = &mut definition.document;
    let mut set = |name: &str, value: Value| drop(document.insert(name.to_owned(), value));
    set("x-wso2-auth-header", json!(api.authorization_header));
    set("x-throttling-tier", json!(api.api_throttling_policy));
    set("x-wso2-cors", json!(api.cors_configuration));
    for (extension, key) in
        [("x-wso2-production-endpoints", "production_endpoints"), ("x-wso2-sandbox-endpoints", "sandbox_endpoints")]
    {
        if let Some(endpoints) = endpoint_extension(api, key) {
            set(extension, endpoints);
        }
    }
    set("x-wso2-basePath", json!(context.full));
    set("x-wso2-transports", json!(api.transport));
    let response_cache = json!({"enabled": api.response_caching_enabled, "cacheTimeoutInSeconds": api.cache_timeout});
    set("x-wso2-response-cache", response_cache);
    let types: Vec<&String> =
        api.security_scheme.iter().filter(|it| ["oauth2", "basic_auth", "api_key"].contains(&it.as_str())).collect();
    let security = json!({"security-types": types, "optional": false});
    for_each_operation(document, |operation| {
        operation.insert("x-wso2-application-security".to_owned(), security.clone());
    });
    Value::Object(definition.document)
}

fn endpoint_extension(api: &ApiObject, key: &str) -> Option<Value> {
    let endpoints = api.endpoint_config.as_ref()?.0.get(key)?;
    let entries = endpoints.as_array().map_or(std::slice::from_ref(endpoints), Vec::as_slice);
    let urls: Vec<&Value> = entries.iter().filter_map(|entry| entry.get("url")).collect();
    (!urls.is_empty()).then(|| json!({"urls": urls, "type": "http"}))
}

/// What the developer portal shows: no publisher extensions, the gateway's URLs in place of the backend's.
pub fn devportal_view(definition: &Definition, server_urls: &[String], authorization_url: &str) -> Value {
    let mut definition = definition.clone();
    set_authorization_url(&mut definition, authorization_url);
    let document = &mut definition.document;
    document.retain(|key, _| key != "x-throttling-tier" && !BACKEND_KEYS.contains(&key.as_str()));
    hide_internals(document);
    for_each_operation(document, |operation| {
        operation.retain(|key, _| !matches!(key.as_str(), "x-throttling-tier" | "x-mediation-script" | "x-auth-type"));
    });
    match definition.family {
        Family::V3 => {
            let servers: Vec<Value> = server_urls.iter().map(|url| json!({"url": url})).collect();
            document.insert("servers".to_owned(), Value::Array(servers));
        }
        Family::V2 => {
            let urls: Vec<url::Url> = server_urls.iter().filter_map(|url| url::Url::parse(url).ok()).collect();
            let schemes: Vec<&str> = urls.iter().map(url::Url::scheme).collect();
            document.insert("schemes".to_owned(), json!(schemes));
            if let Some(first) = urls.first() {
                let port = first.port().map(|port| format!(":{port}")).unwrap_or_default();
                document.insert("host".to_owned(), json!(format!("{}{port}", first.host_str().unwrap_or_default())));
                document.insert("basePath".to_owned(), json!(first.path()));
            }
        }
    }
    Value::Object(definition.document)
}

/// Where a document of either family names its backend.
const BACKEND_KEYS: [&str; 4] = ["host", "basePath", "schemes", "servers"];

/// Removes, on every level, the extensions that describe the backend, the roles of scopes, and servers: path items,
/// operations, callbacks and links may each have their own. Schemas may name a property `servers`; that is not a server.
fn hide_internals(members: &mut Map<String, Value>) {
    let is_server = |value: &Value| value.get("url").is_some_and(Value::is_string);
    members.retain(|key, value| match key.as_str() {
        "x-scopes-bindings" => false,
        "server" => !is_server(value),
        "servers" => !value.as_array().is_some_and(|list| list.iter().any(is_server)),
        key => !key.starts_with("x-wso2-") && !key.starts_with("x-amazon-"),
    });
    members.values_mut().for_each(hide_internals_of);
}

fn hide_internals_of(value: &mut Value) {
    match value {
        Value::Object(members) => hide_internals(members),
        Value::Array(list) => list.iter_mut().for_each(hide_internals_of),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The scheme's authorization URL.
fn set_authorization_url(definition: &mut Definition, url: &str) {
    let flow = match definition.family {
        Family::V2 => definition.document.get_mut("securityDefinitions").and_then(|it| it.get_mut(DEFAULT_SCHEME)),
        Family::V3 => definition.document.get_mut("components").and_then(|it| {
            it.get_mut("securitySchemes")?.get_mut(DEFAULT_SCHEME)?.get_mut("flows")?.get_mut("implicit")
        }),
    };
    if let Some(flow) = flow.and_then(Value::as_object_mut) {
        flow.insert("authorizationUrl".to_owned(), json!(url));
    }
}

fn for_each_operation(document: &mut Map<String, Value>, mut change: impl FnMut(&mut Map<String, Value>)) {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for (_, item) in paths.into_iter().flatten() {
        for method in METHODS {
            if let Some(operation) = item.get_mut(*method).and_then(Value::as_object_mut) {
                change(operation);
            }
        }
    }
}

/// The object under a key; anything else that stands there is replaced by an empty one.
fn object_entry<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let entry = map.entry(key.to_owned()).or_insert_with(|| json!({}));
    if !entry.is_object() {
        *entry = json!({});
    }
    entry.as_object_mut().expect("the line above made it an object")
}

fn drop_null_description(mut info: Value) -> Value {
    if let Some(map) = info.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    info
}

#[cfg(test)]
mod tests {
    use super::super::body::parse_body;
    use super::*;

    fn weather() -> ApiObject {
        let text = r#"{"name":"Weather","context":"/weather","version":"1.0.0","transport":["https"],
            "endpointConfig":{"endpoint_type":"http","production_endpoints":{"url":"http://b1"}},
            "operations":[{"target":"/city/{id}","verb":"GET","authType":"None","throttlingPolicy":"10KPerMin",
            "scopes":["wx_read"]},{"target":"/city","verb":"POST"}],
            "scopes":[{"scope":{"name":"wx_read","description":"d","bindings":["a","b"]}}]}"#;
        parse_body(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_created_document_gives_the_operations_back() {
        let api = weather();
        let definition = create(&api);
        let read = Definition::parse(&definition.to_text()).unwrap();
        let mut operations = read.operations();
        operations.reverse();
        assert_eq!(operations, api.operations);
        let scopes = read.scopes();
        assert_eq!(scopes[0].scope.bindings, ["a", "b"]);
        assert_eq!(scopes[0].scope.description.as_deref(), Some("d"));
        let get = &read.document["paths"]["/city/{id}"]["get"];
        assert_eq!(get["security"], json!([{"default": ["wx_read"]}]));
        assert_eq!(get["parameters"][0]["name"], "id");
        let flow = &read.document["components"]["securitySchemes"]["default"]["flows"]["implicit"];
        assert_eq!(flow["authorizationUrl"], "https://test.com");
        assert_eq!(flow["x-scopes-bindings"]["wx_read"], "a,b");
    }

    #[test]
    fn merging_removes_adds_and_keeps() {
        let text = r#"{"openapi":"3.0.1","info":{"title":"W","version":"1","contact":{"name":"c"}},"tags":[{"name":"t"}],
            "paths":{"/city":{"parameters":[],"post":{"summary":"kept","responses":{}},"get":{"responses":{}}},
            "/gone":{"get":{"responses":{}}}}}"#;
        let mut definition = Definition::parse(text).unwrap();
        merge(&mut definition, &weather());
        let document = &definition.document;
        assert_eq!(document["paths"]["/city"]["post"]["summary"], "kept");
        assert!(document["paths"]["/city"].get("get").is_none());
        assert!(document["paths"].get("/gone").is_none());
        assert_eq!(document["paths"]["/city/{id}"]["get"]["x-auth-type"], "None");
        assert_eq!(document["info"]["contact"]["name"], "c");
        assert_eq!(document["tags"][0]["name"], "t");
    }

    #[test]
    fn merging_a_swagger_2_document() {
        let text = r#"{"swagger":"2.0","info":{"title":"W","version":"1"},"paths":{}}"#;
        let mut definition = Definition::parse(text).unwrap();
        merge(&mut definition, &weather());
        let document = &definition.document;
        assert_eq!(document["securityDefinitions"]["default"]["x-scopes-bindings"]["wx_read"], "a,b");
        assert_eq!(document["paths"]["/city/{id}"]["get"]["parameters"][0]["type"], "string");
        let view = devportal_view(&definition, &["https://gw:8243/weather/1.0.0".to_owned()], "https://gw/authorize");
        assert_eq!((view["host"].as_str(), view["basePath"].as_str()), (Some("gw:8243"), Some("/weather/1.0.0")));
    }

    #[test]
    fn subscribers_see_no_backend_and_no_bindings() {
        let leaky = |head: &str, schemes: &str| {
            format!(
                r#"{{{head},"info":{{"title":"W","version":"1"}},"host":"secret1","basePath":"/secret2","schemes":["ws"],
                "servers":[{{"url":"http://secret3"}}],"x-amazon-apigateway-policy":"secret4",
                "paths":{{"/city":{{"servers":[{{"url":"http://secret5"}}],"x-wso2-z":"secret6","post":{{
                "servers":[{{"url":"http://secret7"}}],"x-amazon-apigateway-integration":{{"uri":"secret8"}},
                "callbacks":{{"done":{{"/x":{{"servers":[{{"url":"http://secret9"}}]}}}}}},
                "responses":{{"200":{{"description":"d","links":{{"l":{{"server":{{"url":"secret10"}}}}}}}}}}}}}}}},
                {schemes},"x-schemas":{{"properties":{{"servers":{{"type":"array"}},"server":{{"type":"string"}}}}}}}}"#
            )
        };
        let scheme = r#"{"o":{"type":"oauth2","x-scopes-bindings":{"s":"secret11"},
            "flows":{"password":{"scopes":{"s":""},"x-scopes-bindings":{"s":"secret12"}}}}}"#;
        for text in [
            leaky(r#""openapi":"3.0.1""#, &format!(r#""components":{{"securitySchemes":{scheme}}}"#)),
            leaky(r#""swagger":"2.0""#, &format!(r#""securityDefinitions":{scheme}"#)),
        ] {
            let definition = Definition::parse(&text).unwrap();
            for urls in [&["https://gw/w".to_owned()][..], &[]] {
                let shown = devportal_view(&definition, urls, "").to_string();
                assert!(!shown.contains("secret") && !shown.contains("\"ws\""), "{shown}");
                assert!(shown.contains(r#""servers":{"type":"array"}"#), "a schema may name a property so: {shown}");
                assert!(shown.contains(r#""server":{"type":"string"}"#), "{shown}");
            }
        }
    }

    #[test]
    fn the_two_views() {
        let api = weather();
        let context = ApiContext::new("/weather", "1.0.0", "carbon.super").unwrap();
        let definition = create(&api);
        let view = publisher_view(&definition, &api, &context);
        assert_eq!(view["x-wso2-basePath"], "/weather/1.0.0");
        assert_eq!(view["x-wso2-production-endpoints"]["urls"][0], "http://b1");
        assert_eq!(view["components"]["securitySchemes"]["default"]["flows"]["implicit"]["authorizationUrl"], "");
        let again = Definition::parse(&view.to_string()).unwrap();
        assert_eq!(again.endpoint_extension("x-wso2-production-endpoints"), ["http://b1"]);
        let shown = devportal_view(&again, &["https://gw/w".to_owned()], "https://gw/authorize").to_string();
        assert!(!shown.contains("x-wso2-") && !shown.contains("http://b1") && !shown.contains("bindings"), "{shown}");
        assert!(shown.contains("https://gw/authorize") && shown.contains("https://gw/w"));
    }
}
