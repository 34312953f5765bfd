//! The four patch formats of the API (JSON patch, merge patch, strategic merge patch, server-side apply) and the
//! records of who owns which field.

mod apply;
mod compare;
mod fieldset;
mod json;
mod lists;
mod managed;
mod path;
mod strategic;
#[cfg(test)]
mod tests;
mod typed;

use serde_json::Value;

pub use apply::{ApplyError, Conflict, apply, release, track_update};
pub use fieldset::FieldSet;
pub(crate) use json::decoded;
pub use json::{json_patch, merge_patch};
pub use managed::{fold, is_of_one_version, set_aside, unfold, unfolded, versions_of_owners};
pub use path::{PathElement, compare_values};
pub use strategic::{spend, strategic_merge_patch};
pub use typed::{has_keyless, is_declared};

/// Why a patch could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is malformed: HTTP 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch is well formed but does not fit the object (a JSON patch's path or test): HTTP 422.
    #[error("{0}")]
    DoesNotFit(String),
    /// Upstream makes no status of what is wrong with it: HTTP 500.
    #[error("{0}")]
    Unforeseen(String),
}

/// What Go's decoder says of a value that is not of a type.
pub(crate) fn mismatch(value: &Value, go_type: &str) -> String {
    let value = crate::schema::json_kind(value);
    format!("json: cannot unmarshal {value} into Go value of type {go_type}")
}

/// A patch that is not what its kind must be.
fn not_of_type(patch: &Value, go_type: &str) -> PatchError {
    PatchError::Malformed(format!("error decoding patch: {}", mismatch(patch, go_type)))
}

/// Go's type of merge patches.
pub(crate) const MAP: &str = "map[string]interface {}";
