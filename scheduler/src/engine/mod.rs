//! The engine: from a snapshot of the fleet and a binding to a decision. No client, no clock, no I/O.
//!
//! Filter, score, select under spread constraints, divide, as Karmada's generic scheduler does it (the same answers,
//! checked against recorded ones); a [`ComputingPolicySpec`] adds accelerators, a latency budget and the joint
//! objective.

mod accurate;
pub mod affinity;
pub mod bound;
mod components;
mod divide;
mod estimate;
mod filter;
mod fleet;
mod latency;
mod nearest;
mod objective;
pub mod ocm;
pub mod parts;
pub mod quantity;
mod spread;
mod task;

use std::collections::BTreeMap;

use cfn_api::cfn::ComputingPolicySpec;
use cfn_api::karmada::policy::{Placement, ReplicaDivisionPreference, ReplicaSchedulingType};
use cfn_api::karmada::work::{ClusterExplanation, ResourceBindingSpec, ResourceBindingStatus, TargetCluster};

pub use components::applicable as whole_sets;
pub use divide::{descending, fnv1a, webster};
pub use filter::{Refusal, tolerates};
pub use fleet::{Fleet, Member, Resident, SITE_LABEL};
pub use latency::{KNEE, Latency, milliseconds};
pub use task::{Defaults, defaults};

use estimate::{Estimator, Requests};
use spread::Candidate;

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `namespace/name` of the binding; how the fleet knows what it has where.
    pub key: &'a str,
    /// The binding; `clusters` is the last decision.
    pub spec: &'a ResourceBindingSpec,
    /// Its status: the affinity group in force, when it was last scheduled.
    pub status: Option<&'a ResourceBindingStatus>,
    /// The ComputingPolicy attached to it.
    pub policy: Option<&'a ComputingPolicySpec>,
    /// Only these clusters: what an Open Cluster Management Placement chose for it.
    pub within: Option<&'a [String]>,
    /// Replicas that have room by an accurate estimate, by cluster; where given, it counts beside the general one and
    /// the lower of the two wins.
    pub estimates: Option<&'a BTreeMap<String, i64>>,
}

impl<'a> Request<'a> {
    /// A binding and nothing else.
    #[must_use]
    pub fn of(key: &'a str, spec: &'a ResourceBindingSpec) -> Self {
        Self {
            key,
            spec,
            status: None,
            policy: None,
            within: None,
            estimates: None,
        }
    }
}

/// A fault built in on purpose, to prove that the test bed notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Fixed weights are not read: the first cluster gets everything.
    IgnoreWeights,
    /// The network counts as free of delay.
    IgnoreNetwork,
}

/// How much is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Explain {
    /// Nothing.
    #[default]
    None,
    /// Every cluster.
    All,
}

/// Settings of the engine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Config {
    /// A fault for self-tests.
    pub defect: Option<Defect>,
    /// Explanations.
    pub explain: Explain,
}

/// Why there is no placement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Every cluster was refused by a filter.
    #[error("{0}")]
    NoClusterFit(String),
    /// The clusters have too little room.
    #[error("{0}")]
    Unschedulable(String),
    /// The clusters cannot satisfy the spread constraints, or the placement makes no sense.
    #[error("{0}")]
    Other(String),
}

impl ScheduleError {
    fn other(why: &str) -> Self {
        Self::Other(format!("failed to select clusters: {why}"))
    }

    /// The class, as the reason of a `Scheduled` condition (`SchedulerError` for [`ScheduleError::Other`]).
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoClusterFit(_) => "NoClusterFit",
            Self::Unschedulable(_) => "Unschedulable",
            Self::Other(_) => "SchedulerError",
        }
    }
}

/// A decision with its reasons.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Clusters and replicas, by name where order does not matter.
    pub result: Result<Vec<TargetCluster>, ScheduleError>,
    /// The affinity group that fitted, where there are several.
    pub affinity: Option<String>,
    /// Per cluster, when asked for.
    pub explanation: Vec<ClusterExplanation>,
}

/// Decides where `request` goes. Groups of affinities are tried in order, from the one in force on.
#[must_use]
pub fn schedule(fleet: &Fleet, request: &Request<'_>, config: &Config) -> Decision {
    let default = Placement::default();
    let placement = request.spec.placement.as_ref().unwrap_or(&default);
    let groups = &placement.cluster_affinities;
    if placement.cluster_affinity.is_some() || groups.is_empty() {
        return attempt(fleet, request, placement, None, config);
    }
    let observed = request
        .status
        .and_then(|s| s.scheduler_observing_affinity_name.as_deref());
    let start = groups
        .iter()
        .position(|g| Some(g.affinity_name.as_str()) == observed)
        .unwrap_or(0);
    let mut first: Option<Decision> = None;
    for group in &groups[start..] {
        let decision = attempt(fleet, request, placement, Some(&group.affinity_name), config);
        if decision.result.is_ok() {
            return decision;
        }
        first.get_or_insert(decision);
    }
    first.unwrap_or_else(|| attempt(fleet, request, placement, None, config))
}

