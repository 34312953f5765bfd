//! Validation of metadata and of the kinds that need little (`pkg/apis/*/validation` in Kubernetes).

use super::{names, validate_pod, validate_workload};
use crate::schema::FieldError;
use serde_json::{Map, Value};

/// Most bytes the values of a ConfigMap or Secret may have together.
const MAX_DATA: u64 = 1024 * 1024;
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
}

impl NameRule {
    /// What is wrong with a name. Of a prefix (`generateName`) the last character may be a hyphen, as something
    /// follows it.
    pub fn check(self, name: &str, prefix: bool) -> Option<String> {
        let masked = match name.strip_suffix('-') {
            Some(rest) if prefix && self != NameRule::PathSegment => format!("{rest}a"),
            _ => name.to_owned(),
        };
        match self {
            NameRule::Subdomain => names::dns1123_subdomain(&masked),
            NameRule::Label => names::dns1123_label(&masked),
            NameRule::Label1035 => names::dns1035_label(&masked),
            NameRule::PathSegment => names::path_segment(&masked),
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
        | ("authentication.k8s.io", _) => NameRule::PathSegment,
        _ => NameRule::Subdomain,
    }
}

/// A field of an object's `metadata` as text.
fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// Checks the `metadata` of an object that is created: name, generateName, namespace, labels, annotations,
/// finalizers, owners. The name must have been generated before.
pub fn validate_metadata(metadata: &Value, namespaced: bool, rule: NameRule) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (name, prefix) = (text(metadata, "name"), text(metadata, "generateName"));
    if !prefix.is_empty()
        && let Some(detail) = rule.check(prefix, true)
    {
        errors.push(FieldError::invalid("metadata.generateName", prefix, detail));
    }
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else if let Some(detail) = rule.check(name, false) {
        errors.push(FieldError::invalid("metadata.name", name, detail));
    }
    let namespace = text(metadata, "namespace");
    if namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required("metadata.namespace", ""));
        } else if let Some(detail) = names::dns1123_label(namespace) {
            errors.push(FieldError::invalid("metadata.namespace", namespace, detail));
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
        if let Some(detail) = names::qualified_name(finalizer) {
            errors.push(FieldError::invalid("metadata.finalizers", finalizer, detail));
        }
    }
    errors
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

fn common_metadata(metadata: &Value, errors: &mut Vec<FieldError>) {
    labels(&metadata["labels"], "metadata.labels", errors);
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        if let Some(detail) = names::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", key.as_str(), detail));
        }
        size += (key.len() + value.as_str().unwrap_or_default().len()) as u64;
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long("metadata.annotations", MAX_ANNOTATIONS));
    }
    let mut controller: Option<String> = None;
    for owner in metadata["ownerReferences"].as_array().into_iter().flatten() {
        let path = "metadata.ownerReferences";
        for (field, detail) in [
            ("apiVersion", "version must not be empty"),
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
            errors.push(FieldError::invalid(path, owner.clone(), detail));
        }
        if owner["controller"] == true {
            let name = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            match &controller {
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                         and {name}"
                    );
                    errors.push(FieldError::invalid(path, metadata["ownerReferences"].clone(), detail));
                }
                None => controller = Some(name),
            }
        }
    }
}

/// Checks a map of labels.
pub(super) fn labels(labels: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Some(detail) = names::qualified_name(key) {
            errors.push(FieldError::invalid(path, key.as_str(), detail));
        }
        let value = value.as_str().unwrap_or_default();
        if let Some(detail) = names::label_value(value) {
            errors.push(FieldError::invalid(path, value, detail));
        }
    }
}

/// A field that may not change.
pub(super) fn immutable(new: &Value, old: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if new != old {
        errors.push(FieldError::invalid(path, new.clone(), "field is immutable"));
    }
}

/// A number that may not be negative.
pub(super) fn nonnegative(object: &Value, field: &str, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(number) = object[field].as_i64().filter(|n| *n < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(format!("{path}.{field}"), number, detail));
    }
}

