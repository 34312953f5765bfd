//! What a held patch makes of the copy on the disk. The hub computes the true result when the patch reaches it; this
//! is what the node sees of its own writes until then.

use serde_json::Value;

/// Applies `patch` to `object`. A strategic merge merges lists of maps by their usual keys (`type`, `name`, `ip`,
/// `uid`); its directives (`$setElementOrder`, `$patch`) are dropped.
pub fn apply(object: &mut Value, patch: &Value, strategic: bool) {
    if strategic {
        merge_strategic(object, patch)
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

fn merge_strategic(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(patch) => {
            if !target.is_object() {
                *target = Value::Object(serde_json::Map::new());
            }
            let Value::Object(map) = target else { return };
            for (k, v) in patch.iter().filter(|(k, _)| !k.starts_with('$')) {
                if v.is_null() {
                    map.remove(k);
                } else {
                    merge_strategic(map.entry(k.clone()).or_insert(Value::Null), v);
                }
            }
        }
        Value::Array(items) => {
            let Some(key) = list_key(items) else {
                *target = patch.clone();
                return;
            };
            if !target.is_array() {
                *target = Value::Array(Vec::new());
            }
            let Value::Array(list) = target else { return };
            for item in items {
                match list.iter_mut().find(|o| o[key] == item[key]) {
                    Some(o) => merge_strategic(o, item),
                    None => list.push(item.clone()),
                }
            }
        }
        _ => *target = patch.clone(),
    }
}

fn list_key(items: &[Value]) -> Option<&'static str> {
    ["type", "name", "ip", "uid"]
        .into_iter()
        .find(|k| !items.is_empty() && items.iter().all(|i| i[*k].is_string()))
}

#[cfg(test)]
mod tests {
    use super::apply;
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
}
