//! What a definition may say beside its schemas (`apiextensions-apiserver/pkg/apis/apiextensions/validation`).

use serde_json::Value;

use crate::defaults::names;
use crate::registry::text;
use crate::schema::{FieldError, Printed};
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
    let (group, plural) = (text(spec, "/group"), text(spec, "/names/plural"));
    let wanted = format!("{plural}.{group}");
    if old.is_none() && text(v, "/metadata/name") != wanted && !group.is_empty() && !plural.is_empty() {
        let (name, detail) = (text(v, "/metadata/name"), "must be spec.names.plural+\".\"+spec.group");
        errors.push(FieldError::invalid("metadata.name", name, detail));
    }
    match names::dns1123_subdomain(group) {
        _ if group.is_empty() => errors.push(FieldError::required("spec.group", "")),
        why if !why.is_empty() => errors.push(FieldError::invalid("spec.group", group, why.join(","))),
        _ if !group.contains('.') => {
            let detail = "should be a domain with at least one dot";
            errors.push(FieldError::invalid("spec.group", group, detail));
        }
        _ => {}
    }
    let scope = text(spec, "/scope");
    if !matches!(scope, "Cluster" | "Namespaced") {
        errors.push(match scope {
            "" => FieldError::required("spec.scope", ""),
            other => FieldError::not_supported("spec.scope", other, &["Cluster", "Namespaced"]),
        });
    }
    let versions = list(&spec["versions"]);
    for (i, version) in versions.iter().enumerate() {
        if version["schema"]["openAPIV3Schema"].is_null() {
            let path = format!("spec.versions[{i}].schema.openAPIV3Schema");
            errors.push(FieldError::required(path, ""));
        }
    }
    let common = Common::of(versions);
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
        tell(&mut errors, causes);
        common.check(version, &format!("spec.versions[{i}]"), false, causes);
    }
    let mut of_versions = |detail: &str| {
        errors.push(FieldError::invalid_shown(
            "spec.versions",
            &common.shown(versions),
            detail,
        ));
    };
    let name = |v: &Value| text(v, "/name").to_owned();
    if (1..versions.len()).any(|i| versions[..i].iter().any(|v| name(v) == name(&versions[i]))) {
        of_versions("must contain unique version names");
    }
    if versions.iter().filter(|v| v["storage"] == true).count() != 1 {
        of_versions("must have exactly one version marked as storage version");
    }
    // Go's internal type says the first version's name at the top, too.
    if let Some(name) = versions.first().map(name).filter(|n| !n.is_empty()) {
        for detail in names::dns1035_label(&name) {
            errors.push(FieldError::invalid("spec.version", name.as_str(), detail));
        }
    }
    for field in ["plural", "singular", "kind", "listKind"] {
        if text(&spec["names"], &format!("/{field}")).is_empty() {
            errors.push(FieldError::required(format!("spec.names.{field}"), ""));
        }
    }
    own_names(&spec["names"], &mut errors);
    tell(&mut errors, causes);
    if let Some(version) = versions.first() {
        common.check(version, "spec", true, causes);
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
    stored(&v["status"]["storedVersions"], versions, &mut errors);
    tell(&mut errors, causes);
}

fn tell(errors: &mut Vec<FieldError>, causes: &mut Vec<Cause>) {
    let all = errors.drain(..);
    causes.extend(all.map(|e| Cause::new(e.reason(), e.path.as_str(), e.message())));
}

