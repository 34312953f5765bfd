//! `config.karmada.io/v1alpha1`: ResourceInterpreterCustomization, what the controllers must know of a kind that they
//! were not built for. Upstream's scripts (`luaScript`) are kept and not run; `rule` is the declarative form of this
//! project, in terms of JSON pointers.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a kind is read and written.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "config.karmada.io",
    version = "v1alpha1",
    kind = "ResourceInterpreterCustomization",
    plural = "resourceinterpretercustomizations",
    shortname = "ric",
    derive = "PartialEq",
    derive = "Default"
)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceInterpreterCustomizationSpec {
    /// The kind.
    pub target: CustomizationTarget,
    /// Its rules.
    pub customizations: CustomizationRules,
}

/// A kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomizationTarget {
    /// API version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
}

/// A rule per operation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomizationRules {
    /// How many replicas, and what one needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_resource: Option<Operation<ReplicaRule>>,
    /// Where a member's replicas are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_revision: Option<Operation<RevisionRule>>,
    /// What stays as the member has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Operation<RetentionRule>>,
    /// Which part of the status the hub hears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_reflection: Option<Operation<StatusRule>>,
    /// How the members' statuses become the template's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_aggregation: Option<Operation<AggregationRule>>,
    /// Whether an object is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_interpretation: Option<Operation<HealthRule>>,
    /// What it needs beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependency_interpretation: Option<Operation<DependencyRule>>,
}

/// One operation's rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation<R> {
    /// Upstream's form: kept, not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lua_script: Option<String>,
    /// This project's form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<R>,
}

/// Where replicas and the pod's spec stand.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaRule {
    /// JSON pointer to the number; empty: the kind is not divided.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub replicas: String,
    /// JSON pointer to a pod spec (for requests, node selector, tolerations).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The templates of a workload that has several: it goes whole where all of them have room.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentRule>,
}

/// One template of several.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ComponentRule {
    /// Its name, unique in the workload.
    pub name: String,
    /// JSON pointer to its number of replicas.
    pub replicas: String,
    /// JSON pointer to its pod spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

/// Where the number of replicas is written.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionRule {
    /// JSON pointer.
    pub replicas: String,
}

/// Fields that the member decides.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionRule {
    /// JSON pointers.
    pub fields: Vec<String>,
}

/// Fields of the status that are reported.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusRule {
    /// Names of fields of `status`.
    pub fields: Vec<String>,
}

/// How statuses are put together; what is named nowhere is left as the template has it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AggregationRule {
    /// Fields whose numbers are added up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sum: Vec<String>,
    /// Fields of which the greatest number counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub max: Vec<String>,
    /// Fields of which the smallest number counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub min: Vec<String>,
}

/// Healthy when all hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthRule {
    /// Requirements.
    pub all: Vec<Requirement>,
}

/// A requirement on one field.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Requirement {
    /// JSON pointer.
    pub path: String,
    /// Its value must be this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub equals: Option<serde_json::Value>,
    /// Its value must be that of this JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals_path: Option<String>,
    /// Its number must be at least that of this JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least_path: Option<String>,
}

/// What an object names.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DependencyRule {
    /// Fields with names of objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// JSON pointers to pod specs, whose ConfigMaps, Secrets, volumes and account count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
}

/// A field with the name of an object in the same namespace.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    /// API version of what it names.
    pub api_version: String,
    /// Kind of what it names.
    pub kind: String,
    /// JSON pointer to the name.
    pub name: String,
}

fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}
