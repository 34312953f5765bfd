//! What a definition may say beside its schemas (`apiextensions-apiserver/pkg/apis/apiextensions/validation`).

use serde_json::Value;

use crate::defaults::names;
use crate::registry::text;
use crate::schema::{FieldError, Printed};

use super::schema::Demands;

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

/// What is wrong with a definition that is written: its status alone (`status`), or all of it.
pub(crate) fn errors(v: &Value, old: Option<&Value>, status: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !status {
        spec(v, old, &mut errors);
        if let Some(old) = old {
            fixed(&v["spec"], old, &mut errors);
        }
    }
    own_names(&v["status"]["acceptedNames"], "status.acceptedNames", &mut errors);
    if status {
        return errors;
    }
    stored(
        &v["status"]["storedVersions"],
        list(&v["spec"]["versions"]),
        &mut errors,
    );
    approval(v, old, &mut errors);
    let keeps = |v: &Value| v["spec"]["preserveUnknownFields"] == true;
    if keeps(v) && !old.is_some_and(keeps) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                      spec.versions[*].schema instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, detail));
    }
    errors
}

/// What is wrong with the name of a new definition, among the errors of its metadata: also what it would be made of.
pub(crate) fn name_errors(v: &Value, errors: &mut Vec<FieldError>) {
    let spec = &v["spec"];
    let wanted = format!("{}.{}", text(spec, "/names/plural"), text(spec, "/group"));
    for (field, path) in [("/generateName", "metadata.generateName"), ("/name", "metadata.name")] {
        let name = text(&v["metadata"], field);
        if name.is_empty() || name == wanted {
            continue;
        }
        let last = errors.iter().rposition(|e| e.path == path);
        // Of names that are fine so far: behind what is told of the prefix.
        let prefix = || errors.iter().rposition(|e| e.path == "metadata.generateName");
        let at = last
            .or_else(|| prefix().filter(|_| field == "/name"))
            .map_or(0, |i| i + 1);
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.insert(at, FieldError::invalid(path, name, detail));
    }
}

/// Formats that a definition's schemas name and nobody checks, those that it named before left out.
pub(crate) fn warnings(old: Option<&Value>, v: &Value) -> Vec<String> {
    let of = |v: &Value| -> Vec<String> {
        let versions = list(&v["spec"]["versions"]);
        let one = Common::of(versions).0.contains(&"schema");
        let schemas = schemas(v).take(if one { 1 } else { versions.len() });
        schemas.flat_map(super::schema::unrecognized).collect()
    };
    let before = old.map(of).unwrap_or_default();
    let new = of(v).into_iter().filter(|f| !before.contains(f));
    new.map(|f| format!("unrecognized format {}", crate::schema::quote(&f)))
        .collect()
}

/// The schemas of a definition's versions.
fn schemas(v: &Value) -> impl Iterator<Item = &Value> + Clone {
    let all = list(&v["spec"]["versions"])
        .iter()
        .map(|v| &v["schema"]["openAPIV3Schema"]);
    all.filter(|s| s.is_object())
}

/// `validateCustomResourceDefinitionSpec`.
fn spec(v: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &v["spec"];
    let group = text(spec, "/group");
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
    let whole = old.is_none_or(|o| schemas(o).count() == list(&o["spec"]["versions"]).len());
    let keeps = spec["preserveUnknownFields"] == true;
    for (i, version) in versions.iter().enumerate() {
        if version["schema"]["openAPIV3Schema"].is_null() {
            let path = format!("spec.versions[{i}].schema.openAPIV3Schema");
            if whole {
                errors.push(FieldError::required(path, ""));
            } else if !keeps && version["served"] == true {
                errors.push(FieldError::required(path, "because otherwise all fields are pruned"));
            }
        }
    }
    if keeps && schemas(v).any(super::schema::has_defaults) {
        let detail = "must be false in order to use defaults in the schema";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, detail));
    }
    let mut demands = old.map_or(Demands::ALL, |o| Demands::of_stored(schemas(o)));
    demands.structural |= !keeps || schemas(v).any(super::schema::is_extended);
    let common = Common::of(versions);
    for (i, version) in versions.iter().enumerate() {
        let (name, path) = (text(version, "/name"), format!("spec.versions[{i}]"));
        named(name, format!("{path}.name"), errors);
        deprecation(version, &path, errors);
        // A schema that did not change was taken at its price.
        let same = |o: &&Value| o["name"] == version["name"] && o["schema"] == version["schema"];
        let before = old.map(|o| list(&o["spec"]["versions"])).unwrap_or_default();
        let demands = Demands {
            costs: !before.iter().any(|o| same(&o)),
            ..demands
        };
        let own = versions.iter().find(|v| text(v, "/name") == name).unwrap_or(version);
        let status = own["subresources"]["status"].is_object();
        common.check(version, &path, (false, status), demands, errors);
    }
    let mut of_versions = |detail: &str| {
        let shown = if spec["versions"].is_null() {
            "null".to_owned()
        } else {
            common.shown(versions)
        };
        errors.push(FieldError::invalid_shown("spec.versions", &shown, detail));
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
        named(&name, "spec.version".to_owned(), errors);
    }
    for field in ["plural", "singular", "kind", "listKind"] {
        if text(&spec["names"], &format!("/{field}")).is_empty() {
            errors.push(FieldError::required(format!("spec.names.{field}"), ""));
        }
    }
    own_names(&spec["names"], "spec.names", errors);
    if let Some(version) = versions.first() {
        let status = versions.iter().any(|v| v["subresources"]["status"].is_object());
        let before = old.and_then(|o| {
            list(&o["spec"]["versions"])
                .iter()
                .find(|o| o["name"] == version["name"])
        });
        let demands = Demands {
            costs: before.is_none_or(|o| o["schema"] != version["schema"]),
            ..demands
        };
        common.check(version, "spec", (true, status), demands, errors);
    }
    let strategy = text(&spec["conversion"], "/strategy");
    if keeps && spec["conversion"].is_object() && strategy != "None" {
        let detail = "must be None if spec.preserveUnknownFields is true";
        errors.push(FieldError::invalid("spec.conversion.strategy", strategy, detail));
    }
    conversion(&spec["conversion"], old.map(|o| &o["spec"]["conversion"]), errors);
}

