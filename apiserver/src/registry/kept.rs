//! What an update keeps of the object as it was, and whether it changes any of it.

use serde_json::Value;

use super::Resource;
use super::meta::{finalizers, metadata};
use crate::patch::unfolded;

/// Whether only metadata tell the two apart.
pub(super) fn identical_but_metadata(old: &Value, new: &Value) -> bool {
    let parts = |v: &Value| {
        let mut parts = v.as_object().cloned().unwrap_or_default();
        parts.remove("metadata");
        parts
    };
    parts(old) == parts(new)
}

/// Whether only `managedFields` tell the two apart, and they only by their times.
pub(super) fn same_but_for_times(old: &Value, new: &Value) -> bool {
    let (Some(a), Some(b)) = (old.as_object(), new.as_object()) else {
        return false;
    };
    if a.len() != b.len() || a.iter().any(|(k, v)| k != "metadata" && b.get(k) != Some(v)) {
        return false;
    }
    let (Some(a), Some(b)) = (old["metadata"].as_object(), new["metadata"].as_object()) else {
        return false;
    };
    if a.len() != b.len() || a.iter().any(|(k, v)| k != "managedFields" && b.get(k) != Some(v)) {
        return false;
    }
    if a.get("managedFields") == b.get("managedFields") {
        return true;
    }
    let (old, new) = (unfolded(old), unfolded(new));
    let entries = |object: &'_ Value| object["metadata"]["managedFields"].as_array().cloned();
    let (Some(a), Some(b)) = (entries(&old), entries(&new)) else {
        return false;
    };
    let same = |x: &Value, y: &Value| {
        ["manager", "operation", "apiVersion", "subresource", "fieldsV1"]
            .iter()
            .all(|k| x.get(*k) == y.get(*k))
    };
    a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| same(x, y))
}

/// What nobody may change (rest.BeforeUpdate, ObjectMeta system fields). Where it is said who owns what (`tracked`),
/// nobody else does.
pub(super) fn keep_metadata(old: &Value, new: &mut Value, tracked: bool) {
    let was = old["metadata"].as_object();
    let m = metadata(new);
    for k in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "generation",
        "name",
        "namespace",
        "resourceVersion",
    ] {
        match was.and_then(|w| w.get(k)) {
            Some(v) => drop(m.insert(k.to_owned(), v.clone())),
            None => drop(m.remove(k)),
        }
    }
    // What is given is kept, for validation to refuse.
    for k in ["managedFields", "deletionGracePeriodSeconds"] {
        if !(m.contains_key(k) || tracked && k == "managedFields")
            && let Some(v) = was.and_then(|w| w.get(k))
        {
            m.insert(k.to_owned(), v.clone());
        }
    }
}

/// Whether an object that is being deleted has nothing left that holds it.
pub(super) fn gone(v: &Value) -> bool {
    let m = &v["metadata"];
    let held = v["kind"] == "Namespace"
        && v["apiVersion"] == "v1"
        && v["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    !m["deletionTimestamp"].is_null()
        && m["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && finalizers(v).is_empty()
        && !held
}

/// Empty lists and maps that Go does not write.
pub(super) fn forget_empty(r: &Resource, v: &mut Value) {
    let empty = |v: &Value| match v {
        Value::Array(l) => l.is_empty(),
        Value::Object(m) => m.is_empty(),
        _ => false,
    };
    let m = metadata(v);
    for field in ["finalizers", "ownerReferences", "labels", "annotations"] {
        if m.get(field).is_some_and(empty) {
            m.remove(field);
        }
    }
    if r.is("", "services") && v["spec"]["clusterIP"] == "" {
        v["spec"].as_object_mut().map(|m| m.remove("clusterIP"));
    }
    if !r.group.is_empty() || !matches!(&*r.plural, "configmaps" | "secrets") {
        return;
    }
    for field in ["data", "binaryData"] {
        if v.get(field).is_some_and(empty) {
            v.as_object_mut().map(|m| m.remove(field));
        }
    }
}
