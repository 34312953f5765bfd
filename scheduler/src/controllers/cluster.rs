//! A member's life on the hub: finalizer, execution namespace, roles; and, when it leaves, nothing left behind.

use std::sync::Arc;

use cfn_api::cfn::ComputingMetric;
use cfn_api::conditions;
use cfn_api::karmada::cluster::{Cluster, READY};
use cfn_api::karmada::work::Work;
use cfn_api::names;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{ApiResource, DeleteParams};
use serde_json::json;

use super::bootstrap;
use super::hub::{Hub, Key, gone, until, work};

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "cluster",
        |h| &h.cluster,
        |hub, name| async move { reconcile(&hub, &name).await },
    )
    .await;
}

async fn reconcile(hub: &Arc<Hub>, name: &str) -> Result<(), kube::Error> {
    let Some(cluster) = hub.state().clusters.get(name).cloned() else {
        return Ok(());
    };
    let finalized = cluster
        .metadata
        .finalizers
        .iter()
        .flatten()
        .any(|f| f == names::CLUSTER_FINALIZER);
    if cluster.metadata.deletion_timestamp.is_some() {
        return if finalized {
            leave(hub, name, &cluster).await
        } else {
            Ok(())
        };
    }
    if !finalized {
        let mut finalizers = cluster.metadata.finalizers.clone().unwrap_or_default();
        finalizers.push(names::CLUSTER_FINALIZER.to_owned());
        let patch =
            json!({"metadata": {"resourceVersion": cluster.metadata.resource_version, "finalizers": finalizers}});
        gone(
            hub.patch(&ApiResource::erase::<Cluster>(&()), &Key::new("", name), &patch)
                .await,
        )?;
    }
    bootstrap::admit(hub, name).await
}

/// Removes everything of a cluster. Its agent removes what its Works brought; one that is gone is not waited for.
async fn leave(hub: &Arc<Hub>, name: &str, cluster: &Cluster) -> Result<(), kube::Error> {
    let ns = names::execution_namespace(name);
    let resource = ApiResource::erase::<Work>(&());
    let works: Vec<Arc<Work>> = hub
        .state()
        .works
        .iter()
        .filter(|(k, _)| k.ns == ns)
        .map(|(_, w)| Arc::clone(w))
        .collect();
    for w in works.iter().filter(|w| w.metadata.deletion_timestamp.is_none()) {
        let key = Key::of(&w.metadata);
        gone(
            hub.api(&resource, &ns)
                .delete(&key.name, &DeleteParams::background())
                .await,
        )?;
    }
    if !works.is_empty() {
        let now = hub.now();
        let asked = cluster.metadata.deletion_timestamp.as_ref().map_or(now, |t| t.0);
        let end = asked + hub.options.timers.cluster_leave_timeout;
        let alive = cluster
            .status
            .as_ref()
            .is_some_and(|s| conditions::is_true(&s.conditions, READY));
        if alive && now < end {
            // The end of each Work brings us back; so does the end of our patience.
            hub.cluster.add_after(name.to_owned(), until(now, end));
            return Ok(());
        }
        for w in works
            .iter()
            .filter(|w| w.metadata.finalizers.iter().flatten().next().is_some())
        {
            gone(
                hub.patch(
                    &resource,
                    &Key::of(&w.metadata),
                    &json!({"metadata": {"finalizers": null}}),
                )
                .await,
            )?;
        }
        return Ok(());
    }
    let role = bootstrap::role_name(name);
    let params = DeleteParams::background();
    for namespace in [ns.as_str(), names::LEASE_NAMESPACE] {
        gone(
            hub.api(&ApiResource::erase::<RoleBinding>(&()), namespace)
                .delete(&role, &params)
                .await,
        )?;
        gone(
            hub.api(&ApiResource::erase::<Role>(&()), namespace)
                .delete(&role, &params)
                .await,
        )?;
    }
    gone(
        hub.api(&ApiResource::erase::<ClusterRoleBinding>(&()), "")
            .delete(&role, &params)
            .await,
    )?;
    gone(
        hub.api(&ApiResource::erase::<ClusterRole>(&()), "")
            .delete(&role, &params)
            .await,
    )?;
    gone(
        hub.api(&ApiResource::erase::<Lease>(&()), names::LEASE_NAMESPACE)
            .delete(name, &params)
            .await,
    )?;
    gone(
        hub.api(&ApiResource::erase::<ComputingMetric>(&()), "")
            .delete(name, &params)
            .await,
    )?;
    gone(
        hub.api(&ApiResource::erase::<Namespace>(&()), "")
            .delete(&ns, &params)
            .await,
    )?;
    hub.state().leases.remove(name);
    hub.dismiss(name);
    let rest: Vec<&String> = cluster
        .metadata
        .finalizers
        .iter()
        .flatten()
        .filter(|f| *f != names::CLUSTER_FINALIZER)
        .collect();
    let patch = json!({"metadata": {"finalizers": if rest.is_empty() { None } else { Some(rest) }}});
    gone(
        hub.patch(&ApiResource::erase::<Cluster>(&()), &Key::new("", name), &patch)
            .await,
    )
}
