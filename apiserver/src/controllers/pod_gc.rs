//! Collects pods that no node will end: bound to a node that is gone for good, or being deleted before they were
//! bound (`pkg/controller/podgc/gc_controller.go`). Only this deletes by force, and only when the Node object is gone
//! (or carries the out-of-service taint).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::Timers;
use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, between, set_condition};
use super::pods;
use super::world::{Key, World, gvr};
use crate::local::WatchEvent;

/// How long events are kept, and how often old ones are looked for.
const EVENT_TTL: Duration = Duration::from_secs(3600);
const EVENT_PERIOD: Duration = Duration::from_secs(300);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

pub(crate) struct PodGc {
    period: Duration,
    quarantine: Duration,
    /// Nodes that pods name and that are not there, since when.
    missing: BTreeMap<String, Instant>,
    /// When old events are looked for next.
    next_expiry: Option<Instant>,
}

impl PodGc {
    pub(crate) fn new(timers: &Timers) -> Self {
        Self {
            period: timers.pod_gc_period,
            quarantine: timers.pod_gc_quarantine,
            missing: BTreeMap::new(),
            next_expiry: None,
        }
    }
}

impl Controller for PodGc {
    fn begin(&mut self, queue: &mut BTreeSet<Key>) {
        queue.insert(Key::new("", ""));
    }

    fn observe(&mut self, _: &WatchEvent, _: &World, _: Now, _: &mut BTreeSet<Key>) {}

    fn reconcile(&mut self, _: &Key, world: &World, now: Now) -> Plan {
        let mut plan = Plan::default();
        plan.after(self.period);
        self.expire_events(world, now, &mut plan);
        let missing: Vec<&str> = world
            .nodes_of_pods()
            .filter(|n| world.get(&gvr::NODES, "", n).is_none())
            .collect();
        self.missing.retain(|n, _| missing.contains(&n.as_str()));
        for n in missing {
            let since = *self.missing.entry(n.to_owned()).or_insert(now.tick);
            if now.tick.duration_since(since) < self.quarantine {
                continue;
            }
            for p in world.pods_on(n) {
                if !pods::is_ended(&p) {
                    let mut marked = (*p).clone();
                    marked["status"]["phase"] = serde_json::json!("Failed");
                    let message = "PodGC: node no longer exists";
                    set_condition(
                        &mut marked,
                        "DisruptionTarget",
                        "True",
                        "DeletionByPodGC",
                        message,
                        now.wall,
                    );
                    plan.update_status(&gvr::PODS, marked);
                }
                plan.push(Action::DeleteNow {
                    gvr: gvr::PODS.clone(),
                    key: Key::of(&p),
                });
            }
        }
        for node in world.list(&gvr::NODES) {
            let out = node.items("/spec/taints").iter().any(|t| t["key"] == OUT_OF_SERVICE);
            let down = node.condition("Ready").is_none_or(|c| c["status"] != "True");
            if out && down {
                for p in world.pods_on(node.name()).filter(|p| p.deleting()) {
                    plan.push(Action::DeleteNow {
                        gvr: gvr::PODS.clone(),
                        key: Key::of(&p),
                    });
                }
            }
        }
        plan
    }
}

impl PodGc {
    /// Events live for an hour (kube-apiserver `--event-ttl`); looked at every five minutes.
    fn expire_events(&mut self, world: &World, now: Now, plan: &mut Plan) {
        let next = self.next_expiry.get_or_insert(now.tick + EVENT_PERIOD);
        if *next > now.tick {
            return;
        }
        *next = now.tick + EVENT_PERIOD;
        for e in world.list(&gvr::EVENTS) {
            let last = ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"]
                .iter()
                .find_map(|p| e.time(p));
            if last.is_some_and(|t| between(t, now.wall) >= EVENT_TTL) {
                plan.delete(&gvr::EVENTS, &e);
            }
        }
    }
}
