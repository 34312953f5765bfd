//! Deployments: one ReplicaSet per template, rolled from the old to the new (`pkg/controller/deployment`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, adopted, child, int_or_percent, owner_reference, selects_object, set_meta};
use super::pods::{self, HASH_LABEL};
use super::progress::{self, Observed, sum};
use super::replicaset::queue_owner;
use super::world::{Key, World, gvr};
use crate::local::WatchEvent;
use crate::status::Status;

const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

pub(crate) struct Deployments;

impl Controller for Deployments {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::DEPLOYMENTS {
            queue.insert(Key::of(&e.object));
        } else if e.gvr == gvr::REPLICA_SETS {
            queue_owner(e, "Deployment", queue);
            if e.object.controller().is_none() {
                for d in world.list_in(&gvr::DEPLOYMENTS, e.object.namespace()) {
                    if selects_object(d.at("/spec/selector"), &e.object) {
                        queue.insert(Key::of(&d));
                    }
                }
            }
        } else if e.gvr == gvr::PODS && e.kind == crate::local::EventKind::Deleted {
            // Recreate waits for the last old pod.
            if let Some(o) = e.object.controller()
                && let Some(rs) = world.get(&gvr::REPLICA_SETS, e.object.namespace(), o.text("/name"))
                && let Some(d) = rs.controller()
            {
                queue.insert(Key::new(rs.namespace(), d.text("/name")));
            }
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let Some(d) = world.get(&gvr::DEPLOYMENTS, &key.ns, &key.name) else {
            return Plan::default();
        };
        let mut sets: Vec<Arc<Value>> = world.controlled(&gvr::REPLICA_SETS, d.uid()).collect();
        let mut plan = Plan::default();
        if !d.deleting() {
            for rs in world.loose(&gvr::REPLICA_SETS, &key.ns) {
                if !rs.deleting() && selects_object(d.at("/spec/selector"), &rs) {
                    plan.update(&gvr::REPLICA_SETS, adopted(&rs, "apps/v1", "Deployment", &d));
                    sets.push(rs.clone());
                }
            }
        }
        if !plan.actions.is_empty() {
            return plan; // The adoption comes back as a change.
        }
        let alive = |uid: &str| world.controlled(&gvr::PODS, uid).any(|p| !pods::is_ended(&p));
        let running: BTreeSet<String> = sets
            .iter()
            .filter(|s| alive(s.uid()))
            .map(|s| s.uid().to_owned())
            .collect();
        reconcile(&d, &sets, &running, now)
    }

    fn refused(&mut self, key: &Key, action: &Action, why: &Status, world: &World, _: Now) -> Option<Plan> {
        // The name is taken by another template's set: count the collision, the next hash differs.
        let Action::Create { gvr: g, .. } = action else {
            return None;
        };
        if *g != gvr::REPLICA_SETS || why.reason != "AlreadyExists" {
            return None;
        }
        let mut d = (*world.get(&gvr::DEPLOYMENTS, &key.ns, &key.name)?).clone();
        child(&mut d, "status");
        d["status"]["collisionCount"] = json!(d.int("/status/collisionCount").unwrap_or(0) + 1);
        let mut plan = Plan::default();
        plan.update_status(&gvr::DEPLOYMENTS, d);
        Some(plan)
    }
}

/// The numbers of a rolling update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    surge: i64,
    unavailable: i64,
}

fn is_rolling(d: &Value) -> bool {
    d.text("/spec/strategy/type") != "Recreate"
}

/// `ResolveFenceposts`: surge rounds up, unavailable down, and both cannot be zero.
fn bounds(d: &Value) -> Bounds {
    let wanted = d.int("/spec/replicas").unwrap_or(1);
    if !is_rolling(d) {
        return Bounds {
            surge: 0,
            unavailable: 0,
        };
    }
    let quarter = json!("25%");
    let get = |p: &str| d.at(p).unwrap_or(&quarter).clone();
    let surge = int_or_percent(Some(&get("/spec/strategy/rollingUpdate/maxSurge")), wanted, true, 1);
    let unavailable = int_or_percent(
        Some(&get("/spec/strategy/rollingUpdate/maxUnavailable")),
        wanted,
        false,
        0,
    );
    if surge == 0 && unavailable == 0 {
        return Bounds {
            surge: 0,
            unavailable: 1,
        };
    }
    Bounds { surge, unavailable }
}

