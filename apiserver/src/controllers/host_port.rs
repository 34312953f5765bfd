//! Ports of their host that pods take (`pkg/scheduler/util.GetHostPorts`, `HostPortInfo` of `k8s.io/kube-scheduler`).

use serde_json::Value;

use super::object::Object;
use crate::endpoints;

/// Every address of a host.
const ALL: [&str; 3] = ["", "0.0.0.0", "::"];

/// A port of a host that a container takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostPort {
    pub(crate) protocol: String,
    /// The address that it is bound to, `0.0.0.0` where that is all.
    pub(crate) address: String,
    pub(crate) port: i64,
}

impl HostPort {
    /// Of a container's port, where it takes one. For pods on the network of their host the API server has put it there.
    pub(crate) fn of(port: &Value) -> Option<Self> {
        let address = port.text("/hostIP");
        Some(Self {
            protocol: endpoints::protocol(port).to_owned(),
            address: if ALL.contains(&address) { "0.0.0.0" } else { address }.to_owned(),
            port: port.int("/hostPort").filter(|n| *n > 0)?,
        })
    }

    /// Whether it is bound to every address.
    pub(crate) fn is_of_all(&self) -> bool {
        self.address == "0.0.0.0"
    }

    /// Whether two are the same port of an address (`HostPortInfo.CheckConflict`): one of all addresses is one of each.
    pub(crate) fn clashes(&self, other: &Self) -> bool {
        let same_address = self.address == other.address || self.is_of_all() || other.is_of_all();
        self.protocol == other.protocol && self.port == other.port && same_address
    }
}

/// The ports of containers that run as long as their pod, init containers among them.
pub(crate) fn container_ports(pod: &Value) -> impl Iterator<Item = &Value> {
    let sidecars = pod.items("/spec/initContainers").iter();
    let sidecars = sidecars.filter(|c| c.text("/restartPolicy") == "Always");
    let all = sidecars.chain(pod.items("/spec/containers"));
    all.flat_map(|c| c.items("/ports"))
}

/// The ports of its host that a pod takes.
pub(crate) fn of_pod(pod: &Value) -> impl Iterator<Item = HostPort> {
    container_ports(pod).filter_map(HostPort::of)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_that_are_the_same() {
        for (one, other, same) in [
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
        ] {
            let (a, b) = (HostPort::of(&one).unwrap(), HostPort::of(&other).unwrap());
            assert_eq!((a.clashes(&b), b.clashes(&a)), (same, same), "{one} {other}");
        }
        assert_eq!(HostPort::of(&json!({"containerPort": 80})), None);
    }

    #[test]
    fn ports_of_sidecars_are_taken_and_those_of_other_init_containers_are_not() {
        let pod = json!({"spec": {"containers": [{"ports": [{"hostPort": 1}]}],
            "initContainers": [{"ports": [{"hostPort": 2}]}, {"restartPolicy": "Always", "ports": [{"hostPort": 3}]}]}});
        let ports: Vec<i64> = of_pod(&pod).map(|p| p.port).collect();
        assert_eq!(ports, [3, 1]);
    }
}
