//! Statements 49 and 50: what gateways of API Manager load at their start (rest-3x.md 5.4, 8.7). Each answer is read as the
//! gateways' own objects are: by name and type of the members they use.

use super::post;
use crate::harness::{ADMIN, ADMIN_PASSWORD, Call as _, Reply, Server, on_every_engine, on_sqlite};
use claviger_store::error::StoreError;
use claviger_store::sql::Sql;
use serde_json::{Value, json};
use std::io::Read as _;

pub(super) const DATA: &str = "/internal/data/v1";
pub(super) const ADMINISTRATOR: (&str, &str) = (ADMIN, ADMIN_PASSWORD);

/// A gateway's question; no header when the tenant is empty.
pub(super) async fn ask(server: &Server, (user, password): (&str, &str), tenant: &str, path: &str) -> Reply {
    let mut request = server.get(&format!("{DATA}{path}")).basic_auth(user, Some(password));
    if !tenant.is_empty() {
        request = request.header("xWSO2Tenant", tenant);
    }
    request.call().await
}

pub(super) async fn load(server: &Server, tenant: &str, path: &str) -> Value {
    let reply = ask(server, ADMINISTRATOR, tenant, path).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")), "{path}: {reply:?}");
    reply.json()
}

/// The members of a list, whose count must be right.
pub(super) async fn list(server: &Server, tenant: &str, path: &str) -> Vec<Value> {
    let loaded = load(server, tenant, path).await;
    let list = loaded["list"].as_array().unwrap_or_else(|| panic!("{path}: {loaded}")).clone();
    assert_eq!(loaded["count"], list.len(), "{path}");
    list
}

/// What a member must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    List,
    Map,
}
use Kind::{Flag, List, Map, Number, Text};

#[track_caller]
pub(super) fn check(object: &Value, members: &[(&str, Kind)]) {
    for (name, kind) in members {
        let value = &object[name];
        let fits = match kind {
            Text => value.is_string(),
            Number => value.is_i64(),
            Flag => value.is_boolean(),
            List => value.is_array(),
            Map => value.is_object(),
        };
        assert!(fits, "{name} is no {kind:?}: {object}");
    }
}

pub(super) async fn execute(server: &Server, statements: &'static [Sql]) {
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        Box::pin(async move {
            for statement in statements {
                conn.execute(statement, &[]).await?;
            }
            Ok(())
        })
    });
    write.await.unwrap();
}

/// What a publisher and a developer made.
pub(super) struct Scene {
    pub(super) api_uuid: String,
    pub(super) application_uuid: String,
    pub(super) subscription_uuid: String,
    pub(super) consumer_key: String,
}

async fn portal(server: &Server, path: &str, body: &Value) -> Reply {
    let reply = post(server, &format!("/api/am/{path}"), body).await;
    assert!(matches!(reply.status, 200 | 201), "{}: {path}: {reply:?}", server.engine);
    reply
}

fn api(name: &str, version: &str) -> Value {
    json!({
        "name": name, "context": format!("/{}", name.to_lowercase()), "version": version, "policies": ["Gold"],
        "gatewayEnvironments": ["Production and Sandbox"], "isDefaultVersion": version == "2.0.0",
        "endpointConfig": {"endpoint_type": "http", "production_endpoints": {"url": "http://b1:9000/w"}},
        "scopes": [{"scope": {"name": format!("read_{version}"), "displayName": "Reads", "bindings": ["admin"]}}],
        "operations": [
            {"target": "/city/{id}", "verb": "GET", "authType": "Application & Application User",
             "throttlingPolicy": "Unlimited", "scopes": [format!("read_{version}")]},
            {"target": "/open", "verb": "POST", "authType": "None", "throttlingPolicy": "10KPerMin"},
        ],
    })
}

