//! What decides about a placement beside the clusters.

use std::collections::BTreeMap;
use std::time::Duration;

use cfn_api::karmada::apps::WorkloadRebalancer;
use cfn_api::karmada::quota::FederatedResourceQuota;
use cfn_scheduler::controllers::Timers;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::{World, eventually, seconds, weights};
use crate::{aggregated, apply, condition, manifest, members, policy, selects, two_members};

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
