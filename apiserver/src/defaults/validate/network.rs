//! Validation of `networking.k8s.io` and of endpoints (`pkg/apis/{networking,discovery,core}/validation` in Kubernetes).

use super::port_number;
use crate::defaults::validate_parts::{
    by_rule, choice, cidr, ip, label_selector, list, named, needed, ordinary_ip, parse_cidr, prefix, repeated, text,
    texts,
};
use crate::defaults::validate_pod::port_or_name;
use crate::defaults::{immutable, names};
use crate::schema::FieldError;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What is wrong with a name.
type Rule = fn(&str) -> Vec<String>;

/// Most zones or nodes an endpoint may be for.
const MAX_HINTS: usize = 8;

pub(super) fn ingress(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    if list(spec, "rules").is_empty() && spec["defaultBackend"].is_null() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid("spec", Value::Null, detail));
    }
    if spec["defaultBackend"].is_object() {
        backend(&spec["defaultBackend"], "spec.defaultBackend", errors);
    }
    for (i, rule) in list(spec, "rules").iter().enumerate() {
        ingress_rule(rule, &format!("spec.rules[{i}]"), errors);
    }
    for (i, tls) in list(spec, "tls").iter().enumerate() {
        let path = format!("spec.tls[{i}]");
        for (j, host) in texts(tls, "hosts").into_iter().enumerate() {
            let rule = if host.contains('*') {
                names::wildcard_subdomain
            } else {
                names::dns1123_subdomain
            };
            by_rule(host, format!("{path}.hosts[{j}]"), rule, errors);
        }
        named(tls, "secretName", names::dns1123_subdomain, &path, errors);
    }
    if let Some(name) = spec["ingressClassName"].as_str() {
        by_rule(
            name,
            "spec.ingressClassName".to_owned(),
            names::dns1123_subdomain,
            errors,
        );
    }
}

fn ingress_rule(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (host, at) = (text(rule, "host"), format!("{path}.host"));
    if host.parse::<std::net::IpAddr>().is_ok() {
        let detail = "must be a DNS name, not an IP address";
        errors.push(FieldError::invalid(at.as_str(), host, detail));
    }
    if !host.is_empty() {
        let rule = if host.contains('*') {
            names::wildcard_subdomain
        } else {
            names::dns1123_subdomain
        };
        by_rule(host, at, rule, errors);
    }
    if !rule["http"].is_object() {
        return;
    }
    let path = format!("{path}.http.paths");
    let paths = list(&rule["http"], "paths");
    if paths.is_empty() {
        errors.push(FieldError::required(path.as_str(), ""));
    }
    for (i, entry) in paths.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let (kind, value, at) = (text(entry, "pathType"), text(entry, "path"), format!("{path}.path"));
        if entry["pathType"].is_null() {
            let detail = "pathType must be specified";
            errors.push(FieldError::required(format!("{path}.pathType"), detail));
            continue;
        }
        match kind {
            "Exact" | "Prefix" => {
                if !value.starts_with('/') {
                    errors.push(FieldError::invalid(at.as_str(), value, "must be an absolute path"));
                }
                if !value.is_empty() {
                    for part in ["//", "/./", "/../", "%2f", "%2F"] {
                        if value.contains(part) {
                            let detail = format!("must not contain '{part}'");
                            errors.push(FieldError::invalid(at.as_str(), value, detail));
                        }
                    }
                    for end in ["/..", "/."] {
                        if value.ends_with(end) {
                            let detail = format!("cannot end with '{end}'");
                            errors.push(FieldError::invalid(at.as_str(), value, detail));
                        }
                    }
                }
            }
            "ImplementationSpecific" => {
                if !value.is_empty() && !value.starts_with('/') {
                    errors.push(FieldError::invalid(at, value, "must be an absolute path"));
                }
            }
            other => errors.push(FieldError::not_supported(
                format!("{path}.pathType"),
                other,
                &["Exact", "ImplementationSpecific", "Prefix"],
            )),
        }
        backend(&entry["backend"], &format!("{path}.backend"), errors);
    }
}

