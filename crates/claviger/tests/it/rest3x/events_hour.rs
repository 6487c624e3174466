//! API Manager is away for an hour while tokens are revoked, and the key manager is killed twice: afterwards every event arrives.
//!
//! An hour of 50 revocations a second is 180,000 of them, made as fast as the server takes them (`CLAVIGER_TEST_LONG=1`); in the
//! quick form there are 500.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Directory, Process, Receiver, Relay, becomes_false, is_long, plain_client,
    registration,
};
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const QUICK: usize = 500;
const HOUR: usize = 180_000;
/// Between two kills, and before the first.
const ROUNDS: usize = 3;
const CLIENTS: usize = 16;
/// In which the long form's events must be there, from the endpoint's return on.
const DRAIN: Duration = Duration::from_mins(1);
/// Bounds of the test itself.
const ROUND_MAX: Duration = Duration::from_mins(30);
const DRAIN_MAX: Duration = Duration::from_mins(5);
const CLIENT_ID: &str = "hour_test_client";
const CLIENT_SECRET: &str = "hour_test_secret";

/// What the clients know of their tokens: was the revocation acknowledged?
#[derive(Default)]
struct Notes {
    tokens: Mutex<HashMap<String, bool>>,
    acknowledged: AtomicUsize,
    scopes: AtomicUsize,
}

/// Ends a round.
struct Fuse {
    at: usize,
    burnt: Notify,
    is_over: AtomicBool,
}

/// One client: issues and revokes until the end of the round.
async fn load(base: String, notes: Arc<Notes>, fuse: Arc<Fuse>) {
    let http = plain_client();
    let post = async |path: &str, form: &[(&str, &str)]| {
        let request = http.post(format!("{base}{path}")).basic_auth(CLIENT_ID, Some(CLIENT_SECRET));
        let reply = request.form(form).try_call().await?;
        assert_eq!(reply.status, 200, "{reply:?}");
        Some(reply)
    };
    while !fuse.is_over.load(Ordering::SeqCst) {
        let scope = format!("s{}", notes.scopes.fetch_add(1, Ordering::SeqCst));
        let form = [("grant_type", "client_credentials"), ("scope", scope.as_str())];
        let Some(reply) = post("/oauth2/token", &form).await else { return };
        let token = reply.text("access_token");
        notes.tokens.lock().unwrap().insert(token.clone(), false);
        let Some(_) = post("/oauth2/revoke", &[("token", &token)]).await else { return };
        notes.tokens.lock().unwrap().insert(token, true);
        if notes.acknowledged.fetch_add(1, Ordering::SeqCst) + 1 >= fuse.at {
            fuse.is_over.store(true, Ordering::SeqCst);
            fuse.burnt.notify_one();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_arrives_after_an_hour_without_api_manager_and_two_kills() {
    let total = if is_long() { HOUR } else { QUICK };
    let (directory, receiver) = (Directory::new(), Receiver::start().await);
    let mut relay = Relay::start(receiver.port).await;
    relay.cut().await;
    std::fs::write(directory.path().join("deployment.toml"), Receiver::section_at(relay.port())).unwrap();
    let mut process = Process::start(&directory, &["--log", "warn"]).await;
    let preset = json!({ "ext_param_client_id": CLIENT_ID, "ext_param_client_secret": CLIENT_SECRET });
    let request = plain_client().post(format!("{}/keymanager-operations/dcr/register", process.plain()));
    let request = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).json(&registration("hour", preset));
    assert_eq!(request.call().await.status, 201);
    let (notes, begun) = (Arc::new(Notes::default()), Instant::now());
    for round in 1..=ROUNDS {
        let at = total * round / ROUNDS;
        let fuse = Arc::new(Fuse { at, burnt: Notify::new(), is_over: AtomicBool::new(false) });
        let client = || tokio::spawn(load(process.plain(), notes.clone(), fuse.clone()));
        let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
        let burnt = tokio::time::timeout(ROUND_MAX, fuse.burnt.notified()).await;
        assert!(burnt.is_ok(), "{} of {at} in {ROUND_MAX:?}", notes.acknowledged.load(Ordering::SeqCst));
        if round < ROUNDS {
            // The other clients' requests are at any stage.
            let ended = process.kill();
            assert!(!ended.output.contains("panicked"), "{}", ended.output);
            process = Process::start(&directory, &["--log", "warn"]).await;
        }
        for client in clients {
            client.await.unwrap();
        }
    }
    let made = begun.elapsed();
    assert!(receiver.posts().is_empty());
    let notes = notes.tokens.lock().unwrap().clone();
    let acknowledged = notes.values().filter(|is_acknowledged| **is_acknowledged).count();
    assert!(acknowledged >= total, "{acknowledged}");
    let back = Instant::now();
    relay.mend().await;
    receiver.wait_until(DRAIN_MAX, |posts| posts.len() >= acknowledged).await;
    // Those whose revocation was cut off on the way may have an event or none: what waits says that there is no more.
    let is_left = async || {
        let request = plain_client().get(format!("{}/internal/claviger/v1/notifications", process.plain()));
        let reply = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await;
        reply.json()["listeners"][0]["waiting"] != 0
    };
    assert!(becomes_false(is_left).await);
    let drained = back.elapsed();
    let mut events: HashMap<String, String> = HashMap::new();
    for post in receiver.posts() {
        let (token, event_id) = (post.text("accessToken").to_owned(), post.text("eventId").to_owned());
        let first = events.entry(token).or_insert_with(|| event_id.clone());
        assert_eq!(*first, event_id, "an event keeps its id");
    }
    let missing =
        notes.iter().filter(|(token, is_acknowledged)| **is_acknowledged && !events.contains_key(*token)).count();
    assert_eq!(missing, 0, "of {acknowledged} acknowledged revocations");
    assert!(events.keys().all(|token| notes.contains_key(token)));
    println!(
        "{acknowledged} revocations in {:.1} s with 2 kills; {} events after the endpoint's return, in {:.1} s; {} told twice",
        made.as_secs_f64(),
        events.len(),
        drained.as_secs_f64(),
        receiver.posts().len() - events.len(),
    );
    assert!(!is_long() || drained < DRAIN, "{drained:?}");
}
