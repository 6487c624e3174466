//! Reading an API definition: OpenAPI 3.0 (JSON or YAML) and Swagger 2.0, checked and bounded; and what the portal takes
//! out of it: info, endpoints, operations, scopes.
//!
//! Follows portal-gateway-3x.md 2.8 and the codes of 1.5. A definition is kept as the JSON it is; only what is named here
//! is understood. Writing and merging is [`super::openapi`]'s.

use super::api_object::{ApiScope, AuthType, Operation, Scope, UNLIMITED};
use super::api_rules::{OPERATIONS_MAX, SCOPES_MAX};
use super::body::is_storable;
use super::error::{Finding, PortalError};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Largest definition, in bytes.
pub const DEFINITION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Deepest nesting, in levels.
const DEPTH_MAX: usize = 60;
/// Most nodes of a YAML definition after its aliases are expanded.
const NODES_MAX: usize = 200_000;
/// Longest part of a parser's text that is passed on, in characters.
const WHY_LENGTH_MAX: usize = 200;
/// Most OAuth2 security schemes of a definition that is to be stored.
const OAUTH_SCHEMES_MAX: usize = 100;
/// The security scheme that the API's own scopes stand in.
pub const DEFAULT_SCHEME: &str = "default";
/// HTTP methods of a path item.
pub const METHODS: &[&str] = &["get", "put", "post", "delete", "patch", "head", "options"];

/// The two families of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

/// A definition that passed the checks.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The document.
    pub document: Map<String, Value>,
    /// Which family.
    pub family: Family,
}

/// What `validate-openapi` tells of a good definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// `info.title`.
    pub name: String,
    /// `info.version`.
    pub version: String,
    /// A context made of the document.
    pub context: Option<String>,
    /// `info.description`.
    pub description: String,
    /// `2.0`, `3.0.1`, ...
    #[serde(rename = "openAPIVersion")]
    pub openapi_version: String,
    /// URLs of the backend.
    pub endpoints: Vec<String>,
}

/// Answer of `POST /apis/validate-openapi`.
pub fn validation(text: &str, is_content_wanted: bool) -> Value {
    match Definition::parse(text) {
        Ok(definition) => json!({
            "isValid": true,
            "content": is_content_wanted.then(|| definition.to_text()),
            "info": definition.info(),
            "errors": [],
        }),
        Err(findings) => {
            let errors: Vec<Value> = findings
                .iter()
                .map(|it| json!({"code": it.code, "message": it.message, "description": it.description}))
                .collect();
            json!({"isValid": false, "content": null, "info": null, "errors": errors})
        }
    }
}

fn finding(code: u32, message: &str, description: impl Into<String>) -> Finding {
    Finding { code: code.to_string(), message: message.to_owned(), description: description.into() }
}

