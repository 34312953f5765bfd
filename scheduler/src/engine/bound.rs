//! How good a batch of decisions is: a linear relaxation bounds what any scheduler could have placed.
//!
//! Variables are replicas of a kind of binding on a kind of cluster. Bindings of one kind ask for the same and may go to the
//! same clusters; clusters of one kind are open to the same bindings, and their room is added up. Adding up and fractions
//! only make more possible, so the true best is never above the bound. Only divisions by room count: copies everywhere and
//! fixed weights ask nobody for room.

use std::collections::BTreeMap;

use cfn_api::karmada::policy::{Placement, ReplicaSchedulingType};
use microlp::{ComparisonOp, OptimizationDirection, Problem, Variable};

use super::estimate::{self, Requests};
use super::fleet::Bits;
use super::{Config, Fleet, Request, filter, latency, schedule, spread};

/// Most variables; more kinds are merged, which only raises the bound.
const VARIABLES: usize = 2_500;

/// Why there is no bound.
#[derive(Debug, thiserror::Error)]
pub enum BoundError {
    /// The solver gave up.
    #[error("the linear program was not solved: {0}")]
    Solver(String),
}

/// What was placed and what could have been.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// Replicas asked for by bindings that ask for room.
    pub wanted: i64,
    /// Replicas placed, one binding after the other, none given away twice.
    pub placed: i64,
    /// No placement whatsoever places more.
    pub possible: i64,
    /// Sum over the replicas with a latency objective of what their clients wait, milliseconds: ours, and the least of any
    /// placement of as many.
    pub latency: Option<(f64, f64)>,
}

impl Bound {
    /// Within so many percent of any possible placement, by replicas placed.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a percentage")]
    pub fn within_percent(&self) -> f64 {
        if self.possible == 0 {
            return 0.0;
        }
        100.0 * (self.possible - self.placed) as f64 / self.possible as f64
    }

    /// Within so many percent of the least latency.
    #[must_use]
    pub fn latency_within_percent(&self) -> Option<f64> {
        let (ours, least) = self.latency?;
        (least > 0.0).then(|| (100.0 * (ours - least) / least).max(0.0))
    }
}

/// Bindings that ask for the same and may go to the same clusters.
struct Kind {
    requests: Requests,
    open: Bits,
    demand: i64,
}

/// Whether a binding asks for room: copies everywhere and fixed weights ask nobody.
#[must_use]
pub fn asks_for_room(request: &Request<'_>) -> bool {
    let strategy = request
        .spec
        .placement
        .as_ref()
        .and_then(|p| p.replica_scheduling.as_ref());
    let by_policy = request.policy.is_some_and(|p| p.latency.is_some());
    let divided = spread::kind(strategy) == ReplicaSchedulingType::Divided && !spread::by_static_weights(strategy);
    request.spec.replicas > 0 && (by_policy || divided)
}

