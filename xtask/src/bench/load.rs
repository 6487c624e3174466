//! Measuring: wrk on the generator's core, CPU time of the server's process tree from `/proc`, rounds in alternation.

use super::stats::{Row, Sample, WrkResult};
use crate::process::{self, ProcessStat};
use anyhow::{Context as _, Result, ensure};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

/// The core of the server under test, and that of the generator and of backends, as taskset names them.
pub(crate) const SERVER_CPU: &str = "0";
pub(crate) const GENERATOR_CPU: &str = "1";
/// Both, where a baseline uses both.
pub(crate) const WHOLE_MACHINE: &str = "0,1";
/// Load before the first counted round.
const WARM_UP_SECONDS: u32 = 2;

/// How a run counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Requests per CPU-second of the server's processes: other work on the machine hardly disturbs it.
    PerCpuSecond,
    /// Requests per second by the clock.
    PerSecond,
}

/// A load that wrk can make.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    pub(crate) url: String,
    pub(crate) method: &'static str,
    /// The body; `@N@` in it becomes another number in every request there ever is.
    pub(crate) form: Option<String>,
    /// What the body is, if it is no form.
    pub(crate) content_type: Option<&'static str>,
    pub(crate) authorization: Option<String>,
    /// One Authorization value per line, taken in turn.
    pub(crate) authorization_file: Option<PathBuf>,
    /// Text that every answer must hold; without it answers are only counted by their status.
    pub(crate) expect: Option<&'static str>,
    /// Roots of the process trees whose CPU time counts.
    pub(crate) servers: Vec<u32>,
}

/// How rounds are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
    pub(crate) connections: u32,
    /// Pause of a connection between an answer and its next request. With one, both sides of a comparison get about the same
    /// number of requests per second; without, each gets as many as it answers.
    pub(crate) delay_ms: u32,
}

/// One side of a comparison: a name and how to measure it for some seconds.
pub(crate) struct Contender<'a> {
    name: String,
    measure: Box<dyn FnMut(u32) -> Result<Sample> + 'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(name: &str, measure: impl FnMut(u32) -> Result<Sample> + 'a) -> Self {
        Self { name: name.to_owned(), measure: Box::new(measure) }
    }

    pub(crate) fn load(name: &str, pace: Pace, figure: Figure, load: Load) -> Self {
        Self::new(name, move |seconds| run_wrk(&load, Pace { seconds, ..pace }, figure))
    }
}

/// Warms every contender, then measures them in turn, round after round. A round with an unexpected answer is void,
/// and so is the whole comparison.
pub(crate) fn rounds(pace: Pace, mut contenders: Vec<Contender<'_>>) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> =
        contenders.iter().map(|contender| Row { name: contender.name.clone(), samples: Vec::new() }).collect();
    for contender in &mut contenders {
        (contender.measure)(WARM_UP_SECONDS).with_context(|| format!("warming {}", contender.name))?;
    }
    for round in 1..=pace.rounds {
        for (contender, row) in contenders.iter_mut().zip(&mut rows) {
            let sample = (contender.measure)(pace.seconds).with_context(|| contender.name.clone())?;
            let (name, figure, errors) = (&contender.name, sample.figure, sample.errors);
            eprintln!("xtask: round {round} of {}: {name} {figure:.0} ({errors} errors)", pace.rounds);
            ensure!(errors == 0, "void: {name} gave {errors} unexpected answers");
            row.samples.push(sample);
        }
    }
    Ok(rows)
}

/// One run of a load.
pub(crate) fn run_wrk(load: &Load, pace: Pace, figure: Figure) -> Result<Sample> {
    static RUN: AtomicU64 = AtomicU64::new(0);
    let is_checked = load.expect.is_some() || load.authorization_file.is_some();
    let script = if is_checked { "benches/wrk/checked.lua" } else { "benches/wrk/light.lua" };
    let mut wrk = Command::new("taskset");
    wrk.args(["-c", GENERATOR_CPU, "wrk", "-t1"]).arg(format!("-c{}", pace.connections));
    wrk.arg(format!("-d{}s", pace.seconds)).arg("-s").arg(process::workspace_root().join(script)).arg(&load.url);
    for name in ["METHOD", "BODY", "CONTENT_TYPE", "AUTH", "AUTH_FILE", "EXPECT"] {
        wrk.env_remove(name);
    }
    wrk.env("RUN", format!("{}r{}", std::process::id(), RUN.fetch_add(1, Ordering::Relaxed)));
    wrk.env("METHOD", load.method).env("DELAY", pace.delay_ms.to_string());
    let texts = [
        ("BODY", load.form.as_deref()),
        ("CONTENT_TYPE", load.content_type),
        ("AUTH", load.authorization.as_deref()),
        ("EXPECT", load.expect),
    ];
    for (name, value) in texts.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        wrk.env(name, value);
    }
    if let Some(file) = &load.authorization_file {
        wrk.env("AUTH_FILE", file);
    }
    let before = tree_ticks(&load.servers);
    let result = WrkResult::parse(&process::capture(&mut wrk)?)?;
    let used = tree_ticks(&load.servers).saturating_sub(before);
    let per_second = result.requests / result.seconds;
    let figure = match figure {
        Figure::PerSecond => per_second,
        Figure::PerCpuSecond => {
            ensure!(used > 0, "the server at {} used no CPU time: are its process ids right?", load.url);
            result.requests / seconds_of(used)?
        }
    };
    let WrkResult { requests, seconds, p50_us, p99_us, errors } = result;
    Ok(Sample { figure, per_second, requests, seconds, p50_us, p99_us, errors })
}

