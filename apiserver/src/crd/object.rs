//! What objects of custom resources are checked for beside their metadata and rules
//! (`apiextensions-apiserver/pkg/registry/customresource/validator.go`).

use serde_json::Value;

use crate::defaults::names;
use crate::registry::{Resource, ScalePaths, text};
use crate::schema::{self, Correlated, FieldError, SchemaRef, join};

use super::rules::Broken;

/// What is wrong with an object, or with its status where only that is written, and what of it is as it was before and
/// is only told; `errors` are those of its metadata.
pub(crate) fn check(
    r: &Resource,
    mut errors: Vec<FieldError>,
    value: &Value,
    old: Option<&Value>,
    status: bool,
) -> Broken {
    let own = r.schema();
    let openapi = r.custom.as_ref().and_then(|c| c.openapi.as_ref());
    let whole = openapi
        .zip(old)
        .map(|(schema, old)| Correlated::new(schema, value, old));
    let mut own_errors: Vec<FieldError> = match (own.field("status"), value.get("status")) {
        // Texts tell the place within the status, paths that in the object.
        (Some(schema), Some(of)) if status => {
            let below = |mut e: FieldError| {
                e.path = match e.path.as_str() {
                    "" => "status".to_owned(),
                    path => join("status", path),
                };
                e
            };
            let before = whole.as_ref().and_then(|w| w.key("status"));
            let found = schema::validate_update(&schema, of, before.as_ref());
            found.into_iter().map(below).collect()
        }
        _ if status => Vec::new(),
        _ => schema::validate_update(&own, value, whole.as_ref()),
    };
    // As they are kept ([`crate::patch::fold`]), which no schema knows.
    if value["metadata"]["managedFields"].is_string() {
        own_errors.retain(|e| e.path != "metadata.managedFields");
    }
    errors.append(&mut own_errors);
    if let Some(paths) = r.custom.as_ref().and_then(|c| c.scale.as_ref()) {
        scale(paths, value, status, &mut errors);
    }
    if !status {
        embedded(&own, value, "", &mut errors);
    }
    let twice = schema::duplicates(&own, value);
    // Where something was twice before, more may be.
    if !twice.is_empty() && old.is_none_or(|old| schema::duplicates(&own, old).is_empty()) {
        errors.extend(twice);
    }
    let mut found = Broken::default();
    if let Some(schema) = openapi.filter(|schema| super::rules::any(schema)) {
        if errors.iter().any(FieldError::hinders_rules) {
            // Rules are asked only of objects that have the form they rely on.
            let detail = "some validation rules were not checked because the object was invalid; correct the existing \
                          errors to complete validation";
            errors.push(FieldError::invalid("", Value::Null, detail));
        } else {
            found = super::rules::broken(schema, value, old, whole.as_ref(), "");
        }
    }
    errors.append(&mut found.errors);
    Broken {
        errors,
        warnings: found.warnings,
    }
}

/// `ValidateScaleSpec`, `ValidateScaleStatus`.
fn scale(paths: &ScalePaths, value: &Value, status: bool, errors: &mut Vec<FieldError>) {
    for (pointer, skipped) in [(&paths.spec_replicas, status), (&paths.status_replicas, false)] {
        if skipped {
            continue;
        }
        let path = pointer.replace('/', ".");
        match nested(value, pointer) {
            Err(why) => errors.push(FieldError::invalid(path, 0, why)),
            Ok(None) => {}
            Ok(Some(found)) => match found.as_i64() {
                None => errors.push(FieldError::invalid(path.as_str(), 0, not_a(&path, found, "int64"))),
                Some(n) if n < 0 => errors.push(FieldError::invalid(path, n, "should be a non-negative integer")),
                Some(n) if n > i64::from(i32::MAX) => {
                    let detail = format!("should be less than or equal to {}", i32::MAX);
                    errors.push(FieldError::invalid(path, n, detail));
                }
                Some(_) => {}
            },
        }
    }
    if let Some(pointer) = &paths.selector {
        let path = pointer.replace('/', ".");
        match nested(value, pointer) {
            Err(why) => errors.push(FieldError::invalid(path, "", why)),
            Ok(Some(found)) if !found.is_string() => {
                errors.push(FieldError::invalid(path.as_str(), "", not_a(&path, found, "string")));
            }
            Ok(_) => {}
        }
    }
}

/// `unstructured.NestedFieldNoCopy`.
fn nested<'v>(value: &'v Value, pointer: &str) -> Result<Option<&'v Value>, String> {
    let (mut at, mut path) = (value, String::new());
    for name in pointer.split('/').skip(1) {
        path = format!("{path}.{name}");
        match at {
            Value::Null => return Ok(None),
            Value::Object(fields) => match fields.get(name) {
                Some(child) => at = child,
                None => return Ok(None),
            },
            other => return Err(not_a(&path, other, "map[string]interface {}")),
        }
    }
    Ok(Some(at))
}

