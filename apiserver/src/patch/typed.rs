//! Objects seen through their schemas, as server-side apply sees them: which fields they have, what differs, merging
//! and removing (`sigs.k8s.io/structured-merge-diff/v6/typed`).

use super::fieldset::FieldSet;
use super::path::{PathElement, display, same};
use crate::schema::{ListType, SchemaRef, Type};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// How a value is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// As one value: scalars, and whatever does not fit its schema.
    Leaf,
    /// As an object, field by field.
    Map,
    /// As a list, element by element.
    List,
    /// As an object or list that is one value.
    Atomic,
}

/// What differs between two objects; no field is in more than one of the sets.
#[derive(Debug, Clone, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Comparison {
    /// Leaves out fields and all below them.
    pub(super) fn without(self, fields: &FieldSet) -> Comparison {
        if fields.is_empty() {
            return self;
        }
        Comparison {
            added: self.added.recursive_difference(fields),
            modified: self.modified.recursive_difference(fields),
            removed: self.removed.recursive_difference(fields),
        }
    }
}

fn shape(schema: &SchemaRef, value: &Value) -> Shape {
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
fn field_schema(schema: &SchemaRef, name: &str) -> Option<SchemaRef> {
    schema
        .field(name)
        .or_else(|| schema.deduces_unknown().then(SchemaRef::anything))
}

fn element_schema(schema: &SchemaRef) -> SchemaRef {
    schema.items().unwrap_or_else(SchemaRef::anything)
}

/// A field's value, also where Go's type has it without its being given.
fn field_value<'v>(schema: &SchemaRef, object: Option<&'v Value>, name: &str) -> Option<&'v Value> {
    let fields = object?.as_object()?;
    fields.get(name).or_else(|| schema.when_absent(name))
}

/// Names of the fields of either object, and of those that are never absent, sorted.
fn field_names<'v>(schema: &'v SchemaRef, objects: [Option<&'v Value>; 2]) -> Vec<&'v str> {
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
            let all: Vec<String> = all.iter().map(|(k, v)| format!("{k:?}:{}", go_syntax(v))).collect();
            format!("map[string]interface {{}}{{{}}}", all.join(", "))
        }
        Value::String(text) => crate::schema::quote(text),
        other => other.to_string(),
    }
}

/// Refuses objects that do not fit: unknown fields, wrong types, elements that occur twice.
pub(super) fn check(schema: &SchemaRef, value: &Value, path: &mut Vec<PathElement>) -> Result<(), String> {
    let wrong = |expected: &str| Err(format!("{}: expected {expected}, got {value}", display(path)));
    match (value, schema.kind()) {
        (Value::Null, _) => Ok(()),
        (Value::Object(fields), Type::Object | Type::Any) => {
            for (name, value) in fields {
                path.push(PathElement::Field(name.clone()));
                match field_schema(schema, name) {
                    None => return Err(format!("{}: field not declared in schema", display(path))),
                    Some(child) => check(&child, value, path)?,
                }
                path.pop();
            }
            Ok(())
        }
        (Value::Array(items), Type::Array | Type::Any) => {
            let mut seen = BTreeSet::new();
            for (i, item) in items.iter().enumerate() {
                let element = match schema.list_type() {
                    ListType::Atomic => PathElement::Index(i as i64),
                    _ => list_element(schema, item).map_err(|e| format!("{}: element {i}: {e}", display(path)))?,
                };
                if !seen.insert(element.clone()) {
                    return Err(format!("{}: duplicate entries for key {element}", display(path)));
                }
                path.push(element);
                check(&element_schema(schema), item, path)?;
                path.pop();
            }
            Ok(())
        }
        (_, Type::Object) => wrong("map"),
        (_, Type::Array) => wrong("list"),
        // Go prints its wrapper of the value, once with types and once without.
        (value, Type::String) if !value.is_string() => {
            let of = go_syntax(value);
            Err(format!(
                "{}: expected string, got &value.valueUnstructured{{Value:{of}}}",
                display(path)
            ))
        }
        (value, Type::Boolean) if !value.is_boolean() => {
            let of = crate::schema::go_value(value);
            Err(format!("{}: expected boolean, got &{{{of}}}", display(path)))
        }
        (value, Type::Integer | Type::Number) if !value.is_number() => {
            // Here Go prints the type.
            let of = match value {
                Value::Bool(_) => "bool",
                Value::Array(_) => "[]interface {}",
                Value::Object(_) => "map[string]interface {}",
                _ => "string",
            };
            Err(format!("{}: expected numeric (int or float), got {of}", display(path)))
        }
        _ => Ok(()),
    }
}

