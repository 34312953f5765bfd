//! Validation of Services (`pkg/apis/core/validation` in Kubernetes).

use super::{labels, one_of, port_number, text};
use crate::defaults::validate_parts::{NO_IP, by_rule, choice, cidr, ip, list, ordinary_ip, repeated, texts};
use crate::defaults::{names, validate_pod};
use crate::schema::FieldError;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What a load balancer's fields are for.
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";
/// Where ranges of sources were told before there was a field for them.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// `ports.KubeletPort`.
const KUBELET_PORT: i64 = 10_250;

pub(super) fn service(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    if let Some(old) = old {
        changes(spec, &old["spec"], errors);
    }
    by_type(spec, errors);
    let ports = list(spec, "ports");
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let name = text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                errors.push(FieldError::required(format!("{path}.name"), ""));
            }
        } else {
            for detail in names::dns1123_label(name) {
                errors.push(FieldError::invalid(format!("{path}.name"), name, detail));
            }
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
            seen.insert(name);
        }
        port_number(
            port["port"].as_i64().unwrap_or_default(),
            &format!("{path}.port"),
            errors,
        );
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
        let target = match &port["targetPort"] {
            Value::Null => &Value::from(0),
            target => target,
        };
        validate_pod::port_or_name(target, &format!("{path}.targetPort"), errors);
        if let Some(protocol) = port["appProtocol"].as_str() {
            by_rule(protocol, format!("{path}.appProtocol"), names::qualified_name, errors);
        }
    }
    if !spec["selector"].is_null() {
        labels(&spec["selector"], "spec.selector", errors);
    }
    one_of(spec, "sessionAffinity", &["ClientIP", "None"], "spec", errors);
    let timeout = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    if spec["sessionAffinity"] == "ClientIP"
        && let Some(seconds) = timeout.as_i64().filter(|s| !(1..=86_400).contains(s))
    {
        let detail = "must be greater than 0 and less than 86400";
        let path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        errors.push(FieldError::invalid(path, seconds, detail));
    }
    addresses(spec, errors);
    for (i, address) in texts(spec, "externalIPs").into_iter().enumerate() {
        ordinary_ip(address, format!("spec.externalIPs[{i}]"), errors);
    }
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of(spec, "type", &types, "spec", errors);
    repeated_ports(spec, errors);
    source_ranges(new, errors);
    if !balanced(spec) && !spec["allocateLoadBalancerNodePorts"].is_null() {
        let path = "spec.allocateLoadBalancerNodePorts";
        errors.push(FieldError::forbidden(path, ONLY_BALANCED));
    }
    balancer_class(spec, errors);
    traffic(spec, errors);
}

fn balanced(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer"
}

/// What a type needs, and what it rules out.
fn by_type(spec: &Value, errors: &mut Vec<FieldError>) {
    let headless = spec["clusterIP"] == "None";
    if list(spec, "ports").is_empty() && !headless && spec["type"] != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    match text(spec, "type") {
        kind @ ("LoadBalancer" | "NodePort") => {
            for (i, port) in list(spec, "ports").iter().enumerate() {
                // Clouds that open too much would show the node itself.
                if balanced(spec) && port["port"] == KUBELET_PORT {
                    let detail = format!("may not expose port {KUBELET_PORT} externally since it is used by kubelet");
                    errors.push(FieldError::invalid(format!("spec.ports[{i}]"), KUBELET_PORT, detail));
                }
            }
            if headless {
                let detail = format!("may not be set to 'None' for {kind} services");
                errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", detail));
            }
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let empty = spec[field].as_array().is_some_and(Vec::is_empty);
                if !spec[field].is_null() && !empty {
                    let detail = "may not be set for ExternalName services";
                    errors.push(FieldError::forbidden(format!("spec.{field}"), detail));
                }
            }
            let name = text(spec, "externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                errors.push(FieldError::required("spec.externalName", ""));
            } else {
                by_rule(name, "spec.externalName".to_owned(), names::dns1123_subdomain, errors);
            }
        }
        _ => {}
    }
}

