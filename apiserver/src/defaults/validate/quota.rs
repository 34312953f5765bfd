//! Validation of quotas and limit ranges (`pkg/apis/core/validation` in Kubernetes).

use crate::defaults::validate_parts::{list, text, texts};
use crate::defaults::validate_resources;
use crate::defaults::{immutable, names, resource_name};
use crate::schema::FieldError;
use cfn_cel::quantity::Quantity;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Scopes, and those that exclude each other.
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

pub(super) fn quota(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    amounts(&spec["hard"], "spec.hard", errors);
    scopes(spec, errors);
    selectors(spec, errors);
    if let Some(old) = old {
        let sorted = |v: &Value| {
            let mut all: Vec<String> = texts(&v["spec"], "scopes").into_iter().map(str::to_owned).collect();
            all.sort();
            all.dedup();
            all
        };
        if sorted(new) != sorted(old) {
            errors.push(immutable::changed("spec.scopes", spec["scopes"].clone()));
        }
    }
    for field in ["hard", "used"] {
        amounts(&new["status"][field], &format!("status.{field}"), errors);
    }
}

/// `ValidateResourceQuotaStatusUpdate`.
pub(super) fn status(status: &Value, errors: &mut Vec<FieldError>) {
    for field in ["hard", "used"] {
        amounts(&status[field], &format!("status.{field}"), errors);
    }
}

fn amounts(hard: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (name, value) in hard.as_object().into_iter().flatten() {
        let at = format!("{path}[{name}]");
        resource_name::of_quota(name, &at, errors);
        let Ok(amount) = Quantity::from_value(value) else {
            continue;
        };
        if amount.is_negative() {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(at.as_str(), amount.to_string(), detail));
        }
        if resource_name::is_whole(name) && !validate_resources::is_whole(&amount) {
            errors.push(FieldError::invalid(at, amount.to_string(), "must be an integer"));
        }
    }
}

/// `IsResourceQuotaScopeValidForResource`.
fn fits(scope: &str, name: &str) -> bool {
    let compute = || {
        let bare = name.strip_prefix("requests.").or(name.strip_prefix("limits."));
        matches!(bare.unwrap_or(name), "cpu" | "memory") || name == "ephemeral-storage"
    };
    match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            name == "pods" || compute()
        }
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

/// The standard resources of a quota that a scope is not for.
fn unfit(spec: &Value, scope: &str) -> usize {
    let names = spec["hard"].as_object().into_iter().flatten().map(|(name, _)| name);
    names
        .filter(|name| resource_name::is_of_quota(name) && !fits(scope, name))
        .count()
}

/// Scopes that exclude each other.
fn conflicts(scopes: &[&str]) -> usize {
    let pairs = [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")];
    pairs
        .iter()
        .filter(|(one, other)| scopes.contains(one) && scopes.contains(other))
        .count()
}

/// `validateResourceQuotaScopes`.
fn scopes(spec: &Value, errors: &mut Vec<FieldError>) {
    let scopes = texts(spec, "scopes");
    let mut say = |detail: &str| errors.push(FieldError::invalid("spec.scopes", json!(scopes), detail));
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            say("unsupported scope");
        }
        for _ in 0..unfit(spec, scope) {
            say("unsupported scope applied to resource");
        }
    }
    for _ in 0..conflicts(&scopes) {
        say("conflicting scopes");
    }
}

/// `validateScopedResourceSelectorRequirement`.
fn selectors(spec: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.scopeSelector.matchExpressions";
    let all = list(&spec["scopeSelector"], "matchExpressions");
    for wanted in all {
        selector(spec, wanted, path, errors);
    }
    let scopes: Vec<&str> = all.iter().map(|wanted| text(wanted, "scopeName")).collect();
    for _ in 0..conflicts(&scopes) {
        errors.push(FieldError::invalid(path, spec["scopes"].clone(), "conflicting scopes"));
    }
}

fn selector(spec: &Value, wanted: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (scope, operator) = (text(wanted, "scopeName"), text(wanted, "operator"));
    if !SCOPES.contains(&scope) {
        let detail = "unsupported scope";
        errors.push(FieldError::invalid(format!("{path}.scopeName"), scope, detail));
    }
    for _ in 0..unfit(spec, scope) {
        let detail = "unsupported scope applied to resource";
        errors.push(FieldError::invalid_internal(
            path,
            "core.ScopeSelector",
            &spec["scopeSelector"],
            detail,
        ));
    }
    let plain = !matches!(scope, "PriorityClass" | "VolumeAttributesClass");
    if SCOPES.contains(&scope) && plain && operator != "Exists" {
        let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                      ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort \
                      or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.push(FieldError::invalid(format!("{path}.operator"), operator, detail));
    }
    let values = list(wanted, "values");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.push(FieldError::required(format!("{path}.values"), detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.push(FieldError::invalid(
                format!("{path}.values"),
                wanted["values"].clone(),
                detail,
            ));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            let detail = "not a valid selector operator";
            errors.push(FieldError::invalid(format!("{path}.operator"), other, detail));
        }
    }
}

