//! The servers of `agnhost`, over the testbed's network: `netexec`, `serve-hostname`, `test-webserver`, `liveness`,
//! `porter`, `webhook` and `crd-conversion-webhook`. TCP only.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cfn_net::pki::KeyCert;
use cfn_net::{Listener, server};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::porter;
use super::reviews;
use super::run::{Io, Process, Shell};
use super::web;
use crate::http::decode;
use crate::node::workload::WorkloadContext;

/// How long `liveness` is well.
const WELL: Duration = Duration::from_secs(10);
/// Exit code of a Go program that gets SIGTERM as the first process.
pub(super) const GO_TERMINATED: i32 = 2;

/// What is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Netexec,
    Hostname,
    /// The same to whoever connects, without HTTP.
    HostnameOverTcp,
    /// What the environment says, on the ports that it says.
    Porter {
        json: bool,
    },
    Files,
    Liveness,
    Webhook,
    Conversion,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    kind: Kind,
    port: u16,
    /// Files of its certificate and key.
    tls: Option<(String, String)>,
    /// Seconds from SIGTERM to the end.
    delay: u64,
}

impl Server {
    /// The server of a subcommand and its flags, where every flag is known.
    pub(super) fn of(sub: &str, flags: &[(String, String)]) -> Option<Self> {
        let (kind, port) = match sub {
            "netexec" => (Kind::Netexec, 8080),
            "serve-hostname" => (Kind::Hostname, 9376),
            "porter" => (Kind::Porter { json: false }, 0),
            "test-webserver" => (Kind::Files, 80),
            "liveness" => (Kind::Liveness, 8080),
            "webhook" => (Kind::Webhook, 443),
            "crd-conversion-webhook" => (Kind::Conversion, 443),
            _ => return None,
        };
        let mut s = Self {
            kind,
            port,
            tls: None,
            delay: 0,
        };
        let (mut cert, mut key) = (None, None);
        let (mut tcp, mut http) = (false, true);
        for (k, v) in flags {
            match k.as_str() {
                "http-port" | "port" => s.port = v.parse().ok()?,
                "tls-cert-file" => cert = Some(v.clone()),
                "tls-private-key-file" => key = Some(v.clone()),
                "delay-shutdown" => s.delay = v.parse().ok()?,
                // Nothing is served there anyway.
                "udp-port" | "udp" | "v" => {}
                "tcp" if kind == Kind::Hostname => tcp = v == "true",
                "http" if kind == Kind::Hostname => http = v == "true",
                "json-response" if matches!(kind, Kind::Porter { .. }) => s.kind = Kind::Porter { json: v == "true" },
                _ => return None,
            }
        }
        match (tcp, http) {
            (true, false) => s.kind = Kind::HostnameOverTcp,
            (false, true) => {}
            // Both at one port, or nothing: not here.
            _ => return None,
        }
        s.tls = cert.zip(key);
        Some(s)
    }
}

struct State {
    kind: Kind,
    port: u16,
    shell: Shell,
    io: Io,
    began: Instant,
    term: CancellationToken,
    exit: watch::Sender<Option<i32>>,
}

/// Serves until it is told to end, or asked to.
pub(super) async fn run(s: &Server, ctx: &WorkloadContext, p: &Process, io: &Io) -> i32 {
    let shell = Shell::new(p.clone(), Vec::new(), false);
    if let Kind::Porter { json } = s.kind {
        return porter::run(json, ctx, p, &shell, io).await;
    }
    let tls = match s.tls.as_ref().map(|(cert, key)| certificate(p, cert, key)).transpose() {
        Ok(t) => t,
        Err(why) => {
            shell.complain(io, &why);
            return 1;
        }
    };
    let listener = match ctx.net.listen(&ctx.host, s.port).await {
        Ok(l) => l,
        Err(e) => {
            shell.complain(io, &format!("listen tcp :{}: {e}", s.port));
            return 1;
        }
    };
    if s.kind == Kind::HostnameOverTcp {
        return tokio::select! {
            biased;
            () = p.term.cancelled() => GO_TERMINATED,
            () = tell_name(listener, &p.hostname) => 1,
        };
    }
    let (exit, mut asked) = watch::channel(None);
    let state = Arc::new(State {
        kind: s.kind,
        port: s.port,
        shell,
        io: io.clone(),
        began: Instant::now(),
        term: p.term.clone(),
        exit,
    });
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    let handler = move |r: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(&state, r).await) }
    };
    let ended = if s.kind == Kind::Netexec { 0 } else { GO_TERMINATED };
    tokio::select! {
        biased;
        () = async {
            p.term.cancelled().await;
            tokio::time::sleep(Duration::from_secs(s.delay)).await;
        } => ended,
        Ok(code) = asked.wait_for(Option::is_some) => code.unwrap_or(0),
        _ = server::serve(listener, tls, handler, cancel.clone()) => 1,
    }
}