pub(super) async fn build(server: &Server) -> Scene {
    // A neighbour that nobody is subscribed to.
    portal(server, "publisher/v1/apis", &api("Other", "1.0.0")).await;
    let api_uuid = portal(server, "publisher/v1/apis", &api("Weather", "2.0.0")).await.text("id");
    let path = format!("publisher/v1/apis/change-lifecycle?apiId={api_uuid}&action=Publish");
    portal(server, &path, &json!({})).await;
    let body = json!({ "name": "Mobile", "throttlingPolicy": "10PerMin" });
    let application_uuid = portal(server, "store/v1/applications", &body).await.text("applicationId");
    let body = json!({ "keyType": "PRODUCTION", "grantTypesToBeSupported": ["client_credentials"] });
    let keys = portal(server, &format!("store/v1/applications/{application_uuid}/generate-keys"), &body).await;
    let body = json!({ "applicationId": application_uuid, "apiId": api_uuid, "throttlingPolicy": "Gold" });
    let subscription_uuid = portal(server, "store/v1/subscriptions", &body).await.text("subscriptionId");
    Scene { api_uuid, application_uuid, subscription_uuid, consumer_key: keys.text("consumerKey") }
}

const API_OF_3_2: &[(&str, Kind)] = &[
    ("apiId", Number),
    ("provider", Text),
    ("name", Text),
    ("version", Text),
    ("context", Text),
    ("apiType", Text),
    ("isDefaultVersion", Flag),
    ("urlMappings", List),
];
const MAPPING: &[(&str, Kind)] =
    &[("authScheme", Text), ("throttlingPolicy", Text), ("httpMethod", Text), ("urlPattern", Text), ("scopes", List)];
const APPLICATION: &[(&str, Kind)] = &[
    ("uuid", Text),
    ("id", Number),
    ("name", Text),
    ("subName", Text),
    ("policy", Text),
    ("tokenType", Text),
    ("groupIds", List),
    ("attributes", Map),
    ("organization", Text),
];
const SUBSCRIPTION_OF_3_2: &[(&str, Kind)] = &[
    ("subscriptionId", Number),
    ("policyId", Text),
    ("apiId", Number),
    ("appId", Number),
    ("subscriptionState", Text),
];
const KEY_OF_3_2: &[(&str, Kind)] =
    &[("applicationId", Number), ("consumerKey", Text), ("keyType", Text), ("keyManager", Text)];
const POLICY: &[(&str, Kind)] =
    &[("id", Number), ("tenantId", Number), ("tenantDomain", Text), ("name", Text), ("quotaType", Text)];

pub(super) fn only<'a>(list: &'a [Value], name: &str, value: &Value) -> &'a Value {
    let mut found = list.iter().filter(|it| it[name] == *value);
    let one = found.next().unwrap_or_else(|| panic!("no {name} {value}: {list:?}"));
    assert!(found.next().is_none(), "two of {name} {value}: {list:?}");
    one
}

