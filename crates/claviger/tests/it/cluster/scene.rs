//! Three processes, the load on them and what is done to them meanwhile.

use super::history::{Answer, Asked, Harm, History, Revoked, Row};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Database, Directory, Process, Reply, becomes_false, kill_galera_member,
    plain_client, registration,
};
use claviger_proto::oauth::OAuthErrorCode;
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(super) type Form = &'static [(&'static str, &'static str)];

/// Requests of an application for itself, and of a user.
pub(super) const GRANTS: [Form; 2] = [
    &[("grant_type", "client_credentials")],
    &[("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD)],
];

const CLIENT_ID: &str = "cluster_test_client";
const CLIENT_SECRET: &str = "cluster_test_secret";
/// Requests under way at once.
const LANES: usize = 64;
/// Of so many keys in a row one is revoked on the way.
const REVOKED_EVERY: usize = 4;
/// Keys of a run; each is asked for by all processes side by side.
const KEYS: usize = 20;
/// The process that is killed, and the one whose Galera member is.
const KILLED: usize = 2;
const WITHOUT_DATABASE: usize = 1;
/// How long a process waits for its database. A Galera cluster takes some seconds to be sure that a member is gone.
const MAX_WAIT_MS: u64 = 30_000;
/// The same of the process whose member is killed: its refusals are to be seen.
const MAX_WAIT_WITHOUT_DATABASE_MS: u64 = 1_000;

const ROWS: &str = "SELECT CONCAT(T.CONSUMER_KEY_ID, '/', T.AUTHZ_USER, '/', T.TENANT_ID, '/', T.USER_DOMAIN, '/', T.USER_TYPE, '/', \
                    T.TOKEN_SCOPE_HASH, '/', T.IDP_ID, '/', T.TOKEN_BINDING_REF), T.ACCESS_TOKEN, T.TOKEN_STATE \
                    FROM IDN_OAUTH2_ACCESS_TOKEN T";

/// What a run does.
pub(super) struct Plan {
    pub(super) requests: usize,
    pub(super) form: Form,
    pub(super) kills_process: bool,
    pub(super) kills_member: bool,
}

/// Three processes.
pub(super) struct Scene<'a> {
    pub(super) name: &'static str,
    processes: Vec<Process>,
    databases: Vec<&'a Database>,
    _directories: Vec<Directory>,
}

/// The state of a run.
struct Load<'a> {
    plan: &'a Plan,
    bases: Vec<String>,
    http: Client,
    started: Instant,
    next: AtomicUsize,
    is_killed: AtomicBool,
    asked: Mutex<Vec<Asked>>,
    revoked: Mutex<Vec<Revoked>>,
    harm: Mutex<Harm>,
}

impl<'a> Scene<'a> {
    /// Starts three processes at the same moment on an empty database, and registers the client.
    pub(super) async fn start(name: &'static str, databases: impl Iterator<Item = &'a Database>) -> Self {
        let databases: Vec<&Database> = databases.collect();
        let directories: Vec<Directory> = databases.iter().map(|_| Directory::new()).collect();
        let starts = databases.iter().zip(&directories).enumerate().map(async |(index, (database, directory))| {
            let wait_ms = if index == WITHOUT_DATABASE { MAX_WAIT_WITHOUT_DATABASE_MS } else { MAX_WAIT_MS };
            let text = format!("{}max_wait = {wait_ms}\n[cleanup]\nenable = false\n", database.section());
            std::fs::write(directory.path().join("deployment.toml"), text).unwrap();
            Process::start(directory, &["--log", "warn"]).await
        });
        let processes = join_all(starts).await;
        let new = json!({ "ext_param_client_id": CLIENT_ID, "ext_param_client_secret": CLIENT_SECRET });
        let url = format!("{}/keymanager-operations/dcr/register", processes[0].plain());
        let request = plain_client().post(url).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
        let reply = request.json(&registration("cluster", new)).call().await;
        assert_eq!(reply.status, 201, "{reply:?}");
        Self { name, processes, databases, _directories: directories }
    }

