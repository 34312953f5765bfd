//! One checked assertion: the clause, what was expected, what was seen.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Summary;

/// Who says that this must hold. A report never mixes what the blueprint says with what we say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Source {
    /// The blueprint's own published pages and manifests.
    Blueprint,
    /// The blueprint's seed deck (its stated phases and goals).
    Seed,
    /// Karmada's documented behaviour, defaults or service levels.
    Karmada,
    /// Kubernetes' documented behaviour or defaults.
    Kubernetes,
    /// KubeEdge's documented behaviour or defaults.
    KubeEdge,
    /// IETF CATS drafts.
    #[serde(rename = "CATS")]
    Cats,
    /// 3GPP specifications.
    #[serde(rename = "3GPP")]
    ThreeGpp,
    /// ETSI MEC specifications.
    #[serde(rename = "ETSI")]
    Etsi,
    /// Akraino's process (validation, maturity review).
    Akraino,
    /// Our own definition.
    #[default]
    Own,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Blueprint => "Blueprint",
            Source::Seed => "Seed deck",
            Source::Karmada => "Karmada",
            Source::Kubernetes => "Kubernetes",
            Source::KubeEdge => "KubeEdge",
            Source::Cats => "IETF CATS",
            Source::ThreeGpp => "3GPP",
            Source::Etsi => "ETSI MEC",
            Source::Akraino => "Akraino",
            Source::Own => "Our definition",
        })
    }
}

/// How binding a test is: core is what the blueprint or its seed names, extended is what we add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Named by the blueprint or its seed deck.
    #[default]
    Core,
    /// Defined by this testbed.
    Extended,
}

impl Level {
    /// The level's name in files.
    pub fn name(self) -> &'static str {
        match self {
            Level::Core => "core",
            Level::Extended => "extended",
        }
    }
}

/// How an assertion ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result")]
pub enum Status {
    /// What was expected was seen.
    Passed,
    /// Something else was seen (the verdict's `seen` says what).
    Failed,
    /// It was not checked. A skipped core test makes its profile `partial`, never `success`.
    Skipped {
        /// Why it was not checked.
        reason: String,
    },
}

impl Status {
    /// The status's name in files.
    pub fn name(&self) -> &'static str {
        match self {
            Status::Passed => "Passed",
            Status::Failed => "Failed",
            Status::Skipped { .. } => "Skipped",
        }
    }
}

/// A bound and how it was computed, so that a reader can check the arithmetic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    /// `(clusterFailureThreshold + failoverEvictionTimeout + tolerationSeconds) * 1.1`.
    pub expression: String,
    /// The number it comes to.
    pub value: f64,
    /// Its unit: `ms`, `s`, `%`, `replicas`.
    pub unit: String,
}

/// One checked assertion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The assertion's name, unique in its scenario: `all-on-the-survivor`. See `ScenarioResult::tests` for full ids.
    pub id: String,
    /// Who says so.
    #[serde(default)]
    pub source: Source,
    /// The clause, as a reader can look it up: `TS 22.186 R.5.4-001`, `R7 test document, case 2`.
    pub clause: String,
    /// What had to be seen.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// The numeric bound, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// The samples behind it, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<Summary>,
    /// How it ended.
    #[serde(flatten)]
    pub status: Status,
}
