//! ReplicaSets and ReplicationControllers: as many pods as asked for (`pkg/controller/replicaset/replica_set.go`, which
//! upstream serves both with as well).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, adopted, selects_object, set_condition, without_owners};
use super::pods;
use super::world::{Key, World, gvr};
use crate::local::{EventKind, Gvr, WatchEvent};
use crate::status::Status;

/// Pods created or deleted in one go at most (upstream's burstReplicas).
const BURST: usize = 500;

/// Which of the two kinds.
struct Of {
    gvr: &'static Gvr,
    api_version: &'static str,
    kind: &'static str,
    component: &'static str,
    /// Its selector is a map of labels, not a LabelSelector.
    plain_selector: bool,
}

static SETS: Of = Of {
    gvr: &gvr::REPLICA_SETS,
    api_version: "apps/v1",
    kind: "ReplicaSet",
    component: "replicaset-controller",
    plain_selector: false,
};

static CONTROLLERS: Of = Of {
    gvr: &gvr::REPLICATION_CONTROLLERS,
    api_version: "v1",
    kind: "ReplicationController",
    component: "replication-controller",
    plain_selector: true,
};

pub(crate) struct ReplicaSets(&'static Of);

impl ReplicaSets {
    pub(crate) fn sets() -> Self {
        Self(&SETS)
    }

    pub(crate) fn controllers() -> Self {
        Self(&CONTROLLERS)
    }
}

impl Of {
    fn selects(&self, set: &Value, pod: &Value) -> bool {
        if !self.plain_selector {
            return selects_object(set.at("/spec/selector"), pod);
        }
        let Some(s) = set.at("/spec/selector").and_then(Value::as_object) else {
            return false;
        };
        !s.is_empty() && s.iter().all(|(k, v)| pod.label(k) == v.as_str())
    }
}

impl Controller for ReplicaSets {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == *self.0.gvr {
            queue.insert(Key::of(&e.object));
        } else if e.gvr == gvr::PODS {
            queue_owner(e, self.0.kind, queue);
            if e.object.controller().is_none() && e.kind != EventKind::Deleted {
                for rs in world.list_in(self.0.gvr, e.object.namespace()) {
                    if self.0.selects(&rs, &e.object) {
                        queue.insert(Key::of(&rs));
                    }
                }
            }
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let Some(rs) = world.get(self.0.gvr, &key.ns, &key.name) else {
            return Plan::default();
        };
        let owned: Vec<_> = world.controlled(&gvr::PODS, rs.uid()).collect();
        let orphans: Vec<_> = world
            .loose(&gvr::PODS, &key.ns)
            .filter(|p| pods::is_active(p) && self.0.selects(&rs, p))
            .collect();
        let mut siblings = BTreeMap::new();
        // Only a set that has too many pods asks which of them have company.
        let too_many = i64::try_from(owned.len()).unwrap_or(i64::MAX) > rs.int("/spec/replicas").unwrap_or(1);
        if let Some(owner) = rs.controller().filter(|_| too_many) {
            for other in world.controlled(self.0.gvr, owner.text("/uid")) {
                for p in world.controlled(&gvr::PODS, other.uid()).filter(|p| pods::is_active(p)) {
                    *siblings.entry(p.text("/spec/nodeName").to_owned()).or_insert(0) += 1;
                }
            }
        }
        reconcile(self.0, &rs, &owned, &orphans, &siblings, now)
    }

    fn refused(&mut self, _: &Key, action: &Action, why: &Status, world: &World, now: Now) -> Option<Plan> {
        let Action::Create { object, .. } = action else {
            return None;
        };
        let owner = object.controller()?;
        let rs = world.at(&world.find(owner.text("/uid"))?)?;
        let mut changed = (*rs).clone();
        let mut plan = Plan::default();
        let message = format!(
            "pods \"{}\" is forbidden: {}",
            object.text("/metadata/generateName"),
            why.message
        );
        let message = if why.message.contains("forbidden") {
            why.message.clone()
        } else {
            message
        };
        // The message names a pod that was not made: another one each time.
        let known = rs.condition("ReplicaFailure").is_some_and(|c| c["status"] == "True");
        if !known
            && set_condition(
                &mut changed,
                "ReplicaFailure",
                "True",
                "FailedCreate",
                &message,
                now.wall,
            )
        {
            plan.update_status(self.0.gvr, changed);
            plan.push(event(
                self.0,
                &rs,
                true,
                "FailedCreate",
                format!("Error creating: {}", why.message),
            ));
        }
        // Quota or a namespace that is going: try again, seldom.
        plan.after(std::time::Duration::from_secs(1));
        Some(plan)
    }
}

/// Queues the controller of a changed object, and the one it had before, when it is of `kind`.
pub(crate) fn queue_owner(e: &WatchEvent, kind: &str, queue: &mut BTreeSet<Key>) {
    for v in [Some(&e.object), e.previous.as_ref()].into_iter().flatten() {
        if let Some(o) = v.controller().filter(|o| o.text("/kind") == kind) {
            queue.insert(Key::new(v.namespace(), o.text("/name")));
        }
    }
}

fn event(of: &Of, rs: &Arc<Value>, warning: bool, reason: &'static str, message: String) -> Action {
    Action::Event {
        about: rs.clone(),
        kind: of.kind,
        component: of.component,
        warning,
        reason,
        message,
    }
}

/// What one ReplicaSet needs.
fn reconcile(
    of: &'static Of,
    rs: &Arc<Value>,
    owned: &[Arc<Value>],
    orphans: &[Arc<Value>],
    siblings: &BTreeMap<String, usize>,
    now: Now,
) -> Plan {
    let mut plan = Plan::default();
    let deleting = rs.deleting();
    let mut mine = Vec::new();
    for p in owned {
        if of.selects(rs, p) || p.deleting() {
            mine.push(p.clone());
        } else if !deleting {
            plan.update(&gvr::PODS, without_owners(p, &[rs.uid()]));
        }
    }
    if !deleting {
        for p in orphans {
            plan.update(&gvr::PODS, adopted(p, of.api_version, of.kind, rs));
            mine.push(p.clone());
        }
    }
    let mut active: Vec<_> = mine.iter().filter(|p| pods::is_active(p)).cloned().collect();
    let wanted = usize::try_from(rs.int("/spec/replicas").unwrap_or(1)).unwrap_or(0);
    plan_status(of, rs, &active, &mine, now, &mut plan);
    if deleting {
        return plan;
    }
    if active.len() < wanted {
        let template = rs.at("/spec/template").cloned().unwrap_or_default();
        for _ in 0..(wanted - active.len()).min(BURST) {
            plan.create(
                &gvr::PODS,
                rs.namespace(),
                pods::from_template(&template, of.api_version, of.kind, rs),
            );
        }
    } else if active.len() > wanted {
        pods::order_for_deletion(&mut active, siblings, now.wall);
        for p in active.iter().take((active.len() - wanted).min(BURST)) {
            plan.delete(&gvr::PODS, p);
            plan.push(event(
                of,
                rs,
                false,
                "SuccessfulDelete",
                format!("Deleted pod: {}", p.name()),
            ));
        }
    }
    plan
}

fn plan_status(of: &Of, rs: &Arc<Value>, active: &[Arc<Value>], mine: &[Arc<Value>], now: Now, plan: &mut Plan) {
    let min_ready = rs.int("/spec/minReadySeconds").unwrap_or(0);
    let labels = rs.at("/spec/template/metadata/labels").and_then(Value::as_object);
    let labelled = |p: &Value| labels.is_none_or(|l| l.iter().all(|(k, v)| p.label(k) == v.as_str()));
    let count = |f: &dyn Fn(&Value) -> bool| active.iter().filter(|p| f(p)).count();
    for p in active {
        if let Some(d) = pods::available_in(p, min_ready, now.wall).filter(|d| !d.is_zero()) {
            plan.after(d);
        }
    }
    let mut changed = (**rs).clone();
    super::object::child(&mut changed, "status");
    let status = &mut changed["status"];
    let terminating = mine.iter().filter(|p| p.deleting() && !pods::is_ended(p)).count();
    for (field, n) in [
        ("replicas", active.len()),
        ("fullyLabeledReplicas", count(&labelled)),
        ("readyReplicas", count(&pods::is_ready)),
        (
            "availableReplicas",
            count(&|p| pods::is_available(p, min_ready, now.wall)),
        ),
        ("terminatingReplicas", terminating),
    ] {
        if field == "terminatingReplicas" && of.plain_selector {
            continue;
        }
        set_count(status, field, n, field == "replicas");
    }
    status["observedGeneration"] = json!(rs.int("/metadata/generation").unwrap_or(0));
    let wanted = rs.int("/spec/replicas").unwrap_or(1);
    if i64::try_from(active.len()).is_ok_and(|n| n >= wanted)
        && let Some(l) = status.get_mut("conditions").and_then(Value::as_array_mut)
    {
        l.retain(|c| c["type"] != "ReplicaFailure");
    }
    if changed.get("status") != rs.get("status") {
        plan.update_status(of.gvr, changed);
    }
}

/// Sets a count in a status; zero is left out unless it is `required` (Go's omitempty).
pub(crate) fn set_count(status: &mut Value, field: &str, n: usize, required: bool) {
    match n {
        0 if !required => {
            status.as_object_mut().map(|s| s.remove(field));
        }
        n => status[field] = json!(n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rs(replicas: i64) -> Arc<Value> {
        Arc::new(
            json!({"metadata": {"name": "a", "namespace": "d", "uid": "u1", "generation": 1}, "spec": {"replicas": replicas,
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c"}]}}}}),
        )
    }

    fn pod(name: &str, label: &str, phase: &str) -> Arc<Value> {
        Arc::new(
            json!({"metadata": {"name": name, "namespace": "d", "uid": name, "labels": {"app": label},
            "ownerReferences": [{"uid": "u1", "controller": true}]}, "spec": {}, "status": {"phase": phase}}),
        )
    }

    fn now() -> Now {
        Now {
            wall: jiff::Timestamp::UNIX_EPOCH,
            tick: tokio::time::Instant::now(),
        }
    }

    fn counts(p: &Plan) -> (usize, usize, usize) {
        let of = |f: fn(&Action) -> bool| p.actions.iter().filter(|a| f(a)).count();
        (
            of(|a| matches!(a, Action::Create { .. })),
            of(|a| matches!(a, Action::Delete { .. })),
            of(|a| matches!(a, Action::Update { .. })),
        )
    }

    #[tokio::test]
    async fn makes_up_the_difference() {
        for (replicas, pods, expected) in [
            (3, vec![], (3, 0, 0)),
            (2, vec![pod("p", "a", "Running")], (1, 0, 0)),
            (1, vec![pod("p", "a", "Running"), pod("q", "a", "Pending")], (0, 1, 0)),
            (1, vec![pod("p", "a", "Failed")], (1, 0, 0)),
            // A pod whose label was changed is let go, and replaced.
            (1, vec![pod("p", "b", "Running")], (1, 0, 1)),
        ] {
            let plan = reconcile(&SETS, &rs(replicas), &pods, &[], &BTreeMap::new(), now());
            assert_eq!(counts(&plan), expected, "{replicas} {pods:?}");
        }
    }

    #[tokio::test]
    async fn adopts_matching_orphans() {
        let mut p = (*pod("p", "a", "Running")).clone();
        p["metadata"].as_object_mut().unwrap().remove("ownerReferences");
        let plan = reconcile(&SETS, &rs(1), &[], &[Arc::new(p)], &BTreeMap::new(), now());
        assert_eq!(counts(&plan), (0, 0, 1));
    }
}
