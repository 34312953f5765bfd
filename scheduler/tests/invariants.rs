//! What must hold for every fleet and binding: proptest over generated ones; a failing run prints its seed.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../benches/generated.rs"]
mod generated;

use std::collections::{BTreeMap, BTreeSet};

use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::{ResourceBindingSpec, TargetCluster};
use cfn_api::ocm::cluster::ManagedCluster;
use cfn_api::ocm::placement::Placement;
use cfn_scheduler::engine::ocm::{View, choose};
use cfn_scheduler::engine::{Config, Explain, Fleet, Member, Request, ScheduleError, parts, schedule};
use proptest::prelude::*;
use serde_json::{Value, json};

/// After so many answers there is no other.
const SETTLED: usize = 4;

type Answer = Result<Vec<TargetCluster>, ScheduleError>;

fn decide(fleet: &Fleet, spec: &ResourceBindingSpec) -> Answer {
    schedule(fleet, &Request::of("ns/w", spec), &Config::default()).result
}

fn by_name(list: &[TargetCluster]) -> BTreeMap<String, i64> {
    list.iter().map(|t| (t.name.clone(), i64::from(t.replicas))).collect()
}

fn field<'a>(spec: &'a Value, path: &str) -> &'a Value {
    spec.pointer(path).unwrap_or(&Value::Null)
}

/// A generated fleet and bindings for it, some with a last result.
fn scene() -> impl Strategy<Value = (Vec<Cluster>, Vec<ResourceBindingSpec>, u64)> {
    (1_u64..40, 1_u64..6, any::<u64>()).prop_map(|(size, regions, seed)| {
        let clusters = generated::clusters(size, regions, seed);
        let mut specs = generated::specs(12, size, seed ^ 0x5555);
        let mut n = generated::Numbers(seed ^ 0xaaaa);
        for spec in &mut specs {
            if n.below(2) == 0 {
                for _ in 0..n.below(4) {
                    let name = format!("member{:05}", n.below(size));
                    if spec.clusters.iter().all(|t| t.name != name) {
                        let replicas = i32::try_from(n.below(20)).unwrap();
                        spec.clusters.push(TargetCluster {
                            name,
                            replicas,
                            ..Default::default()
                        });
                    }
                }
            }
        }
        (clusters, specs, seed)
    })
}

