//! Rules of a schema in CEL (`x-kubernetes-validations`), checked against objects
//! (`apiextensions-apiserver/pkg/apiserver/schema/cel`).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::registry::text;
use crate::schema::join;
use crate::status::Cause;
use cfn_cel::{self as cel, CelError, Key, Program, Scope};

/// Rules compiled before.
fn program(text: &str) -> Result<Arc<Program>, CelError> {
    static KNOWN: LazyLock<Mutex<BTreeMap<String, Arc<Program>>>> = LazyLock::new(Mutex::default);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(p) = known().get(text) {
        return Ok(p.clone());
    }
    let p = Arc::new(Program::compile(text, &["self", "oldSelf"])?);
    let mut known = known();
    if known.len() > 2000 {
        known.clear();
    }
    known.insert(text.to_owned(), p.clone());
    Ok(p)
}

fn rules(schema: &Value) -> &[Value] {
    schema["x-kubernetes-validations"].as_array().map_or(&[], Vec::as_slice)
}

/// What an object breaks, `old` being what it was.
pub(crate) fn broken(schema: &Value, value: &Value, old: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    for r in rules(schema) {
        if let Some(c) = judge(r, schema, value, old, path) {
            causes.push(c);
        }
    }
    let join = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Object(m) => {
            for (k, v) in m {
                let before = old.and_then(|o| o.get(k));
                match schema["properties"].get(k) {
                    Some(child) => broken(child, v, before, &join(k), causes),
                    None if schema["additionalProperties"].is_object() => {
                        broken(
                            &schema["additionalProperties"],
                            v,
                            before,
                            &format!("{path}[{k}]"),
                            causes,
                        );
                    }
                    None => {}
                }
            }
        }
        Value::Array(l) if schema["items"].is_object() => {
            let keys = schema["x-kubernetes-list-map-keys"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            let is_map = schema["x-kubernetes-list-type"] == "map";
            for (i, v) in l.iter().enumerate() {
                // Only elements that have a name of their own are the same as before.
                let same = |o: &&Value| keys.iter().filter_map(Value::as_str).all(|k| o[k] == v[k]);
                let before = old.and_then(Value::as_array).filter(|_| is_map);
                let before = before.and_then(|l| l.iter().find(same));
                broken(&schema["items"], v, before, &format!("{path}[{i}]"), causes);
            }
        }
        _ => {}
    }
}

fn judge(r: &Value, schema: &Value, value: &Value, old: Option<&Value>, path: &str) -> Option<Cause> {
    let rule = text(r, "/rule");
    let optional = r["optionalOldSelf"] == true;
    // A rule about a change is none for what is new.
    if old.is_none() && !optional && program(rule).is_ok_and(|p| p.mentions("oldSelf")) {
        return None;
    }
    let mut scope = Scope::from([("self".to_owned(), to_cel(schema, value))]);
    let before = old.map(|o| to_cel(schema, o));
    if optional {
        scope.insert("oldSelf".into(), cel::Value::Optional(before.map(Box::new)));
    } else if let Some(b) = before {
        scope.insert("oldSelf".into(), b);
    }
    let at = match text(r, "/fieldPath") {
        "" => path.to_owned(),
        p => super::schema::paths::found(p, schema, true).map_or_else(|_| path.to_owned(), |(p, _)| join(path, &p)),
    };
    let (kind, own) = (text(schema, "/type"), text(r, "/message"));
    let told = if own.is_empty() { rule.trim() } else { own.trim() };
    let held = program(rule).and_then(|p| p.holds(&scope));
    let message = match held {
        Ok(true) => return None,
        Ok(false) => {
            let said = Some(text(r, "/messageExpression")).filter(|e| !e.is_empty());
            match (said.map(|e| program(e).and_then(|p| p.evaluate(&scope))), own) {
                (Some(Ok(cel::Value::Text(s))), _) if !s.trim().is_empty() => s.trim().to_owned(),
                (_, "") => format!("failed rule: {told}"),
                _ => told.to_owned(),
            }
        }
        Err(e) => {
            let e = e.to_string();
            let detail = if e.starts_with("no such overload") {
                format!(
                    "'{e}': call arguments did not match a supported operator, function or macro signature for rule: \
                     {told}"
                )
            } else if e.starts_with("operation cancelled: actual cost limit exceeded") {
                format!(
                    "'{e}': no further validation rules will be run due to call cost exceeds limit for rule: {told}"
                )
            } else {
                format!("{e} evaluating rule: {told}")
            };
            return Some(Cause::invalid(path, &json!(kind), &detail));
        }
    };
    // Of what is large the value is not shown.
    let shown = match kind {
        "object" | "array" => String::new(),
        _ => format!(": {value}"),
    };
    Some(match text(r, "/reason") {
        "FieldValueRequired" => Cause::required(at, &message),
        "FieldValueForbidden" => Cause::forbidden(at, &message),
        "FieldValueDuplicate" => Cause::new("FieldValueDuplicate", at, format!("Duplicate value{shown}")),
        _ => Cause::new("FieldValueInvalid", at, format!("Invalid value{shown}: {message}")),
    })
}

