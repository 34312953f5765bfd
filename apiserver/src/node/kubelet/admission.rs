//! Which pods a node does not take though they are bound to it (`pkg/kubelet/lifecycle`): who binds pods by hand, or two
//! schedulers, may give it more than it has.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::controllers::object::Object;
use crate::node::kernel;

/// Why a pod is refused: reason and message of its status.
pub(super) type Refusal = (&'static str, String);

/// Protocol, address and port.
type HostPort = (String, String, i64);

/// The ports of its host that a pod has (`GetHostPorts`): the API server puts those of pods on the host's network there.
fn host_ports(pod: &Value) -> BTreeSet<HostPort> {
    let all = pod.items("/spec/containers").iter().flat_map(|c| c.items("/ports"));
    let or = |s: &str, default: &str| if s.is_empty() { default.to_owned() } else { s.to_owned() };
    all.filter_map(|p| {
        let port = p.int("/hostPort").filter(|n| *n > 0)?;
        Some((or(p.text("/protocol"), "TCP"), or(p.text("/hostIP"), "0.0.0.0"), port))
    })
    .collect()
}

/// Whether two are the same port of an address (`HostPortInfo.CheckConflict`): one of all addresses is one of each.
fn same(a: &HostPort, b: &HostPort) -> bool {
    let all = |p: &HostPort| p.1 == "0.0.0.0";
    a.0 == b.0 && a.2 == b.2 && (a.1 == b.1 || all(a) || all(b))
}

/// Why a node with these pods does not take another one; `None`: it does.
pub(super) fn refusal<'a>(pod: &Value, others: impl Iterator<Item = &'a Value>) -> Option<Refusal> {
    if let Some(why) = kernel::forbidden_sysctl(pod) {
        return Some(("SysctlForbidden", format!("Pod was rejected: forbidden sysctl: {why}")));
    }
    let wanted = host_ports(pod);
    let taken = (!wanted.is_empty())
        .then(|| others.flat_map(host_ports).collect::<BTreeSet<_>>())
        .unwrap_or_default();
    wanted.iter().any(|p| taken.iter().any(|t| same(p, t))).then(|| {
        let why = "node(s) didn't have free ports for the requested pod ports";
        (
            "NodePorts",
            format!("Pod was rejected: Predicate NodePorts failed: {why}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_that_are_taken() {
        let pod = |port: Value| json!({"spec": {"containers": [{"ports": [port]}]}});
        for (one, other, refused) in [
            (json!({"hostPort": 80}), json!({"hostPort": 80}), true),
            (json!({"hostPort": 80}), json!({"hostPort": 81}), false),
            (
                json!({"hostPort": 80, "protocol": "UDP"}),
                json!({"hostPort": 80}),
                false,
            ),
            (
                json!({"hostPort": 80, "hostIP": "127.0.0.1"}),
                json!({"hostPort": 80}),
                true,
            ),
            (
                json!({"hostPort": 80, "hostIP": "127.0.0.1"}),
                json!({"hostPort": 80, "hostIP": "10.0.0.1"}),
                false,
            ),
            (json!({"containerPort": 80}), json!({"containerPort": 80}), false),
        ] {
            let found = refusal(&pod(one.clone()), std::iter::once(&pod(other.clone())));
            assert_eq!(
                found.map(|(reason, _)| reason),
                refused.then_some("NodePorts"),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn settings_that_are_not_a_pods() {
        let pod = |name: &str, host: bool| json!({"spec": {"hostNetwork": host, "securityContext": {"sysctls": [{"name": name, "value": "1"}]}}});
        let refused = |name, host| refusal(&pod(name, host), std::iter::empty()).map(|(_, why)| why);
        assert_eq!(refused("net.ipv4.tcp_syncookies", false), None);
        for (name, host, why) in [
            ("kernel.msgmax", false, "\"kernel.msgmax\" not allowlisted"),
            (
                "net.ipv4.tcp_syncookies",
                true,
                "\"net.ipv4.tcp_syncookies\" not allowed with host Net enabled",
            ),
        ] {
            assert_eq!(
                refused(name, host),
                Some(format!("Pod was rejected: forbidden sysctl: {why}"))
            );
        }
    }
}
