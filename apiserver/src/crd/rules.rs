//! Rules of a schema in CEL (`x-kubernetes-validations`), checked against objects
//! (`apiextensions-apiserver/pkg/apiserver/schema/cel`).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::registry::text;
use crate::schema::join;
use crate::status::Cause;
use cfn_cel::{self as cel, CelError, Key, List, ListKind, Moment, Program, Scope};

/// Rules compiled before; what they name was checked when the definition was written.
fn program(text: &str) -> Result<Arc<Program>, CelError> {
    static KNOWN: LazyLock<Mutex<BTreeMap<String, Arc<Program>>>> = LazyLock::new(Mutex::default);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(p) = known().get(text) {
        return Ok(p.clone());
    }
    let p = Arc::new(Program::read(text)?);
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

/// A value, and what rules see of it.
#[derive(Clone, Copy)]
struct Seen<'v> {
    json: &'v Value,
    cel: &'v cel::Value,
}

impl<'v> Seen<'v> {
    /// A field, which rules know by this name.
    fn field(self, name: &str, known: &str) -> Option<Self> {
        let json = self.json.get(name)?;
        let cel::Value::Map(fields) = self.cel else {
            return None;
        };
        let cel = fields.get(&Key::Text(known.into()))?;
        Some(Self { json, cel })
    }

    fn items(self) -> impl Iterator<Item = Self> {
        let of = match (self.json, self.cel) {
            (Value::Array(json), cel::Value::List(cel)) => Some(json.iter().zip(cel.iter())),
            _ => None,
        };
        of.into_iter().flatten().map(|(json, cel)| Self { json, cel })
    }
}

/// What an object breaks, `old` being what it was.
pub(crate) fn broken(schema: &Value, value: &Value, old: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    if !any(schema) {
        return;
    }
    let (own, before) = (to_cel(schema, value), old.map(|o| to_cel(schema, o)));
    let old = old.zip(before.as_ref()).map(|(json, cel)| Seen { json, cel });
    let seen = Seen { json: value, cel: &own };
    // Where one costs too much, no other is asked.
    let _ = within(schema, seen, old, path, causes);
}

/// No rule is asked any more.
struct Ended;

