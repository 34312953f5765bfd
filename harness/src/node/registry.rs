//! Serves [`super::mirror`].

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::boot::AGAIN;
use super::containerd;
use super::mirror::{self, Asked};
use super::plan::{Probe, imported};
use super::supervise::{Supervisor, command};

/// Serves for ever.
pub async fn serve(says: Arc<Supervisor>) {
    #[allow(
        clippy::disallowed_methods,
        reason = "containerd on this node connects to it, by a fixed address; no link is between them"
    )]
    let listener = loop {
        match tokio::net::TcpListener::bind(mirror::ADDRESS).await {
            Ok(l) => break l,
            Err(e) => says.say(&format!("the mirror cannot listen on {}: {e}", mirror::ADDRESS)),
        }
        tokio::time::sleep(AGAIN).await;
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let says = says.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let says = says.clone();
                async move { Ok::<_, Infallible>(answer(&says, &request).await) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(e) = served {
                tracing::debug!("mirror: {e}");
            }
        });
    }
}

async fn answer(says: &Supervisor, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let refuse = |status: StatusCode| {
        let mut r = Response::new(Full::default());
        *r.status_mut() = status;
        r
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refuse(StatusCode::METHOD_NOT_ALLOWED);
    }
    let digest = match mirror::asked(request.uri().path(), request.uri().query()) {
        Asked::Version => return refuse(StatusCode::OK),
        Asked::Nothing => return refuse(StatusCode::NOT_FOUND),
        Asked::Digest(d) => d,
        Asked::Tag(image) => {
            says.wait(&Probe::File(imported())).await;
            let filter = format!("name=={image}");
            let listed =
                tokio::task::spawn_blocking(move || command(&["ctr", "-n", "k8s.io", "images", "ls", &filter])).await;
            let listed = match listed {
                Ok(Ok(l)) => l,
                _ => return refuse(StatusCode::INTERNAL_SERVER_ERROR),
            };
            match mirror::digest_of(&listed, &image) {
                Some(d) => d,
                None => return refuse(StatusCode::NOT_FOUND),
            }
        }
    };
    let path = format!("{}/sha256/{digest}", containerd::CONTENT);
    let Ok(Ok(content)) = tokio::task::spawn_blocking(move || std::fs::read(path)).await else {
        return refuse(StatusCode::NOT_FOUND);
    };
    let kind = if request.uri().path().contains("/manifests/") {
        mirror::media_type(&content)
    } else {
        None
    };
    let answer = Response::builder()
        .header(
            header::CONTENT_TYPE,
            kind.unwrap_or_else(|| "application/octet-stream".to_owned()),
        )
        .header(header::CONTENT_LENGTH, content.len())
        .header("docker-content-digest", format!("sha256:{digest}"));
    let body = if request.method() == Method::HEAD {
        Full::default()
    } else {
        Full::new(Bytes::from(content))
    };
    answer
        .body(body)
        .unwrap_or_else(|_| refuse(StatusCode::INTERNAL_SERVER_ERROR))
}
