//! `cfn probe`: answers the agents' latency probes at a site where no agent is.

use std::net::IpAddr;

use cfn_agent::cluster::probe::{PORT, respond};

use super::{Common, Process, run};
use crate::cli::CliError;

#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Send back what comes to port 7946
    Respond(RespondArgs),
}

#[derive(Debug, clap::Args)]
struct RespondArgs {
    /// Address to listen at
    #[arg(long, env = "CFN_LISTEN", default_value = "0.0.0.0")]
    listen: IpAddr,
    #[command(flatten)]
    common: Common,
}

pub fn probe(args: ProbeArgs) -> Result<(), CliError> {
    let What::Respond(args) = args.what;
    run("probe", &args.common, |p: Process| async move {
        p.ready.send_replace(true);
        respond(p.net, &args.listen.to_string(), p.cancel)
            .await
            .map_err(|e| CliError::io(&format!("listening at {}:{PORT}", args.listen), &e))
    })
}
