//! Defaults that schemas declare.

use super::node::Type;
use super::reference::SchemaRef;
use serde_json::Value;

/// Fills in the defaults a CRD's schema declares, and removes nulls where null is not allowed but a default is
/// declared (`k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting`). The built-in types' defaults are
/// not in their schemas but in `crate::defaults`: fields of built-in types (`metadata`) are left alone.
pub fn apply_defaults(schema: &SchemaRef, object: &mut Value) {
    if schema.is_builtin() {
        return;
    }
    match object {
        Value::Object(fields) => {
            for (name, child) in schema.properties() {
                if child.is_builtin() {
                    continue;
                }
                let given = fields
                    .get(name)
                    .is_some_and(|value| !value.is_null() || child.nullable());
                if !given && let Some(default) = child.default() {
                    fields.insert(name.to_owned(), default.clone());
                }
            }
            // A null where none may be is as nothing.
            fields.retain(|name, value| {
                !value.is_null()
                    || schema
                        .property(name)
                        .is_none_or(|child| child.nullable() || child.default().is_some() || child.kind() == Type::Any)
            });
            for (name, value) in fields.iter_mut() {
                if let Some(child) = schema.field(name) {
                    if value.is_null()
                        && !child.nullable()
                        && let Some(default) = child.default()
                    {
                        *value = default.clone();
                    }
                    apply_defaults(&child, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(child) = schema.items() {
                items.iter_mut().for_each(|item| apply_defaults(&child, item));
            }
        }
        _ => {}
    }
}

impl SchemaRef {
    fn properties(&self) -> impl Iterator<Item = (&str, SchemaRef)> {
        self.property_names()
            .filter_map(|name| Some((name, self.property(name)?)))
    }
}
