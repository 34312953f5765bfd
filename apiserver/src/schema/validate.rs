//! Objects checked against schemas, with the texts and the order of `k8s.io/kube-openapi/pkg/validation`; on an update, what
//! did not change may stay invalid (`apiextensions-apiserver/pkg/apiserver/validation/ratcheting.go`).
//!
//! CEL rules are checked in `crate::crd::rules`, sets and maps in [`super::list_type`].

use super::correlated::Correlated;
use super::error::{FieldError, FieldErrorKind, join};
use super::node::{Checks, Node, Type};
use super::reference::SchemaRef;
use serde_json::Value;
use std::collections::BTreeSet;

/// Checks an object against its schema: types, and in CRDs everything else a schema can say.
///
/// For built-in types only the JSON types are checked, as by Go's decoder; the rest is `crate::defaults`' work.
pub fn validate(schema: &SchemaRef, object: &Value) -> Vec<FieldError> {
    validate_update(schema, object, None)
}

/// As [`validate`], of a value that may be one before: mistakes in what is the same as before are none.
pub fn validate_update(schema: &SchemaRef, object: &Value, before: Option<&Correlated<'_>>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, object, before, "", &mut errors);
    // What is found twice is told once (`Result.AddErrors`).
    let mut told = BTreeSet::new();
    errors.retain(|e| told.insert(e.to_string()));
    errors
}

fn check(schema: &SchemaRef, value: &Value, before: Option<&Correlated<'_>>, path: &str, errors: &mut Vec<FieldError>) {
    let known = errors.len();
    check_value(schema, value, before, path, errors);
    if errors.len() > known && before.is_some_and(Correlated::is_equal) {
        errors.truncate(known);
    }
}

