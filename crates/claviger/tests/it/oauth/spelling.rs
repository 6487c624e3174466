//! Names typed in another case (`CaseInsensitiveUsername`, database.md 5.3), and the rows that an old server wrote for them.

use crate::harness::{ADMIN_PASSWORD, Registered, Reply, Server, insert_user, on_every_engine, register};
use claviger::app::SystemEntropy;
use claviger_proto::entropy::uuid;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ConsumerKey, TenantId, TokenId};
use claviger_proto::password::StoredPassword;
use claviger_proto::scope::Scopes;
use claviger_proto::secret::Secret;
use claviger_proto::time::Clock as _;
use claviger_store::error::StoreError;
use claviger_store::sql::{Engine, Sql};
use claviger_store::tokens::{self, Token, TokenKey, TokenState, UserType};
use claviger_store::{clients, users};
use futures_util::future::join_all;
use serde_json::json;

const PASSWORD: &str = "bob's secret";

async fn log_in(server: &Server, client: &Registered, user: &str, scope: &str) -> Reply {
    let form = [("grant_type", "password"), ("username", user), ("password", PASSWORD), ("scope", scope)];
    client.token(server, &form).await
}

/// The pair that an old server made when somebody logged in with this spelling.
async fn insert_old_pair(server: &Server, client: &Registered, user: &str, scope: &str) -> (String, String) {
    let (rng, now) = (SystemEntropy::default(), server.clock.now());
    let (access, refresh) = (uuid(&rng), uuid(&rng));
    let mut conn = server.app().store.reader().await.unwrap();
    let key = ConsumerKey::from(client.id.as_str());
    let row = clients::find(&mut conn, &key).await.unwrap().unwrap();
    drop(conn);
    let token = Token {
        id: TokenId(uuid(&rng)),
        hash: TokenHash::of(&access),
        identifier: Some(Secret::new(access.clone())),
        refresh: Some(Secret::new(refresh.clone())),
        consumer_key: key,
        key: TokenKey {
            consumer_key_id: row.id,
            user: user.to_owned(),
            user_domain: "PRIMARY".to_owned(),
            tenant: TenantId::SUPER,
            user_type: UserType::ApplicationUser,
            scopes: Scopes::parse(scope).unwrap(),
        },
        grant: "password".to_owned(),
        created: now,
        refresh_created: now,
        validity_ms: 3_600_000,
        refresh_validity_ms: 86_400_000,
        state: TokenState::Active,
        subject: user.to_owned(),
    };
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let token = token.clone();
        Box::pin(async move {
            let idp = tokens::local_idp(conn, TenantId::SUPER).await?;
            tokens::insert(conn, &token, idp).await
        })
    });
    write.await.unwrap();
    (access, refresh)
}

#[tokio::test]
async fn a_name_in_another_case_is_the_same_user() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "bob", PASSWORD, &["Internal/creator"]).await;
        let write = server.app().store.write::<_, StoreError, _>(|conn| {
            Box::pin(async move { users::add_hybrid_role(conn, TenantId::SUPER, "BOB", "publisher").await })
        });
        write.await.unwrap();
        let client = register(server, "typed", json!({})).await;
        let scope = "apim:api_create apim:api_publish";
        let first = log_in(server, &client, "BOB", scope).await;
        assert_eq!((first.status, first.text("scope").as_str()), (200, scope), "{}: {first:?}", server.engine);
        assert_eq!(server.introspect(&first.text("access_token")).await["username"], "bob@carbon.super");
        for user in ["bob", "Bob", "bOb@carbon.super", "primary/Bob"] {
            let again = log_in(server, &client, user, scope).await;
            assert_eq!(again.text("access_token"), first.text("access_token"), "{user}, {}", server.engine);
        }
        assert_eq!(server.active_rows(&client.id).await, 1, "{}", server.engine);
        let wrong = [("grant_type", "password"), ("username", "Bob"), ("password", ADMIN_PASSWORD)];
        client.token(server, &wrong).await.check_error(400, "invalid_grant", "Authentication failed for Bob");
    })
    .await;
}

