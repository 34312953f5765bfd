//! `cfn scheduler`, `agent`, `edge`, `v2x`: the components, against clusters that exist, by kubeconfig.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use cfn_net::{ClientConfig, Identity, Net, Seed, SystemClock, Transport};
use tokio_util::sync::CancellationToken;

use super::{CliError, cancel_on_signal, out};
use crate::input::Problem;

/// The site of everything outside, in a component's own network: nothing is shaped there.
const OUTSIDE: &str = "outside";
/// The component's own host in its network.
const HERE: &str = "localhost";

#[derive(Debug, clap::Args)]
pub struct SchedulerArgs {
    /// The hub
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Which policies are ours, by their schedulerName
    #[arg(long, default_value = "default-scheduler")]
    scheduler_name: String,
    /// Accept agents that ask for exactly an agent's identity
    #[arg(long)]
    auto_approve: bool,
}

#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    /// The hub, with a bootstrap identity
    #[arg(long)]
    hub_kubeconfig: PathBuf,
    /// The member
    #[arg(long)]
    member_kubeconfig: PathBuf,
    /// Name of the member on the hub
    #[arg(long)]
    cluster: String,
    /// Its site
    #[arg(long, default_value = OUTSIDE)]
    site: String,
    /// Where the identity is kept
    #[arg(long)]
    state: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct EdgeArgs {
    /// The API server, with the node's identity
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The node
    #[arg(long)]
    node: String,
    /// Directory on the node's disk
    #[arg(long)]
    store: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct V2xArgs {
    /// Where relocations are recorded
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

fn block_on<F>(make: impl FnOnce(CancellationToken) -> F) -> Result<(), CliError>
where
    F: Future<Output = Result<(), CliError>>,
{
    let rt = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("starting a runtime", &e))?;
    let cancel = CancellationToken::new();
    cancel_on_signal(cancel.clone())?;
    let result = rt.block_on(make(cancel));
    rt.shutdown_timeout(Duration::from_secs(2));
    result
}

/// The server and identity of a kubeconfig's current context, reachable in `net` under the server's own name: what
/// `net` listens for there is passed on, byte by byte, to the real server.
async fn outside(net: &Net, path: &Path) -> Result<ClientConfig, CliError> {
    let shown = path.display().to_string();
    let wrong =
        |what: &str| CliError::from(Problem::of_file(&shown, what).expected("a kubeconfig with embedded credentials"));
    let k = kube::config::Kubeconfig::read_from(path).map_err(|e| wrong(&e.to_string()))?;
    let current = k.current_context.as_deref().unwrap_or_default();
    let context = k
        .contexts
        .iter()
        .find(|c| c.name == current)
        .and_then(|c| c.context.as_ref())
        .ok_or_else(|| wrong("it has no current context"))?;
    let cluster = k
        .clusters
        .iter()
        .find(|c| c.name == context.cluster)
        .and_then(|c| c.cluster.as_ref())
        .ok_or_else(|| wrong("its context's cluster is not there"))?;
    let user = k
        .auth_infos
        .iter()
        .find(|a| Some(&a.name) == context.user.as_ref())
        .and_then(|a| a.auth_info.clone())
        .unwrap_or_default();
    let decode = |data: &str| {
        base64::engine::general_purpose::STANDARD
            .decode(data)
            .ok()
            .and_then(|b| String::from_utf8(b).ok())
    };
    let server = cluster
        .server
        .clone()
        .ok_or_else(|| wrong("its cluster has no server"))?;
    let ca_pem = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
        (Some(d), _) => decode(d).ok_or_else(|| wrong("certificate-authority-data is not base64"))?,
        (None, Some(f)) => std::fs::read_to_string(f).map_err(|e| wrong(&e.to_string()))?,
        (None, None) => return Err(wrong("its cluster has no certificate authority")),
    };
    let json = serde_json::to_value(&user).unwrap_or_default();
    let text = |f: &str| json.get(f).and_then(serde_json::Value::as_str).map(str::to_owned);
    let identity = match (text("client-certificate-data"), text("client-key-data"), text("token")) {
        (Some(c), Some(key), _) => match (decode(&c), decode(&key)) {
            (Some(cert_pem), Some(key_pem)) => Identity::Certificate { cert_pem, key_pem },
            _ => return Err(wrong("client-certificate-data or client-key-data is not base64")),
        },
        (_, _, Some(t)) => Identity::Token(t),
        _ => Identity::Anonymous,
    };
    let rest = server
        .strip_prefix("https://")
        .ok_or_else(|| wrong("its server is not https"))?;
    let authority = rest.split('/').next().unwrap_or(rest).to_owned();
    let (host, port) = match authority.rsplit_once(':') {
        Some((h, p)) => (
            h.to_owned(),
            p.parse().map_err(|_| wrong("its server's port is not a number"))?,
        ),
        None => (authority.clone(), 443),
    };
    net.add_host(&host, OUTSIDE);
    let mut listener = net
        .listen(&host, port)
        .await
        .map_err(|e| CliError::io("listening on loopback", &e))?;
    let real = format!("{host}:{port}");
    tokio::spawn(async move {
        while let Ok(mut inner) = listener.accept().await {
            let real = real.clone();
            tokio::spawn(async move {
                #[allow(clippy::disallowed_methods, reason = "the other end is outside the testbed")]
                let outer = tokio::net::TcpStream::connect(&real).await;
                match outer {
                    Ok(mut outer) => {
                        let _ = tokio::io::copy_bidirectional(&mut inner, &mut outer).await;
                    }
                    Err(e) => tracing::warn!("connecting to {real}: {e}"),
                }
            });
        }
    });
    Ok(ClientConfig {
        server: format!("https://{host}:{port}"),
        ca_pem,
        identity,
        timeout: Duration::from_secs(30),
    })
}

