//! Bodies read strictly: what is there twice is found. `serde_json` and `serde_yaml` take the last of two equal keys,
//! or refuse them; Kubernetes tells the client, as it asked for (`fieldValidation`).

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use crate::store::DEEPEST;

/// What was read.
pub(super) struct Parsed {
    pub(super) value: Value,
    /// `duplicate field "spec.replicas"`.
    pub(super) duplicates: Vec<String>,
}

pub(super) fn json(b: &[u8]) -> Result<Parsed, String> {
    let mut d = serde_json::Deserializer::from_slice(b);
    let seen = RefCell::default();
    let value = Seed::new(&seen).deserialize(&mut d).map_err(|e| e.to_string())?;
    d.end().map_err(|e| e.to_string())?;
    Ok(Parsed {
        value,
        duplicates: seen.into_inner(),
    })
}

pub(super) fn yaml(b: &[u8]) -> Result<Parsed, String> {
    // JSON is YAML; most of it comes as JSON.
    if b.iter().find(|c| !c.is_ascii_whitespace()) == Some(&b'{')
        && let Ok(p) = json(b)
    {
        return Ok(p);
    }
    let seen = RefCell::default();
    // The first document counts.
    let value = match serde_yaml::Deserializer::from_slice(b).next() {
        Some(first) => Seed::new(&seen).deserialize(first).map_err(|e| yaml_error(&e, b))?,
        None => Value::Null,
    };
    Ok(Parsed {
        value,
        duplicates: seen.into_inner(),
    })
}

/// An error as Go's YAML reader tells it: nothing of the first line's number, and of what the parser misses (not of
/// what the scanner cannot read) a line less.
fn yaml_error(e: &serde_yaml::Error, b: &[u8]) -> String {
    let text = e.to_string();
    let problem = text.split(" at line ").next().unwrap_or(&text);
    // Of bytes Go does not say where they are.
    let problem = problem.split(" at position ").next().unwrap_or(problem);
    if problem == "unknown anchor" {
        let rest = e.location().and_then(|l| b.get(l.index()..)).unwrap_or_default();
        let name = rest.strip_prefix(b"*").unwrap_or(rest);
        let end = name
            .iter()
            .position(|c| !(c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_')));
        let name = String::from_utf8_lossy(&name[..end.unwrap_or(name.len())]);
        return format!("unknown anchor '{name}' referenced");
    }
    let above = e.location().map_or(0, |l| l.line().saturating_sub(1));
    if above == 0 {
        return problem.to_owned();
    }
    let line = if problem.starts_with("did not find expected") {
        above
    } else {
        above + 1
    };
    format!("line {line}: {problem}")
}

/// The keys a YAML document has twice, as Go's YAML decoder tells them: by the line of the second one. Documents in
/// block style; nothing is said of those in flow style.
pub(super) fn yaml_lines(b: &[u8]) -> Vec<String> {
    if !yaml(b).is_ok_and(|p| !p.duplicates.is_empty()) {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(b);
    // Maps that are open: indent, and the keys seen with their lines.
    let mut open: Vec<(usize, Vec<(&str, usize)>)> = Vec::new();
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        if rest.is_empty() || rest.starts_with('#') {
            continue;
        }
        let mut indent = line.len() - rest.len();
        while let Some(item) = rest.strip_prefix("- ") {
            // A new element: maps inside the one before are closed.
            open.retain(|(i, _)| *i <= indent);
            let inner = item.trim_start();
            indent += rest.len() - inner.len();
            rest = inner;
        }
        let Some((key, _)) = rest.split_once(':') else { continue };
        let key = key.trim_matches(['"', '\'']);
        open.retain(|(i, _)| *i <= indent);
        if open.last().is_none_or(|(i, _)| *i < indent) {
            open.push((indent, Vec::new()));
        }
        if let Some((_, keys)) = open.last_mut() {
            match keys.iter().find(|(k, _)| *k == key) {
                Some(_) => found.push(format!(
                    "line {}: key {} already set in map",
                    n + 1,
                    crate::schema::quote(key)
                )),
                None => keys.push((key, n)),
            }
        }
    }
    found
}

/// Where a value is.
struct Step<'a> {
    parent: Option<&'a Step<'a>>,
    name: Name<'a>,
}

#[derive(Clone, Copy)]
enum Name<'a> {
    Key(&'a str),
    Index(usize),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.name {
            Name::Key(key) if self.parent.is_none() => f.write_str(key),
            Name::Key(key) => write!(f, ".{key}"),
            Name::Index(i) => write!(f, "[{i}]"),
        }
    }
}

struct Seed<'a> {
    seen: &'a RefCell<Vec<String>>,
    at: Option<&'a Step<'a>>,
    depth: usize,
}

impl<'a> Seed<'a> {
    fn new(seen: &'a RefCell<Vec<String>>) -> Self {
        Self {
            seen,
            at: None,
            depth: 0,
        }
    }

    fn step<'b>(&'b self, name: Name<'b>) -> Step<'b> {
        Step { parent: self.at, name }
    }

    fn below<'b>(&'b self, step: &'b Step<'b>) -> Seed<'b> {
        Seed {
            seen: self.seen,
            at: Some(step),
            depth: self.depth + 1,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        if self.depth > DEEPEST {
            return Err(serde::de::Error::custom("exceeded max depth"));
        }
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        self.deserialize(d)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        self.deserialize(d)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut a: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(v) = a.next_element_seed(self.below(&self.step(Name::Index(list.len()))))? {
            list.push(v);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut a: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = a.next_key::<Scalar>()?.map(|k| k.0) {
            let v = a.next_value_seed(self.below(&self.step(Name::Key(&key))))?;
            match map.entry(key) {
                Entry::Vacant(e) => drop(e.insert(v)),
                Entry::Occupied(mut e) => {
                    let path = self.step(Name::Key(e.key())).to_string();
                    self.seen
                        .borrow_mut()
                        .push(format!("duplicate field {}", crate::schema::quote(&path)));
                    e.insert(v);
                }
            }
        }
        Ok(Value::Object(map))
    }
}

/// A key: YAML's may be numbers and truth values.
struct Scalar(String);

impl<'de> serde::Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, v: &str) -> Result<Scalar, E> {
                Ok(Scalar(v.to_owned()))
            }
            fn visit_bool<E>(self, v: bool) -> Result<Scalar, E> {
                Ok(Scalar(v.to_string()))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Scalar, E> {
                Ok(Scalar(v.to_string()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Scalar, E> {
                Ok(Scalar(v.to_string()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Scalar, E> {
                Ok(Scalar(v.to_string()))
            }
            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar("null".into()))
            }
        }
        d.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_there_twice_are_found() {
        let p = json(br#"{"spec": {"replicas": 1, "replicas": 2, "list": [{"a": 1, "a": 1}]}}"#).unwrap();
        assert_eq!(
            p.duplicates,
            [
                r#"duplicate field "spec.replicas""#,
                r#"duplicate field "spec.list[0].a""#
            ]
        );
        assert_eq!(p.value["spec"]["replicas"], 2);
        let text = b"a:\n  foo: 1\n  bar:\n  - foo: 1\n    baz: 2\n  - foo: 1\n  foo: 3\n";
        assert_eq!(yaml_lines(text), [r#"line 7: key "foo" already set in map"#]);
        assert!(json(b"{} x").is_err());
        assert!(json("[".repeat(5000).as_bytes()).is_err());
        assert_eq!(
            yaml(b"a: 1\nb: [x, true]").unwrap().value,
            serde_json::json!({"a": 1, "b": ["x", true]})
        );
    }
}
