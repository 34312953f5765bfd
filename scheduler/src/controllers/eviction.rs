//! The taint manager and graceful eviction (Karmada's `pkg/controllers/cluster/taint_manager.go`,
//! `pkg/controllers/gracefuleviction`): bindings leave clusters whose NoExecute taints they do not (any longer) tolerate.

use std::sync::Arc;
use std::time::Duration;

use cfn_api::conditions;
use cfn_api::karmada::cluster::{Cluster, READY};
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

async fn reconcile(hub: &Arc<Hub>, key: &Key) -> Result<(), kube::Error> {
    let now = hub.now();
    let timers = &hub.options.timers;
    let (b, due, back, next) = {
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
        let scheduled = conditions::is_true(&b.status.conditions, SCHEDULED);
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
        (b, due, back, next)
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
    let mode = b
        .spec
        .failover
        .as_ref()
        .and_then(|f| f.cluster.as_ref())
        .and_then(|c| c.purge_mode.clone());
    let before: Vec<String> = b.spec.clusters.iter().map(|t| t.name.clone()).collect();
    for cluster in &due {
        if tasks.iter().any(|t| t.from_cluster == *cluster) {
            continue;
        }
        tasks.push(GracefulEvictionTask {
            from_cluster: cluster.clone(),
            replicas: b
                .spec
                .clusters
                .iter()
                .find(|t| t.name == *cluster)
                .map(|t| t.replicas)
                .filter(|n| *n > 0),
            reason: "TaintUntolerated".into(),
            message: Some(format!(
                "cluster {cluster} has taints that are not tolerated (any longer)"
            )),
            producer: PRODUCER.into(),
            purge_mode: Some(mode.clone().unwrap_or_else(|| "Gracefully".into())),
            creation_timestamp: Some(Time(now)),
            clusters_before_failover: before.clone(),
            ..Default::default()
        });
    }
    if let Some(at) = next {
        hub.evict.add_after(key.clone(), until(now, at));
    }
    let mut left: Vec<TargetCluster> = b
        .spec
        .clusters
        .iter()
        .filter(|t| !due.contains(&t.name))
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
            });
        }
    }
    if left == b.spec.clusters && tasks == b.spec.graceful_eviction_tasks {
        return Ok(());
    }
    let patch = json!({
        "metadata": {"resourceVersion": b.meta.resource_version},
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
