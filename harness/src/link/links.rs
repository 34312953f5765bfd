//! From the topology's links and the faults that are present to what each container's shaper is told.
//!
//! The state is kept in a [`Net`] without hosts: routes, cuts and isolation are then those of the embedded lanes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cfn_net::{Net, Seed, Transport, Way};

use super::{Cidr, Rule, ShapeConfig};
use crate::scenario::{Fault, FaultKind};
use crate::topology::Topology;

/// The links of a testbed as they are now. Cheap to clone; clones are the same links.
#[derive(Clone)]
pub struct Links {
    net: Net,
    seed: Seed,
    topology: Arc<Topology>,
    /// How often connections between two sites were reset, in the order in which they are named.
    resets: Arc<Mutex<BTreeMap<(String, String), u64>>>,
}

impl Links {
    /// As the topology has them.
    #[must_use]
    pub fn new(topology: &Topology, seed: Seed) -> Self {
        let net = Net::new(Transport::Memory, seed);
        for l in &topology.spec.links {
            net.set_link(&l.between[0], &l.between[1], l.spec());
        }
        Self {
            net,
            seed,
            topology: Arc::new(topology.clone()),
            resets: Arc::default(),
        }
    }

    /// Breaks a link, a site's links, or connections; false when the fault is not of the network. Shapers have then
    /// to be told anew.
    pub fn fault(&self, f: &Fault) -> bool {
        match (f.kind.value, &f.site, &f.between) {
            (FaultKind::Partition, None, Some([a, b])) if f.one_way => self.net.cut_one_way(a, b),
            (FaultKind::Partition, None, Some([a, b])) => self.net.cut(a, b),
            (FaultKind::Isolate, Some(s), None) => self.net.isolate(s),
            (FaultKind::Shape, None, Some(between)) => {
                let spec = f.link.clone().unwrap_or_default().link(between.clone()).spec();
                self.net.set_link(&between[0], &between[1], spec);
            }
            (FaultKind::Reset, None, Some([a, b])) => {
                let mut resets = self.resets.lock().unwrap_or_else(PoisonError::into_inner);
                *resets.entry((a.value.clone(), b.value.clone())).or_default() += 1;
            }
            _ => return false,
        }
        true
    }

    /// Mends what [`Links::fault`] broke; false when the fault is not of the network.
    pub fn heal(&self, f: &Fault) -> bool {
        match (f.kind.value, &f.site, &f.between) {
            (FaultKind::Partition, None, Some([a, b])) => self.net.heal(a, b),
            (FaultKind::Isolate, Some(s), None) => self.net.heal_site(s),
            (FaultKind::Shape, None, Some([a, b])) => {
                let was = self
                    .topology
                    .spec
                    .links
                    .iter()
                    .find(|l| l.between.contains(a) && l.between.contains(b));
                match was {
                    Some(l) => self.net.set_link(&l.between[0], &l.between[1], l.spec()),
                    None => {
                        self.net.remove_link(a, b);
                    }
                }
            }
            (FaultKind::Reset, None, Some(_)) => {}
            _ => return false,
        }
        true
    }

    /// What the shaper of a container at `site` is told; `addresses` are every site's (hosts and pods).
    #[must_use]
    pub fn config(&self, site: &str, addresses: &BTreeMap<String, Vec<Cidr>>) -> ShapeConfig {
        let resets = self.resets.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = addresses
            .iter()
            .filter(|(from, cidrs)| *from != site && !cidrs.is_empty())
            .map(|(from, cidrs)| {
                let (hops, cut) = match self.net.way(from, site) {
                    Way::Within => (Vec::new(), false),
                    Way::Blocked => (Vec::new(), true),
                    Way::Over(hops) => (hops, false),
                };
                Rule {
                    site: from.clone(),
                    from: cidrs.clone(),
                    to: Vec::new(),
                    hops,
                    cut,
                    resets: resets
                        .iter()
                        .filter(|((a, b), _)| self.net.crosses(from, site, a, b))
                        .map(|(_, n)| n)
                        .sum(),
                }
            })
            .collect();
        ShapeConfig {
            seed: self.seed.child(site).0,
            rules,
        }
    }

