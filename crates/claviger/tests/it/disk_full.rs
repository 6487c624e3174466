//! The database's disk is full, and has room again: what cannot be written is refused with 503 in time, what is remembered goes
//! on, service returns without a restart of the program, and everything that was acknowledged is true.
//!
//! The disks are file systems of their own (`cargo xtask test --small-disks`); a file fills them up.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Database, Directory, Process, Reply, SmallDisk, becomes_false, is_long,
    plain_client, registration, small_disks,
};
use claviger_store::db::WRITE_MS_MAX;
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::json;
use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CLIENT_ID: &str = "disk_full_test_client";
const CLIENT_SECRET: &str = "disk_full_test_secret";
const CLIENTS: usize = 8;
/// Acknowledged requests before the disk is full, and afterwards.
const GOOD: usize = 200;
/// Refused ones while it is; where each takes as long as a write may, which shows after a while, each client gets two.
const REFUSED: usize = 60;
const REFUSED_SLOWLY: usize = 2 * CLIENTS;
const SLOW: Duration = Duration::from_secs(20);
/// Longest wait for a connection.
const WAIT: Duration = Duration::from_secs(1);
/// What an answer may take besides, on a slow machine.
const SLACK: Duration = Duration::from_secs(3);
/// A COMMIT for which MariaDB waits until somebody makes room is given up after this time.
const WRITE: Duration = Duration::from_millis(WRITE_MS_MAX);
/// Longest wait for a number of answers.
const PHASE_MAX: Duration = Duration::from_mins(3);
/// Longest time until service is back: MariaDB looks once a minute whether there is room for its log.
const BACK_MAX: Duration = Duration::from_secs(100);
/// Room on the small disk of the embedded database.
const EMBEDDED_DISK: &str = "24m";
/// Mounts it over the data directory and runs the program there.
const ON_A_SMALL_DISK: &str = "mount -t tmpfs -o size=\"$1\" claviger \"$2\" && shift 2 && exec \"$@\"";
/// As root, or as root of a user namespace of its own.
const APART: &str = "if unshare --mount true 2>/dev/null; then exec unshare --mount \"$@\"; fi
exec unshare --map-root-user --mount \"$@\"";

/// A file that takes all the room there is.
struct Ballast(PathBuf);

impl Ballast {
    fn in_directory(directory: &Path) -> Self {
        Self(directory.join("ballast"))
    }

    /// Takes what is left, to the last byte.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(&self.0).unwrap();
        for bytes in [1 << 20, 4_096, 1] {
            let block = vec![0; bytes];
            loop {
                match file.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{}: {error}", self.0.display()),
                }
            }
        }
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// What the clients know of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Issued,
    /// An end was asked for and not acknowledged.
    Unsure,
    Ended,
}

struct Scene {
    engine: &'static str,
    http: Client,
    base: String,
    tokens: Mutex<HashMap<String, Known>>,
    numbers: AtomicUsize,
    good: AtomicUsize,
    refused: AtomicUsize,
    /// Longest an answer may take.
    bound: Duration,
    /// Does the server go on reading for certain? A PostgreSQL that cannot write a checkpoint ends.
    goes_on: bool,
}

impl Scene {
    /// Sends a form; `None` when it was refused in time and in the right form. Nothing else may happen.
    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Option<Reply> {
        let begun = Instant::now();
        let request = self.http.post(format!("{}{path}", self.base)).basic_auth(CLIENT_ID, Some(CLIENT_SECRET));
        let reply = request.form(form).call().await;
        let engine = self.engine;
        assert!(begun.elapsed() < self.bound, "{engine}: {path} took {:?}: {reply:?}", begun.elapsed());
        if reply.status == 200 {
            self.good.fetch_add(1, Ordering::SeqCst);
            return Some(reply);
        }
        reply.check_error(503, "temporarily_unavailable", "Service Unavailable Error.");
        assert!(reply.header("retry-after").is_some_and(|time| time.parse::<u64>().is_ok()), "{engine}: {reply:?}");
        self.refused.fetch_add(1, Ordering::SeqCst);
        None
    }

    fn note(&self, token: &str, known: Known) {
        self.tokens.lock().unwrap().insert(token.to_owned(), known);
    }