/// As the old server's scripts make it in a latin1 database.
static IN_LATIN1: Sql = Sql::new(
    "UPDATE UM_USER SET UM_USER_NAME = UM_USER_NAME",
    &[(Engine::MySql, "ALTER TABLE UM_USER MODIFY UM_USER_NAME VARCHAR(255) CHARACTER SET latin1 NOT NULL")],
);

#[tokio::test]
async fn a_name_that_the_table_cannot_say_is_nobodys() {
    on_every_engine("", async |server| {
        let names = ["u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9"];
        for name in names {
            insert_user(server, TenantId::SUPER, name, PASSWORD, &[]).await;
        }
        let write = server
            .app()
            .store
            .write::<_, StoreError, _>(|conn| Box::pin(async move { conn.execute(&IN_LATIN1, &[]).await.map(|_| ()) }));
        write.await.unwrap();
        let client = register(server, "odd-names", json!({})).await;
        // A NUL is in no text of PostgreSQL, the others are not in latin1.
        let odd = ["\u{3a9}", "u0\u{1f600}", "u0\0", "\u{3a9}-2", "\u{1f600}"];
        let all = names.iter().zip(odd.iter().cycle()).flat_map(|(name, odd)| [*odd, *name]);
        let replies = join_all(all.map(async |name| (name, log_in(server, &client, name, "").await))).await;
        for (name, reply) in replies {
            let status = if names.contains(&name) { 200 } else { 400 };
            assert_eq!(reply.status, status, "{name:?}, {}: {reply:?}", server.engine);
        }
    })
    .await;
}

#[tokio::test]
async fn the_pair_of_another_spelling_lives_on() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "bob", PASSWORD, &[]).await;
        let client = register(server, "old-pair", json!({})).await;
        let (access, refresh) = insert_old_pair(server, &client, "Bob", "default").await;
        for user in ["Bob", "bob"] {
            let handed_out = log_in(server, &client, user, "").await;
            assert_eq!(handed_out.status, 200, "{}: {handed_out:?}", server.engine);
            assert_eq!(handed_out.text("access_token"), access, "{user}, {}", server.engine);
        }
        let second = client.refresh(server, &refresh).await;
        assert_eq!(second.status, 200, "{}: {second:?}", server.engine);
        assert!(!server.is_active(&access).await, "{}", server.engine);
        // The table's spelling from then on.
        assert_eq!(server.introspect(&second.text("access_token")).await["username"], "bob@carbon.super");
        assert_eq!(log_in(server, &client, "BOB", "").await.text("access_token"), second.text("access_token"));
        assert_eq!(server.active_rows(&client.id).await, 1, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn an_old_pair_is_over_when_a_jwt_takes_its_place() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "bob", PASSWORD, &[]).await;
        let client = register(server, "old-jwt", json!({ "token_type": "JWT" })).await;
        insert_old_pair(server, &client, "BOB", "default").await;
        let fresh = log_in(server, &client, "bob", "").await;
        assert_eq!(fresh.status, 200, "{}: {fresh:?}", server.engine);
        assert_eq!(server.active_rows(&client.id).await, 1, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn without_the_rule_a_name_is_its_spelling() {
    on_every_engine("[user_store.properties]\nCaseInsensitiveUsername = false\n", async |server| {
        insert_user(server, TenantId::SUPER, "bob", PASSWORD, &[]).await;
        let client = register(server, "exact", json!({})).await;
        let (_, refresh) = insert_old_pair(server, &client, "Bob", "default").await;
        let refused = log_in(server, &client, "Bob", "").await;
        refused.check_error(400, "invalid_grant", "Authentication failed for Bob");
        let gone = client.refresh(server, &refresh).await;
        gone.check_error(400, "invalid_grant", "The user of the refresh token may not log in any more");
        let own = log_in(server, &client, "bob", "").await;
        if server.engine == "MariaDB" {
            // The key of the table takes both for one; the row of another spelling is nobody's to hand out.
            own.check_error(502, "server_error", "Service Unavailable Error.");
        } else {
            assert_eq!(own.status, 200, "{}: {own:?}", server.engine);
        }
    })
    .await;
}

#[tokio::test]
async fn what_another_user_left_behind_is_in_nobodys_way() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "carol", PASSWORD, &[]).await;
        insert_user(server, TenantId::SUPER, "Carol", PASSWORD, &[]).await;
        let client = register(server, "namesakes", json!({})).await;
        let first = log_in(server, &client, "carol", "").await;
        assert_eq!(first.status, 200, "{first:?}");
        server.clock.advance_s(3_600 + 120);
        let second = log_in(server, &client, "Carol", "").await;
        assert_eq!(second.status, 200, "{}: {second:?}", server.engine);
        assert_eq!(server.introspect(&second.text("access_token")).await["username"], "Carol@carbon.super");
        // The first one's refresh token is as good as before; on MySQL it has to wait for the end of the other's row.
        if server.engine == "MariaDB" {
            client.refresh(server, &first.text("refresh_token")).await.check_error(
                502,
                "server_error",
                "Service Unavailable Error.",
            );
            server.clock.advance_s(3_600 + 120);
        }
        let renewed = client.refresh(server, &first.text("refresh_token")).await;
        assert_eq!(renewed.status, 200, "{}: {renewed:?}", server.engine);
        assert_eq!(server.introspect(&renewed.text("access_token")).await["username"], "carol@carbon.super");
    })
    .await;
}

