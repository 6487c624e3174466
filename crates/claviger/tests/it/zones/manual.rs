//! Servers in this process, whose clock is moved by hand: one node issues and cleans, another reads, where two may share the
//! database. And the program itself by the real clock.

use super::{APPLICATION_S, DAY_S, HOUR_S, LEFTOVER_MS, Promise, REFRESH_S, USER_S, WITHIN_MS, Zones};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Database, Directory, ManualClock, Options, Process, Registered, Reply, Server,
    becomes_false, claims, databases, is_long, plain_client, register, registration,
};
use claviger::app::SystemClock;
use claviger::cleaner::Cleanup;
use claviger_proto::time::Clock as _;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;

const OFF: Cleanup = Cleanup {
    is_enabled: false,
    interval_ms: 100,
    silence_ms_max: 10_000,
    budget_ms: 1_000,
    share_percent: 100,
    is_clock_compared: false,
    are_tokens_cleaned: true,
    is_audit_kept: false,
    audit_retention_days: None,
};

fn zones_of(database: &Database) -> Vec<Zones> {
    let first = Zones::of(database);
    let others = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];
    // The embedded database is nobody else's, and always in UTC.
    let are_many = is_long() && database.is_shared();
    let others = others.into_iter().filter(|token| are_many && *token != first.token);
    let others = others.map(|token| Zones { host: first.token, token, ..first });
    std::iter::once(first).chain(others).collect()
}

/// A login and the end of its refresh token.
struct Session {
    client: Registered,
    refresh: String,
    refresh_end_ms: i64,
    access: usize,
}

struct Scene {
    engine: &'static str,
    zones: Zones,
    clock: Arc<ManualClock>,
    issuer: Server,
    /// Where two may share the database.
    reader: Option<Server>,
    jwts: Registered,
    promises: Vec<Promise>,
    number: usize,
}

impl Scene {
    async fn start(database: &Database, zones: Zones) -> Self {
        let sections = format!("{}[db]\ntoken_time_zone = \"{}\"\n", database.section(), zones.token);
        zones.set_session(database).await;
        let start = async |options| {
            let options = Options { host_zone: Some(zones.host), ..options };
            Server::start_on(database.engine(), &sections, ADMIN_PASSWORD, options).await.unwrap()
        };
        let cleanup = Cleanup { is_enabled: true, ..OFF };
        let issuer = start(Options { cleanup, ..Options::default() }).await;
        let clock = issuer.clock.clone();
        let (its_clock, likeness) = (Some(clock.clone()), Some(issuer.likeness()));
        let reader = Options { cleanup: OFF, clock: its_clock, likeness, ..Options::default() };
        let reader = if database.is_shared() { Some(start(reader).await) } else { None };
        let jwts = json!({ "token_type_extension": "JWT", "ext_application_token_lifetime": APPLICATION_S });
        let jwts = register(&issuer, "jwts", jwts).await;
        Self { engine: database.engine(), zones, clock, issuer, reader, jwts, promises: Vec::new(), number: 0 }
    }

    fn reader(&self) -> &Server {
        self.reader.as_ref().unwrap_or(&self.issuer)
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().as_millis()
    }

    fn move_to(&self, at_ms: i64) {
        assert!(at_ms >= self.now_ms(), "time goes forward");
        self.clock.advance_ms(at_ms - self.now_ms());
    }

    fn place(&self) -> String {
        format!("{} {:?} at {}", self.engine, self.zones, self.now_ms())
    }

    /// Notes a token that was made just now, and checks what its answer says.
    fn promise(&mut self, reply: &Reply, life_s: i64) -> usize {
        let place = self.place();
        let promise = Promise::of(reply, life_s, self.now_ms(), true, &place);
        let is_new = self.promises.iter().all(|known| known.text != promise.text);
        assert!(is_new, "{place}: handed out again");
        self.promises.push(promise);
        self.promises.len() - 1
    }

    /// What introspection says of one, against what it must say.
    async fn check(&self, promise: &Promise) {
        let seen = self.reader().introspect(&promise.text).await;
        promise.check(&seen, self.now_ms(), self.zones, &self.place());
    }

    async fn check_all(&self) {
        join_all(self.promises.iter().map(|promise| self.check(promise))).await;
    }

    /// A client of its own with an application token and two logins; a JWT.
    async fn issue(&mut self) -> (Registered, usize, [Session; 2]) {
        self.number += 1;
        let number = self.number;
        let lives = json!({
            "ext_application_token_lifetime": APPLICATION_S, "ext_user_token_lifetime": USER_S,
            "ext_refresh_token_lifetime": REFRESH_S,
        });
        let client = register(&self.issuer, &format!("client{number}"), lives).await;
        let reply = client.issue(&self.issuer, &[("grant_type", "client_credentials")]).await;
        let token = self.promise(&reply, APPLICATION_S);
        let scope = format!("jwt{number}");
        let reply = self.jwts.issue(&self.issuer, &[("grant_type", "client_credentials"), ("scope", &scope)]).await;
        self.promise(&reply, APPLICATION_S);
        let sessions = [self.log_in(&client, "one").await, self.log_in(&client, "two").await];
        (client, token, sessions)
    }