    /// A login; every third is refreshed and every third revoked.
    async fn turn(&self) {
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        let scope = format!("s{number}");
        let form = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD), ("scope", &scope)];
        let Some(reply) = self.post("/oauth2/token", &form).await else { return };
        let token = reply.text("access_token");
        self.note(&token, Known::Issued);
        match number % 3 {
            0 => {}
            1 => {
                self.note(&token, Known::Unsure);
                if self.post("/oauth2/revoke", &[("token", &token)]).await.is_some() {
                    self.note(&token, Known::Ended);
                }
            }
            _ => {
                self.note(&token, Known::Unsure);
                let refresh = reply.text("refresh_token");
                let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
                if let Some(next) = self.post("/oauth2/token", &form).await {
                    self.note(&token, Known::Ended);
                    self.note(&next.text("access_token"), Known::Issued);
                }
            }
        }
    }

    /// Load until a counter has grown by so much as is wanted by then; `beside` is done again and again meanwhile.
    async fn load_until(&self, counter: &AtomicUsize, more: impl Fn(Duration) -> usize, beside: impl AsyncFn()) {
        let (before, begun) = (counter.load(Ordering::SeqCst), Instant::now());
        let is_short = || counter.load(Ordering::SeqCst) < before + more(begun.elapsed());
        let load = join_all((0..CLIENTS).map(async |_| {
            while is_short() {
                self.turn().await;
            }
        }));
        let beside = async {
            let mut pace = tokio::time::interval(Duration::from_millis(200));
            while is_short() {
                pace.tick().await;
                beside().await;
            }
        };
        let done = tokio::time::timeout(PHASE_MAX, async { tokio::join!(load, beside) }).await;
        let (good, refused) = (self.good.load(Ordering::SeqCst), self.refused.load(Ordering::SeqCst));
        assert!(done.is_ok(), "{}: {good} good and {refused} refused answers after {PHASE_MAX:?}", self.engine);
    }

    async fn introspect(&self, base: &str, token: &str) -> Reply {
        let request = self.http.post(format!("{base}/oauth2/introspect")).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
        request.form(&[("token", token)]).call().await
    }

    /// What is remembered is answered at once, and the process is alive. A server that ended or stands still makes nobody wait
    /// longer than any other request, and no token dead: it may do so for longer than one remembers.
    async fn check_known(&self, token: &str) {
        let begun = Instant::now();
        let live = self.http.get(format!("{}/health/live", self.base)).call().await;
        assert_eq!(live.status, 200, "{}: {live:?}", self.engine);
        assert!(begun.elapsed() < SLACK, "{}: {:?}", self.engine, begun.elapsed());
        let reply = self.introspect(&self.base, token).await;
        let bound = if self.goes_on { SLACK } else { self.bound };
        assert!(begun.elapsed() < bound, "{}: {:?}: {reply:?}", self.engine, begun.elapsed());
        let is_active = reply.status == 200 && reply.json()["active"] == true;
        let may_be_away = |reply: &Reply| !self.goes_on && reply.status == 503;
        assert!(is_active || may_be_away(&reply), "{}: {reply:?}", self.engine);
        // A balancer is not to take validation away.
        let ready = self.http.get(format!("{}/health/ready", self.base)).call().await;
        assert!(ready.status == 200 || may_be_away(&ready), "{}: {ready:?}", self.engine);
    }

    /// Every note against what a server says.
    async fn check_ledger(&self, base: &str) {
        let tokens: Vec<_> = self.tokens.lock().unwrap().clone().into_iter().collect();
        join_all(tokens.chunks(tokens.len().div_ceil(CLIENTS)).map(async |tokens| {
            for (token, known) in tokens {
                let reply = self.introspect(base, token).await;
                assert_eq!(reply.status, 200, "{}: {reply:?}", self.engine);
                let is_active = reply.json()["active"].as_bool().unwrap();
                let is_right = match known {
                    Known::Issued => is_active,
                    Known::Ended => !is_active,
                    Known::Unsure => true,
                };
                assert!(is_right, "{}: {known:?} but active is {is_active}", self.engine);
            }
        }))
        .await;
    }

    fn count(&self, known: Known) -> usize {
        self.tokens.lock().unwrap().values().filter(|own| **own == known).count()
    }
}

/// Starts the program: the embedded database on a small disk of the process' own.
async fn start(disk: &SmallDisk, directory: &Directory) -> (Process, PathBuf) {
    if disk.database.is_shared() {
        let text = format!("{}max_wait = {}\n", disk.database.section(), WAIT.as_millis());
        std::fs::write(directory.path().join("deployment.toml"), text).unwrap();
        return (Process::start(directory, &["--log", "error"]).await, disk.directory.clone());
    }
    let command = || {
        let mut command = Command::new("sh");
        command.args(["-c", APART, "sh", "sh", "-c", ON_A_SMALL_DISK, "sh", EMBEDDED_DISK]).arg(directory.path());
        command.arg(env!("CARGO_BIN_EXE_claviger"));
        command
    };
    let process = Process::start_as(&command, directory, &["--log", "error"]).await;
    let inside = process.root().join(directory.path().strip_prefix("/").unwrap());
    (process, inside)
}

/// What the full disk is to do to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// Whatever comes first.
    Any,
    /// PostgreSQL cannot make the next segment of its log: it ends, and cannot start until there is room.
    End,
}

