//! Every flow of the built program around the changes: tokens of each kind, codes, refreshes, revocations, new secrets, rows of an
//! old server, and what introspection, API Manager's gateways and its listener are told. What is issued says itself when it
//! is to be looked at.

use super::clock::Clock;
use super::installation::{Installation, listed_ends};
use super::old_server::{OldServer, local_time};
use super::{APPLICATION_S, LEFTOVER_MS, Promise, REFRESH_S, USER_S, WITHIN_MS, Zones};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Browser, Database, Node, Registered, Reply, becomes_false, claims, databases, introspect,
    is_long, metric, register,
};
use futures_util::future::join_all;
use serde_json::json;
use std::collections::BTreeSet;

/// A time zone's day in January, before the year's first change. (2027-01-15T08:00:00Z)
const START_MS: i64 = 1_800_000_000_000;
const CALLBACK: &str = "https://app.example/cb";
const CODE_S: i64 = 300;
/// Tokens are listed for gateways a little longer than they live: their clocks may be behind.
const LISTED_LONGER_MS: i64 = 60_000;
/// After a new secret JWTs wait until every node has heard of it; clocks that stand still would make them wait for ever.
const NEWS_MS: i64 = 10_000;
const CODE_OVER: &str = "Expired or Revoked authorization code received from token request";
const REFRESH_OVER: &str = "Refresh token is expired.";

/// A login and the end of its refresh token.
#[derive(Clone)]
struct Session {
    client: Registered,
    refresh: String,
    refresh_end_ms: i64,
    access: usize,
}

/// What is to be done at some moment.
enum Step {
    Issue,
    /// Cleans, and looks whether what lives is still there.
    Clean,
    /// Introspects a token.
    Look(usize),
    /// Asks for a token that was issued before.
    AskAgain(Registered, usize),
    /// Exchanges a code, which ends at this moment.
    Exchange(Registered, String, i64),
    Refresh(Session),
    /// Revokes a session by one of its tokens, if it was not refreshed since.
    Revoke(Session),
    RevokeJwt(Registered, usize),
    /// Is a dead JWT on the list of API Manager's gateways?
    Listed(usize),
    RenewSecret(Registered, usize),
}

struct Scene<'a> {
    database: &'a Database,
    at: Installation,
    promises: Vec<Promise>,
    steps: Vec<(i64, Step)>,
    number: usize,
    /// Passes that are through.
    passes: usize,
}

