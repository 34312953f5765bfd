//! Whether a schema's defaults are what it would take (`apiextensions-apiserver/pkg/apiserver/schema/defaulting`).

use serde_json::Value;

use super::forms::unknown_type;
use super::{any_part, entries, rules as own_rules, schema_at};
use crate::crd::object::{embedded, kind_of};
use crate::crd::rules;
use crate::registry::text;
use crate::schema::{FieldError, FieldErrorKind, SchemaRef, Type, join, json_kind, prune, validate};

/// What is wrong with the defaults of a schema at `path`, those of additional properties left alone.
pub(super) fn errors(schema: &Value, path: &str, pruned: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    part(schema, path, (true, false), pruned, &mut errors);
    errors
}

/// Whether a default has fields that its schema does not name.
pub(super) fn any_unpruned(schema: &Value) -> bool {
    any_part(schema, &|s| {
        !s["default"].is_null() && has_unknown(&SchemaRef::of_part(s), &s["default"])
    })
}

fn part(s: &Value, path: &str, (root, metadata): (bool, bool), pruned: bool, errors: &mut Vec<FieldError>) {
    let object = root || s["x-kubernetes-embedded-resource"] == true;
    let metadata = metadata && !object;
    if !s["default"].is_null() {
        default(s, &format!("{path}.default"), root, pruned && !metadata, errors);
    }
    if let Some(items) = schema_at(&s["items"]) {
        part(items, &format!("{path}.items"), (false, metadata), pruned, errors);
    }
    for (name, child) in entries(&s["properties"]) {
        let meta = metadata || object && matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
        part(
            child,
            &format!("{path}.properties[{name}]"),
            (false, meta),
            pruned,
            errors,
        );
    }
}

/// The fields of a value that a schema names, and all of one that keeps what it does not know.
fn has_unknown(own: &SchemaRef, value: &Value) -> bool {
    let mut known = value.clone();
    prune(own, &mut known);
    // Where no fields are allowed, any is one too many.
    let fields = value.as_object().is_some_and(|m| !m.is_empty());
    known != *value || fields && !matches!(own.kind(), Type::Object | Type::Any) && !own.preserves_unknown()
}

/// A schema in which numbers and texts have no type, as defaults are checked.
fn untyped(s: &Value) -> Value {
    match s {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| *name != "x-kubernetes-int-or-string");
            Value::Object(kept.map(|(name, v)| (name.clone(), untyped(v))).collect())
        }
        Value::Array(all) => Value::Array(all.iter().map(untyped).collect()),
        other => other.clone(),
    }
}

fn default(s: &Value, path: &str, root: bool, pruned: bool, errors: &mut Vec<FieldError>) {
    let (own, value) = (SchemaRef::of_part(s), &s["default"]);
    if pruned && has_unknown(&own, value) {
        errors.push(FieldError::invalid(path, value.clone(), "must not have unknown fields"));
    }
    let before = errors.len();
    if root && value.is_object() {
        kind_of(value, path, errors);
    }
    embedded(&own, value, path, errors);
    if errors.len() > before {
        return;
    }
    let kind = text(s, "/type");
    if unknown_type(s) && !value.is_null() {
        let found = json_type(value);
        errors.push(FieldError {
            path: path.to_owned(),
            kind: FieldErrorKind::TypeInvalid,
            value: Some(found.into()),
            detail: format!(" in body must be of type {kind}: \"{found}\""),
        });
    }
    let found = validate(&SchemaRef::of_part(&untyped(s)), value);
    errors.extend(found.into_iter().map(|mut error| {
        if error.path.is_empty() {
            error.path = path.to_owned();
        } else {
            // Keys of a map follow a dot, though nothing stands before it.
            if schema_at(&s["additionalProperties"]).is_some() && error.detail.starts_with(&error.path) {
                error.detail.insert(0, '.');
            }
            error.path = join(path, &error.path);
        }
        error
    }));
    if errors.len() == before && rules::any(s) {
        errors.extend(broken(s, value, path, root));
    }
}

/// What JSON calls a value's type.
fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Bool(_) => "boolean",
        other => json_kind(other),
    }
}

/// What rules a default breaks, as one that was so before and as one that is new.
fn broken(s: &Value, value: &Value, path: &str, root: bool) -> Vec<FieldError> {
    let unasked = own_rules::unasked(s, root);
    if !unasked.is_empty() {
        let of = |why| FieldError::invalid(path, text(s, "/type"), format!("rule compile error: {why}"));
        return unasked.into_iter().map(of).collect();
    }
    let found = rules::broken(s, value, Some(value), None, path).errors;
    if found.is_empty() {
        return rules::broken(s, value, None, None, path).errors;
    }
    found
}
