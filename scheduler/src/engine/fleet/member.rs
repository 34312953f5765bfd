//! One member, prepared for many decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cfn_api::cfn::ComputingMetric;
use cfn_api::conditions;
use cfn_api::karmada::cluster::{COMPLETE_API_ENABLEMENTS, Cluster};

use crate::engine::estimate::Models;

/// Kinds by group and version.
pub(in crate::engine) type Apis = BTreeMap<String, BTreeSet<String>>;

/// Everything that is known of one member.
#[derive(Debug, Clone)]
pub struct Member {
    /// The registry's entry, without what no decision reads: managed fields, annotations, conditions, the list of APIs
    /// (see [`Member::serves`]).
    pub cluster: Cluster,
    /// Its measurements, where an agent publishes them.
    pub metric: Option<Box<ComputingMetric>>,
    pub(super) apis: Arc<Apis>,
    pub(in crate::engine) apis_complete: bool,
    /// Grades of nodes, where the cluster has such a model.
    pub(in crate::engine) models: Option<Box<Models>>,
}

impl Member {
    /// Prepares a cluster.
    #[must_use]
    pub fn new(mut cluster: Cluster, metric: Option<ComputingMetric>) -> Self {
        let mut apis = Apis::new();
        let mut apis_complete = false;
        cluster.metadata.managed_fields = None;
        cluster.metadata.annotations = None;
        // Lists that were read from text have room to grow which they never need.
        cluster.spec.taints.shrink_to_fit();
        cluster.spec.zones.shrink_to_fit();
        cluster.spec.resource_models.shrink_to_fit();
        if let Some(status) = cluster.status.as_mut() {
            for group in std::mem::take(&mut status.api_enablements) {
                let kinds = apis.entry(group.group_version).or_default();
                kinds.extend(group.resources.into_iter().map(|r| r.kind));
            }
            let conditions = std::mem::take(&mut status.conditions);
            apis_complete = conditions::is_true(&conditions, COMPLETE_API_ENABLEMENTS);
        }
        Self {
            models: Models::of(&cluster).map(Box::new),
            cluster,
            metric: metric.map(Box::new),
            apis: Arc::new(apis),
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
                .and_then(|l| l.get(super::SITE_LABEL))
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
