//! Whether the hub is there.

use std::sync::Arc;

use cfn_net::client::HttpClient;
use http::Request;
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tower::Service;

use super::EdgeTimers;

/// Whether the hub is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Requests pass through.
    Online,
    /// The hub is gone: answers come from the disk, writes are held.
    Offline,
    /// It is back: reads pass through; writes wait behind those that were held.
    Reconciling,
}

/// The hub's state, kept by health checks and by what requests meet.
#[derive(Clone)]
pub struct Link {
    upstream: HttpClient,
    timers: EdgeTimers,
    state: Arc<watch::Sender<LinkState>>,
}

impl Link {
    /// A link that counts as up until a check says otherwise; with writes held from before, they go first.
    #[must_use]
    pub fn new(upstream: HttpClient, timers: EdgeTimers, held: bool) -> Self {
        let state = if held {
            LinkState::Reconciling
        } else {
            LinkState::Online
        };
        Self {
            upstream,
            timers,
            state: Arc::new(watch::Sender::new(state)),
        }
    }

    /// How things stand.
    #[must_use]
    pub fn state(&self) -> LinkState {
        *self.state.borrow()
    }

    /// Follows the state.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// Whether the hub is there, or comes back until then.
    pub async fn back(&self, until: Instant) -> bool {
        let mut state = self.follow();
        let back = state.wait_for(|s| *s != LinkState::Offline);
        matches!(tokio::time::timeout_at(until, back).await, Ok(Ok(_)))
    }

    /// A request found nobody there: offline at once.
    pub fn lost(&self) {
        self.set(LinkState::Offline);
    }

    /// Everything held is sent.
    pub fn reconciled(&self) {
        self.state.send_if_modified(|s| {
            let was = *s == LinkState::Reconciling;
            if was {
                *s = LinkState::Online;
            }
            was
        });
    }

    /// A write had to be held while the link is up: what is held goes first.
    pub fn held(&self) {
        self.state.send_if_modified(|s| {
            let was = *s == LinkState::Online;
            if was {
                *s = LinkState::Reconciling;
            }
            was
        });
    }

    fn set(&self, to: LinkState) {
        self.state.send_if_modified(|s| {
            let changed = *s != to;
            *s = to;
            changed
        });
    }

    /// Checks the hub's health for ever.
    pub async fn check(&self) {
        let mut beat = interval(self.timers.heartbeat_interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut good, mut bad) = (0, 0);
        loop {
            beat.tick().await;
            if self.healthy().await {
                (good, bad) = (good + 1, 0);
                if self.state() == LinkState::Offline && good >= self.timers.heartbeat_healthy_threshold {
                    self.set(LinkState::Reconciling);
                }
            } else {
                (good, bad) = (0, bad + 1);
                if bad >= self.timers.heartbeat_failed_retry {
                    self.set(LinkState::Offline);
                }
            }
        }
    }

    async fn healthy(&self) -> bool {
        let Ok(request) = Request::get("/readyz").body(Body::empty()) else {
            return false;
        };
        let answer = self.upstream.clone().call(request);
        matches!(tokio::time::timeout(self.timers.heartbeat_timeout, answer).await, Ok(Ok(r)) if r.status().is_success())
    }

    /// How long a request may wait for the hub before it is answered from the disk.
    #[must_use]
    pub fn patience(&self) -> std::time::Duration {
        self.timers.heartbeat_timeout
    }
}
