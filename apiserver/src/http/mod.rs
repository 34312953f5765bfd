//! The HTTP face: one function from request to response, used over TLS, over memory and by the client in process.

mod aggregate;
mod body;
mod deadline;
mod decode;
mod discovery;
mod headers;
mod health;
mod in_process;
mod info;
mod metrics;
mod negotiate;
mod openapi;
mod openapi_protobuf;
mod openid;
mod output;
mod patch;
mod port_forward;
mod pretty;
mod protobuf;
mod protobuf_write;
mod proxy;
mod query;
mod resource;
mod route;
mod streams;
mod strict;
mod watch;
mod wire;
mod yaml;
mod yaml_read;
mod yaml_scalar;
mod zpages;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cfn_net::server::{PeerCert, PeerHost};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use serde_json::Value;

use self::negotiate::Encoding;
use crate::audit::{self, Stage};
use crate::auth::Attributes;
use crate::registry::{Server, User};
use crate::status::Status;

pub use body::ResponseBody;
pub use in_process::InProcess;
pub(crate) use metrics::Answered;
pub(crate) use proxy::{Connected, host_port};
pub(crate) use query::decode;
pub use yaml::text as yaml_text;

/// Reads a document of YAML or JSON, without what it has twice.
///
/// # Errors
/// Why it is none, in upstream's words.
pub fn read_yaml(text: &[u8]) -> Result<serde_json::Value, String> {
    yaml_read::read(text).map(|parsed| parsed.value)
}

/// Largest request body (`MaxRequestBodyBytes` of kube-apiserver).
const MAX_BODY: usize = 3 * 1024 * 1024;

/// What is answered.
pub(crate) type Answer = Response<ResponseBody>;

/// A request with its body read.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: query::Query,
    /// Path and query as they were sent.
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) user: Arc<User>,
    /// What it is called in the audit log.
    pub(crate) audit_id: String,
    /// Where it comes from, where that is known.
    pub(crate) from: Option<String>,
    /// The connection, when it may become something else.
    pub(crate) upgrade: Mutex<Option<OnUpgrade>>,
}

#[cfg(test)]
impl Incoming {
    /// A request to read, as one that was sent.
    fn get(uri: &str) -> Self {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        Self {
            method: Method::GET,
            path: decode(path, false).into_owned(),
            query: query::Query::parse(query),
            uri: uri.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            user: Arc::default(),
            audit_id: String::new(),
            from: None,
            upgrade: Mutex::default(),
        }
    }
}

/// What is noted of a request for the audit log.
pub(crate) type Annotations = BTreeMap<String, String>;

/// A refusal, beside its answer: for the audit log.
#[derive(Debug, Clone)]
struct Refused {
    reason: String,
    message: String,
}

/// Answers a request of whoever its certificate ([`PeerCert`] in the extensions), token or an [`Arc`] of a [`User`] in the extensions
/// (callers in process) says.
pub async fn handle<B>(server: Arc<Server>, request: Request<B>) -> Answer
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<tower::BoxError>,
{
    let (mut parts, body) = request.into_parts();
    // Go's server reads no further.
    if !query::is_escaped(parts.uri.path()) {
        let mut a = with_type(400, "text/plain; charset=utf-8", Bytes::from_static(b"400 Bad Request"));
        a.headers_mut().remove(header::CACHE_CONTROL);
        a.headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        return a;
    }
    let upgrade = Mutex::new(parts.extensions.remove::<OnUpgrade>());
    let certificate = parts.extensions.remove::<PeerCert>();
    let from = parts.extensions.remove::<PeerHost>();
    let asker = match parts.extensions.remove::<Arc<User>>() {
        Some(u) => Ok(u),
        None => server.authenticate(&parts.headers, certificate.as_ref().map(|c| c.0.as_slice())),
    };
    let uri = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    keep_host(&parts.uri, &mut parts.headers);
    let audit_id = headers::audit_id(&server, &parts.headers);
    let mut incoming = Incoming {
        method: parts.method,
        path: decode(parts.uri.path(), false).into_owned(),
        query: query::Query::parse(parts.uri.query().unwrap_or_default()),
        uri,
        headers: parts.headers,
        body: Bytes::new(),
        user: asker.as_ref().cloned().unwrap_or_default(),
        audit_id,
        from: from.map(|f| f.0),
        upgrade,
    };
    let parsed = info::RequestInfo::parse(&incoming, &incoming.uri);
    let info = parsed.as_ref().ok().and_then(Option::as_ref);
    let mut record = server.audit.get().map(|_| record(&server, &incoming, info));
    let mut annotations = Annotations::new();
    let mut classified = None;
    let answer = async {
        if let Err(s) = &parsed {
            return Err(s.clone());
        }
        deadline::check(&incoming, info)?;
        let asker = asker?;
        let verb = match info {
            Some(_) => String::new(),
            None => incoming.method.as_str().to_ascii_lowercase(),
        };
        let wanted = info.map_or_else(|| Attributes::path(&verb, &incoming.path), |i| i.attributes());
        if let Some(user) = server
            .impersonate(&incoming.headers, &asker, &wanted)
            .inspect_err(|_| forbid(&mut annotations))
            .map_err(Status::unsniffed)?
        {
            if let Some(r) = &mut record {
                r.impersonated = Some(user.clone());
            }
            incoming.user = Arc::new(user);
        }
        classified = server.classify(&incoming.user, &wanted);
        incoming.body = match http_body_util::Limited::new(body, MAX_BODY).collect().await {
            Ok(b) => b.to_bytes(),
            Err(_) => {
                return Err(Status::new(
                    413,
                    "RequestEntityTooLarge",
                    "Request entity too large: limit is 3145728",
                ));
            }
        };
        route(&server, &incoming, info, &mut annotations).await
    }
    .await;
    let mut answer = answer.unwrap_or_else(|s| refusal(&incoming, &s));
    // Nobody is told of what a crash could take back: not who wrote it, and not who reads it.
    if let Err(e) = server.store.durable().await {
        answer = failure(&Status::internal(e));
    }
    if parsed.is_err() {
        // It is answered before anything is said of caches.
        answer.headers_mut().remove(header::CACHE_CONTROL);
    }
    pretty::set(&incoming, &mut answer);
    headers::put_audit_id(&incoming.audit_id, answer.headers_mut());
    if let Some(flow) = classified {
        flow.put(answer.headers_mut());
    }
    if crate::auth::bearer(&incoming.headers) == Some(crate::auth::Bearer::Misplaced) {
        let text =
            "299 - \"the provided Authorization header contains extra space before the bearer token, and is ignored\"";
        answer
            .headers_mut()
            .append(header::WARNING, HeaderValue::from_static(text));
    }
    if let Some(r) = record {
        write_down(&server, r, annotations, &mut answer);
    }
    if incoming.method == Method::HEAD {
        *answer.body_mut() = ResponseBody::full(Bytes::new());
    }
    answer
}

