//! Endpoints and EndpointSlices of Services (`pkg/controller/endpoint`, `pkg/controller/endpointslice`): one slice
//! per Service and address family here, whatever its size up to 1000.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::manager::{Controller, Now, Plan};
use super::object::{Object, owner_reference};
use super::pods;
use super::world::{Key, World, gvr};
use crate::local::{EventKind, WatchEvent};

/// `--max-endpoints-per-slice` is 100 upstream; one slice may hold 1000 by validation.
const MOST: usize = 1000;

pub(crate) struct EndpointsOf;

fn matches(service: &Value, pod: &Value) -> bool {
    let Some(selector) = service
        .at("/spec/selector")
        .and_then(Value::as_object)
        .filter(|s| !s.is_empty())
    else {
        return false;
    };
    selector.iter().all(|(k, v)| pod.label(k) == v.as_str())
}

impl Controller for EndpointsOf {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::SERVICES || e.gvr == gvr::ENDPOINTS && is_custom(&e.object) {
            queue.insert(Key::of(&e.object));
        } else if e.gvr == gvr::PODS {
            let about = |v: &Value| {
                (
                    v.text("/status/podIP").to_owned(),
                    pods::is_ready(v),
                    pods::is_active(v),
                    v.at("/metadata/labels").cloned(),
                )
            };
            if e.kind == EventKind::Modified && e.previous.as_ref().is_some_and(|p| about(p) == about(&e.object)) {
                return;
            }
            for s in world.list_in(&gvr::SERVICES, e.object.namespace()) {
                if matches(&s, &e.object) || e.previous.as_ref().is_some_and(|p| matches(&s, p)) {
                    queue.insert(Key::of(&s));
                }
            }
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let mut plan = Plan::default();
        let Some(service) = world.get(&gvr::SERVICES, &key.ns, &key.name) else {
            if let Some(e) = world.get(&gvr::ENDPOINTS, &key.ns, &key.name)
                && e.label("endpoints.kubernetes.io/managed-by") == Some("endpoint-controller")
            {
                plan.delete(&gvr::ENDPOINTS, &e);
            }
            return plan;
        };
        let selector = service.at("/spec/selector").and_then(Value::as_object);
        if !service.deleting() && selector.is_none_or(serde_json::Map::is_empty) {
            mirror(key, world, &mut plan);
            return plan;
        }
        if service.deleting()
            || selector.is_none_or(serde_json::Map::is_empty)
            || service.text("/spec/type") == "ExternalName"
        {
            return plan;
        }
        let members: Vec<_> = world
            .list_in(&gvr::PODS, &key.ns)
            .filter(|p| matches(&service, p) && !p.text("/status/podIP").is_empty())
            .collect();
        endpoints(
            &service,
            &members,
            world.get(&gvr::ENDPOINTS, &key.ns, &key.name).as_ref(),
            now,
            &mut plan,
        );
        let slices: Vec<_> = world
            .list_in(&gvr::ENDPOINT_SLICES, &key.ns)
            .filter(|s| {
                s.label("kubernetes.io/service-name") == Some(service.name())
                    && s.label("endpointslice.kubernetes.io/managed-by") == Some("endpointslice-controller.k8s.io")
            })
            .collect();
        slice(&service, &members, &slices, world, &mut plan);
        plan
    }
}

/// The port a Service port leads to in a pod.
fn target_port(port: &Value, pod: &Value) -> Option<i64> {
    match port.get("targetPort") {
        Some(Value::Number(n)) if n.as_i64() != Some(0) => n.as_i64(),
        Some(Value::String(name)) => pod
            .items("/spec/containers")
            .iter()
            .flat_map(|c| c.items("/ports"))
            .find(|p| p["name"] == name.as_str())
            .and_then(|p| p.int("/containerPort")),
        _ => port.int("/port"),
    }
}

fn ports(service: &Value, pod: &Value) -> Vec<Value> {
    let one = |p: &Value| {
        let mut out = json!({"port": target_port(p, pod)?, "protocol": crate::endpoints::protocol(p)});
        if !p.text("/name").is_empty() {
            out["name"] = p["name"].clone();
        }
        if !p.text("/appProtocol").is_empty() {
            out["appProtocol"] = p["appProtocol"].clone();
        }
        Some(out)
    };
    service.items("/spec/ports").iter().filter_map(one).collect()
}

