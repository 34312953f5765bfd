//! Admission and conversion webhooks, answered by a real HTTPS server in the test.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod conversion;
mod server;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cfn_apiserver::cluster::Cluster;
use cfn_net::pki::Ca;
use cfn_net::{Net, Seed, Transport};
use common::{cluster, cluster_with};
use futures::StreamExt;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use server::Hooks;

fn patch(steps: Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(steps.to_string())})
}

fn admission(path: &str, request: &Value) -> Value {
    let data = &request["object"]["data"];
    match path {
        "/stamp" => {
            let mut a = patch(json!([{"op": "add", "path": "/data/stamped", "value": "yes"}]));
            a["warnings"] = json!(["stamped"]);
            a["auditAnnotations"] = json!({"note": "n"});
            a
        }
        // Counts how often it was asked about the object.
        "/count" => {
            let n: u32 = data["count"].as_str().unwrap_or("0").parse().unwrap();
            patch(json!([{"op": "add", "path": "/data/count", "value": (n + 1).to_string()}]))
        }
        "/sidecar" => {
            patch(json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "sidecar", "image": "s"}}]))
        }
        "/container" => patch(json!([{"op": "add", "path": "/container", "value": "other"}])),
        "/deny" if data["bad"] == "yes" || request["operation"] == "DELETE" => {
            json!({"allowed": false, "status": {"message": "not so", "code": 418, "reason": "Teapot"}})
        }
        _ => json!({"allowed": true}),
    }
}

fn rules(resource: &str, operations: &[&str]) -> Value {
    let (group, resource) = resource.split_once('/').unwrap_or(("", resource));
    let (group, version) = group.split_once('@').unwrap_or((group, "v1"));
    json!([{"apiGroups": [group], "apiVersions": [version], "operations": operations, "resources": [resource]}])
}

fn hook(name: &str, config: &Value, more: Value) -> Value {
    let mut v = json!({"name": name, "clientConfig": config, "rules": rules("configmaps", &["CREATE", "UPDATE"]), "sideEffects": "None",
        "admissionReviewVersions": ["v1"]});
    for (k, x) in more.as_object().unwrap() {
        v[k] = x.clone();
    }
    v
}

fn kind(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: if group.is_empty() {
            version.into()
        } else {
            format!("{group}/{version}")
        },
        kind: kind.into(),
        plural: plural.into(),
    }
}

fn maps() -> ApiResource {
    kind("", "v1", "ConfigMap", "configmaps")
}

async fn register(client: &Client, mutating: bool, name: &str, hooks: Vec<Value>) {
    let (k, plural) = match mutating {
        true => ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        false => ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    };
    let r = kind("admissionregistration.k8s.io", "v1", k, plural);
    let v = json!({"apiVersion": r.api_version, "kind": k, "metadata": {"name": name}, "webhooks": hooks});
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &r);
    api.create(&PostParams::default(), &from(v)).await.unwrap();
}

fn from<T: serde::de::DeserializeOwned>(v: Value) -> T {
    serde_json::from_value(v).unwrap()
}

