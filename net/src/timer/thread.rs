//! The timer of real time: one thread that sleeps until the next deadline.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use tokio::time::Instant;

use super::Key;

pub(super) struct Thread {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    by_time: BTreeMap<Key, Waker>,
    registered: u64,
}

/// The thread, started at the first use.
pub(super) fn shared() -> &'static Thread {
    static SHARED: OnceLock<&'static Thread> = OnceLock::new();
    SHARED.get_or_init(|| {
        let thread: &'static Thread = Box::leak(Box::new(Thread {
            waiting: Mutex::default(),
            changed: Condvar::new(),
        }));
        std::thread::Builder::new()
            .name("cfn-timer".to_owned())
            .spawn(move || thread.run())
            .expect("a process that cannot start one thread cannot run a testbed");
        thread
    })
}

impl Thread {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn register(&self, deadline: Instant, key: Option<Key>, waker: &Waker) -> Key {
        let mut w = self.lock();
        let key = key.unwrap_or_else(|| {
            w.registered += 1;
            (deadline, w.registered)
        });
        w.by_time.insert(key, waker.clone());
        let first = w.by_time.first_key_value().map(|(k, _)| *k) == Some(key);
        drop(w);
        if first {
            self.changed.notify_one();
        }
        key
    }

    pub(super) fn remove(&self, key: Key) {
        self.lock().by_time.remove(&key);
    }

    fn run(&self) {
        let mut w = self.lock();
        loop {
            // Outside a runtime this is the operating system's clock.
            let now = Instant::now();
            let mut due = Vec::new();
            while let Some(e) = w.by_time.first_entry().filter(|e| e.key().0 <= now) {
                due.push(e.remove());
            }
            if !due.is_empty() {
                drop(w);
                due.into_iter().for_each(Waker::wake);
                w = self.lock();
                continue;
            }
            w = match w.by_time.first_key_value().map(|(k, _)| k.0 - now) {
                Some(wait) => {
                    self.changed
                        .wait_timeout(w, wait)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.changed.wait(w).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}
