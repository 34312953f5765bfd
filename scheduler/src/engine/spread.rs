//! Choosing clusters under spread constraints (Karmada's `pkg/scheduler/core/spreadconstraint`). Karmada honours
//! `cluster` and `region` and ignores the rest; here zone, provider and labels are honoured the same way as regions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cfn_api::karmada::policy::{
    Placement, ReplicaDivisionPreference, ReplicaSchedulingStrategy, ReplicaSchedulingType, SpreadConstraint,
};

use super::ScheduleError;
use super::affinity::zones;
use super::fleet::Member;
use super::latency::Latency;

/// A cluster that passed the filters.
#[derive(Debug, Clone)]
pub(super) struct Candidate<'a> {
    pub member: &'a Arc<Member>,
    pub score: i64,
    /// Replicas it has room for.
    pub allocatable: i64,
    /// The same plus what the binding already has there.
    pub available: i64,
    pub latency: Option<Latency>,
}

impl Candidate<'_> {
    pub(super) fn name(&self) -> &str {
        self.member.name()
    }
}

/// Best first: score, then room, then name.
pub(super) fn sort(candidates: &mut [Candidate<'_>]) {
    candidates.sort_by(|a, b| {
        (Reverse(a.score), Reverse(a.available))
            .cmp(&(Reverse(b.score), Reverse(b.available)))
            .then_with(|| a.name().cmp(b.name()))
    });
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

/// The clusters to use, of `candidates` (sorted).
pub(super) fn select<'a>(
    placement: &Placement,
    candidates: Vec<Candidate<'a>>,
    replicas: i32,
) -> Result<Vec<Candidate<'a>>, ScheduleError> {
    let strategy = placement.replica_scheduling.as_ref();
    let constraints = &placement.spread_constraints;
    if constraints.is_empty() || by_static_weights(strategy) {
        return Ok(candidates);
    }
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
    let chosen = by_group(grouping, constraint, cluster, candidates, replicas, duplicated)?;
    for (other, c) in &groupings[1..] {
        let groups: BTreeSet<String> = chosen.iter().flat_map(|c| other.groups(c.member)).collect();
        let n = i64::try_from(groups.len()).unwrap_or(i64::MAX);
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
    let mut rest = all.split_off(count);
    let Some(need) = need_replicas else { return Ok(all) };
    let enough = |chosen: &[Candidate<'_>]| chosen.iter().map(|c| c.available).sum::<i64>() >= need;
    // From the lowest score up, a chosen cluster is exchanged for the roomiest that was left out.
    for i in (0..all.len()).rev() {
        if enough(&all) {
            break;
        }
        let mut best: Option<usize> = None;
        for (j, r) in rest.iter().enumerate() {
            if r.available > best.map_or(all[i].available, |b| rest[b].available) {
                best = Some(j);
            }
        }
        if let Some(j) = best {
            std::mem::swap(&mut all[i], &mut rest[j]);
        }
    }
    if enough(&all) {
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

    fn groups(self, member: &Member) -> Vec<String> {
        let c = &member.cluster;
        match self {
            Self::Provider => c.spec.provider.iter().cloned().collect(),
            Self::Region => c.spec.region.iter().cloned().collect(),
            Self::Zone => zones(c).map(str::to_owned).collect(),
            Self::Label(l) => c.metadata.labels.iter().filter_map(|m| m.get(l)).cloned().collect(),
        }
    }
}

/// Whether a member has what the constraint groups by; else what it lacks.
pub(super) fn lacks(constraint: &SpreadConstraint, member: &Member) -> Option<String> {
    let grouping = Grouping::of(constraint)?;
    grouping
        .groups(member)
        .iter()
        .all(String::is_empty)
        .then(|| grouping.word())
}

#[derive(Debug, Clone)]
struct Group {
    name: String,
    weight: i64,
    members: Vec<usize>,
}

fn by_group<'a>(
    grouping: &Grouping<'_>,
    constraint: &SpreadConstraint,
    cluster: Option<&SpreadConstraint>,
    all: Vec<Candidate<'a>>,
    replicas: i32,
    duplicated: bool,
) -> Result<Vec<Candidate<'a>>, ScheduleError> {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, c) in all.iter().enumerate() {
        for g in grouping.groups(c.member) {
            by_name.entry(g).or_default().push(i);
        }
    }
    if !at_least(by_name.len(), constraint.min_groups) {
        return Err(ScheduleError::other(&format!(
            "the number of feasible {} is less than spreadConstraint.MinGroups",
            grouping.word()
        )));
    }
    let want = cluster.map_or(0, |c| c.min_groups);
    let groups: Vec<Group> = by_name
        .into_iter()
        .map(|(name, members)| {
            let weight = group_score(
                &members,
                &all,
                i64::from(replicas),
                duplicated,
                constraint.min_groups,
                want,
            );
            Group { name, weight, members }
        })
        .collect();
    let chosen = best_groups(groups, constraint.min_groups, constraint.max_groups, want).ok_or_else(|| {
        ScheduleError::other("the number of clusters is less than the cluster spreadConstraint.MinGroups")
    })?;
    // The best cluster of each group, then the best of the rest.
    let mut picked: Vec<usize> = Vec::new();
    let mut others: Vec<usize> = Vec::new();
    for g in &chosen {
        let members: Vec<usize> = g.members.iter().copied().filter(|i| !picked.contains(i)).collect();
        picked.extend(members.first());
        others.extend(members.into_iter().skip(1));
    }
    others.sort_unstable();
    others.dedup();
    others.retain(|i| !picked.contains(i));
    let most = cluster.map_or(usize::MAX, |c| limit(c.max_groups));
    let room = most.min(picked.len() + others.len()).saturating_sub(picked.len());
    picked.extend(others.into_iter().take(room));
    Ok(picked.into_iter().map(|i| all[i].clone()).collect())
}

