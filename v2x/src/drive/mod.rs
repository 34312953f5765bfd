//! A whole run: vehicles and sensors in a network that has roadside services, and the evidence of it.

mod audit;
mod evidence;

pub use evidence::{Audit, CrossingEvidence, DriveEvidence, Percentiles};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cfn_net::{Net, Seed, SharedClock};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::mobility::{STEP_SECONDS, record};
use crate::mqtt::{Client, ClientError, ConnectOptions, QoS};
use crate::road::{MapError, RoadMap};
use crate::roadside::stats::Stats;
use crate::sensor::{SensorOptions, watch};
use crate::topics::{self, StatsRequest, to_json};
use crate::units::micros;
use crate::vehicle::{VehicleLog, VehicleOptions, drive};

/// Options of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DriveOptions {
    /// The map (the roadside services have the same).
    pub map: Arc<RoadMap>,
    /// Vehicles.
    pub vehicles: usize,
    /// Sensors.
    pub sensors: usize,
    /// Time that is measured.
    pub duration: Duration,
    /// Time before, driven and audited, whose latencies and crossings do not count.
    pub warmup: Duration,
    /// Policy of the services, for the record.
    pub policy: String,
    /// Messages per second and vehicle.
    pub rate_hz: f64,
    /// Size of a message, bytes.
    pub payload_bytes: usize,
    /// Silence of the radio at every change of cell. Measured medians (SIGCOMM'22, 43,856 hand-overs): LTE 33 ms, 5G NSA
    /// 43 ms, 5G SA 66 ms.
    pub radio_interruption: Duration,
    /// Time for the last acknowledgements.
    pub drain: Duration,
    /// Reports per second and sensor.
    pub sensor_hz: f64,
}

impl Default for DriveOptions {
    fn default() -> Self {
        Self {
            map: Arc::new(RoadMap::default()),
            vehicles: 20,
            sensors: 4,
            duration: Duration::from_secs(60),
            warmup: Duration::from_secs(2),
            policy: String::new(),
            rate_hz: 10.0,
            payload_bytes: 1600,
            radio_interruption: Duration::from_millis(33),
            drain: Duration::from_secs(10),
            sensor_hz: 1.0,
        }
    }
}

