//! `ComputingPolicy`: what a workload needs of computing and network together.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Attached to propagation policies or workloads of its namespace by `targetRefs`.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cfn.akraino.org",
    version = "v1alpha1",
    kind = "ComputingPolicy",
    plural = "computingpolicies",
    shortname = "cop",
    namespaced,
    derive = "PartialEq",
    derive = "Default"
)]
#[serde(rename_all = "camelCase", default)]
pub struct ComputingPolicySpec {
    /// What it is attached to: PropagationPolicies or workloads (as Gateway API policies do).
    pub target_refs: Vec<TargetRef>,
    /// Kind of task; decides who leaves a full site first.
    pub task_type: TaskType,
    /// What the clients may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyRequirement>,
    /// Accelerators that a site must have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accelerators: Vec<AcceleratorRequirement>,
    /// What is minimised.
    pub objective: Objective,
    /// What must change before anything moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hysteresis: Option<Hysteresis>,
}

/// A policy or workload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRef {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// Kinds of tasks, from the most to the least sensitive to latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
pub enum TaskType {
    /// Driving: warnings, cooperative perception.
    V2X,
    /// Must meet its budget.
    LatencyCritical,
    /// People wait for it (entertainment, web).
    Interactive,
    /// Training of models.
    AITraining,
    /// Whenever.
    #[default]
    Batch,
}

/// What the clients may wait.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LatencyRequirement {
    /// Where the clients are.
    pub clients: Vec<ClientSite>,
    /// Network plus compute at most, e.g. `20ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
}

/// Clients at a site.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientSite {
    /// Site.
    pub site: String,
    /// Their share; 1 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// An accelerator that a site must have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AcceleratorRequirement {
    /// Extended resource, e.g. `nvidia.com/gpu`.
    pub resource: String,
    /// Model, when only one will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Objective {
    /// Network plus compute.
    #[default]
    Joint,
    /// Compute only.
    Compute,
    /// Network only.
    Network,
}

/// What must change before anything moves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Hysteresis {
    /// Percent by which another site must be better.
    pub threshold_percent: f64,
    /// For so long, e.g. `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}
