//! How many replicas a cluster has room for: Karmada's general estimator (`pkg/estimator/client/general.go`), and the
//! room that a ComputingPolicy's task may count on.

use std::collections::BTreeMap;

use cfn_api::cfn::TaskType;
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::ReplicaRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::fleet::{Column, Fleet, Member};
use super::quantity::Amount;

pub(super) const CPU: &str = "cpu";
pub(super) const PODS: &str = "pods";

/// Requests of one replica, read once per decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Requests {
    given: bool,
    amounts: BTreeMap<String, Amount>,
}

impl Requests {
    pub(super) fn new(requirements: Option<&ReplicaRequirements>) -> Self {
        Self {
            given: requirements.is_some(),
            amounts: requirements.map(|r| read(&r.resource_request)).unwrap_or_default(),
        }
    }

    /// What one replica takes of each column of the index, its pod too.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, i64)> + Clone {
        let amounts = self.amounts.iter().filter(|(k, _)| *k != PODS);
        let columns = amounts.map(|(k, a)| (k.as_str(), if k == CPU { a.milli() } else { a.value() }));
        columns.chain([(PODS, 1)])
    }

    /// Cores of one replica.
    pub(super) fn cores(&self) -> f64 {
        self.amounts.get(CPU).map_or(0.0, |a| a.to_f64())
    }
}

fn read(map: &BTreeMap<String, Quantity>) -> BTreeMap<String, Amount> {
    map.iter()
        .filter_map(|(k, q)| Some((k.clone(), Amount::parse(q)?)))
        .filter(|(_, a)| a.value() > 0)
        .collect()
}

/// All of a resource that a cluster can allocate, as the index's columns count it.
pub(super) fn allocatable(member: &Member, resource: &str) -> i64 {
    let summary = member.cluster.status.as_ref().and_then(|s| s.resource_summary.as_ref());
    let amount = summary
        .and_then(|s| s.allocatable.get(resource))
        .and_then(Amount::parse);
    let amount = amount.unwrap_or_default();
    if resource == CPU {
        amount.milli()
    } else {
        amount.value()
    }
}

/// What is allocatable and neither allocated nor about to be; nothing without a summary.
pub(super) fn free(cluster: &Cluster) -> BTreeMap<String, Amount> {
    let Some(summary) = cluster.status.as_ref().and_then(|s| s.resource_summary.as_ref()) else {
        return BTreeMap::new();
    };
    let amount = |m: &BTreeMap<String, Quantity>, k: &str| m.get(k).and_then(Amount::parse).unwrap_or_default();
    let left = |k: &String| {
        let n = amount(&summary.allocatable, k) - amount(&summary.allocated, k) - amount(&summary.allocating, k);
        (k.clone(), n)
    };
    summary.allocatable.keys().map(left).collect()
}

/// The estimate for many members by the index's columns.
pub(super) struct Estimator<'f> {
    fleet: &'f Fleet,
    pods: Option<&'f Column>,
    /// Column and amount per replica of each requested resource; `None` when some resource is known nowhere.
    wants: Option<Vec<(&'f Column, i64)>>,
    requests: &'f Requests,
}

impl<'f> Estimator<'f> {
    pub(super) fn new(fleet: &'f Fleet, requests: &'f Requests) -> Self {
        let index = fleet.index();
        let column = |(key, want): (&String, &Amount)| {
            let n = if key == CPU { want.milli() } else { want.value() };
            Some((index.column(key)?, n))
        };
        Self {
            fleet,
            pods: index.column(PODS),
            wants: requests.amounts.iter().map(column).collect(),
            requests,
        }
    }

    /// Replicas that fit into the member by its summary; 0 without one.
    pub(super) fn available(&self, slot: u32) -> i64 {
        let at = |c: &Column| c.get(slot as usize).copied().unwrap_or(0);
        let pods = self.pods.map_or(0, at);
        if pods <= 0 {
            return 0;
        }
        if !self.requests.given {
            return pods;
        }
        if self.fleet.index().modelled.has(slot) {
            let models = self.fleet.at(slot).and_then(|m| m.models.as_deref());
            if let Some(n) = models.and_then(|m| m.replicas(self.requests)) {
                return pods.min(n);
            }
        }
        let Some(wants) = &self.wants else { return 0 };
        let mut most = pods;
        for (column, want) in wants {
            let left = at(column);
            if left <= 0 {
                return 0;
            }
            // A division only where it makes a difference.
            if i128::from(left) < i128::from(most) * i128::from(*want) {
                most = left / want;
            }
        }
        most
    }
}

fn by_summary(free: &BTreeMap<String, Amount>, requests: &BTreeMap<String, Amount>) -> i64 {
    let mut most = i64::MAX;
    for (key, want) in requests {
        let Some(left) = free.get(key) else { return 0 };
        if left.value() <= 0 {
            return 0;
        }
        let n = if key == CPU {
            left.milli() / want.milli()
        } else {
            left.value() / want.value()
        };
        most = most.min(n);
    }
    most
}

/// Grades of nodes (`spec.resourceModels`) and how many nodes of each there are.
#[derive(Debug, Clone)]
pub(super) struct Models {
    /// Lower bound of each grade, by resource.
    minimums: BTreeMap<String, Vec<Amount>>,
    /// Nodes per grade.
    counts: Vec<i64>,
}

