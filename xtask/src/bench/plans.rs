//! What is compared with what, by the numbers of the performance goals. A plan starts what it needs, runs its rounds,
//! and returns Markdown; starting and measuring are the neighbours' business.

use super::{
    Bench,
    baseline::{self, Baseline, Commits},
    clean, counted,
    database::{self, Database},
    growth,
    load::{Contender, Figure, Load, SERVER_CPU, WHOLE_MACHINE, resident_kib, rounds},
    nodes,
    stats::{Row, Spread, table},
    subject::{Client, OPEN, SECURED, Subject, TokenKind},
    tail,
};
use crate::{process, servers::Servers};
use anyhow::{Context as _, Result};
use std::fmt::Write as _;

/// One benchmark.
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) goal: &'static str,
    pub(crate) run: fn(&mut Bench) -> Result<String>,
}

pub(crate) const PLANS: &[Plan] = &[
    Plan {
        name: "P1",
        what: "client_credentials, RS256 JWT, not persisted, to the signing rate",
        goal: "0.85, aim 0.90",
        run: jwt_not_persisted,
    },
    Plan {
        name: "P2",
        what: "client_credentials, RS256 JWT, persisted, 1000 clients, per engine (CPU of server and database together)",
        goal: "0.70 of what signing and one commit allow together, aim 0.85",
        run: jwt_persisted,
    },
    Plan {
        name: "P3",
        what: "new opaque token per request, persisted, 1000 clients, without and with a predecessor, to the engine's own single-row commits",
        goal: "0.70, aim 0.90",
        run: opaque_persisted,
    },
    Plan {
        name: "P4",
        what: "opaque token handed out again, 1000 clients, to the bare hyper server",
        goal: "0.50, aim 0.65",
        run: opaque_again,
    },
    Plan {
        name: "P5",
        what: "introspection from the cache to the bare hyper server",
        goal: "0.65, aim 0.80",
        run: introspection,
    },
    Plan {
        name: "P8",
        what: "gateway, known token, 1 KiB body, to nginx and haproxy",
        goal: "1.5 of haproxy jwt_verify and 1.0 of nginx auth_request, aim 0.95 of nginx plain proxy",
        run: gateway,
    },
    Plan {
        name: "P9",
        what: "gateway, secured resource to open resource of the same API",
        goal: "0.90, aim 0.96",
        run: gateway_overhead,
    },
    Plan { name: "P14", what: "resident memory, idle, all roles", goal: "below 40 MiB, aim 25 MiB", run: idle_memory },
    Plan {
        name: "P16",
        what: "start of the process to its first token, database there",
        goal: "below 300 ms, aim 120 ms",
        run: cold_start,
    },
    Plan {
        name: "tail",
        what: "P22: introspection, tokens and registration at 70 % of what the server can do",
        goal: "p99.9 below 10 times p50 (5 times for introspection and registration), aim 5 times",
        run: tail::run,
    },
    Plan {
        name: "tail-counted",
        what: "the same on one core of an emulated machine whose clock counts instructions",
        goal: "p99.9 below 10 times p50 (5 times for introspection and registration), aim 5 times",
        run: counted::run,
    },
    Plan {
        name: "registration",
        what: "registrations of clients by API Manager's wire to the engine's own single-row commits",
        goal: "recorded",
        run: registration,
    },
    Plan {
        name: "clean",
        what: "a million expired tokens removed while the server issues at half its load, MariaDB and PostgreSQL",
        goal: "p99 within 2 times what it is without",
        run: clean::run,
    },
    Plan {
        name: "growth",
        what: "issue, look-up and revocation with a thousand, a hundred thousand and five million stored tokens",
        goal: "p50 within 1.3 times and p99 within 2 times what they are with a thousand",
        run: growth::run,
    },
    Plan {
        name: "nodes",
        what: "P21: two nodes on one database to one, MariaDB and PostgreSQL",
        goal: "1.7, aim 1.95",
        run: nodes::run,
    },
];

