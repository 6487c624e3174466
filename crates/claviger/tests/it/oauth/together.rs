//! Tokens that are asked for at the same time and written in one transaction: each request gets its own answer, whatever
//! becomes of its neighbours.

use crate::harness::{Registered, Reply, Server, on_every_engine, register};
use claviger_proto::ids::ConsumerKey;
use claviger_store::clients::{self, Hold};
use claviger_store::error::StoreError;
use claviger_store::sql::Engine;
use futures_util::future::join_all;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// More than there are places in the transactions of one moment.
const CLIENTS: usize = 24;
const RENEWED: &str = "[oauth.token_renewal]\nrenew_access_token_per_request = true\n";

async fn register_many(server: &Server, name: &str, token_type: &str) -> Vec<Registered> {
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(register(server, &format!("{name}{number}"), json!({ "token_type_extension": token_type })).await);
    }
    clients
}

async fn ask(server: &Server, client: &Registered, scope: &str) -> Reply {
    client.token(server, &[("grant_type", "client_credentials"), ("scope", scope)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_gets_its_own_token() {
    on_every_engine(RENEWED, async |server| {
        let mut clients = register_many(server, "opaque", "Default").await;
        clients.extend(register_many(server, "jwt", "JWT").await);
        let mut before: Vec<String> = Vec::new();
        // The second time every active token is replaced.
        for _ in 0..2 {
            let requests = clients.iter().flat_map(|client| ["read write", ""].map(|scope| (client, scope)));
            let replies = join_all(requests.map(async |(client, scope)| {
                let reply = ask(server, client, scope).await;
                assert_eq!(reply.status, 200, "{}: {reply:?}", server.engine);
                let token = reply.text("access_token");
                let found = server.introspect(&token).await;
                assert_eq!(
                    (&found["active"], &found["client_id"]),
                    (&json!(true), &json!(client.id)),
                    "{}",
                    server.engine
                );
                let expected = if scope.is_empty() { "default" } else { scope };
                assert_eq!(reply.text("scope"), expected, "{}", server.engine);
                token
            }));
            let tokens = replies.await;
            for token in &before {
                assert!(!server.is_active(token).await, "{}: a replaced token lives on", server.engine);
            }
            for client in &clients {
                assert_eq!(server.active_rows(&client.id).await, 2, "{}: {}", server.engine, client.id);
            }
            before = tokens;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_fails_takes_no_other_with_it() {
    on_every_engine("", async |server| {
        let clients = register_many(server, "neighbour", "Default").await;
        let too_long = "s".repeat(100);
        let replies = join_all(clients.iter().enumerate().map(async |(number, client)| {
            let scope = if number % 5 == 0 { too_long.as_str() } else { "read" };
            ask(server, client, scope).await
        }));
        for (number, reply) in replies.await.iter().enumerate() {
            let expected = if number % 5 == 0 { 400 } else { 200 };
            assert_eq!(reply.status, expected, "{} {number}: {reply:?}", server.engine);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_client_that_is_held() {
    on_every_engine("", async |server| {
        // The one writer of the embedded database holds everybody up.
        let store = server.app().store.clone();
        if store.engine() == Engine::Sqlite {
            return;
        }
        assert!(store.can_skip_held(), "{}", server.engine);
        let registered = register_many(server, "held", "JWT").await;
        let key = ConsumerKey::from(registered[0].id.as_str());
        let client = Arc::new(clients::find(&mut store.reader().await.unwrap(), &key).await.unwrap().unwrap());
        let (is_held, may_end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let holding = store.write::<_, StoreError, _>({
            let (is_held, may_end) = (is_held.clone(), may_end.clone());
            move |conn| {
                let (client, is_held, may_end) = (client.clone(), is_held.clone(), may_end.clone());
                Box::pin(async move {
                    clients::hold(conn, &client, Hold::Alone).await?;
                    is_held.add_permits(1);
                    may_end.acquire().await.unwrap().forget();
                    Ok(())
                })
            }
        });
        let asking = async {
            is_held.acquire().await.unwrap().forget();
            // More than the pool has connections.
            let scopes: Vec<String> = (0..80).map(|number| format!("read{number}")).collect();
            let mut waiting = std::pin::pin!(join_all(scopes.iter().map(|scope| ask(server, &registered[0], scope))));
            // Until those of the held client have long gone their own way.
            let until = Instant::now() + Duration::from_secs(1);
            let others = async {
                let mut replies = Vec::new();
                while Instant::now() < until {
                    replies.extend(join_all(registered[1..].iter().map(|client| ask(server, client, "read"))).await);
                }
                replies
            };
            let others = tokio::select! {
                biased;
                replies = &mut waiting => panic!("{}: the client is held, and yet: {replies:?}", server.engine),
                others = tokio::time::timeout(Duration::from_secs(20), others) => others.expect("they wait too"),
            };
            for reply in others {
                assert_eq!(reply.status, 200, "{}: {reply:?}", server.engine);
            }
            may_end.add_permits(1);
            let own = waiting.await;
            assert_eq!(own.iter().filter(|reply| !matches!(reply.status, 200 | 503)).count(), 0, "{}", server.engine);
            assert!(own.iter().any(|reply| reply.status == 200), "{}: nobody got anything", server.engine);
        };
        let (held, ()) = tokio::join!(holding, asking);
        held.unwrap();
    })
    .await;
}