impl Definition {
    /// Reads JSON or YAML and checks the document.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        let document = parse_text(text).map_err(|it| vec![it])?;
        Self::from_document(document)
    }

    /// [`Definition::parse`] for a document that is to be stored: bounded, and with the findings as an error.
    pub fn accept(text: &str) -> Result<Self, PortalError> {
        let definition = Self::parse(text).map_err(PortalError::Definition)?;
        definition.check_bounds().map_err(|finding| PortalError::Definition(vec![finding]))?;
        // The document itself is kept as JSON, which escapes; what is taken out of it goes into XML and columns.
        let extension = |name: &str| definition.document.get(name);
        let endpoints = ["x-wso2-production-endpoints", "x-wso2-sandbox-endpoints"].map(extension);
        let taken_out = json!({
            "info": definition.document.get("info"), "operations": definition.operations(), "scopes": definition.scopes(),
            "endpoints": endpoints,
        });
        if !is_storable(&taken_out) {
            let text = "The definition holds a character that cannot be stored";
            return Err(PortalError::Definition(vec![finding(900_754, "OpenAPI parse failure", text)]));
        }
        Ok(definition)
    }

    fn check_bounds(&self) -> Result<(), Finding> {
        let operations = self.paths().map(|(_, item)| METHODS.iter().filter(|it| item.get(**it).is_some()).count());
        for (what, count, count_max) in [
            ("operations", operations.sum::<usize>(), OPERATIONS_MAX),
            ("OAuth2 security schemes", self.oauth_schemes().len(), OAUTH_SCHEMES_MAX),
        ] {
            if count > count_max {
                let text = format!("{count} {what}; at most {count_max} are allowed");
                return Err(finding(900_754, "OpenAPI definition too large", text));
            }
        }
        Ok(())
    }

    fn from_document(document: Map<String, Value>) -> Result<Self, Vec<Finding>> {
        let version = |key: &str| document.get(key).map(scalar);
        let family = match (version("swagger"), version("openapi")) {
            (Some(number), _) if number == "2.0" => Family::V2,
            (None, Some(number)) if number.starts_with("3.0.") || number == "3.0" => Family::V3,
            (None, None) => {
                let text = "The document names neither 'openapi' nor 'swagger'";
                return Err(vec![finding(900_759, "Not an OpenAPI definition", text)]);
            }
            (swagger, openapi) => {
                let number = swagger.or(openapi).unwrap_or_default();
                let text = format!("Version '{number}' is not supported; 2.0 and 3.0.x are");
                return Err(vec![finding(900_752, "Unsupported OpenAPI version", text)]);
            }
        };
        let definition = Self { document, family };
        let findings = definition.check();
        if findings.is_empty() { Ok(definition) } else { Err(findings) }
    }

    fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for part in ["info", "paths"] {
            if !self.document.get(part).is_some_and(Value::is_object) {
                let text = format!("attribute {part} is missing or not an object");
                findings.push(finding(900_753, "Missing 'info' or 'paths'", text));
            }
        }
        let info = self.document.get("info").and_then(Value::as_object);
        for part in ["title", "version"] {
            if info.is_some_and(|info| info.get(part).is_none_or(|it| scalar(it).is_empty())) {
                findings.push(finding(900_754, "OpenAPI parse failure", format!("attribute info.{part} is missing")));
            }
        }
        for (path, item) in self.paths() {
            let Some(item) = item.as_object().filter(|_| path.starts_with('/')) else {
                let text = format!("attribute paths.'{path}' is not a path with an object");
                findings.push(finding(900_754, "OpenAPI parse failure", text));
                continue;
            };
            if item.contains_key("$ref") {
                let text = format!("attribute paths.'{path}'.$ref: references to other documents are not supported");
                findings.push(finding(900_754, "OpenAPI parse failure", text));
            }
            let is_broken = |method: &&str| item.get(*method).is_some_and(|operation| !operation.is_object());
            if let Some(method) = METHODS.iter().find(|method| is_broken(method)) {
                let text = format!("attribute paths.'{path}'({method}) is not an object");
                findings.push(finding(900_754, "OpenAPI parse failure", text));
            }
        }
        findings
    }

    fn paths(&self) -> impl Iterator<Item = (&String, &Value)> {
        let paths = self.document.get("paths").and_then(Value::as_object);
        paths.into_iter().flatten().filter(|(path, _)| !path.starts_with("x-"))
    }

    /// The document as JSON text.
    pub fn to_text(&self) -> String {
        Value::Object(self.document.clone()).to_string()
    }

    /// Name, version, context, endpoints.
    pub fn info(&self) -> Info {
        let info =
            |part: &str| self.document.get("info").and_then(|info| info.get(part)).map(scalar).unwrap_or_default();
        let version_key = if self.family == Family::V2 { "swagger" } else { "openapi" };
        let name = info("title");
        Info {
            context: self.context(&name),
            version: info("version"),
            description: info("description"),
            openapi_version: self.document.get(version_key).map(scalar).unwrap_or_default(),
            endpoints: self.endpoints(),
            name,
        }
    }

    fn context(&self, name: &str) -> Option<String> {
        let given = if self.family == Family::V2 { "basePath" } else { "x-wso2-basePath" };
        if let Some(path) = self.document.get(given).and_then(Value::as_str) {
            return Some(path.to_owned());
        }
        let word: String = name.chars().filter(|c| !c.is_whitespace()).collect();
        (!word.is_empty()).then(|| format!("/{}", word.to_lowercase()))
    }

    fn endpoints(&self) -> Vec<String> {
        let text = |key: &str| self.document.get(key).and_then(Value::as_str);
        if self.family == Family::V3 {
            let servers = self.document.get("servers").and_then(Value::as_array);
            let urls = servers.into_iter().flatten().filter_map(|server| server.get("url")?.as_str());
            return urls.map(str::to_owned).collect();
        }
        let Some(host) = text("host") else { return Vec::new() };
        let base = text("basePath").unwrap_or_default();
        let schemes = self.document.get("schemes").and_then(Value::as_array);
        let schemes: Vec<&str> = schemes.into_iter().flatten().filter_map(Value::as_str).collect();
        let schemes = if schemes.is_empty() { vec!["https"] } else { schemes };
        schemes.iter().map(|scheme| format!("{scheme}://{host}{base}")).collect()
    }

    /// URLs of an endpoint extension (`x-wso2-production-endpoints`, `x-wso2-sandbox-endpoints`).
    pub fn endpoint_extension(&self, name: &str) -> Vec<String> {
        let extension = self.document.get(name);
        let urls = extension.and_then(|it| it.get("urls")).and_then(Value::as_array);
        urls.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Every verb of every path, as an operation of the API.
    pub fn operations(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (path, item) in self.paths() {
            for method in METHODS {
                let Some(operation) = item.get(*method).and_then(Value::as_object) else { continue };
                let text = |key: &str| operation.get(key).and_then(Value::as_str);
                operations.push(Operation {
                    target: path.clone(),
                    verb: method.to_ascii_uppercase(),
                    auth_type: AuthType::parse(text("x-auth-type").unwrap_or_default()),
                    throttling_policy: Some(text("x-throttling-tier").unwrap_or(UNLIMITED).to_owned()),
                    scopes: self.operation_scopes(operation),
                    ..Operation::default()
                });
            }
        }
        operations
    }

    /// Scopes of an operation: those of any OAuth2 scheme, and the legacy `x-scope`.
    fn operation_scopes(&self, operation: &Map<String, Value>) -> Vec<String> {
        let schemes = self.oauth_schemes();
        let security = operation.get("security").or_else(|| self.document.get("security"));
        let mut scopes = Vec::new();
        let mut add = |scope: &str| {
            // One beyond the bound is enough for the refusal.
            if !scope.is_empty() && scopes.len() <= SCOPES_MAX && !scopes.iter().any(|known| known == scope) {
                scopes.push(scope.to_owned());
            }
        };
        for requirement in security.and_then(Value::as_array).into_iter().flatten() {
            for (scheme, names) in requirement.as_object().into_iter().flatten() {
                if scheme == DEFAULT_SCHEME || schemes.iter().any(|(name, _)| *name == scheme) {
                    names.as_array().into_iter().flatten().filter_map(Value::as_str).for_each(&mut add);
                }
            }
        }
        let legacy = operation.get("x-scope").and_then(Value::as_str).unwrap_or_default();
        legacy.split(',').map(str::trim).for_each(&mut add);
        scopes
    }

    /// The OAuth2 schemes by name, `default` first.
    fn oauth_schemes(&self) -> Vec<(&String, &Value)> {
        let schemes = match self.family {
            Family::V2 => self.document.get("securityDefinitions"),
            Family::V3 => self.document.get("components").and_then(|it| it.get("securitySchemes")),
        };
        let schemes = schemes.and_then(Value::as_object).into_iter().flatten();
        let mut found: Vec<_> = schemes.filter(|(_, scheme)| is_oauth(scheme)).collect();
        found.sort_by_key(|(name, _)| *name != DEFAULT_SCHEME);
        found
    }

    /// The scopes that the document declares or its operations use, each once.
    pub fn scopes(&self) -> Vec<ApiScope> {
        let schemes = self.oauth_schemes();
        let mut scopes = self.scopes_of(&schemes);
        let used: BTreeSet<String> = self.operations().into_iter().flat_map(|operation| operation.scopes).collect();
        for name in &used {
            add_scope(&mut scopes, name, name, "", "");
        }
        scopes
    }

    /// The scopes of a stored document's own API. Only what a write of ours (or of the product) declares counts: other
    /// schemes came with the document, and nobody has checked whose their scopes are.
    pub fn declared_scopes(&self) -> Vec<ApiScope> {
        let mut schemes = self.oauth_schemes();
        schemes.retain(|(name, _)| *name == DEFAULT_SCHEME);
        self.scopes_of(&schemes)
    }

    fn scopes_of(&self, schemes: &[(&String, &Value)]) -> Vec<ApiScope> {
        let mut scopes: Vec<ApiScope> = Vec::new();
        for (_, scheme) in schemes {
            match self.family {
                Family::V2 => read_flow(scheme, &mut scopes),
                Family::V3 => {
                    let flows = scheme.get("flows").and_then(Value::as_object).into_iter().flatten();
                    flows.for_each(|(_, flow)| read_flow(flow, &mut scopes));
                }
            }
        }
        let legacy =
            self.document.get("x-wso2-security").and_then(|it| it.get("apim")?.get("x-wso2-scopes")?.as_array());
        for entry in legacy.into_iter().flatten() {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            add_scope(&mut scopes, text("key"), text("name"), text("description"), text("roles"));
        }
        scopes
    }
}

