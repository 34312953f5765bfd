//! Faults of a scenario, and their mending.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::input::{At, Delay, Percent};
use crate::topology::Link;

/// Breaks something.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// How.
    pub kind: At<FaultKind>,
    /// A node (crash: the host dies; stop: its kubelet dies, containers go on; pause, memory, fulldisk, slowdisk, clock).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<At<String>>,
    /// A cluster (crash: control plane, nodes and agent; stop: its control plane; pause: all its hosts).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<At<String>>,
    /// A site (isolate).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<At<String>>,
    /// Two sites (partition, reset, shape).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<[At<String>; 2]>,
    /// A process (kill): `scheduler`, `agent/<cluster>`, `edge/<node>`, `kubelet/<node>`, `kube-apiserver/<cluster>`; lanes
    /// with real hosts have more (`etcd`, `containerd`, ...).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<At<String>>,
    /// Only from the first site to the second (partition).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_way: bool,
    /// What the link does now (shape).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Shape>,
    /// How much is taken, MiB (memory).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mib: Option<At<u32>>,
}

impl Fault {
    /// Of a kind; on what is still to be said.
    #[must_use]
    pub fn of(kind: FaultKind) -> Self {
        Self {
            kind: At::nowhere(kind),
            node: None,
            cluster: None,
            site: None,
            between: None,
            component: None,
            one_way: false,
            link: None,
            mib: None,
        }
    }
}

/// A link's new behaviour; what is not named stays unshaped.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Shape {
    /// One way.
    pub latency: Delay,
    /// Standard deviation.
    pub latency_variation: Delay,
    /// Share of segments lost and sent again.
    pub packet_loss: Percent,
}

impl Shape {
    /// As a link between two sites.
    #[must_use]
    pub fn link(&self, between: [At<String>; 2]) -> Link {
        Link {
            between,
            latency: self.latency,
            latency_variation: self.latency_variation,
            latency_distribution: cfn_net::link::LatencyDistribution::default(),
            throughput_ul: None,
            throughput_dl: None,
            packet_loss: self.packet_loss,
        }
    }
}

/// How something breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// A process dies at once (component).
    Kill,
    /// A kubelet (node) or control plane (cluster) stops; what it manages goes on.
    Stop,
    /// A host (node), or all hosts (cluster), lose power.
    Crash,
    /// Nothing passes between two sites.
    Partition,
    /// Nothing passes to or from a site.
    Isolate,
    /// Connections between two sites break.
    Reset,
    /// The link between two sites changes.
    Shape,
    /// A host (node) or all of a cluster's (cluster) stand still, and go on later as if nothing had been.
    Pause,
    /// A host's memory is taken (node, size).
    Memory,
    /// A host's disk is full (node).
    FullDisk,
    /// A host's disk is slow (node).
    SlowDisk,
    /// A host's clock is wrong (node).
    Clock,
}

/// Mends what a fault broke.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Heal {
    /// The name of the step with the fault.
    pub fault: At<String>,
}
