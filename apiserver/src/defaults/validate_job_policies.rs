//! Validation of what jobs say of failure and success (`pkg/apis/batch/validation` in Kubernetes).

use super::validate_parts::{by_rule, choice, list, repeated, text};
use super::{immutable, names};
use crate::schema::{FieldError, quote};
use serde_json::{Value, json};

/// More than that many completions ask for a limit of failures, and for fewer pods at once.
const MANY: i64 = 100_000;
/// That limit.
const FEW: i64 = 10_000;

/// How a job counts its completions, and who sees to it.
pub(super) fn completion(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let number = |field: &str| spec[field].as_i64();
    let (failed, all) = (number("maxFailedIndexes"), number("completions"));
    let per_index = !spec["backoffLimitPerIndex"].is_null();
    if failed.is_some() && !per_index {
        let detail = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(format!("{path}.backoffLimitPerIndex"), detail));
    }
    if let Some(name) = spec["managedBy"].as_str() {
        super::validate::prefixed_path(name, &format!("{path}.managedBy"), errors);
    }
    let above = |field: &str, limit: i64, detail: &str, errors: &mut Vec<FieldError>| {
        if let Some(n) = number(field).filter(|n| *n > limit) {
            errors.push(FieldError::invalid(format!("{path}.{field}"), n, detail));
        }
    };
    match spec["completionMode"].as_str() {
        Some("Indexed") => {
            if all.is_none() {
                let detail = "when completion mode is Indexed";
                errors.push(FieldError::required(format!("{path}.completions"), detail));
            }
            let detail = format!("must be less than or equal to {MANY} when completion mode is Indexed");
            above("parallelism", MANY, &detail, errors);
            if let Some(all) = all {
                above(
                    "maxFailedIndexes",
                    all,
                    "must be less than or equal to completions",
                    errors,
                );
            }
            let detail = format!("must be less than or equal to {MANY}");
            above("maxFailedIndexes", MANY, &detail, errors);
            if per_index && all.is_some_and(|all| all > MANY) {
                let detail = format!(
                    "must be less than or equal to {FEW} when completions are above {MANY} and used with backoff limit per \
                     index"
                );
                above("parallelism", FEW, &detail, errors);
                above("maxFailedIndexes", FEW, &detail, errors);
                if failed.is_none() {
                    let detail = format!("must be specified when completions is above {MANY}");
                    errors.push(FieldError::required(format!("{path}.maxFailedIndexes"), detail));
                }
            }
        }
        None | Some("NonIndexed") => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                above(field, i64::MIN, "requires indexed completion mode", errors);
            }
        }
        Some(other) => {
            let valid = ["NonIndexed", "Indexed"];
            errors.push(FieldError::not_supported(
                format!("{path}.completionMode"),
                other,
                &valid,
            ));
        }
    }
}

/// What a job says of failure, success and pods that go.
pub(super) fn policies(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if spec["podFailurePolicy"].is_object() {
        for (i, rule) in list(&spec["podFailurePolicy"], "rules").iter().enumerate() {
            failure_rule(rule, spec, &format!("{path}.podFailurePolicy.rules[{i}]"), errors);
        }
    }
    success(spec, path, errors);
    let replacement: &[&str] = match spec["podFailurePolicy"].is_object() {
        true => &["Failed"],
        false => &["Failed", "TerminatingOrFailed"],
    };
    choice(spec, "podReplacementPolicy", replacement, path, errors);
}

/// What may change in a job's spec (`ValidateJobSpecUpdate`).
pub(super) fn changes(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (spec, was) = (&new["spec"], &old["spec"]);
    let stay = |fields: &[&str], errors: &mut Vec<FieldError>| {
        for path in fields {
            immutable::places("batch.Job", &[(path, path)], new, old, errors);
        }
    };
    let (now, before) = (&spec["completions"], &was["completions"]);
    if text(spec, "completionMode") != "Indexed" {
        stay(&["spec.completions"], errors);
    } else if now != before && !now.is_null() && *now != spec["parallelism"] {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.push(FieldError::invalid("spec.completions", now.clone(), detail));
    }
    stay(&["spec.selector"], errors);
    template_changes(new, old, errors);
    let fields = [
        "spec.completionMode",
        "spec.podFailurePolicy",
        "spec.backoffLimitPerIndex",
        "spec.managedBy",
        "spec.successPolicy",
    ];
    stay(&fields, errors);
}

