//! Whether a topology makes sense: names unique and known, quantities of their kind.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Location;

use super::{API_VERSION, ClusterRole, TaintSpec, Topology};
use crate::input::{At, Problem, Problems, Source};

/// Units of amounts of bytes.
const BYTES: &[&str] = &["Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"];

/// All that is wrong.
pub fn check(source: &Source, t: &Topology) -> Problems {
    let mut c = Checker {
        source,
        problems: Vec::new(),
    };
    c.heads(&t.api_version, &t.kind, "Topology", &t.metadata.name);
    c.unique("site", t.spec.sites.iter().map(|s| &s.name));
    c.unique("cluster", t.spec.clusters.iter().map(|c| &c.name));
    let sites: Vec<&str> = t.spec.sites.iter().map(|s| s.name.as_str()).collect();

    for s in &t.spec.sites {
        if let Some(u) = &s.upf {
            c.known("site", u, &sites);
        }
        if let Some(n) = s.cells.as_ref().filter(|n| n.value == 0) {
            c.say(n.location, "an edge without a cell".into(), "at least 1 cell");
        }
    }
    if let Some(r) = &t.spec.road {
        for e in &r.edges {
            c.known("site", e, &sites);
        }
        for (what, n) in [("columns", &r.columns), ("rows", &r.rows)] {
            if n.value < 2 {
                c.say(n.location, format!("a town of {n} {what}"), "at least 2");
            }
        }
        if r.edges.is_empty() {
            c.say(
                r.columns.location,
                "a road without an edge site".into(),
                "at least one edge site in `edges`",
            );
        }
    }

    let mut seen: BTreeMap<(&str, &str), Location> = BTreeMap::new();
    for l in &t.spec.links {
        let [a, b] = &l.between;
        c.known("site", a, &sites);
        c.known("site", b, &sites);
        if a == b {
            c.say(
                b.location,
                format!("a link from `{a}` to itself"),
                "two different sites",
            );
        }
        let key = if a.value <= b.value {
            (a.as_str(), b.as_str())
        } else {
            (b.as_str(), a.as_str())
        };
        if let Some(first) = seen.insert(key, a.location) {
            let message = format!(
                "a second link between `{}` and `{}` (the first is in line {})",
                key.0,
                key.1,
                first.line()
            );
            c.say(a.location, message, "one link between two sites");
        }
    }

    c.connected(t);

    for cluster in &t.spec.clusters {
        c.known("site", &cluster.site, &sites);
        c.taints(&cluster.taints);
        for n in &cluster.nodes {
            if let Some(s) = &n.site {
                c.known("site", s, &sites);
            }
            c.taints(&n.taints);
            c.quantity(&n.cpu, "cores such as 4 or 500m", &["m", ""]);
            c.quantity(&n.memory, "memory with its unit, such as 8Gi or 16G", BYTES);
            if let Some(s) = &n.ephemeral_storage {
                c.quantity(s, "a disk's size with its unit, such as 20Gi or 256Mi", BYTES);
            }
            if let Some(count) = n.count.as_ref().filter(|x| x.value == 0) {
                c.say(count.location, "no node at all".into(), "a count of at least 1");
            }
            if n.autonomy && !n.edge_agent {
                let message = format!("node `{}` has autonomy and no edge agent", n.name);
                c.say(
                    n.name.location,
                    message,
                    "`edgeAgent: true` beside `autonomy: true`: it is the agent that keeps the node's world",
                );
            }
        }
    }
    c.node_names(t);

    let hubs: Vec<_> = t.spec.clusters.iter().filter(|c| c.role == ClusterRole::Hub).collect();
    match hubs.as_slice() {
        [_] => {}
        [] => c.say(
            t.metadata.name.location,
            "no cluster is the hub".into(),
            "exactly one cluster with `role: hub`",
        ),
        [first, more @ ..] => {
            for h in more {
                let message = format!("a second hub `{}` (the first is `{}`)", h.name, first.name);
                c.say(h.name.location, message, "exactly one cluster with `role: hub`");
            }
        }
    }
    Problems(c.problems)
}

