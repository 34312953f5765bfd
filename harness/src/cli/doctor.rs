//! `cfn doctor`: what this machine can do for each lane, and the cure where it cannot.

use serde::Serialize;

use super::{CliError, out};
use crate::doctor::{self, Finding, Lane, Size, State, finding, gather};

/// The images of the docker lane's own flavour.
const IMAGES: [&str; 2] = ["cfn.akraino.org/node:1.36.3", "cfn.akraino.org/shaper:1"];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Fail (status 3) when this lane cannot work; without it: when local or sim cannot
    #[arg(long, value_parser = lane)]
    lane: Option<Lane>,
    /// Judge limits for a testbed of so many clusters
    #[arg(long, default_value_t = Size::default().clusters)]
    clusters: u64,
    /// ... and so many hosts: control planes and nodes
    #[arg(long, default_value_t = Size::default().hosts)]
    hosts: u64,
    /// See whether this port is free (may be repeated)
    #[arg(long = "port")]
    ports: Vec<u16>,
    /// See whether this image is there, instead of the docker lane's own (may be repeated)
    #[arg(long = "image")]
    images: Vec<String>,
}

fn lane(s: &str) -> Result<Lane, String> {
    Lane::ALL
        .into_iter()
        .find(|l| l.as_str() == s)
        .ok_or_else(|| "sim, local or docker".into())
}

#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
    ready: Vec<Lane>,
}

pub fn main(args: &Args) -> Result<(), CliError> {
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("starting a runtime", &e))?;
    let images: Vec<String> = if args.images.is_empty() {
        IMAGES.iter().map(|i| (*i).to_owned()).collect()
    } else {
        args.images.clone()
    };
    let facts = rt.block_on(gather::facts(&images, &args.ports));
    let size = Size {
        clusters: args.clusters,
        hosts: args.hosts,
    };
    let findings = doctor::judge(&facts, size);
    let ready = doctor::ready(&findings);
    if args.json {
        let report = Report {
            findings: &findings,
            ready: ready.clone(),
        };
        let text = serde_json::to_string_pretty(&report).map_err(|e| CliError::Failed(e.to_string()))?;
        out::line(&text);
    } else {
        out::line(out::table(&rows(&findings)).trim_end());
        let lanes: Vec<String> = ready.iter().map(|l| format!("cfn run --lane {}", l.as_str())).collect();
        out::line(&format!("ready for: {}", lanes.join(", ")));
    }
    let wanted = args.lane.map_or(vec![Lane::Local, Lane::Sim], |l| vec![l]);
    for l in wanted {
        finding::refuse(l, &findings)?;
    }
    Ok(())
}

fn rows(findings: &[Finding]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for f in findings {
        let mark = match f.state {
            State::Ok => "ok",
            State::Warn => "note",
            State::Fail => "MISSING",
        };
        let lanes: Vec<&str> = f.lanes.iter().map(|l| l.as_str()).collect();
        rows.push(vec![mark.into(), f.check.clone(), lanes.join(", "), f.seen.clone()]);
        if let Some(cure) = &f.cure {
            rows.push(vec![
                String::new(),
                String::new(),
                String::new(),
                format!("cure: {cure}"),
            ]);
        }
    }
    rows
}
