//! API servers of others behind this one: a real HTTPS server that says what it is told.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cfn_apiserver::cluster::Cluster;
use cfn_net::pki::Ca;
use cfn_net::server::{PeerCert, serve, tls_server_config};
use cfn_net::{Clock, Net, Seed, SystemClock, Transport};
use common::cluster;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use kube::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What it was asked: path, headers, body.
type Asked = Arc<Mutex<Vec<(String, Value, String)>>>;

struct Behind {
    port: u16,
    ca: String,
    asked: Asked,
    broken: Arc<AtomicBool>,
    _stop: DropGuard,
}

/// Serves things of `things.example.com/v1` to who shows a certificate that one of `client_cas` signed.
async fn behind(client_cas: &str) -> Behind {
    let net = Net::new(Transport::Host, Seed(3));
    let listener = net
        .listen_on("behind", 0, "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let now = SystemClock.now();
    let ca = Ca::new("behind CA", now).unwrap();
    let sans = ["things.default.svc".to_owned()];
    let tls = tls_server_config(&ca.server("behind", &sans, now).unwrap(), Some(client_cas)).unwrap();
    let port = listener.port();
    let (asked, broken, stop) = (
        Asked::default(),
        Arc::new(AtomicBool::new(false)),
        CancellationToken::new(),
    );
    let (seen, wrong) = (asked.clone(), broken.clone());
    let handler = move |r: Request<hyper::body::Incoming>| {
        let (seen, wrong) = (seen.clone(), wrong.clone());
        async move { Ok::<_, Infallible>(answer(&seen, wrong.load(Ordering::SeqCst), r).await) }
    };
    tokio::spawn(serve(listener, Some(tls), handler, stop.clone()));
    Behind {
        port,
        ca: STANDARD.encode(ca.cert_pem()),
        asked,
        broken,
        _stop: stop.drop_guard(),
    }
}

async fn answer(
    seen: &Mutex<Vec<(String, Value, String)>>,
    broken: bool,
    mut r: Request<hyper::body::Incoming>,
) -> Response<Full<Bytes>> {
    let path = r.uri().path_and_query().unwrap().to_string();
    let mut headers = json!({"shown": r.extensions().get::<PeerCert>().is_some()});
    for k in r.headers().keys() {
        let all: Vec<&str> = r.headers().get_all(k).iter().map(|v| v.to_str().unwrap()).collect();
        headers[k.as_str()] = json!(all.join(","));
    }
    let upgrade = r.headers().contains_key("upgrade").then(|| hyper::upgrade::on(&mut r));
    let body = r.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    seen.lock().unwrap().push((path.clone(), headers, body));
    let json = |code: u16, v: Value| {
        let r = Response::builder()
            .status(code)
            .header("content-type", "application/json");
        r.body(Full::new(Bytes::from(v.to_string()))).unwrap()
    };
    if broken {
        return json(500, json!({}));
    }
    match path.as_str() {
        "/apis/things.example.com/v1" => json(
            200,
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "things.example.com/v1",
                "resources": [{"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get", "list"]}]}),
        ),
        "/openapi/v3" => json(
            200,
            json!({"paths": {"apis/things.example.com/v1": {"serverRelativeURL": "/openapi/v3/apis/things.example.com/v1?hash=H"}}}),
        ),
        "/openapi/v3/apis/things.example.com/v1?hash=H" => json(200, json!({"openapi": "3.0.0"})),
        "/apis/things.example.com/v1/moved" => Response::builder()
            .status(302)
            .header("location", "https://elsewhere.example.com/")
            .body(Full::default())
            .unwrap(),
        "/apis/things.example.com/v1/talk" => {
            let upgrade = upgrade.unwrap();
            tokio::spawn(async move {
                let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                let mut told = [0; 5];
                io.read_exact(&mut told).await.unwrap();
                io.write_all(&told).await.unwrap();
                io.shutdown().await.unwrap();
            });
            let r = Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "talk");
            r.body(Full::default()).unwrap()
        }
        p if p.starts_with("/apis/things.example.com/v1/") => json(200, json!({"kind": "ThingList", "path": p})),
        _ => json(404, json!({})),
    }
}