/// The template of a job stays, but for where its pods may run and what they ask for while it is suspended and none runs.
fn template_changes(new_job: &Value, old_job: &Value, errors: &mut Vec<FieldError>) {
    let (template, old) = (&new_job["spec"]["template"], &old_job["spec"]["template"]);
    let suspended = old_job["spec"]["suspend"] == true;
    let status = &old_job["status"];
    let of_condition = |c: &Value| c["type"] == "Suspended" && c["status"] == "True";
    let may_change = suspended
        && (status["startTime"].is_null() || list(status, "conditions").iter().any(of_condition))
        && status["active"].as_i64().unwrap_or_default() == 0;
    if !may_change {
        let path = "spec.template";
        immutable::places("batch.Job", &[(path, path)], new_job, old_job, errors);
        return;
    }
    let mut allowed = old["spec"].clone();
    let node_affinity = &template["spec"]["affinity"]["nodeAffinity"];
    if template["spec"]["affinity"].is_null() {
        set(&mut allowed["affinity"], "nodeAffinity", &Value::Null);
        if allowed["affinity"].as_object().is_none_or(serde_json::Map::is_empty) {
            set(&mut allowed, "affinity", &Value::Null);
        }
    } else {
        if allowed["affinity"].is_null() {
            allowed["affinity"] = json!({});
        }
        set(&mut allowed["affinity"], "nodeAffinity", node_affinity);
    }
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        set(&mut allowed, field, &template["spec"][field]);
    }
    for which in ["containers", "initContainers"] {
        let new = list(&template["spec"], which);
        if let Some(all) = allowed[which].as_array_mut().filter(|all| all.len() == new.len()) {
            for (container, new) in all.iter_mut().zip(new).filter(|(c, n)| c["name"] == n["name"]) {
                set(container, "resources", &new["resources"]);
            }
        }
    }
    // Indexing may have left what is not there.
    if let Some(m) = allowed.as_object_mut() {
        m.retain(|_, v| !v.is_null());
    }
    let (path, allowed) = ("spec.template.spec", json!({"spec": {"template": {"spec": allowed}}}));
    immutable::places("batch.Job", &[(path, path)], new_job, &allowed, errors);
}

/// Sets a field, or takes it away.
fn set(of: &mut Value, field: &str, to: &Value) {
    if let Value::Object(of) = of {
        match to {
            Value::Null => drop(of.remove(field)),
            to => drop(of.insert(field.to_owned(), to.clone())),
        }
    }
}

fn failure_rule(rule: &Value, spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let action = text(rule, "action");
    let at = format!("{path}.action");
    if action.is_empty() {
        let detail = "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]";
        errors.push(FieldError::required(at, detail));
    } else if action == "FailIndex" {
        if spec["backoffLimitPerIndex"].is_null() {
            let detail = "requires the backoffLimitPerIndex to be set";
            errors.push(FieldError::invalid(at, action, detail));
        }
    } else {
        choice(
            rule,
            "action",
            &["Count", "FailIndex", "FailJob", "Ignore"],
            path,
            errors,
        );
    }
    let codes = &rule["onExitCodes"];
    if codes.is_object() {
        exit_codes(codes, spec, &format!("{path}.onExitCodes"), errors);
    }
    let conditions = list(rule, "onPodConditions");
    for (i, condition) in conditions.iter().enumerate() {
        let path = format!("{path}.onPodConditions[{i}]");
        by_rule(
            text(condition, "type"),
            format!("{path}.type"),
            names::qualified_name,
            errors,
        );
        match text(condition, "status") {
            "" => {
                let detail = "valid values: [\"False\" \"True\" \"Unknown\"]";
                errors.push(FieldError::required(format!("{path}.status"), detail));
            }
            _ => choice(condition, "status", &["False", "True", "Unknown"], &path, errors),
        }
    }
    match (codes.is_object(), conditions.is_empty()) {
        (true, false) => {
            let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
            errors.push(without_value(path, detail));
        }
        (false, true) => {
            let detail = "specifying one of OnExitCodes and OnPodConditions is required";
            errors.push(without_value(path, detail));
        }
        _ => {}
    }
}

/// What is wrong without showing what was given.
fn without_value(path: &str, detail: &str) -> FieldError {
    let mut error = FieldError::invalid(path, Value::Null, detail);
    error.value = None;
    error
}

