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
            for name in schema.defaulted() {
                let Some(child) = schema.property(name) else { continue };
                if !is_given(&child, fields.get(name))
                    && let Some(default) = child.default()
                {
                    fields.insert(name.clone(), default.clone());
                }
            }
            // A null where none may be is as nothing.
            fields.retain(|name, value| !value.is_null() || may_be_null(schema, name));
            for (name, value) in fields.iter_mut().filter(|(_, v)| has_parts(v)) {
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

/// Whether [`apply_defaults`] would leave an object as it is, so that nobody need copy it to find out.
pub fn has_defaults(schema: &SchemaRef, object: &Value) -> bool {
    if schema.is_builtin() {
        return true;
    }
    match object {
        Value::Object(fields) => {
            let given = |name: &String| schema.property(name).is_none_or(|c| is_given(&c, fields.get(name)));
            let stays = |name: &str, value: &Value| {
                let replaced = |c: SchemaRef| !c.nullable() && c.default().is_some();
                match value {
                    Value::Null => !schema.field(name).is_some_and(replaced) && may_be_null(schema, name),
                    value => schema.field(name).is_none_or(|c| has_defaults(&c, value)),
                }
            };
            schema.defaulted().iter().all(given)
                && fields
                    .iter()
                    .filter(|(_, v)| has_parts(v))
                    .all(|(name, value)| stays(name, value))
        }
        Value::Array(items) => schema
            .items()
            .is_none_or(|child| items.iter().all(|item| has_defaults(&child, item))),
        _ => true,
    }
}

/// Whether a property says anything.
fn is_given(child: &SchemaRef, value: Option<&Value>) -> bool {
    value.is_some_and(|value| !value.is_null() || child.nullable())
}

/// Whether a property may be null, or is left to be given its default.
fn may_be_null(schema: &SchemaRef, name: &str) -> bool {
    let may = |child: SchemaRef| child.nullable() || child.default().is_some() || child.kind() == Type::Any;
    schema.property(name).is_none_or(may)
}

/// Whether there may be something to do about a value.
fn has_parts(value: &Value) -> bool {
    matches!(value, Value::Object(_) | Value::Array(_) | Value::Null)
}
