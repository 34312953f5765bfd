//! Namespaces that are being deleted: everything in them goes first (`pkg/controller/namespace`).

use std::collections::{BTreeMap, BTreeSet};

use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, set_condition};
use super::world::{Key, World, gvr};
use crate::local::{EventKind, WatchEvent};

pub(crate) struct Namespaces;

impl Controller for Namespaces {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::NAMESPACES {
            if e.object.deleting() {
                queue.insert(Key::of(&e.object));
            }
        } else if matches!(e.kind, EventKind::Deleted | EventKind::Added) {
            let ns = e.object.namespace();
            if world.get(&gvr::NAMESPACES, "", ns).is_some_and(|n| n.deleting()) {
                queue.insert(Key::new("", ns));
            }
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let mut plan = Plan::default();
        let Some(ns) = world.get(&gvr::NAMESPACES, "", &key.name) else {
            return plan;
        };
        if !ns.deleting() || !ns.items("/spec/finalizers").iter().any(|f| f == "kubernetes") {
            return plan;
        }
        let mut left = BTreeMap::<String, usize>::new();
        for (g, v) in world.content(&key.name) {
            let resource = crate::status::qualified(&g.group, &g.resource);
            *left.entry(resource).or_default() += 1;
            if !v.deleting() {
                plan.delete(g, v);
            }
        }
        if left.is_empty() {
            plan.push(Action::Finalize {
                namespace: key.name.clone(),
            });
            return plan;
        }
        // While pods end or finalizers hold, `kubectl describe ns` says what is left.
        if plan.actions.is_empty() {
            let list: Vec<_> = left
                .iter()
                .map(|(r, n)| format!("{r} has {n} resource instances"))
                .collect();
            let message = format!("Some resources are remaining: {}", list.join(", "));
            let mut changed = (**ns).clone();
            if set_condition(
                &mut changed,
                "NamespaceContentRemaining",
                "True",
                "SomeResourcesRemain",
                &message,
                now.wall,
            ) {
                plan.update_status(&gvr::NAMESPACES, changed);
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::world_of;
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn content_goes_first() {
        let ns = json!({"metadata": {"name": "a", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"finalizers": ["kubernetes"]}});
        let now = Now {
            wall: jiff::Timestamp::UNIX_EPOCH,
            tick: tokio::time::Instant::now(),
        };
        let pod = json!({"metadata": {"name": "p", "namespace": "a", "uid": "2"}});
        let full = world_of(&[(&gvr::NAMESPACES, ns.clone()), (&gvr::PODS, pod)]);
        let plan = Namespaces.reconcile(&Key::new("", "a"), &full, now);
        assert!(
            matches!(&plan.actions[..], [Action::Delete { key, .. }] if key.name == "p"),
            "{plan:?}"
        );
        let empty = world_of(&[(&gvr::NAMESPACES, ns)]);
        let plan = Namespaces.reconcile(&Key::new("", "a"), &empty, now);
        assert!(matches!(&plan.actions[..], [Action::Finalize { .. }]), "{plan:?}");
    }
}
