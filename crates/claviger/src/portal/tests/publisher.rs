//! The publisher: checklist of portal-gateway-3x.md 9.1 and 9.2.

use super::harness::{Answer, Harness};
use claviger_proto::event::Event;
use claviger_proto::ids::TenantId;
use claviger_store::{apis, registry, scopes, subscriptions};
use http::Method;
use serde_json::{Value, json};

const APIS: &str = "/api/am/publisher/v1/apis";

pub(super) fn weather(version: &str) -> Value {
    json!({
        "name": "Weather", "context": "/weather", "version": version, "policies": ["Gold"], "transport": ["https"],
        "securityScheme": ["oauth2", "api_key"], "gatewayEnvironments": ["Production and Sandbox"],
        "tags": ["sun"], "additionalProperties": {"team": "blue"},
        "endpointConfig": {"endpoint_type": "http", "production_endpoints": {"url": "http://b1:9000/w"},
                           "endpoint_security": {"production": {"enabled": true, "type": "BASIC", "username": "u",
                                                                "password": "hunter2"}}},
        "operations": [{"target": "/city/{id}", "verb": "GET", "scopes": ["wx_read"]},
                       {"target": "/city", "verb": "POST", "throttlingPolicy": "10KPerMin"}],
        "scopes": [{"scope": {"name": "wx_read", "displayName": "read weather", "bindings": ["Internal/subscriber"]},
                    "shared": false}]
    })
}

