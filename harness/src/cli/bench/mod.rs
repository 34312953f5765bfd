//! `cfn bench`: figures to compare with other systems'.

mod apiserver;
mod clusters;
mod hub;
mod measure;
mod memory;
mod side;

use super::CliError;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A hub and its members, end to end: latency, throughput, requests, a lost member, joining, many registrations, memory
    Hub(hub::Args),
    /// API servers in turn, by their kubeconfigs: creates, lists, watches, a pod
    Apiserver(apiserver::Args),
    /// Embedded clusters in this process: how fast they start and what they take, and what pods take
    Clusters(clusters::Args),
}

pub fn main(args: Args) -> Result<(), CliError> {
    match args.what {
        What::Hub(a) => hub::main(a),
        What::Apiserver(a) => apiserver::main(a),
        What::Clusters(a) => clusters::main(&a),
    }
}
