//! What a definition's schema may not say (`k8s.io/apiextensions-apiserver/pkg/apiserver/schema/validation.go` and
//! `pkg/apis/apiextensions/validation`), beyond the types that the server itself relies on.

use super::crd::embed;
use super::error::{join, quote};
use super::node::Node;
use super::prune::prune;
use super::reference::{SchemaRef, add_object_fields};
use super::validate::validate;
use serde_json::Value;
use std::sync::Arc;

/// Paths within a schema and what is wrong there.
pub(super) type Found = Vec<(String, String)>;

/// Everything that is wrong with a schema whose types are in order.
pub(super) fn errors(schema: &Value) -> Found {
    let mut found = Found::new();
    if let Some(metadata) = schema["properties"].get("metadata") {
        let known = |name: &String| matches!(name.as_str(), "name" | "generateName");
        if metadata["properties"].as_object().is_some_and(|p| !p.keys().all(known)) {
            let detail = "Forbidden: must not specify anything other than name and generateName, but metadata is \
                          implicitly specified";
            found.push(("properties[metadata]".to_owned(), detail.to_owned()));
        }
    }
    level(schema, "", &mut found);
    found
}

fn level(schema: &Value, path: &str, found: &mut Found) {
    let at = |child: &str| join(path, child);
    if schema["uniqueItems"] == true {
        let detail = "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        found.push((at("uniqueItems"), detail.to_owned()));
    }
    kinds(schema, path, found);
    list_map(schema, path, found);
    if schema["x-kubernetes-int-or-string"] == true && schema["x-kubernetes-preserve-unknown-fields"] == true {
        let detail = "Invalid value: true: must be false if x-kubernetes-int-or-string is true";
        found.push((at("x-kubernetes-preserve-unknown-fields"), detail.to_owned()));
    }
    if schema["x-kubernetes-embedded-resource"] == true
        && schema["x-kubernetes-preserve-unknown-fields"] != true
        && schema["properties"].as_object().is_none_or(serde_json::Map::is_empty)
    {
        let detail = "Required value: must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        found.push((at("properties"), detail.to_owned()));
    }
    default(schema, path, found);
    let either = schema["x-kubernetes-int-or-string"] == true;
    junctors(schema, path, either, found);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        // The root's metadata needs no schema of its own.
        if !(path.is_empty() && name == "metadata") {
            level(child, &at(&format!("properties[{name}]")), found);
        }
    }
    for part in ["items", "additionalProperties"] {
        if schema[part].is_object() {
            level(&schema[part], &at(part), found);
        }
    }
}

/// Kinds of lists and maps, and what they are of.
fn kinds(schema: &Value, path: &str, found: &mut Found) {
    for (field, valid, of) in [
        ("x-kubernetes-list-type", &["atomic", "set", "map"][..], "array"),
        ("x-kubernetes-map-type", &["granular", "atomic"][..], "object"),
    ] {
        let Some(said) = schema[field].as_str() else { continue };
        let own = schema["type"].as_str().unwrap_or_default();
        if own.is_empty() {
            let detail = format!("Required value: must be {of} if {field} is specified");
            found.push((join(path, "type"), detail));
        } else if own != of {
            let detail = format!("Invalid value: {}: must be {of} if {field} is specified", quote(own));
            found.push((join(path, "type"), detail));
        }
        if !valid.contains(&said) {
            let valid: Vec<String> = valid.iter().map(|v| quote(v)).collect();
            let detail = format!(
                "Unsupported value: {}: supported values: {}",
                quote(said),
                valid.join(", ")
            );
            found.push((join(path, field), detail));
        }
    }
}

