//! Validation of nodes, namespaces and addresses (`pkg/apis/{core,networking}/validation` in Kubernetes).

use super::{labels, one_of, text};
use crate::defaults::resource_name;
use crate::defaults::validate_parts::{by_rule, cidr, list, named, needed, parse_cidr, taint_names, texts};
use crate::defaults::{names, validate_pod, validate_resources};
use crate::schema::{FieldError, FieldErrorKind, Printed, go_struct};
use serde_json::{Value, json};

pub(super) fn node(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    taints(new, errors);
    amounts(&new["status"], errors);
    ranges(&new["spec"], errors);
    if let Some(old) = old {
        changes(new, old, errors);
        taints(new, errors);
    }
}

fn taints(new: &Value, errors: &mut Vec<FieldError>) {
    for (i, taint) in list(&new["spec"], "taints").iter().enumerate() {
        // The path is upstream's, of when they were annotations.
        let path = format!("metadata.taints[{i}]");
        taint_names(taint, &path, errors);
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        one_of(taint, "effect", &effects, &path, errors);
        let same = |other: &&Value| other["key"] == taint["key"] && other["effect"] == taint["effect"];
        if list(&new["spec"], "taints")[..i].iter().any(|other| same(&other)) {
            // As Go's internal type has it.
            let shown = go_struct(&[
                ("Key", text(taint, "key").into()),
                ("Value", text(taint, "value").into()),
                ("Effect", text(taint, "effect").into()),
                ("TimeAdded", taint["timeAdded"].clone()),
            ]);
            errors.push(FieldError {
                path,
                kind: FieldErrorKind::Duplicate,
                value: None,
                detail: format!("{shown}: taints must be unique by key and effect pair"),
            });
        }
    }
}

/// `ValidateNodeResources`.
fn amounts(status: &Value, errors: &mut Vec<FieldError>) {
    for list in ["capacity", "allocatable"] {
        for (name, amount) in status[list].as_object().into_iter().flatten() {
            validate_resources::amount(name, amount, &format!("status.{list}.{name}"), errors);
        }
    }
}

/// The field of one range stands for the list where the two do not agree.
fn pod_ranges(spec: &Value) -> Vec<&str> {
    let (first, all) = (text(spec, "podCIDR"), texts(spec, "podCIDRs"));
    match all.first() {
        Some(of_list) if first.is_empty() || *of_list == first => all,
        _ if first.is_empty() => Vec::new(),
        _ => vec![first],
    }
}

fn ranges(spec: &Value, errors: &mut Vec<FieldError>) {
    let (all, path) = (pod_ranges(spec), "spec.podCIDRs");
    for (i, range) in all.iter().enumerate() {
        cidr(range, format!("{path}[{i}]"), errors);
    }
    let six: Option<Vec<bool>> = all.iter().map(|r| Some(parse_cidr(r)?.0.is_ipv6())).collect();
    if six.is_some_and(|six| six.len() > 2 || six.len() == 2 && six[0] == six[1]) {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(path, json!(all), detail));
    }
}

/// `ValidateNodeUpdate`.
fn changes(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let addresses = list(&new["status"], "addresses");
    for (i, address) in addresses
        .iter()
        .enumerate()
        .filter(|(i, a)| addresses[..*i].contains(a))
    {
        errors.push(FieldError::duplicate(format!("status.addresses[{i}]"), address.clone()));
    }
    let (was, spec) = (&old["spec"], &new["spec"]);
    let before = pod_ranges(was);
    if !before.is_empty() && before != pod_ranges(spec) {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.podCIDRs", detail));
    }
    if !text(was, "providerID").is_empty() && was["providerID"] != spec["providerID"] {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.providerID", detail));
    }
}

pub(super) fn namespace(new: &Value, errors: &mut Vec<FieldError>) {
    for name in texts(&new["spec"], "finalizers") {
        let wrong = names::qualified_name(name);
        if wrong.is_empty() && !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid("spec.finalizers", name, detail));
        }
        for detail in wrong {
            errors.push(FieldError::invalid("spec.finalizers", name, detail));
        }
    }
}

/// `ValidateIPAddress`.
pub(super) fn ip_address(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let (parent, path) = (&new["spec"]["parentRef"], "spec.parentRef");
    reference(parent, path, errors);
    if old.is_some_and(|old| old["spec"]["parentRef"] != *parent) {
        let shown = match parent {
            Value::Null => "null".to_owned(),
            parent => Printed::internal("networking.ParentReference", parent).compact(),
        };
        errors.push(FieldError::invalid_shown(path, &shown, "field is immutable"));
    }
}

/// `validateIPAddressParentReference`.
fn reference(parent: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if parent.is_null() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    named(parent, "group", names::dns1123_subdomain, path, errors);
    for field in ["resource", "name"] {
        if needed(parent, field, path, errors) {
            by_rule(
                text(parent, field),
                format!("{path}.{field}"),
                names::path_segment,
                errors,
            );
        }
    }
    named(parent, "namespace", names::path_segment, path, errors);
}

pub(super) fn runtime_class(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if needed(new, "handler", "", errors) {
        named(new, "handler", names::dns1123_label, "", errors);
    }
    for (name, amount) in new["overhead"]["podFixed"].as_object().into_iter().flatten() {
        let at = format!("overhead.limits[{name}]");
        resource_name::of_container(name, &at, errors);
        validate_resources::amount(name, amount, &at, errors);
    }
    let scheduling = &new["scheduling"];
    labels(&scheduling["nodeSelector"], "scheduling.nodeSelector", errors);
    validate_pod::tolerations(scheduling, "scheduling", errors);
    if let Some(old) = old {
        super::immutable_text(&new["handler"], &old["handler"], "handler", errors);
    }
}
