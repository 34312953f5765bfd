//! Paths of fields as server-side apply tells them (`sigs.k8s.io/structured-merge-diff/v6/fieldpath`).

use crate::schema::quote;
use serde_json::Value;
use std::cmp::Ordering;
use std::fmt;

/// Whether a text is in JSON as it is.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\')
}

/// A string as JSON.
pub(super) fn quoted(text: &str, out: &mut String) {
    if is_plain(text) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}

/// One step into an object.
#[derive(Debug, Clone)]
pub enum PathElement {
    /// A field of an object.
    Field(String),
    /// The element of an associative list that has these values in its key fields, sorted by name.
    Key(Vec<(String, Value)>),
    /// The element of a set.
    Value(Value),
    /// The element at a position.
    Index(i64),
}

impl PathElement {
    /// From the form of `fieldsV1`: `f:name`, `k:{"name":"a"}`, `v:1`, `i:0`.
    pub fn parse(text: &str) -> Option<PathElement> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(PathElement::Field(rest.to_owned())),
            "v" => Some(PathElement::Value(serde_json::from_str(rest).ok()?)),
            "i" => Some(PathElement::Index(rest.parse().ok()?)),
            "k" => {
                let fields: serde_json::Map<String, Value> = serde_json::from_str(rest).ok()?;
                let mut fields: Vec<_> = fields.into_iter().collect();
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                Some(PathElement::Key(fields))
            }
            _ => None,
        }
    }

    /// The form of `fieldsV1` as a JSON string.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            PathElement::Field(name) if is_plain(name) => {
                out.push_str("\"f:");
                out.push_str(name);
                out.push('"');
            }
            _ => quoted(&self.serialise(), out),
        }
    }

    /// The form of `fieldsV1`.
    pub fn serialise(&self) -> String {
        match self {
            PathElement::Field(name) => format!("f:{name}"),
            PathElement::Key(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
                    .collect();
                format!("k:{{{}}}", fields.join(","))
            }
            PathElement::Value(value) => format!("v:{value}"),
            PathElement::Index(index) => format!("i:{index}"),
        }
    }
}

impl fmt::Display for PathElement {
    /// As in the messages about conflicts: `.name`, `[name="a"]`, `[="x"]`, `[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), quote);
        match self {
            PathElement::Field(name) => write!(f, ".{name}"),
            PathElement::Key(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{name}={}", text(value)))
                    .collect();
                write!(f, "[{}]", fields.join(","))
            }
            PathElement::Value(value) => write!(f, "[={}]", text(value)),
            PathElement::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A path in messages: `.spec.containers[name="a"].image`.
pub fn display(path: &[PathElement]) -> String {
    path.iter().map(PathElement::to_string).collect()
}

impl PartialEq for PathElement {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for PathElement {}

impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PathElement {
    fn cmp(&self, other: &Self) -> Ordering {
        use PathElement::{Field, Index, Key, Value};
        let rank = |element: &PathElement| match element {
            Field(_) => 0,
            Key(_) => 1,
            Value(_) => 2,
            Index(_) => 3,
        };
        match (self, other) {
            (Field(a), Field(b)) => a.cmp(b),
            (Index(a), Index(b)) => a.cmp(b),
            (Value(a), Value(b)) => compare_values(a, b),
            (Key(a), Key(b)) => {
                for ((name, value), (other_name, other_value)) in a.iter().zip(b) {
                    let order = name.cmp(other_name).then_with(|| compare_values(value, other_value));
                    if order != Ordering::Equal {
                        return order;
                    }
                }
                a.len().cmp(&b.len())
            }
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

/// A total order of JSON values: numbers (by value, however written), strings, booleans, lists, objects, null.
pub fn compare_values(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    };
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => x
                .as_f64()
                .unwrap_or_default()
                .total_cmp(&y.as_f64().unwrap_or_default()),
        },
        (Value::String(x), Value::String(y)) => x.cmp(y),
        (Value::Bool(x), Value::Bool(y)) => x.cmp(y),
        (Value::Array(x), Value::Array(y)) => {
            let different = x
                .iter()
                .zip(y)
                .map(|(x, y)| compare_values(x, y))
                .find(|order| order.is_ne());
            different.unwrap_or_else(|| x.len().cmp(&y.len()))
        }
        (Value::Object(x), Value::Object(y)) => {
            let (mut left, mut right): (Vec<_>, Vec<_>) = (x.iter().collect(), y.iter().collect());
            left.sort_by_key(|(name, _)| *name);
            right.sort_by_key(|(name, _)| *name);
            let pairs = left.iter().zip(&right);
            let different = pairs
                .map(|(x, y)| x.0.cmp(y.0).then_with(|| compare_values(x.1, y.1)))
                .find(|order| order.is_ne());
            different.unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Whether two values are the same, numbers compared by value.
pub fn same(a: &Value, b: &Value) -> bool {
    compare_values(a, b).is_eq()
}
