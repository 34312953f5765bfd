//! One decision through both doors: Karmada's clusters in Open Cluster Management's terms.

use cfn_api::karmada::cluster::Cluster;
use cfn_api::ocm::cluster::{ClusterClaim, ManagedCluster, ManagedClusterStatus, ManagedClusterTaint};

/// A cluster of Karmada's registry as Open Cluster Management sees one (docs/ocm.md has the table).
#[must_use]
pub fn as_managed(c: &Cluster) -> ManagedCluster {
    let mut m = ManagedCluster::new(c.metadata.name.as_deref().unwrap_or_default(), Default::default());
    m.metadata.labels.clone_from(&c.metadata.labels);
    m.metadata.deletion_timestamp.clone_from(&c.metadata.deletion_timestamp);
    m.spec.hub_accepts_client = true;
    m.spec.taints = c
        .spec
        .taints
        .iter()
        .map(|t| ManagedClusterTaint {
            key: t.key.clone(),
            value: t.value.clone().unwrap_or_default(),
            effect: if t.effect == "PreferNoSchedule" {
                "PreferNoSelect"
            } else {
                "NoSelect"
            }
            .to_owned(),
            time_added: t.time_added.clone(),
        })
        .collect();
    let summary = c.status.as_ref().and_then(|s| s.resource_summary.as_ref());
    let allocatable = summary.map(|s| s.allocatable.clone()).unwrap_or_default();
    let claims = [
        ("region", c.spec.region.as_ref()),
        ("provider", c.spec.provider.as_ref()),
        ("zone", c.spec.zones.first().or(c.spec.zone.as_ref())),
    ];
    m.status = Some(ManagedClusterStatus {
        capacity: allocatable.clone(),
        allocatable,
        cluster_claims: claims
            .into_iter()
            .filter_map(|(name, value)| {
                Some(ClusterClaim {
                    name: name.to_owned(),
                    value: value?.clone(),
                })
            })
            .collect(),
        ..ManagedClusterStatus::default()
    });
    m
}