fn shuffled<T: Clone>(list: &[T], seed: u64) -> Vec<T> {
    let mut n = generated::Numbers(seed);
    let mut out = list.to_vec();
    for i in (1..out.len()).rev() {
        out.swap(i, usize::try_from(n.below(i as u64 + 1)).unwrap());
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// The index says of every member what the filters one by one say.
    #[test]
    fn the_index_filters_as_the_filters_do((clusters, specs, _) in scene()) {
        let fleet = Fleet::new(clusters.clone());
        for spec in &specs {
            let config = Config { explain: Explain::All, ..Config::default() };
            let decision = schedule(&fleet, &Request::of("ns/w", spec), &config);
            prop_assert_eq!(decision.explanation.len(), clusters.len(), "each cluster is explained");
            for c in &clusters {
                let refusal = parts::refusal(c.clone(), spec);
                let name = c.metadata.name.clone().unwrap();
                let note = decision.explanation.iter().find(|e| e.cluster == name).unwrap();
                let said = refusal.map(|(p, why)| format!("{p}: {why}"));
                prop_assert_eq!(&note.filtered, &said, "{}", name);
            }
        }
    }

    /// The same answer whatever the order of the clusters, and after any detour of the fleet.
    #[test]
    fn order_and_history_do_not_matter((clusters, specs, seed) in scene()) {
        let fleet = Fleet::new(clusters.clone());
        let mut detour = Fleet::default();
        let mut n = generated::Numbers(seed ^ 1);
        let foreign = generated::clusters(40, 3, seed ^ 2);
        for c in shuffled(&foreign, seed ^ 3) {
            detour.insert(Member::new(c, None));
        }
        for c in shuffled(&clusters, seed) {
            if n.below(3) == 0 {
                detour.remove(c.metadata.name.as_deref().unwrap());
            }
            detour.insert(Member::new(c, None));
        }
        let own: BTreeSet<_> = clusters.iter().map(|c| c.metadata.name.clone()).collect();
        for c in foreign.iter().filter(|c| !own.contains(&c.metadata.name)) {
            detour.remove(c.metadata.name.as_deref().unwrap());
        }
        for spec in &specs {
            prop_assert_eq!(decide(&fleet, spec), decide(&detour, spec));
        }
    }

    /// Sums are exact; nobody gets more than there is room for; constraints hold.
    #[test]
    fn divisions_are_sound((clusters, specs, _) in scene()) {
        let fleet = Fleet::new(clusters.clone());
        for spec in &specs {
            let Ok(list) = decide(&fleet, spec) else { continue };
            let json = serde_json::to_value(spec).unwrap();
            let strategy = field(&json, "/placement/replicaScheduling");
            let divided = strategy["replicaSchedulingType"] == "Divided";
            let by_room = divided && (strategy["replicaDivisionPreference"] == "Aggregated"
                || strategy["weightPreference"].get("dynamicWeight").is_some());
            let names: BTreeSet<&str> = list.iter().map(|t| t.name.as_str()).collect();
            prop_assert_eq!(names.len(), list.len(), "each cluster once");
            let sum: i64 = list.iter().map(|t| i64::from(t.replicas)).sum();
            if divided {
                prop_assert_eq!(sum, i64::from(spec.replicas));
            } else {
                prop_assert!(list.iter().all(|t| t.replicas == spec.replicas));
            }
            if by_room {
                let had = by_name(&spec.clusters);
                for t in &list {
                    let c = clusters.iter().find(|c| c.metadata.name.as_ref() == Some(&t.name)).unwrap();
                    let room = parts::room(c.clone(), spec.replica_requirements.as_ref(), &[]);
                    let most = room + had.get(&t.name).copied().unwrap_or(0);
                    prop_assert!(i64::from(t.replicas) <= most, "{} of {most} on {}", t.replicas, t.name);
                }
            }
            let constraints = field(&json, "/placement/spreadConstraints").as_array().cloned().unwrap_or_default();
            if constraints.is_empty() || (divided && !by_room) {
                continue;
            }
            for c in constraints {
                let region = |n: &str| clusters.iter().find(|c| c.metadata.name.as_deref() == Some(n)).unwrap().spec.region.clone();
                let n = if c["spreadByField"] == "region" {
                    names.iter().map(|n| region(n)).collect::<BTreeSet<_>>().len()
                } else {
                    names.len()
                };
                // A division may leave a chosen cluster empty; copies go to all that were chosen.
                let (least, most) = (c["minGroups"].as_u64().unwrap_or(0), c["maxGroups"].as_u64().unwrap_or(u64::MAX));
                prop_assert!(n as u64 <= most, "{n} of at most {most}");
                prop_assert!(divided || n as u64 >= least, "{n} of at least {least}");
            }
        }
    }

    /// Deciding again changes nothing. Where groups of clusters are chosen, what a group is worth counts what it runs already,
    /// as upstream (ClusterLocality's score, and `AvailableReplicas` with the assigned ones added, in Karmada's
    /// pkg/scheduler/core): there a second answer may be another. A division is only decided again when something has
    /// changed; copies are decided again at any event, so their answers must settle.
    #[test]
    fn nothing_moves_without_cause((clusters, specs, _) in scene()) {
        let fleet = Fleet::new(clusters);
        for spec in &specs {
            let Ok(list) = decide(&fleet, spec) else { continue };
            // Who gives a cluster up gives up, too, that its taints do not count where something runs already.
            if spec.clusters.iter().any(|t| list.iter().all(|l| l.name != t.name)) {
                continue;
            }
            let json = serde_json::to_value(spec).unwrap();
            let divided = field(&json, "/placement/replicaScheduling/replicaSchedulingType") == "Divided";
            let constraints = field(&json, "/placement/spreadConstraints").as_array().cloned().unwrap_or_default();
            let grouped = constraints.iter().any(|c| c["spreadByField"] != "cluster");
            let rounds = match (grouped, divided) {
                (false, _) => 1,
                (true, false) => SETTLED,
                (true, true) => continue,
            };
            let mut last = by_name(&list);
            let mut again = ResourceBindingSpec { clusters: list, ..spec.clone() };
            let mut same = false;
            for _ in 0..rounds {
                again.clusters = decide(&fleet, &again).unwrap();
                let now = by_name(&again.clusters);
                same = now == last;
                prop_assert!(same || rounds > 1, "{now:?} after {last:?}");
                last = now;
            }
            prop_assert!(same, "after {rounds} answers there is another: {:?}", last);
        }
    }

    /// More replicas take from no cluster (house monotone), where the last result is kept.
    #[test]
    fn growth_takes_nothing_away((clusters, specs, _) in scene(), more in 1_i32..40) {
        let fleet = Fleet::new(clusters);
        for spec in specs.iter().filter(|s| s.placement.as_ref().is_some_and(|p| p.spread_constraints.is_empty())) {
            let Ok(list) = decide(&fleet, spec) else { continue };
            let mut grown = spec.clone();
            grown.clusters.clone_from(&list);
            grown.replicas += more;
            let Ok(after) = decide(&fleet, &grown) else { continue };
            let after = by_name(&after);
            let json = serde_json::to_value(spec).unwrap();
            let by_weight = field(&json, "/placement/replicaScheduling/weightPreference/staticWeightList").is_array();
            for t in list.iter().filter(|_| !by_weight) {
                prop_assert!(after.get(&t.name).copied().unwrap_or(0) >= i64::from(t.replicas), "{}", t.name);
            }
        }
    }

    /// One binding after the other, each promise deducted: no cluster is promised more than it has.
    #[test]
    fn promises_are_never_given_twice((clusters, specs, _) in scene()) {
        let mut fleet = Fleet::new(clusters.clone());
        let mut given: BTreeMap<String, i64> = BTreeMap::new();
        for (i, spec) in specs.iter().enumerate() {
            let mut spec = spec.clone();
            spec.clusters.clear();
            spec.placement.get_or_insert_default().replica_scheduling = serde_json::from_value(json!({
                "replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"})).unwrap();
            let Ok(list) = decide(&fleet, &spec) else { continue };
            let request = spec.replica_requirements.clone().unwrap().resource_request;
            for t in list {
                fleet.assume(&t.name, &format!("ns/{i}"), t.replicas, &request);
                *given.entry(t.name).or_default() += i64::from(t.replicas);
            }
        }
        for (name, n) in given {
            let c = clusters.iter().find(|c| c.metadata.name.as_ref() == Some(&name)).unwrap();
            prop_assert!(n <= parts::room(c.clone(), None, &[]), "{n} pods on {name}");
            fleet.forget(&name, "nobody");
        }
    }

    /// OCM's door: the order of clusters does not matter, no more than asked for, and best first.
    #[test]
    fn choices_are_sound(size in 1_usize..20, wanted in prop::option::of(0_i32..12), seed in any::<u64>(), weights in prop::collection::vec(-10_i32..=10, 4)) {
        let mut n = generated::Numbers(seed);
        let clusters: Vec<ManagedCluster> = (0..size).map(|i| serde_json::from_value(json!({
            "apiVersion": "cluster.open-cluster-management.io/v1", "kind": "ManagedCluster",
            "metadata": {"name": format!("m{i:03}"), "labels": {"tier": n.of(&["edge", "cloud"])}},
            "spec": {"hubAcceptsClient": true, "taints": if n.below(4) == 0 {
                json!([{"key": "k", "value": "", "effect": n.of(&["NoSelect", "NoSelectIfNew", "PreferNoSelect"])}]) } else { json!([]) }},
            "status": {"allocatable": {"cpu": n.below(50).to_string(), "memory": n.below(50).to_string()},
                "capacity": {"cpu": "50", "memory": "50"}},
        })).unwrap()).collect();
        let names = ["Balance", "Steady", "ResourceAllocatableCPU", "ResourceAllocatableMemory"];
        let configurations: Vec<Value> = names.iter().zip(&weights)
            .map(|(b, w)| json!({"scoreCoordinate": {"type": "BuiltIn", "builtIn": b}, "weight": w})).collect();
        let placement: Placement = serde_json::from_value(json!({
            "apiVersion": "cluster.open-cluster-management.io/v1beta1", "kind": "Placement", "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"numberOfClusters": wanted, "prioritizerPolicy": {"configurations": configurations}},
        })).unwrap();
        let choice = choose(&View::of(&clusters), &placement);
        let other = shuffled(&clusters, seed);
        let again = choose(&View::of(&other), &placement);
        prop_assert_eq!(&choice.decisions, &again.decisions);
        prop_assert_eq!(&choice.sum, &again.sum);
        prop_assert!(wanted.is_none_or(|w| choice.decisions.len() <= usize::try_from(w).unwrap()));
        let sums: Vec<i64> = choice.decisions.iter().map(|d| choice.sum[d]).collect();
        prop_assert!(sums.windows(2).all(|w| w[0] >= w[1]));
        let left_out = choice.sum.iter().filter(|(c, _)| !choice.decisions.contains(c)).map(|(_, s)| *s).max();
        prop_assert!(left_out.zip(sums.last()).is_none_or(|(out, last)| out <= *last));
    }
}
