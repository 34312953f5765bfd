//! Defaults of workloads (`pkg/apis/apps/v1/defaults.go`, `pkg/apis/batch/v1/defaults.go` in Kubernetes).

use super::{map_at, pod::default_pod_spec, set, set_empty};
use serde_json::{Map, Value};

type Object = Map<String, Value>;

fn template(spec: &mut Object) {
    // Always there: Go holds both by value.
    map_at(map_at(spec, "template"), "metadata");
    default_pod_spec(map_at(map_at(spec, "template"), "spec"));
}

pub(super) fn deployment(object: &mut Object) {
    let spec = map_at(object, "spec");
    template(spec);
    set(spec, "replicas", 1);
    let strategy = map_at(spec, "strategy");
    set_empty(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = map_at(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", "25%");
        set(rolling, "maxSurge", "25%");
    }
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
}

pub(super) fn replica_set(object: &mut Object) {
    let spec = map_at(object, "spec");
    template(spec);
    set(spec, "replicas", 1);
}

pub(super) fn replication_controller(object: &mut Object) {
    let spec = map_at(object, "spec");
    // Held by a pointer, unlike those of others.
    if spec.get("template").is_some_and(Value::is_object) {
        template(spec);
    }
    set(spec, "replicas", 1);
    let labels = spec.get("template").and_then(|t| t["metadata"].get("labels")).cloned();
    if let Some(labels) = labels.filter(|labels| labels.as_object().is_some_and(|l| !l.is_empty())) {
        if spec
            .get("selector")
            .and_then(Value::as_object)
            .is_none_or(Map::is_empty)
        {
            spec.insert("selector".to_owned(), labels.clone());
        }
        default_labels(object, labels);
    }
}

pub(super) fn daemon_set(object: &mut Object) {
    let annotations = map_at(map_at(object, "metadata"), "annotations");
    set(annotations, super::TEMPLATE_GENERATION, "1");
    let spec = map_at(object, "spec");
    template(spec);
    let strategy = map_at(spec, "updateStrategy");
    set_empty(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = map_at(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", 1);
        set(rolling, "maxSurge", 0);
    }
    set(spec, "revisionHistoryLimit", 10);
}

pub(super) fn stateful_set(object: &mut Object) {
    let spec = map_at(object, "spec");
    template(spec);
    set_empty(spec, "podManagementPolicy", "OrderedReady");
    let strategy = map_at(spec, "updateStrategy");
    if super::is_unset(strategy.get("type")) {
        set_empty(strategy, "type", "RollingUpdate");
        map_at(strategy, "rollingUpdate");
    }
    if strategy["type"] == "RollingUpdate"
        && let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut)
    {
        set(rolling, "partition", 0);
    }
    let retention = map_at(spec, "persistentVolumeClaimRetentionPolicy");
    set_empty(retention, "whenDeleted", "Retain");
    set_empty(retention, "whenScaled", "Retain");
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    for claim in super::list_mut(spec, "volumeClaimTemplates") {
        super::set_empty(claim, "apiVersion", "v1");
        super::set_empty(claim, "kind", "PersistentVolumeClaim");
        super::misc::persistent_volume_claim(claim);
    }
}

pub(super) fn job(object: &mut Object) {
    let spec = map_at(object, "spec");
    job_spec(spec);
    let labels = spec["template"]["metadata"].get("labels").cloned();
    if let Some(labels) = labels.filter(|labels| labels.as_object().is_some_and(|l| !l.is_empty())) {
        default_labels(object, labels);
    }
}

fn job_spec(spec: &mut Object) {
    template(spec);
    if super::is_unset(spec.get("completions")) && super::is_unset(spec.get("parallelism")) {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    let per_index = !super::is_unset(spec.get("backoffLimitPerIndex"));
    set(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    failure_conditions(spec);
    let by_policy = !super::is_unset(spec.get("podFailurePolicy"));
    set(
        spec,
        "podReplacementPolicy",
        if by_policy { "Failed" } else { "TerminatingOrFailed" },
    );
    set(spec, "manualSelector", false);
}

/// `SetDefaults_PodFailurePolicyOnPodConditionsPattern`: conditions are asked to hold where that is not said.
fn failure_conditions(spec: &mut Object) {
    let Some(policy) = spec.get_mut("podFailurePolicy").and_then(Value::as_object_mut) else {
        return;
    };
    for rule in super::list_mut(policy, "rules") {
        for condition in super::list_mut(rule, "onPodConditions") {
            set_empty(condition, "status", "True");
        }
    }
}

/// Labels by which a job knows its pods.
const GENERATED: [&str; 4] = [
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
    "job-name",
    "batch.kubernetes.io/job-name",
];

/// Whether labels are those that are made for a job's pods and no others.
#[must_use]
pub fn only_generated(labels: &Value) -> bool {
    let all = labels.as_object().into_iter().flatten();
    all.clone().count() == GENERATED.len() && all.clone().all(|(k, _)| GENERATED.contains(&k.as_str()))
}

/// Name and uid of a job get into its selector and its pods' labels when it is created
/// (`pkg/registry/batch/job/strategy.go`). The uid must be there.
pub(super) fn job_selector(object: &mut Object) {
    let metadata = map_at(object, "metadata").clone();
    let field = |name: &str| metadata.get(name).cloned().unwrap_or_else(|| "".into());
    let (uid, name) = (field("uid"), field("name"));
    let spec = map_at(object, "spec");
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    let labels = map_at(map_at(map_at(spec, "template"), "metadata"), "labels");
    // Labels that defaulting took from the template are the template's own in Go: one map.
    let shared = field("labels").as_object() == Some(labels);
    for (key, value) in GENERATED.iter().zip([&uid, &uid, &name, &name]) {
        labels.insert((*key).to_owned(), value.clone());
    }
    let labels = labels.clone();
    // What is there already stays, and is refused.
    let selector = map_at(map_at(spec, "selector"), "matchLabels");
    selector.insert("batch.kubernetes.io/controller-uid".to_owned(), uid);
    if shared {
        map_at(object, "metadata").insert("labels".to_owned(), Value::Object(labels));
    }
}

pub(super) fn cron_job(object: &mut Object) {
    let spec = map_at(object, "spec");
    set_empty(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    // Of the job's template only the pod's is defaulted: JobSpec's defaults belong to Job.
    let job = map_at(spec, "jobTemplate");
    map_at(job, "metadata");
    let job = map_at(job, "spec");
    template(job);
    failure_conditions(job);
}

fn default_labels(object: &mut Object, labels: Value) {
    let metadata = map_at(object, "metadata");
    if metadata
        .get("labels")
        .and_then(Value::as_object)
        .is_none_or(Map::is_empty)
    {
        metadata.insert("labels".to_owned(), labels);
    }
}
