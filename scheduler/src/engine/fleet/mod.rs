//! The member clusters, indexed for many decisions and kept up to date member by member.

mod bits;
mod index;
mod member;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use cfn_api::cfn::{ComputingMetric, TaskType};
use cfn_api::karmada::cluster::Cluster;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

pub(super) use bits::{Bits, Posting};
pub(super) use index::{Column, Index};
use member::Apis;
pub use member::Member;

use super::estimate;
use super::quantity::Amount;

/// Label of a cluster: the site it stands at.
pub const SITE_LABEL: &str = "cfn.akraino.org/site";

/// A binding's replicas on a cluster, as decided.
#[derive(Debug, Clone)]
pub struct Resident {
    /// `namespace/name` of the binding.
    pub binding: String,
    /// Kind of task; `None`: without a ComputingPolicy, so it never yields.
    pub task: Option<TaskType>,
    /// Replicas decided for this cluster.
    pub replicas: i32,
    /// Replicas that the cluster reports.
    pub shown: i32,
    /// Requests of one replica.
    pub request: BTreeMap<String, Quantity>,
}

/// The members by name, and who lives where.
///
/// Adding, replacing or removing one member costs the logarithm of their number; a decision reads the index and makes no
/// copy of the fleet.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    slots: BTreeMap<String, u32>,
    members: Vec<Option<Arc<Member>>>,
    vacant: Vec<u32>,
    apis: BTreeSet<Arc<Apis>>,
    index: Index,
    residents: BTreeMap<String, BTreeMap<String, Resident>>,
    /// Clusters of each binding, so that a change of one touches no other.
    homes: BTreeMap<String, Vec<String>>,
    /// By cluster and binding: what is promised and not yet in the cluster's summary.
    assumed: BTreeMap<String, Promises>,
}

/// What is promised on one cluster.
#[derive(Debug, Clone, Default)]
struct Promises {
    by_binding: BTreeMap<String, BTreeMap<String, Amount>>,
    /// All of them together, by resource: a decision must not count thousands.
    sum: BTreeMap<String, Amount>,
}

impl Promises {
    fn insert(&mut self, binding: &str, amounts: BTreeMap<String, Amount>) {
        self.remove(binding);
        for (resource, amount) in &amounts {
            let sum = self.sum.entry(resource.clone()).or_default();
            *sum = *sum + *amount;
        }
        self.by_binding.insert(binding.to_owned(), amounts);
    }

    fn remove(&mut self, binding: &str) {
        for (resource, amount) in self.by_binding.remove(binding).unwrap_or_default() {
            let Some(sum) = self.sum.get_mut(&resource) else {
                continue;
            };
            *sum = match sum.is_saturated() {
                // Then it does not tell any more what it is the sum of.
                true => {
                    let others = self.by_binding.values().filter_map(|a| a.get(&resource));
                    others.fold(Amount::default(), |sum, a| sum + *a)
                }
                false => *sum - amount,
            };
        }
    }
}

/// Distance between two names' places when there is room.
const STEP: u64 = 1 << 32;

impl Fleet {
    /// A fleet of these clusters, without measurements.
    #[must_use]
    pub fn new(clusters: impl IntoIterator<Item = Cluster>) -> Self {
        let mut fleet = Self::default();
        for c in clusters {
            fleet.insert(Member::new(c, None));
        }
        fleet
    }

    /// Adds or replaces a member.
    pub fn insert(&mut self, mut member: Member) {
        // Most members serve the same APIs: one list for all of them.
        match self.apis.get(&member.apis) {
            Some(known) => member.apis = Arc::clone(known),
            None => {
                self.apis.insert(Arc::clone(&member.apis));
            }
        }
        let name = member.name().to_owned();
        let slot = match self.slots.get(&name) {
            Some(slot) => *slot,
            None => self.move_in(&name),
        };
        if let Some(old) = self.members[slot as usize].take() {
            self.index.enter(slot, &old, false);
        }
        self.index.enter(slot, &member, true);
        self.members[slot as usize] = Some(Arc::new(member));
        if self.assumed.contains_key(&name) {
            self.recount(&name);
        }
    }

