//! Relocations away from here: the hand-over, and how it ends.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::sessions::Served;
use super::{Action, Core, Policy};
use crate::context::Context;
use crate::mqtt::QoS;
use crate::relocation::{Relocation, Trigger};
use crate::roadside::frame::{Frame, Word};
use crate::topics::{self, Cam, Control, Leave, to_json};
use crate::units::{Micros, duration_micros};

/// Updates repeated with a hand-over, in case a delta was lost with a connection.
const TAIL: u64 = 16;

pub(super) struct CopyAhead {
    pub(super) id: u64,
    pub(super) predicted: Micros,
    /// None: acknowledged.
    pub(super) deadline: Option<Micros>,
}

/// Handed over, not confirmed.
pub(super) struct Frozen {
    pub(super) context: Context,
    pub(super) id: u64,
    pub(super) target: String,
    pub(super) epoch: u64,
    pub(super) since: Micros,
}

impl Core {
    pub(super) fn leave(&mut self, now: Micros, l: &Leave, out: &mut Vec<Action>) {
        let Some(s) = self.served.get(&l.vehicle) else { return };
        if l.to == self.site || l.epoch <= s.epoch {
            return;
        }
        let copy = s.copies.get(&l.to).filter(|_| self.policy == Policy::Predictive);
        let Some(id) = copy.map(|c| c.id) else {
            // not foreseen, or the policy is reactive: the target will ask
            self.left.insert(l.vehicle.clone(), (l.to.clone(), l.epoch, now));
            return;
        };
        let last = s.context.last;
        self.hand_over(now, &l.vehicle, &l.to, id, l.epoch, Some(last), out);
    }

    /// Stops serving and sends what the target lacks (`have` is there already).
    #[allow(clippy::too_many_arguments, reason = "one call with the facts of one hand-over")]
    fn hand_over(
        &mut self,
        now: Micros,
        vehicle: &str,
        target: &str,
        id: u64,
        epoch: u64,
        have: Option<u64>,
        out: &mut Vec<Action>,
    ) {
        self.left.remove(vehicle);
        if let Some(s) = self.served.remove(vehicle) {
            for (other, copy) in s.copies.iter().filter(|(t, c)| *t != target || c.id != id) {
                self.withdraw(now, vehicle, other, copy.id, out);
            }
            self.frozen.insert(
                vehicle.to_owned(),
                Frozen {
                    context: s.context,
                    id,
                    target: target.to_owned(),
                    epoch,
                    since: now,
                },
            );
        }
        let Some(f) = self.frozen.get(vehicle) else { return };
        let c = &f.context;
        let tail = have.and_then(|h| {
            let from = if h == c.last {
                h.saturating_sub(TAIL).max(c.base)
            } else {
                h
            };
            c.since(from).or_else(|| c.since(h))
        });
        let whole = tail.is_none().then(|| Bytes::from(c.to_bytes(self.context_bytes)));
        let word = Word::Handover {
            id,
            vehicle: vehicle.to_owned(),
            epoch,
            updates: tail.unwrap_or_default(),
            last: c.last,
            warnings: c.warnings.clone(),
        };
        let (last, bytes) = (c.last, whole.as_ref().map_or(0, |w| w.len() as u64));
        if let Some(r) = self.relocations.get_mut(&id) {
            // sent again after it has ended: nothing to note
            let _ = r.send(now, last, bytes);
        }
        out.push(Action::Send(
            target.to_owned(),
            Frame {
                from: self.site.clone(),
                word,
                context: whole,
            },
        ));
    }

    /// Another edge has the vehicle and wants its context.
    #[allow(clippy::too_many_arguments, reason = "the fields of one frame")]
    pub(super) fn taken(
        &mut self,
        now: Micros,
        from: &str,
        vehicle: &str,
        have: Option<u64>,
        epoch: u64,
        detected_at: Micros,
        out: &mut Vec<Action>,
    ) {
        let no = |stale| Word::NotHere {
            vehicle: vehicle.to_owned(),
            epoch,
            stale,
        };
        let id = match (self.served.get(vehicle), self.frozen.get(vehicle)) {
            (Some(s), _) if epoch <= s.epoch => return out.push(Action::Send(from.to_owned(), self.word(no(true)))),
            (Some(s), _) => s.copies.get(from).map(|c| c.id),
            (None, Some(f)) if epoch < f.epoch => {
                return out.push(Action::Send(from.to_owned(), self.word(no(true))));
            }
            (None, Some(f)) => (f.target == from).then_some(f.id),
            (None, None) => return out.push(Action::Send(from.to_owned(), self.word(no(false)))),
        };
        let id = id
            .filter(|id| self.relocations.get(id).is_some_and(Relocation::open))
            .unwrap_or_else(|| {
                self.next_id += 1;
                let mut r = Relocation::detect(self.next_id, vehicle, &self.site, from, Trigger::Reactive, detected_at);
                let _ = r.decide(now);
                self.relocations.insert(r.id, r);
                self.next_id
            });
        if let Some(f) = self.frozen.get_mut(vehicle) {
            if f.id != id {
                let old = f.id;
                f.id = id;
                f.target = from.to_owned();
                self.end(now, old, "the vehicle went to another edge", out);
            }
            if let Some(f) = self.frozen.get_mut(vehicle) {
                f.epoch = epoch;
                f.since = now;
            }
        }
        self.hand_over(now, vehicle, from, id, epoch, have, out);
        if let Some(r) = self.relocations.get(&id) {
            out.push(Action::Record(Box::new(r.clone())));
        }
    }

