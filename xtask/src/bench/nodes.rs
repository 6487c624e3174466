//! Two nodes on one database beside one (performance.md, P21).
//!
//! Each node gets a fixed share of a processor, so that a node is the scarce thing, as it is where every node has a machine of
//! its own; the database and the generators have the rest of the machine and are not at their end. What keeps two from being
//! twice one is then what keeps them from it elsewhere: locks and repeats in the database, and the news of each other's writes.

use super::{
    Bench,
    database::{self, Database},
    load::{Figure, Load, Pace, run_wrk, tree_seconds},
    plans::{NEW_SCOPE, token_load_of},
    quota::Quota,
    stats::{Sample, Spread},
    subject::{Client, Subject, TokenKind},
};
use crate::servers;
use anyhow::{Context as _, Result, ensure};
use std::{fmt::Write as _, thread};

const CLIENTS: usize = 1000;
/// Of one processor, for each node.
const NODE_PERCENT: u32 = 25;
const WARM_UP_SECONDS: u32 = 2;
/// The address under which clients know both, whatever ports they have: it is in their tokens.
const ONE_NAME: &str = "[server]\nbase_path = \"https://localhost:9443\"\n";

const PATHS: [(TokenKind, &str); 2] =
    [(TokenKind::Jwt, "fresh JWT in place of the client's last"), (TokenKind::Opaque, "new opaque token")];

pub(super) fn run(bench: &mut Bench) -> Result<String> {
    let percent = bench.share_percent.unwrap_or(NODE_PERCENT);
    let mut text = format!(
        "Each node has {percent} % of a processor.\n\n| engine | path | one node, tokens per second | two nodes | ratio | \
         per CPU-second of the nodes, two to one | of nodes and database |\n|---|---|---|---|---|---|---|\n"
    );
    for engine in database::chosen(bench.engine.as_deref())? {
        let servers = database::start(None)?;
        let database = Database::of(engine, database::server(&servers, engine));
        let first = Subject::start(bench, &format!("{engine}-1"), &format!("{ONE_NAME}{}", database.configuration()))?;
        let clients: Result<Vec<Vec<Client>>> = PATHS.iter().map(|(kind, _)| register(&first, *kind)).collect();
        let second = first.beside(bench, &format!("{engine}-2"))?;
        let mut nodes = Nodes {
            database,
            first: Node::limit(bench, first, percent)?,
            second: Node::limit(bench, second, percent)?,
        };
        for ((kind, path), clients) in PATHS.into_iter().zip(clients?) {
            writeln!(text, "| {engine} | {path} | {} |", nodes.compare(bench, kind, &clients)?)?;
        }
    }
    Ok(text)
}

fn register(subject: &Subject, kind: TokenKind) -> Result<Vec<Client>> {
    (0..CLIENTS).map(|number| subject.register(&format!("nodes-{kind:?}-{number}"), kind)).collect()
}

/// A process under its limit.
struct Node {
    subject: Subject,
    quota: Quota,
}

impl Node {
    fn limit(bench: &mut Bench, subject: Subject, percent: u32) -> Result<Self> {
        let quota = Quota::new(&mut bench.guard, &format!("claviger-bench-{}", servers::random_hex(4)?), percent)?;
        quota.add(subject.pid()?)?;
        Ok(Self { subject, quota })
    }
}

struct Nodes {
    database: Database,
    first: Node,
    second: Node,
}

/// What one round gave.
struct Round {
    /// Tokens per second.
    rate: f64,
    /// Tokens per CPU-second of the nodes.
    by_nodes: f64,
    /// The same of nodes and database.
    by_all: f64,
}

