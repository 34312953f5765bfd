//! Validation of devices and claims of them (`pkg/apis/resource/validation` in Kubernetes).

use super::slices::qualified;
use super::{expressions, text};
use crate::defaults::validate_parts::{by_rule, list, named, needed, repeated, texts};
use crate::defaults::{immutable, names, resource_name};
use crate::schema::FieldError;
use cfn_cel::{Type, check};
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn class(new: &Value, errors: &mut Vec<FieldError>) {
    selectors(&new["spec"], "spec", errors);
    for (i, config) in list(&new["spec"], "config").iter().enumerate() {
        opaque(config, &format!("spec.config[{i}]"), errors);
    }
    let field = "extendedResourceName";
    if let Some(name) = new["spec"][field]
        .as_str()
        .filter(|name| !resource_name::is_extended(name))
    {
        let detail = "must be a valid extended resource name";
        errors.push(FieldError::invalid(format!("spec.{field}"), name, detail));
    }
}

pub(super) fn claim(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    match old {
        Some(old) => immutable::places("resource.ResourceClaim", &[("spec", "spec")], new, old, errors),
        None => devices(&new["spec"]["devices"], "spec.devices", errors),
    }
}

pub(super) fn template(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    template_metadata(&spec["metadata"], "spec.metadata", errors);
    devices(&spec["spec"]["devices"], "spec.spec.devices", errors);
    if let Some(old) = old {
        immutable::places("resource.ResourceClaimTemplate", &[("spec", "spec")], new, old, errors);
    }
}

/// `ValidateTemplateObjectMeta`: labels and annotations, and nothing else.
fn template_metadata(metadata: &Value, path: &str, errors: &mut Vec<FieldError>) {
    super::annotations(&metadata["annotations"], &format!("{path}.annotations"), errors);
    super::labels(&metadata["labels"], &format!("{path}.labels"), errors);
    for field in [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ] {
        let value = &metadata[field];
        let empty = match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Number(number) => number.as_i64() == Some(0) && field == "generation",
            _ => false,
        };
        if !empty {
            // The path is made of Go's name.
            let name = if field == "uid" { "uID" } else { field };
            errors.push(FieldError::forbidden(format!("{path}.{name}"), "cannot be set"));
        }
    }
}

/// `validateDeviceClaim`.
fn devices(devices: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let requests = list(devices, "requests");
    each_once(requests, &format!("{path}.requests"), errors, request);
    let known: BTreeSet<String> = requests
        .iter()
        .flat_map(|r| {
            let name = text(r, "name");
            let parts = list(r, "firstAvailable")
                .iter()
                .map(move |s| format!("{name}/{}", text(s, "name")));
            std::iter::once(name.to_owned()).chain(parts)
        })
        .collect();
    let refer = |of: &Value, path: &str, errors: &mut Vec<FieldError>| {
        let named = texts(of, "requests");
        for ((i, name), again) in named.iter().enumerate().zip(repeated(&named)) {
            let path = format!("{path}.requests[{i}]");
            for part in name.split('/').filter(|_| name.split('/').count() <= 2) {
                by_rule(part, path.clone(), names::dns1123_label, errors);
            }
            if !known.contains(*name) {
                let detail = "must be the name of a request in the claim or the name of a request and a subrequest \
                              separated by '/'";
                errors.push(FieldError::invalid(path.as_str(), *name, detail));
            }
            if again {
                errors.push(FieldError::duplicate(path, *name));
            }
        }
    };
    for (i, constraint) in list(devices, "constraints").iter().enumerate() {
        let path = format!("{path}.constraints[{i}]");
        refer(constraint, &path, errors);
        let attributes = ["matchAttribute", "distinctAttribute"];
        let mut given = attributes.iter().filter_map(|f| Some((f, constraint[*f].as_str()?)));
        match (given.next(), given.next()) {
            (None, _) => {
                // Upstream says so of none, too.
                let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple \
                              fields are set";
                errors.push(FieldError::required(path, detail));
            }
            (Some((field, name)), _) => fully_qualified(name, &format!("{path}.{field}"), errors),
        }
    }
    for (i, config) in list(devices, "config").iter().enumerate() {
        let path = format!("{path}.config[{i}]");
        refer(config, &path, errors);
        opaque(config, &path, errors);
    }
}

