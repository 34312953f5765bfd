//! One decision of the scheduler with its reasons, per cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the scheduler decided for one workload, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Offset from the scenario's start; in files: milliseconds.
    #[serde(with = "super::millis")]
    pub at: Duration,
    /// The binding decided about: `ResourceBinding default/sentiment-deployment`.
    pub subject: String,
    /// The outcome in one line: `member1: 1, member2: 1`, or the error.
    pub outcome: String,
    /// One entry per cluster looked at, in the order the scheduler lists them.
    pub clusters: Vec<ClusterDecision>,
}

/// What the scheduler made of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterDecision {
    /// The cluster's name.
    pub cluster: String,
    /// Whether it passed every filter.
    pub feasible: bool,
    /// Why not (one entry per filter that refused it), or what else is worth saying.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Score per plugin, and what went into it (`network: 9 ms`): name to value as text with its unit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, String>,
    /// Replicas given; none when it was not chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
}
