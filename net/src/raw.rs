//! One connection of HTTP/1.1 to an API server, asked one thing after the other: what a load generator wants, without
//! the pools, retries and layers that would be measured, too.

use std::io;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::client::{Auth, ClientConfig, ClientError, Connector};
use crate::network::Net;

/// Where an API server is, and who asks it.
#[derive(Clone)]
pub struct Server {
    connector: Connector,
    host: HeaderValue,
    auth: Auth,
}

/// A connection that is open.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: HeaderValue,
    auth: Auth,
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
    /// When the address or the credentials do not parse.
    pub fn new(config: &ClientConfig, net: &Net, from: &str) -> Result<Self, ClientError> {
        let authority = config.uri()?.authority().map(ToString::to_string);
        let host = authority.and_then(|a| HeaderValue::try_from(a).ok());
        Ok(Self {
            connector: config.connector(net, from, None)?,
            host: host.ok_or_else(|| ClientError::Server(config.server.clone()))?,
            auth: config.auth(net)?,
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or TLS fails.
    pub async fn connect(&self) -> io::Result<Connection> {
        let stream = self.connector.connect().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!(error = %e, "connection ended");
            }
        });
        Ok(Connection {
            sender,
            host: self.host.clone(),
            auth: self.auth.clone(),
        })
    }
}

impl Connection {
    /// Asks for a path; a body is JSON.
    ///
    /// # Errors
    /// When the connection ended, a token's file cannot be read, or `path` is none.
    pub async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> io::Result<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::HOST, &self.host);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let mut request = request.body(Full::new(body)).map_err(io::Error::other)?;
        self.auth.put(request.headers_mut())?;
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
