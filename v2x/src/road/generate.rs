//! A seeded town: a jittered grid with faster avenues, a ring road, a diagonal, a few streets missing.

use std::collections::BTreeSet;

use cfn_net::Seed;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::map::{Cell, EdgeSite, Node, Road, RoadMap};
use super::route::Roads;

/// One edge site of the town and the radio sites in front of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EdgeOptions {
    /// Name of the site.
    pub site: String,
    /// `host:port` of its roadside service.
    pub endpoint: String,
    /// Radio sites; cell `i` of the edge stands at site `i mod n`. Empty: the edge site itself.
    #[serde(default)]
    pub radio_sites: Vec<String>,
    /// How many cells it serves.
    pub cells: usize,
}

/// Parameters of a town.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MapOptions {
    /// Streets from south to north.
    pub columns: usize,
    /// Streets from west to east.
    pub rows: usize,
    /// Distance between streets, metres.
    pub block: f64,
    /// The edge sites; their areas tile the town from west to east, then north.
    pub edges: Vec<EdgeOptions>,
}

impl MapOptions {
    /// A town of 10 x 7 streets, 120 m apart (1,080 m x 720 m), for the given edges.
    #[must_use]
    pub fn town(edges: Vec<EdgeOptions>) -> Self {
        Self {
            columns: 10,
            rows: 7,
            block: 120.0,
            edges,
        }
    }
}

/// 50 km/h, 70 km/h (avenues, the diagonal) and 80 km/h (the ring), metres per second.
const STREET: f64 = 13.9;
const AVENUE: f64 = 19.4;
const RING: f64 = 22.2;
/// Every which street is an avenue.
const AVENUE_EVERY: usize = 3;
/// Share of inner streets that are missing.
const MISSING: f64 = 0.08;

/// The town of these options and this seed. The same everywhere for the same input; every node reaches every other.
#[must_use]
pub fn generate(o: &MapOptions, seed: Seed) -> RoadMap {
    let (cols, rows) = (o.columns.max(2), o.rows.max(2));
    let mut rng = seed.rng("road.nodes");
    let at = |c: usize, r: usize| r * cols + c;
    let mut nodes = Vec::with_capacity(cols * rows);
    for r in 0..rows {
        for c in 0..cols {
            let inner = c > 0 && r > 0 && c + 1 < cols && r + 1 < rows;
            let jitter = if inner { o.block * 0.15 } else { 0.0 };
            let (dx, dy) = (
                rng.random_range(-1.0..1.0) * jitter,
                rng.random_range(-1.0..1.0) * jitter,
            );
            nodes.push(Node {
                x: round(c as f64 * o.block + dx),
                y: round(r as f64 * o.block + dy),
                signal: None,
            });
        }
    }
    // (a, b, speed, may be left out)
    let mut streets = Vec::new();
    for r in 0..rows {
        for c in 0..cols {
            let speed = |line: usize, last: usize| match line {
                l if l == 0 || l == last => (RING, false),
                l if l % AVENUE_EVERY == 0 => (AVENUE, false),
                _ => (STREET, true),
            };
            if c + 1 < cols {
                let (v, optional) = speed(r, rows - 1);
                streets.push((at(c, r), at(c + 1, r), v, optional));
            }
            if r + 1 < rows {
                let (v, optional) = speed(c, cols - 1);
                streets.push((at(c, r), at(c, r + 1), v, optional));
            }
        }
    }
    for i in 1..cols.min(rows) - 1 {
        // starts one block inside, so that it does not end on the ring's corner
        streets.push((at(i - 1, i - 1), at(i, i), AVENUE, false));
    }
    let mut rng = seed.rng("road.streets");
    let mut map = RoadMap {
        nodes,
        ..RoadMap::default()
    };
    let mut kept = streets.clone();
    for s in streets.iter().filter(|s| s.3) {
        if rng.random_bool(MISSING) {
            let without: Vec<_> = kept.iter().filter(|k| (k.0, k.1) != (s.0, s.1)).copied().collect();
            if connected(cols * rows, &without) {
                kept = without;
            }
        }
    }
    for (a, b, v, _) in kept {
        map.roads.push(Road {
            from: a,
            to: b,
            speed_limit: v,
        });
        map.roads.push(Road {
            from: b,
            to: a,
            speed_limit: v,
        });
    }
    let mut rng = seed.rng("road.signals");
    let roads = Roads::new(&map);
    for n in 0..map.nodes.len() {
        let offset = round(rng.random_range(0.0..30.0));
        // lights where at least four streets meet
        if roads.out(n).len() >= 4 {
            map.nodes[n].signal = Some(offset);
        }
    }
    place_cells(o, &mut map);
    map
}