#[tokio::test]
async fn checklist_49_the_paths_of_3_2_answer_with_their_members() {
    on_every_engine("", async |server| {
        let scene = build(server).await;
        let apis = list(server, "carbon.super", "/apis").await;
        assert_eq!(apis.len(), 2, "{}: {apis:?}", server.engine);
        let api = only(&apis, "name", &json!("Weather"));
        check(api, API_OF_3_2);
        assert_eq!((&api["version"], &api["context"]), (&json!("2.0.0"), &json!("/weather/2.0.0")));
        assert_eq!((&api["provider"], &api["isDefaultVersion"]), (&json!(ADMIN), &json!(true)));
        assert_eq!(only(&apis, "name", &json!("Other"))["isDefaultVersion"], false);
        let mappings = api["urlMappings"].as_array().unwrap();
        for mapping in mappings {
            check(mapping, MAPPING);
        }
        let city = only(mappings, "urlPattern", &json!("/city/{id}"));
        assert_eq!((&city["httpMethod"], &city["scopes"]), (&json!("GET"), &json!(["read_2.0.0"])));
        let open = only(mappings, "urlPattern", &json!("/open"));
        assert_eq!((&open["authScheme"], &open["throttlingPolicy"]), (&json!("None"), &json!("10KPerMin")));
        assert_eq!(open["scopes"], json!([]));

        let applications = list(server, "carbon.super", "/applications").await;
        let application = only(&applications, "uuid", &json!(scene.application_uuid));
        check(application, APPLICATION);
        assert_eq!((&application["name"], &application["policy"]), (&json!("Mobile"), &json!("10PerMin")));
        assert_eq!(application["subName"], ADMIN);

        let subscriptions = list(server, "carbon.super", "/subscriptions").await;
        let [subscription] = subscriptions.as_slice() else { panic!("{}: {subscriptions:?}", server.engine) };
        check(subscription, SUBSCRIPTION_OF_3_2);
        assert_eq!((&subscription["apiId"], &subscription["appId"]), (&api["apiId"], &application["id"]));
        assert_eq!(
            (&subscription["policyId"], &subscription["subscriptionState"]),
            (&json!("Gold"), &json!("UNBLOCKED"))
        );

        let keys = list(server, "carbon.super", "/application-key-mappings").await;
        let key = only(&keys, "consumerKey", &json!(scene.consumer_key));
        check(key, KEY_OF_3_2);
        assert_eq!((&key["keyType"], &key["keyManager"]), (&json!("PRODUCTION"), &json!("Resident Key Manager")));
        assert_eq!(key["applicationId"], application["id"]);

        for path in ["/subscription-policies", "/application-policies", "/api-policies"] {
            let policies = list(server, "carbon.super", path).await;
            assert!(policies.len() > 2, "{path}: {policies:?}");
            for policy in &policies {
                check(policy, POLICY);
            }
            let name = policies[0]["name"].as_str().unwrap();
            let one = list(server, "carbon.super", &format!("{path}?policyName={name}")).await;
            assert_eq!(one, policies[..1], "{path}");
            assert!(list(server, "carbon.super", &format!("{path}?policyName=none")).await.is_empty(), "{path}");
        }
        let policies = list(server, "carbon.super", "/subscription-policies").await;
        let more = [("rateLimitCount", Number), ("stopOnQuotaReach", Flag), ("graphQLMaxDepth", Number)];
        for policy in &policies {
            check(policy, &more);
        }
        assert!(load(server, "carbon.super", "/keymanagers").await.is_array());
        assert_eq!(load(server, "carbon.super", "/throttle?query=x").await, json!([]));
        assert_eq!(load(server, "carbon.super", "/throttleAsString?query=x").await, json!(""));
        assert_eq!(load(server, "carbon.super", "/isThrottled?query=x").await["throttle_key"], "x");
    })
    .await;
}

#[tokio::test]
async fn checklist_49_gzip_when_asked() {
    on_sqlite("", async |server| {
        build(server).await;
        for path in ["/apis", "/subscription-policies", "/keymanagers"] {
            let request = || server.get(&format!("{DATA}{path}")).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
            let plain = request().call().await;
            assert_eq!((plain.status, plain.header("content-encoding")), (200, None), "{path}");
            for (name, value) in [("accept-encoding", "gzip,deflate"), ("accept", "application/gzip")] {
                let response = request().header(name, value).send().await.unwrap();
                assert_eq!(response.headers()["content-encoding"], "gzip", "{path} {name}");
                assert_eq!(response.headers()["vary"], "accept-encoding", "{path} {name}");
                let bytes = response.bytes().await.unwrap();
                assert!(bytes.len() < plain.body.len(), "{path}: {} of {}", bytes.len(), plain.body.len());
                let mut text = String::new();
                flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
                assert_eq!(text, plain.body, "{path}");
            }
            let refused = request().header("accept-encoding", "gzip;q=0, identity").call().await;
            assert_eq!((refused.header("content-encoding"), &refused.body), (None, &plain.body), "{path}");
        }
    })
    .await;
}

