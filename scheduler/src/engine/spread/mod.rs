//! Choosing clusters under spread constraints (Karmada's `pkg/scheduler/core/spreadconstraint`). Karmada honours
//! `cluster` and `region` and ignores the rest; here zone, provider and labels are honoured the same way as regions.

mod groups;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use cfn_api::karmada::policy::{
    Placement, ReplicaDivisionPreference, ReplicaSchedulingStrategy, ReplicaSchedulingType, SpreadConstraint,
};

use super::ScheduleError;
use super::affinity::zones;
use super::fleet::{Bits, Index, Member, Posting};
pub(super) use groups::{Group, best_groups};

/// A cluster that passed the filters.
#[derive(Debug, Clone)]
pub(super) struct Candidate<'a> {
    pub member: &'a Arc<Member>,
    /// The lower the better; no two are equal.
    pub rank: u128,
    pub slot: u32,
    pub score: i32,
    /// 0 in the affinity group itself, then the tiers that take what does not fit.
    pub tier: u8,
    /// Replicas it has room for.
    pub allocatable: i64,
    /// The same plus what the binding already has there.
    pub available: i64,
}

/// Most room that makes a difference in the ranking.
const ROOM: i64 = (1 << 55) - 1;

impl<'a> Candidate<'a> {
    /// Ranked by tier, score, then room, then `order` of names.
    pub(super) fn ranked(mut self, order: u64) -> Self {
        let room = u64::try_from(ROOM - self.available.clamp(0, ROOM)).unwrap_or(0);
        let high = u64::from(self.tier) << 56 | u64::from(self.score <= 0) << 55 | room;
        self.rank = u128::from(high) << 64 | u128::from(order);
        self
    }

    pub(super) fn name(&self) -> &str {
        self.member.name()
    }
}

/// Best first.
pub(super) fn sort(candidates: &mut [Candidate<'_>]) {
    candidates.sort_unstable_by_key(|c| c.rank);
}

/// The best `count` first, in order; the rest in any.
pub(super) fn sort_first(candidates: &mut [Candidate<'_>], count: usize) {
    if count < candidates.len() / 4 {
        if count > 0 {
            candidates.select_nth_unstable_by_key(count - 1, |c| c.rank);
        }
        candidates[..count].sort_unstable_by_key(|c| c.rank);
    } else {
        sort(candidates);
    }
}

pub(super) fn kind(strategy: Option<&ReplicaSchedulingStrategy>) -> ReplicaSchedulingType {
    strategy
        .and_then(|s| s.replica_scheduling_type)
        .unwrap_or(ReplicaSchedulingType::Duplicated)
}

/// Fixed weights ignore spread constraints and capacity.
pub(super) fn by_static_weights(strategy: Option<&ReplicaSchedulingStrategy>) -> bool {
    let Some(s) = strategy else { return false };
    kind(strategy) == ReplicaSchedulingType::Divided
        && s.replica_division_preference == Some(ReplicaDivisionPreference::Weighted)
        && s.weight_preference.as_ref().is_none_or(|w| {
            !w.static_weight_list.is_empty() && w.dynamic_weight.as_deref().unwrap_or_default().is_empty()
        })
}

/// The clusters to use. Without constraints all of them, in the order given; else best first.
pub(super) fn select<'a>(
    placement: &Placement,
    candidates: Vec<Candidate<'a>>,
    replicas: i32,
    index: &Index,
) -> Result<Vec<Candidate<'a>>, ScheduleError> {
    let strategy = placement.replica_scheduling.as_ref();
    let constraints = &placement.spread_constraints;
    if constraints.is_empty() || by_static_weights(strategy) {
        return Ok(candidates);
    }
    let mut chosen = constrained(placement, candidates, replicas, index)?;
    // From here on the order in which they were chosen is what counts.
    for (c, i) in chosen.iter_mut().zip(0..) {
        c.rank = i;
    }
    Ok(chosen)
}

