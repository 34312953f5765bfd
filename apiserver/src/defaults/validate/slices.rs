//! Validation of slices of devices (`ValidateResourceSlice` in Kubernetes).

use super::devices::{driver, each_once};
use super::text;
use crate::defaults::validate_parts::{by_rule, choice, list, needed, taint_names, texts};
use crate::defaults::validate_place;
use crate::defaults::{immutable, names};
use crate::schema::FieldError;
use serde_json::Value;
use std::collections::BTreeSet;

/// Most bytes of a text or a version, and of a name without its domain.
const VALUE_LENGTH: usize = 64;
const ID_LENGTH: usize = 32;

/// Most bytes of the name of a pool, and most conditions of a device's binding.
const MAX_POOL_NAME: usize = 253;
const MAX_CONDITIONS: usize = 4;

/// What may tell where the devices of a slice are, and where one of them is.
const WAYS: [&str; 4] = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
const WAYS_OF_ONE: [&str; 3] = ["nodeName", "nodeSelector", "allNodes"];

pub(super) fn slice(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    driver(spec, "spec", errors);
    pool(&spec["pool"], "spec.pool", errors);
    if let Some(old) = old {
        let places = ["spec.pool.name", "spec.driver", "spec.nodeName"].map(|p| (p, p));
        immutable::places("resource.ResourceSlice", &places, new, old, errors);
    }
    let detail = "must be either unset or set to a non-empty string";
    let given = place(spec, &WAYS, detail, "spec", errors);
    if spec["nodeSelector"].is_object() && list(&spec["nodeSelector"], "nodeSelectorTerms").len() != 1 {
        let at = "spec.nodeSelector.nodeSelectorTerms";
        let detail = "must have exactly one node selector term";
        let terms = spec["nodeSelector"]["nodeSelectorTerms"].clone();
        errors.push(FieldError::invalid(at, terms, detail));
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match given.len() {
        0 => errors.push(FieldError::required("spec", detail)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", given.join(", "));
            let detail = format!("{detail}, but multiple fields are set");
            errors.push(FieldError::invalid("spec", shown, detail));
        }
    }
    if !spec["sharedCounters"].is_null() && !spec["devices"].is_null() {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid("spec", "", detail));
    }
    let each = spec["perDeviceNodeSelection"] == true;
    each_once(list(spec, "devices"), "spec.devices", errors, |one, path, errors| {
        device(one, each, path, errors);
    });
    each_once(
        list(spec, "sharedCounters"),
        "spec.sharedCounters",
        errors,
        |set, path, errors| {
            counters(set, "name", path, errors);
        },
    );
}

fn pool(pool: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if needed(pool, "name", path, errors) {
        if text(pool, "name").len() > MAX_POOL_NAME {
            errors.push(FieldError::too_long(format!("{path}.name"), MAX_POOL_NAME as u64));
        }
        for part in text(pool, "name").split('/') {
            by_rule(part, format!("{path}.name"), names::dns1123_subdomain, errors);
        }
    }
    let number = |field: &str| pool[field].as_i64().unwrap_or_default();
    let (count, generation) = (number("resourceSliceCount"), number("generation"));
    if count <= 0 {
        let at = format!("{path}.resourceSliceCount");
        errors.push(FieldError::invalid(at, count, "must be greater than zero"));
    }
    if generation < 0 {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(format!("{path}.generation"), generation, detail));
    }
}

/// Checks where devices are, and gives the ways that is told in.
fn place(of: &Value, ways: &[&str], unnamed: &str, path: &str, errors: &mut Vec<FieldError>) -> Vec<String> {
    let mut given = Vec::new();
    for way in ways {
        let at = format!("{path}.{way}");
        match &of[*way] {
            Value::Null => continue,
            Value::String(name) if name.is_empty() => {
                errors.push(FieldError::invalid(at, "", unnamed));
                continue;
            }
            Value::String(name) => by_rule(name, at, names::dns1123_subdomain, errors),
            Value::Bool(false) => {
                errors.push(FieldError::invalid(at, false, "must be either unset or set to true"));
                continue;
            }
            Value::Object(_) => validate_place::node_selector(&of[*way], &at, errors),
            _ => {}
        }
        given.push(format!("`{way}`"));
    }
    given
}