impl Models {
    /// `None` where the cluster has no such model.
    pub(super) fn of(cluster: &Cluster) -> Option<Self> {
        let summary = cluster.status.as_ref()?.resource_summary.as_ref()?;
        if summary.allocatable_modelings.is_empty() {
            return None;
        }
        let models = &cluster.spec.resource_models;
        let mut minimums: BTreeMap<String, Vec<Amount>> = BTreeMap::new();
        for range in models.iter().flat_map(|m| &m.ranges) {
            let lower = Amount::parse(&range.min)?;
            minimums.entry(range.name.clone()).or_default().push(lower);
        }
        let counts = summary.allocatable_modelings.iter().map(|m| m.count);
        Some(Self {
            minimums,
            counts: counts.take(models.len()).collect(),
        })
    }

    /// What a node of each grade has at least, and how many there are.
    pub(super) fn nodes(&self) -> Vec<(BTreeMap<String, i64>, i64)> {
        let room = |i: usize| {
            let at = |(k, m): (&String, &Vec<Amount>)| {
                let m = m.get(i)?;
                Some((k.clone(), if k == CPU { m.milli() } else { m.value() }))
            };
            self.minimums.iter().filter_map(at).collect()
        };
        self.counts.iter().enumerate().map(|(i, n)| (room(i), *n)).collect()
    }

    /// Replicas that fit; `None` when the model does not know a requested resource.
    pub(super) fn replicas(&self, requests: &Requests) -> Option<i64> {
        let mut first = 0;
        for (key, want) in &requests.amounts {
            let Some(grade) = self.minimums.get(key)?.iter().position(|m| m >= want) else {
                return Some(0);
            };
            first = first.max(grade);
        }
        let mut total: i64 = 0;
        for (i, count) in self.counts.iter().enumerate().skip(first) {
            let per_node = requests.amounts.iter().filter_map(|(key, want)| {
                let m = self.minimums.get(key)?.get(i)?;
                Some(if key == CPU {
                    m.milli() / want.milli()
                } else {
                    m.value() / want.value()
                })
            });
            // The first grade that holds one replica counts as one even when its lower bound divides to none.
            total = total.saturating_add(count.saturating_mul(per_node.min().unwrap_or(i64::MAX).max(1)));
        }
        Some(total)
    }
}

/// Room for a task: what the cluster can allocate, less what others were given that do not yield to it, less what is
/// allocated to nobody we know. May be less than what the binding has there: then the site is too full for it, and it
/// is the one to leave.
///
/// The decisions count, not what the cluster reports of them: its summary and its Works' statuses come at different
/// times, and a decision must not wait for either.
pub(super) fn room(fleet: &Fleet, member: &Member, requests: &Requests, binding: &str, task: TaskType) -> i64 {
    let Some(summary) = member.cluster.status.as_ref().and_then(|s| s.resource_summary.as_ref()) else {
        return 0;
    };
    let amount = |m: &BTreeMap<String, Quantity>, k: &str| m.get(k).and_then(Amount::parse).unwrap_or_default();
    let residents: Vec<_> = fleet
        .residents(member.name())
        .map(|r| {
            let mut one = read(&r.request);
            one.insert(PODS.to_owned(), Amount::whole(1));
            let yields = r.binding == binding || r.task.is_some_and(|t| t > task);
            (r, one, yields)
        })
        .collect();
    let left = |key: &str| {
        let one = |o: &BTreeMap<String, Amount>| o.get(key).copied().unwrap_or_default();
        let (mut known, mut given) = (Amount::default(), Amount::default());
        for (r, o, yields) in &residents {
            known = known + one(o).times(i64::from(r.replicas.max(r.shown)));
            if !yields {
                given = given + one(o).times(i64::from(r.replicas));
            }
        }
        let foreign = (amount(&summary.allocated, key) - known).max(Amount::default());
        amount(&summary.allocatable, key) - foreign - given
    };
    let free: BTreeMap<String, Amount> = summary.allocatable.keys().map(|k| (k.clone(), left(k))).collect();
    let pods = free.get(PODS).map_or(0, |p| p.value()).max(0);
    if requests.given {
        pods.min(by_summary(&free, &requests.amounts))
    } else {
        pods
    }
}

/// Share of the cluster's CPU requested by others that do not yield to `task`, percent.
pub(super) fn foreign_utilization(fleet: &Fleet, member: &Member, binding: &str, task: TaskType) -> f64 {
    let Some(metric) = member.metric.as_ref().and_then(|m| m.status.as_ref()) else {
        return 0.0;
    };
    let summary = member.cluster.status.as_ref().and_then(|s| s.resource_summary.as_ref());
    let cpu = summary
        .and_then(|s| s.allocatable.get(CPU))
        .and_then(Amount::parse)
        .map_or(0.0, Amount::to_f64);
    if cpu <= 0.0 {
        return metric.l0.compute.utilization_percent;
    }
    let mut ours = 0.0;
    for r in fleet.residents(member.name()) {
        if r.binding == binding || r.task.is_some_and(|t| t > task) {
            let one = r.request.get(CPU).and_then(Amount::parse).map_or(0.0, Amount::to_f64);
            ours += one * f64::from(r.shown);
        }
    }
    (metric.l0.compute.utilization_percent - 100.0 * ours / cpu).max(0.0)
}
