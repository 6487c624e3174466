//! How often a node looks at the log of events.
//!
//! Where nobody tells it of other nodes' events it looks at short intervals after it found some, and at ever longer ones up to
//! `events.poll_interval_ms` while there are none. That bound holds after a quiet night too, for a revocation on another node
//! is to be effective here within 50 ms: it is one look-up in the log's key, some thirty times a second. Where the database
//! tells it ([`super::courier`]), or where there is no other node (an embedded database), a look at
//! `events.slow_poll_interval_ms` finds what was lost on the way.

use crate::config::model::Events;
use std::time::Duration;

/// The first pause after news, and the least between two looks while one commit follows the other.
const PAUSE_MS_MIN: u64 = 10;
const GAP_MS: u64 = 5;

/// The intervals of `[events]`.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// Longest pause of a node that nobody tells anything.
    pub poll_ms: u64,
    /// Longest pause of one that is told.
    pub slow_poll_ms: u64,
}

impl From<&Events> for Intervals {
    fn from(events: &Events) -> Self {
        Self { poll_ms: events.poll_interval_ms, slow_poll_ms: events.slow_poll_interval_ms }
    }
}

/// The pauses between the looks of one node.
pub(super) struct Pace {
    intervals: Intervals,
    next_ms: u64,
}

/// What a look at the log showed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// There were events that had not been seen.
    pub(super) is_news: bool,
    /// Lower numbers are missing, and may come late.
    pub(super) has_gaps: bool,
}

impl Pace {
    /// Least time from one look to the next, whatever happens.
    pub(super) const GAP: Duration = Duration::from_millis(GAP_MS);

    pub(super) fn new(intervals: Intervals) -> Self {
        Self { intervals, next_ms: PAUSE_MS_MIN }
    }

    /// The longest pause after a look. Who is told of everything looks again soon only while something is missing.
    pub(super) fn after(&mut self, look: Look, is_told: bool) -> Duration {
        let bound = if is_told { self.intervals.slow_poll_ms } else { self.intervals.poll_ms };
        if look.is_news && (look.has_gaps || !is_told) {
            self.next_ms = PAUSE_MS_MIN;
        } else if look.is_news {
            self.next_ms = bound;
        }
        let pause_ms = self.next_ms.min(bound);
        self.next_ms = pause_ms.saturating_mul(2);
        Duration::from_millis(pause_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVALS: Intervals = Intervals { poll_ms: 30, slow_poll_ms: 1_000 };
    const NOTHING: Look = Look { is_news: false, has_gaps: false };
    const NEWS: Look = Look { is_news: true, has_gaps: false };
    const LATE: Look = Look { is_news: true, has_gaps: true };

    fn pauses(pace: &mut Pace, look: Look, is_told: bool) -> Vec<u128> {
        let mut pauses = vec![pace.after(look, is_told).as_millis()];
        pauses.extend((0..8).map(|_| pace.after(NOTHING, is_told).as_millis()));
        pauses
    }

    #[test]
    fn who_is_not_told_looks_often_after_news_and_never_less_than_the_bound() {
        let mut pace = Pace::new(INTERVALS);
        for _ in 0..2 {
            assert_eq!(pauses(&mut pace, NEWS, false), [10, 20, 30, 30, 30, 30, 30, 30, 30]);
        }
        let mut fast = Pace::new(Intervals { poll_ms: 1, ..INTERVALS });
        assert_eq!(fast.after(NEWS, false).as_millis(), 1);
    }

    #[test]
    fn who_is_told_looks_again_soon_only_for_what_is_missing() {
        let mut pace = Pace::new(INTERVALS);
        assert_eq!(pauses(&mut pace, NEWS, true), [1_000; 9]);
        assert_eq!(pauses(&mut pace, LATE, true), [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
    }

    #[test]
    fn who_is_told_no_longer_looks_at_once() {
        let mut pace = Pace::new(INTERVALS);
        pace.after(NEWS, true);
        assert_eq!(pace.after(NOTHING, false).as_millis(), 30);
        assert!(pace.after(NOTHING, true).as_millis() >= 30);
    }
}