/// As `SubscriptionDataLoaderImpl` asks: everything of the tenant at first, and single objects without the tenant afterwards.
#[tokio::test]
async fn checklist_50_gateways_of_3_2_and_4_x_load() {
    on_every_engine("", async |server| {
        let scene = build(server).await;
        // 4.x names the gateway, and takes UUID and state beside the rest.
        let apis = list(server, "carbon.super", "/apis?gatewayLabel=Default&expand=true").await;
        let api = only(&apis, "uuid", &json!(scene.api_uuid));
        check(api, API_OF_3_2);
        check(api, &[("uuid", Text), ("status", Text), ("organization", Text)]);
        assert_eq!(api["status"], "PUBLISHED", "{}", server.engine);
        assert_eq!(only(&apis, "name", &json!("Other"))["status"], "CREATED");
        let subscriptions = list(server, "carbon.super", "/subscriptions").await;
        let subscription = &subscriptions[0];
        assert_eq!(subscription["subscriptionUUID"], scene.subscription_uuid.as_str());
        assert_eq!(subscription["apiUUID"], scene.api_uuid.as_str());
        assert_eq!(subscription["applicationUUID"], scene.application_uuid.as_str());
        let keys = list(server, "carbon.super", "/application-key-mappings").await;
        let key = only(&keys, "consumerKey", &json!(scene.consumer_key));
        assert_eq!(key["applicationUUID"], scene.application_uuid.as_str());
        let applications = list(server, "carbon.super", "/applications").await;
        for path in ["/subscription-policies", "/application-policies", "/api-policies"] {
            for policy in list(server, "carbon.super", path).await {
                check(&policy["defaultLimit"], &[("quotaType", Text), ("requestCount", Map)]);
                let limit = &policy["defaultLimit"]["requestCount"];
                check(limit, &[("timeUnit", Text), ("unitTime", Number), ("requestCount", Number)]);
            }
        }
        assert!(list(server, "carbon.super", "/global-policies").await.is_empty());
        let scopes = list(server, "carbon.super", "/scopes").await;
        let scope = only(&scopes, "name", &json!("read_2.0.0"));
        assert_eq!((&scope["displayName"], &scope["roles"]), (&json!("Reads"), &json!(["admin"])));
        assert_eq!(list(server, "carbon.super", "/scopes?scopeKey=read_2.0.0").await, std::slice::from_ref(scope));

        // Single objects, of 3.2 and of 4.x; what is not there is an empty list.
        let (api_id, application_id) = (&api["apiId"], &subscription["appId"]);
        let named = [
            ("/apis?context=/weather/2.0.0&version=2.0.0".to_owned(), api),
            (format!("/apis?apiId={}&gatewayLabel=Default", scene.api_uuid), api),
            (format!("/apis?apiId={api_id}"), api),
            (format!("/applications?appId={application_id}"), only(&applications, "id", application_id)),
            (format!("/subscriptions?apiId={api_id}&appId={application_id}"), subscription),
            (
                format!("/subscriptions?apiUUID={}&applicationUUID={}", scene.api_uuid, scene.application_uuid),
                subscription,
            ),
            (format!("/application-key-mappings?consumerKey={}", scene.consumer_key), key),
            (
                format!(
                    "/application-key-mappings?consumerKey={}&keymanager=Resident%20Key%20Manager",
                    scene.consumer_key
                ),
                key,
            ),
        ];
        for (path, expected) in &named {
            for tenant in ["", "carbon.super", "ALL"] {
                assert_eq!(list(server, tenant, path).await, [(*expected).clone()], "{}: {path}", server.engine);
            }
        }
        for path in [
            "/apis?context=/weather/2.0.0&version=1.0.0",
            "/apis?context=/none/1.0.0&version=1.0.0",
            "/apis?apiId=987654",
            "/applications?appId=987654",
            "/subscriptions?apiId=987654&appId=987654",
            "/subscriptions?apiUUID=none&applicationUUID=none",
            "/application-key-mappings?consumerKey=none",
            "/scopes?scopeKey=none",
        ] {
            assert_eq!(list(server, "", path).await, [json!(null); 0], "{path}");
        }
        let other = format!("/application-key-mappings?consumerKey={}&keymanager=Okta", scene.consumer_key);
        assert!(list(server, "", &other).await.is_empty());
    })
    .await;
}
