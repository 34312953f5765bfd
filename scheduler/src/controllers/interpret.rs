//! The resource interpreter: what the controllers must know of kinds (Karmada's `pkg/resourceinterpreter/default/native`).

use std::collections::BTreeMap;

use cfn_api::karmada::work::{AggregatedStatusItem, NodeClaim, ReplicaRequirements, TargetCluster};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value, json};

use crate::engine::quantity::{Amount, format};
use crate::engine::webster;

fn int(v: &Value, path: &str) -> Option<i64> {
    v.pointer(path).and_then(Value::as_i64)
}

/// Replicas of a template and what one needs; `None` for what has no replicas.
pub(super) fn replicas(kind: &str, api_version: &str, object: &Value) -> Option<(i32, Option<ReplicaRequirements>)> {
    let (count, pod) = match (api_version, kind) {
        ("apps/v1", "Deployment" | "StatefulSet" | "ReplicaSet") => (
            int(object, "/spec/replicas").unwrap_or(1),
            object.pointer("/spec/template/spec"),
        ),
        ("v1", "ReplicationController") => (
            int(object, "/spec/replicas").unwrap_or(1),
            object.pointer("/spec/template/spec"),
        ),
        ("batch/v1", "Job") => (
            int(object, "/spec/parallelism").unwrap_or(1),
            object.pointer("/spec/template/spec"),
        ),
        ("v1", "Pod") => (1, object.pointer("/spec")),
        _ => return None,
    };
    Some((i32::try_from(count).unwrap_or(i32::MAX), pod.and_then(requirements)))
}

/// The pod spec in a template of a built-in kind.
pub(super) fn pod<'a>(kind: &str, object: &'a Value) -> Option<&'a Value> {
    let path = match kind {
        "Pod" => "/spec",
        "Deployment" | "StatefulSet" | "ReplicaSet" | "DaemonSet" | "ReplicationController" | "Job" => {
            "/spec/template/spec"
        }
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => return None,
    };
    object.pointer(path)
}

/// `GenerateReplicaRequirements`: requests summed over containers (or the largest init container), and on which nodes.
pub(super) fn requirements(pod: &Value) -> Option<ReplicaRequirements> {
    let mut request: BTreeMap<String, Quantity> = BTreeMap::new();
    for c in list(pod, "containers") {
        for (name, q) in requests(c) {
            let sum = match request.get(&name) {
                Some(have) => format(amount(have) + amount(&q), binary(have) || binary(&q)),
                None => q,
            };
            request.insert(name, sum);
        }
    }
    for c in list(pod, "initContainers") {
        for (name, q) in requests(c) {
            if request.get(&name).is_none_or(|have| amount(&q) > amount(have)) {
                request.insert(name, q);
            }
        }
    }
    for (name, q) in quantities(pod.get("overhead")) {
        let sum = request
            .get(&name)
            .map_or_else(|| q.clone(), |have| format(amount(have) + amount(&q), binary(have)));
        request.insert(name, sum);
    }
    let node_selector: BTreeMap<String, String> = pod
        .get("nodeSelector")
        .and_then(|v| serde_json::from_value(v.clone()).ok())
        .unwrap_or_default();
    let tolerations: Vec<_> = pod
        .get("tolerations")
        .and_then(|v| serde_json::from_value(v.clone()).ok())
        .unwrap_or_default();
    let claim = (!node_selector.is_empty() || !tolerations.is_empty()).then_some(NodeClaim {
        node_selector,
        tolerations,
    });
    if request.is_empty() && claim.is_none() {
        return None;
    }
    Some(ReplicaRequirements {
        node_claim: claim,
        resource_request: request,
        namespace: None,
        priority_class_name: None,
    })
}

pub(super) fn list<'a>(v: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    v.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn quantities(v: Option<&Value>) -> BTreeMap<String, Quantity> {
    let map = v.and_then(Value::as_object).into_iter().flatten();
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    map.map(|(k, v)| (k.clone(), Quantity(text(v)))).collect()
}

/// Requests of a container; a limit without a request is one (as the API server defaults it).
fn requests(container: &Value) -> BTreeMap<String, Quantity> {
    let mut all = quantities(container.pointer("/resources/limits"));
    all.extend(quantities(container.pointer("/resources/requests")));
    all.into_iter()
        .map(|(k, q)| (k, format(amount(&q), binary(&q))))
        .collect()
}

fn amount(q: &Quantity) -> Amount {
    Amount::parse(q).unwrap_or_default()
}

fn binary(q: &Quantity) -> bool {
    q.0.ends_with('i')
}

