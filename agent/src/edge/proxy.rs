//! The proxy: through to the hub while it is there, from the disk when it is not.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cfn_net::client::{Answer, HttpClient};
use http::response::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kube::client::Body;
use serde_json::Value;
use tokio::time::Instant;
use tower::{BoxError, Service};

use super::answer::{self, AnyBody};
use super::hold;
use super::link::{Link, LinkState};
use super::request::{Asked, Verb};
use super::store::{Held, Store, StoreError};

/// How long a list that is not on the disk waits for the hub: as long as client-go's reflector waits at most between two
/// attempts. Refused at once, a kubelet that is older than its hub would come again so late that its first pods wait.
pub(super) const LIST_WAIT: Duration = Duration::from_secs(30);

/// What a request needs.
pub struct Proxy {
    /// The hub.
    pub upstream: HttpClient,
    /// The disk.
    pub store: Arc<Store>,
    /// Whether the hub is there.
    pub link: Link,
    /// The node, for logs.
    pub node: String,
    /// Lists that were last told from the disk: what they hold may be what the hub never accepted.
    pub told: Mutex<BTreeSet<String>>,
}

impl Proxy {
    /// Answers one request.
    pub async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<AnyBody> {
        let (parts, body) = request.into_parts();
        let asked = Asked::parse(&parts.method, parts.uri.path(), parts.uri.query());
        let body = match body.collect().await {
            Ok(b) => b.to_bytes(),
            Err(e) => return answer::failure(StatusCode::BAD_REQUEST, "BadRequest", &e.to_string()),
        };
        let answered = match asked.verb {
            Verb::Get | Verb::List => self.read(&asked, &parts.uri, &parts.headers).await,
            Verb::Watch => self.watch(&asked, &parts.uri, &parts.headers).await,
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete if asked.resource != "bindings" => {
                self.write(&asked, &parts.method, &parts.uri, &parts.headers, body)
                    .await
            }
            _ if asked.subresource.as_deref() == Some("token") => {
                self.token(&asked, &parts.method, &parts.uri, &parts.headers, body)
                    .await
            }
            _ => self.pass(&parts.method, &parts.uri, &parts.headers, body).await,
        };
        answered.unwrap_or_else(|e| {
            tracing::warn!("{}: {e}", self.node);
            answer::failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", &e.to_string())
        })
    }

