//! gRPC's health checking (`grpc.health.v1.Health/Check`): what probes ask, and `agnhost grpc-health-checking`, which
//! answers.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use cfn_net::{Net, server};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::run::{Io, Process, Shell};
use super::serve::{GO_TERMINATED, certificate};
use crate::node::lifecycle::Purpose;
use crate::node::workload::WorkloadContext;

const METHOD: &str = "/grpc.health.v1.Health/Check";
const CONTENT: HeaderValue = HeaderValue::from_static("application/grpc");
/// Largest message read, in bytes.
const LARGEST: usize = 64 * 1024;
/// `HealthCheckResponse.ServingStatus`.
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;
/// Codes of gRPC.
const OK: u8 = 0;
const NOT_FOUND: u8 = 5;
const UNIMPLEMENTED: u8 = 12;

/// A message with its length before it (gRPC over HTTP/2, "Length-Prefixed-Message").
fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
    out.freeze()
}

/// The message of a frame that is not compressed.
fn unframed(data: &[u8]) -> Option<&[u8]> {
    let (head, rest) = data.split_at_checked(5)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    (head[0] == 0)
        .then(|| rest.get(..usize::try_from(length).ok()?))
        .flatten()
}

/// `HealthCheckRequest`: the service's name is its first field.
fn request(service: &str) -> Option<Bytes> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // One byte of length is enough for what may be the name of a service.
        let length = u8::try_from(service.len()).ok().filter(|n| *n < 128)?;
        message.extend([0x0a, length]);
        message.extend(service.as_bytes());
    }
    Some(framed(&message))
}

fn service_of(message: &[u8]) -> Option<&str> {
    match message {
        [] => Some(""),
        [0x0a, length, name @ ..] if usize::from(*length) == name.len() => std::str::from_utf8(name).ok(),
        _ => None,
    }
}

/// `HealthCheckResponse`: the status is its first field.
fn response(status: u8) -> Bytes {
    framed(&[0x08, status])
}

/// Whether a server says that it serves (`pkg/probe/grpc`).
pub(crate) async fn check(net: &Net, from: &str, (host, port): (&str, u16), service: &str) -> io::Result<bool> {
    let body = request(service).ok_or(io::ErrorKind::InvalidInput)?;
    let stream = net.connect(from, host, port).await?;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
    let ask = Request::post(format!("http://{host}:{port}{METHOD}"))
        .header(header::CONTENT_TYPE, CONTENT)
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, Purpose::Probe.agent())
        .body(Full::new(body))
        .map_err(io::Error::other)?;
    let asked = async move {
        let (head, body) = sender.send_request(ask).await.map_err(io::Error::other)?.into_parts();
        let all = Limited::new(body, LARGEST).collect().await.map_err(io::Error::other)?;
        // An answer without a message has its status in its head.
        let said = all.trailers().unwrap_or(&head.headers).get("grpc-status").cloned();
        let ok = said.is_some_and(|s| s == "0");
        Ok(ok && unframed(&all.to_bytes()).is_some_and(|m| m == [0x08, SERVING]))
    };
    tokio::pin!(connection, asked);
    tokio::select! {
        answer = &mut asked => answer,
        _ = &mut connection => asked.await,
    }
}

/// `agnhost grpc-health-checking`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    port: u16,
    http_port: u16,
    /// From when on it says that it does not serve.
    well: Option<Duration>,
    service: String,
    tls: Option<(String, String)>,
}

impl Health {
    /// Of its flags, where every one is known.
    pub(super) fn of(flags: &[(String, String)]) -> Option<Self> {
        let mut h = Self {
            port: 5000,
            http_port: 8080,
            well: None,
            service: String::new(),
            tls: None,
        };
        let (mut cert, mut key) = (None, None);
        for (k, v) in flags {
            match k.as_str() {
                "port" => h.port = v.parse().ok()?,
                "http-port" => h.http_port = v.parse().ok()?,
                "delay-unhealthy-sec" => {
                    let seconds: i64 = v.parse().ok()?;
                    h.well = u64::try_from(seconds).ok().map(Duration::from_secs);
                }
                "service" => v.clone_into(&mut h.service),
                "tls-cert-file" => cert = Some(v.clone()),
                "tls-private-key-file" => key = Some(v.clone()),
                _ => return None,
            }
        }
        h.tls = cert.zip(key);
        Some(h)
    }
}

/// What was said by hand; nothing at first.
const BY_ITSELF: u8 = 0;

struct State {
    of: Health,
    began: Instant,
    said: AtomicU8,
}

