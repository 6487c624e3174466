//! Wrong passwords lock an account, where configuration says so, whichever doors and nodes they come by (users-ldap.md 3.8, security.md
//! 4.4), and nobody is told that they did.

use super::codes::{register_for_codes, request_of};
use crate::harness::{
    Browser, Call as _, Home, Options, Post, Receiver, Registered, Reply, Server, account_facts, becomes_false,
    databases, insert_user, on_every_engine, on_sqlite, on_two_nodes_with, register, set_account, user_databases,
};
use claviger_proto::ids::TenantId;
use claviger_proto::time::Clock as _;
use claviger_proto::user::Username;
use claviger_store::error::StoreError;
use claviger_store::sql::Sql;
use futures_util::future::join_all;
use serde_json::json;
use std::time::{Duration, Instant};

const PASSWORD: &str = "right";
const SCOPES: &str = "/api/identity/oauth2/v1.0/scopes";
const LOCKING: &str = "[identity_mgt.account_locking]\nenable_account_locking = true\n";
const TWO: &str = "[identity_mgt.account_locking]\nenable_account_locking = true\nallowed_failed_attempts = 2\nauto_unlock_after = \"5m\"\n";
/// Longest wait for an event.
const TOLD: Duration = Duration::from_secs(30);
const MINUTE_MS: i64 = 60_000;

async fn log_in(server: &Server, client: &Registered, user: &str, password: &str) -> Reply {
    client.token(server, &[("grant_type", "password"), ("username", user), ("password", password)]).await
}

async fn check_refused(server: &Server, client: &Registered, user: &str, password: &str) {
    let reply = log_in(server, client, user, password).await;
    // Word for word what a wrong password is told, also of nobody.
    reply.check_error(400, "invalid_grant", &format!("Authentication failed for {user}"));
}

async fn check_admitted(server: &Server, client: &Registered, user: &str) {
    let reply = log_in(server, client, user, PASSWORD).await;
    assert_eq!(reply.status, 200, "{user}, {}: {reply:?}", server.engine);
}

/// Waits until this is said of a user's account: wrong passwords are counted behind their answers.
async fn check_said(server: &Server, user: &str, facts: &[(&str, &str)]) {
    server.app().users.finish().await;
    let is_other = async || {
        let said = account_facts(server, TenantId::SUPER, user).await;
        facts.iter().any(|(name, value)| said.get(*name).map(String::as_str) != Some(*value))
    };
    let said = becomes_false(is_other).await;
    assert!(said, "{user}, {}: {:?}", server.engine, account_facts(server, TenantId::SUPER, user).await);
}

fn end_of_lock(server: &Server, minutes: i64) -> String {
    (server.clock.now().as_millis() + minutes * MINUTE_MS).to_string()
}

