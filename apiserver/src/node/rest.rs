//! Plain requests over a [`kube::Client`], bodies as JSON values: a kubelet needs a dozen paths, no types.

use http::{Method, Request};
use serde_json::Value;

/// The API server, as the kubelet asks it.
#[derive(Clone)]
pub(crate) struct Rest {
    client: kube::Client,
}

/// How a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestError {
    /// The server answered with this code.
    #[error("{message} ({code})")]
    Refused {
        /// HTTP code.
        code: u16,
        /// The server's text.
        message: String,
    },
    /// No answer.
    #[error("no answer: {0}")]
    Unreachable(String),
}

impl RestError {
    /// The HTTP code, 0 when there was no answer.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Unreachable(_) => 0,
        }
    }
}

impl Rest {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    pub(crate) fn client(&self) -> &kube::Client {
        &self.client
    }

    async fn send(&self, method: Method, path: &str, content: &str, body: Option<&Value>) -> Result<Value, RestError> {
        let bytes = body.map(|b| b.to_string().into_bytes()).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", "application/json");
        if body.is_some() {
            request = request.header("content-type", content);
        }
        let request = request.body(bytes).map_err(|e| RestError::Unreachable(e.to_string()))?;
        self.client.request::<Value>(request).await.map_err(|e| match e {
            kube::Error::Api(s) => RestError::Refused {
                code: s.code,
                message: s.message,
            },
            e => RestError::Unreachable(e.to_string()),
        })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, RestError> {
        self.send(Method::GET, path, "", None).await
    }
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, RestError> {
        self.send(Method::POST, path, "application/json", Some(body)).await
    }
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value, RestError> {
        self.send(Method::PUT, path, "application/json", Some(body)).await
    }
    /// A strategic merge patch.
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value, RestError> {
        self.send(
            Method::PATCH,
            path,
            "application/strategic-merge-patch+json",
            Some(body),
        )
        .await
    }
    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Result<Value, RestError> {
        self.send(Method::DELETE, path, "application/json", Some(options)).await
    }
}
