//! Which pods must go so that one of higher priority fits (`pkg/scheduler/framework/preemption`): per node all of lower
//! priority are taken away, then as many as fit are put back; the node whose loss is least important is taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::super::object::Object;
use super::super::pods;
use super::super::world::{World, gvr};
use super::filter;
use super::resources::Usage;

pub(super) fn priority(pod: &Value) -> i64 {
    pod.int("/spec/priority").unwrap_or(0)
}

/// A node and who would go there, by what nodes are compared by: the most important of them, their sum, how many.
type Choice = ((i64, i64, usize), String, Vec<Arc<Value>>);

/// The node and its pods that have to go; `None`: there is no such node, or its pods are going already.
pub(super) fn victims(pod: &Value, world: &World, used: &BTreeMap<String, Usage>) -> Option<(String, Vec<Arc<Value>>)> {
    let mine = priority(pod);
    if pod.text("/spec/preemptionPolicy") == "Never" {
        return None;
    }
    let nominated = pod.text("/status/nominatedNodeName");
    if world.pods_on(nominated).any(|p| p.deleting() && priority(&p) < mine) {
        return None;
    }
    let share = Usage::of(pod);
    let nodes: Vec<Arc<Value>> = world.list(&gvr::NODES).filter(|n| !n.deleting()).collect();
    let nodes: Vec<&Arc<Value>> = nodes.iter().collect();
    let topology = filter::Topology::of(pod, &nodes, world, used);
    let mut best: Option<Choice> = None;
    for n in &nodes {
        let mut lower: Vec<_> = world
            .pods_on(n.name())
            .filter(|p| pods::is_active(p) && priority(p) < mine)
            .collect();
        if lower.is_empty() {
            continue;
        }
        let mut have = used.get(n.name()).cloned().unwrap_or_default();
        lower.iter().for_each(|p| have.sub(&Usage::of(p)));
        if filter::check(pod, &share, n, &have, &topology).is_err() {
            continue;
        }
        // The most important are put back first, of equals the older.
        lower.sort_by_key(|p| (-priority(p), p.time("/status/startTime"), p.name().to_owned()));
        let mut out = Vec::new();
        for p in lower {
            let mut with = have.clone();
            with.add(&Usage::of(&p));
            match filter::check(pod, &share, n, &with, &topology) {
                Ok(()) => have = with,
                Err(_) => out.push(p),
            }
        }
        let most = out.iter().map(|p| priority(p)).max().unwrap_or(i64::MIN);
        let sum = out.iter().map(|p| priority(p)).fold(0_i64, i64::saturating_add);
        let rank = (most, sum, out.len());
        if !out.is_empty() && best.as_ref().is_none_or(|(r, ..)| rank < *r) {
            best = Some((rank, n.name().to_owned(), out));
        }
    }
    best.map(|(_, node, out)| (node, out))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::world::world_of;
    use super::*;

    #[test]
    fn the_least_important_go_and_no_more_than_needed() {
        let pod = |name: &str, node: &str, cpu: &str, priority: i64| {
            json!({"metadata": {"name": name, "namespace": "d", "uid": name},
                "spec": {"nodeName": node, "priority": priority, "containers": [{"resources": {"requests": {"cpu": cpu}}}]},
                "status": {"phase": "Running"}})
        };
        let node = |name: &str| json!({"metadata": {"name": name, "uid": name}, "spec": {}, "status": {"allocatable": {"cpu": "4", "pods": "10"}}});
        let all = [pod("a1", "a", "2", 5), pod("a2", "a", "2", 1), pod("b1", "b", "4", 9)];
        let mut objects = vec![(&gvr::NODES, node("a")), (&gvr::NODES, node("b"))];
        let mut used: BTreeMap<String, Usage> = BTreeMap::new();
        for p in &all {
            used.entry(p.text("/spec/nodeName").to_owned())
                .or_default()
                .add(&Usage::of(p));
            objects.push((&gvr::PODS, p.clone()));
        }
        let world = world_of(&objects);
        let gone = |cpu: &str, priority: i64| {
            let found = victims(&pod("new", "", cpu, priority), &world, &used);
            found.map(|(n, v)| (n, v.iter().map(|p| p.name().to_owned()).collect::<Vec<_>>()))
        };
        assert_eq!(gone("2", 10), Some(("a".into(), vec!["a2".into()])));
        assert_eq!(gone("4", 10), Some(("a".into(), vec!["a1".into(), "a2".into()])));
        assert_eq!(gone("2", 1), None);
        assert_eq!(gone("5", 10), None);
    }
}
