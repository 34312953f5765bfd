//! Which nodes a pod may run on: the filter plugins NodeUnschedulable, NodeName, TaintToleration, NodeAffinity,
//! NodePorts, NodeResourcesFit, InterPodAffinity and PodTopologySpread, with their texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::super::node_health::UNSCHEDULABLE;
use super::super::object::{Object, requirement, selects_object};
use super::super::pods;
use super::super::taint_eviction::tolerates;
use super::super::world::World;
use super::resources::{Usage, amount};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Where the pods are that (anti-)affinity and spreading look at: per term, matching pods per topology value.
pub(crate) struct Topology {
    /// (topology key, matching pods by its value, anything matches anywhere)
    affinity: Vec<(String, BTreeMap<String, usize>, bool)>,
    anti_affinity: Vec<(String, BTreeMap<String, usize>)>,
    /// Terms of running pods that keep this one away: topology key and value.
    kept_away: Vec<(String, String)>,
    /// (topology key, max skew, matching pods by value of eligible nodes)
    spread: Vec<(String, i64, BTreeMap<String, usize>)>,
}

impl Topology {
    pub(crate) fn of(pod: &Value, nodes: &[&Arc<Value>], world: &World, used: &BTreeMap<String, Usage>) -> Self {
        let required = |kind: &str| pod.items(&format!("/spec/affinity/{kind}/{REQUIRED}")).to_vec();
        let counts = |term: &Value| count(term, pod, nodes, world);
        let together = required("podAffinity");
        let affinity = together.iter().map(|t| {
            let c = counts(t);
            // The first pod of a group that wants to be together may start anywhere.
            let first = c.is_empty() && selects_object(t.get("labelSelector"), pod);
            (t.text("/topologyKey").to_owned(), c, first)
        });
        let anti_affinity = required("podAntiAffinity")
            .iter()
            .map(|t| (t.text("/topologyKey").to_owned(), counts(t)))
            .collect();
        let mut kept_away = Vec::new();
        for n in nodes.iter().filter(|n| used.get(n.name()).is_some_and(|u| u.picky > 0)) {
            for other in world.pods_on(n.name()).filter(|p| pods::is_active(p)) {
                for t in other.items(&format!("/spec/affinity/podAntiAffinity/{REQUIRED}")) {
                    if in_namespaces(t, &other, pod) && selects_object(t.get("labelSelector"), pod) {
                        let key = t.text("/topologyKey");
                        kept_away.extend(n.label(key).map(|v| (key.to_owned(), v.to_owned())));
                    }
                }
            }
        }
        let hard = |c: &&Value| c.text("/whenUnsatisfiable") != "ScheduleAnyway";
        let spread = pod
            .items("/spec/topologySpreadConstraints")
            .iter()
            .filter(hard)
            .map(|c| {
                let key = c.text("/topologyKey");
                let mut per = BTreeMap::new();
                for n in nodes.iter().filter(|n| fits_node(pod, n)) {
                    if let Some(v) = n.label(key) {
                        let here = world.pods_on(n.name()).filter(|p| {
                            p.namespace() == pod.namespace()
                                && pods::is_active(p)
                                && selects_object(c.get("labelSelector"), p)
                        });
                        *per.entry(v.to_owned()).or_default() += here.count();
                    }
                }
                (key.to_owned(), c.int("/maxSkew").unwrap_or(1), per)
            });
        Self {
            affinity: affinity.collect(),
            anti_affinity,
            kept_away,
            spread: spread.collect(),
        }
    }
}

/// Whether a term of `of` is about pods in the namespace of `pod`.
fn in_namespaces(term: &Value, of: &Value, pod: &Value) -> bool {
    let named = term.items("/namespaces");
    if named.is_empty() && term.get("namespaceSelector").is_none_or(Value::is_null) {
        return of.namespace() == pod.namespace();
    }
    // An empty selector means every namespace; labels of namespaces are not looked at here.
    named.iter().any(|n| n == pod.namespace())
        || term
            .get("namespaceSelector")
            .is_some_and(|s| s.as_object().is_some_and(serde_json::Map::is_empty))
}

fn count(term: &Value, pod: &Value, nodes: &[&Arc<Value>], world: &World) -> BTreeMap<String, usize> {
    let key = term.text("/topologyKey");
    let mut per = BTreeMap::new();
    for n in nodes {
        let Some(v) = n.label(key) else { continue };
        let here = world
            .pods_on(n.name())
            .filter(|p| {
                pods::is_active(p) && in_namespaces(term, pod, p) && selects_object(term.get("labelSelector"), p)
            })
            .count();
        if here > 0 {
            *per.entry(v.to_owned()).or_default() += here;
        }
    }
    per
}

