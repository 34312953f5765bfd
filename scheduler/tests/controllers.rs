//! The controllers end to end: an embedded cluster in memory is the hub, time is virtual, and each member's agent is
//! played by a task that applies Works by saying so.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cfn_api::cfn::{ComputingMetric, ComputingMetricSpec, ComputingMetricStatus, ComputingPolicy, SiteRtt};
use cfn_api::conditions;
use cfn_api::karmada::cluster::*;
use cfn_api::karmada::policy::PropagationPolicy;
use cfn_api::karmada::work::{ResourceBinding, SCHEDULED, Work};
use cfn_api::names;
use cfn_apiserver::cluster::{Cluster as Hub, ClusterOptions};
use cfn_net::{Net, Seed, SharedClock, Transport, VirtualClock};
use cfn_scheduler::controllers::{self, Options, Timers};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

struct World {
    client: Client,
    clock: SharedClock,
    /// Members whose agents are away.
    away: Arc<Mutex<BTreeSet<String>>>,
    cancel: CancellationToken,
    _hub: Hub,
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Asks until `check` says yes, for at most `bound` of virtual time; returns how long it took.
async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    bound: Duration,
    check: impl Fn() -> F,
) -> (T, Duration) {
    let start = tokio::time::Instant::now();
    loop {
        if let Some(t) = check().await {
            return (t, start.elapsed());
        }
        assert!(start.elapsed() < bound, "{what}: not within {bound:?}");
        // A long wait is looked at less often: virtual time is free, requests are not.
        tokio::time::sleep((bound / 100).max(Duration::from_millis(50)).min(seconds(1))).await;
    }
}

