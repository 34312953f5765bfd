//! `cfn link`: the links between containers.

use std::io::Read;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{CliError, out};
use crate::lane::docker::engine::Engine;
use crate::link::control::{self, Options, SOCKET, STATE};
use crate::link::measure::{self, Means};
use crate::link::{ShapeConfig, probe};

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shape what arrives in this network namespace, as `cfn link set` says, until it is ended
    Shape {
        /// The interfaces packets arrive at; `eth+` is all that begin so
        #[arg(long, default_value = "eth+")]
        interface: String,
        /// What to do at once (JSON); without it what was set before
        #[arg(long)]
        config: Option<String>,
        /// Where to listen for `cfn link set`
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
        /// Where to keep what was set
        #[arg(long, default_value = STATE)]
        state: PathBuf,
    },
    /// Tell the shaper what to do; when this ends, it does so
    Set {
        /// The config (JSON), or `-` for standard input
        config: String,
        /// Where the shaper listens
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
    },
    /// Show what the shaper does (JSON)
    Show {
        /// Where the shaper listens
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
    },
    /// Measure what links between two containers really do
    Measure(MeasureArgs),
    /// The far end of a measurement
    #[command(hide = true)]
    Answer,
    /// The near end of a measurement
    #[command(hide = true)]
    Probe {
        /// The far end
        host: Ipv4Addr,
        /// How much (JSON)
        amount: String,
    },
}

#[derive(Debug, ClapArgs)]
struct MeasureArgs {
    /// The image of the containers: Debian with iproute2 and iptables, and cfn
    #[arg(long, default_value = "cfn.akraino.org/shaper:1")]
    image: String,
    /// Use this program in the containers instead of the image's (the daemon has to be on this machine)
    #[arg(long)]
    mount: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Only cases whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// How many requests over TCP
    #[arg(long, default_value_t = 500)]
    requests: u32,
    /// How many datagrams
    #[arg(long, default_value_t = 2000)]
    datagrams: u32,
    /// For how long to send as much as TCP can, milliseconds
    #[arg(long, default_value_t = 3000)]
    bulk_ms: u64,
}

pub fn main(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Answer => probe::answer().map_err(|e| CliError::io("listening", &e)),
        Command::Probe { host, amount } => {
            let amount = serde_json::from_str(&amount).map_err(|e| CliError::Failed(format!("the amount: {e}")))?;
            let seen = probe::measure(host, amount).map_err(|e| CliError::io("measuring", &e))?;
            print(&seen)
        }
        command => {
            let rt = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| CliError::io("starting a runtime", &e))?;
            rt.block_on(run(command))
        }
    }
}

async fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Shape {
            interface,
            config,
            socket,
            state,
        } => {
            let options = Options {
                interface,
                config: config.as_deref().map(parse).transpose()?,
                socket,
                state,
            };
            let ready = |s: &crate::link::shape::Seen| {
                out::line(&format!("ready: {}, {}, {}", s.by, s.tables, s.priority));
            };
            Ok(control::shape(&options, ready).await?)
        }
        Command::Set { config, socket } => {
            let text = if config == "-" {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .map_err(|e| CliError::io("reading standard input", &e))?;
                text
            } else {
                config
            };
            print(&control::set(&socket, parse(&text)?).await?)
        }
        Command::Show { socket } => print(&control::show(&socket).await?),
        Command::Measure(args) => measure(args).await,
        Command::Answer | Command::Probe { .. } => Ok(()),
    }
}

async fn measure(args: MeasureArgs) -> Result<(), CliError> {
    let engine = Engine::connect().await?;
    let program = if args.mount {
        let exe = std::env::current_exe().map_err(|e| CliError::io("finding this program", &e))?;
        Some(exe.display().to_string())
    } else {
        None
    };
    let mut cases = measure::cases();
    if let Some(only) = &args.only {
        cases.retain(|c| c.name.contains(only.as_str()));
    }
    let means = Means {
        image: args.image,
        program,
    };
    let amount = probe::Amount {
        requests: args.requests,
        datagrams: args.datagrams,
        bulk_ms: args.bulk_ms,
    };
    let progress = |c: &measure::Case| eprintln!("measuring: {}", c.name);
    let m = measure::measure(engine, means, &cases, amount, progress).await?;
    if args.json {
        return print(&m);
    }
    out::line(&format!("by {}, {}; milliseconds one way", m.by, m.priority));
    out::line(measure::table(&m).trim_end());
    Ok(())
}

fn parse(text: &str) -> Result<ShapeConfig, CliError> {
    let source = crate::input::Source::new("the config", text);
    Ok(crate::input::parse(&source)?)
}

fn print(value: &impl serde::Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|e| CliError::Failed(e.to_string()))?;
    out::line(&text);
    Ok(())
}
