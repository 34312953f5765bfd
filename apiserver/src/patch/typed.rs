//! Objects seen through their schemas, as server-side apply sees them: which fields they have, merging and
//! removing (`sigs.k8s.io/structured-merge-diff/v6/typed`).

use super::fieldset::FieldSet;
use super::path::{PathElement, display};
use crate::schema::{ListType, SchemaRef, Type};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// How a value is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// As one value: scalars, and whatever does not fit its schema.
    Leaf,
    /// As an object, field by field.
    Map,
    /// As a list, element by element.
    List,
    /// As an object or list that is one value.
    Atomic,
}

pub(super) fn shape(schema: &SchemaRef, value: &Value) -> Shape {
    let kind = schema.kind();
    match value {
        // Null takes the shape its schema demands.
        Value::Null => match kind {
            Type::Object if schema.is_atomic_map() => Shape::Atomic,
            Type::Object => Shape::Map,
            Type::Array if *schema.list_type() == ListType::Atomic => Shape::Atomic,
            Type::Array => Shape::List,
            _ => Shape::Leaf,
        },
        Value::Object(_) if matches!(kind, Type::Object | Type::Any) => {
            if schema.is_atomic_map() {
                Shape::Atomic
            } else {
                Shape::Map
            }
        }
        Value::Array(_) if matches!(kind, Type::Array | Type::Any) => {
            if *schema.list_type() == ListType::Atomic {
                Shape::Atomic
            } else {
                Shape::List
            }
        }
        _ => Shape::Leaf,
    }
}

/// Schema of a field in server-side apply's eyes.
pub(super) fn field_schema(schema: &SchemaRef, name: &str) -> Option<SchemaRef> {
    schema
        .field(name)
        .or_else(|| schema.deduces_unknown().then(SchemaRef::anything))
}

pub(super) fn element_schema(schema: &SchemaRef) -> SchemaRef {
    schema.items().unwrap_or_else(SchemaRef::anything)
}

/// A field's value, also where Go's type has it without its being given.
pub(super) fn field_value<'v>(schema: &SchemaRef, object: Option<&'v Value>, name: &str) -> Option<&'v Value> {
    let fields = object?.as_object()?;
    fields.get(name).or_else(|| schema.when_absent(name))
}

/// Names of the fields of either object, and of those that are never absent, sorted.
pub(super) fn field_names<'v>(schema: &'v SchemaRef, objects: [Option<&'v Value>; 2]) -> Vec<&'v str> {
    let given = objects.into_iter().flatten().filter_map(Value::as_object);
    let mut names: Vec<&str> = given.flat_map(Map::keys).map(String::as_str).collect();
    names.extend(schema.never_absent().iter().map(String::as_str));
    names.sort_unstable();
    names.dedup();
    names
}

/// The path element of a list's element.
fn list_element(schema: &SchemaRef, item: &Value) -> Result<PathElement, String> {
    match schema.list_type() {
        ListType::Map(keys) => {
            let Value::Object(fields) = item else {
                return Err("associative list with keys may not have non-map elements".to_owned());
            };
            let elements = element_schema(schema);
            let mut found: Vec<(String, Value)> = Vec::new();
            for key in keys {
                let default = || elements.property(key).and_then(|child| child.default().cloned());
                if let Some(value) = fields.get(key).cloned().or_else(default) {
                    found.push((key.clone(), value));
                }
            }
            if found.is_empty() {
                let keys: Vec<String> = keys.iter().map(|key| crate::schema::quote(key)).collect();
                return Err(format!(
                    "associative list with keys has an element that omits all key fields [{}] (and doesn't have \
                     default values for any key fields)",
                    keys.join(" ")
                ));
            }
            found.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(PathElement::Key(found))
        }
        _ => match item {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
            value => Ok(PathElement::Value(value.clone())),
        },
    }
}

/// A value as Go's `%#v` writes it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(all) => {
            let all: Vec<String> = all.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", all.join(", "))
        }
        Value::Object(all) => {
            let all: Vec<String> = all
                .iter()
                .map(|(k, v)| format!("{}:{}", crate::schema::quote(k), go_syntax(v)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", all.join(", "))
        }
        Value::String(text) => crate::schema::quote(text),
        other => other.to_string(),
    }
}

/// Whether a list whose elements are told apart by keys has one that has none of them.
pub fn has_keyless(schema: &SchemaRef, value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            let below = |(name, value): (&String, &Value)| {
                (value.is_object() || value.is_array()) && schema.field(name).is_some_and(|s| has_keyless(&s, value))
            };
            fields.iter().any(below)
        }
        Value::Array(items) if *schema.list_type() != ListType::Atomic => {
            let own = element_schema(schema);
            let default = |key: &String| own.property(key).is_some_and(|child| child.default().is_some());
            let keyless = |item: &Value| match schema.list_type() {
                ListType::Map(keys) => !keys.iter().any(|key| item.get(key).is_some() || default(key)),
                _ => false,
            };
            items.iter().any(|item| keyless(item) || has_keyless(&own, item))
        }
        _ => false,
    }
}

