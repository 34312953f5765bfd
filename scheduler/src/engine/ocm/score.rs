//! Prioritizers: Balance, Steady, ResourceAllocatable and the scores of add-ons (`pkg/placement/plugins`).

use std::collections::{BTreeMap, BTreeSet};

use cfn_api::ocm::cluster::ManagedCluster;
use cfn_api::ocm::placement::{Placement, PrioritizerPolicy};

use super::{Code, Status, View, belongs, name};
use crate::engine::quantity::approximate;

/// Highest score of a cluster; the lowest is its negative.
const MAX: i64 = 100;

/// What ranks clusters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Prioritizer {
    /// Few other decisions.
    Balance,
    /// In this Placement's last decision.
    Steady,
    /// Much allocatable of a resource; the name as configured, the resource where the name says one.
    Resource(String, Option<&'static str>),
    /// A score of an AddOnPlacementScore: resource, name.
    AddOn(String, String),
}

/// The prioritizers with a weight other than 0. In mode Additive, Balance and Steady count 1 unless configured.
pub(super) fn weights(policy: &PrioritizerPolicy) -> Result<Vec<(Prioritizer, i32)>, Status> {
    let mut list: Vec<(Prioritizer, i32)> = match policy.mode.as_deref().unwrap_or_default() {
        "" | "Additive" => vec![(Prioritizer::Balance, 1), (Prioritizer::Steady, 1)],
        "Exact" => Vec::new(),
        other => {
            return Err(Status::misconfigured(
                "",
                format!("incorrect prioritizer policy mode: {other}"),
            ));
        }
    };
    for (i, c) in policy.configurations.iter().enumerate() {
        let at = format!("spec.prioritizerPolicy.configurations[{i}].scoreCoordinate");
        let Some(coordinate) = &c.score_coordinate else {
            return Err(Status::misconfigured("", format!("{at} is empty")));
        };
        let weight = c.weight.unwrap_or(0);
        if !(-10..=10).contains(&weight) {
            let at = format!("spec.prioritizerPolicy.configurations[{i}].weight");
            return Err(Status::misconfigured("", format!("{at}: {weight} is not in -10 to 10")));
        }
        match coordinate.type_.as_deref().unwrap_or("BuiltIn") {
            "BuiltIn" => {
                let name = coordinate.built_in.as_deref().unwrap_or_default();
                let p = built_in(name)
                    .ok_or_else(|| Status::misconfigured("", format!("incorrect builtin prioritizer: {name}")))?;
                match list.iter_mut().find(|(q, _)| *q == p) {
                    Some(known) => known.1 = weight,
                    None => list.push((p, weight)),
                }
            }
            "AddOn" => {
                let Some(a) = &coordinate.add_on else {
                    return Err(Status::misconfigured("", format!("{at}.addOn should not be empty")));
                };
                // Two of one name both count.
                list.push((
                    Prioritizer::AddOn(a.resource_name.clone(), a.score_name.clone()),
                    weight,
                ));
            }
            other => {
                return Err(Status::misconfigured(
                    "",
                    format!("incorrect prioritizer coordinate type: {other}"),
                ));
            }
        }
    }
    list.retain(|(_, w)| *w != 0);
    Ok(list)
}

fn built_in(name: &str) -> Option<Prioritizer> {
    Some(match name {
        "Balance" => Prioritizer::Balance,
        "Steady" => Prioritizer::Steady,
        "ResourceAllocatableCPU" => Prioritizer::Resource(name.to_owned(), Some("cpu")),
        "ResourceAllocatableMemory" => Prioritizer::Resource(name.to_owned(), Some("memory")),
        // Upstream takes the name by its beginning, finds no resource and scores nobody.
        _ if name.starts_with("ResourceAllocatable") => Prioritizer::Resource(name.to_owned(), None),
        _ => return None,
    })
}

