//! Every flow across both changes of daylight saving time, with the server's host, the database's sessions and the stored times
//! in zones of their own: what the wire says of a token's times is exact to the second, and no token lives a moment longer or
//! shorter than it was promised. (The client's zone is nowhere on the wire: it says instants or seconds.)
//!
//! `manual`: servers in this process, whose clock is moved by hand. `flows`: the built program as one or two processes, whose
//! time of day libfaketime makes up (`clock`, `installation`), with rows that an old server in the zone wrote (`old_server`).
//! `CLAVIGER_TEST_LONG` takes more zones and looks.

mod clock;
mod flows;
mod installation;
mod manual;
mod old_server;

use crate::harness::{Database, Reply, claims};
use claviger_proto::time::{Instants, Timestamp, Zone};
use serde_json::Value;

/// Lives that differ and end between the looks.
const APPLICATION_S: i64 = 2_000;
const USER_S: i64 = 1_300;
const REFRESH_S: i64 = 5_700;
/// Every token is made within a second rather than at its beginning.
const WITHIN_MS: i64 = 700;
/// An access token with this much left or less counts as over; so does a code.
const LEFTOVER_MS: i64 = 1_000;
/// No clock is put forward or back by more; a stored time may say so much less than it should.
const SHIFT_S_MAX: i64 = 7_200;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 86_400;

/// Whose clock is where.
#[derive(Clone, Copy, Debug)]
struct Zones {
    host: &'static str,
    /// Of the database's sessions; New York on the MariaDB of the tests.
    session: &'static str,
    /// Of the stored times.
    token: &'static str,
}

impl Zones {
    /// Each in another one. The embedded database has no session, and is in UTC whatever zone is named.
    fn of(database: &Database) -> Self {
        match database {
            Database::Sqlite => Self { host: "Europe/Berlin", session: "UTC", token: "Australia/Lord_Howe" },
            Database::MySql { .. } => {
                Self { host: "Australia/Lord_Howe", session: "America/New_York", token: "Europe/Berlin" }
            }
            Database::Postgres { .. } => {
                Self { host: "Europe/Berlin", session: "Australia/Lord_Howe", token: "America/New_York" }
            }
        }
    }

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

    /// Puts the sessions of a database into their zone, where it is not the server's.
    async fn set_session(self, database: &Database) {
        if let Database::Postgres { name, .. } = database {
            database.execute(&format!("ALTER DATABASE {name} SET timezone TO '{}'", self.session)).await;
        }
    }
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

/// What a client was promised.
#[derive(Clone, Debug)]
struct Promise {
    text: String,
    issued_s: i64,
    end_ms: i64,
    /// With this much left or less it counts as over.
    leftover_ms: i64,
    is_jwt: bool,
    has_row: bool,
    /// Revoked or refreshed.
    is_ended: bool,
}

impl Promise {
    /// What an answer says of a token that was made just now. Tokens with a refresh token have rows whatever is configured.
    fn of(reply: &Reply, life_s: i64, now_ms: i64, has_jwt_rows: bool, place: &str) -> Self {
        assert_eq!(reply.status, 200, "{place}: {reply:?}");
        assert_eq!(reply.json()["expires_in"], life_s, "{place}: {reply:?}");
        let (text, issued_s) = (reply.text("access_token"), now_ms.div_euclid(1_000));
        let is_jwt = text.contains('.');
        if is_jwt {
            let claims = claims(&text);
            let times = [&claims["iat"], &claims["nbf"], &claims["exp"]].map(|time| time.as_i64().unwrap() - issued_s);
            assert_eq!(times, [0, 0, life_s], "{place}: {claims}");
        }
        let has_row = !is_jwt || has_jwt_rows || reply.json().get("refresh_token").is_some();
        // Without a row it ends with the second that it names.
        let end_ms = if has_row { now_ms } else { issued_s * 1_000 } + life_s * 1_000;
        let leftover_ms = if has_row { LEFTOVER_MS } else { 0 };
        Self { text, issued_s, end_ms, leftover_ms, is_jwt, has_row, is_ended: false }
    }

    /// How its row, an event and a list name it.
    fn identifier(&self) -> String {
        if self.is_jwt { claims(&self.text)["jti"].as_str().unwrap().to_owned() } else { self.text.clone() }
    }

    /// Checks what introspection says of it.
    fn check(&self, seen: &Value, now_ms: i64, zones: Zones, place: &str) {
        let left_ms = self.end_ms - now_ms;
        let is_alive = left_ms > self.leftover_ms && !self.is_ended;
        assert_eq!(seen["active"], is_alive, "{place}: {left_ms} ms are left of {self:?}: {seen}");
        if !is_alive {
            return;
        }
        assert_eq!(seen["exp"], self.end_ms.div_euclid(1_000), "{place}: {self:?}: {seen}");
        assert_eq!(seen["nbf"], seen["iat"], "{place}: {self:?}: {seen}");
        let early_s = self.issued_s - seen["iat"].as_i64().unwrap();
        let is_exact = self.is_jwt || zones.can_say(self.issued_s);
        let bound_s = if is_exact { 0 } else { SHIFT_S_MAX };
        assert!((0..=bound_s).contains(&early_s), "{place}: {early_s} s before its making: {self:?}: {seen}");
    }
}
