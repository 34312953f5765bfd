//! JSON read strictly: what is there twice is found. `serde_json` takes the last of two equal keys; Kubernetes tells the
//! client, as it asked for (`fieldValidation`).

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use crate::store::{DEEPEST, TOO_DEEP};

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
            return Err(serde::de::Error::custom(TOO_DEEP));
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
        while let Some(key) = a.next_key::<String>()? {
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
        assert!(json(b"{} x").is_err());
        assert!(json("[".repeat(5000).as_bytes()).is_err());
    }
}
