//! Validation of `storage.k8s.io` and of volumes (`pkg/apis/{storage,core}/validation` in Kubernetes).

use super::{access_modes, fixed};
use crate::defaults::names;
use crate::defaults::validate_parts::{by_rule, choice, label_selector, list, named, needed, text, texts};
use crate::defaults::validate_place::node_selector;
use crate::defaults::{validate_pod_update, validate_source};
use crate::schema::FieldError;
use cfn_cel::quantity::Quantity;
use serde_json::Value;

/// A driver's or provisioner's name, which is told in small letters.
fn qualified_lower(object: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let name = text(object, field);
    if name.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else {
        by_rule(&name.to_lowercase(), field.to_owned(), names::qualified_name, errors);
    }
}

pub(super) fn storage_class(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if old.is_none() {
        qualified_lower(new, "provisioner", errors);
        if new["parameters"].as_object().is_some_and(|p| p.contains_key("")) {
            errors.push(FieldError::invalid("parameters", "", "field can not be empty."));
        }
        choice(new, "reclaimPolicy", &["Delete", "Retain"], "", errors);
    }
    let modes = ["Immediate", "WaitForFirstConsumer"];
    choice(new, "volumeBindingMode", &modes, "", errors);
    if let Some(old) = old {
        for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            super::immutable(&new[field], &old[field], field, errors);
        }
    }
    for (i, term) in list(new, "allowedTopologies").iter().enumerate() {
        for (j, wanted) in list(term, "matchLabelExpressions").iter().enumerate() {
            let path = format!("allowedTopologies[{i}].matchLabelExpressions[{j}]");
            let values = texts(wanted, "values");
            if values.is_empty() {
                errors.push(FieldError::required(format!("{path}.values"), ""));
            }
            for (k, value) in values.iter().enumerate() {
                if values[..k].contains(value) {
                    errors.push(FieldError::duplicate(format!("{path}.values[{k}]"), *value));
                }
            }
            by_rule(
                text(wanted, "key"),
                format!("{path}.key"),
                names::qualified_name,
                errors,
            );
        }
    }
}

pub(super) fn csi_driver(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    choice(spec, "fsGroupPolicy", &policies, "spec", errors);
    let mut seen: Vec<&str> = Vec::new();
    for (i, request) in list(spec, "tokenRequests").iter().enumerate() {
        let path = format!("spec.tokenRequests[{i}]");
        let audience = text(request, "audience");
        if seen.contains(&audience) {
            errors.push(FieldError::duplicate(format!("{path}.audience"), audience));
            continue;
        }
        seen.push(audience);
        if let Some(seconds) = request["expirationSeconds"].as_i64().filter(|s| *s < 600) {
            let detail = "may not specify a duration less than 10 minutes";
            errors.push(FieldError::invalid(
                format!("{path}.expirationSeconds"),
                seconds,
                detail,
            ));
        }
    }
    let valid = ["Persistent", "Ephemeral"];
    for mode in texts(spec, "volumeLifecycleModes")
        .into_iter()
        .filter(|m| !valid.contains(m))
    {
        errors.push(FieldError::not_supported("spec.volumeLifecycleModes", mode, &valid));
    }
    if let Some(old) = old {
        for (field, path) in [
            ("attachRequired", "spec.attachedRequired"),
            ("volumeLifecycleModes", "spec.volumeLifecycleModes"),
        ] {
            super::immutable(&spec[field], &old["spec"][field], path, errors);
        }
    }
}

pub(super) fn csi_node(new: &Value, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, driver) in list(&new["spec"], "drivers").iter().enumerate() {
        let path = format!("spec.drivers[{i}]");
        validate_source::driver(text(driver, "name"), format!("{path}.name"), errors);
        needed(driver, "nodeID", &path, errors);
        if let Some(count) = driver["allocatable"]["count"].as_i64().filter(|c| *c < 0) {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(format!("{path}.allocatable.count"), count, detail));
        }
        let name = text(driver, "name");
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        seen.push(name);
        let keys = texts(driver, "topologyKeys");
        for (j, key) in keys.iter().enumerate() {
            if key.is_empty() {
                errors.push(FieldError::required(path.as_str(), ""));
            }
            if keys[..j].contains(key) {
                errors.push(FieldError::duplicate(path.as_str(), *key));
            }
            by_rule(key, path.clone(), names::qualified_name, errors);
        }
    }
}

pub(super) fn attachment(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    validate_source::driver(text(spec, "attacher"), "spec.attacher".to_owned(), errors);
    let source = &spec["source"];
    let (inline, name) = (
        source["inlineVolumeSpec"].is_object(),
        source["persistentVolumeName"].as_str(),
    );
    let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline, name) {
        (false, None) => errors.push(FieldError::required("spec.source", detail)),
        (true, Some(_)) => errors.push(FieldError::forbidden("spec.source", detail)),
        (false, Some("")) => {
            let detail = "must specify non empty persistentVolumeName";
            errors.push(FieldError::required("spec.source.persistentVolumeName", detail));
        }
        _ => {}
    }
    by_rule(
        text(spec, "nodeName"),
        "spec.nodeName".to_owned(),
        names::dns1123_subdomain,
        errors,
    );
    if let Some(name) = name {
        let at = "spec.source.persistentVolumeName";
        by_rule(name, at.to_owned(), names::dns1123_subdomain, errors);
    }
    if let Some(old) = old {
        super::immutable(spec, &old["spec"], "spec", errors);
    }
}

