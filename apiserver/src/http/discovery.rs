//! Discovery: which groups, versions and resources there are, aggregated and one by one.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::negotiate::{Form, accepted};
use super::{Answer, Incoming, json as answer, with_type};
use crate::registry::{Catalog, Resource, Server};
use crate::status::Status;

/// Groups with their versions and resources, in order.
type Groups = Vec<(String, Vec<(String, Vec<Arc<Resource>>)>)>;

fn groups(server: &Server) -> Groups {
    let mut groups: Groups = Vec::new();
    for r in server.catalog.all() {
        let g = match groups.iter().position(|(g, _)| *g == r.group) {
            Some(i) => i,
            None => {
                groups.push((r.group.to_string(), Vec::new()));
                groups.len() - 1
            }
        };
        let versions = &mut groups[g].1;
        match versions.iter_mut().find(|(v, _)| *v == r.version) {
            Some((_, list)) => list.push(r),
            None => versions.push((r.version.to_string(), vec![r])),
        }
    }
    // Within a group best version first, also where resources were defined in another order.
    groups
}

pub(super) fn serve(server: &Server, r: &Incoming, segments: &[&str]) -> Result<Answer, Status> {
    let form = accepted(&r.headers, false, false)?.form;
    let groups = groups(server);
    match segments {
        ["api"] | ["apis"] if form == Form::Discovery => {
            let core = segments[0] == "api";
            let items: Vec<Value> = groups
                .iter()
                .filter(|(g, _)| g.is_empty() == core)
                .map(|(g, v)| aggregated(g, v))
                .collect();
            let v = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
            Ok(with_type(
                200,
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                v.to_string().into(),
            ))
        }
        ["api"] => Ok(answer(&json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": []}))),
        ["apis"] => {
            let list: Vec<Value> = groups
                .iter()
                .filter(|(g, _)| !g.is_empty())
                .map(|(g, v)| group(g, v))
                .collect();
            Ok(answer(
                &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}),
            ))
        }
        ["apis", g] => {
            let (name, versions) = groups.iter().find(|(n, _)| n == g).ok_or_else(Status::page_not_found)?;
            let mut v = group(name, versions);
            v["kind"] = json!("APIGroup");
            v["apiVersion"] = json!("v1");
            Ok(answer(&v))
        }
        ["api", v] => resources(&groups, "", v),
        // No route leads to the groups of definitions but those of their versions.
        ["apis", g, v] if !Catalog::is_builtin_group(g) && !served(&groups, g, v) => Err(Status::page_not_found()),
        ["apis", g, v] => resources(&groups, g, v),
        _ => Err(Status::no_such_path()),
    }
}

fn group(name: &str, versions: &[(String, Vec<Arc<Resource>>)]) -> Value {
    let list: Vec<Value> = versions
        .iter()
        .map(|(v, _)| json!({"groupVersion": format!("{name}/{v}"), "version": v}))
        .collect();
    json!({"name": name, "versions": list, "preferredVersion": list.first()})
}

fn served(groups: &Groups, group: &str, version: &str) -> bool {
    let of = groups.iter().find(|(g, _)| g == group);
    of.is_some_and(|(_, versions)| versions.iter().any(|(v, _)| v == version))
}

fn resources(groups: &Groups, group: &str, version: &str) -> Result<Answer, Status> {
    let list = groups
        .iter()
        .find(|(g, _)| g == group)
        .and_then(|(_, versions)| versions.iter().find(|(v, _)| v == version))
        .map(|(_, list)| list)
        .ok_or_else(Status::no_such_path)?;
    let mut items = Vec::new();
    for r in list {
        let mut m = Map::new();
        m.insert("name".into(), json!(r.plural));
        m.insert("singularName".into(), json!(r.singular));
        m.insert("namespaced".into(), json!(r.namespaced));
        m.insert("kind".into(), json!(r.kind));
        m.insert("verbs".into(), json!(r.verbs));
        if !r.short_names.is_empty() {
            m.insert("shortNames".into(), json!(r.short_names));
        }
        if !r.categories.is_empty() {
            m.insert("categories".into(), json!(r.categories));
        }
        if let Some(hash) = r.storage_version_hash() {
            m.insert("storageVersionHash".into(), json!(hash));
        }
        items.push(Value::Object(m));
        for s in &r.subresources {
            let mut v = json!({"name": format!("{}/{}", r.plural, s.name), "singularName": "", "namespaced": r.namespaced,
                "kind": s.kind, "verbs": s.verbs});
            if (s.group.as_str(), s.version.as_str()) != (&*r.group, &*r.version) {
                v["group"] = json!(s.group);
                v["version"] = json!(s.version);
            }
            items.push(v);
        }
    }
    let gv = crate::registry::api_version(group, version);
    let mut list = json!({"kind": "APIResourceList", "groupVersion": gv, "resources": items});
    // The legacy group does not say it.
    if !group.is_empty() {
        list["apiVersion"] = json!("v1");
    }
    Ok(answer(&list))
}

fn aggregated(name: &str, versions: &[(String, Vec<Arc<Resource>>)]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|(v, list)| {
            let resources: Vec<Value> = list.iter().map(|r| aggregated_resource(r)).collect();
            json!({"version": v, "freshness": "Current", "resources": resources})
        })
        .collect();
    let mut metadata = json!({"creationTimestamp": null});
    if !name.is_empty() {
        metadata["name"] = json!(name);
    }
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(r: &Resource) -> Value {
    let kind = |g: &str, v: &str, k: &str| json!({"group": g, "version": v, "kind": k});
    let mut v = json!({"resource": r.plural, "responseKind": kind(&r.group, &r.version, &r.kind),
        "scope": if r.namespaced { "Namespaced" } else { "Cluster" }, "singularResource": r.singular, "verbs": r.verbs});
    if !r.short_names.is_empty() {
        v["shortNames"] = json!(r.short_names);
    }
    if !r.categories.is_empty() {
        v["categories"] = json!(r.categories);
    }
    if !r.subresources.is_empty() {
        v["subresources"] = r
            .subresources
            .iter()
            .map(|s| json!({"subresource": s.name, "responseKind": kind(&s.group, &s.version, &s.kind), "verbs": s.verbs}))
            .collect();
    }
    v
}
