//! The other WSO2 tables: authorization codes (with our contexts of them), the audit table, sessions, AM_REVOKED_JWT.

use super::{Candidate, PAGE_ROWS, Page, Rules, WRITE_ROWS, end_of, key_args, keys, page};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use crate::value::{Arg, Row};
use claviger_proto::time::Timestamp;
use std::collections::BTreeSet;

/// Session times from here on are nanoseconds; the unit is not certain (database.md 1.4, 10). As milliseconds this is a
/// thousand times the age of mankind.
const NANOSECONDS_FROM: i64 = 100_000_000_000_000_000;
/// Session times between this and a hundred times the present are milliseconds; what is smaller is no time.
const MILLISECONDS_FROM: i64 = 100_000_000_000;
const NANOSECONDS_PER_MILLISECOND: i64 = 1_000_000;

macro_rules! select_codes {
    ($($rest:expr),*) => {
        concat!("SELECT CODE_ID, STATE, TIME_CREATED, VALIDITY_PERIOD, TOKEN_ID FROM IDN_OAUTH2_AUTHORIZATION_CODE WHERE ", $($rest),*)
    };
}

queries! {
    LIST_CODES = select_codes!("CODE_ID > ? ORDER BY CODE_ID LIMIT ?");
    LOCK_CODES = select_codes!("CODE_ID IN (", keys!(), ")"),
        MySql = select_codes!("CODE_ID IN (", keys!(), ") FOR UPDATE"),
        Postgres = select_codes!("CODE_ID IN (", keys!(), ") FOR UPDATE");
    LIST_TOKENS = concat!("SELECT TOKEN_ID FROM IDN_OAUTH2_ACCESS_TOKEN WHERE TOKEN_ID IN (", keys!(), ")");
    DELETE_CODES = concat!("DELETE FROM IDN_OAUTH2_AUTHORIZATION_CODE WHERE CODE_ID IN (", keys!(), ")");
    LIST_CONTEXTS = "SELECT CODE_ID FROM CLV_CODE_CONTEXT WHERE CODE_ID > ? ORDER BY CODE_ID LIMIT ?";
    LIST_THEIR_CODES = concat!("SELECT CODE_ID FROM IDN_OAUTH2_AUTHORIZATION_CODE WHERE CODE_ID IN (", keys!(), ")");
    DELETE_CONTEXTS = concat!("DELETE FROM CLV_CODE_CONTEXT WHERE CODE_ID IN (", keys!(), ")");
    COUNT_SOME_AUDIT = "SELECT COUNT(*) FROM (SELECT 1 FROM IDN_OAUTH2_ACCESS_TOKEN_AUDIT WHERE INVALIDATED_TIME < ? LIMIT ?) A";
    COUNT_AUDIT = "SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN_AUDIT WHERE INVALIDATED_TIME < ?";
    DELETE_AUDIT = "DELETE FROM IDN_OAUTH2_ACCESS_TOKEN_AUDIT WHERE rowid IN (\
                    SELECT rowid FROM IDN_OAUTH2_ACCESS_TOKEN_AUDIT WHERE INVALIDATED_TIME < ? LIMIT ?)",
        MySql = "DELETE FROM IDN_OAUTH2_ACCESS_TOKEN_AUDIT WHERE INVALIDATED_TIME < ? LIMIT ?",
        Postgres = "DELETE FROM IDN_OAUTH2_ACCESS_TOKEN_AUDIT WHERE ctid = ANY (ARRAY(\
                    SELECT ctid FROM IDN_OAUTH2_ACCESS_TOKEN_AUDIT WHERE INVALIDATED_TIME < ? LIMIT ?))";
    LIST_SESSIONS = "SELECT SESSION_ID, MIN(COALESCE(EXPIRY_TIME, 0)), MAX(COALESCE(EXPIRY_TIME, 0)) FROM IDN_AUTH_SESSION_STORE \
                     WHERE SESSION_ID > ? GROUP BY SESSION_ID ORDER BY SESSION_ID LIMIT ?";
    DELETE_SESSIONS = concat!("DELETE FROM IDN_AUTH_SESSION_STORE WHERE SESSION_ID IN (", keys!(), ") \
                      AND (EXPIRY_TIME >= ? AND EXPIRY_TIME < ? OR EXPIRY_TIME >= ? AND EXPIRY_TIME < ?)");
    LIST_REVOKED_JWTS = "SELECT UUID, EXPIRY_TIMESTAMP FROM AM_REVOKED_JWT WHERE UUID > ? ORDER BY UUID LIMIT ?";
    DELETE_REVOKED_JWTS = concat!("DELETE FROM AM_REVOKED_JWT WHERE UUID IN (", keys!(), ") AND EXPIRY_TIMESTAMP < ?");
}

