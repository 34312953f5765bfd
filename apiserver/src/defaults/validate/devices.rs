//! Validation of devices and claims of them (`pkg/apis/resource/validation` in Kubernetes).

use super::expressions;
use super::text;
use crate::defaults::names;
use crate::defaults::validate_parts::{by_rule, list, needed, texts};
use crate::schema::{FieldError, FieldErrorKind, go_struct};
use cfn_cel::{Type, check};
use serde_json::Value;

pub(super) fn class(new: &Value, errors: &mut Vec<FieldError>) {
    selectors(&new["spec"], "spec", errors);
    for (i, config) in list(&new["spec"], "config").iter().enumerate() {
        opaque(config, &format!("spec.config[{i}]"), errors);
    }
}

pub(super) fn claim(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    match old {
        Some(old) if old["spec"] != new["spec"] => {
            let detail = format!("{}: field is immutable", as_go(&new["spec"]));
            errors.push(changed(detail));
        }
        Some(_) => {}
        None => devices(&new["spec"]["devices"], "spec.devices", errors),
    }
}

pub(super) fn template(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    match old {
        Some(old) if old["spec"]["spec"] != new["spec"]["spec"] => {
            let (meta, spec) = (&new["spec"]["metadata"], as_go(&new["spec"]["spec"]));
            errors.push(changed(format!(
                "{{\"ObjectMeta\":{meta},\"Spec\":{spec}}}: field is immutable"
            )));
        }
        Some(_) => {}
        None => devices(&new["spec"]["spec"]["devices"], "spec.spec.devices", errors),
    }
}

fn changed(detail: String) -> FieldError {
    FieldError {
        path: "spec".to_owned(),
        kind: FieldErrorKind::Invalid,
        value: None,
        detail,
    }
}

/// A claim as Go's internal type has it.
fn as_go(spec: &Value) -> String {
    let of = |field: &str| spec["devices"].get(field).map_or(Value::Null, capitalized);
    let devices = go_struct(&[
        ("Requests", of("requests")),
        ("Constraints", of("constraints")),
        ("Config", of("config")),
    ]);
    format!("{{\"Devices\":{devices}}}")
}

/// Names of fields as Go has them.
fn capitalized(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let mut name = name.clone();
                if let Some(first) = name.get_mut(..1) {
                    first.make_ascii_uppercase();
                }
                (name, capitalized(value))
            })
            .collect(),
        Value::Array(all) => all.iter().map(capitalized).collect(),
        other => other.clone(),
    }
}

