//! What a cluster starts with: roles, flow schemas.

use cfn_net::Transport;
use http::Request;
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::common::cluster;
use crate::from;

#[tokio::test(start_paused = true)]
async fn roles_are_made_of_those_that_say_they_belong_to_them() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let roles: Api<ClusterRole> = Api::all(c.client());
    let has = |name: &'static str| {
        let roles = roles.clone();
        async move {
            let rules = roles.get(name).await.unwrap().rules.unwrap_or_default();
            assert!(!rules.is_empty(), "{name}");
            rules
                .iter()
                .any(|r| r.api_groups.as_deref() == Some(&["a.example".to_owned()]))
        }
    };
    assert!(!has("view").await);
    let own = from(
        json!({"metadata": {"name": "a", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["a.example"], "resources": ["as"], "verbs": ["get"]}]}),
    );
    roles.create(&PostParams::default(), &own).await.unwrap();
    // An editor reads what a viewer reads, an administrator writes what an editor writes.
    assert!(has("view").await && has("edit").await && has("admin").await);
    let owners = roles.get("view").await.unwrap().managed_fields().to_owned();
    assert!(
        owners
            .iter()
            .any(|o| o.manager.as_deref() == Some("clusterrole-aggregation-controller")
                && o.operation.as_deref() == Some("Apply"))
    );
    roles.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(!has("view").await && !has("edit").await && !has("admin").await);
    // Two that are made of one another are an end, too.
    for (name, other) in [("x", "y"), ("y", "x")] {
        let role = from(json!({"metadata": {"name": name, "labels": {"is": name}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"is": other}}]},
            "rules": [{"apiGroups": [name], "resources": ["as"], "verbs": ["get"]}]}));
        roles.create(&PostParams::default(), &role).await.unwrap();
    }
}

/// The uids of flow schema and priority level that an answer tells.
async fn told(client: &Client, path: &str) -> (String, String) {
    let request = Request::get(path).body(kube::client::Body::empty()).unwrap();
    let answer = client.send(request).await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    (
        header("x-kubernetes-pf-flowschema-uid"),
        header("x-kubernetes-pf-prioritylevel-uid"),
    )
}

#[tokio::test(start_paused = true)]
async fn requests_are_told_their_flow_schema() {
    let (c, net) = cluster(Transport::Memory, false).await;
    net.add_host("laptop", "cloud");
    let flows: Api<FlowSchema> = Api::all(c.client());
    let levels: Api<PriorityLevelConfiguration> = Api::all(c.client());
    for flow in flows.list(&ListParams::default()).await.unwrap() {
        let conditions = flow.status.unwrap().conditions.unwrap();
        let dangling = conditions
            .iter()
            .find(|c| c.type_.as_deref() == Some("Dangling"))
            .unwrap();
        assert_eq!(dangling.status.as_deref(), Some("False"));
    }
    let of = async |flow: &str, level: &str| {
        let uids = (
            flows.get(flow).await.unwrap().uid(),
            levels.get(level).await.unwrap().uid(),
        );
        (uids.0.unwrap(), uids.1.unwrap())
    };
    let user = |name: &str, groups: &[&str]| {
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        c.config_for(name, &groups).client(&net, "laptop").unwrap()
    };
    let (bob, node) = (user("bob", &[]), user("system:node:n", &["system:nodes"]));
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(told(&c.client(), pods).await, of("exempt", "exempt").await);
    // Who may not is told, too.
    assert_eq!(told(&bob, pods).await, of("global-default", "global-default").await);
    assert_eq!(told(&bob, "/readyz").await, of("probes", "exempt").await);
    assert_eq!(told(&node, pods).await, of("system-nodes", "system").await);
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n";
    assert_eq!(told(&node, lease).await, of("system-node-high", "node-high").await);
    let own = from(json!({"metadata": {"name": "bobs"}, "spec": {"matchingPrecedence": 50,
        "priorityLevelConfiguration": {"name": "system"}, "rules": [{"subjects": [{"kind": "User", "user": {"name": "bob"}}],
            "resourceRules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["default"]}]}]}}));
    flows.create(&PostParams::default(), &own).await.unwrap();
    assert_eq!(told(&bob, pods).await, of("bobs", "system").await);
    assert_eq!(
        told(&bob, "/api/v1/pods").await,
        of("global-default", "global-default").await
    );
}

/// kube-scheduler's own role is enough for what it does, and no more.
#[tokio::test(start_paused = true)]
async fn the_control_plane_has_its_roles() {
    let (c, net) = cluster(Transport::Memory, false).await;
    net.add_host("laptop", "cloud");
    let bindings: Api<ClusterRoleBinding> = Api::all(c.client());
    let masters = bindings.get("cluster-admin").await.unwrap();
    assert_eq!(masters.subjects.unwrap()[0].name, "system:masters");
    let scheduler = c
        .config_for("system:kube-scheduler", &[])
        .client(&net, "laptop")
        .unwrap();
    let status = async |method: &str, path: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(kube::client::Body::empty());
        scheduler.send(request.unwrap()).await.unwrap().status().as_u16()
    };
    assert_eq!(status("GET", "/api/v1/pods").await, 200);
    assert_eq!(
        status(
            "GET",
            "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
        )
        .await,
        200
    );
    assert_eq!(status("GET", "/api/v1/secrets").await, 403);
    assert_eq!(status("DELETE", "/api/v1/nodes/n").await, 403);
}
