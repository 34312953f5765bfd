//! Defaults and validation of the built-in kinds that clients meet, and what admission adds to them.

mod cluster;
pub(crate) mod image;
mod immutable;
mod misc;
mod pod;
mod pod_status;
mod resource_name;
#[cfg(test)]
mod tests;
mod told;
mod validate;
mod validate_container;
mod validate_cron;
mod validate_ephemeral;
mod validate_job;
mod validate_job_policies;
mod validate_parts;
mod validate_place;
mod validate_pod;
mod validate_pod_resize;
mod validate_pod_update;
mod validate_projection;
mod validate_resources;
mod validate_source;
mod validate_system;
mod validate_volume;
mod validate_windows;
mod validate_workload;
mod warnings;
mod warnings_paths;
mod warnings_ports;
mod workloads;

pub use cfn_cel::names;
pub use pod::qos_class;
pub(crate) use pod::{SYSTEM_CLASSES, is_mirror};
pub use validate::{
    NameRule, name_rule, validate_builtin, validate_metadata, validate_metadata_update, validate_subresource,
    validate_updated,
};
pub(crate) use validate::{service_addresses, service_or_address};
pub(crate) use validate_parts::{parse_cidr, prefix};
pub(crate) use validate_pod_resize::RESIZABLE;
pub use workloads::only_generated;

pub(crate) use told::{MOST, MOST_OF_ONE};
pub use warnings::warnings;

use serde_json::{Map, Value};

/// Where a DaemonSet counts its templates.
pub(crate) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Numbers that admission uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionOptions {
    /// Seconds pods tolerate a node that is not ready (`--default-not-ready-toleration-seconds`).
    pub not_ready_toleration_seconds: i64,
    /// Seconds pods tolerate a node that is unreachable (`--default-unreachable-toleration-seconds`).
    pub unreachable_toleration_seconds: i64,
}

impl Default for AdmissionOptions {
    fn default() -> Self {
        Self {
            not_ready_toleration_seconds: 300,
            unreachable_toleration_seconds: 300,
        }
    }
}

