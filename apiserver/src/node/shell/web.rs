//! HTTP as probes, hooks, `curl` and `wget` speak it: one question, one answer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cfn_net::client::tls_client_config;
use cfn_net::{Identity, Net, Transport};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::anyone;
use crate::node::network::Network;

/// Largest answer read.
const LARGEST: usize = 1024 * 1024;

/// A question.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Beside `Host`; who asks and what it takes may be said otherwise.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            method: Method::GET,
            headers: Vec::new(),
            body: Bytes::new(),
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

/// `GET`s a path from a server of the network.
pub(crate) async fn get(net: &Net, from: &str, (host, port): (&str, u16), path: &str) -> io::Result<Answer> {
    let stream = net.connect(from, host, port).await?;
    exchange(stream, (host, port), path, &Ask::default()).await
}

/// As [`get`], of whoever has a name.
pub(super) async fn get_named(net: &Network, at: (&str, u16), path: &str) -> io::Result<Answer> {
    exchange(net.connect(at.0, at.1).await?, at, path, &Ask::default()).await
}

/// Asks whoever an URL is about. Over TLS nobody's certificate is looked at.
pub(super) async fn ask(net: &Network, url: &Url, ask: &Ask) -> io::Result<Answer> {
    let at = (url.host.as_str(), url.port);
    let stream = net.connect(at.0, at.1).await?;
    // There is no TLS in memory.
    if url.tls && net.net.transport() != Transport::Memory {
        return exchange(anyone::connect(stream, at.0).await?, at, &url.path, ask).await;
    }
    exchange(stream, at, &url.path, ask).await
}

/// As [`ask`], of a server whose certificate is signed by one of these (PEM).
pub(super) async fn ask_trusting(net: &Network, url: &Url, ask: &Ask, ca_pem: &str) -> io::Result<Answer> {
    let at = (url.host.as_str(), url.port);
    let stream = net.connect(at.0, at.1).await?;
    if !url.tls || net.net.transport() == Transport::Memory {
        return exchange(stream, at, &url.path, ask).await;
    }
    let config = tls_client_config(ca_pem, &Identity::Anonymous).map_err(io::Error::other)?;
    let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    exchange(stream, at, &url.path, ask).await
}

/// As [`get`] over TLS, whoever the server is: the kubelet does not look at certificates (`InsecureSkipVerify`).
pub(crate) async fn get_tls(net: &Net, from: &str, at: (&str, u16), path: &str) -> io::Result<Answer> {
    // There is no TLS in memory.
    if net.transport() == Transport::Memory {
        return get(net, from, at, path).await;
    }
    let stream = net.connect(from, at.0, at.1).await?;
    exchange(anyone::connect(stream, at.0).await?, at, path, &Ask::default()).await
}

async fn exchange<S>(stream: S, (host, port): (&str, u16), path: &str, ask: &Ask) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut request = Request::builder()
        .method(ask.method.clone())
        .uri(format!("{slash}{path}"))
        .body(Full::new(ask.body.clone()))
        .map_err(io::Error::other)?;
    let headers = request.headers_mut();
    let host = HeaderValue::try_from(format!("{host}:{port}")).map_err(io::Error::other)?;
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static("cfn"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    for (name, value) in &ask.headers {
        headers.insert(name.clone(), value.clone());
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let asked = async move {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST).collect().await;
        let body = body.map_err(io::Error::other)?.to_bytes().to_vec();
        Ok(Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    };
    // The connection ends with the answer: whoever was asked is let go.
    tokio::pin!(connection, asked);
    tokio::select! {
        answer = &mut asked => answer,
        _ = &mut connection => asked.await,
    }
}

/// An URL of HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// With the query.
    pub(super) path: String,
}

impl Url {
    /// Of a text that may leave the scheme away; `None` where it has another one.
    pub(super) fn of(text: &str) -> Option<Self> {
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return None,
            None => (false, text),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let bracketed = authority.strip_prefix('[').and_then(|a| a.split_once(']'));
        let (host, port) = match bracketed {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let default = if tls { 443 } else { 80 };
        Some(Self {
            tls,
            host: Some(host).filter(|h| !h.is_empty())?.to_owned(),
            port: port.map_or(Ok(default), str::parse).ok()?,
            path: path.to_owned(),
        })
    }

    /// Where a `Location` of its answer leads.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        if location.contains("://") {
            return Self::of(location);
        }
        let path = match location.starts_with('/') {
            true => location.to_owned(),
            false => {
                let here = self.path.split('?').next().unwrap_or_default();
                let dir = here.rsplit_once('/').map_or("", |(dir, _)| dir);
                format!("{dir}/{location}")
            }
        };
        Some(Self { path, ..self.clone() })
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
            ("10.0.0.1", Some("false 10.0.0.1 80 ")),
            ("https://x", Some("true x 443 ")),
            ("http://[fd00::1]:81/x#y", Some("false fd00::1 81 /x")),
            ("http://[fd00::1]/", Some("false fd00::1 80 /")),
            ("x:y/z", None),
            ("ftp://x", None),
            ("http://", None),
        ] {
            assert_eq!(of(text).as_deref(), expected, "{text}");
        }
        let here = Url::of("http://a/b/c?d").unwrap();
        for (location, path) in [("/x", "/x"), ("x", "/b/x"), ("http://b/y", "/y")] {
            assert_eq!(here.join(location).unwrap().path, path, "{location}");
        }
    }
}
