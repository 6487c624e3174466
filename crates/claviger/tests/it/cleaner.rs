//! Cleaning by a running server and by `claviger db clean`.

use crate::harness::{
    Database, Directory, Options, Process, Registered, Server, becomes_false, databases, free_offset, register,
};
use claviger::cleaner::Cleanup;
use claviger_proto::time::Clock as _;
use claviger_store::error::StoreError;
use claviger_store::sql::{Engine, Sql};
use claviger_store::value::Arg;
use serde_json::json;
use std::path::Path;
use std::process::Command;

static ROWS: Sql = Sql::new("SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN", &[]);
/// Active ones, and those by whose refresh token an access token that lives can be revoked.
static LIVE: Sql = Sql::new(
    "SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN WHERE TOKEN_STATE = 'ACTIVE' OR REFRESH_TOKEN IS NOT NULL AND TIME_CREATED > ?",
    &[],
);

const OFF: Cleanup = Cleanup {
    is_enabled: false,
    interval_ms: 1,
    budget_ms: 1,
    silence_ms_max: SILENCE_MS,
    share_percent: 100,
    is_clock_compared: false,
    are_tokens_cleaned: true,
    is_audit_kept: false,
    audit_retention_days: None,
};
/// As fast as it goes.
const FAST: Cleanup = Cleanup { is_enabled: true, interval_ms: 5, budget_ms: 1_000, ..OFF };
/// Six signs of life fit into it on a slow machine.
const SILENCE_MS: u64 = 4_000;
/// Otherwise MySQL's tokens are kept for longer.
const UTC: &str = "[db]\ntoken_time_zone = \"UTC\"\n";
const HOUR_S: i64 = 3_600;

async fn start(database: &Database, cleanup: Cleanup) -> Server {
    Server::start(database, Options { cleanup, sections: UTC, ..Options::default() }).await
}

async fn count(server: &Server, sql: &'static Sql, args: &[Arg<'_>]) -> i64 {
    let mut conn = server.app().store.reader().await.unwrap();
    conn.row(sql, args).await.unwrap().unwrap().int(0).unwrap()
}

async fn jwt_client(server: &Server, name: &str) -> Registered {
    register(server, name, json!({ "token_type_extension": "JWT" })).await
}

/// One live JWT and some retired rows.
async fn issue_jwts(server: &Server, client: &Registered, retired: usize) {
    for _ in 0..=retired {
        client.application_token(server).await;
    }
}

/// Waits until the server has ended that many more rounds of a kind, the one under way not counted.
async fn wait_for_rounds(server: &Server, outcome: &str, rounds: u64) {
    let name = format!("claviger_cleanup_rounds_total{{outcome=\"{outcome}\"}}");
    let wanted = server.metric(&name).await + rounds + 1;
    assert!(becomes_false(async || server.metric(&name).await < wanted).await, "{}: {name}", server.engine);
}

#[tokio::test]
async fn a_running_server_removes_what_is_over() {
    for database in databases().await {
        let server = start(&database, FAST).await;
        let client = jwt_client(&server, "jwt").await;
        issue_jwts(&server, &client, 7).await;
        assert!(becomes_false(async || count(&server, &ROWS, &[]).await != 1).await, "{}", server.engine);
        wait_for_rounds(&server, "complete", 1).await;
        let name = "claviger_cleanup_removed_rows_total{table=\"IDN_OAUTH2_ACCESS_TOKEN\"}";
        assert_eq!(server.metric(name).await, 7, "{}", server.engine);
        let ended = server.metric("claviger_cleanup_last_round_timestamp_seconds").await;
        assert_eq!(ended, u64::try_from(server.clock.now().as_secs()).unwrap());
        server.stop().await;
        database.remove().await;
    }
}

