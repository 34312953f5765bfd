//! Fleets and bindings of the make of the recorded ones (`oracle/fleet*.json.gz`), from a seed.

use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::ResourceBindingSpec;
use serde_json::{Value, json};

/// A stream of numbers (Knuth's MMIX linear congruential generator); the same everywhere.
pub struct Numbers(pub u64);

impl Numbers {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }

    /// One of these.
    pub fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let i = usize::try_from(self.below(list.len() as u64)).unwrap_or(0);
        &list[i]
    }
}

/// Cluster number `i` in one of `regions` regions.
pub fn cluster(i: u64, regions: u64, n: &mut Numbers) -> Cluster {
    let region = format!("region-{}", i % regions);
    let edge = n.below(3) > 0;
    let cpu = if edge { 16 } else { 1000 };
    let used = n.below(cpu * 900);
    let taints = if n.below(7) == 0 {
        json!([{"key": "dedicated", "value": "v2x", "effect": "NoSchedule"}])
    } else {
        json!([])
    };
    let cluster = json!({
        "apiVersion": "cluster.karmada.io/v1alpha1", "kind": "Cluster",
        "metadata": {"name": format!("member{i:05}"), "labels": {
            "tier": if edge { "edge" } else { "cloud" }, "gpu": n.of(&["true", "false"]), "env": n.of(&["prod", "test"])}},
        "spec": {"syncMode": "Pull", "region": region, "zones": [format!("{region}-z{}", n.below(3))],
            "provider": n.of(&["cmcc", "aliyun", "aws", "onprem"]), "taints": taints},
        "status": {
            "apiEnablements": [{"groupVersion": "apps/v1", "resources": [{"name": "deployments", "kind": "Deployment"}]}],
            "conditions": [{"type": "CompleteAPIEnablements", "status": "True", "reason": "", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "resourceSummary": {
                "allocatable": {"cpu": cpu.to_string(), "memory": format!("{}Gi", cpu * 4), "pods": (cpu * 4).to_string()},
                "allocated": {"cpu": format!("{used}m"), "memory": format!("{}Mi", used * 4), "pods": (used / 500).to_string()}}}
    });
    serde_json::from_value(cluster).unwrap_or_default()
}

/// A fleet of `size` clusters.
pub fn clusters(size: u64, regions: u64, seed: u64) -> Vec<Cluster> {
    let mut n = Numbers(seed);
    (0..size).map(|i| cluster(i, regions, &mut n)).collect()
}

fn placement(size: u64, n: &mut Numbers) -> Value {
    let name = |n: &mut Numbers| format!("member{:05}", n.below(size));
    let affinity = match n.below(6) {
        0 => Value::Null,
        1 => json!({"labelSelector": {"matchLabels": {"tier": n.of(&["cloud", "edge"])}}}),
        2 => json!({"labelSelector": {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["true"]}]}}),
        3 => json!({"fieldSelector": {"matchExpressions":
            [{"key": "provider", "operator": n.of(&["In", "NotIn"]), "values": ["aws", n.of(&["cmcc", "onprem"])]}]}}),
        4 => json!({"exclude": [name(n), name(n), name(n)]}),
        _ => json!({"clusterNames": (0..2 + n.below(8)).map(|_| name(n)).collect::<Vec<_>>()}),
    };
    let spread = match n.below(6) {
        0 => json!([{"spreadByField": "cluster", "minGroups": 1 + n.below(2), "maxGroups": 3 + n.below(6)}]),
        1 => json!([{"spreadByField": "region", "minGroups": 1 + n.below(2), "maxGroups": 3 + n.below(2)},
            {"spreadByField": "cluster", "minGroups": 1 + n.below(2), "maxGroups": 3 + n.below(5)}]),
        _ => json!([]),
    };
    let scheduling = match n.below(4) {
        0 => json!({"replicaSchedulingType": "Duplicated"}),
        1 => json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"}),
        2 => json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted",
            "weightPreference": {"dynamicWeight": "AvailableReplicas"}}),
        _ => json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted", "weightPreference":
            {"staticWeightList": [{"targetCluster": {"labelSelector": {"matchLabels": {"tier": "cloud"}}}, "weight": 3},
                {"targetCluster": {"clusterNames": [name(n), name(n)]}, "weight": 1}]}}),
    };
    let tolerations = if n.below(4) == 0 {
        json!([{"key": "dedicated", "operator": "Exists"}])
    } else {
        json!([])
    };
    let mut p =
        json!({"spreadConstraints": spread, "replicaScheduling": scheduling, "clusterTolerations": tolerations});
    if !affinity.is_null() {
        p["clusterAffinity"] = affinity;
    }
    p
}

/// Bindings for a fleet of `size` clusters.
pub fn specs(count: u64, size: u64, seed: u64) -> Vec<ResourceBindingSpec> {
    let mut n = Numbers(seed);
    let one = |i: u64| {
        let placement = placement(size, &mut n);
        let request = json!({"cpu": n.of(&["100m", "500m", "2"]), "memory": n.of(&["128Mi", "1Gi", "4Gi"])});
        let spec = json!({
            "resource": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "default", "name": format!("w{i}"), "uid": format!("u{i}")},
            "replicas": n.of(&[1, 2, 3, 5, 10, 50, 100, 300]), "replicaRequirements": {"resourceRequest": request},
            "placement": placement});
        serde_json::from_value(spec).unwrap_or_default()
    };
    (0..count).map(one).collect()
}
