//! Keys of applications: their names, what a refusal leaves behind, what goes with them.

use super::devportal::{application, get, post};
use super::harness::Harness;
use http::Method;
use serde_json::{Value, json};

const REGISTER: &str = "/client-registration/v0.17/register";

fn request() -> Value {
    json!({"keyType": "PRODUCTION", "grantTypesToBeSupported": ["client_credentials"]})
}

async fn generate(harness: &Harness, application: &str) -> Value {
    let answer = post(harness, "subscriber", &format!("/applications/{application}/generate-keys"), &request()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

#[tokio::test]
async fn a_taken_name_does_not_stand_in_the_way_of_keys() {
    let harness = Harness::new().await;
    let first = application(&harness, "subscriber", "Shop").await;
    generate(&harness, &first).await;
    let renamed = json!({"name": "Old shop", "throttlingPolicy": "10PerMin"}).to_string();
    let path = format!("/api/am/store/v1/applications/{first}");
    assert_eq!(harness.call("subscriber", Method::PUT, &path, &renamed).await.status, 200);
    let second = application(&harness, "subscriber", "Shop").await;
    let made = generate(&harness, &second).await;
    let named = harness.client_named(&format!("subscriber_Shop_PRODUCTION_{second}")).await.unwrap();
    assert_eq!(made["consumerKey"], named.as_str());
    // Another user may have had the name first, by chance or not.
    let body = |name: &str| json!({"clientName": name, "owner": "subscriber2", "grantType": "client_credentials"});
    let taken = body("subscriber_Third_PRODUCTION").to_string();
    assert_eq!(harness.call("subscriber2", Method::POST, REGISTER, &taken).await.status, 200);
    let third = application(&harness, "subscriber", "Third").await;
    let made = generate(&harness, &third).await;
    let named = harness.client_named(&format!("subscriber_Third_PRODUCTION_{third}")).await.unwrap();
    assert_eq!(made["consumerKey"], named.as_str());
}

#[tokio::test]
async fn a_cleaned_up_key_takes_its_client_along() {
    let harness = Harness::new().await;
    let id = application(&harness, "subscriber", "Shop").await;
    for _ in 0..3 {
        let made = generate(&harness, &id).await;
        let place = format!("/applications/{id}/oauth-keys/{}/clean-up", made["keyMappingId"].as_str().unwrap());
        assert_eq!(post(&harness, "subscriber", &place, &json!({})).await.status, 200);
        assert!(harness.client_named("subscriber_Shop_PRODUCTION").await.is_none());
    }
}

#[tokio::test]
async fn a_refused_request_leaves_no_key() {
    let harness = Harness::new().await;
    let id = application(&harness, "subscriber", "Shop").await;
    let path = format!("/applications/{id}/generate-keys");
    let mut wrong = request();
    wrong["scopes"] = json!(["a\"b"]);
    assert_eq!(post(&harness, "subscriber", &path, &wrong).await.status, 400);
    assert_eq!(get(&harness, "subscriber", &format!("/applications/{id}/keys")).await.body["count"], 0);
    generate(&harness, &id).await;
}

#[tokio::test]
async fn callbacks_are_checked_on_every_way_in() {
    let harness = Harness::new().await;
    let id = application(&harness, "subscriber", "Shop").await;
    let generating = format!("/applications/{id}/generate-keys");
    let changing = format!("/api/am/store/v1/applications/{id}/keys/PRODUCTION");
    for (callback, status) in
        [("javascript:alert(1)", 400), ("https://u:p@app/cb", 400), ("no uri", 400), ("regexp=https://(a|b)/cb", 200)]
    {
        let mut wanted = request();
        wanted["callbackUrl"] = json!(callback);
        assert_eq!(post(&harness, "subscriber", &generating, &wanted).await.status, status, "{callback}");
        let body = json!({"clientName": "c", "owner": "subscriber", "grantType": "password", "callbackUrl": callback});
        let registered = harness.call("subscriber", Method::POST, REGISTER, &body.to_string()).await;
        assert_eq!(registered.status, status, "{callback}: {}", registered.body);
    }
    for (callback, status) in [("javascript:alert(1)", 400), ("https://app/cb#x", 400), ("https://app/cb", 200)] {
        let body = json!({"supportedGrantTypes": ["client_credentials"], "callbackUrl": callback}).to_string();
        let changed = harness.call("subscriber", Method::PUT, &changing, &body).await;
        assert_eq!(changed.status, status, "{callback}: {}", changed.body);
    }
}
