//! Deletes pods from nodes with NoExecute taints they do not tolerate (any longer), and forgives when the taint goes
//! (`pkg/controller/tainteviction/taint_eviction.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, set_condition};
use super::pods;
use super::world::{Key, World, gvr};
use crate::local::WatchEvent;

/// Keys are pods.
#[derive(Default)]
pub(crate) struct TaintEviction {
    /// Pod UID -> (when its countdown began, when it ends).
    pending: BTreeMap<String, (Instant, Instant)>,
}

impl Controller for TaintEviction {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::NODES {
            let taints = |v: &Value| v.at("/spec/taints").cloned();
            if e.previous.as_ref().is_none_or(|p| taints(p) != taints(&e.object)) {
                queue.extend(world.pods_on(e.object.name()).map(|p| Key::of(&p)));
            }
        } else if e.gvr == gvr::PODS {
            let about = |v: &Value| {
                (
                    v.text("/spec/nodeName").to_owned(),
                    v.at("/spec/tolerations").cloned(),
                    v.deleting(),
                )
            };
            if e.kind == crate::local::EventKind::Deleted {
                self.pending.remove(e.object.uid());
            } else if e.previous.as_ref().is_none_or(|p| about(p) != about(&e.object)) {
                queue.insert(Key::of(&e.object));
            }
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let mut plan = Plan::default();
        let Some(pod) = world.get(&gvr::PODS, &key.ns, &key.name) else {
            return plan;
        };
        let node = world.get(&gvr::NODES, "", pod.text("/spec/nodeName"));
        let taints: Vec<&Value> = node
            .iter()
            .flat_map(|n| n.items("/spec/taints"))
            .filter(|t| t["effect"] == "NoExecute")
            .collect();
        let verdict = if taints.is_empty() || pod.deleting() {
            Verdict::Stay
        } else {
            judge(&pod, &taints)
        };
        match verdict {
            Verdict::Stay => {
                self.pending.remove(pod.uid());
            }
            Verdict::Go => self.evict(&pod, now, &mut plan),
            Verdict::GoAfter(d) => {
                let trigger = now.tick + d;
                let (_, end) = match self.pending.get(pod.uid()) {
                    // A countdown goes on from where it began; only a shorter one replaces it.
                    Some((begun, end)) if *begun + d < trigger => (*begun, *end),
                    _ => (now.tick, trigger),
                };
                let begun = self.pending.get(pod.uid()).map_or(now.tick, |p| p.0);
                self.pending.insert(pod.uid().to_owned(), (begun, end));
                if end <= now.tick {
                    self.evict(&pod, now, &mut plan);
                } else {
                    plan.after(end - now.tick);
                }
            }
        }
        plan
    }
}

impl TaintEviction {
    fn evict(&mut self, pod: &std::sync::Arc<Value>, now: Now, plan: &mut Plan) {
        self.pending.remove(pod.uid());
        plan.push(Action::Event {
            about: pod.clone(),
            kind: "Pod",
            component: "taint-eviction-controller",
            warning: false,
            reason: "TaintManagerEviction",
            message: format!("Marking for deletion Pod {}/{}", pod.namespace(), pod.name()),
        });
        if !pods::is_ended(pod) {
            let mut marked = (**pod).clone();
            let message = "Taint manager: deleting due to NoExecute taint";
            set_condition(
                &mut marked,
                "DisruptionTarget",
                "True",
                "DeletionByTaintManager",
                message,
                now.wall,
            );
            plan.update_status(&gvr::PODS, marked);
        }
        plan.delete(&gvr::PODS, pod);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Stay,
    Go,
    GoAfter(Duration),
}

/// Every taint must be tolerated; the shortest finite toleration counts.
fn judge(pod: &Value, taints: &[&Value]) -> Verdict {
    let mut shortest: Option<i64> = None;
    for t in taints {
        let mut matching = pod
            .items("/spec/tolerations")
            .iter()
            .filter(|x| tolerates(x, t))
            .peekable();
        if matching.peek().is_none() {
            return Verdict::Go;
        }
        for s in matching.filter_map(|x| x.int("/tolerationSeconds")) {
            shortest = Some(shortest.map_or(s, |m| m.min(s)));
        }
    }
    match shortest {
        None => Verdict::Stay,
        Some(s) if s <= 0 => Verdict::Go,
        Some(s) => Verdict::GoAfter(Duration::from_secs(s.unsigned_abs())),
    }
}

/// `Toleration.ToleratesTaint`.
pub(crate) fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let (effect, key) = (toleration.text("/effect"), toleration.text("/key"));
    (effect.is_empty() || effect == taint.text("/effect"))
        && (key.is_empty() || key == taint.text("/key"))
        && match toleration.text("/operator") {
            "" | "Equal" => toleration.text("/value") == taint.text("/value"),
            "Exists" => true,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn table() {
        let taint = json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"});
        let with = |t: Value| json!({"spec": {"tolerations": t}});
        for (pod, expected) in [
            (with(json!([])), Verdict::Go),
            (with(json!([{"operator": "Exists"}])), Verdict::Stay),
            (
                with(
                    json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 300}]),
                ),
                Verdict::GoAfter(Duration::from_secs(300)),
            ),
            (with(json!([{"key": "other", "operator": "Exists"}])), Verdict::Go),
            (
                with(json!([{"operator": "Exists", "tolerationSeconds": 0}])),
                Verdict::Go,
            ),
        ] {
            assert_eq!(judge(&pod, &[&taint]), expected, "{pod}");
        }
    }
}
