//! `report.yaml`: Gateway API's `ConformanceReport`, with the profile standing for the phase.
//!
//! Shape as in `sigs.k8s.io/gateway-api/conformance/apis/v1` (`ConformanceReport`, `ProfileReport`, `Status`,
//! `Statistics`), in our own group, and with what that leaves out: lane, seed, host, timers and clause of each test.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ReportError;
use crate::evidence::{Batch, Level, Map, RunResult, ScenarioResult, Source, Status, millis};

/// The document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConformanceReport {
    /// `cfn.akraino.org/v1alpha1`.
    pub api_version: String,
    /// `ConformanceReport`.
    pub kind: String,
    /// When the run started, RFC 3339.
    pub date: String,
    /// What was tested.
    pub implementation: Implementation,
    /// The lane it ran in. Only `docker` and `external` back a claim about real clusters.
    pub lane: String,
    /// The run's seed.
    pub seed: u64,
    /// The exact command that does it again.
    pub command: String,
    /// Whether the run was interrupted before every scenario ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// What it ran on.
    pub host: BTreeMap<String, String>,
    /// One entry per phase, ordered by name.
    pub profiles: Vec<Profile>,
    /// One entry per scenario, in the order they were asked for.
    pub scenarios: Vec<Scenario>,
    /// The topologies, by name.
    pub topologies: BTreeMap<String, Topology>,
}

/// What was tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Implementation {
    /// Who makes it.
    pub organization: String,
    /// Its name.
    pub project: String,
    /// Where it is.
    pub url: String,
    /// Its version.
    pub version: String,
    /// Where to ask.
    pub contact: Vec<String>,
}

/// One phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// `phase1`.
    pub name: String,
    /// What the blueprint or its seed names.
    pub core: Tests,
    /// What we add; left out when no such scenario ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended: Option<Extended>,
    /// In one sentence.
    pub summary: String,
}

/// The outcome of a set of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every test passed.
    Success,
    /// Some were skipped (or none ran), none failed.
    Partial,
    /// Some failed.
    Failure,
}

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Statistics {
    /// Passed.
    pub passed: u64,
    /// Skipped.
    pub skipped: u64,
    /// Failed.
    pub failed: u64,
}

/// A set of tests and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tests {
    /// The outcome of the set.
    pub result: Outcome,
    /// Its counts.
    pub statistics: Statistics,
    /// Ids of the skipped tests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_tests: Vec<String>,
    /// Ids of the failed tests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_tests: Vec<String>,
}

/// The extended tests, and the features they show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Extended {
    /// How they ended.
    #[serde(flatten)]
    pub tests: Tests,
    /// Features whose every test passed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub supported_features: BTreeSet<String>,
    /// The others.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unsupported_features: BTreeSet<String>,
}

/// One scenario with its inputs and tests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// `P1-05`.
    pub id: String,
    /// In one line.
    pub title: String,
    /// Its phase.
    pub profile: String,
    /// Core or extended.
    pub level: Level,
    /// Who asks for it.
    pub source: Source,
    /// Where.
    pub reference: String,
    /// The topology's name.
    pub topology: String,
    /// The seed it ran with.
    pub seed: u64,
    /// The timer profile's name.
    pub timer_profile: String,
    /// Every timer's value.
    pub timers: BTreeMap<String, String>,
    /// How long it took on the lane's own clock, in milliseconds.
    pub duration: f64,
    /// Its tests.
    pub tests: Vec<TestReport>,
    /// How far its batches of placements are from any possible placement; left out where it places none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<Batch>,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TestReport {
    /// `<scenario>/<verdict>`.
    pub id: String,
    /// `Passed`, `Failed`, `Skipped`.
    pub result: String,
    /// Why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who says so.
    pub source: Source,
    /// The clause.
    pub clause: String,
    /// What had to be seen.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// The numeric bound and how it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<BoundReport>,
    /// The samples behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<SamplesReport>,
}

/// A bound and how it was computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoundReport {
    /// How it was computed.
    pub expression: String,
    /// What that comes to.
    pub value: f64,
    /// Its unit.
    pub unit: String,
}

/// Samples in numbers. A percentile that the count does not carry is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplesReport {
    /// The series.
    pub series: String,
    /// Unit of the values.
    pub unit: String,
    /// How many.
    pub count: u64,
    /// Smallest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The percentiles that the count carries.
    pub percentiles: BTreeMap<String, f64>,
}

/// A topology: what stands where, and what lies between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Site to its clusters to their nodes there.
    pub sites: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// One line per link: `a - b: 9.4 ms`.
    pub links: Vec<String>,
}

/// The report as a value.
pub fn report(run: &RunResult) -> ConformanceReport {
    ConformanceReport {
        api_version: "cfn.akraino.org/v1alpha1".to_owned(),
        kind: "ConformanceReport".to_owned(),
        date: run.started.clone(),
        implementation: Implementation {
            organization: "LF Edge Akraino CFN".to_owned(),
            project: "cfn-testbed".to_owned(),
            url: REPOSITORY.to_owned(),
            version: run.version.clone(),
            contact: vec![format!("{REPOSITORY}/issues")],
        },
        lane: run.lane.clone(),
        seed: run.seed,
        command: run.command.clone(),
        interrupted: run.interrupted,
        host: run.host.clone(),
        profiles: run.profiles().into_iter().map(|name| profile(run, name)).collect(),
        scenarios: run.scenarios.iter().map(scenario).collect(),
        topologies: run
            .topologies
            .iter()
            .map(|(name, map)| (name.clone(), topology(map)))
            .collect(),
    }
}

