//! Validation of workloads (`pkg/apis/apps/validation`, `pkg/apis/batch/validation` in Kubernetes).

use super::validate::nonnegative;
use super::validate_parts::{choice, label_selector, list, named, text};
use super::validate_pod;
use super::{immutable, names};
use crate::schema::{FieldError, Printed, same};
use crate::select::LabelSelector;
use serde_json::{Value, json};

/// Deployment, ReplicaSet, DaemonSet, StatefulSet: each checks in an order of its own.
pub(super) fn apps(kind: &str, new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let counted = |fields: &[&str], errors: &mut Vec<FieldError>| {
        fields.iter().for_each(|field| nonnegative(spec, field, "spec", errors));
    };
    let selector_stays = |old: &Value, errors: &mut Vec<FieldError>| {
        // The types of all of them have it in the same place.
        immutable::places(
            "apps.Deployment",
            &[("spec.selector", "spec.selector")],
            new,
            old,
            errors,
        );
    };
    if let ("DaemonSet", Some(old)) = (kind, old) {
        selector_stays(old, errors);
    }
    match kind {
        "Deployment" => {
            counted(&["replicas"], errors);
            if selector("deployment", spec, errors) {
                pod_template("ReplicaSet", spec, errors);
            }
            deployment_strategy(spec, errors);
            counted(
                &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"],
                errors,
            );
            progress(spec, errors);
        }
        "ReplicaSet" => {
            counted(&["replicas", "minReadySeconds"], errors);
            // Upstream says deployment for replica sets too.
            if selector("deployment", spec, errors) {
                pod_template(kind, spec, errors);
            }
        }
        "DaemonSet" => {
            selector("daemonset", spec, errors);
            pod_template(kind, spec, errors);
            counted(&["minReadySeconds"], errors);
            daemon_strategy(spec, errors);
            counted(&["revisionHistoryLimit"], errors);
        }
        _ => {
            stateful(spec, errors);
            // They stay as they are, even those that others would not be let make.
            if old.is_none() {
                for (i, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
                    let path = format!("spec.volumeClaimTemplates[{i}].spec");
                    super::validate::claim_spec(&claim["spec"], &path, errors);
                }
            }
            counted(&["replicas", "minReadySeconds"], errors);
            nonnegative(&spec["ordinals"], "start", "spec.ordinals", errors);
            if old.is_none() {
                named(spec, "serviceName", names::dns1123_label, "spec", errors);
            }
            if selector("statefulset", spec, errors) {
                pod_template(kind, spec, errors);
            }
        }
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
            Value::Object(spec)
        };
        if !same("apps/v1", "StatefulSet", &["spec"], &fixed(new), &fixed(old)) {
            let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                          'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                          'minReadySeconds' are forbidden";
            errors.push(FieldError::forbidden("spec", detail));
        }
    } else if kind != "DaemonSet" {
        selector_stays(old, errors);
    }
}

fn daemon_strategy(spec: &Value, errors: &mut Vec<FieldError>) {
    let strategy = &spec["updateStrategy"];
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let path = "spec.updateStrategy.rollingUpdate";
            let rolling = &strategy["rollingUpdate"];
            let (least, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            for (value, field) in [(least, "maxUnavailable"), (surge, "maxSurge")] {
                positive(value, &format!("{path}.{field}"), errors);
            }
            for (value, field) in [(least, "maxUnavailable"), (surge, "maxSurge")] {
                not_more_than_all(value, &format!("{path}.{field}"), errors);
            }
            match (number_or_percent(least) != 0, number_or_percent(surge) != 0) {
                (true, true) => errors.push(FieldError::invalid(
                    format!("{path}.maxSurge"),
                    surge.clone(),
                    "may not be set when maxUnavailable is non-zero",
                )),
                (false, false) => errors.push(FieldError::required(
                    format!("{path}.maxUnavailable"),
                    "cannot be 0 when maxSurge is 0",
                )),
                _ => {}
            }
        }
        _ => {
            let valid = ["RollingUpdate", "OnDelete"];
            let (path, of) = ("spec.updateStrategy", "apps.DaemonSetUpdateStrategy");
            errors.push(FieldError::not_supported_internal(path, of, strategy, &valid));
        }
    }
}

