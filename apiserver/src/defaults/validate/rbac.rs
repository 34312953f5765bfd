//! Validation of roles and their bindings (`pkg/apis/rbac/validation` in Kubernetes).

use super::text;
use crate::defaults::validate_parts::{by_rule, label_selector, list, named, needed};
use crate::defaults::{immutable, names};
use crate::schema::FieldError;
use serde_json::Value;

pub(super) fn role_binding(new: &Value, old: Option<&Value>, namespaced: bool, errors: &mut Vec<FieldError>) {
    let role = &new["roleRef"];
    let group = "rbac.authorization.k8s.io";
    if text(role, "apiGroup") != group {
        errors.push(FieldError::not_supported(
            "roleRef.apiGroup",
            text(role, "apiGroup"),
            &[group],
        ));
    }
    let kinds: &[&str] = if namespaced {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    if !kinds.contains(&text(role, "kind")) {
        errors.push(FieldError::not_supported("roleRef.kind", text(role, "kind"), kinds));
    }
    if needed(role, "name", "roleRef", errors) {
        by_rule(
            text(role, "name"),
            "roleRef.name".to_owned(),
            names::path_segment,
            errors,
        );
    }
    for (i, subject) in new["subjects"].as_array().into_iter().flatten().enumerate() {
        let path = format!("subjects[{i}]");
        if text(subject, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        let (kind, api_group) = (text(subject, "kind"), text(subject, "apiGroup"));
        match kind {
            "ServiceAccount" => {
                named(subject, "name", names::dns1123_subdomain, &path, errors);
                if !api_group.is_empty() {
                    errors.push(FieldError::not_supported(format!("{path}.apiGroup"), api_group, &[""]));
                }
                if text(subject, "namespace").is_empty() && !namespaced {
                    errors.push(FieldError::required(format!("{path}.namespace"), ""));
                }
            }
            "User" | "Group" => {
                if api_group != group {
                    errors.push(FieldError::not_supported(
                        format!("{path}.apiGroup"),
                        api_group,
                        &[group],
                    ));
                }
            }
            _ => {
                let valid = ["ServiceAccount", "User", "Group"];
                errors.push(FieldError::not_supported(format!("{path}.kind"), kind, &valid));
            }
        }
    }
    if let Some(old) = old {
        let told = ("roleRef", "roleRef", "cannot change roleRef");
        immutable::place("rbac.RoleBinding", told, new, old, errors);
    }
}

/// What a cluster role takes from others.
fn aggregation(new: &Value, errors: &mut Vec<FieldError>) {
    let (rule, path) = (&new["aggregationRule"], "aggregationRule.clusterRoleSelectors");
    if rule.is_null() {
        return;
    }
    let selectors = list(rule, "clusterRoleSelectors");
    if selectors.is_empty() {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required(path, detail));
    }
    for (i, selector) in selectors.iter().enumerate() {
        let (path, before) = (format!("{path}[{i}]"), errors.len());
        label_selector(selector, &path, errors);
        if errors.len() > before {
            errors.push(FieldError::invalid(path, Value::Null, "invalid label selector."));
        }
    }
}

pub(super) fn role(new: &Value, namespaced: bool, errors: &mut Vec<FieldError>) {
    if !namespaced {
        aggregation(new, errors);
    }
    let filled = |rule: &Value, field: &str| rule[field].as_array().is_some_and(|list| !list.is_empty());
    for (i, rule) in new["rules"].as_array().into_iter().flatten().enumerate() {
        let path = format!("rules[{i}]");
        if !filled(rule, "verbs") {
            errors.push(FieldError::required(
                format!("{path}.verbs"),
                "verbs must contain at least one value",
            ));
        }
        if filled(rule, "nonResourceURLs") {
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(
                    format!("{path}.nonResourceURLs"),
                    rule["nonResourceURLs"].clone(),
                    detail,
                ));
            }
            if ["apiGroups", "resources", "resourceNames"]
                .iter()
                .any(|field| filled(rule, field))
            {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(
                    format!("{path}.nonResourceURLs"),
                    rule["nonResourceURLs"].clone(),
                    detail,
                ));
            }
            continue;
        }
        if !filled(rule, "apiGroups") {
            let detail = "resource rules must supply at least one api group";
            errors.push(FieldError::required(format!("{path}.apiGroups"), detail));
        }
        if !filled(rule, "resources") {
            let detail = "resource rules must supply at least one resource";
            errors.push(FieldError::required(format!("{path}.resources"), detail));
        }
    }
}
