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
    /// Where the data lies that the task reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataSource>,
    /// At least so much bandwidth to each of the clients' sites, Mbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<f64>,
    /// What counts how much in the objective Joint; the task type's defaults when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<ObjectiveWeights>,
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

/// Data at a site.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataSource {
    /// Site.
    pub site: String,
    /// How much, 10^9 bytes.
    pub gigabytes: f64,
}

/// What counts how much. Each part is measured relative to the best cluster's, so weights compare shares.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectiveWeights {
    /// Network plus compute.
    pub latency: f64,
    /// Money.
    pub cost: f64,
    /// Electric energy.
    pub energy: f64,
    /// Carbon dioxide.
    pub carbon: f64,
    /// Moving the data.
    pub data: f64,
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
    /// Extended resource, e.g. `nvidia.com/gpu`; any of the kind when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Kind, when any resource of it will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<AcceleratorKind>,
    /// How many at least; 1 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// Model, when only one will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Kinds of accelerators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AcceleratorKind {
    /// Graphics processor.
    GPU,
    /// Neural processor.
    NPU,
    /// Data processor.
    DPU,
    /// Programmable gate array.
    FPGA,
}

impl AcceleratorKind {
    /// The kind of an extended resource, by what vendors' device plugins call theirs.
    #[must_use]
    pub fn of(resource: &str) -> Option<Self> {
        const WORDS: [(&str, AcceleratorKind); 11] = [
            ("gpu", AcceleratorKind::GPU),
            ("nvidia.com/mig", AcceleratorKind::GPU),
            ("npu", AcceleratorKind::NPU),
            ("ascend", AcceleratorKind::NPU),
            ("mlu", AcceleratorKind::NPU),
            ("tpu", AcceleratorKind::NPU),
            ("gaudi", AcceleratorKind::NPU),
            ("dpu", AcceleratorKind::DPU),
            ("bluefield", AcceleratorKind::DPU),
            ("fpga", AcceleratorKind::FPGA),
            ("xilinx", AcceleratorKind::FPGA),
        ];
        let name = resource.to_ascii_lowercase();
        WORDS
            .iter()
            .find(|(word, _)| name.contains(word))
            .map(|(_, kind)| *kind)
    }
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Objective {
    /// Network plus compute, and what else has a weight.
    #[default]
    Joint,
    /// Compute only.
    Compute,
    /// Network only.
    Network,
    /// Money only.
    Cost,
    /// Electric energy only.
    Energy,
    /// Carbon dioxide only.
    Carbon,
    /// Moving the data only.
    Data,
    /// The most bandwidth to the clients only.
    Bandwidth,
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