/// Why a run has no evidence.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The map is wrong.
    #[error("map: {0}")]
    Map(#[from] MapError),
    /// An option is out of range.
    #[error("{0} must be positive")]
    Option(&'static str),
    /// A roadside service does not tell its statistics.
    #[error("edge {edge} does not answer: {source}")]
    Edge {
        /// The edge.
        edge: String,
        /// Why.
        source: ClientError,
    },
    /// Cancelled before the end.
    #[error("cancelled")]
    Cancelled,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds driven.
    pub seconds: f64,
    /// Seconds to drive.
    pub total: f64,
}

/// Host (in the network) that asks the edges at the end; it stands at each edge's own site in turn.
pub const OBSERVER: &str = "v2x-observer";

/// Drives, then asks every edge for its statistics, and puts the evidence together.
///
/// # Errors
/// See [`DriveError`]. Faults in the network are no error: they show in the evidence. An edge that does not answer at the
/// end is one, because without it nothing can be audited.
pub async fn run(
    o: DriveOptions,
    net: &Net,
    clock: &SharedClock,
    seed: Seed,
    progress: impl Fn(Progress) + Send,
    cancel: CancellationToken,
) -> Result<DriveEvidence, DriveError> {
    o.map.validate()?;
    if !(o.rate_hz > 0.0 && o.rate_hz <= 1000.0) {
        return Err(DriveError::Option("rateHz"));
    }
    let total = o.warmup + o.duration;
    let lead_in = 30.0;
    let seconds = total.as_secs_f64() + 2.0 * STEP_SECONDS;
    let trace = record(&o.map, o.vehicles, seed.child("drive"), lead_in, seconds);
    let interval = Duration::from_secs_f64(1.0 / o.rate_hz);
    let messages = (total.as_secs_f64() * o.rate_hz).floor() as u64;
    let start = Instant::now();
    let started_at = micros(clock);
    let mut rng = seed.rng("drive.phases");
    let mut vehicles = JoinSet::new();
    for (i, points) in trace.cars.into_iter().enumerate() {
        // whole milliseconds, the grain of tokio's timers
        let phase = Duration::from_millis(rng.random_range(0..(interval.as_millis() as u64).max(1)));
        let v = VehicleOptions {
            name: format!("veh-{i}"),
            net: net.clone(),
            clock: clock.clone(),
            map: o.map.clone(),
            points: Arc::new(points),
            start,
            phase,
            interval,
            payload_bytes: o.payload_bytes,
            radio_interruption: o.radio_interruption,
            messages,
            drain: o.drain,
        };
        vehicles.spawn(drive(v, cancel.clone()));
    }
    let mut sensors = JoinSet::new();
    let mut rng = seed.rng("drive.sensors");
    for i in 0..o.sensors {
        let road = rng.random_range(0..o.map.roads.len());
        let (x, y) = o.map.point(road, rng.random_range(0.0..o.map.length(road)));
        let s = SensorOptions {
            name: format!("sen-{i}"),
            net: net.clone(),
            clock: clock.clone(),
            map: o.map.clone(),
            x,
            y,
            kind: ["ice", "obstacle", "roadworks", "fog"][i % 4].to_owned(),
            start: start + Duration::from_millis(rng.random_range(0..1000)),
            interval: Duration::from_secs_f64(1.0 / o.sensor_hz.max(0.001)),
            reports: (total.as_secs_f64() * o.sensor_hz) as u32,
        };
        sensors.spawn(watch(s, cancel.clone()));
    }
    let mut logs: BTreeMap<String, VehicleLog> = BTreeMap::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            r = vehicles.join_next() => match r {
                Some(Ok(log)) => { logs.insert(log.name.clone(), log); }
                Some(Err(e)) => if let Ok(panic) = e.try_into_panic() { std::panic::resume_unwind(panic) },
                None => break,
            },
            _ = tick.tick() => {
                let seconds = start.elapsed().min(total).as_secs_f64();
                progress(Progress { seconds, total: total.as_secs_f64() });
            }
        }
    }
    if cancel.is_cancelled() {
        return Err(DriveError::Cancelled);
    }
    let mut reports = 0_u64;
    while let Some(r) = sensors.join_next().await {
        reports += u64::from(r.unwrap_or(0));
    }
    // confirmations between edges may still be on their way
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut stats = BTreeMap::new();
    for e in &o.map.edges {
        let s = ask(&o.map, net, &e.site).await;
        stats.insert(
            e.site.clone(),
            s.map_err(|source| DriveError::Edge {
                edge: e.site.clone(),
                source,
            })?,
        );
    }
    net.remove_host(OBSERVER);
    let measured_from = started_at + crate::units::duration_micros(o.warmup);
    Ok(audit::evidence(
        &o,
        seed,
        started_at,
        measured_from,
        &logs,
        &stats,
        reports,
    ))
}

/// Asks a roadside service for its statistics, as anybody could.
///
/// # Errors
/// When it cannot be reached or does not answer within 5 s.
pub async fn ask(map: &RoadMap, net: &Net, site: &str) -> Result<Stats, ClientError> {
    let (host, port) = map.endpoint(site).ok_or(ClientError::Unexpected)?;
    net.add_host(OBSERVER, &net.site_of(&host).unwrap_or_else(|| site.to_owned()));
    let work = async {
        let o = ConnectOptions {
            timeout: Duration::from_secs(5),
            ..ConnectOptions::new(OBSERVER)
        };
        let mut c = Client::connect(net, OBSERVER, &host, port, o).await?;
        let reply_to = format!("stats/{OBSERVER}");
        c.subscribe(std::slice::from_ref(&reply_to), QoS::AtLeastOnce).await?;
        c.publish(topics::STATS, to_json(&StatsRequest { reply_to }), QoS::AtLeastOnce)
            .await?;
        let p = c.recv().await?;
        serde_json::from_slice(&p.payload).map_err(|_| ClientError::Unexpected)
    };
    tokio::time::timeout(Duration::from_secs(5), work)
        .await
        .unwrap_or(Err(ClientError::Timeout))
}
