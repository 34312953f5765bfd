//! The records of a cluster's zone, from services and their slices (Kubernetes DNS-Based Service Discovery 1.1.0, and
//! where that leaves it open as CoreDNS' plugin `kubernetes` with kubeadm's settings has it).

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::ZONE;
use crate::controllers::object::Object;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    A,
    Aaaa,
    Cname,
    Ptr,
    Srv,
    Txt,
}

impl Type {
    /// Each, and its name in zone files.
    const ALL: [(Self, &str); 6] = [
        (Self::A, "A"),
        (Self::Aaaa, "AAAA"),
        (Self::Cname, "CNAME"),
        (Self::Ptr, "PTR"),
        (Self::Srv, "SRV"),
        (Self::Txt, "TXT"),
    ];

    /// By its name in zone files.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, n)| n.eq_ignore_ascii_case(name));
        found.map(|(t, _)| *t)
    }

    /// Its name in zone files.
    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(t, _)| *t == self);
        found.map_or("", |(_, name)| name)
    }
}

/// What a record says, its type and its data as zone files have them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Data {
    Address(IpAddr),
    Alias(String),
    Pointer(String),
    Server { port: u16, target: String },
    Text(String),
}

impl Data {
    pub(crate) fn kind(&self) -> Type {
        match self {
            Self::Address(IpAddr::V4(_)) => Type::A,
            Self::Address(IpAddr::V6(_)) => Type::Aaaa,
            Self::Alias(_) => Type::Cname,
            Self::Pointer(_) => Type::Ptr,
            Self::Server { .. } => Type::Srv,
            Self::Text(_) => Type::Txt,
        }
    }
}

impl std::fmt::Display for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(ip) => write!(f, "{ip}"),
            Self::Alias(name) | Self::Pointer(name) => write!(f, "{name}."),
            Self::Server { port, target } => write!(f, "0 100 {port} {target}."),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// What a name is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A service, all of it or part of it.
    Service {
        namespace: String,
        name: String,
        part: Part,
    },
    /// `1-2-3-4.NAMESPACE.pod`.
    Pod(IpAddr),
    /// Names of an address.
    Reverse(IpAddr),
    /// The version of the schema.
    Version,
    /// A name that others are below, without records of its own.
    Above,
    /// Nothing that may be in this zone.
    Nothing,
    /// Nothing of this zone.
    Outside,
}

/// What of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// `_PORT._PROTOCOL`.
    Port(String, String),
    /// One endpoint, by its host name or its address.
    Endpoint(String),
}

/// `4.3.2.1.in-addr.arpa`, or 32 nibbles and `ip6.arpa`.
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(v4) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<&str> = v4.split('.').rev().collect();
        return parts.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let nibbles: String = name.strip_suffix(".ip6.arpa")?.split('.').rev().collect();
    let is = nibbles.len() == 32 && nibbles.bytes().all(|b| b.is_ascii_hexdigit());
    let groups: Vec<&str> = (0..32).step_by(4).filter_map(|i| nibbles.get(i..i + 4)).collect();
    is.then(|| groups.join(":").parse().ok()).flatten()
}

/// The name below `in-addr.arpa` or `ip6.arpa` of an address.
pub(crate) fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(a) => {
            let [a, b, c, d] = a.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(a) => {
            let digits = format!("{:032x}", u128::from(a));
            let all: Vec<String> = digits.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", all.join("."))
        }
    }
}

impl Subject {
    /// Of a full name in lower case, without the dot of the root.
    pub(crate) fn of(name: &str) -> Self {
        if let Some(ip) = reversed(name) {
            return Self::Reverse(ip);
        }
        let Some(below) = name.strip_suffix(ZONE) else {
            return Self::Outside;
        };
        let Some(below) = below.strip_suffix('.') else {
            return if below.is_empty() { Self::Above } else { Self::Outside };
        };
        let labels: Vec<&str> = below.split('.').collect();
        let service = |namespace: &str, name: &str, part| Self::Service {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            part,
        };
        match labels.as_slice() {
            ["dns-version"] => Self::Version,
            ["svc" | "pod"] | [_, "svc" | "pod"] => Self::Above,
            [name, ns, "svc"] => service(ns, name, Part::Whole),
            [port, protocol, name, ns, "svc"] => match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                (Some(port), Some(protocol)) => service(ns, name, Part::Port(port.into(), protocol.into())),
                _ => Self::Nothing,
            },
            [endpoint, name, ns, "svc"] => service(ns, name, Part::Endpoint((*endpoint).to_owned())),
            [dashed, _, "pod"] => match dashed.replace('-', ".").parse::<Ipv4Addr>() {
                Ok(ip) => Self::Pod(IpAddr::V4(ip)),
                Err(_) => dashed.replace('-', ":").parse().map_or(Self::Nothing, Self::Pod),
            },
            _ => Self::Nothing,
        }
    }
}

