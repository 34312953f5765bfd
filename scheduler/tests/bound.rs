//! How good a batch is: the bound against what can be counted by hand, or by trying everything.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use cfn_api::cfn::{ComputingMetric, ComputingPolicySpec};
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::ResourceBindingSpec;
use cfn_scheduler::engine::bound::{Bound, asks_for_room, bound, of_placed};
use cfn_scheduler::engine::{Fleet, Member, Request};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A cluster with so many cores, some of them taken.
fn cluster(name: &str, cores: i64, taken: i64) -> Cluster {
    serde_json::from_value(json!({
        "apiVersion": "cluster.karmada.io/v1alpha1", "kind": "Cluster", "metadata": {"name": name}, "spec": {"syncMode": "Pull"},
        "status": {
            "apiEnablements": [{"groupVersion": "apps/v1", "resources": [{"kind": "Deployment", "name": "deployments"}]}],
            "resourceSummary": {"allocatable": {"cpu": cores.to_string(), "pods": "1000"}, "allocated": {"cpu": taken.to_string()}}
        }
    }))
    .unwrap()
}

fn aggregated() -> Value {
    json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"})
}

/// A binding of so many replicas of so many cores that may go to these clusters and is in those.
fn binding(replicas: i32, cores: i64, clusters: &[&str], on: &[(&str, i32)]) -> ResourceBindingSpec {
    let on: Vec<Value> = on.iter().map(|(n, r)| json!({"name": n, "replicas": r})).collect();
    serde_json::from_value(json!({
        "resource": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "default", "name": "w", "uid": "u"},
        "replicas": replicas, "replicaRequirements": {"resourceRequest": {"cpu": cores.to_string()}}, "clusters": on,
        "placement": {"clusterAffinity": {"clusterNames": clusters}, "replicaScheduling": aggregated()},
    }))
    .unwrap()
}

/// Each binding by a name of its own.
fn requests(specs: &[ResourceBindingSpec]) -> Vec<Request<'_>> {
    let names = ["default/w0", "default/w1", "default/w2"];
    assert!(specs.len() <= names.len());
    specs.iter().zip(names).map(|(s, name)| Request::of(name, s)).collect()
}

#[test]
fn only_divisions_by_room_ask_for_room() {
    let latency: ComputingPolicySpec = serde_json::from_value(json!({"latency": {"budget": "20ms"}})).unwrap();
    let none: ComputingPolicySpec = serde_json::from_value(json!({})).unwrap();
    let weights = json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted",
        "weightPreference": {"staticWeightList": [{"targetCluster": {"clusterNames": ["a"]}, "weight": 1}]}});
    let dynamic = json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted",
        "weightPreference": {"dynamicWeight": "AvailableReplicas"}});
    let copies = json!({"replicaSchedulingType": "Duplicated"});
    for (strategy, replicas, policy, asks) in [
        (aggregated(), 3, None, true),
        (aggregated(), 0, None, false),
        (dynamic, 1, None, true),
        (weights.clone(), 3, None, false),
        (copies.clone(), 3, None, false),
        (copies.clone(), 3, Some(&none), false),
        (copies, 3, Some(&latency), true),
        (weights, 0, Some(&latency), false),
    ] {
        let mut spec = binding(replicas, 1, &["a"], &[]);
        spec.placement.as_mut().unwrap().replica_scheduling = serde_json::from_value(strategy.clone()).unwrap();
        let request = Request {
            policy,
            ..Request::of("default/w", &spec)
        };
        assert_eq!(asks_for_room(&request), asks, "{strategy} {replicas}");
    }
}

