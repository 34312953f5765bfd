//! Validation of the kinds that need little (`pkg/apis/*/validation` in Kubernetes), and what its parts share.

mod admission;
mod conditions;
mod config;
mod devices;
mod event;
mod expressions;
mod flow;
mod job_status;
mod metadata;
mod network;
mod node;
mod pod_status;
mod policy;
mod quota;
mod rbac;
mod registration;
mod scaling;
mod service;
mod signing;
mod slices;
mod status;
mod storage;

pub(crate) use admission::service_or_address;
pub use metadata::{NameRule, name_rule, validate_metadata, validate_metadata_update, validate_updated};
pub(super) use metadata::{annotations, finalizers};
pub(super) use network::prefixed_path;
pub(crate) use service::addresses as service_addresses;
pub use status::validate_subresource;

use super::validate_parts::text;
use super::{
    immutable, names, validate_cron, validate_parts as parts, validate_pod, validate_pod_update, validate_workload,
};
use crate::schema::FieldError;
use cfn_cel::quantity::Quantity;
use config::{config_map, secret};
use node::{node, runtime_class};
use rbac::{role, role_binding};
use serde_json::Value;
use service::service;

/// Checks an object of a built-in kind, beyond its schema and its metadata; `old` is given on update. The object
/// must have been defaulted. Kinds that are not known here pass.
pub fn validate_builtin(group: &str, kind: &str, old: Option<&Value>, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // On update they are looked at with the rest of the metadata.
    if old.is_none() && metadata::minds_finalizers(group, kind) {
        metadata::finalizers(&new["metadata"], &mut errors);
    }
    match (group, kind) {
        ("autoscaling", "HorizontalPodAutoscaler") => scaling::autoscaler(new, &mut errors),
        ("policy", "PodDisruptionBudget") => scaling::budget(new, &mut errors),
        ("", "Pod") => validate_pod::pod(new, old, &mut errors),
        ("", "ConfigMap") => config_map(new, old, &mut errors),
        ("", "Secret") => secret(new, old, &mut errors),
        ("", "Service") => service(new, old, &mut errors),
        ("", "Node") => node(new, old, &mut errors),
        ("", "Namespace") => node::namespace(new, &mut errors),
        ("" | "events.k8s.io", "Event") => event::event(group, new, old, &mut errors),
        ("networking.k8s.io", "IPAddress") => node::ip_address(new, old, &mut errors),
        ("resource.k8s.io", "DeviceClass") => devices::class(new, &mut errors),
        ("resource.k8s.io", "ResourceClaim") => devices::claim(new, old, &mut errors),
        ("resource.k8s.io", "ResourceClaimTemplate") => devices::template(new, old, &mut errors),
        ("resource.k8s.io", "ResourceSlice") => slices::slice(new, old, &mut errors),
        ("", "PersistentVolumeClaim") => claim(new, old, &mut errors),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet") => {
            validate_workload::apps(kind, new, old, &mut errors);
        }
        ("batch", "Job") => super::validate_job::job(new, old, &mut errors),
        ("batch", "CronJob") => validate_cron::cron_job(new, old, &mut errors),
        ("rbac.authorization.k8s.io", "RoleBinding") => role_binding(new, old, true, &mut errors),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => role_binding(new, old, false, &mut errors),
        ("rbac.authorization.k8s.io", "Role") => role(new, true, &mut errors),
        ("rbac.authorization.k8s.io", "ClusterRole") => role(new, false, &mut errors),
        ("scheduling.k8s.io", "PriorityClass") => priority_class(new, old, &mut errors),
        ("storage.k8s.io", "StorageClass") => storage::storage_class(new, old, &mut errors),
        ("storage.k8s.io", "CSIDriver") => storage::csi_driver(new, old, &mut errors),
        ("storage.k8s.io", "CSINode") => storage::csi_node(new, old, &mut errors),
        ("storage.k8s.io", "VolumeAttachment") => storage::attachment(new, old, &mut errors),
        ("storage.k8s.io", "CSIStorageCapacity") => storage::capacity(new, old, &mut errors),
        ("storage.k8s.io", "VolumeAttributesClass") => storage::attributes_class(new, old, &mut errors),
        ("", "ResourceQuota") => quota::quota(new, old, &mut errors),
        ("", "LimitRange") => quota::limit_range(new, &mut errors),
        ("", "ReplicationController") => validate_workload::controller(new, &mut errors),
        ("", "PodTemplate") => validate_pod::template(&new["template"], "template", &mut errors),
        ("apps", "ControllerRevision") => validate_workload::revision(new, old, &mut errors),
        ("", "PersistentVolume") => {
            let before = errors.len();
            storage::volume(new, &mut errors);
            // Both its strategy and the check of the change look at all of it.
            if let Some(old) = old {
                errors.extend_from_within(before..);
                storage::volume_changes(new, old, &mut errors);
            }
        }
        ("", "Endpoints") => network::endpoints(new, &mut errors),
        ("discovery.k8s.io", "EndpointSlice") => network::endpoint_slice(new, old, &mut errors),
        ("networking.k8s.io", "Ingress") => network::ingress(new, &mut errors),
        ("networking.k8s.io", "IngressClass") => network::ingress_class(new, old, &mut errors),
        ("networking.k8s.io", "NetworkPolicy") => network::network_policy(new, &mut errors),
        ("networking.k8s.io", "ServiceCIDR") => network::service_cidr(new, old, &mut errors),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => {
            admission::webhooks(new, false, &mut errors);
        }
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => {
            admission::webhooks(new, true, &mut errors);
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => policy::validating(new, &mut errors),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => policy::mutating(new, &mut errors),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => {
            policy::validating_binding(new, &mut errors);
        }
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => {
            policy::mutating_binding(new, &mut errors);
        }
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flow::flow_schema(new, &mut errors),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => flow::priority_level(new, &mut errors),
        ("node.k8s.io", "RuntimeClass") => runtime_class(new, old, &mut errors),
        ("apiregistration.k8s.io", "APIService") => registration::api_service(new, &mut errors),
        ("coordination.k8s.io", "Lease") => lease(new, &mut errors),
        ("certificates.k8s.io", "CertificateSigningRequest") => signing::request(new, &mut errors),
        _ => {}
    }
    errors
}

