//! The process, or its database server, is killed under load, again and again. What was acknowledged must be true after the
//! restart; what was not may be either way. (The system lives on and keeps what was written to files: this shows that nothing is
//! acknowledged before its commit, not what a disk does without power.)
//!
//! The moment is random without a timer: the kill comes right after an acknowledgement of a random number reached a client,
//! while the other clients' requests are at any stage.
//!
//! 50 kills on SQLite; on the servers 3, or 50 when `CLAVIGER_TEST_LONG` is set.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Directory, Mortal, Process, databases, is_long, mortals, plain_client,
    registration,
};
use claviger::app::SystemEntropy;
use claviger_proto::entropy::Entropy as _;
use reqwest::Client;
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

const ROUNDS: usize = 50;
const QUICK_ROUNDS: usize = 3;
const CLIENTS: usize = 8;
/// Acknowledgements of a round before the process is killed: at most so many.
const ACKNOWLEDGED_MAX: usize = 250;
/// Longest wait for them.
const BURNT_MAX: Duration = Duration::from_mins(2);
const CLIENT_ID: &str = "crash_test_client";
const CLIENT_SECRET: &str = "crash_test_secret";

/// What the clients know of their tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// The token was handed out.
    Issued,
    /// A revocation was sent; nothing came back.
    Unsure,
    /// The revocation was acknowledged.
    Revoked,
}

/// The clients' notes of all rounds.
#[derive(Default)]
struct Notes {
    tokens: Mutex<HashMap<String, Known>>,
    acknowledged: AtomicUsize,
    scopes: AtomicUsize,
}

impl Notes {
    fn write(&self, token: &str, known: Known) {
        self.tokens.lock().unwrap().insert(token.to_owned(), known);
    }

    fn count(&self, known: Known) -> usize {
        self.tokens.lock().unwrap().values().filter(|own| **own == known).count()
    }
}

/// The acknowledgement after which a round ends.
struct Fuse {
    at: usize,
    burnt: Notify,
    is_over: AtomicBool,
}

impl Fuse {
    fn acknowledge(&self, notes: &Notes) {
        if notes.acknowledged.fetch_add(1, Ordering::SeqCst) + 1 >= self.at {
            self.burnt.notify_one();
        }
    }
}

/// One client: issues tokens, refreshes every third and revokes every third, until the end of the round.
async fn load(http: Client, base: String, notes: Arc<Notes>, fuse: Arc<Fuse>) {
    while !fuse.is_over.load(Ordering::SeqCst) {
        // A scope of its own makes each token a new one.
        let number = notes.scopes.fetch_add(1, Ordering::SeqCst);
        let scope = format!("s{number}");
        let form = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD), ("scope", &scope)];
        let Some(reply) = post(&http, &base, "/oauth2/token", &form).await else { return };
        let token = reply.text("access_token");
        notes.write(&token, Known::Issued);
        fuse.acknowledge(&notes);
        let next = match number % 3 {
            0 => continue,
            1 => {
                notes.write(&token, Known::Unsure);
                post(&http, &base, "/oauth2/revoke", &[("token", &token)]).await.map(|_| None)
            }
            _ => {
                notes.write(&token, Known::Unsure);
                let refresh = reply.text("refresh_token");
                let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
                post(&http, &base, "/oauth2/token", &form).await.map(|reply| Some(reply.text("access_token")))
            }
        };
        let Some(next) = next else { return };
        notes.write(&token, Known::Revoked);
        if let Some(next) = next {
            notes.write(&next, Known::Issued);
        }
        fuse.acknowledge(&notes);
    }
}

/// An acknowledged answer, or `None` when the server or its database is gone. Under this load nothing else may happen.
async fn post(http: &Client, base: &str, path: &str, form: &[(&str, &str)]) -> Option<crate::harness::Reply> {
    let request = http.post(format!("{base}{path}")).basic_auth(CLIENT_ID, Some(CLIENT_SECRET));
    let reply = request.form(form).try_call().await?;
    assert!(reply.status == 200 || reply.status == 503 && reply.header("retry-after").is_some(), "{reply:?}");
    Some(reply).filter(|reply| reply.status == 200)
}

async fn is_active(http: &Client, base: &str, token: &str) -> bool {
    let request = http.post(format!("{base}/oauth2/introspect")).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
    let reply = request.form(&[("token", token)]).call().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["active"].as_bool().unwrap()
}

