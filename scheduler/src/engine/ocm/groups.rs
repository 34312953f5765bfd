//! Decision groups: the chosen clusters in portions, for progressive rollout.

use std::collections::BTreeMap;

use cfn_api::ocm::cluster::ManagedCluster;
use cfn_api::ocm::placement::{
    ClusterDecision, DecisionGroupStatus, GroupStrategy, Placement, PlacementDecision, PlacementDecisionStatus,
};
use cfn_api::ocm::{GROUP_INDEX_LABEL, GROUP_NAME_LABEL, PLACEMENT_LABEL};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use super::filter::Selector;
use super::{Choice, Status, View, name};

/// Most decisions in one PlacementDecision (`maxNumOfClusterDecisions`).
pub const MAX_DECISIONS: usize = 100;

/// Some of the chosen clusters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Name; empty for the rest.
    pub name: String,
    /// Clusters, by name.
    pub clusters: Vec<String>,
}

/// Most clusters in a group.
fn length(wanted: Option<&IntOrString>, total: usize) -> Result<usize, Status> {
    let wrong = |text: &str| {
        Err(Status::misconfigured(
            "",
            format!("{text} invalid type: string is not a percentage"),
        ))
    };
    let n = match wanted {
        None => 0,
        Some(IntOrString::Int(n)) => usize::try_from(*n).unwrap_or(0),
        Some(IntOrString::String(text)) => {
            let Some(percent) = text.strip_suffix('%').and_then(|p| p.parse::<f64>().ok()) else {
                return wrong(text);
            };
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a number of clusters; saturates"
            )]
            let n = (percent / 100.0 * total as f64).ceil() as usize;
            n
        }
    };
    Ok(if n == 0 || n > total { total } else { n })
}

/// Puts what was chosen into the strategy's groups: first the named ones in order, then the rest.
///
/// # Errors
/// When the strategy makes no sense.
pub fn decision_groups(view: &View<'_>, strategy: &GroupStrategy, choice: &Choice) -> Result<Vec<Group>, Status> {
    let by_name: BTreeMap<&str, &ManagedCluster> = view.clusters.iter().map(|c| (name(c), *c)).collect();
    let chosen = choice.decisions.iter().filter_map(|d| by_name.get(d.as_str()).copied());
    let mut rest: Vec<&ManagedCluster> = chosen.collect();
    let most = length(strategy.clusters_per_decision_group.as_ref(), rest.len())?;
    let mut groups = Vec::new();
    let mut divide = |group: &str, members: &[&ManagedCluster]| {
        for part in members.chunks(most.max(1)) {
            let mut clusters: Vec<String> = part.iter().map(|c| name(c).to_owned()).collect();
            clusters.sort();
            groups.push(Group {
                name: group.to_owned(),
                clusters,
            });
        }
    };
    for g in &strategy.decision_groups {
        let s = &g.group_cluster_selector;
        let selector = Selector::of(&s.label_selector, &s.claim_selector)
            .map_err(|why| Status::misconfigured("", format!("decision group {}: {why}", g.group_name)))?;
        let (members, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|c| selector.matches(c, view));
        divide(&g.group_name, &members);
        rest = others;
    }
    divide("", &rest);
    if groups.is_empty() {
        groups.push(Group::default());
    }
    Ok(groups)
}

/// The objects that carry the groups, and how the Placement's status lists them.
#[must_use]
pub fn placement_decisions(
    placement: &Placement,
    groups: &[Group],
) -> (Vec<PlacementDecision>, Vec<DecisionGroupStatus>) {
    let owner = placement.metadata.name.as_deref().unwrap_or_default();
    let (mut objects, mut list) = (Vec::new(), Vec::new());
    for (index, group) in groups.iter().enumerate() {
        let mut names = Vec::new();
        let mut parts: Vec<&[String]> = group.clusters.chunks(MAX_DECISIONS).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        for part in parts {
            let name = format!("{owner}-decision-{}", objects.len() + 1);
            names.push(name.clone());
            let labels = [
                (PLACEMENT_LABEL, owner.to_owned()),
                (GROUP_INDEX_LABEL, index.to_string()),
                (GROUP_NAME_LABEL, group.name.clone()),
            ];
            objects.push(PlacementDecision {
                metadata: ObjectMeta {
                    name: Some(name),
                    namespace: placement.metadata.namespace.clone(),
                    labels: Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
                    ..ObjectMeta::default()
                },
                status: Some(PlacementDecisionStatus {
                    decisions: part
                        .iter()
                        .map(|c| ClusterDecision {
                            cluster_name: c.clone(),
                            reason: String::new(),
                        })
                        .collect(),
                }),
                ..PlacementDecision::default()
            });
        }
        list.push(DecisionGroupStatus {
            decision_group_index: i32::try_from(index).unwrap_or(i32::MAX),
            decision_group_name: group.name.clone(),
            decisions: names,
            clusters_count: i32::try_from(group.clusters.len()).unwrap_or(i32::MAX),
        });
    }
    (objects, list)
}
