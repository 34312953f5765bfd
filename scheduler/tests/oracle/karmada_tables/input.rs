//! What a row says, as the engine takes it.

use std::collections::BTreeMap;

use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::{Component, ReplicaRequirements, ResourceBindingSpec};
use cfn_scheduler::engine::parts::Part;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::tidy;

pub(super) fn read<T: DeserializeOwned + Default>(v: &Value) -> T {
    if v.is_null() {
        T::default()
    } else {
        serde_json::from_value(tidy(v)).unwrap()
    }
}

/// A cluster; one without a name is called `c`, and it serves what bindings without a kind ask for.
pub(super) fn cluster(v: &Value, name: Option<&str>) -> Cluster {
    let mut v = if v.is_object() { tidy(v) } else { json!({}) };
    v["apiVersion"] = "cluster.karmada.io/v1alpha1".into();
    v["kind"] = "Cluster".into();
    if v.get("metadata").is_none() {
        v["metadata"] = json!({});
    }
    if v["metadata"].get("name").is_none() {
        v["metadata"]["name"] = name.unwrap_or("c").into();
    }
    if v.get("spec").is_none() {
        v["spec"] = json!({});
    }
    v["spec"]["syncMode"] = "Push".into();
    for group in v["status"]["apiEnablements"].as_array_mut().into_iter().flatten() {
        for r in group["resources"].as_array_mut().into_iter().flatten() {
            r["name"] = "x".into();
        }
    }
    if v["status"]["apiEnablements"].is_null() {
        v["status"]["apiEnablements"] = json!([{"groupVersion": "", "resources": [{"kind": "", "name": "x"}]}]);
    }
    for c in v["status"]["conditions"].as_array_mut().into_iter().flatten() {
        for (k, d) in [
            ("reason", ""),
            ("message", ""),
            ("lastTransitionTime", "2026-01-01T00:00:00Z"),
        ] {
            if c.get(k).is_none() {
                c[k] = d.into();
            }
        }
    }
    serde_json::from_value(tidy(&v)).unwrap()
}

pub(super) fn part(v: &Value) -> Part {
    let n = |f: &str| v[f].as_i64().unwrap_or(0);
    Part {
        cluster: cluster(&v["Cluster"], v["Name"].as_str()),
        score: i32::try_from(n("Score")).unwrap(),
        allocatable: n("AllocatableReplicas"),
        available: n("AvailableReplicas"),
        tier: u8::try_from(n("OverflowOrder")).unwrap(),
    }
}

pub(super) fn list(v: &Value) -> Vec<Part> {
    v.as_array().into_iter().flatten().map(part).collect()
}

/// The same with room for a set: a row about the result begins after the room has been found.
pub(super) fn roomy(v: &Value) -> Vec<Part> {
    let mut all = list(v);
    for p in &mut all {
        (p.allocatable, p.available) = (1, 1);
    }
    all
}

pub(super) fn components(v: &Value) -> Vec<Component> {
    read(v)
}

pub(super) fn names(v: &Value) -> Vec<String> {
    let name = |c: &Value| {
        let known = c["Name"]
            .as_str()
            .or(c["metadata"]["name"].as_str())
            .or(c["Cluster"]["metadata"]["name"].as_str());
        known.unwrap_or_default().to_owned()
    };
    v.as_array().into_iter().flatten().map(name).collect()
}

pub(super) fn spec(v: &Value) -> ResourceBindingSpec {
    read(v)
}

pub(super) fn wants(case: &Value) -> Vec<Value> {
    match case["wants"].as_array() {
        Some(all) => all.clone(),
        None => vec![case["want"].clone()],
    }
}

pub(super) fn shares(v: &Value, name: &str, n: &str) -> BTreeMap<String, i64> {
    let list = v.as_array().into_iter().flatten();
    list.map(|t| {
        (
            t[name].as_str().unwrap_or_default().to_owned(),
            t[n].as_i64().unwrap_or(0),
        )
    })
    .collect()
}

pub(super) fn requirements(v: &Value) -> Option<ReplicaRequirements> {
    v.is_object().then(|| read(v))
}

pub(super) type Assumed = Vec<(i32, BTreeMap<String, Quantity>)>;

pub(super) fn assumed(v: &Value) -> Assumed {
    let workloads = v.as_array().into_iter().flatten();
    let components = workloads.flat_map(|w| w["Components"].as_array().into_iter().flatten());
    components
        .map(|c| {
            let replicas = i32::try_from(c["replicas"].as_i64().unwrap_or(0)).unwrap();
            (replicas, read(&c["replicaRequirements"]["resourceRequest"]))
        })
        .collect()
}
