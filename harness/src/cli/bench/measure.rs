//! What is measured, over clients of a hub and its members: the same against any hub that serves Karmada's APIs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cfn_api::conditions;
use cfn_api::karmada::cluster::{Cluster, READY};
use cfn_api::karmada::policy::PropagationPolicy;
use cfn_api::karmada::work::{APPLIED, ResourceBinding, Work};
use cfn_api::names;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Everything that a run makes has this label.
const LABEL: &str = "cfn.akraino.org/bench";
/// Namespace on hub and members.
const NAMESPACE: &str = "cfn-bench";
/// Requests in flight while objects are made.
const PARALLEL: usize = 64;

/// A hub and the members that take part.
pub struct Bed {
    /// The hub.
    pub hub: kube::Client,
    /// The members by name.
    pub members: BTreeMap<String, kube::Client>,
}

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// An API server said no.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// It cannot be spoken to, or ended a connection.
    #[error("{what}: {why}")]
    Connection {
        /// What was asked for.
        what: String,
        /// The reason.
        why: std::io::Error,
    },
    /// It answered something else than was asked for.
    #[error("{what}: answered {status}: {body}")]
    Answered {
        /// What was asked for.
        what: String,
        /// The answer's status.
        status: http::StatusCode,
        /// The answer.
        body: String,
    },
    /// It took too long.
    #[error("{what}: not within {bound:?} ({seen})")]
    Late {
        /// What was awaited.
        what: String,
        /// For how long.
        bound: Duration,
        /// What was there then.
        seen: String,
    },
}

/// Requests that an API server answered, by `VERB resource code`.
pub type Requests = BTreeMap<String, u64>;

fn deployment(name: &str, group: &str, replicas: i32) -> Deployment {
    let labels = json!({"app": name, LABEL: group});
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": labels, "annotations": {"cfn.akraino.org/start-after": "0s"}},
            "spec": {"containers": [{"name": "c", "image": "registry.example/bench:1",
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}]}}}
    }))
    .unwrap_or_default()
}

fn policy(name: &str, group: &str, clusters: &[String], weighted: bool) -> PropagationPolicy {
    let mut placement = json!({"clusterAffinity": {"clusterNames": clusters}});
    if weighted {
        let weights: Vec<Value> = clusters
            .iter()
            .map(|c| json!({"targetCluster": {"clusterNames": [c]}, "weight": 1}))
            .collect();
        placement["replicaScheduling"] = json!({"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted",
            "weightPreference": {"staticWeightList": weights}});
    }
    serde_json::from_value(json!({
        "apiVersion": "policy.karmada.io/v1alpha1", "kind": "PropagationPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {LABEL: group}},
        "spec": {"placement": placement, "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment",
            "labelSelector": {"matchLabels": {LABEL: group}}}]}
    }))
    .unwrap_or_else(|_| PropagationPolicy::new(name, Default::default()))
}

/// Waits until `done` says so of all objects of a kind, told of every change; returns when that was.
async fn until<K>(
    api: Api<K>,
    labels: &str,
    what: &str,
    bound: Duration,
    mut done: impl FnMut(&BTreeMap<String, K>) -> bool,
) -> Result<Instant, BenchError>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let config = if labels.is_empty() {
        watcher::Config::default()
    } else {
        watcher::Config::default().labels(labels)
    };
    let mut events = std::pin::pin!(cfn_net::watch::watch(api, config));
    let mut all: BTreeMap<String, K> = BTreeMap::new();
    let end = Instant::now() + bound;
    let key = |o: &K| format!("{}/{}", o.meta().namespace.as_deref().unwrap_or_default(), o.name_any());
    loop {
        match tokio::time::timeout_at(end, events.next()).await {
            Ok(Some(Ok(watcher::Event::Apply(o) | watcher::Event::InitApply(o)))) => {
                all.insert(key(&o), o);
            }
            Ok(Some(Ok(watcher::Event::Delete(o)))) => {
                all.remove(&key(&o));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                return Err(BenchError::Late {
                    what: what.to_owned(),
                    bound,
                    seen: format!("{} objects", all.len()),
                });
            }
        }
        if done(&all) {
            return Ok(Instant::now());
        }
    }
}

