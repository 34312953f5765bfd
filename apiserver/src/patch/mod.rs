//! The four patch formats of the API (JSON patch, merge patch, strategic merge patch, server-side apply) and the
//! records of who owns which field.

mod apply;
mod compare;
mod fieldset;
mod json;
mod managed;
mod path;
mod strategic;
#[cfg(test)]
mod tests;
mod typed;

use serde_json::Value;

pub use apply::{ApplyError, Conflict, apply, release, track_update};
pub use fieldset::FieldSet;
pub use json::{json_patch, merge_patch};
pub use managed::{fold, set_aside, unfold, unfolded};
pub use path::{PathElement, compare_values};
pub use strategic::strategic_merge_patch;
pub use typed::has_keyless;

/// Why a patch could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is malformed: HTTP 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch is well formed but does not fit the object (a JSON patch's path or test): HTTP 422.
    #[error("{0}")]
    DoesNotFit(String),
}

/// A patch that is not what its kind must be, as Go's decoder says it.
fn not_of_type(patch: &Value, go_type: &str) -> PatchError {
    let value = match patch {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    PatchError::Malformed(format!(
        "error decoding patch: json: cannot unmarshal {value} into Go value of type {go_type}"
    ))
}

/// Go's type of merge patches.
const MAP: &str = "map[string]interface {}";
