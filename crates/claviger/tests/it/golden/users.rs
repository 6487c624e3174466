//! `claviger user` on what an old server left: locks where each release keeps them, tokens in its form.

use super::configuration::deployment;
use super::{NOW_MS, server_url, start};
use crate::golden::forward::registered;
use crate::harness::{Server, becomes_false};
use claviger::app::SystemEntropy;
use claviger::cli::user::{UserAction, Verb, run};
use claviger::config;
use claviger_golden::golden::Golden;
use claviger_golden::options::Options;
use claviger_golden::{Engine, Release};
use futures_util::future::join_all;
use std::sync::Arc;

const RELEASES: [Release; 5] = [Release::V2_1, Release::V2_6, Release::V3_0, Release::V3_1, Release::V3_2];

#[tokio::test]
async fn users_of_every_release_on_mariadb_are_locked_unlocked_and_deleted() {
    locked_unlocked_and_deleted(Engine::MySql).await;
}

#[tokio::test]
async fn users_of_every_release_on_postgresql_are_locked_unlocked_and_deleted() {
    locked_unlocked_and_deleted(Engine::Postgres).await;
}

async fn locked_unlocked_and_deleted(engine: Engine) {
    let Some(url) = server_url(engine) else { return };
    // Side by side: an act waits until every node has heard of it.
    let cases = RELEASES.map(async |release| {
        let golden = Golden::create(engine, &url, Options::new(release, NOW_MS)).await.unwrap();
        let server = start(&golden).await;
        check_accounts(&golden, &server).await;
        check_deletion(&golden, &server).await;
        server.stop().await;
        golden.drop_databases().await.unwrap();
    });
    join_all(cases).await;
}

async fn act(golden: &Golden, server: &Server, verb: Verb, user: &str) {
    let config = config::load(&deployment(golden), "deployment.toml", &|_| None).unwrap().config;
    let action = UserAction { name: user.to_owned(), verb };
    let mut out = Vec::new();
    let rng = Arc::new(SystemEntropy::default());
    let code = run(&config, &action, server.clock.clone(), rng, (&mut &b""[..], &mut out)).await;
    assert_eq!(code.unwrap(), 0, "{user}: {}", String::from_utf8_lossy(&out));
}

/// Is he let in?
async fn logs_in(golden: &Golden, server: &Server, user: &str) -> bool {
    let password = golden.manifest.user(user, -1234).unwrap().password.clone().unwrap();
    let client = registered(golden.manifest.client("app").unwrap());
    let form = [("grant_type", "password"), ("username", user), ("password", password.as_str())];
    let reply = client.token(server, &form).await;
    assert!(matches!(reply.status, 200 | 400), "{user}: {reply:?}");
    reply.status == 200
}

/// What an act does not speak of stays as the old server left it, wherever that stands.
async fn check_accounts(golden: &Golden, server: &Server) {
    let comes_in = async |user| becomes_false(async || !logs_in(golden, server, user).await).await;
    // Disabled, and no more locked than before.
    act(golden, server, Verb::Unlock, "dan").await;
    server.app().forget_everything();
    assert!(!logs_in(golden, server, "dan").await, "{:?}", golden.options);
    act(golden, server, Verb::Enable, "dan").await;
    assert!(comes_in("dan").await, "{:?}", golden.options);
    // Locked for a day, which a disabling and its end do not change.
    act(golden, server, Verb::Disable, "tim").await;
    act(golden, server, Verb::Enable, "tim").await;
    server.app().forget_everything();
    server.clock.advance_s(10);
    assert!(!logs_in(golden, server, "tim").await, "{:?}", golden.options);
    act(golden, server, Verb::Unlock, "tim").await;
    assert!(comes_in("tim").await, "{:?}", golden.options);
    act(golden, server, Verb::Lock, "lia").await;
    assert!(becomes_false(async || logs_in(golden, server, "lia").await).await, "{:?}", golden.options);
    // The old server sees all that, where it looks.
    for (user, may_log_in) in [("dan", true), ("tim", true), ("lia", false), ("lou", false)] {
        let password = golden.manifest.user(user, -1234).unwrap().password.clone().unwrap();
        let told = golden.old_server().check_password(user, -1234, &password, NOW_MS).await.unwrap();
        assert_eq!(told, may_log_in, "{user}: {:?}", golden.options);
    }
}

async fn check_deletion(golden: &Golden, server: &Server) {
    let is_hers = |user: &str, store: &str, tenant: i64| (user, store, tenant) == ("carol", "PRIMARY", -1234);
    let own = golden.manifest.tokens.iter().filter(|token| is_hers(&token.user, &token.store, token.tenant_id));
    let opaque: Vec<_> = own.filter(|token| token.is_active && !token.is_jwt).collect();
    assert!(opaque.len() > 2, "{}", opaque.len());
    act(golden, server, Verb::Delete, "carol").await;
    for token in opaque {
        let is_active = async || server.is_active(&token.access).await;
        assert!(becomes_false(is_active).await, "{}: {:?}", token.name, golden.options);
        if let Some(refresh) = &token.refresh {
            let client = golden.manifest.clients.iter().find(|client| client.key == token.client).unwrap();
            assert_eq!(registered(client).refresh(server, refresh).await.status, 400, "{}", token.name);
        }
    }
    let of_carol = "SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN WHERE AUTHZ_USER = 'carol' AND TENANT_ID = -1234 \
                    AND USER_DOMAIN = 'PRIMARY' AND TOKEN_STATE IN ('ACTIVE', 'EXPIRED')";
    let codes = "SELECT COUNT(*) FROM IDN_OAUTH2_AUTHORIZATION_CODE WHERE AUTHZ_USER = 'carol' AND TENANT_ID = -1234 \
                 AND USER_DOMAIN = 'PRIMARY' AND STATE = 'ACTIVE'";
    let data = "SELECT COUNT(*) FROM IDN_IDENTITY_USER_DATA WHERE USER_NAME = 'carol' AND TENANT_ID = -1234";
    for sql in [of_carol, codes, data] {
        let rows = golden.databases.identity.rows(sql, &[]).await.unwrap();
        assert_eq!(rows[0].int(0).unwrap(), 0, "{:?}: {sql}", golden.options);
    }
    let users = "SELECT COUNT(*) FROM UM_USER WHERE UM_USER_NAME = 'carol' AND UM_TENANT_ID = -1234";
    let roles = "SELECT COUNT(*) FROM UM_HYBRID_USER_ROLE WHERE UM_USER_NAME = 'carol' AND UM_TENANT_ID = -1234 \
                 AND UM_DOMAIN_ID IN (SELECT UM_DOMAIN_ID FROM UM_DOMAIN WHERE UM_DOMAIN_NAME = 'PRIMARY' AND UM_TENANT_ID = -1234)";
    for sql in [users, roles] {
        let rows = golden.databases.user.rows(sql, &[]).await.unwrap();
        assert_eq!(rows[0].int(0).unwrap(), 0, "{:?}: {sql}", golden.options);
    }
}
