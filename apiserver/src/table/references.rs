//! Cells that name another object.

use serde_json::Value;

use super::functions::text;
use crate::status::qualified;

/// The object that an address is of: `services/namespace/name`.
pub(super) fn parent(reference: &Value) -> String {
    if reference.is_null() {
        return "<none>".to_owned();
    }
    let mut shown = qualified(text(reference, "group"), text(reference, "resource")).to_lowercase();
    for field in ["namespace", "name"] {
        let value = text(reference, field);
        if field == "name" || !value.is_empty() {
            shown = format!("{shown}/{value}");
        }
    }
    shown
}

/// The object that a class has its parameters in.
pub(super) fn class_parameters(parameters: &Value) -> String {
    if parameters.is_null() {
        return "<none>".to_owned();
    }
    let group = parameters["apiGroup"]
        .as_str()
        .map(|group| format!(".{group}"))
        .unwrap_or_default();
    format!("{}{group}/{}", text(parameters, "kind"), text(parameters, "name"))
}