    /// What the processes have said so far, for the reader of a failed test.
    pub(super) fn said(&self) -> String {
        let outputs = self.processes.iter().enumerate();
        let outputs = outputs.map(|(index, process)| format!("process {index} said:\n{}", process.output()));
        outputs.collect::<Vec<_>>().concat()
    }

    /// Asks for tokens until the plan is fulfilled, and reads the rows.
    pub(super) async fn run(&mut self, plan: &Plan) -> History {
        let load = Load {
            plan,
            bases: self.processes.iter().map(Process::plain).collect(),
            http: plain_client(),
            started: Instant::now(),
            next: AtomicUsize::new(0),
            is_killed: AtomicBool::new(false),
            asked: Mutex::default(),
            revoked: Mutex::default(),
            harm: Mutex::default(),
        };
        let scene = Mutex::new(&mut *self);
        join_all((0..LANES).map(async |_| {
            loop {
                let number = load.next.fetch_add(1, Ordering::SeqCst);
                if number >= plan.requests {
                    return;
                }
                if plan.kills_process && number == plan.requests / 2 {
                    load.kill(KILLED, || scene.lock().unwrap().processes[KILLED].end());
                }
                if plan.kills_member && number == plan.requests * 3 / 5 {
                    load.kill_member();
                }
                load.step(number).await;
            }
        }))
        .await;
        let rows = self.databases[0].ask(ROWS).await.unwrap().into_iter().map(|row| {
            let [tuple, token, state] = row.try_into().unwrap();
            Row { tuple, token, state }
        });
        let rows = rows.collect();
        let (asked, revoked) = (load.asked.into_inner().unwrap(), load.revoked.into_inner().unwrap());
        let history = History { asked, revoked, harm: load.harm.into_inner().unwrap(), rows };
        if plan.kills_member {
            let is_refused = |call: &Asked| matches!(call.answer, Answer::Refused { .. });
            assert!(history.asked.iter().any(is_refused), "nobody noticed that a member was gone");
        }
        history
    }

    /// A token that the first process has issued is good at the second.
    pub(super) async fn check_next_sees_token(&self, turn: usize) {
        let (http, scope) = (plain_client(), format!("t{turn}"));
        let form = [GRANTS[0], &[("scope", scope.as_str())]].concat();
        let token = post(&http, &self.processes[0].plain(), "/oauth2/token", &form).await.unwrap().text("access_token");
        let request = http.post(format!("{}/oauth2/introspect", self.processes[1].plain()));
        let reply = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).form(&[("token", &token)]).call().await;
        assert_eq!((reply.status, &reply.json()["active"]), (200, &json!(true)), "turn {turn}: {reply:?}");
    }

    /// A client that the first process has registered gets its token from the second.
    pub(super) async fn check_next_knows_client(&self, turn: usize) {
        let (http, name) = (plain_client(), format!("newcomer{turn}"));
        let url = format!("{}/keymanager-operations/dcr/register", self.processes[0].plain());
        let request = http.post(url).basic_auth(ADMIN, Some(ADMIN_PASSWORD)).json(&registration(&name, json!({})));
        let reply = request.call().await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let request = http.post(format!("{}/oauth2/token", self.processes[1].plain())).form(GRANTS[0]);
        let request = request.basic_auth(reply.text("client_id"), Some(reply.text("client_secret")));
        let reply = request.call().await;
        assert_eq!(reply.status, 200, "turn {turn}: {reply:?}");
    }

    /// Waits until the process whose member was killed hands out what the others do.
    pub(super) async fn wait_for_service(&self) {
        let http = plain_client();
        let form = [GRANTS[0], &[("scope", "afterwards")]].concat();
        let token = post(&http, &self.processes[0].plain(), "/oauth2/token", &form).await.unwrap().text("access_token");
        let is_refused = async || {
            let reply = post(&http, &self.processes[WITHOUT_DATABASE].plain(), "/oauth2/token", &form).await.unwrap();
            assert!(reply.status == 503 || reply.text("access_token") == token, "{reply:?}");
            reply.status == 503
        };
        assert!(becomes_false(is_refused).await, "no service although the member is back");
    }
}

