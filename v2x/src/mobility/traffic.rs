//! Traffic: cars with seeded destinations that follow the fastest way, each other, and the lights.
//!
//! Acceleration is the Intelligent Driver Model (Treiber, Hennecke, Helbing, Phys. Rev. E 62, 2000) with its usual city
//! parameters; a red light is a standing leader at the stop line; before a turn a car slows down.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cfn_net::Seed;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::road::{RoadMap, Roads, route};

/// Step of the model: positions at 10 Hz.
pub const STEP_SECONDS: f64 = 0.1;

/// Maximum acceleration, m/s2.
const ACCELERATION: f64 = 2.0;
/// Comfortable deceleration, m/s2.
const DECELERATION: f64 = 2.5;
/// Deceleration that a car never exceeds, m/s2.
const BRAKE: f64 = 8.0;
/// Desired time headway, s.
const HEADWAY: f64 = 1.2;
/// Length of a car plus the gap at standstill, m.
const SPACING: f64 = 7.0;
/// Cycle of a traffic light, s: half for each axis, the last seconds of each half amber.
const CYCLE: f64 = 30.0;
const AMBER: f64 = 3.0;

/// One car.
#[derive(Debug, Clone, PartialEq)]
pub struct Car {
    /// Road it is on.
    pub road: usize,
    /// Metres from the road's start.
    pub offset: f64,
    /// Metres per second.
    pub speed: f64,
    /// Roads ahead.
    pub way: VecDeque<usize>,
    /// Its driver's share of the speed limit.
    pub temper: f64,
}

/// The traffic of a map.
pub struct Traffic {
    map: Arc<RoadMap>,
    roads: Roads,
    lengths: Vec<f64>,
    headings: Vec<f64>,
    cars: Vec<Car>,
    time: f64,
    rng: ChaCha8Rng,
}

impl Traffic {
    /// `count` cars at seeded places, each on its way.
    #[must_use]
    pub fn new(map: Arc<RoadMap>, count: usize, seed: Seed) -> Self {
        let roads = Roads::new(&map);
        let lengths: Vec<f64> = (0..map.roads.len()).map(|r| map.length(r)).collect();
        let headings = (0..map.roads.len()).map(|r| map.heading(r)).collect();
        let mut t = Self {
            map,
            roads,
            lengths,
            headings,
            cars: Vec::new(),
            time: 0.0,
            rng: seed.rng("mobility.traffic"),
        };
        for _ in 0..count {
            let road = t.rng.random_range(0..t.map.roads.len());
            let offset = t.rng.random_range(0.0..t.lengths[road]);
            let temper = t.rng.random_range(0.85..1.1);
            let way = t.next_way(t.map.roads[road].to);
            t.cars.push(Car {
                road,
                offset,
                speed: 0.0,
                way,
                temper,
            });
        }
        t
    }

    /// The cars.
    #[must_use]
    pub fn cars(&self) -> &[Car] {
        &self.cars
    }

    /// East, north, heading of a car.
    #[must_use]
    pub fn position(&self, car: usize) -> (f64, f64, f64) {
        let c = &self.cars[car];
        let (x, y) = self.map.point(c.road, c.offset);
        (x, y, self.headings[c.road])
    }

    /// A way to somewhere at least half the town away.
    fn next_way(&mut self, from: usize) -> VecDeque<usize> {
        let (w, h) = self.map.extent();
        let far = w.hypot(h) / 2.0;
        for attempt in 0..64 {
            let to = self.rng.random_range(0..self.map.nodes.len());
            let (a, b) = (&self.map.nodes[from], &self.map.nodes[to]);
            // small or lopsided maps may have no such place: take any other
            if to == from || ((b.x - a.x).hypot(b.y - a.y) < far && attempt < 32) {
                continue;
            }
            if let Some(way) = route(&self.map, &self.roads, from, to)
                && !way.is_empty()
            {
                return way;
            }
        }
        self.roads.out(from).first().copied().into_iter().collect()
    }

