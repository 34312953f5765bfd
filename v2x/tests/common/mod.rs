//! A town with two edges, their radio sites and links, and roadside services in it.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;
use std::time::Duration;

use cfn_net::{LinkSpec, Net, Seed, SharedClock, Transport, VirtualClock};
use cfn_v2x::drive::{DriveEvidence, DriveOptions};
use cfn_v2x::road::{EdgeOptions, MapOptions, RoadMap, generate};
use cfn_v2x::roadside::{self, Policy, RoadsideOptions, Training};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub const EDGES: [&str; 2] = ["edge-a", "edge-b"];

fn edges() -> Vec<EdgeOptions> {
    let edges = EDGES.map(|s| EdgeOptions {
        site: s.to_owned(),
        endpoint: format!("node-{s}:1883"),
        radio_sites: vec![format!("radio-{s}")],
        cells: 4,
    });
    edges.to_vec()
}

pub fn town(seed: u64) -> Arc<RoadMap> {
    Arc::new(generate(&MapOptions::town(edges()), Seed(seed)))
}

/// 240 m x 80 m: whoever drives here crosses between the edges every few seconds.
pub fn village(seed: u64) -> Arc<RoadMap> {
    let o = MapOptions {
        columns: 4,
        rows: 2,
        block: 80.0,
        edges: edges(),
    };
    Arc::new(generate(&o, Seed(seed)))
}

pub fn link(ms: f64, mbit: f64) -> LinkSpec {
    LinkSpec {
        latency: ms,
        throughput_ul: mbit,
        throughput_dl: mbit,
        ..LinkSpec::default()
    }
}

pub struct World {
    pub net: Net,
    pub clock: SharedClock,
    pub map: Arc<RoadMap>,
    pub seed: Seed,
    pub tasks: JoinSet<()>,
    pub cancel: CancellationToken,
}

impl World {
    /// Radio 5 ms to its own edge and 14 ms to the other; 10 ms and 100 Mbit/s between the edges.
    pub fn new(transport: Transport, clock: SharedClock, seed: u64) -> Self {
        let net = Net::new(transport, Seed(seed));
        for s in EDGES {
            net.add_host(&format!("node-{s}"), s);
            for t in EDGES {
                let ms = if s == t { 5.0 } else { 14.0 };
                net.set_link(&format!("radio-{s}"), t, link(ms, 200.0));
            }
        }
        net.set_link(EDGES[0], EDGES[1], link(10.0, 100.0));
        let cancel = CancellationToken::new();
        Self {
            net,
            clock,
            map: town(seed),
            seed: Seed(seed),
            tasks: JoinSet::new(),
            cancel,
        }
    }

    pub fn virtual_time(seed: u64) -> Self {
        let epoch = "2026-01-01T00:00:00Z".parse().unwrap();
        Self::new(Transport::Memory, Arc::new(VirtualClock::starting_at(epoch)), seed)
    }

    pub async fn edge(&mut self, site: &str, policy: Policy, f: impl FnOnce(&mut RoadsideOptions)) {
        let host = format!("node-{site}");
        let seed = self.seed.child(site);
        let mut o = RoadsideOptions::new(
            site,
            &host,
            self.map.clone(),
            policy,
            self.net.clone(),
            self.clock.clone(),
            seed,
        );
        o.training = Some(Training {
            vehicles: 20,
            seconds: 120.0,
            ..Training::default()
        });
        f(&mut o);
        let mut ready = o.ready.subscribe();
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move { roadside::run(o, cancel).await.unwrap() });
        tokio::time::timeout(Duration::from_secs(5), ready.wait_for(|r| *r))
            .await
            .unwrap()
            .unwrap();
    }

    pub async fn edges(&mut self, policy: Policy, f: impl Fn(&mut RoadsideOptions)) {
        for site in EDGES {
            self.edge(site, policy, &f).await;
        }
    }

    pub fn options(&self, vehicles: usize, seconds: u64) -> DriveOptions {
        DriveOptions {
            map: self.map.clone(),
            vehicles,
            duration: Duration::from_secs(seconds),
            ..DriveOptions::default()
        }
    }

    pub async fn drive(&self, o: DriveOptions) -> DriveEvidence {
        cfn_v2x::drive::run(o, &self.net, &self.clock, self.seed, |_| {}, self.cancel.clone())
            .await
            .unwrap()
    }
}
