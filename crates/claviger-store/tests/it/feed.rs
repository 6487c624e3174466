//! What is read of all APIs at once is what is read of each; what a key manager tells is kept once.

use crate::database::on_every_engine;
use crate::plan_rows;
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ApiId, ApplicationId, TenantId};
use claviger_proto::time::Timestamp;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::revocations::{self, Received};
use claviger_store::{apis, applications, feed};
use std::sync::{Arc, Mutex};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

#[tokio::test]
async fn pages_of_resources_are_those_of_each_api() {
    on_every_engine(|store| async move {
        plan_rows::fill(&store).await;
        let mut conn = store.reader().await.unwrap();
        let all = feed::list_url_mappings(&mut conn).await.unwrap();
        let rows = apis::list(&mut conn).await.unwrap();
        assert_eq!((all.len(), rows.len()), (1_000, 1_000), "{:?}", store.engine());
        // The first and last of some pages, and what lies between.
        for row in rows.iter().step_by(37).chain(rows.last()) {
            let own = apis::list_url_mappings(&mut conn, row.id).await.unwrap();
            assert!(own.len() > 1 && own.iter().all(|mapping| mapping.scopes.len() == 1), "{own:?}");
            assert_eq!(all[&row.id], own, "{:?}", store.engine());
            let by_context = apis::list_by_context(&mut conn, &row.context).await.unwrap();
            assert_eq!(by_context, std::slice::from_ref(row));
        }
        assert!(apis::list_by_context(&mut conn, "/CONTEXT_1/1.0.0").await.unwrap().is_empty());
        assert!(feed::list_product_resources(&mut conn, ApiId(100_500)).await.unwrap().is_empty());
        let attributes = feed::list_attributes(&mut conn).await.unwrap();
        let id = ApplicationId(100_500);
        assert_eq!(attributes[&id], applications::attributes(&mut conn, id).await.unwrap());
    })
    .await;
}

async fn take(store: &Store, event_id: &'static str, token: &'static str, token_type: &'static str) -> bool {
    let write = store.write::<_, StoreError, _>(move |conn| {
        let expires_at = NOW.plus_millis(60_000);
        let received = Received { event_id, token, token_type, tenant_id: TenantId::SUPER, expires_at };
        Box::pin(async move { revocations::insert_received(conn, &received, NOW).await })
    });
    write.await.unwrap()
}

#[tokio::test]
async fn what_a_key_manager_tells_is_kept_and_told_once() {
    on_every_engine(|store| async move {
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = told.clone();
        store.on_commit(Arc::new(move |events: &[Event]| listener.lock().unwrap().extend_from_slice(events)));
        assert!(take(&store, "event-1", "a-jti", "JWT").await);
        assert!(!take(&store, "event-1", "a-jti", "JWT").await, "the same once more");
        assert!(!take(&store, "event-2", "a-jti", "JWT").await, "another event for a JWT that has its row");
        assert!(take(&store, "event-3", "opaque", "Default").await);
        assert!(!take(&store, "event-3", "opaque", "Default").await, "the same once more");
        let mut conn = store.reader().await.unwrap();
        let listed = revocations::list_jwts(&mut conn, NOW).await.unwrap();
        let names: Vec<_> =
            listed.iter().map(|row| (row.name.as_str(), row.expires_at.as_secs() - NOW.as_secs())).collect();
        assert_eq!(names, [("a-jti", 60), ("opaque", 60)], "{:?}", store.engine());
        assert!(revocations::is_token_revoked(&mut conn, TokenHash::of("opaque")).await.unwrap());
        assert!(revocations::list_jwts(&mut conn, NOW.plus_millis(60_000)).await.unwrap().is_empty());
        let told = std::mem::take(&mut *told.lock().unwrap());
        let of = |text| Event::TokenRevoked { token: TokenHash::of(text), expires_at: NOW.plus_millis(60_000) };
        assert_eq!(told, [of("a-jti"), of("opaque")], "{:?}", store.engine());
    })
    .await;
}

#[tokio::test]
async fn a_long_list_is_read_whole() {
    on_every_engine(|store| async move {
        // Some ten thousand rows, of which those with a later end matter.
        plan_rows::fill(&store).await;
        let mut conn = store.reader().await.unwrap();
        let all = revocations::list_jwts(&mut conn, Timestamp::from_millis(-1)).await.unwrap().len();
        let later = revocations::list_jwts(&mut conn, Timestamp::from_millis(499)).await.unwrap().len();
        assert_eq!((all, later), (29 * 1_000, 29 * 501), "{:?}", store.engine());
    })
    .await;
}

#[tokio::test]
async fn a_revoked_user_is_listed_with_the_latest_instant() {
    on_every_engine(|store| async move {
        for seconds in [10, 30, 20] {
            let write = store.write::<_, StoreError, _>(move |conn| {
                let before = Timestamp::from_secs(seconds);
                Box::pin(
                    async move { revocations::insert_user(conn, "bob@acme.com", before, Timestamp::NEVER, NOW).await },
                )
            });
            write.await.unwrap();
        }
        let mut conn = store.reader().await.unwrap();
        let expected = Timestamp::from_secs(30);
        assert_eq!(revocations::find_user(&mut conn, "bob@acme.com").await.unwrap(), Some(expected));
        assert_eq!(revocations::list_users(&mut conn, NOW).await.unwrap(), [("bob@acme.com".to_owned(), expected)]);
        assert!(revocations::list_clients(&mut conn, NOW).await.unwrap().is_empty());
    })
    .await;
}
