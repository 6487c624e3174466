//! A node follows the log of its database: numbers that come late, in strides (a Galera cluster gives each server its own) and
//! after a jump.

use crate::harness::{Registered, Server, becomes_false, on_every_engine, on_sqlite, register};
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::time::{Clock as _, Timestamp};
use claviger_store::error::StoreError;
use claviger_store::events;
use claviger_store::sql::Sql;
use claviger_store::tokens::{self, TokenState};
use serde_json::json;

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
