//! Validation of autoscalers and disruption budgets (`pkg/apis/{autoscaling,policy}/validation` in Kubernetes).

use crate::defaults::names;
use crate::defaults::resource_name;
use crate::defaults::validate_parts::{by_rule, choice, label_selector, list, needed, text};
use crate::defaults::validate_workload::{not_more_than_all, positive};
use crate::schema::FieldError;
use cfn_cel::quantity::Quantity;
use serde_json::Value;

pub(super) fn autoscaler(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let (least, most) = (
        spec["minReplicas"].as_i64(),
        spec["maxReplicas"].as_i64().unwrap_or_default(),
    );
    if let Some(least) = least.filter(|n| *n < 1) {
        let detail = "must be greater than or equal to 1";
        errors.push(FieldError::invalid("spec.minReplicas", least, detail));
    }
    if most == 0 {
        let detail = "must be set and greater than 0";
        errors.push(FieldError::required("spec.maxReplicas", detail));
    } else if most < 0 {
        let detail = "must be greater than or equal to 1";
        errors.push(FieldError::invalid("spec.maxReplicas", most, detail));
    }
    if least.is_some_and(|least| most < least) {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", most, detail));
    }
    reference(&spec["scaleTargetRef"], "spec.scaleTargetRef", true, errors);
    for (i, metric) in list(spec, "metrics").iter().enumerate() {
        self::metric(metric, &format!("spec.metrics[{i}]"), errors);
    }
    // What autoscaling/v1 says of the processor is a metric like others.
    if let Some(percent) = spec["targetCPUUtilizationPercentage"].as_i64().filter(|p| *p < 1) {
        let at = "spec.metrics[0].resource.target.averageUtilization";
        errors.push(FieldError::invalid(at, percent, "must be greater than 0"));
    }
    let of_objects = |m: &Value| matches!(text(m, "type"), "Object" | "External");
    if least == Some(0) && !list(spec, "metrics").iter().any(of_objects) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden("spec.metrics", detail));
    }
    for way in ["scaleUp", "scaleDown"] {
        rules(&spec["behavior"][way], &format!("spec.behavior.{way}"), errors);
    }
}

/// `ValidateCrossVersionObjectReference`; what is scaled must be of a group, but for the kinds that have none.
fn reference(of: &Value, path: &str, grouped: bool, errors: &mut Vec<FieldError>) {
    for field in ["kind", "name"] {
        if needed(of, field, path, errors) {
            by_rule(text(of, field), format!("{path}.{field}"), names::path_segment, errors);
        }
    }
    let (version, at) = (text(of, "apiVersion"), format!("{path}.apiVersion"));
    if version.matches('/').count() > 1 {
        let detail = format!("unexpected GroupVersion string: {version}");
        errors.push(FieldError::invalid(at, version, detail));
    } else if grouped
        && version.split_once('/').is_none_or(|(group, _)| group.is_empty())
        && !(version == "v1" && text(of, "kind") == "ReplicationController")
    {
        errors.push(FieldError::invalid(at, version, "apiVersion must specify API group"));
    }
}

/// The sources of a metric, by the type that names them, in the order they are looked at.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

fn metric(metric: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        errors.push(FieldError::required(
            format!("{path}.type"),
            "must specify a metric source type",
        ));
    }
    let valid = ["ContainerResource", "External", "Object", "Pods", "Resource"];
    let not_supported = || FieldError::not_supported(format!("{path}.type"), kind, &valid);
    if !valid.contains(&kind) {
        errors.push(not_supported());
    }
    let mut present: Vec<_> = SOURCES.iter().filter(|(_, f)| metric[*f].is_object()).collect();
    // Only the first is looked into.
    if let Some((_, field)) = present.first() {
        source(&metric[*field], field, &format!("{path}.{field}"), errors);
    }
    match SOURCES.iter().find(|(of, _)| *of == kind) {
        Some((_, field)) if !metric[*field].is_object() => {
            let detail = "must populate information for the given metric source";
            errors.push(FieldError::required(format!("{path}.{field}"), detail));
        }
        Some(_) => {}
        None => errors.push(not_supported()),
    }
    if present.len() != 1 {
        present.retain(|(of, _)| *of != kind);
        for (_, field) in present {
            let detail = "must populate the given metric source only";
            errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
        }
    }
}

