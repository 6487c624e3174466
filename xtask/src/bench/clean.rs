//! Cleaning under load: a million expired tokens are removed by the running server while it issues at half of what it can,
//! and nobody is to notice (performance.md, Growth).
//!
//! The same rows and the same load stand on both sides: first with the cleaner off, then with it on until the last row is gone,
//! then, with nothing left to clean, once more. The load is an open loop ([`super::open_loop`]).

use super::{
    Bench,
    database::{self, Database},
    load::{Figure, Pace, run_wrk},
    open_loop::{Call, Flight, Volley, fire},
    plans::{NEW_EACH_TIME, token_load_of},
    rows::{self, Kind, Owners},
    stats::Spread,
    subject::Subject,
};
use anyhow::{Context as _, Result, bail, ensure};
use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

const ROWS: u64 = 1_000_000;
/// Live tokens that stand among them and must all be there afterwards.
const LIVE: u64 = 1_000;
const CLIENTS: usize = 100;
/// Longest wait for the last row.
const LIMIT: Duration = Duration::from_hours(1);
const WARM_UP_SECONDS: u32 = 2;
/// Load while rows are counted, and again until they are.
const COUNT_SECONDS: u32 = 2;
/// MiB of pages in memory: more than the rows need.
const BUFFER_MIB: u32 = 1024;

const CLEANER_OFF: &str = "[cleanup]\nenable = false\n";
/// Without rests between runs, in which the load would be measured without the cleaner; its share of the time follows.
const CLEANER_ON: &str = "[cleanup]\ntime_budget_ms = 3600000\nshare_percent = ";
/// The default of `cleanup.share_percent`.
const SHARE_PERCENT: u32 = 25;
const LEFT: &str = "SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN WHERE GRANT_TYPE = 'bench'";
const LIVING: &str =
    "SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN WHERE GRANT_TYPE = 'live' AND TOKEN_STATE = 'ACTIVE'";
const AUDITED: &str = "SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN_AUDIT";

pub(super) fn run(bench: &mut Bench) -> Result<String> {
    let mut text = String::from(
        "| engine | load, calls per second (of what it can) | p99 us without the cleaner, before and after | p99 us meanwhile: \
         median (min-max) | ratio | rows removed in whole rounds | in s under load | per second | live tokens left |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for engine in database::chosen(bench.engine.as_deref())? {
        let servers = database::start(Some(BUFFER_MIB))?;
        let database = Database::of(engine, database::server(&servers, engine));
        let row = on_one(bench, &database).with_context(|| engine)?;
        eprintln!("xtask: {row}");
        writeln!(text, "{row}")?;
    }
    Ok(text)
}

fn on_one(bench: &mut Bench, database: &Database) -> Result<String> {
    let rows = bench.rows.first().copied().unwrap_or(ROWS);
    let configuration = |cleaner: &str| format!("{NEW_EACH_TIME}{cleaner}{}", database.configuration());
    let mut subject = Subject::start(bench, database.engine, &configuration(CLEANER_OFF))?;
    let owners = Owners::register(&subject, database, CLIENTS, 0)?;
    rows::insert(database, &owners, Kind::Over, (1, rows), "bench")?;
    rows::insert(database, &owners, Kind::Live, (rows + 1, LIVE), "live")?;
    ensure!(database.number(LEFT)? == rows, "{rows} rows were to be made");

    let pace = bench.pace;
    let capacity = token_load_of(bench, &subject, &owners.opaque, &[])?;
    run_wrk(&capacity, Pace { seconds: WARM_UP_SECONDS, ..pace }, Figure::PerSecond)?;
    let sample = run_wrk(&capacity, pace, Figure::PerSecond)?;
    ensure!(sample.errors == 0, "void: {} unexpected answers", sample.errors);
    let (full, half) = (sample.per_second, sample.per_second / 2.0);
    let load = Half { owners: &owners, per_second: half, pace };

    let mut calm = load.rounds(&subject)?;
    let audited = database.number(AUDITED)?;
    let share = bench.share_percent.unwrap_or(SHARE_PERCENT);
    subject.restart(bench, &configuration(&format!("{CLEANER_ON}{share}\n")))?;
    let first = load.count(&subject, database)?;
    let (mut busy, mut last) = (Vec::new(), first);
    loop {
        let flight = load.round(&subject, pace.seconds)?;
        let count = load.count(&subject, database)?;
        let (left, time, p99) = (count.left, count.moment - first.moment, flight.latency_us(0.99));
        eprintln!("xtask: {}: {left} rows left after {} s, p99 {p99:.0} us", database.engine, time.as_secs());
        if left == 0 {
            // Nobody knows how much of this round the cleaner had nothing to do: it does not count.
            break;
        }
        busy.push(flight);
        last = count;
        if time > LIMIT {
            bail!("{left} of {rows} rows are left after {} s", LIMIT.as_secs());
        }
    }
    ensure!(!busy.is_empty(), "void: the last of {rows} rows went within the first round");
    calm.extend(load.rounds(&subject)?);
    check_survivors(&subject, database, rows, audited)?;

    let p99 =
        |flights: &[Flight]| Spread::of(flights.iter().map(|flight| flight.latency_us(0.99))).context("no rounds");
    let (calm, busy) = (p99(&calm)?, p99(&busy)?);
    let (removed, seconds) = (first.left - last.left, (last.moment - first.moment).as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "no table has that many rows")]
    let rate = removed as f64 / seconds;
    Ok(format!(
        "| {} | {half:.0} (of {full:.0}) | {:.0} ({:.0}-{:.0}) | {:.0} ({:.0}-{:.0}) | **{:.2}** | {removed} of {rows} | {seconds:.0} | {rate:.0} | {LIVE} of {LIVE} |",
        database.engine,
        calm.median,
        calm.min,
        calm.max,
        busy.median,
        busy.min,
        busy.max,
        busy.median / calm.median,
    ))
}

