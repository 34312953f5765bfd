//! The `proxy` subresource: requests that the API server hands on to a pod, or to a pod behind a service
//! (`apimachinery/pkg/util/proxy`, `pkg/registry/core/{pod,service}` in Kubernetes).

mod html;
mod location;
pub(super) mod upgrade;
mod url;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cfn_net::{Stream, Transport};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

use self::location::Location;
use self::url::Url;
use super::info::RequestInfo;
use super::{Answer, Incoming, ResponseBody, with_type};
use crate::anyone;
use crate::registry::{Resource, Server};
use crate::status::Status;
use crate::webhook::in_words;

/// How long connecting may take, and then the handshake of TLS (`DialContext` and `TLSHandshakeTimeout` of Go's
/// `DefaultTransport`, which `SetOldTransportDefaults` takes over). What the server behind does with a request takes as long
/// as it likes: that transport has no `ResponseHeaderTimeout`, and the subresource is one of those that run long. Nor has
/// the handshake before a connection becomes something else an end (`proxy.dialURL`).
const DIAL: Duration = Duration::from_secs(30);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The largest page that is rewritten, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;
/// What is said between two neighbours only (RFC 9110, 7.6.1), besides what `Connection` names.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// What a server behind this one has no say in (`corsRemovingTransport`).
const OF_ORIGINS: [HeaderName; 4] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// Takes out what is not handed on.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Hands a request on, and its answer back; under another path where `other` is one (which is not escaped).
pub(super) async fn serve(
    server: &Arc<Server>,
    r: &Incoming,
    info: &RequestInfo,
    resource: &Resource,
    other: Option<&str>,
) -> Result<Answer, Status> {
    let at = match &*resource.plural {
        "pods" => location::of_pod(server, &info.namespace, &info.name)?,
        _ => location::of_service(server, &info.namespace, &info.name)?,
    };
    // What is handed on is as it was sent, escapes and all.
    let (sent, query) = r.uri.split_once('?').unwrap_or((&r.uri, ""));
    let (before, path) = split(sent, true);
    if path.is_empty() && matches!(r.method, Method::GET | Method::HEAD) {
        return Ok(redirect(sent, query));
    }
    let other = other.map(url::rooted);
    let path = match &other {
        Some(other) => other,
        None if path.is_empty() => "/",
        None => path,
    };
    let unreachable = |why: String| {
        let why = format!("error trying to reach service: {why}");
        Status::new(503, "ServiceUnavailable", why)
    };
    if upgrade::is_asked(&r.headers) {
        let stream = connect(server, &at, None).await.map_err(upgrade::failed)?;
        // Upstream hands the path on, and not the query.
        let mut request = Request::builder()
            .method(r.method.clone())
            .uri(path)
            .body(Full::new(r.body.clone()))
            .map_err(upgrade::failed)?;
        *request.headers_mut() = forwarded(&r.headers);
        add_forwarded_for(r, request.headers_mut());
        return upgrade::hand_on(r, request, stream).await;
    }
    let request = request(r, sent, (path, query), &at).map_err(|e| unreachable(e.to_string()))?;
    let answer = exchange(server, &at, request).await.map_err(unreachable)?;
    let host = r.headers.get(header::HOST).and_then(|h| h.to_str().ok());
    handed_back(answer, before, &[&at.authority(), host.unwrap_or_default()])
        .await
        .map_err(|e| unreachable(e.to_string()))
}

/// A path up to the word `proxy` that is the subresource, and from there on.
pub(super) fn split(path: &str, namespaced: bool) -> (&str, &str) {
    // /api/v1/namespaces/NAMESPACE/pods/NAME/proxy, /api/v1/nodes/NAME/proxy
    let parts = if namespaced { 7 } else { 5 };
    let mut slashes = path.match_indices('/').map(|(i, _)| i).skip(parts);
    path.split_at(slashes.next().unwrap_or(path.len()))
}

