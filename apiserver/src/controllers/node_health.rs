//! Node life cycle: a node that stops talking becomes Unknown, gets taints, its pods are not ready; and the way back
//! (`pkg/controller/nodelifecycle/node_lifecycle_controller.go`).
//!
//! Ours on top: **autonomy**. A node with annotation `cfn.akraino.org/autonomy: "true"` is never tainted NoExecute
//! for being out of sight, one with `cfn.akraino.org/autonomy-duration: 10m` only after that time (the idea is
//! OpenYurt's `node.beta.openyurt.io/autonomy`): its pods go on running there and are not evicted meanwhile.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Timers;
use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, child, child_list, stamp};
use super::pods;
use super::world::{Key, World, gvr};
use crate::local::{EventKind, WatchEvent};

pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// The node keeps its pods while out of sight.
const AUTONOMY: &str = "cfn.akraino.org/autonomy";
/// ... for this long.
const AUTONOMY_DURATION: &str = "cfn.akraino.org/autonomy-duration";
/// Conditions that a silent node no longer vouches for.
const VOUCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Pressure conditions and the taints they bring (NoSchedule).
const PRESSURE: [(&str, &str, &str); 4] = [
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// What is remembered of a node.
struct Health {
    /// When it was last heard of.
    heard: Instant,
    /// Since when it is not Ready.
    down_since: Option<Instant>,
}

pub(crate) struct NodeHealth {
    timers: Timers,
    nodes: BTreeMap<String, Health>,
    /// Per zone, when the next node may be tainted NoExecute.
    next_eviction: BTreeMap<String, Instant>,
}

impl NodeHealth {
    pub(crate) fn new(timers: Timers) -> Self {
        Self {
            timers,
            nodes: BTreeMap::new(),
            next_eviction: BTreeMap::new(),
        }
    }

    fn heard(&mut self, name: &str, now: Now) {
        let h = self.nodes.entry(name.to_owned()).or_insert(Health {
            heard: now.tick,
            down_since: None,
        });
        h.heard = now.tick;
    }
}

/// The periodic look at all nodes; other keys are one node each.
fn tick_key() -> Key {
    Key::new("", "")
}

impl Controller for NodeHealth {
    fn begin(&mut self, queue: &mut BTreeSet<Key>) {
        queue.insert(tick_key());
    }

    fn observe(&mut self, e: &WatchEvent, _: &World, now: Now, queue: &mut BTreeSet<Key>) {
        let name = e.object.name();
        if e.gvr == gvr::LEASES && e.object.namespace() == "kube-node-lease" {
            let renewed = e
                .previous
                .as_ref()
                .is_none_or(|p| p.text("/spec/renewTime") != e.object.text("/spec/renewTime"));
            if e.kind != EventKind::Deleted && renewed {
                self.heard(name, now);
            }
        } else if e.gvr == gvr::NODES {
            if e.kind == EventKind::Deleted {
                self.nodes.remove(name);
                return;
            }
            let beat = |v: &Value| v.condition("Ready").map(|c| c.text("/lastHeartbeatTime").to_owned());
            let by_itself = |v: &Value| v.condition("Ready").is_none_or(|c| c["status"] != "Unknown");
            if e.previous.as_ref().is_none_or(|p| beat(p) != beat(&e.object)) && by_itself(&e.object) {
                self.heard(name, now);
            }
            self.nodes.entry(name.to_owned()).or_insert(Health {
                heard: now.tick,
                down_since: None,
            });
            queue.insert(Key::of(&e.object));
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        if *key != tick_key() {
            return match world.get(&gvr::NODES, "", &key.name) {
                Some(node) => self.node(&node, world, now),
                None => Plan::default(),
            };
        }
        let mut plan = Plan::default();
        for node in world.list(&gvr::NODES) {
            let part = self.node(&node, world, now);
            plan.actions.extend(part.actions);
        }
        plan.after(self.timers.node_monitor_period);
        plan
    }
}

impl NodeHealth {
    fn node(&mut self, node: &Value, world: &World, now: Now) -> Plan {
        let mut plan = Plan::default();
        // Copied only when something changes: this looks at every node every few seconds.
        let mut node = Cow::Borrowed(node);
        let grace = self.timers.node_monitor_grace_period;
        let health = self.nodes.entry(node.name().to_owned()).or_insert(Health {
            heard: now.tick,
            down_since: None,
        });
        let ready = node
            .condition("Ready")
            .map_or("Unknown", |c| c.text("/status"))
            .to_owned();
        let silent = now.tick.duration_since(health.heard) > grace;
        let mut status = ready.clone();
        if silent && (ready != "Unknown" || node.condition("Ready").is_none()) {
            make_unknown(node.to_mut(), now);
            status = "Unknown".to_owned();
            plan.update_status(&gvr::NODES, node.clone().into_owned());
            // Its version changes with this write.
            node.to_mut()["metadata"]
                .as_object_mut()
                .map(|m| m.remove("resourceVersion"));
            plan.push(Action::Event {
                about: node.clone().into_owned().into(),
                kind: "Node",
                component: "node-controller",
                warning: false,
                reason: "NodeNotReady",
                message: format!("Node {} status is now: NodeNotReady", node.name()),
            });
        }
        let up = status == "True";
        match up {
            true => health.down_since = None,
            false => {
                health.down_since.get_or_insert(now.tick);
            }
        }
        let known = node.condition("Ready").is_some();
        if !up && known {
            for p in world.pods_on(node.name()).filter(|p| pods::is_ready(p)) {
                let mut p = (*p).clone();
                super::object::set_condition(&mut p, "Ready", "False", "", "", now.wall);
                plan.update_status(&gvr::PODS, p);
            }
        }
        self.taint(node, &status, known, world, now, &mut plan);
        plan
    }

    /// Sets the taints that conditions ask for.
    fn taint(&mut self, mut node: Cow<'_, Value>, ready: &str, known: bool, world: &World, now: Now, plan: &mut Plan) {
        let mut wanted: Vec<(&str, &str)> = Vec::new();
        match ready {
            "True" => {}
            "False" => wanted.push((NOT_READY, "NoSchedule")),
            _ if known => wanted.push((UNREACHABLE, "NoSchedule")),
            _ => wanted.push((NOT_READY, "NoSchedule")),
        }
        for (kind, status, taint) in PRESSURE {
            if node.condition(kind).is_some_and(|c| c["status"] == status) {
                wanted.push((taint, "NoSchedule"));
            }
        }
        if node.flag("/spec/unschedulable") {
            wanted.push((UNSCHEDULABLE, "NoSchedule"));
        }
        let execute = match ready {
            "True" => None,
            "False" => Some(NOT_READY),
            _ if known => Some(UNREACHABLE),
            _ => None,
        };
        if let Some(key) = execute {
            let other = if key == NOT_READY { UNREACHABLE } else { NOT_READY };
            let has = |k: &str| {
                node.items("/spec/taints")
                    .iter()
                    .any(|t| t["key"] == k && t["effect"] == "NoExecute")
            };
            // Between the two a node swaps at once; a new one waits for its zone's turn.
            if self.may_evict(&node, now)
                && self.anybody_up(world, now)
                && (has(key) || has(other) || self.take_turn(&node, world, now, plan))
            {
                wanted.push((key, "NoExecute"));
            }
        }
        let ours = |t: &Value| {
            let key = t.text("/key");
            [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&key) || PRESSURE.iter().any(|p| p.2 == key)
        };
        let have: Vec<Value> = node.items("/spec/taints").to_vec();
        let mut taints: Vec<Value> = Vec::new();
        for t in &have {
            let keep = wanted.iter().any(|(k, e)| t["key"] == *k && t["effect"] == *e);
            if !ours(t) || keep {
                taints.push(t.clone());
            }
        }
        for (k, e) in wanted {
            if !have.iter().any(|t| t["key"] == k && t["effect"] == e) {
                taints.push(json!({"key": k, "effect": e, "timeAdded": stamp(now.wall)}));
            }
        }
        if taints == have {
            return;
        }
        let changed = node.to_mut();
        child(changed, "spec");
        match taints.is_empty() {
            true => {
                changed["spec"].as_object_mut().map(|s| s.remove("taints"));
            }
            false => changed["spec"]["taints"] = json!(taints),
        }
        plan.update(&gvr::NODES, node.into_owned());
    }

    /// Whether the node's autonomy has ended (or it has none).
    fn may_evict(&self, node: &Value, now: Now) -> bool {
        let down = self.nodes.get(node.name()).and_then(|h| h.down_since);
        let down_for = down.map_or(Duration::ZERO, |t| now.tick.duration_since(t));
        match autonomy(node) {
            Autonomy::None => true,
            Autonomy::Unlimited => false,
            Autonomy::For(d) => down_for >= d,
        }
    }

    fn is_up(&self, node: &Value, now: Now) -> bool {
        let grace = self.timers.node_monitor_grace_period;
        let heard = self
            .nodes
            .get(node.name())
            .is_some_and(|h| now.tick.duration_since(h.heard) <= grace);
        heard && node.condition("Ready").is_some_and(|c| c["status"] == "True")
    }

    /// While every node everywhere is down the fault is more likely ours: nobody is evicted, and taints are taken back.
    fn anybody_up(&self, world: &World, now: Now) -> bool {
        world.list(&gvr::NODES).any(|n| self.is_up(&n, now))
    }

    /// Rates of NoExecute taints per zone: none in a small zone of which more than 55 % are down,
    /// otherwise one node per interval.
    fn take_turn(&mut self, node: &Value, world: &World, now: Now, plan: &mut Plan) -> bool {
        let zone = zone(node);
        let (mut up, mut down) = (0_u32, 0_u32);
        for n in world.list(&gvr::NODES).filter(|n| self::zone(n) == zone) {
            *(if n.name() != node.name() && self.is_up(&n, now) {
                &mut up
            } else {
                &mut down
            }) += 1;
        }
        let partial = up > 0 && down > 2 && f64::from(down) / f64::from(up + down) >= 0.55;
        let large = up + down > 50;
        if partial && !large {
            return false;
        }
        // secondary-node-eviction-rate is a tenth of the first.
        let interval = self.timers.node_eviction_interval * if partial { 10 } else { 1 };
        let next = self.next_eviction.entry(zone).or_insert(now.tick);
        if *next > now.tick {
            plan.after(*next - now.tick);
            return false;
        }
        *next = now.tick + interval;
        true
    }
}

fn zone(node: &Value) -> String {
    let l = |k: &str| node.label(k).unwrap_or("");
    format!(
        "{}:{}",
        l("topology.kubernetes.io/region"),
        l("topology.kubernetes.io/zone")
    )
}

#[derive(Debug, PartialEq, Eq)]
enum Autonomy {
    None,
    Unlimited,
    For(Duration),
}

fn autonomy(node: &Value) -> Autonomy {
    if node.annotation(AUTONOMY) == Some("true") {
        return match node.annotation(AUTONOMY_DURATION).and_then(duration) {
            Some(d) if !d.is_zero() => Autonomy::For(d),
            _ => Autonomy::Unlimited,
        };
    }
    match node.annotation(AUTONOMY_DURATION).and_then(duration) {
        Some(d) => Autonomy::For(d),
        None => Autonomy::None,
    }
}

/// A Go duration such as `10m`, `1h30m`, `500ms`; none is negative.
pub(crate) fn duration(s: &str) -> Option<Duration> {
    let nanoseconds = crate::schema::parse_duration(s.trim()).ok()?;
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

fn make_unknown(node: &mut Value, now: Now) {
    let created = node.text("/metadata/creationTimestamp").to_owned();
    child(node, "status");
    let list = child_list(&mut node["status"], "conditions");
    for kind in VOUCHED {
        match list.iter_mut().find(|c| c["type"] == kind) {
            None => list.push(
                json!({"type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.", "lastHeartbeatTime": created,
                "lastTransitionTime": stamp(now.wall)}),
            ),
            Some(c) if c["status"] != "Unknown" => {
                c["status"] = json!("Unknown");
                c["reason"] = json!("NodeStatusUnknown");
                c["message"] = json!("Kubelet stopped posting node status.");
                c["lastTransitionTime"] = json!(stamp(now.wall));
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::world_of;
    use super::*;

    fn node(name: &str, annotations: Value) -> Value {
        json!({"metadata": {"name": name, "uid": name, "annotations": annotations},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}})
    }

    fn now() -> Now {
        Now {
            wall: jiff::Timestamp::UNIX_EPOCH,
            tick: Instant::now(),
        }
    }

    fn taints(p: &Plan) -> Vec<String> {
        let last = p.actions.iter().rev().find_map(|a| match a {
            Action::Update { object, .. } => Some(object.clone()),
            _ => None,
        });
        last.iter()
            .flat_map(|n| n.items("/spec/taints"))
            .map(|t| {
                format!(
                    "{}:{}",
                    t.text("/key").trim_start_matches("node.kubernetes.io/"),
                    t.text("/effect")
                )
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_taints_unless_the_node_is_autonomous() {
        let (schedule, execute) = ("unreachable:NoSchedule", "unreachable:NoExecute");
        for (annotations, after, expected) in [
            (json!({}), 40, vec![]),
            (json!({}), 51, vec![schedule, execute]),
            (json!({AUTONOMY: "true"}), 9999, vec![schedule]),
            (json!({AUTONOMY_DURATION: "10m"}), 51, vec![schedule]),
        ] {
            let mut c = NodeHealth::new(Timers::default());
            let world = world_of(&[
                (&gvr::NODES, node("a", annotations.clone())),
                (&gvr::NODES, node("b", json!({}))),
            ]);
            c.heard("a", now());
            tokio::time::advance(Duration::from_secs(after)).await;
            c.heard("b", now());
            let plan = c.reconcile(&Key::new("", "a"), &world, now());
            assert_eq!(taints(&plan), expected, "{annotations} {after}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_evicted_when_everybody_is_silent() {
        let mut c = NodeHealth::new(Timers::default());
        let world = world_of(&[(&gvr::NODES, node("a", json!({})))]);
        c.heard("a", now());
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(
            taints(&c.reconcile(&Key::new("", "a"), &world, now())),
            ["unreachable:NoSchedule"]
        );
    }

    #[test]
    fn durations() {
        for (s, expected) in [
            ("10m", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5s", Some(1500)),
            ("x", None),
            ("5", None),
        ] {
            assert_eq!(duration(s).map(|d| d.as_millis()), expected, "{s}");
        }
    }
}
