//! Validation of amounts of resources (`ValidateResourceRequirements` in Kubernetes).

use super::names;
use super::resource_name::{self, HUGE, is_overcommitted};
use super::validate_parts::{by_rule, list, text};
use crate::schema::FieldError;
use cfn_cel::quantity::Quantity;
use serde_json::Value;

fn amounts<'v>(resources: &'v Value, field: &str) -> impl Iterator<Item = (&'v String, &'v Value)> + use<'v> {
    resources[field].as_object().into_iter().flatten()
}

/// Resources of a container.
pub(super) fn of_container(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    requirements(resources, path, errors, resource_name::of_container);
}

/// `validatePodResources`: resources of a pod as a whole.
pub(super) fn of_pod(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (resources, path) = (&spec["resources"], &format!("{path}.resources"));
    if resources.is_null() {
        return;
    }
    if spec["os"]["name"] == "windows" {
        let detail = "may not be set for a windows pod";
        errors.push(FieldError::forbidden(path.as_str(), detail));
        return;
    }
    if !resources["claims"].is_null() {
        let detail = "claims may not be set for Resources at pod-level";
        errors.push(FieldError::forbidden(format!("{path}.claims"), detail));
    }
    requirements(resources, path, errors, |name, path, errors| {
        let known = ["cpu", "memory"];
        let before = errors.len();
        resource_name::any(name, path, errors);
        if errors.len() == before && !known.contains(&name) && !name.starts_with(HUGE) {
            errors.push(FieldError::not_supported(path, name, &["cpu", "hugepages-", "memory"]));
        }
    });
    claims(resources, spec, path, errors);
    consistent(spec, path, errors);
}

/// `validatePodResourceConsistency`: a pod asks for no less than its containers do, and none of them may have more.
fn consistent(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let resources = &spec["resources"];
    // Containers alone: what the pod says of itself is compared with that.
    let mut alone = spec.clone();
    if let Some(fields) = alone.as_object_mut() {
        fields.remove("resources");
        fields.remove("overhead");
    }
    for (name, amount) in crate::registry::pod_requests(&alone) {
        let (Ok(asked), Ok(whole)) = (
            Quantity::from_value(&amount),
            Quantity::from_value(&resources["requests"][&name]),
        ) else {
            continue;
        };
        if asked > whole {
            let detail = format!("must be greater than or equal to aggregate container requests of {asked}");
            errors.push(FieldError::invalid(
                format!("{path}.requests[{name}]"),
                whole.to_string(),
                detail,
            ));
        }
    }
    for (i, container) in list(spec, "containers").iter().enumerate() {
        for (name, limit) in amounts(&container["resources"], "limits") {
            let (Ok(own), Ok(whole)) = (
                Quantity::from_value(limit),
                Quantity::from_value(&resources["limits"][name]),
            ) else {
                continue;
            };
            if own > whole {
                let detail = format!("must be less than or equal to pod limits of {whole}");
                let at = format!("{path}.containers[{i}][{name}].limits");
                errors.push(FieldError::invalid(at, own.to_string(), detail));
            }
        }
    }
}

/// `validateResourceClaimNames`: devices of the pod that are used, as a whole or by request.
pub(super) fn claims(resources: &Value, spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut known: Vec<&str> = list(spec, "resourceClaims").iter().map(|c| text(c, "name")).collect();
    known.sort_unstable();
    known.dedup();
    let mut seen: Vec<String> = Vec::new();
    for (i, claim) in list(resources, "claims").iter().enumerate() {
        let (name, request, at) = (
            text(claim, "name"),
            text(claim, "request"),
            format!("{path}.claims[{i}]"),
        );
        if name.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let has = |key: &str| seen.iter().any(|s| s == key);
        if has(name) {
            errors.push(FieldError::duplicate(at.as_str(), name));
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                by_rule(request, format!("{at}.request"), names::dns1123_label, errors);
                key = format!("{name}/{request}");
            }
            if has(&key) {
                errors.push(FieldError::duplicate(at.as_str(), key.as_str()));
            } else if request.is_empty() {
                let parts = seen
                    .iter()
                    .filter(|s| s.split_once('/').is_some_and(|(of, _)| of == name));
                for _ in parts {
                    errors.push(FieldError::duplicate(at.as_str(), name));
                }
            }
            seen.push(key);
        }
        if !known.contains(&name) {
            let mut error = FieldError::not_found(at, name);
            error.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            error.detail += &match known.as_slice() {
                [] => " which is empty".to_owned(),
                known => format!(": {}", known.join(", ")),
            };
            errors.push(error);
        }
    }
}

