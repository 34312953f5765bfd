//! Validation of what containers mount (`ValidateVolumeMounts`, `ValidateVolumeDevices` in Kubernetes).

use super::validate_container::below;
use super::validate_parts::{choice, list, text};
use crate::schema::FieldError;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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
pub(super) fn devices(
    container: &Value,
    spec: &Value,
    volumes: &BTreeSet<&str>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let all = list(container, "volumeDevices");
    if all.is_empty() {
        return;
    }
    let mounted =
        |field: &str| -> BTreeSet<&str> { list(container, "volumeMounts").iter().map(|m| text(m, field)).collect() };
    let (mounted, paths) = (mounted("name"), mounted("mountPath"));
    let mut claimed = BTreeMap::new();
    for volume in list(spec, "volumes") {
        let claims = ["persistentVolumeClaim", "ephemeral"];
        let claims = claims.iter().any(|field| volume[*field].is_object());
        claimed.entry(text(volume, "name")).or_insert(claims);
    }
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in all.iter().enumerate() {
        let path = format!("{path}.volumeDevices[{i}]");
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        let (at_name, at_place) = (format!("{path}.name"), format!("{path}.devicePath"));
        if name.is_empty() {
            errors.push(FieldError::required(at_name.as_str(), ""));
        }
        if names.contains(name) {
            errors.push(FieldError::invalid(at_name.as_str(), name, "must be unique"));
        }
        if !volumes.contains(name) {
            errors.push(FieldError::not_found(at_name.as_str(), name));
        } else if claimed.get(name) != Some(&true) {
            let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
            errors.push(FieldError::invalid(at_name.as_str(), name, detail));
        }
        if place.is_empty() {
            errors.push(FieldError::required(at_place.as_str(), ""));
        }
        if places.contains(place) {
            errors.push(FieldError::invalid(at_place.as_str(), place, "must be unique"));
        }
        if place.split('/').any(|part| part == "..") {
            let detail = "can not contain backsteps ('..')";
            errors.push(FieldError::invalid(at_place.as_str(), place, detail));
        } else {
            places.insert(place);
        }
        if mounted.contains(name) {
            let detail = "must not already exist in volumeMounts";
            errors.push(FieldError::invalid(at_name, name, detail));
        }
        if paths.contains(place) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.push(FieldError::invalid(at_place, place, detail));
        }
        if !name.is_empty() {
            names.insert(name);
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
