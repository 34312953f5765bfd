//! A work queue: each key once, by priority and then in the order of arrival; a key that is being worked on waits for
//! its turn; delays; retries that wait twice as long each time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// First wait after a failure.
const RETRY_FIRST: Duration = Duration::from_millis(10);
/// Longest wait after failures.
const RETRY_LAST: Duration = Duration::from_secs(5);

/// A place in the queue: the highest priority first, then who came first.
type Place = (Reverse<i32>, u64);

struct Inner<K> {
    ready: BTreeMap<Place, K>,
    queued: BTreeMap<K, Place>,
    /// Taken and not yet done; true: asked for again meanwhile, with that priority.
    working: BTreeMap<K, Option<i32>>,
    delayed: BTreeMap<K, Instant>,
    due: BTreeSet<(Instant, K)>,
    failures: BTreeMap<K, u32>,
    arrivals: u64,
}

impl<K: Ord + Clone> Inner<K> {
    /// Whether somebody must be woken.
    fn push(&mut self, key: K, priority: i32) -> bool {
        if let Some(again) = self.working.get_mut(&key) {
            *again = Some(again.map_or(priority, |p| p.max(priority)));
            return false;
        }
        if let Some(at) = self.queued.get(&key).copied() {
            if at.0.0 >= priority {
                return false;
            }
            self.ready.remove(&at);
        }
        self.arrivals += 1;
        let place = (Reverse(priority), self.arrivals);
        self.queued.insert(key.clone(), place);
        self.ready.insert(place, key);
        true
    }

    fn delay(&mut self, key: K, at: Instant) -> bool {
        let known = self.delayed.get(&key).copied();
        if known.is_some_and(|k| k <= at) {
            return false;
        }
        if let Some(k) = known {
            self.due.remove(&(k, key.clone()));
        }
        self.due.insert((at, key.clone()));
        self.delayed.insert(key, at);
        true
    }
}

/// A queue of keys for one controller.
pub(super) struct Queue<K> {
    inner: Mutex<Inner<K>>,
    wake: Notify,
}

impl<K: Ord + Clone> Queue<K> {
    pub(super) fn new() -> Self {
        let inner = Inner {
            ready: BTreeMap::new(),
            queued: BTreeMap::new(),
            working: BTreeMap::new(),
            delayed: BTreeMap::new(),
            due: BTreeSet::new(),
            failures: BTreeMap::new(),
            arrivals: 0,
        };
        Self {
            inner: Mutex::new(inner),
            wake: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for `key` to be looked at; nothing if it already waits for its turn.
    pub(super) fn add(&self, key: K) {
        self.add_with(key, 0);
    }

    /// The same, before all of lower priority.
    pub(super) fn add_with(&self, key: K, priority: i32) {
        if self.lock().push(key, priority) {
            self.wake.notify_one();
        }
    }

    /// Asks for `key` to be looked at after `delay`, or sooner if it was asked for already.
    pub(super) fn add_after(&self, key: K, delay: Duration) {
        if self.lock().delay(key, Instant::now() + delay) {
            self.wake.notify_one();
        }
    }

    /// After a failure: again, later each time.
    pub(super) fn retry(&self, key: K) {
        let n = {
            let mut q = self.lock();
            let n = q.failures.entry(key.clone()).or_default();
            *n += 1;
            *n
        };
        self.add_after(key, RETRY_FIRST.saturating_mul(1 << (n - 1).min(16)).min(RETRY_LAST));
    }

    /// After a success: the next failure is the first again.
    pub(super) fn forget(&self, key: &K) {
        self.lock().failures.remove(key);
    }

    /// A key's work ended: it may be taken again.
    pub(super) fn done(&self, key: &K) {
        let mut q = self.lock();
        if let Some(Some(priority)) = q.working.remove(key)
            && q.push(key.clone(), priority)
        {
            self.wake.notify_one();
        }
    }

    /// Whether nothing waits for its turn or is being worked on (what is delayed does not count).
    pub(super) fn idle(&self) -> bool {
        let q = self.lock();
        q.ready.is_empty() && q.working.is_empty()
    }

    /// The next key, when there is one. It counts as being worked on until [`Queue::done`].
    pub(super) async fn pop(&self) -> K {
        loop {
            let next = {
                let mut q = self.lock();
                let now = Instant::now();
                while q.due.first().is_some_and(|(at, _)| *at <= now) {
                    if let Some((_, key)) = q.due.pop_first() {
                        q.delayed.remove(&key);
                        q.push(key, 0);
                    }
                }
                if let Some((_, key)) = q.ready.pop_first() {
                    q.queued.remove(&key);
                    q.working.insert(key.clone(), None);
                    return key;
                }
                q.due.first().map(|(at, _)| *at)
            };
            match next {
                None => self.wake.notified().await,
                Some(at) => tokio::select! {
                    biased;
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next<K: Ord + Clone>(q: &Queue<K>) -> K {
        let key = q.pop().await;
        q.done(&key);
        key
    }

    #[tokio::test(start_paused = true)]
    async fn keys_come_once_in_order_and_delays_in_time() {
        let q = Queue::new();
        q.add_after("late", Duration::from_secs(5));
        q.add("a");
        q.add("b");
        q.add("a");
        assert_eq!((next(&q).await, next(&q).await), ("a", "b"));
        let start = Instant::now();
        q.add_after("late", Duration::from_secs(60));
        assert_eq!(next(&q).await, "late");
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        for wait in [10, 20, 40] {
            let start = Instant::now();
            q.retry("x");
            assert_eq!(next(&q).await, "x");
            assert_eq!(start.elapsed(), Duration::from_millis(wait));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_higher_priority_goes_first_and_nobody_is_served_twice_at_once() {
        let q = Queue::new();
        q.add("a");
        q.add_with("b", 5);
        q.add("c");
        q.add_with("c", 9);
        let c = q.pop().await;
        q.add(c);
        assert_eq!((c, next(&q).await, next(&q).await), ("c", "b", "a"));
        assert!(!q.idle());
        q.done(&c);
        assert_eq!(next(&q).await, "c");
        assert!(q.idle());
    }
}
