//! How long an embedded cluster takes to be ready, and what an idle one costs: `cargo run --release -p cfn-apiserver
//! --example ready [CLUSTERS]`. Ready: `/readyz` answers over TLS, and the namespaces can be listed.
#![allow(clippy::unwrap_used, reason = "an example")]

use std::sync::Arc;
use std::time::Duration;

use cfn_apiserver::cluster::{Cluster, ClusterOptions};
use cfn_net::{Net, Seed, SystemClock, Transport};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use tokio::time::Instant;

/// Resident memory of this process, KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[tokio::main]
async fn main() {
    let n: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(20);
    let net = Net::new(Transport::Tcp, Seed(1));
    let (mut clusters, mut times) = (Vec::new(), Vec::new());
    let before = resident();
    let mut first = 0;
    for i in 0..n {
        let host = format!("cluster-{i}");
        net.add_host(&host, "here");
        let began = Instant::now();
        let cluster = Cluster::start(ClusterOptions {
            bootstrap_token: "abcdef.0123456789abcdef".to_owned(),
            ..ClusterOptions::new(&host, net.clone(), Arc::new(SystemClock), Seed(1).child(&host))
        })
        .await
        .unwrap();
        let client = cluster.admin_config().client(&net, "cluster-0").unwrap();
        let api: Api<Namespace> = Api::all(client);
        assert!(api.list(&Default::default()).await.unwrap().items.len() >= 4);
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        clusters.push(cluster);
        if i == 0 {
            first = resident();
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let each = (resident() - first) / (n.max(2) as u64 - 1);
    let cold = times[0];
    times.sort_by(f64::total_cmp);
    println!(
        "ready: first {cold:.1} ms, median {:.1} ms, slowest {:.1} ms of {n}",
        times[n / 2],
        times[n - 1]
    );
    println!("memory: {before} KiB before, {first} KiB with one cluster, {each} KiB for each further idle one");
}
