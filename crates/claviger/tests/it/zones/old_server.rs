//! What an old server in the zone of the stored times writes beside ours: its driver sends the wall clock of its JVM, and the
//! session is left in the zone that the database server gives it (contract database.md 1.4).

use super::{APPLICATION_S, LEFTOVER_MS, Promise, REFRESH_S};
use crate::harness::Database;
use claviger::app::SystemEntropy;
use claviger_golden::digest::{hash_text, scope_hash};
use claviger_proto::entropy::uuid;
use std::process::Command;

/// The rules of zones as C libraries know them, which need no files: another source than ours.
const RULES: [(&str, &str); 4] = [
    ("UTC", "UTC0"),
    ("Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"),
    ("America/New_York", "EST5EDT,M3.2.0,M11.1.0"),
    ("Australia/Lord_Howe", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"),
];
const CODE_S: i64 = 300;

/// The old server.
pub(super) struct OldServer<'a> {
    pub(super) database: &'a Database,
    /// Where its JVM is.
    pub(super) zone: &'static str,
}

/// A pair that it wrote.
pub(super) struct Pair {
    pub(super) access: Promise,
    pub(super) refresh: String,
    pub(super) refresh_end_ms: i64,
}

impl OldServer<'_> {
    /// The whole seconds that a MySQL column keeps, the milliseconds that PostgreSQL does.
    fn kept_ms(&self, at_ms: i64) -> i64 {
        if matches!(self.database, Database::MySql { .. }) { at_ms.div_euclid(1_000) * 1_000 } else { at_ms }
    }

    fn wall(&self, at_ms: i64) -> String {
        let text = local_time(self.zone, at_ms.div_euclid(1_000), "+%Y-%m-%d %H:%M:%S");
        format!("TIMESTAMP '{text}.{:03}'", self.kept_ms(at_ms).rem_euclid(1_000))
    }

    /// Issues a pair to the client of another token.
    pub(super) async fn issue(&self, like: &str, scope: &str, at_ms: i64) -> Pair {
        let rng = SystemEntropy::default();
        let [id, access, refresh] = [uuid(&rng), uuid(&rng), uuid(&rng)];
        let (wall, life_ms, refresh_life_ms) = (self.wall(at_ms), APPLICATION_S * 1_000, REFRESH_S * 1_000);
        let (access_hash, refresh_hash) = (hash_text(&access), hash_text(&refresh));
        let scopes = scope_hash(&[scope.to_owned()]);
        let token = format!(
            "INSERT INTO IDN_OAUTH2_ACCESS_TOKEN (TOKEN_ID, ACCESS_TOKEN, REFRESH_TOKEN, CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, \
             USER_DOMAIN, USER_TYPE, GRANT_TYPE, TIME_CREATED, REFRESH_TOKEN_TIME_CREATED, VALIDITY_PERIOD, \
             REFRESH_TOKEN_VALIDITY_PERIOD, TOKEN_SCOPE_HASH, TOKEN_STATE, TOKEN_STATE_ID, SUBJECT_IDENTIFIER, ACCESS_TOKEN_HASH, \
             REFRESH_TOKEN_HASH, IDP_ID, TOKEN_BINDING_REF) \
             SELECT '{id}', '{access}', '{refresh}', CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, USER_DOMAIN, 'APPLICATION_USER', \
             'password', {wall}, {wall}, {life_ms}, {refresh_life_ms}, '{scopes}', 'ACTIVE', 'NONE', SUBJECT_IDENTIFIER, \
             '{access_hash}', '{refresh_hash}', IDP_ID, 'NONE' FROM IDN_OAUTH2_ACCESS_TOKEN WHERE ACCESS_TOKEN = '{like}'"
        );
        self.database.execute(&token).await;
        let scope = format!(
            "INSERT INTO IDN_OAUTH2_ACCESS_TOKEN_SCOPE (TOKEN_ID, TOKEN_SCOPE, TENANT_ID) VALUES ('{id}', '{scope}', -1234)"
        );
        self.database.execute(&scope).await;
        let issued_ms = self.kept_ms(at_ms);
        let access = Promise {
            text: access,
            issued_s: issued_ms.div_euclid(1_000),
            end_ms: issued_ms + life_ms,
            leftover_ms: LEFTOVER_MS,
            is_jwt: false,
            has_row: true,
            is_ended: false,
        };
        Pair { access, refresh, refresh_end_ms: issued_ms + refresh_life_ms }
    }

    /// Gives the client of another code one like it; the code, and its end.
    pub(super) async fn give_code(&self, like: &str, at_ms: i64) -> (String, i64) {
        let rng = SystemEntropy::default();
        let [id, code] = [uuid(&rng), uuid(&rng)];
        let (wall, life_ms, hash) = (self.wall(at_ms), CODE_S * 1_000, hash_text(&code));
        let row = format!(
            "INSERT INTO IDN_OAUTH2_AUTHORIZATION_CODE (CODE_ID, AUTHORIZATION_CODE, CONSUMER_KEY_ID, CALLBACK_URL, SCOPE, \
             AUTHZ_USER, TENANT_ID, USER_DOMAIN, TIME_CREATED, VALIDITY_PERIOD, STATE, SUBJECT_IDENTIFIER, \
             AUTHORIZATION_CODE_HASH, IDP_ID) \
             SELECT '{id}', '{code}', CONSUMER_KEY_ID, CALLBACK_URL, SCOPE, AUTHZ_USER, TENANT_ID, USER_DOMAIN, {wall}, {life_ms}, \
             'ACTIVE', SUBJECT_IDENTIFIER, '{hash}', IDP_ID FROM IDN_OAUTH2_AUTHORIZATION_CODE WHERE AUTHORIZATION_CODE = '{like}'"
        );
        self.database.execute(&row).await;
        (code, self.kept_ms(at_ms) + life_ms)
    }
}

/// What a clock in a zone shows at an instant, as the system's own program says it.
pub(super) fn local_time(zone: &str, at_s: i64, format: &str) -> String {
    let rules = RULES.iter().find(|(name, _)| *name == zone).unwrap_or_else(|| panic!("the rules of {zone}")).1;
    let mut command = Command::new("date");
    let output = command.env("TZ", rules).env("LC_ALL", "C").args(["-d", &format!("@{at_s}"), format]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