#[tokio::test]
async fn a_server_that_is_told_so_cleans_nothing() {
    let server = start(&Database::Sqlite, OFF).await;
    issue_jwts(&server, &jwt_client(&server, "jwt").await, 3).await;
    assert_eq!(server.metric("claviger_cleanup_last_round_timestamp_seconds").await, 0);
    assert_eq!(count(&server, &ROWS, &[]).await, 4);
    server.stop().await;
}

#[tokio::test]
async fn one_node_cleans_and_another_takes_over() {
    for database in databases().await {
        if database.is_shared() {
            take_over(&database).await;
        }
        database.remove().await;
    }
}

#[tokio::test]
async fn a_table_that_cannot_be_cleaned_costs_no_other_its_turn() {
    static BREAK: Sql = Sql::new("ALTER TABLE IDN_AUTH_SESSION_STORE RENAME COLUMN SESSION_ID TO SOMETHING_ELSE", &[]);
    static OVER: Sql = Sql::new(
        "INSERT INTO CLV_REVOCATION (KIND, SUBJECT, REVOKED_BEFORE, EXPIRES_AT) VALUES ('TOKEN', 'over', 1, 2)",
        &[],
    );
    static REVOCATIONS: Sql = Sql::new("SELECT COUNT(*) FROM CLV_REVOCATION", &[]);
    for database in databases().await {
        if database.is_shared() {
            let other = start(&database, OFF).await;
            for sql in [&BREAK, &OVER] {
                let write = other
                    .app()
                    .store
                    .write::<_, StoreError, _>(move |conn| Box::pin(async move { conn.execute(sql, &[]).await }));
                write.await.unwrap();
            }
            // There is one round only.
            let server = start(&database, Cleanup { interval_ms: 3_600_000, ..FAST }).await;
            let failed = "claviger_cleanup_rounds_total{outcome=\"failed\"}";
            assert!(becomes_false(async || server.metric(failed).await == 0).await, "{}", server.engine);
            assert_eq!(count(&server, &REVOCATIONS, &[]).await, 0, "{}", server.engine);
            server.stop().await;
            other.stop().await;
        }
        database.remove().await;
    }
}

#[tokio::test]
async fn nothing_is_cleaned_while_the_clocks_are_apart() {
    for database in databases().await {
        let server = start(&database, Cleanup { is_clock_compared: true, ..FAST }).await;
        wait_for_rounds(&server, "complete", 1).await;
        server.clock.advance_s(90);
        if database.is_shared() {
            wait_for_rounds(&server, "clocks_apart", 1).await;
            issue_jwts(&server, &jwt_client(&server, "jwt").await, 3).await;
            wait_for_rounds(&server, "clocks_apart", 2).await;
            assert_eq!(count(&server, &ROWS, &[]).await, 4, "{}", server.engine);
        } else {
            wait_for_rounds(&server, "complete", 2).await;
        }
        server.stop().await;
        database.remove().await;
    }
}

async fn take_over(database: &Database) {
    let first = start(database, Cleanup { interval_ms: 3_600_000, ..FAST }).await;
    let name = "claviger_cleanup_rounds_total{outcome=\"complete\"}";
    assert!(becomes_false(async || first.metric(name).await == 0).await, "{}", first.engine);
    let next = async || {
        let options = Options { cleanup: FAST, sections: UTC, clock: Some(first.clock.clone()), ..Options::default() };
        Server::start(database, options).await
    };
    let (second, third) = (next().await, next().await);
    issue_jwts(&second, &jwt_client(&second, "jwt").await, 5).await;
    wait_for_rounds(&second, "not_elected", 3).await;
    assert_eq!(count(&second, &ROWS, &[]).await, 6, "{}: it is the first one's work", second.engine);
    first.kill();
    for server in [&second, &third] {
        wait_for_rounds(server, "not_elected", 3).await;
    }
    assert_eq!(count(&second, &ROWS, &[]).await, 6, "{}: nobody knows yet", second.engine);
    assert!(becomes_false(async || count(&second, &ROWS, &[]).await != 1).await, "{}", second.engine);
    // One that ends in order leaves the work to the next at once.
    let has_cleaned = async |server: &Server| server.metric(name).await > 0;
    let has_none = async || !has_cleaned(&second).await && !has_cleaned(&third).await;
    assert!(becomes_false(has_none).await, "{}", second.engine);
    let is_second = has_cleaned(&second).await;
    let (elected, other) = if is_second { (second, third) } else { (third, second) };
    assert_eq!(other.metric(name).await, 0, "{}: one is enough", other.engine);
    elected.stop().await;
    wait_for_rounds(&other, "complete", 1).await;
    other.stop().await;
}

