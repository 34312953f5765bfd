//! HTTP as probes, hooks, `curl` and `wget` speak it: one question, one answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cfn_net::client::tls_client_config;
use cfn_net::{Identity, Net, Stream, Transport};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::anyone;
use crate::controllers::object::Object;
use crate::node::network::Network;

/// Questions that one of the kubelet may become (`stopped after 10 redirects`).
const LOOKS: usize = 10;
/// Largest answer read.
const LARGEST: usize = 1024 * 1024;

/// A question.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Beside `Host`; who asks and what it takes may be said otherwise.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    /// How long connecting may take, TLS included; for ever where nothing is said.
    pub(crate) connect: Option<Duration>,
    /// How long the server may say nothing while an answer is waited for.
    pub(crate) silence: Option<Duration>,
    /// Bytes of the answer's body that have come.
    pub(crate) received: Arc<AtomicUsize>,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            method: Method::GET,
            headers: Vec::new(),
            body: Bytes::new(),
            connect: None,
            silence: None,
            received: Arc::default(),
        }
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// `HTTP/1.1 200 OK`.
    pub(super) fn status_line(&self) -> String {
        let status = StatusCode::from_u16(self.code).ok();
        let reason = status.and_then(|s| s.canonical_reason()).unwrap_or_default();
        format!("HTTP/1.1 {} {reason}", self.code).trim_end().to_owned()
    }

    /// Where it leads elsewhere.
    pub(super) fn location(&self) -> Option<&str> {
        self.headers.get(header::LOCATION)?.to_str().ok()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// A name that has no address.
    #[error("no such host")]
    Unknown,
    /// Nobody at the address takes the connection.
    #[error("{0}")]
    Connect(io::Error),
    /// Connecting took longer than [`Ask::connect`].
    #[error("connection timed out")]
    ConnectTimeout,
    /// Whoever is there does not speak TLS.
    #[error("{0}")]
    Tls(io::Error),
    /// The connection ended before an answer.
    #[error("EOF")]
    Empty,
    /// Nothing came for longer than [`Ask::silence`].
    #[error("timed out")]
    Silent,
    /// The connection broke, or what came is no HTTP, or too much.
    #[error("{0}")]
    Broken(io::Error),
}

impl From<AskError> for io::Error {
    fn from(e: AskError) -> Self {
        match e {
            AskError::Unknown => io::ErrorKind::NotFound.into(),
            AskError::Connect(e) | AskError::Tls(e) | AskError::Broken(e) => e,
            AskError::ConnectTimeout | AskError::Silent => io::Error::new(io::ErrorKind::TimedOut, e),
            AskError::Empty => io::Error::new(io::ErrorKind::UnexpectedEof, e),
        }
    }
}

/// As the kubelet of a host asks a server, by the scheme and path of an `httpGet`: whoever the server is (it does not look at
/// certificates), and on where it leads as long as that is the same host (`RedirectChecker`).
pub(crate) async fn look(net: &Net, from: &str, at: (&str, u16), get: &Value, ask: &Ask) -> Result<Answer, AskError> {
    let path = get.text("/path");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut url = Url {
        tls: get.text("/scheme") == "HTTPS",
        host: at.0.to_owned(),
        port: at.1,
        path: format!("{slash}{path}"),
    };
    for _ in 0..LOOKS {
        // Go leaves the port there, also the one that goes without saying.
        let whom = authority(&url.host, url.port);
        let stream = net
            .connect(from, &url.host, url.port)
            .await
            .map_err(AskError::Connect)?;
        // There is no TLS in memory.
        let answer = match url.tls && net.transport() != Transport::Memory {
            true => {
                let stream = anyone::connect(stream, &url.host).await.map_err(AskError::Tls)?;
                exchange(stream, &whom, &url.path, ask).await?
            }
            false => exchange(stream, &whom, &url.path, ask).await?,
        };
        let next = answer
            .location()
            .filter(|_| matches!(answer.code, 301..=303 | 307 | 308));
        match next.and_then(|to| url.join(to)).filter(|next| next.host == url.host) {
            Some(next) => url = next,
            None => return Ok(answer),
        }
    }
    Err(AskError::Broken(io::Error::other("stopped after 10 redirects")))
}

/// `GET`s a path from whoever has a name.
pub(super) async fn get_named(net: &Network, at: (&str, u16), path: &str) -> io::Result<Answer> {
    let stream = net.connect(at.0, at.1).await?;
    Ok(exchange(stream, &authority(at.0, at.1), path, &Ask::default()).await?)
}

