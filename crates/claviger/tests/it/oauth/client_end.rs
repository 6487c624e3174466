//! The end of a client's tokens by a new secret or a deletion: which tokens die, also those that are issued meanwhile.

use crate::harness::{ManualClock, Registered, Reply, Server, Told, on_every_engine, on_two_nodes_with, register};
use claviger_proto::entropy::uuid;
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::ConsumerKey;
use claviger_proto::secret::Secret;
use claviger_proto::time::Clock as _;
use claviger_store::error::StoreError;
use claviger_store::tokens::{self, Token};
use futures_util::future::join_all;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Requests that each lane has sent before the end begins.
const HEAD_START: usize = 5;
/// JWTs have no rows.
const UNSTORED: &str = "[oauth.token_persistence]\npersist_jwt_access_tokens = false\n";
/// Lanes of each node.
const LANES: usize = 3;

/// Lets a clock run until the future is there.
async fn while_time_passes<T>(clock: &ManualClock, work: impl Future<Output = T>) -> T {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let ticking = async {
        loop {
            ticks.tick().await;
            clock.advance_ms(5);
        }
    };
    tokio::select! {
        result = work => result,
        () = ticking => unreachable!("the clock ticks for ever"),
    }
}

/// Every answer to a client that asks for tokens on each server, in several lanes, while something else is done, which
/// begins when all lanes are running.
async fn issue_meanwhile(
    servers: &[&Server],
    client: &Registered,
    end: impl Future<Output = Reply>,
) -> (Vec<Reply>, Reply) {
    let is_over = AtomicBool::new(false);
    let running = tokio::sync::Semaphore::new(0);
    let lane = async |number: usize| {
        let mut replies = Vec::new();
        while !is_over.load(Ordering::SeqCst) {
            // Of three requests of a lane two are for scopes of their own.
            let scope = format!("s{number}_{}", replies.len() % 3);
            let form = [("grant_type", "client_credentials"), ("scope", scope.as_str())];
            replies.push(client.token(servers[number % servers.len()], &form).await);
            if replies.len() == HEAD_START {
                running.add_permits(1);
            }
        }
        replies
    };
    let lanes = servers.len() * LANES;
    let end = async {
        drop(running.acquire_many(u32::try_from(lanes).unwrap()).await.unwrap());
        // JWTs name whole seconds: the end of one is where an instant taken too early lets some through.
        let clock = &servers[0].clock;
        clock.advance_ms((980 - clock.now().as_millis()).rem_euclid(1_000));
        let reply = end.await;
        is_over.store(true, Ordering::SeqCst);
        reply
    };
    let (replies, reply) =
        while_time_passes(&servers[0].clock, async { tokio::join!(join_all((0..lanes).map(lane)), end) }).await;
    (replies.into_iter().flatten().collect(), reply)
}

