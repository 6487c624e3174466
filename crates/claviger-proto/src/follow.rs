//! The bookkeeping of a follower of the event log: from where to read on, and which numbers are still missing.
//!
//! Numbers are given out before a transaction commits, so number 7 can become visible after number 8. A follower
//! therefore remembers every gap and asks for it again until the event appears, or until it was asked for when no transaction
//! that took the number could still be alive ([`GAP_PATIENCE_MS`]); then the number was rolled back, or never given out (the
//! servers of a Galera cluster count in strides), and is forgotten.

use crate::ids::EventId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a gap is asked for: every write transaction ends within 30 s (`claviger-store` enforces it), and half as much more
/// until a server has noticed.
pub const GAP_PATIENCE_MS: i64 = 45_000;

/// Largest number of gaps that are tracked (some 1 000 events a second in strides of five, and a few MB); beyond it the follower
/// must take a snapshot.
pub const GAPS_MAX: usize = 200_000;

/// Gaps that a gateway asks for at once: they travel in a URL.
pub const GAPS_ASKED_MAX: usize = 500;

/// Most late numbers come within milliseconds: a gap is asked for with every question while it is that young.
const YOUNG_MS: i64 = 1_000;
/// Between two questions for an older gap.
const PAUSE_MS: i64 = 1_000;

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
    gaps: BTreeMap<i64, Gap>,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    since: Timestamp,
    /// When the last question was put that was answered without it.
    asked: Option<Timestamp>,
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

    /// What to ask for next, for who waits at the other end until there is something: every gap, or of very many those that
    /// were not asked for the longest.
    pub fn request(&self, gaps_max: usize) -> EventsRequest {
        let mut gaps: Vec<(Option<Timestamp>, i64)> = self.gaps.iter().map(|(id, gap)| (gap.asked, *id)).collect();
        if gaps.len() > gaps_max {
            gaps.select_nth_unstable(gaps_max);
            gaps.truncate(gaps_max);
            gaps.sort_unstable_by_key(|(_, id)| *id);
        }
        EventsRequest { after: EventId(self.after), gaps: gaps.into_iter().map(|(_, id)| EventId(id)).collect() }
    }

    /// What to ask for next, for who asks all the time: young gaps, and the others once a second.
    pub fn request_due(&self, now: Timestamp) -> EventsRequest {
        // A clock that was set back must not put a question off.
        let is_due = |gap: &Gap| {
            now.millis_since(gap.since) < YOUNG_MS
                || gap.asked.is_none_or(|asked| !(0..PAUSE_MS).contains(&now.millis_since(asked)))
        };
        let gaps = self.gaps.iter().filter(|(_, gap)| is_due(gap)).map(|(id, _)| EventId(*id));
        EventsRequest { after: EventId(self.after), gaps: gaps.collect() }
    }

    /// Gaps that are tracked.
    pub fn gaps(&self) -> usize {
        self.gaps.len()
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
        self.gaps.extend((self.after + 1..id.0).map(|gap| (gap, Gap { since: now, asked: None })));
        self.after = id.0;
        Ok(true)
    }

    /// Notes that the answer to a request was read, after its events were observed: forgets the gaps that no living
    /// transaction could fill any more when they were asked for.
    pub fn answered(&mut self, request: &EventsRequest, asked_at: Timestamp) {
        for id in &request.gaps {
            let Some(gap) = self.gaps.get_mut(&id.0) else { continue };
            gap.asked = Some(asked_at);
            if asked_at.millis_since(gap.since) >= GAP_PATIENCE_MS {
                self.gaps.remove(&id.0);
            }
        }
    }
}