    /// The target serves.
    pub(super) fn confirmed(
        &mut self,
        now: Micros,
        id: u64,
        vehicle: &str,
        epoch: u64,
        at: Micros,
        out: &mut Vec<Action>,
    ) {
        if self.frozen.get(vehicle).is_some_and(|f| epoch >= f.epoch) {
            self.frozen.remove(vehicle);
        }
        // the vehicle is ahead of what is known here
        if self.served.get(vehicle).is_some_and(|s| epoch > s.epoch) {
            self.served.remove(vehicle);
        }
        if let Some(r) = self.relocations.get_mut(&id)
            && r.open()
        {
            if r.stamps.acknowledged.is_none() {
                // serving implies having
                let _ = r.acknowledge(now);
            }
            if r.switch(at).is_ok() {
                let _ = r.clean_up(now);
                out.push(Action::Record(Box::new(r.clone())));
            }
        }
    }

    /// The vehicle is back before the target served it: the relocation failed, this edge goes on.
    pub(super) fn resume(&mut self, now: Micros, c: &Cam, out: &mut Vec<Action>) {
        let Some(f) = self.frozen.remove(&c.vehicle) else {
            return;
        };
        self.end(now, f.id, "the vehicle came back: the target did not serve it", out);
        self.cool(now, &c.vehicle, &f.target);
        out.push(Action::Send(
            f.target,
            self.word(Word::Drop {
                id: f.id,
                vehicle: c.vehicle.clone(),
            }),
        ));
        self.arriving.remove(&c.vehicle);
        self.served.insert(
            c.vehicle.clone(),
            Served {
                context: f.context,
                epoch: c.epoch,
                heard: now,
                copies: BTreeMap::new(),
            },
        );
        self.applied(now, c, true, out);
    }

    /// A vehicle that had left for a target that never asked for its context speaks here again: that relocation failed.
    pub(super) fn returned(&mut self, now: Micros, c: &Cam, out: &mut Vec<Action>) {
        if self.left.get(&c.vehicle).is_none_or(|(_, epoch, _)| c.epoch <= *epoch) {
            return;
        }
        let Some((target, _, at)) = self.left.remove(&c.vehicle) else {
            return;
        };
        self.next_id += 1;
        let mut r = Relocation::detect(self.next_id, &c.vehicle, &self.site, &target, Trigger::Reactive, at);
        let _ = r.decide(now);
        let _ = r.fail("the vehicle came back: the target did not serve it");
        out.push(Action::Record(Box::new(r.clone())));
        self.relocations.insert(r.id, r);
    }

    /// A relocation that did not take place.
    pub(super) fn end(&mut self, now: Micros, id: u64, reason: &str, out: &mut Vec<Action>) {
        if let Some(r) = self.relocations.get_mut(&id)
            && r.fail(reason).is_ok()
        {
            if r.withdrawn() {
                // withdrawn copies are thrown away at once
                let _ = r.clean_up(now);
            }
            out.push(Action::Record(Box::new(r.clone())));
        }
    }

    pub(super) fn cool(&mut self, now: Micros, vehicle: &str, target: &str) {
        let until = now + duration_micros(self.timers.cool_down);
        self.cooling.insert((vehicle.to_owned(), target.to_owned()), until);
    }
}

/// The vehicle had better not turn to that edge.
pub(super) fn stay(vehicle: &str, edge: &str) -> Action {
    let word = Control::Stay { edge: edge.to_owned() };
    Action::Publish(topics::ctl(vehicle), to_json(&word), QoS::AtLeastOnce)
}
