//! Statements 41-46 and the events of 7: what API Manager is told of dead tokens (rest-3x.md 8.6). How it is told when something
//! is in the way: `events_delivery`.

use super::delete;
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Database, Directory, Options, Post, Process, Receiver, Registered, Relay, Server,
    becomes_false, claims, databases, free_offset, insert_tenant, insert_user, register,
};
use claviger_proto::encode::base64;
use claviger_proto::time::Clock as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs a case on a server on every engine, each with a receiver of its own; `more` is configuration beside the listener.
pub(super) async fn told_on_every_engine(more: &str, case: impl AsyncFn(&Server, &Receiver)) {
    for database in databases().await {
        told_on(&database, more, &case).await;
        database.remove().await;
    }
}

/// As [`told_on_every_engine`], on one database.
pub(super) async fn told_on(database: &Database, more: &str, case: &impl AsyncFn(&Server, &Receiver)) {
    let receiver = Receiver::start().await;
    let sections = format!("{more}{}", Receiver::section_at(receiver.port)).leak();
    let server = Server::start(database, Options { sections, ..Options::default() }).await;
    case(&server, &receiver).await;
    server.stop().await;
}

/// What the operator sees of the listeners.
pub(super) async fn view(server: &Server) -> Value {
    let request = server.get("/internal/claviger/v1/notifications").basic_auth(ADMIN, Some(&server.admin_password));
    let reply = request.call().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["listeners"][0].clone()
}

/// Waits until nothing waits to be told.
pub(super) async fn wait_until_told(server: &Server) {
    let is_left = async || view(server).await["waiting"] != 0;
    assert!(becomes_false(is_left).await, "{}: {}", server.engine, view(server).await);
}

/// A token of a user with a scope of its own, and its refresh token.
async fn pair(server: &Server, client: &Registered, scope: &str) -> (String, String) {
    let reply = client.log_in(server, scope).await;
    (reply.text("access_token"), reply.text("refresh_token"))
}

/// The tokens that were told, by what names them.
fn told(posts: &[Post]) -> Vec<&str> {
    posts.iter().map(|post| post.text("accessToken")).collect()
}

#[tokio::test]
async fn checklist_41_a_revocation_posts_one_event() {
    told_on_every_engine("", async |server, receiver| {
        let mut ids = BTreeSet::new();
        let client = register(server, "shop", json!({})).await;
        for (seen, (scope, is_by_refresh)) in [("a", false), ("b", true)].into_iter().enumerate() {
            let (access, refresh) = pair(server, &client, scope).await;
            let issued_ms = server.clock.now().as_millis();
            server.clock.advance_ms(1_500);
            let token = if is_by_refresh { &refresh } else { &access };
            assert_eq!(client.revoke(server, &[("token", token)]).await.status, 200);
            let answered = Instant::now();
            let posts = receiver.wait_for(seen + 1).await;
            let late = answered.elapsed();
            assert!(late <= Duration::from_secs(1), "{}: {late:?} after the answer", server.engine);
            let post = &posts[seen];
            let mut body = post.body.clone();
            let event_id = body["eventId"].take();
            let event_id = event_id.as_str().unwrap();
            assert!(event_id.len() == 36 && ids.insert(event_id.to_owned()), "{event_id}");
            // MariaDB keeps whole seconds; the end is exact all the same.
            let expected = json!({
                "accessToken": access, "expiryTime": issued_ms + 3_600_000, "user": ADMIN, "consumerKey": client.id,
                "tokenType": "Default", "eventId": null, "timeStamp": issued_ms + 1_500, "type": "token_revocation",
                "tenantId": -1234, "tenantDomain": "carbon.super", "properties": {},
            });
            assert_eq!(body, expected, "{}", server.engine);
            let header = |name: &str| post.headers.get(name).unwrap().to_str().unwrap().to_owned();
            assert_eq!(header("x-wso2-key-manager"), "WSO2-IS");
            assert_eq!(header("content-type"), "application/json");
            let basic = base64(b"notifier:planted-notifier-password");
            assert_eq!(header("authorization"), format!("Basic {basic}"));
        }
        wait_until_told(server).await;
        assert_eq!(receiver.posts().len(), 2, "{}: one for each", server.engine);
    })
    .await;
}