fn add(sum: &mut Requests, more: Requests) {
    for (what, n) in more {
        *sum.entry(what).or_default() += n;
    }
}

fn applied(w: &Work) -> bool {
    w.status
        .as_ref()
        .is_some_and(|s| conditions::is_true(&s.conditions, APPLIED))
}

impl Bed {
    /// The namespace that everything is in, on the hub and (by way of the hub, or by hand) in the members.
    ///
    /// # Errors
    /// When an API server refuses.
    pub async fn prepare(&self) -> Result<(), BenchError> {
        let ns: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap_or_default();
        for client in self.members.values().chain([&self.hub]) {
            match Api::<Namespace>::all(client.clone())
                .create(&PostParams::default(), &ns)
                .await
            {
                Err(kube::Error::Api(s)) if s.code == 409 => {}
                other => {
                    other?;
                }
            }
        }
        Ok(())
    }

    /// Removes everything of a group and waits until its Works are gone.
    ///
    /// # Errors
    /// When an API server refuses, or something does not go.
    pub async fn clean(&self, group: &str) -> Result<(), BenchError> {
        let labels = format!("{LABEL}={group}");
        let list = ListParams::default().labels(&labels);
        let policies: Api<PropagationPolicy> = Api::namespaced(self.hub.clone(), NAMESPACE);
        policies.delete_collection(&DeleteParams::default(), &list).await?;
        let deployments: Api<Deployment> = Api::namespaced(self.hub.clone(), NAMESPACE);
        deployments.delete_collection(&DeleteParams::default(), &list).await?;
        let bindings: Api<ResourceBinding> = Api::namespaced(self.hub.clone(), NAMESPACE);
        until(
            bindings,
            "",
            "bindings gone",
            Duration::from_secs(120),
            BTreeMap::is_empty,
        )
        .await?;
        let works: Api<Work> = Api::all(self.hub.clone());
        let ours = |w: &Work| {
            w.annotations()
                .get(names::RESOURCE_BINDING_NAMESPACE)
                .is_some_and(|n| n == NAMESPACE)
        };
        until(works, "", "Works gone", Duration::from_secs(120), |all| {
            !all.values().any(ours)
        })
        .await?;
        Ok(())
    }

