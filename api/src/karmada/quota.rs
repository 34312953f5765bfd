//! `policy.karmada.io/v1alpha1`: FederatedResourceQuota, one quota over all members.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a namespace may use in all members together, and in each.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "policy.karmada.io",
    version = "v1alpha1",
    kind = "FederatedResourceQuota",
    plural = "federatedresourcequotas",
    namespaced,
    status = "FederatedResourceQuotaStatus",
    derive = "PartialEq",
    derive = "Default"
)]
#[serde(rename_all = "camelCase", default)]
pub struct FederatedResourceQuotaSpec {
    /// In all.
    pub overall: BTreeMap<String, Quantity>,
    /// A ResourceQuota for each of these members.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub static_assignments: Vec<StaticClusterAssignment>,
}

/// How much in one member.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StaticClusterAssignment {
    /// Which.
    pub cluster_name: String,
    /// How much.
    pub hard: BTreeMap<String, Quantity>,
}

/// What is used.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FederatedResourceQuotaStatus {
    /// The quota that counts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overall: BTreeMap<String, Quantity>,
    /// Used by what is placed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overall_used: BTreeMap<String, Quantity>,
    /// Per member with an assignment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aggregated_status: Vec<ClusterQuotaStatus>,
}

/// What is used in one member.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterQuotaStatus {
    /// Which.
    pub cluster_name: String,
    /// Its quota.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hard: BTreeMap<String, Quantity>,
    /// Used.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub used: BTreeMap<String, Quantity>,
}
