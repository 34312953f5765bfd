//! Validation of what is written to a job's `status` (`validateJobStatus`, `ValidateJobStatusUpdate` in Kubernetes): most of
//! it is asked only of what the write changes (`getStatusValidationOptions`).

use super::nonnegative;
use crate::defaults::immutable;
use crate::defaults::validate_job_policies::{count, interval};
use crate::defaults::validate_parts::{list, number, text};
use crate::schema::{FieldError, FieldErrorKind, same};
use serde_json::Value;
use std::collections::BTreeSet;

fn has(status: &Value, condition: &str, value: &str) -> bool {
    list(status, "conditions")
        .iter()
        .any(|c| c["type"] == condition && c["status"] == value)
}

/// Something wrong with the conditions as a whole.
fn conditions(detail: &str) -> FieldError {
    FieldError {
        path: "status.conditions".to_owned(),
        kind: FieldErrorKind::Invalid,
        value: None,
        detail: detail.to_owned(),
    }
}

pub(super) fn job(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let (was, status, spec) = (&old["status"], &new["status"], &old["spec"]);
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        nonnegative(status, field, "status", errors);
    }
    uncounted(status, errors);
    ended(was, status, spec, errors);
    indexes(was, status, spec, errors);
    let changed = |field: &str| !same("batch/v1", "Job", &["status", field], &was[field], &status[field]);
    let done = |s: &Value| has(s, "Complete", "True") || has(s, "Failed", "True");
    let terminating = number(status, "terminating");
    if terminating > 0 && done(status) && (done(was) != done(status) || changed("terminating")) {
        let detail = "terminating>0 is invalid for finished job";
        errors.push(FieldError::invalid("status.terminating", terminating, detail));
    }
    let ready = number(status, "ready");
    if ready > number(status, "active") && !status["ready"].is_null() && (changed("ready") || changed("active")) {
        let detail = "cannot set more ready pods than active";
        errors.push(FieldError::invalid("status.ready", ready, detail));
    }
    let is = |condition: &str| has(status, condition, "True");
    for other in ["Failed", "FailureTarget"] {
        if is("SuccessCriteriaMet") && is(other) {
            errors.push(conditions(&format!(
                "cannot set SuccessCriteriaMet=True and {other}=true conditions"
            )));
        }
    }
    if spec["successPolicy"].is_object() && !is("SuccessCriteriaMet") && is("Complete") {
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        errors.push(conditions(detail));
    }
    changes(was, status, spec, errors);
}