/// The value as rules see it: numbers, dates and spans by their type, names of fields that are no identifiers escaped.
fn to_cel(schema: &Value, value: &Value) -> cel::Value {
    match value {
        Value::Object(m) => {
            let entries = m.iter().map(|(k, v)| match schema["properties"].get(k) {
                Some(child) => (Key::Text(escaped(k).as_str().into()), to_cel(child, v)),
                None => (Key::Text(k.as_str().into()), to_cel(&schema["additionalProperties"], v)),
            });
            cel::Value::Map(Arc::new(entries.collect()))
        }
        Value::Array(l) => cel::Value::List(Arc::new(l.iter().map(|v| to_cel(&schema["items"], v)).collect())),
        Value::Number(n) if schema["type"] == "number" => cel::Value::Double(n.as_f64().unwrap_or_default()),
        Value::String(s) => match text(schema, "/format") {
            "date-time" => s.parse().map_or_else(|_| cel::Value::text(s), cel::Value::Time),
            "duration" => match Program::compile(&format!("duration({})", json!(s)), &[]) {
                Ok(p) => p.evaluate(&Scope::new()).unwrap_or_else(|_| cel::Value::text(s)),
                Err(_) => cel::Value::text(s),
            },
            _ => cel::Value::text(s),
        },
        v => cel::Value::from_json(v),
    }
}

/// `x-kubernetes` escaping: `__dot__`, `__dash__`, `__slash__`, `__underscores__`, reserved words in underscores.
pub(super) fn escaped(name: &str) -> String {
    if cel::RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

/// Whether a schema has rules anywhere.
pub(crate) fn any(schema: &Value) -> bool {
    match schema {
        Value::Object(m) => {
            m.get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .is_some_and(|l| !l.is_empty())
                || m.values().any(any)
        }
        Value::Array(l) => l.iter().any(any),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_checked_where_they_stand() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
            "x-kubernetes-validations": [
                {"rule": "self.min <= self.max", "messageExpression": "'min ' + string(self.min) + ' over max'"},
                {"rule": "self.name == oldSelf.name", "message": "name is fixed"}],
            "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string"},
                "tags": {"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self.size() < 3"}]}}}}}});
        let of = |value: Value, old: Option<Value>| {
            let mut causes = Vec::new();
            broken(&schema, &value, old.as_ref(), "", &mut causes);
            causes
                .into_iter()
                .map(|c| format!("{}: {}", c.field, c.message))
                .collect::<Vec<_>>()
        };
        assert!(of(json!({"spec": {"min": 1, "max": 2, "name": "a"}}), None).is_empty());
        assert_eq!(
            of(json!({"spec": {"min": 3, "max": 2, "tags": ["ab", "abc"]}}), None),
            [
                "spec: Invalid value: min 3 over max",
                "spec.tags[1]: Invalid value: \"abc\": failed rule: self.size() < 3"
            ]
        );
        assert_eq!(
            of(
                json!({"spec": {"min": 1, "max": 2, "name": "b"}}),
                Some(json!({"spec": {"name": "a"}}))
            ),
            ["spec: Invalid value: name is fixed"]
        );
    }
}