fn attempt(
    fleet: &Fleet,
    request: &Request<'_>,
    placement: &Placement,
    group: Option<&str>,
    config: &Config,
) -> Decision {
    let requests = Requests::new(request.spec.replica_requirements.as_ref());
    let mut notes: Notes<'_> = BTreeMap::new();
    let explain = config.explain == Explain::All;
    let candidates = candidates(fleet, request, placement, group, &requests);
    if explain {
        note(fleet, request, placement, group, &candidates, &mut notes);
    }
    let result = if candidates.is_empty() {
        Err(no_cluster_fits(fleet, request, placement, group))
    } else {
        place(fleet, request, placement, candidates, &requests, config, &mut notes)
    };
    if let (true, Ok(targets)) = (explain, &result) {
        for t in targets {
            if let Some(n) = notes.get_mut(t.name.as_str()) {
                n.replicas = Some(t.replicas);
            }
        }
    }
    Decision {
        result,
        affinity: group.map(str::to_owned),
        explanation: notes.into_values().collect(),
    }
}

/// The members that pass the filters, with score and room, in no particular order.
fn candidates<'f>(
    fleet: &'f Fleet,
    request: &Request<'_>,
    placement: &Placement,
    group: Option<&str>,
    requests: &Requests,
) -> Vec<Candidate<'f>> {
    let spec = request.spec;
    let bits = filter::eligible(fleet, request, placement, group);
    let mut used: Vec<(u32, i64)> = spec
        .clusters
        .iter()
        .filter_map(|t| Some((fleet.slot(&t.name)?, i64::from(t.replicas))))
        .collect();
    used.sort_by_key(|(slot, _)| *slot);
    used.dedup_by_key(|(slot, _)| *slot);
    let estimator = Estimator::new(fleet, requests);
    let set = components::Set::of(&spec.components);
    let tiers = filter::tiers(fleet, placement, group);
    let order = &fleet.index().order;
    let mut list = Vec::with_capacity(bits.count());
    for slot in bits.iter() {
        let Some(member) = fleet.at(slot) else { continue };
        let has = if used.is_empty() {
            None
        } else {
            used.binary_search_by_key(&slot, |(s, _)| *s).ok().map(|i| used[i].1)
        };
        // ClusterLocality: 100 where the resource already is; ClusterAffinity scores nothing.
        let score = if has.is_some() { 100 } else { 0 };
        let mut allocatable = if let Some(set) = &set {
            set.room(fleet, slot)
        } else if spec.replicas <= 0 {
            i64::from(i32::MAX)
        } else {
            let general = estimator.available(slot);
            let nodes = member.cluster.status.as_ref().map_or(&[][..], |s| &s.free_nodes);
            if nodes.is_empty() || general <= 0 {
                general
            } else {
                let claim = spec.replica_requirements.as_ref().and_then(|r| r.node_claim.as_ref());
                let promised = fleet.promised(member.name());
                let taken = accurate::taken(promised, requests.columns());
                general.min((accurate::replicas(nodes, requests.columns(), claim) - taken).max(0))
            }
        };
        if let Some(n) = request.estimates.and_then(|e| e.get(member.name())) {
            allocatable = allocatable.min((*n).max(0));
        }
        // A set that is there already has its room there.
        let here = if set.is_some() { 1 } else { 0 };
        let available = allocatable.saturating_add(has.map_or(0, |n| n.max(here)));
        let candidate = Candidate {
            member,
            rank: 0,
            slot,
            score,
            tier: tiers.get(slot as usize).copied().unwrap_or(0),
            allocatable,
            available,
        };
        list.push(candidate.ranked(order[slot as usize]));
    }
    list
}

