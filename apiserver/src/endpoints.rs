//! Where a service is served: what its EndpointSlices and Endpoints say, for whoever connects to one of its ports.

use serde_json::Value;

use crate::registry::{list as items, text};

/// One place that serves a port of a service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place<'a> {
    pub(crate) address: &'a str,
    pub(crate) port: u16,
    /// The endpoint (of a slice) or address (of Endpoints) that it comes from.
    pub(crate) endpoint: &'a Value,
}

fn number(port: &Value) -> Option<u16> {
    port["port"].as_u64().and_then(|p| u16::try_from(p).ok())
}

/// Whether a node is called so or has the address.
pub(crate) fn is_node(node: &Value, host: &str) -> bool {
    let mut addresses = items(&node["status"], "addresses").iter();
    text(node, "/metadata/name") == host || addresses.any(|a| a["address"] == host)
}

/// The protocol of a port of a container or a service: TCP where nothing is said.
pub(crate) fn protocol(port: &Value) -> &str {
    match text(port, "/protocol") {
        "" => "TCP",
        p => p,
    }
}

/// The name of a service's port whose `field` (`port`, `nodePort`) is the number, of those that speak `protocol`; any
/// protocol where none is said. The name of a service's only port may be empty.
pub(crate) fn port_name<'a>(service: &'a Value, field: &str, port: u16, protocol: Option<&str>) -> Option<&'a str> {
    let speaks = |p: &Value| protocol.is_none_or(|wanted| self::protocol(p) == wanted);
    let mut ports = items(&service["spec"], "ports").iter();
    let found = ports.find(|p| p[field].as_u64() == Some(u64::from(port)) && speaks(p))?;
    Some(text(found, "/name"))
}

/// Where the slices of a service say that its port is served: by those that are ready, else by those that still serve
/// while they end (`CategorizeEndpoints` of kube-proxy), in the order of their addresses.
pub(crate) fn of_slices<'a>(
    slices: impl IntoIterator<Item = &'a Value>,
    port: &str,
    only_node: Option<&str>,
) -> Vec<Place<'a>> {
    let (mut ready, mut ending) = (Vec::new(), Vec::new());
    for slice in slices {
        let named = items(slice, "ports").iter().find(|p| text(p, "/name") == port);
        let Some(port) = named.and_then(number) else { continue };
        for endpoint in items(slice, "endpoints") {
            if only_node.is_some_and(|n| text(endpoint, "/nodeName") != n) {
                continue;
            }
            let is = |condition: &str| endpoint["conditions"][condition] == true;
            let list = match endpoint["conditions"]["ready"].as_bool() {
                Some(false) if is("serving") && is("terminating") => &mut ending,
                Some(false) => continue,
                _ => &mut ready,
            };
            let address = items(endpoint, "addresses").first().and_then(Value::as_str);
            list.extend(address.map(|address| Place {
                address,
                port,
                endpoint,
            }));
        }
    }
    let mut all = if ready.is_empty() { ending } else { ready };
    all.sort_by(|a, b| (a.address, a.port).cmp(&(b.address, b.port)));
    all
}

/// Where Endpoints say that a port is served, in their order.
pub(crate) fn of_endpoints<'a>(endpoints: &'a Value, port: &str) -> Vec<Place<'a>> {
    let mut all = Vec::new();
    for subset in items(endpoints, "subsets") {
        let named = items(subset, "ports").iter().find(|p| text(p, "/name") == port);
        let Some(port) = named.and_then(number) else { continue };
        all.extend(items(subset, "addresses").iter().map(|endpoint| Place {
            address: text(endpoint, "/ip"),
            port,
            endpoint,
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn places<'a>(all: &[Place<'a>]) -> Vec<(&'a str, u16)> {
        all.iter().map(|p| (p.address, p.port)).collect()
    }

    #[test]
    fn ports_have_a_protocol() {
        let service = json!({"spec": {"ports": [{"name": "web", "port": 80, "nodePort": 30_080},
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]}});
        for (field, port, protocol, expected) in [
            ("port", 80, Some("TCP"), Some("web")),
            ("nodePort", 30_080, Some("TCP"), Some("web")),
            ("port", 80, Some("UDP"), None),
            ("port", 53, Some("TCP"), Some("dns-tcp")),
            ("port", 53, None, Some("dns")),
        ] {
            assert_eq!(
                port_name(&service, field, port, protocol),
                expected,
                "{port} {protocol:?}"
            );
        }
    }

    #[test]
    fn endpoints_that_are_ready_go_before_those_that_end() {
        let endpoint = |ip: &str, ready: bool, ending: bool| {
            json!({"addresses": [ip], "nodeName": ip,
                "conditions": {"ready": ready, "serving": ready || ending, "terminating": ending}})
        };
        let slice = |all: Vec<Value>| {
            vec![
                json!({"ports": [{"name": "http", "port": 8080}], "endpoints": all}),
                json!({"ports": []}),
            ]
        };
        let (one, two, gone) = (
            endpoint("1", true, false),
            endpoint("2", false, true),
            endpoint("3", false, false),
        );
        for (all, port, node, expected) in [
            (vec![&two, &one, &gone], "http", None, vec![("1", 8080)]),
            (vec![&two, &gone], "http", None, vec![("2", 8080)]),
            (vec![&one], "https", None, vec![]),
            (vec![&one], "http", Some("2"), vec![]),
            (vec![&one], "http", Some("1"), vec![("1", 8080)]),
        ] {
            let slices = slice(all.into_iter().cloned().collect());
            assert_eq!(places(&of_slices(&slices, port, node)), expected);
        }
    }

    #[test]
    fn endpoints_of_every_subset_with_the_port() {
        let endpoints = json!({"subsets": [
            {"addresses": [{"ip": "2"}, {"ip": "1"}], "ports": [{"name": "a", "port": 1}]},
            {"notReadyAddresses": [{"ip": "3"}], "ports": [{"name": "a", "port": 1}]},
            {"addresses": [{"ip": "4"}], "ports": [{"name": "b", "port": 2}, {"name": "a", "port": 3}]}]});
        assert_eq!(places(&of_endpoints(&endpoints, "a")), [("2", 1), ("1", 1), ("4", 3)]);
        assert_eq!(places(&of_endpoints(&endpoints, "c")), []);
    }
}