/// What may not be another once it is there.
fn changes(spec: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    // The address may not change while the service keeps needing one.
    if spec["type"] != "ExternalName"
        && old["type"] != "ExternalName"
        && !text(old, "clusterIP").is_empty()
        && old["clusterIP"] != spec["clusterIP"]
    {
        let detail = "may not change once set";
        errors.push(FieldError::invalid(
            "spec.clusterIPs[0]",
            spec["clusterIPs"].clone(),
            detail,
        ));
    }
    if balanced(spec) && balanced(old) && spec["loadBalancerClass"] != old["loadBalancerClass"] {
        let value = spec["loadBalancerClass"].clone();
        errors.push(FieldError::invalid(
            "spec.loadBalancerClass",
            value,
            "may not change once set",
        ));
    }
    balancer_class(spec, errors);
    let checked = |spec: &Value| balanced(spec) && spec["externalTrafficPolicy"] == "Local";
    if checked(spec) && checked(old) && spec["healthCheckNodePort"] != old["healthCheckNodePort"] {
        errors.push(FieldError::forbidden("spec.healthCheckNodePort", "field is immutable"));
    }
}

/// `ValidateServiceClusterIPsRelatedFields`; asked before addresses are given out, too.
pub(crate) fn addresses(spec: &Value, errors: &mut Vec<FieldError>) {
    if spec["type"] == "ExternalName" {
        return;
    }
    let given = texts(spec, "clusterIPs");
    let whole = || spec["clusterIPs"].clone();
    match text(spec, "clusterIP") {
        "" if !given.is_empty() => {
            let detail = "must be empty when `clusterIP` is not specified";
            errors.push(FieldError::invalid("spec.clusterIPs", whole(), detail));
        }
        first if given.first().is_some_and(|g| *g != first) => {
            let detail = "first value must match `clusterIP`";
            errors.push(FieldError::invalid("spec.clusterIPs", whole(), detail));
        }
        _ => {}
    }
    let families = texts(spec, "ipFamilies");
    for ((i, family), again) in families.iter().enumerate().zip(repeated(&families)) {
        let path = format!("spec.ipFamilies[{i}]");
        if !["IPv4", "IPv6"].contains(family) {
            errors.push(FieldError::not_supported(path.as_str(), *family, &["IPv4", "IPv6"]));
        }
        if again {
            errors.push(FieldError::duplicate(path, *family));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    choice(spec, "ipFamilyPolicy", &policies, "spec", errors);
    let mut read = Vec::new();
    for (i, address) in given.iter().enumerate() {
        if i == 0 && *address == "None" {
            if given.len() > 1 {
                let detail = "'None' must be the first and only value";
                errors.push(FieldError::invalid("spec.clusterIPs", whole(), detail));
            }
            continue;
        }
        match address.parse::<IpAddr>() {
            Ok(a) => read.push(a),
            Err(_) => errors.push(FieldError::invalid(format!("spec.clusterIPs[{i}]"), *address, NO_IP)),
        }
    }
    if given.len() > 2 {
        let detail = "may only hold up to 2 values";
        errors.push(FieldError::invalid("spec.clusterIPs", whole(), detail));
    }
    if read.len() != given.len() {
        return;
    }
    if read.len() == 2 && read[0].is_ipv4() == read[1].is_ipv4() {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid("spec.clusterIPs", whole(), detail));
    }
    for (i, (address, family)) in read.iter().zip(&families).enumerate() {
        if ["IPv4", "IPv6"].contains(family) && address.is_ipv4() != (*family == "IPv4") {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.push(FieldError::invalid(format!("spec.clusterIPs[{i}]"), given[i], detail));
        }
    }
}

/// Ports of nodes and ports that are there twice.
fn repeated_ports(spec: &Value, errors: &mut Vec<FieldError>) {
    let ports = list(spec, "ports");
    let node_port = |port: &Value| port["nodePort"].as_i64().filter(|n| *n != 0);
    for (i, port) in ports.iter().enumerate() {
        if spec["type"] == "ClusterIP" && node_port(port).is_some() {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(format!("spec.ports[{i}].nodePort"), detail));
        }
    }
    let again = |field: &'static str| repeated(ports.iter().map(move |p| (p[field].as_i64(), text(p, "protocol"))));
    for (i, (port, again)) in ports.iter().zip(again("nodePort")).enumerate() {
        if let Some(number) = node_port(port).filter(|_| again) {
            errors.push(FieldError::duplicate(format!("spec.ports[{i}].nodePort"), number));
        }
    }
    for (i, (port, _)) in ports
        .iter()
        .zip(again("port"))
        .enumerate()
        .filter(|(_, (_, again))| *again)
    {
        let key = json!({"protocol": port["protocol"], "port": port["port"]});
        let path = format!("spec.ports[{i}]");
        errors.push(FieldError::duplicate_internal(path, "core.ServicePort", &key));
    }
}

