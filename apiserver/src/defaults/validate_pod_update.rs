//! What may change in a pod (`ValidatePodUpdate` in Kubernetes).

use super::immutable;
use super::validate_ephemeral;
use super::validate_parts::{list, text};
use super::validate_pod;
use crate::schema::{FieldError, Printed, quote, unified};
use serde_json::Value;
use std::collections::BTreeSet;

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
            if text(container, "image").is_empty() {
                errors.push(FieldError::required(format!("spec.{which}[{i}].image"), ""));
            }
            validate_pod::only_for_pod(container, &format!("spec.{which}[{i}]"), errors);
        }
    }
    let (deadline, before) = (&new["activeDeadlineSeconds"], &old["activeDeadlineSeconds"]);
    match (deadline.as_i64(), before.as_i64()) {
        (Some(now), _) if !(0..=i64::from(i32::MAX)).contains(&now) => {
            let detail = format!("must be between 0 and {}, inclusive", i32::MAX);
            errors.push(FieldError::invalid("spec.activeDeadlineSeconds", now, detail));
            return;
        }
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
    // Only the seconds of an existing one may change.
    let bare = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Value::Object(fields) = &mut toleration {
            fields.remove("tolerationSeconds");
        }
        toleration.to_string()
    };
    let now: BTreeSet<String> = list(new, "tolerations").iter().map(bare).collect();
    let mut before = list(old, "tolerations").iter();
    if before.any(|toleration| !now.contains(&bare(toleration))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", detail));
    } else {
        validate_pod::tolerations(new, "spec", errors);
    }
    let gates = |spec: &Value| list(spec, "schedulingGates").to_vec();
    let added: Vec<_> = gates(new)
        .into_iter()
        .enumerate()
        .filter(|(_, gate)| !gates(old).contains(gate))
        .collect();
    for (i, gate) in &added {
        let detail = format!(
            "only deletion is allowed, but found new scheduling gate '{}'",
            text(gate, "name")
        );
        errors.push(FieldError::forbidden(format!("spec.schedulingGates[{i}].name"), detail));
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
        gated(&mut munged, old, errors);
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
        let changed = difference("core.PodSpec", old, &munged);
        let detail = format!("pod updates may not change fields other than {UPDATABLE}\n{changed}");
        errors.push(FieldError::forbidden("spec", detail));
    }
    // Where a pod runs is never changed once set, whatever else is allowed.
    if !text(old, "nodeName").is_empty() && munged == *old {
        immutable::value(&new["nodeName"], &old["nodeName"], "spec.nodeName", errors);
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

/// A pod that waits at a gate may be narrowed to fewer nodes; what is allowed is made as it was.
fn gated(munged: &mut Value, old: &Value, errors: &mut Vec<FieldError>) {
    let selector = munged["nodeSelector"].clone();
    let mut kept = old["nodeSelector"].as_object().into_iter().flatten();
    if !kept.all(|(k, v)| selector.get(k) == Some(v)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid("spec.nodeSelector", selector, detail));
    }
    copy(munged, old, "nodeSelector");
    let (now, before) = (
        munged["affinity"]["nodeAffinity"].clone(),
        &old["affinity"]["nodeAffinity"],
    );
    if now == *before {
        return;
    }
    affinity_narrowed(&now, before, errors);
    let others = |v: &Value| !v["podAffinity"].is_null() || !v["podAntiAffinity"].is_null();
    if munged["affinity"].is_null() {
        munged["affinity"] = serde_json::json!({"nodeAffinity": before});
    } else if old["affinity"].is_null() && !others(&munged["affinity"]) {
        copy(munged, old, "affinity");
    } else if let Some(affinity) = munged.get_mut("affinity") {
        copy(affinity, &old["affinity"], "nodeAffinity");
    }
}

/// `validateNodeAffinityMutation`: each term may only ask for more.
fn affinity_narrowed(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let path = format!("spec.affinity.nodeAffinity.{required}.nodeSelectorTerms");
    let (new, old) = (
        list(&new[required], "nodeSelectorTerms"),
        list(&old[required], "nodeSelectorTerms"),
    );
    let shown = |terms: Vec<Printed>| Printed::List(terms).compact();
    let print = |term: &Value| Printed::internal("core.NodeSelectorTerm", term);
    if !old.is_empty() && old.len() != new.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let value = if new.is_empty() {
            "null".to_owned()
        } else {
            shown(new.iter().map(print).collect())
        };
        errors.push(FieldError::invalid_shown(path, &value, detail));
        return;
    }
    for (i, (new, old)) in new.iter().zip(old).enumerate() {
        let wider = |field: &str| list(new, field).get(..list(old, field).len()) != Some(list(old, field));
        let nothing = |term: &Value| {
            ["matchExpressions", "matchFields"]
                .iter()
                .all(|f| list(term, f).is_empty())
        };
        if nothing(old) && !nothing(new) || wider("matchExpressions") || wider("matchFields") {
            let detail = "only additions are allowed (no mutations or deletions)";
            let value = print(new).compact();
            errors.push(FieldError::invalid_shown(format!("{path}[{i}]"), &value, detail));
        }
    }
}

/// What differs between two values of an internal type, as lines of their JSON.
pub(super) fn difference(of: &str, old: &Value, new: &Value) -> String {
    let lines = |value: &Value| Printed::internal(of, value).indented();
    unified(&lines(old), &lines(new))
}

/// A write to `ephemeralcontainers` (`ValidatePodEphemeralContainersUpdate`).
pub(super) fn ephemeral(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let volumes = list(spec, "volumes").iter().map(|v| text(v, "name")).collect();
    validate_ephemeral::containers(spec, &volumes, "spec", errors);
    let all = list(spec, "ephemeralContainers");
    for before in list(&old["spec"], "ephemeralContainers") {
        let name = text(before, "name");
        let detail = match all.iter().find(|c| text(c, "name") == name) {
            Some(now) if now == before => continue,
            Some(now) => format!(
                "existing ephemeral containers {} may not be changed\n{}",
                quote(name),
                difference("core.EphemeralContainer", before, now)
            ),
            None => format!("existing ephemeral containers {} may not be removed\n", quote(name)),
        };
        errors.push(FieldError::forbidden("spec.ephemeralContainers", detail));
    }
}
