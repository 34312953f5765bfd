//! The sample extension API server in a pod, behind the aggregator.

use cfn_net::pki::Ca;

use super::*;
use crate::node::shell;

const RBAC: &str = "rbac.authorization.k8s.io";
const SERVERS: Gvr = Gvr::new("apiregistration.k8s.io", "v1", "apiservices");

/// Lets the default service account ask about who asks, and what the front proxy is.
fn allow(l: &Local) {
    let subjects = json!([{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]);
    let role = |kind: &str, name: &str| json!({"apiGroup": RBAC, "kind": kind, "name": name});
    let cluster = |name: &'static str, v: Value| {
        l.create(&Gvr::new(RBAC, "v1", name), "", v).unwrap();
    };
    let rules = json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]}]);
    cluster("clusterroles", json!({"metadata": {"name": "reader"}, "rules": rules}));
    for (name, of) in [("reads", "reader"), ("asks", "system:auth-delegator")] {
        let v = json!({"metadata": {"name": name}, "roleRef": role("ClusterRole", of), "subjects": subjects});
        cluster("clusterrolebindings", v);
    }
    let v = json!({"metadata": {"name": "trusts"}, "subjects": subjects,
        "roleRef": role("Role", "extension-apiserver-authentication-reader")});
    l.create(&Gvr::new(RBAC, "v1", "rolebindings"), "kube-system", v)
        .unwrap();
}

fn pod() -> Value {
    json!({"metadata": {"name": "sample", "labels": {"app": "sample"}}, "spec": {
        "volumes": [{"name": "certs", "secret": {"secretName": "certs"}}],
        "containers": [
            {"name": "server", "image": "registry.k8s.io/e2e-test-images/sample-apiserver:1.29.2",
                "args": ["--etcd-servers=http://127.0.0.1:2379", "--tls-cert-file=/certs/tls.crt", "--tls-private-key-file=/certs/tls.key"],
                "volumeMounts": [{"name": "certs", "mountPath": "/certs", "readOnly": true}],
                "readinessProbe": {"httpGet": {"scheme": "HTTPS", "port": 443, "path": "/readyz"}, "periodSeconds": 1}},
            {"name": "etcd", "image": "registry.k8s.io/etcd:3.6.8-0",
                "command": ["/usr/local/bin/etcd", "--listen-client-urls", "http://127.0.0.1:2379"]}]}})
}

