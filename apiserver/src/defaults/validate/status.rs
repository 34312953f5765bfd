//! Validation of what is written to `status` (the status strategies' `ValidateUpdate` in Kubernetes).

use super::text;
use crate::defaults::validate_parts::{NO_IP, by_rule, ip, join, list};
use crate::defaults::{names, validate_pod, validate_pod_resize, validate_pod_update};
use crate::schema::{FieldError, FieldErrorKind};
use serde_json::{Value, json};
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
        "status" | "approval" => {}
        _ => return errors,
    }
    let (was, status) = (&old["status"], &new["status"]);
    match (group, kind) {
        ("", "Service") => super::service::balancer_status(new, &mut errors),
        ("", "Pod") => pod(old, new, &mut errors),
        ("", "Node") => super::node::changes(new, old, &mut errors),
        ("", "Namespace") => namespace(new, &mut errors),
        ("", "ReplicationController") | ("apps", "ReplicaSet") => replica_set(group, status, &mut errors),
        ("apps", "Deployment") => deployment(was, status, &mut errors),
        ("apps", "StatefulSet") => stateful_set(was, status, &mut errors),
        ("apps", "DaemonSet") => daemon_set(was, status, &mut errors),
        ("batch", "Job") => job(old, new, &mut errors),
        ("policy", "PodDisruptionBudget") => {
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

fn number(status: &Value, field: &str) -> i64 {
    status[field].as_i64().unwrap_or_default()
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

const TOO_MANY: &str = "cannot be greater than status.replicas";

/// The count of collisions only grows.
fn collisions(was: &Value, status: &Value, errors: &mut Vec<FieldError>) {
    let field = "collisionCount";
    let Some(before) = was[field].as_i64() else { return };
    if number(status, field) < before {
        let value = status.get(field).cloned().unwrap_or_default();
        errors.push(FieldError::invalid(
            "status.collisionCount",
            value,
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

fn has(status: &Value, condition: &str) -> bool {
    list(status, "conditions")
        .iter()
        .any(|c| c["type"] == condition && c["status"] == "True")
}

/// `validateJobStatus`, `ValidateJobUpdateStatus`: what is asked only of a job that comes to its end now is not asked
/// of one that had ended.
fn job(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let (was, status) = (&old["status"], &new["status"]);
    at_least_zero(
        status,
        &["active", "succeeded", "failed", "ready", "terminating"],
        errors,
    );
    for side in ["succeeded", "failed"] {
        let pods = list(&status["uncountedTerminatedPods"], side);
        for (i, uid) in pods.iter().enumerate() {
            let path = format!("status.uncountedTerminatedPods.{side}[{i}]");
            if uid == "" {
                errors.push(FieldError::invalid(path, "", "must not be empty"));
            } else if pods[..i].contains(uid) {
                errors.push(FieldError::duplicate(path, uid.clone()));
            }
        }
    }
    let conditions = |detail: String| FieldError {
        path: "status.conditions".to_owned(),
        kind: FieldErrorKind::Invalid,
        value: None,
        detail,
    };
    let turned = |condition: &str| has(status, condition) && !has(was, condition);
    let (complete, failed) = (has(status, "Complete"), has(status, "Failed"));
    for other in ["Failed", "FailureTarget"] {
        if complete && has(status, other) && (turned("Complete") || turned(other)) {
            errors.push(conditions(format!(
                "cannot set Complete=True and {other}=true conditions"
            )));
        }
    }
    let ended = &status["completionTime"];
    if !ended.is_null() && !complete && *ended != was["completionTime"] {
        let detail = "completionTime can only be set for Complete jobs";
        errors.push(FieldError::invalid("status.completionTime", ended.clone(), detail));
    }
    if ended.is_null() && turned("Complete") {
        let detail = "completionTime is required for Complete jobs";
        errors.push(FieldError::required("status.completionTime", detail));
    }
    let time = |v: &Value| v.as_str()?.parse::<jiff::Timestamp>().ok();
    if let (Some(start), Some(end)) = (time(&status["startTime"]), time(ended))
        && end < start
        && (was["startTime"] != status["startTime"] || was["completionTime"] != *ended)
    {
        let detail = "completionTime cannot be set before startTime";
        errors.push(FieldError::invalid("status.completionTime", ended.clone(), detail));
    }
    for (end, before) in [("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")] {
        if turned(end) && !has(status, before) {
            let detail = format!("cannot set {end}=True condition without the {before}=true condition");
            errors.push(conditions(detail));
        }
    }
    let finished = (complete || failed) && (turned("Complete") || turned("Failed"));
    if finished && number(status, "active") > 0 {
        let detail = "active>0 is invalid for finished job";
        errors.push(FieldError::invalid("status.active", number(status, "active"), detail));
    }
    if finished && status["startTime"].is_null() {
        let detail = "startTime is required for finished job";
        errors.push(FieldError::required("status.startTime", detail));
    }
    if failed && has(status, "SuccessCriteriaMet") && (turned("Failed") || turned("SuccessCriteriaMet")) {
        let detail = "cannot set Failed=True and SuccessCriteriaMet=true conditions";
        errors.push(conditions(detail.to_owned()));
    }
    for end in ["Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"] {
        if has(was, end) && !has(status, end) {
            let what = match end {
                "Failed" | "Complete" => "terminal ",
                _ => "",
            };
            errors.push(conditions(format!("cannot disable the {what}{end}=True condition")));
        }
    }
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

/// `ValidatePodStatusUpdate`.
fn pod(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let (was, status) = (&old["status"], &new["status"]);
    let nominated = text(status, "nominatedNodeName");
    if !nominated.is_empty() {
        by_rule(
            nominated,
            "status.nominatedNodeName".to_owned(),
            names::dns1123_subdomain,
            errors,
        );
    }
    if was["qosClass"] != status["qosClass"] && !was["qosClass"].is_null() {
        let value = status.get("qosClass").cloned().unwrap_or_else(|| "".into());
        errors.push(FieldError::invalid("status.qosClass", value, "field is immutable"));
    }
    // The first address stands for the list where there is none.
    let first = status["podIP"].as_str();
    let all: Vec<&str> = match list(status, "podIPs") {
        [] => first.into_iter().collect(),
        list => list.iter().map(|a| text(a, "ip")).collect(),
    };
    addresses(&all, "status.podIPs", errors);
    let hosts: Vec<&str> = list(status, "hostIPs").iter().map(|a| text(a, "ip")).collect();
    addresses(&hosts, "status.hostIPs", errors);
    for field in ["requests", "limits"] {
        validate_pod::quantities(
            &status["resources"][field],
            &format!("status.resources.{field}"),
            errors,
        );
    }
}

/// Addresses of one or two families.
fn addresses(all: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    let read: Vec<Option<IpAddr>> = all.iter().map(|a| a.parse().ok()).collect();
    for (i, address) in all.iter().enumerate().filter(|(i, _)| read[*i].is_none()) {
        errors.push(FieldError::invalid(format!("{path}[{i}]"), *address, NO_IP));
    }
    if all.len() < 2 || read.contains(&None) {
        return;
    }
    let six = read.iter().flatten().filter(|a| a.is_ipv6()).count();
    if six > 1 || all.len() - six > 1 {
        // As Go's internal type has it.
        let shown: Vec<Value> = all.iter().map(|a| json!({"IP": a})).collect();
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(path, Value::Array(shown), detail));
        for (i, address) in all.iter().enumerate().filter(|(i, a)| all[..*i].contains(a)) {
            errors.push(FieldError::duplicate(format!("{path}[{i}]"), *address));
        }
    }
}
