//! The ranges that services have their addresses from: ServiceCIDR objects that are ready
//! (`pkg/registry/core/service/ipallocator`, `pkg/api/servicecidr`).

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::{Server, bootstrap, text};
use crate::defaults::{parse_cidr, prefix};
use crate::local::Gvr;
use crate::store::Key;

pub(crate) const RANGES: Gvr = Gvr::new("networking.k8s.io", "v1", "servicecidrs");
/// The range that the server was started with.
const OWN: &str = "kubernetes";

/// `--service-cluster-ip-range` of kubeadm: 10.96.0.0/16 here, the first address is the API server's.
const SERVICE_NET: u32 = u32::from_be_bytes([10, 96, 0, 0]);

/// A range of addresses: those that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    network: IpAddr,
    bits: u32,
}

impl Range {
    /// Reads `ADDRESS/BITS`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        parse_cidr(text).map(|(network, bits)| Self { network, bits })
    }

    /// The ranges of a ServiceCIDR.
    pub(crate) fn all_of(object: &Value) -> impl Iterator<Item = Self> {
        let all = object["spec"]["cidrs"].as_array().into_iter().flatten();
        all.filter_map(|c| Self::parse(c.as_str()?))
    }

    fn width(&self) -> u32 {
        if self.network.is_ipv4() { 32 } else { 128 }
    }

    /// Whether one is a part of the other (`netip.Prefix.Overlaps`).
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let bits = self.bits.min(other.bits);
        self.network.is_ipv4() == other.network.is_ipv4() && prefix(self.network, bits) == prefix(other.network, bits)
    }

    /// Whether all of `other` is in it.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.overlaps(other) && self.bits <= other.bits
    }

    /// Whether a service can have this address of it: not the network's own, nor (IPv4) the one for all
    /// (`PrefixContainsIP`).
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        if self.network.is_ipv4() != address.is_ipv4() || prefix(self.network, self.bits) != prefix(address, self.bits)
        {
            return false;
        }
        let host = |a| prefix(a, self.width()) & self.last_host();
        let for_all = address.is_ipv4() && host(address) == self.last_host();
        host(address) != 0 && !for_all
    }

    /// The bits of hosts, all set.
    fn last_host(&self) -> u128 {
        1u128.checked_shl(self.width() - self.bits).map_or(u128::MAX, |n| n - 1)
    }

    /// The addresses that are given out of it, from a chance one on, those at its start (which people ask for by
    /// themselves) last (KEP-3070); none of IPv6, which this cluster does not have.
    fn free_from(self, start: u32) -> impl Iterator<Item = Ipv4Addr> {
        let first = match self.network {
            IpAddr::V4(network) => u32::from(network) + 1,
            IpAddr::V6(_) => 0,
        };
        let hosts = match self.network {
            IpAddr::V4(_) => u32::try_from(self.last_host()).unwrap_or(u32::MAX).saturating_sub(1),
            IpAddr::V6(_) => 0,
        };
        let kept = match hosts.saturating_add(2) {
            size if size <= 16 => 0,
            size => (size / 16).clamp(16, 256).min(hosts),
        };
        let circle = move |from: u32, count: u32| {
            (0..count).map(move |i| {
                let at = (u64::from(start) + u64::from(i)) % u64::from(count);
                // Less than `count`, which is a u32.
                Ipv4Addr::from(first + from + u32::try_from(at).unwrap_or(0))
            })
        };
        circle(kept, hosts - kept).chain(circle(0, kept))
    }
}

/// Whether services may have addresses of a ServiceCIDR.
fn is_ready(range: &Value) -> bool {
    let all = range["status"]["conditions"].as_array().into_iter().flatten();
    let ready = all.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    ready && range["metadata"]["deletionTimestamp"].is_null()
}

impl Server {
    /// IPv4 ranges of services with what they are written as, and whether they are ready; the server's own first.
    fn service_ranges(&self) -> Vec<(Range, String, bool)> {
        let mut found = self.store.list(&RANGES, None, None).objects;
        found.sort_by_key(|o| o.name() != OWN);
        let mut all = Vec::new();
        for object in found {
            let v = object.peek();
            let ready = is_ready(&v);
            for c in v["spec"]["cidrs"].as_array().into_iter().flatten() {
                let written = c.as_str().unwrap_or_default();
                if let Some(range) = Range::parse(written).filter(|r| r.network.is_ipv4()) {
                    all.push((range, written.to_owned(), ready));
                }
            }
        }
        all
    }

    /// An address that nobody has; `None`: all are taken.
    pub(super) fn free_service_address(&self, start: u32, is_taken: impl Fn(&str) -> bool) -> Option<String> {
        let ready = self.service_ranges().into_iter().filter(|(_, _, ready)| *ready);
        let mut all = ready
            .flat_map(|(range, _, _)| range.free_from(start))
            .map(|a| a.to_string())
            // Who wants the address of DNS asks for it.
            .filter(|a| a != crate::node::CLUSTER_DNS);
        all.find(|a| !is_taken(a) && !self.is_reserved(a))
    }

    /// The address that a service gets which is only tried: upstream looks for none, and says the network's.
    ///
    /// # Errors
    /// When nothing is there to give out of.
    pub(super) fn tried_service_address(&self) -> Result<String, String> {
        match self.service_ranges().first() {
            Some((range, _, true)) => Ok(range.network.to_string()),
            _ => Err("allocator not ready".to_owned()),
        }
    }

