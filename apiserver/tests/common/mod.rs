//! A cluster for a test.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "not every test file uses everything")]

use std::process::{Command, Stdio};
use std::sync::Arc;

use cfn_apiserver::cluster::{Cluster, ClusterOptions};
use cfn_apiserver::node::{NodeHandle, NodeOptions, Workloads, shell};
use cfn_net::{Net, Seed, SharedClock, SystemClock, Transport, VirtualClock};
use libtest_mimic::{Arguments, Trial};

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

/// Simulated nodes of a cluster on a socket: `node1`, `node2`, ...
pub async fn nodes(cluster: &Cluster, net: &Net, n: u8) -> Vec<NodeHandle> {
    let mut workloads = Workloads::default();
    shell::register(&mut workloads);
    let mut nodes = Vec::new();
    for i in 1..=n {
        let name = format!("node{i}");
        net.add_host(&name, "cloud");
        let config = cluster.config_for(&format!("system:node:{name}"), &["system:nodes".to_owned()]);
        let options = NodeOptions {
            client: config.client(net, &name).unwrap(),
            name,
            labels: Default::default(),
            annotations: Default::default(),
            taints: Vec::new(),
            capacity: Default::default(),
            net: net.clone(),
            clock: Arc::new(SystemClock),
            seed: Seed(u64::from(i)),
            timers: Default::default(),
            workloads: workloads.clone(),
            stages: Default::default(),
            pod_cidr: format!("10.244.{i}.0/24"),
            token_config: None,
        };
        nodes.push(cluster.add_node(options).await.unwrap());
    }
    nodes
}

/// Runs the one test of a program that may not be here: ignored, with the reason in its name, unless `found` says that it is.
pub fn with_program<F: Future<Output = ()> + 'static>(
    name: &str,
    mut found: Command,
    reason: &'static str,
    test: fn() -> F,
) {
    let here = found.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let trial = if here.is_ok_and(|s| s.success()) {
        Trial::test(name, move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.block_on(test());
            Ok(())
        })
    } else {
        Trial::test(format!("{name} ({reason})"), || Err(reason.into())).with_ignored_flag(true)
    };
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}