fn list_map(schema: &Value, path: &str, found: &mut Found) {
    let own = &schema["x-kubernetes-list-type"];
    if *own != "map" {
        if schema["x-kubernetes-list-map-keys"]
            .as_array()
            .is_some_and(|k| !k.is_empty())
        {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            let detail = match own.as_str() {
                None => format!("Required value: {detail}"),
                Some(kind) => format!("Invalid value: {}: {detail}", quote(kind)),
            };
            found.push((join(path, "x-kubernetes-list-type"), detail));
        }
        return;
    }
    let (field, items) = ("x-kubernetes-list-map-keys", &schema["items"]);
    let keys: Vec<&str> = schema[field]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if keys.is_empty() {
        let detail = "Required value: must not be empty if x-kubernetes-list-type is map";
        found.push((join(path, field), detail.to_owned()));
    }
    let kind = items["type"].as_str().unwrap_or_default();
    if items.is_object() && kind != "object" {
        let kind = quote(kind);
        let detail = format!("Invalid value: {kind}: must be object if parent array's x-kubernetes-list-type is map");
        found.push((join(path, "items.type"), detail));
    }
    for (i, key) in keys.iter().enumerate() {
        let property = &items["properties"][*key];
        if keys[..i].contains(key) {
            found.push((
                join(path, &format!("{field}[{i}]")),
                format!("Duplicate value: {}", quote(key)),
            ));
        }
        if property.is_null() {
            let all = &schema[field];
            let detail = format!("Invalid value: {all}: entries must all be names of item properties");
            found.push((join(path, field), detail));
            continue;
        }
        let needed = items["required"].as_array().is_some_and(|r| r.iter().any(|n| n == key));
        if !needed && property["default"].is_null() {
            let detail = "Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or \
                          be a required property";
            found.push((
                join(path, &format!("items.properties[{key}].default")),
                detail.to_owned(),
            ));
        }
    }
}

/// A default is what the schema it stands in would take.
fn default(schema: &Value, path: &str, found: &mut Found) {
    let Some(value) = schema.get("default").filter(|v| !v.is_null()) else {
        return;
    };
    let mut node = Node::parse(schema, false);
    embed(&mut node);
    if node.embedded_resource {
        add_object_fields(&mut node);
    }
    let own = SchemaRef::new(Arc::new(node));
    let mut pruned = value.clone();
    prune(&own, &mut pruned);
    if pruned != *value {
        let detail = format!("Invalid value: {value}: must not have unknown fields");
        found.push((join(path, "default"), detail));
    }
    for error in validate(&own, value) {
        let at = join(path, "default");
        let at = if error.path.is_empty() {
            at
        } else {
            join(&at, &error.path)
        };
        found.push((at, error.message()));
    }
}

/// Schemas within `allOf`, `anyOf`, `oneOf` and `not` may say of values what they are, but not how they are read.
fn junctors(schema: &Value, path: &str, either: bool, found: &mut Found) {
    for field in ["allOf", "anyOf", "oneOf"] {
        let all = schema[field].as_array().map_or(&[][..], Vec::as_slice);
        for (i, child) in all.iter().enumerate() {
            let at = join(path, &format!("{field}[{i}]"));
            // What numbers or texts are is told so, by habit.
            let typed = either && field == "anyOf" && matches!(child["type"].as_str(), Some("integer" | "string"));
            value_only(child, &at, typed, either && field == "allOf", found);
        }
    }
    if schema["not"].is_object() {
        let at = join(path, "not");
        value_only(&schema["not"], &at, false, false, found);
    }
}

fn value_only(schema: &Value, path: &str, typed: bool, either: bool, found: &mut Found) {
    for (field, nothing) in [
        ("additionalProperties", "undefined"),
        ("description", "empty"),
        ("type", "empty"),
        ("title", "empty"),
        ("default", "undefined"),
        ("nullable", "false"),
        ("x-kubernetes-preserve-unknown-fields", "false"),
        ("x-kubernetes-embedded-resource", "false"),
        ("x-kubernetes-int-or-string", "false"),
    ] {
        let said = &schema[field];
        if said.is_null() || *said == false || *said == "" || field == "type" && typed {
            continue;
        }
        let detail = format!("Forbidden: must be {nothing} to be structural");
        found.push((join(path, field), detail));
    }
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        let at = join(path, &format!("properties[{name}]"));
        value_only(child, &at, false, false, found);
    }
    if schema["items"].is_object() {
        value_only(&schema["items"], &join(path, "items"), false, false, found);
    }
    junctors(schema, path, either, found);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_within_junctors_says_what_values_are_and_no_more() {
        let schema = json!({"type": "array", "items": {"type": "object"},
            "anyOf": [{"items": {"oneOf": [{"type": "string"}, {"minLength": 1}]}}]});
        let detail = "Forbidden: must be empty to be structural".to_owned();
        assert_eq!(errors(&schema), [("anyOf[0].items.oneOf[0].type".to_owned(), detail)]);
        let either = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
        assert_eq!(errors(&either), []);
    }
}
