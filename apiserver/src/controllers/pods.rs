//! Pods, as their controllers see them (`pkg/controller/controller_utils.go`, `pkg/api/v1/pod/util.go`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{Object, between, child, owner_reference};

/// Neither ended nor being deleted.
pub(crate) fn is_active(pod: &Value) -> bool {
    !is_ended(pod) && !pod.deleting()
}

/// Phase Succeeded or Failed.
pub(crate) fn is_ended(pod: &Value) -> bool {
    matches!(pod.text("/status/phase"), "Succeeded" | "Failed")
}

/// Condition Ready is True.
pub(crate) fn is_ready(pod: &Value) -> bool {
    pod.condition("Ready").is_some_and(|c| c["status"] == "True")
}

/// Ready for at least `min_ready` seconds.
pub(crate) fn is_available(pod: &Value, min_ready: i64, now: Timestamp) -> bool {
    available_in(pod, min_ready, now) == Some(Duration::ZERO)
}

/// How long until a ready pod is available; `None` when it is not ready.
pub(crate) fn available_in(pod: &Value, min_ready: i64, now: Timestamp) -> Option<Duration> {
    let ready = pod.condition("Ready").filter(|c| c["status"] == "True")?;
    if min_ready == 0 {
        return Some(Duration::ZERO);
    }
    let since = ready.time("/lastTransitionTime")?;
    Some(Duration::from_secs(min_ready.unsigned_abs()).saturating_sub(between(since, now)))
}

/// The sum of the restarts of a pod's containers.
pub(crate) fn restarts(pod: &Value) -> i64 {
    let most = |list: &str| {
        pod.items(list)
            .iter()
            .filter_map(|c| c.int("/restartCount"))
            .max()
            .unwrap_or(0)
    };
    most("/status/containerStatuses").max(most("/status/initContainerStatuses"))
}

/// A pod of `template`, owned by `owner`.
pub(crate) fn from_template(template: &Value, api_version: &str, kind: &str, owner: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": format!("{}-", owner.name()), "namespace": owner.namespace(),
            "ownerReferences": [owner_reference(api_version, kind, owner)]},
        "spec": template.get("spec").cloned().unwrap_or_else(|| json!({}))});
    for map in ["labels", "annotations", "finalizers"] {
        if let Some(v) = template
            .at("/metadata")
            .and_then(|m| m.get(map))
            .filter(|v| !v.is_null())
        {
            pod["metadata"][map] = v.clone();
        }
    }
    pod
}

/// Sets one environment variable in every container (Job's completion index).
pub(crate) fn set_env(pod: &mut Value, name: &str, value: &str) {
    for list in ["initContainers", "containers"] {
        if let Some(containers) = pod["spec"].get_mut(list).and_then(Value::as_array_mut) {
            for c in containers {
                super::object::child_list(c, "env").push(json!({"name": name, "value": value}));
            }
        }
    }
}

