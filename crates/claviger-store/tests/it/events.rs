//! The event log.

use crate::database::on_every_engine;
use claviger_proto::event::Event;
use claviger_proto::follow::EventsRequest;
use claviger_proto::ids::{ApiId, EventId};
use claviger_proto::time::Timestamp;
use claviger_store::error::StoreError;
use claviger_store::events;
use claviger_store::line::Heard;
use claviger_store::sql::{Engine, Sql};
use std::sync::{Arc, Mutex};

fn changed(id: i64) -> Event {
    Event::ApiChanged { api_id: ApiId(id) }
}

#[tokio::test]
async fn events_come_in_order_and_gaps_can_be_asked_for() {
    on_every_engine(|store| async move {
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = told.clone();
        store.on_commit(Arc::new(move |events| listener.lock().unwrap().extend_from_slice(events)));
        let mut ids = Vec::new();
        for number in 0..20 {
            let emit = store.write::<_, StoreError, _>(move |conn| {
                Box::pin(async move { conn.emit(changed(number), Timestamp::from_secs(number)).await })
            });
            ids.push(emit.await.unwrap());
            assert_eq!(told.lock().unwrap().len(), ids.len(), "the listener was told before the write returned");
        }
        let mut conn = store.reader().await.unwrap();
        let page = events::list(&mut conn, &EventsRequest { after: ids[9], gaps: ids[..9].to_vec() }).await.unwrap();
        let numbers: Vec<EventId> = page.iter().map(|event| event.id).collect();
        assert_eq!(numbers, [&ids[..9], &ids[10..]].concat());
        assert_eq!(page[9].event, changed(10));
        assert_eq!(events::bounds(&mut conn).await.unwrap(), (ids[0], ids[19]));
    })
    .await;
}

#[tokio::test]
async fn a_failed_write_leaves_no_event_and_tells_nobody() {
    on_every_engine(|store| async move {
        let told = Arc::new(Mutex::new(0));
        let listener = told.clone();
        store.on_commit(Arc::new(move |_| *listener.lock().unwrap() += 1));
        let result = store
            .write::<(), StoreError, _>(|conn| {
                Box::pin(async move {
                    conn.emit(changed(1), Timestamp::from_secs(1)).await?;
                    Err(StoreError::Corrupt("on purpose".into()))
                })
            })
            .await;
        assert!(matches!(result, Err(StoreError::Corrupt(_))));
        let panicked = store
            .write::<(), StoreError, _>(|conn| {
                Box::pin(async move {
                    conn.emit(changed(2), Timestamp::from_secs(1)).await?;
                    panic!("on purpose");
                })
            })
            .await;
        assert!(matches!(panicked, Err(StoreError::Panicked)), "{panicked:?}");
        let mut conn = store.reader().await.unwrap();
        assert_eq!(events::bounds(&mut conn).await.unwrap(), (EventId(0), EventId(0)));
        assert_eq!(*told.lock().unwrap(), 0);
        let fine = store.write::<_, StoreError, _>(|conn| {
            Box::pin(async move { conn.emit(changed(3), Timestamp::from_secs(1)).await })
        });
        fine.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_is_only_told_is_not_in_the_log() {
    on_every_engine(|store| async move {
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = told.clone();
        store.on_commit(Arc::new(move |events| listener.lock().unwrap().extend_from_slice(events)));
        let write = |is_good: bool| {
            store.write::<(), StoreError, _>(move |conn| {
                Box::pin(async move {
                    conn.tell(changed(1));
                    if is_good { Ok(()) } else { Err(StoreError::Corrupt("on purpose".into())) }
                })
            })
        };
        assert!(write(false).await.is_err() && told.lock().unwrap().is_empty());
        write(true).await.unwrap();
        assert_eq!(*told.lock().unwrap(), [changed(1)]);
        let mut conn = store.reader().await.unwrap();
        assert_eq!(events::bounds(&mut conn).await.unwrap(), (EventId(0), EventId(0)));
    })
    .await;
}

/// Those who listen hear a call, a test only its caller; a line that is cut says so.
#[tokio::test]
async fn a_call_is_heard_by_every_line_and_a_test_by_its_caller() {
    static CUT: Sql = Sql::new(
        "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'",
        &[],
    );
    on_every_engine(|store| async move {
        let Some(mut a) = store.open_line("a").await.unwrap() else {
            assert_ne!(store.engine(), Engine::Postgres);
            return;
        };
        let mut b = store.open_line("b").await.unwrap().unwrap();
        store.test_line("a").await.unwrap();
        assert_eq!(a.hear().await.unwrap(), Heard::Own);
        store.call_nodes("a").await.unwrap();
        assert_eq!((a.hear().await.unwrap(), b.hear().await.unwrap()), (Heard::Own, Heard::News));
        store.call_nodes("b").await.unwrap();
        assert_eq!(
            (a.hear().await.unwrap(), b.hear().await.unwrap()),
            (Heard::News, Heard::Own),
            "it heard one call of a"
        );
        let mut c = store.open_line("c").await.unwrap().unwrap();
        let cut = store.reader().await.unwrap().row(&CUT, &[]).await.unwrap().unwrap();
        assert_eq!(cut.int(0).unwrap(), 3, "callers use the pool");
        for line in [&mut a, &mut b, &mut c] {
            assert!(line.hear().await.is_err());
        }
        let mut c_again = store.open_line("c").await.unwrap().unwrap();
        store.call_nodes("a").await.unwrap();
        assert_eq!(c_again.hear().await.unwrap(), Heard::News);
        for line in [a, b, c, c_again] {
            line.close().await;
        }
    })
    .await;
}