#[tokio::test]
async fn wrong_passwords_by_any_door_and_node_lock_an_account() {
    for database in databases().await {
        let receiver = Receiver::start().await;
        let sections: &'static str = format!("{LOCKING}{}", Receiver::section_at(receiver.port)).leak();
        let a = Server::start(&database, Options { sections, ..Options::default() }).await;
        let options = Options { sections, clock: Some(a.clock.clone()), ..Options::default() };
        let b = if database.is_shared() { Some(Server::start(&database, options).await) } else { None };
        let other = b.as_ref().unwrap_or(&a);
        insert_user(&a, TenantId::SUPER, "lou", PASSWORD, &["admin"]).await;
        let grants = json!({ "grant_types": ["password", "authorization_code", "refresh_token"] });
        let client = register_for_codes(&a, "failed", grants).await;
        let held = log_in(&a, &client, "lou", PASSWORD).await;
        let (access, refresh) = (held.text("access_token"), held.text("refresh_token"));
        // Both know him, and that password.
        check_admitted(other, &client, "lou").await;
        let basic = async |server: &Server, path| server.get(path).basic_auth("lou", Some("wrong")).call().await.status;
        check_refused(&a, &client, "lou", "wrong").await;
        check_said(&a, "lou", &[("failedLoginAttempts", "1"), ("failedLoginAttemptsBeforeSuccess", "0")]).await;
        let page = Browser::new(other).log_in(&request_of(&client), ("LOU", "wrong")).await;
        assert!(page.body.contains("name=\"password\""), "{}: {page:?}", a.engine);
        check_said(&a, "lou", &[("failedLoginAttempts", "2")]).await;
        assert_eq!(basic(&a, SCOPES).await, 401, "{}", a.engine);
        check_said(&a, "lou", &[("failedLoginAttempts", "3")]).await;
        assert_eq!(basic(other, "/keymanager-operations/user-info/claims").await, 401, "{}", a.engine);
        check_said(&a, "lou", &[("failedLoginAttempts", "4")]).await;
        assert!(a.is_active(&access).await && other.is_active(&access).await, "{}", a.engine);
        assert_eq!(basic(&a, "/api/am/publisher/v1/apis").await, 401, "{}", a.engine);
        // At once where it was counted, and where there is news soon; who is remembered is no exception.
        check_refused(&a, &client, "lou", PASSWORD).await;
        let end = end_of_lock(&a, 5);
        let locked = [
            ("accountLocked", "true"),
            ("unlockTime", end.as_str()),
            ("failedLoginAttempts", "0"),
            ("failedLoginLockoutCount", "1"),
        ];
        check_said(&a, "lou", &locked).await;
        let is_admitted = async || log_in(other, &client, "lou", PASSWORD).await.status == 200;
        assert!(becomes_false(is_admitted).await, "{}", a.engine);
        check_refused(other, &client, "lou", "wrong").await;
        check_refused(other, &client, "nobody", "wrong").await;
        for server in [&a, other] {
            assert!(becomes_false(async || server.is_active(&access).await).await, "{}", a.engine);
        }
        let is_told = |posts: &[Post]| posts.iter().any(|post| post.body["accessToken"] == access.as_str());
        receiver.wait_until(TOLD, is_told).await;
        // What ended stays so.
        a.clock.advance_ms(5 * MINUTE_MS);
        check_admitted(&a, &client, "lou").await;
        check_admitted(other, &client, "lou").await;
        assert!(!a.is_active(&access).await && !other.is_active(&access).await, "{}", a.engine);
        let again = client.refresh(&a, &refresh).await;
        assert_eq!((again.status, again.text("error").as_str()), (400, "invalid_grant"), "{again:?}");
        assert!(account_facts(&a, TenantId::SUPER, "nobody").await.is_empty(), "{}", a.engine);
        for server in [Some(a), b].into_iter().flatten() {
            server.stop().await;
        }
        database.remove().await;
    }
}

#[tokio::test]
async fn a_lock_is_timed_and_the_next_one_longer() {
    on_every_engine(TWO, async |server| {
        insert_user(server, TenantId::SUPER, "lou", PASSWORD, &[]).await;
        let client = register(server, "timed", json!({})).await;
        for (round, minutes) in [("1", 5), ("2", 10), ("3", 20)] {
            check_refused(server, &client, "lou", "wrong").await;
            check_refused(server, &client, "lou", "wrong").await;
            let end = end_of_lock(server, minutes);
            let locked = [
                ("accountLocked", "true"),
                ("unlockTime", end.as_str()),
                ("failedLoginAttempts", "0"),
                ("failedLoginLockoutCount", round),
            ];
            check_said(server, "lou", &locked).await;
            // It counts nothing meanwhile, and is not made longer.
            check_refused(server, &client, "lou", "wrong").await;
            check_refused(server, &client, "lou", "wrong").await;
            check_said(server, "lou", &locked).await;
            server.clock.advance_ms(minutes * MINUTE_MS - 1);
            check_refused(server, &client, "lou", PASSWORD).await;
            check_said(server, "lou", &locked).await;
            server.clock.advance_ms(1);
        }
        check_admitted(server, &client, "lou").await;
        let reset = [
            ("accountLocked", "false"),
            ("unlockTime", "0"),
            ("failedLoginAttempts", "0"),
            ("failedLoginLockoutCount", "0"),
            ("failedLoginAttemptsBeforeSuccess", "6"),
        ];
        check_said(server, "lou", &reset).await;
        // Wrong ones with right ones between them never lock, whether or not the right one is remembered.
        for _ in 0..3 {
            check_refused(server, &client, "lou", "wrong").await;
            check_admitted(server, &client, "lou").await;
            check_said(server, "lou", &[("failedLoginAttempts", "0"), ("failedLoginAttemptsBeforeSuccess", "1")]).await;
        }
    })
    .await;
}