/// What is answered: its code and text.
async fn ask(client: &Client, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut r = Request::builder().method(method).uri(path);
    for (k, v) in headers {
        r = r.header(*k, *v);
    }
    let r = r.body(kube::client::Body::from(body.as_bytes().to_vec())).unwrap();
    let a = client.send(r).await.unwrap();
    let code = a.status().as_u16();
    let text = a.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8_lossy(&text).into_owned())
}

async fn create(client: &Client, path: &str, v: Value) {
    let (code, text) = ask(
        client,
        "POST",
        path,
        &[("content-type", "application/json")],
        &v.to_string(),
    )
    .await;
    assert_eq!(code, 201, "{text}");
}

/// Makes an APIService that the server keeps up to date somebody's own.
async fn take(client: &Client, name: &str, v: Value) {
    let patch = json!({"metadata": {"labels": {"kube-aggregator.kubernetes.io/automanaged": null}}, "spec": v["spec"]});
    let kind = [("content-type", "application/merge-patch+json")];
    let (code, text) = ask(client, "PATCH", &format!("{SERVERS}/{name}"), &kind, &patch.to_string()).await;
    assert_eq!(code, 200, "{text}");
}

/// Waits until the condition has this reason; its message.
async fn available(client: &Client, reason: &str) -> String {
    let wait = async {
        loop {
            let path = "/apis/apiregistration.k8s.io/v1/apiservices/v1.things.example.com";
            let (_, text) = ask(client, "GET", path, &[], "").await;
            let v: Value = serde_json::from_str(&text).unwrap();
            let c = &v["status"]["conditions"][0];
            if c["reason"] == reason {
                return c["message"].as_str().unwrap_or_default().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(40), wait).await;
    found.unwrap_or_else(|_| panic!("not {reason}"))
}

fn apiservice(b: &Behind, more: Value) -> Value {
    let mut spec = json!({"group": "things.example.com", "version": "v1", "groupPriorityMinimum": 1500, "versionPriority": 15,
        "service": {"namespace": "default", "name": "things", "port": b.port}});
    for (k, v) in more.as_object().unwrap() {
        spec[k] = v.clone();
    }
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.things.example.com"}, "spec": spec})
}

/// A cluster with the server behind it, by its service.
async fn with_behind() -> (Cluster, Client, Behind) {
    let (c, _) = cluster(Transport::Tcp, false).await;
    let client = c.client();
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let (_, trust) = ask(&client, "GET", path, &[], "").await;
    let trust: Value = serde_json::from_str(&trust).unwrap();
    let ca = trust["data"]["requestheader-client-ca-file"].as_str().unwrap();
    assert_eq!(trust["data"]["requestheader-allowed-names"], "[\"front-proxy-client\"]");
    let b = behind(ca).await;
    (c, client, b)
}

async fn service(client: &Client) {
    let v = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "things"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    create(client, "/api/v1/namespaces/default/services", v).await;
}

const SERVERS: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const ROOT: &str = "/apis/things.example.com/v1";

#[tokio::test]
async fn requests_go_on_to_the_server_behind() {
    let (cluster, client, b) = with_behind().await;
    create(&client, SERVERS, apiservice(&b, json!({"caBundle": b.ca}))).await;
    let message = available(&client, "ServiceNotFound").await;
    assert_eq!(message, "service/things in \"default\" is not present");
    let things = format!("{ROOT}/namespaces/default/things?limit=5");
    assert_eq!(
        ask(&client, "GET", &things, &[], "").await,
        (503, "service unavailable\n".to_owned())
    );
    service(&client).await;
    assert_eq!(available(&client, "Passed").await, "all checks passed");

    let liar = [
        ("x-remote-user", "root"),
        ("x-remote-group", "system:masters"),
        ("audit-id", "an-id"),
        ("x-forwarded-for", "192.0.2.1"),
        ("content-type", "application/json"),
    ];
    let (code, text) = ask(&client, "POST", &things, &liar, "{\"a\": 1}").await;
    assert_eq!(code, 200, "{text}");
    let (path, headers, body) = b.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!((path.as_str(), body.as_str()), (things.as_str(), "{\"a\": 1}"));
    assert_eq!(headers["shown"], true);
    assert_eq!(headers["x-remote-user"], "kubernetes-admin");
    assert_eq!(headers["x-remote-group"], "system:masters,system:authenticated");
    assert_eq!(headers["audit-id"], "an-id");
    assert_eq!(headers["host"], format!("localhost:{}", b.port));
    assert_eq!(headers["x-forwarded-uri"], things.split('?').next().unwrap());
    assert_eq!(headers["x-forwarded-proto"], "https");
    // In process nobody is known by an address.
    assert_eq!(headers["x-forwarded-for"], "192.0.2.1");

    // Who may not is not handed on.
    let n = b.asked.lock().unwrap().len();
    let nobody = cluster.client_as("jane", &[]);
    let (code, text) = ask(&nobody, "GET", &things, &[], "").await;
    assert_eq!(code, 403);
    assert!(
        text.contains("User \\\"jane\\\" cannot list resource \\\"things\\\""),
        "{text}"
    );
    assert_eq!(b.asked.lock().unwrap().len(), n);
    // And who acts as another is handed on as that one.
    let as_jane = [("impersonate-user", "jane"), ("impersonate-group", "system:masters")];
    assert_eq!(ask(&client, "GET", &things, &as_jane, "").await.0, 200);
    let (_, headers, _) = b.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!(headers["x-remote-user"], "jane");
    assert_eq!(headers["impersonate-user"], Value::Null);

    let (code, text) = ask(&client, "GET", &format!("{ROOT}/moved"), &[], "").await;
    assert_eq!(code, 502);
    assert!(text.contains("attempted to redirect"), "{text}");
}

#[tokio::test]
async fn what_is_behind_is_discovered_and_is_stale_when_it_fails() {
    let (_cluster, client, b) = with_behind().await;
    service(&client).await;
    create(&client, SERVERS, apiservice(&b, json!({"insecureSkipTLSVerify": true}))).await;
    available(&client, "Passed").await;
    let whole = [(
        "accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    )];
    let group = async || {
        let (_, text) = ask(&client, "GET", "/apis", &whole, "").await;
        let v: Value = serde_json::from_str(&text).unwrap();
        let all = v["items"].as_array().unwrap().clone();
        all.into_iter()
            .find(|g| g["metadata"]["name"] == "things.example.com")
            .unwrap()["versions"][0]
            .clone()
    };
    let kind = json!({"group": "things.example.com", "version": "v1", "kind": "Thing"});
    assert_eq!(
        group().await,
        json!({"version": "v1", "freshness": "Current", "resources": [{"resource": "things", "responseKind": kind,
            "scope": "Namespaced", "singularResource": "thing", "verbs": ["get", "list"]}]})
    );
    let (_, list) = ask(&client, "GET", "/apis", &[], "").await;
    assert!(list.contains("things.example.com/v1"), "{list}");
    let (code, one) = ask(&client, "GET", "/apis/things.example.com", &[], "").await;
    assert_eq!(code, 200, "{one}");
    let (_, index) = ask(&client, "GET", "/openapi/v3", &[], "").await;
    let index: Value = serde_json::from_str(&index).unwrap();
    let url = index["paths"]["apis/things.example.com/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(url, "/openapi/v3/apis/things.example.com/v1?hash=H");
    assert_eq!(ask(&client, "GET", &url, &[], "").await.1, "{\"openapi\":\"3.0.0\"}");

    b.broken.store(true, Ordering::SeqCst);
    // A change has it looked at.
    let patch = [("content-type", "application/merge-patch+json")];
    let label = r#"{"metadata": {"labels": {"a": "b"}}}"#;
    let (code, _) = ask(
        &client,
        "PATCH",
        &format!("{SERVERS}/v1.things.example.com"),
        &patch,
        label,
    )
    .await;
    assert_eq!(code, 200);
    let message = available(&client, "FailedDiscoveryCheck").await;
    let url = format!("https://localhost:{}{ROOT}", b.port);
    assert_eq!(
        message,
        format!("failing or missing response from {url}: bad status from {url}: 500")
    );
    assert_eq!(group().await, json!({"version": "v1", "freshness": "Stale"}));
    b.broken.store(false, Ordering::SeqCst);
    available(&client, "Passed").await;
    let (code, _) = ask(&client, "DELETE", &format!("{SERVERS}/v1.things.example.com"), &[], "").await;
    assert_eq!(code, 200);
    assert_eq!(ask(&client, "GET", ROOT, &[], "").await.0, 404);
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused() {
    let (_cluster, client, b) = with_behind().await;
    service(&client).await;
    let other = Ca::new("other", SystemClock.now()).unwrap();
    let v = apiservice(&b, json!({"caBundle": STANDARD.encode(other.cert_pem())}));
    create(&client, SERVERS, v).await;
    let message = available(&client, "FailedDiscoveryCheck").await;
    assert!(
        message.ends_with("x509: certificate signed by unknown authority"),
        "{message}"
    );
}

#[tokio::test]
async fn connections_become_what_both_ends_agree_on() {
    let (cluster, client, b) = with_behind().await;
    service(&client).await;
    create(&client, SERVERS, apiservice(&b, json!({"caBundle": b.ca}))).await;
    available(&client, "Passed").await;
    let net = Net::new(Transport::Host, Seed(9));
    let socket = cluster.socket().unwrap();
    let stream = net
        .connect("test", &socket.ip().to_string(), socket.port())
        .await
        .unwrap();
    let config = cluster.admin_config();
    let tls = cfn_net::client::tls_client_config(&config.ca_pem, &config.identity).unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(tls))
        .connect(name, stream)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection.with_upgrades());
    let r = Request::get(format!("{ROOT}/talk"))
        .header("host", "localhost")
        .header("connection", "upgrade")
        .header("upgrade", "talk")
        .body(Full::<Bytes>::default())
        .unwrap();
    let mut a = sender.send_request(r).await.unwrap();
    assert_eq!(a.status(), 101);
    let (_, headers, _) = b.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    let mut io = hyper_util::rt::TokioIo::new(hyper::upgrade::on(&mut a).await.unwrap());
    io.write_all(b"hello").await.unwrap();
    let mut said = String::new();
    let read = tokio::time::timeout(Duration::from_secs(20), io.read_to_string(&mut said)).await;
    read.unwrap().unwrap();
    assert_eq!(said, "hello");
}

#[tokio::test]
async fn what_is_built_in_stays_here_and_definitions_give_way() {
    let (_cluster, client, b) = with_behind().await;
    service(&client).await;
    take(
        &client,
        "v1.apps",
        apiservice(&b, json!({"group": "apps", "insecureSkipTLSVerify": true})),
    )
    .await;
    let version = json!({"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.things.example.com"}, "spec": {"group": "things.example.com", "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"}, "versions": [version]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    create(&client, definitions, definition).await;
    let things = format!("{ROOT}/namespaces/default/things");
    let list = async || {
        let (code, text) = ask(&client, "GET", &things, &[], "").await;
        let v: Value = serde_json::from_str(&text).unwrap_or_default();
        // Only the server behind says under which path it was asked.
        (code, v["path"].is_string())
    };
    assert_eq!(list().await, (200, false));
    available(&client, "Local").await;
    take(
        &client,
        "v1.things.example.com",
        apiservice(&b, json!({"caBundle": b.ca})),
    )
    .await;
    available(&client, "Passed").await;
    assert_eq!(list().await, (200, true));
    let (_, text) = ask(&client, "GET", "/apis/apps/v1/deployments", &[], "").await;
    assert!(text.contains("DeploymentList"), "{text}");
    let (code, _) = ask(&client, "DELETE", &format!("{SERVERS}/v1.things.example.com"), &[], "").await;
    assert_eq!(code, 200);
    // The definition's own is there again.
    available(&client, "Local").await;
    assert_eq!(list().await, (200, false));
}