fn device(device: &Value, each: bool, path: &str, errors: &mut Vec<FieldError>) {
    by_rule(
        text(device, "name"),
        format!("{path}.name"),
        names::dns1123_label,
        errors,
    );
    for (name, attribute) in device["attributes"].as_object().into_iter().flatten() {
        let at = format!("{path}.attributes[{name}]");
        qualified(name, &format!("{path}.attributes"), errors);
        self::attribute(attribute, at, errors);
    }
    let shared = device["allowMultipleAllocations"] == true;
    for (name, capacity) in device["capacity"].as_object().into_iter().flatten() {
        qualified(name, &format!("{path}.capacity"), errors);
        if !shared && !capacity["requestPolicy"].is_null() {
            let at = format!("{path}.capacity[{name}].requestPolicy");
            errors.push(FieldError::forbidden(at, "allowMultipleAllocations must be true"));
        }
    }
    for (i, taint) in list(device, "taints").iter().enumerate() {
        self::taint(taint, &format!("{path}.taints[{i}]"), errors);
    }
    let mut seen = BTreeSet::new();
    for (i, set) in list(device, "consumesCounters").iter().enumerate() {
        let path = format!("{path}.consumesCounters[{i}]");
        counters(set, "counterSet", &path, errors);
        let name = text(set, "counterSet");
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
    place_of_one(device, each, path, errors);
    binding(device, path, errors);
}

/// `validateDeviceBindingParameters`.
fn binding(device: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (wanted, failed) = ("bindingConditions", "bindingFailureConditions");
    for field in [wanted, failed] {
        let (all, at) = (texts(device, field), format!("{path}.{field}"));
        if all.len() > MAX_CONDITIONS {
            errors.push(FieldError::too_many(at, all.len() as u64, MAX_CONDITIONS as u64));
            continue;
        }
        for (i, name) in all.iter().enumerate() {
            by_rule(name, format!("{at}[{i}]"), names::qualified_name, errors);
        }
    }
    for field in [wanted, failed] {
        let all = texts(device, field);
        for (i, name) in all.iter().enumerate() {
            let at = format!("{path}.{field}[{i}]");
            if all[..i].contains(name) {
                errors.push(FieldError::duplicate(at.as_str(), *name));
            }
            if field == failed && texts(device, wanted).contains(name) {
                let detail = "bindingFailureConditions must not overlap with bindingConditions";
                errors.push(FieldError::invalid(at, *name, detail));
            }
        }
    }
    for (one, other) in [(failed, wanted), (wanted, failed)] {
        if !list(device, one).is_empty() && list(device, other).is_empty() {
            let detail = format!("{other} are required to use {one}");
            errors.push(FieldError::invalid(format!("{path}.{other}"), Value::Null, detail));
        }
    }
}

fn place_of_one(device: &Value, each: bool, path: &str, errors: &mut Vec<FieldError>) {
    if !each {
        if WAYS_OF_ONE.iter().any(|way| !device[*way].is_null()) {
            let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is \
                          set to true in the ResourceSlice spec";
            errors.push(FieldError::invalid(path, Value::Null, detail));
        }
        return;
    }
    let given = place(device, &WAYS_OF_ONE, "must not be empty", path, errors);
    let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` \
                  is set to true in the ResourceSlice spec";
    match given.len() {
        0 => errors.push(FieldError::required(path, detail)),
        1 => {}
        _ => errors.push(FieldError::invalid(path, format!("{{{}}}", given.join(", ")), detail)),
    }
}

/// `validateDeviceAttribute`; lists are of a feature that is off, and dropped before.
fn attribute(attribute: &Value, path: String, errors: &mut Vec<FieldError>) {
    let kinds = ["int", "bool", "string", "version"];
    for field in ["string", "version"] {
        let (value, at) = (text(attribute, field), format!("{path}.{field}"));
        if field == "version" && attribute[field].is_string() && !is_version(value) {
            let detail = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(FieldError::invalid(at.as_str(), value, detail));
        }
        if value.len() > VALUE_LENGTH {
            errors.push(FieldError::too_long(at, VALUE_LENGTH as u64));
        }
    }
    let detail = "exactly one value must be specified";
    match kinds.iter().filter(|field| !attribute[**field].is_null()).count() {
        0 => errors.push(FieldError::invalid(path, "", detail)),
        1 => {}
        _ => {
            errors.push(FieldError::invalid_internal(
                path,
                "resource.DeviceAttribute",
                attribute,
                detail,
            ));
        }
    }
}

fn taint(taint: &Value, path: &str, errors: &mut Vec<FieldError>) {
    taint_names(taint, path, errors);
    if needed(taint, "effect", path, errors) {
        choice(taint, "effect", &["NoExecute", "NoSchedule", "None"], path, errors);
    }
}

/// A set of counters by its name.
fn counters(set: &Value, field: &str, path: &str, errors: &mut Vec<FieldError>) {
    if needed(set, field, path, errors) {
        by_rule(
            text(set, field),
            format!("{path}.{field}"),
            names::dns1123_label,
            errors,
        );
    }
    let (counters, at) = (set["counters"].as_object(), format!("{path}.counters"));
    if counters.is_none_or(serde_json::Map::is_empty) {
        errors.push(FieldError::required(at.as_str(), ""));
    }
    for (name, _) in counters.into_iter().flatten() {
        by_rule(name, at.clone(), names::dns1123_label, errors);
    }
}

/// `validateQualifiedName`: an identifier of C, by itself or in a domain.
pub(super) fn qualified(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    match *name.split('/').collect::<Vec<_>>() {
        [id] => identifier(id, path, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.push(FieldError::invalid(path, "", "the domain must not be empty"));
            } else {
                by_rule(domain, path.to_owned(), names::dns1123_subdomain, errors);
            }
            if id.is_empty() {
                errors.push(FieldError::invalid(path, "", "the name must not be empty"));
            } else {
                identifier(id, path, errors);
            }
        }
        _ => {}
    }
}

fn identifier(id: &str, path: &str, errors: &mut Vec<FieldError>) {
    if id.len() > ID_LENGTH {
        errors.push(FieldError::too_long(path, ID_LENGTH as u64));
    }
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if id.is_empty() || id.starts_with(|c: char| c.is_ascii_digit()) || !id.bytes().all(inner) {
        let detail = "a valid C identifier must start with alphabetic character or '_', followed by a string of \
                      alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for \
                      validation is '[A-Za-z_][A-Za-z0-9_]*')";
        errors.push(FieldError::invalid(path, id, detail));
    }
}

/// Whether a text is a version by semver.org.
fn is_version(text: &str) -> bool {
    let number = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (text, build) = text.split_once('+').map_or((text, None), |(t, b)| (t, Some(b)));
    let (core, before) = text.split_once('-').map_or((text, None), |(c, p)| (c, Some(p)));
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() == 3
        && parts.into_iter().all(number)
        && before.is_none_or(|all| {
            all.split('.')
                .all(|part| word(part) && (number(part) || !part.bytes().all(|b| b.is_ascii_digit())))
        })
        && build.is_none_or(|all| all.split('.').all(word))
}
