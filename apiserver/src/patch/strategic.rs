//! Strategic merge patch (`k8s.io/apimachinery/pkg/util/strategicpatch`), merged into an object.

use super::PatchError;
use super::path::same;
use crate::schema::{SchemaRef, go_value};
use serde_json::{Map, Value};

/// Says how an object or element is patched: `replace`, `delete` or `merge`.
const DIRECTIVE: &str = "$patch";
/// Names the only fields that stay.
const RETAIN_KEYS: &str = "$retainKeys";
/// Prefix of lists of scalars to remove from the list of the rest of the name.
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList/";
/// Prefix of the order of the list of the rest of the name.
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";

/// Applies a strategic merge patch by the schema's patch strategies and merge keys. Custom resources have none:
/// for them upstream refuses these patches (415).
///
/// # Errors
/// If the patch is not an object, or a directive in it is malformed.
pub fn strategic_merge_patch(object: &Value, patch: &Value, schema: &SchemaRef) -> Result<Value, PatchError> {
    let Value::Object(patch) = patch else {
        return Err(super::not_of_type(patch, super::MAP));
    };
    let original = object.as_object().cloned().unwrap_or_default();
    Ok(Value::Object(merge_map(original, patch, Some(schema))?))
}

fn malformed(text: impl Into<String>) -> PatchError {
    PatchError::Malformed(text.into())
}

type Object = Map<String, Value>;

fn merge_map(mut original: Object, patch: &Object, schema: Option<&SchemaRef>) -> Result<Object, PatchError> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        match directive.as_str() {
            Some("replace") => {
                let mut replacement = patch.clone();
                replacement.remove(DIRECTIVE);
                return Ok(replacement);
            }
            Some("delete") => return Ok(Object::new()),
            Some("merge") => {}
            _ => {
                let patch = go_value(&Value::Object(patch.clone()));
                let directive = go_value(directive);
                return Err(malformed(format!("unknown patch type: {directive} in map: {patch}")));
            }
        }
    }
    retain_keys(&mut original, patch)?;
    let child = |name: &str| schema.and_then(|schema| schema.field(name));
    let ordered = merge_ordered_lists(&mut original, patch, schema)?;
    for (key, value) in patch {
        if key == DIRECTIVE
            || key == RETAIN_KEYS
            || key.starts_with(SET_ELEMENT_ORDER)
            || ordered.contains(&key.as_str())
        {
            continue;
        }
        if let Some(name) = key.strip_prefix(DELETE_FROM_PRIMITIVE_LIST) {
            let Value::Array(unwanted) = value else {
                return Err(malformed(format!("deleteFromPrimitiveList of {name} must be a list")));
            };
            if let Some(Value::Array(items)) = original.get_mut(name) {
                items.retain(|item| !unwanted.iter().any(|unwanted| same(unwanted, item)));
            }
            continue;
        }
        if value.is_null() {
            original.remove(key);
            continue;
        }
        let schema = child(key);
        let merged = match (original.remove(key), value) {
            (Some(Value::Object(live)), Value::Object(patch)) if !replaces(schema.as_ref()) => {
                Some(Value::Object(merge_map(live, patch, schema.as_ref())?))
            }
            (Some(Value::Array(live)), Value::Array(patch)) if merges(schema.as_ref()) => {
                Some(Value::Array(merge_list(live, patch, schema.as_ref())?))
            }
            // Lists that are not merged are taken as they are.
            (Some(Value::Array(_)), Value::Array(_)) => Some(value.clone()),
            (Some(Value::Object(_)), Value::Object(_)) => Some(value.clone()),
            (_, value) => drop_directives(value),
        };
        if let Some(merged) = merged {
            original.insert(key.clone(), merged);
        }
    }
    Ok(original)
}

fn merges(schema: Option<&SchemaRef>) -> bool {
    schema.is_some_and(|schema| schema.has_patch_strategy("merge"))
}

fn replaces(schema: Option<&SchemaRef>) -> bool {
    schema.is_some_and(|schema| schema.has_patch_strategy("replace"))
}

fn retain_keys(original: &mut Object, patch: &Object) -> Result<(), PatchError> {
    let Some(retain) = patch.get(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(retain) = retain else {
        return Err(malformed("$retainKeys should be a list"));
    };
    let retained = |key: &str| retain.iter().any(|name| name == key);
    for (key, value) in patch {
        if !value.is_null() && !key.starts_with('$') && !retained(key) {
            return Err(malformed(format!(
                "the patch contains {key}, which is not in its $retainKeys"
            )));
        }
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// Merges the lists whose order the patch tells; answers their names.
fn merge_ordered_lists<'p>(
    original: &mut Object,
    patch: &'p Object,
    schema: Option<&SchemaRef>,
) -> Result<Vec<&'p str>, PatchError> {
    let mut done = Vec::new();
    for (key, order) in patch {
        let Some(name) = key.strip_prefix(SET_ELEMENT_ORDER) else {
            continue;
        };
        let Value::Array(order) = order else {
            return Err(malformed(format!("setElementOrder of {name} must be a list")));
        };
        let child = schema.and_then(|schema| schema.field(name));
        let merge_key = child.as_ref().and_then(SchemaRef::patch_merge_key).map(str::to_owned);
        let of = match original.get(name) {
            Some(Value::Object(_)) => "map[string]interface {}",
            Some(Value::String(_)) => "string",
            Some(Value::Bool(_)) => "bool",
            Some(Value::Number(n)) if n.is_i64() => "int64",
            Some(Value::Number(_)) => "float64",
            _ => "",
        };
        if !of.is_empty() {
            return Err(malformed(format!("expected a []interface {{}}, but received a {of}")));
        }
        let live = original.get(name).and_then(Value::as_array).cloned();
        let patch_list = patch.get(name).and_then(Value::as_array);
        if let Some(patch_list) = patch_list {
            check_order(name, patch_list, order, merge_key.as_deref())?;
        }
        let merged = match (&live, patch_list) {
            (None, None) => continue,
            (Some(live), None) => live.clone(),
            (None, Some(patch)) => match drop_directives(&Value::Array(patch.clone())) {
                Some(Value::Array(items)) => items,
                _ => continue,
            },
            (Some(live), Some(patch)) if merges(child.as_ref()) => merge_list(live.clone(), patch, child.as_ref())?,
            (Some(_), Some(patch)) => patch.clone(),
        };
        let live = live.unwrap_or_default();
        original.insert(
            name.to_owned(),
            Value::Array(in_order(merged, order, &live, merge_key.as_deref())),
        );
        done.push(name);
    }
    Ok(done)
}

/// Everything a patch has must be in the order it tells, in the same order.
fn check_order(name: &str, patch: &[Value], order: &[Value], merge_key: Option<&str>) -> Result<(), PatchError> {
    let mut rest = order.iter();
    for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        if !rest.any(|entry| same_element(entry, item, merge_key)) {
            return Err(malformed(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n (field {name})",
                Value::Array(patch.to_vec()),
                Value::Array(order.to_vec())
            )));
        }
    }
    Ok(())
}