/// The load: new tokens for the clients in turn, each of which retires the client's last.
struct Half<'a> {
    owners: &'a Owners,
    per_second: f64,
    pace: Pace,
}

/// Rows still to be cleaned, and when that was so.
#[derive(Clone, Copy)]
struct Count {
    left: u64,
    moment: Instant,
}

impl Half<'_> {
    /// Counts what is left, which takes the database some time: under the load, so that rows are removed at the same pace as in
    /// a round, but outside the rounds.
    fn count(&self, subject: &Subject, database: &Database) -> Result<Count> {
        thread::scope(|scope| {
            let count = scope.spawn(|| -> Result<Count> {
                let moment = Instant::now();
                Ok(Count { left: database.number(LEFT)?, moment })
            });
            loop {
                self.round(subject, COUNT_SECONDS)?;
                if count.is_finished() {
                    return count.join().map_err(|_| anyhow::anyhow!("the counting thread died"))?;
                }
            }
        })
    }

    fn rounds(&self, subject: &Subject) -> Result<Vec<Flight>> {
        self.round(subject, WARM_UP_SECONDS)?;
        (0..self.pace.rounds).map(|_| self.round(subject, self.pace.seconds)).collect()
    }

    fn round(&self, subject: &Subject, seconds: u32) -> Result<Flight> {
        let headers: Vec<String> = self.owners.opaque.iter().map(super::subject::Client::basic).collect();
        let call = |number: usize| Call {
            authorization: headers.get(number % headers.len()).cloned().unwrap_or_default(),
            path: "/oauth2/token",
            form: "grant_type=client_credentials".to_owned(),
            expect: "access_token",
        };
        fire(&Volley {
            port: subject.management(),
            per_second: self.per_second,
            calls: super::open_loop::calls_in(self.per_second, seconds),
            connections: usize::try_from(self.pace.connections)?,
            call: &call,
        })
    }
}

/// Every live token is there and is introspected as such, and what went was kept for auditing.
fn check_survivors(subject: &Subject, database: &Database, rows: u64, audited: u64) -> Result<()> {
    let living = database.number(LIVING)?;
    ensure!(living == LIVE, "only {living} of {LIVE} live tokens are left");
    let copies = database.number(AUDITED)? - audited;
    ensure!(copies >= rows, "{copies} of {rows} rows were copied to the audit table");
    let authorization = subject.admin();
    let call = |number: usize| Call {
        authorization: authorization.clone(),
        path: "/oauth2/introspect",
        form: format!("token={}", rows::token(rows + 1 + u64::try_from(number).unwrap_or(0))),
        expect: "\"active\":true",
    };
    let calls = usize::try_from(LIVE)?;
    fire(&Volley { port: subject.management(), per_second: f64::INFINITY, calls, connections: 4, call: &call })
        .context("a live token")
        .map(drop)
}
