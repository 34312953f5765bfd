//! The command line. Exit status: 0 all passed, 1 a verdict failed, 2 the input is wrong, 3 the environment is.

mod apiserver;
mod bench;
mod client;
mod completion;
mod component;
mod doctor;
mod explain;
#[cfg(target_os = "linux")]
mod fault;
#[cfg(target_os = "linux")]
mod link;
mod manifests;
mod node;
mod out;
mod progress;
mod report;
mod run;
mod schedule;
pub mod schema;
mod select;
mod snapshot;
mod state;
mod up;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::input::Problems;
use crate::lane::LaneError;

/// Brings up a computing force network, runs the blueprint's scenarios on it, and leaves evidence.
#[derive(Debug, Parser)]
#[command(name = "cfn", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios and write a report
    Run(run::Args),
    /// Keep a testbed running until `cfn down` or Ctrl-C
    Up(up::UpArgs),
    /// Keep testbeds of lane docker for later, and bring them back with `cfn up --from`
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// End the testbed that `cfn up` keeps running
    Down(up::DownArgs),
    /// Show clusters, nodes and agents of the running testbed
    Status(up::StatusArgs),
    /// Print a kubeconfig of the running testbed
    Kubeconfig(up::KubeconfigArgs),
    /// Place workloads offline: from files to JSON lines
    Schedule(schedule::Args),
    /// Say why a binding on a live hub is where it is
    Explain(explain::Args),
    /// Serve one embedded cluster
    Apiserver(apiserver::Args),
    /// Run the scheduler against a hub
    Scheduler(component::SchedulerArgs),
    /// Run a cluster agent between a hub and a member
    Agent(component::AgentArgs),
    /// Run an edge agent in front of an API server
    Edge(component::EdgeArgs),
    /// Run a roadside service
    V2x(component::V2xArgs),
    /// Answer latency probes at a site without an agent
    Probe(component::ProbeArgs),
    /// Print the components as Kubernetes objects, for clusters that exist
    Manifests(manifests::Args),
    /// Do what a lane orders, in a container at a site
    #[command(hide = true)]
    Client(client::Args),
    /// Run a service that scenarios place
    Workload(workload::Args),
    /// Be a Kubernetes node, in a container
    Node(node::Args),
    /// Measure a hub end to end
    Bench(bench::Args),
    /// Show a report again
    Report(report::Args),
    /// Say what this machine can do, and what would help where it cannot
    Doctor(doctor::Args),
    /// Break the host this runs in, until it is ended
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Fault(fault::Args),
    /// The links between containers
    #[cfg(target_os = "linux")]
    Link(link::Args),
    /// Print a shell's completion script
    Completion(completion::Args),
    /// Print the JSON Schema of a kind of file
    Schema(schema::Args),
}

impl Command {
    /// Whether it is a process of a cluster, with a log of its own.
    fn is_component(&self) -> bool {
        matches!(
            self,
            Self::Scheduler(_) | Self::Agent(_) | Self::Edge(_) | Self::V2x(_) | Self::Probe(_) | Self::Workload(_)
        )
    }
}

/// Why a command ended otherwise than well.
#[derive(Debug)]
pub enum CliError {
    /// The input is wrong: status 2.
    Input(Problems),
    /// The environment is wrong: status 3.
    Environment {
        /// What happened.
        what: String,
        /// What helps.
        cure: String,
    },
    /// It was not passed: status 1. Said already where it is empty.
    Failed(String),
}

impl From<Problems> for CliError {
    fn from(p: Problems) -> Self {
        Self::Input(p)
    }
}

impl From<crate::input::Problem> for CliError {
    fn from(p: crate::input::Problem) -> Self {
        Self::Input(p.into())
    }
}

impl From<crate::access::AccessError> for CliError {
    fn from(e: crate::access::AccessError) -> Self {
        match e {
            crate::access::AccessError::Input(p) => (*p).into(),
            crate::access::AccessError::Nowhere { what, cure } => Self::Environment { what, cure },
        }
    }
}

