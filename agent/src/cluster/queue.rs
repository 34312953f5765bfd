//! A work queue: keys once each, in order, some of them later, some only when nothing else waits.

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
    /// Those that wait until no other is ready.
    last: BTreeSet<K>,
    working: BTreeSet<K>,
    /// Asked for again while being worked on; true: at once.
    again: BTreeMap<K, bool>,
    later: BTreeMap<K, Instant>,
    failures: BTreeMap<K, u32>,
}

impl<K: Ord + Clone> Default for Queue<K> {
    fn default() -> Self {
        Self {
            ready: BTreeSet::new(),
            last: BTreeSet::new(),
            working: BTreeSet::new(),
            again: BTreeMap::new(),
            later: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// Adds a key.
    pub fn add(&mut self, key: K) {
        self.later.remove(&key);
        self.last.remove(&key);
        if self.working.contains(&key) {
            self.again.insert(key, true);
        } else {
            self.ready.insert(key);
        }
    }

    /// Adds a key that can wait until no other is ready.
    pub fn add_last(&mut self, key: K) {
        if self.working.contains(&key) {
            self.again.entry(key).or_insert(false);
        } else if !self.ready.contains(&key) && !self.later.contains_key(&key) {
            self.last.insert(key);
        }
    }

    /// The next key, if one is ready; it counts as being worked on until [`Queue::done`].
    pub fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_first().or_else(|| self.last.pop_first())?;
        self.working.insert(key.clone());
        Some(key)
    }

    /// A key's work ended; on failure it comes again after a pause that doubles from 50 ms to 5 s.
    pub fn done(&mut self, key: K, ok: bool) {
        self.working.remove(&key);
        let again = self.again.remove(&key);
        if ok {
            self.failures.remove(&key);
        }
        if again == Some(true) {
            self.ready.insert(key);
        } else if ok {
            if again.is_some() {
                self.last.insert(key);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_can_wait_comes_last_and_once() {
        let mut q = Queue::default();
        q.add_last("a");
        q.add("c");
        q.add_last("c");
        q.add("b");
        assert_eq!(
            (q.take(), q.take(), q.take(), q.take()),
            (Some("b"), Some("c"), Some("a"), None)
        );
        // Asked for again while it is worked on, and others come first.
        q.add_last("b");
        q.add("d");
        q.done("b", true);
        assert_eq!((q.take(), q.take(), q.take()), (Some("d"), Some("b"), None));
        // What failed comes when its pause is over, however it is asked for.
        q.add_last("b");
        q.done("b", false);
        q.add_last("b");
        assert_eq!(q.take(), None);
        tokio::time::advance(FIRST).await;
        q.wake();
        assert_eq!(q.take(), Some("b"));
    }
}