/// Sets the defaults of an object of a built-in kind; other kinds are left alone. Idempotent, and to be called on
/// every write. Of `metadata` only what upstream's defaulting sets too: a namespace's name as its label, labels of
/// jobs and replication controllers from their templates.
pub fn default_builtin(group: &str, version: &str, kind: &str, object: &mut Value) {
    let Value::Object(object) = object else { return };
    match (group, kind) {
        ("", "Pod") => pod::default_pod(object),
        ("", "PodTemplate") => pod::default_pod_spec(map_at(map_at(object, "template"), "spec")),
        ("", "ReplicationController") => workloads::replication_controller(object),
        ("", "Service") => misc::service(object),
        ("", "Secret") => misc::secret(object),
        ("", "Namespace") => misc::namespace(object),
        ("", "PersistentVolume") => misc::persistent_volume(object),
        ("", "PersistentVolumeClaim") => misc::persistent_volume_claim(object),
        ("", "Endpoints") => misc::endpoints(object),
        ("", "Node") => misc::node(object),
        ("", "LimitRange") => misc::limit_range(object),
        ("apps", "Deployment") => workloads::deployment(object),
        ("apps", "ReplicaSet") => workloads::replica_set(object),
        ("apps", "DaemonSet") => workloads::daemon_set(object),
        ("apps", "StatefulSet") => workloads::stateful_set(object),
        ("batch", "Job") => workloads::job(object),
        ("batch", "CronJob") => workloads::cron_job(object),
        ("discovery.k8s.io", "EndpointSlice") => misc::endpoint_slice(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => misc::binding(object),
        ("resource.k8s.io", "ResourceClaim") => cluster::claim(map_at(object, "spec")),
        ("apiregistration.k8s.io", "APIService") => cluster::api_service(object),
        ("resource.k8s.io", "ResourceClaimTemplate") => {
            let spec = map_at(object, "spec");
            // What Go writes always.
            map_at(spec, "metadata");
            cluster::claim(map_at(spec, "spec"));
        }
        ("networking.k8s.io", "Ingress") => misc::ingress(object),
        ("networking.k8s.io", "NetworkPolicy") => misc::network_policy(object),
        ("storage.k8s.io", "StorageClass") => misc::storage_class(object),
        ("scheduling.k8s.io", "PriorityClass") => misc::priority_class(object),
        ("autoscaling", "HorizontalPodAutoscaler") => misc::autoscaler(object, version),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => misc::webhooks(object, true),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => misc::webhooks(object, false),
        ("networking.k8s.io", "IngressClass") => cluster::ingress_class(object),
        ("storage.k8s.io", "CSIDriver") => cluster::csi_driver(object),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => cluster::flow_schema(object),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => cluster::priority_level(object),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy") => {
            cluster::admission_policy(object);
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding") => {
            cluster::admission_policy_binding(object);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => misc::custom_resource_definition(object),
        _ => {}
    }
}

/// What the strategies do to an object before it is created or updated: fields of features that are not on by default
/// are dropped (`dropDisabledFields`), and what a claim is filled from is told in both ways.
pub fn prepare(group: &str, kind: &str, old: Option<&Value>, object: &mut Value) {
    let Value::Object(object) = object else { return };
    if let Some(spec) = pod_spec(group, kind, object) {
        pod::drop_disabled(spec);
    }
    match (group, kind) {
        ("", "PersistentVolumeClaim") => misc::data_sources(old.map(|o| &o["spec"]), map_at(object, "spec")),
        // Kept only for slices of the first beta.
        ("discovery.k8s.io", "EndpointSlice") => {
            for endpoint in list_mut(object, "endpoints") {
                endpoint.remove("deprecatedTopology");
            }
        }
        ("storage.k8s.io", "CSIDriver") => {
            map_at(object, "spec").remove("preventPodSchedulingIfMissing");
        }
        ("resource.k8s.io", "ResourceSlice") => cluster::slice(map_at(object, "spec")),
        // A feature that is not on by default.
        ("coordination.k8s.io", "Lease") => {
            let had = |name: &str| old.is_some_and(|o| !o["spec"][name].is_null());
            for name in ["strategy", "preferredHolder"].into_iter().filter(|n| !had(n)) {
                map_at(object, "spec").remove(name);
            }
        }
        // Secrets are referred to by name, and by nothing else (`cleanSecretReferences`).
        ("", "ServiceAccount") => {
            for secret in list_mut(object, "secrets") {
                secret.retain(|name, _| name == "name");
            }
        }
        ("apps", "StatefulSet") => {
            if let Some(Value::Object(rolling)) =
                map_at(map_at(object, "spec"), "updateStrategy").get_mut("rollingUpdate")
            {
                rolling.remove("maxUnavailable");
            }
        }
        _ => {}
    }
}

/// Sets what the API server's strategies and default admission plugins set when an object is created and defaulting
/// alone does not: a pod's tolerations, priority, service account and first status with its qosClass; a job's
/// selector (its `metadata.uid` must be set before); a service's families (its `clusterIP` must be allocated
/// before); a namespace's finalizer. Call it after [`default_builtin`]; for services also on update.
pub fn prepare_for_create(group: &str, kind: &str, object: &mut Value, options: &AdmissionOptions) {
    prepare(group, kind, None, object);
    let Value::Object(object) = object else { return };
    match (group, kind) {
        ("", "Pod") => {
            pod::admit_pod(object, options);
        }
        ("", "Service") => misc::service_families(object),
        ("", "Namespace") => misc::namespace_finalizer(object),
        ("batch", "Job") => workloads::job_selector(object),
        // What Go writes always.
        ("events.k8s.io", "Event") => {
            for name in ["deprecatedFirstTimestamp", "deprecatedLastTimestamp"] {
                object.entry(name).or_insert(Value::Null);
            }
            map_at(object, "deprecatedSource");
        }
        ("scheduling.k8s.io", "PriorityClass") => {
            object.entry("value").or_insert(0.into());
        }
        ("", "Event") => {
            for (name, zero) in [
                ("eventTime", Value::Null),
                ("firstTimestamp", Value::Null),
                ("lastTimestamp", Value::Null),
                ("reportingComponent", "".into()),
                ("reportingInstance", "".into()),
                ("source", Value::Object(Map::new())),
            ] {
                object.entry(name).or_insert(zero);
            }
        }
        _ => {}
    }
}

/// What a kind says of its pods.
fn pod_spec<'m>(group: &str, kind: &str, object: &'m mut Map<String, Value>) -> Option<&'m mut Map<String, Value>> {
    let path: &[&str] = match (group, kind) {
        ("", "Pod") => &["spec"],
        ("", "PodTemplate") => &["template", "spec"],
        ("", "ReplicationController")
        | ("apps", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet")
        | ("batch", "Job") => &["spec", "template", "spec"],
        ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template", "spec"],
        _ => return None,
    };
    path.iter()
        .try_fold(object, |at, name| at.get_mut(*name)?.as_object_mut())
}

