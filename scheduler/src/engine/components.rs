//! Workloads of several templates: a cluster gets a whole set of them or nothing. How many sets it has room for
//! (Karmada's `pkg/estimator/client/general.go`, `maxAvailableComponentSets`).

use std::collections::BTreeMap;

use cfn_api::karmada::work::{Component, ComponentReplicas, ResourceBindingSpec, TargetCluster};

use super::estimate::{CPU, Models, PODS};
use super::fleet::Fleet;
use super::quantity::Amount;

/// Amounts by resource, as the index's columns count them.
type Demand = BTreeMap<String, i64>;

/// Whether a binding's components are placed as sets: its placement asks for one cluster
/// (`isMultiTemplateSchedulingApplicable`).
#[must_use]
pub fn applicable(spec: &ResourceBindingSpec) -> bool {
    let constraints = spec.placement.iter().flat_map(|p| &p.spread_constraints);
    let one = |c: &cfn_api::karmada::policy::SpreadConstraint| {
        c.spread_by_field.as_deref() == Some("cluster") && c.min_groups == 1 && c.max_groups == 1
    };
    let mut constraints = constraints;
    !spec.components.is_empty() && constraints.any(one)
}

/// Writes the set's replicas beside each chosen cluster.
pub(super) fn complete(spec: &ResourceBindingSpec, mut targets: Vec<TargetCluster>) -> Vec<TargetCluster> {
    if applicable(spec) {
        let one = |c: &Component| ComponentReplicas {
            name: c.name.clone(),
            replicas: c.replicas,
        };
        for t in &mut targets {
            t.components = spec.components.iter().map(one).collect();
        }
    }
    targets
}

/// One set of components.
#[derive(Debug, Clone)]
pub(super) struct Set {
    /// Pods of a set.
    pods: i64,
    /// What a set needs in all.
    sum: Demand,
    /// What one replica of each component needs, and how many of it a set has.
    kinds: Vec<(Demand, i64)>,
}

fn column(resource: &str, amount: Amount) -> i64 {
    if resource == CPU {
        amount.milli()
    } else {
        amount.value()
    }
}

impl Set {
    /// `None` for a workload of one template.
    pub(super) fn of(components: &[Component]) -> Option<Self> {
        if components.is_empty() {
            return None;
        }
        let mut set = Self {
            pods: 0,
            sum: Demand::new(),
            kinds: Vec::new(),
        };
        for c in components.iter().filter(|c| c.replicas > 0) {
            let n = i64::from(c.replicas);
            let requests = c.replica_requirements.iter().flat_map(|r| &r.resource_request);
            let one: Demand = requests
                .filter_map(|(k, q)| Some((k.clone(), column(k, Amount::parse(q)?))))
                .filter(|(_, n)| *n > 0)
                .collect();
            for (k, v) in &one {
                let sum = set.sum.entry(k.clone()).or_default();
                *sum = sum.saturating_add(v.saturating_mul(n));
            }
            set.pods = set.pods.saturating_add(n);
            set.kinds.push((one, n));
        }
        Some(set)
    }

    /// Sets that fit into a member: by its summary, and by its grades of nodes where it has them.
    pub(super) fn room(&self, fleet: &Fleet, slot: u32) -> i64 {
        let free = |resource: &str| {
            let column = fleet.index().column(resource);
            column.and_then(|c| c.get(slot as usize)).copied().unwrap_or(0)
        };
        let pods = free(PODS);
        if pods <= 0 {
            return 0;
        }
        if self.pods <= 0 {
            return pods;
        }
        let mut most = pods / self.pods;
        for (resource, need) in &self.sum {
            most = most.min(free(resource).max(0) / need);
        }
        let models = fleet.at(slot).and_then(|m| m.models.as_deref());
        match models.and_then(|m| self.by_models(m, most)) {
            Some(n) => most.min(n),
            None => most,
        }
    }

    /// Sets that fit on nodes of these grades, at most `most`: the largest replicas first, each on the first node that
    /// holds it. `None` without grades.
    pub(super) fn by_models(&self, models: &Models, most: i64) -> Option<i64> {
        let mut nodes = models.nodes();
        if nodes.is_empty() {
            return None;
        }
        let whole: Demand = nodes.iter().fold(Demand::new(), |mut sum, (room, n)| {
            for (k, v) in room {
                let have = sum.entry(k.clone()).or_default();
                *have = have.saturating_add(v.saturating_mul(*n));
            }
            sum
        });
        // The largest share of anything that one replica takes.
        #[allow(clippy::cast_precision_loss, reason = "only an order")]
        let share = |d: &Demand| {
            let shares = d
                .iter()
                .map(|(k, v)| *v as f64 / whole.get(k).copied().unwrap_or(0).max(1) as f64);
            shares.fold(0.0, f64::max)
        };
        let mut kinds: Vec<&(Demand, i64)> = self.kinds.iter().collect();
        kinds.sort_by(|a, b| share(&b.0).total_cmp(&share(&a.0)));
        let mut sets = 0;
        while sets < most && kinds.iter().all(|(d, n)| put(&mut nodes, d, *n)) {
            sets += 1;
            if self.sum.is_empty() {
                return Some(most);
            }
        }
        Some(sets)
    }
}

/// Puts `n` replicas on the first nodes that hold them; nodes that are alike stand together with their number.
fn put(nodes: &mut Vec<(Demand, i64)>, demand: &Demand, n: i64) -> bool {
    if demand.is_empty() {
        return true;
    }
    let (mut left, mut i) = (n, 0);
    while left > 0 && i < nodes.len() {
        let (room, count) = &nodes[i];
        let fits = demand.iter().map(|(k, v)| room.get(k).copied().unwrap_or(0).max(0) / v);
        let per_node = fits.min().unwrap_or(0);
        if per_node == 0 || *count == 0 {
            i += 1;
            continue;
        }
        // Nodes that are filled, or one that is not.
        let (take, each) = if left >= per_node {
            ((left / per_node).min(*count), per_node)
        } else {
            (1, left)
        };
        let mut rest = room.clone();
        for (k, v) in demand {
            if let Some(have) = rest.get_mut(k) {
                *have -= v * each;
            }
        }
        left -= take * each;
        nodes[i].1 -= take;
        if nodes[i].1 == 0 {
            nodes[i] = (rest, take);
        } else {
            nodes.insert(i, (rest, take));
        }
        i += 1;
    }
    left == 0
}