fn without_basis(key: String) -> Candidate {
    Candidate { key, basis: String::new() }
}

fn names(candidates: &[Candidate]) -> impl Iterator<Item = &str> {
    candidates.iter().map(|candidate| candidate.key.as_str())
}

/// A code may go when it was used or has ended, and is not fresh: who presents a used code again must meet it as long as it
/// would have lived.
fn is_code_over(row: &Row, rules: &Rules) -> Result<bool, StoreError> {
    let is_active = row.opt_text(1)?.as_deref() == Some("ACTIVE");
    // 0000-00-00 of old scripts must not hold up the others.
    let created = row.opt_time(2).ok().flatten();
    let is_ended = end_of(created, row.opt_int(3)?) < rules.tokens_ended_before;
    Ok(is_ended || !is_active && created.is_none_or(|created| created < rules.active_ended_before))
}

/// The codes among some rows that may go: those that are over and whose token is gone.
async fn codes_to_go(conn: &mut Conn, rows: &[Row], rules: &Rules) -> Result<Vec<String>, StoreError> {
    let mut over = Vec::new();
    for row in rows {
        if is_code_over(row, rules)? {
            over.push((row.text(0)?, row.opt_text(4)?));
        }
    }
    let tokens: Vec<&str> = over.iter().filter_map(|(_, token)| token.as_deref()).collect();
    let mut present = BTreeSet::new();
    for some in tokens.chunks(WRITE_ROWS) {
        for row in conn.rows(&LIST_TOKENS, &key_args(some.iter().copied())).await? {
            present.insert(row.text(0)?);
        }
    }
    let is_gone = |token: &Option<String>| token.as_ref().is_none_or(|token| !present.contains(token));
    Ok(over.into_iter().filter(|(_, token)| is_gone(token)).map(|(code, _)| code).collect())
}

pub(super) async fn find_codes(conn: &mut Conn, after: &str, rules: &Rules) -> Result<Page, StoreError> {
    let rows = page(conn, &LIST_CODES, after).await?;
    let candidates = codes_to_go(conn, &rows, rules).await?.into_iter().map(without_basis).collect();
    let last = rows.last().map(|row| row.text(0)).transpose()?;
    Ok(Page::new(rows.len(), last, candidates))
}

pub(super) async fn remove_codes(conn: &mut Conn, candidates: &[Candidate], rules: &Rules) -> Result<u64, StoreError> {
    let rows = conn.rows(&LOCK_CODES, &key_args(names(candidates))).await?;
    let codes = codes_to_go(conn, &rows, rules).await?;
    if codes.is_empty() {
        return Ok(0);
    }
    conn.execute(&DELETE_CODES, &key_args(codes.iter().map(String::as_str))).await
}

/// The contexts whose code is gone. A context is committed with its code, so one that is seen here has, or had, a code that the
/// second statement sees. That is no join: on MySQL the keys may be of two character sets, and no index would lead to the codes.
pub(super) async fn find_contexts(conn: &mut Conn, after: &str) -> Result<Page, StoreError> {
    let rows = page(conn, &LIST_CONTEXTS, after).await?;
    let codes = rows.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
    let mut present = BTreeSet::new();
    for some in codes.chunks(WRITE_ROWS) {
        for row in conn.rows(&LIST_THEIR_CODES, &key_args(some.iter().map(String::as_str))).await? {
            present.insert(row.text(0)?);
        }
    }
    let (count, last) = (codes.len(), codes.last().cloned());
    let candidates = codes.into_iter().filter(|code| !present.contains(code)).map(without_basis).collect();
    Ok(Page::new(count, last, candidates))
}

/// Nothing is looked at again: a code that is gone does not come back.
pub(super) async fn remove_contexts(conn: &mut Conn, candidates: &[Candidate]) -> Result<u64, StoreError> {
    conn.execute(&DELETE_CONTEXTS, &key_args(names(candidates))).await
}