/// `spec.nodeSelector` and required node affinity.
pub(crate) fn fits_node(pod: &Value, node: &Value) -> bool {
    let selector = pod.at("/spec/nodeSelector").and_then(Value::as_object);
    if selector.is_some_and(|s| !s.iter().all(|(k, v)| node.label(k) == v.as_str())) {
        return false;
    }
    match pod.at(&format!("/spec/affinity/nodeAffinity/{REQUIRED}")) {
        Some(r) if r.is_object() => r.items("/nodeSelectorTerms").iter().any(|t| term_matches(t, node)),
        _ => true,
    }
}

/// One node selector term: all its expressions and fields; an empty term matches nothing.
pub(crate) fn term_matches(term: &Value, node: &Value) -> bool {
    let (labels, fields) = (term.items("/matchExpressions"), term.items("/matchFields"));
    !(labels.is_empty() && fields.is_empty())
        && labels.iter().all(|e| requirement(e, &|k| node.label(k)))
        && fields
            .iter()
            .all(|e| requirement(e, &|k| (k == "metadata.name").then(|| node.name())))
}

/// The first taint with one of `effects` that the pod does not tolerate.
pub(crate) fn untolerated<'a>(pod: &Value, node: &'a Value, effects: &[&str]) -> Option<&'a Value> {
    node.items("/spec/taints").iter().find(|t| {
        effects.contains(&t.text("/effect")) && !pod.items("/spec/tolerations").iter().any(|x| tolerates(x, t))
    })
}

/// Whether the pod may run there, or the reasons of the first filter that says no.
pub(crate) fn check(
    pod: &Value,
    share: &Usage,
    node: &Value,
    used: &Usage,
    topology: &Topology,
) -> Result<(), Vec<String>> {
    let no = |why: &str| Err(vec![why.to_owned()]);
    if node.flag("/spec/unschedulable") {
        let taint = serde_json::json!({"key": UNSCHEDULABLE, "effect": "NoSchedule"});
        if !pod.items("/spec/tolerations").iter().any(|t| tolerates(t, &taint)) {
            return no("node(s) were unschedulable");
        }
    }
    if untolerated(pod, node, &["NoSchedule", "NoExecute"]).is_some() {
        return no("node(s) had untolerated taint(s)");
    }
    if !fits_node(pod, node) {
        return no("node(s) didn't match Pod's node affinity/selector");
    }
    if used.clashes(share) {
        return no("node(s) didn't have free ports for the requested pod ports");
    }
    let mut lacking = Vec::new();
    let has = |k: &str| {
        node.at("/status/allocatable")
            .and_then(|a| a.get(k))
            .map_or(0, |v| amount(k, v))
    };
    if used.pods + 1 > has("pods") {
        lacking.push("Too many pods".to_owned());
    }
    for (k, v) in &share.amounts {
        if *v > 0 && used.amounts.get(k).copied().unwrap_or(0) + v > has(k) {
            lacking.push(format!("Insufficient {k}"));
        }
    }
    if !lacking.is_empty() {
        return Err(lacking);
    }
    let at = |key: &str, c: &BTreeMap<String, usize>| node.label(key).and_then(|v| c.get(v)).copied().unwrap_or(0);
    for (key, max_skew, per) in &topology.spread {
        let Some(value) = node.label(key) else {
            return no("node(s) didn't match pod topology spread constraints (missing required label)");
        };
        let least = per.values().min().copied().unwrap_or(0);
        let here = per.get(value).copied().unwrap_or(0) + 1;
        if i64::try_from(here.saturating_sub(least)).unwrap_or(i64::MAX) > *max_skew {
            return no("node(s) didn't match pod topology spread constraints");
        }
    }
    if topology
        .affinity
        .iter()
        .any(|(key, c, first)| node.label(key).is_none() || (at(key, c) == 0 && !first))
    {
        return no("node(s) didn't match pod affinity rules");
    }
    if topology.anti_affinity.iter().any(|(key, c)| at(key, c) > 0) {
        return no("node(s) didn't match pod anti-affinity rules");
    }
    if topology
        .kept_away
        .iter()
        .any(|(key, value)| node.label(key) == Some(value))
    {
        return no("node(s) didn't satisfy existing pods anti-affinity rules");
    }
    Ok(())
}
