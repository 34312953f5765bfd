//! What the API server takes and warns of (the strategies' `WarningsOnCreate` and `WarningsOnUpdate`, `pkg/api/*/warnings.go`
//! in Kubernetes).

use super::told::Told;
use super::validate_parts::{list, text, texts};
use super::{names, warnings_paths, warnings_ports};
use crate::schema::quote;
use cfn_cel::quantity::Quantity;
use serde_json::Value;
use std::collections::BTreeSet;

/// Labels of nodes that are used no more, with what is said of them.
const NODE_LABELS: [(&str, &str); 8] = [
    (
        "beta.kubernetes.io/arch",
        "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
    ),
    (
        "beta.kubernetes.io/os",
        "deprecated since v1.14; use \"kubernetes.io/os\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    (
        "node-role.kubernetes.io/master",
        "use \"node-role.kubernetes.io/control-plane\" instead",
    ),
];

/// Annotations of volumes that are fields now.
const VOLUME_ANNOTATIONS: [(&str, &str); 2] = [
    (
        "volume.beta.kubernetes.io/storage-class",
        "deprecated since v1.8; use \"storageClassName\" attribute instead",
    ),
    (
        "volume.beta.kubernetes.io/mount-options",
        "deprecated since v1.31; use \"mountOptions\" attribute instead",
    ),
];

