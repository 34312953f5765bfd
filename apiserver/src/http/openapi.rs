//! OpenAPI documents: the recorded ones of the built-in groups, built ones of custom groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::openapi_protobuf::{self, Version};
use super::{Answer, Incoming, aggregate, negotiate, with_type};
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

pub(super) async fn serve(server: &Arc<Server>, r: &Incoming, path: &str) -> Result<Answer, Status> {
    match path {
        "v2" => v2(server, r),
        "v3" => {
            // The aggregator's handler lets Go guess the type, and has no tag: it is always new.
            let body = index(server).to_string();
            let mut a = with_type(200, "text/plain; charset=utf-8", body.into());
            if let Some(date) = http_date(server.clock.now()) {
                a.headers_mut().insert(header::LAST_MODIFIED, date);
            }
            Ok(a)
        }
        _ => {
            let path = path.strip_prefix("v3/").ok_or_else(Status::page_not_found)?;
            match server.remote_openapi(path) {
                Some((to, at)) => aggregate::serve(server, r, &to, Some(&at)).await,
                None => document(server, r, path),
            }
        }
    }
}

/// A document, which a client may have already (Go's `http.ServeContent`); `vary`: what it depends on.
fn content(server: &Server, r: &Incoming, (kind, body): (&'static str, Bytes), (hash, vary): (&str, &str)) -> Answer {
    let of = |name| r.headers.get(name).and_then(|v| v.to_str().ok());
    let tag = format!("\"{hash}\"");
    // What is served is what this server was built with, or was told since.
    let since = server.began;
    let reads = matches!(r.method, Method::GET | Method::HEAD);
    let matches = |t: &str| t == "*" || t.strip_prefix("W/").unwrap_or(t) == tag;
    let (had, refused) = match (of(header::IF_NONE_MATCH), of(header::IF_MODIFIED_SINCE)) {
        (Some(tags), _) => {
            let had = tags.split(',').any(|t| matches(t.trim()));
            (had && reads, had && !reads)
        }
        (None, Some(date)) if reads => {
            let date = jiff::fmt::rfc2822::parse(date).ok();
            (
                date.is_some_and(|d| d.timestamp().as_second() >= since.as_second()),
                false,
            )
        }
        _ => (false, false),
    };
    let mut a = match (had, refused) {
        (true, _) => with_type(304, kind, Bytes::new()),
        (_, true) => with_type(412, kind, Bytes::new()),
        _ => with_type(200, kind, body),
    };
    let h = a.headers_mut();
    if had {
        h.remove(header::CONTENT_TYPE);
    }
    if let Ok(tag) = tag.parse() {
        h.insert(header::ETAG, tag);
    }
    if let (false, Some(date)) = (had, http_date(since)) {
        h.insert(header::LAST_MODIFIED, date);
    }
    for v in vary.split(", ").filter_map(|v| HeaderValue::from_str(v).ok()) {
        h.append(header::VARY, v);
    }
    a
}

/// A date as headers have it (RFC 9110, 5.6.7).
fn http_date(t: Timestamp) -> Option<HeaderValue> {
    let date = jiff::fmt::rfc2822::to_string(&t.to_zoned(jiff::tz::TimeZone::UTC)).ok()?;
    date.replace("+0000", "GMT").parse().ok()
}

/// In what a document is served.
#[derive(Clone, Copy)]
enum Encoding {
    Json,
    Protobuf,
}

/// Media types of documents; the old names of those in protobuf are taken, but not told.
const JSON: &str = "application/json";
const PROTOBUF_V2: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const PROTOBUF_V3: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
const KINDS_V2: [(&str, Encoding); 3] = [
    ("json", Encoding::Json),
    ("com.github.proto-openapi.spec.v2@v1.0+protobuf", Encoding::Protobuf),
    ("com.github.proto-openapi.spec.v2.v1.0+protobuf", Encoding::Protobuf),
];
const KINDS_V3: [(&str, Encoding); 3] = [
    ("json", Encoding::Json),
    ("com.github.proto-openapi.spec.v3.v1.0+protobuf", Encoding::Protobuf),
    ("com.github.proto-openapi.spec.v3@v1.0+protobuf", Encoding::Protobuf),
];

/// An answer of a code alone.
fn code_alone(code: http::StatusCode, vary: Option<&'static str>) -> Answer {
    let mut a = with_type(code.as_u16(), "", Bytes::new());
    a.headers_mut().remove(header::CONTENT_TYPE);
    for v in vary.map(|v| v.split(", ")).into_iter().flatten() {
        a.headers_mut().append(header::VARY, HeaderValue::from_static(v));
    }
    a
}

fn index(server: &Server) -> Value {
    let mut paths = Map::new();
    let mut add = |path: String, hash: &str| {
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    let own = schema::openapi_v3_index().into_iter();
    for (path, hash) in own.filter(|_| !server.catalog.hides_builtin()) {
        add(path, &hash);
    }
    for ((g, v), list) in custom(server) {
        add(format!("apis/{g}/{v}"), &openapi_hash(&openapi_document(&g, &v, &list)));
    }
    // What others serve is called as they call it: its hash is theirs.
    for remote in server.remotes().iter() {
        let path = remote.root();
        if let Some((_, url)) = server.remote_openapi(path.trim_start_matches('/')) {
            paths.insert(
                path.trim_start_matches('/').to_owned(),
                json!({"serverRelativeURL": url}),
            );
        }
    }
    json!({"paths": paths})
}

fn document(server: &Server, r: &Incoming, path: &str) -> Result<Answer, Status> {
    let vary = "Accept";
    let all = custom(server);
    let recorded = schema::openapi_v3_index().into_iter().find(|(p, _)| p == path);
    let recorded = recorded.filter(|_| !server.catalog.hides_builtin());
    let named = path.strip_prefix("apis/").and_then(|p| p.split_once('/'));
    let built = named.and_then(|(g, v)| Some((g, v, all.get(&(g.to_owned(), v.to_owned()))?)));
    let (json, hash): (Box<dyn FnOnce() -> Bytes>, String) = match (recorded, built) {
        (Some((_, hash)), _) => (Box::new(|| schema::openapi_v3(path).unwrap_or_default()), hash),
        (None, Some((g, v, list))) => {
            let v = openapi_document(g, v, list);
            let hash = openapi_hash(&v).to_string();
            (Box::new(move || v.to_string().into()), hash)
        }
        // kube-openapi's handler writes the code alone.
        (None, None) => return Ok(code_alone(http::StatusCode::NOT_FOUND, None)),
    };
    let document = match negotiate::document(&r.headers, &KINDS_V3) {
        Some(Encoding::Json) => (JSON, json()),
        Some(Encoding::Protobuf) => (PROTOBUF_V3, protobuf(Version::V3, &hash, json)?),
        None => return Ok(code_alone(http::StatusCode::NOT_ACCEPTABLE, Some(vary))),
    };
    Ok(content(server, r, document, (&hash, vary)))
}

fn protobuf(version: Version, hash: &str, json: impl FnOnce() -> Bytes) -> Result<Bytes, Status> {
    openapi_protobuf::document(version, hash, json).map_err(Status::internal)
}

/// The document of all groups; a client that has it already (its ETag) is told that.
fn v2(server: &Server, r: &Incoming) -> Result<Answer, Status> {
    let vary = "Accept, Accept-Encoding";
    if server.catalog.hides_builtin() {
        return Ok(code_alone(http::StatusCode::NOT_FOUND, None));
    }
    let Some(encoding) = negotiate::document(&r.headers, &KINDS_V2) else {
        return Ok(code_alone(http::StatusCode::NOT_ACCEPTABLE, Some(vary)));
    };
    let (definitions, paths) = v2_additions(&server.catalog.all_custom());
    let mut hash = schema::openapi_v2_hash();
    if !definitions.is_empty() || !paths.is_empty() {
        hash = openapi_hash(&json!([hash, definitions, paths]));
    }
    let json = || schema::openapi_v2(&definitions, &paths);
    let document = match encoding {
        Encoding::Json => (JSON, json()),
        Encoding::Protobuf => (PROTOBUF_V2, protobuf(Version::V2, &hash, json)?),
    };
    Ok(content(server, r, document, (&hash, vary)))
}
