//! `cfn schema`: JSON Schemas of the files that people write.

use super::CliError;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which kind of file
    kind: Kind,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Topology,
    Scenario,
    Flavour,
}

/// The schema of topologies.
#[must_use]
pub fn topology() -> String {
    pretty(&schemars::schema_for!(crate::topology::Topology))
}

/// The schema of scenarios.
#[must_use]
pub fn scenario() -> String {
    pretty(&schemars::schema_for!(crate::scenario::ScenarioFile))
}

/// The schema of flavours.
#[must_use]
pub fn flavour() -> String {
    pretty(&schemars::schema_for!(crate::lane::docker::flavour::FlavourFile))
}

fn pretty(s: &schemars::Schema) -> String {
    serde_json::to_string_pretty(s).expect("a schema is JSON") + "\n"
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    let text = match args.kind {
        Kind::Topology => topology(),
        Kind::Scenario => scenario(),
        Kind::Flavour => flavour(),
    };
    super::out::line(text.trim_end());
    Ok(())
}
