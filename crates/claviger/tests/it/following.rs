//! A node follows the log of its database: numbers that come late, in strides (a Galera cluster gives each server its own) and
//! after a jump; and what another node wrote after a quiet time, with and without PostgreSQL's notifications.

use crate::harness::{
    Database, Options, Registered, Server, becomes_false, databases, on_every_engine, on_sqlite, on_two_nodes_with,
    register,
};
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::time::{Clock as _, Timestamp};
use claviger_store::error::StoreError;
use claviger_store::events;
use claviger_store::sql::Sql;
use claviger_store::tokens::{self, TokenState};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

static INSERT: Sql = Sql::new("INSERT INTO CLV_EVENT (ID, PAYLOAD, CREATED_AT) VALUES (?, ?, ?)", &[]);

/// Writes events with these numbers, as another node does.
async fn insert_events(server: &Server, ids: Vec<i64>, event: &Event) {
    let (payload, now) = (serde_json::to_string(event).unwrap(), server.clock.now());
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let (ids, payload) = (ids.clone(), payload.clone());
        Box::pin(async move {
            for id in ids {
                conn.execute(&INSERT, &[id.into(), (&payload).into(), now.as_millis().into()]).await?;
            }
            Ok(())
        })
    });
    write.await.unwrap();
}

async fn last_event(server: &Server) -> i64 {
    let mut conn = server.app().store.reader().await.unwrap();
    events::bounds(&mut conn).await.unwrap().1.0
}

/// Waits until the node has read what is in the log now. The step that is under way may have begun before.
async fn wait_for_follower(server: &Server) {
    let lag = &server.app().metrics.event_lag;
    for _ in 0..2 {
        lag.set(1);
        assert!(becomes_false(async || lag.get() != 0).await, "{}", server.engine);
    }
}

/// A token that the server knows as active and that is revoked with this number by somebody else.
async fn revoke_elsewhere(server: &Server, client: &Registered, id: i64) -> String {
    let text = client.application_token(server).await;
    assert!(server.is_active(&text).await);
    let identifier = text.clone();
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let identifier = identifier.clone();
        Box::pin(async move {
            let token = tokens::find_by_access(conn, &identifier).await?.unwrap();
            tokens::retire(conn, &token, TokenState::Revoked, "elsewhere").await
        })
    });
    assert!(write.await.unwrap());
    let event = Event::TokenRevoked { token: TokenHash::of(&text), expires_at: Timestamp::NEVER };
    insert_events(server, vec![id], &event).await;
    text
}

#[tokio::test]
async fn a_late_number_among_strides_is_not_lost() {
    on_every_engine("", async |server| {
        let client = register(server, "strides", json!({})).await;
        let first = last_event(server).await + 500;
        let ids: Vec<i64> = (0..5_500).map(|turn| first + 3 * turn).collect();
        insert_events(server, ids, &Event::KeysChanged).await;
        wait_for_follower(server).await;
        let late = revoke_elsewhere(server, &client, first + 1).await;
        assert!(becomes_false(async || server.is_active(&late).await).await, "{}: never heard of it", server.engine);
    })
    .await;
}

#[tokio::test]
async fn a_jump_of_the_numbers_stops_nobody() {
    on_sqlite("", async |server| {
        let client = register(server, "jump", json!({})).await;
        let far = last_event(server).await + 10_000_000;
        insert_events(server, vec![far], &Event::KeysChanged).await;
        wait_for_follower(server).await;
        let next = revoke_elsewhere(server, &client, far + 1_000).await;
        assert!(becomes_false(async || server.is_active(&next).await).await, "never heard of it");
    })
    .await;
}

/// Where PostgreSQL notifies of events nothing else tells of them in the time of a test.
const NOTIFIED_ONLY: &str = "[events]\nslow_poll_interval_ms = 3600000\n";
/// Revocations after a quiet time each.
const REVOCATIONS: usize = 20;
/// The median of their times is far below what a second look at the slow pace would take; the goal is 50 ms on an idle machine.
const MEDIAN_MAX: Duration = Duration::from_millis(250);

/// Waits until nodes are quiet: PostgreSQL's hear each other, the others look as seldom as they ever do.
async fn wait_for_quiet(nodes: &[&Server]) {
    for node in nodes {
        let app = node.app();
        if node.engine == "PostgreSQL" {
            assert!(becomes_false(async || !app.events.is_told()).await, "{}: hears nothing", node.engine);
        } else {
            let looks = app.metrics.event_reads.get();
            assert!(becomes_false(async || app.metrics.event_reads.get() < looks + 10).await, "{}", node.engine);
        }
    }
}

