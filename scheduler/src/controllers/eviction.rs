//! The taint manager and graceful eviction (Karmada's `pkg/controllers/cluster/taint_manager.go`,
//! `pkg/controllers/gracefuleviction`): bindings leave clusters whose NoExecute taints they do not (any longer) tolerate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cfn_api::conditions;
use cfn_api::karmada::cluster::{Cluster, READY};
use cfn_api::karmada::policy::StatePreservation;
use cfn_api::karmada::work::{GracefulEvictionTask, SCHEDULED, TargetCluster};
use cfn_api::names::{TAINT_NOT_READY, TAINT_UNREACHABLE};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::Timers;
use super::hub::{Binding, Hub, Key, gone, until, work};
use crate::engine::{milliseconds, tolerates};

/// Annotation of a cluster: so long after it went silent nothing is evicted from it (an autonomous edge).
pub const AUTONOMY: &str = "cfn.akraino.org/autonomy-duration";

/// Who our tasks say they are from.
const PRODUCER: &str = "TaintManager";
/// The same for those about an application that does not get healthy.
const APPLICATION_PRODUCER: &str = "RBApplicationFailoverController";

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "eviction",
        |h| &h.evict,
        |hub, key| async move { reconcile(&hub, &key).await },
    )
    .await;
}

/// When a binding with these tolerations must leave a cluster because of `taint`; `None`: never.
fn leaves_at(taint: &Taint, tolerations: &[Toleration], timers: &Timers, now: Timestamp) -> Option<Timestamp> {
    let added = taint.time_added.as_ref().map_or(now, |t| t.0);
    let matching: Vec<&Toleration> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
    let seconds = if matching.is_empty() {
        match taint.key.as_str() {
            TAINT_NOT_READY => timers.default_not_ready_toleration_seconds,
            TAINT_UNREACHABLE => timers.default_unreachable_toleration_seconds,
            _ => 0,
        }
    } else {
        matching.iter().filter_map(|t| t.toleration_seconds).min()?
    };
    Some(added + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// When a binding must leave `cluster`; `None`: not because of the taints it has now.
fn eviction_time(cluster: &Cluster, tolerations: &[Toleration], timers: &Timers, now: Timestamp) -> Option<Timestamp> {
    let taints = cluster.spec.taints.iter().filter(|t| t.effect == "NoExecute");
    let at = taints
        .filter_map(|t| leaves_at(t, tolerations, timers, now).map(|at| (at, t)))
        .min_by_key(|(at, _)| *at)?;
    let annotation = cluster.metadata.annotations.as_ref().and_then(|a| a.get(AUTONOMY));
    let autonomy = annotation
        .and_then(|a| milliseconds(a))
        .map(|ms| Duration::from_secs_f64(ms / 1000.0));
    let ready = cluster
        .status
        .as_ref()
        .and_then(|s| conditions::get(&s.conditions, READY));
    match (autonomy, ready) {
        (Some(d), Some(c))
            if c.status != "True" && matches!(at.1.key.as_str(), TAINT_NOT_READY | TAINT_UNREACHABLE) =>
        {
            Some(at.0.max(c.last_transition_time.0 + d))
        }
        _ => Some(at.0),
    }
}

/// Whether a task may go: the replacement is healthy, or it took too long.
fn finished(b: &Binding, t: &GracefulEvictionTask, timers: &Timers, now: Timestamp) -> Result<(), Option<Timestamp>> {
    if t.purge_mode.as_deref() == Some("Never") {
        return Err(None);
    }
    let grace = t
        .grace_period_seconds
        .and_then(|s| u64::try_from(s).ok())
        .map_or(timers.graceful_eviction_timeout, Duration::from_secs);
    let end = t.creation_timestamp.as_ref().map_or(now, |c| c.0) + grace;
    let seen = b.status.scheduler_observed_generation == b.meta.generation
        && conditions::is_true(&b.status.conditions, SCHEDULED);
    let healthy = b.spec.clusters.iter().all(|c| {
        let item = b.status.aggregated_status.iter().find(|i| i.cluster_name == c.name);
        item.is_some_and(|i| {
            let ready = i
                .status
                .as_ref()
                .and_then(|s| s.get("readyReplicas"))
                .and_then(serde_json::Value::as_i64);
            let counted = i.status.as_ref().is_some_and(|s| s.get("replicas").is_some());
            i.health.as_deref() == Some("Healthy") && (!counted || ready.unwrap_or(0) >= i64::from(c.replicas))
        })
    });
    if now >= end || (seen && healthy && !b.spec.clusters.is_empty()) {
        Ok(())
    } else {
        Err(Some(end))
    }
}

fn replicas_on(b: &Binding, cluster: &str) -> Option<i32> {
    let on = b.spec.clusters.iter().find(|t| t.name == cluster);
    on.map(|t| t.replicas).filter(|n| *n > 0)
}

/// The clusters in which an application has been unhealthy for longer than its policy tolerates, and when the next of
/// them would be (`pkg/controllers/applicationfailover`).
fn failing(hub: &Hub, key: &Key, b: &Binding, now: Timestamp) -> (Vec<String>, Option<Timestamp>) {
    let Some(a) = b.spec.failover.as_ref().and_then(|f| f.application.as_ref()) else {
        return (Vec::new(), None);
    };
    let tolerated = a
        .decision_conditions
        .as_ref()
        .and_then(|d| d.toleration_seconds)
        .unwrap_or(300);
    let tolerated = Duration::from_secs(u64::try_from(tolerated).unwrap_or(0));
    let (mut now_failing, mut next) = (Vec::new(), None::<Timestamp>);
    let mut state = hub.state();
    for t in &b.spec.clusters {
        let item = b.status.aggregated_status.iter().find(|i| i.cluster_name == t.name);
        let at = (key.clone(), t.name.clone());
        if item.is_none_or(|i| i.health.as_deref() != Some("Unhealthy")) {
            state.unhealthy.remove(&at);
            continue;
        }
        let due = *state.unhealthy.entry(at).or_insert(now) + tolerated;
        if due <= now {
            now_failing.push(t.name.clone());
        } else {
            next = Some(next.map_or(due, |n| n.min(due)));
        }
    }
    let here = |c: &str| b.spec.clusters.iter().any(|t| t.name == c);
    state.unhealthy.retain(|(k, c), _| k != key || here(c));
    (now_failing, next)
}

/// What of an application's state its replacement gets, by its policy's rules (`buildPreservedLabelState`).
fn preserved(b: &Binding, cluster: &str, rules: Option<&StatePreservation>) -> BTreeMap<String, String> {
    let item = b.status.aggregated_status.iter().find(|i| i.cluster_name == cluster);
    let Some(status) = item.and_then(|i| i.status.as_ref()) else {
        return BTreeMap::new();
    };
    let rules = rules.into_iter().flat_map(|r| &r.rules);
    let found = rules.filter_map(|r| Some((r.alias_label_name.clone(), json_path(status, &r.json_path)?)));
    found.collect()
}

/// The text at a JSONPath of plain fields and indices, `{.a.b[0].c}`.
fn json_path(value: &serde_json::Value, path: &str) -> Option<String> {
    let path = path
        .trim()
        .trim_start_matches('{')
        .trim_end_matches('}')
        .trim_start_matches('$');
    let mut at = value;
    for part in path.split('.').filter(|p| !p.is_empty()) {
        let (field, indices) = part.split_once('[').map_or((part, ""), |(f, i)| (f, i));
        if !field.is_empty() {
            at = at.get(field)?;
        }
        for i in indices.split('[').filter(|i| !i.is_empty()) {
            at = at.get(i.trim_end_matches(']').parse::<usize>().ok()?)?;
        }
    }
    match at {
        serde_json::Value::Null => None,
        serde_json::Value::String(s) => Some(s.clone()),
        other => Some(other.to_string()),
    }
}

async fn reconcile(hub: &Arc<Hub>, key: &Key) -> Result<(), kube::Error> {
    let _alone = hub.alone(key).await;
    let now = hub.now();
    let timers = &hub.options.timers;
    let (b, due, back, next, failing) = {
        let state = hub.state();
        let Some(b) = state.bindings.get(key).cloned() else {
            return Ok(());
        };
        if b.deleting() {
            return Ok(());
        }
        let tolerations = b
            .spec
            .placement
            .as_ref()
            .map(|p| p.cluster_tolerations.clone())
            .unwrap_or_default();
        let mut due: Vec<String> = Vec::new();
        let mut next: Option<Timestamp> = None;
        for t in b.spec.clusters.iter().filter(|_| timers.failover) {
            let Some(cluster) = state.clusters.get(&t.name) else {
                continue;
            };
            match eviction_time(cluster, &tolerations, timers, now) {
                Some(at) if at <= now => due.push(t.name.clone()),
                Some(at) => next = Some(next.map_or(at, |n| n.min(at))),
                None => {}
            }
        }
        // The cluster is fit again and nothing has replaced it: what was evicted stays where it is.
        let scheduled = state.scheduled(&b);
        let fit = |n: &str| {
            let cluster = state
                .clusters
                .get(n)
                .filter(|c| c.metadata.deletion_timestamp.is_none());
            cluster.is_some_and(|c| eviction_time(c, &tolerations, timers, now).is_none())
        };
        let tasks = b
            .spec
            .graceful_eviction_tasks
            .iter()
            .filter(|t| t.producer == PRODUCER && !scheduled);
        let back: Vec<String> = tasks.map(|t| t.from_cluster.clone()).filter(|n| fit(n)).collect();
        drop(state);
        let (failing, soon) = failing(hub, key, &b, now);
        next = match (next, soon) {
            (Some(n), Some(s)) => Some(n.min(s)),
            (n, s) => n.or(s),
        };
        (b, due, back, next, failing)
    };
    let mut tasks = Vec::new();
    let mut next = next;
    for t in b
        .spec
        .graceful_eviction_tasks
        .iter()
        .filter(|t| !back.contains(&t.from_cluster))
    {
        match finished(&b, t, timers, now) {
            Ok(()) => {}
            Err(at) => {
                tasks.push(t.clone());
                next = match (next, at) {
                    (Some(n), Some(a)) => Some(n.min(a)),
                    (n, a) => n.or(a),
                };
            }
        }
    }
    let cluster_failover = b.spec.failover.as_ref().and_then(|f| f.cluster.as_ref());
    let mode = cluster_failover.and_then(|c| c.purge_mode.clone());
    let before: Vec<String> = b.spec.clusters.iter().map(|t| t.name.clone()).collect();
    for cluster in &due {
        if tasks.iter().any(|t| t.from_cluster == *cluster) {
            continue;
        }
        tasks.push(GracefulEvictionTask {
            from_cluster: cluster.clone(),
            replicas: replicas_on(&b, cluster),
            reason: "TaintUntolerated".into(),
            message: Some(format!(
                "cluster {cluster} has taints that are not tolerated (any longer)"
            )),
            producer: PRODUCER.into(),
            purge_mode: Some(mode.clone().unwrap_or_else(|| "Gracefully".into())),
            preserved_label_state: preserved(
                &b,
                cluster,
                cluster_failover.and_then(|c| c.state_preservation.as_ref()),
            ),
            creation_timestamp: Some(Time(now)),
            clusters_before_failover: before.clone(),
            ..Default::default()
        });
    }
    let application = b.spec.failover.as_ref().and_then(|f| f.application.as_ref());
    for cluster in failing.iter().filter(|c| !due.contains(c)) {
        if tasks.iter().any(|t| t.from_cluster == *cluster) {
            continue;
        }
        tasks.push(GracefulEvictionTask {
            from_cluster: cluster.clone(),
            replicas: replicas_on(&b, cluster),
            reason: "ApplicationFailure".into(),
            message: None,
            producer: APPLICATION_PRODUCER.into(),
            purge_mode: Some(
                application
                    .and_then(|a| a.purge_mode.clone())
                    .unwrap_or_else(|| "Gracefully".into()),
            ),
            grace_period_seconds: application.and_then(|a| a.grace_period_seconds),
            preserved_label_state: preserved(&b, cluster, application.and_then(|a| a.state_preservation.as_ref())),
            creation_timestamp: Some(Time(now)),
            clusters_before_failover: before.clone(),
        });
    }
    if let Some(at) = next {
        hub.evict.add_after(key.clone(), until(now, at));
    }
    let mut left: Vec<TargetCluster> = b
        .spec
        .clusters
        .iter()
        .filter(|t| !due.contains(&t.name) && !failing.contains(&t.name))
        .cloned()
        .collect();
    for t in b
        .spec
        .graceful_eviction_tasks
        .iter()
        .filter(|t| back.contains(&t.from_cluster))
    {
        if left.iter().all(|l| l.name != t.from_cluster) {
            left.push(TargetCluster {
                name: t.from_cluster.clone(),
                replicas: t.replicas.unwrap_or(0),
                ..Default::default()
            });
        }
    }
    if left == b.spec.clusters && tasks == b.spec.graceful_eviction_tasks {
        return Ok(());
    }
    let patch = json!({
        "spec": {"clusters": left, "gracefulEvictionTasks": tasks},
    });
    match hub.patch(&Hub::binding_resource(key), key, &patch).await {
        Ok(o) => {
            hub.saw_binding(o);
            Ok(())
        }
        Err(e) => gone::<()>(Err(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).unwrap()
    }

    #[test]
    fn tolerations_decide_when_to_leave() {
        let taint = |key: &str| Taint {
            key: key.into(),
            effect: "NoExecute".into(),
            value: None,
            time_added: Some(Time(at(100))),
        };
        let toleration = |key: &str, seconds| Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            toleration_seconds: seconds,
            ..Default::default()
        };
        let timers = Timers::default();
        for (taint, tolerations, want) in [
            (taint(TAINT_UNREACHABLE), vec![], Some(400)),
            (
                taint(TAINT_NOT_READY),
                vec![toleration(TAINT_NOT_READY, Some(30))],
                Some(130),
            ),
            (taint(TAINT_NOT_READY), vec![toleration(TAINT_NOT_READY, None)], None),
            (taint("down"), vec![], Some(100)),
            (taint("down"), vec![toleration("down", None)], None),
            (
                taint("down"),
                vec![toleration("down", Some(5)), toleration("down", Some(3))],
                Some(103),
            ),
        ] {
            assert_eq!(
                leaves_at(&taint, &tolerations, &timers, at(200)),
                want.map(at),
                "{} {tolerations:?}",
                taint.key
            );
        }
    }

    #[test]
    fn state_is_read_by_its_path() {
        let v = json!({"a": {"b": [{"c": 5}, {"c": "x"}]}, "n": null});
        for (path, want) in [
            ("{.a.b[1].c}", Some("x")),
            ("{.a.b[0].c}", Some("5")),
            ("$.a.b[0]", Some("{\"c\":5}")),
            (".n", None),
            (".a.z", None),
        ] {
            assert_eq!(json_path(&v, path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn an_autonomous_cluster_is_left_alone_for_as_long_as_it_says() {
        let mut c = Cluster::default();
        c.spec.taints = vec![Taint {
            key: TAINT_UNREACHABLE.into(),
            effect: "NoExecute".into(),
            value: None,
            time_added: Some(Time(at(100))),
        }];
        let timers = Timers {
            default_unreachable_toleration_seconds: 10,
            ..Timers::default()
        };
        assert_eq!(eviction_time(&c, &[], &timers, at(105)), Some(at(110)));
        c.metadata.annotations = Some([(AUTONOMY.to_owned(), "10m".to_owned())].into());
        let mut conditions = Vec::new();
        conditions::set(&mut conditions, READY, "Unknown", "", "", at(90));
        c.status = Some(cfn_api::karmada::cluster::ClusterStatus {
            conditions,
            ..Default::default()
        });
        assert_eq!(eviction_time(&c, &[], &timers, at(105)), Some(at(690)));
    }
}
