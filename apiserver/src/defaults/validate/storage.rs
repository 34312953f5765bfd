//! Validation of `storage.k8s.io` and of volumes (`pkg/apis/{storage,core}/validation` in Kubernetes).

use super::access_modes;
use crate::defaults::validate_parts::{by_rule, choice, label_selector, list, named, needed, repeated, text, texts};
use crate::defaults::validate_place::node_selector;
use crate::defaults::{immutable, names};
use crate::defaults::{validate_pod_update, validate_source};
use crate::schema::{FieldError, Printed};
use cfn_cel::quantity::Quantity;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Most parameters of a class, and most bytes they may have together.
const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETER_SIZE: usize = 256 * 1024;

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
    qualified_lower(new, "provisioner", errors);
    parameters(new, true, errors);
    choice(new, "reclaimPolicy", &["Delete", "Retain"], "", errors);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    choice(new, "volumeBindingMode", &modes, "", errors);
    allowed_topologies(list(new, "allowedTopologies"), errors);
    if let Some(old) = old {
        let places = ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"].map(|p| (p, p));
        immutable::places("storage.StorageClass", &places, new, old, errors);
    }
}

/// `validateParameters`.
fn parameters(new: &Value, may_lack: bool, errors: &mut Vec<FieldError>) {
    let path = "parameters";
    let all = new[path].as_object();
    let count = all.map_or(0, serde_json::Map::len);
    if count > MAX_PARAMETERS {
        errors.push(FieldError::too_long(path, MAX_PARAMETERS as u64));
        return;
    }
    if all.is_some_and(|p| p.contains_key("")) {
        errors.push(FieldError::invalid(path, "", "field can not be empty."));
    }
    let size = |(k, v): (&String, &Value)| k.len() + v.as_str().unwrap_or_default().len();
    if all.into_iter().flatten().map(size).sum::<usize>() > MAX_PARAMETER_SIZE {
        errors.push(FieldError::too_long(path, MAX_PARAMETER_SIZE as u64));
    }
    if !may_lack && count == 0 {
        let detail = "must contain at least one key/value pair";
        errors.push(FieldError::required(path, detail));
    }
}

/// Most terms that are told to be others again.
const MOST_TOLD: usize = 10_000;

/// `validateAllowedTopologies`: terms that ask for the same are not two terms.
fn allowed_topologies(terms: &[Value], errors: &mut Vec<FieldError>) {
    // How often the same was seen. Upstream's list of it begins with as many that ask for nothing as there are terms.
    let mut seen = BTreeMap::from([(BTreeMap::new(), terms.len())]);
    let mut told = 0;
    for (i, term) in terms.iter().enumerate() {
        let at = format!("allowedTopologies[{i}].matchLabelExpressions");
        let mut asked: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (j, wanted) in list(term, "matchLabelExpressions").iter().enumerate() {
            let path = format!("{at}[{j}]");
            let (key, values) = (text(wanted, "key"), texts(wanted, "values"));
            if values.is_empty() {
                errors.push(FieldError::required(format!("{path}.values"), ""));
            }
            for (k, (value, _)) in values
                .iter()
                .zip(repeated(&values))
                .enumerate()
                .filter(|(_, (_, again))| *again)
            {
                errors.push(FieldError::duplicate(format!("{path}.values[{k}]"), *value));
            }
            by_rule(key, format!("{path}.key"), names::qualified_name, errors);
            if asked.insert(key, values.into_iter().collect()).is_some() {
                errors.push(FieldError::duplicate(format!("{path}.key"), key));
            }
        }
        let times = seen.entry(asked).or_default();
        // Each is told as often as there are such before it: there is an end to that.
        let tells = (*times).min(MOST_TOLD - told);
        errors.extend((0..tells).map(|_| FieldError::duplicate(at.as_str(), "")));
        told += tells;
        *times += 1;
    }
}

pub(super) fn csi_driver(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    choice(spec, "fsGroupPolicy", &policies, "spec", errors);
    let mut seen = BTreeSet::new();
    for (i, request) in list(spec, "tokenRequests").iter().enumerate() {
        let path = format!("spec.tokenRequests[{i}]");
        let audience = text(request, "audience");
        if seen.contains(&audience) {
            errors.push(FieldError::duplicate(format!("{path}.audience"), audience));
            continue;
        }
        seen.insert(audience);
        if let Some(seconds) = request["expirationSeconds"].as_i64().filter(|s| *s < 600) {
            let detail = "may not specify a duration less than 10 minutes";
            errors.push(FieldError::invalid(
                format!("{path}.expirationSeconds"),
                seconds,
                detail,
            ));
        }
        if let Some(seconds) = request["expirationSeconds"].as_i64().filter(|s| *s > 1 << 32) {
            let detail = "may not specify a duration larger than 2^32 seconds";
            let at = format!("{path}.expirationSeconds");
            errors.push(FieldError::invalid(at, seconds, detail));
        }
    }
    let valid = ["Persistent", "Ephemeral"];
    for mode in texts(spec, "volumeLifecycleModes")
        .into_iter()
        .filter(|m| !valid.contains(m))
    {
        errors.push(FieldError::not_supported("spec.volumeLifecycleModes", mode, &valid));
    }
    let period = "nodeAllocatableUpdatePeriodSeconds";
    if let Some(seconds) = spec[period].as_i64().filter(|s| *s < 10) {
        let detail = "must be greater than or equal to 10 seconds";
        errors.push(FieldError::invalid(format!("spec.{period}"), seconds, detail));
    }
    if spec["serviceAccountTokenInSecrets"].is_boolean() && list(spec, "tokenRequests").is_empty() {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        let at = "spec.serviceAccountTokenInSecrets";
        let value = spec["serviceAccountTokenInSecrets"].clone();
        errors.push(FieldError::invalid(at, value, detail));
    }
    if let Some(old) = old {
        let places = [
            ("spec.attachRequired", "spec.attachedRequired"),
            ("spec.volumeLifecycleModes", "spec.volumeLifecycleModes"),
        ];
        immutable::places("storage.CSIDriver", &places, new, old, errors);
    }
}

