//! Objects checked against schemas, with the texts of `k8s.io/kube-openapi/pkg/validation`.
//!
//! CEL rules are checked in `crate::crd::rules`. Not done: ratcheting (an update may not keep what was valid before).

use super::error::{FieldError, FieldErrorKind, join};
use super::node::{Checks, ListType, Node, Type};
use super::reference::SchemaRef;
use serde_json::Value;
use std::collections::BTreeSet;

/// Checks an object against its schema: types, and in CRDs everything else a schema can say.
///
/// For built-in types only the JSON types are checked, as by Go's decoder; the rest is `crate::defaults`' work.
pub fn validate(schema: &SchemaRef, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, object, "", &mut errors);
    errors
}

fn check(schema: &SchemaRef, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if value.is_null() && (schema.nullable() || schema.is_builtin() || schema.kind() == Type::Any) {
        return;
    }
    let fits = fits(schema.kind(), value);
    if !fits {
        errors.extend(mistyped(schema, value, path));
    }
    errors.extend(out_of_range(schema, value, path));
    // What else is asked of a value goes by what it is.
    if !fits && schema.is_builtin() {
        return;
    }
    if !schema.is_builtin() {
        check_values(schema.node(), value, path, errors);
        check_list(schema, value, path, errors);
    }
    match value {
        Value::Object(fields) => {
            if !schema.is_builtin() {
                for name in &schema.node().required {
                    if !fields.contains_key(name) {
                        errors.push(FieldError::required(join(path, name), ""));
                    }
                }
            }
            for (name, value) in fields {
                if let Some(child) = schema.field(name) {
                    check(&child, value, &join(path, name), errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(child) = schema.items() {
                for (i, item) in items.iter().enumerate() {
                    check(&child, item, &format!("{path}[{i}]"), errors);
                }
            }
        }
        _ => {}
    }
}

/// What is told of a value of the wrong type: its format, if it should have one (`typeValidator`).
fn mistyped(schema: &SchemaRef, value: &Value, path: &str) -> Option<FieldError> {
    let format = schema
        .format()
        .filter(|f| super::formats::is_known(schema.kind(), f) && !schema.is_builtin() && !value.is_null());
    let number = matches!(schema.kind(), Type::Integer | Type::Number);
    match (format, value) {
        (Some(_), Value::Array(_)) if !number => None,
        (None, _) | (Some(_), Value::String(_) | Value::Array(_)) => {
            Some(type_error(path, type_name(schema.kind()), data_type(value)))
        }
        (Some(format), value) => {
            let found = match value {
                Value::Number(n) if n.is_f64() => "float64",
                Value::Number(_) => "int64",
                _ => "",
            };
            Some(if found == format {
                type_error(path, type_name(schema.kind()), data_type(value))
            } else {
                type_error(path, format, found)
            })
        }
    }
}

/// Integers must be such, and as long as their format has room for (`IsValueValidAgainstRange`).
fn out_of_range(schema: &SchemaRef, value: &Value, path: &str) -> Option<FieldError> {
    if schema.is_builtin() || schema.kind() != Type::Integer || !value.is_number() {
        return None;
    }
    // Numbers without a fraction are integers however they are written.
    let whole = value
        .as_i64()
        .map(i128::from)
        .or_else(|| value.as_u64().map(i128::from))
        .or_else(|| value.as_f64().filter(|x| x.fract() == 0.0).map(|x| x as i128));
    let format = schema.format().unwrap_or_default();
    let (least, most) = match format {
        "int32" => (i128::from(i32::MIN), i128::from(i32::MAX)),
        "uint32" => (0, i128::from(u32::MAX)),
        "uint64" => (0, i128::from(u64::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    if whole.is_some_and(|n| (least..=most).contains(&n)) {
        return None;
    }
    let of = match format {
        "" => "(default format)".to_owned(),
        format => format!("with format {format}"),
    };
    let detail = format!("Checked value must be of type integer {of} in {path}");
    Some(FieldError::invalid("", "", detail))
}

/// A schema inside `allOf`, `anyOf`, `oneOf` or `not`: only value validations are allowed there.
fn check_nested(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(kind) = node.kind
        && !fits(kind, value)
    {
        errors.push(type_error(path, type_name(kind), data_type(value)));
        return;
    }
    check_values(node, value, path, errors);
    match value {
        Value::Object(fields) => {
            for name in node.required.iter().filter(|name| !fields.contains_key(*name)) {
                errors.push(FieldError::required(join(path, name), ""));
            }
            for (name, child) in &node.properties {
                if let Some(value) = fields.get(name) {
                    check_nested(child, value, &join(path, name), errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(child) = &node.items {
                for (i, item) in items.iter().enumerate() {
                    check_nested(child, item, &format!("{path}[{i}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn check_values(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(checks) = &node.checks else { return };
    match value {
        Value::Number(number) => {
            let mut invalid = |detail: String| errors.push(FieldError::invalid(path, value.clone(), detail));
            let x = number.as_f64().unwrap_or_default();
            if let Some((bound, exclusive)) = checks.maximum {
                if exclusive && x >= bound {
                    invalid(format!("{path} in body should be less than {bound}"));
                } else if x > bound {
                    invalid(format!("{path} in body should be less than or equal to {bound}"));
                }
            }
            if let Some((bound, exclusive)) = checks.minimum {
                if exclusive && x <= bound {
                    invalid(format!("{path} in body should be greater than {bound}"));
                } else if x < bound {
                    invalid(format!("{path} in body should be greater than or equal to {bound}"));
                }
            }
            if let Some(factor) = checks.multiple_of
                && factor > 0.0
                && (x / factor).fract() != 0.0
            {
                invalid(format!("{path} in body should be a multiple of {factor}"));
            }
        }
        Value::String(text) => check_string(node, checks, text, path, errors),
        Value::Array(items) => {
            if checks.min_items.is_some_and(|min| (items.len() as u64) < min) {
                // How many there are is told, not which.
                let detail = format!(
                    "{path} in body should have at least {} items",
                    checks.min_items.unwrap_or_default()
                );
                errors.push(FieldError::invalid(path, items.len(), detail));
            }
            if checks.unique_items && (1..items.len()).any(|i| items[..i].contains(&items[i])) {
                let detail = format!("{path} in body shouldn't contain duplicates");
                errors.push(FieldError::invalid(path, "", detail));
            }
            if let Some(max) = checks.max_items.filter(|max| items.len() as u64 > *max) {
                errors.push(FieldError::too_many(path, items.len() as u64, max));
            }
        }
        Value::Object(fields) => {
            if checks.min_properties.is_some_and(|min| (fields.len() as u64) < min) {
                let min = checks.min_properties.unwrap_or_default();
                let detail = format!("{path} in body should have at least {min} properties");
                errors.push(FieldError::invalid(path, fields.len(), detail));
            }
            if let Some(max) = checks.max_properties.filter(|max| fields.len() as u64 > *max) {
                errors.push(FieldError::too_many(path, fields.len() as u64, max));
            }
        }
        _ => {}
    }
    if !checks.enumeration.is_empty() && !checks.enumeration.contains(value) {
        let valid: Vec<String> = checks.enumeration.iter().map(plain).collect();
        errors.push(FieldError::not_supported(path, value.clone(), &valid));
    }
    check_combinations(checks, value, path, errors);
}

fn check_string(node: &Node, checks: &Checks, text: &str, path: &str, errors: &mut Vec<FieldError>) {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let matches = |pattern: &str| {
        let regex = checks.regex.get_or_init(|| cfn_cel::pattern::compiled(pattern));
        regex.as_ref().is_none_or(|regex| regex.is_match(text))
    };
    // The first of these that is broken is all that is told.
    if let Some(max) = checks.max_length.filter(|max| length > *max) {
        let mut error = FieldError::too_long(path, max.unsigned_abs());
        if max < 0 {
            error.detail = "value is too long".to_owned();
        }
        errors.push(error);
    } else if let Some(min) = checks.min_length.filter(|min| length.unsigned_abs() < *min) {
        let detail = format!("{path} in body should be at least {min} chars long");
        errors.push(FieldError::invalid(path, text, detail));
    } else if let Some(pattern) = checks.pattern.as_ref().filter(|p| !matches(p)) {
        let detail = format!("{path} in body should match '{pattern}'");
        errors.push(FieldError::invalid(path, text, detail));
    }
    if let Some(format) = &node.format
        && !super::formats::has(format, text)
    {
        let detail = format!("{path} in body must be of type {format}: {}", cfn_cel::go::quote(text));
        errors.push(FieldError {
            path: path.to_owned(),
            kind: FieldErrorKind::TypeInvalid,
            value: Some(text.into()),
            detail,
        });
    }
}

fn check_combinations(checks: &Checks, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let valid = |node: &Node| {
        let mut errors = Vec::new();
        check_nested(node, value, path, &mut errors);
        errors.is_empty()
    };
    let quoted = cfn_cel::go::quote(path);
    for node in &checks.all_of {
        check_nested(node, value, path, errors);
    }
    if !checks.any_of.is_empty() && !checks.any_of.iter().any(|node| valid(node)) {
        errors.push(FieldError::invalid(
            "",
            "",
            format!("{quoted} must validate at least one schema (anyOf)"),
        ));
    }
    if !checks.one_of.is_empty() {
        let count = checks.one_of.iter().filter(|node| valid(node)).count();
        if count != 1 {
            let found = if count == 0 {
                "Found none valid".to_owned()
            } else {
                format!("Found {count} valid alternatives")
            };
            let detail = format!("{quoted} must validate one and only one schema (oneOf). {found}");
            errors.push(FieldError::invalid("", "", detail));
        }
    }
    if checks.not.as_ref().is_some_and(|node| valid(node)) {
        errors.push(FieldError::invalid(
            "",
            "",
            format!("{quoted} must not validate the schema (not)"),
        ));
    }
}

/// Sets and maps may not have elements twice (`apiserver/schema/listtype`).
fn check_list(schema: &SchemaRef, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Value::Array(items) = value else { return };
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let key = match schema.list_type() {
            ListType::Atomic => return,
            ListType::Set => item.clone(),
            ListType::Map(keys) => {
                let defaults = schema.items();
                Value::Object(
                    keys.iter()
                        .filter_map(|key| {
                            let default = || defaults.as_ref()?.property(key)?.default().cloned();
                            Some((key.clone(), item.get(key).cloned().or_else(default)?))
                        })
                        .collect(),
                )
            }
        };
        if !seen.insert(key.to_string()) {
            errors.push(FieldError::duplicate(format!("{path}[{i}]"), key));
        }
    }
}

/// Whether a JSON value has the type.
pub(super) fn fits(kind: Type, value: &Value) -> bool {
    match kind {
        Type::Any => true,
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::String => value.is_string(),
        Type::Boolean => value.is_boolean(),
        Type::Number => value.is_number(),
        Type::Integer => is_integer(value),
        Type::IntOrString => value.is_string() || is_integer(value),
        Type::Quantity => value.is_string() || value.is_number(),
    }
}

fn is_integer(value: &Value) -> bool {
    // Of what has a fraction or a power, those that a double tells from their neighbours (`swag.IsFloat64AJSONInteger`).
    let whole = |x: f64| x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_991.0;
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(whole)
}

fn type_error(path: &str, expected: &str, found: &str) -> FieldError {
    let place = if path.is_empty() { "" } else { path };
    let detail = format!("{place} in body must be of type {expected}: \"{found}\"");
    FieldError {
        path: path.to_owned(),
        kind: FieldErrorKind::TypeInvalid,
        value: Some(found.into()),
        detail,
    }
}

fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Any => "any",
        Type::Object => "object",
        Type::Array => "array",
        Type::String | Type::Quantity => "string",
        Type::Boolean => "boolean",
        Type::Number => "number",
        Type::Integer => "integer",
        Type::IntOrString => "integer,string",
    }
}

fn data_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
