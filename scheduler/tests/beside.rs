//! Beside a real Karmada: its kinds alone, with strict schemas; its controllers do all but decide.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod world;

use cfn_api::conditions;
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::policy::PropagationPolicy;
use cfn_api::karmada::work::{ClusterResourceBinding, ResourceBinding, SCHEDULED, Work};
use cfn_scheduler::controllers::Timers;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::api::PostParams;
use serde_json::{Value, json};
use world::{World, eventually, seconds};

/// Karmada's own kinds without what CFN adds to them: an API server prunes what their schemas do not know.
fn karmadas() -> Vec<CustomResourceDefinition> {
    let own = [
        Cluster::crd(),
        PropagationPolicy::crd(),
        ResourceBinding::crd(),
        ClusterResourceBinding::crd(),
        Work::crd(),
    ];
    own.into_iter()
        .map(|crd| {
            let mut v = serde_json::to_value(crd).unwrap();
            let root = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
            if let Some(status) = v.pointer_mut(root).and_then(Value::as_object_mut) {
                for ours in ["explanation", "freeNodes", "unschedulable"] {
                    status.remove(ours);
                }
            }
            serde_json::from_value(v).unwrap()
        })
        .collect()
}

fn binding(name: &str, scheduler: &str, placement: Value) -> ResourceBinding {
    serde_json::from_value(json!({"apiVersion": "work.karmada.io/v1alpha2", "kind": "ResourceBinding",
        "metadata": {"name": name, "namespace": "default", "finalizers": ["karmada.io/binding-controller"],
            "labels": {"resourcebinding.karmada.io/permanent-id": name}},
        "spec": {"schedulerName": scheduler, "replicas": 5, "placement": placement,
            "replicaRequirements": {"resourceRequest": {"cpu": "1"}},
            "resource": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "default", "name": name, "uid": "u"}}}))
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn we_decide_about_our_bindings_and_touch_nothing_else() {
    let w = World::with(Timers::default(), karmadas(), |o| {
        o.only_scheduling = true;
        o.scheduler_name = "cfn".into();
        o.explain = false;
    })
    .await;
    w.join("member1", "3").await;
    w.join("member2", "100").await;
    let before = w
        .all::<Namespace>()
        .list(&Default::default())
        .await
        .unwrap()
        .items
        .len();
    let weighted = world::weights(&[("member1", 3), ("member2", 2)]);
    let bindings = w.ns::<ResourceBinding>("default");
    for b in [
        binding("ours", "cfn", weighted.clone()),
        binding("theirs", "default-scheduler", weighted),
        binding(
            "nowhere",
            "cfn",
            json!({"clusterAffinity": {"clusterNames": ["member9"]}}),
        ),
    ] {
        bindings.create(&PostParams::default(), &b).await.unwrap();
    }
    let placed = || async {
        let b = bindings.get("ours").await.unwrap();
        let status = b.status.clone()?;
        conditions::is_true(&status.conditions, SCHEDULED).then_some(b)
    };
    let (b, _) = eventually("a decision", seconds(5), placed).await;
    let clusters: Vec<(&str, i32)> = b.spec.clusters.iter().map(|t| (t.name.as_str(), t.replicas)).collect();
    assert_eq!(clusters, [("member1", 3), ("member2", 2)]);
    let status = b.status.unwrap();
    assert_eq!(status.scheduler_observed_generation, b.metadata.generation);
    assert!(status.last_scheduled_time.is_some());
    assert!(
        b.metadata
            .annotations
            .unwrap()
            .contains_key("policy.karmada.io/applied-placement")
    );
    // What Karmada's controllers write is theirs.
    assert_eq!(status.aggregated_status, []);
    assert_eq!(status.conditions.len(), 1);
    let refused = || async {
        let status = bindings.get("nowhere").await.unwrap().status?;
        conditions::get(&status.conditions, SCHEDULED).map(|c| c.reason.clone())
    };
    assert_eq!(eventually("a reason", seconds(5), refused).await.0, "NoClusterFit");
    let theirs = bindings.get("theirs").await.unwrap();
    assert_eq!((theirs.spec.clusters.len(), theirs.status), (0, None));
    assert_eq!(w.all::<Work>().list(&Default::default()).await.unwrap().items.len(), 0);
    let after = w
        .all::<Namespace>()
        .list(&Default::default())
        .await
        .unwrap()
        .items
        .len();
    assert_eq!(after, before);
}
