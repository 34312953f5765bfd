//! A Deployment's status and its conditions Available and Progressing (`pkg/controller/deployment/progress.go`,
//! `sync.go`): what `kubectl rollout status` and `kubectl wait` read.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{Object, between, child, child_list, stamp};
use super::replicaset::set_count;

/// What a status is computed from.
pub(crate) struct Observed<'a> {
    pub deployment: &'a Value,
    /// All ReplicaSets, the new one among them.
    pub sets: &'a [&'a Value],
    pub new_set: Option<&'a Value>,
    pub max_unavailable: i64,
    pub paused: bool,
}

/// Sums a count over ReplicaSets.
pub(crate) fn sum(sets: &[&Value], pointer: &str) -> i64 {
    sets.iter().filter_map(|s| s.int(pointer)).sum()
}

/// The deployment with its new status, and when to look again for a deadline.
pub(crate) fn status(o: &Observed<'_>, now: Timestamp) -> (Value, Option<Duration>) {
    let d = o.deployment;
    let mut changed = d.clone();
    child(&mut changed, "status");
    let s = &mut changed["status"];
    let wanted = d.int("/spec/replicas").unwrap_or(1);
    let available = sum(o.sets, "/status/availableReplicas");
    let spec_total = sum(o.sets, "/spec/replicas");
    let updated = o.new_set.and_then(|n| n.int("/status/replicas")).unwrap_or(0);
    for (field, n) in [
        ("replicas", sum(o.sets, "/status/replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", sum(o.sets, "/status/readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (spec_total - available).max(0)),
        ("terminatingReplicas", sum(o.sets, "/status/terminatingReplicas")),
    ] {
        set_count(s, field, usize::try_from(n).unwrap_or(0), false);
    }
    s["observedGeneration"] = json!(d.int("/metadata/generation").unwrap_or(0));
    if available >= wanted - o.max_unavailable {
        condition(
            &mut changed,
            "Available",
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            now,
        );
    } else {
        let m = "Deployment does not have minimum availability.";
        condition(&mut changed, "Available", "False", "MinimumReplicasUnavailable", m, now);
    }
    let again = progress(o, &mut changed, now);
    failure(o, &mut changed, now);
    (changed, again)
}

fn has_deadline(d: &Value) -> Option<Duration> {
    let s = d
        .int("/spec/progressDeadlineSeconds")
        .filter(|s| *s != i64::from(i32::MAX))?;
    Some(Duration::from_secs(s.unsigned_abs()))
}

fn progress(o: &Observed<'_>, changed: &mut Value, now: Timestamp) -> Option<Duration> {
    let d = o.deployment;
    let deadline = has_deadline(d)?;
    if o.paused {
        return None;
    }
    let (before, after) = (|f: &str| d.int(&format!("/status/{f}")).unwrap_or(0), changed.clone());
    let after = |f: &str| after.int(&format!("/status/{f}")).unwrap_or(0);
    let current = changed.condition("Progressing").cloned();
    let reason = current
        .as_ref()
        .map(|c| c.text("/reason").to_owned())
        .unwrap_or_default();
    if after("replicas") == after("updatedReplicas") && reason == "NewReplicaSetAvailable" {
        return None;
    }
    let wanted = d.int("/spec/replicas").unwrap_or(1);
    let complete =
        after("updatedReplicas") == wanted && after("replicas") == wanted && after("availableReplicas") == wanted;
    let progressing = after("updatedReplicas") > before("updatedReplicas")
        || after("replicas") - after("updatedReplicas") < before("replicas") - before("updatedReplicas")
        || after("readyReplicas") > before("readyReplicas")
        || after("availableReplicas") > before("availableReplicas");
    let what = match o.new_set {
        Some(n) => format!("ReplicaSet \"{}\"", n.name()),
        None => format!("Deployment \"{}\"", d.name()),
    };
    let timed_out = || match &current {
        None => false,
        Some(_) if reason == "ProgressDeadlineExceeded" => true,
        Some(c) => c
            .time("/lastUpdateTime")
            .is_some_and(|from| between(from, now) >= deadline),
    };
    if complete {
        let m = format!("{what} has successfully progressed.");
        condition(changed, "Progressing", "True", "NewReplicaSetAvailable", &m, now);
        return None;
    } else if progressing {
        let m = format!("{what} is progressing.");
        let kept = current
            .as_ref()
            .filter(|c| c["status"] == "True")
            .map(|c| c["lastTransitionTime"].clone());
        if let Some(l) = changed.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
            l.retain(|c| c["type"] != "Progressing");
        }
        condition(changed, "Progressing", "True", "ReplicaSetUpdated", &m, now);
        if let (Some(t), Some(l)) = (
            kept,
            changed.pointer_mut("/status/conditions").and_then(Value::as_array_mut),
        ) {
            for c in l.iter_mut().filter(|c| c["type"] == "Progressing") {
                c["lastTransitionTime"] = t.clone();
            }
        }
    } else if timed_out() {
        let m = format!("{what} has timed out progressing.");
        condition(changed, "Progressing", "False", "ProgressDeadlineExceeded", &m, now);
        return None;
    }
    let from = changed.condition("Progressing")?.time("/lastUpdateTime")?;
    Some(deadline.saturating_sub(between(from, now)).max(Duration::from_secs(1)))
}

fn failure(o: &Observed<'_>, changed: &mut Value, now: Timestamp) {
    let found = o.sets.iter().find_map(|s| s.condition("ReplicaFailure"));
    match found {
        Some(c) => {
            condition(
                changed,
                "ReplicaFailure",
                c.text("/status"),
                c.text("/reason"),
                c.text("/message"),
                now,
            );
        }
        None => {
            if let Some(l) = changed.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
                l.retain(|c| c["type"] != "ReplicaFailure");
            }
        }
    }
}

/// `SetDeploymentCondition`: nothing changes while status and reason are the same; a new reason moves
/// `lastUpdateTime`, a new status `lastTransitionTime` too.
pub(crate) fn condition(d: &mut Value, kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) {
    child(d, "status");
    let list = child_list(&mut d["status"], "conditions");
    let mut since = json!(stamp(now));
    if let Some(c) = list.iter().find(|c| c["type"] == kind) {
        if c["status"] == status && c["reason"] == reason {
            return;
        }
        if c["status"] == status {
            since = c["lastTransitionTime"].clone();
        }
    }
    list.retain(|c| c["type"] != kind);
    list.push(
        json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": stamp(now), "lastTransitionTime": since}),
    );
}
