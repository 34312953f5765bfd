//! Validation of nodes, namespaces and addresses (`pkg/apis/{core,networking}/validation` in Kubernetes).

use super::{labels, one_of, text};
use crate::defaults::resource_name;
use crate::defaults::validate_parts::{by_rule, cidr, list, named, needed, parse_cidr, taint_names, texts};
use crate::defaults::{immutable, names, validate_pod, validate_resources};
use crate::schema::FieldError;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) fn node(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let start = errors.len();
    taints(new, errors);
    let (of_taints, start) = (start..errors.len(), errors.len());
    amounts(&new["status"], errors);
    let of_amounts = start..errors.len();
    ranges(&new["spec"], errors);
    if let Some(old) = old {
        // The check of the change looks at both again.
        errors.extend_from_within(of_amounts);
        features(&new["status"], errors);
        addresses(new, errors);
        moved(new, old, errors);
        errors.extend_from_within(of_taints);
        external(new, old, errors);
    }
}

/// `ValidateNodeUpdate`, as it is asked of a status.
pub(super) fn changes(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    amounts(&new["status"], errors);
    features(&new["status"], errors);
    addresses(new, errors);
    moved(new, old, errors);
    taints(new, errors);
    external(new, old, errors);
}

fn taints(new: &Value, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (i, taint) in list(&new["spec"], "taints").iter().enumerate() {
        // The path is upstream's, of when they were annotations.
        let path = format!("metadata.taints[{i}]");
        taint_names(taint, &path, errors);
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        one_of(taint, "effect", &effects, &path, errors);
        if !seen.insert((text(taint, "key"), text(taint, "effect"))) {
            let mut error = FieldError::duplicate_internal(path, "core.Taint", taint);
            error.detail += ": taints must be unique by key and effect pair";
            errors.push(error);
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

fn ranges(spec: &Value, errors: &mut Vec<FieldError>) {
    let (all, path) = (texts(spec, "podCIDRs"), "spec.podCIDRs");
    for (i, range) in all.iter().enumerate() {
        cidr(range, format!("{path}[{i}]"), errors);
    }
    let six: Option<Vec<bool>> = all.iter().map(|r| Some(parse_cidr(r)?.0.is_ipv6())).collect();
    if six.is_some_and(|six| six.len() > 2 || six.len() == 2 && six[0] == six[1]) {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(path, json!(all), detail));
    }
}

/// `validateNodeDeclaredFeatures`.
fn features(status: &Value, errors: &mut Vec<FieldError>) {
    let (all, at) = (texts(status, "declaredFeatures"), |i: usize| {
        format!("status.declaredFeatures[{i}]")
    });
    for (i, name) in all.iter().enumerate() {
        let why = if name.len() > 253 {
            Some("must be no more than 253 characters")
        } else if !is_feature(name) {
            Some(
                "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or \
                 MyFeature/mySubFeature), and contain only alphanumeric characters and slashes",
            )
        } else {
            None
        };
        if let Some(why) = why {
            let detail = format!("invalid feature name {}: {why}", crate::schema::quote(name));
            errors.push(FieldError::invalid(at(i), *name, detail));
        }
        match all.get(i + 1) {
            Some(next) if next == name => errors.push(FieldError::duplicate(at(i + 1), *next)),
            Some(next) if next < name => {
                errors.push(FieldError::invalid(
                    at(i + 1),
                    *next,
                    "list must be sorted alphabetically",
                ));
            }
            _ => {}
        }
    }
}

/// `nodeDeclaredFeatureRegexp`.
fn is_feature(name: &str) -> bool {
    let segment =
        |s: &str| s.starts_with(|c: char| c.is_ascii_alphabetic()) && s.bytes().all(|b| b.is_ascii_alphanumeric());
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.split('/').all(segment)
}

fn addresses(new: &Value, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (i, address) in list(&new["status"], "addresses").iter().enumerate() {
        if !seen.insert((text(address, "type"), text(address, "address"))) {
            let path = format!("status.addresses[{i}]");
            errors.push(FieldError::duplicate_internal(path, "core.NodeAddress", address));
        }
    }
}

/// Ranges and the provider's name of a node are given once.
fn moved(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (was, spec) = (&old["spec"], &new["spec"]);
    let (before, now) = (texts(was, "podCIDRs"), texts(spec, "podCIDRs"));
    let changed = match before.len() {
        0 => 0,
        n if n != now.len() => 1,
        _ => before.iter().zip(&now).filter(|(a, b)| a != b).count(),
    };
    for _ in 0..changed {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.podCIDRs", detail));
    }
    if !text(was, "providerID").is_empty() && was["providerID"] != spec["providerID"] {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.providerID", detail));
    }
}

fn external(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if text(&old["spec"], "externalID") != text(&new["spec"], "externalID") {
        errors.push(FieldError::forbidden("spec.externalID", "may not be updated"));
    }
}

pub(super) fn namespace(new: &Value, errors: &mut Vec<FieldError>) {
    for name in texts(&new["spec"], "finalizers") {
        finalizer(name, "spec.finalizers", errors);
    }
}

/// `ValidateNamespaceFinalizeUpdate`.
pub(super) fn finalizers(new: &Value, errors: &mut Vec<FieldError>) {
    for (i, name) in texts(&new["spec"], "finalizers").into_iter().enumerate() {
        finalizer(name, &format!("spec.finalizers[{i}]"), errors);
    }
}

/// `validateFinalizerName`.
fn finalizer(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    by_rule(name, path.to_owned(), names::qualified_name, errors);
    if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, name, detail));
    }
}

/// `ValidateIPAddress`.
pub(super) fn ip_address(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let (parent, path) = (&new["spec"]["parentRef"], "spec.parentRef");
    reference(parent, path, errors);
    if let Some(old) = old {
        immutable::places("networking.IPAddress", &[(path, path)], new, old, errors);
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
    let mut seen = BTreeSet::new();
    for (i, one) in list(scheduling, "tolerations").iter().enumerate() {
        if !seen.insert(["key", "operator", "value", "effect"].map(|f| text(one, f))) {
            let path = format!("scheduling.tolerations[{i}]");
            errors.push(FieldError::duplicate_internal(path, "core.Toleration", one));
        }
    }
    if let Some(old) = old {
        immutable::places("node.RuntimeClass", &[("handler", "handler")], new, old, errors);
    }
}