fn net() -> Net {
    let net = Net::new(Transport::Tcp, Seed(0));
    net.add_host(HERE, OUTSIDE);
    net
}

/// A seed that differs between processes, where nothing has to be repeated.
fn seed() -> Seed {
    use cfn_net::Clock;
    Seed(SystemClock.now().as_nanosecond() as u64 ^ u64::from(std::process::id()))
}

fn failed(e: impl std::fmt::Display) -> CliError {
    CliError::Failed(e.to_string())
}

pub fn scheduler(args: SchedulerArgs) -> Result<(), CliError> {
    block_on(|cancel| async move {
        let net = net();
        let client = outside(&net, &args.kubeconfig)
            .await?
            .client(&net, HERE)
            .map_err(failed)?;
        define(&client).await.map_err(failed)?;
        let options = cfn_scheduler::controllers::Options {
            client,
            clock: Arc::new(SystemClock),
            seed: seed(),
            timers: cfn_scheduler::controllers::Timers::default(),
            scheduler_name: args.scheduler_name,
            defect: None,
            auto_approve: args.auto_approve,
            ready: None,
        };
        cfn_scheduler::controllers::run(options, cancel).await.map_err(failed)
    })
}

/// Defines what the hub does not know yet of the kinds that the scheduler and the agents speak; what it has (a real
/// Karmada control plane has most) is left as it is.
async fn define(client: &kube::Client) -> kube::Result<()> {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let api: kube::Api<CustomResourceDefinition> = kube::Api::all(client.clone());
    for crd in cfn_api::crds() {
        match api.create(&kube::api::PostParams::default(), &crd).await {
            Err(e) if !matches!(&e, kube::Error::Api(s) if s.code == 409) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

pub fn agent(args: AgentArgs) -> Result<(), CliError> {
    block_on(|cancel| async move {
        let net = net();
        let hub = outside(&net, &args.hub_kubeconfig).await?;
        let member = outside(&net, &args.member_kubeconfig)
            .await?
            .client(&net, HERE)
            .map_err(failed)?;
        let options = cfn_agent::cluster::ClusterAgentOptions {
            cluster: args.cluster,
            site: args.site,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            provider: None,
            region: None,
            zones: Vec::new(),
            net,
            host: HERE.to_owned(),
            hub,
            member,
            clock: Arc::new(SystemClock),
            seed: seed(),
            timers: cfn_agent::cluster::AgentTimers::default(),
            state: args.state,
        };
        cfn_agent::cluster::run(options, cancel).await.map_err(failed)
    })
}

pub fn edge(args: EdgeArgs) -> Result<(), CliError> {
    block_on(|cancel| async move {
        let net = net();
        let upstream = outside(&net, &args.kubeconfig).await?;
        let agent = cfn_agent::edge::EdgeAgent::open(cfn_agent::edge::EdgeOptions {
            node: args.node,
            net: net.clone(),
            host: HERE.to_owned(),
            port: cfn_agent::edge::PORT,
            upstream,
            store: args.store.clone(),
            clock: Arc::new(SystemClock),
            seed: seed(),
            timers: cfn_agent::edge::EdgeTimers::default(),
        })
        .map_err(|e| CliError::Environment {
            what: e.to_string(),
            cure: format!(
                "choose a --store that you may write to, other than {}",
                args.store.display()
            ),
        })?;
        let ca = agent.client_config().ca_pem;
        let told = async {
            // The port is known when it listens.
            loop {
                if let Some(at) = net.socket_addr(HERE, cfn_agent::edge::PORT) {
                    out::line(&format!("serving at https://{at} with this CA:\n{ca}"));
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            biased;
            r = agent.run(cancel) => r.map_err(failed),
            () = told => Ok(()),
        }
    })
}

pub fn v2x(args: V2xArgs) -> Result<(), CliError> {
    block_on(|cancel| async move {
        let net = net();
        let env: BTreeMap<String, String> = std::env::vars().filter(|(k, _)| k.starts_with("ROADSIDE_")).collect();
        let made = cfn_v2x::roadside::RoadsideOptions::from_env(&env, HERE, net.clone(), Arc::new(SystemClock), seed());
        let mut options = made.map_err(|e| {
            CliError::from(
                Problem::of_file("environment", e.to_string()).expected("the ROADSIDE_ variables of a roadside pod"),
            )
        })?;
        if let Some(k) = &args.kubeconfig {
            options.records = Some(outside(&net, k).await?.client(&net, HERE).map_err(failed)?);
        }
        let port = options.port;
        let mut ready = options.ready.subscribe();
        let told = async {
            while ready.changed().await.is_ok() {
                if let (true, Some(at)) = (*ready.borrow(), net.socket_addr(HERE, port)) {
                    out::line(&format!("serving MQTT at {at}"));
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            r = cfn_v2x::roadside::run(options, cancel) => r.map_err(failed),
            () = told => Ok(()),
        }
    })
}
