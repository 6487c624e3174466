//! Our own tables: CLV_REVOCATION by its end, CLV_EVENT by its age, CLV_NOTIFICATION by both.

use super::{Candidate, PAGE_ROWS, Page, Rules, key_args, keys};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::events;
use crate::sql::queries;
use crate::value::Arg;
use std::collections::BTreeSet;

queries! {
    LIST_REVOCATIONS = "SELECT KIND, SUBJECT, EXPIRES_AT FROM CLV_REVOCATION WHERE EXPIRES_AT >= ? AND EXPIRES_AT < ? \
                        ORDER BY EXPIRES_AT LIMIT ?";
    DELETE_REVOCATIONS = concat!("DELETE FROM CLV_REVOCATION WHERE SUBJECT IN (", keys!(), ") AND KIND = ? AND EXPIRES_AT < ?");
    LIST_EVENTS = "SELECT ID, CREATED_AT FROM CLV_EVENT WHERE ID > ? AND ID < ? ORDER BY ID LIMIT ?";
    DELETE_EVENTS = concat!("DELETE FROM CLV_EVENT WHERE ID IN (", keys!(), ")");
    LIST_NOTIFICATIONS = "SELECT ID, CREATED_AT, EXPIRES_AT, DIED_AT FROM CLV_NOTIFICATION WHERE ID > ? ORDER BY ID LIMIT ?";
    DELETE_NOTIFICATIONS = concat!("DELETE FROM CLV_NOTIFICATION WHERE ID IN (", keys!(), ")");
}

fn place(after: &str) -> i64 {
    after.parse().unwrap_or(i64::MIN)
}

fn page_rows() -> Arg<'static> {
    i64::try_from(PAGE_ROWS).unwrap_or(i64::MAX).into()
}

/// By the index on their end: most rows still matter. A page ends between two ends, so that the next can begin there.
pub(super) async fn find_revocations(conn: &mut Conn, after: &str, rules: &Rules) -> Result<Page, StoreError> {
    let args = [place(after).into(), rules.ended_before.as_millis().into(), page_rows()];
    let rows = conn.rows(&LIST_REVOCATIONS, &args).await?;
    let ends = rows.iter().map(|row| row.int(2)).collect::<Result<Vec<_>, _>>()?;
    let mut next = None;
    if let (Some(first), Some(last)) = (ends.first(), ends.last())
        && rows.len() >= PAGE_ROWS
    {
        // More with one end than a page holds: the rest is found first next time.
        next = Some(if first == last { last.saturating_add(1) } else { *last });
    }
    let mut candidates = Vec::with_capacity(rows.len());
    for (row, end) in rows.iter().zip(ends) {
        if next.is_none_or(|next| end < next) {
            candidates.push(Candidate { key: row.text(1)?, basis: row.text(0)? });
        }
    }
    Ok(Page { candidates, next: next.map(|next| next.to_string()) })
}

/// A revocation that somebody made longer meanwhile stays.
pub(super) async fn remove_revocations(
    conn: &mut Conn,
    candidates: &[Candidate],
    rules: &Rules,
) -> Result<u64, StoreError> {
    let kinds: BTreeSet<&str> = candidates.iter().map(|candidate| candidate.basis.as_str()).collect();
    let mut removed = 0;
    for kind in kinds {
        let of_kind = candidates.iter().filter(|candidate| candidate.basis == kind);
        let mut args = key_args(of_kind.map(|candidate| candidate.key.as_str()));
        args.extend([Arg::from(kind), Arg::from(rules.ended_before.as_millis())]);
        removed += conn.execute(&DELETE_REVOCATIONS, &args).await?;
    }
    Ok(removed)
}

/// The oldest events, up to the first that is young enough. The newest stays whatever its age, so that the numbers go on.
pub(super) async fn find_events(conn: &mut Conn, after: &str, rules: &Rules) -> Result<Page, StoreError> {
    let (_, newest) = events::bounds(conn).await?;
    let rows = conn.rows(&LIST_EVENTS, &[place(after).into(), newest.into(), page_rows()]).await?;
    let mut candidates = Vec::new();
    for row in &rows {
        if row.int(1)? >= rules.events_before.as_millis() {
            return Ok(Page { candidates, next: None });
        }
        candidates.push(Candidate { key: row.int(0)?.to_string(), basis: String::new() });
    }
    let last = rows.last().map(|row| row.int(0)).transpose()?;
    Ok(Page::new(rows.len(), last.map(|last| last.to_string()), candidates))
}

/// An event never changes: its number is enough.
pub(super) async fn remove_events(conn: &mut Conn, candidates: &[Candidate]) -> Result<u64, StoreError> {
    conn.execute(&DELETE_EVENTS, &numbers(candidates)).await
}

/// Parameters for [`keys!`] of a numbered table.
fn numbers(candidates: &[Candidate]) -> [Arg<'static>; super::WRITE_ROWS] {
    let mut ids = [Arg::Int(None); super::WRITE_ROWS];
    for (id, candidate) in ids.iter_mut().zip(candidates) {
        *id = Arg::Int(candidate.key.parse().ok());
    }
    ids
}

/// What is too old, and what waits in vain: the token has ended by itself.
pub(super) async fn find_notifications(conn: &mut Conn, after: &str, rules: &Rules) -> Result<Page, StoreError> {
    let rows = conn.rows(&LIST_NOTIFICATIONS, &[place(after).into(), page_rows()]).await?;
    let mut candidates = Vec::new();
    for row in &rows {
        let is_waiting = row.int(3)? == 0;
        let is_ended = row.int(2)? < rules.notifications_ended_before.as_millis();
        if row.int(1)? < rules.notifications_before.as_millis() || is_waiting && is_ended {
            candidates.push(Candidate { key: row.int(0)?.to_string(), basis: String::new() });
        }
    }
    let last = rows.last().map(|row| row.int(0)).transpose()?;
    Ok(Page::new(rows.len(), last.map(|last| last.to_string()), candidates))
}

/// Neither time of a notification changes: its number is enough.
pub(super) async fn remove_notifications(conn: &mut Conn, candidates: &[Candidate]) -> Result<u64, StoreError> {
    conn.execute(&DELETE_NOTIFICATIONS, &numbers(candidates)).await
}
