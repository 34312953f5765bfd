//! Rows that begin in the middle of a decision: the engine's step of that place, and how its answer compares.

use std::collections::{BTreeMap, BTreeSet};

use cfn_api::karmada::policy::SpreadConstraint;
use cfn_api::karmada::work::{ReplicaRequirements, ResourceBindingSpec, TargetCluster};
use cfn_scheduler::engine::parts::{self, Part};
use cfn_scheduler::engine::{Config, Fleet, Request, ScheduleError, schedule};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use super::input::{assumed, cluster, list, names, read, spec, wants};
use crate::{Row, targets, tidy};

/// Compares a division with one of several right answers.
pub(super) fn divided(ours: Result<Vec<TargetCluster>, ScheduleError>, fails: bool, wants: &[Value]) -> Row {
    match ours {
        Err(_) if fails => Row::Same,
        Err(e) => Row::Different(format!("{e}, theirs {wants:?}")),
        Ok(list) if fails => Row::Different(format!("{list:?}, Karmada refuses")),
        Ok(list) => {
            let got = targets(&serde_json::to_value(&list).unwrap());
            if wants.iter().any(|w| targets(w) == got) {
                Row::Same
            } else {
                Row::Different(format!("{list:?}, theirs {wants:?}"))
            }
        }
    }
}

/// A whole decision on clusters whose room their summaries tell.
pub(super) fn by_summary(case: &Value) -> Row {
    let all = case.get("candidates").or_else(|| case.get("clusters"));
    let clusters = all.and_then(Value::as_array).into_iter().flatten().map(|c| {
        let mut c = c["Cluster"].clone();
        c["status"]["apiEnablements"] = Value::Null;
        cluster(&c, None)
    });
    let mut spec = spec(&case["object"]);
    spec.resource = Default::default();
    let ours = schedule(&Fleet::new(clusters), &Request::of("x", &spec), &Config::default());
    divided(ours.result, case["wantErr"] == true, &wants(case))
}

pub(super) fn static_weights(case: &Value) -> Row {
    let parts = list(&case["clusters"]);
    let spec = spec(
        &json!({"replicas": case["replicas"], "placement": {"replicaScheduling": {
        "replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted",
        "weightPreference": case["weightPreference"]}}}),
    );
    divided(parts::assign(&parts, &spec), case["wantErr"] == true, &wants(case))
}

pub(super) fn assigned(case: &Value) -> Row {
    let fails = case["expectedError"] == true;
    let Ok(spec) = serde_json::from_value::<ResourceBindingSpec>(tidy(&case["spec"])) else {
        // A strategy that its API does not have.
        return if fails {
            Row::Same
        } else {
            Row::Different("not readable".to_owned())
        };
    };
    let ours = parts::assign(&list(&case["clusters"]), &spec);
    if let (Err(e), Some(why)) = (&ours, case["expectedErrMsg"].as_str())
        && !e.to_string().contains(why)
    {
        return Row::Different(format!("{e}, theirs {why}"));
    }
    // What has no replicas goes everywhere with none.
    if spec.replicas == 0 {
        let ours: BTreeSet<String> = ours.unwrap_or_default().into_iter().map(|t| t.name).collect();
        let list = case["expectedResult"].as_array().into_iter().flatten();
        let theirs = list
            .map(|t| t["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        return Row::equal(&ours, &theirs);
    }
    divided(ours, fails, std::slice::from_ref(&case["expectedResult"]))
}

pub(super) fn by_room(case: &Value) -> Row {
    let state = &case["state"];
    let clusters = state["availableClusters"].as_array().into_iter().flatten();
    let parts: Vec<Part> = clusters
        .map(|t| Part {
            cluster: cluster(&Value::Null, t["name"].as_str()),
            score: 0,
            allocatable: t["replicas"].as_i64().unwrap_or(0),
            available: t["replicas"].as_i64().unwrap_or(0),
            tier: 0,
        })
        .collect();
    let strategy = if state["strategyType"] == "Aggregated" {
        json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"})
    } else {
        json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted",
            "weightPreference": {"dynamicWeight": "AvailableReplicas"}})
    };
    let spec = spec(&json!({"replicas": state["targetReplicas"], "placement": {"replicaScheduling": strategy}}));
    divided(parts::assign(&parts, &spec), case["wantErr"] == true, &wants(case))
}

