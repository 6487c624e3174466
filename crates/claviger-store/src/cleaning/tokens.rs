//! IDN_OAUTH2_ACCESS_TOKEN: the rule of WSO2's offline procedure (database.md 3.8), and what keeps a refresh token's word.
//!
//! A refresh token is looked for as the newest row that carries it, whatever its state, and an EXPIRED row's may be used
//! (database.md 3.4). So two rows stay that the procedure removes: an EXPIRED one whose refresh token lives and stands in no
//! newer row, and a dead one behind which an older row would come to light that carries the same refresh token alive.
//!
//! Who revokes by a refresh token means the access tokens of all rows that carry it, so a dead row with a refresh token stays as
//! long as its access token would have lived.

use super::{Candidate, Page, Rules, end_of, key_args, keys, page};
use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use crate::value::Row;
use claviger_proto::time::Timestamp;
use std::collections::BTreeMap;

macro_rules! select_rows {
    ($rest:expr) => {
        concat!(
            "SELECT TOKEN_ID, TOKEN_STATE, TIME_CREATED, VALIDITY_PERIOD, REFRESH_TOKEN_TIME_CREATED, REFRESH_TOKEN_VALIDITY_PERIOD, \
             CASE WHEN REFRESH_TOKEN IS NULL THEN 0 ELSE 1 END FROM IDN_OAUTH2_ACCESS_TOKEN WHERE ",
            $rest
        )
    };
}

/// Every column of the audit table but INVALIDATED_TIME.
macro_rules! audit_columns {
    () => {
        "TOKEN_ID, ACCESS_TOKEN, REFRESH_TOKEN, CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, USER_DOMAIN, USER_TYPE, GRANT_TYPE, TIME_CREATED, \
         REFRESH_TOKEN_TIME_CREATED, VALIDITY_PERIOD, REFRESH_TOKEN_VALIDITY_PERIOD, TOKEN_SCOPE_HASH, TOKEN_STATE, TOKEN_STATE_ID, \
         SUBJECT_IDENTIFIER, ACCESS_TOKEN_HASH, REFRESH_TOKEN_HASH[idp_id:, IDP_ID]"
    };
}

/// Rows that carry the refresh token of T. The user is named for releases that have no index on the hash.
macro_rules! same_refresh {
    ($more:literal) => {
        concat!(
            "CASE WHEN EXISTS (SELECT 1 FROM IDN_OAUTH2_ACCESS_TOKEN O WHERE O.[token_hash:REFRESH_TOKEN_HASH|REFRESH_TOKEN] = \
             T.[token_hash:REFRESH_TOKEN_HASH|REFRESH_TOKEN] \
             AND O.CONSUMER_KEY_ID = T.CONSUMER_KEY_ID AND O.AUTHZ_USER = T.AUTHZ_USER AND ",
            $more,
            ") THEN 1 ELSE 0 END"
        )
    };
}

/// Rows of the user of T and of its client that may carry its refresh token: a database that was migrated from 2.1 has rows without
/// hashes, and their text may be encrypted.
macro_rules! without_hash {
    ($more:literal) => {
        concat!(
            "CASE WHEN EXISTS (SELECT 1 FROM IDN_OAUTH2_ACCESS_TOKEN O WHERE [token_hash:O.REFRESH_TOKEN_HASH IS NULL AND ]O.REFRESH_TOKEN IS NOT NULL \
             AND O.CONSUMER_KEY_ID = T.CONSUMER_KEY_ID AND O.AUTHZ_USER = T.AUTHZ_USER AND ",
            $more,
            ") THEN 1 ELSE 0 END"
        )
    };
}

queries! {
    LIST = select_rows!("TOKEN_ID > ? ORDER BY TOKEN_ID LIMIT ?");
    LOCK = select_rows!(concat!("TOKEN_ID IN (", keys!(), ")")),
        MySql = select_rows!(concat!("TOKEN_ID IN (", keys!(), ") FOR UPDATE")),
        Postgres = select_rows!(concat!("TOKEN_ID IN (", keys!(), ") FOR UPDATE"));
    LIST_BESIDE = concat!(
        "SELECT T.TOKEN_ID, CASE WHEN T.[token_hash:REFRESH_TOKEN_HASH|REFRESH_TOKEN] IS NULL THEN 1 ELSE 0 END, ",
        same_refresh!("O.TIME_CREATED > T.TIME_CREATED"), ", ",
        same_refresh!("O.TOKEN_ID <> T.TOKEN_ID AND O.TOKEN_STATE IN ('ACTIVE', 'EXPIRED') AND O.TIME_CREATED <= T.TIME_CREATED"), ", ",
        without_hash!("O.TOKEN_ID <> T.TOKEN_ID AND O.TOKEN_STATE IN ('ACTIVE', 'EXPIRED') AND O.TIME_CREATED <= T.TIME_CREATED"),
        " FROM IDN_OAUTH2_ACCESS_TOKEN T WHERE T.TOKEN_ID IN (", keys!(), ")");
    COPY_TO_AUDIT = concat!("INSERT INTO IDN_OAUTH2_ACCESS_TOKEN_AUDIT (", audit_columns!(), ", INVALIDATED_TIME) SELECT ", audit_columns!(),
        ", ? FROM IDN_OAUTH2_ACCESS_TOKEN WHERE TOKEN_ID IN (", keys!(), ")"),
        Postgres = concat!("INSERT INTO IDN_OAUTH2_ACCESS_TOKEN_AUDIT (", audit_columns!(), ", INVALIDATED_TIME) SELECT ", audit_columns!(),
        ", CAST(? AS TIMESTAMP) FROM IDN_OAUTH2_ACCESS_TOKEN WHERE TOKEN_ID IN (", keys!(), ")");
    DELETE = concat!("DELETE FROM IDN_OAUTH2_ACCESS_TOKEN WHERE TOKEN_ID IN (", keys!(), ")");
}

