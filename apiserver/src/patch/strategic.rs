//! Strategic merge patch (`k8s.io/apimachinery/pkg/util/strategicpatch`), merged into an object.

use super::PatchError;
use super::lists::{self, List};
use crate::schema::{SchemaRef, Type, go_value, quote};
use serde_json::{Map, Value};

/// Says how an object or element is patched: `replace`, `delete` or `merge`.
pub(super) const DIRECTIVE: &str = "$patch";
/// Names the only fields that stay.
const RETAIN_KEYS: &str = "$retainKeys";
/// Before a slash and the name of a list: scalars to remove from it.
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList";
/// Before a slash and the name of a list: its order.
pub(super) const SET_ELEMENT_ORDER: &str = "$setElementOrder";

pub(super) type Object = Map<String, Value>;

/// Applies a strategic merge patch by the schema's patch strategies and merge keys. Custom resources have none:
/// for them upstream refuses these patches (415).
///
/// # Errors
/// If the patch is not an object, or a directive in it is malformed.
pub fn strategic_merge_patch(object: &Value, patch: &Value, schema: &SchemaRef) -> Result<Value, PatchError> {
    spend(object, &mut patch.clone(), schema)
}

/// As [`strategic_merge_patch`]; of the patch is left what refusals tell of it: without the directives that were
/// followed, and without nulls of what is new.
///
/// # Errors
/// As [`strategic_merge_patch`].
pub fn spend(object: &Value, patch: &mut Value, schema: &SchemaRef) -> Result<Value, PatchError> {
    match patch {
        Value::Object(patch) => {
            let original = object.as_object().cloned().unwrap_or_default();
            Ok(Value::Object(merge_map(original, patch, schema)?))
        }
        Value::Null => Ok(object.clone()),
        other => Err(PatchError::Malformed(super::mismatch(other, super::MAP))),
    }
}

/// A field's schema, and how it is patched.
struct Field {
    schema: SchemaRef,
    /// `merge`, `replace` or nothing.
    merges: bool,
    replaces: bool,
    key: Option<String>,
}

/// What a Go struct's declaration says of a field.
fn field(of: &SchemaRef, name: &str) -> Result<Field, PatchError> {
    if of.is_map() {
        let why = "merging an object in json but data type is not struct, instead is: map";
        return Err(PatchError::Unforeseen(why.to_owned()));
    }
    let Some(schema) = of.property(name) else {
        let of = of
            .definition_name()
            .and_then(|d| d.rsplit('.').next())
            .unwrap_or_default();
        return Err(PatchError::Unforeseen(format!(
            "unable to find api field in struct {of} for the json field {}",
            quote(name)
        )));
    };
    Ok(Field {
        merges: schema.has_patch_strategy("merge"),
        replaces: schema.has_patch_strategy("replace"),
        key: schema.patch_merge_key().map(str::to_owned),
        schema,
    })
}

/// As [`field`], of a list.
fn list_field(of: &SchemaRef, name: &str) -> Result<Field, PatchError> {
    let found = field(of, name)?;
    match found.schema.kind() {
        Type::Array | Type::Any => Ok(found),
        _ => Err(PatchError::Unforeseen(
            "expected slice or array type, but got: struct".to_owned(),
        )),
    }
}

/// What follows a directive's slash.
fn named<'k>(key: &'k str, directive: &str, list: &str) -> Result<&'k str, PatchError> {
    let rest = key.strip_prefix(directive).and_then(|rest| rest.strip_prefix('/'));
    rest.ok_or_else(|| PatchError::Malformed(format!("invalid patch format of {list}")))
}

