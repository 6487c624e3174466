//! Tenants' key stores in the registry: found by tenant and exact name, told apart by their marks.

use crate::database::{Random, on_every_engine};
use claviger_proto::ids::TenantId;
use claviger_proto::time::Timestamp;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::key_stores::{self, COLLECTION, name_of};
use claviger_store::registry::{self, NewResource};
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp::from_secs(1_767_694_000);

async fn put(store: &Store, tenant: TenantId, name: &str, (content, now): (&'static [u8], Timestamp)) {
    let name = name.to_owned();
    let write = store.write::<_, StoreError, _>(move |conn| {
        let name = name.clone();
        Box::pin(async move {
            let (media_type, uuid) = ("application/octet-stream", format!("uuid of {tenant} {name}"));
            let new = NewResource {
                tenant,
                collection: COLLECTION,
                name: &name,
                media_type,
                uuid: &uuid,
                content,
                user: "wso2.system.user",
                now,
            };
            let path = registry::put(conn, &new, &Random).await?;
            let properties = BTreeMap::from([("password".to_owned(), format!("of {tenant}"))]);
            registry::set_properties(conn, tenant, (path, &name), &properties).await
        })
    });
    write.await.unwrap();
}

#[tokio::test]
async fn a_tenants_key_store_is_found_and_its_change_seen() {
    on_every_engine(|store| async move {
        let (acme, other) = (TenantId(1), TenantId(2));
        let mut conn = store.reader().await.unwrap();
        assert_eq!(key_stores::find_mark(&mut conn, acme, "acme.com").await.unwrap(), None);
        assert!(key_stores::list_marks(&mut conn).await.unwrap().is_empty());
        drop(conn);
        assert_eq!(name_of("a.b.acme.com"), "a-b-acme-com.jks");
        put(&store, acme, "acme-com.jks", (b"first", NOW)).await;
        // The tenant's collection holds others too, and other tenants have theirs.
        put(&store, acme, "uploaded.jks", (b"somebody's", NOW)).await;
        put(&store, other, "ACME-COM.jks", (b"of another", NOW)).await;

        let mut conn = store.reader().await.unwrap();
        let first = key_stores::find(&mut conn, acme, "acme.com").await.unwrap().unwrap();
        assert_eq!((first.bytes.as_slice(), first.properties["password"].as_str()), (&b"first"[..], "of 1"));
        assert_eq!(key_stores::find_mark(&mut conn, acme, "acme.com").await.unwrap(), Some(first.mark));
        // MySQL's collation takes one spelling for the other.
        assert!(key_stores::find(&mut conn, other, "acme.com").await.unwrap().is_none());
        assert_eq!(key_stores::find_mark(&mut conn, other, "acme.com").await.unwrap(), None);
        let marks = key_stores::list_marks(&mut conn).await.unwrap();
        assert_eq!(marks.len(), 3, "{marks:?}");
        assert_eq!(marks[&(acme, name_of("acme.com"))], first.mark);
        drop(conn);

        // With the same bytes: other rows, or the same numbers and a later time.
        put(&store, acme, "acme-com.jks", (b"first", NOW.plus_millis(1))).await;
        let mut conn = store.reader().await.unwrap();
        let second = key_stores::find_mark(&mut conn, acme, "acme.com").await.unwrap().unwrap();
        assert_ne!(second, first.mark);
        assert_eq!(key_stores::list_marks(&mut conn).await.unwrap()[&(acme, name_of("acme.com"))], second);
    })
    .await;
}
