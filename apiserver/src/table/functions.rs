//! Cells that are more than a field (`pkg/printers/internalversion/printers.go` in Kubernetes).

use super::columns::at;
use super::duration::{human_duration, since};
use super::pods;
use super::references::{class_parameters, parent};
use crate::select::LabelSelector;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

fn list<'v>(object: &'v Value, path: &str) -> &'v [Value] {
    at(object, path).as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn text<'v>(object: &'v Value, path: &str) -> &'v str {
    at(object, path).as_str().unwrap_or_default()
}

fn or_none(text: String) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

fn join<'v>(items: impl Iterator<Item = &'v str>, separator: &str) -> String {
    items.collect::<Vec<_>>().join(separator)
}

/// Calls a function by name; null means that the field is absent. `argument` is the text in its parentheses: paths,
/// or a word.
pub(super) fn call(name: &str, argument: &str, object: &Value, now: Timestamp) -> Value {
    let field = || at(object, argument);
    match name {
        "count" => argument
            .split(',')
            .map(|path| match at(object, path) {
                Value::Object(fields) => fields.len(),
                Value::Array(items) => items.len(),
                _ => 0,
            })
            .sum::<usize>()
            .into(),
        // Numbers under columns of type string stay numbers upstream.
        "count_text" => field().as_i64().unwrap_or_default().into(),
        "number" => match field() {
            Value::Null => "<none>".into(),
            number => number.clone(),
        },
        "flag_on" => field().as_bool().unwrap_or(true).into(),
        "joined" => or_none(join(list(object, argument).iter().filter_map(Value::as_str), ",")),
        "audiences" => match field() {
            Value::Null => "<unset>".into(),
            _ => join(list(object, argument).iter().map(|t| text(t, "audience")), ",").into(),
        },
        "flag" => field().as_bool().unwrap_or_default().into(),
        "trimmed" => field().as_str().unwrap_or_default().trim().into(),
        "seconds" => field()
            .as_i64()
            .map_or(Value::Null, |seconds| human_duration(seconds).into()),
        "names" => join(list(object, argument).iter().map(|c| text(c, "name")), ",").into(),
        "images" => join(list(object, argument).iter().map(|c| text(c, "image")), ",").into(),
        "labels" => or_none(labels(field())),
        "selector" => match LabelSelector::from_object(field()) {
            Ok(selector) => or_none(selector.to_string()),
            Err(_) => "<error>".into(),
        },
        "access_modes" => access_modes(field()).into(),
        "phase" => match at(object, "metadata.deletionTimestamp") {
            Value::Null => text(object, "status.phase").into(),
            _ => "Terminating".into(),
        },
        "default_name" => {
            let default = at(object, "metadata.annotations")[argument] == "true";
            format!(
                "{}{}",
                text(object, "metadata.name"),
                if default { " (default)" } else { "" }
            )
            .into()
        }
        "pod_ready" => pods::row(object, now).ready.into(),
        "pod_status" => pods::row(object, now).status.into(),
        "pod_restarts" => pods::row(object, now).restarts.into(),
        "pod_gates" => pods::gates(object).into(),
        "pod_ip" => or_none(text(object, "status.podIPs.0.ip").to_owned()),
        "node_status" => node_status(object).into(),
        "node_roles" => or_none(node_roles(object)),
        "node_address" => {
            let address = list(object, "status.addresses").iter().find(|a| a["type"] == argument);
            or_none(address.map(|a| text(a, "address").to_owned()).unwrap_or_default())
        }
        "node_kernel" => {
            let kernel = text(object, "status.nodeInfo.kernelVersion");
            let kernel = if kernel.is_empty() { "<unknown>" } else { kernel };
            match text(object, "status.nodeInfo.architecture") {
                "" => kernel.into(),
                architecture => format!("{kernel} ({architecture})").into(),
            }
        }
        "job_status" => job_status(object).into(),
        "job_completions" => job_completions(object).into(),
        "job_duration" => job_duration(object, now).into(),
        "cron_suspend" => match at(object, "spec.suspend") {
            Value::Bool(true) => "True".into(),
            Value::Bool(false) => "False".into(),
            _ => "<unset>".into(),
        },
        "service_external" => service_external(object).into(),
        "service_ports" => or_none(service_ports(object)),
        "load_balancer" => load_balancer(list(object, argument)).into(),
        "ingress_hosts" => {
            let rules = list(object, "spec.rules");
            let hosts: Vec<&str> = rules
                .iter()
                .map(|rule| text(rule, "host"))
                .filter(|host| !host.is_empty())
                .collect();
            if hosts.is_empty() {
                "*".into()
            } else {
                shortened(&hosts, rules.len(), 3).into()
            }
        }
        "ingress_ports" => if list(object, "spec.tls").is_empty() {
            "80"
        } else {
            "80, 443"
        }
        .into(),
        "parent" => parent(field()).into(),
        "class_parameters" => class_parameters(at(object, "spec.parameters")).into(),
        "endpoints" => endpoints(object),
        "slice_ports" => {
            let ports = list(object, "ports")
                .iter()
                .map(|port| match (&port["port"], &port["name"]) {
                    (Value::Number(number), _) => number.to_string(),
                    (_, Value::String(name)) => name.clone(),
                    _ => "*".to_owned(),
                });
            more(ports.collect())
        }
        "slice_endpoints" => {
            let addresses = list(object, "endpoints")
                .iter()
                .flat_map(|endpoint| list(endpoint, "addresses"));
            more(
                addresses
                    .filter_map(|address| address.as_str().map(str::to_owned))
                    .collect(),
            )
        }
        "event_last" => event_last(object, now).into(),
        "event_first" => event_first(object, now).into(),
        "event_object" => {
            let involved = event_field(object, "involvedObject", "regarding");
            match (text(involved, "kind").to_lowercase(), text(involved, "name")) {
                (kind, "") => kind.into(),
                (kind, name) => format!("{kind}/{name}").into(),
            }
        }
        "event_source" => event_source(object).into(),
        "event_count" => {
            let series = at(object, "series.count").as_i64();
            let count = event_field(object, "count", "deprecatedCount")
                .as_i64()
                .filter(|count| *count != 0);
            series.or(count).unwrap_or(1).into()
        }
        "subjects" => {
            let subjects = list(object, "subjects")
                .iter()
                .filter(|subject| subject["kind"] == argument);
            let names: Vec<String> = subjects
                .map(|subject| match argument {
                    "ServiceAccount" => format!("{}/{}", text(subject, "namespace"), text(subject, "name")),
                    _ => text(subject, "name").to_owned(),
                })
                .collect();
            names.join(", ").into()
        }
        "csr_condition" => csr_condition(object).into(),
        "claim_state" => claim_state(object).into(),
        "param_kind" => match at(object, "spec.paramKind") {
            Value::Null => "<unset>".into(),
            kind => format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind")).into(),
        },
        "param_ref" => param_ref(at(object, "spec.paramRef")).into(),
        "dangling" => {
            let condition = list(object, "status.conditions")
                .iter()
                .find(|c| c["type"] == "Dangling");
            condition.map_or("?", |c| text(c, "status")).into()
        }
        "component" => component(object, argument).into(),
        "controller" => {
            let owner = list(object, "metadata.ownerReferences")
                .iter()
                .find(|owner| owner["controller"] == true);
            owner.map_or_else(|| "<none>".into(), |owner| owner_name(owner).into())
        }
        "claim" => match at(object, "spec.claimRef") {
            Value::Null => "".into(),
            claim => format!("{}/{}", text(claim, "namespace"), text(claim, "name")).into(),
        },
        "claim_capacity" | "claim_modes" if text(object, "spec.volumeName").is_empty() => "".into(),
        "claim_capacity" => match text(object, "status.capacity.storage") {
            "" => "0".into(),
            capacity => capacity.into(),
        },
        "claim_modes" => access_modes(at(object, "status.accessModes")).into(),
        "quota" => quota(object, argument == "limit").into(),
        "hpa_targets" => hpa_targets(object).into(),
        "api_service" => match at(object, "spec.service") {
            Value::Null => "Local".into(),
            service => format!("{}/{}", text(service, "namespace"), text(service, "name")).into(),
        },
        "api_available" => {
            let available = list(object, "status.conditions")
                .iter()
                .find(|c| c["type"] == "Available");
            match available {
                None => "Unknown".into(),
                Some(condition) if condition["status"] == "True" => "True".into(),
                Some(condition) => format!("{} ({})", text(condition, "status"), text(condition, "reason")).into(),
            }
        }
        _ => Value::Null,
    }
}

