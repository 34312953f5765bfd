//! The servers of `agnhost`, over the testbed's network: `netexec`, `serve-hostname`, `test-webserver`, `liveness`,
//! `webhook` and `crd-conversion-webhook`; those that are more than a few answers have files of their own.

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

use super::guestbook::{self, Guestbook};
use super::health::{self, Health};
use super::nettest::{self, Nettest};
use super::porter;
use super::reviews;
use super::run::{Io, Process, Shell};
use super::udp::{self, Answers};
use super::web;
use crate::http::decode;
use crate::node::workload::WorkloadContext;

/// How long `liveness` is well.
const WELL: Duration = Duration::from_secs(10);
/// How long `netexec` waits for another server.
const PATIENCE: Duration = Duration::from_secs(5);
/// What Go says of an answer over HTTP that takes longer.
const LATE: &str = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
/// Exit code of a Go program that gets SIGTERM as the first process.
pub(super) const GO_TERMINATED: i32 = 2;

/// What is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Netexec,
    Hostname,
    /// The same to whoever connects, or sends, without HTTP.
    BareHostname {
        tcp: bool,
        udp: bool,
    },
    /// What the environment says, on the ports that it says.
    Porter {
        json: bool,
    },
    Files,
    Liveness,
    Webhook,
    Conversion,
    Guestbook(Guestbook),
    Nettest(Nettest),
    Health(Health),
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    kind: Kind,
    port: u16,
    /// Where datagrams are answered.
    udp_port: Option<u16>,
    /// Files of its certificate and key.
    tls: Option<(String, String)>,
    /// Seconds from SIGTERM to the end.
    delay: u64,
}

