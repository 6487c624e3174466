//! What belongs to one API stays out of another's reach: scopes, contexts, backend passwords.

use super::harness::{Answer, Harness};
use super::publisher::{create, weather};
use claviger_proto::ids::TenantId;
use claviger_store::scopes;
use http::Method;
use serde_json::{Value, json};

const APIS: &str = "/api/am/publisher/v1/apis";

fn named(name: &str, context: &str, version: &str) -> Value {
    let mut api = weather(version);
    (api["name"], api["context"], api["scopes"]) = (json!(name), json!(context), json!([]));
    api["operations"] = json!([{"target": "/a", "verb": "GET"}]);
    api
}

/// An API that declares a scope without putting it on an operation.
fn declaring(name: &str, context: &str, version: &str, role: &str) -> Value {
    let mut api = named(name, context, version);
    api["scopes"] = json!([{"scope": {"name": "money_admin", "bindings": [role]}}]);
    api
}

async fn post(harness: &Harness, user: &str, api: &Value) -> Answer {
    harness.call(user, Method::POST, APIS, &api.to_string()).await
}

async fn put(harness: &Harness, user: &str, id: &str, api: &Value) -> Answer {
    harness.call(user, Method::PUT, &format!("{APIS}/{id}"), &api.to_string()).await
}

async fn get(harness: &Harness, user: &str, id: &str) -> Value {
    harness.call(user, Method::GET, &format!("{APIS}/{id}"), "").await.body
}

async fn roles_of(harness: &Harness, scope: &str) -> Option<Vec<String>> {
    let mut conn = harness.portal.store.reader().await.unwrap();
    scopes::find_roles(&mut conn, TenantId::SUPER, scope).await.unwrap()
}

const FOREIGN_SCHEME: &str = r#"{"openapi":"3.0.1","info":{"title":"Own","version":"1"},
    "paths":{"/a":{"get":{"responses":{}}}},
    "components":{"securitySchemes":{"oauth":{"type":"oauth2","flows":{"implicit":{"authorizationUrl":"https://x",
    "scopes":{"money_admin":"d"},"x-scopes-bindings":{"money_admin":"Internal/creator"}}}},
    "key":{"type":"apiKey","name":"k","in":"header"}}}}"#;

#[tokio::test]
async fn a_scope_that_was_given_up_belongs_to_the_next() {
    let harness = Harness::new().await;
    let properties = json!({"name": "Own", "version": "1", "context": "/own", "policies": ["Gold"]}).to_string();
    let parts = [("file", FOREIGN_SCHEME), ("additionalProperties", properties.as_str())];
    let mine = harness.form("creator", Method::POST, &format!("{APIS}/import-openapi"), &parts).await.body;
    let id = mine["id"].as_str().unwrap();
    assert_eq!(mine["scopes"][0]["scope"]["name"], "money_admin");
    let mut without = mine.clone();
    without["scopes"] = json!([]);
    let without = put(&harness, "creator", id, &without).await;
    assert_eq!((without.status, &without.body["scopes"]), (200, &json!([])), "{}", without.body);
    let bobs = post(&harness, "creator2", &declaring("Bobs", "/bobs", "1", "admin")).await;
    assert_eq!(bobs.status, 201, "{}", bobs.body);
    let mut stolen = without.body;
    stolen["scopes"] = json!([{"scope": {"name": "money_admin", "bindings": ["Internal/subscriber"]}}]);
    let refused = put(&harness, "creator", id, &stolen).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!(900_984)), "{}", refused.body);
    assert_eq!(roles_of(&harness, "money_admin").await, Some(vec!["admin".to_owned()]));
}

#[tokio::test]
async fn a_stored_document_is_no_proof_of_a_scope() {
    let harness = Harness::new().await;
    let mine = create(&harness, &named("Own", "/own", "1")).await;
    // As an earlier release left it: the scheme `oauth` still names what `default` gave up.
    let (stale, uuid) = (FOREIGN_SCHEME.to_owned(), mine.clone());
    let written = harness.portal.store.write::<(), crate::portal::error::PortalError, _>(move |conn| {
        let (stale, uuid) = (stale.clone(), uuid.clone());
        Box::pin(async move {
            let api = crate::portal::apis::find(conn, TenantId::SUPER, &uuid).await?.unwrap();
            let new = claviger_store::registry::NewResource {
                tenant: TenantId::SUPER,
                collection: &api.collection,
                name: "swagger.json",
                media_type: "application/json",
                uuid: "11111111-1111-1111-1111-111111111111",
                content: stale.as_bytes(),
                user: "creator",
                now: claviger_proto::time::Timestamp::from_secs(1_767_607_872),
            };
            claviger_store::registry::put(conn, &new, &crate::app::SystemEntropy::default()).await?;
            Ok(())
        })
    });
    written.await.unwrap();
    let bobs = post(&harness, "creator2", &declaring("Bobs", "/bobs", "1", "admin")).await;
    assert_eq!(bobs.status, 201, "{}", bobs.body);
    let mut body = get(&harness, "creator", &mine).await;
    body["scopes"] = json!([{"scope": {"name": "money_admin", "bindings": ["Internal/subscriber"]}}]);
    assert_eq!(put(&harness, "creator", &mine, &body).await.status, 409);
    body["scopes"] = json!([]);
    assert_eq!(put(&harness, "creator", &mine, &body).await.status, 200);
    assert_eq!(roles_of(&harness, "money_admin").await, Some(vec!["admin".to_owned()]), "not hers to delete");
}

