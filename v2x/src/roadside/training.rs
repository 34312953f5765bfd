//! The road table that a service learns from earlier traffic of its map, learned once per process.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cfn_net::Seed;
use serde::{Deserialize, Serialize};

use crate::mobility::record;
use crate::predict::RoadTable;
use crate::road::RoadMap;
use crate::topics::to_json;

/// Earlier traffic of the same map from which the road table is learned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Training {
    /// Vehicles.
    pub vehicles: usize,
    /// Seconds of traffic.
    pub seconds: f64,
    /// Its seed (not that of the traffic to come).
    pub seed: u64,
    /// Horizon of the table, seconds.
    pub horizon: f64,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            vehicles: 40,
            seconds: 300.0,
            seed: 0x7261_6666,
            horizon: 10.0,
        }
    }
}

/// Tables kept; a process that goes through more maps than these learns again.
const KEPT: usize = 32;

/// One table, or the promise of one, and what it is learned from.
struct Learned {
    map: Arc<RoadMap>,
    training: Training,
    table: OnceLock<Arc<RoadTable>>,
}

/// By a hash of map and training. A table is a pure function of both, so sharing it changes no result.
static LEARNED: Mutex<BTreeMap<u64, Arc<Learned>>> = Mutex::new(BTreeMap::new());

impl Training {
    /// The table learned from this traffic. The services of one process that have the same map share it: the second
    /// one waits for the first to have learned instead of learning again.
    #[must_use]
    pub fn table(&self, map: &Arc<RoadMap>) -> Arc<RoadTable> {
        let key = self.key(map);
        let learned = {
            let mut all = LEARNED.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= KEPT && !all.contains_key(&key) {
                all.clear();
            }
            let learned = all.entry(key).or_insert_with(|| {
                Arc::new(Learned {
                    map: map.clone(),
                    training: *self,
                    table: OnceLock::new(),
                })
            });
            learned.clone()
        };
        // two inputs with one hash: the later one is on its own
        if learned.training != *self || learned.map != *map {
            return Arc::new(self.learn(map));
        }
        learned.table.get_or_init(|| Arc::new(self.learn(map))).clone()
    }

    fn learn(&self, map: &Arc<RoadMap>) -> RoadTable {
        let trace = record(
            map,
            self.vehicles,
            Seed(self.seed).child("training"),
            30.0,
            self.seconds,
        );
        RoadTable::train(map, &trace, self.horizon)
    }

    fn key(&self, map: &RoadMap) -> u64 {
        let mut h = DefaultHasher::new();
        h.write(&to_json(self));
        h.write(&to_json(map));
        h.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::road::{EdgeOptions, MapOptions, generate};

    #[test]
    fn a_table_is_learned_once_per_map_and_training() {
        let edges = ["a", "b"].map(|s| EdgeOptions {
            site: s.to_owned(),
            endpoint: format!("{s}:1883"),
            radio_sites: vec![],
            cells: 2,
        });
        let map = |seed| Arc::new(generate(&MapOptions::town(edges.to_vec()), Seed(seed)));
        let short = Training {
            vehicles: 4,
            seconds: 20.0,
            ..Training::default()
        };
        let first = short.table(&map(1));
        assert!(
            Arc::ptr_eq(&first, &short.table(&map(1))),
            "an equal map shares the table"
        );
        assert_eq!(*first, short.learn(&map(1)));
        let other = Training { seed: 1, ..short };
        for (table, what) in [(short.table(&map(2)), "map"), (other.table(&map(1)), "seed")] {
            assert!(
                !Arc::ptr_eq(&first, &table) && *first != *table,
                "another {what}, another table"
            );
        }
    }
}
