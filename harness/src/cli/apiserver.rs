//! `cfn apiserver`: one embedded cluster, for kubectl and for tests of others.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cfn_apiserver::cluster::{Cluster, ClusterError, ClusterOptions};
use cfn_apiserver::data_dir::DataDirError;
use cfn_apiserver::node::{NodeOptions, Stages};
use cfn_apiserver::store::log::LogError;
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
    /// Where requests are written down, as JSON lines of audit.k8s.io/v1 Events at level Metadata
    #[arg(long)]
    audit_log: Option<PathBuf>,
    /// Which controllers run: all, or none where kube-controller-manager and kube-scheduler do their work
    #[arg(long, value_enum, default_value = "all", conflicts_with = "hub")]
    controllers: Controllers,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Controllers {
    All,
    None,
}

pub fn main(args: Args) -> Result<(), CliError> {
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
    let mut workloads = workloads::of_cluster(&args.name, Duration::ZERO, false);
    cfn_apiserver::node::shell::register(&mut workloads);
    let timers = cfn_apiserver::controllers::Timers::default();
    let cluster = Cluster::start(ClusterOptions {
        socket: Some(args.listen),
        extra_sans: args.san.clone(),
        timers: timers.clone(),
        workloads: workloads.clone(),
        controllers: !args.hub && args.controllers == Controllers::All,
        bootstrap_token: format!("cfnapi.{:016x}", seed.child("token").0),
        data_dir: args.data_dir.clone(),
        audit_log: args.audit_log.clone(),
        ..ClusterOptions::new(&args.name, net.clone(), clock.clone(), seed.child("cluster"))
    })
    .await
    .map_err(|e| match e {
        ClusterError::Listen { source, .. } => CliError::io(&format!("listening at {}", args.listen), &source),
        ClusterError::DataDir(e) => data_dir_error(&e),
        ClusterError::Audit { path, source } => CliError::io(&format!("writing {}", path.display()), &source),
        e => CliError::Failed(e.to_string()),
    })?;
    if args.controllers == Controllers::None {
        cluster.admit_external_controllers();
    }
    if let Some(found) = cluster.recovery() {
        if let Some(cut) = &found.cut {
            eprintln!("warning: {cut}");
        }
        if found.revision > 1 {
            out::line(&format!(
                "{} objects at resourceVersion {} were kept",
                found.objects, found.revision
            ));
        }
    }
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
        let options = NodeOptions {
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
        };
        let node = cluster.add_node(options).await;
        nodes.push(node.map_err(|e| CliError::Failed(format!("starting {name}: {e}")))?);
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
    let ended = tokio::select! {
        () = cancel.cancelled() => Ok(()),
        // Nothing is acknowledged any more: as etcd, it ends rather than to serve what it cannot keep.
        e = cluster.failed() => Err(CliError::Environment {
            what: format!("keeping state: {e}"),
            cure: "see to the disk and start again: all that was acknowledged is kept".into(),
        }),
    };
    for n in nodes {
        n.crash().await;
    }
    cluster.stop().await;
    ended
}

/// What is wrong with the data directory, and what helps.
fn data_dir_error(e: &DataDirError) -> CliError {
    let cure = match e {
        DataDirError::Log(LogError::Locked { .. }) => "end the other one, or give another --data-dir",
        DataDirError::Log(LogError::Corrupt { .. }) | DataDirError::Key { .. } => {
            "bring the directory back from a copy, or give another --data-dir"
        }
        DataDirError::Log(LogError::Version { .. }) => {
            "use the version of cfn that wrote it, or give another --data-dir"
        }
        DataDirError::Io { .. } | DataDirError::Log(LogError::Io { .. }) => {
            "see to the directory, or give another --data-dir"
        }
    };
    CliError::Environment {
        what: format!("--data-dir: {e}"),
        cure: cure.into(),
    }
}
