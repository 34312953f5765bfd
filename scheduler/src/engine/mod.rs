//! The engine: from a snapshot of the fleet and a binding to a decision. No client, no clock, no I/O.
//!
//! Filter, score, select under spread constraints, divide, as Karmada's generic scheduler does it (the same answers,
//! checked against recorded ones); a [`ComputingPolicySpec`] adds accelerators, a latency budget and the joint
//! objective.

pub mod affinity;
mod divide;
mod estimate;
mod filter;
mod fleet;
mod latency;
mod nearest;
pub mod quantity;
mod spread;

use std::collections::BTreeMap;

use cfn_api::cfn::ComputingPolicySpec;
use cfn_api::karmada::policy::{Placement, ReplicaDivisionPreference, ReplicaSchedulingType};
use cfn_api::karmada::work::{ClusterExplanation, ResourceBindingSpec, ResourceBindingStatus, TargetCluster};

pub use divide::{descending, fnv1a, webster};
pub use filter::{Refusal, tolerates};
pub use fleet::{Fleet, Member, Resident, SITE_LABEL};
pub use latency::{KNEE, Latency, milliseconds};

use estimate::Requests;
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
    let spec = request.spec;
    let requests = Requests::new(spec.replica_requirements.as_ref());
    let mut notes: BTreeMap<&str, ClusterExplanation> = BTreeMap::new();
    let explain = config.explain == Explain::All;
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    let used = |name: &str| spec.clusters.iter().find(|t| t.name == name);
    let somewhere = spec.clusters.iter().any(|t| t.replicas > 0);
    for member in fleet.iter().filter(|m| !m.deleting()) {
        if let Some(r) = filter::filter(spec, placement, group, request.policy, member) {
            if explain {
                let filtered = Some(format!("{}: {}", r.plugin, r.reason));
                notes.insert(
                    member.name(),
                    ClusterExplanation {
                        cluster: member.name().into(),
                        filtered,
                        ..Default::default()
                    },
                );
            }
            *refusals.entry(r.reason).or_default() += 1;
            continue;
        }
        // ClusterLocality: 100 where the resource already is; ClusterAffinity scores nothing.
        let score = if somewhere && used(member.name()).is_some() {
            100
        } else {
            0
        };
        let allocatable = if spec.replicas == 0 {
            i64::from(i32::MAX)
        } else {
            estimate::available(member, &requests)
        };
        let available = allocatable + used(member.name()).map_or(0, |t| i64::from(t.replicas));
        candidates.push(Candidate {
            member,
            score,
            allocatable,
            available,
            latency: None,
        });
    }
    let result = if candidates.is_empty() {
        Err(no_cluster_fits(fleet.len(), &refusals))
    } else {
        spread::sort(&mut candidates);
        if explain {
            for c in &candidates {
                let scores = [
                    ("ClusterAffinity", 0.0),
                    ("ClusterLocality", if c.score == 0 { 0.0 } else { 100.0 }),
                ];
                let note = ClusterExplanation {
                    cluster: c.name().into(),
                    scores: scores.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
                    available: (spec.replicas > 0).then_some(c.allocatable),
                    ..Default::default()
                };
                notes.insert(c.member.name(), note);
            }
        }
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

fn no_cluster_fits(all: usize, refusals: &BTreeMap<String, usize>) -> ScheduleError {
    let mut reasons: Vec<String> = refusals.iter().map(|(r, n)| format!("{n} {r}")).collect();
    reasons.sort();
    let list = if reasons.is_empty() {
        "no cluster exists".to_owned()
    } else {
        reasons.join(", ")
    };
    ScheduleError::NoClusterFit(format!("0/{all} clusters are available: {list}."))
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
        candidates = nearest::rank(fleet, request, policy, candidates, config, notes);
        if nearest::decides(policy, strategy, spec.replicas) {
            return nearest::fill(fleet, request, policy, &candidates, requests);
        }
    }
    let chosen = spread::select(placement, candidates, spec.replicas)?;
    if spec.replicas == 0 {
        return Ok(chosen
            .iter()
            .map(|c| TargetCluster {
                name: c.name().to_owned(),
                replicas: 0,
            })
            .collect());
    }
    let descending = descending(spec.resource.uid.as_deref());
    if spread::kind(strategy) == ReplicaSchedulingType::Duplicated {
        return Ok(chosen
            .iter()
            .map(|c| TargetCluster {
                name: c.name().to_owned(),
                replicas: spec.replicas,
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
                })
                .into_iter()
                .collect());
        }
        return Ok(divide::by_static_weights(
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
        candidates: &chosen,
        previous: &spec.clusters,
        replicas: spec.replicas,
        aggregated,
        fresh,
        descending,
    }
    .divide()
}
