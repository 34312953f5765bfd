//! Waiting with finer grain than tokio's wheel, which rounds every deadline up to a whole millisecond: a link of
//! 9.4 ms must take 9.4 ms.
//!
//! Which timer a wait uses is decided by the runtime it is polled in, once per runtime at its first wait:
//! * A current-thread runtime whose clock is paused (`start_paused`, the simulated lane): virtual time. A driver
//!   task moves tokio's clock to the exact instant; see `timer/exact.rs`. No thread, no randomness.
//! * Any other: real time. One thread per process wakes the waiters, accurate to some 60 to 100 microseconds (the
//!   kernel's timer slack).

mod exact;
mod thread;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Handle, Id, RuntimeFlavor};
use tokio::time::Instant;

pub(crate) use exact::note_activity;

/// Waits until `deadline`, exactly (virtual time) or to about 0.1 ms (real time).
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, armed: None }
}

/// A wait; see [`sleep_until`]. Dropping it ends the wait.
pub struct Sleep {
    deadline: Instant,
    armed: Option<(Timer, Key)>,
}

/// Deadline, then order of registration.
type Key = (Instant, u64);

#[derive(Clone)]
enum Timer {
    Thread,
    Exact(Arc<exact::Driver>),
}

impl Timer {
    /// Registers `waker` under `key`, or under a new key when there is none.
    fn register(&self, deadline: Instant, key: Option<Key>, waker: &Waker) -> Key {
        match self {
            Timer::Thread => thread::shared().register(deadline, key, waker),
            Timer::Exact(d) => d.register(deadline, key, waker),
        }
    }

    fn remove(&self, key: Key) {
        match self {
            Timer::Thread => thread::shared().remove(key),
            Timer::Exact(d) => d.remove(key),
        }
    }
}

impl Sleep {
    /// When it ends.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            self.disarm();
            return Poll::Ready(());
        }
        let (timer, key) = match self.armed.take() {
            Some((timer, key)) => (timer, Some(key)),
            None => (current(), None),
        };
        let key = timer.register(self.deadline, key, cx.waker());
        self.armed = Some((timer, key));
        Poll::Pending
    }
}

impl Sleep {
    fn disarm(&mut self) {
        if let Some((timer, key)) = self.armed.take() {
            timer.remove(key);
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}

impl std::fmt::Debug for Sleep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

enum Known {
    Thread,
    Exact(Weak<exact::Driver>),
}

thread_local! {
    /// The timer of the runtime that this thread runs now: two networks in one runtime must share the driver, or
    /// each would move the clock past the other's deadlines.
    static KNOWN: RefCell<Option<(Id, Known)>> = const { RefCell::new(None) };
}

fn current() -> Timer {
    let handle = Handle::current();
    KNOWN.with_borrow_mut(|known| {
        match known {
            Some((id, Known::Thread)) if *id == handle.id() => return Timer::Thread,
            Some((id, Known::Exact(d))) if *id == handle.id() => {
                if let Some(d) = d.upgrade() {
                    return Timer::Exact(d);
                }
            }
            _ => {}
        }
        if handle.runtime_flavor() == RuntimeFlavor::CurrentThread && clock_stands() {
            let driver = exact::Driver::start();
            *known = Some((handle.id(), Known::Exact(Arc::downgrade(&driver))));
            Timer::Exact(driver)
        } else {
            *known = Some((handle.id(), Known::Thread));
            Timer::Thread
        }
    })
}

/// Whether tokio's clock is paused, which it does not tell: a running clock, of nanoseconds, moves within this many
/// looks at it (several microseconds), a paused one never does while a task runs.
fn clock_stands() -> bool {
    let first = Instant::now();
    (0..500).all(|_| Instant::now() == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn real_waits_are_finer_than_a_millisecond() {
        let mut best = Duration::MAX;
        for _ in 0..50 {
            let t = Instant::now();
            sleep_until(t + Duration::from_micros(300)).await;
            assert!(t.elapsed() >= Duration::from_micros(300), "never early");
            best = best.min(t.elapsed());
        }
        assert!(best < Duration::from_micros(900), "{best:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn virtual_waits_end_at_their_instant_in_order() {
        let start = Instant::now();
        let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
        for us in [2500_u64, 100, 1000, 2499, 2500, 50_000, 999, 1001] {
            let tx = tx.clone();
            tokio::spawn(async move {
                sleep_until(start + Duration::from_micros(us)).await;
                // What follows at this instant, from task to task, still sees it.
                for _ in 0..50 {
                    tokio::spawn(async {}).await.unwrap();
                }
                tokio::task::yield_now().await;
                tx.send((us, start.elapsed().as_nanos())).unwrap();
            });
        }
        drop(tx);
        let mut seen = Vec::new();
        while let Some((us, at)) = rx.recv().await {
            assert_eq!(u128::from(us) * 1000, at);
            seen.push(us);
        }
        assert_eq!(seen, [100, 999, 1000, 1001, 2499, 2500, 2500, 50_000]);
        // Dropped waits leave nothing behind, and tokio's timers still end at whole milliseconds.
        drop(tokio::time::timeout(Duration::from_millis(1), sleep_until(start + Duration::from_secs(9))).await);
        assert_eq!(start.elapsed(), Duration::from_millis(51));
    }
}
