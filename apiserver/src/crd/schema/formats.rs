//! Formats that nobody checks (`apiextensions-apiserver/pkg/apiserver/validation/formats.go`).

use serde_json::Value;

use super::each_part;
use crate::registry::text;

/// Formats of texts that are checked, without their dashes.
const TEXTS: [&str; 24] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
];

/// The formats in a schema that are not known for the types they are given to.
pub(crate) fn unrecognized(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    each_part(schema, &mut |s| {
        let format = text(s, "/format");
        // Names in Kubernetes' own formats have dashes, so that what has none is never among them.
        let known = match text(s, "/type") {
            "" | "string" => TEXTS.contains(&format.replace('-', "").as_str()),
            "integer" => matches!(format, "int32" | "int64"),
            "number" => matches!(format, "float" | "double"),
            _ => false,
        };
        if !format.is_empty() && !known {
            found.push(format.to_owned());
        }
    });
    found
}
