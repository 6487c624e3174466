//! The database goes away, stands still, and comes back: what needs it is refused in time and says when to come back, what is
//! remembered goes on, full service returns at once, and nothing leaks.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Database, Directory, Process, Relay, Reply, becomes_false, databases,
    plain_client, registration,
};
use claviger_store::conn::READ_MS_MAX;
use futures_util::future::join_all;
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const CLIENT_ID: &str = "outage_test_client";
const CLIENT_SECRET: &str = "outage_test_secret";
/// A client that was met and has never asked for a token.
const MET_ID: &str = "outage_test_met";
const WAIT_MS: u64 = 1_000;
const WAIT: Duration = Duration::from_millis(WAIT_MS);
/// What an answer may take besides the wait for a connection: for a slow machine.
const SLACK: Duration = Duration::from_secs(2);
/// Full service returns within this time.
const BACK: Duration = Duration::from_secs(2);
/// `max_active` of the section.
const CONNECTIONS_MAX: usize = 12;
const CUTS: usize = 20;
/// Longest time of a read.
const READ: Duration = Duration::from_millis(READ_MS_MAX);

/// A process that reaches its database through a relay, and a token that it remembers.
struct Scene {
    process: Process,
    relay: Relay,
    http: Client,
    known: String,
    scopes: AtomicUsize,
    _directory: Directory,
}

async fn on_every_server(wait_ms: u64, case: impl AsyncFn(&mut Scene, &Database)) {
    on_every_server_with(&format!("max_wait = {wait_ms}\n"), case).await;
}

/// With more settings of the pool, and sections.
async fn on_every_server_with(settings: &str, case: impl AsyncFn(&mut Scene, &Database)) {
    for database in databases().await {
        if database.is_shared() {
            let mut scene = Scene::start(&database, settings).await;
            case(&mut scene, &database).await;
            drop(scene);
        }
        database.remove().await;
    }
}

impl Scene {
    async fn start(database: &Database, settings: &str) -> Self {
        let (relay, directory) = (Relay::start(database.port()).await, Directory::new());
        let text = format!("{}{settings}", database.section_at(relay.port()));
        std::fs::write(directory.path().join("deployment.toml"), text).unwrap();
        let process = Process::start(&directory, &["--log", "error"]).await;
        let (http, known, scopes) = (plain_client(), String::new(), AtomicUsize::new(0));
        let mut scene = Self { process, relay, http, known, scopes, _directory: directory };
        for (id, name) in [(CLIENT_ID, "outage"), (MET_ID, "met")] {
            let new = json!({ "ext_param_client_id": id, "ext_param_client_secret": CLIENT_SECRET });
            let path = "/keymanager-operations/dcr/register";
            let reply = scene.as_admin("POST", path).json(&registration(name, new)).call().await;
            assert_eq!(reply.status, 201, "{reply:?}");
        }
        scene.known = scene.new_token().call().await.text("access_token");
        scene.check_known().await;
        scene
    }

