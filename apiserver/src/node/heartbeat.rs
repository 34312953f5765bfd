//! A node's own objects: it registers, renews its Lease, reports its status (`pkg/kubelet/kubelet_node_status.go`,
//! `component-helpers/apimachinery/lease`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::NodeOptions;
use super::rest::Rest;
use crate::cluster::KUBELET_VERSION;
use crate::controllers::object::{Object, micro, stamp};

/// Conditions a healthy node reports: type, status, reason, message.
const CONDITIONS: [(&str, &str, &str, &str); 4] = [
    (
        "MemoryPressure",
        "False",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    (
        "DiskPressure",
        "False",
        "KubeletHasNoDiskPressure",
        "kubelet has no disk pressure",
    ),
    (
        "PIDPressure",
        "False",
        "KubeletHasSufficientPID",
        "kubelet has sufficient PID available",
    ),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
];

/// The Node object as the kubelet registers it.
pub(crate) fn node_object(o: &NodeOptions, host_ip: &str, now: jiff::Timestamp) -> Value {
    let arch = o.labels.get("kubernetes.io/arch").map_or("amd64", String::as_str);
    let mut labels: BTreeMap<&str, &str> = BTreeMap::from([
        ("kubernetes.io/hostname", o.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
    ]);
    labels.extend(o.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    let mut spec = json!({"podCIDR": o.pod_cidr, "podCIDRs": [o.pod_cidr]});
    if !o.taints.is_empty() {
        spec["taints"] = json!(o.taints);
    }
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": o.name, "labels": labels, "annotations": o.annotations},
        "spec": spec, "status": node_status(o, host_ip, None, now)})
}

/// What a node has whose options do not say.
const CAPACITY: [(&str, &str); 3] = [("pods", "110"), ("cpu", "4"), ("memory", "8Gi")];

/// How much a node has of a resource, as its options or the defaults say.
pub(super) fn has<'a>(capacity: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let default = || CAPACITY.iter().find(|(n, _)| *n == name).map(|(_, amount)| *amount);
    capacity.get(name).map(String::as_str).or_else(default)
}

