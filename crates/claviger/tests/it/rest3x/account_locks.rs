//! Accounts that an old server has locked or disabled: nobody logs in by them or goes on from an earlier login (users-ldap.md 3.8,
//! security.md 2.2.2), and nobody is told that they are there.

use super::codes::{CALLBACK, register_for_codes, request_of};
use crate::harness::{
    Browser, Call as _, Registered, Reply, Server, insert_tenant, insert_user, on_every_engine, on_sqlite, sent_back,
    set_account,
};
use claviger_proto::ids::TenantId;
use claviger_proto::time::Clock as _;
use serde_json::json;

const PASSWORD: &str = "right";
const GONE: &str = "The user of the refresh token may not log in any more";
const SCOPES: &str = "/api/identity/oauth2/v1.0/scopes";
const LOCK: &[(&str, &str)] = &[("accountLocked", "true")];

async fn log_in(server: &Server, client: &Registered, user: &str) -> Reply {
    client.token(server, &[("grant_type", "password"), ("username", user), ("password", PASSWORD)]).await
}

async fn check_refused(server: &Server, client: &Registered, user: &str) {
    let refused = log_in(server, client, user).await;
    let wrong = [("grant_type", "password"), ("username", user), ("password", "wrong")];
    let wrong = client.token(server, &wrong).await;
    // Word for word what a wrong password is told.
    refused.check_error(400, "invalid_grant", &format!("Authentication failed for {user}"));
    assert_eq!((refused.status, &refused.body), (wrong.status, &wrong.body), "{user}, {}", server.engine);
}

async fn check_admitted(server: &Server, client: &Registered, user: &str) {
    let reply = log_in(server, client, user).await;
    assert_eq!(reply.status, 200, "{user}, {}: {reply:?}", server.engine);
}

/// A client of the password grant, of codes and of refresh tokens.
async fn register_client(server: &Server) -> Registered {
    let grants = json!({ "grant_types": ["password", "authorization_code", "refresh_token"] });
    register_for_codes(server, "locks", grants).await
}

#[tokio::test]
async fn who_is_locked_or_disabled_is_kept_out_by_every_door() {
    for facts in [LOCK, &[("accountDisabled", "true")]] {
        on_every_engine("", async |server| {
            insert_user(server, TenantId::SUPER, "lou", PASSWORD, &["admin"]).await;
            let client = register_client(server).await;
            let browser = Browser::new(server);
            let who = ("lou", PASSWORD);
            let first = log_in(server, &client, "lou").await;
            assert_eq!(first.status, 200, "{}: {first:?}", server.engine);
            let code = browser.code(&request_of(&client), who).await;
            let page = browser.log_in(&request_of(&client), who).await;
            let basic = || server.get(SCOPES).basic_auth("lou", Some(PASSWORD));
            assert_eq!(basic().call().await.status, 200, "{}", server.engine);
            let access = first.text("access_token");
            assert!(server.is_active(&access).await, "{}", server.engine);
            set_account(server, TenantId::SUPER, "lou", facts).await;
            check_refused(server, &client, "lou").await;
            assert_eq!(basic().call().await.status, 401, "{}", server.engine);
            assert!(!server.is_active(&access).await, "{}", server.engine);
            assert_eq!(
                server.get("/oauth2/userinfo").bearer_auth(&access).call().await.status,
                401,
                "{}",
                server.engine
            );
            let bearer = server.get(SCOPES).bearer_auth(first.text("access_token"));
            assert_eq!(bearer.call().await.status, 401, "{}", server.engine);
            let refresh = first.text("refresh_token");
            client.refresh(server, &refresh).await.check_error(400, "invalid_grant", GONE);
            let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK)];
            let text = "The user of the authorization code may not log in any more";
            client.token(server, &form).await.check_error(400, "invalid_grant", text);
            let back = browser.answer(&page, "approve").await;
            assert_eq!(sent_back(&back)["error"], "access_denied", "{}", server.engine);
            let again = browser.log_in(&request_of(&client), who).await;
            assert!(again.body.contains("name=\"password\""), "{}: {again:?}", server.engine);
            // What was not used up is good again when the account is, also a token that nobody ended.
            set_account(server, TenantId::SUPER, "lou", &[("accountLocked", "false"), ("accountDisabled", "false")])
                .await;
            assert!(server.is_active(&access).await, "{}", server.engine);
            assert_eq!(client.token(server, &form).await.status, 200, "{}", server.engine);
            assert_eq!(client.refresh(server, &refresh).await.status, 200, "{}", server.engine);
            check_admitted(server, &client, "lou").await;
        })
        .await;
    }
}

/// What is remembered of a user is asked for the time each time.
#[tokio::test]
async fn a_lock_ends_by_itself() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "lou", PASSWORD, &[]).await;
        let client = register_client(server).await;
        let refresh = log_in(server, &client, "lou").await.text("refresh_token");
        let end_ms = server.clock.now().as_millis() + 60_000;
        let end: &'static str = end_ms.to_string().leak();
        set_account(server, TenantId::SUPER, "lou", &[("accountLocked", "TRUE"), ("unlockTime", end)]).await;
        check_refused(server, &client, "lou").await;
        server.clock.advance_ms(59_999);
        check_refused(server, &client, "lou").await;
        client.refresh(server, &refresh).await.check_error(400, "invalid_grant", GONE);
        server.clock.advance_ms(1);
        check_admitted(server, &client, "lou").await;
        set_account(server, TenantId::SUPER, "lou", &[("accountLocked", "true"), ("unlockTime", "0")]).await;
        server.clock.advance_s(3600);
        check_refused(server, &client, "lou").await;
    })
    .await;
}

#[tokio::test]
async fn whose_a_lock_is() {
    on_every_engine("", async |server| {
        let acme = insert_tenant(server, "acme.com").await;
        insert_user(server, TenantId::SUPER, "lou", PASSWORD, &[]).await;
        insert_user(server, TenantId::SUPER, "Lou", PASSWORD, &[]).await;
        insert_user(server, TenantId::SUPER, "max", PASSWORD, &[]).await;
        insert_user(server, acme, "max", PASSWORD, &[]).await;
        let client = register_client(server).await;
        // Another store's and another tenant's users.
        set_account(server, TenantId::SUPER, "HR/max", LOCK).await;
        set_account(server, acme, "max", LOCK).await;
        check_admitted(server, &client, "max").await;
        // In a spelling of nobody else's, as a login by it wrote it.
        set_account(server, TenantId::SUPER, "MAX", LOCK).await;
        check_refused(server, &client, "max").await;
        check_refused(server, &client, "mAX").await;
        // Of two whose names differ in case alone the old server tells the rows of neither from the other's.
        set_account(server, TenantId::SUPER, "Lou", LOCK).await;
        check_refused(server, &client, "lou").await;
        check_refused(server, &client, "Lou").await;
    })
    .await;
}

#[tokio::test]
async fn a_role_passes_locks_and_no_disabling() {
    on_sqlite("", async |server| {
        insert_user(server, TenantId::SUPER, "sys", PASSWORD, &["Internal/system"]).await;
        let client = register_client(server).await;
        set_account(server, TenantId::SUPER, "sys", LOCK).await;
        check_admitted(server, &client, "sys").await;
        set_account(server, TenantId::SUPER, "sys", &[("accountLocked", "true"), ("accountDisabled", "true")]).await;
        check_refused(server, &client, "sys").await;
    })
    .await;
}
