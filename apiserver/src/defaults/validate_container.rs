//! Validation of what containers have besides their names: probes, hooks, environment, security contexts
//! (`pkg/apis/core/validation/validation.go` in Kubernetes).

use super::validate_parts::{by_rule, choice, list, named, needed, text, within};
use super::validate_pod::port_or_name;
use super::{names, validate_windows};
use crate::schema::FieldError;
use cfn_cel::quantity::Quantity;
use serde_json::Value;

/// Most of what a user or group may be.
const IDS: (i64, i64) = (0, 2_147_483_647);

/// Hooks and probes of a container that goes on running.
pub(super) fn running(container: &Value, grace: i64, path: &str, errors: &mut Vec<FieldError>) {
    for hook in ["postStart", "preStop"] {
        if container["lifecycle"][hook].is_object() {
            let path = format!("{path}.lifecycle.{hook}");
            handler(&container["lifecycle"][hook], Some(grace), &path, errors);
        }
    }
    for which in ["livenessProbe", "readinessProbe", "startupProbe"] {
        probe(&container[which], which, &format!("{path}.{which}"), errors);
    }
}

/// What a container that only prepares may not have.
pub(super) fn preparing(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if container[field].is_object() {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
        }
    }
}

fn probe(probe: &Value, which: &str, path: &str, errors: &mut Vec<FieldError>) {
    if !probe.is_object() {
        return;
    }
    handler(probe, None, path, errors);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        super::validate::nonnegative(probe, field, path, errors);
    }
    let grace = format!("{path}.terminationGracePeriodSeconds");
    if let Some(seconds) = probe["terminationGracePeriodSeconds"].as_i64() {
        if seconds <= 0 {
            errors.push(FieldError::invalid(grace.as_str(), seconds, "must be greater than 0"));
        }
        if which == "readinessProbe" {
            let detail = "must not be set for readinessProbes";
            errors.push(FieldError::invalid(grace, seconds, detail));
        }
    }
    if which != "readinessProbe"
        && let Some(count) = probe["successThreshold"].as_i64().filter(|n| *n != 1)
    {
        let at = format!("{path}.successThreshold");
        errors.push(FieldError::invalid(at, count, "must be 1"));
    }
}

/// `validateHandler`: one action; `grace` of a hook, which may sleep for so long.
fn handler(handler: &Value, grace: Option<i64>, path: &str, errors: &mut Vec<FieldError>) {
    let mut some = false;
    for action in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let value = &handler[action];
        let served = value.is_object()
            && if grace.is_some() {
                action != "grpc"
            } else {
                action != "sleep"
            };
        if !served {
            continue;
        }
        let path = format!("{path}.{action}");
        if some {
            let detail = "may not specify more than 1 handler type";
            errors.push(FieldError::forbidden(path, detail));
            continue;
        }
        some = true;
        match action {
            "exec" if list(value, "command").is_empty() => {
                errors.push(FieldError::required(format!("{path}.command"), ""));
            }
            "httpGet" => {
                port(&value["port"], &format!("{path}.port"), errors);
                choice(value, "scheme", &["HTTP", "HTTPS"], &path, errors);
                for header in list(value, "httpHeaders") {
                    by_rule(
                        text(header, "name"),
                        format!("{path}.httpHeaders"),
                        names::http_header,
                        errors,
                    );
                }
            }
            "tcpSocket" => port(&value["port"], &format!("{path}.port"), errors),
            "grpc" => port(&value["port"], &format!("{path}.port"), errors),
            "sleep" => {
                let (seconds, grace) = (value["seconds"].as_i64().unwrap_or(0), grace.unwrap_or(0));
                if seconds < 0 || seconds > grace {
                    let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    errors.push(FieldError::invalid(path, seconds, detail));
                }
            }
            _ => {}
        }
    }
    if !some {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
}

/// A port that must be there.
fn port(port: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let zero = Value::from(0);
    port_or_name(if port.is_null() { &zero } else { port }, path, errors);
}

