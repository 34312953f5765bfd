//! Defaults of everything else (`pkg/apis/*/v1/defaults.go` in Kubernetes).

use super::{list_mut, map_at, set, set_empty};
use base64::Engine;
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

pub(super) fn service(object: &mut Object) {
    let spec = map_at(object, "spec");
    set_empty(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "ClientIP" {
        set(
            map_at(map_at(spec, "sessionAffinityConfig"), "clientIP"),
            "timeoutSeconds",
            10800,
        );
    } else {
        spec.remove("sessionAffinityConfig");
    }
    set_empty(spec, "type", "ClusterIP");
    for port in list_mut(spec, "ports") {
        set_empty(port, "protocol", "TCP");
        let number = port.get("port").filter(|p| !p.is_null()).cloned();
        let number = number.unwrap_or_else(|| 0.into());
        if port
            .get("targetPort")
            .is_none_or(|target| target.is_null() || *target == 0 || *target == "")
        {
            port.insert("targetPort".to_owned(), number);
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    let external = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP"
            && spec
                .get("externalIPs")
                .and_then(Value::as_array)
                .is_some_and(|ips| !ips.is_empty()));
    if external {
        set_empty(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
    let balanced = kind == "LoadBalancer";
    let status = map_at(map_at(object, "status"), "loadBalancer");
    for point in list_mut(status, "ingress").filter(|p| balanced && !super::is_unset(p.get("ip"))) {
        set(point, "ipMode", "VIP");
    }
}

/// Families of a single-stack cluster and the addresses' list, once the address is allocated
/// (`pkg/registry/core/service/storage/alloc.go`).
pub(super) fn service_families(object: &mut Object) {
    let spec = map_at(object, "spec");
    if spec.get("type").is_some_and(|kind| kind == "ExternalName") {
        return;
    }
    if let Some(ip) = spec
        .get("clusterIP")
        .filter(|ip| ip.as_str().is_some_and(|ip| !ip.is_empty()))
        .cloned()
    {
        set(spec, "clusterIPs", json!([ip]));
    }
    let some = |v: Option<&Value>| v.is_some_and(|v| v.as_object().is_some_and(|m| !m.is_empty()));
    // Without a selector the addresses are made by hand, of any family.
    if spec.get("clusterIP").is_some_and(|ip| ip == "None") && !some(spec.get("selector")) {
        set_empty(spec, "ipFamilyPolicy", "RequireDualStack");
        if spec["ipFamilyPolicy"] != "SingleStack" {
            let first = spec
                .get("ipFamilies")
                .map_or("IPv4", |f| f[0].as_str().unwrap_or("IPv4"));
            let both = json!([first, if first == "IPv4" { "IPv6" } else { "IPv4" }]);
            spec.insert("ipFamilies".to_owned(), both);
        }
    }
    let six = spec
        .get("clusterIP")
        .and_then(Value::as_str)
        .is_some_and(|ip| ip.contains(':'));
    if spec.get("ipFamilies").is_some_and(|all| *all == json!([])) {
        spec.remove("ipFamilies");
    }
    set(spec, "ipFamilies", json!([if six { "IPv6" } else { "IPv4" }]));
    set_empty(spec, "ipFamilyPolicy", "SingleStack");
}

pub(super) fn secret(object: &mut Object) {
    set_empty(object, "type", "Opaque");
    // Plain texts are written, never read back.
    if let Some(Value::Object(texts)) = object.remove("stringData") {
        let data = map_at(object, "data");
        for (key, text) in texts {
            let text = base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap_or_default());
            data.insert(key, text.into());
        }
    }
}

pub(super) fn namespace(object: &mut Object) {
    let metadata = map_at(object, "metadata");
    if let Some(name) = metadata
        .get("name")
        .filter(|name| !super::is_unset(Some(name)))
        .cloned()
    {
        map_at(metadata, "labels").insert("kubernetes.io/metadata.name".to_owned(), name);
    }
    set_empty(map_at(object, "status"), "phase", "Active");
}

/// What creation adds: the finalizer under which a namespace's contents go first.
pub(super) fn namespace_finalizer(object: &mut Object) {
    set(map_at(object, "spec"), "finalizers", json!(["kubernetes"]));
}

pub(super) fn persistent_volume(object: &mut Object) {
    let spec = map_at(object, "spec");
    super::pod::canonical_quantities(spec, "capacity");
    super::pod::default_sources(spec);
    if let Some(path) = spec.get_mut("hostPath").and_then(Value::as_object_mut) {
        set(path, "type", "");
    }
    set_empty(spec, "persistentVolumeReclaimPolicy", "Retain");
    set(spec, "volumeMode", "Filesystem");
    set_empty(map_at(object, "status"), "phase", "Pending");
}

pub(super) fn persistent_volume_claim(object: &mut Object) {
    let spec = map_at(object, "spec");
    for list in ["requests", "limits"] {
        super::pod::canonical_quantities(map_at(spec, "resources"), list);
    }
    set(spec, "volumeMode", "Filesystem");
    set_empty(map_at(object, "status"), "phase", "Pending");
}

pub(super) fn endpoints(object: &mut Object) {
    for port in list_mut(object, "subsets").flat_map(|subset| list_mut(subset, "ports")) {
        set_empty(port, "protocol", "TCP");
    }
}

pub(super) fn endpoint_slice(object: &mut Object) {
    for port in list_mut(object, "ports") {
        set(port, "name", "");
        set(port, "protocol", "TCP");
    }
    for endpoint in list_mut(object, "endpoints") {
        set(endpoint, "conditions", serde_json::json!({}));
    }
}

/// What containers get where a limit range says less: the most stands for the default, the default for the request
/// (`SetDefaults_LimitRangeItem`).
pub(super) fn limit_range(object: &mut Object) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    for limit in list_mut(spec, "limits").filter(|l| l.get("type").is_some_and(|t| t == "Container")) {
        for (from, to) in [
            ("max", "default"),
            ("default", "defaultRequest"),
            ("min", "defaultRequest"),
        ] {
            let known = limit.get(from).and_then(Value::as_object).cloned().unwrap_or_default();
            if !known.is_empty() {
                let slot = limit.entry(to).or_insert_with(|| serde_json::json!({}));
                for (name, amount) in known {
                    if slot.get(&name).is_none() {
                        slot[name] = amount;
                    }
                }
            }
        }
    }
}

pub(super) fn node(object: &mut Object) {
    let spec = map_at(object, "spec");
    // The first of the ranges of addresses is told twice; where the two differ, the one outside the list is meant
    // (`Convert_v1_NodeSpec_To_core_NodeSpec` and back).
    let first = spec
        .get("podCIDR")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let of_list = spec.get("podCIDRs").and_then(|all| all.get(0));
    let of_list = of_list.map(|range| range.as_str().unwrap_or_default().to_owned());
    match of_list {
        _ if !first.is_empty() && of_list.as_ref() != Some(&first) => {
            spec.insert("podCIDRs".to_owned(), json!([first]));
        }
        Some(range) if !range.is_empty() => drop(spec.insert("podCIDR".to_owned(), range.into())),
        _ => drop(spec.remove("podCIDR")),
    }
    let status = map_at(object, "status");
    for list in ["capacity", "allocatable"] {
        super::pod::canonical_quantities(status, list);
    }
    if let Some(capacity) = status.get("capacity").cloned() {
        set(status, "allocatable", capacity);
    }
    // What Go writes always.
    let endpoint = map_at(map_at(status, "daemonEndpoints"), "kubeletEndpoint");
    set(endpoint, "Port", 0);
    let info = map_at(status, "nodeInfo");
    for field in [
        "machineID",
        "systemUUID",
        "bootID",
        "kernelVersion",
        "osImage",
        "containerRuntimeVersion",
        "kubeletVersion",
        "kubeProxyVersion",
        "operatingSystem",
        "architecture",
    ] {
        set(info, field, "");
    }
}

pub(super) fn binding(object: &mut Object) {
    set_empty(map_at(object, "roleRef"), "apiGroup", "rbac.authorization.k8s.io");
    for subject in list_mut(object, "subjects") {
        // A service account's group is the core group: the empty text, which is not written.
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            set_empty(subject, "apiGroup", "rbac.authorization.k8s.io");
        }
    }
}

pub(super) fn ingress(object: &mut Object) {
    map_at(map_at(object, "status"), "loadBalancer");
}

pub(super) fn network_policy(object: &mut Object) {
    let spec = map_at(object, "spec");
    for rules in ["ingress", "egress"] {
        for port in list_mut(spec, rules).flat_map(|rule| list_mut(rule, "ports")) {
            set(port, "protocol", "TCP");
        }
    }
    let egress = spec
        .get("egress")
        .and_then(Value::as_array)
        .is_some_and(|rules| !rules.is_empty());
    if spec
        .get("policyTypes")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
    {
        let types = if egress {
            json!(["Ingress", "Egress"])
        } else {
            json!(["Ingress"])
        };
        spec.insert("policyTypes".to_owned(), types);
    }
}

pub(super) fn storage_class(object: &mut Object) {
    set(object, "reclaimPolicy", "Delete");
    set(object, "volumeBindingMode", "Immediate");
}

pub(super) fn priority_class(object: &mut Object) {
    set(object, "preemptionPolicy", "PreemptLowerPriority");
}

pub(super) fn autoscaler(object: &mut Object, version: &str) {
    let spec = map_at(object, "spec");
    set(spec, "minReplicas", 1);
    if version == "v2"
        && let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut)
    {
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let up = map_at(behavior, "scaleUp");
        set(up, "stabilizationWindowSeconds", 0);
        set(up, "selectPolicy", "Max");
        set(up, "policies", json!([pods, percent]));
        let down = map_at(behavior, "scaleDown");
        set(down, "selectPolicy", "Max");
        set(down, "policies", json!([percent]));
    }
    // autoscaling.DefaultCPUUtilization.
    if version == "v2"
        && spec
            .get("metrics")
            .is_none_or(|m| m.as_array().is_none_or(Vec::is_empty))
    {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
        spec.insert("metrics".to_owned(), metric);
    }
}

