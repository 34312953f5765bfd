//! The scheduler's loop: a binding that needs a decision gets one from the engine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cfn_api::karmada::policy::{ClusterAffinity, Placement, ReplicaSchedulingType};
use cfn_api::karmada::work::{ClusterExplanation, ResourceBindingSpec, TargetCluster};
use cfn_api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::hub::{Binding, Hub, Key, Outcome, State, gone, until, work};
use super::quota;
use crate::engine::{Config, Decision, Explain, Fleet, Request, ScheduleError, milliseconds, schedule};

/// How many clusters a binding's status explains at most: those chosen first, then the others by name.
const EXPLAINED: usize = 32;
/// A binding that fits nowhere is tried again, when something changed, after this at first.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// And at most after this (the scheduler's `--pod-max-backoff`, as in Kubernetes).
const BACKOFF_LAST: Duration = Duration::from_secs(10);

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "scheduler",
        |h| &h.schedule,
        |hub, key| async move { reconcile(&hub, &key).await },
    )
    .await;
}

/// The place of a binding in the queue.
pub(super) fn priority(spec: &ResourceBindingSpec) -> i32 {
    spec.schedule_priority.as_ref().map_or(0, |p| p.priority)
}

/// Something changed that may make room: what fits nowhere is looked at again, not before its backoff has passed.
pub(super) fn stir(hub: &Hub, state: &State) {
    for (key, (last, times)) in &state.unschedulable {
        let backoff = BACKOFF_FIRST
            .saturating_mul(1 << times.saturating_sub(1).min(10))
            .min(BACKOFF_LAST);
        let left = (*last + backoff).saturating_duration_since(Instant::now());
        if left.is_zero() {
            let p = state.bindings.get(key).map_or(0, |b| priority(&b.spec));
            hub.schedule.add_with(key.clone(), p);
        } else {
            hub.schedule.add_after(key.clone(), left);
        }
    }
}

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref().and_then(|a| a.get(name)).map(String::as_str)
}

/// Whether a WorkloadRebalancer asked for a new decision since the last one.
fn rescheduled(state: &State, b: &Binding) -> bool {
    let last = state.status_of(b).last_scheduled_time;
    b.spec
        .reschedule_triggered_at
        .as_ref()
        .zip(last)
        .is_some_and(|(t, l)| t.0 > l.0)
}

/// Why a binding needs a decision.
fn needs(state: &State, b: &Binding, placement: &Placement, applied: &str, lost: bool, ranked: bool) -> bool {
    let sum: i64 = b.spec.clusters.iter().map(|t| i64::from(t.replicas)).sum();
    let divided = placement
        .replica_scheduling
        .as_ref()
        .and_then(|s| s.replica_scheduling_type)
        == Some(ReplicaSchedulingType::Divided);
    annotation(&b.meta, names::APPLIED_PLACEMENT) != Some(applied)
        || lost
        || ranked
        || rescheduled(state, b)
        || b.spec.replicas == 0
        || !divided
        || sum != i64::from(b.spec.replicas)
        || !state.scheduled(b)
}

/// A decision for a binding, with what it is for.
pub(super) struct Verdict {
    /// What the engine said.
    pub decision: Decision,
    /// The placement it is for, as JSON.
    pub applied: String,
    /// How long a mere move must wait.
    wait: Option<Duration>,
    /// Whether it brings the binding back to an earlier group.
    returning: bool,
}

impl Verdict {
    /// The clusters that the binding gets; `None`: those it has stay.
    pub(super) fn targets(&self) -> Option<Vec<TargetCluster>> {
        match &self.decision.result {
            Ok(targets) => {
                let mut sorted = targets.clone();
                sorted.sort_by(|a, b| a.name.cmp(&b.name));
                Some(sorted)
            }
            // Nothing fits: nothing stays. Too little room: what is there stays.
            Err(ScheduleError::NoClusterFit(_)) => Some(Vec::new()),
            Err(_) => None,
        }
    }
}

/// Whether a binding is ours to place now.
fn ours(hub: &Hub, spec: &ResourceBindingSpec) -> bool {
    let suspended = spec.suspension.as_ref().is_some_and(|s| s.scheduling == Some(true));
    !suspended && spec.scheduler_name.as_deref() == Some(&hub.options.scheduler_name) && spec.placement.is_some()
}