static SET_PASSWORD: Sql =
    Sql::new("UPDATE UM_USER SET UM_USER_PASSWORD = ?, UM_SALT_VALUE = ? WHERE UM_USER_NAME = 'bob'", &[]);
static TAKE_NAME: Sql = Sql::new("UPDATE UM_USER SET UM_USER_NAME = 'gone' WHERE UM_USER_NAME = 'bob'", &[]);

/// As an old server on the same tables does it: without an event.
async fn set_password_of_bob(server: &Server, password: &str) {
    let stored = StoredPassword::new(&Secret::new(password), &SystemEntropy::default());
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let stored = stored.clone();
        Box::pin(async move { conn.execute(&SET_PASSWORD, &[(&stored.digest).into(), (&stored.salt).into()]).await })
    });
    assert_eq!(write.await.unwrap(), 1);
}

#[tokio::test]
async fn the_logins_of_all_spellings_end_together() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "bob", PASSWORD, &[]).await;
        let client = register(server, "one-fate", json!({})).await;
        let log_in = async |user: &str, password: &str| {
            client.token(server, &[("grant_type", "password"), ("username", user), ("password", password)]).await.status
        };
        let spellings = ["bob", "BOB", "Bob", "bOb"];
        for user in spellings {
            assert_eq!(log_in(user, PASSWORD).await, 200, "{user}, {}", server.engine);
        }
        set_password_of_bob(server, "a new one").await;
        assert_eq!(log_in("BOB", "a new one").await, 200, "{}", server.engine);
        for user in spellings {
            assert_eq!(log_in(user, PASSWORD).await, 400, "{user}, {}", server.engine);
            assert_eq!(log_in(user, "a new one").await, 200, "{user}, {}", server.engine);
        }
        // Another user of that name has nothing of the one before.
        let take = server
            .app()
            .store
            .write::<_, StoreError, _>(|conn| Box::pin(async move { conn.execute(&TAKE_NAME, &[]).await }));
        assert_eq!(take.await.unwrap(), 1);
        insert_user(server, TenantId::SUPER, "Bob", "the namesake's", &[]).await;
        assert_eq!(log_in("Bob", "the namesake's").await, 200, "{}", server.engine);
        for user in spellings {
            assert_eq!(log_in(user, "a new one").await, 400, "{user}, {}", server.engine);
        }
    })
    .await;
}
