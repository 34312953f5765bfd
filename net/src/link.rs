//! Links between sites, in AdvantEDGE's words.

use serde::{Deserialize, Serialize};

/// What a link does to the bytes that cross it. Latency is one way; throughput in bit/s; loss in percent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LinkSpec {
    /// One-way latency in milliseconds.
    pub latency: f64,
    /// Milliseconds: the standard deviation (Normal), the half width (Uniform), or what the distribution of mean 0
    /// is multiplied by, as netem's jitter (Pareto: shape 3; Paretonormal). Draws end at four times this.
    pub latency_variation: f64,
    /// How the latency varies.
    pub latency_distribution: LatencyDistribution,
    /// Towards the cloud (from the first site to the second), Mbit/s; 0 is unlimited.
    pub throughput_ul: f64,
    /// From the second site to the first, Mbit/s; 0 is unlimited.
    pub throughput_dl: f64,
    /// Share of segments (1460 bytes) lost and sent again, percent; a stream shows loss as delay. From 100 on the
    /// link carries nothing, as if cut.
    pub packet_loss: f64,
}

/// AdvantEDGE's latency distributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum LatencyDistribution {
    /// Gaussian.
    #[default]
    Normal,
    /// Heavy tail.
    Pareto,
    /// A quarter Gaussian, three quarters Pareto.
    Paretonormal,
    /// Even.
    Uniform,
}
