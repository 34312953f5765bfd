//! Dividing replicas: Webster's method (Sainte-Lague) with Karmada's tie-break, static and dynamic weights,
//! aggregation, steady and fresh (`pkg/util/helper/webstermethod.go`, `pkg/scheduler/core/division_algorithm.go`).

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use cfn_api::karmada::policy::ClusterPreferences;
use cfn_api::karmada::work::TargetCluster;

use super::ScheduleError;
use super::affinity::narrow;
use super::fleet::Fleet;
use super::spread::Candidate;

/// FNV-1a, 32 bits.
#[must_use]
pub fn fnv1a(text: &str) -> u32 {
    text.bytes()
        .fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// Which way names break a tie for a binding whose template has this uid.
#[must_use]
pub fn descending(uid: Option<&str>) -> bool {
    uid.is_some_and(|u| !u.is_empty() && fnv1a(u) & 1 == 1)
}

/// Someone to whom seats are handed out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Party {
    /// Votes.
    pub votes: i64,
    /// Seats so far.
    pub seats: i64,
    /// Place of the name among all names, reversed where names break ties downwards.
    pub place: u64,
    /// Who it is.
    pub id: u32,
}

impl Party {
    /// Compares `votes / (2 * seats + 1)` without rounding.
    fn claim(&self, other: &Self) -> Ordering {
        let left = i128::from(self.votes) * (2 * i128::from(other.seats) + 1);
        let right = i128::from(other.votes) * (2 * i128::from(self.seats) + 1);
        left.cmp(&right)
    }
}

