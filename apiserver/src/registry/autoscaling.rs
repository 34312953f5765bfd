//! Horizontal pod autoscalers in `autoscaling/v1`: what that version has no field for goes into annotations, and comes from
//! there (`pkg/apis/autoscaling/v1/conversion.go`).

use serde_json::{Map, Value, json};

use super::text;
use crate::schema::Printed;

/// All metrics but the one of the CPU.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
/// What the metrics are at present.
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Kinds of metrics by type, and the field that each is in; Go writes them in this order.
const KINDS: [(&str, &str); 5] = [
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
    ("External", "external"),
];

type Object = Map<String, Value>;

/// From `autoscaling/v2`.
pub(super) fn to_v1(m: &mut Object) {
    let mut told: Vec<(&str, String)> = Vec::new();
    if let Some(spec) = m.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = taken(spec, "metrics");
        let cpu = metrics.iter().find(|m| is_cpu(m));
        if let Some(target) = cpu.and_then(|m| m.pointer("/resource/target/averageUtilization")) {
            spec.insert("targetCPUUtilizationPercentage".into(), target.clone());
        }
        let others = metrics
            .iter()
            .filter(|m| !is_cpu(m) || m["resource"]["target"]["averageUtilization"].is_null());
        let others: Vec<String> = others.map(|m| metric(m, false)).collect();
        if !others.is_empty() {
            told.push((METRICS, list(&others)));
        }
        if let Some(behavior) = spec.remove("behavior").filter(|b| !b.is_null()) {
            let shown = Printed::internal("autoscaling.HorizontalPodAutoscalerBehavior", &behavior);
            told.push((BEHAVIOR, shown.compact()));
        }
    }
    if let Some(status) = m.get_mut("status").and_then(Value::as_object_mut) {
        let current = taken(status, "currentMetrics");
        let cpu = current.iter().filter(|m| is_cpu(m));
        if let Some(now) = cpu
            .filter_map(|m| m.pointer("/resource/current/averageUtilization"))
            .next_back()
        {
            status.insert("currentCPUUtilizationPercentage".into(), now.clone());
        }
        if !current.is_empty() {
            let shown: Vec<String> = current.iter().map(|m| metric(m, true)).collect();
            told.push((CURRENT, list(&shown)));
        }
        let conditions = taken(status, "conditions");
        if !conditions.is_empty() {
            let shown: Vec<String> = conditions.iter().map(condition).collect();
            told.push((CONDITIONS, list(&shown)));
        }
        status.entry("currentReplicas").or_insert(json!(0));
    }
    change_annotations(m, |all| {
        drop_told(all);
        all.extend(told.into_iter().map(|(name, text)| (name.to_owned(), json!(text))));
    });
}

/// From `autoscaling/v1`.
pub(super) fn to_v2(m: &mut Object) {
    let told = |name: &str| -> Option<Value> {
        let annotations = m.get("metadata")?.get("annotations")?;
        serde_json::from_str(annotations.get(name)?.as_str()?).ok()
    };
    let lists = |name: &str| told(name).and_then(|v| v.as_array().cloned());
    let (metrics, behavior) = (lists(METRICS), told(BEHAVIOR).filter(Value::is_object));
    let (current, conditions) = (lists(CURRENT), lists(CONDITIONS));
    let is_v1 = |spec: &Object| spec.contains_key("targetCPUUtilizationPercentage") || !spec.contains_key("metrics");
    if let Some(spec) = m.get_mut("spec").and_then(Value::as_object_mut)
        && is_v1(spec)
    {
        let mut all: Vec<Value> = metrics.unwrap_or_default().iter().map(|m| from_v1(m, false)).collect();
        if let Some(p) = spec.remove("targetCPUUtilizationPercentage") {
            let target = json!({"type": "Utilization", "averageUtilization": p});
            all.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
        }
        if !all.is_empty() {
            spec.insert("metrics".into(), all.into());
        }
        if let Some(behavior) = behavior.map(|b| lowered(&b)).filter(|b| *b != json!({})) {
            spec.insert("behavior".into(), behavior);
        }
    }
    if let Some(status) = m.get_mut("status").and_then(Value::as_object_mut) {
        if let Some(p) = status.remove("currentCPUUtilizationPercentage") {
            let now = json!({"averageUtilization": p});
            let metric = json!({"type": "Resource", "resource": {"name": "cpu", "current": now}});
            status.insert("currentMetrics".into(), json!([metric]));
        }
        if let Some(current) = current {
            let all: Vec<Value> = current.iter().map(|m| from_v1(m, true)).collect();
            status.insert("currentMetrics".into(), all.into());
        }
        if let Some(conditions) = conditions {
            status.insert("conditions".into(), conditions.into());
        }
        if status.get("currentReplicas") == Some(&json!(0)) {
            status.remove("currentReplicas");
        }
    }
    change_annotations(m, drop_told);
}

