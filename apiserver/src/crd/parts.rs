//! Parts of a definition beside its schemas: columns, scales, selectable fields, conversions, warnings, approvals
//! (`apiextensions-apiserver/pkg/apis/apiextensions/validation`).

use serde_json::Value;

use super::validate::list;
use crate::defaults::names;
use crate::registry::text;
use crate::schema::FieldError;

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

/// A column of tables.
pub(super) fn printed(column: &Value, path: &str, errors: &mut Vec<FieldError>) {
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

pub(super) fn scale(scale: &Value, path: &str, errors: &mut Vec<FieldError>) {
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

/// Most fields that lists may be narrowed by.
const SELECTABLE: usize = 8;

/// Fields that lists may be narrowed by.
pub(super) fn selectable(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let schema = &version["schema"]["openAPIV3Schema"];
    let mut seen: Vec<String> = Vec::new();
    for (i, field) in list(&version["selectableFields"]).iter().enumerate() {
        let (field, at) = (text(field, "/jsonPath"), format!("{path}[{i}].jsonPath"));
        if field.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let (found, of) = match super::schema::paths::found(field, schema, false) {
            Ok(found) => found,
            Err(why) => {
                errors.push(FieldError::invalid(at, field, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if found.split(['.', '[']).next() == Some("metadata") {
            let detail = "must not point to fields in metadata";
            errors.push(FieldError::invalid(at.as_str(), field, detail));
        }
        if !matches!(of["type"].as_str(), Some("string" | "boolean" | "integer")) {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                          formats are allowed.";
            errors.push(FieldError::invalid(at.as_str(), field, detail));
        }
        if seen.contains(&found) {
            errors.push(FieldError::duplicate(at, field));
        } else {
            seen.push(found);
        }
    }
    if seen.len() > SELECTABLE {
        errors.push(FieldError::too_many(path, seen.len() as u64, SELECTABLE as u64));
    }
}

/// Who changes objects from one version to another.
pub(super) fn conversion(conversion: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let (path, webhook) = ("spec.conversion", &conversion["webhook"]);
    if conversion.is_null() {
        return;
    }
    let (config, reviews) = (&webhook["clientConfig"], &webhook["conversionReviewVersions"]);
    let (at_config, at_reviews) = (
        format!("{path}.webhookClientConfig"),
        format!("{path}.conversionReviewVersions"),
    );
    let strategy = text(conversion, "/strategy");
    match strategy {
        "" => errors.push(FieldError::required(format!("{path}.strategy"), "")),
        "None" | "Webhook" => {}
        other => {
            let at = format!("{path}.strategy");
            errors.push(FieldError::not_supported(at, other, &["None", "Webhook"]));
        }
    }
    if strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        if config.is_object() {
            errors.push(FieldError::forbidden(at_config, detail));
        }
        if !list(reviews).is_empty() {
            errors.push(FieldError::forbidden(at_reviews, detail));
        }
        return;
    }
    if config.is_null() {
        errors.push(FieldError::required(
            at_config,
            "required when strategy is set to Webhook",
        ));
    } else {
        crate::defaults::service_or_address(config, &at_config, errors);
    }
    if list(reviews).is_empty() {
        return errors.push(FieldError::required(at_reviews, ""));
    }
    for (i, version) in list(reviews).iter().enumerate() {
        let (name, at) = (version.as_str().unwrap_or_default(), format!("{at_reviews}[{i}]"));
        if list(reviews)[..i].contains(version) {
            errors.push(FieldError::invalid(at, name, "duplicate version"));
            continue;
        }
        for why in names::dns1035_label(name) {
            errors.push(FieldError::invalid(at.as_str(), name, why));
        }
    }
    let known = |reviews: &Value| list(reviews).iter().any(|v| *v == "v1" || *v == "v1beta1");
    let before = old.map(|o| &o["webhook"]["conversionReviewVersions"]);
    let needed = before.is_none_or(|b| list(b).is_empty() || known(b));
    if needed && !known(reviews) {
        let detail = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(at_reviews, reviews.clone(), detail));
    }
}

/// `validateDeprecationWarning`.
pub(super) fn deprecation(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(warning) = version["deprecationWarning"].as_str() else {
        return;
    };
    let mut wrong = Vec::new();
    if version["deprecated"] == true {
        if warning.len() > 256 {
            wrong.push("must be <= 256 characters long".to_owned());
        }
        if warning.is_empty() {
            wrong.push("must not be an empty string".to_owned());
        }
        let printable = |c: char| c == ' ' || !c.is_control() && !c.is_whitespace();
        if let Some((at, _)) = warning.char_indices().find(|(_, c)| !printable(*c)) {
            wrong.push(format!(
                "must only contain printable UTF-8 characters; non-printable character found at index {at}"
            ));
        }
    } else {
        wrong.push("can only be set for deprecated versions".to_owned());
    }
    let at = format!("{path}.deprecationWarning");
    errors.extend(
        wrong
            .into_iter()
            .map(|detail| FieldError::invalid(at.as_str(), warning, detail)),
    );
}

/// Groups of the community's own say who approved of them (`validateAPIApproval`).
pub(super) fn approval(v: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    const ANNOTATION: &str = "api-approved.kubernetes.io";
    let group = text(v, "/spec/group");
    let protected = |own: &str| group == own || group.ends_with(&format!(".{own}"));
    if !protected("k8s.io") && !protected("kubernetes.io") {
        return;
    }
    #[derive(PartialEq, Eq)]
    enum State {
        Missing,
        Bypassed,
        Approved,
        Invalid,
    }
    let of = |v: &Value| {
        let said = v["metadata"]["annotations"][ANNOTATION].as_str().unwrap_or_default();
        let host = said.split_once("://").filter(|(scheme, _)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        });
        let host = host.map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
        if said.is_empty() {
            State::Missing
        } else if said.starts_with("unapproved") {
            State::Bypassed
        } else if !host.is_empty() {
            State::Approved
        } else {
            State::Invalid
        }
    };
    let state = of(v);
    if old.is_some_and(|old| of(old) == state) {
        return;
    }
    let path = format!("metadata.annotations[{ANNOTATION}]");
    let start = format!("protected groups must have approval annotation \"{ANNOTATION}\"");
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    match state {
        State::Missing => errors.push(FieldError::required(path, format!("{start}, {see}"))),
        State::Invalid => {
            let said = v["metadata"]["annotations"][ANNOTATION].clone();
            let detail = format!("{start} with either a URL or a reason starting with \"unapproved\", {see}");
            errors.push(FieldError::invalid(path, said, detail));
        }
        State::Bypassed | State::Approved => {}
    }
}
