//! The OpenAPI documents, put together from their recorded parts each time they are asked for: clients keep them by
//! their hash, the server need not.

use super::archive::{DEFINITIONS, DOCUMENTS};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Chunk of [`DOCUMENTS`] that is the v2 document.
const V2: &str = "v2";

/// Paths of the OpenAPI v3 documents (`api/v1`, `apis/apps/v1`, `version`, ...) with a hash of each, for the answer
/// to `/openapi/v3` (`serverRelativeURL: /openapi/v3/<path>?hash=<hash>`) and for ETags.
pub fn openapi_v3_index() -> Vec<(String, String)> {
    DOCUMENTS
        .names()
        .filter(|(name, _)| *name != V2)
        .map(|(name, hash)| (name.to_owned(), hash.to_owned()))
        .collect()
}

/// The OpenAPI v3 document (JSON) at a path such as `api/v1` or `apis/apps/v1`, as Kubernetes serves it.
pub fn openapi_v3(path: &str) -> Option<Bytes> {
    if path == V2 {
        return None;
    }
    assemble(path, |definition| definition.to_owned(), BTreeMap::new())
}

/// The OpenAPI v2 document (JSON), as Kubernetes serves it, with definitions and paths of custom resources in it.
pub fn openapi_v2(definitions: &BTreeMap<String, Value>, paths: &Map<String, Value>) -> Bytes {
    let convert = |definition: &str| {
        let schema: Value = serde_json::from_str(definition).expect("recorded definitions are JSON");
        to_v2(&schema).to_string()
    };
    let more = definitions.iter().map(|(k, v)| (k.as_str(), v.to_string()));
    let whole = assemble(V2, convert, more.collect()).expect("the v2 document is recorded");
    if paths.is_empty() {
        return whole;
    }
    let start = b"\"paths\":{";
    let Some(at) = whole.windows(start.len()).rposition(|w| w == start) else {
        return whole;
    };
    let (head, tail) = whole.split_at(at + start.len());
    let added = Value::Object(paths.clone()).to_string();
    let mut out = Vec::with_capacity(whole.len() + added.len() + 1);
    out.extend_from_slice(head);
    out.extend_from_slice(&added.as_bytes()[1..added.len() - 1]);
    out.push(b',');
    out.extend_from_slice(tail);
    out.into()
}

/// Recorded definitions (in v3's form) and all that they refer to.
pub fn definitions_with(names: &[&str]) -> BTreeMap<String, Value> {
    let mut packages: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    let mut found = BTreeMap::new();
    let mut wanted: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    while let Some(name) = wanted.pop() {
        if found.contains_key(&name) {
            continue;
        }
        let package = super::package(&name).to_owned();
        let all = packages.entry(package).or_insert_with_key(|p| {
            let text = DEFINITIONS.text(p).unwrap_or_default();
            let lines = text.split('\n').filter_map(|line| line.split_once('\t'));
            lines
                .filter_map(|(n, d)| Some((n.to_owned(), serde_json::from_str(d).ok()?)))
                .collect()
        });
        let Some(definition) = all.get(&name) else { continue };
        references(definition, &mut wanted);
        found.insert(name, definition.clone());
    }
    found
}

