//! ClusterTaintPolicy: taints that follow a cluster's conditions (Karmada's `pkg/controllers/taint`). Pure.

use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::taint::{ClusterTaintPolicySpec, MatchCondition};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::engine::affinity::cluster_matches;

/// Whether all of `wanted` hold; nothing holds when nothing is wanted.
fn holds(cluster: &Cluster, wanted: &[MatchCondition]) -> bool {
    let conditions = cluster
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    !wanted.is_empty()
        && wanted.iter().all(|m| {
            let have = conditions.iter().find(|c| c.type_ == m.condition_type);
            let listed = have.is_some_and(|c| m.status_values.contains(&c.status));
            match m.operator.as_str() {
                "In" => listed,
                "NotIn" => have.is_some() && !listed,
                _ => false,
            }
        })
}

/// The cluster's taints after the policies have had their say, in the order of their names.
pub(super) fn apply<'a>(
    cluster: &Cluster,
    taints: Vec<Taint>,
    policies: impl Iterator<Item = &'a ClusterTaintPolicySpec>,
    now: Timestamp,
) -> Vec<Taint> {
    let mut taints = taints;
    for p in policies {
        if p.target_clusters.as_ref().is_some_and(|a| !cluster_matches(cluster, a)) {
            continue;
        }
        if holds(cluster, &p.add_on_conditions) {
            for t in &p.taints {
                if taints.iter().all(|h| h.key != t.key || h.effect != t.effect) {
                    taints.push(Taint {
                        key: t.key.clone(),
                        effect: t.effect.clone(),
                        value: t.value.clone(),
                        time_added: Some(Time(now)),
                    });
                }
            }
        }
        if holds(cluster, &p.remove_on_conditions) {
            taints.retain(|h| p.taints.iter().all(|t| h.key != t.key || h.effect != t.effect));
        }
    }
    taints
}

#[cfg(test)]
mod tests {
    use super::*;
    use cfn_api::conditions;
    use serde_json::json;

    #[test]
    fn taints_follow_conditions() {
        let policy: ClusterTaintPolicySpec = serde_json::from_value(json!({
            "targetClusters": {"clusterNames": ["m"]},
            "addOnConditions": [{"conditionType": "Ready", "operator": "NotIn", "statusValues": ["True"]}],
            "removeOnConditions": [{"conditionType": "Ready", "operator": "In", "statusValues": ["True"]}],
            "taints": [{"key": "not-ready", "effect": "NoExecute"}]}))
        .unwrap();
        let now = Timestamp::from_second(9).unwrap();
        let cluster = |name: &str, ready: Option<&str>| {
            let mut c = Cluster::default();
            c.metadata.name = Some(name.into());
            let mut list = Vec::new();
            if let Some(r) = ready {
                conditions::set(&mut list, "Ready", r, "", "", now);
            }
            c.status = Some(cfn_api::karmada::cluster::ClusterStatus {
                conditions: list,
                ..Default::default()
            });
            c
        };
        let run = |c: &Cluster, t: Vec<Taint>| apply(c, t, std::iter::once(&policy), now);
        assert_eq!(run(&cluster("m", None), vec![]), vec![]);
        assert_eq!(run(&cluster("other", Some("False")), vec![]), vec![]);
        let tainted = run(&cluster("m", Some("Unknown")), vec![]);
        assert_eq!((tainted.len(), tainted[0].effect.as_str()), (1, "NoExecute"));
        // Its time stays.
        assert_eq!(run(&cluster("m", Some("False")), tainted.clone()), tainted);
        assert_eq!(run(&cluster("m", Some("True")), tainted), vec![]);
    }
}