fn replicas(rs: &Value) -> i64 {
    rs.int("/spec/replicas").unwrap_or(1)
}

fn revision(v: &Value) -> i64 {
    v.annotation(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

/// The state of one reconciliation: sets may be scaled once each.
struct Roll<'a> {
    d: &'a Arc<Value>,
    bounds: Bounds,
    wanted: i64,
    sets: BTreeMap<String, Value>,
    new: Option<String>,
    plan: Plan,
    scaled: bool,
}

impl Roll<'_> {
    fn old(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .sets
            .keys()
            .filter(|n| Some(*n) != self.new.as_ref())
            .cloned()
            .collect();
        names.sort_by_key(|n| (self.sets[n].text("/metadata/creationTimestamp").to_owned(), n.clone()));
        names
    }

    fn total(&self) -> i64 {
        self.sets.values().map(replicas).sum()
    }

    /// Scales a set, with the annotations that tell a scaling event from a roll-out.
    fn scale(&mut self, name: &str, to: i64) {
        let (wanted, most) = (self.wanted, self.wanted + self.bounds.surge);
        let Some(rs) = self.sets.get_mut(name) else { return };
        let from = replicas(rs);
        let annotations = (rs.annotation(DESIRED), rs.annotation(MAXIMUM));
        if from == to && annotations == (Some(wanted.to_string().as_str()), Some(most.to_string().as_str())) {
            return;
        }
        rs["spec"]["replicas"] = json!(to);
        set_meta(rs, "annotations", DESIRED, &wanted.to_string());
        set_meta(rs, "annotations", MAXIMUM, &most.to_string());
        let object = rs.clone();
        // Its version changes with this write: a later write of this plan carries none.
        rs["metadata"].as_object_mut().map(|m| m.remove("resourceVersion"));
        self.plan.update(&gvr::REPLICA_SETS, object);
        if from != to {
            self.scaled = true;
            let way = if to > from { "up" } else { "down" };
            self.event(
                "ScalingReplicaSet",
                format!("Scaled {way} replica set {name} from {from} to {to}"),
            );
        }
    }

    fn event(&mut self, reason: &'static str, message: String) {
        self.plan.push(Action::Event {
            about: self.d.clone(),
            kind: "Deployment",
            component: "deployment-controller",
            warning: false,
            reason,
            message,
        });
    }
}

/// What one Deployment needs. `running` are the UIDs of sets that still have pods.
fn reconcile(d: &Arc<Value>, sets: &[Arc<Value>], running: &BTreeSet<String>, now: Now) -> Plan {
    let template = d.at("/spec/template").cloned().unwrap_or_default();
    let mut same: Vec<_> = sets
        .iter()
        .filter(|s| pods::same_template(&s["spec"]["template"], &template))
        .collect();
    same.sort_by_key(|s| (s.text("/metadata/creationTimestamp").to_owned(), s.name().to_owned()));
    let mut roll = Roll {
        d,
        bounds: bounds(d),
        wanted: d.int("/spec/replicas").unwrap_or(1),
        sets: sets.iter().map(|s| (s.name().to_owned(), (**s).clone())).collect(),
        new: same.first().map(|s| s.name().to_owned()),
        plan: Plan::default(),
        scaled: false,
    };
    let mut deployment = (**d).clone();
    let paused = d.flag("/spec/paused");
    if !d.deleting() {
        let scaling = sets.iter().any(|s| {
            replicas(s) > 0
                && s.annotation(DESIRED)
                    .and_then(|x| x.parse::<i64>().ok())
                    .is_some_and(|x| x != roll.wanted)
        });
        if paused || scaling {
            if roll.new.is_some() {
                ensure_new(&mut roll, &mut deployment, &template, true, now);
            }
            proportion(&mut roll);
            if paused {
                clean_up(&mut roll);
            }
        } else if is_rolling(d) {
            ensure_new(&mut roll, &mut deployment, &template, true, now);
            rolling(&mut roll);
        } else {
            recreate(&mut roll, &mut deployment, &template, running, now);
        }
    }
    let all: Vec<&Value> = roll.sets.values().filter(|s| !s.uid().is_empty()).collect();
    let new_set = roll.new.as_ref().and_then(|n| roll.sets.get(n));
    let observed = Observed {
        deployment: &deployment,
        sets: &all,
        new_set,
        max_unavailable: roll.bounds.unavailable,
        paused,
    };
    let (changed, again) = progress::status(&observed, now.wall);
    if let Some(a) = again {
        roll.plan.after(a);
    }
    if changed.at("/metadata/annotations") != d.at("/metadata/annotations") {
        // The status follows with the change that this write brings back.
        let mut annotated = (**d).clone();
        annotated["metadata"]["annotations"] = changed["metadata"]["annotations"].clone();
        roll.plan.update(&gvr::DEPLOYMENTS, annotated);
        // A status write carries annotations too, as upstream's does.
        let mut changed = changed;
        changed["metadata"].as_object_mut().map(|m| m.remove("resourceVersion"));
        roll.plan.update_status(&gvr::DEPLOYMENTS, changed);
    } else if changed.get("status") != d.get("status") {
        roll.plan.update_status(&gvr::DEPLOYMENTS, changed);
    }
    roll.plan
}

