//! The engine's own rules: what CFN adds to Karmada's, and what must hold for every input.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use cfn_api::cfn::{ComputingMetric, ComputingPolicySpec};
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::{ResourceBindingSpec, TargetCluster};
use cfn_scheduler::engine::{
    Config, Decision, Defect, Explain, Fleet, Member, Request, Resident, ScheduleError, schedule, webster,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn cluster(name: &str, cpu: &str, extra: Value) -> Cluster {
    let mut v = json!({
        "apiVersion": "cluster.karmada.io/v1alpha1", "kind": "Cluster", "metadata": {"name": name, "labels": {}}, "spec": {"syncMode": "Pull"},
        "status": {"apiEnablements": [{"groupVersion": "apps/v1", "resources": [{"kind": "Deployment", "name": "deployments"}]}],
            "resourceSummary": {"allocatable": {"cpu": cpu, "pods": "1000"}}}
    });
    merge(&mut v, extra);
    serde_json::from_value(v).unwrap()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(a), Value::Object(b)) => {
            for (k, v) in b {
                merge(a.entry(k).or_insert(Value::Null), v);
            }
        }
        (a, b) => *a = b,
    }
}

fn metric(name: &str, status: Value) -> ComputingMetric {
    serde_json::from_value(
        json!({"apiVersion": "cfn.akraino.org/v1alpha1", "kind": "ComputingMetric", "metadata": {"name": name},
        "spec": {"cluster": name, "site": name}, "status": status}),
    )
    .unwrap()
}

fn spec(replicas: i32, cpu: &str, placement: Value) -> ResourceBindingSpec {
    serde_json::from_value(json!({
        "resource": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "default", "name": "w", "uid": "u"},
        "replicas": replicas, "replicaRequirements": {"resourceRequest": {"cpu": cpu}}, "placement": placement,
    }))
    .unwrap()
}

fn policy(v: Value) -> ComputingPolicySpec {
    serde_json::from_value(v).unwrap()
}

fn decide(
    fleet: &Fleet,
    spec: &ResourceBindingSpec,
    policy: Option<&ComputingPolicySpec>,
    defect: Option<Defect>,
) -> Decision {
    let request = Request {
        policy,
        ..Request::of("default/w-deployment", spec)
    };
    schedule(
        fleet,
        &request,
        &Config {
            defect,
            explain: Explain::All,
        },
    )
}

fn placed(d: &Decision) -> Vec<(String, i32)> {
    let mut list: Vec<(String, i32)> = d
        .result
        .as_ref()
        .unwrap()
        .iter()
        .map(|t| (t.name.clone(), t.replicas))
        .collect();
    list.sort();
    list
}

fn on(list: &[(&str, i32)]) -> Vec<(String, i32)> {
    list.iter().map(|(n, r)| ((*n).to_owned(), *r)).collect()
}

/// The sites of the joint oracle: (compute, network) = (4, 9), (10, 4), (5, 5), all 9.4 ms from the client's access.
fn oracle() -> Fleet {
    let mut fleet = Fleet::default();
    for (name, compute, network) in [("site1", 4.0, 9.0), ("site2", 10.0, 4.0), ("site3", 5.0, 5.0)] {
        let m = json!({"l0": {"compute": {"serviceTimeMilliseconds": compute}, "rtt": [{"site": "client", "milliseconds": 9.4 + network, "samples": 5}]}});
        fleet.insert(Member::new(cluster(name, "4", json!({})), Some(metric(name, m))));
    }
    fleet
}

fn budget(ms: &str) -> ComputingPolicySpec {
    policy(json!({"latency": {"clients": [{"site": "client"}], "budget": ms}}))
}

#[test]
fn joint_objective_and_its_defect() {
    let (fleet, spec, p) = (oracle(), spec(1, "1", json!({})), budget("20ms"));
    assert_eq!(placed(&decide(&fleet, &spec, Some(&p), None)), on(&[("site3", 1)]));
    let broken = decide(&fleet, &spec, Some(&p), Some(Defect::IgnoreNetwork));
    assert_eq!(placed(&broken), on(&[("site1", 1)]));
    let site1 = broken.explanation.iter().find(|e| e.cluster == "site1").unwrap();
    assert_eq!(
        site1.note.as_deref(),
        Some("misses the budget: 22.4 ms in total, 20.0 ms allowed")
    );
}