/// So much more than a score weighs one replica (or cluster) that a group can hold.
const WEIGHT_UNIT: i64 = 1000;

/// How good a group is (`calcGroupScore`). `members` are best first.
fn group_score(
    members: &[usize],
    all: &[Candidate<'_>],
    replicas: i64,
    duplicated: bool,
    min_groups: i64,
    min_clusters: i64,
) -> i64 {
    if duplicated {
        let fit: Vec<i64> = members
            .iter()
            .filter(|i| all[**i].available >= replicas)
            .map(|i| all[*i].score)
            .collect();
        let n = i64::try_from(fit.len()).unwrap_or(0);
        return if n == 0 {
            0
        } else {
            n * WEIGHT_UNIT + fit.iter().sum::<i64>() / n
        };
    }
    let per = min_groups.max(1);
    let target = (replicas + per - 1) / per;
    let (mut sum, mut score, mut used) = (0_i64, 0, 0);
    for i in members {
        sum += all[*i].available;
        score += all[*i].score;
        used += 1;
        if sum >= target && used >= min_clusters.max(per) {
            break;
        }
    }
    sum.min(target) * WEIGHT_UNIT + score / used.max(1)
}

/// The combination of `min` to `max` groups with at least `target` clusters and the highest sum of weights; more
/// clusters break ties, then the order of discovery. Of a combination that begins like the winner and is enough by
/// itself, the shortest wins.
///
/// Karmada lists every combination and sorts them; here a branch that cannot beat the best so far is not entered.
fn best_groups(mut groups: Vec<Group>, min: i64, max: i64, target: i64) -> Option<Vec<Group>> {
    groups.sort_by(|a, b| (a.size(), Reverse(a.weight), &a.name).cmp(&(b.size(), Reverse(b.weight), &b.name)));
    let max = limit(max).min(groups.len());
    let mut search = Search {
        bounds: Bounds::new(&groups, max),
        groups: &groups,
        min: usize::try_from(min).unwrap_or(0),
        max,
        target,
        path: Vec::new(),
        best: None,
    };
    search.descend(0, 0, 0);
    let best = search.best.take()?.path;
    let mut ranked = best.clone();
    ranked.sort_by(|a, b| {
        (Reverse(groups[*a].weight), &groups[*a].name).cmp(&(Reverse(groups[*b].weight), &groups[*b].name))
    });
    let shortest = (1..ranked.len())
        .find(|n| search.is_leaf(&ranked[..*n]))
        .unwrap_or(ranked.len());
    ranked.truncate(shortest);
    Some(ranked.into_iter().map(|i| groups[i].clone()).collect())
}

impl Group {
    fn size(&self) -> i64 {
        i64::try_from(self.members.len()).unwrap_or(i64::MAX)
    }
}

/// The most that up to `k` groups from index `i` on can add: `weight[i][k]`, `size[i][k]`.
struct Bounds {
    weight: Vec<Vec<i64>>,
    size: Vec<Vec<i64>>,
}

impl Bounds {
    fn new(groups: &[Group], max: usize) -> Self {
        let most = |value: fn(&Group) -> i64| -> Vec<Vec<i64>> {
            let from = |i: usize| {
                let mut all: Vec<i64> = groups[i..].iter().map(value).collect();
                all.sort_unstable_by_key(|v| Reverse(*v));
                let mut sums = vec![0];
                for k in 0..max {
                    sums.push(sums[k] + all.get(k).copied().unwrap_or(0));
                }
                sums
            };
            (0..=groups.len()).map(from).collect()
        };
        Self {
            weight: most(|g| g.weight),
            size: most(Group::size),
        }
    }
}

struct Path {
    path: Vec<usize>,
    weight: i64,
    size: i64,
}

struct Search<'g> {
    groups: &'g [Group],
    bounds: Bounds,
    min: usize,
    max: usize,
    target: i64,
    path: Vec<usize>,
    best: Option<Path>,
}

