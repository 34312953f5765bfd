//! Formats that definitions may name (`apiextensions-apiserver/pkg/apiserver/validation/formats.go`).

use super::node::Type;
use cfn_cel::strfmt;

/// Whether a format of values of a type is checked.
pub(crate) fn is_known(kind: Type, format: &str) -> bool {
    match kind {
        Type::Any | Type::String => strfmt::is_known(format),
        Type::Integer => matches!(format, "int32" | "int64"),
        Type::Number => matches!(format, "float" | "double"),
        _ => false,
    }
}
