//! The pod scheduler: filters, scores, binds (`pkg/scheduler`, the default plugins thinly). Deterministic: equal
//! scores fall to the first node by name.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, set_condition};
use super::pods;
use super::world::{Key, World, gvr};
use crate::local::{EventKind, WatchEvent};
use crate::status::Status;

mod filter;
mod preempt;
mod resources;
mod score;

pub(crate) use filter::{fits_node, untolerated};
use resources::Usage;

/// Keys are pods.
#[derive(Default)]
pub(crate) struct Scheduler {
    /// What the pods of each node ask for.
    used: BTreeMap<String, Usage>,
    /// Which pod adds what to which node.
    shares: BTreeMap<Key, (String, Usage)>,
    /// Pods that fit nowhere, until something changes.
    waiting: BTreeSet<Key>,
    /// Pods for which others were sent away: where, their priority, what they ask for.
    nominated: BTreeMap<Key, (String, i64, Usage)>,
}

/// Whether the default scheduler has to find a node for this pod.
fn is_ours(pod: &Value) -> bool {
    pod.text("/spec/nodeName").is_empty()
        && pods::is_active(pod)
        && matches!(pod.text("/spec/schedulerName"), "" | "default-scheduler")
        && pod.items("/spec/schedulingGates").is_empty()
}

impl Controller for Scheduler {
    fn observe(&mut self, e: &WatchEvent, _: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::PODS {
            let key = Key::of(&e.object);
            let gone = e.kind == EventKind::Deleted || pods::is_ended(&e.object);
            let freed = self.account(&key, (!gone).then_some(&*e.object));
            match e.object.text("/status/nominatedNodeName") {
                node if !node.is_empty() && !gone && is_ours(&e.object) => {
                    let place = (node.to_owned(), preempt::priority(&e.object), Usage::of(&e.object));
                    self.nominated.insert(key.clone(), place);
                }
                _ => drop(self.nominated.remove(&key)),
            }
            if e.kind != EventKind::Deleted && is_ours(&e.object) {
                // A status of ours that says "unschedulable" is no reason to try again.
                let spec = |v: &Value| (v["spec"].clone(), v.at("/metadata/labels").cloned());
                if e.previous.as_ref().is_none_or(|p| spec(p) != spec(&e.object)) {
                    self.waiting.remove(&key);
                    queue.insert(key);
                }
            } else {
                self.waiting.remove(&key);
                let bound = e.previous.as_ref().is_some_and(|p| p.text("/spec/nodeName").is_empty());
                if freed || bound {
                    queue.append(&mut self.waiting);
                }
            }
        } else if e.gvr == gvr::NODES {
            let about = |v: &Value| {
                (
                    v["spec"].clone(),
                    v.at("/metadata/labels").cloned(),
                    v.at("/status/allocatable").cloned(),
                )
            };
            if e.kind == EventKind::Added || e.previous.as_ref().is_none_or(|p| about(p) != about(&e.object)) {
                queue.append(&mut self.waiting);
            }
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let mut plan = Plan::default();
        let Some(pod) = world.get(&gvr::PODS, &key.ns, &key.name).filter(|p| is_ours(p)) else {
            return plan;
        };
        let used = self.used_for(key, &pod);
        match choose(&pod, world, &used) {
            Ok(node) => {
                plan.push(Action::Bind {
                    pod: key.clone(),
                    uid: pod.uid().to_owned(),
                    node: node.clone(),
                });
                let message = format!("Successfully assigned {}/{} to {node}", key.ns, key.name);
                plan.push(event(&pod, false, "Scheduled", message));
            }
            Err(why) => {
                let mut changed = (*pod).clone();
                let told = set_condition(&mut changed, "PodScheduled", "False", "Unschedulable", &why, now.wall);
                let found = preempt::victims(&pod, world, &used);
                self.waiting.insert(key.clone());
                if let Some((node, _)) = &found {
                    changed["status"]["nominatedNodeName"] = json!(node);
                }
                if told || found.is_some() {
                    plan.update_status(&gvr::PODS, changed);
                }
                if told {
                    plan.push(event(&pod, true, "FailedScheduling", why));
                }
                for victim in found.into_iter().flat_map(|(_, v)| v) {
                    let mut marked = (*victim).clone();
                    let why = "default-scheduler: preempting to accommodate a higher priority pod";
                    set_condition(
                        &mut marked,
                        "DisruptionTarget",
                        "True",
                        "PreemptionByScheduler",
                        why,
                        now.wall,
                    );
                    plan.update_status(&gvr::PODS, marked);
                    let message = format!(
                        "Preempted by pod {} on node {}",
                        pod.uid(),
                        victim.text("/spec/nodeName")
                    );
                    plan.push(event(&victim, false, "Preempted", message));
                    plan.delete(&gvr::PODS, &victim);
                }
            }
        }
        plan
    }

    fn refused(&mut self, _: &Key, _: &Action, why: &Status, _: &World, _: Now) -> Option<Plan> {
        (why.code == 404).then(Plan::default)
    }
}

impl Scheduler {
    /// What is taken as this pod must see it: room that was made for others, of no lower priority, is theirs
    /// (`RunFilterPluginsWithNominatedPods`).
    fn used_for(&self, key: &Key, pod: &Value) -> Cow<'_, BTreeMap<String, Usage>> {
        let mut used = Cow::Borrowed(&self.used);
        let mine = preempt::priority(pod);
        for (node, _, share) in self
            .nominated
            .iter()
            .filter(|(k, n)| *k != key && n.1 >= mine)
            .map(|(_, n)| n)
        {
            used.to_mut().entry(node.clone()).or_default().add(share);
        }
        used
    }