/// As [`ask`], of a server whose certificate is signed by one of these (PEM).
pub(super) async fn ask_trusting(net: &Network, url: &Url, ask: &Ask, ca_pem: &str) -> io::Result<Answer> {
    let stream = net.connect(&url.host, url.port).await?;
    let whom = url.authority();
    if !url.tls || net.net.transport() == Transport::Memory {
        return Ok(exchange(stream, &whom, &url.path, ask).await?);
    }
    let config = tls_client_config(ca_pem, &Identity::Anonymous).map_err(io::Error::other)?;
    let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(exchange(stream, &whom, &url.path, ask).await?)
}

/// Asks whoever an URL is about: the first of its addresses that takes the connection. Over TLS nobody's certificate is
/// looked at.
pub(super) async fn ask(net: &Network, url: &Url, ask: &Ask) -> Result<Answer, AskError> {
    let connecting = async {
        let found = net.resolve(&url.host).await.map_err(|_| AskError::Unknown)?;
        let mut why = AskError::Unknown;
        for address in found {
            match net.connect(&address, url.port).await {
                Ok(stream) => return Ok(stream),
                Err(e) => why = AskError::Connect(e),
            }
        }
        Err(why)
    };
    ask_over(connecting, net, url, ask).await
}

/// As [`ask`], of one address.
pub(super) async fn ask_at(net: &Network, address: &str, url: &Url, ask: &Ask) -> Result<Answer, AskError> {
    let connecting = async { net.connect(address, url.port).await.map_err(AskError::Connect) };
    ask_over(connecting, net, url, ask).await
}

async fn ask_over(
    connecting: impl Future<Output = Result<Stream, AskError>>,
    net: &Network,
    url: &Url,
    ask: &Ask,
) -> Result<Answer, AskError> {
    // There is no TLS in memory.
    let tls = url.tls && net.net.transport() != Transport::Memory;
    let connecting = async {
        let stream = connecting.await?;
        Ok(match tls {
            true => Err(anyone::connect(stream, &url.host).await.map_err(AskError::Tls)?),
            false => Ok(stream),
        })
    };
    match within(ask.connect, connecting, AskError::ConnectTimeout).await? {
        Ok(plain) => exchange(plain, &url.authority(), &url.path, ask).await,
        Err(tls) => exchange(tls, &url.authority(), &url.path, ask).await,
    }
}

/// What comes in time, where there is a limit.
async fn within<T>(
    limit: Option<Duration>,
    what: impl Future<Output = Result<T, AskError>>,
    late: AskError,
) -> Result<T, AskError> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, what).await.unwrap_or(Err(late)),
        None => what.await,
    }
}

fn broken(e: hyper::Error) -> AskError {
    match e.is_incomplete_message() {
        true => AskError::Empty,
        false => AskError::Broken(io::Error::other(e)),
    }
}

async fn exchange<S>(stream: S, authority: &str, path: &str, ask: &Ask) -> Result<Answer, AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let wrong = |e: http::Error| AskError::Broken(io::Error::other(e));
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut request = Request::builder()
        .method(ask.method.clone())
        .uri(format!("{slash}{path}"))
        .header(header::HOST, authority)
        .header(header::USER_AGENT, "cfn")
        .header(header::ACCEPT, "*/*")
        .body(Full::new(ask.body.clone()))
        .map_err(wrong)?;
    let headers = request.headers_mut();
    for (name, _) in &ask.headers {
        headers.remove(name);
    }
    for (name, value) in &ask.headers {
        headers.append(name.clone(), value.clone());
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let asked = async move {
        let answer = async { sender.send_request(request).await.map_err(broken) };
        let (parts, mut body) = within(ask.silence, answer, AskError::Silent).await?.into_parts();
        let mut all = Vec::new();
        loop {
            let frame = async { body.frame().await.transpose().map_err(broken) };
            let Some(frame) = within(ask.silence, frame, AskError::Silent).await? else {
                break;
            };
            all.extend(frame.into_data().unwrap_or_default());
            ask.received.store(all.len(), Ordering::Relaxed);
            if all.len() > LARGEST {
                return Err(AskError::Broken(io::ErrorKind::FileTooLarge.into()));
            }
        }
        Ok(Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body: all,
        })
    };
    // The connection ends with the answer: whoever was asked is let go.
    tokio::pin!(connection, asked);
    tokio::select! {
        answer = &mut asked => answer,
        _ = &mut connection => asked.await,
    }
}

