//! Requests that are handed on to an API server behind this one (`kube-aggregator/pkg/apiserver/handler_proxy.go`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::Full;

use super::proxy::{self, host_port, upgrade};
use super::{Answer, Incoming, ResponseBody, headers};
use crate::aggregator::Remote;
use crate::registry::Server;
use crate::status::Status;

/// How long discovery may take (`aggregatedDiscoveryTimeout`).
const DISCOVERY: Duration = Duration::from_secs(5);

/// Whether a path is that of a group and version itself.
fn is_discovery(path: &str) -> bool {
    path.trim_matches('/').split('/').count() == 3
}

/// What the server behind is told: everything but what is this server's alone, and whose the request is.
fn passed_on(server: &Server, r: &Incoming, authority: &str) -> Result<HeaderMap, http::Error> {
    let mut all = proxy::forwarded(&r.headers);
    all.insert(header::HOST, HeaderValue::try_from(authority)?);
    headers::put_audit_id(&r.audit_id, &mut all);
    server.introduce(&mut all, &r.user)?;
    Ok(all)
}

/// Hands a request on to `to`, under another path where one is given.
///
/// # Errors
/// 503 in plain text where nobody answers.
pub(super) async fn serve(
    server: &Arc<Server>,
    r: &Incoming,
    to: &Remote,
    path: Option<&str>,
) -> Result<Answer, Status> {
    let unavailable = || Status::page(503, "service unavailable");
    if !to.available {
        return Err(unavailable());
    }
    let turn = server.caller().map_or(0, crate::webhook::Caller::turn);
    let at = server.place_of(to, turn).map_err(|why| {
        tracing::debug!(name = to.name, why, "an API server behind this one");
        unavailable()
    })?;
    let authority = host_port(&at.0, at.1);
    let broken = |why: String| Status::page(503, why);
    let mut request = Request::builder()
        .method(r.method.clone())
        .uri(path.unwrap_or(&r.uri))
        .body(Full::new(r.body.clone()))
        .map_err(|e| broken(e.to_string()))?;
    *request.headers_mut() = passed_on(server, r, &authority).map_err(|e| broken(e.to_string()))?;
    let undialled = |e: std::io::Error| crate::webhook::in_words(&e, &at.0, at.1, &to.server_name());
    if upgrade::is_asked(&r.headers) {
        proxy::add_forwarded_for(r, request.headers_mut());
        let stream = server.connect_remote(to, &at).await;
        let stream = stream.map_err(|e| broken(undialled(e)))?;
        let answer = upgrade::hand_on(r, request, stream).await;
        return answer.map_err(|s| broken(s.message));
    }
    proxy::strip(request.headers_mut());
    let uri = r.uri.split('?').next().unwrap_or_default();
    for (name, value) in [
        ("x-forwarded-uri", uri),
        ("x-forwarded-host", &authority),
        ("x-forwarded-proto", "https"),
    ] {
        if let Ok(v) = HeaderValue::from_str(value) {
            request.headers_mut().insert(name, v);
        }
    }
    proxy::add_forwarded_for(r, request.headers_mut());
    let unreached = |e| broken(format!("error trying to reach service: {}", undialled(e)));
    let exchange = async { server.connect_remote(to, &at).await?.ask(request).await };
    let answer = match is_discovery(&r.path) {
        false => exchange.await.map_err(unreached)?,
        true => match tokio::time::timeout(DISCOVERY, exchange).await {
            Ok(answer) => answer.map_err(unreached)?,
            Err(_) => {
                return Err(broken(
                    "error trying to reach service: context deadline exceeded".to_owned(),
                ));
            }
        },
    };
    if answer.0.status().is_redirection() && answer.0.headers().contains_key(header::LOCATION) {
        return Ok(no_redirect());
    }
    proxy::handed_back(answer, "", &[])
        .await
        .map_err(|e| broken(e.to_string()))
}

/// What a client gets whom the server behind sends elsewhere (`RejectForwardingRedirects`).
fn no_redirect() -> Answer {
    let text = "the backend attempted to redirect this request, which is not permitted";
    let mut answer = Answer::new(ResponseBody::full(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = http::StatusCode::BAD_GATEWAY;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_discovery() {
        for (path, is) in [
            ("/apis/g/v1", true),
            ("/apis/g/v1/", true),
            ("/apis/g/v1/things", false),
            ("/apis/g", false),
        ] {
            assert_eq!(is_discovery(path), is, "{path}");
        }
    }
}
