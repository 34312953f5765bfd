//! Making a testbed fit for the next scenario: what was broken is mended, what was applied is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use super::bed::Bed;
use super::plan::Role;
use crate::lane::{LaneError, prepare};
use crate::topology::{Cluster, ClusterRole};

/// How long everything may take to be gone: pods end within their grace period.
const GONE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(300);
/// The namespace in which scenarios work.
const NAMESPACE: &str = "default";

/// What scenarios apply, in the order in which it is deleted: policies first, then what they are about. API version,
/// kind, plural.
const APPLIED: &[(&str, &str, &str)] = &[
    ("policy.karmada.io/v1alpha1", "PropagationPolicy", "propagationpolicies"),
    ("policy.karmada.io/v1alpha1", "OverridePolicy", "overridepolicies"),
    ("cfn.akraino.org/v1alpha1", "ComputingPolicy", "computingpolicies"),
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("apps/v1", "DaemonSet", "daemonsets"),
    ("batch/v1", "Job", "jobs"),
    ("v1", "Service", "services"),
    ("v1", "ConfigMap", "configmaps"),
    ("v1", "ServiceAccount", "serviceaccounts"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    ("rbac.authorization.k8s.io/v1", "Role", "roles"),
    ("cfn.akraino.org/v1alpha1", "ContextRelocation", "contextrelocations"),
    ("cluster.open-cluster-management.io/v1beta1", "Placement", "placements"),
    (
        "cluster.open-cluster-management.io/v1beta2",
        "ManagedClusterSetBinding",
        "managedclustersetbindings",
    ),
];
/// The same of what is in no namespace.
const APPLIED_TO_CLUSTERS: &[(&str, &str, &str)] = &[
    (
        "config.karmada.io/v1alpha1",
        "ResourceInterpreterCustomization",
        "resourceinterpretercustomizations",
    ),
    (
        "cluster.open-cluster-management.io/v1beta2",
        "ManagedClusterSet",
        "managedclustersets",
    ),
];
/// What members run of that.
const WORKLOADS: &[(&str, &str, &str)] = &[("apps/v1", "Deployment", "deployments"), ("v1", "Pod", "pods")];
/// What our own parts make of it on the hub.
const MADE: &[(&str, &str, &str)] = &[
    ("work.karmada.io/v1alpha2", "ResourceBinding", "resourcebindings"),
    ("work.karmada.io/v1alpha1", "Work", "works"),
    (
        "cluster.open-cluster-management.io/v1beta1",
        "PlacementDecision",
        "placementdecisions",
    ),
];
/// What every namespace, and every hub of Open Cluster Management, has.
const OWN: &[(&str, &str)] = &[
    ("ManagedClusterSet", "default"),
    ("ManagedClusterSet", "global"),
    ("Service", "kubernetes"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("ServiceAccount", "default"),
];

fn resource((version, kind, plural): (&str, &str, &str)) -> ApiResource {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

impl Bed {
    /// Makes it as it was when it had come up.
    ///
    /// # Errors
    /// When something cannot be mended or does not go away: it is then of no use to others.
    pub(super) async fn clean(&self) -> Result<(), LaneError> {
        let faults = std::mem::take(&mut self.state.lock().await.faults);
        let began = Instant::now();
        for f in faults.iter().rev() {
            self.mend(f).await?;
        }
        for c in self.plan.containers.iter().filter(|c| c.role == Role::Clients) {
            // Of a scenario that was interrupted.
            self.engine
                .exec(&c.name, &["pkill", "-KILL", "-f", "cfn client"])
                .await?;
        }
        let until = Instant::now() + GONE;
        for c in &self.topology.spec.clusters {
            let client = self.client(&c.name)?.clone();
            // A control plane that has just come back may not answer yet.
            while let Err(e) = self.delete_applied(&client, c).await {
                if Instant::now() >= until {
                    return Err(LaneError::Failed(format!("cleaning {}: {e}", c.name)));
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        // What was measured of links that were broken is out of the window then.
        let measured_anew = (!faults.is_empty()).then(|| Instant::now() + self.timers.of("metricsWindow"));
        tracing::debug!(testbed = %self.plan.name, after = ?began.elapsed(), "mended, and what was applied deleted");
        let mut left = self.left().await;
        while !left.as_ref().is_ok_and(Vec::is_empty) {
            if Instant::now() >= until {
                return Err(LaneError::Failed(format!("cleaning: left are {left:?}")));
            }
            tracing::debug!(testbed = %self.plan.name, after = ?began.elapsed(), ?left, "not gone yet");
            tokio::time::sleep(LOOK).await;
            left = self.left().await;
        }
        for c in &self.topology.spec.clusters {
            let deleted = self.delete_new_kinds(self.client(&c.name)?, &c.name).await;
            deleted.map_err(|e| LaneError::Failed(format!("cleaning {}: {e}", c.name)))?;
        }
        // A template that was placed is gone for good with its placement: the town is told anew.
        let hub = self.topology.hub();
        prepare::cluster(
            self.client(&hub.name)?,
            hub.role,
            &self.probe_targets(),
            self.town().as_ref(),
        )
        .await?;
        if let Some(then) = measured_anew {
            tokio::time::sleep_until(then).await;
        }
        Ok(())
    }

    /// Keeps in mind what kinds there are: others are a scenario's.
    ///
    /// # Errors
    /// When a cluster does not say.
    pub(super) async fn remember_kinds(&self) -> Result<(), LaneError> {
        let known = try_join_all(self.topology.spec.clusters.iter().map(|c| async {
            let found = definitions(self.client(&c.name)?).await;
            let found = found.map_err(|e| LaneError::Failed(format!("kinds of {}: {e}", c.name)))?;
            let names = found.iter().map(ResourceExt::name_any).collect();
            Ok::<(String, BTreeSet<String>), LaneError>((c.name.value.clone(), names))
        }))
        .await?;
        let _ = self.kinds.set(BTreeMap::from_iter(known));
        Ok(())
    }

    /// The kinds that a scenario has defined in a cluster.
    async fn new_kinds(&self, client: &kube::Client, cluster: &str) -> kube::Result<Vec<CustomResourceDefinition>> {
        let Some(known) = self.kinds.get().and_then(|k| k.get(cluster)) else {
            return Ok(Vec::new());
        };
        let mut found = definitions(client).await?;
        found.retain(|d| !known.contains(&d.name_any()));
        Ok(found)
    }

    /// When nothing is left of these kinds: what the hub had of them is in members until its agents have let go of it.
    async fn delete_new_kinds(&self, client: &kube::Client, cluster: &str) -> kube::Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        for kind in self.new_kinds(client, cluster).await? {
            gone(api.delete(&kind.name_any(), &DeleteParams::default()).await)?;
        }
        Ok(())
    }

    async fn delete_applied(&self, client: &kube::Client, cluster: &Cluster) -> kube::Result<()> {
        let nodes: Api<Node> = Api::all(client.clone());
        for n in nodes.list(&ListParams::default()).await? {
            if n.spec.as_ref().and_then(|s| s.unschedulable) == Some(true) {
                let patch = json!({"spec": {"unschedulable": null}});
                nodes
                    .patch(&n.name_any(), &PatchParams::default(), &Patch::Merge(patch))
                    .await?;
            }
        }
        for what in APPLIED {
            // A member's objects go with what the hub has of them, but for what was made there.
            if cluster.role == ClusterRole::Member && what.1 != "ContextRelocation" {
                continue;
            }
            let api = Api::namespaced_with(client.clone(), NAMESPACE, &resource(*what));
            delete_all(&api, what.1).await?;
        }
        if cluster.role == ClusterRole::Hub {
            for what in APPLIED_TO_CLUSTERS {
                delete_all(&Api::all_with(client.clone(), &resource(*what)), what.1).await?;
            }
            for kind in self.new_kinds(client, &cluster.name).await? {
                let names = &kind.spec.names;
                let version = kind.spec.versions.iter().find(|v| v.storage).map_or("", |v| &v.name);
                let gvk = GroupVersionKind::gvk(&kind.spec.group, version, &names.kind);
                let kind = ApiResource::from_gvk_with_plural(&gvk, &names.plural);
                delete_all(&Api::namespaced_with(client.clone(), NAMESPACE, &kind), &names.kind).await?;
            }
        }
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        for p in pods.list(&ListParams::default()).await? {
            if p.owner_references().is_empty() {
                let at_once = DeleteParams::default().grace_period(0);
                gone(pods.delete(&p.name_any(), &at_once).await)?;
            }
        }
        Ok(())
    }

    /// What is left of scenarios, anywhere.
    async fn left(&self) -> Result<Vec<String>, String> {
        let mut left = Vec::new();
        for c in &self.topology.spec.clusters {
            let client = self.client(&c.name).map_err(|e| e.to_string())?;
            let hub = c.role == ClusterRole::Hub;
            for what in if hub { MADE } else { WORKLOADS } {
                let api: Api<DynamicObject> = if hub {
                    Api::all_with(client.clone(), &resource(*what))
                } else {
                    Api::namespaced_with(client.clone(), NAMESPACE, &resource(*what))
                };
                let found = match api.list(&ListParams::default()).await {
                    Err(kube::Error::Api(s)) if s.code == 404 => continue,
                    found => found.map_err(|e| e.to_string())?,
                };
                left.extend(
                    found
                        .items
                        .iter()
                        .map(|o| format!("{} {} in {}", what.1, o.name_any(), c.name)),
                );
            }
        }
        Ok(left)
    }
}

/// What is gone already was not there to delete.
fn gone<T>(deleted: kube::Result<T>) -> kube::Result<()> {
    match deleted {
        Err(kube::Error::Api(s)) if s.code == 404 => Ok(()),
        d => d.map(drop),
    }
}

async fn definitions(client: &kube::Client) -> kube::Result<Vec<CustomResourceDefinition>> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    Ok(api.list(&ListParams::default()).await?.items)
}

/// Deletes all of a kind but what is there anyway. A kind that is not served has none.
async fn delete_all(api: &Api<DynamicObject>, kind: &str) -> kube::Result<()> {
    let found = match api.list(&ListParams::default()).await {
        Err(kube::Error::Api(s)) if s.code == 404 => return Ok(()),
        found => found?,
    };
    for o in found.items.iter().map(ResourceExt::name_any) {
        if !OWN.contains(&(kind, &o)) {
            gone(api.delete(&o, &DeleteParams::background()).await)?;
        }
    }
    Ok(())
}