impl Scene<'_> {
    fn now_ms(&self) -> i64 {
        self.at.clock.now_ms()
    }

    fn place(&self) -> String {
        let rows = if self.at.has_jwt_rows { "with" } else { "without" };
        format!("{} {:?} {rows} rows of JWTs at {}", self.database.engine(), self.at.zones, self.now_ms())
    }

    fn then(&mut self, after_ms: i64, step: Step) {
        self.steps.push((self.now_ms() + after_ms, step));
    }

    /// Notes a token that was made just now, and that it is to be looked at.
    fn promise(&mut self, reply: &Reply, life_s: i64) -> usize {
        let place = self.place();
        let promise = Promise::of(reply, life_s, self.now_ms(), self.at.has_jwt_rows, &place);
        assert!(self.promises.iter().all(|known| known.text != promise.text), "{place}: handed out again");
        self.note(promise)
    }

    fn note(&mut self, promise: Promise) -> usize {
        let index = self.promises.len();
        let last_ms = promise.end_ms - promise.leftover_ms - 1;
        self.steps.extend([self.now_ms(), last_ms, last_ms + 1].map(|at_ms| (at_ms, Step::Look(index))));
        self.promises.push(promise);
        index
    }

    fn session(&mut self, client: &Registered, reply: &Reply) -> Session {
        let access = self.promise(reply, USER_S);
        let refresh_end_ms = self.now_ms() + REFRESH_S * 1_000;
        Session { client: client.clone(), refresh: reply.text("refresh_token"), refresh_end_ms, access }
    }

    /// A token is dead from now on, everywhere, and API Manager is told of it.
    async fn end(&mut self, token: usize) {
        self.promises[token].is_ended = true;
        let (place, promise) = (self.place(), &self.promises[token]);
        let is_heard = becomes_false(async || self.at.reader().is_active(&promise.text).await).await;
        assert!(is_heard, "{place}: it lives on: {promise:?}");
        self.at.wait_until_told(promise, &place).await;
    }

    /// Issues at some moments around an instant, and does what follows.
    async fn pass(&mut self, instant_s: i64) {
        let moments: &[i64] = if is_long() { &[-3_600, -1_800, -900, -1, 0, 900, 1_800] } else { &[-1_800, 0, 1_700] };
        let at_ms = |offset_s: i64| (instant_s + offset_s) * 1_000 + WITHIN_MS;
        self.steps.extend(moments.iter().map(|moment| (at_ms(*moment), Step::Issue)));
        self.steps.push((at_ms(5), Step::Clean));
        while let Some(index) = (0..self.steps.len()).min_by_key(|index| self.steps[*index].0) {
            let (at_ms, step) = self.steps.remove(index);
            // A new secret takes its time, and what was due meanwhile is done afterwards.
            self.at.clock.move_to(at_ms.max(self.now_ms()));
            self.take(step).await;
        }
        self.passes += 1;
        self.promises.clear();
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Issue => self.issue().await,
            Step::Clean => self.clean().await,
            Step::Look(token) => self.look(token).await,
            Step::AskAgain(client, token) => self.ask_again(&client, token).await,
            Step::Exchange(client, code, end_ms) => self.exchange(&client, &code, end_ms).await,
            Step::Refresh(session) => self.refresh(session).await,
            Step::Revoke(session) => self.revoke(session).await,
            Step::RevokeJwt(client, token) => self.revoke_jwt(&client, token).await,
            Step::Listed(token) => self.look_at_list(token).await,
            Step::RenewSecret(client, token) => self.renew_secret(client, token).await,
        }
    }

    async fn issue(&mut self) {
        self.number += 1;
        let lives = json!({
            "ext_application_token_lifetime": APPLICATION_S, "ext_user_token_lifetime": USER_S,
            "ext_refresh_token_lifetime": REFRESH_S, "redirect_uris": [CALLBACK],
            "grant_types": ["client_credentials", "password", "refresh_token", "authorization_code"],
        });
        let client = register(&self.at.issuer, &format!("client{}", self.number), lives.clone()).await;
        let mut of_jwts = lives;
        of_jwts["token_type_extension"] = json!("JWT");
        let jwts = register(&self.at.issuer, &format!("jwts{}", self.number), of_jwts).await;

        let reply = client.issue(&self.at.issuer, &[("grant_type", "client_credentials")]).await;
        // RFC 9110, 5.6.7: the date of an answer is Greenwich's, whatever the zone of the process.
        let date = local_time("UTC", self.at.clock.now_s(), "+%a, %d %b %Y %H:%M:%S GMT");
        assert_eq!(reply.header("date"), Some(date.as_str()), "{}", self.place());
        let token = self.promise(&reply, APPLICATION_S);
        let last_ms = APPLICATION_S * 1_000 - LEFTOVER_MS - 1;
        for after_ms in [0, 100_000, last_ms, last_ms + 1] {
            self.then(after_ms, Step::AskAgain(client.clone(), token));
        }

        let reply = jwts.issue(&self.at.issuer, &[("grant_type", "client_credentials")]).await;
        let jwt = self.promise(&reply, APPLICATION_S);
        if self.number.is_multiple_of(2) {
            self.then(500_000, Step::RenewSecret(jwts.clone(), jwt));
        } else {
            self.then(500_000, Step::RevokeJwt(jwts.clone(), jwt));
            let reply = jwts.log_in(&self.at.issuer, "one").await;
            let session = self.session(&jwts, &reply);
            self.then(600_000, Step::Refresh(session));
        }

        let reply = client.log_in(&self.at.issuer, "one").await;
        let session = self.session(&client, &reply);
        self.then(600_000, Step::Refresh(session));
        let reply = client.log_in(&self.at.issuer, "two").await;
        let session = self.session(&client, &reply);
        // The last moment or the first afterwards, in turn.
        let is_late = i64::from(self.number.is_multiple_of(2));
        self.then(REFRESH_S * 1_000 - 1 + is_late, Step::Refresh(session));

        let codes = [self.code(&client).await, self.code(&client).await];
        let end_ms = self.now_ms() + CODE_S * 1_000;
        self.exchange_around(end_ms, &client, &codes);
        self.issue_by_old_server(&client, token, &codes[0]).await;
    }

    /// The first in the last moment, the second in the first after it.
    fn exchange_around(&mut self, end_ms: i64, client: &Registered, codes: &[String; 2]) {
        for (code, late_ms) in codes.iter().zip([-1, 0]) {
            let at_ms = end_ms - LEFTOVER_MS + late_ms;
            self.steps.push((at_ms, Step::Exchange(client.clone(), code.clone(), end_ms)));
        }
    }

    async fn code(&self, client: &Registered) -> String {
        let scope = format!("code{}", self.number);
        let request = [
            ("response_type", "code"),
            ("client_id", &client.id),
            ("redirect_uri", CALLBACK),
            ("state", "s"),
            ("scope", &scope),
        ];
        Browser::new(&self.at.issuer).code(&request, (ADMIN, ADMIN_PASSWORD)).await
    }

    /// Rows of an old server, where its wall clock says the time and the session takes it.
    async fn issue_by_old_server(&mut self, client: &Registered, token: usize, code: &str) {
        if !self.database.is_shared() || !self.at.zones.can_say(self.at.clock.now_s()) {
            return;
        }
        let (old, now_ms) = (OldServer { database: self.database, zone: self.at.zones.token }, self.now_ms());
        let like = self.promises[token].text.clone();
        let pair = old.issue(&like, "old", now_ms).await;
        let access = self.note(pair.access);
        let session =
            Session { client: client.clone(), refresh: pair.refresh, refresh_end_ms: pair.refresh_end_ms, access };
        self.then(600_000, Step::Refresh(session));
        let pair = old.issue(&like, "older", now_ms).await;
        let (access, end_ms) = (self.note(pair.access), pair.refresh_end_ms);
        let is_late = i64::from(!self.number.is_multiple_of(2));
        let session = Session { client: client.clone(), refresh: pair.refresh, refresh_end_ms: end_ms, access };
        self.steps.push((end_ms - 1 + is_late, Step::Refresh(session)));
        let (code_in_time, end_ms) = old.give_code(code, now_ms).await;
        let (code_late, _) = old.give_code(code, now_ms).await;
        self.exchange_around(end_ms, client, &[code_in_time, code_late]);
    }

    async fn look(&self, token: usize) {
        let promise = &self.promises[token];
        let seen = introspect(self.at.reader(), &promise.text).await;
        promise.check(&seen, self.now_ms(), self.at.zones, &self.place());
    }

    /// The same while it lives, with what is left of it.
    async fn ask_again(&mut self, client: &Registered, token: usize) {
        let reply = client.issue(&self.at.issuer, &[("grant_type", "client_credentials")]).await;
        let left_ms = self.promises[token].end_ms - self.now_ms();
        if left_ms <= LEFTOVER_MS {
            self.promise(&reply, APPLICATION_S);
            return;
        }
        assert_eq!(reply.text("access_token"), self.promises[token].text, "{}: {left_ms} ms are left", self.place());
        assert_eq!(reply.json()["expires_in"], (left_ms + 500) / 1_000, "{}: {reply:?}", self.place());
    }

    async fn exchange(&mut self, client: &Registered, code: &str, end_ms: i64) {
        let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK)];
        let reply = client.token(self.issuer_for_codes(), &form).await;
        if end_ms - self.now_ms() > LEFTOVER_MS {
            self.promise(&reply, USER_S);
        } else {
            let said = (reply.status, reply.text("error_description"));
            assert_eq!(said, (400, CODE_OVER.to_owned()), "{}", self.place());
        }
    }

    /// A code is good at every node.
    fn issuer_for_codes(&self) -> &Node {
        if self.number.is_multiple_of(2) { self.at.reader() } else { &self.at.issuer }
    }

    async fn refresh(&mut self, session: Session) {
        let reply = session.client.refresh(&self.at.issuer, &session.refresh).await;
        if session.refresh_end_ms <= self.now_ms() {
            let said = (reply.status, reply.text("error_description"));
            assert_eq!(said, (400, REFRESH_OVER.to_owned()), "{}", self.place());
            return;
        }
        let next = self.session(&session.client, &reply);
        if self.promises[session.access].end_ms > self.now_ms() + LEFTOVER_MS {
            self.end(session.access).await;
        }
        self.then(400_000, Step::Revoke(next));
    }

    async fn revoke(&mut self, session: Session) {
        let access = self.promises[session.access].text.clone();
        let token = if self.number.is_multiple_of(2) { &session.refresh } else { &access };
        let reply = session.client.revoke(&self.at.issuer, &[("token", token)]).await;
        assert_eq!(reply.status, 200, "{}: {reply:?}", self.place());
        self.end(session.access).await;
        let reply = session.client.refresh(&self.at.issuer, &session.refresh).await;
        assert_eq!(reply.status, 400, "{}: {reply:?}", self.place());
    }

    async fn revoke_jwt(&mut self, client: &Registered, token: usize) {
        let text = self.promises[token].text.clone();
        let reply = client.revoke(&self.at.issuer, &[("token", &text)]).await;
        assert_eq!(reply.status, 200, "{}: {reply:?}", self.place());
        self.end(token).await;
        self.look_at_local_time(token).await;
        let last_ms = self.promises[token].end_ms + LISTED_LONGER_MS - 1;
        self.steps.extend([self.now_ms(), last_ms, last_ms + 1].map(|at_ms| (at_ms, Step::Listed(token))));
    }

    /// A time that an old server writes by the clock of its host stands as the first node's host shows it.
    async fn look_at_local_time(&self, token: usize) {
        let (now_s, zones) = (self.at.clock.now_s(), self.at.zones);
        let is_sayable = Zones { token: zones.host, ..zones }.can_say(now_s);
        if !self.database.is_shared() || !is_sayable {
            return;
        }
        let name = self.promises[token].identifier();
        let rows = "SELECT SIGNATURE, CAST(TIME_CREATED AS CHAR(19)) FROM AM_REVOKED_JWT";
        let rows = self.database.ask(rows).await.unwrap();
        let row = rows.into_iter().find(|row| row[0] == name).unwrap();
        assert_eq!(row[1], local_time(zones.host, now_s, "+%Y-%m-%d %H:%M:%S"), "{}", self.place());
    }

    async fn look_at_list(&self, token: usize) {
        let promise = &self.promises[token];
        let ends = listed_ends(self.at.reader(), &promise.identifier()).await;
        let is_listed = promise.end_ms + LISTED_LONGER_MS > self.now_ms();
        let expected = if is_listed { vec![promise.end_ms] } else { Vec::new() };
        assert_eq!(ends, expected, "{}: {promise:?}", self.place());
    }

    /// All JWTs up to now are dead, and the next one lives.
    async fn renew_secret(&mut self, mut client: Registered, token: usize) {
        let (place, now_ms) = (self.place(), self.now_ms());
        let reply = client.renew_secret(&self.at.issuer).await;
        assert_eq!(reply.status, 200, "{place}: {reply:?}");
        client.secret = reply.text("client_secret");
        let mut before_ms = now_ms;
        if self.at.has_jwt_rows {
            self.end(token).await;
        } else {
            before_ms = self.at.wait_until_told_of_client(&client.id, &place).await;
            assert!((now_ms + 1..=now_ms + NEWS_MS).contains(&before_ms), "{place}: {before_ms}");
            self.promises[token].is_ended = true;
            let text = &self.promises[token].text;
            let is_heard = becomes_false(async || self.at.reader().is_active(text).await).await;
            assert!(is_heard, "{place}: it lives on");
        }
        self.at.clock.move_to(now_ms + NEWS_MS);
        let reply = client.issue(&self.at.issuer, &[("grant_type", "client_credentials")]).await;
        assert!(claims(&reply.text("access_token"))["iat"].as_i64().unwrap() * 1_000 >= before_ms, "{place}");
        self.promise(&reply, APPLICATION_S);
    }

    /// What lives keeps its row; what went in earlier passes loses it.
    async fn clean(&mut self) {
        let (place, now_ms) = (self.place(), self.now_ms());
        if !self.database.is_shared() {
            let name = "claviger_cleanup_rounds_total{outcome=\"complete\"}";
            let rounds = metric(&self.at.issuer, name).await + 2;
            let is_short = async || metric(&self.at.issuer, name).await < rounds;
            assert!(becomes_false(is_short).await, "{place}: no cleaning");
            for token in 0..self.promises.len() {
                self.look(token).await;
            }
            return;
        }
        let (is_done, said) = self.at.clean(self.database).await;
        if matches!(self.database, Database::MySql { .. }) {
            // Its clock is the real one, and we must not clean by another.
            assert!(!is_done && said.contains("nothing is cleaned"), "{place}: {said}");
        } else {
            let removed = said.lines().find_map(|line| line.strip_prefix("IDN_OAUTH2_ACCESS_TOKEN "));
            let removed: Option<u64> = removed.and_then(|rows| rows.trim().parse().ok());
            assert!(is_done && removed.is_some_and(|rows| rows > 0 || self.passes == 0), "{place}: {said}");
        }
        let rows = self.database.ask("SELECT ACCESS_TOKEN FROM IDN_OAUTH2_ACCESS_TOKEN").await.unwrap();
        let rows: BTreeSet<String> = rows.into_iter().flatten().collect();
        for promise in self.promises.iter().filter(|it| it.has_row && !it.is_ended && it.end_ms > now_ms) {
            assert!(rows.contains(&promise.identifier()), "{place}: {promise:?} was cleaned away");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_is_exact_across_both_changes() {
    for is_other_way in if is_long() { vec![false, true] } else { vec![false] } {
        join_all(databases().await.into_iter().map(|database| pass_all(database, is_other_way))).await;
    }
}

/// JWTs have no rows on PostgreSQL, or on the others.
async fn pass_all(database: Database, is_other_way: bool) {
    if let Some(clock) = Clock::at_ms(START_MS) {
        let zones = Zones::of(&database);
        let has_jwt_rows = matches!(database, Database::Postgres { .. }) == is_other_way;
        let at = Installation::start(clock, &database, zones, has_jwt_rows).await;
        let instants = zones.instants(at.clock.now_s());
        assert!(instants.len() >= 2, "{zones:?}: {instants:?}");
        let mut scene =
            Scene { database: &database, at, promises: Vec::new(), steps: Vec::new(), number: 0, passes: 0 };
        for instant_s in instants {
            scene.pass(instant_s).await;
        }
        drop(scene);
    }
    database.remove().await;
}
