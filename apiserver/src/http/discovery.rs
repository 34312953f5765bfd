//! Discovery: which groups, versions and resources there are, aggregated and one by one.

use std::sync::Arc;

use http::{HeaderValue, Method, header};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use super::negotiate::{Accepted, Encoding, aggregated as aggregated_form, plain, routed};
use super::output::encoded;
use super::{Answer, Incoming, with_type};
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

/// What a path below `/api` or `/apis` that names no resource tells. Those of built-in groups are go-restful's routes,
/// which know methods; those of the aggregator and of definitions do not.
pub(super) fn serve(server: &Server, r: &Incoming) -> Result<Answer, Status> {
    let segments: Vec<&str> = r.path.trim_matches('/').split('/').collect();
    let groups = groups(server);
    let read_only = || match r.method {
        Method::GET => routed(&r.headers, false),
        _ => Err(Status::method_not_allowed()),
    };
    match segments.as_slice() {
        ["api"] => {
            read_only()?;
            match aggregated_form(&r.headers) {
                Some(form) => whole(r, form, &groups, true),
                None => answer(
                    r,
                    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
                ),
            }
        }
        ["apis"] if matches!(r.path.as_str(), "/apis" | "/apis/") => match aggregated_form(&r.headers) {
            Some(form) if r.path == "/apis" => whole(r, form, &groups, false),
            _ => {
                let list = groups.iter().filter(|(g, _)| !g.is_empty());
                let list: Vec<Value> = list.map(|(g, v)| group(g, v)).collect();
                answer(r, json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}))
            }
        },
        ["apis", g] => {
            let found = groups.iter().find(|(n, _)| n == g && !g.is_empty());
            let (name, versions) = found.ok_or_else(Status::page_not_found)?;
            let mut v = group(name, versions);
            v["kind"] = json!("APIGroup");
            v["apiVersion"] = json!("v1");
            answer(r, v)
        }
        ["api", v] => {
            let list = resources(&groups, "", v)?;
            read_only()?;
            answer(r, list)
        }
        ["apis", g, v] if Catalog::is_builtin_group(g) && !g.is_empty() => {
            let list = resources(&groups, g, v)?;
            read_only()?;
            answer(r, list)
        }
        // No route leads to the groups of definitions but those of their versions.
        ["apis", g, v] if !g.is_empty() && served(&groups, g, v) => answer(r, resources(&groups, g, v)?),
        _ => Err(Status::page_not_found()),
    }
}

/// A document, as it is asked for.
fn answer(r: &Incoming, v: Value) -> Result<Answer, Status> {
    let (kind, body) = encoded(plain(&r.headers)?.encoding, &v)?;
    Ok(with_type(200, kind, body))
}

/// Everything in one document, which a client may have already (`ServeHTTPWithETag`).
fn whole(r: &Incoming, form: Accepted, groups: &Groups, core: bool) -> Result<Answer, Status> {
    let items = groups.iter().filter(|(g, _)| g.is_empty() == core);
    let items: Vec<Value> = items.map(|(g, v)| aggregated(g, v)).collect();
    let v = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    let json = v.to_string();
    let digest: String = Sha512::digest(&json).iter().map(|b| format!("{b:02X}")).collect();
    let tag = format!("\"{digest}\"");
    let had = r
        .headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|t| t.as_bytes() == tag.as_bytes());
    let mut a = match had {
        true => with_type(304, "", bytes::Bytes::new()),
        false => {
            let (kind, body) = match form.encoding {
                Encoding::Json => (form.encoding.media_type(), json.into()),
                other => encoded(other, &v)?,
            };
            let mut a = with_type(200, kind, body);
            let kind = format!("{kind};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
            if let Ok(kind) = HeaderValue::from_str(&kind) {
                a.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            a
        }
    };
    if had {
        a.headers_mut().remove(header::CONTENT_TYPE);
    }
    let h = a.headers_mut();
    h.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    h.insert(header::VARY, HeaderValue::from_static("Accept"));
    if let Ok(v) = HeaderValue::from_str(&tag) {
        h.insert(header::ETAG, v);
    }
    Ok(a)
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

fn resources(groups: &Groups, group: &str, version: &str) -> Result<Value, Status> {
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
    Ok(list)
}

fn aggregated(name: &str, versions: &[(String, Vec<Arc<Resource>>)]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|(v, list)| {
            let resources: Vec<Value> = list.iter().map(|r| aggregated_resource(r)).collect();
            json!({"version": v, "freshness": "Current", "resources": resources})
        })
        .collect();
    let mut metadata = json!({});
    if !name.is_empty() {
        metadata["name"] = json!(name);
    }
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(r: &Resource) -> Value {
    // Of built-in kinds only another group and version are told.
    let kind = |g: &str, v: &str, k: &str| match r.custom.is_none() && g == r.group && v == r.version {
        true => json!({"group": "", "version": "", "kind": k}),
        false => json!({"group": g, "version": v, "kind": k}),
    };
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
