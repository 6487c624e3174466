//! CLV_EVENT: the numbered log of changes (design decision D2). An event is written in the transaction of its change.

use crate::db::{Arg, Conn, Row};
use crate::error::StoreError;
use crate::sql::queries;
use claviger_proto::event::{Event, NumberedEvent};
use claviger_proto::follow::EventsRequest;
use claviger_proto::ids::EventId;
use claviger_proto::time::Timestamp;

/// Most events of one page.
pub const PAGE_EVENTS_MAX: i64 = 500;
/// Gaps looked up by one statement.
const GAPS_PER_STATEMENT: usize = 50;

queries! {
    INSERT_EVENT = "INSERT INTO CLV_EVENT (PAYLOAD, CREATED_AT) VALUES (?, ?)",
        Postgres = "INSERT INTO CLV_EVENT (PAYLOAD, CREATED_AT) VALUES (?, ?) RETURNING ID";
    LIST_AFTER = "SELECT ID, PAYLOAD FROM CLV_EVENT WHERE ID > ? ORDER BY ID LIMIT ?";
    LIST_GAPS = "SELECT ID, PAYLOAD FROM CLV_EVENT WHERE ID IN (\
                 ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
                 ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ORDER BY ID";
    FIND_BOUNDS = "SELECT COALESCE((SELECT MIN(ID) FROM CLV_EVENT), 0), COALESCE((SELECT MAX(ID) FROM CLV_EVENT), 0)";
    DELETE_BEFORE = "DELETE FROM CLV_EVENT WHERE CREATED_AT < ? AND ID < ?";
}

impl Conn {
    /// Writes an event in the present transaction. Listeners of this process hear of it after the commit.
    pub async fn emit(&mut self, event: Event, now: Timestamp) -> Result<EventId, StoreError> {
        let payload = serde_json::to_string(&event).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let id = self.insert(&INSERT_EVENT, &[(&payload).into(), now.as_millis().into()]).await?;
        self.emitted.push(event);
        Ok(EventId(id))
    }

    /// Tells the listeners of this process after the commit, and nobody else: what no other process can have cached.
    pub fn tell(&mut self, event: Event) {
        self.emitted.push(event);
    }
}

/// Events for a follower: those in its gaps first, then those after its place, at most [`PAGE_EVENTS_MAX`] of the latter.
pub async fn list(conn: &mut Conn, request: &EventsRequest) -> Result<Vec<NumberedEvent>, StoreError> {
    let mut events = Vec::new();
    for gaps in request.gaps.chunks(GAPS_PER_STATEMENT) {
        let mut args = [Arg::Int(Some(-1)); GAPS_PER_STATEMENT];
        for (arg, gap) in args.iter_mut().zip(gaps) {
            *arg = (*gap).into();
        }
        let rows = conn.rows(&LIST_GAPS, &args).await?;
        events.extend(rows.iter().filter_map(decode));
    }
    let rows = conn.rows(&LIST_AFTER, &[request.after.into(), PAGE_EVENTS_MAX.into()]).await?;
    events.extend(rows.iter().filter_map(decode));
    Ok(events)
}

/// Lowest and highest number in the log; zeros when it is empty.
pub async fn bounds(conn: &mut Conn) -> Result<(EventId, EventId), StoreError> {
    let row = conn.row(&FIND_BOUNDS, &[]).await?.ok_or_else(|| StoreError::Corrupt("no aggregate row".into()))?;
    Ok((EventId(row.int(0)?), EventId(row.int(1)?)))
}

/// Removes events older than an instant; the newest one stays, so that the numbers go on.
pub async fn delete_before(conn: &mut Conn, before: Timestamp) -> Result<u64, StoreError> {
    let (_, last) = bounds(conn).await?;
    conn.execute(&DELETE_BEFORE, &[before.as_millis().into(), last.into()]).await
}

/// An event that this version does not know (written by a newer node) is passed over, with its number.
fn decode(row: &Row) -> Option<NumberedEvent> {
    let id = EventId(row.int(0).ok()?);
    let payload = row.text(1).ok()?;
    match serde_json::from_str(&payload) {
        Ok(event) => Some(NumberedEvent { id, event }),
        Err(error) => {
            tracing::warn!(event_id = id.0, %error, "an event is not understood and is passed over");
            Some(NumberedEvent { id, event: Event::Unknown })
        }
    }
}
