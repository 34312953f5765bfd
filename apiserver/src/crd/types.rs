//! Types of custom resources, as rules see them (`apiserver/pkg/cel/common/schemas.go`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::rules::escaped;
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
