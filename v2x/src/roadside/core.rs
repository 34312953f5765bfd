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

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::frame::{Frame, Word};
use super::stats::{Arrival, ContextStats, Run, Stats, Totals};
use super::warn;
use crate::context::{Context, Outcome, Update};
use crate::mqtt::QoS;
use crate::predict::{Observation, Predictor};
use crate::relocation::{MobilityState, Relocation, Trigger, WITHDRAWN};
use crate::road::RoadMap;
use crate::topics::{self, Ack, Cam, Control, Hazard, Leave, Warning, to_json};
use crate::units::{Micros, duration_micros};

/// Which policy relocates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Policy {
    /// Ahead of the crossing.
    Predictive,
    /// When the vehicle shows up.
    Reactive,
}

/// A fault built in on purpose, with which a harness tests itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Defect {
    /// The context is dropped at every switch: the target starts empty.
    DropContext,
}

/// How long the service waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// A snapshot must be acknowledged within this (plus its transmission at 100 Mbit/s).
    pub acknowledge: Duration,
    /// A context asked for must arrive within this (plus its transmission at 100 Mbit/s).
    pub take: Duration,
    /// Attempts of either.
    pub attempts: u32,
    /// After a failure the same relocation is not tried again for so long.
    pub cool_down: Duration,
    /// A copy is withdrawn when its prediction was not repeated for so long.
    pub withdraw: Duration,
    /// A hand-over that the target does not confirm within this has failed.
    pub confirm: Duration,
    /// Contexts that nobody asks for are forgotten after this.
    pub forget: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            acknowledge: Duration::from_millis(500),
            take: Duration::from_millis(300),
            attempts: 3,
            cool_down: Duration::from_secs(2),
            withdraw: Duration::from_secs(15),
            confirm: Duration::from_secs(30),
            forget: Duration::from_secs(600),
        }
    }
}

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

struct Served {
    context: Context,
    epoch: u64,
    heard: Micros,
    /// Copies ahead, by target.
    copies: BTreeMap<String, CopyAhead>,
}

struct CopyAhead {
    id: u64,
    predicted: Micros,
    /// None: acknowledged.
    deadline: Option<Micros>,
}

/// Handed over, not confirmed.
struct Frozen {
    context: Context,
    id: u64,
    target: String,
    epoch: u64,
    since: Micros,
}

/// A copy from another edge.
struct Held {
    context: Context,
    from: String,
    id: u64,
    since: Micros,
    touched: Micros,
    /// The source has handed over, as of this epoch.
    handed_over: Option<u64>,
}

/// A vehicle that is here before its context.
struct Arriving {
    source: String,
    epoch: u64,
    acked: u64,
    since: Micros,
    deadline: Micros,
    attempts: u32,
    waiting: VecDeque<Cam>,
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

/// What a [`Core`] is made of.
pub struct CoreOptions {
    /// Its site.
    pub site: String,
    /// The map.
    pub map: Arc<RoadMap>,
    /// Policy.
    pub policy: Policy,
    /// Who foresees.
    pub predictor: Arc<dyn Predictor>,
    /// Size of a context that travels, bytes.
    pub context_bytes: usize,
    /// Contexts (served and held) that fit here; more are refused.
    pub capacity: usize,
    /// Waits.
    pub timers: Timers,
    /// Defect.
    pub defect: Option<Defect>,
}

/// CAMs kept for a vehicle whose context is on its way.
const ARRIVING_CAMS: usize = 1000;
/// Updates repeated with a hand-over, in case a delta was lost with a connection.
const TAIL: u64 = 16;
/// A vehicle is warned of the same event at most this often, microseconds.
const WARN_AGAIN: Micros = 900_000;
/// An event not seen for so long is a new one, microseconds.
const HAZARD_OVER: Micros = 60_000_000;

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

    // ---- vehicles -------------------------------------------------------------------------------------------------

