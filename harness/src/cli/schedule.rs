//! `cfn schedule`: placements offline.

use std::path::{Path, PathBuf};

use cfn_scheduler::offline::{self, Format, OfflineError, Options, World};

use super::{CliError, out};
use crate::input::Problem;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Clusters and what is known of them: Karmada's or OCM's (JSON, JSON lines, YAML; gzip too)
    #[arg(long, requires = "bindings")]
    fleet: Option<PathBuf>,
    /// ResourceBindings and ComputingPolicies, or OCM Placements and PlacementDecisions
    #[arg(long, requires = "fleet")]
    bindings: Option<PathBuf>,
    /// Cases {id, clusters, spec} or {id, clusters, placement, ...}, each with its own fleet
    #[arg(long, conflicts_with_all = ["fleet", "bindings"], required_unless_present = "fleet")]
    cases: Option<PathBuf>,
    /// Say per cluster and plugin why
    #[arg(long)]
    explain: bool,
    /// In whose shape the input is, where it does not show
    #[arg(long, value_enum)]
    format: Option<Shape>,
    /// What the decisions would be if this happened after them
    #[arg(long, value_name = "cluster-lost=NAME", value_parser = lost, conflicts_with = "cases")]
    what_if: Vec<String>,
    /// Also say how far the whole batch is from the best possible
    #[arg(long, conflicts_with_all = ["cases", "what_if"])]
    bound: bool,
    /// Now, for tolerations that end and scores that expire (RFC 3339; the clock's time when not given)
    #[arg(long, value_name = "TIME")]
    now: Option<jiff::Timestamp>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shape {
    Karmada,
    Ocm,
}

fn lost(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("cluster-lost", name)) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err("expected cluster-lost=NAME".to_owned()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|e| {
        let text = crate::input::Source::read(path).err();
        text.unwrap_or_else(|| Problem::of_file(path.display().to_string(), e.to_string()))
            .into()
    })
}

pub fn main(args: &Args) -> Result<(), CliError> {
    let wrong = |file: &Path, e: OfflineError| {
        let expected = match &e {
            OfflineError::NoSuchCluster(_) => "the name of a cluster of the fleet",
            _ => "clusters and bindings as `cfn schedule --help` says",
        };
        CliError::from(Problem::of_file(file.display().to_string(), e.to_string()).expected(expected))
    };
    let options = Options {
        explain: args.explain,
        format: args.format.map(|f| match f {
            Shape::Karmada => Format::Karmada,
            Shape::Ocm => Format::Ocm,
        }),
        lost: args.what_if.clone(),
        bound: args.bound,
        now: Some(args.now.unwrap_or_else(|| cfn_net::Clock::now(&cfn_net::SystemClock))),
    };
    let output = match (&args.fleet, &args.bindings, &args.cases) {
        (Some(f), Some(b), _) => {
            let (fleet, bindings) = (read(f)?, read(b)?);
            let world = World::read(&fleet, options.format).map_err(|e| wrong(f, e))?;
            offline::run(world, &bindings, &options).map_err(|e| wrong(b, e))?
        }
        (_, _, Some(c)) => offline::cases(&read(c)?, &options).map_err(|e| wrong(c, e))?,
        _ => offline::Output::default(),
    };
    for w in &output.warnings {
        eprintln!("warning: {w}");
    }
    out::lines(&output.lines);
    Ok(())
}