fn labels(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}

/// Where a claim of devices is in its life.
fn claim_state(claim: &Value) -> String {
    let deleted = !at(claim, "metadata.deletionTimestamp").is_null();
    let allocated = !at(claim, "status.allocation").is_null();
    let states = [
        (deleted, "deleted"),
        (!allocated && !deleted, "pending"),
        (allocated, "allocated"),
        (allocated && !list(claim, "status.reservedFor").is_empty(), "reserved"),
    ];
    join(states.iter().filter(|(is, _)| *is).map(|(_, word)| *word), ",")
}

/// What a binding gives its policy as parameter.
fn param_ref(reference: &Value) -> String {
    match (text(reference, "namespace"), text(reference, "name")) {
        (_, "") => "<unset>".to_owned(),
        ("", name) => format!("*/{name}"),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

/// Of a component's condition of health its state or one of its texts.
fn component(component: &Value, what: &str) -> String {
    let condition = list(component, "conditions").iter().find(|c| c["type"] == "Healthy");
    match (what, condition) {
        ("status", None) => "Unknown".to_owned(),
        ("status", Some(c)) if c["status"] == "True" => "Healthy".to_owned(),
        ("status", Some(_)) => "Unhealthy".to_owned(),
        (field, Some(c)) => text(c, field).to_owned(),
        (_, None) => String::new(),
    }
}

fn access_modes(modes: &Value) -> String {
    let has = |mode: &str| modes.as_array().into_iter().flatten().any(|m| m == mode);
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    join(
        short.into_iter().filter(|(mode, _)| has(mode)).map(|(_, short)| short),
        ",",
    )
}

/// The first `max` of some texts, and how many of `total` there are besides.
fn shortened(texts: &[&str], total: usize, max: usize) -> String {
    let shown = texts[..texts.len().min(max)].join(",");
    if texts.len() > max {
        format!("{shown} + {} more...", total - max)
    } else {
        shown
    }
}

/// As [`shortened`] with 3; `<unset>` if there are none.
fn more(texts: Vec<String>) -> Value {
    if texts.is_empty() {
        return "<unset>".into();
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    shortened(&texts, texts.len(), 3).into()
}

fn node_status(node: &Value) -> String {
    let ready = list(node, "status.conditions")
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let status = match ready {
        None => "Unknown",
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
    };
    let cordoned = at(node, "spec.unschedulable") == &Value::Bool(true);
    format!("{status}{}", if cordoned { ",SchedulingDisabled" } else { "" })
}

fn node_roles(node: &Value) -> String {
    let labels = at(node, "metadata.labels").as_object().into_iter().flatten();
    let roles: BTreeSet<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    join(roles.into_iter(), ",")
}

fn job_status(job: &Value) -> &'static str {
    let is = |kind: &str| {
        list(job, "status.conditions")
            .iter()
            .find(|c| c["type"] == kind)
            .is_some_and(|c| c["status"] == "True")
    };
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if !at(job, "metadata.deletionTimestamp").is_null() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn job_completions(job: &Value) -> String {
    let succeeded = at(job, "status.succeeded").as_i64().unwrap_or_default();
    match (
        at(job, "spec.completions").as_i64(),
        at(job, "spec.parallelism").as_i64().unwrap_or_default(),
    ) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn job_duration(job: &Value, now: Timestamp) -> String {
    let time = |path: &str| at(job, path).as_str().and_then(|t| t.parse::<Timestamp>().ok());
    let Some(start) = time("status.startTime") else {
        return String::new();
    };
    let end = time("status.completionTime").unwrap_or(now);
    human_duration((end - start).total(jiff::Unit::Second).unwrap_or_default() as i64)
}

fn load_balancer(ingress: &[Value]) -> String {
    let addresses: BTreeSet<&str> = ingress
        .iter()
        .map(|entry| {
            if text(entry, "ip").is_empty() {
                text(entry, "hostname")
            } else {
                text(entry, "ip")
            }
        })
        .filter(|address| !address.is_empty())
        .collect();
    join(addresses.into_iter(), ",")
}

fn service_external(service: &Value) -> String {
    let external = join(list(service, "spec.externalIPs").iter().filter_map(Value::as_str), ",");
    match text(service, "spec.type") {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => external,
        "LoadBalancer" => {
            let balanced = load_balancer(list(service, "status.loadBalancer.ingress"));
            match (balanced.is_empty(), external.is_empty()) {
                (true, true) => "<pending>".to_owned(),
                (false, true) => balanced,
                (true, false) => external,
                (false, false) => format!("{balanced},{external}"),
            }
        }
        "ExternalName" => text(service, "spec.externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn service_ports(service: &Value) -> String {
    let ports = list(service, "spec.ports").iter().map(|port| {
        let (number, protocol) = (&port["port"], text(port, "protocol"));
        match port["nodePort"].as_i64().filter(|n| *n > 0) {
            Some(node) => format!("{number}:{node}/{protocol}"),
            None => format!("{number}/{protocol}"),
        }
    });
    ports.collect::<Vec<_>>().join(",")
}

fn endpoints(object: &Value) -> Value {
    let subsets = list(object, "subsets");
    if subsets.is_empty() {
        return "<none>".into();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = || list(subset, "addresses").iter().map(|address| text(address, "ip"));
        if list(subset, "ports").is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in list(subset, "ports") {
            all.extend(addresses().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{}", port["port"]),
                false => format!("{ip}:{}", port["port"]),
            }));
        }
    }
    let texts: Vec<&str> = all.iter().map(String::as_str).collect();
    shortened(&texts, texts.len(), 3).into()
}

/// A field of an event under its name in the core group or in `events.k8s.io`.
fn event_field<'v>(event: &'v Value, core: &str, new: &str) -> &'v Value {
    let value = at(event, core);
    if value.is_null() { at(event, new) } else { value }
}

fn event_first(event: &Value, now: Timestamp) -> String {
    let first = event_field(event, "firstTimestamp", "deprecatedFirstTimestamp");
    since(if first.is_null() { at(event, "eventTime") } else { first }, now)
}

fn event_last(event: &Value, now: Timestamp) -> String {
    let series = at(event, "series.lastObservedTime");
    let last = event_field(event, "lastTimestamp", "deprecatedLastTimestamp");
    match (series, last) {
        (Value::Null, Value::Null) => event_first(event, now),
        (Value::Null, last) => since(last, now),
        (series, _) => since(series, now),
    }
}

fn event_source(event: &Value) -> String {
    let source = event_field(event, "source", "deprecatedSource");
    let first = |texts: [&str; 3]| {
        texts
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default()
            .to_owned()
    };
    let component = first([
        text(source, "component"),
        text(event, "reportingComponent"),
        text(event, "reportingController"),
    ]);
    let instance = first([text(source, "host"), text(event, "reportingInstance"), ""]);
    if instance.is_empty() {
        component
    } else {
        format!("{component}, {instance}")
    }
}

fn csr_condition(request: &Value) -> String {
    let is = |kind: &str| {
        list(request, "status.conditions")
            .iter()
            .any(|condition| condition["type"] == kind)
    };
    let mut status = match () {
        () if is("Denied") => "Denied",
        () if is("Approved") => "Approved",
        () => "Pending",
    }
    .to_owned();
    if is("Failed") {
        status.push_str(",Failed");
    }
    if !text(request, "status.certificate").is_empty() {
        status.push_str(",Issued");
    }
    status
}

/// `deployment.apps/name`.
fn owner_name(owner: &Value) -> String {
    let kind = text(owner, "kind").to_lowercase();
    match text(owner, "apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "name")),
        None => format!("{kind}/{}", text(owner, "name")),
    }
}

fn quota(object: &Value, limits: bool) -> String {
    let hard = at(object, "status.hard").as_object().into_iter().flatten();
    let entries = hard
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, hard)| {
            let used = at(object, "status.used")
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or("0");
            format!("{name}: {used}/{}", hard.as_str().unwrap_or_default())
        });
    entries.collect::<Vec<_>>().join(", ")
}

