//! Discovery: which groups, versions and resources there are, aggregated and one by one.

use std::cmp::Reverse;
use std::sync::Arc;

use http::{HeaderValue, Method, header};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use super::negotiate::{Accepted, Encoding, aggregated as aggregated_form, plain, routed};
use super::output::encoded;
use super::{Answer, Incoming, with_type};
use crate::aggregator::Remote;
use crate::registry::{Catalog, Resource, Server};
use crate::status::Status;

/// Who serves a version of a group.
enum Served {
    Here(Vec<Arc<Resource>>),
    /// Another API server, behind an APIService.
    There(Arc<Remote>),
}

/// A group with its versions in order.
struct Group {
    name: String,
    versions: Vec<(String, Served)>,
}

/// Priority of the groups and versions of definitions (`crdregistration`).
const CUSTOM: (i64, i64) = (1000, 100);

fn groups(server: &Server) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for r in server.catalog.all() {
        let versions = &mut of_name(&mut groups, &r.group).versions;
        match versions.iter_mut().find(|(v, _)| *v == r.version) {
            Some((_, Served::Here(list))) => list.push(r),
            _ => versions.push((r.version.to_string(), Served::Here(vec![r]))),
        }
    }
    let remotes = server.remotes();
    let there = remotes
        .iter()
        .filter(|r| !server.catalog.is_builtin(&r.group, &r.version));
    let mut any = false;
    for r in there {
        any = true;
        let versions = &mut of_name(&mut groups, &r.group).versions;
        versions.retain(|(v, _)| *v != r.version);
        versions.push((r.version.clone(), Served::There(r.clone())));
        // Best version first: by priority, then as versions are compared.
        versions.sort_by_key(|(v, served)| (Reverse(priority(served).1), crate::crd::version_priority(v)));
    }
    if any {
        // Built-in groups keep their place before others (`SortedByGroupAndVersion`, whose priorities are above most).
        let builtin = groups.iter().take_while(|g| Catalog::is_builtin_group(&g.name)).count();
        let of = |g: &Group| g.versions.iter().map(|(_, s)| priority(s).0).max();
        groups[builtin..].sort_by(|a, b| of(b).cmp(&of(a)).then_with(|| a.name.cmp(&b.name)));
    }
    groups
}

fn of_name<'a>(groups: &'a mut Vec<Group>, name: &str) -> &'a mut Group {
    let at = groups.iter().position(|g| g.name == name).unwrap_or_else(|| {
        groups.push(Group {
            name: name.to_owned(),
            versions: Vec::new(),
        });
        groups.len() - 1
    });
    &mut groups[at]
}

fn priority(served: &Served) -> (i64, i64) {
    match served {
        // Built-in ones are before all others.
        Served::Here(list) if list.iter().all(|r| r.custom.is_none()) => (i64::MAX, i64::MAX),
        Served::Here(_) => CUSTOM,
        Served::There(r) => (r.group_priority, r.version_priority),
    }
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
        ["api"] if server.catalog.hides_builtin() => Err(Status::page_not_found()),
        ["api"] => {
            read_only()?;
            match aggregated_form(&r.headers) {
                Some(form) => whole(server, r, form, &groups, true),
                None => answer(
                    r,
                    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
                ),
            }
        }
        ["apis"] if matches!(r.path.as_str(), "/apis" | "/apis/") => match aggregated_form(&r.headers) {
            Some(form) if r.path == "/apis" => whole(server, r, form, &groups, false),
            _ => {
                let list = groups.iter().filter(|g| !g.name.is_empty());
                let list: Vec<Value> = list.map(group).collect();
                answer(r, json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}))
            }
        },
        ["apis", g] => {
            let found = groups.iter().find(|of| of.name == *g && !g.is_empty());
            let mut v = group(found.ok_or_else(Status::page_not_found)?);
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
        ["apis", g, v] if !g.is_empty() && served(&groups, g, v).is_some() => answer(r, resources(&groups, g, v)?),
        _ => Err(Status::page_not_found()),
    }
}

/// A document, as it is asked for.
fn answer(r: &Incoming, v: Value) -> Result<Answer, Status> {
    let (kind, body) = encoded(plain(&r.headers)?.encoding, &v)?;
    Ok(with_type(200, kind, body))
}

/// Everything in one document, which a client may have already (`ServeHTTPWithETag`).
fn whole(server: &Server, r: &Incoming, form: Accepted, groups: &[Group], core: bool) -> Result<Answer, Status> {
    let items = groups.iter().filter(|g| g.name.is_empty() == core);
    let items: Vec<Value> = items.map(|g| aggregated(server, g)).collect();
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

fn group(g: &Group) -> Value {
    let name = &g.name;
    let list: Vec<Value> = g
        .versions
        .iter()
        .map(|(v, _)| json!({"groupVersion": format!("{name}/{v}"), "version": v}))
        .collect();
    json!({"name": name, "versions": list, "preferredVersion": list.first()})
}

/// What is served here of a version; another's requests are not answered here.
fn served<'a>(groups: &'a [Group], group: &str, version: &str) -> Option<&'a [Arc<Resource>]> {
    let of = groups.iter().find(|g| g.name == group)?;
    match of.versions.iter().find(|(v, _)| v == version)? {
        (_, Served::Here(list)) => Some(list),
        (_, Served::There(_)) => None,
    }
}

fn resources(groups: &[Group], group: &str, version: &str) -> Result<Value, Status> {
    let list = served(groups, group, version).ok_or_else(Status::no_such_path)?;
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

fn aggregated(server: &Server, g: &Group) -> Value {
    let of = |(v, served): &(String, Served)| match served {
        Served::Here(list) => {
            let resources: Vec<Value> = list.iter().map(|r| aggregated_resource(r)).collect();
            json!({"version": v, "freshness": "Current", "resources": resources})
        }
        // Of one that is not reached nothing is known but that it should be there.
        Served::There(r) => match server.aggregation.discovered(&r.name) {
            Some(found) if found.resources.is_array() => {
                json!({"version": v, "freshness": "Current", "resources": found.resources})
            }
            Some(_) => json!({"version": v, "freshness": "Current"}),
            None => json!({"version": v, "freshness": "Stale"}),
        },
    };
    let versions: Vec<Value> = g.versions.iter().map(of).collect();
    let mut metadata = json!({});
    if !g.name.is_empty() {
        metadata["name"] = json!(g.name);
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