/// Finds or makes the set of the current template, with its revision (`getNewReplicaSet`).
fn ensure_new(roll: &mut Roll<'_>, d: &mut Value, template: &Value, create: bool, now: Now) {
    let newest_old = roll.old().iter().map(|n| revision(&roll.sets[n])).max().unwrap_or(0);
    let next = newest_old + 1;
    if let Some(name) = roll.new.clone() {
        let Some(rs) = roll.sets.get_mut(&name) else { return };
        let before = rs.clone();
        copy_annotations(d, rs);
        let had = revision(rs);
        if had < next {
            if had > 0 {
                let history = match rs.annotation(HISTORY) {
                    Some(h) => format!("{h},{had}"),
                    None => had.to_string(),
                };
                set_meta(rs, "annotations", HISTORY, &history);
            }
            set_meta(rs, "annotations", REVISION, &next.to_string());
        }
        let min_ready = d.at("/spec/minReadySeconds").cloned();
        if rs.int("/spec/minReadySeconds").unwrap_or(0) != min_ready.as_ref().and_then(Value::as_i64).unwrap_or(0) {
            rs["spec"]["minReadySeconds"] = min_ready.unwrap_or_else(|| json!(0));
        }
        let revision_text = revision(rs).to_string();
        if *rs != before {
            let object = rs.clone();
            // Its version changes with this write: later writes of this plan carry none.
            rs["metadata"].as_object_mut().map(|m| m.remove("resourceVersion"));
            roll.plan.update(&gvr::REPLICA_SETS, object);
        }
        if d.annotation(REVISION) != Some(revision_text.as_str()) {
            set_meta(d, "annotations", REVISION, &revision_text);
        }
        if d.condition("Progressing").is_none() {
            let m = format!("Found new replica set \"{name}\"");
            progress::condition(d, "Progressing", "True", "FoundNewReplicaSet", &m, now.wall);
        }
        return;
    }
    if !create {
        return;
    }
    let hash = pods::template_hash(template, d.int("/status/collisionCount"));
    let name = format!("{}-{hash}", d.name());
    let mut selector = d["spec"]["selector"].clone();
    child(&mut selector, "matchLabels").insert(HASH_LABEL.to_owned(), json!(hash));
    let template = pods::with_hash(template, &hash);
    let mut rs = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": d.namespace(), "labels": template["metadata"]["labels"],
            "ownerReferences": [owner_reference("apps/v1", "Deployment", d)]},
        "spec": {"replicas": 0, "selector": selector, "template": template}});
    if let Some(m) = d.int("/spec/minReadySeconds").filter(|m| *m > 0) {
        rs["spec"]["minReadySeconds"] = json!(m);
    }
    copy_annotations(d, &mut rs);
    set_meta(&mut rs, "annotations", REVISION, &next.to_string());
    set_meta(&mut rs, "annotations", DESIRED, &roll.wanted.to_string());
    set_meta(
        &mut rs,
        "annotations",
        MAXIMUM,
        &(roll.wanted + roll.bounds.surge).to_string(),
    );
    roll.sets.insert(name.clone(), rs);
    roll.new = Some(name.clone());
    let count = if is_rolling(d) { new_replicas(roll) } else { roll.wanted };
    if let Some(rs) = roll.sets.get_mut(&name) {
        rs["spec"]["replicas"] = json!(count);
        let object = rs.clone();
        roll.plan.create(&gvr::REPLICA_SETS, d.namespace(), object);
    }
    roll.scaled = true;
    if count > 0 {
        roll.event(
            "ScalingReplicaSet",
            format!("Scaled up replica set {name} from 0 to {count}"),
        );
    }
    set_meta(d, "annotations", REVISION, &next.to_string());
    let m = format!("Created new replica set \"{name}\"");
    progress::condition(d, "Progressing", "True", "NewReplicaSetCreated", &m, now.wall);
}

