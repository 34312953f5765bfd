//! Filter plugins: which clusters may be chosen at all. Names and reasons as Karmada's
//! (`pkg/scheduler/framework/plugins`); `Accelerator` and `LatencyBudget` are CFN's.

use cfn_api::cfn::{AcceleratorKind, AcceleratorRequirement};
use cfn_api::karmada::policy::{ClusterAffinity, OverflowAffinityTerm, Placement};
use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::affinity::{cluster_matches, narrow};
use super::fleet::{Bits, Fleet, Member};
use super::quantity::Amount;
use super::{Request, spread};

/// Why a plugin refused a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Plugin.
    pub plugin: &'static str,
    /// Reason, as counted in a `NoClusterFit` message.
    pub reason: String,
}

fn refuse(plugin: &'static str, reason: impl Into<String>) -> Option<Refusal> {
    Some(Refusal {
        plugin,
        reason: reason.into(),
    })
}

/// The affinity in force: the one, or the named group.
pub(super) fn affinity<'a>(placement: &'a Placement, group: Option<&str>) -> Option<&'a ClusterAffinity> {
    placement.cluster_affinity.as_ref().or_else(|| {
        placement
            .cluster_affinities
            .iter()
            .find(|t| Some(t.affinity_name.as_str()) == group)
            .map(|t| &t.affinity)
    })
}

/// The tiers that take what does not fit into the named group.
pub(super) fn overflow<'a>(placement: &'a Placement, group: Option<&str>) -> &'a [OverflowAffinityTerm] {
    if placement.cluster_affinity.is_some() {
        return &[];
    }
    let term = placement
        .cluster_affinities
        .iter()
        .find(|t| Some(t.affinity_name.as_str()) == group);
    term.map(|t| t.overflow_affinities.as_slice()).unwrap_or_default()
}

/// The first plugin that refuses `member`, if any.
pub(super) fn filter(
    request: &Request<'_>,
    placement: &Placement,
    group: Option<&str>,
    member: &Member,
) -> Option<Refusal> {
    let (spec, policy) = (request.spec, request.policy);
    let used = spec.clusters.iter().any(|t| t.name == member.name());
    let resource = &spec.resource;
    // A cluster in use stays while its list of APIs is incomplete, and while it has a taint: the eviction decides then.
    let unknown = used && !member.apis_complete;
    if !unknown && !member.serves(&resource.api_version, &resource.kind) {
        return refuse("APIEnablement", "cluster(s) did not have the API resource");
    }
    if !used && let Some(t) = untolerated(&member.cluster.spec.taints, &placement.cluster_tolerations) {
        return refuse(
            "TaintToleration",
            format!("cluster(s) had untolerated taint {{{}}}", taint_text(t)),
        );
    }
    let mut tiers = overflow(placement, group).iter();
    if affinity(placement, group).is_some_and(|a| !cluster_matches(&member.cluster, a))
        && !tiers.any(|t| cluster_matches(&member.cluster, &t.affinity))
    {
        return refuse(
            "ClusterAffinity",
            "cluster(s) did not match the placement cluster affinity constraint",
        );
    }
    if let Some(what) = placement
        .spread_constraints
        .iter()
        .find_map(|c| spread::lacks(c, member))
    {
        return refuse("SpreadConstraint", format!("cluster(s) did not have {what} property"));
    }
    if spec
        .graceful_eviction_tasks
        .iter()
        .any(|t| t.from_cluster == member.name())
    {
        return refuse("ClusterEviction", "cluster(s) is in the process of eviction");
    }
    if request.within.is_some_and(|w| !w.iter().any(|n| n == member.name())) {
        return refuse("Placement", "cluster(s) were not chosen by the Placement");
    }
    let lacking = policy
        .iter()
        .flat_map(|p| &p.accelerators)
        .find(|a| !has_accelerator(member, a))?;
    let model = lacking
        .model
        .as_deref()
        .map(|m| format!(" of model {m}"))
        .unwrap_or_default();
    let what = match (lacking.resource.as_str(), lacking.kind) {
        ("", Some(kind)) => format!("{kind:?}"),
        (resource, _) => resource.to_owned(),
    };
    let number = lacking
        .count
        .filter(|n| *n > 1)
        .map(|n| format!("{n} of "))
        .unwrap_or_default();
    refuse(
        "Accelerator",
        format!("cluster(s) did not have {number}accelerator {what}{model}"),
    )
}