fn constrained<'a>(
    placement: &Placement,
    mut candidates: Vec<Candidate<'a>>,
    replicas: i32,
    index: &Index,
) -> Result<Vec<Candidate<'a>>, ScheduleError> {
    let strategy = placement.replica_scheduling.as_ref();
    let constraints = &placement.spread_constraints;
    let cluster = constraints
        .iter()
        .rfind(|c| c.spread_by_field.as_deref() == Some("cluster"));
    let mut groupings: Vec<(Grouping<'_>, &SpreadConstraint)> =
        constraints.iter().filter_map(|c| Some((Grouping::of(c)?, c))).collect();
    // The widest grouping decides (as region does in Karmada); the others are then checked.
    groupings.sort_by_key(|(g, _)| g.rank());
    let duplicated = kind(strategy) == ReplicaSchedulingType::Duplicated;
    let Some((grouping, constraint)) = groupings.first() else {
        let Some(cluster) = cluster else {
            return Err(ScheduleError::other(
                "just support cluster, region, zone, provider and label spread constraints",
            ));
        };
        return by_cluster(
            cluster,
            candidates,
            if duplicated { None } else { Some(i64::from(replicas)) },
        );
    };
    sort(&mut candidates);
    let chosen = by_group(grouping, constraint, cluster, &candidates, replicas, duplicated, index)?;
    for (other, c) in &groupings[1..] {
        let n = other.distinct(&chosen, index);
        if n < c.min_groups || (c.max_groups > 0 && n > c.max_groups) {
            return Err(ScheduleError::other(&format!(
                "the clusters chosen by {} are in {n} {} groups, wanted {} to {}",
                grouping.word(),
                other.word(),
                c.min_groups,
                c.max_groups
            )));
        }
    }
    Ok(chosen)
}

fn limit(max: i64) -> usize {
    if max <= 0 {
        usize::MAX
    } else {
        usize::try_from(max).unwrap_or(usize::MAX)
    }
}

fn at_least(n: usize, min: i64) -> bool {
    i64::try_from(n).unwrap_or(i64::MAX) >= min
}

fn by_cluster<'a>(
    constraint: &SpreadConstraint,
    mut all: Vec<Candidate<'a>>,
    need_replicas: Option<i64>,
) -> Result<Vec<Candidate<'a>>, ScheduleError> {
    if !at_least(all.len(), constraint.min_groups) {
        return Err(ScheduleError::other(
            "the number of feasible clusters is less than spreadConstraint.MinGroups",
        ));
    }
    let count = limit(constraint.max_groups).min(all.len());
    sort_first(&mut all, count);
    let rest = all.split_off(count);
    let Some(need) = need_replicas else { return Ok(all) };
    let mut sum = all.iter().fold(0_i64, |s, c| s.saturating_add(c.available));
    if sum < need {
        // From the lowest score up, a chosen cluster is exchanged for the roomiest that was left out, of equally roomy
        // ones for the best; it then stands in that one's place.
        let mut outside: BinaryHeap<(i64, Reverse<u128>, usize)> = rest
            .iter()
            .enumerate()
            .map(|(i, c)| (c.available, Reverse(c.rank), i))
            .collect();
        let mut pool = rest;
        for i in (0..all.len()).rev() {
            if sum >= need {
                break;
            }
            let Some((room, place, j)) = outside.peek().copied() else {
                break;
            };
            if room > all[i].available {
                outside.pop();
                sum = sum.saturating_add(room - all[i].available);
                std::mem::swap(&mut all[i], &mut pool[j]);
                outside.push((pool[j].available, place, j));
            }
        }
    }
    if sum >= need {
        Ok(all)
    } else {
        Err(ScheduleError::other(&format!(
            "no enough resource when selecting {count} clusters"
        )))
    }
}

