//! Fields a schema does not know.

use super::node::Type;
use super::reference::SchemaRef;
use cfn_cel::go::quote;
use serde_json::Value;

/// Removes the fields the schema does not know.
///
/// In objects of the built-in types it also removes what Kubernetes loses by decoding into Go's types and writing
/// them again: nulls, and lists and maps that are empty, unless they are required there.
pub fn prune(schema: &SchemaRef, object: &mut Value) {
    match object {
        Value::Object(fields) => {
            if schema.kind() != Type::Object && schema.kind() != Type::Any {
                return;
            }
            let builtin = schema.is_builtin();
            fields.retain(|name, value| match schema.field(name) {
                None => false,
                Some(_) if builtin && value.is_null() => !schema.is_struct_field(name),
                Some(child) => {
                    prune(&child, value);
                    !(builtin && schema.is_struct_field(name) && child.is_empty_value(value))
                        || schema.always_writes(name)
                }
            });
        }
        Value::Array(items) => {
            if let Some(child) = schema.items() {
                items.iter_mut().for_each(|item| prune(&child, item));
            }
        }
        _ => {}
    }
}

/// Texts for the fields the schema does not know, as strict decoding reports them: `unknown field "spec.foo"`.
pub fn unknown_fields(schema: &SchemaRef, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_unknown(schema, object, &mut String::new(), &mut found);
    found
}

fn collect_unknown(schema: &SchemaRef, value: &Value, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                match schema.field(name) {
                    None if matches!(schema.kind(), Type::Object | Type::Any) => {
                        found.push(format!("unknown field {}", quote(path)));
                    }
                    None => {}
                    Some(child) => collect_unknown(&child, value, path, found),
                }
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            let Some(child) = schema.items() else { return };
            for (i, item) in items.iter().enumerate() {
                path.push_str(&format!("[{i}]"));
                collect_unknown(&child, item, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

impl SchemaRef {
    /// Whether a field is one of a Go struct: declared, of a built-in type.
    fn is_struct_field(&self, name: &str) -> bool {
        self.node().properties.contains_key(name)
    }

    /// Whether Go writes the field even when it is empty: it is required, or has no `omitempty` though optional.
    fn always_writes(&self, name: &str) -> bool {
        self.node().required.iter().any(|required| required == name)
            || name == "rules" && self.definition_name().is_some_and(|d| d.ends_with("Role"))
    }

    /// Whether Go would leave the value out (`omitempty`): empty lists and maps, not structs.
    fn is_empty_value(&self, value: &Value) -> bool {
        match value {
            Value::Array(items) => items.is_empty() && self.kind() == Type::Array,
            Value::Object(fields) => fields.is_empty() && self.kind() == Type::Object && self.is_map(),
            _ => false,
        }
    }
}