/// Pods that have ended and are not counted yet, each of them once.
fn uncounted(status: &Value, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for side in ["succeeded", "failed"] {
        for (i, uid) in list(&status["uncountedTerminatedPods"], side).iter().enumerate() {
            let path = format!("status.uncountedTerminatedPods.{side}[{i}]");
            let uid = uid.as_str().unwrap_or_default();
            if uid.is_empty() {
                errors.push(FieldError::invalid(path, "", "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(FieldError::duplicate(path, uid));
            }
        }
    }
}

/// How a job comes to its end.
fn ended(was: &Value, status: &Value, spec: &Value, errors: &mut Vec<FieldError>) {
    let is = |condition: &str| has(status, condition, "True");
    let turned = |condition: &str| has(was, condition, "True") != is(condition);
    let changed = |field: &str| !same("batch/v1", "Job", &["status", field], &was[field], &status[field]);
    for other in ["Failed", "FailureTarget"] {
        if (turned("Complete") || turned(other)) && is("Complete") && is(other) {
            errors.push(conditions(&format!(
                "cannot set Complete=True and {other}=true conditions"
            )));
        }
    }
    let (path, time) = ("status.completionTime", &status["completionTime"]);
    if turned("Complete") || changed("completionTime") {
        if !time.is_null() && !is("Complete") {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            errors.push(FieldError::invalid(path, time.clone(), detail));
        }
        if time.is_null() && is("Complete") {
            let detail = "completionTime is required for Complete jobs";
            errors.push(FieldError::required(path, detail));
        }
    }
    let read = |v: &Value| v.as_str()?.parse::<jiff::Timestamp>().ok();
    if let (Some(start), Some(end)) = (read(&status["startTime"]), read(time))
        && end < start
        && (changed("startTime") || changed("completionTime"))
    {
        let detail = "must be equal to or after `startTime`";
        errors.push(FieldError::invalid(path, time.clone(), detail));
    }
    for (end, before, asked) in [
        ("Failed", "FailureTarget", turned("Failed") || changed("failedIndexes")),
        (
            "Complete",
            "SuccessCriteriaMet",
            turned("Complete") || turned("SuccessCriteriaMet"),
        ),
    ] {
        if asked && is(end) && !is(before) {
            errors.push(conditions(&format!(
                "cannot set {end}=True condition without the {before}=true condition"
            )));
        }
    }
    let done = |s: &Value| has(s, "Complete", "True") || has(s, "Failed", "True");
    if !done(status) {
        return;
    }
    let finishes = !done(was);
    let active = number(status, "active");
    if active > 0 && (finishes || changed("active")) {
        errors.push(FieldError::invalid(
            "status.active",
            active,
            "active>0 is invalid for finished job",
        ));
    }
    let never = spec["suspend"] == true && spec["completions"] == 0;
    if status["startTime"].is_null() && (finishes || changed("startTime")) && !never {
        let detail = "startTime is required for finished job";
        errors.push(FieldError::required("status.startTime", detail));
    }
    let field = "uncountedTerminatedPods";
    let left = ["succeeded", "failed"]
        .iter()
        .any(|s| !list(&status[field], s).is_empty());
    if left && (finishes || changed(field)) {
        let detail = "must be empty for finished job";
        errors.push(FieldError::invalid_internal(
            format!("status.{field}"),
            "batch.UncountedTerminatedPods",
            &status[field],
            detail,
        ));
    }
}

/// Which indexes are done with, well or not.
fn indexes(was: &Value, status: &Value, spec: &Value, errors: &mut Vec<FieldError>) {
    let (completed, failed) = (text(status, "completedIndexes"), status["failedIndexes"].as_str());
    let turned = completed != text(was, "completedIndexes");
    let turned_failed = status["failedIndexes"] != was["failedIndexes"];
    let (all, per_index) = (spec["completions"].as_i64(), !spec["backoffLimitPerIndex"].is_null());
    let mut format = |field: &str, given: &str, all: i64| {
        if let Err(why) = count(given, all) {
            let detail = format!("error parsing {field}: {why}");
            errors.push(FieldError::invalid(format!("status.{field}"), given, detail));
        }
    };
    if let (Some(all), true) = (all, turned) {
        format("completedIndexes", completed, all);
    }
    if let (Some(all), Some(failed), true, true) = (all, failed, per_index, turned_failed) {
        format("failedIndexes", failed, all);
    }
    if turned && !completed.is_empty() && spec["completionMode"] != "Indexed" {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(FieldError::invalid("status.completedIndexes", completed, detail));
    }
    let Some(failed) = failed else { return };
    if turned_failed && !per_index {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(FieldError::invalid("status.failedIndexes", failed, detail));
    }
    if let (Some(all), true) = (all, turned || turned_failed)
        && let Some(index) = overlap(completed, failed, all)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.push(FieldError::invalid("status.failedIndexes", failed, detail));
    }
}

/// The first index that is in both; intervals that cannot be read are passed over.
fn overlap(completed: &str, failed: &str, all: i64) -> Option<i64> {
    let read = |of: &str| -> Vec<(i64, i64)> { of.split(',').filter_map(|i| interval(i, all).ok()).collect() };
    let (completed, failed) = (read(completed), read(failed));
    let (mut done, mut lost) = (completed.iter().peekable(), failed.iter().peekable());
    while let (Some((a, b)), Some((x, y))) = (done.peek(), lost.peek()) {
        if a <= y && x <= b {
            return Some(*a.max(x));
        }
        if a <= x {
            done.next();
        } else {
            lost.next();
        }
    }
    None
}

/// What a write may not undo.
fn changes(was: &Value, status: &Value, spec: &Value, errors: &mut Vec<FieldError>) {
    let lost = |condition: &str| has(was, condition, "True") && !has(status, condition, "True");
    for end in ["Failed", "Complete", "FailureTarget"] {
        if lost(end) {
            errors.push(conditions(&format!("cannot disable the terminal {end}=True condition")));
        }
    }
    // Jobs that are scaled down have fewer that succeeded.
    let scales = spec["completionMode"] == "Indexed" && spec["completions"] == spec["parallelism"];
    for (field, asked) in [("failed", true), ("succeeded", !scales)] {
        let now = number(status, field);
        if asked && now < number(was, field) {
            let detail = format!("cannot decrease the {field} counter");
            errors.push(FieldError::invalid(format!("status.{field}"), now, detail));
        }
    }
    let (now, before) = (&status["completionTime"], &was["completionTime"]);
    if !now.is_null() && !before.is_null() && now != before {
        errors.push(immutable::changed("status.completionTime", now.clone()));
    }
    let (now, before) = (&status["startTime"], &was["startTime"]);
    let resumes = has(was, "Suspended", "True") && has(status, "Suspended", "False");
    if !before.is_null() && now != before && spec["suspend"] != true && !resumes {
        let detail = "field is immutable for unsuspended job once set";
        errors.push(FieldError::invalid("status.startTime", now.clone(), detail));
    }
    if lost("SuccessCriteriaMet") {
        errors.push(conditions("cannot disable the SuccessCriteriaMet=True condition"));
    }
    let met = |s: &Value| has(s, "SuccessCriteriaMet", "True");
    if has(was, "Complete", "True") && !met(was) && met(status) {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.push(conditions(detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_done_stays_done() {
        let spec = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 2, "backoffLimitPerIndex": 1});
        let was = json!({"succeeded": 1, "failed": 1, "startTime": "2024-01-01T00:00:00Z"});
        let with = |more: Value| {
            let mut status = was.clone();
            for (k, v) in more.as_object().unwrap() {
                status[k] = v.clone();
            }
            status
        };
        for (status, wanted) in [
            (with(json!({"succeeded": 2, "completedIndexes": "0-1"})), vec![]),
            (
                with(json!({"failed": 0})),
                vec!["status.failed: Invalid value: 0: cannot decrease the failed counter"],
            ),
            (
                with(json!({"ready": 1})),
                vec!["status.ready: Invalid value: 1: cannot set more ready pods than active"],
            ),
            (
                with(json!({"completedIndexes": "0-2", "failedIndexes": "2,4"})),
                vec![
                    "status.failedIndexes: Invalid value: \"2,4\": failedIndexes and completedIndexes overlap at index: 2",
                ],
            ),
            (
                with(json!({"startTime": "2024-01-02T00:00:00Z"})),
                vec![
                    "status.startTime: Invalid value: \"2024-01-02T00:00:00Z\": field is immutable for unsuspended job once set",
                ],
            ),
        ] {
            let mut errors = Vec::new();
            let (old, new) = (
                json!({"spec": spec, "status": was}),
                json!({"spec": spec, "status": status}),
            );
            job(&old, &new, &mut errors);
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(told, wanted);
        }
    }
}
