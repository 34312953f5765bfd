//! Validation of `admissionregistration.k8s.io` (`pkg/apis/admissionregistration/validation` in Kubernetes):
//! webhooks.

use super::expressions;
use crate::defaults::names;
use crate::defaults::validate_parts::{by_rule, choice, label_selector, list, needed, repeated, text, texts};
use crate::schema::FieldError;
use cfn_cel::{Environment, Type};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) fn webhooks(new: &Value, mutating: bool, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (i, webhook) in list(new, "webhooks").iter().enumerate() {
        let path = format!("webhooks[{i}]");
        self::webhook(webhook, &path, errors);
        if mutating {
            choice(webhook, "reinvocationPolicy", &["IfNeeded", "Never"], &path, errors);
        }
        service_or_address(&webhook["clientConfig"], &format!("{path}.clientConfig"), errors);
        let environment = expressions::admission(false, true, false);
        let conditions = list(webhook, "matchConditions");
        match_conditions(conditions, &environment, &format!("{path}.matchConditions"), errors);
        review_versions(webhook, &format!("{path}.admissionReviewVersions"), errors);
        let name = text(webhook, "name");
        if seen.contains(&name) && !name.is_empty() {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        seen.insert(name);
    }
}

/// Versions of reviews that a webhook knows.
fn review_versions(webhook: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let versions = texts(webhook, "admissionReviewVersions");
    if versions.is_empty() {
        return errors.push(FieldError::required(at, "must specify one of v1, v1beta1"));
    }
    for ((i, version), again) in versions.iter().enumerate().zip(repeated(&versions)) {
        if again {
            errors.push(FieldError::invalid(format!("{at}[{i}]"), *version, "duplicate version"));
        } else {
            by_rule(version, format!("{at}[{i}]"), names::dns1035_label, errors);
        }
    }
    if !versions.iter().any(|v| matches!(*v, "v1" | "v1beta1")) {
        let detail = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(at, json!(versions), detail));
    }
}

/// Conditions on requests, which have names of their own.
pub(super) fn match_conditions(all: &[Value], environment: &Environment, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (i, condition) in all.iter().enumerate() {
        let at = format!("{path}[{i}].expression");
        match text(condition, "expression").trim() {
            "" => errors.push(FieldError::required(at, "")),
            e => expressions::expression(e, environment, &[Type::Bool], at, errors),
        }
        let (name, at) = (text(condition, "name"), format!("{path}[{i}].name"));
        if name.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        by_rule(name, at.clone(), names::qualified_name, errors);
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(at, name));
        }
        seen.insert(name);
    }
}

fn webhook(webhook: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (name, at) = (text(webhook, "name"), format!("{path}.name"));
    if needed(webhook, "name", path, errors) {
        let before = errors.len();
        by_rule(name, at.clone(), names::dns1123_subdomain, errors);
        if errors.len() == before && name.split('.').count() < 3 {
            let detail = "should be a domain with at least three segments separated by dots";
            errors.push(FieldError::invalid(at, name, detail));
        }
    }
    for (i, rule) in list(webhook, "rules").iter().enumerate() {
        self::rule(rule, &format!("{path}.rules[{i}]"), errors);
    }
    choice(webhook, "failurePolicy", &["Fail", "Ignore"], path, errors);
    choice(webhook, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    let effects = ["None", "NoneOnDryRun"];
    if webhook["sideEffects"].is_null() {
        let detail = "must specify one of None, NoneOnDryRun";
        errors.push(FieldError::required(format!("{path}.sideEffects"), detail));
    } else {
        choice(webhook, "sideEffects", &effects, path, errors);
    }
    if let Some(seconds) = webhook["timeoutSeconds"].as_i64().filter(|s| !(1..=30).contains(s)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(format!("{path}.timeoutSeconds"), seconds, detail));
    }
    for field in ["namespaceSelector", "objectSelector"] {
        label_selector(&webhook[field], &format!("{path}.{field}"), errors);
    }
}

/// Where a webhook is: a URL or a service.
pub(crate) fn service_or_address(config: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let service = &config["service"];
    let url = config["url"].as_str();
    if url.is_some() == service.is_object() {
        let detail = "exactly one of url or service is required";
        errors.push(FieldError::required(path, detail));
    } else if let Some(url) = url {
        address(url, &format!("{path}.url"), errors);
    } else {
        let path = format!("{path}.service");
        // Upstream takes the one for the other.
        for (missing, told) in [("namespace", "name"), ("name", "namespace")] {
            if text(service, missing).is_empty() {
                errors.push(FieldError::required(format!("{path}.{told}"), ""));
            }
        }
        if let Some(port) = service["port"].as_i64().filter(|p| !(1..=65535).contains(p)) {
            let detail = "port is not valid: must be between 1 and 65535, inclusive";
            errors.push(FieldError::invalid(format!("{path}.port"), port, detail));
        }
        if let Some(place) = service["path"].as_str() {
            service_path(place, &format!("{path}.path"), errors);
        }
    }
}

