//! The addresses of services as objects: each has an IPAddress as long as a service has it
//! (`pkg/registry/core/service/ipallocator`).

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Call, DeleteOptions, Server};
use crate::local::Gvr;
use crate::store::{Key, Object};

pub(crate) const ADDRESSES: Gvr = Gvr::new("networking.k8s.io", "v1", "ipaddresses");

/// Label and value of addresses that this server gave out.
pub(crate) const MANAGED_BY: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");

/// The addresses that a service has.
fn of(service: Option<&Arc<Object>>) -> Vec<IpAddr> {
    let service = service.map(|s| s.peek());
    let lists = service.iter().filter_map(|s| s["spec"]["clusterIPs"].as_array());
    lists.flatten().filter_map(|a| a.as_str()?.parse().ok()).collect()
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

    fn has_address(&self, address: &str, ns: &str, name: &str) -> bool {
        let there = self.store.get(&ADDRESSES, &Key::new("", address));
        there.is_some_and(|a| is_of(&a.peek(), ns, name))
    }

    /// After a service was written: what it has now that it had not gets an object, what it gave back loses its own.
    pub(super) fn keep_addresses(&self, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) {
        let Some(any) = new.or(old) else { return };
        let (ns, name) = (any.namespace(), any.name());
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
            if self.has_address(&gone, ns, name) {
                // Whoever took it away in between has done what was to be done.
                let _ = self.delete(&mut call, &addresses, "", &gone, &DeleteOptions::default());
            }
        }
        for new in has.iter().filter(|a| !had.contains(a)) {
            let family = if new.is_ipv4() { "IPv4" } else { "IPv6" };
            let object = json!({
                "metadata": {"name": new.to_string(), "labels": {
                    "ipaddress.kubernetes.io/ip-family": family,
                    MANAGED_BY.0: MANAGED_BY.1,
                }},
                "spec": {"parentRef": {"resource": "services", "namespace": ns, "name": name}},
            });
            match self.create(&mut call, &addresses, "", None, object) {
                Ok(_) => {}
                // A store that was kept.
                Err(e) if e.is_already_exists() && self.has_address(&new.to_string(), ns, name) => {}
                Err(e) => tracing::error!(error = %e, "the address {new} of service {ns}/{name}"),
            }
        }
    }
}
