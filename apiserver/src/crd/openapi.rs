//! OpenAPI documents of custom groups, and what they add to the v2 document
//! (`apiextensions-apiserver/pkg/controller/openapi/builder`): as much as `kubectl explain`, `kubectl apply` and client
//! generators read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::digest::{hex, sha256};
use crate::registry::Resource;
use crate::schema::definitions_with;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const CONVENTIONS: &str =
    "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

/// Reverse domain, version, kind (`openapi.ToRESTFriendlyName`).
fn definition_name(r: &Resource, kind: &str) -> String {
    let reversed: Vec<&str> = r.group.split('.').rev().collect();
    format!("{}.{}.{kind}", reversed.join("."), r.version)
}

fn kinds(r: &Resource, kind: &str) -> Value {
    json!([{"group": r.group, "version": r.version, "kind": kind}])
}

/// `metadata` as a reference, in the form of either document.
fn meta_reference(v2: bool, kind: &str, description: &str) -> Value {
    if v2 {
        json!({"description": description, "$ref": format!("#/definitions/{META}.{kind}")})
    } else {
        json!({"description": description, "allOf": [{"$ref": format!("#/components/schemas/{META}.{kind}")}]})
    }
}

/// What every object has beside its own fields.
fn add_type_meta(properties: &mut Map<String, Value>) {
    let version = format!(
        "APIVersion defines the versioned schema of this representation of an object. Servers should convert \
         recognized schemas to the latest internal value, and may reject unrecognized values. {CONVENTIONS}#resources"
    );
    let kind = format!(
        "Kind is a string value representing the REST resource this object represents. Servers may infer this from \
         the endpoint the client submits requests to. Cannot be updated. In CamelCase. {CONVENTIONS}#types-kinds"
    );
    properties.insert("apiVersion".into(), json!({"description": version, "type": "string"}));
    properties.insert("kind".into(), json!({"description": kind, "type": "string"}));
}

fn add_meta(schema: &mut Value, v2: bool) {
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    if let Some(p) = schema["properties"].as_object_mut() {
        let text = format!("Standard object's metadata. {CONVENTIONS}#metadata");
        p.insert("metadata".into(), meta_reference(v2, "ObjectMeta", &text));
        add_type_meta(p);
    }
}

/// Embedded objects have what every object has, too.
fn add_embedded(schema: &mut Value, v2: bool) {
    if schema["x-kubernetes-embedded-resource"] == true
        && !(v2 && schema["x-kubernetes-preserve-unknown-fields"] == true)
    {
        add_meta(schema, v2);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            add_embedded(&mut schema[key], v2);
        }
    }
    for p in schema
        .get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        if !(p.1["$ref"].is_string() || p.1["allOf"].is_array()) {
            add_embedded(p.1, v2);
        }
    }
}

/// What the older form cannot say is left out (`openapi/v2.ToStructuralOpenAPIV2`).
fn to_v2(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else {
        return schema.clone();
    };
    let mut m = fields.clone();
    for k in ["allOf", "oneOf", "anyOf", "not"] {
        m.remove(k);
    }
    let keeps_unknown = m.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if m.remove("nullable") == Some(json!(true)) {
        m.remove("type");
        m.remove("items");
        m.remove("properties");
    }
    if keeps_unknown {
        m.remove("items");
        m.remove("properties");
        if m.get("type") == Some(&json!("object")) {
            m.remove("type");
        }
    }
    if m.get("type") == Some(&json!("array")) && !m.contains_key("items") {
        m.remove("type");
    }
    let nullable = |p: &str| fields["properties"][p]["nullable"] == true;
    if let Some(l) = m.get_mut("required").and_then(Value::as_array_mut) {
        l.retain(|r| !r.as_str().is_some_and(nullable));
        if l.is_empty() {
            m.remove("required");
        }
    }
    for (k, v) in &mut m {
        match (k.as_str(), &*v) {
            ("items" | "additionalProperties", old) => *v = to_v2(old),
            ("properties", Value::Object(p)) => *v = p.iter().map(|(k, v)| (k.clone(), to_v2(v))).collect(),
            _ => {}
        }
    }
    Value::Object(m)
}

