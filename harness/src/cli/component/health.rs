//! `/healthz`, `/livez`, `/readyz` and `/metrics` of a component, in plain HTTP, as kubelet's probes and Prometheus
//! ask for them.

use std::convert::Infallible;
use std::net::SocketAddr;

use cfn_net::{Clock, Net, SystemClock};
use http::{Response, StatusCode};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::CliError;

/// Serves until cancelled, and then for ever says nothing more; without an address, just waits.
pub(super) async fn serve(
    component: &'static str,
    net: Net,
    listen: Option<SocketAddr>,
    ready: watch::Receiver<bool>,
    cancel: CancellationToken,
) -> Result<(), CliError> {
    if let Some(at) = listen {
        let listener = net
            .listen_on("health", at.port(), at)
            .await
            .map_err(|e| CliError::io(&format!("listening at {at}"), &e))?;
        let began = SystemClock.now().as_millisecond();
        let handler = move |req: http::Request<_>| {
            let _: &http::Request<hyper::body::Incoming> = &req;
            let answer = answer(component, req.uri().path(), *ready.borrow(), began);
            async move { Ok::<_, Infallible>(answer) }
        };
        cfn_net::server::serve(listener, None, handler, cancel.clone())
            .await
            .map_err(|e| CliError::io(&format!("listening at {at}"), &e))?;
    }
    // The component's own end is what counts.
    std::future::pending().await
}

fn answer(component: &str, path: &str, ready: bool, began_ms: i64) -> Response<String> {
    let (status, kind, body) = match path {
        "/healthz" | "/livez" => (StatusCode::OK, "text/plain", "ok".to_owned()),
        "/readyz" if ready => (StatusCode::OK, "text/plain", "ok".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready".to_owned()),
        "/metrics" => (
            StatusCode::OK,
            "text/plain; version=0.0.4",
            metrics(component, ready, began_ms),
        ),
        _ => (StatusCode::NOT_FOUND, "text/plain", "not found".to_owned()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// Prometheus' text format.
fn metrics(component: &str, ready: bool, began_ms: i64) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let seconds = began_ms as f64 / 1e3;
    format!(
        "# HELP cfn_build_info Which component of which version this is.\n\
         # TYPE cfn_build_info gauge\n\
         cfn_build_info{{component=\"{component}\",version=\"{version}\"}} 1\n\
         # HELP cfn_ready Whether the component does its work.\n\
         # TYPE cfn_ready gauge\n\
         cfn_ready{{component=\"{component}\"}} {}\n\
         # HELP process_start_time_seconds Start of the process, since the epoch.\n\
         # TYPE process_start_time_seconds gauge\n\
         process_start_time_seconds {seconds}\n",
        u8::from(ready)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (path, ready, status, has) in [
            ("/healthz", false, 200, "ok"),
            ("/livez", false, 200, "ok"),
            ("/readyz", false, 503, "not ready"),
            ("/readyz", true, 200, "ok"),
            ("/metrics", true, 200, "cfn_ready{component=\"agent\"} 1"),
            ("/metrics", false, 200, "process_start_time_seconds 1.5"),
            ("/", true, 404, "not found"),
        ] {
            let r = answer("agent", path, ready, 1500);
            assert_eq!(r.status().as_u16(), status, "{path}");
            assert!(r.body().contains(has), "{path}: {}", r.body());
        }
    }
}
