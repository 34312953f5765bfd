//! What makes a schema structural (`apiextensions-apiserver/pkg/apiserver/schema/{convert,validation,complete}.go`).

use serde_json::Value;

use super::{entries, list, positive, schema_at};
use crate::registry::text;
use crate::schema::FieldError;

/// Where in a schema a part stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Why a schema cannot be read as a structural one at all (`NewStructural`): the first reason that is met.
pub(crate) fn unreadable(schema: &Value) -> Option<&'static str> {
    let given = |field: &str| !text(schema, &format!("/{field}")).is_empty();
    let some = |field: &str| schema[field].as_object().is_some_and(|m| !m.is_empty());
    for (wrong, why) in [
        (given("id"), "OpenAPIV3Schema 'id' is not supported"),
        (given("$schema"), "OpenAPIV3Schema 'schema' is not supported"),
        (given("$ref"), "OpenAPIV3Schema '$ref' is not supported"),
        (
            some("patternProperties"),
            "OpenAPIV3Schema 'patternProperties' is not supported",
        ),
        (some("dependencies"), "OpenAPIV3Schema 'dependencies' is not supported"),
        (
            !schema["additionalItems"].is_null(),
            "OpenAPIV3Schema 'additionalItems' is not supported",
        ),
        (some("definitions"), "OpenAPIV3Schema 'definitions' is not supported"),
    ] {
        if wrong {
            return Some(why);
        }
    }
    let within = schema_at(&schema["not"]).into_iter();
    let within = within.chain(["allOf", "anyOf", "oneOf"].into_iter().flat_map(|f| list(&schema[f])));
    if let Some(why) = within.filter_map(unreadable).next() {
        return Some(why);
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        return Some("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined");
    }
    if !list(&schema["items"]).is_empty() {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array");
    }
    let parts = schema_at(&schema["items"]).into_iter();
    let parts = parts.chain(entries(&schema["properties"]).map(|(_, s)| s));
    parts
        .chain(schema_at(&schema["additionalProperties"]))
        .filter_map(unreadable)
        .next()
}

/// Everything that makes a schema not structural, sorted by its text (`ValidateStructural`).
pub(super) fn errors(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut found = Vec::new();
    invariants(schema, Level::Root, path, &mut found);
    complete(schema, Some(schema), path, path, &mut found);
    found.sort_by_cached_key(FieldError::to_string);
    found
}

fn invariants(s: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let kind = text(s, "/type");
    let items = schema_at(&s["items"]);
    if kind == "array" && items.is_none() {
        errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
    }
    if let Some(items) = items {
        invariants(items, Level::Item, &format!("{path}.items"), errors);
    }
    for (name, child) in entries(&s["properties"]) {
        invariants(child, Level::Field, &format!("{path}.properties[{name}]"), errors);
    }
    let more = &s["additionalProperties"];
    let at_more = format!("{path}.additionalProperties");
    if !more.is_null() {
        if level == Level::Root {
            errors.push(FieldError::forbidden(at_more.as_str(), "must not be used at the root"));
        }
        if let Some(more) = schema_at(more) {
            invariants(more, Level::Field, &at_more, errors);
        }
    }
    let is = |field: &str| s[field] == true;
    let (either, embedded, keeps) = (
        is("x-kubernetes-int-or-string"),
        is("x-kubernetes-embedded-resource"),
        is("x-kubernetes-preserve-unknown-fields"),
    );
    for (field, both) in [
        ("x-kubernetes-preserve-unknown-fields", keeps),
        ("x-kubernetes-embedded-resource", embedded),
    ] {
        if either && both {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(format!("{path}.{field}"), true, detail));
        }
    }
    let first = list(&s["allOf"]).first();
    junctors(
        s,
        number_or_text(s),
        first.is_some_and(number_or_text),
        level,
        path,
        errors,
    );
    let at_type = format!("{path}.type");
    if embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(wrong_type(at_type.as_str(), kind, detail));
    } else if kind.is_empty() && !either && !keeps {
        let of = match level {
            Level::Root => "at the root",
            Level::Item => "for specified array items",
            Level::Field => "for specified object fields",
        };
        errors.push(FieldError::required(
            at_type.as_str(),
            format!("must not be empty {of}"),
        ));
    }
    if embedded && !more.is_null() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(at_more, detail));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(at_type, kind, "must be object at the root"));
    }
    let is_object = level == Level::Root || embedded;
    for field in ["kind", "apiVersion"] {
        if let Some(own) = s["properties"].get(field).filter(|_| is_object)
            && own["type"] != "string"
        {
            let at = format!("{path}.properties[{field}].type");
            errors.push(FieldError::invalid(at, text(own, "/type"), "must be string"));
        }
    }
    if let Some(own) = s["properties"].get("metadata") {
        metadata(own, is_object, level, &format!("{path}.properties[metadata]"), errors);
    }
    if embedded && !keeps && entries(&s["properties"]).next().is_none() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(format!("{path}.properties"), detail));
    }
}

/// A type that is none or another than it must be.
pub(super) fn wrong_type(path: impl Into<String>, kind: &str, detail: &str) -> FieldError {
    if kind.is_empty() {
        FieldError::required(path, detail)
    } else {
        FieldError::invalid(path, kind, detail)
    }
}

/// The schema of an object's metadata: at the root it may restrict names and do no more.
fn metadata(s: &Value, is_object: bool, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    if is_object && s["type"] != "object" {
        errors.push(FieldError::invalid(
            format!("{path}.type"),
            text(s, "/type"),
            "must be object",
        ));
    }
    let names_only = entries(&s["properties"]).all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
    let silent = |(field, said): (&String, &Value)| match field.as_str() {
        "type" | "default" | "properties" => true,
        "enum" | "allOf" | "anyOf" | "oneOf" => list(said).is_empty(),
        _ => said.is_null(),
    };
    if level == Level::Root && !(names_only && entries(s).all(silent)) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(path, detail));
    }
}

