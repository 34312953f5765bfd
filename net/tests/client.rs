//! The Kubernetes client over both transports: TLS with client certificates, timeouts, watches through faults.
#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cfn_net::client::CLIENT_CERT_HEADER;
use cfn_net::pki::{Ca, KeyCert};
use cfn_net::raw;
use cfn_net::server::{PeerCert, serve, tls_server_config};
use cfn_net::{ClientConfig, Identity, LinkSpec, Net, Seed, Transport};
use futures::{Stream, StreamExt};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

type Body = BoxBody<Bytes, Infallible>;

fn text(s: String) -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from(s)).boxed();
    Response::builder()
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

fn config_map(name: &str, version: u64) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"default","resourceVersion":"{version}"}}}}"#
    )
}

/// A toy API server: `/whoami` tells whose certificate came, `/slow` never answers, config maps are listed (one)
/// and watched (one more per 100 ms).
async fn answer(ca: Arc<Ca>, now: Timestamp, req: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    assert!(!req.headers().contains_key(CLIENT_CERT_HEADER));
    static VERSION: AtomicU64 = AtomicU64::new(1);
    let query = req.uri().query().unwrap_or_default();
    Ok(match req.uri().path() {
        "/whoami" => {
            let cert = req.extensions().get::<PeerCert>();
            let who = cert.and_then(|c| ca.verify_client(&c.0, now));
            text(who.map_or_else(|| "nobody".to_owned(), |s| format!("{} {:?}", s.cn, s.orgs)))
        }
        "/half" => {
            let half = futures::stream::iter([Ok(Frame::data(Bytes::from("half")))]);
            Response::new(BodyExt::boxed(StreamBody::new(half.chain(futures::stream::pending()))))
        }
        "/slow" => futures::future::pending().await,
        "/api/v1/configmaps" if query.contains("watch=true") => {
            let (tx, rx) = mpsc::channel(1);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let n = VERSION.fetch_add(1, Ordering::Relaxed);
                    let event = format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", config_map("one", n));
                    if tx
                        .send(Ok::<_, Infallible>(Frame::data(Bytes::from(event))))
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
            });
            let body = StreamBody::new(tokio_stream(rx));
            Response::new(BodyExt::boxed(body))
        }
        "/api/v1/configmaps" => text(format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMapList","metadata":{{"resourceVersion":"1"}},"items":[{}]}}"#,
            config_map("zero", 1)
        )),
        _ => text("{}".to_owned()),
    })
}

fn tokio_stream<T: Send + 'static>(mut rx: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send + Sync {
    futures::stream::poll_fn(move |cx| rx.poll_recv(cx))
}

struct Toy {
    net: Net,
    ca: Arc<Ca>,
    now: Timestamp,
    cancel: CancellationToken,
}

impl Toy {
    async fn start(transport: Transport, now: Timestamp, latency: f64) -> Toy {
        let net = Net::new(transport, Seed(5));
        net.add_host("hub", "cloud");
        net.add_host("n1", "edge");
        net.set_link(
            "edge",
            "cloud",
            LinkSpec {
                latency,
                ..LinkSpec::default()
            },
        );
        let ca = Arc::new(Ca::seeded("ca", now, Seed(5)).unwrap());
        let toy = Toy {
            net,
            ca,
            now,
            cancel: CancellationToken::new(),
        };
        toy.serve().await;
        toy
    }

    async fn serve(&self) {
        let cert = self.ca.server("hub", &["hub".to_owned()], self.now).unwrap();
        let tls = tls_server_config(&cert, Some(self.ca.cert_pem())).unwrap();
        let listener = self.net.listen("hub", 6443).await.unwrap();
        let (ca, now) = (self.ca.clone(), self.now);
        tokio::spawn(serve(
            listener,
            Some(tls),
            move |r| answer(ca.clone(), now, r),
            self.cancel.clone(),
        ));
    }

    fn config(&self, identity: Identity) -> ClientConfig {
        ClientConfig {
            server: "https://hub:6443".into(),
            ca_pem: self.ca.cert_pem().into(),
            identity,
            timeout: Duration::from_secs(2),
        }
    }

    fn certificate(&self, ca: &Ca) -> Identity {
        let groups = ["a", "b", "c"].map(str::to_owned);
        let KeyCert { cert_pem, key_pem } = ca.client("me", &groups, self.now).unwrap();
        Identity::Certificate { cert_pem, key_pem }
    }

    async fn get(&self, identity: Identity, path: &str) -> Result<String, String> {
        let client = self.config(identity).client(&self.net, "n1").unwrap();
        let req = Request::get(path).body(Vec::new()).unwrap();
        client.request_text(req).await.map_err(|e| format!("{e:?}"))
    }
}

#[tokio::test]
async fn a_raw_connection_is_asked_one_thing_after_the_other() {
    let toy = Toy::start(Transport::Tcp, cfn_net::Clock::now(&cfn_net::SystemClock), 0.0).await;
    let config = toy.config(toy.certificate(&toy.ca));
    let server = |config: &ClientConfig| raw::Server::new(config, &toy.net, "n1").unwrap();
    let mut connection = server(&config).connect().await.unwrap();
    for _ in 0..2 {
        let answer = connection.ask(Method::GET, "/whoami", Bytes::new()).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.whole().await.unwrap(), r#"me ["a", "b", "c"]"#);
    }
    let path = "/api/v1/configmaps?watch=true";
    let mut events = connection.ask(Method::GET, path, Bytes::new()).await.unwrap();
    for _ in 0..2 {
        let part = events.next().await.unwrap().unwrap();
        assert!(part.starts_with(b"{\"type\":\"ADDED\""));
    }
    let other = ClientConfig {
        ca_pem: Ca::new("other", toy.now).unwrap().cert_pem().to_owned(),
        ..config
    };
    assert!(server(&other).connect().await.is_err());
    toy.cancel.cancel();
    while let Ok(part) = events.next().await {
        assert!(part.is_some(), "the server broke off, the body did not end");
    }
}

