//! Conditions of a Placement, with upstream's reasons and messages.

use cfn_api::ocm::placement::{MISCONFIGURED, SATISFIED};

use super::{Code, Status};

/// What the conditions speak of.
#[derive(Debug, Clone, Default)]
pub struct Counts<'a> {
    /// `spec.clusterSets`.
    pub sets_in_spec: &'a [String],
    /// Of these, bound to the namespace.
    pub eligible_sets: &'a [String],
    /// Valid bindings in the namespace.
    pub bindings: usize,
    /// Clusters in the sets.
    pub available: usize,
    /// Clusters that passed the filters.
    pub feasible: usize,
    /// Clusters that are missing.
    pub unscheduled: i64,
}

/// Type, status, reason and message of each condition.
#[must_use]
pub fn conditions(counts: &Counts<'_>, status: &Status) -> [(&'static str, &'static str, &'static str, String); 2] {
    let (truth, reason, message) = if counts.bindings == 0 {
        (
            "False",
            "NoManagedClusterSetBindings",
            "No valid ManagedClusterSetBindings found in placement namespace".to_owned(),
        )
    } else if counts.eligible_sets.is_empty() {
        let sets = counts.sets_in_spec.join(",");
        (
            "False",
            "NoIntersection",
            format!("None of ManagedClusterSets [{sets}] is bound to placement namespace"),
        )
    } else if counts.available == 0 {
        let sets = counts.eligible_sets.join(",");
        (
            "False",
            "AllManagedClusterSetsEmpty",
            format!("All ManagedClusterSets [{sets}] have no member ManagedCluster"),
        )
    } else if counts.feasible == 0 {
        (
            "False",
            "NoManagedClusterMatched",
            "No ManagedCluster matches any of the cluster predicate".to_owned(),
        )
    } else if counts.unscheduled == 0 {
        (
            "True",
            "AllDecisionsScheduled",
            "All cluster decisions scheduled".to_owned(),
        )
    } else {
        (
            "False",
            "NotAllDecisionsScheduled",
            format!("{} cluster decisions unscheduled", counts.unscheduled),
        )
    };
    let configured = if status.code == Code::Misconfigured {
        (
            MISCONFIGURED,
            "True",
            "Misconfigured",
            format!("{}:{}", status.plugin, status.message),
        )
    } else {
        (
            MISCONFIGURED,
            "False",
            "Succeedconfigured",
            "Placement configurations check pass".to_owned(),
        )
    };
    [(SATISFIED, truth, reason, message), configured]
}
