//! From bytes to documents.

use std::io::Read;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::OfflineError;

/// The documents of a file, in order; those of lists one by one.
///
/// # Errors
/// When it is neither JSON, JSON lines nor YAML (or gzip of these).
pub fn documents(bytes: &[u8]) -> Result<Vec<Value>, OfflineError> {
    let mut plain = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain)?;
    } else {
        plain = bytes.to_vec();
    }
    let text = String::from_utf8(plain)?;
    let json: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&text).into_iter::<Value>().collect();
    let parsed = match json {
        Ok(docs) => docs,
        Err(json) => {
            let yaml: Result<Vec<Value>, _> = serde_yaml::Deserializer::from_str(&text)
                .map(Value::deserialize)
                .collect();
            match yaml {
                Ok(docs) => docs,
                // Someone who writes braces means JSON.
                Err(_) if text.trim_start().starts_with(['{', '[']) => return Err(json.into()),
                Err(yaml) => return Err(yaml.into()),
            }
        }
    };
    let mut out = Vec::new();
    for mut doc in parsed {
        tidy(&mut doc);
        match doc {
            Value::Array(items) => out.extend(items),
            Value::Object(mut o) if o.get("items").is_some_and(Value::is_array) && is_list(o.get("kind")) => {
                if let Some(Value::Array(items)) = o.remove("items") {
                    out.extend(items);
                }
            }
            Value::Null => {}
            other => out.push(other),
        }
    }
    Ok(out)
}

fn is_list(kind: Option<&Value>) -> bool {
    kind.and_then(Value::as_str).is_some_and(|k| k.ends_with("List"))
}

/// Go writes zero times and empty lists as null, and conditions want a time: nulls go, conditions without a time get the
/// epoch.
fn tidy(v: &mut Value) {
    match v {
        Value::Object(o) => {
            o.retain(|_, v| !v.is_null());
            if let Some(Value::Array(conditions)) = o.get_mut("conditions") {
                for c in conditions.iter_mut().filter_map(Value::as_object_mut) {
                    c.retain(|_, v| !v.is_null());
                    c.entry("lastTransitionTime")
                        .or_insert_with(|| "1970-01-01T00:00:00Z".into());
                    for word in ["reason", "message"] {
                        c.entry(word).or_insert_with(|| "".into());
                    }
                }
            }
            o.values_mut().for_each(tidy);
        }
        Value::Array(a) => a.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Reads a value as `T`; the error names the field.
pub(super) fn read<T: DeserializeOwned>(
    v: Value,
    at: usize,
    root: &str,
    what: &'static str,
) -> Result<T, OfflineError> {
    serde_path_to_error::deserialize(v).map_err(|e| {
        let path = match (root, e.path().to_string()) {
            (root, p) if p == "." && root.is_empty() => "the whole".to_owned(),
            (root, p) if p == "." => root.to_owned(),
            ("", p) => p,
            (root, p) => format!("{root}.{p}"),
        };
        OfflineError::Shape {
            at: at + 1,
            path,
            what,
            error: e.into_inner().to_string(),
        }
    })
}

/// An object of Kubernetes, its `apiVersion` and `kind` filled in where they are left out.
pub(super) fn read_object<T>(mut v: Value, at: usize, root: &str, what: &'static str) -> Result<T, OfflineError>
where
    T: DeserializeOwned + kube::Resource<DynamicType = ()>,
{
    if let Some(o) = v.as_object_mut() {
        o.insert("apiVersion".into(), T::api_version(&()).into());
        o.insert("kind".into(), T::kind(&()).into());
        o.entry("metadata").or_insert_with(|| Value::Object(Default::default()));
        o.entry("spec").or_insert_with(|| Value::Object(Default::default()));
    }
    read(v, at, root, what)
}

pub(super) fn kind(v: &Value) -> &str {
    v.get("kind").and_then(Value::as_str).unwrap_or_default()
}

/// Takes a list out of a document.
pub(super) fn take(doc: &mut Value, field: &str) -> Vec<Value> {
    match doc.get_mut(field).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}
