//! Addresses, families and ports of services (`pkg/registry/core/service` in Kubernetes).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::meta::child;
use super::server::refuse;
use super::{Call, Resource, Server, text};
use crate::defaults;
use crate::schema::FieldError;
use crate::status::Status;

/// `--service-node-port-range`.
const NODE_PORTS: (u32, u32) = (30_000, 32_768);

/// What other services have.
struct Taken {
    addresses: BTreeSet<String>,
    ports: BTreeSet<u64>,
}

/// Whether a service has addresses of its own.
fn has_address(spec: &Value) -> bool {
    spec["type"] != "ExternalName"
}

/// Whether its ports are open on nodes.
fn has_node_ports(spec: &Value) -> bool {
    spec["type"] == "NodePort" || spec["type"] == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != false
}

/// Whether a load balancer asks nodes if they have pods of it.
fn has_health_check(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

/// Whether something outside the cluster reaches it.
fn is_reachable(spec: &Value) -> bool {
    let external = spec["externalIPs"].as_array().is_some_and(|l| !l.is_empty());
    matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) || spec["type"] == "ClusterIP" && external
}

fn node_port(port: &Value) -> Option<u64> {
    port["nodePort"].as_u64().filter(|n| *n != 0)
}

fn ports(spec: &Value) -> impl Iterator<Item = &Value> {
    spec["ports"].as_array().into_iter().flatten()
}

