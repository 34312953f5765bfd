//! The steps of a scenario.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::{Fault, Heal};
use super::need::Need;
use crate::evidence::Source as Authority;
use crate::input::{At, Delay};

/// One step: a name, and exactly one thing to do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// What it is for, in a few words; other steps refer to it by this.
    pub name: At<String>,
    /// What it needs that not every lane has: where that is missing the step is left out, its verdict skipped.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub needs: BTreeSet<Need>,
    /// Creates or changes objects, as `kubectl apply --server-side`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apply: Option<Apply>,
    /// Deletes objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<Delete>,
    /// Changes one object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Patch>,
    /// Sets a workload's replicas by its scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// Cordons a node and evicts its pods, as `kubectl drain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// The hub's administrator accepts registrations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<Accept>,
    /// A member leaves: its Cluster is deleted on the hub, its agent ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave: Option<Member>,
    /// A member joins (again): its agent is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Member>,
    /// Waits; the scenario ends when its bound passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Check>,
    /// Checks; yields a verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assert: Option<Check>,
    /// Breaks something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heal: Option<Heal>,
    /// Vehicles and sensors drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drive: Option<Drive>,
    /// Clients send requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// Gives a value a name, for later expressions and the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
    /// Lets time pass (an expression over timers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<At<String>>,
    /// Keeps objects in the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
}

/// What a step does.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "as Step's fields")]
pub enum Verb<'a> {
    Apply(&'a Apply),
    Delete(&'a Delete),
    Patch(&'a Patch),
    Scale(&'a Scale),
    Drain(&'a Drain),
    Accept(&'a Accept),
    Leave(&'a Member),
    Join(&'a Member),
    Wait(&'a Check),
    Assert(&'a Check),
    Fault(&'a Fault),
    Heal(&'a Heal),
    Drive(&'a Drive),
    Load(&'a Load),
    Measure(&'a Measure),
    Pause(&'a At<String>),
    Snapshot(&'a Snapshot),
}

impl Verb<'_> {
    /// As it is written.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Verb::Apply(_) => "apply",
            Verb::Delete(_) => "delete",
            Verb::Patch(_) => "patch",
            Verb::Scale(_) => "scale",
            Verb::Drain(_) => "drain",
            Verb::Accept(_) => "accept",
            Verb::Leave(_) => "leave",
            Verb::Join(_) => "join",
            Verb::Wait(_) => "wait",
            Verb::Assert(_) => "assert",
            Verb::Fault(_) => "fault",
            Verb::Heal(_) => "heal",
            Verb::Drive(_) => "drive",
            Verb::Load(_) => "load",
            Verb::Measure(_) => "measure",
            Verb::Pause(_) => "pause",
            Verb::Snapshot(_) => "snapshot",
        }
    }
}

impl Step {
    /// Everything it says to do; a right step says one.
    #[must_use]
    pub fn verbs(&self) -> Vec<Verb<'_>> {
        [
            self.apply.as_ref().map(Verb::Apply),
            self.delete.as_ref().map(Verb::Delete),
            self.patch.as_ref().map(Verb::Patch),
            self.scale.as_ref().map(Verb::Scale),
            self.drain.as_ref().map(Verb::Drain),
            self.accept.as_ref().map(Verb::Accept),
            self.leave.as_ref().map(Verb::Leave),
            self.join.as_ref().map(Verb::Join),
            self.wait.as_ref().map(Verb::Wait),
            self.assert.as_ref().map(Verb::Assert),
            self.fault.as_ref().map(Verb::Fault),
            self.heal.as_ref().map(Verb::Heal),
            self.drive.as_ref().map(Verb::Drive),
            self.load.as_ref().map(Verb::Load),
            self.measure.as_ref().map(Verb::Measure),
            self.pause.as_ref().map(Verb::Pause),
            self.snapshot.as_ref().map(Verb::Snapshot),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Which objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectRef {
    /// `apps/v1`, `v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// For namespaced kinds: the namespace; without one, all of them (with a name: `default`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// One object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Those with these labels, as kubectl's `-l`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<String>,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.kind)?;
        match (&self.namespace, &self.name) {
            (Some(ns), Some(n)) => write!(f, " {ns}/{n}")?,
            (None, Some(n)) => write!(f, " {n}")?,
            (Some(ns), None) => write!(f, "s in {ns}")?,
            (None, None) => f.write_str("s")?,
        }
        if let Some(l) = &self.label_selector {
            write!(f, " with {l}")?;
        }
        Ok(())
    }
}

/// Creates or changes objects.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Apply {
    /// Where.
    pub cluster: At<String>,
    /// Manifest files beside the scenario, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<At<String>>,
    /// A manifest, or a list of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<At<Value>>,
}

/// Deletes objects.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delete {
    /// Where.
    pub cluster: At<String>,
    /// What.
    pub object: At<ObjectRef>,
}

/// Changes one object.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Patch {
    /// Where.
    pub cluster: At<String>,
    /// What.
    pub object: At<ObjectRef>,
    /// How the patch reads.
    #[serde(default, rename = "type")]
    pub kind: PatchKind,
    /// The patch.
    pub patch: Value,
    /// `status`, `scale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
}

/// How a patch reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PatchKind {
    /// RFC 7396.
    #[default]
    Merge,
    /// Kubernetes' own.
    Strategic,
    /// RFC 6902.
    Json,
}

/// Sets a workload's replicas.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scale {
    /// Where.
    pub cluster: At<String>,
    /// What.
    pub object: At<ObjectRef>,
    /// To how many.
    pub replicas: u32,
}

/// Cordons and empties a node.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    /// The node.
    pub node: At<String>,
}

/// Accepts registrations.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Accept {
    /// Whose.
    pub clusters: Vec<At<String>>,
}

/// A member.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// Its name.
    pub cluster: At<String>,
}

/// What must be seen. Either `object` with what it must look like, or `that`, an expression over `values`,
/// measurements and timers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Check {
    /// The verdict's name in the report; from the step's name without it. (assert only)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<At<String>>,
    /// Who says so, if not the scenario's source. (assert only)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Authority>,
    /// The clause, as a reader can look it up; the scenario's reference without it. (assert only)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clause: Option<String>,
    /// In words what must be seen, for the report. (assert only)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Where to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<At<String>>,
    /// Or: in all of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<At<String>>,
    /// Which objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<At<ObjectRef>>,
    /// What each of them looks like (a part of it; with operators such as `{$gte: 1}`).
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<At<Value>>,
    /// How many there are: a number or an operator. Without it at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<At<Value>>,
    /// None is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// Values for `that`, asked anew each time it is evaluated.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Query>,
    /// An expression that must be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub that: Option<At<String>>,
    /// By when (an expression over timers); without it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<At<String>>,
    /// How long it must then stay so (an expression over timers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<At<String>>,
}

/// A value asked of the testbed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Query {
    /// Where to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<At<String>>,
    /// Or: in all of these, together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<At<String>>,
    /// Which objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<At<ObjectRef>>,
    /// Only those that look like this.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<At<Value>>,
    /// The number (or time, for ages) inside each: `spec.replicas`, `status.conditions[type=Ready].status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<At<String>>,
    /// What is made of them.
    #[serde(default)]
    pub aggregate: Aggregate,
    /// Instead of objects: what really runs on nodes (asked of the nodes themselves, not of an API server).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
}

/// What is made of many values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// How many there are.
    #[default]
    Count,
    /// Their sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// How long ago the earliest of these dates was.
    Age,
}

/// Containers that really run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Running {
    /// On these nodes; without any, on all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<At<String>>,
    /// Of pods in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Of pods whose name begins so.
    #[serde(default)]
    pub prefix: String,
    /// `pods` (how many) or `restarts` (how often their containers were started again).
    #[serde(default)]
    pub of: RunningValue,
}

/// What is counted of running pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunningValue {
    /// How many run.
    #[default]
    Pods,
    /// Restarts of their containers, summed.
    Restarts,
}

/// Vehicles and sensors drive through the topology's town.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drive {
    /// Prefix of the series' names: `<prefix>.roundTrip` ...
    pub prefix: At<String>,
    /// How many vehicles.
    pub vehicles: At<u32>,
    /// How many road sensors.
    #[serde(default)]
    pub sensors: u32,
    /// For how long.
    pub duration: At<Delay>,
    /// What the vehicles' roadside services do about a crossing; as they are set up, for the record.
    pub policy: At<String>,
    /// Cluster on which the relocations are recorded.
    pub records: At<String>,
    /// Size of a message, bytes (3GPP TS 22.186's nominal 1600 without it).
    #[serde(default = "nominal_bytes")]
    pub bytes: u32,
    /// Messages of a vehicle per second (nominal 10 without it).
    #[serde(default = "nominal_rate")]
    pub rate: u32,
    /// A fault put in while they drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<DriveFault>,
}