/// A set carries its deployment's annotations, but for those that are about one object only.
fn copy_annotations(d: &Value, rs: &mut Value) {
    const OWN: [&str; 5] = [
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        HISTORY,
        DESIRED,
        MAXIMUM,
    ];
    for (k, v) in d
        .at("/metadata/annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if let Some(v) = v
            .as_str()
            .filter(|v| !OWN.contains(&k.as_str()) && rs.annotation(k) != Some(v))
        {
            set_meta(rs, "annotations", k, v);
        }
    }
}

/// `NewRSNewReplicas` of a rolling update.
fn new_replicas(roll: &Roll<'_>) -> i64 {
    let have = roll.new.as_ref().and_then(|n| roll.sets.get(n)).map_or(0, replicas);
    let room = roll.wanted + roll.bounds.surge - roll.total();
    if room <= 0 {
        have
    } else {
        have + room.min(roll.wanted - have)
    }
}

fn rolling(roll: &mut Roll<'_>) {
    let Some(new) = roll.new.clone() else { return };
    // Up with the new, within the surge.
    let have = replicas(&roll.sets[&new]);
    if have > roll.wanted {
        roll.scale(&new, roll.wanted);
    } else if have < roll.wanted {
        let to = new_replicas(roll);
        roll.scale(&new, to);
    }
    if roll.scaled {
        return;
    }
    // Down with the old, within what may be unavailable.
    let old = roll.old();
    let old_count: i64 = old.iter().map(|n| replicas(&roll.sets[n])).sum();
    let available = |rs: &Value| rs.int("/status/availableReplicas").unwrap_or(0);
    if old_count > 0 {
        let least = roll.wanted - roll.bounds.unavailable;
        let new_unavailable = replicas(&roll.sets[&new]) - available(&roll.sets[&new]);
        let mut budget = roll.total() - least - new_unavailable;
        if budget <= 0 {
            return;
        }
        // Sick old pods first: they serve nobody.
        for n in &old {
            let rs = &roll.sets[n];
            let sick = (replicas(rs) - available(rs)).min(budget);
            if sick > 0 {
                let to = replicas(rs) - sick;
                budget -= sick;
                roll.scale(n, to);
            }
        }
        let refs: Vec<&Value> = roll.sets.values().collect();
        let mut budget = sum(&refs, "/status/availableReplicas") - least;
        for n in &old {
            let rs = &roll.sets[n];
            let down = replicas(rs).min(budget);
            if down > 0 {
                let to = replicas(rs) - down;
                budget -= down;
                roll.scale(n, to);
            }
        }
        return;
    }
    if complete(roll) {
        clean_up(roll);
    }
}

fn complete(roll: &Roll<'_>) -> bool {
    let Some(new) = roll.new.as_ref().and_then(|n| roll.sets.get(n)) else {
        return false;
    };
    let refs: Vec<&Value> = roll.sets.values().collect();
    new.int("/status/replicas").unwrap_or(0) == roll.wanted
        && sum(&refs, "/status/replicas") == roll.wanted
        && sum(&refs, "/status/availableReplicas") == roll.wanted
}

