//! Authorization codes: look-ups, scopes, the one use, the token behind a code.

use crate::clients::{insert as insert_client, new_client};
use crate::database::{Random, on_every_engine};
use crate::tokens::{NOW, insert as insert_token, token};
use claviger_proto::entropy::uuid;
use claviger_proto::ids::{ConsumerKeyId, TenantId};
use claviger_proto::pkce::Method;
use claviger_proto::scope::Scopes;
use claviger_proto::secret::Secret;
use claviger_store::codes::{self, CodeContext, NewCode};
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::tokens::{self, TokenState};
use futures_util::future::join_all;

fn code(client: ConsumerKeyId, scopes: &str) -> NewCode {
    NewCode {
        id: uuid(&Random),
        code: Secret::new(uuid(&Random)),
        client,
        callback: "https://app.example/cb".to_owned(),
        scopes: Scopes::parse(scopes).unwrap(),
        user: "ann".to_owned(),
        user_domain: "PRIMARY".to_owned(),
        tenant: TenantId::SUPER,
        subject: "ann".to_owned(),
        // MySQL's columns hold whole seconds; the end stays exact.
        created: NOW.plus_millis(789),
        validity_ms: 300_000,
        challenge: Some(("challenge".to_owned(), Method::S256)),
        context: None,
    }
}

async fn insert(store: &Store, code: &NewCode) -> Result<(), StoreError> {
    let code = code.clone();
    let write = store.write(move |conn| {
        let code = code.clone();
        Box::pin(async move {
            let idp = tokens::local_idp(conn, TenantId::SUPER).await?;
            codes::insert(conn, &code, idp).await
        })
    });
    write.await
}

#[tokio::test]
async fn a_code_is_found_by_its_client_as_it_was_made() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let other = insert_client(&store, new_client("other", "Key_2")).await.unwrap();
        let many: Vec<String> = (10..40).map(|number| format!("scope_{number}")).collect();
        for scopes in ["", "b a", &many.join(" ")] {
            let made = code(client.id, scopes);
            insert(&store, &made).await.unwrap();
            let mut conn = store.reader().await.unwrap();
            let text = made.code.expose();
            let found = codes::find(&mut conn, client.id, text).await.unwrap().unwrap();
            assert_eq!((&found.id, &found.callback, &found.scopes), (&made.id, &made.callback, &made.scopes));
            assert_eq!((&found.user, &found.user_domain, found.tenant), (&made.user, &made.user_domain, made.tenant));
            assert_eq!((found.expires_at(), found.state), (NOW.plus_millis(300_789), TokenState::Active));
            assert_eq!(
                (&found.subject, found.challenge),
                (&made.subject, Some(("challenge".into(), Some("S256".into()))))
            );
            assert!(codes::find(&mut conn, other.id, text).await.unwrap().is_none());
            assert!(codes::find(&mut conn, client.id, &text.to_uppercase()).await.unwrap().is_none());
            assert!(codes::find_token(&mut conn, &made.id).await.unwrap().is_none());
        }
        let long = NewCode { callback: "x".repeat(2049), ..code(client.id, "") };
        assert!(matches!(insert(&store, &long).await, Err(StoreError::TooLong("the redirect URI"))));
    })
    .await;
}

#[tokio::test]
async fn a_code_is_used_up_once_and_knows_its_token() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let made = code(client.id, "a");
        insert(&store, &made).await.unwrap();
        let (first, second) = (token(client.id, "a"), token(client.id, "b"));
        insert_token(&store, &first).await.unwrap();
        insert_token(&store, &second).await.unwrap();
        let attempts = (0..16).map(|_| {
            let (id, token) = (made.id.clone(), first.id.clone());
            store.write::<_, StoreError, _>(move |conn| {
                let (id, token) = (id.clone(), token.clone());
                Box::pin(async move { codes::consume(conn, &id, &token).await })
            })
        });
        let used = join_all(attempts).await.into_iter().filter(|used| *used.as_ref().unwrap()).count();
        assert_eq!(used, 1, "{:?}", store.engine());
        let mut conn = store.reader().await.unwrap();
        let found = codes::find_token(&mut conn, &made.id).await.unwrap().unwrap();
        assert_eq!((&found.id, &found.key), (&first.id, &first.key));
        drop(conn);
        let (from, to, id, made_id) = (first.id.clone(), second.id.clone(), client.id, made.id.clone());
        let write = store.write::<_, StoreError, _>(move |conn| {
            let (from, to, made_id) = (from.clone(), to.clone(), made_id.clone());
            Box::pin(async move {
                // Of another client nothing is moved, and a used code does not end again.
                codes::move_token(conn, ConsumerKeyId(-5), &from, &from).await?;
                codes::move_token(conn, id, &from, &to).await?;
                codes::end(conn, &made_id, TokenState::Revoked).await
            })
        });
        assert!(!write.await.unwrap());
        let mut conn = store.reader().await.unwrap();
        assert_eq!(codes::find_token(&mut conn, &made.id).await.unwrap().unwrap().id, second.id);
        let text = made.code.expose();
        assert_eq!(codes::find(&mut conn, client.id, text).await.unwrap().unwrap().state, TokenState::Inactive);
        drop(conn);
        let burnt = code(client.id, "a");
        insert(&store, &burnt).await.unwrap();
        let (id, token) = (burnt.id.clone(), first.id.clone());
        let write = store.write::<_, StoreError, _>(move |conn| {
            let (id, token) = (id.clone(), token.clone());
            Box::pin(async move {
                let is_ended = codes::end(conn, &id, TokenState::Revoked).await?;
                Ok((is_ended, codes::consume(conn, &id, &token).await?))
            })
        });
        assert_eq!(write.await.unwrap(), (true, false), "{:?}", store.engine());
    })
    .await;
}

#[tokio::test]
async fn a_code_keeps_what_its_id_token_will_say() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let contexts = [
            None,
            Some(CodeContext { auth_time: NOW.plus_millis(-1_234), nonce: None }),
            Some(CodeContext { auth_time: NOW.plus_millis(-567), nonce: Some("Grüße \u{1f600} ' \\".to_owned()) }),
            // 512 bytes are the most; letters of one byte are the most letters.
            Some(CodeContext { auth_time: NOW, nonce: Some("n".repeat(512)) }),
        ];
        let pair = token(client.id, "openid");
        insert_token(&store, &pair).await.unwrap();
        let mut logins = Vec::new();
        for context in contexts {
            let made = NewCode { context: context.clone(), ..code(client.id, "openid") };
            insert(&store, &made).await.unwrap();
            let mut conn = store.reader().await.unwrap();
            assert_eq!(codes::find_context(&mut conn, &made.id).await.unwrap(), context, "{:?}", store.engine());
            drop(conn);
            let (id, used_for) = (made.id.clone(), pair.id.clone());
            let write = store.write::<_, StoreError, _>(move |conn| {
                let (id, used_for) = (id.clone(), used_for.clone());
                Box::pin(async move { codes::consume(conn, &id, &used_for).await })
            });
            assert!(write.await.unwrap());
            // Of several logins that got the token none is said.
            logins.extend(context.map(|context| context.auth_time));
            let known = if let [only] = logins[..] { Some(only) } else { None };
            let mut conn = store.reader().await.unwrap();
            let after = codes::find_auth_time(&mut conn, client.id, &pair.id).await.unwrap();
            assert_eq!(after, known, "{:?}", store.engine());
            assert_eq!(codes::find_auth_time(&mut conn, ConsumerKeyId(-5), &pair.id).await.unwrap(), None);
        }
    })
    .await;
}