/// Decides about a binding that is ours, whether it needs it or not.
pub(super) fn verdict(hub: &Hub, state: &State, b: &Binding) -> Option<Verdict> {
    if b.deleting() || !ours(hub, &b.spec) {
        return None;
    }
    let placement = b.spec.placement.clone()?;
    let applied = serde_json::to_string(&placement).unwrap_or_default();
    let policy = state.computing_policy(b);
    let mut spec = b.spec.clone();
    spec.clusters
        .retain(|t| state.fleet.get(&t.name).is_some_and(|m| !m.deleting()));
    if let Some(p) = spec.placement.as_mut() {
        keep_company(state, b, p);
    }
    let mut status = state.status_of(b);
    let returning = returns(state, b, &b.spec);
    if returning {
        // What a later group has is not what a decision for the first one starts from.
        status.scheduler_observing_affinity_name = None;
        spec.clusters.clear();
    }
    let name = b.key().to_string();
    let within = super::ocm::within(state, b);
    let request = Request {
        status: Some(&status),
        policy,
        within: within.as_deref(),
        ..Request::of(&name, &spec)
    };
    let config = Config {
        defect: hub.options.defect,
        explain: if hub.options.explain || policy.is_some() {
            Explain::All
        } else {
            Explain::None
        },
    };
    let mut decision = schedule(&state.fleet, &request, &config);
    if let Ok(targets) = &decision.result
        && let Some(why) = quota::exceeded(state, b, targets)
    {
        decision.result = Err(ScheduleError::Unschedulable(why));
    }
    // The first decision under a policy is no move that a measurement asks for.
    let ranked = status.explanation.iter().any(|e| e.latency.is_some());
    let window = policy
        .filter(|_| ranked)
        .and_then(|p| p.hysteresis.as_ref())
        .and_then(|h| h.window.as_deref())
        .and_then(milliseconds);
    let wait = window.and_then(|w| too_soon(hub, b, &spec, &state.fleet, w));
    Some(Verdict {
        decision,
        applied,
        wait,
        returning,
    })
}

/// Changes the affinity in force, or each of the ordered ones.
fn narrow(placement: &mut Placement, f: impl Fn(&mut ClusterAffinity)) {
    if placement.cluster_affinities.is_empty() || placement.cluster_affinity.is_some() {
        f(placement.cluster_affinity.get_or_insert_default());
    } else {
        for t in &mut placement.cluster_affinities {
            f(&mut t.affinity);
        }
    }
}

/// Workload affinity: the clusters where a binding's company is, or is not, narrow its placement.
fn keep_company(state: &State, b: &Binding, placement: &mut Placement) {
    let Some(groups) = &b.spec.workload_affinity_groups else {
        return;
    };
    let here = b.key();
    let with = |mine: &dyn Fn(&Binding) -> bool| -> BTreeSet<String> {
        state
            .bindings
            .iter()
            .filter(|(k, o)| **k != here && k.ns == here.ns && !o.deleting() && mine(o))
            .flat_map(|(k, o)| state.placed(k, o).iter().map(|t| t.name.clone()))
            .collect()
    };
    let of = |o: &Binding, apart: bool| {
        let g = o.spec.workload_affinity_groups.as_ref();
        g.and_then(|g| {
            if apart {
                g.anti_affinity_group.clone()
            } else {
                g.affinity_group.clone()
            }
        })
    };
    if let Some(group) = &groups.anti_affinity_group {
        let taken = with(&|o| of(o, true).as_ref() == Some(group));
        narrow(placement, |a| a.exclude_clusters.extend(taken.iter().cloned()));
    }
    if let Some(group) = &groups.affinity_group {
        let together = with(&|o| of(o, false).as_ref() == Some(group));
        if !together.is_empty() {
            narrow(placement, |a| {
                if a.cluster_names.is_empty() {
                    a.cluster_names.extend(together.iter().cloned());
                } else {
                    a.cluster_names.retain(|n| together.contains(n));
                    if a.cluster_names.is_empty() {
                        // Nobody has this name.
                        a.cluster_names.push(String::new());
                    }
                }
            });
        }
    }
}

/// Fail-back has a budget: how long a binding must still wait until it may return, if it must.
fn budget(hub: &Hub, b: &Binding, v: &Verdict) -> Option<Duration> {
    let timers = &hub.options.timers;
    let group = v.decision.affinity.clone()?;
    let mut state = hub.state();
    let old = state.status_of(b).scheduler_observing_affinity_name;
    if old.as_ref() == Some(&group) {
        return None;
    }
    let now = hub.now();
    let past = state.returned.entry(group).or_default();
    past.retain(|t| *t + timers.failback_interval > now);
    if past.len() >= timers.failback_budget {
        let first = past.first().copied().unwrap_or(now);
        return Some(until(now, first + timers.failback_interval).max(Duration::from_millis(1)));
    }
    past.push(now);
    None
}

