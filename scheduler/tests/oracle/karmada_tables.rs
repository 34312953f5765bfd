//! Karmada's own table tests. Rows that begin in the middle of a decision run the engine's step of that place.

use std::collections::{BTreeMap, BTreeSet};

use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::policy::{ClusterAffinity, Placement, SpreadConstraint};
use cfn_api::karmada::work::{Component, ReplicaRequirements, ResourceBindingSpec, TargetCluster};
use cfn_scheduler::engine::affinity::cluster_matches;
use cfn_scheduler::engine::parts::{self, Part};
use cfn_scheduler::engine::{
    Config, Explain, Fleet, Request, ScheduleError, descending, schedule, webster, whole_sets,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Row, targets, tidy};

fn read<T: DeserializeOwned + Default>(v: &Value) -> T {
    if v.is_null() {
        T::default()
    } else {
        serde_json::from_value(tidy(v)).unwrap()
    }
}

/// A cluster; one without a name is called `c`, and it serves what bindings without a kind ask for.
fn cluster(v: &Value, name: Option<&str>) -> Cluster {
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

fn part(v: &Value) -> Part {
    let n = |f: &str| v[f].as_i64().unwrap_or(0);
    Part {
        cluster: cluster(&v["Cluster"], v["Name"].as_str()),
        score: i32::try_from(n("Score")).unwrap(),
        allocatable: n("AllocatableReplicas"),
        available: n("AvailableReplicas"),
        tier: u8::try_from(n("OverflowOrder")).unwrap(),
    }
}

fn list(v: &Value) -> Vec<Part> {
    v.as_array().into_iter().flatten().map(part).collect()
}

/// The same with room for a set: a row about the result begins after the room has been found.
fn roomy(v: &Value) -> Vec<Part> {
    let mut all = list(v);
    for p in &mut all {
        (p.allocatable, p.available) = (1, 1);
    }
    all
}

fn components(v: &Value) -> Vec<Component> {
    read(v)
}

fn names(v: &Value) -> Vec<String> {
    let name = |c: &Value| {
        let known = c["Name"]
            .as_str()
            .or(c["metadata"]["name"].as_str())
            .or(c["Cluster"]["metadata"]["name"].as_str());
        known.unwrap_or_default().to_owned()
    };
    v.as_array().into_iter().flatten().map(name).collect()
}

fn spec(v: &Value) -> ResourceBindingSpec {
    read(v)
}

/// Compares a division with one of several right answers.
fn divided(ours: Result<Vec<TargetCluster>, ScheduleError>, fails: bool, wants: &[Value]) -> Row {
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

fn wants(case: &Value) -> Vec<Value> {
    match case["wants"].as_array() {
        Some(all) => all.clone(),
        None => vec![case["want"].clone()],
    }
}

/// A whole decision on clusters whose room their summaries tell.
fn by_summary(case: &Value) -> Row {
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

fn static_weights(case: &Value) -> Row {
    let parts = list(&case["clusters"]);
    let spec = spec(
        &json!({"replicas": case["replicas"], "placement": {"replicaScheduling": {
        "replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted",
        "weightPreference": case["weightPreference"]}}}),
    );
    divided(parts::assign(&parts, &spec), case["wantErr"] == true, &wants(case))
}

fn assigned(case: &Value) -> Row {
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

fn by_room(case: &Value) -> Row {
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

fn shares(v: &Value, name: &str, n: &str) -> BTreeMap<String, i64> {
    let list = v.as_array().into_iter().flatten();
    list.map(|t| {
        (
            t[name].as_str().unwrap_or_default().to_owned(),
            t[n].as_i64().unwrap_or(0),
        )
    })
    .collect()
}

fn duplicated(spec: &ResourceBindingSpec) -> bool {
    let strategy = spec.placement.as_ref().and_then(|p| p.replica_scheduling.as_ref());
    let kind = strategy.and_then(|s| s.replica_scheduling_type);
    kind != Some(cfn_api::karmada::policy::ReplicaSchedulingType::Divided)
}

fn constraint(map: &Value, field: &str) -> Option<SpreadConstraint> {
    map.get(field).filter(|v| v.is_object()).map(read)
}

fn by_region(case: &Value) -> Row {
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

fn chosen(ours: Result<Vec<String>, ScheduleError>, case: &Value) -> Row {
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

fn filter(case: &Value, plugin: &str) -> Row {
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

fn requirements(v: &Value) -> Option<ReplicaRequirements> {
    v.is_object().then(|| read(v))
}

type Assumed = Vec<(i32, BTreeMap<String, Quantity>)>;

fn assumed(v: &Value) -> Assumed {
    let workloads = v.as_array().into_iter().flatten();
    let components = workloads.flat_map(|w| w["Components"].as_array().into_iter().flatten());
    components
        .map(|c| {
            let replicas = i32::try_from(c["replicas"].as_i64().unwrap_or(0)).unwrap();
            (replicas, read(&c["replicaRequirements"]["resourceRequest"]))
        })
        .collect()
}

/// What is left of plenty says what was deducted.
fn deducted(case: &Value) -> Row {
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

/// One row.
pub fn row(name: &str, case: &Value) -> Row {
    const HELPER: &str = "a helper of upstream's code, not a decision";
    const EVICTION: &str = "eviction is the controllers', not the engine's";
    const OVERRIDE: &str = "overriding manifests is the controllers', not the engine's";
    const ESTIMATOR: &str = "how the answers of an estimator that is asked over the network are put together";
    match name {
        "assignment:Test_assignByStaticWeightStrategy" => static_weights(case),
        "assignment:Test_dynamicScale" | "assignment:Test_dynamicScaleUp" => by_summary(case),
        "assignment:Test_assignByDuplicatedStrategy" => {
            let parts = list(&case["state"]["candidates"]);
            if parts.is_empty() {
                return Row::NotHere("no candidates never get as far as a division");
            }
            divided(
                parts::assign(&parts, &spec(&case["state"]["spec"])),
                false,
                &wants(case),
            )
        }
        "common:TestSelectClusters" => {
            let mut all = list(&case["clustersScore"]);
            let placement: Placement = read(&case["placement"]);
            let term = placement.cluster_affinities.first();
            for p in &mut all {
                let overflows = term.is_some_and(|t| !cluster_matches(&p.cluster, &t.affinity));
                p.tier = u8::from(overflows);
            }
            parts::sort(&mut all);
            let ours = parts::select(&all, &placement, spec(&case["spec"]).replicas);
            let theirs: BTreeSet<String> = names(&case["expectedResult"]).into_iter().collect();
            if case["expectedError"] == true {
                return Row::equal(&ours.is_err(), &true);
            }
            Row::equal(&ours.unwrap_or_default().into_iter().collect(), &theirs)
        }
        "common:TestAssignReplicas" => assigned(case),
        "division_algorithm:Test_dynamicDivideReplicas" => by_room(case),
        "generic_scheduler:Test_DistributionOfReplicas" => divided(
            parts::assign(&list(&case["clusters"]), &spec(&case["object"])),
            false,
            std::slice::from_ref(&case["result"]),
        ),
        "group_clusters:Test_GroupClustersWithScore" => {
            let mut all = list(&case["args"]["clustersScore"]);
            parts::sort(&mut all);
            let ours: Vec<String> = all.iter().filter_map(|p| p.cluster.metadata.name.clone()).collect();
            let theirs: Vec<String> = read(&case["want"]["clusters"]);
            Row::equal(&ours, &theirs)
        }
        "group_clusters:Test_CalcGroupScore" => {
            let spec = spec(&case["rbSpec"]);
            let min = case["minGroups"].as_i64().unwrap_or(0);
            let weight =
                |field: &str| parts::group_weight(&list(&case[field]), spec.replicas, duplicated(&spec), min, 0);
            Row::equal(
                &(weight("clusters1") > weight("clusters2")),
                &(case["group1Wins"] == true),
            )
        }
        "group_clusters:Test_CalcGroupScoreForDuplicate" => {
            let weight = parts::group_weight(&list(&case["clusters"]), spec(&case["rbSpec"]).replicas, true, 0, 0);
            Row::equal(&weight, &case["watScore"].as_i64().unwrap_or(0))
        }
        "select_clusters_by_region:Test_selectBestClustersByRegion" => by_region(case),
        "select_clusters:TestSelectBestClusters" => {
            let info = &case["args"]["groupClustersInfo"];
            let placement: Placement = read(&case["args"]["placement"]);
            if info.get("Regions").is_some_and(|r| r.is_object()) {
                let mut map = json!({});
                for c in case["args"]["placement"]["spreadConstraints"]
                    .as_array()
                    .into_iter()
                    .flatten()
                {
                    map[c["spreadByField"].as_str().unwrap_or_default()] = c.clone();
                }
                let mut as_region = case.clone();
                as_region["args"]["spreadConstraintMap"] = map;
                return by_region(&as_region);
            }
            let replicas = i32::try_from(case["args"]["needReplicas"].as_i64().unwrap_or(0)).unwrap_or(i32::MAX);
            let mut placement = placement;
            if replicas >= 0 && placement.replica_scheduling.is_none() {
                // The row gives the replicas that the clusters must hold together.
                placement.replica_scheduling =
                    read(&json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"}));
            }
            chosen(parts::select(&list(&info["Clusters"]), &placement, replicas), case)
        }
        "select_groups:TestSelectGroups" => {
            let groups: Vec<(String, i64, usize)> = case["groups"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|g| {
                    let size = usize::try_from(g["value"].as_i64().unwrap_or(0)).unwrap();
                    (
                        g["name"].as_str().unwrap_or_default().to_owned(),
                        g["weight"].as_i64().unwrap_or(0),
                        size,
                    )
                })
                .collect();
            let n = |f: &str| case[f].as_i64().unwrap_or(0);
            let ours = parts::choose_groups(&groups, n("minConstraints"), n("maxConstraints"), n("target"));
            Row::equal(&ours.unwrap_or_default(), &read(&case["expected"]))
        }
        "util:Test_sortClusters" => {
            let mut all = list(&case["infos"]);
            parts::sort(&mut all);
            let ours: Vec<String> = all.iter().filter_map(|p| p.cluster.metadata.name.clone()).collect();
            Row::equal(&ours, &names(&case["want"]))
        }
        "api_enablement:TestAPIEnablement_Filter" => filter(case, "APIEnablement"),
        "cluster_affinity:TestClusterAffinity_Filter" => filter(case, "ClusterAffinity"),
        "cluster_eviction:TestClusterEviction_Filter" => filter(case, "ClusterEviction"),
        "spread_constraint:TestSpreadConstraint_Filter" => filter(case, "SpreadConstraint"),
        "taint_toleration:TestTaintToleration_Filter" => filter(case, "TaintToleration"),
        "cluster_locality:TestClusterLocality_Score" => {
            let (spec, c) = (spec(&case["bindingSpec"]), cluster(&case["cluster"], None));
            let explain = Config {
                explain: Explain::All,
                ..Config::default()
            };
            let decision = schedule(&Fleet::new([c]), &Request::of("x", &spec), &explain);
            let score = decision
                .explanation
                .first()
                .and_then(|e| e.scores.get("ClusterLocality").copied());
            Row::equal(&score, &case["expectedScore"].as_f64())
        }
        "webstermethod:TestAllocateWebsterSeats" if case.get("tieBreaker").is_some_and(|t| !t.is_null()) => {
            Row::NotHere("a tie-break given as code")
        }
        "webstermethod:TestAllocateWebsterSeats" => {
            let seats = case["newSeats"].as_i64().unwrap_or(0);
            let ours = webster(
                seats,
                &read(&case["partyVotes"]),
                &read(&case["initialAssignments"]),
                false,
            );
            Row::equal(&ours, &shares(&case["expected"], "Name", "Seats"))
        }
        "binding:Test_dispenser_AllocateByWeight" => {
            let votes = shares(&case["weightList"], "ClusterName", "Weight");
            let had = shares(&case["initialAssignment"], "name", "replicas");
            let uid = case.get("uuid").or_else(|| case.get("uid")).and_then(Value::as_str);
            let new = case["newReplicas"].as_i64().unwrap_or(0);
            // An empty list of weights leaves all as it was.
            let mut ours = if votes.is_empty() {
                had
            } else {
                webster(new, &votes, &had, descending(uid))
            };
            ours.retain(|_, n| *n > 0);
            let mut theirs = shares(&case["desired"], "name", "replicas");
            theirs.retain(|_, n| *n > 0);
            Row::equal(&ours, &theirs)
        }
        "binding:TestDispenseReplicasByTargetClusters" => {
            let votes = shares(&case["args"]["clusters"], "name", "replicas");
            let sum = case["args"]["sum"].as_i64().unwrap_or(0);
            let mut ours = webster(sum, &votes, &BTreeMap::new(), false);
            ours.retain(|_, n| *n > 0);
            let right = case["wants"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|w| targets(w) == ours);
            if right {
                Row::Same
            } else {
                Row::Different(format!("{ours:?}, theirs {}", case["wants"]))
            }
        }
        "general:TestGetMaximumReplicasBasedOnResourceModels" => {
            let c = cluster(&case["cluster"], None);
            let ours = parts::room_by_models(&c, requirements(&case["replicaRequirements"]).as_ref());
            Row::equal(&ours.unwrap_or(-1), &case["expectedReplicas"].as_i64().unwrap_or(0))
        }
        "general:TestMaxAvailableReplicasGeneral" => {
            let c = cluster(&case["cluster"], None);
            let wanted = requirements(&case["replicaRequirements"]);
            let ours = parts::room(c, wanted.as_ref(), &assumed(&case["assumedWorkloads"]));
            Row::equal(&ours, &case["expected"].as_i64().unwrap_or(0))
        }
        "general:TestMaxAvailableReplicas" => {
            let wanted = requirements(&case["replicaRequirements"]);
            let all = case["clusters"].as_array().into_iter().flatten();
            let ours: Vec<i64> = all
                .map(|c| {
                    let name = c["metadata"]["name"].as_str().unwrap_or_default();
                    parts::room(
                        cluster(c, None),
                        wanted.as_ref(),
                        &assumed(&case["assumedWorkloads"][name]),
                    )
                })
                .collect();
            let theirs = case["expectedTargets"].as_array().into_iter().flatten();
            Row::equal(&ours, &theirs.map(|t| t["replicas"].as_i64().unwrap_or(0)).collect())
        }
        "general:TestGetAllowedPodNumber" => {
            let c = cluster(&json!({"status": {"resourceSummary": case["resourceSummary"]}}), None);
            Row::equal(&parts::room(c, None, &[]), &case["expected"].as_i64().unwrap_or(0))
        }
        "general:TestGetMaximumReplicasBasedOnClusterSummary" => {
            let mut summary = tidy(&case["resourceSummary"]);
            summary["allocatable"]["pods"] = "1000000".into();
            let c = cluster(&json!({"status": {"resourceSummary": summary}}), None);
            let wanted = requirements(&case["replicaRequirements"]);
            Row::equal(
                &parts::room(c, wanted.as_ref(), &[]),
                &case["expected"].as_i64().unwrap_or(0),
            )
        }
        "general:TestDeductAssumedWorkloadsFromSummary" => deducted(case),
        "selector:TestClusterMatches" => {
            // Upstream's test has the cluster in its code.
            let c = cluster(
                &json!({"metadata": {"name": "cluster1", "labels": {"foo": "bar"}}, "spec": {
                    "zones": ["zone1", "zone2", "zone3"], "region": "region1", "provider": "provider1"}}),
                None,
            );
            let affinity: ClusterAffinity = read(&case["affinity"]);
            Row::equal(&cluster_matches(&c, &affinity), &(case["want"] == true))
        }
        "selector:Test_matchZones" => {
            let c = cluster(&json!({"spec": {"zones": case["zones"]}}), None);
            let affinity = json!({"fieldSelector": {"matchExpressions": [case["zoneMatchExpression"]]}});
            Row::equal(&cluster_matches(&c, &read(&affinity)), &(case["matched"] == true))
        }
        "common:TestAssignComponentSchedulingResults" if case["featureGate"] == false => {
            Row::NotHere("with a gate closed that is always open here")
        }
        "common:TestAssignComponentSchedulingResults" => {
            let ours = parts::assign(&roomy(&case["clusters"]), &spec(&case["spec"])).unwrap_or_default();
            let theirs: Vec<TargetCluster> = read(&case["want"]);
            Row::equal(&ours, &theirs)
        }
        "estimation:Test_isMultiTemplateSchedulingApplicable" => {
            Row::equal(&whole_sets(&spec(&case["spec"])), &(case["want"] == true))
        }
        "estimation:Test_calculateMultiTemplateAvailableSets" => Row::NotHere(ESTIMATOR),
        "general:TestGetMaximumSetsBasedOnResourceModels" => {
            let c = cluster(&case["cluster"], None);
            let most = case["upperBound"].as_i64().unwrap_or(0);
            let ours = parts::sets_by_models(&c, &components(&case["components"]), most);
            Row::equal(&ours.unwrap_or(-1), &case["expectedSets"].as_i64().unwrap_or(0))
        }
        "general:TestGetMaxAvailableComponentSetsGeneral"
        | "general:TestMaxAvailableComponentSets_AssumedWorkloadDeduction" => {
            let c = cluster(&case["cluster"], None);
            let ours = parts::sets(c, &components(&case["components"]), &assumed(&case["assumedWorkloads"]));
            Row::equal(&ours, &case["expected"].as_i64().unwrap_or(0))
        }
        "util:Test_attachZeroReplicasCluster" => Row::NotHere("an option that is off by default upstream"),
        "selector:TestResourceMatches"
        | "selector:TestResourceSelectorPriority"
        | "selector:TestResourceMatchSelectors"
        | "selector:TestResourceMatchSelectorsPriority"
        | "selector:TestExtractUniqueNamespacedSelectors" => {
            Row::NotHere("which policy means a template is the controllers', not the engine's")
        }
        _ if name.starts_with("scheduling_simulator")
            || name.starts_with("noderesource")
            || name.starts_with("resourcequota") =>
        {
            Row::NotHere("an accurate estimate comes from a cluster's agent")
        }
        _ if name.contains("override") || name.contains("Override") => Row::NotHere(OVERRIDE),
        _ if name.starts_with("evictiontask")
            || name.contains("graceful_eviction")
            || name.starts_with("clustertaintpolicy")
            || name.starts_with("taint:") =>
        {
            Row::NotHere(EVICTION)
        }
        _ if name.starts_with("binding:") || name.starts_with("util:") || name.starts_with("selector:") => {
            Row::NotHere(HELPER)
        }
        _ => Row::Different("a test that nobody looked at".to_owned()),
    }
}
