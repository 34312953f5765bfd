//! Serving HTTP on a [`Listener`]: the same for an API server and for a proxy, over TLS or in memory.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use crate::client::{CLIENT_CERT_HEADER, ClientError};
use crate::network::{Listener, Transport};
use crate::pki::KeyCert;

/// The certificate that the client of a request showed, DER: an extension of each request that [`serve`] hands on.
/// Over TLS it is verified against the CA given to [`tls_server_config`]; on the memory transport it is what the
/// client's header says, and the service checks it ([`crate::pki::Ca::verify_client`]) in both cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCert(pub Vec<u8>);

/// Who sent a request ([`Stream::peer`](crate::Stream::peer)): an extension of each that [`serve`] hands on, where it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerHost(pub String);

/// How long a client may take over a TLS handshake; Go's `net/http` servers have the same 10 s as a default of
/// `TLSHandshakeTimeout` on the client's side.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// TLS of a server that shows `cert`, ALPN `h2` and `http/1.1`. With `client_ca_pem`, client certificates are asked
/// for and verified when shown; a certificate of another CA fails the handshake, none is fine.
///
/// # Errors
/// When the PEM does not parse, or key and certificate do not belong together.
pub fn tls_server_config(
    cert: &KeyCert,
    client_ca_pem: Option<&str>,
) -> Result<Arc<rustls::ServerConfig>, ClientError> {
    let bad = |e: rustls::pki_types::pem::Error| ClientError::Credentials(e.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match client_ca_pem {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = rustls::RootCertStore::empty();
            for c in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(c.map_err(bad)?)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|e| ClientError::Credentials(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = CertificateDer::pem_slice_iter(cert.cert_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(bad)?;
    let key = PrivateKeyDer::from_pem_slice(cert.key_pem.as_bytes()).map_err(bad)?;
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves HTTP/1.1 (keep-alive, upgrades) and HTTP/2 to everyone who connects to `listener`, until `cancel`; then
/// every connection is closed at once and the port is free. Each request is answered by `handler`, and carries a
/// [`PeerCert`] when the client showed a certificate; an error of the handler aborts the connection (HTTP/2: the
/// stream). `tls` counts on the TCP transport only (`None` there is plain HTTP); on the memory transport there is
/// none. An axum `Router` is served by `|req| app.clone().oneshot(req)`.
///
/// # Errors
/// When the listener does not work any more.
pub async fn serve<H, F, B, E>(
    mut listener: Listener,
    tls: Option<Arc<rustls::ServerConfig>>,
    handler: H,
    cancel: CancellationToken,
) -> io::Result<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    E: Into<BoxError> + 'static,
{
    // A child, so that what the connections spawned (HTTP/2 streams) ends with this function however it ends.
    let cancel = cancel.child_token();
    let _guard = cancel.clone().drop_guard();
    let memory = listener.transport() == Transport::Memory;
    let acceptor = tls.filter(|_| !memory).map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            s = listener.accept() => match s {
                Ok(s) => s,
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Err(e),
                Err(e) => {
                    // Out of file descriptors and the like: the other connections go on.
                    tracing::warn!(error = %e, "accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (handler, cancel, acceptor) = (handler.clone(), cancel.clone(), acceptor.clone());
        connections.spawn(async move {
            let from = stream.peer().map(PeerHost);
            let served = async {
                match acceptor {
                    None => connection(stream, (None, from), memory, handler, cancel.clone()).await,
                    Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        Ok(Ok(s)) => {
                            let shown = s.get_ref().1.peer_certificates().and_then(|c| c.first());
                            let peer = shown.map(|c| PeerCert(c.to_vec()));
                            connection(s, (peer, from), memory, handler, cancel.clone()).await;
                        }
                        Ok(Err(e)) => tracing::debug!(error = %e, "TLS handshake"),
                        Err(_) => tracing::debug!("TLS handshake timed out"),
                    },
                }
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                () = served => {}
            }
        });
    }
    drop(listener);
    connections.shutdown().await;
    Ok(())
}

type Answer<B> = Pin<Box<dyn Future<Output = Result<Response<B>, HandlerError>> + Send>>;

/// A handler's error. A type of its own because `BoxError` into `BoxError` inside a future makes the compiler lose
/// that the future is `Send`.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct HandlerError(BoxError);

fn connection<I, H, F, B, E>(
    io: I,
    (peer, from): (Option<PeerCert>, Option<PeerHost>),
    memory: bool,
    handler: H,
    cancel: CancellationToken,
) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    E: Into<BoxError> + 'static,
{
    let service = hyper::service::service_fn(move |mut req: Request<Incoming>| {
        let claimed = req.headers_mut().remove(CLIENT_CERT_HEADER);
        let peer = if memory {
            claimed.as_ref().and_then(claimed_cert)
        } else {
            peer.clone()
        };
        if let Some(p) = peer {
            req.extensions_mut().insert(p);
        }
        if let Some(from) = &from {
            req.extensions_mut().insert(from.clone());
        }
        let answer = handler(req);
        let answer: Answer<B> = Box::pin(async move { answer.await.map_err(|e| HandlerError(e.into())) });
        answer
    });
    Box::pin(async move {
        let builder = auto::Builder::new(Tasks(cancel));
        if let Err(e) = builder.serve_connection_with_upgrades(TokioIo::new(io), service).await {
            // A client that goes away is no event.
            tracing::trace!(error = %e, "connection ended");
        }
    })
}

fn claimed_cert(value: &http::HeaderValue) -> Option<PeerCert> {
    base64::engine::general_purpose::STANDARD
        .decode(value)
        .ok()
        .map(PeerCert)
}

/// Spawns what HTTP/2 needs, and ends it on cancellation: a stream's answer must not outlive its server.
#[derive(Clone)]
struct Tasks(CancellationToken);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, fut: F) {
        let cancel = self.0.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                _ = fut => {}
            }
        });
    }
}

/// For [`serve`]: a handler from a tower service that is cloned per request (an axum `Router`, say).
pub fn tower_handler<S, B>(
    service: S,
) -> impl Fn(Request<Incoming>) -> tower::util::Oneshot<S, Request<Incoming>> + Clone + Send + Sync + 'static
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
{
    move |req| tower::ServiceExt::oneshot(service.clone(), req)
}