impl Prioritizer {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Balance => "Balance".to_owned(),
            Self::Steady => "Steady".to_owned(),
            Self::Resource(name, _) => name.clone(),
            Self::AddOn(resource, score) => format!("AddOn/{resource}/{score}"),
        }
    }

    /// A score per cluster, and a warning where there is something to know.
    pub(super) fn score(
        &self,
        view: &View<'_>,
        placement: &Placement,
        clusters: &[&ManagedCluster],
        own: &BTreeSet<&str>,
    ) -> (Vec<Option<i64>>, Option<Status>) {
        match self {
            Self::Balance => (balance(view, placement, clusters), None),
            Self::Steady => {
                let kept = |c: &&ManagedCluster| Some(if own.contains(name(c)) { MAX } else { 0 });
                (clusters.iter().map(kept).collect(), None)
            }
            Self::Resource(_, Some(resource)) => (allocatable(resource, clusters), None),
            Self::Resource(_, None) => (vec![None; clusters.len()], None),
            Self::AddOn(resource, score) => self.add_on(view, clusters, resource, score),
        }
    }

    fn add_on(
        &self,
        view: &View<'_>,
        clusters: &[&ManagedCluster],
        resource: &str,
        score: &str,
    ) -> (Vec<Option<i64>>, Option<Status>) {
        let mut expired = Vec::new();
        let scores = clusters.iter().map(|c| {
            let Some(status) = view.scores.get(&(name(c), resource)).and_then(|s| s.status.as_ref()) else {
                return Some(0);
            };
            if status
                .valid_until
                .as_ref()
                .zip(view.now)
                .is_some_and(|(t, now)| now > t.0)
            {
                expired.push(format!("{}/{resource}", name(c)));
                return Some(0);
            }
            let mut values = status.scores.iter().filter(|s| s.name == score);
            Some(values.next_back().map_or(0, |s| i64::from(s.value)))
        });
        let scores = scores.collect();
        let warning = (!expired.is_empty()).then(|| {
            Status::new(
                Code::Warning,
                &self.name(),
                format!("AddOnPlacementScores {} expired", expired.join(",")),
            )
        });
        (scores, warning)
    }
}

/// The more other decisions a cluster is in, relative to the most of any cluster, the lower. Truncated before it is
/// doubled, as upstream does.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "counts of decisions, and upstream's arithmetic"
)]
fn balance(view: &View<'_>, placement: &Placement, clusters: &[&ManagedCluster]) -> Vec<Option<i64>> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    let others = view.decisions.iter().filter(|d| !belongs(d, placement));
    for d in others.flat_map(|d| d.status.iter().flat_map(|s| &s.decisions)) {
        *counts.entry(&d.cluster_name).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(0);
    let score = |c: &&ManagedCluster| {
        let Some(n) = counts.get(name(c)) else { return Some(MAX) };
        let usage = *n as f64 / most as f64;
        Some(2 * ((MAX as f64 * (0.5 - usage)) as i64))
    };
    clusters.iter().map(score).collect()
}

/// From -100 for the least allocatable to 100 for the most; who does not say has no score.
#[allow(
    clippy::cast_possible_truncation,
    reason = "upstream's arithmetic; between -100 and 100"
)]
fn allocatable(resource: &str, clusters: &[&ManagedCluster]) -> Vec<Option<i64>> {
    let values: Vec<Option<f64>> = clusters
        .iter()
        .map(|c| {
            let s = c.status.as_ref()?;
            // Without a capacity the allocatable does not count.
            s.capacity.get(resource)?;
            approximate(s.allocatable.get(resource)?)
        })
        .collect();
    let known = || values.iter().flatten().copied();
    let (least, most) = (
        known().fold(f64::INFINITY, f64::min),
        known().fold(f64::NEG_INFINITY, f64::max),
    );
    let score = |v: f64| {
        if most - least == 0.0 {
            return MAX;
        }
        let ratio = (v - least) / (most - least);
        ((ratio - 0.5) * 2.0 * 100.0) as i64
    };
    values.iter().map(|v| v.map(score)).collect()
}