/// The fields an object has.
pub(super) fn field_set(schema: &SchemaRef, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    collect_fields(schema, value, &mut Vec::new(), &mut set);
    set
}

fn collect_fields(schema: &SchemaRef, value: &Value, path: &mut Vec<PathElement>, set: &mut FieldSet) {
    match shape(schema, value) {
        Shape::Leaf | Shape::Atomic => set.insert(path),
        Shape::Map => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let child = field_schema(schema, name).unwrap_or_else(SchemaRef::anything);
                path.push(PathElement::Field(name.clone()));
                collect_fields(&child, value, path, set);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if empty || schema.property(name).is_none() {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Shape::List => {
            let child = element_schema(schema);
            let mut count: BTreeMap<PathElement, usize> = BTreeMap::new();
            let items: Vec<(PathElement, &Value)> = elements(schema, Some(value));
            for (element, _) in &items {
                *count.entry(element.clone()).or_default() += 1;
            }
            for (element, item) in items {
                let twice = count[&element] > 1;
                path.push(element);
                if !twice {
                    collect_fields(&child, item, path, set);
                }
                set.insert(path);
                path.pop();
            }
        }
    }
}

/// A list's elements with their path elements; those that have none are left out.
fn elements<'v>(schema: &SchemaRef, list: Option<&'v Value>) -> Vec<(PathElement, &'v Value)> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items
        .filter_map(|item| Some((list_element(schema, item).ok()?, item)))
        .collect()
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    }
}

/// What differs in `new` from `old`.
pub(super) fn compare(schema: &SchemaRef, old: &Value, new: &Value) -> Comparison {
    compare_at(schema, Some(old), Some(new)).below
}

/// What happened to a field.
#[derive(Debug, Clone, Copy)]
enum Change {
    Added,
    Modified,
    Removed,
}

/// What differs in a field, and below it.
#[derive(Default)]
struct Differences {
    here: Option<Change>,
    below: Comparison,
}

impl Comparison {
    fn of(&mut self, change: Change) -> &mut FieldSet {
        match change {
            Change::Added => &mut self.added,
            Change::Modified => &mut self.modified,
            Change::Removed => &mut self.removed,
        }
    }

    /// Takes in what differs in a field of this one.
    fn take(&mut self, element: impl FnOnce() -> PathElement, found: Differences) {
        let Comparison {
            added,
            modified,
            removed,
        } = found.below;
        let below = [
            (Change::Added, added),
            (Change::Modified, modified),
            (Change::Removed, removed),
        ];
        if found.here.is_none() && below.iter().all(|(_, set)| set.is_empty()) {
            return;
        }
        let element = element();
        for (change, set) in below {
            if !set.is_empty() {
                self.of(change).absorb_below(&element, set);
            }
        }
        if let Some(change) = found.here {
            self.of(change).insert_member(element);
        }
    }
}

fn compare_at(schema: &SchemaRef, old: Option<&Value>, new: Option<&Value>) -> Differences {
    let mut found = Differences::default();
    let shapes = match (old, new) {
        // Most of an object is what it was.
        (Some(old), Some(new)) if old == new => return found,
        (Some(old), Some(new)) => {
            let (of_old, of_new) = (shape(schema, old), shape(schema, new));
            // Null goes with whatever the other is.
            let of_old = if old.is_null() { of_new } else { of_old };
            let of_new = if new.is_null() { of_old } else { of_new };
            [Some(of_old), Some(of_new).filter(|s| *s != of_old)]
        }
        (Some(value), None) | (None, Some(value)) => [Some(shape(schema, value)), None],
        (None, None) => return found,
    };
    let whole = match (old, new) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        _ => None,
    };
    for shape in shapes.into_iter().flatten() {
        let leaf = matches!(shape, Shape::Leaf | Shape::Atomic) || (is_empty(old) && is_empty(new));
        if leaf {
            match (old, new) {
                (Some(old), Some(new)) if !same(old, new) => found.here = Some(Change::Modified),
                _ => {}
            }
        } else if shape == Shape::Map {
            for name in field_names(schema, [old, new]) {
                let child = field_schema(schema, name).unwrap_or_else(SchemaRef::anything);
                let (old, new) = (field_value(schema, old, name), field_value(schema, new, name));
                let differ = compare_at(&child, old, new);
                found.below.take(|| PathElement::Field(name.to_owned()), differ);
            }
        } else {
            compare_lists(schema, old, new, &mut found.below);
        }
    }
    found.here = whole.or(found.here);
    found
}

