//! Validation of pods and pod templates (`pkg/apis/core/validation/validation.go` in Kubernetes): what clients
//! commonly get wrong, with what `validate_container`, `validate_volume` and `validate_place` hold.

use super::names;
use super::validate::{annotations, labels, one_of, port_number};
use super::validate_container;
use super::validate_ephemeral;
use super::validate_parts::{by_rule, choice, list, named, text};
use super::validate_place;
use super::validate_pod_update;
use super::validate_resources;
pub(super) use super::validate_resources::quantities;
use super::validate_source;
use super::validate_system::{on_host_network, own_users, sysctls, system};
use super::validate_volume;
use super::validate_windows;
use crate::schema::FieldError;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) fn pod(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    pod_spec_of(&new["spec"], Some(&new["metadata"]), "spec", errors);
    for which in ["containers", "initContainers"] {
        for (i, container) in list(&new["spec"], which).iter().enumerate() {
            only_for_pod(container, &format!("spec.{which}[{i}]"), errors);
        }
    }
    if old.is_none() {
        created(&new["spec"], errors);
    }
    if let Some(old) = old {
        validate_pod_update::pod_update(&new["spec"], &old["spec"], errors);
    }
}

/// What may not be there when a pod is created.
fn created(spec: &Value, errors: &mut Vec<FieldError>) {
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.push(FieldError::forbidden(
            "spec.ephemeralContainers",
            "cannot be set on create",
        ));
    }
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden("spec.nodeName", detail));
    }
}

/// A pod template at a path.
pub(super) fn template(template: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let metadata = &template["metadata"];
    labels(&metadata["labels"], &format!("{path}.labels"), errors);
    annotations(&metadata["annotations"], &format!("{path}.annotations"), errors);
    pod_spec(&template["spec"], &format!("{path}.spec"), errors);
    if !list(&template["spec"], "ephemeralContainers").is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(
            format!("{path}.spec.ephemeralContainers"),
            detail,
        ));
    }
}

pub(super) fn pod_spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    pod_spec_of(spec, None, path, errors);
}