fn priority_class(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let name = text(&new["metadata"], "name");
    let system = super::SYSTEM_CLASSES.iter().any(|(class, _)| *class == name);
    if old.is_none() {
        if name.starts_with("system-") && !system {
            let detail = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {name} is not a \
                 known system priority class"
            );
            errors.push(FieldError::forbidden("metadata.name", detail));
        } else if !system && new["value"].as_i64().unwrap_or_default() > 1_000_000_000 {
            let detail = "maximum allowed value of a user defined priority is 1000000000";
            errors.push(FieldError::forbidden("value", detail));
        }
        let policies = ["PreemptLowerPriority", "Never"];
        parts::choice(new, "preemptionPolicy", &policies, "", errors);
    }
    let detail = "may not be changed in an update.";
    immutable::forbidden(new, old, &[("value", detail)], errors);
    if let Some(old) = old {
        let field = "preemptionPolicy";
        immutable::places("scheduling.PriorityClass", &[(field, field)], new, old, errors);
    }
}

fn claim(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    claim_spec(&new["spec"], "spec", errors);
    if let Some(old) = old {
        claim_changes(new, old, errors);
    }
}

/// `ValidatePersistentVolumeClaimUpdate`.
fn claim_changes(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let size = |of: &Value| Quantity::from_value(of).ok();
    let (mut now, mut before) = (new["spec"].clone(), old["spec"].clone());
    let copy = |to: &mut Value, from: &Value, field: &str| {
        if let Value::Object(to) = to {
            match &from[field] {
                Value::Null => drop(to.remove(field)),
                value => drop(to.insert(field.to_owned(), value.clone())),
            }
        }
    };
    // Binding sets the volume; what is bound may grow.
    if text(&before, "volumeName").is_empty() {
        copy(&mut before, &now, "volumeName");
    }
    if before["storageClassName"].is_null() {
        copy(&mut now, &before, "storageClassName");
    }
    if new["status"]["phase"] == "Bound" {
        if now["resources"]["requests"].is_object() {
            copy(
                &mut now["resources"]["requests"],
                &before["resources"]["requests"],
                "storage",
            );
        }
        copy(&mut now, &before, "volumeAttributesClassName");
    }
    if now != before {
        let detail = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
             claims\n{}",
            validate_pod_update::difference("core.PersistentVolumeClaimSpec", &before, &now)
        );
        errors.push(FieldError::forbidden("spec", detail));
    }
    let zero = || Quantity::from_value(&Value::from("0")).ok();
    let storage = |of: &Value| size(&of["storage"]).or_else(zero);
    let asked = storage(&new["spec"]["resources"]["requests"]);
    if asked < storage(&old["spec"]["resources"]["requests"]) && asked <= storage(&old["status"]["capacity"]) {
        let detail = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden("spec.resources.requests.storage", detail));
    }
    let mode = [("spec.volumeMode", "volumeMode")];
    immutable::places("core.PersistentVolumeClaim", &mode, new, old, errors);
}

