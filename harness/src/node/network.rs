//! The pods' network of a node: a bridge for its own pods, a route to each other node's, all from the nodes that the
//! API server knows.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;

/// Where containerd looks for the pods' network.
pub const CNI: &str = "/etc/cni/net.d/10-cfn.conflist";

/// What one node's network follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Network of its pods.
    pub pods: Option<String>,
    /// Its address.
    pub address: Option<String>,
}

impl Seen {
    /// What a Node says.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let addresses = node.status.iter().flat_map(|s| s.addresses.iter().flatten());
        Self {
            pods: node.spec.as_ref().and_then(|s| s.pod_cidr.clone()),
            address: addresses
                .filter(|a| a.type_ == "InternalIP")
                .map(|a| a.address.clone())
                .next(),
        }
    }
}

/// A node's network as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Network of the node's own pods, when the cluster has given it one.
    pub pods: Option<String>,
    /// Others' pods, by network: the node to go by.
    pub routes: BTreeMap<String, String>,
}

/// The network of node `own` among `nodes`.
#[must_use]
pub fn wanted(nodes: &BTreeMap<String, Seen>, own: &str) -> Wanted {
    Wanted {
        pods: nodes.get(own).and_then(|n| n.pods.clone()),
        routes: nodes
            .iter()
            .filter(|(name, _)| *name != own)
            .filter_map(|(_, n)| n.pods.clone().zip(n.address.clone()))
            .collect(),
    }
}

/// The network configuration of a node whose pods are in `pods`. Leases are on /run: none outlives the pods.
#[must_use]
pub fn cni(pods: &str) -> String {
    let value = serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "cfn",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true, "mtu": 1500,
                "ipam": {
                    "type": "host-local", "dataDir": "/run/cni-ipam",
                    "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ],
    });
    format!("{value:#}\n")
}

/// An interface of the machine with an IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number: another one after the network was disconnected and connected again.
    pub index: u64,
    /// Its address.
    pub address: String,
}

/// The interface to the other nodes, of what `ip -j -4 address` says: the first of eth*, whichever number Docker gave it.
#[must_use]
pub fn interface(ip_address_json: &str) -> Option<Interface> {
    let all: Vec<serde_json::Value> = serde_json::from_str(ip_address_json).ok()?;
    all.iter().find_map(|i| {
        let name = i["ifname"].as_str().filter(|n| n.starts_with("eth"))?;
        let address = i["addr_info"]
            .as_array()?
            .iter()
            .find_map(|a| a["local"].as_str().filter(|_| a["family"] == "inet"))?;
        Some(Interface {
            name: name.to_owned(),
            index: i["ifindex"].as_u64()?,
            address: address.to_owned(),
        })
    })
}

/// The name servers of `resolv.conf` that a pod can reach too: Docker's on 127.0.0.11 is not one.
#[must_use]
pub fn resolv_conf(own: &str) -> String {
    let reachable = |l: &&str| match l.trim().strip_prefix("nameserver") {
        Some(server) => !server.trim().starts_with("127."),
        None => false,
    };
    own.lines()
        .filter(reachable)
        .map(|l| format!("{}\n", l.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_go_by_the_other_nodes() {
        let seen = |pods: Option<&str>, address: Option<&str>| Seen {
            pods: pods.map(str::to_owned),
            address: address.map(str::to_owned),
        };
        let nodes = BTreeMap::from([
            ("a".to_owned(), seen(Some("10.42.0.0/24"), Some("10.0.0.1"))),
            ("b".to_owned(), seen(Some("10.42.1.0/24"), Some("10.0.0.2"))),
            ("c".to_owned(), seen(None, Some("10.0.0.3"))),
            ("d".to_owned(), seen(Some("10.42.2.0/24"), None)),
        ]);
        let got = wanted(&nodes, "a");
        assert_eq!(got.pods.as_deref(), Some("10.42.0.0/24"));
        assert_eq!(
            got.routes,
            BTreeMap::from([("10.42.1.0/24".to_owned(), "10.0.0.2".to_owned())])
        );
        assert_eq!(wanted(&nodes, "new").pods, None);
    }

    #[test]
    fn finds_the_interface() {
        let text = r#"[{"ifindex":1,"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1"}]},{},
            {"ifindex":9,"ifname":"eth1","addr_info":[{"family":"inet","local":"10.0.0.2","prefixlen":24}]}]"#;
        assert_eq!(
            interface(text),
            Some(Interface {
                name: "eth1".into(),
                index: 9,
                address: "10.0.0.2".into()
            })
        );
        assert_eq!(interface("[]"), None);
    }

    #[test]
    fn pods_get_servers_they_can_reach() {
        let own = "search x\nnameserver 127.0.0.11\nnameserver 10.1.1.1\noptions ndots:0\n";
        assert_eq!(resolv_conf(own), "nameserver 10.1.1.1\n");
    }
}
