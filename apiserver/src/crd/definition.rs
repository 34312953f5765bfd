//! A definition's versions as resources.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::local::Gvr;
use crate::registry::{Conversion, Custom, Resource, ScalePaths, Subresource, text};
use crate::schema::SchemaRef;
use crate::store::ResourceKey;
use crate::table::Column;

const VERBS: [&str; 8] = [
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

/// The versions served; `key`: where the objects are stored already.
pub(super) fn resources(crd: &Value, key: Option<ResourceKey>) -> Vec<Arc<Resource>> {
    let (group, names) = (text(crd, "/spec/group"), &crd["spec"]["names"]);
    let plural = text(names, "/plural");
    let versions = crd["spec"]["versions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let storage = versions
        .iter()
        .find(|v| v["storage"] == true)
        .map(|v| text(v, "/name"))
        .unwrap_or_default();
    let key = key.unwrap_or_else(|| Arc::new(Gvr::owned(group, storage, plural)));
    let strings = |v: &Value| {
        v.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let conversion = Conversion::of(crd).map(Arc::new);
    let mut list: Vec<_> = versions
        .iter()
        .filter(|v| v["served"] == true)
        .map(|v| {
            let version = text(v, "/name");
            let kind = text(names, "/kind").to_owned();
            let verbs: Vec<String> = ["get", "patch", "update"].map(str::to_owned).to_vec();
            let sub = |name: &str, group: &str, version: &str, kind: &str| Subresource {
                name: name.to_owned(),
                group: group.to_owned(),
                version: version.to_owned(),
                kind: kind.to_owned(),
                verbs: verbs.clone(),
            };
            let mut subresources = Vec::new();
            if v["subresources"]["status"].is_object() {
                subresources.push(sub("status", group, version, &kind));
            }
            let scale = &v["subresources"]["scale"];
            if scale.is_object() {
                subresources.push(sub("scale", "autoscaling", "v1", "Scale"));
            }
            let schema = &v["schema"]["openAPIV3Schema"];
            let selectable = v["selectableFields"].as_array().into_iter().flatten();
            let custom = Custom {
                schema: SchemaRef::from_crd(schema).unwrap_or_else(|_| SchemaRef::opaque()),
                openapi: schema.is_object().then(|| schema.clone()),
                columns: Column::from_crd(&v["additionalPrinterColumns"]),
                scale: scale.is_object().then(|| ScalePaths {
                    spec_replicas: pointer(text(scale, "/specReplicasPath")),
                    status_replicas: pointer(text(scale, "/statusReplicasPath")),
                    selector: Some(pointer(text(scale, "/labelSelectorPath"))).filter(|p| !p.is_empty()),
                }),
                selectable: selectable
                    .map(|f| text(f, "/jsonPath").trim_start_matches('.').to_owned())
                    .collect(),
                definition: text(crd, "/metadata/name").to_owned(),
                list_kind: match text(names, "/listKind") {
                    "" => format!("{kind}List"),
                    l => l.to_owned(),
                },
                shown_id: {
                    let (uid, generation) = (text(crd, "/metadata/uid"), &crd["metadata"]["generation"]);
                    format!("{version} {uid}/{generation}")
                },
                has_defaults: has_defaults(schema),
                has_other_versions: versions.len() > 1,
                conversion: conversion.clone(),
                deprecation: (v["deprecated"] == true).then(|| match text(v, "/deprecationWarning") {
                    "" => match versions
                        .iter()
                        .filter(|v| v["served"] == true && v["deprecated"] != true)
                        .map(|v| text(v, "/name"))
                        .min_by_key(|v| priority(v))
                        .filter(|newer| priority(newer) < priority(version))
                    {
                        Some(newer) => {
                            format!("{group}/{version} {kind} is deprecated; use {group}/{newer} {kind}")
                        }
                        None => format!("{group}/{version} {kind} is deprecated"),
                    },
                    w => w.to_owned(),
                }),
            };
            let singular = match text(names, "/singular") {
                "" => kind.to_lowercase(),
                s => s.to_owned(),
            };
            Arc::new(Resource {
                group: Cow::Owned(group.to_owned()),
                version: Cow::Owned(version.to_owned()),
                plural: Cow::Owned(plural.to_owned()),
                singular,
                kind,
                short_names: strings(&names["shortNames"]),
                categories: strings(&names["categories"]),
                namespaced: text(crd, "/spec/scope") == "Namespaced",
                verbs: VERBS.map(str::to_owned).to_vec(),
                subresources,
                storage: key.clone(),
                storage_version: format!("{group}/{storage}"),
                api_version: format!("{group}/{version}"),
                custom: Some(Arc::new(custom)),
                schema: OnceLock::new(),
            })
        })
        .collect();
    list.sort_by_key(|r| priority(&r.version));
    list
}

/// Whether a schema has a default anywhere (or a property of that name, which costs a look and no more).
fn has_defaults(schema: &Value) -> bool {
    match schema {
        Value::Object(m) => m.contains_key("default") || m.values().any(has_defaults),
        Value::Array(a) => a.iter().any(has_defaults),
        _ => false,
    }
}

/// `.spec.replicas` as a JSON pointer.
fn pointer(path: &str) -> String {
    path.replace('.', "/")
}

/// Sorts versions best first (`apimachinery/pkg/version.CompareKubeAwareVersionStrings`): stable, beta, alpha, the
/// others by name; higher numbers first.
pub(crate) fn priority(version: &str) -> (u8, Reverse<u64>, Reverse<u64>, String) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: u64 = rest[..end].parse().ok()?;
        let tail = &rest[end..];
        let class = |word: &str, c: u8| {
            tail.strip_prefix(word)
                .and_then(|n| n.parse().ok())
                .map(|n: u64| (c, n))
        };
        let (class, minor) = if tail.is_empty() {
            (0, 0)
        } else {
            class("beta", 1).or_else(|| class("alpha", 2))?
        };
        Some((class, Reverse(major), Reverse(minor), String::new()))
    };
    parse().unwrap_or_else(|| (3, Reverse(0), Reverse(0), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_sorted_as_kubernetes_does() {
        let mut v = ["v1beta1", "foo1", "v1", "v2alpha1", "v10", "v2", "v11alpha2", "v3beta1"];
        v.sort_by_key(|s| priority(s));
        assert_eq!(
            v,
            ["v10", "v2", "v1", "v3beta1", "v1beta1", "v11alpha2", "v2alpha1", "foo1"]
        );
    }
}
