//! Which clusters a Placement may choose from: its namespace's bound sets.

use cfn_api::ocm::CLUSTER_SET_LABEL;
use cfn_api::ocm::cluster::ManagedCluster;
use cfn_api::ocm::placement::Placement;
use cfn_api::ocm::set::{ManagedClusterSet, ManagedClusterSetBinding};

use crate::engine::affinity::{check_selector, labels_match};

/// Why a set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// The selector's type is none of the two.
    #[error("selectorType is not right: {0}")]
    Type(String),
    /// The label selector makes no sense.
    #[error("spec.clusterSelector.labelSelector: {0}")]
    Selector(String),
}

/// What a Placement may choose from.
#[derive(Debug, Clone, Default)]
pub struct Eligible<'a> {
    /// How many valid bindings its namespace has.
    pub bindings: usize,
    /// The sets, by name.
    pub sets: Vec<String>,
    /// Their clusters, each once.
    pub clusters: Vec<&'a ManagedCluster>,
}

/// The clusters of a set; those on their way out do not count.
///
/// # Errors
/// When the set's selector makes no sense.
pub fn set_members<'a>(
    set: &ManagedClusterSet,
    clusters: &'a [ManagedCluster],
) -> Result<Vec<&'a ManagedCluster>, SetError> {
    let selector = &set.spec.cluster_selector;
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let all = clusters.iter().filter(|c| c.metadata.deletion_timestamp.is_none());
    let empty = std::collections::BTreeMap::new();
    match selector.selector_type.as_deref().unwrap_or_default() {
        "" | "ExclusiveClusterSetLabel" => {
            let label = |c: &&ManagedCluster| {
                let labels = c.metadata.labels.as_ref();
                labels.and_then(|l| l.get(CLUSTER_SET_LABEL)).map(String::as_str) == Some(name)
            };
            Ok(all.filter(label).collect())
        }
        "LabelSelector" => {
            let Some(labels) = &selector.label_selector else {
                return Ok(Vec::new());
            };
            check_selector(labels).map_err(SetError::Selector)?;
            Ok(all
                .filter(|c| labels_match(labels, c.metadata.labels.as_ref().unwrap_or(&empty)))
                .collect())
        }
        other => Err(SetError::Type(other.to_owned())),
    }
}

/// What `placement` may choose from.
///
/// # Errors
/// When one of its sets makes no sense.
pub fn eligible<'a>(
    placement: &Placement,
    sets: &[ManagedClusterSet],
    bindings: &[ManagedClusterSetBinding],
    clusters: &'a [ManagedCluster],
) -> Result<Eligible<'a>, SetError> {
    let named = |n: &str| sets.iter().find(|s| s.metadata.name.as_deref() == Some(n));
    // A binding counts only where its set exists.
    let bound: Vec<&ManagedClusterSet> = bindings
        .iter()
        .filter(|b| b.metadata.namespace == placement.metadata.namespace)
        .filter_map(|b| named(&b.spec.cluster_set))
        .collect();
    let wanted = |s: &&&ManagedClusterSet| {
        let list = &placement.spec.cluster_sets;
        list.is_empty() || s.metadata.name.as_ref().is_some_and(|n| list.contains(n))
    };
    let mut out = Eligible {
        bindings: bound.len(),
        ..Eligible::default()
    };
    for set in bound.iter().filter(wanted) {
        out.sets.extend(set.metadata.name.clone());
        out.clusters.extend(set_members(set, clusters)?);
    }
    out.sets.sort();
    out.sets.dedup();
    out.clusters.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    out.clusters.dedup_by(|a, b| a.metadata.name == b.metadata.name);
    Ok(out)
}
