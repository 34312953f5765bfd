//! Leaving a member, and coming back.

use cfn_api::conditions;
use cfn_api::karmada::cluster::Cluster;
use cfn_scheduler::controllers::Timers;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::world::{World, eventually, seconds};
use crate::{aggregated, apply, manifest, members, policy, selects, two_members};

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
async fn replicas_that_no_node_takes_move_when_a_binding_shows_it_after_the_cluster() {
    let timers = Timers {
        descheduler: Some(seconds(5)),
        ..Timers::default()
    };
    let w = members(timers, &["member1", "member2"]).await;
    w.deploy("web", 2, "1").await;
    let spec = json!({"placement": aggregated(&["member1", "member2"]), "resourceSelectors": selects("web")});
    apply(&w.client, policy("p", spec)).await;
    w.expect("web", &[("member1", 2)], seconds(3)).await;
    let ready = || async {
        let b = w.binding("web").await?;
        let item = b.status?.aggregated_status.into_iter().next()?;
        Some(item.status?["readyReplicas"] == 2).filter(|r| *r)
    };
    eventually("ready, as the binding has it", seconds(3), ready).await;
    // One of the two has lost its node, and there is no other: the cluster says so before the Work's status does.
    let full = json!({"status": {
        "resourceSummary": {"allocated": {"cpu": "100"}, "allocatable": {"cpu": "100"}},
        "unschedulable": [{"kind": "Deployment", "namespace": "default", "name": "web", "replicas": 1, "since": w.clock.now().to_string()}]}});
    w.all::<Cluster>()
        .patch_status("member1", &PatchParams::default(), &Patch::Merge(full))
        .await
        .unwrap();
    tokio::time::sleep(seconds(10)).await;
    assert_eq!(
        w.placed("web").await,
        [("member1".to_owned(), 2)].into(),
        "what is ready stays"
    );
    w.sick.lock().unwrap().insert("member1".into());
    w.expect("web", &[("member1", 1), ("member2", 1)], seconds(3)).await;
    // The member's report stands for a while after the decision: it is acted on once.
    tokio::time::sleep(seconds(4)).await;
    assert_eq!(w.placed("web").await.len(), 2);
}
