//! What kube-proxy and the host ports of the container network do for the containers of a node: addresses and ports of
//! services, and ports of nodes, lead to pods. All is looked up when somebody connects: a container that is interpreted
//! does so a few times, and nobody else asks.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::rest::Rest;
use super::shell::web::Url;
use crate::controllers::host_port::{self, HostPort};
use crate::controllers::object::Object;
use crate::controllers::pods::is_ended;
use crate::endpoints;
use crate::registry::{ADVERTISED, SECURE_PORT};

/// `service.spec.sessionAffinityConfig.clientIP.timeoutSeconds` where nothing is said.
const AFFINITY: i64 = 10_800;

/// A host's name or address in the network, and a port.
pub(crate) type Endpoint = (String, u16);

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// The services that a node knows of, and who went where.
pub(crate) struct Services {
    rest: Rest,
    node: String,
    /// The API server, as this node reaches it.
    api: Option<Endpoint>,
    turn: AtomicUsize,
    /// By client, and service and port: where it went last, and until when it goes there again.
    affinity: Mutex<BTreeMap<(String, String), (Endpoint, Instant)>>,
}

/// Host and port of an URL.
fn endpoint_of(url: &str) -> Option<Endpoint> {
    Url::of(url).map(|u| (u.host, u.port))
}

/// Whether a service is reached at an address.
fn has_address(service: &Value, address: &str) -> bool {
    let own = service
        .items("/spec/clusterIPs")
        .iter()
        .chain(service.items("/spec/externalIPs"));
    let balanced = service.items("/status/loadBalancer/ingress").iter().map(|i| &i["ip"]);
    own.chain(balanced).any(|a| a == address)
}

/// Where a port of a node leads, of its pods' `hostPort`s: to the pod's address and port. One that is bound to an address
/// goes before one that is bound to all (`plugins/meta/portmap` of the container network).
fn host_port(pods: &[Value], address: &str, port: u16, protocol: Protocol) -> Option<Endpoint> {
    let mut to_all = None;
    for pod in pods.iter().filter(|p| !is_ended(p) && !p.flag("/spec/hostNetwork")) {
        let ip = pod.text("/status/podIP");
        for p in host_port::container_ports(pod) {
            // Most ports are not the host's, and of those most are others: looked at before anything is made of them.
            if p["hostPort"].as_u64() != Some(u64::from(port)) {
                continue;
            }
            let at = p["containerPort"].as_u64().and_then(|n| u16::try_from(n).ok());
            let (Some(at), Some(taken)) = (at, HostPort::of(p)) else {
                continue;
            };
            if taken.protocol != protocol.name() || ip.is_empty() {
                continue;
            }
            if taken.is_of_all() {
                to_all = Some((ip.to_owned(), at));
            } else if taken.address == address {
                return Some((ip.to_owned(), at));
            }
        }
    }
    to_all
}

impl Services {
    /// `api` is the URL of the node's API server.
    pub(crate) fn new(rest: Rest, node: &str, api: Option<&str>) -> Self {
        Self {
            rest,
            node: node.to_owned(),
            api: api.and_then(endpoint_of),
            turn: AtomicUsize::new(0),
            affinity: Mutex::default(),
        }
    }

    /// Where the address that the API server advertises leads; any other one leads to itself.
    pub(super) fn routed(&self, to: Endpoint) -> Endpoint {
        match &self.api {
            Some(api) if to.0 == ADVERTISED && to.1 == SECURE_PORT => api.clone(),
            _ => to,
        }
    }

    pub(super) async fn list(&self, path: &str) -> io::Result<Vec<Value>> {
        let list = self.rest.get(path).await.map_err(io::Error::other)?;
        Ok(list.items("/items").to_vec())
    }

    pub(super) async fn service(&self, namespace: &str, name: &str) -> io::Result<Option<Value>> {
        match self
            .rest
            .get(&format!("/api/v1/namespaces/{namespace}/services/{name}"))
            .await
        {
            Ok(s) => Ok(Some(s)),
            Err(e) if e.code() == 404 => Ok(None),
            Err(e) => Err(io::Error::other(e)),
        }
    }

