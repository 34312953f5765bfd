//! The way between two sites over the links, and what happens to bytes on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::link::LinkSpec;
use crate::shape::{self, Draws, Line};
use crate::way;

/// A link as the network keeps it.
pub(crate) struct Link {
    /// The first site and the second.
    pub(crate) ends: (String, String),
    pub(crate) spec: LinkSpec,
    /// Transmission, from the first to the second and back.
    lines: [Line; 2],
    /// Payload bytes that went on it, the same way.
    pub(crate) bytes: [u64; 2],
}

impl Link {
    /// Its throughput in a direction, Mbit/s; 0 is unlimited.
    fn rate(&self, direction: usize) -> f64 {
        match direction {
            0 => self.spec.throughput_ul,
            _ => self.spec.throughput_dl,
        }
    }
}

/// A link in one direction: 0 is from its first site to its second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hop {
    link: usize,
    direction: usize,
}

/// How bytes get from one site to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// Within a site: at once.
    Direct,
    /// Not at all, for the time being.
    Blocked,
    /// Over links.
    Over(Vec<Hop>),
}

/// Sites, links, and what is cut between them.
#[derive(Default)]
pub(crate) struct Topology {
    pub(crate) links: Vec<Link>,
    index: BTreeMap<(String, String), usize>,
    /// (from, to): what leaves the one for the other is held.
    pub(crate) cuts: BTreeSet<(String, String)>,
    /// Sites whose every link is cut.
    pub(crate) isolated: BTreeSet<String>,
    routes: BTreeMap<(String, String), Arc<Route>>,
}

impl Topology {
    /// Routes are found anew after this: to be called with every change.
    pub(crate) fn forget_routes(&mut self) {
        self.routes.clear();
    }

    fn find(&self, a: &str, b: &str) -> Option<usize> {
        let (ab, ba) = ((a.to_owned(), b.to_owned()), (b.to_owned(), a.to_owned()));
        self.index.get(&ab).or_else(|| self.index.get(&ba)).copied()
    }

    /// Sets the link, keeping its counters and queue when it is there already.
    pub(crate) fn set(&mut self, a: &str, b: &str, spec: LinkSpec) {
        let ends = (a.to_owned(), b.to_owned());
        match self.find(a, b) {
            Some(i) => {
                let link = &mut self.links[i];
                link.spec = spec;
                if link.ends != ends {
                    link.lines.swap(0, 1);
                    link.bytes.swap(0, 1);
                    self.index.remove(&link.ends);
                    link.ends = ends.clone();
                    self.index.insert(ends, i);
                }
            }
            None => {
                self.index.insert(ends.clone(), self.links.len());
                self.links.push(Link {
                    ends,
                    spec,
                    lines: Default::default(),
                    bytes: [0; 2],
                });
            }
        }
    }

    /// The link as it is, oriented as it was set.
    pub(crate) fn get_mut(&mut self, a: &str, b: &str) -> Option<&mut LinkSpec> {
        self.find(a, b).map(|i| &mut self.links[i].spec)
    }

    /// Takes the link away (its counters stay in the list).
    pub(crate) fn remove(&mut self, a: &str, b: &str) -> bool {
        let found = self.find(a, b);
        if let Some(i) = found {
            self.index.remove(&self.links[i].ends);
        }
        found.is_some()
    }

