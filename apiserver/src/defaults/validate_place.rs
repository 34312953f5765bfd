//! Validation of where a pod may run and how it finds others: affinity, spread, names, DNS
//! (`pkg/apis/core/validation/validation.go` in Kubernetes).

use super::names;
use super::validate_parts::{by_rule, choice, ip, label_selector, list, text, texts};
use crate::schema::FieldError;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// `validateAffinity`.
pub(super) fn affinity(affinity: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let nodes = &affinity["nodeAffinity"];
    if nodes[required].is_object() {
        node_selector(&nodes[required], &format!("{path}.nodeAffinity.{required}"), errors);
    }
    for (i, term) in list(nodes, preferred).iter().enumerate() {
        let path = format!("{path}.nodeAffinity.{preferred}[{i}]");
        weight(term, &path, errors);
        node_term(&term["preference"], false, &format!("{path}.preference"), errors);
    }
    for which in ["podAffinity", "podAntiAffinity"] {
        for (i, term) in list(&affinity[which], required).iter().enumerate() {
            pod_term(term, &format!("{path}.{which}.{required}[{i}]"), errors);
        }
        for (i, term) in list(&affinity[which], preferred).iter().enumerate() {
            let path = format!("{path}.{which}.{preferred}[{i}]");
            weight(term, &path, errors);
            pod_term(&term["podAffinityTerm"], &format!("{path}.podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let weight = term["weight"].as_i64().unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(
            format!("{path}.weight"),
            weight,
            "must be in the range 1-100",
        ));
    }
}

/// `ValidateNodeSelector`.
pub(super) fn node_selector(selector: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let terms = list(selector, "nodeSelectorTerms");
    let path = format!("{path}.nodeSelectorTerms");
    if terms.is_empty() {
        let detail = "must have at least one node selector term";
        errors.push(FieldError::required(path.as_str(), detail));
    }
    for (i, term) in terms.iter().enumerate() {
        node_term(term, true, &format!("{path}[{i}]"), errors);
    }
}

/// A term, `required` or preferred: what no label can be is preferred in vain, and warned of, but not refused.
fn node_term(term: &Value, required: bool, path: &str, errors: &mut Vec<FieldError>) {
    for (i, wanted) in list(term, "matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        let (values, at) = (list(wanted, "values"), format!("{path}.values"));
        match text(wanted, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(at, detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(at, detail));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(FieldError::required(at, detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(format!("{path}.operator"), other, detail));
            }
        }
        by_rule(
            text(wanted, "key"),
            format!("{path}.key"),
            names::qualified_name,
            errors,
        );
        for (j, value) in texts(wanted, "values").into_iter().enumerate().filter(|_| required) {
            by_rule(value, format!("{path}.values[{j}]"), names::label_value, errors);
        }
    }
    for (i, wanted) in list(term, "matchFields").iter().enumerate() {
        let path = format!("{path}.matchFields[{i}]");
        match text(wanted, "operator") {
            "In" | "NotIn" => {
                if list(wanted, "values").len() != 1 {
                    let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    errors.push(FieldError::required(format!("{path}.values"), detail));
                }
            }
            other => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(format!("{path}.operator"), other, detail));
            }
        }
        match text(wanted, "key") {
            "metadata.name" => {
                for (j, name) in texts(wanted, "values").into_iter().enumerate() {
                    by_rule(name, format!("{path}.values[{j}]"), names::dns1123_subdomain, errors);
                }
            }
            other => {
                let detail = "not a valid field selector key";
                errors.push(FieldError::invalid(format!("{path}.key"), other, detail));
            }
        }
    }
}

/// `validatePodAffinityTerm`.
fn pod_term(term: &Value, path: &str, errors: &mut Vec<FieldError>) {
    label_selector(&term["labelSelector"], &format!("{path}.labelSelector"), errors);
    label_selector(&term["namespaceSelector"], &format!("{path}.namespaceSelector"), errors);
    for name in texts(term, "namespaces") {
        by_rule(name, format!("{path}.namespace"), names::dns1123_label, errors);
    }
    let (same, other) = (texts(term, "matchLabelKeys"), texts(term, "mismatchLabelKeys"));
    for (keys, field) in [(&same, "matchLabelKeys"), (&other, "mismatchLabelKeys")] {
        if !keys.is_empty() && !term["labelSelector"].is_object() {
            let detail = "must not be specified when labelSelector is not set";
            errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
            continue;
        }
        for (i, key) in keys.iter().enumerate() {
            by_rule(key, format!("{path}.{field}[{i}]"), names::qualified_name, errors);
        }
    }
    for (i, key) in same.iter().enumerate() {
        if other.contains(key) {
            let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.push(FieldError::invalid(format!("{path}.matchLabelKeys[{i}]"), *key, detail));
        }
    }
    let (key, at) = (text(term, "topologyKey"), format!("{path}.topologyKey"));
    if key.is_empty() {
        errors.push(FieldError::required(at.as_str(), "can not be empty"));
        // All that is wrong with no name.
        errors.push(FieldError::invalid(at.as_str(), "", "name part must be non-empty"));
        errors.push(FieldError::invalid(at, "", names::bad_name_part()));
    } else {
        by_rule(key, at, names::qualified_name, errors);
    }
}

