//! One connection of HTTP/1.1 to an API server, asked one thing after the other: what a load generator wants, without
//! the pools, retries and layers that would be measured, too.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::client::{ClientConfig, ClientError, Identity, tls_client_config};
use crate::network::Net;
use crate::token::{bearer, bearer_of};

/// Where an API server is, and who asks it.
#[derive(Clone)]
pub struct Server {
    net: Net,
    from: String,
    host: String,
    port: u16,
    tls: Arc<rustls::ClientConfig>,
    authorization: Option<HeaderValue>,
}

/// A connection that is open.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

/// An answer whose body is still to be read: before the connection is asked again.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    body: Incoming,
}

impl Server {
    /// That of `config`, asked from `from`, a host of `net`. Nothing is connected yet.
    ///
    /// # Errors
    /// When the address or the credentials do not parse, or a token's file cannot be read.
    pub fn new(config: &ClientConfig, net: &Net, from: &str) -> Result<Self, ClientError> {
        let (host, port) = config.place()?;
        let token = match &config.identity {
            Identity::Token(t) => Some(bearer(t)),
            Identity::TokenFile(path) => Some(bearer_of(path)),
            Identity::Anonymous | Identity::Certificate { .. } => None,
        };
        Ok(Self {
            net: net.clone(),
            from: from.to_owned(),
            host,
            port,
            tls: Arc::new(tls_client_config(&config.ca_pem, &config.identity)?),
            authorization: token.transpose().map_err(|e| ClientError::Credentials(e.to_string()))?,
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or TLS fails.
    pub async fn connect(&self) -> io::Result<Connection> {
        let stream = self.net.connect(&self.from, &self.host, self.port).await?;
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!(error = %e, "connection ended");
            }
        });
        let host = HeaderValue::try_from(format!("{}:{}", self.host, self.port)).map_err(io::Error::other)?;
        Ok(Connection {
            sender,
            host,
            authorization: self.authorization.clone(),
        })
    }
}

impl Connection {
    /// Asks for a path; a body is JSON.
    ///
    /// # Errors
    /// When the connection ended, or `path` is none.
    pub async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> io::Result<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::HOST, &self.host);
        if let Some(a) = &self.authorization {
            request = request.header(header::AUTHORIZATION, a);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(io::Error::other)?;
        self.sender.ready().await.map_err(io::Error::other)?;
        let answer = self.sender.send_request(request).await.map_err(io::Error::other)?;
        let (head, body) = answer.into_parts();
        Ok(Answer {
            status: head.status,
            body,
        })
    }
}

impl Answer {
    /// The next part of the body; `None`: there is no more.
    ///
    /// # Errors
    /// When the connection ended.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(part) = frame.map_err(io::Error::other)?.into_data() {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    /// All of the body.
    ///
    /// # Errors
    /// When the connection ended.
    pub async fn whole(self) -> io::Result<Bytes> {
        Ok(self.body.collect().await.map_err(io::Error::other)?.to_bytes())
    }
}
