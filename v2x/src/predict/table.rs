//! Learned from earlier traffic of the same roads: at this place (50 m), in this direction (an eighth), on this edge,
//! vehicles went to that edge next, after so many seconds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Observation, Prediction, Predictor};
use crate::mobility::{STEP_SECONDS, Trace, TracePoint};
use crate::road::RoadMap;

/// Side of a square of the table, metres.
pub const SQUARE: f64 = 50.0;
/// Directions told apart.
pub const HEADINGS: i32 = 8;
/// A place is believed after so many vehicles (a second of one vehicle is not ten).
const ENOUGH: u32 = 2;
/// Share of the vehicles at a place that must have crossed within the horizon.
const SHARE: f64 = 0.5;

/// What is known about one place, direction and edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TableCell {
    /// Square east, square north, eighth of the circle.
    pub key: (i32, i32, i32),
    /// Edge the vehicles were on.
    pub from: String,
    /// Observations.
    pub seen: u32,
    /// Vehicles behind them.
    pub vehicles: u32,
    /// Where they went within the horizon.
    pub next: Vec<TableNext>,
}

/// One next edge of a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TableNext {
    /// The edge.
    pub to: String,
    /// Observations that went there within the horizon.
    pub count: u32,
    /// Mean time to the crossing, seconds.
    pub seconds: f64,
}

/// The table. Serialises as a list of [`TableCell`]s.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", into = "RoadTableData", from = "RoadTableData")]
pub struct RoadTable {
    horizon: f64,
    cells: BTreeMap<((i32, i32, i32), String), TableCell>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RoadTableData {
    horizon: f64,
    cells: Vec<TableCell>,
}

impl From<RoadTable> for RoadTableData {
    fn from(t: RoadTable) -> Self {
        Self {
            horizon: t.horizon,
            cells: t.cells.into_values().collect(),
        }
    }
}

impl From<RoadTableData> for RoadTable {
    fn from(d: RoadTableData) -> Self {
        Self {
            horizon: d.horizon,
            cells: d.cells.into_iter().map(|c| ((c.key, c.from.clone()), c)).collect(),
        }
    }
}

/// Square and direction of a position.
fn key(x: f64, y: f64, heading: f64) -> (i32, i32, i32) {
    let eighth = (heading / std::f64::consts::TAU * f64::from(HEADINGS)).round() as i32;
    (
        (x / SQUARE).floor() as i32,
        (y / SQUARE).floor() as i32,
        eighth.rem_euclid(HEADINGS),
    )
}

impl RoadTable {
    /// Learns from a trace which edge comes next within `horizon` seconds.
    #[must_use]
    pub fn train(map: &RoadMap, trace: &Trace, horizon: f64) -> Self {
        let mut cells: BTreeMap<((i32, i32, i32), String), TableCell> = BTreeMap::new();
        for points in &trace.cars {
            // from the end, so that the next crossing is known; the last stretch without one says nothing yet
            let mut next: Option<(usize, &str)> = None;
            let mut last_key = None;
            for (i, p) in points.iter().enumerate().rev() {
                let here = map.edge_of(p.cell);
                if let Some(after) = points.get(i + 1)
                    && map.edge_of(after.cell) != here
                {
                    next = Some((i + 1, map.edge_of(after.cell)));
                }
                let until_end = (points.len() - i) as f64 * STEP_SECONDS;
                if next.is_none() && until_end < horizon {
                    continue;
                }
                learn(
                    &mut cells,
                    p,
                    here,
                    &mut last_key,
                    next.map(|(at, to)| (to, (at - i) as f64 * STEP_SECONDS)),
                    horizon,
                );
            }
        }
        for c in cells.values_mut() {
            for n in &mut c.next {
                n.seconds = crate::units::round3(n.seconds / f64::from(n.count.max(1)));
            }
        }
        Self { horizon, cells }
    }

    /// Places known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Nothing learned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

fn learn(
    cells: &mut BTreeMap<((i32, i32, i32), String), TableCell>,
    p: &TracePoint,
    here: &str,
    last_key: &mut Option<(i32, i32, i32)>,
    next: Option<(&str, f64)>,
    horizon: f64,
) {
    let k = key(p.x, p.y, p.heading);
    let c = cells.entry((k, here.to_owned())).or_insert_with(|| TableCell {
        key: k,
        from: here.to_owned(),
        seen: 0,
        vehicles: 0,
        next: Vec::new(),
    });
    c.seen += 1;
    if *last_key != Some(k) {
        c.vehicles += 1;
        *last_key = Some(k);
    }
    if let Some((to, seconds)) = next.filter(|n| n.1 <= horizon) {
        match c.next.iter_mut().find(|n| n.to == to) {
            Some(n) => {
                n.count += 1;
                n.seconds += seconds;
            }
            None => c.next.push(TableNext {
                to: to.to_owned(),
                count: 1,
                seconds,
            }),
        }
    }
}

impl Predictor for RoadTable {
    fn predict(&self, map: &RoadMap, seen: &Observation) -> Option<Prediction> {
        let here = map.edge_of(seen.cell);
        let c = self.cells.get(&(key(seen.x, seen.y, seen.heading), here.to_owned()))?;
        if c.vehicles < ENOUGH {
            return None;
        }
        let best = c.next.iter().max_by_key(|n| n.count)?;
        let confidence = f64::from(best.count) / f64::from(c.seen.max(1));
        (confidence >= SHARE).then(|| Prediction {
            to: best.to.clone(),
            seconds: best.seconds,
            confidence,
        })
    }
}
