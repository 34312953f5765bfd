//! Where a proxied request goes (`ResourceLocation` of `pkg/registry/core/{pod,service}` in Kubernetes).

use std::net::IpAddr;

use serde_json::Value;

use crate::endpoints;
use crate::local::Gvr;
use crate::registry::{Server, text};
use crate::schema::quote;
use crate::status::Status;
use crate::store::Key;

static PODS: Gvr = Gvr::new("", "v1", "pods");
static SERVICES: Gvr = Gvr::new("", "v1", "services");
static ENDPOINTS: Gvr = Gvr::new("", "v1", "endpoints");

/// A port of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Location {
    /// As a URL has it.
    pub(super) fn authority(&self) -> String {
        super::host_port(&self.host, self.port)
    }
}

/// `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT` (`SplitSchemeNamePort`): whether with TLS, the name, the port or empty.
fn parts(id: &str) -> Option<(bool, &str, &str)> {
    let all: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match all.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme, name, port] => (*scheme, *name, *port),
        _ => return None,
    };
    let tls = match scheme {
        "" | "http" => false,
        "https" => true,
        _ => return None,
    };
    (!name.is_empty()).then_some((tls, name, port))
}

/// The port of a pod.
pub(super) fn of_pod(server: &Server, ns: &str, id: &str) -> Result<Location, Status> {
    let bad = |why: String| Status::bad_request(why);
    let (tls, name, port) = parts(id).ok_or_else(|| bad(format!("invalid pod request {}", quote(id))))?;
    let found = server.store.get(&PODS, &Key::new(ns, name));
    let pod = found.ok_or_else(|| Status::not_found("", "pods", name))?.value();
    let port = match port {
        "" => first_port(&pod),
        p => Some(p.parse().map_err(|_| {
            let why = format!("error trying to reach service: dial tcp: lookup tcp/{p}: unknown port");
            Status::new(503, "ServiceUnavailable", why)
        })?),
    };
    let host = match text(&pod, "/status/podIPs/0/ip") {
        "" => text(&pod, "/status/podIP"),
        ip => ip,
    };
    if !is_proxyable(host) {
        return Err(bad("address not allowed".to_owned()));
    }
    Ok(Location {
        tls,
        host: host.to_owned(),
        port: port.unwrap_or(if tls { 443 } else { 80 }),
    })
}

/// The first port of the first container that has one.
fn first_port(pod: &Value) -> Option<u16> {
    let containers = pod["spec"]["containers"].as_array()?;
    let ports = containers
        .iter()
        .find_map(|c| c["ports"][0]["containerPort"].as_u64())?;
    u16::try_from(ports).ok()
}

/// A ready pod behind a port of a service.
pub(super) fn of_service(server: &Server, ns: &str, id: &str) -> Result<Location, Status> {
    let unavailable = |why: String| Status::new(503, "ServiceUnavailable", why);
    let invalid = || Status::bad_request(format!("invalid service request {}", quote(id)));
    let (tls, name, port) = parts(id).ok_or_else(invalid)?;
    let mut port = port.to_owned();
    if let Ok(number) = port.parse::<i64>() {
        let found = server.store.get(&SERVICES, &Key::new(ns, name));
        let service = found.ok_or_else(|| Status::not_found("", "services", name))?.value();
        let found = u16::try_from(number)
            .ok()
            .and_then(|n| endpoints::port_name(&service, "port", n, None));
        let none = || unavailable(format!("no service port {number} found for service {}", quote(name)));
        found.ok_or_else(none)?.clone_into(&mut port);
    }
    let found = server.store.get(&ENDPOINTS, &Key::new(ns, name));
    // Upstream's storage names the resource of the request.
    let object = found.ok_or_else(|| Status::not_found("", "services", name))?.value();
    let subsets = object["subsets"].as_array().map(Vec::as_slice).unwrap_or_default();
    if subsets.is_empty() {
        return Err(unavailable(format!(
            "no endpoints available for service {}",
            quote(name)
        )));
    }
    // Of the same namespace and at that address (`isValidAddress`): who writes endpoints chooses none but pods.
    let is_pod = |a: &Value| {
        let named = text(a, "/targetRef/kind") == "Pod" && text(a, "/targetRef/namespace") == ns;
        named && is_proxyable(text(a, "/ip")) && {
            let pod = server.store.get(&PODS, &Key::new(ns, text(a, "/targetRef/name")));
            pod.is_some_and(|pod| {
                let pod = pod.value();
                let mut addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
                addresses.any(|i| i["ip"] == a["ip"])
            })
        }
    };
    let places = endpoints::of_endpoints(&object, &port);
    // One after the other: upstream takes any.
    let turn = server.caller().map_or(0, crate::webhook::Caller::turn);
    let first = turn % places.len().max(1);
    let mut in_turn = places[first..].iter().chain(&places[..first]);
    let Some(place) = in_turn.find(|p| is_pod(p.endpoint)) else {
        return Err(unavailable(format!("no endpoints available for service {}", quote(id))));
    };
    Ok(Location {
        tls,
        host: place.address.to_owned(),
        port: place.port,
    })
}

/// Whether an address may be a pod's (`IsProxyableIP`): never this machine's own, nor one of its link alone.
fn is_proxyable(address: &str) -> bool {
    // An IPv4 address may be written as one of IPv6.
    match address.parse().map(|a: IpAddr| a.to_canonical()) {
        Ok(IpAddr::V4(a)) => {
            !(a.is_unspecified() || a.is_loopback() || a.is_link_local() || a.is_multicast() || a.is_broadcast())
        }
        Ok(IpAddr::V6(a)) => !(a.is_unspecified() || a.is_loopback() || a.is_unicast_link_local() || a.is_multicast()),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_may_be_a_pods() {
        for (address, may) in [
            ("10.1.2.3", true),
            ("fd00::1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("::1", false),
            ("fe80::1", false),
            ("::ffff:10.1.2.3", true),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("node", false),
            ("", false),
        ] {
            assert_eq!(is_proxyable(address), may, "{address}");
        }
    }

    #[test]
    fn names_of_what_is_proxied() {
        for (id, expected) in [
            ("a", Some((false, "a", ""))),
            ("a:80", Some((false, "a", "80"))),
            ("a:web", Some((false, "a", "web"))),
            ("https:a:443", Some((true, "a", "443"))),
            ("http:a:", Some((false, "a", ""))),
            (":a:1", Some((false, "a", "1"))),
            ("ftp:a:1", None),
            ("a:b:c:d", None),
            (":80", None),
            ("", None),
        ] {
            assert_eq!(parts(id), expected, "{id}");
        }
    }
}