    /// Counts a pod where it is; true when it freed something.
    fn account(&mut self, key: &Key, pod: Option<&Value>) -> bool {
        let node = pod.map_or("", |p| p.text("/spec/nodeName"));
        if let Some((n, _)) = self.shares.get(key)
            && n == node
        {
            return false; // What a bound pod asks for does not change.
        }
        let mut freed = false;
        if let Some((n, share)) = self.shares.remove(key) {
            if let Some(u) = self.used.get_mut(&n) {
                u.sub(&share);
            }
            freed = true;
        }
        if let Some(pod) = pod.filter(|_| !node.is_empty()) {
            let share = Usage::of(pod);
            self.used.entry(node.to_owned()).or_default().add(&share);
            self.shares.insert(key.clone(), (node.to_owned(), share));
        }
        freed
    }
}

fn event(pod: &Arc<Value>, warning: bool, reason: &'static str, message: String) -> Action {
    Action::Event {
        about: pod.clone(),
        kind: "Pod",
        component: "default-scheduler",
        warning,
        reason,
        message,
    }
}

/// The best node, or why there is none (kube-scheduler's FitError text).
fn choose(pod: &Value, world: &World, used: &BTreeMap<String, Usage>) -> Result<String, String> {
    let share = Usage::of(pod);
    let nodes: Vec<Arc<Value>> = world.list(&gvr::NODES).filter(|n| !n.deleting()).collect();
    let nodes: Vec<&Arc<Value>> = nodes.iter().collect();
    let empty = Usage::default();
    let topology = filter::Topology::of(pod, &nodes, world, used);
    let mut feasible = Vec::new();
    let mut reasons = BTreeMap::<String, usize>::new();
    for n in &nodes {
        let have = used.get(n.name()).unwrap_or(&empty);
        match filter::check(pod, &share, n, have, &topology) {
            Ok(()) => feasible.push((*n, have)),
            Err(list) => {
                for r in list {
                    *reasons.entry(r).or_default() += 1;
                }
            }
        }
    }
    if feasible.is_empty() {
        let mut list: Vec<String> = reasons.into_iter().map(|(r, n)| format!("{n} {r}")).collect();
        list.sort();
        let tail = if list.is_empty() {
            "no nodes available to schedule pods".to_owned()
        } else {
            list.join(", ")
        };
        return Err(match nodes.len() {
            0 => tail,
            n => format!("0/{n} nodes are available: {tail}."),
        });
    }
    Ok(score::best(pod, &share, &feasible, world))
}

#[cfg(test)]
mod tests {
    use super::super::world::world_of;
    use super::*;