/// What is told of the spec is told as it was.
pub(super) fn keep_spec(old: &Value, new: &mut Value) {
    let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    for name in [METRICS, BEHAVIOR] {
        match &old["metadata"]["annotations"][name] {
            Value::Null => {
                if let Some(all) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                    all.remove(name);
                }
            }
            told => {
                let all = metadata.entry("annotations").or_insert_with(|| json!({}));
                all[name] = told.clone();
            }
        }
    }
}

fn is_cpu(m: &Value) -> bool {
    m["type"] == "Resource" && m["resource"]["name"] == "cpu"
}

fn taken(of: &mut Object, name: &str) -> Vec<Value> {
    match of.remove(name) {
        Some(Value::Array(all)) => all,
        _ => Vec::new(),
    }
}

fn drop_told(all: &mut Object) {
    all.retain(|name, _| ![METRICS, CURRENT, CONDITIONS, BEHAVIOR].contains(&name.as_str()));
}

/// Changes an object's annotations; none are no list of them.
fn change_annotations(m: &mut Object, change: impl FnOnce(&mut Object)) {
    let Some(meta) = m.entry("metadata").or_insert_with(|| json!({})).as_object_mut() else {
        return;
    };
    let mut all = match meta.remove("annotations") {
        Some(Value::Object(all)) => all,
        Some(other) => {
            meta.insert("annotations".into(), other);
            return;
        }
        None => Object::new(),
    };
    change(&mut all);
    if !all.is_empty() {
        meta.insert("annotations".into(), all.into());
    } else if meta.is_empty() {
        m.remove("metadata");
    }
}

fn list(all: &[String]) -> String {
    format!("[{}]", all.join(","))
}

/// JSON of a Go struct: its members in their order, those that are not there left out.
fn object(members: &[(&str, Option<String>)]) -> String {
    let given = members.iter().filter_map(|(name, text)| Some((name, text.as_ref()?)));
    let all: Vec<String> = given.map(|(name, text)| format!("\"{name}\":{text}")).collect();
    format!("{{{}}}", all.join(","))
}

fn shown(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| Printed::plain(value).compact())
}

/// A value that is written always.
fn always(value: &Value, zero: &str) -> Option<String> {
    Some(shown(value).unwrap_or_else(|| format!("\"{zero}\"")))
}

fn selector(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| Printed::internal("meta.LabelSelector", value).compact())
}

fn condition(c: &Value) -> String {
    object(&[
        ("type", always(&c["type"], "")),
        ("status", always(&c["status"], "")),
        (
            "lastTransitionTime",
            Some(shown(&c["lastTransitionTime"]).unwrap_or_else(|| "null".into())),
        ),
        ("reason", shown(&c["reason"])),
        ("message", shown(&c["message"])),
    ])
}

/// A metric of `autoscaling/v2`, or what it is at present, as the JSON of `autoscaling/v1`.
fn metric(m: &Value, current: bool) -> String {
    let mut members = vec![("type", always(&m["type"], ""))];
    for (_, field) in KINDS {
        members.push((
            field,
            m.get(field)
                .filter(|v| v.is_object())
                .map(|of| source(field, of, current)),
        ));
    }
    object(&members)
}

