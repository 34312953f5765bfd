//! How far the placements that a hub has are from the best possible, looked at after each step in which something was
//! decided.

use cfn_api::cfn::{ComputingMetric, ComputingPolicy};
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::ResourceBinding;
use cfn_scheduler::engine::bound::{self, BoundError};
use cfn_scheduler::engine::{Fleet, Member, Request};
use kube::ResourceExt;
use serde::de::DeserializeOwned;

use super::super::ObjectRef;
use super::Bench;
use crate::evidence::{Batch, BatchLatency};

impl Bench {
    /// Looks at the batch when decisions were made since the last time. Of the same bindings the last look counts.
    pub(super) async fn bound_batch(&self, step: &str) {
        let decided = self.result().decisions.len();
        let before = std::mem::replace(
            &mut *self.bounded.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
            decided,
        );
        if decided == before {
            return;
        }
        let clusters = self.of_hub::<Cluster>("cluster.karmada.io/v1alpha1", "Cluster").await;
        let metrics = self.of_hub("cfn.akraino.org/v1alpha1", "ComputingMetric").await;
        let policies = self.of_hub("cfn.akraino.org/v1alpha1", "ComputingPolicy").await;
        let bindings = self.of_hub("work.karmada.io/v1alpha2", "ResourceBinding").await;
        match batch(step, clusters, &metrics, &policies, &bindings) {
            Ok(None) => {}
            Ok(Some(batch)) => {
                let mut result = self.result();
                match result.batches.iter_mut().find(|b| b.bindings == batch.bindings) {
                    Some(old) => *old = batch,
                    None => result.batches.push(batch),
                }
            }
            Err(e) => tracing::debug!("no bound after {step}: {e}"),
        }
    }

    /// The objects of a kind on the hub; none where it does not serve it.
    async fn of_hub<K: DeserializeOwned>(&self, api_version: &str, kind: &str) -> Vec<K> {
        let object = ObjectRef {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: None,
            name: None,
            label_selector: None,
        };
        let hub = &self.testbed.topology.hub().name.value;
        let found = self.objects.select(hub, &object).await.unwrap_or_default();
        found
            .into_iter()
            .filter_map(|o| serde_json::from_value(o).ok())
            .collect()
    }
}

/// Rounded to thousandths: below that figures are the solver's.
fn round(n: f64) -> f64 {
    (n * 1e3).round() / 1e3
}

/// Bounds the bindings that ask for room; `None` where fewer than two do.
fn batch(
    step: &str,
    clusters: Vec<Cluster>,
    metrics: &[ComputingMetric],
    policies: &[ComputingPolicy],
    bindings: &[ResourceBinding],
) -> Result<Option<Batch>, BoundError> {
    let mut fleet = Fleet::default();
    for c in clusters {
        let name = c.name_any();
        let metric = metrics.iter().find(|m| m.spec.cluster == name || m.name_any() == name);
        fleet.insert(Member::new(c, metric.cloned()));
    }
    let named: Vec<(String, &ResourceBinding)> = bindings
        .iter()
        .filter(|b| b.metadata.deletion_timestamp.is_none())
        .map(|b| (format!("{}/{}", b.namespace().unwrap_or_default(), b.name_any()), b))
        .collect();
    let requests: Vec<Request<'_>> = named
        .iter()
        .map(|(key, b)| Request {
            status: b.status.as_ref(),
            policy: policies.iter().find(|p| means(p, b)).map(|p| &p.spec),
            ..Request::of(key, &b.spec)
        })
        .filter(bound::asks_for_room)
        .collect();
    if requests.len() < 2 {
        return Ok(None);
    }
    let found = bound::of_placed(&fleet, &requests)?;
    let latency = found.latency.zip(found.latency_within_percent());
    Ok(Some(Batch {
        after: step.to_owned(),
        bindings: requests.iter().map(|r| r.key.to_owned()).collect(),
        wanted: found.wanted,
        placed: found.placed,
        possible: found.possible,
        within_percent: round(found.within_percent()),
        latency: latency.map(|((milliseconds, least), within)| BatchLatency {
            milliseconds: round(milliseconds),
            least: round(least),
            within_percent: round(within),
        }),
    }))
}

/// Whether a ComputingPolicy is attached to a binding's template or to its policy.
fn means(p: &ComputingPolicy, b: &ResourceBinding) -> bool {
    let r = &b.spec.resource;
    let propagation = b.annotations().get(cfn_api::names::PROPAGATION_POLICY_NAME);
    p.metadata.namespace == r.namespace
        && p.spec.target_refs.iter().any(|t| {
            t.kind == r.kind && t.name == r.name || t.kind == "PropagationPolicy" && Some(&t.name) == propagation
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cluster(name: &str, cpu: &str, allocated: &str) -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "cluster.karmada.io/v1alpha1", "kind": "Cluster", "metadata": {"name": name},
            "spec": {"syncMode": "Pull"},
            "status": {"apiEnablements": [{"groupVersion": "apps/v1", "resources": [{"kind": "Deployment", "name": "deployments"}]}],
                "resourceSummary": {"allocatable": {"cpu": cpu, "pods": "10"}, "allocated": {"cpu": allocated, "pods": "0"}}}}))
        .unwrap()
    }

    fn binding(name: &str, only: &[&str], replicas: i32, clusters: Value) -> ResourceBinding {
        serde_json::from_value(json!({
            "apiVersion": "work.karmada.io/v1alpha2", "kind": "ResourceBinding", "metadata": {"name": name, "namespace": "default"},
            "spec": {"resource": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "default", "name": name},
                "replicas": replicas, "replicaRequirements": {"resourceRequest": {"cpu": "1"}}, "clusters": clusters,
                "placement": {"clusterAffinity": {"clusterNames": only}, "replicaScheduling": {
                    "replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"}}}}))
        .unwrap()
    }

    #[test]
    fn what_is_placed_badly_is_seen_to_be() {
        // `a` is full of what could as well be on `b`, so what may only be on `a` has no room.
        let clusters = vec![cluster("a", "2", "2"), cluster("b", "2", "0")];
        let bindings = [
            binding("anywhere", &["a", "b"], 2, json!([{"name": "a", "replicas": 2}])),
            binding("picky", &["a"], 2, json!([])),
        ];
        let found = batch("s", clusters.clone(), &[], &[], &bindings).unwrap().unwrap();
        assert_eq!((found.wanted, found.placed, found.possible), (4, 2, 4));
        assert_eq!(found.within_percent, 50.0);
        assert_eq!(
            found.sentence(),
            "2 bindings, 2 of 4 replicas placed: within 50 % of any possible placement"
        );
        // One alone is no batch.
        assert_eq!(batch("s", clusters, &[], &[], &bindings[..1]).unwrap(), None);
    }
}