fn requirements(
    resources: &Value,
    path: &str,
    errors: &mut Vec<FieldError>,
    rule: impl Fn(&str, &str, &mut Vec<FieldError>),
) {
    for (name, limit) in amounts(resources, "limits") {
        let path = format!("{path}.limits[{name}]");
        rule(name, &path, errors);
        amount(name, limit, &path, errors);
        pages(name, limit, &path, errors);
    }
    let (limits, requests) = (format!("{path}.limits"), format!("{path}.requests"));
    for (name, request) in amounts(resources, "requests") {
        let at = format!("{requests}[{name}]");
        rule(name, &at, errors);
        amount(name, request, &at, errors);
        let limit = &resources["limits"][name];
        if limit.is_null() && !is_overcommitted(name) {
            let detail = "Limit must be set for non overcommitable resources";
            errors.push(FieldError::required(limits.as_str(), detail));
        }
        if let (Ok(asked), Ok(most)) = (Quantity::from_value(request), Quantity::from_value(limit)) {
            let how = match (is_overcommitted(name), asked > most) {
                (false, _) if asked != most => "equal to",
                (true, true) => "less than or equal to",
                _ => "",
            };
            if !how.is_empty() {
                let detail = format!("must be {how} {name} limit of {most}");
                errors.push(FieldError::invalid(requests.as_str(), asked.to_string(), detail));
            }
        }
        pages(name, request, &at, errors);
    }
    let has = |wanted: fn(&str) -> bool| {
        let mut all = amounts(resources, "limits").chain(amounts(resources, "requests"));
        all.any(|(name, _)| wanted(name))
    };
    if has(|n| n.starts_with(HUGE)) && !has(|n| n == "cpu" || n == "memory") {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
}

/// Pages of memory are whole ones.
fn pages(name: &str, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(size) = name.strip_prefix(HUGE) else { return };
    let (Ok(size), Ok(asked)) = (Quantity::parse(size), Quantity::from_value(value)) else {
        return;
    };
    let (shown, size, asked) = (asked.to_string(), size.value(), asked.value());
    let whole = size > 0 && asked > 0 && asked % size == 0;
    if !whole {
        let detail = format!("{shown} is not positive integer multiple of {name}");
        errors.push(FieldError::invalid(path, shown, detail));
    }
}

/// A list of resources: names and amounts.
pub(super) fn quantities(list: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (name, value) in list.as_object().into_iter().flatten() {
        let path = format!("{path}[{name}]");
        for detail in names::qualified_name(name) {
            errors.push(FieldError::invalid(path.as_str(), name.as_str(), detail));
        }
        amount(name, value, &path, errors);
    }
}

/// `ValidateResourceQuantityValue`.
pub(super) fn amount(name: &str, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match Quantity::from_value(value) {
        Err(error) => errors.push(FieldError::invalid(path, value.clone(), error.to_string())),
        Ok(quantity) if quantity.is_negative() => {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(path, quantity.to_string(), detail));
        }
        Ok(quantity) if !is_whole(&quantity) && (name.contains('/') || name == "pods") => {
            errors.push(FieldError::invalid(path, quantity.to_string(), "must be an integer"));
        }
        Ok(_) => {}
    }
}

/// Whether Go takes an amount for a whole number: it counts thousandths, of which it knows no more than fit.
pub(super) fn is_whole(amount: &Quantity) -> bool {
    amount.milli_value() % 1000 == 0
}
