//! Formats that nobody checks (`apiextensions-apiserver/pkg/apiserver/validation/formats.go`).

use serde_json::Value;

use super::each_part;
use crate::registry::text;
use crate::schema::Type;
use crate::schema::formats::is_known;

/// The formats in a schema that are not known for the types they are given to.
pub(crate) fn unrecognized(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    each_part(schema, &mut |s| {
        let format = text(s, "/format");
        let known = match text(s, "/type") {
            "" | "string" => is_known(Type::String, format),
            "integer" => is_known(Type::Integer, format),
            "number" => is_known(Type::Number, format),
            _ => false,
        };
        if !format.is_empty() && !known {
            found.push(format.to_owned());
        }
    });
    found
}
