//! `/etc/resolv.conf`: as the kubelet makes it (`pkg/kubelet/network/dns`), and as the C library reads it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{CLUSTER_DNS, ZONE};
use crate::controllers::object::Object;
use crate::node::status::Named;

/// `MaxDNSNameservers` and `MaxDNSSearchPaths`.
const MOST: (usize, usize) = (3, 32);
/// `options ndots` where nothing is said (resolv.conf(5)).
const NDOTS: usize = 1;

/// What a resolver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    pub(crate) nameservers: Vec<String>,
    pub(crate) search: Vec<String>,
    pub(crate) options: Vec<String>,
}

fn strings(list: &[Value]) -> impl Iterator<Item = String> {
    list.iter().filter_map(Value::as_str).map(str::to_owned)
}

/// Without what was there before, at most `most` (`omitDuplicates` and the limits of `formDNSConfigFitsLimits`).
fn distinct(all: Vec<String>, most: usize) -> Vec<String> {
    let mut seen = BTreeSet::new();
    all.into_iter().filter(|s| seen.insert(s.clone())).take(most).collect()
}

impl ResolvConf {
    /// What the containers of a pod are told (`GetPodDNS`). The node itself has no resolver file, as with
    /// `--resolv-conf=""`: it asks itself.
    pub(crate) fn of(pod: &Value) -> Self {
        let host_network = pod.flag("/spec/hostNetwork");
        let mut conf = match pod.text("/spec/dnsPolicy") {
            "None" => Self {
                nameservers: Vec::new(),
                search: Vec::new(),
                options: Vec::new(),
            },
            "" | "ClusterFirst" if !host_network => Self::of_cluster(pod.namespace()),
            "ClusterFirstWithHostNet" => Self::of_cluster(pod.namespace()),
            _ => Self {
                nameservers: vec!["127.0.0.1".into()],
                search: vec![".".into()],
                options: Vec::new(),
            },
        };
        let given = pod.at("/spec/dnsConfig").cloned().unwrap_or_default();
        conf.nameservers.extend(strings(given.items("/nameservers")));
        conf.search.extend(strings(given.items("/searches")));
        // Those of the pod go before those of the same name.
        for o in given.items("/options") {
            let name = o.name_of();
            let option = match o.text("/value") {
                "" => name.to_owned(),
                v => format!("{name}:{v}"),
            };
            conf.options.retain(|old| old.split(':').next() != Some(name));
            conf.options.push(option);
        }
        conf.nameservers = distinct(conf.nameservers, MOST.0);
        conf.search = distinct(conf.search, MOST.1);
        conf
    }

    fn of_cluster(namespace: &str) -> Self {
        Self {
            nameservers: vec![CLUSTER_DNS.into()],
            search: vec![format!("{namespace}.svc.{ZONE}"), format!("svc.{ZONE}"), ZONE.into()],
            options: vec!["ndots:5".into()],
        }
    }

    /// As the container runtime writes it.
    pub(crate) fn text(&self) -> String {
        let line = |key: &str, all: &[String]| match all {
            [] => String::new(),
            all => format!("{key} {}\n", all.join(" ")),
        };
        let servers: String = self.nameservers.iter().map(|n| format!("nameserver {n}\n")).collect();
        line("search", &self.search) + &servers + &line("options", &self.options)
    }

    /// As the C library reads it: the last `search` counts.
    pub(crate) fn read(text: &str) -> Self {
        let mut conf = Self {
            nameservers: Vec::new(),
            search: Vec::new(),
            options: Vec::new(),
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let key = words.next();
            let rest: Vec<String> = words.map(str::to_owned).collect();
            match key {
                Some("nameserver") => conf.nameservers.extend(rest.into_iter().take(1)),
                Some("search" | "domain") => conf.search = rest,
                Some("options") => conf.options.extend(rest),
                _ => {}
            }
        }
        conf
    }

    /// The names to ask for, one after the other until one is there (`res_search`).
    pub(crate) fn names(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let ndots = self
            .options
            .iter()
            .rev()
            .find_map(|o| o.strip_prefix("ndots:")?.parse().ok());
        let below = |domain: &String| match domain.trim_matches('.') {
            "" => name.to_owned(),
            d => format!("{name}.{d}"),
        };
        let mut all: Vec<String> = self.search.iter().map(below).collect();
        match name.matches('.').count() >= ndots.unwrap_or(NDOTS) {
            true => all.insert(0, name.to_owned()),
            false => all.push(name.to_owned()),
        }
        distinct(all, usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_of_pods() {
        let pod = |spec: Value| json!({"metadata": {"namespace": "n"}, "spec": spec});
        let cluster =
            "search n.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
        let node = "search .\nnameserver 127.0.0.1\n";
        for (spec, expected) in [
            (json!({"dnsPolicy": "ClusterFirst"}), cluster),
            (json!({}), cluster),
            (json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), node),
            (json!({"dnsPolicy": "Default"}), node),
            (
                json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}),
                cluster,
            ),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a.b"]}}),
                "search a.b\nnameserver 1.1.1.1\n",
            ),
            (
                json!({"dnsConfig": {"nameservers": ["10.96.0.10", "1.1.1.1"], "searches": ["cluster.local", "a"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}]}}),
                "search n.svc.cluster.local svc.cluster.local cluster.local a\nnameserver 10.96.0.10\nnameserver 1.1.1.1\noptions ndots:2 rotate\n",
            ),
        ] {
            let conf = ResolvConf::of(&pod(spec.clone()));
            assert_eq!(conf.text(), expected, "{spec}");
            assert_eq!(ResolvConf::read(expected), conf);
        }
    }

    #[test]
    fn search_lists() {
        let conf = ResolvConf::read("# x\nsearch a b.\noptions ndots:2\n");
        for (name, expected) in [
            ("x", vec!["x.a", "x.b", "x"]),
            ("x.y", vec!["x.y.a", "x.y.b", "x.y"]),
            ("x.y.z", vec!["x.y.z", "x.y.z.a", "x.y.z.b"]),
            ("x.", vec!["x"]),
        ] {
            assert_eq!(conf.names(name), expected, "{name}");
        }
        assert_eq!(ResolvConf::read("search .\n").names("x"), ["x"]);
    }
}
