//! Validation of what is written to a pod's `status` (`ValidatePodStatusUpdate` in Kubernetes).

use super::text;
use crate::defaults::validate_parts::{NO_IP, by_rule, list, within};
use crate::defaults::{immutable, names};
use crate::schema::{FieldError, Printed};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Most of what a user or group may be.
const IDS: (i64, i64) = (0, 2_147_483_647);

pub(super) fn pod(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let (was, status, spec) = (&old["status"], &new["status"], &old["spec"]);
    conditions(status, errors);
    nominated(old, status, errors);
    unsigned(status, "status", errors);
    if was["qosClass"] != status["qosClass"] && !was["qosClass"].is_null() {
        let value = status.get("qosClass").cloned().unwrap_or_else(|| "".into());
        errors.push(immutable::changed("status.qosClass", value));
    }
    for (which, of) in [
        ("containerStatuses", Some("containers")),
        ("initContainerStatuses", Some("initContainers")),
        ("ephemeralContainerStatuses", None),
    ] {
        transitions(which, of, (was, status), spec, errors);
    }
    claims(status, spec, errors);
    // The first address stands for the list where there is none.
    let first = status["podIP"].as_str();
    let all: Vec<&str> = match list(status, "podIPs") {
        [] => first.into_iter().collect(),
        list => list.iter().map(|a| text(a, "ip")).collect(),
    };
    addresses(&all, "status.podIPs", errors);
    let hosts: Vec<&str> = list(status, "hostIPs").iter().map(|a| text(a, "ip")).collect();
    if let Some(first) = hosts.first().filter(|h| **h != text(status, "hostIP")) {
        let detail = "must be equal to `hostIP`";
        errors.push(FieldError::invalid("status.hostIPs[0].ip", *first, detail));
    }
    addresses(&hosts, "status.hostIPs", errors);
    for which in [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ] {
        users(which, status, spec, errors);
    }
    for (which, of) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
    ] {
        allocated(which, of, status, spec, errors);
    }
    let ephemeral = "ephemeralContainerStatuses";
    for (i, container) in list(status, ephemeral).iter().enumerate() {
        if !list(container, "allocatedResourcesStatus").is_empty() {
            let path = format!("status.{ephemeral}[{i}].allocatedResourcesStatus");
            errors.push(FieldError::forbidden(path, "must not be specified in container status"));
        }
    }
}

/// Which version of the object something was seen in.
fn unsigned(of: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(number) = of["observedGeneration"].as_i64().filter(|n| *n < 0) {
        let detail = "must be a non-negative integer";
        errors.push(FieldError::invalid(
            format!("{path}.observedGeneration"),
            number,
            detail,
        ));
    }
}

/// `validatePodConditions`.
fn conditions(status: &Value, errors: &mut Vec<FieldError>) {
    for (i, condition) in list(status, "conditions").iter().enumerate() {
        let path = format!("status.conditions[{i}]");
        unsigned(condition, &path, errors);
        let kind = text(condition, "type");
        if !["PodScheduled", "Ready", "Initialized"].contains(&kind) {
            by_rule(kind, format!("{path}.Type"), names::qualified_name, errors);
        }
    }
}

/// Where a pod may go once there is room: not any more when it is there.
fn nominated(old: &Value, status: &Value, errors: &mut Vec<FieldError>) {
    let (path, name) = ("status.nominatedNodeName", text(status, "nominatedNodeName"));
    if name.is_empty() || name == text(&old["status"], "nominatedNodeName") {
        return;
    }
    by_rule(name, path.to_owned(), names::dns1123_subdomain, errors);
    if !text(&old["spec"], "nodeName").is_empty() {
        let detail = "may not be set on pods that are already bound to a node";
        errors.push(FieldError::forbidden(path, detail));
    }
}