impl State {
    /// The code and the answer to a question about a service.
    fn answer(&self, service: &str) -> (u8, Option<u8>) {
        if service != self.of.service {
            return (NOT_FOUND, None);
        }
        let status = match self.said.load(Ordering::Relaxed) {
            BY_ITSELF if self.of.well.is_some_and(|w| self.began.elapsed() >= w) => NOT_SERVING,
            BY_ITSELF => SERVING,
            said => said,
        };
        (OK, Some(status))
    }
}

/// Answers for as long as it is not told to end.
pub(super) async fn run(h: &Health, ctx: &WorkloadContext, p: &Process, shell: &Shell, io: &Io) -> i32 {
    let tls = h
        .tls
        .as_ref()
        .map(|(cert, key)| certificate(p, cert, key, None))
        .transpose();
    let listening = async {
        let tls = tls?;
        let http = ctx
            .net
            .listen(&ctx.host, h.http_port)
            .await
            .map_err(|e| e.to_string())?;
        let grpc = ctx.net.listen(&ctx.host, h.port).await.map_err(|e| e.to_string())?;
        Ok::<_, String>((tls, http, grpc))
    };
    let (tls, http, grpc) = match listening.await {
        Ok(all) => all,
        Err(why) => {
            shell.complain(io, &why);
            return 1;
        }
    };
    let state = Arc::new(State {
        of: h.clone(),
        began: Instant::now(),
        said: AtomicU8::new(BY_ITSELF),
    });
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    let by_hand = state.clone();
    let hand = move |r: Request<Incoming>| {
        let state = by_hand.clone();
        async move {
            let said = match r.uri().path() {
                "/make-serving" => SERVING,
                "/make-not-serving" => NOT_SERVING,
                _ => {
                    let mut r = Response::new(Full::new(Bytes::from_static(b"404 page not found\n")));
                    *r.status_mut() = StatusCode::NOT_FOUND;
                    return Ok::<_, Infallible>(r);
                }
            };
            state.said.store(said, Ordering::Relaxed);
            Ok(Response::new(Full::new(Bytes::from(format!(
                "{:?}",
                state.began.elapsed()
            )))))
        }
    };
    let check = move |r: Request<Incoming>| {
        let state = state.clone();
        async move {
            let known = r.uri().path() == METHOD;
            let body = Limited::new(r.into_body(), LARGEST).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let asked = unframed(&body).and_then(service_of);
            let (code, status) = match asked.filter(|_| known) {
                Some(service) => state.answer(service),
                None => (UNIMPLEMENTED, None),
            };
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from(u16::from(code)));
            let body = Full::new(status.map(response).unwrap_or_default());
            let body = body.with_trailers(std::future::ready(Some(Ok::<_, Infallible>(trailers))));
            let mut answer = Response::new(body);
            answer.headers_mut().insert(header::CONTENT_TYPE, CONTENT);
            Ok::<_, Infallible>(answer)
        }
    };
    tokio::select! {
        biased;
        () = p.term.cancelled() => GO_TERMINATED,
        _ = server::serve(http, None, hand, cancel.clone()) => 1,
        _ = server::serve(grpc, tls, check, cancel.clone()) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        for service in ["", "x", "my-service"] {
            let sent = request(service).unwrap();
            assert_eq!(unframed(&sent).and_then(service_of), Some(service));
        }
        assert_eq!(request(&"x".repeat(128)), None);
        assert_eq!(&response(SERVING)[..], [0, 0, 0, 0, 2, 8, 1]);
        for wrong in [&[][..], &[0, 0, 0, 0, 9, 1], &[1, 0, 0, 0, 0]] {
            assert_eq!(unframed(wrong), None, "{wrong:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_serves_for_its_time() {
        let flag = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let of = Health::of(&[flag("delay-unhealthy-sec", "5"), flag("service", "a")]).unwrap();
        let state = State {
            of,
            began: Instant::now(),
            said: AtomicU8::new(BY_ITSELF),
        };
        assert_eq!(state.answer("b"), (NOT_FOUND, None));
        assert_eq!(state.answer("a"), (OK, Some(SERVING)));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(state.answer("a"), (OK, Some(NOT_SERVING)));
        state.said.store(SERVING, Ordering::Relaxed);
        assert_eq!(state.answer("a"), (OK, Some(SERVING)));
        assert_eq!(Health::of(&[flag("delay-unhealthy-sec", "-1")]).unwrap().well, None);
        assert_eq!(Health::of(&[flag("nope", "1")]), None);
    }
}
