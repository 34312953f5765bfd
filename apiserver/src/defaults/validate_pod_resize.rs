//! Validation of a write to a pod's `resize` (`ValidatePodResize` in Kubernetes).

use serde_json::{Map, Value};

use super::validate_parts::{list, text};
use super::validate_pod;
use crate::schema::FieldError;

/// What is resized in place.
pub(crate) const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// A write to `resize`.
pub(super) fn resize(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (spec, before) = (&new["spec"], &old["spec"]);
    validate_pod::pod_spec(spec, "spec", errors);
    for (is, detail) in [
        (super::is_mirror(old), "static pods cannot be resized"),
        (before["os"]["name"] == "windows", "windows pods cannot be resized"),
    ] {
        if is {
            errors.clear();
            return errors.push(FieldError::forbidden("", detail));
        }
    }
    let class = super::qos_class(spec);
    let own = match text(&old["status"], "qosClass") {
        "" => super::qos_class(before),
        own => own,
    };
    if class != own {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid("spec", text(&new["status"], "qosClass"), detail));
    }
    let running = list(&old["status"], "containerStatuses")
        .iter()
        .find(|c| !c["state"]["running"].is_null());
    if running.is_some_and(|c| c["resources"].is_null()) {
        let detail = "Pod running on node without support for resize";
        errors.push(FieldError::forbidden("spec", detail));
    }
    if !list(&old["status"], "nodeAllocatableResourceClaimStatuses").is_empty() {
        let detail = "pods with node allocatable resource claims cannot be resized";
        errors.push(FieldError::forbidden("spec", detail));
    }
    let mut masked = spec.clone();
    pod_level(&mut masked, before, errors);
    if !same_order(spec, before, errors) {
        return;
    }
    for which in ["initContainers", "containers"] {
        for (i, (new, old)) in list(spec, which).iter().zip(list(before, which)).enumerate() {
            removed(
                &new["resources"],
                &old["resources"],
                &format!("spec.{which}[{i}].resources"),
                "resource",
                errors,
            );
        }
    }
    for which in ["containers", "initContainers"] {
        let old = list(before, which);
        for (i, container) in masked[which].as_array_mut().into_iter().flatten().enumerate() {
            let changed = *container != old[i];
            mask(container, &old[i]);
            if *container != old[i] {
                let (path, detail) = if which == "containers" {
                    ("spec".to_owned(), "only cpu and memory resources are mutable")
                } else {
                    (
                        format!("spec.initContainers[{i}]"),
                        "only cpu and memory resources for init or sidecar containers are mutable",
                    )
                };
                errors.push(FieldError::forbidden(path, detail));
            }
            let restarts = list(container, "resizePolicy")
                .iter()
                .filter(|p| p["restartPolicy"] == "RestartContainer");
            if which == "initContainers" && changed && container["restartPolicy"] != "Always" {
                let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                let path = format!("spec.initContainers[{i}]");
                restarts.for_each(|_| errors.push(FieldError::forbidden(path.as_str(), detail)));
            }
        }
    }
    if errors.is_empty() && !same(&masked, before) {
        let detail = "only cpu and memory resources are mutable";
        errors.push(FieldError::forbidden("spec", detail));
    }
}

/// Whether two specs are the same but for what is not there.
fn same(a: &Value, b: &Value) -> bool {
    let bare = |v: &Value| {
        let all = v.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null());
        all.map(|(k, v)| (k.clone(), v.clone())).collect::<Map<_, _>>()
    };
    bare(a) == bare(b)
}

/// What a pod says as a whole: amounts change, and are never taken away.
fn pod_level(masked: &mut Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (new, before) = (masked["resources"].clone(), &old["resources"]);
    if before.is_object() && new.is_null() {
        let detail = "pod-level resources cannot be removed";
        errors.push(FieldError::forbidden("spec.resources", detail));
        return;
    }
    removed(&new, before, "spec.resources", "pod-level resource", errors);
    if new.is_object() {
        mask(masked, old);
        let all = masked["resources"].as_object().into_iter().flatten();
        let nothing = all.clone().all(|(_, v)| v.as_object().is_some_and(Map::is_empty));
        if before.is_null() && nothing {
            masked.as_object_mut().map(|m| m.remove("resources"));
        } else if masked["resources"] != *before {
            let detail = "only cpu and memory resources are mutable at pod-level";
            errors.push(FieldError::forbidden("spec", detail));
        }
    }
}

