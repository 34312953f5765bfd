//! Defaults of pods and pod templates (`pkg/apis/core/v1/defaults.go` in Kubernetes).

use super::{AdmissionOptions, map_at, set, set_empty};
use cfn_cel::quantity::Quantity;
use serde_json::{Map, Value, json};

/// Name and priority of the two classes every cluster has.
pub(crate) const SYSTEM_CLASSES: [(&str, i64); 2] = [
    ("system-cluster-critical", 2_000_000_000),
    ("system-node-critical", 2_000_001_000),
];

/// Texts that sources of volumes have when they are not given.
const SOURCES: &[(&str, &[(&str, &str)])] = &[
    ("iscsi", &[("iscsiInterface", "default")]),
    (
        "rbd",
        &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")],
    ),
    (
        "azureDisk",
        &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")],
    ),
    ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
];

/// What sources get, of volumes of pods as of those of the cluster.
pub(super) fn default_sources(volume: &mut Map<String, Value>) {
    for (source, defaults) in SOURCES {
        if let Some(source) = volume.get_mut(*source).and_then(Value::as_object_mut) {
            for (name, value) in *defaults {
                set_empty(source, name, value);
            }
        }
    }
    if let Some(disk) = volume.get_mut("azureDisk").and_then(Value::as_object_mut) {
        set(disk, "readOnly", false);
    }
}

/// What both pods and pod templates get.
pub(super) fn default_pod_spec(spec: &mut Map<String, Value>) {
    let kept = |v: &Value| v.as_array().is_none_or(|a| !a.is_empty());
    // Empty lists are not written (`omitempty`), but for the one that must be there.
    spec.retain(|k, v| k == "containers" || kept(v));
    set_empty(spec, "dnsPolicy", "ClusterFirst");
    set_empty(spec, "restartPolicy", "Always");
    set(spec, "securityContext", json!({}));
    set(spec, "terminationGracePeriodSeconds", 30);
    set_empty(spec, "schedulerName", "default-scheduler");
    // Two fields for one thing: the old one is kept in step.
    match (
        spec.get("serviceAccountName").cloned(),
        spec.get("serviceAccount").cloned(),
    ) {
        (Some(name), _) if !super::is_unset(Some(&name)) => {
            spec.insert("serviceAccount".to_owned(), name);
        }
        (_, Some(name)) if !super::is_unset(Some(&name)) => {
            spec.insert("serviceAccountName".to_owned(), name);
        }
        _ => {}
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in super::list_mut(spec, list) {
            default_container(container);
        }
    }
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        for list in ["containers", "initContainers"] {
            for port in super::list_mut(spec, list).flat_map(|container| super::list_mut(container, "ports")) {
                if let Some(number) = port.get("containerPort").cloned()
                    && port.get("hostPort").is_none_or(|p| p == 0)
                {
                    port.insert("hostPort".to_owned(), number);
                }
            }
        }
    }
    for volume in super::list_mut(spec, "volumes") {
        default_volume(volume);
    }
}

/// What pods get and templates do not.
pub(super) fn default_pod(pod: &mut Map<String, Value>) {
    let spec = map_at(pod, "spec");
    default_pod_spec(spec);
    // Reading a pod does so, and reading a template does not (`Convert_v1_Pod_To_core_Pod`).
    let grace = "terminationGracePeriodSeconds";
    if spec.get(grace).and_then(Value::as_i64).is_some_and(|s| s < 0) {
        spec.insert(grace.to_owned(), 1.into());
    }
    for list in ["containers", "initContainers"] {
        for container in super::list_mut(spec, list) {
            let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else {
                continue;
            };
            if let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() {
                let requests = map_at(resources, "requests");
                for (name, limit) in limits {
                    requests.entry(name).or_insert(limit);
                }
            }
        }
    }
    pod_level_requests(spec);
    set(spec, "enableServiceLinks", true);
}

/// What a pod as a whole asks for, where it says only a part: what its containers ask for, else its limits.
fn pod_level_requests(spec: &mut Map<String, Value>) {
    let Some(resources) = spec.get("resources").and_then(Value::as_object) else {
        return;
    };
    let known = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let of_containers = crate::registry::pod_requests(&Value::Object(spec.clone()));
    let limits = resources.get("limits").and_then(Value::as_object).cloned();
    if limits.as_ref().is_none_or(Map::is_empty) {
        return;
    }
    let all = of_containers
        .into_iter()
        .filter(|(name, _)| !name.starts_with("hugepages-"))
        .chain(limits.into_iter().flatten());
    let mut requests = resources
        .get("requests")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (name, amount) in all.filter(|(name, _)| known(name)) {
        requests.entry(name).or_insert(amount);
    }
    if !requests.is_empty() {
        map_at(spec, "resources").insert("requests".to_owned(), Value::Object(requests));
    }
}

