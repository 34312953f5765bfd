//! `agnhost nettest`: who wrote to it, and whether it reaches the others of its service.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cfn_net::server;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::run::{Io, Process, Shell};
use super::serve::{GO_TERMINATED, text};
use super::web::{self, Ask, Url};
use crate::node::network::Network;
use crate::node::workload::WorkloadContext;

/// How often it looks for the others, and how often it writes to them.
const PAUSE: Duration = Duration::from_secs(5);
const ROUNDS: usize = 15;
/// How long it waits for enough of them, in pauses.
const WAITS: usize = 60;
/// Largest message read, in bytes, lines of its own that are kept, and others that are counted: whoever writes to it must not
/// fill this process.
const LARGEST: usize = 64 * 1024;
const LINES: usize = 500;
const OTHERS: usize = 1000;

/// Its flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nettest {
    port: u16,
    peers: usize,
    service: String,
    namespace: String,
    delay: u64,
}

impl Nettest {
    /// Of its flags, where every one is known.
    pub(super) fn of(flags: &[(String, String)]) -> Option<Self> {
        let mut n = Self {
            port: 8080,
            peers: 8,
            service: "nettest".into(),
            namespace: "default".into(),
            delay: 0,
        };
        for (k, v) in flags {
            match k.as_str() {
                "port" => n.port = v.parse().ok()?,
                "peers" => n.peers = v.parse().ok()?,
                "service" => v.clone_into(&mut n.service),
                "namespace" => v.clone_into(&mut n.namespace),
                "delay-shutdown" => n.delay = v.parse().ok()?,
                _ => return None,
            }
        }
        Some(n)
    }
}

/// What `/read` shows, in the words of the program.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Seen {
    hostname: String,
    sent: Option<BTreeMap<String, u64>>,
    received: Option<BTreeMap<String, u64>>,
    errors: Option<Vec<String>>,
    log: Option<Vec<String>>,
    still_contacting_peers: bool,
}

/// Adds a line; the oldest goes where there are many.
fn keep(lines: &mut Option<Vec<String>>, line: String) {
    let lines = lines.get_or_insert_default();
    lines.push(line);
    if lines.len() > LINES {
        lines.remove(0);
    }
}

/// Counts somebody; those who come when there are many are not told apart from nobody.
fn count(all: &mut Option<BTreeMap<String, u64>>, who: &str) {
    let all = all.get_or_insert_default();
    if all.len() < OTHERS || all.contains_key(who) {
        *all.entry(who.to_owned()).or_default() += 1;
    }
}

struct State {
    of: Nettest,
    seen: Mutex<Seen>,
    quit: watch::Sender<bool>,
}

