//! The size of the token table must not matter (performance.md, Growth): issue, look-up and revocation with a thousand, a
//! hundred thousand and five million stored tokens, each table in a database of its own on one server, with a process of ours
//! before each, in alternated rounds. Latencies are those of an open loop ([`super::open_loop`]), the same rate for all sizes.

use super::{
    Bench,
    database::{self, Database},
    open_loop::{Call, Flight, Volley, calls_in, fire},
    rows::{self, Kind, Owners},
    stats::Spread,
    subject::{Client, Subject},
};
use anyhow::{Context as _, Result, ensure};
use std::{fmt::Write as _, time::Instant};

const SIZES: [u64; 3] = [1_000, 100_000, 5_000_000];
/// A number without a factor in common with the twenty of a mixture, so that every client has rows of every kind.
const OPAQUE_CLIENTS: usize = 149;
const JWT_CLIENTS: usize = 50;
/// MiB of pages that each database server keeps in memory, unless said otherwise: half of what the largest table takes.
const BUFFER_MIB: u32 = 2048;
/// The rate is half of what the smallest table allows, and no more than this: each look-up needs a token that was never seen.
const PER_SECOND_MAX: f64 = 200.0;
const CAPACITY_CALLS: usize = 400;
const WARM_UP_SECONDS: u32 = 2;
/// Tables up to this size lose what a measurement added to them, and the dead rows with it.
const RESTORED_ROWS_MAX: u64 = 200_000;
/// Measurements that use up live rows.
const USING_LIVE_ROWS: u64 = 3;

const CLEANER_OFF: &str = "[cleanup]\nenable = false\n";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    NewOpaque,
    Again,
    NewJwt,
    LookUp,
    Revoke,
}

const OPERATIONS: [(Operation, &str); 5] = [
    (Operation::NewOpaque, "issue, new opaque token"),
    (Operation::Again, "issue, active token read from the database and handed out again"),
    (Operation::NewJwt, "issue, JWT in place of the client's last"),
    (Operation::LookUp, "introspection of a token that no cache has"),
    (Operation::Revoke, "revocation"),
];

/// A database with a table of some size, and the process before it.
struct Table {
    rows: u64,
    database: Database,
    subject: Subject,
    owners: Owners,
    /// Live rows that no call has used yet; without any, rows are added before each measurement.
    unused: Option<Box<dyn Iterator<Item = u64>>>,
    next_row: u64,
    next_scope: usize,
}

pub(super) fn run(bench: &mut Bench) -> Result<String> {
    let sizes = if bench.rows.is_empty() { SIZES.to_vec() } else { bench.rows.clone() };
    let mut text = String::new();
    for engine in database::chosen(bench.engine.as_deref())? {
        // One engine at a time: its files are in memory, and gone before the next begins.
        let buffer_mib = bench.buffer_mib.unwrap_or(BUFFER_MIB);
        let servers = database::start(Some(buffer_mib))?;
        let first = Database::of(engine, database::server(&servers, engine));
        let tables: Result<Vec<Table>> = sizes.iter().map(|rows| Table::make(bench, &first, *rows)).collect();
        writeln!(text, "{engine}, {buffer_mib} MiB of pages in memory:\n\n{}", measure(bench, &mut tables?)?)?;
    }
    Ok(text)
}