#[tokio::test]
async fn a_scope_lives_as_long_as_any_version_declares_it() {
    let harness = Harness::new().await;
    let first = create(&harness, &declaring("Own", "/own", "1", "admin")).await;
    let copy = format!("{APIS}/copy-api?apiId={first}&newVersion=2");
    let second = harness.call("creator", Method::POST, &copy, "").await;
    assert_eq!(second.status, 201, "{}", second.body);
    let second = second.body["id"].as_str().unwrap().to_owned();
    let kept = Some(vec!["admin".to_owned()]);
    let path = format!("{APIS}/{first}");
    assert_eq!(harness.call("creator", Method::DELETE, &path, "").await.status, 200);
    assert_eq!(roles_of(&harness, "money_admin").await, kept, "the other version still declares it");
    let foreign = post(&harness, "creator2", &declaring("Bobs", "/bobs", "1", "Internal/creator")).await;
    assert_eq!(foreign.status, 409, "{}", foreign.body);
    let third = create(&harness, &declaring("Own", "/own", "3", "admin")).await;
    let mut without = get(&harness, "creator", &third).await;
    without["scopes"] = json!([]);
    assert_eq!(put(&harness, "creator", &third, &without).await.status, 200);
    assert_eq!(roles_of(&harness, "money_admin").await, kept);
    for id in [second, third] {
        assert_eq!(harness.call("creator", Method::DELETE, &format!("{APIS}/{id}"), "").await.status, 200);
    }
    assert_eq!(roles_of(&harness, "money_admin").await, None);
}

#[tokio::test]
async fn contexts_are_compared_as_they_are_served() {
    let harness = Harness::new().await;
    let check = async |user: &str, api: &Value, status: u16| {
        let answer = post(&harness, user, api).await;
        assert_eq!(answer.status, status, "{} {}: {}", api["context"], api["version"], answer.body);
        answer.body["id"].as_str().unwrap_or_default().to_owned()
    };
    check("creator", &named("Own", "/{version}/1.0.0", "cash"), 400).await;
    check("creator", &named("Own", "/{version}/abc.com/weather/1.0.0", "t"), 400).await;
    check("creator", &named("Own", "/c{version}/1.0.0", "ash"), 201).await;
    check("creator2", &named("Cash", "/cash", "1.0.0"), 400).await;
    check("creator2", &named("Bobs", "/bobs", "1.0.0"), 201).await;
    check("creator2", &named("Bobs", "/bobs", "1.0.0-b"), 201).await;
    check("creator", &named("Inside", "/bobs/1.0.0", "x"), 400).await;
    check("creator", &named("Bobs", "/bobs/1.0.0", "x"), 400).await;
    check("creator", &named("Beside", "/bobs/eu", "1.0.0"), 201).await;
    check("creator", &named("Outside", "/bo{version}", "bs"), 400).await;
    // A copy is served under a context of its own.
    let mine = check("creator", &named("Copied", "/d{version}/1.0.0", "1"), 201).await;
    check("creator2", &named("Dash", "/dash", "1.0.0"), 201).await;
    let copy = format!("{APIS}/copy-api?apiId={mine}&newVersion=ash");
    assert_eq!(harness.call("creator", Method::POST, &copy, "").await.status, 400);
}

