//! Which pods a node does not take though they are bound to it (`pkg/kubelet/lifecycle`): who binds pods by hand, or two
//! schedulers, may give it more than it has.

use serde_json::{Value, json};

use super::{Kubelet, report};
use crate::controllers::host_port::{self, HostPort};
use crate::controllers::object::Object;
use crate::controllers::pods::is_ended;
use crate::node::events::Told;
use crate::node::kernel;

/// What the message of a pod that is refused begins with (`rejectPod`).
const REFUSED: &str = "Pod was rejected: ";

/// Why a pod is refused: reason and message of its status.
pub(super) type Refusal = (&'static str, String);

/// Why a node with these pods does not take another one; `None`: it does.
fn refusal<'a>(pod: &Value, others: impl Iterator<Item = &'a Value>) -> Option<Refusal> {
    if let Some(why) = kernel::forbidden_sysctl(pod) {
        return Some(("SysctlForbidden", format!("{REFUSED}forbidden sysctl: {why}")));
    }
    let wanted: Vec<HostPort> = host_port::of_pod(pod).collect();
    // Most pods want none.
    if wanted.is_empty() {
        return None;
    }
    let mut taken = others.flat_map(host_port::of_pod);
    taken.any(|t| wanted.iter().any(|p| p.clashes(&t))).then(|| {
        let why = "node(s) didn't have free ports for the requested pod ports";
        ("NodePorts", format!("{REFUSED}Predicate NodePorts failed: {why}"))
    })
}

impl Kubelet {
    /// Why a pod that is bound to this node now is not taken.
    pub(super) fn refusal(&self, pod: &Value) -> Option<Refusal> {
        if pod.deleting() || is_ended(pod) {
            return None;
        }
        let others = self.pods.values().filter(|p| !p.refused).map(|p| &*p.object);
        refusal(pod, others.filter(|p| !is_ended(p)))
    }

    /// Says that a pod is not taken (`rejectPod`).
    pub(super) fn refuse(&mut self, uid: &str, (reason, message): Refusal) {
        let Some(pod) = self.pods.get(uid).map(|p| p.object.clone()) else {
            return;
        };
        let mut status = json!({"phase": "Failed", "reason": reason, "message": message});
        for (key, from) in [
            ("qosClass", "/status/qosClass"),
            ("observedGeneration", "/metadata/generation"),
        ] {
            if let Some(v) = pod.at(from) {
                status[key] = v.clone();
            }
        }
        self.writer.put(uid, report(&pod, status, false));
        let told = Told {
            warning: true,
            reason,
            message: message.trim_start_matches(REFUSED).to_owned(),
            container: None,
        };
        self.record(&pod, &told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_taken() {
        let pod = |port: Value| json!({"spec": {"containers": [{"ports": [port]}]}});
        for (one, other, refused) in [
            (json!({"hostPort": 80}), json!({"hostPort": 80}), true),
            (json!({"hostPort": 80}), json!({"hostPort": 81}), false),
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