impl Load<'_> {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn kill(&self, process: usize, kill: impl FnOnce()) {
        self.harm.lock().unwrap().killed.insert(process, self.now());
        self.is_killed.store(true, Ordering::SeqCst);
        kill();
    }

    fn kill_member(&self) {
        self.harm.lock().unwrap().database_killed.insert(WITHOUT_DATABASE, self.now());
        kill_galera_member(WITHOUT_DATABASE);
    }

    /// A process for a request: all in turn, without the one that is known to be dead.
    fn process(&self, number: usize) -> usize {
        let living = if self.is_killed.load(Ordering::SeqCst) { KILLED } else { self.bases.len() };
        number % living
    }

    /// One token request, and now and then the revocation of what it gave.
    async fn step(&self, number: usize) {
        let per_key = self.plan.requests / KEYS;
        let (key, process) = (number / per_key, self.process(number));
        let scope = format!("k{key}");
        let form = [self.plan.form, &[("scope", scope.as_str())]].concat();
        let begun = self.now();
        let answer = match post(&self.http, &self.bases[process], "/oauth2/token", &form).await {
            None => Answer::Cut,
            Some(reply) if reply.status == 200 => Answer::Token(reply.text("access_token")),
            Some(reply) => refusal(&reply),
        };
        let asked = Asked { key, process, begun, ended: self.now(), answer };
        let token = asked.token().map(str::to_owned);
        self.asked.lock().unwrap().push(asked);
        if let Some(token) = token.filter(|_| key % REVOKED_EVERY == 0 && number % per_key == per_key / 4) {
            let (begun, process) = (self.now(), self.process(number + 1));
            let reply = post(&self.http, &self.bases[process], "/oauth2/revoke", &[("token", &token)]).await;
            let is_acknowledged = reply.is_some_and(|reply| reply.status == 200);
            let revoked = Revoked { token, process, begun, ended: self.now(), is_acknowledged };
            self.revoked.lock().unwrap().push(revoked);
        }
    }
}

fn refusal(reply: &Reply) -> Answer {
    let is_ours = reply.status != 503 || reply.text("error") == OAuthErrorCode::TemporarilyUnavailable.as_str();
    Answer::Refused {
        status: reply.status,
        has_retry_after: is_ours && reply.header("retry-after").is_some(),
        body: reply.body.clone(),
    }
}

async fn post(http: &Client, base: &str, path: &str, form: &[(&str, &str)]) -> Option<Reply> {
    http.post(format!("{base}{path}")).basic_auth(CLIENT_ID, Some(CLIENT_SECRET)).form(form).try_call().await
}

impl History {
    /// What was done and seen, in figures.
    pub(super) fn summary(&self) -> String {
        let mut counts: BTreeMap<(usize, String), usize> = BTreeMap::new();
        for call in &self.asked {
            let what = match &call.answer {
                Answer::Token(_) => "200".to_owned(),
                Answer::Refused { status, .. } => status.to_string(),
                Answer::Cut => "cut".to_owned(),
            };
            *counts.entry((call.process, what)).or_default() += 1;
        }
        let counts: Vec<String> =
            counts.iter().map(|((process, what), count)| format!("{process}: {count} x {what}")).collect();
        let longest = self.asked.iter().map(|call| call.ended.saturating_sub(call.begun)).max().unwrap_or_default();
        let tokens: BTreeSet<&str> = self.asked.iter().filter_map(Asked::token).collect();
        let end = self.asked.iter().map(|call| call.ended).max().unwrap_or_default();
        format!(
            "{} requests for {} tokens in {end:.1?} (the longest {longest:.1?}), {} revocations; by process {}",
            self.asked.len(),
            tokens.len(),
            self.revoked.len(),
            counts.join(", ")
        )
    }
}
