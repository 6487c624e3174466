//! Access tokens: look-ups, states, the one ACTIVE row.

use crate::clients::{insert as insert_client, new_client};
use crate::database::{Random, on_every_engine};
use claviger_proto::entropy::uuid;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ConsumerKey, ConsumerKeyId, TenantId, TokenId};
use claviger_proto::scope::Scopes;
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_proto::user::NameRule;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::revocations::{self, RevokedJwt};
use claviger_store::sql::Sql;
use claviger_store::tenants;
use claviger_store::tokens::{self, Token, TokenKey, TokenState, UserType};
use std::collections::BTreeSet;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

pub(crate) fn token(client: ConsumerKeyId, scopes: &str) -> Token {
    let identifier = uuid(&Random);
    Token {
        id: TokenId(uuid(&Random)),
        hash: TokenHash::of(&identifier),
        identifier: Some(Secret::new(identifier)),
        refresh: Some(Secret::new(uuid(&Random))),
        consumer_key: ConsumerKey::from("Key_1"),
        key: TokenKey {
            consumer_key_id: client,
            user: "ann".into(),
            user_domain: "PRIMARY".into(),
            tenant: TenantId::SUPER,
            user_type: UserType::ApplicationUser,
            scopes: Scopes::parse(scopes).unwrap(),
        },
        grant: "password".into(),
        created: NOW,
        refresh_created: NOW,
        validity_ms: 3_600_000,
        refresh_validity_ms: 86_400_000,
        state: TokenState::Active,
        subject: "ann".into(),
    }
}

pub(crate) async fn insert(store: &Store, token: &Token) -> Result<(), StoreError> {
    let token = token.clone();
    store
        .write(move |conn| {
            let token = token.clone();
            Box::pin(async move {
                let idp = tokens::local_idp(conn, TenantId::SUPER).await?;
                tokens::insert(conn, &token, idp).await
            })
        })
        .await
}

#[tokio::test]
async fn a_token_is_found_by_each_of_its_names() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let issued = token(client.id, "b a");
        insert(&store, &issued).await.unwrap();
        let mut conn = store.reader().await.unwrap();
        let idp = tokens::local_idp(&mut conn, TenantId::SUPER).await.unwrap();
        let by_access =
            tokens::find_by_access(&mut conn, issued.identifier.as_ref().unwrap().expose()).await.unwrap().unwrap();
        let by_refresh = tokens::find_by_refresh(&mut conn, client.id, issued.refresh.as_ref().unwrap().expose()).await;
        let by_key = tokens::find_active(&mut conn, &issued.key, idp, NameRule::AnyCase).await.unwrap().unwrap();
        for found in [by_access, by_refresh.unwrap().unwrap(), by_key] {
            assert_eq!((&found.id, &found.key, found.created), (&issued.id, &issued.key, NOW));
            assert_eq!(found.consumer_key, client.key);
            assert_eq!(found.expires_at(), NOW.plus_millis(3_600_000));
        }
        assert!(tokens::find_by_refresh(&mut conn, ConsumerKeyId(-5), "x").await.unwrap().is_none());
        let other_scopes = TokenKey { scopes: Scopes::parse("a").unwrap(), ..issued.key.clone() };
        assert!(tokens::find_active(&mut conn, &other_scopes, idp, NameRule::AnyCase).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_second_active_row_for_a_key_is_a_conflict() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let first = token(client.id, "a");
        insert(&store, &first).await.unwrap();
        let second = insert(&store, &token(client.id, "a")).await;
        assert!(matches!(second, Err(StoreError::Conflict(_))), "{second:?}");
        insert(&store, &token(client.id, "a b")).await.unwrap();
        let is_retired = store
            .write::<_, StoreError, _>(move |conn| {
                let first = first.clone();
                Box::pin(async move {
                    let once = tokens::retire(conn, &first, TokenState::Inactive, &uuid(&Random)).await?;
                    let twice = tokens::retire(conn, &first, TokenState::Inactive, &uuid(&Random)).await?;
                    Ok((once, twice))
                })
            })
            .await
            .unwrap();
        assert_eq!(is_retired, (true, false), "a row leaves its state once");
        insert(&store, &token(client.id, "a")).await.unwrap();
        let mut conn = store.reader().await.unwrap();
        assert_eq!(tokens::list_active_of_client(&mut conn, client.id, 1_000).await.unwrap().len(), 2);
    })
    .await;
}

