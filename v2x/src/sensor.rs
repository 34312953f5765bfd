//! A road sensor: stands at a place, tells its edge what it sees.

use std::sync::Arc;
use std::time::Duration;

use cfn_net::{Net, SharedClock};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::mqtt::{Client, ConnectOptions, QoS};
use crate::road::{RoadMap, attach};
use crate::topics::{self, Hazard, to_json};
use crate::units::micros;

/// Options of one sensor.
#[derive(Clone)]
pub struct SensorOptions {
    /// Name; also its host in the network.
    pub name: String,
    /// Network.
    pub net: Net,
    /// Wall time.
    pub clock: SharedClock,
    /// Map.
    pub map: Arc<RoadMap>,
    /// East, metres.
    pub x: f64,
    /// North, metres.
    pub y: f64,
    /// What it sees.
    pub kind: String,
    /// First report.
    pub start: Instant,
    /// Interval between reports.
    pub interval: Duration,
    /// Number of reports.
    pub reports: u32,
}

/// Reports until done or cancelled; connects again when the connection breaks. Returns the number of reports sent.
pub async fn watch(o: SensorOptions, cancel: CancellationToken) -> u32 {
    let cell = &o.map.cells[attach(&o.map, None, o.x, o.y)];
    let Some((host, port)) = o.map.endpoint(&cell.edge_site) else {
        return 0;
    };
    o.net.add_host(&o.name, &cell.radio_site);
    let mut client: Option<Client> = None;
    let mut sent = 0;
    for i in 0..o.reports {
        let due = o.start + o.interval * i;
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return sent,
                // reads acknowledgements and pings
                r = idle(&mut client) => if r { client = None },
                () = tokio::time::sleep_until(due) => break,
            }
        }
        if client.is_none() {
            client = Client::connect(&o.net, &o.name, &host, port, ConnectOptions::new(&o.name))
                .await
                .ok();
        }
        let Some(c) = client.as_mut() else { continue };
        let h = Hazard {
            id: o.name.clone(),
            kind: o.kind.clone(),
            x: o.x,
            y: o.y,
            seen_at: micros(&o.clock),
        };
        match c
            .publish(&topics::sensor_hazard(&o.name), to_json(&h), QoS::AtLeastOnce)
            .await
        {
            Ok(_) => sent += 1,
            Err(_) => client = None,
        }
    }
    if let Some(c) = client {
        // the connection may be gone already
        let _ = c.disconnect().await;
    }
    o.net.remove_host(&o.name);
    sent
}

/// True when the connection has ended.
async fn idle(c: &mut Option<Client>) -> bool {
    match c {
        Some(c) => c.recv().await.is_err(),
        None => std::future::pending().await,
    }
}
