//! The bookkeeping of a follower of the event log: from where to read on, and which numbers are still missing.
//!
//! Numbers are given out before a transaction commits, so number 7 can become visible after number 8. A follower
//! therefore remembers every gap and asks for it again until the event appears, or until no transaction that took the
//! number can still be alive ([`GAP_PATIENCE_MS`]); then the number was rolled back and is forgotten.

use crate::ids::EventId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a gap is asked for. Every write transaction ends within 30 s (`claviger-store` enforces it), so four times
/// that leaves room for clock steps.
pub const GAP_PATIENCE_MS: i64 = 120_000;

/// Largest number of gaps that are tracked; beyond it the follower must take a snapshot.
pub const GAPS_MAX: usize = 10_000;

/// What a follower asks for: everything after `after`, and the numbers in `gaps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsRequest {
    /// Highest number seen.
    pub after: EventId,
    /// Lower numbers that have not been seen.
    pub gaps: Vec<EventId>,
}

/// The follower's place in the log.
#[derive(Clone, Debug)]
pub struct Cursor {
    after: i64,
    gaps: BTreeMap<i64, Timestamp>,
}

/// More gaps than a follower tracks: start again from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {GAPS_MAX} event numbers are missing")]
pub struct TooManyGaps;

impl Cursor {
    /// A follower that has seen everything up to and including `after`.
    pub fn new(after: EventId) -> Self {
        Self { after: after.0, gaps: BTreeMap::new() }
    }

    /// What to ask for next.
    pub fn request(&self) -> EventsRequest {
        EventsRequest { after: EventId(self.after), gaps: self.gaps.keys().copied().map(EventId).collect() }
    }

    /// The lowest number that may still be missing, minus one: a safe place to start again from.
    pub fn low_watermark(&self) -> EventId {
        EventId(self.gaps.keys().next().map_or(self.after, |gap| gap - 1))
    }

    /// Highest number seen.
    pub fn after(&self) -> EventId {
        EventId(self.after)
    }

    /// Notes a number that was read. Returns false when it had been seen before.
    pub fn observe(&mut self, id: EventId, now: Timestamp) -> Result<bool, TooManyGaps> {
        if id.0 <= self.after {
            return Ok(self.gaps.remove(&id.0).is_some());
        }
        let missing = usize::try_from(id.0 - self.after - 1).unwrap_or(usize::MAX);
        if self.gaps.len().saturating_add(missing) > GAPS_MAX {
            return Err(TooManyGaps);
        }
        self.gaps.extend((self.after + 1..id.0).map(|gap| (gap, now)));
        self.after = id.0;
        Ok(true)
    }

    /// Forgets the gaps that no living transaction can fill any more.
    pub fn expire(&mut self, now: Timestamp) {
        self.gaps.retain(|_, since| now.millis_since(*since) < GAP_PATIENCE_MS);
    }
}
