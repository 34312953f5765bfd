//! A hub with the controllers: an embedded cluster in memory, time is virtual, and each member's agent is played by a
//! task that applies Works by saying so.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cfn_api::cfn::{ComputingMetric, ComputingMetricSpec, ComputingMetricStatus, ComputingPolicy, SiteRtt};
use cfn_api::conditions;
use cfn_api::karmada::cluster::*;
use cfn_api::karmada::policy::PropagationPolicy;
use cfn_api::karmada::work::{ResourceBinding, Work};
use cfn_api::names;
use cfn_apiserver::cluster::{Cluster as Hub, ClusterOptions};
use cfn_net::{Net, Seed, SharedClock, Transport, VirtualClock};
use cfn_scheduler::controllers::{self, Options, Timers};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub struct World {
    pub client: Client,
    pub clock: SharedClock,
    /// Members whose agents are away.
    pub away: Arc<Mutex<BTreeSet<String>>>,
    /// Members in which nothing gets healthy.
    pub sick: Arc<Mutex<BTreeSet<String>>>,
    cancel: CancellationToken,
    pub _hub: Hub,
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Asks until `check` says yes, for at most `bound` of virtual time; returns how long it took.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
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
    pub async fn new(timers: Timers) -> Self {
        Self::with(timers, cfn_api::crds(), |_| {}).await
    }

    /// A hub that serves these kinds, and controllers with other options than usual.
    pub async fn with(timers: Timers, kinds: Vec<CustomResourceDefinition>, change: impl FnOnce(&mut Options)) -> Self {
        let net = Net::new(Transport::Memory, Seed(7));
        net.add_host("hub", "cloud");
        let clock: SharedClock = Arc::new(VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let hub = Hub::start(ClusterOptions {
            controllers: false,
            ..ClusterOptions::new("hub", net, clock.clone(), Seed(7))
        })
        .await
        .unwrap();
        let client = hub.client();
        let crds = Api::all(client.clone());
        for crd in kinds {
            crds.create(&PostParams::default(), &crd).await.unwrap();
        }
        let cancel = CancellationToken::new();
        let (ready, mut is_ready) = tokio::sync::watch::channel(false);
        let mut options = Options {
            client: client.clone(),
            clock: clock.clone(),
            seed: Seed(7),
            timers,
            scheduler_name: "default-scheduler".into(),
            defect: None,
            only_scheduling: false,
            auto_approve: true,
            explain: true,
            ready: Some(ready),
        };
        change(&mut options);
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
            sick: Arc::default(),
            cancel,
            _hub: hub,
        }
    }

    pub fn all<K: kube::Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    pub fn ns<K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>>(
        &self,
        ns: &str,
    ) -> Api<K> {
        Api::namespaced(self.client.clone(), ns)
    }

    pub async fn join(&self, name: &str, cpu: &str) {
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
                ApiEnablement {
                    group_version: "example.io/v1".into(),
                    resources: kinds(&[("trainings", "Training")]),
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
            (self.away.clone(), self.sick.clone()),
            self.cancel.clone(),
        ));
    }

    pub async fn deploy(&self, name: &str, replicas: i32, cpu: &str) {
        let d: Deployment = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "x:1", "resources": {"requests": {"cpu": cpu}}}]}}}
        }))
        .unwrap();
        self.ns("default").create(&PostParams::default(), &d).await.unwrap();
    }

    pub async fn policy(&self, name: &str, placement: Value, deployment: &str) {
        let p: PropagationPolicy = serde_json::from_value(json!({
            "apiVersion": "policy.karmada.io/v1alpha1", "kind": "PropagationPolicy",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"placement": placement, "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment}]}
        }))
        .unwrap();
        self.ns("default").create(&PostParams::default(), &p).await.unwrap();
    }

    pub async fn binding(&self, name: &str) -> Option<ResourceBinding> {
        self.ns::<ResourceBinding>("default")
            .get_opt(&format!("{name}-deployment"))
            .await
            .unwrap()
    }

    /// Replicas per cluster by the binding.
    pub async fn placed(&self, name: &str) -> BTreeMap<String, i32> {
        let b = self.binding(name).await;
        b.map(|b| b.spec.clusters.into_iter().map(|t| (t.name, t.replicas)).collect())
            .unwrap_or_default()
    }

    pub async fn works(&self) -> BTreeMap<String, i64> {
        let list = self.all::<Work>().list(&Default::default()).await.unwrap();
        let replicas = |w: &Work| w.spec.workload.manifests[0]["spec"]["replicas"].as_i64().unwrap_or(0);
        list.items
            .iter()
            .map(|w| (format!("{}/{}", w.namespace().unwrap(), w.name_any()), replicas(w)))
            .collect()
    }

    pub async fn expect(&self, name: &str, want: &[(&str, i32)], bound: Duration) -> Duration {
        let want: BTreeMap<String, i32> = want.iter().map(|(n, r)| ((*n).to_owned(), *r)).collect();
        let what = format!("{name} on {want:?}");
        eventually(&what, bound, || async {
            (self.placed(name).await == want).then_some(())
        })
        .await
        .1
    }

    pub async fn measure(&self, cluster: &str, rtt: &[(&str, f64)], compute: f64) {
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

    pub async fn compute(&self, name: &str, spec: Value) {
        let p: ComputingPolicy =
            serde_json::from_value(json!({"apiVersion": "cfn.akraino.org/v1alpha1", "kind": "ComputingPolicy", "metadata": {"name": name, "namespace": "default"}, "spec": spec})).unwrap();
        self.ns("default").create(&PostParams::default(), &p).await.unwrap();
    }
}

/// Clusters that somebody switched to something.
type Names = Arc<Mutex<BTreeSet<String>>>;

/// Renews the lease, says that Works are applied and their replicas ready, lets go of those that are deleted.
async fn agent(
    client: Client,
    clock: SharedClock,
    name: String,
    (away, sick): (Names, Names),
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
            let ill = sick.lock().unwrap().contains(&name);
            let health = if ill { "Unhealthy" } else { "Healthy" };
            let ready = if ill { 0 } else { n };
            let status = json!({"conditions": conditions, "manifestStatuses": [{
                "identifier": {"ordinal": 0, "group": "apps", "version": "v1", "kind": m["kind"], "resource": "", "namespace": "default", "name": m["metadata"]["name"]},
                "health": health,
                "status": {"replicas": n, "readyReplicas": ready, "updatedReplicas": n, "availableReplicas": ready},
            }]});
            let same = w.status.as_ref().is_some_and(|s| {
                let first = s.manifest_statuses.first();
                first.is_some_and(|m| m.health.as_deref() == Some(health))
                    && first
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

pub fn weights(list: &[(&str, i64)]) -> Value {
    let rules: Vec<Value> = list
        .iter()
        .map(|(n, w)| json!({"targetCluster": {"clusterNames": [n]}, "weight": w}))
        .collect();
    json!({
        "clusterAffinity": {"clusterNames": list.iter().map(|(n, _)| n).collect::<Vec<_>>()},
        "replicaScheduling": {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted", "weightPreference": {"staticWeightList": rules}},
    })
}
