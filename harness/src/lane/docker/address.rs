//! Which address every host of a testbed has: one network per testbed, a part of it per site and per cluster's pods.
//! Pure, so that the same topology in the same slot always looks the same.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::topology::Topology;

/// First and last second byte of a testbed's network, `10.N.0.0/16`: away from what Kubernetes (10.42, 10.43, 10.96)
/// and common home and office networks use.
pub const SLOTS: std::ops::RangeInclusive<u8> = 100..=227;
/// Services of every cluster (k3s' default); clusters do not see each other's.
pub const SERVICES: Cidr = Cidr::new(Ipv4Addr::new(10, 43, 0, 0), 16);
/// Sites that fit: the network's lower half has 128 times 256 addresses, the first for its gateway.
const MAX_SITES: usize = 127;
/// The first host's last byte at a site.
const FIRST_HOST: u8 = 10;

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cidr {
    /// Its first address.
    pub address: Ipv4Addr,
    /// How many leading bits are fixed.
    pub prefix: u8,
}

impl Cidr {
    /// A block; `address` must be its first.
    #[must_use]
    pub const fn new(address: Ipv4Addr, prefix: u8) -> Self {
        Self { address, prefix }
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// Whether two blocks share an address.
    #[must_use]
    pub fn overlaps(self, other: Cidr) -> bool {
        let mask = self.mask() & other.mask();
        u32::from(self.address) & mask == u32::from(other.address) & mask
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl From<Cidr> for String {
    fn from(c: Cidr) -> Self {
        c.to_string()
    }
}

impl std::str::FromStr for Cidr {
    type Err = AddressError;

    fn from_str(s: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::NoBlock(s.to_owned());
        let (a, p) = s.split_once('/').ok_or_else(wrong)?;
        let prefix: u8 = p.parse().map_err(|_| wrong())?;
        let address: Ipv4Addr = a.parse().map_err(|_| wrong())?;
        if prefix > 32 {
            return Err(wrong());
        }
        let c = Self::new(address, prefix);
        Ok(Self::new(Ipv4Addr::from(u32::from(address) & c.mask()), prefix))
    }
}

impl TryFrom<String> for Cidr {
    type Error = AddressError;

    fn try_from(s: String) -> Result<Self, AddressError> {
        s.parse()
    }
}

/// Why a topology does not fit into a testbed's network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// More sites than there are blocks.
    #[error("{0} sites; a testbed's network has room for {MAX_SITES}")]
    Sites(usize),
    /// More hosts at a site than its block has addresses.
    #[error("too many hosts at site {0}: its /24 is full")]
    Hosts(String),
    /// More nodes in a cluster than its pods' block can be divided among.
    #[error("{nodes} nodes in cluster {cluster}: its pods' block has room for {room}")]
    Nodes {
        /// The cluster.
        cluster: String,
        /// How many it has.
        nodes: usize,
        /// How many fit.
        room: usize,
    },
    /// Text that is no block of addresses.
    #[error("`{0}` is no block of IPv4 addresses")]
    NoBlock(String),
}

/// A cluster's part of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterBlock {
    /// Addresses of its pods.
    pub pods: Cidr,
    /// How much of that each of its nodes gets.
    pub node_mask: u8,
}

/// All addresses of a testbed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// The docker network's block; what is in its upper half is reached through nodes.
    pub subnet: Cidr,
    /// Where docker may choose addresses itself: hosts that ask for none.
    pub range: Cidr,
    /// The machine that docker runs on.
    pub gateway: Ipv4Addr,
    /// Sites and their blocks.
    pub sites: BTreeMap<String, Cidr>,
    /// Hosts and their addresses: control planes by their cluster's name, nodes, and `site.NAME` for the clients at a
    /// site where nothing else is.
    pub hosts: BTreeMap<String, Ipv4Addr>,
    /// Clusters and their pods' blocks.
    pub clusters: BTreeMap<String, ClusterBlock>,
}

/// The name of the clients' address at a site where no host is; they also answer probes there.
#[must_use]
pub fn site_host(site: &str) -> String {
    format!("site.{site}")
}