/// A set's template with the volumes that its claims become.
fn with_claims(spec: &Value) -> Value {
    let claims = list(spec, "volumeClaimTemplates");
    let mut template = spec["template"].clone();
    // Each pod gets its own.
    if let Some(spec) = template["spec"].as_object_mut() {
        spec.remove("hostname");
        spec.remove("subdomain");
    }
    if claims.is_empty() {
        return template;
    }
    let name = |claim: &Value| claim["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = Vec::new();
    for name in claims.iter().map(name) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let own = list(&template["spec"], "volumes").iter();
    // Those of the template with a claim's name give way.
    let own = own.filter(|v| !names.iter().any(|n| v["name"] == n.as_str())).cloned();
    let volumes: Vec<Value> = names
        .iter()
        .map(|n| json!({"name": n, "persistentVolumeClaim": {"claimName": n}}))
        .chain(own)
        .collect();
    template["spec"]["volumes"] = volumes.into();
    template
}

fn stateful(spec: &Value, errors: &mut Vec<FieldError>) {
    match text(spec, "podManagementPolicy") {
        "" => errors.push(FieldError::required("spec.podManagementPolicy", "")),
        "OrderedReady" | "Parallel" => {}
        other => {
            let detail = "must be 'OrderedReady' or 'Parallel'";
            errors.push(FieldError::invalid("spec.podManagementPolicy", other, detail));
        }
    }
    let strategy = &spec["updateStrategy"];
    let rolling = &strategy["rollingUpdate"];
    match text(strategy, "type") {
        "OnDelete" => {
            if rolling.is_object() {
                let detail = "only allowed for updateStrategy 'RollingUpdate'";
                let (path, of) = (
                    "spec.updateStrategy.rollingUpdate",
                    "apps.RollingUpdateStatefulSetStrategy",
                );
                errors.push(FieldError::invalid_internal(path, of, rolling, detail));
            }
        }
        "RollingUpdate" => nonnegative(rolling, "partition", "spec.updateStrategy.rollingUpdate", errors),
        _ => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            let (path, of) = ("spec.updateStrategy", "apps.StatefulSetUpdateStrategy");
            errors.push(FieldError::invalid_internal(path, of, strategy, detail));
        }
    }
    for field in ["whenDeleted", "whenScaled"] {
        choice(
            &spec["persistentVolumeClaimRetentionPolicy"],
            field,
            &["Retain", "Delete"],
            "spec.persistentVolumeClaimRetentionPolicy",
            errors,
        );
    }
}

/// A replication controller.
pub(super) fn controller(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    nonnegative(spec, "minReadySeconds", "spec", errors);
    let labels = &spec["selector"];
    if labels.as_object().is_none_or(serde_json::Map::is_empty) {
        errors.push(FieldError::required("spec.selector", ""));
    }
    nonnegative(spec, "replicas", "spec", errors);
    let template = &spec["template"];
    if !template.is_object() {
        errors.push(FieldError::required("spec.template", ""));
        return;
    }
    let own = &template["metadata"]["labels"];
    let wanted = || labels.as_object().into_iter().flatten();
    if wanted().any(|(key, value)| own.get(key) != Some(value)) {
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            own.clone(),
            detail,
        ));
    }
    validate_pod::template(template, "spec.template", errors);
    if template["spec"]["restartPolicy"] != "Always" {
        let policy = text(&template["spec"], "restartPolicy");
        let path = "spec.template.spec.restartPolicy";
        errors.push(FieldError::not_supported(path, policy, &["Always"]));
    }
    if !template["spec"]["activeDeadlineSeconds"].is_null() {
        let detail = "activeDeadlineSeconds in ReplicationController is not Supported";
        let path = "spec.template.spec.activeDeadlineSeconds";
        errors.push(FieldError::forbidden(path, detail));
    }
}

/// A revision of a set.
pub(super) fn revision(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if let Some(number) = new["revision"].as_i64().filter(|n| *n < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("revision", number, detail));
    }
    let data = &new["data"];
    match old {
        Some(old) => immutable::value(data, &old["data"], "data", errors),
        None if data.is_null() => errors.push(FieldError::required("data", "data is mandatory")),
        None if !data.is_object() => {
            errors.push(FieldError::required("data", "data must be a valid JSON object"));
        }
        None => {}
    }
}