fn target(pod: &Value) -> Value {
    json!({"kind": "Pod", "name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid()})
}

/// The name that a pod has below its service (`ShouldSetHostname` of `k8s.io/endpointslice/util`).
fn hostname<'a>(service: &Value, pod: &'a Value) -> Option<&'a str> {
    let is = pod.text("/spec/subdomain") == service.name() && pod.namespace() == service.namespace();
    Some(pod.text("/spec/hostname")).filter(|h| is && !h.is_empty())
}

/// Ready addresses, others, ports.
type Subset = (Vec<Value>, Vec<Value>, Vec<Value>);

fn endpoints(service: &Arc<Value>, members: &[Arc<Value>], old: Option<&Arc<Value>>, _: Now, plan: &mut Plan) {
    let publish = service.flag("/spec/publishNotReadyAddresses");
    // Addresses with equal ports share a subset.
    let mut subsets: BTreeMap<String, Subset> = BTreeMap::new();
    let mut sorted: Vec<_> = members.iter().filter(|p| pods::is_active(p)).collect();
    sorted.sort_by_key(|p| (p.text("/status/podIP").to_owned(), p.name().to_owned()));
    for p in sorted {
        let ports = ports(service, p);
        if ports.is_empty() && !service.items("/spec/ports").is_empty() {
            continue;
        }
        let mut address =
            json!({"ip": p.text("/status/podIP"), "nodeName": p.text("/spec/nodeName"), "targetRef": target(p)});
        if let Some(name) = hostname(service, p) {
            address["hostname"] = json!(name);
        }
        let entry = subsets.entry(json!(ports).to_string()).or_default();
        entry.2 = ports;
        if publish || pods::is_ready(p) {
            entry.0.push(address)
        } else {
            entry.1.push(address)
        }
    }
    let list: Vec<Value> = subsets
        .into_values()
        .map(|(ready, waiting, ports)| {
            let mut s = json!({});
            for (k, v) in [("addresses", ready), ("notReadyAddresses", waiting), ("ports", ports)] {
                if !v.is_empty() {
                    s[k] = json!(v);
                }
            }
            s
        })
        .collect();
    let mut object = old.map_or_else(
        || {
            let mut labels = service.at("/metadata/labels").cloned().unwrap_or_else(|| json!({}));
            labels["endpoints.kubernetes.io/managed-by"] = json!("endpoint-controller");
            json!({"apiVersion": "v1", "kind": "Endpoints",
                "metadata": {"name": service.name(), "namespace": service.namespace(), "labels": labels}})
        },
        |o| (**o).clone(),
    );
    match list.is_empty() {
        true => {
            object.as_object_mut().map(|o| o.remove("subsets"));
        }
        false => object["subsets"] = json!(list),
    }
    match old {
        None => plan.create(&gvr::ENDPOINTS, service.namespace(), object),
        Some(o) if **o != object => plan.update(&gvr::ENDPOINTS, object),
        Some(_) => {}
    }
}

/// Whether somebody else keeps these Endpoints.
fn is_custom(endpoints: &Value) -> bool {
    endpoints.label("endpoints.kubernetes.io/managed-by") != Some("endpoint-controller")
        && endpoints.label("endpointslice.kubernetes.io/skip-mirror") != Some("true")
}

