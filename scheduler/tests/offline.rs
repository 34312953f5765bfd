//! `cfn schedule` without the command line: shapes, bad input, what-if, both doors in one decision, bounds.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use cfn_scheduler::offline::{Options, Output, World, cases, run};
use serde_json::{Value, json};

fn cluster(name: &str, cpu: u32) -> Value {
    json!({"apiVersion": "cluster.karmada.io/v1alpha1", "kind": "Cluster", "metadata": {"name": name},
        "spec": {"syncMode": "Pull", "region": format!("r-{name}")},
        "status": {"apiEnablements": [{"groupVersion": "apps/v1", "resources": [{"name": "deployments", "kind": "Deployment"}]}],
            "resourceSummary": {"allocatable": {"cpu": cpu.to_string(), "pods": "100"}}}})
}

fn spec(placement: Value) -> Value {
    json!({"resource": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "ns", "name": "w", "uid": "u"},
        "replicas": 4, "replicaRequirements": {"resourceRequest": {"cpu": "1"}}, "placement": placement})
}

fn aggregated() -> Value {
    json!({"replicaScheduling": {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"}})
}

fn on(clusters: &[Value], bindings: &str, options: &Options) -> Result<Output, String> {
    let fleet = json!({"clusters": clusters}).to_string();
    let world = World::read(fleet.as_bytes(), options.format).map_err(|e| e.to_string())?;
    run(world, bindings.as_bytes(), options).map_err(|e| e.to_string())
}

fn lines(output: &Output) -> Vec<Value> {
    output.lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn the_same_bindings_in_every_dress() {
    let fleet = [cluster("a", 8), cluster("b", 2)];
    let object = json!({"apiVersion": "work.karmada.io/v1alpha2", "kind": "ResourceBinding",
        "metadata": {"name": "w", "namespace": "ns"}, "spec": spec(aggregated())});
    let result = json!([{"name": "a", "replicas": 4}]);
    for (text, id) in [
        (object.to_string(), json!("ns/w")),
        (
            json!({"kind": "ResourceBindingList", "items": [object]}).to_string(),
            json!("ns/w"),
        ),
        (json!([object]).to_string(), json!("ns/w")),
        (spec(aggregated()).to_string(), json!(0)),
        (json!({"specs": [spec(aggregated())]}).to_string(), json!(0)),
        (serde_yaml::to_string(&object).unwrap(), json!("ns/w")),
    ] {
        let out = lines(&on(&fleet, &text, &Options::default()).unwrap());
        assert_eq!(out, [json!({"id": id, "result": result})], "{text}");
    }
}

#[test]
fn what_an_api_would_refuse_is_refused_with_the_path() {
    let fleet = [cluster("a", 8)];
    let static_weight = |w: i64| {
        json!({"replicaScheduling": {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted",
            "weightPreference": {"staticWeightList": [{"targetCluster": {"clusterNames": ["a"]}, "weight": w}]}}})
    };
    for (placement, why) in [
        (
            json!({"clusterAfinity": {}}),
            "strict decoding error: unknown field \"spec.placement.clusterAfinity\"",
        ),
        (
            json!({"clusterAffinity": {"clusterName": ["a"]}}),
            "strict decoding error: unknown field \"spec.placement.clusterAffinity.clusterName\"",
        ),
        (
            json!({"spreadConstraints": [{"spreadByField": "cluster", "minGroups": 3, "maxGroups": 2}]}),
            "spec.placement.spreadConstraints[0]: maxGroups lower than minGroups is not allowed",
        ),
        (
            json!({"spreadConstraints": [{"spreadByField": "cluster", "minGroups": -1}]}),
            "spec.placement.spreadConstraints[0]: minGroups lower than 0 is not allowed",
        ),
        (
            static_weight(-1),
            "spec.placement.replicaScheduling.weightPreference.staticWeightList[0].weight: Invalid value: -1: should be greater than or equal to 1",
        ),
        (
            json!({"clusterAffinities": [{"affinityName": "x"}, {"affinityName": "x"}]}),
            "spec.placement.clusterAffinities[1].affinityName: Invalid value: \"x\": each affinity term in a policy must have a unique name",
        ),
        (
            json!({"clusterAffinity": {}, "clusterAffinities": [{"affinityName": "x"}]}),
            "spec.placement: clusterAffinities cannot co-exist with clusterAffinity",
        ),
        (
            json!({"clusterAffinity": {"labelSelector": {"matchExpressions": [{"key": "k", "operator": "Is"}]}}}),
            "spec.placement.clusterAffinity.labelSelector: \"Is\" is not a valid label selector operator",
        ),
        // Karmada has its own words for this.
        (
            json!({"spreadConstraints": [{"spreadByField": "cluster", "minGroups": 2, "maxGroups": 2}]}),
            "failed to select clusters: the number of feasible clusters is less than spreadConstraint.MinGroups",
        ),
    ] {
        let out = lines(&on(&fleet, &spec(placement).to_string(), &Options::default()).unwrap());
        assert_eq!(out[0]["message"], why);
        assert_eq!(out[0]["error"], "error");
    }
}

#[test]
fn what_is_no_document_is_told_with_its_place() {
    let fleet = [cluster("a", 8)];
    let mut words = spec(aggregated());
    words["replicas"] = "three".into();
    for (text, why) in [
        (
            words.to_string(),
            "document 1, replicas: expected a binding's spec: invalid type: string \"three\", expected i32",
        ),
        (
            "{\"a\": ".to_owned(),
            "not JSON: EOF while parsing a value at line 1 column 6",
        ),
        ("a: [".to_owned(), "neither JSON, JSON lines nor YAML"),
        (
            "{\"kind\": \"ConfigMap\"}".to_owned(),
            "no ResourceBinding or Placement in the file",
        ),
        (String::new(), "no ResourceBinding or Placement in the file"),
    ] {
        let e = on(&fleet, &text, &Options::default()).unwrap_err();
        assert!(e.starts_with(why), "{text}: {e}");
    }
    let mut bad = cluster("a", 1);
    bad["status"]["resourceSummary"]["allocatable"]["cpu"] = "many".into();
    let e = on(&[bad], &spec(aggregated()).to_string(), &Options::default()).unwrap_err();
    assert!(
        e.contains("status.resourceSummary.allocatable.cpu: Invalid value: \"many\": quantities must match"),
        "{e}"
    );
    // No cluster at all is Karmada's own answer.
    let out = lines(&on(&[], &spec(aggregated()).to_string(), &Options::default()).unwrap());
    assert_eq!(out[0]["error"], "NoClusterFit");
    assert_eq!(out[0]["message"], "0/0 clusters are available: no cluster exists.");
}

#[test]
fn overflowing_quantities_are_capped_as_upstream_caps_them() {
    let mut huge = cluster("a", 1);
    huge["status"]["resourceSummary"]["allocatable"] =
        json!({"cpu": "99999999999999999999E", "pods": "99999999999999999999E"});
    let out = lines(&on(&[huge], &spec(aggregated()).to_string(), &Options::default()).unwrap());
    assert_eq!(out[0]["result"], json!([{"name": "a", "replicas": 4}]));
}

#[test]
fn a_lost_cluster_gives_up_what_it_has() {
    let fleet = [cluster("a", 8), cluster("b", 6)];
    let options = Options {
        lost: vec!["a".to_owned()],
        ..Options::default()
    };
    let out = lines(&on(&fleet, &spec(aggregated()).to_string(), &options).unwrap());
    assert_eq!(
        out[0],
        json!({"id": 0, "before": [{"name": "a", "replicas": 4}], "result": [{"name": "b", "replicas": 4}], "moved": 4})
    );
    let nobody = Options {
        lost: vec!["z".to_owned()],
        ..Options::default()
    };
    let e = on(&fleet, &spec(aggregated()).to_string(), &nobody).unwrap_err();
    assert_eq!(e, "no cluster z in the fleet");
}

#[test]
fn one_decision_through_both_doors() {
    let fleet = [cluster("a", 8), cluster("b", 6), cluster("c", 2)];
    let binding = json!({"apiVersion": "work.karmada.io/v1alpha2", "kind": "ResourceBinding", "metadata": {"name": "w", "namespace": "ns",
        "annotations": {"cluster.open-cluster-management.io/placement": "p"}}, "spec": spec(aggregated())});
    let placement = json!({"apiVersion": "cluster.open-cluster-management.io/v1beta1", "kind": "Placement",
        "metadata": {"name": "p", "namespace": "ns"}, "spec": {"numberOfClusters": 2,
            "prioritizerPolicy": {"mode": "Exact", "configurations": [{"scoreCoordinate": {"builtIn": "ResourceAllocatableCPU"}, "weight": -1}]}}});
    let text = format!("{binding}\n{placement}");
    let out = lines(&on(&fleet, &text, &Options::default()).unwrap());
    // The two with the least cpu, and of these the one with room for all.
    assert_eq!(out[1]["decisions"], json!(["c", "b"]));
    assert_eq!(out[0]["result"], json!([{"name": "b", "replicas": 4}]));
}

#[test]
fn a_batch_says_how_good_it_is() {
    let fleet = [cluster("a", 6), cluster("b", 5)];
    let three = json!({"specs": [spec(aggregated()), spec(aggregated()), spec(aggregated())]});
    let options = Options {
        bound: true,
        ..Options::default()
    };
    let out = lines(&on(&fleet, &three.to_string(), &options).unwrap());
    // Twelve replicas of one core want eleven cores: two bindings of four fit as wholes, eleven replicas would in parts.
    assert_eq!(
        out[3]["bound"],
        json!({"wanted": 12, "placed": 8, "possible": 11, "withinPercent": 27.273})
    );
}

#[test]
fn cases_carry_their_own_fleets() {
    let case = json!({"id": 7, "clusters": [cluster("a", 8)], "spec": spec(aggregated()), "result": "ignored"});
    let out = lines(&cases(case.to_string().as_bytes(), &Options::default()).unwrap());
    assert_eq!(out, [json!({"id": 7, "result": [{"name": "a", "replicas": 4}]})]);
    for (text, why) in [
        ("[1]", "document 1, the whole: expected a case"),
        (
            "{\"id\": 1}",
            "document 1, spec: expected a binding's spec, or a placement: missing field",
        ),
        (
            "{\"clusters\": 3, \"spec\": {}}",
            "document 1, clusters: expected a list of clusters: not a list",
        ),
    ] {
        let e = cases(text.as_bytes(), &Options::default()).unwrap_err().to_string();
        assert!(e.starts_with(why), "{e}");
    }
}

#[test]
fn a_hundred_thousand_clusters_are_a_file_like_any_other() {
    let fleet: Vec<Value> = (0..100_000).map(|i| cluster(&format!("c{i:06}"), 4)).collect();
    let mut wide = spec(aggregated());
    wide["replicas"] = 1000.into();
    let out = lines(&on(&fleet, &wide.to_string(), &Options::default()).unwrap());
    let result = out[0]["result"].as_array().unwrap();
    let sum: i64 = result.iter().map(|t| t["replicas"].as_i64().unwrap()).sum();
    assert_eq!((sum, result.len()), (1000, 250));
}
