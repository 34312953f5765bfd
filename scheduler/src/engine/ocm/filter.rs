//! Filters: `Predicate` and `TaintToleration` (`pkg/placement/plugins`).

use std::collections::{BTreeMap, BTreeSet};

use cfn_api::ocm::cluster::{ManagedCluster, ManagedClusterTaint};
use cfn_api::ocm::placement::{ClusterClaimSelector, ClusterSelector, PlacementSpec, PlacementToleration};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::expression::{Expression, Scores};
use super::{Status, View, name};
use crate::engine::affinity::{check_selector, labels_match};

pub(super) const PREDICATE: &str = "Predicate";
pub(super) const TAINT_TOLERATION: &str = "TaintToleration";

/// Selectors, checked and compiled once for all clusters.
pub(super) struct Selector<'a> {
    labels: &'a LabelSelector,
    claims: LabelSelector,
    cel: Vec<Expression>,
}

impl<'a> Selector<'a> {
    pub(super) fn new(selector: &'a ClusterSelector) -> Result<Self, String> {
        let mut s = Self::of(&selector.label_selector, &selector.claim_selector)?;
        for (i, text) in selector.cel_selector.cel_expressions.iter().enumerate() {
            let program = Expression::compile(text);
            s.cel
                .push(program.map_err(|e| format!("celSelector.celExpressions[{i}]: {e}"))?);
        }
        Ok(s)
    }

    pub(super) fn of(labels: &'a LabelSelector, claims: &ClusterClaimSelector) -> Result<Self, String> {
        let claims = LabelSelector {
            match_labels: None,
            match_expressions: Some(claims.match_expressions.clone()),
        };
        check_selector(labels)?;
        check_selector(&claims)?;
        Ok(Self {
            labels,
            claims,
            cel: Vec::new(),
        })
    }

    pub(super) fn matches(&self, cluster: &ManagedCluster, view: &View<'_>) -> bool {
        let empty = BTreeMap::new();
        if !labels_match(self.labels, cluster.metadata.labels.as_ref().unwrap_or(&empty)) {
            return false;
        }
        if self.claims.match_expressions.as_ref().is_some_and(|e| !e.is_empty()) {
            let claims = cluster.status.iter().flat_map(|s| &s.cluster_claims);
            let claims: BTreeMap<String, String> = claims.map(|c| (c.name.clone(), c.value.clone())).collect();
            if !labels_match(&self.claims, &claims) {
                return false;
            }
        }
        if self.cel.is_empty() {
            return true;
        }
        let object = serde_json::to_value(cluster).unwrap_or_default();
        let scores = |resource: &str| -> Scores {
            let scores = view.scores.get(&(name(cluster), resource));
            scores.and_then(|s| s.status.as_ref()).map_or_else(Vec::new, |s| {
                s.scores.iter().map(|s| (s.name.clone(), i64::from(s.value))).collect()
            })
        };
        self.cel.iter().all(|e| e.holds(&object, &scores))
    }
}

/// The clusters that satisfy one of the predicates; all where there is none.
pub(super) fn predicate<'a>(view: &View<'a>, spec: &PlacementSpec) -> Result<Vec<&'a ManagedCluster>, Status> {
    if spec.predicates.is_empty() {
        return Ok(view.clusters.clone());
    }
    let selectors: Vec<Selector<'_>> = spec
        .predicates
        .iter()
        .map(|p| Selector::new(&p.required_cluster_selector))
        .collect::<Result<_, _>>()
        .map_err(|why| Status::misconfigured(PREDICATE, why))?;
    let matches = |c: &&&ManagedCluster| selectors.iter().any(|s| s.matches(c, view));
    Ok(view.clusters.iter().filter(matches).copied().collect())
}

/// The clusters whose taints are all tolerated, and when the first toleration in use ends.
pub(super) fn tolerated<'a>(
    view: &View<'_>,
    spec: &PlacementSpec,
    clusters: Vec<&'a ManagedCluster>,
    own: &BTreeSet<&str>,
) -> Result<(Vec<&'a ManagedCluster>, Option<Timestamp>), Status> {
    if clusters.is_empty() {
        return Ok((clusters, None));
    }
    for t in &spec.tolerations {
        if t.key.is_empty() && t.operator != "Exists" {
            return Err(Status::misconfigured(
                TAINT_TOLERATION,
                "If the key is empty, operator must be Exists.",
            ));
        }
        if t.operator == "Exists" && !t.value.is_empty() {
            return Err(Status::misconfigured(
                TAINT_TOLERATION,
                "If the operator is Exists, the value should be empty.",
            ));
        }
    }
    let mut requeue: Option<Timestamp> = None;
    let mut left = Vec::with_capacity(clusters.len());
    for c in clusters {
        let has_it = own.contains(name(c));
        let mut ends: Option<Timestamp> = None;
        let fine = c.spec.taints.iter().all(|taint| {
            if taint.effect == "PreferNoSelect" || taint.effect == "NoSelectIfNew" && has_it {
                return true;
            }
            let first = spec
                .tolerations
                .iter()
                .find_map(|t| tolerates(t, taint, view.now).then(|| end(t, taint)));
            if let Some(Some(at)) = first {
                ends = Some(ends.map_or(at, |e| e.min(at)));
            }
            first.is_some()
        });
        if fine {
            left.push(c);
            if has_it && let Some(at) = ends {
                requeue = Some(requeue.map_or(at, |r| r.min(at)));
            }
        }
    }
    Ok((left, requeue))
}

/// When `toleration` stops tolerating `taint`.
fn end(toleration: &PlacementToleration, taint: &ManagedClusterTaint) -> Option<Timestamp> {
    let seconds = toleration.toleration_seconds?;
    let from = taint.time_added.as_ref()?.0;
    from.checked_add(SignedDuration::from_secs(seconds)).ok()
}

fn tolerates(toleration: &PlacementToleration, taint: &ManagedClusterTaint, now: Option<Timestamp>) -> bool {
    if !toleration.effect.is_empty() && toleration.effect != taint.effect {
        return false;
    }
    if !toleration.key.is_empty() && toleration.key != taint.key {
        return false;
    }
    let matches = match toleration.operator.as_str() {
        "" | "Equal" => toleration.value == taint.value,
        "Exists" => true,
        _ => false,
    };
    matches && end(toleration, taint).zip(now).is_none_or(|(end, now)| now < end)
}
