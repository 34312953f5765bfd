//! Validation of amounts of resources (`ValidateResourceRequirements` in Kubernetes).

use super::names;
use super::resource_name::{self, HUGE, is_overcommitted};
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

/// Resources of a pod as a whole.
pub(super) fn of_pod(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if resources.is_null() {
        return;
    }
    requirements(resources, path, errors, |name, path, errors| {
        let known = ["cpu", "memory"];
        let before = errors.len();
        resource_name::any(name, path, errors);
        if errors.len() == before && !known.contains(&name) && !name.starts_with(HUGE) {
            errors.push(FieldError::not_supported(path, name, &["cpu", "hugepages-", "memory"]));
        }
    });
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
        Ok(quantity) if !quantity.is_whole() && (name.contains('/') || name == "pods") => {
            errors.push(FieldError::invalid(path, quantity.to_string(), "must be an integer"));
        }
        Ok(_) => {}
    }
}
