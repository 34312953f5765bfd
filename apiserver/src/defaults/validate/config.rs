//! Validation of ConfigMaps and Secrets (`pkg/apis/core/validation` in Kubernetes).

use super::text;
use crate::defaults::{immutable, names};
use crate::schema::FieldError;
use base64::Engine;
use serde_json::{Map, Value};

/// Most bytes the values of a ConfigMap or Secret may have together.
const MAX_DATA: u64 = 1024 * 1024;

pub(super) fn config_map(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    frozen(new, old, &["data", "binaryData"], errors);
    let size = keys(new, "data", errors);
    for key in new["data"].as_object().into_iter().flat_map(Map::keys) {
        if new["binaryData"].get(key).is_some() {
            let detail = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(format!("data[{key}]"), key.as_str(), detail));
        }
    }
    if size + keys(new, "binaryData", errors) > MAX_DATA {
        errors.push(FieldError::too_long("", MAX_DATA));
    }
}

pub(super) fn secret(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if let Some(old) = old {
        immutable::places("core.Secret", &[("type", "type")], new, old, errors);
    }
    frozen(new, old, &["data"], errors);
    if keys(new, "data", errors) > MAX_DATA {
        errors.push(FieldError::too_long("data", MAX_DATA));
    }
    let required: &[&str] = match text(new, "type") {
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    };
    for key in required.iter().filter(|key| new["data"].get(**key).is_none()) {
        errors.push(FieldError::required(format!("data[{key}]"), ""));
    }
    for key in required.iter().filter(|key| key.starts_with(".docker")) {
        let bytes = new["data"][*key]
            .as_str()
            .and_then(|t| base64::engine::general_purpose::STANDARD.decode(t).ok());
        if let Some(why) = bytes.and_then(|b| crate::schema::json_error(&b)) {
            let value = "<secret contents redacted>";
            errors.push(FieldError::invalid(format!("data[{key}]"), value, why));
        }
    }
    // Either of the two does.
    let either = ["username", "password"];
    if new["type"] == "kubernetes.io/basic-auth" && either.iter().all(|key| new["data"].get(*key).is_none()) {
        errors.extend(either.map(|key| FieldError::required(format!("data[{key}]"), "")));
    }
    if new["type"] == "kubernetes.io/service-account-token"
        && new["metadata"]["annotations"]["kubernetes.io/service-account.name"]
            .as_str()
            .is_none_or(str::is_empty)
    {
        errors.push(FieldError::required(
            "metadata.annotations[kubernetes.io/service-account.name]",
            "",
        ));
    }
}

fn frozen(new: &Value, old: Option<&Value>, fields: &[&str], errors: &mut Vec<FieldError>) {
    let Some(old) = old.filter(|old| old["immutable"] == true) else {
        return;
    };
    let detail = "field is immutable when `immutable` is set";
    if new["immutable"] != true {
        errors.push(FieldError::forbidden("immutable", detail));
    }
    // Empty and absent are the same.
    let map = |object: &Value, field: &str| object[field].as_object().cloned().unwrap_or_default();
    for field in fields.iter().filter(|field| map(new, field) != map(old, field)) {
        errors.push(FieldError::forbidden(*field, detail));
    }
}

fn keys(object: &Value, field: &str, errors: &mut Vec<FieldError>) -> u64 {
    let mut size = 0;
    for (key, value) in object[field].as_object().into_iter().flatten() {
        for detail in names::config_map_key(key) {
            errors.push(FieldError::invalid(format!("{field}[{key}]"), key.as_str(), detail));
        }
        let length = value.as_str().unwrap_or_default().len() as u64;
        size += if field == "data" && !object["type"].is_null() || field == "binaryData" {
            length / 4 * 3
        } else {
            length
        };
    }
    size
}
