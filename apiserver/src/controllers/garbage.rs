//! The garbage collector: dependents go when their owners are gone; foreground deletion waits for dependents;
//! orphaning lets them go (`pkg/controller/garbagecollector`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, remove_finalizer, without_owners};
use super::world::{Key, World};
use crate::local::{EventKind, WatchEvent};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

pub(crate) struct Garbage;

/// Keys of this controller are UIDs: two objects of one name may follow each other.
fn key(uid: &str) -> Key {
    Key::new("", uid)
}

impl Controller for Garbage {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        let v = &e.object;
        if e.kind == EventKind::Deleted {
            queue.extend(world.dependents(v.uid()).map(|(_, d)| key(d.uid())));
            // An owner that waits in the foreground may go now.
            for o in v.items("/metadata/ownerReferences") {
                queue.insert(key(o.text("/uid")));
            }
            return;
        }
        if v.deleting() && (v.has_finalizer(FOREGROUND) || v.has_finalizer(ORPHAN)) {
            queue.insert(key(v.uid()));
            queue.extend(world.dependents(v.uid()).map(|(_, d)| key(d.uid())));
        }
        if !v.items("/metadata/ownerReferences").is_empty() {
            let changed = e.previous.as_ref().is_none_or(|p| {
                p.at("/metadata/ownerReferences") != v.at("/metadata/ownerReferences") || p.deleting() != v.deleting()
            });
            if changed {
                queue.insert(key(v.uid()));
                for p in e.previous.iter().flat_map(|p| p.items("/metadata/ownerReferences")) {
                    queue.insert(key(p.text("/uid")));
                }
            }
        }
    }

    fn reconcile(&mut self, k: &Key, world: &World, _: Now) -> Plan {
        let mut plan = Plan::default();
        let Some((place, v)) = world
            .find(&k.name)
            .and_then(|p| Some((world.at(&p)?, p)))
            .map(|(v, p)| (p, v))
        else {
            return plan;
        };
        if v.deleting() && v.has_finalizer(ORPHAN) {
            for ((g, _), d) in world.dependents(v.uid()) {
                plan.update(&g, without_owners(&d, &[v.uid()]));
            }
            let mut freed = (*v).clone();
            remove_finalizer(&mut freed, ORPHAN);
            plan.update(&place.0, freed);
            return plan;
        }
        if v.deleting() && v.has_finalizer(FOREGROUND) {
            let blocked = world.dependents(v.uid()).any(|(_, d)| {
                d.items("/metadata/ownerReferences")
                    .iter()
                    .any(|o| o.text("/uid") == v.uid() && o.flag("/blockOwnerDeletion"))
            });
            if !blocked {
                let mut freed = (*v).clone();
                remove_finalizer(&mut freed, FOREGROUND);
                plan.update(&place.0, freed);
            }
            return plan;
        }
        if v.deleting() {
            return plan;
        }
        let (mut solid, mut waiting, mut absent) = (0, Vec::new(), Vec::new());
        for o in v.items("/metadata/ownerReferences") {
            let uid = o.text("/uid");
            // An owner lives at cluster scope or in the same namespace.
            let owner = world
                .find(uid)
                .filter(|p| p.1.ns.is_empty() || *p.1.ns == *v.namespace());
            match owner.as_ref().and_then(|p| world.at(p)) {
                None => absent.push(uid),
                Some(w) if w.deleting() && w.has_finalizer(FOREGROUND) => waiting.push(uid),
                Some(_) => solid += 1,
            }
        }
        if solid > 0 {
            absent.extend(&waiting);
            if !absent.is_empty() {
                plan.update(&place.0, without_owners(&v, &absent));
            }
        } else if !waiting.is_empty() && world.dependents(v.uid()).next().is_some() {
            // A circle of owners would wait for itself: this one does not block its owners any more.
            let mut waits = world.dependents(v.uid()).map(|(_, d)| d);
            if waits.any(|d| d.deleting() && d.has_finalizer(FOREGROUND)) {
                let mut free = (*v).clone();
                let list = free
                    .pointer_mut("/metadata/ownerReferences")
                    .and_then(Value::as_array_mut);
                list.into_iter()
                    .flatten()
                    .for_each(|o| o["blockOwnerDeletion"] = false.into());
                if free != *v {
                    plan.update(&place.0, free);
                }
            }
            plan.push(Action::DeleteForeground {
                gvr: place.0.clone(),
                key: Key::of(&v),
                uid: v.uid().to_owned(),
            });
        } else if !waiting.is_empty() || !absent.is_empty() {
            plan.delete(&place.0, &v);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::world::{gvr, world_of};
    use super::*;

    fn owner(extra: Value) -> Value {
        let mut m = json!({"name": "o", "namespace": "n", "uid": "o"});
        for (k, v) in extra.as_object().unwrap() {
            m[k] = v.clone();
        }
        json!({"metadata": m})
    }

    fn dependent(uid: &str, owners: &[&str]) -> Value {
        let refs: Vec<_> = owners
            .iter()
            .map(|o| json!({"uid": o, "blockOwnerDeletion": true}))
            .collect();
        json!({"metadata": {"name": uid, "namespace": "n", "uid": uid, "ownerReferences": refs}})
    }

    fn plan(uid: &str, objects: &[Value]) -> Vec<&'static str> {
        let list: Vec<_> = objects.iter().map(|v| (&gvr::CONFIG_MAPS, v.clone())).collect();
        let now = Now {
            wall: jiff::Timestamp::UNIX_EPOCH,
            tick: tokio::time::Instant::now(),
        };
        let plan = Garbage.reconcile(&key(uid), &world_of(&list), now);
        plan.actions
            .iter()
            .map(|a| match a {
                Action::Delete { .. } => "delete",
                Action::DeleteForeground { .. } => "foreground",
                Action::Update { .. } => "update",
                _ => "other",
            })
            .collect()
    }

    #[tokio::test]
    async fn table() {
        let deleted = "2026-01-01T00:00:00Z";
        let (live, going) = (
            owner(json!({})),
            owner(json!({"deletionTimestamp": deleted, "finalizers": [FOREGROUND]})),
        );
        let orphaning = owner(json!({"deletionTimestamp": deleted, "finalizers": [ORPHAN]}));
        let cases: [(&str, Vec<Value>, &[&str]); 8] = [
            ("d", vec![live.clone(), dependent("d", &["o"])], &[]),
            ("d", vec![dependent("d", &["o"])], &["delete"]),
            ("d", vec![live, dependent("d", &["o", "gone"])], &["update"]),
            ("d", vec![going.clone(), dependent("d", &["o"])], &["delete"]),
            (
                "d",
                vec![going.clone(), dependent("d", &["o"]), dependent("e", &["d"])],
                &["foreground"],
            ),
            ("o", vec![going.clone(), dependent("d", &["o"])], &[]),
            ("o", vec![going], &["update"]),
            ("o", vec![orphaning, dependent("d", &["o"])], &["update", "update"]),
        ];
        for (uid, objects, expected) in cases {
            assert_eq!(plan(uid, &objects), expected, "{uid} {objects:?}");
        }
    }
}
