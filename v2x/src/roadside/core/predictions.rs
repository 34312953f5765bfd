//! Copies ahead of a crossing: foreseen, sent, acknowledged, withdrawn.

use bytes::Bytes;

use super::outbound::CopyAhead;
use super::{Action, Core};
use crate::mqtt::QoS;
use crate::predict::Observation;
use crate::relocation::{MobilityState, Relocation, Trigger, WITHDRAWN};
use crate::roadside::frame::{Frame, Word};
use crate::topics::{self, Cam, Control, to_json};
use crate::units::{Micros, duration_micros};

impl Core {
    pub(super) fn foresee(&mut self, now: Micros, c: &Cam, out: &mut Vec<Action>) {
        let seen = Observation {
            x: c.x,
            y: c.y,
            speed: c.speed,
            heading: c.heading,
            cell: c.cell,
        };
        let attached = self.map.edge_of(c.cell);
        let next = if attached == self.site {
            self.predictor.predict(&self.map, &seen).map(|p| p.to)
        } else {
            // served from afar after a failure: it should be there already
            Some(attached.to_owned())
        };
        let Some(next) = next.filter(|n| *n != self.site && self.map.endpoint(n).is_some()) else {
            return;
        };
        let Some(s) = self.served.get_mut(&c.vehicle) else {
            return;
        };
        if let Some(copy) = s.copies.get_mut(&next) {
            copy.predicted = now;
            return;
        }
        if self
            .cooling
            .get(&(c.vehicle.clone(), next.clone()))
            .is_some_and(|t| now < *t)
        {
            return;
        }
        self.next_id += 1;
        let mut r = Relocation::detect(self.next_id, &c.vehicle, &self.site, &next, Trigger::Predicted, now);
        // a relocation just detected can be decided
        let _ = r.decide(now);
        self.relocations.insert(r.id, r);
        s.copies.insert(
            next.clone(),
            CopyAhead {
                id: self.next_id,
                predicted: now,
                deadline: Some(now),
            },
        );
        self.push(now, &c.vehicle, &next, out);
    }

    /// Sends a snapshot ahead (again).
    pub(super) fn push(&mut self, now: Micros, vehicle: &str, target: &str, out: &mut Vec<Action>) {
        let wait = duration_micros(self.timers.acknowledge) + self.transmission();
        let Some(s) = self.served.get_mut(vehicle) else { return };
        let Some(copy) = s.copies.get_mut(target) else { return };
        copy.deadline = Some(now + wait);
        let bytes = Bytes::from(s.context.to_bytes(self.context_bytes));
        if let Some(r) = self.relocations.get_mut(&copy.id) {
            // an ended relocation has no copy
            let _ = r.send(now, s.context.last, bytes.len() as u64);
            out.push(Action::Record(Box::new(r.clone())));
        }
        self.totals.snapshots += 1;
        let word = Word::Snapshot {
            id: copy.id,
            vehicle: vehicle.to_owned(),
        };
        out.push(Action::Send(
            target.to_owned(),
            Frame {
                from: self.site.clone(),
                word,
                context: Some(bytes),
            },
        ));
    }

    pub(super) fn acknowledged(&mut self, now: Micros, from: &str, id: u64, vehicle: &str, out: &mut Vec<Action>) {
        let open = self.relocations.get(&id).is_some_and(Relocation::open);
        if !open {
            // it ended meanwhile: the copy is of no use
            if !self
                .relocations
                .get(&id)
                .is_some_and(|r| r.state == MobilityState::InterhostMoveoutCompleted)
            {
                out.push(Action::Send(
                    from.to_owned(),
                    self.word(Word::Drop {
                        id,
                        vehicle: vehicle.to_owned(),
                    }),
                ));
            }
            return;
        }
        if let Some(r) = self.relocations.get_mut(&id)
            && r.stamps.acknowledged.is_none()
            && r.acknowledge(now).is_ok()
        {
            out.push(Action::Record(Box::new(r.clone())));
        }
        if let Some(copy) = self.served.get_mut(vehicle).and_then(|s| s.copies.get_mut(from))
            && copy.id == id
        {
            copy.deadline = None;
            let word = Control::Prepare { edge: from.to_owned() };
            out.push(Action::Publish(topics::ctl(vehicle), to_json(&word), QoS::AtLeastOnce));
        }
    }

    pub(super) fn withdraw(&mut self, now: Micros, vehicle: &str, target: &str, id: u64, out: &mut Vec<Action>) {
        self.end(now, id, WITHDRAWN, out);
        out.push(Action::Send(
            target.to_owned(),
            self.word(Word::Drop {
                id,
                vehicle: vehicle.to_owned(),
            }),
        ));
    }
}
