//! JSON patch (RFC 6902) and merge patch (RFC 7386), as the library upstream uses does them
//! (`gopkg.in/evanphx/json-patch.v4`).

use super::PatchError;
use crate::store::{DEEPEST, TOO_DEEP, depth};
use serde_json::{Map, Value};

/// Applies a JSON patch.
///
/// Where the library is more than the RFC, so is this: indexes count from the end when they are negative, what is
/// before a path's first slash does not matter, and `replace` sets members that are not there.
///
/// # Errors
/// If the patch is none, or one of its operations does not fit the object.
pub fn json_patch(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let mut result = object.clone();
    let steps = match patch {
        Value::Array(steps) => steps.as_slice(),
        Value::Null => &[],
        _ => return Err(super::not_of_type(patch, "[]handlers.jsonPatchOp")),
    };
    if let Some(step) = steps.iter().find(|step| !step.is_object() && !step.is_null()) {
        return Err(super::not_of_type(step, "handlers.jsonPatchOp"));
    }
    let mut copied = 0;
    for step in steps {
        run(&mut result, step, &mut copied).map_err(PatchError::DoesNotFit)?;
    }
    Ok(result)
}

/// How much a patch may copy, in bytes of JSON (`JSONPatchMaxCopyBytes` of kube-apiserver).
const MOST_COPIED: usize = 3 * 1024 * 1024;

/// Counts what is copied.
fn count(value: &Value, copied: &mut usize) -> Result<(), String> {
    *copied += value.to_string().len();
    match *copied > MOST_COPIED {
        false => Ok(()),
        true => Err(format!(
            "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MOST_COPIED}"
        )),
    }
}

/// A value goes below a path only where it could be read there again.
fn fits(path: &str, value: &Value) -> Result<(), String> {
    match path.matches('/').count() + depth(value) > DEEPEST {
        false => Ok(()),
        true => Err(TOO_DEEP.to_owned()),
    }
}

const MISSING: &str = "missing value";

/// One operation.
fn run(document: &mut Value, step: &Value, copied: &mut usize) -> Result<(), String> {
    let kind = step["op"].as_str().unwrap_or("unknown");
    let named = |field: &str, context: &str| {
        let found = step[field].as_str();
        found.ok_or_else(|| format!("{kind} operation failed to decode {field}: {context}: {MISSING}"))
    };
    let path = || named("path", "operation missing path field");
    let value = || step["value"].clone();
    match kind {
        "add" => {
            let path = path()?;
            fits(path, &step["value"])?;
            let (at, key) = place(document, path)
                .ok_or_else(|| format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}"))?;
            add(at, &key, value()).map_err(|why| format!("error in add for path: '{path}': {why}"))
        }
        "remove" => {
            let path = path()?;
            let (at, key) = place(document, path).ok_or_else(|| {
                format!("remove operation does not apply: doc is missing path: \"{path}\": {MISSING}")
            })?;
            let removed = remove(at, &key).map_err(|why| format!("error in remove for path: '{path}': {why}"));
            removed.map(drop)
        }
        "replace" => {
            let path = path()?;
            fits(path, &step["value"])?;
            replace(document, path, value())
        }
        "test" => test(document, path()?, &step["value"]),
        "move" | "copy" => {
            let from = named("from", "operation, missing from field")?;
            let (at, key) = place(document, from).ok_or_else(|| {
                format!("{kind} operation does not apply: doc is missing from path: {from}: {MISSING}")
            })?;
            let moved = match kind {
                "move" => {
                    let wrong = |why: String| format!("error in move for path: '{key}': {why}");
                    get(at, &key).map_err(wrong)?;
                    remove(at, &key).map_err(wrong)?
                }
                _ => {
                    let found = get(at, &key).map_err(|why| format!("error in copy for from: '{from}': {why}"))?;
                    count(found, copied)?;
                    found.clone()
                }
            };
            let path = path()?;
            fits(path, &moved)?;
            let (at, key) = place(document, path).ok_or_else(|| {
                format!("{kind} operation does not apply: doc is missing destination path: {path}: {MISSING}")
            })?;
            add(at, &key, moved).map_err(|why| match kind {
                "move" => format!("error in move for path: '{path}': {why}"),
                _ => format!("error while adding value during copy: {why}"),
            })
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err("replace operation value must be object or array".to_owned());
        }
        *document = value;
        return Ok(());
    }
    let (at, key) = place(document, path)
        .ok_or_else(|| format!("replace operation does not apply: doc is missing path: {path}: {MISSING}"))?;
    match at {
        Value::Object(fields) => drop(fields.insert(key, value)),
        Value::Array(items) => {
            let at = index(&key, items.len()).ok().and_then(|i| items.get_mut(i));
            let missing = || format!("replace operation does not apply: doc is missing key: {path}: {MISSING}");
            *at.ok_or_else(missing)? = value;
        }
        _ => {}
    }
    Ok(())
}

fn test(document: &mut Value, path: &str, value: &Value) -> Result<(), String> {
    let found = if path.is_empty() {
        &*document
    } else {
        let (at, key) = place(document, path)
            .ok_or_else(|| format!("test operation does not apply: is missing path: {path}: {MISSING}"))?;
        get(at, &key).map_err(|why| format!("error in test for path: '{path}': {why}"))?
    };
    match found == value {
        true => Ok(()),
        false => Err(format!("testing value {path} failed: test failed")),
    }
}

