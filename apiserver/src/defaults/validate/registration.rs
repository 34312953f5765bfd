//! Validation of `apiregistration.k8s.io` (`kube-aggregator/pkg/apis/apiregistration/validation` in Kubernetes).

use crate::defaults::names;
use crate::defaults::validate_parts::{by_rule, needed, text};
use crate::schema::{FieldError, quote};
use serde_json::Value;

/// Where a version and its group stand among others may be at most so far up.
const MOST_GROUP: i64 = 20_000;
const MOST_VERSION: i64 = 1_000;

/// `ValidateAPIService`.
pub(super) fn api_service(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    // The name is looked at before the rest of the metadata.
    let mut of_names = Vec::new();
    for field in ["generateName", "name"] {
        own_name(&new["metadata"], field, &format!("{version}.{group}"), &mut of_names);
    }
    errors.splice(0..0, of_names);
    if group.is_empty() {
        if version != "v1" {
            let detail = "only v1 may have an empty group and it better be legacy kube";
            errors.push(FieldError::required("spec.group", detail));
        }
    } else {
        by_rule(group, "spec.group".to_owned(), names::dns1123_subdomain, errors);
    }
    by_rule(version, "spec.version".to_owned(), names::dns1035_label, errors);
    for (field, most) in [("groupPriorityMinimum", MOST_GROUP), ("versionPriority", MOST_VERSION)] {
        let number = spec[field].as_i64().unwrap_or_default();
        if !(1..=most).contains(&number) {
            let detail = format!("must be positive and less than {most}");
            errors.push(FieldError::invalid(format!("spec.{field}"), number, detail));
        }
    }
    trust(spec, errors);
}

/// The name is that of the version and its group.
fn own_name(metadata: &Value, field: &str, wanted: &str, errors: &mut Vec<FieldError>) {
    let (name, path) = (text(metadata, field), format!("metadata.{field}"));
    if name.is_empty() {
        return;
    }
    let before = errors.len();
    by_rule(name, path.clone(), names::path_segment, errors);
    if errors.len() == before && name != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {}", quote(wanted));
        errors.push(FieldError::invalid(path, name, detail));
    }
}

/// Where the server is, and how it is known.
fn trust(spec: &Value, errors: &mut Vec<FieldError>) {
    let service = &spec["service"];
    let bundle = text(spec, "caBundle");
    let blind = spec["insecureSkipTLSVerify"] == true;
    if service.is_null() {
        if !bundle.is_empty() {
            let shown = format!("{} bytes", bytes(bundle));
            let detail = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid("spec.caBundle", shown, detail));
        }
        if blind {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid("spec.insecureSkipTLSVerify", true, detail));
        }
        return;
    }
    for field in ["namespace", "name"] {
        needed(service, field, "spec.service", errors);
    }
    let port = service["port"].as_i64().unwrap_or_default();
    if !(1..=65_535).contains(&port) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(FieldError::invalid("spec.service.port", port, detail));
    }
    if blind && !bundle.is_empty() {
        let detail = "may not be true if caBundle is present";
        errors.push(FieldError::invalid("spec.insecureSkipTLSVerify", true, detail));
    }
}

/// How many bytes a text in base 64 stands for.
fn bytes(text: &str) -> usize {
    let digits = text.bytes().filter(|b| !matches!(b, b'=' | b'\n' | b'\r')).count();
    digits * 3 / 4
}