/// `validateDeviceClaim`.
fn devices(devices: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let requests = list(devices, "requests");
    each_once(requests, &format!("{path}.requests"), errors, request);
    let known: Vec<String> = requests
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
        for (i, name) in named.iter().enumerate() {
            let path = format!("{path}.requests[{i}]");
            if !known.iter().any(|k| k == name) {
                let detail = "must be the name of a request in the claim or the name of a request and a subrequest \
                              separated by '/'";
                errors.push(FieldError::invalid(path.as_str(), *name, detail));
            }
            if named[..i].contains(name) {
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
                let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required";
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
fn each_once(
    all: &[Value],
    path: &str,
    errors: &mut Vec<FieldError>,
    rule: impl Fn(&Value, &str, &mut Vec<FieldError>),
) {
    for (i, element) in all.iter().enumerate() {
        let path = format!("{path}[{i}]");
        rule(element, &path, errors);
        let name = text(element, "name");
        if all[..i].iter().any(|other| text(other, "name") == name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
}

fn request(request: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if needed(request, "name", path, errors) {
        by_rule(
            text(request, "name"),
            format!("{path}.name"),
            names::dns1123_label,
            errors,
        );
    }
    let choices = list(request, "firstAvailable");
    each_once(
        choices,
        &format!("{path}.firstAvailable"),
        errors,
        |choice, path, errors| {
            if needed(choice, "name", path, errors) {
                by_rule(
                    text(choice, "name"),
                    format!("{path}.name"),
                    names::dns1123_label,
                    errors,
                );
            }
            of_class(choice, path, errors);
        },
    );
    let exactly = &request["exactly"];
    if exactly.is_object() {
        of_class(exactly, &format!("{path}.exactly"), errors);
    }
    let detail = "exactly one of `exactly` or `firstAvailable` is required";
    match (choices.is_empty(), exactly.is_object()) {
        (true, false) => errors.push(FieldError::required(path, detail)),
        (false, true) => {
            let detail = format!("{detail}, but multiple fields are set");
            errors.push(FieldError::invalid(path, Value::Null, detail));
        }
        _ => {}
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
    if opaque["parameters"].is_null() {
        errors.push(FieldError::required(format!("{path}.parameters"), ""));
    }
}

fn driver(of: &Value, path: &str, errors: &mut Vec<FieldError>) {
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
    if name.is_empty() {
        errors.push(FieldError::required(path, "name required"));
    } else if name.split('/').count() != 2 {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, name, detail));
    } else if let Some((domain, _)) = name.split_once('/') {
        by_rule(domain, path.to_owned(), names::dns1123_subdomain, errors);
    }
}

/// `ValidateResourceSlice`.
pub(super) fn slice(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    driver(spec, "spec", errors);
    let (pool, path) = (&spec["pool"], "spec.pool");
    if needed(pool, "name", path, errors) {
        for part in text(pool, "name").split('/') {
            by_rule(part, format!("{path}.name"), names::dns1123_subdomain, errors);
        }
    }
    let (count, generation) = (pool["resourceSliceCount"].as_i64(), pool["generation"].as_i64());
    if let Some(count) = count.or(Some(0)).filter(|c| *c <= 0) {
        let at = format!("{path}.resourceSliceCount");
        errors.push(FieldError::invalid(at, count, "must be greater than zero"));
    }
    if let Some(generation) = generation.filter(|g| *g < 0) {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(format!("{path}.generation"), generation, detail));
    }
    let ways = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
    let set = |field: &str| !matches!(&spec[field], Value::Null | Value::Bool(false)) && spec[field] != "";
    let given: Vec<String> = ways.iter().filter(|f| set(f)).map(|f| format!("`{f}`")).collect();
    let detail = format!(
        "exactly one of {} is required",
        ways.map(|f| format!("`{f}`")).join(", ")
    );
    match given.len() {
        0 => errors.push(FieldError::required("spec", detail)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", given.join(", "));
            let detail = format!("{detail}, but multiple fields are set");
            errors.push(FieldError::invalid("spec", shown, detail));
        }
    }
    each_once(list(spec, "devices"), "spec.devices", errors, device);
    if let Some(old) = old {
        super::immutable(&spec["driver"], &old["spec"]["driver"], "spec.driver", errors);
        super::immutable(&pool["name"], &old["spec"]["pool"]["name"], "spec.pool.name", errors);
        super::immutable(&spec["nodeName"], &old["spec"]["nodeName"], "spec.nodeName", errors);
    }
}

fn device(device: &Value, path: &str, errors: &mut Vec<FieldError>) {
    by_rule(
        text(device, "name"),
        format!("{path}.name"),
        names::dns1123_label,
        errors,
    );
    let kinds = [
        ("int", "IntValue"),
        ("bool", "BoolValue"),
        ("string", "StringValue"),
        ("version", "VersionValue"),
        ("ints", "IntValues"),
        ("bools", "BoolValues"),
        ("strings", "StringValues"),
        ("versions", "VersionValues"),
    ];
    for (name, attribute) in device["attributes"].as_object().into_iter().flatten() {
        let at = format!("{path}.attributes[{name}]");
        let given = kinds.iter().filter(|(field, _)| !attribute[*field].is_null()).count();
        match given {
            0 => errors.push(FieldError::required(at, "exactly one value must be specified")),
            1 => {}
            _ => {
                // As Go's internal type has it.
                let shown = kinds.map(|(field, go)| (go, attribute[field].clone()));
                let detail = "exactly one value must be specified";
                errors.push(FieldError::invalid_struct(at, &shown, detail));
            }
        }
    }
}

/// `validateResourceClaimStatusUpdate`: who may use what is allocated.
pub(super) fn claim_status(new: &Value, errors: &mut Vec<FieldError>) {
    let status = &new["status"];
    let users = list(status, "reservedFor");
    for (i, user) in users.iter().enumerate() {
        let path = format!("status.reservedFor[{i}]");
        for field in ["resource", "name", "uid"] {
            needed(user, field, &path, errors);
        }
        if users[..i].iter().any(|other| other["uid"] == user["uid"]) {
            errors.push(FieldError::duplicate(format!("{path}.uid"), user["uid"].clone()));
        }
    }
    if !users.is_empty() && status["allocation"].is_null() {
        let detail = "may not be specified when `allocated` is not set";
        errors.push(FieldError::forbidden("status.reservedFor", detail));
    }
}
