//! Validation of pods' volumes and mounts (`ValidateVolumes`, `ValidateVolumeMounts` in Kubernetes).

use super::names;
use super::validate_container::{below, no_steps_back, resource_field, subscript};
use super::validate_parts::{by_rule, choice, list, needed, text, texts, within};
use crate::schema::FieldError;
use cfn_cel::quantity::Quantity;
use serde_json::Value;

/// What a volume is made from.
pub(super) fn source(volume: &Value, kind: &str, path: &str, errors: &mut Vec<FieldError>) {
    let source = &volume[kind];
    let path = &format!("{path}.{kind}");
    match kind {
        "emptyDir" if Quantity::from_value(&source["sizeLimit"]).is_ok_and(|q| q.is_negative()) => {
            let detail = "SizeLimit field must be a valid resource quantity";
            errors.push(FieldError::forbidden(format!("{path}.sizeLimit"), detail));
        }
        "hostPath" => host_path(source, path, errors),
        "gitRepo" => drop(needed(source, "repository", path, errors)),
        "secret" => {
            needed(source, "secretName", path, errors);
            mode(source, "defaultMode", path, errors);
            keys(source, path, errors);
        }
        "configMap" => {
            needed(source, "name", path, errors);
            mode(source, "defaultMode", path, errors);
            keys(source, path, errors);
        }
        "nfs" => {
            needed(source, "server", path, errors);
            if needed(source, "path", path, errors) && !text(source, "path").starts_with('/') {
                let detail = "must be an absolute path";
                errors.push(FieldError::invalid(
                    format!("{path}.path"),
                    text(source, "path"),
                    detail,
                ));
            }
        }
        "persistentVolumeClaim" => drop(needed(source, "claimName", path, errors)),
        "image" => {
            needed(source, "reference", path, errors);
            choice(source, "pullPolicy", &["Always", "IfNotPresent", "Never"], path, errors);
        }
        "iscsi" => iscsi(source, path, errors),
        "fc" => fibre(source, path, errors),
        "csi" => {
            needed(source, "driver", path, errors);
        }
        "downwardAPI" => {
            mode(source, "defaultMode", path, errors);
            for item in list(source, "items") {
                downward(item, path, errors);
            }
        }
        "projected" => projected(source, path, errors),
        "ephemeral" => {
            let template = &source["volumeClaimTemplate"];
            let path = format!("{path}.volumeClaimTemplate");
            if template.is_object() {
                super::validate::claim_spec(&template["spec"], &format!("{path}.spec"), errors);
            } else {
                errors.push(FieldError::required(path, ""));
            }
        }
        _ => {}
    }
}

fn host_path(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !needed(source, "path", path, errors) {
        return;
    }
    no_steps_back(text(source, "path"), &format!("{path}.path"), errors);
    let valid = [
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    choice(source, "type", &valid, path, errors);
}

fn iscsi(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    needed(source, "targetPortal", path, errors);
    let iqn = text(source, "iqn");
    if needed(source, "iqn", path, errors) && !["iqn", "eui", "naa"].iter().any(|start| iqn.starts_with(start)) {
        let detail = "must be valid format starting with iqn, eui, or naa";
        errors.push(FieldError::invalid(format!("{path}.iqn"), iqn, detail));
    }
    within(source, "lun", (0, 255), path, errors);
}

fn fibre(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let detail = "must specify either targetWWNs or wwids, but not both";
    match (
        texts(source, "targetWWNs").is_empty(),
        texts(source, "wwids").is_empty(),
    ) {
        (true, true) => errors.push(FieldError::required(format!("{path}.targetWWNs"), detail)),
        (false, false) => errors.push(FieldError::invalid(
            format!("{path}.targetWWNs"),
            source["targetWWNs"].clone(),
            detail,
        )),
        (false, true) if source["lun"].is_null() => {
            let detail = "lun is required if targetWWNs is specified";
            errors.push(FieldError::required(format!("{path}.lun"), detail));
        }
        _ => {}
    }
}

/// A file's mode, if given.
fn mode(object: &Value, field: &str, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(mode) = object[field].as_i64().filter(|m| !(0..=0o777).contains(m)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(format!("{path}.{field}"), mode, detail));
    }
}

