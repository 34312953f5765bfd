//! Conversion between versions of one resource. Most differ in name only; Events and horizontal pod autoscalers do
//! not (`pkg/apis/core/v1/conversion.go`, `pkg/apis/events/v1/conversion.go`, `pkg/apis/autoscaling/v1/conversion.go`).

use serde_json::{Map, Value, json};

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
            ("HorizontalPodAutoscaler", "autoscaling/v1") => to_autoscaling_v1(m),
            ("HorizontalPodAutoscaler", _) => to_autoscaling_v2(m),
            _ => {}
        }
    }
    v["apiVersion"] = json!(api_version);
    v
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

fn is_cpu_utilization(m: &Value) -> bool {
    m["type"] == "Resource" && m["resource"]["name"] == "cpu" && m["resource"]["target"]["type"] == "Utilization"
}

fn to_autoscaling_v1(m: &mut Map<String, Value>) {
    if let Some(spec) = m.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = spec
            .remove("metrics")
            .and_then(|v| v.as_array().cloned())
            .unwrap_or_default();
        spec.remove("behavior");
        if let Some(c) = metrics.iter().find(|m| is_cpu_utilization(m)) {
            spec.insert(
                "targetCPUUtilizationPercentage".into(),
                c["resource"]["target"]["averageUtilization"].clone(),
            );
        }
    }
    if let Some(status) = m.get_mut("status").and_then(Value::as_object_mut) {
        let current = status
            .remove("currentMetrics")
            .and_then(|v| v.as_array().cloned())
            .unwrap_or_default();
        status.remove("conditions");
        if let Some(c) = current.iter().find(|m| m["resource"]["name"] == "cpu") {
            status.insert(
                "currentCPUUtilizationPercentage".into(),
                c["resource"]["current"]["averageUtilization"].clone(),
            );
        }
    }
}

fn to_autoscaling_v2(m: &mut Map<String, Value>) {
    if let Some(spec) = m.get_mut("spec").and_then(Value::as_object_mut)
        && let Some(p) = spec.remove("targetCPUUtilizationPercentage")
    {
        let target = json!({"type": "Utilization", "averageUtilization": p});
        spec.insert(
            "metrics".into(),
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
        );
    }
    if let Some(status) = m.get_mut("status").and_then(Value::as_object_mut)
        && let Some(p) = status.remove("currentCPUUtilizationPercentage")
    {
        let current = json!({"averageUtilization": p});
        status.insert(
            "currentMetrics".into(),
            json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}]),
        );
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
