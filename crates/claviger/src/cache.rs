//! Read-through caches that cannot hand out what was changed before.
//!
//! Each entry carries the generation of its key at the moment its loading began; a change bumps the generation, and an
//! entry of an older generation is a miss. So an entry that a slow reader inserts after the change is dead on arrival:
//! there is no moment at which a revoked token could be found active (security.md 1, finding 3).

use quick_cache::sync::Cache;
use std::future::Future;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Counters by hash of a key. Keys that share a counter lose their entries together, which costs one read each.
const GENERATIONS: usize = 4096;
/// Turns to read, by hash of a key.
const TURNS: usize = 256;
/// Longest wait for such a turn: keys may share one, and a reader may have lost its database.
const TURN_MS_MAX: u64 = 2_000;
/// Age at which an entry is read again. Our own changes end it at once; an old node on the same database writes no events.
const AGE_MS_MAX: u64 = 30_000;

/// Generation counters of keys.
pub struct Generations {
    counters: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Default for Generations {
    fn default() -> Self {
        Self { counters: (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }
}

impl Generations {
    /// The present generation of a key.
    pub fn of<K: Hash>(&self, key: &K) -> u64 {
        self.counter(key).load(Ordering::Acquire)
    }

    /// Ends the present generation of a key.
    pub fn end<K: Hash>(&self, key: &K) {
        self.counter(key).fetch_add(1, Ordering::AcqRel);
    }

    fn counter<K: Hash>(&self, key: &K) -> &AtomicU64 {
        &self.counters[self.place(key, GENERATIONS)]
    }

    fn place<K: Hash>(&self, key: &K, places: usize) -> usize {
        usize::try_from(self.hasher.hash_one(key) % places as u64).unwrap_or(0)
    }
}

/// A bounded cache of values that were read from the database under a key.
pub struct ReadThrough<K, V> {
    entries: Cache<K, Entry<V>>,
    generations: Generations,
    turns: Box<[Mutex<()>]>,
    age_max: Duration,
}

struct Entry<V> {
    generation: u64,
    since: Instant,
    value: Arc<V>,
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self { generation: self.generation, since: self.since, value: self.value.clone() }
    }
}

impl<K: Hash + Eq + Clone, V> ReadThrough<K, V> {
    /// A cache of at most `entries_max` values.
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries: Cache::new(entries_max),
            generations: Generations::default(),
            turns: (0..TURNS).map(|_| Mutex::default()).collect(),
            age_max: Duration::from_millis(AGE_MS_MAX),
        }
    }

    /// The value as it is since its last change; `None` when it must be read.
    pub fn find(&self, key: &K) -> Option<Arc<V>> {
        let entry = self.entries.get(key)?;
        let is_current = entry.generation == self.generations.of(key) && entry.since.elapsed() < self.age_max;
        is_current.then_some(entry.value)
    }

    /// The value, read when it is not there. A miss of the database is not kept.
    pub async fn find_or_load<E, F>(&self, key: &K, load: impl FnOnce() -> F) -> Result<Option<Arc<V>>, E>
    where
        F: Future<Output = Result<Option<V>, E>>,
    {
        if let Some(value) = self.find(key) {
            return Ok(Some(value));
        }
        // Boxed: reading is the rare and long way, and the future of every caller would be as large.
        let generation = self.generations.of(key);
        let Some(value) = Box::pin(load()).await?.map(Arc::new) else { return Ok(None) };
        self.insert(key.clone(), generation, value.clone());
        Ok(Some(value))
    }

    /// [`Self::find_or_load`] of what is dear to read: who misses a value that another is reading waits for it, for a while.
    pub async fn find_or_load_once<E, F>(&self, key: &K, load: impl FnOnce() -> F) -> Result<Option<Arc<V>>, E>
    where
        F: Future<Output = Result<Option<V>, E>>,
    {
        if let Some(value) = self.find(key) {
            return Ok(Some(value));
        }
        let turn = self.turns[self.generations.place(key, TURNS)].lock();
        let _turn = tokio::time::timeout(Duration::from_millis(TURN_MS_MAX), turn).await.ok();
        // Whoever had the turn before may have read it; what was changed meanwhile is a miss.
        self.find_or_load(key, load).await
    }

    /// The present generation of a key, for [`Self::insert`].
    pub fn generation(&self, key: &K) -> u64 {
        self.generations.of(key)
    }

    /// Keeps a value that was read or made while `generation` was current.
    pub fn insert(&self, key: K, generation: u64, value: Arc<V>) {
        self.entries.insert(key, Entry { generation, since: Instant::now(), value });
    }

    /// The value under this key changed.
    pub fn forget(&self, key: &K) {
        self.generations.end(key);
        self.entries.remove(key);
    }

    /// Every value may have changed.
    pub fn forget_all(&self) {
        for counter in &self.generations.counters {
            counter.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lives_until_its_change_or_its_age() {
        let mut cache = ReadThrough::new(8);
        cache.insert("a", cache.generation(&"a"), Arc::new(1));
        assert_eq!(cache.find(&"a").as_deref(), Some(&1));
        let stale = cache.generation(&"a");
        cache.forget(&"a");
        cache.insert("a", stale, Arc::new(1));
        assert_eq!(cache.find(&"a"), None, "loaded before the change");
        cache.insert("a", cache.generation(&"a"), Arc::new(2));
        assert_eq!(cache.find(&"a").as_deref(), Some(&2));
        cache.age_max = Duration::ZERO;
        assert_eq!(cache.find(&"a"), None, "as old as an entry may become");
    }

    #[tokio::test]
    async fn those_who_miss_a_value_together_read_it_once() {
        let (cache, reads, gate) = (ReadThrough::new(8), AtomicU64::new(0), tokio::sync::Semaphore::new(0));
        let read = async || {
            let number = reads.fetch_add(1, Ordering::AcqRel) + 1;
            gate.acquire().await.map_err(|_| ())?.forget();
            Ok::<_, ()>(Some(number))
        };
        let ask = async || cache.find_or_load_once(&"a", read).await.unwrap().map(|value| *value);
        let open = async |places| gate.add_permits(places);
        let (first, second, third, ()) = tokio::join!(ask(), ask(), ask(), open(1));
        assert_eq!([first, second, third], [Some(1); 3]);
        // Changed while it is read: who waited reads it anew.
        cache.forget(&"a");
        let change = async || {
            cache.forget(&"a");
            gate.add_permits(2);
        };
        let (first, second, ()) = tokio::join!(ask(), ask(), change());
        assert_eq!([first, second], [Some(2), Some(3)]);
    }
}
