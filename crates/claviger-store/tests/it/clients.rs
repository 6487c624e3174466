//! OAuth clients with their service providers.

use crate::database::{Random, on_every_engine};
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::oauth::TokenType;
use claviger_proto::secret::Secret;
use claviger_store::clients::{self, ClientSettings, Hold, Lifetimes, NewClient};
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::sql::Engine;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

pub(crate) fn new_client(name: &str, key: &str) -> NewClient {
    NewClient {
        key: key.into(),
        secret: Secret::new("client-secret"),
        owner: "admin".into(),
        owner_domain: "PRIMARY".into(),
        tenant: TenantId::SUPER,
        settings: ClientSettings {
            name: name.into(),
            callback: String::new(),
            grants: vec!["client_credentials".into(), "password".into()],
            token_type: TokenType::Jwt.into(),
            is_pkce_mandatory: false,
            may_pkce_be_plain: true,
            is_public: false,
            is_refresh_renewed: Some(false),
            lifetimes: Lifetimes { user_s: 60, application_s: 61, refresh_s: 62, id_s: 63 },
        },
        is_saas: false,
        provider_uuid: claviger_proto::entropy::uuid(&Random),
    }
}

pub(crate) async fn insert(store: &Store, client: NewClient) -> Result<clients::Client, StoreError> {
    store
        .write(move |conn| {
            let client = client.clone();
            Box::pin(async move {
                clients::insert(conn, &client).await?;
                clients::find(conn, &client.key).await?.ok_or_else(|| StoreError::Corrupt("not found".into()))
            })
        })
        .await
}

#[tokio::test]
async fn a_client_is_read_as_it_was_registered() {
    on_every_engine(|store| async move {
        let client = insert(&store, new_client("shop", "Key_1234567890abc")).await.unwrap();
        let registered = new_client("shop", "Key_1234567890abc");
        assert_eq!(client.settings, registered.settings);
        assert!(client.is_active && client.secret.is_equal("client-secret"));
        let mut conn = store.reader().await.unwrap();
        let other_case = ConsumerKey::from("KEY_1234567890ABC");
        assert!(clients::find(&mut conn, &other_case).await.unwrap().is_none(), "ids are exact on every collation");
        let by_name = clients::find_key_by_name(&mut conn, TenantId::SUPER, "shop").await.unwrap();
        assert_eq!(by_name, Some(Some(client.key)));
        let other_name = clients::find_key_by_name(&mut conn, TenantId::SUPER, "SHOP").await.unwrap();
        assert!(matches!(other_name, None | Some(None)), "nobody gets the client of another spelling: {other_name:?}");
    })
    .await;
}

#[tokio::test]
async fn names_and_ids_are_taken_once() {
    on_every_engine(|store| async move {
        insert(&store, new_client("shop", "Key_1")).await.unwrap();
        let same_name = insert(&store, new_client("shop", "Key_2")).await;
        assert!(matches!(same_name, Err(StoreError::Conflict(_))), "{same_name:?}");
        let same_key = insert(&store, new_client("shop2", "Key_1")).await;
        assert!(matches!(same_key, Err(StoreError::Conflict(_))), "{same_key:?}");
        let mut conn = store.reader().await.unwrap();
        let left = clients::find_key_by_name(&mut conn, TenantId::SUPER, "shop2").await.unwrap();
        assert_eq!(left, None, "a failed registration leaves no service provider behind");
    })
    .await;
}

#[tokio::test]
async fn an_update_and_a_delete_reach_every_table() {
    on_every_engine(|store| async move {
        let client = insert(&store, new_client("shop", "Key_1")).await.unwrap();
        let changed =
            ClientSettings { name: "shop two".into(), token_type: TokenType::Opaque.into(), ..client.settings.clone() };
        let read = store
            .write::<_, StoreError, _>({
                let (client, changed) = (client.clone(), changed.clone());
                move |conn| {
                    let (client, changed) = (client.clone(), changed.clone());
                    Box::pin(async move {
                        clients::update(conn, &client, &changed).await?;
                        clients::update_secret(conn, &client, &Secret::new("other")).await?;
                        clients::find(conn, &client.key).await
                    })
                }
            })
            .await
            .unwrap()
            .unwrap();
        assert_eq!(read.settings, changed);
        assert!(read.secret.is_equal("other"));
        let key = client.key.clone();
        let left = store
            .write::<_, StoreError, _>(move |conn| {
                let (read, key) = (read.clone(), key.clone());
                Box::pin(async move {
                    clients::delete(conn, &read).await?;
                    Ok((
                        clients::find(conn, &key).await?.is_some(),
                        clients::find_key_by_name(conn, TenantId::SUPER, "shop two").await?,
                    ))
                })
            })
            .await
            .unwrap();
        assert_eq!(left, (false, None));
        insert(&store, new_client("shop two", "Key_1")).await.unwrap();
    })
    .await;
}

/// Two writers who share the client all the time, each until the other has it too or cannot get it.
async fn share(
    store: Store,
    client: Arc<clients::Client>,
    own: usize,
    turns: Arc<[AtomicUsize; 2]>,
    is_over: Arc<AtomicBool>,
) {
    while !is_over.load(Ordering::Relaxed) {
        let (client, turns) = (client.clone(), turns.clone());
        let write = store.write::<(), StoreError, _>(move |conn| {
            let (client, turns) = (client.clone(), turns.clone());
            Box::pin(async move {
                clients::hold(conn, &client, Hold::Shared).await?;
                turns[own].fetch_add(1, Ordering::Relaxed);
                let of_other = turns[1 - own].load(Ordering::Relaxed);
                let overlap = async {
                    while turns[1 - own].load(Ordering::Relaxed) == of_other {
                        tokio::task::yield_now().await;
                    }
                };
                drop(tokio::time::timeout(Duration::from_millis(200), overlap).await);
                Ok(())
            })
        });
        write.await.unwrap();
    }
}

#[tokio::test]
async fn who_wants_a_client_alone_gets_it_beside_a_crowd() {
    on_every_engine(|store| async move {
        if store.engine() == Engine::Sqlite {
            // One writer at a time: nobody shares.
            return;
        }
        let client = Arc::new(insert(&store, new_client("shop", "Key_1")).await.unwrap());
        let (turns, is_over) = (Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]), Arc::new(AtomicBool::new(false)));
        let crowd =
            [0, 1].map(|own| tokio::spawn(share(store.clone(), client.clone(), own, turns.clone(), is_over.clone())));
        while turns.iter().any(|turns| turns.load(Ordering::Relaxed) < 2) {
            tokio::task::yield_now().await;
        }
        let alone = store.write::<bool, StoreError, _>(move |conn| {
            let client = client.clone();
            Box::pin(async move { Ok(clients::hold(conn, &client, Hold::Alone).await?.is_some()) })
        });
        let got = tokio::time::timeout(Duration::from_secs(10), alone).await;
        is_over.store(true, Ordering::Relaxed);
        for task in crowd {
            task.await.unwrap();
        }
        assert!(got.expect("the client is had alone in time").unwrap());
    })
    .await;
}
