//! Open Cluster Management's `cluster.open-cluster-management.io`: registry, sets and placement (field names and meanings
//! as in its API at v1).

pub mod cluster;
pub mod placement;
pub mod set;

/// Label of a PlacementDecision: the Placement it belongs to. As an annotation of a ResourceBinding: the Placement of
/// its namespace that chooses its clusters.
pub const PLACEMENT_LABEL: &str = "cluster.open-cluster-management.io/placement";
/// Label of a PlacementDecision: number of its group, from 0.
pub const GROUP_INDEX_LABEL: &str = "cluster.open-cluster-management.io/decision-group-index";
/// Label of a PlacementDecision: name of its group.
pub const GROUP_NAME_LABEL: &str = "cluster.open-cluster-management.io/decision-group-name";
/// Label of a ManagedCluster: the set it is in.
pub const CLUSTER_SET_LABEL: &str = "cluster.open-cluster-management.io/clusterset";
