//! Every flow across both changes of daylight saving time, with the server's host, the database's sessions and the stored times
//! in zones of their own: what the wire says of a token's times is exact to the second, and no token lives a moment longer or
//! shorter than it was promised. (The client's zone is nowhere on the wire: it says instants or seconds.)
//!
//! One node issues and cleans, another reads, where two may share the database. `CLAVIGER_TEST_LONG` takes more zones and looks.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Database, Directory, ManualClock, Options, Process, Registered, Reply, Server,
    becomes_false, claims, databases, is_long, plain_client, register, registration,
};
use claviger::app::SystemClock;
use claviger::cleaner::Cleanup;
use claviger_proto::time::{Clock as _, Instants, Timestamp, Zone};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;

/// Lives that differ and end between the looks.
const APPLICATION_S: i64 = 2_000;
const USER_S: i64 = 1_300;
const REFRESH_S: i64 = 5_700;
/// Every token is made within a second rather than at its beginning.
const WITHIN_MS: i64 = 700;
/// An access token with this much left or less counts as over.
const LEFTOVER_MS: i64 = 1_000;
/// No clock is put forward or back by more; a stored time may say so much less than it should.
const SHIFT_S_MAX: i64 = 7_200;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 86_400;

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

/// Whose clock is where.
#[derive(Clone, Copy, Debug)]
struct Zones {
    host: &'static str,
    /// Of the database's sessions; New York on the MariaDB of the tests.
    session: &'static str,
    /// Of the stored times.
    token: &'static str,
}

fn zones_of(database: &Database) -> Vec<Zones> {
    let first = match database {
        Database::Sqlite => Zones { host: "Europe/Berlin", session: "UTC", token: "Australia/Lord_Howe" },
        Database::MySql { .. } => {
            Zones { host: "Australia/Lord_Howe", session: "America/New_York", token: "Europe/Berlin" }
        }
        Database::Postgres { .. } => {
            Zones { host: "Europe/Berlin", session: "Australia/Lord_Howe", token: "America/New_York" }
        }
    };
    let others = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];
    // The embedded database is nobody else's, and always in UTC.
    let are_many = is_long() && database.is_shared();
    let others = others.into_iter().filter(|token| are_many && *token != first.token);
    let others = others.map(|token| Zones { host: first.token, token, ..first });
    std::iter::once(first).chain(others).collect()
}

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

/// How far a zone's clocks are ahead of UTC.
fn offset_s(zone: Zone, at_s: i64) -> i64 {
    let at = Timestamp::from_secs(at_s);
    (zone.to_wall(at).unwrap() - Zone::UTC.to_wall(at).unwrap()).num_seconds()
}

/// The first seconds of the next year's changes.
fn changes(zone: Zone, from_s: i64) -> Vec<i64> {
    let days = (0..366).map(|day| (from_s + day * DAY_S, from_s + (day + 1) * DAY_S));
    let search = |(mut before_s, mut after_s): (i64, i64)| {
        while after_s - before_s > 1 {
            let middle_s = i64::midpoint(before_s, after_s);
            let is_before = offset_s(zone, middle_s) == offset_s(zone, before_s);
            *(if is_before { &mut before_s } else { &mut after_s }) = middle_s;
        }
        after_s
    };
    days.filter(|(before_s, after_s)| offset_s(zone, *before_s) != offset_s(zone, *after_s)).map(search).collect()
}

impl Zones {
    /// The instants that matter, in order.
    fn instants(self, from_s: i64) -> Vec<i64> {
        let (session, token) = (zone(self.session), zone(self.token));
        let mut all: Vec<i64> =
            [zone(self.host), session, token].iter().flat_map(|zone| changes(*zone, from_s)).collect();
        // The token zone's wall clock is in the middle of what the session's clock never shows.
        for change_s in changes(session, from_s) {
            let shown = |at_s: i64| session.to_wall(Timestamp::from_secs(at_s)).unwrap();
            let step = shown(change_s) - shown(change_s - 1);
            if let Some(at) = token.to_utc(shown(change_s) - step / 2).earliest() {
                all.push(at.as_secs());
            }
        }
        all.sort_unstable();
        // The looks at one end before those at the next begin.
        all.dedup_by(|later, earlier| *later - *earlier < 4 * HOUR_S);
        all
    }

    /// Does a stored time stand for this instant alone? Otherwise its row says an earlier one.
    fn can_say(self, at_s: i64) -> bool {
        let wall = zone(self.token).to_wall(Timestamp::from_secs(at_s)).unwrap();
        let is_single = matches!(zone(self.token).to_utc(wall), Instants::One(_));
        is_single && zone(self.session).to_utc(wall) != Instants::None
    }
}

/// What a client was promised.
#[derive(Clone, Debug)]
struct Promise {
    text: String,
    issued_s: i64,
    end_ms: i64,
    is_jwt: bool,
    /// Revoked or refreshed.
    is_ended: bool,
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
        if let Database::Postgres { name, .. } = database {
            database.execute(&format!("ALTER DATABASE {name} SET timezone TO '{}'", zones.session)).await;
        }
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
        assert_eq!(reply.status, 200, "{place}: {reply:?}");
        assert_eq!(reply.json()["expires_in"], life_s, "{place}: {reply:?}");
        let (text, now_ms) = (reply.text("access_token"), self.now_ms());
        let (issued_s, end_ms, is_jwt) = (now_ms.div_euclid(1_000), now_ms + life_s * 1_000, text.contains('.'));
        if is_jwt {
            let claims = claims(&text);
            let times = [&claims["iat"], &claims["nbf"], &claims["exp"]].map(|time| time.as_i64().unwrap() - issued_s);
            assert_eq!(times, [0, 0, life_s], "{place}: {claims}");
        }
        assert!(self.promises.iter().all(|promise| promise.text != text), "{place}: handed out again");
        self.promises.push(Promise { text, issued_s, end_ms, is_jwt, is_ended: false });
        self.promises.len() - 1
    }

    /// What introspection says of one, against what it must say.
    async fn check(&self, promise: &Promise) {
        let (place, seen) = (self.place(), self.reader().introspect(&promise.text).await);
        let left_ms = promise.end_ms - self.now_ms();
        let is_alive = left_ms > LEFTOVER_MS && !promise.is_ended;
        assert_eq!(seen["active"], is_alive, "{place}: {left_ms} ms are left of {promise:?}: {seen}");
        if !is_alive {
            return;
        }
        assert_eq!(seen["exp"], promise.end_ms.div_euclid(1_000), "{place}: {promise:?}: {seen}");
        assert_eq!(seen["nbf"], seen["iat"], "{place}: {promise:?}: {seen}");
        let early_s = promise.issued_s - seen["iat"].as_i64().unwrap();
        let is_exact = promise.is_jwt || self.zones.can_say(promise.issued_s);
        let bound_s = if is_exact { 0 } else { SHIFT_S_MAX };
        assert!((0..=bound_s).contains(&early_s), "{place}: {early_s} s before its making: {promise:?}: {seen}");
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
            let identifier = if promise.is_jwt {
                claims(&promise.text)["jti"].as_str().unwrap().to_owned()
            } else {
                promise.text.clone()
            };
            let found = claviger_store::tokens::find_by_access(&mut conn, &identifier).await.unwrap();
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
        let zones = zones_of(&database)[0];
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
