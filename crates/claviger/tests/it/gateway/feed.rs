//! What gateways are fed: the places in the log at which they can start, and answers in time.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Registered, Reply, Server, Told, claims, on_every_engine, on_sqlite, register,
};
use claviger::cleaner::Cleanup;
use claviger::events::find_place;
use claviger_proto::follow::EventsRequest;
use claviger_proto::time::Clock as _;
use claviger_store::cleaning::{self, Table};
use claviger_store::error::StoreError;
use reqwest::Method;
use serde_json::json;

const DAYS_8_S: i64 = 8 * 86_400;

async fn get(server: &Server, path: &str) -> Reply {
    let request = server.get(&format!("/internal/claviger/v1{path}"));
    request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await
}

#[tokio::test]
async fn a_snapshot_after_a_clean_up_and_a_restart_is_a_place_to_read_on_from() {
    on_every_engine("", async |server| {
        for name in ["one", "two", "three"] {
            let client = register(server, name, json!({})).await;
            let token = client.application_token(server).await;
            client.revoke(server, &[("token", &token)]).await;
        }
        server.clock.advance_s(DAYS_8_S);
        let app = server.app();
        let rules = Cleanup::default().rules(&app.config, &app.oauth.settings, server.clock.now());
        let page = cleaning::find(&mut app.store.reader().await.unwrap(), Table::Events, "", &rules).await.unwrap();
        let removed = app.store.write::<_, StoreError, _>(move |conn| {
            let candidates = page.candidates.clone();
            Box::pin(async move { cleaning::remove(conn, Table::Events, &candidates, &rules).await })
        });
        assert!(removed.await.unwrap() >= 2, "{}", server.engine);
        // As a start does.
        find_place(app).await.unwrap();
        let request = EventsRequest { after: app.events.low_watermark(), gaps: Vec::new() };
        let page = app.events.page(&app.store, &request, 0).await;
        assert!(page.is_ok(), "{}: {page:?}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn an_empty_page_is_back_before_the_time_limit_of_requests() {
    on_sqlite("[limits]\nrequest_timeout_s = 2\n", async |server| {
        let snapshot = get(server, "/snapshot").await.json();
        let after = snapshot["as_of"].as_i64().unwrap();
        let last = get(server, &format!("/events?after={after}")).await.json()["last"].as_i64().unwrap();
        let page = get(server, &format!("/events?after={last}&wait_ms=25000")).await;
        assert_eq!((page.status, page.json()["events"].clone()), (200, json!([])), "{page:?}");
    })
    .await;
}

fn jti(jwt: &str) -> String {
    claims(jwt)["jti"].as_str().unwrap().to_owned()
}

/// Is the token of this JWT among the revoked ones that gateways are told of?
async fn is_told(server: &Server, jwt: &str) -> bool {
    Told::by(server).await.has_token(&jti(jwt))
}

async fn jwt_client(server: &Server) -> Registered {
    register(server, "jwt", json!({ "token_type_extension": "JWT" })).await
}

#[tokio::test]
async fn a_revocation_is_told_as_long_as_the_skew_lets_the_token_live() {
    on_every_engine("[oauth]\ntimestamp_skew = \"300\"\n", async |server| {
        let client = jwt_client(server).await;
        let [early, late] = [client.application_token(server).await, {
            let form = [("grant_type", "client_credentials"), ("scope", "late")];
            client.issue(server, &form).await.text("access_token")
        }];
        client.revoke(server, &[("token", &early)]).await;
        server.clock.advance_s(3600 + 299);
        assert_eq!(client.revoke(server, &[("token", &late)]).await.status, 200);
        for (name, token) in [("before its end", &early), ("after its end", &late)] {
            assert!(is_told(server, token).await, "{}: revoked {name}", server.engine);
        }
        server.clock.advance_s(3600);
        assert!(!is_told(server, &early).await, "{}: nobody accepts it any more", server.engine);
    })
    .await;
}

#[tokio::test]
async fn a_jwt_that_was_followed_by_another_can_still_be_revoked() {
    on_every_engine("", async |server| {
        let client = jwt_client(server).await;
        let first = client.application_token(server).await;
        let second = client.application_token(server).await;
        assert_ne!(first, second);
        assert!(!is_told(server, &first).await, "{}: gateways accept both", server.engine);
        for _ in 0..2 {
            assert_eq!(client.revoke(server, &[("token", &first)]).await.status, 200);
        }
        assert!(is_told(server, &first).await, "{}", server.engine);
        assert!(!is_told(server, &second).await, "{}", server.engine);
        assert!(server.is_active(&second).await, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn a_new_secret_and_a_deletion_end_every_jwt_of_a_client() {
    on_every_engine("", async |server| {
        let client = jwt_client(server).await;
        let path = format!("/keymanager-operations/dcr/register/{}", client.id);
        let renewal = server.post(&format!("{path}/regenerate-consumer-secret"));
        let deletion = server.request(Method::DELETE, &path);
        let mut secret = client.secret.clone();
        for (name, request) in [("new secret", renewal), ("deletion", deletion)] {
            let current = Registered { id: client.id.clone(), secret };
            let [first, second] = [current.application_token(server).await, current.application_token(server).await];
            assert!(!is_told(server, &second).await, "{}", server.engine);
            server.clock.advance_s(2);
            let reply = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await;
            assert!(matches!(reply.status, 200 | 204), "{name}: {reply:?}");
            assert!(is_told(server, &second).await, "{}: {name}", server.engine);
            // The first one's row was retired by the second.
            assert!(Told::by(server).await.has_client_of(&first), "{}: {name}", server.engine);
            // JWTs name whole seconds: the next ones are issued after this.
            server.clock.advance_s(1);
            secret = if reply.status == 200 { reply.text("client_secret") } else { String::new() };
        }
    })
    .await;
}
