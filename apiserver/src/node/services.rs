//! What kube-proxy and a cluster's DNS do for the containers of a node: names, addresses and ports of services lead to their
//! endpoints. Services are looked up when somebody connects: a container that is interpreted does so a few times, and nobody
//! else asks.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cfn_net::{Net, Stream};
use serde_json::Value;
use tokio::time::Instant;

use super::rest::Rest;
use crate::controllers::object::Object;

/// How many names a name may lead to before it leads nowhere.
const LONGEST_CHAIN: usize = 8;
/// `service.spec.sessionAffinityConfig.clientIP.timeoutSeconds` where nothing is said.
const AFFINITY: i64 = 10_800;

/// An endpoint's address and port.
type Endpoint = (String, u16);

/// The services that a node knows of, and who went where.
pub(crate) struct Services {
    rest: Rest,
    node: String,
    turn: AtomicUsize,
    /// By client, and service and port: where it went last, and until when it goes there again.
    affinity: Mutex<BTreeMap<(String, String), (Endpoint, Instant)>>,
}

/// The network as a container sees it.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) net: Net,
    /// Its host in it.
    pub(crate) host: String,
    /// Where short names are looked up.
    pub(crate) namespace: String,
    pub(crate) services: Option<Arc<Services>>,
}

/// What a name or address stands for.
#[derive(Debug, Clone, PartialEq)]
enum Meaning<'a> {
    /// A service at its own ports.
    Service(&'a Value),
    /// Its endpoints themselves: it has no address.
    Headless(&'a Value),
    /// Another name.
    Alias(&'a str),
    Unknown,
}

/// What `host` stands for among services, asked for in `namespace`.
fn meaning<'a>(services: &'a [Value], host: &str, namespace: &str) -> Meaning<'a> {
    if host.parse::<IpAddr>().is_ok() {
        let has = |s: &&Value| {
            let addresses = s.items("/spec/clusterIPs").iter().chain(s.items("/spec/externalIPs"));
            let balanced = s.items("/status/loadBalancer/ingress").iter().map(|i| &i["ip"]);
            addresses.chain(balanced).any(|a| a == host)
        };
        return services.iter().find(has).map_or(Meaning::Unknown, Meaning::Service);
    }
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let (name, ns) = match labels.as_slice() {
        [name] => (*name, namespace),
        [name, ns] | [name, ns, "svc"] | [name, ns, "svc", "cluster", "local"] => (*name, *ns),
        _ => return Meaning::Unknown,
    };
    let found = services.iter().find(|s| s.name() == name && s.namespace() == ns);
    match found {
        None => Meaning::Unknown,
        Some(s) if s.text("/spec/type") == "ExternalName" => Meaning::Alias(s.text("/spec/externalName")),
        Some(s) if s.text("/spec/clusterIP") == "None" => Meaning::Headless(s),
        Some(s) => Meaning::Service(s),
    }
}

/// The name of a service's port that `matches`, of those that speak TCP.
fn port_of(service: &Value, field: &str, port: u16) -> Option<String> {
    let tcp = |p: &&Value| matches!(p.text("/protocol"), "" | "TCP");
    let mut ports = service.items("/spec/ports").iter().filter(tcp);
    let found = ports.find(|p| p[field].as_u64() == Some(u64::from(port)))?;
    Some(found.text("/name").to_owned())
}

/// Where a service's port is served: by those that are ready, else by those that still serve while they end
/// (`CategorizeEndpoints` of kube-proxy).
fn endpoints(slices: &[Value], port: &str, only_node: Option<&str>) -> Vec<Endpoint> {
    let (mut ready, mut ending) = (Vec::new(), Vec::new());
    for slice in slices {
        let named = slice.items("/ports").iter().find(|p| p.text("/name") == port);
        let Some(at) = named
            .and_then(|p| p["port"].as_u64())
            .and_then(|p| u16::try_from(p).ok())
        else {
            continue;
        };
        for e in slice.items("/endpoints") {
            if only_node.is_some_and(|n| e.text("/nodeName") != n) {
                continue;
            }
            let list = match e.at("/conditions/ready") {
                Some(Value::Bool(false)) if e.flag("/conditions/serving") && e.flag("/conditions/terminating") => {
                    &mut ending
                }
                Some(Value::Bool(false)) => continue,
                _ => &mut ready,
            };
            let addresses = e.items("/addresses").first().and_then(Value::as_str);
            list.extend(addresses.map(|a| (a.to_owned(), at)));
        }
    }
    ready.sort();
    ending.sort();
    if ready.is_empty() { ending } else { ready }
}

impl Services {
    pub(crate) fn new(rest: Rest, node: &str) -> Self {
        Self {
            rest,
            node: node.to_owned(),
            turn: AtomicUsize::new(0),
            affinity: Mutex::default(),
        }
    }

    async fn list(&self, path: &str) -> io::Result<Vec<Value>> {
        let list = self.rest.get(path).await.map_err(io::Error::other)?;
        Ok(list.items("/items").to_vec())
    }

