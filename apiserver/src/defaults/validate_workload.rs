//! Validation of workloads (`pkg/apis/apps/validation`, `pkg/apis/batch/validation` in Kubernetes).

use super::validate::{immutable, nonnegative, one_of};
use super::validate_pod;
use crate::schema::FieldError;
use crate::select::LabelSelector;
use serde_json::{Map, Value};

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// Deployment, ReplicaSet, DaemonSet, StatefulSet.
pub(super) fn apps(kind: &str, new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    for field in [
        "replicas",
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
    ] {
        nonnegative(spec, field, "spec", errors);
    }
    selector(kind, spec, errors);
    let template = &spec["template"];
    validate_pod::template(template, "spec.template", errors);
    if template["spec"]["restartPolicy"] != "Always" {
        let policy = text(&template["spec"], "restartPolicy");
        errors.push(FieldError::not_supported(
            "spec.template.spec.restartPolicy",
            policy,
            &["Always"],
        ));
    }
    if !template["spec"]["activeDeadlineSeconds"].is_null() {
        let kind = if kind == "Deployment" { "ReplicaSet" } else { kind };
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            detail,
        ));
    }
    match kind {
        "Deployment" => deployment_strategy(spec, errors),
        "DaemonSet" => one_of(
            &spec["updateStrategy"],
            "type",
            &["RollingUpdate", "OnDelete"],
            "spec.updateStrategy",
            errors,
        ),
        "StatefulSet" => {
            one_of(
                spec,
                "podManagementPolicy",
                &["OrderedReady", "Parallel"],
                "spec",
                errors,
            );
            one_of(
                &spec["updateStrategy"],
                "type",
                &["OnDelete", "RollingUpdate"],
                "spec.updateStrategy",
                errors,
            );
        }
        _ => {}
    }
    let Some(old) = old else { return };
    if kind == "StatefulSet" {
        let fixed = |object: &Value| {
            let mut spec = object["spec"].as_object().cloned().unwrap_or_default();
            for field in [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ] {
                spec.remove(field);
            }
            spec
        };
        if fixed(new) != fixed(old) {
            let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                          'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                          'minReadySeconds' are forbidden";
            errors.push(FieldError::forbidden("spec", detail));
        }
    } else {
        immutable(&spec["selector"], &old["spec"]["selector"], "spec.selector", errors);
    }
}

fn selector(kind: &str, spec: &Value, errors: &mut Vec<FieldError>) {
    let selector = &spec["selector"];
    if selector.is_null() {
        errors.push(FieldError::required("spec.selector", ""));
    }
    let empty = |name: &str| match &selector[name] {
        Value::Object(labels) => labels.is_empty(),
        Value::Array(expressions) => expressions.is_empty(),
        _ => true,
    };
    if !selector.is_null() && empty("matchLabels") && empty("matchExpressions") {
        // Upstream says deployment for replica sets too.
        let kind = if kind == "ReplicaSet" {
            "deployment".to_owned()
        } else {
            kind.to_lowercase()
        };
        let detail = format!("empty selector is invalid for {kind}");
        errors.push(FieldError::invalid("spec.selector", selector.clone(), detail));
        return;
    }
    let labels = &spec["template"]["metadata"]["labels"];
    match LabelSelector::from_object(selector) {
        Err(_) => errors.push(FieldError::invalid(
            "spec.selector",
            selector.clone(),
            "invalid label selector",
        )),
        Ok(parsed) if parsed.is_nothing() || !parsed.matches(labels) => {
            let labels = labels
                .as_object()
                .map_or_else(|| Value::Object(Map::new()), |_| labels.clone());
            let detail = "`selector` does not match template `labels`";
            errors.push(FieldError::invalid("spec.template.metadata.labels", labels, detail));
        }
        Ok(_) => {}
    }
}

fn deployment_strategy(spec: &Value, errors: &mut Vec<FieldError>) {
    let strategy = &spec["strategy"];
    match text(strategy, "type") {
        "Recreate" => {
            if !strategy["rollingUpdate"].is_null() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                errors.push(FieldError::forbidden("spec.strategy.rollingUpdate", detail));
            }
        }
        "RollingUpdate" => {
            let rolling = &strategy["rollingUpdate"];
            let mut zero = true;
            for field in ["maxUnavailable", "maxSurge"] {
                let path = format!("spec.strategy.rollingUpdate.{field}");
                zero &= int_or_percent(&rolling[field], &path, errors) == Some(0);
            }
            if zero {
                let detail = "may not be 0 when `maxSurge` is 0";
                let value = rolling["maxUnavailable"].clone();
                errors.push(FieldError::invalid(
                    "spec.strategy.rollingUpdate.maxUnavailable",
                    value,
                    detail,
                ));
            }
        }
        other => errors.push(FieldError::not_supported(
            "spec.strategy.type",
            other,
            &["Recreate", "RollingUpdate"],
        )),
    }
    if let (Some(deadline), ready) = (
        spec["progressDeadlineSeconds"].as_i64(),
        spec["minReadySeconds"].as_i64(),
    ) && deadline <= ready.unwrap_or_default()
    {
        let detail = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid("spec.progressDeadlineSeconds", deadline, detail));
    }
}