fn measure(bench: &Bench, tables: &mut [Table]) -> Result<String> {
    let mut text = String::from(
        "| what | rows | per second | p50 us: median (min-max) | p99 us: median (min-max) | p50 to the smallest | p99 to it |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let (pace, mut lateness_us) = (bench.pace, 0.0_f64);
    let connections = usize::try_from(pace.connections)?;
    for (operation, what) in OPERATIONS {
        let smallest = tables.first_mut().context("no table")?;
        let full = smallest.fire(operation, f64::INFINITY, CAPACITY_CALLS, connections)?.per_second;
        let rate = (full / 2.0).min(PER_SECOND_MAX);
        for table in tables.iter_mut() {
            table.fire(operation, rate, calls_in(rate, WARM_UP_SECONDS), connections)?;
        }
        let mut flights: Vec<Vec<Flight>> = tables.iter().map(|_| Vec::new()).collect();
        for round in 1..=pace.rounds {
            for (table, flights) in tables.iter_mut().zip(&mut flights) {
                let flight = table.fire(operation, rate, calls_in(rate, pace.seconds), connections)?;
                let (p50, p99) = (flight.latency_us(0.5), flight.latency_us(0.99));
                eprintln!(
                    "xtask: {round} of {}: {what}, {} rows: p50 {p50:.0}, p99 {p99:.0} us",
                    pace.rounds, table.rows
                );
                lateness_us = lateness_us.max(flight.lateness_us());
                flights.push(flight);
            }
        }
        let smallest = flights.first().cloned().unwrap_or_default();
        for (table, flights) in tables.iter().zip(&flights) {
            let figures = |part: f64| -> Result<(String, String)> {
                let spread = Spread::of(flights.iter().map(|flight| flight.latency_us(part))).context("no rounds")?;
                let pairs = flights.iter().zip(&smallest);
                let ratio = Spread::of(pairs.map(|(flight, first)| flight.latency_us(part) / first.latency_us(part)));
                Ok((spread.text(0), ratio.context("no rounds")?.text(2)))
            };
            let ((p50, p50_ratio), (p99, p99_ratio)) = (figures(0.5)?, figures(0.99)?);
            writeln!(
                text,
                "| {what} | {} | {rate:.0} (of {full:.0}) | {p50} | {p99} | {p50_ratio} | {p99_ratio} |",
                table.rows
            )?;
        }
    }
    writeln!(text, "\nThe generator itself was never later than {lateness_us:.0} us (largest p99 of a round).")?;
    Ok(text)
}

impl Table {
    fn make(bench: &mut Bench, beside: &Database, rows: u64) -> Result<Self> {
        let database = beside.create(&format!("growth_{rows}"))?;
        let configuration = format!("{CLEANER_OFF}{}", database.configuration());
        let subject = Subject::start(bench, &format!("{}-{rows}", database.engine), &configuration)?;
        let owners = Owners::register(&subject, &database, OPAQUE_CLIENTS, JWT_CLIENTS)?;
        let begun = Instant::now();
        rows::insert(&database, &owners, Kind::Mixture, (1, rows), "bench")?;
        eprintln!("xtask: {}: {rows} rows made in {:.1} s", database.engine, begun.elapsed().as_secs_f64());
        let there = database.number("SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN")?;
        ensure!(there == rows, "{there} rows are there, not {rows}");
        let seconds = WARM_UP_SECONDS + bench.pace.seconds * u32::try_from(bench.pace.rounds)?;
        let needed = u64::try_from(calls_in(PER_SECOND_MAX, seconds) + CAPACITY_CALLS)? * USING_LIVE_ROWS;
        let has_enough = rows / 5 >= needed;
        let unused = has_enough.then(|| Box::new(rows::live_numbers(rows)) as Box<dyn Iterator<Item = u64>>);
        Ok(Self { rows, database, subject, owners, unused, next_row: rows + 1, next_scope: 0 })
    }

    /// Live rows for this many calls that nobody asked for yet.
    fn take(&mut self, calls: usize) -> Result<Vec<u64>> {
        if let Some(unused) = &mut self.unused {
            let numbers: Vec<u64> = unused.take(calls).collect();
            ensure!(numbers.len() == calls, "the live rows of {} are used up", self.rows);
            return Ok(numbers);
        }
        let (first, count) = (self.next_row, u64::try_from(calls)?);
        self.next_row += count;
        rows::insert(&self.database, &self.owners, Kind::Live, (first, count), "work")?;
        Ok((first..first + count).collect())
    }

    fn fire(&mut self, operation: Operation, per_second: f64, calls: usize, connections: usize) -> Result<Flight> {
        let calls = self.calls(operation, calls)?;
        let call = |number: usize| calls[number].clone();
        let port = self.subject.management();
        let flight = fire(&Volley { port, per_second, calls: calls.len(), connections, call: &call })
            .with_context(|| format!("{} rows", self.rows))?;
        if self.rows <= RESTORED_ROWS_MAX {
            self.database.ask("DELETE FROM IDN_OAUTH2_ACCESS_TOKEN WHERE GRANT_TYPE <> 'bench'")?;
            if !self.database.is_mariadb() {
                self.database.ask("VACUUM (ANALYZE) IDN_OAUTH2_ACCESS_TOKEN, IDN_OAUTH2_ACCESS_TOKEN_SCOPE")?;
            }
        }
        // On MariaDB all tables have one purge, which the next table's measurement would feel.
        self.database.wait_until_purged()?;
        Ok(flight)
    }

    fn calls(&mut self, operation: Operation, calls: usize) -> Result<Vec<Call>> {
        let in_turn = |clients: &[Client], number: usize| -> Result<String> {
            clients.get(number % clients.len().max(1)).map(Client::basic).context("no client")
        };
        let issue = |authorization, form, expect| Call { authorization, path: "/oauth2/token", form, expect };
        if operation == Operation::NewOpaque {
            let first = self.next_scope;
            self.next_scope += calls;
            let call = |number| {
                let form = format!("grant_type=client_credentials&scope=device_new{number}");
                Ok(issue(in_turn(&self.owners.opaque, number)?, form, "\"scope\":\"device_new"))
            };
            return (first..first + calls).map(call).collect();
        }
        if operation == Operation::NewJwt {
            let form = || "grant_type=client_credentials".to_owned();
            let call = |number| Ok(issue(in_turn(&self.owners.jwt, number)?, form(), "\"access_token\":\"eyJ"));
            return (0..calls).map(call).collect();
        }
        let numbers = self.take(calls)?;
        let admin = self.subject.admin();
        let call = |number: u64| {
            let (owner, token) = (self.owners.client(number)?.basic(), rows::token(number));
            Ok(match operation {
                Operation::LookUp => Call {
                    authorization: admin.clone(),
                    path: "/oauth2/introspect",
                    form: format!("token={token}"),
                    expect: "\"active\":true",
                },
                Operation::Revoke => Call {
                    authorization: owner,
                    path: "/oauth2/revoke",
                    form: format!("token={token}"),
                    expect: "revokedaccesstoken: 00000000-",
                },
                _ => {
                    let form = format!("grant_type=client_credentials&scope={}", rows::scope(number));
                    issue(owner, form, "\"access_token\":\"00000000-")
                }
            })
        };
        numbers.into_iter().map(call).collect()
    }
}