    async fn log_in(&mut self, client: &Registered, scope: &str) -> Session {
        let reply = client.log_in(&self.issuer, scope).await;
        self.session(client, &reply)
    }

    fn session(&mut self, client: &Registered, reply: &Reply) -> Session {
        let access = self.promise(reply, USER_S);
        let refresh_end_ms = self.now_ms() + REFRESH_S * 1_000;
        Session { client: client.clone(), refresh: reply.text("refresh_token"), refresh_end_ms, access }
    }

    /// Refreshes one that lives.
    async fn refresh(&mut self, session: Session) -> Session {
        let reply = session.client.refresh(&self.issuer, &session.refresh).await;
        self.end(session.access).await;
        self.session(&session.client, &reply)
    }

    /// The last moment of its refresh token, or the first after it.
    async fn refresh_at_the_end(&mut self, session: Session, is_in_time: bool) {
        self.move_to(session.refresh_end_ms - i64::from(is_in_time));
        if is_in_time {
            self.refresh(session).await;
        } else {
            let reply = session.client.refresh(&self.issuer, &session.refresh).await;
            assert_eq!(reply.text("error_description"), "Refresh token is expired.", "{}: {reply:?}", self.place());
        }
    }

    /// Asks for a token that was issued before: the same while it lives, with what is left of it.
    async fn ask_again(&mut self, client: &Registered, token: usize) -> usize {
        let reply = client.issue(&self.issuer, &[("grant_type", "client_credentials")]).await;
        let left_ms = self.promises[token].end_ms - self.now_ms();
        if left_ms <= LEFTOVER_MS {
            return self.promise(&reply, APPLICATION_S);
        }
        assert_eq!(reply.text("access_token"), self.promises[token].text, "{}: {left_ms} ms are left", self.place());
        assert_eq!(reply.json()["expires_in"], (left_ms + 500) / 1_000, "{}: {reply:?}", self.place());
        token
    }

    async fn revoke(&mut self, client: &Registered, token: &str, access: usize) {
        let reply = client.revoke(&self.issuer, &[("token", token)]).await;
        assert_eq!(reply.status, 200, "{}: {reply:?}", self.place());
        self.end(access).await;
    }

    /// Notes that a token was ended. The news takes a moment to the other node.
    async fn end(&mut self, access: usize) {
        self.promises[access].is_ended = true;
        let text = self.promises[access].text.clone();
        assert!(becomes_false(async || self.reader().is_active(&text).await).await, "{}: it lives on", self.place());
    }

    /// Issues at some moments around an instant, and looks at each token before, at and after its end.
    async fn pass(&mut self, instant_s: i64) {
        let moments: &[i64] =
            if is_long() { &[-3_600, -1_800, -900, -1, 0, 900, 1_800] } else { &[-1_800, -1, 0, 1_700] };
        let at = |offset_s: i64| (instant_s + offset_s) * 1_000 + WITHIN_MS;
        self.promises.clear();
        let (mut issues, mut ends) = (Vec::<(Registered, [Option<Session>; 2])>::new(), Vec::new());
        for life_s in [APPLICATION_S, USER_S] {
            let around = moments.iter().flat_map(|moment| [0, 1].map(|ms| at(moment + life_s) - LEFTOVER_MS - 1 + ms));
            ends.extend(around);
        }
        ends.sort_unstable();
        let mut ends = ends.into_iter().peekable();
        let mut asked: Vec<(Registered, usize)> = Vec::new();
        for moment in moments {
            while let Some(end_ms) = ends.next_if(|end_ms| *end_ms < at(*moment)) {
                self.look_at_ends(end_ms, &mut asked).await;
            }
            self.move_to(at(*moment));
            let (client, token, sessions) = self.issue().await;
            asked.push((client.clone(), token));
            self.ask_again(&client, token).await;
            let [one, two] = sessions;
            // What was issued before goes on or ends.
            if let Some((client, [one, _])) = issues.last_mut() {
                let session = self.refresh(one.take().unwrap()).await;
                if self.number.is_multiple_of(2) {
                    self.revoke(client, &session.refresh, session.access).await;
                } else {
                    let access = self.promises[session.access].text.clone();
                    self.revoke(client, &access, session.access).await;
                }
            }
            issues.push((client, [Some(one), Some(two)]));
            self.check_all().await;
        }
        for end_ms in ends {
            self.look_at_ends(end_ms, &mut asked).await;
        }
        self.check_cleaning().await;
        // The second login of each client, in the order of their ends: the last moment and the first afterwards, in turn.
        for (index, session) in issues.into_iter().filter_map(|(_, [_, two])| two).enumerate() {
            if session.refresh_end_ms > self.now_ms() {
                self.refresh_at_the_end(session, index.is_multiple_of(2)).await;
            }
        }
        self.check_all().await;
    }

