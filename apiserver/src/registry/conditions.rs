//! What the server itself says in the statuses of flow schemas and API services: whether the priority level of the one is
//! there (`apiserver/pkg/util/flowcontrol`), and the service of the other (`kube-aggregator/pkg/controllers/status/remote`).
//! What upstream's controllers do in the background is done here at once.

use std::sync::{Arc, PoisonError};

use serde_json::{Value, json};

use super::meta::rfc3339;
use super::{Resource, Server, text};
use crate::controllers::object::set_condition;
use crate::local::Gvr;
use crate::patch;
use crate::store::{Expect, Key, Object};

const FLOWS: Gvr = Gvr::new("flowcontrol.apiserver.k8s.io", "v1", "flowschemas");
const LEVELS: Gvr = Gvr::new("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations");
const SERVERS: Gvr = Gvr::new("apiregistration.k8s.io", "v1", "apiservices");
const SERVICES: Gvr = Gvr::new("", "v1", "services");
const SLICES: Gvr = Gvr::new("discovery.k8s.io", "v1", "endpointslices");
/// Who says it of flow schemas.
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";

const RANGES: Gvr = Gvr::new("networking.k8s.io", "v1", "servicecidrs");
/// Who says it of the range of services that the server was started with.
const CIDR_CONTROLLER: &str = "kubernetes-service-cidr-controller";

/// A condition that should be there.
struct Condition {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

/// The condition of an API service that this server is itself.
pub(super) fn local(now: &str) -> Value {
    json!({"type": "Available", "status": "True", "lastTransitionTime": now, "reason": "Local",
        "message": "Local APIServices are always available"})
}

/// Brings up to date what depends on objects of `r`.
pub(super) fn settle(server: &Server, r: &Resource) {
    match (&*r.group, &*r.plural) {
        ("flowcontrol.apiserver.k8s.io", _) => {
            for flow in server.store.list(&FLOWS, None, None).objects {
                let level = text(&flow.value(), "/spec/priorityLevelConfiguration/name").to_owned();
                let found = server.store.get(&LEVELS, &Key::new("", level.as_str())).is_some();
                say(server, &FLOWS, &flow, &dangling(&level, found));
            }
        }
        ("networking.k8s.io", "servicecidrs") => {
            // The range that the server was started with is its own; others are for controllers to say something of.
            let own = server.store.get(&RANGES, &Key::new("", "kubernetes"));
            if let Some(range) = own.filter(|r| r.peek()["metadata"]["deletionTimestamp"].is_null()) {
                let ready = Condition {
                    kind: "Ready",
                    holds: true,
                    reason: "",
                    message: "Kubernetes default Service CIDR is ready".to_owned(),
                };
                say(server, &RANGES, &range, &ready);
            }
        }
        ("apiregistration.k8s.io", _) | ("", "services") | ("discovery.k8s.io", "endpointslices") => {
            for of in remote(server) {
                let told = available(server, &of.value()["spec"]["service"]);
                say(server, &SERVERS, &of, &told);
            }
        }
        _ => {}
    }
}

/// The API services that are others: mostly none, and services are written often.
fn remote(server: &Server) -> Vec<Arc<Object>> {
    let version = server.store.changed(&SERVERS);
    let mut kept = server.remote.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.0 != version {
        let mut all = server.store.list(&SERVERS, None, None).objects;
        all.retain(|o| o.peek()["spec"]["service"].is_object());
        *kept = (version, all);
    }
    kept.1.clone()
}

fn dangling(level: &str, found: bool) -> Condition {
    let (reason, then) = match found {
        true => ("Found", "and it exists"),
        false => ("NotFound", "but there is no such object"),
    };
    let level = crate::schema::quote(level);
    Condition {
        kind: "Dangling",
        holds: !found,
        reason,
        message: format!("This FlowSchema references the PriorityLevelConfiguration object named {level} {then}"),
    }
}

fn available(server: &Server, asked: &Value) -> Condition {
    let (ns, name) = (text(asked, "/namespace"), text(asked, "/name"));
    let shown = crate::schema::quote(ns);
    let refused = |reason: &'static str, message: String| Condition {
        kind: "Available",
        holds: false,
        reason,
        message,
    };
    let Some(service) = server.store.get(&SERVICES, &Key::new(ns, name)) else {
        return refused("ServiceNotFound", format!("service/{name} in {shown} is not present"));
    };
    let service = service.value();
    if service["spec"]["type"] == "ClusterIP" {
        let wanted = asked["port"].as_i64().unwrap_or(443);
        let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let Some(port) = ports.find(|p| p["port"] == wanted) else {
            let why = format!("service/{name} in {shown} is not listening on port {wanted}");
            return refused("ServicePortError", why);
        };
        let slices = server.store.list(&SLICES, Some(ns), None).objects;
        let of = |s: &&Arc<Object>| s.value()["metadata"]["labels"]["kubernetes.io/service-name"] == name;
        let slices: Vec<_> = slices.iter().filter(of).collect();
        if slices.is_empty() {
            let why = format!("cannot find endpointslices for service/{name} in {shown}");
            return refused("EndpointsNotFound", why);
        }
        let port = text(port, "/name");
        if !slices.iter().any(|s| is_served(&s.value(), port)) {
            let port = crate::schema::quote(port);
            let why = format!("endpointslices for service/{name} in {shown} have no addresses with port name {port}");
            return refused("MissingEndpoints", why);
        }
    }
    let why = "other API servers are not aggregated here";
    refused("FailedDiscoveryCheck", why.to_owned())
}

