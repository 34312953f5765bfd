//! Vehicles and sensors on the topology's roads.

use cfn_v2x::drive::{DriveEvidence, DriveOptions};
use tokio::time::Instant;

use super::super::step::Drive;
use super::Bench;
use crate::evidence::{Event, EventKind, Sample};

/// What a drive leaves, after its prefix: lists of times, and counts.
pub const SERIES: &[&str] = &[
    "roundTrip",
    "warning",
    "interruption",
    "ahead",
    "messages",
    "acknowledged",
    "crossings",
    "failedCrossings",
    "predicted",
    "covered",
    "applied",
    "lost",
    "duplicated",
    "reordered",
    "digestMismatches",
    "unserved",
    "strayed",
    "relocationsCompleted",
    "relocationsFailed",
];

impl Bench {
    /// Drives, with the fault that belongs to it, and records what it showed.
    pub(super) async fn drive(&self, d: &Drive) -> Result<String, String> {
        let map = self.testbed.town.clone().ok_or("the topology has no road")?;
        let options = DriveOptions {
            map,
            vehicles: d.vehicles.value as usize,
            sensors: d.sensors as usize,
            duration: d.duration.0,
            policy: d.policy.value.clone(),
            rate_hz: f64::from(d.rate),
            payload_bytes: d.bytes as usize,
            ..DriveOptions::default()
        };
        let began = self.at();
        let start = Instant::now();
        // The same seed for every drive of a scenario: two policies see the same traffic.
        let seed = self.testbed.seed.child("drive");
        let driving = self.testbed.traffic.drive(options, seed);
        let fault = async {
            if let Some(f) = &d.fault {
                let name = format!("{} while driving", super::steps::describe(&f.fault));
                tokio::time::sleep_until(start + f.after.0).await;
                self.break_it(&name, &f.fault).await?;
                tokio::time::sleep_until(start + f.after.0 + f.lasts.0).await;
                self.mend(&name, &f.fault).await?;
            }
            Ok::<_, String>(())
        };
        let (evidence, fault) = tokio::join!(driving, fault);
        fault?;
        let e = evidence.map_err(|e| e.to_string())?;
        self.record_drive(&d.prefix, began, &e);
        Ok(format!(
            "{} vehicles, {} messages, {} crossings, {} relocations",
            e.vehicles,
            e.messages,
            e.crossings.len(),
            e.completed_relocations
        ))
    }

    fn record_drive(&self, prefix: &str, began: std::time::Duration, e: &DriveEvidence) {
        let mut result = self.result();
        let mut lists: Vec<(&str, Vec<f64>)> = vec![
            ("roundTrip", e.round_trips.clone()),
            ("warning", e.warnings.clone()),
            (
                "interruption",
                e.crossings.iter().filter_map(|c| c.interruption_ms).collect(),
            ),
            (
                "ahead",
                e.crossings
                    .iter()
                    .filter(|c| c.predicted)
                    .filter_map(|c| c.context_at_target_before)
                    .collect(),
            ),
        ];
        for (name, values) in lists.drain(..) {
            let series = series_name(prefix, name);
            // A list without a value is there all the same: an expression can ask for its count.
            result
                .series
                .entry(series.clone())
                .or_insert_with(|| crate::evidence::Series::new("ms"));
            for value in values {
                result.record(Sample {
                    series: series.clone(),
                    value,
                    unit: "ms".into(),
                    at: began,
                });
            }
        }
        let predicted = e.crossings.iter().filter(|c| c.predicted).count();
        let covered = e
            .crossings
            .iter()
            .filter(|c| c.predicted && c.context_at_target_before.is_some_and(|b| b > 0.0))
            .count();
        let counts: [(&str, u64); 15] = [
            ("messages", e.messages),
            ("acknowledged", e.acknowledged),
            ("crossings", e.crossings.len() as u64),
            (
                "failedCrossings",
                e.crossings.iter().filter(|c| c.failed).count() as u64,
            ),
            ("predicted", predicted as u64),
            ("covered", covered as u64),
            ("applied", e.audit.applied),
            ("lost", e.audit.lost),
            ("duplicated", e.audit.duplicated),
            ("reordered", e.audit.reordered),
            ("digestMismatches", e.audit.digest_mismatches),
            ("unserved", e.audit.unserved),
            ("strayed", e.affinity_violations),
            ("relocationsCompleted", e.completed_relocations),
            ("relocationsFailed", e.failed_relocations),
        ];
        for (name, n) in counts {
            let series = series_name(prefix, name);
            self.scalars().insert(series.clone());
            result.record(Sample {
                series,
                value: n as f64,
                unit: String::new(),
                at: began,
            });
        }
        for c in &e.crossings {
            let at = began + std::time::Duration::try_from_secs_f64(c.at).unwrap_or_default();
            let how = match (c.predicted, c.failed) {
                (_, true) => "failed",
                (true, false) => "foreseen",
                (false, false) => "unforeseen",
            };
            let detail = format!("crossed from {} to {}: {how}", c.from, c.to);
            result
                .events
                .push(Event::new(at, EventKind::Vehicle, c.vehicle.clone(), detail).at_place(c.to.clone()));
        }
    }
}

/// `predictive` and `interruption` are `interruption/predictive` in the evidence, so that a report draws the variants
/// of one measure side by side.
#[must_use]
pub fn series_name(prefix: &str, measure: &str) -> String {
    format!("{measure}/{prefix}")
}
