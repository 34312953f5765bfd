//! An extension API server, asked directly: who asks, and in which namespaces it writes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cfn_apiserver::cluster::Cluster;
use cfn_apiserver::extension::Extension;
use cfn_net::server::PeerCert;
use cfn_net::{ClientConfig, Identity, Net, Seed, Transport, VirtualClock};
use common::cluster;
use http::Request;
use http_body_util::{BodyExt, Full};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

const THINGS: &str = "/apis/things.example.com/v1/namespaces/a/things";

/// The main server and one of things behind it.
async fn extension() -> (Cluster, Net, Extension) {
    let (main, net) = cluster(Transport::Memory, true).await;
    let clock = Arc::new(VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.things.example.com"}, "spec": {"group": "things.example.com", "scope": "Namespaced",
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
            "names": {"kind": "Thing", "plural": "things", "singular": "thing"}}});
    let extension = Extension::start(main.client(), vec![definition], clock, Seed(9)).await;
    (main, net, extension.unwrap())
}

/// The certificate that a client shows.
fn certificate(config: &ClientConfig) -> PeerCert {
    let Identity::Certificate { cert_pem, .. } = &config.identity else {
        panic!("a certificate was expected");
    };
    PeerCert(CertificateDer::from_pem_slice(cert_pem.as_bytes()).unwrap().to_vec())
}

/// What it answers: its code and message.
async fn ask(
    extension: &Extension,
    certificate: Option<&PeerCert>,
    token: Option<&str>,
    made: Option<&str>,
) -> (u16, String) {
    let mut r = Request::builder()
        .method(if made.is_some() { "POST" } else { "GET" })
        .uri(THINGS)
        .header("content-type", "application/json");
    if let Some(token) = token {
        r = r.header("authorization", format!("Bearer {token}"));
    }
    let body = made.map(|name| {
        json!({"apiVersion": "things.example.com/v1", "kind": "Thing", "metadata": {"name": name}}).to_string()
    });
    let mut r = r.body(Full::new(Bytes::from(body.unwrap_or_default()))).unwrap();
    if let Some(certificate) = certificate {
        r.extensions_mut().insert(certificate.clone());
    }
    let answer = extension.handle(r).await;
    let code = answer.status().as_u16();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    let v: Value = serde_json::from_slice(&text).unwrap();
    (code, v["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_certificate_counts_before_a_token() {
    let (main, _net, extension) = extension().await;
    let bob = certificate(&main.config_for("bob", &[]));
    let bobs = "things.things.example.com is forbidden: User \"bob\" cannot list resource \"things\" in API group \
        \"things.example.com\" in the namespace \"a\"";
    for token in [None, Some("nobodys")] {
        assert_eq!(ask(&extension, Some(&bob), token, None).await, (403, bobs.to_owned()));
    }
    assert_eq!(ask(&extension, None, Some("nobodys"), None).await.0, 401);
    // What no CA that counts has signed is no certificate: the token is looked at.
    let stranger = cfn_net::pki::Ca::seeded("other", "2026-01-01T00:00:00Z".parse().unwrap(), Seed(5)).unwrap();
    let stranger = stranger
        .client("bob", &[], "2026-01-01T00:00:00Z".parse().unwrap())
        .unwrap();
    let stranger = PeerCert(
        CertificateDer::from_pem_slice(stranger.cert_pem.as_bytes())
            .unwrap()
            .to_vec(),
    );
    assert_eq!(ask(&extension, Some(&stranger), Some("nobodys"), None).await.0, 401);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_was_made_again_is_written_into() {
    let (main, _net, extension) = extension().await;
    let admin = certificate(&main.admin_config());
    let make = async |name: &str| ask(&extension, Some(&admin), None, Some(name)).await;
    let namespaces: Api<Namespace> = Api::all(main.client());
    let a: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "a", "finalizers": ["example.com/f"]}})).unwrap();
    assert_eq!(make("one").await, (404, "namespaces \"a\" not found".to_owned()));
    namespaces.create(&PostParams::default(), &a).await.unwrap();
    assert_eq!(make("one").await.0, 201);
    namespaces.delete("a", &DeleteParams::default()).await.unwrap();
    let ends = "things.things.example.com \"two\" is forbidden: unable to create new content in namespace a because it is \
        being terminated";
    assert_eq!(make("two").await, (403, ends.to_owned()));
    let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    namespaces.patch("a", &PatchParams::default(), &released).await.unwrap();
    let gone = async {
        while namespaces.get_opt("a").await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    assert_eq!(make("two").await.0, 404);
    namespaces.create(&PostParams::default(), &a).await.unwrap();
    assert_eq!(make("two").await.0, 201);
}
