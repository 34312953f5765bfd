//! Descheduling: replicas that no node of a member takes are taken off it when they have waited long enough, and the
//! scheduler places them anew (Karmada's `pkg/descheduler`). Only what is divided by room can go elsewhere.

use std::sync::Arc;

use cfn_api::karmada::cluster::UnschedulableReplicas;
use cfn_api::karmada::policy::{ReplicaDivisionPreference, ReplicaSchedulingType};
use cfn_api::karmada::work::{ResourceBindingSpec, TargetCluster};
use cfn_api::names;
use serde_json::json;
use tokio::time::Instant;

use super::hub::{Binding, Hub, Key, State, gone, until, work};

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "descheduler",
        |h| &h.deschedule,
        |hub, cluster| async move { reconcile(&hub, &cluster).await },
    )
    .await;
}

/// Whether a binding's replicas go where there is room.
fn by_room(spec: &ResourceBindingSpec) -> bool {
    let strategy = spec.placement.as_ref().and_then(|p| p.replica_scheduling.as_ref());
    strategy.is_some_and(|s| {
        let dynamic = s.weight_preference.as_ref().is_some_and(|p| p.dynamic_weight.is_some());
        s.replica_scheduling_type == Some(ReplicaSchedulingType::Divided)
            && (s.replica_division_preference == Some(ReplicaDivisionPreference::Aggregated) || dynamic)
    })
}

impl State {
    /// What waits in vain on a cluster, as its agent says.
    fn waiting(&self, cluster: &str) -> &[UnschedulableReplicas] {
        let status = self.clusters.get(cluster).and_then(|c| c.status.as_ref());
        status.map(|s| s.unschedulable.as_slice()).unwrap_or_default()
    }

    /// The clusters on which replicas of a binding wait in vain.
    pub(super) fn waits_on<'a>(&'a self, b: &'a Binding) -> impl Iterator<Item = &'a String> {
        let key = b.key();
        let clusters = b.spec.clusters.iter().map(|t| &t.name);
        clusters.filter(move |c| self.waiting(c).iter().any(|w| binding_of(w) == key))
    }
}

/// The binding that replicas which wait are of.
fn binding_of(w: &UnschedulableReplicas) -> Key {
    Key::new(&w.namespace, &names::binding_name(&w.kind, &w.name))
}

/// The clusters of a binding without `waiting` replicas on `cluster`; what is ready there stays. `None`: no change.
fn relieved(b: &Binding, cluster: &str, waiting: i32) -> Option<Vec<TargetCluster>> {
    let item = b.status.aggregated_status.iter().find(|i| i.cluster_name == cluster);
    let ready = item
        .and_then(|i| i.status.as_ref()?.get("readyReplicas")?.as_i64())
        .and_then(|n| i32::try_from(n).ok())
        .unwrap_or(0);
    let mut clusters = b.spec.clusters.clone();
    let at = clusters.iter_mut().find(|t| t.name == cluster)?;
    let left = (at.replicas - waiting).max(ready).max(0);
    if left >= at.replicas {
        return None;
    }
    at.replicas = left;
    clusters.retain(|t| t.replicas > 0);
    Some(clusters)
}

async fn reconcile(hub: &Arc<Hub>, cluster: &str) -> Result<(), kube::Error> {
    let Some(threshold) = hub.options.timers.descheduler else {
        return Ok(());
    };
    let waiting = hub.state().waiting(cluster).to_vec();
    let now = hub.now();
    for w in waiting {
        let due = w.since.as_ref().map_or(now, |s| s.0) + threshold;
        if due > now {
            hub.deschedule.add_after(cluster.to_owned(), until(now, due));
            continue;
        }
        let key = binding_of(&w);
        let _alone = hub.alone(&key).await;
        // A report that was acted on stands until the member has carried the new decision out.
        let report = (cluster.to_owned(), key.clone());
        let acted = hub
            .state()
            .relieved
            .get(&report)
            .filter(|(_, r)| *r == w)
            .map(|(at, _)| *at);
        if let Some(left) = acted
            .and_then(|at| threshold.checked_sub(at.elapsed()))
            .filter(|d| !d.is_zero())
        {
            hub.deschedule.add_after(cluster.to_owned(), left);
            continue;
        }
        // Where nothing can be taken off yet (the decision is not the last one's, more are ready in what was told than
        // there are) the binding's next change brings the cluster here again.
        let clusters = {
            let state = hub.state();
            let b = state.bindings.get(&key).filter(|b| {
                let current = b.status.scheduler_observed_generation == b.meta.generation;
                !b.deleting() && by_room(&b.spec) && current
            });
            b.and_then(|b| relieved(b, cluster, w.replicas))
        };
        let Some(clusters) = clusters else { continue };
        tracing::info!(binding = %key, cluster, replicas = w.replicas, "no node takes them: placed anew");
        let patch = json!({"spec": {"clusters": clusters}});
        match hub.patch(&Hub::binding_resource(&key), &key, &patch).await {
            Ok(o) => {
                hub.state().relieved.insert(report, (Instant::now(), w));
                hub.saw_binding(o);
            }
            Err(e) => gone::<()>(Err(e))?,
        }
    }
    let mut state = hub.state();
    let there: Vec<Key> = state.waiting(cluster).iter().map(binding_of).collect();
    state.relieved.retain(|(c, key), _| c != cluster || there.contains(key));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cfn_api::karmada::work::AggregatedStatusItem;

    #[test]
    fn what_is_ready_stays() {
        let target = |name: &str, replicas| TargetCluster {
            name: name.into(),
            replicas,
            ..Default::default()
        };
        let mut b = Binding {
            meta: Default::default(),
            spec: ResourceBindingSpec {
                clusters: vec![target("a", 5), target("b", 2)],
                ..Default::default()
            },
            status: Default::default(),
        };
        b.status.aggregated_status = vec![AggregatedStatusItem {
            cluster_name: "a".into(),
            status: Some(json!({"readyReplicas": 3})),
            ..Default::default()
        }];
        for (cluster, waiting, want) in [
            ("a", 2, Some(vec![target("a", 3), target("b", 2)])),
            ("a", 9, Some(vec![target("a", 3), target("b", 2)])),
            ("b", 2, Some(vec![target("a", 5)])),
            ("b", 0, None),
            ("c", 1, None),
        ] {
            assert_eq!(relieved(&b, cluster, waiting), want, "{cluster} {waiting}");
        }
    }
}