/// `ValidatePodSpec`, of a template or of a pod with its metadata.
fn pod_spec_of(spec: &Value, metadata: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let volumes = volumes(spec, metadata, path, errors);
    validate_place::claims(spec, path, errors);
    let containers = list(spec, "containers");
    if containers.is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut seen = BTreeSet::new();
    for (which, containers) in [
        ("containers", containers),
        ("initContainers", list(spec, "initContainers")),
    ] {
        for (i, container) in containers.iter().enumerate() {
            let path = format!("{path}.{which}[{i}]");
            self::container(container, &volumes, spec, &path, errors);
            let (name, init) = (text(container, "name"), which == "initContainers");
            if init {
                restart(container, &path, errors);
            }
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            } else if !init || !name.is_empty() {
                seen.insert(name);
            }
            if init {
                // One runs after the other.
                host_ports_of(container, &path, &mut BTreeSet::new(), errors);
            }
            if !init || container["restartPolicy"] == "Always" {
                let grace = spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
                validate_container::running(container, grace, &path, errors);
            } else {
                validate_container::preparing(container, &path, errors);
            }
            if !init {
                restart(container, &path, errors);
            }
        }
        if which == "containers" {
            host_ports(containers, &format!("{path}.containers"), errors);
        }
    }
    validate_ephemeral::containers(spec, &volumes, path, errors);
    validate_resources::of_pod(spec, path, errors);
    on_host_network(spec, path, errors);
    one_of(spec, "restartPolicy", &["Always", "OnFailure", "Never"], path, errors);
    one_of(
        spec,
        "dnsPolicy",
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        path,
        errors,
    );
    labels(&spec["nodeSelector"], &format!("{path}.nodeSelector"), errors);
    let context = format!("{path}.securityContext");
    validate_container::pod_context(&spec["securityContext"], &context, errors);
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(
            format!("{context}.shareProcessNamespace"),
            true,
            detail,
        ));
    }
    if !list(&spec["securityContext"], "sysctls").is_empty() {
        sysctls(spec, &context, errors);
    }
    validate_container::pod_context_rest(&spec["securityContext"], &context, errors);
    validate_place::affinity(&spec["affinity"], &format!("{path}.affinity"), errors);
    validate_place::dns(spec, path, errors);
    validate_place::gates(spec, path, errors);
    validate_place::spread(spec, path, errors);
    validate_windows::host_processes(spec, path, errors);
    own_users(spec, path, errors);
    if let Some(name) = spec["hostnameOverride"].as_str() {
        validate_place::host_name(spec, name, path, errors);
    }
    for field in ["serviceAccountName", "nodeName"] {
        named(spec, field, names::dns1123_subdomain, path, errors);
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = format!("must be between 1 and {}, inclusive", i32::MAX);
        errors.push(FieldError::invalid(
            format!("{path}.activeDeadlineSeconds"),
            seconds,
            detail,
        ));
    }
    for field in ["hostname", "subdomain"] {
        named(spec, field, names::dns1123_label, path, errors);
    }
    tolerations(spec, path, errors);
    validate_place::host_aliases(spec, path, errors);
    named(spec, "priorityClassName", names::dns1123_subdomain, path, errors);
    if let Some(class) = spec["runtimeClassName"].as_str() {
        let at = format!("{path}.runtimeClassName");
        by_rule(class, at, names::dns1123_subdomain, errors);
    }
    match spec["preemptionPolicy"].as_str() {
        Some("") => errors.push(FieldError::required(format!("{path}.preemptionPolicy"), "")),
        _ => choice(
            spec,
            "preemptionPolicy",
            &["PreemptLowerPriority", "Never"],
            path,
            errors,
        ),
    }
    if spec["overhead"].is_object() {
        let limits = json!({"limits": spec["overhead"]});
        validate_resources::of_container(&limits, &format!("{path}.overhead"), errors);
    }
    system(spec, path, errors);
    validate_volume::files_of_variables(spec, path, errors);
}

/// `checkHostPortConflicts`: containers that run together.
fn host_ports(containers: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let mut taken = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        host_ports_of(container, &format!("{path}[{i}]"), &mut taken, errors);
    }
}

fn host_ports_of(container: &Value, path: &str, taken: &mut BTreeSet<String>, errors: &mut Vec<FieldError>) {
    for (i, port) in list(container, "ports").iter().enumerate() {
        let Some(number) = port["hostPort"].as_i64().filter(|n| *n != 0) else {
            continue;
        };
        let key = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
        if taken.contains(&key) {
            errors.push(FieldError::duplicate(
                format!("{path}.ports[{i}].hostPort"),
                key.as_str(),
            ));
        }
        taken.insert(key);
    }
}

/// Checks the volumes; answers their names.
fn volumes<'v>(
    spec: &'v Value,
    metadata: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) -> BTreeSet<&'v str> {
    let mut seen = BTreeSet::new();
    let template = path != "spec";
    // Claims that are made for the pod are called by its name and the volume's.
    let owner = metadata.map_or("", |m| text(m, "name"));
    let made: BTreeSet<String> = list(spec, "volumes")
        .iter()
        .filter(|v| !owner.is_empty() && v["ephemeral"].is_object())
        .map(|v| format!("{owner}-{}", text(v, "name")))
        .collect();
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let path = format!("{path}.volumes[{i}]");
        let before = errors.len();
        let name = text(volume, "name");
        // Nothing at all was made an empty directory.
        if !volume.is_null() {
            validate_source::of_pod(volume, template, owner, &path, errors);
        }
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        named(volume, "name", names::dns1123_label, &path, errors);
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        // Mounts of a volume that is wrong are told as of none.
        if errors.len() == before {
            seen.insert(name);
        }
        let claim = text(&volume["persistentVolumeClaim"], "claimName");
        if made.contains(claim) {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            let at = format!("{path}.persistentVolumeClaim.claimName");
            errors.push(FieldError::invalid(at, claim, detail));
        }
    }
    seen
}