pub(super) fn merge_map(original: Object, patch: &mut Object, schema: &SchemaRef) -> Result<Object, PatchError> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch.clone())
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(unknown_directive(&Value::Object(patch.clone()))),
        };
    }
    let mut original = original;
    retain_keys(&mut original, patch)?;
    merge_ordered_lists(&mut original, patch, schema)?;
    for (key, value) in patch.iter_mut() {
        let deletes = key.starts_with(DELETE_FROM_PRIMITIVE_LIST);
        let name = match deletes {
            true => named(key, DELETE_FROM_PRIMITIVE_LIST, "primitive list")?,
            false => key,
        };
        if value.is_null() {
            original.remove(name);
            continue;
        }
        let merged = match (original.get_mut(name).map(Value::take), &mut *value) {
            (Some(Value::Object(live)), Value::Object(patch)) => {
                let of = field(schema, name)?;
                Some(Value::Object(match of.replaces {
                    true => patch.clone(),
                    false => merge_map(live, patch, &of.schema)?,
                }))
            }
            (Some(Value::Array(live)), Value::Array(patch)) => {
                let of = list_field(schema, name)?;
                Some(Value::Array(match of.merges || deletes {
                    true => of.list().merge(live, patch, deletes)?,
                    false => patch.clone(),
                }))
            }
            // There is nothing to delete from.
            (live, _) if deletes => live,
            (_, value) => {
                crate::registry::drop_nulls(value);
                without_directives(value)
            }
        };
        match merged {
            Some(merged) => drop(original.insert(name.to_owned(), merged)),
            None => drop(original.remove(name)),
        }
    }
    Ok(original)
}

impl Field {
    fn list(&self) -> List {
        List {
            elements: self.schema.items().unwrap_or_else(SchemaRef::anything),
            key: self.key.clone(),
        }
    }
}

/// Refuses a directive that is none.
pub(super) fn unknown_directive(patch: &Value) -> PatchError {
    let (directive, patch) = (go_string(&patch[DIRECTIVE]), go_value(patch));
    PatchError::Unforeseen(format!("unknown patch type: {directive} in map: {patch}"))
}

/// A value as Go's `%s` prints it.
fn go_string(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "%!s(<nil>)".to_owned(),
        Value::Bool(b) => format!("%!s(bool={b})"),
        Value::Number(n) => format!("%!s({}={n})", lists::go_type(value)),
        Value::Array(all) => format!("[{}]", all.iter().map(go_string).collect::<Vec<_>>().join(" ")),
        Value::Object(all) => {
            let all: Vec<String> = all.iter().map(|(k, v)| format!("{k}:{}", go_string(v))).collect();
            format!("map[{}]", all.join(" "))
        }
    }
}

fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(retain) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let malformed = || PatchError::Malformed("invalid patch format of retainKeys".to_owned());
    let Value::Array(retain) = retain else {
        return Err(malformed());
    };
    let retained = |key: &str| retain.iter().any(|name| name == key);
    let directive = |key: &str| key.starts_with(DELETE_FROM_PRIMITIVE_LIST) || key.starts_with(SET_ELEMENT_ORDER);
    if patch
        .iter()
        .any(|(key, value)| !value.is_null() && !directive(key) && !retained(key))
    {
        return Err(malformed());
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// Merges the lists whose order the patch tells, and takes them out of it.
fn merge_ordered_lists(original: &mut Object, patch: &mut Object, schema: &SchemaRef) -> Result<(), PatchError> {
    let told: Vec<String> = patch
        .keys()
        .filter(|key| key.starts_with(SET_ELEMENT_ORDER))
        .cloned()
        .collect();
    for key in told {
        let Some(order) = patch.remove(&key) else { continue };
        let order = lists::items(&order)?;
        let name = named(&key, SET_ELEMENT_ORDER, "setElementOrder list")?;
        let live = original.get(name).map(lists::items).transpose()?;
        let wanted = patch.get(name).map(lists::items).transpose()?;
        let of = list_field(schema, name)?;
        let list = of.list();
        list.check_order(wanted.as_deref().unwrap_or_default(), &order)?;
        let merged = match (&live, wanted) {
            (None, None) => continue,
            (Some(live), None) => live.clone(),
            (None, Some(wanted)) => wanted.iter().filter_map(without_directives).collect(),
            (Some(live), Some(mut wanted)) if of.merges => list.merge(live.clone(), &mut wanted, false)?,
            (Some(_), Some(wanted)) => wanted,
        };
        let wanted = patch.remove(name);
        let live = live.unwrap_or_default();
        let wanted = wanted.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let merged = list.told(merged, &order, &live, wanted)?;
        original.insert(name.to_owned(), Value::Array(merged));
    }
    Ok(())
}

/// A value of the patch that has nothing to merge with: without what has a directive; `None` if it has one itself.
fn without_directives(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => return None,
        Value::Object(fields) => {
            let kept = fields.iter();
            Value::Object(
                kept.filter_map(|(key, value)| Some((key.clone(), without_directives(value)?)))
                    .collect(),
            )
        }
        Value::Array(items) => items.iter().filter_map(without_directives).collect(),
        other => other.clone(),
    })
}
