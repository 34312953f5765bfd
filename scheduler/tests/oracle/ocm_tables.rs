//! Open Cluster Management's own table tests.

use std::collections::{BTreeMap, BTreeSet};

use cfn_api::ocm::cluster::{AddOnPlacementScore, ManagedCluster};
use cfn_api::ocm::placement::{Placement, PlacementDecision, PrioritizerConfig, ScoreCoordinate};
use cfn_api::ocm::set::{ManagedClusterSet, ManagedClusterSetBinding};
use cfn_scheduler::engine::ocm::{Code, Counts, Status, View, choose, conditions, eligible, set_members};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Row, tidy};

/// The time at which upstream's tests stop their clocks.
fn now() -> Timestamp {
    "2022-01-01T00:00:00Z".parse().unwrap()
}

fn object<T: DeserializeOwned + kube::Resource<DynamicType = ()>>(v: &Value) -> T {
    let mut v = tidy(v);
    v["apiVersion"] = T::api_version(&()).into();
    v["kind"] = T::kind(&()).into();
    if v.get("spec").is_none() {
        v["spec"] = json!({});
    }
    serde_json::from_value(v).unwrap()
}

fn objects<T: DeserializeOwned + kube::Resource<DynamicType = ()>>(list: &Value) -> Vec<T> {
    list.as_array().into_iter().flatten().map(object).collect()
}

/// Objects of a mixed list for which `is` holds.
fn some<T: DeserializeOwned + kube::Resource<DynamicType = ()>>(list: &Value, is: fn(&Value) -> bool) -> Vec<T> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter(|v| is(v))
        .map(object)
        .collect()
}

fn is_decision(v: &Value) -> bool {
    v["status"].get("decisions").is_some()
}

fn is_score(v: &Value) -> bool {
    v["status"].get("scores").is_some()
}

fn is_set(v: &Value) -> bool {
    v["spec"].get("clusterSelector").is_some()
}

fn is_binding(v: &Value) -> bool {
    v["spec"].get("clusterSet").is_some()
}

fn is_cluster(v: &Value) -> bool {
    v["spec"].get("hubAcceptsClient").is_some()
}

fn text(v: &Value) -> &str {
    v.as_str().unwrap_or_default()
}

fn names(v: &Value) -> Vec<String> {
    let list = v.as_array().into_iter().flatten();
    list.map(|n| text(n).to_owned()).collect()
}

fn set(v: &Value) -> BTreeSet<String> {
    names(v).into_iter().collect()
}

fn scores(v: &Value) -> BTreeMap<String, i64> {
    serde_json::from_value(tidy(v)).unwrap_or_default()
}

/// One prioritizer alone.
fn only(mut placement: Placement, coordinate: ScoreCoordinate) -> Placement {
    let policy = &mut placement.spec.prioritizer_policy;
    policy.mode = Some("Exact".to_owned());
    policy.configurations = vec![PrioritizerConfig {
        score_coordinate: Some(coordinate),
        weight: Some(1),
    }];
    placement
}

fn built_in(name: &str) -> ScoreCoordinate {
    ScoreCoordinate {
        built_in: Some(name.to_owned()),
        ..ScoreCoordinate::default()
    }
}

/// Scores of one prioritizer.
fn scored(case: &Value, placement: &Placement) -> Row {
    let clusters: Vec<ManagedCluster> = objects(&case["clusters"]);
    let decisions: Vec<PlacementDecision> = objects(&case["existingDecisions"]);
    let add_ons: Vec<AddOnPlacementScore> = objects(&case["existingAddOnScores"]);
    let view = View {
        decisions: decisions.iter().collect(),
        now: Some(now()),
        ..View::of(&clusters).with_scores(&add_ons)
    };
    let choice = choose(&view, placement);
    let ours = choice
        .prioritizers
        .first()
        .map(|p| p.scores.clone())
        .unwrap_or_default();
    if let Some(error) = case["expectedErr"].get("$error")
        && choice.status.message != text(error)
    {
        return Row::Different(format!("{:?}, theirs {error}", choice.status));
    }
    Row::equal(&ours, &scores(&case["expectedScores"]))
}