impl World {
    async fn new(timers: Timers) -> Self {
        let net = Net::new(Transport::Memory, Seed(7));
        net.add_host("hub", "cloud");
        let clock: SharedClock = Arc::new(VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let hub = Hub::start(ClusterOptions {
            name: "hub".into(),
            net,
            clock: clock.clone(),
            seed: Seed(7),
            host: "hub".into(),
            port: 6443,
            socket: None,
            extra_sans: vec![],
            timers: Default::default(),
            workloads: Default::default(),
            controllers: false,
            allow_anonymous_health: true,
            bootstrap_token: String::new(),
        })
        .await
        .unwrap();
        let client = hub.client();
        let crds = Api::all(client.clone());
        for crd in cfn_api::crds() {
            crds.create(&PostParams::default(), &crd).await.unwrap();
        }
        let cancel = CancellationToken::new();
        let (ready, mut is_ready) = tokio::sync::watch::channel(false);
        let options = Options {
            client: client.clone(),
            clock: clock.clone(),
            seed: Seed(7),
            timers,
            scheduler_name: "default-scheduler".into(),
            defect: None,
            auto_approve: true,
            ready: Some(ready),
        };
        let run = controllers::run(options, cancel.clone());
        tokio::spawn(async move { run.await.unwrap() });
        tokio::time::timeout(seconds(10), is_ready.wait_for(|r| *r))
            .await
            .expect("ready")
            .unwrap();
        Self {
            client,
            clock,
            away: Arc::default(),
            cancel,
            _hub: hub,
        }
    }

    fn all<K: kube::Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    fn ns<K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>>(&self, ns: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), ns)
    }

    async fn join(&self, name: &str, cpu: &str) {
        let mut c = Cluster::new(
            name,
            ClusterSpec {
                sync_mode: SyncMode::Pull,
                region: Some("r".into()),
                ..Default::default()
            },
        );
        c.metadata.labels = Some(BTreeMap::from([("tier".to_owned(), "edge".to_owned())]));
        self.all().create(&PostParams::default(), &c).await.unwrap();
        let mut conditions = Vec::new();
        conditions::set(&mut conditions, READY, "True", "ClusterReady", "", self.clock.now());
        conditions::set(
            &mut conditions,
            COMPLETE_API_ENABLEMENTS,
            "True",
            "",
            "",
            self.clock.now(),
        );
        let kinds = |l: &[(&str, &str)]| {
            l.iter()
                .map(|(n, k)| ApiResourceKind {
                    name: (*n).into(),
                    kind: (*k).into(),
                })
                .collect()
        };
        let status = ClusterStatus {
            conditions,
            api_enablements: vec![
                ApiEnablement {
                    group_version: "apps/v1".into(),
                    resources: kinds(&[("deployments", "Deployment")]),
                },
                ApiEnablement {
                    group_version: "v1".into(),
                    resources: kinds(&[("configmaps", "ConfigMap")]),
                },
            ],
            resource_summary: Some(ResourceSummary {
                allocatable: [("cpu", cpu), ("memory", "100Gi"), ("pods", "110")]
                    .map(|(k, v)| (k.to_owned(), Quantity(v.into())))
                    .into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.all::<Cluster>()
            .patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": status})))
            .await
            .unwrap();
        tokio::spawn(agent(
            self.client.clone(),
            self.clock.clone(),
            name.to_owned(),
            self.away.clone(),
            self.cancel.clone(),
        ));
    }

    async fn deploy(&self, name: &str, replicas: i32, cpu: &str) {
        let d: Deployment = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "x:1", "resources": {"requests": {"cpu": cpu}}}]}}}
        }))
        .unwrap();
        self.ns("default").create(&PostParams::default(), &d).await.unwrap();
    }

    async fn policy(&self, name: &str, placement: Value, deployment: &str) {
        let p: PropagationPolicy = serde_json::from_value(json!({
            "apiVersion": "policy.karmada.io/v1alpha1", "kind": "PropagationPolicy",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"placement": placement, "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment}]}
        }))
        .unwrap();
        self.ns("default").create(&PostParams::default(), &p).await.unwrap();
    }

    async fn binding(&self, name: &str) -> Option<ResourceBinding> {
        self.ns::<ResourceBinding>("default")
            .get_opt(&format!("{name}-deployment"))
            .await
            .unwrap()
    }

    /// Replicas per cluster by the binding.
    async fn placed(&self, name: &str) -> BTreeMap<String, i32> {
        let b = self.binding(name).await;
        b.map(|b| b.spec.clusters.into_iter().map(|t| (t.name, t.replicas)).collect())
            .unwrap_or_default()
    }

    async fn works(&self) -> BTreeMap<String, i64> {
        let list = self.all::<Work>().list(&Default::default()).await.unwrap();
        let replicas = |w: &Work| w.spec.workload.manifests[0]["spec"]["replicas"].as_i64().unwrap_or(0);
        list.items
            .iter()
            .map(|w| (format!("{}/{}", w.namespace().unwrap(), w.name_any()), replicas(w)))
            .collect()
    }

    async fn expect(&self, name: &str, want: &[(&str, i32)], bound: Duration) -> Duration {
        let want: BTreeMap<String, i32> = want.iter().map(|(n, r)| ((*n).to_owned(), *r)).collect();
        let what = format!("{name} on {want:?}");
        eventually(&what, bound, || async {
            (self.placed(name).await == want).then_some(())
        })
        .await
        .1
    }

    async fn measure(&self, cluster: &str, rtt: &[(&str, f64)], compute: f64) {
        let api = self.all::<ComputingMetric>();
        if api.get_opt(cluster).await.unwrap().is_none() {
            let spec = ComputingMetricSpec {
                cluster: cluster.into(),
                site: cluster.into(),
            };
            api.create(&PostParams::default(), &ComputingMetric::new(cluster, spec))
                .await
                .unwrap();
        }
        let mut status = ComputingMetricStatus::default();
        status.l0.compute.service_time_milliseconds = compute;
        status.l0.rtt = rtt
            .iter()
            .map(|(s, ms)| SiteRtt {
                site: (*s).into(),
                milliseconds: *ms,
                samples: 9,
                ..Default::default()
            })
            .collect();
        api.patch_status(
            cluster,
            &PatchParams::default(),
            &Patch::Merge(json!({"status": status})),
        )
        .await
        .unwrap();
    }

    async fn compute(&self, name: &str, spec: Value) {
        let p: ComputingPolicy =
            serde_json::from_value(json!({"apiVersion": "cfn.akraino.org/v1alpha1", "kind": "ComputingPolicy", "metadata": {"name": name, "namespace": "default"}, "spec": spec})).unwrap();
        self.ns("default").create(&PostParams::default(), &p).await.unwrap();
    }
}