/// What all versions say alike: Go's internal type has it at the top, and only there
/// (`Convert_v1_CustomResourceDefinitionSpec_To_apiextensions_CustomResourceDefinitionSpec`).
struct Common(Vec<&'static str>);

/// What each version may have of its own.
const OWN: [&str; 4] = ["schema", "subresources", "additionalPrinterColumns", "selectableFields"];

impl Common {
    fn of(versions: &[Value]) -> Self {
        let same = |field: &&str| versions.iter().all(|v| v[*field] == versions[0][*field]);
        Self(OWN.into_iter().filter(same).collect())
    }

    /// The versions, as Go's internal type has them.
    fn shown(&self, versions: &[Value]) -> String {
        let all: Vec<String> = versions
            .iter()
            .map(|version| {
                let mut own = version.clone();
                if let Some(fields) = own.as_object_mut() {
                    fields.retain(|name, _| !self.0.contains(&name.as_str()));
                }
                Printed::internal("apiextensions.CustomResourceDefinitionVersion", &own).compact()
            })
            .collect();
        format!("[{}]", all.join(","))
    }

    /// What is wrong with what a version has of its own, or (`top`) with what all have in common.
    fn check(&self, version: &Value, at: &str, top: bool, causes: &mut Vec<Cause>) {
        let mut errors = Vec::new();
        let here = |field: &str| self.0.contains(&field) == top;
        let own = &version["schema"]["openAPIV3Schema"];
        if here("schema") && own.is_object() {
            let part = if top { "validation" } else { "schema" };
            schema(own, &format!("{at}.{part}.openAPIV3Schema"), causes);
        }
        if here("subresources") {
            let path = format!("{at}.subresources.scale");
            scale(&version["subresources"]["scale"], &path, &mut errors);
        }
        if here("additionalPrinterColumns") {
            for (j, column) in list(&version["additionalPrinterColumns"]).iter().enumerate() {
                printed(column, &format!("{at}.additionalPrinterColumns[{j}]"), &mut errors);
            }
        }
        if here("selectableFields") {
            selectable(version, &format!("{at}.selectableFields"), &mut errors);
        }
        tell(&mut errors, causes);
    }
}

/// A schema of objects, with its rules.
fn schema(of: &Value, at: &str, causes: &mut Vec<Cause>) {
    let before = causes.len();
    for (path, detail) in crate::schema::schema_errors(of) {
        let path = format!("{at}{}{path}", if path.is_empty() { "" } else { "." });
        let reason = match detail.split(':').next().unwrap_or_default() {
            "Required value" => "FieldValueRequired",
            "Unsupported value" => "FieldValueNotSupported",
            "Forbidden" => "FieldValueForbidden",
            "Duplicate value" => "FieldValueDuplicate",
            "Invalid value" if detail.contains(" in body must be of type ") => "FieldValueTypeInvalid",
            _ => "FieldValueInvalid",
        };
        causes.push(Cause::new(reason, path, detail));
    }
    super::rules::unreadable(of, at, causes.len() == before, causes);
}

/// `ValidateCustomResourceDefinitionStoredVersions`.
fn stored(stored: &Value, versions: &[Value], errors: &mut Vec<FieldError>) {
    let path = "status.storedVersions";
    let all = list(stored);
    if all.is_empty() {
        let detail = "must have at least one stored version";
        return errors.push(FieldError::invalid(path, stored.clone(), detail));
    }
    for version in versions {
        if version["storage"] == true && !all.contains(&version["name"]) {
            let detail = format!("must have the storage version {}", text(version, "/name"));
            errors.push(FieldError::invalid(path, stored.clone(), detail));
        }
    }
    for (i, name) in all.iter().enumerate() {
        if !versions.iter().any(|v| v["name"] == *name) {
            let name = name.as_str().unwrap_or_default();
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {name} and removes \
                 {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(format!("{path}[{i}]"), name, detail));
        }
    }
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
        "" => errors.push(FieldError::required(format!("{path}.strategy"), "")),
        "None" => {
            let detail = "should not be set when strategy is not set to Webhook";
            for (field, shown) in [
                ("clientConfig", "webhookClientConfig"),
                ("conversionReviewVersions", "conversionReviewVersions"),
            ] {
                let said = &webhook[field];
                if said.is_object() || !list(said).is_empty() {
                    errors.push(FieldError::forbidden(format!("{path}.{shown}"), detail));
                }
            }
        }
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
        ("/scope", "spec.scope", false),
        ("/names/kind", "spec.names.kind", false),
        ("/group", "spec.group", true),
        ("/names/plural", "spec.names.plural", true),
    ] {
        let (was, now) = (text(&old["spec"], pointer), text(spec, pointer));
        if (always || established) && was != now {
            errors.push(FieldError::invalid(path, now, "field is immutable"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(v: &Value, old: Option<&Value>) -> Vec<String> {
        let mut causes = Vec::new();
        definition(v, old, &mut causes);
        causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    fn things() -> Value {
        let version = |name: &str| json!({"name": name, "served": true, "storage": name == "v1", "schema": {"openAPIV3Schema": {"type": "object"}}});
        json!({"metadata": {"name": "things.x.io"}, "spec": {"group": "x.io", "scope": "Cluster",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [version("v1"), version("v2")], "conversion": {"strategy": "None"}},
            "status": {"storedVersions": ["v1"]}})
    }

    #[test]
    fn versions_are_checked_together() {
        let shown = |name: &str, storage: bool| {
            format!(
                "{{\"Name\":\"{name}\",\"Served\":true,\"Storage\":{storage},\"Deprecated\":false,\
                 \"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\
                 \"AdditionalPrinterColumns\":null,\"SelectableFields\":null}}"
            )
        };
        for (pointer, value, wanted) in [
            ("/metadata/labels", json!({}), vec![]),
            (
                "/spec/versions/1/name",
                json!("v1"),
                vec![format!(
                    "spec.versions: Invalid value: [{},{}]: must contain unique version names",
                    shown("v1", true),
                    shown("v1", false)
                )],
            ),
            (
                "/spec/versions/1/schema",
                Value::Null,
                vec!["spec.versions[1].schema.openAPIV3Schema: Required value".to_owned()],
            ),
            (
                "/spec/group",
                json!("io"),
                vec![
                    "metadata.name: Invalid value: \"things.x.io\": must be spec.names.plural+\".\"+spec.group"
                        .to_owned(),
                    "spec.group: Invalid value: \"io\": should be a domain with at least one dot".to_owned(),
                ],
            ),
            (
                "/status/storedVersions",
                json!(["v0"]),
                vec![
                    "status.storedVersions: Invalid value: [\"v0\"]: must have the storage version v1".to_owned(),
                    "status.storedVersions[0]: Invalid value: \"v0\": missing from spec.versions; v0 was previously a \
                     storage version, and must remain in spec.versions until a storage migration ensures no data \
                     remains persisted in v0 and removes v0 from status.storedVersions"
                        .to_owned(),
                ],
            ),
        ] {
            let mut v = things();
            match v.pointer_mut(pointer) {
                Some(at) => *at = value,
                None => v["metadata"]["labels"] = value,
            }
            assert_eq!(told(&v, None), wanted, "{pointer}");
        }
    }

    #[test]
    fn what_versions_have_in_common_is_told_once() {
        let mut v = things();
        for i in 0..2 {
            v["spec"]["versions"][i]["schema"]["openAPIV3Schema"]["type"] = json!("string");
        }
        let wrong = "Invalid value: \"string\": must be object at the root";
        assert_eq!(
            told(&v, None),
            [format!("spec.validation.openAPIV3Schema.type: {wrong}")]
        );
        v["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["type"] = json!("object");
        let path = "spec.versions[1].schema.openAPIV3Schema.type";
        assert_eq!(told(&v, None), [format!("{path}: {wrong}")]);
        let mut changed = things();
        changed["spec"]["group"] = json!("y.io");
        assert_eq!(
            told(&changed, Some(&things())),
            ["spec.group: Invalid value: \"y.io\": field is immutable"]
        );
    }
}