/// MySQL's usual collations take `read` and `READ` for one scope (database.md 1.5).
#[tokio::test]
async fn scopes_that_differ_in_case_make_a_token() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let issued = token(client.id, "read READ write");
        insert(&store, &issued).await.unwrap();
        let mut conn = store.reader().await.unwrap();
        let idp = tokens::local_idp(&mut conn, TenantId::SUPER).await.unwrap();
        let found = tokens::find_active(&mut conn, &issued.key, idp, NameRule::AnyCase).await.unwrap().unwrap();
        assert!(found.id == issued.id && found.key.scopes.is_subset(&issued.key.scopes), "{:?}", found.key);
    })
    .await;
}

#[tokio::test]
async fn what_is_too_wide_is_refused_on_every_engine() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let mut wide = token(client.id, "a");
        wide.key.scopes = ["s".repeat(61)].into_iter().collect();
        assert!(matches!(insert(&store, &wide).await, Err(StoreError::TooLong("a scope"))));
        let mut wide = token(client.id, "a");
        wide.key.user_domain = "D".repeat(51);
        assert!(matches!(insert(&store, &wide).await, Err(StoreError::TooLong(_))));
        let mut fits = token(client.id, "a");
        fits.key.user = "\u{e4}".repeat(100);
        insert(&store, &fits).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn revocations_are_listed_until_they_no_longer_matter() {
    on_every_engine(|store| async move {
        let end = NOW.plus_millis(1000);
        store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    let jwt = RevokedJwt {
                        uuid: &uuid(&Random),
                        jti: "some-jti",
                        signature: None,
                        tenant_id: TenantId::SUPER,
                    };
                    revocations::insert_token(conn, TokenHash::of("some-jti"), end, Some(jwt), NOW).await?;
                    revocations::insert_token(conn, TokenHash::of("opaque"), end, None, NOW).await?;
                    revocations::insert_token(conn, TokenHash::of("opaque"), end, None, NOW).await?;
                    revocations::insert_client(conn, &"Key_1".into(), NOW, Timestamp::NEVER, NOW).await?;
                    revocations::insert_client(conn, &"Key_1".into(), NOW.plus_millis(5), Timestamp::NEVER, NOW).await
                })
            })
            .await
            .unwrap();
        let mut conn = store.reader().await.unwrap();
        assert_eq!(revocations::list_tokens(&mut conn, NOW).await.unwrap().len(), 2);
        assert!(revocations::list_tokens(&mut conn, end).await.unwrap().is_empty());
        let clients = revocations::list_clients(&mut conn, end).await.unwrap();
        assert_eq!(clients, [(ConsumerKey::from("Key_1"), NOW.plus_millis(5))]);
    })
    .await;
}

#[tokio::test]
async fn many_revocations_are_all_listed() {
    const TOKENS: i64 = 2_500;
    on_every_engine(|store| async move {
        let insert = store.write::<_, StoreError, _>(|conn| {
            Box::pin(async move {
                for number in 0..TOKENS {
                    let token = TokenHash::of(&number.to_string());
                    revocations::insert_token(conn, token, NOW.plus_millis(number), None, NOW).await?;
                }
                Ok(())
            })
        });
        insert.await.unwrap();
        let mut conn = store.reader().await.unwrap();
        let listed = revocations::list_tokens(&mut conn, NOW.plus_millis(99)).await.unwrap();
        let tokens: std::collections::BTreeSet<_> = listed.iter().map(|(token, _)| token.0).collect();
        assert_eq!((listed.len(), tokens.len()), (2_400, 2_400));
    })
    .await;
}

#[tokio::test]
async fn the_rows_of_a_client_go_a_part_at_a_time() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let other = insert_client(&store, new_client("other", "Key_2")).await.unwrap();
        for (owner, scopes) in [&client, &other].into_iter().flat_map(|client| (0..120).map(move |n| (client.id, n))) {
            insert(&store, &token(owner, &format!("s{scopes}"))).await.unwrap();
        }
        for expected in [100, 20, 0] {
            let id = client.id;
            let write = store.write::<_, StoreError, _>(move |conn| Box::pin(tokens::delete_of_client(conn, id, 100)));
            assert_eq!(write.await.unwrap(), expected);
        }
        let mut conn = store.reader().await.unwrap();
        assert_eq!(tokens::list_active_of_client(&mut conn, other.id, 1_000).await.unwrap().len(), 120);
    })
    .await;
}