/// Whether a slice has a ready address with a port of this name.
fn is_served(slice: &Value, port: &str) -> bool {
    let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let mut ports = slice["ports"].as_array().into_iter().flatten();
    endpoints.any(|e| e["conditions"]["ready"] != false && e["addresses"].as_array().is_some_and(|a| !a.is_empty()))
        && ports.any(|p| text(p, "/name") == port)
}

/// Writes a condition that is not there yet.
fn say(server: &Server, of: &Gvr, object: &Arc<Object>, c: &Condition) {
    let now = server.clock.now();
    let old = object.value();
    let state = if c.holds { "True" } else { "False" };
    let mut conditions = old["status"]["conditions"].as_array().into_iter().flatten();
    let is_there = |o: &Value| {
        let said = (
            text(o, "/type"),
            text(o, "/status"),
            text(o, "/reason"),
            text(o, "/message"),
        );
        said == (c.kind, state, c.reason, c.message.as_str())
    };
    if conditions.any(is_there) {
        return;
    }
    let mut new = (*old).clone();
    let Some(r) = server.catalog.find(&of.group, &of.version, &of.resource) else {
        return;
    };
    if !set_condition(&mut new, c.kind, state, c.reason, &c.message, now) {
        return;
    }
    let (schema, stamp) = (r.schema(), rfc3339(now));
    let applier = match &*r.plural {
        "flowschemas" => Some(CONSUMER),
        "servicecidrs" => Some(CIDR_CONTROLLER),
        _ => None,
    };
    if let Some(applier) = applier {
        let mut all = new["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.retain(|there| there["type"] == c.kind);
        // Whoever applies says nothing of what is empty.
        for said in all.iter_mut().filter_map(Value::as_object_mut) {
            said.retain(|_, v| *v != "");
        }
        let applied = json!({"apiVersion": r.api_version, "kind": r.kind, "metadata": {"name": object.name()},
            "status": {"conditions": all}});
        match patch::apply(Some(&old), &applied, applier, &schema, true, "status", &stamp, &[]) {
            Ok(v) => {
                new = v;
                let all = new["status"]["conditions"].as_array_mut().into_iter().flatten();
                for said in all.filter_map(Value::as_object_mut) {
                    said.entry("reason").or_insert_with(|| "".into());
                }
            }
            Err(e) => return tracing::error!(error = %e, "condition of {}", object.name()),
        }
    } else {
        patch::track_update(
            Some(&old),
            &mut new,
            "kube-apiserver",
            "status",
            &schema,
            &stamp,
            &[".spec"],
        );
    }
    // Who wrote in between has it looked at again.
    let key = Key::new("", object.name());
    let _ = server
        .store
        .put(&r.storage, key, Expect::Revision(object.revision), new);
}
