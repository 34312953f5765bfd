//! Which clusters an affinity means (Karmada's `pkg/util/selector.go`) and label selectors.

use std::collections::BTreeMap;

use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::policy::ClusterAffinity;
use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether `labels` satisfy `selector`. A selector with an unknown operator matches nothing; an empty one everything.
#[must_use]
pub fn labels_match(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(k, v)| labels.get(k) == Some(v));
    equal
        && selector.match_expressions.iter().flatten().all(|e| {
            requirement(
                &e.operator,
                e.values.as_deref().unwrap_or_default(),
                labels.get(&e.key).map(String::as_str),
            )
        })
}

/// One requirement on one value (`labels.Requirement.Matches`).
fn requirement(operator: &str, values: &[String], have: Option<&str>) -> bool {
    let is_in = || have.is_some_and(|h| values.iter().any(|v| v == h));
    match operator {
        "In" => is_in(),
        "NotIn" => !is_in(),
        "Exists" => have.is_some(),
        "DoesNotExist" => have.is_none(),
        "Gt" | "Lt" => {
            let pair = have
                .and_then(|h| h.parse::<i64>().ok())
                .zip(values.first().and_then(|v| v.parse::<i64>().ok()));
            pair.is_some_and(|(h, v)| if operator == "Gt" { h > v } else { h < v })
        }
        _ => false,
    }
}

/// The zones of a cluster; the deprecated single zone counts when there is no list.
pub fn zones(cluster: &Cluster) -> impl Iterator<Item = &str> {
    let single = if cluster.spec.zones.is_empty() {
        cluster.spec.zone.as_deref()
    } else {
        None
    };
    cluster
        .spec
        .zones
        .iter()
        .map(String::as_str)
        .chain(single)
        .filter(|z| !z.is_empty())
}

fn zones_match(r: &NodeSelectorRequirement, cluster: &Cluster) -> bool {
    let values = r.values.as_deref().unwrap_or_default();
    let listed = |z: &str| values.iter().any(|v| v == z);
    match r.operator.as_str() {
        // Every zone of the cluster must be allowed, not just one.
        "In" => zones(cluster).next().is_some() && zones(cluster).all(listed),
        "NotIn" => !zones(cluster).any(listed),
        "Exists" => zones(cluster).next().is_some(),
        "DoesNotExist" => zones(cluster).next().is_none(),
        _ => false,
    }
}

fn field_matches(r: &NodeSelectorRequirement, cluster: &Cluster) -> bool {
    let given = |s: &'_ Option<String>| s.clone().filter(|s| !s.is_empty());
    let have = match r.key.as_str() {
        "zone" => return zones_match(r, cluster),
        "provider" => given(&cluster.spec.provider),
        "region" => given(&cluster.spec.region),
        _ => None,
    };
    requirement(&r.operator, r.values.as_deref().unwrap_or_default(), have.as_deref())
}

/// Whether an affinity means `cluster`: not excluded, and name, labels and fields all match where given.
#[must_use]
pub fn cluster_matches(cluster: &Cluster, affinity: &ClusterAffinity) -> bool {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    if affinity.exclude_clusters.iter().any(|n| n == name) {
        return false;
    }
    if !affinity.cluster_names.is_empty() && !affinity.cluster_names.iter().any(|n| n == name) {
        return false;
    }
    let empty = BTreeMap::new();
    let labels = cluster.metadata.labels.as_ref().unwrap_or(&empty);
    affinity.label_selector.as_ref().is_none_or(|s| labels_match(s, labels))
        && affinity
            .field_selector
            .as_ref()
            .is_none_or(|f| f.match_expressions.iter().all(|r| field_matches(r, cluster)))
}
