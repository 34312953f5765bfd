//! A vehicle: drives along its trace, is moved from radio site to radio site, speaks to one edge at a time.
//!
//! Messages are numbered and kept until the *application* acknowledges them (MQTT's PUBACK only says that the broker has
//! them). When the radio attaches to a cell of another edge, the vehicle says that it leaves, is silent for the radio's
//! interruption, and then speaks to the new edge, sending again what is unacknowledged: over the connection made ahead,
//! if the old edge had told it to ([`Control::Prepare`]), else over a new one. Told that its context could not be brought
//! there ([`Control::Stay`]), it stays. If the new edge cannot be reached or sends
//! it back, the vehicle returns to the one that acknowledged last, and tries again after [`RETRY`].

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cfn_net::{Net, SharedClock};
use rumqttc::mqttbytes::v4::Publish;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::mobility::{STEP_SECONDS, TracePoint};
use crate::mqtt::{Client, ClientError, ConnectOptions, QoS};
use crate::road::RoadMap;
use crate::topics::{self, Ack, Cam, Control, Leave, Warning, to_json};
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

/// One message that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Edge that acknowledged.
    pub edge: String,
    /// When it was made.
    pub sent_at: Micros,
    /// When it was applied.
    pub applied_at: Micros,
    /// When the vehicle knew.
    pub acked_at: Micros,
}

/// One warning received.
#[derive(Debug, Clone, PartialEq)]
pub struct Warned {
    /// The warning.
    pub warning: Warning,
    /// When it arrived.
    pub received_at: Micros,
}

/// One turn to another edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// Edge it left.
    pub from: String,
    /// Edge it turned to.
    pub to: String,
    /// The vehicle's epoch there.
    pub epoch: u64,
    /// When the radio handed over.
    pub at: Micros,
    /// When the first acknowledgement of the new edge arrived.
    pub served_at: Option<Micros>,
    /// It had to go back.
    pub failed: bool,
    /// A connection had been made ahead.
    pub prepared: bool,
}

/// What a vehicle saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VehicleLog {
    /// The vehicle.
    pub name: String,
    /// When each message was made; number 1 first.
    pub sent: Vec<Micros>,
    /// Acknowledged messages by number.
    pub samples: BTreeMap<u64, Sample>,
    /// Warnings.
    pub warnings: Vec<Warned>,
    /// Turns.
    pub switches: Vec<Switch>,
    /// Connections that broke or could not be made.
    pub broken: u64,
    /// Messages sent again.
    pub resent: u64,
}

struct Link {
    edge: String,
    client: Client,
    /// Next number to send on it.
    next: u64,
}

type Dialing = Pin<Box<dyn Future<Output = Result<Client, ClientError>> + Send>>;

struct Dial {
    edge: String,
    /// It is to be the current connection (else one made ahead).
    current: bool,
    work: Dialing,
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

    fn attached(&self) -> &str {
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

    /// Between turning to an edge and being served by it.
    fn switching(&self) -> bool {
        self.served_by.as_deref().is_some_and(|s| s != self.edge)
    }

    fn is_blocked(&self, edge: &str) -> bool {
        self.blocked.get(edge).is_some_and(|t| Instant::now() < *t)
    }

    /// The last word to the old edge.
    async fn leave(&mut self, to: &str) {
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
    fn turn(&mut self, to: &str, at: Micros) {
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

    /// Everything unacknowledged goes (again) over the current connection.
    fn rewind(&mut self) {
        let first = self.unacked.keys().next().copied().unwrap_or(self.seq + 1);
        if let Some(l) = self.current.as_mut() {
            l.next = first;
        }
    }

    fn start_dial(&mut self, edge: &str, current: bool) {
        let Some((host, port)) = self.o.map.endpoint(edge) else {
            return;
        };
        let (net, name) = (self.o.net.clone(), self.o.name.clone());
        let work = Box::pin(async move {
            let mut c = Client::connect(&net, &name, &host, port, ConnectOptions::new(&name)).await?;
            let filters = [topics::ack(&name), topics::warn(&name), topics::ctl(&name)];
            c.subscribe(&filters, QoS::AtLeastOnce).await?;
            Ok(c)
        });
        self.dial = Some(Dial {
            edge: edge.to_owned(),
            current,
            work,
        });
    }

    async fn dialed(&mut self, r: Result<Client, ClientError>) {
        let Some(d) = self.dial.take() else { return };
        match r {
            Ok(client) if d.current => {
                self.current = Some(Link {
                    edge: d.edge,
                    client,
                    next: 0,
                });
                self.heard = Instant::now();
                self.rewind();
                self.flush().await;
            }
            Ok(client) => {
                self.ahead = Some(Link {
                    edge: d.edge,
                    client,
                    next: 0,
                })
            }
            Err(_) => {
                self.log.broken += 1;
                if d.current {
                    self.unreachable();
                }
            }
        }
    }

    /// The edge it turned to cannot be reached: back, or once more.
    fn unreachable(&mut self) {
        match self.served_by.clone() {
            Some(back) if back != self.edge => self.go_back(&back),
            _ => {
                // the edge that served it is gone; the one behind its cell may take over
                let attached = self.attached().to_owned();
                if attached != self.edge && !self.is_blocked(&attached) {
                    self.turn(&attached, micros(&self.o.clock));
                } else {
                    self.redial_at = Some(Instant::now() + REDIAL);
                }
            }
        }
    }

    fn go_back(&mut self, to: &str) {
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

    fn broken(&mut self) {
        self.log.broken += 1;
        self.current = None;
        if self.switching() {
            self.unreachable();
        } else {
            let edge = self.edge.clone();
            self.start_dial(&edge, true);
        }
    }

    /// No acknowledgement for too long.
    fn unanswered(&mut self) {
        self.heard = Instant::now();
        self.broken();
    }

    async fn flush(&mut self) {
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

    fn acknowledged(&mut self, a: &Ack, now: Micros) {
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

    /// The context is at that edge.
    async fn prepare(&mut self, edge: &str) {
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

async fn until(t: Option<Instant>) {
    match t {
        Some(t) => tokio::time::sleep_until(t).await,
        None => std::future::pending().await,
    }
}

async fn dialed(d: &mut Option<Dial>) -> Result<Client, ClientError> {
    match d {
        Some(d) => d.work.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn received(l: &mut Option<Link>) -> Result<Publish, ClientError> {
    match l {
        Some(l) => l.client.recv().await,
        None => std::future::pending().await,
    }
}
