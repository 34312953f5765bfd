//! Validation of what containers mount (`ValidateVolumeMounts`, `ValidateVolumeDevices` in Kubernetes).

use super::validate_container::below;
use super::validate_parts::{choice, list, text};
use crate::schema::FieldError;
use serde_json::Value;

/// What a mount says besides its volume and place.
pub(super) fn mount(mount: &Value, container: &Value, all: &str, path: &str, errors: &mut Vec<FieldError>) {
    let sub = text(mount, "subPath");
    if !sub.is_empty() {
        below(sub, &format!("{all}.subPath"), errors);
    }
    let expression = text(mount, "subPathExpr");
    if !expression.is_empty() {
        if !sub.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(format!("{path}.subPathExpr"), expression, detail));
        }
        below(expression, &format!("{all}.subPathExpr"), errors);
    }
    let propagation = text(mount, "mountPropagation");
    choice(
        mount,
        "mountPropagation",
        &["Bidirectional", "HostToContainer", "None"],
        all,
        errors,
    );
    if propagation == "Bidirectional" && container["securityContext"]["privileged"] != true {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(format!("{all}.mountPropagation"), detail));
    }
    let recursive = format!("{all}.recursiveReadOnly");
    match text(mount, "recursiveReadOnly") {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" if mount["readOnly"] != true => {
            errors.push(FieldError::forbidden(
                recursive,
                "may only be specified when readOnly is true",
            ));
        }
        "Enabled" | "IfPossible" => {
            if !matches!(propagation, "" | "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(recursive, detail));
            }
        }
        other => {
            let valid = ["Disabled", "Enabled", "IfPossible"];
            errors.push(FieldError::not_supported(recursive, other, &valid));
        }
    }
}

/// `ValidateVolumeDevices`.
pub(super) fn devices(container: &Value, volumes: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    for (i, device) in list(container, "volumeDevices").iter().enumerate() {
        let path = format!("{path}.volumeDevices[{i}]");
        match text(device, "name") {
            "" => errors.push(FieldError::required(format!("{path}.name"), "")),
            name if !volumes.contains(&name) => errors.push(FieldError::not_found(format!("{path}.name"), name)),
            _ => {}
        }
        let place = text(device, "devicePath");
        if place.is_empty() {
            errors.push(FieldError::required(format!("{path}.devicePath"), ""));
        } else if place.split('/').any(|part| part == "..") {
            let detail = "can not contain backsteps ('..')";
            errors.push(FieldError::invalid(format!("{path}.devicePath"), place, detail));
        }
    }
}
