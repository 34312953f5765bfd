//! The node's own client of the API server.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};

use super::NodeError;

/// A client.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
}

impl Api {
    /// A client of this kubeconfig.
    ///
    /// # Errors
    /// When it is none.
    pub async fn new(kubeconfig: &str) -> Result<Self, NodeError> {
        let wrong = |e: &dyn std::fmt::Display| NodeError::Api(e.to_string());
        let read = Kubeconfig::from_yaml(kubeconfig).map_err(|e| wrong(&e))?;
        let mut config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
            .await
            .map_err(|e| wrong(&e))?;
        config.connect_timeout = Some(Duration::from_secs(2));
        // Longer than a watch lasts.
        config.read_timeout = Some(Duration::from_secs(90));
        let client = kube::Client::try_from(config).map_err(|e| wrong(&e))?;
        Ok(Self { client })
    }

    /// The client itself.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Whether this address answers well.
    pub async fn ready(&self, url: &str) -> bool {
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        let Ok(request) = http::Request::get(format!("/{path}")).body(Vec::new()) else {
            return false;
        };
        let asked = self.client.request_text(request);
        matches!(tokio::time::timeout(Duration::from_secs(3), asked).await, Ok(Ok(_)))
    }

    /// What every cluster of ours has beyond what Kubernetes makes itself: nodes may read what kube-proxy reads, because
    /// with an edge agent kube-proxy asks as the node.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn bootstrap(&self) -> Result<(), kube::Error> {
        let binding: DynamicObject = serde_json::from_value(serde_json::json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "cfn:node-proxier"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}],
        }))
        .map_err(kube::Error::SerdeError)?;
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
        ));
        kube::Api::<DynamicObject>::all_with(self.client.clone(), &kind)
            .patch(
                "cfn:node-proxier",
                &PatchParams::apply("cfn-node").force(),
                &Patch::Apply(binding),
            )
            .await?;
        Ok(())
    }

    /// Marks the server's own node as the control plane, as K3s does: kubelet may not do so itself.
    ///
    /// # Errors
    /// When there is no such node yet.
    pub async fn mark_control_plane(&self, node: &str) -> Result<(), kube::Error> {
        let label = serde_json::json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": "true"}}});
        kube::Api::<Node>::all(self.client.clone())
            .patch_metadata(node, &PatchParams::default(), &Patch::Merge(label))
            .await?;
        Ok(())
    }
}