/// Whether a binding in a later group of affinities should try the earlier ones again: all clusters of the first group
/// are healthy, and its policy says so ([`names::AFFINITY_RETURN`]).
fn returns(state: &State, b: &Binding, spec: &ResourceBindingSpec) -> bool {
    let Some(placement) = &spec.placement else { return false };
    let Some(first) = placement.cluster_affinities.first() else {
        return false;
    };
    let observed = state.status_of(b).scheduler_observing_affinity_name;
    if observed.is_none() || observed.as_deref() == Some(first.affinity_name.as_str()) {
        return false;
    }
    let asked = state
        .policy_of(b)
        .and_then(|p| annotation(&p.meta, names::AFFINITY_RETURN).map(str::to_owned));
    if asked.as_deref() != Some("true") {
        return false;
    }
    let mut group = state
        .clusters
        .values()
        .filter(|c| crate::engine::affinity::cluster_matches(c, &first.affinity))
        .peekable();
    group.peek().is_some() && group.all(|c| c.spec.taints.is_empty() && super::watches::ready(c) == Some("True"))
}

fn sentence(decision: &Decision) -> (&'static str, &'static str, String) {
    match &decision.result {
        Ok(_) => ("True", "Success", "Binding has been scheduled successfully.".to_owned()),
        Err(ScheduleError::Unschedulable(m)) if m.starts_with(quota::EXCEEDED) => ("False", "QuotaExceeded", m.clone()),
        Err(e) => ("False", e.reason(), e.to_string()),
    }
}

/// What is said of a decision. `changed`: the clusters or the placement did; `again`: a new one was asked for.
pub(super) fn outcome(
    hub: &Hub,
    state: &State,
    b: &Binding,
    v: &Verdict,
    generation: Option<i64>,
    changed: bool,
) -> Outcome {
    let now = hub.now();
    let status = state.status_of(b);
    let condition = sentence(&v.decision);
    let old = cfn_api::conditions::get(&status.conditions, cfn_api::karmada::work::SCHEDULED);
    let news = old.is_none_or(|c| {
        (c.status.as_str(), c.reason.as_str(), c.message.as_str()) != (condition.0, condition.1, &condition.2)
    });
    let ok = v.decision.result.is_ok();
    let again = rescheduled(state, b);
    let explanation = shorten(v.decision.explanation.clone());
    let told = hub.options.explain || !explanation.is_empty();
    Outcome {
        condition: Some(condition),
        generation,
        affinity: v.decision.affinity.clone().filter(|_| ok),
        scheduled_at: (ok && (changed || news || again || status.last_scheduled_time.is_none())).then_some(now),
        explanation: (told && (changed || news || !alike(&explanation, &status.explanation))).then_some(explanation),
        at: now,
    }
}

/// Keeps what is to be said, and counts how often in a row a binding fitted nowhere.
pub(super) fn say(hub: &Hub, key: &Key, outcome: Outcome) {
    let mut state = hub.state();
    let fits = outcome.condition.as_ref().is_none_or(|c| c.0 == "True");
    if fits {
        state.unschedulable.remove(key);
    } else {
        let times = state.unschedulable.get(key).map_or(0, |(_, n)| *n);
        state
            .unschedulable
            .insert(key.clone(), (Instant::now(), times.saturating_add(1)));
    }
    let news = state.bindings.get(key).is_none_or(|b| {
        let mut status = state.status_of(b);
        let before = status.clone();
        outcome.tell(&mut status);
        status != before
    });
    if news {
        // What was not told yet of the decision before stays to be told.
        let mut outcome = outcome;
        if let Some(old) = state.outcomes.get(key) {
            outcome.scheduled_at = outcome.scheduled_at.or(old.scheduled_at);
            outcome.affinity = outcome.affinity.or_else(|| old.affinity.clone());
            outcome.explanation = outcome.explanation.or_else(|| old.explanation.clone());
        }
        state.outcomes.insert(key.clone(), outcome);
        drop(state);
        hub.touch(key.clone());
    }
}

