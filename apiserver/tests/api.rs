//! The API as kube-rs sees it, over memory (virtual time) and over TCP with TLS.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "api/custom.rs"]
mod custom;
#[path = "api/policy.rs"]
mod policy;
#[path = "api/ranges.rs"]
mod ranges;
#[path = "api/tokens.rs"]
mod tokens;

use cfn_net::Transport;
use common::cluster;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

fn from<T: serde::de::DeserializeOwned>(v: Value) -> T {
    serde_json::from_value(v).unwrap()
}

fn code<T: std::fmt::Debug>(r: Result<T, kube::Error>) -> (u16, String, String) {
    match r {
        Err(kube::Error::Api(s)) => (s.code, s.reason.clone(), s.message.clone()),
        other => panic!("an API error was expected, not {other:?}"),
    }
}

fn config_map(name: &str) -> ConfigMap {
    from(json!({"metadata": {"name": name, "labels": {"app": name}}, "data": {"k": "v"}}))
}

async fn life_of_an_object(client: Client) {
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let a = api.create(&PostParams::default(), &config_map("a")).await.unwrap();
    assert!(a.metadata.uid.is_some() && a.metadata.creation_timestamp.is_some());
    assert_eq!(
        code(api.create(&PostParams::default(), &config_map("a")).await),
        (409, "AlreadyExists".into(), "configmaps \"a\" already exists".into())
    );
    let mut b = a.clone();
    b.data.as_mut().unwrap().insert("k".into(), "w".into());
    let b = api.replace("a", &PostParams::default(), &b).await.unwrap();
    assert_ne!(a.resource_version(), b.resource_version());
    let stale = code(api.replace("a", &PostParams::default(), &a).await);
    assert_eq!((stale.0, stale.1.as_str()), (409, "Conflict"));
    assert!(
        stale
            .2
            .ends_with("please apply your changes to the latest version and try again"),
        "{}",
        stale.2
    );
    let same = api.replace("a", &PostParams::default(), &b).await.unwrap();
    assert_eq!(
        b.resource_version(),
        same.resource_version(),
        "nothing changed, nothing is written"
    );
    let p = api
        .patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"x": "y"}})))
        .await
        .unwrap();
    assert_eq!(p.data.unwrap().len(), 2);
    let generated: ConfigMap = from(json!({"metadata": {"generateName": "g-"}}));
    let g = api.create(&PostParams::default(), &generated).await.unwrap();
    assert!(g.name_any().starts_with("g-") && g.name_any().len() == 7);
    let found = api.list(&ListParams::default().labels("app=a")).await.unwrap();
    assert_eq!(found.items.len(), 1);
    let found = api
        .list(&ListParams::default().fields("metadata.name=a"))
        .await
        .unwrap();
    assert_eq!(found.items.len(), 1);
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(
        code(api.get("a").await),
        (404, "NotFound".into(), "configmaps \"a\" not found".into())
    );
    let elsewhere: Api<ConfigMap> = Api::namespaced(client, "nowhere");
    assert_eq!(
        code(elsewhere.create(&PostParams::default(), &config_map("a")).await),
        (404, "NotFound".into(), "namespaces \"nowhere\" not found".into())
    );
}

#[tokio::test(start_paused = true)]
async fn objects_live_over_memory() {
    let (c, net) = cluster(Transport::Memory, false).await;
    life_of_an_object(c.client()).await;
    net.add_host("laptop", "cloud");
    let through_net = c.admin_config().client(&net, "laptop").unwrap();
    life_of_an_object(through_net).await;
}