fn check_value(
    schema: &SchemaRef,
    value: &Value,
    before: Option<&Correlated<'_>>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
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
    let own = schema.node();
    if !schema.is_builtin() {
        check_scalar(own, value, path, errors);
    }
    match value {
        Value::Object(fields) => {
            if !schema.is_builtin() {
                check_size(own, value, path, errors);
            }
            for (name, value) in fields {
                if let Some(child) = schema.field(name) {
                    // An object's type is that of the request, whatever it was before.
                    let typed = path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind");
                    let before = before.filter(|_| !typed).and_then(|b| b.key(name));
                    check(&child, value, before.as_ref(), &join(path, name), errors);
                }
            }
            if !schema.is_builtin() {
                check_required(own, value, path, errors);
            }
        }
        Value::Array(items) => {
            if let Some(child) = schema.items() {
                for (i, item) in items.iter().enumerate() {
                    let before = before.and_then(|b| b.index(i));
                    check(&child, item, before.as_ref(), &format!("{path}[{i}]"), errors);
                }
            }
            if !schema.is_builtin() {
                check_size(own, value, path, errors);
            }
        }
        _ => {}
    }
    if !schema.is_builtin() {
        check_enumeration(own, value, path, errors);
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

/// What a schema inside `allOf`, `anyOf`, `oneOf` or `not` says of a value: what is wrong, and how many checks were made of it,
/// by which the alternative that comes closest is found (`Result.MatchCount`).
#[derive(Default)]
struct Outcome {
    errors: Vec<FieldError>,
    matches: usize,
}

impl Outcome {
    fn merge(&mut self, other: Outcome) {
        self.errors.extend(other.errors);
        self.matches += other.matches;
    }
}

/// Only value validations are allowed in such a schema.
fn check_nested(node: &Node, value: &Value, path: &str) -> Outcome {
    let mut found = Outcome::default();
    let typed = node.kind.is_some() || node.format.is_some();
    if typed || value.is_null() {
        found.matches += 1;
    }
    if let Some(kind) = node.kind
        && !fits(kind, value)
        && !(value.is_null() && node.nullable)
    {
        found.errors.push(type_error(path, type_name(kind), data_type(value)));
    }
    if !value.is_null() {
        // Of the type, the alternatives, what the value is, the enumeration, and all of them.
        found.matches += usize::from(typed) + 4;
        found.merge(check_combinations(node, value, path));
    }
    check_own(node, value, path, &mut found.errors);
    match value {
        Value::Object(fields) => {
            check_size(node, value, path, &mut found.errors);
            for (name, child) in &node.properties {
                if let Some(value) = fields.get(name) {
                    found.merge(check_nested(child, value, &join(path, name)));
                }
            }
            check_required(node, value, path, &mut found.errors);
        }
        Value::Array(items) => {
            found.matches += 1;
            if let Some(child) = &node.items {
                for (i, item) in items.iter().enumerate() {
                    found.merge(check_nested(child, item, &format!("{path}[{i}]")));
                }
            }
            check_size(node, value, path, &mut found.errors);
        }
        Value::Number(_) => found.matches += 1,
        _ => {}
    }
    check_enumeration(node, value, path, &mut found.errors);
    found
}

/// What is said of the value itself, whatever is in it.
fn check_scalar(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !value.is_null() {
        errors.extend(check_combinations(node, value, path).errors);
    }
    check_own(node, value, path, errors);
}

fn check_own(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(checks) = &node.checks else { return };
    match value {
        Value::Number(number) => {
            let mut invalid = |detail: String| errors.push(FieldError::invalid(path, value.clone(), detail));
            let x = number.as_f64().unwrap_or_default();
            if let Some(factor) = checks.multiple_of
                && factor > 0.0
                && (x / factor).fract() != 0.0
            {
                invalid(format!("{path} in body should be a multiple of {factor}"));
            }
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
        }
        Value::String(text) => check_string(node, checks, text, path, errors),
        _ => {}
    }
}

/// How many elements or fields there may be.
fn check_size(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(checks) = &node.checks else { return };
    match value {
        Value::Array(items) => {
            if let Some(min) = checks.min_items.filter(|min| (items.len() as u64) < *min) {
                // How many there are is told, not which.
                let detail = format!("{path} in body should have at least {min} items");
                errors.push(FieldError::invalid(path, items.len(), detail));
            }
            if let Some(max) = checks.max_items.filter(|max| items.len() as u64 > *max) {
                errors.push(FieldError::too_many(path, items.len() as u64, max));
            }
            let mut seen = BTreeSet::new();
            if checks.unique_items && !items.iter().all(|item| seen.insert(item.to_string())) {
                let detail = format!("{path} in body shouldn't contain duplicates");
                errors.push(FieldError::invalid(path, "", detail));
            }
        }
        Value::Object(fields) => {
            if let Some(min) = checks.min_properties.filter(|min| (fields.len() as u64) < *min) {
                let detail = format!("{path} in body should have at least {min} properties");
                errors.push(FieldError::invalid(path, fields.len(), detail));
            }
            if let Some(max) = checks.max_properties.filter(|max| fields.len() as u64 > *max) {
                errors.push(FieldError::too_many(path, fields.len() as u64, max));
            }
        }
        _ => {}
    }
}

fn check_required(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let missing = node.required.iter().filter(|name| value.get(name.as_str()).is_none());
    errors.extend(missing.map(|name| FieldError::required(join(path, name), "")));
}

fn check_enumeration(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(checks) = &node.checks else { return };
    if !checks.enumeration.is_empty() && !checks.enumeration.contains(value) {
        let valid: Vec<String> = checks.enumeration.iter().map(plain).collect();
        errors.push(FieldError::not_supported(path, value.clone(), &valid));
    }
}

fn check_string(node: &Node, checks: &Checks, text: &str, path: &str, errors: &mut Vec<FieldError>) {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    // What does not match, with why none can.
    let unmatched = |pattern: &String| match checks.regex.get_or_init(|| cfn_cel::pattern::compile(pattern)) {
        Ok(regex) => (!regex.is_match(text)).then(|| pattern.clone()),
        Err(why) => Some(format!("{pattern}, but pattern is invalid: {why}")),
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
    } else if let Some(pattern) = checks.pattern.as_ref().and_then(unmatched) {
        let detail = format!("{path} in body should match '{pattern}'");
        errors.push(FieldError::invalid(path, text, detail));
    }
    if let Some(format) = &node.format
        && !cfn_cel::strfmt::has(format, text)
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

fn check_combinations(node: &Node, value: &Value, path: &str) -> Outcome {
    let mut found = Outcome {
        errors: Vec::new(),
        matches: 1,
    };
    let Some(checks) = &node.checks else { return found };
    let quoted = cfn_cel::go::quote(path);
    let told = |detail: String| FieldError::invalid("", "", detail);
    if !checks.any_of.is_empty() {
        let mut best: Option<Outcome> = None;
        for alternative in &checks.any_of {
            let outcome = check_nested(alternative, value, path);
            let valid = outcome.errors.is_empty();
            if valid || best.as_ref().is_none_or(|b| outcome.matches > b.matches) {
                best = Some(outcome);
            }
            if valid {
                break;
            }
        }
        if best.as_ref().is_some_and(|b| !b.errors.is_empty()) {
            found
                .errors
                .push(told(format!("{quoted} must validate at least one schema (anyOf)")));
        }
        found.merge(best.unwrap_or_default());
    }
    if !checks.one_of.is_empty() {
        let mut valid = 0;
        let mut best: Option<Outcome> = None;
        for alternative in &checks.one_of {
            let outcome = check_nested(alternative, value, path);
            if outcome.errors.is_empty() {
                valid += 1;
                best = Some(outcome);
            } else if valid == 0 && best.as_ref().is_none_or(|b| outcome.matches > b.matches) {
                best = Some(outcome);
            }
        }
        if valid != 1 {
            let many = match valid {
                0 => "Found none valid".to_owned(),
                valid => format!("Found {valid} valid alternatives"),
            };
            let detail = format!("{quoted} must validate one and only one schema (oneOf). {many}");
            found.errors.push(told(detail));
        }
        found.merge(best.filter(|_| valid < 2).unwrap_or_default());
    }
    if !checks.all_of.is_empty() {
        let mut valid = 0;
        for part in &checks.all_of {
            let outcome = check_nested(part, value, path);
            valid += usize::from(outcome.errors.is_empty());
            found.merge(outcome);
        }
        if valid < checks.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            found
                .errors
                .push(told(format!("{quoted} must validate all the schemas (allOf){none}")));
        }
    }
    if let Some(not) = &checks.not
        && check_nested(not, value, path).errors.is_empty()
    {
        found
            .errors
            .push(told(format!("{quoted} must not validate the schema (not)")));
    }
    found
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
