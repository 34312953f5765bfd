//! What may change in a pod (`ValidatePodUpdate` in Kubernetes).

use super::validate::immutable;
use super::validate_parts::{list, text};
use crate::schema::FieldError;
use serde_json::Value;

/// Fields of a pod that may change, as the message lists them.
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What may change in a pod's spec (ValidatePodUpdate). Binding is not an update: it goes by its subresource.
pub(super) fn pod_update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for which in ["containers", "initContainers"] {
        if list(new, which).len() != list(old, which).len() {
            let detail = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(format!("spec.{which}"), detail));
            return;
        }
        for (i, container) in list(new, which).iter().enumerate() {
            if text(container, "image").trim().is_empty() {
                errors.push(FieldError::required(format!("spec.{which}[{i}].image"), ""));
            }
        }
    }
    let (deadline, before) = (&new["activeDeadlineSeconds"], &old["activeDeadlineSeconds"]);
    match (deadline.as_i64(), before.as_i64()) {
        (Some(now), Some(then)) if now > then => {
            let detail = "must be less than or equal to previous value";
            errors.push(FieldError::invalid("spec.activeDeadlineSeconds", now, detail));
            return;
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid("spec.activeDeadlineSeconds", Value::Null, detail));
        }
        _ => {}
    }
    if list(old, "tolerations")
        .iter()
        .any(|toleration| !list(new, "tolerations").contains(toleration))
    {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        // Only the seconds of an existing one may change.
        let bare = |toleration: &Value| {
            let mut toleration = toleration.clone();
            if let Value::Object(fields) = &mut toleration {
                fields.remove("tolerationSeconds");
            }
            toleration
        };
        let now: Vec<Value> = list(new, "tolerations").iter().map(bare).collect();
        if list(old, "tolerations")
            .iter()
            .any(|toleration| !now.contains(&bare(toleration)))
        {
            errors.push(FieldError::forbidden("spec.tolerations", detail));
        }
    }
    let gates = |spec: &Value| list(spec, "schedulingGates").to_vec();
    if gates(new).iter().any(|gate| !gates(old).contains(gate)) {
        let detail = "only deletion is allowed, but found new scheduling gate";
        errors.push(FieldError::forbidden("spec.schedulingGates", detail));
    }
    let mut munged = new.clone();
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        copy(&mut munged, old, field);
    }
    let grace = &old["terminationGracePeriodSeconds"];
    if grace.as_i64().is_some_and(|s| s < 0) && munged["terminationGracePeriodSeconds"] == 1 {
        copy(&mut munged, old, "terminationGracePeriodSeconds");
    }
    if !gates(old).is_empty() {
        // A gated pod may be narrowed to fewer nodes.
        let kept = old["nodeSelector"]
            .as_object()
            .into_iter()
            .flatten()
            .all(|(k, v)| new["nodeSelector"].get(k) == Some(v));
        if kept {
            copy(&mut munged, old, "nodeSelector");
        }
        copy(&mut munged, old, "affinity");
    }
    for which in ["containers", "initContainers"] {
        for (i, container) in munged
            .get_mut(which)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .enumerate()
        {
            copy(container, &old[which][i], "image");
        }
    }
    if munged != *old {
        let changed: Vec<String> = differences(old, &munged);
        let detail = format!(
            "pod updates may not change fields other than {UPDATABLE}\n{}",
            changed.join("\n")
        );
        errors.push(FieldError::forbidden("spec", detail));
    }
    // Where a pod runs is never changed once set, whatever else is allowed.
    if !text(old, "nodeName").is_empty() && munged == *old {
        immutable(&new["nodeName"], &old["nodeName"], "spec.nodeName", errors);
    }
}

/// Makes a field as it was.
fn copy(to: &mut Value, from: &Value, field: &str) {
    if let Value::Object(to) = to {
        match from.get(field) {
            Some(value) => {
                to.insert(field.to_owned(), value.clone());
            }
            None => {
                to.remove(field);
            }
        }
    }
}

/// Names of top-level fields that differ, with both values.
fn differences(old: &Value, new: &Value) -> Vec<String> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Vec::new();
    };
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let show = |value: Option<&Value>| value.map_or_else(|| "null".to_owned(), Value::to_string);
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| format!("  {name}: -{} +{}", show(old.get(name)), show(new.get(name))))
        .collect()
}