impl Ord for Party {
    fn cmp(&self, other: &Self) -> Ordering {
        self.claim(other)
            .then(other.seats.cmp(&self.seats))
            .then(other.place.cmp(&self.place))
    }
}
impl PartialOrd for Party {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Party {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Party {}

/// Hands out `seats` one by one to the highest `votes / (2 * seats + 1)`; ties go to fewer seats, then by place.
pub(super) fn hand_out(mut seats: i64, mut parties: Vec<Party>) -> Vec<Party> {
    let count = i64::try_from(parties.len()).unwrap_or(i64::MAX);
    if seats > count.saturating_mul(2) {
        seats -= head_start(seats, &mut parties);
    }
    let mut heap = BinaryHeap::from(parties);
    for _ in 0..seats {
        let Some(mut first) = heap.peek_mut() else { break };
        first.seats += 1;
    }
    heap.into_vec()
}

/// Gives out at once the seats whose claim is above a bound so high that they are surely among the first `seats`: the
/// order in which they would have come does not matter. Returns how many.
fn head_start(seats: i64, parties: &mut [Party]) -> i64 {
    let votes: i128 = parties.iter().map(|p| i128::from(p.votes)).sum();
    if votes <= 0 {
        return 0;
    }
    // The bound is votes / divisor; a party has so many claims `v / (2 k + 1)` above it.
    let claims = |p: &Party, divisor: i128| {
        let k = (i128::from(p.votes) * divisor - 1).div_euclid(votes);
        ((k + 1) / 2).max(i128::from(p.seats))
    };
    let before: i128 = parties.iter().map(|p| i128::from(p.seats)).sum();
    let mut divisor = 2 * (i128::from(seats) + before);
    let mut tries = 32;
    loop {
        let sum: i128 = parties.iter().map(|p| claims(p, divisor)).sum();
        let over = sum - before - i128::from(seats);
        if over <= 0 {
            break;
        }
        divisor -= (2 * over).max(1);
        tries -= 1;
        if divisor <= 0 || tries == 0 {
            return 0;
        }
    }
    let mut given = 0;
    for p in parties {
        let n = i64::try_from(claims(p, divisor)).unwrap_or(p.seats);
        given += n - p.seats;
        p.seats = n;
    }
    given
}

/// Hands out `seats` by votes; `initial` seats count from the start and are part of the result. Names break ties upwards
/// unless `descending`.
#[must_use]
pub fn webster(
    seats: i64,
    votes: &BTreeMap<String, i64>,
    initial: &BTreeMap<String, i64>,
    descending: bool,
) -> BTreeMap<String, i64> {
    let names: BTreeSet<&String> = votes.keys().chain(initial.keys()).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let parties = names.iter().zip(0_u32..).map(|(name, id)| Party {
        votes: votes.get(*name).copied().unwrap_or(0),
        seats: initial.get(*name).copied().unwrap_or(0),
        place: place(u64::from(id), descending),
        id,
    });
    let parties = hand_out(seats, parties.collect());
    parties
        .into_iter()
        .map(|p| (names[p.id as usize].clone(), p.seats))
        .collect()
}

fn place(order: u64, descending: bool) -> u64 {
    if descending { u64::MAX - order } else { order }
}

/// Splits `replicas` by weights (clusters by position, weight) and adds the result to what is `scheduled`.
fn spread_over(
    replicas: i64,
    weights: &[(usize, i64)],
    (fleet, candidates): (&Fleet, &[Candidate<'_>]),
    scheduled: &[(usize, i64)],
    descending: bool,
) -> Vec<TargetCluster> {
    let order = |i: usize| fleet.index().order[candidates[i].slot as usize];
    let party = |(i, votes): &(usize, i64)| Party {
        votes: *votes,
        seats: 0,
        place: place(order(*i), descending),
        id: u32::try_from(*i).unwrap_or(u32::MAX),
    };
    let mut shares: Vec<(usize, i64)> = hand_out(replicas, weights.iter().map(party).collect())
        .into_iter()
        .filter(|p| p.seats > 0)
        .map(|p| (p.id as usize, p.seats))
        .collect();
    shares.extend(scheduled.iter().filter(|(_, n)| *n > 0));
    shares.sort_unstable_by_key(|(i, _)| order(*i));
    let mut out: Vec<(usize, i64)> = Vec::with_capacity(shares.len());
    for (i, n) in shares {
        match out.last_mut() {
            Some(last) if last.0 == i => last.1 += n,
            _ => out.push((i, n)),
        }
    }
    out.into_iter()
        .map(|(i, n)| TargetCluster {
            name: candidates[i].name().to_owned(),
            replicas: i32::try_from(n).unwrap_or(i32::MAX),
            ..Default::default()
        })
        .collect()
}

/// By fixed weights: the highest matching rule counts; who has none gets none; nobody has one: all equal. Capacity and
/// the last result do not matter.
pub(super) fn by_static_weights(
    fleet: &Fleet,
    candidates: &[Candidate<'_>],
    preferences: Option<&ClusterPreferences>,
    replicas: i32,
    descending: bool,
) -> Vec<TargetCluster> {
    let rules = preferences.map(|p| p.static_weight_list.as_slice()).unwrap_or_default();
    let mut by_slot = vec![0_i64; fleet.slots()];
    for r in rules.iter().filter(|r| r.weight > 0) {
        let mut bits = fleet.index().live.clone();
        narrow(fleet, &r.target_cluster, &mut bits);
        for slot in bits.iter() {
            let w = &mut by_slot[slot as usize];
            *w = (*w).max(r.weight);
        }
    }
    let mut weights: Vec<(usize, i64)> = candidates
        .iter()
        .enumerate()
        .map(|(i, c)| (i, by_slot[c.slot as usize]))
        .filter(|(_, w)| *w > 0)
        .collect();
    if weights.is_empty() {
        weights = (0..candidates.len()).map(|i| (i, 1)).collect();
    }
    spread_over(i64::from(replicas), &weights, (fleet, candidates), &[], descending)
}

/// What a division by room starts from.
#[derive(Clone, Copy)]
pub(super) struct Dynamic<'a> {
    pub fleet: &'a Fleet,
    pub candidates: &'a [Candidate<'a>],
    pub previous: &'a [TargetCluster],
    pub replicas: i32,
    pub aggregated: bool,
    /// Divide anew instead of keeping the last result.
    pub fresh: bool,
    pub descending: bool,
}

impl Dynamic<'_> {
    /// Fills the affinity group, then tier by tier what takes the rest. What was put into a later tier comes back when the
    /// ones before have room again.
    pub(super) fn by_tier(&self) -> Result<Vec<TargetCluster>, ScheduleError> {
        if self.candidates.iter().all(|c| c.tier == 0) {
            return self.divide();
        }
        let tiers: BTreeSet<u8> = self.candidates.iter().map(|c| c.tier).collect();
        let mut left = i64::from(self.replicas);
        let mut all = Vec::new();
        for tier in tiers {
            let members: Vec<Candidate<'_>> = self.candidates.iter().filter(|c| c.tier == tier).cloned().collect();
            let room = members
                .iter()
                .fold(0_i64, |sum, c| sum.saturating_add(c.available.max(0)));
            let take = room.min(left);
            if take > 0 {
                let part = Dynamic {
                    candidates: &members,
                    replicas: i32::try_from(take).unwrap_or(i32::MAX),
                    ..*self
                };
                all.extend(part.divide()?);
                left -= take;
            }
        }
        if left > 0 {
            return Err(ScheduleError::Unschedulable(
                "failed to assign replicas: Clusters available replicas are not enough to schedule".to_owned(),
            ));
        }
        Ok(all)
    }

    /// By room: keeps the last result and splits only the difference, unless `fresh`.
    pub(super) fn divide(&self) -> Result<Vec<TargetCluster>, ScheduleError> {
        let scheduled = self.scheduled();
        let assigned: i64 = scheduled.iter().map(|(_, n)| n).sum();
        let wanted = i64::from(self.replicas);
        let room = || self.candidates.iter().enumerate().map(|(i, c)| (i, c.allocatable));
        if self.fresh {
            let mut available: Vec<(usize, i64)> = room().collect();
            for (i, n) in &scheduled {
                available[*i].1 = available[*i].1.saturating_add(*n);
            }
            return self.share(available, &[], wanted, "do fresh scale", true);
        }
        match assigned.cmp(&wanted) {
            // All is where it was.
            Ordering::Equal => Ok(scheduled
                .iter()
                .filter(|(_, n)| *n > 0)
                .map(|(i, n)| TargetCluster {
                    name: self.candidates[*i].name().to_owned(),
                    replicas: i32::try_from(*n).unwrap_or(i32::MAX),
                    ..Default::default()
                })
                .collect()),
            // Scaling down is a first decision whose room is the last result.
            Ordering::Greater => self.share(scheduled, &[], wanted, "scale down", false),
            Ordering::Less => self.share(room().collect(), &scheduled, wanted - assigned, "scale up", true),
        }
    }

    /// The last result, as far as its clusters are still candidates: position and replicas.
    fn scheduled(&self) -> Vec<(usize, i64)> {
        if self.previous.is_empty() {
            return Vec::new();
        }
        let mut position = vec![usize::MAX; self.fleet.slots()];
        for (i, c) in self.candidates.iter().enumerate() {
            position[c.slot as usize] = i;
        }
        self.previous
            .iter()
            .filter_map(|t| {
                let i = position[self.fleet.slot(&t.name)? as usize];
                (i != usize::MAX).then_some((i, i64::from(t.replicas)))
            })
            .collect()
    }

    fn share(
        &self,
        mut available: Vec<(usize, i64)>,
        keep: &[(usize, i64)],
        target: i64,
        what: &str,
        by_rank: bool,
    ) -> Result<Vec<TargetCluster>, ScheduleError> {
        let total = available.iter().fold(0_i64, |sum, (_, n)| sum.saturating_add(*n));
        if total < target {
            return Err(ScheduleError::Unschedulable(format!(
                "failed to assign replicas: failed to {what}: Clusters available replicas {total} are not enough to schedule."
            )));
        }
        if self.aggregated {
            available = self.fewest(available, keep, target, by_rank);
        }
        let among = (self.fleet, self.candidates);
        Ok(spread_over(target, &available, among, keep, self.descending))
    }

    /// As few clusters as have room for `target`: those in use first, so that replicas stay together, then the
    /// roomiest, then by rank or the order given.
    fn fewest(
        &self,
        available: Vec<(usize, i64)>,
        keep: &[(usize, i64)],
        target: i64,
        by_rank: bool,
    ) -> Vec<(usize, i64)> {
        let mut in_use = vec![false; if keep.is_empty() { 0 } else { self.candidates.len() }];
        for (i, _) in keep.iter().filter(|(_, n)| *n > 0) {
            in_use[*i] = true;
        }
        let mut keyed: Vec<(bool, Reverse<i64>, u128, usize)> = available
            .into_iter()
            .enumerate()
            .map(|(at, (i, n))| {
                let tie = if by_rank { self.candidates[i].rank } else { at as u128 };
                (!in_use.get(i).copied().unwrap_or(false), Reverse(n), tie, i)
            })
            .collect();
        let mut sorted = 0;
        let (mut taken, mut sum) = (0, 0_i64);
        while taken < keyed.len() {
            if taken == sorted {
                // So many more of the best, in order.
                let more = (sorted.max(16) * 2).min(keyed.len() - sorted);
                let rest = &mut keyed[sorted..];
                if more < rest.len() {
                    rest.select_nth_unstable(more - 1);
                }
                rest[..more].sort_unstable();
                sorted += more;
            }
            sum = sum.saturating_add(keyed[taken].1.0);
            taken += 1;
            if sum >= target {
                break;
            }
        }
        keyed.truncate(taken);
        keyed.into_iter().map(|(_, n, _, i)| (i, n.0)).collect()
    }
}