fn ports_mut(spec: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    spec.get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

impl Server {
    /// The cluster address and node ports of a service; what its type has no use for goes.
    pub(super) fn allocate(
        &self,
        call: &mut Call,
        r: &Resource,
        old: Option<&Value>,
        v: &mut Value,
    ) -> Result<(), Status> {
        let name = text(v, "/metadata/name").to_owned();
        if let Some(old) = old {
            keep(&old["spec"], child(v, "spec"));
        } else {
            let spec = child(v, "spec");
            let first = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default();
            if !first.is_empty() && spec.get("clusterIPs").is_none_or(Value::is_null) {
                let all = json!([first]);
                spec.insert("clusterIPs".into(), all);
            }
        }
        let mut errors = Vec::new();
        defaults::service_addresses(&v["spec"], &mut errors);
        if errors.is_empty() {
            families(&v["spec"], &mut errors);
        }
        refuse(r, &name, &errors)?;
        let mut taken = Taken {
            addresses: BTreeSet::new(),
            ports: BTreeSet::new(),
        };
        for o in self.store.list(&r.storage, None, None).objects {
            if old.is_some_and(|old| text(old, "/metadata/uid") == text(&o.value(), "/metadata/uid")) {
                continue;
            }
            let spec = &o.value()["spec"];
            taken.addresses.insert(text(spec, "/clusterIP").to_owned());
            taken.ports.extend(ports(spec).filter_map(node_port));
            taken.ports.extend(spec["healthCheckNodePort"].as_u64());
        }
        let had = old.map_or(&Value::Null, |o| &o["spec"]);
        if has_address(&v["spec"]) {
            self.allocate_address(call, &name, had, child(v, "spec"), &taken, &mut errors)?;
        }
        if errors.is_empty() {
            self.allocate_ports(call, had, v, &mut taken, &mut errors)?;
        }
        refuse(r, &name, &errors)?;
        if let Some(old) = old {
            drop_unneeded(&old["spec"], v);
        }
        // Other values are left for validation to refuse.
        if !has_address(&v["spec"]) && matches!(v["spec"]["internalTrafficPolicy"].as_str(), Some("Cluster" | "Local"))
        {
            child(v, "spec").remove("internalTrafficPolicy");
        }
        Ok(())
    }

    fn allocate_address(
        &self,
        call: &mut Call,
        name: &str,
        had: &Value,
        spec: &mut Map<String, Value>,
        taken: &Taken,
        errors: &mut Vec<FieldError>,
    ) -> Result<(), Status> {
        let asked = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default();
        let address = match asked {
            "" => {
                let given = if call.dry_run {
                    self.tried_service_address()
                } else {
                    // A random start spreads addresses, as upstream's allocator does; then the next free one.
                    let start = call.once("cluster address", || self.random_below(u32::MAX));
                    let free = self.free_service_address(start, |a| taken.addresses.contains(a));
                    let full = || {
                        let name = crate::schema::quote(name);
                        format!("failed to allocate a serviceIP for Service {name}: range is full")
                    };
                    Ok(free.ok_or_else(|| Status::internal(full()))?)
                };
                match given {
                    Ok(address) => address,
                    Err(why) => {
                        let all = spec.get("clusterIPs").cloned().unwrap_or_default();
                        let detail = format!("failed to allocate IP: {why}");
                        errors.push(FieldError::invalid("spec.clusterIPs", all, detail));
                        return Ok(());
                    }
                }
            }
            // Its own, or none: nothing to give out.
            "None" => asked.to_owned(),
            own if had["clusterIP"] == own => asked.to_owned(),
            // Another one is for validation to refuse.
            _ if !had.is_null() && has_address(had) => asked.to_owned(),
            _ => {
                let is_taken = taken.addresses.contains(asked);
                if let Some(why) = self.refused_service_address(asked, call.dry_run, is_taken) {
                    let detail = format!("failed to allocate IP {asked}: {why}");
                    errors.push(FieldError::invalid("spec.clusterIPs", json!([asked]), detail));
                }
                asked.to_owned()
            }
        };
        spec.insert("clusterIPs".into(), json!([address]));
        spec.insert("clusterIP".into(), json!(address));
        Ok(())
    }

    fn allocate_ports(
        &self,
        call: &mut Call,
        had: &Value,
        v: &mut Value,
        taken: &mut Taken,
        errors: &mut Vec<FieldError>,
    ) -> Result<(), Status> {
        let (open, checked) = (has_node_ports(&v["spec"]), has_health_check(&v["spec"]));
        if !matches!(text(v, "/spec/type"), "NodePort" | "LoadBalancer") {
            return Ok(());
        }
        let count = NODE_PORTS.1 - NODE_PORTS.0;
        let mut start = call.once("node port", || self.random_below(count));
        // Of a service that only is tried: the highest port it has yet.
        let mut highest: Option<i64> = None;
        let dry_run = call.dry_run;
        let mut next = |taken: &mut Taken, highest: &mut Option<i64>| {
            // The one after that, whether somebody has it or not.
            if dry_run {
                let port = highest.unwrap_or_else(|| NODE_PORTS.1.into()) + 1;
                *highest = Some(port);
                return Ok(port);
            }
            let port = (0..count)
                .map(|k| u64::from(NODE_PORTS.0 + (start + k) % count))
                .find(|x| !taken.ports.contains(x));
            start += 1;
            taken.ports.extend(port);
            port.and_then(|p| i64::try_from(p).ok())
                .ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))
        };
        let asked = |port: &Value| port["nodePort"].as_i64().filter(|n| *n != 0);
        let own: BTreeSet<i64> = ports(had).filter_map(asked).collect();
        let spec = child(v, "spec");
        // What is asked for is not given to another.
        let wanted: Vec<u64> = ports_mut(spec).filter_map(|p| node_port(p)).collect();
        let before = taken.ports.clone();
        taken.ports.extend(wanted);
        // Ports of one number are one on the node, whatever their protocols.
        let mut given: BTreeMap<i64, i64> = BTreeMap::new();
        let mut mine = BTreeSet::new();
        for port in ports_mut(spec) {
            if let Some(number) = asked(port) {
                given.entry(port["port"].as_i64().unwrap_or_default()).or_insert(number);
            }
        }
        for (i, port) in ports_mut(spec).enumerate() {
            let on = port["port"].as_i64().unwrap_or_default();
            let Some(number) = asked(port) else {
                if open {
                    let number = match given.get(&on) {
                        Some(number) => *number,
                        None => next(taken, &mut highest)?,
                    };
                    given.insert(on, number);
                    port["nodePort"] = number.into();
                }
                continue;
            };
            highest = Some(number.max(highest.unwrap_or_default()));
            let range = i64::from(NODE_PORTS.0)..NODE_PORTS.1.into();
            // What only is tried asks the allocator for nothing but whether another has it.
            let why = if !range.contains(&number) && !dry_run {
                let (first, last) = (NODE_PORTS.0, NODE_PORTS.1 - 1);
                format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
            } else if u64::try_from(number).is_ok_and(|n| before.contains(&n)) {
                "provided port is already allocated".to_owned()
            } else {
                String::new()
            };
            if !why.is_empty() && !own.contains(&number) && !mine.contains(&number) {
                let path = format!("spec.ports[{i}].nodePort");
                errors.push(FieldError::invalid(path, number, why));
            }
            mine.insert(number);
        }
        if checked && spec.get("healthCheckNodePort").is_none_or(|p| p.is_null() || *p == 0) {
            spec.insert("healthCheckNodePort".into(), next(taken, &mut highest)?.into());
        }
        Ok(())
    }
}