/// A version's name.
fn named(name: &str, path: String, errors: &mut Vec<FieldError>) {
    let why = names::dns1035_label(name);
    if !why.is_empty() {
        errors.push(FieldError::invalid(path, name, why.join(",")));
    }
}

/// `validateDeprecationWarning`.
fn deprecation(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
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
fn approval(v: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
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

    /// What is wrong with what a version has of its own, or (`top`) with what all have in common; `status`: objects have
    /// a subresource of this name.
    fn check(
        &self,
        version: &Value,
        at: &str,
        (top, status): (bool, bool),
        demands: Demands,
        errors: &mut Vec<FieldError>,
    ) {
        let here = |field: &str| self.0.contains(&field) == top;
        let own = &version["schema"]["openAPIV3Schema"];
        if here("schema") && own.is_object() {
            let part = if top { "validation" } else { "schema" };
            let path = format!("{at}.{part}.openAPIV3Schema");
            errors.extend(super::schema::errors(own, &path, status, demands));
        }
        if here("subresources") {
            let path = format!("{at}.subresources.scale");
            scale(&version["subresources"]["scale"], &path, errors);
        }
        if here("additionalPrinterColumns") {
            for (j, column) in list(&version["additionalPrinterColumns"]).iter().enumerate() {
                printed(column, &format!("{at}.additionalPrinterColumns[{j}]"), errors);
            }
        }
        if !here("selectableFields") || list(&version["selectableFields"]).is_empty() {
            return;
        }
        let path = format!("{at}.selectableFields");
        if !here("schema") || !(top && version["schema"].is_object() || own.is_object()) {
            let detail = if top {
                "may only be set when validations.schema is included"
            } else {
                "may only be set when `version.schema.openAPIV3Schema` is not included"
            };
            errors.push(FieldError::invalid(path, "", detail));
            return;
        }
        if let Some(why) = super::schema::unreadable(own) {
            errors.push(FieldError::invalid(format!("{at}.schema.openAPIV3Schema"), "", why));
            return;
        }
        selectable(version, &path, errors);
    }
}

/// `ValidateCustomResourceDefinitionStoredVersions`.
fn stored(stored: &Value, versions: &[Value], errors: &mut Vec<FieldError>) {
    let path = "status.storedVersions";
    let all = list(stored);
    if all.is_empty() {
        let detail = "must have at least one stored version";
        return errors.push(FieldError::invalid(path, stored.clone(), detail));
    }
    for (i, version) in versions.iter().enumerate() {
        // One of the same name before it was it.
        let there = all.contains(&version["name"]) && !versions[..i].iter().any(|v| v["name"] == version["name"]);
        if version["storage"] == true && !there {
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
fn own_names(all: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for field in ["plural", "singular", "kind", "listKind"] {
        let (name, path) = (text(all, &format!("/{field}")), format!("{at}.{field}"));
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
    let each = |field: &str, errors: &mut Vec<FieldError>| {
        for (i, name) in list(&all[field]).iter().filter_map(Value::as_str).enumerate() {
            named(name, format!("{at}.{field}[{i}]"), errors);
        }
    };
    each("shortNames", errors);
    let kind = text(all, "/kind");
    if !kind.is_empty() && kind == text(all, "/listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(format!("{at}.listKind"), kind, detail));
    }
    each("categories", errors);
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

/// Most fields that lists may be narrowed by.
const SELECTABLE: usize = 8;

/// Fields that lists may be narrowed by.
fn selectable(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
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
fn conversion(conversion: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
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
        let mut found = Vec::new();
        if old.is_none() {
            name_errors(v, &mut found);
        }
        found.extend(errors(v, old, false));
        found.iter().map(FieldError::to_string).collect()
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