#[test]
fn what_a_binding_has_counts_as_its_room() {
    // Four cores, two of them the binding's own.
    let fleet = Fleet::new(vec![cluster("a", 4, 2), cluster("b", 1, 0), cluster("closed", 50, 0)]);
    let of = |replicas| [binding(replicas, 1, &["a", "b"], &[("a", 2)])];
    for (replicas, placed, possible) in [(1, 1, 1), (5, 5, 5), (9, 0, 5)] {
        let (spec, wanted) = (of(replicas), i64::from(replicas));
        let b = bound(&fleet, &requests(&spec)).unwrap();
        let expected = Bound {
            wanted,
            placed,
            possible,
            latency: None,
        };
        assert_eq!(b, expected, "{replicas}");
    }
    // Placed already: two of nine, where any other placement would have five.
    let b = of_placed(&fleet, &requests(&of(9))).unwrap();
    let expected = Bound {
        wanted: 9,
        placed: 2,
        possible: 5,
        latency: None,
    };
    assert_eq!(b, expected);
    assert!((b.within_percent() - 60.0).abs() < 1e-9, "{}", b.within_percent());
    // Two bindings are two times what one is.
    let two = [binding(2, 1, &["a"], &[("a", 2)]), binding(1, 1, &["b"], &[("b", 1)])];
    let b = of_placed(&fleet, &requests(&two)).unwrap();
    assert_eq!((b.wanted, b.placed, b.possible), (3, 3, 3));
    assert!(b.within_percent().abs() < 1e-9);
    // Nobody asks: nothing is possible, and that is as good as can be.
    let b = bound(&fleet, &[]).unwrap();
    assert_eq!((b.wanted, b.placed, b.possible, b.within_percent()), (0, 0, 0, 0.0));
}

/// Sites at 19.4, 22.4 and 23.4 ms from their clients, four cores each.
fn sites() -> Fleet {
    let mut fleet = Fleet::default();
    for (name, compute, network) in [("near", 5.0, 5.0), ("mid", 4.0, 9.0), ("far", 10.0, 4.0)] {
        let metric: ComputingMetric = serde_json::from_value(json!({
            "apiVersion": "cfn.akraino.org/v1alpha1", "kind": "ComputingMetric", "metadata": {"name": name},
            "spec": {"cluster": name, "site": name},
            "status": {"l0": {"compute": {"serviceTimeMilliseconds": compute},
                "rtt": [{"site": "client", "milliseconds": 9.4 + network, "samples": 5}]}}
        }))
        .unwrap();
        fleet.insert(Member::new(cluster(name, 4, 0), Some(metric)));
    }
    fleet
}

#[test]
fn the_least_that_clients_can_wait() {
    let fleet = sites();
    let policy: ComputingPolicySpec =
        serde_json::from_value(json!({"latency": {"clients": [{"site": "client"}], "budget": "50ms"}})).unwrap();
    let all = ["near", "mid", "far"];
    // (what each binding has where, its cores a replica, what they wait, the least): near takes four cores, then mid.
    let (near, mid, far) = (19.4, 22.4, 23.4);
    for (on, cores, ours, least) in [
        (vec![vec![("near", 2)]], 2, 2.0 * near, 2.0 * near),
        (vec![vec![("far", 3)]], 2, 3.0 * far, 2.0 * near + mid),
        (
            vec![vec![("far", 1), ("mid", 1)], vec![("near", 3)]],
            2,
            far + mid + 3.0 * near,
            2.0 * near + 2.0 * mid + far,
        ),
        (vec![vec![("mid", 4)]], 1, 4.0 * mid, 4.0 * near),
    ] {
        let specs: Vec<ResourceBindingSpec> = on
            .iter()
            .map(|on| binding(on.iter().map(|(_, n)| n).sum(), cores, &all, on))
            .collect();
        let batch: Vec<Request<'_>> = requests(&specs)
            .into_iter()
            .map(|r| Request {
                policy: Some(&policy),
                ..r
            })
            .collect();
        let b = of_placed(&fleet, &batch).unwrap();
        let (o, l) = b.latency.unwrap();
        assert!(
            (o - ours).abs() < 1e-6 && (l - least).abs() < 1e-6,
            "{on:?}: {o} {l}, not {ours} {least}"
        );
        let within = b.latency_within_percent().unwrap();
        assert!(
            (within - (100.0 * (ours - least) / least).max(0.0)).abs() < 1e-6,
            "{within}"
        );
    }
    // Without an objective nobody waits; nor where nothing is placed.
    let spec = [binding(2, 1, &all, &[("near", 2)])];
    assert_eq!(of_placed(&fleet, &requests(&spec)).unwrap().latency, None);
    let spec = [binding(2, 1, &all, &[])];
    let idle = Request {
        policy: Some(&policy),
        ..Request::of("default/w", &spec[0])
    };
    assert_eq!(of_placed(&fleet, &[idle]).unwrap().latency, None);
    // The engine's own decision is as good as can be here.
    let fresh = Request {
        policy: Some(&policy),
        ..Request::of("default/w", &spec[0])
    };
    let b = bound(&fleet, &[fresh]).unwrap();
    assert_eq!((b.placed, b.possible), (2, 2));
    let (ours, least) = b.latency.unwrap();
    assert!(
        (ours - 2.0 * near).abs() < 1e-6 && (least - 2.0 * near).abs() < 1e-6,
        "{ours} {least}"
    );
}

