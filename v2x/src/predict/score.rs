//! How good a predictor is on a trace, in the terms of the baseline: covered, lead, copies per hand-over, precision.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Observation, Predictor};
use crate::mobility::{STEP_SECONDS, Trace};
use crate::road::RoadMap;
use crate::units::round3;

/// A copy that is not confirmed by a new prediction for so long is thrown away (as the roadside service does).
pub const COPY_LIFETIME: f64 = 15.0;

/// The score of a predictor.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// Crossings between edges in the trace.
    pub crossings: usize,
    /// Share of them whose target held a copy at least the asked lead before.
    pub covered: f64,
    /// Share of the copies that were used.
    pub precision: f64,
    /// Median time that a used copy was there before the crossing, seconds.
    pub lead_median: f64,
    /// Copies made per crossing.
    pub copies_per_crossing: f64,
}

/// Replays a trace through a predictor. `lead`: seconds that a copy must be there before the crossing to count.
#[must_use]
pub fn score(map: &RoadMap, trace: &Trace, predictor: &dyn Predictor, lead: f64) -> Score {
    let (mut crossings, mut covered, mut copies, mut used) = (0_usize, 0_usize, 0_usize, 0_usize);
    let mut leads = Vec::new();
    for points in &trace.cars {
        // target -> (copied at, last predicted at), seconds
        let mut held: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for (i, p) in points.iter().enumerate() {
            let now = i as f64 * STEP_SECONDS;
            let here = map.edge_of(p.cell);
            if i > 0 && map.edge_of(points[i - 1].cell) != here {
                crossings += 1;
                if let Some((since, _)) = held.remove(here) {
                    used += 1;
                    leads.push(now - since);
                    covered += usize::from(now - since >= lead - 1e-9);
                }
                held.clear();
            }
            held.retain(|_, (_, last)| now - *last <= COPY_LIFETIME);
            let seen = Observation {
                x: p.x,
                y: p.y,
                speed: p.speed,
                heading: p.heading,
                cell: p.cell,
            };
            if let Some(next) = predictor.predict(map, &seen) {
                held.entry(next.to).and_modify(|h| h.1 = now).or_insert_with(|| {
                    copies += 1;
                    (now, now)
                });
            }
        }
    }
    leads.sort_by(f64::total_cmp);
    let share = |a: usize, b: usize| if b == 0 { 0.0 } else { round3(a as f64 / b as f64) };
    Score {
        crossings,
        covered: share(covered, crossings),
        precision: share(used, copies),
        lead_median: leads.get(leads.len() / 2).copied().map_or(0.0, round3),
        copies_per_crossing: share(copies, crossings),
    }
}
