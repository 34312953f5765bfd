//! What the hub hears of an object in the member: the fields that Karmada's default interpreter reflects, and its
//! health (`pkg/resourceinterpreter/default/native/{reflectstatus,healthy}.go`).

use serde_json::{Map, Value, json};

/// The status to reflect; `None` when the kind has none.
#[must_use]
pub fn status(object: &Value) -> Option<Value> {
    let status = object.get("status")?.as_object()?;
    let keep: &[&str] = match kind(object) {
        ("apps/v1", "Deployment") => &[
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
        ],
        ("apps/v1", "StatefulSet") => &[
            "availableReplicas",
            "currentReplicas",
            "readyReplicas",
            "replicas",
            "updatedReplicas",
            "currentRevision",
            "updateRevision",
        ],
        ("apps/v1", "DaemonSet") => &[
            "currentNumberScheduled",
            "desiredNumberScheduled",
            "numberAvailable",
            "numberMisscheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberUnavailable",
        ],
        ("batch/v1", "Job") => &[
            "active",
            "succeeded",
            "failed",
            "conditions",
            "startTime",
            "completionTime",
        ],
        ("v1", "Service") => {
            let ingress = status.get("loadBalancer")?.get("ingress")?;
            return Some(json!({"loadBalancer": {"ingress": ingress}}));
        }
        _ => return (!status.is_empty()).then(|| Value::Object(status.clone())),
    };
    let mut kept: Map<String, Value> = keep
        .iter()
        .filter_map(|k| Some(((*k).to_owned(), status.get(*k)?.clone())))
        .collect();
    if let ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet") = kind(object) {
        if let Some(g) = object["metadata"].get("generation") {
            kept.insert("generation".to_owned(), g.clone());
        }
        if let Some(g) = status.get("observedGeneration") {
            kept.insert("observedGeneration".to_owned(), g.clone());
        }
        let template = &object["metadata"]["annotations"][cfn_api::names::TEMPLATE_GENERATION];
        if let Some(g) = template.as_str().and_then(|g| g.parse::<i64>().ok()) {
            kept.insert("resourceTemplateGeneration".to_owned(), g.into());
        }
    }
    Some(Value::Object(kept))
}

fn kind(object: &Value) -> (&str, &str) {
    (
        object["apiVersion"].as_str().unwrap_or_default(),
        object["kind"].as_str().unwrap_or_default(),
    )
}

/// Healthy, Unhealthy or Unknown.
#[must_use]
pub fn health(object: &Value) -> &'static str {
    let status = &object["status"];
    let n = |k: &str| status[k].as_i64().unwrap_or(0);
    let observed = n("observedGeneration") == object["metadata"]["generation"].as_i64().unwrap_or(0);
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let healthy = match kind(object) {
        ("apps/v1", "Deployment" | "StatefulSet") => {
            observed && n("updatedReplicas") == wanted && n("availableReplicas") == n("updatedReplicas")
        }
        ("apps/v1", "ReplicaSet") => observed && n("availableReplicas") == wanted,
        ("apps/v1", "DaemonSet") => {
            observed
                && n("updatedNumberScheduled") == n("desiredNumberScheduled")
                && n("numberAvailable") == n("updatedNumberScheduled")
        }
        ("v1", "PersistentVolumeClaim") => status["phase"] == "Bound",
        ("v1", "Pod") => {
            let ready = status["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|c| c["type"] == "Ready" && c["status"] == "True");
            status["phase"] == "Succeeded" || (status["phase"] == "Running" && ready)
        }
        ("v1", "Service") if object["spec"]["type"] == "LoadBalancer" => status["loadBalancer"]["ingress"]
            .as_array()
            .is_some_and(|i| !i.is_empty()),
        _ => true,
    };
    if healthy { "Healthy" } else { "Unhealthy" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflects_and_judges_a_deployment() {
        let mut d = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"generation": 2}, "spec": {"replicas": 3},
            "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3,
                "availableReplicas": 3, "conditions": []}});
        assert_eq!(health(&d), "Healthy");
        assert_eq!(
            status(&d).unwrap(),
            json!({"replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
                "generation": 2, "observedGeneration": 2})
        );
        d["status"]["availableReplicas"] = 2.into();
        assert_eq!(health(&d), "Unhealthy");
        d["status"]["availableReplicas"] = 3.into();
        d["metadata"]["generation"] = 3.into();
        assert_eq!(health(&d), "Unhealthy");
        assert_eq!(status(&json!({"apiVersion": "v1", "kind": "ConfigMap"})), None);
    }
}