fn recreate(roll: &mut Roll<'_>, d: &mut Value, template: &Value, running: &BTreeSet<String>, now: Now) {
    for n in roll.old() {
        if replicas(&roll.sets[&n]) > 0 {
            roll.scale(&n, 0);
        }
    }
    if roll.scaled || roll.old().iter().any(|n| running.contains(roll.sets[n].uid())) {
        return;
    }
    ensure_new(roll, d, template, true, now);
    if let Some(new) = roll.new.clone().filter(|_| !roll.scaled) {
        let to = roll.wanted;
        roll.scale(&new, to);
    }
    if !roll.scaled && complete(roll) {
        clean_up(roll);
    }
}

/// A change of `spec.replicas` in the middle of a roll-out is shared out by size (`scale` of sync.go).
fn proportion(roll: &mut Roll<'_>) {
    let active: Vec<String> = roll
        .sets
        .iter()
        .filter(|(_, s)| replicas(s) > 0)
        .map(|(n, _)| n.clone())
        .collect();
    if let Some(one) = match active.len() {
        0 => roll
            .new
            .clone()
            .or_else(|| roll.old().into_iter().max_by_key(|n| revision(&roll.sets[n]))),
        1 => active.first().cloned(),
        _ => None,
    } {
        let to = roll.wanted;
        roll.scale(&one, to);
        return;
    }
    if let Some(new) = roll.new.as_ref().and_then(|n| roll.sets.get(n)) {
        let saturated = replicas(new) == roll.wanted
            && new.annotation(DESIRED) == Some(roll.wanted.to_string().as_str())
            && new.int("/status/availableReplicas") == Some(roll.wanted);
        if saturated {
            for n in roll.old() {
                roll.scale(&n, 0);
            }
            return;
        }
    }
    if !is_rolling(roll.d) {
        return;
    }
    let total = roll.total();
    let allowed = if roll.wanted > 0 {
        roll.wanted + roll.bounds.surge
    } else {
        0
    };
    let to_add = allowed - total;
    // The largest first when growing (newest among equals), the other way when shrinking.
    let mut order = active;
    order.sort_by_key(|n| {
        let s = &roll.sets[n];
        (
            std::cmp::Reverse(replicas(s)),
            s.text("/metadata/creationTimestamp").to_owned(),
            n.clone(),
        )
    });
    let mut added = 0;
    let mut sizes: Vec<(String, i64)> = Vec::new();
    for n in order {
        let s = &roll.sets[&n];
        let size = replicas(s);
        let most_before = s
            .annotation(MAXIMUM)
            .and_then(|m| m.parse::<i64>().ok())
            .unwrap_or(roll.wanted)
            .max(1);
        let share = if to_add == 0 {
            0
        } else {
            let exact = (size * allowed) as f64 / most_before as f64;
            let fraction = exact.round() as i64 - size;
            let left = to_add - added;
            if to_add > 0 {
                fraction.clamp(0, left.max(0))
            } else {
                fraction.clamp(left.min(0), 0)
            }
        };
        added += share;
        sizes.push((n, size + share));
    }
    if let Some(first) = sizes.first_mut() {
        first.1 = (first.1 + to_add - added).max(0);
    }
    for (n, to) in sizes {
        roll.scale(&n, to);
    }
}

/// Deletes the oldest empty sets beyond `revisionHistoryLimit`.
fn clean_up(roll: &mut Roll<'_>) {
    let Some(limit) = roll
        .d
        .int("/spec/revisionHistoryLimit")
        .and_then(|l| usize::try_from(l).ok())
    else {
        return;
    };
    let mut old = roll.old();
    let excess = old.len().saturating_sub(limit);
    old.sort_by_key(|n| (revision(&roll.sets[n]), n.clone()));
    for n in old.into_iter().take(excess) {
        let rs = &roll.sets[&n];
        let empty = rs.int("/status/replicas").unwrap_or(0) == 0 && replicas(rs) == 0;
        let seen = rs.int("/metadata/generation").unwrap_or(0) <= rs.int("/status/observedGeneration").unwrap_or(0);
        if empty && seen && !rs.deleting() {
            let rs = rs.clone();
            roll.plan.delete(&gvr::REPLICA_SETS, &rs);
        }
    }
}

#[cfg(test)]
mod tests;