/// The table has neither key nor index: a page is a number of rows, and the next one begins where this one did. Old rows stand
/// at its beginning, so that little is read of it while there are any.
pub(super) async fn find_audit(conn: &mut Conn, _after: &str, rules: &Rules) -> Result<Page, StoreError> {
    let Some(before) = rules.audit_before else { return Ok(Page::default()) };
    let limit = i64::try_from(PAGE_ROWS).unwrap_or(i64::MAX);
    let count = conn.row(&COUNT_SOME_AUDIT, &[before.into(), limit.into()]).await?.map_or(Ok(0), |row| row.int(0))?;
    let candidates: Vec<_> = (0..count).map(|_| without_basis(String::new())).collect();
    Ok(Page::new(candidates.len(), Some(String::new()), candidates))
}

/// All of them, for who only looks.
pub(super) async fn count_audit(conn: &mut Conn, rules: &Rules) -> Result<u64, StoreError> {
    let Some(before) = rules.audit_before else { return Ok(0) };
    let count = conn.row(&COUNT_AUDIT, &[before.into()]).await?.map_or(Ok(0), |row| row.int(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(super) async fn remove_audit(conn: &mut Conn, candidates: &[Candidate], rules: &Rules) -> Result<u64, StoreError> {
    let Some(before) = rules.audit_before else { return Ok(0) };
    let limit = i64::try_from(candidates.len().min(WRITE_ROWS)).unwrap_or(0);
    conn.execute(&DELETE_AUDIT, &[before.into(), limit.into()]).await
}

/// Is this instant of a session surely past?
fn is_session_time_past(time: i64, before: Timestamp) -> bool {
    match time {
        NANOSECONDS_FROM.. => time / NANOSECONDS_PER_MILLISECOND < before.as_millis(),
        MILLISECONDS_FROM.. => time < before.as_millis(),
        _ => false,
    }
}

/// Sessions all of whose rows are over: the newest row of a session counts, and a note of its end may end before what it notes.
pub(super) async fn find_sessions(conn: &mut Conn, after: &str, rules: &Rules) -> Result<Page, StoreError> {
    let rows = page(conn, &LIST_SESSIONS, after).await?;
    let mut candidates = Vec::new();
    for row in &rows {
        let is_past = |time| is_session_time_past(time, rules.ended_before);
        if is_past(row.int(1)?) && is_past(row.int(2)?) {
            candidates.push(without_basis(row.text(0)?));
        }
    }
    let last = rows.last().map(|row| row.text(0)).transpose()?;
    Ok(Page::new(rows.len(), last, candidates))
}

pub(super) async fn remove_sessions(
    conn: &mut Conn,
    candidates: &[Candidate],
    rules: &Rules,
) -> Result<u64, StoreError> {
    let before = rules.ended_before.as_millis();
    let nanoseconds = before.saturating_mul(NANOSECONDS_PER_MILLISECOND);
    let mut args = key_args(names(candidates));
    args.extend([MILLISECONDS_FROM, before, NANOSECONDS_FROM, nanoseconds].map(Arg::from));
    conn.execute(&DELETE_SESSIONS, &args).await
}

pub(super) async fn find_revoked_jwts(conn: &mut Conn, after: &str, rules: &Rules) -> Result<Page, StoreError> {
    let rows = page(conn, &LIST_REVOKED_JWTS, after).await?;
    let mut candidates = Vec::new();
    for row in &rows {
        if row.int(1)? < rules.ended_before.as_millis() {
            candidates.push(without_basis(row.text(0)?));
        }
    }
    let last = rows.last().map(|row| row.text(0)).transpose()?;
    Ok(Page::new(rows.len(), last, candidates))
}

pub(super) async fn remove_revoked_jwts(
    conn: &mut Conn,
    candidates: &[Candidate],
    rules: &Rules,
) -> Result<u64, StoreError> {
    let mut args = key_args(names(candidates));
    args.push(rules.ended_before.as_millis().into());
    conn.execute(&DELETE_REVOKED_JWTS, &args).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_times_are_past_in_either_unit_and_unknown_ones_never() {
        let before = Timestamp::from_secs(1_700_000_000);
        for (time, is_past) in [
            (1_699_999_999_999, true),
            (1_700_000_000_000, false),
            (1_699_999_999_999_999_999, true),
            (1_700_000_000_000_000_000, false),
            (0, false),
            (1_699_999_999, false),
            (i64::MAX, false),
        ] {
            assert_eq!(is_session_time_past(time, before), is_past, "{time}");
        }
    }
}
