//! `cfn scheduler`, `agent`, `edge`, `v2x`, `probe`: the components, as containers run them, in networks that exist.

mod agent;
mod edge;
mod health;
mod leader;
mod probe;
mod scheduler;
mod v2x;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use cfn_net::{Net, Seed, Transport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use agent::{AgentArgs, agent};
pub use edge::{EdgeArgs, edge};
pub use probe::{ProbeArgs, probe};
pub use scheduler::{SchedulerArgs, scheduler};
pub use v2x::{V2xArgs, v2x};

use super::{CliError, signal};
use crate::input::parse_duration;

/// The component's own host in its network.
pub(super) const HERE: &str = "localhost";
/// Its site, where nothing depends on it.
pub(super) const OUTSIDE: &str = "outside";
/// How long a component has to end after it was told to; Kubernetes' default grace period is 30 s.
const GRACE: Duration = Duration::from_secs(5);

/// What every component has.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Where /healthz, /livez, /readyz and /metrics are served (nowhere without)
    #[arg(long, env = "CFN_HEALTH_LISTEN", value_name = "ADDRESS:PORT")]
    health_listen: Option<SocketAddr>,
    /// How the log looks, on standard error
    #[arg(long, env = "CFN_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What is logged: a level, or levels by module as RUST_LOG has them
    #[arg(long, env = "CFN_LOG", default_value = "info")]
    log: String,
}

/// How a log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl Common {
    /// Starts the log. Secrets are never in it: credentials have no text form, headers that carry them are marked.
    fn log(&self) -> Result<(), CliError> {
        let filter = tracing_subscriber::EnvFilter::try_new(&self.log).map_err(|e| {
            crate::input::Problem::of_file("--log", e.to_string())
                .expected("error, warn, info, debug or trace, or module=level pairs")
        })?;
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr);
        // A second start (in a test) changes nothing.
        let _ = match self.log_format {
            LogFormat::Text => log.with_ansi(false).try_init(),
            LogFormat::Json => log.json().try_init(),
        };
        Ok(())
    }
}

/// A component that runs: what its parts share.
pub(super) struct Process {
    /// Its network.
    pub net: Net,
    /// Ends it.
    pub cancel: CancellationToken,
    /// Whether it does its work.
    pub ready: watch::Sender<bool>,
}

/// Runs a component until it ends or is told to (SIGTERM, SIGINT).
pub(super) fn run<F>(component: &'static str, common: &Common, make: impl FnOnce(Process) -> F) -> Result<(), CliError>
where
    F: Future<Output = Result<(), CliError>>,
{
    common.log()?;
    let rt = runtime()?;
    let cancel = CancellationToken::new();
    let process = Process {
        net: net(),
        cancel: cancel.clone(),
        ready: watch::Sender::new(false),
    };
    let (net, ready) = (process.net.clone(), process.ready.subscribe());
    let result = rt.block_on(async {
        tokio::spawn(end_on_signal(cancel.clone()));
        let served = health::serve(component, net, common.health_listen, ready, cancel.clone());
        let work = make(process);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "{component} starts");
        tokio::select! {
            biased;
            r = work => r,
            r = served => r,
            () = overdue(&cancel) => Err(CliError::Failed(format!("{component} did not end in {GRACE:?}"))),
        }
    });
    tracing::info!("{component} ends");
    rt.shutdown_timeout(Duration::from_secs(1));
    result
}

/// The first signal ends it in its own time, a second one at once.
async fn end_on_signal(cancel: CancellationToken) {
    signal().await;
    tracing::info!("told to end");
    cancel.cancel();
    signal().await;
    std::process::exit(130);
}

async fn overdue(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| CliError::io("starting a runtime", &e))
}

/// The network that this process is in.
pub(super) fn net() -> Net {
    let net = Net::new(Transport::Host, Seed::unpredictable());
    net.add_host(HERE, OUTSIDE);
    net
}

fn failed(e: impl std::fmt::Display) -> CliError {
    CliError::Failed(e.to_string())
}

/// A duration with its unit, as Karmada's flags have them.
pub(super) fn duration(s: &str) -> Result<Duration, String> {
    let d = parse_duration(s)?;
    if d.is_zero() {
        return Err("it is zero; expected a duration above zero".into());
    }
    Ok(d)
}

/// `key=value`.
fn pair(s: &str) -> Result<(String, String), String> {
    s.split_once('=')
        .filter(|(k, _)| !k.is_empty())
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .ok_or_else(|| format!("`{s}` is not key=value"))
}

/// Pairs as a map.
fn map(pairs: Vec<(String, String)>) -> BTreeMap<String, String> {
    pairs.into_iter().collect()
}
