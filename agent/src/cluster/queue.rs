//! A work queue: keys once each, in order, some of them later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// First and longest pause before a key is tried again.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// Keys to work on. A key that is being worked on and is added again comes once more afterwards.
#[derive(Debug)]
pub struct Queue<K> {
    ready: BTreeSet<K>,
    working: BTreeSet<K>,
    again: BTreeSet<K>,
    later: BTreeMap<K, Instant>,
    failures: BTreeMap<K, u32>,
}

impl<K: Ord + Clone> Default for Queue<K> {
    fn default() -> Self {
        Self {
            ready: BTreeSet::new(),
            working: BTreeSet::new(),
            again: BTreeSet::new(),
            later: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// Adds a key.
    pub fn add(&mut self, key: K) {
        self.later.remove(&key);
        if self.working.contains(&key) {
            self.again.insert(key);
        } else {
            self.ready.insert(key);
        }
    }

    /// The next key, if one is ready; it counts as being worked on until [`Queue::done`].
    pub fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_first()?;
        self.working.insert(key.clone());
        Some(key)
    }

    /// A key's work ended; on failure it comes again after a pause that doubles from 50 ms to 5 s.
    pub fn done(&mut self, key: K, ok: bool) {
        self.working.remove(&key);
        if self.again.remove(&key) {
            self.ready.insert(key);
        } else if ok {
            self.failures.remove(&key);
        } else {
            let n = self.failures.entry(key.clone()).or_default();
            let pause = FIRST.saturating_mul(1 << (*n).min(10)).min(LONGEST);
            *n += 1;
            self.later.insert(key, Instant::now() + pause);
        }
    }

    /// When the next paused key is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.later.values().min().copied()
    }

    /// Makes the paused keys that are due ready.
    pub fn wake(&mut self) {
        let now = Instant::now();
        let due: Vec<K> = self
            .later
            .iter()
            .filter(|(_, t)| **t <= now)
            .map(|(k, _)| k.clone())
            .collect();
        for key in due {
            self.add(key);
        }
    }
}
