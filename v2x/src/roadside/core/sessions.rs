//! The vehicles that are served here, and those that speak: who is it, and whose is it.

use std::collections::{BTreeMap, VecDeque};

use super::inbound::{ARRIVING_CAMS, Arriving, usable};
use super::outbound::CopyAhead;
use super::{Action, Core, Policy};
use crate::context::{Context, Outcome, Update};
use crate::mqtt::QoS;
use crate::roadside::frame::{Frame, Word};
use crate::roadside::stats::Run;
use crate::topics::{self, Ack, Cam, to_json};
use crate::units::Micros;

pub(super) struct Served {
    pub(super) context: Context,
    pub(super) epoch: u64,
    pub(super) heard: Micros,
    /// Copies ahead, by target.
    pub(super) copies: BTreeMap<String, CopyAhead>,
}

impl Core {
    pub(super) fn cam(&mut self, now: Micros, c: Cam, out: &mut Vec<Action>) {
        if let Some(s) = self.served.get_mut(&c.vehicle) {
            if c.epoch < s.epoch {
                self.totals.stale += 1;
                return;
            }
            s.epoch = c.epoch;
            self.returned(now, &c, out);
            return self.applied(now, &c, false, out);
        }
        if self.rejected.get(&c.vehicle).is_some_and(|e| c.epoch <= *e) {
            self.totals.stale += 1;
            return;
        }
        if let Some(f) = self.frozen.get(&c.vehicle) {
            if c.epoch < f.epoch {
                self.totals.stale += 1;
                return;
            }
            if c.served_by.as_deref() == Some(self.site.as_str()) {
                return self.resume(now, &c, out);
            }
        }
        if let Some(a) = self.arriving.get_mut(&c.vehicle) {
            if c.epoch < a.epoch {
                self.totals.stale += 1;
                return;
            }
            if c.served_by.as_deref() == Some(a.source.as_str()) {
                a.epoch = c.epoch;
                a.acked = a.acked.max(c.acked);
                if a.waiting.len() < ARRIVING_CAMS {
                    a.waiting.push_back(c);
                }
                return;
            }
            self.arriving.remove(&c.vehicle);
        }
        self.arrive(now, c, out);
    }

    /// A vehicle that is not served here speaks.
    fn arrive(&mut self, now: Micros, c: Cam, out: &mut Vec<Action>) {
        if self.held.get(&c.vehicle).is_some_and(|h| usable(h, c.epoch, c.acked)) {
            return self.serve_held(now, VecDeque::from([c]), true, out);
        }
        let source = match &c.served_by {
            Some(s) if *s != self.site && self.map.endpoint(s).is_some() => s.clone(),
            // a new vehicle, or one whose context was lost with this service's memory: starts with what it still has
            _ => return self.serve(now, Context::new(&c.vehicle, c.acked), VecDeque::from([c]), out),
        };
        let a = Arriving {
            source,
            epoch: c.epoch,
            acked: c.acked,
            since: now,
            deadline: 0,
            attempts: 0,
            waiting: VecDeque::from([c.clone()]),
        };
        self.arriving.insert(c.vehicle.clone(), a);
        self.ask(now, &c.vehicle, out);
    }

    /// From now on this edge serves the vehicle.
    pub(super) fn serve(&mut self, now: Micros, context: Context, waiting: VecDeque<Cam>, out: &mut Vec<Action>) {
        let vehicle = context.vehicle.clone();
        self.arriving.remove(&vehicle);
        self.rejected.remove(&vehicle);
        // an older life of this context here, handed over without a confirmation
        if let Some(f) = self.frozen.remove(&vehicle) {
            self.end(now, f.id, "the vehicle came back over another edge", out);
        }
        let epoch = waiting.iter().map(|c| c.epoch).max().unwrap_or(0);
        self.journal.entry(vehicle.clone()).or_default();
        self.served.insert(
            vehicle,
            Served {
                context,
                epoch,
                heard: now,
                copies: BTreeMap::new(),
            },
        );
        let mut first = true;
        for c in waiting {
            // a new tenure starts a new run, whatever its numbers
            self.applied(now, &c, first, out);
            first = false;
        }
    }

    pub(super) fn applied(&mut self, now: Micros, c: &Cam, new_run: bool, out: &mut Vec<Action>) {
        let Some(s) = self.served.get_mut(&c.vehicle) else {
            return;
        };
        s.heard = now;
        s.epoch = s.epoch.max(c.epoch);
        let update = Update::from(c);
        match s.context.apply(update.clone()) {
            Outcome::Applied { from, to } => {
                let runs = self.journal.entry(c.vehicle.clone()).or_default();
                match runs.last_mut() {
                    Some(r) if !new_run && r.to + 1 == from => {
                        r.to = to;
                        r.until = now;
                    }
                    _ => runs.push(Run {
                        from,
                        to,
                        at: now,
                        until: now,
                    }),
                }
                self.totals.applied += to - from + 1;
                for (target, copy) in &s.copies {
                    for u in s.context.positions.iter().filter(|u| u.seq >= from) {
                        let word = Word::Delta {
                            id: copy.id,
                            vehicle: c.vehicle.clone(),
                            update: u.clone(),
                        };
                        out.push(Action::Send(
                            target.clone(),
                            Frame {
                                from: self.site.clone(),
                                word,
                                context: None,
                            },
                        ));
                    }
                }
            }
            Outcome::Duplicate => self.totals.repeated += 1,
            Outcome::Early { .. } => {}
            Outcome::Refused => return,
        }
        let ack = Ack {
            edge: self.site.clone(),
            seq: s.context.last,
            applied_at: now,
        };
        out.push(Action::Publish(topics::ack(&c.vehicle), to_json(&ack), QoS::AtMostOnce));
        self.collisions(now, &update, &c.vehicle, out);
        if self.policy == Policy::Predictive {
            self.foresee(now, c, out);
        }
    }
}
