//! What a user holds: his tokens and codes, page by page, and nobody else's.

use crate::clients::{insert as insert_client, new_client};
use crate::database::{Random, on_every_engine};
use crate::tokens::{NOW, insert, token};
use claviger_proto::entropy::uuid;
use claviger_proto::ids::{ConsumerKeyId, TenantId, TokenId};
use claviger_proto::password::StoredPassword;
use claviger_proto::secret::Secret;
use claviger_proto::user::{NameRule, PRIMARY};
use claviger_store::codes::{self, NewCode};
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::tokens::of_user::{self, Holder};
use claviger_store::tokens::{self, Token, TokenKey, TokenState};
use claviger_store::users::{self, NewUser};
use std::collections::BTreeSet;

fn ann(rule: NameRule) -> Holder {
    Holder { tenant: TenantId::SUPER, domain: PRIMARY.to_owned(), name: "ann".to_owned(), rule }
}

/// A token under a name of a store, in a state.
async fn held(store: &Store, client: ConsumerKeyId, (domain, name): (&str, &str), state: TokenState) -> TokenId {
    let plain = token(client, &uuid(&Random));
    let key = TokenKey { user: name.to_owned(), user_domain: domain.to_owned(), ..plain.key.clone() };
    let issued = Token { key, ..plain };
    insert(store, &issued).await.unwrap();
    if state != TokenState::Active {
        let shared = issued.clone();
        let write = store.write::<_, StoreError, _>(move |conn| {
            let issued = shared.clone();
            Box::pin(async move { tokens::retire(conn, &issued, state, &uuid(&Random)).await })
        });
        assert!(write.await.unwrap());
    }
    issued.id
}

async fn insert_user(store: &Store, name: &'static str) {
    let password = StoredPassword::new(&Secret::new("x"), &Random);
    let user = NewUser { uuid: uuid(&Random), name: name.to_owned(), password, tenant: TenantId::SUPER };
    let write = store.write::<_, StoreError, _>(move |conn| {
        let user = user.clone();
        Box::pin(async move { users::insert(conn, &user, NOW).await })
    });
    write.await.unwrap();
}

/// Every token of a client that is his, read one by one.
async fn all_of(store: &Store, client: ConsumerKeyId, holder: &Holder) -> BTreeSet<String> {
    let mut conn = store.reader().await.unwrap();
    let (mut found, mut after) = (BTreeSet::new(), TokenId(String::new()));
    loop {
        let page = of_user::list(&mut conn, client, holder, &after, 1).await.unwrap();
        let Some(token) = page.first() else { return found };
        assert!(token.id.0 > after.0, "{:?}: in the order of the ids", store.engine());
        after = token.id.clone();
        if of_user::is_of(&mut conn, holder, &token.key.user).await.unwrap() {
            found.insert(token.id.0.clone());
        }
    }
}

#[tokio::test]
async fn a_users_tokens_are_found_under_every_usual_spelling_of_his_name() {
    on_every_engine(|store| async move {
        let shop = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let other = insert_client(&store, new_client("other", "Key_2")).await.unwrap();
        let idle = insert_client(&store, new_client("idle", "Key_3")).await.unwrap();
        insert_user(&store, "ann").await;
        let mut own = BTreeSet::new();
        let mut plain = BTreeSet::new();
        for (name, state) in [
            ("ann", TokenState::Active),
            ("ann", TokenState::Expired),
            ("Ann", TokenState::Active),
            ("ANN", TokenState::Expired),
        ] {
            let id = held(&store, shop.id, (PRIMARY, name), state).await.0;
            if name == "ann" {
                plain.insert(id.clone());
            }
            own.insert(id);
        }
        held(&store, shop.id, (PRIMARY, "ann"), TokenState::Revoked).await;
        held(&store, shop.id, (PRIMARY, "ann"), TokenState::Inactive).await;
        held(&store, shop.id, (PRIMARY, "anna"), TokenState::Active).await;
        held(&store, shop.id, ("HR", "ann"), TokenState::Active).await;
        held(&store, other.id, (PRIMARY, "ann"), TokenState::Expired).await;
        held(&store, idle.id, (PRIMARY, "bob"), TokenState::Active).await;
        let holder = ann(NameRule::AnyCase);
        assert_eq!(all_of(&store, shop.id, &holder).await, own, "{:?}", store.engine());
        let mut conn = store.reader().await.unwrap();
        let clients = of_user::list_clients(&mut conn, &holder, ConsumerKeyId(0)).await.unwrap();
        assert_eq!(clients, [shop.id, other.id], "{:?}", store.engine());
        let clients = of_user::list_clients(&mut conn, &holder, shop.id).await.unwrap();
        assert_eq!(clients, [other.id], "{:?}", store.engine());
        assert!(of_user::list_clients(&mut conn, &holder, other.id).await.unwrap().is_empty());
        drop(conn);
        // By then somebody is called exactly so: whose the third spelling is, nobody can say.
        insert_user(&store, "ANN").await;
        assert_eq!(all_of(&store, shop.id, &holder).await, plain, "{:?}", store.engine());
        assert_eq!(all_of(&store, shop.id, &ann(NameRule::Exact)).await, plain, "{:?}", store.engine());
    })
    .await;
}

#[tokio::test]
async fn a_users_unused_codes_are_found() {
    on_every_engine(|store| async move {
        let shop = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        insert_user(&store, "ann").await;
        let code = |name: &str, domain: &str| NewCode {
            id: uuid(&Random),
            code: Secret::new(uuid(&Random)),
            client: shop.id,
            callback: String::new(),
            scopes: ["read".to_owned()].into_iter().collect(),
            user: name.to_owned(),
            user_domain: domain.to_owned(),
            tenant: TenantId::SUPER,
            subject: name.to_owned(),
            created: NOW,
            validity_ms: 300_000,
            challenge: None,
            context: None,
        };
        let new =
            [code("ann", PRIMARY), code("ANN", PRIMARY), code("ann", PRIMARY), code("bob", PRIMARY), code("ann", "HR")];
        let shared = new.clone();
        let write = store.write::<_, StoreError, _>(move |conn| {
            let new = shared.clone();
            Box::pin(async move {
                let idp = tokens::local_idp(conn, TenantId::SUPER).await?;
                for code in &new {
                    codes::insert(conn, code, idp).await?;
                }
                codes::end(conn, &new[2].id, TokenState::Revoked).await.map(drop)
            })
        });
        write.await.unwrap();
        let mut conn = store.reader().await.unwrap();
        let holder = ann(NameRule::AnyCase);
        let mut found = BTreeSet::new();
        let mut after = String::new();
        while let Some((id, name)) = codes::list_of_user(&mut conn, &holder, &after, 1).await.unwrap().pop() {
            assert!(of_user::is_of(&mut conn, &holder, &name).await.unwrap(), "{name}");
            after.clone_from(&id);
            found.insert(id);
        }
        let expected: BTreeSet<_> = new[..2].iter().map(|code| code.id.clone()).collect();
        assert_eq!(found, expected, "{:?}", store.engine());
    })
    .await;
}
