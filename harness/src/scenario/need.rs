//! What a scenario, or a step of it, needs of a lane.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What not every lane, and not every flavour of clusters, has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Nodes have the topology's processors and memory, whatever the machine has.
    NodeCapacity,
    /// An edge agent stands between an edge node's kubelet and its cluster.
    EdgeAgent,
}
