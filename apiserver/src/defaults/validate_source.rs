//! Validation of what volumes are made from, those of pods and those that persist (`validateVolumeSource`,
//! `ValidatePersistentVolumeSpec` in Kubernetes).

use super::names;
use super::validate_container::below;
use super::validate_parts::{by_rule, choice, label, list, needed, reference, text, texts, within};
use super::validate_projection::{downward, keys, mode, projected};
use crate::schema::{FieldError, quote};
use cfn_cel::quantity::Quantity;
use regex::Regex;
use serde_json::Value;
use std::sync::LazyLock;

/// What a pod's volume may be made from, in the order it is checked in.
const OF_PODS: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// What a persistent volume may be made from, in the order it is checked in.
const PERSISTENT: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// What the volume of a pod is made from, or that of a template, of which no pod is made yet.
/// `owner` is the pod's name, empty for a template.
pub(super) fn of_pod(volume: &Value, template: bool, owner: &str, path: &str, errors: &mut Vec<FieldError>) {
    one(&OF_PODS, volume, path, errors, |kind, errors| match kind {
        // Its image may be filled in later.
        "image" if template => {
            let policies = ["Always", "IfNotPresent", "Never"];
            choice(
                &volume[kind],
                "pullPolicy",
                &policies,
                &format!("{path}.{kind}"),
                errors,
            );
        }
        "ephemeral" => {
            source(volume, kind, path, errors);
            let name = text(volume, "name");
            let claim = format!("{owner}-{name}");
            for wrong in names::dns1123_subdomain(&claim) {
                if !owner.is_empty() && !name.is_empty() {
                    let detail = format!("PVC name {}: {wrong}", quote(&claim));
                    errors.push(FieldError::invalid(format!("{path}.name"), name, detail));
                }
            }
        }
        _ => source(volume, kind, path, errors),
    });
}

/// What a persistent volume of this name is made from.
pub(super) fn of_volume(spec: &Value, name: &str, path: &str, errors: &mut Vec<FieldError>) {
    one(&PERSISTENT, spec, path, errors, |kind, errors| {
        let (part, at) = (&spec[kind], format!("{path}.{kind}"));
        match kind {
            "iscsi" => iscsi(part, Some(name), &at, errors),
            "csi" => {
                driver(text(part, "driver"), format!("{at}.driver"), errors);
                needed(part, "volumeHandle", &at, errors);
                for field in [
                    "controllerPublishSecretRef",
                    "controllerExpandSecretRef",
                    "nodePublishSecretRef",
                    "nodeExpandSecretRef",
                ] {
                    secret(&part[field], &format!("{at}.{field}"), errors);
                }
            }
            "local" => {
                if needed(part, "path", &at, errors) {
                    super::validate_container::no_steps_back(text(part, "path"), &format!("{at}.path"), errors);
                }
                if !spec["nodeAffinity"].is_object() {
                    let detail = "Local volume requires node affinity";
                    errors.push(FieldError::required(format!("{path}.nodeAffinity"), detail));
                }
            }
            "glusterfs" => {
                source(spec, kind, path, errors);
                if let Some(namespace) = part["endpointsNamespace"].as_str() {
                    let at = format!("{at}.endpointsNamespace");
                    if namespace.is_empty() {
                        let detail = "if the endpointnamespace is set, it must be a valid namespace name";
                        errors.push(FieldError::invalid(at, "", detail));
                    } else {
                        by_rule(namespace, at, names::dns1123_label, errors);
                    }
                }
            }
            "azureFile" => {
                source(spec, kind, path, errors);
                if part["secretNamespace"] == "" {
                    errors.push(FieldError::required(format!("{at}.secretNamespace"), ""));
                }
            }
            "cinder" | "storageos" => {
                source(spec, kind, path, errors);
                if part["secretRef"].is_object() {
                    needed(&part["secretRef"], "namespace", &format!("{at}.secretRef"), errors);
                }
            }
            _ => source(spec, kind, path, errors),
        }
    });
    let root = text(&spec["hostPath"], "path")
        .split('/')
        .all(|part| part.is_empty() || part == ".");
    let absolute = text(&spec["hostPath"], "path").starts_with('/');
    if root && absolute && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(
            format!("{path}.persistentVolumeReclaimPolicy"),
            detail,
        ));
    }
}

