//! The developer portal: checklist of portal-gateway-3x.md 9.2, items 7, 15, 21-26.

use super::harness::{Answer, Harness};
use super::publisher::{create, publish, weather};
use claviger_proto::event::Event;
use http::Method;
use serde_json::{Value, json};

const STORE: &str = "/api/am/store/v1";

pub(super) async fn post(harness: &Harness, user: &str, path: &str, body: &Value) -> Answer {
    harness.call(user, Method::POST, &format!("{STORE}{path}"), &body.to_string()).await
}

pub(super) async fn get(harness: &Harness, user: &str, path: &str) -> Answer {
    harness.call(user, Method::GET, &format!("{STORE}{path}"), "").await
}

pub(super) async fn application(harness: &Harness, user: &str, name: &str) -> String {
    let answer = post(harness, user, "/applications", &json!({"name": name, "throttlingPolicy": "10PerMin"})).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body["applicationId"].as_str().unwrap().to_owned()
}

/// A new application subscribed to an API: (application, subscription).
pub(super) async fn subscribe(harness: &Harness, user: &str, api: &str) -> (String, String) {
    let application = application(harness, user, "App").await;
    let body = json!({"applicationId": application, "apiId": api, "throttlingPolicy": "Gold"});
    let answer = post(harness, user, "/subscriptions", &body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    (application, answer.body["subscriptionId"].as_str().unwrap().to_owned())
}

async fn published(harness: &Harness) -> String {
    let id = create(harness, &weather("1.0.0")).await;
    assert_eq!(publish(harness, &id, "").await.status, 200);
    id
}

#[tokio::test]
async fn what_anybody_sees() {
    let harness = Harness::new().await;
    let hidden = create(&harness, &weather("2.0.0")).await;
    let id = published(&harness).await;
    let list = get(&harness, "", "/apis").await.body;
    assert_eq!((&list["count"], &list["list"][0]["context"]), (&json!(1), &json!("/weather")));
    assert_eq!(get(&harness, "", &format!("/apis/{hidden}")).await.status, 404);
    let api = get(&harness, "", &format!("/apis/{id}")).await.body;
    assert_eq!(api["context"], "/weather/1.0.0");
    assert_eq!(api["endpointURLs"][0]["URLs"]["https"], "https://gw:8243/weather/1.0.0");
    assert_eq!(api["endpointURLs"][0]["URLs"]["http"], Value::Null);
    assert_eq!(api["tiers"][0]["tierName"], "Gold");
    let swagger = get(&harness, "", &format!("/apis/{id}/swagger")).await.body;
    assert_eq!(swagger["servers"][0]["url"], "https://gw:8243/weather/1.0.0");
    let text = format!("{api}{swagger}");
    assert!(!text.contains("b1:9000") && !text.contains("hunter2"), "backends stay unknown: {text}");
    let two = get(&harness, "", &format!("/apis/{id}/swagger?environmentName=a&labelName=b")).await;
    assert_eq!(two.status, 400);
    assert_eq!(get(&harness, "", "/throttling-policies/application").await.status, 401);
    assert_eq!(get(&harness, "", "/tags").await.body["list"][0], json!({"value": "sun", "count": 1}));
}

#[tokio::test]
async fn restricted_apis_are_seen_by_their_roles() {
    let harness = Harness::new().await;
    let mut api = weather("1.0.0");
    (api["visibility"], api["visibleRoles"]) = (json!("RESTRICTED"), json!(["Internal/subscriber"]));
    let id = create(&harness, &api).await;
    publish(&harness, &id, "").await;
    let path = format!("/apis/{id}");
    assert_eq!(get(&harness, "", &path).await.status, 404);
    assert_eq!(get(&harness, "creator", &path).await.status, 404);
    assert_eq!(get(&harness, "subscriber", &path).await.status, 200);
    assert_eq!(get(&harness, "subscriber@abc.com", &path).await.status, 404);
}

#[tokio::test]
async fn the_first_call_makes_subscriber_and_default_application() {
    let harness = Harness::new().await;
    get(&harness, "subscriber", "/apis").await;
    let list = get(&harness, "subscriber", "/applications").await.body;
    let first = &list["list"][0];
    assert_eq!(
        (&list["count"], &first["name"], &first["status"]),
        (&json!(1), &json!("DefaultApplication"), &json!("APPROVED"))
    );
    assert_eq!(
        get(&harness, "subscriber@abc.com", "/applications").await.body["list"][0]["owner"],
        "subscriber@abc.com"
    );
}

#[tokio::test]
async fn applications_belong_to_their_owner() {
    let harness = Harness::new().await;
    let id = application(&harness, "subscriber", "Shop").await;
    let path = format!("/applications/{id}");
    let shown = get(&harness, "subscriber", &path).await.body;
    assert_eq!(
        (&shown["tokenType"], &shown["throttlingPolicy"], &shown["owner"]),
        (&json!("JWT"), &json!("10PerMin"), &json!("subscriber"))
    );
    assert_eq!(get(&harness, "subscriber2", &path).await.status, 403);
    assert_eq!(get(&harness, "subscriber@abc.com", &path).await.status, 404);
    assert_eq!(get(&harness, "subscriber", "/applications/none").await.status, 404);
    let body = json!({"name": "Shop two", "throttlingPolicy": "Unlimited", "attributes": {"a": "b"}}).to_string();
    let url = format!("{STORE}{path}");
    assert_eq!(harness.call("subscriber2", Method::PUT, &url, &body).await.status, 403);
    let changed = harness.call("subscriber", Method::PUT, &url, &body).await;
    assert_eq!(
        (changed.status, &changed.body["name"], &changed.body["attributes"]["a"]),
        (200, &json!("Shop two"), &json!("b"))
    );
    assert_eq!(harness.call("subscriber2", Method::DELETE, &url, "").await.status, 403);
    assert_eq!(harness.call("subscriber", Method::DELETE, &url, "").await.status, 200);
    assert_eq!(get(&harness, "subscriber", &path).await.status, 404);
}

#[tokio::test]
async fn refused_applications() {
    let harness = Harness::new().await;
    application(&harness, "subscriber", "Shop").await;
    for (body, status) in [
        (json!({"name": "shop", "throttlingPolicy": "10PerMin"}), 409),
        (json!({"name": "a/b", "throttlingPolicy": "10PerMin"}), 400),
        (json!({"name": "x", "throttlingPolicy": "Gold"}), 400),
        (json!({"name": "x"}), 400),
        (json!({"name": "x".repeat(101), "throttlingPolicy": "10PerMin"}), 400),
        (json!({"name": "x", "throttlingPolicy": "10PerMin", "colour": 1}), 400),
    ] {
        let answer = post(&harness, "subscriber", "/applications", &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
    }
    let names = async |path: &str| {
        let list = get(&harness, "subscriber", path).await;
        (list.status, list.body["list"][0]["name"].clone())
    };
    assert_eq!(names("/applications?sortBy=name&sortOrder=desc").await, (200, json!("Shop")));
    assert_eq!(names("/applications?query=hop").await, (200, json!("Shop")));
    assert_eq!(names("/applications?sortBy=colour").await.0, 400);
}

#[tokio::test]
async fn keys_are_generated_once_and_shown() {
    let harness = Harness::new().await;
    let id = application(&harness, "subscriber", "Shop").await;
    harness.take_events();
    let request = json!({"keyType": "PRODUCTION", "keyManager": "Resident Key Manager", "callbackUrl": "",
        "grantTypesToBeSupported": ["client_credentials", "password"], "scopes": ["default"], "validityTime": "3600"});
    let path = format!("/applications/{id}/generate-keys");
    assert_eq!(post(&harness, "subscriber2", &path, &request).await.status, 403);
    let answer = post(&harness, "subscriber", &path, &request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let key = answer.body["consumerKey"].as_str().unwrap();
    assert_eq!((&answer.body["keyState"], &answer.body["token"]["validityTime"]), (&json!("COMPLETED"), &json!(3600)));
    assert!(!answer.body["token"]["accessToken"].as_str().unwrap().is_empty());
    assert_eq!(harness.client_named("subscriber_Shop_PRODUCTION").await.unwrap().as_str(), key);
    assert!(harness.take_events().iter().any(|event| matches!(event, Event::ApplicationChanged { .. })));
    let again = post(&harness, "subscriber", &path, &request).await;
    assert_eq!((again.status, &again.body["code"]), (409, &json!(901_408)));
    let mut other = request.clone();
    other["keyManager"] = json!("Nobody");
    assert_eq!(post(&harness, "subscriber", &path, &other).await.body["code"], 901_403);
    let mapping = answer.body["keyMappingId"].as_str().unwrap();
    for place in ["keys/PRODUCTION".to_owned(), format!("oauth-keys/{mapping}")] {
        let shown = get(&harness, "subscriber", &format!("/applications/{id}/{place}")).await;
        assert_eq!((shown.status, &shown.body["consumerKey"]), (200, &json!(key)));
        assert_eq!(get(&harness, "subscriber2", &format!("/applications/{id}/{place}")).await.status, 403);
    }
    assert_eq!(get(&harness, "subscriber", &format!("/applications/{id}/keys/SANDBOX")).await.status, 404);
    assert_eq!(get(&harness, "subscriber", &format!("/applications/{id}/keys")).await.body["count"], 1);
    assert_eq!(get(&harness, "subscriber", &format!("/applications/{id}")).await.body["keys"][0]["consumerKey"], key);
}

#[tokio::test]
async fn keys_are_changed_renewed_and_cleaned_up() {
    let harness = Harness::new().await;
    let id = application(&harness, "subscriber", "Shop").await;
    let request = json!({"keyType": "SANDBOX", "grantTypesToBeSupported": ["client_credentials", "password"]});
    let made = post(&harness, "subscriber", &format!("/applications/{id}/generate-keys"), &request).await.body;
    let mapping = made["keyMappingId"].as_str().unwrap();
    let place = format!("/applications/{id}/oauth-keys/{mapping}");
    let change = json!({"supportedGrantTypes": ["client_credentials"], "callbackUrl": "https://app/cb"}).to_string();
    let changed = harness.call("subscriber", Method::PUT, &format!("{STORE}{place}"), &change).await.body;
    assert_eq!(
        (&changed["supportedGrantTypes"], &changed["callbackUrl"]),
        (&json!(["client_credentials"]), &json!("https://app/cb"))
    );
    for place in [place.clone(), format!("/applications/{id}/keys/SANDBOX")] {
        assert_eq!(post(&harness, "subscriber2", &format!("{place}/regenerate-secret"), &json!({})).await.status, 403);
        let renewed = post(&harness, "subscriber", &format!("{place}/regenerate-secret"), &json!({})).await.body;
        assert_eq!(renewed["consumerKey"], made["consumerKey"]);
        assert_ne!(renewed["consumerSecret"], made["consumerSecret"]);
        // JWTs name whole seconds: those of the new secret are issued after this one.
        harness.clock.advance_s(1);
        let body = json!({"scopes": ["default"], "validityPeriod": 60});
        let token = post(&harness, "subscriber", &format!("{place}/generate-token"), &body).await.body;
        assert_eq!((&token["tokenScopes"], &token["validityTime"]), (&json!(["default"]), &json!(3600)));
    }
    assert_eq!(post(&harness, "subscriber2", &format!("{place}/clean-up"), &json!({})).await.status, 403);
    assert_eq!(post(&harness, "subscriber", &format!("{place}/clean-up"), &json!({})).await.status, 200);
    assert_eq!(get(&harness, "subscriber", &place).await.status, 404);
}

#[tokio::test]
async fn a_deleted_application_takes_its_clients_along() {
    let harness = Harness::new().await;
    let id = application(&harness, "subscriber", "Shop").await;
    let request = json!({"keyType": "PRODUCTION", "grantTypesToBeSupported": ["client_credentials"]});
    post(&harness, "subscriber", &format!("/applications/{id}/generate-keys"), &request).await;
    assert!(harness.client_named("subscriber_Shop_PRODUCTION").await.is_some());
    harness.call("subscriber", Method::DELETE, &format!("{STORE}/applications/{id}"), "").await;
    assert!(harness.client_named("subscriber_Shop_PRODUCTION").await.is_none());
}

#[tokio::test]
async fn subscriptions() {
    let harness = Harness::new().await;
    let api = published(&harness).await;
    let (application, subscription) = subscribe(&harness, "subscriber", &api).await;
    let path = format!("/subscriptions/{subscription}");
    let shown = get(&harness, "subscriber", &path).await.body;
    assert_eq!(
        (&shown["status"], &shown["apiId"], &shown["apiInfo"]["name"]),
        (&json!("UNBLOCKED"), &json!(api), &json!("Weather"))
    );
    assert_eq!(get(&harness, "subscriber2", &path).await.status, 403);
    let body = |policy: &str| json!({"applicationId": application, "apiId": api, "throttlingPolicy": policy});
    let again = post(&harness, "subscriber", "/subscriptions", &body("Gold")).await;
    assert_eq!((again.status, &again.body["code"]), (409, &json!(900_336)));
    assert_eq!(post(&harness, "subscriber2", "/subscriptions", &body("Gold")).await.status, 403);
    for query in [format!("applicationId={application}"), format!("apiId={api}")] {
        assert_eq!(get(&harness, "subscriber", &format!("/subscriptions?{query}")).await.body["count"], 1);
    }
    assert_eq!(get(&harness, "subscriber2", &format!("/subscriptions?apiId={api}")).await.body["count"], 0);
    assert_eq!(get(&harness, "subscriber", "/subscriptions").await.status, 400);
    let url = format!("{STORE}{path}");
    let mut change = body("Gold");
    change["requestedThrottlingPolicy"] = json!("Silver");
    assert_eq!(
        harness.call("subscriber", Method::PUT, &url, &change.to_string()).await.status,
        403,
        "Silver is not offered"
    );
    change["status"] = json!("BLOCKED");
    assert_eq!(harness.call("subscriber", Method::PUT, &url, &change.to_string()).await.status, 400);
    assert_eq!(harness.call("subscriber2", Method::DELETE, &url, "").await.status, 403);
    harness.take_events();
    assert_eq!(harness.call("subscriber", Method::DELETE, &url, "").await.status, 200);
    assert!(matches!(harness.take_events()[..], [Event::ApplicationChanged { .. }]));
    assert_eq!(get(&harness, "subscriber", &path).await.status, 404);
}

#[tokio::test]
async fn a_block_is_not_shaken_off_by_subscribing_again() {
    let harness = Harness::new().await;
    let api = published(&harness).await;
    let (_, subscription) = subscribe(&harness, "subscriber", &api).await;
    let step = async |step: &str| {
        let path = format!("/api/am/publisher/v1/subscriptions/{step}");
        assert_eq!(harness.call("publisher", Method::POST, &path, "").await.status, 200, "{step}");
    };
    let url = format!("{STORE}/subscriptions/{subscription}");
    for state in ["BLOCKED", "PROD_ONLY_BLOCKED"] {
        step(&format!("block-subscription?subscriptionId={subscription}&blockState={state}")).await;
        let refused = harness.call("subscriber", Method::DELETE, &url, "").await;
        assert_eq!(refused.status, 403, "{state}: {}", refused.body);
    }
    step(&format!("unblock-subscription?subscriptionId={subscription}")).await;
    assert_eq!(harness.call("subscriber", Method::DELETE, &url, "").await.status, 200);
}

#[tokio::test]
async fn refused_subscriptions() {
    let harness = Harness::new().await;
    let api = published(&harness).await;
    let hidden = create(&harness, &weather("2.0.0")).await;
    let application = application(&harness, "subscriber", "App").await;
    let check = async |api: &str, policy: &str, status: u16| {
        let body = json!({"applicationId": application, "apiId": api, "throttlingPolicy": policy});
        let answer = post(&harness, "subscriber", "/subscriptions", &body).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    };
    check(&hidden, "Gold", 404).await;
    check(&api, "Bronze", 403).await;
    check(&api, "", 400).await;
    check("none", "Gold", 404).await;
    let many = json!([{"applicationId": application, "apiId": api, "throttlingPolicy": "Gold"},
                      {"applicationId": application, "apiId": api, "throttlingPolicy": "Gold"}]);
    assert_eq!(post(&harness, "subscriber", "/subscriptions/multiple", &many).await.status, 409);
    let list = get(&harness, "subscriber", &format!("/subscriptions?applicationId={application}")).await.body;
    assert_eq!(list["count"], 1, "what came before the failure stays");
}

#[tokio::test]
async fn simultaneous_subscriptions_make_one() {
    let harness = Harness::new().await;
    let api = published(&harness).await;
    let application = application(&harness, "subscriber", "App").await;
    let body = json!({"applicationId": application, "apiId": api, "throttlingPolicy": "Gold"});
    let calls = (0..8).map(|_| post(&harness, "subscriber", "/subscriptions", &body));
    let mut statuses: Vec<u16> = futures_util::future::join_all(calls).await.iter().map(|it| it.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn clients_of_the_portal_itself() {
    let harness = Harness::new().await;
    let path = "/client-registration/v0.17/register";
    let body =
        json!({"clientName": "ci", "owner": "admin", "grantType": "password authorization_code", "saasApp": true});
    assert_eq!(harness.call("", Method::POST, path, &body.to_string()).await.status, 401);
    let made = harness.call("admin", Method::POST, path, &body.to_string()).await;
    assert_eq!(
        (made.status, &made.body["appOwner"], &made.body["isSaasApplication"]),
        (200, &json!("admin"), &json!(true))
    );
    let details: Value = serde_json::from_str(made.body["jsonString"].as_str().unwrap()).unwrap();
    assert_eq!(details["grant_types"], "password", "without a callback the redirecting grants are dropped");
    let again = harness.call("admin", Method::POST, path, &body.to_string()).await;
    assert_eq!((again.status, &again.body["clientId"]), (200, &made.body["clientId"]));
    let foreign = harness.call("subscriber", Method::POST, path, &body.to_string()).await;
    assert_eq!(foreign.status, 400);
    assert_eq!(
        foreign.body["description"],
        "Logged in user 'subscriber' and application owner 'admin' should be same."
    );
    let taken = body.to_string().replace("\"owner\":\"admin\"", "\"owner\":\"subscriber\"");
    assert_eq!(harness.call("subscriber", Method::POST, path, &taken).await.status, 403);
}