    /// Asks the hub; `None` when it does not answer in time. `Accept` becomes JSON, which is what the disk keeps.
    pub(super) async fn ask(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Option<Response<Answer>> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            let hop = matches!(
                *name,
                header::HOST
                    | header::CONNECTION
                    | header::TRANSFER_ENCODING
                    | header::CONTENT_LENGTH
                    | header::ACCEPT_ENCODING
                    | header::ACCEPT
            );
            if !hop {
                request = request.header(name, value);
            }
        }
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|a| a.to_str().ok())
            .unwrap_or("application/json");
        let accept = if accept.contains("protobuf") {
            "application/json"
        } else {
            accept
        };
        let request = request
            .header(header::ACCEPT, accept)
            .body(Body::from(body.to_vec()))
            .ok()?;
        let answer = self.upstream.clone().call(request);
        match tokio::time::timeout(self.link.patience(), answer).await {
            Ok(Ok(r)) => Some(r),
            Ok(Err(e)) => {
                tracing::debug!("{}: {method} {uri}: {e}", self.node);
                self.link.lost();
                None
            }
            Err(_) => {
                self.link.lost();
                None
            }
        }
    }

    /// What the hub answers to a read, kept; `None` when it does not in time.
    pub(super) async fn of_hub(
        &self,
        asked: &Asked,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<(Parts, Bytes)>, StoreError> {
        let Some(response) = self.ask(&Method::GET, uri, headers, Bytes::new()).await else {
            return Ok(None);
        };
        let (parts, body) = response.into_parts();
        let Ok(Ok(body)) = tokio::time::timeout(self.link.patience(), body.collect()).await else {
            self.link.lost();
            return Ok(None);
        };
        let body = body.to_bytes();
        self.keep(asked, parts.status, &body)?;
        Ok(Some((parts, body)))
    }

    async fn read(&self, asked: &Asked, uri: &Uri, headers: &HeaderMap) -> Result<Response<AnyBody>, StoreError> {
        let until = Instant::now() + LIST_WAIT;
        loop {
            if self.link.state() != LinkState::Offline {
                // Without a limit: the disk keeps whole lists, and a node's are short.
                if let Some((parts, body)) = self.of_hub(asked, &without_limit(uri), headers).await? {
                    return Ok(Response::from_parts(parts, answer::whole(body)));
                }
            }
            if asked.verb != Verb::List {
                return Ok(match self.store.object(&asked.object_path())? {
                    Some(object) => answer::object(StatusCode::OK, &object),
                    None => answer::unavailable(&asked.object_path()),
                });
            }
            if let Some(list) = self.store.list(&asked.list_key())? {
                self.tell(&asked.list_key(), true);
                return Ok(answer::object(StatusCode::OK, &list));
            }
            if !self.link.back(until).await {
                return Ok(answer::unavailable(&asked.list_key()));
            }
        }
    }

    /// Notes whether a list was told from the disk; whether it was so before.
    pub(super) fn tell(&self, key: &str, from_disk: bool) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if from_disk {
            !told.insert(key.to_owned())
        } else {
            told.remove(key)
        }
    }

    fn keep(&self, asked: &Asked, status: StatusCode, body: &Bytes) -> Result<(), StoreError> {
        if status == StatusCode::NOT_FOUND && asked.verb == Verb::Get {
            return self.store.forget(&asked.object_path());
        }
        if !status.is_success() {
            return Ok(());
        }
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return Ok(());
        };
        match asked.verb {
            Verb::List if value["items"].is_array() => {
                self.tell(&asked.list_key(), false);
                self.store.keep_list(&asked.list_key(), &value)
            }
            Verb::Get if value["metadata"]["name"].is_string() => self.store.keep_object(&asked.object_path(), &value),
            _ => Ok(()),
        }
    }

    async fn write(
        &self,
        asked: &Asked,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<AnyBody>, StoreError> {
        if self.link.state() == LinkState::Online
            && let Some(response) = self.ask(method, uri, headers, body.clone()).await
        {
            let (parts, answer) = response.into_parts();
            if let Ok(Ok(answer)) = tokio::time::timeout(self.link.patience(), answer.collect()).await {
                let answer = answer.to_bytes();
                let known = matches!(asked.verb, Verb::Update | Verb::Patch | Verb::Create);
                if known
                    && parts.status.is_success()
                    && asked.resource != "events"
                    && let Ok(object) = serde_json::from_slice::<Value>(&answer)
                    && let Some(name) = object["metadata"]["name"].as_str()
                {
                    self.store
                        .keep_object(&format!("{}/{name}", asked.collection), &object)?;
                }
                return Ok(Response::from_parts(parts, answer::whole(answer)));
            }
            self.link.lost();
        }
        let content_type = headers
            .get(header::CONTENT_TYPE)
            .and_then(|t| t.to_str().ok())
            .map(str::to_owned);
        let held = Held {
            method: method.to_string(),
            uri: uri.to_string(),
            content_type,
            body: body.to_vec(),
        };
        hold::hold(self, asked, held)
    }

    /// A token is the hub's to give; with the hub gone, a pod that starts again gets the one it had. It has the pod's
    /// mount to survive for: what the token is good for, the hub, is not there.
    async fn token(
        &self,
        asked: &Asked,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<AnyBody>, StoreError> {
        let wanted: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let spec = &wanted["spec"];
        let kept = format!(
            "{}/token of {} for {}",
            asked.object_path(),
            spec["boundObjectRef"]["uid"].as_str().unwrap_or_default(),
            spec["audiences"].to_string().replace('/', "%2F"),
        );
        if self.link.state() != LinkState::Offline
            && let Some(response) = self.ask(method, uri, headers, body).await
        {
            let (parts, answer) = response.into_parts();
            if let Ok(Ok(answer)) = tokio::time::timeout(self.link.patience(), answer.collect()).await {
                let answer = answer.to_bytes();
                if parts.status.is_success()
                    && let Ok(object) = serde_json::from_slice::<Value>(&answer)
                {
                    self.store.keep_object(&kept, &object)?;
                }
                return Ok(Response::from_parts(parts, answer::whole(answer)));
            }
            self.link.lost();
        }
        Ok(match self.store.object(&kept)? {
            Some(object) => answer::object(StatusCode::CREATED, &object),
            None => answer::unavailable(&kept),
        })
    }

    async fn pass(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<AnyBody>, StoreError> {
        if self.link.state() != LinkState::Offline
            && let Some(response) = self.ask(method, uri, headers, body).await
        {
            let (parts, body) = response.into_parts();
            return Ok(Response::from_parts(parts, body.map_err(BoxError::from).boxed_unsync()));
        }
        Ok(answer::unavailable(uri.path()))
    }
}

fn without_limit(uri: &Uri) -> Uri {
    let Some(query) = uri.query() else { return uri.clone() };
    let kept: Vec<&str> = query.split('&').filter(|p| !p.starts_with("limit=")).collect();
    let text = if kept.is_empty() {
        uri.path().to_owned()
    } else {
        format!("{}?{}", uri.path(), kept.join("&"))
    };
    text.parse().unwrap_or_else(|_| uri.clone())
}