impl State {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, line: String) {
        keep(&mut self.seen().log, line);
    }

    fn write(&self, body: &[u8]) -> String {
        let mut seen = self.seen();
        let posted: Value = match serde_json::from_slice(body) {
            Ok(v) => v,
            Err(e) => {
                keep(&mut seen.errors, e.to_string());
                Value::Null
            }
        };
        match posted["Source"].as_str().unwrap_or_default() {
            "" => {
                let why = format!("{}: Got request with no source", seen.hostname);
                keep(&mut seen.errors, why);
            }
            source => count(&mut seen.received, source),
        }
        format!("{}\n", json!({"Hostname": seen.hostname}))
    }

    fn status(&self) -> &'static str {
        let seen = self.seen();
        let enough = |m: &Option<BTreeMap<String, u64>>| m.as_ref().map_or(0, BTreeMap::len) >= self.of.peers;
        match () {
            () if enough(&seen.sent) && enough(&seen.received) => "pass",
            () if seen.still_contacting_peers => "running",
            () => "fail",
        }
    }

    async fn answer(&self, r: Request<Incoming>) -> Response<Full<Bytes>> {
        match r.uri().path() {
            "/read" => {
                let mut out = Vec::new();
                let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
                let mut to = serde_json::Serializer::with_formatter(&mut out, indent);
                match self.seen().serialize(&mut to) {
                    Ok(()) => text(200, out),
                    Err(e) => text(500, e.to_string()),
                }
            }
            "/write" => {
                let body = Limited::new(r.into_body(), LARGEST).collect().await;
                let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                text(200, self.write(&body))
            }
            "/status" => text(200, self.status()),
            "/quit" => {
                self.quit.send_replace(true);
                text(200, "")
            }
            _ => text(404, "404 page not found\n"),
        }
    }

    /// Looks for the others and writes to each of them, again and again.
    async fn contact(&self, net: &Network) {
        for _ in 0..WAITS {
            let found = net.endpoints_of(&self.of.namespace, &self.of.service).await;
            if found.len() >= self.of.peers {
                break;
            }
            let (ns, service, n) = (&self.of.namespace, &self.of.service, found.len());
            self.log(format!(
                "{ns}/{service} has {n} endpoints, which is less than {} as expected. Waiting for all endpoints to come up.",
                self.of.peers
            ));
            tokio::time::sleep(PAUSE).await;
        }
        for _ in 0..ROUNDS {
            for (host, port) in net.endpoints_of(&self.of.namespace, &self.of.service).await {
                let to = format!("http://{host}:{port}");
                self.log(format!("Attempting to contact {to}"));
                let Some(url) = Url::of(&format!("{to}/write")) else {
                    continue;
                };
                let body = json!({"Dest": to, "Source": self.seen().hostname});
                let ask = Ask {
                    method: Method::POST,
                    headers: vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
                    body: body.to_string().into(),
                    ..Ask::default()
                };
                let answer = web::ask(net, &url, &ask).await.map_err(|e| e.to_string());
                let answer = answer.and_then(|a| serde_json::from_slice::<Value>(&a.body).map_err(|e| e.to_string()));
                match answer {
                    Ok(v) => {
                        count(&mut self.seen().sent, v["Hostname"].as_str().unwrap_or_default());
                    }
                    Err(why) => self.log(format!("Warning: unable to contact the endpoint {to:?}: {why}")),
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.seen().still_contacting_peers = false;
    }
}

/// Serves until it is told to end, or asked to.
pub(super) async fn run(n: &Nettest, ctx: &WorkloadContext, p: &Process, shell: &Shell, io: &Io) -> i32 {
    let listener = match ctx.net.listen(&ctx.host, n.port).await {
        Ok(l) => l,
        Err(e) => {
            shell.complain(io, &format!("listen tcp :{}: {e}", n.port));
            return 1;
        }
    };
    let (quit, mut asked) = watch::channel(false);
    let seen = Seen {
        hostname: p.hostname.clone(),
        still_contacting_peers: true,
        ..Seen::default()
    };
    let state = Arc::new(State {
        of: n.clone(),
        seen: Mutex::new(seen),
        quit,
    });
    let others = state.clone();
    let contacting = async {
        if let Some(net) = &p.net {
            others.contact(net).await;
        }
        std::future::pending::<()>().await;
    };
    let handler = move |r: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(state.answer(r).await) }
    };
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    tokio::select! {
        biased;
        code = async {
            p.term.cancelled().await;
            tokio::time::sleep(Duration::from_secs(n.delay)).await;
            if n.delay > 0 { 0 } else { GO_TERMINATED }
        } => code,
        Ok(_) = asked.wait_for(|q| *q) => 0,
        () = contacting => 1,
        _ = server::serve(listener, None, handler, cancel.clone()) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_saw() {
        let seen = Seen {
            hostname: "h".into(),
            ..Seen::default()
        };
        let state = State {
            of: Nettest::of(&[("peers".to_owned(), "1".to_owned())]).unwrap(),
            seen: Mutex::new(seen),
            quit: watch::channel(false).0,
        };
        assert_eq!(state.status(), "fail");
        assert_eq!(state.write(b"{\"Source\": \"a\"}"), "{\"Hostname\":\"h\"}\n");
        state.write(b"{}");
        state.seen().sent.get_or_insert_default().insert("a".into(), 1);
        assert_eq!(state.status(), "pass");
        let shown = serde_json::to_value(&*state.seen()).unwrap();
        assert_eq!(shown["Received"], json!({"a": 1}));
        assert_eq!(shown["Errors"], json!(["h: Got request with no source"]));
        assert_eq!(shown["StillContactingPeers"], json!(false));
        for i in 0..2 * OTHERS {
            state.write(json!({"Source": i.to_string()}).to_string().as_bytes());
            state.write(b"nothing");
        }
        let seen = state.seen();
        let kept = (
            seen.received.as_ref().unwrap().len(),
            seen.errors.as_ref().unwrap().len(),
        );
        assert_eq!(kept, (OTHERS, LINES), "who writes does not fill it");
    }
}
