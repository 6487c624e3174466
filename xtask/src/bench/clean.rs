//! Cleaning under load: a million expired tokens are removed by the running server while it issues at half of what it can,
//! and nobody is to notice (performance.md, Growth).

use super::{
    Bench,
    load::{Figure, Load, Pace, run_wrk},
    plans::{NEW_EACH_TIME, engines, on_engine, token_load},
    stats::{Sample, Spread},
    subject::{Subject, TokenKind},
};
use crate::{
    process,
    servers::{Choice, Running, Servers},
};
use anyhow::{Context as _, Result, bail, ensure};
use std::{
    fmt::Write as _,
    process::Command,
    time::{Duration, Instant},
};

const ROWS: u32 = 1_000_000;
const CLIENTS: usize = 100;
/// Longest wait for the last row.
const LIMIT: Duration = Duration::from_hours(1);
const WARM_UP_SECONDS: u32 = 2;

/// Everything of a token row but the times, which are written differently on each engine, from a number I.
const COLUMNS: &str = "INSERT INTO IDN_OAUTH2_ACCESS_TOKEN (TOKEN_ID, ACCESS_TOKEN, CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, USER_DOMAIN, \
    USER_TYPE, GRANT_TYPE, VALIDITY_PERIOD, REFRESH_TOKEN_VALIDITY_PERIOD, TOKEN_SCOPE_HASH, TOKEN_STATE, TOKEN_STATE_ID, \
    SUBJECT_IDENTIFIER, ACCESS_TOKEN_HASH, IDP_ID, TIME_CREATED, REFRESH_TOKEN_TIME_CREATED) \
    SELECT MD5(CAST(I AS CHAR(9))), CONCAT('bench', I), (SELECT MIN(ID) FROM IDN_OAUTH_CONSUMER_APPS), 'admin', -1234, 'PRIMARY', \
    'APPLICATION', 'bench', 3600000, 86400000, 'd41d8cd98f00b204e9800998ecf8427e', 'EXPIRED', CONCAT('bench', I), 'admin', \
    CONCAT('{\"hash\":\"', MD5(CAST(I AS CHAR(9))), '\",\"algorithm\":\"SHA-256\"}'), 1, ";
const SCOPES: &str = "INSERT INTO IDN_OAUTH2_ACCESS_TOKEN_SCOPE (TOKEN_ID, TOKEN_SCOPE, TENANT_ID) \
    SELECT TOKEN_ID, 'default', -1234 FROM IDN_OAUTH2_ACCESS_TOKEN WHERE GRANT_TYPE = 'bench'";
const COUNT: &str = "SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN WHERE GRANT_TYPE = 'bench'";

pub(super) fn run(bench: &mut Bench) -> Result<String> {
    let servers = Servers::start(Choice { is_durable: true, ..Choice::default() })?;
    let mut text = String::from(
        "| engine | load: per second of what it can | p99 us before | p99 us meanwhile: median (min-max) | ratio | rows per second | errors |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (engine, server) in engines(&servers) {
        if let Some(server) = server {
            writeln!(text, "{}", on_one(bench, engine, server)?)?;
        }
    }
    Ok(text)
}