/// Renews the lease, says that Works are applied and their replicas ready, lets go of those that are deleted.
async fn agent(
    client: Client,
    clock: SharedClock,
    name: String,
    away: Arc<Mutex<BTreeSet<String>>>,
    cancel: CancellationToken,
) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), names::LEASE_NAMESPACE);
    let lease: Lease =
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}})).unwrap();
    let _ = leases.create(&PostParams::default(), &lease).await;
    let works: Api<Work> = Api::namespaced(client.clone(), &names::execution_namespace(&name));
    let clusters: Api<Cluster> = Api::all(client.clone());
    let params = PatchParams::default();
    let mut beat = 0_u32;
    while !cancel.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if away.lock().unwrap().contains(&name) {
            continue;
        }
        if beat.is_multiple_of(20) {
            let patch = json!({"spec": {"renewTime": MicroTime(clock.now())}});
            let _ = leases.patch(&name, &params, &Patch::Merge(patch)).await;
            if let Ok(c) = clusters.get(&name).await {
                let mut list = c.status.unwrap_or_default().conditions;
                if conditions::set(&mut list, READY, "True", "ClusterReady", "", clock.now()) {
                    let _ = clusters
                        .patch_status(&name, &params, &Patch::Merge(json!({"status": {"conditions": list}})))
                        .await;
                }
            }
        }
        beat += 1;
        for w in works
            .list(&Default::default())
            .await
            .map(|l| l.items)
            .unwrap_or_default()
        {
            if w.metadata.deletion_timestamp.is_some() {
                let _ = works
                    .patch(
                        &w.name_any(),
                        &params,
                        &Patch::Merge(json!({"metadata": {"finalizers": null}})),
                    )
                    .await;
                continue;
            }
            let n = w.spec.workload.manifests[0]["spec"]["replicas"].as_i64().unwrap_or(0);
            let mut conditions = w.status.clone().unwrap_or_default().conditions;
            conditions::set(
                &mut conditions,
                "Applied",
                "True",
                "AppliedSuccessful",
                "Manifest has been successfully applied",
                clock.now(),
            );
            let m = &w.spec.workload.manifests[0];
            let status = json!({"conditions": conditions, "manifestStatuses": [{
                "identifier": {"ordinal": 0, "group": "apps", "version": "v1", "kind": m["kind"], "resource": "", "namespace": "default", "name": m["metadata"]["name"]},
                "health": "Healthy",
                "status": {"replicas": n, "readyReplicas": n, "updatedReplicas": n, "availableReplicas": n},
            }]});
            let same = w.status.as_ref().is_some_and(|s| {
                s.manifest_statuses
                    .first()
                    .and_then(|m| m.status.as_ref())
                    .is_some_and(|s| s["replicas"] == n)
            });
            if !same {
                let _ = works
                    .patch_status(&w.name_any(), &params, &Patch::Merge(json!({"status": status})))
                    .await;
            }
        }
    }
}

fn weights(list: &[(&str, i64)]) -> Value {
    let rules: Vec<Value> = list
        .iter()
        .map(|(n, w)| json!({"targetCluster": {"clusterNames": [n]}, "weight": w}))
        .collect();
    json!({
        "clusterAffinity": {"clusterNames": list.iter().map(|(n, _)| n).collect::<Vec<_>>()},
        "replicaScheduling": {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted", "weightPreference": {"staticWeightList": rules}},
    })
}

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
        let b = w.binding(name).await.unwrap();
        let e = b.status.unwrap().explanation;
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
    let stranger = cfn_net::pki::signing_request(&names::agent_user("member2"), &["system:masters".to_owned()])
        .unwrap()
        .0;
    let joining = w._hub.client_as(
        "system:bootstrap:x",
        &["system:bootstrappers".to_owned(), "system:authenticated".to_owned()],
    );
    let requests: Api<CertificateSigningRequest> = Api::all(joining);
    for (name, pem) in [("one", request), ("two", stranger)] {
        let csr: CertificateSigningRequest = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
            "request": k8s_openapi::ByteString(pem.into_bytes()), "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}}))
        .unwrap();
        requests.create(&PostParams::default(), &csr).await.unwrap();
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
