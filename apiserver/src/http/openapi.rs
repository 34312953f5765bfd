//! OpenAPI documents: the recorded ones of the built-in groups, built ones of custom groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header;
use serde_json::{Map, Value, json};

use super::{Answer, Incoming, json as answer, with_type};
use crate::crd::{openapi_document, openapi_hash, v2_additions};
use crate::registry::{Resource, Server};
use crate::schema;
use crate::status::Status;

/// Custom resources by group and version.
fn custom(server: &Server) -> BTreeMap<(String, String), Vec<Arc<Resource>>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for r in server.catalog.all_custom() {
        all.entry((r.group.to_string(), r.version.to_string()))
            .or_default()
            .push(r);
    }
    all
}

pub(super) fn serve(server: &Server, r: &Incoming, path: &str) -> Result<Answer, Status> {
    match path {
        "v2" => v2(server, r),
        "v3" => Ok(index(server)),
        other if other.starts_with("v2/") => Err(Status::page_not_found()),
        _ => document(server, path.strip_prefix("v3/").ok_or_else(Status::no_such_path)?),
    }
}

fn index(server: &Server) -> Answer {
    let mut paths = Map::new();
    let mut add = |path: String, hash: &str| {
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    for (path, hash) in schema::openapi_v3_index() {
        add(path, &hash);
    }
    for ((g, v), list) in custom(server) {
        add(format!("apis/{g}/{v}"), &openapi_hash(&openapi_document(&g, &v, &list)));
    }
    answer(&json!({"paths": paths}))
}

fn document(server: &Server, path: &str) -> Result<Answer, Status> {
    if let Some(b) = schema::openapi_v3(path) {
        return Ok(with_type(200, "application/json", b));
    }
    let all = custom(server);
    let named = path.strip_prefix("apis/").and_then(|p| p.split_once('/'));
    let Some((g, v, list)) = named.and_then(|(g, v)| Some((g, v, all.get(&(g.to_owned(), v.to_owned()))?))) else {
        // kube-openapi's handler writes the code alone.
        let mut a = http::Response::new(super::ResponseBody::full(bytes::Bytes::new()));
        *a.status_mut() = http::StatusCode::NOT_FOUND;
        return Ok(a);
    };
    let v: Value = openapi_document(g, v, list);
    Ok(answer(&v))
}

/// JSON only: clients that want nothing but protobuf are told so. A client that has it already (its ETag) is told that.
fn v2(server: &Server, r: &Incoming) -> Result<Answer, Status> {
    let of = |name| r.headers.get(name).and_then(|v| v.to_str().ok());
    let json = of(header::ACCEPT)
        .unwrap_or("*/*")
        .split(',')
        .map(|a| a.split(';').next().unwrap_or_default().trim());
    if !json
        .into_iter()
        .any(|a| matches!(a, "application/json" | "*/*" | "application/*" | ""))
    {
        return Err(Status::not_acceptable("application/json"));
    }
    let (definitions, paths) = v2_additions(&server.catalog.all_custom());
    let mut hash = schema::openapi_v2_hash();
    if !definitions.is_empty() {
        hash = openapi_hash(&json!([hash, definitions]));
    }
    let tag = format!("\"{hash}\"");
    let mut a = if of(header::IF_NONE_MATCH) == Some(&tag) {
        with_type(304, "application/json", bytes::Bytes::new())
    } else {
        with_type(200, "application/json", schema::openapi_v2(&definitions, &paths))
    };
    if let Ok(v) = tag.parse() {
        a.headers_mut().insert(header::ETAG, v);
    }
    Ok(a)
}