/// What the rule says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Stays,
    Goes,
    /// Its refresh token lives: it goes when a newer row carries that too.
    GoesBehindNewer,
    /// It keeps its refresh token from use: it goes when no older row carries that alive.
    GoesWithoutOlder,
}

struct TokenRow {
    id: String,
    state: String,
    access_end: Timestamp,
    /// `None`: there is no refresh token.
    refresh_end: Option<Timestamp>,
}

impl TokenRow {
    fn decode(row: &Row) -> Result<Self, StoreError> {
        // Old scripts leave 0000-00-00 (database.md 1.3): such a row must not hold up the others.
        let time = |column| row.opt_time(column).ok().flatten();
        let refresh_end = end_of(time(4), row.opt_int(5)?);
        Ok(Self {
            id: row.text(0)?,
            state: row.opt_text(1)?.unwrap_or_default(),
            access_end: end_of(time(2), row.opt_int(3)?),
            refresh_end: (row.int(6)? != 0).then_some(refresh_end),
        })
    }

    fn verdict(&self, rules: &Rules) -> Verdict {
        let is_refresh_alive = self.refresh_end.is_some_and(|end| end >= rules.tokens_ended_before);
        // A period without end says nothing about the life of a row that is retired.
        let is_access_alive = self.access_end >= rules.tokens_ended_before && self.access_end != Timestamp::NEVER;
        let is_life_awaited = rules.is_life_awaited || self.refresh_end.is_some();
        match self.state.as_str() {
            "ACTIVE" => {
                let refresh_end = self.refresh_end.unwrap_or(self.access_end);
                let is_over = self.access_end.max(refresh_end) < rules.active_ended_before;
                if is_over { Verdict::Goes } else { Verdict::Stays }
            }
            "EXPIRED" if is_access_alive => Verdict::Stays,
            "EXPIRED" if is_refresh_alive => Verdict::GoesBehindNewer,
            "INACTIVE" | "REVOKED" if is_life_awaited && is_access_alive => Verdict::Stays,
            "INACTIVE" | "REVOKED" if is_refresh_alive => Verdict::GoesWithoutOlder,
            "EXPIRED" | "INACTIVE" | "REVOKED" => Verdict::Goes,
            _ => Verdict::Stays,
        }
    }
}

/// What other rows carry the refresh token of one.
struct Beside {
    is_hash_missing: bool,
    is_newer_there: bool,
    is_older_alive: bool,
}

pub(super) async fn find(conn: &mut Conn, after: &str, rules: &Rules) -> Result<Page, StoreError> {
    let rows = page(conn, &LIST, after).await?;
    let rows = rows.iter().map(TokenRow::decode).collect::<Result<Vec<_>, _>>()?;
    let (count, last) = (rows.len(), rows.last().map(|row| row.id.clone()));
    let judged: Vec<(TokenRow, Verdict)> = rows
        .into_iter()
        .map(|row| (row.verdict(rules), row))
        .filter(|(verdict, _)| *verdict != Verdict::Stays)
        .map(|(verdict, row)| (row, verdict))
        .collect();
    let asked = judged.iter().filter(|(_, verdict)| *verdict != Verdict::Goes).map(|(row, _)| row.id.as_str());
    let beside = list_beside(conn, &asked.collect::<Vec<_>>()).await?;
    let may_go = |row: &TokenRow, verdict| match (verdict, beside.get(&row.id)) {
        (Verdict::Goes, _) => true,
        (Verdict::GoesBehindNewer, Some(beside)) => beside.is_newer_there,
        (Verdict::GoesWithoutOlder, Some(beside)) => !beside.is_hash_missing && !beside.is_older_alive,
        // Gone since, or not to be known.
        (Verdict::Stays, _) | (_, None) => false,
    };
    let candidates = judged.into_iter().filter(|(row, verdict)| may_go(row, *verdict));
    let candidates = candidates.map(|(row, _)| Candidate { key: row.id, basis: row.state }).collect();
    Ok(Page::new(count, last, candidates))
}