    /// Mean one-way latency from one site to another, milliseconds; none while nothing passes.
    #[must_use]
    pub fn latency(&self, from: &str, to: &str) -> Option<f64> {
        match self.net.way(from, to) {
            Way::Within => Some(0.0),
            Way::Blocked => None,
            Way::Over(hops) => Some(hops.iter().map(|h| h.latency).sum()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Source;

    const TOWN: &str = "
apiVersion: cfn.akraino.org/v1alpha1
kind: Topology
metadata: {name: t}
spec:
  sites:
    - {name: hub, role: center}
    - {name: east, role: edge}
    - {name: west, role: edge}
  links:
    - {between: [hub, east], latency: 5ms, latencyVariation: 1ms, throughputUl: 10Mbit/s, throughputDl: 20Mbit/s}
    - {between: [east, west], latency: 3ms, packetLoss: 1%}
  clusters:
    - {name: hub, role: hub, site: hub, nodes: []}
";

    fn town() -> (Links, BTreeMap<String, Vec<Cidr>>) {
        let t = Topology::read(&Source::new("t.yaml", TOWN)).unwrap();
        let cidr = |s: &str| s.parse::<Cidr>().unwrap();
        let addresses = BTreeMap::from([
            ("hub".into(), vec![cidr("10.9.0.0/24")]),
            ("east".into(), vec![cidr("10.9.1.0/24"), cidr("10.9.129.0/24")]),
            ("west".into(), vec![cidr("10.9.2.0/24")]),
        ]);
        (Links::new(&t, Seed(1)), addresses)
    }

    fn fault(yaml: &str) -> Fault {
        serde_yaml::from_str(yaml).unwrap()
    }

    /// One line a rule: where from, latencies and rates of the hops, cut, resets.
    fn told(links: &Links, addresses: &BTreeMap<String, Vec<Cidr>>, site: &str) -> Vec<String> {
        links
            .config(site, addresses)
            .rules
            .iter()
            .map(|r| {
                let hops: Vec<String> = r.hops.iter().map(|h| format!("{}@{}", h.latency, h.rate)).collect();
                let cut = if r.cut { " cut" } else { "" };
                let resets = if r.resets > 0 {
                    format!(" resets {}", r.resets)
                } else {
                    String::new()
                };
                format!("{} {}{cut}{resets}", r.site, hops.join("+"))
                    .trim_end()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn a_container_shapes_what_comes_from_each_other_site() {
        let (links, a) = town();
        assert_eq!(told(&links, &a, "hub"), ["east 5@20", "west 3@0+5@20"]);
        assert_eq!(told(&links, &a, "west"), ["east 3@0", "hub 5@10+3@0"]);
        assert_eq!(links.config("hub", &a).rules[0].from.len(), 2);
        assert_eq!(links.latency("hub", "west"), Some(8.0));
    }

    #[test]
    fn faults_change_what_is_told_and_heals_change_it_back() {
        let (links, a) = town();
        let before = ["hub", "east", "west"].map(|s| told(&links, &a, s));
        for (yaml, hub, west) in [
            (
                "{kind: partition, between: [east, hub]}",
                vec!["east  cut", "west  cut"],
                vec!["east 3@0", "hub  cut"],
            ),
            (
                "{kind: partition, between: [east, hub], oneWay: true}",
                vec!["east  cut", "west  cut"],
                vec!["east 3@0", "hub 5@10+3@0"],
            ),
            (
                "{kind: isolate, site: west}",
                vec!["east 5@20", "west  cut"],
                vec!["east  cut", "hub  cut"],
            ),
            (
                "{kind: shape, between: [east, west], link: {latency: 30ms}}",
                vec!["east 5@20", "west 30@0+5@20"],
                vec!["east 30@0", "hub 5@10+30@0"],
            ),
        ] {
            let f = fault(yaml);
            assert!(links.fault(&f), "{yaml}");
            assert_eq!(told(&links, &a, "hub"), hub, "{yaml}");
            assert_eq!(told(&links, &a, "west"), west, "{yaml}");
            assert!(links.heal(&f), "{yaml}");
            assert_eq!(["hub", "east", "west"].map(|s| told(&links, &a, s)), before, "{yaml}");
        }
    }

    #[test]
    fn resets_count_where_the_link_is_crossed() {
        let (links, a) = town();
        assert!(links.fault(&fault("{kind: reset, between: [hub, east]}")));
        assert!(links.fault(&fault("{kind: reset, between: [hub, east]}")));
        assert_eq!(
            told(&links, &a, "hub"),
            ["east 5@20 resets 2", "west 3@0+5@20 resets 2"]
        );
        assert_eq!(told(&links, &a, "west"), ["east 3@0", "hub 5@10+3@0 resets 2"]);
    }

    #[test]
    fn other_faults_are_not_of_the_network() {
        let (links, _) = town();
        for yaml in [
            "{kind: crash, node: n}",
            "{kind: kill, component: scheduler}",
            "{kind: partition, site: hub}",
        ] {
            assert!(!links.fault(&fault(yaml)) && !links.heal(&fault(yaml)), "{yaml}");
        }
    }
}