fn on_one(bench: &mut Bench, engine: &str, server: &Running) -> Result<String> {
    let configuration = format!("{NEW_EACH_TIME}{}", on_engine(engine, Some(server)));
    let mut subject = Subject::start(bench, engine, &configuration)?;
    let load = token_load(bench, &subject, TokenKind::Opaque, CLIENTS, &[])?;
    let pace = bench.pace;
    measure(&load, Pace { seconds: WARM_UP_SECONDS, ..pace })?;
    let full = measure(&load, pace)?.per_second;
    // A connection that pauses for as long as two of its turns at full load makes half of that load, or a little less.
    let delay_ms = whole_ms(2_000.0 * f64::from(pace.connections) / full)?;
    let half = Pace { delay_ms, ..pace };
    let before = (0..pace.rounds).map(|_| measure(&load, half)).collect::<Result<Vec<_>>>()?;

    ask(engine, server, &fill(engine))?;
    ask(engine, server, SCOPES)?;
    ask(engine, server, if engine == "mariadb" { "ANALYZE TABLE IDN_OAUTH2_ACCESS_TOKEN" } else { "ANALYZE" })?;
    ensure!(left(engine, server)? == ROWS, "{ROWS} rows were to be made");
    // A server cleans when it has started.
    let client = subject.register("bench-start", TokenKind::Opaque)?;
    subject.stop()?;
    subject.cold_start_ms(bench, &client)?;
    let (begun, mut meanwhile) = (Instant::now(), Vec::new());
    loop {
        meanwhile.push(measure(&load, half)?);
        let rows = left(engine, server)?;
        eprintln!("xtask: {engine}: {rows} rows left after {} s", begun.elapsed().as_secs());
        if rows == 0 {
            break;
        }
        if begun.elapsed() > LIMIT {
            bail!("{rows} of {ROWS} rows are left after {} s", LIMIT.as_secs());
        }
    }
    let rate = f64::from(ROWS) / begun.elapsed().as_secs_f64();
    let p99 = |samples: &[Sample]| Spread::of(samples.iter().map(|sample| sample.p99_us)).context("no rounds");
    let (calm, busy) = (p99(&before)?, p99(&meanwhile)?);
    let loaded = Spread::of(meanwhile.iter().map(|sample| sample.per_second)).context("no rounds")?.median;
    let errors: u64 = before.iter().chain(&meanwhile).map(|sample| sample.errors).sum();
    Ok(format!(
        "| {engine} | {loaded:.0} of {full:.0} | {:.0} | {:.0} ({:.0}-{:.0}) | {:.2} | {rate:.0} | {errors} |",
        calm.median,
        busy.median,
        busy.min,
        busy.max,
        busy.median / calm.median
    ))
}

fn measure(load: &Load, pace: Pace) -> Result<Sample> {
    run_wrk(load, pace, Figure::PerSecond)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn whole_ms(ms: f64) -> Result<u32> {
    ensure!((1.0..60_000.0).contains(&ms), "a pause of {ms} ms is no pause");
    Ok(ms.round() as u32)
}

/// The rows, three days old.
fn fill(engine: &str) -> String {
    if engine == "mariadb" {
        let then = "UTC_TIMESTAMP() - INTERVAL 3 DAY";
        return format!("{COLUMNS}{then}, {then} FROM (SELECT seq AS I FROM seq_1_to_{ROWS}) N");
    }
    let then = "NOW() AT TIME ZONE 'UTC' - INTERVAL '3 days'";
    format!("{COLUMNS}{then}, {then} FROM generate_series(1, {ROWS}) AS N(I)")
}

fn left(engine: &str, server: &Running) -> Result<u32> {
    ask(engine, server, COUNT)?.trim().parse().context("a count")
}

/// Runs a statement through the engine's own client and returns what it prints.
fn ask(engine: &str, server: &Running, statement: &str) -> Result<String> {
    if engine != "mariadb" {
        let mut psql = Command::new(process::program("psql")?);
        return process::capture(psql.args([
            "-X",
            "-q",
            "-t",
            "-A",
            "-v",
            "ON_ERROR_STOP=1",
            &server.url,
            "-c",
            statement,
        ]));
    }
    let mut client = Command::new(process::program("mariadb")?);
    client.args([
        "--no-defaults",
        "--protocol=tcp",
        "--host=127.0.0.1",
        "--user=claviger",
        "--skip-column-names",
        "--batch",
    ]);
    client.arg(format!("--port={}", server.port)).env("MYSQL_PWD", &server.password);
    process::capture(client.arg(format!("--execute={statement}")).arg("claviger_test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_load_is_a_pause_of_two_turns() {
        assert_eq!(whole_ms(2_000.0 * 32.0 / 1_600.0).unwrap(), 40);
        assert!(whole_ms(f64::INFINITY).is_err() && whole_ms(0.2).is_err());
    }

    #[test]
    fn both_engines_make_the_same_rows() {
        for engine in ["mariadb", "postgres"] {
            let statement = fill(engine);
            let columns = statement.split_once('(').and_then(|(_, rest)| rest.split_once(')')).unwrap().0;
            assert_eq!(columns.split(", ").count(), 18, "{engine}");
            assert!(statement.contains("1000000"), "{engine}");
        }
    }
}