impl Server {
    /// The server of a subcommand and its flags, where every flag is known.
    pub(super) fn of(sub: &str, flags: &[(String, String)]) -> Option<Self> {
        let of_its_own = match sub {
            "guestbook" => Some(Kind::Guestbook(Guestbook::of(flags)?)),
            "nettest" => Some(Kind::Nettest(Nettest::of(flags)?)),
            "grpc-health-checking" => Some(Kind::Health(Health::of(flags)?)),
            _ => None,
        };
        if let Some(kind) = of_its_own {
            return Some(Self {
                kind,
                port: 0,
                udp_port: None,
                tls: None,
                delay: 0,
            });
        }
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
            udp_port: Some(8081).filter(|_| kind == Kind::Netexec),
            kind,
            port,
            tls: None,
            delay: 0,
        };
        let (mut cert, mut key) = (None, None);
        let (mut tcp, mut udp, mut http) = (false, false, true);
        for (k, v) in flags {
            match k.as_str() {
                "http-port" | "port" => s.port = v.parse().ok()?,
                "tls-cert-file" => cert = Some(v.clone()),
                "tls-private-key-file" => key = Some(v.clone()),
                "delay-shutdown" => s.delay = v.parse().ok()?,
                // -1: none.
                "udp-port" if s.kind == Kind::Netexec => {
                    let port: i32 = v.parse().ok()?;
                    s.udp_port = match port {
                        -1 => None,
                        n => Some(u16::try_from(n).ok()?),
                    };
                }
                // How much is logged.
                "v" => {}
                "tcp" if s.kind == Kind::Hostname => tcp = v == "true",
                "udp" if s.kind == Kind::Hostname => udp = v == "true",
                "http" if s.kind == Kind::Hostname => http = v == "true",
                "json-response" if matches!(s.kind, Kind::Porter { .. }) => s.kind = Kind::Porter { json: v == "true" },
                _ => return None,
            }
        }
        match (tcp || udp, http) {
            (true, false) => s.kind = Kind::BareHostname { tcp, udp },
            (false, true) => {}
            // Both at one port, or nothing: it ends at once, saying so.
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
    match &s.kind {
        Kind::Porter { json } => return porter::run(*json, ctx, p, &shell, io).await,
        Kind::Guestbook(g) => return guestbook::run(g, ctx, p, &shell, io).await,
        Kind::Nettest(n) => return nettest::run(n, ctx, p, &shell, io).await,
        Kind::Health(h) => return health::run(h, ctx, p, &shell, io).await,
        Kind::BareHostname { tcp, udp } => return bare(*tcp, *udp, s.port, ctx, p, &shell, io).await,
        _ => {}
    }
    let tls = match s
        .tls
        .as_ref()
        .map(|(cert, key)| certificate(p, cert, key, None))
        .transpose()
    {
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
    let datagrams = match s
        .udp_port
        .map(|port| udp::socket(&ctx.net, &ctx.host, port))
        .transpose()
    {
        Ok(d) => d,
        Err(why) => {
            shell.complain(io, &why);
            return 1;
        }
    };
    let talker = shell.clone();
    let answering = async {
        match datagrams {
            Some(socket) => udp::serve(socket, &Answers::Commands, &talker, io).await,
            None => std::future::pending().await,
        }
    };
    let (exit, mut asked) = watch::channel(None);
    let state = Arc::new(State {
        kind: s.kind.clone(),
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
        () = answering => 1,
        _ = server::serve(listener, tls, handler, cancel.clone()) => 1,
    }
}

/// Says the host's name over TCP, UDP or both.
async fn bare(tcp: bool, udp: bool, port: u16, ctx: &WorkloadContext, p: &Process, shell: &Shell, io: &Io) -> i32 {
    let opened = async {
        let listener = match tcp {
            true => Some(ctx.net.listen(&ctx.host, port).await.map_err(|e| e.to_string())?),
            false => None,
        };
        let socket = udp.then(|| udp::socket(&ctx.net, &ctx.host, port)).transpose()?;
        Ok::<_, String>((listener, socket))
    };
    let (listener, socket) = match opened.await {
        Ok(both) => both,
        Err(why) => {
            shell.complain(io, &why);
            return 1;
        }
    };
    let over_tcp = async {
        match listener {
            Some(l) => tell_name(l, &p.hostname).await,
            None => std::future::pending().await,
        }
    };
    let name = Answers::Always(p.hostname.clone());
    let over_udp = async {
        match socket {
            Some(s) => udp::serve(s, &name, shell, io).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = p.term.cancelled() => GO_TERMINATED,
        () = over_tcp => 1,
        () = over_udp => 1,
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

/// TLS of a server with these files; with `client_cas`, clients are asked for certificates that one of those signed.
pub(super) fn certificate(
    p: &Process,
    cert: &str,
    key: &str,
    client_cas: Option<&str>,
) -> Result<Arc<rustls::ServerConfig>, String> {
    let read = |path: &str| match p.files.read(path) {
        Ok(data) => Ok(String::from_utf8_lossy(&data).into_owned()),
        Err(e) => Err(format!("open {path}: {e}")),
    };
    let pair = KeyCert {
        cert_pem: read(cert)?,
        key_pem: read(key)?,
    };
    server::tls_server_config(&pair, client_cas).map_err(|e| e.to_string())
}

/// The first value of a key of a query; empty when there is none.
pub(super) fn query(asked: &str, key: &str) -> String {
    let mut all = asked.split('&').filter_map(|p| p.split_once('='));
    let found = all.find(|(k, _)| *k == key);
    found.map(|(_, v)| decode(v, true).into_owned()).unwrap_or_default()
}

pub(super) fn text(code: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut r = Response::new(Full::new(body.into()));
    *r.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    r
}

async fn answer(s: &State, r: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = r.uri().path().to_owned();
    let asked = r.uri().query().unwrap_or_default().to_owned();
    let method = r.method().clone();
    let value = |key: &str| query(&asked, key);
    let hostname = || s.shell.p.hostname.clone();
    let log = |line: String| {
        let now = s.shell.p.clock.now().strftime("%Y/%m/%d %H:%M:%S").to_string();
        s.shell.complain(&s.io, &format!("{now} {line}"));
    };
    match &s.kind {
        Kind::Hostname => text(200, hostname()),
        // These are served elsewhere.
        Kind::BareHostname { .. } | Kind::Porter { .. } | Kind::Guestbook(_) | Kind::Nettest(_) | Kind::Health(_) => {
            text(404, "")
        }
        Kind::Files => match s.shell.p.files.read(&decode(&path, false)) {
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
            "/dial" => {
                let (host, port, request) = (value("host"), value("port"), value("request"));
                let (protocol, tries) = (value("protocol"), value("tries"));
                log(format!(
                    "GET /dial?host={host}&protocol={protocol}&port={port}&request={request}&tries={tries}"
                ));
                let udp = match protocol.to_lowercase().as_str() {
                    "" | "http" => false,
                    "udp" => true,
                    _ => return text(400, format!("unsupported protocol. {protocol}\n")),
                };
                let Ok(port) = port.parse() else {
                    return text(400, format!("host and/or port param are invalid. {port}\n"));
                };
                dial(s, udp, (&host, port), &request, tries.parse().unwrap_or(1)).await
            }
            "/redirect" => {
                let (location, code) = (value("location"), value("code"));
                log(format!("{method} /redirect?msg={location}&code={code}"));
                match code.as_str() {
                    "" => redirect(&location, 302),
                    c => match c.parse() {
                        Ok(code) => redirect(&location, code),
                        Err(_) => text(200, format!("argument 'code' must be an integer or empty, got {c:?}\n")),
                    },
                }
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

/// Sends a client on, as Go's `http.Redirect` does.
fn redirect(location: &str, code: u16) -> Response<Full<Bytes>> {
    let to = match location.starts_with('/') || location.contains("://") {
        true => location.to_owned(),
        false => format!("/{location}"),
    };
    let mut r = text(code, "");
    let reason = r.status().canonical_reason().unwrap_or_default();
    *r.body_mut() = Full::from(format!("<a href=\"{to}\">{reason}</a>.\n\n"));
    let html = http::HeaderValue::from_static("text/html; charset=utf-8");
    r.headers_mut().insert(http::header::CONTENT_TYPE, html);
    if let Ok(to) = http::HeaderValue::try_from(to) {
        r.headers_mut().insert(http::header::LOCATION, to);
    }
    r
}

/// Asks another server so many times; what it answered, and what went wrong.
async fn dial(s: &State, udp: bool, at: (&str, u16), request: &str, tries: u32) -> Response<Full<Bytes>> {
    let (mut responses, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..tries.min(100) {
        let Some(net) = &s.shell.p.net else { break };
        let answer = match udp {
            false => match tokio::time::timeout(PATIENCE, web::get_named(net, at, request)).await {
                Ok(answer) => answer.map(|a| a.body).map_err(|e| e.to_string()),
                Err(_) => Err(format!("Get \"http://{}:{}/{request}\": {LATE}", at.0, at.1)),
            },
            true => match net.exchange(at.0, at.1, request.as_bytes(), PATIENCE).await {
                // It takes an answer without bytes for none.
                Ok(nothing) if nothing.is_empty() => Err("<nil>".to_owned()),
                other => other.map_err(|e| e.to_string()),
            }
            .map_err(|e| format!("reading from udp connection failed. err:'{e}'")),
        };
        match answer {
            Ok(body) => responses.push(String::from_utf8_lossy(&body).into_owned()),
            Err(e) => errors.push(e),
        }
    }
    let mut all = serde_json::json!({});
    for (key, list) in [("responses", responses), ("errors", errors)] {
        if !list.is_empty() {
            all[key] = serde_json::json!(list);
        }
    }
    text(200, all.to_string())
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
        let bare = Kind::BareHostname { tcp: true, udp: true };
        assert_eq!(Server::of("serve-hostname", &both).unwrap().kind, bare);
        assert_eq!(Server::of("serve-hostname", &both[1..]), None);
        for (port, expected) in [("-1", None), ("53", Some(53))] {
            let s = Server::of("netexec", &[flag("udp-port", port)]).unwrap();
            assert_eq!(s.udp_port, expected);
        }
        let json = Server::of("porter", &[flag("json-response", "true")]).unwrap();
        assert_eq!(json.kind, Kind::Porter { json: true });
    }
}
