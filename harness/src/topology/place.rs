//! Sites, the links between them, radio cells and the road.

use cfn_net::link::LatencyDistribution;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::input::{At, Delay, Length, Percent, Rate};

/// A place.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Site {
    /// Its name.
    pub name: At<String>,
    /// Which of the blueprint's levels it belongs to.
    pub role: SiteRole,
    /// Where it is on the map, from the west.
    #[serde(default)]
    pub x: Length,
    /// Where it is on the map, from the south.
    #[serde(default)]
    pub y: Length,
    /// A radio site's breakout: the edge site whose user plane function its traffic goes through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upf: Option<At<String>>,
    /// How many radio cells an edge site serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cells: Option<At<u32>>,
}

/// The levels of the blueprint, and what else stands on a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SiteRole {
    /// The control centre.
    Center,
    /// A public or central cloud.
    Cloud,
    /// An edge cloud.
    Edge,
    /// A terminal's place: an edge node in the field.
    Terminal,
    /// Where clients of services are.
    Client,
    /// A mobile network's core.
    Core,
    /// A radio site: where vehicles are attached.
    Radio,
}

impl SiteRole {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Center => "center",
            Self::Cloud => "cloud",
            Self::Edge => "edge",
            Self::Terminal => "terminal",
            Self::Client => "client",
            Self::Core => "core",
            Self::Radio => "radio",
        }
    }
}

/// What the network does between two sites, both ways, in AdvantEDGE's words.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Link {
    /// The two sites. Uplink is from the first to the second.
    pub between: [At<String>; 2],
    /// One way.
    #[serde(default)]
    pub latency: Delay,
    /// Standard deviation or half width of the latency.
    #[serde(default)]
    pub latency_variation: Delay,
    /// How the latency varies.
    #[serde(default)]
    #[schemars(with = "DistributionSchema")]
    pub latency_distribution: LatencyDistribution,
    /// From the first to the second; without it unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput_ul: Option<Rate>,
    /// From the second to the first; without it unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput_dl: Option<Rate>,
    /// Share of segments that are lost and sent again.
    #[serde(default)]
    pub packet_loss: Percent,
}

#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
#[schemars(rename = "LatencyDistribution")]
enum DistributionSchema {
    Normal,
    Pareto,
    Paretonormal,
    Uniform,
}

impl Link {
    /// As the network wants it.
    #[must_use]
    pub fn spec(&self) -> cfn_net::LinkSpec {
        let ms = |d: Delay| d.0.as_secs_f64() * 1e3;
        let mbit = |r: Option<Rate>| r.map_or(0.0, |r| r.0 / 1e6);
        cfn_net::LinkSpec {
            latency: ms(self.latency),
            latency_variation: ms(self.latency_variation),
            latency_distribution: self.latency_distribution,
            throughput_ul: mbit(self.throughput_ul),
            throughput_dl: mbit(self.throughput_dl),
            packet_loss: self.packet_loss.0,
        }
    }
}

/// A town's roads, drawn from the run's seed. Its edge sites' areas tile it from west to east.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Road {
    /// Streets from south to north.
    pub columns: At<u32>,
    /// Streets from west to east.
    pub rows: At<u32>,
    /// Between two parallel streets.
    pub block: Length,
    /// The edge sites along it, each with `cells`.
    pub edges: Vec<At<String>>,
}