impl Search<'_> {
    fn enough(&self, size: i64, n: usize) -> bool {
        size >= self.target && n >= self.min && n <= self.max
    }

    /// Whether the search would stop at these groups: they are enough, and were not without the last of them.
    fn is_leaf(&self, path: &[usize]) -> bool {
        let size: i64 = path.iter().map(|i| self.groups[*i].size()).sum();
        let last = path.iter().max().map_or(0, |i| self.groups[*i].size());
        self.enough(size, path.len()) && !self.enough(size - last, path.len() - 1)
    }

    fn descend(&mut self, size: i64, weight: i64, begin: usize) {
        let n = self.path.len();
        if self.enough(size, n) {
            let better = self.best.as_ref().is_none_or(|b| (weight, size) > (b.weight, b.size));
            if better {
                self.best = Some(Path {
                    path: self.path.clone(),
                    weight,
                    size,
                });
            }
            return;
        }
        for i in begin..self.groups.len() {
            if n >= self.max {
                return;
            }
            // A branch ends as soon as it is enough, so it takes no more groups than the smallest from here on need.
            let smallest = self.groups[i].size().max(1);
            let wanting = usize::try_from((self.target - size + smallest - 1) / smallest).unwrap_or(0);
            let left = (self.max - n).min(wanting.max(self.min.saturating_sub(n)));
            let bound = (weight + self.bounds.weight[i][left], size + self.bounds.size[i][left]);
            // The first found keeps a tie.
            if bound.1 < self.target
                || self
                    .best
                    .as_ref()
                    .is_some_and(|b| bound.0 < b.weight || bound.0 == b.weight && bound.1 <= b.size)
            {
                return;
            }
            let (w, s) = (self.groups[i].weight, self.groups[i].size());
            self.path.push(i);
            self.descend(size + s, weight + w, i + 1);
            self.path.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group(i: usize, weight: i64, size: usize) -> Group {
        Group {
            name: format!("g{i}"),
            weight,
            members: vec![0; size],
        }
    }

    /// Karmada's way: list all, sort, take the shortest beginning of the first.
    fn listed(mut groups: Vec<Group>, min: usize, max: usize, target: i64) -> Option<Vec<String>> {
        groups.sort_by(|a, b| (a.size(), Reverse(a.weight), &a.name).cmp(&(b.size(), Reverse(b.weight), &b.name)));
        fn walk(
            g: &[Group],
            path: &mut Vec<usize>,
            begin: usize,
            rule: (usize, usize, i64),
            out: &mut Vec<Vec<usize>>,
        ) {
            let sum: i64 = path.iter().map(|i| g[*i].size()).sum();
            if sum >= rule.2 && path.len() >= rule.0 && path.len() <= rule.1 {
                out.push(path.clone());
                return;
            }
            if path.len() >= rule.1 {
                return;
            }
            for i in begin..g.len() {
                path.push(i);
                walk(g, path, i + 1, rule, out);
                path.pop();
            }
        }
        let mut found = Vec::new();
        walk(&groups, &mut Vec::new(), 0, (min, max, target), &mut found);
        let sum = |p: &[usize], f: fn(&Group) -> i64| p.iter().map(|i| f(&groups[*i])).sum::<i64>();
        found.sort_by_key(|p| (Reverse(sum(p, |g| g.weight)), Reverse(sum(p, Group::size))));
        let name = |p: &Vec<usize>| {
            let mut p = p.clone();
            p.sort_by(|a, b| {
                (Reverse(groups[*a].weight), &groups[*a].name).cmp(&(Reverse(groups[*b].weight), &groups[*b].name))
            });
            p.into_iter().map(|i| groups[i].name.clone()).collect::<Vec<_>>()
        };
        let mut paths = found.iter().map(name);
        let mut best = paths.next()?;
        for p in paths {
            if p.len() < best.len() && best.starts_with(&p) {
                best = p;
            }
        }
        Some(best)
    }

    proptest! {
        #[test]
        fn the_bounded_search_finds_what_the_whole_one_does(
            list in prop::collection::vec((0_i64..4, 1_usize..4), 1..8), min in 1_usize..4, more in 0_usize..4, target in 0_i64..9
        ) {
            let groups: Vec<Group> = list.iter().enumerate().map(|(i, (w, n))| group(i, *w, *n)).collect();
            let max = min + more;
            let ours = best_groups(groups.clone(), min as i64, max as i64, target);
            prop_assert_eq!(ours.map(|l| l.into_iter().map(|g| g.name).collect::<Vec<_>>()), listed(groups, min, max, target));
        }
    }

    #[test]
    fn many_equal_groups_are_no_burden() {
        let groups: Vec<Group> = (0..200).map(|i| group(i, 5, 3)).collect();
        assert_eq!(best_groups(groups, 100, 120, 0).map(|l| l.len()), Some(100));
    }
}
