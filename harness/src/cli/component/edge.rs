//! `cfn edge`: between a node's kubelet and its API server, on the node itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cfn_agent::edge::{EdgeAgent, EdgeOptions, EdgeTimers};
use cfn_net::{Seed, SystemClock};

use super::{Common, Process, duration, failed, run};
use crate::access::{Target, config};
use crate::cli::{CliError, out};

#[derive(Debug, clap::Args)]
pub struct EdgeArgs {
    /// The API server with the node's identity, FILE or FILE:CONTEXT
    #[arg(long, env = "CFN_KUBECONFIG")]
    kubeconfig: Target,
    /// The node
    #[arg(long, env = "CFN_NODE")]
    node: String,
    /// Directory on the node's disk
    #[arg(long, env = "CFN_STORE")]
    store: PathBuf,
    /// Where the kubelet connects to; port 0 is any free one
    #[arg(long, env = "CFN_LISTEN", default_value = "127.0.0.1:10261")]
    listen: SocketAddr,
    /// File into which the CA of the serving certificate is written when it listens
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// Between two looks at the API server
    #[arg(long, default_value = "10s", value_parser = duration)]
    heartbeat_interval: Duration,
    /// How long a look, or a request, may take
    #[arg(long, default_value = "2s", value_parser = duration)]
    heartbeat_timeout: Duration,
    /// So many failed looks in a row: it is gone
    #[arg(long, default_value_t = 3)]
    heartbeat_failed_retry: u32,
    /// So many good looks in a row: it is back
    #[arg(long, default_value_t = 2)]
    heartbeat_healthy_threshold: u32,
    /// How long a request to the API server may take
    #[arg(long, default_value = "30s", value_parser = duration)]
    request_timeout: Duration,
    #[command(flatten)]
    common: Common,
}

pub fn edge(args: EdgeArgs) -> Result<(), CliError> {
    let upstream = config(Some(&args.kubeconfig), args.request_timeout)?;
    run("edge", &args.common, |p: Process| async move {
        let host = args.listen.ip().to_string();
        let port = match args.listen.port() {
            0 => free_port(&p.net, &host).await?,
            port => port,
        };
        let agent = EdgeAgent::open(EdgeOptions {
            node: args.node,
            net: p.net.clone(),
            host: host.clone(),
            port,
            upstream,
            store: args.store.clone(),
            clock: Arc::new(SystemClock),
            seed: Seed::unpredictable(),
            timers: EdgeTimers {
                heartbeat_interval: args.heartbeat_interval,
                heartbeat_timeout: args.heartbeat_timeout,
                heartbeat_failed_retry: args.heartbeat_failed_retry,
                heartbeat_healthy_threshold: args.heartbeat_healthy_threshold,
            },
        })
        .map_err(|e| CliError::Environment {
            what: e.to_string(),
            cure: format!(
                "choose a --store that you may write to and no other agent uses, other than {}",
                args.store.display()
            ),
        })?;
        let ca = agent.client_config().ca_pem;
        let told = async {
            // The port is taken by us when it listens.
            let at = loop {
                match p.net.socket_addr(&host, port) {
                    Some(at) => break at,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            };
            match &args.ca_file {
                Some(f) => {
                    write(f, &ca).map_err(|e| CliError::io(&format!("writing {}", f.display()), &e))?;
                    out::line(&format!("serving at https://{at} with the CA in {}", f.display()));
                }
                None => out::line(&format!("serving at https://{at} with this CA:\n{ca}")),
            }
            p.ready.send_replace(true);
            std::future::pending::<Result<(), CliError>>().await
        };
        tokio::select! {
            biased;
            r = agent.run(p.cancel.clone()) => r.map_err(|e| match e {
                cfn_agent::edge::EdgeError::Listen { source, .. } => CliError::io(&format!("listening at {host}:{port}"), &source),
                e => failed(e),
            }),
            r = told => r,
        }
    })
}

async fn free_port(net: &cfn_net::Net, host: &str) -> Result<u16, CliError> {
    let listener = net.listen(host, 0).await;
    listener
        .map(|l| l.port())
        .map_err(|e| CliError::io(&format!("listening at {host}"), &e))
}

/// Whoever waits for the file sees all of it or none.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, path)
}
