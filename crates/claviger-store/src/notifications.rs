//! CLV_NOTIFICATION: what API Manager is to be told, one row per event and listener, written in the transaction of the change
//! (rest-3x.md 5.1). A row goes when its event was taken; one that will never be taken stays as a dead letter, with the reason.
//!
//! Rows are read from the lowest number on and never behind a place: numbers may commit late.

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{queries, repeated};
use crate::tokens::insert_all;
use crate::value::{Arg, Row};
use claviger_proto::ids::ConsumerKey;
use claviger_proto::time::Timestamp;

/// Rows that one statement removes or revives.
pub const ROWS_PER_STATEMENT: usize = 64;
/// Longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 400;

macro_rules! insert_rows {
    ($rows:tt) => {
        concat!(
            "INSERT INTO CLV_NOTIFICATION (LISTENER, LANE, EVENT_ID, CONSUMER_KEY, BODY, CREATED_AT, EXPIRES_AT, DIED_AT, REASON) VALUES ",
            repeated!($rows, "(?, ?, ?, ?, ?, ?, ?, ?, ?)")
        )
    };
}

queries! {
    INSERT = insert_rows!(1);
    INSERT_4 = insert_rows!(4);
    INSERT_16 = insert_rows!(16);
    LIST = "SELECT ID, LANE, BODY, CREATED_AT, EXPIRES_AT FROM CLV_NOTIFICATION WHERE LISTENER = ? AND DIED_AT = 0 AND ID > ? \
            ORDER BY ID LIMIT ?";
    FIND_OLDEST = "SELECT CREATED_AT FROM CLV_NOTIFICATION WHERE LISTENER = ? AND DIED_AT = 0 ORDER BY ID LIMIT 1";
    COUNT = "SELECT COUNT(*) FROM CLV_NOTIFICATION WHERE LISTENER = ? AND DIED_AT = 0";
    COUNT_DEAD = "SELECT COUNT(*) FROM CLV_NOTIFICATION WHERE LISTENER = ? AND DIED_AT > 0";
    LIST_DEAD = "SELECT ID, EVENT_ID, LANE, CONSUMER_KEY, CREATED_AT, DIED_AT, REASON, \
                 CASE WHEN BODY = '' THEN 0 ELSE 1 END FROM CLV_NOTIFICATION \
                 WHERE LISTENER = ? AND DIED_AT > 0 ORDER BY DIED_AT DESC, ID DESC LIMIT ?";
    LIST_SENDABLE = "SELECT ID FROM CLV_NOTIFICATION WHERE LISTENER = ? AND DIED_AT > 0 AND BODY <> '' ORDER BY DIED_AT, ID LIMIT ?";
    BURY = "UPDATE CLV_NOTIFICATION SET DIED_AT = ?, REASON = ? WHERE ID = ? AND DIED_AT = 0";
    REVIVE = concat!("UPDATE CLV_NOTIFICATION SET DIED_AT = 0, REASON = NULL WHERE DIED_AT > 0 AND ID IN (", repeated!(64, "?"), ")");
    DELETE = concat!("DELETE FROM CLV_NOTIFICATION WHERE ID IN (", repeated!(64, "?"), ")");
}

/// An event that a listener is to be told.
#[derive(Clone, Debug)]
pub struct NewNotification<'a> {
    /// Id of the listener, at most 100 characters.
    pub listener: &'a str,
    /// What it is about: events of one lane are told one after another. At most 300 characters.
    pub lane: &'a str,
    /// `eventId`, a UUID.
    pub event_id: &'a str,
    /// The client.
    pub consumer_key: &'a ConsumerKey,
    /// The JSON, or why there is none: such a row is a dead letter from the start.
    pub body: Result<&'a str, &'a str>,
    /// When it happened.
    pub created: Timestamp,
    /// From then on nobody needs to know.
    pub expires_at: Timestamp,
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Number of the row.
    pub id: i64,
    /// What it is about.
    pub lane: String,
    /// The JSON.
    pub body: String,
    /// When it happened.
    pub created: Timestamp,
    /// From then on nobody needs to know.
    pub expires_at: Timestamp,
}

/// An event that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Number of the row.
    pub id: i64,
    /// `eventId`.
    pub event_id: String,
    /// What it is about.
    pub lane: String,
    /// The client.
    pub consumer_key: String,
    /// When it happened.
    pub created: Timestamp,
    /// When it was given up.
    pub died_at: Timestamp,
    /// Why.
    pub reason: String,
    /// Can it be sent at all?
    pub has_body: bool,
}

