//! Relocations to here: copies held for vehicles to come, vehicles that are here before their context.

use std::collections::{BTreeMap, VecDeque};

use super::{Action, Core, Defect};
use crate::context::{Context, Update};
use crate::mqtt::QoS;
use crate::relocation::{Relocation, Trigger};
use crate::roadside::frame::Word;
use crate::roadside::stats::Arrival;
use crate::topics::{self, Cam, Control, to_json};
use crate::units::{Micros, duration_micros};

/// CAMs kept for a vehicle whose context is on its way.
pub(super) const ARRIVING_CAMS: usize = 1000;

/// A copy from another edge.
pub(super) struct Held {
    pub(super) context: Context,
    pub(super) from: String,
    pub(super) id: u64,
    pub(super) since: Micros,
    pub(super) touched: Micros,
    /// The source has handed over, as of this epoch.
    pub(super) handed_over: Option<u64>,
}

/// A vehicle that is here before its context.
pub(super) struct Arriving {
    pub(super) source: String,
    pub(super) epoch: u64,
    pub(super) acked: u64,
    pub(super) since: Micros,
    pub(super) deadline: Micros,
    pub(super) attempts: u32,
    pub(super) waiting: VecDeque<Cam>,
}

/// The rest of a context, as [`Word::Handover`] brings it.
pub(super) struct Rest {
    pub(super) id: u64,
    pub(super) epoch: u64,
    pub(super) updates: Vec<Update>,
    pub(super) last: u64,
    pub(super) warnings: BTreeMap<String, Micros>,
}

impl Core {
    pub(super) fn snapshot(
        &mut self,
        now: Micros,
        from: String,
        id: u64,
        vehicle: String,
        bytes: Option<&[u8]>,
        out: &mut Vec<Action>,
    ) {
        let refuse = |reason: &str| Word::Refused {
            id,
            vehicle: vehicle.clone(),
            reason: reason.to_owned(),
        };
        let context = bytes
            .and_then(|b| Context::from_bytes(b).ok())
            .filter(|c| c.vehicle == vehicle);
        let word = match context {
            None => refuse("the context cannot be read"),
            Some(_) if self.served.contains_key(&vehicle) => refuse("the vehicle is served here"),
            Some(_)
                if !self.held.contains_key(&vehicle)
                    && self.served.len() + self.held.len() + self.frozen.len() >= self.capacity =>
            {
                refuse("no room")
            }
            Some(context) => {
                let last = context.last;
                // repeated: it has been here since the first time
                let since = match self.held.get(&vehicle) {
                    Some(h) if h.id == id && h.from == from => h.since,
                    _ => now,
                };
                let held = Held {
                    context,
                    from: from.clone(),
                    id,
                    since,
                    touched: now,
                    handed_over: None,
                };
                self.held.insert(vehicle.clone(), held);
                Word::SnapshotAck {
                    id,
                    vehicle: vehicle.clone(),
                    last,
                }
            }
        };
        out.push(Action::Send(from, self.word(word)));
    }

    pub(super) fn handed_over(
        &mut self,
        now: Micros,
        from: &str,
        vehicle: &str,
        rest: Rest,
        bytes: Option<&[u8]>,
        out: &mut Vec<Action>,
    ) {
        if let Some(s) = self.served.get(vehicle) {
            // repeated: it is served here since
            if s.epoch >= rest.epoch {
                let word = Word::Serving {
                    id: rest.id,
                    vehicle: vehicle.to_owned(),
                    epoch: s.epoch,
                    at: now,
                };
                out.push(Action::Send(from.to_owned(), self.word(word)));
            }
            return;
        }
        let ahead = self
            .held
            .get(vehicle)
            .filter(|h| h.from == from && h.id == rest.id)
            .map(|h| h.since);
        let mut context = match bytes.map(Context::from_bytes) {
            Some(Ok(c)) => Some(c),
            Some(Err(_)) => None,
            None => match self.held.remove(vehicle) {
                Some(h) if h.from == from => Some(h.context),
                // asked for on top of what this edge itself handed over before
                _ => self.frozen.get(vehicle).map(|f| f.context.clone()),
            },
        };
        if let Some(c) = context.as_mut() {
            for u in rest.updates {
                c.apply(u);
            }
            c.waiting.clear();
            c.warnings.extend(rest.warnings);
        }
        let Some(context) = context.filter(|c| c.last == rest.last && c.vehicle == vehicle) else {
            // something is missing: all of it, please (now, if the vehicle is here; else when it comes)
            self.held.remove(vehicle);
            if self.arriving.contains_key(vehicle) {
                self.ask(now, vehicle, out);
            }
            return;
        };
        let last = context.last;
        self.held.insert(
            vehicle.to_owned(),
            Held {
                context,
                from: from.to_owned(),
                id: rest.id,
                since: ahead.unwrap_or(now),
                touched: now,
                handed_over: Some(rest.epoch),
            },
        );
        let word = Word::SnapshotAck {
            id: rest.id,
            vehicle: vehicle.to_owned(),
            last,
        };
        out.push(Action::Send(from.to_owned(), self.word(word)));
        if self
            .arriving
            .get(vehicle)
            .is_some_and(|a| a.source == from && self.held.get(vehicle).is_some_and(|h| usable(h, a.epoch, a.acked)))
            && let Some(a) = self.arriving.remove(vehicle)
        {
            self.serve_held(now, a.waiting, ahead.is_some(), out);
        }
    }