/// The status of a healthy node; conditions keep their transition times from `old`.
fn node_status(o: &NodeOptions, host_ip: &str, old: Option<&Value>, now: jiff::Timestamp) -> Value {
    let mut capacity = BTreeMap::from(CAPACITY);
    // Extended resources that somebody else put there stay (kubelet: `reconcileExtendedResource`).
    let known = |list: &'static str| {
        let all = old.and_then(|n| n["status"][list].as_object()).into_iter().flatten();
        all.filter(|(k, _)| k.contains('/'))
            .filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)))
    };
    let own = o.capacity.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    let mut allocatable = capacity.clone();
    capacity.extend(known("capacity").chain(own.clone()));
    allocatable.extend(known("allocatable").chain(own));
    let conditions: Vec<Value> = CONDITIONS
        .iter()
        .map(|(kind, status, reason, message)| {
            let same = old.and_then(|n| n.condition(kind)).filter(|c| c["status"] == *status);
            let since = same
                .and_then(|c| c["lastTransitionTime"].as_str())
                .map_or_else(|| stamp(now), str::to_owned);
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": stamp(now), "lastTransitionTime": since})
        })
        .collect();
    let id = format!(
        "{:032x}",
        o.name
            .bytes()
            .fold(1_u128, |h, b| h.wrapping_mul(0x0100_0000_01b3) ^ u128::from(b))
    );
    json!({"capacity": capacity, "allocatable": allocatable, "conditions": conditions,
        "addresses": [{"type": "InternalIP", "address": host_ip}, {"type": "Hostname", "address": o.name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {"architecture": o.labels.get("kubernetes.io/arch").map_or("amd64", String::as_str), "operatingSystem": "linux",
            "osImage": "CFN simulated node", "kernelVersion": "0.0.0-cfn", "containerRuntimeVersion": "cfn://0.1.0",
            "kubeletVersion": KUBELET_VERSION, "kubeProxyVersion": "", "machineID": id, "systemUUID": id, "bootID": id}})
}

/// Registers, then beats until cancelled.
pub(crate) async fn run(o: Arc<NodeOptions>, host_ip: String, rest: Rest, cancel: CancellationToken) {
    let body = async {
        register(&o, &host_ip, &rest).await;
        let t = &o.timers;
        let mut rng = o.seed.rng("heartbeat");
        // Nodes started together do not beat together.
        let spread = |d: Duration, f: f64| Instant::now() + d.mul_f64(f);
        let mut next_lease = Instant::now();
        let mut next_status = spread(t.node_status_update, rng.random::<f64>());
        let offset = rng.random::<f64>();
        let mut first = true;
        let mut reported = Instant::now();
        let mut lease: Option<Value> = None;
        let mut wait = Duration::from_millis(200);
        loop {
            if next_lease <= next_status {
                tokio::time::sleep_until(next_lease).await;
                match renew(&o, &rest, &mut lease).await {
                    true => {
                        wait = Duration::from_millis(200);
                        next_lease = if first {
                            spread(t.node_lease_renew, offset)
                        } else {
                            Instant::now() + t.node_lease_renew
                        };
                        first = false;
                    }
                    false => {
                        next_lease = Instant::now() + wait.min(t.node_lease_renew);
                        wait = (wait * 2).min(Duration::from_secs(7));
                    }
                }
            } else {
                tokio::time::sleep_until(next_status).await;
                report(&o, &host_ip, &rest, &mut reported).await;
                next_status = Instant::now() + t.node_status_update;
            }
        }
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = body => {}
    }
}

async fn register(o: &NodeOptions, host_ip: &str, rest: &Rest) {
    let mut wait = Duration::from_millis(100);
    loop {
        let object = node_object(o, host_ip, o.clock.now());
        match rest.post("/api/v1/nodes", &object).await {
            Ok(_) => return,
            Err(e) if e.code() == 409 => {
                // It was here before: its labels and status are brought up to date.
                let path = format!("/api/v1/nodes/{}", o.name);
                let labels = json!({"metadata": {"labels": object["metadata"]["labels"]}});
                let old = rest.get(&path).await.ok();
                let known = old
                    .as_ref()
                    .is_some_and(|n| o.labels.iter().all(|(k, v)| n.label(k) == Some(v.as_str())));
                let labelled = known || rest.patch(&path, &labels).await.is_ok();
                let status = json!({"status": node_status(o, host_ip, old.as_ref(), o.clock.now())});
                if labelled && rest.patch(&format!("{path}/status"), &status).await.is_ok() {
                    return;
                }
            }
            Err(e) => tracing::debug!(node = o.name, %e, "not registered yet"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(7));
    }
}

/// Creates or renews the Lease; true when the server has it.
async fn renew(o: &NodeOptions, rest: &Rest, lease: &mut Option<Value>) -> bool {
    let all = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let path = format!("{all}/{}", o.name);
    let now = micro(o.clock.now());
    if lease.is_none() {
        match rest.get(&path).await {
            Ok(l) => *lease = Some(l),
            Err(e) if e.code() == 404 => {
                let owner = rest.get(&format!("/api/v1/nodes/{}", o.name)).await;
                let mut l = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": o.name, "namespace": "kube-node-lease"},
                    "spec": {"holderIdentity": o.name, "leaseDurationSeconds": o.timers.node_lease_duration.as_secs().max(1), "renewTime": now}});
                if let Ok(n) = owner {
                    l["metadata"]["ownerReferences"] =
                        json!([{"apiVersion": "v1", "kind": "Node", "name": o.name, "uid": n.uid()}]);
                }
                return match rest.post(all, &l).await {
                    Ok(l) => {
                        *lease = Some(l);
                        true
                    }
                    Err(_) => false,
                };
            }
            Err(_) => return false,
        }
    }
    let Some(mut l) = lease.clone() else { return false };
    l["spec"]["renewTime"] = json!(now);
    match rest.put(&path, &l).await {
        Ok(l) => {
            *lease = Some(l);
            true
        }
        Err(e) => {
            if matches!(e.code(), 404 | 409) {
                *lease = None; // Read it again.
            }
            false
        }
    }
}

/// Reports the status when it differs from what the server has, or when the last report is old.
async fn report(o: &NodeOptions, host_ip: &str, rest: &Rest, reported: &mut Instant) {
    let path = format!("/api/v1/nodes/{}", o.name);
    let node = match rest.get(&path).await {
        Ok(n) => n,
        Err(e) if e.code() == 404 => {
            // Somebody deleted it: a kubelet registers only at its start, and so do we.
            tracing::debug!(node = o.name, "its Node is gone");
            return;
        }
        Err(_) => return,
    };
    let status = node_status(o, host_ip, Some(&node), o.clock.now());
    let changed = CONDITIONS
        .iter()
        .any(|(kind, status, ..)| node.condition(kind).is_none_or(|c| c["status"] != *status))
        || ["capacity", "allocatable"]
            .iter()
            .any(|k| node["status"][k] != status[k]);
    if !changed && reported.elapsed() < o.timers.node_status_report {
        return;
    }
    if rest
        .patch(&format!("{path}/status"), &json!({"status": status}))
        .await
        .is_ok()
    {
        *reported = Instant::now();
    }
}
