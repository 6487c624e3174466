//! Many clients at once, and two nodes on one database.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Registered, Server, becomes_false, on_every_engine, on_sqlite, on_two_nodes_with,
    register,
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeSet;

const GRANT: [(&str, &str); 1] = [("grant_type", "client_credentials")];
/// The tokens of that many identical requests at once; none may fail.
async fn tokens(server: &Server, client: &Registered, count: usize) -> BTreeSet<String> {
    let replies = join_all((0..count).map(|_| client.token(server, &GRANT))).await;
    for reply in &replies {
        assert_eq!(reply.status, 200, "{}: {reply:?}", server.engine);
    }
    replies.iter().map(|reply| reply.text("access_token")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_equal_requests_get_one_token() {
    on_every_engine("", async |server| {
        let client = register(server, "one-token", json!({})).await;
        server.warm_up(200).await;
        let tokens = tokens(server, &client, 200).await;
        assert_eq!(tokens.len(), 1, "{}", server.engine);
        assert_eq!(server.active_rows(&client.id).await, 1, "{}", server.engine);
        assert!(server.is_active(tokens.first().unwrap()).await, "{}", server.engine);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_for_jwts_leave_one_active_row() {
    on_every_engine("", async |server| {
        let client = register(server, "jwts", json!({ "token_type_extension": "JWT" })).await;
        server.warm_up(40).await;
        let tokens = tokens(server, &client, 40).await;
        assert_eq!(tokens.len(), 40, "{}", server.engine);
        assert_eq!(server.active_rows(&client.id).await, 1, "{}", server.engine);
        let mut active = 0;
        for token in &tokens {
            active += usize::from(server.is_active(token).await);
        }
        assert_eq!(active, 1, "{}", server.engine);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_revocations_and_requests_end_in_one_living_token() {
    on_every_engine("", async |server| {
        let client = register(server, "churn", json!({})).await;
        let turn = async |_| {
            let token = client.application_token(server).await;
            let reply = client.revoke(server, &[("token", &token)]).await;
            assert_eq!(reply.status, 200, "{}: {reply:?}", server.engine);
            assert!(!server.is_active(&token).await, "{}: revoked and yet active", server.engine);
        };
        server.warm_up(30).await;
        join_all((0..30).map(turn)).await;
        let last = client.application_token(server).await;
        assert!(server.is_active(&last).await, "{}", server.engine);
        assert_eq!(server.active_rows(&client.id).await, 1, "{}", server.engine);
    })
    .await;
}

async fn on_two_nodes(case: impl AsyncFn(&Server, &Server)) {
    on_two_nodes_with("", case).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_hand_out_one_token() {
    on_two_nodes(async |a, b| {
        let client = register(a, "two-nodes", json!({})).await;
        tokio::join!(a.warm_up(100), b.warm_up(100));
        let (of_a, of_b) = tokio::join!(tokens(a, &client, 100), tokens(b, &client, 100));
        assert_eq!(of_a.len(), 1, "{}", a.engine);
        assert_eq!(of_a, of_b, "{}", a.engine);
        assert_eq!(a.active_rows(&client.id).await, 1, "{}", a.engine);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_issue_jwts_without_a_failure() {
    on_two_nodes(async |a, b| {
        // Every request retires the row of the one before, on whichever node that was.
        let client = register(a, "two-nodes-jwt", json!({ "token_type_extension": "JWT" })).await;
        tokio::join!(a.warm_up(100), b.warm_up(100));
        let (of_a, of_b) = tokio::join!(tokens(a, &client, 100), tokens(b, &client, 100));
        assert_eq!(of_a.union(&of_b).count(), 200, "{}", a.engine);
        assert_eq!(a.active_rows(&client.id).await, 1, "{}", a.engine);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_rotate_a_refresh_token_once() {
    on_two_nodes(async |a, b| {
        let client = register(a, "two-nodes-refresh", json!({})).await;
        let form = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        let refresh = client.issue(a, &form).await.text("refresh_token");
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
        let nodes = [a, b];
        tokio::join!(a.warm_up(25), b.warm_up(25));
        let replies = join_all((0..50).map(|turn| client.token(nodes[turn % 2], &form))).await;
        let good = replies.iter().filter(|reply| reply.status == 200).count();
        assert_eq!(good, 1, "{}", a.engine);
        for reply in replies.iter().filter(|reply| reply.status != 200) {
            reply.check_error(400, "invalid_grant", "Invalid refresh token state");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_reaches_the_other_node() {
    on_two_nodes(async |a, b| {
        let client = register(a, "news", json!({})).await;
        let token = client.application_token(a).await;
        // Node B knows the token as active, from its own cache too.
        assert!(b.is_active(&token).await && b.is_active(&token).await, "{}", a.engine);
        assert_eq!(client.revoke(a, &[("token", &token)]).await.status, 200);
        assert!(!a.is_active(&token).await, "{}: at once on the node that did it", a.engine);
        assert!(becomes_false(async || b.is_active(&token).await).await, "{}: node B never heard of it", a.engine);
        assert_ne!(client.application_token(b).await, token, "{}", a.engine);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_secret_reaches_the_other_node() {
    on_two_nodes(async |a, b| {
        let old = register(a, "secret-news", json!({})).await;
        assert_eq!(old.token(b, &GRANT).await.status, 200);
        let path = format!("/keymanager-operations/dcr/register/{}/regenerate-consumer-secret", old.id);
        let reply = a.post(&path).basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await;
        let new = Registered { secret: reply.text("client_secret"), ..old.clone() };
        let is_old_good = async || old.token(b, &GRANT).await.status != 401;
        assert!(becomes_false(is_old_good).await, "{}: the old secret lives on", a.engine);
        assert_eq!(new.token(b, &GRANT).await.status, 200, "{}", a.engine);
    })
    .await;
}

/// A request that holds a connection and waits for a second one would wait for itself here.
#[tokio::test]
async fn one_connection_is_enough_for_the_portal() {
    let sections = "[database.shared_db]\nurl = \"sqlite:claviger.sqlite\"\n[database.shared_db.pool_options]\nmax_active = 1\nmax_wait = 1000\n";
    on_sqlite(sections, async |server| {
        let client = register(server, "portal-user", json!({ "grant_types": ["password"] })).await;
        let form = [
            ("grant_type", "password"),
            ("username", ADMIN),
            ("password", ADMIN_PASSWORD),
            ("scope", "apim:subscribe apim:app_manage apim:sub_manage"),
        ];
        let token = client.token(server, &form).await.text("access_token");
        let path = "/api/am/store/v1/applications";
        let new = json!({ "name": "shop", "throttlingPolicy": "Unlimited" });
        let made = server.post(path).bearer_auth(&token).json(&new).call().await;
        assert_eq!(made.status, 201, "{made:?}");
        let one = format!("{path}/{}", made.text("applicationId"));
        let order = json!({ "keyType": "PRODUCTION", "grantTypesToBeSupported": ["client_credentials"] });
        let keys = server.post(&format!("{one}/generate-keys")).bearer_auth(&token).json(&order).call().await;
        assert_eq!(keys.status, 200, "{keys:?}");
        let changed = server.request(Method::PUT, &one).bearer_auth(&token).json(&new).call().await;
        assert_eq!(changed.status, 200, "{changed:?}");
        for path in [one.clone(), format!("{one}/keys"), format!("{one}/keys/PRODUCTION")] {
            let replies = join_all((0..8).map(|_| server.get(&path).bearer_auth(&token).call())).await;
            for reply in replies {
                assert!(reply.status == 200 && reply.body.contains(&keys.text("consumerKey")), "{path}: {reply:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_retired_row_is_dead_on_the_other_node_too() {
    on_two_nodes(async |a, b| {
        let client = register(a, "retired", json!({"token_type_extension": "JWT"})).await;
        // Each node of this test signs with a key of its own, so node B is asked about the row.
        let claims = claviger_proto::jose::unverified_claims(&client.application_token(a).await).unwrap();
        let jti = claims["jti"].as_str().unwrap().to_owned();
        let hash = claviger_proto::hash::TokenHash::of(&jti);
        let is_active_on_b = async || {
            let token = b.app().oauth.find_token(&hash, &jti).await.unwrap().unwrap();
            token.state == claviger_store::tokens::TokenState::Active
        };
        assert!(is_active_on_b().await && is_active_on_b().await, "{}", a.engine);
        // The next JWT for the same client, user and scopes retires the row of the first (rest-3x.md 1.6.4).
        client.application_token(a).await;
        assert!(becomes_false(is_active_on_b).await, "{}: node B never heard of it", a.engine);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_renew_with_every_request_without_waiting_for_each_other() {
    // Waiting for each other ends when the database looks for it: after a second on PostgreSQL.
    const MS_MAX: u128 = 8_000;
    on_two_nodes_with("[oauth.token_renewal]\nrenew_access_token_per_request = true\n", async |a, b| {
        let client = register(a, "renewed", json!({})).await;
        tokio::join!(a.warm_up(1), b.warm_up(1));
        let lane = async |node: &Server| {
            for _ in 0..25 {
                client.issue(node, &GRANT).await;
            }
        };
        let begun = std::time::Instant::now();
        tokio::join!(lane(a), lane(b));
        assert!(begun.elapsed().as_millis() < MS_MAX, "{}: {:?}", a.engine, begun.elapsed());
        assert_eq!(a.active_rows(&client.id).await, 1, "{}", a.engine);
    })
    .await;
}