/// Checks elements by a rule, and that each has a name of its own.
pub(super) fn each_once(
    all: &[Value],
    path: &str,
    errors: &mut Vec<FieldError>,
    rule: impl Fn(&Value, &str, &mut Vec<FieldError>),
) {
    let mut seen = BTreeSet::new();
    for (i, element) in all.iter().enumerate() {
        let path = format!("{path}[{i}]");
        rule(element, &path, errors);
        let name = text(element, "name");
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
}

/// `validateDeviceRequest`: what is asked for in two ways is not looked at.
fn request(request: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let named = |of: &Value, path: &str, errors: &mut Vec<FieldError>| {
        by_rule(text(of, "name"), format!("{path}.name"), names::dns1123_label, errors);
    };
    named(request, path, errors);
    let choices = list(request, "firstAvailable");
    let exactly = &request["exactly"];
    let detail = "exactly one of `exactly` or `firstAvailable` is required";
    match (choices.is_empty(), exactly.is_object()) {
        (true, false) => errors.push(FieldError::required(path, detail)),
        (false, true) => {
            let detail = format!("{detail}, but multiple fields are set");
            errors.push(FieldError::invalid(path, Value::Null, detail));
        }
        (true, true) => of_class(exactly, &format!("{path}.exactly"), errors),
        (false, false) => each_once(
            choices,
            &format!("{path}.firstAvailable"),
            errors,
            |choice, path, errors| {
                named(choice, path, errors);
                of_class(choice, path, errors);
            },
        ),
    }
}

/// What is asked for of a class, and how much.
fn of_class(request: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if needed(request, "deviceClassName", path, errors) {
        let name = text(request, "deviceClassName");
        by_rule(
            name,
            format!("{path}.deviceClassName"),
            names::dns1123_subdomain,
            errors,
        );
    }
    selectors(request, path, errors);
    let (count, at) = (request["count"].as_i64().unwrap_or_default(), format!("{path}.count"));
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(at, count, detail));
        }
        "ExactCount" if count <= 0 => errors.push(FieldError::invalid(at, count, "must be greater than zero")),
        "All" | "ExactCount" => {}
        mode => errors.push(FieldError::not_supported(
            format!("{path}.allocationMode"),
            mode,
            &["All", "ExactCount"],
        )),
    }
    for (i, one) in list(request, "tolerations").iter().enumerate() {
        toleration(one, &format!("{path}.tolerations[{i}]"), errors);
    }
}

/// `validateDeviceToleration`.
fn toleration(toleration: &Value, path: &str, errors: &mut Vec<FieldError>) {
    named(toleration, "key", names::qualified_name, path, errors);
    let (operator, value) = (text(toleration, "operator"), text(toleration, "value"));
    match operator {
        "Exists" if !value.is_empty() => {
            let detail = "must be empty for operator `Exists`";
            errors.push(FieldError::invalid(format!("{path}.value"), value, detail));
        }
        "Exists" => {}
        "Equal" => by_rule(value, format!("{path}.value"), names::label_value, errors),
        _ => errors.push(FieldError::not_supported(
            format!("{path}.operator"),
            operator,
            &["Equal", "Exists"],
        )),
    }
    let effect = text(toleration, "effect");
    let effects = ["NoExecute", "NoSchedule", "None"];
    if !effect.is_empty() && !effects.contains(&effect) {
        errors.push(FieldError::not_supported(format!("{path}.effect"), effect, &effects));
    }
}

fn selectors(of: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, selector) in list(of, "selectors").iter().enumerate() {
        let path = format!("{path}.selectors[{i}].cel");
        let cel = &selector["cel"];
        if cel.is_null() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let (expression, at) = (text(cel, "expression"), format!("{path}.expression"));
        let why = match check(expression, &expressions::device()) {
            Err(error) => error.to_string(),
            Ok(Type::Bool | Type::Any | Type::Dyn) => continue,
            Ok(t) => format!("must evaluate to bool or the unknown type, not {}", t.runtime_name()),
        };
        errors.push(FieldError::invalid(at, expression, why));
    }
}

/// Parameters that only a driver understands.
fn opaque(config: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (opaque, path) = (&config["opaque"], format!("{path}.opaque"));
    if opaque.is_null() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    driver(opaque, &path, errors);
    let at = format!("{path}.parameters");
    match &opaque["parameters"] {
        Value::Null => errors.push(FieldError::required(at, "")),
        Value::Object(_) => {}
        _ => {
            let detail = "must be a valid JSON object";
            errors.push(FieldError::invalid(at, "<value omitted>", detail));
        }
    }
}

pub(super) fn driver(of: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !needed(of, "driver", path, errors) {
        return;
    }
    let (name, at) = (text(of, "driver"), format!("{path}.driver"));
    if name.len() > 63 {
        errors.push(FieldError::too_long(at.as_str(), 63));
    }
    by_rule(name, at, names::dns1123_subdomain, errors);
}

/// `validateFullyQualifiedName`.
fn fully_qualified(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    qualified(name, path, errors);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, name, detail));
    }
}

/// `validateResourceClaimStatusUpdate`: who may use what is allocated.
pub(super) fn claim_status(new: &Value, errors: &mut Vec<FieldError>) {
    let status = &new["status"];
    let users = list(status, "reservedFor");
    let again = repeated(users.iter().map(|user| text(user, "uid")));
    for ((i, user), again) in users.iter().enumerate().zip(again) {
        let path = format!("status.reservedFor[{i}]");
        for field in ["resource", "name", "uid"] {
            needed(user, field, &path, errors);
        }
        if again {
            errors.push(FieldError::duplicate(path, user["uid"].clone()));
        }
    }
    if !users.is_empty() && status["allocation"].is_null() {
        let detail = "may not be specified when `allocated` is not set";
        errors.push(FieldError::forbidden("status.reservedFor", detail));
    }
}
