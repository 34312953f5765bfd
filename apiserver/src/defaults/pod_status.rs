//! What reading a pod's status and its strategy make of what a client writes (`podStatusStrategy.PrepareForUpdate`,
//! `Convert_v1_PodStatus_To_core_PodStatus` in Kubernetes).

use super::{is_unset, list_mut, map_at};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What reading a status of a pod makes of it.
pub(super) fn read(pod: &mut Map<String, Value>) {
    first_address(map_at(pod, "status"));
}

/// What the strategy keeps of the status that was, and what it drops.
pub(super) fn prepare(old: &Value, pod: &mut Map<String, Value>) {
    let was = &old["status"];
    let status = map_at(pod, "status");
    if is_unset(status.get("qosClass")) && !was["qosClass"].is_null() {
        status.insert("qosClass".to_owned(), was["qosClass"].clone());
    }
    observed(was, status);
    drop_disabled(status);
}

/// Fields of features that are not on by default.
fn drop_disabled(status: &mut Map<String, Value>) {
    status.remove("nodeAllocatableResourceClaimStatuses");
    for which in [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ] {
        for container in list_mut(status, which) {
            for mount in list_mut(container, "volumeMounts") {
                mount.remove("volumeStatus");
            }
        }
    }
}

/// The one address is the first of the list, and the one that counts.
fn first_address(status: &mut Map<String, Value>) {
    let (one, many) = ("podIP", "podIPs");
    let first = status
        .get(many)
        .and_then(|all| all.get(0))
        .map(|a| a["ip"].as_str().unwrap_or_default().to_owned());
    match (status.get(one).and_then(Value::as_str).unwrap_or_default(), first) {
        ("", Some(first)) => drop(status.insert(one.to_owned(), first.into())),
        ("", None) => {}
        (own, first) if first.as_deref() != Some(own) => {
            let all = json!([{"ip": own}]);
            status.insert(many.to_owned(), all);
        }
        _ => {}
    }
}

/// Versions that were seen stay where they are not said (`preserveOldObservedGeneration`).
fn observed(was: &Value, status: &mut Map<String, Value>) {
    let field = "observedGeneration";
    let unset = |of: &Map<String, Value>| of.get(field).is_none_or(|n| n.is_null() || *n == 0);
    let keep = |of: &mut Map<String, Value>, before: &Value| {
        if unset(of) {
            match before.as_i64().filter(|n| *n != 0) {
                Some(_) => drop(of.insert(field.to_owned(), before.clone())),
                None => drop(of.remove(field)),
            }
        }
    };
    keep(status, &was[field]);
    // There may be several of a type.
    let mut before: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for condition in was["conditions"].as_array().into_iter().flatten().rev() {
        let kind = condition["type"].as_str().unwrap_or_default();
        before.entry(kind).or_default().push(&condition[field]);
    }
    for condition in list_mut(status, "conditions") {
        let kind = condition.get("type").and_then(Value::as_str).unwrap_or_default();
        let seen = before.get_mut(kind).and_then(Vec::pop);
        keep(condition, seen.unwrap_or(&Value::Null));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_it_was() {
        let old = json!({"status": {"qosClass": "Burstable", "observedGeneration": 3,
            "conditions": [{"type": "a", "observedGeneration": 1}, {"type": "a", "observedGeneration": 2}]}});
        for (status, wanted) in [
            (
                json!({"podIP": "1.2.3.4", "conditions": [{"type": "a"}, {"type": "a"}, {"type": "a"}]}),
                json!({"podIP": "1.2.3.4", "podIPs": [{"ip": "1.2.3.4"}], "qosClass": "Burstable", "observedGeneration": 3,
                    "conditions": [{"type": "a", "observedGeneration": 1}, {"type": "a", "observedGeneration": 2}, {"type": "a"}]}),
            ),
            (
                json!({"podIPs": [{"ip": "1.2.3.4"}], "qosClass": "Guaranteed", "observedGeneration": 4}),
                json!({"podIP": "1.2.3.4", "podIPs": [{"ip": "1.2.3.4"}], "qosClass": "Guaranteed", "observedGeneration": 4}),
            ),
            (
                json!({"podIP": "1.2.3.5", "podIPs": [{"ip": "1.2.3.4"}], "qosClass": "", "observedGeneration": 0}),
                json!({"podIP": "1.2.3.5", "podIPs": [{"ip": "1.2.3.5"}], "qosClass": "Burstable", "observedGeneration": 3}),
            ),
        ] {
            let mut pod = json!({ "status": status });
            read(pod.as_object_mut().unwrap());
            prepare(&old, pod.as_object_mut().unwrap());
            assert_eq!(pod["status"], wanted);
        }
    }
}