#[test]
fn over_the_budget_only_when_nobody_is_within() {
    let (fleet, three) = (oracle(), spec(6, "1", json!({})));
    // Room for four within 20 ms: the rest is refused rather than placed too far.
    assert!(matches!(
        decide(&fleet, &three, Some(&budget("20ms")), None).result,
        Err(ScheduleError::Unschedulable(_))
    ));
    // Two sites within 23 ms: best first, then the next.
    assert_eq!(
        placed(&decide(&fleet, &three, Some(&budget("23ms")), None)),
        on(&[("site1", 2), ("site3", 4)])
    );
    // None within 5 ms: the least bad.
    let late = decide(&fleet, &spec(1, "1", json!({})), Some(&budget("5ms")), None);
    assert_eq!(placed(&late), on(&[("site3", 1)]));
    assert!(late.explanation.iter().all(|e| e.note.is_some()));
}

#[test]
fn hysteresis_keeps_a_site_that_is_nearly_as_good() {
    let (fleet, mut s) = (oracle(), spec(1, "1", json!({})));
    s.clusters = vec![TargetCluster {
        name: "site1".into(),
        replicas: 1,
        ..Default::default()
    }];
    let mut p = budget("50ms");
    for (threshold, want) in [(0.0, "site3"), (10.0, "site3"), (15.0, "site1")] {
        p.hysteresis = Some(cfn_api::cfn::Hysteresis {
            threshold_percent: threshold,
            window: None,
        });
        assert_eq!(
            placed(&decide(&fleet, &s, Some(&p), None)),
            on(&[(want, 1)]),
            "{threshold} %"
        );
    }
}

#[test]
fn a_site_without_the_accelerator_is_refused() {
    let mut fleet = oracle();
    let near = json!({"l0": {"rtt": [{"site": "client", "milliseconds": 1.0, "samples": 5}]}});
    fleet.insert(Member::new(cluster("near", "4", json!({})), Some(metric("near", near))));
    let gpu = json!({"l0": {"rtt": [{"site": "client", "milliseconds": 30.0, "samples": 5}]},
        "accelerators": [{"resource": "nvidia.com/gpu", "model": "A2", "count": 1}]});
    fleet.insert(Member::new(cluster("gpu", "4", json!({})), Some(metric("gpu", gpu))));
    let want = |model: Value| {
        let mut p = budget("50ms");
        p.accelerators = vec![serde_json::from_value(json!({"resource": "nvidia.com/gpu", "model": model})).unwrap()];
        decide(&fleet, &spec(1, "1", json!({})), Some(&p), None)
    };
    assert_eq!(placed(&want(Value::Null)), on(&[("gpu", 1)]));
    assert_eq!(placed(&want("A2".into())), on(&[("gpu", 1)]));
    let none = want("H100".into()).result.unwrap_err();
    assert_eq!(
        none.to_string(),
        "0/5 clusters are available: 5 cluster(s) did not have accelerator nvidia.com/gpu of model H100."
    );
}

#[test]
fn a_more_urgent_task_counts_on_the_room_of_one_that_yields() {
    let mut fleet = oracle();
    let resident = |task| Resident {
        binding: "default/film".into(),
        task: Some(task),
        replicas: 4,
        shown: 4,
        request: BTreeMap::from([(
            "cpu".to_owned(),
            k8s_openapi::apimachinery::pkg::api::resource::Quantity("1".into()),
        )]),
    };
    let full = json!({"status": {"resourceSummary": {"allocated": {"cpu": "4", "pods": "4"}}}});
    let m = fleet.get("site3").unwrap().metric.clone().map(|m| *m);
    fleet.insert(Member::new(cluster("site3", "4", full), m));
    let mut p = budget("30ms");
    p.task_type = cfn_api::cfn::TaskType::V2X;
    for (task, want) in [
        (cfn_api::cfn::TaskType::Interactive, "site3"),
        (cfn_api::cfn::TaskType::V2X, "site1"),
    ] {
        fleet.settle("default/film", [("site3".to_owned(), resident(task))]);
        assert_eq!(
            placed(&decide(&fleet, &spec(2, "1", json!({})), Some(&p), None)),
            on(&[(want, 2)]),
            "{task:?}"
        );
    }
}

