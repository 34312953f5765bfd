//! The evidence of a run: data only, in a fixed order, floats with three decimals.

use serde::{Deserialize, Serialize};

use crate::roadside::stats::Totals;
use crate::units::round3;

/// What a run showed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriveEvidence {
    /// Policy of the services, as the options named it.
    pub policy: String,
    /// Seed of the run.
    pub seed: u64,
    /// Vehicles that drove.
    pub vehicles: usize,
    /// Messages made (warm-up included).
    pub messages: u64,
    /// Messages acknowledged by the application.
    pub acknowledged: u64,
    /// Messages sent again.
    pub resent: u64,
    /// Round trip of each message from its making to the application's acknowledgement, ms: vehicle by vehicle, in
    /// order; messages of the warm-up left out.
    pub round_trips: Vec<f64>,
    /// Round trips as percentiles.
    pub round_trip: Percentiles,
    /// Warnings, from the edge's sending to the vehicle, ms.
    pub warnings: Vec<f64>,
    /// Warnings as percentiles.
    pub warning: Percentiles,
    /// Warnings of hazards, from the sensor's seeing to the vehicle, ms.
    pub warnings_from_sensor: Vec<f64>,
    /// Reports that sensors sent.
    pub sensor_reports: u64,
    /// Crossings between edges, by time, then vehicle.
    pub crossings: Vec<CrossingEvidence>,
    /// Interruptions of all crossings that succeeded, as percentiles.
    pub interruption: Percentiles,
    /// The sequence audit.
    pub audit: Audit,
    /// Messages of a vehicle served by another instance than the last one without a recorded, completed relocation.
    pub affinity_violations: u64,
    /// Relocations that completed.
    pub completed_relocations: u64,
    /// Relocations that failed.
    pub failed_relocations: u64,
    /// Copies withdrawn because the vehicle went elsewhere.
    pub withdrawn_relocations: u64,
    /// Why relocations failed: reason and how often.
    pub failures: std::collections::BTreeMap<String, u64>,
    /// Connections of vehicles that broke or could not be made.
    pub broken_connections: u64,
    /// Counters of each edge.
    pub edges: std::collections::BTreeMap<String, Totals>,
}

/// One crossing between edges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrossingEvidence {
    /// The vehicle.
    pub vehicle: String,
    /// Edge it left.
    pub from: String,
    /// Edge it entered.
    pub to: String,
    /// When the radio handed over, seconds after the start of the run.
    pub at: f64,
    /// How long before the crossing the target had held the context, ms; None: it did not.
    pub context_at_target_before: Option<f64>,
    /// Longest gap between served messages around the switch, minus the nominal interval, ms. None: it failed.
    pub interruption_ms: Option<f64>,
    /// The source had foreseen it.
    pub predicted: bool,
    /// The vehicle had connected ahead.
    pub prepared: bool,
    /// The vehicle had to go back: the source served on.
    pub failed: bool,
}

/// The sequence audit over all vehicles: what they sent, against what the edges say they applied and hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Updates applied, at all edges.
    pub applied: u64,
    /// Updates that were applied nowhere, or are missing in the context that serves at the end.
    pub lost: u64,
    /// Updates applied again.
    pub duplicated: u64,
    /// Updates applied after a later one.
    pub reordered: u64,
    /// Contexts whose digest is not that of what the vehicle sent, in order, once each.
    pub digest_mismatches: u64,
    /// Vehicles that no edge, or more than one, serves at the end.
    pub unserved: u64,
}

/// Percentiles with the number of samples (nearest rank). A percentile that the samples cannot support is left out: with
/// no failures in n samples the 95 % bound is 3/n, so p99 needs 300 samples, p99.99 30,000.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// Samples.
    pub count: usize,
    /// Median.
    pub p50: Option<f64>,
    /// 90 %.
    pub p90: Option<f64>,
    /// 99 %.
    pub p99: Option<f64>,
    /// 99.99 %.
    pub p9999: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
}

impl Percentiles {
    /// Of these samples.
    #[must_use]
    pub fn of(samples: &[f64]) -> Self {
        let mut s = samples.to_vec();
        s.sort_by(f64::total_cmp);
        let n = s.len();
        let at = |p: f64| {
            let needed = if p > 0.5 { (3.0 / (1.0 - p)).round() as usize } else { 1 };
            let rank = ((p * n as f64).ceil() as usize).clamp(1, n.max(1)) - 1;
            (n >= needed).then(|| s.get(rank).copied().map(round3)).flatten()
        };
        Self {
            count: n,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p9999: at(0.9999),
            max: s.last().copied().map(round3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_claim_only_what_the_samples_support() {
        let of = |n: usize| Percentiles::of(&(1..=n).map(|v| v as f64).collect::<Vec<_>>());
        assert_eq!(of(0), Percentiles::default());
        assert_eq!(
            of(1),
            Percentiles {
                count: 1,
                p50: Some(1.0),
                max: Some(1.0),
                ..Percentiles::default()
            }
        );
        assert_eq!((of(299).p90, of(299).p99), (Some(270.0), None));
        assert_eq!((of(300).p99, of(300).p9999), (Some(297.0), None));
        assert_eq!(of(30_000).p9999, Some(29_997.0));
    }
}
