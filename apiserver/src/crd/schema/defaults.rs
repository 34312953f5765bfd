//! Whether a schema's defaults are what it would take (`apiextensions-apiserver/pkg/apiserver/schema/defaulting`).

use serde_json::Value;

use super::{any_part, entries, schema_at};
use crate::crd::rules;
use crate::schema::{FieldError, FieldErrorKind, SchemaRef, join, prune, validate};

/// What is wrong with the defaults of a schema at `path`, those of additional properties left alone.
pub(super) fn errors(schema: &Value, path: &str, pruned: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    part(schema, path, (true, false), pruned, &mut errors);
    errors
}

/// Whether a default has fields that its schema does not name.
pub(super) fn any_unpruned(schema: &Value) -> bool {
    any_part(schema, &|s| {
        let value = &s["default"];
        let mut pruned = value.clone();
        if !value.is_null() {
            prune(&SchemaRef::of_part(s), &mut pruned);
        }
        pruned != *value
    })
}

fn part(s: &Value, path: &str, (object, metadata): (bool, bool), pruned: bool, errors: &mut Vec<FieldError>) {
    let object = object || s["x-kubernetes-embedded-resource"] == true;
    let metadata = metadata && !object;
    if !s["default"].is_null() {
        default(s, &format!("{path}.default"), pruned && !metadata, errors);
    }
    if let Some(items) = schema_at(&s["items"]) {
        part(items, &format!("{path}.items"), (false, metadata), pruned, errors);
    }
    for (name, child) in entries(&s["properties"]) {
        let meta = metadata || object && matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
        part(child, &format!("{path}.properties[{name}]"), (false, meta), pruned, errors);
    }
}

fn default(s: &Value, path: &str, pruned: bool, errors: &mut Vec<FieldError>) {
    let (own, value) = (SchemaRef::of_part(s), &s["default"]);
    let before = errors.len();
    let mut known = value.clone();
    prune(&own, &mut known);
    if pruned && known != *value {
        errors.push(FieldError::invalid(path, value.clone(), "must not have unknown fields"));
    }
    let found = validate(&own, value);
    let fits = found.is_empty();
    errors.extend(found.into_iter().map(|mut error| {
        error.path = if error.path.is_empty() {
            path.to_owned()
        } else {
            join(path, &error.path)
        };
        error
    }));
    if !fits || errors.len() > before || !rules::any(s) {
        return;
    }
    let mut causes = Vec::new();
    rules::broken(s, value, Some(value), path, &mut causes);
    if causes.is_empty() {
        rules::broken(s, value, None, path, &mut causes);
    }
    errors.extend(causes.into_iter().map(|cause| {
        let kind = match &*cause.reason {
            "FieldValueRequired" => FieldErrorKind::Required,
            "FieldValueForbidden" => FieldErrorKind::Forbidden,
            "FieldValueDuplicate" => FieldErrorKind::Duplicate,
            _ => FieldErrorKind::Invalid,
        };
        let detail = cause.message.split_once(": ").map_or("", |(_, detail)| detail);
        FieldError {
            path: cause.field,
            kind,
            value: None,
            detail: detail.to_owned(),
        }
    }));
}