#[test]
fn labels_are_required_as_apimachinery_does() {
    let fleet = Fleet::new(
        [
            ("a", json!({"tier": "5"})),
            ("b", json!({"tier": "x"})),
            ("c", json!({})),
        ]
        .map(|(name, labels)| cluster(name, "4", json!({"metadata": {"labels": labels}}))),
    );
    for (operator, values, want) in [
        ("In", json!(["5", "6"]), &["a"][..]),
        ("NotIn", json!(["5"]), &["b", "c"]),
        ("Exists", json!([]), &["a", "b"]),
        ("DoesNotExist", json!([]), &["c"]),
    ] {
        let chosen = json!({"clusterAffinity": {"labelSelector": {"matchExpressions": [
            {"key": "tier", "operator": operator, "values": values}]}}});
        let want: Vec<(&str, i32)> = want.iter().map(|n| (*n, 1)).collect();
        assert_eq!(
            placed(&decide(&fleet, &spec(1, "1", chosen), None, None)),
            on(&want),
            "{operator}"
        );
    }
}

#[test]
fn a_task_does_not_flee_from_its_own_load() {
    let mut fleet = oracle();
    let busy = json!({"l0": {"compute": {"serviceTimeMilliseconds": 5.0, "utilizationPercent": 90.0},
        "rtt": [{"site": "client", "milliseconds": 14.4, "samples": 5}]}});
    fleet.insert(Member::new(
        cluster("site3", "4", json!({})),
        Some(metric("site3", busy)),
    ));
    for (binding, want) in [("default/w-deployment", "site3"), ("default/other", "site1")] {
        let resident = Resident {
            binding: binding.into(),
            task: None,
            replicas: 3,
            shown: 3,
            request: BTreeMap::from([(
                "cpu".to_owned(),
                k8s_openapi::apimachinery::pkg::api::resource::Quantity("1".into()),
            )]),
        };
        fleet.settle("default/other", []);
        fleet.settle("default/w-deployment", []);
        fleet.settle(binding, [("site3".to_owned(), resident)]);
        let decision = decide(&fleet, &spec(1, "1", json!({})), Some(&budget("30ms")), None);
        assert_eq!(placed(&decision), on(&[(want, 1)]), "the load is that of {binding}");
    }
}

/// Three clusters, each the best in something: a is cheap, b frugal and near the data, c clean and wide; d says nothing.
fn rated() -> Fleet {
    let mut fleet = Fleet::default();
    for (name, rtt, cost, watts, carbon, store, client) in [
        ("a", 20.0, 1.0, 30.0, 100.0, 100.0, 10.0),
        ("b", 10.0, 3.0, 10.0, 400.0, 1000.0, 20.0),
        ("c", 30.0, 2.0, 20.0, 50.0, 10.0, 30.0),
    ] {
        let m = json!({"rates": {"costPerCoreHour": cost, "wattsPerCore": watts, "carbonPerKilowattHour": carbon},
            "l0": {"rtt": [{"site": "client", "milliseconds": rtt, "samples": 5}], "bandwidth": [
                {"site": "store", "megabitsPerSecond": store}, {"site": "client", "megabitsPerSecond": client}]}});
        fleet.insert(Member::new(cluster(name, "4", json!({})), Some(metric(name, m))));
    }
    fleet.insert(Member::new(cluster("d", "4", json!({})), None));
    fleet
}

#[test]
fn each_objective_alone() {
    let (fleet, spec) = (rated(), spec(1, "2", json!({})));
    let data = json!([{"site": "store", "gigabytes": 1.0}, {"site": "client", "gigabytes": 0.5}]);
    for (objective, want) in [
        ("Cost", "a"),
        ("Energy", "b"),
        ("Carbon", "c"),
        ("Data", "b"),
        ("Bandwidth", "c"),
        ("Network", "b"),
    ] {
        let p = policy(json!({"objective": objective, "data": data, "latency": {"clients": [{"site": "client"}]}}));
        let decision = decide(&fleet, &spec, Some(&p), None);
        assert_eq!(placed(&decision), on(&[(want, 1)]), "{objective}");
        let b = decision.explanation.iter().find(|e| e.cluster == "b").unwrap();
        // Of two cores: 6 an hour, 20 W, 8 g; 8 s from the store and 200 s from the clients.
        for (what, value) in [
            ("CostPerHour", 6.0),
            ("Watts", 20.0),
            ("CarbonGramsPerHour", 8.0),
            ("DataSeconds", 208.0),
            ("BandwidthMbps", 20.0),
        ] {
            assert_eq!(b.scores.get(what), Some(&value), "{what}");
        }
    }
}