/// `validateKeyToPath` of each item.
fn keys(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, item) in list(source, "items").iter().enumerate() {
        let path = format!("{path}.items[{i}]");
        needed(item, "key", &path, errors);
        if needed(item, "path", &path, errors) {
            below(text(item, "path"), &format!("{path}.path"), errors);
        }
        mode(item, "mode", &path, errors);
    }
}

/// `validateDownwardAPIVolumeFile`.
fn downward(item: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let name = text(item, "path");
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.path"), ""));
    }
    below(name, &format!("{path}.path"), errors);
    let (field, resource) = (&item["fieldRef"], &item["resourceFieldRef"]);
    if field.is_object() {
        let at = format!("{path}.fieldRef");
        let valid = [
            "metadata.annotations",
            "metadata.labels",
            "metadata.name",
            "metadata.namespace",
            "metadata.uid",
        ];
        let name = text(field, "fieldPath");
        match subscript(name) {
            Some(("metadata.labels" | "metadata.annotations", key)) => {
                by_rule(key, at, names::qualified_name, errors);
            }
            _ if name.is_empty() => errors.push(FieldError::required(format!("{at}.fieldPath"), "")),
            _ if valid.contains(&name) => {}
            _ => errors.push(FieldError::not_supported(format!("{at}.fieldPath"), name, &valid)),
        }
        if resource.is_object() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", detail));
        }
    } else if resource.is_object() {
        resource_field(resource, true, &format!("{path}.resourceFieldRef"), errors);
    } else {
        let detail = "one of fieldRef and resourceFieldRef is required";
        errors.push(FieldError::required(path, detail));
    }
    mode(item, "mode", path, errors);
}

fn projected(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    mode(source, "defaultMode", path, errors);
    let mut seen: Vec<&str> = Vec::new();
    for (i, projection) in list(source, "sources").iter().enumerate() {
        let at = format!("{path}.sources[{i}]");
        let mut count = 0;
        for kind in [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ] {
            let part = &projection[kind];
            if !part.is_object() {
                continue;
            }
            if count > 0 {
                let detail = "may not specify more than 1 volume type per source";
                errors.push(FieldError::forbidden(at.as_str(), detail));
            }
            count += 1;
            let at = format!("{at}.{kind}");
            match kind {
                "secret" | "configMap" => {
                    needed(part, "name", &at, errors);
                    keys(part, &at, errors);
                }
                "downwardAPI" => list(part, "items").iter().for_each(|item| downward(item, &at, errors)),
                "serviceAccountToken" => token(part, &at, path, errors),
                _ => {}
            }
            let own = Some(text(part, "path")).filter(|_| kind == "serviceAccountToken");
            let paths = list(part, "items").iter().map(|item| text(item, "path")).chain(own);
            for name in paths.filter(|p| !p.is_empty()) {
                if seen.contains(&name) {
                    let shown = match kind {
                        "secret" | "configMap" => text(part, "name"),
                        _ => name,
                    };
                    errors.push(FieldError::invalid(path, shown, "conflicting duplicate paths"));
                }
                seen.push(name);
            }
        }
        if count == 0 {
            let detail = "must specify exactly one volume type";
            errors.push(FieldError::required(at, detail));
        }
    }
}

fn token(token: &Value, at: &str, path: &str, errors: &mut Vec<FieldError>) {
    let seconds = token["expirationSeconds"].as_i64().unwrap_or(3600);
    let detail = if seconds < 600 {
        "may not specify a duration less than 10 minutes"
    } else if seconds > 1 << 32 {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        ""
    };
    if !detail.is_empty() {
        errors.push(FieldError::invalid(format!("{at}.expirationSeconds"), seconds, detail));
    }
    if text(token, "path").is_empty() {
        errors.push(FieldError::required(format!("{path}.path"), ""));
    } else {
        below(text(token, "path"), &format!("{path}.path"), errors);
    }
}

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
