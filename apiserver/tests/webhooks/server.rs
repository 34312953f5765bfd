//! A real HTTPS server that answers reviews.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cfn_net::pki::Ca;
use cfn_net::server::{serve, tls_server_config};
use cfn_net::{Net, Seed, Transport};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Answers a review of its path.
pub type Logic = fn(path: &str, request: &Value) -> Value;

/// An HTTPS server with webhooks.
pub struct Hooks {
    pub port: u16,
    pub ca: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    _stop: DropGuard,
}

impl Hooks {
    pub async fn start(logic: Logic) -> Self {
        let net = Net::new(Transport::Host, Seed(3));
        let listener = net.listen_on("hooks", 0, "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let now = std::cmp::max(now, cfn_net::Clock::now(&cfn_net::SystemClock));
        let ca = Ca::new("hooks CA", now).unwrap();
        let sans = ["localhost", "127.0.0.1", "hook.default.svc"].map(str::to_owned);
        let tls = tls_server_config(&ca.server("hooks", &sans, now).unwrap(), None).unwrap();
        let port = listener.port();
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let seen = asked.clone();
        let stop = CancellationToken::new();
        let handler = move |r: http::Request<_>| {
            let seen = seen.clone();
            async move { Ok::<_, std::convert::Infallible>(answer(logic, &seen, r).await) }
        };
        tokio::spawn(serve(listener, Some(tls), handler, stop.clone()));
        Self {
            port,
            ca: STANDARD.encode(ca.cert_pem()),
            asked,
            _stop: stop.drop_guard(),
        }
    }

    pub fn at(&self, path: &str) -> Value {
        json!({"url": format!("https://localhost:{}{path}", self.port), "caBundle": self.ca})
    }

    pub fn asked(&self, path: &str) -> Vec<Value> {
        let all = self.asked.lock().unwrap();
        all.iter().filter(|(p, _)| p == path).map(|(_, v)| v.clone()).collect()
    }
}

async fn answer<B: http_body::Body>(
    logic: Logic,
    seen: &Mutex<Vec<(String, Value)>>,
    r: http::Request<B>,
) -> http::Response<Full<Bytes>>
where
    B::Error: std::fmt::Debug,
{
    let path = r.uri().path().to_owned();
    let body = r.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let request = &review["request"];
    seen.lock().unwrap().push((path.clone(), request.clone()));
    match path.as_str() {
        "/never" => std::future::pending().await,
        "/broken" => http::Response::builder()
            .status(500)
            .body(Full::new(Bytes::from_static(b"oh no\n")))
            .unwrap(),
        _ => {
            let mut response = logic(&path, request);
            response["uid"] = request["uid"].clone();
            let answer = json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response});
            http::Response::new(Full::new(Bytes::from(answer.to_string())))
        }
    }
}