async fn fill_and_free(disk: &SmallDisk, harm: Harm) {
    let directory = Directory::new();
    let (process, disk_directory) = start(disk, &directory).await;
    let scene = Scene {
        engine: disk.database.engine(),
        http: plain_client(),
        base: process.plain(),
        tokens: Mutex::default(),
        numbers: AtomicUsize::new(0),
        good: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
        bound: WRITE + WAIT + SLACK,
        goes_on: matches!(disk.database, Database::Sqlite),
    };
    let new = json!({ "ext_param_client_id": CLIENT_ID, "ext_param_client_secret": CLIENT_SECRET });
    let request = scene.http.post(format!("{}/keymanager-operations/dcr/register", scene.base));
    let request = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).json(&registration("disk", new));
    assert_eq!(request.call().await.status, 201);
    scene.load_until(&scene.good, |_| GOOD, async || {}).await;
    assert_eq!(scene.refused.load(Ordering::SeqCst), 0, "{}: there was room", scene.engine);
    let known =
        scene.post("/oauth2/token", &[("grant_type", "client_credentials")]).await.unwrap().text("access_token");
    scene.check_known(&known).await;

    let ballast = Ballast::in_directory(&disk_directory);
    ballast.fill();
    if harm == Harm::End {
        // It may end before it has answered.
        drop(disk.database.ask("SELECT pg_switch_wal()::TEXT").await);
    }
    let begun = Instant::now();
    let refusals = |since| if since < SLOW { REFUSED } else { REFUSED_SLOWLY };
    // Again and again: databases make themselves some room.
    scene
        .load_until(&scene.refused, refusals, async || {
            ballast.fill();
            scene.check_known(&known).await;
        })
        .await;
    if harm == Harm::End {
        let answers = async || disk.database.ask("SELECT '1'").await.is_ok();
        assert!(becomes_false(answers).await, "{}: it goes on without its log", scene.engine);
    }
    let full = begun.elapsed();
    let acknowledged = scene.good.load(Ordering::SeqCst);
    drop(ballast);

    let freed = Instant::now();
    let is_refused = async || {
        let scope = format!("s{}", scene.numbers.fetch_add(1, Ordering::SeqCst));
        scene.post("/oauth2/token", &[("grant_type", "client_credentials"), ("scope", &scope)]).await.is_none()
    };
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let returning = async {
        while is_refused().await {
            pace.tick().await;
        }
    };
    let waited = tokio::time::timeout(BACK_MAX, returning).await;
    assert!(waited.is_ok(), "{}: no service {BACK_MAX:?} after there was room", scene.engine);
    let back = freed.elapsed();
    // One was good: now all are.
    let refused = scene.refused.load(Ordering::SeqCst);
    scene.load_until(&scene.good, |_| GOOD, async || {}).await;
    assert_eq!(scene.refused.load(Ordering::SeqCst), refused, "{}: there is room", scene.engine);
    scene.check_ledger(&scene.base).await;
    check_sound(&disk.database).await;

    // And another process, which remembers nothing, says so.
    let (other, copy) = (Directory::new(), disk_directory.as_path());
    if disk.database.is_shared() {
        let text = std::fs::read(directory.path().join("deployment.toml")).unwrap();
        std::fs::write(other.path().join("deployment.toml"), text).unwrap();
    } else {
        for file in std::fs::read_dir(copy).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), other.path().join(file.file_name())).unwrap();
        }
    }
    let second = Process::start(&other, &["--log", "error"]).await;
    scene.check_ledger(&second.plain()).await;
    let ended = process.kill();
    assert!(!ended.output.contains("panicked"), "{}: {}", scene.engine, ended.output);
    second.kill();
    println!(
        "{}: full for {:.1} s ({refused} refused, {} acknowledged at its end), back {:.1} s after there was room; \
         {} acknowledged tokens alive, {} acknowledged ends dead, {} not acknowledged",
        scene.engine,
        full.as_secs_f64(),
        acknowledged,
        back.as_secs_f64(),
        scene.count(Known::Issued),
        scene.count(Known::Ended),
        scene.count(Known::Unsure),
    );
}

/// The server finds nothing wrong in its tables.
async fn check_sound(database: &Database) {
    let query = match database {
        Database::Sqlite => return,
        Database::MySql { .. } => {
            "CHECK TABLE IDN_OAUTH2_ACCESS_TOKEN, IDN_OAUTH2_ACCESS_TOKEN_SCOPE, CLV_EVENT, CLV_REVOCATION"
        }
        Database::Postgres { .. } => "SELECT 'whole', '', '', COUNT(*)::TEXT FROM IDN_OAUTH2_ACCESS_TOKEN",
    };
    let rows = database.ask(query).await.unwrap();
    let is_sound = |row: &Vec<String>| row[0] == "whole" || row[3] == "OK";
    assert!(!rows.is_empty() && rows.iter().all(is_sound), "{}: {rows:?}", database.engine());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_no_acknowledged_token_and_no_restart() {
    // One after the other: each has the disks for itself.
    for harm in [Harm::Any, Harm::End] {
        for disk in small_disks().await {
            let is_meant = match harm {
                // Waiting takes two minutes.
                Harm::Any => !disk.is_waited_for || is_long(),
                Harm::End => matches!(disk.database, Database::Postgres { .. }),
            };
            if is_meant {
                fill_and_free(&disk, harm).await;
            }
            disk.database.remove().await;
        }
    }
}
