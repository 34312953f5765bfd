//! Which clusters an affinity means (Karmada's `pkg/util/selector.go`) and label selectors.

use std::collections::BTreeMap;

use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::policy::ClusterAffinity;
use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::fleet::{Bits, Fleet, Index};

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

/// What is wrong with a selector, in apimachinery's words (`labels.NewRequirement`).
///
/// # Errors
/// When an operator is unknown, or has values where it takes none or none where it takes some.
pub fn check_selector(selector: &LabelSelector) -> Result<(), String> {
    for e in selector.match_expressions.iter().flatten() {
        let values = e.values.as_deref().unwrap_or_default();
        let shown = format!(
            "[{}]",
            values.iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(", ")
        );
        match e.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                return Err("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".into());
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                return Err(format!(
                    "values: Invalid value: {shown}: values set must be empty for exists and does not exist"
                ));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => return Err(format!("{other:?} is not a valid label selector operator")),
        }
    }
    Ok(())
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

fn zones_match<'z>(r: &NodeSelectorRequirement, zones: impl Iterator<Item = &'z str>) -> bool {
    let values = r.values.as_deref().unwrap_or_default();
    let listed = |z: &str| values.iter().any(|v| v == z);
    let mut zones = zones.peekable();
    let some = zones.peek().is_some();
    match r.operator.as_str() {
        // One zone that is allowed is enough.
        "In" => zones.any(listed),
        "NotIn" => !zones.any(listed),
        "Exists" => some,
        "DoesNotExist" => !some,
        _ => false,
    }
}

fn field_matches(r: &NodeSelectorRequirement, cluster: &Cluster) -> bool {
    let given = |s: &'_ Option<String>| s.clone().filter(|s| !s.is_empty());
    let have = match r.key.as_str() {
        "zone" => return zones_match(r, zones(cluster)),
        "provider" => given(&cluster.spec.provider),
        "region" => given(&cluster.spec.region),
        _ => None,
    };
    requirement(&r.operator, r.values.as_deref().unwrap_or_default(), have.as_deref())
}

/// The members that a selector means, by the index: the same as [`labels_match`] for each.
fn labelled(index: &Index, selector: &LabelSelector, bits: &mut Bits) {
    for (key, value) in selector.match_labels.iter().flatten() {
        bits.and(&index.label(key, value));
    }
    for e in selector.match_expressions.iter().flatten() {
        let values = e.values.as_deref().unwrap_or_default();
        match e.operator.as_str() {
            // Who lacks the label satisfies these.
            "NotIn" => bits.without(&index.labelled(&e.key, |v| values.iter().any(|x| x == v))),
            "DoesNotExist" => bits.without(&index.labelled(&e.key, |_| true)),
            operator => bits.and(&index.labelled(&e.key, |v| requirement(operator, values, Some(v)))),
        }
    }
}

fn fielded(index: &Index, r: &NodeSelectorRequirement, bits: &mut Bits) {
    let values = r.values.as_deref().unwrap_or_default();
    let map = match r.key.as_str() {
        "provider" => &index.providers,
        "region" => &index.regions,
        "zone" => {
            bits.and(&index.zoned(|list| zones_match(r, list.iter().map(String::as_str))));
            return;
        }
        _ => {
            if !requirement(&r.operator, values, None) {
                *bits = Bits::default();
            }
            return;
        }
    };
    let without = requirement(&r.operator, values, None);
    let mut named = Bits::default();
    for (value, posting) in map {
        if requirement(&r.operator, values, Some(value)) != without {
            posting.add_to(&mut named);
        }
    }
    if without {
        bits.without(&named)
    } else {
        bits.and(&named)
    }
}

/// Leaves in `bits` the members that an affinity means: the same as [`cluster_matches`] for each.
pub(super) fn narrow(fleet: &Fleet, affinity: &ClusterAffinity, bits: &mut Bits) {
    let index = fleet.index();
    if !affinity.cluster_names.is_empty() {
        let mut named = Bits::default();
        for slot in affinity.cluster_names.iter().filter_map(|n| fleet.slot(n)) {
            named.set(slot);
        }
        bits.and(&named);
    }
    for slot in affinity.exclude_clusters.iter().filter_map(|n| fleet.slot(n)) {
        bits.clear(slot);
    }
    if let Some(s) = &affinity.label_selector {
        labelled(index, s, bits);
    }
    for r in affinity.field_selector.iter().flat_map(|f| &f.match_expressions) {
        fielded(index, r, bits);
    }
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