fn map(name: &str, data: Value) -> DynamicObject {
    from(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
}

fn refusal<T: std::fmt::Debug>(r: Result<T, kube::Error>) -> (u16, String, String) {
    match r {
        Err(kube::Error::Api(s)) => (s.code, s.reason.clone(), s.message.clone()),
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

async fn with_hooks() -> (Cluster, Hooks, Client, Api<DynamicObject>) {
    let (c, _) = cluster(Transport::Tcp, false).await;
    let client = c.client();
    let api = Api::default_namespaced_with(client.clone(), &maps());
    (c, Hooks::start(admission).await, client, api)
}

#[tokio::test]
async fn webhooks_change_and_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit");
    let (c, _) = cluster_with(Transport::Tcp, false, |o| o.audit_log = Some(log.clone())).await;
    let (client, hooks) = (c.client(), Hooks::start(admission).await);
    let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &maps());
    register(
        &client,
        true,
        "m",
        vec![hook("stamp.x.io", &hooks.at("/stamp"), json!({}))],
    )
    .await;
    let all = json!({"rules": rules("configmaps", &["*"])});
    register(&client, false, "v", vec![hook("deny.x.io", &hooks.at("/deny"), all)]).await;
    let made = api
        .create(&PostParams::default(), &map("a", json!({"k": "v"})))
        .await
        .unwrap();
    assert_eq!(made.data["data"], json!({"k": "v", "stamped": "yes"}));
    let asked = &hooks.asked("/stamp")[0];
    assert_eq!(
        (
            &asked["operation"],
            &asked["name"],
            &asked["namespace"],
            &asked["dryRun"],
            &asked["oldObject"]
        ),
        (
            &json!("CREATE"),
            &json!("a"),
            &json!("default"),
            &json!(false),
            &Value::Null
        )
    );
    assert_eq!(
        asked["kind"],
        json!({"group": "", "version": "v1", "kind": "ConfigMap"})
    );
    assert_eq!(asked["userInfo"]["username"], "kubernetes-admin");
    assert_eq!(asked["options"]["kind"], "CreateOptions");
    assert!(asked["object"]["metadata"]["uid"].is_null(), "before it has one");
    let seen = &hooks.asked("/deny")[0];
    assert_eq!(seen["object"]["data"]["stamped"], "yes", "after the changes");
    assert_eq!(seen["object"]["metadata"]["uid"], made.uid().unwrap());
    // Generated names are the same for all who are asked.
    let mut generated = map("", json!({}));
    generated.metadata.name = None;
    generated.metadata.generate_name = Some("g-".into());
    let g = api.create(&PostParams::default(), &generated).await.unwrap();
    assert_eq!(hooks.asked("/deny")[1]["object"]["metadata"]["name"], g.name_any());
    assert_eq!(hooks.asked("/deny").len(), 2, "each is asked once");
    let no = (
        418,
        "Teapot".to_owned(),
        "admission webhook \"deny.x.io\" denied the request: not so".to_owned(),
    );
    assert_eq!(
        refusal(
            api.create(&PostParams::default(), &map("b", json!({"bad": "yes"})))
                .await
        ),
        no
    );
    let change = Patch::Merge(json!({"data": {"bad": "yes"}}));
    assert_eq!(refusal(api.patch("a", &PatchParams::default(), &change).await), no);
    assert_eq!(hooks.asked("/deny").last().unwrap()["oldObject"]["data"]["k"], "v");
    assert_eq!(refusal(api.delete("a", &DeleteParams::default()).await), no);
    assert_eq!(
        refusal(
            api.delete_collection(&DeleteParams::default(), &ListParams::default())
                .await
        ),
        no
    );
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 2);
    // Warnings reach the client, and the audit log has what webhooks note.
    let request = http::Request::post("/api/v1/namespaces/default/configmaps")
        .body(serde_json::to_vec(&map("w", json!({}))).unwrap().into())
        .unwrap();
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.headers()["warning"], "299 - \"stamped\"");
    let text = std::fs::read_to_string(&log).unwrap();
    let events: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let of = |name: &str| {
        events.iter().find(|e| {
            e["verb"] == "create" && e["objectRef"]["resource"] == "configmaps" && e["annotations"].get(name).is_some()
        })
    };
    assert_eq!(of("stamp.x.io/note").unwrap()["annotations"]["stamp.x.io/note"], "n");
    let noted = of("mutation.webhook.admission.k8s.io/round_0_index_0").unwrap();
    assert_eq!(
        (&noted["level"], &noted["stage"]),
        (&json!("Metadata"), &json!("ResponseComplete"))
    );
}

#[tokio::test]
async fn a_dry_run_asks_only_what_has_no_side_effects() {
    let (_c, hooks, client, api) = with_hooks().await;
    let none = hook(
        "stamp.x.io",
        &hooks.at("/stamp"),
        json!({"sideEffects": "NoneOnDryRun"}),
    );
    register(&client, true, "m", vec![none]).await;
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let made = api.create(&dry, &map("a", json!({}))).await.unwrap();
    assert_eq!(made.data["data"]["stamped"], "yes");
    assert_eq!(hooks.asked("/stamp")[0]["dryRun"], true);
    // v1 registers none with other side effects; those of before are refused when they are asked.
    assert!(api.get("a").await.is_err());
}