fn default_container(container: &mut Map<String, Value>) {
    container.retain(|_, v| v.as_array().is_none_or(|a| !a.is_empty()));
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    set_empty(container, "imagePullPolicy", super::image::pull_policy(image));
    set_empty(container, "terminationMessagePath", "/dev/termination-log");
    set_empty(container, "terminationMessagePolicy", "File");
    let resources = map_at(container, "resources");
    for list in ["limits", "requests"] {
        canonical_quantities(resources, list);
    }
    for port in super::list_mut(container, "ports") {
        set_empty(port, "protocol", "TCP");
    }
    for env in super::list_mut(container, "env") {
        let source = env
            .get_mut("valueFrom")
            .and_then(|v| v.get_mut("fieldRef"))
            .and_then(Value::as_object_mut);
        if let Some(field) = source {
            set_empty(field, "apiVersion", "v1");
        }
        let resource = env
            .get_mut("valueFrom")
            .and_then(|v| v.get_mut("resourceFieldRef"))
            .and_then(Value::as_object_mut);
        if let Some(resource) = resource {
            set(resource, "divisor", "0");
        }
        let file = env
            .get_mut("valueFrom")
            .and_then(|v| v.get_mut("fileKeyRef"))
            .and_then(Value::as_object_mut);
        if let Some(file) = file {
            set(file, "optional", false);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            default_probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        let action = container
            .get_mut("lifecycle")
            .and_then(|l| l.get_mut(hook))
            .and_then(|h| h.get_mut("httpGet"));
        default_http_get(action);
    }
}

fn default_probe(probe: &mut Map<String, Value>) {
    for (name, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        if probe.get(name).is_none_or(|v| v.is_null() || *v == 0) {
            probe.insert(name.to_owned(), value.into());
        }
    }
    if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
        set(grpc, "service", "");
    }
    default_http_get(probe.get_mut("httpGet"));
}

fn default_http_get(action: Option<&mut Value>) {
    if let Some(action) = action.and_then(Value::as_object_mut) {
        set_empty(action, "path", "/");
        set_empty(action, "scheme", "HTTP");
    }
}

fn default_volume(volume: &mut Map<String, Value>) {
    if volume.iter().all(|(name, value)| name == "name" || value.is_null()) {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            set(source, "defaultMode", 0o644);
            for item in super::list_mut(source, "items") {
                default_field_ref(item);
            }
            for projection in super::list_mut(source, "sources") {
                if let Some(token) = projection.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
                    set(token, "expirationSeconds", 3600);
                }
                if let Some(api) = projection.get_mut("downwardAPI").and_then(Value::as_object_mut) {
                    super::list_mut(api, "items").for_each(default_field_ref);
                }
            }
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        set(path, "type", "");
    }
    default_sources(volume);
    if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
        let reference = image.get("reference").and_then(Value::as_str).unwrap_or_default();
        let policy = super::image::pull_policy(reference);
        set_empty(image, "pullPolicy", policy);
    }
    let template = volume
        .get_mut("ephemeral")
        .and_then(|e| e.get_mut("volumeClaimTemplate"))
        .and_then(Value::as_object_mut);
    if let Some(template) = template {
        // Always there: Go holds it by value.
        map_at(template, "metadata");
        set(map_at(template, "spec"), "volumeMode", "Filesystem");
    }
}

fn default_field_ref(item: &mut Map<String, Value>) {
    if let Some(field) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
        set_empty(field, "apiVersion", "v1");
    }
}

/// Writes quantities in their canonical form, at most milli fine, as Go's types do on decoding and writing.
pub(super) fn canonical_quantities(object: &mut Map<String, Value>, list: &str) {
    for (_, value) in object
        .get_mut(list)
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        if let Ok(quantity) = Quantity::from_value(value) {
            // Finer than a thousandth is rounded up.
            let fine = quantity.nano() % 1_000_000 != 0;
            let quantity = if fine {
                Quantity::from_milli(quantity.milli_value())
            } else {
                quantity
            };
            *value = quantity.to_string().into();
        }
    }
}

