//! Messages made and not yet acknowledged.

use super::Vehicle;
use super::samples::Sample;
use crate::mqtt::QoS;
use crate::topics::{self, Ack, Cam};
use crate::units::Micros;
use tokio::time::Instant;

impl Vehicle {
    pub(super) async fn flush(&mut self) {
        if self.silent_until.is_some() {
            return;
        }
        let acked = self.unacked.keys().next().copied().unwrap_or(self.seq + 1) - 1;
        let Some(l) = self.current.as_mut() else { return };
        let mut failed = false;
        for (seq, (p, sent_at)) in self.unacked.range(l.next..) {
            let cam = Cam {
                vehicle: self.o.name.clone(),
                seq: *seq,
                acked,
                epoch: self.epoch,
                served_by: self.served_by.clone(),
                sent_at: *sent_at,
                x: p.x,
                y: p.y,
                speed: p.speed,
                heading: p.heading,
                cell: p.cell,
                pad: String::new(),
            };
            let bytes = cam.to_bytes(self.o.payload_bytes);
            if l.client
                .publish(&topics::cam(&self.o.name), bytes, QoS::AtLeastOnce)
                .await
                .is_err()
            {
                failed = true;
                break;
            }
            if *seq < self.seq {
                self.log.resent += 1;
            }
            l.next = seq + 1;
        }
        if failed {
            self.broken();
        }
    }

    /// Everything unacknowledged goes (again) over the current connection.
    pub(super) fn rewind(&mut self) {
        let first = self.unacked.keys().next().copied().unwrap_or(self.seq + 1);
        if let Some(l) = self.current.as_mut() {
            l.next = first;
        }
    }

    pub(super) fn acknowledged(&mut self, a: &Ack, now: Micros) {
        let later = self.unacked.split_off(&(a.seq + 1));
        let done = std::mem::replace(&mut self.unacked, later);
        for (seq, (_, sent_at)) in done {
            let s = Sample {
                edge: a.edge.clone(),
                sent_at,
                applied_at: a.applied_at,
                acked_at: now,
            };
            self.log.samples.insert(seq, s);
        }
        if a.edge != self.edge {
            return;
        }
        self.heard = Instant::now();
        if self.served_by.as_deref() != Some(a.edge.as_str()) {
            self.served_by = Some(a.edge.clone());
            self.blocked.remove(&a.edge);
            if let Some(s) = self.log.switches.last_mut()
                && s.to == a.edge
                && s.served_at.is_none()
            {
                s.served_at = Some(now);
            }
        }
        // served: no way back is needed
        self.previous = None;
    }
}
