//! Asking a webhook over HTTPS, and Go's words for what goes wrong.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cfn_net::client::HttpClient;
use cfn_net::{ClientConfig, Identity, Net, Stream, Transport};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use tower::ServiceExt;

use super::Ask;
use super::target::Target;
use crate::endpoints;
use crate::http::host_port;
use crate::local::Gvr;
use crate::registry::{Server, text};
use crate::schema::quote;

const NODES: Gvr = Gvr::new("", "v1", "nodes");

/// Largest answer (`MaxRequestBodyBytes` of kube-apiserver).
const MAX_ANSWER: usize = 3 * 1024 * 1024;
/// Clients kept for the next question.
const KEPT: usize = 64;

/// What webhooks are asked through.
pub struct Caller {
    /// The network of the testbed.
    net: Net,
    /// The network that this machine is in, for names that the testbed does not have; none of a simulated run.
    outside: Option<Net>,
    /// The API server's host.
    host: String,
    turn: AtomicUsize,
    clients: Mutex<BTreeMap<String, HttpClient>>,
}

impl Caller {
    /// Connections are made from `host` of `net`, and to what is not in it from this machine, where `net` is real.
    #[must_use]
    pub fn new(net: Net, host: &str) -> Self {
        let outside = match net.transport() {
            Transport::Tcp => Some(Net::new(Transport::Host, cfn_net::Seed(0))),
            Transport::Host | Transport::Memory => None,
        };
        Self {
            net,
            outside,
            host: host.to_owned(),
            turn: AtomicUsize::new(0),
            clients: Mutex::default(),
        }
    }

    /// The network that leads to a host, and who is there.
    fn way_to(&self, host: &str) -> (&Net, &str) {
        let net = match &self.outside {
            Some(o) if self.net.site_of(host).is_none() => o,
            _ => &self.net,
        };
        (net, &self.host)
    }

    /// Whether there is no TLS on the way.
    pub(crate) fn is_memory(&self) -> bool {
        self.net.transport() == Transport::Memory
    }