/// Amounts that are there no more.
fn removed(new: &Value, old: &Value, path: &str, what: &str, errors: &mut Vec<FieldError>) {
    for field in ["requests", "limits"] {
        let mut before = old[field].as_object().into_iter().flatten();
        if before.any(|(name, _)| new[field].get(name).is_none()) {
            let detail = format!("{what} {field} cannot be removed");
            errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
        }
    }
}

/// Whether the containers are the same in number, order and name.
fn same_order(new: &Value, old: &Value, errors: &mut Vec<FieldError>) -> bool {
    let before = errors.len();
    for which in ["containers", "initContainers"] {
        let (now, then) = (list(new, which), list(old, which));
        if now.len() != then.len() {
            let detail = format!("{which} may not be added or removed on resize");
            errors.push(FieldError::forbidden(format!("spec.{which}"), detail));
            continue;
        }
        for (i, _) in now
            .iter()
            .zip(then)
            .enumerate()
            .filter(|(_, (a, b))| a["name"] != b["name"])
        {
            let detail = format!("{which} may not be renamed or reordered on resize");
            errors.push(FieldError::forbidden(format!("spec.{which}[{i}].name"), detail));
        }
    }
    errors.len() == before
}

/// Makes processor and memory of a container (or a pod) as they were.
fn mask(new: &mut Value, old: &Value) {
    for field in ["requests", "limits"] {
        let was = &old["resources"][field];
        let Some(resources) = new.get_mut("resources").and_then(Value::as_object_mut) else {
            continue;
        };
        let mut amounts = resources
            .get(field)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        for name in RESIZABLE {
            match was.get(name) {
                Some(amount) => drop(amounts.insert(name.to_owned(), amount.clone())),
                None => drop(amounts.remove(name)),
            }
        }
        if amounts.is_empty() && was.is_null() {
            resources.remove(field);
        } else {
            resources.insert(field.to_owned(), Value::Object(amounts));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_processor_and_memory_are_resized() {
        let pod = |containers: Value| {
            let mut pod = json!({"metadata": {}, "spec": {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                "containers": containers}, "status": {}});
            for c in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
                for (k, v) in [
                    ("image", "i"),
                    ("imagePullPolicy", "Always"),
                    ("terminationMessagePolicy", "File"),
                ] {
                    c[k] = json!(v);
                }
            }
            pod
        };
        let one = |requests: Value, limits: Value| {
            pod(json!([{"name": "c", "resources": {"requests": requests, "limits": limits}}]))
        };
        let old = one(
            json!({"cpu": "1", "memory": "1Gi"}),
            json!({"cpu": "2", "memory": "2Gi"}),
        );
        for (new, wanted) in [
            (
                one(
                    json!({"cpu": "500m", "memory": "2Gi"}),
                    json!({"cpu": "2", "memory": "2Gi"}),
                ),
                vec![],
            ),
            (
                one(json!({"cpu": "1"}), json!({"cpu": "2", "memory": "2Gi"})),
                vec!["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"],
            ),
            (
                one(
                    json!({"cpu": "2", "memory": "2Gi"}),
                    json!({"cpu": "2", "memory": "2Gi"}),
                ),
                vec!["spec: Invalid value: \"\": Pod QOS Class may not change as a result of resizing"],
            ),
            (
                one(
                    json!({"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}),
                    json!({"cpu": "2", "memory": "2Gi", "ephemeral-storage": "1Gi"}),
                ),
                vec!["spec: Forbidden: only cpu and memory resources are mutable"],
            ),
            (
                pod(json!([{"name": "d", "resources": old["spec"]["containers"][0]["resources"]}])),
                vec!["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"],
            ),
        ] {
            let mut errors = Vec::new();
            resize(&new, &old, &mut errors);
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(told, wanted);
        }
        let mut unsupported = old.clone();
        unsupported["status"] = json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]});
        let mut errors = Vec::new();
        resize(&unsupported, &unsupported, &mut errors);
        assert_eq!(errors[0].detail, "Pod running on node without support for resize");
    }
}
