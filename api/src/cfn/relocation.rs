//! `ContextRelocation`: one record per hand-over of a vehicle's context (3GPP TS 23.558 roles, ETSI MEC 021 states).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One hand-over.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cfn.akraino.org",
    version = "v1alpha1",
    kind = "ContextRelocation",
    plural = "contextrelocations",
    shortname = "cr",
    namespaced,
    status = "ContextRelocationStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"SUBJECT","type":"string","jsonPath":".spec.subject"}"#,
    printcolumn = r#"{"name":"FROM","type":"string","jsonPath":".spec.source.site"}"#,
    printcolumn = r#"{"name":"TO","type":"string","jsonPath":".spec.target.site"}"#,
    printcolumn = r#"{"name":"STATE","type":"string","jsonPath":".status.state"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct ContextRelocationSpec {
    /// Whose context: a vehicle.
    pub subject: String,
    /// CATS service id (CS-ID).
    pub service: String,
    /// The edge application server it leaves (S-EAS).
    pub source: Instance,
    /// The one it goes to (T-EAS).
    pub target: Instance,
    /// What set it off.
    pub trigger: Trigger,
}

/// An instance of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Instance {
    /// Site.
    pub site: String,
    /// CATS contact instance (CSCI-ID).
    pub instance: String,
}

/// What set a relocation off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Trigger {
    /// The crossing was predicted.
    Predicted,
    /// The vehicle was already there.
    #[default]
    Reactive,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ContextRelocationStatus {
    /// Application mobility (MEC 021).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<MobilityState>,
    /// The context (MEC 021).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_state: Option<ContextState>,
    /// When what happened.
    pub timestamps: RelocationTimestamps,
    /// Sequence number of the last update in the context that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Size of the context, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// States of an application's mobility (ETSI GS MEC 021).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MobilityState {
    /// Decided.
    InterhostMoveoutTriggered,
    /// The target serves.
    InterhostMoveoutCompleted,
    /// The source still serves.
    InterhostMoveoutFailed,
}

/// States of a context (ETSI GS MEC 021).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ContextState {
    /// Not there yet.
    NotTransferred,
    /// There.
    UserContextTransferCompleted,
}

/// The steps of TS 23.558.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RelocationTimestamps {
    /// The move was seen or foreseen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detected: Option<MicroTime>,
    /// It was decided to relocate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<MicroTime>,
    /// The context left the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<MicroTime>,
    /// The target has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<MicroTime>,
    /// The vehicle is served by the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switched: Option<MicroTime>,
    /// The source forgot it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleaned_up: Option<MicroTime>,
}
