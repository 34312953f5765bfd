//! Claims, volumes and classes of their attributes go only when nobody uses them any more
//! (`pkg/controller/volume/pvcprotection`, `pvprotection`, `vacprotection`); the finalizers by which they wait are
//! admission's (`StorageObjectInUseProtection`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::manager::{Controller, Now, Plan};
use super::object::{Object, remove_finalizer};
use super::pods;
use super::world::{Key, World, gvr};
use crate::local::{EventKind, Gvr, WatchEvent};

/// What a claim waits by.
pub(crate) const CLAIM: &str = "kubernetes.io/pvc-protection";
/// What a volume waits by.
pub(crate) const VOLUME: &str = "kubernetes.io/pv-protection";
/// What a class of volumes' attributes waits by.
pub(crate) const ATTRIBUTES: &str = "kubernetes.io/vac-protection";

/// Keys in a namespace are claims, those without are volumes and classes of their attributes.
pub(crate) struct InUse;

fn claims(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = pod.items("/spec/volumes").iter();
    volumes
        .map(|v| v.text("/persistentVolumeClaim/claimName"))
        .filter(|c| !c.is_empty())
}

/// Whether a claim or a volume has, had or is to have these attributes.
fn has_attributes(v: &Value, class: &str) -> bool {
    [
        "/spec/volumeAttributesClassName",
        "/status/currentVolumeAttributesClassName",
        "/status/modifyVolumeStatus/targetVolumeAttributesClassName",
    ]
    .iter()
    .any(|p| v.text(p) == class)
}

fn waits(v: &Value, finalizer: &str) -> bool {
    v.deleting() && v.has_finalizer(finalizer)
}

impl Controller for InUse {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        let v = &*e.object;
        if e.gvr == gvr::CLAIMS || e.gvr == gvr::VOLUMES {
            let leaving = |c: &std::sync::Arc<Value>| waits(c, ATTRIBUTES);
            queue.extend(world.list(&gvr::ATTRIBUTES).filter(leaving).map(|c| Key::of(&c)));
        }
        if e.gvr == gvr::CLAIMS && waits(v, CLAIM)
            || e.gvr == gvr::VOLUMES && waits(v, VOLUME)
            || e.gvr == gvr::ATTRIBUTES && waits(v, ATTRIBUTES)
        {
            queue.insert(Key::of(v));
        } else if e.gvr == gvr::PODS && (e.kind == EventKind::Deleted || !pods::is_active(v)) {
            let ns = v.namespace();
            let leaving = |c: &&str| world.get(&gvr::CLAIMS, ns, c).is_some_and(|c| waits(&c, CLAIM));
            queue.extend(claims(v).filter(leaving).map(|c| Key::new(ns, c)));
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, _: Now) -> Plan {
        let mut plan = Plan::default();
        let kinds: &[(&Gvr, &str)] = match &*key.ns {
            "" => &[(&gvr::VOLUMES, VOLUME), (&gvr::ATTRIBUTES, ATTRIBUTES)],
            _ => &[(&gvr::CLAIMS, CLAIM)],
        };
        for (kind, finalizer) in kinds {
            let Some(v) = world.get(kind, &key.ns, &key.name).filter(|v| waits(v, finalizer)) else {
                continue;
            };
            let used = match *finalizer {
                VOLUME => v.text("/status/phase") == "Bound",
                ATTRIBUTES => [&gvr::CLAIMS, &gvr::VOLUMES]
                    .iter()
                    .any(|k| world.list(k).any(|o| has_attributes(&o, &key.name))),
                // A pod that no node has, or that has ended, uses nothing.
                _ => world.list_in(&gvr::PODS, &key.ns).any(|p| {
                    let runs = !p.text("/spec/nodeName").is_empty() && !pods::is_ended(&p);
                    runs && claims(&p).any(|c| *c == *key.name)
                }),
            };
            if !used {
                let mut free = (*v).clone();
                remove_finalizer(&mut free, finalizer);
                plan.update(kind, free);
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::world_of;
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;
    use tokio::time::Instant;

    #[test]
    fn what_is_used_stays() {
        let claim = |name: &str| {
            json!({"metadata": {"namespace": "n", "name": name, "uid": name, "finalizers": [CLAIM],
                "deletionTimestamp": "2026-01-01T00:00:00Z"}})
        };
        let pod = |name: &str, node: &str, phase: &str, claim: &str| {
            json!({"metadata": {"namespace": "n", "name": name, "uid": name}, "status": {"phase": phase},
                "spec": {"nodeName": node, "volumes": [{"persistentVolumeClaim": {"claimName": claim}}]}})
        };
        let volume = |name: &str, phase: &str| {
            json!({"metadata": {"name": name, "uid": name, "finalizers": [VOLUME], "deletionTimestamp": "2026-01-01T00:00:00Z"},
                "status": {"phase": phase}})
        };
        let class = |name: &str| {
            json!({"metadata": {"name": name, "uid": name, "finalizers": [ATTRIBUTES],
                "deletionTimestamp": "2026-01-01T00:00:00Z"}})
        };
        let mut fast = claim("d");
        fast["spec"] = json!({"volumeAttributesClassName": "fast"});
        let w = world_of(&[
            (&gvr::ATTRIBUTES, class("fast")),
            (&gvr::ATTRIBUTES, class("slow")),
            (&gvr::CLAIMS, fast),
            (&gvr::CLAIMS, claim("a")),
            (&gvr::CLAIMS, claim("b")),
            (&gvr::CLAIMS, claim("c")),
            (&gvr::PODS, pod("p", "node", "Running", "a")),
            (&gvr::PODS, pod("q", "node", "Succeeded", "b")),
            (&gvr::PODS, pod("r", "", "Pending", "c")),
            (&gvr::VOLUMES, volume("v", "Bound")),
            (&gvr::VOLUMES, volume("w", "Released")),
        ]);
        let now = Now {
            wall: Timestamp::UNIX_EPOCH,
            tick: Instant::now(),
        };
        for (ns, name, goes) in [
            ("n", "a", 0),
            ("n", "b", 1),
            ("n", "c", 1),
            ("", "v", 0),
            ("", "w", 1),
            ("n", "x", 0),
            ("", "fast", 0),
            ("", "slow", 1),
        ] {
            let plan = InUse.reconcile(&Key::new(ns, name), &w, now);
            assert_eq!(plan.actions.len(), goes, "{ns}/{name}");
        }
    }
}
