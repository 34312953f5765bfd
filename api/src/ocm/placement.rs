//! `Placement` and `PlacementDecision`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Condition type of a Placement: it has as many clusters as it asked for.
pub const SATISFIED: &str = "PlacementSatisfied";
/// Condition type of a Placement: it makes no sense.
pub const MISCONFIGURED: &str = "PlacementMisconfigured";

/// Which clusters to choose.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cluster.open-cluster-management.io",
    version = "v1beta1",
    kind = "Placement",
    plural = "placements",
    namespaced,
    status = "PlacementStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"SUCCEEDED","type":"string","jsonPath":".status.conditions[?(@.type==\"PlacementSatisfied\")].status"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","jsonPath":".status.conditions[?(@.type==\"PlacementSatisfied\")].reason"}"#,
    printcolumn = r#"{"name":"SELECTEDCLUSTERS","type":"integer","jsonPath":".status.numberOfSelectedClusters"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct PlacementSpec {
    /// Only from these sets; from every bound one when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster_sets: Vec<String>,
    /// How many; all when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_of_clusters: Option<i32>,
    /// A cluster must satisfy one of these; all do when there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub predicates: Vec<ClusterPredicate>,
    /// How clusters are ranked.
    pub prioritizer_policy: PrioritizerPolicy,
    /// Read and used nowhere, as upstream.
    pub spread_policy: SpreadPolicy,
    /// Taints that are tolerated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<PlacementToleration>,
    /// How the decisions are grouped.
    pub decision_strategy: DecisionStrategy,
}

/// What a cluster must be.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterPredicate {
    /// All its selectors must match.
    pub required_cluster_selector: ClusterSelector,
}

/// Selectors that must all match.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSelector {
    /// By labels.
    #[serde(skip_serializing_if = "no_labels")]
    pub label_selector: LabelSelector,
    /// By claims.
    pub claim_selector: ClusterClaimSelector,
    /// By CEL expressions over `managedCluster`.
    pub cel_selector: ClusterCelSelector,
}

fn no_labels(s: &LabelSelector) -> bool {
    *s == LabelSelector::default()
}

/// Requirements on claims.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterClaimSelector {
    /// All must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// CEL expressions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterCelSelector {
    /// All must be true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cel_expressions: Vec<String>,
}

/// How clusters are ranked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PrioritizerPolicy {
    /// Additive (when unset: Balance 1 and Steady 1, unless configured otherwise) or Exact (only what is configured).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The weights.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configurations: Vec<PrioritizerConfig>,
}

/// Weight of a prioritizer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PrioritizerConfig {
    /// Which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_coordinate: Option<ScoreCoordinate>,
    /// -10 to 10; 0 turns it off. An API server fills in 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -10, max = 10), default = "one")]
    pub weight: Option<i32>,
}

fn one() -> Option<i32> {
    Some(1)
}

/// A prioritizer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScoreCoordinate {
    /// BuiltIn (when unset) or AddOn.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Balance, Steady, ResourceAllocatableCPU, ResourceAllocatableMemory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub built_in: Option<String>,
    /// A score of an AddOnPlacementScore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_on: Option<AddOnCoordinate>,
}

/// A score of an AddOnPlacementScore.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AddOnCoordinate {
    /// Name of the AddOnPlacementScore in the cluster's namespace.
    pub resource_name: String,
    /// Name of the score in it.
    pub score_name: String,
}

/// Part of the API, used nowhere.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SpreadPolicy {
    /// Constraints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spread_constraints: Vec<SpreadConstraintsTerm>,
}

/// Part of the API, used nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SpreadConstraintsTerm {
    /// Label or claim.
    pub topology_key: String,
    /// Label or Claim.
    pub topology_key_type: String,
    /// Most difference.
    pub max_skew: i32,
    /// DoNotSchedule or ScheduleAnyway.
    pub when_unsatisfiable: String,
}

/// A taint that is tolerated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlacementToleration {
    /// Key; every one when empty (then the operator must be Exists).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Equal (when unset) or Exists.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operator: String,
    /// Value; for Equal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect; every one when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub effect: String,
    /// So long from when the taint was added; for ever when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// How the decisions are grouped.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DecisionStrategy {
    /// Groups.
    pub group_strategy: GroupStrategy,
}

/// Groups of decisions, for progressive rollout.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupStrategy {
    /// First these, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decision_groups: Vec<DecisionGroup>,
    /// At most so many (number or percentage of the chosen) in a group; 0 or unset: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters_per_decision_group: Option<IntOrString>,
}

/// A named group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DecisionGroup {
    /// Name.
    pub group_name: String,
    /// Its clusters, of those chosen.
    pub group_cluster_selector: GroupClusterSelector,
}

/// Which of the chosen clusters are in a group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupClusterSelector {
    /// By labels.
    #[serde(skip_serializing_if = "no_labels")]
    pub label_selector: LabelSelector,
    /// By claims.
    pub claim_selector: ClusterClaimSelector,
}

/// What became of a Placement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlacementStatus {
    /// How many are chosen.
    pub number_of_selected_clusters: i32,
    /// The groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decision_groups: Vec<DecisionGroupStatus>,
    /// PlacementSatisfied, PlacementMisconfigured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A group of decisions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DecisionGroupStatus {
    /// Number, from 0.
    pub decision_group_index: i32,
    /// Name, where it has one.
    pub decision_group_name: String,
    /// Its PlacementDecisions.
    pub decisions: Vec<String>,
    /// How many clusters.
    #[serde(rename = "clusterCount")]
    pub clusters_count: i32,
}

/// Chosen clusters, at most 100; labelled with the Placement's name.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cluster.open-cluster-management.io",
    version = "v1beta1",
    kind = "PlacementDecision",
    plural = "placementdecisions",
    namespaced,
    status = "PlacementDecisionStatus",
    derive = "PartialEq",
    derive = "Default"
)]
#[serde(rename_all = "camelCase", default)]
pub struct PlacementDecisionSpec {}

/// The decisions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlacementDecisionStatus {
    /// Clusters.
    pub decisions: Vec<ClusterDecision>,
}

/// A chosen cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterDecision {
    /// Cluster.
    pub cluster_name: String,
    /// Why (empty, as upstream).
    pub reason: String,
}
