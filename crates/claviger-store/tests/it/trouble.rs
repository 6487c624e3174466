//! Broken connections, a full disk, panics, caught errors: what was acknowledged is there, what failed is not, and the next
//! write works.

use crate::database::{Random, on_every_engine};
use claviger_proto::event::Event;
use claviger_proto::follow::EventsRequest;
use claviger_proto::ids::{ApiId, ConsumerKey, EventId, TenantId};
use claviger_proto::time::Timestamp;
use claviger_store::conn::Conn;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::events;
use claviger_store::registry::{self, NewResource};
use claviger_store::revocations;
use claviger_store::sql::{Engine, Sql};
use claviger_store::value::Arg;
use futures_util::future::{BoxFuture, join_all};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn changed(id: i64) -> Event {
    Event::ApiChanged { api_id: ApiId(id) }
}

async fn emit(store: &Store, id: i64) -> Result<EventId, StoreError> {
    store.write(move |conn| Box::pin(conn.emit(changed(id), NOW))).await
}

async fn stored(store: &Store) -> Vec<Event> {
    let mut conn = store.reader().await.unwrap();
    let request = EventsRequest { after: EventId(0), gaps: Vec::new() };
    events::list(&mut conn, &request).await.unwrap().into_iter().map(|numbered| numbered.event).collect()
}

static OWN_NUMBER: Sql =
    Sql::new("SELECT CONNECTION_ID()", &[(Engine::Postgres, "SELECT CAST(pg_backend_pid() AS BIGINT)")]);
static KILL: Sql = Sql::new("KILL ?", &[(Engine::Postgres, "SELECT pg_terminate_backend(CAST(? AS INTEGER))")]);

async fn number(conn: &mut Conn) -> i64 {
    conn.row(&OWN_NUMBER, &[]).await.unwrap().unwrap().int(0).unwrap()
}

async fn kill(store: &Store, number: i64) {
    // The server may answer the killer before it has done it; the next statement of the victim waits for nothing else.
    store.reader().await.unwrap().rows(&KILL, &[number.into()]).await.unwrap();
}

#[tokio::test]
async fn a_write_that_loses_its_connection_is_unavailable_and_the_next_one_works() {
    on_every_engine(|store| async move {
        if store.engine() == Engine::Sqlite {
            return;
        }
        let killer = store.clone();
        let lost = store
            .write::<EventId, StoreError, _>(move |conn| {
                let killer = killer.clone();
                Box::pin(async move {
                    conn.emit(changed(1), NOW).await?;
                    let own = number(conn).await;
                    kill(&killer, own).await;
                    conn.emit(changed(2), NOW).await
                })
            })
            .await;
        assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{:?}: {lost:?}", store.engine());
        // Lost between the last statement and the commit.
        let killer = store.clone();
        let lost = store
            .write::<(), StoreError, _>(move |conn| {
                let killer = killer.clone();
                Box::pin(async move {
                    conn.emit(changed(3), NOW).await?;
                    let own = number(conn).await;
                    kill(&killer, own).await;
                    Ok(())
                })
            })
            .await;
        assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{:?}: {lost:?}", store.engine());
        // Lost while it waited in the pool.
        let idle = number(&mut store.reader().await.unwrap()).await;
        let mut other = store.reader().await.unwrap();
        if number(&mut other).await != idle {
            other.rows(&KILL, &[idle.into()]).await.unwrap();
        }
        drop(other);
        emit(&store, 4).await.unwrap();
        assert_eq!(stored(&store).await, [changed(4)]);
    })
    .await;
}

