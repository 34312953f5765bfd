//! Types of the APIs that CFN testbed speaks. [`karmada`] is wire-compatible with Karmada's `cluster.karmada.io`,
//! `policy.karmada.io` and `work.karmada.io` (field names and meanings as in its API at v1.15); [`ocm`] with Open Cluster
//! Management's `cluster.open-cluster-management.io`; [`cfn`] is what CFN
//! adds, attached to those by `targetRefs`. Types only: no client, no logic beyond small accessors.

pub mod cfn;
pub mod conditions;
pub mod karmada;
pub mod names;
pub mod ocm;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceSubresourceScale, JSONSchemaProps,
};
use kube::CustomResourceExt;

/// Every CustomResourceDefinition of a hub, in the order in which they are applied.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        karmada::cluster::Cluster::crd(),
        karmada::policy::PropagationPolicy::crd(),
        karmada::policy::ClusterPropagationPolicy::crd(),
        karmada::work::ResourceBinding::crd(),
        karmada::work::ClusterResourceBinding::crd(),
        karmada::work::Work::crd(),
        karmada::overrides::OverridePolicy::crd(),
        karmada::overrides::ClusterOverridePolicy::crd(),
        karmada::taint::ClusterTaintPolicy::crd(),
        karmada::quota::FederatedResourceQuota::crd(),
        karmada::apps::WorkloadRebalancer::crd(),
        karmada::config::ResourceInterpreterCustomization::crd(),
        cfn::ComputingPolicy::crd(),
        cfn::ComputingMetric::crd(),
        cfn::ContextRelocation::crd(),
        ocm::cluster::ManagedCluster::crd(),
        ocm::set::ManagedClusterSet::crd(),
        ocm::set::ManagedClusterSetBinding::crd(),
        ocm::placement::Placement::crd(),
        ocm::placement::PlacementDecision::crd(),
        ocm::cluster::AddOnPlacementScore::crd(),
    ];
    for crd in &mut all {
        tolerate_unknown(crd);
    }
    all
}

/// Fields that a later Karmada adds are kept, not pruned: a manifest written for it runs unchanged.
fn tolerate_unknown(crd: &mut CustomResourceDefinition) {
    for version in &mut crd.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else {
            continue;
        };
        for part in ["spec", "status"] {
            if let Some(schema) = root.properties.as_mut().and_then(|p| p.get_mut(part)) {
                preserve(schema);
            }
        }
        if let Some(sub) = version.subresources.as_mut() {
            sub.scale = None::<CustomResourceSubresourceScale>;
        }
    }
}

fn preserve(schema: &mut JSONSchemaProps) {
    schema.x_kubernetes_preserve_unknown_fields = Some(true);
}
