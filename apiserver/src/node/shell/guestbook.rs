//! `agnhost guestbook`: a store of keys and values that a primary hands on to its replicas, and the front of both.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cfn_net::server;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::run::{Io, Process, Shell};
use super::serve::{GO_TERMINATED, query, text};
use super::web;
use crate::node::network::Network;
use crate::node::workload::WorkloadContext;

/// Bytes that it keeps, and replicas: whoever writes to it must not fill this process. Beyond it fails as a program without
/// memory does.
const MOST: usize = 1024 * 1024;
const REPLICAS: usize = 64;
/// How long a replica tries to be known to its primary, and how often.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_secs(1);

/// Its flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guestbook {
    port: u16,
    /// Where the others listen.
    backend: u16,
    replica_of: String,
}

impl Guestbook {
    /// Of its flags, where every one is known.
    pub(super) fn of(flags: &[(String, String)]) -> Option<Self> {
        let mut g = Self {
            port: 80,
            backend: 6379,
            replica_of: String::new(),
        };
        for (k, v) in flags {
            match k.as_str() {
                "http-port" => g.port = v.parse().ok()?,
                "backend-port" => g.backend = v.parse().ok()?,
                "replicaof" => v.clone_into(&mut g.replica_of),
                _ => return None,
            }
        }
        Some(g)
    }
}

#[derive(Default)]
struct Kept {
    store: BTreeMap<String, Value>,
    replicas: Vec<String>,
}

struct State {
    of: Guestbook,
    net: Option<Network>,
    kept: Mutex<Kept>,
}

impl State {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What another one answers.
    async fn ask(&self, host: &str, request: &str) -> Result<String, String> {
        let net = self.net.as_ref().ok_or("no network")?;
        let answer = web::get_named(net, (host, self.of.backend), request).await;
        let answer = answer.map_err(|e| e.to_string())?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Takes over what the primary has, and is told of changes from then on. An error ends the program.
    async fn register(&self, own: &str) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let asked = self.ask(&self.of.replica_of, &format!("register?host={own}")).await;
            if let Ok(text) = asked {
                let answer: Value = serde_json::from_str(&text)
                    .map_err(|e| format!("Error while unmarshaling primary's response: {e}"))?;
                let data = answer["data"].as_object().ok_or("Could not cast responseJSON")?;
                self.kept().store = data.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err("Timed out while registering to primary.".to_owned())
    }

    async fn answer(&self, path: &str, asked: &str) -> (u16, String) {
        let value = |key: &str| query(asked, key);
        let (key, given) = (value("key"), value("value"));
        match path {
            "/register" => {
                let mut kept = self.kept();
                if kept.replicas.len() >= REPLICAS {
                    return (500, "too many replicas\n".to_owned());
                }
                let all = json!({"data": kept.store});
                kept.replicas.push(value("host"));
                (200, all.to_string())
            }
            "/get" => {
                let kept = self.kept();
                let data = match key.as_str() {
                    "" => json!(kept.store),
                    k => kept.store.get(k).cloned().unwrap_or_else(|| json!("")),
                };
                (200, json!({"data": data}).to_string())
            }
            "/set" if key.is_empty() => (400, "cannot set with empty key.\n".to_owned()),
            "/set" => {
                let replicas = {
                    let mut kept = self.kept();
                    let size = |(k, v): (&String, &Value)| k.len() + v.as_str().map_or(0, str::len);
                    let others = kept.store.iter().filter(|(k, _)| **k != key).map(size).sum::<usize>();
                    if others + key.len() + given.len() > MOST {
                        return (500, "out of memory\n".to_owned());
                    }
                    kept.store.insert(key.clone(), Value::from(given.clone()));
                    kept.replicas.clone()
                };
                for r in replicas {
                    if let Err(why) = self.ask(&r, &format!("set?key={key}&value={given}")).await {
                        let why = format!("encountered error while propagating to replica '{r}': {why}\n");
                        return (417, why);
                    }
                }
                (200, json!({"message": "Updated"}).to_string())
            }
            "/guestbook" => {
                let host = match value("cmd").to_lowercase().as_str() {
                    "get" => "agnhost-replica",
                    "set" if key.is_empty() => return (400, "cannot set with empty key.\n".to_owned()),
                    "set" => "agnhost-primary",
                    cmd => return (400, format!("unsupported cmd: '{cmd}'\n")),
                };
                let request = format!("{}?key={key}&value={given}", value("cmd").to_lowercase());
                match self.ask(host, &request).await {
                    Ok(answer) => (200, answer),
                    Err(why) => (417, format!("encountered error: {why}\n")),
                }
            }
            _ => (404, "404 page not found\n".to_owned()),
        }
    }
}

/// Serves until it is told to end.
pub(super) async fn run(g: &Guestbook, ctx: &WorkloadContext, p: &Process, shell: &Shell, io: &Io) -> i32 {
    let listener = match ctx.net.listen(&ctx.host, g.port).await {
        Ok(l) => l,
        Err(e) => {
            shell.complain(io, &format!("listen tcp :{}: {e}", g.port));
            return 1;
        }
    };
    let state = Arc::new(State {
        of: g.clone(),
        net: p.net.clone(),
        kept: Mutex::default(),
    });
    let replica = state.clone();
    let registered = async {
        if !replica.of.replica_of.is_empty()
            && let Err(why) = replica.register(&ctx.host).await
        {
            return why;
        }
        std::future::pending().await
    };
    let handler = move |r: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(handle(&state, &r).await) }
    };
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    tokio::select! {
        biased;
        () = p.term.cancelled() => GO_TERMINATED,
        why = registered => {
            shell.complain(io, &why);
            1
        }
        _ = server::serve(listener, None, handler, cancel.clone()) => 1,
    }
}

