//! What every cluster and node of a testbed is given, whatever lane it lives in.

use std::collections::BTreeMap;

use cfn_v2x::road::RoadMap;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{LaneError, town};
use crate::topology::{Cluster, ClusterRole, Node};

/// Field manager of what the harness writes.
pub(crate) const MANAGER: &str = "cfn";

/// The annotation of a node with its address in the lab.
pub(crate) const PROVIDED_IP: &str = "alpha.kubernetes.io/provided-node-ip";

/// Our CRDs, and on the hub Karmada's, with the namespaces that agents use, where sites answer probes, and the town.
pub(crate) async fn cluster(
    client: &kube::Client,
    role: ClusterRole,
    probes: &BTreeMap<String, String>,
    town: Option<&RoadMap>,
) -> Result<(), LaneError> {
    let fail = |e: String| LaneError::Failed(format!("preparing the cluster: {e}"));
    let hub = role == ClusterRole::Hub;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply(MANAGER).force();
    for crd in cfn_api::crds() {
        if hub || crd.spec.group == "cfn.akraino.org" {
            api.patch(&crd.name_any(), &params, &Patch::Apply(&crd))
                .await
                .map_err(|e| fail(e.to_string()))?;
        }
    }
    if !hub {
        return Ok(());
    }
    let api: Api<Namespace> = Api::all(client.clone());
    for ns in [cfn_api::names::CFN_NAMESPACE, cfn_api::names::LEASE_NAMESPACE] {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns}});
        api.patch(ns, &params, &Patch::Apply(&object))
            .await
            .map_err(|e| fail(e.to_string()))?;
    }
    let targets = cfn_api::names::PROBE_TARGETS;
    config_map(client, cfn_api::names::CFN_NAMESPACE, targets, json!(probes)).await?;
    if let Some(map) = town {
        let text = serde_json::to_string(map).map_err(|e| fail(e.to_string()))?;
        config_map(client, "default", town::CONFIG_MAP, json!({"map": text})).await?;
    }
    Ok(())
}

async fn config_map(client: &kube::Client, namespace: &str, name: &str, data: Value) -> Result<(), LaneError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object))
        .await
        .map(drop)
        .map_err(|e| LaneError::Failed(format!("preparing the cluster: ConfigMap {name}: {e}")))
}

/// A node's labels and annotations beyond what its kubelet says of itself.
pub(crate) fn node_marks(c: &Cluster, n: &Node) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let mut labels = n.labels.clone();
    let site = n.site.as_ref().unwrap_or(&c.site);
    labels.insert("kubernetes.io/arch".into(), n.arch.as_str().into());
    labels.insert("topology.kubernetes.io/zone".into(), site.value.clone());
    labels.insert("cfn.akraino.org/site".into(), site.value.clone());
    let mut annotations = BTreeMap::new();
    if let Some(s) = c.service_time {
        annotations.insert(
            cfn_agent::cluster::inventory::SERVICE_TIME.to_owned(),
            format!("{}ms", s.0.as_secs_f64() * 1e3),
        );
    }
    if n.autonomy {
        labels.insert("cfn.akraino.org/autonomy".into(), "true".into());
        annotations.insert("cfn.akraino.org/autonomy".into(), "true".into());
    }
    if let Some(a) = &n.address {
        annotations.insert(PROVIDED_IP.into(), a.clone());
    }
    (labels, annotations)
}