const REPOSITORY: &str = "https://github.com/lf-edge/cfn-testbed";

/// The report as YAML.
///
/// # Errors
/// [`ReportError::Format`], which a value of these types does not cause.
pub fn render(run: &RunResult) -> Result<String, ReportError> {
    serde_yaml::to_string(&report(run)).map_err(|error| ReportError::Format {
        file: "report.yaml",
        message: error.to_string(),
    })
}

/// The JSON Schema of the report.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(ConformanceReport)
}

/// Outcome, counts and ids of a phase's tests at one level; none when no such scenario ran.
pub fn tests_of(run: &RunResult, profile: &str, level: Level) -> Option<Tests> {
    let mut tests = Tests {
        result: Outcome::Success,
        statistics: Statistics::default(),
        skipped_tests: Vec::new(),
        failed_tests: Vec::new(),
    };
    let mut any = false;
    for test in run
        .in_profile(profile)
        .filter(|scenario| scenario.level == level)
        .flat_map(ScenarioResult::tests)
    {
        any = true;
        match test.status {
            Status::Passed => tests.statistics.passed += 1,
            Status::Skipped { .. } => {
                tests.statistics.skipped += 1;
                tests.skipped_tests.push(test.id);
            }
            Status::Failed => {
                tests.statistics.failed += 1;
                tests.failed_tests.push(test.id);
            }
        }
    }
    if tests.statistics.failed > 0 {
        tests.result = Outcome::Failure;
    } else if tests.statistics.skipped > 0 || run.interrupted {
        tests.result = Outcome::Partial;
    }
    any.then_some(tests)
}

fn profile(run: &RunResult, name: &str) -> Profile {
    // A phase of which no core test ran has not shown its core.
    let core = tests_of(run, name, Level::Core).unwrap_or(Tests {
        result: Outcome::Partial,
        statistics: Statistics::default(),
        skipped_tests: Vec::new(),
        failed_tests: Vec::new(),
    });
    let extended = tests_of(run, name, Level::Extended).map(|tests| {
        let mut extended = Extended {
            tests,
            supported_features: BTreeSet::new(),
            unsupported_features: BTreeSet::new(),
        };
        for scenario in run
            .in_profile(name)
            .filter(|scenario| scenario.level == Level::Extended)
        {
            let passed = scenario.status() == Status::Passed;
            let features = scenario.feature_names();
            if passed {
                &mut extended.supported_features
            } else {
                &mut extended.unsupported_features
            }
            .extend(features);
        }
        extended
            .supported_features
            .retain(|feature| !extended.unsupported_features.contains(feature));
        extended
    });
    let summary = sentence(&core, extended.as_ref());
    Profile {
        name: name.to_owned(),
        core,
        extended,
        summary,
    }
}

fn sentence(core: &Tests, extended: Option<&Extended>) -> String {
    let level = |name: &str, tests: &Tests| {
        let Statistics {
            passed,
            skipped,
            failed,
        } = tests.statistics;
        match tests.result {
            Outcome::Success => format!("{name} tests succeeded"),
            Outcome::Partial if passed + skipped == 0 => format!("no {} test ran", name.to_lowercase()),
            Outcome::Partial if skipped == 0 => format!("{name} tests were interrupted"),
            Outcome::Partial => format!("{name} tests partially succeeded: {skipped} skipped"),
            Outcome::Failure => format!("{name} tests failed: {failed} of {}", passed + skipped + failed),
        }
    };
    let mut text = level("Core", core);
    if let Some(extended) = extended {
        text = format!("{text}. {}", level("Extended", &extended.tests));
    }
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

fn scenario(result: &ScenarioResult) -> Scenario {
    Scenario {
        id: result.id.clone(),
        title: result.title.clone(),
        profile: result.profile.clone(),
        level: result.level,
        source: result.source,
        reference: result.reference.clone(),
        topology: result.topology.clone(),
        seed: result.seed,
        timer_profile: result.timer_profile.clone(),
        timers: result.timers.clone(),
        duration: millis::of(result.duration),
        tests: result
            .tests()
            .into_iter()
            .map(|test| TestReport {
                result: test.status.name().to_owned(),
                reason: match test.status {
                    Status::Skipped { reason } => Some(reason),
                    _ => None,
                },
                id: test.id,
                source: test.source,
                clause: test.clause.to_owned(),
                expected: test.expected.to_owned(),
                seen: test.seen.to_owned(),
                bound: test.bound.map(|bound| BoundReport {
                    expression: bound.expression.clone(),
                    value: bound.value,
                    unit: bound.unit.clone(),
                }),
                samples: test.samples.map(|samples| SamplesReport {
                    series: samples.series.clone(),
                    unit: samples.unit.clone(),
                    count: samples.count,
                    min: samples.min,
                    mean: samples.mean,
                    max: samples.max,
                    percentiles: samples
                        .percentiles
                        .iter()
                        .filter_map(|p| Some((p.name.clone(), p.value?)))
                        .collect(),
                }),
            })
            .collect(),
        batches: result.batches.clone(),
    }
}

fn topology(map: &Map) -> Topology {
    let sites = map.sites.iter().map(|site| {
        let clusters = site
            .clusters
            .iter()
            .map(|cluster| (cluster.name.clone(), cluster.nodes.clone()));
        (site.name.clone(), clusters.collect())
    });
    let links = map.links.iter().map(|link| {
        let detail = if link.detail.is_empty() {
            String::new()
        } else {
            format!(", {}", link.detail)
        };
        format!("{} - {}: {}{detail}", link.from, link.to, link.latency)
    });
    Topology {
        sites: sites.collect(),
        links: links.collect(),
    }
}
