//! Validation of files made of other objects: secrets, maps, the pod itself (`validateProjectionSources` in Kubernetes).

use super::validate_container::{below, field_ref, resource_field};
use super::validate_parts::{list, needed, text};
use crate::schema::FieldError;
use serde_json::Value;
use std::collections::BTreeSet;

/// A file's mode, if given.
pub(super) fn mode(object: &Value, field: &str, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(mode) = object[field].as_i64().filter(|m| !(0..=0o777).contains(m)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(format!("{path}.{field}"), mode, detail));
    }
}

/// `ValidateLocalNonReservedPath`: below where it is mounted, and no name of the writer's own.
pub(super) fn unreserved(value: &str, path: &str, errors: &mut Vec<FieldError>) {
    below(value, path, errors);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.push(FieldError::invalid(path, value, "must not start with '..'"));
    }
}

/// `validateKeyToPath` of each item.
pub(super) fn keys(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, item) in list(source, "items").iter().enumerate() {
        key(item, &format!("{path}.items[{i}]"), errors);
    }
}

fn key(item: &Value, path: &str, errors: &mut Vec<FieldError>) {
    needed(item, "key", path, errors);
    needed(item, "path", path, errors);
    unreserved(text(item, "path"), &format!("{path}.path"), errors);
    mode(item, "mode", path, errors);
}

/// `validateDownwardAPIVolumeFile`.
pub(super) fn downward(item: &Value, path: &str, errors: &mut Vec<FieldError>) {
    needed(item, "path", path, errors);
    unreserved(text(item, "path"), &format!("{path}.path"), errors);
    let (field, resource) = (&item["fieldRef"], &item["resourceFieldRef"]);
    if field.is_object() {
        let valid = [
            "metadata.annotations",
            "metadata.labels",
            "metadata.name",
            "metadata.namespace",
            "metadata.uid",
        ];
        field_ref(field, &valid, &format!("{path}.fieldRef"), errors);
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

/// `validateProjectedVolumeSource`. Bundles of certificates and pods' own certificates are of features that are not
/// on: they are dropped, so nothing is said of them.
pub(super) fn projected(source: &Value, path: &str, errors: &mut Vec<FieldError>) {
    mode(source, "defaultMode", path, errors);
    let mut seen = BTreeSet::new();
    let once = |name: &str, shown: &str, errors: &mut Vec<FieldError>, known: bool| {
        if !name.is_empty() && known {
            errors.push(FieldError::invalid(path, shown, "conflicting duplicate paths"));
        }
    };
    for (i, projection) in list(source, "sources").iter().enumerate() {
        let at = format!("{path}.sources[{i}]");
        let mut count = 0;
        for kind in ["secret", "configMap", "downwardAPI", "serviceAccountToken"] {
            let part = &projection[kind];
            if !part.is_object() {
                continue;
            }
            count += 1;
            let at = format!("{at}.{kind}");
            let map = matches!(kind, "secret" | "configMap");
            if map {
                needed(part, "name", &at, errors);
            }
            for (j, item) in list(part, "items").iter().enumerate() {
                let name = text(item, "path");
                if map {
                    key(item, &format!("{at}.items[{j}]"), errors);
                    once(name, text(part, "name"), errors, seen.contains(&name));
                } else {
                    downward(item, &at, errors);
                    once(name, name, errors, seen.contains(&name));
                }
                seen.insert(name);
            }
            if kind == "serviceAccountToken" {
                token(part, &at, path, errors);
            }
        }
        if count > 1 {
            let detail = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(at, detail));
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
    if needed(token, "path", path, errors) {
        unreserved(text(token, "path"), &format!("{path}.path"), errors);
    }
}