/// One source of those there are: the first is checked, others are too many.
fn one(
    kinds: &[&'static str],
    volume: &Value,
    path: &str,
    errors: &mut Vec<FieldError>,
    mut check: impl FnMut(&'static str, &mut Vec<FieldError>),
) {
    let mut some = false;
    for kind in kinds.iter().filter(|kind| volume[**kind].is_object()) {
        // A persistent one by a plugin is checked beside others.
        if some && !(*kind == "flexVolume" && kinds.len() == PERSISTENT.len()) {
            let told = match *kind {
                "cephfs" => "cephFS",
                // As it is spelled there.
                "downwardAPI" => "downwarAPI",
                kind => kind,
            };
            let detail = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(format!("{path}.{told}"), detail));
            continue;
        }
        some = true;
        check(kind, errors);
    }
    if !some {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

/// What must be there of a source that needs no more than some of its fields.
fn fields(kind: &str) -> &'static [&'static str] {
    match kind {
        "persistentVolumeClaim" => &["claimName"],
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" | "cinder" | "portworxVolume" => &["volumeID"],
        "glusterfs" => &["endpoints", "path"],
        "azureFile" => &["secretName", "shareName"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        "flexVolume" => &["driver"],
        "image" => &["reference"],
        _ => &[],
    }
}

fn source(volume: &Value, kind: &str, path: &str, errors: &mut Vec<FieldError>) {
    let source = &volume[kind];
    let path = &match kind {
        "gcePersistentDisk" => format!("{path}.persistentDisk"),
        _ => format!("{path}.{kind}"),
    };
    for field in fields(kind) {
        needed(source, field, path, errors);
    }
    match kind {
        "emptyDir" if Quantity::from_value(&source["sizeLimit"]).is_ok_and(|q| q.is_negative()) => {
            let detail = "SizeLimit field must be a valid resource quantity";
            errors.push(FieldError::forbidden(format!("{path}.sizeLimit"), detail));
        }
        "hostPath" => host_path(source, path, errors),
        "gitRepo" => {
            needed(source, "repository", path, errors);
            below(text(source, "directory"), &format!("{path}.directory"), errors);
        }
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            if let Some(number) = source["partition"].as_i64().filter(|n| !(0..=255).contains(n)) {
                let detail = "must be between 1 and 255, inclusive";
                errors.push(FieldError::invalid(format!("{path}.partition"), number, detail));
            }
        }
        "secret" | "configMap" => {
            let name = if kind == "secret" { "secretName" } else { "name" };
            needed(source, name, path, errors);
            mode(source, "defaultMode", path, errors);
            keys(source, path, errors);
        }
        "nfs" => {
            needed(source, "server", path, errors);
            needed(source, "path", path, errors);
            let place = text(source, "path");
            if !place.starts_with('/') {
                let detail = "must be an absolute path";
                errors.push(FieldError::invalid(format!("{path}.path"), place, detail));
            }
        }
        "image" => choice(source, "pullPolicy", &["Always", "IfNotPresent", "Never"], path, errors),
        "iscsi" => iscsi(source, None, path, errors),
        "fc" => fibre(source, path, errors),
        "rbd" | "cephfs" => {
            if list(source, "monitors").is_empty() {
                errors.push(FieldError::required(format!("{path}.monitors"), ""));
            }
            if kind == "rbd" {
                needed(source, "image", path, errors);
            }
        }
        "flocker" => flocker(source, path, errors),
        "quobyte" => quobyte(source, path, errors),
        "flexVolume" => options(source, path, errors),
        "azureDisk" => azure_disk(source, path, errors),
        "cinder" => reference(&source["secretRef"], &format!("{path}.secretRef"), errors),
        "storageos" => {
            if needed(source, "volumeName", path, errors) {
                label(source, "volumeName", path, errors);
            }
            label(source, "volumeNamespace", path, errors);
            reference(&source["secretRef"], &format!("{path}.secretRef"), errors);
        }
        "csi" => {
            driver(text(source, "driver"), format!("{path}.driver"), errors);
            let secret = &source["nodePublishSecretRef"];
            if secret.is_object() && needed(secret, "name", &format!("{path}.nodePublishSecretRef"), errors) {
                let name = text(secret, "name");
                by_rule(name, format!("{path}.name"), names::dns1123_subdomain, errors);
            }
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
                claim_metadata(&template["metadata"], &format!("{path}.metadata"), errors);
                super::validate::claim_spec(&template["spec"], &format!("{path}.spec"), errors);
            } else {
                errors.push(FieldError::required(path, ""));
            }
        }
        _ => {}
    }
}

/// `ValidateTemplateObjectMeta`: labels and annotations alone; the rest is the claim's own.
fn claim_metadata(metadata: &Value, path: &str, errors: &mut Vec<FieldError>) {
    super::validate::annotations(&metadata["annotations"], &format!("{path}.annotations"), errors);
    super::validate::labels(&metadata["labels"], &format!("{path}.labels"), errors);
    for (field, told) in [
        ("name", "name"),
        ("generateName", "generateName"),
        ("namespace", "namespace"),
        ("selfLink", "selfLink"),
        ("uid", "uID"),
        ("resourceVersion", "resourceVersion"),
        ("generation", "generation"),
        ("creationTimestamp", "creationTimestamp"),
        ("deletionTimestamp", "deletionTimestamp"),
        ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
        ("ownerReferences", "ownerReferences"),
        ("finalizers", "finalizers"),
        ("managedFields", "managedFields"),
    ] {
        let value = &metadata[field];
        let held = matches!(
            field,
            "name" | "generateName" | "namespace" | "selfLink" | "uid" | "resourceVersion"
        );
        let unset = value.is_null() || held && *value == "" || field == "generation" && *value == 0;
        if !unset {
            errors.push(FieldError::forbidden(format!("{path}.{told}"), "cannot be set"));
        }
    }
}

/// `ValidateCSIDriverName`.
pub(super) fn driver(name: &str, path: String, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if name.len() > 63 {
        errors.push(FieldError::too_long(path.as_str(), 63));
    }
    for detail in names::dns1123_subdomain(&name.to_lowercase()) {
        errors.push(FieldError::invalid(path.as_str(), name, detail));
    }
}

/// `validatePVSecretReference`.
fn secret(of: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !of.is_object() {
        return;
    }
    if needed(of, "name", path, errors) {
        by_rule(
            text(of, "name"),
            format!("{path}.name"),
            names::dns1123_subdomain,
            errors,
        );
    }
    if needed(of, "namespace", path, errors) {
        label(of, "namespace", path, errors);
    }
}

fn host_path(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !needed(source, "path", path, errors) {
        return;
    }
    super::validate_container::no_steps_back(text(source, "path"), &format!("{path}.path"), errors);
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

/// What is wrong with the name of an initiator or a target: how it starts, or how it goes on.
fn qualified(name: &str) -> Option<&'static str> {
    static RULES: LazyLock<Vec<(&str, Option<Regex>)>> = LazyLock::new(|| {
        [
            (
                "iqn",
                r"iqn\.[0-9]{4}-[0-9]{2}\.([A-Za-z0-9-.]+)(:[^,;*&$|\t\n\x0c\r ]+)$",
            ),
            ("eui", "^eui.[A-Za-z0-9]{16}$"),
            ("naa", "^naa.[A-Za-z0-9]{32}$"),
        ]
        .map(|(start, rule)| (start, Regex::new(rule).ok()))
        .into()
    });
    match RULES.iter().find(|(start, _)| name.starts_with(start)) {
        None => Some("must be valid format starting with iqn, eui, or naa"),
        Some((_, rule)) => rule
            .as_ref()
            .is_some_and(|rule| !rule.is_match(name))
            .then_some("must be valid format"),
    }
}

/// `validateISCSIVolumeSource`, and that of the persistent volume of some name.
fn iscsi(source: &Value, volume: Option<&str>, path: &str, errors: &mut Vec<FieldError>) {
    let (portal, iqn) = (text(source, "targetPortal"), text(source, "iqn"));
    let initiator = source["initiatorName"].as_str();
    // Of those that persist less is told.
    let wrong = |name: &str| qualified(name).map(|why| if volume.is_some() { "must be valid format" } else { why });
    needed(source, "targetPortal", path, errors);
    if initiator.is_some() && volume.is_some_and(|name| name.len() + 1 + portal.len() > 64) {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                      iscsi.initiatorName is specified.";
        errors.push(FieldError::invalid(format!("{path}.targetportal"), portal, detail));
    }
    if needed(source, "iqn", path, errors)
        && let Some(detail) = wrong(iqn)
    {
        errors.push(FieldError::invalid(format!("{path}.iqn"), iqn, detail));
    }
    within(source, "lun", (0, 255), path, errors);
    let asks = source["chapAuthDiscovery"] == true || source["chapAuthSession"] == true;
    if asks && !source["secretRef"].is_object() {
        errors.push(FieldError::required(format!("{path}.secretRef"), ""));
    }
    if volume.is_some() {
        reference(&source["secretRef"], &format!("{path}.secretRef"), errors);
    }
    if let Some(name) = initiator
        && let Some(detail) = wrong(name)
    {
        errors.push(FieldError::invalid(format!("{path}.initiatorname"), name, detail));
    }
}

fn fibre(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (names, ids) = (texts(source, "targetWWNs"), texts(source, "wwids"));
    let at = format!("{path}.targetWWNs");
    if names.is_empty() && ids.is_empty() {
        let detail = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(at.as_str(), detail));
    }
    if names.is_empty() {
        return;
    }
    if !ids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(at, names, detail));
    }
    if source["lun"].is_null() {
        let detail = "lun is required if targetWWNs is specified";
        errors.push(FieldError::required(format!("{path}.lun"), detail));
    } else {
        within(source, "lun", (0, 255), path, errors);
    }
}

