//! The steps of a decision on their own, for tests against Karmada's tables, whose rows begin in the middle.

use std::collections::BTreeMap;
use std::sync::Arc;

use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::policy::{Placement, SpreadConstraint};
use cfn_api::karmada::work::{Component, ReplicaRequirements, ResourceBindingSpec, TargetCluster};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::components::Set;
use super::estimate::{Estimator, Models, Requests};
use super::spread::{self, Candidate, Group, best_groups};
use super::{Config, Fleet, Member, Request, ScheduleError, filter};

/// A cluster with what the steps before have found out.
#[derive(Debug, Clone)]
pub struct Part {
    /// Cluster.
    pub cluster: Cluster,
    /// Sum of its scores.
    pub score: i32,
    /// Replicas that it has room for.
    pub allocatable: i64,
    /// The same plus what the binding has there.
    pub available: i64,
    /// 0 in the affinity group itself, then the tiers that take what does not fit.
    pub tier: u8,
}

struct Stage {
    fleet: Fleet,
    members: Vec<Arc<Member>>,
}

impl Stage {
    fn new(parts: &[Part]) -> Self {
        let fleet = Fleet::new(parts.iter().map(|p| p.cluster.clone()));
        let members = parts.iter().filter_map(|p| {
            let name = p.cluster.metadata.name.as_deref().unwrap_or_default();
            fleet.get(name).cloned()
        });
        Self {
            members: members.collect(),
            fleet,
        }
    }

    /// Candidates, ranked by their place in the list.
    fn candidates(&self, parts: &[Part]) -> Vec<Candidate<'_>> {
        self.members
            .iter()
            .zip(parts)
            .zip(0_u128..)
            .map(|((member, p), rank)| Candidate {
                member,
                rank,
                slot: self.fleet.slot(member.name()).unwrap_or(0),
                score: p.score,
                tier: p.tier,
                allocatable: p.allocatable,
                available: p.available,
            })
            .collect()
    }
}

fn name(p: &Part) -> &str {
    p.cluster.metadata.name.as_deref().unwrap_or_default()
}

/// Best first: tier, score, room, name.
pub fn sort(parts: &mut [Part]) {
    parts.sort_by(|a, b| {
        (a.tier, -a.score, -a.available)
            .cmp(&(b.tier, -b.score, -b.available))
            .then_with(|| name(a).cmp(name(b)))
    });
}

/// The clusters to use, of sorted ones.
///
/// # Errors
/// When the spread constraints cannot be satisfied.
pub fn select(parts: &[Part], placement: &Placement, replicas: i32) -> Result<Vec<String>, ScheduleError> {
    let stage = Stage::new(parts);
    let chosen = spread::select(placement, stage.candidates(parts), replicas, stage.fleet.index())?;
    Ok(chosen.iter().map(|c| c.name().to_owned()).collect())
}

/// Divides among clusters, as they are chosen already.
///
/// # Errors
/// When there is too little room, or the strategy is none.
pub fn assign(parts: &[Part], spec: &ResourceBindingSpec) -> Result<Vec<TargetCluster>, ScheduleError> {
    let stage = Stage::new(parts);
    let placement = Placement {
        spread_constraints: Vec::new(),
        ..spec.placement.clone().unwrap_or_default()
    };
    if parts.is_empty() {
        return Err(ScheduleError::Other("no clusters available to schedule".to_owned()));
    }
    let requests = Requests::default();
    super::place(
        &stage.fleet,
        &Request::of("", spec),
        &placement,
        stage.candidates(parts),
        &requests,
        &Config::default(),
        &mut BTreeMap::new(),
    )
}

/// How good a group of sorted clusters is.
#[must_use]
pub fn group_weight(parts: &[Part], replicas: i32, duplicated: bool, min_groups: i64, min_clusters: i64) -> i64 {
    let stage = Stage::new(parts);
    let all = stage.candidates(parts);
    let members: Vec<u32> = (0..).take(all.len()).collect();
    spread::group_score(
        &members,
        &all,
        i64::from(replicas),
        duplicated,
        min_groups,
        min_clusters,
    )
}

