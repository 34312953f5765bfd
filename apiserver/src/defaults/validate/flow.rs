//! Validation of `flowcontrol.apiserver.k8s.io` (`pkg/apis/flowcontrol/validation` in Kubernetes).

use crate::defaults::names;
use crate::defaults::validate_parts::{by_rule, list, needed, text, texts};
use crate::schema::FieldError;
use serde_json::{Value, json};

pub(super) fn flow_schema(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let precedence = spec["matchingPrecedence"].as_i64().unwrap_or_default();
    if precedence <= 0 {
        let detail = "must be a positive value";
        errors.push(FieldError::invalid("spec.matchingPrecedence", precedence, detail));
    }
    if precedence > 10000 {
        let detail = "must not be greater than 10000";
        errors.push(FieldError::invalid("spec.matchingPrecedence", precedence, detail));
    }
    if precedence == 1 && text(&new["metadata"], "name") != "exempt" {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(FieldError::invalid("spec.matchingPrecedence", precedence, detail));
    }
    let kind = text(&spec["distinguisherMethod"], "type");
    if spec["distinguisherMethod"].is_object() && !matches!(kind, "ByNamespace" | "ByUser") {
        let valid = ["ByNamespace", "ByUser"];
        let path = "spec.distinguisherMethod.type";
        let (of, method) = ("flowcontrol.FlowDistinguisherMethod", &spec["distinguisherMethod"]);
        errors.push(FieldError::not_supported_internal(path, of, method, &valid));
    }
    let level = text(&spec["priorityLevelConfiguration"], "name");
    let path = "spec.priorityLevelConfiguration.name";
    if level.is_empty() {
        errors.push(FieldError::required(path, "must reference a priority level"));
    } else {
        by_rule(level, path.to_owned(), names::dns1123_subdomain, errors);
    }
    for (i, rule) in list(spec, "rules").iter().enumerate() {
        let path = format!("spec.rules[{i}]");
        let subjects = list(rule, "subjects");
        if subjects.is_empty() {
            let detail = "subjects must contain at least one value";
            errors.push(FieldError::required(format!("{path}.subjects"), detail));
        }
        for (j, of) in subjects.iter().enumerate() {
            subject(of, &format!("{path}.subjects[{j}]"), errors);
        }
        let (resources, others) = (list(rule, "resourceRules"), list(rule, "nonResourceRules"));
        if resources.is_empty() && others.is_empty() {
            let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
            errors.push(FieldError::required(path.as_str(), detail));
        }
        for (j, rule) in resources.iter().enumerate() {
            resource_rule(rule, &format!("{path}.resourceRules[{j}]"), errors);
        }
        for (j, rule) in others.iter().enumerate() {
            let path = format!("{path}.nonResourceRules[{j}]");
            verbs(rule, &path, errors);
            let missing = "nonResourceURLs must contain at least one value";
            starred(rule, "nonResourceURLs", missing, "non-resource URLs", &path, errors);
            let urls = texts(rule, "nonResourceURLs");
            let all = urls.contains(&"*");
            for (k, url) in urls.iter().enumerate().filter(|_| !all) {
                other_path(url, format!("{path}.nonResourceURLs[{k}]"), errors);
            }
        }
    }
}

fn subject(subject: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let kind = text(subject, "kind");
    let fields = [
        ("ServiceAccount", "serviceAccount"),
        ("User", "user"),
        ("Group", "group"),
    ];
    if !fields.iter().any(|(k, _)| *k == kind) {
        let valid = ["Group", "ServiceAccount", "User"];
        errors.push(FieldError::not_supported(format!("{path}.kind"), kind, &valid));
        return;
    }
    for (of, field) in fields {
        let (value, at) = (&subject[field], format!("{path}.{field}"));
        if of != kind {
            if value.is_object() {
                let detail = format!("{field} is forbidden when subject kind is not '{of}'");
                errors.push(FieldError::forbidden(at, detail));
            }
            continue;
        }
        if !value.is_object() {
            let detail = format!("{field} is required when subject kind is '{of}'");
            errors.push(FieldError::required(at, detail));
            continue;
        }
        if needed(value, "name", &at, errors) && of == "ServiceAccount" && text(value, "name") != "*" {
            by_rule(
                text(value, "name"),
                format!("{at}.name"),
                names::dns1123_subdomain,
                errors,
            );
        }
        if of == "ServiceAccount" {
            match text(value, "namespace") {
                "" => {
                    let detail = "must specify namespace for service account";
                    errors.push(FieldError::required(format!("{at}.namespace"), detail));
                }
                name => by_rule(name, format!("{at}.namespace"), names::dns1123_label, errors),
            }
        }
    }
}

/// What may be asked of an API.
const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];

/// The verbs of a rule: known ones, or all.
fn verbs(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    starred(
        rule,
        "verbs",
        "verbs must contain at least one value",
        "verbs",
        path,
        errors,
    );
    let verbs = texts(rule, "verbs");
    if !verbs.contains(&"*") && verbs.iter().any(|verb| !VERBS.contains(verb)) {
        errors.push(FieldError::not_supported(format!("{path}.verbs"), json!(verbs), &VERBS));
    }
}

/// A list that must not be empty, and has nothing else where everything is meant.
fn starred(rule: &Value, field: &str, missing: &str, what: &str, path: &str, errors: &mut Vec<FieldError>) {
    let values = texts(rule, field);
    let at = format!("{path}.{field}");
    if values.is_empty() {
        errors.push(FieldError::required(at, missing));
    } else if values.len() > 1 && values.contains(&"*") {
        let detail = format!("if '*' is present, must not specify other {what}");
        errors.push(FieldError::invalid(at, json!(values), detail));
    }
}

