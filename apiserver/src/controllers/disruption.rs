//! Disruption budgets: how many pods may be taken away now, in their status (`pkg/controller/disruption`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::manager::{Controller, Now, Plan};
use super::object::{Object, int_or_percent, selects_object, set_condition};
use super::pods;
use super::world::{Key, World, gvr};
use crate::local::WatchEvent;

pub(crate) struct Budgets;

impl Controller for Budgets {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::DISRUPTION_BUDGETS {
            queue.insert(Key::of(&e.object));
        } else if e.gvr == gvr::PODS {
            for b in world.list_in(&gvr::DISRUPTION_BUDGETS, e.object.namespace()) {
                let about = |p: &Value| selects_object(b.at("/spec/selector"), p);
                if about(&e.object) || e.previous.as_ref().is_some_and(|p| about(p)) {
                    queue.insert(Key::of(&b));
                }
            }
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let mut plan = Plan::default();
        let Some(budget) = world.get(&gvr::DISRUPTION_BUDGETS, &key.ns, &key.name) else {
            return plan;
        };
        let pods: Vec<_> = world
            .list_in(&gvr::PODS, &key.ns)
            .filter(|p| selects_object(budget.at("/spec/selector"), p) && !pods::is_ended(p))
            .collect();
        let healthy = pods.iter().filter(|p| pods::is_ready(p) && !p.deleting()).count();
        let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
        let here = i64::try_from(pods.len()).unwrap_or(i64::MAX);
        let spec = &budget["spec"];
        // A share is one of what controllers want, not of what is here.
        let of_scale = !spec["maxUnavailable"].is_null() || spec["minAvailable"].is_string();
        let expected = if of_scale { scale(&pods, world) } else { here };
        let desired = match spec.get("maxUnavailable").filter(|v| !v.is_null()) {
            Some(most) => (expected - int_or_percent(Some(most), expected, true, 0)).max(0),
            None => int_or_percent(spec.get("minAvailable"), expected, true, 0),
        };
        let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
        let mut changed = (*budget).clone();
        let (status, reason) = match allowed {
            0 => ("False", "InsufficientPods"),
            _ => ("True", "SufficientPods"),
        };
        set_condition(&mut changed, "DisruptionAllowed", status, reason, "", now.wall);
        if let Some(l) = changed.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
            for c in l.iter_mut().filter(|c| c["type"] == "DisruptionAllowed") {
                c["message"] = json!("");
                c["observedGeneration"] = budget["metadata"]["generation"].clone();
            }
        }
        let s = &mut changed["status"];
        s["currentHealthy"] = json!(healthy);
        s["desiredHealthy"] = json!(desired);
        s["expectedPods"] = json!(expected);
        s["disruptionsAllowed"] = json!(allowed);
        s["observedGeneration"] = budget["metadata"]["generation"].clone();
        if changed.get("status") != budget.get("status") {
            plan.update_status(&gvr::DISRUPTION_BUDGETS, changed);
        }
        plan
    }
}

/// How many pods the controllers of these want; pods without one count for themselves.
fn scale(pods: &[Arc<Value>], world: &World) -> i64 {
    let mut wanted = BTreeMap::new();
    let mut loose = 0;
    for p in pods {
        let Some(o) = p.controller() else {
            loose += 1;
            continue;
        };
        let mut uid = o.text("/uid").to_owned();
        let mut replicas = None;
        // A ReplicaSet's own controller is a Deployment, as a rule.
        for _ in 0..2 {
            let Some(owner) = world.find(&uid).as_ref().and_then(|p| world.at(p)) else {
                break;
            };
            replicas = owner.int("/spec/replicas").or(replicas);
            match owner.controller() {
                Some(up) => uid = up.text("/uid").to_owned(),
                None => break,
            }
        }
        match replicas {
            Some(n) => drop(wanted.insert(uid, n)),
            None => loose += 1,
        }
    }
    wanted.values().sum::<i64>() + loose
}
