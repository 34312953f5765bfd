//! Connections that become something else (WebSockets, SPDY): handed on as they are, byte by byte, once the server behind
//! agrees (`UpgradeAwareHandler.tryUpgrade`).

use std::sync::PoisonError;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::task::AbortOnDropHandle;

use super::{Connected, LARGEST};
use crate::http::{Answer, Incoming, ResponseBody};
use crate::status::Status;

/// Whether another protocol is asked for (`httpstream.IsUpgradeRequest`).
pub(in crate::http) fn is_asked(headers: &HeaderMap) -> bool {
    let all = headers.get_all(header::CONNECTION).iter();
    all.filter_map(|v| v.to_str().ok())
        .any(|v| v.to_ascii_lowercase().contains("upgrade"))
}

/// An error that is none of the API's own (`ErrorToAPIStatus`).
pub(super) fn failed(why: impl std::fmt::Display) -> Status {
    Status::new(500, "", why.to_string())
}

/// Asks the server behind, and joins both connections when it agrees.
pub(in crate::http) async fn hand_on(
    r: &Incoming,
    request: Request<Full<Bytes>>,
    to: Connected,
) -> Result<Answer, Status> {
    let own = r.upgrade.lock().unwrap_or_else(PoisonError::into_inner).take();
    let own = own.ok_or_else(|| failed("request connection cannot be hijacked"))?;
    match to {
        Connected::Plain(s) => ask(request, s, own).await,
        Connected::Tls(s) => ask(request, *s, own).await,
    }
}

async fn ask<S>(request: Request<Full<Bytes>>, to: S, own: OnUpgrade) -> Result<Answer, Status>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(to)).await.map_err(failed)?;
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(e) = connection.with_upgrades().await {
            tracing::debug!(error = %e, "proxied connection");
        }
    }));
    let mut answer = sender.send_request(request).await.map_err(failed)?;
    let code = answer.status();
    if code != StatusCode::SWITCHING_PROTOCOLS {
        if code.as_u16() < 400 {
            return Err(failed(format!(
                "invalid upgrade response: status code {}",
                code.as_u16()
            )));
        }
        let (parts, body) = answer.into_parts();
        let all = Limited::new(body, LARGEST).collect().await;
        let all = all.map_err(failed)?.to_bytes();
        return Ok(http::Response::from_parts(parts, ResponseBody::full(all)));
    }
    let there = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        let joined = async {
            let (here, there) = (own.await?, there.await?);
            let (mut from_here, mut to_here) = tokio::io::split(TokioIo::new(here));
            let (mut from_there, mut to_there) = tokio::io::split(TokioIo::new(there));
            // Who goes away ends both.
            tokio::select! {
                biased;
                _ = tokio::io::copy(&mut from_here, &mut to_there) => {}
                _ = tokio::io::copy(&mut from_there, &mut to_here) => {}
            }
            // An end that is told: over TLS one that is not is an error. Who is gone already is not told.
            let _ = tokio::join!(to_here.shutdown(), to_there.shutdown());
            Ok::<_, hyper::Error>(())
        };
        if let Err(e) = joined.await {
            tracing::debug!(error = %e, "a proxied connection did not become something else");
        }
        drop(connection);
    });
    let (parts, _) = answer.into_parts();
    Ok(http::Response::from_parts(parts, ResponseBody::full(Bytes::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_another_protocol() {
        for (value, asks) in [("Upgrade", true), ("keep-alive, upgrade", true), ("close", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONNECTION, http::HeaderValue::from_static(value));
            assert_eq!(is_asked(&headers), asks, "{value}");
        }
        assert!(!is_asked(&HeaderMap::new()));
    }
}