async fn handle(state: &State, r: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (code, body) = state.answer(r.uri().path(), r.uri().query().unwrap_or_default()).await;
    text(code, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_without_others() {
        let state = State {
            of: Guestbook::of(&[]).unwrap(),
            net: None,
            kept: Mutex::default(),
        };
        for (path, asked, code, body) in [
            ("/get", "key=a", 200, "{\"data\":\"\"}"),
            ("/set", "key=a&value=b", 200, "{\"message\":\"Updated\"}"),
            ("/set", "value=b", 400, "cannot set with empty key.\n"),
            ("/get", "key=a", 200, "{\"data\":\"b\"}"),
            ("/get", "", 200, "{\"data\":{\"a\":\"b\"}}"),
            ("/register", "host=1.2.3.4", 200, "{\"data\":{\"a\":\"b\"}}"),
            (
                "/set",
                "key=a&value=c",
                417,
                "encountered error while propagating to replica '1.2.3.4': no network\n",
            ),
            ("/guestbook", "cmd=x", 400, "unsupported cmd: 'x'\n"),
            ("/guestbook", "cmd=get", 417, "encountered error: no network\n"),
            ("/get", "key=b", 200, "{\"data\":\"\"}"),
            ("/nope", "", 404, "404 page not found\n"),
        ] {
            assert_eq!(
                state.answer(path, asked).await,
                (code, body.to_owned()),
                "{path}?{asked}"
            );
        }
    }

    #[tokio::test]
    async fn it_is_full_at_some_time() {
        let state = State {
            of: Guestbook::of(&[]).unwrap(),
            net: None,
            kept: Mutex::default(),
        };
        let large = "x".repeat(MOST / 2);
        for (key, code) in [("a", 200), ("b", 500), ("a", 200)] {
            let asked = format!("key={key}&value={large}");
            assert_eq!(state.answer("/set", &asked).await.0, code, "{key}");
        }
        for n in 0..=REPLICAS {
            let expected = if n < REPLICAS { 200 } else { 500 };
            assert_eq!(state.answer("/register", "host=1").await.0, expected, "{n}");
        }
    }
}
