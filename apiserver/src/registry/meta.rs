//! Small readings of objects.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::schema;

/// RFC 3339 in seconds, as `metav1.Time` writes it.
#[must_use]
pub fn rfc3339(t: Timestamp) -> String {
    Timestamp::from_second(t.as_second()).unwrap_or(t).to_string()
}

/// Package of a group's internal types.
pub(crate) fn go_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or(group),
    }
}

/// The text at a JSON pointer, or empty.
#[must_use]
pub fn text<'a>(v: &'a Value, pointer: &str) -> &'a str {
    at(v, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list in a field, empty where there is none.
pub(crate) fn list<'v>(v: &'v Value, field: &str) -> &'v [Value] {
    v[field].as_array().map_or(&[], Vec::as_slice)
}

/// As [`Value::pointer`], whose unescaping allocates for every step: few pointers have escapes, and many are asked for.
pub(crate) fn at<'a>(v: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.contains('~') {
        return v.pointer(pointer);
    }
    pointer.split('/').skip(1).try_fold(v, |v, key| match v {
        Value::Object(m) => m.get(key),
        Value::Array(l) => l.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The metadata as a map; makes one where there is none.
pub(super) fn metadata(v: &mut Value) -> &mut Map<String, Value> {
    if !v.is_object() {
        *v = json!({});
    }
    child(v, "metadata")
}

/// The object `key` of `v`; makes one where there is none.
pub(super) fn child<'a>(v: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !v[key].is_object() {
        v[key] = json!({});
    }
    v[key].as_object_mut().expect("made an object above")
}

/// Leaves out owners that are told again (`dedupOwnerReferencesAndAddWarning`); what to warn of, where there were any.
pub(super) fn single_owners(v: &mut Value, after_admission: bool) -> Option<String> {
    let metadata = v.get_mut("metadata")?;
    let owners = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut)?;
    let (mut kept, mut again): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
    for owner in owners.drain(..) {
        if kept.contains(&owner) {
            again.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            kept.push(owner);
        }
    }
    *owners = kept;
    let when = if after_admission {
        " after mutating admission happens"
    } else {
        ""
    };
    (!again.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and \
             may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            again.join(", ")
        )
    })
}

/// The finalizers.
pub(super) fn finalizers(v: &Value) -> Vec<String> {
    let list = v["metadata"]["finalizers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Writes the finalizers; an empty list is left out.
pub(super) fn set_finalizers(v: &mut Value, list: &[String]) {
    let m = metadata(v);
    if list.is_empty() {
        m.remove("finalizers");
    } else {
        m.insert("finalizers".into(), json!(list));
    }
}

/// Whether two objects are the same but for `metadata` and `status` (what counts a generation); built-in kinds are compared
/// as Go compares them.
pub(super) fn same_spec(a: &Value, b: &Value, ignore_status: bool, semantic: bool) -> bool {
    let keep = |k: &&String| *k != "metadata" && *k != "apiVersion" && !(ignore_status && *k == "status");
    let (api_version, kind) = (text(a, "/apiVersion"), text(a, "/kind"));
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else {
        return a == b;
    };
    let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).filter(keep).collect();
    keys.into_iter().all(|k| {
        a.get(k) == b.get(k)
            || semantic && {
                let (a, b) = (a.get(k).unwrap_or(&Value::Null), b.get(k).unwrap_or(&Value::Null));
                schema::same(api_version, kind, &[k], a, b)
            }
    })
}

/// Removes null members, which stand for "not set" in Kubernetes' JSON.
pub(crate) fn drop_nulls(v: &mut Value) {
    match v {
        Value::Object(m) => {
            m.retain(|_, v| !v.is_null());
            m.values_mut().for_each(drop_nulls);
        }
        Value::Array(a) => a.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