    /// A slot for a new name, with its place among the names.
    fn move_in(&mut self, name: &str) -> u32 {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.index.order.push(0);
            u32::try_from(self.members.len() - 1).unwrap_or(u32::MAX)
        });
        let place = |s: &u32| self.index.order[*s as usize];
        let before = self
            .slots
            .range::<str, _>((Bound::Unbounded, Bound::Excluded(name)))
            .next_back()
            .map(|(_, s)| place(s));
        let above = (Bound::Excluded(name), Bound::Unbounded);
        let after = self.slots.range::<str, _>(above).next().map(|(_, s)| place(s));
        let at = match (before, after) {
            (None, None) => Some(u64::MAX / 2),
            (Some(b), None) => b.checked_add(STEP),
            (None, Some(a)) => a.checked_sub(STEP),
            (Some(b), Some(a)) => (a - b >= 2).then(|| b + (a - b) / 2),
        };
        self.slots.insert(name.to_owned(), slot);
        match at {
            Some(at) => self.index.order[slot as usize] = at,
            // No room between two names: all get new places. Rare, since each halving leaves room for 32.
            None => {
                for (i, s) in (1_u64..).zip(self.slots.values()) {
                    self.index.order[*s as usize] = i * STEP;
                }
            }
        }
        slot
    }

    /// Replaces the measurements of a member, if it is there.
    pub fn measure(&mut self, cluster: &str, metric: Option<ComputingMetric>) {
        let slot = self.slots.get(cluster).copied();
        if let Some(m) = slot.and_then(|s| self.members[s as usize].as_mut()) {
            Arc::make_mut(m).metric = metric.map(Box::new);
        }
    }

    /// Forgets a member.
    pub fn remove(&mut self, name: &str) {
        let Some(slot) = self.slots.remove(name) else { return };
        if let Some(old) = self.members[slot as usize].take() {
            self.index.enter(slot, &old, false);
        }
        self.vacant.push(slot);
    }

    /// A member by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Member>> {
        self.members[*self.slots.get(name)? as usize].as_ref()
    }

    /// All members, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.slots.values().filter_map(|s| self.members[*s as usize].as_ref())
    }

    /// How many members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    pub(super) fn slot(&self, name: &str) -> Option<u32> {
        self.slots.get(name).copied()
    }

    pub(super) fn at(&self, slot: u32) -> Option<&Arc<Member>> {
        self.members.get(slot as usize)?.as_ref()
    }

    /// How many slots there are, vacant ones among them.
    pub(super) fn slots(&self) -> usize {
        self.members.len()
    }

    /// Records what a binding has where (an empty list forgets it).
    pub fn settle(&mut self, binding: &str, on: impl IntoIterator<Item = (String, Resident)>) {
        for cluster in self.homes.remove(binding).unwrap_or_default() {
            if let Some(list) = self.residents.get_mut(&cluster) {
                list.remove(binding);
            }
        }
        for (cluster, r) in on {
            self.homes.entry(binding.to_owned()).or_default().push(cluster.clone());
            self.residents.entry(cluster).or_default().insert(binding.to_owned(), r);
        }
    }

    /// Who lives on a cluster, by binding.
    pub fn residents(&self, cluster: &str) -> impl Iterator<Item = &Resident> {
        self.residents.get(cluster).into_iter().flat_map(BTreeMap::values)
    }

    /// Deducts what was just decided for `binding` on a cluster, until [`Fleet::forget`]: its summary does not show it
    /// yet, and the next decision must not give it away again. Replaces what was assumed for the two before.
    pub fn assume(&mut self, cluster: &str, binding: &str, replicas: i32, request: &BTreeMap<String, Quantity>) {
        let per_replica = request.iter().filter_map(|(k, q)| Some((k.clone(), Amount::parse(q)?)));
        let mut amounts: BTreeMap<String, Amount> =
            per_replica.map(|(k, a)| (k, a.times(i64::from(replicas)))).collect();
        amounts.insert(estimate::PODS.to_owned(), Amount::whole(i64::from(replicas)));
        self.promise(cluster, binding, amounts);
    }

    /// The same for amounts that are summed up already.
    pub fn promise(&mut self, cluster: &str, binding: &str, amounts: BTreeMap<String, Amount>) {
        let promised = self.assumed.entry(cluster.to_owned()).or_default();
        promised.insert(binding, amounts);
        self.recount(cluster);
    }

    /// What is promised on a cluster and not yet in its summary.
    pub(super) fn promised(&self, cluster: &str) -> impl Iterator<Item = &BTreeMap<String, Amount>> {
        self.assumed
            .get(cluster)
            .into_iter()
            .flat_map(|p| p.by_binding.values())
    }

    /// Ends the deduction of [`Fleet::assume`]: the cluster's summary shows it now, or it will never come.
    pub fn forget(&mut self, cluster: &str, binding: &str) {
        let Some(list) = self.assumed.get_mut(cluster) else {
            return;
        };
        list.remove(binding);
        if list.by_binding.is_empty() {
            self.assumed.remove(cluster);
        }
        self.recount(cluster);
    }

    /// What is free on a cluster, less what is assumed.
    fn recount(&mut self, cluster: &str) {
        let Some(slot) = self.slot(cluster) else { return };
        let Some(member) = self.at(slot) else { return };
        let mut free = estimate::free(&member.cluster);
        for (resource, amount) in self.assumed.get(cluster).into_iter().flat_map(|p| &p.sum) {
            if let Some(left) = free.get_mut(resource) {
                *left = *left - *amount;
            }
        }
        self.index.set_room(slot, free);
    }
}