fn filtered(case: &Value) -> Row {
    let clusters: Vec<ManagedCluster> = objects(&case["clusters"]);
    let decisions: Vec<PlacementDecision> = some(&case["initObjs"], is_decision);
    let add_ons: Vec<AddOnPlacementScore> = objects(&case["existingAddOnScores"]);
    let view = View {
        decisions: decisions.iter().collect(),
        now: Some(now()),
        ..View::of(&clusters).with_scores(&add_ons)
    };
    let choice = choose(&view, &object(&case["placement"]));
    if let Some(error) = case["expectedErr"].get("$error") {
        let code = choice.status.code;
        if code != Code::Misconfigured || choice.status.message != text(error) {
            return Row::Different(format!("{:?}, theirs {error}", choice.status));
        }
    }
    let theirs = case["expectedRequeueResult"]["RequeueTime"].as_str();
    let requeue = choice.requeue_at.map(|t| t.to_string());
    if theirs.is_some() && requeue.as_deref() != theirs {
        return Row::Different(format!("again at {requeue:?}, theirs {theirs:?}"));
    }
    let ours: BTreeSet<String> = choice.decisions.into_iter().collect();
    Row::equal(&ours, &set(&case["expectedClusterNames"]))
}

fn whole(case: &Value) -> Row {
    let clusters: Vec<ManagedCluster> = objects(&case["clusters"]);
    let decisions: Vec<PlacementDecision> = some(&case["initObjs"], is_decision);
    let add_ons: Vec<AddOnPlacementScore> = some(&case["initObjs"], is_score);
    let view = View {
        decisions: decisions.iter().collect(),
        now: Some(now()),
        ..View::of(&clusters).with_scores(&add_ons)
    };
    let choice = choose(&view, &object(&case["placement"]));
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let theirs = (
        list(&case["expectedDecisions"])
            .iter()
            .map(|c| text(&c["metadata"]["name"]).to_owned())
            .collect::<Vec<_>>(),
        list(&case["expectedFilterResult"])
            .iter()
            .map(|f| (text(&f["Name"]).to_owned(), names(&f["FilteredClusters"])))
            .collect::<Vec<_>>(),
        list(&case["expectedScoreResult"])
            .iter()
            .map(|s| {
                (
                    text(&s["Name"]).to_owned(),
                    s["Weight"].as_i64().unwrap_or(0),
                    scores(&s["Scores"]),
                )
            })
            .collect::<BTreeSet<_>>(),
        case["expectedUnScheduled"].as_i64().unwrap_or(0),
        case["expectedStatus"]["code"].as_u64().unwrap_or(0),
        text(&case["expectedStatus"]["plugin"]).to_owned(),
        names(&case["expectedStatus"]["reasons"]).join(", "),
    );
    let ours = (
        choice.decisions,
        choice
            .filters
            .into_iter()
            .map(|f| (f.name, f.clusters))
            .collect::<Vec<_>>(),
        choice
            .prioritizers
            .into_iter()
            .map(|p| (p.name, i64::from(p.weight), p.scores))
            .collect::<BTreeSet<_>>(),
        choice.unscheduled,
        choice.status.code as u64,
        choice.status.plugin,
        choice.status.message,
    );
    Row::equal(&ours, &theirs)
}

fn condition(case: &Value, which: usize) -> Row {
    let n = |f: &str| case[f].as_i64().unwrap_or(0);
    let count = |f: &str| usize::try_from(n(f)).unwrap_or(0);
    let (in_spec, sets) = (names(&case["clusterSetsInSpec"]), names(&case["eligibleClusterSets"]));
    let counts = Counts {
        sets_in_spec: &in_spec,
        eligible_sets: &sets,
        bindings: count("numOfBindings"),
        available: count("numOfAvailableClusters"),
        feasible: count("numOfFeasibleClusters"),
        unscheduled: n("numOfUnscheduledDecisions"),
    };
    let status = &case["status"];
    let code = match status["code"].as_u64() {
        Some(1) => Code::Warning,
        Some(2) => Code::Error,
        Some(3) => Code::Misconfigured,
        _ => Code::Success,
    };
    let status = Status {
        code,
        plugin: text(&status["plugin"]).to_owned(),
        message: names(&status["reasons"]).join(", "),
    };
    let (_, truth, reason, message) = conditions(&counts, &status)[which].clone();
    let theirs = (text(&case["expectedStatus"]), text(&case["expectedReason"]));
    match case["expectedMessage"].as_str() {
        Some(m) if m != message => Row::equal(&message.as_str(), &m),
        _ => Row::equal(&(truth, reason), &theirs),
    }
}