    /// The links there are, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.index.values().map(|i| &self.links[*i])
    }

    /// The way by least latency, fewest links, and name. Cuts do not change it: a testbed's routes are static (as
    /// AdvantEDGE's are), so that what a scenario cuts is cut.
    pub(crate) fn path(&self, from: &str, to: &str) -> Option<Vec<Hop>> {
        /// Latency, links, and from where over what.
        type Known<'a> = (Duration, usize, Option<(&'a str, Hop)>);
        let mut known: BTreeMap<&str, Known<'_>> = BTreeMap::new();
        let mut open: BTreeSet<(Duration, usize, &str)> = BTreeSet::new();
        let mut done: BTreeSet<&str> = BTreeSet::new();
        known.insert(from, (Duration::ZERO, 0, None));
        open.insert((Duration::ZERO, 0, from));
        while let Some((cost, hops, site)) = open.pop_first() {
            if site == to {
                break;
            }
            if !done.insert(site) {
                continue;
            }
            for (ends, &link) in &self.index {
                let (next, direction) = match ends {
                    (a, b) if a == site => (b.as_str(), 0),
                    (a, b) if b == site => (a.as_str(), 1),
                    _ => continue,
                };
                let cost = cost + shape::millis(self.links[link].spec.latency);
                let better = known.get(next).is_none_or(|(c, h, _)| (cost, hops + 1) < (*c, *h));
                if better && !done.contains(next) {
                    known.insert(next, (cost, hops + 1, Some((site, Hop { link, direction }))));
                    open.insert((cost, hops + 1, next));
                }
            }
        }
        let (mut site, mut path) = (to, Vec::new());
        while let Some((before, hop)) = known.get(site)?.2 {
            path.push(hop);
            site = before;
        }
        path.reverse();
        Some(path)
    }

    /// The sites on the way, both ends included.
    pub(crate) fn sites_on(&self, from: &str, path: &[Hop]) -> Vec<String> {
        std::iter::once(from.to_owned())
            .chain(path.iter().map(|h| self.ends(*h).1.to_owned()))
            .collect()
    }

    /// Where a hop begins and ends.
    fn ends(&self, hop: Hop) -> (&str, &str) {
        let (a, b) = &self.links[hop.link].ends;
        if hop.direction == 0 { (a, b) } else { (b, a) }
    }

    /// Whether the way from one site to another uses the link between `a` and `b` or is between just these.
    pub(crate) fn crosses(&self, from: &str, to: &str, a: &str, b: &str) -> bool {
        let between = |x: &str, y: &str| (x == a && y == b) || (x == b && y == a);
        from != to
            && (between(from, to)
                || self.path(from, to).is_some_and(|p| {
                    p.iter().any(|h| {
                        let (x, y) = self.ends(*h);
                        between(x, y)
                    })
                }))
    }

    /// The route from one site to another, cuts considered.
    pub(crate) fn route(&mut self, from: &str, to: &str) -> Arc<Route> {
        let key = (from.to_owned(), to.to_owned());
        if let Some(r) = self.routes.get(&key) {
            return r.clone();
        }
        let route = Arc::new(self.find_route(&key));
        self.routes.insert(key, route.clone());
        route
    }

    fn find_route(&self, key: &(String, String)) -> Route {
        let (from, to) = key;
        if from == to {
            return Route::Direct;
        }
        let Some(path) = self.path(from, to) else {
            return Route::Blocked;
        };
        let passes = |hop: &Hop| {
            let (x, y) = self.ends(*hop);
            !self.isolated.contains(x)
                && !self.isolated.contains(y)
                && !self.cuts.contains(&(x.to_owned(), y.to_owned()))
                && self.links[hop.link].spec.packet_loss < 100.0
        };
        if self.cuts.contains(key) || !path.iter().all(passes) {
            Route::Blocked
        } else {
            Route::Over(path)
        }
    }

    /// Sends one datagram over `hops` from `now`: when it is at the other end; `None`: it is lost, on its way or because too
    /// much waits before a line already.
    pub(crate) fn pass(&mut self, hops: &[Hop], bytes: usize, now: Instant, draws: &mut Draws) -> Option<Instant> {
        let mut at = now;
        for hop in hops {
            let link = &mut self.links[hop.link];
            let loss = link.spec.packet_loss;
            if loss > 0.0 && draws.unit() * 100.0 < loss {
                return None;
            }
            let takes = shape::transmission(bytes, link.rate(hop.direction));
            let sent = link.lines[hop.direction].queue(at, takes, bytes, now)?;
            at = sent + shape::latency(&link.spec, draws);
            link.bytes[hop.direction] += bytes as u64;
        }
        Some(at)
    }

    /// Sends `bytes` over `hops` from `now`: when they are at the other end. `first_timeout` is for a handshake.
    pub(crate) fn cross(
        &mut self,
        hops: &[Hop],
        bytes: usize,
        now: Instant,
        first_timeout: Option<Duration>,
        draws: &mut Draws,
    ) -> Instant {
        let (mut at, mut arrives, mut rtt) = (now, 1.0, Duration::ZERO);
        for hop in hops {
            let link = &mut self.links[hop.link];
            let (spec, mbps) = (&link.spec, link.rate(hop.direction));
            at = link.lines[hop.direction].book(at, shape::transmission(bytes, mbps), bytes, now);
            at += shape::latency(spec, draws);
            arrives *= 1.0 - (spec.packet_loss / 100.0).clamp(0.0, 1.0);
            rtt += 2 * shape::millis(spec.latency);
        }
        let timeout = first_timeout.unwrap_or_else(|| shape::timeout(rtt));
        at + shape::retransmission(bytes, 1.0 - arrives, timeout, draws)
    }

    /// A link as it is in one direction.
    pub(crate) fn hop(&self, hop: Hop) -> way::Hop {
        let link = &self.links[hop.link];
        let spec = &link.spec;
        way::Hop {
            latency: spec.latency,
            latency_variation: spec.latency_variation,
            latency_distribution: spec.latency_distribution,
            packet_loss: spec.packet_loss,
            rate: link.rate(hop.direction),
        }
    }

    /// Whether a way has a limited throughput: then large writes are sent in pieces.
    pub(crate) fn limited(&self, hops: &[Hop]) -> bool {
        hops.iter().any(|h| self.links[h.link].rate(h.direction) > 0.0)
    }

    /// Counts payload on every link of a way.
    pub(crate) fn count(&mut self, hops: &[Hop], bytes: usize) {
        for h in hops {
            self.links[h.link].bytes[h.direction] += bytes as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(links: &[(&str, &str, f64)]) -> Topology {
        let mut t = Topology::default();
        for (a, b, latency) in links {
            t.set(
                a,
                b,
                LinkSpec {
                    latency: *latency,
                    ..LinkSpec::default()
                },
            );
        }
        t
    }

    #[test]
    fn the_way_is_the_one_of_least_latency() {
        let t = net(&[
            ("a", "b", 5.0),
            ("b", "c", 5.0),
            ("a", "c", 20.0),
            ("d", "c", 1.0),
            ("x", "y", 1.0),
        ]);
        for (from, to, way) in [
            ("a", "c", Some("a b c")),
            ("c", "a", Some("c b a")),
            ("a", "d", Some("a b c d")),
            ("a", "a", Some("a")),
            ("a", "x", None),
        ] {
            let found = t.path(from, to).map(|p| t.sites_on(from, &p).join(" "));
            assert_eq!(found.as_deref(), way, "{from} to {to}");
        }
    }

    #[test]
    fn equal_ways_are_decided_by_links_then_name() {
        let t = net(&[
            ("a", "m", 5.0),
            ("m", "z", 5.0),
            ("a", "k", 5.0),
            ("k", "z", 5.0),
            ("a", "z", 10.0),
        ]);
        assert_eq!(t.sites_on("a", &t.path("a", "z").unwrap()), ["a", "z"]);
        let t = net(&[("a", "m", 5.0), ("m", "z", 5.0), ("a", "k", 5.0), ("k", "z", 5.0)]);
        assert_eq!(t.sites_on("a", &t.path("a", "z").unwrap()), ["a", "k", "z"]);
    }

    #[test]
    fn a_queue_is_of_packets_whatever_their_size() {
        let now = Instant::now();
        let mut draws = Draws::new(crate::seed::Seed(1), "queue".into());
        let slow = || {
            let mut t = net(&[("a", "b", 5.0), ("b", "c", 5.0)]);
            for (x, y) in [("a", "b"), ("b", "c")] {
                t.get_mut(x, y).unwrap().throughput_ul = 8.0;
            }
            let path = t.path("a", "c").unwrap();
            (t, path)
        };
        for size in [shape::SEGMENT, shape::SEGMENT / 2, 10] {
            let (mut t, path) = slow();
            let mut passed = |bytes: usize, now| {
                let all = (0..2000).map(|_| t.pass(&path, bytes, now, &mut draws));
                all.take_while(Option::is_some).count()
            };
            assert_eq!(passed(size, now), 1000, "of {size} bytes");
            assert_eq!(passed(1, now), 0, "nor a small one behind {size}");
            // What is sent later finds the queue as it is then.
            let later = now + shape::transmission(size, 8.0) * 10;
            assert_eq!(passed(size, later), 10, "{size}");
        }
        // Packets of connections wait there, too.
        let (mut t, path) = slow();
        t.cross(&path, 998 * shape::SEGMENT, now, None, &mut draws);
        let alone = (0..3).map(|_| t.pass(&path, 1, now, &mut draws).is_some());
        assert_eq!(alone.collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn cuts_block_what_crosses_them() {
        let cut = |pairs: &[(&str, &str)], isolated: &[&str]| {
            let mut t = net(&[("a", "b", 5.0), ("b", "c", 5.0)]);
            t.cuts = pairs.iter().map(|(x, y)| ((*x).to_owned(), (*y).to_owned())).collect();
            t.isolated = isolated.iter().map(|s| (*s).to_owned()).collect();
            ["ab", "ba", "bc", "ac", "ca", "bb"]
                .into_iter()
                .filter(|p| *t.route(&p[..1], &p[1..]) == Route::Blocked)
                .collect::<Vec<_>>()
        };
        assert_eq!(cut(&[("a", "b")], &[]), ["ab", "ac"]);
        assert_eq!(cut(&[("a", "c")], &[]), ["ac"], "without a link of their own");
        assert_eq!(
            cut(&[], &["b"]),
            ["ab", "ba", "bc", "ac", "ca"],
            "through traffic, too; within: no"
        );
        assert_eq!(cut(&[], &["c"]), ["bc", "ac", "ca"]);
    }

    #[test]
    fn a_link_set_the_other_way_round_is_the_same_link() {
        let mut t = net(&[("a", "b", 5.0)]);
        let path = t.path("a", "b").unwrap();
        t.count(&path, 10);
        t.set(
            "b",
            "a",
            LinkSpec {
                latency: 7.0,
                ..LinkSpec::default()
            },
        );
        assert_eq!(t.iter().count(), 1);
        assert_eq!(t.links[0].bytes, [0, 10]);
        assert!(t.remove("a", "b"));
        assert_eq!(t.path("a", "b"), None);
    }
}
