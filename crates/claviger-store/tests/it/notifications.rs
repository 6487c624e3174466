//! Notifications: what waits, what was given up, and what goes.

use crate::cleaning::{clean, rules};
use crate::database::on_every_engine;
use crate::tokens::NOW;
use claviger_proto::ids::ConsumerKey;
use claviger_proto::time::Timestamp;
use claviger_store::cleaning::Table;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::notifications::{self, NewNotification};

const DAY_MS: i64 = 86_400_000;

/// Rows of a listener, one for each body, with the instant at which its token ends.
async fn insert(
    store: &Store,
    listener: &'static str,
    bodies: &'static [Result<&'static str, &'static str>],
    expires_at: Timestamp,
) {
    let write = store.write::<_, StoreError, _>(move |conn| {
        Box::pin(async move {
            let key = ConsumerKey::from("Key_1");
            let rows: Vec<_> = bodies
                .iter()
                .map(|body| NewNotification {
                    listener,
                    lane: "lane",
                    event_id: "00000000-0000-4000-8000-000000000000",
                    consumer_key: &key,
                    body: *body,
                    created: NOW,
                    expires_at,
                })
                .collect();
            notifications::insert(conn, &rows).await
        })
    });
    write.await.unwrap();
}

async fn waiting(store: &Store, listener: &str) -> Vec<(i64, String)> {
    let rows = notifications::list(&mut store.reader().await.unwrap(), listener, 0, 100).await.unwrap();
    rows.into_iter().map(|row| (row.id, row.body)).collect()
}

#[tokio::test]
async fn what_waits_is_listed_in_order_and_what_was_given_up_apart() {
    on_every_engine(|store| async move {
        insert(&store, "a", &[Ok("1"), Ok("2"), Err("its text is not known"), Ok("3")], NOW).await;
        insert(&store, "b", &[Ok("other")], NOW).await;
        let rows = waiting(&store, "a").await;
        assert_eq!(rows.iter().map(|row| row.1.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
        let mut conn = store.reader().await.unwrap();
        let page = notifications::list(&mut conn, "a", rows[0].0, 1).await.unwrap();
        assert_eq!((page.len(), page[0].id, page[0].created), (1, rows[1].0, NOW));
        assert_eq!(notifications::count(&mut conn, "a").await.unwrap(), [3, 1]);
        assert_eq!(notifications::find_oldest(&mut conn, "a").await.unwrap(), Some(NOW));
        assert_eq!(notifications::find_oldest(&mut conn, "nobody").await.unwrap(), None);
        let first = rows[0].0;
        let later = NOW.plus_millis(5);
        let bury = store.write::<_, StoreError, _>(move |conn| {
            Box::pin(async move { notifications::bury(conn, first, &"no ".repeat(1_000), later).await })
        });
        bury.await.unwrap();
        let dead = notifications::list_dead(&mut conn, "a", 10).await.unwrap();
        assert_eq!(dead.iter().map(|letter| letter.died_at).collect::<Vec<_>>(), [later, NOW]);
        assert_eq!(dead.iter().map(|letter| letter.has_body).collect::<Vec<_>>(), [true, false]);
        assert_eq!((dead[0].reason.chars().count(), dead[1].reason.as_str()), (400, "its text is not known"));
        assert_eq!(dead[1].consumer_key, "Key_1");
        // The one that has no body stays where it is.
        let revive =
            || store.write::<_, StoreError, _>(|conn| Box::pin(async move { notifications::revive(conn, "a").await }));
        assert_eq!((revive().await.unwrap(), revive().await.unwrap()), (1, 0));
        assert_eq!(waiting(&store, "a").await, rows);
        let ids: Vec<i64> = rows.iter().map(|row| row.0).collect();
        let delete = store.write::<_, StoreError, _>(move |conn| {
            let ids = ids.clone();
            Box::pin(async move { notifications::delete(conn, &ids).await })
        });
        assert_eq!(delete.await.unwrap(), 3);
        assert_eq!(notifications::count(&mut conn, "a").await.unwrap(), [0, 1]);
        assert_eq!(waiting(&store, "b").await.len(), 1, "{:?}", store.engine());
    })
    .await;
}

#[tokio::test]
async fn what_nobody_needs_to_know_is_cleaned() {
    on_every_engine(|store| async move {
        insert(&store, "a", &[Ok("ended")], NOW.plus_millis(DAY_MS)).await;
        insert(&store, "a", &[Ok("lives"), Err("given up")], Timestamp::NEVER).await;
        insert(&store, "a", &[Err("given up, and ended")], NOW).await;
        let after_days = async |days: i64| {
            clean(&store, Table::Notifications, rules(NOW.plus_millis(days * DAY_MS))).await;
            let [waiting, dead] = notifications::count(&mut store.reader().await.unwrap(), "a").await.unwrap();
            [waiting, dead]
        };
        assert_eq!(after_days(2).await, [2, 2], "{:?}: a day after the end", store.engine());
        assert_eq!(after_days(3).await, [1, 2], "{:?}", store.engine());
        assert_eq!(after_days(30).await, [1, 2], "{:?}", store.engine());
        assert_eq!(after_days(31).await, [0, 0], "{:?}", store.engine());
    })
    .await;
}