fn valid_sets(case: &Value, bindings: &[ManagedClusterSetBinding], placement: &Placement) -> Row {
    let sets: Vec<ManagedClusterSet> = some(&case["initObjs"], is_set);
    let ours = eligible(placement, &sets, bindings, &[]).unwrap();
    let theirs = case
        .get("expectedClusterSetNames")
        .unwrap_or(&case["expectedClusterSetBindingNames"]);
    Row::equal(&ours.sets.into_iter().collect::<BTreeSet<_>>(), &set(theirs))
}

/// One row.
pub fn row(name: &str, case: &Value) -> Row {
    match name {
        "schedule:TestSchedule" => whole(case),
        "taint_toleration:TestMatchWithClusterTaintToleration" | "predicate:TestMatchWithClusterPredicates" => {
            filtered(case)
        }
        "balance:TestScoreClusterWithSteady" => scored(case, &only(object(&case["placement"]), built_in("Balance"))),
        "steady:TestScoreClusterWithSteady" => scored(case, &only(object(&case["placement"]), built_in("Steady"))),
        "resource:TestScoreClusterWithResource" => {
            let resource = if case["resource"] == "cpu" { "CPU" } else { "Memory" };
            let coordinate = built_in(&format!("Resource{}{resource}", text(&case["algorithm"])));
            scored(case, &only(object(&case["placement"]), coordinate))
        }
        "addon:TestScoreClusterWithAddOn" => {
            let mut placement: Placement = object(&case["placement"]);
            placement.spec.prioritizer_policy.mode = Some("Exact".to_owned());
            scored(case, &placement)
        }
        "scheduling_controller:TestNewSatisfiedCondition" => condition(case, 0),
        "scheduling_controller:TestNewMisconfiguredCondition" => condition(case, 1),
        "scheduling_controller:TestGetValidManagedClusterSetBindings" => {
            let bindings: Vec<ManagedClusterSetBinding> = some(&case["initObjs"], is_binding);
            let mut placement = Placement::default();
            placement.metadata.namespace = Some("ns1".to_owned());
            valid_sets(case, &bindings, &placement)
        }
        "scheduling_controller:TestGetValidManagedClusterSets" => {
            valid_sets(case, &objects(&case["bindings"]), &object(&case["placement"]))
        }
        "scheduling_controller:TestGetAvailableClusters" => {
            let sets: Vec<ManagedClusterSet> = some(&case["initObjs"], is_set);
            let clusters: Vec<ManagedCluster> = some(&case["initObjs"], is_cluster);
            let wanted = set(&case["clusterSetNames"]);
            let mut ours = BTreeSet::new();
            let mut failed = false;
            for s in sets
                .iter()
                .filter(|s| wanted.contains(s.metadata.name.as_deref().unwrap_or_default()))
            {
                match set_members(s, &clusters) {
                    Ok(list) => ours.extend(list.iter().filter_map(|c| c.metadata.name.clone())),
                    Err(_) => failed = true,
                }
            }
            let error = case["expectErr"] == true;
            Row::equal(&(ours, failed), &(set(&case["expectedClusterNames"]), error))
        }
        "cluster_event_handler:TestOnClusterChange"
        | "cluster_event_handler:TestOnClusterUpdate"
        | "cluster_event_handler:TestOnClusterDelete"
        | "enqueue:TestEnqueuePlacementsByClusterSet"
        | "enqueue:TestEnqueuePlacementsByClusterSetBinding"
        | "enqueue:TestEnqueuePlacementsByScore" => Row::NotHere("which keys a controller queues"),
        "scheduling_controller_event:TestCreateOrUpdatePlacementDecision_EventRecording" => {
            Row::NotHere("which events a controller records")
        }
        "controller:TestRequeueTime" => Row::NotHere("the lease controller's timer"),
        _ => Row::Different("a test that nobody looked at".to_owned()),
    }
}