/// Writes events in the present transaction.
pub async fn insert(conn: &mut Conn, events: &[NewNotification<'_>]) -> Result<(), StoreError> {
    let rows: Vec<[Arg<'_>; 9]> = events
        .iter()
        .map(|event| {
            let died_at = if event.body.is_ok() { 0 } else { event.created.as_millis() };
            [
                event.listener.into(),
                event.lane.into(),
                event.event_id.into(),
                event.consumer_key.into(),
                event.body.unwrap_or_default().into(),
                event.created.as_millis().into(),
                event.expires_at.as_millis().into(),
                died_at.into(),
                event.body.err().into(),
            ]
        })
        .collect();
    insert_all(conn, [&INSERT_16, &INSERT_4, &INSERT], &rows).await
}

/// The lowest events of a listener behind a number (0: all) that wait to be told.
pub async fn list(conn: &mut Conn, listener: &str, after: i64, limit: usize) -> Result<Vec<Notification>, StoreError> {
    let rows = conn.rows(&LIST, &[listener.into(), after.into(), count_arg(limit)]).await?;
    let decode = |row: &Row| {
        Ok(Notification {
            id: row.int(0)?,
            lane: row.text(1)?,
            body: row.text(2)?,
            created: Timestamp::from_millis(row.int(3)?),
            expires_at: Timestamp::from_millis(row.int(4)?),
        })
    };
    rows.iter().map(decode).collect()
}

/// When the oldest event that waits happened.
pub async fn find_oldest(conn: &mut Conn, listener: &str) -> Result<Option<Timestamp>, StoreError> {
    let row = conn.row(&FIND_OLDEST, &[listener.into()]).await?;
    row.map(|row| row.int(0).map(Timestamp::from_millis)).transpose()
}

/// How many events of a listener wait, and how many were given up.
pub async fn count(conn: &mut Conn, listener: &str) -> Result<[u64; 2], StoreError> {
    let mut counts = [0; 2];
    for (count, statement) in counts.iter_mut().zip([&COUNT, &COUNT_DEAD]) {
        let number = conn.row(statement, &[listener.into()]).await?.map_or(Ok(0), |row| row.int(0))?;
        *count = u64::try_from(number).unwrap_or(0);
    }
    Ok(counts)
}

/// The events of a listener that were given up, the latest first.
pub async fn list_dead(conn: &mut Conn, listener: &str, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
    let rows = conn.rows(&LIST_DEAD, &[listener.into(), count_arg(limit)]).await?;
    let decode = |row: &Row| {
        Ok(DeadLetter {
            id: row.int(0)?,
            event_id: row.text(1)?,
            lane: row.text(2)?,
            consumer_key: row.text(3)?,
            created: Timestamp::from_millis(row.int(4)?),
            died_at: Timestamp::from_millis(row.int(5)?),
            reason: row.opt_text(6)?.unwrap_or_default(),
            has_body: row.int(7)? == 1,
        })
    };
    rows.iter().map(decode).collect()
}

/// Gives an event up, in the present transaction.
pub async fn bury(conn: &mut Conn, id: i64, reason: &str, now: Timestamp) -> Result<(), StoreError> {
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    conn.execute(&BURY, &[now.as_millis().into(), (&reason).into(), id.into()]).await?;
    Ok(())
}

/// Lets the oldest dead letters of a listener wait again, at most [`ROWS_PER_STATEMENT`]; returns how many.
pub async fn revive(conn: &mut Conn, listener: &str) -> Result<u64, StoreError> {
    let rows = conn.rows(&LIST_SENDABLE, &[listener.into(), count_arg(ROWS_PER_STATEMENT)]).await?;
    let ids = rows.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
    conn.execute(&REVIVE, &id_args(&ids)).await
}

/// Removes events that were taken or that nobody needs to be told any more, in the present transaction.
pub async fn delete(conn: &mut Conn, ids: &[i64]) -> Result<u64, StoreError> {
    let mut removed = 0;
    for some in ids.chunks(ROWS_PER_STATEMENT) {
        removed += conn.execute(&DELETE, &id_args(some)).await?;
    }
    Ok(removed)
}

fn count_arg(count: usize) -> Arg<'static> {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}

/// Places without a number are NULL, which no key equals.
fn id_args(ids: &[i64]) -> [Arg<'static>; ROWS_PER_STATEMENT] {
    let mut args = [Arg::Int(None); ROWS_PER_STATEMENT];
    for (arg, id) in args.iter_mut().zip(ids) {
        *arg = (*id).into();
    }
    args
}
