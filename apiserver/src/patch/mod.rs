//! The four patch formats of the API (JSON patch, merge patch, strategic merge patch, server-side apply) and the
//! records of who owns which field.

mod apply;
mod fieldset;
mod json;
mod managed;
mod path;
mod strategic;
#[cfg(test)]
mod tests;
mod typed;

use serde_json::Value;

pub use apply::{ApplyError, Conflict, apply, track_update};
pub use fieldset::FieldSet;
pub use json::{json_patch, merge_patch};
pub use path::{PathElement, compare_values};
pub use strategic::strategic_merge_patch;

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

/// What Go's decoder calls a value of JSON.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