/// A number or a percentage; its number.
fn int_or_percent(value: &Value, path: &str, errors: &mut Vec<FieldError>) -> Option<i64> {
    match value {
        Value::Number(number) => {
            let number = number.as_i64()?;
            if number < 0 {
                errors.push(FieldError::invalid(path, number, "must be greater than or equal to 0"));
            }
            Some(number)
        }
        Value::String(text) => {
            let number = text
                .strip_suffix('%')
                .filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|n| n.parse().ok());
            match number {
                Some(number) if number > 100 && path.ends_with("maxUnavailable") => {
                    errors.push(FieldError::invalid(
                        path,
                        text.as_str(),
                        "must not be greater than 100%",
                    ));
                    Some(number)
                }
                Some(number) => Some(number),
                None => {
                    let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. \
                                  '1%',  or '93%', regex used for validation is '[0-9]+%')";
                    errors.push(FieldError::invalid(path, text.as_str(), detail));
                    None
                }
            }
        }
        _ => None,
    }
}

/// A job.
pub(super) fn job(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    job_spec(spec, "spec", errors);
    let labels = &spec["template"]["metadata"]["labels"];
    let selected = LabelSelector::from_object(&spec["selector"]).is_ok_and(|selector| selector.matches(labels));
    if !spec["selector"].is_null() && !selected {
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            labels.clone(),
            detail,
        ));
    }
    let Some(old) = old.map(|old| &old["spec"]) else { return };
    // An indexed job may change its completions together with its parallelism (elastic indexed jobs).
    let elastic = spec["completionMode"] == "Indexed" && spec["completions"] == spec["parallelism"];
    if !elastic {
        immutable(&spec["completions"], &old["completions"], "spec.completions", errors);
    }
    immutable(&spec["selector"], &old["selector"], "spec.selector", errors);
    if old["suspend"] != true {
        immutable(&spec["template"], &old["template"], "spec.template", errors);
    }
    for field in [
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        immutable(&spec[field], &old[field], &format!("spec.{field}"), errors);
    }
}

fn job_spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
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
    match text(spec, "completionMode") {
        "Indexed" if spec["completions"].is_null() => {
            errors.push(FieldError::required(
                format!("{path}.completions"),
                "when completion mode is Indexed",
            ));
        }
        "Indexed" => {}
        "" | "NonIndexed" => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if !spec[field].is_null() {
                    let detail = "requires indexed completion mode";
                    errors.push(FieldError::invalid(
                        format!("{path}.{field}"),
                        spec[field].clone(),
                        detail,
                    ));
                }
            }
        }
        other => {
            let valid = ["NonIndexed", "Indexed"];
            errors.push(FieldError::not_supported(
                format!("{path}.completionMode"),
                other,
                &valid,
            ));
        }
    }
    validate_pod::template(&spec["template"], &format!("{path}.template"), errors);
    let policy_path = format!("{path}.template.spec.restartPolicy");
    match text(&spec["template"]["spec"], "restartPolicy") {
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

/// A cron job.
pub(super) fn cron_job(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        errors.push(FieldError::required("spec.schedule", ""));
    } else if !schedule.starts_with('@') && schedule.split_ascii_whitespace().count() != 5 {
        let count = schedule.split_ascii_whitespace().count();
        let fields: Vec<&str> = schedule.split_ascii_whitespace().collect();
        let detail = format!("expected exactly 5 fields, found {count}: [{}]", fields.join(" "));
        errors.push(FieldError::invalid("spec.schedule", schedule, detail));
    }
    one_of(
        spec,
        "concurrencyPolicy",
        &["Allow", "Forbid", "Replace"],
        "spec",
        errors,
    );
    for field in [
        "startingDeadlineSeconds",
        "successfulJobsHistoryLimit",
        "failedJobsHistoryLimit",
    ] {
        nonnegative(spec, field, "spec", errors);
    }
    job_spec(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", errors);
    // The job's name gets eleven characters more than the cron job's.
    let name = text(&new["metadata"], "name");
    if name.len() > 52 {
        errors.push(FieldError::invalid(
            "metadata.name",
            name,
            "must be no more than 52 characters",
        ));
    }
}
