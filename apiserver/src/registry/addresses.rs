//! The addresses of services as objects: each has an IPAddress as long as a service has it
//! (`pkg/registry/core/service/ipallocator`).

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Call, DeleteOptions, Resource, Server, text};
use crate::local::Gvr;
use crate::store::Key;

const ADDRESSES: Gvr = Gvr::new("networking.k8s.io", "v1", "ipaddresses");

/// The addresses that a service has.
fn of(service: Option<&Value>) -> Vec<IpAddr> {
    let all = service.map(|s| s["spec"]["clusterIPs"].as_array().into_iter().flatten());
    all.into_iter()
        .flatten()
        .filter_map(|a| a.as_str()?.parse().ok())
        .collect()
}

/// Whether an address stands for a service's.
fn is_of(address: &Value, ns: &str, name: &str) -> bool {
    let parent = &address["spec"]["parentRef"];
    parent["resource"] == "services" && parent["namespace"] == ns && parent["name"] == name
}

impl Server {
    /// Whether an address is somebody's, though it is no service's that there is.
    pub(super) fn is_reserved(&self, address: &str) -> bool {
        self.store.get(&ADDRESSES, &Key::new("", address)).is_some()
    }

    /// After a service was written: what it has now that it had not gets an object, what it gave back loses its own.
    pub(super) fn keep_addresses(&self, r: &Resource, old: Option<&Value>, new: Option<&Value>) {
        if !r.is("", "services") || r.custom.is_some() {
            return;
        }
        let Some(any) = new.or(old) else { return };
        let (ns, name) = (text(any, "/metadata/namespace"), text(any, "/metadata/name"));
        let (had, has) = (of(old), of(new));
        if had == has {
            return;
        }
        let Some(addresses) = self
            .catalog
            .find(&ADDRESSES.group, &ADDRESSES.version, &ADDRESSES.resource)
        else {
            return;
        };
        let mut call = Call::internal("kube-apiserver");
        for gone in had.iter().filter(|a| !has.contains(a)) {
            let gone = gone.to_string();
            let there = self.store.get(&ADDRESSES, &Key::new("", gone.as_str()));
            if there.is_some_and(|a| is_of(&a.value(), ns, name)) {
                // Whoever took it away in between has done what was to be done.
                let _ = self.delete(&mut call, &addresses, "", &gone, &DeleteOptions::default());
            }
        }
        for new in has.iter().filter(|a| !had.contains(a)) {
            let family = if new.is_ipv4() { "IPv4" } else { "IPv6" };
            let object = json!({
                "metadata": {"name": new.to_string(), "labels": {
                    "ipaddress.kubernetes.io/ip-family": family,
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                }},
                "spec": {"parentRef": {"resource": "services", "namespace": ns, "name": name}},
            });
            match self.create(&mut call, &addresses, "", None, object) {
                Ok(_) => {}
                // A store that was kept.
                Err(e) if e.is_already_exists() => {}
                Err(e) => tracing::error!(error = %e, "the address {new} of service {ns}/{name}"),
            }
        }
    }
}
