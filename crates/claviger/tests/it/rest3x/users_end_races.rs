//! Statement 46 for a user's requests that are under way while he is changed, and for one who holds very much.

use super::users_end::{NEXT_PASSWORD, PASSWORD};
use crate::harness::{
    Database, Directory, Options, Registered, Server, becomes_false, databases, insert_user, on_every_engine, register,
};
use claviger::app::SystemEntropy;
use claviger_proto::entropy::uuid;
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::TenantId;
use claviger_proto::password::StoredPassword;
use claviger_proto::scope::Scopes;
use claviger_proto::secret::Secret;
use claviger_proto::time::{Clock as _, Timestamp};
use claviger_proto::user::NameRule;
use claviger_store::error::StoreError;
use claviger_store::tokens::{self, Token, TokenState};
use claviger_store::{revocations, user_admin, users};
use futures_util::future::join;
use serde_json::json;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Stores another password and the user's revocation, and tells nobody of the password: as a node that has not heard yet finds it.
async fn change_unheard(server: &Server, name: &'static str, before: Timestamp) {
    let now = server.clock.now();
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        Box::pin(async move {
            let user = users::find(conn, TenantId::SUPER, name, NameRule::Exact).await?.unwrap();
            let password = StoredPassword::new(&Secret::new(NEXT_PASSWORD), &SystemEntropy::default());
            user_admin::update_password(conn, TenantId::SUPER, &user, &password, now).await?;
            revocations::insert_user(conn, &format!("{name}@carbon.super"), before, Timestamp::NEVER, now).await
        })
    });
    write.await.unwrap();
}

#[tokio::test]
async fn checklist_46_who_was_let_in_before_the_change_gets_nothing_after_it() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "ann", PASSWORD, &["Internal/subscriber"]).await;
        let jwt = register(server, "jwt", json!({ "token_type_extension": "JWT" })).await;
        let opaque = register(server, "opaque", json!({})).await;
        // The password is remembered from here on.
        let form = |password| [("grant_type", "password"), ("username", "ann"), ("password", password), ("scope", "a")];
        let held = opaque.issue(server, &form(PASSWORD)).await;
        jwt.issue(server, &form(PASSWORD)).await;
        let rows = async |client: &Registered| server.active_rows(&client.id).await;
        let before = Timestamp::from_secs(server.clock.now().as_secs() + 3);
        change_unheard(server, "ann", before).await;
        // Its row is as it was: so a command leaves it that was killed after its first write.
        assert!(!server.is_active(&held.text("access_token")).await, "{}", server.engine);
        let other = [("grant_type", "password"), ("username", "ann"), ("password", PASSWORD), ("scope", "b")];
        // The clock stands still: whoever was let in is asked again when the change is past, and that is never.
        let (first, second) = join(opaque.token(server, &other), jwt.token(server, &other)).await;
        for reply in [first, second] {
            assert_eq!(reply.status, 503, "{}: {reply:?}", server.engine);
        }
        assert_eq!((rows(&opaque).await, rows(&jwt).await), (1, 1), "{}", server.engine);
        let reply = opaque.refresh(server, &held.text("refresh_token")).await;
        reply.check_error(400, "invalid_grant", "Invalid refresh token state");
        // By then everybody has heard.
        let write = server.app().store.write::<_, StoreError, _>(move |conn| {
            let event = Event::UserChanged { username: "ann@carbon.super".to_owned() };
            Box::pin(async move { conn.emit(event, before).await.map(drop) })
        });
        write.await.unwrap();
        server.clock.advance_s(3);
        for client in [&opaque, &jwt] {
            assert_eq!(client.token(server, &other).await.status, 400, "{}", server.engine);
            let reply = client.issue(server, &form(NEXT_PASSWORD)).await;
            assert!(server.is_active(&reply.text("access_token")).await, "{}: {reply:?}", server.engine);
            assert_ne!(reply.text("access_token"), held.text("access_token"), "{}", server.engine);
            assert_ne!(reply.text("refresh_token"), held.text("refresh_token"), "{}", server.engine);
        }
        let old = row_of(server, &held.text("access_token")).await;
        assert_eq!(old.state, TokenState::Expired, "{}: the next sweep finds it", server.engine);
    })
    .await;
}

/// More rows like one, each with a scope of its own; their texts.
async fn insert_more(server: &Server, model: &Token, count: usize, state: TokenState) -> Vec<String> {
    let rng = SystemEntropy::default();
    let rows: Vec<Token> = (0..count)
        .map(|_| {
            let mut row = model.clone();
            let (id, text) = (uuid(&rng), uuid(&rng));
            row.key.scopes = Scopes::parse(&id).unwrap();
            (row.id.0, row.hash) = (id, TokenHash::of(&text));
            row.identifier = Some(Secret::new(text));
            row.refresh = Some(Secret::new(uuid(&rng)));
            row
        })
        .collect();
    let texts = rows.iter().map(|row| row.identifier.as_ref().unwrap().expose().to_owned()).collect();
    let rows = Arc::new(rows);
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let rows = rows.clone();
        Box::pin(async move {
            let idp = tokens::local_idp(conn, TenantId::SUPER).await?;
            for row in rows.iter() {
                tokens::insert(conn, row, idp).await?;
                if state != TokenState::Active {
                    tokens::retire(conn, row, state, &row.id.0).await?;
                }
            }
            Ok(())
        })
    });
    write.await.unwrap();
    texts
}

async fn row_of(server: &Server, text: &str) -> Token {
    let mut conn = server.app().store.reader().await.unwrap();
    tokens::find_by_access(&mut conn, text).await.unwrap().unwrap()
}

/// Whoever was past every question before the change, and came to his row after everything that was there had ended.
#[tokio::test(flavor = "multi_thread")]
async fn checklist_46_what_comes_while_the_news_goes_round_ends_too() {
    for database in databases().await.into_iter().filter(Database::is_shared) {
        let server = Server::start(&database, Options::default()).await;
        insert_user(&server, TenantId::SUPER, "ann", PASSWORD, &["Internal/subscriber"]).await;
        let client = register(&server, "shop", json!({})).await;
        let form = [("grant_type", "password"), ("username", "ann"), ("password", PASSWORD), ("scope", "a")];
        let first = client.issue(&server, &form).await.text("access_token");
        let model = row_of(&server, &first).await;
        // More than one write ends, of either state.
        insert_more(&server, &model, 150, TokenState::Expired).await;
        let many = insert_more(&server, &model, 149, TokenState::Active).await;
        let directory = Directory::new();
        // The command gives the news this long, and so the test.
        let text = format!("{}[events]\npoll_interval_ms = 4000\n", database.section());
        std::fs::write(directory.path().join("deployment.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
        command.env_clear().args(["user", "lock", "ann", "--data-dir"]).arg(directory.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let is_first_round_on = async || server.active_rows(&client.id).await > 0;
        assert!(becomes_false(is_first_round_on).await, "{}", server.engine);
        let late = insert_more(&server, &model, 1, TokenState::Active).await.remove(0);
        let done = child.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        let out = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(out.contains("301 tokens"), "{}: {out}", server.engine);
        for text in [&first, &late, many.last().unwrap()] {
            assert_eq!(row_of(&server, text).await.state, TokenState::Revoked, "{}", server.engine);
            assert!(becomes_false(async || server.is_active(text).await).await, "{}", server.engine);
        }
        server.stop().await;
        database.remove().await;
    }
}
