//! What Karmada has beyond placing a Deployment, each end to end against a hub with the controllers.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use cfn_api::conditions;
use cfn_api::karmada::apps::WorkloadRebalancer;
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::policy::PropagationPolicy;
use cfn_api::karmada::quota::FederatedResourceQuota;
use cfn_api::karmada::work::{ResourceBinding, SCHEDULED, Work};
use cfn_scheduler::controllers::Timers;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use world::{World, eventually, seconds, weights};

/// `kubectl apply` of any object.
async fn apply(client: &Client, object: Value) {
    let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let mut r = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if kind.ends_with("Policy") {
        r.plural = format!("{}ies", kind.to_lowercase().trim_end_matches('y'));
    }
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(ns) => Api::namespaced_with(client.clone(), ns, &r),
        None => Api::all_with(client.clone(), &r),
    };
    let name = object["metadata"]["name"].as_str().unwrap();
    api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object))
        .await
        .unwrap();
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "policy.karmada.io/v1alpha1", "kind": "PropagationPolicy",
        "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn selects(deployment: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment}])
}

fn on(clusters: &[&str]) -> Value {
    json!({"clusterAffinity": {"clusterNames": clusters}})
}

fn aggregated(clusters: &[&str]) -> Value {
    json!({"clusterAffinity": {"clusterNames": clusters},
        "replicaScheduling": {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"}})
}

async fn two_members() -> World {
    members(Timers::default(), &["member1", "member2"]).await
}

async fn members(timers: Timers, names: &[&str]) -> World {
    let w = World::new(timers).await;
    for m in names {
        w.join(m, "100").await;
    }
    w
}

/// The manifest in the Work of `name` for a member.
async fn manifest(w: &World, cluster: &str, kind: &str, name: &str) -> Option<Value> {
    let works = w
        .ns::<Work>(&format!("karmada-es-{cluster}"))
        .list(&Default::default())
        .await
        .unwrap();
    let manifests = works
        .items
        .into_iter()
        .filter(|w| w.metadata.deletion_timestamp.is_none());
    let mut all = manifests.flat_map(|w| w.spec.workload.manifests);
    all.find(|m| m["kind"] == kind && m["metadata"]["name"] == name)
}

async fn condition(w: &World, name: &str) -> Option<(String, String, String)> {
    let status = w.binding(name).await?.status?;
    let c = conditions::get(&status.conditions, SCHEDULED)?;
    Some((c.status.clone(), c.reason.clone(), c.message.clone()))
}

#[tokio::test(start_paused = true)]
async fn overrides_change_a_members_manifest_and_no_other() {
    let w = two_members().await;
    apply(&w.client, json!({"apiVersion": "policy.karmada.io/v1alpha1", "kind": "ClusterOverridePolicy", "metadata": {"name": "all"},
        "spec": {"overrideRules": [{"overriders": {"labelsOverrider": [{"operator": "add", "value": {"from": "cop"}}]}}]}})).await;
    apply(&w.client, json!({"apiVersion": "policy.karmada.io/v1alpha1", "kind": "OverridePolicy",
        "metadata": {"name": "mirror", "namespace": "default"}, "spec": {"resourceSelectors": selects("web"), "overrideRules": [{
            "targetCluster": {"clusterNames": ["member1"]},
            "overriders": {"imageOverrider": [{"component": "Registry", "operator": "replace", "value": "mirror.example"}]}}]}})).await;
    w.deploy("web", 1, "100m").await;
    apply(
        &w.client,
        policy(
            "p",
            json!({"placement": on(&["member1", "member2"]), "resourceSelectors": selects("web")}),
        ),
    )
    .await;
    let image = |c: &'static str| {
        let w = &w;
        async move {
            let m = manifest(w, c, "Deployment", "web").await?;
            let image = m["spec"]["template"]["spec"]["containers"][0]["image"]
                .as_str()?
                .to_owned();
            (m["metadata"]["labels"]["from"] == "cop").then_some(image)
        }
    };
    let (here, _) = eventually("member1's manifest", seconds(3), || image("member1")).await;
    let (there, _) = eventually("member2's manifest", seconds(3), || image("member2")).await;
    assert_eq!((here.as_str(), there.as_str()), ("mirror.example/x:1", "x:1"));
    // Without the policy the manifest is as the template.
    let api: Api<cfn_api::karmada::overrides::OverridePolicy> = w.ns("default");
    api.delete("mirror", &DeleteParams::default()).await.unwrap();
    eventually("the override goes", seconds(3), || async {
        image("member1").await.filter(|i| i == "x:1")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_deployment_names_follows_it_and_goes_with_it() {
    let w = two_members().await;
    let conf: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "conf", "namespace": "default"}, "data": {"a": "1"}}))
            .unwrap();
    w.ns("default").create(&Default::default(), &conf).await.unwrap();
    w.deploy("web", 1, "100m").await;
    let with = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "x:1", "envFrom": [{"configMapRef": {"name": "conf"}}]}]}}}});
    let deployments = w.ns::<Deployment>("default");
    deployments
        .patch("web", &PatchParams::default(), &Patch::Strategic(with))
        .await
        .unwrap();
    apply(
        &w.client,
        policy(
            "p",
            json!({"placement": on(&["member2"]), "propagateDeps": true, "resourceSelectors": selects("web")}),
        ),
    )
    .await;
    eventually("the ConfigMap in member2", seconds(3), || {
        manifest(&w, "member2", "ConfigMap", "conf")
    })
    .await;
    assert_eq!(manifest(&w, "member1", "ConfigMap", "conf").await, None);
    let attached: ResourceBinding = w.ns("default").get("conf-configmap").await.unwrap();
    assert_eq!(attached.spec.required_by[0].name, "web-deployment");
    assert!(
        attached
            .labels()
            .keys()
            .any(|l| l.starts_with("resourcebinding.karmada.io/depended-by-"))
    );
    // It moves with the Deployment ...
    apply(
        &w.client,
        policy(
            "p",
            json!({"placement": on(&["member1"]), "propagateDeps": true, "resourceSelectors": selects("web")}),
        ),
    )
    .await;
    eventually("the ConfigMap in member1", seconds(3), || {
        manifest(&w, "member1", "ConfigMap", "conf")
    })
    .await;
    eventually("and no longer in member2", seconds(3), || async {
        manifest(&w, "member2", "ConfigMap", "conf")
            .await
            .is_none()
            .then_some(())
    })
    .await;
    // ... and goes when nobody needs it.
    let without = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "envFrom": null}]}}}});
    deployments
        .patch("web", &PatchParams::default(), &Patch::Strategic(without))
        .await
        .unwrap();
    eventually("nobody needs it", seconds(5), || async {
        let b: Option<ResourceBinding> = w.ns("default").get_opt("conf-configmap").await.unwrap();
        b.is_none().then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_rebalancer_asks_once_and_tells_what_came_of_it() {
    let w = two_members().await;
    w.deploy("web", 2, "100m").await;
    w.policy("p", weights(&[("member1", 1), ("member2", 1)]), "web").await;
    w.expect("web", &[("member1", 1), ("member2", 1)], seconds(2)).await;
    tokio::time::sleep(seconds(5)).await;
    let before = w.binding("web").await.unwrap().status.unwrap().last_scheduled_time;
    let reference =
        |name: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "namespace": "default"});
    apply(
        &w.client,
        json!({"apiVersion": "apps.karmada.io/v1alpha1", "kind": "WorkloadRebalancer", "metadata": {"name": "r"},
        "spec": {"workloads": [reference("web"), reference("nobody")], "ttlSecondsAfterFinished": 30}}),
    )
    .await;
    let done = || async {
        let r: WorkloadRebalancer = w.all().get_opt("r").await.unwrap()?;
        r.status.filter(|s| s.finish_time.is_some())
    };
    let (status, _) = eventually("finished", seconds(3), done).await;
    let results: Vec<_> = status
        .observed_workloads
        .iter()
        .map(|o| (o.workload.name.as_str(), o.result.as_deref(), o.reason.as_deref()))
        .collect();
    assert_eq!(
        results,
        [
            ("nobody", Some("Failed"), Some("ReferencedBindingNotFound")),
            ("web", Some("Successful"), None)
        ]
    );
    eventually("a new decision", seconds(3), || async {
        let after = w.binding("web").await?.status?.last_scheduled_time;
        (after > before).then_some(())
    })
    .await;
    eventually("gone by itself", seconds(40), || async {
        w.all::<WorkloadRebalancer>()
            .get_opt("r")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn preemption_is_by_gate_priority_and_wish() {
    for (gate, preemption, priority, want) in [
        (true, "Always", 5, "member2"),
        (true, "Always", 1, "member1"),
        (true, "Never", 5, "member1"),
        (false, "Always", 5, "member1"),
    ] {
        let timers = Timers {
            policy_preemption: gate,
            ..Timers::default()
        };
        let w = members(timers, &["member1", "member2"]).await;
        w.deploy("web", 1, "100m").await;
        apply(
            &w.client,
            policy(
                "low",
                json!({"placement": on(&["member1"]), "priority": 1, "resourceSelectors": selects("web")}),
            ),
        )
        .await;
        w.expect("web", &[("member1", 1)], seconds(2)).await;
        let high = json!({"placement": on(&["member2"]), "priority": priority, "preemption": preemption, "resourceSelectors": selects("web")});
        apply(&w.client, policy("high", high)).await;
        tokio::time::sleep(seconds(2)).await;
        assert_eq!(
            w.placed("web").await,
            BTreeMap::from([(want.to_owned(), 1)]),
            "{gate} {preemption} {priority}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn namespaces_go_to_every_member_and_away_again() {
    let w = two_members().await;
    let ns: Namespace = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    w.all().create(&Default::default(), &ns).await.unwrap();
    for m in ["member1", "member2"] {
        eventually("the namespace", seconds(3), || manifest(&w, m, "Namespace", "team")).await;
    }
    // A member that comes later gets it too.
    w.join("member3", "1").await;
    eventually("the namespace", seconds(3), || {
        manifest(&w, "member3", "Namespace", "team")
    })
    .await;
    w.all::<Namespace>()
        .delete("team", &DeleteParams::default())
        .await
        .unwrap();
    eventually("gone", seconds(5), || async {
        manifest(&w, "member1", "Namespace", "team")
            .await
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_over_all_members_holds_and_tells_what_is_used() {
    let w = two_members().await;
    apply(
        &w.client,
        json!({"apiVersion": "policy.karmada.io/v1alpha1", "kind": "FederatedResourceQuota",
        "metadata": {"name": "q", "namespace": "default"}, "spec": {"overall": {"cpu": "3"},
            "staticAssignments": [{"clusterName": "member1", "hard": {"cpu": "2"}}]}}),
    )
    .await;
    eventually("member1's own quota", seconds(3), || {
        manifest(&w, "member1", "ResourceQuota", "q")
    })
    .await;
    w.deploy("a", 2, "1").await;
    w.policy("a", weights(&[("member1", 1), ("member2", 1)]), "a").await;
    w.expect("a", &[("member1", 1), ("member2", 1)], seconds(2)).await;
    w.deploy("b", 2, "1").await;
    w.policy("b", weights(&[("member1", 1), ("member2", 1)]), "b").await;
    let refused = || async { condition(&w, "b").await.filter(|c| c.0 == "False") };
    let ((_, reason, message), _) = eventually("refused", seconds(3), refused).await;
    assert_eq!(reason, "QuotaExceeded");
    assert_eq!(
        message,
        "exceeded quota: q, requested: cpu=2, used: cpu=2, limited: cpu=3"
    );
    let used = || async {
        let q: FederatedResourceQuota = w.ns("default").get("q").await.unwrap();
        q.status
            .and_then(|s| s.overall_used.get("cpu").map(|c| c.0.clone()))
            .filter(|c| c == "2")
    };
    eventually("what is used", seconds(3), used).await;
    // Room comes when the quota grows.
    let more = json!({"spec": {"overall": {"cpu": "4"}}});
    w.ns::<FederatedResourceQuota>("default")
        .patch("q", &PatchParams::default(), &Patch::Merge(more))
        .await
        .unwrap();
    w.expect("b", &[("member1", 1), ("member2", 1)], seconds(3)).await;
}

#[tokio::test(start_paused = true)]
async fn taints_follow_the_conditions_that_a_policy_names() {
    let w = two_members().await;
    apply(
        &w.client,
        json!({"apiVersion": "policy.karmada.io/v1alpha1", "kind": "ClusterTaintPolicy", "metadata": {"name": "t"},
        "spec": {"targetClusters": {"clusterNames": ["member1"]},
            "addOnConditions": [{"conditionType": "NetworkAvailable", "operator": "In", "statusValues": ["False"]}],
            "removeOnConditions": [{"conditionType": "NetworkAvailable", "operator": "In", "statusValues": ["True"]}],
            "taints": [{"key": "network", "effect": "NoSchedule"}]}}),
    )
    .await;
    let network = |value: &'static str| {
        let w = &w;
        async move {
            let mut list = w
                .all::<Cluster>()
                .get("member1")
                .await
                .unwrap()
                .status
                .unwrap()
                .conditions;
            conditions::set(&mut list, "NetworkAvailable", value, "", "", w.clock.now());
            // Ready changes too, as it does when the network goes: that is what is looked at.
            let patch = json!({"status": {"conditions": list}});
            w.all::<Cluster>()
                .patch_status("member1", &PatchParams::default(), &Patch::Merge(patch))
                .await
                .unwrap();
        }
    };
    let tainted = || async {
        let c: Cluster = w.all().get("member1").await.unwrap();
        Some(c.spec.taints.iter().any(|t| t.key == "network"))
    };
    network("False").await;
    eventually("tainted", seconds(3), || async { tainted().await.filter(|t| *t) }).await;
    network("True").await;
    eventually("clean", seconds(3), || async { tainted().await.filter(|t| !*t) }).await;
}

async fn taint(w: &World, cluster: &str, on: bool) {
    let taints = if on {
        json!([{"key": "down", "effect": "NoExecute"}])
    } else {
        json!([])
    };
    let patch = json!({"spec": {"taints": taints}});
    w.all::<Cluster>()
        .patch(cluster, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn eviction_is_direct_graceful_or_never_done() {
    for (mode, kept_at_once, kept_later) in [
        ("Directly", false, false),
        ("Gracefully", true, false),
        ("Never", true, true),
    ] {
        let w = two_members().await;
        w.deploy("web", 1, "1").await;
        let spec = json!({"placement": aggregated(&["member1", "member2"]), "failover": {"cluster": {"purgeMode": mode}}, "resourceSelectors": selects("web")});
        apply(&w.client, policy("p", spec)).await;
        w.expect("web", &[("member1", 1)], seconds(2)).await;
        // The replacement does not get healthy for a while.
        w.sick.lock().unwrap().insert("member2".into());
        taint(&w, "member1", true).await;
        w.expect("web", &[("member2", 1)], seconds(3)).await;
        tokio::time::sleep(seconds(3)).await;
        let kept = manifest(&w, "member1", "Deployment", "web").await.is_some();
        assert_eq!(kept, kept_at_once, "{mode} at once");
        let tasks = w.binding("web").await.unwrap().spec.graceful_eviction_tasks;
        assert_eq!(
            (tasks.len(), tasks[0].reason.as_str(), tasks[0].producer.as_str()),
            (1, "TaintUntolerated", "TaintManager")
        );
        w.sick.lock().unwrap().clear();
        tokio::time::sleep(seconds(10)).await;
        let kept = manifest(&w, "member1", "Deployment", "web").await.is_some();
        assert_eq!(kept, kept_later, "{mode} when the replacement is healthy");
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_that_does_not_get_healthy_moves_with_its_state() {
    let w = two_members().await;
    w.deploy("web", 1, "1").await;
    let application = json!({"decisionConditions": {"tolerationSeconds": 20}, "purgeMode": "Directly",
        "statePreservation": {"rules": [{"aliasLabelName": "was-updated", "jsonPath": "{.updatedReplicas}"}]}});
    let spec = json!({"placement": aggregated(&["member1", "member2"]), "failover": {"application": application}, "resourceSelectors": selects("web")});
    apply(&w.client, policy("p", spec)).await;
    w.expect("web", &[("member1", 1)], seconds(2)).await;
    tokio::time::sleep(seconds(2)).await;
    w.sick.lock().unwrap().insert("member1".into());
    let took = w.expect("web", &[("member2", 1)], seconds(60)).await;
    assert!((seconds(20)..seconds(23)).contains(&took), "{took:?}");
    let (m, _) = eventually("the replacement", seconds(3), || {
        manifest(&w, "member2", "Deployment", "web")
    })
    .await;
    assert_eq!(m["metadata"]["labels"]["was-updated"], "1");
}

#[tokio::test(start_paused = true)]
async fn only_bindings_with_our_schedulers_name_are_ours() {
    let w = two_members().await;
    w.deploy("web", 1, "1").await;
    apply(
        &w.client,
        policy(
            "p",
            json!({"placement": on(&["member1"]), "schedulerName": "another", "resourceSelectors": selects("web")}),
        ),
    )
    .await;
    eventually("a binding", seconds(2), || w.binding("web")).await;
    tokio::time::sleep(seconds(3)).await;
    let b = w.binding("web").await.unwrap();
    assert_eq!((b.spec.clusters.len(), b.status), (0, None));
    apply(&w.client, policy("p", json!({"placement": on(&["member1"]), "schedulerName": "default-scheduler", "resourceSelectors": selects("web")}))).await;
    w.expect("web", &[("member1", 1)], seconds(3)).await;
}

#[tokio::test(start_paused = true)]
async fn the_higher_priority_gets_the_room_first() {
    let w = World::new(Timers::default()).await;
    for (name, value) in [("low", 1), ("high", 100)] {
        apply(&w.client, json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value})).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        w.deploy(name, 1, "60").await;
        let class = json!({"priorityClassSource": "KubePriorityClass", "priorityClassName": name});
        apply(&w.client, policy(name, json!({"placement": aggregated(&["member1"]), "schedulePriority": class, "resourceSelectors": selects(name)}))).await;
        eventually("refused", seconds(3), || async {
            condition(&w, name).await.filter(|c| c.0 == "False")
        })
        .await;
    }
    tokio::time::sleep(seconds(20)).await;
    // Room for one of them.
    w.join("member1", "100").await;
    w.expect("high", &[("member1", 1)], seconds(15)).await;
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(w.placed("low").await, BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn decisions_at_the_same_time_never_give_the_same_room_twice() {
    let w = World::new(Timers::default()).await;
    w.join("member1", "10").await;
    let names: Vec<String> = (0..8).map(|i| format!("w{i}")).collect();
    for n in &names {
        w.deploy(n, 1, "3").await;
    }
    let selectors: Vec<Value> = names
        .iter()
        .flat_map(|n| selects(n).as_array().cloned().unwrap())
        .collect();
    apply(
        &w.client,
        policy(
            "p",
            json!({"placement": aggregated(&["member1"]), "resourceSelectors": selectors}),
        ),
    )
    .await;
    let decided = || async {
        let mut n = (0, 0);
        for name in &names {
            match condition(&w, name).await?.0.as_str() {
                "True" => n.0 += 1,
                _ => n.1 += 1,
            }
        }
        Some(n)
    };
    // The member's summary says 10 free all the time: only what was assumed counts.
    let (n, _) = eventually("all decided", seconds(5), decided).await;
    assert_eq!(n, (3, 5));
}

#[tokio::test(start_paused = true)]
async fn workloads_of_a_group_keep_apart_or_together() {
    let w = members(Timers::default(), &["member1", "member2", "member3"]).await;
    let deploy = async |name: &str, group: &str| {
        w.deploy(name, 1, "1").await;
        let patch = json!({"metadata": {"labels": {"group": group}}});
        w.ns::<Deployment>("default")
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    };
    let mut apart = aggregated(&["member1", "member2"]);
    apart["workloadAffinity"] = json!({"antiAffinity": {"groupByLabelKey": "group"}});
    for n in ["a", "b", "c"] {
        deploy(n, "db").await;
        apply(
            &w.client,
            policy(n, json!({"placement": apart, "resourceSelectors": selects(n)})),
        )
        .await;
        tokio::time::sleep(seconds(1)).await;
    }
    assert_eq!(w.placed("a").await, BTreeMap::from([("member1".to_owned(), 1)]));
    assert_eq!(w.placed("b").await, BTreeMap::from([("member2".to_owned(), 1)]));
    assert_eq!(condition(&w, "c").await.unwrap().1, "NoClusterFit");
    let mut together = aggregated(&["member1", "member2", "member3"]);
    together["workloadAffinity"] = json!({"affinity": {"groupByLabelKey": "group"}});
    deploy("x", "web").await;
    let mut first = aggregated(&["member3"]);
    first["workloadAffinity"] = together["workloadAffinity"].clone();
    apply(
        &w.client,
        policy("x", json!({"placement": first, "resourceSelectors": selects("x")})),
    )
    .await;
    w.expect("x", &[("member3", 1)], seconds(3)).await;
    deploy("y", "web").await;
    apply(
        &w.client,
        policy("y", json!({"placement": together, "resourceSelectors": selects("y")})),
    )
    .await;
    w.expect("y", &[("member3", 1)], seconds(3)).await;
}

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

#[tokio::test(start_paused = true)]
async fn overflow_returns_within_the_budget_when_the_first_group_is_healthy_again() {
    let timers = Timers {
        failback_interval: seconds(100),
        failback_budget: 1,
        default_unreachable_toleration_seconds: 5,
        failover_eviction_timeout: seconds(5),
        ..Timers::default()
    };
    let w = members(timers, &["member1", "member2"]).await;
    let placement = json!({"clusterAffinities": [{"affinityName": "edge", "clusterNames": ["member1"]}, {"affinityName": "cloud", "clusterNames": ["member2"]}],
        "replicaScheduling": {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"}});
    for n in ["a", "b"] {
        w.deploy(n, 1, "1").await;
        let mut p = policy(n, json!({"placement": placement, "resourceSelectors": selects(n)}));
        p["metadata"]["annotations"] = json!({"cfn.akraino.org/affinity-return": "true"});
        apply(&w.client, p).await;
        w.expect(n, &[("member1", 1)], seconds(3)).await;
    }
    w.away.lock().unwrap().insert("member1".into());
    for n in ["a", "b"] {
        w.expect(n, &[("member2", 1)], seconds(120)).await;
    }
    tokio::time::sleep(seconds(60)).await;
    w.away.lock().unwrap().remove("member1");
    let back = || async {
        let mut n = 0;
        for name in ["a", "b"] {
            n += usize::from(w.placed(name).await.contains_key("member1"));
        }
        (n > 0).then_some(n)
    };
    let (n, _) = eventually("the first is back", seconds(120), back).await;
    assert_eq!(n, 1, "one at a time");
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(back().await, Some(1));
    eventually("the second is back", seconds(60), || async {
        back().await.filter(|n| *n == 2)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_suspended_waits() {
    let w = two_members().await;
    w.deploy("web", 1, "1").await;
    let spec = |suspension: Value| json!({"placement": on(&["member1", "member2"]), "suspension": suspension, "resourceSelectors": selects("web")});
    apply(&w.client, policy("p", spec(json!({"scheduling": true})))).await;
    eventually("a binding", seconds(2), || w.binding("web")).await;
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(w.placed("web").await, BTreeMap::new());
    apply(
        &w.client,
        policy(
            "p",
            spec(json!({"dispatchingOnClusters": {"clusterNames": ["member2"]}})),
        ),
    )
    .await;
    let suspended = || async {
        let of = async |c: &str| {
            let w: Option<Work> = w
                .ns(&format!("karmada-es-{c}"))
                .get_opt("web-7b7cc5b9ff")
                .await
                .unwrap();
            w?.spec.suspend_dispatching
        };
        Some((of("member1").await?, of("member2").await?))
    };
    let (s, _) = eventually("Works", seconds(3), suspended).await;
    assert_eq!(s, (false, true));
    let p = w.ns::<PropagationPolicy>("default").get("p").await.unwrap();
    assert_eq!(p.spec.preemption.as_deref(), Some("Never"));
}