pub(super) fn webhooks(object: &mut Object, mutating: bool) {
    for webhook in list_mut(object, "webhooks") {
        set(webhook, "failurePolicy", "Fail");
        set(webhook, "matchPolicy", "Equivalent");
        set(webhook, "namespaceSelector", json!({}));
        set(webhook, "objectSelector", json!({}));
        set(webhook, "timeoutSeconds", 10);
        if mutating {
            set(webhook, "reinvocationPolicy", "Never");
        }
        for rule in list_mut(webhook, "rules") {
            set(rule, "scope", "*");
        }
        let service = webhook
            .get_mut("clientConfig")
            .and_then(|c| c.get_mut("service"))
            .and_then(Value::as_object_mut);
        if let Some(service) = service {
            set(service, "port", 443);
        }
    }
}

/// CustomResourceDefinitions (`k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/defaults.go`).
pub(super) fn custom_resource_definition(object: &mut Object) {
    let spec = map_at(object, "spec");
    if spec.get("conversion").is_none_or(Value::is_null) {
        set_empty(map_at(spec, "conversion"), "strategy", "None");
    }
    // The internal type has a webhook's parts and not the webhook.
    let webhook = &spec["conversion"]["webhook"];
    let parts = ["clientConfig", "conversionReviewVersions"];
    if webhook.is_object() && parts.iter().all(|p| webhook[*p].is_null()) {
        map_at(spec, "conversion").remove("webhook");
    }
    let names = map_at(spec, "names");
    let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !kind.is_empty() {
        set_empty(names, "singular", &kind.to_lowercase());
        set_empty(names, "listKind", &format!("{kind}List"));
    }
}

