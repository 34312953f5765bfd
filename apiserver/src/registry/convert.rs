//! Conversion between versions of one resource. Most differ in name only; Events and horizontal pod autoscalers do
//! not (`pkg/apis/core/v1/conversion.go`, `pkg/apis/events/v1/conversion.go`, `pkg/apis/autoscaling/v1/conversion.go`).

use std::borrow::Cow;

use serde_json::{Map, Value, json};

/// Whether versions of a kind differ in more than their name.
pub(super) fn differs(kind: &str) -> bool {
    matches!(kind, "Event" | "HorizontalPodAutoscaler")
}
use super::autoscaling;

/// The object in `api_version`.
pub(super) fn convert(mut v: Value, api_version: &str, custom: bool) -> Value {
    if !custom && let Some(m) = v.as_object_mut() {
        let kind = m.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        match (kind.as_str(), api_version) {
            ("Event", "events.k8s.io/v1") => {
                rename(m, EVENT_FIELDS, false);
                // These two core/v1 writes always.
                for k in ["reportingController", "reportingInstance"] {
                    if m.get(k).is_some_and(|v| v == "") {
                        m.remove(k);
                    }
                }
            }
            ("Event", _) => {
                rename(m, EVENT_FIELDS, true);
                for k in ["reportingComponent", "reportingInstance"] {
                    m.entry(k).or_insert_with(|| json!(""));
                }
            }
            ("HorizontalPodAutoscaler", "autoscaling/v1") => autoscaling::to_v1(m),
            ("HorizontalPodAutoscaler", _) => autoscaling::to_v2(m),
            _ => {}
        }
    }
    v["apiVersion"] = json!(api_version);
    v
}

/// An autoscaler of `autoscaling/v1` as it is kept; other objects are what they are.
pub(crate) fn as_kept(v: &Value) -> Cow<'_, Value> {
    if v["kind"] == "HorizontalPodAutoscaler" && v["apiVersion"] == "autoscaling/v1" {
        return Cow::Owned(convert(v.clone(), "autoscaling/v2", false));
    }
    Cow::Borrowed(v)
}

/// Tells in its annotations what an autoscaler of `autoscaling/v1` has no field for, as reading it again would.
pub(super) fn retell(v: &mut Value) {
    if let Cow::Owned(kept) = as_kept(v) {
        *v = convert(kept, "autoscaling/v1", false);
    }
}

/// Keeps what the annotations of an autoscaler of `autoscaling/v1` tell of its spec: a status does not change that.
pub(super) fn keep_told(old: &Value, new: &mut Value) {
    if new["kind"] == "HorizontalPodAutoscaler" && new["apiVersion"] == "autoscaling/v1" {
        autoscaling::keep_spec(old, new);
    }
}

/// core/v1 name, events.k8s.io/v1 name.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(m: &mut Map<String, Value>, fields: &[(&str, &str)], back: bool) {
    for (a, b) in fields {
        let (from, to) = if back { (b, a) } else { (a, b) };
        if let Some(v) = m.remove(*from) {
            m.insert((*to).to_owned(), v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn autoscalers_survive_the_way_there_and_back() {
        let v1 = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70}});
        let v2 = convert(v1.clone(), "autoscaling/v2", false);
        assert_eq!(v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
        assert_eq!(convert(v2, "autoscaling/v1", false), v1);
        let v2 = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"annotations": {"a": "b"}},
            "spec": {"maxReplicas": 3, "behavior": {"scaleUp": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 3, "periodSeconds": 30}]}},
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "K", "name": "n", "apiVersion": "v1"},
                        "metric": {"name": "m"}, "target": {"type": "Value", "value": "3"}}},
                    {"type": "External", "external": {"metric": {"name": "m", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "3"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c",
                        "target": {"type": "Utilization", "averageUtilization": 5}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]},
            "status": {"desiredReplicas": 0, "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                "current": {"averageUtilization": 7, "averageValue": "0"}}}]}});
        let v1 = convert(v2.clone(), "autoscaling/v1", false);
        let told = &v1["metadata"]["annotations"];
        assert_eq!(
            told["autoscaling.alpha.kubernetes.io/behavior"],
            "{\"ScaleUp\":{\"StabilizationWindowSeconds\":null,\"SelectPolicy\":\"Max\",\"Policies\":[{\"Type\":\"Pods\",\"Value\":3,\
             \"PeriodSeconds\":30}],\"Tolerance\":null},\"ScaleDown\":null}"
        );
        assert_eq!(
            told["autoscaling.alpha.kubernetes.io/current-metrics"],
            r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":7,"currentAverageValue":"0"}}]"#
        );
        assert_eq!(v1["status"]["currentReplicas"], 0);
        assert_eq!(convert(v1, "autoscaling/v2", false), v2);
    }

    #[test]
    fn events_are_renamed() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"name": "x"}, "message": "m", "reason": "r"});
        let new = convert(core.clone(), "events.k8s.io/v1", false);
        assert_eq!(new["regarding"]["name"], "x");
        // Who reported it is always written.
        let mut whole = core;
        whole["reportingComponent"] = json!("");
        whole["reportingInstance"] = json!("");
        assert_eq!(convert(new, "v1", false), whole);
        let there = convert(whole, "events.k8s.io/v1", false);
        assert_eq!(there.get("reportingController"), None);
    }
}
