//! Validation of signing requests (`pkg/apis/certificates/validation` in Kubernetes).

use super::text;
use crate::defaults::names;
use crate::defaults::validate_parts::{list, repeated, texts};
use crate::schema::{FieldError, quote};
use base64::Engine;
use serde_json::Value;
use std::collections::BTreeSet;

/// What a key may be used for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

pub(super) fn request(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    if !has_block(text(spec, "request"), "CERTIFICATE REQUEST") {
        let value = spec.get("request").cloned().unwrap_or_default();
        let detail = "PEM block type must be CERTIFICATE REQUEST";
        errors.push(FieldError::invalid("spec.request", value, detail));
    }
    let usages = texts(spec, "usages");
    if usages.is_empty() {
        errors.push(FieldError::required("spec.usages", ""));
    }
    for (i, usage) in usages.iter().enumerate().filter(|(_, u)| !USAGES.contains(u)) {
        errors.push(FieldError::not_supported(format!("spec.usages[{i}]"), *usage, &USAGES));
    }
    for (i, (usage, _)) in usages
        .iter()
        .zip(repeated(&usages))
        .enumerate()
        .filter(|(_, (_, again))| *again)
    {
        errors.push(FieldError::duplicate(format!("spec.usages[{i}]"), *usage));
    }
    signer(text(spec, "signerName"), errors);
    if let Some(seconds) = spec["expirationSeconds"].as_i64().filter(|s| *s < 600) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid("spec.expirationSeconds", seconds, detail));
    }
    conditions(new, errors);
}

/// `ValidateSignerName`.
fn signer(name: &str, errors: &mut Vec<FieldError>) {
    let path = "spec.signerName";
    if name == "kubernetes.io/legacy-unknown" {
        let detail = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid(path, name, detail));
    }
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let parts: Vec<&str> = name.split('/').collect();
    let [domain, rest] = parts.as_slice() else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid(path, name, detail));
        return;
    };
    for label in domain.split('.') {
        for why in names::dns1123_label(label) {
            let detail = format!("validating label {}: {why}", quote(label));
            errors.push(FieldError::invalid(path, *domain, detail));
        }
    }
    if domain.split('.').count() < 2 {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, *domain, detail));
    }
    for why in names::dns1123_subdomain(rest) {
        let detail = format!("validating label {}: {why}", quote(rest));
        errors.push(FieldError::invalid(path, *rest, detail));
    }
}

/// Whether bytes in base64 have a block of PEM.
fn has_block(encoded: &str, kind: &str) -> bool {
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(encoded) else {
        return false;
    };
    let text = String::from_utf8_lossy(&bytes);
    // The first block is what counts.
    let Some((_, rest)) = text.split_once("-----BEGIN ") else {
        return false;
    };
    rest.starts_with(&format!("{kind}-----")) && rest.contains(&format!("-----END {kind}-----"))
}

/// Types of conditions that, once there, say something for good.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];

fn conditions(new: &Value, errors: &mut Vec<FieldError>) {
    let all = list(&new["status"], "conditions");
    let mut seen = BTreeSet::new();
    for (i, condition) in all.iter().enumerate() {
        let (kind, path) = (text(condition, "type"), format!("status.conditions[{i}]"));
        if kind.is_empty() {
            errors.push(FieldError::required(format!("{path}.type"), ""));
        }
        let valid: &[&str] = if FINAL.contains(&kind) {
            &["True"]
        } else {
            &["False", "True", "Unknown"]
        };
        match text(condition, "status") {
            "" => errors.push(FieldError::required(format!("{path}.status"), "")),
            status if valid.contains(&status) => {}
            status => errors.push(FieldError::not_supported(format!("{path}.status"), status, valid)),
        }
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(format!("{path}.type"), kind));
        }
        let against = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => continue,
        };
        if seen.contains(against) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(format!("{path}.type"), kind, detail));
        }
    }
}

/// A write to `status` or `approval`.
pub(super) fn status(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    conditions(new, errors);
    let count = |object: &Value, kind: &str| {
        let all = list(&object["status"], "conditions").iter();
        all.filter(|c| c["type"] == kind).count()
    };
    for kind in FINAL.iter().filter(|k| count(new, k) < count(old, k)) {
        let detail = format!("updates may not remove a condition of type {}", quote(kind));
        errors.push(FieldError::forbidden("status.conditions", detail));
    }
    let (before, now) = (text(&old["status"], "certificate"), text(&new["status"], "certificate"));
    if before == now {
        return;
    }
    if !before.is_empty() {
        let detail = "updates may not modify existing certificate content";
        errors.push(FieldError::forbidden("status.certificate", detail));
    }
    if !has_block(now, "CERTIFICATE") {
        let detail = "must contain at least one CERTIFICATE PEM block";
        errors.push(FieldError::invalid("status.certificate", "<certificate data>", detail));
    }
}
