//! The revocation endpoint (rest-3x.md 1.9; RFC 7009).

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Registered, Reply, Server, Told, claims, on_every_engine, on_sqlite, register,
};
use claviger_proto::event::Event;
use claviger_proto::follow::EventsRequest;
use claviger_proto::hash::TokenHash;
use claviger_store::events;
use serde_json::json;

async fn log_in(server: &Server, client: &Registered) -> Reply {
    client.issue(server, &[("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD)]).await
}

#[track_caller]
fn check_success(reply: &Reply) {
    assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("text/html"));
    assert_eq!(reply.header("content-length"), Some("0"));
    assert_eq!((reply.header("cache-control"), reply.header("pragma")), (Some("no-store"), Some("no-cache")));
}

#[tokio::test]
async fn either_token_ends_the_pair_with_any_hint() {
    on_every_engine("", async |server| {
        let client = register(server, "pairs", json!({})).await;
        for hint in [None, Some("access_token"), Some("refresh_token"), Some("nonsense")] {
            for which in ["access_token", "refresh_token"] {
                let pair = log_in(server, &client).await;
                let (access, refresh) = (pair.text("access_token"), pair.text("refresh_token"));
                let text = pair.text(which);
                let mut form = vec![("token", text.as_str())];
                form.extend(hint.map(|hint| ("token_type_hint", hint)));
                let reply = client.revoke(server, &form).await;
                check_success(&reply);
                assert_eq!(reply.header("revokedaccesstoken"), Some(access.as_str()), "{hint:?} {which}");
                assert_eq!(reply.header("revokedrefreshtoken"), Some(refresh.as_str()), "{hint:?} {which}");
                assert_eq!(reply.header("authorizeduser"), Some("admin@carbon.super"), "{hint:?} {which}");
                assert!(!server.is_active(&access).await, "{}: {hint:?} {which}", server.engine);
                let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
                let refused = client.token(server, &form).await;
                refused.check_error(400, "invalid_grant", "Invalid refresh token state");
                // The same revocation again is a success without an effect.
                assert_eq!(client.revoke(server, &[("token", &text)]).await.status, 200);
            }
        }
        let next = client.application_token(server).await;
        client.revoke(server, &[("token", &next)]).await;
        // Looking at it must not bring it back.
        assert!(!server.is_active(&next).await);
        assert_ne!(client.application_token(server).await, next, "a revoked token is not handed out again");
    })
    .await;
}

/// The first revocation may have been written without anybody hearing of it.
#[tokio::test]
async fn a_revocation_that_is_repeated_is_told_again() {
    on_every_engine("", async |server| {
        for token_type in ["Default", "JWT"] {
            let client =
                register(server, &format!("again-{token_type}"), json!({ "token_type_extension": token_type })).await;
            let token = client.application_token(server).await;
            client.revoke(server, &[("token", &token)]).await;
            let (_, before) = events::bounds(&mut server.app().store.reader().await.unwrap()).await.unwrap();
            client.revoke(server, &[("token", &token)]).await;
            let request = EventsRequest { after: before, gaps: Vec::new() };
            let told = events::list(&mut server.app().store.reader().await.unwrap(), &request).await.unwrap();
            let identifier =
                if token_type == "JWT" { claims(&token)["jti"].as_str().unwrap().to_owned() } else { token };
            let hash = TokenHash::of(&identifier);
            let is_it = |event: &Event| matches!(event, Event::TokenRevoked { token, .. } if *token == hash);
            assert!(told.iter().any(|numbered| is_it(&numbered.event)), "{} {token_type}: {told:?}", server.engine);
        }
    })
    .await;
}

#[tokio::test]
async fn unknown_tokens_are_a_success_for_a_client_only() {
    on_sqlite("", async |server| {
        let client = register(server, "unknown-tokens", json!({})).await;
        for text in ["nothing", "a.b.c", &"x".repeat(20_000)] {
            let reply = client.revoke(server, &[("token", text)]).await;
            check_success(&reply);
            assert_eq!(reply.header("revokedaccesstoken"), None);
        }
        let reply = server.post("/oauth2/revoke").form(&[("token", "nothing")]).call().await;
        reply.check_error(401, "invalid_client", "Client Authentication failed.");
        assert_eq!(reply.header("www-authenticate"), Some("Basic realm=localhost"));
        let wrong = Registered { secret: "wrong".to_owned(), ..client };
        let reply = wrong.revoke(server, &[("token", "nothing")]).await;
        reply.check_error(401, "invalid_client", "Client Authentication failed.");
    })
    .await;
}

#[tokio::test]
async fn another_clients_token_is_refused_and_lives_on() {
    on_every_engine("", async |server| {
        let (client, other) = (register(server, "owner", json!({})).await, register(server, "thief", json!({})).await);
        let pair = log_in(server, &client).await;
        let access = pair.text("access_token");
        let reply = other.revoke(server, &[("token", &access)]).await;
        reply.check_error(401, "unauthorized_client", "Client Authentication failed.");
        let refresh = pair.text("refresh_token");
        for hint in ["access_token", "refresh_token"] {
            // A refresh token is looked for among the client's own, so a foreign one is unknown.
            let reply = other.revoke(server, &[("token", &refresh), ("token_type_hint", hint)]).await;
            assert!(matches!(reply.status, 200 | 401), "{reply:?}");
        }
        assert!(server.is_active(&access).await, "{}", server.engine);
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
        assert_eq!(client.token(server, &form).await.status, 200, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn malformed_revocations() {
    on_sqlite("", async |server| {
        let client = register(server, "malformed", json!({})).await;
        for form in [&[][..], &[("token", "")], &[("token_type_hint", "access_token")]] {
            let reply = client.revoke(server, form).await;
            reply.check_error(400, "invalid_request", "Invalid revocation request");
        }
        let reply = client.revoke(server, &[("token", "a"), ("token", "b")]).await;
        reply.check_error(400, "invalid_request", "Invalid request with repeated parameters.");
        let both = [("token", "a"), ("client_id", client.id.as_str()), ("client_secret", client.secret.as_str())];
        let text = "Request body and headers contain authorization information";
        client.revoke(server, &both).await.check_error(400, "invalid_request", text);
        let in_body = server.post("/oauth2/revoke").form(&both).call().await;
        assert_eq!(in_body.status, 200, "credentials in the body: {in_body:?}");
    })
    .await;
}

/// A renewal moves a living refresh token to a new row; a revocation beside it must find it there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_revoked_beside_its_renewal_is_dead() {
    on_every_engine("", async |server| {
        let client = register(server, "beside-renewal", json!({})).await;
        server.warm_up(4).await;
        for turn in 0..30 {
            let scope = format!("s{turn}");
            let refresh = client.log_in(server, &scope).await.text("refresh_token");
            server.clock.advance_s(3600);
            let form = [("token", refresh.as_str()), ("token_type_hint", "refresh_token")];
            let (_, revoked) = tokio::join!(client.log_in(server, &scope), client.revoke(server, &form));
            assert_eq!(revoked.status, 200, "{}: {revoked:?}", server.engine);
            let reply = client.refresh(server, &refresh).await;
            assert_eq!(reply.status, 400, "{}: turn {turn}: a revoked token works: {reply:?}", server.engine);
        }
    })
    .await;
}

/// A token whose row is dead but which a gateway may still accept is listed, whatever its type.
#[tokio::test]
async fn a_replaced_opaque_token_is_told_when_it_is_revoked() {
    on_every_engine("[oauth.token_renewal]\nrenew_access_token_per_request = true\n", async |server| {
        let client = register(server, "replaced", json!({})).await;
        let first = client.application_token(server).await;
        client.application_token(server).await;
        assert_eq!(client.revoke(server, &[("token", &first)]).await.status, 200);
        assert!(Told::by(server).await.is_dead(&first), "{}", server.engine);
    })
    .await;
}