/// Whether all of an object, but for who owns it, fits a schema.
pub fn is_declared(schema: &SchemaRef, object: &Value) -> bool {
    let mut without = object.clone();
    super::set_aside(&mut without);
    errors(schema, &without).is_empty()
}

/// What does not fit of an object: unknown fields, wrong types, elements that occur twice.
pub(super) fn errors(schema: &SchemaRef, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, value, &mut Vec::new(), &mut found);
    found
}

fn check(schema: &SchemaRef, value: &Value, path: &mut Vec<PathElement>, found: &mut Vec<String>) {
    let mut wrong = |what: String| found.push(format!("{}: {what}", display(path)));
    match (value, schema.kind()) {
        (Value::Null, _) => {}
        (Value::Object(fields), Type::Object | Type::Any) => {
            for (name, value) in fields {
                path.push(PathElement::Field(name.clone()));
                let child = field_schema(schema, name);
                match &child {
                    None => found.push(format!("{}: field not declared in schema", display(path))),
                    Some(child) => check(child, value, path, found),
                }
                path.pop();
            }
        }
        (Value::Array(items), Type::Array | Type::Any) => {
            let mut seen = BTreeSet::new();
            for (i, item) in items.iter().enumerate() {
                let element = match schema.list_type() {
                    ListType::Atomic => PathElement::Index(i as i64),
                    _ => match list_element(schema, item) {
                        Ok(element) => element,
                        // What comes after it is not looked at.
                        Err(why) => return found.push(format!("{}: element {i}: {why}", display(path))),
                    },
                };
                if !seen.insert(element.clone()) {
                    found.push(format!("{}: duplicate entries for key {element}", display(path)));
                }
                path.push(element);
                check(&element_schema(schema), item, path, found);
                path.pop();
            }
        }
        // Go prints its wrapper of the value, once with types and once without.
        (value, Type::Object) => wrong(format!("expected map, got &{{{}}}", crate::schema::go_value(value))),
        (value, Type::Array) => wrong(format!("expected list, got &{{{}}}", crate::schema::go_value(value))),
        (value @ (Value::Object(_) | Value::Array(_)), Type::String) if schema.is_untyped_scalar() => {
            let of = crate::schema::go_value(value);
            wrong(format!("expected any scalar, got &{{{of}}}"));
        }
        (_, Type::String) if schema.is_untyped_scalar() => {}
        (value, Type::String) if !value.is_string() => {
            let of = go_syntax(value);
            wrong(format!("expected string, got &value.valueUnstructured{{Value:{of}}}"));
        }
        (value, Type::Boolean) if !value.is_boolean() => {
            let of = crate::schema::go_value(value);
            wrong(format!("expected boolean, got &{{{of}}}"));
        }
        (value, Type::Integer | Type::Number) if !value.is_number() => {
            // Here Go prints the type.
            let of = crate::schema::go_type(value);
            wrong(format!("expected numeric (int or float), got {of}"));
        }
        _ => {}
    }
}

/// The fields an object has.
pub(super) fn field_set(schema: &SchemaRef, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    match shape(schema, value) {
        Shape::Leaf | Shape::Atomic => {}
        Shape::Map => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let child = field_schema(schema, name).unwrap_or_else(SchemaRef::anything);
                let whole = matches!(shape(&child, value), Shape::Leaf | Shape::Atomic);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                let member = whole || empty || schema.property(name).is_none();
                set.put(PathElement::Field(name.clone()), member, field_set(&child, value));
            }
        }
        Shape::List => {
            let child = element_schema(schema);
            for (element, items) in by_element(schema, value) {
                // Elements that occur more than once are one value together.
                let below = match items.as_slice() {
                    [one] => field_set(&child, one),
                    _ => FieldSet::default(),
                };
                set.put(element, true, below);
            }
        }
    }
    set
}

/// A list's elements in their order.
pub(super) fn by_element<'v>(schema: &SchemaRef, list: &'v Value) -> BTreeMap<PathElement, Vec<&'v Value>> {
    let mut all: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
    for (element, item) in elements(schema, Some(list)) {
        all.entry(element).or_default().push(item);
    }
    all
}

/// A list's elements with their path elements; those that have none are left out.
pub(super) fn elements<'v>(schema: &SchemaRef, list: Option<&'v Value>) -> Vec<(PathElement, &'v Value)> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items
        .filter_map(|item| Some((list_element(schema, item).ok()?, item)))
        .collect()
}

pub(super) fn is_empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    }
}

/// `config` merged over `live`.
pub(super) fn merge(schema: &SchemaRef, live: &Value, config: &Value) -> Value {
    merge_at(schema, Some(live), Some(config)).unwrap_or(Value::Null)
}