    async fn slices(&self, service: &Value) -> io::Result<Vec<Value>> {
        let (ns, name) = (service.namespace(), service.name());
        let path = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{name}"
        );
        self.list(&path).await
    }

    /// Where a client of a service's port goes.
    async fn choose(&self, client: &str, service: &Value, port: &str) -> io::Result<Endpoint> {
        let local = (service.text("/spec/internalTrafficPolicy") == "Local").then_some(self.node.as_str());
        let all = endpoints(&self.slices(service).await?, port, local);
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

    /// Where a connection to a host and port goes; `None`: it is no service's.
    async fn endpoint(&self, from: &Network, host: &str, port: u16) -> io::Result<Option<Endpoint>> {
        let services = self.list("/api/v1/services").await?;
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let mut host = host.to_owned();
        for _ in 0..LONGEST_CHAIN {
            match meaning(&services, &host, &from.namespace) {
                Meaning::Alias(other) => host = other.to_owned(),
                Meaning::Service(s) => {
                    let named = port_of(s, "port", port).ok_or_else(refused)?;
                    return self.choose(&from.host, s, &named).await.map(Some);
                }
                Meaning::Headless(s) => {
                    let addresses = self.addresses_of(s).await?;
                    let first = addresses.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
                    return Ok(Some((first, port)));
                }
                Meaning::Unknown => break,
            }
        }
        let Some((service, named)) = services.iter().find_map(|s| Some((s, port_of(s, "nodePort", port)?))) else {
            return Ok(None);
        };
        let nodes = self.list("/api/v1/nodes").await?;
        let is = |n: &Value| {
            n.name() == host
                || n.items("/status/addresses")
                    .iter()
                    .any(|a| a["address"] == host.as_str())
        };
        match nodes.iter().any(is) {
            true => self.choose(&from.host, service, &named).await.map(Some),
            false => Ok(None),
        }
    }

    /// The addresses of a service that has none of its own.
    async fn addresses_of(&self, service: &Value) -> io::Result<Vec<String>> {
        let slices = self.slices(service).await?;
        let all = slices.iter().flat_map(|s| s.items("/endpoints"));
        let ready = all.filter(|e| e.at("/conditions/ready") != Some(&Value::Bool(false)));
        let mut all: Vec<String> = ready
            .flat_map(|e| e.items("/addresses"))
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        all.sort();
        Ok(all)
    }
}

impl Network {
    /// Connects to a host, or to whoever serves the service that it is.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> io::Result<Stream> {
        let direct = self.net.connect(&self.host, host, port);
        let Some(services) = &self.services else {
            return direct.await;
        };
        // A port that nobody listens on may be a service's port of a node.
        let failed = match self.net.site_of(host) {
            Some(_) => match direct.await {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Some(e),
                other => return other,
            },
            None => None,
        };
        match (services.endpoint(self, host, port).await?, failed) {
            (Some((host, port)), _) => self.net.connect(&self.host, &host, port).await,
            (None, Some(e)) => Err(e),
            (None, None) => self.net.connect(&self.host, host, port).await,
        }
    }

    /// The addresses of a name.
    pub(crate) async fn resolve(&self, name: &str) -> io::Result<Vec<String>> {
        let unknown = || io::Error::from(io::ErrorKind::NotFound);
        let Some(services) = &self.services else {
            return Err(unknown());
        };
        let all = services.list("/api/v1/services").await?;
        let mut name = name.to_owned();
        for _ in 0..LONGEST_CHAIN {
            match meaning(&all, &name, &self.namespace) {
                Meaning::Alias(other) => name = other.to_owned(),
                Meaning::Service(s) => return Ok(vec![s.text("/spec/clusterIP").to_owned()]),
                Meaning::Headless(s) => return services.addresses_of(s).await,
                Meaning::Unknown => break,
            }
        }
        Err(unknown())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn services() -> Vec<Value> {
        let of = |name: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "a"}, "spec": spec});
        vec![
            of(
                "web",
                json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": [
                {"name": "http", "port": 80, "nodePort": 30_080}, {"name": "dns", "port": 53, "protocol": "UDP"}]}),
            ),
            of("pods", json!({"clusterIP": "None", "clusterIPs": ["None"]})),
            of(
                "far",
                json!({"type": "ExternalName", "externalName": "web.a.svc.cluster.local"}),
            ),
        ]
    }

    #[test]
    fn names_and_addresses_of_services() {
        let all = services();
        for (host, namespace, expected) in [
            ("10.96.0.9", "b", Meaning::Service(&all[0])),
            ("10.96.0.8", "a", Meaning::Unknown),
            ("web", "a", Meaning::Service(&all[0])),
            ("web", "b", Meaning::Unknown),
            ("web.a", "b", Meaning::Service(&all[0])),
            ("web.a.svc", "b", Meaning::Service(&all[0])),
            ("web.a.svc.cluster.local.", "b", Meaning::Service(&all[0])),
            ("web.a.svc.example.com", "b", Meaning::Unknown),
            ("pods", "a", Meaning::Headless(&all[1])),
            ("far", "a", Meaning::Alias("web.a.svc.cluster.local")),
        ] {
            assert_eq!(meaning(&all, host, namespace), expected, "{host}");
        }
    }

    #[test]
    fn ports_of_services_that_speak_tcp() {
        let all = services();
        assert_eq!(port_of(&all[0], "port", 80).as_deref(), Some("http"));
        assert_eq!(port_of(&all[0], "nodePort", 30_080).as_deref(), Some("http"));
        assert_eq!(port_of(&all[0], "port", 53), None);
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
        let at = |ip: &str| (ip.to_owned(), 8080);
        let (one, two, gone) = (
            endpoint("1", true, false),
            endpoint("2", false, true),
            endpoint("3", false, false),
        );
        assert_eq!(
            endpoints(&slice(vec![two.clone(), one.clone(), gone.clone()]), "http", None),
            [at("1")]
        );
        assert_eq!(endpoints(&slice(vec![two, gone]), "http", None), [at("2")]);
        assert_eq!(endpoints(&slice(vec![one.clone()]), "https", None), []);
        assert_eq!(endpoints(&slice(vec![one]), "http", Some("2")), []);
    }
}