/// `ValidateLimitRange`; the limits as they were given, but for a container's defaults.
pub(super) fn limit_range(new: &Value, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (i, limit) in list(&new["spec"], "limits").iter().enumerate() {
        let path = format!("spec.limits[{i}]");
        let kind = text(limit, "type");
        limit_type(kind, &format!("{path}.type"), errors);
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(format!("{path}.type"), kind));
        }
        seen.insert(kind);
        let of_pod = kind == "Pod";
        named_resources(limit, kind, &["max", "min"], &path, errors);
        if of_pod {
            for field in ["default", "defaultRequest"] {
                if limit[field].as_object().is_some_and(|m| !m.is_empty()) {
                    let detail = "may not be specified when `type` is 'Pod'";
                    errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
                }
            }
        } else {
            named_resources(limit, kind, &["default", "defaultRequest"], &path, errors);
        }
        if kind == "PersistentVolumeClaim" && ["min", "max"].iter().all(|field| limit[*field]["storage"].is_null()) {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.push(FieldError::required(format!("{path}.limits"), detail));
        }
        named_resources(limit, kind, &["maxLimitRequestRatio"], &path, errors);
        let fields = ["max", "min", "maxLimitRequestRatio", "default", "defaultRequest"];
        let fields = if of_pod { &fields[..3] } else { &fields[..] };
        let mut names: Vec<&String> = fields
            .iter()
            .flat_map(|f| limit[*f].as_object().into_iter().flatten().map(|(name, _)| name))
            .collect();
        names.sort();
        names.dedup();
        for name in names {
            one_limit(limit, name, &path, errors);
        }
    }
}

/// `validateLimitRangeTypeName`.
fn limit_type(kind: &str, path: &str, errors: &mut Vec<FieldError>) {
    let wrong = names::qualified_name(kind);
    let standard = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind);
    if wrong.is_empty() && !kind.contains('/') && !standard {
        let detail = "must be a standard limit type or fully qualified";
        errors.push(FieldError::invalid(path, kind, detail));
    }
    errors.extend(wrong.into_iter().map(|why| FieldError::invalid(path, kind, why)));
}

/// Names of the resources that fields of a limit list.
fn named_resources(limit: &Value, kind: &str, fields: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    for field in fields {
        for (name, _) in limit[*field].as_object().into_iter().flatten() {
            let at = format!("{path}.{field}[{name}]");
            match kind {
                "Pod" | "Container" => resource_name::of_container(name, &at, errors),
                _ => resource_name::any(name, &at, errors),
            }
        }
    }
}

fn one_limit(limit: &Value, name: &str, path: &str, errors: &mut Vec<FieldError>) {
    let amount = |field: &str| Quantity::from_value(&limit[field][name]).ok();
    let (least, most) = (amount("min"), amount("max"));
    let of_pod = limit["type"] == "Pod";
    let (usual, asked, ratio) = (
        amount("default").filter(|_| !of_pod),
        amount("defaultRequest").filter(|_| !of_pod),
        amount("maxLimitRequestRatio"),
    );
    let mut compare =
        |low: (&str, &Option<Quantity>), high: (&str, &Option<Quantity>), at: (&str, &Option<Quantity>)| {
            if let ((what, Some(low)), (other, Some(high)), (field, Some(shown))) = (low, high, at)
                && low > high
            {
                let detail = format!("{what} value {low} is greater than {other} value {high}");
                errors.push(FieldError::invalid(
                    format!("{path}.{field}[{name}]"),
                    shown.to_string(),
                    detail,
                ));
            }
        };
    compare(("min", &least), ("max", &most), ("min", &least));
    compare(("min", &least), ("default request", &asked), ("defaultRequest", &asked));
    compare(("default request", &asked), ("max", &most), ("defaultRequest", &asked));
    compare(
        ("default request", &asked),
        ("default limit", &usual),
        ("defaultRequest", &asked),
    );
    compare(("min", &least), ("default", &usual), ("default", &least));
    compare(("default", &usual), ("max", &most), ("default", &most));
    let at = format!("{path}.maxLimitRequestRatio[{name}]");
    if let Some(ratio) = &ratio {
        if ratio.milli_value() < 1000 {
            let detail = format!("ratio {ratio} is less than 1");
            errors.push(FieldError::invalid(at.as_str(), ratio.to_string(), detail));
        }
        if let (Some(least), Some(most)) = (&least, &most) {
            let (asked, limit) = ratios(ratio, least, most);
            if asked > limit {
                let detail = format!("ratio {ratio} is greater than max/min = {}", go_float(limit));
                errors.push(FieldError::invalid(at, ratio.to_string(), detail));
            }
        }
    }
    if let (Some(usual), Some(asked)) = (usual, asked)
        && !resource_name::is_overcommitted(name)
        && usual != asked
    {
        let detail = format!("default value {usual} must equal to defaultRequest value {asked} in {name}");
        let at = format!("{path}.defaultRequest[{name}]");
        errors.push(FieldError::invalid(at, asked.to_string(), detail));
    }
}

/// The ratio that is allowed, and that of the most to the least: of thousandths where none of them is too large.
fn ratios(ratio: &Quantity, least: &Quantity, most: &Quantity) -> (f64, f64) {
    let large = i128::from(i64::MAX / 1000);
    let fine = [ratio, least, most].iter().all(|q| i128::from(q.value()) < large);
    if fine {
        (
            ratio.milli_value() as f64 / 1000.0,
            most.milli_value() as f64 / least.milli_value() as f64,
        )
    } else {
        (ratio.value() as f64, most.value() as f64 / least.value() as f64)
    }
}

/// A number as Go's `%f` prints it.
fn go_float(number: f64) -> String {
    match number {
        n if n.is_nan() => "NaN".to_owned(),
        n if n.is_infinite() => if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
        n => format!("{n:.6}"),
    }
}