#[test]
fn objectives_together_by_their_weights() {
    let (fleet, one) = (rated(), spec(1, "1", json!({})));
    // (latency, cost, energy, carbon, data) against the best in each: a is 2, 1, 3, 3, 10; b 1, 3, 1, 4, 1; c 3, 2, 2, 1, 100.
    for (weights, want) in [
        ([1.0, 0.0, 0.0, 0.0, 0.0], "b"),
        ([1.0, 1.0, 0.0, 0.0, 0.0], "a"),
        ([1.0, 0.2, 0.0, 0.0, 0.0], "b"),
        ([1.0, 0.0, 0.0, 1.0, 0.0], "c"),
        ([1.0, 1.0, 1.0, 0.0, 0.0], "b"),
        ([1.0, 1.0, 0.0, 1.0, 1.0], "b"),
    ] {
        let [latency, cost, energy, carbon, data] = weights;
        let p = policy(json!({
            "latency": {"clients": [{"site": "client"}]}, "data": [{"site": "store", "gigabytes": 1.0}],
            "weights": {"latency": latency, "cost": cost, "energy": energy, "carbon": carbon, "data": data}}));
        // Whoever is silent does not count against the others.
        let mut fleet = fleet.clone();
        fleet.remove("d");
        assert_eq!(
            placed(&decide(&fleet, &one, Some(&p), None)),
            on(&[(want, 1)]),
            "{weights:?}"
        );
    }
    // Fixed weights and copies everywhere stand, whatever is cheap.
    let p = policy(json!({"objective": "Cost"}));
    let rule = |n: &str| json!({"targetCluster": {"clusterNames": [n]}, "weight": 1});
    let fixed = json!({"replicaScheduling": {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted",
        "weightPreference": {"staticWeightList": [rule("b"), rule("c")]}}});
    let decision = decide(&fleet, &spec(4, "1", fixed), Some(&p), None);
    assert_eq!(placed(&decision), on(&[("b", 2), ("c", 2)]));
    let copies = json!({"replicaScheduling": {"replicaSchedulingType": "Duplicated"}});
    let decision = decide(&fleet, &spec(1, "1", copies), Some(&p), None);
    assert_eq!(placed(&decision), on(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]));
}

#[test]
fn a_lost_path_is_no_measurement() {
    let mut fleet = oracle();
    for (rtt, want) in [
        (
            json!({"site": "client", "milliseconds": 1.0, "samples": 5, "lost": true}),
            "site3",
        ),
        (json!({"site": "client", "milliseconds": 0.0, "samples": 0}), "site3"),
        (json!({"site": "client", "milliseconds": 0.0, "samples": 5}), "site0"),
        (json!({"site": "client", "milliseconds": 1.0, "samples": 0}), "site0"),
    ] {
        let m = json!({"l0": {"compute": {"serviceTimeMilliseconds": 1.0}, "rtt": [rtt]}});
        fleet.insert(Member::new(
            cluster("site0", "4", json!({})),
            Some(metric("site0", m.clone())),
        ));
        let decision = decide(&fleet, &spec(1, "1", json!({})), Some(&budget("30ms")), None);
        assert_eq!(placed(&decision), on(&[(want, 1)]), "{m}");
    }
}

#[test]
fn weights_and_their_defect() {
    let fleet = Fleet::new(["member1", "member2", "member3"].map(|n| cluster(n, "1", json!({}))));
    let rule = |n: &str, w: i64| json!({"targetCluster": {"clusterNames": [n]}, "weight": w});
    for (replicas, weights, want) in [
        (2, [1, 1, 0], vec![("member1", 1), ("member2", 1)]),
        (7, [2, 1, 1], vec![("member1", 3), ("member2", 2), ("member3", 2)]),
        (12, [3, 2, 1], vec![("member1", 6), ("member2", 4), ("member3", 2)]),
    ] {
        let list: Vec<Value> = ["member1", "member2", "member3"]
            .iter()
            .zip(weights)
            .filter(|(_, w)| *w > 0)
            .map(|(n, w)| rule(n, w))
            .collect();
        let s = spec(
            replicas,
            "100m",
            json!({"replicaScheduling": {"replicaSchedulingType": "Divided",
            "replicaDivisionPreference": "Weighted", "weightPreference": {"staticWeightList": list}}}),
        );
        assert_eq!(placed(&decide(&fleet, &s, None, None)), on(&want));
        assert_eq!(
            placed(&decide(&fleet, &s, None, Some(Defect::IgnoreWeights))),
            on(&[("member1", replicas)])
        );
    }
}

