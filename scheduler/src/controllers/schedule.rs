//! The scheduler's loop: a binding that needs a decision gets one from the engine.

use std::sync::Arc;
use std::time::Duration;

use cfn_api::conditions;
use cfn_api::karmada::policy::{Placement, ReplicaSchedulingType};
use cfn_api::karmada::work::{ClusterExplanation, ResourceBindingSpec, SCHEDULED, TargetCluster};
use cfn_api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use super::hub::{Binding, Hub, Key, gone, until, work};
use crate::engine::{Config, Decision, Explain, Fleet, Request, ScheduleError, milliseconds, schedule};

/// How many clusters a binding's status explains at most: those chosen first, then the others by name.
const EXPLAINED: usize = 32;

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "scheduler",
        |h| &h.schedule,
        |hub, key| async move { reconcile(&hub, &key).await },
    )
    .await;
}

/// Why a binding needs a decision.
fn needs(b: &Binding, placement: &Placement, applied: &str, lost: bool, ranked: bool) -> bool {
    let annotation = b
        .meta
        .annotations
        .as_ref()
        .and_then(|a| a.get(names::APPLIED_PLACEMENT))
        .map(String::as_str);
    let sum: i64 = b.spec.clusters.iter().map(|t| i64::from(t.replicas)).sum();
    let divided = placement
        .replica_scheduling
        .as_ref()
        .and_then(|s| s.replica_scheduling_type)
        == Some(ReplicaSchedulingType::Divided);
    let rescheduled = b
        .spec
        .reschedule_triggered_at
        .as_ref()
        .zip(b.status.last_scheduled_time.as_ref())
        .is_some_and(|(t, l)| t.0 > l.0);
    annotation != Some(applied)
        || lost
        || ranked
        || rescheduled
        || b.spec.replicas == 0
        || !divided
        || sum != i64::from(b.spec.replicas)
        || !conditions::is_true(&b.status.conditions, SCHEDULED)
}

/// What to do about a binding.
enum Verdict {
    /// It is not ours, or not to be scheduled now.
    Nothing,
    /// The last decision stands.
    Stands(Arc<Binding>),
    /// A new decision, the placement it is for as JSON, and how long a mere move must wait.
    Decided(Arc<Binding>, Decision, String, Option<Duration>),
}

fn decide(hub: &Hub, key: &Key) -> Verdict {
    let state = hub.state();
    let Some(b) = state.bindings.get(key).cloned() else {
        return Verdict::Nothing;
    };
    let suspended = b.spec.suspension.as_ref().is_some_and(|s| s.scheduling == Some(true));
    if b.deleting() || suspended || b.spec.scheduler_name.as_deref() != Some(&hub.options.scheduler_name) {
        return Verdict::Nothing;
    }
    let Some(placement) = b.spec.placement.clone() else {
        return Verdict::Nothing;
    };
    let policy = state.computing_policy(&b);
    let mut spec = b.spec.clone();
    spec.clusters
        .retain(|t| state.fleet.get(&t.name).is_some_and(|m| !m.deleting()));
    let lost = spec.clusters.len() != b.spec.clusters.len();
    let applied = serde_json::to_string(&placement).unwrap_or_default();
    if !needs(&b, &placement, &applied, lost, policy.is_some()) {
        return Verdict::Stands(b);
    }
    let name = key.to_string();
    let request = Request {
        status: Some(&b.status),
        policy,
        ..Request::of(&name, &spec)
    };
    let config = Config {
        defect: hub.options.defect,
        explain: Explain::All,
    };
    let decision = schedule(&state.fleet, &request, &config);
    let window = policy
        .and_then(|p| p.hysteresis.as_ref())
        .and_then(|h| h.window.as_deref())
        .and_then(milliseconds);
    let wait = window.and_then(|w| too_soon(hub, &b, &spec, &state.fleet, w));
    Verdict::Decided(b, decision, applied, wait)
}

async fn reconcile(hub: &Arc<Hub>, key: &Key) -> Result<(), kube::Error> {
    match decide(hub, key) {
        Verdict::Nothing => Ok(()),
        Verdict::Stands(b) => {
            let mut status = b.status.clone();
            status.scheduler_observed_generation = b.meta.generation;
            gone(hub.write_binding_status(&b, &status).await)
        }
        Verdict::Decided(b, decision, _, Some(wait))
            if decision.result.as_ref().is_ok_and(|t| !same(t, &b.spec.clusters)) =>
        {
            hub.schedule.add_after(key.clone(), wait);
            Ok(())
        }
        Verdict::Decided(b, decision, applied, _) => write(hub, key, &b, decision, applied).await,
    }
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

async fn write(hub: &Arc<Hub>, key: &Key, b: &Binding, decision: Decision, applied: String) -> Result<(), kube::Error> {
    let mut patch = Map::new();
    let annotated = b
        .meta
        .annotations
        .as_ref()
        .and_then(|a| a.get(names::APPLIED_PLACEMENT))
        == Some(&applied);
    let record = |patch: &mut Map<String, Value>, targets: &[TargetCluster]| {
        if !same(targets, &b.spec.clusters) {
            let mut sorted = targets.to_vec();
            sorted.sort_by(|a, b| a.name.cmp(&b.name));
            // The eviction writes here too: whoever comes second looks again.
            patch.insert("metadata".into(), json!({"resourceVersion": b.meta.resource_version}));
            patch.insert("spec".into(), json!({"clusters": sorted}));
        }
        if !annotated {
            let meta = patch.entry("metadata").or_insert_with(|| json!({}));
            meta["annotations"] = json!({names::APPLIED_PLACEMENT: applied});
        }
    };
    let (value, reason, message) = match &decision.result {
        Ok(targets) => {
            record(&mut patch, targets);
            ("True", "Success", "Binding has been scheduled successfully.".to_owned())
        }
        Err(e) => {
            // Nothing fits: nothing stays. Too little room: what is there stays.
            if matches!(e, ScheduleError::NoClusterFit(_)) {
                record(&mut patch, &[]);
            }
            ("False", e.reason(), e.to_string())
        }
    };
    let mut generation = b.meta.generation;
    let changed = patch.contains_key("spec");
    let mut current = None;
    if !patch.is_empty() {
        let object = match hub.patch(&Hub::binding_resource(key), key, &Value::Object(patch)).await {
            Ok(o) => o,
            Err(e) => return gone::<()>(Err(e)),
        };
        generation = object.metadata.generation;
        current = Binding::read(object.clone());
        hub.saw_binding(object);
    }
    let old = current.as_ref().unwrap_or(b);
    let mut status = old.status.clone();
    let now = hub.now();
    let news = conditions::set(&mut status.conditions, SCHEDULED, value, reason, &message, now);
    status.scheduler_observed_generation = generation;
    status.scheduler_observing_affinity_name = decision
        .affinity
        .filter(|_| decision.result.is_ok())
        .or(status.scheduler_observing_affinity_name);
    if decision.result.is_ok() && (changed || news || !annotated || status.last_scheduled_time.is_none()) {
        status.last_scheduled_time = Some(Time(now));
    }
    let explanation = shorten(decision.explanation);
    if changed || news || !alike(&explanation, &status.explanation) {
        status.explanation = explanation;
    }
    gone(hub.write_binding_status(old, &status).await)
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
            a.cluster == b.cluster && plugin(a) == plugin(b) && a.replicas == b.replicas
        })
}
