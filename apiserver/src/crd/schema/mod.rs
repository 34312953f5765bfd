//! What is wrong with a version's schema (`validateCustomResourceDefinitionValidation` of
//! `apiextensions-apiserver/pkg/apis/apiextensions/validation`).

mod context;
mod defaults;
mod formats;
mod forms;
pub(super) mod paths;
mod rules;
mod structural;

use serde_json::{Map, Value};

use crate::schema::{FieldError, Printed, fields_of_struct};
use context::{Context, Costs};

pub(super) use formats::unrecognized;
pub(super) use structural::unreadable;

/// What is asked of schemas: an update asks no more than what the stored definition kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demands {
    /// Types must be known ones.
    pub(super) types: bool,
    /// Schemas must be structural.
    pub(super) structural: bool,
    /// Defaults must have no unknown fields.
    pub(super) pruned: bool,
    /// Items of sets must be atomic.
    pub(super) atomic_sets: bool,
    /// Items of sets and maps, and their keys, may not be null.
    pub(super) keys: bool,
    /// Rules may cost no more than they should, each by itself.
    pub(super) costs: bool,
}

impl Demands {
    /// Of a definition that is new.
    pub(super) const ALL: Self = Self {
        types: true,
        structural: true,
        pruned: true,
        atomic_sets: true,
        keys: true,
        costs: true,
    };

    /// Of a definition whose stored schemas are these.
    pub(super) fn of_stored<'s>(schemas: impl Iterator<Item = &'s Value> + Clone) -> Self {
        let any = |wrong: &dyn Fn(&Value) -> bool| schemas.clone().any(|s| any_part(s, wrong));
        let not_structural = |s: &Value| structural::unreadable(s).is_some() || !structural::errors(s, "").is_empty();
        Self {
            types: !any(&|s| forms::unknown_type(s)),
            structural: !schemas.clone().any(not_structural),
            pruned: !schemas.clone().any(|s| !not_structural(s) && defaults::any_unpruned(s)),
            atomic_sets: !any(&|s| forms::set_of_more(s, "").is_some()),
            keys: !any(&|s| !forms::nullable_keys(s, "").is_empty()),
            costs: true,
        }
    }
}

/// Fields that a schema may have at its root where there is a subresource `status`.
const AT_ROOT: [&str; 22] = [
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];

/// What is wrong with a schema of objects at `path`; `status`: it has a subresource of this name.
pub(super) fn errors(schema: &Value, path: &str, status: bool, demands: Demands) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if status {
        errors.extend(beside_status(schema, path));
    }
    if schema["nullable"] == true {
        let at = format!("{path}.nullable");
        errors.push(FieldError::forbidden(at, "nullable cannot be true at the root"));
    }
    let mut unread = None;
    let mut context = None;
    if demands.structural {
        if let Some(why) = structural::unreadable(schema) {
            unread = Some(FieldError::invalid(path, "", why));
        } else {
            let mut found = structural::errors(schema, path);
            if found.is_empty() {
                found = defaults::errors(schema, path, demands.pruned);
            }
            if found.is_empty() {
                context = Some(Context::root(schema));
            }
            errors.extend(found);
        }
    }
    let mut costs = Costs::default();
    let found = forms::errors(schema, path, context.as_ref(), demands, &mut costs);
    errors.extend(found);
    if errors.is_empty() {
        errors.extend(unread);
    }
    errors.extend(costs.errors(path));
    errors
}

/// All that is wrong with a schema of a custom resource: paths within it, and texts.
pub fn schema_errors(openapi_v3_schema: &Value) -> Vec<(String, String)> {
    let found = errors(openapi_v3_schema, "", false, Demands::ALL);
    let of = |e: FieldError| (e.path.trim_start_matches('.').to_owned(), e.message());
    found.into_iter().map(of).collect()
}

/// Whether there is a default anywhere.
pub(super) fn has_defaults(schema: &Value) -> bool {
    any_part(schema, &|s| !s["default"].is_null())
}

/// Whether a schema uses what OpenAPI does not have.
pub(super) fn is_extended(schema: &Value) -> bool {
    has_defaults(schema)
        || any_part(schema, &|s| {
            entries(s)
                .any(|(name, v)| name.starts_with("x-kubernetes-") && name != "x-kubernetes-map-type" && *v != false)
        })
}

/// The first field at the root that may not be beside a subresource `status`.
fn beside_status(schema: &Value, path: &str) -> Option<FieldError> {
    for name in fields_of_struct("apiextensions.JSONSchemaProps", schema) {
        if name == "Type" {
            if schema["type"] != "object" {
                let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource \
                              is enabled";
                return Some(FieldError::invalid(
                    format!("{path}.type"),
                    crate::registry::text(schema, "/type"),
                    detail,
                ));
            }
        } else if !AT_ROOT.contains(&name) {
            let shown = Printed::internal("apiextensions.JSONSchemaProps", schema).compact();
            let detail = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                AT_ROOT.join(" ")
            );
            return Some(FieldError::invalid_shown(path, &shown, &detail));
        }
    }
    None
}

/// Whether a schema or a part of it is so (`SchemaHas`).
fn any_part(schema: &Value, is: &dyn Fn(&Value) -> bool) -> bool {
    let mut found = false;
    each_part(schema, &mut |s| found = found || is(s));
    found
}

/// Calls `each` for a schema and all its parts.
fn each_part(schema: &Value, each: &mut dyn FnMut(&Value)) {
    each(schema);
    if let Some(items) = schema_at(&schema["items"]) {
        each_part(items, each);
    }
    for field in ["items", "allOf", "anyOf", "oneOf"] {
        list(&schema[field]).iter().for_each(|s| each_part(s, each));
    }
    if let Some(not) = schema_at(&schema["not"]) {
        each_part(not, each);
    }
    let named = |field: &str, each: &mut dyn FnMut(&Value)| {
        entries(&schema[field]).for_each(|(_, s)| each_part(s, each));
    };
    named("properties", each);
    for field in ["additionalProperties", "additionalItems"] {
        if let Some(part) = schema_at(&schema[field]) {
            each_part(part, each);
        }
    }
    for field in ["patternProperties", "definitions"] {
        named(field, each);
    }
    for (_, dependency) in entries(&schema["dependencies"]) {
        if let Some(part) = schema_at(dependency) {
            each_part(part, each);
        }
    }
}

fn list(v: &Value) -> &[Value] {
    v.as_array().map_or(&[], Vec::as_slice)
}

fn entries(v: &Value) -> impl Iterator<Item = (&String, &Value)> {
    v.as_object().into_iter().flat_map(Map::iter)
}

/// A schema, where there may be one.
fn schema_at(v: &Value) -> Option<&Value> {
    v.is_object().then_some(v)
}

/// A number that is at least none.
fn positive(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}
