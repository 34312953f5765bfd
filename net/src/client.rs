//! A [`kube::Client`] over [`Net`]: what every component under test speaks through.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use http::{Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::Body;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;

use crate::network::{Net, Transport};
use crate::stream::Stream;
use crate::token::{TokenFile, bearer};

/// The header in which the memory transport carries the client's certificate (DER, base64), where TCP would have
/// a TLS handshake. A server believes it on memory listeners only, and checks the certificate against its CA.
pub const CLIENT_CERT_HEADER: &str = "x-forwarded-client-cert";

/// Who a client is.
#[derive(Debug, Clone, Default)]
pub enum Identity {
    /// Nobody.
    #[default]
    Anonymous,
    /// A bearer token.
    Token(String),
    /// A bearer token in a file, which is read again when it may have been renewed (a pod's service account).
    TokenFile(PathBuf),
    /// A client certificate and its key, PEM.
    Certificate {
        /// Certificate, PEM.
        cert_pem: String,
        /// Key, PEM.
        key_pem: String,
    },
}

/// Where an API server is and who asks it.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `https://host:port`, host a name of the testbed's network.
    pub server: String,
    /// The CA that signed the server's certificate, PEM.
    pub ca_pem: String,
    /// Who asks.
    pub identity: Identity,
    /// How long a request other than a watch may take.
    pub timeout: Duration,
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's address is no `https://host:port`.
    #[error("'{0}' is not https://host:port")]
    Server(String),
    /// A certificate or key does not parse.
    #[error("credentials: {0}")]
    Credentials(String),
    /// rustls refused the credentials.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// TLS of a client that trusts `ca_pem` and shows `identity`.
///
/// # Errors
/// When the PEM does not parse.
pub fn tls_client_config(ca_pem: &str, identity: &Identity) -> Result<rustls::ClientConfig, ClientError> {
    let mut roots = rustls::RootCertStore::empty();
    for c in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(c.map_err(|e| ClientError::Credentials(e.to_string()))?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(match identity {
        Identity::Certificate { cert_pem, key_pem } => {
            builder.with_client_auth_cert(certs(cert_pem)?, key(key_pem)?)?
        }
        _ => builder.with_no_client_auth(),
    })
}

fn certs(pem: &str) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| ClientError::Credentials(e.to_string()))
}

fn key(pem: &str) -> Result<PrivateKeyDer<'static>, ClientError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| ClientError::Credentials(e.to_string()))
}

/// A raw HTTP client over [`Net`] (what [`ClientConfig::client`] and the edge proxy use).
#[derive(Clone)]
pub struct HttpClient {
    hyper: hyper_util::client::legacy::Client<Connector, Body>,
    authority: Uri,
    auth: Auth,
    timeout: Duration,
}

/// The header by which a request tells whose it is.
#[derive(Clone)]
pub(crate) enum Auth {
    None,
    Fixed(header::HeaderName, header::HeaderValue),
    File(Arc<TokenFile>),
}

impl ClientConfig {
    /// A Kubernetes client that connects from `from` (a host of `net`). The default namespace is `default`.
    ///
    /// # Errors
    /// When the address or the credentials do not parse. Nothing is connected yet.
    pub fn client(&self, net: &Net, from: &str) -> Result<kube::Client, ClientError> {
        Ok(kube::Client::new(self.http(net, from)?, "default"))
    }

    /// The HTTP client beneath: sends requests with a path only to the server, with the identity's headers.
    ///
    /// # Errors
    /// As [`ClientConfig::client`].
    pub fn http(&self, net: &Net, from: &str) -> Result<HttpClient, ClientError> {
        self.http_via(net, from, None)
    }

    /// As [`ClientConfig::http`], connected to `host:port`, where somebody answers whose certificate is for the name that
    /// [`ClientConfig::server`] has: an endpoint of a service.
    ///
    /// # Errors
    /// As [`ClientConfig::client`].
    pub fn http_at(&self, net: &Net, from: &str, host: &str, port: u16) -> Result<HttpClient, ClientError> {
        self.http_via(net, from, Some((host.to_owned(), port)))
    }

    fn http_via(&self, net: &Net, from: &str, at: Option<(String, u16)>) -> Result<HttpClient, ClientError> {
        let hyper = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(self.connector(net, from, at)?);
        Ok(HttpClient {
            hyper,
            authority: self.uri()?,
            auth: self.auth(net)?,
            timeout: self.timeout,
        })
    }

    /// Where the server is.
    pub(crate) fn uri(&self) -> Result<Uri, ClientError> {
        self.server
            .parse()
            .map_err(|_| ClientError::Server(self.server.clone()))
    }