/// Where a claim's data come from: one thing, told by two fields (`DropDisabledFields`,
/// `EnforceDataSourceBackwardsCompatibility` and `NormalizeDataSources` of `pkg/api/persistentvolumeclaim`).
pub(super) fn data_sources(old: Option<&Value>, spec: &mut Object) {
    let field = |source: &Value, name: &str| source[name].as_str().unwrap_or_default().to_owned();
    let had = |name: &str| old.is_some_and(|o| o[name].is_object());
    // Sources in other namespaces are of a feature that is not on.
    if !had("dataSourceRef")
        && spec
            .get("dataSourceRef")
            .is_some_and(|s| !field(s, "namespace").is_empty())
    {
        spec.remove("dataSourceRef");
    }
    let is_told = |spec: &Object, name: &str| spec.get(name).is_some_and(Value::is_object);
    let classic = |source: &Value| {
        let (group, kind) = (field(source, "apiGroup"), field(source, "kind"));
        group.is_empty() && kind == "PersistentVolumeClaim"
            || group == "snapshot.storage.k8s.io" && kind == "VolumeSnapshot"
    };
    // Clients that know of the old way only never meant anything else by it.
    if !had("dataSource")
        && !had("dataSourceRef")
        && !is_told(spec, "dataSourceRef")
        && spec.get("dataSource").is_some_and(|s| !classic(s))
    {
        spec.remove("dataSource");
    }
    match (is_told(spec, "dataSource"), is_told(spec, "dataSourceRef")) {
        (true, false) => drop(spec.insert("dataSourceRef".to_owned(), spec["dataSource"].clone())),
        (false, true) if field(&spec["dataSourceRef"], "namespace").is_empty() => {
            let mut source = spec["dataSourceRef"].clone();
            if let Value::Object(source) = &mut source {
                source.remove("namespace");
            }
            spec.insert("dataSource".to_owned(), source);
        }
        _ => {}
    }
    // What Go writes always.
    for name in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.get_mut(name).and_then(Value::as_object_mut) {
            source.entry("apiGroup").or_insert(Value::Null);
        }
    }
}