/// What the status strategies make of the status that a client sends.
pub fn read_status(group: &str, kind: &str, object: &mut Value) {
    if let (("", "Pod"), Value::Object(pod)) = ((group, kind), &mut *object) {
        pod_status::read(pod);
    }
    condition_times(group, kind, object);
}

/// What a status strategy makes of a written status, whoever owns its fields by then (`PrepareForUpdate`).
pub fn prepare_status(group: &str, kind: &str, old: &Value, object: &mut Value) {
    match ((group, kind), object) {
        (("", "Pod"), Value::Object(pod)) => pod_status::prepare(old, pod),
        // An empty list is none once it is read again, and then what a node has is what it gives.
        (("", "Node"), node) if node["status"]["allocatable"].as_object().is_some_and(Map::is_empty) => {
            let has = node["status"]["capacity"].clone();
            if has.as_object().is_some_and(|c| !c.is_empty()) {
                node["status"]["allocatable"] = has;
            }
        }
        _ => {}
    }
}

/// Times of conditions that Go writes always, in the status that a client sends.
fn condition_times(group: &str, kind: &str, object: &mut Value) {
    let times = match (group, kind) {
        ("", "Pod") => ["lastProbeTime", "lastTransitionTime"],
        ("", "Node") => ["lastHeartbeatTime", "lastTransitionTime"],
        _ => return,
    };
    let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        for time in times {
            condition.entry(time).or_insert(Value::Null);
        }
    }
}

/// What a pod tolerates for some time (DefaultTolerationSeconds).
pub fn tolerate(object: &mut Value, options: &AdmissionOptions) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        pod::tolerate(spec, options);
    }
}

/// The object at a field; an empty one is put there if there is none.
fn map_at<'m>(object: &'m mut Map<String, Value>, name: &str) -> &'m mut Map<String, Value> {
    let value = object.entry(name).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made one")
}

/// The objects in a list at a field.
fn list_mut<'m>(
    object: &'m mut Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'m mut Map<String, Value>> + use<'m> {
    object
        .get_mut(name)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// Whether a field is not set: absent, null or the empty text.
fn is_unset(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || value == "")
}

/// Sets a field that is absent or null.
fn set(object: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if object.get(name).is_none_or(Value::is_null) {
        object.insert(name.to_owned(), value.into());
    }
}

/// Sets a field that is absent, null or empty.
fn set_empty(object: &mut Map<String, Value>, name: &str, value: &str) {
    if is_unset(object.get(name)) {
        object.insert(name.to_owned(), value.into());
    }
}