/// `validateIngressBackend`.
fn backend(backend: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => {
            let detail = "cannot set both resource and service backends";
            errors.push(FieldError::invalid(path, "", detail));
        }
        (false, true) => {
            let at = format!("{path}.resource");
            if let Some(group) = resource["apiGroup"].as_str() {
                by_rule(group, format!("{at}.apiGroup"), names::dns1123_subdomain, errors);
            }
            for field in ["kind", "name"] {
                let value = text(resource, field);
                if needed(resource, field, &at, errors) {
                    by_rule(value, format!("{at}.{field}"), names::path_segment, errors);
                }
            }
        }
        (true, false) => {
            if needed(service, "name", &format!("{path}.service"), errors) {
                by_rule(
                    text(service, "name"),
                    format!("{path}.service.name"),
                    names::dns1123_label,
                    errors,
                );
            }
            let (name, number) = (
                text(&service["port"], "name"),
                service["port"]["number"].as_i64().unwrap_or(0),
            );
            if !name.is_empty() && number != 0 {
                let detail = "cannot set both port name & port number";
                errors.push(FieldError::invalid(path, "", detail));
            } else if !name.is_empty() {
                by_rule(name, format!("{path}.service.port.name"), names::port_name, errors);
            } else if number == 0 {
                errors.push(FieldError::required(path, "port name or number is required"));
            } else {
                port_number(number, &format!("{path}.service.port.number"), errors);
            }
        }
        (false, false) => {
            let detail = "resource or service backend is required";
            errors.push(FieldError::invalid(path, "", detail));
        }
    }
}

/// Most bytes of the name of a controller of ingresses.
const MAX_CONTROLLER: usize = 250;

/// A path behind a domain (`IsDomainPrefixedPath` of `apimachinery/pkg/util/validation`).
pub(in crate::defaults) fn prefixed_path(given: &str, at: &str, errors: &mut Vec<FieldError>) {
    let (domain, path) = given.split_once('/').unwrap_or_default();
    if domain.is_empty() || path.is_empty() {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.push(FieldError::invalid(at, given, detail));
        return;
    }
    by_rule(domain, at.to_owned(), names::dns1123_subdomain, errors);
    if !path
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c))
    {
        let detail = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.push(FieldError::invalid(at, path, detail));
    }
}

pub(super) fn ingress_class(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let controller = text(spec, "controller");
    if let Some(old) = old {
        let controller = [("spec.controller", "spec.controller")];
        immutable::places("networking.IngressClass", &controller, new, old, errors);
    }
    if controller.len() > MAX_CONTROLLER {
        errors.push(FieldError::too_long("spec.controller", MAX_CONTROLLER as u64));
    }
    if needed(spec, "controller", "spec", errors) {
        prefixed_path(controller, "spec.controller", errors);
    }
    let parameters = &spec["parameters"];
    if !parameters.is_object() {
        return;
    }
    let path = "spec.parameters";
    if let Some(group) = parameters["apiGroup"].as_str() {
        by_rule(group, format!("{path}.apiGroup"), names::dns1123_subdomain, errors);
    }
    for field in ["kind", "name"] {
        if needed(parameters, field, path, errors) {
            let value = text(parameters, field);
            by_rule(value, format!("{path}.{field}"), names::path_segment, errors);
        }
    }
    let namespace = text(parameters, "namespace");
    match text(parameters, "scope") {
        _ if parameters["scope"].is_null() => errors.push(FieldError::required("spec.parameters.scope", "")),
        "Namespace" if parameters["namespace"].is_null() => {
            let detail = "`parameters.scope` is set to 'Namespace'";
            errors.push(FieldError::required("spec.parameters.namespace", detail));
        }
        "Namespace" => by_rule(
            namespace,
            "spec.parameters.namespace".to_owned(),
            names::dns1123_label,
            errors,
        ),
        "Cluster" => {
            if !parameters["namespace"].is_null() {
                let detail = "`parameters.scope` is set to 'Cluster'";
                errors.push(FieldError::forbidden("spec.parameters.namespace", detail));
            }
        }
        other => errors.push(FieldError::not_supported(
            "spec.parameters.scope",
            other,
            &["Cluster", "Namespace"],
        )),
    }
}

pub(super) fn network_policy(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    label_selector(&spec["podSelector"], "spec.podSelector", errors);
    for (way, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in list(spec, way).iter().enumerate() {
            let path = format!("spec.{way}[{i}]");
            for (j, port) in list(rule, "ports").iter().enumerate() {
                policy_port(port, &format!("{path}.ports[{j}]"), errors);
            }
            for (j, peer) in list(rule, peers).iter().enumerate() {
                policy_peer(peer, &format!("{path}.{peers}[{j}]"), errors);
            }
        }
    }
    let types = texts(spec, "policyTypes");
    if types.len() > 2 {
        let detail = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid("spec.policyTypes", json!(types), detail));
        return;
    }
    let valid = ["Ingress", "Egress"];
    for (i, kind) in types.into_iter().enumerate().filter(|(_, k)| !valid.contains(k)) {
        errors.push(FieldError::not_supported(
            format!("spec.policyTypes[{i}]"),
            kind,
            &valid,
        ));
    }
}

