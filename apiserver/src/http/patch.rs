//! Bodies of patches: what they must be, and what their decoders say where they are not.

use serde_json::{Value, json};

use super::{strict, yaml_read};
use crate::patch::{MAP, mismatch};
use crate::registry::{Call, FieldValidation, PatchKind};
use crate::schema::quote;
use crate::status::Status;

/// What a JSON patch's operations have.
const STEP: [&str; 4] = ["op", "path", "from", "value"];
/// The most operations that a JSON patch may have (`handlers.maxJSONPatchOperations`).
const MOST_STEPS: usize = 10_000;

/// Reads a patch. What it has that should not be there is noted in `call`.
///
/// # Errors
/// 400 where it is no patch of its kind, 413 for too many operations.
pub(super) fn read(call: &mut Call, kind: PatchKind, bytes: &[u8]) -> Result<Value, Status> {
    if matches!(kind, PatchKind::Apply { .. }) {
        return applied(call, bytes);
    }
    // Who asks for no validation gets another decoder, too.
    let lenient = call.validation == Some(FieldValidation::Ignore);
    let parsed = strict::json(bytes).map_err(|other| {
        let why = crate::schema::json_error(bytes).unwrap_or(other);
        Status::bad_request(match (kind, lenient) {
            (PatchKind::Merge, true) => "Invalid JSON Patch".to_owned(),
            (PatchKind::Json | PatchKind::Merge, false) => format!("error decoding patch: {why}"),
            _ => why,
        })
    })?;
    let mut minded = parsed.duplicates;
    if kind == PatchKind::Json {
        minded.extend(steps(&parsed.value, lenient)?);
        minded = minded.iter().map(|m| format!("json patch {m}")).collect();
    }
    let of_type = parsed.value.is_object() || parsed.value.is_null();
    if kind == PatchKind::Merge && lenient && !of_type && !parsed.value.is_array() {
        return Err(Status::bad_request("Invalid JSON Patch"));
    }
    if !lenient {
        call.duplicates = minded;
    }
    Ok(parsed.value)
}

/// Checks what a JSON patch is; tells of members that its operations do not have.
fn steps(patch: &Value, lenient: bool) -> Result<Vec<String>, Status> {
    let refuse = |value: &Value, strict: &str, go: &str| {
        Status::bad_request(match lenient {
            false => format!("error decoding patch: {}", mismatch(value, strict)),
            true => mismatch(value, go),
        })
    };
    let all = match patch {
        Value::Null => return Ok(Vec::new()),
        Value::Array(all) => all,
        other => return Err(refuse(other, "[]handlers.jsonPatchOp", "jsonpatch.Patch")),
    };
    let mut unknown = Vec::new();
    for (i, step) in all.iter().enumerate() {
        let fields = match step {
            Value::Null => continue,
            Value::Object(fields) => fields,
            other => return Err(refuse(other, "handlers.jsonPatchOp", "jsonpatch.Operation")),
        };
        for (name, value) in fields {
            if !STEP.contains(&name.as_str()) {
                unknown.push(format!("unknown field {}", quote(&format!("[{i}].{name}"))));
            } else if name != "value" && !value.is_string() && !value.is_null() && !lenient {
                let kind = crate::schema::json_kind(value);
                return Err(Status::bad_request(format!(
                    "error decoding patch: json: cannot unmarshal {kind} into Go struct field jsonPatchOp.{name} of type string"
                )));
            }
        }
    }
    if all.len() > MOST_STEPS {
        let n = all.len();
        let why = format!("The allowed maximum operations in a JSON patch is {MOST_STEPS}, got {n}");
        return Err(Status::new(413, "RequestEntityTooLarge", why));
    }
    Ok(unknown)
}

/// Reads an applied configuration: YAML, which JSON is too.
fn applied(call: &mut Call, bytes: &[u8]) -> Result<Value, Status> {
    let refuse = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
    let read = yaml_read::read(bytes).map_err(|e| refuse(format!("error converting YAML to JSON: {e}")))?;
    call.duplicates = read.duplicates;
    let mut value = read.value;
    match value {
        Value::Object(_) => {}
        Value::Null => value = json!({}),
        other => {
            let why = mismatch(&other, MAP);
            return Err(refuse(format!("error unmarshaling JSON: while decoding JSON: {why}")));
        }
    }
    whole_numbers(&mut value);
    Ok(value)
}

/// Go's reader of YAML makes JSON of it first, and there whole numbers have no fraction.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(n) => {
            if let Some(x) = n.as_f64().filter(|x| !n.is_i64() && x.fract() == 0.0 && x.abs() < 1e15) {
                *value = json!(x as i64);
            }
        }
        Value::Array(all) => all.iter_mut().for_each(whole_numbers),
        Value::Object(all) => all.values_mut().for_each(whole_numbers),
        _ => {}
    }
}