/// What a field is that was not written yet.
#[derive(Clone, Copy)]
enum Before {
    /// Not there.
    Absent,
    /// There, and this: what Go's type has where nothing is given.
    Is(&'static Value),
}

/// The fields that an object gets which was not there: what [`compare`] with an object of the same apiVersion and kind, and
/// nothing else, tells as added or modified.
pub(super) fn fields_of_new(schema: &SchemaRef, new: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    for name in field_names(schema, [None, Some(new)]) {
        if name != "apiVersion" && name != "kind" {
            new_field(schema, name, new, &mut set);
        }
    }
    set
}

/// Puts a field of `object`, in an object that was empty, into `set`.
fn new_field(schema: &SchemaRef, name: &str, object: &Value, set: &mut FieldSet) {
    let before = schema.when_absent(name).map_or(Before::Absent, Before::Is);
    put_field(schema, name, before, object, set);
}

fn put_field(schema: &SchemaRef, name: &str, before: Before, object: &Value, set: &mut FieldSet) {
    let Some(value) = field_value(schema, Some(object), name) else {
        return;
    };
    let child = field_schema(schema, name).unwrap_or_else(SchemaRef::anything);
    let (here, below) = new_value(&child, before, value);
    set.put(PathElement::Field(name.to_owned()), here, below);
}

/// Whether a value is a change, and the fields below it that are.
fn new_value(schema: &SchemaRef, before: Before, value: &Value) -> (bool, FieldSet) {
    let absent = matches!(before, Before::Absent);
    let mut below = FieldSet::default();
    if matches!(before, Before::Is(was) if was == value) {
        return (false, below);
    }
    let shape = shape(schema, value);
    if matches!(shape, Shape::Leaf | Shape::Atomic) || is_empty(Some(value)) {
        return (true, below);
    }
    if shape == Shape::Map {
        let was_object = matches!(before, Before::Is(Value::Object(_)));
        for name in field_names(schema, [None, Some(value)]) {
            if was_object {
                new_field(schema, name, value, &mut below);
            } else {
                put_field(schema, name, Before::Absent, value, &mut below);
            }
        }
    } else {
        let child = element_schema(schema);
        let mut all: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
        for (element, item) in elements(schema, Some(value)) {
            all.entry(element).or_default().push(item);
        }
        for (element, items) in all {
            let inner = match items.as_slice() {
                [only] => new_value(&child, Before::Absent, only).1,
                // Elements that occur more than once are one value together.
                _ => FieldSet::default(),
            };
            below.put(element, true, inner);
        }
    }
    (absent, below)
}

fn compare_lists(schema: &SchemaRef, old: Option<&Value>, new: Option<&Value>, result: &mut Comparison) {
    let child = element_schema(schema);
    let mut all: BTreeMap<PathElement, [Vec<&Value>; 2]> = BTreeMap::new();
    for (side, list) in [old, new].into_iter().enumerate() {
        for (element, item) in elements(schema, list) {
            all.entry(element).or_default()[side].push(item);
        }
    }
    for (element, [old, new]) in all {
        let of = |old: Option<&&Value>, new: Option<&&Value>| compare_at(&child, old.copied(), new.copied());
        match (old.as_slice(), new.as_slice()) {
            ([] | [_], [] | [_]) => result.take(|| element, of(old.first(), new.first())),
            // Elements that occur more than once are one value together.
            ([_, _, ..], [_, _, ..]) => {
                if old.len() != new.len() || old.iter().zip(&new).any(|(old, new)| !same(old, new)) {
                    result.modified.insert_member(element);
                }
            }
            ([_, _, ..], _) => {
                result.take(|| element.clone(), of(None, new.first()));
                result.removed.insert_member(element);
            }
            _ => {
                result.take(|| element.clone(), of(old.first(), None));
                result.added.insert_member(element);
            }
        }
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