/// Revokes a token at one node that the other knows as active: how long the other goes on to accept it.
async fn revoke_at(a: &Server, b: &Server, client: &Registered) -> Duration {
    let token = client.application_token(a).await;
    assert!(b.is_active(&token).await, "{}", a.engine);
    assert_eq!(client.revoke(a, &[("token", &token)]).await.status, 200);
    let revoked = Instant::now();
    assert!(becomes_false(async || b.is_active(&token).await).await, "{}: never heard of it", b.engine);
    revoked.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_node_hears_of_a_revocation_at_once() {
    on_two_nodes_with(NOTIFIED_ONLY, async |a, b| {
        let client = register(a, "quiet", json!({})).await;
        let mut times = Vec::new();
        for turn in 0..REVOCATIONS {
            wait_for_quiet(&[a, b]).await;
            let (from, to) = if turn % 2 == 0 { (a, b) } else { (b, a) };
            times.push(revoke_at(from, to, &client).await);
        }
        times.sort_unstable();
        println!("{}: from revocation to refusal by the other node: {times:?}", a.engine);
        assert!(times[REVOCATIONS / 2] < MEDIAN_MAX, "{}: {times:?}", a.engine);
    })
    .await;
}

/// The first of two numbers is committed last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_committed_late_is_not_lost() {
    on_two_nodes_with(NOTIFIED_ONLY, async |a, b| {
        let client = register(a, "late", json!({})).await;
        wait_for_quiet(&[a, b]).await;
        let [late, early] = [client.issue(a, &scoped("late")).await, client.issue(a, &scoped("early")).await];
        let [late, early] = [late.text("access_token"), early.text("access_token")];
        assert!(b.is_active(&late).await && b.is_active(&early).await, "{}", a.engine);
        let (numbered, may_commit) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (hash, now, took, waits) = (TokenHash::of(&late), a.clock.now(), numbered.clone(), may_commit.clone());
        let store = a.app().store.clone();
        let text = late.clone();
        let write = tokio::spawn(async move {
            let write = store.write::<_, StoreError, _>(move |conn| {
                let (took, waits, text) = (took.clone(), waits.clone(), text.clone());
                Box::pin(async move {
                    conn.emit(Event::TokenRevoked { token: hash, expires_at: Timestamp::NEVER }, now).await?;
                    let token = tokens::find_by_access(conn, &text).await?.unwrap();
                    tokens::retire(conn, &token, TokenState::Revoked, "late").await?;
                    took.add_permits(1);
                    // Given back at once: the closure may run again.
                    drop(waits.acquire().await.unwrap());
                    Ok(())
                })
            });
            write.await
        });
        drop(numbered.acquire().await.unwrap());
        let revoked = tokio::spawn(emit_revoked(a.app().store.clone(), early.clone(), now));
        revoked.await.unwrap();
        assert!(becomes_false(async || b.is_active(&early).await).await, "{}: the later number", b.engine);
        assert!(b.is_active(&late).await, "{}: it is not committed", b.engine);
        may_commit.add_permits(1);
        write.await.unwrap().unwrap();
        assert!(becomes_false(async || b.is_active(&late).await).await, "{}: never heard of it", b.engine);
        // Both go on.
        revoke_at(b, a, &client).await;
    })
    .await;
}

fn scoped(scope: &'static str) -> [(&'static str, &'static str); 2] {
    [("grant_type", "client_credentials"), ("scope", scope)]
}

/// Revokes a token with the store's own means.
async fn emit_revoked(store: claviger_store::db::Store, text: String, now: Timestamp) {
    let write = store.write::<_, StoreError, _>(move |conn| {
        let text = text.clone();
        Box::pin(async move {
            let token = tokens::find_by_access(conn, &text).await?.unwrap();
            tokens::retire(conn, &token, TokenState::Revoked, "early").await?;
            conn.emit(Event::TokenRevoked { token: token.hash, expires_at: Timestamp::NEVER }, now).await
        })
    });
    write.await.unwrap();
}

/// Ends every connection that listens, as an administrator or a failing server does.
const CUT: &str = "SELECT CAST(COUNT(pg_terminate_backend(pid)) AS TEXT) FROM pg_stat_activity WHERE datname = current_database() \
                   AND query LIKE 'LISTEN %'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_while_nobody_listens_is_found() {
    for database in databases().await {
        if let Database::Postgres { .. } = database {
            let options = || Options { sections: NOTIFIED_ONLY, ..Options::default() };
            let a = Server::start(&database, options()).await;
            let b = Server::start(&database, Options { clock: Some(a.clock.clone()), ..options() }).await;
            let client = register(&a, "cut", json!({})).await;
            for _ in 0..3 {
                wait_for_quiet(&[&a, &b]).await;
                let token = client.application_token(&a).await;
                assert!(b.is_active(&token).await);
                assert_eq!(database.ask(CUT).await.unwrap()[0][0], "2", "one line for each node");
                assert_eq!(client.revoke(&a, &[("token", &token)]).await.status, 200);
                assert!(becomes_false(async || b.is_active(&token).await).await, "never heard of it");
            }
            wait_for_quiet(&[&a, &b]).await;
            revoke_at(&a, &b, &client).await;
            a.stop().await;
            b.stop().await;
        }
        database.remove().await;
    }
}