fn source(field: &str, of: &Value, current: bool) -> String {
    let v = if current { &of["current"] } else { &of["target"] };
    let (metric, described) = (&of["metric"], &of["describedObject"]);
    let name = |field: &'static str, v: &Value| (field, always(v, ""));
    let of_current = |now: &'static str, target: &'static str| if current { now } else { target };
    match field {
        "object" => {
            let target = object(&[
                name("kind", &described["kind"]),
                name("name", &described["name"]),
                ("apiVersion", shown(&described["apiVersion"])),
            ]);
            object(&[
                ("target", Some(target)),
                name("metricName", &metric["name"]),
                (of_current("currentValue", "targetValue"), always(&v["value"], "0")),
                ("selector", selector(&metric["selector"])),
                ("averageValue", shown(&v["averageValue"])),
            ])
        }
        "pods" => object(&[
            name("metricName", &metric["name"]),
            (
                of_current("currentAverageValue", "targetAverageValue"),
                always(&v["averageValue"], "0"),
            ),
            ("selector", selector(&metric["selector"])),
        ]),
        "external" => object(&[
            name("metricName", &metric["name"]),
            ("metricSelector", selector(&metric["selector"])),
            match current {
                true => ("currentValue", always(&v["value"], "0")),
                false => ("targetValue", shown(&v["value"])),
            },
            (
                of_current("currentAverageValue", "targetAverageValue"),
                shown(&v["averageValue"]),
            ),
        ]),
        _ => object(&[
            name("name", &of["name"]),
            (
                of_current("currentAverageUtilization", "targetAverageUtilization"),
                shown(&v["averageUtilization"]),
            ),
            match current {
                true => ("currentAverageValue", always(&v["averageValue"], "0")),
                false => ("targetAverageValue", shown(&v["averageValue"])),
            },
            (
                "container",
                (field == "containerResource")
                    .then(|| always(&of["container"], ""))
                    .flatten(),
            ),
        ]),
    }
}

/// A metric of `autoscaling/v1`, or what it is at present, in `autoscaling/v2`.
fn from_v1(m: &Value, current: bool) -> Value {
    let mut out = json!({"type": text(m, "/type")});
    for (_, field) in KINDS {
        let Some(of) = m.get(field).filter(|v| v.is_object()) else {
            continue;
        };
        out[field] = source_from_v1(field, of, current);
    }
    out
}

fn source_from_v1(field: &str, of: &Value, current: bool) -> Value {
    let member = |suffix: &str| &of[format!("{}{suffix}", if current { "current" } else { "target" })];
    let (value, average) = match field {
        "object" => (member("Value"), &of["averageValue"]),
        _ => (member("Value"), member("AverageValue")),
    };
    let utilization = member("AverageUtilization");
    // Only a target that is one is kept beside an average.
    let zero = *value == json!("0") && field == "object" && !average.is_null() && !current;
    let mut amounts = Object::new();
    for (name, v) in [
        ("value", value),
        ("averageValue", average),
        ("averageUtilization", utilization),
    ] {
        if !(v.is_null() || name == "value" && zero) {
            amounts.insert(name.into(), v.clone());
        }
    }
    if !current {
        let kind = match field {
            "object" if average.is_null() => "Value",
            "external" if !value.is_null() => "Value",
            "resource" | "containerResource" if !utilization.is_null() => "Utilization",
            _ => "AverageValue",
        };
        amounts.insert("type".into(), json!(kind));
    }
    let mut out = Object::new();
    out.insert(if current { "current" } else { "target" }.into(), amounts.into());
    if matches!(field, "resource" | "containerResource") {
        for name in ["name", "container"] {
            if let Some(v) = of.get(name) {
                out.insert(name.into(), v.clone());
            }
        }
        return out.into();
    }
    let mut metric = json!({"name": text(of, "/metricName")});
    let selector = if field == "external" {
        "metricSelector"
    } else {
        "selector"
    };
    if let Some(s) = of.get(selector).filter(|s| !s.is_null()) {
        metric["selector"] = s.clone();
    }
    out.insert("metric".into(), metric);
    if field == "object" {
        out.insert("describedObject".into(), of["target"].clone());
    }
    out.into()
}

/// JSON of an internal type with the names of the API's: `ScaleUp` is `scaleUp`; without nulls.
fn lowered(value: &Value) -> Value {
    match value {
        Value::Object(all) => {
            let given = all.iter().filter(|(_, v)| !v.is_null());
            let lower = |name: &str| {
                let mut c = name.chars();
                c.next()
                    .map(|first| first.to_ascii_lowercase())
                    .into_iter()
                    .chain(c)
                    .collect::<String>()
            };
            Value::Object(given.map(|(name, v)| (lower(name), lowered(v))).collect())
        }
        Value::Array(all) => all.iter().map(lowered).collect(),
        other => other.clone(),
    }
}
