//! What a definition may say beside its schemas (`apiextensions-apiserver/pkg/apis/apiextensions/validation`).

use serde_json::Value;

use crate::defaults::names;
use crate::registry::text;
use crate::schema::{FieldError, Printed};

use super::parts::{approval, conversion, deprecation, printed, scale, selectable};
use super::schema::Demands;

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

pub(super) fn list(v: &Value) -> &[Value] {
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