/// Sources of volumes that are used no more, of pods' volumes and of the cluster's: in JSON, and as they are told.
const SOURCES: [(&str, &str, &str); 9] = [
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    (
        "gitRepo",
        "gitRepo",
        "deprecated in v1.11, and disabled by default in v1.33+",
    ),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    (
        "storageos",
        "storageOS",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    (
        "glusterfs",
        "glusterfs",
        "deprecated in v1.25, non-functional in v1.26+",
    ),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Those of which nothing is said where they are the source of one of the cluster's volumes.
const OF_PODS: [&str; 3] = ["gitRepo", "flocker", "quobyte"];

/// `GetWarningsForPersistentVolume`.
fn persistent_volume(new: &Value, told: &mut Told) {
    for (name, why) in VOLUME_ANNOTATIONS {
        if !new["metadata"]["annotations"][name].is_null() {
            told.push(format!("metadata.annotations[{name}]: {why}"));
        }
    }
    let spec = &new["spec"];
    if spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        let text = "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the \
                    recommended approach is to use dynamic provisioning.";
        told.push(text.to_owned());
    }
    let required = &spec["nodeAffinity"]["required"];
    for (i, term) in list(required, "nodeSelectorTerms").iter().enumerate() {
        for (j, expression) in list(term, "matchExpressions").iter().enumerate() {
            let key = text(expression, "key");
            if let Some(why) = deprecated(key) {
                let path = format!("spec.nodeAffinity.required.nodeSelectorTerms[{i}].matchExpressions[{j}].key");
                told.push(format!("{path}: {key} is {why}"));
            }
        }
    }
    for (field, name, why) in SOURCES {
        if !spec[field].is_null() && !OF_PODS.contains(&field) {
            told.push(format!("spec.{name}: {why}"));
        }
    }
}

/// Annotations of pods that do nothing any more.
const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// Warnings of a write that is valid; `old` is given on update.
pub fn warnings(group: &str, kind: &str, old: Option<&Value>, new: &Value) -> Vec<String> {
    let mut told = Told::default();
    let changed = old.is_none_or(|old| old["metadata"]["generation"] != new["metadata"]["generation"]);
    match (group, kind) {
        ("", "Pod") if old.is_none() => {
            label_name(new, "this is used in the Pod's hostname", &mut told);
            pod(&new["metadata"], &new["spec"], "", &mut told);
        }
        ("apps", "Deployment" | "ReplicaSet") | ("batch", "Job" | "CronJob") => {
            if old.is_none() {
                label_name(new, "this is used in Pod names and hostnames", &mut told);
            }
            if changed && kind == "CronJob" {
                template(
                    &new["spec"]["jobTemplate"]["spec"]["template"],
                    "spec.jobTemplate.spec.template",
                    &mut told,
                );
            } else if changed {
                template(&new["spec"]["template"], "spec.template", &mut told);
            }
        }
        ("apps", "DaemonSet") if changed => template(&new["spec"]["template"], "spec.template", &mut told),
        ("apps", "StatefulSet") => {
            if changed {
                template(&new["spec"]["template"], "spec.template", &mut told);
            }
            for (i, template) in list(&new["spec"], "volumeClaimTemplates").iter().enumerate() {
                claim(&template["spec"], &format!("spec.volumeClaimTemplates[{i}]"), &mut told);
            }
            if new["spec"]["revisionHistoryLimit"].as_i64().is_some_and(|n| n < 0) {
                let text = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 \
                            is recommended";
                told.push(text.to_owned());
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            crate::crd::warnings(old, new)
                .into_iter()
                .for_each(|text| told.push(text));
        }
        ("", "ServiceAccount") => {
            let key = "kubernetes.io/enforce-mountable-secrets";
            let says = |v: &Value| !v["metadata"]["annotations"][key].is_null();
            if says(new) && !old.is_some_and(says) {
                told.push(format!(
                    "metadata.annotations[{key}]: deprecated in v1.32+; prefer separate namespaces to isolate access to \
                     mounted secrets"
                ));
            }
        }
        ("", "PodTemplate") if changed => template(&new["template"], "template", &mut told),
        // Upstream looks at the old one when it changes.
        ("", "ReplicationController") if changed => {
            if old.is_none() {
                label_name(new, "this is used in Pod names and hostnames", &mut told);
            }
            template(&old.unwrap_or(new)["spec"]["template"], "spec.template", &mut told);
        }
        ("", "Service") => service(new, &mut told),
        ("networking.k8s.io", "Ingress") if old.is_none() => {
            let class = "kubernetes.io/ingress.class";
            let noted = !new["metadata"]["annotations"][class].is_null();
            if noted && new["spec"]["ingressClassName"].is_null() {
                told.push(format!(
                    "annotation {} is deprecated, please use 'spec.ingressClassName' instead",
                    quote(class)
                ));
            }
        }
        ("", "PersistentVolumeClaim") => claim(&new["spec"], "spec", &mut told),
        ("", "Node") => {
            if !new["spec"]["configSource"].is_null() {
                told.push("spec.configSource: the feature is removed".to_owned());
            }
            if !text(&new["spec"], "externalID").is_empty() {
                told.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
            }
        }
        ("storage.k8s.io", "CSIDriver") => {
            let spec = &new["spec"];
            let asked = list(spec, "tokenRequests");
            let changed = old.is_none_or(|old| list(&old["spec"], "tokenRequests") != asked);
            if changed && !asked.is_empty() && spec["serviceAccountTokenInSecrets"].is_null() {
                let text = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to \
                            prevent possible logging of tokens in volume attributes";
                told.push(text.to_owned());
            }
        }
        ("", "PersistentVolume") => persistent_volume(new, &mut told),
        _ => {}
    }
    told.all()
}

/// That a name should be a label.
fn label_name(object: &Value, what: &str, told: &mut Told) {
    let wrong = names::dns1123_label(text(&object["metadata"], "name"));
    if !wrong.is_empty() {
        told.push(format!(
            "metadata.name: {what}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
}

fn template(template: &Value, path: &str, told: &mut Told) {
    pod(&template["metadata"], &template["spec"], &format!("{path}."), told);
}

fn pod(metadata: &Value, spec: &Value, at: &str, told: &mut Told) {
    for key in spec["nodeSelector"].as_object().into_iter().flatten().map(|(k, _)| k) {
        if let Some(why) = deprecated(key) {
            told.push(format!("{at}spec.nodeSelector[{key}]: {why}"));
        }
    }
    node_affinity(
        &spec["affinity"]["nodeAffinity"],
        &format!("{at}spec.affinity.nodeAffinity"),
        told,
    );
    for (i, spread) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let (path, key) = (
            format!("{at}spec.topologySpreadConstraints[{i}]"),
            text(spread, "topologyKey"),
        );
        if let Some(why) = deprecated(key) {
            told.push(format!("{path}.topologyKey: {key} is {why}"));
        }
        if spread["labelSelector"].is_null() {
            told.push(format!(
                "{path}.labelSelector: a null labelSelector results in matching no pod"
            ));
        }
    }
    for (key, why) in ANNOTATIONS {
        if !metadata["annotations"][key].is_null() {
            told.push(format!("{at}metadata.annotations[{key}]: {why}"));
        }
    }
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        for (field, name, why) in SOURCES {
            if !volume[field].is_null() {
                told.push(format!("{at}spec.volumes[{i}].{name}: {why}"));
            }
        }
        let template = &volume["ephemeral"]["volumeClaimTemplate"];
        let path = format!("{at}spec.volumes[{i}].ephemeral.volumeClaimTemplate.spec");
        claim(&template["spec"], &path, told);
    }
    warnings_paths::overlapping(spec, told);
    twice(spec, "hostAliases", "ip", at, told);
    twice(spec, "imagePullSecrets", "name", at, told);
    for (i, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            told.push(format!("{at}spec.imagePullSecrets[{i}].name: invalid empty name \"\""));
        }
    }
    whole(&spec["overhead"], &BYTES, &format!("{at}spec.overhead"), told);
    let containers = ["initContainers", "containers", "ephemeralContainers"];
    let containers = containers.iter().flat_map(|which| {
        let all = list(spec, which).iter().enumerate();
        all.map(move |(i, c)| (c, format!("{at}spec.{which}[{i}]")))
    });
    let containers: Vec<(&Value, String)> = containers.collect();
    for (container, path) in &containers {
        for which in ["limits", "requests"] {
            whole(
                &container["resources"][which],
                &BYTES,
                &format!("{path}.resources.{which}"),
                told,
            );
        }
        environment(container, path, told);
    }
    warnings_ports::ports(&containers, told);
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s < 0) {
        told.push(format!(
            "{at}spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    for which in ["podAffinity", "podAntiAffinity"] {
        affinity(&spec["affinity"][which], &format!("{at}spec.affinity.{which}"), told);
    }
}

/// What is said of a label of nodes that is used no more.
fn deprecated(key: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(label, _)| *label == key).map(|(_, why)| *why)
}

/// Terms that ask for labels that nodes have no more, or for values that no label has.
fn node_affinity(affinity: &Value, at: &str, told: &mut Told) {
    let mut term = |term: &Value, path: String, values: bool| {
        for (i, expression) in list(term, "matchExpressions").iter().enumerate() {
            let key = text(expression, "key");
            if let Some(why) = deprecated(key) {
                told.push(format!("{path}.matchExpressions[{i}].key: {key} is {why}"));
            }
            for (j, value) in texts(expression, "values").into_iter().enumerate().filter(|_| values) {
                for why in names::label_value(value) {
                    told.push(format!(
                        "{path}.matchExpressions[{i}].values[{j}]: {value} is invalid, {why}"
                    ));
                }
            }
        }
    };
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    for (i, each) in list(&affinity[required], "nodeSelectorTerms").iter().enumerate() {
        term(each, format!("{at}.{required}.nodeSelectorTerms[{i}]"), false);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (i, each) in list(affinity, preferred).iter().enumerate() {
        term(&each["preference"], format!("{at}.{preferred}[{i}].preference"), true);
    }
}

/// Items of a list that say the same.
fn twice(spec: &Value, of: &str, field: &str, at: &str, told: &mut Told) {
    let mut seen = BTreeSet::new();
    for (i, item) in list(spec, of).iter().enumerate() {
        let value = text(item, field);
        if !seen.insert(value) {
            let value = quote(value);
            told.push(format!("{at}spec.{of}[{i}].{field}: duplicate {field} {value}"));
        }
    }
}

/// Resources of containers that are counted in bytes.
const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];

/// Bytes of a claim.
fn claim(spec: &Value, at: &str, told: &mut Told) {
    for which in ["requests", "limits"] {
        whole(
            &spec["resources"][which],
            &["storage"],
            &format!("{at}.resources.{which}"),
            told,
        );
    }
}

/// Bytes come whole.
fn whole(amounts: &Value, names: &[&str], path: &str, told: &mut Told) {
    for name in names {
        if let Ok(amount) = Quantity::from_value(&amounts[*name])
            && amount.milli_value() % 1000 != 0
        {
            told.push(format!(
                "{path}[{name}]: fractional byte value {} is invalid, must be an integer",
                quote(&amount.to_string())
            ));
        }
    }
}

/// Variables that hide others.
fn environment(container: &Value, path: &str, told: &mut Told) {
    let mut seen = BTreeSet::new();
    for (i, variable) in list(container, "env").iter().enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        if seen.insert(name) {
            continue;
        }
        let own = format!("$({name})");
        if !variable["valueFrom"].is_null() || value == own || !value.contains(&own) {
            let name = quote(name);
            told.push(format!(
                "{path}.env[{i}]: hides previous definition of {name}, which may be dropped when using apply"
            ));
        }
    }
}

fn affinity(affinity: &Value, at: &str, told: &mut Told) {
    for (which, inner) in [
        ("requiredDuringSchedulingIgnoredDuringExecution", ""),
        ("preferredDuringSchedulingIgnoredDuringExecution", "podAffinityTerm"),
    ] {
        for (i, term) in list(affinity, which).iter().enumerate() {
            let (term, dot) = if inner.is_empty() {
                (term, "")
            } else {
                (&term[inner], ".podAffinityTerm")
            };
            if term["labelSelector"].is_null() {
                told.push(format!(
                    "{at}.{which}[{i}]{dot}.labelSelector: a null labelSelector results in matching no pod"
                ));
            }
        }
    }
}

fn service(new: &Value, told: &mut Told) {
    let spec = &new["spec"];
    let (kind, headless) = (
        text(spec, "type"),
        text(spec, "type") == "ClusterIP" && spec["clusterIP"] == "None",
    );
    let (external, outside) = (!texts(spec, "externalIPs").is_empty(), kind == "ExternalName");
    let hints = "service.kubernetes.io/topology-aware-hints";
    for (is, text) in [
        (
            !new["metadata"]["annotations"][hints].is_null(),
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use \
             service.kubernetes.io/topology-mode instead",
        ),
        (
            headless && !text(spec, "loadBalancerIP").is_empty(),
            "spec.loadBalancerIP is ignored for headless services",
        ),
        (
            headless && external,
            "spec.externalIPs is ignored for headless services",
        ),
        (
            headless && text(spec, "sessionAffinity") != "None",
            "spec.SessionAffinity is ignored for headless services",
        ),
        (
            external && !headless && !outside,
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
        ),
        (
            outside && external,
            "spec.externalIPs is ignored when spec.type is \"ExternalName\"",
        ),
        (
            !outside && !text(spec, "externalName").is_empty(),
            "spec.externalName is ignored when spec.type is not \"ExternalName\"",
        ),
        (
            spec["trafficDistribution"] == "PreferClose",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        ),
    ] {
        if is {
            told.push(text.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_taken_may_be_warned_of() {
        let pod = |name: &str, spec: Value| {
            let pod = json!({"metadata": {"name": name}, "spec": spec});
            warnings("", "Pod", None, &pod)
        };
        let container = |more: Value| json!([more]);
        for (got, wanted) in [
            (
                pod("a.b", json!({})),
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
            ),
            (
                pod("a", json!({"volumes": [{"name": "v", "rbd": {}}]})),
                "spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
            ),
            (
                pod("a", json!({"imagePullSecrets": [{}]})),
                "spec.imagePullSecrets[0].name: invalid empty name \"\"",
            ),
            (
                pod(
                    "a",
                    json!({"containers": container(json!({"resources": {"limits": {"memory": "100m"}}}))}),
                ),
                "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            ),
            (
                pod(
                    "a",
                    json!({"containers": container(json!({"env": [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}]}))}),
                ),
                "spec.containers[0].env[1]: hides previous definition of \"X\", which may be dropped when using apply",
            ),
            (
                pod(
                    "a",
                    json!({"containers": container(json!({"ports": [{"containerPort": 1}, {"containerPort": 1, "hostPort": 2}]}))}),
                ),
                "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
            ),
            (
                warnings(
                    "",
                    "Service",
                    None,
                    &json!({"spec": {"type": "ExternalName", "externalIPs": ["1.2.3.4"]}}),
                ),
                "spec.externalIPs is ignored when spec.type is \"ExternalName\"",
            ),
        ] {
            assert_eq!(got, [wanted]);
        }
        // Ports that are nowhere near each other are not told of, however many there are.
        let port = |i: usize| json!({"containerPort": 1, "hostPort": 1 + i % 2, "hostIP": format!("10.0.{}.{}", i / 250, i % 250)});
        let many: Vec<Value> = (0..20_000).map(port).collect();
        assert_eq!(pod("a", json!({"containers": [{"ports": many}]})), [""; 0]);
        let same: Vec<Value> = (0..20_000).map(|_| port(1)).collect();
        assert!(pod("a", json!({"containers": [{"ports": same}]})).len() < 200);
        let set = json!({"metadata": {"generation": 1}, "spec": {"revisionHistoryLimit": -1}});
        assert_eq!(warnings("apps", "StatefulSet", Some(&set), &set).len(), 1);
        let d = json!({"metadata": {"generation": 1}, "spec": {"template": {"spec": {"nodeSelector": {"beta.kubernetes.io/os": "x"}}}}});
        assert!(
            warnings("apps", "Deployment", Some(&d), &d).is_empty(),
            "nothing changed"
        );
    }
}