pub(super) fn duplicated(spec: &ResourceBindingSpec) -> bool {
    let strategy = spec.placement.as_ref().and_then(|p| p.replica_scheduling.as_ref());
    let kind = strategy.and_then(|s| s.replica_scheduling_type);
    kind != Some(cfn_api::karmada::policy::ReplicaSchedulingType::Divided)
}

fn constraint(map: &Value, field: &str) -> Option<SpreadConstraint> {
    map.get(field).filter(|v| v.is_object()).map(read)
}

pub(super) fn by_region(case: &Value) -> Row {
    let regions = case["args"]["groupClustersInfo"]["Regions"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let mut all: Vec<Part> = Vec::new();
    let mut groups = Vec::new();
    for (name, r) in &regions {
        let members = list(&r["Clusters"]);
        groups.push((name.clone(), r["Score"].as_i64().unwrap_or(0), names(&r["Clusters"])));
        all.extend(members);
    }
    parts::sort(&mut all);
    let map = &case["args"]["spreadConstraintMap"];
    let region = constraint(map, "region").unwrap_or_default();
    let ours = parts::pick(&all, &groups, &region, constraint(map, "cluster").as_ref());
    chosen(ours, case)
}

pub(super) fn chosen(ours: Result<Vec<String>, ScheduleError>, case: &Value) -> Row {
    let theirs: BTreeSet<String> = names(&case["want"]).into_iter().collect();
    match ours {
        Ok(list) => Row::equal(&list.into_iter().collect::<BTreeSet<_>>(), &theirs),
        Err(e) if theirs.is_empty() => match case["wantErr"].get("$error").and_then(Value::as_str) {
            Some(why) if !e.to_string().ends_with(why) => Row::Different(format!("{e}, theirs {why}")),
            _ => Row::Same,
        },
        Err(e) => Row::Different(format!("{e}, theirs {theirs:?}")),
    }
}

pub(super) fn filter(case: &Value, plugin: &str) -> Row {
    let spec = spec(&case["bindingSpec"]);
    let mut c = cluster(&case["cluster"], None);
    if plugin != "APIEnablement" {
        // Only the plugin in question.
        c.status.get_or_insert_default().api_enablements = serde_json::from_value(json!([{
            "groupVersion": spec.resource.api_version, "resources": [{"kind": spec.resource.kind, "name": "x"}]}]))
        .unwrap();
    }
    let ours = parts::refusal(c, &spec);
    let fails = case["expectedCode"] != 0;
    match (ours, case["expectedReason"].as_str()) {
        (Some((p, _)), _) if p != plugin => Row::Different(format!("{p} refuses")),
        (Some((_, why)), Some(theirs)) if fails => Row::equal(&why.as_str(), &theirs),
        (ours, _) => Row::equal(&ours.is_some(), &fails),
    }
}

/// What is left of plenty says what was deducted.
pub(super) fn deducted(case: &Value) -> Row {
    const PLENTY: i64 = 1 << 60;
    let promised = assumed(&case["assumedWorkloads"]);
    let before: BTreeMap<String, Quantity> = read(&case["summary"]["allocating"]);
    let after: BTreeMap<String, Quantity> = read(&case["wantAllocating"]);
    let amount = |q: &Quantity| cfn_scheduler::engine::quantity::Amount::parse(q).unwrap();
    for (resource, theirs) in &after {
        let mut allocatable = json!({"pods": PLENTY.to_string()});
        allocatable[resource] = if resource == "cpu" {
            format!("{}m", PLENTY / 1024)
        } else {
            PLENTY.to_string()
        }
        .into();
        let c = cluster(
            &json!({"status": {"resourceSummary": {"allocatable": allocatable, "allocating": before}}}),
            None,
        );
        let (unit, plenty) = if resource == "cpu" {
            ("1m", PLENTY / 1024)
        } else {
            ("1", PLENTY)
        };
        let one = ReplicaRequirements {
            resource_request: BTreeMap::from([(resource.clone(), Quantity(unit.to_owned()))]),
            ..ReplicaRequirements::default()
        };
        // Pods would bound the room of cpu in thousandths: look at the larger of the two ways.
        let left = parts::room(c, (resource != "pods").then_some(&one), &promised);
        let want = amount(theirs);
        let want = plenty - if resource == "cpu" { want.milli() } else { want.value() };
        let pods = after.get("pods").map_or(0, |q| amount(q).value());
        if left != want.min(PLENTY - pods) {
            return Row::Different(format!("{resource}: {left} left, theirs {want}"));
        }
    }
    Row::Same
}
