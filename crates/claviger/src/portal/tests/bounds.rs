//! What is too much is refused before it is worked on.

use super::harness::Harness;
use super::publisher::{create, weather};
use http::Method;
use serde_json::{Map, Value, json};

const APIS: &str = "/api/am/publisher/v1/apis";

#[tokio::test]
async fn an_api_is_bounded() {
    let harness = Harness::new().await;
    let id = create(&harness, &weather("1.0.0")).await;
    let words = |count: usize| (0..count).map(|number| json!(format!("w{number}"))).collect::<Vec<_>>();
    let scope = |name: String, bindings: Vec<Value>| json!({"scope": {"name": name, "bindings": bindings}});
    let scopes = |count: usize| (0..count).map(|number| scope(format!("s{number}"), Vec::new())).collect::<Vec<_>>();
    let operations = |scopes: &[Value]| {
        let operation = |number| json!({"target": format!("/{number}"), "verb": "GET", "scopes": scopes});
        (0..100).map(operation).collect::<Vec<_>>()
    };
    let many_roles = (0..5).map(|number| scope(format!("s{number}"), vec![json!("admin"); 900])).collect::<Vec<_>>();
    let names: Vec<Value> = (0..100).map(|number| json!(format!("s{number}"))).collect();
    let properties: Map<String, Value> = (0..1001).map(|number| (format!("p{number}"), json!("v"))).collect();
    let too_much = [
        json!({"scopes": scopes(201)}),
        json!({"scopes": many_roles}),
        json!({"scopes": scopes(100), "operations": operations(&names)}),
        json!({"tags": words(1001)}),
        json!({"labels": words(1001)}),
        json!({"categories": words(1001)}),
        json!({"visibleRoles": vec![json!("admin"); 1001]}),
        json!({"additionalProperties": properties}),
        json!({"description": "x".repeat(32 * 1024 + 1)}),
        json!({"endpointConfig": {"endpoint_type": "http", "production_endpoints": {"url": "http://b"},
                                  "more": "\"".repeat(700_000)}}),
    ];
    for change in too_much {
        let mut api = weather("1.0.0");
        api["operations"] = json!([{"target": "/a", "verb": "GET"}]);
        let field = change.as_object().unwrap().keys().next().unwrap().clone();
        api.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = harness.call("creator", Method::PUT, &format!("{APIS}/{id}"), &api.to_string()).await;
        let why = if field == "endpointConfig" { "too large" } else { "Validation Error" };
        let text = |body: &Value| body["description"].as_str().unwrap_or_default().contains(why);
        assert!(answer.status == 400 && text(&answer.body), "{field}: {}", answer.body);
        api["version"] = json!("2.0.0");
        let answer = harness.call("creator", Method::POST, APIS, &api.to_string()).await;
        assert!(answer.status == 400 && text(&answer.body), "{field}: {}", answer.body);
    }
    let mut most = weather("1.0.0");
    (most["scopes"], most["operations"]) = (json!(scopes(200)), json!(operations(&names[..40])));
    let answer = harness.call("creator", Method::PUT, &format!("{APIS}/{id}"), &most.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn a_definition_is_bounded() {
    let harness = Harness::new().await;
    let id = create(&harness, &weather("1.0.0")).await;
    let document = |paths: Value, schemes: Value| {
        json!({"openapi": "3.0.1", "info": {"title": "Big", "version": "1"}, "paths": paths,
               "components": {"securitySchemes": schemes}})
    };
    let one = json!({"/a": {"get": {"responses": {}}}});
    let scopes: Map<String, Value> = (0..100_000).map(|number| (format!("s{number}"), json!("d"))).collect();
    let names: Vec<&String> = scopes.keys().collect();
    let paths: Map<String, Value> =
        (0..2001).map(|number| (format!("/{number}"), json!({"get": {"responses": {}}}))).collect();
    let oauth = |scopes: &Map<String, Value>| json!({"type": "oauth2", "flows": {"implicit": {"scopes": scopes}}});
    let schemes: Map<String, Value> = (0..101).map(|number| (format!("o{number}"), oauth(&Map::new()))).collect();
    let too_much = [
        document(one.clone(), json!({"oauth": oauth(&scopes)})),
        document(json!({"/a": {"get": {"responses": {}, "security": [{"default": names}]}}}), json!({})),
        document(json!(paths), json!({})),
        document(one, json!(schemes)),
    ];
    for document in too_much {
        let text = document.to_string();
        let properties = json!({"name": "Big", "version": "1", "context": "/big", "policies": ["Gold"]}).to_string();
        let parts = [("file", text.as_str()), ("additionalProperties", properties.as_str())];
        let answer = harness.form("creator", Method::POST, &format!("{APIS}/import-openapi"), &parts).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        let swagger = format!("{APIS}/{id}/swagger");
        let answer = harness.form("creator", Method::PUT, &swagger, &[("apiDefinition", &text)]).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
}

#[tokio::test]
async fn an_application_has_bounded_attributes() {
    let harness = Harness::new().await;
    let attributes: Map<String, Value> = (0..101).map(|number| (format!("a{number}"), json!("v"))).collect();
    let body = json!({"name": "Shop", "throttlingPolicy": "10PerMin", "attributes": attributes}).to_string();
    let answer = harness.call("subscriber", Method::POST, "/api/am/store/v1/applications", &body).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
}

#[tokio::test]
async fn characters_that_cannot_be_stored_are_refused() {
    let harness = Harness::new().await;
    for letter in ["\u{0}", "\u{1b}", "\u{fffe}"] {
        let word = json!(format!("a{letter}b"));
        for change in [
            json!({"name": word}),
            json!({"tags": [word]}),
            json!({"description": word}),
            json!({"additionalProperties": {"p": word}}),
            json!({"additionalProperties": {word.as_str().unwrap(): "v"}}),
        ] {
            let mut api = weather("1.0.0");
            api.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let answer = harness.call("creator", Method::POST, APIS, &api.to_string()).await;
            assert_eq!(answer.status, 400, "{change}: {}", answer.body);
        }
        let text = json!({"openapi": "3.0.1", "info": {"title": "T", "version": "1", "x": word},
                          "paths": {"/a": {"get": {"responses": {}}}}});
        let yaml =
            format!("openapi: 3.0.1\ninfo: {{title: T, version: '1', x: {word}}}\npaths: {{/a: {{get: {{}}}}}}\n");
        for text in [text.to_string(), yaml] {
            let properties = json!({"name": "T", "version": "1", "context": "/t1", "policies": ["Gold"]}).to_string();
            let parts = [("file", text.as_str()), ("additionalProperties", properties.as_str())];
            let answer = harness.form("creator", Method::POST, &format!("{APIS}/import-openapi"), &parts).await;
            assert_eq!(answer.status, 400, "{text}: {}", answer.body);
        }
    }
    // What stays in the definition may hold what JSON can.
    let text = json!({"openapi": "3.0.1", "info": {"title": "T", "version": "1"}, "paths": {"/a": {"get": {"responses": {}}}},
                      "components": {"schemas": {"S": {"type": "string", "pattern": "^[^\u{1}-\u{1f}]*$"}}}});
    let properties = json!({"name": "T", "version": "1", "context": "/t1", "policies": ["Gold"]}).to_string();
    let parts = [("file", text.to_string()), ("additionalProperties", properties)];
    let parts = parts.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = harness.form("creator", Method::POST, &format!("{APIS}/import-openapi"), &parts).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let mut api = weather("1.0.0");
    api["description"] = json!("tab\t, line\r\n, \u{e4}, \u{1f600}");
    assert_eq!(harness.call("creator", Method::POST, APIS, &api.to_string()).await.status, 201);
}