/// Code and document of an answer.
async fn ask(client: &kube::Client, method: &str, path: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let r = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(kube::client::Body::from(body.into_bytes()))
        .unwrap();
    let a = client.send(r).await.unwrap();
    let code = a.status().as_u16();
    let body = http_body_util::BodyExt::collect(a.into_body())
        .await
        .unwrap()
        .to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn a_sample_apiserver_is_served_from_its_pod() {
    let mut workloads = Workloads::default();
    shell::register(&mut workloads);
    let b = bed(41, workloads).await;
    let _node = b.node("n1", 1).await;
    let l = b.local();
    let ca = Ca::seeded("sample", b.clock.now(), Seed(5)).unwrap();
    let own = ca
        .server("sample", &["sample.default.svc".to_owned()], b.clock.now())
        .unwrap();
    let secret =
        json!({"metadata": {"name": "certs"}, "stringData": {"tls.crt": own.cert_pem, "tls.key": own.key_pem}});
    l.create(&Gvr::new("", "v1", "secrets"), "default", secret).unwrap();
    allow(&l);
    l.create(&PODS, "default", pod()).unwrap();
    let service = json!({"metadata": {"name": "sample"}, "spec": {"selector": {"app": "sample"},
        "ports": [{"port": 7443, "targetPort": 443}]}});
    l.create(&Gvr::new("", "v1", "services"), "default", service).unwrap();
    let server = json!({"metadata": {"name": "v1alpha1.wardle.example.com"}, "spec": {"group": "wardle.example.com",
        "version": "v1alpha1", "insecureSkipTLSVerify": true, "groupPriorityMinimum": 2000, "versionPriority": 200,
        "service": {"namespace": "default", "name": "sample", "port": 7443}}});
    l.create(&SERVERS, "", server).unwrap();
    let said = |l: &Local, reason: &str| {
        let v = l.get(&SERVERS, "", "v1alpha1.wardle.example.com").unwrap();
        v["status"]["conditions"][0]["reason"] == reason
    };
    b.until("nobody answers yet", 5, |l| said(l, "MissingEndpoints")).await;
    b.until("it is available", 60, |l| said(l, "Passed")).await;

    let client = b.cluster.client();
    let root = "/apis/wardle.example.com/v1alpha1";
    let flunders = format!("{root}/namespaces/default/flunders");
    let flunder = json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": {"name": "f"},
        "spec": {"reference": "g", "unknown": 1}});
    let (code, made) = ask(&client, "POST", &flunders, flunder.clone()).await;
    assert_eq!((code, &made["spec"]), (201, &json!({"reference": "g"})), "{made}");
    let (code, all) = ask(&client, "GET", &flunders, Value::Null).await;
    assert_eq!((code, all["items"].as_array().map(Vec::len)), (200, Some(1)), "{all}");
    // Namespaces are those of the server in front.
    let elsewhere = format!("{root}/namespaces/none/flunders");
    let (code, refusal) = ask(&client, "POST", &elsewhere, flunder.clone()).await;
    assert_eq!(
        (code, refusal["message"].as_str()),
        (404, Some("namespaces \"none\" not found"))
    );
    l.create(&NAMESPACES, "", json!({"metadata": {"name": "none"}}))
        .unwrap();
    assert_eq!(ask(&client, "POST", &elsewhere, flunder).await.0, 201);

    // The server behind asks the one in front what a user may do.
    let rules = json!([{"apiGroups": ["wardle.example.com"], "resources": ["flunders"], "verbs": ["list"]}]);
    let of = |g: &'static str, v: Value| {
        l.create(&Gvr::new(RBAC, "v1", g), "", v).unwrap();
    };
    of(
        "clusterroles",
        json!({"metadata": {"name": "flunders"}, "rules": rules}),
    );
    of(
        "clusterrolebindings",
        json!({"metadata": {"name": "jane"}, "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "flunders"},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "jane"}]}),
    );
    let jane = b.cluster.client_as("jane", &[]);
    assert_eq!(ask(&jane, "GET", &flunders, Value::Null).await.0, 200);
    assert_eq!(ask(&jane, "GET", &format!("{flunders}/f"), Value::Null).await.0, 403);
    // And believes nobody else: who comes to the pod without the front proxy's certificate is nobody.
    let at = l.get(&PODS, "default", "sample").unwrap()["status"]["podIP"]
        .as_str()
        .unwrap()
        .to_owned();
    let direct = ClientConfig {
        server: format!("https://{at}:443"),
        ..b.cluster.bootstrap_config()
    };
    let direct = ClientConfig {
        identity: Identity::Anonymous,
        ..direct
    };
    let direct = direct.client(&b.net, "hub").unwrap();
    let says = async |name: &'static str, value: &str| {
        let r = http::Request::get(&flunders).header(name, value);
        let a = direct.send(r.body(kube::client::Body::empty()).unwrap()).await.unwrap();
        a.status().as_u16()
    };
    assert_eq!(says("x-remote-user", "jane").await, 403);
    // Whose a token is the server in front says.
    assert_eq!(says("authorization", "Bearer nonsense").await, 401);
    let whoever = "Bearer abcdef.0123456789abcdef";
    assert_eq!(says("authorization", whoever).await, 403);
    let v = json!({"metadata": {"name": "joins"}, "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "flunders"},
        "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": "system:bootstrappers"}]});
    of("clusterrolebindings", v);
    assert_eq!(says("authorization", whoever).await, 200);

    l.delete_now(&PODS, "default", "sample").unwrap();
    b.until("nobody answers any more", 60, |l| said(l, "MissingEndpoints"))
        .await;
    assert_eq!(ask(&client, "GET", &flunders, Value::Null).await.0, 503);
}
