//! How good a batch of decisions is, by what no scheduler could have bettered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The bindings of a hub that ask for room, and how far what they have is from any possible placement (the bound is a
/// linear relaxation: it may promise more than there is, never less).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Batch {
    /// The step after which it was looked at.
    pub after: String,
    /// The bindings, as `namespace/name`.
    pub bindings: Vec<String>,
    /// Replicas that they ask for.
    pub wanted: i64,
    /// Replicas that are placed.
    pub placed: i64,
    /// No placement whatsoever places more.
    pub possible: i64,
    /// Within so many percent of any possible placement, by replicas placed.
    pub within_percent: f64,
    /// What the clients of these replicas wait in all, where a policy asks for low latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<BatchLatency>,
}

/// Latency of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchLatency {
    /// As it is placed, in milliseconds.
    pub milliseconds: f64,
    /// No placement of as many replicas has less.
    pub least: f64,
    /// Within so many percent of that.
    pub within_percent: f64,
}

impl Batch {
    /// In one sentence, for a person.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = format!(
            "{} bindings, {} of {} replicas placed: within {} % of any possible placement",
            self.bindings.len(),
            self.placed,
            self.wanted,
            self.within_percent
        );
        if let Some(l) = &self.latency {
            text += &format!(", latency within {} % of the least possible", l.within_percent);
        }
        text
    }
}