#[tokio::test]
async fn what_cannot_be_asked_fails_or_is_ignored() {
    let (_c, hooks, client, api) = with_hooks().await;
    let port = {
        // A port that nobody listens on: bound and closed again.
        let net = Net::new(Transport::Host, Seed(1));
        net.listen_on("x", 0, "127.0.0.1:0".parse().unwrap())
            .await
            .unwrap()
            .port()
    };
    // One second where that is what is tested, all there is where the machine may be busy.
    let seconds = |name: &str| if name == "never" { 1 } else { 30 };
    let only = |name: &str| json!({"objectSelector": {"matchLabels": {"for": name}}, "timeoutSeconds": seconds(name)});
    let other = Ca::new("another", cfn_net::Clock::now(&cfn_net::SystemClock)).unwrap();
    let mut stranger = hooks.at("/stamp");
    stranger["caBundle"] = json!(STANDARD.encode(other.cert_pem()));
    let nowhere = json!({"url": format!("https://127.0.0.1:{port}/x"), "caBundle": hooks.ca});
    let service = json!({"service": {"namespace": "default", "name": "hook", "path": "/stamp"}, "caBundle": hooks.ca});
    let list = vec![
        hook("gone.x.io", &nowhere, only("gone")),
        hook("stranger.x.io", &stranger, only("stranger")),
        hook("never.x.io", &hooks.at("/never"), only("never")),
        hook("broken.x.io", &hooks.at("/broken"), only("broken")),
        hook("service.x.io", &service, only("service")),
    ];
    register(&client, true, "m", list).await;
    let mut lenient = hook("lenient.x.io", &nowhere, only("lenient"));
    lenient["failurePolicy"] = json!("Ignore");
    register(&client, false, "v", vec![lenient]).await;
    let labelled = |l: &str| {
        let mut o = map(l, json!({}));
        o.labels_mut().insert("for".into(), l.into());
        o
    };
    let url = format!("https://localhost:{}", hooks.port);
    for (label, why) in [
        (
            "gone",
            format!(
                "Post \"https://127.0.0.1:{port}/x?timeout=30s\": dial tcp 127.0.0.1:{port}: connect: connection refused"
            ),
        ),
        (
            "stranger",
            format!(
                "Post \"{url}/stamp?timeout=30s\": tls: failed to verify certificate: x509: certificate signed by unknown authority"
            ),
        ),
        (
            "never",
            format!("Post \"{url}/never?timeout=1s\": context deadline exceeded"),
        ),
        (
            "broken",
            "an error on the server (\"oh no\") has prevented the request from succeeding".to_owned(),
        ),
        (
            "service",
            "Post \"https://hook.default.svc:443/stamp?timeout=30s\": service \"hook\" not found".to_owned(),
        ),
    ] {
        let text =
            format!("Internal error occurred: failed calling webhook \"{label}.x.io\": failed to call webhook: {why}");
        assert_eq!(
            refusal(api.create(&PostParams::default(), &labelled(label)).await),
            (500, "InternalError".to_owned(), text)
        );
    }
    api.create(&PostParams::default(), &labelled("lenient")).await.unwrap();
    // The service is there now, by another name of this machine; its certificate is for the service.
    let spec = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    let services: Api<DynamicObject> =
        Api::default_namespaced_with(client.clone(), &kind("", "v1", "Service", "services"));
    services.create(&PostParams::default(), &from(spec)).await.unwrap();
    let r = kind(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    );
    let configurations: Api<DynamicObject> = Api::all_with(client, &r);
    let port = Patch::Json::<()>(from(
        json!([{"op": "replace", "path": "/webhooks/4/clientConfig/service/port", "value": hooks.port}]),
    ));
    configurations.patch("m", &PatchParams::default(), &port).await.unwrap();
    let made = api.create(&PostParams::default(), &labelled("service")).await.unwrap();
    assert_eq!(made.data["data"]["stamped"], "yes");
}

