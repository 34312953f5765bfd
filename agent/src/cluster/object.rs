//! An object of any kind as an API server tells it: its tree, without who owns its fields. That is half of what is told of
//! it, and nobody here asks.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::discovery::ApiResource;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An object.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// What watching and asking go by: names, version, labels and annotations.
    metadata: ObjectMeta,
    /// All of it.
    pub(super) value: Value,
}

impl Tree {
    fn of(value: Value) -> Self {
        let at = &value["metadata"];
        let text = |k: &str| at[k].as_str().map(str::to_owned);
        let texts = |k: &str| {
            let all = at[k].as_object()?.iter();
            Some(
                all.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
                    .collect(),
            )
        };
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            labels: texts("labels"),
            annotations: texts("annotations"),
            ..ObjectMeta::default()
        };
        Self { metadata, value }
    }
}

impl Serialize for Tree {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Part::Object.deserialize(d).map(Self::of)
    }
}

/// Which part of an object is read.
#[derive(Clone, Copy)]
enum Part {
    Object,
    Metadata,
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "an object",
            Self::Metadata => "metadata",
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match (self, &*key) {
                (Self::Metadata, "managedFields") => {
                    map.next_value::<IgnoredAny>()?;
                }
                (Self::Object, "metadata") => {
                    all.insert(key.into_owned(), map.next_value_seed(Self::Metadata)?);
                }
                _ => {
                    all.insert(key.into_owned(), map.next_value()?);
                }
            }
        }
        Ok(Value::Object(all))
    }
}

impl kube::Resource for Tree {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(r: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&r.kind)
    }
    fn group(r: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&r.group)
    }
    fn version(r: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&r.version)
    }
    fn api_version(r: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&r.api_version)
    }
    fn plural(r: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&r.plural)
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::ResourceExt;
    use serde_json::json;

    #[test]
    fn everything_is_kept_but_who_owns_what() {
        let told = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"managedFields": "x"}, "metadata": {
            "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"l": "1"}, "annotations": {"k": "v\n"},
            "managedFields": [{"manager": "m", "fieldsV1": {"f:data": {}}}], "finalizers": ["f"]}});
        let read: Tree = serde_json::from_str(&told.to_string()).unwrap();
        let mut kept = told;
        kept["metadata"].as_object_mut().unwrap().remove("managedFields");
        assert_eq!(read.value, kept);
        assert_eq!(
            (read.name_any(), read.namespace()),
            ("a".to_owned(), Some("n".to_owned()))
        );
        assert_eq!(read.resource_version().as_deref(), Some("7"));
        assert_eq!(
            (read.labels()["l"].as_str(), read.annotations()["k"].as_str()),
            ("1", "v\n")
        );
        assert!(serde_json::from_str::<Tree>("[]").is_err());
    }
}