#[test]
fn zones_providers_and_labels_spread_like_regions() {
    let at = |n: &str, provider: &str, zone: &str, rack: &str| {
        cluster(
            n,
            "10",
            json!({"metadata": {"labels": {"rack": rack}}, "spec": {"provider": provider, "zones": [zone]}}),
        )
    };
    let fleet = Fleet::new([
        at("a", "p1", "z1", "r1"),
        at("b", "p1", "z1", "r2"),
        at("c", "p2", "z2", "r2"),
    ]);
    let spread = |by: Value, most: i64| {
        let mut group = json!({"minGroups": 2, "maxGroups": 2});
        merge(&mut group, by);
        let placement =
            json!({"spreadConstraints": [group, {"spreadByField": "cluster", "minGroups": 2, "maxGroups": most}]});
        decide(&fleet, &spec(1, "1", placement), None, None)
    };
    assert_eq!(
        placed(&spread(json!({"spreadByField": "zone"}), 2)),
        on(&[("a", 1), ("c", 1)])
    );
    assert_eq!(
        placed(&spread(json!({"spreadByField": "provider"}), 3)),
        on(&[("a", 1), ("b", 1), ("c", 1)])
    );
    assert_eq!(
        placed(&spread(json!({"spreadByLabel": "rack"}), 2)),
        on(&[("a", 1), ("b", 1)])
    );
    let none = spread(json!({"spreadByLabel": "row"}), 2).result.unwrap_err();
    assert_eq!(none.reason(), "NoClusterFit");
}

proptest! {
    #[test]
    fn webster_gives_every_seat_and_one_more_seat_takes_none_away(votes in prop::collection::vec(0_i64..50, 1..8), seats in 0_i64..60, down in any::<bool>()) {
        let votes: BTreeMap<String, i64> = votes.into_iter().enumerate().map(|(i, v)| (format!("c{i}"), v)).collect();
        let none = BTreeMap::new();
        let now = webster(seats, &votes, &none, down);
        prop_assert_eq!(now.values().sum::<i64>(), seats);
        let more = webster(seats + 1, &votes, &none, down);
        for (name, n) in &now {
            prop_assert!(more[name] >= *n, "house monotone");
        }
        for (a, va) in &votes {
            for (b, vb) in &votes {
                prop_assert!(va <= vb || now[a] >= now[b], "who has more votes has no fewer seats");
            }
        }
    }

    #[test]
    fn divided_replicas_add_up_and_steady_takes_nothing_away(
        rooms in prop::collection::vec(0_i64..20, 1..8), had in prop::collection::vec(0_i32..8, 8), wanted in 1_i32..60, aggregated in any::<bool>()
    ) {
        let fleet = Fleet::new(rooms.iter().enumerate().map(|(i, r)| cluster(&format!("c{i}"), &r.to_string(), json!({}))));
        let strategy = if aggregated {
            json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"})
        } else {
            json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted", "weightPreference": {"dynamicWeight": "AvailableReplicas"}})
        };
        let mut s = spec(wanted, "1", json!({"replicaScheduling": strategy}));
        s.clusters = had.iter().take(rooms.len()).enumerate().filter(|(_, n)| **n > 0)
            .map(|(i, n)| TargetCluster { name: format!("c{i}"), replicas: *n, ..Default::default() }).collect();
        let before: i32 = s.clusters.iter().map(|t| t.replicas).sum();
        let room: i64 = rooms.iter().sum();
        match decide(&fleet, &s, None, None).result {
            Ok(list) => {
                prop_assert_eq!(list.iter().map(|t| t.replicas).sum::<i32>(), wanted);
                let after: BTreeMap<&str, i32> = list.iter().map(|t| (t.name.as_str(), t.replicas)).collect();
                for t in &s.clusters {
                    let n = after.get(t.name.as_str()).copied().unwrap_or(0);
                    prop_assert!(if before <= wanted { n >= t.replicas } else { n <= t.replicas }, "{} {} -> {n}", t.name, t.replicas);
                }
            }
            Err(e) => prop_assert!(matches!(e, ScheduleError::Unschedulable(_)) && room < i64::from(wanted - before), "{e}"),
        }
    }
}