/// Endpoints that somebody wrote by hand for a service without a selector, as a slice
/// (`pkg/controller/endpointslicemirroring`).
fn mirror(key: &Key, world: &World, plan: &mut Plan) {
    let by = "endpointslicemirroring-controller.k8s.io";
    let old: Vec<_> = world
        .list_in(&gvr::ENDPOINT_SLICES, &key.ns)
        .filter(|s| {
            s.label("kubernetes.io/service-name") == Some(&key.name)
                && s.label("endpointslice.kubernetes.io/managed-by") == Some(by)
        })
        .collect();
    let custom = world
        .get(&gvr::ENDPOINTS, &key.ns, &key.name)
        .filter(|e| is_custom(e) && !e.deleting());
    let mut old = old.into_iter();
    for (i, s) in custom.iter().flat_map(|e| e.items("/subsets")).enumerate() {
        let Some(e) = &custom else { break };
        let each = |list: &str, ready: bool| -> Vec<Value> {
            let one = |a: &Value| {
                let mut x = json!({"addresses": [a["ip"]], "conditions": {"ready": ready}});
                for k in ["hostname", "nodeName", "targetRef"] {
                    if let Some(v) = a.get(k) {
                        x[k] = v.clone();
                    }
                }
                x
            };
            s.items(list).iter().map(one).collect()
        };
        let mut endpoints = each("/addresses", true);
        endpoints.extend(each("/notReadyAddresses", false));
        let ports: Vec<Value> = s
            .items("/ports")
            .iter()
            .map(|p| {
                let mut p = p.clone();
                if p["name"].is_null() {
                    p["name"] = json!("");
                }
                p
            })
            .collect();
        let next = old.next();
        let mut object = match &next {
            Some(o) => (**o).clone(),
            None => json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"generateName": format!("{}-", key.name), "namespace": key.ns,
                    "labels": {"kubernetes.io/service-name": key.name, "endpointslice.kubernetes.io/managed-by": by},
                    "ownerReferences": [owner_reference("v1", "Endpoints", e)]}}),
        };
        if i == 0
            && s.items("/addresses")
                .first()
                .is_some_and(|a| a.text("/ip").contains(':'))
            && next.is_none()
        {
            object["addressType"] = json!("IPv6");
        }
        object["endpoints"] = json!(endpoints);
        object["ports"] = json!(ports);
        match next {
            None => plan.create(&gvr::ENDPOINT_SLICES, &key.ns, object),
            Some(o) if *o != object => plan.update(&gvr::ENDPOINT_SLICES, object),
            Some(_) => {}
        }
    }
    old.for_each(|o| plan.delete(&gvr::ENDPOINT_SLICES, &o));
}

/// One slice for every set of ports that pods have (named ports may lead to other numbers in other pods).
fn slice(service: &Arc<Value>, members: &[Arc<Value>], old: &[Arc<Value>], world: &World, plan: &mut Plan) {
    let publish = service.flag("/spec/publishNotReadyAddresses");
    let mut sorted: Vec<_> = members.iter().filter(|p| !pods::is_ended(p)).collect();
    sorted.sort_by(|a, b| a.name().cmp(b.name()));
    let mut groups: Vec<(Vec<Value>, Vec<Value>)> = Vec::new();
    for p in &sorted {
        let serving = pods::is_ready(p);
        let ready = publish || (serving && !p.deleting());
        let mut e = json!({"addresses": [p.text("/status/podIP")], "nodeName": p.text("/spec/nodeName"), "targetRef": target(p),
            "conditions": {"ready": ready, "serving": serving, "terminating": p.deleting()}});
        if let Some(name) = hostname(service, p) {
            e["hostname"] = json!(name);
        }
        let node = world.get(&gvr::NODES, "", p.text("/spec/nodeName"));
        if let Some(z) = node.as_deref().and_then(|n| n.label("topology.kubernetes.io/zone")) {
            e["zone"] = json!(z);
        }
        let ports = ports(service, p);
        match groups
            .iter_mut()
            .find(|(known, list)| *known == ports && list.len() < MOST)
        {
            Some((_, list)) => list.push(e),
            None => groups.push((ports, vec![e])),
        }
    }
    // A service that selects nothing has an empty slice.
    if groups.is_empty() {
        groups.push((Vec::new(), Vec::new()));
    }
    let mut left: Vec<&Arc<Value>> = old.iter().collect();
    let mut homes = Vec::new();
    for (ports, _) in &groups {
        let same = left.iter().position(|o| o["ports"] == json!(ports));
        homes.push(same.map(|i| left.remove(i)));
    }
    for ((ports, list), home) in groups.into_iter().zip(homes) {
        let home = match home {
            None if !left.is_empty() => Some(left.remove(0)),
            h => h,
        };
        let mut object = match home {
            Some(o) => (**o).clone(),
            None => json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"generateName": format!("{}-", service.name()), "namespace": service.namespace(),
                    "labels": {"kubernetes.io/service-name": service.name(),
                        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
                    "ownerReferences": [owner_reference("v1", "Service", service)]}}),
        };
        object["endpoints"] = json!(list);
        object["ports"] = json!(ports);
        match home {
            None => plan.create(&gvr::ENDPOINT_SLICES, service.namespace(), object),
            Some(o) if **o != object => plan.update(&gvr::ENDPOINT_SLICES, object),
            Some(_) => {}
        }
    }
    for extra in left {
        plan.delete(&gvr::ENDPOINT_SLICES, extra);
    }
}