/// Whether a pod with this metadata stands for one that its node was told of otherwise.
fn has_mirror(metadata: &Value) -> bool {
    !metadata["annotations"]["kubernetes.io/config.mirror"].is_null()
}

/// Whether a pod stands for one that its node was told of otherwise (a static pod).
pub(crate) fn is_mirror(pod: &Value) -> bool {
    has_mirror(&pod["metadata"])
}

/// What creation adds to a pod: tolerations (DefaultTolerationSeconds), priority (Priority), the service account
/// (ServiceAccount, without the token's volume), and its first status.
pub(super) fn admit_pod(pod: &mut Map<String, Value>, options: &AdmissionOptions) {
    let mirror = pod.get("metadata").is_some_and(has_mirror);
    let spec = map_at(pod, "spec");
    if !mirror {
        set_empty(spec, "serviceAccountName", "default");
    }
    if let Some(name) = spec.get("serviceAccountName").cloned() {
        spec.insert("serviceAccount".to_owned(), name);
    }
    let class = spec
        .get("priorityClassName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let priority = SYSTEM_CLASSES
        .iter()
        .find(|(name, _)| *name == class)
        .map_or(0, |(_, value)| *value);
    set(spec, "priority", priority);
    set_empty(spec, "preemptionPolicy", "PreemptLowerPriority");
    tolerate(spec, options);
    let class = qos_class(&Value::Object(spec.clone()));
    // That it waits at a gate is known already.
    let known = pod.get("status").and_then(|status| status.get("conditions")).cloned();
    let mut status = json!({"phase": "Pending", "qosClass": class});
    if let Some(conditions) = known.filter(Value::is_array) {
        status["conditions"] = conditions;
    }
    pod.insert("status".to_owned(), status);
}

/// The tolerations of DefaultTolerationSeconds.
pub(super) fn tolerate(spec: &mut Map<String, Value>, options: &AdmissionOptions) {
    let taints = [
        ("node.kubernetes.io/not-ready", options.not_ready_toleration_seconds),
        ("node.kubernetes.io/unreachable", options.unreachable_toleration_seconds),
    ];
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if let Value::Array(tolerations) = tolerations {
        for (key, seconds) in taints {
            let tolerated = tolerations.iter().any(|toleration| {
                let text = |name: &str| toleration[name].as_str().unwrap_or_default();
                (text("key") == key || text("key").is_empty()) && matches!(text("effect"), "NoExecute" | "")
            });
            if !tolerated {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds
                }));
            }
        }
    }
}

/// QoS class of a pod (`pkg/apis/core/v1/helper/qos`): `BestEffort`, `Burstable` or `Guaranteed`.
pub fn qos_class(spec: &Value) -> &'static str {
    let containers = || {
        ["containers", "initContainers"]
            .into_iter()
            .flat_map(|list| spec[list].as_array().into_iter().flatten())
    };
    let amount = |container: &Value, list: &str, resource: &str| {
        Quantity::from_value(&container["resources"][list][resource])
            .ok()
            .filter(|q| !q.is_zero())
    };
    let mut any = false;
    let mut guaranteed = true;
    // What the pod says as a whole is all that counts.
    let whole = ["requests", "limits"]
        .iter()
        .any(|list| spec["resources"][*list].as_object().is_some_and(|all| !all.is_empty()));
    let counted = if whole { vec![spec] } else { containers().collect() };
    for container in counted {
        for resource in ["cpu", "memory"] {
            let (request, limit) = (
                amount(container, "requests", resource),
                amount(container, "limits", resource),
            );
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Drops fields of features that are not on by default (`dropDisabledFields`).
pub(super) fn drop_disabled(spec: &mut Map<String, Value>) {
    spec.remove("schedulingGroup");
    for volume in super::list_mut(spec, "volumes") {
        let Some(projected) = volume.get_mut("projected").and_then(Value::as_object_mut) else {
            continue;
        };
        for source in super::list_mut(projected, "sources") {
            source.remove("clusterTrustBundle");
            source.remove("podCertificate");
        }
    }
    for which in ["containers", "initContainers", "ephemeralContainers"] {
        for container in super::list_mut(spec, which) {
            let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) else {
                continue;
            };
            if lifecycle.remove("stopSignal").is_some() && lifecycle.is_empty() {
                container.remove("lifecycle");
            }
        }
    }
}
