//! Kinds of one's own.

use cfn_api::karmada::work::ResourceBinding;
use cfn_scheduler::controllers::Timers;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::world::{World, eventually, seconds, weights};
use crate::{apply, manifest, on, policy, two_members};

async fn define_training(w: &World) {
    let crd: CustomResourceDefinition = serde_json::from_value(json!({"metadata": {"name": "trainings.example.io"}, "spec": {
        "group": "example.io", "scope": "Namespaced", "names": {"plural": "trainings", "singular": "training", "kind": "Training", "listKind": "TrainingList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}))
    .unwrap();
    w.all().create(&Default::default(), &crd).await.unwrap();
}

fn training(name: &str, leaders: i64, workers: i64, cpu: &str) -> Value {
    let pod = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
    json!({"apiVersion": "example.io/v1", "kind": "Training", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": workers, "leader": {"size": leaders, "pod": pod}, "worker": {"size": workers, "pod": pod}}})
}

fn training_policy(name: &str, placement: Value) -> Value {
    policy(
        name,
        json!({"placement": placement, "resourceSelectors": [{"apiVersion": "example.io/v1", "kind": "Training", "name": name}]}),
    )
}

#[tokio::test(start_paused = true)]
async fn rules_make_a_kind_of_ones_own_divisible() {
    let w = two_members().await;
    define_training(&w).await;
    apply(&w.client, json!({"apiVersion": "config.karmada.io/v1alpha1", "kind": "ResourceInterpreterCustomization", "metadata": {"name": "training"},
        "spec": {"target": {"apiVersion": "example.io/v1", "kind": "Training"}, "customizations": {
            "replicaResource": {"rule": {"replicas": "/spec/replicas", "pod": "/spec/worker/pod/spec"}},
            "replicaRevision": {"rule": {"replicas": "/spec/replicas"}},
            "statusAggregation": {"rule": {"sum": ["readyReplicas"]}}}}})).await;
    apply(&w.client, training("t", 1, 5, "1")).await;
    apply(
        &w.client,
        training_policy("t", weights(&[("member1", 3), ("member2", 2)])),
    )
    .await;
    let replicas = async |c: &str| {
        manifest(&w, c, "Training", "t")
            .await
            .map(|m| m["spec"]["replicas"].clone())
    };
    eventually("divided", seconds(5), || async {
        (replicas("member1").await == Some(json!(3)) && replicas("member2").await == Some(json!(2))).then_some(())
    })
    .await;
    let r = ApiResource::from_gvk(&GroupVersionKind::gvk("example.io", "v1", "Training"));
    let api: Api<DynamicObject> = Api::namespaced_with(w.client.clone(), "default", &r);
    eventually("summed up", seconds(5), || async {
        let t = api.get("t").await.unwrap();
        (t.data["status"]["readyReplicas"] == 5).then_some(())
    })
    .await;
    let b: ResourceBinding = w.ns("default").get("t-training").await.unwrap();
    assert_eq!(b.spec.replica_requirements.unwrap().resource_request["cpu"].0, "1");
}

#[tokio::test(start_paused = true)]
async fn a_workload_of_several_templates_goes_whole_where_all_fit() {
    let w = World::new(Timers::default()).await;
    w.join("member1", "4").await;
    w.join("member2", "16").await;
    define_training(&w).await;
    apply(&w.client, json!({"apiVersion": "config.karmada.io/v1alpha1", "kind": "ResourceInterpreterCustomization", "metadata": {"name": "training"},
        "spec": {"target": {"apiVersion": "example.io/v1", "kind": "Training"}, "customizations": {
            "replicaResource": {"rule": {"components": [
                {"name": "leader", "replicas": "/spec/leader/size", "pod": "/spec/leader/pod/spec"},
                {"name": "worker", "replicas": "/spec/worker/size", "pod": "/spec/worker/pod/spec"}]}}}}})).await;
    let mut one = on(&["member1", "member2"]);
    one["spreadConstraints"] = json!([{"spreadByField": "cluster", "minGroups": 1, "maxGroups": 1}]);
    // The emptier of two first; what the first has left is too little for the second.
    for (name, workers, want) in [("large", 13, "member2"), ("small", 2, "member1")] {
        apply(&w.client, training(name, 1, workers, "1")).await;
        apply(&w.client, training_policy(name, one.clone())).await;
        let at = || async {
            let b: ResourceBinding = w.ns("default").get_opt(&format!("{name}-training")).await.unwrap()?;
            assert_eq!(b.spec.components.len(), 2);
            b.spec.clusters.first().map(|t| t.name.clone())
        };
        let (cluster, _) = eventually("placed", seconds(5), at).await;
        assert_eq!(cluster, want, "{name}");
    }
}