fn policy_port(port: &Value, path: &str, errors: &mut Vec<FieldError>) {
    choice(port, "protocol", &["TCP", "UDP", "SCTP"], path, errors);
    let (number, end) = (&port["port"], port["endPort"].as_i64());
    let at = format!("{path}.endPort");
    if number.is_null() {
        if let Some(end) = end {
            let detail = "may not be specified when `port` is not specified";
            errors.push(FieldError::invalid(at, end, detail));
        }
        return;
    }
    // The end of a range that begins with a name is told before the name.
    if let (None, Some(end)) = (number.as_i64(), end) {
        let detail = "may not be specified when `port` is non-numeric";
        errors.push(FieldError::invalid(at.as_str(), end, detail));
    }
    port_or_name(number, &format!("{path}.port"), errors);
    if let (Some(start), Some(end)) = (number.as_i64(), end) {
        if end < start {
            let detail = "must be greater than or equal to `port`";
            errors.push(FieldError::invalid(at.as_str(), start, detail));
        }
        port_number(end, &at, errors);
    }
}

fn policy_peer(peer: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut count = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if peer[field].is_object() {
            count += 1;
            label_selector(&peer[field], &format!("{path}.{field}"), errors);
        }
    }
    let block = &peer["ipBlock"];
    if block.is_object() {
        let at = format!("{path}.ipBlock");
        let whole = text(block, "cidr");
        if needed(block, "cidr", &at, errors) {
            cidr(whole, format!("{at}.cidr"), errors);
        }
        if let Some((base, length)) = parse_cidr(whole) {
            for (i, part) in texts(block, "except").into_iter().enumerate() {
                let at = format!("{at}.except[{i}]");
                cidr(part, at.clone(), errors);
                let inside = parse_cidr(part).is_none_or(|(address, longer)| {
                    longer > length
                        && address.is_ipv4() == base.is_ipv4()
                        && prefix(address, length) == prefix(base, length)
                });
                if !inside {
                    let detail = "must be a strict subset of `cidr`";
                    errors.push(FieldError::invalid(at, part, detail));
                }
            }
        }
        if count > 0 {
            let detail = "may not specify both ipBlock and another peer";
            errors.push(FieldError::forbidden(path, detail));
        }
        count += 1;
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a peer"));
    }
}

pub(super) fn service_cidr(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    match old {
        Some(old) => ranges_changed(new, old, errors),
        None => ranges(new, errors),
    }
}

/// `validateServiceCIDRSpec`.
fn ranges(new: &Value, errors: &mut Vec<FieldError>) {
    let ranges = texts(&new["spec"], "cidrs");
    if ranges.is_empty() {
        errors.push(FieldError::required("spec.cidrs", "at least one CIDR required"));
    }
    let fours = ranges.iter().filter(|r| !r.contains(':')).count();
    if ranges.len() > 2 || fours > 1 || ranges.len() - fours > 1 {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(FieldError::invalid("spec.cidrs", json!(ranges), detail));
        return;
    }
    for (i, range) in ranges.into_iter().enumerate() {
        cidr(range, format!("spec.cidrs[{i}]"), errors);
    }
}

/// Ranges may become of two families, and are else as they were.
fn ranges_changed(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let all = &new["spec"]["cidrs"];
    let (now, was) = (list_of(all), list_of(&old["spec"]["cidrs"]));
    if now == was {
        return;
    }
    let path = "spec.cidrs";
    if was.len() == 1 && now.len() == 2 {
        if now[0] != was[0] {
            errors.push(immutable::changed(format!("{path}[0]"), now[0].clone()));
        }
        ranges(new, errors);
    } else if now.len() != was.len() {
        errors.push(immutable::changed(path, all.clone()));
    } else {
        for (i, (one, _)) in now.iter().zip(was).enumerate().filter(|(_, (one, other))| one != other) {
            errors.push(immutable::changed(format!("{path}[{i}]"), (*one).clone()));
        }
    }
}

fn list_of(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn endpoints(new: &Value, errors: &mut Vec<FieldError>) {
    for (i, subset) in list(new, "subsets").iter().enumerate() {
        let path = format!("subsets[{i}]");
        if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
            let detail = "must specify `addresses` or `notReadyAddresses`";
            errors.push(FieldError::required(path.as_str(), detail));
        }
        for which in ["addresses", "notReadyAddresses"] {
            for (j, address) in list(subset, which).iter().enumerate() {
                let path = format!("{path}.{which}[{j}]");
                let (ip, at) = (text(address, "ip"), format!("{path}.ip"));
                ordinary_ip(ip, at.clone(), errors);
                if ip.parse::<std::net::IpAddr>().is_err() {
                    // Two checks find it.
                    errors.push(FieldError::invalid(at, ip, "must be a valid IP address"));
                }
                named(address, "hostname", names::dns1123_label, &path, errors);
                if let Some(name) = address["nodeName"].as_str() {
                    by_rule(name, format!("{path}.nodeName"), names::dns1123_subdomain, errors);
                }
            }
        }
        let ports = list(subset, "ports");
        for (j, port) in ports.iter().enumerate() {
            let path = format!("{path}.ports[{j}]");
            let name = text(port, "name");
            if name.is_empty() && ports.len() > 1 {
                errors.push(FieldError::required(format!("{path}.name"), ""));
            } else if !name.is_empty() {
                by_rule(name, format!("{path}.name"), names::dns1123_label, errors);
            }
            port_number(
                port["port"].as_i64().unwrap_or_default(),
                &format!("{path}.port"),
                errors,
            );
            super::one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
            named(port, "appProtocol", names::qualified_name, &path, errors);
        }
    }
}

