//! Karmada's own table tests. Rows that begin in the middle of a decision run the engine's step of that place.

mod input;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use cfn_api::karmada::policy::{ClusterAffinity, Placement};
use cfn_api::karmada::work::TargetCluster;
use cfn_scheduler::engine::affinity::cluster_matches;
use cfn_scheduler::engine::{Config, Explain, Fleet, Request, descending, parts, schedule, webster, whole_sets};
use serde_json::{Value, json};

use crate::{Row, targets, tidy};
use input::{assumed, cluster, components, list, names, read, requirements, roomy, shares, spec, wants};
use step::{assigned, by_region, by_room, by_summary, chosen, deducted, divided, duplicated, filter, static_weights};

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
