//! How fast a listener is told: many events at once while it takes them; while it does not, one try after ever longer pauses.

use claviger_proto::entropy::Entropy;
use std::time::Duration;
use tokio::time::Instant;

/// Posts under way at once.
pub(super) const CONCURRENT_MAX: usize = 64;
/// The first pause, and the longest. An endpoint that is back is found after this at the latest.
const PAUSE_MS: u64 = 100;
const PAUSE_MS_MAX: u64 = 10_000;

/// The pace of one listener.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Tries that failed since the endpoint took the last event.
    tries: u32,
    /// The endpoint takes nothing; the next try is then.
    away_until: Option<Instant>,
    is_probed: bool,
}

/// A post's part in the bookkeeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Post {
    /// One of many.
    Ordinary,
    /// The one that finds out whether the endpoint is back.
    Probe,
}

impl Pace {
    /// May another post begin, beside so many?
    pub(super) fn begin(&mut self, under_way: usize, now: Instant) -> Option<Post> {
        match self.away_until {
            None => (under_way < CONCURRENT_MAX).then_some(Post::Ordinary),
            Some(until) if !self.is_probed && until <= now => {
                self.is_probed = true;
                Some(Post::Probe)
            }
            Some(_) => None,
        }
    }

    /// Nothing was posted after all.
    pub(super) fn not_begun(&mut self, post: Post) {
        self.is_probed &= post != Post::Probe;
    }

    /// The endpoint answered to an event of its own; true when it was away.
    pub(super) fn answered(&mut self) -> bool {
        let was_away = self.is_away();
        *self = Self::default();
        was_away
    }

    /// A post failed as every other would; true when that is news.
    pub(super) fn failed(&mut self, post: Post, now: Instant, rng: &dyn Entropy) -> bool {
        let is_news = self.away_until.is_none();
        // What was under way when the first failed says nothing new.
        if is_news || post == Post::Probe {
            self.is_probed = false;
            self.tries += 1;
            self.away_until = Some(now + pause(self.tries, rng));
        }
        is_news
    }

    /// When the next try may begin, while the endpoint is away and nobody tries.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.away_until.filter(|_| !self.is_probed)
    }

    /// Does the endpoint take nothing?
    pub(super) fn is_away(&self) -> bool {
        self.away_until.is_some()
    }

    /// Tries that failed since it took the last event.
    pub(super) fn tries(&self) -> u32 {
        self.tries
    }
}

/// The pause after so many tries: twice as long each time, less up to a half, so that several senders do not come together.
pub(super) fn pause(tries: u32, rng: &dyn Entropy) -> Duration {
    let whole_ms = PAUSE_MS.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(PAUSE_MS_MAX);
    let mut bytes = [0; 2];
    rng.fill(&mut bytes);
    let less_ms = whole_ms / 2 * u64::from(u16::from_le_bytes(bytes)) / u64::from(u16::MAX);
    Duration::from_millis(whole_ms - less_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Always(u8);

    impl Entropy for Always {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let of = |tries, byte| pause(tries, &Always(byte)).as_millis();
        assert_eq!([1, 2, 3, 7, 8, 100].map(|tries| of(tries, 0)), [100, 200, 400, 6_400, 10_000, 10_000]);
        assert_eq!([1, 2, 8].map(|tries| of(tries, 255)), [50, 100, 5_000]);
    }

    #[test]
    fn an_endpoint_that_is_away_is_tried_by_one() {
        let (rng, now) = (Always(0), Instant::now());
        let mut pace = Pace::default();
        assert_eq!(pace.begin(CONCURRENT_MAX - 1, now), Some(Post::Ordinary));
        assert_eq!(pace.begin(CONCURRENT_MAX, now), None);
        assert!(pace.failed(Post::Ordinary, now, &rng));
        assert!(!pace.failed(Post::Ordinary, now, &rng), "the others of the same moment");
        assert_eq!((pace.tries(), pace.begin(0, now)), (1, None));
        let later = pace.next_try().unwrap();
        assert_eq!(pace.begin(63, later), Some(Post::Probe));
        assert_eq!((pace.begin(1, later), pace.next_try()), (None, None));
        assert!(!pace.failed(Post::Probe, later, &rng));
        assert_eq!(pace.next_try(), Some(later + Duration::from_millis(200)));
        assert!(pace.answered() && !pace.is_away() && !pace.answered());
        assert_eq!(pace.begin(0, later), Some(Post::Ordinary));
    }
}