fn references(v: &Value, found: &mut Vec<String>) {
    match v {
        Value::Object(m) => {
            if let Some(name) = m
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|r| r.strip_prefix("#/components/schemas/"))
            {
                found.push(name.to_owned());
            }
            m.values().for_each(|v| references(v, found));
        }
        Value::Array(l) => l.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

/// Hash of the v2 document, for its ETag.
pub fn openapi_v2_hash() -> String {
    DOCUMENTS
        .names()
        .find(|(name, _)| *name == V2)
        .map(|(_, hash)| hash.to_owned())
        .unwrap_or_default()
}

/// Puts a document together. Its chunk holds: names of shared definitions; the text before the definitions; the
/// text after them; then, one per line, the definitions that only this document has.
/// `more` are definitions that are not recorded.
fn assemble(path: &str, convert: impl Fn(&str) -> String, more: BTreeMap<&str, String>) -> Option<Bytes> {
    let chunk = DOCUMENTS.text(path)?;
    let mut lines = chunk.split('\n');
    let names = lines.next().unwrap_or_default();
    let before = lines.next().unwrap_or_default();
    let after = lines.next().unwrap_or_default();
    let mut definitions = more;
    for (name, definition) in lines.filter_map(|line| line.split_once('\t')) {
        definitions.insert(name, definition.to_owned());
    }
    let mut packages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names.split_ascii_whitespace() {
        packages.entry(super::package(name)).or_default().push(name);
    }
    for (package, wanted) in packages {
        let text = DEFINITIONS.text(package)?;
        let mut wanted = wanted.into_iter().peekable();
        for (name, definition) in text.split('\n').filter_map(|line| line.split_once('\t')) {
            // Both are sorted by name.
            if wanted.peek() == Some(&name) {
                definitions.extend(wanted.next().map(|name| (name, convert(definition))));
            }
        }
    }
    let size = definitions
        .iter()
        .map(|(name, definition)| name.len() + definition.len() + 4)
        .sum::<usize>();
    let mut document = String::with_capacity(before.len() + after.len() + size + 2);
    document.push_str(before);
    if !definitions.is_empty() {
        for (i, (name, definition)) in definitions.iter().enumerate() {
            document.push_str(if i == 0 { "{\"" } else { ",\"" });
            document.push_str(name);
            document.push_str("\":");
            document.push_str(definition);
        }
        document.push('}');
    }
    document.push_str(after);
    Some(document.into())
}

/// A v3 definition as the v2 document has it: no defaults, no `allOf` around references, other paths in them.
fn to_v2(schema: &Value) -> Value {
    let Value::Object(fields) = schema else {
        return schema.clone();
    };
    let mut result = serde_json::Map::new();
    for (key, value) in fields {
        match key.as_str() {
            "default" => {}
            "properties" => {
                let children = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(k, v)| (k.clone(), to_v2(v)))
                    .collect();
                result.insert(key.clone(), Value::Object(children));
            }
            "items" | "additionalProperties" => {
                result.insert(key.clone(), to_v2(value));
            }
            "allOf" => {
                result.insert("$ref".to_owned(), v2_reference(&value[0]["$ref"]));
            }
            "$ref" => {
                result.insert(key.clone(), v2_reference(value));
            }
            _ => {
                result.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(result)
}

fn v2_reference(reference: &Value) -> Value {
    reference
        .as_str()
        .unwrap_or_default()
        .replace("#/components/schemas/", "#/definitions/")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v3_documents_are_whole() {
        for (path, hash) in openapi_v3_index() {
            let text = openapi_v3(&path).unwrap();
            let document: Value = serde_json::from_slice(&text).unwrap();
            assert!(
                document["paths"].as_object().is_some_and(|paths| !paths.is_empty()),
                "{path}"
            );
            assert_eq!(hash.len(), 32, "{path}");
            // Every reference leads somewhere.
            let text = std::str::from_utf8(&text).unwrap();
            for reference in text.split("\"#/components/schemas/").skip(1) {
                let name = reference.split('"').next().unwrap();
                assert!(!document["components"]["schemas"][name].is_null(), "{path}: {name}");
            }
        }
    }

    #[test]
    fn v3_document_is_the_recorded_one() {
        use sha2::Digest;
        for (path, hash) in openapi_v3_index() {
            // The recorder hashes the document as compact JSON with sorted keys, which is how it is put together.
            let sum = sha2::Sha256::digest(openapi_v3(&path).unwrap());
            let hex: String = sum.iter().map(|b| format!("{b:02X}")).collect();
            assert_eq!(&hex[..32], hash, "{path}");
        }
    }

    #[test]
    fn v3_patch_says_field_validation() {
        let document: Value = serde_json::from_slice(&openapi_v3("apis/apps/v1").unwrap()).unwrap();
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-action"], "patch");
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        assert!(
            patch["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .any(|p| p["name"] == "fieldValidation")
        );
        assert!(openapi_v3("apis/none/v1").is_none());
    }

    #[test]
    fn v2_document_is_whole() {
        let document: Value = serde_json::from_slice(&openapi_v2(&BTreeMap::new(), &Map::new())).unwrap();
        assert_eq!(document["swagger"], "2.0");
        let spec = &document["definitions"]["io.k8s.api.apps.v1.DeploymentSpec"]["properties"];
        assert_eq!(
            spec["selector"]["$ref"],
            "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"
        );
        assert_eq!(document["definitions"].as_object().unwrap().len(), 771);
        assert_eq!(openapi_v2_hash().len(), 32);
    }
}
