//! `cfn client`: what a lane has done in a container at a site. Orders are JSON; what comes of them are JSON lines, which
//! the lane reads back into the types that the other lanes have. Both are a contract between one version's parts.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use cfn_net::{Seed, SharedClock, SystemClock};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::component::{HERE, net, runtime};
use super::{CliError, cancel_on_signal};
use crate::input::Problem;
use crate::lane::traffic::{DriveOrder, Requests, Said, send};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Send requests: a line for each
    Load(Order),
    /// Drive vehicles and sensors: lines of progress, then one of evidence
    Drive(Order),
}

#[derive(Debug, clap::Args)]
struct Order {
    /// What to do, JSON; - reads it from standard input
    order: String,
    /// Connect from this address of the machine
    #[arg(long)]
    source: Option<IpAddr>,
}

impl Order {
    fn read<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        let mut text = self.order.clone();
        if text == "-" {
            text.clear();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|e| CliError::io("reading standard input", &e))?;
        }
        serde_json::from_str(&text).map_err(|e| {
            Problem::of_file("order", e.to_string())
                .expected("an order as `cfn run --lane docker` gives it")
                .into()
        })
    }
}

pub fn main(args: Args) -> Result<(), CliError> {
    let rt = runtime()?;
    let cancel = CancellationToken::new();
    cancel_on_signal(cancel.clone())?;
    let done = rt.block_on(async {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(CliError::Failed("interrupted".into())),
            r = act(args, &cancel) => r,
        }
    });
    rt.shutdown_timeout(std::time::Duration::from_secs(1));
    done
}

async fn act(args: Args, cancel: &CancellationToken) -> Result<(), CliError> {
    let net = net();
    match args.what {
        What::Load(o) => {
            let requests: Requests = o.read()?;
            if let Some(s) = o.source {
                net.add_host(HERE, &requests.from);
                net.set_source(&requests.from, s);
            }
            send(&net, HERE, &requests, |e| say(&Said::Exchange(e))).await;
            Ok(())
        }
        What::Drive(o) => {
            let order: DriveOrder = o.read()?;
            let sources: BTreeMap<String, IpAddr> = order.sources;
            for (site, address) in &sources {
                net.set_source(site, *address);
            }
            let clock: SharedClock = Arc::new(SystemClock);
            let seed = Seed(order.seed);
            let progress = |p: cfn_v2x::drive::Progress| say(&Said::Progress(p.seconds, p.total));
            let evidence = cfn_v2x::drive::run(order.options, &net, &clock, seed, progress, cancel.clone())
                .await
                .map_err(|e| CliError::Failed(e.to_string()))?;
            say(&Said::Evidence(Box::new(evidence)));
            Ok(())
        }
    }
}

/// A line, at once: somebody may wait for it.
fn say(what: &Said) {
    let Ok(line) = serde_json::to_string(what) else { return };
    let mut out = std::io::stdout().lock();
    // Whoever asked may have gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