/// Every token of the old secret is dead after the answer to the new one, whoever issued it, and nobody saw a failure.
async fn check_new_secret(servers: &[&Server], token_type: &str) {
    let engine = servers[0].engine;
    let mut client =
        register(servers[0], &format!("new-secret-{token_type}"), json!({ "token_type_extension": token_type })).await;
    for server in servers {
        server.warm_up(LANES + 2).await;
    }
    for _ in 0..3 {
        let (replies, reply) = issue_meanwhile(servers, &client, client.renew_secret(servers[0])).await;
        assert_eq!(reply.status, 200, "{engine} {token_type}: {reply:?}");
        for reply in &replies {
            assert!(matches!(reply.status, 200 | 401), "{engine} {token_type}: {reply:?}");
        }
        let told = Told::by(servers[0]).await;
        let good: Vec<String> =
            replies.iter().filter(|reply| reply.status == 200).map(|reply| reply.text("access_token")).collect();
        assert!(good.len() >= HEAD_START);
        let alive: Vec<&String> = good.iter().filter(|token| !told.is_dead(token)).collect();
        assert!(alive.is_empty(), "{engine} {token_type}: {} of {} live on: {alive:?}", alive.len(), good.len());
        assert_eq!(servers[0].active_rows(&client.id).await, 0, "{engine} {token_type}");
        client.secret = reply.text("client_secret");
        // JWTs name whole seconds, without rows they wait for the news; the other node reads it in its own time.
        servers[0].clock.advance_s(3);
        let form = [("grant_type", "client_credentials")];
        for server in servers {
            let mut attempts = 0;
            while client.token(server, &form).await.status == 401 && attempts < 1000 {
                attempts += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_outlives_its_secret() {
    for sections in ["", UNSTORED] {
        on_every_engine(sections, async |server| {
            check_new_secret(&[server], "Default").await;
            check_new_secret(&[server], "JWT").await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_outlives_its_secret_on_another_node() {
    for sections in ["", UNSTORED] {
        on_two_nodes_with(sections, async |a, b| {
            check_new_secret(&[a, b], "Default").await;
            check_new_secret(&[a, b], "JWT").await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beside_a_deletion_are_answered_or_refused() {
    let check = async |servers: &[&Server]| {
        for token_type in ["Default", "JWT"] {
            for turn in 0..3 {
                let name = format!("deleted-{token_type}-{turn}");
                let client = register(servers[0], &name, json!({ "token_type_extension": token_type })).await;
                let (replies, reply) = issue_meanwhile(servers, &client, client.delete(servers[0])).await;
                assert_eq!(reply.status, 204, "{} {token_type}: {reply:?}", servers[0].engine);
                let told = Told::by(servers[0]).await;
                for reply in replies {
                    assert!(matches!(reply.status, 200 | 401), "{} {token_type}: {reply:?}", servers[0].engine);
                    let is_dead = reply.status == 401 || told.is_dead(&reply.text("access_token"));
                    assert!(is_dead, "{} {token_type}: lives on", servers[0].engine);
                }
            }
        }
    };
    on_every_engine("", async |server| check(&[server]).await).await;
    on_two_nodes_with("", async |a, b| check(&[a, b]).await).await;
}

/// Tokens that name an earlier time than their secret would be dead from the start.
#[tokio::test]
async fn a_node_whose_clock_is_behind_hands_out_no_dead_jwt() {
    on_every_engine("", async |server| {
        let mut client = register(server, "behind", json!({ "token_type_extension": "JWT" })).await;
        client.secret = client.renew_secret(server).await.text("client_secret");
        server.clock.advance_s(-60);
        let form = [("grant_type", "client_credentials")];
        let reply = client.token(server, &form).await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("2")), "{}: {reply:?}", server.engine);
        server.clock.advance_s(58);
        let (reply, told) = while_time_passes(&server.clock, async {
            (client.issue(server, &form).await.text("access_token"), Told::by(server).await)
        })
        .await;
        assert!(!told.is_dead(&reply), "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn a_clients_revocation_does_not_end() {
    on_every_engine("", async |server| {
        for lifetime in [-1, 0, 60] {
            let more = json!({ "token_type_extension": "JWT", "ext_application_token_lifetime": -1 });
            let client = register(server, &format!("lifetime{lifetime}"), more).await;
            let first = client.application_token(server).await;
            client.application_token(server).await;
            let lowered = json!({ "ext_application_token_lifetime": lifetime, "ext_user_token_lifetime": lifetime });
            assert_eq!(client.change(server, &lowered).await.status, 200);
            assert_eq!(client.renew_secret(server).await.status, 200);
            server.clock.advance_s(8000);
            assert!(Told::by(server).await.has_client_of(&first), "{}: {lifetime}", server.engine);
        }
    })
    .await;
}

/// Rows as many logins leave them.
async fn insert_tokens(server: &Server, client: &Registered, count: usize) -> Vec<String> {
    let form = [("grant_type", "client_credentials")];
    let mut texts = vec![client.issue(server, &form).await.text("access_token")];
    let (key, rng) = (ConsumerKey::from(client.id.as_str()), claviger::app::SystemEntropy::default());
    let mut conn = server.app().store.reader().await.unwrap();
    let known = claviger_store::clients::find(&mut conn, &key).await.unwrap().unwrap();
    let model = tokens::list_active_of_client(&mut conn, known.id, 1_000).await.unwrap().remove(0);
    drop(conn);
    let rows: Vec<Token> = (1..count)
        .map(|number| {
            let mut row = model.clone();
            let text = uuid(&rng);
            (row.id.0, row.hash) = (uuid(&rng), TokenHash::of(&text));
            row.identifier = Some(Secret::new(text));
            row.key.user = format!("user{number}");
            row
        })
        .collect();
    texts.extend(rows.iter().map(|row| row.identifier.as_ref().unwrap().expose().to_owned()));
    let rows = Arc::new(rows);
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let rows = rows.clone();
        Box::pin(async move {
            let idp = tokens::local_idp(conn, rows[0].key.tenant).await?;
            for row in rows.iter() {
                tokens::insert(conn, row, idp).await?;
            }
            Ok(())
        })
    });
    write.await.unwrap();
    texts
}

#[tokio::test]
async fn many_tokens_end_in_several_writes() {
    const TOKENS: usize = 1_100;
    on_every_engine("", async |server| {
        let largest = Arc::new(Mutex::new(0));
        let seen = largest.clone();
        server.app().store.on_commit(Arc::new(move |events: &[Event]| {
            let mut largest = seen.lock().unwrap();
            *largest = events.len().max(*largest);
        }));
        let client = register(server, "crowd", json!({})).await;
        for end in ["new secret", "deletion"] {
            let client = match end {
                "new secret" => client.clone(),
                _ => register(server, "crowd-2", json!({})).await,
            };
            let texts = insert_tokens(server, &client, TOKENS).await;
            let reply = match end {
                "new secret" => client.renew_secret(server).await,
                _ => client.delete(server).await,
            };
            assert!(matches!(reply.status, 200 | 204), "{} {end}: {reply:?}", server.engine);
            let told = Told::by(server).await;
            assert!(texts.iter().all(|text| told.is_dead(text)), "{} {end}", server.engine);
        }
        assert!(*largest.lock().unwrap() < TOKENS / 2 + 10, "{}: {largest:?} events in one write", server.engine);
    })
    .await;
}
