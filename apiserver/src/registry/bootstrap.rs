//! What every cluster starts with: namespaces, the service `kubernetes`, roles, flow schemas.

mod flow;
mod prepared;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Call, Server, service_ranges};
use crate::aggregator;
use crate::crd::DEFINITIONS;

pub(super) use prepared::ensure;

/// `--advertise-address`.
pub(crate) const ADVERTISED: &str = "192.0.2.10";
/// `--secure-port`.
pub(crate) const SECURE_PORT: u16 = 6443;
const RBAC: &str = "rbac.authorization.k8s.io";
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// What others bind when they make a cluster: name, role, group. kubeadm's bindings are for nodes that join; a node of this
/// server is its own kube-proxy.
const BINDINGS: [(&str, &str, &str); 4] = [
    ("cfn:node-proxier", "system:node-proxier", "system:nodes"),
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
];

pub(super) fn fill(server: &Arc<Server>) {
    let kept = server.store.revision() > 1;
    let start = |version: &str, kind: &str, mut object: Value| {
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        create(server, "kube-apiserver", object);
    };
    for n in NAMESPACES {
        start("v1", "Namespace", json!({"metadata": {"name": n}}));
        start(
            "v1",
            "ServiceAccount",
            json!({"metadata": {"name": "default", "namespace": n}}),
        );
    }
    // Before whoever has an address of it.
    service_ranges::keep_own(server);
    let service = json!({"metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"clusterIP": Server::first_service_address(), "type": "ClusterIP", "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": SECURE_PORT}]}});
    start("v1", "Service", service);
    // Where the server is: an address for documentation (RFC 5737), which nodes know to be that of their API server.
    let port = json!([{"name": "https", "port": SECURE_PORT, "protocol": "TCP"}]);
    let endpoints = json!({"metadata": {"name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": ADVERTISED}], "ports": port}]});
    start("v1", "Endpoints", endpoints);
    let slice = json!({"metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [ADVERTISED], "conditions": {"ready": true}}], "ports": port});
    start("discovery.k8s.io/v1", "EndpointSlice", slice);
    prepared::put(server);
    if kept {
        super::aggregated_roles::settle(server);
        for definition in server.store.list(&DEFINITIONS, None, None).objects {
            aggregator::defined(server, None, Some(&definition));
        }
    }
    for (name, role, group) in BINDINGS {
        let v = json!({"metadata": {"name": name},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": group}]});
        start("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", v);
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
        start("scheduling.k8s.io/v1", "PriorityClass", v);
    }
}

/// What kube-controller-manager and kube-scheduler find in a real cluster, and this server's own controllers need not: the
/// roles of each controller's service account with their bindings.
pub(crate) fn for_external_controllers(server: &Arc<Server>) {
    for object in recorded(include_bytes!("../../data/controllers.json.gz")) {
        create(server, "kube-apiserver", object);
    }
}

/// The objects of a recorded list.
fn recorded(list: &[u8]) -> Vec<Value> {
    let mut text = String::new();
    let read = std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(list), &mut text);
    let objects = read
        .map_err(serde_json::Error::io)
        .and_then(|_| serde_json::from_str(&text));
    // They are part of this program; a test has read them.
    objects.unwrap_or_else(|e| {
        tracing::error!(error = %e, "recorded roles");
        Vec::new()
    })
}

/// Creates what is not there as `manager`.
pub(super) fn create(server: &Server, manager: &str, object: Value) {
    let text = |at: &str| {
        object
            .pointer(at)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (version, kind, ns) = (text("/apiVersion"), text("/kind"), text("/metadata/namespace"));
    let Some(r) = server.catalog.of_kind(&version, &kind) else {
        return;
    };
    match server.create(&mut Call::internal(manager), &r, &ns, None, object) {
        // A store that was kept.
        Err(e) if e.is_already_exists() => {}
        Err(e) => tracing::error!(error = %e, "bootstrap of {kind}"),
        Ok(_) => {}
    }
}
