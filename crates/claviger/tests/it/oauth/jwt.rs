//! JWT access tokens: exact shape (rest-3x.md 1.6.3), with and without a row per token.

use crate::harness::{ADMIN, ADMIN_PASSWORD, Call as _, Registered, Server, on_every_engine, on_sqlite, register};
use claviger_proto::encode::from_base64url;
use claviger_proto::jose::{JwkSet, VerifyingKeys};
use claviger_proto::time::Clock as _;
use serde_json::{Value, json};

const GRANT: (&str, &str) = ("grant_type", "client_credentials");
const UNSTORED: &str = "[oauth.token_persistence]\npersist_jwt_access_tokens = false\n";

async fn jwt_client(server: &Server, name: &str) -> Registered {
    register(server, name, json!({ "token_type_extension": "JWT" })).await
}

fn part(token: &str, index: usize) -> (String, Value) {
    let text = String::from_utf8(from_base64url(token.split('.').nth(index).unwrap()).unwrap()).unwrap();
    let json = serde_json::from_str(&text).unwrap();
    (text, json)
}

fn jti(token: &str) -> String {
    part(token, 1).1["jti"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn header_claims_and_signature() {
    on_sqlite("", async |server| {
        let client = jwt_client(server, "jwt-shape").await;
        let token = client.issue(server, &[GRANT, ("scope", "b a")]).await.text("access_token");
        let keys: JwkSet = serde_json::from_str(&server.get("/oauth2/jwks").call().await.body).unwrap();
        let kid = &keys.keys[0].kid;
        let x5t = kid.strip_suffix("_RS256").unwrap();
        assert_eq!(x5t.len(), 86, "base64url of 64 hexadecimal digits");
        assert_eq!(part(&token, 0).0, format!(r#"{{"x5t":"{x5t}","kid":"{kid}","alg":"RS256"}}"#));
        let (text, claims) = part(&token, 1);
        let now = server.clock.now().as_secs();
        let expected = json!({
            "sub": "admin@carbon.super", "aut": "APPLICATION", "aud": client.id, "azp": client.id, "nbf": now, "iat": now, "exp": now + 3600,
            "scope": "a b", "iss": format!("{}/oauth2/token", server.base_path), "jti": jti(&token),
        });
        assert_eq!(claims, expected, "{text}");
        assert_eq!(jti(&token).len(), 36);
        let verified = VerifyingKeys::new(&keys).verify(&token).unwrap();
        assert_eq!(Value::Object(verified), claims);
    })
    .await;
}

#[tokio::test]
async fn the_subject_of_a_user_token_is_the_plain_name() {
    on_sqlite("", async |server| {
        let client = jwt_client(server, "jwt-user").await;
        let form = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        let reply = client.issue(server, &form).await;
        assert_eq!(part(&reply.text("access_token"), 1).1["sub"], "admin");
        assert_eq!(reply.text("refresh_token").len(), 36, "the refresh token stays opaque");
    })
    .await;
}

/// What holds with and without a row per token.
async fn check_life(server: &Server) {
    let client = jwt_client(server, "jwt-life").await;
    let engine = server.engine;
    let first = client.application_token(server).await;
    let second = client.application_token(server).await;
    assert_ne!(jti(&first), jti(&second), "{engine}: every request gets a token of its own");
    let seen = server.introspect(&second).await;
    assert_eq!((&seen["active"], &seen["client_id"]), (&json!(true), &json!(client.id)), "{engine}");
    assert_eq!(seen["username"], "admin@carbon.super", "{engine}");
    assert_eq!(seen["token_type"], "Bearer", "{engine}");
    assert!(!server.is_active(&format!("{second}x")).await, "{engine}: a changed signature");
    let cut = second.rsplit_once('.').unwrap().0;
    assert!(!server.is_active(&format!("{cut}.")).await, "{engine}: no signature");

    let other = jwt_client(server, "jwt-other").await;
    let reply = other.revoke(server, &[("token", &second)]).await;
    reply.check_error(401, "unauthorized_client", "Client Authentication failed.");
    assert!(server.is_active(&second).await, "{engine}");
    for _ in 0..2 {
        let reply = client.revoke(server, &[("token", &second)]).await;
        assert_eq!((reply.status, reply.header("revokedaccesstoken")), (200, Some(second.as_str())), "{engine}");
    }
    assert!(!server.is_active(&second).await, "{engine}: revoked");

    let third = client.application_token(server).await;
    server.clock.advance_s(3600);
    assert!(!server.is_active(&third).await, "{engine}: expired");
}

#[tokio::test]
async fn life_with_a_row_per_token() {
    on_every_engine("", async |server| {
        check_life(server).await;
        let client = jwt_client(server, "jwt-rows").await;
        let first = client.application_token(server).await;
        let second = client.application_token(server).await;
        assert!(!server.is_active(&first).await, "the older row is retired (rest-3x.md 1.6.4)");
        assert!(server.is_active(&second).await);
        assert_eq!(server.active_rows(&client.id).await, 1, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn life_without_a_row_per_token() {
    on_every_engine(UNSTORED, async |server| {
        check_life(server).await;
        let client = jwt_client(server, "jwt-no-rows").await;
        let first = client.application_token(server).await;
        let second = client.application_token(server).await;
        assert!(server.is_active(&first).await && server.is_active(&second).await, "nothing retires the older one");
        assert_eq!(server.active_rows(&client.id).await, 0, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn a_new_secret_kills_tokens_that_have_no_row() {
    on_every_engine(UNSTORED, async |server| {
        let mut client = jwt_client(server, "jwt-new-secret").await;
        let old = client.application_token(server).await;
        assert!(server.is_active(&old).await);
        let path = format!("/keymanager-operations/dcr/register/{}/regenerate-consumer-secret", client.id);
        let reply = server.post(&path).basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await;
        client.secret = reply.text("client_secret");
        assert!(!server.is_active(&old).await, "{}", server.engine);
        // Until then another node may not have heard of it.
        server.clock.advance_s(3);
        let new = client.application_token(server).await;
        assert!(server.is_active(&new).await, "{}", server.engine);
        assert!(!server.is_active(&old).await, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn user_tokens_and_refresh_without_rows_per_token() {
    on_every_engine(UNSTORED, async |server| {
        let client = jwt_client(server, "jwt-unstored-user").await;
        let form = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        let first = client.issue(server, &form).await;
        let refresh = first.text("refresh_token");
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
        let second = client.issue(server, &form).await;
        assert!(server.is_active(&second.text("access_token")).await, "{}", server.engine);
        assert!(!server.is_active(&first.text("access_token")).await, "{}", server.engine);
        assert_eq!(client.token(server, &form).await.status, 400);
        let reply = client.revoke(server, &[("token", &second.text("refresh_token"))]).await;
        assert_eq!(reply.status, 200);
        assert!(!server.is_active(&second.text("access_token")).await, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn a_jti_is_not_a_token() {
    on_sqlite("", async |server| {
        let client = jwt_client(server, "jwt-jti").await;
        let token = client.issue(server, &[GRANT]).await.text("access_token");
        assert!(server.is_active(&token).await);
        assert!(!server.is_active(&jti(&token)).await, "the name of a token must not pass as one");
    })
    .await;
}