fn merge_list(live: Vec<Value>, patch: &[Value], schema: Option<&SchemaRef>) -> Result<Vec<Value>, PatchError> {
    if live.is_empty() && patch.is_empty() {
        return Ok(live);
    }
    if !live.iter().chain(patch).any(Value::is_object) {
        let mut merged: Vec<Value> = Vec::with_capacity(live.len() + patch.len());
        for item in live.iter().chain(patch) {
            if !merged.iter().any(|seen| same(seen, item)) {
                merged.push(item.clone());
            }
        }
        return Ok(in_order(merged, patch, &live, None));
    }
    let Some(key) = schema.and_then(SchemaRef::patch_merge_key) else {
        return Err(malformed("cannot merge lists without merge key"));
    };
    let element = schema.and_then(SchemaRef::items);
    let (mut merged, mut wanted) = (live.clone(), Vec::new());
    let mut replace = false;
    for item in patch {
        match item
            .get(DIRECTIVE)
            .map(|directive| directive.as_str().unwrap_or_default())
        {
            None => wanted.push(item),
            Some("delete") => {
                if item.get(key).is_none() {
                    return Err(malformed("delete patch type with no merge key defined"));
                }
                merged.retain(|live| !same_element(live, item, Some(key)));
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(malformed("merging a list cannot yet be specified in the patch")),
            Some(other) => {
                let item = go_value(item);
                return Err(malformed(format!("unknown patch type: {other} in map: {item}")));
            }
        }
    }
    if replace {
        return Ok(wanted.into_iter().cloned().collect());
    }
    for item in &wanted {
        let Value::Object(fields) = item else {
            return Err(malformed("lists to be merged must hold objects"));
        };
        if !fields.contains_key(key) {
            return Err(malformed(format!(
                "map: {} does not contain declared merge key: {key}",
                go_value(item)
            )));
        }
        match merged.iter_mut().find(|live| same_element(live, item, Some(key))) {
            Some(live) => {
                let current = live.as_object().cloned().unwrap_or_default();
                *live = Value::Object(merge_map(current, fields, element.as_ref())?);
            }
            None => merged.extend(drop_directives(item)),
        }
    }
    let wanted: Vec<Value> = wanted.into_iter().cloned().collect();
    Ok(in_order(merged, &wanted, &live, Some(key)))
}

fn same_element(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => a.get(key).zip(b.get(key)).is_some_and(|(a, b)| same(a, b)),
        None => same(a, b),
    }
}

/// Orders a merged list: elements the patch has in the patch's order, the others in the live order, the two
/// interleaved by the live order as far as it tells (normalizeElementOrder).
fn in_order(merged: Vec<Value>, patch_order: &[Value], live_order: &[Value], key: Option<&str>) -> Vec<Value> {
    let position = |order: &[Value], item: &Value| order.iter().position(|other| same_element(other, item, key));
    let (mut right, mut left): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|item| position(patch_order, item).is_some());
    right.sort_by_key(|item| position(patch_order, item));
    left.sort_by_key(|item| position(live_order, item));
    let mut result = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        let before = matches!((position(live_order, l), position(live_order, r)), (Some(l), Some(r)) if l < r);
        result.extend(if before { left.next() } else { right.next() });
    }
    result.extend(left);
    result.extend(right);
    result
}

/// A value of the patch that has nothing to merge with: without its nulls and directives; `None` if a directive
/// says it is not to be.
fn drop_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Object(fields) => {
            // There is nothing that it could be about.
            if fields.contains_key(DIRECTIVE) {
                return None;
            }
            let kept = fields
                .iter()
                .filter(|(key, value)| !value.is_null() && !key.starts_with('$'));
            Some(Value::Object(
                kept.filter_map(|(key, value)| Some((key.clone(), drop_directives(value)?)))
                    .collect(),
            ))
        }
        Value::Array(items) => {
            let bare = |item: &&Value| !(item.get(DIRECTIVE).is_some_and(|d| d == "replace"));
            Some(Value::Array(
                items.iter().filter(bare).filter_map(drop_directives).collect(),
            ))
        }
        other => Some(other.clone()),
    }
}