/// Steady use for a month: new JWTs, refreshed and expired logins, revocations. After each turn's cleaning no table holds
/// more than 1.2 times the rows that still mean something.
#[tokio::test]
async fn tables_stay_within_a_fifth_of_their_live_rows() {
    const CLIENTS: usize = 2;
    const TURNS: i64 = 30;
    const TURN_S: i64 = 25 * HOUR_S;
    static EVENTS: Sql = Sql::new("SELECT COUNT(*) FROM CLV_EVENT", &[]);
    static LIVE_EVENTS: Sql = Sql::new("SELECT COUNT(*) FROM CLV_EVENT WHERE CREATED_AT >= ?", &[]);
    static REVOCATIONS: Sql = Sql::new("SELECT COUNT(*) FROM CLV_REVOCATION", &[]);
    static LIVE_REVOCATIONS: Sql = Sql::new("SELECT COUNT(*) FROM CLV_REVOCATION WHERE EXPIRES_AT > ?", &[]);
    static JWTS: Sql = Sql::new("SELECT COUNT(*) FROM AM_REVOKED_JWT", &[]);
    static LIVE_JWTS: Sql = Sql::new("SELECT COUNT(*) FROM AM_REVOKED_JWT WHERE EXPIRY_TIMESTAMP > ?", &[]);
    for database in databases().await {
        let server = start(&database, FAST).await;
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            clients.push(jwt_client(&server, &format!("jwt{number}")).await);
            clients.push(register(&server, &format!("opaque{number}"), json!({})).await);
        }
        for turn in 0..TURNS {
            server.clock.advance_s(TURN_S);
            for client in &clients {
                let login = client.log_in(&server, "openid").await;
                let refreshed = client.refresh(&server, &login.text("refresh_token")).await;
                assert_eq!(refreshed.status, 200, "{refreshed:?}");
                let token = client.application_token(&server).await;
                client.revoke(&server, &[("token", &token)]).await;
                client.application_token(&server).await;
            }
            if turn % 5 != 4 {
                continue;
            }
            wait_for_rounds(&server, "complete", 1).await;
            let now = server.clock.now();
            let since = [now.plus_millis(-7 * 86_400_000).as_millis().into()];
            let hour_ago = [now.plus_millis(-HOUR_S * 1000).into()];
            let now = [now.as_millis().into()];
            for (all, live, args) in [
                (&ROWS, &LIVE, &hour_ago[..]),
                (&EVENTS, &LIVE_EVENTS, &since),
                (&REVOCATIONS, &LIVE_REVOCATIONS, &now),
                (&JWTS, &LIVE_JWTS, &now),
            ] {
                let (rows, live) = (count(&server, all, &[]).await, count(&server, live, args).await);
                let engine = server.engine;
                assert!(
                    live > 0 && rows * 10 <= live * 12,
                    "{engine}, turn {turn}: {rows} for {live}: {}",
                    all.on(Engine::Sqlite)
                );
            }
        }
        server.stop().await;
        database.remove().await;
    }
}