    fn as_admin(&self, method: &str, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.process.plain());
        self.http.request(method.parse().unwrap(), url).basic_auth(ADMIN, Some(ADMIN_PASSWORD))
    }

    /// A request that needs the database: for a token that was never asked for.
    fn new_token(&self) -> RequestBuilder {
        self.new_token_of(CLIENT_ID)
    }

    fn new_token_of(&self, client: &str) -> RequestBuilder {
        let scope = format!("s{}", self.scopes.fetch_add(1, Ordering::SeqCst));
        let form = [("grant_type", "client_credentials"), ("scope", scope.as_str())];
        let request = self.http.post(format!("{}/oauth2/token", self.process.plain()));
        request.basic_auth(client, Some(CLIENT_SECRET)).form(&form)
    }

    fn introspection(&self, token: &str) -> RequestBuilder {
        self.as_admin("POST", "/oauth2/introspect").form(&[("token", token)])
    }

    /// What is remembered is answered, and at once.
    async fn check_known(&self) {
        let begun = Instant::now();
        let reply = self.introspection(&self.known).call().await;
        assert_eq!((reply.status, &reply.json()["active"]), (200, &json!(true)), "{reply:?}");
        assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    }

    /// Everything that needs the database is refused in time, each in its own form.
    async fn check_refusals(&self, bound: Duration, engine: &str) {
        let register = "/keymanager-operations/dcr/register";
        let requests = [
            ("token", self.new_token()),
            ("introspection", self.introspection("2b0c8ec4-6a4e-4a0f-9fd4-1dd1a3f4cf0b")),
            ("registration", self.as_admin("GET", &format!("{register}/nobody_knows_this_one"))),
            ("new client", self.as_admin("POST", register).json(&registration("more", json!({})))),
            ("readiness", self.as_admin("GET", "/health/ready")),
        ];
        join_all(requests.map(async |(what, request)| {
            let begun = Instant::now();
            let reply = request.call().await;
            assert!(begun.elapsed() < bound + SLACK, "{engine}: {what} took {:?}", begun.elapsed());
            assert_eq!(reply.status, 503, "{engine}: {what}: {reply:?}");
            assert_eq!(reply.header("content-type"), Some("application/json"), "{engine}: {what}: {reply:?}");
            match what {
                "token" => {
                    assert!(has_retry_after(&reply), "{engine}: {what}: {reply:?}");
                    reply.check_error(503, "temporarily_unavailable", "Service Unavailable Error.");
                }
                "readiness" => assert_eq!(reply.json(), json!({ "status": "the database does not answer" })),
                _ => {
                    assert!(has_retry_after(&reply), "{engine}: {what}: {reply:?}");
                    let told = reply.text("description");
                    assert!(told.starts_with("Correlation id ") && !reply.body.contains("database"), "{reply:?}");
                }
            }
        }))
        .await;
    }

    /// Requests that need the database, side by side; each is answered in time, well or with 503.
    async fn push(&self, count: usize, bound: Duration) -> usize {
        self.push_of(CLIENT_ID, count, bound).await
    }

    async fn push_of(&self, client: &str, count: usize, bound: Duration) -> usize {
        let begun = Instant::now();
        let replies = join_all((0..count).map(|_| self.new_token_of(client).call())).await;
        assert!(begun.elapsed() < bound + SLACK, "{:?}", begun.elapsed());
        let mut good = 0;
        for reply in replies {
            assert!(reply.status == 200 || reply.status == 503 && has_retry_after(&reply), "{reply:?}");
            good += usize::from(reply.status == 200);
        }
        good
    }

    /// Full service is back in time: as many requests as there are connections, twice.
    async fn check_back(&self, since: Instant, engine: &str) {
        let good = self.push(CONNECTIONS_MAX, BACK).await;
        assert!(since.elapsed() < BACK + SLACK, "{engine}: after {:?}", since.elapsed());
        assert_eq!(good, CONNECTIONS_MAX, "{engine}");
        assert_eq!(self.push(2 * CONNECTIONS_MAX, BACK).await, 2 * CONNECTIONS_MAX, "{engine}");
        self.check_known().await;
    }
}

fn has_retry_after(reply: &Reply) -> bool {
    reply.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().is_ok())
}

