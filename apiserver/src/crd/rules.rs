//! Rules of a schema in CEL (`x-kubernetes-validations`), checked against objects
//! (`apiextensions-apiserver/pkg/apiserver/schema/cel`).

use std::sync::Arc;

use serde_json::Value;

use crate::registry::text;
use crate::schema::{Correlated, FieldError, MapList, join, map_keys};
use cfn_cel::{self as cel, CelError, Key, List, ListKind, Memo, Moment, Program, Scope};

/// Rules compiled before; what they name was checked when the definition was written.
fn program(text: &str) -> Result<Arc<Program>, CelError> {
    static KNOWN: Memo<Arc<Program>> = Memo::new(2000);
    KNOWN.get(text, |t| Program::read(t).map(Arc::new))
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

    fn items(self) -> Vec<Self> {
        match (self.json, self.cel) {
            (Value::Array(json), cel::Value::List(cel)) => json
                .iter()
                .zip(cel.iter())
                .map(|(json, cel)| Self { json, cel })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// What an object breaks.
#[derive(Default)]
pub(crate) struct Broken {
    /// What refuses it.
    pub(crate) errors: Vec<FieldError>,
    /// What it broke before, and is as it was.
    pub(crate) warnings: Vec<FieldError>,
}

/// What an object breaks, `old` being what it was; `correlated` where what did not change may stay as it is.
pub(crate) fn broken(
    schema: &Value,
    value: &Value,
    old: Option<&Value>,
    correlated: Option<&Correlated<'_>>,
    path: &str,
) -> Broken {
    let mut found = Broken::default();
    if !any(schema) {
        return found;
    }
    let (own, before) = (to_cel(schema, value), old.map(|o| to_cel(schema, o)));
    let old = old.zip(before.as_ref()).map(|(json, cel)| Seen { json, cel });
    let seen = Seen { json: value, cel: &own };
    let ratchet = Ratchet {
        current: correlated,
        parent: None,
    };
    // Where one costs too much, no other is asked.
    let _ = within(schema, seen, old, ratchet, path, &mut found);
    found
}

/// What a value is correlated with, else the nearest value around it that is (`ratchetingOptions`).
#[derive(Clone, Copy)]
struct Ratchet<'c, 'v> {
    current: Option<&'c Correlated<'v>>,
    parent: Option<&'c Correlated<'v>>,
}

impl<'c, 'v> Ratchet<'c, 'v> {
    /// Of a part of the value, which is correlated with this.
    fn of<'p>(self, part: Option<&'p Correlated<'v>>) -> Ratchet<'p, 'v>
    where
        'c: 'p,
    {
        match self.current {
            None => self,
            Some(_) => Ratchet {
                current: part,
                parent: self.current,
            },
        }
    }

    fn forgives(self) -> bool {
        self.current.or(self.parent).is_some_and(Correlated::is_equal)
    }
}

/// No rule is asked any more.
struct Ended;

fn within(
    schema: &Value,
    value: Seen<'_>,
    old: Option<Seen<'_>>,
    ratchet: Ratchet<'_, '_>,
    path: &str,
    found: &mut Broken,
) -> Result<(), Ended> {
    if value.json.is_null() {
        return Ok(());
    }
    // What was null was not there.
    let old = old.filter(|o| !o.json.is_null());
    let scopes = Scopes::of(schema, value, old);
    for r in rules(schema) {
        scopes.judge(r, (path, ratchet), found)?;
    }
    match value.json {
        Value::Object(m) => {
            let more = &schema["additionalProperties"];
            for k in m.keys() {
                let (child, known, at) = match schema["properties"].get(k) {
                    Some(child) => (child, escaped(k), join(path, k)),
                    None if more.is_object() => (more, k.clone(), format!("{path}[{k}]")),
                    None => continue,
                };
                let Some(v) = value.field(k, &known) else { continue };
                let before = old.and_then(|o| o.field(k, &known));
                let part = ratchet.current.and_then(|c| c.key(k));
                // An object's type is that of the request, whatever it was before.
                let typed = ratchet.parent.is_none() && matches!(k.as_str(), "apiVersion" | "kind");
                let ratchet = match typed {
                    true => Ratchet {
                        current: None,
                        parent: None,
                    },
                    false => ratchet.of(part.as_ref()),
                };
                within(child, v, before, ratchet, &at, found)?;
            }
        }
        Value::Array(_) if schema["items"].is_object() => {
            let earlier = old.map(Seen::items).unwrap_or_default();
            let places = old.and_then(|o| o.json.as_array()).map(|o| MapList::new(schema, o));
            for (i, v) in value.items().into_iter().enumerate() {
                let place = places.as_ref().and_then(|p| p.get(v.json));
                let before = place.and_then(|p| earlier.get(p)).copied();
                let part = ratchet.current.and_then(|c| c.index(i));
                let ratchet = ratchet.of(part.as_ref());
                within(&schema["items"], v, before, ratchet, &format!("{path}[{i}]"), found)?;
            }
        }
        _ => {}
    }
    Ok(())
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

    fn judge(&self, r: &Value, (path, ratchet): (&str, Ratchet<'_, '_>), found: &mut Broken) -> Result<(), Ended> {
        let (schema, rule) = (self.schema, text(r, "/rule"));
        let optional = r["optionalOldSelf"] == true;
        let program = match program(rule) {
            Ok(program) => program,
            Err(e) => {
                let detail = format!("rule compile error: {e}");
                found
                    .errors
                    .push(FieldError::invalid(path, text(schema, "/type"), detail));
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
                let error = self.error(r, path, message);
                // What is about a change is not about what stays as it is.
                if ratchet.forgives() && !program.mentions("oldSelf") {
                    found.warnings.push(error);
                } else {
                    found.errors.push(error);
                }
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
                found
                    .errors
                    .push(FieldError::invalid(path, text(schema, "/type"), detail));
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

    /// `fieldErrorForReason`.
    fn error(&self, r: &Value, path: &str, message: String) -> FieldError {
        let schema = self.schema;
        let at = match text(r, "/fieldPath") {
            "" => path.to_owned(),
            p => super::schema::paths::found(p, schema, true).map_or_else(|_| path.to_owned(), |(p, _)| join(path, &p)),
        };
        // Of what is large the value is not shown.
        let large = matches!(text(schema, "/type"), "object" | "array");
        let mut error = match text(r, "/reason") {
            "FieldValueRequired" => FieldError::required(at, message),
            "FieldValueForbidden" => FieldError::forbidden(at, message),
            "FieldValueDuplicate" => FieldError::duplicate(at, self.shown.clone()),
            _ => FieldError::invalid(at, self.shown.clone(), message),
        };
        if large {
            error.value = None;
        }
        error
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
                "map" => ListKind::Map(map_keys(schema).into_iter().map(escaped).collect()),
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
            let span = cfn_cel::strfmt::span(s).map(jiff::SignedDuration::from_nanos);
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

/// Whether a schema has rules anywhere (`hasXValidations`).
pub(crate) fn any(schema: &Value) -> bool {
    let parts = schema["properties"].as_object().into_iter().flat_map(|m| m.values());
    !rules(schema).is_empty()
        || parts
            .chain([&schema["items"], &schema["additionalProperties"]])
            .any(|part| part.is_object() && any(part))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
            let found = broken(&schema, &value, old.as_ref(), None, "");
            found.errors.iter().map(ToString::to_string).collect::<Vec<_>>()
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

    #[test]
    fn what_did_not_change_is_forgiven() {
        let short = || json!({"type": "string", "x-kubernetes-validations": [{"rule": "self.size() < 3"}]});
        let schema = json!({"type": "object", "properties": {
            "a": short(),
            "list": {"type": "array", "items": short()},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": short(),
                    "fixed": {"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}},
            "any": {"type": "object", "additionalProperties": {"type": "string", "x-kubernetes-validations": [
                {"rule": "oldSelf.hasValue() || self != 'new'", "optionalOldSelf": true}]}},
            "none": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf + 'x'"}]},
            "kind": short()}});
        for (new, old, refused, forgiven) in [
            (json!({"a": "long"}), json!({"a": "long", "b": 1}), vec![], vec!["a"]),
            (json!({"a": "long"}), json!({"a": "longer"}), vec!["a"], vec![]),
            (json!({"a": "long"}), json!({}), vec!["a"], vec![]),
            (json!({"a": "long"}), json!({"a": null}), vec!["a"], vec![]),
            // A list is one value.
            (
                json!({"list": ["a", "long"]}),
                json!({"list": ["a", "long"]}),
                vec![],
                vec!["list[1]"],
            ),
            (
                json!({"list": ["b", "long"]}),
                json!({"list": ["a", "long"]}),
                vec!["list[1]"],
                vec![],
            ),
            // Elements of maps are found by their keys, wherever they stand.
            (
                json!({"map": [{"k": "n", "v": "long"}, {"k": "o", "v": "long"}]}),
                json!({"map": [{"k": "o", "v": "long"}]}),
                vec!["map[0].v"],
                vec!["map[1].v"],
            ),
            (
                json!({"map": [{"k": "n", "fixed": 1}, {"k": "o", "fixed": 2}]}),
                json!({"map": [{"k": "o", "fixed": 1}, {"k": "n", "fixed": 1}]}),
                vec!["map[1].fixed"],
                vec![],
            ),
            (
                json!({"any": {"x": "new", "y": "new"}}),
                json!({"any": {"x": "new"}}),
                vec!["any[y]"],
                vec![],
            ),
            // Rules about changes are asked of what did not change too.
            (json!({"none": "a"}), json!({"none": "a"}), vec!["none"], vec![]),
            (json!({"kind": "long"}), json!({"kind": "long"}), vec!["kind"], vec![]),
        ] {
            let correlated = Correlated::new(&schema, &new, &old);
            let found = broken(&schema, &new, Some(&old), Some(&correlated), "");
            let paths = |l: &[FieldError]| l.iter().map(|e| e.path.clone()).collect::<Vec<_>>();
            assert_eq!(
                (paths(&found.errors), paths(&found.warnings)),
                (
                    refused.iter().map(ToString::to_string).collect(),
                    forgiven.iter().map(ToString::to_string).collect(),
                ),
                "{new} {old}"
            );
        }
    }
}