fn merge_at(schema: &SchemaRef, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let value = match (live, config) {
        (Some(live), Some(config)) if config.is_null() && !matches!(shape(schema, live), Shape::Leaf) => live,
        (_, Some(config)) => config,
        (Some(live), None) => live,
        (None, None) => return None,
    };
    let shape = shape(schema, value);
    if matches!(shape, Shape::Leaf | Shape::Atomic) || (is_empty(live) && is_empty(config)) {
        return config.or(live).cloned();
    }
    if shape == Shape::Map {
        let mut merged = Map::new();
        let (live, config) = (live.and_then(Value::as_object), config.and_then(Value::as_object));
        for (name, value) in live.into_iter().flatten() {
            let child = field_schema(schema, name).unwrap_or_else(SchemaRef::anything);
            if let Some(value) = merge_at(&child, Some(value), config.and_then(|c| c.get(name))) {
                merged.insert(name.clone(), value);
            }
        }
        for (name, value) in config
            .into_iter()
            .flatten()
            .filter(|(name, _)| live.is_none_or(|l| !l.contains_key(*name)))
        {
            let child = field_schema(schema, name).unwrap_or_else(SchemaRef::anything);
            if let Some(value) = merge_at(&child, None, Some(value)) {
                merged.insert(name.clone(), value);
            }
        }
        return (!merged.is_empty()).then_some(Value::Object(merged));
    }
    merge_lists(schema, live, config)
}

/// Merges associative lists: elements of both in the order of `config`, those of `live` alone stay where they were
/// relative to the ones before them (mergingWalker.visitListItems).
fn merge_lists(schema: &SchemaRef, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let child = element_schema(schema);
    let (left, right) = (elements(schema, live), elements(schema, config));
    let in_right: BTreeMap<&PathElement, &Value> = right.iter().map(|(element, item)| (element, *item)).collect();
    let mut in_left: BTreeMap<&PathElement, Option<&Value>> = BTreeMap::new();
    for (element, item) in &left {
        // An element that occurs twice is not merged with.
        in_left
            .entry(element)
            .and_modify(|item| *item = None)
            .or_insert(Some(item));
    }
    let mut shared = right
        .iter()
        .map(|(element, _)| element)
        .filter(|element| in_left.contains_key(element))
        .peekable();
    let mut merged_right: BTreeSet<&PathElement> = BTreeSet::new();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let merge_item = |live: Option<&Value>, config: Option<&Value>| merge_at(&child, live, config);
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some((element, _)), Some((config_element, config_item))) = (left.get(l), right.get(r)) {
            if element == config_element {
                merged_right.insert(element);
                out.extend(merge_item(in_left.get(element).copied().flatten(), Some(config_item)));
                l += 1;
                r += 1;
                shared.next();
                continue;
            }
            if in_right.contains_key(element) && shared.peek().is_some_and(|next| *next != element) {
                // In both, but not the one whose turn it is.
                l += 1;
                continue;
            }
        }
        if let Some((element, item)) = left.get(l) {
            if !in_right.contains_key(element) {
                out.extend(merge_item(Some(item), None));
                l += 1;
                continue;
            } else if merged_right.contains(element) {
                l += 1;
            }
        }
        if let Some((element, item)) = right.get(r) {
            merged_right.insert(element);
            out.extend(merge_item(in_left.get(element).copied().flatten(), Some(item)));
            r += 1;
            if shared.peek() == Some(&element) {
                shared.next();
            }
        }
    }
    (!out.is_empty()).then_some(Value::Array(out))
}

/// The object without the fields in the set. Atomic values go whole or stay whole.
pub(super) fn remove(schema: &SchemaRef, value: &Value, fields: &FieldSet) -> Value {
    match shape(schema, value) {
        Shape::Leaf => value.clone(),
        _ if is_empty(Some(value)) => Value::Null,
        Shape::Atomic => Value::Null,
        Shape::Map => {
            let mut result = Map::new();
            let mut matched = false;
            for (name, value) in value.as_object().into_iter().flatten() {
                let element = PathElement::Field(name.clone());
                if fields.has_member(&element) {
                    continue;
                }
                let value = match fields.below(&element) {
                    None => value.clone(),
                    Some(below) => {
                        matched = true;
                        let child = field_schema(schema, name).unwrap_or_else(SchemaRef::anything);
                        or_empty(remove(&child, value, below), value)
                    }
                };
                result.insert(name.clone(), value);
            }
            if result.is_empty() && !matched {
                Value::Null
            } else {
                Value::Object(result)
            }
        }
        Shape::List => {
            let child = element_schema(schema);
            let mut result = Vec::new();
            let mut matched = false;
            for item in value.as_array().into_iter().flatten() {
                let Ok(element) = list_element(schema, item) else {
                    result.push(item.clone());
                    continue;
                };
                if fields.has_member(&element) {
                    continue;
                }
                result.push(match fields.below(&element) {
                    None => item.clone(),
                    Some(below) => {
                        matched = true;
                        or_empty(remove(&child, item, below), item)
                    }
                });
            }
            if result.is_empty() && !matched {
                Value::Null
            } else {
                Value::Array(result)
            }
        }
    }
}

/// What is left of a value: an empty one of its kind rather than null.
fn or_empty(left: Value, before: &Value) -> Value {
    match before {
        Value::Object(_) if left.is_null() => Value::Object(Map::new()),
        Value::Array(_) if left.is_null() => Value::Array(Vec::new()),
        _ => left,
    }
}