/// `ValidateNonResourceURLPath`.
fn other_path(url: &str, at: String, errors: &mut Vec<FieldError>) {
    let why = match url {
        "" => "must not be empty",
        "/" => return,
        _ if !url.starts_with('/') => "must start with slash",
        _ if url.contains(' ') => "must not contain white-space",
        _ if url.contains("//") => "must not contain double slash",
        _ if url[..url.len() - 1].contains('*') => "wildcard can only do suffix matching",
        _ if url.ends_with('*') && !url.ends_with("/*") => "wildcard can only do suffix matching",
        _ => return,
    };
    errors.push(FieldError::invalid(at, url, why));
}

fn resource_rule(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    verbs(rule, path, errors);
    let missing = "resource rules must supply at least one api group";
    starred(rule, "apiGroups", missing, "api groups", path, errors);
    let missing = "resource rules must supply at least one resource";
    starred(rule, "resources", missing, "resources", path, errors);
    let spaces = texts(rule, "namespaces");
    let at = format!("{path}.namespaces");
    if spaces.is_empty() && rule["clusterScope"] != true {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(FieldError::required(at, detail));
    } else if spaces.contains(&"*") {
        if spaces.len() > 1 {
            let detail = "if '*' is present, must not specify other namespaces";
            errors.push(FieldError::invalid(at, json!(spaces), detail));
        }
    } else {
        for (i, name) in spaces.into_iter().enumerate() {
            for why in names::dns1123_label(name) {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
                errors.push(FieldError::invalid(format!("{at}[{i}]"), name, detail));
            }
        }
    }
}

pub(super) fn priority_level(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let (name, kind) = (text(&new["metadata"], "name"), text(spec, "type"));
    if (name == "exempt") != (kind == "Exempt") && (name == "exempt" || kind == "Exempt") {
        let detail = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(FieldError::invalid("spec.type", kind, detail));
    }
    let limited = &spec["limited"];
    match kind {
        "Exempt" => {
            if limited.is_object() {
                let detail = "must be nil if the type is not Limited";
                errors.push(FieldError::forbidden("spec.limited", detail));
            }
        }
        "Limited" => {
            if spec["exempt"].is_object() {
                let detail = "must be nil if the type is Limited";
                errors.push(FieldError::forbidden("spec.exempt", detail));
            }
            if limited.is_object() {
                self::limited(limited, "spec.limited", errors);
            } else {
                let detail = "must not be empty when type is Limited";
                errors.push(FieldError::required("spec.limited", detail));
            }
        }
        "" => errors.push(FieldError::required("spec.type", "")),
        other => errors.push(FieldError::not_supported("spec.type", other, &["Exempt", "Limited"])),
    }
}

fn limited(limited: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(shares) = limited["nominalConcurrencyShares"].as_i64().filter(|s| *s < 0) {
        let at = format!("{path}.nominalConcurrencyShares");
        errors.push(FieldError::invalid(at, shares, "must be a non-negative integer"));
    }
    let response = &limited["limitResponse"];
    let at = format!("{path}.limitResponse");
    let queuing = &response["queuing"];
    match text(response, "type") {
        "Reject" => {
            if queuing.is_object() {
                let detail = "must be nil if limited.limitResponse.type is not Limited";
                errors.push(FieldError::forbidden(format!("{at}.queuing"), detail));
            }
        }
        "Queue" if queuing.is_object() => queues(queuing, &format!("{at}.queuing"), errors),
        "Queue" => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(format!("{at}.queuing"), detail));
        }
        "" => errors.push(FieldError::required(format!("{at}.type"), "")),
        other => {
            let valid = ["Queue", "Reject"];
            errors.push(FieldError::not_supported(format!("{at}.type"), other, &valid));
        }
    }
    if let Some(percent) = limited["lendablePercent"].as_i64().filter(|p| !(0..=100).contains(p)) {
        let detail = "must be between 0 and 100, inclusive";
        errors.push(FieldError::invalid(format!("{path}.lendablePercent"), percent, detail));
    }
    if let Some(percent) = limited["borrowingLimitPercent"].as_i64().filter(|p| *p < 0) {
        let detail = "if specified, must be a non-negative integer";
        errors.push(FieldError::invalid(
            format!("{path}.borrowingLimitPercent"),
            percent,
            detail,
        ));
    }
}

fn queues(queuing: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let number = |field: &str| queuing[field].as_i64().unwrap_or_default();
    let (queues, hand, length) = (number("queues"), number("handSize"), number("queueLengthLimit"));
    for (field, value) in [("queueLengthLimit", length), ("queues", queues)] {
        if value <= 0 {
            let detail = "must be positive";
            errors.push(FieldError::invalid(format!("{path}.{field}"), value, detail));
        }
    }
    if queues > MAX_QUEUES {
        let detail = format!("must not be greater than {MAX_QUEUES}");
        errors.push(FieldError::invalid(format!("{path}.queues"), queues, detail));
    }
    let at = format!("{path}.handSize");
    if hand <= 0 {
        errors.push(FieldError::invalid(at, hand, "must be positive"));
    } else if hand > queues {
        let detail = format!("should not be greater than queues ({queues})");
        errors.push(FieldError::invalid(at, hand, detail));
    } else if entropy(queues, hand) > MAX_HASH_BITS {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        );
        errors.push(FieldError::invalid(at, hand, detail));
    }
}

/// Most queues of a level.
const MAX_QUEUES: i64 = 10_000_000;

/// How many bits of a hash deal hands of queues (`apiserver/pkg/util/shufflesharding`).
const MAX_HASH_BITS: i64 = 60;

/// `RequiredEntropyBits`.
fn entropy(queues: i64, hand: i64) -> i64 {
    ((queues as f64).log2() * hand as f64).ceil() as i64
}
