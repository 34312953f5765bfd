//! `agnhost porter`: on each port that a variable names, its value.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use cfn_net::pki::Ca;
use cfn_net::{Transport, server};
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::run::{Io, Process, Shell};
use super::serve::GO_TERMINATED;
use super::udp::{self, Answers};
use crate::node::workload::WorkloadContext;

/// What is served on a port, and whether over TLS.
type Port = (u16, String, bool);

/// What the environment asks for over TCP. SCTP is not served.
fn ports<'a>(env: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<Port> {
    let one = |(k, v): (&String, &String)| {
        let plain = ["SERVE_PORT_", "SERVE_TCP_PORT_"];
        let (port, tls) = match plain.iter().find_map(|p| k.strip_prefix(p)) {
            Some(p) => (p, false),
            None => (k.strip_prefix("SERVE_TLS_PORT_")?, true),
        };
        Some((port.parse().ok()?, v.clone(), tls))
    };
    env.filter_map(one).collect()
}

/// What is answered to datagrams, by port.
fn datagram_ports<'a>(env: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<(u16, String)> {
    let one = |(k, v): (&String, &String)| Some((k.strip_prefix("SERVE_UDP_PORT_")?.parse().ok()?, v.clone()));
    env.filter_map(one).collect()
}

/// The type that Go's `net/http` finds a text to be, of those that are served here.
fn kind(body: &str) -> &'static str {
    const TAGS: [&str; 17] = [
        "!doctype html",
        "html",
        "head",
        "script",
        "iframe",
        "h1",
        "div",
        "font",
        "table",
        "a",
        "style",
        "title",
        "b",
        "body",
        "br",
        "p",
        "!--",
    ];
    let text = body.trim_start().to_ascii_lowercase();
    let is = |tag: &&str| {
        let after = text.strip_prefix('<').and_then(|t| t.strip_prefix(*tag));
        after.is_some_and(|rest| *tag == "!--" || rest.starts_with([' ', '>']))
    };
    match TAGS.iter().any(is) {
        true => "text/html; charset=utf-8",
        false => "text/plain; charset=utf-8",
    }
}

/// Serves until it is told to end.
pub(super) async fn run(json: bool, ctx: &WorkloadContext, p: &Process, shell: &Shell, io: &Io) -> i32 {
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    let mut servers = JoinSet::new();
    for (port, value, tls) in ports(p.env.iter()) {
        let tls = match tls && ctx.net.transport() != Transport::Memory {
            true => match certificate(ctx) {
                Some(c) => Some(c),
                None => continue,
            },
            false => None,
        };
        let listener = match ctx.net.listen(&ctx.host, port).await {
            Ok(l) => l,
            Err(e) => {
                shell.complain(io, &format!("server on port \"{port}\" failed: {e}"));
                continue;
            }
        };
        let value: Arc<str> = value.into();
        let handler = move |r: Request<Incoming>| {
            let value = value.clone();
            async move { Ok::<_, Infallible>(answer(json, r.method().as_str(), &value)) }
        };
        servers.spawn(server::serve(listener, tls, handler, cancel.clone()));
    }
    for (port, value) in datagram_ports(p.env.iter()) {
        let (shell, io) = (shell.clone(), io.clone());
        match udp::socket(&ctx.net, &ctx.host, port) {
            Ok(socket) => {
                let answering = async move {
                    udp::serve(socket, &Answers::Always(value), &shell, &io).await;
                    Ok(())
                };
                servers.spawn(answering);
            }
            Err(why) => shell.complain(&io, &why),
        }
    }
    p.term.cancelled().await;
    GO_TERMINATED
}

fn answer(as_json: bool, method: &str, value: &str) -> Response<Full<Bytes>> {
    let (body, kind) = match as_json {
        true => (json!({"Method": method, "Body": value}).to_string(), "application/json"),
        false => (value.to_owned(), kind(value)),
    };
    let mut r = Response::new(Full::new(Bytes::from(body)));
    r.headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    r
}

/// One that nobody knows: so is the one in the image.
fn certificate(ctx: &WorkloadContext) -> Option<Arc<rustls::ServerConfig>> {
    let now = ctx.clock.now();
    let ca = Ca::new("Acme Co", now).ok()?;
    let pair = ca.server("Acme Co", &["127.0.0.1".to_owned()], now).ok()?;
    server::tls_server_config(&pair, None).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_an_environment() {
        let env: std::collections::BTreeMap<String, String> = [
            ("SERVE_PORT_80", "a"),
            ("SERVE_TCP_PORT_81", "b"),
            ("SERVE_TLS_PORT_443", "c"),
            ("SERVE_UDP_PORT_53", "d"),
            ("SERVE_PORT_x", "e"),
            ("PATH", "/bin"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        let expected = [
            (80, "a".to_owned(), false),
            (81, "b".to_owned(), false),
            (443, "c".to_owned(), true),
        ];
        let mut found = ports(env.iter());
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(datagram_ports(env.iter()), [(53, "d".to_owned())]);
    }

    #[test]
    fn texts_are_pages_or_not() {
        for (body, page) in [
            ("<a href=\"/x\">t</a>", true),
            ("  <HTML>", true),
            ("<!--x", true),
            ("foo", false),
            ("<abc>", false),
        ] {
            assert_eq!(kind(body).starts_with("text/html"), page, "{body}");
        }
    }
}