    pub(super) async fn slices(&self, service: &Value) -> io::Result<Vec<Value>> {
        let (ns, name) = (service.namespace(), service.name());
        let path = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{name}"
        );
        self.list(&path).await
    }

    /// Every endpoint of a service, at each of its ports.
    pub(super) async fn all(&self, namespace: &str, name: &str) -> io::Result<Vec<Endpoint>> {
        let Some(service) = self.service(namespace, name).await? else {
            return Ok(Vec::new());
        };
        let slices = self.slices(&service).await?;
        let ports = service.items("/spec/ports").iter().map(|p| p.text("/name"));
        let all = ports.flat_map(|p| endpoints::of_slices(&slices, p, None));
        Ok(all.map(|p| (p.address.to_owned(), p.port)).collect())
    }

    /// Where a client of a service's port goes.
    async fn choose(&self, client: &str, service: &Value, port: &str) -> io::Result<Endpoint> {
        let local = (service.text("/spec/internalTrafficPolicy") == "Local").then_some(self.node.as_str());
        let slices = self.slices(service).await?;
        let all = endpoints::of_slices(&slices, port, local);
        let all: Vec<Endpoint> = all.iter().map(|p| (p.address.to_owned(), p.port)).collect();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let sticky = service.text("/spec/sessionAffinity") == "ClientIP";
        let key = (
            client.to_owned(),
            format!("{}/{}:{port}", service.namespace(), service.name()),
        );
        let mut affinity = self.affinity.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let last = affinity
            .get(&key)
            .filter(|(e, until)| sticky && *until > now && all.contains(e));
        let chosen = match (last, all.len()) {
            (_, 0) => return Err(refused()),
            (Some((e, _)), _) => e.clone(),
            (None, n) => all[self.turn.fetch_add(1, Ordering::Relaxed) % n].clone(),
        };
        affinity.retain(|_, (_, until)| *until > now);
        if sticky {
            let seconds = service
                .int("/spec/sessionAffinityConfig/clientIP/timeoutSeconds")
                .unwrap_or(AFFINITY);
            let until = now + Duration::from_secs(seconds.unsigned_abs());
            affinity.insert(key, (chosen.clone(), until));
        }
        Ok(chosen)
    }

    /// Where what `client` sends to an address and port goes: to a pod, or to the node that has the address; `None`: it is
    /// nobody's that is known here. A loopback address is that of this node.
    pub(super) async fn endpoint(
        &self,
        client: &str,
        address: &str,
        port: u16,
        protocol: Protocol,
    ) -> io::Result<Option<Endpoint>> {
        let services = self.list("/api/v1/services").await?;
        if let Some(s) = services.iter().find(|s| has_address(s, address)) {
            let named = endpoints::port_name(s, "port", port, Some(protocol.name()));
            let named = named.ok_or(io::ErrorKind::ConnectionRefused)?;
            return self.choose(client, s, named).await.map(Some);
        }
        let loopback = super::network::is_loopback(address);
        let nodes = self.list("/api/v1/nodes").await?;
        let found = nodes.iter().find(|n| {
            if loopback {
                n.name() == self.node
            } else {
                endpoints::is_node(n, address)
            }
        });
        let Some(node) = found else { return Ok(None) };
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", node.name());
        // By name or by address it is the same node.
        let bound = match loopback {
            true => address,
            false => internal_address(node).unwrap_or(address),
        };
        if let Some(pod) = host_port(&self.list(&path).await?, bound, port, protocol) {
            return Ok(Some(pod));
        }
        let by_port = |s| endpoints::port_name(s, "nodePort", port, Some(protocol.name())).map(|named| (s, named));
        match services.iter().find_map(by_port) {
            Some((service, named)) => self.choose(client, service, named).await.map(Some),
            None => Ok(Some((node.name().to_owned(), port))),
        }
    }
}

fn internal_address(node: &Value) -> Option<&str> {
    let mut all = node.items("/status/addresses").iter();
    all.find(|a| a.text("/type") == "InternalIP")?["address"].as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_of_services() {
        let s = json!({"spec": {"clusterIPs": ["10.96.0.9"], "externalIPs": ["1.2.3.4"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "5.6.7.8"}]}}});
        for (address, has) in [
            ("10.96.0.9", true),
            ("1.2.3.4", true),
            ("5.6.7.8", true),
            ("10.96.0.8", false),
        ] {
            assert_eq!(has_address(&s, address), has, "{address}");
        }
    }

    #[test]
    fn host_ports_of_an_address_and_a_protocol() {
        let pod = |ip: &str, port: Value| json!({"spec": {"containers": [{"ports": [port]}]}, "status": {"podIP": ip, "phase": "Running"}});
        let pods = [
            pod(
                "1",
                json!({"hostPort": 80, "containerPort": 8080, "hostIP": "127.0.0.1"}),
            ),
            pod(
                "2",
                json!({"hostPort": 80, "containerPort": 8080, "hostIP": "10.0.0.1", "protocol": "TCP"}),
            ),
            pod(
                "3",
                json!({"hostPort": 80, "containerPort": 53, "hostIP": "10.0.0.1", "protocol": "UDP"}),
            ),
            pod("4", json!({"hostPort": 81, "containerPort": 82})),
            pod("", json!({"hostPort": 83, "containerPort": 83})),
        ];
        for (address, port, protocol, expected) in [
            ("127.0.0.1", 80, Protocol::Tcp, Some(("1", 8080))),
            ("10.0.0.1", 80, Protocol::Tcp, Some(("2", 8080))),
            ("10.0.0.1", 80, Protocol::Udp, Some(("3", 53))),
            ("127.0.0.1", 80, Protocol::Udp, None),
            ("10.0.0.1", 81, Protocol::Tcp, Some(("4", 82))),
            ("10.0.0.1", 83, Protocol::Tcp, None),
        ] {
            let expected = expected.map(|(ip, p)| (ip.to_owned(), p));
            assert_eq!(host_port(&pods, address, port, protocol), expected, "{address}:{port}");
        }
    }
}