pub(super) const NOT_PERSISTED: &str = "[oauth.token_persistence]\npersist_jwt_access_tokens = false\n";
pub(super) const NEW_EACH_TIME: &str = "[oauth.token_renewal]\nrenew_access_token_per_request = true\n";
pub(super) const ANY_SCOPE: &str = "grant_type=client_credentials";
/// A request whose scope nobody had before. Scopes of this form are open to all (`apim.oauth_config.allowed_scopes`).
pub(super) const NEW_SCOPE: &str = "grant_type=client_credentials&scope=device_@N@";
const PER_CPU: &str = "per server CPU-second";
const CLIENTS: usize = 1000;
const KIB_PER_MIB: f64 = 1024.0;

fn jwt_not_persisted(bench: &mut Bench) -> Result<String> {
    let subject = Subject::start(bench, "claviger", NOT_PERSISTED)?;
    let load = token_load(bench, &subject, TokenKind::Jwt, 1, &[])?;
    let ours = Contender::load("Claviger", bench.pace, Figure::PerCpuSecond, load);
    let rows = rounds(bench.pace, vec![ours, Contender::new("aws-lc-rs RS256 signatures", baseline::sign_rate)])?;
    Ok(table(PER_CPU, &rows))
}

/// The token endpoint with this many clients in turn, keep-alive.
fn token_load(bench: &Bench, subject: &Subject, kind: TokenKind, clients: usize, others: &[u32]) -> Result<Load> {
    let clients: Result<Vec<_>> =
        (0..clients).map(|number| subject.register(&format!("bench{number}"), kind)).collect();
    token_load_of(bench, subject, &clients?, others)
}

/// [`token_load`] with clients that are there.
pub(super) fn token_load_of(bench: &Bench, subject: &Subject, clients: &[Client], others: &[u32]) -> Result<Load> {
    let file = bench.directory.join(format!("clients-{}.txt", subject.pid()?));
    let lines: String = clients.iter().map(|client| client.basic() + "\n").collect();
    std::fs::write(&file, lines)?;
    Ok(Load {
        url: subject.management_url("/oauth2/token"),
        method: "POST",
        form: Some(ANY_SCOPE.to_owned()),
        authorization_file: Some(file),
        expect: Some("access_token"),
        servers: [&[subject.pid()?], others].concat(),
        ..Load::default()
    })
}

