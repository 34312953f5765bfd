//! The service without network or clock: events in, actions out.
//!
//! # Who serves a vehicle
//! At any time one edge *serves* a vehicle: it alone applies its updates and acknowledges them. The vehicle decides to
//! whom it speaks, counts its turns (the *epoch*), and says in each message who acknowledged last, so the edge it turns to
//! knows whom to ask. An edge stops serving before it sends [`Word::Handover`] and from then on applies nothing, unless
//! the vehicle comes back with a newer epoch and names it as the last that acknowledged.
//!
//! *Predictive*: when the next edge is foreseen, the source pushes a snapshot there, then every update as it is applied,
//! and tells the vehicle that it may connect ahead. When the vehicle says it leaves (the radio is about to hand over), the
//! final word goes to the target, while the radio is silent: the vehicle finds its context complete.
//!
//! *Reactive*: the vehicle shows up, the target asks the source for the context ([`Word::Take`]) and serves once it is
//! there. The predictive policy falls back to this when the crossing was not foreseen.
//!
//! Whatever fails, the vehicle keeps what is unacknowledged and sends it again to whoever serves it; updates are numbered,
//! so nothing is applied twice. A target that cannot get the context sends the vehicle back.
mod inbound;
mod options;
mod outbound;
mod predictions;
mod sessions;
mod timers;
mod warnings;

pub use options::{CoreOptions, Defect, Policy};
pub use timers::Timers;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::inbound::{Arriving, Held, Rest};
use self::outbound::{Frozen, stay};
use self::sessions::Served;
use super::frame::{Frame, Word};
use super::stats::{Arrival, ContextStats, Run, Stats, Totals};
use crate::context::Context;
use crate::mqtt::QoS;
use crate::predict::Predictor;
use crate::relocation::Relocation;
use crate::road::RoadMap;
use crate::topics::{Cam, Hazard, Leave};
use crate::units::Micros;

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A vehicle's message.
    Cam(Box<Cam>),
    /// A vehicle's radio is about to hand over.
    Leave(Leave),
    /// A sensor saw something.
    Hazard(Hazard),
    /// Another edge said something.
    Frame(Box<Frame>),
    /// Time went on.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Publish.
    Publish(String, Vec<u8>, QoS),
    /// Send to another edge.
    Send(String, Frame),
    /// Record the relocation as it is now.
    Record(Box<Relocation>),
}

/// The state of one roadside service.
pub struct Core {
    site: String,
    map: Arc<RoadMap>,
    policy: Policy,
    predictor: Arc<dyn Predictor>,
    context_bytes: usize,
    capacity: usize,
    timers: Timers,
    defect: Option<Defect>,
    served: BTreeMap<String, Served>,
    frozen: BTreeMap<String, Frozen>,
    held: BTreeMap<String, Held>,
    arriving: BTreeMap<String, Arriving>,
    /// Vehicles sent back, with the epoch.
    rejected: BTreeMap<String, u64>,
    /// Vehicles that said they leave and that nobody has asked for yet: target, epoch there, when.
    left: BTreeMap<String, (String, u64, Micros)>,
    /// (vehicle, target) -> not before.
    cooling: BTreeMap<(String, String), Micros>,
    relocations: BTreeMap<u64, Relocation>,
    next_id: u64,
    journal: BTreeMap<String, Vec<Run>>,
    arrivals: Vec<Arrival>,
    /// Hazard -> last seen.
    hazards: BTreeMap<String, Micros>,
    totals: Totals,
}

impl Core {
    /// A service that serves nobody yet.
    #[must_use]
    pub fn new(o: CoreOptions) -> Self {
        Self {
            site: o.site,
            map: o.map,
            policy: o.policy,
            predictor: o.predictor,
            context_bytes: o.context_bytes,
            capacity: o.capacity,
            timers: o.timers,
            defect: o.defect,
            served: BTreeMap::new(),
            frozen: BTreeMap::new(),
            held: BTreeMap::new(),
            arriving: BTreeMap::new(),
            rejected: BTreeMap::new(),
            left: BTreeMap::new(),
            cooling: BTreeMap::new(),
            relocations: BTreeMap::new(),
            next_id: 0,
            journal: BTreeMap::new(),
            arrivals: Vec::new(),
            hazards: BTreeMap::new(),
            totals: Totals::default(),
        }
    }