/// `ValidateEnv`: where a variable's value comes from.
pub(super) fn value_source(env: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let source = &env["valueFrom"];
    if !source.is_object() {
        return;
    }
    let mut count = 0;
    if source["fieldRef"].is_object() {
        count += 1;
        let valid = [
            "metadata.name",
            "metadata.namespace",
            "metadata.uid",
            "spec.nodeName",
            "spec.serviceAccountName",
            "status.hostIP",
            "status.hostIPs",
            "status.podIP",
            "status.podIPs",
        ];
        field_ref(&source["fieldRef"], &valid, &format!("{path}.fieldRef"), errors);
    }
    if source["resourceFieldRef"].is_object() {
        count += 1;
        resource_field(
            &source["resourceFieldRef"],
            false,
            &format!("{path}.resourceFieldRef"),
            errors,
        );
    }
    for (field, key) in [("configMapKeyRef", "key"), ("secretKeyRef", "key")] {
        if source[field].is_object() {
            count += 1;
            let path = format!("{path}.{field}");
            let name = text(&source[field], "name");
            by_rule(name, format!("{path}.name"), names::dns1123_subdomain, errors);
            match text(&source[field], key) {
                "" => errors.push(FieldError::required(format!("{path}.key"), "")),
                name => by_rule(name, format!("{path}.key"), names::config_map_key, errors),
            }
        }
    }
    if source["fileKeyRef"].is_object() {
        count += 1;
        file_key(&source["fileKeyRef"], &format!("{path}.fileKeyRef"), errors);
    }
    if count > 0 && !text(env, "value").is_empty() {
        let detail = "may not be specified when `value` is not empty";
        errors.push(FieldError::invalid(path, "", detail));
    } else if count == 0 {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or \
                      `fileKeyRef`";
        errors.push(FieldError::invalid(path, "", detail));
    } else if count > 1 {
        let detail = "may not have more than one field specified at a time";
        errors.push(FieldError::invalid(path, "", detail));
    }
}

/// `validateFileKeySelector`: a variable in a file of a volume.
fn file_key(of: &Value, path: &str, errors: &mut Vec<FieldError>) {
    needed(of, "key", path, errors);
    named(of, "key", names::env_name, path, errors);
    needed(of, "volumeName", path, errors);
    named(of, "volumeName", names::dns1123_label, path, errors);
    match text(of, "path") {
        "" => errors.push(FieldError::required(format!("{path}.path"), "")),
        file => no_steps_back(file, &format!("{path}.path"), errors),
    }
}

/// A pod's own field as a value: a variable's or a file's, each of which knows some.
pub(super) fn field_ref(of: &Value, valid: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    let at = format!("{path}.fieldPath");
    let (version, field) = (text(of, "apiVersion"), text(of, "fieldPath"));
    // All that either knows can be converted.
    const KNOWN: [&str; 13] = [
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    const MORE: [&str; 1] = ["status.phase"];
    if field.is_empty() {
        errors.push(FieldError::required(at, ""));
    } else if !matches!(version, "" | "v1") {
        let detail = format!("error converting fieldPath: unsupported pod version: {version}");
        errors.push(FieldError::invalid(at, field, detail));
    } else if let Some((base, key)) = subscript(field) {
        match base {
            "metadata.labels" => by_rule(key, path.to_owned(), names::qualified_name, errors),
            "metadata.annotations" => {
                by_rule(&key.to_lowercase(), path.to_owned(), names::qualified_name, errors);
            }
            _ => {
                let detail = format!("error converting fieldPath: field label does not support subscript: {field}");
                errors.push(FieldError::invalid(at, field, detail));
            }
        }
    } else if !KNOWN.contains(&field) && !MORE.contains(&field) {
        let detail = format!("error converting fieldPath: field label not supported: {field}");
        errors.push(FieldError::invalid(at, field, detail));
    } else if !valid.contains(&field) {
        errors.push(FieldError::not_supported(at, field, valid));
    }
}

/// `a['b']` as a and b.
pub(super) fn subscript(field: &str) -> Option<(&str, &str)> {
    field.strip_suffix("']")?.split_once("['")
}

/// A container's resource as a value; `volume` where the container must be named.
pub(super) fn resource_field(field: &Value, volume: bool, path: &str, errors: &mut Vec<FieldError>) {
    let valid = [
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    ];
    let name = text(field, "resource");
    let huge = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if volume && text(field, "containerName").is_empty() {
        errors.push(FieldError::required(format!("{path}.containerName"), ""));
    } else if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.resource"), ""));
    } else if !valid.contains(&name) && !huge {
        errors.push(FieldError::not_supported(format!("{path}.resource"), name, &valid));
    }
    divisor(field, name, path, errors);
}