#[tokio::test]
async fn the_context_of_a_default_version_is_served_too() {
    let harness = Harness::new().await;
    let default = |mut api: Value| {
        api["isDefaultVersion"] = json!(true);
        api
    };
    let check = async |user: &str, api: Value, status: u16| {
        let answer = post(&harness, user, &api).await;
        assert_eq!(answer.status, status, "{} {}: {}", api["context"], api["version"], answer.body);
        answer.body["id"].as_str().unwrap_or_default().to_owned()
    };
    check("creator2", default(named("Bobs", "/bobs", "1.0.0")), 201).await;
    check("creator2", named("Bobs", "/bobs", "2.0.0"), 201).await;
    check("creator", named("Inside", "/bobs/eu", "1.0.0"), 400).await;
    check("creator2", named("Cash", "/cash", "1.0.0"), 201).await;
    check("creator", default(named("Own", "/cash/1.0.0/{version}/x", "1")), 400).await;
    let mine = check("creator", named("Own", "/cash/{version}/1.0.0", "1"), 201).await;
    let mut body = get(&harness, "creator", &mine).await;
    body["isDefaultVersion"] = json!(true);
    let refused = put(&harness, "creator", &mine, &body).await;
    assert_eq!(refused.status, 400, "it would answer under /cash/1.0.0: {}", refused.body);
    let copy = format!("{APIS}/copy-api?apiId={mine}&newVersion=2&defaultVersion=true");
    assert_eq!(harness.call("creator", Method::POST, &copy, "").await.status, 400);
}

#[tokio::test]
async fn a_secret_stays_with_its_server_and_its_side() {
    let harness = Harness::new().await;
    let mut api = named("Own", "/own", "1");
    let security = |kind: &str| {
        json!({"enabled": true, "type": kind, "username": "u", "password": "hunter2",
        "tokenUrl": "https://idp.example/token", "clientId": "c", "clientSecret": "s3cret"})
    };
    api["endpointConfig"] = json!({"endpoint_type": "http",
        "production_endpoints": {"url": "http://b1:9000/w"}, "sandbox_endpoints": {"url": "http://b2:9000/w"},
        "endpoint_security": {"production": security("OAUTH"), "sandbox": security("BASIC")}});
    let id = create(&harness, &api).await;
    let shown = get(&harness, "creator", &id).await;
    assert_eq!(shown["endpointConfig"]["endpoint_security"]["production"]["clientSecret"], "");
    assert_eq!(put(&harness, "creator", &id, &shown).await.status, 200, "nothing moved");
    let check = async |pointer: &str, url: &str| {
        let mut moved = shown.clone();
        *moved["endpointConfig"].pointer_mut(pointer).unwrap() = json!(url);
        let refused = put(&harness, "creator", &id, &moved).await;
        assert_eq!(refused.status, 400, "{pointer} to {url}: {}", refused.body);
    };
    check("/endpoint_security/production/tokenUrl", "https://evil.example/token").await;
    check("/production_endpoints/url", "http://b2:9000/w").await;
    check("/sandbox_endpoints/url", "http://b1:9000/w").await;
    // A side without a secret may move.
    let mut api = named("Half", "/half", "1");
    api["endpointConfig"] = json!({"endpoint_type": "http",
        "production_endpoints": {"url": "http://b1:9000/w"}, "sandbox_endpoints": {"url": "http://b2:9000/w"},
        "endpoint_security": {"production": security("BASIC")}});
    let id = create(&harness, &api).await;
    let mut moved = get(&harness, "creator", &id).await;
    moved["endpointConfig"]["sandbox_endpoints"]["url"] = json!("http://b3:9000/w");
    assert_eq!(put(&harness, "creator", &id, &moved).await.status, 200);
    // The older form serves both sides.
    let mut api = named("Old", "/old", "1");
    api["endpointConfig"] = json!({"endpoint_type": "http",
        "production_endpoints": {"url": "http://b1:9000/w"}, "sandbox_endpoints": {"url": "http://b2:9000/w"}});
    api["endpointSecurity"] = json!({"type": "BASIC", "username": "u", "password": "hunter2"});
    let id = create(&harness, &api).await;
    let mut moved = get(&harness, "creator", &id).await;
    assert_eq!(put(&harness, "creator", &id, &moved).await.status, 200);
    moved["endpointConfig"]["sandbox_endpoints"]["url"] = json!("http://b1:9000/w");
    assert_eq!(put(&harness, "creator", &id, &moved).await.status, 400);
}

#[tokio::test]
async fn a_racing_update_does_not_bring_an_old_password_back() {
    let harness = Harness::new().await;
    let id = create(&harness, &weather("1.0.0")).await;
    let blank = get(&harness, "creator", &id).await;
    for round in 0..20 {
        let password = format!("new-{round}");
        let mut changed = blank.clone();
        changed["endpointConfig"]["endpoint_security"]["production"]["password"] = json!(password);
        let (kept, set) = tokio::join!(put(&harness, "creator", &id, &blank), put(&harness, "creator", &id, &changed));
        assert_eq!((kept.status, set.status), (200, 200));
        let mut conn = harness.portal.store.reader().await.unwrap();
        let stored = crate::portal::apis::find(&mut conn, TenantId::SUPER, &id).await.unwrap().unwrap();
        let security = &stored.object.endpoint_config.unwrap().0["endpoint_security"]["production"];
        assert_eq!(security["password"], password, "in whatever order the two came");
    }
}