    /// Looks at the tokens that end about now, on one node and on the other.
    async fn look_at_ends(&mut self, at_ms: i64, asked: &mut [(Registered, usize)]) {
        self.move_to(at_ms);
        let ends_now = |promise: &&Promise| (promise.end_ms - at_ms).abs() <= LEFTOVER_MS + 2;
        join_all(self.promises.iter().filter(ends_now).map(|promise| self.check(promise))).await;
        for (client, token) in asked {
            if ends_now(&&self.promises[*token]) {
                *token = self.ask_again(client, *token).await;
            }
        }
    }

    /// A whole round of cleaning later, every token that lives has its row.
    async fn check_cleaning(&self) {
        let name = "claviger_cleanup_rounds_total{outcome=\"complete\"}";
        let rounds = self.issuer.metric(name).await + 2;
        let is_short = async || self.issuer.metric(name).await < rounds;
        assert!(becomes_false(is_short).await, "{}: no cleaning", self.place());
        let mut conn = self.issuer.app().store.reader().await.unwrap();
        for promise in self.promises.iter().filter(|promise| !promise.is_ended && promise.end_ms > self.now_ms()) {
            let found = claviger_store::tokens::find_by_access(&mut conn, &promise.identifier()).await.unwrap();
            assert!(found.is_some(), "{}: {promise:?} was cleaned away", self.place());
        }
    }

    async fn stop(self) {
        self.issuer.stop().await;
        if let Some(reader) = self.reader {
            reader.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wire_is_exact_across_both_changes() {
    for index in 0..if is_long() { 4 } else { 1 } {
        join_all(databases().await.into_iter().map(|database| pass_all(database, index))).await;
    }
}

async fn pass_all(database: Database, index: usize) {
    if let Some(zones) = zones_of(&database).get(index) {
        let mut scene = Scene::start(&database, *zones).await;
        let instants = zones.instants(scene.clock.now().as_secs() + DAY_S);
        assert!(instants.len() >= 2, "{zones:?}: {instants:?}");
        for instant_s in instants {
            scene.pass(instant_s).await;
        }
        scene.stop().await;
    }
    database.remove().await;
}

/// The program itself, by the real clock: its own process has a zone too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_in_any_zone_says_the_same() {
    const ID: &str = "zones_test_client";
    const SECRET: &str = "zones_test_secret";
    let cases = databases().await.into_iter().map(async |database| {
        let zones = Zones::of(&database);
        let directory = Directory::new();
        let server = "[server]\nbase_path = \"https://keys.example.org\"\n";
        let text = format!("{}{server}[db]\ntoken_time_zone = \"{}\"\n", database.section(), zones.token);
        std::fs::write(directory.path().join("deployment.toml"), text).unwrap();
        let in_zone = |zone: &'static str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
            command.env_clear().env("TZ", zone);
            command
        };
        let process = Process::start_as(&|| in_zone(zones.host), &directory, &[]).await;
        let (http, base) = (plain_client(), process.plain());
        let new =
            json!({ "ext_param_client_id": ID, "ext_param_client_secret": SECRET, "token_type_extension": "JWT" });
        let request = http.post(format!("{base}/keymanager-operations/dcr/register")).json(&registration("zoned", new));
        assert_eq!(request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await.status, 201);
        let token = async || {
            let request = http.post(format!("{base}/oauth2/token")).basic_auth(ID, Some(SECRET));
            let before_s = SystemClock.now().as_secs();
            let reply = request.form(&[("grant_type", "client_credentials")]).call().await;
            let issued_s = claims(&reply.text("access_token"))["iat"].as_i64().unwrap();
            assert!((before_s..=SystemClock.now().as_secs()).contains(&issued_s), "{zones:?}: {reply:?}");
            assert_eq!(claims(&reply.text("access_token"))["exp"], issued_s + HOUR_S, "{zones:?}: {reply:?}");
            reply.text("access_token")
        };
        // Each retires the one before.
        let mut last = String::new();
        for _ in 0..3 {
            last = token().await;
        }
        process.kill();
        let cleaned = in_zone(zones.host).args(["db", "clean", "--data-dir"]).arg(directory.path()).output().unwrap();
        assert!(cleaned.status.success(), "{cleaned:?}");
        let process = Process::start_as(&|| in_zone(zones.token), &directory, &[]).await;
        let request = http.post(format!("{}/oauth2/introspect", process.plain())).form(&[("token", &last)]);
        let seen = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await.json();
        let times = |of: &Value| [of["iat"].clone(), of["exp"].clone()];
        assert_eq!((&seen["active"], times(&seen)), (&json!(true), times(&claims(&last))), "{zones:?}: {seen}");
        process.kill();
        database.remove().await;
    });
    join_all(cases).await;
}