fn nominal_bytes() -> u32 {
    1600
}

fn nominal_rate() -> u32 {
    10
}

/// A fault during a drive.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DriveFault {
    /// How long after the drive's start.
    pub after: Delay,
    /// How long it lasts.
    pub lasts: Delay,
    /// What.
    pub fault: Fault,
}

/// Clients at a site send HTTP requests to a workload's pods, one after the other.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Load {
    /// The series' name.
    pub series: At<String>,
    /// The clients' site.
    pub from: At<String>,
    /// Where the workload was placed: all clusters that have a ready pod of it are asked in turn.
    pub clusters: Vec<At<String>>,
    /// The pods' namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The pods' labels, as kubectl's `-l`.
    pub label_selector: String,
    /// Their port.
    pub port: u16,
    /// How many requests.
    pub requests: At<u32>,
    /// A part of the way that is the same wherever the pod is (the client's own access).
    #[serde(default)]
    pub access: Delay,
}

fn default_namespace() -> String {
    "default".into()
}

/// Gives a value a name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Measure {
    /// The name.
    pub series: At<String>,
    /// From the end of this step (from the scenario's start without it) ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<At<String>>,
    /// ... to the end of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<At<String>>,
    /// Or: what a query comes to now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
}

/// Keeps objects in the evidence.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// Where.
    pub cluster: At<String>,
    /// Which.
    pub object: At<ObjectRef>,
}