/// Connections to a database that others than the one who asks have open.
async fn connections(database: &Database) -> usize {
    let query = match database {
        Database::MySql { .. } => {
            "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()"
        }
        _ => {
            "SELECT CAST(COUNT(*) AS TEXT) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        }
    };
    database.ask(query).await.unwrap()[0][0].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_requests_are_refused_in_time_and_what_is_known_goes_on() {
    on_every_server(WAIT_MS, async |scene, database| {
        let (engine, wait) = (database.engine(), WAIT);
        let revocation = scene.http.post(format!("{}/oauth2/revoke", scene.process.plain()));
        let revocation = revocation.basic_auth(MET_ID, Some(CLIENT_SECRET)).form(&[("token", "nobody's")]);
        assert_eq!(revocation.call().await.status, 200, "{engine}");
        scene.relay.cut().await;
        tokio::join!(scene.check_refusals(wait, engine), scene.check_known());
        // What nobody has asked of a client yet is asked side by side.
        assert_eq!(scene.push_of(MET_ID, CONNECTIONS_MAX, wait).await, 0, "{engine}");
        // More than there are connections: who waits for a place is refused as soon.
        assert_eq!(scene.push(4 * CONNECTIONS_MAX, wait).await, 0, "{engine}");
        scene.check_known().await;
        scene.relay.mend().await;
        scene.check_back(Instant::now(), engine).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_is_back_at_once_after_a_long_cut() {
    const CUT: Duration = Duration::from_secs(6);
    // As long as by default: many requests still wait when the database is back.
    on_every_server(60_000, async |scene, database| {
        scene.relay.cut().await;
        let waiting = (0..4 * CONNECTIONS_MAX).map(|_| tokio::spawn(scene.new_token().call()));
        let waiting: Vec<_> = waiting.collect();
        let mut looks = tokio::time::interval(Duration::from_millis(200));
        let begun = Instant::now();
        while begun.elapsed() < CUT {
            looks.tick().await;
            scene.check_known().await;
        }
        scene.relay.mend().await;
        let mended = Instant::now();
        scene.check_back(mended, database.engine()).await;
        for reply in join_all(waiting).await {
            assert_eq!(reply.unwrap().status, 200);
        }
        assert!(mended.elapsed() < 2 * BACK, "{}: they waited for {:?}", database.engine(), mended.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_leak_no_connections() {
    on_every_server(WAIT_MS, async |scene, database| {
        for _ in 0..CUTS {
            // Cut under load, so that connections break at any stage.
            let load: Vec<_> = (0..2 * CONNECTIONS_MAX).map(|_| tokio::spawn(scene.new_token().call())).collect();
            scene.relay.cut().await;
            scene.relay.mend().await;
            for reply in join_all(load).await {
                let reply = reply.unwrap();
                assert!(reply.status == 200 || reply.status == 503, "{}: {reply:?}", database.engine());
            }
        }
        scene.check_back(Instant::now(), database.engine()).await;
        // PostgreSQL's node has one more, on which it listens.
        let most = CONNECTIONS_MAX + usize::from(matches!(database, Database::Postgres { .. }));
        let are_many = async || connections(database).await > most;
        assert!(becomes_false(are_many).await, "{}: {} connections", database.engine(), connections(database).await);
        assert!(connections(database).await > 0, "{}: nobody is counted", database.engine());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_stands_still_holds_nobody_for_long() {
    on_every_server(WAIT_MS, async |scene, database| {
        let (engine, wait) = (database.engine(), WAIT);
        scene.relay.stop(true);
        tokio::join!(scene.check_refusals(wait, engine), scene.check_known());
        scene.relay.stop(false);
        scene.check_back(Instant::now(), engine).await;
        // The same, and what stood still is gone for good.
        scene.relay.stop(true);
        scene.check_refusals(wait, engine).await;
        scene.relay.cut().await;
        scene.relay.stop(false);
        scene.relay.mend().await;
        scene.check_back(Instant::now(), engine).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_time_is_over_is_told_to_come_back() {
    on_every_server_with("[limits]\nrequest_timeout_s = 1\n", async |scene, database| {
        scene.relay.cut().await;
        let begun = Instant::now();
        let reply = scene.new_token().call().await;
        assert!(reply.status == 503 && has_retry_after(&reply), "{}: {reply:?}", database.engine());
        assert!(begun.elapsed() < Duration::from_secs(1) + SLACK, "{}: {:?}", database.engine(), begun.elapsed());
    })
    .await;
}

/// As when a firewall forgets its connections: no end of any is ever seen, of those with a statement under way neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_died_unseen_are_replaced() {
    const MANY: usize = 4 * CONNECTIONS_MAX;
    // Side by side, since it takes long.
    let cases = databases().await.into_iter().filter(Database::is_shared).map(async |database| {
        let mut scene = Scene::start(&database, &format!("max_wait = {WAIT_MS}\n")).await;
        let engine = database.engine();
        let locked = database.lock_tokens().await;
        let looks = (0..MANY).map(|look| tokio::spawn(scene.introspection(&format!("unknown-{look}")).call()));
        let looks: Vec<_> = looks.collect();
        let are_few = async || waiting(&database).await < CONNECTIONS_MAX;
        assert!(becomes_false(are_few).await, "{engine}: no statement waits");
        scene.relay.lose_connections();
        let lost = Instant::now();
        drop(locked);
        for reply in join_all(looks).await {
            let reply = reply.unwrap();
            assert!(reply.status == 503 && has_retry_after(&reply), "{engine}: {reply:?}");
        }
        assert!(lost.elapsed() < READ + SLACK, "{engine}: {:?}", lost.elapsed());
        // Each request finds one of the dead at the most, and removes it.
        scene.push(2 * CONNECTIONS_MAX, WAIT).await;
        scene.check_back(Instant::now(), engine).await;
        // Under a load of short statements they die between two of them too; there are as many as ever afterwards.
        let load = Load::start(&scene);
        let are_few = async || load.answers.load(Ordering::SeqCst) < 20 * CONNECTIONS_MAX;
        assert!(becomes_false(are_few).await, "{engine}: no load");
        scene.relay.lose_connections();
        load.end().await;
        let locked = database.lock_tokens().await;
        // Who finds a dead one is refused, and asks again.
        let load = Load::start(&scene);
        let are_few = async || waiting(&database).await < CONNECTIONS_MAX;
        assert!(becomes_false(are_few).await, "{engine}: only {} connections are left", waiting(&database).await);
        drop(locked);
        load.end().await;
        drop(scene);
        database.remove().await;
    });
    join_all(cases).await;
}

/// Two requests for each connection, again and again, each for a token that nobody knows.
struct Load {
    answers: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    lanes: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(scene: &Scene) -> Self {
        let (answers, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let lane = |lane| {
            let request = scene.introspection(&format!("lane-{lane}"));
            let (answers, is_over) = (answers.clone(), is_over.clone());
            tokio::spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    let reply = request.try_clone().unwrap().call().await;
                    assert!(matches!(reply.status, 200 | 503), "{reply:?}");
                    answers.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let lanes = (0..2 * CONNECTIONS_MAX).map(lane).collect();
        Self { answers, is_over, lanes }
    }

    async fn end(mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        for lane in std::mem::take(&mut self.lanes) {
            lane.await.unwrap();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.lanes.iter().for_each(JoinHandle::abort);
    }
}

/// Statements that wait for a lock.
async fn waiting(database: &Database) -> usize {
    let query = match database {
        Database::MySql { .. } => {
            "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND STATE LIKE 'Waiting for%'"
        }
        _ => {
            "SELECT CAST(COUNT(*) AS TEXT) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        }
    };
    database.ask(query).await.unwrap()[0][0].parse().unwrap()
}
