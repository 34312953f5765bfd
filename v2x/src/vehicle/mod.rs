//! A vehicle: drives along its trace, is moved from radio site to radio site, speaks to one edge at a time.
//!
//! Messages are numbered and kept until the *application* acknowledges them (MQTT's PUBACK only says that the broker has
//! them). When the radio attaches to a cell of another edge, the vehicle says that it leaves, is silent for the radio's
//! interruption, and then speaks to the new edge, sending again what is unacknowledged: over the connection made ahead,
//! if the old edge had told it to ([`Control::Prepare`]), else over a new one. Told that its context could not be brought
//! there ([`Control::Stay`]), it stays. If the new edge cannot be reached or sends
//! it back, the vehicle returns to the one that acknowledged last, and tries again after [`RETRY`].
mod link;
mod queue;
mod samples;
mod turn;

pub use samples::{Sample, Switch, VehicleLog, Warned};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cfn_net::{Net, SharedClock};
use rumqttc::mqttbytes::v4::Publish;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::link::{Dial, Link, dialed, received};
use crate::mobility::{STEP_SECONDS, TracePoint};
use crate::road::RoadMap;
use crate::topics::{Ack, Control};
use crate::units::{Micros, micros};

/// No acknowledgement for so long: the connection is taken for dead.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// An edge that failed is tried again after this.
pub const RETRY: Duration = Duration::from_secs(5);
/// Pause between attempts to connect when nothing can be reached.
pub const REDIAL: Duration = Duration::from_millis(300);

/// Options of one vehicle.
#[derive(Clone)]
pub struct VehicleOptions {
    /// Name; also its host in the network.
    pub name: String,
    /// Network.
    pub net: Net,
    /// Wall time.
    pub clock: SharedClock,
    /// Map.
    pub map: Arc<RoadMap>,
    /// Where it is, every [`STEP_SECONDS`].
    pub points: Arc<Vec<TracePoint>>,
    /// When the trace starts.
    pub start: Instant,
    /// Its own phase within the message interval, so that not all vehicles speak at once.
    pub phase: Duration,
    /// Interval between messages.
    pub interval: Duration,
    /// Size of a message, bytes.
    pub payload_bytes: usize,
    /// How long the radio is silent at a hand-over.
    pub radio_interruption: Duration,
    /// Messages to send.
    pub messages: u64,
    /// How long to wait for the last acknowledgements.
    pub drain: Duration,
}

struct Vehicle {
    o: VehicleOptions,
    log: VehicleLog,
    point: TracePoint,
    seq: u64,
    unacked: BTreeMap<u64, (TracePoint, Micros)>,
    epoch: u64,
    served_by: Option<String>,
    /// Edge it speaks to or wants to.
    edge: String,
    current: Option<Link>,
    ahead: Option<Link>,
    previous: Option<Link>,
    dial: Option<Dial>,
    silent_until: Option<Instant>,
    redial_at: Option<Instant>,
    heard: Instant,
    /// Edge -> not before.
    blocked: BTreeMap<String, Instant>,
}

/// Drives one vehicle until it has sent its messages and they are acknowledged (or `drain` is over), or cancelled.
pub async fn drive(o: VehicleOptions, cancel: CancellationToken) -> VehicleLog {
    let Some(point) = o.points.first().copied() else {
        return VehicleLog::default();
    };
    let cell = &o.map.cells[point.cell];
    o.net.add_host(&o.name, &cell.radio_site);
    let edge = cell.edge_site.clone();
    let log = VehicleLog {
        name: o.name.clone(),
        ..VehicleLog::default()
    };
    let mut v = Vehicle {
        log,
        point,
        seq: 0,
        unacked: BTreeMap::new(),
        epoch: 1,
        served_by: None,
        edge: edge.clone(),
        current: None,
        ahead: None,
        previous: None,
        dial: None,
        silent_until: None,
        redial_at: None,
        heard: Instant::now(),
        blocked: BTreeMap::new(),
        o,
    };
    v.start_dial(&edge, true);
    v.run(cancel).await;
    v.o.net.remove_host(&v.o.name);
    v.log
}