/// A port number.
pub(super) fn port_number(number: i64, path: &str, errors: &mut Vec<FieldError>) {
    if !(1..=65535).contains(&number) {
        errors.push(FieldError::invalid(
            path,
            number,
            "must be between 1 and 65535, inclusive",
        ));
    }
}

/// A text that must be one of a list.
pub(super) fn one_of(object: &Value, field: &str, valid: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    let path = format!("{path}.{field}");
    match text(object, field) {
        "" => errors.push(FieldError::required(path, "")),
        value if valid.contains(&value) => {}
        value => errors.push(FieldError::not_supported(path, value, valid)),
    }
}

/// Checks an object of a built-in kind, beyond its schema and its metadata; `old` is given on update. The object
/// must have been defaulted. Kinds that are not known here pass.
pub fn validate_builtin(group: &str, kind: &str, old: Option<&Value>, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match (group, kind) {
        ("", "Pod") => validate_pod::pod(new, old, &mut errors),
        ("", "ConfigMap") => config_map(new, old, &mut errors),
        ("", "Secret") => secret(new, old, &mut errors),
        ("", "Service") => service(new, old, &mut errors),
        ("", "Node") => node(new, &mut errors),
        ("", "PersistentVolumeClaim") => claim(new, old, &mut errors),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet") => {
            validate_workload::apps(kind, new, old, &mut errors);
        }
        ("batch", "Job") => validate_workload::job(new, old, &mut errors),
        ("batch", "CronJob") => validate_workload::cron_job(new, &mut errors),
        ("rbac.authorization.k8s.io", "RoleBinding") => role_binding(new, old, true, &mut errors),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => role_binding(new, old, false, &mut errors),
        ("rbac.authorization.k8s.io", "Role") => role(new, true, &mut errors),
        ("rbac.authorization.k8s.io", "ClusterRole") => role(new, false, &mut errors),
        ("coordination.k8s.io", "Lease") => lease(new, &mut errors),
        ("certificates.k8s.io", "CertificateSigningRequest") => signing_request(new, &mut errors),
        _ => {}
    }
    errors
}

fn frozen(new: &Value, old: Option<&Value>, fields: &[&str], errors: &mut Vec<FieldError>) {
    let Some(old) = old.filter(|old| old["immutable"] == true) else {
        return;
    };
    let detail = "field is immutable when `immutable` is set";
    if new["immutable"] != true {
        errors.push(FieldError::forbidden("immutable", detail));
    }
    // Empty and absent are the same.
    let map = |object: &Value, field: &str| object[field].as_object().cloned().unwrap_or_default();
    for field in fields.iter().filter(|field| map(new, field) != map(old, field)) {
        errors.push(FieldError::forbidden(*field, detail));
    }
}

fn keys(object: &Value, field: &str, errors: &mut Vec<FieldError>) -> u64 {
    let mut size = 0;
    for (key, value) in object[field].as_object().into_iter().flatten() {
        if let Some(detail) = names::config_map_key(key) {
            errors.push(FieldError::invalid(format!("{field}[{key}]"), key.as_str(), detail));
        }
        let length = value.as_str().unwrap_or_default().len() as u64;
        size += if field == "data" && !object["type"].is_null() || field == "binaryData" {
            length / 4 * 3
        } else {
            length
        };
    }
    size
}

fn config_map(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    frozen(new, old, &["data", "binaryData"], errors);
    for key in new["data"].as_object().into_iter().flat_map(Map::keys) {
        if new["binaryData"].get(key).is_some() {
            let detail = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(format!("data[{key}]"), key.as_str(), detail));
        }
    }
    if keys(new, "data", errors) + keys(new, "binaryData", errors) > MAX_DATA {
        errors.push(FieldError::too_long("", MAX_DATA));
    }
}