async fn reconcile(hub: &Arc<Hub>, key: &Key) -> Result<(), kube::Error> {
    let _alone = hub.alone(key).await;
    let (b, v) = {
        let mut state = hub.state();
        let Some(b) = state.bindings.get(key).cloned() else {
            state.unschedulable.remove(key);
            return Ok(());
        };
        let Some(placement) = b
            .spec
            .placement
            .as_ref()
            .filter(|_| !b.deleting() && ours(hub, &b.spec))
        else {
            return Ok(());
        };
        let lost = b
            .spec
            .clusters
            .iter()
            .any(|t| state.fleet.get(&t.name).is_none_or(|m| m.deleting()));
        let ranked = state.computing_policy(&b).is_some()
            || returns(&state, &b, &b.spec)
            || super::ocm::within(&state, &b).is_some();
        let applied = serde_json::to_string(placement).unwrap_or_default();
        if !needs(&state, &b, placement, &applied, lost, ranked) {
            let stands = Outcome {
                condition: None,
                generation: b.meta.generation,
                affinity: None,
                scheduled_at: None,
                explanation: None,
                at: hub.now(),
            };
            drop(state);
            let told = b.status.scheduler_observed_generation == b.meta.generation;
            let waiting = hub.state().outcomes.contains_key(key);
            if !told && !waiting {
                say(hub, key, stands);
            }
            return Ok(());
        }
        let Some(v) = verdict(hub, &state, &b) else {
            return Ok(());
        };
        if let Some(targets) = v.targets() {
            // Whoever is next decides on what this one leaves.
            state.assume(&b, &targets);
        }
        (b, v)
    };
    if let (Some(wait), Ok(targets)) = (v.wait, &v.decision.result)
        && !same(targets, &b.spec.clusters)
    {
        hub.schedule.add_after(key.clone(), wait);
        return Ok(());
    }
    if let Some(wait) = v.returning.then(|| budget(hub, &b, &v)).flatten() {
        hub.schedule.add_after(key.clone(), wait);
        return Ok(());
    }
    write(hub, key, &b, &v).await
}

/// How long a move must still wait: a placement that is whole and healthy moves at most once a window.
fn too_soon(hub: &Hub, b: &Binding, spec: &ResourceBindingSpec, fleet: &Fleet, window: f64) -> Option<Duration> {
    let sum: i64 = spec.clusters.iter().map(|t| i64::from(t.replicas)).sum();
    let whole = sum == i64::from(spec.replicas) && spec.clusters.len() == b.spec.clusters.len();
    let healthy = spec
        .clusters
        .iter()
        .all(|t| fleet.get(&t.name).is_some_and(|m| m.cluster.spec.taints.is_empty()));
    let last = b.status.last_scheduled_time.as_ref()?;
    let left = until(
        hub.now(),
        last.0
            .checked_add(Duration::from_secs_f64(window.max(0.0) / 1000.0))
            .ok()?,
    );
    (whole && healthy && !left.is_zero()).then_some(left)
}

fn same(a: &[TargetCluster], b: &[TargetCluster]) -> bool {
    let sorted = |l: &[TargetCluster]| {
        let mut l = l.to_vec();
        l.sort_by(|a, b| a.name.cmp(&b.name));
        l
    };
    sorted(a) == sorted(b)
}

async fn write(hub: &Arc<Hub>, key: &Key, b: &Binding, v: &Verdict) -> Result<(), kube::Error> {
    let mut patch = Map::new();
    let annotated = annotation(&b.meta, names::APPLIED_PLACEMENT) == Some(v.applied.as_str());
    let mut moved = false;
    if let Some(targets) = v.targets() {
        if !same(&targets, &b.spec.clusters) {
            patch.insert("spec".into(), json!({"clusters": targets}));
            moved = true;
        }
        if !annotated {
            let meta = patch.entry("metadata").or_insert_with(|| json!({}));
            meta["annotations"] = json!({names::APPLIED_PLACEMENT: v.applied});
        }
    }
    let changed = moved || (!annotated && !patch.is_empty());
    let mut generation = b.meta.generation;
    if !patch.is_empty() {
        let object = match hub.patch(&Hub::binding_resource(key), key, &Value::Object(patch)).await {
            Ok(o) => o,
            Err(e) => {
                let mut state = hub.state();
                let own = b.spec.clusters.clone();
                state.assume(b, &own);
                drop(state);
                return gone::<()>(Err(e));
            }
        };
        generation = object.metadata.generation;
        let said = outcome(hub, &hub.state(), b, v, generation, changed);
        say(hub, key, said);
        hub.saw_binding(object);
        return Ok(());
    }
    let said = outcome(hub, &hub.state(), b, v, generation, changed);
    say(hub, key, said);
    Ok(())
}

/// The chosen clusters first, and no more than fit.
fn shorten(mut all: Vec<ClusterExplanation>) -> Vec<ClusterExplanation> {
    if all.len() > EXPLAINED {
        all.sort_by_key(|e| (e.replicas.is_none(), e.filtered.is_some()));
        all.truncate(EXPLAINED);
        all.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    }
    all
}

/// Whether an explanation says the same up to measured figures, which change all the time.
fn alike(a: &[ClusterExplanation], b: &[ClusterExplanation]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            let plugin = |e: &ClusterExplanation| {
                e.filtered
                    .as_ref()
                    .map(|f| f.split(':').next().unwrap_or_default().to_owned())
            };
            let ranked = a.latency.is_some() == b.latency.is_some();
            ranked && a.cluster == b.cluster && plugin(a) == plugin(b) && a.replicas == b.replicas
        })
}