impl From<LaneError> for CliError {
    fn from(e: LaneError) -> Self {
        match e {
            LaneError::Environment { what, cure } => Self::Environment { what, cure },
            e => Self::Failed(e.to_string()),
        }
    }
}

impl CliError {
    /// In one line, for where it is told to another process or within a table.
    pub fn text(&self) -> String {
        match self {
            Self::Input(p) => p.to_string(),
            Self::Environment { what, cure } => format!("{what}; {cure}"),
            Self::Failed(what) => what.clone(),
        }
    }

    /// An error of input or output while `doing` something.
    pub fn io(doing: &str, e: &std::io::Error) -> Self {
        match LaneError::io(doing, e) {
            LaneError::Environment { what, cure } => Self::Environment { what, cure },
            e => Self::Environment {
                what: e.to_string(),
                cure: "see `cfn doctor`".into(),
            },
        }
    }
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    // Once per process; fails only when it was done already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    if !cli.command.is_component() {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    }
    let done = match cli.command {
        Command::Run(a) => run::main(a),
        Command::Up(a) => up::up(a),
        Command::Snapshot(c) => snapshot::main(&c),
        Command::Down(a) => up::down(&a),
        Command::Status(a) => up::status(&a),
        Command::Kubeconfig(a) => up::kubeconfig(&a),
        Command::Schedule(a) => schedule::main(&a),
        Command::Explain(a) => explain::main(&a),
        Command::Apiserver(a) => apiserver::main(a),
        Command::Scheduler(a) => component::scheduler(a),
        Command::Agent(a) => component::agent(a),
        Command::Edge(a) => component::edge(a),
        Command::V2x(a) => component::v2x(a),
        Command::Probe(a) => component::probe(a),
        Command::Manifests(a) => manifests::main(a),
        Command::Client(a) => client::main(a),
        Command::Workload(a) => workload::main(a),
        Command::Node(a) => node::main(a),
        Command::Bench(a) => bench::main(a),
        Command::Report(a) => report::main(&a),
        Command::Doctor(a) => doctor::main(&a),
        #[cfg(target_os = "linux")]
        Command::Fault(a) => fault::main(&a),
        #[cfg(target_os = "linux")]
        Command::Link(a) => link::main(a),
        Command::Completion(a) => completion::main(&a),
        Command::Schema(a) => schema::main(&a),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::Input(problems)) => {
            for p in problems.0 {
                let plain = p.to_string();
                eprintln!("error: {plain}");
                eprintln!("{:?}", miette::Report::new(p));
            }
            ExitCode::from(2)
        }
        Err(CliError::Environment { what, cure }) => {
            eprintln!("error: {what}\n  cure: {cure}");
            ExitCode::from(3)
        }
        Err(CliError::Failed(what)) => {
            if !what.is_empty() {
                eprintln!("error: {what}");
            }
            ExitCode::from(1)
        }
    }
}

/// The parser, for completion scripts.
pub(crate) fn command() -> clap::Command {
    use clap::CommandFactory;
    Cli::command()
}

/// Cancelled by Ctrl-C or SIGTERM; a second one ends the process at once.
pub(crate) fn cancel_on_signal(cancel: tokio_util::sync::CancellationToken) -> Result<(), CliError> {
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("starting a runtime", &e))?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            rt.block_on(async {
                signal().await;
                cancel.cancel();
                eprintln!("\nending: everything is torn down (again to end at once)");
                signal().await;
                std::process::exit(130);
            });
        })
        .map_err(|e| CliError::io("starting a thread", &e))?;
    Ok(())
}

pub(crate) async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut term) => {
                tokio::select! {
                    biased;
                    _ = tokio::signal::ctrl_c() => {}
                    _ = term.recv() => {}
                }
            }
            Err(_) => {
                let _ = tokio::signal::ctrl_c().await;
            }
        }
    }
    #[cfg(not(unix))]
    {
        let _ = tokio::signal::ctrl_c().await;
    }
}