/// Compares every note about the given tokens with what the server says now.
async fn check(process: &Process, notes: &Notes, tokens: Vec<(String, Known)>) {
    let (http, base) = (plain_client(), process.plain());
    let checks = tokens.chunks(tokens.len().div_ceil(CLIENTS).max(1)).map(async |tokens| {
        for (token, known) in tokens {
            let is_active = is_active(&http, &base, token).await;
            let is_right = match known {
                Known::Issued => is_active,
                Known::Revoked => !is_active,
                Known::Unsure => true,
            };
            let acknowledged = notes.acknowledged.load(Ordering::SeqCst);
            assert!(is_right, "{known:?} but active is {is_active}, after {acknowledged} acknowledgements");
        }
    });
    futures_util::future::join_all(checks).await;
}

/// What is killed.
#[derive(Clone, Copy)]
enum Victim<'a> {
    Process,
    /// A server that starts again by itself.
    Database(&'a Mortal),
}

/// So many rounds of load and kill on one directory.
async fn survive(directory: &Directory, what: &str, victim: Victim<'_>, rounds: usize) {
    let (rng, notes) = (SystemEntropy::default(), Arc::new(Notes::default()));
    let started = std::time::Instant::now();
    let mut process = Process::start(directory, &["--log", "warn"]).await;
    let register =
        registration("crash", json!({ "ext_param_client_id": CLIENT_ID, "ext_param_client_secret": CLIENT_SECRET }));
    let url = format!("{}/keymanager-operations/dcr/register", process.plain());
    let request = plain_client().post(url).basic_auth(ADMIN, Some(ADMIN_PASSWORD)).json(&register);
    assert_eq!(request.call().await.status, 201);
    let mut known = HashMap::new();
    for _ in 0..rounds {
        let mut byte = [0];
        rng.fill(&mut byte);
        let at = notes.acknowledged.load(Ordering::SeqCst) + 1 + usize::from(byte[0]) % ACKNOWLEDGED_MAX;
        let fuse = Arc::new(Fuse { at, burnt: Notify::new(), is_over: AtomicBool::new(false) });
        let client = || tokio::spawn(load(plain_client(), process.plain(), notes.clone(), fuse.clone()));
        let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
        let burnt = tokio::time::timeout(BURNT_MAX, fuse.burnt.notified()).await;
        let count = notes.acknowledged.load(Ordering::SeqCst);
        assert!(burnt.is_ok(), "{what}: {count} acknowledgements of {at} in {BURNT_MAX:?}");
        if let Victim::Database(server) = victim {
            server.kill();
        }
        fuse.is_over.store(true, Ordering::SeqCst);
        // With its database gone the process goes as well, once it has answered: what it remembers is not to be asked.
        let ended = match victim {
            Victim::Process => {
                let ended = process.kill();
                join_clients(clients).await;
                ended
            }
            Victim::Database(_) => {
                join_clients(clients).await;
                process.kill()
            }
        };
        assert_eq!((ended.code, ended.output.contains("panicked")), (None, false), "{}", ended.output);
        if let Victim::Database(server) = victim {
            server.wait_until_back().await;
        }
        process = Process::start(directory, &["--log", "warn"]).await;
        let all = notes.tokens.lock().unwrap().clone();
        let news = all.iter().filter(|(token, now)| known.get(*token) != Some(*now));
        let news = news.map(|(token, now)| (token.clone(), *now)).collect();
        check(&process, &notes, news).await;
        known = all;
    }
    let all: Vec<_> = known.into_iter().collect();
    check(&process, &notes, all).await;
    println!(
        "{what}: {rounds} kills in {:.1} s: {} acknowledged tokens alive, {} acknowledged ends dead, {} cut off on the way",
        started.elapsed().as_secs_f64(),
        notes.count(Known::Issued),
        notes.count(Known::Revoked),
        notes.count(Known::Unsure),
    );
}

async fn join_clients(clients: Vec<tokio::task::JoinHandle<()>>) {
    for client in clients {
        client.await.unwrap();
    }
}

fn rounds() -> usize {
    if is_long() { ROUNDS } else { QUICK_ROUNDS }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    survive(&Directory::new(), "SQLite", Victim::Process, ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_on_a_server_survives_kill_9() {
    for database in databases().await {
        if database.is_shared() {
            let directory = Directory::new();
            std::fs::write(directory.path().join("deployment.toml"), database.section()).unwrap();
            survive(&directory, database.engine(), Victim::Process, rounds()).await;
        }
        database.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_of_the_database_server() {
    for server in mortals().await {
        let directory = Directory::new();
        let text = format!("{}max_wait = 500\n", server.database.section());
        std::fs::write(directory.path().join("deployment.toml"), text).unwrap();
        let what = format!("{}'s server", server.database.engine());
        survive(&directory, &what, Victim::Database(&server), rounds()).await;
        server.database.remove().await;
    }
}
