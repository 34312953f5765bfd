//! The best combination of groups.
//!
//! Karmada lists every combination and sorts them, which takes four times as long for every two groups more. The answer is
//! the same here: where any `min` groups have enough clusters it is simply the heaviest; else a search that does not
//! enter a branch which cannot win; and where that takes too long, a table over groups, their number and their clusters.

use std::cmp::Reverse;

use super::limit;

/// Clusters with the same value of what is spread over.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Group {
    pub name: String,
    pub weight: i64,
    /// Positions in the list of candidates, best first.
    pub members: Vec<u32>,
}

impl Group {
    fn size(&self) -> i64 {
        i64::try_from(self.members.len()).unwrap_or(i64::MAX)
    }
}

/// Steps of the search before the table is tried.
const STEPS: usize = 20_000;

/// Most cells of the table; beyond it the search goes on without a limit.
const CELLS: usize = 64 << 20;

/// The combination of `min` to `max` groups with at least `target` clusters and the highest sum of weights; more
/// clusters break ties, then the order of discovery. A combination that is enough grows no further. Of a combination
/// that begins like the winner and is enough by itself, the shortest wins.
pub(in crate::engine) fn best_groups(mut groups: Vec<Group>, min: i64, max: i64, target: i64) -> Option<Vec<Group>> {
    groups.sort_by(|a, b| (a.size(), Reverse(a.weight), &a.name).cmp(&(b.size(), Reverse(b.weight), &b.name)));
    let rule = Rule {
        min: usize::try_from(min).unwrap_or(0),
        max: limit(max).min(groups.len()),
        target,
    };
    let list: Vec<(i64, i64)> = groups.iter().map(|g| (g.weight, g.size())).collect();
    let mut best = pick(&list, &rule)?;
    best.sort_by(|a, b| {
        (Reverse(groups[*a].weight), &groups[*a].name).cmp(&(Reverse(groups[*b].weight), &groups[*b].name))
    });
    let shortest = (1..best.len())
        .find(|n| rule.is_leaf(&list, &best[..*n]))
        .unwrap_or(best.len());
    best.truncate(shortest);
    let mut all: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    Some(best.into_iter().filter_map(|i| all[i].take()).collect())
}

/// The best combination of groups (weight, size), as indices in ascending order.
fn pick(list: &[(i64, i64)], rule: &Rule) -> Option<Vec<usize>> {
    if rule.min > rule.max {
        return None;
    }
    if rule.min > 0 && i64::try_from(rule.min).is_ok_and(|min| rule.target <= min) {
        return Some(heaviest(list, rule.min));
    }
    let mut search = Search::new(list, rule, STEPS);
    if search.run() {
        return search.best.map(|b| b.path);
    }
    let cells = usize::try_from(rule.target)
        .ok()
        .and_then(|t| (t + 1).checked_mul(rule.max + 1)?.checked_mul(list.len()));
    if cells.is_some_and(|n| n <= CELLS) {
        return table(list, rule);
    }
    let mut search = Search::new(list, rule, usize::MAX);
    search.run();
    search.best.map(|b| b.path)
}

/// How many groups, and with how many clusters.
#[derive(Debug, Clone, Copy)]
struct Rule {
    min: usize,
    max: usize,
    target: i64,
}

impl Rule {
    fn enough(&self, size: i64, n: usize) -> bool {
        size >= self.target && n >= self.min && n <= self.max
    }

    /// Whether a search would stop at these groups: they are enough, and were not without the last of them.
    fn is_leaf(&self, list: &[(i64, i64)], path: &[usize]) -> bool {
        let size: i64 = path.iter().map(|i| list[*i].1).sum();
        let last = path.iter().max().map_or(0, |i| list[*i].1);
        self.enough(size, path.len()) && !self.enough(size - last, path.len() - 1)
    }
}

/// Every group has a cluster, so any `min` groups are enough and no more are taken: the heaviest, of these the largest,
/// of these the first.
fn heaviest(list: &[(i64, i64)], min: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by_key(|i| (Reverse(list[*i]), *i));
    order.truncate(min);
    order.sort_unstable();
    order
}

/// The most that up to `k` groups from index `i` on can add: `weight[i][k]`, `size[i][k]`.
struct Bounds {
    weight: Vec<Vec<i64>>,
    size: Vec<Vec<i64>>,
}

impl Bounds {
    fn new(list: &[(i64, i64)], max: usize) -> Self {
        let most = |value: fn(&(i64, i64)) -> i64| -> Vec<Vec<i64>> {
            let from = |i: usize| {
                let mut all: Vec<i64> = list[i..].iter().map(value).collect();
                all.sort_unstable_by_key(|v| Reverse(*v));
                let mut sums = vec![0];
                for k in 0..max {
                    sums.push(sums[k] + all.get(k).copied().unwrap_or(0));
                }
                sums
            };
            (0..=list.len()).map(from).collect()
        };
        Self {
            weight: most(|g| g.0),
            size: most(|g| g.1),
        }
    }
}

struct Path {
    path: Vec<usize>,
    weight: i64,
    size: i64,
}

struct Search<'g> {
    list: &'g [(i64, i64)],
    rule: &'g Rule,
    bounds: Bounds,
    path: Vec<usize>,
    best: Option<Path>,
    steps: usize,
}