fn source(source: &Value, field: &str, path: &str, errors: &mut Vec<FieldError>) {
    let target = &source["target"];
    match field {
        "resource" | "containerResource" => {
            match text(source, "name") {
                "" => errors.push(FieldError::required(
                    format!("{path}.name"),
                    "must specify a resource name",
                )),
                name if field == "containerResource" => {
                    resource_name::of_container(name, &format!("{path}.name"), errors);
                }
                _ => {}
            }
            match text(source, "container") {
                _ if field != "containerResource" => {}
                "" => errors.push(FieldError::required(
                    format!("{path}.container"),
                    "must specify a container",
                )),
                name => by_rule(name, format!("{path}.container"), names::dns1123_label, errors),
            }
        }
        _ => {
            if field == "object" {
                let at = format!("{path}.describedObject");
                reference(&source["describedObject"], &at, false, errors);
            }
            match text(&source["metric"], "name") {
                "" => errors.push(FieldError::required(
                    format!("{path}.metric.name"),
                    "must specify a metric name",
                )),
                name => by_rule(name, format!("{path}.metric.name"), names::path_segment, errors),
            }
        }
    }
    let at = format!("{path}.target");
    self::target(target, &at, errors);
    let (value, average, used) = (
        !target["value"].is_null(),
        !target["averageValue"].is_null(),
        !target["averageUtilization"].is_null(),
    );
    match field {
        "pods" if !average => errors.push(FieldError::required(
            format!("{at}.averageValue"),
            "must specify a positive target averageValue",
        )),
        "object" if !value && !average => errors.push(FieldError::required(
            format!("{at}.averageValue"),
            "must set either a target value or averageValue",
        )),
        "external" if !value && !average => errors.push(FieldError::required(
            format!("{at}.averageValue"),
            "must set either a target value for metric or a per-pod target",
        )),
        "external" if value && average => errors.push(FieldError::forbidden(
            format!("{at}.value"),
            "may not set both a target value for metric and a per-pod target",
        )),
        "resource" | "containerResource" if !used && !average => errors.push(FieldError::required(
            format!("{at}.averageUtilization"),
            "must set either a target raw value or a target utilization",
        )),
        "resource" | "containerResource" if used && average => errors.push(FieldError::forbidden(
            format!("{at}.averageValue"),
            "may not set both a target raw value and a target utilization",
        )),
        _ => {}
    }
}

fn target(target: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (kind, at) = (text(target, "type"), format!("{path}.type"));
    if kind.is_empty() {
        errors.push(FieldError::required(at.as_str(), "must specify a metric target type"));
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(at, kind, detail));
    }
    for field in ["value", "averageValue"] {
        if let Ok(amount) = Quantity::from_value(&target[field])
            && (amount.is_zero() || amount.is_negative())
        {
            let at = format!("{path}.{field}");
            errors.push(FieldError::invalid(at, amount.to_string(), "must be positive"));
        }
    }
    if let Some(percent) = target["averageUtilization"].as_i64().filter(|p| *p < 1) {
        let at = format!("{path}.averageUtilization");
        errors.push(FieldError::invalid(at, percent, "must be greater than 0"));
    }
}

/// How fast it may go up or down.
fn rules(rules: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !rules.is_object() {
        return;
    }
    if let Some(seconds) = rules["stabilizationWindowSeconds"].as_i64().filter(|s| *s < 0) {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(
            format!("{path}.stabilizationWindowSeconds"),
            seconds,
            detail,
        ));
    }
    if let Some(seconds) = rules["stabilizationWindowSeconds"].as_i64().filter(|s| *s > 3600) {
        let detail = "must be less than or equal to 3600";
        errors.push(FieldError::invalid(
            format!("{path}.stabilizationWindowSeconds"),
            seconds,
            detail,
        ));
    }
    choice(rules, "selectPolicy", &["Disabled", "Max", "Min"], path, errors);
    let policies = list(rules, "policies");
    if policies.is_empty() {
        let detail = "must specify at least one Policy";
        errors.push(FieldError::required(format!("{path}.policies"), detail));
    }
    for (i, policy) in policies.iter().enumerate() {
        let path = format!("{path}.policies[{i}]");
        let (kind, kinds) = (text(policy, "type"), ["Percent", "Pods"]);
        if !kinds.contains(&kind) {
            errors.push(FieldError::not_supported(format!("{path}.type"), kind, &kinds));
        }
        let number = |field: &str| policy[field].as_i64().unwrap_or_default();
        for field in ["value", "periodSeconds"] {
            if number(field) <= 0 {
                let at = format!("{path}.{field}");
                errors.push(FieldError::invalid(at, number(field), "must be greater than zero"));
            }
        }
        if number("periodSeconds") > 1800 {
            let detail = "must be less than or equal to 1800";
            errors.push(FieldError::invalid(
                format!("{path}.periodSeconds"),
                number("periodSeconds"),
                detail,
            ));
        }
    }
    if let Some(much) = Quantity::from_value(&rules["tolerance"])
        .ok()
        .filter(|q| q.is_negative())
    {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(
            format!("{path}.tolerance"),
            much.to_string(),
            detail,
        ));
    }
}

pub(super) fn budget(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        let of = "policy.PodDisruptionBudgetSpec";
        errors.push(FieldError::invalid_internal("spec", of, spec, detail));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        let path = format!("spec.{field}");
        positive(&spec[field], &path, errors);
        not_more_than_all(&spec[field], &path, errors);
    }
    label_selector(&spec["selector"], "spec.selector", errors);
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    choice(spec, "unhealthyPodEvictionPolicy", &policies, "spec", errors);
}
