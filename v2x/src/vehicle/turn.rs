//! Turning to another edge, and back.

use tokio::time::Instant;

use super::samples::Switch;
use super::{RETRY, Vehicle};
use crate::mqtt::QoS;
use crate::topics::{self, Leave, to_json};
use crate::units::{Micros, micros};

impl Vehicle {
    /// Between turning to an edge and being served by it.
    pub(super) fn switching(&self) -> bool {
        self.served_by.as_deref().is_some_and(|s| s != self.edge)
    }

    pub(super) fn is_blocked(&self, edge: &str) -> bool {
        self.blocked.get(edge).is_some_and(|t| Instant::now() < *t)
    }

    /// The last word to the old edge.
    pub(super) async fn leave(&mut self, to: &str) {
        if self.switching() {
            return;
        }
        let word = Leave {
            vehicle: self.o.name.clone(),
            to: to.to_owned(),
            seq: self.seq,
            epoch: self.epoch + 1,
        };
        if let Some(l) = self.current.as_mut()
            && l.client
                .publish(&topics::leave(&self.o.name), to_json(&word), QoS::AtLeastOnce)
                .await
                .is_err()
        {
            self.log.broken += 1;
            self.current = None;
        }
    }

    /// Speaks to another edge from now on.
    pub(super) fn turn(&mut self, to: &str, at: Micros) {
        self.epoch += 1;
        let prepared = self.ahead.as_ref().is_some_and(|l| l.edge == to);
        if let Some(from) = self.served_by.clone().filter(|s| s != to) {
            self.log.switches.push(Switch {
                from,
                to: to.to_owned(),
                epoch: self.epoch,
                at,
                served_at: None,
                failed: false,
                prepared,
            });
        }
        if let Some(old) = self.current.take() {
            // the way back, until the new edge serves
            if Some(old.edge.as_str()) == self.served_by.as_deref() {
                self.previous = Some(old);
            }
        }
        self.edge = to.to_owned();
        self.heard = Instant::now();
        self.redial_at = None;
        if prepared {
            self.current = self.ahead.take();
            self.rewind();
        } else if self.previous.as_ref().is_some_and(|l| l.edge == to) {
            self.current = self.previous.take();
            self.rewind();
        } else if self.dial.as_ref().is_some_and(|d| d.edge == to) {
            if let Some(d) = self.dial.as_mut() {
                d.current = true;
            }
        } else {
            self.start_dial(to, true);
        }
    }

    pub(super) fn go_back(&mut self, to: &str) {
        if let Some(s) = self.log.switches.last_mut()
            && s.served_at.is_none()
        {
            s.failed = true;
        }
        self.blocked.insert(self.edge.clone(), Instant::now() + RETRY);
        self.current = None;
        let switches = self.log.switches.len();
        self.turn(to, micros(&self.o.clock));
        self.log.switches.truncate(switches);
    }

    /// The context is at that edge.
    pub(super) async fn prepare(&mut self, edge: &str) {
        if edge == self.edge {
            return;
        }
        self.blocked.remove(edge);
        if edge == self.attached() && !self.switching() {
            // it is there already, served from afar after a failure
            let to = edge.to_owned();
            self.leave(&to).await;
            self.turn(&to, micros(&self.o.clock));
            self.flush().await;
        } else if self.dial.is_none() && self.ahead.as_ref().is_none_or(|l| l.edge != edge) {
            self.start_dial(edge, false);
        }
    }
}