fn seconds_of(ticks: u64) -> Result<f64> {
    let per_second: u32 = process::capture(Command::new("getconf").arg("CLK_TCK"))?.trim().parse()?;
    Ok(f64::from(u32::try_from(ticks)?) / f64::from(per_second))
}

/// CPU seconds that `work` costs: those of the process trees below `roots`, and of the programs it runs to their end.
pub(crate) fn cpu_seconds_of<T>(roots: &[u32], work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let own = std::process::id();
    let used = || {
        let processes = process::processes();
        let own = processes.iter().find(|process| process.pid == own).map_or(0, |process| process.ended_children_ticks);
        ticks_below(&processes, roots) + own
    };
    let before = used();
    let value = work()?;
    Ok((value, seconds_of(used().saturating_sub(before))?))
}

/// CPU seconds that the process trees below `roots` have used so far.
pub(crate) fn tree_seconds(roots: &[u32]) -> Result<f64> {
    seconds_of(tree_ticks(roots))
}

fn tree_ticks(roots: &[u32]) -> u64 {
    ticks_below(&process::processes(), roots)
}

/// User and system time of the roots and all their descendants, those that have ended included: a database session
/// that closes must not take its time with it.
fn ticks_below(processes: &[ProcessStat], roots: &[u32]) -> u64 {
    let mut tree: BTreeSet<u32> = roots.iter().copied().collect();
    loop {
        let size = tree.len();
        tree.extend(
            processes
                .iter()
                .filter(|process| tree.contains(&process.parent))
                .map(|process| process.pid)
                .collect::<Vec<_>>(),
        );
        if tree.len() == size {
            break;
        }
    }
    processes
        .iter()
        .filter(|process| tree.contains(&process.pid))
        .map(|process| process.ticks + process.ended_children_ticks)
        .sum()
}

/// Resident memory of one process in KiB (`VmRSS` of proc(5)).
pub(crate) fn resident_kib(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().next().context("no VmRSS")?.parse().context("VmRSS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_summed_over_the_tree_and_each_process_once() {
        let process =
            |pid, parent, ticks| ProcessStat { pid, parent, group: 1, is_dead: false, ticks, ended_children_ticks: 0 };
        // A grandchild stands before its parent, as it does when process numbers wrap.
        let all = [process(5, 9, 100), process(9, 4, 10), process(4, 1, 1), process(7, 1, 1000)];
        assert_eq!(ticks_below(&all, &[4]), 111);
        assert_eq!(ticks_below(&all, &[4, 9]), 111);
        assert_eq!(ticks_below(&all, &[7, 4]), 1111);
        assert_eq!(ticks_below(&all, &[77]), 0);
    }

    #[test]
    fn the_time_of_a_process_that_ends_between_two_readings_is_kept() {
        let process = |pid, parent, ticks, ended_children_ticks| ProcessStat {
            pid,
            parent,
            group: 1,
            is_dead: false,
            ticks,
            ended_children_ticks,
        };
        // A database server with a session that uses ten more ticks and ends: it then counts in its parent.
        let before = [process(4, 1, 100, 0), process(5, 4, 20, 0)];
        let after = [process(4, 1, 100, 30)];
        assert_eq!(ticks_below(&after, &[4]) - ticks_below(&before, &[4]), 10);
    }

    #[test]
    fn our_own_memory_is_read() {
        assert!(resident_kib(std::process::id()).unwrap() > 100.0);
    }

    #[test]
    fn rounds_alternate_and_errors_void_them() {
        let order = std::cell::RefCell::new(String::new());
        let contender = |name: &'static str, errors| {
            let order = &order;
            Contender::new(name, move |_| {
                order.borrow_mut().push_str(name);
                Ok(Sample { errors, ..Sample::default() })
            })
        };
        let pace = Pace { rounds: 2, seconds: 1, connections: 1, delay_ms: 0 };
        let rows = rounds(pace, vec![contender("a", 0), contender("b", 0)]).unwrap();
        assert_eq!(*order.borrow(), "ababab");
        assert!(rows.iter().all(|row| row.samples.len() == 2));
        assert!(rounds(pace, vec![contender("c", 1)]).is_err());
    }
}
