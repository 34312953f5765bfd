//! Schemas of custom resources.

use super::node::{Node, Type};
use super::reference::{SchemaRef, add_object_fields};
use serde_json::Value;
use std::sync::Arc;

/// Why a CRD's schema was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A part of the schema is not what a structural schema may have there.
    #[error("{path}: {detail}")]
    Malformed {
        /// Path within the schema: `properties[spec].type`; empty for the schema itself.
        path: String,
        /// What is wrong, in Kubernetes' words (`Required value: must not be empty for specified object fields`).
        detail: String,
    },
}

impl SchemaRef {
    /// Schema of a custom resource: takes one version's `schema.openAPIV3Schema`. `apiVersion`, `kind` and
    /// `metadata` get Kubernetes' own schemas whatever it says of them.
    ///
    /// # Errors
    /// If it is not a structural schema (`k8s.io/apiextensions-apiserver/pkg/apiserver/schema`).
    pub fn from_crd(openapi_v3_schema: &Value) -> Result<SchemaRef, SchemaError> {
        if openapi_v3_schema["type"] != "object" {
            return Err(malformed(
                "type",
                match openapi_v3_schema["type"].as_str() {
                    None | Some("") => "Required value: must not be empty at the root".to_owned(),
                    Some(other) => format!("Invalid value: \"{other}\": must be object at the root"),
                },
            ));
        }
        check_structural(openapi_v3_schema, "")?;
        let mut node = Node::parse(openapi_v3_schema, false);
        node.kind = Some(Type::Object);
        add_object_fields(&mut node);
        embed(&mut node);
        Ok(SchemaRef::new(Arc::new(node)))
    }

    /// A part of such a schema, which is known to be in order.
    pub fn of_part(schema: &Value) -> SchemaRef {
        let mut node = Node::parse(schema, false);
        embed(&mut node);
        if node.embedded_resource {
            add_object_fields(&mut node);
        }
        SchemaRef::new(Arc::new(node))
    }
}

/// Gives embedded resources their apiVersion, kind and metadata too.
pub(super) fn embed(node: &mut Node) {
    for child in node.properties.values_mut() {
        // Nobody else holds the children yet.
        if let Some(child) = Arc::get_mut(child) {
            embed(child);
            if child.embedded_resource {
                add_object_fields(child);
            }
        }
    }
    if let Some(items) = node.items.as_mut().and_then(Arc::get_mut) {
        embed(items);
        if items.embedded_resource {
            add_object_fields(items);
        }
    }
}

/// What makes a schema structural, as far as the server relies on it: types everywhere, no references, no
/// properties beside additionalProperties, list types that fit.
fn check_structural(schema: &Value, path: &str) -> Result<(), SchemaError> {
    let Value::Object(fields) = schema else {
        return Err(malformed(path, "Invalid value: must be a schema".to_owned()));
    };
    let join = |child: &str| {
        if path.is_empty() {
            child.to_owned()
        } else {
            format!("{path}.{child}")
        }
    };
    let typed = schema["type"].as_str().unwrap_or_default();
    let free = schema["x-kubernetes-int-or-string"] == true || schema["x-kubernetes-preserve-unknown-fields"] == true;
    if fields.contains_key("$ref") {
        return Err(malformed(&join("$ref"), "Forbidden: $ref is not supported".to_owned()));
    }
    match typed {
        "" if free => {}
        "" => {
            let place = if path.ends_with("items") {
                "array items"
            } else {
                "object fields"
            };
            return Err(malformed(
                &join("type"),
                format!("Required value: must not be empty for specified {place}"),
            ));
        }
        "object" | "array" | "string" | "integer" | "number" | "boolean" => {}
        other => {
            let known = r#"supported values: "array", "boolean", "integer", "number", "object", "string""#;
            return Err(malformed(
                &join("type"),
                format!("Unsupported value: \"{other}\": {known}"),
            ));
        }
    }
    if fields.contains_key("properties") && fields.get("additionalProperties").is_some_and(|a| *a != false) {
        let detail = "Forbidden: additionalProperties and properties are mutual exclusive";
        return Err(malformed(&join("additionalProperties"), detail.to_owned()));
    }
    if typed == "array" && !fields.contains_key("items") {
        return Err(malformed(
            &join("items"),
            "Required value: must be specified".to_owned(),
        ));
    }
    if schema["x-kubernetes-list-type"] == "map" {
        // Elements are told apart by them.
        let keys = schema["x-kubernetes-list-map-keys"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let named = |key: &Value| {
            key.as_str()
                .is_some_and(|k| !schema["items"]["properties"][k].is_null())
        };
        if keys.is_empty() || !keys.iter().all(named) {
            let detail = "Invalid value: entries must all be names of item properties";
            return Err(malformed(&join("x-kubernetes-list-map-keys"), detail.to_owned()));
        }
    }
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        let child_path = join(&format!("properties[{name}]"));
        // The root's metadata may restrict the name only, and needs no schema of its own.
        if path.is_empty() && name == "metadata" {
            continue;
        }
        check_structural(child, &child_path)?;
    }
    if let Some(items) = fields.get("items") {
        check_structural(items, &join("items"))?;
    }
    match fields.get("additionalProperties") {
        Some(child @ Value::Object(fields)) if !fields.is_empty() => {
            check_structural(child, &join("additionalProperties"))?;
        }
        _ => {}
    }
    Ok(())
}

fn malformed(path: &str, detail: String) -> SchemaError {
    SchemaError::Malformed {
        path: path.to_owned(),
        detail,
    }
}
