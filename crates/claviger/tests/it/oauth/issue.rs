//! Success answers and the re-use of opaque tokens (rest-3x.md 1.4, 1.6.1, 1.6.4).

use crate::harness::{ADMIN, ADMIN_PASSWORD, on_every_engine, on_sqlite, register};
use serde_json::json;

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

#[tokio::test]
async fn the_shape_of_a_success() {
    on_sqlite("", async |server| {
        let client = register(server, "shape", json!({})).await;
        let reply = client.issue(server, &[GRANT, ("scope", "orders:read"), ("validity_period", "5")]).await;
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("pragma"), Some("no-cache"));
        let token = reply.text("access_token");
        let expected =
            json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": "orders:read" });
        assert_eq!(reply.json(), expected);
        let form = |letter: char| letter == '-' || letter.is_ascii_digit() || ('a'..='f').contains(&letter);
        assert!(token.len() == 36 && token.chars().all(form), "not a UUID: {token}");
    })
    .await;
}

#[tokio::test]
async fn an_opaque_token_is_handed_out_again_until_it_ends() {
    on_every_engine("", async |server| {
        let client = register(server, "reuse", json!({})).await;
        let first = client.issue(server, &[GRANT]).await;
        server.clock.advance_s(100);
        let second = client.issue(server, &[GRANT]).await;
        assert_eq!(first.text("access_token"), second.text("access_token"), "{}", server.engine);
        assert_eq!(
            (first.json()["expires_in"].clone(), second.json()["expires_in"].clone()),
            (json!(3600), json!(3500))
        );
        // Another scope set is another token; the order of scopes is not.
        let other = client.issue(server, &[GRANT, ("scope", "a b")]).await.text("access_token");
        assert_ne!(other, first.text("access_token"));
        assert_eq!(other, client.issue(server, &[GRANT, ("scope", "b a")]).await.text("access_token"));
        // Two seconds before its end it is still handed out; with a second left it counts as over.
        server.clock.advance_s(3498);
        let late = client.issue(server, &[GRANT]).await;
        assert_eq!(late.text("access_token"), first.text("access_token"), "{}", server.engine);
        server.clock.advance_s(1);
        let third = client.issue(server, &[GRANT]).await;
        assert_ne!(third.text("access_token"), first.text("access_token"), "{}", server.engine);
        assert_eq!(third.json()["expires_in"], 3600);
        assert!(!server.is_active(&first.text("access_token")).await);
        assert!(server.is_active(&third.text("access_token")).await);
    })
    .await;
}

#[tokio::test]
async fn a_lost_access_token_keeps_its_living_refresh_token() {
    on_every_engine("", async |server| {
        let client = register(server, "kept-refresh", json!({})).await;
        let form = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        let first = client.issue(server, &form).await;
        server.clock.advance_s(3600);
        let second = client.issue(server, &form).await;
        assert_ne!(second.text("access_token"), first.text("access_token"));
        assert_eq!(second.text("refresh_token"), first.text("refresh_token"), "{}", server.engine);
        // The refresh token's own end is 86400 s after its first issue.
        server.clock.advance_s(86_400 - 3600);
        let third = client.issue(server, &form).await;
        assert_ne!(third.text("refresh_token"), first.text("refresh_token"), "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn each_request_renews_when_configured() {
    on_every_engine("[oauth.token_renewal]\nrenew_access_token_per_request = true\n", async |server| {
        let client = register(server, "renewed", json!({})).await;
        let first = client.application_token(server).await;
        let second = client.application_token(server).await;
        assert_ne!(first, second);
        assert!(!server.is_active(&first).await, "{}", server.engine);
        assert!(server.is_active(&second).await, "{}", server.engine);
        assert_eq!(server.active_rows(&client.id).await, 1);
    })
    .await;
}

#[tokio::test]
async fn lifetimes_of_the_application_and_without_end() {
    on_sqlite("", async |server| {
        let own = json!({ "ext_application_token_lifetime": 60, "ext_user_token_lifetime": 120 });
        let client = register(server, "own-lifetimes", own).await;
        assert_eq!(client.issue(server, &[GRANT]).await.json()["expires_in"], 60);
        let form = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        assert_eq!(client.issue(server, &form).await.json()["expires_in"], 120);
        let endless = register(server, "endless", json!({ "ext_application_token_lifetime": -1 })).await;
        let reply = endless.issue(server, &[GRANT]).await;
        assert_eq!(reply.json()["expires_in"], json!(9_223_372_036_854_775_i64));
        server.clock.advance_s(10_000_000);
        let seen = server.introspect(&reply.text("access_token")).await;
        assert_eq!((&seen["active"], &seen["exp"]), (&json!(true), &json!(i64::MAX)));
    })
    .await;
}