#[tokio::test]
async fn objects_live_over_tcp() {
    let (c, net) = cluster(Transport::Tcp, false).await;
    net.add_host("laptop", "cloud");
    life_of_an_object(c.admin_config().client(&net, "laptop").unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let api: Api<ConfigMap> = Api::default_namespaced(c.client());
    for i in 0..5 {
        api.create(&PostParams::default(), &config_map(&format!("c{i}")))
            .await
            .unwrap();
    }
    let mut names = Vec::new();
    let mut token = None;
    loop {
        let mut p = ListParams::default().limit(2);
        p.continue_token = token.take();
        let page = api.list(&p).await.unwrap();
        assert!(page.items.len() <= 2);
        names.extend(page.items.iter().map(ResourceExt::name_any));
        token = page.metadata.continue_.filter(|t| !t.is_empty());
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["c0", "c1", "c2", "c3", "c4"]);
}

#[tokio::test(start_paused = true)]
async fn a_selector_makes_objects_enter_and_leave_a_watch() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let api: Api<ConfigMap> = Api::default_namespaced(c.client());
    let a = api.create(&PostParams::default(), &config_map("a")).await.unwrap();
    let since = a.resource_version().unwrap();
    let mut w = api
        .watch(&WatchParams::default().labels("on=yes"), &since)
        .await
        .unwrap()
        .boxed();
    for labels in [
        json!({"on": "yes"}),
        json!({"on": "yes", "more": "x"}),
        json!({"on": "no"}),
    ] {
        api.patch(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"labels": labels}})),
        )
        .await
        .unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(match w.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(_) => "ADDED",
            WatchEvent::Modified(_) => "MODIFIED",
            WatchEvent::Deleted(_) => "DELETED",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["ADDED", "MODIFIED", "DELETED"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_gets_bookmarks_and_ends() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let api: Api<ConfigMap> = Api::default_namespaced(c.client());
    let mut w = api
        .watch(&WatchParams::default().timeout(70), "0")
        .await
        .unwrap()
        .boxed();
    // At the end of what is there, and after a minute.
    for ends in [true, false] {
        let e = w.try_next().await.unwrap().unwrap();
        let WatchEvent::Bookmark(b) = e else { panic!("{e:?}") };
        assert_eq!(b.metadata.annotations.contains_key("k8s.io/initial-events-end"), ends);
    }
    assert!(w.try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let api: Api<ConfigMap> = Api::default_namespaced(c.client());
    let mut held = config_map("held");
    held.metadata.finalizers = Some(vec!["example.com/hold".into()]);
    api.create(&PostParams::default(), &held).await.unwrap();
    let left = api
        .delete("held", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert!(left.metadata.deletion_timestamp.is_some());
    api.patch(
        "held",
        &PatchParams::default(),
        &Patch::Merge(json!({"metadata": {"finalizers": null}})),
    )
    .await
    .unwrap();
    assert_eq!(code(api.get("held").await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn apply_keeps_owners_and_tells_conflicts() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let api: Api<ConfigMap> = Api::default_namespaced(c.client());
    let of = |v: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": v}});
    api.patch("a", &PatchParams::apply("one"), &Patch::Apply(of("1")))
        .await
        .unwrap();
    let again = api
        .patch("a", &PatchParams::apply("one"), &Patch::Apply(of("1")))
        .await
        .unwrap();
    let same = api.get("a").await.unwrap();
    assert_eq!(again.resource_version(), same.resource_version());
    let conflict = code(api.patch("a", &PatchParams::apply("two"), &Patch::Apply(of("2"))).await);
    assert_eq!((conflict.0, conflict.1.as_str()), (409, "Conflict"));
    assert_eq!(
        conflict.2,
        "Apply failed with 1 conflict: conflict with \"one\": .data.k"
    );
    let forced = api
        .patch("a", &PatchParams::apply("two").force(), &Patch::Apply(of("2")))
        .await
        .unwrap();
    assert_eq!(forced.data.unwrap()["k"], "2");
}

#[tokio::test(start_paused = true)]
async fn only_what_rbac_allows_is_allowed() {
    let (c, net) = cluster(Transport::Memory, false).await;
    net.add_host("laptop", "cloud");
    let bob = c.config_for("bob", &[]).client(&net, "laptop").unwrap();
    let pods: Api<Pod> = Api::default_namespaced(bob.clone());
    assert_eq!(
        code(pods.list(&ListParams::default()).await).2,
        "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "bob"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "bob"}]});
    let bindings: Api<k8s_openapi::api::rbac::v1::RoleBinding> = Api::default_namespaced(c.client());
    bindings.create(&PostParams::default(), &from(role)).await.unwrap();
    pods.list(&ListParams::default()).await.unwrap();
    assert_eq!(code(pods.delete("x", &DeleteParams::default()).await).0, 403);
    let reviews: Api<SelfSubjectAccessReview> = Api::all(bob);
    for (verb, allowed) in [("list", true), ("delete", false)] {
        let r =
            from(json!({"spec": {"resourceAttributes": {"namespace": "default", "verb": verb, "resource": "pods"}}}));
        let answer = reviews.create(&PostParams::default(), &r).await.unwrap();
        assert_eq!(answer.status.unwrap().allowed, allowed);
    }
    let nobody = cfn_net::ClientConfig {
        identity: cfn_net::Identity::Anonymous,
        ..c.admin_config()
    };
    let nobody = nobody.client(&net, "laptop").unwrap();
    nobody.apiserver_version().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(nobody);
    assert_eq!(code(pods.list(&ListParams::default()).await).0, 403);
    let wrong = cfn_net::ClientConfig {
        identity: cfn_net::Identity::Token("x".into()),
        ..c.admin_config()
    };
    let pods: Api<Pod> = Api::default_namespaced(wrong.client(&net, "laptop").unwrap());
    assert_eq!(code(pods.list(&ListParams::default()).await).0, 401);
    let joining: Api<k8s_openapi::api::certificates::v1::CertificateSigningRequest> =
        Api::all(c.bootstrap_config().client(&net, "laptop").unwrap());
    joining.list(&ListParams::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pods_go_with_grace_once_they_are_bound() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let pods: Api<Pod> = Api::default_namespaced(c.client());
    let pod: Pod = from(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}));
    pods.create(&PostParams::default(), &pod).await.unwrap();
    pods.delete("p", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(pods.get("p").await).0, 404, "nobody runs it");
    pods.create(&PostParams::default(), &pod).await.unwrap();
    c.local().bind("default", "p", "", "node1").unwrap();
    let p = pods.get("p").await.unwrap();
    assert_eq!(p.spec.unwrap().node_name.as_deref(), Some("node1"));
    assert!(
        c.local()
            .bind("default", "p", "", "node2")
            .is_err_and(|s| s.is_conflict())
    );
    let p = pods
        .delete("p", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(p.metadata.deletion_grace_period_seconds, Some(30));
    pods.delete("p", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert_eq!(code(pods.get("p").await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn services_get_addresses_and_namespaces_terminate() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let services: Api<Service> = Api::default_namespaced(c.client());
    let s: Service = from(json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}));
    let s = services.create(&PostParams::default(), &s).await.unwrap();
    assert!(s.spec.unwrap().cluster_ip.unwrap().starts_with("10.96."));
    let namespaces: Api<Namespace> = Api::all(c.client());
    namespaces
        .create(&PostParams::default(), &from(json!({"metadata": {"name": "n"}})))
        .await
        .unwrap();
    let n = namespaces
        .delete("n", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(n.status.unwrap().phase.as_deref(), Some("Terminating"));
    let inside: Api<ConfigMap> = Api::namespaced(c.client(), "n");
    let refused = code(inside.create(&PostParams::default(), &config_map("a")).await);
    assert_eq!(refused.0, 403);
    assert!(refused.2.ends_with("because it is being terminated"), "{}", refused.2);
    c.local().finalize_namespace("n").unwrap();
    assert_eq!(code(namespaces.get("n").await).0, 404);
    assert_eq!(
        code(namespaces.delete("default", &DeleteParams::default()).await).0,
        403
    );
}

#[tokio::test(start_paused = true)]
async fn versions_of_one_resource_share_their_objects() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let v1: Api<k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler> = Api::default_namespaced(c.client());
    let v2: Api<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler> = Api::default_namespaced(c.client());
    let h = from(
        json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 60,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
    );
    v1.create(&PostParams::default(), &h).await.unwrap();
    let two = v2.get("h").await.unwrap();
    assert_eq!(
        two.spec.metrics.unwrap()[0]
            .resource
            .as_ref()
            .unwrap()
            .target
            .average_utilization,
        Some(60)
    );
}

#[tokio::test(start_paused = true)]
async fn a_deployment_runs_down_with_the_control_plane_and_comes_back() {
    let (c, net) = cluster(Transport::Memory, true).await;
    net.add_host("laptop", "cloud");
    let outside: Api<Deployment> = Api::default_namespaced(c.admin_config().client(&net, "laptop").unwrap());
    outside.list(&ListParams::default()).await.unwrap();
    c.stop_serving().await;
    assert!(outside.list(&ListParams::default()).await.is_err());
    c.start_serving().await.unwrap();
    outside.list(&ListParams::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_objects() {
    let mut dumps = Vec::new();
    for _ in 0..2 {
        let (c, _) = cluster(Transport::Memory, false).await;
        let api: Api<ConfigMap> = Api::default_namespaced(c.client());
        api.create(
            &PostParams::default(),
            &from(json!({"metadata": {"generateName": "x-"}})),
        )
        .await
        .unwrap();
        let all = api.list(&ListParams::default()).await.unwrap();
        dumps.push(serde_json::to_string(&all).unwrap());
    }
    assert_eq!(dumps[0], dumps[1]);
}

/// A client that knows nothing of Kubernetes or of ours: TLS by the cluster's CA, health for everybody, the rest not.
#[tokio::test]
async fn any_https_client_is_served() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (c, _) = cluster(Transport::Tcp, false).await;
    let ca = reqwest::Certificate::from_pem(c.admin_config().ca_pem.as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
    let get = |path: &str| client.get(format!("https://{}{path}", c.socket().unwrap())).send();
    assert_eq!(get("/livez").await.unwrap().text().await.unwrap(), "ok");
    let version: serde_json::Value = get("/version").await.unwrap().json().await.unwrap();
    assert_eq!(version["minor"], "36");
    assert_eq!(get("/api/v1/pods").await.unwrap().status(), 403);
}

#[tokio::test(start_paused = true)]
async fn controllers_of_others_have_their_roles() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let nodes = |c: &cfn_apiserver::cluster::Cluster| -> Api<k8s_openapi::api::core::v1::Node> {
        Api::all(c.client_as("system:serviceaccount:kube-system:node-controller", &[]))
    };
    assert_eq!(code(nodes(&c).list(&ListParams::default()).await).0, 403);
    c.admit_external_controllers();
    nodes(&c).list(&ListParams::default()).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(c.client(), "kube-system");
    maps.get("extension-apiserver-authentication").await.unwrap();
}