/// A workload's selector and whether it matches its template; whether the template can be looked at.
fn selector(kind: &str, spec: &Value, errors: &mut Vec<FieldError>) -> bool {
    let selector = &spec["selector"];
    if selector.is_null() && kind != "daemonset" {
        errors.push(FieldError::required("spec.selector", ""));
    }
    label_selector(selector, "spec.selector", errors);
    let shown = || Printed::internal("meta.LabelSelector", selector).compact();
    let empty = |name: &str| match &selector[name] {
        Value::Object(labels) => labels.is_empty(),
        Value::Array(expressions) => expressions.is_empty(),
        _ => true,
    };
    let all = !selector.is_null() && empty("matchLabels") && empty("matchExpressions");
    let empty = |errors: &mut Vec<FieldError>| {
        if all {
            let detail = format!("empty selector is invalid for {kind}");
            errors.push(FieldError::invalid_shown("spec.selector", &shown(), &detail));
        }
    };
    let daemon = kind == "daemonset";
    if !daemon {
        empty(errors);
    }
    let labels = &spec["template"]["metadata"]["labels"];
    match LabelSelector::from_object(selector) {
        Err(_) if daemon => {}
        Err(_) => {
            let detail = if kind == "statefulset" {
                ""
            } else {
                "invalid label selector"
            };
            errors.push(FieldError::invalid_shown("spec.selector", &shown(), detail));
            return false;
        }
        Ok(_) if all => {}
        Ok(parsed) if parsed.is_nothing() || !parsed.matches(labels) => {
            let detail = "`selector` does not match template `labels`";
            errors.push(FieldError::invalid(
                "spec.template.metadata.labels",
                labels.clone(),
                detail,
            ));
        }
        Ok(_) => {}
    }
    if daemon {
        empty(errors);
    }
    true
}

/// The template of a workload whose pods run on and on.
fn pod_template(kind: &str, spec: &Value, errors: &mut Vec<FieldError>) {
    let template = &spec["template"];
    if kind == "StatefulSet" {
        validate_pod::template(&with_claims(spec), "spec.template", errors);
        super::validate::labels(&template["metadata"]["labels"], "spec.template.labels", errors);
    } else {
        validate_pod::template(template, "spec.template", errors);
    }
    if template["spec"]["restartPolicy"] != "Always" {
        let policy = text(&template["spec"], "restartPolicy");
        errors.push(FieldError::not_supported(
            "spec.template.spec.restartPolicy",
            policy,
            &["Always"],
        ));
    }
    if !template["spec"]["activeDeadlineSeconds"].is_null() {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            detail,
        ));
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
            let path = "spec.strategy.rollingUpdate";
            let (least, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            for (value, field) in [(least, "maxUnavailable"), (surge, "maxSurge")] {
                positive(value, &format!("{path}.{field}"), errors);
            }
            let path = format!("{path}.maxUnavailable");
            if number_or_percent(least) == 0 && number_or_percent(surge) == 0 {
                let detail = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(path.as_str(), least.clone(), detail));
            }
            not_more_than_all(least, &path, errors);
        }
        _ => errors.push(FieldError::not_supported_internal(
            "spec.strategy",
            "apps.DeploymentStrategy",
            strategy,
            &["Recreate", "RollingUpdate"],
        )),
    }
}

/// How long a deployment may make no progress.
fn progress(spec: &Value, errors: &mut Vec<FieldError>) {
    if let (Some(deadline), ready) = (
        spec["progressDeadlineSeconds"].as_i64(),
        spec["minReadySeconds"].as_i64(),
    ) && deadline <= ready.unwrap_or_default()
    {
        let detail = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid("spec.progressDeadlineSeconds", deadline, detail));
    }
}

/// The number of a percentage that is right (`getPercentValue`).
fn percent(value: &Value) -> Option<i64> {
    let digits = value.as_str()?.strip_suffix('%')?;
    let digits = Some(digits).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}

/// `getIntOrPercentValue`: what is no number is nought.
fn number_or_percent(value: &Value) -> i64 {
    let own = || value.as_i64().or_else(|| value.as_str()?.parse().ok());
    percent(value).or_else(own).unwrap_or_default()
}

/// `ValidatePositiveIntOrPercent`.
pub(super) fn positive(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(number) = value.as_i64().filter(|n| *n < 0) {
        errors.push(FieldError::invalid(path, number, "must be greater than or equal to 0"));
    }
    if value.is_string() && percent(value).is_none() {
        let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                      regex used for validation is '[0-9]+%')";
        errors.push(FieldError::invalid(path, value.clone(), detail));
    }
}

/// `IsNotMoreThan100Percent`.
pub(super) fn not_more_than_all(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if percent(value).is_some_and(|p| p > 100) {
        errors.push(FieldError::invalid(
            path,
            value.clone(),
            "must not be greater than 100%",
        ));
    }
}
