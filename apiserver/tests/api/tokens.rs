//! Service account tokens: whom they name, what they stand on, and what others check them with.

use cfn_apiserver::cluster::Cluster;
use cfn_net::{Net, Transport};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus};
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::common::cluster;
use crate::{code, from};

/// A token of the account `me`, which is made when it is not there.
async fn token(client: &Client, spec: Value) -> String {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let me = from(json!({"metadata": {"name": "me"}}));
    let _ = accounts.create(&PostParams::default(), &me).await;
    let request = from(json!({"spec": spec}));
    let answer = accounts
        .create_token_request("me", &PostParams::default(), &request)
        .await;
    answer.unwrap().status.unwrap().token.unwrap()
}

async fn review(client: &Client, token: &str, audiences: &[&str]) -> TokenReviewStatus {
    let reviews: Api<TokenReview> = Api::all(client.clone());
    let review = from(json!({"spec": {"token": token, "audiences": audiences}}));
    let answer = reviews.create(&PostParams::default(), &review).await;
    answer.unwrap().status.unwrap()
}

/// A client that has this token.
fn bearer(c: &Cluster, net: &Net, token: &str) -> Client {
    let config = cfn_net::ClientConfig {
        identity: cfn_net::Identity::Token(token.to_owned()),
        ..c.admin_config()
    };
    config.client(net, "pod").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_service_account_token_is_believed() {
    let (c, net) = cluster(Transport::Memory, false).await;
    net.add_host("pod", "cloud");
    let token = token(&c.client(), json!({"audiences": []})).await;
    let pods: Api<Pod> = Api::default_namespaced(bearer(&c, &net, &token));
    let refused = code(pods.list(&ListParams::default()).await);
    assert!(
        refused.2.contains("User \"system:serviceaccount:default:me\""),
        "{}",
        refused.2
    );
    let accounts: Api<ServiceAccount> = Api::default_namespaced(c.client());
    accounts.delete("me", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(pods.list(&ListParams::default()).await).0, 401);
}

#[tokio::test(start_paused = true)]
async fn what_a_token_is_bound_to_is_looked_at_each_time() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let client = c.client();
    let secrets: Api<Secret> = Api::default_namespaced(client.clone());
    let secret: Secret = from(json!({"metadata": {"name": "s"}}));
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let bound = json!({"audiences": ["a", "b"], "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "s"}});
    let token = token(&client, bound).await;
    let good = review(&client, &token, &["b", "c"]).await;
    assert_eq!(
        (good.authenticated, good.audiences),
        (Some(true), Some(vec!["b".to_owned()]))
    );
    assert_eq!(
        review(&client, &token, &[]).await.error.as_deref(),
        Some(
            "[invalid bearer token, token audiences [\"a\" \"b\"] is invalid for the target audiences [\"https://kubernetes.default.svc.cluster.local\"]]"
        )
    );
    // Another one of its name is not the same.
    secrets.delete("s", &DeleteParams::default()).await.unwrap();
    let gone = review(&client, &token, &["a"]).await.error.unwrap();
    assert_eq!(
        gone,
        "[invalid bearer token, service account token has been invalidated]"
    );
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let other = review(&client, &token, &["a"]).await.error.unwrap();
    assert!(
        other.contains("does not match service account secret ref claim"),
        "{other}"
    );
    // Whoever changes a letter of what it says has not signed it.
    let (head, signature) = token.rsplit_once('.').unwrap();
    let forged = format!(
        "{head}.{}{}",
        if signature.starts_with('A') { "B" } else { "A" },
        &signature[1..]
    );
    let status = review(&client, &forged, &["a"]).await;
    assert_eq!(
        (status.authenticated, status.error.as_deref()),
        (
            None,
            Some("[invalid bearer token, go-jose/go-jose: error in cryptographic primitive]")
        )
    );
}

#[tokio::test(start_paused = true)]
async fn secrets_of_accounts_are_given_a_token() {
    let (c, net) = cluster(Transport::Memory, true).await;
    net.add_host("pod", "cloud");
    let client = c.client();
    token(&client, json!({})).await;
    let secrets: Api<Secret> = Api::default_namespaced(client.clone());
    let of = |name: &str, account: &str| -> Secret {
        from(
            json!({"metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": account}},
            "type": "kubernetes.io/service-account-token"}),
        )
    };
    for s in [of("mine", "me"), of("nobodys", "nobody")] {
        secrets.create(&PostParams::default(), &s).await.unwrap();
    }
    let mut filled = None;
    for _ in 0..100 {
        let all = secrets.list(&ListParams::default()).await.unwrap().items;
        filled = all.iter().find(|s| s.name_any() == "mine").cloned();
        if all.len() == 1 && filled.as_ref().is_some_and(|s| s.data.is_some()) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let data = filled.unwrap().data.unwrap();
    assert_eq!(data["namespace"].0, b"default");
    assert_eq!(data["ca.crt"].0, c.admin_config().ca_pem.into_bytes());
    let token = String::from_utf8(data["token"].0.clone()).unwrap();
    let pods: Api<Pod> = Api::default_namespaced(bearer(&c, &net, &token));
    assert_eq!(code(pods.list(&ListParams::default()).await).0, 403, "it is known");
    let mark = json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}}});
    let patch = async |patch: Value| {
        secrets
            .patch("mine", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap()
    };
    patch(mark).await;
    assert_eq!(code(pods.list(&ListParams::default()).await).0, 401);
    let marked = review(&client, &token, &[]).await.error.unwrap();
    assert!(
        marked.contains("the token in secret default/mine for service account default/me has been marked invalid"),
        "{marked}"
    );
    patch(json!({"metadata": {"labels": null}})).await;
    assert_eq!(review(&client, &token, &[]).await.authenticated, Some(true));
    // It goes with its account.
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    accounts.delete("me", &DeleteParams::default()).await.unwrap();
    let mut left = 1;
    for _ in 0..100 {
        left = secrets.list(&ListParams::default()).await.unwrap().items.len();
        if left == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(left, 0);
    assert_eq!(code(pods.list(&ListParams::default()).await).0, 401);
}

/// A path over TLS with a token: status, content type, `Cache-Control` and body.
async fn get(c: &Cluster, path: &str, token: &str) -> (u16, String, String, Value) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(c.admin_config().ca_pem.as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
    let url = format!("https://{}{path}", c.socket().unwrap());
    let answer = client.get(url).bearer_auth(token).send().await.unwrap();
    let header = |name: &str| {
        let value = answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        value.unwrap_or_default()
    };
    let (kind, cached) = (header("content-type"), header("cache-control"));
    let code = answer.status().as_u16();
    let body = answer.bytes().await.unwrap();
    (code, kind, cached, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn others_find_the_key_that_signed_a_token() {
    let (c, _) = cluster(Transport::Tcp, false).await;
    let token = token(&c.client(), json!({})).await;
    let (code, kind, cached, found) = get(&c, "/.well-known/openid-configuration", &token).await;
    let public = "public, max-age=3600".to_owned();
    assert_eq!((code, kind.as_str(), &cached), (200, "application/json", &public));
    assert_eq!(
        found,
        json!({"issuer": "https://kubernetes.default.svc.cluster.local", "jwks_uri": "https://192.0.2.10:6443/openid/v1/jwks",
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"]})
    );
    let (code, kind, cached, keys) = get(&c, "/openid/v1/jwks", &token).await;
    assert_eq!((code, kind.as_str(), cached), (200, "application/jwk-set+json", public));
    let key = &keys["keys"][0];
    let decode = |part: &str| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()
    };
    let header: Value = serde_json::from_slice(&decode(token.split('.').next().unwrap())).unwrap();
    assert_eq!(header, json!({"alg": "ES256", "kid": key["kid"]}));
    // Checked with nothing but what was published.
    let coordinate = |name: &str| decode(key[name].as_str().unwrap());
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let (text, signature) = token.rsplit_once('.').unwrap();
    let checker = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point);
    checker.verify(text.as_bytes(), &decode(signature)).unwrap();
    // Every service account may look, and nobody else.
    for (token, path, expected) in [
        ("none", "/openid/v1/jwks", 401),
        (token.as_str(), "/openid/v1/jwks/", 200),
        (&token, "/openid/v1/jwks/x", 403),
    ] {
        assert_eq!(get(&c, path, token).await.0, expected, "{path}");
    }
}