/// To the root of what is proxied: relative links of a page would be wrong without the slash.
fn redirect(path: &str, query: &str) -> Answer {
    let mark = if query.is_empty() { "" } else { "?" };
    let mut answer = with_type(301, "text/plain; charset=utf-8", Bytes::new());
    if let Ok(to) = HeaderValue::from_str(&format!("{path}/{mark}{query}")) {
        answer.headers_mut().insert(header::LOCATION, to);
    }
    answer.headers_mut().remove(header::CONTENT_TYPE);
    answer
}

fn request(
    r: &Incoming,
    sent: &str,
    (path, query): (&str, &str),
    at: &Location,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mark = if query.is_empty() { "" } else { "?" };
    let uri = PathAndQuery::try_from(format!("{path}{mark}{query}"))?;
    let mut request = Request::builder()
        .method(r.method.clone())
        .uri(http::Uri::from(uri))
        .body(Full::new(r.body.clone()))?;
    let mut headers = forwarded(&r.headers);
    strip(&mut headers);
    if let Ok(v) = HeaderValue::from_str(sent) {
        headers.insert(HeaderName::from_static("x-forwarded-uri"), v);
    }
    add_forwarded_for(r, &mut headers);
    // Whom the client asked is handed on.
    if !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, HeaderValue::try_from(at.authority())?);
    }
    *request.headers_mut() = headers;
    Ok(request)
}

/// Tells where a request comes from, behind those who told it before (`httputil.ReverseProxy`,
/// `utilnet.AppendForwardedForHeader`).
pub(super) fn add_forwarded_for(r: &Incoming, headers: &mut HeaderMap) {
    const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let Some(from) = &r.from else { return };
    let before: Vec<&str> = headers.get_all(&FOR).iter().filter_map(|v| v.to_str().ok()).collect();
    let all = [&before[..], &[from.as_str()]].concat().join(", ");
    if let Ok(v) = HeaderValue::from_str(&all) {
        headers.insert(FOR, v);
    }
}

/// What of a request's headers is not for this server alone (authentication and impersonation take theirs away).
pub(super) fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let ours = |k: &HeaderName| *k == header::AUTHORIZATION || k.as_str().starts_with("impersonate-");
    let kept = headers.iter().filter(|(k, _)| !ours(k));
    let mut out = HeaderMap::new();
    for (k, v) in kept {
        out.append(k.clone(), v.clone());
    }
    out
}

/// An answer, and the connection that it comes through as long as it does.
pub(crate) type Answered = (Response<hyper::body::Incoming>, AbortOnDropHandle<()>);

/// A connection, with TLS where there is any.
pub(crate) enum Connected {
    Plain(Stream),
    Tls(Box<tokio_rustls::client::TlsStream<Stream>>),
}

impl Connected {
    /// Sends a request.
    pub(crate) async fn ask(self, request: Request<Full<Bytes>>) -> io::Result<Answered> {
        match self {
            Self::Plain(s) => ask(s, request).await,
            Self::Tls(s) => ask(*s, request).await,
        }
    }
}

/// A host and port as URLs have them.
pub(crate) fn host_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Connects; with TLS, its handshake may take so long (there is no end of it where nothing is said). An error is in Go's
/// words.
async fn connect(server: &Server, at: &Location, handshake: Option<Duration>) -> Result<Connected, String> {
    let connecting = async {
        let dialled = tokio::time::timeout(DIAL, server.connect_to(&at.host, at.port));
        dialled.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    };
    let undialled = |e: io::Error| in_words(&e, &at.host, at.port, &at.host);
    let (stream, transport) = connecting.await.map_err(undialled)?;
    // There is no TLS in memory.
    if !at.tls || transport == Transport::Memory {
        return Ok(Connected::Plain(stream));
    }
    let shaking = anyone::connect(stream, &at.host);
    let shaken = match handshake {
        Some(longest) => tokio::time::timeout(longest, shaking)
            .await
            .map_err(|_| "net/http: TLS handshake timeout")?,
        None => shaking.await,
    };
    Ok(Connected::Tls(Box::new(shaken.map_err(|e| e.to_string())?)))
}