/// `ValidateContainerStateTransition`: what has ended runs again only where it may.
fn transitions(
    which: &str,
    of: Option<&str>,
    (was, status): (&Value, &Value),
    spec: &Value,
    errors: &mut Vec<FieldError>,
) {
    let mut rules = ["initContainers", "containers"]
        .iter()
        .flat_map(|w| list(spec, w))
        .flat_map(|c| list(c, "restartPolicyRules"));
    if of.is_some() && rules.any(|r| r["action"] == "RestartAllContainers") {
        return;
    }
    for (i, before) in list(was, which).iter().enumerate() {
        let ended = &before["state"]["terminated"];
        if !ended.is_object() {
            continue;
        }
        let again = |c: &&Value| c["name"] == before["name"] && c["state"]["terminated"].is_null();
        let times = list(status, which).iter().filter(again).count();
        let own = of.and_then(|of| list(spec, of).iter().find(|c| c["name"] == before["name"]));
        let code = ended["exitCode"].as_i64().unwrap_or_default();
        if own.is_some_and(|c| restarts(c, spec, code)) {
            continue;
        }
        // Those of a pod's own are looked at once.
        for _ in 0..if of.is_some() { times.min(1) } else { times } {
            let detail = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(format!("status.{which}[{i}].state"), detail));
        }
    }
}

/// `ContainerShouldRestart`: by a rule for its exit code, by its own policy, by the pod's.
fn restarts(container: &Value, spec: &Value, code: i64) -> bool {
    let by = |policy: &str| match policy {
        "Always" => Some(true),
        "OnFailure" => Some(code != 0),
        "Never" => Some(false),
        _ => None,
    };
    if let Some(own) = container["restartPolicy"].as_str() {
        let rule = list(container, "restartPolicyRules").iter().find(|rule| {
            let codes = &rule["exitCodes"];
            let within = list(codes, "values").iter().any(|v| v.as_i64() == Some(code));
            match text(codes, "operator") {
                "In" => within,
                "NotIn" => !within,
                _ => false,
            }
        });
        if rule.is_some_and(|r| matches!(text(r, "action"), "Restart" | "RestartAllContainers")) {
            return true;
        }
        if let Some(answer) = by(own) {
            return answer;
        }
    }
    by(text(spec, "restartPolicy")).unwrap_or(true)
}

/// `validatePodResourceClaimStatuses`, `validatePodExtendedResourceClaimStatus`.
fn claims(status: &Value, spec: &Value, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    let known: BTreeSet<&str> = list(spec, "resourceClaims").iter().map(|c| text(c, "name")).collect();
    for (i, claim) in list(status, "resourceClaimStatuses").iter().enumerate() {
        let (path, name) = (format!("status.resourceClaimStatuses[{i}]"), text(claim, "name"));
        if !known.contains(name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(format!("{path}.name"), name, detail));
        }
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        seen.insert(name);
        if let Some(made) = claim["resourceClaimName"].as_str() {
            by_rule(
                made,
                format!("{path}.resourceClaimName"),
                names::dns1123_subdomain,
                errors,
            );
        }
    }
    let (extended, path) = (
        &status["extendedResourceClaimStatus"],
        "status.extendedResourceClaimStatus",
    );
    if !extended.is_object() {
        return;
    }
    let mappings = list(extended, "requestMappings");
    if mappings.is_empty() {
        let detail = "at least one request mapping is required";
        errors.push(FieldError::required(format!("{path}.requestMappings"), detail));
    }
    let mut mapped = BTreeSet::new();
    for (i, mapping) in mappings.iter().enumerate() {
        let at = format!("{path}.requestMappings[{i}]");
        let field = |name: &str| text(mapping, name).to_owned();
        let mut all = ["initContainers", "containers"]
            .iter()
            .flat_map(|which| list(spec, which));
        match all.find(|c| c["name"] == mapping["containerName"]) {
            Some(c) if c["resources"]["requests"].get(field("resourceName")).is_some() => {}
            Some(_) => {
                let detail = "must match the extended resource name of an entry in spec.initContainers.resources.requests \
                              or spec.containers.resources.requests";
                errors.push(FieldError::invalid(
                    format!("{at}.resourceName"),
                    field("resourceName"),
                    detail,
                ));
            }
            None => {
                let detail = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(FieldError::invalid(
                    format!("{at}.containerName"),
                    field("containerName"),
                    detail,
                ));
            }
        }
        by_rule(
            &field("requestName"),
            format!("{path}.requestName"),
            names::dns1123_label,
            errors,
        );
        let names = ["containerName", "resourceName", "requestName"];
        if !mapped.insert(names.map(|n| text(mapping, n))) {
            for name in names {
                errors.push(FieldError::duplicate(format!("{at}.{name}"), field(name)));
            }
        }
    }
    match text(extended, "resourceClaimName") {
        "" => errors.push(FieldError::required(format!("{path}.resourceClaimName"), "")),
        name => by_rule(
            name,
            format!("{path}.resourceClaimName"),
            names::dns1123_subdomain,
            errors,
        ),
    }
}

