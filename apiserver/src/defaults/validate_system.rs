//! Validation of what pods ask of the system of their node (`pkg/apis/core/validation/validation.go` in Kubernetes).

use super::validate_parts::{list, text};
use crate::schema::FieldError;
use serde_json::Value;
use std::collections::BTreeSet;

/// `ValidatePodSecurityContext`: names of kernel parameters.
pub(super) fn sysctls(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let context = &spec["securityContext"];
    let segment = |s: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        edge(s.chars().next()) && edge(s.chars().last()) && s.chars().all(inner)
    };
    let mut seen = BTreeSet::new();
    for (i, s) in list(context, "sysctls").iter().enumerate() {
        let (name, at) = (text(s, "name"), format!("{path}.sysctls[{i}].name"));
        if name.is_empty() {
            errors.push(FieldError::required(at.as_str(), ""));
        } else if name.len() > 253 || !name.split(['.', '/']).all(segment) {
            let detail = "must have at most 253 characters and match regex \
                ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.push(FieldError::invalid(at.as_str(), name, detail));
        } else if seen.contains(&name) {
            errors.push(FieldError::duplicate(at.as_str(), name));
        }
        let shared = |field: &str| spec[field] == true;
        for (of, start, field) in [
            (
                name.starts_with("kernel.shm") || name.starts_with("kernel.msg"),
                "hostIPC",
                "hostIPC",
            ),
            (
                name == "kernel.sem" || name.starts_with("fs.mqueue."),
                "hostIPC",
                "hostIPC",
            ),
            (name.starts_with("net."), "hostNetwork", "hostNetwork"),
        ] {
            if of && shared(field) {
                let detail = format!("may not be specified when '{start}' is true");
                errors.push(FieldError::invalid(format!("{path}.sysctls[{i}].name"), name, detail));
            }
        }
        seen.insert(name);
    }
}

/// The system a pod is for, and what it may not ask of that.
pub(super) fn system(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match text(&spec["os"], "name") {
        "" if spec["os"].is_object() => errors.push(FieldError::required(format!("{path}.os.name"), "")),
        "" | "linux" => {}
        "windows" => {
            for field in ["hostPID", "hostIPC"] {
                if spec[field] == true {
                    let detail = "cannot be set for a windows pod";
                    errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
                }
            }
            for field in [
                "appArmorProfile",
                "seLinuxOptions",
                "seccompProfile",
                "fsGroup",
                "fsGroupChangePolicy",
                "sysctls",
                "runAsUser",
                "runAsGroup",
                "supplementalGroups",
                "supplementalGroupsPolicy",
            ] {
                if !spec["securityContext"][field].is_null() {
                    let at = format!("{path}.securityContext.{field}");
                    errors.push(FieldError::forbidden(at, "cannot be set for a windows pod"));
                }
            }
        }
        other => errors.push(FieldError::not_supported(
            format!("{path}.os"),
            other,
            &["linux", "windows"],
        )),
    }
}

/// `validatePodHostNetworkDeps`: a pod's ports are its host's, which a template need not say yet.
pub(super) fn on_host_network(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if spec["hostNetwork"] != true {
        return;
    }
    for (i, container) in list(spec, "containers").iter().enumerate() {
        for (j, port) in list(container, "ports").iter().enumerate() {
            let number = |field: &str| port[field].as_i64().unwrap_or_default();
            let (host, own) = (number("hostPort"), number("containerPort"));
            if (path == "spec" || host != 0) && host != own {
                errors.push(FieldError::invalid(
                    format!("{path}.containers[{i}].ports[{j}].hostPort"),
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                ));
            }
        }
    }
}

/// `validateHostUsers`: what a pod with users of its own may not share with its host.
pub(super) fn own_users(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if spec["hostUsers"] != false {
        return;
    }
    let detail = "when `hostUsers` is false";
    // Upstream calls them so.
    for (field, called) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if spec[field] == true {
            errors.push(FieldError::forbidden(format!("{path}.{called}"), detail));
        }
    }
    for which in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in list(spec, which).iter().enumerate() {
            if !list(container, "volumeDevices").is_empty() {
                errors.push(FieldError::forbidden(
                    format!("{path}.{which}[{i}].volumeDevices"),
                    detail,
                ));
            }
        }
    }
}
