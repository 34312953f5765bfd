//! Validation of the kinds that need little (`pkg/apis/*/validation` in Kubernetes), and what its parts share.

mod config;
mod metadata;
mod rbac;
mod service;

pub use metadata::{NameRule, name_rule, validate_metadata, validate_metadata_update};

use super::{names, validate_pod, validate_workload};
use crate::schema::FieldError;
use config::{config_map, secret};
use rbac::{role, role_binding};
use serde_json::Value;
use service::service;

/// Checks an object of a built-in kind, beyond its schema and its metadata; `old` is given on update. The object
/// must have been defaulted. Kinds that are not known here pass.
pub fn validate_builtin(group: &str, kind: &str, old: Option<&Value>, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // Definitions are of another server, which asks for less.
    if group != "apiextensions.k8s.io" {
        metadata::finalizers(&new["metadata"], &mut errors);
    }
    match (group, kind) {
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(new, &mut errors),
        ("policy", "PodDisruptionBudget") => budget(new, &mut errors),
        ("", "Pod") => validate_pod::pod(new, old, &mut errors),
        ("", "ConfigMap") => config_map(new, old, &mut errors),
        ("", "Secret") => secret(new, old, &mut errors),
        ("", "Service") => service(new, old, &mut errors),
        ("", "Node") => node(new, &mut errors),
        ("", "PersistentVolumeClaim") => claim(new, old, &mut errors),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet") => {
            validate_workload::apps(kind, new, old, &mut errors);
        }
        ("batch", "Job") => validate_workload::job(new, old, &mut errors),
        ("batch", "CronJob") => validate_workload::cron_job(new, &mut errors),
        ("rbac.authorization.k8s.io", "RoleBinding") => role_binding(new, old, true, &mut errors),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => role_binding(new, old, false, &mut errors),
        ("rbac.authorization.k8s.io", "Role") => role(new, true, &mut errors),
        ("rbac.authorization.k8s.io", "ClusterRole") => role(new, false, &mut errors),
        ("scheduling.k8s.io", "PriorityClass") => fixed(
            new,
            old,
            &[
                ("value", "may not be changed in an update."),
                ("preemptionPolicy", "may not be changed in an update."),
            ],
            &mut errors,
        ),
        ("storage.k8s.io", "StorageClass") => fixed(
            new,
            old,
            &[
                ("parameters", "updates to parameters are forbidden."),
                ("provisioner", "updates to provisioner are forbidden."),
                ("reclaimPolicy", "updates to reclaimPolicy are forbidden."),
            ],
            &mut errors,
        ),
        ("node.k8s.io", "RuntimeClass") => {
            if let Some(old) = old {
                immutable(&new["handler"], &old["handler"], "handler", &mut errors);
            }
        }
        ("coordination.k8s.io", "Lease") => lease(new, &mut errors),
        ("certificates.k8s.io", "CertificateSigningRequest") => signing_request(new, &mut errors),
        _ => {}
    }
    errors
}

fn node(new: &Value, errors: &mut Vec<FieldError>) {
    for (i, taint) in new["spec"]["taints"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.taints[{i}]");
        let key = text(taint, "key");
        if let Some(detail) = names::qualified_name(key) {
            errors.push(FieldError::invalid(format!("{path}.key"), key, detail));
        }
        if let Some(detail) = names::label_value(text(taint, "value")) {
            errors.push(FieldError::invalid(
                format!("{path}.value"),
                text(taint, "value"),
                detail,
            ));
        }
        one_of(
            taint,
            "effect",
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            &path,
            errors,
        );
    }
    for list in ["capacity", "allocatable"] {
        validate_pod::quantities(&new["status"][list], &format!("status.{list}"), errors);
    }
}