    /// Asks the source for the context of a vehicle that is here.
    pub(super) fn ask(&mut self, now: Micros, vehicle: &str, out: &mut Vec<Action>) {
        let wait = duration_micros(self.timers.take) + self.transmission();
        let Some(a) = self.arriving.get_mut(vehicle) else {
            return;
        };
        a.attempts += 1;
        a.deadline = now + wait;
        let held = self
            .held
            .get(vehicle)
            .filter(|h| h.from == a.source)
            .map(|h| h.context.last);
        let word = Word::Take {
            vehicle: vehicle.to_owned(),
            have: held.or_else(|| self.frozen.get(vehicle).map(|f| f.context.last)),
            epoch: a.epoch,
            detected_at: a.since,
        };
        out.push(Action::Send(a.source.clone(), self.word(word)));
    }

    /// Serves a vehicle with the copy that is here and handed over.
    pub(super) fn serve_held(&mut self, now: Micros, waiting: VecDeque<Cam>, ahead: bool, out: &mut Vec<Action>) {
        let Some(vehicle) = waiting.front().map(|c| c.vehicle.clone()) else {
            return;
        };
        let Some(h) = self.held.remove(&vehicle) else { return };
        let epoch = waiting.iter().map(|c| c.epoch).max().unwrap_or(0);
        self.arrivals.push(Arrival {
            vehicle: vehicle.clone(),
            from: h.from.clone(),
            id: h.id,
            epoch,
            at: now,
            held_since: ahead.then_some(h.since),
        });
        out.push(Action::Send(
            h.from,
            self.word(Word::Serving {
                id: h.id,
                vehicle: vehicle.clone(),
                epoch,
                at: now,
            }),
        ));
        let context = match self.defect {
            Some(Defect::DropContext) => Context::new(&vehicle, waiting.front().map_or(0, |c| c.acked)),
            None => h.context,
        };
        self.serve(now, context, waiting, out);
    }

    /// The source does not hand over: the vehicle must go back to it.
    pub(super) fn reject(&mut self, now: Micros, vehicle: &str, out: &mut Vec<Action>) {
        let Some(a) = self.arriving.remove(vehicle) else { return };
        self.rejected.insert(vehicle.to_owned(), a.epoch);
        let reason = "the source does not hand over";
        self.next_id += 1;
        let mut r = Relocation::detect(self.next_id, vehicle, &a.source, &self.site, Trigger::Reactive, a.since);
        let _ = r.decide(a.since);
        let _ = r.fail(reason);
        out.push(Action::Record(Box::new(r.clone())));
        self.relocations.insert(r.id, r);
        let word = Control::GoBack {
            edge: a.source,
            reason: reason.to_owned(),
            epoch: a.epoch,
        };
        out.push(Action::Publish(topics::ctl(vehicle), to_json(&word), QoS::AtLeastOnce));
        tracing::info!(vehicle, now, "sent back");
    }
}

/// The copy is the source's last word, and nothing that the vehicle saw acknowledged is missing in it.
pub(super) fn usable(h: &Held, epoch: u64, acked: u64) -> bool {
    h.handed_over.is_some_and(|e| epoch >= e) && h.context.last >= acked
}