/// A host and port as an URL has them.
fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// An URL of HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) struct Url {
    pub(super) tls: bool,
    pub(in crate::node) host: String,
    pub(in crate::node) port: u16,
    /// With the query.
    pub(super) path: String,
}

impl Url {
    /// Of a text that may leave the scheme away; `None` where it has another one.
    pub(in crate::node) fn of(text: &str) -> Option<Self> {
        let scheme = if text.contains("://") { "" } else { "http://" };
        // What is behind a number sign is not sent.
        let uri: Uri = format!("{scheme}{}", text.split('#').next()?).parse().ok()?;
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = uri.host()?.trim_matches(['[', ']']);
        let (port, authority) = (uri.port_u16(), uri.authority()?.as_str());
        // A port that is none.
        if port.is_none() && !authority.ends_with(uri.host()?) || host.is_empty() {
            return None;
        }
        Some(Self {
            tls,
            host: host.to_owned(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |p| p.as_str()).to_owned(),
        })
    }

    /// Whom it is about, as `Host` says it: without the port that is the scheme's own.
    pub(super) fn authority(&self) -> String {
        let whole = authority(&self.host, self.port);
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => whole[..whole.rfind(':').unwrap_or(whole.len())].to_owned(),
            _ => whole,
        }
    }

    /// Whether both are of one server: what was meant for one may be told the other.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }

    /// Where a `Location` of its answer leads (RFC 3986, 5.2).
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        let scheme = if self.tls { "https" } else { "http" };
        if location.contains("://") {
            return Self::of(location);
        }
        if location.starts_with("//") {
            return Self::of(&format!("{scheme}:{location}"));
        }
        let here = self.path.split('?').next().unwrap_or_default();
        let dir = here.rsplit_once('/').map_or("", |(dir, _)| dir);
        let whole = match location.chars().next() {
            Some('/') => location.to_owned(),
            Some('?') => format!("{here}{location}"),
            _ => format!("{dir}/{location}"),
        };
        let (path, query) = whole.split_at(whole.find('?').unwrap_or(whole.len()));
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/').skip(1) {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                p => parts.push(p),
            }
        }
        if path.ends_with("/.") || path.ends_with("/..") {
            parts.push("");
        }
        Self::of(&format!("{scheme}://{}/{}{query}", self.authority(), parts.join("/")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let of = |text: &str| Url::of(text).map(|u| format!("{} {} {} {}", u.tls, u.host, u.port, u.path));
        for (text, expected) in [
            ("http://10.0.0.1:8080/a?b=c", Some("false 10.0.0.1 8080 /a?b=c")),
            ("10.0.0.1", Some("false 10.0.0.1 80 /")),
            ("https://x", Some("true x 443 /")),
            ("http://[fd00::1]:81/x#y", Some("false fd00::1 81 /x")),
            ("http://[fd00::1]/", Some("false fd00::1 80 /")),
            ("http://u:p@x:1/y", Some("false x 1 /y")),
            ("x:y/z", None),
            ("ftp://x", None),
            ("http://", None),
        ] {
            assert_eq!(of(text).as_deref(), expected, "{text}");
        }
        for (text, authority) in [
            ("http://a:80/", "a"),
            ("https://a:80/", "a:80"),
            ("http://[fd00::1]/", "[fd00::1]"),
            ("https://[fd00::1]:1/", "[fd00::1]:1"),
        ] {
            assert_eq!(Url::of(text).unwrap().authority(), authority);
        }
    }

    #[test]
    fn where_answers_lead() {
        let here = Url::of("http://a:8080/b/c?d").unwrap();
        for (location, expected) in [
            ("/x", "a:8080 /x"),
            ("x?y", "a:8080 /b/x?y"),
            ("?y", "a:8080 /b/c?y"),
            ("../x", "a:8080 /x"),
            ("./x/..", "a:8080 /b/"),
            ("http://b/y", "b /y"),
            ("//b:1/y", "b:1 /y"),
        ] {
            let there = here.join(location).unwrap();
            assert_eq!(format!("{} {}", there.authority(), there.path), expected, "{location}");
            assert_eq!(there.is_of(&here), expected.starts_with("a:8080 "), "{location}");
        }
    }
}
