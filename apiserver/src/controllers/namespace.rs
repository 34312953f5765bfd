//! Namespaces that are being deleted: everything in them goes first (`pkg/controller/namespace`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, set_condition};
use super::world::{Key, World, gvr};
use crate::local::{EventKind, Gvr, WatchEvent};

#[derive(Default)]
pub(crate) struct Namespaces {
    /// Those that are being deleted: few, and most writes are in none of them.
    going: BTreeSet<String>,
}

impl Controller for Namespaces {
    fn observe(&mut self, e: &WatchEvent, _: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::NAMESPACES {
            let name = e.object.name();
            if e.object.deleting() {
                queue.insert(Key::of(&e.object));
            }
            match e.object.deleting() && e.kind != EventKind::Deleted {
                true => drop(self.going.insert(name.to_owned())),
                false => drop(self.going.remove(name)),
            }
        } else if matches!(e.kind, EventKind::Deleted | EventKind::Added) && !self.going.is_empty() {
            let ns = e.object.namespace();
            if self.going.contains(ns) {
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
        // Pods go before what they may need (KEP-5080).
        let pods = |g: &Gvr| *g == gvr::PODS;
        let first = world.content(&key.name).any(|(g, _)| pods(g));
        let mut left = Left::default();
        for (g, v) in world.content(&key.name).filter(|(g, _)| !first || pods(g)) {
            if !v.deleting() {
                plan.delete(g, &v);
            }
            // Others are gone as soon as they are deleted.
            let ends = pods(g) && !v.text("/spec/nodeName").is_empty();
            if v.deleting() || ends || !v.items("/metadata/finalizers").is_empty() {
                left.count(g, &v);
            }
        }
        let waits = left.objects.values().sum::<usize>() > 0;
        if waits || plan.actions.is_empty() {
            let mut changed = (*ns).clone();
            // Of pods, upstream tells no more than that nothing failed.
            if (if first { Left::default() } else { left }).tell(&mut changed, now) {
                plan.update_status(&gvr::NAMESPACES, changed);
            }
            if !waits {
                plan.push(Action::Finalize {
                    namespace: key.name.to_string(),
                });
            }
        }
        plan
    }
}

/// What is left of a namespace's content.
#[derive(Default)]
struct Left {
    /// So many of each resource.
    objects: BTreeMap<String, usize>,
    /// So many wait for each finalizer.
    finalizers: BTreeMap<String, usize>,
}

impl Left {
    fn count(&mut self, g: &Gvr, v: &Value) {
        *self.objects.entry(format!("{}.{}", g.resource, g.group)).or_default() += 1;
        for f in v.items("/metadata/finalizers").iter().filter_map(Value::as_str) {
            *self.finalizers.entry(f.to_owned()).or_default() += 1;
        }
    }

    /// Sets the conditions that `kubectl describe ns` shows; whether one changed.
    fn tell(&self, ns: &mut Value, now: Now) -> bool {
        let list = |of: &BTreeMap<String, usize>, what: &str| {
            let each: Vec<_> = of
                .iter()
                .map(|(k, n)| format!("{k} {what} {n} resource instances"))
                .collect();
            (!each.is_empty()).then(|| each.join(", "))
        };
        let content = list(&self.objects, "has").map(|l| format!("Some resources are remaining: {l}"));
        let finalizers = list(&self.finalizers, "in")
            .map(|l| format!("Some content in the namespace has finalizers remaining: {l}"));
        let conditions = [
            (
                "NamespaceDeletionDiscoveryFailure",
                None,
                ("ResourcesDiscovered", "All resources successfully discovered"),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                None,
                ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            ),
            (
                "NamespaceDeletionContentFailure",
                None,
                (
                    "ContentDeleted",
                    "All content successfully deleted, may be waiting on finalization",
                ),
            ),
            (
                "NamespaceContentRemaining",
                content.as_deref().map(|m| ("SomeResourcesRemain", m)),
                ("ContentRemoved", "All content successfully removed"),
            ),
            (
                "NamespaceFinalizersRemaining",
                finalizers.as_deref().map(|m| ("SomeFinalizersRemain", m)),
                ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            ),
        ];
        let mut changed = false;
        for (kind, wrong, right) in conditions {
            let (status, (reason, message)) = match wrong {
                Some(wrong) => ("True", wrong),
                None => ("False", right),
            };
            changed |= set_condition(ns, kind, status, reason, message, now.wall);
        }
        changed
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
        let of = |name: &str, uid: &str, more: Value| {
            let mut v = json!({"metadata": {"name": name, "namespace": "a", "uid": uid}});
            for (k, m) in more.as_object().unwrap() {
                v["metadata"][k] = m.clone();
            }
            v
        };
        let deleted = |plan: &Plan| -> Vec<String> {
            let names = plan.actions.iter().filter_map(|a| match a {
                Action::Delete { key, .. } => Some(key.name.to_string()),
                _ => None,
            });
            names.collect()
        };
        let told = |plan: &Plan| -> Vec<String> {
            let conditions = plan.actions.iter().find_map(|a| match a {
                Action::UpdateStatus { object, .. } => Some(object["status"]["conditions"].clone()),
                _ => None,
            });
            let wrong = conditions.unwrap_or_default();
            let list = wrong.as_array().into_iter().flatten();
            list.filter(|c| c["status"] == "True")
                .map(|c| c.text("/message").to_owned())
                .collect()
        };
        let ends = |plan: &Plan| plan.actions.iter().any(|a| matches!(a, Action::Finalize { .. }));
        let at = |content: &[(&Gvr, Value)]| {
            let mut all = vec![(&gvr::NAMESPACES, ns.clone())];
            all.extend_from_slice(content);
            Namespaces::default().reconcile(&Key::new("", "a"), &world_of(&all), now)
        };
        let held = || json!({"finalizers": ["example.org/f"], "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let claim = (&gvr::CONFIG_MAPS, of("c", "3", json!({})));

        // Pods first, then the others, then the namespace.
        let plan = at(&[(&gvr::PODS, of("p", "2", json!({}))), claim.clone()]);
        assert_eq!((deleted(&plan), ends(&plan)), (vec!["p".to_owned()], false));
        let plan = at(&[(&gvr::PODS, of("p", "2", held())), claim.clone()]);
        assert_eq!((deleted(&plan), told(&plan), ends(&plan)), (vec![], vec![], false));
        assert!(
            plan.actions
                .iter()
                .any(|a| matches!(a, Action::UpdateStatus { object, .. }
            if object["status"]["conditions"].as_array().unwrap().len() == 5)),
            "{plan:?}"
        );
        let plan = at(std::slice::from_ref(&claim));
        assert_eq!(
            (deleted(&plan), told(&plan), ends(&plan)),
            (vec!["c".to_owned()], vec![], false)
        );
        let plan = at(&[(&gvr::CONFIG_MAPS, of("c", "3", held()))]);
        assert_eq!(
            told(&plan),
            [
                "Some resources are remaining: configmaps. has 1 resource instances",
                "Some content in the namespace has finalizers remaining: example.org/f in 1 resource instances"
            ]
        );
        assert!(!ends(&plan));
        assert!(ends(&at(&[])));
    }
}