/// Orders pods so that those to delete first come first (`ActivePodsWithRanks`): unassigned, Pending before Unknown
/// before Running, not ready, cheap (`pod-deletion-cost`), doubled up on a node, ready most recently (by powers of
/// two of seconds), restarted often, young; then by name.
pub(crate) fn order_for_deletion(pods: &mut [Arc<Value>], siblings_on_node: &BTreeMap<String, usize>, now: Timestamp) {
    pods.sort_by(|a, b| {
        let assigned = |p: &Value| !p.text("/spec/nodeName").is_empty();
        let phase = |p: &Value| match p.text("/status/phase") {
            "Pending" | "" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        let cost = |p: &Value| -> i64 {
            p.annotation("controller.kubernetes.io/pod-deletion-cost")
                .and_then(|c| c.parse().ok())
                .unwrap_or(0)
        };
        let rank = |p: &Value| siblings_on_node.get(p.text("/spec/nodeName")).copied().unwrap_or(0);
        let ready_since = |p: &Value| p.condition("Ready").and_then(|c| c.time("/lastTransitionTime"));
        assigned(a)
            .cmp(&assigned(b))
            .then_with(|| phase(a).cmp(&phase(b)))
            .then_with(|| is_ready(a).cmp(&is_ready(b)))
            .then_with(|| cost(a).cmp(&cost(b)))
            .then_with(|| rank(b).cmp(&rank(a)))
            .then_with(|| match is_ready(a) && is_ready(b) {
                true => younger_first(ready_since(a), ready_since(b), now),
                false => Ordering::Equal,
            })
            .then_with(|| restarts(b).cmp(&restarts(a)))
            .then_with(|| {
                let created = |p: &Value| p.time("/metadata/creationTimestamp");
                younger_first(created(a), created(b), now)
            })
            .then_with(|| a.name().cmp(b.name()))
    });
}

/// Compares ages by their logarithm (feature LogarithmicScaleDown).
fn younger_first(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    let magnitude = |t: Option<Timestamp>| t.map_or(0, |t| 64 - between(t, now).as_secs().leading_zeros());
    magnitude(a).cmp(&magnitude(b))
}

/// Alphabet of names that spell no words (`k8s.io/apimachinery/pkg/util/rand`).
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a pod template as ReplicaSets are named by it: FNV-1a of its canonical JSON and the collision count,
/// in safe letters. Same shape as upstream's (which hashes Go's printing of the struct), other values.
pub(crate) fn template_hash(template: &Value, collisions: Option<i64>) -> String {
    let mut h = 0x811c_9dc5_u32;
    let mut eat = |bytes: &[u8]| {
        for b in bytes {
            h = (h ^ u32::from(*b)).wrapping_mul(0x0100_0193);
        }
    };
    eat(canonical(template).to_string().as_bytes());
    if let Some(c) = collisions {
        eat(&c.to_le_bytes());
    }
    h.to_string()
        .bytes()
        .map(|b| char::from(SAFE[usize::from(b) % SAFE.len()]))
        .collect()
}

/// The template without the hash label, keys in order.
fn canonical(template: &Value) -> Value {
    fn sorted(v: &Value) -> Value {
        match v {
            Value::Object(m) => {
                let ordered: BTreeMap<_, _> = m.iter().filter(|(_, v)| !v.is_null()).collect();
                Value::Object(ordered.into_iter().map(|(k, v)| (k.clone(), sorted(v))).collect())
            }
            Value::Array(l) => Value::Array(l.iter().map(sorted).collect()),
            v => v.clone(),
        }
    }
    let mut t = sorted(template);
    if let Some(m) = t.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        m.remove("creationTimestamp");
    }
    if let Some(l) = t.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        l.remove(HASH_LABEL);
    }
    t
}

/// The label that tells the pods of one template from those of another.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// Whether two templates are the same but for the hash label.
pub(crate) fn same_template(a: &Value, b: &Value) -> bool {
    canonical(a) == canonical(b)
}

/// A template with the hash label.
pub(crate) fn with_hash(template: &Value, hash: &str) -> Value {
    let mut t = template.clone();
    child(&mut t, "metadata");
    child(&mut t["metadata"], "labels").insert(HASH_LABEL.to_owned(), json!(hash));
    t
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: &str, phase: &str, ready: bool) -> Arc<Value> {
        Arc::new(
            json!({"metadata": {"name": name}, "spec": {"nodeName": node}, "status": {"phase": phase,
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}}),
        )
    }

    #[test]
    fn the_least_useful_goes_first() {
        let mut pods = vec![
            pod("ready", "n1", "Running", true),
            pod("unready", "n1", "Running", false),
            pod("pending", "n2", "Pending", false),
            pod("homeless", "", "Pending", false),
            pod("doubled", "n2", "Running", true),
        ];
        let siblings = BTreeMap::from([("n1".to_owned(), 1), ("n2".to_owned(), 2)]);
        order_for_deletion(&mut pods, &siblings, Timestamp::UNIX_EPOCH);
        let names: Vec<_> = pods.iter().map(|p| p.name()).collect();
        assert_eq!(names, ["homeless", "pending", "unready", "doubled", "ready"]);
    }

    #[test]
    fn hash_ignores_its_own_label_and_key_order() {
        let a = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"x": 1, "y": 2}});
        let b = json!({"spec": {"y": 2, "x": 1}, "metadata": {"labels": {"b": "2", "a": "1", HASH_LABEL: "z"}}});
        assert!(same_template(&a, &b));
        assert_eq!(template_hash(&a, None), template_hash(&b, None));
        assert_ne!(template_hash(&a, None), template_hash(&a, Some(1)));
    }
}
