//! `cfn report`: what a run left, once more.

use std::path::PathBuf;

use super::{CliError, out};
use crate::input::{Problem, Source};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory that `cfn run --out` wrote
    #[arg(default_value = "cfn-out")]
    dir: PathBuf,
}

pub fn main(args: &Args) -> Result<(), CliError> {
    let path = args.dir.join("report.yaml");
    let source = Source::read(&path)?;
    let v: serde_json::Value = crate::input::parse(&source)?;
    if v.get("kind").is_none() {
        let p = Problem::of_file(source.name, "this is no report");
        return Err(p.expected("the report.yaml of `cfn run`").into());
    }
    out::line(source.text.trim_end());
    let html = args.dir.join("report.html");
    if html.exists() {
        out::line(&format!("# for a browser: {}", html.display()));
    }
    Ok(())
}
