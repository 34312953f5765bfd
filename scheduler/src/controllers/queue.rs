//! A work queue: each key once, in the order of arrival; delays; retries that wait twice as long each time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// First wait after a failure.
const RETRY_FIRST: Duration = Duration::from_millis(10);
/// Longest wait after failures.
const RETRY_LAST: Duration = Duration::from_secs(5);

struct Inner<K> {
    ready: VecDeque<K>,
    queued: BTreeSet<K>,
    delayed: BTreeMap<K, Instant>,
    failures: BTreeMap<K, u32>,
}

/// A queue of keys for one worker.
pub(super) struct Queue<K> {
    inner: Mutex<Inner<K>>,
    wake: Notify,
}

impl<K: Ord + Clone> Queue<K> {
    pub(super) fn new() -> Self {
        let inner = Inner {
            ready: VecDeque::new(),
            queued: BTreeSet::new(),
            delayed: BTreeMap::new(),
            failures: BTreeMap::new(),
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
        let mut q = self.lock();
        if q.queued.insert(key.clone()) {
            q.ready.push_back(key);
            drop(q);
            self.wake.notify_one();
        }
    }

    /// Asks for `key` to be looked at after `delay`, or sooner if it was asked for already.
    pub(super) fn add_after(&self, key: K, delay: Duration) {
        let at = Instant::now() + delay;
        let mut q = self.lock();
        let known = q.delayed.get(&key).copied();
        if known.is_none_or(|k| at < k) {
            q.delayed.insert(key, at);
            drop(q);
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

    /// The next key, when there is one.
    pub(super) async fn pop(&self) -> K {
        loop {
            let next = {
                let mut q = self.lock();
                let now = Instant::now();
                let mut due: Vec<(Instant, K)> = q
                    .delayed
                    .iter()
                    .filter(|(_, at)| **at <= now)
                    .map(|(k, at)| (*at, k.clone()))
                    .collect();
                due.sort();
                for (_, key) in due {
                    q.delayed.remove(&key);
                    if q.queued.insert(key.clone()) {
                        q.ready.push_back(key);
                    }
                }
                if let Some(key) = q.ready.pop_front() {
                    q.queued.remove(&key);
                    return key;
                }
                q.delayed.values().min().copied()
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

    #[tokio::test(start_paused = true)]
    async fn keys_come_once_in_order_and_delays_in_time() {
        let q = Queue::new();
        q.add_after("late", Duration::from_secs(5));
        q.add("a");
        q.add("b");
        q.add("a");
        assert_eq!((q.pop().await, q.pop().await), ("a", "b"));
        let start = Instant::now();
        q.add_after("late", Duration::from_secs(60));
        assert_eq!(q.pop().await, "late");
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        for wait in [10, 20, 40] {
            let start = Instant::now();
            q.retry("x");
            assert_eq!(q.pop().await, "x");
            assert_eq!(start.elapsed(), Duration::from_millis(wait));
        }
    }
}
