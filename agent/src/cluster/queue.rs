//! A work queue: keys once each, in order, some of them later, some only when nothing else waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// First and longest pause before a key is tried again.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// A key that waits for its time.
#[derive(Debug, Clone, Copy)]
struct Later {
    at: Instant,
    /// After a failure: nothing but [`Queue::add`] brings it sooner.
    failed: bool,
}

/// Keys to work on. A key that is being worked on and is added again comes once more afterwards.
#[derive(Debug)]
pub struct Queue<K> {
    ready: BTreeSet<K>,
    /// Those that wait until no other is ready.
    last: BTreeSet<K>,
    working: BTreeSet<K>,
    /// Asked for again while being worked on: at once (`None`), or within a time.
    again: BTreeMap<K, Option<Duration>>,
    later: BTreeMap<K, Later>,
    due: BTreeSet<(Instant, K)>,
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
            due: BTreeSet::new(),
            failures: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// Adds a key.
    pub fn add(&mut self, key: K) {
        self.expect_no_more(&key);
        self.last.remove(&key);
        if self.working.contains(&key) {
            self.again.insert(key, None);
        } else {
            self.ready.insert(key);
        }
    }

    /// Adds a key that can wait: for `delay` from now (less if it was asked for sooner), and then until no other is ready.
    pub fn add_within(&mut self, key: K, delay: Duration) {
        if self.working.contains(&key) {
            let again = self.again.entry(key).or_insert(Some(delay));
            *again = again.map(|d| d.min(delay));
        } else if !self.ready.contains(&key) && !self.last.contains(&key) {
            self.postpone(key, Instant::now() + delay, false);
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
        match again {
            Some(None) => {
                self.ready.insert(key);
            }
            Some(Some(delay)) if ok => self.postpone(key, Instant::now() + delay, false),
            None if ok => {}
            _ => {
                let n = self.failures.entry(key.clone()).or_default();
                let pause = FIRST.saturating_mul(1 << (*n).min(10)).min(LONGEST);
                *n += 1;
                self.postpone(key, Instant::now() + pause, true);
            }
        }
    }

    /// How many keys wait for their time.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.later.len()
    }

    /// When the next waiting key is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Makes the waiting keys that are due ready.
    pub fn wake(&mut self) {
        let now = Instant::now();
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.due.pop_first() else { break };
            match self.later.remove(&key) {
                Some(l) if l.failed => self.ready.insert(key),
                _ => self.last.insert(key),
            };
        }
    }

    /// The sooner of two times counts; a pause after a failure is kept.
    fn postpone(&mut self, key: K, at: Instant, failed: bool) {
        if let Some(l) = self.later.get(&key) {
            if l.failed || l.at <= at {
                return;
            }
            self.due.remove(&(l.at, key.clone()));
        }
        self.due.insert((at, key.clone()));
        self.later.insert(key, Later { at, failed });
    }

    fn expect_no_more(&mut self, key: &K) {
        if let Some(l) = self.later.remove(key) {
            self.due.remove(&(l.at, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn what_can_wait_waits_its_time_comes_last_and_once() {
        let mut q = Queue::default();
        q.add_within("a", WINDOW);
        q.add("c");
        q.add_within("c", WINDOW);
        q.add("b");
        assert_eq!((q.take(), q.take(), q.take()), (Some("b"), Some("c"), None));
        tokio::time::advance(WINDOW / 2).await;
        // Asked for again it does not wait longer.
        q.add_within("a", WINDOW);
        tokio::time::advance(WINDOW / 2).await;
        q.wake();
        // Others come first.
        q.add("d");
        assert_eq!((q.take(), q.take(), q.take()), (Some("d"), Some("a"), None));
        // Asked for again while it is worked on.
        q.add_within("b", WINDOW);
        q.done("b", true);
        assert_eq!(q.take(), None);
        // Asked for sooner it comes sooner.
        q.add_within("b", WINDOW / 10);
        tokio::time::advance(WINDOW / 10).await;
        q.wake();
        assert_eq!((q.take(), q.next_due()), (Some("b"), None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_comes_when_its_pause_is_over_however_it_is_asked_for() {
        let mut q = Queue::default();
        q.add("b");
        assert_eq!(q.take(), Some("b"));
        q.add_within("b", WINDOW);
        q.done("b", false);
        q.add_within("b", WINDOW);
        tokio::time::advance(WINDOW).await;
        q.wake();
        assert_eq!(q.take(), None);
        tokio::time::advance(FIRST - WINDOW).await;
        q.wake();
        assert_eq!(q.take(), Some("b"));
        // But what is new comes at once.
        q.done("b", false);
        q.add("b");
        assert_eq!((q.take(), q.next_due()), (Some("b"), None));
    }
}