#[tokio::test]
async fn checklist_42_a_jwt_is_named_by_its_jti_and_others_by_their_text() {
    told_on_every_engine("", async |server, receiver| {
        let mut seen = 0;
        for token_type in ["JWT", "Default"] {
            let client = register(server, token_type, json!({ "token_type_extension": token_type })).await;
            for (scope, is_by_refresh) in [("a", false), ("b", true)] {
                let (access, refresh) = pair(server, &client, scope).await;
                let token = if is_by_refresh { &refresh } else { &access };
                client.revoke(server, &[("token", token)]).await;
                seen += 1;
                let post = receiver.wait_for(seen).await.pop().unwrap();
                let expected = if token_type == "JWT" {
                    claims(&access)["jti"].as_str().unwrap().to_owned()
                } else {
                    access.clone()
                };
                assert_eq!(post.text("accessToken"), expected, "{} {token_type} {is_by_refresh}", server.engine);
                assert_eq!(post.text("tokenType"), token_type);
                if token_type == "JWT" {
                    assert_eq!(
                        post.body["expiryTime"].as_i64().unwrap() / 1000,
                        claims(&access)["exp"],
                        "{}",
                        server.engine
                    );
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_42_a_user_of_a_tenant_is_named_without_his_tenant() {
    let case = async |server: &Server, receiver: &Receiver| {
        let tenant = insert_tenant(server, "acme.com").await;
        insert_user(server, tenant, "bob", ADMIN_PASSWORD, &["admin"]).await;
        let request = server.post("/t/acme.com/keymanager-operations/dcr/register");
        let body = json!({ "client_name": "x", "grant_types": ["password"], "ext_application_owner": "bob@acme.com" });
        let reply = request.basic_auth("bob@acme.com", Some(ADMIN_PASSWORD)).json(&body).call().await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let client = Registered { id: reply.text("client_id"), secret: reply.text("client_secret") };
        let form = [("grant_type", "password"), ("username", "bob@acme.com"), ("password", ADMIN_PASSWORD)];
        let access = client.issue(server, &form).await.text("access_token");
        client.revoke(server, &[("token", &access)]).await;
        let post = receiver.wait_for(1).await.remove(0);
        assert_eq!((post.text("user"), post.text("tenantDomain")), ("bob", "acme.com"));
        assert_eq!(post.body["tenantId"], tenant.0);
    };
    told_on(&Database::Sqlite, "", &case).await;
}

#[tokio::test]
async fn checklist_43_a_refresh_posts_the_old_tokens_event_and_what_changes_nothing_none() {
    told_on_every_engine("", async |server, receiver| {
        let client = register(server, "shop", json!({})).await;
        let other = register(server, "other", json!({})).await;
        // Issues, and one more token each time for JWTs.
        let access = client.application_token(server).await;
        client.application_token(server).await;
        let jwts = register(server, "jwts", json!({ "token_type_extension": "JWT" })).await;
        jwts.application_token(server).await;
        jwts.application_token(server).await;
        // Refused, or nothing to revoke.
        let wrong = Registered { secret: "wrong".to_owned(), ..client.clone() };
        assert_eq!(wrong.revoke(server, &[("token", &access)]).await.status, 401);
        assert_eq!(other.revoke(server, &[("token", &access)]).await.status, 401);
        assert_eq!(client.revoke(server, &[("token", "never issued")]).await.status, 200);
        assert!(server.is_active(&access).await);
        // A refresh ends the old access token, once.
        let (first, refresh) = pair(server, &client, "a").await;
        let second = client.refresh(server, &refresh).await;
        assert_eq!(client.refresh(server, &refresh).await.status, 400);
        client.revoke(server, &[("token", &first)]).await;
        // And so does a revocation, however often it is asked for.
        for _ in 0..2 {
            client.revoke(server, &[("token", &second.text("access_token"))]).await;
            client.revoke(server, &[("token", &second.text("refresh_token"))]).await;
        }
        // A token that ended by itself needs no event.
        let (over, _) = pair(server, &client, "b").await;
        server.clock.advance_s(3_700);
        client.revoke(server, &[("token", &over)]).await;
        let expected = [first, second.text("access_token")];
        receiver.wait_for(expected.len()).await;
        wait_until_told(server).await;
        assert_eq!(told(&receiver.posts()), expected, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn checklist_44_api_manager_being_down_delays_no_answer_and_hears_of_it_later() {
    for database in databases().await {
        let receiver = Receiver::start().await;
        let mut relay = Relay::start(receiver.port).await;
        let sections = Receiver::section_at(relay.port()).leak();
        let server = Server::start(&database, Options { sections, ..Options::default() }).await;
        let client = register(&server, "shop", json!({})).await;
        for (seen, case) in ["down", "failing", "silent"].into_iter().enumerate() {
            let what = format!("{} {case}", server.engine);
            match case {
                "down" => relay.cut().await,
                "failing" => {
                    let mut left = 3;
                    receiver.answer(move |_| {
                        left -= 1;
                        if left >= 0 { 500 } else { 200 }
                    });
                }
                _ => receiver.hold(true),
            }
            let (access, _) = pair(&server, &client, case).await;
            let (asked, posts_before) = (Instant::now(), receiver.posts().len());
            assert_eq!(client.revoke(&server, &[("token", &access)]).await.status, 200);
            let took = asked.elapsed();
            assert!(took < Duration::from_secs(1), "{what}: the answer took {took:?}");
            if case == "down" {
                let is_unknown = async || view(&server).await["away_because"].is_null();
                assert!(becomes_false(is_unknown).await, "{what}: the view says that it is away");
                assert_eq!(view(&server).await["waiting"], 1, "{what}");
                relay.mend().await;
            }
            receiver.hold(false);
            let taken = receiver.wait_for(seen + 1).await;
            assert_eq!(taken[seen].text("accessToken"), access, "{what}");
            let tries = &receiver.posts()[posts_before..];
            assert!(tries.iter().all(|post| post.text("eventId") == taken[seen].text("eventId")), "{what}: {tries:?}");
            assert_eq!(tries.len(), if case == "failing" { 4 } else { 1 }, "{what}: {tries:?}");
            wait_until_told(&server).await;
            assert!(view(&server).await["away_because"].is_null(), "{what}");
        }
        server.stop().await;
        database.remove().await;
    }
}

#[tokio::test]
async fn checklist_45_a_listener_without_credentials_is_refused_at_start() {
    let complete = Receiver::section_at(9);
    for missing in ["username", "password", "notification_endpoint"] {
        let directory = Directory::new();
        let lines: Vec<&str> = complete.lines().filter(|line| !line.starts_with(missing)).collect();
        let file = directory.path().join("deployment.toml");
        std::fs::write(&file, lines.join("\n")).unwrap();
        let text = format!("`properties.{missing}` is missing");
        let Err(ended) = Process::try_start(directory.path(), free_offset(), &[]).await else {
            panic!("it started without {missing}");
        };
        assert_eq!((ended.code, ended.output.contains(&text)), (Some(3), true), "{ended:?}");
        let checked = config_check(&file);
        assert_eq!((checked.0, checked.1.contains(&text)), (Some(3), true), "{checked:?}");
    }
}

/// `claviger config check`: its exit code and output.
fn config_check(file: &std::path::Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
    let output = command.env_clear().args(["config", "check"]).arg(file).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn checklist_45_an_unknown_key_manager_is_warned_about_by_name() {
    let directory = Directory::new();
    let file = directory.path().join("deployment.toml");
    std::fs::write(&file, Receiver::section_at(9).replace("WSO2-IS", "WSO2IS")).unwrap();
    let (code, output) = config_check(&file);
    assert_eq!((code, output.matches("warning: ").count()), (Some(0), 1), "{output}");
    assert!(output.contains("knows no key manager `WSO2IS`"), "{output}");
    let process = Process::start(&directory, &[]).await;
    let ended = process.kill();
    assert!(ended.output.contains("knows no key manager `WSO2IS`"), "{}", ended.output);
}

#[tokio::test]
async fn checklist_46_clients_are_told_where_tokens_have_no_rows() {
    let without_rows = "[oauth.token_persistence]\npersist_jwt_access_tokens = false\n";
    told_on_every_engine(without_rows, async |server, receiver| {
        let mut seen = 0;
        let mut client = register(server, "jwts", json!({ "token_type_extension": "JWT" })).await;
        // A JWT without a row is told as any other when it is revoked by itself.
        let token = client.application_token(server).await;
        client.revoke(server, &[("token", &token)]).await;
        client.revoke(server, &[("token", &token)]).await;
        seen += 1;
        let post = receiver.wait_for(seen).await.pop().unwrap();
        assert_eq!(post.text("accessToken"), claims(&token)["jti"], "{}", server.engine);
        assert_eq!((post.text("user"), post.text("tokenType")), (ADMIN, "JWT"));
        for end in ["new secret", "deletion"] {
            let token = client.application_token(server).await;
            let told_at = server.clock.now().as_millis();
            let reply = match end {
                "new secret" => client.renew_secret(server).await,
                _ => delete(server, &super::raw(&client.id)).await,
            };
            assert!(matches!(reply.status, 200 | 204), "{end}: {reply:?}");
            seen += 1;
            let mut post = receiver.wait_for(seen).await.pop().unwrap();
            let (event_id, before) = (post.body["eventId"].take(), post.body["revocationTime"].take());
            assert_eq!(event_id.as_str().unwrap().len(), 36);
            assert!(before.as_i64().unwrap() / 1000 > claims(&token)["iat"].as_i64().unwrap(), "{before}");
            let expected = json!({
                "consumerKey": client.id, "revocationTime": null, "eventId": null, "timeStamp": told_at,
                "type": "consumer_app_revocation_event", "tenantId": -1234, "tenantDomain": "carbon.super",
                "properties": {},
            });
            assert_eq!(post.body, expected, "{} {end}", server.engine);
            if end == "new secret" {
                // What the administrator does next is not what this is about.
                server.clock.advance_s(10);
                client.secret = reply.text("client_secret");
            }
        }
        wait_until_told(server).await;
        assert_eq!(receiver.posts().len(), seen, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn checklist_07_the_end_of_a_client_posts_one_event_for_each_token() {
    told_on_every_engine("", async |server, receiver| {
        let mut seen = 0;
        for (number, end) in ["deletion", "new secret", "other token type"].into_iter().enumerate() {
            let token_type = if number == 1 { "JWT" } else { "Default" };
            let client = register(server, end, json!({ "token_type_extension": token_type })).await;
            let mut expected = BTreeSet::new();
            for scope in ["a", "b", "c"] {
                let (access, refresh) = pair(server, &client, scope).await;
                let name = |token: &str| match token_type {
                    "JWT" => claims(token)["jti"].as_str().unwrap().to_owned(),
                    _ => token.to_owned(),
                };
                expected.insert(name(&access));
                if scope == "c" {
                    let next = client.refresh(server, &refresh).await;
                    expected.insert(name(&next.text("access_token")));
                }
            }
            let reply = match end {
                "deletion" => client.delete(server).await,
                "new secret" => client.renew_secret(server).await,
                _ => client.change(server, &json!({ "token_type_extension": "JWT" })).await,
            };
            assert!(matches!(reply.status, 200 | 204), "{end}: {reply:?}");
            let posts = receiver.wait_for(seen + expected.len()).await;
            wait_until_told(server).await;
            let mut told: Vec<String> = told(&posts[seen..]).into_iter().map(str::to_owned).collect();
            told.sort();
            assert_eq!(told, Vec::from_iter(expected), "{} {end}", server.engine);
            seen = receiver.posts().len();
            assert_eq!(posts.len(), seen, "{} {end}: each once", server.engine);
        }
    })
    .await;
}
