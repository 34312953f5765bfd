//! Validation of what is written to `status` (the status strategies' `ValidateUpdate` in Kubernetes).

use super::conditions::{conditions, typed};
use super::text;
use crate::defaults::validate_parts::{by_rule, ip, join, list, number};
use crate::defaults::{names, resource_name, validate_pod_resize, validate_pod_update};
use crate::schema::FieldError;
use cfn_cel::quantity::Quantity;
use serde_json::Value;
use std::net::IpAddr;

/// Checks what a client writes to a subresource of an object of a built-in kind. Kinds that are not known here pass.
pub fn validate_subresource(
    (group, kind): (&str, &str),
    subresource: &str,
    old: &Value,
    new: &Value,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match subresource {
        "resize" => {
            validate_pod_resize::resize(new, old, &mut errors);
            return errors;
        }
        "ephemeralcontainers" => {
            validate_pod_update::ephemeral(new, old, &mut errors);
            return errors;
        }
        "finalize" => {
            super::node::finalizers(new, &mut errors);
            return errors;
        }
        "status" | "approval" => {}
        _ => return errors,
    }
    let (was, status) = (&old["status"], &new["status"]);
    match (group, kind) {
        ("", "Service") => super::service::balancer_status(new, &mut errors),
        ("", "Pod") => super::pod_status::pod(old, new, &mut errors),
        ("", "Node") => super::node::changes(new, old, &mut errors),
        ("", "Namespace") => namespace(new, &mut errors),
        ("", "PersistentVolumeClaim") => claim(status, &mut errors),
        ("", "ReplicationController") | ("apps", "ReplicaSet") => replica_set(group, status, &mut errors),
        ("apps", "Deployment") => deployment(was, status, &mut errors),
        ("apps", "StatefulSet") => stateful_set(was, status, &mut errors),
        ("apps", "DaemonSet") => daemon_set(was, status, &mut errors),
        ("batch", "Job") => super::job_status::job(old, new, &mut errors),
        ("", "ResourceQuota") => super::quota::status(status, &mut errors),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema" | "PriorityLevelConfiguration") => typed(status, &mut errors),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => policy(status, &mut errors),
        ("policy", "PodDisruptionBudget") => {
            conditions(status, "status", &mut errors);
            let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
            at_least_zero(status, &counts, &mut errors);
        }
        ("autoscaling", "HorizontalPodAutoscaler") => {
            at_least_zero(status, &["currentReplicas", "desiredReplicas"], &mut errors);
        }
        ("networking.k8s.io", "Ingress") => ingress(status, &mut errors),
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            super::signing::status(old, new, &mut errors);
        }
        ("resource.k8s.io", "ResourceClaim") => super::devices::claim_status(new, &mut errors),
        _ => {}
    }
    errors
}

fn at_least_zero(status: &Value, fields: &[&str], errors: &mut Vec<FieldError>) {
    for field in fields {
        super::nonnegative(status, field, "status", errors);
    }
}

/// Counts that may not be more than another one.
fn at_most(status: &Value, fields: &[&str], most: &str, detail: &str, errors: &mut Vec<FieldError>) {
    for field in fields {
        let count = number(status, field);
        if count > number(status, most) {
            errors.push(FieldError::invalid(format!("status.{field}"), count, detail));
        }
    }
}

/// `validateValidatingAdmissionPolicyStatus`.
fn policy(status: &Value, errors: &mut Vec<FieldError>) {
    for (i, warning) in list(&status["typeChecking"], "expressionWarnings").iter().enumerate() {
        let path = format!("status.typeChecking.expressionWarnings[{i}]");
        for field in ["warning", "fieldRef"] {
            if text(warning, field).trim().is_empty() {
                errors.push(FieldError::required(format!("{path}.{field}"), ""));
            }
        }
    }
    conditions(status, "status", errors);
}

/// What a claim may say that its growing has come to.
const GROWTH: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// `ValidatePersistentVolumeClaimStatusUpdate`.
fn claim(status: &Value, errors: &mut Vec<FieldError>) {
    let entries = |field: &str| status[field].as_object().into_iter().flatten();
    for (name, amount) in entries("capacity") {
        at_least_nought(amount, format!("status.capacity[{name}]"), errors);
    }
    let path = "status.allocatedResourceStatuses";
    for (name, state) in entries("allocatedResourceStatuses") {
        claimed(name, path, errors);
        if !GROWTH.contains(&state.as_str().unwrap_or_default()) {
            errors.push(FieldError::not_supported(path, name.as_str(), &GROWTH));
        }
    }
    let path = "status.allocatedResources";
    for (name, amount) in entries("allocatedResources") {
        if claimed(name, path, errors) {
            at_least_nought(amount, format!("{path}[{name}]"), errors);
        }
    }
}

