//! How API Manager is told of dead tokens when something is in the way: order, slowness, dead letters, the end of a process,
//! several nodes, certificates (rest-3x.md 5.1). What it is told: `events`.

use super::events::{told_on, told_on_every_engine, view, wait_until_told};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Database, Directory, Options, Post, Process, Receiver, Registered, Server,
    becomes_false, databases, plain_client, register, registration,
};
use claviger::app::SystemClock;
use claviger::files::{DataDir, TLS_CERTIFICATE_FILE};
use claviger_proto::ids::ConsumerKey;
use claviger_proto::time::{Clock as _, Timestamp};
use claviger_store::error::StoreError;
use claviger_store::notifications::{self, NewNotification};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

const DAY_S: i64 = 86_400;

/// A fresh token of a client, revoked.
async fn revoked(server: &Server, client: &Registered, scope: &str) -> String {
    let form = [("grant_type", "client_credentials"), ("scope", scope)];
    let token = client.issue(server, &form).await.text("access_token");
    assert_eq!(client.revoke(server, &[("token", &token)]).await.status, 200);
    token
}

/// Events that no product function makes: several about one lane, with a number each.
async fn insert_lanes(server: &Server, lanes: i64, of_each: i64) {
    let now = server.clock.now();
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        Box::pin(async move {
            let key = ConsumerKey::from("key");
            for number in 0..of_each {
                for lane in 0..lanes {
                    let event = NewNotification {
                        listener: "token_revocation",
                        lane: &format!("lane {lane}"),
                        event_id: &format!("{lane}-{number}"),
                        consumer_key: &key,
                        body: Ok(&json!({ "lane": lane, "number": number }).to_string()),
                        created: now,
                        expires_at: Timestamp::NEVER,
                    };
                    notifications::insert(conn, &[event]).await?;
                }
            }
            Ok(())
        })
    });
    write.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_about_one_token_is_told_in_order_whatever_fails() {
    const LANES: i64 = 20;
    const OF_EACH: i64 = 10;
    told_on_every_engine("", async |server, receiver| {
        // Every seventh post fails in one way or another.
        let count = AtomicI64::new(0);
        receiver.answer(move |_| match count.fetch_add(1, Ordering::SeqCst) % 21 {
            6 => 400,
            13 => 503,
            20 => 500,
            _ => 200,
        });
        insert_lanes(server, LANES, OF_EACH).await;
        let total = usize::try_from(LANES * OF_EACH).unwrap();
        let taken = receiver.wait_for(total).await;
        wait_until_told(server).await;
        assert_eq!((taken.len(), view(server).await["dead"].as_i64()), (total, Some(0)), "{}", server.engine);
        let mut next: BTreeMap<i64, i64> = BTreeMap::new();
        for post in &taken {
            let number = next.entry(post.body["lane"].as_i64().unwrap()).or_default();
            assert_eq!(post.body["number"], *number, "{}: {post:?}", server.engine);
            *number += 1;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_endpoint_holds_up_nobody_else_within_the_bound() {
    let case = async |server: &Server, receiver: &Receiver| {
        let client = register(server, "shop", json!({})).await;
        receiver.hold(true);
        for number in 0..32 {
            revoked(server, &client, &format!("s{number}")).await;
        }
        // All of them are on their way at once, though none was answered.
        receiver.wait_for_arrivals(32).await;
        insert_lanes(server, 100, 1).await;
        receiver.wait_for_arrivals(64).await;
        assert_eq!(view(server).await["waiting"], 132);
        receiver.hold(false);
        receiver.wait_for(132).await;
        wait_until_told(server).await;
        assert_eq!(receiver.posts().len(), 132);
        let is_waiting =
            async || server.metric("claviger_notifications_waiting{listener=\"token_revocation\"}").await > 0;
        assert!(becomes_false(is_waiting).await);
        let delivered = "claviger_notifications_total{listener=\"token_revocation\",outcome=\"delivered\"}";
        assert_eq!(server.metric(delivered).await, 132);
    };
    told_on(&Database::Sqlite, "", &case).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_receiver_fails_at_holds_up_nobody_else() {
    let case = async |server: &Server, receiver: &Receiver| {
        let client = register(server, "shop", json!({})).await;
        receiver.answer(|body| if body["lane"].is_null() { 200 } else { 500 });
        insert_lanes(server, 300, 1).await;
        // The receiver has failed at many, and is given one try at a time now.
        receiver.wait_for_arrivals(64).await;
        let token = revoked(server, &client, "read").await;
        let is_told = |post: &Post| post.body["accessToken"] == token.as_str() && post.status == 200;
        receiver.wait_until(Duration::from_secs(15), |posts| posts.iter().any(is_told)).await;
    };
    told_on(&Database::Sqlite, "", &case).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_again_and_again_becomes_a_dead_letter_and_can_be_told_again() {
    told_on_every_engine("", async |server, receiver| {
        let client = register(server, "shop", json!({})).await;
        let (bad, worse) = (client.application_token(server).await, {
            let form = [("grant_type", "client_credentials"), ("scope", "worse")];
            client.issue(server, &form).await.text("access_token")
        });
        let is_mended = Arc::new(AtomicBool::new(false));
        let (mended, refused, failed) = (is_mended.clone(), bad.clone(), worse.clone());
        receiver.answer(move |body| match body["accessToken"].as_str().unwrap() {
            _ if mended.load(Ordering::SeqCst) => 200,
            token if token == refused => 422,
            token if token == failed => 500,
            _ => 200,
        });
        for token in [&bad, &worse] {
            client.revoke(server, &[("token", token)]).await;
        }
        // Others are taken meanwhile; that shows whose fault a 500 is.
        let mut others = 0;
        while view(server).await["dead"] != 2 {
            let tries = receiver.posts().len();
            revoked(server, &client, &format!("s{others}")).await;
            others += 1;
            assert!(others < 300, "{}: {}", server.engine, view(server).await);
            receiver.wait_for(others).await;
            assert!(tries < 1_000, "{}: {tries} posts", server.engine);
        }
        wait_until_told(server).await;
        let shown = view(server).await;
        let letters = shown["dead_letters"].as_array().unwrap();
        let mut reasons: Vec<&str> = letters.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
        reasons.sort_unstable();
        assert_eq!(reasons, ["answered 422 to 6 tries", "answered 500 to 8 tries, while others were taken"]);
        assert!(letters.iter().all(|letter| letter["consumer_key"] == client.id && letter["can_be_retried"] == true));
        assert!(!shown.to_string().contains(&bad) && !shown.to_string().contains("planted"), "{shown}");
        let dead = "claviger_notifications_total{listener=\"token_revocation\",outcome=\"dead\"}";
        assert_eq!(server.metric(dead).await, 2, "{}", server.engine);
        is_mended.store(true, Ordering::SeqCst);
        let request = server.post("/internal/claviger/v1/notifications/retry");
        let reply = request.basic_auth(ADMIN, Some(&server.admin_password)).call().await;
        assert_eq!((reply.status, reply.json()), (200, json!({ "retried": 2 })), "{}", server.engine);
        let taken = receiver.wait_for(others + 2).await;
        let mut told: Vec<&str> = taken[others..].iter().map(|post| post.text("accessToken")).collect();
        told.sort_unstable();
        let mut expected = [bad.as_str(), &worse];
        expected.sort_unstable();
        assert_eq!(told, expected, "{}", server.engine);
        wait_until_told(server).await;
    })
    .await;
}

#[tokio::test]
async fn nobody_is_told_of_what_ended_by_itself_a_day_ago() {
    told_on_every_engine("", async |server, receiver| {
        let client = register(server, "shop", json!({})).await;
        receiver.answer(|_| 503);
        let late = revoked(server, &client, "a").await;
        receiver.wait_until(std::time::Duration::from_secs(10), |posts| !posts.is_empty()).await;
        server.clock.advance_s(DAY_S);
        let other = revoked(server, &client, "b").await;
        server.clock.advance_s(3_700);
        receiver.answer(|_| 200);
        let told = receiver.wait_for(1).await;
        wait_until_told(server).await;
        let told: Vec<&str> = told.iter().map(|post| post.text("accessToken")).collect();
        assert_eq!((told, receiver.taken().len()), (vec![other.as_str()], 1), "{}: not {late}", server.engine);
        let expired = "claviger_notifications_total{listener=\"token_revocation\",outcome=\"expired\"}";
        assert_eq!(server.metric(expired).await, 1, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn a_token_whose_text_nobody_knows_is_a_dead_letter() {
    let hashed = "[oauth]\ntoken_storage_method = \"hashed\"\n";
    told_on_every_engine(hashed, async |server, receiver| {
        let client = register(server, "shop", json!({})).await;
        let by_access = client.log_in(server, "a").await.text("access_token");
        client.revoke(server, &[("token", &by_access)]).await;
        let by_refresh = client.log_in(server, "b").await.text("refresh_token");
        client.revoke(server, &[("token", &by_refresh)]).await;
        let told = receiver.wait_for(1).await;
        wait_until_told(server).await;
        assert_eq!((told[0].text("accessToken"), receiver.posts().len()), (by_access.as_str(), 1), "{}", server.engine);
        let shown = view(server).await;
        assert_eq!((&shown["dead"], &shown["dead_letters"][0]["can_be_retried"]), (&json!(1), &json!(false)));
        let reason = shown["dead_letters"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("stored hashed"), "{reason}");
    })
    .await;
}

#[tokio::test]
async fn two_nodes_tell_once() {
    for database in databases().await {
        if database.is_shared() {
            let receiver = Receiver::start().await;
            let sections: &'static str = Receiver::section_at(receiver.port).leak();
            let a = Server::start(&database, Options { sections, ..Options::default() }).await;
            let clock = Some(a.clock.clone());
            let b = Server::start(&database, Options { sections, clock, ..Options::default() }).await;
            let client = register(&a, "shop", json!({})).await;
            let mut expected = Vec::new();
            for number in 0..10 {
                let server = if number % 2 == 0 { &a } else { &b };
                expected.push(revoked(server, &client, &format!("s{number}")).await);
            }
            let taken = receiver.wait_for(expected.len()).await;
            wait_until_told(&a).await;
            let mut told: Vec<&str> = taken.iter().map(|post| post.text("accessToken")).collect();
            told.sort_unstable();
            expected.sort_unstable();
            assert_eq!(
                (told, receiver.posts().len()),
                (expected.iter().map(String::as_str).collect(), 10),
                "{}",
                a.engine
            );
            let senders = [view(&a).await, view(&b).await].map(|view| view["is_sent_from_here"].as_bool().unwrap());
            assert_eq!(senders.iter().filter(|is_sent| **is_sent).count(), 1, "{}: {senders:?}", a.engine);
            // Who goes hands the work over; who is killed is missed.
            let (sender, other) = if senders[0] { (a, b) } else { (b, a) };
            sender.stop().await;
            let last = revoked(&other, &client, "last").await;
            let taken = receiver.wait_for(11).await;
            assert_eq!(taken[10].text("accessToken"), last);
            let clock = Some(other.clock.clone());
            let third = Server::start(&database, Options { sections, clock, ..Options::default() }).await;
            other.kill();
            let very_last = revoked(&third, &client, "very last").await;
            let taken = receiver.wait_for(12).await;
            assert_eq!(taken[11].text("accessToken"), very_last);
            third.stop().await;
        }
        database.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_survives_kill_9_before_it_was_told() {
    for database in databases().await {
        let (directory, receiver) = (Directory::new(), Receiver::start().await);
        let text = format!("{}{}", database.section(), Receiver::section_at(receiver.port));
        std::fs::write(directory.path().join("deployment.toml"), text).unwrap();
        receiver.answer(|_| 503);
        let process = Process::start(&directory, &["--log", "warn"]).await;
        let http = plain_client();
        let call = async |path: &str, basic: (&str, &str), form: &[(&str, &str)]| {
            let request = http.post(format!("{}{path}", process.plain())).basic_auth(basic.0, Some(basic.1));
            request.form(form).call().await
        };
        let request = http.post(format!("{}/keymanager-operations/dcr/register", process.plain()));
        let reply = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).json(&registration("shop", json!({}))).call().await;
        let (id, secret) = (reply.text("client_id"), reply.text("client_secret"));
        let token =
            call("/oauth2/token", (&id, &secret), &[("grant_type", "client_credentials")]).await.text("access_token");
        assert_eq!(call("/oauth2/revoke", (&id, &secret), &[("token", &token)]).await.status, 200);
        // It was tried, and nobody took it.
        receiver.wait_for_arrivals(2).await;
        drop(process.kill());
        receiver.answer(|_| 200);
        let process = Process::start(&directory, &["--log", "warn"]).await;
        let event = receiver.wait_for(1).await.remove(0);
        assert_eq!(event.text("accessToken"), token, "{}", database.engine());
        let is_same = |post: &Post| post.text("eventId") == event.text("eventId");
        assert!(receiver.posts().iter().all(is_same), "{}", database.engine());
        drop(process);
        database.remove().await;
    }
}

#[tokio::test]
async fn the_endpoints_certificate_is_checked() {
    let own = Directory::new();
    let pair = || DataDir::open(own.path()).unwrap().tls_material("elsewhere", SystemClock.now()).unwrap();
    // What a certificate of another host is presented for.
    let other_name = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    for (address, is_trusted, verifier, is_told) in [
        (loopback, true, "Strict", true),
        (loopback, false, "Strict", false),
        (other_name, true, "Strict", false),
        (other_name, true, "AllowAll", true),
        (other_name, false, "AllowAll", false),
    ] {
        let receiver = Receiver::start_at(address, Some(pair())).await;
        let certificate = own.path().join(TLS_CERTIFICATE_FILE);
        let trust = format!("[truststore]\ntype = \"PEM\"\nfile_name = \"{}\"\n", certificate.display());
        let url = format!("https://{address}:{}/notify", receiver.port);
        let listener = format!("{}hostname_verifier = \"{verifier}\"\n", Receiver::section_for(&url));
        let sections = format!("{}{listener}", if is_trusted { &trust } else { "" }).leak();
        let server = Server::start(&Database::Sqlite, Options { sections, ..Options::default() }).await;
        let client = register(&server, "shop", json!({})).await;
        let token = revoked(&server, &client, "a").await;
        let what = format!("{address} {is_trusted} {verifier}");
        if is_told {
            assert_eq!(receiver.wait_for(1).await[0].text("accessToken"), token, "{what}");
        } else {
            let is_unknown = async || view(&server).await["away_because"].is_null();
            assert!(becomes_false(is_unknown).await, "{what}");
            let reason = view(&server).await["away_because"].to_string();
            assert!(reason.contains("certificate"), "{what}: {reason}");
            assert!(receiver.posts().is_empty(), "{what}");
        }
        server.stop().await;
    }
}
