//! DaemonSets: one pod per node that fits (`pkg/controller/daemon`), with rolling updates by maxUnavailable and a
//! ControllerRevision per template. Not here: maxSurge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, child, child_list, int_or_percent, owner_reference, set_meta};
use super::replicaset::queue_owner;
use super::scheduler::{fits_node, untolerated};
use super::world::{Key, World, gvr};
use super::{node_health, pods};
use crate::local::WatchEvent;
use crate::status::Status;

pub(crate) const REVISION_LABEL: &str = "controller-revision-hash";

/// Taints that daemons tolerate (`AddOrUpdateDaemonPodTolerations`): key, effect.
const TOLERATED: [(&str, &str); 6] = [
    (node_health::NOT_READY, "NoExecute"),
    (node_health::UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (node_health::UNSCHEDULABLE, "NoSchedule"),
];

pub(crate) struct DaemonSets;

impl Controller for DaemonSets {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::DAEMON_SETS {
            queue.insert(Key::of(&e.object));
        } else if e.gvr == gvr::PODS {
            queue_owner(e, "DaemonSet", queue);
        } else if e.gvr == gvr::NODES {
            let about = |v: &Value| (v.at("/spec/taints").cloned(), v.at("/metadata/labels").cloned());
            if e.previous.as_ref().is_none_or(|p| about(p) != about(&e.object)) {
                queue.extend(world.list(&gvr::DAEMON_SETS).map(|d| Key::of(&d)));
            }
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let Some(ds) = world.get(&gvr::DAEMON_SETS, &key.ns, &key.name) else {
            return Plan::default();
        };
        let owned: Vec<_> = world.controlled(&gvr::PODS, ds.uid()).collect();
        let nodes: Vec<_> = world.list(&gvr::NODES).collect();
        let revisions: Vec<_> = world.controlled(&gvr::CONTROLLER_REVISIONS, ds.uid()).collect();
        reconcile(&ds, &owned, &nodes, &revisions, now)
    }

    fn refused(&mut self, _: &Key, a: &Action, why: &Status, _: &World, _: Now) -> Option<Plan> {
        let revision = matches!(a, Action::Create { gvr: g, .. } if *g == gvr::CONTROLLER_REVISIONS);
        (revision && why.reason == "AlreadyExists").then(Plan::default)
    }
}

/// The ControllerRevision of the present template, made or moved to the front when it is not; returns its hash.
pub(crate) fn revision(owner: &Value, kind: &str, revisions: &[Arc<Value>], plan: &mut Plan) -> String {
    let template = &owner["spec"]["template"];
    let hash = pods::template_hash(template, owner.int("/status/collisionCount").filter(|c| *c > 0));
    let newest = revisions.iter().filter_map(|r| r.int("/revision")).max().unwrap_or(0);
    match revisions.iter().find(|r| r.label(REVISION_LABEL) == Some(&hash)) {
        Some(r) if r.int("/revision") == Some(newest) => {}
        Some(r) => {
            let mut r = (**r).clone();
            r["revision"] = json!(newest + 1);
            plan.update(&gvr::CONTROLLER_REVISIONS, r);
        }
        None => {
            let mut t = template.clone();
            t["$patch"] = json!("replace");
            let mut labels = template["metadata"]["labels"].clone();
            if !labels.is_object() {
                labels = json!({});
            }
            labels[REVISION_LABEL] = json!(hash);
            let object = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision",
                "metadata": {"name": format!("{}-{hash}", owner.name()), "namespace": owner.namespace(),
                    "labels": labels, "ownerReferences": [owner_reference("apps/v1", kind, owner)]},
                "data": {"spec": {"template": t}}, "revision": newest + 1});
            plan.create(&gvr::CONTROLLER_REVISIONS, owner.namespace(), object);
        }
    }
    hash
}

fn daemon_pod(ds: &Value, node: &str, hash: &str) -> Value {
    let mut pod = pods::from_template(&ds["spec"]["template"], "apps/v1", "DaemonSet", ds);
    set_meta(&mut pod, "labels", REVISION_LABEL, hash);
    let tolerations = child_list(&mut pod["spec"], "tolerations");
    for (key, effect) in TOLERATED {
        let t = json!({"key": key, "operator": "Exists", "effect": effect});
        if !tolerations.contains(&t) {
            tolerations.push(t);
        }
    }
    // The pod is bound by the scheduler, to this node only (ReplaceDaemonSetPodNodeNameNodeAffinity).
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]});
    child(&mut pod["spec"], "affinity");
    child(&mut pod["spec"]["affinity"], "nodeAffinity");
    pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [term]});
    pod
}

/// The node a daemon pod is for, bound or not yet.
fn node_of(pod: &Value) -> &str {
    let bound = pod.text("/spec/nodeName");
    if !bound.is_empty() {
        return bound;
    }
    pod.text("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0")
}

