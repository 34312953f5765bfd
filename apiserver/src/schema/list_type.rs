//! Sets and maps may not have elements twice (`apiextensions-apiserver/pkg/apiserver/schema/listtype`).

use super::error::{FieldError, join};
use super::node::ListType;
use super::reference::SchemaRef;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The elements of an object's sets and maps that are there twice: of each, where it is for the second time.
#[must_use]
pub fn duplicates(schema: &SchemaRef, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    within(schema, object, "", &mut errors);
    errors
}

fn within(schema: &SchemaRef, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if schema.is_builtin() {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(_, v)| v.is_array() || v.is_object()) {
                match (schema.property(name), schema.additional()) {
                    (Some(child), _) => within(&child, value, &join(path, name), errors),
                    (None, Some(child)) => within(&child, value, &format!("{path}[{name}]"), errors),
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            match schema.list_type() {
                ListType::Atomic => {}
                ListType::Set => twice(items.iter().cloned(), path, errors),
                ListType::Map(keys) => match items.iter().position(|i| !i.is_object() && !i.is_null()) {
                    Some(i) => {
                        let detail = "must be an object for an array of list-type map";
                        errors.push(FieldError::invalid(format!("{path}[{i}]"), items[i].clone(), detail));
                    }
                    None => twice(items.iter().map(|item| keys_of(item, keys)), path, errors),
                },
            }
            if let Some(child) = schema.items() {
                for (i, item) in items.iter().enumerate() {
                    within(&child, item, &format!("{path}[{i}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn keys_of(item: &Value, keys: &[String]) -> Value {
    let given = |key: &String| Some((key.clone(), item.get(key)?.clone()));
    Value::Object(keys.iter().filter_map(given).collect::<Map<_, _>>())
}

fn twice(items: impl Iterator<Item = Value>, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for (i, item) in items.enumerate() {
        let times = seen.entry(item.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            errors.push(FieldError::duplicate(format!("{path}[{i}]"), item));
        }
    }
}
