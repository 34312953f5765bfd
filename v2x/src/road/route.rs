//! Fastest way from node to node.

use std::collections::VecDeque;

use super::map::RoadMap;

/// The roads that leave each node.
#[derive(Debug, Clone, Default)]
pub struct Roads {
    out: Vec<Vec<usize>>,
}

impl Roads {
    /// Index of a map.
    #[must_use]
    pub fn new(map: &RoadMap) -> Self {
        let mut out = vec![Vec::new(); map.nodes.len()];
        for (i, r) in map.roads.iter().enumerate() {
            out[r.from].push(i);
        }
        Self { out }
    }

    /// Roads that leave `node`.
    #[must_use]
    pub fn out(&self, node: usize) -> &[usize] {
        &self.out[node]
    }
}

/// Roads of the fastest way at the speed limits (Dijkstra; ties go to the lower road number). None: there is no way.
#[must_use]
pub fn route(map: &RoadMap, roads: &Roads, from: usize, to: usize) -> Option<VecDeque<usize>> {
    let n = map.nodes.len();
    let mut time = vec![f64::INFINITY; n];
    let mut by = vec![usize::MAX; n];
    let mut done = vec![false; n];
    time[from] = 0.0;
    // a linear scan per node: maps have tens to hundreds of nodes
    while let Some(u) = (0..n)
        .filter(|i| !done[*i] && time[*i].is_finite())
        .min_by(|a, b| time[*a].total_cmp(&time[*b]))
    {
        if u == to {
            break;
        }
        done[u] = true;
        for &r in roads.out(u) {
            let t = time[u] + map.length(r) / map.roads[r].speed_limit.max(0.1);
            let v = map.roads[r].to;
            if t < time[v] {
                time[v] = t;
                by[v] = r;
            }
        }
    }
    if !time[to].is_finite() {
        return None;
    }
    let mut way = VecDeque::new();
    let mut at = to;
    while at != from {
        way.push_front(by[at]);
        at = map.roads[by[at]].from;
    }
    Some(way)
}
