//! Dividing replicas: Webster's method (Sainte-Lague) with Karmada's tie-break, static and dynamic weights,
//! aggregation, steady and fresh (`pkg/util/helper/webstermethod.go`, `pkg/scheduler/core/division_algorithm.go`).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use cfn_api::karmada::policy::ClusterPreferences;
use cfn_api::karmada::work::TargetCluster;

use super::ScheduleError;
use super::affinity::cluster_matches;
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

#[derive(Debug)]
struct Party<'a> {
    name: &'a str,
    votes: i64,
    seats: i64,
    descending: bool,
}

impl Party<'_> {
    /// Compares `votes / (2 * seats + 1)` without rounding.
    fn claim(&self, other: &Self) -> Ordering {
        let left = i128::from(self.votes) * i128::from(2 * other.seats + 1);
        let right = i128::from(other.votes) * i128::from(2 * self.seats + 1);
        left.cmp(&right)
    }
}

impl Ord for Party<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_name = if self.descending {
            self.name.cmp(other.name)
        } else {
            other.name.cmp(self.name)
        };
        self.claim(other).then(other.seats.cmp(&self.seats)).then(by_name)
    }
}
impl PartialOrd for Party<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Party<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Party<'_> {}

/// Hands out `seats` one by one to the highest `votes / (2 * seats + 1)`; ties go to fewer seats, then by name.
/// `initial` seats count from the start and are part of the result.
#[must_use]
pub fn webster(
    seats: i64,
    votes: &BTreeMap<String, i64>,
    initial: &BTreeMap<String, i64>,
    descending: bool,
) -> BTreeMap<String, i64> {
    let names = votes.keys().chain(initial.keys().filter(|n| !votes.contains_key(*n)));
    let mut heap: BinaryHeap<Party<'_>> = names
        .map(|name| Party {
            name,
            votes: votes.get(name).copied().unwrap_or(0),
            seats: initial.get(name).copied().unwrap_or(0),
            descending,
        })
        .collect();
    for _ in 0..seats {
        let Some(mut first) = heap.peek_mut() else { break };
        first.seats += 1;
    }
    heap.into_iter().map(|p| (p.name.to_owned(), p.seats)).collect()
}

/// Splits `replicas` by `weights` and adds the result to what is `scheduled`.
fn spread_over(
    replicas: i64,
    weights: &[(String, i64)],
    scheduled: &[TargetCluster],
    descending: bool,
) -> Vec<TargetCluster> {
    let votes: BTreeMap<String, i64> = weights.iter().cloned().collect();
    let mut shares = webster(replicas, &votes, &BTreeMap::new(), descending);
    for t in scheduled {
        *shares.entry(t.name.clone()).or_default() += i64::from(t.replicas);
    }
    to_targets(shares)
}

fn to_targets(shares: BTreeMap<String, i64>) -> Vec<TargetCluster> {
    shares
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .map(|(name, n)| TargetCluster {
            name,
            replicas: i32::try_from(n).unwrap_or(i32::MAX),
        })
        .collect()
}

/// By fixed weights: the highest matching rule counts; who has none gets none; nobody has one: all equal. Capacity and
/// the last result do not matter.
pub(super) fn by_static_weights(
    candidates: &[Candidate<'_>],
    preferences: Option<&ClusterPreferences>,
    replicas: i32,
    descending: bool,
) -> Vec<TargetCluster> {
    let rules = preferences.map(|p| p.static_weight_list.as_slice()).unwrap_or_default();
    let weight = |c: &Candidate<'_>| {
        let matching = rules
            .iter()
            .filter(|r| cluster_matches(&c.member.cluster, &r.target_cluster))
            .map(|r| r.weight);
        matching.max().unwrap_or(0)
    };
    let mut weights: Vec<(String, i64)> = candidates
        .iter()
        .map(|c| (c.name().to_owned(), weight(c)))
        .filter(|(_, w)| *w > 0)
        .collect();
    if weights.is_empty() {
        weights = candidates.iter().map(|c| (c.name().to_owned(), 1)).collect();
    }
    spread_over(i64::from(replicas), &weights, &[], descending)
}

/// What a division by room starts from.
pub(super) struct Dynamic<'a> {
    pub candidates: &'a [Candidate<'a>],
    pub previous: &'a [TargetCluster],
    pub replicas: i32,
    pub aggregated: bool,
    /// Divide anew instead of keeping the last result.
    pub fresh: bool,
    pub descending: bool,
}

impl Dynamic<'_> {
    /// By room: keeps the last result and splits only the difference, unless `fresh`.
    pub(super) fn divide(&self) -> Result<Vec<TargetCluster>, ScheduleError> {
        let is_candidate = |n: &str| self.candidates.iter().any(|c| c.name() == n);
        let scheduled: Vec<TargetCluster> = self
            .previous
            .iter()
            .filter(|t| is_candidate(&t.name))
            .cloned()
            .collect();
        let assigned: i64 = scheduled.iter().map(|t| i64::from(t.replicas)).sum();
        let wanted = i64::from(self.replicas);
        let room = |c: &Candidate<'_>| (c.name().to_owned(), c.allocatable);
        if self.fresh {
            let mut available: Vec<(String, i64)> = self.candidates.iter().map(room).collect();
            for (name, n) in &mut available {
                *n += scheduled
                    .iter()
                    .find(|t| t.name == *name)
                    .map_or(0, |t| i64::from(t.replicas));
            }
            return self.share(available, &[], wanted, "do fresh scale");
        }
        match assigned.cmp(&wanted) {
            Ordering::Equal => Ok(scheduled.into_iter().filter(|t| t.replicas > 0).collect()),
            // Scaling down is a first decision whose room is the last result.
            Ordering::Greater => {
                let last = scheduled
                    .iter()
                    .map(|t| (t.name.clone(), i64::from(t.replicas)))
                    .collect();
                self.share(last, &[], wanted, "scale down")
            }
            Ordering::Less => {
                let available = self.candidates.iter().map(room).collect();
                self.share(available, &scheduled, wanted - assigned, "scale up")
            }
        }
    }

    fn share(
        &self,
        mut available: Vec<(String, i64)>,
        keep: &[TargetCluster],
        target: i64,
        what: &str,
    ) -> Result<Vec<TargetCluster>, ScheduleError> {
        let total: i64 = available.iter().map(|(_, n)| n).sum();
        if total < target {
            return Err(ScheduleError::Unschedulable(format!(
                "failed to assign replicas: failed to {what}: Clusters available replicas {total} are not enough to schedule."
            )));
        }
        available.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        if self.aggregated {
            let in_use = |n: &str| keep.iter().any(|t| t.replicas > 0 && t.name == n);
            // Clusters in use first, so that replicas stay together.
            available.sort_by_key(|(n, _)| !in_use(n));
            let mut sum = 0;
            let enough = available.iter().position(|(_, n)| {
                sum += n;
                sum >= target
            });
            available.truncate(enough.map_or(available.len(), |i| i + 1));
        }
        Ok(spread_over(target, &available, keep, self.descending))
    }
}
