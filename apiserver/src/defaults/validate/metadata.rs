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
    /// A subdomain, where of a prefix no more is asked than that it can stand in a path.
    Generated,
    /// What checks of the whole object say.
    Own,
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
            NameRule::Generated if prefix => names::path_segment(name),
            NameRule::Generated => names::dns1123_subdomain(name),
            NameRule::Own => Vec::new(),
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
        | ("", "Event")
        | ("policy", "PodDisruptionBudget") => NameRule::PathSegment,
        ("resource.k8s.io", "DeviceClass") => NameRule::Generated,
        ("apiregistration.k8s.io", "APIService") => NameRule::Own,
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
    if let Some(generation) = metadata["generation"].as_i64().filter(|g| *g < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("metadata.generation", generation, detail));
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

/// A check of metadata that a kind's own update has beside the common one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// As of an object that is created, by the kind's rule for names.
    Made,
    /// What may not change.
    Changed,
}

/// The checks of metadata that a kind's update has, in their order.
fn again(group: &str, kind: &str) -> &'static [Again] {
    use Again::{Changed, Made};
    match (group, kind) {
        ("", "Event") | ("policy", "PodDisruptionBudget") => &[],
        ("", "LimitRange")
        | ("discovery.k8s.io", "EndpointSlice")
        | ("flowcontrol.apiserver.k8s.io" | "admissionregistration.k8s.io", _)
        | ("storage.k8s.io", "VolumeAttachment" | "CSINode")
        // What may change comes with its spec.
        | ("batch", "Job") => &[Made],
        ("", "PersistentVolume") => &[Made, Made],
        ("rbac.authorization.k8s.io", _)
        | ("", "Namespace" | "Node")
        | ("certificates.k8s.io", _)
        | ("storage.k8s.io", "StorageClass" | "CSIStorageCapacity")
        | ("networking.k8s.io", "IPAddress")
        | ("node.k8s.io", "RuntimeClass")
        | ("resource.k8s.io", "ResourceClaim" | "ResourceClaimTemplate" | "DeviceClass") => &[Made, Changed],
        ("", "ConfigMap" | "Secret" | "ServiceAccount" | "Endpoints" | "Pod" | "PersistentVolumeClaim")
        | ("apps", "ControllerRevision")
        | ("networking.k8s.io", "Ingress" | "IngressClass")
        | ("storage.k8s.io", "VolumeAttributesClass")
        | ("apiregistration.k8s.io", "APIService") => &[Changed, Made],
        _ => &[Changed],
    }
}

/// How often an update tells of metadata that may not change: once for any object, and again where its kind has the check.
pub fn told_unchangeable(group: &str, kind: &str, custom: bool) -> usize {
    let own = if custom { &[Again::Changed] } else { again(group, kind) };
    // Jobs have theirs beside the check of their spec.
    let with_spec = usize::from((group, kind) == ("batch", "Job"));
    1 + with_spec + own.iter().filter(|check| **check == Again::Changed).count()
}

/// Whether a kind's checks mind that finalizers are qualified; others take what any object may have.
pub(super) fn minds_finalizers(group: &str, kind: &str) -> bool {
    !matches!(
        (group, kind),
        ("", "Event")
            | ("policy", "PodDisruptionBudget")
            | ("node.k8s.io", "RuntimeClass")
            | ("coordination.k8s.io", "Lease")
            | (
                "apiregistration.k8s.io" | "admissionregistration.k8s.io" | "apiextensions.k8s.io",
                _
            )
    )
}

/// Finalizers of built-in kinds are qualified by a domain, but for Kubernetes' own (`validateKubeFinalizerName` of
/// `pkg/apis/core/validation`; what any finalizer must be is checked apart from it, there as here).
pub(in crate::defaults) fn finalizers(metadata: &Value, errors: &mut Vec<FieldError>) {
    let all = metadata["finalizers"].as_array().into_iter().flatten();
    for (i, name) in all.filter_map(Value::as_str).enumerate() {
        if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(format!("metadata.finalizers[{i}]"), name, detail));
        }
    }
}

/// All checks of the `metadata` of an object of a kind that is updated: those of any object, and those its kind has
/// again, as both are told.
pub fn validate_updated(
    (group, kind): (&str, &str),
    namespaced: bool,
    custom: bool,
    new: &Value,
    old: &Value,
) -> Vec<FieldError> {
    let mut errors = validate_metadata(new, namespaced, NameRule::PathSegment);
    let changed = validate_metadata_update(new, old);
    errors.extend(changed.iter().cloned());
    let checks = if custom { &[Again::Changed] } else { again(group, kind) };
    for check in checks {
        match check {
            Again::Changed => errors.extend(changed.iter().cloned()),
            Again::Made => {
                let rule = match name_rule(group, kind) {
                    // Nothing is asked but what is asked of all.
                    NameRule::Generated => NameRule::Own,
                    _ if group == "certificates.k8s.io" => NameRule::Own,
                    rule => rule,
                };
                errors.extend(validate_metadata(new, namespaced, rule));
            }
        }
        if !custom && minds_finalizers(group, kind) {
            finalizers(new, &mut errors);
        }
    }
    errors
}

/// Checks the `metadata` of an object that is updated: what may not change, and labels, annotations and owners.
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
