//! A snapshot of the member clusters, prepared for many decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cfn_api::cfn::{ComputingMetric, TaskType};
use cfn_api::conditions;
use cfn_api::karmada::cluster::{COMPLETE_API_ENABLEMENTS, Cluster};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::quantity::Amount;

/// Everything that is known of one member.
#[derive(Debug, Clone)]
pub struct Member {
    /// The registry's entry.
    pub cluster: Cluster,
    /// Its measurements, where an agent publishes them.
    pub metric: Option<ComputingMetric>,
    /// Allocatable less what is allocated or about to be, per resource; `None` without a summary.
    pub(super) free: Option<BTreeMap<String, Amount>>,
    /// Kinds by group and version.
    apis: BTreeMap<String, BTreeSet<String>>,
    pub(super) apis_complete: bool,
}

impl Member {
    /// Prepares a cluster.
    #[must_use]
    pub fn new(cluster: Cluster, metric: Option<ComputingMetric>) -> Self {
        let status = cluster.status.as_ref();
        let free = status.and_then(|s| s.resource_summary.as_ref()).map(|summary| {
            let amount = |m: &BTreeMap<String, Quantity>, k: &str| m.get(k).and_then(Amount::parse).unwrap_or_default();
            summary
                .allocatable
                .keys()
                .map(|k| {
                    let left = amount(&summary.allocatable, k)
                        - amount(&summary.allocated, k)
                        - amount(&summary.allocating, k);
                    (k.clone(), left)
                })
                .collect()
        });
        let mut apis: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for group in status.iter().flat_map(|s| &s.api_enablements) {
            let kinds = apis.entry(group.group_version.clone()).or_default();
            kinds.extend(group.resources.iter().map(|r| r.kind.clone()));
        }
        let apis_complete = status.is_some_and(|s| conditions::is_true(&s.conditions, COMPLETE_API_ENABLEMENTS));
        Self {
            cluster,
            metric,
            free,
            apis,
            apis_complete,
        }
    }

    /// Name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.cluster.metadata.name.as_deref().unwrap_or_default()
    }

    /// The site it stands at: its metric's, else its label `cfn.akraino.org/site`, else its own name.
    #[must_use]
    pub fn site(&self) -> &str {
        let by_metric = self
            .metric
            .as_ref()
            .map(|m| m.spec.site.as_str())
            .filter(|s| !s.is_empty());
        let by_label = || {
            self.cluster
                .metadata
                .labels
                .as_ref()
                .and_then(|l| l.get(SITE_LABEL))
                .map(String::as_str)
        };
        by_metric.or_else(by_label).unwrap_or_else(|| self.name())
    }

    /// Whether it serves `kind` of `group_version`.
    #[must_use]
    pub fn serves(&self, group_version: &str, kind: &str) -> bool {
        self.apis.get(group_version).is_some_and(|kinds| kinds.contains(kind))
    }

    /// Whether it is on its way out.
    #[must_use]
    pub fn deleting(&self) -> bool {
        self.cluster.metadata.deletion_timestamp.is_some()
    }
}

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
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    members: BTreeMap<String, Arc<Member>>,
    residents: BTreeMap<String, BTreeMap<String, Resident>>,
}

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
    pub fn insert(&mut self, member: Member) {
        self.members.insert(member.name().to_owned(), Arc::new(member));
    }

    /// Replaces the measurements of a member, if it is there.
    pub fn measure(&mut self, cluster: &str, metric: Option<ComputingMetric>) {
        if let Some(m) = self.members.get_mut(cluster) {
            Arc::make_mut(m).metric = metric;
        }
    }

    /// Forgets a member.
    pub fn remove(&mut self, name: &str) {
        self.members.remove(name);
    }

    /// A member by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Member>> {
        self.members.get(name)
    }

    /// All members, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.values()
    }

    /// How many members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Records what a binding has where (an empty list forgets it).
    pub fn settle(&mut self, binding: &str, on: impl IntoIterator<Item = (String, Resident)>) {
        for list in self.residents.values_mut() {
            list.remove(binding);
        }
        for (cluster, r) in on {
            self.residents.entry(cluster).or_default().insert(binding.to_owned(), r);
        }
    }

    /// Who lives on a cluster, by binding.
    pub fn residents(&self, cluster: &str) -> impl Iterator<Item = &Resident> {
        self.residents.get(cluster).into_iter().flat_map(BTreeMap::values)
    }
}