/// Whom the client asked is no header with HTTP/2 (`:authority`); here it is one, as in Go.
fn keep_host(uri: &http::Uri, headers: &mut HeaderMap) {
    if headers.contains_key(header::HOST) {
        return;
    }
    let host = uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    headers.extend(host.map(|h| (header::HOST, h)));
}

/// What the audit log says of a request.
fn record(server: &Server, r: &Incoming, info: Option<&info::RequestInfo>) -> audit::Request {
    audit::Request {
        id: r.audit_id.clone(),
        uri: r.uri.clone(),
        verb: match info {
            Some(i) => i.verb.to_owned(),
            None => r.method.as_str().to_ascii_lowercase(),
        },
        user: r.user.clone(),
        impersonated: None,
        sources: audit::sources(&r.headers),
        agent: audit::agent(&r.headers),
        object: info.map(info::RequestInfo::reference),
        received: server.clock.now(),
    }
}

/// Writes the line of a request; of a watch the first one now, the other when it ends.
fn write_down(server: &Arc<Server>, r: audit::Request, annotations: Annotations, answer: &mut Answer) {
    let Some(audit) = server.audit.get() else { return };
    let code = answer.status().as_u16();
    let refused = answer.extensions().get::<Refused>().cloned();
    let why = refused.as_ref().map(|s| (s.reason.as_str(), s.message.as_str()));
    if !answer.body().is_watch() {
        return audit.write(&r.event(Stage::Complete, code, why, &annotations, server.clock.now()));
    }
    audit.write(&r.event(Stage::Started, code, why, &annotations, server.clock.now()));
    let server = server.clone();
    answer.body_mut().on_end(move || {
        if let Some(audit) = server.audit.get() {
            audit.write(&r.event(Stage::Complete, code, None, &annotations, server.clock.now()));
        }
    });
}

fn forbid(annotations: &mut Annotations) {
    annotations.insert("authorization.k8s.io/decision".into(), "forbid".into());
    annotations.insert("authorization.k8s.io/reason".into(), String::new());
}

/// As [`Server::authorize`], or as another server says; noted.
async fn authorize(
    server: &Server,
    user: &User,
    a: &Attributes<'_>,
    annotations: &mut Annotations,
) -> Result<(), Status> {
    let delegate = server.auth.delegate.get();
    let done = match delegate {
        Some(other) => other.authorize(user, a).await,
        None => server.authorize(user, a),
    };
    let done = done.map_err(Status::unsniffed);
    if done.is_err() {
        forbid(annotations);
    } else if server.audit.get().is_some() {
        annotations.insert("authorization.k8s.io/decision".into(), "allow".into());
        annotations.insert("authorization.k8s.io/reason".into(), String::new());
    }
    done?;
    match delegate {
        Some(other) => other.follow(server, a).await,
        None => Ok(()),
    }
}