impl<'g> Search<'g> {
    fn new(list: &'g [(i64, i64)], rule: &'g Rule, steps: usize) -> Self {
        Self {
            list,
            rule,
            bounds: Bounds::new(list, rule.max),
            path: Vec::new(),
            best: None,
            steps,
        }
    }

    /// Whether it came to its end.
    fn run(&mut self) -> bool {
        self.descend(0, 0, 0);
        self.steps > 0
    }

    fn descend(&mut self, size: i64, weight: i64, begin: usize) {
        let n = self.path.len();
        if self.rule.enough(size, n) {
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
        for i in begin..self.list.len() {
            if n >= self.rule.max || self.steps == 0 {
                return;
            }
            self.steps -= 1;
            // A branch ends as soon as it is enough, so it takes no more groups than the smallest from here on need.
            let smallest = self.list[i].1.max(1);
            let wanting = usize::try_from((self.rule.target - size + smallest - 1) / smallest).unwrap_or(0);
            let left = (self.rule.max - n).min(wanting.max(self.rule.min.saturating_sub(n)));
            let bound = (weight + self.bounds.weight[i][left], size + self.bounds.size[i][left]);
            // The first found keeps a tie.
            if bound.1 < self.rule.target
                || self
                    .best
                    .as_ref()
                    .is_some_and(|b| bound.0 < b.weight || bound.0 == b.weight && bound.1 <= b.size)
            {
                return;
            }
            let (w, s) = self.list[i];
            self.path.push(i);
            self.descend(size + s, weight + w, i + 1);
            self.path.pop();
        }
    }
}

/// The same answer by dynamic programming. A cell is what can still be reached from group `i` on with `n` groups and
/// `s` clusters (no more than the target counts) in hand; of two ways the one that takes group `i` keeps a tie, as the
/// search finds it first.
fn table(list: &[(i64, i64)], rule: &Rule) -> Option<Vec<usize>> {
    const NONE: (i64, i64) = (i64::MIN, i64::MIN);
    let target = usize::try_from(rule.target).ok()?;
    let width = target + 1;
    let cell = |n: usize, s: usize| n * width + s;
    let cells = (rule.max + 1) * width;
    let sized = |size: i64| usize::try_from(size).unwrap_or(usize::MAX);
    // Nothing follows the last group.
    let mut after = vec![NONE; cells];
    let mut takes = vec![0_u64; (cells * list.len()).div_ceil(64)];
    for (i, (weight, size)) in list.iter().enumerate().rev() {
        let mut now = after.clone();
        // A state with more groups in hand than there are before this one does not occur.
        for n in 0..rule.max.min(i + 1) {
            for s in 0..width {
                if rule.enough(i64::try_from(s).unwrap_or(i64::MAX), n) {
                    continue;
                }
                let next = s.saturating_add(sized(*size)).min(target);
                let then = if rule.enough(i64::try_from(next).unwrap_or(i64::MAX), n + 1) {
                    (0, 0)
                } else if n + 1 < rule.max {
                    after[cell(n + 1, next)]
                } else {
                    NONE
                };
                if then == NONE {
                    continue;
                }
                let value = (weight + then.0, size + then.1);
                if value >= after[cell(n, s)] {
                    now[cell(n, s)] = value;
                    let bit = i * cells + cell(n, s);
                    takes[bit / 64] |= 1 << (bit % 64);
                }
            }
        }
        after = now;
    }
    if after[cell(0, 0)] == NONE && !rule.enough(0, 0) {
        return None;
    }
    let (mut path, mut s) = (Vec::new(), 0);
    for (i, (_, size)) in list.iter().enumerate() {
        if rule.enough(i64::try_from(s).unwrap_or(i64::MAX), path.len()) {
            break;
        }
        let bit = i * cells + cell(path.len(), s);
        if takes[bit / 64] >> (bit % 64) & 1 == 1 {
            path.push(i);
            s = s.saturating_add(sized(*size)).min(target);
        }
    }
    Some(path)
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
        fn search_and_table_find_what_listing_does(
            list in prop::collection::vec((0_i64..4, 1_usize..4), 1..9), min in 1_usize..5, more in 0_usize..4, target in 0_i64..12
        ) {
            let groups: Vec<Group> = list.iter().enumerate().map(|(i, (w, n))| group(i, *w, *n)).collect();
            let max = min + more;
            let ours = best_groups(groups.clone(), min as i64, max as i64, target);
            prop_assert_eq!(ours.map(|l| l.into_iter().map(|g| g.name).collect::<Vec<_>>()), listed(groups, min, max, target));
            let mut pairs: Vec<(i64, i64)> = list.iter().map(|(w, n)| (*w, *n as i64)).collect();
            pairs.sort_by_key(|(w, n)| (*n, Reverse(*w)));
            let rule = Rule { min, max: max.min(pairs.len()), target };
            let mut search = Search::new(&pairs, &rule, usize::MAX);
            search.run();
            prop_assert_eq!(table(&pairs, &rule), search.best.map(|b| b.path));
        }
    }

    #[test]
    fn many_equal_groups_are_no_burden() {
        let groups: Vec<Group> = (0..200).map(|i| group(i, 5, 3)).collect();
        assert_eq!(best_groups(groups.clone(), 100, 120, 0).map(|l| l.len()), Some(100));
        assert_eq!(best_groups(groups, 50, 120, 300).map(|l| l.len()), Some(100));
    }
}