pub(super) fn endpoint_slice(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let kind = text(new, "addressType");
    let before = errors.len();
    match kind {
        "" => errors.push(FieldError::required("addressType", "")),
        "FQDN" | "IPv4" | "IPv6" => {}
        other => errors.push(FieldError::not_supported(
            "addressType",
            other,
            &["FQDN", "IPv4", "IPv6"],
        )),
    }
    let known = errors.len() == before;
    let mut seen = BTreeSet::new();
    let mut of_ports = Vec::new();
    for (i, port) in list(new, "ports").iter().enumerate() {
        let path = format!("ports[{i}]");
        let name = text(port, "name");
        if !name.is_empty() {
            by_rule(name, format!("{path}.name"), names::dns1123_label, &mut of_ports);
        }
        if seen.contains(&name) {
            of_ports.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        seen.insert(name);
        choice(port, "protocol", &["SCTP", "TCP", "UDP"], &path, &mut of_ports);
        if let Some(protocol) = port["appProtocol"].as_str() {
            by_rule(
                protocol,
                format!("{path}.appProtocol"),
                names::qualified_name,
                &mut of_ports,
            );
        }
    }
    let mut of_endpoints = Vec::new();
    for (i, endpoint) in list(new, "endpoints").iter().enumerate() {
        let path = format!("endpoints[{i}]");
        let addresses = texts(endpoint, "addresses");
        if addresses.is_empty() {
            let detail = "must contain at least 1 address";
            of_endpoints.push(FieldError::required(format!("{path}.addresses"), detail));
        }
        for (j, address) in addresses.into_iter().enumerate() {
            let at = format!("{path}.addresses[{j}]");
            match kind {
                "FQDN" => domain(address, &at, &mut of_endpoints),
                "IPv4" | "IPv6" => slice_address(address, kind, &path, at, &mut of_endpoints),
                _ => {}
            }
        }
        // What was said of the topology is dropped before.
        for (field, rule) in [
            ("nodeName", names::dns1123_subdomain as Rule),
            ("hostname", names::dns1123_label),
        ] {
            if let Some(name) = endpoint[field].as_str() {
                by_rule(name, format!("{path}.{field}"), rule, &mut of_endpoints);
            }
        }
        hints(&endpoint["hints"], &format!("{path}.hints"), &mut of_endpoints);
    }
    // Endpoints that are as they were are let be.
    if old.is_some_and(|old| old["endpoints"] == new["endpoints"]) {
        of_endpoints.clear();
    }
    // In the order they are told in.
    if known {
        errors.append(&mut of_ports);
        errors.append(&mut of_endpoints);
    }
    if let Some(old) = old {
        let kind = [("addressType", "addressType")];
        immutable::places("discovery.EndpointSlice", &kind, new, old, errors);
    }
}

fn slice_address(address: &str, kind: &str, path: &str, at: String, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    ip(address, at.clone(), errors);
    if errors.len() > before {
        return;
    }
    if (kind == "IPv6") != address.contains(':') {
        let article = if kind == "IPv4" { "an IPv4" } else { "an IPv6" };
        errors.push(FieldError::invalid(
            format!("{path}.addresses"),
            address,
            format!("must be {article} address"),
        ));
    } else {
        ordinary_ip(address, at, errors);
    }
}

/// `validateHints`: the zones and nodes an endpoint is for.
fn hints(hints: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let fields: [(&str, Rule); 2] = [("forZones", names::label_value), ("forNodes", names::dns1123_subdomain)];
    for (field, rule) in fields {
        let (all, path) = (list(hints, field), format!("{path}.{field}"));
        if all.len() > MAX_HINTS {
            errors.push(FieldError::too_many(path, all.len() as u64, MAX_HINTS as u64));
            return;
        }
        let names = all.iter().map(|hint| text(hint, "name"));
        for ((i, name), again) in names.clone().enumerate().zip(repeated(names)) {
            let at = format!("{path}[{i}].name");
            if again {
                errors.push(FieldError::duplicate(at.as_str(), name));
            }
            by_rule(name, at, rule, errors);
        }
    }
}

/// `IsFullyQualifiedDomainName`.
fn domain(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(path, name, wrong.join(",")));
        return;
    }
    if !name.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, name, detail));
        return;
    }
    for label in name.split('.') {
        let wrong = names::dns1123_label(label);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(path, label, wrong.join(",")));
        }
    }
}