fn address(url: &str, path: &str, errors: &mut Vec<FieldError>) {
    let form = "desired format: https://host[/path]";
    // A scheme begins with a letter; what follows it without slashes has no host (`url.Parse`).
    let of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let (scheme, rest) = match url.split_once(':') {
        Some((s, rest)) if s.starts_with(|c: char| c.is_ascii_alphabetic()) && s.chars().all(of_scheme) => (s, rest),
        _ => ("", url),
    };
    let scheme = &*scheme.to_ascii_lowercase();
    if scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme; {form}");
        errors.push(FieldError::invalid(path, scheme, detail));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.strip_prefix("//").unwrap_or_default();
    let host = authority.split('/').next().unwrap_or_default();
    let (user, host) = host.rsplit_once('@').unwrap_or(("", host));
    for (wrong, value, detail) in [
        (host.is_empty(), "", format!("host must be specified; {form}")),
        (
            !user.is_empty(),
            user,
            "user information is not permitted in the URL".to_owned(),
        ),
        (
            !fragment.is_empty(),
            fragment,
            "fragments are not permitted in the URL".to_owned(),
        ),
        (
            !query.is_empty(),
            query,
            "query parameters are not permitted in the URL".to_owned(),
        ),
    ] {
        if wrong {
            errors.push(FieldError::invalid(path, value, detail));
        }
    }
}

fn service_path(place: &str, path: &str, errors: &mut Vec<FieldError>) {
    if place.is_empty() || place == "/" {
        return;
    }
    if place == "//" {
        errors.push(FieldError::invalid(path, place, "segment[0] may not be empty"));
        return;
    }
    if !place.starts_with('/') {
        errors.push(FieldError::invalid(path, place, "must start with a '/'"));
    }
    let inner = place.strip_suffix('/').unwrap_or(place);
    // What stands before the first slash is no segment.
    let segments: Vec<&str> = inner.get(1..).unwrap_or(inner).split('/').collect();
    for (i, segment) in segments.into_iter().enumerate() {
        if segment.is_empty() {
            let detail = format!("segment[{i}] may not be empty");
            errors.push(FieldError::invalid(path, place, detail));
        } else {
            for why in names::dns1123_subdomain(segment) {
                let detail = format!("segment[{i}]: {why}");
                errors.push(FieldError::invalid(path, place, detail));
            }
        }
    }
}

/// A list that must not be empty; if everything is meant, nothing else may be in it.
fn starred(rule: &Value, field: &str, what: &str, path: &str, errors: &mut Vec<FieldError>) {
    let values = texts(rule, field);
    let at = format!("{path}.{field}");
    if values.is_empty() {
        errors.push(FieldError::required(at, ""));
    } else if values.len() > 1 && values.contains(&"*") {
        let detail = format!("if '*' is present, must not specify other {what}");
        errors.push(FieldError::invalid(at, json!(values), detail));
    }
}

/// `validateRuleWithOperations`.
pub(super) fn rule(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    starred(rule, "operations", "operations", path, errors);
    let valid = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    for (i, operation) in texts(rule, "operations").into_iter().enumerate() {
        if !valid.contains(&operation) {
            let at = format!("{path}.operations[{i}]");
            errors.push(FieldError::not_supported(at, operation, &valid));
        }
    }
    starred(rule, "apiGroups", "API groups", path, errors);
    starred(rule, "apiVersions", "API versions", path, errors);
    for (i, version) in texts(rule, "apiVersions").into_iter().enumerate() {
        if version.is_empty() {
            errors.push(FieldError::required(format!("{path}.apiVersions[{i}]"), ""));
        }
    }
    resources(&texts(rule, "resources"), &format!("{path}.resources"), errors);
    choice(rule, "scope", &["*", "Cluster", "Namespaced"], path, errors);
}

fn resources(all: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    if all.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let has = |name: &str| all.contains(&name);
    if all.len() > 1 && has("*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, json!(all), detail));
    }
    for (i, resource) in all.iter().enumerate() {
        let at = format!("{path}[{i}]");
        if resource.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let Some((name, sub)) = resource.split_once('/') else {
            if *resource != "*" && has("*") {
                let detail = "if '*' is present, must not specify other resources without subresources";
                errors.push(FieldError::invalid(path, json!(all), detail));
            }
            continue;
        };
        let shadow = [(format!("{name}/*"), sub != "*"), (format!("*/{sub}"), name != "*")];
        if let Some((by, _)) = shadow.iter().find(|(by, other)| *other && has(by)) {
            let detail = format!("if '{by}' is present, must not specify {resource}");
            errors.push(FieldError::invalid(at, *resource, detail));
        }
    }
}
