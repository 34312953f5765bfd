//! Where a proxied request goes (`ResourceLocation` of `pkg/registry/core/{pod,service}` in Kubernetes).

use serde_json::Value;

use crate::local::Gvr;
use crate::registry::{Server, text};
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
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
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
    let (tls, name, port) = parts(id).ok_or_else(|| bad(format!("invalid pod request {id:?}")))?;
    let found = server.store.get(&PODS, &Key::new(ns, name));
    let pod = found.ok_or_else(|| Status::not_found("", "pods", name))?.value();
    let port = match port {
        "" => first_port(&pod),
        p => p.parse().ok(),
    };
    let host = match text(&pod, "/status/podIPs/0/ip") {
        "" => text(&pod, "/status/podIP"),
        ip => ip,
    };
    if host.is_empty() {
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
    let invalid = || Status::bad_request(format!("invalid service request {id:?}"));
    let (tls, name, port) = parts(id).ok_or_else(invalid)?;
    let mut port = port.to_owned();
    if let Ok(number) = port.parse::<i64>() {
        let found = server.store.get(&SERVICES, &Key::new(ns, name));
        let service = found.ok_or_else(|| Status::not_found("", "services", name))?.value();
        let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let declared = ports.find(|p| p["port"] == number);
        let none = || unavailable(format!("no service port {number} found for service {name:?}"));
        text(declared.ok_or_else(none)?, "/name").clone_into(&mut port);
    }
    let found = server.store.get(&ENDPOINTS, &Key::new(ns, name));
    let endpoints = found.ok_or_else(|| Status::not_found("", "endpoints", name))?.value();
    let subsets = endpoints["subsets"].as_array().map(Vec::as_slice).unwrap_or_default();
    if subsets.is_empty() {
        return Err(unavailable(format!("no endpoints available for service {name:?}")));
    }
    let is_pod = |a: &&Value| {
        text(a, "/targetRef/kind") == "Pod"
            && server
                .store
                .get(
                    &PODS,
                    &Key::new(text(a, "/targetRef/namespace"), text(a, "/targetRef/name")),
                )
                .is_some()
    };
    let mut places = Vec::new();
    for subset in subsets {
        let ports = subset["ports"].as_array().into_iter().flatten();
        let Some(at) = ports.into_iter().find(|p| text(p, "/name") == port) else {
            continue;
        };
        let Some(at) = at["port"].as_u64().and_then(|p| u16::try_from(p).ok()) else {
            continue;
        };
        let addresses = subset["addresses"].as_array().into_iter().flatten();
        places.extend(addresses.filter(is_pod).map(|a| (text(a, "/ip").to_owned(), at)));
    }
    // One after the other: upstream takes any.
    let turn = server.caller().map_or(0, crate::webhook::Caller::turn);
    let (host, port) = match places.len() {
        0 => return Err(unavailable(format!("no endpoints available for service {id:?}"))),
        n => places.swap_remove(turn % n),
    };
    Ok(Location { tls, host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

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
