//! The controllers end to end: placing, failing over, leaving, joining.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod world;

use std::collections::BTreeMap;

use cfn_api::conditions;
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::policy::PropagationPolicy;
use cfn_api::karmada::work::{SCHEDULED, Work};
use cfn_api::names;
use cfn_scheduler::controllers::Timers;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use world::{World, eventually, seconds, weights};

#[tokio::test(start_paused = true)]
async fn a_policy_places_a_deployment_and_its_status_comes_back() {
    let w = World::new(Timers::default()).await;
    w.join("member1", "100").await;
    w.join("member2", "100").await;
    w.deploy("sentiment", 2, "100m").await;
    w.policy("p", weights(&[("member1", 1), ("member2", 1)]), "sentiment")
        .await;
    w.expect("sentiment", &[("member1", 1), ("member2", 1)], seconds(2))
        .await;
    let ready = || async {
        let d = w.ns::<Deployment>("default").get("sentiment").await.unwrap();
        d.status.filter(|s| s.ready_replicas == Some(2))
    };
    eventually("two ready replicas on the template", seconds(3), ready).await;
    assert_eq!(
        w.works().await,
        BTreeMap::from([
            ("karmada-es-member1/sentiment-69c7498f4b".to_owned(), 1),
            ("karmada-es-member2/sentiment-69c7498f4b".to_owned(), 1)
        ])
    );
    let b = w.binding("sentiment").await.unwrap();
    let status = b.status.clone().unwrap();
    assert!(conditions::is_true(&status.conditions, SCHEDULED));
    assert!(conditions::is_true(&status.conditions, "FullyApplied"));
    assert_eq!(status.scheduler_observed_generation, b.metadata.generation);
    assert_eq!(
        b.annotations()[names::APPLIED_PLACEMENT],
        r#"{"clusterAffinity":{"clusterNames":["member1","member2"]},"replicaScheduling":{"replicaSchedulingType":"Divided","replicaDivisionPreference":"Weighted","weightPreference":{"staticWeightList":[{"targetCluster":{"clusterNames":["member1"]},"weight":1},{"targetCluster":{"clusterNames":["member2"]},"weight":1}]}}}"#
    );
    // Scaling the template rescales the Works.
    w.ns::<Deployment>("default")
        .patch(
            "sentiment",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": 5}})),
        )
        .await
        .unwrap();
    let sum = || async { (w.works().await.values().sum::<i64>() == 5).then_some(()) };
    eventually("five replicas in the Works", seconds(2), sum).await;
    // Without the policy the binding stays; without the template nothing does.
    w.ns::<PropagationPolicy>("default")
        .delete("p", &DeleteParams::default())
        .await
        .unwrap();
    let released = || async {
        let d = w.ns::<Deployment>("default").get("sentiment").await.unwrap();
        (!d.labels().contains_key(names::PROPAGATION_POLICY_ID)).then_some(())
    };
    eventually("the claim is taken back", seconds(2), released).await;
    assert_eq!(w.works().await.len(), 2);
    w.ns::<Deployment>("default")
        .delete("sentiment", &DeleteParams::default())
        .await
        .unwrap();
    let empty = || async { (w.binding("sentiment").await.is_none() && w.works().await.is_empty()).then_some(()) };
    eventually("binding and Works are gone", seconds(5), empty).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_cluster_is_left_after_the_timers_of_1_4_and_nothing_is_doubled_after_the_heal() {
    let w = World::new(Timers::default()).await;
    w.join("member1", "100").await;
    w.join("member2", "100").await;
    w.deploy("sentiment", 2, "100m").await;
    w.policy("p", weights(&[("member1", 1), ("member2", 1)]), "sentiment")
        .await;
    w.expect("sentiment", &[("member1", 1), ("member2", 1)], seconds(2))
        .await;
    tokio::time::sleep(seconds(20)).await;
    w.away.lock().unwrap().insert("member1".into());
    let took = w.expect("sentiment", &[("member2", 2)], seconds(800)).await;
    // 40 s without a lease (up to 10 s of them before the cut), 300 s, 300 s.
    assert!((seconds(625)..=seconds(645)).contains(&took), "{took:?}");
    // The replacement is healthy, so the lost cluster's Work is asked away; the agent is not there to let go of it.
    let purged = || async {
        let w = w
            .ns::<Work>("karmada-es-member1")
            .get_opt("sentiment-69c7498f4b")
            .await
            .unwrap();
        w.is_none_or(|w| w.metadata.deletion_timestamp.is_some()).then_some(())
    };
    eventually("the stale Work is deleted", seconds(60), purged).await;
    w.away.lock().unwrap().remove("member1");
    let healed = || async {
        let c = w.all::<Cluster>().get("member1").await.unwrap();
        c.spec.taints.is_empty().then_some(())
    };
    eventually("the taints go", seconds(60), healed).await;
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(w.placed("sentiment").await, BTreeMap::from([("member2".to_owned(), 2)]));
    assert_eq!(
        w.works().await,
        BTreeMap::from([("karmada-es-member2/sentiment-69c7498f4b".to_owned(), 2)])
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_leaves_leaves_nothing_behind() {
    let w = World::new(Timers::default()).await;
    w.join("member1", "100").await;
    w.join("member2", "100").await;
    w.deploy("web", 2, "100m").await;
    w.policy("p", json!({}), "web").await;
    w.expect("web", &[("member1", 2), ("member2", 2)], seconds(2)).await;
    w.all::<Cluster>()
        .delete("member1", &DeleteParams::default())
        .await
        .unwrap();
    let gone = || async {
        w.all::<Cluster>()
            .get_opt("member1")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    };
    eventually("the cluster is gone", seconds(90), gone).await;
    assert_eq!(w.placed("web").await, BTreeMap::from([("member2".to_owned(), 2)]));
    assert_eq!(w.works().await.len(), 1);
    assert!(
        w.ns::<Lease>(names::LEASE_NAMESPACE)
            .get_opt("member1")
            .await
            .unwrap()
            .is_none()
    );
    w.join("member1", "100").await;
    w.expect("web", &[("member1", 2), ("member2", 2)], seconds(5)).await;
}

#[tokio::test(start_paused = true)]
async fn the_joint_objective_picks_the_site_within_the_budget() {
    let w = World::new(Timers::default()).await;
    for (name, network, compute) in [("site1", 9.0, 4.0), ("site2", 4.0, 10.0), ("site3", 5.0, 5.0)] {
        w.join(name, "100").await;
        w.measure(name, &[("client", 9.4 + network)], compute).await;
    }
    for (name, objective, site, total) in [
        ("joint", "Joint", "site3", 19.4),
        ("cpu", "Compute", "site1", 22.4),
        ("net", "Network", "site2", 23.4),
    ] {
        let spec = json!({"targetRefs": [{"group": "apps", "kind": "Deployment", "name": name}], "objective": objective,
            "latency": {"clients": [{"site": "client"}], "budget": "20ms"}});
        w.compute(name, spec).await;
        w.deploy(name, 1, "100m").await;
        w.policy(name, json!({}), name).await;
        w.expect(name, &[(site, 1)], seconds(2)).await;
        let told = || async {
            w.binding(name)
                .await?
                .status
                .map(|s| s.explanation)
                .filter(|e| !e.is_empty())
        };
        let (e, _) = eventually("the reasons", seconds(2), told).await;
        let chosen = e.iter().find(|e| e.replicas.is_some()).unwrap();
        let latency = chosen.latency.clone().unwrap();
        assert!((latency.total - total).abs() < 1e-9, "{latency:?}");
        assert_eq!(chosen.note.is_some(), total > 20.0, "{chosen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn entertainment_leaves_a_full_edge_before_driving_does() {
    let w = World::new(Timers::default()).await;
    for (name, network) in [("near", 2.0), ("far", 10.0)] {
        w.join(name, "4").await;
        w.measure(name, &[("road", network)], 1.0).await;
    }
    let spec = |name: &str, task: &str| {
        json!({"targetRefs": [{"group": "apps", "kind": "Deployment", "name": name}], "taskType": task,
        "latency": {"clients": [{"site": "road"}], "budget": "50ms"}})
    };
    w.compute("film", spec("film", "Interactive")).await;
    w.compute("drive", spec("drive", "V2X")).await;
    w.deploy("film", 4, "1").await;
    w.policy("film", json!({}), "film").await;
    w.expect("film", &[("near", 4)], seconds(2)).await;
    // The film runs there, and the cluster's summary says so.
    let runs = || async {
        let status = w.binding("film").await?.status?;
        status
            .aggregated_status
            .first()?
            .status
            .as_ref()
            .filter(|s| s["replicas"] == 4)
            .map(|_| ())
    };
    eventually("the film runs", seconds(3), runs).await;
    let full = json!({"status": {"resourceSummary": {"allocated": {"cpu": "4", "pods": "4"}}}});
    w.all::<Cluster>()
        .patch_status("near", &PatchParams::default(), &Patch::Merge(full))
        .await
        .unwrap();
    w.deploy("drive", 3, "1").await;
    w.policy("drive", json!({}), "drive").await;
    w.expect("drive", &[("near", 3)], seconds(2)).await;
    w.expect("film", &[("far", 3), ("near", 1)], seconds(2)).await;
}

#[tokio::test(start_paused = true)]
async fn what_fits_nowhere_is_placed_when_room_comes() {
    let w = World::new(Timers::default()).await;
    w.join("member1", "2").await;
    w.deploy("big", 4, "1").await;
    let placement =
        json!({"replicaScheduling": {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"}});
    w.policy("p", placement, "big").await;
    let refused = || async {
        let status = w.binding("big").await?.status?;
        let c = conditions::get(&status.conditions, SCHEDULED)?.clone();
        (c.status == "False").then_some(c)
    };
    let (condition, _) = eventually("refused", seconds(2), refused).await;
    assert_eq!(condition.reason, "Unschedulable");
    assert_eq!(
        condition.message,
        "failed to assign replicas: failed to scale up: Clusters available replicas 2 are not enough to schedule."
    );
    w.join("member2", "3").await;
    w.expect("big", &[("member1", 2), ("member2", 2)], seconds(5)).await;
}

#[tokio::test(start_paused = true)]
async fn with_nowhere_else_to_go_a_deployment_stays_with_the_cluster_that_comes_back() {
    let timers = Timers {
        failover_eviction_timeout: seconds(5),
        default_unreachable_toleration_seconds: 5,
        ..Timers::default()
    };
    let w = World::new(timers).await;
    w.join("member1", "100").await;
    w.deploy("web", 2, "100m").await;
    w.policy("p", weights(&[("member1", 1)]), "web").await;
    w.expect("web", &[("member1", 2)], seconds(2)).await;
    let work = w.ns::<Work>("karmada-es-member1").get("web-7b7cc5b9ff").await.unwrap();
    w.away.lock().unwrap().insert("member1".into());
    w.expect("web", &[], seconds(100)).await;
    w.away.lock().unwrap().remove("member1");
    w.expect("web", &[("member1", 2)], seconds(60)).await;
    let again = w.ns::<Work>("karmada-es-member1").get("web-7b7cc5b9ff").await.unwrap();
    assert_eq!((again.uid(), again.metadata.deletion_timestamp), (work.uid(), None));
    assert!(w.binding("web").await.unwrap().spec.graceful_eviction_tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_accepted_by_its_request_and_reaches_only_its_own() {
    let w = World::new(Timers::default()).await;
    let (user, groups) = (names::agent_user("member1"), [names::AGENT_GROUP.to_owned()]);
    let request = cfn_net::pki::signing_request(&user, &groups).unwrap().0;
    let of_group = |group: &str| {
        let made = cfn_net::pki::signing_request(&names::agent_user("member2"), &[group.to_owned()]);
        made.unwrap().0
    };
    let joining = w._hub.client_as(
        "system:bootstrap:x",
        &["system:bootstrappers".to_owned(), "system:authenticated".to_owned()],
    );
    let requests: Api<CertificateSigningRequest> = Api::all(joining);
    let asked = [
        ("one", request, true),
        ("two", of_group("others"), true),
        // Nobody may ask to be master of all.
        ("three", of_group("system:masters"), false),
    ];
    for (name, pem, taken) in asked {
        let csr: CertificateSigningRequest = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
            "request": k8s_openapi::ByteString(pem.into_bytes()), "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}}))
        .unwrap();
        let answer = requests.create(&PostParams::default(), &csr).await;
        assert_eq!(answer.is_ok(), taken, "{name}: {answer:?}");
    }
    let approved = |name: &'static str| {
        let api = w.all::<CertificateSigningRequest>();
        async move {
            let csr = api.get(name).await.unwrap();
            csr.status?
                .conditions?
                .iter()
                .any(|c| c.type_ == "Approved")
                .then_some(())
        }
    };
    eventually("the agent is accepted", seconds(2), || approved("one")).await;
    assert_eq!(approved("two").await, None);
    w.join("member1", "1").await;
    w.join("member2", "1").await;
    tokio::time::sleep(seconds(1)).await;
    let agent = w
        ._hub
        .client_as(&user, &[groups[0].clone(), "system:authenticated".to_owned()]);
    let (clusters, works) = (Api::<Cluster>::all(agent.clone()), |ns| {
        Api::<Work>::namespaced(agent.clone(), ns)
    });
    assert!(clusters.get("member1").await.is_ok());
    assert!(works("karmada-es-member1").list(&Default::default()).await.is_ok());
    assert!(
        Api::<Lease>::namespaced(agent.clone(), names::LEASE_NAMESPACE)
            .get("member1")
            .await
            .is_ok()
    );
    let forbidden = |e: kube::Error| matches!(e, kube::Error::Api(s) if s.code == 403);
    assert!(forbidden(clusters.get("member2").await.unwrap_err()));
    assert!(forbidden(clusters.list(&Default::default()).await.unwrap_err()));
    assert!(forbidden(
        works("karmada-es-member2").list(&Default::default()).await.unwrap_err()
    ));
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::all(agent.clone());
    assert!(forbidden(secrets.list(&Default::default()).await.unwrap_err()));
}
