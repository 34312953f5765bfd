//! Which edge is next, and when.

mod score;
mod table;
mod velocity;

pub use score::{Score, score};
pub use table::{RoadTable, TableCell, TableNext};
pub use velocity::ConstantVelocity;

use std::sync::Arc;

use crate::road::RoadMap;

/// What a predictor looks at: the last position a vehicle told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// East, metres.
    pub x: f64,
    /// North, metres.
    pub y: f64,
    /// Metres per second.
    pub speed: f64,
    /// Radians.
    pub heading: f64,
    /// Cell it is attached to.
    pub cell: usize,
}

/// "This vehicle will be at that edge."
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The edge site.
    pub to: String,
    /// In about so many seconds.
    pub seconds: f64,
    /// Share of like cases that went there, 0 to 1.
    pub confidence: f64,
}

/// Predicts from one observation. Pure: the same answer for the same input.
pub trait Predictor: Send + Sync {
    /// The next edge, when the vehicle will reach one within the predictor's horizon.
    fn predict(&self, map: &RoadMap, seen: &Observation) -> Option<Prediction>;
}

/// The first predictor that has an answer: short-sighted and sure ones first.
pub struct Either {
    /// Asked in this order.
    pub predictors: Vec<Arc<dyn Predictor>>,
}

impl Predictor for Either {
    fn predict(&self, map: &RoadMap, seen: &Observation) -> Option<Prediction> {
        self.predictors.iter().find_map(|p| p.predict(map, seen))
    }
}

/// The default: constant velocity 3 s ahead, else the learned table 10 s ahead (the best row of the Bologna baseline:
/// 100 % covered, lead 9 s, 1.11 copies per hand-over; 95.3 % with 6 dB of shadowing).
#[must_use]
pub fn default_predictor(table: Option<Arc<RoadTable>>) -> Arc<dyn Predictor> {
    let mut predictors: Vec<Arc<dyn Predictor>> = vec![Arc::new(ConstantVelocity { horizon: 3.0 })];
    if let Some(table) = table {
        predictors.push(table);
    }
    Arc::new(Either { predictors })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobility::record;
    use crate::road::{EdgeOptions, MapOptions, generate};
    use cfn_net::Seed;

    fn town() -> Arc<RoadMap> {
        let edges = ["a", "b"].map(|s| EdgeOptions {
            site: s.to_owned(),
            endpoint: format!("{s}:1883"),
            radio_sites: vec![],
            cells: 4,
        });
        Arc::new(generate(&MapOptions::town(edges.to_vec()), Seed(3)))
    }

    #[test]
    fn the_default_covers_the_crossings_of_traffic_it_has_not_seen() {
        let map = town();
        let table = Arc::new(RoadTable::train(&map, &record(&map, 40, Seed(100), 30.0, 300.0), 10.0));
        let test = record(&map, 30, Seed(200), 30.0, 180.0);
        let s = score(&map, &test, default_predictor(Some(table.clone())).as_ref(), 1.0);
        assert!(s.crossings >= 30, "{s:?}");
        assert!(s.covered >= 0.97, "{s:?}");
        assert!(s.lead_median >= 3.0, "{s:?}");
        assert!(s.copies_per_crossing <= 2.0, "{s:?}");
        let cv = score(&map, &test, &ConstantVelocity { horizon: 3.0 }, 1.0);
        assert!(cv.covered >= 0.9, "{cv:?}");
        assert!(s.lead_median > cv.lead_median, "{s:?} {cv:?}");
        // and what a table is worth must survive being shipped
        let json = serde_json::to_string(table.as_ref()).unwrap();
        assert_eq!(serde_json::from_str::<RoadTable>(&json).unwrap(), *table);
    }

    #[test]
    fn a_standing_vehicle_goes_nowhere() {
        let map = town();
        let (x, y) = (map.cells[0].x, map.cells[0].y);
        let seen = Observation {
            x,
            y,
            speed: 0.0,
            heading: 0.0,
            cell: 0,
        };
        assert_eq!(ConstantVelocity { horizon: 10.0 }.predict(&map, &seen), None);
        let fast = Observation { speed: 2000.0, ..seen };
        assert_eq!(ConstantVelocity { horizon: 3.0 }.predict(&map, &fast).unwrap().to, "b");
    }
}
