//! Nodes that have registered: what their kubelets do not say of them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use super::address::Cidr;
use super::bed::{Bed, LOOK};
use crate::lane::LaneError;

impl Bed {
    /// Waits for a cluster's nodes and gives them what their kubelets do not say.
    pub(super) async fn dress(&self, cluster: &str) -> Result<(), LaneError> {
        let api: Api<Node> = Api::all(self.client(cluster)?.clone());
        let failed = |e: kube::Error| LaneError::Failed(format!("nodes of {cluster}: {e}"));
        let mut missing: BTreeSet<&str> = self
            .plan
            .nodes
            .iter()
            .filter(|(_, d)| d.cluster == cluster)
            .map(|(n, _)| n.as_str())
            .collect();
        let until = Instant::now() + self.patience();
        while !missing.is_empty() {
            // An API server that has just started may refuse for a moment.
            let found = api
                .list(&ListParams::default())
                .await
                .map(|l| l.items)
                .unwrap_or_default();
            for n in found {
                let name = n.name_any();
                let block = n.spec.as_ref().and_then(|s| s.pod_cidr.as_ref()?.parse::<Cidr>().ok());
                if let (true, Some(block)) = (missing.contains(name.as_str()), block) {
                    self.dress_node(&api, &n).await.map_err(failed)?;
                    self.state.lock().await.pods.insert(name.clone(), block);
                    missing.remove(name.as_str());
                }
            }
            if let Some(first) = missing.iter().next() {
                self.alive(&self.container_name(first), until).await?;
                tokio::time::sleep(LOOK).await;
            }
        }
        self.forget_control_plane(cluster).await
    }

    /// kind's control planes are nodes that a topology does not have: it is deleted, and its kubelet does not register
    /// again before it starts again. A cluster without nodes keeps it, as in other flavours. Other hosts have none.
    pub(super) async fn forget_control_plane(&self, host: &str) -> Result<(), LaneError> {
        let beside = self.plan.nodes.values().any(|d| d.cluster == host);
        if !self.is_adopted() || !beside {
            return Ok(());
        }
        let api: Api<Node> = Api::all(self.client(host)?.clone());
        let until = Instant::now() + self.patience();
        while let Err(e) = api.delete(host, &DeleteParams::default()).await {
            // It has not registered yet, or the API does not answer yet.
            tracing::debug!("the control plane's node of {host}: {e}");
            self.alive(&self.container_name(host), until).await?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Labels and annotations that a node lacks, and its accelerators.
    async fn dress_node(&self, api: &Api<Node>, node: &Node) -> kube::Result<()> {
        let name = node.name_any();
        let Some(d) = self.plan.nodes.get(&name) else {
            return Ok(());
        };
        let lacks = d.labels.iter().any(|(k, v)| node.labels().get(k) != Some(v))
            || d.annotations.iter().any(|(k, v)| node.annotations().get(k) != Some(v));
        if lacks {
            let patch = json!({"metadata": {"labels": d.labels, "annotations": d.annotations}});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        self.accelerate(api, &name).await
    }

    /// What a device plugin would tell.
    pub(super) async fn accelerate(&self, api: &Api<Node>, name: &str) -> kube::Result<()> {
        let Some(d) = self.plan.nodes.get(name).filter(|d| !d.accelerators.is_empty()) else {
            return Ok(());
        };
        let amounts: BTreeMap<&String, String> = d.accelerators.iter().map(|(k, n)| (k, n.to_string())).collect();
        let patch = json!({"status": {"capacity": amounts, "allocatable": amounts}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(drop)
    }
}