    fn cam(&mut self, now: Micros, c: Cam, out: &mut Vec<Action>) {
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

    /// Asks the source for the context of a vehicle that is here.
    fn ask(&mut self, now: Micros, vehicle: &str, out: &mut Vec<Action>) {
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
    fn serve_held(&mut self, now: Micros, waiting: VecDeque<Cam>, ahead: bool, out: &mut Vec<Action>) {
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

    /// From now on this edge serves the vehicle.
    fn serve(&mut self, now: Micros, context: Context, waiting: VecDeque<Cam>, out: &mut Vec<Action>) {
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

    /// The vehicle is back before the target served it: the relocation failed, this edge goes on.
    fn resume(&mut self, now: Micros, c: &Cam, out: &mut Vec<Action>) {
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
    fn returned(&mut self, now: Micros, c: &Cam, out: &mut Vec<Action>) {
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

    fn applied(&mut self, now: Micros, c: &Cam, new_run: bool, out: &mut Vec<Action>) {
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

    fn leave(&mut self, now: Micros, l: &Leave, out: &mut Vec<Action>) {
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

    // ---- prediction -----------------------------------------------------------------------------------------------

    fn foresee(&mut self, now: Micros, c: &Cam, out: &mut Vec<Action>) {
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
    fn push(&mut self, now: Micros, vehicle: &str, target: &str, out: &mut Vec<Action>) {
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

    fn withdraw(&mut self, now: Micros, vehicle: &str, target: &str, id: u64, out: &mut Vec<Action>) {
        self.end(now, id, WITHDRAWN, out);
        out.push(Action::Send(
            target.to_owned(),
            self.word(Word::Drop {
                id,
                vehicle: vehicle.to_owned(),
            }),
        ));
    }

    /// A relocation that did not take place.
    fn end(&mut self, now: Micros, id: u64, reason: &str, out: &mut Vec<Action>) {
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

    fn cool(&mut self, now: Micros, vehicle: &str, target: &str) {
        let until = now + duration_micros(self.timers.cool_down);
        self.cooling.insert((vehicle.to_owned(), target.to_owned()), until);
    }

    // ---- other edges ----------------------------------------------------------------------------------------------

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

    fn snapshot(
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

    fn acknowledged(&mut self, now: Micros, from: &str, id: u64, vehicle: &str, out: &mut Vec<Action>) {
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

    fn handed_over(
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

    /// Another edge has the vehicle and wants its context.
    #[allow(clippy::too_many_arguments, reason = "the fields of one frame")]
    fn taken(
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
    fn confirmed(&mut self, now: Micros, id: u64, vehicle: &str, epoch: u64, at: Micros, out: &mut Vec<Action>) {
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

    // ---- time -----------------------------------------------------------------------------------------------------

    fn tick(&mut self, now: Micros, out: &mut Vec<Action>) {
        let mut late = Vec::new();
        let mut unused = Vec::new();
        for (vehicle, s) in &self.served {
            for (target, copy) in &s.copies {
                match copy.deadline {
                    Some(d) if now >= d => late.push((vehicle.clone(), target.clone(), copy.id)),
                    None if now - copy.predicted > duration_micros(self.timers.withdraw) => {
                        unused.push((vehicle.clone(), target.clone(), copy.id));
                    }
                    _ => {}
                }
            }
        }
        for (vehicle, target, id) in late {
            let attempts = self.relocations.get(&id).map_or(u32::MAX, |r| r.attempts);
            if attempts < self.timers.attempts {
                self.push(now, &vehicle, &target, out);
                continue;
            }
            self.end(now, id, "the target does not acknowledge", out);
            self.cool(now, &vehicle, &target);
            out.push(Action::Send(
                target.clone(),
                self.word(Word::Drop {
                    id,
                    vehicle: vehicle.clone(),
                }),
            ));
            out.push(stay(&vehicle, &target));
            if let Some(s) = self.served.get_mut(&vehicle) {
                s.copies.remove(&target);
            }
        }
        for (vehicle, target, id) in unused {
            self.withdraw(now, &vehicle, &target, id, out);
            if let Some(s) = self.served.get_mut(&vehicle) {
                s.copies.remove(&target);
            }
        }
        let asked: Vec<String> = self
            .arriving
            .iter()
            .filter(|(_, a)| now >= a.deadline)
            .map(|(v, _)| v.clone())
            .collect();
        for vehicle in asked {
            if self
                .arriving
                .get(&vehicle)
                .is_some_and(|a| a.attempts < self.timers.attempts)
            {
                self.ask(now, &vehicle, out);
            } else {
                self.reject(now, &vehicle, out);
            }
        }
        let unconfirmed: Vec<u64> = self
            .frozen
            .values()
            .filter(|f| now - f.since > duration_micros(self.timers.confirm))
            .map(|f| f.id)
            .collect();
        for id in unconfirmed {
            self.end(now, id, "the target does not confirm", out);
        }
        let forget = duration_micros(self.timers.forget);
        self.frozen.retain(|_, f| now - f.since <= forget);
        self.held.retain(|_, h| now - h.touched <= forget);
        self.served.retain(|_, s| now - s.heard <= forget);
        self.cooling.retain(|_, t| now < *t);
    }

    /// The source does not hand over: the vehicle must go back to it.
    fn reject(&mut self, now: Micros, vehicle: &str, out: &mut Vec<Action>) {
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

    // ---- warnings -------------------------------------------------------------------------------------------------

    fn hazard(&mut self, now: Micros, h: &Hazard, out: &mut Vec<Action>) {
        let known = self
            .hazards
            .insert(h.id.clone(), now)
            .is_some_and(|last| now - last < HAZARD_OVER);
        if !known {
            out.push(Action::Publish(
                topics::denm(&self.site, &h.id),
                to_json(h),
                QoS::AtMostOnce,
            ));
        }
        let ahead: Vec<(String, f64)> = self
            .served
            .iter()
            .filter_map(|(v, s)| Some((v.clone(), warn::hazard_ahead(s.context.position()?, h)?)))
            .collect();
        for (vehicle, distance) in ahead {
            self.warn(
                now,
                &vehicle,
                &h.id,
                &format!("hazard:{}", h.kind),
                distance,
                h.seen_at,
                out,
            );
        }
    }

    fn collisions(&mut self, now: Micros, at: &Update, vehicle: &str, out: &mut Vec<Action>) {
        let mut found = Vec::new();
        for (other, s) in &self.served {
            if other != vehicle
                && let Some(p) = s.context.position()
                && now - p.sent_at <= warn::FRESH
                && let Some(d) = warn::collision(at, p)
            {
                found.push((other.clone(), d, p.sent_at));
            }
        }
        for (other, d, seen) in found {
            self.warn(now, vehicle, &format!("collision:{other}"), "collision", d, seen, out);
            self.warn(
                now,
                &other,
                &format!("collision:{vehicle}"),
                "collision",
                d,
                at.sent_at,
                out,
            );
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one warning")]
    fn warn(
        &mut self,
        now: Micros,
        vehicle: &str,
        id: &str,
        kind: &str,
        distance: f64,
        origin_at: Micros,
        out: &mut Vec<Action>,
    ) {
        let Some(s) = self.served.get_mut(vehicle) else { return };
        if s.context.warnings.get(id).is_some_and(|t| now - *t < WARN_AGAIN) {
            return;
        }
        s.context.warnings.insert(id.to_owned(), now);
        s.context.warnings.retain(|_, t| now - *t < HAZARD_OVER);
        self.totals.warnings += 1;
        let w = Warning {
            id: id.to_owned(),
            kind: kind.to_owned(),
            distance: crate::units::round3(distance),
            origin_at,
            issued_at: now,
            edge: self.site.clone(),
        };
        out.push(Action::Publish(topics::warn(vehicle), to_json(&w), QoS::AtLeastOnce));
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

/// The rest of a context, as [`Word::Handover`] brings it.
struct Rest {
    id: u64,
    epoch: u64,
    updates: Vec<Update>,
    last: u64,
    warnings: BTreeMap<String, Micros>,
}

/// The vehicle had better not turn to that edge.
fn stay(vehicle: &str, edge: &str) -> Action {
    let word = Control::Stay { edge: edge.to_owned() };
    Action::Publish(topics::ctl(vehicle), to_json(&word), QoS::AtLeastOnce)
}

/// The copy is the source's last word, and nothing that the vehicle saw acknowledged is missing in it.
fn usable(h: &Held, epoch: u64, acked: u64) -> bool {
    h.handed_over.is_some_and(|e| epoch >= e) && h.context.last >= acked
}
