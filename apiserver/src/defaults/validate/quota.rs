//! Validation of quotas and limit ranges (`pkg/apis/core/validation` in Kubernetes).

use crate::defaults::names;
use crate::defaults::validate_parts::{by_rule, list, text, texts};
use crate::schema::FieldError;
use cfn_cel::quantity::Quantity;
use serde_json::{Value, json};

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

/// What a quota counts in whole numbers or amounts.
const STANDARD: [&str; 21] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
    "storage",
    "hugepages",
];

/// What is counted by the piece.
const WHOLE: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

pub(super) fn quota(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    amounts(&spec["hard"], "spec.hard", errors);
    scopes(spec, errors);
    for wanted in list(&spec["scopeSelector"], "matchExpressions") {
        selector(wanted, errors);
    }
    if let Some(old) = old {
        let sorted = |v: &Value| {
            let mut all: Vec<String> = texts(&v["spec"], "scopes").into_iter().map(str::to_owned).collect();
            all.sort();
            all
        };
        if sorted(new) != sorted(old) {
            errors.push(FieldError::invalid(
                "spec.scopes",
                spec["scopes"].clone(),
                "field is immutable",
            ));
        }
    }
    for field in ["hard", "used"] {
        amounts(&new["status"][field], &format!("status.{field}"), errors);
    }
}

fn amounts(hard: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (name, value) in hard.as_object().into_iter().flatten() {
        let at = format!("{path}[{name}]");
        by_rule(name, at.clone(), names::qualified_name, errors);
        let standard = STANDARD.contains(&name.as_str()) || name.starts_with("hugepages-");
        if !name.contains('/') && !standard && !name.contains("hugepages-") {
            for detail in [
                "must be a standard resource type or fully qualified",
                "must be a standard resource for quota",
            ] {
                errors.push(FieldError::invalid(at.as_str(), name.as_str(), detail));
            }
        }
        let Ok(amount) = Quantity::from_value(value) else {
            continue;
        };
        if amount.is_negative() {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(at.as_str(), amount.to_string(), detail));
        }
        if WHOLE.contains(&name.as_str()) && !amount.is_whole() {
            errors.push(FieldError::invalid(at, amount.to_string(), "must be an integer"));
        }
    }
}

/// `validateResourceQuotaScopes`.
fn scopes(spec: &Value, errors: &mut Vec<FieldError>) {
    let scopes = texts(spec, "scopes");
    if scopes.is_empty() {
        return;
    }
    let mut say = |detail: &str| errors.push(FieldError::invalid("spec.scopes", json!(scopes), detail));
    let compute = |name: &str| {
        let bare = name.trim_start_matches("requests.").trim_start_matches("limits.");
        matches!(bare, "cpu" | "memory" | "ephemeral-storage")
    };
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            say("unsupported scope");
        }
        for name in spec["hard"].as_object().into_iter().flatten().map(|(name, _)| name) {
            let fits = match *scope {
                "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
                    name == "pods" || compute(name)
                }
                "BestEffort" => name == "pods",
                _ => true,
            };
            if !fits {
                say("unsupported scope applied to resource");
            }
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            say("conflicting scopes");
        }
    }
}

fn selector(wanted: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.scopeSelector.matchExpressions";
    let (scope, operator) = (text(wanted, "scopeName"), text(wanted, "operator"));
    if !SCOPES.contains(&scope) {
        let detail = "unsupported scope";
        errors.push(FieldError::invalid(format!("{path}.scopeName"), scope, detail));
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
    let mut seen: Vec<&str> = Vec::new();
    for (i, limit) in list(&new["spec"], "limits").iter().enumerate() {
        let path = format!("spec.limits[{i}]");
        let kind = text(limit, "type");
        by_rule(kind, format!("{path}.type"), names::qualified_name, errors);
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(format!("{path}.type"), kind));
        }
        seen.push(kind);
        if kind == "Pod" {
            for field in ["default", "defaultRequest"] {
                if limit[field].as_object().is_some_and(|m| !m.is_empty()) {
                    let detail = "may not be specified when `type` is 'Pod'";
                    errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
                }
            }
        }
        if kind == "PersistentVolumeClaim" && ["min", "max"].iter().all(|field| limit[*field]["storage"].is_null()) {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.push(FieldError::required(format!("{path}.limits"), detail));
        }
        let fields = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
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

fn one_limit(limit: &Value, name: &str, path: &str, errors: &mut Vec<FieldError>) {
    let amount = |field: &str| Quantity::from_value(&limit[field][name]).ok();
    let (least, most) = (amount("min"), amount("max"));
    let (usual, asked, ratio) = (
        amount("default"),
        amount("defaultRequest"),
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
    if let Some(ratio) = ratio.filter(|r| r.milli_value() < 1000) {
        let detail = format!("ratio {ratio} is less than 1");
        errors.push(FieldError::invalid(at, ratio.to_string(), detail));
    }
}