/// Whether `anyOf` says that a value is a number or a text, in the words that are always taken.
fn number_or_text(s: &Value) -> bool {
    let is = |s: &Value, kind: &str| s["type"] == kind && s.as_object().is_some_and(|m| m.len() == 1);
    matches!(list(&s["anyOf"]), [a, b] if is(a, "integer") && is(b, "string"))
}

/// `allOf`, `anyOf`, `oneOf`, `not` and the pattern.
fn junctors(s: &Value, skip_any: bool, skip_first: bool, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    for field in ["anyOf", "allOf", "oneOf"] {
        for (i, child) in list(&s[field]).iter().enumerate() {
            let skip = skip_first && field == "allOf" && i == 0;
            if !(field == "anyOf" && skip_any) {
                nested(child, skip, level, &format!("{path}.{field}[{i}]"), errors);
            }
        }
    }
    if let Some(not) = schema_at(&s["not"]) {
        nested(not, false, level, &format!("{path}.not"), errors);
    }
    let pattern = text(s, "/pattern");
    if let Err(why) = cfn_cel::pattern::compile(pattern) {
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid(format!("{path}.pattern"), pattern, detail));
    }
}

/// A schema within a junctor says what values are, but not how they are read (`validateNestedValueValidation`).
fn nested(s: &Value, skip_any: bool, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    junctors(s, skip_any, false, level, path, errors);
    if let Some(items) = schema_at(&s["items"]) {
        nested(items, false, level, &format!("{path}.items"), errors);
    }
    for (name, child) in entries(&s["properties"]) {
        nested(
            child,
            false,
            Level::Field,
            &format!("{path}.properties[{name}]"),
            errors,
        );
    }
    let more = !matches!(s["additionalProperties"], Value::Null | Value::Bool(false));
    for (field, said, nothing) in [
        ("type", !text(s, "/type").is_empty(), "empty"),
        ("additionalProperties", more, "undefined"),
        ("default", !s["default"].is_null(), "undefined"),
        ("title", !text(s, "/title").is_empty(), "empty"),
        ("description", !text(s, "/description").is_empty(), "empty"),
        ("nullable", s["nullable"] == true, "false"),
        (
            "x-kubernetes-preserve-unknown-fields",
            s["x-kubernetes-preserve-unknown-fields"] == true,
            "false",
        ),
        (
            "x-kubernetes-embedded-resource",
            s["x-kubernetes-embedded-resource"] == true,
            "false",
        ),
        (
            "x-kubernetes-int-or-string",
            s["x-kubernetes-int-or-string"] == true,
            "false",
        ),
        (
            "x-kubernetes-list-map-keys",
            !list(&s["x-kubernetes-list-map-keys"]).is_empty(),
            "empty",
        ),
        (
            "x-kubernetes-list-type",
            !s["x-kubernetes-list-type"].is_null(),
            "undefined",
        ),
        (
            "x-kubernetes-map-type",
            !s["x-kubernetes-map-type"].is_null(),
            "undefined",
        ),
        (
            "x-kubernetes-validations",
            !list(&s["x-kubernetes-validations"]).is_empty(),
            "empty",
        ),
    ] {
        if said {
            let detail = format!("must be {nothing} to be structural");
            errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
        }
    }
    if s["properties"].get("metadata").is_some() {
        let at = format!("{path}.properties[metadata]");
        errors.push(FieldError::forbidden(at, "must not be specified in a nested context"));
    }
}

/// Whether what junctors say is of parts that the schema has outside of them (`validateStructuralCompleteness`).
fn complete(v: &Value, s: Option<&Value>, s_path: &str, v_path: &str, errors: &mut Vec<FieldError>) {
    let Some(s) = s else {
        return errors.push(FieldError::required(
            s_path,
            format!("because it is defined in {v_path}"),
        ));
    };
    if let Some(not) = schema_at(&v["not"]) {
        complete_within(not, Some(s), s_path, &format!("{v_path}.not"), errors);
    }
    for field in ["allOf", "anyOf", "oneOf"] {
        for (i, child) in list(&v[field]).iter().enumerate() {
            complete_within(child, Some(s), s_path, &format!("{v_path}.{field}[{i}]"), errors);
        }
    }
}

fn complete_within(v: &Value, s: Option<&Value>, s_path: &str, v_path: &str, errors: &mut Vec<FieldError>) {
    let Some(own) = s else {
        return errors.push(FieldError::required(
            s_path,
            format!("because it is defined in {v_path}"),
        ));
    };
    complete(v, s, s_path, v_path, errors);
    if let Some(items) = schema_at(&v["items"]) {
        let (s_path, v_path) = (format!("{s_path}.items"), format!("{v_path}.items"));
        complete_within(items, schema_at(&own["items"]), &s_path, &v_path, errors);
    }
    for (name, child) in entries(&v["properties"]) {
        let at = format!("properties[{name}]");
        let (s_path, v_path) = (format!("{s_path}.{at}"), format!("{v_path}.{at}"));
        complete_within(child, own["properties"].get(name), &s_path, &v_path, errors);
    }
}

/// How often a part of a schema may be there for each time that the schema is (`extractMaxElements`); `None`: without
/// bound.
pub(super) fn most_elements(s: &Value) -> Option<u64> {
    match text(s, "/type") {
        "object" if !s["additionalProperties"].is_null() => s["maxProperties"].as_i64().map(positive),
        "array" => s["maxItems"].as_i64().map(positive),
        _ => Some(1),
    }
}
