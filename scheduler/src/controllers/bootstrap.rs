//! What the hub needs before anybody joins, and what each agent is given: roles that reach only its own objects.

use cfn_api::names::{self, AGENT_GROUP, BOOTSTRAP_ACCOUNT, CFN_NAMESPACE, LEASE_NAMESPACE};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{ApiResource, DynamicObject, PostParams};
use serde_json::{Value, json};

use super::hub::{Hub, Key, conflict};

const CSR_GROUP: &str = "certificates.k8s.io";

/// Name of an agent's roles and their bindings.
pub(super) fn role_name(cluster: &str) -> String {
    names::agent_user(cluster)
}

/// Namespaces and the roles of whoever wants to become an agent.
pub(super) async fn prepare(hub: &Hub) -> Result<(), kube::Error> {
    for ns in [LEASE_NAMESPACE, CFN_NAMESPACE] {
        namespace(hub, ns).await?;
    }
    let ask = json!([{"apiGroups": [CSR_GROUP], "resources": ["certificatesigningrequests"], "verbs": ["create", "get", "list", "watch"]}]);
    cluster_role(
        hub,
        "system:karmada:bootstrappers",
        &ask,
        &[
            subject("Group", "system:bootstrappers"),
            json!({"kind": "ServiceAccount", "name": BOOTSTRAP_ACCOUNT, "namespace": CFN_NAMESPACE}),
        ],
    )
    .await?;
    let agents = json!([ask[0], {"apiGroups": ["config.karmada.io"], "resources": ["resourceinterpretercustomizations"],
        "verbs": ["get", "list", "watch"]}]);
    cluster_role(hub, AGENT_GROUP, &agents, &[subject("Group", AGENT_GROUP)]).await?;
    let probe = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]);
    role(hub, CFN_NAMESPACE, AGENT_GROUP, &probe, "Group", AGENT_GROUP).await
}

/// Gives the agent of `cluster` what is its own, once.
pub(super) async fn admit(hub: &Hub, cluster: &str) -> Result<(), kube::Error> {
    if hub.admitted(cluster) {
        return Ok(());
    }
    let (user, name) = (names::agent_user(cluster), role_name(cluster));
    let own = ["get", "list", "watch", "update", "patch"];
    // Names are not known when something is created: admission of the agent's own Cluster is by its certificate.
    let global = json!([
        {"apiGroups": ["cluster.karmada.io"], "resources": ["clusters"], "verbs": ["create"]},
        {"apiGroups": ["cluster.karmada.io"], "resources": ["clusters", "clusters/status"], "resourceNames": [cluster], "verbs": own},
        {"apiGroups": ["cfn.akraino.org"], "resources": ["computingmetrics"], "verbs": ["create"]},
        {"apiGroups": ["cfn.akraino.org"], "resources": ["computingmetrics", "computingmetrics/status"], "resourceNames": [cluster], "verbs": own},
    ]);
    cluster_role(hub, &name, &global, &[subject("User", &user)]).await?;
    let lease = json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [cluster], "verbs": own},
    ]);
    role(hub, LEASE_NAMESPACE, &name, &lease, "User", &user).await?;
    let ns = names::execution_namespace(cluster);
    namespace(hub, &ns).await?;
    let works = json!([
        {"apiGroups": ["work.karmada.io"], "resources": ["works", "works/status", "works/finalizers"], "verbs": own},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    ]);
    role(hub, &ns, &name, &works, "User", &user).await?;
    hub.admit(cluster);
    Ok(())
}

async fn namespace(hub: &Hub, name: &str) -> Result<(), kube::Error> {
    ensure(
        hub,
        &ApiResource::erase::<Namespace>(&()),
        "",
        json!({"metadata": {"name": name}}),
    )
    .await
}

fn subject(kind: &str, name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name})
}

async fn cluster_role(hub: &Hub, name: &str, rules: &Value, who: &[Value]) -> Result<(), kube::Error> {
    ensure(
        hub,
        &ApiResource::erase::<ClusterRole>(&()),
        "",
        json!({"metadata": {"name": name}, "rules": rules}),
    )
    .await?;
    let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let binding = json!({"metadata": {"name": name}, "roleRef": reference, "subjects": who});
    ensure(hub, &ApiResource::erase::<ClusterRoleBinding>(&()), "", binding).await
}

async fn role(hub: &Hub, ns: &str, name: &str, rules: &Value, kind: &str, who: &str) -> Result<(), kube::Error> {
    let meta = json!({"name": name, "namespace": ns});
    ensure(
        hub,
        &ApiResource::erase::<Role>(&()),
        ns,
        json!({"metadata": meta, "rules": rules}),
    )
    .await?;
    let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name});
    let binding = json!({"metadata": meta, "roleRef": reference, "subjects": [subject(kind, who)]});
    ensure(hub, &ApiResource::erase::<RoleBinding>(&()), ns, binding).await
}

/// Creates, or makes what is there say the same.
async fn ensure(hub: &Hub, resource: &ApiResource, ns: &str, mut body: Value) -> Result<(), kube::Error> {
    body["apiVersion"] = resource.api_version.clone().into();
    body["kind"] = resource.kind.clone().into();
    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let object: DynamicObject = serde_json::from_value(body.clone()).map_err(kube::Error::SerdeError)?;
    match hub.api(resource, ns).create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(e) if conflict(&e) => hub.patch(resource, &Key::new(ns, &name), &body).await.map(|_| ()),
        Err(e) => Err(e),
    }
}
