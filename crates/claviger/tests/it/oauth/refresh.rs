//! Refresh rotation (rest-3x.md 1.3, 1.6.5).

use crate::harness::{ADMIN, ADMIN_PASSWORD, Registered, Reply, Server, on_every_engine, register};
use serde_json::json;
use std::sync::Arc;

async fn log_in(server: &Server, client: &Registered, scope: &str) -> Reply {
    let form = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD), ("scope", scope)];
    client.issue(server, &form).await
}

async fn refresh(server: &Server, client: &Registered, token: &str) -> Reply {
    client.token(server, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
}

#[tokio::test]
async fn a_refresh_replaces_the_pair() {
    on_every_engine("", async |server| {
        let client = register(server, "rotation", json!({})).await;
        let first = log_in(server, &client, "a").await;
        server.clock.advance_s(10);
        let second = refresh(server, &client, &first.text("refresh_token")).await;
        assert_eq!(second.status, 200, "{second:?}");
        assert_ne!(second.text("access_token"), first.text("access_token"));
        assert_ne!(second.text("refresh_token"), first.text("refresh_token"));
        assert_eq!((&second.json()["scope"], &second.json()["expires_in"]), (&json!("a"), &json!(3600)));
        assert!(!server.is_active(&first.text("access_token")).await, "{}", server.engine);
        assert!(server.is_active(&second.text("access_token")).await, "{}", server.engine);
        assert_eq!(server.active_rows(&client.id).await, 1);
        // A replay is refused and does no harm to the living pair.
        for _ in 0..2 {
            let replay = refresh(server, &client, &first.text("refresh_token")).await;
            replay.check_error(400, "invalid_grant", "Invalid refresh token state");
        }
        assert!(server.is_active(&second.text("access_token")).await, "{}", server.engine);
        assert_eq!(refresh(server, &client, &second.text("refresh_token")).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn unknown_foreign_and_expired_refresh_tokens() {
    on_every_engine("", async |server| {
        let client = register(server, "refused-refresh", json!({})).await;
        let other = register(server, "other-refresh", json!({})).await;
        let first = log_in(server, &client, "").await;
        let text = "Persisted access token data not found";
        refresh(server, &client, "nothing").await.check_error(400, "invalid_grant", text);
        refresh(server, &client, &first.text("access_token")).await.check_error(400, "invalid_grant", text);
        let token = first.text("refresh_token");
        refresh(server, &other, &token).await.check_error(400, "invalid_grant", text);
        refresh(server, &client, &token.to_uppercase()).await.check_error(400, "invalid_grant", text);
        // An expired access token can be refreshed; an expired refresh token cannot.
        server.clock.advance_s(4000);
        let second = refresh(server, &client, &token).await;
        assert_eq!(second.status, 200, "{second:?}");
        server.clock.advance_s(86_400);
        let late = refresh(server, &client, &second.text("refresh_token")).await;
        late.check_error(400, "invalid_grant", "Refresh token is expired.");
        // A revoked pair cannot be refreshed.
        let third = log_in(server, &client, "").await;
        assert_eq!(client.revoke(server, &[("token", &third.text("access_token"))]).await.status, 200);
        let refused = refresh(server, &client, &third.text("refresh_token")).await;
        refused.check_error(400, "invalid_grant", "Invalid refresh token state");
    })
    .await;
}

#[tokio::test]
async fn without_renewal_the_refresh_token_stays() {
    on_every_engine("[oauth.token_renewal]\nrenew_refresh_token = false\n", async |server| {
        let client = register(server, "kept", json!({})).await;
        let first = log_in(server, &client, "").await;
        let token = first.text("refresh_token");
        server.clock.advance_s(40_000);
        let second = refresh(server, &client, &token).await;
        assert_eq!(second.text("refresh_token"), token, "{}", server.engine);
        assert_ne!(second.text("access_token"), first.text("access_token"));
        assert_eq!(refresh(server, &client, &token).await.status, 200, "{}", server.engine);
        server.clock.advance_s(46_400);
        let late = refresh(server, &client, &token).await;
        late.check_error(400, "invalid_grant", "Refresh token is expired.");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_parallel_uses_one_succeeds() {
    on_every_engine("", async |server| {
        let client = Arc::new(register(server, "parallel", json!({})).await);
        let token = log_in(server, &client, "").await.text("refresh_token");
        server.warm_up(50).await;
        let uses = (0..50).map(|_| refresh(server, &client, &token));
        let replies = futures_util::future::join_all(uses).await;
        let (good, bad): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
        assert_eq!(good.len(), 1, "{}: {:?}", server.engine, good.iter().map(|reply| &reply.body).collect::<Vec<_>>());
        for reply in bad {
            reply.check_error(400, "invalid_grant", "Invalid refresh token state");
        }
        assert_eq!(server.active_rows(&client.id).await, 1, "{}", server.engine);
        assert!(server.is_active(&good[0].text("access_token")).await, "{}", server.engine);
    })
    .await;
}
