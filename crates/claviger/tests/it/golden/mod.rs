//! The reversible swap: the program on databases that an old server left, and the old server on what the program left
//! (contract database.md). Each case makes databases of its own on the servers that `CLAVIGER_TEST_MYSQL_URL` and
//! `CLAVIGER_TEST_POSTGRES_URL` name; `CLAVIGER_TEST_LONG=1` asks for every form, layout and clock of every release.

mod again;
mod backward;
mod configuration;
mod forward;
mod tenant_key;
mod throttle;
mod users;

use crate::harness::{Call as _, ManualClock, Options as ServerOptions, Server};
use claviger::cleaner::{Cleanup, clean_database};
use claviger::config;
use claviger_golden::golden::Golden;
use claviger_golden::options::{Layout, Options, matrix};
use claviger_golden::{Engine, Release};
use configuration::{InstallationKey, deployment};
use reqwest::Method;
use std::sync::Arc;

/// When the old server was stopped and ours is started.
const NOW_MS: i64 = 1_790_000_000_123;

#[tokio::test]
async fn mariadb_of_every_release_is_taken_over_and_given_back() {
    there_and_back(Engine::MySql).await;
}

#[tokio::test]
async fn postgresql_of_every_release_is_taken_over_and_given_back() {
    there_and_back(Engine::Postgres).await;
}

async fn there_and_back(engine: Engine) {
    let Some(url) = server_url(engine) else { return };
    for options in matrix(engine, NOW_MS, is_long(), |release| Arc::new(InstallationKey::of(release))) {
        eprintln!("{engine:?} {options:?}");
        let golden = Golden::create(engine, &url, options).await.unwrap();
        let server = start(&golden).await;
        let mut ledger = forward::check(&golden, &server).await;
        backward::write(&golden, &server, &mut ledger).await;
        server.stop().await;
        backward::check(&golden, &ledger).await;
        again::write(&golden, &mut ledger).await;
        clean(&golden).await;
        let server = start(&golden).await;
        again::check(&server, &mut ledger).await;
        server.stop().await;
        backward::check(&golden, &ledger).await;
        golden.drop_databases().await.unwrap();
    }
}

/// The portal and the gateway read tables that only 3.2 has.
#[tokio::test]
async fn other_roles_than_the_key_manager_refuse_older_releases() {
    for engine in [Engine::MySql, Engine::Postgres] {
        let Some(url) = server_url(engine) else { continue };
        let options = Options { layout: Layout::One, ..Options::new(Release::V3_1, NOW_MS) };
        let golden = Golden::create(engine, &url, options).await.unwrap();
        for role in ["default", "portal"] {
            let options = ServerOptions { role: Some(role), ..ServerOptions::default() };
            let started = Server::start_on(name(engine), &deployment(&golden), "admin", options).await;
            let error = format!("{:#}", started.err().unwrap());
            assert!(error.contains("those of 3.1") && error.contains("--profile key-manager"), "{error}");
        }
        // A gateway apart is told so too.
        let server = start(&golden).await;
        let feed = |method: Method, path: &str| {
            let request = server.request(method, &format!("/internal/claviger/v1{path}"));
            request.basic_auth("admin", Some(&server.admin_password))
        };
        let mut requests: Vec<_> = ["/snapshot", "/apis/1", "/applications/1", "/issuers", "/events?after=0"]
            .map(|path| feed(Method::GET, path))
            .into();
        requests.push(feed(Method::POST, "/check-token").form(&[("token", "any")]));
        for request in requests {
            let reply = request.call().await;
            assert_eq!(reply.status, 501, "{reply:?}");
            assert!(reply.text("description").contains("those of 3.1"), "{reply:?}");
        }
        server.stop().await;
        golden.drop_databases().await.unwrap();
    }
}

/// `claviger db clean` takes what is over and, where there is a table for it, keeps a copy.
async fn clean(golden: &Golden) {
    let db = &golden.databases.identity;
    let count = async |table: &str| {
        let rows = db.rows(&format!("SELECT COUNT(*) FROM {table}"), &[]).await.unwrap();
        rows[0].int(0).unwrap()
    };
    let (tokens, audit) = ("IDN_OAUTH2_ACCESS_TOKEN", "IDN_OAUTH2_ACCESS_TOKEN_AUDIT");
    let has_audit = golden.options.release >= Release::V2_6;
    let before = (count(tokens).await, if has_audit { count(audit).await } else { 0 });
    let config = config::load(&deployment(golden), "deployment.toml", &|_| None).unwrap().config;
    let settings = Cleanup { is_clock_compared: false, ..Cleanup::from(&config.cleanup) };
    let clock = ManualClock::at_ms(golden.manifest.now_ms);
    clean_database(&config, &settings, &*clock, false, &mut std::io::sink()).await.unwrap();
    let removed = before.0 - count(tokens).await;
    assert!(removed > 0, "{:?}", golden.options);
    if has_audit {
        assert_eq!(count(audit).await - before.1, removed);
    }
}

/// Ours, on the old server's databases with its settings and, in the super tenant, its administrator.
async fn start(golden: &Golden) -> Server {
    let admin = golden.manifest.user("admin", -1234).unwrap();
    let options = ServerOptions {
        role: Some(if golden.manifest.release == Release::V3_2 { "default" } else { "key-manager" }),
        clock: Some(ManualClock::at_ms(golden.manifest.now_ms)),
        ..ServerOptions::default()
    };
    let password = admin.password.as_ref().unwrap();
    Server::start_on(name(golden.manifest.engine), &deployment(golden), password, options).await.unwrap()
}

fn name(engine: Engine) -> &'static str {
    if engine == Engine::MySql { "MariaDB" } else { "PostgreSQL" }
}

#[expect(clippy::disallowed_methods, reason = "the test reads where its servers are")]
fn server_url(engine: Engine) -> Option<String> {
    let name = if engine == Engine::MySql { "CLAVIGER_TEST_MYSQL_URL" } else { "CLAVIGER_TEST_POSTGRES_URL" };
    std::env::var(name).ok()
}

#[expect(clippy::disallowed_methods, reason = "the test reads how long it may take")]
fn is_long() -> bool {
    std::env::var("CLAVIGER_TEST_LONG").is_ok_and(|value| value == "1")
}