#[tokio::test]
async fn webhooks_are_asked_about_what_they_select() {
    let (_c, hooks, client, api) = with_hooks().await;
    let condition = |e: &str| json!({"matchConditions": [{"name": "c", "expression": e}]});
    let list = vec![
        hook("no.x.io", &hooks.at("/no"), condition("object.metadata.name != 'a'")),
        hook("yes.x.io", &hooks.at("/yes"), condition("object.metadata.name == 'a'")),
        hook(
            "ns.x.io",
            &hooks.at("/ns"),
            json!({"namespaceSelector": {"matchLabels": {"nothing": "has"}}}),
        ),
        hook(
            "update.x.io",
            &hooks.at("/update"),
            json!({"rules": rules("configmaps", &["UPDATE"])}),
        ),
        hook(
            "secrets.x.io",
            &hooks.at("/secrets"),
            json!({"rules": rules("secrets", &["CREATE"])}),
        ),
    ];
    register(&client, false, "v", list).await;
    api.create(&PostParams::default(), &map("a", json!({}))).await.unwrap();
    let asked = |p: &str| hooks.asked(p).len();
    assert_eq!(
        (
            asked("/no"),
            asked("/yes"),
            asked("/ns"),
            asked("/update"),
            asked("/secrets")
        ),
        (0, 1, 0, 0, 0)
    );
    // A condition without a value closes or opens as the failure policy says.
    register(
        &client,
        false,
        "w",
        vec![hook(
            "broken.x.io",
            &hooks.at("/c"),
            condition("object.data.none == 'x'"),
        )],
    )
    .await;
    let (code, _, text) = refusal(api.create(&PostParams::default(), &map("b", json!({}))).await);
    assert_eq!(code, 403);
    assert!(text.starts_with("configmaps \"b\" is forbidden: "), "{text}");
}

#[tokio::test]
async fn a_webhook_is_asked_again_about_changes_of_others() {
    let (_c, hooks, client, api) = with_hooks().await;
    let again = |p: &str| json!({"reinvocationPolicy": p});
    let list = vec![
        hook("a.x.io", &hooks.at("/count"), again("IfNeeded")),
        hook("b.x.io", &hooks.at("/stamp"), again("Never")),
    ];
    register(&client, true, "m", list).await;
    let made = api.create(&PostParams::default(), &map("a", json!({}))).await.unwrap();
    assert_eq!(made.data["data"], json!({"count": "2", "stamped": "yes"}));
}

