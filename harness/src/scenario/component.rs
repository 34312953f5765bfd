//! What a `kill` can be about: our own components, and the processes of hosts.

use crate::topology::Topology;

/// Kubernetes' own processes on a control plane.
pub const CONTROL_PLANE: &[&str] = &["kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler"];
/// Kubernetes' own processes on a node.
pub const NODE: &[&str] = &["kubelet", "containerd", "kube-proxy"];

/// All that there are in a topology: `scheduler`, `agent/<cluster>`, and `<process>/<host>`, where a control plane's
/// host has its cluster's name.
#[must_use]
pub fn all(t: &Topology) -> Vec<String> {
    let mut all = vec!["scheduler".to_owned()];
    all.extend(t.members().map(|m| format!("agent/{}", m.name)));
    for (_, n, name) in t.nodes() {
        all.extend(n.edge_agent.then(|| format!("edge/{name}")));
        all.extend(NODE.iter().map(|p| format!("{p}/{name}")));
    }
    for c in &t.spec.clusters {
        all.extend(CONTROL_PLANE.iter().map(|p| format!("{p}/{}", c.name)));
        // A control plane without nodes beside it is one itself.
        if c.nodes.is_empty() {
            all.extend(NODE.iter().map(|p| format!("{p}/{}", c.name)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_process_of_every_host_is_there() {
        let t = crate::scenario::find_topology("two-edges", None).unwrap().1;
        let all = super::all(&t);
        for c in [
            "scheduler",
            "agent/edge-a",
            "kubelet/edge-a-node",
            "kube-apiserver/hub",
            "etcd/edge-b",
        ] {
            assert!(all.iter().any(|a| a == c), "{c}");
        }
        assert!(
            !all.iter()
                .any(|a| a == "agent/hub" || a == "edge/hub-node" || a == "kubelet/hub")
        );
    }
}
