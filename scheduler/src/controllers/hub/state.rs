//! The caches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cfn_api::cfn::{ComputingMetric, ComputingPolicy, ComputingPolicySpec};
use cfn_api::conditions;
use cfn_api::karmada::apps::WorkloadRebalancer;
use cfn_api::karmada::cluster::{Cluster, UnschedulableReplicas};
use cfn_api::karmada::quota::FederatedResourceQuota;
use cfn_api::karmada::taint::ClusterTaintPolicy;
use cfn_api::karmada::work::{ResourceBindingStatus, SCHEDULED, TargetCluster, Work};
use cfn_api::names;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DynamicObject};
use tokio::time::Instant;

use super::{Binding, Gvk, Key, Outcome, Override, Policy};
use crate::controllers::customize::Rules;
use crate::controllers::ocm::Ocm;
use crate::engine::Fleet;
use crate::engine::quantity::Amount;

/// The templates of one kind.
#[derive(Default)]
pub(in crate::controllers) struct Templates {
    pub resource: Option<ApiResource>,
    pub objects: BTreeMap<Key, Arc<DynamicObject>>,
}

/// Replicas that are on their way to a cluster.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::controllers) struct Pending {
    /// What they need, all together.
    pub amounts: BTreeMap<String, Amount>,
    /// Whether the cluster has them: its next report counts them.
    pub shown: bool,
    /// Since when.
    pub since: Instant,
}

/// What the hub's objects were when last seen.
#[derive(Default)]
pub(in crate::controllers) struct State {
    pub clusters: BTreeMap<String, Arc<Cluster>>,
    pub metrics: BTreeMap<String, Arc<ComputingMetric>>,
    pub fleet: Fleet,
    pub computing: BTreeMap<Key, Arc<ComputingPolicy>>,
    pub policies: BTreeMap<Key, Arc<Policy>>,
    pub bindings: BTreeMap<Key, Arc<Binding>>,
    pub works: BTreeMap<Key, Arc<Work>>,
    /// Works of a binding, by its permanent id.
    pub works_of: BTreeMap<String, BTreeSet<Key>>,
    /// When a cluster's lease was last renewed, by our clock.
    pub leases: BTreeMap<String, Timestamp>,
    pub templates: BTreeMap<Gvk, Templates>,
    pub requests: BTreeMap<String, Arc<CertificateSigningRequest>>,
    pub overrides: BTreeMap<Key, Arc<Override>>,
    pub rebalancers: BTreeMap<String, Arc<WorkloadRebalancer>>,
    pub namespaces: BTreeMap<String, Arc<Namespace>>,
    pub taint_policies: BTreeMap<String, Arc<ClusterTaintPolicy>>,
    pub quotas: BTreeMap<Key, Arc<FederatedResourceQuota>>,
    pub rules: Rules,
    pub ocm: Ocm,
    /// PriorityClasses of the hub.
    pub priorities: BTreeMap<String, i32>,
    /// Decisions whose words are not in the bindings' statuses yet.
    pub outcomes: BTreeMap<Key, Outcome>,
    /// Bindings whose last decision was that they fit nowhere, with when that was and how often in a row.
    pub unschedulable: BTreeMap<Key, (Instant, u32)>,
    /// Reports of replicas that wait in vain, by cluster and binding, that were acted on, and when.
    pub relieved: BTreeMap<(String, Key), (Instant, UnschedulableReplicas)>,
    /// Decisions that the caches do not show yet, with the version of the binding that they are about.
    pub assumed: BTreeMap<Key, (Option<String>, Vec<TargetCluster>)>,
    /// Room that decisions have taken and the clusters do not report yet, by cluster and binding.
    pub pending: BTreeMap<String, BTreeMap<Key, Pending>>,
    /// The clusters of the above, by binding.
    pub pending_on: BTreeMap<Key, BTreeSet<String>>,
    /// Bindings with propagateDeps.
    pub followed: BTreeSet<Key>,
    /// Since when a status waits to be written.
    pub status_since: BTreeMap<Key, Instant>,
    /// Since when an application is unhealthy in a cluster.
    pub unhealthy: BTreeMap<(Key, String), Timestamp>,
    /// When bindings last came back to a cluster after a failure (the budget of fail-back).
    pub returned: BTreeMap<String, Vec<Timestamp>>,
    /// Clusters whose roles and namespace are there.
    pub(super) admitted: BTreeSet<String>,
}

impl State {
    /// The ComputingPolicy attached to a binding's template or to its policy; of several, the first by name.
    pub(in crate::controllers) fn computing_policy(&self, b: &Binding) -> Option<&ComputingPolicySpec> {
        let ns = b.meta.namespace.as_deref()?;
        let annotations = b.meta.annotations.as_ref();
        let policy = annotations.and_then(|a| a.get(names::PROPAGATION_POLICY_NAME));
        let r = &b.spec.resource;
        let group = r.api_version.split_once('/').map_or("", |(g, _)| g);
        self.computing
            .iter()
            .filter(|(k, _)| k.ns == ns)
            .map(|(_, p)| &p.spec)
            .find(|p| {
                p.target_refs.iter().any(|t| {
                    (t.kind == "PropagationPolicy" && Some(&t.name) == policy)
                        || (t.kind == r.kind && t.name == r.name && (t.group.is_empty() || t.group == group))
                })
            })
    }

    /// The policy that claimed a binding's template.
    pub(in crate::controllers) fn policy_of(&self, b: &Binding) -> Option<&Arc<Policy>> {
        self.policies.get(&crate::controllers::detector::claimant(&b.meta)?)
    }

    /// Where a binding is, by the last decision.
    pub(in crate::controllers) fn placed<'a>(&'a self, key: &Key, b: &'a Binding) -> &'a [TargetCluster] {
        self.assumed.get(key).map_or(&b.spec.clusters, |(_, t)| t)
    }

    /// A binding's status with what the scheduler said since.
    pub(in crate::controllers) fn status_of(&self, b: &Binding) -> ResourceBindingStatus {
        let mut status = b.status.clone();
        if let Some(o) = self.outcomes.get(&b.key()) {
            o.tell(&mut status);
        }
        status
    }

    /// Whether the last decision about a binding was a placement.
    pub(in crate::controllers) fn scheduled(&self, b: &Binding) -> bool {
        match self.outcomes.get(&b.key()).and_then(|o| o.condition.as_ref()) {
            Some((value, ..)) => *value == "True",
            None => conditions::is_true(&b.status.conditions, SCHEDULED),
        }
    }

    pub(in crate::controllers) fn template(&self, b: &Binding) -> Option<&Arc<DynamicObject>> {
        let r = &b.spec.resource;
        let gvk = Gvk {
            api_version: r.api_version.clone(),
            kind: r.kind.clone(),
        };
        self.templates
            .get(&gvk)?
            .objects
            .get(&Key::new(r.namespace.as_deref().unwrap_or_default(), &r.name))
    }
}