/// What the checks of topologies and scenarios share.
pub struct Checker<'a> {
    /// The file.
    pub source: &'a Source,
    /// What was found so far.
    pub problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Notes a problem.
    pub fn say(&mut self, at: Location, message: String, expected: &str) {
        self.problems
            .push(Problem::new(self.source, at, message).expected(expected));
    }

    /// The first lines of a file of ours.
    pub fn heads(&mut self, version: &At<String>, kind: &At<String>, want: &str, name: &At<String>) {
        if version.value != API_VERSION {
            let p = Problem::new(self.source, version.location, format!("apiVersion `{version}`"));
            self.problems.push(p.one_of(version, [API_VERSION]));
        }
        if kind.value != want {
            let p = Problem::new(self.source, kind.location, format!("kind `{kind}`"));
            self.problems.push(p.one_of(kind, [want]));
        }
        self.name(name);
    }

    /// Whether a name is one (RFC 1123 subdomain, as Kubernetes wants them).
    pub fn name(&mut self, n: &At<String>) {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let ok = n.len() <= 253
            && n.split('.')
                .all(|p| p.starts_with(good) && p.ends_with(good) && p.chars().all(|c| good(c) || c == '-'));
        if !ok {
            self.say(
                n.location,
                format!("`{n}` is not a name"),
                "lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit",
            );
        }
    }

    /// Names that must be names, each there once.
    pub fn unique<'b>(&mut self, what: &str, names: impl Iterator<Item = &'b At<String>>) {
        let mut seen: BTreeMap<&str, Location> = BTreeMap::new();
        for n in names {
            self.name(n);
            if let Some(first) = seen.get(n.as_str()) {
                let message = format!("duplicate {what} `{n}` (the first is in line {})", first.line());
                self.say(n.location, message, &format!("a name that no other {what} has"));
            } else {
                seen.insert(n, n.location);
            }
        }
    }

    /// A name that must be one of `valid`.
    pub fn known(&mut self, what: &str, n: &At<String>, valid: &[&str]) {
        if !valid.contains(&n.as_str()) {
            let p = Problem::new(self.source, n.location, format!("unknown {what} `{n}`"));
            self.problems.push(p.one_of(n, valid.iter().copied()));
        }
    }

    fn taints(&mut self, taints: &[TaintSpec]) {
        for t in taints {
            self.known("effect", &t.effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }

    fn quantity(&mut self, q: &At<String>, expected: &str, units: &[&str]) {
        let end = q.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(q.len());
        let (number, unit) = q.split_at(end);
        let message = if q.starts_with('-') {
            format!("`{q}` is negative")
        } else if !number.parse::<f64>().is_ok_and(|n| n > 0.0) {
            format!("`{q}` is not a quantity")
        } else if unit.is_empty() && !units.contains(&"") {
            format!("`{q}` has no unit")
        } else if !units.contains(&unit) {
            format!("`{unit}` is not a unit here")
        } else {
            return;
        };
        self.say(q.location, message, expected);
    }

    /// Bytes travel over links only: every site must be reachable from the first.
    fn connected(&mut self, t: &Topology) {
        let Some(first) = t.spec.sites.first() else { return };
        let mut seen = BTreeSet::from([first.name.as_str()]);
        let mut todo = vec![first.name.as_str()];
        while let Some(s) = todo.pop() {
            for l in &t.spec.links {
                let [a, b] = &l.between;
                let next = if a.as_str() == s {
                    b
                } else if b.as_str() == s {
                    a
                } else {
                    continue;
                };
                if seen.insert(next) {
                    todo.push(next);
                }
            }
        }
        for s in t.spec.sites.iter().filter(|s| !seen.contains(s.name.as_str())) {
            let message = format!("no way leads from site `{}` to site `{}`", first.name, s.name);
            self.say(s.name.location, message, "links over which every site can be reached");
        }
    }

    fn node_names(&mut self, t: &Topology) {
        let clusters: Vec<&str> = t.spec.clusters.iter().map(|c| c.name.as_str()).collect();
        let mut seen: BTreeMap<String, Location> = BTreeMap::new();
        for c in &t.spec.clusters {
            for n in &c.nodes {
                self.name(&n.name);
                for name in n.names() {
                    if clusters.contains(&name.as_str()) {
                        self.say(
                            n.name.location,
                            format!("node `{name}` is called as a cluster is"),
                            "names that differ: both are hosts",
                        );
                    }
                    if let Some(first) = seen.get(&name) {
                        let message = format!("duplicate node `{name}` (the first is in line {})", first.line());
                        self.say(
                            n.name.location,
                            message,
                            "a name that no other node of the topology has",
                        );
                    } else {
                        seen.insert(name, n.name.location);
                    }
                }
            }
        }
    }
}
