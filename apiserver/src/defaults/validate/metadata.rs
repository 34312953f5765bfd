//! Validation of `metadata` (`apimachinery/pkg/api/validation/objectmeta.go` in Kubernetes) and the rules for names.

use super::{immutable, labels, text};
use crate::defaults::names;
use crate::schema::{FieldError, Printed};
use serde_json::Value;

/// Most bytes an object's annotations may have together.
const MAX_ANNOTATIONS: u64 = 256 * 1024;

/// Rules for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain: most kinds.
    Subdomain,
    /// RFC 1123 label: namespaces, services.
    Label,
    /// RFC 1035 label.
    Label1035,
    /// Anything that can stand in a path: RBAC, signing requests.
    PathSegment,
    /// An IP address in its canonical form.
    Address,
}

impl NameRule {
    /// What is wrong with a name. Of a prefix (`generateName`) the last character may be a hyphen, as something
    /// follows it.
    pub fn check(self, name: &str, prefix: bool) -> Vec<String> {
        let masked = match name.strip_suffix('-') {
            Some(rest) if prefix && self != NameRule::PathSegment => format!("{rest}a"),
            _ => name.to_owned(),
        };
        match self {
            NameRule::Subdomain => names::dns1123_subdomain(&masked),
            NameRule::Label => names::dns1123_label(&masked),
            NameRule::Label1035 => names::dns1035_label(&masked),
            NameRule::PathSegment => names::path_segment(&masked),
            NameRule::Address => match name.parse::<std::net::IpAddr>() {
                Ok(a) if a.to_string() == name => Vec::new(),
                Ok(_) => vec!["must be in canonical form".to_owned()],
                Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
            },
        }
    }
}

/// The rule for a kind's names.
pub fn name_rule(group: &str, kind: &str) -> NameRule {
    match (group, kind) {
        // Services: RelaxedServiceNameValidation, on by default from 1.36.
        ("", "Namespace" | "Service") | ("apps", "StatefulSet") => NameRule::Label,
        ("rbac.authorization.k8s.io", _)
        | ("certificates.k8s.io", _)
        | ("authorization.k8s.io", _)
        | ("authentication.k8s.io", _)
        // Their own checks ask for less than others'.
        | ("" | "events.k8s.io", "Event")
        | ("policy", "PodDisruptionBudget") => NameRule::PathSegment,
        ("networking.k8s.io", "IPAddress") => NameRule::Address,
        _ => NameRule::Subdomain,
    }
}

/// Checks the `metadata` of an object that is created: name, generateName, namespace, labels, annotations,
/// finalizers, owners. The name must have been generated before.
pub fn validate_metadata(metadata: &Value, namespaced: bool, rule: NameRule) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (name, prefix) = (text(metadata, "name"), text(metadata, "generateName"));
    if !prefix.is_empty() {
        for detail in rule.check(prefix, true) {
            errors.push(FieldError::invalid("metadata.generateName", prefix, detail));
        }
    }
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        for detail in rule.check(name, false) {
            errors.push(FieldError::invalid("metadata.name", name, detail));
        }
    }
    let namespace = text(metadata, "namespace");
    if namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required("metadata.namespace", ""));
        } else {
            for detail in names::dns1123_label(namespace) {
                errors.push(FieldError::invalid("metadata.namespace", namespace, detail));
            }
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
    }
    common_metadata(metadata, &mut errors);
    for finalizer in metadata["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        for detail in names::qualified_name(finalizer) {
            errors.push(FieldError::invalid("metadata.finalizers", finalizer, detail));
        }
    }
    let all = metadata["finalizers"].as_array();
    if ["orphan", "foregroundDeletion"]
        .iter()
        .all(|f| all.is_some_and(|all| all.iter().any(|x| x == f)))
    {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(
            "metadata.finalizers",
            metadata["finalizers"].clone(),
            detail,
        ));
    }
    errors
}

/// Finalizers of built-in kinds are qualified by a domain, but for Kubernetes' own (`validateKubeFinalizerName` of
/// `pkg/apis/core/validation`; what any finalizer must be is checked apart from it, there as here).
pub(super) fn finalizers(metadata: &Value, errors: &mut Vec<FieldError>) {
    let all = metadata["finalizers"].as_array().into_iter().flatten();
    for (i, name) in all.filter_map(Value::as_str).enumerate() {
        if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(format!("metadata.finalizers[{i}]"), name, detail));
        }
    }
}

/// Checks the `metadata` of an object that is updated: what may not change, and what is checked on creation too.
pub fn validate_metadata_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !old["deletionTimestamp"].is_null() {
        let list = |metadata: &Value| metadata["finalizers"].as_array().cloned().unwrap_or_default();
        let before = list(old);
        let added: Vec<String> = list(new)
            .iter()
            .filter(|f| !before.contains(f))
            .map(|f| f.as_str().unwrap_or_default().to_owned())
            .collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                names::quoted(&added.iter().map(String::as_str).collect::<Vec<_>>())
            );
            errors.push(FieldError::forbidden("metadata.finalizers", detail));
        }
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        immutable(&new[field], &old[field], &format!("metadata.{field}"), &mut errors);
    }
    common_metadata(new, &mut errors);
    errors
}

/// `ValidateAnnotations`.
pub(crate) fn annotations(annotations: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        for detail in names::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(path, key.as_str(), detail));
        }
        size += (key.len() + value.as_str().unwrap_or_default().len()) as u64;
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long(path, MAX_ANNOTATIONS));
    }
}

fn common_metadata(metadata: &Value, errors: &mut Vec<FieldError>) {
    labels(&metadata["labels"], "metadata.labels", errors);
    annotations(&metadata["annotations"], "metadata.annotations", errors);
    let mut controller: Option<String> = None;
    for owner in metadata["ownerReferences"].as_array().into_iter().flatten() {
        let path = "metadata.ownerReferences";
        let version = text(owner, "apiVersion");
        // More than one slash is no group and version.
        if version.is_empty() || version.ends_with('/') || version.matches('/').count() > 1 {
            let detail = "version must not be empty";
            errors.push(FieldError::invalid(format!("{path}.apiVersion"), version, detail));
        }
        for (field, detail) in [
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(owner, field).is_empty() {
                errors.push(FieldError::invalid(
                    format!("{path}.{field}"),
                    text(owner, field),
                    detail,
                ));
            }
        }
        if owner["apiVersion"] == "v1" && owner["kind"] == "Event" {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            let shown = Printed::internal("meta.OwnerReference", owner).compact();
            errors.push(FieldError::invalid_shown(path, &shown, detail));
        }
        if owner["controller"] == true {
            let name = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            match &controller {
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                         and {name}"
                    );
                    let all = metadata["ownerReferences"].as_array().into_iter().flatten();
                    let shown = all.map(|o| Printed::internal("meta.OwnerReference", o)).collect();
                    let shown = Printed::List(shown).compact();
                    errors.push(FieldError::invalid_shown(path, &shown, &detail));
                }
                None => controller = Some(name),
            }
        }
    }
}