    /// One event, at this time.
    pub fn handle(&mut self, now: Micros, e: Event) -> Vec<Action> {
        let mut out = Vec::new();
        match e {
            Event::Cam(c) => {
                self.totals.cams += 1;
                self.cam(now, *c, &mut out);
            }
            Event::Leave(l) => self.leave(now, &l, &mut out),
            Event::Hazard(h) => self.hazard(now, &h, &mut out),
            Event::Frame(f) => self.frame(now, *f, &mut out),
            Event::Tick => self.tick(now, &mut out),
        }
        out
    }

    /// A payload could not be read.
    pub fn malformed(&mut self) {
        self.totals.malformed += 1;
    }

    /// What the service tells about itself.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let one = |c: &Context, serving, epoch| ContextStats {
            vehicle: c.vehicle.clone(),
            base: c.base,
            last: c.last,
            applied: c.applied,
            digest: format!("{:016x}", c.digest),
            serving,
            epoch,
        };
        Stats {
            site: self.site.clone(),
            contexts: self
                .served
                .values()
                .map(|s| one(&s.context, true, s.epoch))
                .chain(self.frozen.values().map(|f| one(&f.context, false, f.epoch)))
                .collect(),
            journal: self.journal.clone(),
            relocations: self.relocations.values().cloned().collect(),
            arrivals: self.arrivals.clone(),
            totals: self.totals,
        }
    }

    fn frame(&mut self, now: Micros, f: Frame, out: &mut Vec<Action>) {
        let from = f.from;
        match f.word {
            Word::Snapshot { id, vehicle } => self.snapshot(now, from, id, vehicle, f.context.as_deref(), out),
            Word::SnapshotAck { id, vehicle, .. } => self.acknowledged(now, &from, id, &vehicle, out),
            Word::Refused { id, vehicle, reason } => {
                self.end(now, id, &format!("the target refused: {reason}"), out);
                if let Some(s) = self.served.get_mut(&vehicle)
                    && s.copies.get(&from).is_some_and(|c| c.id == id)
                {
                    s.copies.remove(&from);
                    self.cool(now, &vehicle, &from);
                    out.push(stay(&vehicle, &from));
                }
            }
            Word::Delta { id, vehicle, update } => {
                if let Some(h) = self.held.get_mut(&vehicle)
                    && h.id == id
                    && h.from == from
                {
                    h.touched = now;
                    h.context.apply(update);
                }
            }
            Word::Handover {
                id,
                vehicle,
                epoch,
                updates,
                last,
                warnings,
            } => {
                let rest = Rest {
                    id,
                    epoch,
                    updates,
                    last,
                    warnings,
                };
                self.handed_over(now, &from, &vehicle, rest, f.context.as_deref(), out);
            }
            Word::Take {
                vehicle,
                have,
                epoch,
                detected_at,
            } => {
                self.taken(now, &from, &vehicle, have, epoch, detected_at, out);
            }
            Word::NotHere { vehicle, epoch, stale } => {
                let Some(a) = self.arriving.get(&vehicle) else { return };
                if a.source != from || a.epoch != epoch {
                    return;
                }
                if stale {
                    self.arriving.remove(&vehicle);
                } else if let Some(a) = self.arriving.remove(&vehicle) {
                    // its context is gone: serve it with what it still has; the auditor sees what is missing
                    tracing::warn!(vehicle, source = from, "the context is lost");
                    self.serve(now, Context::new(&vehicle, a.acked), a.waiting, out);
                }
            }
            Word::Serving { id, vehicle, epoch, at } => self.confirmed(now, id, &vehicle, epoch, at, out),
            Word::Drop { id, vehicle } => {
                if self.held.get(&vehicle).is_some_and(|h| h.id == id && h.from == from) {
                    self.held.remove(&vehicle);
                }
            }
        }
    }

    fn word(&self, word: Word) -> Frame {
        Frame {
            from: self.site.clone(),
            word,
            context: None,
        }
    }

    /// Time that a context is on the wire at 100 Mbit/s, microseconds: what a timeout must allow for.
    fn transmission(&self) -> Micros {
        i64::try_from(self.context_bytes * 8 / 100).unwrap_or(i64::MAX / 4)
    }
}
