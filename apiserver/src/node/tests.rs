//! Nodes and controllers against a real cluster: memory transport, virtual time.

mod aggregation;
mod controllers;
mod images;
mod network;
mod probes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cfn_net::{ClientConfig, Identity, LinkSpec, Net, Seed, SharedClock, Transport, VirtualClock};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::{NodeHandle, NodeOptions, Stages, Workload, WorkloadContext, Workloads};
use crate::cluster::{Cluster, ClusterOptions};
use crate::controllers::Timers;
use crate::controllers::object::Object;
use crate::local::{EventKind, Gvr, Local};

const PODS: Gvr = Gvr::new("", "v1", "pods");
const NODES: Gvr = Gvr::new("", "v1", "nodes");
const DEPLOYMENTS: Gvr = Gvr::new("apps", "v1", "deployments");
const REPLICA_SETS: Gvr = Gvr::new("apps", "v1", "replicasets");
const NAMESPACES: Gvr = Gvr::new("", "v1", "namespaces");
const CONFIG_MAPS: Gvr = Gvr::new("", "v1", "configmaps");

struct Bed {
    net: Net,
    clock: SharedClock,
    seed: Seed,
    workloads: Workloads,
    cluster: Cluster,
}

async fn bed(seed: u64, workloads: Workloads) -> Bed {
    let net = Net::new(Transport::Memory, Seed(seed));
    net.add_host("hub", "center");
    let clock: SharedClock = Arc::new(VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let cluster = Cluster::start(ClusterOptions {
        host: "hub".into(),
        workloads: workloads.clone(),
        bootstrap_token: "abcdef.0123456789abcdef".into(),
        ..ClusterOptions::new("c", net.clone(), clock.clone(), Seed(seed))
    })
    .await
    .unwrap();
    Bed {
        net,
        clock,
        seed: Seed(seed),
        workloads,
        cluster,
    }
}

impl Bed {
    fn local(&self) -> Local {
        self.cluster.local()
    }

    async fn node(&self, name: &str, number: u8) -> NodeHandle {
        self.node_with(name, number, BTreeMap::new()).await
    }

    async fn node_with(&self, name: &str, number: u8, annotations: BTreeMap<String, String>) -> NodeHandle {
        // A site of its own for each node, 5 ms away.
        let site = format!("site-{name}");
        self.net.set_link(
            "center",
            &site,
            LinkSpec {
                latency: 5.0,
                ..LinkSpec::default()
            },
        );
        self.net.add_host(name, &site);
        let config = self
            .cluster
            .config_for(&format!("system:node:{name}"), &["system:nodes".to_owned()]);
        let options = NodeOptions {
            name: name.into(),
            labels: BTreeMap::new(),
            annotations,
            taints: Vec::new(),
            capacity: BTreeMap::from([("cpu".to_owned(), "8".to_owned())]),
            client: config.client(&self.net, name).unwrap(),
            net: self.net.clone(),
            clock: self.clock.clone(),
            seed: self.seed.child(name),
            timers: Timers::default(),
            workloads: self.workloads.clone(),
            stages: Stages::default(),
            pod_cidr: format!("10.1.{number}.0/24"),
            token_config: Some(config),
        };
        self.cluster.add_node(options).await.unwrap()
    }

    /// Waits until `f` holds, at most `seconds` of virtual time; returns how long it took.
    async fn until(&self, what: &str, seconds: u64, f: impl Fn(&Local) -> bool) -> Duration {
        let local = self.local();
        let begun = Instant::now();
        while !f(&local) {
            if begun.elapsed() > Duration::from_secs(seconds) {
                for g in [&NODES, &DEPLOYMENTS, &REPLICA_SETS, &PODS] {
                    for v in list(&local, g) {
                        eprintln!("{g} {}", serde_json::to_string(&v).unwrap());
                    }
                }
                panic!("not within {seconds} s: {what}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        begun.elapsed()
    }
}

fn list(l: &Local, g: &Gvr) -> Vec<Arc<Value>> {
    l.list(g, None).unwrap().0
}

fn ready_pods(l: &Local) -> Vec<Arc<Value>> {
    let ready = |p: &Arc<Value>| p.condition("Ready").is_some_and(|c| c["status"] == "True") && !p.deleting();
    list(l, &PODS).into_iter().filter(ready).collect()
}

fn deployment(replicas: i64, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

fn complete(l: &Local, replicas: i64) -> bool {
    let Ok(d) = l.get(&DEPLOYMENTS, "default", "web") else {
        return false;
    };
    let is = |f: &str| d.int(&format!("/status/{f}")) == Some(replicas);
    is("replicas")
        && is("updatedReplicas")
        && is("availableReplicas")
        && d.int("/status/observedGeneration") == d.int("/metadata/generation")
}

#[tokio::test(start_paused = true)]
async fn deployment_runs_rolls_and_goes_back() {
    let b = bed(1, Workloads::default()).await;
    let nodes = [b.node("n1", 1).await, b.node("n2", 2).await];
    let l = b.local();
    l.create(&DEPLOYMENTS, "default", deployment(3, "a:1")).unwrap();
    b.until("three ready", 10, |l| complete(l, 3) && ready_pods(l).len() == 3)
        .await;
    let running: usize = nodes.iter().map(|n| n.running().len()).sum();
    assert_eq!(running, 3);
    assert!(nodes.iter().all(|n| !n.running().is_empty()), "spread over both nodes");
    let d = l.get(&DEPLOYMENTS, "default", "web").unwrap();
    assert_eq!(d.condition("Available").unwrap()["status"], "True");
    b.until("progressed", 5, |l| {
        let d = l.get(&DEPLOYMENTS, "default", "web").unwrap();
        d.condition("Progressing")
            .is_some_and(|c| c["reason"] == "NewReplicaSetAvailable")
    })
    .await;

    let mut d = (*l.get(&DEPLOYMENTS, "default", "web").unwrap()).clone();
    d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("a:2");
    l.update(&DEPLOYMENTS, "default", d).unwrap();
    b.until("rolled", 60, |l| {
        assert!(
            ready_pods(l).len() >= 3 - 1,
            "maxUnavailable 25 % of 3 is none; one may just be leaving"
        );
        complete(l, 3) && list(l, &PODS).len() == 3
    })
    .await;
    assert!(
        list(&l, &PODS)
            .iter()
            .all(|p| p["spec"]["containers"][0]["image"] == "a:2")
    );
    let d = l.get(&DEPLOYMENTS, "default", "web").unwrap();
    assert_eq!(d.annotation("deployment.kubernetes.io/revision"), Some("2"));

    let mut d = (*d).clone();
    d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("a:1");
    l.update(&DEPLOYMENTS, "default", d).unwrap();
    b.until("undone", 60, |l| complete(l, 3) && list(l, &PODS).len() == 3)
        .await;
    assert_eq!(list(&l, &REPLICA_SETS).len(), 2, "the first set came back");
    let d = l.get(&DEPLOYMENTS, "default", "web").unwrap();
    assert_eq!(d.annotation("deployment.kubernetes.io/revision"), Some("3"));
}

#[tokio::test(start_paused = true)]
async fn dead_node_is_noticed_evicted_and_comes_back() {
    let b = bed(2, Workloads::default()).await;
    let (n1, n2) = (b.node("n1", 1).await, b.node("n2", 2).await);
    let l = b.local();
    l.create(&DEPLOYMENTS, "default", deployment(2, "a:1")).unwrap();
    b.until("ready on both", 10, |_| {
        n1.running().len() == 1 && n2.running().len() == 1
    })
    .await;
    b.until("complete", 10, |l| complete(l, 2)).await;
    n1.crash().await;
    assert!(n1.running().is_empty());
    let t = b
        .until("unknown", 70, |l| {
            let n = l.get(&NODES, "", "n1").unwrap();
            n.condition("Ready").unwrap()["status"] == "Unknown"
        })
        .await;
    assert!(t >= Duration::from_secs(40), "{t:?}");
    b.until("tainted and not ready", 10, |l| {
        let n = l.get(&NODES, "", "n1").unwrap();
        n.items("/spec/taints").len() == 2 && ready_pods(l).len() == 1
    })
    .await;
    let t = b
        .until("evicted and replaced", 320, |l| {
            complete(l, 2) && n2.running().len() == 2
        })
        .await;
    assert!(t >= Duration::from_secs(295), "tolerated for 300 s: {t:?}");
    // The pod of the dead node is still there, to be ended by its kubelet.
    assert_eq!(list(&l, &PODS).iter().filter(|p| p.deleting()).count(), 1);
    n1.restart().await;
    b.until("back", 60, |l| {
        let n = l.get(&NODES, "", "n1").unwrap();
        n.condition("Ready").unwrap()["status"] == "True" && n.items("/spec/taints").is_empty()
    })
    .await;
    b.until("old pod gone", 60, |l| list(l, &PODS).len() == 2).await;
    assert!(n1.running().is_empty() && n2.running().len() == 2);
}

#[tokio::test(start_paused = true)]
async fn autonomous_node_keeps_its_pods() {
    let b = bed(3, Workloads::default()).await;
    let n1 = b
        .node_with(
            "n1",
            1,
            BTreeMap::from([("cfn.akraino.org/autonomy".into(), "true".into())]),
        )
        .await;
    let _n2 = b.node("n2", 2).await;
    let l = b.local();
    l.create(&DEPLOYMENTS, "default", deployment(2, "a:1")).unwrap();
    b.until("ready", 10, |l| complete(l, 2) && n1.running().len() == 1)
        .await;
    let before = n1.running();
    b.net.isolate("site-n1");
    tokio::time::sleep(Duration::from_secs(1000)).await;
    let n = l.get(&NODES, "", "n1").unwrap();
    assert_eq!(n.condition("Ready").unwrap()["status"], "Unknown");
    assert!(
        n.items("/spec/taints").iter().all(|t| t["effect"] != "NoExecute"),
        "{n}"
    );
    b.net.heal_site("site-n1");
    b.until("ready again", 60, |l| {
        complete(l, 2) && l.get(&NODES, "", "n1").unwrap().condition("Ready").unwrap()["status"] == "True"
    })
    .await;
    assert_eq!(n1.running(), before, "nothing was restarted");
}

#[tokio::test(start_paused = true)]
async fn containers_outlive_the_kubelet_but_not_the_host() {
    let b = bed(4, Workloads::default()).await;
    let n = b.node("n1", 1).await;
    let l = b.local();
    l.create(&DEPLOYMENTS, "default", deployment(1, "a:1")).unwrap();
    b.until("ready", 10, |l| complete(l, 1)).await;
    let before = n.running();
    n.stop().await;
    assert_eq!(n.running(), before);
    n.restart().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(n.running(), before, "adopted as they are");
    n.crash().await;
    assert!(n.running().is_empty());
    n.restart().await;
    b.until("started anew", 10, |l| {
        let p = ready_pods(l);
        p.len() == 1 && p[0].int("/status/containerStatuses/0/restartCount") == Some(1)
    })
    .await;
    assert_eq!(n.running()[0].uid, before[0].uid);
    let p = ready_pods(&l).remove(0);
    assert_eq!(
        p.int("/status/containerStatuses/0/lastState/terminated/exitCode"),
        Some(255)
    );
}

#[tokio::test(start_paused = true)]
async fn runs_on_without_its_api_server() {
    let b = bed(5, Workloads::default()).await;
    let n = b.node("n1", 1).await;
    let l = b.local();
    l.create(&DEPLOYMENTS, "default", deployment(2, "a:1")).unwrap();
    b.until("ready", 10, |l| complete(l, 2)).await;
    let before = n.running();
    b.cluster.stop_serving().await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(n.running(), before);
    let victim = &before[0];
    l.delete(&PODS, "default", &victim.name, None).unwrap();
    b.cluster.start_serving().await.unwrap();
    let gone = |l: &Local| l.get(&PODS, "default", &victim.name).is_err();
    b.until("replaced", 30, |l| {
        gone(l) && complete(l, 2) && list(l, &PODS).len() == 2
    })
    .await;
    let after = n.running();
    assert!(!after.iter().any(|p| p.uid == victim.uid));
    assert!(after.contains(&before[1]), "the other one was left alone");
}

/// Serves one answer per connection; ends with 7 when told `die`.
struct Echo;

#[async_trait]
impl Workload for Echo {
    async fn run(&self, ctx: WorkloadContext) -> i32 {
        let mut listener = ctx.net.listen(&ctx.host, 9600).await.unwrap();
        (ctx.log)(&format!("serving {}", ctx.env["GREETING"]));
        ctx.ready.send_replace(true);
        loop {
            tokio::select! {
                biased;
                () = ctx.cancel.cancelled() => return 0,
                s = listener.accept() => {
                    let mut s = s.unwrap();
                    let mut word = [0; 3];
                    s.read_exact(&mut word).await.unwrap();
                    if &word == b"die" {
                        return 7;
                    }
                    let answer = format!("{} {} {}", ctx.env["GREETING"], ctx.env["NAME"], ctx.api.is_some());
                    s.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn builtin_workload_serves_and_is_restarted() {
    let mut workloads = Workloads::default();
    workloads.register("cfn.akraino.org/echo", Arc::new(Echo));
    let b = bed(6, workloads).await;
    let n = b.node("n1", 1).await;
    let l = b.local();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}, "data": {"g": "hello"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "echo", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "cfn.akraino.org/echo:1", "env": [
            {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "g"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]}});
    b.until("account", 5, |l| {
        l.get(&Gvr::new("", "v1", "serviceaccounts"), "default", "default")
            .is_ok()
    })
    .await;
    l.create(&PODS, "default", pod).unwrap();
    b.until("config error", 10, |l| {
        let p = l.get(&PODS, "default", "echo").unwrap();
        p.text("/status/containerStatuses/0/state/waiting/reason") == "CreateContainerConfigError"
    })
    .await;
    l.create(&CONFIG_MAPS, "default", map).unwrap();
    b.until("ready", 10, |l| ready_pods(l).len() == 1).await;
    let ip = l
        .get(&PODS, "default", "echo")
        .unwrap()
        .text("/status/podIP")
        .to_owned();
    let ask = async |word: &[u8]| {
        let mut s = b.net.connect("hub", &ip, 9600).await.unwrap();
        s.write_all(word).await.unwrap();
        let mut answer = String::new();
        s.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert_eq!(ask(b"say").await, "hello echo true");
    assert_eq!(n.logs("default", "echo", "c").as_deref(), Some("serving hello\n"));
    assert_eq!(ask(b"die").await, "");
    b.until("restarted", 10, |l| {
        let p = l.get(&PODS, "default", "echo").unwrap();
        p.int("/status/containerStatuses/0/restartCount") == Some(1) && ready_pods(l).len() == 1
    })
    .await;
    let p = l.get(&PODS, "default", "echo").unwrap();
    assert_eq!(
        p.int("/status/containerStatuses/0/lastState/terminated/exitCode"),
        Some(7)
    );
    assert_eq!(ask(b"die").await, "");
    b.until("back-off", 5, |l| {
        let p = l.get(&PODS, "default", "echo").unwrap();
        p.text("/status/containerStatuses/0/state/waiting/reason") == "CrashLoopBackOff"
    })
    .await;
    let t = b.until("restarted again", 15, |l| ready_pods(l).len() == 1).await;
    assert!(t > Duration::from_secs(8), "{t:?}");
    l.delete(&PODS, "default", "echo", None).unwrap();
    let t = b.until("gone", 35, |l| list(l, &PODS).is_empty()).await;
    assert!(n.running().is_empty());
    // Its process ended at once; whoever deleted it could still see that it was ending.
    assert!(t >= Duration::from_millis(50), "{t:?}");
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_refused_are_made_as_soon_as_they_may_be() {
    let b = bed(11, Workloads::default()).await;
    let _node = b.node("n1", 1).await;
    let l = b.local();
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r", "namespace": "default"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "r"}}, "template": {"metadata": {"labels": {"app": "r"}},
            "spec": {"serviceAccountName": "late", "containers": [{"name": "c", "image": "example.org/app:1"}]}}}});
    let sets = Gvr::new("apps", "v1", "replicasets");
    l.create(&sets, "default", set).unwrap();
    let told = |l: &Local| {
        l.get(&sets, "default", "r")
            .unwrap()
            .condition("ReplicaFailure")
            .is_some()
    };
    b.until("told", 5, &told).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(list(&l, &PODS).is_empty());
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "late", "namespace": "default"}});
    l.create(&Gvr::new("", "v1", "serviceaccounts"), "default", account)
        .unwrap();
    b.until("ready", 3, |l| ready_pods(l).len() == 1).await;
    b.until("nothing is told any more", 3, |l| !told(l)).await;
}

/// Everything that happens in a little story, as (kind, resource, name, revision).
async fn story(seed: u64) -> Vec<(EventKind, String, String, u64)> {
    let b = bed(seed, Workloads::default()).await;
    let mut events = b.local().watch_all();
    let nodes = [b.node("n1", 1).await, b.node("n2", 2).await, b.node("n3", 3).await];
    let l = b.local();
    l.create(&DEPLOYMENTS, "default", deployment(5, "a:1")).unwrap();
    b.until("ready", 10, |l| complete(l, 5)).await;
    nodes[0].crash().await;
    b.until("moved", 400, |l| {
        complete(l, 5) && nodes[0].running().is_empty() && ready_pods(l).len() == 5
    })
    .await;
    nodes[0].restart().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut out = Vec::new();
    while let Some(e) = events.try_recv() {
        out.push((
            e.kind,
            e.gvr.to_string(),
            format!("{}/{}", e.object.namespace(), e.object.name()),
            e.revision,
        ));
    }
    out
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_tells_the_same_story() {
    let (a, b) = (story(42).await, story(42).await);
    assert!(a.len() > 100);
    for (i, (x, y)) in a.iter().zip(&b).enumerate() {
        assert_eq!(x, y, "event {i}");
    }
    assert_eq!(a.len(), b.len());
}

#[test]
fn networks() {
    use std::net::Ipv4Addr;
    assert_eq!(super::network("10.1.2.0/24"), Some((Ipv4Addr::new(10, 1, 2, 0), 256)));
    assert_eq!(super::network("10.1.2.5/29").map(|n| n.1), Some(8));
    assert_eq!(super::network("10.1.2.0/33"), None);
    assert_eq!(super::network("x"), None);
}

#[tokio::test(start_paused = true)]
async fn many_nodes_and_pods() {
    let b = bed(10, Workloads::default()).await;
    let mut nodes = Vec::new();
    for i in 0..20 {
        nodes.push(b.node(&format!("n{i:02}"), i).await);
    }
    let l = b.local();
    b.until("nodes", 10, |l| list(l, &NODES).len() == 20).await;
    l.create(&DEPLOYMENTS, "default", deployment(200, "a:1")).unwrap();
    b.until("ready", 60, |l| complete(l, 200)).await;
    let counts: Vec<usize> = nodes.iter().map(|n| n.running().len()).collect();
    assert!(counts.iter().all(|c| (9..=11).contains(c)), "evenly spread: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_somebody_else_ends_stays_ended() {
    let bed = bed(9, Workloads::default()).await;
    let node = bed.node("n", 1).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "web:1"}]}});
    bed.local().create(&PODS, "default", pod).unwrap();
    bed.until("ready", 30, |l| ready_pods(l).len() == 1).await;
    let mut ended = (*bed.local().get(&PODS, "default", "p").unwrap()).clone();
    ended["status"] = json!({"phase": "Failed"});
    bed.local().update_status(&PODS, "default", ended).unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let pod = bed.local().get(&PODS, "default", "p").unwrap();
    assert_eq!(pod.text("/status/phase"), "Failed");
    assert!(node.running().is_empty(), "nothing of it runs on");
}
