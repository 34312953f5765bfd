//! Writes while the hub is gone: answered from the disk, held, and sent in order when it is back.

use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tower::Service;

use super::answer::{self, AnyBody};
use super::link::LinkState;
use super::merge;
use super::proxy::Proxy;
use super::request::{Asked, Verb};
use super::store::{Held, StoreError};

/// So many writes are held at most; a node that writes more (events) is told so.
const LIMIT: usize = 10_000;

/// Holds a write and answers it as the hub probably will.
pub fn hold(proxy: &Proxy, asked: &Asked, write: Held) -> Result<http::Response<AnyBody>, StoreError> {
    let store = &proxy.store;
    let path = asked.object_path();
    let body: Value = match serde_json::from_slice(&write.body) {
        Ok(body) => body,
        Err(_) if write.body.is_empty() || asked.verb == Verb::Delete => Value::Null,
        // Protobuf: answered from here it would have to be understood. A kubelet sends JSON when it is told to
        // (contentType in its configuration).
        Err(_) => {
            return Ok(answer::unavailable(
                "the schema of what is written; JSON can be held back",
            ));
        }
    };
    let response = match asked.verb {
        Verb::Create => {
            let name = body["metadata"]["name"].as_str().unwrap_or_default();
            let path = format!("{}/{name}", asked.collection);
            if !name.is_empty() && store.object(&path)?.is_some() {
                let message = format!("{} \"{name}\" already exists", asked.resource);
                return Ok(answer::failure(StatusCode::CONFLICT, "AlreadyExists", &message));
            }
            if !name.is_empty() && asked.resource != "events" {
                store.keep_object(&path, &body)?;
            }
            answer::object(StatusCode::CREATED, &body)
        }
        Verb::Update => {
            let mut new = body;
            if asked.subresource.as_deref() == Some("status") {
                let Some(mut old) = store.object(&path)? else {
                    return Ok(answer::not_found(
                        &asked.resource,
                        asked.name.as_deref().unwrap_or_default(),
                    ));
                };
                old["status"] = new["status"].take();
                new = old;
            }
            store.keep_object(&path, &new)?;
            answer::object(StatusCode::OK, &new)
        }
        Verb::Patch => {
            let Some(mut object) = store.object(&path)? else {
                return Ok(answer::not_found(
                    &asked.resource,
                    asked.name.as_deref().unwrap_or_default(),
                ));
            };
            let Some(strategic) = merge::kind(write.content_type.as_deref()) else {
                return Ok(answer::unavailable("what this kind of patch needs"));
            };
            merge::apply(&mut object, &body, strategic);
            store.keep_object(&path, &object)?;
            answer::object(StatusCode::OK, &object)
        }
        Verb::Delete => {
            store.forget(&path)?;
            answer::object(
                StatusCode::OK,
                &json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"}),
            )
        }
        Verb::Get | Verb::List | Verb::Watch | Verb::Other => return Ok(answer::unavailable(&path)),
    };
    if store.held()?.len() >= LIMIT {
        return Ok(answer::failure(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequests",
            &format!("{LIMIT} writes wait for the hub already"),
        ));
    }
    store.hold(&write)?;
    proxy.link.held();
    Ok(response)
}

/// Sends what is held whenever the hub is back, for ever.
pub async fn flush(proxy: &Proxy) {
    let mut state = proxy.link.follow();
    loop {
        if state.wait_for(|s| *s == LinkState::Reconciling).await.is_err() {
            return std::future::pending().await;
        }
        if let Err(e) = send_all(proxy).await {
            tracing::warn!("{}: sending held writes: {e}", proxy.node);
            tokio::time::sleep(proxy.link.patience()).await;
        }
    }
}

async fn send_all(proxy: &Proxy) -> Result<(), StoreError> {
    loop {
        let held = proxy.store.held()?;
        if held.is_empty() {
            proxy.link.reconciled();
            // A write that was held in between goes before any later one.
            if !proxy.store.held()?.is_empty() {
                proxy.link.held();
                continue;
            }
            return Ok(());
        }
        for (place, write) in held {
            if !send(proxy, &write).await {
                proxy.link.lost();
                return Ok(());
            }
            proxy.store.release(place)?;
        }
    }
}

/// Sends one write. What the hub refuses (the object is gone, somebody else wrote since, it cannot do it) is dropped:
/// the node learns the truth from its watches, and says again what it wants. `false` when the hub did not answer, or
/// cannot answer now.
async fn send(proxy: &Proxy, write: &Held) -> bool {
    let method = Method::from_bytes(write.method.as_bytes()).unwrap_or(Method::POST);
    let mut request = Request::builder().method(method).uri(&write.uri);
    if let Some(t) = &write.content_type {
        request = request.header(header::CONTENT_TYPE, t);
    }
    let Ok(request) = request
        .header(header::ACCEPT, "application/json")
        .body(Body::from(write.body.clone()))
    else {
        return true;
    };
    let answer = proxy.upstream.clone().call(request);
    match tokio::time::timeout(proxy.link.patience(), answer).await {
        Ok(Ok(r)) => {
            let status = r.status();
            let later = matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            );
            if !status.is_success() {
                let body = r.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                let said: Value = body
                    .ok()
                    .and_then(|b| serde_json::from_slice(&b).ok())
                    .unwrap_or_default();
                tracing::info!(
                    "{}: held {} {}: {status}: {}",
                    proxy.node,
                    write.method,
                    write.uri,
                    said["message"]
                );
            }
            !later
        }
        _ => false,
    }
}