/// `validateTopologySpreadConstraints`.
pub(super) fn spread(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let all = list(spec, "topologySpreadConstraints");
    for (i, constraint) in all.iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{i}]");
        let skew = constraint["maxSkew"].as_i64().unwrap_or_default();
        if skew <= 0 {
            let detail = "must be greater than zero";
            errors.push(FieldError::invalid(format!("{path}.maxSkew"), skew, detail));
        }
        let (key, action) = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
        if key.is_empty() {
            errors.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty"));
        }
        let valid = ["DoNotSchedule", "ScheduleAnyway"];
        if !valid.contains(&action) {
            errors.push(FieldError::not_supported(
                format!("{path}.whenUnsatisfiable"),
                action,
                &valid,
            ));
        }
        let twice = |c: &Value| text(c, "topologyKey") == key && text(c, "whenUnsatisfiable") == action;
        if all[i + 1..].iter().any(twice) {
            errors.push(FieldError::duplicate(
                format!("{path}.{{topologyKey, whenUnsatisfiable}}"),
                format!("{{{key}, {action}}}"),
            ));
        }
        if let Some(least) = constraint["minDomains"].as_i64() {
            let at = format!("{path}.minDomains");
            if least <= 0 {
                errors.push(FieldError::invalid(at.as_str(), least, "must be greater than zero"));
            }
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(FieldError::invalid(at, least, detail));
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            choice(constraint, policy, &["Honor", "Ignore"], &path, errors);
        }
        let keys = texts(constraint, "matchLabelKeys");
        if !keys.is_empty() && constraint["labelSelector"].is_null() {
            let detail = "must not be specified when labelSelector is not set";
            errors.push(FieldError::forbidden(format!("{path}.matchLabelKeys"), detail));
        } else {
            for (j, key) in keys.into_iter().enumerate() {
                by_rule(
                    key,
                    format!("{path}.matchLabelKeys[{j}]"),
                    names::qualified_name,
                    errors,
                );
            }
        }
        label_selector(&constraint["labelSelector"], &format!("{path}.labelSelector"), errors);
    }
}

/// `validatePodDNSConfig`.
pub(super) fn dns(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let config = &spec["dnsConfig"];
    let path = format!("{path}.dnsConfig");
    let servers = texts(config, "nameservers");
    if text(spec, "dnsPolicy") == "None" {
        if !config.is_object() {
            let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(FieldError::required(path, detail));
            return;
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(format!("{path}.nameservers"), detail));
            return;
        }
    }
    if servers.len() > 3 {
        let detail = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(
            format!("{path}.nameservers"),
            json!(servers),
            detail,
        ));
    }
    for (i, server) in servers.into_iter().enumerate() {
        ip(server, format!("{path}.nameservers[{i}]"), errors);
    }
    for (i, domain) in texts(config, "searches").into_iter().enumerate() {
        // The root by itself is one.
        if domain != "." {
            let name = domain.strip_suffix('.').unwrap_or(domain);
            by_rule_shown(name, format!("{path}.searches[{i}]"), errors);
        }
    }
    for (i, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            let detail = "must not be empty";
            errors.push(FieldError::required(format!("{path}.options[{i}]"), detail));
        }
    }
}

/// A domain to search, where an underscore may stand.
fn by_rule_shown(name: &str, path: String, errors: &mut Vec<FieldError>) {
    by_rule(name, path, names::dns1123_subdomain_with_underscore, errors);
}

/// `validateHostnameOverride`: a name that stands for all others.
pub(super) fn host_name(spec: &Value, name: &str, path: &str, errors: &mut Vec<FieldError>) {
    let at = format!("{path}.hostnameOverride");
    for (field, detail) in [
        (
            "setHostnameAsFQDN",
            "may not be specified when setHostnameAsFQDN is true",
        ),
        ("hostNetwork", "may not be specified when hostNetwork is true"),
    ] {
        if spec[field] == true {
            errors.push(FieldError::forbidden(at.as_str(), detail));
        }
    }
    if name.len() > 64 {
        errors.push(FieldError::too_long(at.as_str(), 64));
    }
    by_rule(name, at, names::dns1123_subdomain, errors);
}

/// Names that a pod gives to addresses.
pub(super) fn host_aliases(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = format!("{path}.hostAliases[{i}]");
        ip(text(alias, "ip"), format!("{path}.ip"), errors);
        for (j, name) in texts(alias, "hostnames").into_iter().enumerate() {
            by_rule(name, format!("{path}.hostnames[{j}]"), names::dns1123_subdomain, errors);
        }
    }
}

/// Gates of readiness and of scheduling.
pub(super) fn gates(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, gate) in list(spec, "readinessGates").iter().enumerate() {
        by_rule(
            text(gate, "conditionType"),
            format!("{path}.readinessGates[{i}].conditionType"),
            names::qualified_name,
            errors,
        );
    }
    let mut seen = BTreeSet::new();
    for (i, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let (name, at) = (text(gate, "name"), format!("{path}.schedulingGates[{i}]"));
        by_rule(name, at.clone(), names::qualified_name, errors);
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(at, name));
        }
        seen.insert(name);
    }
}

/// Devices that a pod asks for.
pub(super) fn claims(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (i, claim) in list(spec, "resourceClaims").iter().enumerate() {
        let at = format!("{path}.resourceClaims[{i}]");
        let name = text(claim, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        } else if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{at}.name"), name));
        } else {
            by_rule(name, format!("{at}.name"), names::dns1123_label, errors);
        }
        seen.insert(name);
        let (one, other) = (&claim["resourceClaimName"], &claim["resourceClaimTemplateName"]);
        let detail = match (one.is_null(), other.is_null()) {
            (true, true) => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            (false, false) => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            _ => "",
        };
        if !detail.is_empty() {
            errors.push(FieldError::invalid_internal(
                at.as_str(),
                "core.PodResourceClaim",
                claim,
                detail,
            ));
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = claim[field].as_str() {
                by_rule(name, format!("{at}.{field}"), names::dns1123_subdomain, errors);
            }
        }
    }
}
