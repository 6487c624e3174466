//! Many writers at once: nothing is lost, nothing is half done.

use crate::clients::{insert as insert_client, new_client};
use crate::database::on_every_engine;
use crate::tokens::{insert, token};
use claviger_store::error::StoreError;
use claviger_store::tokens;
use futures_util::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn of_many_equal_inserts_one_wins() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let all: Vec<_> = (0..40).map(|_| token(client.id, "a b c")).collect();
        let results = join_all(all.iter().map(|token| insert(&store, token))).await;
        let won = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(won, 1, "{results:?}");
        assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(StoreError::Conflict(_)))), "{results:?}");
        let mut conn = store.reader().await.unwrap();
        assert_eq!(tokens::list_active_of_client(&mut conn, client.id, 1_000).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_insert_is_there() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let all: Vec<_> = (0..200).map(|number| token(client.id, &format!("scope{number}"))).collect();
        let results = join_all(all.iter().map(|token| insert(&store, token))).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let mut conn = store.reader().await.unwrap();
        for token in &all {
            let found = tokens::find_by_access(&mut conn, token.identifier.as_ref().unwrap().expose()).await.unwrap();
            assert_eq!(found.unwrap().key, token.key);
        }
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_undo_the_write() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let orphan = token(client.id, "a");
        let mut write = Box::pin(insert(&store, &orphan));
        // Poll once, so that the write is under way, and then drop it.
        drop(futures_util::poll!(write.as_mut()));
        drop(write);
        // The next write of the same key is ordered behind it, on whichever engine.
        let next = insert(&store, &token(client.id, "a")).await;
        let mut conn = store.reader().await.unwrap();
        let active = tokens::list_active_of_client(&mut conn, client.id, 1_000).await.unwrap();
        assert_eq!(active.len(), 1, "{next:?}");
    })
    .await;
}