/// A process that stands still with a transaction open: the server gives its locks back, and its statements wait no longer than
/// a write may take.
#[tokio::test]
async fn the_server_ends_a_transaction_that_stands_still() {
    static BOUNDS: Sql = Sql::new(
        "SELECT CAST(@@SESSION.innodb_lock_wait_timeout AS CHAR), CAST(@@SESSION.idle_transaction_timeout AS CHAR)",
        &[(
            Engine::Postgres,
            "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')",
        )],
    );
    on_every_engine(|store| async move {
        let expected = match store.engine() {
            Engine::Sqlite => return,
            Engine::MySql => ["30", "35"],
            Engine::Postgres => ["30s", "35s"],
        };
        let row = store.reader().await.unwrap().row(&BOUNDS, &[]).await.unwrap().unwrap();
        assert_eq!([row.text(0).unwrap(), row.text(1).unwrap()], expected, "{:?}", store.engine());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    static LIMIT: Sql = Sql::new("PRAGMA max_page_count = 1", &[]);
    static NO_LIMIT: Sql = Sql::new("PRAGMA max_page_count = 1000000", &[]);
    static CHECK: Sql = Sql::new("PRAGMA integrity_check", &[]);
    static INSERT: Sql = Sql::new("INSERT INTO CLV_EVENT (ID, PAYLOAD, CREATED_AT) VALUES (?, ?, 0)", &[]);
    static FIND: Sql = Sql::new("SELECT ID FROM CLV_EVENT WHERE ID = ?", &[]);
    on_every_engine(|store| async move {
        if store.engine() != Engine::Sqlite {
            return;
        }
        let pragma = |sql: &'static Sql| {
            let store = store.clone();
            async move {
                let set = store.write::<(), StoreError, _>(move |conn| {
                    Box::pin(async move { conn.rows(sql, &[]).await.map(|_| ()) })
                });
                set.await.unwrap();
            }
        };
        // The file may not grow from here on.
        pragma(&LIMIT).await;
        let write = |id: i64, bytes: usize| {
            let payload = "x".repeat(bytes);
            store.write::<(), StoreError, _>(move |conn| {
                let payload = payload.clone();
                Box::pin(async move {
                    conn.execute(&INSERT, &[id.into(), (&payload).into()]).await?;
                    Ok(())
                })
            })
        };
        let sizes = [10, 2_000_000, 20, 500_000, 30, 40, 100_000, 50];
        let results = join_all((1..).zip(sizes).map(|(id, bytes)| write(id, bytes))).await;
        assert!(results.iter().any(Result::is_err), "{results:?}");
        let mut conn = store.reader().await.unwrap();
        for (id, result) in (1..).zip(&results) {
            assert!(matches!(result, Ok(()) | Err(StoreError::Unavailable(_))), "{id}: {result:?}");
            let is_there = conn.row(&FIND, &[Arg::Int(Some(id))]).await.unwrap().is_some();
            assert_eq!(is_there, result.is_ok(), "{id}: {result:?}");
        }
        drop(conn);
        pragma(&NO_LIMIT).await;
        write(100, 2_000_000).await.unwrap();
        let mut conn = store.reader().await.unwrap();
        assert!(conn.row(&FIND, &[Arg::Int(Some(100))]).await.unwrap().is_some());
        assert_eq!(conn.row(&CHECK, &[]).await.unwrap().unwrap().text(0).unwrap(), "ok");
    })
    .await;
}

/// PostgreSQL refuses a transaction after a failed statement, and says "done" to its COMMIT.
#[tokio::test]
async fn a_caught_error_is_never_a_lost_write() {
    static INSERT: Sql = Sql::new("INSERT INTO CLV_EVENT (ID, PAYLOAD, CREATED_AT) VALUES (7000, '{}', 0)", &[]);
    on_every_engine(|store| async move {
        let told = Arc::new(AtomicUsize::new(0));
        let listener = told.clone();
        store.on_commit(Arc::new(move |_| {
            listener.fetch_add(1, Ordering::Relaxed);
        }));
        let written = store
            .write::<(), StoreError, _>(|conn| {
                Box::pin(async move {
                    conn.emit(changed(1), NOW).await?;
                    conn.execute(&INSERT, &[]).await?;
                    let again = conn.execute(&INSERT, &[]).await;
                    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
                    Ok(())
                })
            })
            .await;
        let is_there = stored(&store).await.contains(&changed(1));
        assert_eq!(written.is_ok(), is_there, "{:?}: {written:?}", store.engine());
        assert_eq!(told.load(Ordering::Relaxed), usize::from(is_there));
        emit(&store, 2).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn panics_of_others_do_not_end_the_writing() {
    on_every_engine(|store| async move {
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = told.clone();
        store.on_commit(Arc::new(|_| panic!("on purpose")));
        store.on_commit(Arc::new(move |events| listener.lock().unwrap().extend_from_slice(events)));
        emit(&store, 1).await.unwrap();
        // Before there is a future to poll.
        let panicked = store
            .write::<(), StoreError, _>(|conn| {
                assert!(conn.engine() == Engine::Sqlite && conn.engine() == Engine::MySql, "on purpose");
                Box::pin(async { Ok(()) })
            })
            .await;
        assert!(matches!(panicked, Err(StoreError::Panicked)), "{panicked:?}");
        emit(&store, 2).await.unwrap();
        assert_eq!(*told.lock().unwrap(), [changed(1), changed(2)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_of_a_resource_one_row_stays() {
    on_every_engine(|store| async move {
        let put = |number: i64| {
            store.write::<i64, StoreError, _>(move |conn| {
                Box::pin(async move {
                    let uuid = format!("uuid-{number}");
                    let new = NewResource {
                        tenant: TenantId::SUPER,
                        collection: "/_system/weather",
                        name: "api",
                        media_type: "x/api",
                        uuid: &uuid,
                        content: b"content",
                        user: "ann",
                        now: NOW,
                    };
                    registry::put(conn, &new, &Random).await
                }) as BoxFuture<'_, _>
            })
        };
        for round in 0..3 {
            let results = join_all((0..6).map(|number| put(10 * round + number))).await;
            assert!(results.iter().all(Result::is_ok), "{results:?}");
            let mut conn = store.reader().await.unwrap();
            let rows = registry::list_by_media_type(&mut conn, TenantId::SUPER, "x/api", 100).await.unwrap();
            assert_eq!(rows.len(), 1, "{:?}: {rows:?}", store.engine());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_only_grows() {
    on_every_engine(|store| async move {
        let revoke = |before: i64| {
            store.write::<(), StoreError, _>(move |conn| {
                Box::pin(async move {
                    let (before, end) = (Timestamp::from_secs(before), Timestamp::from_secs(before + 10));
                    revocations::insert_client(conn, &"Key_1".into(), before, end, NOW).await
                })
            })
        };
        let results = join_all([50, 90, 10, 30, 70, 20, 60].map(revoke)).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        revoke(5).await.unwrap();
        let mut conn = store.reader().await.unwrap();
        let clients = revocations::list_clients(&mut conn, Timestamp::from_secs(99)).await.unwrap();
        assert_eq!(clients, [(ConsumerKey::from("Key_1"), Timestamp::from_secs(90))]);
    })
    .await;
}
