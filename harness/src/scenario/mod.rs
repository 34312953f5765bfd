//! A scenario: what is done to a testbed and what must then be seen, as data. [`run`] interprets it.

pub mod check;
pub mod component;
pub mod expr;
mod fault;
pub mod matching;
mod need;
pub mod path;
pub mod run;
mod step;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use fault::{Fault, FaultKind, Heal};
pub use need::Need;
pub use step::{
    Accept, Aggregate, Apply, Check, Delete, Drain, Drive, Load, Measure, Member, ObjectRef, Patch, PatchKind, Query,
    Running, RunningValue, Scale, Snapshot, Step, Verb,
};

use crate::evidence::{Level, Source as Authority};
use crate::input::{At, Problems, Source, parse};
use crate::timers::Timers;
use crate::topology::{Metadata, Topology};

/// A scenario file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScenarioFile {
    /// Always `cfn.akraino.org/v1alpha1`.
    pub api_version: At<String>,
    /// Always `Scenario`.
    pub kind: At<String>,
    /// Its name.
    pub metadata: Metadata,
    /// What is done and expected.
    pub spec: ScenarioSpec,
}

/// What is done and expected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScenarioSpec {
    /// `P1-05`, `CFN-R7-C1`.
    pub id: At<String>,
    /// In one line, for a person.
    pub title: String,
    /// The phase.
    pub profile: Profile,
    /// Core: the blueprint or its seed names it. Extended: we do.
    pub level: Level,
    /// Who asks for it; the default of its assertions.
    #[serde(default)]
    pub source: Authority,
    /// Where it is asked for, as a reader can look it up.
    pub reference: String,
    /// What it shows, for the report's list of features; its id without them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<String>,
    /// The topology it runs on: a bundled one's name, or a file beside the scenario.
    pub topology: At<String>,
    /// The timer profile it runs under, unless the command line says otherwise.
    #[serde(default = "fast")]
    pub timers: At<String>,
    /// The seed, unless the command line says otherwise.
    #[serde(default = "one")]
    pub seed: u64,
    /// Lanes it cannot run in, with the reason: it is skipped there.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub not_in: std::collections::BTreeMap<String, String>,
    /// What it needs that not every lane has: it is skipped where that is missing.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub needs: BTreeSet<Need>,
    /// What it shares with other scenarios where a lane keeps testbeds; without it nothing.
    #[serde(default)]
    pub isolation: crate::lane::Isolation,
    /// Whether the steps begin only when every node and every member is Ready.
    #[serde(default = "yes")]
    pub start_ready: bool,
    /// Whether registrations are accepted at once, if not as the topology says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_accept: Option<bool>,
    /// What is recorded in the background while the steps run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collect: Vec<Collect>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// The name in expressions of what a lane's real time may add to a measured time.
pub const LANE_TOLERANCE: &str = "laneTolerance";

fn fast() -> At<String> {
    At::nowhere("fast".to_owned())
}

fn yes() -> bool {
    true
}

fn one() -> u64 {
    1
}

/// The blueprint's phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Clusters in the cloud.
    Phase1,
    /// The edge.
    Phase2,
    /// Vehicles.
    Phase3,
}

impl Profile {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Phase1 => "phase1",
            Profile::Phase2 => "phase2",
            Profile::Phase3 => "phase3",
        }
    }
}

/// A value recorded in the background whenever it changes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Collect {
    /// The series' name.
    pub name: At<String>,
    /// What is recorded.
    pub query: Query,
    /// Sampled this often (an expression over timers); without it, whenever an object of the query changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<At<String>>,
}

/// Files that a scenario refers to are read from here.
#[derive(Debug, Clone)]
pub enum Base {
    /// A directory.
    Dir(PathBuf),
    /// Files that come with the program; the path of the scenario's own directory in there.
    Bundled(String),
}

