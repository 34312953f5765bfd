//! What a cluster has: pure sums over its nodes and pods (Karmada's `cluster_status_controller.go`).

use std::collections::BTreeMap;

use cfn_api::cfn::Accelerator;
use cfn_api::karmada::cluster::{FreeNodes, NodeSummary, ResourceSummary, UnschedulableReplicas};
use cfn_cel::quantity::Quantity as Amount;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Annotation on nodes: how long one request takes there when it is idle, e.g. `4ms`.
pub const SERVICE_TIME: &str = "cfn.akraino.org/service-time";

type Amounts = BTreeMap<String, Amount>;

/// Whether the node's Ready condition is True.
#[must_use]
pub fn is_ready(node: &Node) -> bool {
    node.status
        .as_ref()
        .and_then(|s| s.conditions.as_ref())
        .is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// How many nodes, and how many of them are ready.
pub fn nodes<'a>(nodes: impl Iterator<Item = &'a Node>) -> NodeSummary {
    let mut summary = NodeSummary::default();
    for n in nodes {
        summary.total_num += 1;
        summary.ready_num += i32::from(is_ready(n));
    }
    summary
}

/// Room: what the nodes allow, what pods on nodes request, what waiting pods request. Cordoned nodes and those that
/// are not ready count in nothing that could be allocated.
pub fn resources<'a>(nodes: impl Iterator<Item = &'a Node>, pods: impl Iterator<Item = &'a Pod>) -> ResourceSummary {
    let (mut allocatable, mut allocated, mut allocating) = (Amounts::new(), Amounts::new(), Amounts::new());
    for n in nodes.filter(|n| is_ready(n) && !unschedulable(n)) {
        if let Some(a) = n.status.as_ref().and_then(|s| s.allocatable.as_ref()) {
            add(&mut allocatable, a);
        }
    }
    for p in pods {
        if !lives(p) {
            continue;
        }
        let on_node = p
            .spec
            .as_ref()
            .is_some_and(|s| s.node_name.as_deref().is_some_and(|n| !n.is_empty()));
        let sum = if on_node { &mut allocated } else { &mut allocating };
        for (k, v) in requests(p) {
            *sum.entry(k).or_default() += v;
        }
        *sum.entry("pods".to_owned()).or_default() += Amount::from_units(1);
    }
    ResourceSummary {
        allocatable: print(&allocatable),
        allocating: print(&allocating),
        allocated: print(&allocated),
        allocatable_modelings: Vec::new(),
    }
}

/// Groups of nodes that are told apart at most.
const GROUPS: usize = 64;
/// Where there would be more, what is free is rounded down to this part of what the node has.
const GRAIN: i64 = 16;

/// What is free on the nodes that take pods, one by one; nodes that are alike are one group.
pub fn free_nodes<'a>(nodes: impl Iterator<Item = &'a Node>, pods: impl Iterator<Item = &'a Pod>) -> Vec<FreeNodes> {
    let mut used: BTreeMap<&str, Amounts> = BTreeMap::new();
    for p in pods.filter(|p| lives(p)) {
        let Some(node) = p.spec.as_ref().and_then(|s| s.node_name.as_deref()) else {
            continue;
        };
        let sum = used.entry(node).or_default();
        for (k, v) in requests(p) {
            *sum.entry(k).or_default() += v;
        }
        *sum.entry("pods".to_owned()).or_default() += Amount::from_units(1);
    }
    let mut each: Vec<(FreeNodes, Amounts)> = Vec::new();
    for n in nodes.filter(|n| is_ready(n) && !unschedulable(n)) {
        let name = n.metadata.name.as_deref().unwrap_or_default();
        let mut whole = Amounts::new();
        if let Some(a) = n.status.as_ref().and_then(|s| s.allocatable.as_ref()) {
            add(&mut whole, a);
        }
        let taken = used.get(name);
        let mut free = Amounts::new();
        for (k, have) in &whole {
            let mut left = *have;
            if let Some(t) = taken.and_then(|t| t.get(k)) {
                left = left.minus(*t);
            }
            free.insert(k.clone(), left);
        }
        let labels = n.metadata.labels.iter().flatten().filter(|(_, v)| *v != name);
        let taints = n.spec.iter().filter_map(|s| s.taints.as_ref()).flatten();
        let group = FreeNodes {
            count: 1,
            free: print(&free),
            labels: labels.map(|(k, v)| (k.clone(), v.clone())).collect(),
            taints: taints
                .filter(|t| t.effect == "NoSchedule" || t.effect == "NoExecute")
                .map(|t| Taint {
                    time_added: None,
                    ..t.clone()
                })
                .collect(),
        };
        each.push((group, whole));
    }
    let mut groups = merge(each.iter().map(|(g, _)| g.clone()));
    if groups.len() > GROUPS {
        groups = merge(each.iter().map(|(g, whole)| {
            let mut g = g.clone();
            for (k, q) in &mut g.free {
                let (have, left) = (whole.get(k), q.0.parse::<Amount>());
                if let (Some(have), Ok(left)) = (have, left) {
                    *q = Quantity(left.rounded_down(*have, GRAIN).to_string());
                }
            }
            g
        }));
        // Rather too little room than too much: the smallest groups are left out.
        groups.sort_by_key(|g| std::cmp::Reverse(g.count));
        groups.truncate(GROUPS);
    }
    groups
}