fn reconcile(ds: &Arc<Value>, owned: &[Arc<Value>], nodes: &[Arc<Value>], revisions: &[Arc<Value>], now: Now) -> Plan {
    let mut plan = Plan::default();
    if ds.deleting() {
        return plan;
    }
    let hash = revision(ds, "DaemonSet", revisions, &mut plan);
    let min_ready = ds.int("/spec/minReadySeconds").unwrap_or(0);
    let mut per_node: BTreeMap<&str, Vec<&Arc<Value>>> = BTreeMap::new();
    for p in owned {
        per_node.entry(node_of(p)).or_default().push(p);
    }
    let (mut desired, mut current, mut ready, mut available, mut updated, mut misplaced) = (0, 0, 0, 0, 0, 0);
    let mut old: Vec<&Arc<Value>> = Vec::new();
    for n in nodes {
        let probe = daemon_pod(ds, n.name(), &hash);
        let user_fits = fits_node(&json!({"spec": ds["spec"]["template"]["spec"]}), n);
        let run = user_fits && untolerated(&probe, n, &["NoSchedule", "NoExecute"]).is_none();
        let stay = user_fits && untolerated(&probe, n, &["NoExecute"]).is_none();
        let here = per_node.remove(n.name()).unwrap_or_default();
        let active: Vec<_> = here.iter().copied().filter(|p| pods::is_active(p)).collect();
        for p in here
            .iter()
            .filter(|p| p.text("/status/phase") == "Failed" && !p.deleting())
        {
            plan.delete(&gvr::PODS, p);
        }
        if !stay {
            misplaced += usize::from(!active.is_empty());
            active.iter().for_each(|p| plan.delete(&gvr::PODS, p));
            continue;
        }
        if !run {
            misplaced += usize::from(!active.is_empty());
            continue;
        }
        desired += 1;
        if here.iter().all(|p| pods::is_ended(p) && !p.deleting()) || here.is_empty() {
            plan.create(&gvr::PODS, ds.namespace(), probe);
            continue;
        }
        let Some(p) = active.first() else { continue };
        active.iter().skip(1).for_each(|p| plan.delete(&gvr::PODS, p));
        current += 1;
        ready += usize::from(pods::is_ready(p));
        available += usize::from(pods::is_available(p, min_ready, now.wall));
        match p.label(REVISION_LABEL) == Some(&hash) {
            true => updated += 1,
            false => old.push(p),
        }
        if let Some(d) = pods::available_in(p, min_ready, now.wall).filter(|d| !d.is_zero()) {
            plan.after(d);
        }
    }
    if ds.text("/spec/updateStrategy/type") != "OnDelete" {
        let total = i64::try_from(desired).unwrap_or(0);
        let most = int_or_percent(
            ds.at("/spec/updateStrategy/rollingUpdate/maxUnavailable"),
            total,
            true,
            1,
        )
        .max(1);
        let mut budget = usize::try_from(most).unwrap_or(1).saturating_sub(desired - available);
        for p in old {
            if !pods::is_available(p, min_ready, now.wall) {
                plan.delete(&gvr::PODS, p);
            } else if budget > 0 {
                budget -= 1;
                plan.delete(&gvr::PODS, p);
            }
        }
    }
    let mut changed = (**ds).clone();
    child(&mut changed, "status");
    let s = &mut changed["status"];
    for (field, n, required) in [
        ("currentNumberScheduled", current, true),
        ("numberMisscheduled", misplaced, true),
        ("desiredNumberScheduled", desired, true),
        ("numberReady", ready, true),
        ("updatedNumberScheduled", updated, false),
        ("numberAvailable", available, false),
        ("numberUnavailable", desired - available, false),
    ] {
        super::replicaset::set_count(s, field, n, required);
    }
    s["observedGeneration"] = json!(ds.int("/metadata/generation").unwrap_or(0));
    if changed.get("status") != ds.get("status") {
        plan.update_status(&gvr::DAEMON_SETS, changed);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_per_node_that_fits() {
        let now = Now {
            wall: jiff::Timestamp::UNIX_EPOCH,
            tick: tokio::time::Instant::now(),
        };
        let ds = Arc::new(json!({"metadata": {"name": "d", "namespace": "x", "uid": "d"},
            "spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"nodeSelector": {"edge": "yes"}}}}}));
        let node = |n: &str, edge: &str| Arc::new(json!({"metadata": {"name": n, "labels": {"edge": edge}}}));
        let plan = reconcile(
            &ds,
            &[],
            &[node("a", "yes"), node("b", "no"), node("c", "yes")],
            &[],
            now,
        );
        let nodes: Vec<_> = plan
            .actions
            .iter()
            .filter_map(|a| match a {
                Action::Create { gvr: g, object, .. } if *g == gvr::PODS => Some(node_of(object).to_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(nodes, ["a", "c"]);
    }
}