impl Nodes {
    /// One, two, one, two, ...; the second node does not run while the first is alone.
    fn compare(&mut self, bench: &mut Bench, kind: TokenKind, clients: &[Client]) -> Result<String> {
        self.check_joined(clients)?;
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for round in 1..=bench.pace.rounds {
            self.second.subject.stop()?;
            one.push(self.round(bench, kind, clients, false)?);
            self.second.subject.start_again(bench)?;
            self.second.quota.add(self.second.subject.pid()?)?;
            two.push(self.round(bench, kind, clients, true)?);
            if let (Some(one), Some(two)) = (one.last(), two.last()) {
                let (rounds, engine) = (bench.pace.rounds, self.database.engine);
                eprintln!("xtask: {round} of {rounds}: {engine} one {:.0}, two {:.0}", one.rate, two.rate);
            }
        }
        let rates = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.rate)).context("no rounds");
        let ratio = |pick: fn(&Round) -> f64| {
            Spread::of(one.iter().zip(&two).map(|(one, two)| pick(two) / pick(one))).context("no rounds")
        };
        Ok(format!(
            "{} | {} | **{}** | {} | {}",
            rates(&one)?.text(0),
            rates(&two)?.text(0),
            ratio(|round| round.rate)?.text(2),
            ratio(|round| round.by_nodes)?.text(2),
            ratio(|round| round.by_all)?.text(2)
        ))
    }

    /// What one node issued, the other knows.
    fn check_joined(&self, clients: &[Client]) -> Result<()> {
        let token = self.first.subject.token(clients.first().context("no client")?)?;
        ensure!(self.second.subject.is_active(&token)?, "the second node does not know the first one's token");
        Ok(())
    }

    fn round(&self, bench: &Bench, kind: TokenKind, clients: &[Client], are_both: bool) -> Result<Round> {
        let nodes: Vec<&Node> = if are_both { vec![&self.first, &self.second] } else { vec![&self.first] };
        let mut loads = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            // Who comes to one node is not at that moment at the other as well.
            let mut clients = clients.to_vec();
            clients.rotate_left(index * CLIENTS / 2);
            let load = token_load_of(bench, &node.subject, &clients, &[])?;
            let form = (kind == TokenKind::Opaque).then(|| NEW_SCOPE.to_owned()).or(load.form);
            loads.push(Load { form, ..load });
        }
        // One node gets the connections that two have together.
        let connections = bench.pace.connections * 2 / u32::try_from(nodes.len())?;
        let pace = Pace { connections, ..bench.pace };
        all(&loads, Pace { seconds: WARM_UP_SECONDS, ..pace })?;
        let pids: Result<Vec<u32>> = nodes.iter().map(|node| node.subject.pid()).collect();
        let roots: Vec<u32> = pids?.into_iter().chain([self.database.pid]).collect();
        let used = || roots.iter().map(|root| tree_seconds(&[*root])).collect::<Result<Vec<f64>>>();
        let before = used()?;
        let samples = all(&loads, pace)?;
        let used: Vec<f64> = used()?.iter().zip(&before).map(|(after, before)| after - before).collect();
        for ((node, sample), cpu_seconds) in nodes.iter().zip(&samples).zip(&used) {
            node.quota.check_reached(*cpu_seconds, sample.seconds)?;
        }
        let sum = |pick: fn(&Sample) -> f64| samples.iter().map(pick).sum::<f64>();
        let (tokens, of_nodes, of_all) =
            (sum(|sample| sample.requests), used.iter().take(nodes.len()).sum::<f64>(), used.iter().sum::<f64>());
        Ok(Round { rate: sum(|sample| sample.per_second), by_nodes: tokens / of_nodes, by_all: tokens / of_all })
    }
}

/// All loads at the same time, each with this many connections.
fn all(loads: &[Load], pace: Pace) -> Result<Vec<Sample>> {
    thread::scope(|scope| {
        let runs: Vec<_> =
            loads.iter().map(|load| scope.spawn(move || run_wrk(load, pace, Figure::PerSecond))).collect();
        let join = |run: thread::ScopedJoinHandle<'_, Result<Sample>>| {
            let sample = run.join().map_err(|_| anyhow::anyhow!("a generator's thread died"))??;
            ensure!(sample.errors == 0, "void: {} unexpected answers", sample.errors);
            Ok(sample)
        };
        runs.into_iter().map(join).collect()
    })
}