async fn route(
    server: &Arc<Server>,
    r: &Incoming,
    info: Option<&info::RequestInfo>,
    annotations: &mut Annotations,
) -> Result<Answer, Status> {
    if let Some(to) = server.remote_of(&r.path) {
        let verb = r.method.as_str().to_ascii_lowercase();
        let wanted = info.map_or_else(|| Attributes::path(&verb, &r.path), info::RequestInfo::attributes);
        authorize(server, &r.user, &wanted, annotations).await?;
        return aggregate::serve(server, r, &to, None).await;
    }
    if let Some(info) = info {
        let answer = resource::serve(server, r, info, annotations).await;
        let code = answer.as_ref().map_or_else(|s| s.code, |a| a.status().as_u16());
        metrics::count(server, info, code);
        return answer;
    }
    let verb = r.method.as_str().to_ascii_lowercase();
    authorize(server, &r.user, &Attributes::path(&verb, &r.path), annotations).await?;
    if let Some(answer) = health::serve(r) {
        return Ok(answer);
    }
    if let Some(answer) = openid::serve(server, r).or_else(|| zpages::serve(server, r)) {
        return answer;
    }
    match r.path.as_str() {
        // go-restful's routes know methods, those of the mux do not.
        "/version" | "/version/" if r.method == Method::GET => {
            negotiate::produced(&r.headers, "application/json")?;
            Ok(json(&version()))
        }
        "/version" | "/version/" => Err(Status::method_not_allowed()),
        p if p.starts_with("/version/") => Err(Status::no_such_path()),
        "/metrics" => Ok(with_type(
            200,
            "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            Bytes::from(metrics::text(server)),
        )),
        "/" | "/index.html" => Ok(json(&serde_json::json!({"paths": paths(server)}))),
        p if p == "/api" || p == "/apis" || p.starts_with("/api/") || p.starts_with("/apis/") => {
            discovery::serve(server, r)
        }
        p => match p.strip_prefix("/openapi/") {
            Some(rest) => openapi::serve(server, r, rest).await,
            None => Err(Status::page_not_found()),
        },
    }
}

/// What may be asked for besides resources, sorted.
fn paths(server: &Server) -> Vec<String> {
    let mut all: std::collections::BTreeSet<String> = ["/api", "/apis", "/apis/", "/flagz", "/metrics", "/openapi/v2"]
        .into_iter()
        .chain([
            "/openapi/v3",
            "/openapi/v3/",
            "/statusz",
            "/version",
            openid::CONFIGURATION,
            openid::KEYS,
        ])
        .map(str::to_owned)
        .chain(health::paths())
        .collect();
    for r in server.catalog.all() {
        if r.group.is_empty() {
            all.insert(format!("/api/{}", r.version));
        } else {
            all.insert(format!("/apis/{}", r.group));
            all.insert(format!("/apis/{}/{}", r.group, r.version));
        }
    }
    for r in server.remotes().iter() {
        all.extend([format!("/apis/{}", r.group), r.root()]);
    }
    all.into_iter().collect()
}

/// What `/version` says: never that this is Kubernetes itself.
fn version() -> Value {
    serde_json::json!({"major": "1", "minor": "36", "gitVersion": crate::cluster::VERSION, "gitCommit": "", "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35"})
}

fn with_type(code: u16, kind: &'static str, body: Bytes) -> Answer {
    let mut a = Response::new(ResponseBody::full(body));
    *a.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    a.headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    a.headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    a
}

fn json(v: &Value) -> Answer {
    with_type(200, "application/json", Bytes::from(v.to_string()))
}

/// A refusal in the form that its request accepts; set for people where it accepts none
/// (`responsewriters.WriteObjectNegotiated`).
fn refusal(r: &Incoming, s: &Status) -> Answer {
    let mut a = failure(s);
    if s.is_page() {
        return a;
    }
    match negotiate::plain(&r.headers) {
        Ok(accepted) if accepted.encoding != Encoding::Json => {
            if let Ok((kind, body)) = output::encoded(accepted.encoding, &s.to_value()) {
                *a.body_mut() = ResponseBody::full(body);
                a.headers_mut()
                    .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            }
        }
        Ok(_) => {}
        Err(_) => *a.body_mut() = ResponseBody::full(Bytes::from(pretty::indented(s.to_json().as_bytes()))),
    }
    a
}

pub(crate) fn failure(s: &Status) -> Answer {
    if s.is_page() {
        let text = Bytes::from(format!("{}\n", s.message));
        let mut a = with_type(s.code, "text/plain; charset=utf-8", text);
        headers::no_sniff(&mut a);
        return a;
    }
    let mut a = with_type(s.code, "application/json", Bytes::from(s.to_json()));
    // What the handlers around those of resources refuse (`responsewriters.Forbidden`).
    if s.is_unsniffed() {
        headers::no_sniff(&mut a);
    }
    a.extensions_mut().insert(Refused {
        reason: s.reason.to_string(),
        message: s.message.clone(),
    });
    if let Some(n) = s.details.as_ref().map(|d| d.retry_after_seconds).filter(|n| *n > 0) {
        a.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(n));
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_the_client_asked_is_a_header() {
        for (uri, said, host) in [
            ("https://front:6443/x", None, Some("front:6443")),
            ("https://front:6443/x", Some("other"), Some("other")),
            ("/x", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(said.map(|h| (header::HOST, HeaderValue::from_static(h))));
            keep_host(&uri.parse().unwrap(), &mut headers);
            assert_eq!(headers.get(header::HOST).map(|h| h.to_str().unwrap()), host, "{uri}");
        }
    }
}