async fn identities(transport: Transport, now: Timestamp) {
    let toy = Toy::start(transport, now, 2.0).await;
    let me = toy.certificate(&toy.ca);
    assert_eq!(toy.get(me, "/whoami").await.unwrap(), r#"me ["a", "b", "c"]"#);
    assert_eq!(toy.get(Identity::Anonymous, "/whoami").await.unwrap(), "nobody");
    assert_eq!(toy.get(Identity::Token("t".into()), "/whoami").await.unwrap(), "nobody");
    let stranger = toy.certificate(&Ca::new("ca", now).unwrap());
    let answer = toy.get(stranger, "/whoami").await;
    if transport == Transport::Memory {
        assert_eq!(answer.unwrap(), "nobody");
    } else {
        answer.unwrap_err();
        // The header is for the memory transport: over TCP it says nothing.
        let mut http = toy.config(Identity::Anonymous).http(&toy.net, "n1").unwrap();
        let req = Request::get("/whoami")
            .header(CLIENT_CERT_HEADER, "AAAA")
            .body(kube::client::Body::empty())
            .unwrap();
        let answer = tower::Service::call(&mut http, req)
            .await
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap();
        assert_eq!(answer.to_bytes(), "nobody");
    }
    let t = Instant::now();
    assert!(
        toy.get(Identity::Anonymous, "/slow")
            .await
            .unwrap_err()
            .contains("no answer")
    );
    assert!(t.elapsed() >= Duration::from_secs(2));
    assert!(
        toy.get(Identity::Anonymous, "/half")
            .await
            .unwrap_err()
            .contains("in time")
    );
    toy.cancel.cancel();
    for _ in 0..1000 {
        if toy.get(Identity::Anonymous, "/whoami").await.is_err() {
            toy.net.listen("hub", 6443).await.unwrap();
            return;
        }
    }
    panic!("the server goes on");
}

#[tokio::test(start_paused = true)]
async fn identities_in_memory() {
    identities(Transport::Memory, "2026-05-01T00:00:00Z".parse().unwrap()).await;
}

#[tokio::test]
async fn identities_over_tls() {
    identities(Transport::Tcp, cfn_net::Clock::now(&cfn_net::SystemClock)).await;
}

/// What a watch shows through a cut and a reset.
async fn watch(transport: Transport, now: Timestamp) -> Vec<String> {
    let toy = Toy::start(transport, now, 3.25).await;
    let start = Instant::now();
    let client = toy.config(toy.certificate(&toy.ca)).client(&toy.net, "n1").unwrap();
    let mut events = Box::pin(cfn_net::watch::watch(
        kube::Api::<ConfigMap>::all(client),
        watcher::Config::default(),
    ));
    let mut trace = Vec::new();
    let mut applied = 0;
    while applied < 30 {
        let event = tokio::time::timeout(Duration::from_secs(30), events.next())
            .await
            .unwrap()
            .unwrap();
        let name = match event {
            Ok(watcher::Event::Apply(_)) => {
                applied += 1;
                match applied {
                    5 => {
                        toy.net.cut("edge", "cloud");
                        let net = toy.net.clone();
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_secs(1)).await;
                            net.heal("edge", "cloud");
                        });
                    }
                    20 => toy.net.reset("edge", "cloud"),
                    _ => {}
                }
                "apply"
            }
            Ok(watcher::Event::Init) => "init",
            Ok(watcher::Event::InitApply(_)) => "init apply",
            Ok(watcher::Event::InitDone) => "init done",
            Ok(watcher::Event::Delete(_)) => "delete",
            Err(_) => "error",
        };
        trace.push(format!("{:?} {name}", start.elapsed()));
    }
    toy.cancel.cancel();
    trace
}

fn kinds(trace: &[String]) -> Vec<(&str, usize)> {
    let names: Vec<&str> = trace.iter().map(|t| t.split_once(' ').unwrap().1).collect();
    names.chunk_by(|a, b| a == b).map(|c| (c[0], c.len())).collect()
}

fn watch_in_memory() -> Vec<String> {
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    rt.block_on(watch(Transport::Memory, "2026-05-01T00:00:00Z".parse().unwrap()))
}

#[test]
fn a_watch_in_memory_survives_and_repeats_exactly() {
    let trace = watch_in_memory();
    let kinds = kinds(&trace);
    assert_eq!(
        kinds[..4],
        [("init", 1), ("init apply", 1), ("init done", 1), ("apply", 20)],
        "{trace:#?}"
    );
    assert_eq!(kinds[4].0, "error", "a reset is seen at once: {trace:#?}");
    assert_eq!(kinds.last().unwrap(), &("apply", 10));
    for _ in 0..3 {
        assert_eq!(watch_in_memory(), trace);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_over_tls_survives() {
    let trace = watch(Transport::Tcp, cfn_net::Clock::now(&cfn_net::SystemClock)).await;
    let kinds = kinds(&trace);
    assert_eq!(
        kinds[..4],
        [("init", 1), ("init apply", 1), ("init done", 1), ("apply", 20)],
        "{trace:#?}"
    );
    assert_eq!(kinds[4].0, "error");
}