/// Sets a manifest's replicas to those of one of `targets`.
pub(super) fn revise(kind: &str, manifest: &mut Value, replicas: i32, targets: &[TargetCluster], cluster: &str) {
    match kind {
        "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController" => {
            manifest["spec"]["replicas"] = replicas.into()
        }
        "Job" => {
            manifest["spec"]["parallelism"] = replicas.into();
            if let Some(completions) = int(manifest, "/spec/completions") {
                // Completions follow the replicas' shares.
                let votes = targets
                    .iter()
                    .map(|t| (t.name.clone(), i64::from(t.replicas)))
                    .collect();
                let shares = webster(completions, &votes, &BTreeMap::new(), false);
                manifest["spec"]["completions"] = shares.get(cluster).copied().unwrap_or(0).into();
            }
        }
        _ => {}
    }
}

/// Sums the members' statuses up into the template's status; `None` for kinds without a summary.
pub(super) fn aggregate(kind: &str, template: &Value, items: &[AggregatedStatusItem]) -> Option<Value> {
    let statuses: Vec<&Value> = items.iter().filter_map(|i| i.status.as_ref()).collect();
    let sum = |f: &str| statuses.iter().filter_map(|s| int(s, &format!("/{f}"))).sum::<i64>();
    let fields: &[&str] = match kind {
        "Deployment" => &[
            "replicas",
            "readyReplicas",
            "updatedReplicas",
            "availableReplicas",
            "unavailableReplicas",
        ],
        "StatefulSet" => &[
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
        ],
        "ReplicaSet" => &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        "DaemonSet" => &[
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
        ],
        "Job" => return job(template, items),
        _ => return None,
    };
    let mut status = template
        .get("status")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let always: &[&str] = match kind {
        "StatefulSet" | "ReplicaSet" => &["replicas"],
        "DaemonSet" => &[
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
        ],
        _ => &[],
    };
    for f in fields {
        let n = sum(f);
        if n != 0 || always.contains(f) {
            status.insert((*f).to_owned(), n.into());
        } else {
            status.remove(*f);
        }
    }
    // The template is observed when every member's agent has seen this generation of it.
    let generation = int(template, "/metadata/generation").unwrap_or(0);
    let seen = |s: &&Value| int(s, "/resourceTemplateGeneration").is_none_or(|g| g >= generation);
    if statuses.iter().all(seen) {
        status.insert("observedGeneration".into(), generation.into());
    }
    Some(Value::Object(status))
}

/// A Job is complete when it is in every member, and failed when it is in one.
fn job(template: &Value, items: &[AggregatedStatusItem]) -> Option<Value> {
    let mut status = template
        .get("status")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    // A finished Job stays as it is.
    let finished = |s: &Value, kind: &str| list(s, "conditions").any(|c| c["type"] == kind && c["status"] == "True");
    let whole = Value::Object(status.clone());
    if finished(&whole, "Complete") || finished(&whole, "Failed") {
        return None;
    }
    let statuses: Vec<&Value> = items.iter().filter_map(|i| i.status.as_ref()).collect();
    for f in ["active", "succeeded", "failed"] {
        let n: i64 = statuses.iter().filter_map(|s| int(s, &format!("/{f}"))).sum();
        if n == 0 {
            status.remove(f)
        } else {
            status.insert(f.into(), n.into())
        };
    }
    let time = |s: &&Value, f: &str| s.get(f).and_then(Value::as_str).map(str::to_owned);
    if let Some(start) = statuses.iter().filter_map(|s| time(s, "startTime")).min() {
        status.insert("startTime".into(), start.into());
    }
    let failed: Vec<&str> = items
        .iter()
        .filter(|i| i.status.as_ref().is_some_and(|s| finished(s, "Failed")))
        .map(|i| i.cluster_name.as_str())
        .collect();
    let all_done = !items.is_empty()
        && items
            .iter()
            .all(|i| i.status.as_ref().is_some_and(|s| finished(s, "Complete")));
    let last = statuses.iter().filter_map(|s| time(s, "completionTime")).max();
    let at = last
        .clone()
        .or_else(|| statuses.iter().filter_map(|s| time(s, "startTime")).max());
    let condition = |kind: &str, reason: &str, message: String| {
        let mut c = Map::new();
        c.insert("type".into(), kind.into());
        c.insert("status".into(), "True".into());
        c.insert("reason".into(), reason.into());
        c.insert("message".into(), message.into());
        if let Some(at) = &at {
            c.insert("lastProbeTime".into(), at.clone().into());
            c.insert("lastTransitionTime".into(), at.clone().into());
        }
        Value::Object(c)
    };
    if !failed.is_empty() {
        let message = format!("Job executed failed in member clusters {}", failed.join(","));
        status.insert(
            "conditions".into(),
            json!([
                condition("FailureTarget", "JobFailed", message.clone()),
                condition("Failed", "JobFailed", message)
            ]),
        );
    } else if all_done {
        status.insert(
            "conditions".into(),
            json!([
                condition(
                    "SuccessCriteriaMet",
                    "CompletionsReached",
                    "All member clusters have met success criteria".into()
                ),
                condition("Complete", "Completed", "Job completed".into()),
            ]),
        );
        if let Some(at) = last {
            status.insert("completionTime".into(), at.into());
        }
    }
    Some(Value::Object(status))
}