/// The best combination of groups (name, weight, number of clusters).
#[must_use]
pub fn choose_groups(groups: &[(String, i64, usize)], min: i64, max: i64, target: i64) -> Option<Vec<String>> {
    let group = |(name, weight, size): &(String, i64, usize)| Group {
        name: name.clone(),
        weight: *weight,
        members: vec![0; *size],
    };
    if i64::try_from(groups.len()).unwrap_or(0) < min {
        return None;
    }
    let chosen = best_groups(groups.iter().map(group).collect(), min, max, target)?;
    Some(chosen.into_iter().map(|g| g.name).collect())
}

/// The clusters of the best groups (name, weight, its clusters among `parts`, which are sorted).
///
/// # Errors
/// When the constraints cannot be satisfied.
pub fn pick(
    parts: &[Part],
    groups: &[(String, i64, Vec<String>)],
    constraint: &SpreadConstraint,
    cluster: Option<&SpreadConstraint>,
) -> Result<Vec<String>, ScheduleError> {
    let stage = Stage::new(parts);
    let all = stage.candidates(parts);
    let at = |n: &String| (0_u32..).zip(parts).find(|(_, p)| name(p) == n).map(|(i, _)| i);
    let group = |(name, weight, members): &(String, i64, Vec<String>)| Group {
        name: name.clone(),
        weight: *weight,
        members: members.iter().filter_map(at).collect(),
    };
    if i64::try_from(groups.len()).unwrap_or(0) < constraint.min_groups {
        return Err(ScheduleError::other(
            "the number of feasible region is less than spreadConstraint.MinGroups",
        ));
    }
    let chosen = spread::pick(groups.iter().map(group).collect(), constraint, cluster, &all)?;
    Ok(chosen.iter().map(|c| c.name().to_owned()).collect())
}

/// The plugin that refuses a cluster, and why.
#[must_use]
pub fn refusal(cluster: Cluster, spec: &ResourceBindingSpec) -> Option<(&'static str, String)> {
    let placement = spec.placement.clone().unwrap_or_default();
    let member = Member::new(cluster, None);
    filter::filter(&Request::of("", spec), &placement, None, &member).map(|r| (r.plugin, r.reason))
}

/// Room of a cluster by the general estimate, less what is assumed (replicas and requests of each).
#[must_use]
pub fn room(
    mut cluster: Cluster,
    requirements: Option<&ReplicaRequirements>,
    assumed: &[(i32, BTreeMap<String, Quantity>)],
) -> i64 {
    let known = cluster.metadata.name.get_or_insert_with(|| "c".to_owned()).clone();
    let mut fleet = Fleet::new([cluster]);
    for (i, (replicas, request)) in assumed.iter().enumerate() {
        fleet.assume(&known, &i.to_string(), *replicas, request);
    }
    let requests = Requests::new(requirements);
    let slot = fleet.slot(&known).unwrap_or(0);
    Estimator::new(&fleet, &requests).available(slot)
}

/// Replicas by the cluster's grades of nodes; `None` where it has none that know what is asked for.
#[must_use]
pub fn room_by_models(cluster: &Cluster, requirements: Option<&ReplicaRequirements>) -> Option<i64> {
    Models::of(cluster)?.replicas(&Requests::new(requirements))
}

/// Whole sets of components that a cluster has room for, less what is assumed (replicas and requests of each).
#[must_use]
pub fn sets(mut cluster: Cluster, components: &[Component], assumed: &[(i32, BTreeMap<String, Quantity>)]) -> i64 {
    let known = cluster.metadata.name.get_or_insert_with(|| "c".to_owned()).clone();
    let mut fleet = Fleet::new([cluster]);
    for (i, (replicas, request)) in assumed.iter().enumerate() {
        fleet.assume(&known, &i.to_string(), *replicas, request);
    }
    let slot = fleet.slot(&known).unwrap_or(0);
    // A workload without components is estimated as one that needs nothing.
    let none = || Estimator::new(&fleet, &Requests::default()).available(slot);
    Set::of(components).map_or_else(none, |s| s.room(&fleet, slot))
}

/// Whole sets by the cluster's grades of nodes, at most `most`; `None` where it has none.
#[must_use]
pub fn sets_by_models(cluster: &Cluster, components: &[Component], most: i64) -> Option<i64> {
    Set::of(components)?.by_models(&Models::of(cluster)?, most)
}