fn merge(nodes: impl Iterator<Item = FreeNodes>) -> Vec<FreeNodes> {
    let mut groups: BTreeMap<String, FreeNodes> = BTreeMap::new();
    for n in nodes {
        let key = serde_json::to_string(&n).unwrap_or_default();
        groups.entry(key).and_modify(|g| g.count += 1).or_insert(n);
    }
    groups.into_values().collect()
}

/// Whether a pod takes room.
fn lives(p: &Pod) -> bool {
    let phase = p.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    phase != "Succeeded" && phase != "Failed"
}

/// Workloads with pods that the member's scheduler found no node for.
pub fn unschedulable_replicas<'a>(pods: impl Iterator<Item = &'a Pod>) -> Vec<UnschedulableReplicas> {
    let mut all: BTreeMap<(String, String, String), UnschedulableReplicas> = BTreeMap::new();
    for p in pods.filter(|p| lives(p) && p.metadata.deletion_timestamp.is_none()) {
        let conditions = p.status.iter().filter_map(|s| s.conditions.as_ref()).flatten();
        let waits = conditions
            .filter(|c| {
                c.type_ == "PodScheduled" && c.status == "False" && c.reason.as_deref() == Some("Unschedulable")
            })
            .find_map(|c| c.last_transition_time.clone());
        let (Some(since), Some((kind, name))) = (waits, workload(p)) else {
            continue;
        };
        let namespace = p.metadata.namespace.clone().unwrap_or_default();
        let key = (kind.clone(), namespace.clone(), name.clone());
        let entry = all.entry(key).or_insert_with(|| UnschedulableReplicas {
            kind,
            namespace,
            name,
            replicas: 0,
            since: Some(since.clone()),
        });
        entry.replicas += 1;
        if entry.since.as_ref().is_none_or(|s| s.0 < since.0) {
            entry.since = Some(since);
        }
    }
    all.into_values().collect()
}

/// Kind and name of what a pod is a replica of. A ReplicaSet with a pod-template-hash is a Deployment's.
fn workload(pod: &Pod) -> Option<(String, String)> {
    let owner = pod
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|o| o.controller == Some(true))?;
    let hash = pod.metadata.labels.as_ref().and_then(|l| l.get("pod-template-hash"));
    let deployment = hash.and_then(|h| owner.name.strip_suffix(h.as_str())?.strip_suffix('-'));
    Some(match deployment.filter(|_| owner.kind == "ReplicaSet") {
        Some(d) => ("Deployment".to_owned(), d.to_owned()),
        None => (owner.kind.clone(), owner.name.clone()),
    })
}

fn unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false)
}

fn add(sum: &mut Amounts, amounts: &BTreeMap<String, Quantity>) {
    for (k, v) in amounts {
        if let Ok(v) = v.0.parse() {
            *sum.entry(k.clone()).or_default() += v;
        }
    }
}

fn print(sum: &Amounts) -> BTreeMap<String, Quantity> {
    sum.iter().map(|(k, v)| (k.clone(), Quantity(v.to_string()))).collect()
}

/// Requests of a pod: the sum over its containers, or what one init container needs where that is more.
fn requests(pod: &Pod) -> Amounts {
    let mut sum = Amounts::new();
    let Some(spec) = &pod.spec else { return sum };
    for c in &spec.containers {
        if let Some(r) = c.resources.as_ref().and_then(|r| r.requests.as_ref()) {
            add(&mut sum, r);
        }
    }
    for c in spec.init_containers.iter().flatten() {
        for (k, v) in c.resources.iter().filter_map(|r| r.requests.as_ref()).flatten() {
            if let Ok(v) = v.0.parse::<Amount>() {
                let have = sum.entry(k.clone()).or_default();
                *have = (*have).max(v);
            }
        }
    }
    sum
}