    /// Why a service cannot have the address that it asks for.
    pub(super) fn refused_service_address(&self, asked: &str, dry_run: bool, is_taken: bool) -> Option<String> {
        let address: IpAddr = asked.parse().ok()?;
        let ranges = self.service_ranges();
        if dry_run {
            // One of the ranges is asked, which does not look at who has the address.
            return match ranges.first() {
                Some((range, written, true)) => (!range.contains(address)).then(|| {
                    format!("the provided IP ({asked}) is not in the valid range. The range of valid IPs is {written}")
                }),
                _ => Some("allocator not ready".to_owned()),
            };
        }
        if !ranges.iter().any(|(range, _, ready)| *ready && range.contains(address)) {
            return Some("the provided network does not match the current range".to_owned());
        }
        (is_taken || self.is_reserved(asked)).then(|| "provided IP is already allocated".to_owned())
    }

    /// What `kubernetes` in `default` has: the first address of the range that the server was started with.
    pub(super) fn first_service_address() -> String {
        Ipv4Addr::from(SERVICE_NET + 1).to_string()
    }
}

/// The range that the server was started with.
pub(crate) fn service_range() -> String {
    format!("{}/16", Ipv4Addr::from(SERVICE_NET))
}

/// The same as an object.
fn own() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": OWN},
        "spec": {"cidrs": [service_range()]}})
}

/// The range that the server was started with is there, and ready once it has been made; what others have said of it
/// stays (`pkg/controlplane/controller/defaultservicecidr`, which looks every 10 s).
pub(super) fn keep_own(server: &Server) {
    let Some(range) = server.store.get(&RANGES, &Key::new("", OWN)) else {
        return bootstrap::create(server, "kube-apiserver", own());
    };
    let v = range.peek();
    let all = v["status"]["conditions"].as_array().into_iter().flatten();
    let said = all.into_iter().find(|c| c["type"] == "Ready");
    let is_said = said.is_some_and(|c| text(c, "/status") != "Unknown");
    if is_said || !v["metadata"]["deletionTimestamp"].is_null() || v["spec"]["cidrs"] != own()["spec"]["cidrs"] {
        return;
    }
    let ready = super::Condition {
        kind: "Ready",
        holds: true,
        reason: "",
        message: "Kubernetes default Service CIDR is ready".to_owned(),
    };
    server.say(&RANGES, &range, &ready);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        Range::parse(text).unwrap()
    }

    #[test]
    fn what_a_range_holds() {
        for (of, address, is_in) in [
            ("10.96.0.0/16", "10.96.0.0", false),
            ("10.96.0.0/16", "10.96.0.1", true),
            ("10.96.0.0/16", "10.96.255.254", true),
            ("10.96.0.0/16", "10.96.255.255", false),
            ("10.96.0.0/16", "10.97.0.1", false),
            ("10.96.0.0/16", "fd00::1", false),
            ("10.0.0.1/32", "10.0.0.1", false),
            ("10.0.0.0/31", "10.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("fd00::/64", "fd00::", false),
            ("fd00::/64", "fd00::ffff:ffff:ffff:ffff", true),
            ("::/0", "fd00::1", true),
        ] {
            assert_eq!(range(of).contains(address.parse().unwrap()), is_in, "{address} of {of}");
        }
    }

    #[test]
    fn which_ranges_meet() {
        for (a, b, overlaps, covers) in [
            ("10.0.0.0/8", "10.1.0.0/16", true, true),
            ("10.1.0.0/16", "10.0.0.0/8", true, false),
            ("10.1.0.0/16", "10.1.0.0/16", true, true),
            ("10.1.0.0/16", "10.2.0.0/16", false, false),
            ("0.0.0.0/0", "::/0", false, false),
            ("::/0", "fd00::/64", true, true),
        ] {
            let (a, b) = (range(a), range(b));
            assert_eq!((a.overlaps(&b), a.covers(&b)), (overlaps, covers), "{a:?} {b:?}");
        }
    }

    #[test]
    fn each_address_is_given_out_once_and_those_at_the_start_last() {
        for (of, count, kept) in [
            ("10.0.0.0/24", 254, 16),
            ("10.0.0.0/28", 14, 0),
            ("10.0.0.0/29", 6, 0),
            ("10.0.0.0/31", 0, 0),
            ("10.0.0.1/32", 0, 0),
            ("fd00::/64", 0, 0),
        ] {
            for start in [0, 7, 300, u32::MAX] {
                let all: Vec<Ipv4Addr> = range(of).free_from(start).collect();
                let mut unique = all.clone();
                unique.sort();
                unique.dedup();
                assert_eq!((all.len(), unique.len()), (count, count), "{of} from {start}");
                assert!(all.iter().all(|a| range(of).contains((*a).into())), "{of} from {start}");
                let early = |a: &Ipv4Addr| u32::from(a.octets()[3]) <= kept;
                let (before, last) = all.split_at(count - kept as usize);
                assert!(!before.iter().any(early) && last.iter().all(early), "{of} from {start}");
            }
        }
        let wide = range("0.0.0.0/0").free_from(u32::MAX).next().unwrap();
        assert!(range("0.0.0.0/0").contains(wide.into()));
    }
}
