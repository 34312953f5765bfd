//! JSON patch (RFC 6902) and merge patch (RFC 7386).

use super::PatchError;
use serde_json::{Map, Value};

/// Applies a JSON patch.
///
/// # Errors
/// If the patch is none, or one of its operations does not fit the object.
pub fn json_patch(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_array() {
        return Err(super::not_of_type(patch, "[]handlers.jsonPatchOp"));
    }
    let operations: json_patch::Patch =
        serde_json::from_value(patch.clone()).map_err(|error| PatchError::DoesNotFit(error.to_string()))?;
    let mut result = object.clone();
    json_patch::patch(&mut result, &operations).map_err(|error| {
        let operation = &patch[error.operation];
        let name = operation["op"].as_str().unwrap_or_default();
        let path = operation["path"].as_str().unwrap_or_default();
        // The words of the library upstream uses, github.com/evanphx/json-patch.
        PatchError::DoesNotFit(match name {
            "test" => format!("testing value {path} failed: test failed"),
            "remove" => format!("remove operation does not apply: doc is missing path: \"{path}\": missing value"),
            "replace" => format!("replace operation does not apply: doc is missing key: {path}: missing value"),
            "add" => format!("add operation does not apply: doc is missing path: \"{path}\": missing value"),
            _ => format!("{name} operation does not apply: {error}"),
        })
    })?;
    Ok(result)
}

/// Applies a merge patch: objects field by field, null removes, everything else replaces.
///
/// # Errors
/// If the patch is not an object.
pub fn merge_patch(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        return Err(super::not_of_type(patch, super::MAP));
    }
    let mut result = object.clone();
    merge(&mut result, patch);
    Ok(result)
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