/// What a client that replaces need not know stays (`patchAllocatedValues`, `NormalizeClusterIPs`).
fn keep(old: &Value, spec: &mut Map<String, Value>) {
    let unset = |v: Option<&Value>| v.is_none_or(|v| v.is_null() || *v == "" || *v == 0 || *v == json!([]));
    let (was, now) = (old.clone(), Value::Object(spec.clone()));
    if has_address(&was) && has_address(&now) {
        if unset(spec.get("clusterIP")) && !unset(was.get("clusterIP")) {
            spec.insert("clusterIP".into(), was["clusterIP"].clone());
        }
        if unset(spec.get("clusterIPs")) {
            let all = match &spec.get("clusterIP") {
                Some(ip) if **ip != was["clusterIP"] => json!([ip]),
                _ => was["clusterIPs"].clone(),
            };
            spec.insert("clusterIPs".into(), all);
        }
    }
    // The one address that is written anew stands for the list, too.
    let first = spec.get("clusterIP").cloned().unwrap_or_default();
    if first != was["clusterIP"] && spec.get("clusterIPs") == was.get("clusterIPs") {
        if unset(Some(&first)) {
            spec.remove("clusterIPs");
        } else {
            spec.insert("clusterIPs".into(), json!([first]));
        }
    }
    if has_node_ports(&was) && has_node_ports(&now) {
        let of = |spec: &Value| ports(spec).filter_map(node_port).collect::<BTreeSet<_>>();
        let mut used: BTreeSet<u64> = of(&was).intersection(&of(&now)).copied().collect();
        let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
        for port in ports_mut(spec).filter(|p| node_port(p).is_none()) {
            let before = ports(&was).filter(|p| name(p) == name(port)).find_map(node_port);
            if let Some(number) = before.filter(|n| used.insert(*n)) {
                port["nodePort"] = number.into();
            }
        }
    }
    let field = "healthCheckNodePort";
    if has_health_check(&was) && has_health_check(&now) && unset(spec.get(field)) && !unset(was.get(field)) {
        spec.insert(field.into(), was[field].clone());
    }
}

/// What the old type needed and the new one does not goes, if the client left it as it was (`dropTypeDependentFields`).
fn drop_unneeded(old: &Value, v: &mut Value) {
    let new = v["spec"].clone();
    let spec = child(v, "spec");
    let mut forget = |fields: &[&str]| {
        for field in fields {
            if old[*field] == new[*field] {
                spec.remove(*field);
            }
        }
    };
    if has_address(old) && !has_address(&new) {
        forget(&["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]);
    }
    if has_health_check(old) && !has_health_check(&new) {
        forget(&["healthCheckNodePort"]);
    }
    if old["type"] == "LoadBalancer" && new["type"] != "LoadBalancer" {
        forget(&["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if is_reachable(old) && !is_reachable(&new) {
        forget(&["externalTrafficPolicy"]);
    }
    let open = |spec: &Value| matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    let numbers = |spec: &Value| ports(spec).map(node_port).collect::<Vec<_>>();
    if open(old) && !open(&new) && numbers(old) == numbers(&new) {
        for port in ports_mut(spec).filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
}

/// The families that a cluster with IPv4 alone can give.
fn families(spec: &Value, errors: &mut Vec<FieldError>) {
    let headless = spec["clusterIP"] == "None";
    let chosen = spec["selector"].as_object().is_some_and(|s| !s.is_empty());
    // Nothing is given out for those whose addresses are made by hand.
    if !has_address(spec) || headless && !chosen {
        return;
    }
    for (i, family) in spec["ipFamilies"].as_array().into_iter().flatten().enumerate() {
        if family == "IPv6" {
            let detail = "not configured on this cluster";
            errors.push(FieldError::invalid(
                format!("spec.ipFamilies[{i}]"),
                family.clone(),
                detail,
            ));
        }
    }
    for (i, address) in spec["clusterIPs"].as_array().into_iter().flatten().enumerate() {
        if address
            .as_str()
            .is_some_and(|a| a.parse::<IpAddr>().is_ok_and(|a| a.is_ipv6()))
        {
            let detail = "may not use IPv6 on a cluster which is not configured for it";
            errors.push(FieldError::invalid(
                format!("spec.clusterIPs[{i}]"),
                address.clone(),
                detail,
            ));
        }
    }
    if spec["ipFamilyPolicy"] == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", "RequireDualStack", detail));
    }
}