/// `validateContainerResourceDivisor`: what an amount is counted in.
fn divisor(field: &Value, name: &str, path: &str, errors: &mut Vec<FieldError>) {
    let Some(divisor) = Quantity::from_value(&field["divisor"]).ok().filter(|q| !q.is_zero()) else {
        return;
    };
    let bytes = [
        "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    let what = match name.split_once('.') {
        Some(("limits" | "requests", "cpu")) => "cpu",
        Some(("limits" | "requests", "memory")) => "memory",
        Some(("limits" | "requests", "ephemeral-storage")) => "local ephemeral storage",
        Some(("limits" | "requests", name)) if name.starts_with("hugepages-") => "hugepages",
        _ => return,
    };
    let shown = divisor.to_string();
    let (known, words) = if what == "cpu" {
        (matches!(shown.as_str(), "1m" | "1"), "1m and 1".to_owned())
    } else {
        (bytes.contains(&shown.as_str()), bytes.join(", "))
    };
    if !known {
        let detail = format!("only divisor's values {words} are supported with the {what} resource");
        errors.push(FieldError::invalid(format!("{path}.divisor"), name, detail));
    }
}

/// `ValidateEnvFrom`.
pub(super) fn env_from(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, source) in list(container, "envFrom").iter().enumerate() {
        let at = format!("{path}.envFrom[{i}]");
        named(source, "prefix", names::env_name, &at, errors);
        let mut count = 0;
        for field in ["configMapRef", "secretRef"] {
            if source[field].is_object() {
                count += 1;
                let at = format!("{at}.{field}.name");
                match text(&source[field], "name") {
                    "" => errors.push(FieldError::required(at, "")),
                    name => by_rule(name, at, names::dns1123_subdomain, errors),
                }
            }
        }
        let detail = match count {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.push(FieldError::invalid(format!("{path}.envFrom"), "", detail));
    }
}

/// `ValidateSecurityContext`.
pub(super) fn security_context(container: &Value, spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let context = &container["securityContext"];
    if !context.is_object() {
        return;
    }
    let path = &format!("{path}.securityContext");
    within(context, "runAsUser", IDS, path, errors);
    within(context, "runAsGroup", IDS, path, errors);
    choice(context, "procMount", &["Default", "Unmasked"], path, errors);
    if context["procMount"] == "Unmasked" && spec["hostUsers"] != false {
        let detail = "`hostUsers` must be false to use `Unmasked`";
        errors.push(FieldError::invalid(format!("{path}.procMount"), "Unmasked", detail));
    }
    seccomp(&context["seccompProfile"], &format!("{path}.seccompProfile"), errors);
    if context["allowPrivilegeEscalation"] == false {
        let more = "cannot set `allowPrivilegeEscalation` to false and";
        let privileged = (context["privileged"] == true).then(|| format!("{more} `privileged` to true"));
        let added = list(&context["capabilities"], "add")
            .iter()
            .filter(|c| *c == "CAP_SYS_ADMIN");
        let added = added.map(|_| format!("{more} `capabilities.Add` CAP_SYS_ADMIN"));
        for detail in privileged.into_iter().chain(added) {
            errors.push(FieldError::invalid_internal(
                path.as_str(),
                "core.SecurityContext",
                context,
                &detail,
            ));
        }
    }
    validate_windows::options(&context["windowsOptions"], &format!("{path}.windowsOptions"), errors);
    app_armor(&context["appArmorProfile"], &format!("{path}.appArmorProfile"), errors);
}

/// What a profile of a security module may be: the runtime's own, none, or one on the node.
const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

