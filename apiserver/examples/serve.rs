//! One cluster on a real socket: `cargo run -p cfn-apiserver --example serve -- KUBECONFIG [PORT [NODES [none]]]`, until Ctrl-C;
//! with `none` without controllers.

use std::sync::Arc;

use cfn_apiserver::cluster::{Cluster, ClusterOptions};
use cfn_apiserver::node::NodeOptions;
use cfn_net::{Net, Seed, SystemClock, Transport};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or_else(|| "kubeconfig".to_owned());
    let port: Option<u16> = args.next().and_then(|p| p.parse().ok());
    let nodes: u8 = args.next().and_then(|p| p.parse().ok()).unwrap_or(0);
    let controllers = args.next().as_deref() != Some("none");
    let net = Net::new(Transport::Tcp, Seed(1));
    net.add_host("hub", "cloud");
    let started = tokio::time::Instant::now();
    let cluster = Cluster::start(ClusterOptions {
        socket: port.map(|p| ([127, 0, 0, 1], p).into()),
        controllers,
        bootstrap_token: "abcdef.0123456789abcdef".into(),
        ..ClusterOptions::new("hub", net.clone(), Arc::new(SystemClock), Seed(1))
    })
    .await?;
    println!("ready after {:?} at {:?}", started.elapsed(), cluster.socket());
    std::fs::write(&path, cluster.kubeconfig())?;
    let mut handles = Vec::new();
    let mut workloads = Default::default();
    cfn_apiserver::node::shell::register(&mut workloads);
    for i in 1..=nodes {
        let name = format!("node{i}");
        net.add_host(&name, "cloud");
        let config = cluster.config_for(&format!("system:node:{name}"), &["system:nodes".to_owned()]);
        let client = config.client(&net, &name)?;
        let options = NodeOptions {
            name,
            labels: Default::default(),
            annotations: Default::default(),
            taints: Vec::new(),
            capacity: Default::default(),
            client,
            net: net.clone(),
            clock: Arc::new(SystemClock),
            seed: Seed(u64::from(i)),
            timers: Default::default(),
            workloads: workloads.clone(),
            stages: Default::default(),
            pod_cidr: format!("10.244.{i}.0/24"),
            token_config: None,
        };
        handles.push(cluster.add_node(options).await?);
    }
    tokio::signal::ctrl_c().await?;
    cluster.stop().await;
    Ok(())
}
