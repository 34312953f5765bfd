//! Defaults of what clusters are set up with: drivers, flow control, policies (`pkg/apis/*/v1/defaults.go` in
//! Kubernetes).

use super::{list_mut, map_at, set, set_empty};
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

pub(super) fn ingress_class(object: &mut Object) {
    if let Some(parameters) = map_at(object, "spec")
        .get_mut("parameters")
        .and_then(Value::as_object_mut)
    {
        set(parameters, "scope", "Cluster");
    }
}

pub(super) fn csi_driver(object: &mut Object) {
    let spec = map_at(object, "spec");
    set(spec, "attachRequired", true);
    set(spec, "podInfoOnMount", false);
    set(spec, "storageCapacity", false);
    set(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    let none = |v: &Value| v.as_array().is_none_or(Vec::is_empty);
    if spec.get("volumeLifecycleModes").is_none_or(none) {
        spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
    }
    set(spec, "requiresRepublish", false);
    set(spec, "seLinuxMount", false);
}

/// Sets a number that is absent or zero.
fn number(object: &mut Object, name: &str, value: i64) {
    if object.get(name).is_none_or(|v| v.is_null() || *v == 0) {
        object.insert(name.to_owned(), value.into());
    }
}

pub(super) fn flow_schema(object: &mut Object) {
    number(map_at(object, "spec"), "matchingPrecedence", 1000);
}

pub(super) fn priority_level(object: &mut Object) {
    let spec = map_at(object, "spec");
    if let Some(exempt) = spec.get_mut("exempt").and_then(Value::as_object_mut) {
        set(exempt, "nominalConcurrencyShares", 0);
        set(exempt, "lendablePercent", 0);
    }
    if let Some(limited) = spec.get_mut("limited").and_then(Value::as_object_mut) {
        set(limited, "nominalConcurrencyShares", 30);
        set(limited, "lendablePercent", 0);
        if let Some(queuing) = limited
            .get_mut("limitResponse")
            .and_then(|r| r.get_mut("queuing"))
            .and_then(Value::as_object_mut)
        {
            number(queuing, "queues", 64);
            number(queuing, "handSize", 8);
            number(queuing, "queueLengthLimit", 50);
        }
    }
}

/// What a policy or its binding is about.
fn match_resources(object: &mut Object) {
    set(object, "matchPolicy", "Equivalent");
    set(object, "namespaceSelector", json!({}));
    set(object, "objectSelector", json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in list_mut(object, list) {
            set(rule, "scope", "*");
        }
    }
}

pub(super) fn admission_policy(object: &mut Object) {
    let spec = map_at(object, "spec");
    set(spec, "failurePolicy", "Fail");
    if let Some(constraints) = spec.get_mut("matchConstraints").and_then(Value::as_object_mut) {
        match_resources(constraints);
    }
}

pub(super) fn admission_policy_binding(object: &mut Object) {
    if let Some(resources) = map_at(object, "spec")
        .get_mut("matchResources")
        .and_then(Value::as_object_mut)
    {
        match_resources(resources);
    }
}

/// How much a claim asks for where it does not say (`SetDefaults_ExactDeviceRequest`, `..._DeviceSubRequest`).
pub(super) fn claim(spec: &mut Object) {
    let devices = map_at(spec, "devices");
    for request in list_mut(devices, "requests") {
        if let Some(exactly) = request.get_mut("exactly").and_then(Value::as_object_mut) {
            amount(exactly);
        }
        list_mut(request, "firstAvailable").for_each(amount);
    }
}

fn amount(request: &mut Object) {
    set_empty(request, "allocationMode", "ExactCount");
    if request["allocationMode"] == "ExactCount" {
        number(request, "count", 1);
    }
    for toleration in list_mut(request, "tolerations") {
        set_empty(toleration, "operator", "Equal");
    }
}

/// Attributes that are lists are of a feature that is not on by default.
pub(super) fn slice(spec: &mut Map<String, Value>) {
    for device in list_mut(spec, "devices") {
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
        for attribute in attributes.into_iter().flat_map(|all| all.values_mut()) {
            let Value::Object(attribute) = attribute else { continue };
            for field in ["ints", "bools", "strings", "versions"] {
                attribute.remove(field);
            }
        }
    }
}

/// The port of the service that serves a group, if there is one.
pub(super) fn api_service(object: &mut Map<String, Value>) {
    let service = object.get_mut("spec").and_then(|spec| spec.get_mut("service"));
    if let Some(service) = service.and_then(Value::as_object_mut) {
        set(service, "port", 443);
    }
}