#[tokio::test]
async fn a_rule_for_another_version_is_told_the_object_in_it() {
    let (_c, hooks, client, _) = with_hooks().await;
    let of = |policy: &str| json!({"matchPolicy": policy, "rules": rules("autoscaling@v2/horizontalpodautoscalers", &["CREATE"])});
    let list = vec![
        hook("exact.x.io", &hooks.at("/exact"), of("Exact")),
        hook("equivalent.x.io", &hooks.at("/equivalent"), of("Equivalent")),
    ];
    register(&client, false, "v", list).await;
    let r = kind(
        "autoscaling",
        "v1",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    );
    let api: Api<DynamicObject> = Api::default_namespaced_with(client, &r);
    let v = json!({"apiVersion": "autoscaling/v1", "kind": r.kind, "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    api.create(&PostParams::default(), &from(v)).await.unwrap();
    assert_eq!(hooks.asked("/exact").len(), 0);
    let asked = &hooks.asked("/equivalent")[0];
    assert_eq!(
        (&asked["kind"]["version"], &asked["requestKind"]["version"]),
        (&json!("v2"), &json!("v1"))
    );
    assert_eq!(
        asked["object"]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        70
    );
}

#[tokio::test]
async fn what_controllers_make_goes_through_webhooks() {
    let (c, _) = cluster(Transport::Tcp, true).await;
    let (client, hooks) = (c.client(), Hooks::start(admission).await);
    let pods = json!({"rules": rules("pods", &["CREATE"]), "failurePolicy": "Fail"});
    register(
        &client,
        true,
        "m",
        vec![hook("sidecar.x.io", &hooks.at("/sidecar"), pods)],
    )
    .await;
    let services = json!({"rules": rules("services", &["CREATE"])});
    register(
        &client,
        false,
        "v",
        vec![hook("services.x.io", &hooks.at("/services"), services)],
    )
    .await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let services: Api<DynamicObject> =
        Api::default_namespaced_with(client.clone(), &kind("", "v1", "Service", "services"));
    let made = services.create(&PostParams::default(), &from(service)).await.unwrap();
    let asked = hooks.asked("/services");
    assert_eq!(asked.len(), 1, "what is drawn at random is drawn once");
    assert_eq!(asked[0]["object"]["spec"]["clusterIP"], made.data["spec"]["clusterIP"]);
    let v = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 3,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let api: Api<DynamicObject> =
        Api::default_namespaced_with(client.clone(), &kind("apps", "v1", "Deployment", "deployments"));
    let pods: Api<DynamicObject> = Api::default_namespaced_with(client, &kind("", "v1", "Pod", "pods"));
    let mut events = Box::pin(pods.watch(&WatchParams::default(), "0").await.unwrap());
    api.create(&PostParams::default(), &from(v)).await.unwrap();
    for _ in 0..3 {
        let made = async {
            loop {
                if let WatchEvent::Added(p) = events.next().await.unwrap().unwrap() {
                    return p;
                }
            }
        };
        let p = tokio::time::timeout(Duration::from_secs(60), made).await.unwrap();
        assert_eq!(p.data["spec"]["containers"][1]["name"], "sidecar");
        assert_eq!(
            p.data["spec"]["containers"][1]["imagePullPolicy"], "Always",
            "defaults come after"
        );
        assert_eq!(
            p.data["spec"]["containers"][1]["volumeMounts"], p.data["spec"]["containers"][0]["volumeMounts"],
            "and the token"
        );
    }
    assert_eq!(hooks.asked("/sidecar").len(), 3, "each is asked about once");
}

#[tokio::test]
async fn a_connection_has_the_options_that_a_webhook_makes_them() {
    let (_cluster, hooks, client, _) = with_hooks().await;
    let connects = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"],
        "resources": ["pods/exec", "nodes/proxy"]}]);
    let all = vec![hook(
        "container.x.io",
        &hooks.at("/container"),
        json!({"rules": connects}),
    )];
    register(&client, true, "connect", all).await;
    let pods: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &kind("", "v1", "Pod", "pods"));
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    pods.create(&PostParams::default(), &from(pod)).await.unwrap();
    let ask = async |path: &str| {
        let r = http::Request::post(path).body(kube::client::Body::empty()).unwrap();
        let a = client.send(r).await.unwrap();
        let code = a.status().as_u16();
        let body = http_body_util::BodyExt::collect(a.into_body())
            .await
            .unwrap()
            .to_bytes();
        let v: Value = serde_json::from_slice(&body).unwrap();
        (code, v["message"].as_str().unwrap_or_default().to_owned())
    };
    let exec = "/api/v1/namespaces/default/pods/p/exec?container=c&command=ls";
    assert_eq!(
        ask(exec).await,
        (400, "container other is not valid for pod p".to_owned())
    );
    let asked = hooks.asked("/container");
    assert_eq!(
        (&asked[0]["name"], &asked[0]["operation"]),
        (&json!("p"), &json!("CONNECT"))
    );
    assert_eq!(
        asked[0]["object"],
        json!({"kind": "PodExecOptions", "apiVersion": "v1", "container": "c", "command": ["ls"]})
    );
    // Proxies of nodes are asked about, too, before it is looked whether the node is there.
    assert_eq!(ask("/api/v1/nodes/none/proxy/pods").await.0, 404);
    let asked = hooks.asked("/container");
    let last = asked.last().unwrap();
    assert_eq!(
        (&last["name"], &last["object"]["path"]),
        (&json!("none"), &json!("/pods"))
    );
}