/// `validateContainerStatusUsers`.
fn users(which: &str, status: &Value, spec: &Value, errors: &mut Vec<FieldError>) {
    let windows = spec["os"]["name"] == "windows";
    for (i, container) in list(status, which).iter().enumerate() {
        let (linux, path) = (&container["user"]["linux"], format!("status.{which}[{i}].user.linux"));
        if !linux.is_object() {
            continue;
        }
        if windows {
            errors.push(FieldError::forbidden(path, "cannot be set for a windows pod"));
            continue;
        }
        within(linux, "uid", IDS, &path, errors);
        within(linux, "gid", IDS, &path, errors);
        for (j, group) in list(linux, "supplementalGroups").iter().enumerate() {
            if let Some(number) = group.as_i64().filter(|n| !(IDS.0..=IDS.1).contains(n)) {
                let detail = format!("must be between {} and {}, inclusive", IDS.0, IDS.1);
                errors.push(FieldError::invalid(
                    format!("{path}.supplementalGroups[{j}]"),
                    number,
                    detail,
                ));
            }
        }
    }
}

/// `validateContainerStatusAllocatedResourcesStatus`: the health of devices that containers have.
fn allocated(which: &str, of: &str, status: &Value, spec: &Value, errors: &mut Vec<FieldError>) {
    for (i, container) in list(status, which).iter().enumerate() {
        let own = list(spec, of).iter().find(|c| c["name"] == container["name"]);
        for (j, resource) in list(container, "allocatedResourcesStatus").iter().enumerate() {
            let path = format!("status.{which}[{i}].allocatedResourcesStatus[{j}]");
            let name = text(resource, "name");
            if let Some(detail) = own.and_then(|own| not_asked_for(name, own)) {
                errors.push(FieldError::invalid(format!("{path}.name"), name, detail));
            }
            let mut seen = BTreeSet::new();
            for (k, device) in list(resource, "resources").iter().enumerate() {
                health(device, &mut seen, &format!("{path}.resources[{k}]"), errors);
            }
        }
    }
}

/// Why a container has no resource of a name.
fn not_asked_for(name: &str, container: &Value) -> Option<&'static str> {
    let resources = &container["resources"];
    if !name.starts_with("claim:") {
        let asked = resources["requests"].get(name).is_some();
        return (!asked).then_some("must match one of the container's resource requests");
    }
    let asked = list(resources, "claims").iter().any(|c| match text(c, "request") {
        "" => name == format!("claim:{}", text(c, "name")),
        request => name == format!("claim:{}/{request}", text(c, "name")),
    });
    let detail = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or \
                  'claim:<claimName>' if request is empty";
    (!asked).then_some(detail)
}