async fn many(servers: &[&Server], client: &Registered, user: &str) {
    let all = servers.iter().cycle().take(40).map(|server| check_refused(server, client, user, "wrong"));
    join_all(all).await;
}

const MANY: &str = "[identity_mgt.account_locking]\nenable_account_locking = true\nallowed_failed_attempts = 100\n";

#[tokio::test(flavor = "multi_thread")]
async fn of_wrong_passwords_at_once_none_is_lost() {
    on_every_engine(MANY, async |server| {
        insert_user(server, TenantId::SUPER, "lou", PASSWORD, &[]).await;
        let client = register(server, "many", json!({})).await;
        many(&[server], &client, "lou").await;
        check_said(server, "lou", &[("failedLoginAttempts", "40")]).await;
    })
    .await;
    on_two_nodes_with(MANY, async |a, b| {
        insert_user(a, TenantId::SUPER, "lou", PASSWORD, &[]).await;
        let client = register(a, "many", json!({})).await;
        many(&[a, b], &client, "lou").await;
        check_said(a, "lou", &[("failedLoginAttempts", "40")]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_at_once_lock_once() {
    let check = async |servers: &[&Server]| {
        let server = servers[0];
        insert_user(server, TenantId::SUPER, "lou", PASSWORD, &[]).await;
        let client = register(server, "once", json!({})).await;
        many(servers, &client, "lou").await;
        check_refused(server, &client, "lou", PASSWORD).await;
        let locked = [("accountLocked", "true"), ("failedLoginAttempts", "0"), ("failedLoginLockoutCount", "1")];
        check_said(server, "lou", &locked).await;
    };
    on_every_engine(LOCKING, async |server| check(&[server]).await).await;
    on_two_nodes_with(LOCKING, async |a, b| check(&[a, b]).await).await;
}

#[tokio::test]
async fn who_does_not_ask_for_it_gets_nothing_written() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "lou", PASSWORD, &[]).await;
        let client = register(server, "off", json!({})).await;
        for _ in 0..6 {
            check_refused(server, &client, "lou", "wrong").await;
        }
        check_admitted(server, &client, "lou").await;
        assert!(account_facts(server, TenantId::SUPER, "lou").await.is_empty(), "{}", server.engine);
        // What an old server counts stays as it is.
        set_account(server, TenantId::SUPER, "lou", &[("failedLoginAttempts", "3")]).await;
        check_admitted(server, &client, "lou").await;
        let said = account_facts(server, TenantId::SUPER, "lou").await;
        assert_eq!(said["failedLoginAttempts"], "3", "{}: {said:?}", server.engine);
    })
    .await;
}

/// An old server beside this one counts in the same rows, in whatever spelling somebody typed.
#[tokio::test]
async fn an_old_servers_count_goes_on() {
    on_every_engine(TWO, async |server| {
        insert_user(server, TenantId::SUPER, "lou", PASSWORD, &[]).await;
        let client = register(server, "beside", json!({})).await;
        let before = [("failedLoginAttempts", "1"), ("failedLoginLockoutCount", "2")];
        set_account(server, TenantId::SUPER, "LOU", &before).await;
        check_refused(server, &client, "lou", "wrong").await;
        check_refused(server, &client, "lou", PASSWORD).await;
        let end = end_of_lock(server, 20);
        let locked = [("accountLocked", "true"), ("unlockTime", end.as_str()), ("failedLoginLockoutCount", "3")];
        check_said(server, "LOU", &locked).await;
        // A lock that an administrator made is none of this rule's.
        insert_user(server, TenantId::SUPER, "max", PASSWORD, &[]).await;
        let by_hand = [("accountLocked", "true"), ("unlockTime", "0"), ("failedLoginAttempts", "1")];
        set_account(server, TenantId::SUPER, "max", &by_hand).await;
        check_refused(server, &client, "max", "wrong").await;
        check_refused(server, &client, "max", "wrong").await;
        check_refused(server, &client, "max", PASSWORD).await;
        check_said(server, "max", &by_hand).await;
    })
    .await;
}

