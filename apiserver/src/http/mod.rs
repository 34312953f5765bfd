//! The HTTP face: one function from request to response, used over TLS, over memory and by the client in process.

mod body;
mod discovery;
mod in_process;
mod info;
mod negotiate;
mod openapi;
mod output;
mod protobuf;
mod query;
mod resource;
mod strict;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use cfn_net::server::PeerCert;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::auth::Attributes;
use crate::registry::{Server, User};
use crate::status::Status;

pub use body::ResponseBody;
pub use in_process::InProcess;

/// Largest request body (`MaxRequestBodyBytes` of kube-apiserver).
const MAX_BODY: usize = 3 * 1024 * 1024;

/// What is answered.
pub(crate) type Answer = Response<ResponseBody>;

/// What requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Answered {
    verb: &'static str,
    group: String,
    resource: String,
    subresource: String,
    code: u16,
}

/// A request with its body read.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: query::Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) user: User,
}

/// Answers a request of whoever its certificate ([`PeerCert`] in the extensions), token or a [`User`] in the extensions
/// (callers in process) says.
pub async fn handle<B>(server: Arc<Server>, request: Request<B>) -> Answer
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<tower::BoxError>,
{
    let (parts, body) = request.into_parts();
    let certificate = parts.extensions.get::<PeerCert>();
    let user = match parts.extensions.get::<User>() {
        Some(u) => Ok(u.clone()),
        None => server.authenticate(&parts.headers, certificate.map(|c| c.0.as_slice())),
    };
    let user = match user {
        Ok(u) => u,
        Err(s) => return failure(&s),
    };
    let body = match http_body_util::Limited::new(body, MAX_BODY).collect().await {
        Ok(b) => b.to_bytes(),
        Err(_) => {
            return failure(&Status::new(
                413,
                "RequestEntityTooLarge",
                "Request entity too large: limit is 3145728",
            ));
        }
    };
    let incoming = Incoming {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: query::Query::parse(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body,
        user,
    };
    let head = incoming.method == Method::HEAD;
    let mut answer = route(&server, incoming).unwrap_or_else(|s| failure(&s));
    if head {
        *answer.body_mut() = ResponseBody::full(Bytes::new());
    }
    answer
}

fn route(server: &Arc<Server>, r: Incoming) -> Result<Answer, Status> {
    if let Some(info) = info::RequestInfo::parse(&r) {
        let answer = resource::serve(server, r, &info);
        let code = answer.as_ref().map_or_else(|s| s.code, |a| a.status().as_u16());
        let what = Answered {
            verb: info.verb,
            group: info.group,
            resource: info.resource,
            subresource: info.subresource,
            code,
        };
        let mut answered = server
            .answered
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *answered.entry(what).or_default() += 1;
        return answer;
    }
    let path = if r.path.len() > 1 {
        r.path.trim_end_matches('/')
    } else {
        &r.path
    };
    let verb = r.method.as_str().to_ascii_lowercase();
    server.authorize(&r.user, &Attributes::path(&verb, path))?;
    if r.method != Method::GET && r.method != Method::HEAD {
        return Err(Status::method_not_allowed());
    }
    if let Some(rest) = path.strip_prefix("/openapi/") {
        return openapi::serve(server, &r, rest);
    }
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => Ok(plain("ok")),
        ["version"] => Ok(json(&version())),
        ["metrics"] => Ok(plain(&metrics(server))),
        [""] => Ok(json(
            &serde_json::json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics",
            "/openapi/v2", "/openapi/v3", "/readyz", "/version"]}),
        )),
        ["api" | "apis", ..] => discovery::serve(server, &r, &segments),
        _ => Err(Status::page_not_found()),
    }
}

/// What `/version` says: never that this is Kubernetes itself.
fn version() -> Value {
    serde_json::json!({"major": "1", "minor": "36", "gitVersion": crate::cluster::VERSION, "gitCommit": "", "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35"})
}

fn metrics(server: &Server) -> String {
    let mut s = String::from("# TYPE apiserver_request_total counter\n");
    let answered = server
        .answered
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for (a, n) in answered.iter() {
        s += &format!(
            "apiserver_request_total{{verb=\"{}\",group=\"{}\",resource=\"{}\",subresource=\"{}\",code=\"{}\"}} {n}\n",
            a.verb.to_ascii_uppercase(),
            a.group,
            a.resource,
            a.subresource,
            a.code
        );
    }
    drop(answered);
    s += "# TYPE apiserver_resource_objects gauge\n";
    for r in server.store.resources() {
        let n = server.store.list(&r, None, None).objects.len();
        s += &format!(
            "apiserver_resource_objects{{group=\"{}\",resource=\"{}\"}} {n}\n",
            r.group, r.resource
        );
    }
    s += &format!(
        "# TYPE etcd_revision gauge\netcd_revision {}\n",
        server.store.revision()
    );
    s
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

fn plain(text: &str) -> Answer {
    with_type(200, "text/plain; charset=utf-8", Bytes::from(text.to_owned()))
}

fn json(v: &Value) -> Answer {
    with_type(200, "application/json", Bytes::from(v.to_string()))
}

fn failure(s: &Status) -> Answer {
    if s.is_page() {
        return with_type(
            s.code,
            "text/plain; charset=utf-8",
            Bytes::from(format!("{}\n", s.message)),
        );
    }
    let mut a = with_type(s.code, "application/json", Bytes::from(s.to_value().to_string()));
    if let Some(n) = s.details.as_ref().map(|d| d.retry_after_seconds).filter(|n| *n > 0) {
        a.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(n));
    }
    a
}
