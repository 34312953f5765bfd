//! Clusters and their nodes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::input::{At, Delay};

/// A cluster.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// Its name: also the name of its Cluster object on the hub, and of its control plane's host.
    pub name: At<String>,
    /// The site of its control plane (and of its nodes, unless they say otherwise).
    pub site: At<String>,
    /// Hub or member.
    pub role: ClusterRole,
    /// How the hub reaches it.
    #[serde(default)]
    pub sync_mode: SyncMode,
    /// Cloud provider, as Karmada's Cluster has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Region, as Karmada's Cluster has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Zone, as Karmada's Cluster has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Labels of its Cluster object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints of its Cluster object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<TaintSpec>,
    /// How long its compute takes for one request of the reference service (CATS L0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_time: Option<Delay>,
    /// Its nodes.
    #[serde(default)]
    pub nodes: Vec<Node>,
}

/// What a cluster is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClusterRole {
    /// Where policies are applied and the scheduler runs.
    Hub,
    /// Where workloads run.
    Member,
}

/// How the hub reaches a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SyncMode {
    /// The cluster's own agent pulls its Works.
    #[default]
    Pull,
    /// The hub's controllers reach into the cluster; it has no agent.
    Push,
}

/// A taint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaintSpec {
    /// Key.
    pub key: String,
    /// Value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: At<String>,
}

/// A node, or several alike.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// Its name, unique in the topology. With `count`, `-1`, `-2` ... is appended.
    pub name: At<String>,
    /// Where it is, if not at its cluster's site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<At<String>>,
    /// How many alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<At<u32>>,
    /// Its address in the lab, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Cores, as Kubernetes writes them: `4`, `500m`.
    pub cpu: At<String>,
    /// Memory, as Kubernetes writes it: `8Gi`, `16G`.
    pub memory: At<String>,
    /// The disk of its pods, as Kubernetes writes it. Where hosts are containers, the node then has a file system of this
    /// size of its own, in memory: it can fill up without the machine's, and is empty after a power cut. Without it, the
    /// machine's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<At<String>>,
    /// Most pods (110, as kubelet's default, without it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<At<u32>>,
    /// Extended resources: `nvidia.com/gpu: 1`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accelerators: BTreeMap<String, At<u32>>,
    /// `amd64` or `arm64`.
    #[serde(default = "amd64")]
    pub arch: Arch,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<TaintSpec>,
    /// Whether the edge agent stands between its kubelet and its cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edge_agent: bool,
    /// Whether it may go on on its own when it is cut off: the node life cycle then does not evict its pods.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub autonomy: bool,
}

/// A processor's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

fn amd64() -> Arch {
    Arch::Amd64
}

impl Arch {
    /// As Kubernetes labels it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }
}

impl Cluster {
    /// How many nodes it has, each that `count` stands for.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.iter().map(|n| n.names().count()).sum()
    }
}

impl Node {
    /// What it, or each of them, is called.
    pub fn names(&self) -> Box<dyn Iterator<Item = String> + '_> {
        match &self.count {
            None => Box::new(std::iter::once(self.name.value.clone())),
            Some(n) => Box::new((1..=n.value).map(|i| format!("{}-{i}", self.name))),
        }
    }

    /// Its capacity, as a node's status has it.
    #[must_use]
    pub fn capacity(&self) -> BTreeMap<String, String> {
        let mut c = BTreeMap::from([
            ("cpu".to_owned(), self.cpu.value.clone()),
            ("memory".to_owned(), self.memory.value.clone()),
            (
                "pods".to_owned(),
                self.pods.as_ref().map_or(110, |p| p.value).to_string(),
            ),
            (
                "ephemeral-storage".to_owned(),
                self.ephemeral_storage
                    .as_ref()
                    .map_or_else(|| "100Gi".to_owned(), |s| s.value.clone()),
            ),
        ]);
        c.extend(self.accelerators.iter().map(|(k, n)| (k.clone(), n.value.to_string())));
        c
    }
}
