//! What Go's decoder would say of objects of the built-in types.

use super::go;
use super::node::Type;
use super::reference::SchemaRef;
use super::validate::fits;
use serde_json::Value;

/// The error of decoding an object of a built-in type into Go's type, if there is one:
/// `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
/// The API server answers 400 with `<Kind> in version "<version>" cannot be handled as a <Kind>: ` before it.
pub fn decode_error(schema: &SchemaRef, object: &Value) -> Option<String> {
    find(schema, object, &mut Vec::new(), "")
}

fn find<'v>(schema: &SchemaRef, value: &'v Value, path: &mut Vec<&'v str>, owner: &str) -> Option<String> {
    if value.is_null() {
        return None;
    }
    if schema.kind() == Type::Quantity && fits(Type::Quantity, value) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        return cfn_cel::quantity::Quantity::parse(&text)
            .err()
            .map(|error| error.to_string());
    }
    if !fits(schema.kind(), value) || out_of_range(schema, value) {
        let field = if path.is_empty() {
            "Go value".to_owned()
        } else {
            format!("Go struct field {owner}.{}", path.join("."))
        };
        return Some(format!(
            "json: cannot unmarshal {} into {field} of type {}",
            json_kind(value),
            go_type(schema)
        ));
    }
    match value {
        Value::String(text) => match (schema.kind(), schema.format()) {
            (Type::String, Some("date-time")) => {
                let micro = schema.definition_name().is_some_and(|n| n.ends_with(".MicroTime"));
                go::time_error(text, micro)
            }
            (Type::String, Some("byte")) => go::base64_error(text),
            _ => None,
        },
        Value::Object(fields) => {
            let name = schema.definition_name().map_or(owner, short_name).to_owned();
            fields.iter().find_map(|(field, value)| {
                let child = schema.field(field)?;
                // Go names the field of a map, not its key.
                let key = schema.additional().is_some() && schema.property(field).is_none();
                if !key {
                    path.push(field);
                }
                let error = find(&child, value, path, &name);
                if !key {
                    path.pop();
                }
                error
            })
        }
        Value::Array(items) => {
            let child = schema.items()?;
            items.iter().find_map(|item| find(&child, item, path, owner))
        }
        _ => None,
    }
}

fn out_of_range(schema: &SchemaRef, value: &Value) -> bool {
    schema.kind() == Type::Integer
        && match schema.format() {
            Some("int32") => value.as_i64().is_none_or(|n| i32::try_from(n).is_err()) && !value.is_f64(),
            _ => false,
        }
}

/// What Go's decoder calls a value's type.
pub fn json_kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if number.is_f64() || number.as_i64().is_some_and(|n| i32::try_from(n).is_err()) => {
            format!("number {number}")
        }
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

fn short_name(definition: &str) -> &str {
    definition.rsplit('.').next().unwrap_or(definition)
}

/// Name of the Go type a schema comes from.
fn go_type(schema: &SchemaRef) -> String {
    if let Some(name) = schema.definition_name() {
        let mut parts = name.rsplit('.');
        let (kind, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        return format!("{version}.{kind}");
    }
    match schema.kind() {
        Type::Object => match schema.additional() {
            Some(child) => format!("map[string]{}", go_type(&child)),
            None => "struct".to_owned(),
        },
        Type::Array => format!("[]{}", schema.items().map(|item| go_type(&item)).unwrap_or_default()),
        Type::Integer => schema.format().unwrap_or("int").to_owned(),
        Type::Number => "float64".to_owned(),
        Type::Boolean => "bool".to_owned(),
        _ => "string".to_owned(),
    }
}
