//! A cluster for a test.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "not every test file uses everything")]

use std::sync::Arc;

use cfn_apiserver::cluster::{Cluster, ClusterOptions};
use cfn_net::{Net, Seed, SharedClock, SystemClock, Transport, VirtualClock};

/// One cluster `hub` at site `cloud`; virtual time on the memory transport.
pub async fn cluster(transport: Transport, controllers: bool) -> (Cluster, Net) {
    cluster_with(transport, controllers, |_| {}).await
}

/// The same, with something else about it.
pub async fn cluster_with(
    transport: Transport,
    controllers: bool,
    change: impl FnOnce(&mut ClusterOptions),
) -> (Cluster, Net) {
    let net = Net::new(transport, Seed(7));
    net.add_host("hub", "cloud");
    let clock: SharedClock = match transport {
        Transport::Tcp | Transport::Host => Arc::new(SystemClock),
        Transport::Memory => Arc::new(VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap())),
    };
    let mut options = ClusterOptions {
        controllers,
        bootstrap_token: "abcdef.0123456789abcdef".into(),
        ..ClusterOptions::new("hub", net.clone(), clock, Seed(7))
    };
    change(&mut options);
    (Cluster::start(options).await.unwrap(), net)
}