fn secret(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if let Some(old) = old {
        immutable(&new["type"], &old["type"], "type", errors);
    }
    frozen(new, old, &["data"], errors);
    if keys(new, "data", errors) > MAX_DATA {
        errors.push(FieldError::too_long("data", MAX_DATA));
    }
    let required: &[&str] = match text(new, "type") {
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    };
    for key in required.iter().filter(|key| new["data"].get(**key).is_none()) {
        errors.push(FieldError::required(format!("data[{key}]"), ""));
    }
    if new["type"] == "kubernetes.io/service-account-token"
        && new["metadata"]["annotations"]["kubernetes.io/service-account.name"]
            .as_str()
            .is_none_or(str::is_empty)
    {
        errors.push(FieldError::required(
            "metadata.annotations[kubernetes.io/service-account.name]",
            "",
        ));
    }
}

fn service(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
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

fn node(new: &Value, errors: &mut Vec<FieldError>) {
    for (i, taint) in new["spec"]["taints"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.taints[{i}]");
        let key = text(taint, "key");
        if let Some(detail) = names::qualified_name(key) {
            errors.push(FieldError::invalid(format!("{path}.key"), key, detail));
        }
        if let Some(detail) = names::label_value(text(taint, "value")) {
            errors.push(FieldError::invalid(
                format!("{path}.value"),
                text(taint, "value"),
                detail,
            ));
        }
        one_of(
            taint,
            "effect",
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            &path,
            errors,
        );
    }
    for list in ["capacity", "allocatable"] {
        validate_pod::quantities(&new["status"][list], &format!("status.{list}"), errors);
    }
}

fn claim(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
        errors.push(FieldError::required(
            "spec.accessModes",
            "at least 1 access mode is required",
        ));
    }
    let valid = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    for mode in spec["accessModes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !valid.contains(&mode) {
            errors.push(FieldError::not_supported("spec.accessModes", mode, &valid));
        }
    }
    match spec["resources"]["requests"].get("storage") {
        None => errors.push(FieldError::required("spec.resources[storage]", "")),
        Some(_) => validate_pod::quantities(&spec["resources"]["requests"], "spec.resources", errors),
    }
    if let Some(old) = old {
        let fixed = |object: &Value| {
            let mut spec = object["spec"].clone();
            // Binding sets the volume, growing the requests.
            for field in [
                "volumeName",
                "resources",
                "storageClassName",
                "volumeAttributesClassName",
            ] {
                if let Value::Object(spec) = &mut spec {
                    spec.remove(field);
                }
            }
            spec
        };
        if fixed(new) != fixed(old) {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            errors.push(FieldError::forbidden("spec", detail));
        }
    }
}

fn role_binding(new: &Value, old: Option<&Value>, namespaced: bool, errors: &mut Vec<FieldError>) {
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
    if text(role, "name").is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    for (i, subject) in new["subjects"].as_array().into_iter().flatten().enumerate() {
        let path = format!("subjects[{i}]");
        if text(subject, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        let (kind, api_group) = (text(subject, "kind"), text(subject, "apiGroup"));
        match kind {
            "ServiceAccount" => {
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
    if old.is_some_and(|old| old["roleRef"] != *role) {
        errors.push(FieldError::invalid("roleRef", role.clone(), "cannot change roleRef"));
    }
}

fn role(new: &Value, namespaced: bool, errors: &mut Vec<FieldError>) {
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

fn lease(new: &Value, errors: &mut Vec<FieldError>) {
    if let Some(seconds) = new["spec"]["leaseDurationSeconds"].as_i64().filter(|s| *s <= 0) {
        errors.push(FieldError::invalid(
            "spec.leaseDurationSeconds",
            seconds,
            "must be greater than 0",
        ));
    }
    if let Some(count) = new["spec"]["leaseTransitions"].as_i64().filter(|c| *c < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.leaseTransitions", count, detail));
    }
}

fn signing_request(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    if text(spec, "request").is_empty() {
        errors.push(FieldError::required(
            "spec.request",
            "block type must be CERTIFICATE REQUEST",
        ));
    }
    let signer = text(spec, "signerName");
    if signer.is_empty() {
        errors.push(FieldError::required("spec.signerName", ""));
    } else if !signer.contains('/') {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid("spec.signerName", signer, detail));
    }
    if let Some(seconds) = spec["expirationSeconds"].as_i64().filter(|s| *s < 600) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid("spec.expirationSeconds", seconds, detail));
    }
}