/// Why each member was refused, or how it scored.
fn note<'f>(
    fleet: &'f Fleet,
    request: &Request<'_>,
    placement: &Placement,
    group: Option<&str>,
    candidates: &[Candidate<'f>],
    notes: &mut Notes<'f>,
) {
    for c in candidates {
        let scores = [("ClusterAffinity", 0.0), ("ClusterLocality", f64::from(c.score))];
        let note = ClusterExplanation {
            cluster: c.name().into(),
            scores: scores.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            available: (request.spec.replicas > 0).then_some(c.allocatable),
            ..Default::default()
        };
        notes.insert(c.member.name(), note);
    }
    for member in fleet.iter().filter(|m| !m.deleting()) {
        if notes.contains_key(member.name()) {
            continue;
        }
        if let Some(r) = filter::filter(request, placement, group, member) {
            let note = ClusterExplanation {
                cluster: member.name().into(),
                filtered: Some(format!("{}: {}", r.plugin, r.reason)),
                ..Default::default()
            };
            notes.insert(member.name(), note);
        }
    }
}

/// The members counted by the reason for which they were refused.
fn no_cluster_fits(fleet: &Fleet, request: &Request<'_>, placement: &Placement, group: Option<&str>) -> ScheduleError {
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    for member in fleet.iter().filter(|m| !m.deleting()) {
        if let Some(r) = filter::filter(request, placement, group, member) {
            *refusals.entry(r.reason).or_default() += 1;
        }
    }
    let mut reasons: Vec<String> = refusals.iter().map(|(r, n)| format!("{n} {r}")).collect();
    reasons.sort();
    let list = if reasons.is_empty() {
        "no cluster exists".to_owned()
    } else {
        reasons.join(", ")
    };
    ScheduleError::NoClusterFit(format!("0/{} clusters are available: {list}.", fleet.len()))
}

type Notes<'n> = BTreeMap<&'n str, ClusterExplanation>;

fn place<'f>(
    fleet: &'f Fleet,
    request: &Request<'_>,
    placement: &Placement,
    mut candidates: Vec<Candidate<'f>>,
    requests: &Requests,
    config: &Config,
    notes: &mut Notes<'f>,
) -> Result<Vec<TargetCluster>, ScheduleError> {
    let spec = request.spec;
    let strategy = placement.replica_scheduling.as_ref();
    if let Some(policy) = request.policy {
        candidates = nearest::rank(fleet, request, policy, candidates, requests, config, notes);
        if nearest::decides(policy, strategy, spec.replicas) {
            return nearest::fill(fleet, request, policy, &candidates, requests);
        }
    }
    if !spec.components.is_empty() {
        candidates.retain(|c| c.available > 0);
        if candidates.is_empty() {
            return Err(ScheduleError::Unschedulable(
                "no cluster has room for all components of the workload together".into(),
            ));
        }
    }
    let duplicated = spread::kind(strategy) == ReplicaSchedulingType::Duplicated;
    let mut chosen = spread::select(placement, candidates, spec.replicas, fleet.index())?;
    if duplicated || spec.replicas <= 0 || config.defect.is_some() {
        spread::sort(&mut chosen);
    }
    if spec.replicas <= 0 {
        let none = chosen.iter().map(|c| TargetCluster {
            name: c.name().to_owned(),
            ..Default::default()
        });
        return Ok(components::complete(spec, none.collect()));
    }
    let descending = descending(spec.resource.uid.as_deref());
    if duplicated {
        return Ok(chosen
            .iter()
            .map(|c| TargetCluster {
                name: c.name().to_owned(),
                replicas: spec.replicas,
                ..Default::default()
            })
            .collect());
    }
    let preferences = strategy.and_then(|s| s.weight_preference.as_ref());
    let aggregated = match strategy.and_then(|s| s.replica_division_preference) {
        Some(ReplicaDivisionPreference::Aggregated) => true,
        Some(ReplicaDivisionPreference::Weighted) => false,
        None => {
            return Err(ScheduleError::Other(
                "failed to assign replicas: unsupported replica scheduling strategy".into(),
            ));
        }
    };
    let dynamic = preferences.is_some_and(|p| p.dynamic_weight.as_deref().is_some_and(|d| !d.is_empty()));
    if !aggregated && !dynamic {
        if config.defect == Some(Defect::IgnoreWeights) {
            return Ok(chosen
                .first()
                .map(|c| TargetCluster {
                    name: c.name().to_owned(),
                    replicas: spec.replicas,
                    ..Default::default()
                })
                .into_iter()
                .collect());
        }
        return Ok(divide::by_static_weights(
            fleet,
            &chosen,
            preferences,
            spec.replicas,
            descending,
        ));
    }
    let last = request.status.and_then(|s| s.last_scheduled_time.as_ref());
    let fresh = spec
        .reschedule_triggered_at
        .as_ref()
        .zip(last)
        .is_some_and(|(t, l)| t.0 > l.0);
    divide::Dynamic {
        fleet,
        candidates: &chosen,
        previous: &spec.clusters,
        replicas: spec.replicas,
        aggregated,
        fresh,
        descending,
    }
    .by_tier()
}
