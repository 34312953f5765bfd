//! StatefulSets: numbered pods, one after the other (`pkg/controller/statefulset`): OrderedReady and Parallel, rolling
//! update from the highest number with partition. Not here: volume claims (there is no storage).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::daemonset::{REVISION_LABEL, revision};
use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, child, set_meta};
use super::pods;
use super::replicaset::{queue_owner, set_count};
use super::world::{Key, World, gvr};
use crate::local::WatchEvent;
use crate::status::Status;

pub(crate) struct StatefulSets;

impl Controller for StatefulSets {
    fn observe(&mut self, e: &WatchEvent, _: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::STATEFUL_SETS {
            queue.insert(Key::of(&e.object));
        } else if e.gvr == gvr::PODS {
            queue_owner(e, "StatefulSet", queue);
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let Some(s) = world.get(&gvr::STATEFUL_SETS, &key.ns, &key.name) else {
            return Plan::default();
        };
        let owned: Vec<_> = world.controlled(&gvr::PODS, s.uid()).collect();
        let revisions: Vec<_> = world.controlled(&gvr::CONTROLLER_REVISIONS, s.uid()).collect();
        reconcile(&s, &owned, &revisions, now)
    }

    fn refused(&mut self, _: &Key, a: &Action, why: &Status, _: &World, _: Now) -> Option<Plan> {
        let revision = matches!(a, Action::Create { gvr: g, .. } if *g == gvr::CONTROLLER_REVISIONS);
        (revision && why.reason == "AlreadyExists").then(Plan::default)
    }
}

fn ordinal(pod: &Value) -> Option<i64> {
    pod.name().rsplit_once('-')?.1.parse().ok()
}

/// Pod `n` as a revision has it.
fn numbered(set: &Value, n: i64, revision: &str, template: &Value) -> Value {
    let mut pod = pods::from_template(template, "apps/v1", "StatefulSet", set);
    let name = format!("{}-{n}", set.name());
    if let Some(m) = pod["metadata"].as_object_mut() {
        m.remove("generateName");
    }
    pod["metadata"]["name"] = json!(name);
    set_meta(&mut pod, "labels", REVISION_LABEL, revision);
    set_meta(&mut pod, "labels", "statefulset.kubernetes.io/pod-name", &name);
    set_meta(&mut pod, "labels", "apps.kubernetes.io/pod-index", &n.to_string());
    pod["spec"]["hostname"] = json!(name);
    if !set.text("/spec/serviceName").is_empty() {
        pod["spec"]["subdomain"] = set["spec"]["serviceName"].clone();
    }
    pod
}

fn reconcile(set: &Arc<Value>, owned: &[Arc<Value>], revisions: &[Arc<Value>], now: Now) -> Plan {
    let mut plan = Plan::default();
    if set.deleting() {
        return plan;
    }
    let hash = revision(set, "StatefulSet", revisions, &mut plan);
    let update = format!("{}-{hash}", set.name());
    let current = match set.text("/status/currentRevision") {
        "" => update.clone(),
        c => c.to_owned(),
    };
    let partition = set.int("/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
    // Pods below the partition are made as they were (`isCurrentRevisionNeeded`).
    let template_of = |n: i64| {
        let old = revisions.iter().find(|r| r.name() == current && current != update);
        match old.filter(|_| n < partition) {
            Some(r) => {
                let mut t = r["data"]["spec"]["template"].clone();
                t.as_object_mut().map(|t| t.remove("$patch"));
                (current.clone(), t)
            }
            None => (update.clone(), set["spec"]["template"].clone()),
        }
    };
    let start = set.int("/spec/ordinals/start").unwrap_or(0);
    let wanted = set.int("/spec/replicas").unwrap_or(1);
    let parallel = set.text("/spec/podManagementPolicy") == "Parallel";
    let min_ready = set.int("/spec/minReadySeconds").unwrap_or(0);
    let by_number: BTreeMap<i64, &Arc<Value>> = owned.iter().filter_map(|p| Some((ordinal(p)?, p))).collect();
    let healthy = |p: &Value| pods::is_active(p) && pods::is_ready(p) && pods::is_available(p, min_ready, now.wall);
    let mut settled = true;
    for n in start..start + wanted {
        match by_number.get(&n) {
            None => {
                let (revision, template) = template_of(n);
                plan.create(&gvr::PODS, set.namespace(), numbered(set, n, &revision, &template));
                settled = false;
            }
            Some(p) if pods::is_ended(p) && !p.deleting() => {
                plan.delete(&gvr::PODS, p);
                settled = false;
            }
            Some(p) => settled &= healthy(p),
        }
        if !settled && !parallel {
            break;
        }
    }
    // The highest goes first, one at a time.
    let extra: Vec<_> = by_number
        .iter()
        .rev()
        .filter(|(n, _)| !(start..start + wanted).contains(*n))
        .map(|(_, p)| *p)
        .collect();
    if settled || parallel {
        // One that is not healthy waits, unless all below it are (`processCondemned`).
        let first_unhealthy = by_number.values().find(|p| !healthy(p)).map(|p| p.name());
        for p in &extra {
            let waits = !parallel && !healthy(p) && first_unhealthy != Some(p.name());
            if !p.deleting() && !waits {
                plan.delete(&gvr::PODS, p);
            }
            if !parallel {
                break;
            }
        }
    }
    if settled && extra.is_empty() && set.text("/spec/updateStrategy/type") != "OnDelete" {
        let old = by_number
            .range(start + partition..)
            .rev()
            .find(|(_, p)| p.label(REVISION_LABEL) != Some(&update));
        if let Some((_, p)) = old {
            plan.delete(&gvr::PODS, p);
        }
    } else if set.text("/spec/updateStrategy/type") != "OnDelete" {
        // A pod of an old template that never gets healthy would block its own repair.
        let stuck = by_number
            .values()
            .find(|p| p.label(REVISION_LABEL) != Some(&update) && !healthy(p) && !p.deleting());
        if let Some(p) = stuck.filter(|_| partition == 0) {
            plan.delete(&gvr::PODS, p);
        }
    }
    let active: Vec<_> = by_number.values().filter(|p| pods::is_active(p)).collect();
    let count = |f: &dyn Fn(&Value) -> bool| active.iter().filter(|p| f(p)).count();
    let updated = count(&|p| p.label(REVISION_LABEL) == Some(&update));
    let unchanged = count(&|p| p.label(REVISION_LABEL) == Some(&current));
    let mut changed = (**set).clone();
    child(&mut changed, "status");
    let done = updated == active.len() && i64::try_from(updated).is_ok_and(|u| u == wanted) && settled;
    let s = &mut changed["status"];
    let old_count = if done { updated } else { unchanged };
    for (field, n, required) in [
        ("replicas", active.len(), true),
        ("readyReplicas", count(&pods::is_ready), false),
        ("availableReplicas", count(&healthy), true),
        ("updatedReplicas", updated, false),
        ("currentReplicas", old_count, false),
    ] {
        set_count(s, field, n, required);
    }
    s["updateRevision"] = json!(update);
    if done || s.get("currentRevision").is_none_or(Value::is_null) {
        s["currentRevision"] = json!(update);
    }
    s["collisionCount"] = json!(set.int("/status/collisionCount").unwrap_or(0));
    s["observedGeneration"] = json!(set.int("/metadata/generation").unwrap_or(0));
    if changed.get("status") != set.get("status") {
        plan.update_status(&gvr::STATEFUL_SETS, changed);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_after_the_other() {
        let now = Now {
            wall: jiff::Timestamp::UNIX_EPOCH,
            tick: tokio::time::Instant::now(),
        };
        let set = |n: i64| {
            Arc::new(
                json!({"metadata": {"name": "s", "namespace": "x", "uid": "s"}, "spec": {"replicas": n, "template": {}}}),
            )
        };
        let pod = |n: i64, ready: &str| {
            let revision = format!("s-{}", pods::template_hash(&json!({}), None));
            Arc::new(
                json!({"metadata": {"name": format!("s-{n}"), "uid": n.to_string(), "labels": {REVISION_LABEL: revision}},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}}),
            )
        };
        for (n, pods, expected) in [
            (2, vec![], "+s-0"),
            (2, vec![pod(0, "False")], ""),
            (2, vec![pod(0, "True")], "+s-1"),
            (0, vec![pod(0, "True"), pod(1, "True")], "-s-1"),
            (0, vec![pod(0, "True"), pod(1, "False")], "-s-1"),
            (0, vec![pod(0, "False"), pod(1, "True")], "-s-1"),
            (0, vec![pod(0, "False"), pod(1, "False")], ""),
        ] {
            let plan = reconcile(&set(n), &pods, &[], now);
            let did: String = plan
                .actions
                .iter()
                .filter_map(|a| match a {
                    Action::Create { gvr: g, object, .. } if *g == gvr::PODS => Some(format!("+{}", object.name())),
                    Action::Delete { key, .. } => Some(format!("-{}", key.name)),
                    _ => None,
                })
                .collect();
            assert_eq!(did, expected, "{n} {pods:?}");
        }
    }
}