/// The endpoint's name below its service: its host name, or its address with dashes.
fn endpoint_name(endpoint: &Value, address: &str) -> String {
    match endpoint.text("/hostname") {
        "" => address.replace(['.', ':'], "-"),
        h => h.to_owned(),
    }
}

/// The endpoints that are published, each with its name and its address.
fn endpoints(slices: &[Value]) -> impl Iterator<Item = (&Value, String, IpAddr)> {
    let all = slices
        .iter()
        .flat_map(|s| s.items("/endpoints").iter().map(move |e| (s, e)));
    all.filter(|(_, e)| e.at("/conditions/ready") != Some(&Value::Bool(false)))
        .flat_map(|(s, e)| e.items("/addresses").iter().map(move |a| (s, e, a)))
        .filter_map(|(s, e, a)| {
            let a = a.as_str()?;
            Some((s, endpoint_name(e, a), a.parse().ok()?))
        })
}

fn is_headless(service: &Value) -> bool {
    service.text("/spec/clusterIP") == "None"
}

fn full_name(service: &Value) -> String {
    format!("{}.{}.svc.{ZONE}", service.name(), service.namespace())
}

/// Addresses of its own.
fn cluster_addresses(service: &Value) -> impl Iterator<Item = IpAddr> {
    let all = service.items("/spec/clusterIPs").iter().filter_map(Value::as_str);
    all.filter_map(|a| a.parse().ok())
}

/// The records at a name of a service; `None`: there is no such name.
pub(crate) fn of_service(service: &Value, slices: &[Value], part: &Part) -> Option<Vec<Data>> {
    let name = full_name(service);
    if service.text("/spec/type") == "ExternalName" {
        return match part {
            Part::Whole => Some(vec![Data::Alias(
                service.text("/spec/externalName").trim_end_matches('.').to_owned(),
            )]),
            _ => None,
        };
    }
    let headless = is_headless(service);
    let mut all: Vec<Data> = Vec::new();
    match part {
        Part::Whole if headless => {
            all.extend(endpoints(slices).map(|(_, _, ip)| Data::Address(ip)));
            all.extend(servers(service, slices, None));
        }
        Part::Whole => {
            all.extend(cluster_addresses(service).map(Data::Address));
            all.extend(servers(service, slices, None));
        }
        Part::Port(port, protocol) => all.extend(servers(service, slices, Some((port, protocol)))),
        Part::Endpoint(wanted) => {
            for (slice, _, ip) in endpoints(slices).filter(|(_, n, _)| n == wanted) {
                all.push(Data::Address(ip));
                let target = format!("{wanted}.{name}");
                all.extend(slice.items("/ports").iter().filter_map(|p| server(p, &target)));
            }
        }
    }
    all.sort();
    all.dedup();
    // A service that is headless and has no endpoints has no name either.
    (!all.is_empty()).then_some(all)
}

fn server(port: &Value, target: &str) -> Option<Data> {
    Some(Data::Server {
        port: u16::try_from(port.int("/port")?).ok()?,
        target: target.to_owned(),
    })
}

/// Whether a port is that of a name `_PORT._PROTOCOL`.
fn is_named(port: &Value, wanted: Option<(&String, &String)>) -> bool {
    let protocol = match port.text("/protocol") {
        "" => "tcp".to_owned(),
        p => p.to_lowercase(),
    };
    wanted.is_none_or(|(name, p)| port.text("/name") == name && protocol == *p)
}

fn servers(service: &Value, slices: &[Value], wanted: Option<(&String, &String)>) -> Vec<Data> {
    let name = full_name(service);
    if !is_headless(service) {
        let ports = service.items("/spec/ports").iter().filter(|p| is_named(p, wanted));
        return ports.filter_map(|p| server(p, &name)).collect();
    }
    let all = endpoints(slices).flat_map(|(slice, endpoint, _)| {
        let target = format!("{endpoint}.{name}");
        let ports = slice.items("/ports").iter().filter(|p| is_named(p, wanted));
        ports.filter_map(|p| server(p, &target)).collect::<Vec<_>>()
    });
    all.collect()
}

