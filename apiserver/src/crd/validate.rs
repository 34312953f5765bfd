//! What a definition may say beside its schemas (`apiextensions-apiserver/pkg/apis/apiextensions/validation`).

use serde_json::Value;

use crate::defaults::names;
use crate::registry::text;
use crate::schema::FieldError;
use crate::status::Cause;

/// What formats of columns are.
const FORMATS: [&str; 8] = [
    "int32",
    "int64",
    "float",
    "double",
    "byte",
    "date",
    "date-time",
    "password",
];

pub(super) fn definition(v: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let mut errors = Vec::new();
    let spec = &v["spec"];
    let scope = text(spec, "/scope");
    if !matches!(scope, "Cluster" | "Namespaced") {
        errors.push(match scope {
            "" => FieldError::required("spec.scope", ""),
            other => FieldError::not_supported("spec.scope", other, &["Cluster", "Namespaced"]),
        });
    }
    let versions = list(&spec["versions"]);
    for (i, version) in versions.iter().enumerate() {
        let (name, warning) = (text(version, "/name"), &version["deprecationWarning"]);
        for detail in names::dns1035_label(name) {
            errors.push(FieldError::invalid(format!("spec.versions[{i}].name"), name, detail));
        }
        if !warning.is_null() && version["deprecated"] != true {
            let path = format!("spec.versions[{i}].deprecationWarning");
            let detail = "can only be set for deprecated versions";
            errors.push(FieldError::invalid(path, warning.clone(), detail));
        }
    }
    own_names(&spec["names"], &mut errors);
    for (i, version) in versions.iter().enumerate() {
        // What all versions have in common stands at the top in Go's internal type.
        let at = if versions.len() == 1 {
            "spec".to_owned()
        } else {
            format!("spec.versions[{i}]")
        };
        for (j, column) in list(&version["additionalPrinterColumns"]).iter().enumerate() {
            printed(column, &format!("{at}.additionalPrinterColumns[{j}]"), &mut errors);
        }
        scale(
            &version["subresources"]["scale"],
            &format!("{at}.subresources.scale"),
            &mut errors,
        );
        selectable(version, &format!("{at}.selectableFields"), &mut errors);
    }
    conversion(&spec["conversion"], &mut errors);
    if spec["preserveUnknownFields"] == true && old.is_none_or(|o| o["spec"]["preserveUnknownFields"] != true) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                      spec.versions[*].schema instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, detail));
    }
    if let Some(old) = old {
        fixed(spec, old, &mut errors);
    }
    causes.extend(
        errors
            .iter()
            .map(|e| Cause::new(e.reason(), e.path.as_str(), e.message())),
    );
}

fn list(v: &Value) -> &[Value] {
    v.as_array().map_or(&[], Vec::as_slice)
}

/// `ValidateCustomResourceDefinitionNames`, of names that are there.
fn own_names(all: &Value, errors: &mut Vec<FieldError>) {
    for field in ["plural", "singular", "kind", "listKind"] {
        let (name, path) = (text(all, &format!("/{field}")), format!("spec.names.{field}"));
        if name.is_empty() {
            continue;
        }
        let (lower, mixed) = match field {
            "kind" | "listKind" => (name.to_lowercase(), "may have mixed case, but should otherwise match: "),
            _ => (name.to_owned(), ""),
        };
        let why = names::dns1035_label(&lower).join(",");
        if !why.is_empty() {
            errors.push(FieldError::invalid(path, name, format!("{mixed}{why}")));
        }
    }
    for field in ["shortNames", "categories"] {
        for (i, name) in list(&all[field]).iter().filter_map(Value::as_str).enumerate() {
            let why = names::dns1035_label(name).join(",");
            if !why.is_empty() {
                errors.push(FieldError::invalid(format!("spec.names.{field}[{i}]"), name, why));
            }
        }
    }
    let kind = text(all, "/kind");
    if !kind.is_empty() && kind == text(all, "/listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid("spec.names.listKind", kind, detail));
    }
}

/// A column of tables.
fn printed(column: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let types = ["boolean", "date", "integer", "number", "string"];
    if text(column, "/name").is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    }
    let one_of = |all: &[&str]| format!("must be one of {}", all.join(","));
    match text(column, "/type") {
        "" => errors.push(FieldError::required(format!("{path}.type"), one_of(&types))),
        kind if types.contains(&kind) => {}
        kind => errors.push(FieldError::invalid(format!("{path}.type"), kind, one_of(&types))),
    }
    let format = text(column, "/format");
    if !format.is_empty() && !FORMATS.contains(&format) {
        let mut all = FORMATS;
        all.sort_unstable();
        errors.push(FieldError::invalid(format!("{path}.format"), format, one_of(&all)));
    }
    match text(column, "/jsonPath") {
        "" => errors.push(FieldError::required(format!("{path}.JSONPath"), "")),
        of => {
            simple_path(of, format!("{path}.JSONPath"), errors);
        }
    }
}

