//! A client's token type changes (`token_type_extension`): tokens of the old type end, refresh tokens go on.

use crate::harness::{Registered, Told, claims, on_every_engine, register};
use futures_util::future::join_all;
use serde_json::json;

fn jti(jwt: &str) -> String {
    claims(jwt)["jti"].as_str().unwrap().to_owned()
}

async fn change_to(server: &crate::harness::Server, client: &Registered, token_type: &str) {
    let reply = client.change(server, &json!({ "token_type_extension": token_type })).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn from_jwt_to_opaque() {
    on_every_engine("", async |server| {
        let mut client = register(server, "from-jwt", json!({ "token_type_extension": "JWT" })).await;
        let engine = server.engine;
        let first = client.application_token(server).await;
        let last = client.application_token(server).await;
        let login = client.log_in(server, "a").await;
        change_to(server, &client, "Default").await;
        let told = Told::by(server).await;
        for token in [&last, &login.text("access_token")] {
            assert!(!server.is_active(token).await, "{engine}");
            assert!(told.has_token(&jti(token)), "{engine}");
            assert!(!server.is_active(&jti(token)).await, "{engine}: the name of a token must not pass as one");
        }
        let opaque = client.application_token(server).await;
        assert_ne!(opaque, jti(&last), "{engine}: the row of a JWT is no opaque token");
        assert!(server.is_active(&opaque).await, "{engine}");
        // Gateways accept the first one: its row was retired by the last one's.
        assert!(!told.is_dead(&first), "{engine}");
        let reply = client.revoke(server, &[("token", &first)]).await;
        assert_eq!((reply.status, reply.header("revokedaccesstoken")), (200, Some(first.as_str())), "{engine}");
        assert!(Told::by(server).await.has_token(&jti(&first)), "{engine}");
        let refreshed = client.refresh(server, &login.text("refresh_token")).await;
        assert_eq!(refreshed.status, 200, "{engine}: {refreshed:?}");
        assert!(!refreshed.text("access_token").contains('.'), "{engine}");
        // JWTs of its past die with the secret too.
        server.clock.advance_s(1);
        client.secret = client.renew_secret(server).await.text("client_secret");
        assert!(Told::by(server).await.has_client_of(&first), "{engine}");
        assert!(server.is_active(&client.application_token(server).await).await, "{engine}");
    })
    .await;
}

#[tokio::test]
async fn from_opaque_to_jwt_and_back() {
    on_every_engine("", async |server| {
        let client = register(server, "from-opaque", json!({})).await;
        let engine = server.engine;
        let opaque = client.application_token(server).await;
        let login = client.log_in(server, "a").await;
        change_to(server, &client, "JWT").await;
        let told = Told::by(server).await;
        for token in [&opaque, &login.text("access_token")] {
            assert!(!server.is_active(token).await && told.is_dead(token), "{engine}");
        }
        let jwt = client.application_token(server).await;
        assert!(server.is_active(&jwt).await, "{engine}");
        let refreshed = client.refresh(server, &login.text("refresh_token")).await;
        assert_eq!(refreshed.status, 200, "{engine}: {refreshed:?}");
        change_to(server, &client, "Default").await;
        for token in [&opaque, &login.text("access_token")] {
            assert!(!server.is_active(token).await, "{engine}: dead tokens stay dead");
        }
        let again = client.application_token(server).await;
        assert!(again != opaque && again != jti(&jwt), "{engine}");
    })
    .await;
}

#[tokio::test]
async fn a_change_of_anything_else_leaves_tokens_alone() {
    on_every_engine("", async |server| {
        for token_type in ["Default", "JWT"] {
            let more = json!({ "token_type_extension": token_type });
            let client = register(server, &format!("kept-{token_type}"), more).await;
            let token = client.application_token(server).await;
            assert_eq!(
                client
                    .change(server, &json!({ "pkceMandatory": true, "token_type_extension": token_type }))
                    .await
                    .status,
                200
            );
            assert!(server.is_active(&token).await, "{}: {token_type}", server.engine);
        }
    })
    .await;
}

/// Each change is laid over the registration as it is by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_side_by_side_all_count() {
    on_every_engine("", async |server| {
        let client = register(server, "side-by-side", json!({})).await;
        server.warm_up(4).await;
        for turn in 0..20 {
            let all = json!({ "grant_types": ["client_credentials", "password", "refresh_token"] });
            assert_eq!(client.change(server, &all).await.status, 200);
            let changes = [
                json!({ "grant_types": ["client_credentials"] }),
                json!({ "pkceMandatory": turn % 2 == 0 }),
                json!({ "ext_user_token_lifetime": 100 + turn }),
                json!({ "pkceSupportPlain": turn % 3 == 0 }),
            ];
            for reply in join_all(changes.iter().map(|change| client.change(server, change))).await {
                assert_eq!(reply.status, 200, "{}: {reply:?}", server.engine);
            }
            let now = client.change(server, &json!({})).await.json();
            assert_eq!(now["grant_types"], json!(["client_credentials"]), "{}: turn {turn}", server.engine);
            assert_eq!(now["pkceMandatory"], json!(turn % 2 == 0), "{}: turn {turn}", server.engine);
            assert_eq!(now["ext_user_token_lifetime"], json!(100 + turn), "{}: turn {turn}", server.engine);
            assert_eq!(now["pkceSupportPlain"], json!(turn % 3 == 0), "{}: turn {turn}", server.engine);
        }
    })
    .await;
}
