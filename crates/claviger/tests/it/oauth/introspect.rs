//! The introspection endpoint (rest-3x.md 1.10; RFC 7662).

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Server, becomes_false, claims, insert_tenant, insert_user, on_every_engine,
    on_sqlite, register,
};
use claviger_proto::ids::TenantId;
use claviger_proto::time::Clock as _;
use claviger_store::tokens::TokenState;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn active_expired_and_revoked() {
    on_every_engine("", async |server| {
        let client = register(server, "seen", json!({})).await;
        let form = [("grant_type", "client_credentials"), ("scope", "b a")];
        let token = client.issue(server, &form).await.text("access_token");
        let now = server.clock.now().as_secs();
        let expected = json!({
            "active": true, "client_id": client.id, "username": "admin@carbon.super", "scope": "a b",
            "token_type": "Bearer", "iat": now, "nbf": now, "exp": now + 3600, "aut": "APPLICATION",
        });
        assert_eq!(server.introspect(&token).await, expected, "{}", server.engine);
        let inactive = json!({ "active": false });
        for text in [&token.to_uppercase(), "nothing", "a.b.c", &"x".repeat(20_000), &format!("{token} ")] {
            assert_eq!(server.introspect(text).await, inactive, "{}: {text}", server.engine);
        }
        server.clock.advance_s(3598);
        assert!(server.is_active(&token).await, "{}", server.engine);
        server.clock.advance_s(1);
        assert_eq!(server.introspect(&token).await, inactive, "{}: one second left is over", server.engine);
        let token = client.issue(server, &form).await.text("access_token");
        assert!(server.is_active(&token).await);
        client.revoke(server, &[("token", &token)]).await;
        assert_eq!(server.introspect(&token).await, inactive, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn a_refresh_token_is_no_access_token() {
    on_sqlite("", async |server| {
        let client = register(server, "refresh-as-access", json!({})).await;
        let form = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        let pair = client.issue(server, &form).await;
        assert_eq!(server.introspect(&pair.text("refresh_token")).await, json!({ "active": false }));
    })
    .await;
}

#[tokio::test]
async fn who_may_ask() {
    on_sqlite("", async |server| {
        insert_user(server, TenantId::SUPER, "plain", "plain's", &["Internal/subscriber"]).await;
        let tenant = insert_tenant(server, "acme.com").await;
        insert_user(server, tenant, "boss", "boss's", &["admin"]).await;
        let ask = async |user: &str, password: &str| {
            let request = server.post("/oauth2/introspect").basic_auth(user, Some(password));
            request.form(&[("token", "x")]).call().await
        };
        let anonymous = server.post("/oauth2/introspect").form(&[("token", "x")]).call().await;
        assert_eq!(anonymous.status, 401);
        assert_eq!(anonymous.header("www-authenticate"), Some("realm user=\"\""));
        assert_ne!(anonymous.header("content-type"), Some("application/json"), "never JSON (rest-3x.md 0.2)");
        let wrong = ask(ADMIN, "wrong").await;
        assert_eq!((wrong.status, wrong.header("www-authenticate")), (401, Some("realm user=\"admin\"")));
        assert_eq!(ask("plain", "plain's").await.status, 403);
        assert_eq!(ask("boss@acme.com", "boss's").await.status, 401, "another tenant is another world");
        assert_eq!(ask(ADMIN, ADMIN_PASSWORD).await.status, 200);
        let blank = server.post("/oauth2/introspect").basic_auth(ADMIN, Some(ADMIN_PASSWORD));
        let blank = blank.form(&[("token", "")]).call().await;
        assert_eq!((blank.status, blank.json()), (400, json!({ "error": "Invalid input" })));
        // A client's own credentials are not a user's.
        let client = register(server, "client-asks", json!({})).await;
        assert_eq!(ask(&client.id, &client.secret).await.status, 401);
    })
    .await;
}

#[tokio::test]
async fn the_tokens_of_a_deleted_client_are_dead() {
    on_every_engine("", async |server| {
        let client = register(server, "deleted", json!({})).await;
        let token = client.application_token(server).await;
        let path = format!("/keymanager-operations/dcr/register/{}", client.id);
        let request = server.request(reqwest::Method::DELETE, &path).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
        assert_eq!(request.call().await.status, 204);
        assert!(!server.is_active(&token).await, "{}", server.engine);
        assert_eq!(client.token(server, &[("grant_type", "client_credentials")]).await.status, 401);
    })
    .await;
}

/// The next JWT retires the row of the one before, also when nobody waits for the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_jwt_is_inactive_though_its_requester_hung_up() {
    const ATTEMPTS: u64 = 40;
    const LOOKS: usize = 20;
    on_every_engine("", async |server| {
        let client = register(server, "hung-up", json!({ "token_type_extension": "JWT" })).await;
        server.warm_up(2).await;
        for turn in 0..ATTEMPTS {
            let token = client.application_token(server).await;
            assert!(server.is_active(&token).await);
            let jti = claims(&token)["jti"].as_str().unwrap().to_owned();
            // Longer and longer, so that some requests are given up while their write is under way.
            let patience = Duration::from_micros(250 * turn);
            let given_up = tokio::time::timeout(patience, client.application_token(server)).await.is_err();
            // It may not even have been read by the server.
            let mut looks = 0;
            while given_up && looks < LOOKS && is_active_row(server, &jti).await {
                looks += 1;
            }
            if !is_active_row(server, &jti).await {
                let is_told = becomes_false(async || server.is_active(&token).await).await;
                assert!(is_told, "{}: turn {turn}: retired, and yet active", server.engine);
            }
        }
    })
    .await;
}

async fn is_active_row(server: &Server, identifier: &str) -> bool {
    let mut conn = server.app().store.reader().await.unwrap();
    let row = claviger_store::tokens::find_by_access(&mut conn, identifier).await.unwrap().unwrap();
    row.state == TokenState::Active
}
