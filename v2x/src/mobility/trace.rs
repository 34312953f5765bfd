//! What traffic did: positions at 10 Hz with the cell each car was attached to, and the crossings between edges.

use std::sync::Arc;

use cfn_net::Seed;

use super::traffic::{STEP_SECONDS, Traffic};
use crate::road::{RoadMap, attach};

/// One car at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TracePoint {
    /// East, metres.
    pub x: f64,
    /// North, metres.
    pub y: f64,
    /// Metres per second.
    pub speed: f64,
    /// Radians.
    pub heading: f64,
    /// Index of the cell it is attached to.
    pub cell: usize,
}

/// Positions of all cars, step by step.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// `cars[car][step]`.
    pub cars: Vec<Vec<TracePoint>>,
}

/// A car's attachment moved to a cell of another edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    /// The car.
    pub car: usize,
    /// The first step in the new cell.
    pub step: usize,
    /// Edge it left.
    pub from: String,
    /// Edge it entered.
    pub to: String,
}

/// Runs seeded traffic for `lead_in` seconds unseen (cars start standing), then records `seconds` of it.
#[must_use]
pub fn record(map: &Arc<RoadMap>, count: usize, seed: Seed, lead_in: f64, seconds: f64) -> Trace {
    let steps = |s: f64| (s / STEP_SECONDS).round().max(0.0) as usize;
    let mut traffic = Traffic::new(map.clone(), count, seed);
    for _ in 0..steps(lead_in) {
        traffic.step();
    }
    let mut cars: Vec<Vec<TracePoint>> = vec![Vec::with_capacity(steps(seconds)); count];
    for _ in 0..steps(seconds) {
        for (i, points) in cars.iter_mut().enumerate() {
            let (x, y, heading) = traffic.position(i);
            let cell = attach(map, points.last().map(|p| p.cell), x, y);
            points.push(TracePoint {
                x,
                y,
                speed: traffic.cars()[i].speed,
                heading,
                cell,
            });
        }
        traffic.step();
    }
    Trace { cars }
}

impl Trace {
    /// All crossings between edges, by step, then car.
    #[must_use]
    pub fn crossings(&self, map: &RoadMap) -> Vec<Crossing> {
        let mut all = Vec::new();
        for (car, points) in self.cars.iter().enumerate() {
            for (step, w) in points.windows(2).enumerate() {
                let (from, to) = (map.edge_of(w[0].cell), map.edge_of(w[1].cell));
                if from != to {
                    all.push(Crossing {
                        car,
                        step: step + 1,
                        from: from.to_owned(),
                        to: to.to_owned(),
                    });
                }
            }
        }
        all.sort_by_key(|c| (c.step, c.car));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::road::{EdgeOptions, MapOptions, generate};

    #[test]
    fn traffic_moves_keeps_to_limits_and_crosses() {
        let edges = ["a", "b"].map(|s| EdgeOptions {
            site: s.to_owned(),
            endpoint: format!("{s}:1883"),
            radio_sites: vec![],
            cells: 4,
        });
        let map = Arc::new(generate(&MapOptions::town(edges.to_vec()), Seed(7)));
        let t = record(&map, 20, Seed(7), 30.0, 120.0);
        assert_eq!(t, record(&map, 20, Seed(7), 30.0, 120.0));
        let mut metres = 0.0;
        for points in &t.cars {
            for w in points.windows(2) {
                let d = (w[1].x - w[0].x).hypot(w[1].y - w[0].y);
                assert!(d < 2.6, "a jump of {d} m in one step");
                metres += d;
            }
            assert!(points.iter().all(|p| p.speed <= 22.2 * 1.1 + 0.1));
        }
        let mean = metres / (20.0 * 120.0);
        assert!((3.0..15.0).contains(&mean), "mean speed {mean} m/s");
        let crossings = t.crossings(&map);
        assert!(crossings.len() >= 10, "{} crossings", crossings.len());
    }
}