/// The engines by name, with the database that is theirs.
fn engines(servers: &Servers) -> [(&'static str, Option<Database>); 3] {
    let on = |engine| (engine, Some(Database::of(engine, database::server(servers, engine))));
    [("sqlite", None), on("mariadb"), on("postgres")]
}

/// The configuration that keeps everything there.
fn configuration(database: Option<&Database>) -> String {
    database.map(Database::configuration).unwrap_or_default()
}

fn jwt_persisted(bench: &mut Bench) -> Result<String> {
    let servers = database::start(None)?;
    let mut text = String::new();
    for (engine, database) in engines(&servers) {
        let database = database.as_ref();
        let subject = Subject::start(bench, engine, &configuration(database))?;
        let others: Vec<u32> = database.map(|database| database.pid).into_iter().collect();
        let load = token_load(bench, &subject, TokenKind::Jwt, CLIENTS, &others)?;
        let ours = Contender::load(&format!("Claviger on {engine}"), bench.pace, Figure::PerCpuSecond, load);
        let signing = Contender::new("aws-lc-rs RS256 signatures", baseline::sign_rate);
        let bench = &*bench;
        let ceiling = Contender::new("one signature and one commit", |seconds| {
            // The same processes as above, and the load program in place of our driver.
            baseline::sign_and_commit(&others, seconds, |time| commits(bench, &servers, engine, time))
        });
        let rows = rounds(bench.pace, vec![ours, ceiling, signing])?;
        writeln!(text, "{}", table("per CPU-second of server and database", &rows))?;
    }
    Ok(text)
}

/// Single-row commits by the engine's own load program.
fn commits(bench: &Bench, servers: &Servers, engine: &str, seconds: u32) -> Result<Commits> {
    match engine {
        "mariadb" => baseline::mariadb_commits(servers.mariadb(), "claviger_test", seconds),
        "postgres" => baseline::postgres_commits(bench, &servers.postgres().url, seconds),
        _ => baseline::sqlite_commits(bench, seconds),
    }
}

/// Two rows beside the engine's own commits: a token that takes no other's place, which is one row's insertion as the baseline's
/// is, and one that retires the client's last.
fn opaque_persisted(bench: &mut Bench) -> Result<String> {
    let servers = database::start(None)?;
    let mut text = String::new();
    for (engine, database) in engines(&servers) {
        let configuration = configuration(database.as_ref());
        // The baseline has the whole machine too.
        let mut subject = Subject::start_on(WHOLE_MACHINE, bench, engine, &configuration)?;
        let load = token_load(bench, &subject, TokenKind::Opaque, CLIENTS, &[])?;
        let load = Load { form: Some(NEW_SCOPE.to_owned()), expect: Some("\"scope\":\"device_"), ..load };
        let without = compare_commits(bench, &servers, engine, "no predecessor", load.clone())?;
        subject.restart(bench, &format!("{NEW_EACH_TIME}{configuration}"))?;
        let load = Load {
            form: Some(ANY_SCOPE.to_owned()),
            expect: Some("access_token"),
            servers: vec![subject.pid()?],
            ..load
        };
        let replacing = compare_commits(bench, &servers, engine, "in place of the last", load)?;
        writeln!(text, "{without}\n{replacing}")?;
    }
    Ok(text)
}

fn compare_commits(bench: &Bench, servers: &Servers, engine: &str, what: &str, load: Load) -> Result<String> {
    let ours = Contender::load(&format!("Claviger on {engine}, {what}"), bench.pace, Figure::PerSecond, load);
    let limit = Contender::new(&format!("single-row commits of {engine}"), move |seconds| {
        Ok(commits(bench, servers, engine, seconds)?.sample())
    });
    Ok(table("per second", &rounds(bench.pace, vec![ours, limit])?))
}

/// Each request makes a client of its own.
pub(super) fn registration_load(subject: &Subject) -> Result<Load> {
    let body = r#"{"client_name": "bench-@N@", "grant_types": ["client_credentials"], "redirect_uris": [], "ext_application_owner": "admin"}"#;
    Ok(Load {
        url: subject.management_url("/keymanager-operations/dcr/register"),
        method: "POST",
        form: Some(body.to_owned()),
        content_type: Some("application/json"),
        authorization: Some(subject.admin()),
        expect: Some("client_secret"),
        servers: vec![subject.pid()?],
        ..Load::default()
    })
}

fn registration(bench: &mut Bench) -> Result<String> {
    let servers = database::start(None)?;
    let mut text = String::new();
    for (engine, database) in engines(&servers) {
        let subject = Subject::start_on(WHOLE_MACHINE, bench, engine, &configuration(database.as_ref()))?;
        let load = registration_load(&subject)?;
        writeln!(text, "{}", compare_commits(bench, &servers, engine, "a client registered", load)?)?;
    }
    Ok(text)
}

fn opaque_again(bench: &mut Bench) -> Result<String> {
    let subject = Subject::start(bench, "claviger", "")?;
    let load = token_load(bench, &subject, TokenKind::Opaque, CLIENTS, &[])?;
    beside_hyper(bench, load)
}

fn introspection(bench: &mut Bench) -> Result<String> {
    let subject = Subject::start(bench, "claviger", "")?;
    let load = introspection_load(&subject)?;
    beside_hyper(bench, load)
}

/// One token again and again: the answer comes from memory.
pub(super) fn introspection_load(subject: &Subject) -> Result<Load> {
    let token = subject.token(&subject.register("bench", TokenKind::Opaque)?)?;
    Ok(Load {
        url: subject.management_url("/oauth2/introspect"),
        method: "POST",
        form: Some(format!("token={token}")),
        authorization: Some(subject.admin()),
        expect: Some("\"active\":true"),
        servers: vec![subject.pid()?],
        ..Load::default()
    })
}

/// The same requests to our server and to the bare hyper server, whose answers hold no text to expect.
fn beside_hyper(bench: &mut Bench, load: Load) -> Result<String> {
    let hello = baseline::hyper_hello(bench, SERVER_CPU, 13)?;
    let bare = Load { url: hello.url(), servers: vec![hello.pid], expect: Some("x"), ..load.clone() };
    let ours = Contender::load("Claviger", bench.pace, Figure::PerCpuSecond, load);
    let bare = Contender::load("bare hyper", bench.pace, Figure::PerCpuSecond, bare);
    Ok(table(PER_CPU, &rounds(bench.pace, vec![ours, bare])?))
}

fn get(url: String, authorization: Option<&str>, server: u32) -> Load {
    let authorization = authorization.map(str::to_owned);
    Load { url, method: "GET", authorization, servers: vec![server], ..Load::default() }
}

fn gateway(bench: &mut Bench) -> Result<String> {
    let backend = baseline::backend(bench)?;
    let subject = Subject::start(bench, "claviger", "")?;
    let published = subject.publish(backend.port)?;
    let nginx = baseline::nginx(bench, &backend)?;
    let (haproxy, authorization) = baseline::haproxy(bench, &backend)?;
    let hello = baseline::hyper_hello(bench, SERVER_CPU, 1024)?;
    let pace = bench.pace;
    let side = |name: &str, load: Load| Contender::load(name, pace, Figure::PerCpuSecond, load);
    let peer = |name: &str, server: &Baseline| side(name, get(server.url(), Some(&authorization), server.pid));
    let ours = |name: &str, token: &str| -> Result<Contender<'static>> {
        Ok(side(name, get(subject.gateway_url(SECURED), Some(token), subject.pid()?)))
    };
    let rows = rounds(
        pace,
        vec![
            ours("Claviger gateway, JWT", &published.jwt)?,
            ours("Claviger gateway, opaque token", &published.opaque)?,
            peer("nginx plain proxy", &nginx.plain),
            peer("nginx auth_request, cached verdict", &nginx.auth),
            peer("haproxy jwt_verify RS256", &haproxy),
            peer("bare hyper (no proxy)", &hello),
        ],
    )?;
    Ok(table(PER_CPU, &rows))
}