/// Is this security scheme one whose scopes are read?
pub fn is_oauth(scheme: &Value) -> bool {
    scheme.get("type").and_then(Value::as_str) == Some("oauth2")
}

/// One OAuth2 flow (or the whole scheme of Swagger 2.0): `scopes{name: description}`, `x-scopes-bindings{name: roles}`.
fn read_flow(flow: &Value, scopes: &mut Vec<ApiScope>) {
    for (name, description) in flow.get("scopes").and_then(Value::as_object).into_iter().flatten() {
        let roles = flow.get("x-scopes-bindings").and_then(|it| it.get(name)).and_then(Value::as_str);
        add_scope(scopes, name, name, description.as_str().unwrap_or_default(), roles.unwrap_or_default());
    }
}

fn add_scope(scopes: &mut Vec<ApiScope>, name: &str, display_name: &str, description: &str, roles: &str) {
    // One beyond the bound is enough for the refusal.
    if name.is_empty() || scopes.len() > SCOPES_MAX || scopes.iter().any(|known| known.scope.name == name) {
        return;
    }
    let bindings = roles.split(',').map(str::trim).filter(|role| !role.is_empty()).map(str::to_owned).collect();
    let scope = Scope {
        name: name.to_owned(),
        display_name: Some(display_name.to_owned()),
        description: Some(description.to_owned()),
        bindings,
        ..Scope::default()
    };
    scopes.push(ApiScope { scope, shared: false });
}

