//! Values of an update together with what they were before (`k8s.io/apiserver/pkg/cel/common`: `CorrelatedObject`,
//! `MapList`): what did not change may stay invalid.

use serde_json::Value;
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// A value, its structural schema, and the value that it was before.
#[derive(Debug)]
pub struct Correlated<'v> {
    schema: &'v Value,
    value: &'v Value,
    old: &'v Value,
    before: OnceCell<MapList<'v>>,
    equal: OnceCell<bool>,
}

impl<'v> Correlated<'v> {
    /// Of a whole object, or of a part whose old value is known.
    #[must_use]
    pub fn new(schema: &'v Value, value: &'v Value, old: &'v Value) -> Self {
        Self {
            schema,
            value,
            old,
            before: OnceCell::new(),
            equal: OnceCell::new(),
        }
    }

    /// A field that the schema knows and that was there before.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<Self> {
        let (value, old) = (self.value.get(name)?, self.old.get(name)?);
        let more = &self.schema["additionalProperties"];
        let schema = match self.schema["properties"].get(name) {
            Some(own) => own,
            None if more.is_object() => more,
            None => return None,
        };
        Some(Self::new(schema, value, old))
    }

    /// An element whose keys an element had before: only elements of maps are told apart.
    #[must_use]
    pub fn index(&self, i: usize) -> Option<Self> {
        let (value, old) = (self.value.as_array()?.get(i)?, self.old.as_array()?);
        let before = self.before.get_or_init(|| MapList::new(self.schema, old));
        let schema = self.schema.get("items")?;
        Some(Self::new(schema, value, old.get(before.get(value)?)?))
    }

    /// Whether it is what it was, elements of maps in any order. What the schema does not know counts as changed.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        *self.equal.get_or_init(|| match (self.value, self.old) {
            (Value::Array(new), Value::Array(old)) => {
                let same = |i| self.index(i).is_some_and(|child| child.is_equal());
                new.len() == old.len()
                    && if self.schema["x-kubernetes-list-type"] == "map" {
                        (0..new.len()).all(same)
                    } else {
                        new == old
                    }
            }
            (Value::Object(new), Value::Object(old)) => {
                let same = |name: &String| self.key(name).is_some_and(|child| child.is_equal());
                new.len() == old.len() && new.keys().all(same)
            }
            (new, old) => new == old,
        })
    }
}

/// The places of a list's elements by their keys, where its schema calls it a map; the first of each.
#[derive(Debug)]
pub struct MapList<'v> {
    keys: Vec<&'v str>,
    places: BTreeMap<String, usize>,
}

impl<'v> MapList<'v> {
    /// Of the elements of a list with this schema.
    #[must_use]
    pub fn new(schema: &'v Value, items: &[Value]) -> Self {
        let mut list = Self {
            keys: match schema["x-kubernetes-list-type"].as_str() {
                Some("map") => map_keys(schema),
                _ => Vec::new(),
            },
            places: BTreeMap::new(),
        };
        for (i, item) in items.iter().enumerate() {
            if let Some(key) = list.key(item) {
                list.places.entry(key).or_insert(i);
            }
        }
        list
    }

    /// The place of the element with the keys of this one.
    #[must_use]
    pub fn get(&self, item: &Value) -> Option<usize> {
        self.places.get(&self.key(item)?).copied()
    }

    /// The keys' values, which are all there and scalars.
    fn key(&self, item: &Value) -> Option<String> {
        if self.keys.is_empty() {
            return None;
        }
        let mut text = String::new();
        for key in &self.keys {
            match item.get(key)? {
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
                scalar => text.push_str(&format!("\0{scalar}")),
            }
        }
        Some(text)
    }
}

/// The fields by which a list's elements are told apart.
#[must_use]
pub fn map_keys(schema: &Value) -> Vec<&str> {
    let keys = schema["x-kubernetes-list-map-keys"].as_array();
    keys.into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_equal_goes_by_the_schema() {
        let text = || json!({"type": "string"});
        let map = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": text(), "v": text()}}});
        let atomic = json!({"type": "array", "items": text()});
        let object = json!({"type": "object", "properties": {"a": text()}});
        let any = json!({"type": "object", "additionalProperties": text()});
        for (schema, new, old, equal) in [
            (
                &map,
                json!([{"k": "a"}, {"k": "b"}]),
                json!([{"k": "b"}, {"k": "a"}]),
                true,
            ),
            (
                &map,
                json!([{"k": "a", "v": "x"}]),
                json!([{"k": "a", "v": "y"}]),
                false,
            ),
            (&map, json!([{"k": "a"}]), json!([{"k": "a"}, {"k": "b"}]), false),
            (&map, json!([{"v": "a"}]), json!([{"v": "a"}]), false),
            (&map, json!([]), json!([]), true),
            (&atomic, json!(["a", "b"]), json!(["a", "b"]), true),
            (&atomic, json!(["a", "b"]), json!(["b", "a"]), false),
            (&object, json!({"a": "x"}), json!({"a": "x"}), true),
            (&object, json!({"a": "x", "b": 1}), json!({"a": "x", "b": 1}), false),
            (&object, json!({"a": "x"}), json!({"b": "x"}), false),
            (&any, json!({"a": "x", "b": null}), json!({"b": null, "a": "x"}), true),
            (&any, json!({"a": "1"}), json!({"a": 1}), false),
        ] {
            assert_eq!(Correlated::new(schema, &new, &old).is_equal(), equal, "{new} {old}");
        }
    }
}
