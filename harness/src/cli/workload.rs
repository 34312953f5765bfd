//! `cfn workload`: the services that scenarios place, as containers run them.

use std::net::IpAddr;
use std::time::Duration;

use super::CliError;
use super::component::{Common, HERE, Process, run};
use crate::input::parse_duration;
use crate::lane::workloads::{ECHO_PORT, echo};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A web service that answers every request with its place, after a service time: stands for inference
    Echo(EchoArgs),
}

#[derive(Debug, clap::Args)]
struct EchoArgs {
    /// Address to listen at
    #[arg(long, env = "CFN_LISTEN", default_value = "0.0.0.0")]
    listen: IpAddr,
    /// Port
    #[arg(long, env = "PORT", default_value_t = ECHO_PORT)]
    port: u16,
    /// How long the compute takes for one request, such as 2ms
    #[arg(long, env = "CFN_SERVICE_TIME", default_value = "0s", value_parser = parse_duration)]
    service_time: Duration,
    /// What it answers
    #[arg(long, env = "CFN_PLACE")]
    place: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub fn main(args: Args) -> Result<(), CliError> {
    let What::Echo(args) = args.what;
    let place = args
        .place
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| HERE.into());
    run("echo", &args.common, |p: Process| async move {
        let listener = p.net.listen(&args.listen.to_string(), args.port).await;
        let listener =
            listener.map_err(|e| CliError::io(&format!("listening at {}:{}", args.listen, args.port), &e))?;
        p.ready.send_replace(true);
        echo(listener, place, args.service_time, p.cancel).await;
        Ok(())
    })
}