/// Strangers end nothing of who passes locks, however often they try, and his right password is none of their wrong ones.
#[tokio::test(flavor = "multi_thread")]
async fn of_who_passes_locks_nothing_is_counted() {
    on_every_engine(TWO, async |server| {
        insert_user(server, TenantId::SUPER, "sys", PASSWORD, &["Internal/system"]).await;
        let client = register(server, "passes", json!({})).await;
        let access = log_in(server, &client, "sys", PASSWORD).await.text("access_token");
        // He is not remembered: of many at once each would be the first.
        server.app().users.forget_everything();
        many(&[server], &client, "sys").await;
        check_admitted(server, &client, "sys").await;
        server.app().users.finish().await;
        assert!(account_facts(server, TenantId::SUPER, "sys").await.is_empty(), "{}", server.engine);
        assert!(server.is_active(&access).await, "{}", server.engine);
        // What an old server said of him before he had the role is over with a right password.
        let before = [("accountLocked", "true"), ("unlockTime", "0"), ("failedLoginAttempts", "1")];
        set_account(server, TenantId::SUPER, "sys", &before).await;
        check_refused(server, &client, "sys", "wrong").await;
        check_said(server, "sys", &before).await;
        check_admitted(server, &client, "sys").await;
        check_said(server, "sys", &[("accountLocked", "false"), ("failedLoginAttempts", "0")]).await;
    })
    .await;
}

/// The column may be without a value, and is then none.
#[tokio::test]
async fn a_row_that_says_nothing_is_written_over() {
    static INSERT: Sql = Sql::new(
        "INSERT INTO IDN_IDENTITY_USER_DATA (TENANT_ID, USER_NAME, DATA_KEY) \
         VALUES (-1234, 'lou', 'http://wso2.org/claims/identity/failedLoginAttempts')",
        &[],
    );
    on_every_engine(TWO, async |server| {
        insert_user(server, TenantId::SUPER, "lou", PASSWORD, &[]).await;
        let client = register(server, "null", json!({})).await;
        let write = server.app().store.write::<_, StoreError, _>(|conn| Box::pin(conn.execute(&INSERT, &[])));
        assert_eq!(write.await.unwrap(), 1, "{}", server.engine);
        check_refused(server, &client, "lou", "wrong").await;
        check_refused(server, &client, "lou", "wrong").await;
        check_said(server, "lou", &[("accountLocked", "true"), ("failedLoginLockoutCount", "1")]).await;
    })
    .await;
}

/// While nothing can be written a node counts for itself: nobody may guess without end.
#[tokio::test]
async fn a_count_that_cannot_be_written_stands_for_a_while() {
    static REFUSE: Sql = Sql::new(
        "CREATE TRIGGER NOTHING_IS_COUNTED BEFORE INSERT ON IDN_IDENTITY_USER_DATA BEGIN SELECT RAISE(ABORT, 'not today'); END",
        &[],
    );
    on_sqlite(TWO, async |server| {
        for user in ["lou", "max"] {
            insert_user(server, TenantId::SUPER, user, PASSWORD, &[]).await;
        }
        let client = register(server, "unwritten", json!({})).await;
        let write = server.app().store.write::<_, StoreError, _>(|conn| Box::pin(conn.execute(&REFUSE, &[])));
        write.await.unwrap();
        check_refused(server, &client, "lou", "wrong").await;
        check_refused(server, &client, "max", "wrong").await;
        server.app().users.finish().await;
        check_refused(server, &client, "lou", "wrong").await;
        server.app().users.finish().await;
        assert!(account_facts(server, TenantId::SUPER, "lou").await.is_empty());
        check_refused(server, &client, "lou", PASSWORD).await;
        check_admitted(server, &client, "max").await;
    })
    .await;
}