    fn node(name: &str, cpu: &str, extra: Value) -> (&'static crate::local::Gvr, Value) {
        let mut v = json!({"metadata": {"name": name, "uid": name, "labels": {"kubernetes.io/hostname": name}}, "spec": {},
            "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}}});
        json_patch::merge(&mut v, &extra);
        (&gvr::NODES, v)
    }

    fn pod(cpu: &str, spec: Value) -> Value {
        let mut v = json!({"metadata": {"name": "p", "namespace": "d", "uid": "p", "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]}});
        json_patch::merge(&mut v["spec"], &spec);
        v
    }

    #[tokio::test]
    async fn room_that_was_made_for_a_pod_is_not_given_to_a_lesser_one() {
        let now = Now {
            wall: jiff::Timestamp::UNIX_EPOCH,
            tick: tokio::time::Instant::now(),
        };
        let named = |name: &str, priority: i64, nominated: &str| {
            let mut v = pod("2", json!({"priority": priority}));
            v["metadata"]["name"] = json!(name);
            v["metadata"]["uid"] = json!(name);
            v["status"] = json!({"phase": "Pending"});
            if !nominated.is_empty() {
                v["status"]["nominatedNodeName"] = json!(nominated);
            }
            v
        };
        let all = [
            named("for", 5, "a"),
            named("less", 1, ""),
            named("same", 5, ""),
            named("more", 9, ""),
        ];
        let mut objects = vec![node("a", "3", json!({}))];
        objects.extend(all.iter().map(|p| (&gvr::PODS, p.clone())));
        let world = world_of(&objects);
        let (mut s, mut queue) = (Scheduler::default(), BTreeSet::new());
        let see = |s: &mut Scheduler, queue: &mut BTreeSet<Key>, kind, object: &Value| {
            let e = WatchEvent {
                kind,
                gvr: gvr::PODS.clone(),
                object: Arc::new(object.clone()),
                previous: None,
                stored: Arc::new(crate::store::Object::new(object.clone(), 1)),
                revision: 1,
            };
            s.observe(&e, &world, now, queue);
        };
        for p in &all {
            see(&mut s, &mut queue, EventKind::Added, p);
        }
        let bound = |s: &mut Scheduler, name: &str| {
            let plan = s.reconcile(&Key::new("d", name), &world, now);
            plan.actions.iter().any(|a| matches!(a, Action::Bind { .. }))
        };
        assert_eq!(
            ["for", "less", "same", "more"].map(|n| bound(&mut s, n)),
            [true, false, false, true]
        );
        see(&mut s, &mut queue, EventKind::Deleted, &all[0]);
        assert!(bound(&mut s, "less"), "who it was made for is gone");
    }

    #[test]
    fn table() {
        let gpu = json!({"metadata": {"labels": {"gpu": "yes"}}});
        let tainted = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
        let cordoned = json!({"spec": {"unschedulable": true}});
        let on_gpu = |op: &str| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": op}]}]}}}})
        };
        let prefers_b = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": 100, "preference": {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}}]}}});
        let tolerant = json!({"tolerations": [{"key": "k", "operator": "Exists"}]});
        let cases: Vec<(Vec<_>, Value, Result<&str, &str>)> = vec![
            (
                vec![node("a", "4", json!({})), node("b", "4", json!({}))],
                pod("1", json!({})),
                Ok("a"),
            ),
            (
                vec![node("a", "2", json!({})), node("b", "8", json!({}))],
                pod("1", json!({})),
                Ok("b"),
            ),
            (
                vec![node("a", "1", json!({}))],
                pod("2", json!({})),
                Err("0/1 nodes are available: 1 Insufficient cpu."),
            ),
            (
                vec![node("a", "4", json!({})), node("b", "4", gpu.clone())],
                pod("1", json!({"nodeSelector": {"gpu": "yes"}})),
                Ok("b"),
            ),
            (
                vec![node("a", "4", json!({})), node("b", "4", gpu.clone())],
                pod("1", on_gpu("DoesNotExist")),
                Ok("a"),
            ),
            (
                vec![node("a", "4", json!({})), node("b", "4", gpu.clone())],
                pod("1", prefers_b),
                Ok("b"),
            ),
            (
                vec![node("a", "4", tainted.clone())],
                pod("1", json!({})),
                Err("0/1 nodes are available: 1 node(s) had untolerated taint(s)."),
            ),
            (vec![node("a", "4", tainted)], pod("1", tolerant), Ok("a")),
            (
                vec![node("a", "4", cordoned)],
                pod("1", json!({})),
                Err("0/1 nodes are available: 1 node(s) were unschedulable."),
            ),
            (vec![], pod("1", json!({})), Err("no nodes available to schedule pods")),
        ];
        for (nodes, pod, expected) in cases {
            let got = choose(&pod, &world_of(&nodes), &BTreeMap::new());
            assert_eq!(got.as_deref().map_err(String::as_str), expected, "{pod}");
        }
    }

    #[test]
    fn anti_affinity_keeps_apart() {
        let anti = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            [{"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}]}}});
        let mut other = pod("1", json!({"nodeName": "a"}));
        other["metadata"]["name"] = json!("q");
        other["metadata"]["uid"] = json!("q");
        let world = world_of(&[
            node("a", "8", json!({})),
            node("b", "2", json!({})),
            (&gvr::PODS, other),
        ]);
        assert_eq!(choose(&pod("1", anti), &world, &BTreeMap::new()).as_deref(), Ok("b"));
    }
}
