//! What one scenario came to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Batch, Bound, Decision, Event, Level, Sample, Series, Source, Status, Summary, Verdict};

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome")]
pub enum StepOutcome {
    /// It did what it says.
    Done,
    /// It could not, and why.
    Failed {
        /// What went wrong.
        error: String,
    },
    /// It was not reached.
    NotReached,
}

/// One step of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepResult {
    /// The verb: `apply`, `wait`, `fault`, `assert`.
    pub verb: String,
    /// The step in one line, for a person.
    pub title: String,
    /// Offset of its begin from the scenario's start; in files: milliseconds.
    #[serde(with = "super::millis")]
    pub began: Duration,
    /// Offset of its end.
    #[serde(with = "super::millis")]
    pub ended: Duration,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: StepOutcome,
}

/// What one scenario came to: everything the report says about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioResult {
    /// `P1-05`, `CFN-R7-C1`. Unique in a run.
    pub id: String,
    /// In one line, for a person.
    pub title: String,
    /// The profile it belongs to: `phase1`, `phase2`, `phase3`.
    pub profile: String,
    /// Core or extended.
    pub level: Level,
    /// Who asks for it.
    #[serde(default)]
    pub source: Source,
    /// Where it is asked for, as a reader can look it up.
    pub reference: String,
    /// What it shows, where it belongs to the extended level: names for `supportedFeatures`. Its id when empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<String>,
    /// Name of its topology; see [`super::RunResult::topologies`].
    pub topology: String,
    /// Name of the timer profile: `fast`, `karmada-1.4`.
    pub timer_profile: String,
    /// Every timer's value as text with its unit.
    pub timers: BTreeMap<String, String>,
    /// The lane it ran in.
    pub lane: String,
    /// The seed it ran with.
    pub seed: u64,
    /// How long it took on the lane's own clock (virtual in `sim`); in files: milliseconds.
    #[serde(with = "super::millis")]
    pub duration: Duration,
    /// Its steps, in order.
    pub steps: Vec<StepResult>,
    /// Its verdicts, in order. Assertions that were not reached stand here as skipped (or failed).
    pub verdicts: Vec<Verdict>,
    /// Why it ended early, when it did (a step failed, interrupted).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What happened.
    pub events: Vec<Event>,
    /// What was measured, by series name; see [`Sample::series`] for how names group.
    pub series: BTreeMap<String, Series>,
    /// What the scheduler decided, and why.
    pub decisions: Vec<Decision>,
    /// How good the decisions were that were made together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<Batch>,
}

/// One test as every report file lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Test<'a> {
    /// `<scenario>/<verdict>`: the same text in every file.
    pub id: String,
    /// Who says so.
    pub source: Source,
    /// The clause.
    pub clause: &'a str,
    /// What had to be seen.
    pub expected: &'a str,
    /// What was seen.
    pub seen: &'a str,
    /// The numeric bound.
    pub bound: Option<&'a Bound>,
    /// The samples behind it.
    pub samples: Option<&'a Summary>,
    /// How it ended.
    pub status: Status,
}

impl ScenarioResult {
    /// The tests this scenario stands for: one per verdict, `<scenario>/<verdict>`, and `<scenario>/ran` when it ended
    /// early or checked nothing, so that an aborted scenario can never look like a passed one.
    pub fn tests(&self) -> Vec<Test<'_>> {
        let mut tests: Vec<Test<'_>> = self
            .verdicts
            .iter()
            .map(|verdict| Test {
                id: format!("{}/{}", self.id, verdict.id),
                source: verdict.source,
                clause: &verdict.clause,
                expected: &verdict.expected,
                seen: &verdict.seen,
                bound: verdict.bound.as_ref(),
                samples: verdict.samples.as_ref(),
                status: verdict.status.clone(),
            })
            .collect();
        if self.error.is_some() || tests.is_empty() {
            tests.push(Test {
                id: format!("{}/ran", self.id),
                source: Source::Own,
                clause: &self.reference,
                expected: "the scenario runs to its end and checks something",
                seen: self.error.as_deref().unwrap_or("no assertion was checked"),
                bound: None,
                samples: None,
                status: Status::Failed,
            });
        }
        tests
    }

    /// (passed, skipped, failed) tests.
    pub fn counts(&self) -> (u64, u64, u64) {
        self.tests()
            .iter()
            .fold((0, 0, 0), |(passed, skipped, failed), test| match test.status {
                Status::Passed => (passed + 1, skipped, failed),
                Status::Skipped { .. } => (passed, skipped + 1, failed),
                Status::Failed => (passed, skipped, failed + 1),
            })
    }

    /// How the whole scenario ended: failed if any test failed, skipped if any was skipped, else passed.
    pub fn status(&self) -> Status {
        let (_, skipped, failed) = self.counts();
        if failed > 0 {
            return Status::Failed;
        }
        if skipped > 0 {
            let reasons = self.verdicts.iter().filter_map(|verdict| match &verdict.status {
                Status::Skipped { reason } => Some(reason.clone()),
                _ => None,
            });
            return Status::Skipped {
                reason: reasons.collect::<Vec<_>>().join("; "),
            };
        }
        Status::Passed
    }

    /// Adds a measured value to its series.
    pub fn record(&mut self, sample: Sample) {
        let series = self
            .series
            .entry(sample.series)
            .or_insert_with(|| Series::new(sample.unit));
        series.push(sample.at, sample.value);
    }

    /// The features this scenario stands for.
    pub fn feature_names(&self) -> BTreeSet<String> {
        if self.features.is_empty() {
            BTreeSet::from([self.id.clone()])
        } else {
            self.features.clone()
        }
    }
}