/// Who is refused is told so a step after he asked, whatever there was to be looked up (security.md 4.4: one class of time).
#[tokio::test]
async fn whoever_is_refused_waits_for_the_step() {
    const STEP: Duration = Duration::from_millis(100);
    on_sqlite(TWO, async |server| {
        insert_user(server, TenantId::SUPER, "lou", PASSWORD, &[]).await;
        insert_user(server, TenantId::SUPER, "max", PASSWORD, &[]).await;
        set_account(server, TenantId::SUPER, "max", &[("accountLocked", "true")]).await;
        let client = register(server, "steps", json!({})).await;
        for (user, password) in [("nobody", "wrong"), ("lou", "wrong"), ("max", "wrong"), ("max", PASSWORD)] {
            let begun = Instant::now();
            check_refused(server, &client, user, password).await;
            assert!(begun.elapsed() >= STEP, "{user}: {:?}", begun.elapsed());
        }
    })
    .await;
}

const HR: &[(TenantId, &str, &str, &[&str])] = &[(TenantId::SUPER, "bob", "hr's bob", &[])];
const SALES: &[(TenantId, &str, &str, &[&str])] = &[(TenantId::SUPER, "bob", "sales' bob", &[])];

/// A name without a domain is tried in each store: it is a wrong password in those whose user had another.
#[tokio::test]
async fn each_store_counts_its_own_user() {
    let stores = Box::pin(user_databases([HR, SALES])).await;
    for (database, [hr, sales]) in databases().await.into_iter().zip(stores) {
        let home = Home::new();
        home.write(TenantId::SUPER, "hr", &hr.properties(None));
        home.write(TenantId::SUPER, "sales", &sales.properties(None));
        let options = Options { home: Some(home.path().to_owned()), sections: TWO, ..Options::default() };
        let server = Box::pin(Server::start(&database, options)).await;
        insert_user(&server, TenantId::SUPER, "bob", PASSWORD, &[]).await;
        let client = register(&server, "stores", json!({})).await;
        let reply = log_in(&server, &client, "bob", "sales' bob").await;
        assert_eq!(reply.status, 200, "{}: {reply:?}", server.engine);
        for user in ["bob", "HR/bob"] {
            check_said(&server, user, &[("failedLoginAttempts", "1")]).await;
        }
        assert!(account_facts(&server, TenantId::SUPER, "SALES/bob").await.is_empty(), "{}", server.engine);
        check_refused(&server, &client, "HR/bob", "wrong").await;
        check_refused(&server, &client, "HR/bob", "hr's bob").await;
        check_said(&server, "HR/bob", &[("accountLocked", "true")]).await;
        check_admitted(&server, &client, "bob").await;
        server.stop().await;
        for database in [database, hr.database, sales.database] {
            database.remove().await;
        }
    }
}

/// As IS is configured that keeps what it knows of accounts with its users.
const IN_ATTRIBUTES: &str = "[event.default_listener.governance_identity_store]\n\
     data_store = \"org.wso2.carbon.identity.governance.store.UserStoreBasedIdentityDataStore\"\n\
     [identity_mgt.account_locking]\nenable_account_locking = true\nallowed_failed_attempts = 2\n";

#[tokio::test]
async fn attributes_say_it_too_where_an_old_server_keeps_it_there() {
    on_every_engine(IN_ATTRIBUTES, async |server| {
        insert_user(server, TenantId::SUPER, "lou", PASSWORD, &[]).await;
        let client = register(server, "attributes", json!({})).await;
        let lou = Username::primary("lou", "carbon.super");
        let said = async || server.app().users.attributes(&lou).await.unwrap().unwrap();
        check_refused(server, &client, "lou", "wrong").await;
        check_said(server, "lou", &[("failedLoginAttempts", "1")]).await;
        assert_eq!(said().await["failedLoginAttempts"], "1", "{}", server.engine);
        check_refused(server, &client, "lou", "wrong").await;
        check_refused(server, &client, "lou", PASSWORD).await;
        let attributes = said().await;
        assert_eq!(attributes["accountLock"], "true", "{}", server.engine);
        assert_eq!(attributes["unlockTime"], end_of_lock(server, 5), "{}", server.engine);
        assert_eq!(attributes["failedLockoutCount"], "1", "{}", server.engine);
        // Of the two places each is enough.
        set_account(server, TenantId::SUPER, "lou", &[]).await;
        check_refused(server, &client, "lou", PASSWORD).await;
        server.clock.advance_ms(5 * MINUTE_MS);
        check_admitted(server, &client, "lou").await;
        assert_eq!(said().await["accountLock"], "false", "{}", server.engine);
    })
    .await;
}