pub(super) fn capacity(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    by_rule(
        text(new, "storageClassName"),
        "storageClassName".to_owned(),
        names::dns1123_subdomain,
        errors,
    );
    for field in ["capacity", "maximumVolumeSize"] {
        if let Some(amount) = Quantity::from_value(&new[field]).ok().filter(|q| q.is_negative()) {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(field, amount.to_string(), detail));
        }
    }
    label_selector(&new["nodeTopology"], "nodeTopology", errors);
    if let Some(old) = old {
        for field in ["nodeTopology", "storageClassName"] {
            super::immutable(&new[field], &old[field], field, errors);
        }
    }
}

pub(super) fn attributes_class(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if old.is_none() {
        qualified_lower(new, "driverName", errors);
        if new["parameters"].as_object().is_none_or(serde_json::Map::is_empty) {
            let detail = "must contain at least one key/value pair";
            errors.push(FieldError::required("parameters", detail));
        }
    }
    fixed(
        new,
        old,
        &[
            ("driverName", "updates to driverName are forbidden."),
            ("parameters", "updates to parameters are forbidden."),
        ],
        errors,
    );
}

pub(super) fn volume(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let modes = texts(spec, "accessModes");
    if modes.is_empty() {
        errors.push(FieldError::required("spec.accessModes", ""));
    }
    access_modes(&modes, "spec.accessModes", errors);
    let amounts = &spec["capacity"];
    let kinds = amounts.as_object().map_or(0, serde_json::Map::len);
    if kinds == 0 {
        errors.push(FieldError::required("spec.capacity", ""));
    }
    if amounts["storage"].is_null() || kinds > 1 {
        errors.push(FieldError::not_supported(
            "spec.capacity",
            amounts.clone(),
            &["storage"],
        ));
    }
    if let Ok(size) = Quantity::from_value(&amounts["storage"])
        && (size.is_zero() || size.is_negative())
    {
        let detail = "must be greater than zero";
        errors.push(FieldError::invalid("spec.capacity[storage]", size.to_string(), detail));
    }
    choice(
        spec,
        "persistentVolumeReclaimPolicy",
        &["Delete", "Recycle", "Retain"],
        "spec",
        errors,
    );
    if spec["nodeAffinity"].is_object() {
        let (required, at) = (&spec["nodeAffinity"]["required"], "spec.nodeAffinity.required");
        if required.is_object() {
            node_selector(required, at, errors);
        } else {
            errors.push(FieldError::required(at, "must specify required node constraints"));
        }
    }
    validate_source::of_volume(spec, text(&new["metadata"], "name"), "spec", errors);
    named(spec, "storageClassName", names::dns1123_subdomain, "spec", errors);
    choice(spec, "volumeMode", &["Block", "Filesystem"], "spec", errors);
    if let Some(class) = spec["volumeAttributesClassName"].as_str() {
        let at = "spec.volumeAttributesClassName";
        if class.is_empty() {
            errors.push(FieldError::required(at, "an empty string is disallowed"));
        } else {
            by_rule(class, at.to_owned(), names::dns1123_subdomain, errors);
        }
        if !spec["csi"].is_object() {
            let detail = "has to be specified when using volumeAttributesClassName";
            errors.push(FieldError::required("spec.csi", detail));
        }
    }
}

/// What a volume is made of stays (`ValidatePersistentVolumeUpdate`).
pub(super) fn volume_changes(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let Some(old) = old else { return };
    let source = |object: &Value| {
        let mut spec = object["spec"].as_object().cloned().unwrap_or_default();
        for field in [
            "capacity",
            "accessModes",
            "claimRef",
            "persistentVolumeReclaimPolicy",
            "storageClassName",
            "mountOptions",
            "volumeMode",
            "nodeAffinity",
            "volumeAttributesClassName",
        ] {
            spec.remove(field);
        }
        Value::Object(spec)
    };
    let (mut now, before) = (source(new), source(old));
    // A secret for growing may be given later.
    if before["csi"].is_object()
        && before["csi"]["controllerExpandSecretRef"].is_null()
        && let Some(csi) = now["csi"].as_object_mut()
    {
        csi.remove("controllerExpandSecretRef");
    }
    // Indexing leaves what is not there.
    if let Some(m) = now.as_object_mut() {
        m.retain(|_, v| !v.is_null());
    }
    if now != before {
        let detail = format!(
            "spec.persistentvolumesource is immutable after creation\n{}",
            validate_pod_update::difference("core.PersistentVolumeSource", &before, &now)
        );
        errors.push(FieldError::forbidden("spec.persistentvolumesource", detail));
    }
    let (mode, class) = ("volumeMode", "volumeAttributesClassName");
    super::immutable(&new["spec"][mode], &old["spec"][mode], mode, errors);
    if new["spec"][class].is_null() && !old["spec"][class].is_null() {
        let detail = "update from non-nil value to nil is forbidden";
        errors.push(FieldError::forbidden(format!("spec.{class}"), detail));
    }
}
