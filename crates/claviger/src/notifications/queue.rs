//! The events that a sender has in its memory, by lane: what is about one token is told in order, one event after another, and
//! lanes do not wait for each other. No clock, no I/O.

use claviger_store::notifications::Notification;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use tokio::time::Instant;

/// An event with its history in this process.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) row: Notification,
    /// Times that its body was refused.
    pub(super) refusals: u32,
    /// Times that the receiver failed at it while it took others.
    pub(super) failures: u32,
    /// Deliveries of the sender when the receiver last failed at it.
    pub(super) deliveries_seen: Option<u64>,
}

/// Events by lane.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Never empty lanes; the first of each is the next to be told, or on its way.
    lanes: HashMap<String, VecDeque<Waiting>>,
    /// Lanes whose first may be told and was not tried yet, in turn.
    ready: VecDeque<String>,
    /// Lanes whose first may be told again: they let the others go first, or what the receiver fails at would hold up the rest.
    tried: VecDeque<String>,
    /// Lanes whose first must wait, by the end of that; the number of the row makes it unique.
    paused: BTreeMap<(Instant, i64), String>,
    /// Rows that were read and are not removed yet.
    known: HashSet<i64>,
}

impl Queue {
    /// Rows in memory, with those that were told and are not removed yet.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes in what was read; returns how many of them were not known.
    pub(super) fn take(&mut self, rows: Vec<Notification>) -> usize {
        let before = self.known.len();
        for row in rows {
            if !self.known.insert(row.id) {
                continue;
            }
            let lane = self.lanes.entry(row.lane.clone()).or_default();
            if lane.is_empty() {
                self.ready.push_back(row.lane.clone());
            }
            // A number may be seen late; what is on its way already is not overtaken.
            let behind = lane.partition_point(|other| other.row.id < row.id).max(lane.len().min(1));
            lane.insert(behind, Waiting { row, refusals: 0, failures: 0, deliveries_seen: None });
        }
        self.known.len() - before
    }

    /// May something be told?
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty() || !self.tried.is_empty()
    }

    /// The next event to be told, of those that were not tried yet the oldest or the newest. Its lane waits for [`Self::done`],
    /// [`Self::again`] or [`Self::pause`].
    pub(super) fn next(&mut self, is_newest: bool) -> Option<Waiting> {
        let fresh = if is_newest { self.ready.pop_back() } else { self.ready.pop_front() };
        let lane = fresh.or_else(|| self.tried.pop_front())?;
        self.lanes.get(&lane)?.front().cloned()
    }

    /// The event needs nobody's attention any more but its row's removal.
    pub(super) fn done(&mut self, lane: &str) {
        let Some(waiting) = self.lanes.get_mut(lane) else { return };
        waiting.pop_front();
        if waiting.is_empty() {
            self.lanes.remove(lane);
        } else {
            self.ready.push_back(lane.to_owned());
        }
    }

    /// The event is told again when it is its lane's turn.
    pub(super) fn again(&mut self, event: Waiting) {
        let lane = event.row.lane.clone();
        self.replace(event);
        self.tried.push_back(lane);
    }

    /// As [`Self::again`], not before an instant.
    pub(super) fn pause(&mut self, event: Waiting, until: Instant) {
        let (id, lane) = (event.row.id, event.row.lane.clone());
        self.replace(event);
        self.paused.insert((until, id), lane);
    }

    fn replace(&mut self, event: Waiting) {
        if let Some(first) = self.lanes.get_mut(&event.row.lane).and_then(VecDeque::front_mut) {
            *first = event;
        }
    }

    /// Ends pauses that are over; the end of the next one.
    pub(super) fn wake(&mut self, now: Instant) -> Option<Instant> {
        while let Some(first) = self.paused.first_entry() {
            if first.key().0 > now {
                return Some(first.key().0);
            }
            self.tried.push_back(first.remove());
        }
        None
    }

    /// These rows are gone.
    pub(super) fn forget(&mut self, ids: &[i64]) {
        for id in ids {
            self.known.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use claviger_proto::time::Timestamp;
    use std::time::Duration;

    fn row(id: i64, lane: &str) -> Notification {
        let (created, expires_at) = (Timestamp::from_secs(1), Timestamp::NEVER);
        Notification { id, lane: lane.to_owned(), body: String::new(), created, expires_at }
    }

    fn ids(queue: &mut Queue) -> Vec<i64> {
        std::iter::from_fn(|| queue.next(false)).map(|event| event.row.id).collect()
    }

    #[test]
    fn a_lane_has_one_event_on_its_way() {
        let mut queue = Queue::default();
        assert_eq!(queue.take(vec![row(1, "a"), row(2, "b"), row(3, "a")]), 3);
        assert_eq!(queue.take(vec![row(1, "a"), row(3, "a"), row(4, "c")]), 1, "what is known is not taken twice");
        assert_eq!(ids(&mut queue), [1, 2, 4]);
        queue.done("b");
        assert!(!queue.is_ready(), "3 waits for 1");
        queue.done("a");
        assert_eq!(ids(&mut queue), [3]);
        assert_eq!(queue.take(vec![row(1, "a"), row(2, "b")]), 0, "told, but still there");
        queue.forget(&[1, 2]);
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn who_fails_lets_the_others_go_first_and_keeps_its_place_in_its_lane() {
        let mut queue = Queue::default();
        queue.take(vec![row(1, "a"), row(2, "a"), row(3, "b")]);
        let mut first = queue.next(false).unwrap();
        first.refusals = 1;
        queue.again(first);
        assert_eq!(queue.next(false).unwrap().row.id, 3);
        let mut first = queue.next(false).unwrap();
        assert_eq!((first.row.id, first.refusals), (1, 1));
        first.failures = 2;
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        queue.pause(first, later);
        assert_eq!(queue.wake(now), Some(later));
        assert!(!queue.is_ready(), "2 does not overtake 1");
        assert_eq!(queue.wake(later), None);
        assert_eq!(queue.next(false).map(|event| (event.row.id, event.failures)), Some((1, 2)));
    }

    #[test]
    fn what_was_not_tried_goes_before_what_was() {
        let mut queue = Queue::default();
        queue.take(vec![row(1, "a"), row(2, "b"), row(3, "c"), row(4, "d")]);
        let first = queue.next(false).unwrap();
        queue.again(first);
        assert_eq!(queue.next(true).unwrap().row.id, 4, "the newest");
        assert_eq!(ids(&mut queue), [2, 3, 1]);
    }

    #[test]
    fn a_late_number_does_not_overtake_what_is_on_its_way() {
        let mut queue = Queue::default();
        queue.take(vec![row(5, "a"), row(9, "a")]);
        assert_eq!(queue.next(false).unwrap().row.id, 5);
        queue.take(vec![row(3, "a"), row(7, "a")]);
        let mut told = Vec::new();
        loop {
            queue.done("a");
            match queue.next(false) {
                Some(event) => told.push(event.row.id),
                None => break,
            }
        }
        assert_eq!(told, [3, 7, 9]);
    }
}
