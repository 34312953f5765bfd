//! Validation of `metadata` (`apimachinery/pkg/api/validation/objectmeta.go` in Kubernetes) and the rules for names.

use super::{labels, text};
use crate::defaults::validate_parts::texts;
use crate::defaults::{immutable, names};
use crate::schema::{FieldError, Printed};
use serde_json::Value;
use std::collections::BTreeSet;

/// Most bytes an object's annotations may have together.
const MAX_ANNOTATIONS: u64 = 256 * 1024;

/// Most bytes of lists of owners that are told of in one refusal.
const MAX_SHOWN: usize = 1024 * 1024;

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
    identity(metadata, namespaced, rule, &mut errors);
    common_metadata(metadata, &mut errors);
    any_finalizers(metadata, &mut errors);
    errors
}

/// Name, generateName, namespace, generation.
fn identity(metadata: &Value, namespaced: bool, rule: NameRule, errors: &mut Vec<FieldError>) {
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
}

/// What finalizers of any object must be.
fn any_finalizers(metadata: &Value, errors: &mut Vec<FieldError>) {
    let all = || metadata["finalizers"].as_array().into_iter().flatten();
    for finalizer in all().filter_map(Value::as_str) {
        for detail in names::qualified_name(finalizer) {
            errors.push(FieldError::invalid("metadata.finalizers", finalizer, detail));
        }
    }
    if ["orphan", "foregroundDeletion"].iter().all(|f| all().any(|x| x == f)) {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(
            "metadata.finalizers",
            metadata["finalizers"].clone(),
            detail,
        ));
    }
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
/// again, as both are told. What they have in common is looked at once.
pub fn validate_updated(
    (group, kind): (&str, &str),
    namespaced: bool,
    custom: bool,
    new: &Value,
    old: &Value,
) -> Vec<FieldError> {
    let collected = |check: &dyn Fn(&mut Vec<FieldError>)| {
        let mut errors = Vec::new();
        check(&mut errors);
        errors
    };
    let common = collected(&|errors| common_metadata(new, errors));
    let any = collected(&|errors| any_finalizers(new, errors));
    let mut changed = collected(&|errors| changed_metadata(new, old, errors));
    changed.extend_from_slice(&common);
    let mut errors = Vec::new();
    identity(new, namespaced, NameRule::PathSegment, &mut errors);
    errors.extend_from_slice(&common);
    errors.extend_from_slice(&any);
    errors.extend_from_slice(&changed);
    let checks = if custom { &[Again::Changed] } else { again(group, kind) };
    let minds = !custom && minds_finalizers(group, kind) && !checks.is_empty();
    let qualified = collected(&|errors| {
        if minds {
            finalizers(new, errors);
        }
    });
    for check in checks {
        match check {
            Again::Changed => errors.extend_from_slice(&changed),
            Again::Made => {
                let rule = match name_rule(group, kind) {
                    // Nothing is asked but what is asked of all.
                    NameRule::Generated => NameRule::Own,
                    _ if group == "certificates.k8s.io" => NameRule::Own,
                    rule => rule,
                };
                identity(new, namespaced, rule, &mut errors);
                errors.extend_from_slice(&common);
                errors.extend_from_slice(&any);
            }
        }
        errors.extend_from_slice(&qualified);
    }
    errors
}

/// Checks the `metadata` of an object that is updated: what may not change, and labels, annotations and owners.
pub fn validate_metadata_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    changed_metadata(new, old, &mut errors);
    common_metadata(new, &mut errors);
    errors
}

/// What may not change.
fn changed_metadata(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if !old["deletionTimestamp"].is_null() {
        let before: BTreeSet<&str> = texts(old, "finalizers").into_iter().collect();
        let mut added = texts(new, "finalizers");
        added.retain(|f| !before.contains(f));
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                names::quoted(&added)
            );
            errors.push(FieldError::forbidden("metadata.finalizers", detail));
        }
    }
    for (field, path) in [
        ("name", "metadata.name"),
        ("namespace", "metadata.namespace"),
        ("uid", "metadata.uid"),
        ("creationTimestamp", "metadata.creationTimestamp"),
        ("deletionTimestamp", "metadata.deletionTimestamp"),
        ("deletionGracePeriodSeconds", "metadata.deletionGracePeriodSeconds"),
    ] {
        immutable::value(&new[field], &old[field], path, errors);
    }
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
    let owners = metadata["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    let (mut controller, mut shown, mut told): (Option<String>, Option<String>, usize) = (None, None, 0);
    for owner in owners {
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
            errors.push(FieldError::invalid_internal(path, "meta.OwnerReference", owner, detail));
        }
        if owner["controller"] == true {
            let name = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            match &controller {
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                         and {name}"
                    );
                    let shown = shown.get_or_insert_with(|| {
                        let all = owners.iter().map(|o| Printed::internal("meta.OwnerReference", o));
                        Printed::List(all.collect()).compact()
                    });
                    // All of them are told with each: there is an end to that.
                    told += shown.len();
                    if told <= MAX_SHOWN.max(shown.len()) {
                        errors.push(FieldError::invalid_shown(path, shown, &detail));
                    }
                }
                None => controller = Some(name),
            }
        }
    }
}
