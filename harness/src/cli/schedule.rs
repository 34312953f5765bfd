//! `cfn schedule`: placements offline.

use std::path::{Path, PathBuf};

use super::{CliError, out};
use crate::input::Problem;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Clusters and their metrics (JSON, JSON lines, YAML; gzip too)
    #[arg(long, requires = "bindings")]
    fleet: Option<PathBuf>,
    /// ResourceBindings and ComputingPolicies
    #[arg(long, requires = "fleet")]
    bindings: Option<PathBuf>,
    /// Cases {id, clusters, spec}, each with its own fleet
    #[arg(long, conflicts_with_all = ["fleet", "bindings"], required_unless_present = "fleet")]
    cases: Option<PathBuf>,
    /// Say per cluster why
    #[arg(long)]
    explain: bool,
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|e| {
        let text = crate::input::Source::read(path).err();
        text.unwrap_or_else(|| Problem::of_file(path.display().to_string(), e.to_string()))
            .into()
    })
}

pub fn main(args: &Args) -> Result<(), CliError> {
    let wrong = |file: &Path, e: cfn_scheduler::offline::OfflineError| {
        CliError::from(
            Problem::of_file(file.display().to_string(), e.to_string())
                .expected("clusters and bindings as `cfn schedule --help` says"),
        )
    };
    let lines = match (&args.fleet, &args.bindings, &args.cases) {
        (Some(f), Some(b), _) => {
            let (fleet, bindings) = (read(f)?, read(b)?);
            // Each file on its own first, so that the right one is blamed.
            cfn_scheduler::offline::fleet(&fleet).map_err(|e| wrong(f, e))?;
            cfn_scheduler::offline::run(&fleet, &bindings, args.explain).map_err(|e| wrong(b, e))?
        }
        (_, _, Some(c)) => cfn_scheduler::offline::run_cases(&read(c)?, args.explain).map_err(|e| wrong(c, e))?,
        _ => Vec::new(),
    };
    for l in lines {
        out::line(&l);
    }
    Ok(())
}
