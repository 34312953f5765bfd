//! Types of custom resources, as rules see them (`apiserver/pkg/cel/common/schemas.go`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::rules::escaped;
use cfn_cel::cost::{MAX_REQUEST, Shape};
use cfn_cel::{Environment, Type};

/// What a rule may name.
pub(super) fn environment(own: &Type, optional: bool) -> Environment {
    let old = if optional {
        Type::optional(own.clone())
    } else {
        own.clone()
    };
    Environment {
        variables: [("self".to_owned(), own.clone()), ("oldSelf".to_owned(), old)].into(),
        ..Environment::default()
    }
}

/// The type of what a schema allows, of this name if it is an object's; `None`: rules cannot see it. A `root` is an
/// object of its own kind.
pub(super) fn declared(schema: &Value, name: &str, root: bool) -> Option<Type> {
    if schema["x-kubernetes-int-or-string"] == true {
        return Some(Type::Dyn);
    }
    let part = |child: &Value, name: &str| declared(child, name, child["x-kubernetes-embedded-resource"] == true);
    let kind = if root { Some("object") } else { schema["type"].as_str() };
    Some(match kind? {
        "array" => Type::list(part(&schema["items"], &format!("{name}.@idx"))?),
        "object" if schema["additionalProperties"].is_object() => {
            let of = part(&schema["additionalProperties"], &format!("{name}.@elem"))?;
            Type::map(Type::Text, of)
        }
        "object" => {
            let mut fields = BTreeMap::new();
            for (field, child) in schema["properties"].as_object().into_iter().flatten() {
                let own = escaped(field);
                if let Some(t) = part(child, &format!("{name}.{own}")) {
                    fields.insert(own, t);
                }
            }
            if root {
                let metadata = ["name", "generateName"].map(|f| (f.to_owned(), Type::Text));
                fields.insert(
                    "metadata".to_owned(),
                    Type::object(&format!("{name}.metadata"), metadata),
                );
                fields.extend(["apiVersion", "kind"].map(|f| (f.to_owned(), Type::Text)));
            }
            Type::object(name, fields)
        }
        "string" => match schema["format"].as_str().unwrap_or_default() {
            "byte" => Type::Bytes,
            "duration" => Type::Span,
            "date" | "date-time" => Type::Time,
            _ => Type::Text,
        },
        "boolean" => Type::Bool,
        "number" => Type::Double,
        "integer" => Type::Int,
        _ => return None,
    })
}

/// How large values may be that a schema allows; `None`: rules cannot see them. A `root` is an object of its own kind.
pub(super) fn shape(schema: &Value, root: bool) -> Option<Shape> {
    let part = |child: &Value| shape(child, child["x-kubernetes-embedded-resource"] == true);
    let least = |least: u64| Shape {
        least,
        ..Shape::default()
    };
    let bound = |field: &str| schema[field].as_i64().map(|n| u64::try_from(n).unwrap_or_default());
    let of_text = |least: u64, most: u64| Shape {
        most,
        least,
        ..Shape::default()
    };
    // Lengths are of characters, sizes of bytes; quotes are not counted.
    let length = bound("maxLength").map(|n| n.saturating_mul(4));
    if schema["x-kubernetes-int-or-string"] == true {
        return Some(of_text(1, length.unwrap_or(MAX_REQUEST - 2)));
    }
    let kind = if root { Some("object") } else { schema["type"].as_str() };
    Some(match kind? {
        "array" => {
            let item = part(&schema["items"])?;
            Shape {
                most: bound("maxItems").unwrap_or((MAX_REQUEST - 2) / (item.least + 1)),
                least: 2,
                element: Some(Box::new(item)),
                ..Shape::default()
            }
        }
        "object" if schema["additionalProperties"].is_object() => {
            let value = part(&schema["additionalProperties"])?;
            Shape {
                most: bound("maxProperties").unwrap_or((MAX_REQUEST - 2) / (value.least + 6)),
                least: 2,
                element: Some(Box::new(value)),
                keyed: true,
                ..Shape::default()
            }
        }
        "object" => {
            let mut own = least(2);
            let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
            for (name, child) in schema["properties"].as_object().into_iter().flatten() {
                let Some(shape) = part(child) else { continue };
                // A default is filled in by the server.
                if required.iter().any(|r| r == name) && child["default"].is_null() {
                    own.least += name.len() as u64 + shape.least + 4;
                }
                own.fields.insert(escaped(name), shape);
            }
            if root && !says_names(schema) {
                let text = of_text(2, MAX_REQUEST - 2);
                let mut metadata = least(2);
                for name in ["name", "generateName"] {
                    metadata.fields.insert(name.to_owned(), text.clone());
                }
                own.fields.insert("metadata".to_owned(), metadata);
                for name in ["apiVersion", "kind"] {
                    own.fields.insert(name.to_owned(), text.clone());
                }
            }
            own
        }
        "string" => match schema["format"].as_str().unwrap_or_default() {
            "byte" => of_text(2, bound("maxLength").unwrap_or(MAX_REQUEST - 2)),
            "duration" => of_text(3, 32),
            "date" => of_text(12, 12),
            "date-time" => of_text(21, 32),
            _ => {
                let values = schema["enum"].as_array().filter(|a| !a.is_empty());
                let longest = values.map(|all| all.iter().filter_map(Value::as_str).map(str::len).max());
                let longest = longest.map(|n| n.unwrap_or_default() as u64);
                of_text(2, length.or(longest).unwrap_or(MAX_REQUEST - 2))
            }
        },
        "boolean" => least(4),
        "number" | "integer" => least(1),
        _ => return None,
    })
}

/// Whether a schema says all that is known of objects without it.
fn says_names(schema: &Value) -> bool {
    let own = &schema["properties"];
    let text = |of: &Value, name: &str| of[name]["type"] == "string";
    text(own, "kind")
        && text(own, "apiVersion")
        && own["metadata"]["type"] == "object"
        && ["name", "generateName"]
            .iter()
            .all(|n| text(&own["metadata"]["properties"], n))
}