async fn exchange(server: &Server, at: &Location, request: Request<Full<Bytes>>) -> Result<Answered, String> {
    let connected = connect(server, at, Some(HANDSHAKE)).await?;
    connected.ask(request).await.map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        _ => e.to_string(),
    })
}

/// A connection that ends before an answer came is told as its end.
fn in_io(e: hyper::Error) -> io::Error {
    match e.is_incomplete_message() {
        true => io::ErrorKind::UnexpectedEof.into(),
        false => io::Error::other(e),
    }
}

async fn ask<S>(stream: S, request: Request<Full<Bytes>>) -> io::Result<Answered>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(in_io)?;
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!(error = %e, "proxied connection");
        }
    }));
    let answer = sender.send_request(request).await.map_err(in_io)?;
    Ok((answer, connection))
}

/// What the client gets: links of pages, and where it is sent, lead through the proxy.
pub(super) async fn handed_back((answer, connection): Answered, before: &str, this: &[&str]) -> io::Result<Answer> {
    let (mut parts, body) = answer.into_parts();
    strip(&mut parts.headers);
    for name in &OF_ORIGINS {
        parts.headers.remove(name);
    }
    let text = |k: HeaderName, all: &HeaderMap| all.get(k).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let to = text(header::LOCATION, &parts.headers);
    let moved = !to.is_empty();
    if let Some(url) = Url::parse(&to).filter(|_| moved)
        && let Ok(to) = HeaderValue::from_str(&url.through(before, this))
    {
        parts.headers.insert(header::LOCATION, to);
    }
    let kind = text(header::CONTENT_TYPE, &parts.headers);
    let page = !moved && kind.split(';').next().is_some_and(|k| k.trim() == "text/html");
    let plain = text(header::CONTENT_ENCODING, &parts.headers).is_empty();
    if !(page && plain) || parts.status == StatusCode::NO_CONTENT {
        let body = ResponseBody::proxied(body, connection);
        return Ok(Response::from_parts(parts, body));
    }
    let all = Limited::new(body, LARGEST)
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    let page = html::page(&String::from_utf8_lossy(&all), &|url| url.through(before, this));
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, ResponseBody::full(Bytes::from(page))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_where_the_subresource_ends() {
        let to = "/api/v1/namespaces/ns/pods/http:a:80/proxy";
        for (path, rest) in [("", ""), ("/", "/"), ("/a/b/", "/a/b/"), ("/proxy/x", "/proxy/x")] {
            assert_eq!(split(&format!("{to}{path}"), true), (to, rest));
        }
    }

    #[test]
    fn the_root_is_redirected_to_with_a_slash() {
        let a = redirect("/x/proxy", "a=b");
        assert_eq!(a.status(), 301);
        assert_eq!(a.headers()[header::LOCATION], "/x/proxy/?a=b");
    }

    #[test]
    fn what_is_for_this_server_alone_is_not_handed_on() {
        let mut headers = HeaderMap::new();
        for k in [
            "authorization",
            "impersonate-user",
            "impersonate-extra-a",
            "accept",
            "cookie",
        ] {
            headers.append(HeaderName::from_static(k), HeaderValue::from_static("x"));
        }
        headers.append(header::COOKIE, HeaderValue::from_static("y"));
        let kept = forwarded(&headers);
        let mut names: Vec<&str> = kept.iter().map(|(k, _)| k.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "cookie", "cookie"]);
    }

    #[test]
    fn where_a_request_comes_from_is_told_behind_those_before() {
        let mut r = Incoming::get("/");
        let told = |r: &Incoming, before: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for b in before {
                headers.append("x-forwarded-for", HeaderValue::from_static(b));
            }
            add_forwarded_for(r, &mut headers);
            let all = headers.get_all("x-forwarded-for").iter();
            all.map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(told(&r, &["192.0.2.1"]), ["192.0.2.1"]);
        r.from = Some("198.51.100.7".to_owned());
        assert_eq!(told(&r, &[]), ["198.51.100.7"]);
        assert_eq!(
            told(&r, &["192.0.2.1", "192.0.2.2"]),
            ["192.0.2.1, 192.0.2.2, 198.51.100.7"]
        );
    }
}
