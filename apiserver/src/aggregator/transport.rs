//! The way to a server behind this one.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cfn_net::Transport;
use cfn_net::client::CLIENT_CERT_HEADER;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::TlsConnector;

use super::front_proxy::set_headers;
use super::remote::Remote;
use crate::http::{Connected, host_port};
use crate::registry::{Server, User};

/// How long an answer may take that this server reads itself (the discovery client's `Timeout`).
const ANSWER: Duration = Duration::from_secs(5);
/// How long connecting may take (`DialTimeout` of the proxy's transport).
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read for this server itself.
const LARGEST: usize = 16 * 1024 * 1024;

/// Where a server is: host and port.
pub(crate) type Place = (String, u16);

/// It did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")]
struct Late;

/// What it answered this server itself.
pub(super) struct Told {
    pub(super) code: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Server {
    /// One of the places of an APIService's service, in turn (`ServiceResolver.ResolveEndpoint`).
    pub(crate) fn place_of(&self, to: &Remote, turn: usize) -> Result<Place, String> {
        self.service_endpoint(&to.namespace, &to.service, to.port, turn)
    }

    /// Connects, as the front proxy where the network has TLS.
    pub(crate) async fn connect_remote(&self, to: &Remote, (host, port): &Place) -> io::Result<Connected> {
        let proxy = self
            .front_proxy()
            .ok_or_else(|| io::Error::other("this server is no front proxy"))?;
        let late = || io::Error::new(io::ErrorKind::TimedOut, "i/o timeout");
        let connected = async {
            let (stream, transport) = self.connect_to(host, *port).await?;
            if transport == Transport::Memory {
                return Ok(Connected::Plain(stream));
            }
            let tls = proxy.tls(to)?;
            let name = ServerName::try_from(to.server_name()).map_err(io::Error::other)?;
            let stream = TlsConnector::from(tls).connect(name, stream).await?;
            Ok(Connected::Tls(Box::new(stream)))
        };
        tokio::time::timeout(PATIENCE, connected).await.map_err(|_| late())?
    }

    /// Says in a request's headers whose it is, and as whom this server hands it on.
    ///
    /// # Errors
    /// Where no header can hold whose it is.
    pub(crate) fn introduce(&self, headers: &mut HeaderMap, user: &User) -> Result<(), http::Error> {
        set_headers(headers, user)?;
        // Where there is no TLS, the certificate is a header.
        let memory = self.caller().is_some_and(|c| c.is_memory());
        let der = self
            .front_proxy()
            .filter(|_| memory)
            .and_then(|p| p.client().ok())
            .and_then(|c| CertificateDer::from_pem_slice(c.cert_pem.as_bytes()).ok());
        if let Some(v) = der.and_then(|d| HeaderValue::try_from(STANDARD.encode(d)).ok()) {
            headers.insert(CLIENT_CERT_HEADER, v);
        }
        Ok(())
    }

    /// Reads a path as the aggregator itself, with the rights of everybody (`system:masters`).
    pub(super) async fn read_remote(&self, to: &Remote, at: &Place, path: &str, accept: &str) -> io::Result<Told> {
        let mut request = Request::builder()
            .uri(path)
            .body(Full::new(Bytes::new()))
            .map_err(io::Error::other)?;
        let headers = request.headers_mut();
        headers.insert(
            header::HOST,
            HeaderValue::try_from(host_port(&at.0, at.1)).map_err(io::Error::other)?,
        );
        headers.insert(header::ACCEPT, HeaderValue::try_from(accept).map_err(io::Error::other)?);
        let user = User::new("system:kube-aggregator", ["system:masters".to_owned()]);
        self.introduce(headers, &user).map_err(io::Error::other)?;
        let read = async {
            let (answer, _connection) = self.connect_remote(to, at).await?.ask(request).await?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, LARGEST).collect().await.map_err(io::Error::other)?;
            Ok(Told {
                code: parts.status,
                headers: parts.headers,
                body: body.to_bytes(),
            })
        };
        tokio::time::timeout(ANSWER, read)
            .await
            .map_err(|_| io::Error::other(Late))?
    }
}