pub(super) fn csi_node(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
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
        seen.insert(name);
        let keys = texts(driver, "topologyKeys");
        for (key, again) in keys.iter().zip(repeated(&keys)) {
            if key.is_empty() {
                errors.push(FieldError::required(path.as_str(), ""));
            }
            if again {
                errors.push(FieldError::duplicate(path.as_str(), *key));
            }
            by_rule(key, path.clone(), names::qualified_name, errors);
        }
    }
    let Some(old) = old else { return };
    // A driver that stays is as it was, but for how many volumes it can attach.
    let shown = |driver: &Value| {
        let mut driver = driver.clone();
        if let Some(fields) = driver.as_object_mut() {
            fields.remove("allocatable");
        }
        Printed::internal("storage.CSINodeDriver", &driver)
    };
    for before in list(&old["spec"], "drivers") {
        let same = |driver: &&Value| text(driver, "name") == text(before, "name");
        for now in list(&new["spec"], "drivers").iter().filter(same).map(shown) {
            immutable::printed(&now, &shown(before), "spec.drivers", errors);
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
        immutable::places("storage.VolumeAttachment", &[("spec", "spec")], new, old, errors);
    }
}

pub(super) fn capacity(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    label_selector(&new["nodeTopology"], "nodeTopology", errors);
    by_rule(
        text(new, "storageClassName"),
        "storageClassName".to_owned(),
        names::dns1123_subdomain,
        errors,
    );
    // The largest volume's size is not looked at.
    let amount = Quantity::from_value(&new["capacity"]).ok();
    if let Some(amount) = amount.filter(Quantity::is_negative) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("capacity", amount.to_string(), detail));
    }
    if let Some(old) = old {
        let places = ["nodeTopology", "storageClassName"].map(|p| (p, p));
        immutable::places("storage.CSIStorageCapacity", &places, new, old, errors);
    }
}

pub(super) fn attributes_class(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    immutable::forbidden(
        new,
        old,
        &[
            ("driverName", "updates to driverName are forbidden."),
            ("parameters", "updates to parameters are forbidden."),
        ],
        errors,
    );
    qualified_lower(new, "driverName", errors);
    parameters(new, false, errors);
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
        if size.value() < 0 {
            let detail = "must be a valid resource quantity";
            errors.push(FieldError::invalid("spec.capacity[storage]", size.value(), detail));
        }
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

/// Labels of nodes as they were called before they were stable, and as they are (`betaToGALabel` of
/// `pkg/apis/core/validation`).
const RENAMED: [(&str, &str); 5] = [
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/region",
    ),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// From where a volume can be reached stays once it is said, but labels may get their stable names
/// (`validatePvNodeAffinity`).
fn affinity_changes(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let field = "nodeAffinity";
    let (now, mut was) = (&new["spec"][field], old["spec"][field].clone());
    if was.is_null() {
        return;
    }
    let mut all = was
        .pointer_mut("/required/nodeSelectorTerms")
        .and_then(Value::as_array_mut);
    for (i, term) in all.iter_mut().flat_map(|all| all.iter_mut()).enumerate() {
        for part in ["matchExpressions", "matchFields"] {
            let before = term.get_mut(part).and_then(Value::as_array_mut);
            for (j, wanted) in before.into_iter().flatten().enumerate() {
                let key = &now["required"]["nodeSelectorTerms"][i][part][j]["key"];
                let renamed = RENAMED.iter().find(|(beta, _)| wanted["key"] == *beta);
                if renamed.is_some_and(|(_, stable)| *key == *stable) {
                    wanted["key"] = key.clone();
                }
            }
        }
    }
    let shown = |affinity: Value| {
        Printed::at(
            "core.PersistentVolume",
            "spec.nodeAffinity",
            &json!({"spec": {field: affinity}}),
        )
    };
    let (now, was) = (shown(now.clone()), shown(was));
    if !now.same(&was) {
        let detail = "field is immutable, except for updating from beta label to GA";
        errors.push(FieldError::invalid_shown(field, &now.compact(), detail));
    }
}

/// What a volume is made of stays (`ValidatePersistentVolumeUpdate`).
pub(super) fn volume_changes(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
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
    let class = "volumeAttributesClassName";
    let mode = [("spec.volumeMode", "volumeMode")];
    immutable::places("core.PersistentVolume", &mode, new, old, errors);
    affinity_changes(new, old, errors);
    if new["spec"][class].is_null() && !old["spec"][class].is_null() {
        let detail = "update from non-nil value to nil is forbidden";
        errors.push(FieldError::forbidden(format!("spec.{class}"), detail));
    }
}
