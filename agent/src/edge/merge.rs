//! What a held patch makes of the copy on the disk. The hub computes the true result when the patch reaches it; this
//! is what the node sees of its own writes until then.

use serde_json::Value;

/// What a patch of this content type is: whether it merges lists by their keys. None of the kinds that work here.
#[must_use]
pub fn kind(content_type: Option<&str>) -> Option<bool> {
    let t = content_type?;
    match t.split(';').next().unwrap_or(t).trim() {
        "application/strategic-merge-patch+json" => Some(true),
        "application/merge-patch+json" | "application/apply-patch+yaml" => Some(false),
        _ => None,
    }
}

/// Applies `patch` to `object`. A strategic merge merges those lists whose items have a key ([`list_key`]) and replaces others;
/// of its directives `$patch: delete` and `$patch: replace` are followed, orders are not kept.
pub fn apply(object: &mut Value, patch: &Value, strategic: bool) {
    if strategic {
        merge_strategic(object, patch, "")
    } else {
        merge(object, patch)
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(map) = target else { return };
    for (k, v) in patch {
        if v.is_null() {
            map.remove(k);
        } else {
            merge(map.entry(k.clone()).or_insert(Value::Null), v);
        }
    }
}

/// `field` holds what is merged.
fn merge_strategic(target: &mut Value, patch: &Value, field: &str) {
    match patch {
        Value::Object(patch) => {
            if !target.is_object() || patch.get("$patch").is_some_and(|p| p == "replace") {
                *target = Value::Object(serde_json::Map::new());
            }
            let Value::Object(map) = target else { return };
            for (k, v) in patch.iter().filter(|(k, _)| !k.starts_with('$')) {
                if v.is_null() {
                    map.remove(k);
                } else {
                    merge_strategic(map.entry(k.clone()).or_insert(Value::Null), v, k);
                }
            }
        }
        Value::Array(items) => {
            let (said, items): (Vec<&Value>, Vec<&Value>) = items.iter().partition(|i| *i == &replace());
            let Some(key) = list_key(field) else {
                *target = items.into_iter().cloned().collect();
                return;
            };
            if !target.is_array() || !said.is_empty() {
                *target = Value::Array(Vec::new());
            }
            let Value::Array(list) = target else { return };
            for item in items {
                let at = list.iter().position(|o| o[key] == item[key]);
                match (at, item["$patch"] == "delete") {
                    (Some(i), true) => drop(list.remove(i)),
                    (None, true) => {}
                    (Some(i), false) => merge_strategic(&mut list[i], item, ""),
                    (None, false) => {
                        let mut new = Value::Null;
                        merge_strategic(&mut new, item, "");
                        list.push(new);
                    }
                }
            }
        }
        _ => *target = patch.clone(),
    }
}

/// One patch that does what `first` and then `second` do. A client's patch says what changed since it last looked, so a
/// later one does not make an earlier one needless. Orders of lists are left out: those of the second do not hold what
/// only the first has, and the API server refuses a patch whose lists and orders disagree.
#[must_use]
pub fn combine(first: &Value, second: &Value, strategic: bool) -> Value {
    both(first, second, strategic, "")
}

fn both(first: &Value, second: &Value, strategic: bool, field: &str) -> Value {
    match (first, second) {
        (Value::Object(a), Value::Object(b)) => {
            let ordered = |k: &str| strategic && k.starts_with("$setElementOrder/");
            let mut made = a.clone();
            made.retain(|k, _| !ordered(k));
            for (k, v) in b.iter().filter(|(k, _)| !ordered(k)) {
                let value = match made.get(k) {
                    Some(old) if !k.starts_with('$') => both(old, v, strategic, k),
                    _ => v.clone(),
                };
                made.insert(k.clone(), value);
            }
            Value::Object(made)
        }
        (Value::Array(a), Value::Array(b)) if strategic && !b.contains(&replace()) => {
            let Some(key) = list_key(field) else {
                return second.clone();
            };
            let mut made = a.clone();
            for item in b {
                match made.iter_mut().find(|o| o[key] == item[key]) {
                    // What the first deletes and the second makes anew is made from nothing.
                    Some(old) if item["$patch"] == "delete" || old["$patch"] == "delete" => *old = item.clone(),
                    Some(old) => *old = both(old, item, strategic, ""),
                    None => made.push(item.clone()),
                }
            }
            Value::Array(made)
        }
        // Deleted, then made anew: nothing of what was before shall be in it.
        (Value::Null, Value::Array(items)) if strategic && list_key(field).is_some() => {
            std::iter::once(replace()).chain(items.iter().cloned()).collect()
        }
        (Value::Null, Value::Object(map)) if strategic => {
            let mut made = map.clone();
            made.insert("$patch".to_owned(), "replace".into());
            Value::Object(made)
        }
        _ => second.clone(),
    }
}

fn replace() -> Value {
    serde_json::json!({"$patch": "replace"})
}

/// The key of the items of `field`, where the API merges them: the `patchMergeKey` of k8s.io/api core/v1 and meta/v1
/// (v0.36), of what a node writes. Others, such as a pod's containerStatuses, are replaced.
fn list_key(field: &str) -> Option<&'static str> {
    Some(match field {
        "conditions" | "addresses" => "type",
        "podIPs" | "hostIPs" | "hostAliases" => "ip",
        "ownerReferences" => "uid",
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "secrets"
        | "imagePullSecrets"
        | "resourceClaims"
        | "resourceClaimStatuses"
        | "allocatedResourcesStatus"
        | "schedulingGates" => "name",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "topologySpreadConstraints" => "topologyKey",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{apply, combine};
    use serde_json::json;

    #[test]
    fn merges() {
        let mut o = json!({"status": {"phase": "Pending", "x": 1, "conditions": [{"type": "A", "status": "False", "r": 1}, {"type": "B"}]}});
        let patch = json!({"status": {"phase": "Running", "x": null, "$setElementOrder/conditions": [],
            "conditions": [{"type": "A", "status": "True"}]}});
        apply(&mut o, &patch, true);
        assert_eq!(
            o,
            json!({"status": {"phase": "Running", "conditions": [{"type": "A", "status": "True", "r": 1}, {"type": "B"}]}})
        );
        apply(&mut o, &json!({"status": {"conditions": [{"type": "C"}]}}), false);
        assert_eq!(o["status"]["conditions"], json!([{"type": "C"}]));
    }
    #[test]
    fn directives() {
        let start = json!({"status": {"conditions": [{"type": "A", "x": 1}, {"type": "B"}], "podIPs": [{"ip": "n"}]}});
        let mut o = start.clone();
        let patch = json!({"status": {"conditions": [{"type": "A", "$patch": "delete"}, {"type": "Z", "$patch": "delete"}],
            "podIPs": [{"$patch": "replace"}, {"ip": "m"}]}});
        apply(&mut o, &patch, true);
        assert_eq!(
            o,
            json!({"status": {"conditions": [{"type": "B"}], "podIPs": [{"ip": "m"}]}})
        );
    }

    #[test]
    fn one_patch_does_what_two_do() {
        let start = json!({"status": {"phase": "Pending", "x": 1, "conditions": [{"type": "A", "s": "F"}, {"type": "B"}], "atomic": [1],
            "podIPs": [{"ip": "1"}], "o": {"a": 1},
            "containerStatuses": [{"name": "c", "state": {"waiting": {}}}]}});
        let patches = [
            json!({"metadata": {"uid": "u"}, "status": {"phase": "Running", "x": null,
                "containerStatuses": [{"name": "c", "state": {"terminated": {}}}]}}),
            json!({"metadata": {"uid": "u"}, "status": {"$setElementOrder/conditions": [{"type": "A"}, {"type": "B"}, {"type": "C"}],
                "conditions": [{"type": "A", "s": "T"}, {"type": "C"}]}}),
            json!({"status": {"conditions": [{"type": "A", "t": 3}, {"type": "B", "$patch": "delete"}], "atomic": [2, 3],
                "containerStatuses": [{"name": "c", "state": {"running": {}}}]}}),
            json!({"status": {"podIPs": null, "o": null}}),
            json!({"status": {"podIPs": [{"ip": "2"}], "o": {"b": 1}}}),
            json!({"status": {"x": 2, "conditions": [{"type": "B", "new": true}]}}),
        ];
        for strategic in [true, false] {
            let mut patches = patches.clone();
            if !strategic {
                // A merge patch has no word for it.
                patches[3]["status"].as_object_mut().unwrap().remove("o");
                patches[1]["status"]
                    .as_object_mut()
                    .unwrap()
                    .remove("$setElementOrder/conditions");
            }
            let mut one_by_one = start.clone();
            let mut at_once = json!({});
            for p in &patches {
                apply(&mut one_by_one, p, strategic);
                at_once = combine(&at_once, p, strategic);
            }
            let mut o = start.clone();
            apply(&mut o, &at_once, strategic);
            assert!(!at_once.to_string().contains("$setElementOrder"), "{at_once}");
            let sorted = |mut v: serde_json::Value| {
                if let Some(l) = v["status"]["conditions"].as_array_mut() {
                    l.sort_by_key(ToString::to_string);
                }
                v
            };
            assert_eq!(sorted(o), sorted(one_by_one), "{strategic}");
        }
    }
}