    /// From the creation of a policy until the pods of a Deployment run in both of two members, each time anew.
    ///
    /// # Errors
    /// When an API server refuses, or nothing runs.
    pub async fn latency(&self, times: usize) -> Result<Vec<Duration>, BenchError> {
        let clusters: Vec<String> = self.members.keys().take(2).cloned().collect();
        let mut all = Vec::new();
        for i in 0..times {
            let group = format!("latency-{i}");
            let deployments: Api<Deployment> = Api::namespaced(self.hub.clone(), NAMESPACE);
            deployments
                .create(&PostParams::default(), &deployment(&group, &group, 2))
                .await?;
            // Whoever watches Deployments has seen it; the members' watches below are open.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let running = clusters.iter().map(|c| {
                let pods: Api<Pod> = Api::namespaced(self.members[c].clone(), NAMESPACE);
                let labels = format!("{LABEL}={group}");
                let run = |p: &Pod| p.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Running"));
                async move {
                    until(pods, &labels, "pods Running", Duration::from_secs(60), |all| {
                        all.values().any(run)
                    })
                    .await
                }
            });
            let waiting = futures::future::try_join_all(running);
            let placing = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let start = Instant::now();
                let policies: Api<PropagationPolicy> = Api::namespaced(self.hub.clone(), NAMESPACE);
                policies
                    .create(&PostParams::default(), &policy(&group, &group, &clusters, true))
                    .await?;
                Ok::<_, BenchError>(start)
            };
            let (ends, start) = futures::try_join!(waiting, placing)?;
            let end = ends.into_iter().max().unwrap_or(start);
            all.push(end.duration_since(start));
            self.clean(&group).await?;
        }
        all.sort();
        Ok(all)
    }

    /// What the hub is asked for one binding when nothing else is placed, `times` over: from the creation of its policy until
    /// both its Works are applied, and until its Deployment is ready on the hub.
    ///
    /// # Errors
    /// When an API server refuses, or nothing is applied.
    pub async fn quiet(&self, times: usize) -> Result<(Requests, Requests), BenchError> {
        let clusters: Vec<String> = self.members.keys().take(2).cloned().collect();
        let (mut to_applied, mut in_all) = (Requests::new(), Requests::new());
        for i in 0..times {
            let group = format!("quiet-{i}");
            let deployments: Api<Deployment> = Api::namespaced(self.hub.clone(), NAMESPACE);
            let made = deployment(&group, &group, 2);
            deployments.create(&PostParams::default(), &made).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let before = self.requests().await?;
            let works: Api<Work> = Api::all(self.hub.clone());
            let mut done = BTreeSet::new();
            let bound = Duration::from_secs(60);
            let both = until_each(works, "Works applied", bound, 2, &mut done, |w| {
                let of = w.annotations().get(names::RESOURCE_BINDING_NAME);
                of.is_some_and(|b| *b == names::binding_name("Deployment", &group)) && applied(w)
            });
            let placing = async {
                let policies: Api<PropagationPolicy> = Api::namespaced(self.hub.clone(), NAMESPACE);
                let made = policy(&group, &group, &clusters, true);
                policies.create(&PostParams::default(), &made).await?;
                Ok::<_, BenchError>(())
            };
            futures::try_join!(both, placing)?;
            add(&mut to_applied, difference(&before, &self.requests().await?));
            let labels = format!("{LABEL}={group}");
            until(deployments, &labels, "statuses back", bound, |all| {
                all.values()
                    .any(|d| d.status.as_ref().is_some_and(|s| s.ready_replicas == Some(2)))
            })
            .await?;
            add(&mut in_all, difference(&before, &self.requests().await?));
            self.clean(&group).await?;
        }
        Ok((to_applied, in_all))
    }

    /// `n` Deployments under one policy: from its creation until all Works of two members are applied, and what the hub was
    /// asked meanwhile; then until nothing changes any more.
    ///
    /// # Errors
    /// When an API server refuses, or it does not end.
    pub async fn throughput(&self, n: usize) -> Result<Throughput, BenchError> {
        let clusters: Vec<String> = self.members.keys().take(2).cloned().collect();
        let group = "throughput";
        let deployments: Api<Deployment> = Api::namespaced(self.hub.clone(), NAMESPACE);
        futures::stream::iter((0..n).map(|i| Ok::<_, BenchError>(format!("web-{i:05}"))))
            .try_for_each_concurrent(PARALLEL, |name| {
                let api = deployments.clone();
                async move {
                    api.create(&PostParams::default(), &deployment(&name, group, 2)).await?;
                    Ok(())
                }
            })
            .await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = self.requests().await?;
        let works: Api<Work> = Api::all(self.hub.clone());
        let mut done: BTreeSet<String> = BTreeSet::new();
        let all_applied = until_each(
            works,
            "Works applied",
            Duration::from_secs(600),
            2 * n,
            &mut done,
            |w| {
                let ours = w
                    .annotations()
                    .get(names::RESOURCE_BINDING_NAMESPACE)
                    .is_some_and(|x| x == NAMESPACE);
                ours && applied(w)
            },
        );
        let placing = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let start = Instant::now();
            let policies: Api<PropagationPolicy> = Api::namespaced(self.hub.clone(), NAMESPACE);
            policies
                .create(&PostParams::default(), &policy(group, group, &clusters, true))
                .await?;
            Ok::<_, BenchError>(start)
        };
        let (end, start) = futures::try_join!(all_applied, placing)?;
        let to_applied = difference(&before, &self.requests().await?);
        let ready = |all: &BTreeMap<String, Deployment>| {
            all.len() == n
                && all
                    .values()
                    .all(|d| d.status.as_ref().is_some_and(|s| s.ready_replicas == Some(2)))
        };
        let labels = format!("{LABEL}={group}");
        let settled = until(deployments, &labels, "statuses back", Duration::from_secs(600), ready).await?;
        let in_all = difference(&before, &self.requests().await?);
        self.clean(group).await?;
        Ok(Throughput {
            bindings: n,
            applied: end.duration_since(start),
            settled: settled.duration_since(start),
            to_applied,
            in_all,
        })
    }

    /// What the hub's API server has answered so far; empty where it does not tell.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn requests(&self) -> Result<Requests, BenchError> {
        let request = http::Request::get("/metrics")
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        let text = self.hub.request_text(request).await?;
        let mut all = Requests::new();
        for line in text.lines().filter(|l| l.starts_with("apiserver_request_total{")) {
            let label = |k: &str| {
                let rest = line.split(&format!("{k}=\"")).nth(1)?;
                rest.split('"').next()
            };
            let (verb, code) = (label("verb").unwrap_or_default(), label("code").unwrap_or_default());
            if verb == "WATCH" {
                continue;
            }
            let mut what = label("resource").unwrap_or_default().to_owned();
            if let Some(sub) = label("subresource").filter(|s| !s.is_empty()) {
                what = format!("{what}/{sub}");
            }
            let n = line
                .rsplit(' ')
                .next()
                .and_then(|n| n.parse::<f64>().ok())
                .unwrap_or(0.0);
            *all.entry(format!("{verb} {what} {code}")).or_default() += n as u64;
        }
        Ok(all)
    }

    /// Waits until a member is Ready on the hub.
    ///
    /// # Errors
    /// When it does not get so.
    pub async fn until_ready(&self, name: &str, bound: Duration) -> Result<Instant, BenchError> {
        let clusters: Api<Cluster> = Api::all(self.hub.clone());
        let ready = |all: &BTreeMap<String, Cluster>| {
            let c = all.get(&format!("/{name}"));
            c.and_then(|c| c.status.as_ref())
                .is_some_and(|s| conditions::is_true(&s.conditions, READY))
        };
        until(clusters, "", &format!("{name} Ready"), bound, ready).await
    }

    /// Makes `n` Deployments of one replica on `cluster`, which others may take over, and waits until they run there.
    ///
    /// # Errors
    /// When an API server refuses, or they do not run.
    pub async fn occupy(&self, cluster: &str, n: usize) -> Result<(), BenchError> {
        let group = "lost";
        let deployments: Api<Deployment> = Api::namespaced(self.hub.clone(), NAMESPACE);
        for i in 0..n {
            let name = format!("lost-{i:03}");
            deployments
                .create(&PostParams::default(), &deployment(&name, group, 1))
                .await?;
        }
        let rest: Vec<&String> = self.members.keys().filter(|m| *m != cluster).collect();
        let p: PropagationPolicy = serde_json::from_value(json!({
            "apiVersion": "policy.karmada.io/v1alpha1", "kind": "PropagationPolicy",
            "metadata": {"name": group, "namespace": NAMESPACE, "labels": {LABEL: group}},
            "spec": {"placement": {"clusterAffinities": [
                    {"affinityName": "first", "clusterNames": [cluster]}, {"affinityName": "then", "clusterNames": rest}],
                "replicaScheduling": {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"}},
                "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment", "labelSelector": {"matchLabels": {LABEL: group}}}]}
        }))
        .map_err(kube::Error::SerdeError)?;
        let policies: Api<PropagationPolicy> = Api::namespaced(self.hub.clone(), NAMESPACE);
        policies.create(&PostParams::default(), &p).await?;
        self.until_running(&[cluster], n, Duration::from_secs(60)).await?;
        Ok(())
    }

    /// Waits until exactly `n` pods of [`Bed::occupy`] run in these members together.
    ///
    /// # Errors
    /// When they do not.
    pub async fn until_running(&self, clusters: &[&str], n: usize, bound: Duration) -> Result<Instant, BenchError> {
        let end = Instant::now() + bound;
        loop {
            let mut count = 0;
            for c in clusters {
                let pods: Api<Pod> = Api::namespaced(self.members[*c].clone(), NAMESPACE);
                let list = ListParams::default().labels(&format!("{LABEL}=lost"));
                let run = |p: &&Pod| {
                    p.metadata.deletion_timestamp.is_none()
                        && p.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Running"))
                };
                count += pods.list(&list).await?.items.iter().filter(run).count();
            }
            if count == n {
                return Ok(Instant::now());
            }
            if Instant::now() > end {
                return Err(BenchError::Late {
                    what: format!("{n} pods in {}", clusters.join(", ")),
                    bound,
                    seen: format!("{count} pods"),
                });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a cluster has a NoExecute taint.
    ///
    /// # Errors
    /// When it gets none.
    pub async fn until_tainted(&self, name: &str, bound: Duration) -> Result<Instant, BenchError> {
        let clusters: Api<Cluster> = Api::all(self.hub.clone());
        let tainted = |all: &BTreeMap<String, Cluster>| {
            let c = all.get(&format!("/{name}"));
            c.is_some_and(|c| c.spec.taints.iter().any(|t| t.effect == "NoExecute"))
        };
        until(clusters, "", &format!("{name} tainted"), bound, tainted).await
    }

    /// Waits until no binding of [`Bed::occupy`] names `cluster`.
    ///
    /// # Errors
    /// When one stays.
    pub async fn until_left(&self, cluster: &str, bound: Duration) -> Result<Instant, BenchError> {
        let bindings: Api<ResourceBinding> = Api::namespaced(self.hub.clone(), NAMESPACE);
        let left = |all: &BTreeMap<String, ResourceBinding>| {
            !all.is_empty()
                && all
                    .values()
                    .all(|b| !b.spec.clusters.is_empty() && b.spec.clusters.iter().all(|t| t.name != cluster))
        };
        until(bindings, "", &format!("{cluster} left"), bound, left).await
    }
}

/// Waits until `want` different objects have satisfied `ok`, looking at each change once.
async fn until_each<K>(
    api: Api<K>,
    what: &str,
    bound: Duration,
    want: usize,
    done: &mut BTreeSet<String>,
    ok: impl Fn(&K) -> bool,
) -> Result<Instant, BenchError>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut events = std::pin::pin!(cfn_net::watch::watch(api, watcher::Config::default()));
    let end = Instant::now() + bound;
    while done.len() < want {
        match tokio::time::timeout_at(end, events.next()).await {
            Ok(Some(Ok(watcher::Event::Apply(o) | watcher::Event::InitApply(o)))) if ok(&o) => {
                done.insert(format!(
                    "{}/{}",
                    o.meta().namespace.as_deref().unwrap_or_default(),
                    o.name_any()
                ));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                return Err(BenchError::Late {
                    what: what.to_owned(),
                    bound,
                    seen: format!("{} of {want}", done.len()),
                });
            }
        }
    }
    Ok(Instant::now())
}

/// What [`Bed::throughput`] found.
#[derive(Debug, Clone)]
pub struct Throughput {
    /// How many bindings.
    pub bindings: usize,
    /// Until all Works were applied.
    pub applied: Duration,
    /// Until all templates had their statuses.
    pub settled: Duration,
    /// Requests to the hub until then.
    pub to_applied: Requests,
    /// Requests to the hub in all.
    pub in_all: Requests,
}

fn difference(before: &Requests, after: &Requests) -> Requests {
    after
        .iter()
        .map(|(k, n)| (k.clone(), n.saturating_sub(before.get(k).copied().unwrap_or(0))))
        .filter(|(_, n)| *n > 0)
        .collect()
}

/// The p-th percentile of sorted durations.
#[must_use]
pub fn percentile(sorted: &[Duration], p: usize) -> Duration {
    let at = (sorted.len() * p).div_ceil(100).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or_default()
}
