//! Schemas of the API's types: the recorded discovery and OpenAPI documents of Kubernetes, structural schemas of
//! CRDs, and what is done with them: validation, pruning, defaulting, unknown fields.

mod archive;
mod correlated;
mod crd;
mod defaulting;
mod difference;
mod discovery;
mod error;
pub(crate) mod formats;
mod go;
mod list_type;
mod messages;
mod node;
mod openapi;
mod printed;
mod prune;
mod read;
mod reference;
mod semantic;
mod structs;
#[cfg(test)]
mod tests;
mod validate;
pub(crate) mod zero;

pub use crate::crd::schema_errors;
pub use cfn_cel::go::{is_print, quote};
pub use cfn_cel::strconv::{atoi, parse_int, parse_uint, parse_uint_of};
pub use cfn_cel::time::parse_duration;
pub use correlated::{Correlated, MapList, map_keys};
pub use crd::SchemaError;
pub use defaulting::{apply_defaults, has_defaults};
pub use difference::unified;
pub use discovery::{ResourceDef, SubresourceDef, discovery};
pub(crate) use error::go_type;
pub use error::{FieldError, FieldErrorKind, go_value, join};
pub use go::{json_error, repaired, time_error};
pub use list_type::duplicates;
pub(crate) use messages::{Field, MESSAGES};
pub use messages::{is_api_type, not_registered};
pub use node::{ListType, Type};
pub use openapi::{definitions_with, openapi_v2, openapi_v2_hash, openapi_v3, openapi_v3_index};
pub use printed::{Printed, fields_of_struct};
pub use prune::{prune, unknown_fields};
pub use read::{convert, json_kind, read};
pub use reference::SchemaRef;
pub use semantic::{same, selector};
pub use validate::{validate, validate_update};
pub use zero::{is_given, nothing, write_always, write_given};

/// A list of texts as Go's `%q` prints it.
#[must_use]
pub fn quote_list<T: AsRef<str>>(list: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = list.into_iter().map(|t| quote(t.as_ref())).collect();
    format!("[{}]", all.join(" "))
}

/// Package of a definition: its name without the last segment.
fn package(definition: &str) -> &str {
    definition.rsplit_once('.').map_or("", |(package, _)| package)
}