/// What clusters are grouped by.
#[derive(Debug, Clone, Copy)]
enum Grouping<'a> {
    Provider,
    Region,
    Zone,
    Label(&'a str),
}

impl<'a> Grouping<'a> {
    fn of(c: &'a SpreadConstraint) -> Option<Self> {
        if let Some(label) = c.spread_by_label.as_deref().filter(|l| !l.is_empty()) {
            return Some(Self::Label(label));
        }
        match c.spread_by_field.as_deref() {
            Some("provider") => Some(Self::Provider),
            Some("region") => Some(Self::Region),
            Some("zone") => Some(Self::Zone),
            _ => None,
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Region => 0,
            Self::Provider => 1,
            Self::Zone => 2,
            Self::Label(_) => 3,
        }
    }

    fn word(self) -> String {
        match self {
            Self::Provider => "provider".into(),
            Self::Region => "region".into(),
            Self::Zone => "zone".into(),
            Self::Label(l) => format!("label {l}"),
        }
    }

    /// What a member lacks, in the filter's word.
    fn property(self) -> String {
        if matches!(self, Self::Zone) {
            "zones".into()
        } else {
            self.word()
        }
    }

    /// Whether a member has a value of this.
    fn has(self, member: &Member) -> bool {
        let given = |s: Option<&String>| s.is_some_and(|s| !s.is_empty());
        let c = &member.cluster;
        match self {
            Self::Provider => given(c.spec.provider.as_ref()),
            Self::Region => given(c.spec.region.as_ref()),
            Self::Zone => zones(c).next().is_some(),
            Self::Label(l) => given(c.metadata.labels.as_ref().and_then(|m| m.get(l))),
        }
    }

    /// The members of each group.
    fn postings(self, index: &Index) -> impl Iterator<Item = (&String, &Posting)> {
        let map: Option<&BTreeMap<String, Posting>> = match self {
            Self::Provider => Some(&index.providers),
            Self::Region => Some(&index.regions),
            Self::Zone => Some(&index.zones),
            Self::Label(l) => index.values(l),
        };
        map.into_iter().flatten().filter(|(value, _)| !value.is_empty())
    }

    /// In how many groups the clusters are.
    fn distinct(self, clusters: &[Candidate<'_>], index: &Index) -> i64 {
        let mut slots = Bits::default();
        for c in clusters {
            slots.set(c.slot);
        }
        let some = |p: &Posting| {
            let mut any = false;
            p.each(|s| any |= slots.has(s));
            any
        };
        let n = self.postings(index).filter(|(_, p)| some(p)).count();
        i64::try_from(n).unwrap_or(i64::MAX)
    }
}

/// Whether a member has what the constraint groups by; else what it lacks.
pub(super) fn lacks(constraint: &SpreadConstraint, member: &Member) -> Option<String> {
    let grouping = Grouping::of(constraint)?;
    (!grouping.has(member)).then(|| grouping.property())
}

/// Leaves in `bits` the members that do not [`lacks`].
pub(super) fn narrow(constraint: &SpreadConstraint, index: &Index, bits: &mut Bits) {
    let Some(grouping) = Grouping::of(constraint) else {
        return;
    };
    let mut some = Bits::default();
    for (_, p) in grouping.postings(index) {
        p.add_to(&mut some);
    }
    bits.and(&some);
}

fn by_group<'a>(
    grouping: &Grouping<'_>,
    constraint: &SpreadConstraint,
    cluster: Option<&SpreadConstraint>,
    all: &[Candidate<'a>],
    replicas: i32,
    duplicated: bool,
    index: &Index,
) -> Result<Vec<Candidate<'a>>, ScheduleError> {
    const ABSENT: u32 = u32::MAX;
    let slots = all.iter().map(|c| c.slot as usize + 1).max().unwrap_or(0);
    let mut position = vec![ABSENT; slots];
    for (i, c) in (0_u32..).zip(all) {
        position[c.slot as usize] = i;
    }
    let want = cluster.map_or(0, |c| c.min_groups);
    let mut groups: Vec<Group> = Vec::new();
    for (name, posting) in grouping.postings(index) {
        let mut members: Vec<u32> = Vec::new();
        posting.each(|s| match position.get(s as usize) {
            Some(p) if *p != ABSENT => members.push(*p),
            _ => {}
        });
        if members.is_empty() {
            continue;
        }
        members.sort_unstable();
        let weight = group_score(
            &members,
            all,
            i64::from(replicas),
            duplicated,
            constraint.min_groups,
            want,
        );
        groups.push(Group {
            name: name.clone(),
            weight,
            members,
        });
    }
    if !at_least(groups.len(), constraint.min_groups) {
        return Err(ScheduleError::other(&format!(
            "the number of feasible {} is less than spreadConstraint.MinGroups",
            grouping.word()
        )));
    }
    pick(groups, constraint, cluster, all)
}