fn health<'v>(device: &'v Value, seen: &mut BTreeSet<&'v str>, path: &str, errors: &mut Vec<FieldError>) {
    let valid = ["Healthy", "Unhealthy", "Unknown"];
    let value = text(device, "health");
    if !valid.contains(&value) {
        errors.push(FieldError::not_supported(format!("{path}.health"), value, &valid));
    }
    match device["message"].as_str() {
        Some("") => {
            let detail = "must be non-empty if specified";
            errors.push(FieldError::required(format!("{path}.message"), detail));
        }
        Some(message) if message.len() > 1024 => {
            errors.push(FieldError::too_long(format!("{path}.message"), 1024));
        }
        _ => {}
    }
    let id = text(device, "resourceID");
    if seen.contains(&id) {
        errors.push(FieldError::duplicate(format!("{path}.resourceID"), id));
    }
    seen.insert(id);
}

/// Addresses of one or two families.
fn addresses(all: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    let read: Vec<Option<IpAddr>> = all.iter().map(|a| a.parse().ok()).collect();
    for (i, address) in all.iter().enumerate().filter(|(i, _)| read[*i].is_none()) {
        errors.push(FieldError::invalid(format!("{path}[{i}]"), *address, NO_IP));
    }
    if all.len() < 2 {
        return;
    }
    let unread = read.iter().position(Option::is_none);
    if let Some(i) = unread {
        let detail = format!("failed to check for dual stack with error:invalid IP[{i}]: {}", all[i]);
        errors.push(FieldError::internal(path, detail));
    }
    let six = read.iter().flatten().filter(|a| a.is_ipv6()).count();
    if unread.is_some() || all.len() > 2 || six != 1 {
        let shown = all.iter().map(|a| Printed::internal("core.PodIP", &json!({"ip": a})));
        let shown = Printed::List(shown.collect()).compact();
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid_shown(path, &shown, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(spec: Value, was: Value, status: Value) -> Vec<String> {
        let mut errors = Vec::new();
        let (old, new) = (
            json!({"spec": spec, "status": was}),
            json!({"spec": spec, "status": status}),
        );
        pod(&old, &new, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_has_ended_runs_again_only_where_it_may() {
        let ended =
            |code: i64| json!({"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code}}}]});
        let runs = json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]});
        let rule = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}}]);
        for (spec, code, may) in [
            (
                json!({"restartPolicy": "Always", "containers": [{"name": "c"}]}),
                0,
                true,
            ),
            (
                json!({"restartPolicy": "Never", "containers": [{"name": "c"}]}),
                1,
                false,
            ),
            (
                json!({"restartPolicy": "OnFailure", "containers": [{"name": "c"}]}),
                1,
                true,
            ),
            (
                json!({"restartPolicy": "OnFailure", "containers": [{"name": "c"}]}),
                0,
                false,
            ),
            (
                json!({"restartPolicy": "Never", "containers": [{"name": "c", "restartPolicy": "Never", "restartPolicyRules": rule}]}),
                7,
                true,
            ),
            (json!({"restartPolicy": "Always", "containers": []}), 1, false),
        ] {
            let errors = told(spec.clone(), ended(code), runs.clone());
            assert_eq!(errors.is_empty(), may, "{spec} {code} {errors:?}");
        }
    }

    #[test]
    fn status_is_checked() {
        let spec = json!({"nodeName": "n", "containers": [{"name": "c", "resources": {"requests": {"a.b/c": 1}}}]});
        for (status, wanted) in [
            (json!({"conditions": [{"type": "Ready"}, {"type": "a.b/c"}]}), vec![]),
            (
                json!({"nominatedNodeName": "m"}),
                vec!["status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node"],
            ),
            (
                json!({"hostIP": "1.2.3.4", "hostIPs": [{"ip": "1.2.3.5"}]}),
                vec!["status.hostIPs[0].ip: Invalid value: \"1.2.3.5\": must be equal to `hostIP`"],
            ),
            (
                json!({"containerStatuses": [{"name": "c", "allocatedResourcesStatus": [{"name": "x.y/z"}, {"name": "a.b/c"}]}]}),
                vec![
                    "status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"x.y/z\": must match one of \
                     the container's resource requests",
                ],
            ),
        ] {
            assert_eq!(told(spec.clone(), json!({}), status), wanted);
        }
    }
}