/// MySQL keeps whole seconds, so the rows that a refresh token went through may be of one time.
#[tokio::test]
async fn of_rows_of_one_time_the_last_word_on_a_refresh_token_counts() {
    use TokenState::{Active, Expired, Inactive, Revoked};
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        for turn in 0..8 {
            for (earlier, last) in [(Expired, Revoked), (Inactive, Expired), (Inactive, Revoked), (Expired, Active)] {
                let refresh = Secret::new(uuid(&Random));
                for (number, state) in [earlier, last].into_iter().enumerate() {
                    let mut row = token(client.id, &format!("s{turn}{earlier:?}{last:?}{number}"));
                    row.refresh = Some(refresh.clone());
                    insert(&store, &row).await.unwrap();
                    let retire = store.write::<_, StoreError, _>(move |conn| {
                        let row = row.clone();
                        Box::pin(async move {
                            let is_dead = state != Active;
                            Ok(!is_dead || tokens::retire(conn, &row, state, &uuid(&Random)).await?)
                        })
                    });
                    assert!(retire.await.unwrap());
                }
                let mut conn = store.reader().await.unwrap();
                let found = tokens::find_by_refresh(&mut conn, client.id, refresh.expose()).await.unwrap().unwrap();
                assert_eq!(found.state, last);
            }
        }
    })
    .await;
}

/// A row whose text is a cipher text, a hash or nothing that anybody knows: it can be ended, and nothing in it opens a door.
#[tokio::test]
async fn a_row_that_cannot_be_read_can_be_ended() {
    static HASH: &str =
        r#"{"hash":"cc9f33cb7596e6e31c1e4298bbd142afcac9029be7b0a33fb7e6ec30af6cfc04","algorithm":"SHA-512"}"#;
    static SPOIL: Sql = Sql::new(
        "UPDATE IDN_OAUTH2_ACCESS_TOKEN SET ACCESS_TOKEN = ?, ACCESS_TOKEN_HASH = ?, REFRESH_TOKEN = ?, REFRESH_TOKEN_HASH = ?",
        &[],
    );
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let issued = token(client.id, "read");
        insert(&store, &issued).await.unwrap();
        let spoil = store.write::<u64, StoreError, _>(|conn| {
            Box::pin(async move {
                let none = None::<&str>;
                conn.execute(&SPOIL, &[HASH.into(), none.into(), HASH.into(), none.into()]).await
            })
        });
        assert_eq!(spoil.await.unwrap(), 1);
        store.detect().await.unwrap();
        let mut conn = store.reader().await.unwrap();
        let idp = tokens::local_idp(&mut conn, TenantId::SUPER).await.unwrap();
        let active = tokens::find_active(&mut conn, &issued.key, idp, NameRule::Exact).await.unwrap().unwrap();
        assert!(active.identifier.is_none() && active.refresh.is_none(), "nobody is handed a hash");
        assert!(tokens::find_by_access(&mut conn, HASH).await.unwrap().is_none());
        assert!(tokens::find_by_refresh(&mut conn, client.id, HASH).await.unwrap().is_none());
        drop(conn);
        let ended = store.write::<_, StoreError, _>(move |conn| {
            let active = active.clone();
            Box::pin(async move { tokens::retire(conn, &active, TokenState::Revoked, "some-state").await })
        });
        assert!(ended.await.unwrap());
    })
    .await;
}

static COUNT_IDPS: Sql =
    Sql::new("SELECT COUNT(*) FROM IDP WHERE TENANT_ID = ? AND NAME = 'LOCAL' AND HOME_REALM_ID = ?", &[]);

/// An old server makes the row when it makes the tenant, and shows no tokens without it; a tenant that came by another way has
/// none.
#[tokio::test]
async fn a_tenants_identity_provider_is_made_when_it_is_missing() {
    on_every_engine(|store| async move {
        let now = Timestamp::from_secs(1_700_000_000);
        let make = store.write::<_, StoreError, _>(move |conn| {
            Box::pin(async move { tenants::insert(conn, "bare.com", "admin@bare.com", now).await })
        });
        let tenant = make.await.unwrap();
        // Several nodes at once.
        let ask = || {
            let store = store.clone();
            tokio::spawn(async move {
                let ask = store.write::<_, StoreError, _>(move |conn| {
                    Box::pin(async move { tokens::local_idp(conn, tenant).await })
                });
                ask.await.unwrap().unwrap()
            })
        };
        let asked: Vec<_> = (0..8).map(|_| ask()).collect();
        let mut ids = BTreeSet::new();
        for task in asked {
            ids.insert(task.await.unwrap());
        }
        let mut conn = store.reader().await.unwrap();
        let own = tokens::local_idp(&mut conn, TenantId::SUPER).await.unwrap().unwrap();
        assert!(ids.len() == 1 && !ids.contains(&own), "{:?}: {ids:?} {own}", store.engine());
        let count = conn.row(&COUNT_IDPS, &[tenant.into(), "localhost".into()]).await.unwrap().unwrap();
        assert_eq!(count.int(0).unwrap(), 1, "{:?}", store.engine());
    })
    .await;
}