/// Tiles the town with the edges' areas, and each area with its cells.
fn place_cells(o: &MapOptions, map: &mut RoadMap) {
    let (w, h) = map.extent();
    let (columns, rows) = tiling(o.edges.len(), w, h);
    let (aw, ah) = (w / columns as f64, h / rows as f64);
    for (i, e) in o.edges.iter().enumerate() {
        map.edges.push(EdgeSite {
            site: e.site.clone(),
            endpoint: e.endpoint.clone(),
        });
        let (x0, y0) = ((i % columns) as f64 * aw, (i / columns) as f64 * ah);
        let count = e.cells.max(1);
        let (cc, cr) = tiling(count, aw, ah);
        for k in 0..count {
            let radio = match e.radio_sites.as_slice() {
                [] => e.site.clone(),
                sites => sites[k % sites.len()].clone(),
            };
            map.cells.push(Cell {
                name: format!("{}-cell-{k}", e.site),
                radio_site: radio,
                edge_site: e.site.clone(),
                x: round(x0 + ((k % cc) as f64 + 0.5) * aw / cc as f64),
                y: round(y0 + ((k / cc) as f64 + 0.5) * ah / cr as f64),
            });
        }
    }
}

/// Columns and rows that tile a `w` x `h` box with at least `n` tiles, as square as can be.
fn tiling(n: usize, w: f64, h: f64) -> (usize, usize) {
    let n = n.max(1);
    let mut best = (n, 1, f64::INFINITY);
    for c in 1..=n {
        let r = n.div_ceil(c);
        let (tw, th) = (w / c as f64, h / r as f64);
        let cost = (tw / th).max(th / tw) * (c * r) as f64;
        if cost < best.2 {
            best = (c, r, cost);
        }
    }
    (best.0, best.1)
}

fn connected(n: usize, streets: &[(usize, usize, f64, bool)]) -> bool {
    let mut seen = BTreeSet::from([0]);
    let mut todo = vec![0];
    while let Some(a) = todo.pop() {
        for s in streets {
            let next = if s.0 == a {
                s.1
            } else if s.1 == a {
                s.0
            } else {
                continue;
            };
            if seen.insert(next) {
                todo.push(next);
            }
        }
    }
    seen.len() == n
}

/// Decimetres are enough, and keep the JSON short.
fn round(v: f64) -> f64 {
    (v * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::road::{attach, route};

    fn options() -> MapOptions {
        MapOptions::town(
            ["edge-a", "edge-b"]
                .iter()
                .map(|s| EdgeOptions {
                    site: (*s).to_owned(),
                    endpoint: format!("{s}:1883"),
                    radio_sites: vec![],
                    cells: 4,
                })
                .collect(),
        )
    }

    #[test]
    fn same_seed_same_town_other_seed_other_town() {
        let a = generate(&options(), Seed(1));
        assert_eq!(a, generate(&options(), Seed(1)));
        assert_ne!(a, generate(&options(), Seed(2)));
        a.validate().unwrap();
        let json = serde_json::to_string(&a).unwrap();
        assert!(
            json.len() < 40_000,
            "{} bytes do not fit an environment variable",
            json.len()
        );
        assert_eq!(serde_json::from_str::<RoadMap>(&json).unwrap(), a);
    }

    #[test]
    fn every_node_reaches_every_other() {
        for seed in 0..20 {
            let map = generate(&options(), Seed(seed));
            let roads = Roads::new(&map);
            for to in 1..map.nodes.len() {
                assert!(route(&map, &roads, 0, to).is_some(), "seed {seed}: no way to {to}");
                assert!(route(&map, &roads, to, 0).is_some(), "seed {seed}: no way from {to}");
            }
        }
    }

    #[test]
    fn attachment_keeps_its_cell_within_the_hysteresis() {
        let map = generate(&options(), Seed(1));
        let (a, b) = (
            0,
            map.cells
                .iter()
                .position(|c| c.edge_site == "edge-b" && c.y == map.cells[0].y)
                .unwrap(),
        );
        let mid = f64::midpoint(map.cells[a].x, map.cells[b].x);
        // walk straight from a cell of edge-a into edge-b and back: the changes are at different places
        let walk = |start: usize, xs: Vec<f64>| {
            let mut cell = start;
            let mut at = None;
            for x in xs {
                let next = attach(&map, Some(cell), x, map.cells[a].y);
                if map.edge_of(next) != map.edge_of(cell) {
                    at = Some(x);
                }
                cell = next;
            }
            at.unwrap()
        };
        let there: Vec<f64> = (0..=1080).map(f64::from).collect();
        let back: Vec<f64> = there.iter().rev().copied().collect();
        let (there, back) = (walk(a, there), walk(b, back));
        assert!(there > mid - 300.0 && there > back + 10.0, "there {there}, back {back}");
    }
}