impl Vehicle {
    async fn run(&mut self, cancel: CancellationToken) {
        let first = self.o.start + self.o.phase;
        let mut sent = 0_u32;
        let mut end: Option<Instant> = None;
        loop {
            if self.seq >= self.o.messages {
                let end = *end.get_or_insert_with(|| Instant::now() + self.o.drain);
                if self.unacked.is_empty() || Instant::now() >= end {
                    return self.bye().await;
                }
            }
            let silent = self.silent_until.is_some();
            let next_tick = if self.seq < self.o.messages {
                first + self.o.interval * sent
            } else {
                end.unwrap_or(first)
            };
            let watchdog =
                (!self.unacked.is_empty() && self.current.is_some() && !silent).then(|| self.heard + PATIENCE);
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = until(self.silent_until) => {
                    self.silent_until = None;
                    self.heard = Instant::now();
                    self.flush().await;
                }
                r = dialed(&mut self.dial), if !silent => self.dialed(r).await,
                r = received(&mut self.previous), if !silent => match r {
                    Ok(p) => self.message(p).await,
                    Err(_) => self.previous = None,
                },
                r = received(&mut self.current), if !silent => match r {
                    Ok(p) => self.message(p).await,
                    Err(_) => self.broken(),
                },
                r = received(&mut self.ahead), if !silent => match r {
                    Ok(p) => self.message(p).await,
                    Err(_) => self.ahead = None,
                },
                () = until(self.redial_at) => {
                    self.redial_at = None;
                    if self.dial.is_none() && self.current.is_none() {
                        let edge = self.edge.clone();
                        self.start_dial(&edge, true);
                    }
                }
                () = until(watchdog) => self.unanswered(),
                () = tokio::time::sleep_until(next_tick) => {
                    if self.seq < self.o.messages {
                        sent += 1;
                        self.tick().await;
                    }
                }
            }
        }
    }

    async fn bye(&mut self) {
        for l in [self.current.take(), self.ahead.take(), self.previous.take()]
            .into_iter()
            .flatten()
        {
            // the connection may be gone already
            let _ = l.client.disconnect().await;
        }
    }

    pub(super) fn attached(&self) -> &str {
        self.o.map.edge_of(self.point.cell)
    }

    async fn tick(&mut self) {
        let index = (self.o.interval.as_secs_f64() * self.seq as f64 + self.o.phase.as_secs_f64()) / STEP_SECONDS;
        let index = (index as usize).min(self.o.points.len().saturating_sub(1));
        let before = self.point.cell;
        self.point = self.o.points[index];
        let to = self.attached().to_owned();
        let switching = self.switching();
        if self.point.cell != before {
            let turn = to != self.edge && !self.is_blocked(&to);
            if to != self.edge && !turn && !switching && self.o.map.edge_of(before) != to {
                // the radio goes, the vehicle stays with the edge that has its context
                self.log.switches.push(Switch {
                    from: self.edge.clone(),
                    to: to.clone(),
                    epoch: self.epoch,
                    at: micros(&self.o.clock),
                    served_at: None,
                    failed: true,
                    prepared: false,
                });
            }
            if turn {
                self.leave(&to).await;
            }
            self.o
                .net
                .add_host(&self.o.name, &self.o.map.cells[self.point.cell].radio_site);
            // a hand-over of the radio, whichever edge is behind the cell
            if !self.o.radio_interruption.is_zero() {
                self.silent_until = Some(Instant::now() + self.o.radio_interruption);
            }
            if turn {
                self.turn(&to, micros(&self.o.clock));
            }
        } else if to != self.edge && !switching && !self.is_blocked(&to) && self.current.is_some() {
            self.leave(&to).await;
            self.turn(&to, micros(&self.o.clock));
        }
        self.seq += 1;
        let now = micros(&self.o.clock);
        self.log.sent.push(now);
        if self.unacked.is_empty() {
            self.heard = Instant::now();
        }
        self.unacked.insert(self.seq, (self.point, now));
        self.flush().await;
    }

    async fn message(&mut self, p: Publish) {
        let now = micros(&self.o.clock);
        if p.topic.starts_with("ack/") {
            if let Ok(a) = serde_json::from_slice::<Ack>(&p.payload) {
                self.acknowledged(&a, now);
            }
        } else if p.topic.starts_with("warn/") {
            if let Ok(warning) = serde_json::from_slice(&p.payload) {
                self.log.warnings.push(Warned {
                    warning,
                    received_at: now,
                });
            }
        } else if let Ok(c) = serde_json::from_slice::<Control>(&p.payload) {
            match c {
                Control::Prepare { edge } => self.prepare(&edge).await,
                Control::Stay { edge } => {
                    if !self.switching() {
                        self.blocked.insert(edge, Instant::now() + RETRY);
                    }
                }
                Control::GoBack { edge, epoch, .. } => {
                    if epoch == self.epoch && self.switching() {
                        self.go_back(&edge);
                        self.flush().await;
                    }
                }
            }
        }
    }
}

async fn until(t: Option<Instant>) {
    match t {
        Some(t) => tokio::time::sleep_until(t).await,
        None => std::future::pending().await,
    }
}