fn exit_codes(codes: &Value, spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match text(codes, "operator") {
        "" => {
            let detail = "valid values: [\"In\" \"NotIn\"]";
            errors.push(FieldError::required(format!("{path}.operator"), detail));
        }
        _ => choice(codes, "operator", &["In", "NotIn"], path, errors),
    }
    if let Some(name) = codes["containerName"].as_str() {
        let pod = &spec["template"]["spec"];
        let known = ["containers", "initContainers"]
            .iter()
            .any(|which| list(pod, which).iter().any(|c| text(c, "name") == name));
        if !known {
            let detail = "must be one of the container or initContainer names in the pod template";
            errors.push(FieldError::invalid(format!("{path}.containerName"), name, detail));
        }
    }
    let values = list(codes, "values");
    if values.is_empty() {
        let detail = "at least one value is required";
        // As Go shows it: none, or an empty one.
        let shown = codes.get("values").cloned().unwrap_or_default();
        errors.push(FieldError::invalid(format!("{path}.values"), shown, detail));
    }
    // What is null there is nothing, which is a number too.
    let values: Vec<i64> = values.iter().map(|v| v.as_i64().unwrap_or_default()).collect();
    for ((i, value), again) in values.iter().enumerate().zip(repeated(&values)) {
        let at = format!("{path}.values[{i}]");
        if text(codes, "operator") == "In" && *value == 0 {
            errors.push(FieldError::invalid(at.as_str(), 0, "must not be 0 for the In operator"));
        }
        if again {
            errors.push(FieldError::duplicate(at, *value));
        }
    }
    if !values.is_sorted() {
        errors.push(FieldError::invalid(format!("{path}.values"), values, "must be ordered"));
    }
}

fn success(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let policy = &spec["successPolicy"];
    if !policy.is_object() {
        return;
    }
    let at = format!("{path}.successPolicy");
    if text(spec, "completionMode") != "Indexed" {
        errors.push(FieldError::invalid_internal(
            at,
            "batch.SuccessPolicy",
            policy,
            "requires indexed completion mode",
        ));
        return;
    }
    let rules = list(policy, "rules");
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(format!("{at}.rules"), detail));
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = format!("{at}.rules[{i}]");
        if rule["succeededCount"].is_null() && rule["succeededIndexes"].is_null() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(FieldError::required(at.as_str(), detail));
        }
        let all = spec["completions"].as_i64().unwrap_or_default();
        let mut named = None;
        if let Some(indexes) = rule["succeededIndexes"].as_str() {
            let counted = count(indexes, all);
            named = Some(*counted.as_ref().unwrap_or(&0));
            if let Err(why) = counted {
                let detail = format!("error parsing succeededIndexes: {why}");
                errors.push(FieldError::invalid(format!("{at}.succeededIndexes"), indexes, detail));
            }
        }
        let Some(wanted) = rule["succeededCount"].as_i64() else {
            continue;
        };
        let at = format!("{at}.succeededCount");
        let fewer = |most: i64, what: &str| {
            let detail = format!("must be less than or equal to {most} ({what})");
            FieldError::invalid(at.as_str(), wanted, detail)
        };
        if wanted < 0 {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(at.as_str(), wanted, detail));
        }
        if wanted > all {
            errors.push(fewer(all, "the number of specified completions"));
        }
        if let Some(named) = named.filter(|n| wanted > *n) {
            let what = "the number of indexes in the specified succeededIndexes field";
            errors.push(fewer(named, what));
        }
    }
}

/// How many indexes there are in intervals of them: `1,3-5` (`validateIndexesFormat`).
pub(super) fn count(indexes: &str, all: i64) -> Result<i64, String> {
    let (mut last, mut total): (Option<i64>, i64) = (None, 0);
    for part in indexes.split(',').filter(|_| !indexes.is_empty()) {
        let (x, y) = interval(part, all)?;
        if let Some(last) = last.filter(|last| *last >= x) {
            return Err(format!("non-increasing order, previous: {last}, current: {x}"));
        }
        total += y - x + 1;
        last = Some(y);
    }
    Ok(total)
}

/// One interval of indexes below `all` (`parseIndexInterval`).
pub(super) fn interval(text: &str, all: i64) -> Result<(i64, i64), String> {
    let number = |text: &str| {
        let value = text
            .parse::<i64>()
            .map_err(|_| format!("cannot convert string to integer for index: {}", quote(text)))?;
        if value >= all {
            return Err(format!("too large index: {}", quote(text)));
        }
        Ok(value)
    };
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let (x, y) = (number(start)?, number(end)?);
    if x > y {
        return Err(format!("non-increasing order, previous: {x}, current: {y}"));
    }
    Ok((x, y))
}
