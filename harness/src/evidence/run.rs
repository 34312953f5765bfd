//! What one run came to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Map, ScenarioResult};

/// What one `cfn run` came to: the whole input of the report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunResult {
    /// Version of `cfn`.
    pub version: String,
    /// The lane: `local`, `sim`, ...
    pub lane: String,
    /// The run's seed.
    pub seed: u64,
    /// The exact command that does it again.
    pub command: String,
    /// When it started: wall time, RFC 3339, UTC.
    pub started: String,
    /// How long it took in wall time; in files: milliseconds.
    #[serde(with = "super::millis")]
    pub duration: Duration,
    /// What it ran on: kernel, CPU, memory, versions of outside tools. Names to values.
    pub host: BTreeMap<String, String>,
    /// Whether it was interrupted before every scenario ran.
    #[serde(default)]
    pub interrupted: bool,
    /// The scenarios, in the order they were asked for.
    pub scenarios: Vec<ScenarioResult>,
    /// The topologies they ran on, by name.
    pub topologies: BTreeMap<String, Map>,
}

impl RunResult {
    /// Names of the profiles (phases) present, ordered.
    pub fn profiles(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .scenarios
            .iter()
            .map(|scenario| scenario.profile.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The scenarios of one profile, in order.
    pub fn in_profile<'a>(&'a self, profile: &'a str) -> impl Iterator<Item = &'a ScenarioResult> {
        self.scenarios
            .iter()
            .filter(move |scenario| scenario.profile == profile)
    }

    /// (passed, skipped, failed) tests of the run.
    pub fn counts(&self) -> (u64, u64, u64) {
        self.scenarios
            .iter()
            .map(ScenarioResult::counts)
            .fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2))
    }

    /// Whether every scenario asked for ran and nothing failed.
    pub fn passed(&self) -> bool {
        !self.interrupted && self.counts().2 == 0
    }
}
