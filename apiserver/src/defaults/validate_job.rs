//! Validation of jobs (`pkg/apis/batch/validation` in Kubernetes).

use super::names;
use super::validate::{finalizers, nonnegative, validate_metadata_update};
use super::validate_job_policies;
use super::validate_parts::{label_selector, text};
use super::validate_pod;
use crate::schema::FieldError;
use crate::select::LabelSelector;
use serde_json::{Value, json};

/// A job.
pub(super) fn job(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    generated_selector(new, old, errors);
    let before = errors.len();
    selecting_job_spec(spec, errors);
    let of_spec = before..errors.len();
    pod_names(new, errors);
    if let Some(old) = old {
        // The strategy checks the object, and the check of the change its metadata and its spec again.
        errors.extend(validate_metadata_update(&new["metadata"], &old["metadata"]));
        finalizers(&new["metadata"], errors);
        errors.extend_from_within(of_spec);
        validate_job_policies::changes(new, old, errors);
    }
}

/// `validateGeneratedSelector`: labels by which a job knows its pods, unless somebody sees to that by hand.
fn generated_selector(job: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let (spec, metadata) = (&job["spec"], &job["metadata"]);
    if spec["manualSelector"] == true || spec["selector"].is_null() {
        return;
    }
    let (uid, name) = (text(metadata, "uid"), text(metadata, "name"));
    if uid.is_empty() {
        errors.push(FieldError::required("metadata.uid", ""));
    }
    let mut wanted = vec![("controller-uid", uid), ("job-name", name)];
    // Jobs of before there were these stay without them.
    let named = [
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
    ];
    let had = |old: &Value| {
        let labels = &old["spec"]["template"]["metadata"]["labels"];
        named.iter().all(|(label, _)| labels.get(label).is_some())
    };
    if old.is_none_or(had) {
        wanted.extend(named);
    }
    let labels = &spec["template"]["metadata"]["labels"];
    for (label, value) in &wanted {
        let path = format!("spec.template.metadata.labels[{label}]");
        match labels[*label].as_str() {
            None => errors.push(FieldError::required(path, format!("must be '{value}'"))),
            Some(own) if own != *value => {
                errors.push(FieldError::invalid(path, own, format!("must be '{value}'")));
            }
            Some(_) => {}
        }
    }
    let all: serde_json::Map<String, Value> = wanted.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let selected = LabelSelector::from_object(&spec["selector"]).map(|s| s.matches(&Value::Object(all)));
    if selected.is_ok_and(|matches| !matches) {
        let detail = "`selector` not auto-generated";
        errors.push(FieldError::invalid_internal(
            "spec.selector",
            "meta.LabelSelector",
            &spec["selector"],
            detail,
        ));
    }
}

/// A job's spec and its selector, which it has unless somebody took it away (`ValidateJobSpec`).
fn selecting_job_spec(spec: &Value, errors: &mut Vec<FieldError>) {
    job_spec(spec, "spec", errors);
    if spec["selector"].is_null() {
        errors.push(FieldError::required("spec.selector", ""));
    } else {
        label_selector(&spec["selector"], "spec.selector", errors);
    }
    let labels = &spec["template"]["metadata"]["labels"];
    let selected = LabelSelector::from_object(&spec["selector"]).map(|selector| selector.matches(labels));
    if spec["selector"].is_null() || selected.is_ok_and(|matches| !matches) {
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            labels.clone(),
            detail,
        ));
    }
}

/// Pods of an indexed job are called by the job's name and their index, which must do as a host's name.
fn pod_names(job: &Value, errors: &mut Vec<FieldError>) {
    let (name, spec) = (text(&job["metadata"], "name"), &job["spec"]);
    let last = spec["completions"].as_i64().unwrap_or_default() - 1;
    let pod = format!("{name}-{last}");
    if text(spec, "completionMode") == "Indexed" && last >= 0 && !names::dns1123_label(&pod).is_empty() {
        let detail = format!("will not able to create pod with invalid DNS label: {pod}");
        errors.push(FieldError::invalid("metadata.name", name, detail));
    }
}

pub(super) fn job_spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        nonnegative(spec, field, path, errors);
    }
    validate_job_policies::completion(spec, path, errors);
    validate_job_policies::policies(spec, path, errors);
    validate_pod::template(&spec["template"], &format!("{path}.template"), errors);
    let policy_path = format!("{path}.template.spec.restartPolicy");
    match text(&spec["template"]["spec"], "restartPolicy") {
        "OnFailure" if spec["podFailurePolicy"].is_object() => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(policy_path, "OnFailure", detail));
        }
        "OnFailure" | "Never" => {}
        "Always" | "" => {
            errors.push(FieldError::required(
                policy_path,
                "valid values: \"OnFailure\", \"Never\"",
            ));
        }
        other => errors.push(FieldError::not_supported(policy_path, other, &["OnFailure", "Never"])),
    }
}