fn claim(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
        errors.push(FieldError::required(
            "spec.accessModes",
            "at least 1 access mode is required",
        ));
    }
    let valid = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    for mode in spec["accessModes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !valid.contains(&mode) {
            errors.push(FieldError::not_supported("spec.accessModes", mode, &valid));
        }
    }
    match spec["resources"]["requests"].get("storage") {
        None => errors.push(FieldError::required("spec.resources[storage]", "")),
        Some(_) => validate_pod::quantities(&spec["resources"]["requests"], "spec.resources", errors),
    }
    if let Some(old) = old {
        let fixed = |object: &Value| {
            let mut spec = object["spec"].clone();
            // Binding sets the volume, growing the requests.
            for field in [
                "volumeName",
                "resources",
                "storageClassName",
                "volumeAttributesClassName",
            ] {
                if let Value::Object(spec) = &mut spec {
                    spec.remove(field);
                }
            }
            spec
        };
        if fixed(new) != fixed(old) {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            errors.push(FieldError::forbidden("spec", detail));
        }
    }
}

fn lease(new: &Value, errors: &mut Vec<FieldError>) {
    if let Some(seconds) = new["spec"]["leaseDurationSeconds"].as_i64().filter(|s| *s <= 0) {
        errors.push(FieldError::invalid(
            "spec.leaseDurationSeconds",
            seconds,
            "must be greater than 0",
        ));
    }
    if let Some(count) = new["spec"]["leaseTransitions"].as_i64().filter(|c| *c < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.leaseTransitions", count, detail));
    }
}

fn signing_request(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    if text(spec, "request").is_empty() {
        errors.push(FieldError::required(
            "spec.request",
            "block type must be CERTIFICATE REQUEST",
        ));
    }
    let signer = text(spec, "signerName");
    if signer.is_empty() {
        errors.push(FieldError::required("spec.signerName", ""));
    } else if !signer.contains('/') {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid("spec.signerName", signer, detail));
    }
    if let Some(seconds) = spec["expirationSeconds"].as_i64().filter(|s| *s < 600) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid("spec.expirationSeconds", seconds, detail));
    }
}

/// A field of an object's `metadata` as text.
fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// Checks a map of labels.
pub(super) fn labels(labels: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Some(detail) = names::qualified_name(key) {
            errors.push(FieldError::invalid(path, key.as_str(), detail));
        }
        let value = value.as_str().unwrap_or_default();
        if let Some(detail) = names::label_value(value) {
            errors.push(FieldError::invalid(path, value, detail));
        }
    }
}

/// Fields that may not change, with what is said about them.
fn fixed(new: &Value, old: Option<&Value>, fields: &[(&str, &str)], errors: &mut Vec<FieldError>) {
    for (field, detail) in fields {
        if old.is_some_and(|old| old[*field] != new[*field]) {
            errors.push(FieldError::forbidden(*field, *detail));
        }
    }
}

/// A field that may not change.
pub(super) fn immutable(new: &Value, old: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if new != old {
        errors.push(FieldError::invalid(path, new.clone(), "field is immutable"));
    }
}

/// A number that may not be negative.
pub(super) fn nonnegative(object: &Value, field: &str, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(number) = object[field].as_i64().filter(|n| *n < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(format!("{path}.{field}"), number, detail));
    }
}

/// A port number.
pub(super) fn port_number(number: i64, path: &str, errors: &mut Vec<FieldError>) {
    if !(1..=65535).contains(&number) {
        errors.push(FieldError::invalid(
            path,
            number,
            "must be between 1 and 65535, inclusive",
        ));
    }
}

/// A text that must be one of a list.
pub(super) fn one_of(object: &Value, field: &str, valid: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    let path = format!("{path}.{field}");
    match text(object, field) {
        "" => errors.push(FieldError::required(path, "")),
        value if valid.contains(&value) => {}
        value => errors.push(FieldError::not_supported(path, value, valid)),
    }
}

fn autoscaler(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    if let (Some(least), Some(most)) = (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64())
        && most < least
    {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", most, detail));
    }
}

fn budget(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        // As Go's internal type has it.
        let shown = serde_json::json!({"MinAvailable": spec["minAvailable"], "Selector": spec["selector"],
            "MaxUnavailable": spec["maxUnavailable"], "UnhealthyPodEvictionPolicy": spec["unhealthyPodEvictionPolicy"]});
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid("spec", shown, detail));
    }
}