/// JSON when it begins like JSON, YAML otherwise.
fn parse_text(text: &str) -> Result<Map<String, Value>, Finding> {
    let unreadable = |why: String| {
        let why: String = why.chars().take(WHY_LENGTH_MAX).collect();
        finding(900_754, "Unable to parse the OpenAPI definition", why)
    };
    if text.len() > DEFINITION_BYTES_MAX {
        return Err(unreadable(format!("larger than {DEFINITION_BYTES_MAX} bytes")));
    }
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.is_empty() {
        return Err(unreadable("the definition is empty".to_owned()));
    }
    let value: Value = if text.starts_with('{') {
        serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?
    } else {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_nodes: NODES_MAX, max_aliases: 1_000, max_documents: 1 },
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| unreadable(error.to_string()))?
    };
    match value {
        Value::Object(map) if depth_is_bounded(&map) => Ok(map),
        Value::Object(_) => Err(unreadable(format!("nested deeper than {DEPTH_MAX} levels"))),
        _ => Err(finding(900_759, "Not an OpenAPI definition", "The document is not an object")),
    }
}

fn depth_is_bounded(map: &Map<String, Value>) -> bool {
    fn fits(value: &Value, left: usize) -> bool {
        match value {
            Value::Object(map) => left > 0 && map.values().all(|it| fits(it, left - 1)),
            Value::Array(list) => left > 0 && list.iter().all(|it| fits(it, left - 1)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }
    map.values().all(|value| fits(value, DEPTH_MAX - 1))
}

/// A scalar as text: YAML writes versions without quotes.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "openapi: 3.0.1\ninfo:\n  title: My Weather\n  version: 1.0\npaths:\n  /city/{id}:\n    parameters: []\n\
        \x20   get:\n      responses:\n        200:\n          description: ok\n      security:\n        - oauth: [wx_read]\n\
        \x20   post:\n      x-auth-type: None\n      x-throttling-tier: 10KPerMin\n      responses: {}\n\
        servers:\n  - url: http://b1:9000/w\ncomponents:\n  securitySchemes:\n    oauth:\n      type: oauth2\n      flows:\n\
        \x20       implicit:\n          authorizationUrl: https://x\n          scopes:\n            wx_read: read weather\n\
        \x20         x-scopes-bindings:\n            wx_read: admin, Internal/subscriber\n";

    #[test]
    fn yaml_with_unquoted_numbers() {
        let definition = Definition::parse(YAML).unwrap();
        let info = definition.info();
        assert_eq!((info.name.as_str(), info.version.as_str()), ("My Weather", "1.0"));
        assert_eq!(info.context.as_deref(), Some("/myweather"));
        assert_eq!(info.endpoints, ["http://b1:9000/w"]);
        let operations = definition.operations();
        let shown: Vec<_> = operations.iter().map(|it| (it.target.as_str(), it.verb.as_str(), it.auth_type)).collect();
        assert_eq!(shown, [("/city/{id}", "GET", AuthType::Any), ("/city/{id}", "POST", AuthType::None)]);
        assert_eq!(operations[0].scopes, ["wx_read"]);
        assert_eq!(operations[1].throttling_policy.as_deref(), Some("10KPerMin"));
        let scopes = definition.scopes();
        assert_eq!(scopes.len(), 1);
        assert_eq!(scopes[0].scope.bindings, ["admin", "Internal/subscriber"]);
        assert_eq!(definition.document["paths"]["/city/{id}"]["get"]["responses"]["200"]["description"], "ok");
    }

    #[test]
    fn swagger_2_with_legacy_scopes() {
        let text = r#"{"swagger":"2.0","info":{"title":"W","version":"1"},"host":"b","basePath":"/w","schemes":["http"],
            "x-wso2-security":{"apim":{"x-wso2-scopes":[{"key":"k","name":"n","description":"d","roles":"admin"}]}},
            "paths":{"/a":{"get":{"x-scope":"k","x-auth-type":"Application User","responses":{}}}}}"#;
        let definition = Definition::parse(text).unwrap();
        assert_eq!(definition.family, Family::V2);
        assert_eq!(definition.info().endpoints, ["http://b/w"]);
        assert_eq!(definition.info().context.as_deref(), Some("/w"));
        let operations = definition.operations();
        assert_eq!((operations[0].scopes.as_slice(), operations[0].auth_type), (&["k".to_owned()][..], AuthType::User));
        assert_eq!(definition.scopes()[0].scope.display_name.as_deref(), Some("n"));
    }

    #[test]
    fn refusals_have_their_codes() {
        let check = |text: &str, code: &str| {
            let findings = Definition::parse(text).unwrap_err();
            assert_eq!(findings[0].code, code, "{text:.80}: {findings:?}");
        };
        check("", "900754");
        check("{", "900754");
        check("a: [", "900754");
        check("[1]", "900759");
        check("{}", "900759");
        check(r#"{"openapi":"3.1.0","info":{},"paths":{}}"#, "900752");
        check(r#"{"swagger":"1.2"}"#, "900752");
        check(r#"{"openapi":"3.0.1","paths":{}}"#, "900753");
        check(r#"{"openapi":"3.0.1","info":{"title":"a","version":"1"}}"#, "900753");
        check(r#"{"openapi":"3.0.1","info":{"title":"a"},"paths":{}}"#, "900754");
        let head = r#"{"openapi":"3.0.1","info":{"title":"a","version":"1"},"paths":"#;
        check(&format!(r#"{head}{{"a":{{}}}}}}"#), "900754");
        check(&format!(r#"{head}{{"/a":{{"$ref":"other.yaml"}}}}}}"#), "900754");
        check(&format!(r#"{head}{{"/a":{{"get":1}}}}}}"#), "900754");
        let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100), "]".repeat(100));
        check(&deep, "900754");
        let deep_yaml = format!("x: {}{}", "[".repeat(5000), "]".repeat(5000));
        check(&deep_yaml, "900754");
        check(&" ".repeat(DEFINITION_BYTES_MAX + 1), "900754");
    }

    #[test]
    fn a_yaml_bomb_is_refused() {
        use std::fmt::Write as _;
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let list = vec![format!("*a{}", level - 1); 9].join(", ");
            writeln!(bomb, "a{level}: &a{level} [{list}]").unwrap();
        }
        assert_eq!(Definition::parse(&bomb).unwrap_err()[0].code, "900754");
    }

    #[test]
    fn validation_answers() {
        let good = validation(YAML, false);
        assert_eq!(good["isValid"], true);
        assert_eq!(good["info"]["openAPIVersion"], "3.0.1");
        assert!(good["content"].is_null());
        let bad = validation("{}", true);
        assert_eq!(bad["isValid"], false);
        assert_eq!(bad["errors"][0]["code"], "900759");
    }
}