fn gateway_overhead(bench: &mut Bench) -> Result<String> {
    let backend = baseline::backend(bench)?;
    let subject = Subject::start(bench, "claviger", "")?;
    let published = subject.publish(backend.port)?;
    let pid = subject.pid()?;
    let side = |name: &str, path: &str, token: Option<&str>| {
        Contender::load(name, bench.pace, Figure::PerCpuSecond, get(subject.gateway_url(path), token, pid))
    };
    let rows: Vec<Row> = rounds(
        bench.pace,
        vec![
            side("secured resource, JWT", SECURED, Some(&published.jwt)),
            side("secured resource, opaque token", SECURED, Some(&published.opaque)),
            // The same header, so that both sides move the same bytes.
            side("open resource (`None`)", OPEN, Some(&published.jwt)),
        ],
    )?;
    Ok(table(PER_CPU, &rows))
}

fn idle_memory(bench: &mut Bench) -> Result<String> {
    let subject = Subject::start(bench, "claviger", "")?;
    let pid = subject.pid()?;
    let at_start = resident_kib(pid)?;
    eprintln!("xtask: leaving the server alone for {} s", bench.settle.as_secs());
    process::pause(bench.settle);
    let idle = resident_kib(pid)?;
    let client = subject.register("bench", TokenKind::Jwt)?;
    subject.token(&client)?;
    let after = resident_kib(pid)?;
    let mut text = String::from("| when | resident MiB |\n|---|---|\n");
    for (when, kib) in [("ready", at_start), ("idle", idle), ("after a first token", after)] {
        writeln!(text, "| {when} | {:.1} |", kib / KIB_PER_MIB)?;
    }
    Ok(text)
}

fn cold_start(bench: &mut Bench) -> Result<String> {
    let mut subject = Subject::start(bench, "claviger", "")?;
    let client = subject.register("bench", TokenKind::Jwt)?;
    let mut times = Vec::new();
    for _ in 0..bench.pace.rounds {
        subject.stop()?;
        times.push(subject.cold_start_ms(bench, &client)?);
    }
    let spread = Spread::of(times).context("no rounds")?;
    Ok(format!("Median {:.0} ms, smallest {:.0} ms, largest {:.0} ms.\n", spread.median, spread.min, spread.max))
}
