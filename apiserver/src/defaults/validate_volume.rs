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

/// `ValidateVolumeDevices`: of the volumes that are right, those that are claimed.
pub(super) fn devices(container: &Value, spec: &Value, volumes: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    let mounts = list(container, "volumeMounts");
    let (mut names, mut places): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (i, device) in list(container, "volumeDevices").iter().enumerate() {
        let path = format!("{path}.volumeDevices[{i}]");
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        let (at_name, at_place) = (format!("{path}.name"), format!("{path}.devicePath"));
        let claimed = list(spec, "volumes")
            .iter()
            .find(|v| text(v, "name") == name)
            .is_some_and(|v| v["persistentVolumeClaim"].is_object() || v["ephemeral"].is_object());
        if name.is_empty() {
            errors.push(FieldError::required(at_name.as_str(), ""));
        }
        if names.contains(&name) {
            errors.push(FieldError::invalid(at_name.as_str(), name, "must be unique"));
        }
        if !volumes.contains(&name) {
            errors.push(FieldError::not_found(at_name.as_str(), name));
        } else if !claimed {
            let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
            errors.push(FieldError::invalid(at_name.as_str(), name, detail));
        }
        if place.is_empty() {
            errors.push(FieldError::required(at_place.as_str(), ""));
        }
        if places.contains(&place) {
            errors.push(FieldError::invalid(at_place.as_str(), place, "must be unique"));
        }
        if place.split('/').any(|part| part == "..") {
            let detail = "can not contain backsteps ('..')";
            errors.push(FieldError::invalid(at_place.as_str(), place, detail));
        } else {
            places.push(place);
        }
        if mounts.iter().any(|m| text(m, "name") == name) {
            let detail = "must not already exist in volumeMounts";
            errors.push(FieldError::invalid(at_name, name, detail));
        }
        if mounts.iter().any(|m| text(m, "mountPath") == place) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.push(FieldError::invalid(at_place, place, detail));
        }
        if !name.is_empty() {
            names.push(name);
        }
    }
}

/// `validateFileKeyRefVolumes`: files that variables are read from are in empty directories of the pod.
pub(super) fn files_of_variables(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for which in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in list(spec, which).iter().enumerate() {
            for (j, variable) in list(container, "env").iter().enumerate() {
                let file = &variable["valueFrom"]["fileKeyRef"];
                if !file.is_object() {
                    continue;
                }
                let (name, at) = (
                    text(file, "volumeName"),
                    format!("{path}.{which}[{i}].env[{j}].valueFrom.fileKeyRef.volumeName"),
                );
                // The last one of a name counts.
                match list(spec, "volumes").iter().rfind(|v| text(v, "name") == name) {
                    None => errors.push(FieldError::not_found(at, name)),
                    Some(volume) if !volume["emptyDir"].is_object() => {
                        let detail = "referenced volume must be of type emptyDir";
                        errors.push(FieldError::invalid(at, name, detail));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}