impl Base {
    /// Reads a file beside the scenario.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read(&self, path: &str) -> Result<Source, crate::input::Problem> {
        match self {
            Base::Dir(d) => Source::read(&d.join(path)),
            Base::Bundled(dir) => {
                let full = if dir.is_empty() {
                    path.to_owned()
                } else {
                    format!("{dir}/{path}")
                };
                match crate::bundled::SCENARIOS.iter().find(|(n, _)| *n == full) {
                    Some((_, text)) => Ok(Source::new(format!("scenarios/{full}"), *text)),
                    None => {
                        let names = crate::bundled::SCENARIOS
                            .iter()
                            .filter_map(|(n, _)| n.strip_prefix(&format!("{dir}/")));
                        Err(crate::input::Problem::of_file(path, "there is no such file").one_of(path, names))
                    }
                }
            }
        }
    }
}

/// A scenario, checked, with everything it needs.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its file.
    pub source: Source,
    /// What the file says.
    pub file: ScenarioFile,
    /// Where its manifests are.
    pub base: Base,
    /// Its topology.
    pub topology: Topology,
    /// Its timers.
    pub timers: Timers,
    /// Its seed.
    pub seed: u64,
}

/// What the command line says instead of the scenario.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The lane, which may have timers of its own; empty: none.
    pub lane: String,
    /// Another topology (name or path).
    pub topology: Option<String>,
    /// Another timer profile (name or path).
    pub timers: Option<String>,
    /// Another seed.
    pub seed: Option<u64>,
}

/// Finds a topology by name or path.
///
/// # Errors
/// When there is none, or it is wrong.
pub fn find_topology(name: &str, base: Option<&Base>) -> Result<(Source, Topology), Problems> {
    let source = if let Some((_, text)) = crate::bundled::TOPOLOGIES.iter().find(|(n, _)| *n == name) {
        Source::new(format!("topologies/{name}.yaml"), *text)
    } else if name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml") {
        match base {
            Some(b) => b.read(name)?,
            None => Source::read(Path::new(name))?,
        }
    } else {
        let names = crate::bundled::TOPOLOGIES.iter().map(|(n, _)| *n);
        let p = crate::input::Problem::of_file(name, format!("unknown topology `{name}`"));
        return Err(p.one_of(name, names).into());
    };
    let t = Topology::read(&source)?;
    Ok((source, t))
}

impl Scenario {
    /// Reads a scenario and everything it refers to, and checks all of it before anything runs.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn read(source: Source, base: Base, overrides: &Overrides) -> Result<Self, Problems> {
        let file: ScenarioFile = parse(&source)?;
        let mut problems = Problems::default();
        let place = |name: &At<String>, overridden: bool, p: Problems| {
            // A name that is nowhere gets the place where it was written.
            p.0.into_iter()
                .map(|p| match (overridden, p.line) {
                    (false, 0) => {
                        let mut q = crate::input::Problem::new(&source, name.location, p.message);
                        q.expected = p.expected;
                        q.nearest = p.nearest;
                        q
                    }
                    _ => p,
                })
                .collect::<Vec<_>>()
        };
        let topology = match &overrides.topology {
            Some(t) => find_topology(t, None),
            None => find_topology(&file.spec.topology, Some(&base)),
        };
        let timers = Timers::find_in(
            overrides.timers.as_deref().unwrap_or(&file.spec.timers),
            &overrides.lane,
        );
        let topology = topology
            .map_err(|p| {
                problems
                    .0
                    .extend(place(&file.spec.topology, overrides.topology.is_some(), p))
            })
            .ok();
        let timers = timers
            .map_err(|p| {
                problems
                    .0
                    .extend(place(&file.spec.timers, overrides.timers.is_some(), p))
            })
            .ok();
        problems.0.extend(check::check(
            &source,
            &file,
            &base,
            topology.as_ref().map(|t| &t.1),
            timers.as_ref(),
        ));
        problems.into_result()?;
        let (Some((_, mut topology)), Some(timers)) = (topology, timers) else {
            return Err(Problems::default());
        };
        topology.spec.auto_accept = file.spec.auto_accept.unwrap_or(topology.spec.auto_accept);
        let seed = overrides.seed.unwrap_or(file.spec.seed);
        Ok(Self {
            source,
            file,
            base,
            topology,
            timers,
            seed,
        })
    }

    /// `P1-05`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.file.spec.id
    }
}
