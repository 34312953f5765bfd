//! The roadside service of one edge site: MQTT broker, contexts, warnings, prediction and relocation.
//!
//! [`run`] listens on `host:port` (MQTT) and `host:port+1` (other edges). Everything that decides is in [`core`].

pub mod core;
pub mod frame;
pub mod options;
mod peer;
pub mod stats;
mod training;
mod warn;

pub use self::core::{Defect, Policy, Timers};
pub use options::{OptionsError, RoadsideOptions};
pub use training::Training;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::core::{Action, Core, CoreOptions, Event};
use crate::mqtt::{BrokerHandle, Bus, Message, QoS};
use crate::predict::default_predictor;
use crate::records::{KubeSink, RecordSink, RelocationRecord};
use crate::road::MapError;
use crate::topics::{self, Cam, Hazard, Leave, StatsRequest};
use crate::units::micros;

/// Why a roadside service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RoadsideError {
    /// The map is wrong.
    #[error("map: {0}")]
    Map(#[from] MapError),
    /// A port is taken.
    #[error("listen on {host}:{port}: {source}")]
    Listen {
        /// Host.
        host: String,
        /// Port.
        port: u16,
        /// What the network says.
        source: std::io::Error,
    },
}

/// The grain of the service's timers.
const TICK: Duration = Duration::from_millis(50);

/// Runs the service until cancelled. `o.ready` turns true when both ports listen.
///
/// # Errors
/// When the map is wrong or a port is taken.
pub async fn run(o: RoadsideOptions, cancel: CancellationToken) -> Result<(), RoadsideError> {
    o.map.validate()?;
    let listen = async |port: u16| {
        o.net
            .listen(&o.host, port)
            .await
            .map_err(|source| RoadsideError::Listen {
                host: o.host.clone(),
                port,
                source,
            })
    };
    let mqtt = listen(o.port).await?;
    let edges = listen(o.port.saturating_add(1)).await?;
    let (broker, mut inbox) = BrokerHandle::new(&topics::SERVICE_FILTERS);
    let (frames_tx, mut frames) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    let peers = peer::Peers::start(&o.net, &o.host, &o.peers(), &mut tasks);
    tasks.spawn(peer::listen(edges, frames_tx));
    let sinks = sinks(&o, &cancel, &mut tasks);
    let predictor = o.predictor.clone().unwrap_or_else(|| match (o.policy, &o.training) {
        (Policy::Predictive, Some(t)) => default_predictor(Some(t.table(&o.map))),
        _ => default_predictor(None),
    });
    let mut core = Core::new(CoreOptions {
        site: o.site.clone(),
        map: o.map.clone(),
        policy: o.policy,
        predictor,
        context_bytes: o.context_bytes,
        capacity: o.capacity,
        timers: o.timers,
        defect: o.defect,
    });
    let bus = broker.clone();
    tasks.spawn({
        let cancel = cancel.clone();
        async move { broker.serve(mqtt, cancel).await }
    });
    // nobody may be waiting for it
    o.ready.send_replace(true);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(f) = frames.recv() => Some(Event::Frame(Box::new(f))),
            Some(m) = inbox.recv() => {
                if m.topic == topics::STATS {
                    tell(&bus, &core, &m);
                    continue;
                }
                event_of(&m)
            }
            _ = tick.tick() => Some(Event::Tick),
        };
        let Some(event) = event else {
            core.malformed();
            continue;
        };
        for action in core.handle(micros(&o.clock), event) {
            match action {
                Action::Publish(topic, payload, qos) => bus.publish(&topic, payload, qos),
                Action::Send(to, frame) => peers.send(&to, frame),
                Action::Record(r) => {
                    for s in &sinks {
                        s.record(RelocationRecord::new(&r));
                    }
                }
            }
        }
    }
    o.ready.send_replace(false);
    Ok(())
}

fn sinks(o: &RoadsideOptions, cancel: &CancellationToken, tasks: &mut JoinSet<()>) -> Vec<Arc<dyn RecordSink>> {
    let mut sinks: Vec<Arc<dyn RecordSink>> = o.sink.iter().cloned().collect();
    if let Some(client) = &o.records {
        let (sink, work) = KubeSink::new(client.clone(), &o.namespace, cancel.clone());
        tasks.spawn(work);
        sinks.push(Arc::new(sink));
    }
    sinks
}

/// None: the payload is not what the topic promises.
fn event_of(m: &Message) -> Option<Event> {
    let vehicle_of = |prefix: &str, suffix: &str| {
        m.topic
            .strip_prefix(prefix)
            .and_then(|t| t.strip_suffix(suffix))
            .map(str::to_owned)
    };
    if let Some(vehicle) = vehicle_of("cam/", "") {
        let c: Cam = serde_json::from_slice(&m.payload).ok()?;
        return (c.vehicle == vehicle && c.seq > 0).then(|| Event::Cam(Box::new(c)));
    }
    if let Some(vehicle) = vehicle_of("ctl/", "/leave") {
        let l: Leave = serde_json::from_slice(&m.payload).ok()?;
        return (l.vehicle == vehicle).then_some(Event::Leave(l));
    }
    let h: Hazard = serde_json::from_slice(&m.payload).ok()?;
    Some(Event::Hazard(h))
}

fn tell(bus: &BrokerHandle, core: &Core, m: &Message) {
    match serde_json::from_slice::<StatsRequest>(&m.payload) {
        Ok(r) if crate::mqtt::filter::valid_topic(&r.reply_to) => {
            bus.publish(&r.reply_to, topics::to_json(&core.stats()), QoS::AtLeastOnce);
        }
        _ => tracing::debug!(client = m.client, "a request for statistics that cannot be read"),
    }
}