/// Who may come in by a load balancer.
fn source_ranges(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let mut path = "spec.LoadBalancerSourceRanges".to_owned();
    let given = texts(spec, "loadBalancerSourceRanges");
    let noted = new["metadata"]["annotations"][SOURCE_RANGES].as_str();
    if given.is_empty() {
        if noted.is_none() {
            return;
        }
        path = format!("metadata.annotations[{SOURCE_RANGES}]");
    }
    if !balanced(spec) {
        errors.push(FieldError::forbidden(path.as_str(), ONLY_BALANCED));
    }
    for (i, range) in given.iter().enumerate() {
        cidr(range.trim(), format!("{path}[{i}]"), errors);
    }
    if given.is_empty() {
        let noted = noted.unwrap_or_default().trim();
        for range in noted.split(',').filter(|_| !noted.is_empty()) {
            cidr(range.trim(), path.clone(), errors);
        }
    }
}

fn balancer_class(spec: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.loadBalancerClass";
    match spec["loadBalancerClass"].as_str() {
        Some(class) if balanced(spec) => by_rule(class, path.to_owned(), names::qualified_name, errors),
        Some(_) => errors.push(FieldError::forbidden(path, ONLY_BALANCED)),
        None => {}
    }
}

/// How traffic from outside and inside is spread.
fn traffic(spec: &Value, errors: &mut Vec<FieldError>) {
    let policies = ["Cluster", "Local"];
    let external = text(spec, "externalTrafficPolicy");
    let reachable = match text(spec, "type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !list(spec, "externalIPs").is_empty(),
        _ => false,
    };
    if reachable {
        one_of(spec, "externalTrafficPolicy", &policies, "spec", errors);
    } else if !external.is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid("spec.externalTrafficPolicy", external, detail));
    }
    let path = "spec.healthCheckNodePort";
    match spec["healthCheckNodePort"].as_i64().filter(|p| *p != 0) {
        Some(port) if balanced(spec) && external == "Local" => port_number(port, path, errors),
        Some(port) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(path, port, detail));
        }
        None => {}
    }
    choice(spec, "internalTrafficPolicy", &policies, "spec", errors);
    let near = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    choice(spec, "trafficDistribution", &near, "spec", errors);
}

/// `ValidateLoadBalancerStatus`.
pub(super) fn balancer_status(new: &Value, errors: &mut Vec<FieldError>) {
    let path = "status.loadBalancer.ingress";
    let ingress = list(&new["status"]["loadBalancer"], "ingress");
    if !balanced(&new["spec"]) && !ingress.is_empty() {
        let detail = "may only be used when `spec.type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(path, detail));
        return;
    }
    for (i, point) in ingress.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let (address, host) = (text(point, "ip"), text(point, "hostname"));
        if !address.is_empty() {
            ip(address, format!("{path}.ip"), errors);
            if point["ipMode"].is_null() {
                let detail = "must be specified when `ip` is set";
                errors.push(FieldError::required(format!("{path}.ipMode"), detail));
            }
            choice(point, "ipMode", &["Proxy", "VIP"], &path, errors);
        } else if !point["ipMode"].is_null() {
            let detail = "may not be specified when `ip` is not set";
            errors.push(FieldError::forbidden(format!("{path}.ipMode"), detail));
        }
        if !host.is_empty() {
            by_rule(host, format!("{path}.hostname"), names::dns1123_subdomain, errors);
            if host.parse::<IpAddr>().is_ok() {
                let detail = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(format!("{path}.hostname"), host, detail));
            }
        }
    }
}