/// `ValidatePersistentVolumeClaimSpec`.
pub(super) fn claim_spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (modes, at) = (parts::texts(spec, "accessModes"), format!("{path}.accessModes"));
    if modes.is_empty() {
        errors.push(FieldError::required(at.as_str(), "at least 1 access mode is required"));
    }
    parts::label_selector(&spec["selector"], &format!("{path}.selector"), errors);
    access_modes(&modes, &at, errors);
    let requests = &spec["resources"]["requests"];
    let at = format!("{path}.resources");
    match requests.get("storage") {
        None => errors.push(FieldError::required(format!("{at}[storage]"), "")),
        Some(size) if Quantity::from_value(size).is_ok_and(|q| q.is_zero() || q.is_negative()) => {
            let shown = Quantity::from_value(size).map(|q| q.to_string()).unwrap_or_default();
            errors.push(FieldError::invalid(
                format!("{at}[storage]"),
                shown,
                "must be greater than zero",
            ));
        }
        Some(_) => validate_pod::quantities(requests, &at, errors),
    }
    parts::named(spec, "storageClassName", names::dns1123_subdomain, path, errors);
    parts::choice(spec, "volumeMode", &["Block", "Filesystem"], path, errors);
    data_sources(spec, path, errors);
    let class = "volumeAttributesClassName";
    parts::named(spec, class, names::dns1123_subdomain, path, errors);
}

/// What a claim is filled from, said in one way or in two that mean the same.
fn data_sources(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (one, other) = (&spec["dataSource"], &spec["dataSourceRef"]);
    for (field, source) in [("dataSource", one), ("dataSourceRef", other)] {
        if !source.is_object() {
            continue;
        }
        let at = format!("{path}.{field}");
        parts::needed(source, "name", &at, errors);
        parts::needed(source, "kind", &at, errors);
        let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
        if group.is_empty() && kind != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(FieldError::invalid(at.as_str(), kind, detail));
        }
        parts::named(source, "apiGroup", names::dns1123_subdomain, &at, errors);
        if field == "dataSourceRef" {
            parts::label(source, "namespace", &at, errors);
        }
    }
    if !one.is_object() || !other.is_object() {
        return;
    }
    let same = one["apiGroup"] == other["apiGroup"] && ["kind", "name"].iter().all(|f| text(one, f) == text(other, f));
    let detail = if !text(other, "namespace").is_empty() {
        "may not be specified when dataSourceRef.namespace is specified"
    } else if same {
        return;
    } else {
        "must match dataSourceRef"
    };
    errors.push(FieldError::invalid(path, serde_json::json!({}), detail));
}

/// How a volume may be used: the exclusive way by itself.
pub(super) fn access_modes(modes: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    let valid = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    for mode in modes.iter().filter(|m| !valid.contains(m)) {
        errors.push(FieldError::not_supported(path, *mode, &valid));
    }
    if modes.len() > 1 && modes.contains(&"ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(path, detail));
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

/// Checks a map of labels.
pub(super) fn labels(labels: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        for detail in names::qualified_name(key) {
            errors.push(FieldError::invalid(path, key.as_str(), detail));
        }
        let value = value.as_str().unwrap_or_default();
        for detail in names::label_value(value) {
            errors.push(FieldError::invalid(path, value, detail));
        }
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