/// What holds the last step of a path, and that step; `None` where there is no such object or list.
fn place<'v>(document: &'v mut Value, path: &str) -> Option<(&'v mut Value, String)> {
    let mut steps = path.split('/').skip(1).map(decoded);
    let mut last = steps.next()?;
    let mut at = document;
    for next in steps {
        at = match at {
            Value::Object(fields) => fields.get_mut(&last)?,
            Value::Array(items) => {
                let i = index(&last, items.len()).ok()?;
                items.get_mut(i)?
            }
            _ => return None,
        };
        last = next;
    }
    (at.is_object() || at.is_array()).then_some((at, last))
}

/// A step of a path without its escapes: each is read once, from the left.
pub(crate) fn decoded(step: &str) -> String {
    let mut out = String::with_capacity(step.len());
    let mut rest = step;
    while let Some(at) = rest.find('~') {
        out.push_str(&rest[..at]);
        let (c, length) = match rest.as_bytes().get(at + 1) {
            Some(b'1') => ('/', 2),
            Some(b'0') => ('~', 2),
            _ => ('~', 1),
        };
        out.push(c);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    out
}

/// A position in a list of some length; negative ones count from its end.
fn index(key: &str, length: usize) -> Result<usize, String> {
    let at = crate::schema::atoi(key)?;
    let from_end = || i64::try_from(length).unwrap_or(i64::MAX).saturating_add(at);
    let found = usize::try_from(if at < 0 { from_end() } else { at });
    found.map_err(|_| out_of_bounds(at))
}

fn out_of_bounds(at: impl std::fmt::Display) -> String {
    format!("Unable to access invalid index: {at}: invalid index referenced")
}

/// What is there; null where an object has no such member.
fn get<'v>(at: &'v Value, key: &str) -> Result<&'v Value, String> {
    let Value::Array(items) = at else {
        return Ok(&at[key]);
    };
    let i = index(key, items.len())?;
    items.get(i).ok_or_else(|| out_of_bounds(i))
}

fn add(at: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match at {
        Value::Object(fields) => drop(fields.insert(key.to_owned(), value)),
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let i = index(key, items.len() + 1).map_err(|why| match key.parse::<i64>() {
                Ok(_) => why,
                Err(_) => format!("value was not a proper array index: '{key}': {why}"),
            })?;
            if i > items.len() {
                return Err(out_of_bounds(i));
            }
            items.insert(i, value);
        }
        _ => {}
    }
    Ok(())
}

/// Takes a value out.
fn remove(at: &mut Value, key: &str) -> Result<Value, String> {
    match at {
        Value::Object(fields) => {
            let removed = fields.remove(key);
            removed.ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}"))
        }
        Value::Array(items) => {
            let i = index(key, items.len())?;
            if i >= items.len() {
                return Err(out_of_bounds(i));
            }
            Ok(items.remove(i))
        }
        _ => Ok(Value::Null),
    }
}

/// Applies a merge patch: objects field by field, null removes, everything else replaces.
///
/// # Errors
/// If the patch is not an object.
pub fn merge_patch(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    match patch {
        Value::Object(_) => {}
        Value::Null => return Err(PatchError::Malformed("Invalid JSON Patch".to_owned())),
        _ => return Err(super::not_of_type(patch, super::MAP)),
    }
    let mut result = object.clone();
    merge(&mut result, patch);
    Ok(result)
}

fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                if value.is_null() {
                    target.remove(name);
                } else {
                    merge(target.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
        }
        // An object's place is taken by a value as it is ...
        (target @ Value::Object(_), patch) => *target = patch.clone(),
        // ... any other's by one without nulls in objects.
        (target, patch) => *target = without_nulls(patch),
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(name, value)| (name.clone(), without_nulls(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a patch that is too much is refused with.
    fn refused(steps: Value) -> String {
        let object = json!({"metadata": {"annotations": {"a": "b"}}});
        json_patch(&object, &steps).map_or_else(|e| format!("{e:?}"), |_| "taken".to_owned())
    }

    #[test]
    fn a_patch_copies_so_much_and_no_deeper_than_can_be_read() {
        let text = "x".repeat(1024 * 1024);
        let mut steps = vec![json!({"op": "add", "path": "/metadata/annotations/a", "value": text})];
        steps.extend((0..4).map(
            |i| json!({"op": "copy", "from": "/metadata/annotations/a", "path": format!("/metadata/annotations/b{i}")}),
        ));
        assert!(refused(json!(steps)).contains("accumulated size increase of copy is"));
        assert_eq!(refused(json!(steps[..3])), "taken");
        // Each copies all there is into itself.
        let step = json!({"op": "copy", "from": "/metadata", "path": "/metadata/annotations/x"});
        assert!(refused(json!(vec![step; DEEPEST])).contains("exceeded max depth"));
        let nested = (0..DEEPEST).fold(json!(1), |v, _| json!({ "a": v }));
        let add = json!([{"op": "add", "path": "/metadata/annotations", "value": nested}]);
        assert!(refused(add).contains("exceeded max depth"));
    }
}