fn flocker(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (name, id) = (text(source, "datasetName"), text(source, "datasetUUID"));
    match (name.is_empty(), id.is_empty()) {
        (true, true) => {
            let detail = "one of datasetName and datasetUUID is required";
            errors.push(FieldError::required(path, detail));
        }
        (false, false) => {
            let detail = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", detail));
        }
        _ => {}
    }
    if name.contains('/') {
        let detail = "must not contain '/'";
        errors.push(FieldError::invalid(format!("{path}.datasetName"), name, detail));
    }
}

fn quobyte(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let registry = text(source, "registry");
    let detail = "must be a host:port pair or multiple pairs separated by commas";
    if registry.is_empty() {
        errors.push(FieldError::required(format!("{path}.registry"), detail));
    } else if text(source, "tenant").len() >= 65 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(format!("{path}.tenant"), detail));
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_port(pair)) {
            errors.push(FieldError::invalid(format!("{path}.registry"), registry, detail));
        }
    }
    needed(source, "volume", path, errors);
}

/// Whether Go's `net.SplitHostPort` takes a text.
fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let inner = match host.strip_prefix('[') {
        Some(rest) => match rest.strip_suffix(']') {
            Some(inner) => inner,
            None => return false,
        },
        None if host.contains(':') => return false,
        None => host,
    };
    !inner.contains(['[', ']']) && !port.contains(['[', ']'])
}

fn options(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for key in source["options"].as_object().into_iter().flat_map(|all| all.keys()) {
        let domain = key.split_once('/').map_or(key.as_str(), |(domain, _)| domain);
        let domain = format!(".{}", domain.to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid(
                format!("{path}.options[{key}]"),
                key.as_str(),
                detail,
            ));
        }
    }
}

fn azure_disk(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    needed(source, "diskName", path, errors);
    needed(source, "diskURI", path, errors);
    choice(source, "cachingMode", &["None", "ReadOnly", "ReadWrite"], path, errors);
    choice(source, "kind", &["Dedicated", "Managed", "Shared"], path, errors);
    let Some(kind) = source["kind"].as_str() else { return };
    let (start, form) = if kind == "Managed" {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        (
            "https://",
            "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
        )
    };
    let uri = text(source, "diskURI");
    if !uri.starts_with(start) {
        errors.push(FieldError::not_supported(format!("{path}.diskURI"), uri, &[form]));
    }
}