/// The clusters of the best groups.
pub(super) fn pick<'a>(
    groups: Vec<Group>,
    constraint: &SpreadConstraint,
    cluster: Option<&SpreadConstraint>,
    all: &[Candidate<'a>],
) -> Result<Vec<Candidate<'a>>, ScheduleError> {
    let want = cluster.map_or(0, |c| c.min_groups);
    let chosen = best_groups(groups, constraint.min_groups, constraint.max_groups, want).ok_or_else(|| {
        ScheduleError::other("the number of clusters is less than the cluster spreadConstraint.MinGroups")
    })?;
    // The best cluster of each group, then the best of the rest.
    let mut taken = vec![false; all.len()];
    let (mut picked, mut others): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
    for g in &chosen {
        let mut first = true;
        for m in &g.members {
            if taken[*m as usize] {
                continue;
            }
            if first {
                taken[*m as usize] = true;
                picked.push(*m);
                first = false;
            } else {
                others.push(*m);
            }
        }
    }
    others.retain(|i| !taken[*i as usize]);
    let most = cluster.map_or(usize::MAX, |c| limit(c.max_groups));
    let room = most.min(picked.len() + others.len()).saturating_sub(picked.len());
    if room < others.len() / 4 && room > 0 {
        // A cluster in two zones is listed twice; take enough for all to be different.
        let most_zones = chosen.len();
        let enough = room.saturating_mul(most_zones).min(others.len());
        others.select_nth_unstable(enough - 1);
        others.truncate(enough);
    }
    others.sort_unstable();
    others.dedup();
    picked.extend(others.into_iter().take(room));
    Ok(picked.into_iter().map(|i| all[i as usize].clone()).collect())
}

/// So much more than a score weighs one replica (or cluster) that a group can hold.
const WEIGHT_UNIT: i64 = 1000;

/// How good a group is (`calcGroupScore`). `members` are best first.
pub(super) fn group_score(
    members: &[u32],
    all: &[Candidate<'_>],
    replicas: i64,
    duplicated: bool,
    min_groups: i64,
    min_clusters: i64,
) -> i64 {
    let at = |i: &u32| &all[*i as usize];
    if duplicated {
        let (mut n, mut sum) = (0_i64, 0_i64);
        for c in members.iter().map(at).filter(|c| c.available >= replicas) {
            n += 1;
            sum += i64::from(c.score);
        }
        return if n == 0 { 0 } else { n * WEIGHT_UNIT + sum / n };
    }
    let per = min_groups.max(1);
    let target = (replicas.saturating_add(per - 1)) / per;
    let (mut sum, mut score, mut used) = (0_i64, 0_i64, 0_i64);
    for c in members.iter().map(at) {
        sum = sum.saturating_add(c.available);
        score += i64::from(c.score);
        used += 1;
        if sum >= target && used >= min_clusters.max(per) {
            break;
        }
    }
    sum.min(target) * WEIGHT_UNIT + score / used.max(1)
}
