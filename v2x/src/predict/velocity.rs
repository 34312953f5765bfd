//! Straight on at the same speed.

use super::{Observation, Prediction, Predictor};
use crate::road::{RoadMap, attach};

/// Moves the vehicle on as it moves now, and attaches it as its radio would.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConstantVelocity {
    /// How far ahead, seconds.
    pub horizon: f64,
}

/// Step of the look-ahead, seconds: at 80 km/h 5.5 m.
const STEP: f64 = 0.25;

impl Predictor for ConstantVelocity {
    fn predict(&self, map: &RoadMap, seen: &Observation) -> Option<Prediction> {
        if seen.speed < 0.3 {
            return None;
        }
        let here = map.edge_of(seen.cell);
        let (dx, dy) = (seen.heading.cos() * seen.speed, seen.heading.sin() * seen.speed);
        let mut cell = seen.cell;
        let steps = (self.horizon / STEP).ceil() as usize;
        for i in 1..=steps {
            let t = (i as f64 * STEP).min(self.horizon);
            cell = attach(map, Some(cell), seen.x + dx * t, seen.y + dy * t);
            if map.edge_of(cell) != here {
                return Some(Prediction {
                    to: map.edge_of(cell).to_owned(),
                    seconds: t,
                    confidence: 1.0,
                });
            }
        }
        None
    }
}
