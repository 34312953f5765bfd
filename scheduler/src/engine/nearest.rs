//! The joint objective: rank clusters by what their clients would wait, and fill the best first.

use std::collections::BTreeMap;

use cfn_api::cfn::{ComputingPolicySpec, Objective};
use cfn_api::karmada::policy::{ReplicaDivisionPreference, ReplicaSchedulingStrategy, ReplicaSchedulingType};
use cfn_api::karmada::work::TargetCluster;

use super::estimate::{self, Requests};
use super::fleet::Fleet;
use super::latency::{self, Latency, milliseconds};
use super::spread::{self, Candidate};
use super::{Config, Defect, Notes, Request, ScheduleError};

/// Puts the best cluster first and leaves out those over the budget while one within it exists.
///
/// A cluster in use counts as better by the hysteresis' threshold, so that noise below it moves nothing. A cluster
/// without measurements counts as over the budget.
pub(super) fn rank<'f>(
    fleet: &'f Fleet,
    request: &Request<'_>,
    policy: &ComputingPolicySpec,
    mut candidates: Vec<Candidate<'f>>,
    config: &Config,
    notes: &mut Notes<'f>,
) -> Vec<Candidate<'f>> {
    let Some(requirement) = policy.latency.as_ref().filter(|l| !l.clients.is_empty()) else {
        return candidates;
    };
    let budget = requirement.budget.as_deref().and_then(milliseconds);
    let latencies: BTreeMap<u32, Latency> = candidates
        .iter()
        .filter_map(|c| {
            let l = latency::estimate(fleet, c.member, request.key, policy, requirement)?;
            Some((c.slot, l))
        })
        .collect();
    let latency_of = |c: &Candidate<'_>| latencies.get(&c.slot);
    let blind = config.defect == Some(Defect::IgnoreNetwork);
    let value = |l: &Latency| match (blind, policy.objective) {
        (true, Objective::Network) => 0.0,
        (true, _) => l.compute,
        (false, objective) => l.of(objective),
    };
    let best = candidates
        .iter()
        .filter_map(|c| latency_of(c).map(value))
        .fold(f64::INFINITY, f64::min);
    let within = |c: &Candidate<'_>| latency_of(c).is_some_and(|l| budget.is_none_or(|b| value(l) <= b + 1e-9));
    let feasible = candidates.iter().any(within);
    for c in &candidates {
        let Some(n) = notes.get_mut(c.member.name()) else {
            continue;
        };
        match latency_of(c) {
            Some(l) => {
                n.latency = Some(l.explain(budget));
                let v = value(l);
                n.scores.insert(
                    "JointLatency".into(),
                    if v > 0.0 {
                        (1000.0 * best / v).round() / 10.0
                    } else {
                        100.0
                    },
                );
                if let Some(b) = budget.filter(|b| l.total() > b + 1e-9) {
                    n.note = Some(format!(
                        "misses the budget: {:.1} ms in total, {b:.1} ms allowed",
                        l.total()
                    ));
                }
            }
            None => n.note = Some("no measurement of the round trip to the clients".into()),
        }
        if feasible && !within(c) {
            let why = match latency_of(c) {
                Some(l) => format!(
                    "{:.1} ms exceeds the budget of {:.1} ms",
                    value(l),
                    budget.unwrap_or_default()
                ),
                None => "not measured".into(),
            };
            n.filtered = Some(format!("LatencyBudget: cluster(s) {why}"));
        }
    }
    if feasible {
        candidates.retain(within);
    }
    let bonus = 1.0
        - policy
            .hysteresis
            .as_ref()
            .map_or(0.0, |h| h.threshold_percent.clamp(0.0, 100.0))
            / 100.0;
    let used = |c: &Candidate<'_>| request.spec.clusters.iter().any(|t| t.name == c.name());
    let key = |c: &Candidate<'_>| {
        let v = latency_of(c).map_or(f64::INFINITY, value);
        if used(c) { v * bonus } else { v }
    };
    candidates.sort_by(|a, b| {
        key(a)
            .total_cmp(&key(b))
            .then_with(|| used(b).cmp(&used(a)))
            .then_with(|| a.name().cmp(b.name()))
    });
    for (c, i) in candidates.iter_mut().zip(0..) {
        c.rank = i;
    }
    candidates
}

/// Whether the ranking alone decides: not where the placement asks for copies everywhere or for fixed weights, and
/// not for what has no replicas.
pub(super) fn decides(
    policy: &ComputingPolicySpec,
    strategy: Option<&ReplicaSchedulingStrategy>,
    replicas: i32,
) -> bool {
    let ranked = policy.latency.as_ref().is_some_and(|l| !l.clients.is_empty());
    let explicit = strategy.and_then(|s| s.replica_scheduling_type);
    let undivided = explicit == Some(ReplicaSchedulingType::Divided)
        && strategy.is_some_and(|s| s.replica_division_preference == Some(ReplicaDivisionPreference::Weighted))
        && spread::by_static_weights(strategy);
    ranked && replicas > 0 && explicit != Some(ReplicaSchedulingType::Duplicated) && !undivided
}

/// Fills the best cluster with room, then the next.
pub(super) fn fill(
    fleet: &Fleet,
    request: &Request<'_>,
    policy: &ComputingPolicySpec,
    candidates: &[Candidate<'_>],
    requests: &Requests,
) -> Result<Vec<TargetCluster>, ScheduleError> {
    let mut left = i64::from(request.spec.replicas);
    let mut targets = Vec::new();
    let mut total = 0;
    for c in candidates {
        let room = estimate::room(fleet, c.member, requests, request.key, policy.task_type);
        total += room;
        let take = room.min(left);
        if take > 0 {
            targets.push(TargetCluster {
                name: c.name().to_owned(),
                replicas: i32::try_from(take).unwrap_or(i32::MAX),
            });
            left -= take;
        }
    }
    if left > 0 {
        return Err(ScheduleError::Unschedulable(format!(
            "failed to assign replicas: the clusters within the latency budget have room for {total} of {} replicas",
            request.spec.replicas
        )));
    }
    Ok(targets)
}