/// Requested share of the allocatable CPU, percent.
#[must_use]
pub fn utilization(summary: &ResourceSummary) -> f64 {
    let cpu = |m: &BTreeMap<String, Quantity>| {
        m.get("cpu")
            .and_then(|q| q.0.parse::<Amount>().ok())
            .unwrap_or_default()
    };
    let (have, used) = (cpu(&summary.allocatable), cpu(&summary.allocated));
    if have.is_zero() {
        100.0
    } else {
        (100.0 * used.as_f64() / have.as_f64()).min(100.0)
    }
}

/// Mean service time of the ready nodes that state one, milliseconds; 0 when none does.
#[allow(clippy::cast_precision_loss, reason = "counts of nodes")]
pub fn service_time<'a>(nodes: impl Iterator<Item = &'a Node>) -> f64 {
    let (mut sum, mut n) = (0.0, 0_u32);
    for node in nodes.filter(|n| is_ready(n)) {
        let stated = node.metadata.annotations.as_ref().and_then(|a| a.get(SERVICE_TIME));
        if let Some(ms) = stated
            .and_then(|t| t.trim().strip_suffix("ms"))
            .and_then(|t| t.trim().parse::<f64>().ok())
        {
            sum += ms;
            n += 1;
        }
    }
    if n == 0 { 0.0 } else { sum / f64::from(n) }
}

/// Accelerators: extended resources of ready nodes, with the model that the node's label `<resource>.product` states
/// (as NVIDIA's feature discovery writes it).
pub fn accelerators<'a>(nodes: impl Iterator<Item = &'a Node>) -> Vec<Accelerator> {
    let mut found: BTreeMap<(String, Option<String>), i64> = BTreeMap::new();
    for node in nodes.filter(|n| is_ready(n)) {
        for (resource, q) in node.status.iter().filter_map(|s| s.allocatable.as_ref()).flatten() {
            let extended = resource.contains('/') && !resource.starts_with("kubernetes.io/");
            let count = q.0.parse::<Amount>().map_or(0, |n| n.value());
            if extended && count > 0 {
                let model = node
                    .metadata
                    .labels
                    .as_ref()
                    .and_then(|l| l.get(&format!("{resource}.product")))
                    .cloned();
                *found.entry((resource.clone(), model)).or_default() += count;
            }
        }
    }
    found
        .into_iter()
        .map(|((resource, model), count)| Accelerator { resource, model, count })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, ready: &str, cpu: &str, extra: serde_json::Value) -> Node {
        let mut v = json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}],
            "allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "110"}}});
        json_patch::merge(&mut v, &extra);
        serde_json::from_value(v).unwrap()
    }

    #[test]
    fn sums_what_can_be_used() {
        let all = [
            node(
                "a",
                "True",
                "2",
                json!({"metadata": {"annotations": {SERVICE_TIME: "4ms"}}}),
            ),
            node("b", "False", "8", json!({})),
            node(
                "c",
                "True",
                "1500m",
                json!({"status": {"allocatable": {"nvidia.com/gpu": "2"}},
                "metadata": {"labels": {"nvidia.com/gpu.product": "L4"}, "annotations": {SERVICE_TIME: "6ms"}}}),
            ),
        ];
        let pod = |v| serde_json::from_value::<Pod>(v).unwrap();
        let container = json!([{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]);
        let pods = [
            pod(json!({"metadata": {"name": "x"}, "spec": {"nodeName": "a", "containers": container}})),
            pod(json!({"metadata": {"name": "y"}, "spec": {"containers": container}})),
            pod(
                json!({"metadata": {"name": "z"}, "spec": {"nodeName": "a", "containers": container},
                "status": {"phase": "Succeeded"}}),
            ),
        ];
        let n = nodes(all.iter());
        assert_eq!((n.total_num, n.ready_num), (3, 2));
        let r = resources(all.iter(), pods.iter());
        assert_eq!(r.allocatable["cpu"].0, "3500m");
        assert_eq!(r.allocatable["memory"].0, "8Gi");
        assert_eq!(r.allocated["cpu"].0, "500m");
        assert_eq!(r.allocating["pods"].0, "1");
        assert!((service_time(all.iter()) - 5.0).abs() < 1e-9);
        assert!((utilization(&r) - 100.0 / 7.0).abs() < 1e-9);
        let acc = accelerators(all.iter());
        assert_eq!((acc.len(), acc[0].count, acc[0].model.as_deref()), (1, 2, Some("L4")));
    }
}
