//! OpenAPI v3 documents of custom groups (`apiextensions-apiserver/pkg/controller/openapi/builder`): as much as
//! `kubectl explain`, `kubectl apply` and client generators read.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::registry::Resource;

/// The document of one group version, from the resources of that group version.
pub(crate) fn document(group: &str, version: &str, resources: &[Arc<Resource>]) -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    let reversed: Vec<&str> = group.split('.').rev().collect();
    for r in resources {
        let name = format!("{}.{version}.{}", reversed.join("."), r.kind);
        let list = format!("{}.{version}.{}", reversed.join("."), r.list_kind());
        let custom = r.custom.as_ref().and_then(|c| c.openapi.clone());
        let mut schema = custom.unwrap_or_else(|| json!({"type": "object"}));
        let gvk = |kind: &str| json!([{"group": group, "version": version, "kind": kind}]);
        if !schema["properties"].is_object() && schema["x-kubernetes-preserve-unknown-fields"] != true {
            schema["properties"] = json!({});
        }
        if schema["properties"].is_object() {
            let p = &mut schema["properties"];
            p["apiVersion"] = json!({"type": "string", "description": "APIVersion defines the versioned schema of this representation of an object."});
            p["kind"] = json!({"type": "string", "description": "Kind is a string value representing the REST resource this object represents."});
            p["metadata"] = json!({"description": "Standard object's metadata.",
                "allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}]});
        }
        schema["x-kubernetes-group-version-kind"] = gvk(&r.kind);
        schemas.insert(name.clone(), schema);
        schemas.insert(
            list.clone(),
            json!({"type": "object", "required": ["items"], "description": format!("{} is a list of {}", r.list_kind(), r.kind),
                "x-kubernetes-group-version-kind": gvk(&r.list_kind()),
                "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"},
                    "items": {"type": "array", "items": {"$ref": format!("#/components/schemas/{name}")}},
                    "metadata": {"allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"}]}}}),
        );
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
    for (name, schema) in meta_schemas() {
        schemas.insert(name.to_owned(), schema);
    }
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
        "paths": paths, "components": {"schemas": schemas}})
}

fn query(name: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
}

/// The two definitions of apimachinery that every object has, by their fields.
fn meta_schemas() -> [(&'static str, Value); 2] {
    let text = |d: &str| json!({"type": "string", "description": d});
    let map = |d: &str| json!({"type": "object", "additionalProperties": {"type": "string"}, "description": d});
    [
        (
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
            json!({"type": "object", "description": "ObjectMeta is metadata that all persisted resources must have.", "properties": {
                "annotations": map("Unstructured key value map stored with a resource."),
                "creationTimestamp": {"type": "string", "format": "date-time"},
                "deletionGracePeriodSeconds": {"type": "integer", "format": "int64"},
                "deletionTimestamp": {"type": "string", "format": "date-time"},
                "finalizers": {"type": "array", "items": {"type": "string"}},
                "generateName": text("Prefix, used by the server to generate a unique name."),
                "generation": {"type": "integer", "format": "int64"},
                "labels": map("Map of string keys and values to organize and select objects."),
                "managedFields": {"type": "array", "items": {"type": "object"}},
                "name": text("Name must be unique within a namespace."),
                "namespace": text("Namespace defines the space within which each name must be unique."),
                "ownerReferences": {"type": "array", "items": {"type": "object"}},
                "resourceVersion": text("Internal version of this object."),
                "selfLink": text("Legacy field."),
                "uid": text("Unique in time and space value for this object.")}}),
        ),
        (
            "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta",
            json!({"type": "object", "description": "ListMeta describes metadata that lists must have.", "properties": {
                "continue": text("Where the next page starts."),
                "remainingItemCount": {"type": "integer", "format": "int64"},
                "resourceVersion": text("Version of the list."),
                "selfLink": text("Legacy field.")}}),
        ),
    ]
}

/// A hash of the document that changes with it.
pub(crate) fn hash(document: &Value) -> String {
    Sha256::digest(document.to_string())
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect()
}
