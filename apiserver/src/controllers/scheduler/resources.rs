//! What pods ask for and nodes have, in whole numbers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::host_port::{self, HostPort};
use super::super::object::Object;
use cfn_cel::quantity::Quantity;

/// Requests: cpu in thousandths, everything else in whole units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub amounts: BTreeMap<String, i64>,
    pub pods: i64,
    /// Requests as the score sees them: 100m and 200 MB for containers that ask for nothing.
    pub cpu_scored: i64,
    pub memory_scored: i64,
    /// Counted.
    pub host_ports: BTreeMap<HostPort, usize>,
    /// Pods by the UID of their controller.
    pub owners: BTreeMap<String, i64>,
    /// Pods with required anti-affinity.
    pub picky: usize,
}

/// An amount of resource `name`.
pub(crate) fn amount(name: &str, v: &Value) -> i64 {
    Quantity::from_value(v).map_or(0, |q| if name == "cpu" { q.milli_value() } else { q.value() })
}

fn requests(container: &Value) -> BTreeMap<String, i64> {
    let of = |p: &str| container.at(p).and_then(Value::as_object);
    let mut out = BTreeMap::new();
    // A limit without a request is the request.
    for (k, v) in of("/resources/limits")
        .into_iter()
        .flatten()
        .chain(of("/resources/requests").into_iter().flatten())
    {
        out.insert(k.clone(), amount(k, v));
    }
    out
}

impl Usage {
    /// What a pod asks for: the sum of its containers, at least each init container, plus overhead.
    pub(crate) fn of(pod: &Value) -> Self {
        let mut u = Self {
            pods: 1,
            ..Self::default()
        };
        let mut plus = |r: &BTreeMap<String, i64>, scored: bool| {
            for (k, v) in r {
                *u.amounts.entry(k.clone()).or_default() += v;
            }
            if scored {
                u.cpu_scored += r.get("cpu").copied().unwrap_or(100);
                u.memory_scored += r.get("memory").copied().unwrap_or(200 * 1024 * 1024);
            }
        };
        for c in pod.items("/spec/containers") {
            plus(&requests(c), true);
        }
        for c in pod
            .items("/spec/initContainers")
            .iter()
            .filter(|c| c.text("/restartPolicy") == "Always")
        {
            plus(&requests(c), true);
        }
        for c in pod
            .items("/spec/initContainers")
            .iter()
            .filter(|c| c.text("/restartPolicy") != "Always")
        {
            for (k, v) in requests(c) {
                let have = u.amounts.entry(k).or_default();
                *have = (*have).max(v);
            }
        }
        for (k, v) in pod
            .at("/spec/overhead")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            *u.amounts.entry(k.clone()).or_default() += amount(k, v);
        }
        for p in host_port::of_pod(pod) {
            *u.host_ports.entry(p).or_default() += 1;
        }
        u
    }

    pub(crate) fn add(&mut self, o: &Self) {
        for (k, v) in &o.amounts {
            *self.amounts.entry(k.clone()).or_default() += v;
        }
        for (k, n) in &o.host_ports {
            *self.host_ports.entry(k.clone()).or_default() += n;
        }
        for (k, n) in &o.owners {
            *self.owners.entry(k.clone()).or_default() += n;
        }
        self.picky += o.picky;
        self.pods += o.pods;
        self.cpu_scored += o.cpu_scored;
        self.memory_scored += o.memory_scored;
    }

    pub(crate) fn sub(&mut self, o: &Self) {
        for (k, v) in &o.amounts {
            *self.amounts.entry(k.clone()).or_default() -= v;
        }
        for (k, n) in &o.host_ports {
            if let Some(have) = self.host_ports.get_mut(k) {
                *have = have.saturating_sub(*n);
            }
        }
        self.host_ports.retain(|_, n| *n > 0);
        for (k, n) in &o.owners {
            *self.owners.entry(k.clone()).or_default() -= n;
        }
        self.owners.retain(|_, n| *n > 0);
        self.picky = self.picky.saturating_sub(o.picky);
        self.pods -= o.pods;
        self.cpu_scored -= o.cpu_scored;
        self.memory_scored -= o.memory_scored;
    }

    /// Whether a host port of `o` is taken.
    pub(crate) fn clashes(&self, o: &Self) -> bool {
        let mut wanted = o.host_ports.keys();
        wanted.any(|p| self.host_ports.keys().any(|taken| taken.clashes(p)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_of_a_pod() {
        let pod = json!({"spec": {"overhead": {"cpu": "50m"},
            "initContainers": [{"resources": {"requests": {"cpu": "3"}}}],
            "containers": [{"resources": {"limits": {"cpu": "2", "memory": "4G"}}, "ports": [{"hostPort": 80}]}, {}]}});
        let u = Usage::of(&pod);
        assert_eq!(u.amounts["cpu"], 3050);
        assert_eq!(u.amounts["memory"], 4_000_000_000);
        assert_eq!(u.cpu_scored, 2100);
        assert!(u.clashes(&u));
        let mut node = Usage::default();
        node.add(&u);
        node.sub(&u);
        assert!(!node.clashes(&u));
    }
}