/// Says the host's name to whoever connects.
async fn tell_name(mut listener: Listener, name: &str) {
    while let Ok(mut stream) = listener.accept().await {
        let name = name.to_owned();
        tokio::spawn(async move {
            // Who went away meanwhile misses nothing.
            let _ = stream.write_all(name.as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}

fn certificate(p: &Process, cert: &str, key: &str) -> Result<Arc<rustls::ServerConfig>, String> {
    let read = |path: &str| match p.files.read(path) {
        Ok(data) => Ok(String::from_utf8_lossy(&data).into_owned()),
        Err(e) => Err(format!("open {path}: {e}")),
    };
    let pair = KeyCert {
        cert_pem: read(cert)?,
        key_pem: read(key)?,
    };
    server::tls_server_config(&pair, None).map_err(|e| e.to_string())
}

fn text(code: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut r = Response::new(Full::new(body.into()));
    *r.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    r
}

async fn answer(s: &State, r: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = r.uri().path().to_owned();
    let query = r.uri().query().unwrap_or_default().to_owned();
    let method = r.method().clone();
    let value = |key: &str| {
        let mut all = query.split('&').filter_map(|p| p.split_once('='));
        all.find(|(k, _)| *k == key)
            .map(|(_, v)| decode(v, true).into_owned())
            .unwrap_or_default()
    };
    let hostname = || s.shell.p.hostname.clone();
    let log = |line: String| {
        let now = s.shell.p.clock.now().strftime("%Y/%m/%d %H:%M:%S").to_string();
        s.shell.complain(&s.io, &format!("{now} {line}"));
    };
    match s.kind {
        Kind::Hostname => text(200, hostname()),
        // These are served elsewhere.
        Kind::HostnameOverTcp | Kind::Porter { .. } => text(404, ""),
        Kind::Files => match s.shell.p.files.read(&path) {
            Ok(data) => text(200, data),
            Err(_) if path == "/" => text(200, "<pre>\n</pre>\n"),
            Err(_) => text(404, "404 page not found\n"),
        },
        Kind::Liveness => match path.as_str() {
            "/healthz" if s.began.elapsed() > WELL => text(500, format!("error: {}", s.began.elapsed().as_secs_f64())),
            "/healthz" => text(200, "ok"),
            "/started" => text(200, format!("{:?}", s.began.elapsed())),
            _ => text(404, "404 page not found\n"),
        },
        Kind::Webhook | Kind::Conversion if path == "/readyz" => text(200, "ok"),
        Kind::Webhook | Kind::Conversion => {
            let body = r.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
            let Ok(review) = serde_json::from_slice(&body) else {
                return text(400, "Request could not be decoded");
            };
            let answered = match s.kind {
                Kind::Webhook => reviews::admission(&path, review).await,
                _ => Some(reviews::conversion(review)),
            };
            match answered {
                Some(v) => {
                    let mut r = text(200, v.to_string());
                    let json = http::HeaderValue::from_static("application/json");
                    r.headers_mut().insert(http::header::CONTENT_TYPE, json);
                    r
                }
                None => text(404, "404 page not found\n"),
            }
        }
        Kind::Netexec => match path.as_str() {
            "/hostname" | "/hostName" => {
                log(format!("GET {path}"));
                text(200, hostname())
            }
            "/echo" => {
                let (msg, code) = (value("msg"), value("code"));
                log(format!("GET /echo?msg={msg}&code={code}"));
                text(code.parse().unwrap_or(200), msg)
            }
            "/healthz" => text(200, ""),
            "/readyz" if s.term.is_cancelled() => text(503, "shutting down"),
            "/readyz" => text(200, "ok"),
            "/dial" if matches!(value("protocol").as_str(), "" | "http") => {
                let (host, port, request) = (value("host"), value("port"), value("request"));
                log(format!(
                    "GET /dial?host={host}&protocol=http&port={port}&request={request}"
                ));
                let tries = value("tries").parse().unwrap_or(1);
                dial(s, &host, port.parse().unwrap_or(0), &request, tries).await
            }
            "/serverport" => text(200, s.port.to_string()),
            "/exit" | "/shutdown" => {
                let _ = s.exit.send(Some(value("code").parse().unwrap_or(0)));
                text(200, "")
            }
            "/header" => {
                let key = value("key");
                let found = r.headers().get(&key).and_then(|v| v.to_str().ok()).unwrap_or_default();
                text(200, found.to_owned())
            }
            "/" => {
                log(format!("{method} /"));
                text(200, format!("NOW: {}", s.shell.p.clock.now()))
            }
            _ => text(404, "404 page not found\n"),
        },
    }
}

/// Asks another server so many times; what it answered, and whether the last time went well.
async fn dial(s: &State, host: &str, port: u16, request: &str, tries: u32) -> Response<Full<Bytes>> {
    let (mut responses, mut errors) = (Vec::new(), Vec::new());
    let mut code = 417;
    for _ in 0..tries.min(100) {
        let Some(net) = &s.shell.p.net else { break };
        match web::get_named(net, (host, port), request).await {
            Ok(a) => {
                code = 200;
                responses.push(String::from_utf8_lossy(&a.body).into_owned());
            }
            Err(e) => {
                code = 417;
                errors.push(e.to_string());
            }
        }
    }
    let mut all = serde_json::json!({});
    for (key, list) in [("responses", responses), ("errors", errors)] {
        if !list.is_empty() {
            all[key] = serde_json::json!(list);
        }
    }
    text(code, all.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_their_flags() {
        let flag = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let s = Server::of("netexec", &[flag("http-port", "80")]).unwrap();
        assert_eq!((s.kind, s.port), (Kind::Netexec, 80));
        let s = Server::of(
            "webhook",
            &[flag("tls-cert-file", "/c"), flag("tls-private-key-file", "/k")],
        )
        .unwrap();
        assert_eq!(s.tls, Some(("/c".to_owned(), "/k".to_owned())));
        assert_eq!(Server::of("netexec", &[flag("sctp-port", "1")]), None);
        assert_eq!(Server::of("dns", &[]), None);
        let both = [flag("http", "false"), flag("tcp", "true"), flag("udp", "true")];
        assert_eq!(Server::of("serve-hostname", &both).unwrap().kind, Kind::HostnameOverTcp);
        assert_eq!(Server::of("serve-hostname", &both[1..]), None);
        let json = Server::of("porter", &[flag("json-response", "true")]).unwrap();
        assert_eq!(json.kind, Kind::Porter { json: true });
    }
}
