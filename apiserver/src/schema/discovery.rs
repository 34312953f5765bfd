//! The built-in resources, from the recorded discovery document.

use super::archive;
use serde_json::Value;
use std::sync::LazyLock;

/// One resource of the API: what discovery says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceDef {
    /// API group, empty for the core group.
    pub group: String,
    /// Version within the group.
    pub version: String,
    /// Kind of the objects.
    pub kind: String,
    /// Name in paths.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names for command lines.
    pub short_names: Vec<String>,
    /// Categories (`all`).
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Verbs served.
    pub verbs: Vec<String>,
    /// Subresources.
    pub subresources: Vec<SubresourceDef>,
}

/// One subresource (`status`, `scale`, `log`, ...).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubresourceDef {
    /// Name: the path's last segment.
    pub name: String,
    /// Kind it takes and answers.
    pub kind: String,
    /// Group of that kind (already resolved: never means "the resource's own").
    pub group: String,
    /// Version of that kind.
    pub version: String,
    /// Verbs served.
    pub verbs: Vec<String>,
}

/// Every built-in resource, in discovery's order: groups as Kubernetes' aggregated discovery lists them, versions
/// best first, resources by name. The core group comes first.
pub fn discovery() -> &'static [ResourceDef] {
    static RESOURCES: LazyLock<Vec<ResourceDef>> = LazyLock::new(|| {
        archive::discovery_document()["items"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(group_resources)
            .collect()
    });
    &RESOURCES
}

fn group_resources(item: &Value) -> Vec<ResourceDef> {
    let group = text(&item["metadata"]["name"]);
    let mut resources = Vec::new();
    for version in item["versions"].as_array().into_iter().flatten() {
        let name = text(&version["version"]);
        for resource in version["resources"].as_array().into_iter().flatten() {
            resources.push(resource_def(&group, &name, resource));
        }
    }
    resources
}

fn resource_def(group: &str, version: &str, resource: &Value) -> ResourceDef {
    let (group, version, kind) = response_kind(resource, group, version);
    ResourceDef {
        subresources: resource["subresources"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|sub| {
                let (group, version, kind) = response_kind(sub, &group, &version);
                SubresourceDef {
                    name: text(&sub["subresource"]),
                    kind,
                    group,
                    version,
                    verbs: texts(&sub["verbs"]),
                }
            })
            .collect(),
        kind,
        plural: text(&resource["resource"]),
        singular: text(&resource["singularResource"]),
        short_names: texts(&resource["shortNames"]),
        categories: texts(&resource["categories"]),
        namespaced: resource["scope"] == "Namespaced",
        verbs: texts(&resource["verbs"]),
        group,
        version,
    }
}

/// `responseKind`, where an empty group and version mean those of the resource itself.
fn response_kind(of: &Value, group: &str, version: &str) -> (String, String, String) {
    let kind = &of["responseKind"];
    let (own_group, own_version) = (text(&kind["group"]), text(&kind["version"]));
    if own_version.is_empty() {
        (group.to_owned(), version.to_owned(), text(&kind["kind"]))
    } else {
        (own_group, own_version, text(&kind["kind"]))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}