/// Decides the batch in order, each decision on what those before left, and bounds it. Every binding has a name of its own:
/// what is promised to one name again takes the place of the promise before.
///
/// # Errors
/// When the solver gives up.
pub fn bound(fleet: &Fleet, batch: &[Request<'_>]) -> Result<Bound, BoundError> {
    let asking: Vec<&Request<'_>> = batch.iter().filter(|r| asks_for_room(r)).collect();
    let wanted = asking.iter().map(|r| i64::from(r.spec.replicas)).sum();
    let mut left = fleet.clone();
    let mut placed = 0;
    let mut costed: Vec<(&Request<'_>, i64, f64)> = Vec::new();
    for r in &asking {
        let Ok(list) = schedule(&left, r, &Config::default()).result else {
            continue;
        };
        let request = r
            .spec
            .replica_requirements
            .as_ref()
            .map(|q| q.resource_request.clone())
            .unwrap_or_default();
        let (mut n, mut cost) = (0, 0.0);
        for t in &list {
            let had = r
                .spec
                .clusters
                .iter()
                .find(|c| c.name == t.name)
                .map_or(0, |c| c.replicas);
            // What it has already is in the cluster's summary.
            left.assume(&t.name, r.key, (t.replicas - had).max(0), &request);
            n += i64::from(t.replicas);
            if let Some(l) = waits(fleet, r, &t.name) {
                cost += l * f64::from(t.replicas);
            }
        }
        placed += n;
        if r.policy.is_some_and(|p| p.latency.is_some()) {
            costed.push((r, n, cost));
        }
    }
    Ok(Bound {
        wanted,
        placed,
        possible: possible(fleet, &asking, true)?.max(placed),
        latency: least_latency(fleet, &costed)?,
    })
}

/// Bounds what is placed already: `spec.clusters` says where each binding of the batch is, and the fleet's summaries count
/// it (where they do not yet, the bound is the higher for it).
///
/// # Errors
/// When the solver gives up.
pub fn of_placed(fleet: &Fleet, batch: &[Request<'_>]) -> Result<Bound, BoundError> {
    let asking: Vec<&Request<'_>> = batch.iter().filter(|r| asks_for_room(r)).collect();
    let nothing = BTreeMap::new();
    let mut without = fleet.clone();
    let mut costed: Vec<(&Request<'_>, i64, f64)> = Vec::new();
    let mut placed = 0;
    for r in &asking {
        let requirements = r.spec.replica_requirements.as_ref();
        let request = requirements.map_or(&nothing, |q| &q.resource_request);
        let (mut n, mut cost) = (0, 0.0);
        for t in &r.spec.clusters {
            // Any other placement would have this room.
            without.assume(&t.name, r.key, t.replicas.saturating_neg(), request);
            n += i64::from(t.replicas);
            cost += waits(fleet, r, &t.name).unwrap_or(0.0) * f64::from(t.replicas);
        }
        placed += n;
        if r.policy.is_some_and(|p| p.latency.is_some()) {
            costed.push((r, n, cost));
        }
    }
    Ok(Bound {
        wanted: asking.iter().map(|r| i64::from(r.spec.replicas)).sum(),
        placed,
        possible: possible(&without, &asking, false)?.max(placed),
        latency: least_latency(fleet, &costed)?,
    })
}

fn waits(fleet: &Fleet, r: &Request<'_>, cluster: &str) -> Option<f64> {
    let policy = r.policy?;
    let requirement = policy.latency.as_ref()?;
    let member = fleet.get(cluster)?;
    latency::estimate(fleet, member, r.key, policy, requirement).map(|l| l.of(policy.objective))
}

fn open_to(fleet: &Fleet, r: &Request<'_>) -> Bits {
    let default = Placement::default();
    let placement = r.spec.placement.as_ref().unwrap_or(&default);
    let mut open = Bits::default();
    if placement.cluster_affinities.is_empty() || placement.cluster_affinity.is_some() {
        open = filter::eligible(fleet, r, placement, None);
    } else {
        // Any of the groups may be the one.
        for g in &placement.cluster_affinities {
            open.or(&filter::eligible(fleet, r, placement, Some(&g.affinity_name)));
        }
    }
    open
}

/// What the binding has already counts as room for it, if it `stays`.
fn kinds(fleet: &Fleet, asking: &[&Request<'_>], stays: bool) -> (Vec<Kind>, i64) {
    let mut kinds: Vec<Kind> = Vec::new();
    let mut held = 0;
    for r in asking {
        let requests = Requests::new(r.spec.replica_requirements.as_ref());
        let open = open_to(fleet, r);
        let has: i64 = r.spec.clusters.iter().map(|t| i64::from(t.replicas)).sum();
        let kept = if stays { has.min(i64::from(r.spec.replicas)) } else { 0 };
        held += kept;
        let demand = i64::from(r.spec.replicas) - kept;
        match kinds.iter_mut().find(|k| k.requests == requests && k.open == open) {
            Some(k) => k.demand += demand,
            None => kinds.push(Kind { requests, open, demand }),
        }
    }
    (kinds, held)
}

/// Kinds of clusters: by the kinds of bindings that they are open to.
fn classes(fleet: &Fleet, kinds: &[Kind]) -> BTreeMap<Vec<u64>, Vec<u32>> {
    let mut classes: BTreeMap<Vec<u64>, Vec<u32>> = BTreeMap::new();
    for slot in fleet.index().live.iter() {
        let mut signature = vec![0_u64; kinds.len().div_ceil(64)];
        for (i, k) in kinds.iter().enumerate() {
            signature[i / 64] |= u64::from(k.open.has(slot)) << (i % 64);
        }
        classes.entry(signature).or_default().push(slot);
    }
    classes
}

/// No placement of these bindings places more replicas than this.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "replicas and amounts as the solver wants them; rounded so that the bound stays one"
)]
fn possible(fleet: &Fleet, asking: &[&Request<'_>], stays: bool) -> Result<i64, BoundError> {
    let (mut kinds, held) = kinds(fleet, asking, stays);
    let mut clusters = classes(fleet, &kinds);
    if kinds.len() * clusters.len() > VARIABLES {
        // One kind for all that ask for the same, open to what any of them is open to.
        let mut merged: Vec<Kind> = Vec::new();
        for k in kinds {
            match merged.iter_mut().find(|m| m.requests == k.requests) {
                Some(m) => {
                    m.demand += k.demand;
                    m.open.or(&k.open);
                }
                None => merged.push(k),
            }
        }
        kinds = merged;
        clusters = classes(fleet, &kinds);
        if kinds.len() * clusters.len() > VARIABLES {
            let all = clusters.into_values().flatten().collect();
            clusters = BTreeMap::from([(vec![u64::MAX; kinds.len().div_ceil(64)], all)]);
        }
    }
    let mut problem = Problem::new(OptimizationDirection::Maximize);
    let mut by_kind: Vec<Vec<(Variable, f64)>> = vec![Vec::new(); kinds.len()];
    for (signature, slots) in &clusters {
        let mut uses: BTreeMap<&str, Vec<(Variable, f64)>> = BTreeMap::new();
        for (i, k) in kinds.iter().enumerate() {
            if signature[i / 64] >> (i % 64) & 1 == 0 || k.demand == 0 {
                continue;
            }
            let x = problem.add_var(1.0, (0.0, k.demand as f64));
            by_kind[i].push((x, 1.0));
            for (resource, amount) in k.requests.columns() {
                uses.entry(resource).or_default().push((x, amount as f64));
            }
        }
        for (resource, terms) in uses {
            let Some(column) = fleet.index().column(resource) else {
                continue;
            };
            let room: f64 = slots
                .iter()
                .filter_map(|s| Some((column.get(*s as usize)?, fleet.at(*s)?)))
                .map(|(n, member)| (*n).min(estimate::allocatable(member, resource)).max(0) as f64)
                .sum();
            problem.add_constraint(terms, ComparisonOp::Le, room);
        }
    }
    for (terms, k) in by_kind.into_iter().zip(&kinds) {
        if !terms.is_empty() {
            problem.add_constraint(terms, ComparisonOp::Le, k.demand as f64);
        }
    }
    let best = solve(&problem)?;
    Ok((best + 1e-6).floor() as i64 + held)
}

/// The least that the clients of as many replicas could wait in all; `None` where nobody says or it is too much to tell.
#[allow(
    clippy::cast_precision_loss,
    reason = "replicas and amounts as the solver wants them"
)]
fn least_latency(fleet: &Fleet, costed: &[(&Request<'_>, i64, f64)]) -> Result<Option<(f64, f64)>, BoundError> {
    let placed: Vec<&(&Request<'_>, i64, f64)> = costed.iter().filter(|(_, n, _)| *n > 0).collect();
    if placed.is_empty() || placed.len() * fleet.len() > VARIABLES {
        return Ok(None);
    }
    let mut problem = Problem::new(OptimizationDirection::Minimize);
    let mut uses: BTreeMap<(u32, String), Vec<(Variable, f64)>> = BTreeMap::new();
    for (r, n, _) in &placed {
        let requests = Requests::new(r.spec.replica_requirements.as_ref());
        let mut mine = Vec::new();
        for slot in open_to(fleet, r).iter() {
            let Some(member) = fleet.at(slot) else { continue };
            let Some(cost) = waits(fleet, r, member.name()) else {
                continue;
            };
            let x = problem.add_var(cost, (0.0, *n as f64));
            mine.push((x, 1.0));
            for (resource, amount) in requests.columns() {
                uses.entry((slot, resource.to_owned()))
                    .or_default()
                    .push((x, amount as f64));
            }
        }
        problem.add_constraint(mine, ComparisonOp::Eq, *n as f64);
    }
    for ((slot, resource), terms) in uses {
        let Some(member) = fleet.at(slot) else { continue };
        // All that is allocatable: some of it may be theirs already.
        let all = estimate::allocatable(member, &resource);
        problem.add_constraint(terms, ComparisonOp::Le, all as f64);
    }
    let ours = placed.iter().map(|(_, _, cost)| cost).sum();
    Ok(Some((ours, solve(&problem)?)))
}

fn solve(problem: &Problem) -> Result<f64, BoundError> {
    let outcome = problem.solve().map_err(|e| BoundError::Solver(e.to_string()))?;
    let solution = outcome
        .into_solution()
        .map_err(|_| BoundError::Solver("no solution within the limits".to_owned()))?;
    Ok(solution.objective())
}
