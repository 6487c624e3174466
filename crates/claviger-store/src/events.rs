//! CLV_EVENT: the numbered log of changes (design decision D2). An event is written in the transaction of its change.

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{queries, repeated};
use crate::tokens::insert_all;
use crate::value::{Arg, Row};
use claviger_proto::event::{Event, NumberedEvent};
use claviger_proto::follow::EventsRequest;
use claviger_proto::ids::EventId;
use claviger_proto::time::Timestamp;

/// Most events of one page.
pub const PAGE_EVENTS_MAX: i64 = 500;
/// Gaps looked up by one statement.
const GAPS_PER_STATEMENT: usize = 50;
/// Numbers among which the ones that are there are looked up by one statement.
const SPAN: i64 = 5_000;

queries! {
    INSERT_EVENT = "INSERT INTO CLV_EVENT (PAYLOAD, CREATED_AT) VALUES (?, ?)",
        Postgres = "INSERT INTO CLV_EVENT (PAYLOAD, CREATED_AT) VALUES (?, ?) RETURNING ID";
    INSERT_4_EVENTS = concat!("INSERT INTO CLV_EVENT (PAYLOAD, CREATED_AT) VALUES ", repeated!(4, "(?, ?)"));
    INSERT_16_EVENTS = concat!("INSERT INTO CLV_EVENT (PAYLOAD, CREATED_AT) VALUES ", repeated!(16, "(?, ?)"));
    INSERT_1_EVENT = "INSERT INTO CLV_EVENT (PAYLOAD, CREATED_AT) VALUES (?, ?)";
    LIST_AFTER = "SELECT ID, PAYLOAD FROM CLV_EVENT WHERE ID > ? ORDER BY ID LIMIT ?";
    LIST_GAPS = "SELECT ID, PAYLOAD FROM CLV_EVENT WHERE ID IN (\
                 ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
                 ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ORDER BY ID";
    LIST_IDS = "SELECT ID FROM CLV_EVENT WHERE ID >= ? AND ID <= ? ORDER BY ID";
    FIND_BOUNDS = "SELECT COALESCE((SELECT MIN(ID) FROM CLV_EVENT), 0), COALESCE((SELECT MAX(ID) FROM CLV_EVENT), 0)";
    FIND_LAST_BEFORE = "SELECT ID FROM CLV_EVENT WHERE CREATED_AT < ? ORDER BY ID DESC LIMIT 1";
}

impl Conn {
    /// Writes an event in the present transaction. Listeners of this process hear of it after the commit.
    pub async fn emit(&mut self, event: Event, now: Timestamp) -> Result<EventId, StoreError> {
        let payload = serde_json::to_string(&event).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let id = self.insert(&INSERT_EVENT, &[(&payload).into(), now.as_millis().into()]).await?;
        self.emitted.push(event);
        Ok(EventId(id))
    }

    /// [`Conn::emit`] of any number of events.
    pub async fn emit_all(&mut self, events: Vec<Event>, now: Timestamp) -> Result<(), StoreError> {
        let payloads = events.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
        let payloads = payloads.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let rows: Vec<_> = payloads.iter().map(|payload| [payload.into(), now.as_millis().into()]).collect();
        insert_all(self, [&INSERT_16_EVENTS, &INSERT_4_EVENTS, &INSERT_1_EVENT], &rows).await?;
        self.emitted.extend(events);
        Ok(())
    }

    /// Tells the listeners of this process after the commit, and nobody else: what no other process can have cached.
    pub fn tell(&mut self, event: Event) {
        self.emitted.push(event);
    }
}

/// Events for a follower: those in its gaps first, then those after its place, at most [`PAGE_EVENTS_MAX`] of the latter.
pub async fn list(conn: &mut Conn, request: &EventsRequest) -> Result<Vec<NumberedEvent>, StoreError> {
    let mut gaps: Vec<i64> = request.gaps.iter().map(|gap| gap.0).collect();
    gaps.sort_unstable();
    let mut events = Vec::new();
    let mut rest = gaps.as_slice();
    while let [first, ..] = rest {
        let (span, later) = rest.split_at(rest.partition_point(|gap| gap - first < SPAN));
        list_in(conn, span, &mut events).await?;
        rest = later;
    }
    let rows = conn.rows(&LIST_AFTER, &[request.after.into(), PAGE_EVENTS_MAX.into()]).await?;
    events.extend(rows.iter().filter_map(decode));
    Ok(events)
}

/// The events with these numbers, which stand close together. Of many (they are counted in strides) hardly one is there.
async fn list_in(conn: &mut Conn, gaps: &[i64], events: &mut Vec<NumberedEvent>) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (gaps.first(), gaps.last()) else { return Ok(()) };
    let mut wanted = gaps.to_vec();
    if gaps.len() > GAPS_PER_STATEMENT {
        let rows = conn.rows(&LIST_IDS, &[(*first).into(), (*last).into()]).await?;
        wanted = rows.iter().map(|row| row.int(0)).collect::<Result<_, _>>()?;
        wanted.retain(|id| gaps.binary_search(id).is_ok());
    }
    for ids in wanted.chunks(GAPS_PER_STATEMENT) {
        let mut args = [Arg::Int(Some(-1)); GAPS_PER_STATEMENT];
        for (arg, id) in args.iter_mut().zip(ids) {
            *arg = (*id).into();
        }
        events.extend(conn.rows(&LIST_GAPS, &args).await?.iter().filter_map(decode));
    }
    Ok(())
}

/// The newest event that was written before an instant, by its writer's clock.
pub async fn find_last_before(conn: &mut Conn, before: Timestamp) -> Result<Option<EventId>, StoreError> {
    let row = conn.row(&FIND_LAST_BEFORE, &[before.as_millis().into()]).await?;
    row.map(|row| row.int(0).map(EventId)).transpose()
}

/// Lowest and highest number in the log; zeros when it is empty.
pub async fn bounds(conn: &mut Conn) -> Result<(EventId, EventId), StoreError> {
    let row = conn.row(&FIND_BOUNDS, &[]).await?.ok_or_else(|| StoreError::Corrupt("no aggregate row".into()))?;
    Ok((EventId(row.int(0)?), EventId(row.int(1)?)))
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
