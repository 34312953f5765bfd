//! `cluster.karmada.io/v1alpha1`: the registry of member clusters.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Condition type: the cluster's API server answers.
pub const READY: &str = "Ready";
/// Condition type: the list of API enablements is complete.
pub const COMPLETE_API_ENABLEMENTS: &str = "CompleteAPIEnablements";

/// A member cluster.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cluster.karmada.io",
    version = "v1alpha1",
    kind = "Cluster",
    plural = "clusters",
    status = "ClusterStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"VERSION","type":"string","jsonPath":".status.kubernetesVersion"}"#,
    printcolumn = r#"{"name":"MODE","type":"string","jsonPath":".spec.syncMode"}"#,
    printcolumn = r#"{"name":"READY","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"ZONES","type":"string","priority":1,"jsonPath":".spec.zones"}"#,
    printcolumn = r#"{"name":"REGION","type":"string","priority":1,"jsonPath":".spec.region"}"#,
    printcolumn = r#"{"name":"PROVIDER","type":"string","priority":1,"jsonPath":".spec.provider"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSpec {
    /// The cluster's own identity (uid of its kube-system namespace).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Push (the hub writes to the member) or Pull (an agent in the member reads from the hub).
    pub sync_mode: SyncMode,
    /// Address of the member's API server (Push).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_endpoint: Option<String>,
    /// Secret with credentials of the member (Push).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalSecretReference>,
    /// Do not check the member's certificate (Push).
    #[serde(rename = "insecureSkipTLSVerification", skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_tls_verification: bool,
    /// Infrastructure provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Zone (deprecated upstream in favour of `zones`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Failure zones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// Taints: who does not tolerate them is not placed here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Grades of nodes, for the model-based estimate of room.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_models: Vec<ResourceModel>,
}

/// Who moves the manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SyncMode {
    /// The hub writes to the member.
    #[default]
    Push,
    /// An agent in the member reads from the hub.
    Pull,
}

/// A secret by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LocalSecretReference {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// One grade of nodes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ResourceModel {
    /// Grade, from 0.
    pub grade: u32,
    /// Range of each resource.
    pub ranges: Vec<ResourceModelRange>,
}

/// A half-open range of one resource.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ResourceModelRange {
    /// Resource name.
    pub name: String,
    /// From this (inclusive).
    pub min: Quantity,
    /// To this (exclusive).
    pub max: Quantity,
}

/// What was seen of a member.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterStatus {
    /// Version of its Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Which APIs it serves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_enablements: Vec<ApiEnablement>,
    /// Conditions: Ready, CompleteAPIEnablements.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How many nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_summary: Option<NodeSummary>,
    /// How much room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_summary: Option<ResourceSummary>,
    /// What is free on its nodes, those that are alike together: CFN's addition, from agents that give accurate estimates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub free_nodes: Vec<FreeNodes>,
    /// Workloads with replicas that no node takes: CFN's addition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unschedulable: Vec<UnschedulableReplicas>,
}

/// Nodes with the same room.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FreeNodes {
    /// How many.
    pub count: i32,
    /// What is free on each.
    pub free: BTreeMap<String, Quantity>,
    /// Their labels, without those that name one node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Their taints with the effects NoSchedule and NoExecute.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
}

/// Replicas of one workload that wait in vain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UnschedulableReplicas {
    /// Kind of the workload.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// How many.
    pub replicas: i32,
    /// Since when all of them have waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// An API group version with its resources.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiEnablement {
    /// `group/version`.
    pub group_version: String,
    /// Its resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ApiResourceKind>,
}

/// A resource of an API.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ApiResourceKind {
    /// Plural name.
    pub name: String,
    /// Kind.
    pub kind: String,
}

/// Node counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSummary {
    /// All nodes.
    pub total_num: i32,
    /// Ready nodes.
    pub ready_num: i32,
}

/// Room of a cluster.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceSummary {
    /// Sum of the nodes' allocatable.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocatable: BTreeMap<String, Quantity>,
    /// Requests of pods that are not yet on a node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocating: BTreeMap<String, Quantity>,
    /// Requests of pods on nodes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocated: BTreeMap<String, Quantity>,
    /// Nodes per grade of the resource models.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allocatable_modelings: Vec<AllocatableModeling>,
}

/// Nodes of one grade.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AllocatableModeling {
    /// Grade.
    pub grade: u32,
    /// Nodes.
    pub count: i64,
}