/// `validateSeccompProfileField`.
pub(super) fn seccomp(of: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !of.is_object() {
        return;
    }
    let (local, at) = (&of["localhostProfile"], format!("{path}.localhostProfile"));
    profile_type(of, "seccompProfile", path, errors);
    match (text(of, "type") == "Localhost", local.as_str()) {
        (true, None) => {
            let detail = "must be set when seccomp type is Localhost";
            errors.push(FieldError::required(at, detail));
        }
        (true, Some(profile)) => below(profile, &at, errors),
        (false, None) => {}
        (false, Some(_)) => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(FieldError::invalid_internal(at, "core.SeccompProfile", of, detail));
        }
    }
}

/// `ValidateAppArmorProfileField`.
pub(super) fn app_armor(of: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !of.is_object() {
        return;
    }
    let (local, at) = (&of["localhostProfile"], format!("{path}.localhostProfile"));
    match (text(of, "type"), local.as_str()) {
        ("Localhost", None | Some("")) => {
            let detail = "must be set when AppArmor type is Localhost";
            errors.push(FieldError::required(at, detail));
        }
        ("Localhost", Some(profile)) => {
            if profile.trim() != profile {
                let detail = "must not be padded with whitespace";
                errors.push(FieldError::invalid(at.as_str(), profile, detail));
            }
            if profile.len() > 4095 {
                errors.push(FieldError::too_long(at, 4095));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(profile)) => {
            let detail = "can only be set when AppArmor type is Localhost";
            errors.push(FieldError::invalid(at, profile, detail));
        }
        _ => profile_type(of, "appArmorProfile", path, errors),
    }
}

fn profile_type(of: &Value, field: &str, path: &str, errors: &mut Vec<FieldError>) {
    let at = format!("{path}.type");
    match text(of, "type") {
        "" => errors.push(FieldError::required(
            at,
            format!("type is required when {field} is set"),
        )),
        known if PROFILES.contains(&known) => {}
        other => errors.push(FieldError::not_supported(at, other, &PROFILES)),
    }
}

/// A path that stays below where it is mounted (`validateLocalDescendingPath`).
pub(super) fn below(value: &str, path: &str, errors: &mut Vec<FieldError>) {
    if value.starts_with('/') {
        errors.push(FieldError::invalid(path, value, "must be a relative path"));
    }
    no_steps_back(value, path, errors);
}

/// `validatePathNoBacksteps`.
pub(super) fn no_steps_back(value: &str, path: &str, errors: &mut Vec<FieldError>) {
    if value.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, value, "must not contain '..'"));
    }
}

/// `ValidatePodSecurityContext`, but for the kernel's parameters and what hosts share.
pub(super) fn pod_context(context: &Value, path: &str, errors: &mut Vec<FieldError>) {
    within(context, "fsGroup", IDS, path, errors);
    within(context, "runAsUser", IDS, path, errors);
    within(context, "runAsGroup", IDS, path, errors);
    for (i, group) in list(context, "supplementalGroups").iter().enumerate() {
        if let Some(number) = group.as_i64().filter(|n| !(IDS.0..=IDS.1).contains(n)) {
            let detail = format!("must be between {} and {}, inclusive", IDS.0, IDS.1);
            errors.push(FieldError::invalid(
                format!("{path}.supplementalGroups[{i}]"),
                number,
                detail,
            ));
        }
    }
}

/// What comes after the kernel's parameters.
pub(super) fn pod_context_rest(context: &Value, path: &str, errors: &mut Vec<FieldError>) {
    choice(
        context,
        "fsGroupChangePolicy",
        &["Always", "OnRootMismatch"],
        path,
        errors,
    );
    seccomp(&context["seccompProfile"], &format!("{path}.seccompProfile"), errors);
    validate_windows::options(&context["windowsOptions"], &format!("{path}.windowsOptions"), errors);
    app_armor(&context["appArmorProfile"], &format!("{path}.appArmorProfile"), errors);
    choice(context, "supplementalGroupsPolicy", &["Merge", "Strict"], path, errors);
    // The other one is a feature that is not on.
    choice(context, "seLinuxChangePolicy", &["Recursive"], path, errors);
}