fn within(
    schema: &Value,
    value: Seen<'_>,
    old: Option<Seen<'_>>,
    path: &str,
    causes: &mut Vec<Cause>,
) -> Result<(), Ended> {
    if value.json.is_null() {
        return Ok(());
    }
    let scopes = Scopes::of(schema, value, old);
    for r in rules(schema) {
        scopes.judge(r, path, causes)?;
    }
    let join = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value.json {
        Value::Object(m) => {
            for k in m.keys() {
                if let Some(child) = schema["properties"].get(k) {
                    let known = escaped(k);
                    if let Some(v) = value.field(k, &known) {
                        let before = old.and_then(|o| o.field(k, &known));
                        within(child, v, before, &join(k), causes)?;
                    }
                } else if schema["additionalProperties"].is_object()
                    && let Some(v) = value.field(k, k)
                {
                    let before = old.and_then(|o| o.field(k, k));
                    within(
                        &schema["additionalProperties"],
                        v,
                        before,
                        &format!("{path}[{k}]"),
                        causes,
                    )?;
                }
            }
        }
        Value::Array(_) if schema["items"].is_object() => {
            let keys = list_keys(schema);
            let is_map = schema["x-kubernetes-list-type"] == "map";
            for (i, v) in value.items().enumerate() {
                // Only elements that have a name of their own are the same as before.
                let same = |o: &Seen<'_>| keys.iter().all(|k| o.json[*k] == v.json[*k]);
                let before = old.filter(|_| is_map).and_then(|l| l.items().find(same));
                within(&schema["items"], v, before, &format!("{path}[{i}]"), causes)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Fields by which a list's items are told apart.
fn list_keys(schema: &Value) -> Vec<&str> {
    let keys = schema["x-kubernetes-list-map-keys"].as_array();
    keys.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What the rules of one schema are asked of.
struct Scopes<'s> {
    schema: &'s Value,
    shown: &'s Value,
    is_new: bool,
    plain: Scope,
    /// Where what was before may be absent.
    optional: Scope,
}

/// Longest message that an expression may give.
const MESSAGE: usize = 5 * 1024;

impl<'s> Scopes<'s> {
    fn of(schema: &'s Value, value: Seen<'s>, old: Option<Seen<'_>>) -> Self {
        let mut plain = Scope::new();
        let mut optional = Scope::new();
        if !rules(schema).is_empty() {
            for scope in [&mut plain, &mut optional] {
                scope.insert("self".to_owned(), value.cel.clone());
            }
            plain.extend(old.map(|o| ("oldSelf".to_owned(), o.cel.clone())));
            let before = cel::Value::Optional(old.map(|o| Box::new(o.cel.clone())));
            optional.insert("oldSelf".to_owned(), before);
        }
        Self {
            schema,
            shown: value.json,
            is_new: old.is_none(),
            plain,
            optional,
        }
    }

    fn judge(&self, r: &Value, path: &str, causes: &mut Vec<Cause>) -> Result<(), Ended> {
        let (schema, rule) = (self.schema, text(r, "/rule"));
        let optional = r["optionalOldSelf"] == true;
        let program = match program(rule) {
            Ok(program) => program,
            Err(e) => {
                let kind = json!(text(schema, "/type"));
                causes.push(Cause::invalid(path, &kind, &format!("rule compile error: {e}")));
                return Ok(());
            }
        };
        // A rule about a change is none for what is new.
        if self.is_new && !optional && program.mentions("oldSelf") {
            return Ok(());
        }
        let scope = if optional { &self.optional } else { &self.plain };
        let own = text(r, "/message");
        let told = if own.is_empty() { rule.trim() } else { own.trim() };
        match program.holds(scope) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let said = Some(text(r, "/messageExpression")).filter(|e| !e.is_empty());
                let message = said.and_then(|e| self.message(e)).unwrap_or_else(|| match own {
                    "" => format!("failed rule: {told}"),
                    _ => told.to_owned(),
                });
                causes.push(self.cause(r, path, &message));
                Ok(())
            }
            Err(e) => {
                let e = e.to_string();
                let ended = e.starts_with("operation cancelled: actual cost limit exceeded");
                let detail = if e.starts_with("no such overload") {
                    format!(
                        "'{e}': call arguments did not match a supported operator, function or macro signature for \
                         rule: {told}"
                    )
                } else if ended {
                    format!(
                        "'{e}': no further validation rules will be run due to call cost exceeds limit for rule: {told}"
                    )
                } else {
                    format!("{e} evaluating rule: {told}")
                };
                causes.push(Cause::invalid(path, &json!(text(schema, "/type")), &detail));
                if ended { Err(Ended) } else { Ok(()) }
            }
        }
    }

    /// What an expression of a message gives, if it is one.
    fn message(&self, expression: &str) -> Option<String> {
        match program(expression).and_then(|p| p.evaluate(&self.plain)) {
            Ok(cel::Value::Text(s)) => {
                let s = s.trim();
                let fits = !s.is_empty() && s.len() <= MESSAGE && !s.contains('\n');
                fits.then(|| s.to_owned())
            }
            _ => None,
        }
    }

    fn cause(&self, r: &Value, path: &str, message: &str) -> Cause {
        let schema = self.schema;
        let at = match text(r, "/fieldPath") {
            "" => path.to_owned(),
            p => super::schema::paths::found(p, schema, true).map_or_else(|_| path.to_owned(), |(p, _)| join(path, &p)),
        };
        // Of what is large the value is not shown.
        let shown = match text(schema, "/type") {
            "object" | "array" => String::new(),
            _ => format!(": {}", self.shown),
        };
        match text(r, "/reason") {
            "FieldValueRequired" => Cause::required(at, message),
            "FieldValueForbidden" => Cause::forbidden(at, message),
            "FieldValueDuplicate" => Cause::new("FieldValueDuplicate", at, format!("Duplicate value{shown}")),
            _ => Cause::new("FieldValueInvalid", at, format!("Invalid value{shown}: {message}")),
        }
    }
}

/// The value as rules see it (`UnstructuredToVal`): by its type and its format, names of fields that are no identifiers escaped, and
/// fields that are null as if they were not there.
fn to_cel(schema: &Value, value: &Value) -> cel::Value {
    match value {
        Value::Object(m) => {
            let declared = &schema["properties"];
            let given = m.iter().filter(|(_, v)| !declared.is_object() || !v.is_null());
            let entries = given.map(|(k, v)| match declared.get(k) {
                Some(child) => (Key::Text(escaped(k).as_str().into()), to_cel(child, v)),
                None => (Key::Text(k.as_str().into()), to_cel(&schema["additionalProperties"], v)),
            });
            cel::Value::Map(Arc::new(entries.collect()))
        }
        Value::Array(l) => {
            let items = l.iter().map(|v| to_cel(&schema["items"], v)).collect();
            let kind = match text(schema, "/x-kubernetes-list-type") {
                "set" => ListKind::Set,
                "map" => ListKind::Map(list_keys(schema).into_iter().map(escaped).collect()),
                _ => ListKind::Atomic,
            };
            cel::Value::List(Arc::new(List::new(items, kind)))
        }
        Value::Number(n) if schema["type"] == "number" => cel::Value::Double(n.as_f64().unwrap_or_default()),
        Value::String(s) if schema["type"] == "string" => formatted(text(schema, "/format"), s),
        v => cel::Value::from_json(v),
    }
}

/// A text as the value that its format says it is.
fn formatted(format: &str, s: &str) -> cel::Value {
    let moment = |found: Option<Moment>| {
        let wrong = || cel::Value::Wrong(format!("Invalid {format} formatted string {s}").as_str().into());
        found.map_or_else(wrong, cel::Value::Time)
    };
    match format {
        "date-time" => moment(Moment::of_date_time(s)),
        "date" => moment(Moment::of_date(s)),
        "duration" => {
            let wrong = || format!("Invalid duration {s}: unable to parse {s} as duration");
            let span = crate::schema::formats::span(s).map(jiff::SignedDuration::from_nanos);
            span.map_or_else(|| cel::Value::Wrong(wrong().as_str().into()), cel::Value::Span)
        }
        "byte" => match url_bytes(s) {
            Ok(bytes) => cel::Value::Bytes(bytes.into()),
            Err(at) => {
                let why = format!("illegal base64 data at input byte {at}");
                cel::Value::Wrong(format!("Invalid byte formatted string {s}: {why}").as_str().into())
            }
        },
        _ => cel::Value::text(s),
    }
}

/// Bytes in the alphabet of URLs (`strfmt.Base64.UnmarshalText`, though values are checked in the other one), or where they are none.
fn url_bytes(text: &str) -> Result<Vec<u8>, usize> {
    use base64::Engine;
    let wrong = |b: u8| !(b.is_ascii_alphanumeric() || b"-_=".contains(&b));
    if let Some(at) = text.bytes().position(wrong) {
        return Err(at);
    }
    base64::engine::general_purpose::URL_SAFE
        .decode(text)
        .map_err(|_| text.len())
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
