//! Who goes into the next transaction.

use claviger_proto::ids::ConsumerKeyId;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Transactions at a time. One beside others begins when it is full, or when the others take long.
const TRANSACTIONS_MAX: usize = 8;
/// A transaction that is under way for so long holds nobody up.
const LONG_MS: u64 = 20;

/// What waits.
pub(super) trait Request {
    /// Whose token is asked for.
    fn client(&self) -> ConsumerKeyId;
    /// Takes it into a transaction; false when nobody waits for it any more.
    fn take(&self) -> bool;
}

/// Requests that wait, each of them a request in flight, of which there is a bounded number.
pub(super) struct Queue<R> {
    places_max: usize,
    free: VecDeque<R>,
    /// Those whose client is in a transaction under way: two that want the same client would get in each other's way.
    behind: HashMap<ConsumerKeyId, Vec<R>>,
    busy: HashSet<ConsumerKeyId>,
    count: usize,
    last_begun: Option<Instant>,
}

impl<R: Request> Queue<R> {
    /// Nobody waits. A transaction takes `places_max` requests.
    pub(super) fn new(places_max: usize) -> Self {
        let (free, behind, busy) = Default::default();
        Self { places_max, free, behind, busy, count: 0, last_begun: None }
    }

    /// Joins those that wait; the requests of a transaction that is to begin now, if one is.
    pub(super) fn join(&mut self, request: R, now: Instant) -> Vec<R> {
        if self.busy.contains(&request.client()) {
            self.behind.entry(request.client()).or_default().push(request);
            return Vec::new();
        }
        self.free.push_back(request);
        let is_long = self.last_begun.is_none_or(|begun| now.duration_since(begun) >= Duration::from_millis(LONG_MS));
        let is_worth_it = self.free.len() >= self.places_max || is_long;
        if self.count == 0 || (self.count < TRANSACTIONS_MAX && is_worth_it) { self.begin(now) } else { Vec::new() }
    }

    /// The requests of the next transaction; none when nobody waits.
    pub(super) fn begin(&mut self, now: Instant) -> Vec<R> {
        let mut taken = Vec::new();
        let mut clients = HashSet::new();
        while taken.len() < self.places_max
            && let Some(request) = self.free.pop_front()
        {
            if self.busy.contains(&request.client()) {
                self.behind.entry(request.client()).or_default().push(request);
            } else if request.take() {
                clients.insert(request.client());
                taken.push(request);
            }
        }
        if !taken.is_empty() {
            self.busy.extend(clients);
            self.last_begun = Some(now);
            self.count += 1;
        }
        taken
    }

    /// A transaction goes on as several, each for some of its clients.
    pub(super) fn split(&mut self, into: usize) {
        self.count = self.count + into - 1;
    }

    /// A transaction for these clients is over.
    pub(super) fn end(&mut self, clients: &HashSet<ConsumerKeyId>) {
        self.count -= 1;
        self.release(clients);
    }

    /// These clients are in no transaction any more.
    pub(super) fn release(&mut self, clients: &HashSet<ConsumerKeyId>) {
        for client in clients {
            self.busy.remove(client);
            self.free.extend(self.behind.remove(client).into_iter().flatten());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Asked {
        client: i64,
        is_gone: Cell<bool>,
    }

    impl Request for &Asked {
        fn client(&self) -> ConsumerKeyId {
            ConsumerKeyId(self.client)
        }

        fn take(&self) -> bool {
            !self.is_gone.replace(true)
        }
    }

    fn asked(clients: impl IntoIterator<Item = i64>) -> Vec<Asked> {
        clients.into_iter().map(|client| Asked { client, is_gone: Cell::new(false) }).collect()
    }

    fn clients(requests: &[&Asked]) -> Vec<i64> {
        requests.iter().map(|request| request.client).collect()
    }

    fn set(clients: &[i64]) -> HashSet<ConsumerKeyId> {
        clients.iter().copied().map(ConsumerKeyId).collect()
    }

    #[test]
    fn who_comes_meanwhile_goes_into_the_next() {
        let (all, now) = (asked([1, 2, 3, 2]), Instant::now());
        let mut queue = Queue::new(3);
        assert_eq!(clients(&queue.join(&all[0], now)), [1]);
        assert!(queue.join(&all[1], now).is_empty());
        assert!(queue.join(&all[2], now).is_empty());
        // Full: it begins beside the first.
        assert_eq!(clients(&queue.join(&all[3], now)), [2, 3, 2]);
        queue.end(&set(&[1]));
        assert!(queue.begin(now).is_empty());
    }

    #[test]
    fn a_client_is_in_one_transaction_at_a_time() {
        let (all, now) = (asked([1, 1, 2]), Instant::now());
        let later = now + Duration::from_millis(LONG_MS);
        let mut queue = Queue::new(2);
        assert_eq!(clients(&queue.join(&all[0], now)), [1]);
        assert!(queue.join(&all[1], later).is_empty());
        assert_eq!(clients(&queue.join(&all[2], later)), [2], "the first takes long and holds nobody up");
        queue.end(&set(&[1]));
        assert_eq!(clients(&queue.begin(later)), [1]);
    }

    #[test]
    fn what_does_not_fit_waits_behind_its_client() {
        let (all, now) = (asked([1, 1, 1]), Instant::now());
        let mut queue = Queue::new(2);
        queue.free.extend(&all);
        assert_eq!(queue.begin(now).len(), 2);
        assert!(queue.begin(now).is_empty());
        queue.end(&set(&[1]));
        assert_eq!(queue.begin(now).len(), 1);
    }

    #[test]
    fn nobody_works_for_those_who_left() {
        let (all, now) = (asked([1, 2]), Instant::now());
        all[1].is_gone.set(true);
        let mut queue = Queue::new(2);
        queue.free.extend(&all);
        assert_eq!(clients(&queue.begin(now)), [1]);
        queue.end(&set(&[1]));
        assert!(queue.begin(now).is_empty());
        assert!(queue.busy.is_empty() && queue.count == 0);
    }

    #[test]
    fn a_transaction_may_go_on_for_some_of_its_clients() {
        let (all, now) = (asked([1, 2, 2, 1]), Instant::now());
        let mut queue = Queue::new(2);
        queue.free.extend(&all[..2]);
        assert_eq!(queue.begin(now).len(), 2);
        queue.release(&set(&[1]));
        assert!(queue.join(&all[2], now).is_empty(), "its client is still busy");
        assert!(queue.join(&all[3], now).is_empty(), "not full, and another one is under way");
        queue.end(&set(&[2]));
        assert_eq!(clients(&queue.begin(now)), [1, 2]);
    }
}
