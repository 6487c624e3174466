//! The slowest answers at 70 % of what the server can do (performance.md, P22): the rate is constant, so that who would have
//! come while the server stood still is not forgotten. The bare hyper server at the rate of each shows what the machine adds.
//! [`super::counted`] measures the same where the machine adds nothing.

use super::{
    Bench, baseline,
    load::{Figure, GENERATOR_CPU, Load, Pace, SERVER_CPU, run_wrk},
    plans::{ANY_SCOPE, NOT_PERSISTED, introspection_load, registration_load},
    stats::{Figures, Spread},
    subject::{Subject, TokenKind},
};
use crate::process;
use anyhow::{Context as _, Result, ensure};
use std::{
    fmt::Write as _,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

const SHARE: f64 = 0.7;
const WARM_UP_SECONDS: u32 = 2;
/// Part of the asked rate that must have been answered.
const KEPT_UP: f64 = 0.95;
pub(super) const HEADER: &str = "| what | per second (of) | p50 us: median (min-max) | p99 us | p99.9 us | p99.9 to p50 | generator late, us |\n\
     |---|---|---|---|---|---|---|\n";

pub(super) fn run(bench: &mut Bench) -> Result<String> {
    let mut text = String::from(HEADER);
    let subject = Subject::start(bench, "claviger", NOT_PERSISTED)?;
    let hello = baseline::hyper_hello(bench, SERVER_CPU, 13)?;
    for (what, load) in cases(&subject)? {
        let bare = Load { url: hello.url(), servers: vec![hello.pid], expect: Some("x"), ..load.clone() };
        run_wrk(&load, Pace { seconds: WARM_UP_SECONDS, ..bench.pace }, Figure::PerSecond)?;
        let full = run_wrk(&load, bench.pace, Figure::PerSecond)?;
        ensure!(full.errors == 0, "void: {} unexpected answers", full.errors);
        let rate = full.per_second * SHARE;
        let figures = measure(bench.pace, what, &load, rate)?;
        writeln!(text, "| {what} | {rate:.0} ({:.0}) | {figures} |", full.per_second)?;
        writeln!(text, "| bare hyper | {rate:.0} | {} |", measure(bench.pace, "bare hyper", &bare, rate)?)?;
    }
    Ok(text)
}

/// What is measured.
pub(super) fn cases(subject: &Subject) -> Result<[(&'static str, Load); 3]> {
    let introspection = introspection_load(subject)?;
    let client = subject.register("tail", TokenKind::Jwt)?;
    let token = Load {
        url: subject.management_url("/oauth2/token"),
        form: Some(ANY_SCOPE.to_owned()),
        authorization: Some(client.basic()),
        expect: Some("access_token"),
        ..introspection.clone()
    };
    Ok([
        ("introspection from memory", introspection),
        ("client_credentials, RS256 JWT, no row", token),
        ("registration of a client, SQLite", registration_load(subject)?),
    ])
}

fn measure(pace: Pace, what: &str, load: &Load, rate: f64) -> Result<String> {
    let mut runs = Vec::new();
    for round in 1..=pace.rounds {
        let run = steady(load, rate, pace)?;
        eprintln!("xtask: {round} of {}: {what}: {run:?}", pace.rounds);
        runs.push(run.check(what, rate)?);
    }
    figures(&runs)
}

/// The runs of one row.
pub(super) fn figures(runs: &[Steady]) -> Result<String> {
    let spread = |pick: fn(&Steady) -> f64| Spread::of(runs.iter().map(pick)).context("no rounds");
    Ok(format!(
        "{} | {} | {} | **{}** | {}",
        spread(|run| run.p50_us)?.text(0),
        spread(|run| run.p99_us)?.text(0),
        spread(|run| run.p999_us)?.text(0),
        spread(|run| run.p999_us / run.p50_us)?.text(1),
        spread(|run| run.late_us)?.text(0)
    ))
}

/// What a run at a constant rate gave.
#[derive(Debug)]
pub(super) struct Steady {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    late_us: f64,
    bad: u64,
}

impl Steady {
    /// Of what `steady-rate` printed.
    pub(super) fn parse(output: &str) -> Result<Self> {
        let result = Figures::find(output)?;
        Ok(Self {
            per_second: result.get("per_second")?,
            p50_us: result.get("p50_us")?,
            p99_us: result.get("p99_us")?,
            p999_us: result.get("p999_us")?,
            late_us: result.get("late_us")?,
            bad: result.get("bad")?,
        })
    }

    /// A run with an unexpected answer counts as little as one that fell behind.
    pub(super) fn check(self, what: &str, rate: f64) -> Result<Self> {
        ensure!(self.bad == 0, "void: {what}: {} unexpected answers", self.bad);
        ensure!(self.per_second > rate * KEPT_UP, "void: {what}: {:.0} of {rate:.0} per second", self.per_second);
        Ok(self)
    }
}

fn steady(load: &Load, per_second: f64, pace: Pace) -> Result<Steady> {
    static RUN: AtomicU64 = AtomicU64::new(0);
    let (port, variables) = request(load)?;
    let mut command = Command::new("taskset");
    command.args(["-c", GENERATOR_CPU]).arg(process::target_directory().join("release/steady-rate"));
    command.arg(port).arg(format!("{per_second:.3}")).args([pace.seconds, pace.connections].map(|n| n.to_string()));
    command.envs(variables);
    command.env("RUN", format!("{}s{}", std::process::id(), RUN.fetch_add(1, Ordering::Relaxed)));
    Steady::parse(&process::capture(&mut command)?)
}

/// What `steady-rate` is told of a request: the port, and the variables of its environment but for RUN.
pub(super) fn request(load: &Load) -> Result<(&str, [(&'static str, String); 6])> {
    let address = load.url.strip_prefix("http://127.0.0.1:").context("a server elsewhere")?;
    let (port, target) = address.split_once('/').context("an address without a path")?;
    let variables = [
        ("METHOD", load.method.to_owned()),
        ("TARGET", format!("/{target}")),
        ("BODY", load.form.clone().unwrap_or_default()),
        ("CONTENT_TYPE", load.content_type.unwrap_or("application/x-www-form-urlencoded").to_owned()),
        ("AUTH", load.authorization.clone().unwrap_or_default()),
        ("EXPECT", load.expect.unwrap_or_default().to_owned()),
    ];
    Ok((port, variables))
}