/// Runs `claviger db clean` and returns its exit code, its output and its complaint.
fn db_clean(data_dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
    let output =
        command.env_clear().args(["db", "clean", "--data-dir"]).arg(data_dir).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn rows_of(table: &str, (code, output, complaint): &(Option<i32>, String, String)) -> u64 {
    assert_eq!(*code, Some(0), "{output}{complaint}");
    let line = output.lines().find_map(|line| line.strip_prefix(table)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {table}: {output}")).trim().parse().unwrap()
}

#[tokio::test]
async fn the_command_says_what_would_go_and_removes_it() {
    for database in databases().await {
        let server = start(&database, OFF).await;
        let client = jwt_client(&server, "jwt").await;
        issue_jwts(&server, &client, 4).await;
        let engine = server.engine;
        let directory = server.stop_and_keep().await;
        std::fs::write(directory.path().join("deployment.toml"), database.section()).unwrap();
        let table = "IDN_OAUTH2_ACCESS_TOKEN";
        for turn in 0..2 {
            let answer = db_clean(directory.path(), &["--dry-run"]);
            assert!(answer.1.contains("would go"), "{engine}: {answer:?}");
            assert_eq!(rows_of(table, &answer), 4, "{engine}, turn {turn}: looking removes nothing");
        }
        let answer = db_clean(directory.path(), &[]);
        assert_eq!((rows_of(table, &answer), rows_of("CLV_EVENT", &answer)), (4, 0), "{engine}");
        assert_eq!(rows_of(table, &db_clean(directory.path(), &["--dry-run"])), 0, "{engine}");
        database.remove().await;
    }
}

#[tokio::test]
async fn the_command_does_what_it_can_where_tables_are_missing_or_broken() {
    for database in databases().await {
        if database.is_shared() {
            let server = start(&database, OFF).await;
            issue_jwts(&server, &jwt_client(&server, "jwt").await, 3).await;
            let engine = server.engine;
            let directory = server.stop_and_keep().await;
            std::fs::write(directory.path().join("deployment.toml"), database.section()).unwrap();
            for statement in [
                "DROP TABLE CLV_REVOCATION",
                "DROP TABLE CLV_EVENT",
                "DROP TABLE CLV_NOTIFICATION",
                "DROP TABLE CLV_CODE_CONTEXT",
            ] {
                database.ask(statement).await.unwrap();
            }
            let answer = db_clean(directory.path(), &["--dry-run"]);
            assert_eq!(rows_of("IDN_OAUTH2_ACCESS_TOKEN", &answer), 3, "{engine}: as before the first start");
            assert!(!answer.1.contains("CLV_"), "{engine}: {answer:?}");
            database
                .ask("ALTER TABLE IDN_AUTH_SESSION_STORE RENAME COLUMN SESSION_ID TO SOMETHING_ELSE")
                .await
                .unwrap();
            let (code, output, complaint) = db_clean(directory.path(), &[]);
            assert!(code == Some(1) && complaint.contains("IDN_AUTH_SESSION_STORE cannot be"), "{engine}: {complaint}");
            assert_eq!(rows_of("IDN_OAUTH2_ACCESS_TOKEN", &(Some(0), output, complaint)), 3, "{engine}");
        }
        database.remove().await;
    }
}

#[tokio::test]
async fn the_command_makes_no_database_and_leaves_a_running_server_its_own() {
    let directory = Directory::new();
    let (code, _, complaint) = db_clean(directory.path(), &["--dry-run"]);
    assert!(code == Some(1) && complaint.contains("there is no database"), "{complaint}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is made");
    let mut offset = free_offset();
    let process = loop {
        match Process::try_start(directory.path(), offset, &[]).await {
            Ok(process) => break process,
            Err(ended) => assert!(ended.is_port_taken(), "{ended:?}"),
        }
        offset = free_offset();
    };
    let (code, _, complaint) = db_clean(directory.path(), &[]);
    assert!(code == Some(1) && complaint.contains("in use by another server"), "{complaint}");
    process.kill();
    let (code, _, complaint) = db_clean(directory.path(), &["--config", "/nowhere/x.toml"]);
    assert!(code == Some(3) && complaint.contains("/nowhere/x.toml"), "{complaint}");
}
