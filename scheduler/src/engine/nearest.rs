//! The joint objective: rank clusters by what their clients would wait, and fill the best first.

use cfn_api::cfn::ComputingPolicySpec;
use cfn_api::karmada::policy::{ReplicaDivisionPreference, ReplicaSchedulingStrategy, ReplicaSchedulingType};
use cfn_api::karmada::work::TargetCluster;

use super::estimate::{self, Requests};
use super::fleet::Fleet;
use super::latency::{self, Latency, milliseconds};
use super::objective::{self, Parts};
use super::spread::{self, Candidate};
use super::task;
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
    requests: &Requests,
    config: &Config,
    notes: &mut Notes<'f>,
) -> Vec<Candidate<'f>> {
    if !objective::ranks(policy) {
        return candidates;
    }
    // Names decide between equals, whatever order the clusters came in.
    spread::sort(&mut candidates);
    let defaults = task::defaults(policy.task_type);
    let requirement = policy.latency.as_ref().filter(|l| !l.clients.is_empty());
    let budget = requirement
        .and_then(|r| r.budget.as_deref().or(defaults.budget.as_deref()))
        .and_then(milliseconds);
    let latencies: Vec<Option<Latency>> = candidates
        .iter()
        .map(|c| {
            let l = latency::estimate(fleet, c.member, request.key, policy, requirement?)?;
            // A fault for self-tests: the network counts as free of delay.
            let blind = config.defect == Some(Defect::IgnoreNetwork);
            Some(if blind { Latency { network: 0.0, ..l } } else { l })
        })
        .collect();
    let parts: Vec<Parts> = candidates
        .iter()
        .zip(&latencies)
        .map(|(c, l)| Parts::of(c.member, policy, requests, l.as_ref()))
        .collect();
    let values = objective::values(policy, &parts);
    let over = |i: usize| {
        let late = requirement.is_some()
            && latencies[i].is_none_or(|l| budget.is_some_and(|b| l.of(policy.objective) > b + 1e-9));
        let narrow = policy
            .bandwidth
            .is_some_and(|least| parts[i].bandwidth.is_none_or(|b| b < least));
        late || narrow
    };
    let feasible = (0..candidates.len()).any(|i| !over(i));
    let best = values.iter().copied().fold(f64::INFINITY, f64::min);
    for (i, c) in candidates.iter().enumerate() {
        let Some(n) = notes.get_mut(c.member.name()) else {
            continue;
        };
        let v = values[i];
        let score = if v > 0.0 {
            (1000.0 * best / v).round() / 10.0
        } else {
            100.0
        };
        if v.is_finite() {
            let plugin = if requirement.is_some() {
                "JointLatency"
            } else {
                "Objective"
            };
            n.scores.insert(plugin.into(), score);
        }
        if let Some(requirement) = requirement {
            // What its clients really wait, whatever the objective looks at.
            let real = latency::estimate(fleet, c.member, request.key, policy, requirement);
            match real {
                Some(l) => {
                    n.latency = Some(l.explain(budget));
                    if let Some(b) = budget.filter(|b| l.total() > b + 1e-9) {
                        n.note = Some(format!(
                            "misses the budget: {:.1} ms in total, {b:.1} ms allowed",
                            l.total()
                        ));
                    }
                }
                None => n.note = Some("no measurement of the round trip to the clients".into()),
            }
        }
        for (name, part) in [
            ("CostPerHour", parts[i].cost),
            ("Watts", parts[i].energy),
            ("CarbonGramsPerHour", parts[i].carbon),
            ("DataSeconds", parts[i].data.filter(|_| !policy.data.is_empty())),
            ("BandwidthMbps", parts[i].bandwidth.filter(|b| b.is_finite())),
        ] {
            if let Some(v) = part {
                n.scores.insert(name.into(), (v * 1000.0).round() / 1000.0);
            }
        }
        if feasible && over(i) {
            let why = match (&latencies[i], requirement) {
                (Some(l), _) if budget.is_some_and(|b| l.of(policy.objective) > b + 1e-9) => format!(
                    "LatencyBudget: cluster(s) {:.1} ms exceeds the budget of {:.1} ms",
                    l.of(policy.objective),
                    budget.unwrap_or_default()
                ),
                (None, Some(_)) => "LatencyBudget: cluster(s) not measured".into(),
                _ => format!(
                    "Bandwidth: cluster(s) have less than {} Mbit/s to the clients",
                    policy.bandwidth.unwrap_or_default()
                ),
            };
            n.filtered = Some(why);
        }
    }
    let threshold = policy
        .hysteresis
        .as_ref()
        .map_or(defaults.hysteresis, |h| h.threshold_percent)
        .clamp(0.0, 100.0);
    let bonus = 1.0 - threshold / 100.0;
    let used = |c: &Candidate<'_>| request.spec.clusters.iter().any(|t| t.name == c.name());
    let mut keyed: Vec<(f64, bool, Candidate<'f>)> = candidates
        .into_iter()
        .enumerate()
        .filter(|(i, _)| !(feasible && over(*i)))
        .map(|(i, c)| {
            let used = used(&c);
            (if used { values[i] * bonus } else { values[i] }, used, c)
        })
        .collect();
    keyed.sort_by(|a, b| {
        a.0.total_cmp(&b.0)
            .then_with(|| b.1.cmp(&a.1))
            .then_with(|| a.2.name().cmp(b.2.name()))
    });
    let mut ranked: Vec<Candidate<'f>> = keyed.into_iter().map(|(_, _, c)| c).collect();
    for (c, i) in ranked.iter_mut().zip(0..) {
        c.rank = i;
    }
    ranked
}

/// Whether the ranking alone decides: not where the placement asks for copies everywhere or for fixed weights, and
/// not for what has no replicas.
pub(super) fn decides(
    policy: &ComputingPolicySpec,
    strategy: Option<&ReplicaSchedulingStrategy>,
    replicas: i32,
) -> bool {
    let ranked = objective::ranks(policy);
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
                ..Default::default()
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
