//! Wall time. Waiting uses tokio's timers (which a paused runtime makes virtual); a date comes from here.

use std::sync::Arc;

use jiff::Timestamp;

/// Tells the wall time.
pub trait Clock: Send + Sync + 'static {
    /// Now, as a date.
    fn now(&self) -> Timestamp;
}

/// A clock shared by the components of one testbed.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the seam the ban points to")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that starts at a fixed date and moves with tokio's clock: under a paused runtime it is virtual.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    epoch: Timestamp,
    started: tokio::time::Instant,
}

impl VirtualClock {
    /// A clock that shows `epoch` at this instant of tokio's clock.
    #[must_use]
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self {
            epoch,
            started: tokio::time::Instant::now(),
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.epoch + self.started.elapsed()
    }
}
