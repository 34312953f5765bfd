//! `cfn apiserver`: one embedded cluster, for kubectl and for tests of others.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cfn_apiserver::cluster::{Cluster, ClusterError, ClusterOptions};
use cfn_apiserver::node::{NodeOptions, Stages};
use cfn_net::{ClientConfig, Identity, Net, Seed, SystemClock, Transport};
use tokio_util::sync::CancellationToken;

use super::{CliError, cancel_on_signal, out};
use crate::lane::workloads;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where state is kept across restarts (not kept without)
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Serve a hub: workloads are templates there, not run by the cluster's own controllers
    #[arg(long)]
    hub: bool,
    /// How many simulated nodes it has
    #[arg(long, default_value_t = 1)]
    nodes: u32,
    /// Cores of each node
    #[arg(long, default_value = "32")]
    node_cpu: String,
    /// Memory of each node
    #[arg(long, default_value = "256Gi")]
    node_memory: String,
    /// Written when the cluster is ready
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Further names and addresses in the serving certificate
    #[arg(long)]
    san: Vec<String>,
    /// The cluster's name
    #[arg(long, default_value = "cfn")]
    name: String,
    /// Seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn main(args: Args) -> Result<(), CliError> {
    if let Some(d) = &args.data_dir {
        return Err(CliError::Environment {
            what: format!("--data-dir {}: this version keeps state in memory only", d.display()),
            cure: "leave --data-dir out".into(),
        });
    }
    let rt = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("starting a runtime", &e))?;
    let cancel = CancellationToken::new();
    cancel_on_signal(cancel.clone())?;
    let result = rt.block_on(serve(&args, &cancel));
    rt.shutdown_timeout(Duration::from_secs(2));
    let _ = std::fs::remove_file(&args.kubeconfig);
    result
}

async fn serve(args: &Args, cancel: &CancellationToken) -> Result<(), CliError> {
    let (seed, clock) = (Seed(args.seed), Arc::new(SystemClock));
    let net = Net::new(Transport::Tcp, seed.child("net"));
    net.add_host(&args.name, "here");
    let workloads = workloads::of_cluster(&args.name, Duration::ZERO, false);
    let timers = cfn_apiserver::controllers::Timers::default();
    let cluster = Cluster::start(ClusterOptions {
        name: args.name.clone(),
        net: net.clone(),
        clock: clock.clone(),
        seed: seed.child("cluster"),
        host: args.name.clone(),
        port: 6443,
        socket: Some(args.listen),
        extra_sans: args.san.clone(),
        timers: timers.clone(),
        workloads: workloads.clone(),
        controllers: !args.hub,
        allow_anonymous_health: true,
        bootstrap_token: format!("cfnapi.{:016x}", seed.child("token").0),
    })
    .await
    .map_err(|e| match e {
        ClusterError::Listen { source, .. } => CliError::io(&format!("listening at {}", args.listen), &source),
        e => CliError::Failed(e.to_string()),
    })?;
    let mut tasks = tokio::task::JoinSet::new();
    if args.hub {
        let (local, ca) = (cluster.local(), cluster.ca().clone());
        cfn_apiserver::controllers::spawn_without_workloads(
            local,
            timers.clone(),
            ca,
            cancel.child_token(),
            &mut tasks,
        );
    }
    let mut nodes = Vec::new();
    for i in 1..=args.nodes {
        let name = format!("node-{i}");
        net.add_host(&name, "here");
        let config = cluster.config_for(&format!("system:node:{name}"), &["system:nodes".to_owned()]);
        let client = config
            .client(&net, &name)
            .map_err(|e| CliError::Failed(e.to_string()))?;
        let capacity = [
            ("cpu", args.node_cpu.as_str()),
            ("memory", &args.node_memory),
            ("pods", "110"),
            ("ephemeral-storage", "100Gi"),
        ];
        let node = cfn_apiserver::node::start(NodeOptions {
            name: name.clone(),
            labels: std::collections::BTreeMap::new(),
            annotations: std::collections::BTreeMap::new(),
            taints: Vec::new(),
            capacity: capacity
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
            client,
            net: net.clone(),
            clock: clock.clone(),
            seed: seed.child(&name),
            timers: timers.clone(),
            workloads: workloads.clone(),
            stages: Stages::default(),
            pod_cidr: format!("10.{}.{}.0/24", 10 + i / 256, i % 256),
            token_config: Some(ClientConfig {
                identity: Identity::Anonymous,
                ..cluster.admin_config()
            }),
        })
        .await
        .map_err(|e| CliError::Failed(format!("starting {name}: {e}")))?;
        nodes.push(node);
    }
    let path = &args.kubeconfig;
    std::fs::write(path, cluster.kubeconfig()).map_err(|e| CliError::io(&format!("writing {}", path.display()), &e))?;
    let at = net
        .socket_addr(&args.name, 6443)
        .map(|a| a.to_string())
        .unwrap_or_default();
    out::line(&format!(
        "serving at https://{at}; kubectl --kubeconfig {} get nodes",
        path.display()
    ));
    cancel.cancelled().await;
    for n in nodes {
        n.crash().await;
    }
    cluster.stop().await;
    Ok(())
}