fn hpa_targets(autoscaler: &Value) -> String {
    let metrics = list(autoscaler, "spec.metrics");
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let show = |value: &Value| match value {
        Value::Null => "<unknown>".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let texts: Vec<String> = metrics
        .iter()
        .enumerate()
        .map(|(i, metric)| {
            let kind = text(metric, "type");
            let field = match kind.split_at_checked(1) {
                Some((first, rest)) => format!("{}{rest}", first.to_lowercase()),
                None => return "<unknown type>".to_owned(),
            };
            let (spec, name) = (&metric[&field], text(&metric[&field], "name"));
            let current = at(autoscaler, &format!("status.currentMetrics.{i}.{field}.current"));
            let (average, utilization) = (at(spec, "target.averageValue"), at(spec, "target.averageUtilization"));
            match kind {
                "Resource" | "ContainerResource" if !average.is_null() => {
                    format!("{name}: {}/{}", show(&current["averageValue"]), show(average))
                }
                "Resource" | "ContainerResource" => {
                    let percent = |value: &Value| value.as_i64().map(|n| format!("{n}%"));
                    let now = percent(&current["averageUtilization"]).unwrap_or_else(|| "<unknown>".to_owned());
                    format!(
                        "{name}: {now}/{}",
                        percent(utilization).unwrap_or_else(|| "<auto>".to_owned())
                    )
                }
                "Pods" => format!("{}/{}", show(&current["averageValue"]), show(average)),
                "External" | "Object" if !average.is_null() => {
                    format!("{}/{} (avg)", show(&current["averageValue"]), show(average))
                }
                "External" | "Object" => format!("{}/{}", show(&current["value"]), show(at(spec, "target.value"))),
                _ => "<unknown type>".to_owned(),
            }
        })
        .collect();
    let shown = texts[..texts.len().min(2)].join(", ");
    if texts.len() > 2 {
        format!("{shown} + {} more...", texts.len() - 2)
    } else {
        shown
    }
}