/// Whether a path starts as it should.
fn simple_path(of: &str, path: String, errors: &mut Vec<FieldError>) -> bool {
    let simple = of.starts_with('.');
    if !simple {
        let detail = "must be a simple json path starting with .";
        errors.push(FieldError::invalid(path, of, detail));
    }
    simple
}

fn scale(scale: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !scale.is_object() {
        return;
    }
    for (field, below) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let (of, at) = (text(scale, &format!("/{field}")), format!("{path}.{field}"));
        if of.is_empty() {
            errors.push(FieldError::required(at, ""));
        } else if simple_path(of, at.clone(), errors) && !of.starts_with(&format!("{below}.")) {
            errors.push(FieldError::invalid(
                at,
                of,
                format!("should be a json path under {below}"),
            ));
        }
    }
    let (of, at) = (text(scale, "/labelSelectorPath"), format!("{path}.labelSelectorPath"));
    if !of.is_empty()
        && simple_path(of, at.clone(), errors)
        && ![".spec.", ".status."].iter().any(|b| of.starts_with(b))
    {
        let detail = "should be a json path under either .spec or .status";
        errors.push(FieldError::invalid(at, of, detail));
    }
}

/// Fields that lists may be narrowed by.
fn selectable(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let all = list(&version["selectableFields"]);
    let of = |i: usize| text(&all[i], "/jsonPath");
    for i in 0..all.len() {
        let (field, at) = (of(i), format!("{path}[{i}].jsonPath"));
        if field.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let mut schema = &version["schema"]["openAPIV3Schema"];
        for name in field.trim_start_matches('.').split('.') {
            schema = &schema["properties"][name];
        }
        if schema.is_null() || field.starts_with(".metadata") {
            let detail = "is an invalid path: does not refer to a valid field";
            errors.push(FieldError::invalid(at.as_str(), field, detail));
        } else if !matches!(schema["type"].as_str(), Some("string" | "boolean" | "integer")) {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                          formats are allowed.";
            errors.push(FieldError::invalid(at.as_str(), field, detail));
        }
        if (0..i).any(|j| of(j) == field) {
            errors.push(FieldError::duplicate(at, field));
        }
    }
}

/// Who changes objects from one version to another.
fn conversion(conversion: &Value, errors: &mut Vec<FieldError>) {
    let (path, webhook) = ("spec.conversion", &conversion["webhook"]);
    match text(conversion, "/strategy") {
        "" | "None" => {}
        "Webhook" => {
            let config = &webhook["clientConfig"];
            if config.is_null() {
                let detail = "required when strategy is set to Webhook";
                errors.push(FieldError::required(format!("{path}.webhookClientConfig"), detail));
            }
            let url = text(config, "/url");
            let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
            if !url.is_empty() && scheme != "https" {
                let detail = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                errors.push(FieldError::invalid(
                    format!("{path}.webhookClientConfig.url"),
                    scheme,
                    detail,
                ));
            }
            let (reviews, at) = (
                &webhook["conversionReviewVersions"],
                format!("{path}.conversionReviewVersions"),
            );
            if list(reviews).is_empty() {
                errors.push(FieldError::required(at, ""));
            } else if !list(reviews).iter().any(|v| *v == "v1" || *v == "v1beta1") {
                let detail = "must include at least one of v1, v1beta1";
                errors.push(FieldError::invalid(at, reviews.clone(), detail));
            }
        }
        other => errors.push(FieldError::not_supported(
            format!("{path}.strategy"),
            other,
            &["None", "Webhook"],
        )),
    }
}

/// What may not change once the definition is established.
fn fixed(spec: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let conditions = list(&old["status"]["conditions"]);
    let established = conditions
        .iter()
        .any(|c| c["type"] == "Established" && c["status"] == "True");
    for (pointer, path, always) in [
        ("/group", "spec.group", true),
        ("/names/plural", "spec.names.plural", true),
        ("/scope", "spec.scope", false),
        ("/names/kind", "spec.names.kind", false),
    ] {
        let (was, now) = (text(&old["spec"], pointer), text(spec, pointer));
        if (always || established) && was != now {
            errors.push(FieldError::invalid(path, now, "field is immutable"));
        }
    }
}