pub(super) async fn create(harness: &Harness, api: &Value) -> String {
    let answer = harness.call("creator", Method::POST, APIS, &api.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

pub(super) async fn publish(harness: &Harness, id: &str, more: &str) -> Answer {
    let path = format!("{APIS}/change-lifecycle?apiId={id}&action=Publish{more}");
    harness.call("publisher", Method::POST, &path, "").await
}

async fn get(harness: &Harness, path: &str) -> Answer {
    harness.call("admin", Method::GET, path, "").await
}

#[tokio::test]
async fn an_api_is_created_in_all_places_in_one_transaction() {
    let harness = Harness::new().await;
    let answer = harness.call("creator", Method::POST, APIS, &weather("1.0.0").to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let id = answer.body["id"].as_str().unwrap();
    assert_eq!(answer.headers["location"], format!("/apis/{id}").as_str());
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let body = &answer.body;
    assert_eq!(
        (&body["provider"], &body["lifeCycleStatus"], &body["context"]),
        (&json!("creator"), &json!("CREATED"), &json!("/weather"))
    );
    assert_eq!(body["createdTime"], "2026-01-05 10:11:12.0");
    assert_eq!(body["endpointConfig"]["endpoint_security"]["production"]["password"], "");
    assert_eq!(body["scopes"][0]["scope"]["bindings"], json!(["Internal/subscriber"]));
    let mut conn = harness.portal.store.reader().await.unwrap();
    let row = apis::find(&mut conn, "creator", "Weather", "1.0.0").await.unwrap().unwrap();
    assert_eq!((row.context.as_str(), row.context_template.as_str()), ("/weather/1.0.0", "/weather"));
    let collection = "/_system/governance/apimgt/applicationdata/provider/creator/Weather/1.0.0";
    let artifact = registry::find(&mut conn, TenantId::SUPER, collection, "api").await.unwrap().unwrap();
    assert_eq!(artifact.uuid, id);
    let xml = String::from_utf8(artifact.content.clone()).unwrap();
    assert!(xml.contains("<contextTemplate>/weather/{version}</contextTemplate>"), "{xml}");
    assert!(xml.contains("hunter2"), "the password is kept where the product keeps it");
    let properties = registry::properties(&mut conn, TenantId::SUPER, &artifact).await.unwrap();
    assert_eq!((properties["STATUS"].as_str(), properties["api_meta.team"].as_str()), ("CREATED", "blue"));
    assert_eq!(registry::tags(&mut conn, TenantId::SUPER, &artifact).await.unwrap(), ["sun"]);
    assert!(registry::find(&mut conn, TenantId::SUPER, collection, "swagger.json").await.unwrap().is_some());
    let mappings = apis::list_url_mappings(&mut conn, row.id).await.unwrap();
    assert_eq!((mappings[0].auth_scheme.as_str(), mappings[0].scopes.len()), ("Any", 1));
    assert_eq!(mappings[1].policy, "10KPerMin");
    assert_eq!(apis::list_states(&mut conn, row.id).await.unwrap()[0].after, "CREATED");
    let roles = scopes::find_roles(&mut conn, TenantId::SUPER, "wx_read").await.unwrap();
    assert_eq!(roles, Some(vec!["Internal/subscriber".to_owned()]));
    assert_eq!(harness.take_events(), [Event::ApiChanged { api_id: row.id }]);
}

#[tokio::test]
async fn who_may_create() {
    let harness = Harness::new().await;
    let body = weather("1.0.0").to_string();
    for user in ["", "subscriber", "publisher"] {
        let answer = harness.call(user, Method::POST, APIS, &body).await;
        assert_eq!((answer.status, &answer.body["description"]), (401, &json!("Unauthenticated request")), "{user}");
    }
    let mut foreign = weather("1.0.0");
    foreign["provider"] = json!("creator2");
    assert_eq!(harness.call("creator", Method::POST, APIS, &foreign.to_string()).await.status, 400);
    let check = async |provider: &str, status: u16| {
        let mut foreign = weather("1.0.0");
        foreign["provider"] = json!(provider);
        let answer = harness.call("admin", Method::POST, APIS, &foreign.to_string()).await;
        assert_eq!(answer.status, status, "{provider}: {}", answer.body);
    };
    for nobody in ["somebody", "creator@abc.com", "x/creator", "../creator", "creator-AT-abc.com"] {
        check(nobody, 400).await;
    }
    check("creator2", 201).await;
}

#[tokio::test]
async fn a_name_that_reads_like_another_tenants_provider_finds_nothing_there() {
    let harness = Harness::new().await;
    let theirs = harness.call("creator@abc.com", Method::POST, APIS, &weather("1.0.0").to_string()).await;
    assert_eq!(theirs.status, 201);
    // The artifact of a super-tenant user `creator-AT-abc.com` would name the same provider.
    let mut conn = harness.portal.store.reader().await.unwrap();
    let row = apis::list(&mut conn).await.unwrap().remove(0);
    let stored = crate::portal::apis::find_by_row(&mut conn, &row).await.unwrap().unwrap().stored;
    drop(conn);
    let written = harness.portal.store.write::<(), claviger_store::error::StoreError, _>(move |conn| {
        let xml = stored.artifact.encode();
        Box::pin(async move {
            let new = registry::NewResource {
                tenant: TenantId::SUPER,
                collection: "/_system/governance/apimgt/applicationdata/provider/creator-AT-abc.com/Weather/1.0.0",
                name: "api",
                media_type: "application/vnd.wso2-api+xml",
                uuid: "11111111-1111-1111-1111-111111111111",
                content: xml.as_bytes(),
                user: "creator",
                now: claviger_proto::time::Timestamp::from_secs(1_767_607_872),
            };
            registry::put(conn, &new, &crate::app::SystemEntropy::default()).await.map(|_| ())
        })
    });
    written.await.unwrap();
    assert_eq!(get(&harness, &format!("{APIS}/11111111-1111-1111-1111-111111111111")).await.status, 404);
    assert_eq!(get(&harness, APIS).await.body["count"], 0);
}

#[tokio::test]
async fn the_administrators_role_is_the_configured_one() {
    let harness = Harness::with(|config| "chief".clone_into(&mut config.super_admin.admin_role)).await;
    let body = weather("1.0.0").to_string();
    assert_eq!(harness.call("admin", Method::POST, APIS, &body).await.status, 201);
    assert_eq!(harness.call("admin@abc.com", Method::POST, APIS, &body).await.status, 401, "`admin` is but a name");
}

#[tokio::test]
async fn what_is_refused_and_how() {
    let harness = Harness::new().await;
    create(&harness, &weather("1.0.0")).await;
    harness.take_events();
    let check = async |change: &dyn Fn(&mut Value), status: u16, code: u32, text: &str| {
        let mut api = weather("2.0.0");
        change(&mut api);
        let answer = harness.call("creator", Method::POST, APIS, &api.to_string()).await;
        let description = answer.body["description"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{}", answer.body);
        assert!(description.contains(text), "{description}");
    };
    check(&|api| api["colour"] = json!(1), 400, 400, "Unrecognized property 'colour'").await;
    check(&|api| api["visibility"] = json!("X"), 400, 400, "disallowed values").await;
    check(&|api| drop(api.as_object_mut().unwrap().remove("name")), 400, 400, "Validation Error").await;
    check(&|api| api["version"] = json!("1.0.0"), 409, 409, "A duplicate API already exists for Weather-1.0.0").await;
    check(&|api| api["name"] = json!("WEATHER"), 400, 400, "letter case").await;
    check(&|api| api["name"] = json!("Other"), 400, 400, "already exists for /weather").await;
    check(&|api| api["policies"] = json!(["Iron"]), 400, 400, "Specified tier(s) [Iron] are invalid").await;
    check(&|api| api["keyManagers"] = json!(["Nobody"]), 400, 901_403, "Nobody").await;
    check(&|api| api["context"] = json!("/weather/"), 400, 400, "Context").await;
    check(&|api| api["visibleRoles"] = json!(["nobody"]), 400, 400, "nobody").await;
    assert_eq!(harness.call("creator", Method::POST, APIS, "{").await.body["description"], "Malformed request body.");
    assert_eq!(harness.call("creator", Method::POST, APIS, "").await.status, 400);
    assert!(harness.take_events().is_empty(), "a refused write leaves no event");
}

#[tokio::test]
async fn a_scope_of_another_api_is_taken() {
    let harness = Harness::new().await;
    create(&harness, &weather("1.0.0")).await;
    create(&harness, &weather("2.0.0")).await;
    let mut other = weather("1.0.0");
    (other["name"], other["context"]) = (json!("Other"), json!("/other"));
    let answer = harness.call("creator", Method::POST, APIS, &other.to_string()).await;
    assert_eq!((answer.status, &answer.body["code"]), (409, &json!(900_984)));
    let mut stolen = weather("1.0.0");
    (stolen["name"], stolen["context"]) = (json!("Other"), json!("/other"));
    stolen["operations"] = json!([{"target": "/a", "verb": "GET", "scopes": ["apim:admin"]}]);
    stolen["scopes"] = json!([{"scope": {"name": "apim:admin", "displayName": "x", "bindings": []}}]);
    let answer = harness.call("creator", Method::POST, APIS, &stolen.to_string()).await;
    assert_eq!(answer.status, 409, "a portal scope cannot be redefined by an API");
}

#[tokio::test]
async fn an_update_keeps_what_cannot_change() {
    let harness = Harness::new().await;
    let id = create(&harness, &weather("1.0.0")).await;
    let path = format!("{APIS}/{id}");
    let mut body = get(&harness, &path).await.body;
    let old_mapping = body["operations"][0]["id"].clone();
    (body["name"], body["context"], body["provider"]) = (json!("X"), json!("/x"), json!("nobody"));
    body["description"] = json!("new");
    body["operations"] = json!([{"target": "/city/{id}", "verb": "GET", "authType": "None"}]);
    body["scopes"] = json!([]);
    let answer = harness.call("creator", Method::PUT, &path, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let shown = &answer.body;
    assert_eq!(
        (&shown["name"], &shown["context"], &shown["provider"]),
        (&json!("Weather"), &json!("/weather"), &json!("creator"))
    );
    assert_eq!((&shown["description"], &shown["tags"]), (&json!("new"), &json!(["sun"])));
    assert_eq!(shown["operations"].as_array().unwrap().len(), 1);
    assert_eq!(shown["operations"][0]["authType"], "None");
    assert_ne!(shown["operations"][0]["id"], old_mapping);
    let mut conn = harness.portal.store.reader().await.unwrap();
    assert_eq!(scopes::find_roles(&mut conn, TenantId::SUPER, "wx_read").await.unwrap(), None);
    let stored = crate::portal::apis::find(&mut conn, TenantId::SUPER, &id).await.unwrap().unwrap();
    let security = &stored.object.endpoint_config.unwrap().0["endpoint_security"]["production"];
    assert_eq!(security["password"], "hunter2", "an empty password keeps the stored one");
    // ... but does not follow the endpoint to another server.
    for url in ["http://b1:9001/w", "https://b1:9000/w", "http://evil.example/w"] {
        let mut moved = answer.body.clone();
        moved["endpointConfig"]["production_endpoints"]["url"] = json!(url);
        let refused = harness.call("creator", Method::PUT, &path, &moved.to_string()).await;
        assert_eq!(refused.status, 400, "{url}: {}", refused.body);
        moved["endpointConfig"]["endpoint_security"]["production"]["password"] = json!("hunter3");
        assert_eq!(harness.call("creator", Method::PUT, &path, &moved.to_string()).await.status, 200, "{url}");
        let back = harness.call("creator", Method::PUT, &path, &answer.body.to_string()).await;
        assert_eq!(back.status, 400, "{}", back.body);
        let mut body = answer.body.clone();
        body["endpointConfig"]["endpoint_security"]["production"]["password"] = json!("hunter2");
        assert_eq!(harness.call("creator", Method::PUT, &path, &body.to_string()).await.status, 200);
    }
    let swagger = get(&harness, &format!("{path}/swagger")).await.body;
    assert!(swagger["paths"].get("/city").is_none() && swagger["paths"].get("/city/{id}").is_some());
}

#[tokio::test]
async fn a_publisher_changes_only_the_shop_window() {
    let harness = Harness::new().await;
    let id = create(&harness, &weather("1.0.0")).await;
    let path = format!("{APIS}/{id}");
    let mut body = get(&harness, &path).await.body;
    (body["description"], body["tags"]) = (json!("changed"), json!(["rain"]));
    let answer = harness.call("publisher", Method::PUT, &path, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!((&answer.body["description"], &answer.body["tags"]), (&Value::Null, &json!(["rain"])));
    body["lifeCycleStatus"] = json!("PUBLISHED");
    assert_eq!(harness.call("publisher", Method::PUT, &path, &body.to_string()).await.status, 400);
}

#[tokio::test]
async fn lists_pages_and_search() {
    let harness = Harness::new().await;
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        create(&harness, &weather(version)).await;
    }
    let page = get(&harness, &format!("{APIS}?limit=2")).await.body;
    assert_eq!((&page["count"], &page["pagination"]["total"]), (&json!(2), &json!(3)));
    assert_eq!(page["pagination"]["next"], "/apis?limit=2&offset=2&query=");
    let last = get(&harness, &format!("{APIS}?limit=2&offset=2")).await.body;
    assert_eq!((&last["count"], &last["pagination"]["next"]), (&json!(1), &json!("")));
    assert_eq!(get(&harness, &format!("{APIS}?offset=99")).await.body["count"], 0);
    assert_eq!(get(&harness, &format!("{APIS}?query=version:2")).await.body["count"], 1);
    assert_eq!(get(&harness, &format!("{APIS}?query=tag:su")).await.body["count"], 0);
    let full = get(&harness, &format!("{APIS}?expand=true&query=tag:sun")).await.body;
    assert_eq!(full["list"][0]["operations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_lifecycle() {
    let harness = Harness::new().await;
    let mut bare = weather("1.0.0");
    bare["endpointConfig"] = Value::Null;
    let id = create(&harness, &bare).await;
    assert_eq!(publish(&harness, &id, "").await.status, 400, "no endpoint");
    assert_eq!(get(&harness, &format!("{APIS}/{id}/lifecycle-state")).await.body["state"], "Created");
    let full = create(&harness, &weather("2.0.0")).await;
    harness.take_events();
    let answer = publish(&harness, &full, "").await;
    assert_eq!((answer.status, &answer.body["workflowStatus"]), (200, &json!("APPROVED")), "{}", answer.body);
    assert_eq!(answer.body["lifecycleState"]["state"], "Published");
    assert_eq!(answer.body["lifecycleState"]["availableTransitions"][0], json!({"event": "Block", "targetState": ""}));
    assert_eq!(harness.take_events().len(), 1);
    assert_eq!(get(&harness, &format!("{APIS}/{full}")).await.body["lifeCycleStatus"], "PUBLISHED");
    let history = get(&harness, &format!("{APIS}/{full}/lifecycle-history")).await.body;
    assert_eq!((&history["count"], &history["list"][1]["postState"]), (&json!(2), &json!("PUBLISHED")));
    assert_eq!(history["list"][1]["updatedTime"], "2026-01-05T10:11:12.000Z");
    let wrong = format!("{APIS}/change-lifecycle?apiId={full}&action=Retire");
    let answer = harness.call("publisher", Method::POST, &wrong, "").await;
    assert!(answer.body["description"].as_str().unwrap().starts_with("Action 'Retire' is not allowed."));
}

#[tokio::test]
async fn a_published_api_stays_one_that_gateways_can_serve() {
    let harness = Harness::new().await;
    let id = create(&harness, &weather("1.0.0")).await;
    let path = format!("{APIS}/{id}");
    let put = async |change: Value, status: u16| {
        let mut body = weather("1.0.0");
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = harness.call("creator", Method::PUT, &path, &body.to_string()).await;
        assert_eq!(answer.status, status, "{change}: {}", answer.body);
    };
    let lambda = json!({"endpointConfig": {"endpoint_type": "awslambda", "access_method": "role"}});
    put(lambda.clone(), 200).await;
    put(json!({}), 200).await;
    publish(&harness, &id, "").await;
    put(lambda, 400).await;
    put(json!({"endpointConfig": {"endpoint_type": "http"}}), 400).await;
    put(json!({"endpointImplementationType": "INLINE"}), 400).await;
    put(json!({}), 200).await;
    // What no gateway can serve, published or not.
    put(json!({"authorizationHeader": "no header"}), 400).await;
    put(json!({"authorizationHeader": "X-Key"}), 200).await;
    put(json!({"transport": ["gopher"]}), 400).await;
    put(json!({"transport": ["wss"]}), 400).await;
    put(json!({"gatewayEnvironments": ["Nowhere"]}), 400).await;
    let mut socket = weather("2.0.0");
    (socket["type"], socket["transport"]) = (json!("WS"), json!(["ws", "wss"]));
    socket["endpointConfig"] = json!({"endpoint_type": "ws", "production_endpoints": {"url": "wss://b"}});
    socket["operations"] = json!([{"target": "/*", "verb": "GET"}]);
    socket["scopes"] = json!([]);
    create(&harness, &socket).await;
}

#[tokio::test]
async fn a_copy_is_a_new_version() {
    let harness = Harness::new().await;
    let old = create(&harness, &weather("1.0.0")).await;
    publish(&harness, &old, "").await;
    let path = format!("{APIS}/copy-api?apiId={old}&newVersion=2.0.0&defaultVersion=true");
    let answer = harness.call("creator", Method::POST, &path, "").await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let copy = &answer.body;
    assert_eq!(
        (&copy["version"], &copy["lifeCycleStatus"], &copy["tags"]),
        (&json!("2.0.0"), &json!("CREATED"), &json!(["sun"]))
    );
    assert_eq!((&copy["isDefaultVersion"], copy["operations"].as_array().unwrap().len()), (&json!(true), 2));
    let mut conn = harness.portal.store.reader().await.unwrap();
    let id = copy["id"].as_str().unwrap();
    let stored = crate::portal::apis::find(&mut conn, TenantId::SUPER, id).await.unwrap().unwrap();
    assert_eq!(
        (stored.row.context.as_str(), &stored.definition.document["info"]["version"]),
        ("/weather/2.0.0", &json!("2.0.0"))
    );
    let security = &stored.object.endpoint_config.unwrap().0["endpoint_security"]["production"];
    assert_eq!(security["password"], "hunter2");
    let before = crate::portal::apis::find(&mut conn, TenantId::SUPER, &old).await.unwrap().unwrap();
    assert_eq!(before.stored.artifact.overview("isLatest"), Some("false"));
    assert_eq!(before.object.status().upper(), "PUBLISHED");
    drop(conn);
    assert_eq!(harness.call("creator", Method::POST, &path, "").await.status, 409);
}

#[tokio::test]
async fn what_gateways_are_told() {
    let harness = Harness::new().await;
    let mut api = weather("1.0.0");
    api["isDefaultVersion"] = json!(true);
    let id = create(&harness, &api).await;
    let deployed = async || {
        let mut conn = harness.portal.store.reader().await.unwrap();
        let mut told = Vec::new();
        for row in apis::list(&mut conn).await.unwrap() {
            told.extend(crate::portal::deployed::of_row(&mut conn, &row).await.unwrap());
        }
        told
    };
    assert!(deployed().await.is_empty(), "a created API is on no gateway");
    publish(&harness, &id, "").await;
    let told = deployed().await;
    assert_eq!(
        (told.len(), told[0].context.as_str(), told[0].default_context.as_deref()),
        (1, "/weather/1.0.0", Some("/weather"))
    );
    let production = told[0].production.as_ref().unwrap();
    assert_eq!(
        (production.url.as_str(), production.authorization.as_deref()),
        ("http://b1:9000/w", Some("Basic dTpodW50ZXIy"))
    );
    assert_eq!((told[0].resources.len(), told[0].resources[0].scopes.len()), (2, 1));
    assert_eq!(told[0].resources[1].throttling_policy, "10KPerMin");
    let mut nowhere = weather("2.0.0");
    nowhere["gatewayEnvironments"] = json!([]);
    let nowhere = create(&harness, &nowhere).await;
    publish(&harness, &nowhere, "").await;
    assert_eq!(deployed().await.len(), 1, "published, but for no environment");
}

#[tokio::test]
async fn default_version_follows_the_lifecycle() {
    let harness = Harness::new().await;
    let mut first = weather("1.0.0");
    first["isDefaultVersion"] = json!(true);
    let first = create(&harness, &first).await;
    publish(&harness, &first, "").await;
    let default = async || {
        let mut conn = harness.portal.store.reader().await.unwrap();
        apis::find_default(&mut conn, "Weather", "creator").await.unwrap()
    };
    assert_eq!(default().await.published.as_deref(), Some("1.0.0"));
    let mut second = weather("2.0.0");
    second["isDefaultVersion"] = json!(true);
    let second = create(&harness, &second).await;
    assert_eq!(default().await.version.as_deref(), Some("2.0.0"));
    assert_eq!(default().await.published.as_deref(), Some("1.0.0"), "until the new one is published");
    let old = get(&harness, &format!("{APIS}/{first}")).await.body;
    assert_eq!(old["isDefaultVersion"], false);
    publish(&harness, &second, "").await;
    assert_eq!(default().await.published.as_deref(), Some("2.0.0"));
}

#[tokio::test]
async fn deleting() {
    let harness = Harness::new().await;
    let id = create(&harness, &weather("1.0.0")).await;
    let path = format!("{APIS}/{id}");
    assert_eq!(harness.call("creator", Method::DELETE, &path, "").await.status, 200);
    assert_eq!(get(&harness, &path).await.status, 404);
    let mut conn = harness.portal.store.reader().await.unwrap();
    assert!(apis::list(&mut conn).await.unwrap().is_empty());
    let media_type = "application/vnd.wso2-api+xml";
    assert!(registry::list_by_media_type(&mut conn, TenantId::SUPER, media_type, 9).await.unwrap().is_empty());
    assert_eq!(scopes::find_roles(&mut conn, TenantId::SUPER, "wx_read").await.unwrap(), None);
    drop(conn);
    create(&harness, &weather("1.0.0")).await;
}

#[tokio::test]
async fn tenants_are_apart() {
    let harness = Harness::new().await;
    let id = create(&harness, &weather("1.0.0")).await;
    let path = format!("{APIS}/{id}");
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(harness.call("admin@abc.com", method, &path, "").await.status, 404);
    }
    let step = format!("{APIS}/change-lifecycle?apiId={id}&action=Publish");
    assert_eq!(harness.call("admin@abc.com", Method::POST, &step, "").await.status, 404);
    let answer = harness.call("creator@abc.com", Method::POST, APIS, &weather("1.0.0").to_string()).await;
    assert_eq!((answer.status, &answer.body["context"]), (201, &json!("/t/abc.com/weather")), "{}", answer.body);
    assert_eq!(answer.body["provider"], "creator@abc.com");
    assert_eq!(harness.call("admin@abc.com", Method::GET, APIS, "").await.body["count"], 1);
}

#[tokio::test]
async fn a_tenants_longest_context_can_be_kept() {
    let harness = Harness::new().await;
    let mut api = weather("1.0.0");
    api["context"] = json!(format!("/{}", "c".repeat(81)));
    let created = harness.call("creator@abc.com", Method::POST, APIS, &api.to_string()).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let path = format!("{APIS}/{}", created.body["id"].as_str().unwrap());
    let kept = harness.call("creator@abc.com", Method::PUT, &path, &created.body.to_string()).await;
    assert_eq!(kept.status, 200, "the tenant's prefix is not the client's: {}", kept.body);
    (api["name"], api["context"]) = (json!("Other"), json!(format!("/{}", "d".repeat(82))));
    assert_eq!(harness.call("creator@abc.com", Method::POST, APIS, &api.to_string()).await.status, 400);
}

#[tokio::test]
async fn access_control_hides_an_api() {
    let harness = Harness::new().await;
    let mut api = weather("1.0.0");
    (api["accessControl"], api["accessControlRoles"]) = (json!("RESTRICTED"), json!(["Internal/creator"]));
    let id = create(&harness, &api).await;
    let path = format!("{APIS}/{id}");
    assert_eq!(harness.call("publisher", Method::GET, &path, "").await.status, 404);
    assert_eq!(harness.call("publisher", Method::GET, APIS, "").await.body["count"], 0);
    assert_eq!(harness.call("creator2", Method::GET, &path, "").await.status, 200);
    assert_eq!(harness.call("admin", Method::GET, &path, "").await.status, 200);
}

#[tokio::test]
async fn definitions_are_imported_and_replaced() {
    let harness = Harness::new().await;
    let yaml = "openapi: 3.0.1\ninfo: {title: Weather, version: 1.0.0}\npaths:\n  /a/{id}:\n    get:\n      x-auth-type: None\n      responses: {}\n";
    let properties =
        json!({"name": "Weather", "version": "1.0.0", "context": "/weather", "policies": ["Gold"]}).to_string();
    let parts = [("file", yaml), ("additionalProperties", properties.as_str())];
    let path = format!("{APIS}/import-openapi");
    let answer = harness.form("creator", Method::POST, &path, &parts).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.body["operations"][0]["target"], "/a/{id}");
    assert_eq!(answer.body["operations"][0]["authType"], "None");
    let swagger = format!("{APIS}/{}/swagger", answer.body["id"].as_str().unwrap());
    let new = r#"{"openapi":"3.0.1","info":{"title":"W","version":"1"},"paths":{"/b":{"post":{"responses":{}}}}}"#;
    let replaced = harness.form("creator", Method::PUT, &swagger, &[("apiDefinition", new)]).await;
    assert_eq!((replaced.status, replaced.body["paths"].get("/b").is_some()), (200, true), "{}", replaced.body);
    let read = get(&harness, &swagger).await;
    assert_eq!(read.headers["content-disposition"], "attachment; filename=\"swagger.json\"");
    assert_eq!(read.body["x-wso2-basePath"], "/weather/1.0.0");
    let bad = harness.form("creator", Method::POST, &path, &[("file", "{}"), ("additionalProperties", "{}")]).await;
    assert_eq!((bad.status, &bad.body["code"]), (400, &json!(900_759)));
    let none = harness.form("creator", Method::POST, &path, &[]).await;
    assert_eq!(none.body["description"], "Either 'file' or 'url' should be specified");
    let url = harness.form("creator", Method::POST, &path, &[("url", "http://169.254.169.254/")]).await;
    assert_eq!(url.status, 400, "a portal does not fetch what a client names");
    let validated = harness.form("creator", Method::POST, &format!("{APIS}/validate-openapi"), &[("file", yaml)]).await;
    assert_eq!(
        (&validated.body["isValid"], &validated.body["info"]["openAPIVersion"]),
        (&json!(true), &json!("3.0.1"))
    );
}

#[tokio::test]
async fn names_and_contexts_are_validated() {
    let harness = Harness::new().await;
    create(&harness, &weather("1.0.0")).await;
    for (query, status) in
        [("name:weather", 200), ("Weather", 200), ("name:Sun", 404), ("context:/weather", 200), ("context:/sun", 404)]
    {
        let answer = harness.call("creator", Method::POST, &format!("{APIS}/validate?query={query}"), "").await;
        assert_eq!(answer.status, status, "{query}");
    }
}

#[tokio::test]
async fn policies_and_settings() {
    let harness = Harness::new().await;
    let list = get(&harness, "/api/am/publisher/v1/throttling-policies/subscription").await.body;
    let gold = list["list"].as_array().unwrap().iter().find(|policy| policy["name"] == "Gold").unwrap();
    assert_eq!((&gold["requestCount"], &gold["unitTime"], &gold["timeUnit"]), (&json!(5000), &json!(1), &json!("min")));
    let one = get(&harness, "/api/am/publisher/v1/throttling-policies/api/10KPerMin").await;
    assert_eq!((one.status, &one.body["policyLevel"]), (200, &json!("API")));
    assert_eq!(get(&harness, "/api/am/publisher/v1/throttling-policies/api/none").await.status, 404);
    let id = create(&harness, &weather("1.0.0")).await;
    let own = get(&harness, &format!("{APIS}/{id}/subscription-policies")).await.body;
    assert_eq!((own.as_array().unwrap().len(), &own[0]["name"]), (1, &json!("Gold")));
    let settings = get(&harness, "/api/am/publisher/v1/settings").await.body;
    assert_eq!(settings["environment"][0]["name"], "Production and Sandbox");
    assert!(harness.call("", Method::GET, "/api/am/publisher/v1/settings", "").await.body.get("environment").is_none());
}

#[tokio::test]
async fn a_publisher_sees_and_blocks_subscriptions() {
    let harness = Harness::new().await;
    let id = create(&harness, &weather("1.0.0")).await;
    publish(&harness, &id, "").await;
    let (_, subscription) = super::devportal::subscribe(&harness, "subscriber", &id).await;
    let list = get(&harness, &format!("/api/am/publisher/v1/subscriptions?apiId={id}")).await.body;
    assert_eq!((&list["count"], &list["list"][0]["applicationInfo"]["subscriber"]), (&json!(1), &json!("subscriber")));
    let block = format!(
        "/api/am/publisher/v1/subscriptions/block-subscription?subscriptionId={subscription}&blockState=PROD_ONLY_BLOCKED"
    );
    harness.take_events();
    let answer = harness.call("publisher", Method::POST, &block, "").await;
    assert_eq!((answer.status, &answer.body["subscriptionStatus"]), (200, &json!("PROD_ONLY_BLOCKED")));
    assert!(matches!(harness.take_events()[..], [Event::ApplicationChanged { .. }]));
    assert_eq!(harness.call("admin@abc.com", Method::POST, &block, "").await.status, 404);
    let unblock = format!("/api/am/publisher/v1/subscriptions/unblock-subscription?subscriptionId={subscription}");
    let answer = harness.call("publisher", Method::POST, &unblock, "").await;
    assert_eq!(answer.body["subscriptionStatus"], "UNBLOCKED");
    let delete = harness.call("creator", Method::DELETE, &format!("{APIS}/{id}"), "").await;
    assert_eq!(delete.status, 409);
}

#[tokio::test]
async fn a_new_version_takes_the_subscriptions_over() {
    let harness = Harness::new().await;
    let first = create(&harness, &weather("1.0.0")).await;
    publish(&harness, &first, "").await;
    super::devportal::subscribe(&harness, "subscriber", &first).await;
    let second = create(&harness, &weather("2.0.0")).await;
    let state = get(&harness, &format!("{APIS}/{second}/lifecycle-state")).await.body;
    assert_eq!(state["checkItems"].as_array().unwrap().len(), 2);
    let tick = "&lifecycleChecklist=Deprecate%20old%20versions%20after%20publishing%20the%20API:true";
    assert_eq!(publish(&harness, &second, tick).await.status, 200);
    assert_eq!(get(&harness, &format!("{APIS}/{first}")).await.body["lifeCycleStatus"], "DEPRECATED");
    let copied = get(&harness, &format!("/api/am/publisher/v1/subscriptions?apiId={second}")).await.body;
    assert_eq!((&copied["count"], &copied["list"][0]["throttlingPolicy"]), (&json!(1), &json!("Gold")));
    let third = create(&harness, &weather("3.0.0")).await;
    let tick = "&lifecycleChecklist=Requires%20re-subscription%20when%20publishing%20the%20API:true";
    publish(&harness, &third, tick).await;
    assert_eq!(get(&harness, &format!("/api/am/publisher/v1/subscriptions?apiId={third}")).await.body["count"], 0);
    let retire = format!("{APIS}/change-lifecycle?apiId={first}&action=Retire");
    assert_eq!(harness.call("publisher", Method::POST, &retire, "").await.status, 200);
    let mut conn = harness.portal.store.reader().await.unwrap();
    assert_eq!(subscriptions::list_all(&mut conn).await.unwrap().len(), 1, "the retired version lost its own");
}