fn not_a(path: &str, value: &Value, wanted: &str) -> String {
    let kind = schema::go_type(value);
    format!(
        "{path} accessor error: {} is of the type {kind}, expected {wanted}",
        schema::go_value(value)
    )
}

/// Objects within the object (`x-kubernetes-embedded-resource`) say what they are.
pub(super) fn embedded(schema: &SchemaRef, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(fields) => {
            if schema.is_embedded_resource() {
                kind_of(value, path, errors);
            }
            for (name, child) in fields {
                match (schema.property(name), schema.additional()) {
                    (Some(of), _) => embedded(&of, child, &join(path, name), errors),
                    (None, Some(of)) => embedded(&of, child, &format!("{path}[{name}]"), errors),
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = schema.items() {
                for (i, item) in items.iter().enumerate() {
                    embedded(&of, item, &format!("{path}[{i}]"), errors);
                }
            }
        }
        _ => {}
    }
}

/// `validateEmbeddedResource`.
pub(super) fn kind_of(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for field in ["apiVersion", "kind"] {
        if value.get(field).is_none() {
            errors.push(FieldError::required(join(path, field), ""));
        }
    }
    for field in ["apiVersion", "kind"] {
        let Some(said) = value.get(field) else { continue };
        let Some(text) = said.as_str() else {
            errors.push(FieldError::invalid(join(path, field), said.clone(), "must be a string"));
            continue;
        };
        let detail = match field {
            _ if text.is_empty() => "must not be empty".to_owned(),
            "apiVersion" if text.matches('/').count() > 1 => format!("unexpected GroupVersion string: {text}"),
            "apiVersion" => continue,
            _ => match names::dns1035_label(&text.to_lowercase()).join(",") {
                why if why.is_empty() => continue,
                why => format!("may have mixed case, but should otherwise match: {why}"),
            },
        };
        errors.push(FieldError::invalid(join(path, field), text, detail));
    }
    if let Some(meta) = value.get("metadata").filter(|m| m.is_object()) {
        let mut meta = meta.clone();
        // Its name is nobody's business.
        if text(&meta, "/name").is_empty() {
            meta["name"] = "fakename".into();
        }
        let namespaced = !text(&meta, "/namespace").is_empty();
        let rule = crate::defaults::NameRule::PathSegment;
        let found = crate::defaults::validate_metadata(&meta, namespaced, rule);
        errors.extend(found.into_iter().map(|mut e| {
            e.path = join(path, &e.path);
            e
        }));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(|e| format!("{}: {}", e.path, e.message())).collect()
    }

    #[test]
    fn replicas_are_numbers() {
        let paths = ScalePaths {
            spec_replicas: "/spec/n".into(),
            status_replicas: "/status/n".into(),
            selector: Some("/status/sel".into()),
        };
        for (value, status, wanted) in [
            (
                json!({"spec": {"n": 1}, "status": {"n": 0, "sel": "a=b"}}),
                false,
                vec![],
            ),
            (
                json!({"spec": {"n": "x"}}),
                false,
                vec![".spec.n: Invalid value: 0: .spec.n accessor error: x is of the type string, expected int64"],
            ),
            (json!({"spec": {"n": "x"}}), true, vec![]),
            (
                json!({"spec": [1, "a"]}),
                false,
                vec![
                    ".spec.n: Invalid value: 0: .spec.n accessor error: [1 a] is of the type []interface {}, expected \
                     map[string]interface {}",
                ],
            ),
            (
                json!({"spec": {"n": -1}, "status": {"n": 4294967296_i64, "sel": 5}}),
                false,
                vec![
                    ".spec.n: Invalid value: -1: should be a non-negative integer",
                    ".status.n: Invalid value: 4294967296: should be less than or equal to 2147483647",
                    ".status.sel: Invalid value: \"\": .status.sel accessor error: 5 is of the type int64, expected string",
                ],
            ),
        ] {
            let mut errors = Vec::new();
            scale(&paths, &value, status, &mut errors);
            assert_eq!(told(&errors), wanted, "{value}");
        }
    }

    #[test]
    fn objects_within_objects_say_what_they_are() {
        let schema = json!({"type": "object", "properties": {"o": {"type": "object",
            "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}});
        let schema = SchemaRef::from_crd(&schema).unwrap();
        for (value, wanted) in [
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}),
                vec![],
            ),
            (
                json!({}),
                vec!["o.apiVersion: Required value", "o.kind: Required value"],
            ),
            (
                json!({"apiVersion": "a/b/c", "kind": ""}),
                vec![
                    "o.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                    "o.kind: Invalid value: \"\": must not be empty",
                ],
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a/b"}}),
                vec!["o.metadata.name: Invalid value: \"a/b\": may not contain '/'"],
            ),
        ] {
            let mut errors = Vec::new();
            embedded(&schema, &json!({"o": value}), "", &mut errors);
            assert_eq!(told(&errors), wanted, "{value}");
        }
    }
}
