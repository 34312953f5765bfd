//! The timer of virtual time: it moves tokio's paused clock to instants between the milliseconds.
//!
//! How tokio's paused clock moves (1.54, `runtime/time/mod.rs`, `park_thread_timeout`): when no task can run, it
//! jumps by a whole number of milliseconds to the next timer of the wheel. A clock that stands between two
//! milliseconds therefore stays between them, and every timer fires late by that fraction. So the driver owns each
//! millisecond that has a deadline inside: it sleeps on tokio's wheel to the beginning of that millisecond, lets
//! everything else that was woken there run, then moves the clock from deadline to deadline with
//! `tokio::time::advance`, letting all tasks come to rest after each, and leaves the clock at the next whole
//! millisecond. Tokio's own timers never see a fraction.
//!
//! "Come to rest": `yield_now` returns when the run queue is empty or after 61 polls (`event_interval`), so it is
//! repeated some times, and on while the network is busy. Should a longer burst of polls without network activity go
//! unseen (or a task that yields again and again), a task sees the clock a fraction of a millisecond late; it is the
//! same fraction in every run. A deadline costs some 20 to 40 microseconds of real time.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::Key;

const TICK: Duration = Duration::from_millis(1);
/// Rounds of the run queue after each step of the clock: at least, and at most while the network is busy.
const ROUNDS: std::ops::Range<u32> = 8..256;

thread_local! {
    static ACTIVITY: Cell<u64> = const { Cell::new(0) };
}

/// Called when a connection moves bytes, or a wait begins: there may be more to run at this instant.
pub(crate) fn note_activity() {
    ACTIVITY.set(ACTIVITY.get().wrapping_add(1));
}

pub(super) struct Driver {
    /// An instant at a whole millisecond of tokio's wheel.
    anchor: Instant,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    by_time: BTreeMap<Key, Waker>,
    registered: u64,
    /// The driver task, when it waits for an earlier deadline than the one it knows.
    driver: Option<Waker>,
}

impl Driver {
    /// A driver, its task spawned in the current runtime (and gone with it).
    pub(super) fn start() -> Arc<Self> {
        // The clock of a runtime that started paused stands at a whole millisecond, unless a driver moved it, and
        // there is one driver per runtime.
        let driver = Arc::new(Self {
            anchor: Instant::now(),
            waiting: Mutex::default(),
        });
        tokio::spawn(driver.clone().run());
        driver
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn register(&self, deadline: Instant, key: Option<Key>, waker: &Waker) -> Key {
        note_activity();
        let mut w = self.lock();
        let key = key.unwrap_or_else(|| {
            w.registered += 1;
            (deadline, w.registered)
        });
        w.by_time.insert(key, waker.clone());
        let first = w.by_time.first_key_value().map(|(k, _)| *k) == Some(key);
        let driver = if first { w.driver.take() } else { None };
        drop(w);
        if let Some(d) = driver {
            d.wake();
        }
        key
    }

    pub(super) fn remove(&self, key: Key) {
        self.lock().by_time.remove(&key);
    }

    fn first(&self) -> Option<Instant> {
        self.lock().by_time.first_key_value().map(|(k, _)| k.0)
    }

    /// The beginning of the millisecond that `at` lies in.
    fn tick_of(&self, at: Instant) -> Instant {
        let since = at.saturating_duration_since(self.anchor);
        self.anchor + Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    async fn run(self: Arc<Self>) {
        loop {
            let tick = self.reach_tick().await;
            rest().await;
            while let Some(at) = self.first().filter(|at| *at < tick + TICK) {
                let now = Instant::now();
                if at > now {
                    tokio::time::advance(at - now).await;
                }
                self.fire();
                rest().await;
            }
            let now = Instant::now();
            if self.tick_of(now) != now {
                tokio::time::advance(self.tick_of(now) + TICK - now).await;
            }
        }
    }

    /// Waits until the clock stands in the millisecond of the first deadline; returns its beginning.
    async fn reach_tick(&self) -> Instant {
        loop {
            let first = poll_fn(|cx| {
                let mut w = self.lock();
                match w.by_time.first_key_value() {
                    Some((k, _)) => Poll::Ready(k.0),
                    None => {
                        w.driver = Some(cx.waker().clone());
                        Poll::Pending
                    }
                }
            })
            .await;
            let tick = self.tick_of(first);
            if tick <= Instant::now() {
                return tick;
            }
            let other = poll_fn(|cx| {
                let mut w = self.lock();
                if w.by_time.first_key_value().is_none_or(|(k, _)| k.0 != first) {
                    return Poll::Ready(());
                }
                w.driver = Some(cx.waker().clone());
                Poll::Pending
            });
            tokio::select! {
                biased;
                () = other => {}
                () = tokio::time::sleep_until(tick) => {}
            }
        }
    }

    /// Wakes everyone whose deadline has come, in the order of deadline and registration.
    fn fire(&self) {
        let now = Instant::now();
        let mut w = self.lock();
        let mut due = Vec::new();
        while let Some(e) = w.by_time.first_entry().filter(|e| e.key().0 <= now) {
            due.push(e.remove());
        }
        drop(w);
        due.into_iter().for_each(Waker::wake);
    }
}

/// Lets all other tasks run until nothing happens at this instant any more.
async fn rest() {
    for round in 0..ROUNDS.end {
        let before = ACTIVITY.get();
        tokio::task::yield_now().await;
        if round + 1 >= ROUNDS.start && ACTIVITY.get() == before {
            break;
        }
    }
}