/// The members that every plugin lets pass: the same as [`filter`] for each, by the index.
pub(super) fn eligible(fleet: &Fleet, request: &Request<'_>, placement: &Placement, group: Option<&str>) -> Bits {
    let (spec, index) = (request.spec, fleet.index());
    let used: Vec<u32> = spec.clusters.iter().filter_map(|t| fleet.slot(&t.name)).collect();
    let mut serving = index.serving(&spec.resource.api_version, &spec.resource.kind);
    for slot in used.iter().filter(|s| index.incomplete.has(**s)) {
        serving.set(*slot);
    }
    let mut bits = index.live.clone();
    bits.and(&serving);
    let tolerated = |t: &Taint| placement.cluster_tolerations.iter().any(|x| tolerates(x, t));
    let mut tainted = index.tainted(tolerated);
    for slot in &used {
        tainted.clear(*slot);
    }
    bits.without(&tainted);
    if let Some(a) = affinity(placement, group) {
        let mut meant = bits.clone();
        narrow(fleet, a, &mut meant);
        for t in overflow(placement, group) {
            let mut more = bits.clone();
            narrow(fleet, &t.affinity, &mut more);
            meant.or(&more);
        }
        bits = meant;
    }
    for c in &placement.spread_constraints {
        spread::narrow(c, index, &mut bits);
    }
    for slot in spec
        .graceful_eviction_tasks
        .iter()
        .filter_map(|t| fleet.slot(&t.from_cluster))
    {
        bits.clear(slot);
    }
    if let Some(within) = request.within {
        let mut chosen = Bits::default();
        for slot in within.iter().filter_map(|n| fleet.slot(n)) {
            chosen.set(slot);
        }
        bits.and(&chosen);
    }
    let wanted = request.policy.map(|p| p.accelerators.as_slice()).unwrap_or_default();
    if !wanted.is_empty() {
        let all: Vec<u32> = bits.iter().collect();
        for slot in all {
            if !fleet
                .at(slot)
                .is_some_and(|m| wanted.iter().all(|a| has_accelerator(m, a)))
            {
                bits.clear(slot);
            }
        }
    }
    bits
}

/// The tier of each member by slot: 0 in the group itself; empty where there is only that.
pub(super) fn tiers(fleet: &Fleet, placement: &Placement, group: Option<&str>) -> Vec<u8> {
    let terms = overflow(placement, group);
    if terms.is_empty() {
        return Vec::new();
    }
    let mut tier = vec![u8::MAX; fleet.slots()];
    let own = affinity(placement, group).into_iter();
    for (i, a) in (0_u8..).zip(own.chain(terms.iter().map(|t| &t.affinity))) {
        let mut bits = fleet.index().live.clone();
        narrow(fleet, a, &mut bits);
        for slot in bits.iter() {
            let t = &mut tier[slot as usize];
            *t = (*t).min(i);
        }
    }
    tier
}

/// Whether a taint keeps new replicas away from whom does not tolerate it.
pub(in crate::engine) fn keeps_away(t: &Taint) -> bool {
    matches!(t.effect.as_str(), "NoSchedule" | "NoExecute")
}

/// `key=value:effect`, as `Taint.ToString`.
fn taint_text(t: &Taint) -> String {
    match t.value.as_deref().filter(|v| !v.is_empty()) {
        Some(v) => format!("{}={v}:{}", t.key, t.effect),
        None if t.effect.is_empty() => t.key.clone(),
        None => format!("{}:{}", t.key, t.effect),
    }
}

/// The first taint that keeps new replicas away and is not tolerated.
fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|t| keeps_away(t))
        .find(|t| !tolerations.iter().any(|x| tolerates(x, t)))
}

/// `Toleration.ToleratesTaint` of core/v1.
#[must_use]
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |s: &Option<String>| s.clone().filter(|s| !s.is_empty());
    if given(&toleration.effect).is_some_and(|e| e != taint.effect) {
        return false;
    }
    if given(&toleration.key).is_some_and(|k| k != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => {
            given(&toleration.key).is_some()
                && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        "Exists" => true,
        _ => false,
    }
}

/// Whether the cluster has such accelerators, enough of them: by its metric, or, where no model is asked for, by its
/// summary.
fn has_accelerator(member: &Member, want: &AcceleratorRequirement) -> bool {
    let metric = member.metric.as_ref().and_then(|m| m.status.as_ref());
    let right = |resource: &str| {
        (want.resource.is_empty() || resource == want.resource)
            && want.kind.is_none_or(|k| AcceleratorKind::of(resource) == Some(k))
    };
    let least = want.count.unwrap_or(1).max(1);
    let measured = metric
        .iter()
        .flat_map(|s| &s.accelerators)
        .filter(|a| right(&a.resource) && want.model.as_ref().is_none_or(|m| a.model.as_ref() == Some(m)))
        .fold(0_i64, |n, a| n.saturating_add(a.count.max(0)));
    let summary = member.cluster.status.as_ref().and_then(|s| s.resource_summary.as_ref());
    let summed = || {
        let all = summary.iter().flat_map(|s| &s.allocatable).filter(|(k, _)| right(k));
        let known = all.filter_map(|(_, q)| Amount::parse(q));
        known.fold(0_i64, |n, a| n.saturating_add(a.value().max(0)))
    };
    // A requirement that names nothing asks for nothing.
    want.resource.is_empty() && want.kind.is_none() || measured >= least || want.model.is_none() && summed() >= least
}