/// `validatePersistentVolumeClaimResourceKey`: whether a claim can be of it.
fn claimed(name: &str, path: &str, errors: &mut Vec<FieldError>) -> bool {
    let before = errors.len();
    by_rule(name, path.to_owned(), names::qualified_name, errors);
    if errors.len() == before && resource_name::is_native(name) && name != "storage" {
        errors.push(FieldError::not_supported(path, name, &["storage"]));
    }
    errors.len() == before
}

/// `validateBasicResource`.
fn at_least_nought(amount: &Value, path: String, errors: &mut Vec<FieldError>) {
    if let Ok(amount) = Quantity::from_value(amount)
        && amount.value() < 0
    {
        errors.push(FieldError::invalid(
            path,
            amount.value(),
            "must be a valid resource quantity",
        ));
    }
}

const TOO_MANY: &str = "cannot be greater than status.replicas";

/// The count of collisions only grows.
fn collisions(was: &Value, status: &Value, errors: &mut Vec<FieldError>) {
    let field = "collisionCount";
    let Some(before) = was[field].as_i64() else { return };
    if number(status, field) < before {
        errors.push(FieldError::invalid(
            "status.collisionCount",
            number(status, field),
            "cannot be decremented",
        ));
    }
}

fn deployment(was: &Value, status: &Value, errors: &mut Vec<FieldError>) {
    let all = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    at_least_zero(status, &all, errors);
    let counts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
    at_most(status, &counts, "replicas", TOO_MANY, errors);
    let detail = "cannot be greater than readyReplicas";
    at_most(status, &["availableReplicas"], "readyReplicas", detail, errors);
    collisions(was, status, errors);
}

fn replica_set(group: &str, status: &Value, errors: &mut Vec<FieldError>) {
    let counts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    at_least_zero(status, &["replicas"], errors);
    at_least_zero(status, &counts, errors);
    if group == "apps" {
        at_least_zero(status, &["terminatingReplicas"], errors);
    }
    at_least_zero(status, &["observedGeneration"], errors);
    at_most(status, &counts, "replicas", TOO_MANY, errors);
    let detail = "cannot be greater than readyReplicas";
    at_most(status, &["availableReplicas"], "readyReplicas", detail, errors);
}

fn stateful_set(was: &Value, status: &Value, errors: &mut Vec<FieldError>) {
    let counts = [
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
    ];
    at_least_zero(status, &["replicas"], errors);
    at_least_zero(status, &counts, errors);
    at_least_zero(status, &["observedGeneration", "collisionCount"], errors);
    at_most(status, &counts, "replicas", TOO_MANY, errors);
    let detail = "cannot be greater than status.readyReplicas";
    at_most(status, &["availableReplicas"], "readyReplicas", detail, errors);
    collisions(was, status, errors);
}

fn daemon_set(was: &Value, status: &Value, errors: &mut Vec<FieldError>) {
    let all = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    at_least_zero(status, &all, errors);
    collisions(was, status, errors);
}

fn namespace(new: &Value, errors: &mut Vec<FieldError>) {
    let phase = text(&new["status"], "phase");
    let going = !new["metadata"]["deletionTimestamp"].is_null();
    let wrong = match going {
        false if phase != "Active" => "may only be 'Active' if `deletionTimestamp` is empty",
        true if phase != "Terminating" => "may only be 'Terminating' if `deletionTimestamp` is not empty",
        _ => return,
    };
    errors.push(FieldError::invalid("status.Phase", phase, wrong));
}

/// `ValidateIngressLoadBalancerStatus`.
fn ingress(status: &Value, errors: &mut Vec<FieldError>) {
    for (i, point) in list(&status["loadBalancer"], "ingress").iter().enumerate() {
        let path = format!("status.loadBalancer.ingress[{i}]");
        let (address, host) = (text(point, "ip"), text(point, "hostname"));
        if !address.is_empty() {
            ip(address, join(&path, "ip"), errors);
        }
        if !host.is_empty() {
            by_rule(host, join(&path, "hostname"), names::dns1123_subdomain, errors);
            if host.parse::<IpAddr>().is_ok() {
                let detail = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(join(&path, "hostname"), host, detail));
            }
        }
    }
}
