//! The accurate estimate: how many replicas a cluster's nodes take one by one, by what its agent says is free on each
//! (Karmada's `pkg/estimator/server`). It counts beside the general estimate, and the lower of the two wins.

use std::collections::BTreeMap;

use cfn_api::karmada::cluster::FreeNodes;
use cfn_api::karmada::work::NodeClaim;
use k8s_openapi::api::core::v1::Taint;

use super::estimate::{CPU, PODS};
use super::filter::tolerates;
use super::quantity::Amount;

/// Replicas with these requests (as the index's columns count them, their pod among them) that the nodes take.
pub(super) fn replicas<'a>(
    nodes: &[FreeNodes],
    requests: impl Iterator<Item = (&'a str, i64)> + Clone,
    claim: Option<&NodeClaim>,
) -> i64 {
    let fits = |n: &&FreeNodes| claim.is_none_or(|c| selected(n, c)) && n.taints.iter().all(|t| borne(t, claim));
    let of = |n: &FreeNodes| {
        let each = requests.clone().filter(|(_, want)| *want > 0).map(|(resource, want)| {
            let free = n.free.get(resource).and_then(Amount::parse).unwrap_or_default();
            let free = if resource == CPU { free.milli() } else { free.value() };
            free.max(0) / want
        });
        each.min().unwrap_or(0).saturating_mul(i64::from(n.count))
    };
    nodes.iter().filter(fits).map(of).fold(0, i64::saturating_add)
}

fn selected(nodes: &FreeNodes, claim: &NodeClaim) -> bool {
    claim.node_selector.iter().all(|(k, v)| nodes.labels.get(k) == Some(v))
}

fn borne(taint: &Taint, claim: Option<&NodeClaim>) -> bool {
    claim.is_some_and(|c| c.tolerations.iter().any(|t| tolerates(t, taint)))
}

/// How many replicas take what is promised to others already, rounded up.
pub(super) fn taken<'a>(
    promised: impl Iterator<Item = &'a BTreeMap<String, Amount>>,
    requests: impl Iterator<Item = (&'a str, i64)>,
) -> i64 {
    let mut sum: BTreeMap<&str, i64> = BTreeMap::new();
    for (resource, amount) in promised.flatten() {
        let n = if resource == CPU {
            amount.milli()
        } else {
            amount.value()
        };
        let all = sum.entry(resource).or_default();
        *all = all.saturating_add(n);
    }
    let shares = requests
        .filter(|(k, want)| *want > 0 && *k != PODS)
        .map(|(resource, want)| {
            let n = sum.get(resource).copied().unwrap_or(0);
            n / want + i64::from(n % want != 0)
        });
    shares.max().unwrap_or_else(|| sum.get(PODS).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nodes() -> Vec<FreeNodes> {
        serde_json::from_value(json!([
            {"count": 2, "free": {"cpu": "1500m", "memory": "4Gi", "pods": "10"}, "labels": {"disk": "ssd"}},
            {"count": 1, "free": {"cpu": "8", "memory": "2Gi", "pods": "3"}},
            {"count": 1, "free": {"cpu": "8", "memory": "64Gi", "pods": "30"}, "taints": [{"key": "gpu", "effect": "NoSchedule"}]},
        ]))
        .unwrap()
    }

    #[test]
    fn nodes_take_whole_replicas() {
        let claim = |v| serde_json::from_value::<NodeClaim>(v).unwrap();
        for (requests, claim, want) in [
            // 1500m hold one of 1 each: the sum over the cluster would hold more.
            (vec![("cpu", 1000), ("pods", 1)], None, 1 + 1 + 3),
            (vec![("cpu", 1000), ("memory", 1 << 30), ("pods", 1)], None, 1 + 1 + 2),
            (
                vec![("cpu", 500), ("pods", 1)],
                Some(claim(json!({"nodeSelector": {"disk": "ssd"}}))),
                6,
            ),
            (
                vec![("cpu", 1000), ("pods", 1)],
                Some(claim(json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]}))),
                1 + 1 + 3 + 8,
            ),
            (vec![("nvidia.com/gpu", 1), ("pods", 1)], None, 0),
            (vec![("pods", 1)], None, 23),
        ] {
            assert_eq!(
                replicas(&nodes(), requests.clone().into_iter(), claim.as_ref()),
                want,
                "{requests:?}"
            );
        }
    }

    #[test]
    fn what_is_promised_counts_in_replicas() {
        let q = |s: &str| Amount::parse(&k8s_openapi::apimachinery::pkg::api::resource::Quantity(s.into())).unwrap();
        let promised = [
            BTreeMap::from([("cpu".to_owned(), q("1500m")), ("pods".to_owned(), q("3"))]),
            BTreeMap::from([("cpu".to_owned(), q("1")), ("pods".to_owned(), q("1"))]),
        ];
        assert_eq!(taken(promised.iter(), [("cpu", 1000), ("pods", 1)].into_iter()), 3);
        assert_eq!(taken(promised.iter(), [("pods", 1)].into_iter()), 4);
    }
}