/// Not under the lock of the removal, because it only ever turns towards it: a newer row that carries the refresh token of an
/// EXPIRED one goes only after that (it is [`Verdict::GoesWithoutOlder`]), and nobody revives a row.
///
/// Before 3.0 no index leads to a refresh token, and nothing is found: such a row stays until the end of its refresh token, which is
/// the same in each row that carries it.
async fn list_beside(conn: &mut Conn, ids: &[&str]) -> Result<BTreeMap<String, Beside>, StoreError> {
    let mut found = BTreeMap::new();
    if !conn.capabilities().has(Capability::IdpId) {
        return Ok(found);
    }
    for some in ids.chunks(super::WRITE_ROWS) {
        for row in conn.rows(&LIST_BESIDE, &key_args(some.iter().copied())).await? {
            let beside = Beside {
                is_hash_missing: row.int(1)? != 0,
                is_newer_there: row.int(2)? != 0,
                is_older_alive: row.int(3)? != 0 || row.int(4)? != 0,
            };
            found.insert(row.text(0)?, beside);
        }
    }
    Ok(found)
}

pub(super) async fn remove(conn: &mut Conn, candidates: &[Candidate], rules: &Rules) -> Result<u64, StoreError> {
    let locked = conn.rows(&LOCK, &key_args(candidates.iter().map(|candidate| candidate.key.as_str()))).await?;
    let basis: BTreeMap<&str, &str> =
        candidates.iter().map(|candidate| (candidate.key.as_str(), candidate.basis.as_str())).collect();
    let mut ids = Vec::with_capacity(locked.len());
    for row in &locked {
        let row = TokenRow::decode(row)?;
        if basis.get(row.id.as_str()) == Some(&row.state.as_str()) && row.verdict(rules) != Verdict::Stays {
            ids.push(row.id);
        }
    }
    if ids.is_empty() {
        return Ok(0);
    }
    let args = key_args(ids.iter().map(String::as_str));
    if rules.is_audit_kept && conn.capabilities().has(Capability::Audit) {
        let with_time: Vec<_> = std::iter::once(rules.now.into()).chain(args.iter().copied()).collect();
        conn.execute(&COPY_TO_AUDIT, &with_time).await?;
    }
    conn.execute(&DELETE, &args).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const RULES: Rules = Rules {
        now: NOW,
        ended_before: NOW.plus_millis(-60_000),
        tokens_ended_before: NOW.plus_millis(-60_000),
        active_ended_before: NOW.plus_millis(-7_200_000),
        is_life_awaited: false,
        is_audit_kept: false,
        audit_before: None,
        events_before: NOW,
        notifications_before: NOW,
        notifications_ended_before: NOW,
    };

    fn row(state: &str, access_s: i64, refresh_s: Option<i64>) -> TokenRow {
        let end = |seconds: i64| NOW.plus_millis(seconds * 1000);
        TokenRow { id: "id".into(), state: state.into(), access_end: end(access_s), refresh_end: refresh_s.map(end) }
    }

    #[test]
    fn an_active_row_goes_two_hours_after_both_its_lives() {
        use Verdict::{Goes, Stays};
        for (access_s, refresh_s, verdict) in [
            (-7_201, Some(-7_201), Goes),
            (-7_201, None, Goes),
            (-7_199, Some(-9_000), Stays),
            (-9_000, Some(-7_199), Stays),
            (-9_000, Some(60), Stays),
            (60, None, Stays),
        ] {
            assert_eq!(row("ACTIVE", access_s, refresh_s).verdict(&RULES), verdict, "{access_s} {refresh_s:?}");
        }
        let endless = TokenRow { access_end: Timestamp::NEVER, ..row("ACTIVE", 0, None) };
        assert_eq!(endless.verdict(&RULES), Stays);
    }

    #[test]
    fn retired_rows_go_with_an_eye_on_their_refresh_token() {
        use Verdict::{Goes, GoesBehindNewer, GoesWithoutOlder, Stays};
        for (state, access_s, refresh_s, verdict) in [
            ("EXPIRED", -100, None, Goes),
            ("EXPIRED", -100, Some(-100), Goes),
            ("EXPIRED", -100, Some(100), GoesBehindNewer),
            ("EXPIRED", 100, None, Stays),
            ("INACTIVE", 100, None, Goes),
            ("INACTIVE", 100, Some(-100), Stays),
            ("REVOKED", 100, None, Goes),
            ("REVOKED", 100, Some(100), Stays),
            ("REVOKED", -100, Some(100), GoesWithoutOlder),
            ("SOMETHING", -100, None, Stays),
        ] {
            assert_eq!(row(state, access_s, refresh_s).verdict(&RULES), verdict, "{state} {access_s} {refresh_s:?}");
        }
        let awaited = Rules { is_life_awaited: true, ..RULES };
        assert_eq!(row("REVOKED", 100, None).verdict(&awaited), Stays);
        assert_eq!(row("REVOKED", -100, None).verdict(&awaited), Goes);
    }
}
