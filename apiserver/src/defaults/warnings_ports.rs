//! Ports of a pod's containers that are in each other's way (`warningsForPodSpecAndMeta` in Kubernetes).

use super::told::Told;
use super::validate_parts::{list, text};
use crate::schema::quote;
use serde_json::Value;
use std::collections::BTreeMap;

/// Ports of one number and protocol, by where they are on the host.
#[derive(Default)]
struct Ports<'v> {
    all: Vec<usize>,
    /// Those that are nowhere on it.
    unbound: Vec<usize>,
    bound: BTreeMap<(i64, &'v str), Vec<usize>>,
}

impl<'v> Ports<'v> {
    /// Those that may be in the way of another one, in their order.
    fn near(&self, host: i64, ip: &'v str) -> Vec<usize> {
        let at = |ip: &'v str| self.bound.get(&(host, ip)).into_iter().flatten();
        let mut near: Vec<usize> = match (host, ip) {
            (0, _) => return self.all.clone(),
            (_, "") => {
                let here = self.bound.range((host, "")..(host + 1, "")).flat_map(|(_, all)| all);
                self.unbound.iter().chain(here).copied().collect()
            }
            (_, ip) => self.unbound.iter().chain(at("")).chain(at(ip)).copied().collect(),
        };
        near.sort_unstable();
        near
    }

    fn push(&mut self, port: usize, host: i64, ip: &'v str) {
        self.all.push(port);
        match host {
            0 => self.unbound.push(port),
            host => self.bound.entry((host, ip)).or_default().push(port),
        }
    }
}

/// Ports that are in each other's way.
pub(super) fn ports(containers: &[(&Value, String)], told: &mut Told) {
    let all = containers.iter().flat_map(|(container, path)| {
        let all = list(container, "ports").iter().enumerate();
        all.map(move |(i, port)| (port, format!("{path}.ports[{i}]")))
    });
    let all: Vec<(&Value, String)> = all.collect();
    let number = |p: &Value, f: &str| p[f].as_i64().unwrap_or(0);
    let mut before: BTreeMap<(i64, &str), Ports<'_>> = BTreeMap::new();
    for (i, (port, path)) in all.iter().enumerate() {
        if told.is_full() {
            return;
        }
        let (ip, host) = (text(port, "hostIP"), number(port, "hostPort"));
        let (of, protocol) = (number(port, "containerPort"), text(port, "protocol"));
        if !ip.is_empty() && host == 0 {
            // As Go prints its struct.
            let name = text(port, "name");
            told.push(format!(
                "{path}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{of} Protocol:{protocol} \
                 HostIP:{ip}}}"
            ));
        }
        let same = before.entry((of, protocol)).or_default();
        for (other, at) in same.near(host, ip).into_iter().map(|i| &all[i]) {
            let (its, theirs) = (text(other, "hostIP"), number(other, "hostPort"));
            let how = if ip == its && host == theirs {
                "duplicate"
            } else if host == 0 || theirs == 0 {
                "overlapping"
            } else {
                "dangerously ambiguous"
            };
            told.push(format!("{path}: {how} port definition with {at}"));
        }
        same.push(i, host, ip);
    }
    let mut named: BTreeMap<&str, &str> = BTreeMap::new();
    for (port, path) in &all {
        let name = text(port, "name");
        match named.get(name) {
            _ if name.is_empty() => {}
            Some(other) => {
                let name = quote(name);
                told.push(format!(
                    "{path}: duplicate port name {name} with {other}, services and probes that select ports by name will \
                     use {other}"
                ));
            }
            None => drop(named.insert(name, path)),
        }
    }
}
