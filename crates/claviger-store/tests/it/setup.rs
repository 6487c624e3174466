//! Preparing a database: several nodes at once, and starts that ended in the middle.

use crate::database::{on_every_engine, on_every_location, open, seed};
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::schema::{self, PrepareError, Prepared};
use claviger_store::sql::{Engine, Sql};
use futures_util::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_together_prepare_the_database_once() {
    on_every_location(|location| async move {
        let first = open(location.clone()).await;
        // A second server on one data directory is refused elsewhere: its lock is the directory's.
        let count = if first.engine() == Engine::Sqlite { 1 } else { 4 };
        let stores: Vec<_> =
            join_all((0..count).map(|_| open(location.clone()))).await.into_iter().chain([first]).collect();
        let start = |index: usize| {
            let store = stores[index].clone();
            async move {
                let lock = store.lock_start().await.unwrap();
                let prepared = schema::prepare(&store).await.unwrap();
                if prepared == Prepared::Created {
                    seed(&store).await;
                }
                lock.release().await;
                prepared
            }
        };
        let starts = if count == 1 { 1 } else { stores.len() };
        let prepared = join_all((0..starts).map(start)).await;
        assert_eq!(prepared.iter().filter(|it| **it == Prepared::Created).count(), 1, "{prepared:?}");
        for store in stores {
            store.close().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_start_that_ended_before_the_first_rows_is_taken_up_again() {
    on_every_location(|location| async move {
        let store = open(location).await;
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Created);
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Created, "the first rows are still missing");
        seed(&store).await;
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Found);
        store.close().await;
    })
    .await;
}

/// As a start leaves it that was killed while it made the tables.
#[tokio::test]
async fn half_a_schema_is_named_and_left_alone() {
    static STEP: Sql = Sql::new("INSERT INTO CLV_SETUP (STEP) VALUES ('TABLES')", &[]);
    static DROP: Sql = Sql::new("DROP TABLE REG_LOG", &[]);
    on_every_engine(|store| async move {
        run(&store, &STEP).await;
        run(&store, &DROP).await;
        let interrupted = schema::prepare(&store).await;
        assert!(matches!(interrupted, Err(PrepareError::Interrupted)), "{interrupted:?}");
        assert!(interrupted.unwrap_err().to_string().contains("drop the database"), "it says what to do");
    })
    .await;
}

#[tokio::test]
async fn tables_without_a_note_are_left_alone_too() {
    static OTHER: Sql = Sql::new("CREATE TABLE UM_TENANT (UM_ID INTEGER)", &[]);
    on_every_location(|location| async move {
        let store = open(location).await;
        run(&store, &OTHER).await;
        for _ in 0..2 {
            let incomplete = schema::prepare(&store).await;
            assert!(matches!(incomplete, Err(PrepareError::Incomplete { found: 1, .. })), "{incomplete:?}");
        }
        store.close().await;
    })
    .await;
}

async fn run(store: &Store, sql: &'static Sql) {
    let done = store.write::<u64, StoreError, _>(move |conn| Box::pin(conn.execute(sql, &[])));
    done.await.unwrap();
}