/// Places a topology into the network of a slot.
///
/// # Errors
/// When it does not fit.
pub fn layout(t: &Topology, slot: u8) -> Result<Layout, AddressError> {
    if t.spec.sites.len() > MAX_SITES {
        return Err(AddressError::Sites(t.spec.sites.len()));
    }
    let block = |third: u8| Ipv4Addr::new(10, slot, third, 0);
    let mut sites = BTreeMap::new();
    let mut next: BTreeMap<&str, u8> = BTreeMap::new();
    for (i, s) in t.spec.sites.iter().enumerate() {
        sites.insert(s.name.value.clone(), Cidr::new(block(i as u8 + 1), 24));
        next.insert(s.name.as_str(), FIRST_HOST);
    }
    let mut hosts = BTreeMap::new();
    let mut place = |name: String, site: &str| {
        let last = next.get_mut(site).ok_or_else(|| AddressError::Hosts(site.to_owned()))?;
        let [a, b, c, _] = sites[site].address.octets();
        hosts.insert(name, Ipv4Addr::new(a, b, c, *last));
        *last = last
            .checked_add(1)
            .filter(|l| *l < u8::MAX)
            .ok_or_else(|| AddressError::Hosts(site.to_owned()))?;
        Ok(())
    };
    for c in &t.spec.clusters {
        place(c.name.value.clone(), &c.site)?;
    }
    for (c, n, name) in t.nodes() {
        place(name, n.site.as_ref().unwrap_or(&c.site))?;
    }
    for s in &t.spec.sites {
        let inhabited = t.spec.clusters.iter().any(|c| c.site.value == s.name.value)
            || t.nodes()
                .any(|(c, n, _)| n.site.as_ref().unwrap_or(&c.site).value == s.name.value);
        if !inhabited {
            place(site_host(&s.name), &s.name)?;
        }
    }
    Ok(Layout {
        subnet: Cidr::new(block(0), 16),
        range: Cidr::new(block(0), 24),
        gateway: Ipv4Addr::new(10, slot, 0, 1),
        sites,
        hosts,
        clusters: pods(t, slot)?,
    })
}

/// The upper half, divided evenly among clusters (at least a /21 each for up to 16), and each of these among nodes.
fn pods(t: &Topology, slot: u8) -> Result<BTreeMap<String, ClusterBlock>, AddressError> {
    let bits = |n: usize| n.next_power_of_two().trailing_zeros() as u8;
    let prefix = (17 + bits(t.spec.clusters.len())).max(21);
    let mut out = BTreeMap::new();
    for (j, c) in t.spec.clusters.iter().enumerate() {
        // Its control plane may be a node, too.
        let nodes = c.nodes.iter().flat_map(|n| n.names()).count() + 1;
        let node_mask = (prefix + bits(nodes)).max(24);
        // A node needs room for its bridge and a few dozen pods.
        if node_mask > 27 {
            return Err(AddressError::Nodes {
                cluster: c.name.value.clone(),
                nodes,
                room: 1 << (27_u8.saturating_sub(prefix)),
            });
        }
        let size = 1_u32 << (32 - prefix);
        let first = u32::from(Ipv4Addr::new(10, slot, 128, 0)) + size * j as u32;
        let pods = Cidr::new(Ipv4Addr::from(first), prefix);
        out.insert(c.name.value.clone(), ClusterBlock { pods, node_mask });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::find_topology;
    use proptest::prelude::*;

    #[test]
    fn nothing_of_a_testbed_overlaps() {
        for (name, _) in crate::bundled::TOPOLOGIES {
            let t = find_topology(name, None).unwrap().1;
            let l = layout(&t, 101).unwrap();
            let blocks: Vec<Cidr> = l
                .sites
                .values()
                .copied()
                .chain(l.clusters.values().map(|c| c.pods))
                .collect();
            for (i, a) in blocks.iter().enumerate() {
                assert!(l.subnet.overlaps(*a), "{name}: {a}");
                assert!(!a.overlaps(SERVICES) && !a.overlaps(l.range), "{name}: {a}");
                for b in &blocks[..i] {
                    assert!(!a.overlaps(*b), "{name}: {a} and {b}");
                }
            }
            let mut addresses: Vec<_> = l.hosts.values().collect();
            addresses.dedup();
            assert_eq!(addresses.len(), l.hosts.len(), "{name}");
            for (host, a) in &l.hosts {
                let at = l.sites.values().filter(|s| s.overlaps(Cidr::new(*a, 32))).count();
                assert_eq!(at, 1, "{name}: {host} {a}");
            }
        }
    }

    #[test]
    fn slots_do_not_overlap() {
        let t = find_topology("default", None).unwrap().1;
        assert!(
            !layout(&t, 101)
                .unwrap()
                .subnet
                .overlaps(layout(&t, 102).unwrap().subnet)
        );
        assert!(!layout(&t, *SLOTS.end()).unwrap().subnet.overlaps(SERVICES));
    }

    proptest! {
        #[test]
        fn text_and_block_are_one(a: u32, prefix in 0_u8..=32) {
            let c: Cidr = format!("{}/{prefix}", Ipv4Addr::from(a)).parse().unwrap();
            prop_assert_eq!(c.to_string().parse::<Cidr>().unwrap(), c);
            prop_assert!(c.overlaps(Cidr::new(Ipv4Addr::from(a), 32)));
        }
    }
}