    /// By which header requests tell whose they are.
    pub(crate) fn auth(&self, net: &Net) -> Result<Auth, ClientError> {
        Ok(match &self.identity {
            Identity::Anonymous => Auth::None,
            Identity::Token(t) => {
                let value = bearer(t).map_err(|e| ClientError::Credentials(e.to_string()))?;
                Auth::Fixed(header::AUTHORIZATION, value)
            }
            Identity::TokenFile(path) => Auth::File(Arc::new(TokenFile::new(path))),
            Identity::Certificate { cert_pem, .. } if net.transport() == Transport::Memory => {
                let der = certs(cert_pem)?
                    .into_iter()
                    .next()
                    .ok_or_else(|| ClientError::Credentials("empty".into()))?;
                let value = base64::engine::general_purpose::STANDARD.encode(&der);
                Auth::Fixed(
                    header::HeaderName::from_static(CLIENT_CERT_HEADER),
                    value
                        .parse()
                        .map_err(|_| ClientError::Credentials("certificate".into()))?,
                )
            }
            Identity::Certificate { .. } => Auth::None,
        })
    }

    /// What connects to the server, or to `at` instead.
    pub(crate) fn connector(&self, net: &Net, from: &str, at: Option<(String, u16)>) -> Result<Connector, ClientError> {
        let uri = self.uri()?;
        let host = uri.host().ok_or_else(|| ClientError::Server(self.server.clone()))?;
        // An IPv6 address stands in brackets.
        let name = host.trim_matches(['[', ']']).to_owned();
        let (host, port) = at.unwrap_or_else(|| (name.clone(), uri.port_u16().unwrap_or(443)));
        let tls = match net.transport() {
            Transport::Memory => None,
            _ => Some(Arc::new(tls_client_config(&self.ca_pem, &self.identity)?)),
        };
        Ok(Connector {
            net: net.clone(),
            from: from.to_owned(),
            name,
            host,
            port,
            tls,
        })
    }
}

impl Auth {
    /// Puts it into a request that does not have it.
    pub(crate) fn put(&self, headers: &mut header::HeaderMap) -> io::Result<()> {
        match self {
            Auth::None => {}
            Auth::Fixed(name, value) => {
                headers.entry(name).or_insert_with(|| value.clone());
            }
            Auth::File(token) => {
                let value = token.header()?;
                headers.entry(header::AUTHORIZATION).or_insert(value);
            }
        }
        Ok(())
    }
}

/// The body of an answer. A request's timeout counts until its end: a link may be cut in the middle of it.
pub struct Answer {
    inner: Incoming,
    /// None for a watch.
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl http_body::Body for Answer {
    type Data = bytes::Bytes;
    type Error = tower::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, tower::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        match &mut self.deadline {
            Some(d) => d
                .as_mut()
                .poll(cx)
                .map(|()| Some(Err("the answer did not end in time".into()))),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Answer>, tower::BoxError>> + Send>>;

impl tower::Service<Request<Body>> for HttpClient {
    type Response = Response<Answer>;
    type Error = tower::BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut req: Request<Body>) -> ResponseFuture {
        let this = self.clone();
        Box::pin(async move {
            let path = req.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            let authority = this.authority.authority().map_or("", http::uri::Authority::as_str);
            // The connector adds TLS itself: hyper sees plain http.
            *req.uri_mut() = format!("http://{authority}{path}").parse()?;
            this.auth.put(req.headers_mut())?;
            let watching = req.uri().query().is_some_and(|q| {
                q.split('&')
                    .any(|p| p == "watch=true" || p == "watch=1" || p == "follow=true")
            });
            let response = this.hyper.request(req);
            if watching {
                return Ok(response.await?.map(|inner| Answer { inner, deadline: None }));
            }
            let deadline = tokio::time::Instant::now() + this.timeout;
            let response = tokio::time::timeout_at(deadline, response).await.map_err(|_| {
                io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no answer from {authority} in {:?}", this.timeout),
                )
            })??;
            let deadline = Some(Box::pin(tokio::time::sleep_until(deadline)));
            Ok(response.map(|inner| Answer { inner, deadline }))
        })
    }
}

#[derive(Clone)]
pub(crate) struct Connector {
    net: Net,
    from: String,
    /// Whom the certificate must name.
    name: String,
    host: String,
    port: u16,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Conn>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Conn>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(TokioIo::new(this.connect().await?)) })
    }
}

impl Connector {
    pub(crate) async fn connect(&self) -> io::Result<Conn> {
        let stream = self.net.connect(&self.from, &self.host, self.port).await?;
        // A request that is given up must not be carried out later.
        stream.drop_undelivered()?;
        Ok(match &self.tls {
            None => Conn::Plain(stream),
            Some(tls) => {
                let name = ServerName::try_from(self.name.clone()).map_err(io::Error::other)?;
                Conn::Tls(Box::new(TlsConnector::from(tls.clone()).connect(name, stream).await?))
            }
        })
    }
}

/// A connection with or without TLS.
pub(crate) enum Conn {
    Plain(Stream),
    Tls(Box<tokio_rustls::client::TlsStream<Stream>>),
}

impl Connection for Conn {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Conn::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Conn::Tls(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Conn::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Conn::Tls(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Conn::Plain(s) => Pin::new(s).poll_flush(cx),
            Conn::Tls(s) => Pin::new(s.as_mut()).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Conn::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Conn::Tls(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
        }
    }
}