/// The names of an address: the service's that has it, or those of endpoints of services without an address.
pub(crate) fn names_of(ip: IpAddr, services: &[Value], slices: &[Value]) -> Vec<Data> {
    if let Some(s) = services.iter().find(|s| cluster_addresses(s).any(|a| a == ip)) {
        return vec![Data::Pointer(full_name(s))];
    }
    let mut all = Vec::new();
    for s in services.iter().filter(|s| is_headless(s)) {
        let of_it =
            |x: &&Value| x.namespace() == s.namespace() && x.label("kubernetes.io/service-name") == Some(s.name());
        let mine: Vec<Value> = slices.iter().filter(of_it).cloned().collect();
        let named = endpoints(&mine).filter(|(_, _, a)| *a == ip);
        all.extend(named.map(|(_, n, _)| Data::Pointer(format!("{n}.{}", full_name(s)))));
    }
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn subjects_of_names() {
        let service = |namespace: &str, name: &str, part| Subject::Service {
            namespace: namespace.into(),
            name: name.into(),
            part,
        };
        for (name, expected) in [
            ("web.a.svc.cluster.local", service("a", "web", Part::Whole)),
            (
                "_http._tcp.web.a.svc.cluster.local",
                service("a", "web", Part::Port("http".into(), "tcp".into())),
            ),
            (
                "p-0.web.a.svc.cluster.local",
                service("a", "web", Part::Endpoint("p-0".into())),
            ),
            (
                "10-1-2-3.a.pod.cluster.local",
                Subject::Pod("10.1.2.3".parse().unwrap()),
            ),
            ("fd00--1.a.pod.cluster.local", Subject::Pod("fd00::1".parse().unwrap())),
            ("x.a.pod.cluster.local", Subject::Nothing),
            ("a.svc.cluster.local", Subject::Above),
            ("cluster.local", Subject::Above),
            ("dns-version.cluster.local", Subject::Version),
            ("a.b.c.web.a.svc.cluster.local", Subject::Nothing),
            ("example.com", Subject::Outside),
            ("xcluster.local", Subject::Outside),
            ("web", Subject::Outside),
            ("3.2.1.10.in-addr.arpa", Subject::Reverse("10.1.2.3".parse().unwrap())),
        ] {
            assert_eq!(Subject::of(name), expected, "{name}");
        }
        for ip in ["10.1.2.3", "fd00::12:1"] {
            let ip = ip.parse().unwrap();
            assert_eq!(Subject::of(&reverse(ip)), Subject::Reverse(ip));
        }
    }

    fn service(name: &str, spec: Value) -> Value {
        json!({"metadata": {"name": name, "namespace": "a"}, "spec": spec})
    }

    fn lines(all: Option<Vec<Data>>) -> Vec<String> {
        all.into_iter()
            .flatten()
            .map(|d| format!("{:?} {d}", d.kind()))
            .collect()
    }

    #[test]
    fn records_of_services() {
        let web = service(
            "web",
            json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": [{"name": "http", "port": 80}]}),
        );
        let pods = service("pods", json!({"clusterIP": "None", "clusterIPs": ["None"]}));
        let far = service(
            "far",
            json!({"type": "ExternalName", "externalName": "foo.example.com"}),
        );
        let slices = [
            json!({"ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": [
            {"addresses": ["10.1.0.2"], "hostname": "p-0", "conditions": {"ready": true}},
            {"addresses": ["10.1.0.3"], "conditions": {"ready": true}},
            {"addresses": ["10.1.0.4"], "conditions": {"ready": false}}]}),
        ];
        let port = |p: &str| Part::Port("http".into(), p.into());
        for (s, part, expected) in [
            (
                &web,
                Part::Whole,
                vec!["A 10.96.0.9", "Srv 0 100 80 web.a.svc.cluster.local."],
            ),
            (&web, port("tcp"), vec!["Srv 0 100 80 web.a.svc.cluster.local."]),
            (&web, port("udp"), vec![]),
            (&web, Part::Endpoint("x".into()), vec![]),
            (
                &pods,
                Part::Whole,
                vec![
                    "A 10.1.0.2",
                    "A 10.1.0.3",
                    "Srv 0 100 8080 10-1-0-3.pods.a.svc.cluster.local.",
                    "Srv 0 100 8080 p-0.pods.a.svc.cluster.local.",
                ],
            ),
            (
                &pods,
                Part::Endpoint("p-0".into()),
                vec!["A 10.1.0.2", "Srv 0 100 8080 p-0.pods.a.svc.cluster.local."],
            ),
            (
                &pods,
                Part::Endpoint("10-1-0-3".into()),
                vec!["A 10.1.0.3", "Srv 0 100 8080 10-1-0-3.pods.a.svc.cluster.local."],
            ),
            (&pods, Part::Endpoint("10-1-0-4".into()), vec![]),
            (&far, Part::Whole, vec!["Cname foo.example.com."]),
        ] {
            assert_eq!(lines(of_service(s, &slices, &part)), expected, "{} {part:?}", s.name());
        }
        assert_eq!(of_service(&pods, &[], &Part::Whole), None);
    }

    #[test]
    fn names_of_addresses() {
        let all = [
            service("web", json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]})),
            service("pods", json!({"clusterIP": "None", "clusterIPs": ["None"]})),
        ];
        let slices = [
            json!({"metadata": {"namespace": "a", "labels": {"kubernetes.io/service-name": "pods"}},
            "endpoints": [{"addresses": ["10.1.0.2"], "hostname": "p-0"}]}),
        ];
        for (ip, expected) in [
            ("10.96.0.9", vec!["Ptr web.a.svc.cluster.local."]),
            ("10.1.0.2", vec!["Ptr p-0.pods.a.svc.cluster.local."]),
            ("10.1.0.3", vec![]),
        ] {
            assert_eq!(
                lines(Some(names_of(ip.parse().unwrap(), &all, &slices))),
                expected,
                "{ip}"
            );
        }
    }
}