    /// One step of [`STEP_SECONDS`].
    pub fn step(&mut self) {
        let mut order: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, c) in self.cars.iter().enumerate() {
            order.entry(c.road).or_default().push(i);
        }
        for on in order.values_mut() {
            on.sort_by(|a, b| self.cars[*b].offset.total_cmp(&self.cars[*a].offset).then(a.cmp(b)));
        }
        let mut accelerations = vec![0.0; self.cars.len()];
        for on in order.values() {
            for (rank, &i) in on.iter().enumerate() {
                let leader = (rank > 0).then(|| on[rank - 1]);
                accelerations[i] = self.acceleration(i, leader, &order);
            }
        }
        for (i, a) in accelerations.into_iter().enumerate() {
            self.advance(i, a);
        }
        self.time += STEP_SECONDS;
    }

    fn acceleration(&self, i: usize, leader: Option<usize>, order: &BTreeMap<usize, Vec<usize>>) -> f64 {
        let c = &self.cars[i];
        let v0 = self.map.roads[c.road].speed_limit * c.temper;
        let left = self.lengths[c.road] - c.offset;
        let mut a = ACCELERATION * (1.0 - (c.speed / v0).powi(4));
        // gap and speed of what is ahead
        let ahead = match leader {
            Some(l) => Some((self.cars[l].offset - c.offset - SPACING, self.cars[l].speed)),
            None => c
                .way
                .front()
                .and_then(|next| order.get(next))
                .and_then(|on| on.last())
                .map(|l| {
                    let l = &self.cars[*l];
                    (left + l.offset - SPACING, l.speed)
                }),
        };
        if let Some((gap, speed)) = ahead {
            a = a.min(follow(c.speed, v0, gap, speed));
        }
        if self.stops(c.road) && left > c.speed.powi(2) / (2.0 * DECELERATION) * 0.5 {
            a = a.min(follow(c.speed, v0, left - 2.0, 0.0));
        }
        if let Some(next) = c.way.front() {
            let turn = angle(self.headings[c.road], self.headings[*next]);
            let limit = if turn < 0.35 {
                v0
            } else if turn < 1.0 {
                9.0
            } else {
                6.0
            };
            let allowed = (limit * limit + 2.0 * DECELERATION * left.max(0.0)).sqrt();
            if c.speed > allowed {
                a = a.min(-DECELERATION);
            }
        }
        a.clamp(-BRAKE, ACCELERATION)
    }

    /// Red or amber at the end of the road.
    fn stops(&self, road: usize) -> bool {
        let Some(offset) = self.map.nodes[self.map.roads[road].to].signal else {
            return false;
        };
        let phase = (self.time + offset).rem_euclid(CYCLE);
        let h = self.headings[road];
        let east_west = h.cos().abs() >= h.sin().abs();
        let green = if east_west {
            0.0..CYCLE / 2.0 - AMBER
        } else {
            CYCLE / 2.0..CYCLE - AMBER
        };
        !green.contains(&phase)
    }

    fn advance(&mut self, i: usize, a: f64) {
        let mut c = self.cars[i].clone();
        let before = c.speed;
        c.speed = (c.speed + a * STEP_SECONDS).max(0.0);
        c.offset += f64::midpoint(before, c.speed) * STEP_SECONDS;
        while c.offset >= self.lengths[c.road] {
            let left = c.offset - self.lengths[c.road];
            let end = self.map.roads[c.road].to;
            if c.way.is_empty() {
                c.way = self.next_way(end);
            }
            let Some(next) = c.way.pop_front() else {
                // a dead end without any way out: it stays there
                c.offset = self.lengths[c.road] - 0.01;
                c.speed = 0.0;
                break;
            };
            c.road = next;
            c.offset = left;
        }
        if c.way.is_empty() && self.lengths[c.road] - c.offset < 60.0 {
            c.way = self.next_way(self.map.roads[c.road].to);
        }
        self.cars[i] = c;
    }
}

/// The model's answer to a leader `gap` metres ahead.
fn follow(speed: f64, v0: f64, gap: f64, leader: f64) -> f64 {
    let gap = gap.max(0.5);
    let closing = speed * (speed - leader) / (2.0 * (ACCELERATION * DECELERATION).sqrt());
    let desired = 2.0 + (speed * HEADWAY + closing).max(0.0);
    ACCELERATION * (1.0 - (speed / v0).powi(4) - (desired / gap).powi(2))
}

/// Angle between two headings, 0 to pi.
fn angle(a: f64, b: f64) -> f64 {
    let d = (a - b).rem_euclid(std::f64::consts::TAU);
    d.min(std::f64::consts::TAU - d)
}
