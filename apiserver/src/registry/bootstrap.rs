//! What every cluster starts with: namespaces, the service `kubernetes`, RBAC for its own parts
//! (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy`, the parts a testbed meets).

use std::sync::Arc;

use serde_json::{Value, json};

use super::admission::label;
use super::{Call, Server};

/// `--advertise-address`.
pub(crate) const ADVERTISED: &str = "192.0.2.10";
/// `--secure-port`.
pub(crate) const SECURE_PORT: u16 = 6443;
const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn fill(server: &Arc<Server>) {
    let mut call = Call::internal("kube-apiserver");
    let mut create = |group: &str, version: &str, plural: &str, ns: &str, v: Value| {
        let Some(r) = server.catalog.find(group, version, plural) else {
            return;
        };
        match server.create(&mut call, &r, ns, None, v) {
            // A store that was kept.
            Err(e) if e.is_already_exists() => {}
            Err(e) => tracing::error!(error = %e, "bootstrap of {plural}"),
            Ok(_) => {}
        }
    };
    for n in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        create("", "v1", "namespaces", "", json!({"metadata": {"name": n}}));
        create("", "v1", "serviceaccounts", n, json!({"metadata": {"name": "default"}}));
    }
    let service = json!({"metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"clusterIP": Server::first_service_address(), "type": "ClusterIP", "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": SECURE_PORT}]}});
    create("", "v1", "services", "default", service);
    // Where the server is: an address for documentation (RFC 5737), which nodes know to be that of their API server.
    let port = json!([{"name": "https", "port": SECURE_PORT, "protocol": "TCP"}]);
    let endpoints = json!({"metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": ADVERTISED}], "ports": port}]});
    create("", "v1", "endpoints", "default", endpoints);
    let slice = json!({"metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [ADVERTISED], "conditions": {"ready": true}}], "ports": port});
    create("discovery.k8s.io", "v1", "endpointslices", "default", slice);
    for (name, rules) in cluster_roles() {
        let mut v = json!({"metadata": {"name": name, "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}}, "rules": rules});
        label(&mut v, "kubernetes.io/bootstrapping", "rbac-defaults");
        create(RBAC, "v1", "clusterroles", "", v);
    }
    for (name, role, subject) in cluster_bindings() {
        let mut v = json!({"metadata": {"name": name, "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": RBAC, "kind": if subject.contains("kube-") { "User" } else { "Group" }, "name": subject}]});
        label(&mut v, "kubernetes.io/bootstrapping", "rbac-defaults");
        create(RBAC, "v1", "clusterrolebindings", "", v);
    }
    for (name, value) in crate::defaults::SYSTEM_CLASSES {
        let what = name.trim_start_matches("system-").trim_end_matches("-critical");
        let text = if what == "node" {
            "Used for system critical pods that must not be moved from their current node.".to_owned()
        } else {
            format!(
                "Used for system critical pods that must run in the {what}, but can be moved to another node if necessary."
            )
        };
        let v = json!({"metadata": {"name": name}, "value": value, "description": text});
        create("scheduling.k8s.io", "v1", "priorityclasses", "", v);
    }
    let range = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": [Server::service_range()]}});
    create("networking.k8s.io", "v1", "servicecidrs", "", range);
}

/// What kube-controller-manager and kube-scheduler find in a real cluster, and this server's own controllers need not: the
/// roles of each controller's service account with their bindings.
pub(crate) fn for_external_controllers(server: &Arc<Server>) {
    let mut text = String::new();
    let recorded = &include_bytes!("../../data/controllers.json.gz")[..];
    if let Err(e) = std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(recorded), &mut text) {
        return tracing::error!(error = %e, "recorded roles");
    }
    let objects: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    let mut call = Call::internal("kube-apiserver");
    for o in objects {
        let (version, kind) = (
            o["apiVersion"].as_str().unwrap_or_default(),
            o["kind"].as_str().unwrap_or_default(),
        );
        let Some(r) = server.catalog.of_kind(version, kind) else {
            continue;
        };
        let ns = o["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        match server.create(&mut call, &r, &ns, None, o) {
            Err(e) if e.is_already_exists() => {}
            Err(e) => tracing::error!(error = %e, "roles of controllers"),
            Ok(_) => {}
        }
    }
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": verbs})
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

fn cluster_roles() -> Vec<(&'static str, Value)> {
    let core = &[
        "configmaps",
        "endpoints",
        "events",
        "persistentvolumeclaims",
        "pods",
        "pods/attach",
        "pods/exec",
        "pods/log",
        "pods/portforward",
        "pods/proxy",
        "pods/status",
        "replicationcontrollers",
        "replicationcontrollers/scale",
        "serviceaccounts",
        "services",
        "services/proxy",
        "services/status",
    ];
    let apps = &[
        "controllerrevisions",
        "daemonsets",
        "daemonsets/status",
        "deployments",
        "deployments/rollback",
        "deployments/scale",
        "deployments/status",
        "replicasets",
        "replicasets/scale",
        "replicasets/status",
        "statefulsets",
        "statefulsets/scale",
        "statefulsets/status",
    ];
    let jobs = &["cronjobs", "cronjobs/status", "jobs", "jobs/status"];
    let view = || {
        vec![
            rule(&[""], core, READ),
            rule(
                &[""],
                &[
                    "bindings",
                    "limitranges",
                    "namespaces",
                    "namespaces/status",
                    "resourcequotas",
                    "resourcequotas/status",
                ],
                READ,
            ),
            rule(&["discovery.k8s.io"], &["endpointslices"], READ),
            rule(&["apps"], apps, READ),
            rule(
                &["autoscaling"],
                &["horizontalpodautoscalers", "horizontalpodautoscalers/status"],
                READ,
            ),
            rule(&["batch"], jobs, READ),
            rule(
                &["policy"],
                &["poddisruptionbudgets", "poddisruptionbudgets/status"],
                READ,
            ),
            rule(
                &["networking.k8s.io"],
                &["ingresses", "ingresses/status", "networkpolicies"],
                READ,
            ),
        ]
    };
    let edit = || {
        let mut v = view();
        v.extend([
            rule(&[""], &["secrets"], READ),
            rule(&[""], core, WRITE),
            rule(&[""], &["secrets"], WRITE),
            rule(&[""], &["pods/eviction"], &["create"]),
            rule(&[""], &["serviceaccounts"], &["impersonate"]),
            rule(&[""], &["serviceaccounts/token"], &["create"]),
            rule(&["apps"], apps, WRITE),
            rule(&["autoscaling"], &["horizontalpodautoscalers"], WRITE),
            rule(&["batch"], jobs, WRITE),
            rule(&["policy"], &["poddisruptionbudgets"], WRITE),
            rule(&["networking.k8s.io"], &["ingresses", "networkpolicies"], WRITE),
            rule(&["coordination.k8s.io"], &["leases"], ALL),
        ]);
        v
    };
    let admin = || {
        let mut v = edit();
        v.extend([
            rule(&["authorization.k8s.io"], &["localsubjectaccessreviews"], &["create"]),
            rule(&[RBAC], &["rolebindings", "roles"], ALL),
        ]);
        v
    };
    let discovery = json!([{"nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*",
        "/readyz", "/version", "/version/"], "verbs": ["get"]}]);
    let issuer = json!([{"nonResourceURLs": ["/.well-known/openid-configuration", "/.well-known/openid-configuration/",
        "/openid/v1/jwks", "/openid/v1/jwks/"], "verbs": ["get"]}]);
    let public =
        json!([{"nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"], "verbs": ["get"]}]);
    vec![
        (
            "cluster-admin",
            json!([rule(&["*"], &["*"], &["*"]), {"nonResourceURLs": ["*"], "verbs": ["*"]}]),
        ),
        ("admin", json!(admin())),
        ("edit", json!(edit())),
        ("view", json!(view())),
        (
            "system:basic-user",
            json!([
                rule(
                    &["authorization.k8s.io"],
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                    &["create"]
                ),
                rule(&["authentication.k8s.io"], &["selfsubjectreviews"], &["create"]),
            ]),
        ),
        ("system:discovery", discovery),
        ("system:public-info-viewer", public),
        ("system:service-account-issuer-discovery", issuer),
        ("system:node", node_rules()),
        (
            "system:node-bootstrapper",
            json!([rule(
                &["certificates.k8s.io"],
                &["certificatesigningrequests"],
                &["create", "get", "list", "watch"]
            )]),
        ),
        (
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            json!([rule(
                &["certificates.k8s.io"],
                &["certificatesigningrequests/nodeclient"],
                &["create"]
            )]),
        ),
        (
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            json!([rule(
                &["certificates.k8s.io"],
                &["certificatesigningrequests/selfnodeclient"],
                &["create"]
            )]),
        ),
        (
            "system:auth-delegator",
            json!([
                rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
                rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
            ]),
        ),
    ]
}

/// What kubelets do (bootstrappolicy.NodeRules), for all nodes alike: this server has no node authorizer that knows which
/// objects belong to which node.
fn node_rules() -> Value {
    json!([
        rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
        rule(
            &["authorization.k8s.io"],
            &["localsubjectaccessreviews", "subjectaccessreviews"],
            &["create"]
        ),
        rule(&[""], &["services"], READ),
        rule(
            &[""],
            &["nodes"],
            &["create", "get", "list", "watch", "patch", "update"]
        ),
        rule(&[""], &["nodes/status"], &["patch", "update"]),
        rule(&[""], &["events"], &["create", "patch", "update"]),
        rule(&["events.k8s.io"], &["events"], &["create", "patch", "update"]),
        rule(&[""], &["pods"], &["create", "delete", "get", "list", "watch"]),
        rule(&[""], &["pods/status"], &["patch", "update"]),
        rule(&[""], &["pods/eviction"], &["create"]),
        rule(
            &[""],
            &[
                "configmaps",
                "secrets",
                "persistentvolumeclaims",
                "persistentvolumes",
                "endpoints",
                "namespaces"
            ],
            READ
        ),
        rule(&[""], &["persistentvolumeclaims/status"], &["get", "patch", "update"]),
        rule(&[""], &["serviceaccounts"], &["get"]),
        rule(&[""], &["serviceaccounts/token"], &["create"]),
        rule(
            &["certificates.k8s.io"],
            &["certificatesigningrequests"],
            &["create", "get", "list", "watch"]
        ),
        rule(
            &["coordination.k8s.io"],
            &["leases"],
            &["create", "delete", "get", "patch", "update"]
        ),
        rule(&["storage.k8s.io"], &["volumeattachments", "csidrivers"], READ),
        rule(
            &["storage.k8s.io"],
            &["csinodes"],
            &["create", "delete", "get", "patch", "update"]
        ),
        rule(&["node.k8s.io"], &["runtimeclasses"], READ),
        rule(&["discovery.k8s.io"], &["endpointslices"], READ),
    ])
}

/// Name, role, subject (users of the control plane, groups otherwise).
fn cluster_bindings() -> [(&'static str, &'static str, &'static str); 11] {
    [
        ("cluster-admin", "cluster-admin", "system:masters"),
        ("system:basic-user", "system:basic-user", "system:authenticated"),
        ("system:discovery", "system:discovery", "system:authenticated"),
        (
            "system:public-info-viewer",
            "system:public-info-viewer",
            "system:authenticated",
        ),
        (
            "system:service-account-issuer-discovery",
            "system:service-account-issuer-discovery",
            "system:serviceaccounts",
        ),
        ("system:node", "system:node", "system:nodes"),
        ("system:kube-scheduler", "cluster-admin", "system:kube-scheduler"),
        (
            "system:kube-controller-manager",
            "cluster-admin",
            "system:kube-controller-manager",
        ),
        // kubeadm's bindings for nodes that join.
        (
            "kubeadm:kubelet-bootstrap",
            "system:node-bootstrapper",
            "system:bootstrappers",
        ),
        (
            "kubeadm:node-autoapprove-bootstrap",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            "system:bootstrappers",
        ),
        (
            "kubeadm:node-autoapprove-certificate-rotation",
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            "system:nodes",
        ),
    ]
}