    /// Another number each time: whose turn it is among several.
    pub(crate) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn client(&self, server: &Server, t: &Target) -> Result<HttpClient, String> {
        let (host, port) = (server.host_at(&t.connect.0), t.connect.1);
        let key = format!("{} {host}:{port} {}", t.server, t.ca_pem);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(c) = clients.get(&key) {
            return Ok(c.clone());
        }
        let (net, from) = self.way_to(&host);
        let config = ClientConfig {
            server: t.server.clone(),
            ca_pem: t.ca_pem.clone(),
            identity: Identity::Anonymous,
            // Each question has its own, which is shorter.
            timeout: Duration::from_secs(60),
        };
        let client = config.http_at(net, from, &host, port).map_err(|e| e.to_string())?;
        if clients.len() >= KEPT {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

impl Server {
    /// The host of the network that an address is: pods on the network of their node have its address, and listen at it.
    fn host_at<'a>(&self, address: &'a str) -> Cow<'a, str> {
        let is_here = |host: &str| self.caller().is_some_and(|c| c.net.site_of(host).is_some());
        // A name is nobody's address.
        if is_here(address) || address.parse::<std::net::IpAddr>().is_err() {
            return address.into();
        }
        let nodes = self.store.list(&NODES, None, None).objects;
        let mut nodes = nodes.iter().map(|n| n.peek());
        match nodes.find(|n| endpoints::is_node(n, address) && is_here(text(n, "/metadata/name"))) {
            Some(node) => text(&node, "/metadata/name").to_owned().into(),
            None => address.into(),
        }
    }

    /// A connection to a port of whoever has an address; with what network it was made. It waits as [`Net::connect`] does.
    pub(crate) async fn connect_to(&self, address: &str, port: u16) -> io::Result<(Stream, Transport)> {
        let no_network = || io::Error::other("this server has no network");
        let host = self.host_at(address);
        let (net, from) = self.caller().ok_or_else(no_network)?.way_to(&host);
        Ok((net.connect(from, &host, port).await?, net.transport()))
    }

    /// Asks; the answer's JSON, or why there is none.
    pub(super) async fn call_webhook(&self, a: &Ask) -> Result<Value, String> {
        let with_url = |url: &str, why: &str| format!("Post {}: {why}", quote(url));
        let target = self
            .webhook_target(&a.config, a.timeout)
            .map_err(|(url, why)| url.map_or(why.clone(), |u| with_url(&u, &why)))?;
        let url = target.url();
        let Some(caller) = self.caller() else {
            return Err(with_url(&url, "this server has no network"));
        };
        let client = caller.client(self, &target).map_err(|e| with_url(&url, &e))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(target.path.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Body::from(a.body.to_string().into_bytes()))
            .map_err(|e| with_url(&url, &e.to_string()))?;
        let words = |e: &(dyn Error + 'static)| {
            let (host, port) = &target.connect;
            let name = target.server.trim_start_matches("https://");
            in_words(e, host, *port, name.rsplit_once(':').map_or(name, |(n, _)| n))
        };
        let exchange = async {
            let answer = client.oneshot(request).await.map_err(|e| words(&*e))?;
            let code = answer.status().as_u16();
            let body = http_body_util::Limited::new(answer.into_body(), MAX_ANSWER);
            let body = body.collect().await.map_err(|e| words(&*e))?;
            Ok::<_, String>((code, body.to_bytes()))
        };
        let (code, body) = match tokio::time::timeout(a.timeout, exchange).await {
            Err(_) => return Err(with_url(&url, "context deadline exceeded")),
            Ok(Err(why)) => return Err(with_url(&url, &why)),
            Ok(Ok(a)) => a,
        };
        if !(200..300).contains(&code) {
            return Err(of_status(code, &body));
        }
        serde_json::from_slice(&body).map_err(|e| format!("couldn't get version/kind; json parse error: {e}"))
    }
}

/// An answer that is no success, as client-go tells it (`errors.NewGenericServerResponse`).
fn of_status(code: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match code {
        401 => "the server has asked for the client to provide credentials".into(),
        403 => "forbidden".into(),
        404 => "the server could not find the requested resource".into(),
        405 => "the server does not allow this method on the requested resource".into(),
        503 => "the server is currently unable to handle the request".into(),
        500.. => format!(
            "an error on the server ({}) has prevented the request from succeeding",
            quote(text.trim())
        ),
        400 => "the server rejected our request for an unknown reason".into(),
        c => format!("the server responded with the status code {c} but did not return more details"),
    }
}

/// A transport's error in the words of Go's net and crypto/tls.
pub(crate) fn in_words(e: &(dyn Error + 'static), host: &str, port: u16, server_name: &str) -> String {
    let mut at = Some(e);
    let mut last = e.to_string();
    while let Some(e) = at {
        last = e.to_string();
        if let Some(io) = e.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused => {
                    return format!("dial tcp {}: connect: connection refused", host_port(host, port));
                }
                io::ErrorKind::TimedOut => return format!("dial tcp {}: i/o timeout", host_port(host, port)),
                // Nobody listens at its own address, and nobody has another one.
                io::ErrorKind::NotFound if host.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback()) => {
                    return format!("dial tcp {}: connect: connection refused", host_port(host, port));
                }
                io::ErrorKind::NotFound if host.parse::<std::net::IpAddr>().is_ok() => {
                    return format!("dial tcp {}: connect: no route to host", host_port(host, port));
                }
                io::ErrorKind::NotFound => return format!("dial tcp: lookup {host}: no such host"),
                io::ErrorKind::UnexpectedEof => return "EOF".into(),
                _ => {}
            }
        }
        at = e.source();
    }
    if last.contains("UnknownIssuer") || last.contains("BadSignature") {
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority".into();
    }
    if last.contains("not valid for name") || last.contains("NotValidForName") {
        return format!("tls: failed to verify certificate: x509: certificate is not valid for {server_name}");
    }
    if last.contains("expired") || last.contains("Expired") {
        return "tls: failed to verify certificate: x509: certificate has expired or is not yet valid".into();
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error as IoError, ErrorKind};

    #[test]
    fn errors_in_the_words_of_go() {
        for (host, kind, words) in [
            (
                "10.0.0.1",
                ErrorKind::ConnectionRefused,
                "dial tcp 10.0.0.1:443: connect: connection refused",
            ),
            (
                "fd00::1",
                ErrorKind::ConnectionRefused,
                "dial tcp [fd00::1]:443: connect: connection refused",
            ),
            (
                "10.0.0.1",
                ErrorKind::NotFound,
                "dial tcp 10.0.0.1:443: connect: no route to host",
            ),
            (
                "hook.example.com",
                ErrorKind::NotFound,
                "dial tcp: lookup hook.example.com: no such host",
            ),
            ("10.0.0.1", ErrorKind::TimedOut, "dial tcp 10.0.0.1:443: i/o timeout"),
            ("10.0.0.1", ErrorKind::UnexpectedEof, "EOF"),
        ] {
            let e = IoError::from(kind);
            assert_eq!(in_words(&e, host, 443, "h.ns.svc"), words, "{host} {kind}");
        }
        let e = IoError::other("invalid peer certificate: certificate not valid for name \"x\"");
        assert_eq!(
            in_words(&e, "10.0.0.1", 443, "h.ns.svc"),
            "tls: failed to verify certificate: x509: certificate is not valid for h.ns.svc"
        );
    }
}
