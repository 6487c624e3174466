//! The process is killed under load, again and again, on one directory. What it acknowledged must be true after the restart;
//! what it did not acknowledge may be either way. (The system lives on and keeps what was written to files: this shows that
//! nothing is acknowledged before its commit, not what a disk does without power.)
//!
//! The moment is random without a timer: the process is killed right after an acknowledgement of a random number reached a
//! client, while the other clients' requests are at any stage.

use crate::harness::{ADMIN, ADMIN_PASSWORD, Call as _, Directory, Process, plain_client, registration};
use claviger::app::SystemEntropy;
use claviger_proto::entropy::Entropy as _;
use reqwest::Client;
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

const ROUNDS: usize = 50;
const CLIENTS: usize = 8;
/// Acknowledgements of a round before the process is killed: at most so many.
const ACKNOWLEDGED_MAX: usize = 250;
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
}

impl Fuse {
    fn acknowledge(&self, notes: &Notes) {
        if notes.acknowledged.fetch_add(1, Ordering::SeqCst) + 1 >= self.at {
            self.burnt.notify_one();
        }
    }
}

/// One client: issues tokens and revokes every second one, until the server is gone.
async fn load(http: Client, base: String, notes: Arc<Notes>, fuse: Arc<Fuse>) {
    loop {
        // A scope of its own makes each token a new one.
        let number = notes.scopes.fetch_add(1, Ordering::SeqCst);
        let scope = format!("s{number}");
        let form = [("grant_type", "client_credentials"), ("scope", &scope)];
        let Some(reply) = post(&http, &base, "/oauth2/token", &form).await else { return };
        let token = reply.text("access_token");
        notes.write(&token, Known::Issued);
        fuse.acknowledge(&notes);
        if number.is_multiple_of(2) {
            continue;
        }
        notes.write(&token, Known::Unsure);
        if post(&http, &base, "/oauth2/revoke", &[("token", &token)]).await.is_none() {
            return;
        }
        notes.write(&token, Known::Revoked);
        fuse.acknowledge(&notes);
    }
}

/// An acknowledged answer, or `None` when the server is gone. Under this load nothing else may happen.
async fn post(http: &Client, base: &str, path: &str, form: &[(&str, &str)]) -> Option<crate::harness::Reply> {
    let request = http.post(format!("{base}{path}")).basic_auth(CLIENT_ID, Some(CLIENT_SECRET));
    let reply = request.form(form).try_call().await?;
    assert_eq!(reply.status, 200, "{reply:?}");
    Some(reply)
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let directory = Directory::new();
    let rng = SystemEntropy::default();
    let notes = Arc::new(Notes::default());
    let started = std::time::Instant::now();
    let mut process = Process::start(&directory, &["--log", "warn"]).await;
    let register =
        registration("crash", json!({ "ext_param_client_id": CLIENT_ID, "ext_param_client_secret": CLIENT_SECRET }));
    let url = format!("{}/keymanager-operations/dcr/register", process.plain());
    let request = plain_client().post(url).basic_auth(ADMIN, Some(ADMIN_PASSWORD)).json(&register);
    assert_eq!(request.call().await.status, 201);
    let mut known = HashMap::new();
    for _ in 0..ROUNDS {
        let mut byte = [0];
        rng.fill(&mut byte);
        let at = notes.acknowledged.load(Ordering::SeqCst) + 1 + usize::from(byte[0]) % ACKNOWLEDGED_MAX;
        let fuse = Arc::new(Fuse { at, burnt: Notify::new() });
        let client = || tokio::spawn(load(plain_client(), process.plain(), notes.clone(), fuse.clone()));
        let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
        fuse.burnt.notified().await;
        let ended = process.kill();
        assert_eq!((ended.code, ended.output.contains("panicked")), (None, false), "{}", ended.output);
        for client in clients {
            client.await.unwrap();
        }
        process = Process::start(&directory, &["--log", "warn"]).await;
        let all = notes.tokens.lock().unwrap().clone();
        let news = all.iter().filter(|(token, now)| known.get(*token) != Some(*now));
        let news = news.map(|(token, now)| (token.clone(), *now)).collect();
        check(&process, &notes, news).await;
        known = all;
    }
    let all: Vec<_> = known.into_iter().collect();
    check(&process, &notes, all).await;
    println!(
        "{ROUNDS} kills in {:.1} s: {} acknowledged tokens alive, {} acknowledged revocations dead, {} revocations cut off",
        started.elapsed().as_secs_f64(),
        notes.count(Known::Issued),
        notes.count(Known::Revoked),
        notes.count(Known::Unsure),
    );
}