/// `validateContainerOnlyForPod`: what templates that there were before are let have.
pub(super) fn only_for_pod(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let image = text(container, "image");
    if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(format!("{path}.image"), image, detail));
    }
}

/// `validateContainerCommon`.
pub(super) fn container(
    container: &Value,
    volumes: &BTreeSet<&str>,
    spec: &Value,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    }
    named(container, "name", names::dns1123_label, path, errors);
    if text(container, "image").is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    }
    one_of(
        container,
        "terminationMessagePolicy",
        &["File", "FallbackToLogsOnError"],
        path,
        errors,
    );
    let mut seen = BTreeSet::new();
    for (i, port) in list(container, "ports").iter().enumerate() {
        let path = format!("{path}.ports[{i}]");
        let name = text(port, "name");
        if !name.is_empty() {
            let wrong = names::port_name(name);
            if wrong.is_empty() && seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
            for detail in wrong {
                errors.push(FieldError::invalid(format!("{path}.name"), name, detail));
            }
            seen.insert(name);
        }
        match port["containerPort"].as_i64().unwrap_or_default() {
            0 => errors.push(FieldError::required(format!("{path}.containerPort"), "")),
            number => port_number(number, &format!("{path}.containerPort"), errors),
        }
        if let Some(number) = port["hostPort"].as_i64().filter(|n| *n != 0) {
            port_number(number, &format!("{path}.hostPort"), errors);
        }
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
    }
    for (i, env) in list(container, "env").iter().enumerate() {
        let name = text(env, "name");
        let path = format!("{path}.env[{i}]");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        named(env, "name", names::env_name, &path, errors);
        validate_container::value_source(env, &format!("{path}.valueFrom"), errors);
    }
    validate_container::env_from(container, path, errors);
    let all = format!("{path}.volumeMounts");
    let mut paths = BTreeSet::new();
    let devices = |field: &str| -> BTreeSet<&str> {
        list(container, "volumeDevices")
            .iter()
            .map(|d| text(d, field))
            .collect()
    };
    let (devices, device_paths) = (devices("name"), devices("devicePath"));
    for (i, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = format!("{path}.volumeMounts[{i}]");
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        if !volumes.contains(&name) {
            errors.push(FieldError::not_found(format!("{path}.name"), name));
        }
        if place.is_empty() {
            errors.push(FieldError::required(format!("{path}.mountPath"), ""));
        }
        if !paths.insert(place) {
            let at = format!("{path}.mountPath");
            errors.push(FieldError::invalid(at, place, "must be unique"));
        }
        if devices.contains(name) {
            let detail = "must not already exist in volumeDevices";
            errors.push(FieldError::invalid(format!("{path}.name"), name, detail));
        }
        if device_paths.contains(place) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(format!("{path}.mountPath"), place, detail));
        }
        validate_volume::mount(mount, container, &all, &path, errors);
    }
    validate_volume::devices(container, spec, volumes, path, errors);
    one_of(
        container,
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
        path,
        errors,
    );
    let at = format!("{path}.resources");
    validate_resources::of_container(&container["resources"], &at, errors);
    validate_resources::claims(&container["resources"], spec, &at, errors);
    resize_policy(container, spec, path, errors);
    validate_container::security_context(container, spec, path, errors);
}

