//! `cargo xtask bench`: our release server beside baselines, in alternated rounds, as ratios in Markdown.
//!
//! The main figure is requests per CPU-second of the server's processes, with the server on one core and the
//! generator and backends on the other: other work on the machine hardly disturbs it. [`plans`] lists what is compared.

mod baseline;
mod clean;
mod counted;
mod database;
mod growth;
mod http;
mod load;
mod nodes;
mod open_loop;
mod plans;
mod quota;
mod rows;
mod stats;
mod subject;
mod tail;

use crate::{guard::Guard, packages, process, servers};
use anyhow::{Context as _, Result, bail};
use load::Pace;
use std::{fs, path::PathBuf, time::Duration};

/// What a plan works with.
pub(crate) struct Bench {
    pub(crate) guard: Guard,
    /// Removed with the guard.
    pub(crate) directory: PathBuf,
    pub(crate) pace: Pace,
    /// How long an idle server is left alone before its memory is read.
    pub(crate) settle: Duration,
    /// Sizes of tables, where a plan has them; empty: the plan's own.
    pub(crate) rows: Vec<u64>,
    /// The only engine that a plan with several runs on.
    pub(crate) engine: Option<String>,
    /// Percent that a plan gives to what it limits; `None`: the plan's own.
    pub(crate) share_percent: Option<u32>,
    /// MiB of pages that a database server keeps in memory; `None`: the plan's own.
    pub(crate) buffer_mib: Option<u32>,
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    name: String,
    rounds: usize,
    seconds: u32,
    connections: u32,
    delay_ms: u32,
    settle_seconds: u32,
    rows: Vec<u64>,
    engine: Option<String>,
    share_percent: Option<u32>,
    buffer_mib: Option<u32>,
    may_build: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let (name, rest) = arguments.split_first().context("which benchmark? `all`, or a name of `bench list`")?;
        let mut options = Self {
            name: name.clone(),
            rounds: 5,
            seconds: 6,
            connections: 32,
            delay_ms: 0,
            settle_seconds: 60,
            rows: Vec::new(),
            engine: None,
            share_percent: None,
            buffer_mib: None,
            may_build: true,
        };
        let mut rest = rest.iter();
        while let Some(option) = rest.next() {
            if option == "--no-build" {
                options.may_build = false;
                continue;
            }
            let value = rest.next().with_context(|| format!("{option} needs a value"))?;
            if option == "--engine" {
                database::chosen(Some(value))?;
                options.engine = Some(value.clone());
                continue;
            }
            if option == "--rows" {
                let sizes: Result<Vec<u64>, _> = value.split(',').map(str::parse).collect();
                options.rows = sizes.with_context(|| format!("{option} {value}"))?;
                if options.rows.iter().any(|rows| !(1_000..=50_000_000).contains(rows)) {
                    bail!("--rows takes sizes from a thousand to fifty million");
                }
                continue;
            }
            let number: u32 = value.parse().with_context(|| format!("{option} {value}"))?;
            match option.as_str() {
                "--reps" => options.rounds = usize::try_from(number)?,
                "--duration" => options.seconds = number,
                "--connections" => options.connections = number,
                "--delay" => options.delay_ms = number,
                "--share" if (1..=100).contains(&number) => options.share_percent = Some(number),
                "--buffer" if (64..=65_536).contains(&number) => options.buffer_mib = Some(number),
                "--settle" => options.settle_seconds = number,
                other => bail!("`cargo xtask bench` does not know `{other}`"),
            }
        }
        if options.rounds == 0 || options.seconds == 0 || options.connections == 0 {
            bail!("--reps, --duration and --connections must be at least 1");
        }
        Ok(options)
    }
}

pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    if options.name == "list" {
        for plan in plans::PLANS {
            println!("{:6} {}", plan.name, plan.what);
        }
        return Ok(());
    }
    let chosen: Vec<&plans::Plan> = plans::PLANS
        .iter()
        .filter(|plan| options.name == "all" || plan.name.eq_ignore_ascii_case(&options.name))
        .collect();
    if chosen.is_empty() {
        bail!("no benchmark is called `{}`; see `cargo xtask bench list`", options.name);
    }
    packages::ensure(&[packages::DATABASES, packages::TESTS, packages::BENCHMARKS].concat(), true)?;
    if options.may_build {
        let packages = ["--package", "claviger", "--package", "claviger-baseline"];
        process::run(process::cargo().args(["build", "--release"]).args(packages))?;
    }
    println!("{}", machine());
    let mut failed = Vec::new();
    for plan in chosen {
        eprintln!("\nxtask: == {} {}", plan.name, plan.what);
        match run_plan(plan, &options) {
            Ok(text) => println!("### {}: {}\n\nGoal: {}.\n\n{text}", plan.name, plan.what, plan.goal),
            Err(error) => {
                eprintln!("xtask: {}: {error:#}", plan.name);
                failed.push(plan.name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("without result: {}", failed.join(", "));
    }
    Ok(())
}

/// Each plan has a guard and a directory of its own, so that one leaves nothing for the next.
fn run_plan(plan: &plans::Plan, options: &Options) -> Result<String> {
    let mut guard = Guard::start()?;
    let directory = servers::make_directory(&mut guard, "bench")?;
    let pace = Pace {
        rounds: options.rounds,
        seconds: options.seconds,
        connections: options.connections,
        delay_ms: options.delay_ms,
    };
    let settle = Duration::from_secs(u64::from(options.settle_seconds));
    let (rows, engine) = (options.rows.clone(), options.engine.clone());
    let (share_percent, buffer_mib) = (options.share_percent, options.buffer_mib);
    let mut bench = Bench { guard, directory, pace, settle, rows, engine, share_percent, buffer_mib };
    (plan.run)(&mut bench)
}

/// What a reader must know of the machine to place the figures.
fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let ifma = if cpuinfo.contains("avx512ifma") { "with" } else { "without" };
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!("Machine: {model}, {cores} cores, {ifma} avx512ifma, Linux {}\n", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options> {
        Options::parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn options_have_defaults_and_are_checked() {
        let options = parse(&["p1", "--reps", "3", "--duration", "2", "--no-build"]).unwrap();
        assert_eq!((options.rounds, options.seconds, options.connections), (3, 2, 32));
        assert!(!options.may_build);
        let options = parse(&["growth", "--rows", "1000,200000", "--engine", "postgres"]).unwrap();
        assert_eq!((options.rows, options.engine.as_deref()), (vec![1_000, 200_000], Some("postgres")));
        for wrong in [
            &["p1", "--reps"][..],
            &["p1", "--reps", "x"],
            &["p1", "--turns", "1"],
            &["p1", "--reps", "0"],
            &["p1", "--rows", "5"],
            &["p1", "--engine", "oracle"],
            &[],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
