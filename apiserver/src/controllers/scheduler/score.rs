//! Which of the feasible nodes is best: NodeResourcesFit (LeastAllocated), NodeAffinity, TaintToleration,
//! InterPodAffinity (preferred) and an even spread of the pods of one owner, with upstream's weights.

use std::sync::Arc;

use serde_json::Value;

use super::super::object::{Object, selects_object};
use super::super::pods;
use super::super::world::World;
use super::filter::term_matches;
use super::resources::{Usage, amount};

const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The name of the best node; equal scores fall to the first in order (nodes come by name).
pub(crate) fn best(pod: &Value, share: &Usage, feasible: &[(&Arc<Value>, &Usage)], world: &World) -> String {
    let least: Vec<i64> = feasible.iter().map(|(n, u)| least_allocated(share, n, u)).collect();
    let affinity: Vec<i64> = feasible.iter().map(|(n, _)| preferred_nodes(pod, n)).collect();
    let taints: Vec<i64> = feasible.iter().map(|(n, _)| -intolerable(pod, n)).collect();
    let together: Vec<i64> = feasible.iter().map(|(n, _)| preferred_pods(pod, n, world)).collect();
    let spread: Vec<i64> = feasible.iter().map(|(_, u)| -siblings(pod, u)).collect();
    let (affinity, taints, together, spread) = (
        normalise(&affinity),
        normalise(&taints),
        normalise(&together),
        normalise(&spread),
    );
    let mut best = 0;
    let mut most = i64::MIN;
    for i in 0..feasible.len() {
        // Weights of the default profile: NodeResourcesFit 1, NodeAffinity 2, TaintToleration 3, InterPodAffinity 2,
        // PodTopologySpread 2.
        let score = least[i] + 2 * affinity[i] + 3 * taints[i] + 2 * together[i] + 2 * spread[i];
        if score > most {
            (best, most) = (i, score);
        }
    }
    feasible[best].0.name().to_owned()
}

/// Stretches scores to 0..=100; equal scores are all 0.
fn normalise(scores: &[i64]) -> Vec<i64> {
    let low = scores.iter().min().copied().unwrap_or(0);
    let range = scores.iter().max().copied().unwrap_or(0) - low;
    scores
        .iter()
        .map(|s| if range == 0 { 0 } else { (s - low) * 100 / range })
        .collect()
}

fn least_allocated(share: &Usage, node: &Value, used: &Usage) -> i64 {
    let one = |name: &str, asked: i64| {
        let has = node
            .at("/status/allocatable")
            .and_then(|a| a.get(name))
            .map_or(0, |v| amount(name, v));
        if has <= 0 || asked > has {
            0
        } else {
            i64::try_from(i128::from(has - asked) * 100 / i128::from(has)).unwrap_or(0)
        }
    };
    (one("cpu", used.cpu_scored + share.cpu_scored) + one("memory", used.memory_scored + share.memory_scored)) / 2
}

fn preferred_nodes(pod: &Value, node: &Value) -> i64 {
    let terms = pod.items(&format!("/spec/affinity/nodeAffinity/{PREFERRED}"));
    terms
        .iter()
        .filter(|t| t.get("preference").is_some_and(|p| term_matches(p, node)))
        .filter_map(|t| t.int("/weight"))
        .sum()
}

fn intolerable(pod: &Value, node: &Value) -> i64 {
    let bad = node.items("/spec/taints").iter().filter(|t| {
        t["effect"] == "PreferNoSchedule"
            && !pod
                .items("/spec/tolerations")
                .iter()
                .any(|x| super::super::taint_eviction::tolerates(x, t))
    });
    i64::try_from(bad.count()).unwrap_or(i64::MAX)
}

fn preferred_pods(pod: &Value, node: &Value, world: &World) -> i64 {
    let mut total = 0;
    for (kind, sign) in [("podAffinity", 1), ("podAntiAffinity", -1)] {
        for t in pod.items(&format!("/spec/affinity/{kind}/{PREFERRED}")) {
            let Some(term) = t.get("podAffinityTerm") else { continue };
            let key = term.text("/topologyKey");
            let Some(value) = node.label(key) else { continue };
            let peers = world
                .list(&super::super::world::gvr::NODES)
                .filter(|n| n.label(key) == Some(value));
            let here = peers.flat_map(|n| world.pods_on(n.name())).filter(|p| {
                p.namespace() == pod.namespace() && pods::is_active(p) && selects_object(term.get("labelSelector"), p)
            });
            total += sign * t.int("/weight").unwrap_or(1) * i64::try_from(here.count()).unwrap_or(0);
        }
    }
    total
}

/// Pods of the same controller on the node.
fn siblings(pod: &Value, used: &Usage) -> i64 {
    pod.controller()
        .and_then(|o| used.owners.get(o.text("/uid")))
        .copied()
        .unwrap_or(0)
}
