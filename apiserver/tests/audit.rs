//! Acting as another, and what the audit log says of it, over TLS.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use cfn_net::Transport;
use common::cluster_with;
use kube::Client;
use serde_json::{Value, json};

/// Status code and body of a request with these headers.
async fn ask(client: &Client, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut r = http::Request::get(path);
    for (k, v) in headers {
        r = r.header(*k, *v);
    }
    let answer = client.send(r.body(Vec::new().into()).unwrap()).await.unwrap();
    let code = answer.status().as_u16();
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
    (code, String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

async fn post(client: &Client, path: &str, v: Value) {
    let r = http::Request::post(path)
        .body(v.to_string().into_bytes().into())
        .unwrap();
    assert_eq!(client.send(r).await.unwrap().status(), 201);
}

fn message(body: &str) -> String {
    let v: Value = serde_json::from_str(body).unwrap();
    v["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn acting_as_another_needs_the_right_to() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.log");
    let (c, net) = cluster_with(Transport::Tcp, false, |o| o.audit_log = Some(log.clone())).await;
    net.add_host("laptop", "cloud");
    let admin = c.admin_config().client(&net, "laptop").unwrap();
    let alice = c.config_for("alice", &[]).client(&net, "laptop").unwrap();
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "actor"}, "rules": [
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]},
        {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"], "resourceNames": ["view"]}]});
    post(&admin, &format!("{rbac}/clusterroles"), role).await;
    let binding = json!({"metadata": {"name": "actor"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "actor"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]});
    post(&admin, &format!("{rbac}/clusterrolebindings"), binding).await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}});
    post(&admin, "/api/v1/namespaces/default/secrets", secret).await;

    let path = "/api/v1/namespaces/default/configmaps";
    for (headers, why) in [
        (
            vec![("impersonate-user", "eve")],
            "configmaps is forbidden: User \"alice\" cannot impersonate-on:user-info:list resource \"configmaps\" in API group \"\" in the namespace \"default\"",
        ),
        (
            vec![("impersonate-user", "bob"), ("impersonate-group", "ops")],
            "configmaps is forbidden: User \"alice\" cannot impersonate-on:user-info:list resource \"configmaps\" in API group \"\" in the namespace \"default\"",
        ),
        (
            vec![("impersonate-user", "bob"), ("impersonate-extra-scopes", "all")],
            "configmaps is forbidden: User \"alice\" cannot impersonate-on:user-info:list resource \"configmaps\" in API group \"\" in the namespace \"default\"",
        ),
        (
            vec![("impersonate-user", "bob"), ("impersonate-uid", "7")],
            "configmaps is forbidden: User \"alice\" cannot impersonate-on:user-info:list resource \"configmaps\" in API group \"\" in the namespace \"default\"",
        ),
        (
            vec![("impersonate-user", "system:serviceaccount:default:x")],
            "configmaps is forbidden: User \"alice\" cannot impersonate-on:serviceaccount:list resource \"configmaps\" in API group \"\" in the namespace \"default\"",
        ),
        // Who may act as bob may do what bob may.
        (
            vec![("impersonate-user", "bob"), ("impersonate-extra-scopes", "view")],
            "configmaps is forbidden: User \"bob\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\"",
        ),
        // Once somebody acts in the way that is not constrained, that way is tried first.
        (
            vec![("impersonate-user", "bob"), ("impersonate-group", "ops")],
            "groups \"ops\" is forbidden: User \"alice\" cannot impersonate resource \"groups\" in API group \"\" at the cluster scope",
        ),
        (
            vec![("impersonate-user", "system:serviceaccount:default:x")],
            "serviceaccounts \"x\" is forbidden: User \"alice\" cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"default\"",
        ),
        (
            vec![("impersonate-user", "eve")],
            "users \"eve\" is forbidden: User \"alice\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
        ),
    ] {
        let (code, body) = ask(&alice, path, &headers).await;
        assert_eq!((code, message(&body).as_str()), (403, why));
    }
    let (code, body) = ask(&admin, path, &[("impersonate-group", "ops")]).await;
    assert_eq!(
        (code, message(&body).as_str()),
        (
            400,
            "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"ops\"}, Extra:map[string][]string(nil)} without impersonating a user name"
        )
    );
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let r = http::Request::post(review)
        .header("impersonate-user", "bob")
        .header("impersonate-group", "ops")
        .header("impersonate-extra-acme.com%2Fproject", "p")
        .header("authorization", "Bearer x-secret-token")
        .body(
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
                .to_string()
                .into_bytes()
                .into(),
        )
        .unwrap();
    let answer = http_body_util::BodyExt::collect(admin.send(r).await.unwrap().into_body())
        .await
        .unwrap();
    let who: Value = serde_json::from_slice(&answer.to_bytes()).unwrap();
    let who = &who["status"]["userInfo"];
    assert_eq!(who["username"], "bob");
    assert_eq!(who["groups"], json!(["ops", "system:authenticated"]));
    assert_eq!(who["extra"], json!({"acme.com/project": ["p"]}));

    let text = std::fs::read_to_string(&log).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("x-secret-token"));
    let events: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for e in &events {
        assert_eq!(
            (&e["kind"], &e["apiVersion"], &e["level"]),
            (&json!("Event"), &json!("audit.k8s.io/v1"), &json!("Metadata"))
        );
        assert!(e["requestObject"].is_null() && e["auditID"].is_string());
    }
    let made = events.iter().find(|e| e["objectRef"]["resource"] == "secrets").unwrap();
    assert_eq!(made["user"]["username"], "kubernetes-admin");
    assert_eq!(made["responseStatus"]["code"], 201);
    assert_eq!(made["annotations"]["authorization.k8s.io/decision"], "allow");
    let as_bob = events
        .iter()
        .find(|e| e["impersonatedUser"]["username"] == "bob" && e["verb"] == "list")
        .unwrap();
    assert_eq!(as_bob["user"]["username"], "alice");
    assert_eq!(as_bob["responseStatus"]["code"], 403);
    assert_eq!(as_bob["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(as_bob["requestURI"], path);
}