/// The definitions of a resource's object and list.
fn own_definitions(r: &Resource, v2: bool) -> [(String, Value); 2] {
    let own = r.custom.as_ref().and_then(|c| c.openapi.clone());
    let mut schema = match own {
        // Clients take what has no fields for what may have any.
        None => json!({"type": "object"}),
        Some(s) if v2 && s["x-kubernetes-preserve-unknown-fields"] == true => json!({"type": "object"}),
        Some(s) => {
            let mut s = if v2 { to_v2(&s) } else { s };
            add_embedded(&mut s, v2);
            add_meta(&mut s, v2);
            s
        }
    };
    schema["x-kubernetes-group-version-kind"] = kinds(r, &r.kind);
    let (name, list) = (definition_name(r, &r.kind), definition_name(r, &r.list_kind()));
    let prefix = if v2 { "#/definitions" } else { "#/components/schemas" };
    let mut properties = Map::new();
    add_type_meta(&mut properties);
    let items = format!("List of {}. {CONVENTIONS}", r.plural);
    properties.insert(
        "items".into(),
        json!({"type": "array", "description": items, "items": {"$ref": format!("{prefix}/{name}")}}),
    );
    let text = format!("Standard list metadata. {CONVENTIONS}#types-kinds");
    properties.insert("metadata".into(), meta_reference(v2, "ListMeta", &text));
    let of_list = json!({"type": "object", "required": ["items"], "properties": properties,
        "description": format!("{} is a list of {}", r.list_kind(), r.kind),
        "x-kubernetes-group-version-kind": kinds(r, &r.list_kind())});
    [(name, schema), (list, of_list)]
}

/// Definitions and paths that custom resources add to the v2 document.
pub(crate) fn v2_additions(resources: &[Arc<Resource>]) -> (BTreeMap<String, Value>, Map<String, Value>) {
    let (mut definitions, mut paths) = (BTreeMap::new(), Map::new());
    for r in resources {
        definitions.extend(own_definitions(r, true));
        let name = definition_name(r, &r.kind);
        let base = format!("/apis/{}/{}", r.group, r.version);
        let collection = if r.namespaced {
            format!("{base}/namespaces/{{namespace}}/{}", r.plural)
        } else {
            format!("{base}/{}", r.plural)
        };
        let kind = json!({"group": r.group, "version": r.version, "kind": r.kind});
        let operation = |action: &str| {
            let mut o = json!({"responses": {"200": {"description": "OK", "schema": {"$ref": format!("#/definitions/{name}")}}},
                "produces": ["application/json", "application/yaml"], "schemes": ["https"],
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind});
            if matches!(action, "post" | "put" | "patch") {
                o["parameters"] = ["dryRun", "fieldManager", "fieldValidation"]
                    .iter()
                    .map(|n| json!({"name": n, "in": "query", "type": "string", "uniqueItems": true}))
                    .collect();
            }
            o
        };
        paths.insert(
            collection.clone(),
            json!({"get": operation("list"), "post": operation("post"), "delete": operation("deletecollection")}),
        );
        paths.insert(
            format!("{collection}/{{name}}"),
            json!({"get": operation("get"), "put": operation("put"), "patch": operation("patch"), "delete": operation("delete")}),
        );
    }
    (definitions, paths)
}

/// The document of one group version, from the resources of that group version.
pub(crate) fn document(group: &str, version: &str, resources: &[Arc<Resource>]) -> Value {
    let mut schemas: Map<String, Value> = definitions_with(&[
        &format!("{META}.ObjectMeta"),
        &format!("{META}.ListMeta"),
        &format!("{META}.Status"),
        &format!("{META}.DeleteOptions"),
        &format!("{META}.Patch"),
    ])
    .into_iter()
    .collect();
    let mut paths = Map::new();
    for r in resources {
        let (name, list) = (definition_name(r, &r.kind), definition_name(r, &r.list_kind()));
        schemas.extend(own_definitions(r, false));
        let base = format!("/apis/{group}/{version}");
        let collection = if r.namespaced {
            format!("{base}/namespaces/{{namespace}}/{}", r.plural)
        } else {
            format!("{base}/{}", r.plural)
        };
        let operation = |action: &str, schema: &str, body: bool| {
            let mut o = json!({
                "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}}}},
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": r.kind}});
            if body {
                o["parameters"] = json!([query("dryRun"), query("fieldManager"), query("fieldValidation")]);
                if action == "patch" {
                    o["parameters"] = json!([
                        query("dryRun"),
                        query("fieldManager"),
                        query("fieldValidation"),
                        query("force")
                    ]);
                }
                o["requestBody"] = json!({"content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}}});
            }
            o
        };
        paths.insert(
            collection.clone(),
            json!({"get": operation("list", &list, false), "post": operation("post", &name, true),
                "delete": operation("deletecollection", &name, false)}),
        );
        let one = |subs: &str| {
            let mut o = json!({"get": operation("get", &name, false), "put": operation("put", &name, true),
                "patch": operation("patch", &name, true)});
            if subs.is_empty() {
                o["delete"] = operation("delete", &name, false);
            }
            o
        };
        paths.insert(format!("{collection}/{{name}}"), one(""));
        if r.has_status() {
            paths.insert(format!("{collection}/{{name}}/status"), one("status"));
        }
        if r.namespaced {
            paths.insert(
                format!("{base}/{}", r.plural),
                json!({"get": operation("list", &list, false)}),
            );
        }
    }
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
        "paths": paths, "components": {"schemas": schemas}})
}

fn query(name: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
}

/// A hash of the document that changes with it.
pub(crate) fn hash(document: &Value) -> String {
    hex(&sha256([document.to_string()])).to_uppercase()
}