/// `validateContainerRestartPolicy`: a container's own policy and its rules.
fn restart(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let rules = list(container, "restartPolicyRules");
    let init = path.contains(".initContainers[");
    match container["restartPolicy"].as_str() {
        None if rules.is_empty() => return,
        None => {
            let detail = "must specify restartPolicy when restart rules are used";
            errors.push(FieldError::required(format!("{path}.restartPolicy"), detail));
            // Of one that prepares, the rules are then not looked at.
            if init {
                return;
            }
        }
        Some(_) => choice(
            container,
            "restartPolicy",
            &["Always", "Never", "OnFailure"],
            path,
            errors,
        ),
    }
    if rules.len() > 20 {
        errors.push(FieldError::too_many(
            format!("{path}.restartPolicyRules"),
            rules.len() as u64,
            20,
        ));
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = format!("{path}.restartPolicyRules[{i}]");
        let actions = ["Restart", "RestartAllContainers"];
        if !actions.contains(&text(rule, "action")) {
            errors.push(FieldError::not_supported(
                format!("{at}.action"),
                text(rule, "action"),
                &actions,
            ));
        }
        let codes = &rule["exitCodes"];
        if !codes.is_object() {
            errors.push(FieldError::required(format!("{at}.exitCodes"), "must be specified"));
            continue;
        }
        let operators = ["In", "NotIn"];
        if !operators.contains(&text(codes, "operator")) {
            errors.push(FieldError::not_supported(
                format!("{at}.exitCodes.operator"),
                text(codes, "operator"),
                &operators,
            ));
        }
        let values = list(codes, "values").len();
        if values > 255 {
            errors.push(FieldError::too_many(
                format!("{at}.exitCodes.values"),
                values as u64,
                255,
            ));
        }
    }
}

/// `validateResizePolicy`.
fn resize_policy(container: &Value, spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let at = format!("{path}.resizePolicy");
    let mut seen = BTreeSet::new();
    for (i, policy) in list(container, "resizePolicy").iter().enumerate() {
        let name = text(policy, "resourceName");
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(format!("{at}[{i}]"), name));
        }
        seen.insert(name);
        for (field, valid) in [
            ("resourceName", ["cpu", "memory"]),
            ("restartPolicy", ["NotRequired", "RestartContainer"]),
        ] {
            match text(policy, field) {
                "" => errors.push(FieldError::required(at.as_str(), "")),
                value if valid.contains(&value) => {}
                value => errors.push(FieldError::not_supported(at.as_str(), value, &valid)),
            }
        }
        let restart = text(policy, "restartPolicy");
        if spec["restartPolicy"] == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(at.as_str(), restart, detail));
        }
    }
}

/// A port given by number or name.
pub(super) fn port_or_name(port: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match port {
        Value::String(name) => {
            for detail in names::port_name(name) {
                errors.push(FieldError::invalid(path, name.as_str(), detail));
            }
        }
        Value::Number(number) => port_number(number.as_i64().unwrap_or_default(), path, errors),
        _ => {}
    }
}

pub(super) fn tolerations(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, toleration) in list(spec, "tolerations").iter().enumerate() {
        let path = format!("{path}.tolerations[{i}]");
        let (key, operator, effect) = (
            text(toleration, "key"),
            text(toleration, "operator"),
            text(toleration, "effect"),
        );
        named(toleration, "key", names::qualified_name, &path, errors);
        if key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(format!("{path}.operator"), operator, detail));
        }
        if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(format!("{path}.effect"), effect, detail));
        }
        match operator {
            "Equal" | "" => {
                let value = text(toleration, "value");
                let wrong = names::label_value(value);
                if !wrong.is_empty() {
                    let at = format!("{path}.operator");
                    errors.push(FieldError::invalid(at, value, wrong.join(";")));
                }
            }
            "Exists" => {
                if !text(toleration, "value").is_empty() {
                    let detail = "value must be empty when `operator` is 'Exists'";
                    errors.push(FieldError::invalid(
                        format!("{path}.operator"),
                        text(toleration, "value"),
                        detail,
                    ));
                }
            }
            // Of a feature that is not on, but told as if it were.
            "Lt" | "Gt" => errors.push(FieldError::not_supported(
                format!("{path}.operator"),
                operator,
                &["Equal", "Exists", "Lt", "Gt"],
            )),
            other => errors.push(FieldError::not_supported(
                format!("{path}.operator"),
                other,
                &["Equal", "Exists"],
            )),
        }
        if !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            let valid = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            errors.push(FieldError::not_supported(format!("{path}.effect"), effect, &valid));
        }
    }
}
