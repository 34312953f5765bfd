//! `ComputingMetric`: CATS metrics of one cluster (draft-ietf-cats-metric-definition: L0 raw, L1 normalised per
//! category, L2 one score).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One per cluster, with the cluster's name; written by its agent.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cfn.akraino.org",
    version = "v1alpha1",
    kind = "ComputingMetric",
    plural = "computingmetrics",
    shortname = "com",
    status = "ComputingMetricStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"SITE","type":"string","jsonPath":".spec.site"}"#,
    printcolumn = r#"{"name":"L2","type":"integer","jsonPath":".status.l2"}"#,
    printcolumn = r#"{"name":"OBSERVED","type":"date","jsonPath":".status.observedAt"}"#
)]
#[serde(rename_all = "camelCase", default)]
pub struct ComputingMetricSpec {
    /// Cluster.
    pub cluster: String,
    /// Its site.
    pub site: String,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ComputingMetricStatus {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
    /// Raw.
    pub l0: RawMetrics,
    /// Normalised per category.
    pub l1: NormalisedMetrics,
    /// One score, 0 (worst) to 10 (best).
    pub l2: i32,
    /// What a core costs here, where somebody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// Accelerators of the cluster's nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accelerators: Vec<Accelerator>,
}

/// CATS L0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RawMetrics {
    /// Round trips to other sites.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rtt: Vec<SiteRtt>,
    /// Bandwidth to other sites.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bandwidth: Vec<SiteBandwidth>,
    /// Compute.
    pub compute: RawCompute,
}

/// Round trip to a site, exponentially weighted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SiteRtt {
    /// Site.
    pub site: String,
    /// Milliseconds.
    pub milliseconds: f64,
    /// Mean deviation, milliseconds.
    pub variation: f64,
    /// Samples so far.
    pub samples: u64,
    /// The site did not answer the last probes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// Bandwidth to a site.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SiteBandwidth {
    /// Site.
    pub site: String,
    /// Mbit/s.
    pub megabits_per_second: f64,
}

/// What a core costs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rates {
    /// Money for a core and hour, in the operator's currency.
    pub cost_per_core_hour: f64,
    /// Watts of a busy core, cooling included.
    pub watts_per_core: f64,
    /// Grams of carbon dioxide for a kilowatt hour of the site's electricity.
    pub carbon_per_kilowatt_hour: f64,
}

/// Compute, raw.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RawCompute {
    /// Service time of one request on an idle node, milliseconds.
    pub service_time_milliseconds: f64,
    /// Requested share of the allocatable CPU, percent.
    pub utilization_percent: f64,
}

/// CATS L1: 0 (worst) to 10 (best).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NormalisedMetrics {
    /// Compute.
    pub compute_norm: f64,
    /// Communication.
    pub communication_norm: f64,
}

/// Accelerators of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Accelerator {
    /// Extended resource, e.g. `nvidia.com/gpu`.
    pub resource: String,
    /// Model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How many are allocatable.
    pub count: i64,
}