/// Which of the first four clusters a binding may go to.
fn open(mask: u8) -> Vec<&'static str> {
    let all = ["c0", "c1", "c2", "c3"];
    all.into_iter()
        .enumerate()
        .filter(|(i, _)| mask >> i & 1 == 1)
        .map(|(_, n)| n)
        .collect()
}

fn fleet(cores: &[i64]) -> Fleet {
    Fleet::new(cores.iter().enumerate().map(|(i, n)| cluster(&format!("c{i}"), *n, 0)))
}

/// The most replicas that fit, by trying everything: what is left of each cluster, and the bindings still to come.
fn most(left: &mut [i64], bindings: &[(i32, i64, u8)]) -> i64 {
    fn place(left: &mut [i64], from: usize, rest: i64, cores: i64, mask: u8, others: &[(i32, i64, u8)]) -> i64 {
        let Some(room) = left.get(from).copied() else {
            return most(left, others);
        };
        let fits = if mask >> from & 1 == 1 {
            (room / cores).min(rest)
        } else {
            0
        };
        (0..=fits)
            .map(|n| {
                left[from] = room - n * cores;
                let all = n + place(left, from + 1, rest - n, cores, mask, others);
                left[from] = room;
                all
            })
            .max()
            .unwrap_or(0)
    }
    match bindings.split_first() {
        None => 0,
        Some(((replicas, cores, mask), others)) => place(left, 0, i64::from(*replicas), *cores, *mask, others),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing that can be placed is above the bound, and with replicas of one core it is the best itself.
    #[test]
    fn no_placement_is_above_the_bound(
        cores in prop::collection::vec(0_i64..6, 1..=3),
        bindings in prop::collection::vec((1_i32..5, 1_i64..4, 1_u8..8), 1..=3),
        unit in any::<bool>(),
    ) {
        let here = (1_u8 << cores.len()) - 1;
        let bindings: Vec<(i32, i64, u8)> = bindings
            .into_iter()
            .map(|(r, c, m)| (r, if unit { 1 } else { c }, m & here))
            .filter(|(_, _, m)| *m != 0)
            .collect();
        let specs: Vec<ResourceBindingSpec> =
            bindings.iter().map(|(r, c, m)| binding(*r, *c, &open(*m), &[])).collect();
        let b = bound(&fleet(&cores), &requests(&specs)).unwrap();
        let best = most(&mut cores.clone(), &bindings);
        prop_assert!(b.possible >= best, "{} can be placed, not {}", best, b.possible);
        prop_assert!(b.placed <= best && b.placed >= 0, "{} of {}", b.placed, best);
        prop_assert_eq!(b.wanted, bindings.iter().map(|(r, _, _)| i64::from(*r)).sum::<i64>());
        if unit {
            prop_assert_eq!(b.possible, best);
        }
    }
}
