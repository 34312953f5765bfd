//! Validation of Services (`pkg/apis/core/validation` in Kubernetes).

use super::{labels, one_of, port_number, text};
use crate::defaults::{names, validate_pod};
use crate::schema::FieldError;
use serde_json::Value;

pub(super) fn service(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let headless = spec["clusterIP"] == "None";
    let external_name = spec["type"] == "ExternalName";
    let ports: &[Value] = spec["ports"].as_array().map_or(&[], Vec::as_slice);
    if ports.is_empty() && !headless && !external_name {
        errors.push(FieldError::required("spec.ports", ""));
    }
    one_of(
        spec,
        "type",
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        "spec",
        errors,
    );
    one_of(spec, "sessionAffinity", &["ClientIP", "None"], "spec", errors);
    if external_name {
        let name = text(spec, "externalName");
        if name.is_empty() {
            errors.push(FieldError::required("spec.externalName", ""));
        } else if let Some(detail) = names::dns1123_subdomain(name.strip_suffix('.').unwrap_or(name)) {
            errors.push(FieldError::invalid("spec.externalName", name, detail));
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let name = text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                errors.push(FieldError::required(format!("{path}.name"), ""));
            }
        } else {
            if let Some(detail) = names::dns1123_label(name) {
                errors.push(FieldError::invalid(format!("{path}.name"), name, detail));
            }
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
            seen.push(name);
        }
        port_number(
            port["port"].as_i64().unwrap_or_default(),
            &format!("{path}.port"),
            errors,
        );
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
        validate_pod::port_or_name(&port["targetPort"], &format!("{path}.targetPort"), errors);
        if (0..i).any(|j| ports[j]["port"] == port["port"] && ports[j]["protocol"] == port["protocol"]) {
            let value = serde_json::json!({"port": port["port"], "protocol": port["protocol"]});
            errors.push(FieldError::duplicate(path, value));
        }
    }
    if !spec["selector"].is_null() {
        labels(&spec["selector"], "spec.selector", errors);
    }
    if let Some(ip) = spec["clusterIP"].as_str().filter(|ip| !ip.is_empty() && *ip != "None")
        && ip.parse::<std::net::IpAddr>().is_err()
    {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid("spec.clusterIPs[0]", ip, detail));
    }
    // The address may not change while the service keeps needing one.
    if let Some(old) = old
        && spec["type"] != "ExternalName"
        && old["spec"]["type"] != "ExternalName"
        && !text(&old["spec"], "clusterIP").is_empty()
        && old["spec"]["clusterIP"] != spec["clusterIP"]
    {
        let value = spec["clusterIPs"].clone();
        errors.push(FieldError::invalid(
            "spec.clusterIPs[0]",
            value,
            "may not change once set",
        ));
    }
}
