//! OAuth clients with their service providers.

use crate::database::{Random, on_every_engine};
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::oauth::TokenType;
use claviger_proto::secret::Secret;
use claviger_store::clients::{self, ClientSettings, Lifetimes, NewClient};
use claviger_store::db::Store;
use claviger_store::error::StoreError;

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
            token_type: TokenType::Jwt,
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
            ClientSettings { name: "shop two".into(), token_type: TokenType::Opaque, ..client.settings.clone() };
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
